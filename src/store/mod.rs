//! The store: all keys of all databases, spread over shards.
//!
//! A keyed hash decides a key's shard, the same in every database, so that `MOVE` and `SWAPDB`
//! stay within a shard. Each [`Shard`] sits behind its own `RwLock` and holds its part of every
//! database as a [`Db`]. Which shards a command holds is the business of [`locks`]; what a key and
//! a value are, of [`entry`] and `types`. An expired key is treated as absent by everyone who
//! reads; the sweeper ([`sweep`]) removes it. What all of it was at one instant is read by a
//! [`snapshot`], while commands go on.

pub mod access;
pub mod dict;
pub mod entry;
pub mod locks;
pub mod sampling;
pub mod snapshot;
pub mod sweep;
pub mod wheel;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, RwLock};

use crate::types::Value;
use crate::util::siphash::siphash12;
use dict::{Dict, Hasher};
use entry::{Entry, Key};
pub use locks::Locks;
use snapshot::pending::Pending;
use wheel::Wheel;

/// Number of shards: enough that one is rarely contended and that no pause over one is felt.
pub const SHARDS: usize = 256;
const SHARD_BITS: u32 = SHARDS.trailing_zeros();
/// As many stale items may a wheel have before it is worth building anew.
const STALE: usize = 1024;

/// A value on cache lines of its own.
#[repr(align(128))]
pub struct Padded<T>(pub T);

/// All keys of all databases.
pub struct Store {
    shards: Box<[Padded<RwLock<Shard>>]>,
    hasher: KeyHasher,
    databases: usize,
    /// When each shard's next wheel slot comes up; `i64::MAX` for none.
    due: Box<[AtomicI64]>,
    sweeper: sweep::Alarm,
    /// Whether there is a snapshot.
    snapshot: Arc<AtomicBool>,
}

/// The keyed hash of the keyspace. Its key is drawn at start, so that nobody can prepare keys that
/// collide.
#[derive(Clone, Copy)]
pub struct KeyHasher(u64, u64);

impl Hasher for KeyHasher {
    fn hash(&self, key: &[u8]) -> u64 {
        siphash12((self.0, self.1), key)
    }
}

impl KeyHasher {
    /// A hasher with a key of its own.
    pub fn random() -> KeyHasher {
        let [a, b] = crate::util::random::seed();
        KeyHasher(a, b)
    }
}

/// The shard of a key with this hash.
pub fn shard_of(hash: u64) -> usize {
    (hash >> (64 - SHARD_BITS)) as usize
}

/// One shard: its part of each database.
pub struct Shard {
    dbs: Vec<Db>,
    hasher: KeyHasher,
}

impl Shard {
    /// Its part of database `db`.
    pub fn db(&self, db: usize) -> &Db {
        &self.dbs[db]
    }

    /// Its part of database `db`.
    pub fn db_mut(&mut self, db: usize) -> &mut Db {
        &mut self.dbs[db]
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, a: usize, b: usize) {
        self.dbs.swap(a, b);
    }

    /// Puts a database of another shard, which is left empty, in the place of one of its own. Returns
    /// what is to be freed of that; nothing where a snapshot has yet to read it.
    pub fn adopt(&mut self, db: usize, other: &mut Shard) -> Option<Db> {
        let (_, old) = self.take(db);
        self.dbs[db] = std::mem::replace(&mut other.dbs[db], Db::new(self.hasher));
        old
    }

    /// Whether there may be hashes whose fields have deadlines.
    pub fn has_fields(&self) -> bool {
        self.dbs.iter().any(|db| db.fields)
    }

    /// When the next wheel slot of any database comes up.
    pub fn next_due(&self) -> Option<i64> {
        self.dbs.iter().filter_map(Db::next_due).min()
    }

    /// Empties a database. Returns how many keys were in it, and what is to be freed elsewhere:
    /// nothing where a snapshot has yet to read it, which then frees it.
    pub fn take(&mut self, db: usize) -> (usize, Option<Db>) {
        let hasher = self.hasher;
        let old = std::mem::replace(&mut self.dbs[db], Db::new(hasher));
        let keys = old.len();
        if old.pending.is_some() {
            return (keys, old.detach());
        }
        (keys, Some(old))
    }
}

/// A shard's part of one database.
pub struct Db {
    dict: Dict,
    hasher: KeyHasher,
    /// Keys with a deadline.
    volatile: usize,
    /// Hashes whose fields had deadlines when the wheel was last built anew; it is not worth knowing
    /// at all times, for it only says how many items of the wheel are to be expected.
    hashes: usize,
    /// Whether there may be hashes whose fields have deadlines: there has been one.
    fields: bool,
    wheel: Option<Box<Wheel>>,
    /// What a snapshot has yet to read.
    pending: Option<Box<Pending>>,
}

impl Db {
    fn new(hasher: KeyHasher) -> Db {
        Db {
            dict: Dict::new(),
            hasher,
            volatile: 0,
            hashes: 0,
            fields: false,
            wheel: None,
            pending: None,
        }
    }

    /// Number of keys, expired ones that have not been removed included.
    pub fn len(&self) -> usize {
        self.dict.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.dict.is_empty()
    }

    /// Number of keys with a deadline.
    pub fn volatile(&self) -> usize {
        self.volatile
    }

    /// Prepares for looking up keys with these hashes soon; see [`Dict::warm`].
    pub fn warm(&self, hashes: impl Iterator<Item = u64>) {
        self.dict.warm(hashes);
    }

    /// See [`Dict::fetch_slot`].
    #[inline]
    pub fn fetch_slot(&self, hash: u64) {
        self.dict.fetch_slot(hash);
    }

    /// See [`Dict::fetch_entry`].
    #[inline]
    pub fn fetch_entry(&self, hash: u64) -> Option<usize> {
        self.dict.fetch_entry(hash)
    }

    /// The position of a key, expired or not.
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        self.dict.find(hash, key)
    }

    /// The entry at a position. Its deadline is only changed by [`Db::set_deadline`].
    pub fn at_mut(&mut self, position: usize) -> &mut Entry {
        if self.pending.is_some() {
            self.keep(position);
        }
        self.dict.at_mut(position)
    }

    /// The entry of a key, expired or not.
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.dict.get(hash, key)
    }

    /// The entry at a position below [`Db::len`]; positions change when keys are removed.
    pub fn at(&self, position: usize) -> &Entry {
        self.dict.at(position)
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.dict.iter()
    }

    /// Adds a key that is not there and returns its position. When its value is a hash with
    /// deadlines of fields, [`Db::expect_fields`] is to follow.
    pub fn insert(&mut self, hash: u64, key: &[u8], value: Value, access: u32) -> usize {
        self.dict.insert(
            hash,
            Entry {
                key: Key::new(key, access),
                value,
            },
            &self.hasher,
        )
    }

    /// Removes a key, expired or not.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Entry> {
        if self.pending.is_some() {
            self.keep_removed(self.dict.find(hash, key)?);
        }
        let entry = self.dict.remove(hash, key, &self.hasher)?;
        if entry.key.deadline().is_some() {
            self.volatile -= 1;
            self.prune_wheel(STALE);
        }
        Some(entry)
    }

    /// Sets or removes the deadline of the key at a position. Returns when the sweeper has to look at it, if it has a
    /// deadline now.
    pub fn set_deadline(
        &mut self,
        hash: u64,
        position: usize,
        deadline: Option<i64>,
        now: i64,
    ) -> Option<i64> {
        let entry = self.at_mut(position);
        let before = entry.key.deadline();
        entry.key.set_deadline(deadline);
        self.volatile += usize::from(deadline.is_some());
        self.volatile -= usize::from(before.is_some());
        let deadline = deadline?;
        if before == Some(deadline) {
            return self.next_due();
        }
        self.expect(hash, deadline, now)
    }

    /// Puts a key into the wheel because a field of its hash has this deadline. Returns when the
    /// sweeper has to look at it.
    pub fn expect_fields(&mut self, hash: u64, deadline: i64, now: i64) -> Option<i64> {
        self.fields = true;
        self.expect(hash, deadline, now)
    }

    /// Finds out whether there are still hashes whose fields have deadlines, if there have been any.
    fn look_for_fields(&mut self) {
        self.fields = self.fields && self.iter().any(|entry| entry.next_field().is_some());
    }

    fn expect(&mut self, hash: u64, deadline: i64, now: i64) -> Option<i64> {
        let wheel = self.wheel.get_or_insert_with(|| Box::new(Wheel::new(now)));
        wheel.insert(hash, deadline);
        self.prune_wheel(STALE);
        self.next_due()
    }

    /// When the next wheel slot comes up.
    pub fn next_due(&self) -> Option<i64> {
        self.wheel.as_ref()?.next_due()
    }

    /// Bytes of memory of the tables, without what the entries own.
    pub fn memory(&self) -> usize {
        self.dict.memory() + self.wheel.as_ref().map_or(0, |wheel| wheel.memory())
    }

    /// The part of [`Db::memory`] that is there for deadlines.
    pub fn wheel_memory(&self) -> usize {
        self.wheel.as_ref().map_or(0, |wheel| wheel.memory())
    }

    /// Builds the wheel anew without its stale items once most of it is stale, and more than so many.
    fn prune_wheel(&mut self, few: usize) {
        let Some(old) = self
            .wheel
            .as_ref()
            .filter(|wheel| wheel.len() > 2 * (self.volatile + self.hashes) + few)
        else {
            return;
        };
        let mut wheel = Box::new(Wheel::new(old.now()));
        self.hashes = 0;
        for entry in self.dict.iter() {
            self.hashes += usize::from(entry.next_field().is_some());
            if let Some(deadline) = entry.next_deadline() {
                wheel.insert(self.hasher.hash(entry.key.bytes()), deadline);
            }
        }
        self.wheel = Some(wheel);
    }
}

impl Store {
    /// An empty store of `databases` databases.
    pub fn new(databases: usize) -> Store {
        Store::with_hasher(databases, KeyHasher::random())
    }

    /// An empty store of which the databases can take the place of this one's.
    pub fn beside(&self) -> Store {
        Store::with_hasher(self.databases, self.hasher)
    }

    fn with_hasher(databases: usize, hasher: KeyHasher) -> Store {
        let shard = || Shard {
            dbs: (0..databases).map(|_| Db::new(hasher)).collect(),
            hasher,
        };
        Store {
            shards: (0..SHARDS).map(|_| Padded(RwLock::new(shard()))).collect(),
            hasher,
            databases,
            due: (0..SHARDS).map(|_| AtomicI64::new(i64::MAX)).collect(),
            sweeper: sweep::Alarm::default(),
            snapshot: Arc::default(),
        }
    }

    /// Number of databases.
    pub fn databases(&self) -> usize {
        self.databases
    }

    /// The hash of a key.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    /// Runs `look` on each shard in turn under a shared lock, never more than one at a time.
    pub fn each_shard(&self, mut look: impl FnMut(usize, &Shard)) {
        for (number, shard) in self.shards.iter().enumerate() {
            look(number, &locks::shared(&shard.0));
        }
    }

    /// Number of keys of a database.
    pub fn len(&self, db: usize) -> usize {
        let mut keys = 0;
        self.each_shard(|_, shard| keys += shard.db(db).len());
        keys
    }

    /// Finds out, one shard at a time, where there are still hashes whose fields have deadlines, of
    /// the places where there have been any. No lock must be held.
    pub fn look_for_fields(&self) {
        for shard in &self.shards {
            if locks::shared(&shard.0).has_fields() {
                let mut shard = locks::exclusive(&shard.0);
                shard.dbs.iter_mut().for_each(Db::look_for_fields);
            }
        }
    }

    /// Tells the sweeper that a shard has a slot that comes up at `due`.
    pub fn note_due(&self, shard: usize, due: i64) {
        if self.due[shard].fetch_min(due, Ordering::Relaxed) > due {
            self.sweeper.set(due);
        }
    }
}
