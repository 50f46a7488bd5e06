//! Freeing what takes long to free, away from the sessions.
//!
//! One thread, started with the first thing to free, drops what is handed to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::eviction::Counted;
use crate::store::Db;
use crate::types::Value;

/// Values of more allocations than this are freed in the background.
pub const THRESHOLD: usize = 64;

/// Values of more allocations than this are freed in the background even where that was not asked
/// for: whoever frees them holds a lock, and everybody else would feel it.
pub const HUGE: usize = 2048;

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
    pending: Arc<AtomicUsize>,
    freed: Arc<AtomicUsize>,
}

impl LazyFree {
    /// Frees something in the background.
    pub fn free(&self, garbage: Garbage) {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.is_none() {
            *sender = self.start();
        }
        self.pending.fetch_add(garbage.objects(), Ordering::Relaxed);
        // Without a thread the garbage comes back and is dropped here.
        let refused = match sender.as_ref() {
            Some(thread) => thread.send(garbage).err().map(|error| error.0),
            None => Some(garbage),
        };
        if let Some(garbage) = refused {
            self.pending.fetch_sub(garbage.objects(), Ordering::Relaxed);
        }
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
        self.pending.load(Ordering::Relaxed)
    }

    /// Objects freed since the start or the last [`LazyFree::forget_freed`].
    pub fn freed(&self) -> usize {
        self.freed.load(Ordering::Relaxed)
    }

    /// Sets what [`LazyFree::freed`] tells back to zero.
    pub fn forget_freed(&self) {
        self.freed.store(0, Ordering::Relaxed);
    }

    fn start(&self) -> Option<Sender<Garbage>> {
        let (sender, receiver) = channel::<Garbage>();
        let (pending, freed) = (self.pending.clone(), self.freed.clone());
        let body = move || {
            while let Ok(garbage) = receiver.recv() {
                let objects = garbage.objects();
                let was_db = matches!(garbage, Garbage::Db(_));
                drop(garbage);
                freed.fetch_add(objects, Ordering::Relaxed);
                if pending.fetch_sub(objects, Ordering::Relaxed) == objects && was_db {
                    crate::sys::trim();
                }
            }
        };
        std::thread::Builder::new()
            .name("lazyfree".into())
            .spawn(body)
            .ok()
            .map(|_| sender)
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
}
