//! Removing expired keys and hash fields: the sweeper's clock, and what it does to one shard.
//!
//! The sweeper is a thread of the server; it sleeps on an alarm until the next wheel slot of
//! any shard comes up and then sweeps the shards that are due, a few hundred keys under one lock.
//! A hash with many expired fields is emptied in several goes, with the lock released in between.
//! What else the removal of a key entails (the log, notifications) is the caller's.

use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::dict::Hasher;
use super::entry::Entry;
use super::{Shard, Store, locks};
use crate::types::Value;
use crate::util::clock::now_ms;

/// Keys looked at under one lock, where the effort is 1.
const BATCH: usize = 200;
/// Fields of hashes removed under one lock, as well.
const FIELDS: usize = 500;

/// What the sweeper has removed.
pub enum Swept {
    /// A key that had expired.
    Key(Entry),
    /// Fields that had expired, of the hash under this key.
    Fields(Vec<u8>, Vec<Vec<u8>>),
    /// All fields that a hash still had, and so its key.
    Hash(Entry, Vec<Vec<u8>>),
}

/// The time at which the sweeper wakes.
#[derive(Default)]
pub(super) struct Alarm {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    due: Option<i64>,
    stopped: bool,
}

impl Alarm {
    /// Wakes the sweeper at `due` at the latest.
    pub(super) fn set(&self, due: i64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.due.is_none_or(|earlier| due < earlier) {
            state.due = Some(due);
            self.changed.notify_one();
        }
    }

    /// Sleeps until the alarm is due. Returns `false` when the sweeper is to end.
    fn wait(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.stopped {
                return false;
            }
            let left = state.due.map(|due| due - now_ms());
            match left {
                Some(left) if left <= 0 => {
                    state.due = None;
                    return true;
                }
                // An hour at most, so that a clock that was set back does no harm for long.
                Some(left) => {
                    let left = Duration::from_millis(left.clamp(1, 3_600_000) as u64);
                    let woken = self.changed.wait_timeout(state, left);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner)
                }
            }
        }
    }
}

impl Store {
    /// The sweeper's life: waits until keys are due and hands what it removed to `removed`, with
    /// the database, while the shard is still locked, and calls `unlocked` with the time for which
    /// it was, when it no longer is.
    /// `pause` is asked before each round, and `effort` for how much is removed under one lock: more of
    /// it is sooner done, but holds others up for longer.
    pub fn sweep_until_stopped(
        &self,
        pause: impl Fn() -> bool,
        effort: impl Fn() -> usize,
        mut removed: impl FnMut(&mut Shard, usize, Swept),
        mut unlocked: impl FnMut(Duration),
    ) {
        while self.sweeper.wait() {
            let now = now_ms();
            if pause() {
                self.sweeper.set(now + 100);
                continue;
            }
            for shard in 0..self.shards.len() {
                while self.due[shard].load(Ordering::Relaxed) <= now {
                    let swept = self.sweep(shard, now, effort(), &pause, &mut removed);
                    let Some(took) = swept else {
                        break;
                    };
                    unlocked(took);
                    // Many keys may be due at once; whoever waits for the processor goes first.
                    std::thread::yield_now();
                }
            }
            let next = self.due.iter().map(|due| due.load(Ordering::Relaxed)).min();
            if let Some(next) = next.filter(|&next| next < i64::MAX) {
                self.sweeper.set(next);
            }
        }
    }

    /// Ends [`Store::sweep_until_stopped`].
    pub fn stop_sweeper(&self) {
        self.sweeper
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stopped = true;
        self.sweeper.changed.notify_all();
    }

    /// Looks at up to [`BATCH`] due items of a shard and removes up to [`FIELDS`] fields of hashes, each
    /// times `effort`.
    /// Returns for how long it was locked; nothing is done when there has come a reason to pause.
    pub(super) fn sweep(
        &self,
        number: usize,
        now: i64,
        effort: usize,
        pause: &impl Fn() -> bool,
        removed: &mut impl FnMut(&mut Shard, usize, Swept),
    ) -> Option<Duration> {
        let mut shard = locks::exclusive(&self.shards[number].0);
        if pause() {
            return None;
        }
        let start = Instant::now();
        let mut hashes = Vec::new();
        let (mut budget, mut fields) = (BATCH * effort, FIELDS * effort);
        for db in 0..shard.dbs.len() {
            while budget > 0 && fields > 0 {
                hashes.clear();
                let due = shard.dbs[db]
                    .wheel
                    .as_mut()
                    .is_some_and(|wheel| wheel.take_due(now, budget, &mut hashes));
                if !due {
                    break;
                }
                budget -= hashes.len().clamp(1, budget);
                for &hash in &hashes {
                    while let Some(entry) = shard.dbs[db].expire_one(hash, now) {
                        removed(&mut shard, db, Swept::Key(entry));
                    }
                    if let Some(swept) = shard.dbs[db].expire_fields(hash, now, &mut fields) {
                        removed(&mut shard, db, swept);
                    }
                }
            }
        }
        let next = shard.dbs.iter().filter_map(super::Db::next_due).min();
        self.due[number].store(next.unwrap_or(i64::MAX), Ordering::Relaxed);
        Some(start.elapsed())
    }
}

impl super::Db {
    /// Removes one expired key with this hash.
    fn expire_one(&mut self, hash: u64, now: i64) -> Option<Entry> {
        let expired = |entry: &Entry| entry.key.is_expired(now);
        if self.pending.is_some() {
            self.keep_removed(self.dict.position_where(hash, expired)?);
        }
        let entry = self.dict.remove_where(hash, expired, &self.hasher)?;
        self.volatile -= 1;
        Some(entry)
    }

    /// Removes up to `budget` expired fields of the hash under the key with this hash, and the key
    /// when none is left. A key that has to be looked at again goes back into the wheel.
    fn expire_fields(&mut self, hash: u64, now: i64, budget: &mut usize) -> Option<Swept> {
        // Tags collide: only a key with this very hash is the one the item was made for.
        let hasher = self.hasher;
        let waits = |entry: &Entry| {
            entry.next_deadline().is_some() && hasher.hash(entry.key.bytes()) == hash
        };
        let position = self.dict.position_where(hash, waits)?;
        if self.pending.is_some() {
            self.keep(position);
        }
        let entry = self.dict.at_mut(position);
        let mut gone = Vec::new();
        if let Value::Hash(fields) = &mut entry.value {
            gone = fields.expire_due(now, *budget);
            *budget -= gone.len();
            if fields.is_empty() {
                let key = entry.key.bytes().to_vec();
                return self
                    .remove(hash, &key)
                    .map(|entry| Swept::Hash(entry, gone));
            }
        }
        let (key, next) = (&entry.key, entry.next_deadline());
        let swept = (!gone.is_empty()).then(|| Swept::Fields(key.bytes().to_vec(), gone));
        if let (Some(next), Some(wheel)) = (next, &mut self.wheel) {
            if next <= now {
                wheel.put_back(hash);
            } else {
                wheel.insert(hash, next);
            }
        }
        swept
    }
}
