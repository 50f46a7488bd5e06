//! The pool of worker threads, each serving one connection at a time with blocking reads.
//!
//! Threads are started on demand, reused, and never more than the limit; the last to become idle
//! is the first to be used again, while its stack is still warm in the cache. One that has had
//! nothing to do for a while ends.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::connection::{Connection, Turn};
use super::round::Rounds;
use crate::command::dispatch::Place;
use crate::log_warning;
use crate::server::Server;
use crate::server::config::id;

/// Stack of a worker, in bytes. Only what is used of it takes memory.
const STACK: usize = 256 << 10;
/// How long an idle worker stays.
const LINGER: Duration = Duration::from_secs(10);

/// The pool.
pub struct Pool {
    state: Mutex<State>,
    rounds: OnceLock<Arc<Rounds>>,
    server: Arc<Server>,
}

#[derive(Default)]
struct State {
    idle: Vec<Arc<Slot>>,
    threads: usize,
    /// Connections for which no thread could be had.
    waiting: VecDeque<Connection>,
}

/// Where an idle worker waits for its next connection.
#[derive(Default)]
struct Slot {
    next: Mutex<Option<Connection>>,
    given: Condvar,
}

impl Pool {
    /// A pool of at most `maxclients` threads.
    pub fn new(server: Arc<Server>) -> Arc<Pool> {
        Arc::new(Pool {
            state: Mutex::default(),
            rounds: OnceLock::new(),
            server,
        })
    }

    /// Connects the pool to the round to which workers pass busy connections.
    pub fn connect(&self, rounds: Arc<Rounds>) {
        let _ = self.rounds.set(rounds);
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.lock().threads
    }

    /// Gives a connection a worker of its own.
    pub fn submit(self: &Arc<Self>, connection: Connection) {
        let mut state = self.lock();
        if let Some(slot) = state.idle.pop() {
            drop(state);
            *slot.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
            slot.given.notify_one();
            return;
        }
        state.waiting.push_back(connection);
        // The clients that `maxclients` lets in and those whose session is just ending.
        let limit = (self.server.config.int(id::MAXCLIENTS) as usize).max(state.waiting.len());
        // Two at a time, so that a backlog from a time without threads is made up for.
        for _ in 0..state
            .waiting
            .len()
            .min(2)
            .min(limit.saturating_sub(state.threads))
        {
            let pool = self.clone();
            let thread = std::thread::Builder::new()
                .name("worker".into())
                .stack_size(STACK);
            match thread.spawn(move || pool.work()) {
                Ok(_) => state.threads += 1,
                Err(error) => log_warning!("Cannot start a worker thread: {error}"),
            }
        }
    }

    /// A worker's life.
    fn work(self: Arc<Self>) {
        let _watched = crate::sys::watch_thread();
        let slot = Arc::new(Slot::default());
        while let Some(connection) = self.next(&slot) {
            let (server, client) = (connection.server().clone(), connection.client().clone());
            if catch_unwind(AssertUnwindSafe(|| self.serve(connection))).is_err() {
                super::connection::lost(&server, &client);
            }
        }
    }

    /// The next connection to serve; `None` when the worker is to end.
    fn next(&self, slot: &Arc<Slot>) -> Option<Connection> {
        let mut state = self.lock();
        if let Some(connection) = state.waiting.pop_front() {
            return Some(connection);
        }
        state.idle.push(slot.clone());
        drop(state);
        let mut next = slot.next.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = next.take() {
                return Some(connection);
            }
            let (guard, timeout) = slot
                .given
                .wait_timeout(next, LINGER)
                .unwrap_or_else(PoisonError::into_inner);
            next = guard;
            if timeout.timed_out() && next.is_none() {
                // Whoever took the slot off the list is about to fill it.
                drop(next);
                let mut state = self.lock();
                let before = state.idle.len();
                state.idle.retain(|other| !Arc::ptr_eq(other, slot));
                if state.idle.len() < before {
                    state.threads -= 1;
                    return None;
                }
                drop(state);
                next = slot.next.lock().unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Serves a connection until it ends or goes to the round.
    fn serve(&self, mut connection: Connection) {
        loop {
            match connection.turn(Place::Own) {
                // Only where turns are shared.
                Turn::Deferred => drop(connection.resume()),
                Turn::Idle => connection.sleep(),
                Turn::Served | Turn::NeedsOwnThread => {
                    if let Some(rounds) = self.rounds.get()
                        && rounds.is_busy(connection.last_active)
                        && connection.heat.is_hot()
                    {
                        return rounds.add(connection);
                    }
                }
                Turn::Closed => return connection.finish(),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
