//! The shared state that commands may touch.
//!
//! [`Server`] ties it together: the store, the configuration, the clients that are connected, the
//! statistics. Whoever feeds commands in (sockets, later a replica link and the AOF) sits above
//! this floor and holds an `Arc` of it.

pub mod acl;
pub mod aof;
pub mod arrivals;
pub mod blocking;
pub mod client;
pub mod clients;
pub mod config;
pub mod ending;
pub mod eviction;
pub mod histogram;
pub mod latency;
pub mod lazyfree;
pub mod loading;
pub mod log;
pub mod logger;
pub mod mail;
pub mod outbox;
pub mod pause;
pub mod process;
pub mod pubsub;
pub mod replication;
pub mod rewriting;
pub mod saving;
pub mod slowlog;
pub mod stats;
pub mod syslog;
pub mod targets;
pub mod threads;
pub mod tracking;
pub mod watchdog;
pub mod watching;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use crate::store::Store;
use crate::store::access::Policy;
use crate::types::quicklist::PACKED_THRESHOLD;
use crate::util::{clock, random};
use acl::Acl;
use acl::catalogue::Catalogue;
use aof::Aof;
use blocking::Blocking;
use client::Client;
use clients::Clients;
use config::{Config, id, table};
use ending::{Asked, Grace};
use eviction::Eviction;
use latency::Latency;
use lazyfree::LazyFree;
use loading::Loading;
use log::Log;
use pause::Pause;
use process::Process;
use pubsub::PubSub;
use replication::Replication;
use saving::Saving;
use slowlog::Slowlog;
use stats::Stats;
use targets::Targets;
use tracking::Tracking;
use watchdog::Watchdog;
use watching::Watching;

/// The Redis version whose behaviour the server offers, as `INFO` and `HELLO` report it.
pub const REDIS_VERSION: &str = "7.2.4";

/// Everything the sessions of one server share.
pub struct Server {
    /// The keys.
    pub store: Store,
    /// The options in force.
    pub config: Config,
    /// The users, and what they may do.
    pub acl: Acl,
    /// Who is connected.
    pub clients: Clients,
    /// Clients that wait in blocking commands.
    pub blocking: Blocking,
    /// Keys that clients watch.
    pub watching: Watching,
    /// Keys that clients have cached.
    pub tracking: Tracking,
    /// Who gets which messages.
    pub pubsub: PubSub,
    /// What has been counted.
    pub stats: Stats,
    /// What has taken long.
    pub latency: Latency,
    /// Commands that have taken long.
    pub slowlog: Slowlog,
    /// `CLIENT PAUSE`.
    pub pause: Pause,
    /// Which keys go when too much memory is in use.
    pub eviction: Eviction,
    /// The process as the system sees it.
    pub process: Process,
    /// Tells the log of commands that take long.
    pub watchdog: Watchdog,
    /// Frees large values in the background.
    pub lazyfree: LazyFree,
    /// What has happened to the data set.
    pub log: Log,
    /// Who follows whom.
    pub replication: Replication,
    /// The writer of the append only file.
    pub aof: Aof,
    /// Saving the data set.
    pub saving: Saving,
    /// Whether the data set is being loaded.
    pub loading: Loading,
    /// Libraries of functions that came with a data set. They are not carried out, but saved with it
    /// again.
    pub functions: RwLock<Vec<Vec<u8>>>,
    /// Set, while every shard is locked, once nothing may change any more: the server ends with
    /// what it has saved.
    pub sealed: AtomicBool,
    /// Held by whoever readies the server for its end.
    pub ending: Mutex<()>,
    /// Connections to servers that keys are moved to.
    pub targets: Targets,
    /// Forty hexadecimal digits that name this run.
    pub run_id: String,
    /// The configuration file, if there is one.
    pub config_file: Option<PathBuf>,
    /// When the server started, unix seconds.
    pub started: i64,
    /// The same on the monotonic clock.
    pub started_at: Instant,
    /// What only tests change.
    pub testing: Testing,
    /// Whether a signal has asked for the end.
    pub asked: Asked,
    /// The time that replicas are given before the end.
    pub grace: Grace,
    /// Whether the sweeper removes expired keys (`DEBUG SET-ACTIVE-EXPIRE`).
    pub active_expire: AtomicBool,
    /// Bytes from which on a list's element gets a node of its own
    /// (`DEBUG QUICKLIST-PACKED-THRESHOLD`).
    pub packed_threshold: AtomicUsize,
    rebind: OnceLock<Rebind>,
    reload: OnceLock<Reload>,
    access: AtomicU32,
    slow: AtomicU64,
    stop: Mutex<Option<Stop>>,
    stopped: Condvar,
}

/// What `DEBUG` holds up so that tests can look at it.
pub struct Testing {
    /// Whether nothing is done that is due periodically (`DEBUG PAUSE-CRON`).
    pub no_cron: AtomicBool,
    /// Microseconds to wait before the append only file is written (`DEBUG AOF-FLUSH-SLEEP`).
    pub aof_delay: AtomicU64,
    /// Whether the checksum of what `RESTORE` gets does not matter
    /// (`DEBUG SET-SKIP-CHECKSUM-VALIDATION`).
    pub no_checksum: AtomicBool,
    /// Held for as long as nothing is to move at all (`DEBUG SLEEP`).
    pub still: RwLock<()>,
    /// For how many milliseconds the most that a reply buffer has held counts; below zero for ever
    /// (`DEBUG REPLYBUFFER PEAK-RESET-TIME`).
    pub reply_peak_ms: AtomicI64,
    /// Whether reply buffers are fitted to what they hold (`DEBUG REPLYBUFFER RESIZING`).
    pub reply_resizing: AtomicBool,
}

impl Default for Testing {
    fn default() -> Self {
        Testing {
            no_cron: AtomicBool::new(false),
            aof_delay: AtomicU64::new(0),
            no_checksum: AtomicBool::new(false),
            still: RwLock::default(),
            reply_peak_ms: AtomicI64::new(Testing::REPLY_PEAK_MS),
            reply_resizing: AtomicBool::new(true),
        }
    }
}

impl Testing {
    /// For how many milliseconds the most that a reply buffer has held counts.
    pub const REPLY_PEAK_MS: i64 = 5000;

    /// Waits while nothing is to move: for threads that act by themselves.
    pub fn stand_still(&self) {
        drop(self.still.read().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Binds the listening sockets anew; the reason when that fails.
pub type Rebind = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the data set is loaded from, on demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The snapshot file.
    Snapshot {
        /// Whether a key that is there twice is an error, rather than the last one to count.
        strict: bool,
    },
    /// The append only file.
    Aof,
}

/// Loads the data set, into databases that the caller has emptied as far as need be; the reason
/// when that fails.
pub type Reload = Box<dyn Fn(Source) -> Result<(), String> + Send + Sync>;

/// Why the server is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// SIGTERM.
    Sigterm,
    /// SIGINT.
    Sigint,
    /// The `SHUTDOWN` command.
    Command,
}

impl Server {
    /// A server with this configuration and an empty store; `commands` are the rows of the command
    /// table, for which statistics are kept, and which access rules are about.
    pub fn new(config: Config, config_file: Option<PathBuf>, commands: Catalogue) -> Server {
        let databases = config.int(id::DATABASES) as usize;
        let server = Server {
            store: Store::new(databases),
            clients: Clients::default(),
            blocking: Blocking::default(),
            watching: Watching::default(),
            tracking: Tracking::default(),
            pubsub: PubSub::default(),
            latency: Latency::default(),
            slowlog: Slowlog::default(),
            stats: Stats::new(commands.len()),
            acl: Acl::new(commands, &config),
            pause: Pause::default(),
            eviction: Eviction::default(),
            process: Process::default(),
            watchdog: Watchdog::default(),
            lazyfree: LazyFree::default(),
            log: Log::default(),
            replication: Replication::default(),
            aof: Aof::default(),
            saving: Saving::default(),
            loading: Loading::default(),
            functions: RwLock::default(),
            sealed: AtomicBool::new(false),
            ending: Mutex::default(),
            targets: Targets::default(),
            run_id: random::hex_id(40),
            config_file,
            started: clock::now_ms() / 1000,
            started_at: Instant::now(),
            testing: Testing::default(),
            asked: Asked::default(),
            grace: Grace::default(),
            active_expire: AtomicBool::new(true),
            packed_threshold: AtomicUsize::new(PACKED_THRESHOLD),
            rebind: OnceLock::new(),
            reload: OnceLock::new(),
            access: AtomicU32::new(0),
            slow: AtomicU64::new(u64::MAX),
            stop: Mutex::new(None),
            stopped: Condvar::new(),
            config,
        };
        server.refresh_access_policy();
        server.refresh_slow();
        if server.config.memory(id::MAXMEMORY) > 0 {
            eviction::excess(&server);
        }
        server
    }

    /// Whether a command that took so many nanoseconds is one for the slow log or the latency
    /// monitor. One relaxed load.
    #[inline]
    pub fn is_slow(&self, nanos: u64) -> bool {
        nanos >= self.slow.load(Ordering::Relaxed)
    }

    /// Works out anew from when on a command is slow, after one of the thresholds changed.
    pub fn refresh_slow(&self) {
        let log = self.config.int(id::SLOWLOG_LOG_SLOWER_THAN);
        let monitor = self.config.int(id::LATENCY_MONITOR_THRESHOLD);
        // Below zero the log is off, and at zero the monitor.
        let log = u64::try_from(log).map_or(u64::MAX, |micros| micros.saturating_mul(1000));
        let monitor = match monitor {
            0 => u64::MAX,
            millis => (millis as u64).saturating_mul(1_000_000),
        };
        self.slow.store(log.min(monitor), Ordering::Relaxed);
    }

    /// How accesses to keys are kept, as `maxmemory-policy` and the LFU options say.
    pub fn access_policy(&self) -> Policy {
        // One atomic word, because every command reads it: lfu, log factor, decay time.
        let bits = self.access.load(Ordering::Relaxed);
        Policy {
            lfu: bits & 1 != 0,
            log_factor: bits >> 1 & 0x7fff,
            decay_minutes: bits >> 16,
        }
    }

    /// Reads the access policy from the configuration again, after one of its options changed.
    pub fn refresh_access_policy(&self) {
        let lfu = self.config.int(id::MAXMEMORY_POLICY) & table::POLICY_LFU != 0;
        let factor = self.config.int(id::LFU_LOG_FACTOR).clamp(0, 0x7fff) as u32;
        let decay = self.config.int(id::LFU_DECAY_TIME).clamp(0, 0xffff) as u32;
        let bits = u32::from(lfu) | factor << 1 | decay << 16;
        self.access.store(bits, Ordering::Relaxed);
    }

    /// Says how the listening sockets are bound anew; the network floor, which knows, is above.
    pub fn set_rebind(&self, rebind: Rebind) {
        let _ = self.rebind.set(rebind);
    }

    /// Binds the listening sockets anew, after `port` or `bind` changed.
    ///
    /// # Errors
    /// The reason why an address could not be bound.
    pub fn rebind(&self) -> Result<(), String> {
        self.rebind.get().map_or(Ok(()), |rebind| rebind())
    }

    /// Says how the data set is loaded; the floor that knows is above.
    pub fn set_reload(&self, reload: Reload) {
        let _ = self.reload.set(reload);
    }

    /// Loads the data set on demand.
    ///
    /// # Errors
    /// The reason why it could not be loaded.
    pub fn reload(&self, source: Source) -> Result<(), String> {
        self.reload.get().map_or(Ok(()), |reload| reload(source))
    }

    /// Removes a client that has gone, with its subscriptions.
    pub fn remove_client(&self, client: &Client) {
        self.tracking.disable(client);
        self.pubsub.forget(client);
        self.replication.replicas.remove(self, client.id);
        self.clients.remove(client.id);
    }

    /// Asks the server to end.
    pub fn stop(&self, why: Stop) {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        stop.get_or_insert(why);
        self.stopped.notify_all();
    }

    /// Whether the server is ending.
    pub fn is_stopping(&self) -> bool {
        self.stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Waits until the server is asked to end.
    pub fn wait_for_stop(&self) -> Stop {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *stop {
                Some(why) => return why,
                None => {
                    stop = self
                        .stopped
                        .wait(stop)
                        .unwrap_or_else(PoisonError::into_inner)
                }
            }
        }
    }
}
