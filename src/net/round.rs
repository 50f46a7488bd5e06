//! The round: a few threads that serve the busy connections without blocking.
//!
//! A blocking read costs a sleep and a wake-up for each request. A thread of the round asks in one
//! system call which of its connections have something, serves those, and asks again; when none
//! has, it yields the processor first. Measured with 200 connections, asking together took the
//! share of the time spent on fruitless reads from two thirds to nearly nothing; for a handful of
//! connections reading straight away is cheaper still, and that is what happens then.
//!
//! The round ends when it has been silent for a millisecond: its connections go back to workers of
//! their own, and its threads sleep. One connection that is silent while others are busy goes back
//! a little later. At first all connections are in one round; when it finds most of them waiting
//! each time it asks, the server is what holds the clients up, and the round is split.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{Connection, Turn};
use super::pool::Pool;
use crate::command::dispatch::Place;
use crate::server::threads;
use crate::sys::{PollSet, watch_thread};

/// A round ends after this long without a request.
const SILENCE: Duration = Duration::from_millis(1);
/// One connection leaves after this long without a request.
const OWN_SILENCE: Duration = Duration::from_millis(20);
/// Up to this many connections are read from without asking first.
const FEW: usize = 3;
/// Passes after which silence and load are looked at.
const CHECK_EVERY: u32 = 16;
/// Time over which the load of a round is judged.
const WINDOW: Duration = Duration::from_millis(4);
/// Share of connections found waiting, in percent, above which a round is split …
const SPLIT_ABOVE: u64 = 50;
/// … and below which it is joined to the first.
const JOIN_BELOW: u64 = 10;
/// Windows between two changes, at first; doubled when a split turns out to be needless.
const REST: u32 = 4;
/// Stack of a thread, which carries out commands, in bytes.
const STACK: usize = 2 << 20;

/// The threads of the round.
pub struct Rounds {
    rounds: Vec<Arc<Round>>,
    pool: Arc<Pool>,
    start: Instant,
    /// When a request last arrived on a worker's connection, in nanoseconds since the start.
    arrival: AtomicU64,
    /// Rounds in use, from the first.
    active: AtomicUsize,
}

/// One thread of the round.
#[derive(Default)]
struct Round {
    inbox: Mutex<Vec<Connection>>,
    arrived: Condvar,
    /// Whether the inbox holds something, to be asked without the lock.
    full: AtomicBool,
    /// Connections it serves, those in the inbox included.
    load: AtomicUsize,
}

impl Rounds {
    /// Starts `threads` threads that give connections back to `pool`.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(threads: usize, pool: &Arc<Pool>) -> std::io::Result<Arc<Rounds>> {
        let rounds = Arc::new(Rounds {
            rounds: (0..threads).map(|_| Arc::default()).collect(),
            pool: pool.clone(),
            start: Instant::now(),
            arrival: AtomicU64::new(0),
            active: AtomicUsize::new(1),
        });
        for number in 0..threads {
            let all = rounds.clone();
            let name = format!("round-{number}");
            threads::essential(&name, STACK, move || Members::new(&all, number).run())?;
        }
        pool.connect(rounds.clone());
        Ok(rounds)
    }

    /// Notes that a request arrived on a worker's connection, and says whether the server is busy
    /// enough for a round: one goes on, or requests come less than a millisecond apart.
    pub fn is_busy(&self, now: Instant) -> bool {
        let nanos = (now - self.start).as_nanos() as u64;
        let before = self.arrival.swap(nanos, Ordering::Relaxed);
        nanos.saturating_sub(before) < SILENCE.as_nanos() as u64
            || self
                .rounds
                .iter()
                .any(|round| round.load.load(Ordering::Relaxed) > 0)
    }

    /// Takes a busy connection in.
    pub fn add(&self, connection: Connection) {
        let active = self.active.load(Ordering::Relaxed);
        match self
            .rounds
            .iter()
            .take(active)
            .min_by_key(|round| round.load.load(Ordering::Relaxed))
        {
            Some(round) => round.add([connection]),
            None => self.pool.submit(connection),
        }
    }
}

impl Round {
    fn add(&self, connections: impl IntoIterator<Item = Connection>) {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inbox.len();
        inbox.extend(connections);
        self.load.fetch_add(inbox.len() - before, Ordering::Relaxed);
        self.full.store(true, Ordering::Release);
        self.arrived.notify_one();
    }
}

/// The connections of one thread of the round, and how busy they are.
struct Members<'r> {
    rounds: &'r Rounds,
    number: usize,
    own: &'r Round,
    connections: Vec<Connection>,
    /// About how many of them wait in a command; none is missed.
    parked: usize,
    /// The connections' sockets, in the same order.
    sockets: PollSet,
    /// When anything was last served, as of the last check.
    last_served: Instant,
    /// Whether anything was served since.
    active: bool,
    window: Window,
}

/// What has happened since the load was last judged.
struct Window {
    start: Instant,
    passes: u64,
    served: u64,
    /// Passes that ended with messages for many clients, or a wait for the disk.
    crowded: u64,
    /// Windows to wait before the next change.
    rest: u32,
    /// Length of that wait.
    patience: u32,
}

impl<'r> Members<'r> {
    fn new(rounds: &'r Rounds, number: usize) -> Members<'r> {
        let now = Instant::now();
        Members {
            rounds,
            number,
            own: &rounds.rounds[number],
            connections: Vec::new(),
            parked: 0,
            sockets: PollSet::default(),
            last_served: now,
            active: false,
            window: Window {
                start: now,
                passes: 0,
                served: 0,
                crowded: 0,
                rest: REST,
                patience: REST,
            },
        }
    }

    /// The thread's life.
    fn run(mut self) {
        let _watched = watch_thread();
        let mut passes = 0u32;
        loop {
            self.take_in();
            let served = self.pass();
            self.window.passes += 1;
            self.window.served += served;
            self.active |= served > 0;
            passes += 1;
            if passes.is_multiple_of(CHECK_EVERY) {
                let now = Instant::now();
                if std::mem::take(&mut self.active) {
                    self.last_served = now;
                }
                self.judge(now);
            }
            if served == 0 {
                std::thread::yield_now();
            }
        }
    }

    /// Serves every connection that has something. Returns how many had.
    ///
    /// Messages for other clients, as of `PUBLISH`, wait until all have been served, and the replies
    /// of their senders with them: so a subscriber is sent the messages of a whole pass with one
    /// system call, where each has come from another client.
    fn pass(&mut self) -> u64 {
        let parked = std::mem::take(&mut self.parked) > 0;
        let few = self.connections.len() <= FEW;
        let ready = few || self.sockets.ask().unwrap_or(0) > 0;
        if !ready && !parked {
            return 0;
        }
        let now = parked.then(Instant::now);
        let (mut served, mut deferred) = (0, false);
        // Downwards, because a connection that leaves is replaced by the last one.
        for at in (0..self.connections.len()).rev() {
            let connection = &self.connections[at];
            let its_turn = match parked && connection.is_parked() {
                true => connection.is_wait_over(),
                false => few || ready && self.sockets.is_ready(at),
            };
            if !its_turn {
                self.parked += usize::from(connection.is_parked());
                if connection.is_parked() && now.is_some_and(|now| connection.is_held_too_long(now))
                {
                    self.serve(at, Connection::send_held);
                }
            } else {
                match self.serve(at, |connection| connection.turn(Place::Shared)) {
                    Some(Turn::Deferred) => deferred = true,
                    Some(Turn::Served) => served += 1,
                    _ => {}
                }
            }
        }
        if deferred {
            served += self.complete();
        }
        served
    }

    /// Lets a connection have its turn, and sees it off if it leaves.
    fn serve(&mut self, at: usize, turn: impl FnOnce(&mut Connection) -> Turn) -> Option<Turn> {
        let few = self.connections.len() <= FEW;
        let connection = &mut self.connections[at];
        let turn = catch_unwind(AssertUnwindSafe(|| turn(connection)));
        match turn {
            Ok(Turn::NeedsOwnThread) => {
                let mut connection = self.remove(at);
                // One that needs it time and again had better stay there.
                connection.heat.cool();
                self.rounds.pool.submit(connection);
            }
            Ok(Turn::Closed) => self.remove(at).finish(),
            Err(_) => {
                let connection = self.remove(at);
                super::connection::lost(connection.server(), connection.client());
            }
            // To look after one that waits pays where there is something else to do.
            Ok(Turn::Served) if few && connection.is_parked() => {
                let mut connection = self.remove(at);
                connection.heat.cool();
                self.rounds.pool.submit(connection);
            }
            Ok(Turn::Served | Turn::Idle | Turn::Deferred) => {
                self.parked += usize::from(connection.is_parked());
            }
        }
        turn.ok()
    }

    /// Sends what the connections of a pass have left: first all messages, then the replies. One
    /// wait for the disk serves them all. Returns how many there were.
    fn complete(&mut self) -> u64 {
        let (mut served, mut many) = (0, false);
        for connection in self.connections.iter_mut().filter(|c| c.is_deferred()) {
            // The more wait for the disk together, the less often it has to be waited for.
            many |= connection.waits_for_disk();
            many |= connection.send_mail();
        }
        self.window.crowded += u64::from(many);
        for at in (0..self.connections.len()).rev() {
            if self.connections[at].is_deferred() {
                served += 1;
                self.serve(at, Connection::resume);
            }
        }
        served
    }

    /// Sends silent connections away, and splits or joins rounds.
    fn judge(&mut self, now: Instant) {
        let ended = now - self.last_served >= SILENCE;
        if !ended && now - self.window.start < WINDOW {
            return;
        }
        // Where a pass takes long, nobody is heard more often than once in it.
        let passes = u32::try_from(self.window.passes).unwrap_or(u32::MAX);
        let pass = (now - self.window.start) / passes.max(1);
        let own_silence = OWN_SILENCE.max(4 * pass);
        for at in (0..self.connections.len()).rev() {
            if ended
                || now.saturating_duration_since(self.connections[at].last_active) >= own_silence
            {
                let mut connection = self.remove(at);
                connection.heat.cool();
                self.rounds.pool.submit(connection);
            }
        }
        let tries = self.window.passes * self.connections.len() as u64;
        let share = (self.window.served * 100).checked_div(tries).unwrap_or(0);
        // The more senders share a pass, the less it costs to send to many.
        let crowded = self.window.crowded * 2 > self.window.passes;
        self.window.start = now;
        self.window.passes = 0;
        self.window.served = 0;
        self.window.crowded = 0;
        if self.window.rest > 0 {
            self.window.rest -= 1;
        } else if share > SPLIT_ABOVE && self.connections.len() > 1 && !crowded {
            self.split();
        } else if (share < JOIN_BELOW || crowded) && self.number > 0 {
            self.join();
        }
    }

    /// Gives half of the connections to a round that is not in use.
    fn split(&mut self) {
        let active = self.rounds.active.load(Ordering::Relaxed);
        let Some(other) = self.rounds.rounds.get(active) else {
            return;
        };
        let free = self.rounds.active.compare_exchange(
            active,
            active + 1,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if free.is_err() {
            return;
        }
        let half = self.connections.len() / 2;
        let given: Vec<Connection> = (0..half)
            .map(|_| self.remove(self.connections.len() - 1))
            .collect();
        other.add(given);
        self.window.rest = self.window.patience;
    }

    /// Gives all connections to the first round, if this is the last one in use.
    fn join(&mut self) {
        let (active, number) = (&self.rounds.active, self.number);
        if active
            .compare_exchange(number + 1, number, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            return;
        }
        let all: Vec<Connection> = (0..self.connections.len())
            .map(|_| self.remove(self.connections.len() - 1))
            .collect();
        self.rounds.rounds[0].add(all);
        // The split did not pay: the next join takes longer to decide.
        self.window.patience = (self.window.patience * 2).min(64 * REST);
        self.window.rest = self.window.patience;
    }

    fn remove(&mut self, at: usize) -> Connection {
        self.sockets.swap_remove(at);
        self.own.load.fetch_sub(1, Ordering::Relaxed);
        self.connections.swap_remove(at)
    }

    /// Takes in what has arrived; sleeps while there is nothing at all to do.
    fn take_in(&mut self) {
        if !self.connections.is_empty() && !self.own.full.load(Ordering::Acquire) {
            return;
        }
        let mut inbox = self
            .own
            .inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while self.connections.is_empty() && inbox.is_empty() {
            inbox = self
                .own
                .arrived
                .wait(inbox)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.own.full.store(false, Ordering::Release);
        let now = Instant::now();
        self.last_served = now;
        for mut connection in inbox.drain(..) {
            connection.last_active = now;
            self.parked += usize::from(connection.is_parked());
            self.sockets.push(&connection.client().socket);
            self.connections.push(connection);
        }
    }
}
