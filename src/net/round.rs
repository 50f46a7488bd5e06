//! The round: a few threads that serve the busy connections by trying each in turn.
//!
//! A blocking read costs a sleep and a wake-up for each request. A thread of the round reads
//! without blocking instead; after a pass over its connections that found nothing it yields the
//! processor. A connection that has been silent for a millisecond (and a number of tries) goes
//! back to a worker of its own, so a silent round ends and its threads sleep.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{Connection, Turn};
use super::pool::Pool;
use crate::command::dispatch::Place;

/// A connection leaves the round after this long without a request …
const SILENCE: Duration = Duration::from_millis(1);
/// … and this many fruitless tries.
const TRIES: u32 = 50;

/// The threads of the round.
pub struct Rounds {
    rounds: Vec<Arc<Round>>,
    pool: Arc<Pool>,
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
        let mut rounds = Vec::new();
        for number in 0..threads {
            let round = Arc::new(Round::default());
            let (own, pool) = (round.clone(), pool.clone());
            std::thread::Builder::new()
                .name(format!("round-{number}"))
                .spawn(move || own.run(&pool))?;
            rounds.push(round);
        }
        let rounds = Arc::new(Rounds {
            rounds,
            pool: pool.clone(),
        });
        pool.connect(rounds.clone());
        Ok(rounds)
    }

    /// Takes a busy connection in.
    pub fn add(&self, connection: Connection) {
        match self
            .rounds
            .iter()
            .min_by_key(|round| round.load.load(Ordering::Relaxed))
        {
            Some(round) => round.add(connection),
            None => self.pool.submit(connection),
        }
    }
}

impl Round {
    fn add(&self, connection: Connection) {
        self.load.fetch_add(1, Ordering::Relaxed);
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.push(connection);
        self.full.store(true, Ordering::Release);
        self.arrived.notify_one();
    }

    /// The thread's life.
    fn run(&self, pool: &Arc<Pool>) {
        let mut connections: Vec<Connection> = Vec::new();
        loop {
            self.take_in(&mut connections);
            let mut any = false;
            let mut at = 0;
            while at < connections.len() {
                let connection = &mut connections[at];
                let turn = catch_unwind(AssertUnwindSafe(|| connection.turn(Place::Shared)));
                let leaves = match turn {
                    Ok(Turn::Served) => {
                        any = true;
                        false
                    }
                    Ok(Turn::Idle) => {
                        connection.heat.tries += 1;
                        connection.heat.tries >= TRIES
                            && connection.last_active.elapsed() >= SILENCE
                    }
                    Ok(Turn::NeedsOwnThread | Turn::Closed) | Err(_) => true,
                };
                if !leaves {
                    at += 1;
                    continue;
                }
                let mut connection = connections.swap_remove(at);
                self.load.fetch_sub(1, Ordering::Relaxed);
                match turn {
                    Ok(Turn::Closed) => connection.finish(),
                    Ok(turn) => {
                        if turn == Turn::Idle {
                            connection.heat.cool();
                        }
                        pool.submit(connection);
                    }
                    Err(_) => super::connection::lost(connection.server(), connection.client()),
                }
            }
            if !any {
                std::thread::yield_now();
            }
        }
    }

    /// Takes in what has arrived; sleeps while there is nothing at all to do.
    fn take_in(&self, connections: &mut Vec<Connection>) {
        if !connections.is_empty() && !self.full.load(Ordering::Acquire) {
            return;
        }
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        while connections.is_empty() && inbox.is_empty() {
            inbox = self
                .arrived
                .wait(inbox)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let now = Instant::now();
        for mut connection in inbox.drain(..) {
            connection.last_active = now;
            connections.push(connection);
        }
        self.full.store(false, Ordering::Release);
    }
}
