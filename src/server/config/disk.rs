//! The options about what is kept on disk.

use super::stock::{LATER, STOCK};
use super::table::{
    DEBUG, DENY_LOADING, HIDDEN, IMMUTABLE, MULTI_ARG, MUTABLE, PROTECTED, int, memory, options,
};
use super::value::{INT_MAX, INT_MIN, Kind, LONG_MAX, Names};

const FSYNC_POLICIES: Names = &[("everysec", 2), ("always", 1), ("no", 0)];

const SANITIZE: Names = &[("no", 0), ("yes", 1), ("clients", 2)];

const SHUTDOWN_SAVE: i64 = 2;
const SHUTDOWN_NOSAVE: i64 = 1;
const SHUTDOWN_FLAGS: Names = &[
    ("default", 0),
    ("save", SHUTDOWN_SAVE),
    ("nosave", SHUTDOWN_NOSAVE),
    ("now", 4),
    ("force", 8),
];

fn shutdown_flags(bits: i64) -> Result<(), &'static str> {
    if bits & SHUTDOWN_SAVE != 0 && bits & SHUTDOWN_NOSAVE != 0 {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously");
    }
    Ok(())
}

const SHUTDOWN: Kind = Kind::Flags(SHUTDOWN_FLAGS, shutdown_flags);

fn dbfilename(name: &[u8]) -> Result<(), &'static str> {
    match name.contains(&b'/') {
        true => Err("dbfilename can't be a path, just a filename"),
        false => Ok(()),
    }
}

fn appendfilename(name: &[u8]) -> Result<(), &'static str> {
    match name {
        [] => Err("appendfilename can't be empty"),
        _ if name.contains(&b'/') => Err("appendfilename can't be a path, just a filename"),
        _ => Ok(()),
    }
}

fn appenddirname(name: &[u8]) -> Result<(), &'static str> {
    match name {
        [] => Err("appenddirname can't be empty"),
        _ if name.contains(&b'/') => Err("appenddirname can't be a path, just a dirname"),
        _ => Ok(()),
    }
}

const fn before() -> usize {
    super::table::OWN.len() + STOCK.len() + LATER.len()
}

const fn base(place: usize, before: usize) -> u16 {
    (place + before) as u16
}

options! {
    /// Options about what is kept on disk.
    DISK, base super::before(), all MUTABLE;

    AOF_REWRITE_INCREMENTAL_FSYNC = "aof-rewrite-incremental-fsync", Kind::Bool, "yes", MUTABLE, "Rewrites choose when to sync";
    RDB_SAVE_INCREMENTAL_FSYNC = "rdb-save-incremental-fsync", Kind::Bool, "yes", MUTABLE, "Snapshots choose when to sync";
    APPENDONLY = "appendonly", Kind::Bool, "no", DENY_LOADING, "Keep an append only file";
    STOP_WRITES_ON_BGSAVE_ERROR = "stop-writes-on-bgsave-error", Kind::Bool, "yes", MUTABLE, "Refuse writes after a failed snapshot";
    RDBCOMPRESSION = "rdbcompression", Kind::Bool, "yes", MUTABLE, "Compress strings in snapshots";
    RDBCHECKSUM = "rdbchecksum", Kind::Bool, "yes", IMMUTABLE, "End snapshots with a checksum";
    DBFILENAME = "dbfilename", Kind::CheckedText(dbfilename), "dump.rdb", PROTECTED, "Name of the snapshot file";
    RDB_KEY_SAVE_DELAY = "rdb-key-save-delay", int(INT_MIN, INT_MAX), "0", HIDDEN, "Wait after each key saved, for tests";
    KEY_LOAD_DELAY = "key-load-delay", int(INT_MIN, INT_MAX), "0", HIDDEN, "Wait after each key loaded, for tests";
    SANITIZE_DUMP_PAYLOAD = "sanitize-dump-payload", Kind::Enum(SANITIZE), "no", DEBUG, "Check payloads of RESTORE in depth";
    APPENDFILENAME = "appendfilename", Kind::CheckedText(appendfilename), "appendonly.aof", IMMUTABLE, "Name that append only files start with";
    APPENDDIRNAME = "appenddirname", Kind::CheckedText(appenddirname), "appendonlydir", IMMUTABLE, "Folder of the append only files";
    APPENDFSYNC = "appendfsync", Kind::Enum(FSYNC_POLICIES), "everysec", MUTABLE, "When the append only file is synced";
    NO_APPENDFSYNC_ON_REWRITE = "no-appendfsync-on-rewrite", Kind::Bool, "no", MUTABLE, "Do not sync while rewriting";
    AUTO_AOF_REWRITE_PERCENTAGE = "auto-aof-rewrite-percentage", int(0, INT_MAX), "100", MUTABLE, "Growth that starts a rewrite";
    AUTO_AOF_REWRITE_MIN_SIZE = "auto-aof-rewrite-min-size", memory(0, LONG_MAX), "64mb", MUTABLE, "Least size that starts a rewrite";
    AOF_LOAD_TRUNCATED = "aof-load-truncated", Kind::Bool, "yes", MUTABLE, "Load an append only file that ends half way";
    AOF_USE_RDB_PREAMBLE = "aof-use-rdb-preamble", Kind::Bool, "yes", MUTABLE, "Rewrite to the snapshot format";
    AOF_TIMESTAMP_ENABLED = "aof-timestamp-enabled", Kind::Bool, "no", MUTABLE, "Note times in the append only file";
    AOF_DISABLE_AUTO_GC = "aof-disable-auto-gc", Kind::Bool, "no", MUTABLE, "Keep old append only files";
    SHUTDOWN_ON_SIGINT = "shutdown-on-sigint", SHUTDOWN, "default", MULTI_ARG, "How SIGINT stops the server";
    SHUTDOWN_ON_SIGTERM = "shutdown-on-sigterm", SHUTDOWN, "default", MULTI_ARG, "How SIGTERM stops the server";
}
