//! What a command *is*: the row of the command table.
//!
//! One [`Command`] row says everything the server knows about a command, and everything else is
//! derived from it: arity errors, the keys it touches and so the shards it locks, the checks that
//! come before it, its ACL categories, `COMMAND INFO`, `COMMAND DOCS`, and its statistics.
//! The rows themselves stand beside their handlers, one file a family, as
//! `pub static COMMANDS: &[Command]`; they are built with the `const` methods below.
//!
//! Follows <https://redis.io/docs/latest/commands/command/> and
//! <https://redis.io/docs/latest/develop/reference/key-specs/>.

use super::Handler;

/// A set of command flags, as `COMMAND INFO` reports them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(pub u32);

/// A set of ACL categories.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Categories(pub u32);

/// A set of flags of one key specification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyFlags(pub u16);

macro_rules! bits {
    ($set:ident : $int:ty { $($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)* }) => {
        $($(#[$doc])* pub const $name: $set = $set(1 << $bit);)*
        impl $set {
            /// Every member with the name Redis gives it, in the order of its bit.
            pub const NAMES: &'static [($set, &'static str)] = &[$(($name, $text)),*];
            /// The empty set.
            pub const NONE: $set = $set(0);
            /// Both sets together.
            pub const fn or(self, other: $set) -> $set {
                $set(self.0 | other.0)
            }
            /// Whether any member of `other` is in this set.
            pub const fn has(self, other: $set) -> bool {
                self.0 & other.0 != 0
            }
            /// The members that are in both sets.
            pub const fn and(self, other: $set) -> $set {
                $set(self.0 & other.0)
            }
            /// The names of the members, in the order of their bits.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMES.iter().filter(move |(bit, _)| self.has(*bit)).map(|(_, name)| *name)
            }
        }
        impl std::ops::BitOr for $set {
            type Output = $set;
            fn bitor(self, other: $set) -> $set {
                self.or(other)
            }
        }
    };
}

bits!(Flags: u32 {
    /// May change the data set.
    WRITE = 0, "write";
    /// Never changes the data set.
    READONLY = 1, "readonly";
    /// Refused when memory is above `maxmemory` and nothing can be evicted.
    DENYOOM = 2, "denyoom";
    /// Administration.
    ADMIN = 3, "admin";
    /// Pub/sub related.
    PUBSUB = 4, "pubsub";
    /// Not allowed in scripts.
    NOSCRIPT = 5, "noscript";
    /// May block the client.
    BLOCKING = 6, "blocking";
    /// Allowed while the data set is loading.
    LOADING = 7, "loading";
    /// Allowed on a replica with stale data.
    STALE = 8, "stale";
    /// Not shown in MONITOR.
    SKIP_MONITOR = 9, "skip_monitor";
    /// Not shown in the slow log.
    SKIP_SLOWLOG = 10, "skip_slowlog";
    /// In cluster mode, implies ASKING.
    ASKING = 11, "asking";
    /// Constant or logarithmic time.
    FAST = 12, "fast";
    /// Allowed before authentication.
    NO_AUTH = 13, "no_auth";
    /// May be called with no key at all.
    NO_MANDATORY_KEYS = 14, "no_mandatory_keys";
    /// Not allowed while loading asynchronously.
    NO_ASYNC_LOADING = 15, "no_async_loading";
    /// Not allowed inside MULTI.
    NO_MULTI = 16, "no_multi";
    /// The key specifications do not tell the keys; a function of its own does.
    MOVABLEKEYS = 17, "movablekeys";
    /// Allowed while a script is running for too long.
    ALLOW_BUSY = 18, "allow_busy";
    /// May be replicated though it writes nothing. Not shown to clients.
    MAY_REPLICATE = 19, "may_replicate";
    /// Needs the consent of an option such as `enable-debug-command`. Not shown to clients.
    PROTECTED = 20, "protected";
});

/// The flags that `COMMAND INFO` shows.
pub const SHOWN_FLAGS: Flags = Flags(!(MAY_REPLICATE.0 | PROTECTED.0));

bits!(Categories: u32 {
    /// `@keyspace`
    CAT_KEYSPACE = 0, "keyspace";
    /// `@read`
    CAT_READ = 1, "read";
    /// `@write`
    CAT_WRITE = 2, "write";
    /// `@set`
    CAT_SET = 3, "set";
    /// `@sortedset`
    CAT_SORTEDSET = 4, "sortedset";
    /// `@list`
    CAT_LIST = 5, "list";
    /// `@hash`
    CAT_HASH = 6, "hash";
    /// `@string`
    CAT_STRING = 7, "string";
    /// `@bitmap`
    CAT_BITMAP = 8, "bitmap";
    /// `@hyperloglog`
    CAT_HYPERLOGLOG = 9, "hyperloglog";
    /// `@geo`
    CAT_GEO = 10, "geo";
    /// `@stream`
    CAT_STREAM = 11, "stream";
    /// `@pubsub`
    CAT_PUBSUB = 12, "pubsub";
    /// `@admin`
    CAT_ADMIN = 13, "admin";
    /// `@fast`
    CAT_FAST = 14, "fast";
    /// `@slow`
    CAT_SLOW = 15, "slow";
    /// `@blocking`
    CAT_BLOCKING = 16, "blocking";
    /// `@dangerous`
    CAT_DANGEROUS = 17, "dangerous";
    /// `@connection`
    CAT_CONNECTION = 18, "connection";
    /// `@transaction`
    CAT_TRANSACTION = 19, "transaction";
    /// `@scripting`
    CAT_SCRIPTING = 20, "scripting";
});

bits!(KeyFlags: u16 {
    /// Reads the value, metadata or existence of the key.
    RO = 0, "RO";
    /// Reads and changes the value.
    RW = 1, "RW";
    /// Overwrites the value without reading it.
    OW = 2, "OW";
    /// Deletes the key.
    RM = 3, "RM";
    /// Returns, copies or otherwise uses the value's user data.
    ACCESS = 4, "access";
    /// Changes the value in a way that depends on its old content.
    UPDATE = 5, "update";
    /// Adds data without touching what is there.
    INSERT = 6, "insert";
    /// Removes content from the value.
    DELETE = 7, "delete";
    /// Not a key, though treated like one for routing.
    NOT_KEY = 8, "not_key";
    /// The specification does not find all keys.
    INCOMPLETE = 9, "incomplete";
    /// The flags depend on the arguments.
    VARIABLE_FLAGS = 10, "variable_flags";
});

/// How the first key of a key specification is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// At this argument position (the command's name is 0).
    Index(usize),
    /// After this keyword, searched from a position; a negative one searches backwards from the end.
    Keyword(&'static str, isize),
    /// Only the command's own function knows.
    Unknown,
}

/// How the further keys are found, starting at the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Find {
    /// Up to `last` (relative to the first key; negative counts from the end), every `step`
    /// arguments; `limit` > 1 stops after that fraction of the arguments left.
    Range {
        /// Last key, relative to the first, or from the end when negative.
        last: isize,
        /// Distance between two keys.
        step: usize,
        /// 0 or 1: none; n: only the first 1/n of the remaining arguments.
        limit: usize,
    },
    /// A count at `at`, then that many keys from `first`, every `step`; all relative to the begin.
    KeyNum {
        /// Where the count stands.
        at: usize,
        /// Where the first key stands.
        first: usize,
        /// Distance between two keys.
        step: usize,
    },
    /// Only the command's own function knows.
    Unknown,
}

/// One key specification: where some of a command's keys are and what happens to them.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Where the first key is.
    pub begin: Begin,
    /// Where the others are.
    pub find: Find,
    /// What the command does with these keys.
    pub flags: KeyFlags,
    /// A remark for `COMMAND DOCS` and `COMMAND INFO`; usually empty.
    pub notes: &'static str,
}

impl KeySpec {
    /// The keys from `first` to `last` (absolute; negative counts from the end), every `step`.
    pub const fn range(first: usize, last: isize, step: usize, flags: KeyFlags) -> KeySpec {
        let last = if last >= 0 {
            last - first as isize
        } else {
            last
        };
        KeySpec {
            begin: Begin::Index(first),
            find: Find::Range {
                last,
                step,
                limit: 0,
            },
            flags,
            notes: "",
        }
    }
    /// A single key at `position`.
    pub const fn one(position: usize, flags: KeyFlags) -> KeySpec {
        KeySpec::range(position, position as isize, 1, flags)
    }
    /// A count at `position` and that many keys behind it.
    pub const fn counted(position: usize, flags: KeyFlags) -> KeySpec {
        KeySpec {
            begin: Begin::Index(position),
            find: Find::KeyNum {
                at: 0,
                first: 1,
                step: 1,
            },
            flags,
            notes: "",
        }
    }
    /// The keys behind a keyword that is searched for from argument `from` on (backwards from the
    /// end when negative).
    pub const fn after(keyword: &'static str, from: isize, find: Find, flags: KeyFlags) -> KeySpec {
        KeySpec {
            begin: Begin::Keyword(keyword, from),
            find,
            flags,
            notes: "",
        }
    }
    /// Keys that only the command's own function finds.
    pub const fn unknown(flags: KeyFlags) -> KeySpec {
        KeySpec {
            begin: Begin::Unknown,
            find: Find::Unknown,
            flags,
            notes: "",
        }
    }
    /// The same with a remark.
    pub const fn notes(mut self, notes: &'static str) -> KeySpec {
        self.notes = notes;
        self
    }
}

/// The group under which the documentation lists a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Pubsub,
    Transactions,
    Connection,
    Server,
    Scripting,
    Hyperloglog,
    Cluster,
    Geo,
    Stream,
    Bitmap,
}

impl Group {
    /// The group's name in `COMMAND DOCS`.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::Pubsub => "pubsub",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
            Group::Hyperloglog => "hyperloglog",
            Group::Cluster => "cluster",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
        }
    }
}

/// Which locks the dispatcher takes before it calls the handler.
#[derive(Clone, Copy, Debug)]
pub enum Locking {
    /// The shards of the command's keys: shared for `READONLY` commands, exclusive otherwise.
    Keys,
    /// Every shard, exclusively.
    AllWrite,
    /// Every shard, shared.
    AllRead,
    /// None; the handler takes what it needs, one shard at a time.
    None,
    /// What the function says for the arguments at hand.
    ByArgs(fn(&super::Args<'_>) -> Scope),
    /// What the commands of the client's transaction need.
    Transaction,
}

/// How much the dispatcher locks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope {
    /// Every shard, not only those of the command's keys.
    pub all: bool,
    /// Exclusively.
    pub write: bool,
}

/// Finds the keys of a command whose key specifications do not tell: returns argument positions
/// with the flags of each, or `None` when the arguments make no sense.
pub type KeyFinder = fn(&super::Args<'_>) -> Option<Vec<(usize, KeyFlags)>>;

/// One row of the command table.
#[derive(Clone, Copy)]
pub struct Command {
    /// Lower-case name; for a subcommand its own word only (`kill` of `client kill`).
    pub name: &'static str,
    /// Number of arguments with the name; negative: at least that many.
    pub arity: i16,
    /// Flags as reported by `COMMAND INFO`.
    pub flags: Flags,
    /// ACL categories, the implied ones (see [`Command::categories`]) not included.
    pub acl: Categories,
    /// Where the keys are.
    pub keys: &'static [KeySpec],
    /// Finds the keys where `keys` cannot.
    pub find_keys: Option<KeyFinder>,
    /// Documentation group.
    pub group: Group,
    /// First Redis version with this command.
    pub since: &'static str,
    /// Time complexity.
    pub complexity: &'static str,
    /// One line of documentation.
    pub summary: &'static str,
    /// The arguments in the notation of `docs.rs`.
    pub args: &'static str,
    /// Changes since its first version: (version, change).
    pub history: &'static [(&'static str, &'static str)],
    /// Hints for clients and proxies, such as `nondeterministic_output`.
    pub tips: &'static [&'static str],
    /// Version since which the command is deprecated, and what replaces it.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// Whether the documentation calls it a system command, not meant for applications.
    pub syscmd: bool,
    /// Subcommands; the first argument selects one.
    pub subcommands: &'static [Command],
    /// What to lock.
    pub locking: Locking,
    /// Whether the command may take long and so must run on a worker of its own.
    pub slow: bool,
    /// The function that carries it out.
    pub handler: Handler,
}

impl Command {
    /// A row with the given name, arity and handler, no flags and no keys.
    pub const fn new(name: &'static str, arity: i16, handler: Handler) -> Command {
        Command {
            name,
            arity,
            flags: Flags::NONE,
            acl: Categories::NONE,
            keys: &[],
            find_keys: None,
            group: Group::Generic,
            since: "1.0.0",
            complexity: "O(1)",
            summary: "",
            args: "",
            history: &[],
            tips: &[],
            deprecated: None,
            syscmd: false,
            subcommands: &[],
            locking: Locking::Keys,
            slow: false,
            handler,
        }
    }
    /// Sets the flags.
    pub const fn flags(mut self, flags: Flags) -> Command {
        self.flags = flags;
        self
    }
    /// Sets the explicit ACL categories.
    pub const fn acl(mut self, acl: Categories) -> Command {
        self.acl = acl;
        self
    }
    /// Sets the key specifications.
    pub const fn keys(mut self, keys: &'static [KeySpec]) -> Command {
        self.keys = keys;
        self
    }
    /// Sets the function that finds the keys.
    pub const fn find_keys(mut self, find: KeyFinder) -> Command {
        self.find_keys = Some(find);
        self
    }
    /// Sets group, first version, complexity and summary.
    pub const fn docs(
        mut self,
        group: Group,
        since: &'static str,
        complexity: &'static str,
        summary: &'static str,
    ) -> Command {
        self.group = group;
        self.since = since;
        self.complexity = complexity;
        self.summary = summary;
        self
    }
    /// Sets the arguments, in the notation of `docs.rs`.
    pub const fn args(mut self, args: &'static str) -> Command {
        self.args = args;
        self
    }
    /// Sets the history.
    pub const fn history(mut self, history: &'static [(&'static str, &'static str)]) -> Command {
        self.history = history;
        self
    }
    /// Sets the tips.
    pub const fn tips(mut self, tips: &'static [&'static str]) -> Command {
        self.tips = tips;
        self
    }
    /// Marks the command as deprecated since a version, with its replacement.
    pub const fn deprecated(mut self, since: &'static str, by: &'static str) -> Command {
        self.deprecated = Some((since, by));
        self
    }
    /// Marks the command as a system command.
    pub const fn syscmd(mut self) -> Command {
        self.syscmd = true;
        self
    }
    /// Sets the subcommands.
    pub const fn subcommands(mut self, subcommands: &'static [Command]) -> Command {
        self.subcommands = subcommands;
        self
    }
    /// Sets what to lock.
    pub const fn locking(mut self, locking: Locking) -> Command {
        self.locking = locking;
        self
    }
    /// Marks the command as one that may take long.
    pub const fn slow(mut self) -> Command {
        self.slow = true;
        self
    }
    /// The ACL categories: the explicit ones and those that follow from the flags.
    pub const fn categories(&self) -> Categories {
        let mut set = self.acl;
        if self.flags.has(WRITE) {
            set = set.or(CAT_WRITE);
        }
        if self.flags.has(READONLY) && !self.acl.has(CAT_SCRIPTING) {
            set = set.or(CAT_READ);
        }
        if self.flags.has(ADMIN) {
            set = set.or(CAT_ADMIN).or(CAT_DANGEROUS);
        }
        if self.flags.has(PUBSUB) {
            set = set.or(CAT_PUBSUB);
        }
        if self.flags.has(BLOCKING) {
            set = set.or(CAT_BLOCKING);
        }
        set.or(if self.flags.has(FAST) {
            CAT_FAST
        } else {
            CAT_SLOW
        })
    }
    /// Whether `argc` arguments (the name included) fit the arity.
    pub const fn arity_fits(&self, argc: usize) -> bool {
        if self.arity >= 0 {
            argc == self.arity as usize
        } else {
            argc >= self.arity.unsigned_abs() as usize
        }
    }
}
