//! The options about replication: whom the server follows, how it copies the data set to those that
//! follow it, and when it relies on them.

use super::disk::DISK;
use super::stock::{LATER, STOCK};
use super::table::{
    DEBUG, DENY_LOADING, IMMUTABLE, MULTI_ARG, MUTABLE, SENSITIVE, int, memory, options,
};
use super::value::{INT_MAX, Kind, LONG_MAX, Names};

const LONG: i64 = i64::MAX;

/// The ways of loading what a primary sends (`repl-diskless-load`).
pub const DISKLESS_LOAD: Names = &[
    ("disabled", LOAD_FROM_DISK),
    ("on-empty-db", LOAD_IF_EMPTY),
    ("swapdb", LOAD_AND_SWAP),
];
/// By way of a file.
pub const LOAD_FROM_DISK: i64 = 0;
/// Straight from the link while there is nothing to lose, else by way of a file.
pub const LOAD_IF_EMPTY: i64 = 1;
/// Straight from the link, beside the old data set.
pub const LOAD_AND_SWAP: i64 = 2;

/// What an error of a command that a primary, or the log, has carried out means
/// (`propagation-error-behavior`).
pub const ON_PROPAGATION_ERROR: Names = &[
    ("ignore", IGNORE_ERRORS),
    ("panic", PANIC_ON_ERRORS),
    ("panic-on-replicas", PANIC_ON_REPLICAS),
];
/// A line in the log.
pub const IGNORE_ERRORS: i64 = 0;
/// The end of the server.
pub const PANIC_ON_ERRORS: i64 = 1;
/// The end of a replica.
pub const PANIC_ON_REPLICAS: i64 = 2;

const fn before() -> usize {
    super::table::OWN.len() + STOCK.len() + LATER.len() + DISK.len()
}

const fn base(place: usize, before: usize) -> u16 {
    (place + before) as u16
}

options! {
    /// Options about replication.
    REPLICATION, base super::before(), all MUTABLE;

    REPLICAOF = "replicaof" | "slaveof", Kind::Primary, "no one", IMMUTABLE | MULTI_ARG, "Host and port of the primary to follow";
    BIND_SOURCE_ADDR = "bind-source-addr", Kind::Text, "", MUTABLE, "Address from which the primary is connected to; empty for any";
    MASTERAUTH = "masterauth", Kind::Text, "", SENSITIVE, "Password that the primary asks for";
    MASTERUSER = "masteruser", Kind::Text, "", SENSITIVE, "User to log in to the primary as";
    RDB_DEL_SYNC_FILES = "rdb-del-sync-files", Kind::Bool, "no", MUTABLE, "Remove snapshots made for replicas only";
    SHUTDOWN_TIMEOUT = "shutdown-timeout", int(0, INT_MAX), "10", MUTABLE, "Seconds to wait for replicas when stopping";
    REPLICA_SERVE_STALE_DATA = "replica-serve-stale-data" | "slave-serve-stale-data", Kind::Bool, "yes", MUTABLE, "Serve reads without a link to the primary";
    REPLICA_READ_ONLY = "replica-read-only" | "slave-read-only", Kind::Bool, "yes", DEBUG, "Refuse writes on a replica";
    REPLICA_LAZY_FLUSH = "replica-lazy-flush" | "slave-lazy-flush", Kind::Bool, "no", MUTABLE, "Free the old data set in the background";
    REPLICA_IGNORE_MAXMEMORY = "replica-ignore-maxmemory" | "slave-ignore-maxmemory", Kind::Bool, "yes", MUTABLE, "Leave eviction to the primary";
    REPLICA_IGNORE_DISK_WRITE_ERRORS = "replica-ignore-disk-write-errors", Kind::Bool, "no", MUTABLE, "Go on when a replica cannot write its log";
    REPLICA_PRIORITY = "replica-priority" | "slave-priority", int(0, INT_MAX), "100", MUTABLE, "Rank of this replica for a failover";
    REPLICA_ANNOUNCED = "replica-announced", Kind::Bool, "yes", MUTABLE, "Show this replica to clients";
    REPLICA_ANNOUNCE_IP = "replica-announce-ip" | "slave-announce-ip", Kind::Text, "", MUTABLE, "Address that this replica gives";
    REPLICA_ANNOUNCE_PORT = "replica-announce-port" | "slave-announce-port", int(0, 65535), "0", MUTABLE, "Port that this replica gives";
    REPL_DISKLESS_SYNC = "repl-diskless-sync", Kind::Bool, "yes", DEBUG, "Send snapshots to replicas without a file";
    REPL_DISKLESS_SYNC_DELAY = "repl-diskless-sync-delay", int(0, INT_MAX), "5", MUTABLE, "Seconds to wait for more replicas";
    REPL_DISKLESS_SYNC_MAX_REPLICAS = "repl-diskless-sync-max-replicas", int(0, INT_MAX), "0", MUTABLE, "Replicas that end the wait";
    REPL_DISKLESS_LOAD = "repl-diskless-load", Kind::Enum(DISKLESS_LOAD), "disabled", DEBUG | DENY_LOADING, "Load snapshots straight from the link";
    REPL_DISABLE_TCP_NODELAY = "repl-disable-tcp-nodelay", Kind::Bool, "no", MUTABLE, "Send to replicas in larger packets";
    REPL_TIMEOUT = "repl-timeout", int(1, INT_MAX), "60", MUTABLE, "Seconds after which a silent link is lost";
    REPL_PING_REPLICA_PERIOD = "repl-ping-replica-period" | "repl-ping-slave-period", int(1, INT_MAX), "10", MUTABLE, "Seconds between pings to replicas";
    REPL_BACKLOG_SIZE = "repl-backlog-size", memory(1, LONG_MAX), "1mb", MUTABLE, "Bytes of the log kept for partial resync";
    REPL_BACKLOG_TTL = "repl-backlog-ttl", int(0, LONG), "3600", MUTABLE, "Seconds the backlog is kept without replicas";
    MIN_REPLICAS_TO_WRITE = "min-replicas-to-write" | "min-slaves-to-write", int(0, INT_MAX), "0", MUTABLE, "Good replicas that writes need";
    PROPAGATION_ERROR_BEHAVIOR = "propagation-error-behavior", Kind::Enum(ON_PROPAGATION_ERROR), "ignore", MUTABLE, "What an error in the primary's stream or the log means";
    MIN_REPLICAS_MAX_LAG = "min-replicas-max-lag" | "min-slaves-max-lag", int(0, INT_MAX), "10", MUTABLE, "Seconds of lag of a good replica";
}
