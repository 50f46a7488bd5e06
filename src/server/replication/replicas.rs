//! The replicas of this server: who they are, how far each has come, and what is due for them.
//!
//! A client becomes a replica when it asks for synchronisation (`attach`). From then on a thread of
//! its own sends it what it gets ([`super::sender`]): a copy of the data set where it needs one
//! ([`super::copies`]), and the stream from its own offset on. Its session only reads, and brings
//! what the replica acknowledges.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::copies::Copies;
use super::waits::Waits;
use super::{NO_ID, copies, sender};
use crate::log_notice;
use crate::log_warning;
use crate::server::Server;
use crate::server::client::{CLOSE_ASAP, Client, REPLICA};
use crate::server::config::id;
use crate::server::config::value::{OutputClass, OutputLimit};
use crate::server::log::stream::Cursor;
use crate::server::mail;
use crate::store::Locks;
use crate::util::clock::steady_ms;
use crate::util::random;

/// How long what is left for replicas may take when the server ends.
const FLUSH: Duration = Duration::from_millis(50);

/// What a client has said about itself (`REPLCONF`) before it asks for synchronisation.
#[derive(Clone, Default, Debug)]
pub struct Introduction {
    /// The port that it listens on; 0 if it has not said.
    pub port: i64,
    /// Its address, where it is not to be the one it comes from.
    pub ip: String,
    /// Whether it understands a copy of unknown length.
    pub eof: bool,
    /// Whether it understands that the history has another name.
    pub psync2: bool,
    /// Whether it wants the copy only, not the stream.
    pub rdb_only: bool,
    /// Which parts of the data set it wants.
    pub wants: Wants,
}

/// Which parts of the data set a copy holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wants {
    /// The keys.
    pub keys: bool,
    /// The libraries of functions.
    pub functions: bool,
}

impl Wants {
    /// Everything.
    pub const ALL: Wants = Wants {
        keys: true,
        functions: true,
    };
}

impl Default for Wants {
    fn default() -> Wants {
        Wants::ALL
    }
}

/// How far a replica is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// It waits for a copy to begin.
    Waiting,
    /// A copy is being written to the disk, which it will be sent.
    Saving,
    /// It is sent a copy while that is made.
    Streaming,
    /// It is sent a copy from the disk.
    Sending,
    /// It has the data set, and follows.
    Online,
    /// It is no replica any more.
    Gone,
}

/// One replica.
pub struct Replica {
    /// The connection.
    pub client: Arc<Client>,
    /// What it has said about itself.
    pub(super) said: Introduction,
    /// Whether it asked in the old way, and never acknowledges anything.
    pub(super) old: bool,
    /// When it asked.
    pub(super) since: Instant,
    acked: AtomicU64,
    fsynced: AtomicU64,
    /// When it last acknowledged something, milliseconds on the steady clock: one that is set
    /// must not make all replicas look lost.
    heard: AtomicI64,
    /// Since when what is being sent to it has not moved, on the steady clock; 0 when nothing is
    /// being sent.
    pub(super) stuck_since: AtomicI64,
    state: Mutex<State>,
    /// Told when there is something for it to be sent, and when it has been.
    pub(super) changed: Condvar,
}

/// What is to be sent to a replica.
pub(super) struct State {
    pub phase: Phase,
    /// Where it is in the stream.
    pub cursor: Option<Cursor>,
    /// The offset that its copy has.
    pub start: u64,
    /// What is sent before anything else.
    pub head: Vec<u8>,
    /// A copy on disk, and its length.
    pub file: Option<(Arc<File>, u64)>,
    /// Pieces of a copy that is being made, and their bytes.
    pub pieces: VecDeque<Arc<[u8]>>,
    /// See `pieces`.
    pub held: usize,
    /// Whether the last piece is there.
    pub whole: bool,
    /// Whether the stream is held back until it acknowledges something.
    pub holds_back: bool,
    /// Whether it has acknowledged something since the last piece was there.
    pub answered: bool,
    /// Since when its output has been above the soft limit.
    soft_since: Option<Instant>,
}

impl Replica {
    fn new(client: Arc<Client>, said: Introduction, old: bool) -> Replica {
        Replica {
            client,
            said,
            old,
            since: Instant::now(),
            acked: AtomicU64::new(0),
            fsynced: AtomicU64::new(0),
            heard: AtomicI64::new(steady_ms()),
            stuck_since: AtomicI64::new(0),
            state: Mutex::new(State {
                phase: Phase::Waiting,
                cursor: None,
                start: 0,
                head: Vec::new(),
                file: None,
                pieces: VecDeque::new(),
                held: 0,
                whole: false,
                holds_back: false,
                answered: false,
                soft_since: None,
            }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address under which it can be reached.
    pub fn ip(&self) -> String {
        if !self.said.ip.is_empty() {
            return self.said.ip.clone();
        }
        let peer = &self.client.address.peer;
        let ip = peer.rsplit_once(':').map_or(&peer[..], |(ip, _)| ip);
        ip.trim_start_matches('[').trim_end_matches(']').to_owned()
    }

    /// The port under which it can be reached; 0 if it has not said.
    pub fn port(&self) -> u16 {
        self.said.port as u16
    }

    /// What the log calls it.
    pub fn name(&self) -> String {
        name(&self.client, &self.said)
    }

    /// How far it is, as `INFO` calls it.
    pub fn state_name(&self) -> &'static str {
        match self.state().phase {
            Phase::Waiting | Phase::Saving | Phase::Streaming | Phase::Gone => "wait_bgsave",
            Phase::Sending => "send_bulk",
            Phase::Online => "online",
        }
    }

    /// The offset up to which it has acknowledged the stream.
    pub fn ack_offset(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// The offset up to which it has everything on its disk.
    pub fn fsynced_offset(&self) -> u64 {
        self.fsynced.load(Ordering::Relaxed)
    }

    /// For how many seconds it has been silent, if it follows.
    pub fn lag_seconds(&self) -> i64 {
        match self.is_online() {
            true => (steady_ms() - self.heard.load(Ordering::Relaxed)) / 1000,
            false => 0,
        }
    }

    /// Whether it has the data set, and follows.
    pub fn is_online(&self) -> bool {
        self.state().phase == Phase::Online
    }

    /// Whether it is no replica any more.
    pub(super) fn is_gone(&self) -> bool {
        self.state().phase == Phase::Gone
    }

    /// It has acknowledged everything before an offset, and perhaps that it has everything before
    /// another on its disk.
    pub fn acknowledge(&self, offset: u64, fsynced: Option<u64>) {
        self.acked.fetch_max(offset, Ordering::Relaxed);
        if let Some(fsynced) = fsynced {
            self.fsynced.fetch_max(fsynced, Ordering::Relaxed);
        }
        self.heard.store(steady_ms(), Ordering::Relaxed);
        let mut state = self.state();
        match state.phase {
            Phase::Online if state.holds_back => {
                state.holds_back = false;
                drop(state);
                self.changed.notify_all();
            }
            // It has the last piece before the sender has noticed that it is sent.
            Phase::Streaming if state.whole => state.answered = true,
            _ => {}
        }
    }

    /// It has the data set, and follows from now on, unless it is gone or wants the copy only.
    /// Returns whether it follows.
    pub(super) fn put_online(&self) -> bool {
        if self.said.rdb_only {
            log_notice!(
                "RDB transfer completed, rdb only replica ({}) should be disconnected asap",
                self.name()
            );
            return false;
        }
        let mut state = self.state();
        if state.phase == Phase::Gone {
            return false;
        }
        state.holds_back = state.phase == Phase::Streaming && !state.answered;
        state.phase = Phase::Online;
        self.heard.store(steady_ms(), Ordering::Relaxed);
        drop(state);
        log_notice!("Synchronization with replica {} succeeded", self.name());
        true
    }
}

/// What the log calls a client that is, or is to be, a replica.
pub fn name(client: &Client, said: &Introduction) -> String {
    let peer = &client.address.peer;
    let ip = match peer.rsplit_once(':') {
        _ if client.address.unix && said.ip.is_empty() => {
            return format!("client id #{}", client.id);
        }
        _ if !said.ip.is_empty() => &said.ip[..],
        Some((ip, _)) => ip.trim_start_matches('[').trim_end_matches(']'),
        None => &peer[..],
    };
    match said.port {
        0 => format!("{ip}:<unknown-replica-port>"),
        port if ip.contains(':') => format!("[{ip}]:{port}"),
        port => format!("{ip}:{port}"),
    }
}

/// Offsets up to which a replica has everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// In its memory.
    pub acked: u64,
    /// On its disk.
    pub fsynced: u64,
}

/// All replicas.
#[derive(Default)]
pub struct Replicas {
    list: Mutex<Vec<Arc<Replica>>>,
    count: AtomicUsize,
    /// The copies that are being made for them.
    pub(super) copies: Copies,
    /// Clients that wait for what replicas, or the disk, have.
    pub waits: Waits,
    cron: Mutex<Cron>,
}

/// What [`Replicas::tick`] has to remember.
#[derive(Default)]
struct Cron {
    ticks: u64,
    /// Since when there has been no replica for a stream that is kept, milliseconds on the steady
    /// clock.
    lonely_since: Option<i64>,
}

impl Replicas {
    fn list(&self) -> MutexGuard<'_, Vec<Arc<Replica>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a replica.
    pub fn add(&self, replica: Arc<Replica>) {
        let mut list = self.list();
        list.push(replica);
        self.count.store(list.len(), Ordering::Relaxed);
    }

    /// Removes the replica that a client is, if it is one; nothing more is kept for it.
    pub fn remove(&self, server: &Server, client: u64) {
        if self.is_empty() {
            return;
        }
        let mut list = self.list();
        let Some(at) = list.iter().position(|one| one.client.id == client) else {
            return;
        };
        let replica = list.remove(at);
        self.count.store(list.len(), Ordering::Relaxed);
        drop(list);
        let mut state = replica.state();
        let phase = std::mem::replace(&mut state.phase, Phase::Gone);
        state.pieces.clear();
        state.held = 0;
        state.file = None;
        let cursor = state.cursor.take();
        drop(state);
        replica.changed.notify_all();
        if let Some(cursor) = cursor {
            server.log.close_cursor(cursor);
        }
        let _ = crate::sys::shutdown(&replica.client.socket);
        server.log.wake_readers();
        log_notice!("Connection with replica {} lost.", replica.name());
        if phase == Phase::Saving {
            copies::let_go(server);
        }
    }

    /// All of them, in the order in which they came.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.list().clone()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many follow and have been heard of lately enough, as `min-replicas-max-lag` says.
    pub fn count_good(&self, server: &Server) -> usize {
        let most = server.config.int(id::MIN_REPLICAS_MAX_LAG);
        let good = |one: &&Arc<Replica>| one.is_online() && one.lag_seconds() <= most;
        self.list().iter().filter(good).count()
    }

    /// How far those are that follow.
    pub fn progress(&self) -> Vec<Progress> {
        if self.is_empty() {
            return Vec::new();
        }
        let list = self.list();
        let online = list.iter().filter(|replica| replica.is_online());
        let progress = online.map(|replica| Progress {
            acked: replica.ack_offset(),
            fsynced: replica.fsynced_offset(),
        });
        progress.collect()
    }

    /// Those that have not acknowledged everything before an offset.
    pub fn lagging(&self, offset: u64) -> Vec<Arc<Replica>> {
        let mut all = self.all();
        all.retain(|replica| replica.ack_offset() < offset);
        all
    }

    /// Lets replicas be sent what is there, as far as they take it at once: the server ends.
    pub fn flush(&self, server: &Server) {
        if !self.is_empty() {
            server.log.drain(FLUSH);
        }
    }

    /// Closes every replica, so that each asks anew from where it is. Shards may be locked.
    pub fn drop_all(&self, server: &Server) {
        for replica in self.all() {
            replica.client.kill();
            self.remove(server, replica.client.id);
        }
    }

    /// What is due every tenth of a second.
    pub fn tick(&self, server: &Arc<Server>) {
        let mut cron = self.cron.lock().unwrap_or_else(PoisonError::into_inner);
        cron.ticks += 1;
        let second = cron.ticks.is_multiple_of(10);
        let period = server.config.int(id::REPL_PING_REPLICA_PERIOD).max(1) as u64;
        let ping = second && (cron.ticks / 10).is_multiple_of(period);
        // A replica that is to take over catches up with a stream that stands still.
        if ping && !self.is_empty() && !server.replication.failover.is_active() {
            server.log.say([&b"PING"[..]].into_iter());
        }
        self.watch_output(server);
        if second {
            self.close_silent(server);
        }
        self.waits.serve(server);
        copies::start_due(server);
        copies::remove_file(server);
        let lonely = self.is_empty() && server.log.has_stream();
        if !lonely || server.replication.is_replica() {
            cron.lonely_since = None;
            return;
        }
        let now = steady_ms();
        let since = *cron.lonely_since.get_or_insert(now);
        let ttl = server.config.int(id::REPL_BACKLOG_TTL);
        if ttl > 0 && (now - since) / 1000 > ttl {
            end_stream(server, ttl);
        }
    }

    /// Closes replicas that have too much to be sent. No lock must be held.
    pub fn watch_output(&self, server: &Server) {
        server.log.take_overdue();
        if self.is_empty() {
            return;
        }
        let backlog = server.config.memory(id::REPL_BACKLOG_SIZE);
        let limit = server.config.output_limit(OutputClass::Replica);
        for replica in self.all() {
            let mut state = replica.state();
            let cursor = state.cursor;
            drop(state);
            let bytes = cursor.map_or(0, |cursor| server.log.behind(cursor));
            let shown = &replica.client.replica_output;
            shown.store(bytes as usize, Ordering::Relaxed);
            state = replica.state();
            let over = is_over(&mut state.soft_since, bytes, limit, backlog);
            drop(state);
            // Two may have found that at once.
            if over && !replica.client.has(CLOSE_ASAP) {
                server
                    .stats
                    .output_buffer_disconnections
                    .fetch_add(1, Ordering::Relaxed);
                mail::close_slow(&replica.client);
                server.remove_client(&replica.client);
            }
        }
    }

    /// Closes replicas that have been silent for too long.
    fn close_silent(&self, server: &Server) {
        let timeout = server.config.int(id::REPL_TIMEOUT);
        for replica in self.all() {
            let phase = replica.state().phase;
            let stuck_since = replica.stuck_since.load(Ordering::Relaxed);
            let during = match phase {
                Phase::Online if !replica.old && replica.lag_seconds() > timeout => {
                    "streaming sync"
                }
                // One that is sent a file holds nobody up.
                Phase::Streaming
                    if stuck_since != 0 && (steady_ms() - stuck_since) / 1000 > timeout =>
                {
                    "full sync"
                }
                _ => continue,
            };
            log_warning!(
                "Disconnecting timedout replica ({during}): {}",
                replica.name()
            );
            replica.client.kill();
            server.remove_client(&replica.client);
        }
    }
}

/// Whether so many bytes are too much for a replica. What the backlog keeps anyway is never too much
/// at once.
fn is_over(soft_since: &mut Option<Instant>, bytes: u64, limit: OutputLimit, backlog: u64) -> bool {
    if limit.hard > 0 && bytes >= limit.hard.max(backlog) {
        return true;
    }
    if limit.soft == 0 || bytes < limit.soft {
        *soft_since = None;
        return false;
    }
    let since = soft_since.get_or_insert_with(Instant::now);
    since.elapsed().as_secs() > limit.soft_seconds
}

/// No longer keeps a stream that nobody has read for so many seconds. What happens from now on has no
/// offsets, so the history ends as well.
fn end_stream(server: &Server, ttl: i64) {
    let replication = &server.replication;
    let locks = Locks::all(&server.store, true);
    if replication.is_replica() || !replication.replicas.is_empty() {
        return;
    }
    let mut state = replication.state();
    state.id = random::hex_id(40);
    state.id2 = NO_ID.to_owned();
    state.offset2 = -1;
    server.log.end_stream();
    drop(state);
    drop(locks);
    log_notice!("Replication backlog freed after {ttl} seconds without connected replicas.");
}

/// Begins to keep the stream for the first replica, if it is not kept: with a new history, for the
/// old one has no offsets any more.
fn begin_stream(server: &Server) {
    if server.log.has_stream() {
        return;
    }
    let locks = Locks::all(&server.store, true);
    let mut state = server.replication.state();
    let limit = server.config.memory(id::REPL_BACKLOG_SIZE) as usize;
    if !server.log.begin_stream(limit) {
        return;
    }
    state.id = random::hex_id(40);
    state.id2 = NO_ID.to_owned();
    state.offset2 = -1;
    let (id, id2) = (state.id.clone(), state.id2.clone());
    drop(state);
    drop(locks);
    log_notice!("Replication backlog created, my new replication IDs are '{id}' and '{id2}'");
}

// ---------------------------------------------------------------- a client becomes a replica

/// Lets a client go on with a history from an offset on, as Redis counts: from one. `None` where it
/// cannot; the log has been told why.
///
/// # Errors
/// No thread can be started for it.
pub fn resume(
    server: &Arc<Server>,
    client: &Arc<Client>,
    said: &Introduction,
    history: &[u8],
    offset: i64,
) -> io::Result<Option<Arc<Replica>>> {
    let name = name(client, said);
    let replication = &server.replication;
    // What is being carried out comes first: it may leave the backlog without what is asked for.
    let locks = Locks::all(&server.store, false);
    // While the role is locked, history and stream belong together.
    let state = replication.state();
    let is = |id: &str| history.eq_ignore_ascii_case(id.as_bytes());
    if !is(&state.id) && (!is(&state.id2) || offset > state.offset2) {
        if history.first() == Some(&b'?') {
            log_notice!("Full resync requested by replica {name}");
        } else if is(&state.id2) {
            log_notice!(
                "Partial resynchronization not accepted: Requested offset for second ID was {offset}, but I can reply up to {}",
                state.offset2
            );
        } else {
            log_notice!(
                "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{}', my replication IDs are '{}' and '{}')",
                String::from_utf8_lossy(history),
                state.id,
                state.id2
            );
        }
        return Ok(None);
    }
    let at = offset.checked_sub(1).and_then(|at| u64::try_from(at).ok());
    let Some((at, cursor)) = at.and_then(|at| Some((at, server.log.open_cursor(at)?))) else {
        log_notice!(
            "Unable to partial resync with replica {name} for lack of backlog (Replica request was: {offset})."
        );
        if offset > server.log.stream_end() as i64 {
            log_warning!(
                "Warning: replica {name} tried to PSYNC with an offset that is greater than the master replication offset."
            );
        }
        return Ok(None);
    };
    let more = server.log.behind(cursor);
    let replica = Replica::new(client.clone(), said.clone(), false);
    {
        let mut inner = replica.state();
        inner.phase = Phase::Online;
        inner.cursor = Some(cursor);
        inner.start = at;
        inner.head = match said.psync2 {
            true => format!("+CONTINUE {}\r\n", state.id).into_bytes(),
            false => b"+CONTINUE\r\n".to_vec(),
        };
    }
    let replica = Arc::new(replica);
    // Whoever changes the role closes all replicas that it finds.
    replication.replicas.add(replica.clone());
    drop(state);
    drop(locks);
    begin(server, &replica)?;
    log_notice!(
        "Partial resynchronization request from {name} accepted. Sending {more} bytes of backlog starting from offset {offset}."
    );
    Ok(Some(replica))
}

/// Has a client wait for a copy of the data set. `old` says that it asked with `SYNC`.
///
/// # Errors
/// No thread can be started for it.
pub fn attach(
    server: &Arc<Server>,
    client: &Arc<Client>,
    said: &Introduction,
    old: bool,
) -> io::Result<Arc<Replica>> {
    if server.config.bool(id::REPL_DISABLE_TCP_NODELAY)
        && !client.address.unix
        && let Ok(socket) = client.socket.try_clone()
    {
        let _ = TcpStream::from(OwnedFd::from(socket)).set_nodelay(false);
    }
    let replica = Arc::new(Replica::new(client.clone(), said.clone(), old));
    server.replication.replicas.add(replica.clone());
    begin_stream(server);
    begin(server, &replica)?;
    copies::ask(server, &replica);
    Ok(replica)
}

/// The log is to notice when a replica is over the hard limit of what is to be sent to it.
pub fn set_hard_limit(server: &Server) {
    let limit = server.config.output_limit(OutputClass::Replica);
    server.log.set_hard_limit(limit.hard);
}

/// The client is a replica from now on.
fn begin(server: &Arc<Server>, replica: &Arc<Replica>) -> io::Result<()> {
    replica.client.set(REPLICA, true);
    // Messages for clients have no place in what a replica is sent.
    replica.client.outbox.close();
    set_hard_limit(server);
    sender::start(server, replica).inspect_err(|_| {
        server
            .replication
            .replicas
            .remove(server, replica.client.id);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_is_at_least_the_backlog() {
        let limit = OutputLimit {
            hard: 100,
            soft: 50,
            soft_seconds: 60,
        };
        let mut since = None;
        assert!(!is_over(&mut since, 49, limit, 10) && since.is_none());
        assert!(!is_over(&mut since, 99, limit, 10) && since.is_some());
        assert!(is_over(&mut since, 100, limit, 10));
        assert!(!is_over(&mut since, 100, limit, 1000));
        assert!(is_over(&mut since, 1000, limit, 1000));
        since = Instant::now().checked_sub(std::time::Duration::from_secs(62));
        assert!(since.is_none() || is_over(&mut since, 60, limit, 1000));
        assert!(!is_over(&mut since, 10, limit, 1000) && since.is_none());
    }
}
