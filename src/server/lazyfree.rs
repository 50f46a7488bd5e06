//! Freeing what takes long to free, away from the sessions.
//!
//! One thread, started with the first thing to free, drops what is handed to it. Where memory is short,
//! somebody may wait for that ([`LazyFree::wait`]).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::eviction::Counted;
use super::threads;
use crate::store::Db;
use crate::types::Value;

/// Values of more allocations than this are freed in the background.
pub const THRESHOLD: usize = 64;

/// Values of more allocations than this are freed in the background even where that was not asked
/// for: whoever frees them holds a lock, and everybody else would feel it.
pub const HUGE: usize = 2048;

/// How often one who waits looks even where nothing has been freed as a whole: a database takes long,
/// and memory comes back bit by bit.
const LOOK: Duration = Duration::from_millis(10);

/// The name of the thread.
const NAME: &str = "lazyfree";
/// Its stack, in bytes.
const STACK: usize = 2 << 20;

/// Elements from which the size of a value is estimated.
const SAMPLES: usize = 16;

/// Something to free.
pub enum Garbage {
    /// One value.
    Value(Value),
    /// A shard's part of a database.
    Db(Db),
    /// A value that has been evicted.
    Evicted(Value, Counted),
}

/// Hands garbage to the freeing thread.
#[derive(Default)]
pub struct LazyFree {
    sender: Mutex<Option<Sender<Garbage>>>,
    progress: Arc<Progress>,
}

/// How far the thread has come.
#[derive(Default)]
struct Progress {
    pending: AtomicUsize,
    freed: AtomicUsize,
    /// How many wait for it; nobody is told anything where nobody does.
    waiting: AtomicUsize,
    turn: Mutex<()>,
    done: Condvar,
}

impl Progress {
    /// Something has been freed, or need not be. Returns whether it was the last.
    fn note(&self, objects: usize) -> bool {
        // Either this is seen by one who is about to wait, or that one is seen here.
        let last = self.pending.fetch_sub(objects, Ordering::SeqCst) == objects;
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // Whoever has looked already has begun to wait.
            drop(self.turn.lock().unwrap_or_else(PoisonError::into_inner));
            self.done.notify_all();
        }
        last
    }
}

impl LazyFree {
    /// Frees something in the background.
    pub fn free(&self, garbage: Garbage) {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.is_none() {
            *sender = self.start();
        }
        let pending = &self.progress.pending;
        pending.fetch_add(garbage.objects(), Ordering::Relaxed);
        // Without a thread the garbage comes back and is dropped here.
        let refused = match sender.as_ref() {
            Some(thread) => thread.send(garbage).err().map(|error| error.0),
            None => Some(garbage),
        };
        if let Some(garbage) = refused {
            let objects = garbage.objects();
            drop(garbage);
            self.progress.note(objects);
        }
    }

    /// Waits until something holds, for as long as there is something to free and there is time. What
    /// it is about is looked at whenever something has been freed. Returns whether it holds.
    pub fn wait(&self, deadline: Option<Instant>, holds: impl Fn() -> bool) -> bool {
        let progress = &*self.progress;
        progress.waiting.fetch_add(1, Ordering::SeqCst);
        let mut turn = progress.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let held = loop {
            // Before the look, or the last of it might be missed.
            let more = progress.pending.load(Ordering::SeqCst) > 0;
            if holds() {
                break true;
            }
            let left = deadline.map_or(LOOK, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if !more || left.is_zero() {
                break false;
            }
            let woken = progress.done.wait_timeout(turn, left.min(LOOK));
            turn = woken.unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(turn);
        progress.waiting.fetch_sub(1, Ordering::SeqCst);
        held
    }

    /// Frees a value here or, when that takes long, in the background: sooner when `lazy` says that
    /// this was asked for.
    pub fn free_value(&self, value: Value, lazy: bool) {
        let most = if lazy { THRESHOLD } else { HUGE };
        if value.free_effort() > most {
            self.free(Garbage::Value(value));
        }
    }

    /// As [`LazyFree::free_value`], for a value that has been evicted: as long as it is still to be
    /// freed, its bytes count in `freeing`.
    pub fn free_evicted(&self, value: Value, lazy: bool, freeing: &Arc<AtomicUsize>) {
        let most = if lazy { THRESHOLD } else { HUGE };
        if value.free_effort() > most {
            let mut counted = Counted::new(freeing);
            counted.set(crate::sys::block(value.memory(SAMPLES)));
            self.free(Garbage::Evicted(value, counted));
        }
    }

    /// Objects still to be freed.
    pub fn pending(&self) -> usize {
        self.progress.pending.load(Ordering::Relaxed)
    }

    /// Objects freed since the start or the last [`LazyFree::forget_freed`].
    pub fn freed(&self) -> usize {
        self.progress.freed.load(Ordering::Relaxed)
    }

    /// Sets what [`LazyFree::freed`] tells back to zero.
    pub fn forget_freed(&self) {
        self.progress.freed.store(0, Ordering::Relaxed);
    }

    fn start(&self) -> Option<Sender<Garbage>> {
        let (sender, receiver) = channel::<Garbage>();
        let progress = self.progress.clone();
        let body = move || {
            while let Ok(garbage) = receiver.recv() {
                threads::fall_over(NAME);
                let objects = garbage.objects();
                let was_db = matches!(garbage, Garbage::Db(_));
                drop(garbage);
                progress.freed.fetch_add(objects, Ordering::Relaxed);
                if progress.note(objects) && was_db {
                    crate::sys::trim();
                }
            }
        };
        threads::essential(NAME, STACK, body).ok().map(|()| sender)
    }
}

impl Garbage {
    fn objects(&self) -> usize {
        match self {
            Garbage::Value(_) | Garbage::Evicted(..) => 1,
            Garbage::Db(db) => db.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_freed() {
        let lazyfree = LazyFree::default();
        for _ in 0..100 {
            lazyfree.free(Garbage::Value(Value::plain(&[0; 1000])));
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while lazyfree.pending() > 0 {
            assert!(std::time::Instant::now() < deadline, "the thread frees");
            std::thread::yield_now();
        }
        assert_eq!(lazyfree.freed(), 100);
    }

    #[test]
    fn one_waits_until_it_is_enough_or_nothing_is_left_or_time_is_over() {
        let own = LazyFree::default();
        let lazyfree = &own;
        let far = Some(Instant::now() + Duration::from_secs(60));
        // Nothing to wait for.
        assert!(!lazyfree.wait(None, || false));
        assert!(lazyfree.wait(None, || true));
        for round in 1..=200 {
            for _ in 0..10 {
                lazyfree.free(Garbage::Value(Value::plain(&[0; 1000])));
            }
            // Two at a time.
            std::thread::scope(|scope| {
                let all = move || lazyfree.freed() == round * 10;
                let other = scope.spawn(move || lazyfree.wait(far, all));
                assert!(lazyfree.wait(None, all));
                assert!(other.join().expect("no panic"));
            });
        }
        // As if something took for ever.
        lazyfree.progress.pending.fetch_add(1, Ordering::SeqCst);
        let start = Instant::now();
        let soon = start + 3 * LOOK;
        assert!(!lazyfree.wait(Some(soon), || false));
        assert!(start.elapsed() >= 3 * LOOK);
        lazyfree.progress.note(1);
        assert_eq!(lazyfree.progress.waiting.load(Ordering::SeqCst), 0);
    }
}
