//! Picking keys at random, for eviction: what is there to choose from.
//!
//! A key is named by its database and the full 64 bits of its hash, which takes no memory of its
//! own; that two keys share a hash is next to never, and then one is as good as the other.
//!
//! Keys with a deadline are found among all keys where they are not rare, and otherwise in the
//! wheel of their deadlines, which lists nothing else but some stale items and hashes of which
//! fields expire.

use std::sync::atomic::Ordering;

use super::dict::{Dict, Hasher};
use super::entry::Entry;
use super::{Db, SHARDS, Shard, Store, locks};
use crate::sys::fetch;
use crate::util::random::Rng;

/// Which keys are to choose from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pick {
    /// All.
    Any,
    /// Those with a deadline.
    Volatile,
    /// Those with a deadline, the soonest first.
    Soonest,
}

impl Pick {
    /// Whether a key is one of those.
    pub fn fits(self, entry: &Entry) -> bool {
        self == Pick::Any || entry.key.deadline().is_some()
    }
}

/// Keys with a deadline are looked for among all keys where there is one in so many.
const RARE: usize = 8;
/// Items of the wheel that may turn out stale for each key that is wanted.
const STALE: usize = 16;
/// Of a slot of the wheel with more items than this for each key that is wanted, only as many are
/// looked at.
const CHOICE: usize = 4;
/// As many entries are fetched from memory together.
const TOGETHER: usize = 8;

impl Store {
    /// Looks at about `count` keys, picked at random, with their databases and hashes. Shards are
    /// locked one at a time, for reading. Returns whether there was any.
    pub fn sample(
        &self,
        rng: &mut Rng,
        count: usize,
        pick: Pick,
        mut look: impl FnMut(usize, u64, &Entry),
    ) -> bool {
        let mut seen = 0;
        for number in self.shards_with(rng.index(SHARDS), pick) {
            let shard = locks::shared(&self.shards[number].0);
            for (db, part) in shard.dbs.iter().enumerate() {
                // Where shards hold few keys, those of several make up the sample.
                seen += part.sample(rng, count, pick, |hash, entry| look(db, hash, entry));
            }
            if seen >= count {
                break;
            }
        }
        seen > 0
    }

    /// The numbers of the shards in which there may be keys to choose from, beginning with `from`.
    pub fn shards_with(&self, from: usize, pick: Pick) -> impl Iterator<Item = usize> {
        let all = (from..from + SHARDS).map(|number| number % SHARDS);
        // Without anything in the wheel there is no deadline.
        all.filter(move |&number| {
            pick == Pick::Any || self.due[number].load(Ordering::Relaxed) < i64::MAX
        })
    }
}

impl Shard {
    /// Some key at random from the first database, counted from `first`, that has one to choose:
    /// the number of the database and the key's hash.
    pub fn pick(&self, rng: &mut Rng, first: usize, pick: Pick) -> Option<(usize, u64)> {
        let databases = self.dbs.len();
        let mut numbers = (first..first + databases).map(|number| number % databases);
        numbers.find_map(|number| {
            let mut found = None;
            self.dbs[number].sample(rng, 1, pick, |hash, _| found = Some((number, hash)));
            found
        })
    }
}

impl Db {
    /// Looks at up to `count` keys, picked at random. Returns at how many.
    fn sample(
        &self,
        rng: &mut Rng,
        count: usize,
        pick: Pick,
        mut look: impl FnMut(u64, &Entry),
    ) -> usize {
        let from = match pick {
            Pick::Any => self.dict.len(),
            _ => self.volatile,
        };
        if from == 0 {
            return 0;
        }
        let mut see = |entry: &Entry| look(self.hasher.hash(entry.key.bytes()), entry);
        // With so few keys to choose from, each of them once.
        if from <= count && self.dict.len() <= count * RARE {
            let fit = self.dict.iter().filter(|entry| pick.fits(entry));
            return fit.take(from).map(see).count();
        }
        // Where there are fewer, other shards are to make up the sample, not the same key again.
        let count = count.min(from);
        let mut seen = 0;
        if pick == Pick::Any || pick == Pick::Volatile && from * RARE > self.dict.len() {
            // By chance not a single one may have been met; the wheel has some.
            let mut tries = if pick == Pick::Any {
                count
            } else {
                count * RARE * 2
            };
            while seen < count && tries > 0 {
                let batch = tries.min(TOGETHER).min(count - seen);
                let positions: [usize; TOGETHER] =
                    std::array::from_fn(|_| rng.index(self.dict.len()));
                let positions = &positions[..batch];
                for &position in positions {
                    fetch(self.dict.at(position));
                }
                for &position in positions {
                    let entry = self.dict.at(position);
                    if pick.fits(entry) {
                        see(entry);
                        seen += 1;
                    }
                }
                tries -= batch;
            }
        }
        if seen == 0 {
            seen = self.sample_wheel(rng, count, pick, &mut see);
        }
        if seen == 0 {
            // Nothing but stale items has been met. It is seldom worth the effort, but there are
            // such keys, and it is for them that the caller came.
            let fit = self.dict.iter().filter(|entry| pick.fits(entry));
            seen = fit.take(count).map(see).count();
        }
        seen
    }

    /// The same for keys with a deadline, by way of the wheel.
    fn sample_wheel(
        &self,
        rng: &mut Rng,
        count: usize,
        pick: Pick,
        see: &mut impl FnMut(&Entry),
    ) -> usize {
        let Some(wheel) = &self.wheel else {
            return 0;
        };
        let (mut seen, mut tries) = (0, count.saturating_mul(STALE));
        let mut meet = |hash: u64| {
            let found = self.dict.position_where(hash, |entry| pick.fits(entry));
            if let Some(position) = found {
                see(self.dict.at(position));
                seen += 1;
            }
            tries -= 1;
            seen < count && tries > 0
        };
        if pick == Pick::Volatile {
            wheel.each_random(rng, meet);
            return seen;
        }
        // Of many that come up together some, or it would always be the same that are looked at.
        let most = count.saturating_mul(CHOICE);
        for slot in wheel.slots() {
            let enough = if slot.len() <= most {
                !slot.iter().all(|&hash| meet(hash))
            } else {
                !(0..most).all(|_| meet(slot[rng.index(slot.len())]))
            };
            if enough {
                break;
            }
        }
        seen
    }

    /// Removes the key with this very hash, if it is as the caller wants it.
    pub fn remove_if(&mut self, hash: u64, fits: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let hasher = self.hasher;
        let is_it = |entry: &Entry| hasher.hash(entry.key.bytes()) == hash && fits(entry);
        if self.pending.is_some() {
            self.keep_removed(self.dict.position_where(hash, is_it)?);
        }
        let entry = self.dict.remove_where(hash, is_it, &hasher)?;
        if entry.key.deadline().is_some() {
            self.volatile -= 1;
            // Those that eviction has left there it would soon be looking at more than at others.
            self.prune_wheel(64 + self.dict.len() / 8);
        }
        self.give_back();
        Some(entry)
    }

    /// Frees tables in which nothing is left. They are small, but every shard has some, and who
    /// evicts wants memory rather than to find them ready for the next key.
    fn give_back(&mut self) {
        if self.dict.is_empty() {
            self.dict = Dict::new();
            self.wheel = None;
        } else if self.volatile == 0 && self.wheel.as_ref().is_some_and(|wheel| wheel.len() < STALE)
        {
            // What is in it is stale, unless there are hashes of which fields expire.
            let waits = |entry: &Entry| entry.next_field().is_some();
            if !self.dict.iter().any(waits) {
                self.wheel = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Locks, shard_of};
    use crate::types::Value;
    use std::collections::HashSet;

    fn filled(keys: usize, volatile_every: usize) -> Store {
        let store = Store::new(3);
        for i in 0..keys {
            let key = format!("key:{i}").into_bytes();
            let hash = store.hash(&key);
            let mut locks = Locks::one(&store, shard_of(hash), true);
            let db = locks.shard_mut(shard_of(hash)).db_mut(i % 2);
            let position = db.insert(hash, &key, Value::Int(i as i64), 0);
            if i % volatile_every == 0 {
                let deadline = Some(1_000_000 + i as i64 * 1000);
                let due = db.set_deadline(hash, position, deadline, 1000);
                store.note_due(shard_of(hash), due.expect("there is a deadline"));
            }
        }
        store
    }

    #[test]
    fn samples_hold_what_is_asked_for() {
        let mut rng = Rng::new([3, 4]);
        for (keys, every) in [(1, 1), (7, 3), (500, 100), (50_000, 7), (50_000, 5000)] {
            let store = filled(keys, every);
            for pick in [Pick::Any, Pick::Volatile, Pick::Soonest] {
                let mut met = HashSet::new();
                for _ in 0..200 {
                    let mut seen = 0;
                    assert!(store.sample(&mut rng, 5, pick, |db, hash, entry| {
                        assert_eq!(store.hash(entry.key.bytes()), hash);
                        assert!(pick == Pick::Any || entry.key.deadline().is_some());
                        met.insert((db, hash));
                        seen += 1;
                    }));
                    let all = if pick == Pick::Any {
                        keys
                    } else {
                        keys.div_ceil(every)
                    };
                    assert!(seen >= all.min(5), "{seen} of {all}");
                }
                assert!(met.len() >= keys.div_ceil(every).min(100));
            }
        }
    }

    #[test]
    fn where_there_is_nothing_nothing_is_found() {
        let mut rng = Rng::new([3, 4]);
        let store = Store::new(2);
        let nothing = |_, _, _: &Entry| unreachable!();
        assert!(!store.sample(&mut rng, 5, Pick::Any, nothing));
        let store = filled(1, 1);
        let key = b"key:0";
        let hash = store.hash(key);
        let mut locks = Locks::one(&store, shard_of(hash), true);
        let shard = locks.shard_mut(shard_of(hash));
        assert_eq!(shard.pick(&mut rng, 2, Pick::Volatile), Some((0, hash)));
        assert!(shard.db_mut(0).remove_if(hash, |_| false).is_none());
        assert!(shard.db_mut(0).remove_if(hash, |_| true).is_some());
        assert_eq!(shard.pick(&mut rng, 0, Pick::Volatile), None);
        drop(locks);
        assert!(!store.sample(&mut rng, 5, Pick::Volatile, nothing));
    }

    #[test]
    fn a_deadline_among_stale_items_is_found() {
        let store = filled(3000, 1);
        let mut kept = None;
        for i in 0..3000 {
            let key = format!("key:{i}").into_bytes();
            let hash = store.hash(&key);
            let number = shard_of(hash);
            // All of one shard but one key no longer expire.
            if number == 7 {
                let mut locks = Locks::one(&store, number, true);
                let db = locks.shard_mut(number).db_mut(i % 2);
                if kept.is_none() {
                    kept = Some(hash);
                } else if let Some(position) = db.find(hash, &key) {
                    db.set_deadline(hash, position, None, 1000);
                }
            }
        }
        let locks = Locks::one(&store, 7, false);
        let mut rng = Rng::new([5, 6]);
        for pick in [Pick::Volatile, Pick::Soonest] {
            let found = locks.shard(7).pick(&mut rng, 0, pick);
            assert_eq!(found.map(|(_, hash)| hash), kept);
        }
    }
}
