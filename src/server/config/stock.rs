//! Options that are accepted so that stock config files start the server: first
//! those that tune machinery which does not exist here, then those whose
//! feature is yet to come.
//!
//! Both are checked for their type, kept, and shown by `CONFIG GET`. Options
//! that would silently leave a server unsafe or wrong when they had no effect
//! (`aclfile`, TLS) are not among them: they are refused.

use super::table::{
    DEBUG, HIDDEN, IMMUTABLE, MUTABLE, NO_EFFECT, Opt, PENDING, PROTECTED_ACTIONS, int, memory,
    options,
};
use super::value::{INT_MAX, Kind, LONG_MAX, Names, UINT_MAX};

const LONG: i64 = i64::MAX;

/// Directives without effect that Redis itself only skips: name and one word.
pub const DEPRECATED: [&str; 3] = [
    "list-max-ziplist-entries",
    "list-max-ziplist-value",
    "lua-replicate-commands",
];

const ENDPOINT_TYPES: Names = &[("ip", 0), ("hostname", 1), ("unknown-endpoint", 2)];
fn hostname(name: &[u8]) -> Result<(), &'static str> {
    if name.len() >= 256 {
        return Err("Hostnames must be less than 256 characters");
    }
    let allowed = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.');
    match name.iter().all(allowed) {
        true => Ok(()),
        false => Err("Hostnames may only contain alphanumeric characters, hyphens or dots"),
    }
}

fn node_name(name: &[u8]) -> Result<(), &'static str> {
    match name.iter().any(|c| b"!#$%&()*+:;<>?@[]^{|}~".contains(c)) {
        false => Ok(()),
        true => Err("Announced human node name contained invalid character"),
    }
}

const fn own_len() -> usize {
    super::table::OWN.len()
}

const fn base(place: usize, before: usize) -> u16 {
    (place + before) as u16
}

options! {
    /// Options without effect.
    STOCK, base super::own_len(), all NO_EFFECT;

    ACTIVEREHASHING = "activerehashing", Kind::Bool, "yes", MUTABLE, "Tables always grow step by step";
    DYNAMIC_HZ = "dynamic-hz", Kind::Bool, "yes", MUTABLE, "Periodic work does not depend on the number of clients";
    IO_THREADS = "io-threads", int(1, 128), "1", DEBUG | IMMUTABLE, "Threads are always used";
    IO_THREADS_DO_READS = "io-threads-do-reads", Kind::Bool, "no", DEBUG | IMMUTABLE, "Threads always read";
    JEMALLOC_BG_THREAD = "jemalloc-bg-thread", Kind::Bool, "yes", MUTABLE, "There is no jemalloc";
    ACTIVEDEFRAG = "activedefrag",
        Kind::AlwaysNo("Active defragmentation cannot be enabled: it requires a Redis server compiled with a modified Jemalloc like the one shipped by default with the Redis source distribution"),
        "no", DEBUG, "There is no defragmentation";
    ACTIVE_DEFRAG_IGNORE_BYTES = "active-defrag-ignore-bytes", memory(1, LONG_MAX), "100mb", MUTABLE, "There is no defragmentation";
    ACTIVE_DEFRAG_THRESHOLD_LOWER = "active-defrag-threshold-lower", int(0, 1000), "10", MUTABLE, "There is no defragmentation";
    ACTIVE_DEFRAG_THRESHOLD_UPPER = "active-defrag-threshold-upper", int(0, 1000), "100", MUTABLE, "There is no defragmentation";
    ACTIVE_DEFRAG_CYCLE_MIN = "active-defrag-cycle-min", int(1, 99), "1", MUTABLE, "There is no defragmentation";
    ACTIVE_DEFRAG_CYCLE_MAX = "active-defrag-cycle-max", int(1, 99), "25", MUTABLE, "There is no defragmentation";
    ACTIVE_DEFRAG_MAX_SCAN_FIELDS = "active-defrag-max-scan-fields", int(1, LONG), "1000", MUTABLE, "There is no defragmentation";
    IGNORE_WARNINGS = "ignore-warnings", Kind::Text, "", MUTABLE, "There are no such warnings";
    ALWAYS_SHOW_LOGO = "always-show-logo", Kind::Bool, "no", IMMUTABLE, "There is no logo";
    LOCALE_COLLATE = "locale-collate", Kind::Text, "", MUTABLE, "Texts are compared by their bytes";
    CRASH_MEMCHECK_ENABLED = "crash-memcheck-enabled", Kind::Bool, "yes", MUTABLE, "There is no memory check after a crash";
    LOADING_PROCESS_EVENTS_INTERVAL_BYTES = "loading-process-events-interval-bytes", int(1024, INT_MAX), "2097152", HIDDEN, "Clients are answered at any time while loading";
    SERVER_CPULIST = "server_cpulist", Kind::Text, "", IMMUTABLE, "Threads are not pinned to processors";
    BIO_CPULIST = "bio_cpulist", Kind::Text, "", IMMUTABLE, "Threads are not pinned to processors";
    AOF_REWRITE_CPULIST = "aof_rewrite_cpulist", Kind::Text, "", IMMUTABLE, "Threads are not pinned to processors";
    BGSAVE_CPULIST = "bgsave_cpulist", Kind::Text, "", IMMUTABLE, "Threads are not pinned to processors";
    SOCKET_MARK_ID = "socket-mark-id", int(0, UINT_MAX), "0", IMMUTABLE, "Sockets carry no mark";
    ENABLE_MODULE_COMMAND = "enable-module-command", Kind::Enum(PROTECTED_ACTIONS), "no", IMMUTABLE, "There are no modules";
    CLUSTER_ENABLED = "cluster-enabled", Kind::AlwaysNo("this server does not support cluster mode"), "no", IMMUTABLE, "There is no cluster mode";
    CLUSTER_CONFIG_FILE = "cluster-config-file", Kind::Text, "nodes.conf", IMMUTABLE, "There is no cluster mode";
    CLUSTER_NODE_TIMEOUT = "cluster-node-timeout", int(0, LONG), "15000", MUTABLE, "There is no cluster mode";
    CLUSTER_PORT = "cluster-port", int(0, 65535), "0", IMMUTABLE, "There is no cluster mode";
    CLUSTER_REPLICA_VALIDITY_FACTOR = "cluster-replica-validity-factor" | "cluster-slave-validity-factor", int(0, INT_MAX), "10", MUTABLE, "There is no cluster mode";
    CLUSTER_REPLICA_NO_FAILOVER = "cluster-replica-no-failover" | "cluster-slave-no-failover", Kind::Bool, "no", MUTABLE, "There is no cluster mode";
    CLUSTER_MIGRATION_BARRIER = "cluster-migration-barrier", int(0, INT_MAX), "1", MUTABLE, "There is no cluster mode";
    CLUSTER_REQUIRE_FULL_COVERAGE = "cluster-require-full-coverage", Kind::Bool, "yes", MUTABLE, "There is no cluster mode";
    CLUSTER_ALLOW_READS_WHEN_DOWN = "cluster-allow-reads-when-down", Kind::Bool, "no", MUTABLE, "There is no cluster mode";
    CLUSTER_ALLOW_PUBSUBSHARD_WHEN_DOWN = "cluster-allow-pubsubshard-when-down", Kind::Bool, "yes", MUTABLE, "There is no cluster mode";
    CLUSTER_ALLOW_REPLICA_MIGRATION = "cluster-allow-replica-migration", Kind::Bool, "yes", MUTABLE, "There is no cluster mode";
    CLUSTER_LINK_SENDBUF_LIMIT = "cluster-link-sendbuf-limit", memory(0, u64::MAX), "0", MUTABLE, "There is no cluster mode";
    CLUSTER_ANNOUNCE_IP = "cluster-announce-ip", Kind::Text, "", MUTABLE, "There is no cluster mode";
    CLUSTER_ANNOUNCE_HOSTNAME = "cluster-announce-hostname", Kind::CheckedText(hostname), "", MUTABLE, "There is no cluster mode";
    CLUSTER_ANNOUNCE_HUMAN_NODENAME = "cluster-announce-human-nodename", Kind::CheckedText(node_name), "", MUTABLE, "There is no cluster mode";
    CLUSTER_ANNOUNCE_PORT = "cluster-announce-port", int(0, 65535), "0", MUTABLE, "There is no cluster mode";
    CLUSTER_ANNOUNCE_TLS_PORT = "cluster-announce-tls-port", int(0, 65535), "0", MUTABLE, "There is no cluster mode";
    CLUSTER_ANNOUNCE_BUS_PORT = "cluster-announce-bus-port", int(0, 65535), "0", MUTABLE, "There is no cluster mode";
    CLUSTER_PREFERRED_ENDPOINT_TYPE = "cluster-preferred-endpoint-type", Kind::Enum(ENDPOINT_TYPES), "ip", MUTABLE, "There is no cluster mode";
}

/// The options whose feature is yet to come.
pub mod later {
    use super::*;

    const fn before() -> usize {
        super::own_len() + STOCK.len()
    }

    const fn base(place: usize, before: usize) -> u16 {
        super::base(place, before)
    }

    options! {
        /// Options whose feature is yet to come.
        ROWS, base super::before(), all PENDING;

        BUSY_REPLY_THRESHOLD = "busy-reply-threshold" | "lua-time-limit", int(0, LONG), "5000", MUTABLE, "Milliseconds after which a script is busy";
    }
}

pub use later::ROWS as LATER;

/// The names of the options that are accepted without effect.
pub fn stock_names() -> impl Iterator<Item = &'static str> {
    STOCK.iter().map(|row: &Opt| row.name).chain(DEPRECATED)
}
