//! `CLIENT PAUSE`: commands that wait until the pause ends.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
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

/// The state of the pause.
#[derive(Default)]
pub struct Pause {
    /// End of the pause in unix milliseconds; 0 when there is none. What every command looks at.
    until: AtomicI64,
    state: Mutex<Option<(i64, Mode)>>,
    changed: Condvar,
}

impl Pause {
    /// Pauses until `until`. A pause in force is only ever made longer or stricter.
    pub fn start(&self, until: i64, mode: Mode) {
        let mut state = self.lock();
        let (until, mode) = match *state {
            Some((old, old_mode)) if old > now_ms() => (old.max(until), old_mode.max(mode)),
            _ => (until, mode),
        };
        *state = Some((until, mode));
        self.until.store(until, Ordering::Release);
        self.changed.notify_all();
    }

    /// Ends the pause.
    pub fn end(&self) {
        let mut state = self.lock();
        *state = None;
        self.until.store(0, Ordering::Release);
        drop(state);
        self.changed.notify_all();
    }

    /// What is paused at the moment. Costs one atomic load when nothing is.
    pub fn mode(&self) -> Option<Mode> {
        if self.until.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut state = self.lock();
        let (until, mode) = (*state)?;
        if until <= now_ms() {
            *state = None;
            self.until.store(0, Ordering::Release);
            return None;
        }
        Some(mode)
    }

    /// Whether commands of this kind are paused: those that may write, or others.
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
        let state = self.lock();
        let left = match *state {
            Some((until, _)) => {
                Duration::from_millis((until - now_ms()).clamp(1, 3_600_000) as u64)
            }
            None => return false,
        };
        drop(
            self.changed
                .wait_timeout(state, left.min(poll))
                .unwrap_or_else(PoisonError::into_inner),
        );
        self.holds(may_write)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(i64, Mode)>> {
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
        pause.start(now_ms() + 60_000, Mode::Write);
        assert!(pause.holds(true) && !pause.holds(false));
        pause.start(now_ms() + 10, Mode::All);
        assert!(pause.holds(false));
        pause.end();
        assert!(!pause.wait(true, Duration::from_secs(60)));
        pause.start(now_ms() - 1, Mode::All);
        assert!(!pause.holds(true));
    }
}
