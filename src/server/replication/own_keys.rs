//! Keys that expire on a replica by itself: those that its own clients have given deadlines.
//!
//! That a key of the primary's has expired is for the primary to say. What clients have written to a
//! replica that lets them (`replica-read-only no`), the primary knows nothing of.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A key with its database.
type Place = (usize, Vec<u8>);

/// All of them.
#[derive(Default)]
pub struct OwnKeys {
    count: AtomicUsize,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    /// When each is to be looked at, unix milliseconds.
    deadlines: HashMap<Place, i64>,
    due: BTreeSet<(i64, Place)>,
}

impl Keys {
    fn set(&mut self, key: Place, deadline: i64) {
        if let Some(old) = self.deadlines.insert(key.clone(), deadline) {
            self.due.remove(&(old, key.clone()));
        }
        self.due.insert((deadline, key));
    }
}

impl OwnKeys {
    /// Notes that a client has given a key a deadline.
    #[cold]
    pub fn note(&self, db: usize, key: &[u8], deadline: i64) {
        let mut keys = self.keys();
        keys.set((db, key.to_vec()), deadline);
        self.count.store(keys.deadlines.len(), Ordering::Relaxed);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        if !self.is_empty() {
            *self.keys() = Keys::default();
            self.count.store(0, Ordering::Relaxed);
        }
    }

    /// Takes out up to `most` keys that are due.
    pub fn take_due(&self, now: i64, most: usize) -> Vec<Place> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut keys = self.keys();
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((deadline, _)) = keys.due.first()
            && *deadline <= now
            && let Some((_, key)) = keys.due.pop_first()
        {
            keys.deadlines.remove(&key);
            taken.push(key);
        }
        self.count.store(keys.deadlines.len(), Ordering::Relaxed);
        taken
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_the_order_of_their_deadlines() {
        let own = OwnKeys::default();
        own.note(0, b"late", 30);
        own.note(0, b"early", 10);
        own.note(1, b"early", 20);
        own.note(0, b"early", 15);
        assert_eq!(own.len(), 3);
        assert!(own.take_due(14, 10).is_empty());
        assert_eq!(
            own.take_due(30, 2),
            [(0, b"early".to_vec()), (1, b"early".to_vec())]
        );
        assert_eq!(own.take_due(30, 2), [(0, b"late".to_vec())]);
        own.note(0, b"k", 1);
        own.clear();
        assert!(own.is_empty() && own.take_due(i64::MAX, 1).is_empty());
    }
}
