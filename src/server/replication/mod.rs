//! Replication: which role the server has, the names of its history, and the two ends of a link.
//!
//! A primary keeps the stream of its effects (the stream part of [`super::log`]) and sends it to its
//! [`replicas`], each from its own offset. A replica follows a primary: the link to it, which is one
//! of the feeders of commands and so lives on a higher floor ([`crate::replication`]), carries out
//! what comes and puts it into its own log, byte for byte; so a replica can have replicas, and can
//! take the primary's place.
//!
//! A history has a name, the replication id, and every byte in it an offset. A replica that takes
//! the primary's place begins a new history, and remembers the name of the old one up to the offset
//! at which it ended; so replicas of either can go on without copying everything.
//!
//! The role only changes while every shard is locked. Each change begins a new *generation*: what a
//! link of an older one still brings is not carried out.
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/replication/>

pub mod copies;
pub mod failover;
pub mod own_keys;
pub mod replicas;
pub mod sender;
pub mod turns;
pub mod waits;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::blocking::End;
use super::client::Client;
use super::config::id;
use super::{Server, logger};
use crate::store::Locks;
use crate::util::random;
use crate::{log_notice, log_warning};
use failover::Failover;
use own_keys::OwnKeys;
use replicas::Replicas;
use turns::Turns;

/// The name of no history.
pub const NO_ID: &str = "0000000000000000000000000000000000000000";

/// The primary that the server follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Primary {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// How far the link to the primary is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum LinkState {
    /// There is none: the server is a primary.
    #[default]
    None,
    /// It is to be made.
    Connect,
    /// It is being made.
    Connecting,
    /// Both ends introduce themselves.
    Handshake,
    /// The data set is being copied.
    Transfer,
    /// It stands.
    Connected,
}

/// What is known of the link.
#[derive(Clone, Default)]
pub struct Link {
    /// How far it is.
    pub state: LinkState,
    /// What the primary is seen as: it is among the clients, marked as a primary.
    pub client: Option<Arc<Client>>,
    /// When it was lost, unix seconds; 0 if it has never stood.
    pub down_since: i64,
    /// When something last came, unix seconds.
    pub last_io: i64,
    /// The offset behind what has come of the stream, of which some may not be carried out yet.
    pub received: u64,
    /// The copy of the data set: bytes to come, 0 while unknown; bytes that have come; when some
    /// last did, unix seconds.
    pub transfer_total: u64,
    /// See `transfer_total`.
    pub transfer_read: u64,
    /// See `transfer_total`.
    pub transfer_last_io: i64,
}

/// The role and all that hangs on it.
#[derive(Clone)]
pub struct State {
    /// The name of the history.
    pub id: String,
    /// The name of the history before, [`NO_ID`] if there was none.
    pub id2: String,
    /// The first offset of it that is not part of this history, as Redis counts: from one; -1 if
    /// there was none.
    pub offset2: i64,
    /// Whom the server follows, if it is a replica.
    pub primary: Option<Primary>,
    /// Whether what is in the data set is a point of this history, from which the stream can go on:
    /// a replica asks its primary for that first.
    pub resumable: bool,
    /// The name that the history had when the server, without a stream of its own, began to follow a
    /// primary: as long as it has that name, nothing has come of the primary's stream.
    pub unshared: Option<String>,
    /// The link to the primary.
    pub link: Link,
}

impl State {
    /// Has the history begin anew, under a name that nobody knows.
    pub fn rename(&mut self) {
        self.id = random::hex_id(40);
        self.id2 = NO_ID.to_owned();
        self.offset2 = -1;
    }
}

/// Replication.
pub struct Replication {
    generation: AtomicU64,
    replica: AtomicBool,
    state: Mutex<State>,
    /// Told when the role changes.
    changed: Condvar,
    /// Those that follow this server.
    pub replicas: Replicas,
    /// Keys that expire here though it is a replica.
    pub own_keys: OwnKeys,
    /// Handing the role over to one of them.
    pub failover: Failover,
    /// When what the primary has sent is counted.
    pub turns: Turns,
}

/// A point of a history, as a snapshot tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History {
    /// The name of the history.
    pub id: String,
    /// How much of it there was.
    pub offset: u64,
    /// The database that the stream was in.
    pub db: usize,
}

impl History {
    /// The point at which the server is, if there is a stream that can be gone on with. Every shard
    /// must be locked.
    pub fn of(server: &Server) -> Option<History> {
        let state = server.replication.state();
        let known = match state.primary {
            Some(_) => state.resumable,
            None => server.log.has_stream(),
        };
        let (offset, db) = server.log.stream_at();
        known.then(|| History {
            id: state.id.clone(),
            offset,
            // What comes next names its database anyway.
            db: db.unwrap_or(0),
        })
    }
}

impl Default for Replication {
    fn default() -> Replication {
        Replication {
            generation: AtomicU64::new(1),
            replica: AtomicBool::new(false),
            state: Mutex::new(State {
                id: random::hex_id(40),
                id2: NO_ID.to_owned(),
                offset2: -1,
                primary: None,
                resumable: false,
                unshared: None,
                link: Link::default(),
            }),
            changed: Condvar::new(),
            replicas: Replicas::default(),
            failover: Failover::default(),
            own_keys: OwnKeys::default(),
            turns: Turns::default(),
        }
    }
}

impl Replication {
    /// Whether the server follows a primary. While a shard is locked, the answer holds.
    #[inline]
    pub fn is_replica(&self) -> bool {
        self.replica.load(Ordering::Relaxed)
    }

    /// Counts changes of the role.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether the role is still that of a generation. While a shard is locked, the answer holds.
    #[inline]
    pub fn is_current(&self, generation: u64) -> bool {
        self.generation() == generation
    }

    /// The role and all that hangs on it. Whoever needs the log's lock as well takes this one first.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the role is no longer that of a generation, or the time is over. Returns whether
    /// it has changed.
    pub fn wait_for_change(&self, generation: u64, timeout: Duration) -> bool {
        let same = |_: &mut State| self.generation() == generation;
        let waited = self.changed.wait_timeout_while(self.state(), timeout, same);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.generation() != generation
    }
}

/// Has the server follow a primary from now on; its own history ends here, but a replica of the
/// same primary can go on with it. Clients that wait for keys no longer do: what comes to be in them
/// is no longer for this server to say. Its replicas stay, as long as the new primary's history turns
/// out to be the one that they know. Every shard must be locked.
pub fn follow(server: &Server, primary: Primary, now: i64) {
    let replication = &server.replication;
    let mut state = replication.state();
    cut_link(&mut state);
    let generation = replication.generation() + 1;
    if state.primary.is_none() {
        logger::set_role(b'S');
        log_notice!(
            "Before turning into a replica, using my own master parameters to synthesize a cached \
             master: I may be able to synchronize with the new master with just a partial transfer."
        );
        // What it has is a point of a history that the primary may know: its own.
        state.resumable = true;
        state.unshared = (!server.log.has_stream()).then(|| state.id.clone());
    }
    server
        .config
        .note_primary(Some((&primary.host, primary.port)));
    state.primary = Some(primary);
    state.link = Link {
        state: LinkState::Connect,
        down_since: down_since(&state.link, now),
        ..Link::default()
    };
    let limit = server.config.memory(id::REPL_BACKLOG_SIZE) as usize;
    let offset = server.log.stream_end();
    server.log.follow(generation, offset, true, limit);
    replication.replica.store(true, Ordering::Relaxed);
    replication.generation.store(generation, Ordering::Relaxed);
    drop(state);
    // What cannot be set has told the log.
    let _ = server.process.adjust_oom_score(server);
    replication.changed.notify_all();
    server.blocking.end_all(End::Demoted);
}

/// Since when a link that ends now has been down.
fn down_since(link: &Link, now: i64) -> i64 {
    match link.state {
        LinkState::Connected => now / 1000,
        _ => link.down_since,
    }
}

/// Has the server be a primary from now on, with a history of its own, which those who followed the
/// same primary can go on with. Its replicas are to ask anew, so that they learn its name. Every
/// shard must be locked.
pub fn unfollow(server: &Server) {
    let replication = &server.replication;
    let mut state = replication.state();
    cut_link(&mut state);
    logger::set_role(b'M');
    state.primary = None;
    state.resumable = false;
    state.link = Link::default();
    server.log.unfollow();
    let unshared = state.unshared.take();
    if unshared.is_some_and(|id| id == state.id) && replication.replicas.is_empty() {
        server.log.end_stream();
    }
    let end = server.log.stream_end();
    shift_id(&mut state, end);
    log_warning!(
        "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {}",
        state.id2,
        state.offset2,
        state.id
    );
    server.config.note_primary(None);
    replication.replica.store(false, Ordering::Relaxed);
    replication.generation.fetch_add(1, Ordering::Relaxed);
    drop(state);
    let _ = server.process.adjust_oom_score(server);
    replication.changed.notify_all();
    replication.replicas.drop_all(server);
}

/// Takes up, while the server starts, the role that the configuration gives it. What it has been a
/// replica of, a snapshot may tell: see [`restore`].
pub fn start(server: &Server) {
    let words = server.config.words(id::REPLICAOF);
    let [host, port] = &*words else {
        return;
    };
    let host = String::from_utf8_lossy(host).into_owned();
    let port = std::str::from_utf8(port).ok();
    let Some(port) = port.and_then(|port| port.parse().ok()) else {
        return;
    };
    let locks = Locks::all(&server.store, true);
    let mut state = server.replication.state();
    let generation = server.replication.generation() + 1;
    logger::set_role(b'S');
    state.primary = Some(Primary { host, port });
    state.unshared = Some(state.id.clone());
    state.link.state = LinkState::Connect;
    let limit = server.config.memory(id::REPL_BACKLOG_SIZE) as usize;
    server.log.follow(generation, 0, false, limit);
    let replication = &server.replication;
    replication.replica.store(true, Ordering::Relaxed);
    replication.generation.store(generation, Ordering::Relaxed);
    drop(state);
    drop(locks);
}

/// Takes up, while the server starts, the history of which a snapshot is a point. A replica goes on
/// with it if its primary can; a primary begins one of its own, which the replicas of whoever saved
/// the snapshot can go on with.
pub fn restore(server: &Server, history: &History) {
    let _locks = Locks::all(&server.store, true);
    let mut state = server.replication.state();
    let limit = server.config.memory(id::REPL_BACKLOG_SIZE) as usize;
    if state.primary.is_some() {
        state.id = history.id.clone();
        state.resumable = true;
        let generation = server.replication.generation();
        server.log.follow(generation, history.offset, false, limit);
        server.log.set_stream_db(history.db);
    } else {
        state.id2 = history.id.clone();
        state.offset2 = history.offset as i64 + 1;
        server.log.set_stream_end(history.offset);
        server.log.begin_stream(limit);
    }
}

/// Begins a new history where the old one stands at an offset.
pub fn shift_id(state: &mut State, end: u64) {
    // The next byte would have been the old history's, but it is not.
    state.id2 = std::mem::replace(&mut state.id, random::hex_id(40));
    state.offset2 = end as i64 + 1;
}

/// Ends the link that there is; whoever serves it finds its time over.
fn cut_link(state: &mut State) {
    if let Some(client) = state.link.client.take() {
        client.kill();
    }
}
