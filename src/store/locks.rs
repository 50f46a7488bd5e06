//! Locking: which shards a command holds while it runs.
//!
//! The rule that makes deadlock impossible is here and nowhere else: shards are locked in
//! ascending order, each once, and nobody who holds some asks for more.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use super::{Shard, Store};

/// Takes a shared lock. A panic while a lock was held leaves the data in a state that Rust's types
/// keep valid, and the panicking session is gone, so a poisoned lock is used as it is.
pub(super) fn shared(lock: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Takes an exclusive lock.
pub(super) fn exclusive(lock: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

enum Guard<'s> {
    Shared(RwLockReadGuard<'s, Shard>),
    Exclusive(RwLockWriteGuard<'s, Shard>),
}

impl<'s> Guard<'s> {
    /// Locks; sets `waited` where that is not possible at once.
    fn take(lock: &'s RwLock<Shard>, write: bool, waited: &mut bool) -> Guard<'s> {
        if write {
            Guard::Exclusive(match lock.try_write() {
                Ok(guard) => guard,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    *waited = true;
                    exclusive(lock)
                }
            })
        } else {
            Guard::Shared(match lock.try_read() {
                Ok(guard) => guard,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    *waited = true;
                    shared(lock)
                }
            })
        }
    }

    fn get(&self) -> &Shard {
        match self {
            Guard::Shared(guard) => guard,
            Guard::Exclusive(guard) => guard,
        }
    }

    fn get_mut(&mut self) -> Option<&mut Shard> {
        match self {
            Guard::Shared(_) => None,
            Guard::Exclusive(guard) => Some(guard),
        }
    }
}

/// The shards a command holds.
#[derive(Default)]
pub struct Locks<'s> {
    held: Held<'s>,
    waited: bool,
}

#[derive(Default)]
enum Held<'s> {
    #[default]
    None,
    One(usize, Guard<'s>),
    /// In ascending order.
    Some(Vec<(usize, Guard<'s>)>),
    All(Vec<Guard<'s>>),
}

impl<'s> Locks<'s> {
    /// Holds nothing.
    pub fn none() -> Locks<'s> {
        Locks::default()
    }

    /// Locks one shard.
    pub fn one(store: &'s Store, shard: usize, write: bool) -> Locks<'s> {
        let mut waited = false;
        let guard = Guard::take(&store.shards[shard].0, write, &mut waited);
        Locks {
            held: Held::One(shard, guard),
            waited,
        }
    }

    /// Locks several shards, given in any order and with repetitions.
    pub fn several(store: &'s Store, shards: &mut Vec<usize>, write: bool) -> Locks<'s> {
        shards.sort_unstable();
        shards.dedup();
        match shards[..] {
            [] => Locks::none(),
            [shard] => Locks::one(store, shard, write),
            _ => {
                let mut waited = false;
                let mut take =
                    |shard: usize| Guard::take(&store.shards[shard].0, write, &mut waited);
                let guards = shards.iter().map(|&shard| (shard, take(shard))).collect();
                Locks {
                    held: Held::Some(guards),
                    waited,
                }
            }
        }
    }

    /// Locks every shard.
    pub fn all(store: &'s Store, write: bool) -> Locks<'s> {
        let mut waited = false;
        let shards = store.shards.iter();
        let guards = shards.map(|shard| Guard::take(&shard.0, write, &mut waited));
        Locks {
            held: Held::All(guards.collect()),
            waited,
        }
    }

    /// Whether somebody else held one of them, so that it took time to get it.
    pub fn has_waited(&self) -> bool {
        self.waited
    }

    /// Whether every shard is held.
    pub fn holds_all(&self) -> bool {
        matches!(self.held, Held::All(_))
    }

    /// Whether nothing is held.
    pub fn holds_none(&self) -> bool {
        matches!(self.held, Held::None)
    }

    /// Whether this shard is held.
    pub fn holds(&self, shard: usize) -> bool {
        match &self.held {
            Held::None => false,
            Held::One(at, _) => *at == shard,
            Held::Some(guards) => guards.binary_search_by_key(&shard, |(at, _)| *at).is_ok(),
            Held::All(_) => true,
        }
    }

    /// Whether this shard is held exclusively.
    pub fn holds_exclusively(&self, shard: usize) -> bool {
        let guard = match &self.held {
            Held::One(at, guard) if *at == shard => Some(guard),
            Held::Some(guards) => match guards.binary_search_by_key(&shard, |(at, _)| *at) {
                Ok(found) => Some(&guards[found].1),
                Err(_) => None,
            },
            Held::All(guards) => guards.get(shard),
            _ => None,
        };
        matches!(guard, Some(Guard::Exclusive(_)))
    }

    /// A held shard.
    ///
    /// # Panics
    /// When the shard is not held: a command touched a key that its row does not declare.
    pub fn shard(&self, shard: usize) -> &Shard {
        let guard = match &self.held {
            Held::One(at, guard) if *at == shard => Some(guard),
            Held::Some(guards) => guards
                .binary_search_by_key(&shard, |(at, _)| *at)
                .ok()
                .map(|found| &guards[found].1),
            Held::All(guards) => guards.get(shard),
            _ => None,
        };
        match guard {
            Some(guard) => guard.get(),
            None => panic!("shard {shard} is not locked by this command"),
        }
    }

    /// A shard held exclusively.
    ///
    /// # Panics
    /// When it is not held so: a command wrote a key that its row does not declare as written.
    pub fn shard_mut(&mut self, shard: usize) -> &mut Shard {
        let guard = match &mut self.held {
            Held::One(at, guard) if *at == shard => Some(guard),
            Held::Some(guards) => match guards.binary_search_by_key(&shard, |(at, _)| *at) {
                Ok(found) => Some(&mut guards[found].1),
                Err(_) => None,
            },
            Held::All(guards) => guards.get_mut(shard),
            _ => None,
        };
        match guard.and_then(Guard::get_mut) {
            Some(shard) => shard,
            None => panic!("shard {shard} is not locked for writing by this command"),
        }
    }
}
