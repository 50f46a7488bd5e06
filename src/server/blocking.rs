//! Blocked clients: who waits for which key, and how each comes to its end.
//!
//! A command that blocks registers a [`Waiter`] with each of its keys while it still holds their
//! locks, so no change can slip in between its look and its registration. Then its thread sleeps on
//! the waiter's own condition variable. Whoever makes a key ready finds the waiters here, in the
//! order in which they came, and ends each by [`Waiter::serve`]; `CLIENT UNBLOCK`, a kill and a
//! client that has gone end it by [`Waiter::end`], its own thread when the time is up. All of that
//! happens under the waiter's mutex, so exactly one of them comes first, and nothing is taken from a
//! key for a client that cannot get it.
//!
//! The queues have locks of their own, each held briefly and never while another lock is asked
//! for. A counter for each shard tells without a lock that nobody waits there.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::client::{BLOCKED, CLOSE_ASAP, Client};
use super::log::Position;
use super::replication::waits;
use super::tracking;
use crate::store::{SHARDS, shard_of};
use crate::sys::{self, PollSet};
use crate::types::Type;
use crate::types::quicklist;
use crate::types::stream::StreamId;

/// What a blocked client waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// `BLPOP`, `BRPOP`: the element at an end of a list, with the list's key.
    Element(quicklist::End),
    /// `BLMPOP`: up to so many elements from an end.
    Elements(quicklist::End, usize),
    /// `BLMOVE`, `BRPOPLPUSH`: the element at an end of a list, which moves to another list.
    Move {
        /// Where it is taken.
        from: quicklist::End,
        /// The list that gets it.
        destination: Vec<u8>,
        /// The end at which it is put.
        to: quicklist::End,
        /// Whether it is `BRPOPLPUSH`, which is logged under its old name.
        old_name: bool,
    },
    /// `BZPOPMIN`, `BZPOPMAX`: the member with the lowest or highest score.
    Member {
        /// Whether the highest.
        highest: bool,
    },
    /// `BZMPOP`: up to so many members.
    Members {
        /// Whether those with the highest scores.
        highest: bool,
        /// How many at most.
        count: usize,
    },
    /// `XREAD`: the entries behind an id, without taking anything.
    Entries {
        /// The keys as they were given, each with its id.
        after: Vec<(Box<[u8]>, StreamId)>,
        /// How many at most; 0 for all.
        count: usize,
    },
    /// `WAIT`, `WAITAOF`: copies of what has been written. No key.
    Copies(waits::Copies),
    /// `XREADGROUP`: the entries that no consumer of the group has been given.
    GroupEntries(Box<Membership>),
}

/// On whose behalf `XREADGROUP` waits, and for what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// The consumer group.
    pub group: Vec<u8>,
    /// The consumer.
    pub consumer: Vec<u8>,
    /// Whether the entries count as acknowledged at once.
    pub no_ack: bool,
    /// How many entries at most; 0 for all.
    pub count: usize,
}

impl Wanted {
    /// The type that a key must have, if keys are waited for.
    pub fn kind(&self) -> Option<Type> {
        match self {
            Wanted::Element(_) | Wanted::Elements(..) | Wanted::Move { .. } => Some(Type::List),
            Wanted::Member { .. } | Wanted::Members { .. } => Some(Type::ZSet),
            Wanted::Entries { .. } | Wanted::GroupEntries(_) => Some(Type::Stream),
            Wanted::Copies(_) => None,
        }
    }

    /// The group as whose member the client waits; such a wait ends when key or group do.
    pub fn membership(&self) -> Option<&Membership> {
        match self {
            Wanted::GroupEntries(member) => Some(member),
            _ => None,
        }
    }

    /// A second key that serving the client changes.
    pub fn destination(&self) -> Option<&[u8]> {
        match self {
            Wanted::Move { destination, .. } => Some(destination),
            _ => None,
        }
    }
}

/// Why a wait ended without what was wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Its time is up, or `CLIENT UNBLOCK` says so.
    TimedOut,
    /// `CLIENT UNBLOCK … ERROR`.
    Unblocked,
    /// The server has come to follow a primary, which alone decides what happens to keys.
    Demoted,
    /// The client has gone, or is to go.
    Gone,
}

/// What a blocked client gets.
#[derive(Debug)]
pub struct Served {
    /// The reply.
    pub reply: Vec<u8>,
    /// Messages that follow it, also where the client wants no replies.
    pub messages: Vec<u8>,
    /// Nanoseconds that it took to serve it.
    pub nanos: u64,
    /// What is behind in the log all that the reply tells, where that is known.
    pub logged: Option<Position>,
}

impl Served {
    /// A reply and nothing else.
    pub fn of(reply: Vec<u8>) -> Served {
        Served {
            reply,
            messages: Vec::new(),
            nanos: 0,
            logged: None,
        }
    }
}

/// What became of a wait.
#[derive(Debug)]
pub enum Outcome {
    /// There is a reply.
    Served(Served),
    /// No reply.
    Ended(End),
}

enum State {
    Waiting,
    Served(Served),
    /// The thread has taken the reply.
    Taken,
    Ended(End),
}

/// One blocked client.
pub struct Waiter {
    /// The client.
    pub client: Arc<Client>,
    /// The database of its keys.
    pub db: usize,
    /// The keys with their hashes, each once.
    pub keys: Vec<(u64, Box<[u8]>)>,
    /// What it waits for.
    pub wanted: Wanted,
    /// Whether its reply is to be in RESP3.
    pub resp3: bool,
    /// Whether it is to be told when what it reads by this changes.
    pub tracks: bool,
    /// When it gives up.
    pub deadline: Option<Instant>,
    /// Its place among all blocked clients.
    ticket: u64,
    state: Mutex<State>,
    woken: Condvar,
    /// Whether a thread sleeps until then.
    asleep: AtomicBool,
}

impl Waiter {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves the client: `run` takes what it wanted and returns the reply, or `None` when there
    /// is nothing for it after all. Neither happens unless the client still waits and is there.
    /// Returns whether the wait is over, by this or anything else.
    pub fn serve(&self, run: impl FnOnce() -> Option<Served>) -> bool {
        let mut state = self.lock();
        if !matches!(*state, State::Waiting) {
            return true;
        }
        // Where nothing is taken for it, nothing is lost with a client that has gone.
        let gone = || self.wanted.kind().is_some() && sys::peer_gone(&self.client.socket);
        if self.client.has(CLOSE_ASAP) || gone() {
            self.client.set(BLOCKED, false);
            *state = State::Ended(End::Gone);
            self.wake(state);
            return true;
        }
        let Some(served) = run() else {
            return false;
        };
        self.client.set(BLOCKED, false);
        *state = State::Served(served);
        self.wake(state);
        true
    }

    /// Wakes its thread, if that sleeps.
    fn wake(&self, state: MutexGuard<'_, State>) {
        let asleep = self.asleep.load(Ordering::Relaxed);
        // Released first, or whoever is woken would only wait for it.
        drop(state);
        if asleep {
            self.woken.notify_one();
        }
    }

    /// Whether the wait is over, or is to be.
    pub fn is_over(&self) -> bool {
        let late = |deadline| Instant::now() >= deadline;
        !matches!(*self.lock(), State::Waiting) || self.deadline.is_some_and(late)
    }

    /// Ends the wait. Returns whether it had not ended before.
    pub fn end(&self, why: End) -> bool {
        let mut state = self.lock();
        let waiting = matches!(*state, State::Waiting);
        if waiting {
            self.client.set(BLOCKED, false);
            *state = State::Ended(why);
            self.wake(state);
        }
        waiting
    }

    /// Ends the wait of a client that is killed. Returns whether the client is owed a reply, which
    /// still has to be sent.
    pub fn kill(&self) -> bool {
        self.end(End::Gone);
        matches!(*self.lock(), State::Served(_) | State::Taken)
    }

    /// Sleeps until the wait is over.
    pub fn wait(&self) -> Outcome {
        let mut state = self.lock();
        self.asleep.store(true, Ordering::Relaxed);
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Served(served) => return Outcome::Served(served),
                State::Ended(why) => {
                    *state = State::Ended(why);
                    return Outcome::Ended(why);
                }
                other => *state = other,
            }
            let Some(deadline) = self.deadline else {
                let woken = self.woken.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                *state = State::Ended(End::TimedOut);
                continue;
            }
            let woken = self.woken.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The waiters of one key, in the order of their tickets.
struct Queue {
    key: Box<[u8]>,
    waiters: VecDeque<Arc<Waiter>>,
}

/// The queues of one shard, by database and hash; different keys with one hash are next to never.
#[derive(Default)]
struct Queues(HashMap<(usize, u64), Vec<Queue>>);

impl Queues {
    fn get(&self, db: usize, hash: u64, key: &[u8]) -> Option<&VecDeque<Arc<Waiter>>> {
        let queues = self.0.get(&(db, hash))?;
        let queue = queues.iter().find(|queue| *queue.key == *key)?;
        Some(&queue.waiters)
    }

    fn join(&mut self, hash: u64, key: &[u8], waiter: &Arc<Waiter>) {
        let queues = self.0.entry((waiter.db, hash)).or_default();
        let at = queues.iter().position(|queue| *queue.key == *key);
        let at = at.unwrap_or_else(|| {
            queues.push(Queue {
                key: key.into(),
                waiters: VecDeque::new(),
            });
            queues.len() - 1
        });
        // A shared lock on the shard lets two come at once, and not in the order of tickets.
        let queue = &mut queues[at].waiters;
        let at = queue.partition_point(|other| other.ticket < waiter.ticket);
        queue.insert(at, waiter.clone());
    }

    fn leave(&mut self, hash: u64, key: &[u8], waiter: &Waiter) {
        let name = (waiter.db, hash);
        let Some(queues) = self.0.get_mut(&name) else {
            return;
        };
        for queue in queues.iter_mut().filter(|queue| *queue.key == *key) {
            let found = queue
                .waiters
                .binary_search_by_key(&waiter.ticket, |other| other.ticket);
            if let Ok(at) = found {
                queue.waiters.remove(at);
            }
        }
        queues.retain(|queue| !queue.waiters.is_empty());
        if queues.is_empty() {
            self.0.remove(&name);
        }
        if self.0.is_empty() {
            self.0.shrink_to_fit();
        }
    }
}

/// All blocked clients.
pub struct Blocking {
    shards: Box<[Mutex<Queues>]>,
    /// Keys that somebody waits for, by shard.
    keys: Box<[AtomicUsize]>,
    clients: Mutex<HashMap<u64, Arc<Waiter>>>,
    next: AtomicU64,
    /// Clients that wait as members of a consumer group.
    members: AtomicUsize,
}

impl Default for Blocking {
    fn default() -> Self {
        Blocking {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            keys: (0..SHARDS).map(|_| AtomicUsize::new(0)).collect(),
            clients: Mutex::default(),
            next: AtomicU64::new(0),
            members: AtomicUsize::new(0),
        }
    }
}

impl Blocking {
    fn shard(&self, shard: usize) -> MutexGuard<'_, Queues> {
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<u64, Arc<Waiter>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a client with its keys, whose shards the caller holds. `None` when the client is
    /// to be closed.
    pub fn register(
        &self,
        client: &Arc<Client>,
        db: usize,
        keys: Vec<(u64, Box<[u8]>)>,
        wanted: Wanted,
        deadline: Option<Instant>,
    ) -> Option<Arc<Waiter>> {
        let waiter = Arc::new(Waiter {
            client: client.clone(),
            db,
            keys,
            resp3: client.resp.load(Ordering::Relaxed) == 3,
            tracks: matches!(wanted, Wanted::Entries { .. }) && tracking::remembers(client),
            wanted,
            deadline,
            ticket: self.next.fetch_add(1, Ordering::Relaxed),
            state: Mutex::new(State::Waiting),
            woken: Condvar::new(),
            asleep: AtomicBool::new(false),
        });
        if !client.block(&waiter) {
            return None;
        }
        self.clients().insert(client.id, waiter.clone());
        if waiter.wanted.membership().is_some() {
            self.members.fetch_add(1, Ordering::AcqRel);
        }
        for (hash, key) in &waiter.keys {
            let shard = shard_of(*hash);
            let mut queues = self.shard(shard);
            queues.join(*hash, key, &waiter);
            self.keys[shard].store(queues.0.len(), Ordering::Release);
        }
        Some(waiter)
    }

    /// Takes a waiter out of all queues; its wait is over.
    pub fn forget(&self, waiter: &Waiter) {
        for (hash, key) in &waiter.keys {
            self.leave(waiter, *hash, key);
        }
        self.clients().remove(&waiter.client.id);
        if waiter.wanted.membership().is_some() {
            self.members.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Takes a waiter out of one key's queue.
    pub fn leave(&self, waiter: &Waiter, hash: u64, key: &[u8]) {
        let shard = shard_of(hash);
        let mut queues = self.shard(shard);
        queues.leave(hash, key, waiter);
        self.keys[shard].store(queues.0.len(), Ordering::Release);
    }

    /// Whether anybody waits for a key of this shard. Costs one atomic load.
    pub fn any(&self, shard: usize) -> bool {
        self.keys[shard].load(Ordering::Acquire) > 0
    }

    /// The first client that waits for a key behind another (or at all).
    pub fn next(
        &self,
        hash: u64,
        db: usize,
        key: &[u8],
        after: Option<&Waiter>,
    ) -> Option<Arc<Waiter>> {
        let shard = shard_of(hash);
        if !self.any(shard) {
            return None;
        }
        let queues = self.shard(shard);
        let queue = queues.get(db, hash, key)?;
        let at = match after {
            Some(waiter) => queue.partition_point(|other| other.ticket <= waiter.ticket),
            None => 0,
        };
        queue.get(at).cloned()
    }

    /// The clients that wait for a key as members of a consumer group.
    pub fn members(&self, hash: u64, db: usize, key: &[u8]) -> Vec<Arc<Waiter>> {
        if self.members.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let queues = self.shard(shard_of(hash));
        let queue = queues.get(db, hash, key).into_iter().flatten();
        let members = queue.filter(|waiter| waiter.wanted.membership().is_some());
        members.cloned().collect()
    }

    /// Whether a client waits for a key of this type, so that whoever comes now has to queue up.
    pub fn waits(&self, hash: u64, db: usize, key: &[u8], kind: Type) -> bool {
        let shard = shard_of(hash);
        self.any(shard)
            && self.shard(shard).get(db, hash, key).is_some_and(|queue| {
                queue
                    .iter()
                    .any(|waiter| waiter.wanted.kind() == Some(kind))
            })
    }

    /// The second keys that serving the waiters of a key changes.
    pub fn destinations(&self, hash: u64, db: usize, key: &[u8]) -> Vec<Vec<u8>> {
        let queues = self.shard(shard_of(hash));
        let Some(queue) = queues.get(db, hash, key) else {
            return Vec::new();
        };
        let mut all: Vec<Vec<u8>> = queue
            .iter()
            .filter_map(|waiter| waiter.wanted.destination().map(<[u8]>::to_vec))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The keys of a database and shard that somebody waits for.
    pub fn keys(&self, shard: usize, db: usize) -> Vec<Box<[u8]>> {
        if !self.any(shard) {
            return Vec::new();
        }
        let queues = self.shard(shard);
        let here = queues.0.iter().filter(|((number, _), _)| *number == db);
        here.flat_map(|(_, queues)| queues.iter().map(|queue| queue.key.clone()))
            .collect()
    }

    /// Ends all waits.
    pub fn end_all(&self, why: End) {
        let waiters: Vec<Arc<Waiter>> = self.clients().values().cloned().collect();
        for waiter in waiters {
            waiter.end(why);
        }
    }

    /// Number of blocked clients.
    pub fn len(&self) -> usize {
        self.clients().len()
    }

    /// Whether nobody is blocked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of blocked clients that give up at some time.
    pub fn with_deadline(&self) -> usize {
        let clients = self.clients();
        let timed = clients.values().filter(|waiter| waiter.deadline.is_some());
        timed.count()
    }

    /// Number of keys that somebody waits for.
    pub fn key_count(&self) -> usize {
        self.keys
            .iter()
            .map(|keys| keys.load(Ordering::Relaxed))
            .sum()
    }

    /// Number of keys of which the loss ends a wait as well: those that members of a consumer group
    /// wait for.
    pub fn key_count_on_loss(&self) -> usize {
        if self.members.load(Ordering::Acquire) == 0 {
            return 0;
        }
        let clients = self.clients();
        let members = clients
            .values()
            .filter(|waiter| waiter.wanted.membership().is_some());
        let keys = members.flat_map(|waiter| waiter.keys.iter().map(|(_, key)| (waiter.db, key)));
        keys.collect::<HashSet<_>>().len()
    }

    /// Ends the waits of clients that have gone. One system call asks for all of them, or, where
    /// they are many, for every fourth: which ones depends on `turn`, a number that grows by one
    /// from call to call.
    pub fn end_gone(&self, turn: u64) {
        let clients = self.clients();
        let all = clients.len() <= 100;
        let waiters: Vec<Arc<Waiter>> = clients
            .iter()
            .filter(|(id, _)| all || *id % 4 == turn % 4)
            .map(|(_, waiter)| waiter.clone())
            .collect();
        drop(clients);
        let mut sockets = PollSet::for_hangups();
        for waiter in &waiters {
            sockets.push(&waiter.client.socket);
        }
        // Without an answer the next round asks again.
        if waiters.is_empty() || sockets.ask().is_err() {
            return;
        }
        for (index, waiter) in waiters.iter().enumerate() {
            if sockets.is_ready(index) {
                waiter.end(End::Gone);
            }
        }
    }
}
