//! The turns in which the link to a primary carries out what has come, for those who want to see its
//! statistics as well as its data.
//!
//! What the commands of a turn have counted is added to the statistics when it is over. A client that
//! has seen what one of them did, and asks what has been counted, waits for that moment. Nothing is
//! read but within a turn, so that whoever finds none, and nothing left to read, knows that all that
//! has come is done.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

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
        if !turn.is_multiple_of(2) {
            self.wait_until(turn + 1, MOST);
        }
    }

    /// Waits until everything is carried out that `is_left` to be read, at most for so long. Returns
    /// whether it is.
    pub fn drain(&self, is_left: impl Fn() -> bool, most: Duration) -> bool {
        let start = Instant::now();
        loop {
            // In this order: what is read after the first look is read in a turn that the second sees.
            let left = is_left();
            let turn = self.count.load(Ordering::SeqCst);
            let goes_on = !turn.is_multiple_of(2);
            if !left && !goes_on {
                return true;
            }
            let Some(rest) = most.checked_sub(start.elapsed()) else {
                return false;
            };
            // The end of this turn, or of the next.
            self.wait_until(turn + if goes_on { 1 } else { 2 }, rest);
        }
    }

    /// Waits until so many turns have begun and ended, at most for so long.
    fn wait_until(&self, count: u64, most: Duration) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = |_: &mut ()| self.count.load(Ordering::SeqCst) < count;
        drop(self.ended.wait_timeout_while(lock, most, goes_on));
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64};
    use std::sync::mpsc::channel;

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

    #[test]
    fn what_is_left_is_drained() {
        const ROUNDS: u64 = 200;
        let turns = Arc::new(Turns::default());
        let (left, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (send, come) = channel();
        let (theirs, unread, carried) = (turns.clone(), left.clone(), done.clone());
        let feeder = std::thread::spawn(move || {
            while come.recv().is_ok() {
                theirs.begin();
                let read = unread.swap(0, Ordering::SeqCst);
                std::thread::yield_now();
                carried.fetch_add(read, Ordering::SeqCst);
                theirs.end();
            }
        });
        for round in 1..=ROUNDS {
            left.fetch_add(1, Ordering::SeqCst);
            send.send(()).unwrap();
            assert!(turns.drain(|| left.load(Ordering::SeqCst) > 0, Duration::from_secs(20)));
            assert_eq!(done.load(Ordering::SeqCst), round);
        }
        drop(send);
        feeder.join().unwrap();
        // What nobody reads is not waited for without end.
        assert!(!turns.drain(|| true, Duration::from_millis(1)));
    }
}
