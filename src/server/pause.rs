//! Commands that wait until a pause ends: `CLIENT PAUSE`, and those that the server needs itself.
//!
//! Each purpose has a pause of its own; while several are in force, the strictest counts.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::util::clock::now_ms;

/// What is paused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mode {
    /// Commands that may write.
    Write,
    /// All commands.
    All,
}

/// What for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// `CLIENT PAUSE`.
    Client,
    /// The end of the server, which waits for its replicas.
    Shutdown,
    /// `FAILOVER`.
    Failover,
}

/// The end of each purpose's pause, and what it is for.
type Pauses = [Option<(i64, Mode)>; 3];

/// The state of the pause.
#[derive(Default)]
pub struct Pause {
    /// End of the last pause in unix milliseconds; 0 when there is none. What every command looks at.
    until: AtomicI64,
    state: Mutex<Pauses>,
    changed: Condvar,
}

/// What is paused by all of them at a time.
fn strictest(pauses: &Pauses, now: i64) -> Option<Mode> {
    let in_force = pauses.iter().flatten().filter(|(until, _)| *until > now);
    in_force.map(|&(_, mode)| mode).max()
}

impl Pause {
    /// Pauses until `until`. A pause in force is only ever made longer or stricter.
    pub fn start(&self, purpose: Purpose, until: i64, mode: Mode) {
        let mut pauses = self.lock();
        let pause = &mut pauses[purpose as usize];
        *pause = Some(match *pause {
            Some((old, old_mode)) if old > now_ms() => (old.max(until), old_mode.max(mode)),
            _ => (until, mode),
        });
        self.publish(&pauses);
        drop(pauses);
        self.changed.notify_all();
    }

    /// Ends the pause that there is for a purpose.
    pub fn end(&self, purpose: Purpose) {
        let mut pauses = self.lock();
        pauses[purpose as usize] = None;
        self.publish(&pauses);
        drop(pauses);
        self.changed.notify_all();
    }

    /// Ends every pause.
    pub fn end_all(&self) {
        let mut pauses = self.lock();
        *pauses = Pauses::default();
        self.publish(&pauses);
        drop(pauses);
        self.changed.notify_all();
    }

    /// What is paused at the moment. Costs one atomic load when nothing is.
    #[inline]
    pub fn mode(&self) -> Option<Mode> {
        if self.until.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.look()
    }

    #[cold]
    fn look(&self) -> Option<Mode> {
        let mut pauses = self.lock();
        let now = now_ms();
        let mode = strictest(&pauses, now);
        if mode.is_none() {
            *pauses = Pauses::default();
            self.publish(&pauses);
        }
        mode
    }

    /// Whether commands of this kind are paused: those that may write, or others.
    #[inline]
    pub fn holds(&self, may_write: bool) -> bool {
        self.mode()
            .is_some_and(|mode| mode == Mode::All || may_write)
    }

    /// Waits while commands of this kind are paused, at most until `poll` has passed, so that the
    /// caller can look after its client. Returns whether they still are.
    pub fn wait(&self, may_write: bool, poll: Duration) -> bool {
        if !self.holds(may_write) {
            return false;
        }
        let pauses = self.lock();
        let now = now_ms();
        let next = pauses.iter().flatten().map(|&(until, _)| until - now);
        let Some(next) = next.filter(|&left| left > 0).min() else {
            return false;
        };
        let left = Duration::from_millis(next as u64).min(poll);
        drop(
            self.changed
                .wait_timeout(pauses, left)
                .unwrap_or_else(PoisonError::into_inner),
        );
        self.holds(may_write)
    }

    fn publish(&self, pauses: &Pauses) {
        let last = pauses.iter().flatten().map(|&(until, _)| until).max();
        self.until.store(last.unwrap_or(0), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Pauses> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_add_up_and_end() {
        let pause = Pause::default();
        assert!(!pause.holds(true));
        pause.start(Purpose::Client, now_ms() + 60_000, Mode::Write);
        assert!(pause.holds(true) && !pause.holds(false));
        pause.start(Purpose::Client, now_ms() + 10, Mode::All);
        assert!(pause.holds(false));
        pause.end(Purpose::Client);
        assert!(!pause.wait(true, Duration::from_secs(60)));
        pause.start(Purpose::Client, now_ms() - 1, Mode::All);
        assert!(!pause.holds(true));
    }

    #[test]
    fn each_purpose_has_its_own() {
        let pause = Pause::default();
        pause.start(Purpose::Failover, i64::MAX, Mode::Write);
        pause.start(Purpose::Client, now_ms() + 60_000, Mode::All);
        assert!(pause.holds(false));
        pause.end(Purpose::Client);
        assert!(pause.holds(true) && !pause.holds(false));
        assert!(pause.wait(true, Duration::from_millis(1)));
        pause.end(Purpose::Failover);
        assert!(!pause.holds(true));
        pause.start(Purpose::Shutdown, i64::MAX, Mode::Write);
        pause.end_all();
        assert!(!pause.holds(true));
    }
}
