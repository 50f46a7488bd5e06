//! The turns in which the link to a primary carries out what has come, for those who want to see its
//! statistics as well as its data.
//!
//! What the commands of a turn have counted is added to the statistics when it is over. A client that
//! has seen what one of them did, and asks what has been counted, waits for that moment.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long somebody waits for a turn at most: it may have to wait itself, even for that client.
const MOST: Duration = Duration::from_millis(10);

/// The turns of the link, one after the other.
#[derive(Default)]
pub struct Turns {
    /// Counts how often one has begun or ended: it is odd while one goes on.
    count: AtomicU64,
    waiting: AtomicUsize,
    lock: Mutex<()>,
    ended: Condvar,
}

impl Turns {
    /// A turn begins, unless one goes on.
    pub fn begin(&self) {
        if self.count.load(Ordering::Relaxed).is_multiple_of(2) {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The turn is over, if one goes on.
    pub fn end(&self) {
        if self.count.load(Ordering::Relaxed).is_multiple_of(2) {
            return;
        }
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // Who waits has either seen that it is over, or sleeps by now.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.ended.notify_all();
        }
    }

    /// Waits for the end of the turn that goes on, if one does, but not for long.
    pub fn wait(&self) {
        let turn = self.count.load(Ordering::SeqCst);
        if turn.is_multiple_of(2) {
            return;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = |_: &mut ()| self.count.load(Ordering::SeqCst) == turn;
        drop(self.ended.wait_timeout_while(lock, MOST, goes_on));
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_turn_is_waited_for() {
        let turns = Arc::new(Turns::default());
        turns.wait();
        turns.end();
        let counted = Arc::new(AtomicBool::new(false));
        for _ in 0..100 {
            turns.begin();
            turns.begin();
            counted.store(false, Ordering::Relaxed);
            let (theirs, flag) = (turns.clone(), counted.clone());
            let feeder = std::thread::spawn(move || {
                flag.store(true, Ordering::Relaxed);
                theirs.end();
            });
            turns.wait();
            feeder.join().unwrap();
            assert!(counted.load(Ordering::Relaxed));
        }
        // One that does not end is not waited for.
        turns.begin();
        turns.wait();
        turns.end();
        turns.end();
        turns.wait();
    }
}
