//! The options whose features exist, one readable row each, and the table of
//! all options.
//!
//! A row is: the name of its constant, the name (and an older one after `|`),
//! the kind, the default, the flags, and a line of help. The config-file
//! parser, the command-line flags, `CONFIG GET`, `CONFIG SET` and `--help` all
//! follow from it. A new feature adds its rows here, or moves them here from
//! the list of pending ones in [`super::stock`].

use super::disk::DISK;
use super::process::PROCESS;
use super::replication::REPLICATION;
use super::stock::{LATER, STOCK};
use super::value::{INT_MAX, INT_MIN, Kind, LONG_MAX, Names, UINT_MAX};

/// Which option: its place in [`TABLE`]. The constants are in [`super::id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptId(pub(super) u16);

impl OptId {
    /// The row of this option.
    pub fn row(self) -> &'static Opt {
        &TABLE[usize::from(self.0)]
    }

    /// The name of this option.
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Opt {
    /// The name, in lower case.
    pub name: &'static str,
    /// A second name from older versions.
    pub alias: Option<&'static str>,
    /// What it holds.
    pub kind: Kind,
    /// The default, as it would stand in a config file.
    pub default: &'static str,
    /// A sum of the flags below.
    pub flags: u16,
    /// One line for `--help`.
    pub doc: &'static str,
}

impl Opt {
    /// Whether a flag is set.
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// No flag: it can change while the server runs.
pub const MUTABLE: u16 = 0;
/// It is set at the start and never changes.
pub const IMMUTABLE: u16 = 1 << 0;
/// It holds a secret, which logs must not show.
pub const SENSITIVE: u16 = 1 << 1;
/// `CONFIG GET` shows it by its exact name only.
pub const HIDDEN: u16 = 1 << 2;
/// It takes several words.
pub const MULTI_ARG: u16 = 1 << 3;
/// It is of use for debugging only.
pub const DEBUG: u16 = 1 << 4;
/// `CONFIG SET` needs `enable-protected-configs`.
pub const PROTECTED: u16 = 1 << 5;
/// `CONFIG SET` is refused while the data set is loading.
pub const DENY_LOADING: u16 = 1 << 6;
/// It is accepted for the sake of stock config files and has no effect, as the
/// machinery that it tunes does not exist here.
pub const NO_EFFECT: u16 = 1 << 7;
/// It is accepted, but its feature is yet to come.
pub const PENDING: u16 = 1 << 8;

/// Turns rows into an array, and each row's first word into the [`OptId`] of
/// the row. `base` is how many rows stand before these in [`TABLE`].
macro_rules! options {
    (
        $(#[$doc:meta])* $rows:ident, base $base:expr, all $common:expr;
        $($id:ident = $name:literal $(| $alias:literal)?, $kind:expr, $default:expr, $flags:expr, $help:literal;)*
    ) => {
        $(#[$doc])*
        pub const $rows: &[$crate::server::config::table::Opt] = &[
            $($crate::server::config::table::Opt {
                name: $name,
                alias: options!(@alias $($alias)?),
                kind: $kind,
                default: $default,
                flags: $flags | $common,
                doc: $help,
            },)*
        ];

        /// The constants of these rows.
        pub mod id {
            use $crate::server::config::table::OptId;

            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            enum Place { $($id,)* }

            $(
                #[doc = concat!("`", $name, "`: ", $help)]
                pub const $id: OptId = OptId(super::base(Place::$id as usize, $base));
            )*
        }
    };
    (@alias) => { None };
    (@alias $alias:literal) => { Some($alias) };
}
pub(super) use options;

const fn base(place: usize, before: usize) -> u16 {
    (place + before) as u16
}

const ROWS: usize =
    OWN.len() + STOCK.len() + LATER.len() + DISK.len() + REPLICATION.len() + PROCESS.len();

/// Every option: those with a feature behind them, then those without effect,
/// then the pending ones, and last those about the disk, replication and the process, which have
/// features too.
pub static TABLE: &[Opt] = &{
    let mut all = [OWN[0]; ROWS];
    let sections = [OWN, STOCK, LATER, DISK, REPLICATION, PROCESS];
    let (mut section, mut at) = (0, 0);
    while section < sections.len() {
        let mut i = 0;
        while i < sections[section].len() {
            all[at] = sections[section][i];
            at += 1;
            i += 1;
        }
        section += 1;
    }
    all
};

/// A number within bounds.
pub(super) const fn int(min: i64, max: i64) -> Kind {
    Kind::Int { min, max }
}

/// A number of bytes within bounds.
pub(super) const fn memory(min: u64, max: u64) -> Kind {
    Kind::Memory { min, max }
}

/// The levels of `loglevel`, as numbers that grow with importance.
pub const LOG_LEVELS: Names = &[
    ("debug", 0),
    ("verbose", 1),
    ("notice", 2),
    ("warning", 3),
    ("nothing", 4),
];

/// Bit of a [`MAXMEMORY_POLICIES`] number: keys go by idle time.
pub const POLICY_LRU: i64 = 1 << 0;
/// Bit of a [`MAXMEMORY_POLICIES`] number: keys go by frequency of use.
pub const POLICY_LFU: i64 = 1 << 1;
/// Bit of a [`MAXMEMORY_POLICIES`] number: keys without expiry go as well.
pub const POLICY_ALLKEYS: i64 = 1 << 2;
/// Bit of a [`MAXMEMORY_POLICIES`] number: keys go by time to live.
pub const POLICY_TTL: i64 = 1 << 3;
/// Bit of a [`MAXMEMORY_POLICIES`] number: keys go at random.
pub const POLICY_RANDOM: i64 = 1 << 4;
/// The [`MAXMEMORY_POLICIES`] number of `noeviction`.
pub const POLICY_NOEVICTION: i64 = 0;

/// The policies of `maxmemory-policy`, as sums of the bits above.
pub const MAXMEMORY_POLICIES: Names = &[
    ("volatile-lru", POLICY_LRU),
    ("volatile-lfu", POLICY_LFU),
    ("volatile-random", POLICY_RANDOM),
    ("volatile-ttl", POLICY_TTL),
    ("allkeys-lru", POLICY_LRU | POLICY_ALLKEYS),
    ("allkeys-lfu", POLICY_LFU | POLICY_ALLKEYS),
    ("allkeys-random", POLICY_RANDOM | POLICY_ALLKEYS),
    ("noeviction", POLICY_NOEVICTION),
];

/// Who may do a dangerous thing (`enable-debug-command` and its like).
pub const PROTECTED_ACTIONS: Names = &[
    ("no", ACTION_NO),
    ("yes", ACTION_YES),
    ("local", ACTION_LOCAL),
];
/// Nobody may.
pub const ACTION_NO: i64 = 0;
/// Everybody may.
pub const ACTION_YES: i64 = 1;
/// Clients on this machine may.
pub const ACTION_LOCAL: i64 = 2;

/// Whose names for encodings are used (`encoding-names`).
pub const ENCODING_DIALECTS: Names = &[("7.0", NAMES_7_0), ("7.2", NAMES_7_2)];
/// Those of Redis 7.0: a list is a quicklist, and a set of words a hashtable, however small.
pub const NAMES_7_0: i64 = 0;
/// Those of Redis 7.2: small ones are listpacks, as they are here.
pub const NAMES_7_2: i64 = 1;

/// What a new user may do with channels (`acl-pubsub-default`).
const CHANNEL_DEFAULTS: Names = &[("allchannels", 1), ("resetchannels", 0)];

const MB: u64 = 1 << 20;
const LONG: i64 = i64::MAX;

options! {
    /// The options with a feature behind them.
    OWN, base 0, all MUTABLE;

    BIND = "bind", Kind::Addresses, "* -::*", MULTI_ARG,
        "Addresses to listen on; a leading - means the address may be missing";
    PORT = "port", int(0, 65535), "6379", MUTABLE,
        "TCP port to listen on; 0 listens on none";
    UNIXSOCKET = "unixsocket", Kind::Text, "", IMMUTABLE,
        "Path of a Unix socket to listen on";
    UNIXSOCKETPERM = "unixsocketperm", Kind::Octal { max: 0o777 }, "0", IMMUTABLE,
        "Permission bits of the Unix socket; 0 leaves them as created";
    TCP_BACKLOG = "tcp-backlog", int(0, INT_MAX), "511", IMMUTABLE,
        "How many connections may wait to be accepted";
    TIMEOUT = "timeout", int(0, INT_MAX), "0", MUTABLE,
        "Seconds after which an idle client is closed; 0 keeps it for ever";
    TCP_KEEPALIVE = "tcp-keepalive", int(0, INT_MAX), "300", MUTABLE,
        "Seconds between keepalive probes of a quiet connection; 0 sends none";
    MAXCLIENTS = "maxclients", int(1, UINT_MAX), "10000", MUTABLE,
        "How many clients may be connected at the same time";
    PROTECTED_MODE = "protected-mode", Kind::Bool, "yes", MUTABLE,
        "Without a password, serve clients on this machine only";
    REQUIREPASS = "requirepass", Kind::Text, "", SENSITIVE,
        "Password that clients must give; empty asks for none";
    ACLFILE = "aclfile", Kind::Text, "", IMMUTABLE,
        "File with the users and what they may do; empty has them in the configuration";
    ACL_PUBSUB_DEFAULT = "acl-pubsub-default", Kind::Enum(CHANNEL_DEFAULTS), "resetchannels", MUTABLE,
        "Channels that new users may use: allchannels or resetchannels";
    ACLLOG_MAX_LEN = "acllog-max-len", int(0, LONG), "128", MUTABLE,
        "Entries of ACL LOG";
    DATABASES = "databases", int(1, INT_MAX), "16", IMMUTABLE,
        "How many databases SELECT can choose from";
    LOGLEVEL = "loglevel", Kind::Enum(LOG_LEVELS), "notice", MUTABLE,
        "Least important lines to log: debug, verbose, notice, warning, nothing";
    LOGFILE = "logfile", Kind::Text, "", IMMUTABLE,
        "File to append the log to; empty logs to standard output";
    DIR = "dir", Kind::Dir, ".", PROTECTED | DENY_LOADING,
        "Working directory, where files without a path are kept";
    SAVE = "save", Kind::Save, "3600 1 300 100 60 10000", MULTI_ARG,
        "Snapshot after so many seconds and changes; \"\" for never";
    PIDFILE = "pidfile", Kind::Text, "", IMMUTABLE,
        "File to write the process id to";
    DAEMONIZE = "daemonize", Kind::Bool, "no", IMMUTABLE,
        "Run in the background";
    HZ = "hz", Kind::Clamped { low: 1, high: 500 }, "10", MUTABLE,
        "How often a second periodic work is looked after";
    ACTIVE_EXPIRE_EFFORT = "active-expire-effort", int(1, 10), "1", MUTABLE,
        "How eagerly expired keys are removed in the background, 1 to 10";
    PROTO_MAX_BULK_LEN = "proto-max-bulk-len", memory(MB, LONG_MAX), "512mb", DEBUG,
        "Longest single argument that a client may send";
    CLIENT_QUERY_BUFFER_LIMIT = "client-query-buffer-limit", memory(MB, LONG_MAX), "1gb", DEBUG,
        "Most bytes of unread requests that a client may pile up";
    CLIENT_OUTPUT_BUFFER_LIMIT = "client-output-buffer-limit", Kind::OutputLimits,
        "normal 0 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60", MULTI_ARG,
        "Unread replies at which a client is closed: class, hard, soft, seconds";
    MAXMEMORY = "maxmemory", memory(0, u64::MAX), "0", MUTABLE,
        "Most memory to use for data; 0 sets no limit";
    MAXMEMORY_POLICY = "maxmemory-policy", Kind::Enum(MAXMEMORY_POLICIES), "noeviction", MUTABLE,
        "Which keys make room when maxmemory is reached";
    MAXMEMORY_SAMPLES = "maxmemory-samples", int(1, INT_MAX), "5", MUTABLE,
        "Keys compared for each eviction";
    MAXMEMORY_EVICTION_TENACITY = "maxmemory-eviction-tenacity", int(0, 100), "10", MUTABLE,
        "How long one eviction may go on";
    MAXMEMORY_CLIENTS = "maxmemory-clients", Kind::MemoryOrPercent, "0", MUTABLE,
        "Memory of all clients at which the largest are closed";
    LFU_LOG_FACTOR = "lfu-log-factor", int(0, INT_MAX), "10", MUTABLE,
        "How slowly the counter of uses grows";
    LFU_DECAY_TIME = "lfu-decay-time", int(0, INT_MAX), "1", MUTABLE,
        "Minutes after which the counter of uses falls by one";
    LAZYFREE_LAZY_EVICTION = "lazyfree-lazy-eviction", Kind::Bool, "no", DEBUG,
        "Free evicted values in the background";
    LAZYFREE_LAZY_EXPIRE = "lazyfree-lazy-expire", Kind::Bool, "no", DEBUG,
        "Free expired values in the background";
    LAZYFREE_LAZY_SERVER_DEL = "lazyfree-lazy-server-del", Kind::Bool, "no", DEBUG,
        "Free overwritten values in the background";
    LAZYFREE_LAZY_USER_DEL = "lazyfree-lazy-user-del", Kind::Bool, "no", DEBUG,
        "Let DEL free in the background, as UNLINK does";
    LAZYFREE_LAZY_USER_FLUSH = "lazyfree-lazy-user-flush", Kind::Bool, "no", DEBUG,
        "Let FLUSHALL and FLUSHDB free in the background unless told SYNC";
    ENABLE_DEBUG_COMMAND = "enable-debug-command", Kind::Enum(PROTECTED_ACTIONS), "no", IMMUTABLE,
        "Who may use DEBUG: no, yes (all), local (this machine)";
    ENABLE_PROTECTED_CONFIGS = "enable-protected-configs", Kind::Enum(PROTECTED_ACTIONS), "no", IMMUTABLE,
        "Who may set protected options: no, yes (all), local (this machine)";
    LATENCY_TRACKING = "latency-tracking", Kind::Bool, "yes", MUTABLE,
        "Keep a latency histogram of each command";
    LATENCY_TRACKING_INFO_PERCENTILES = "latency-tracking-info-percentiles", Kind::Percentiles,
        "50 99 99.9", MULTI_ARG,
        "Percentiles that INFO latencystats shows";
    LATENCY_MONITOR_THRESHOLD = "latency-monitor-threshold", int(0, LONG), "0", MUTABLE,
        "Milliseconds from which on an event is one for LATENCY; 0 for none";
    SLOWLOG_LOG_SLOWER_THAN = "slowlog-log-slower-than", int(-1, LONG), "10000", MUTABLE,
        "Microseconds from which on a command is one for SLOWLOG; -1 for none";
    SLOWLOG_MAX_LEN = "slowlog-max-len", int(0, LONG), "128", MUTABLE,
        "Commands that SLOWLOG keeps";
    TRACKING_TABLE_MAX_KEYS = "tracking-table-max-keys", int(0, LONG), "1000000", MUTABLE,
        "Keys remembered for client-side caching; 0 for any number";
    NOTIFY_KEYSPACE_EVENTS = "notify-keyspace-events", Kind::EventClasses, "", MUTABLE,
        "Classes of events about keys that are published as messages";
    ENCODING_NAMES = "encoding-names", Kind::Enum(ENCODING_DIALECTS), "7.0", MUTABLE,
        "Name small lists and sets in OBJECT ENCODING as Redis 7.0 does, or as 7.2";
    HASH_MAX_LISTPACK_ENTRIES = "hash-max-listpack-entries" | "hash-max-ziplist-entries", int(0, LONG), "512", MUTABLE,
        "Fields of a packed hash";
    HASH_MAX_LISTPACK_VALUE = "hash-max-listpack-value" | "hash-max-ziplist-value", memory(0, LONG_MAX), "64", MUTABLE,
        "Longest value in a packed hash";
    LIST_MAX_LISTPACK_SIZE = "list-max-listpack-size" | "list-max-ziplist-size", int(INT_MIN, INT_MAX), "-2", MUTABLE,
        "Size of a list's nodes";
    LIST_COMPRESS_DEPTH = "list-compress-depth", int(0, INT_MAX), "0", DEBUG,
        "Nodes at a list's ends left plain";
    SET_MAX_INTSET_ENTRIES = "set-max-intset-entries", int(0, LONG), "512", MUTABLE,
        "Members of a packed set of integers";
    SET_MAX_LISTPACK_ENTRIES = "set-max-listpack-entries", int(0, LONG), "128", MUTABLE,
        "Members of a packed set";
    SET_MAX_LISTPACK_VALUE = "set-max-listpack-value", memory(0, LONG_MAX), "64", MUTABLE,
        "Longest member of a packed set";
    ZSET_MAX_LISTPACK_ENTRIES = "zset-max-listpack-entries" | "zset-max-ziplist-entries", int(0, LONG), "128", MUTABLE,
        "Members of a packed sorted set";
    ZSET_MAX_LISTPACK_VALUE = "zset-max-listpack-value" | "zset-max-ziplist-value", memory(0, LONG_MAX), "64", MUTABLE,
        "Longest member of a packed sorted set";
    HLL_SPARSE_MAX_BYTES = "hll-sparse-max-bytes", memory(0, LONG_MAX), "3000", MUTABLE,
        "Size of a sparse HyperLogLog";
    STREAM_NODE_MAX_BYTES = "stream-node-max-bytes", memory(0, LONG_MAX), "4096", MUTABLE,
        "Bytes in a stream's node";
    STREAM_NODE_MAX_ENTRIES = "stream-node-max-entries", int(0, LONG), "100", MUTABLE,
        "Entries in a stream's node";
}
