//! The keyspace as one command sees it: the database it works in, behind the locks it holds.
//!
//! Everything a handler does to keys goes through here, so that expiry, access bookkeeping, hit
//! statistics and the consequences of a change are in one place. A handler can only reach the
//! shards that its row in the table declares.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::aside::MaybeAside;
use super::consequences::Arrival;
use super::effects::Effects;
use super::error::{Error, Outcome, WRONG_TYPE};
use super::notify;
pub use super::notify::Class;
use super::spec::WRITE;
use super::table::Row;
use crate::server::Server;
use crate::server::config::id;
use crate::server::lazyfree::Garbage;
use crate::server::mail::Mail;
use crate::store::access::Policy;
use crate::store::entry::Entry;
use crate::store::{Db, Locks, shard_of};
use crate::types::hash::Hash;
use crate::types::quicklist::List;
use crate::types::set::Set;
use crate::types::stream::Stream;
use crate::types::zset::ZSet;
use crate::types::{Type, Value};

/// The look-ups of one collection type each.
macro_rules! collections {
    ($($(#[$doc:meta])* $read:ident, $write:ident: $variant:ident($type:ty);)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// `WRONGTYPE` when the key holds something else.
        pub fn $read(&mut self, key: &[u8]) -> Outcome<Option<&$type>> {
            match self.get(key) {
                Some(Value::$variant(value)) => Ok(Some(value)),
                Some(_) => Err(WRONG_TYPE),
                None => Ok(None),
            }
        }

        /// The same for writing; a key that has expired is removed.
        ///
        /// # Errors
        /// `WRONGTYPE` when the key holds something else.
        pub fn $write(&mut self, key: &[u8]) -> Outcome<Option<&mut $type>> {
            match self.get_mut(key) {
                Some(Value::$variant(value)) => Ok(Some(value)),
                Some(_) => Err(WRONG_TYPE),
                None => Ok(None),
            }
        }
    )*};
}

/// As many keys of its own does a replica remove in one go.
const OWN_KEYS: usize = 1000;

/// A key that was met under a shared lock although it has expired.
pub struct Stale {
    db: usize,
    key: Vec<u8>,
    /// Whether the look-up that met it is an event, to follow that of its expiry.
    missed: bool,
}

impl Stale {
    /// A key of a database.
    pub fn new(db: usize, key: &[u8]) -> Stale {
        Stale {
            db,
            key: key.to_vec(),
            missed: false,
        }
    }
}

/// The keyspace of one command.
pub struct Keyspace<'a> {
    /// The shared state.
    pub server: &'a Arc<Server>,
    /// The current database.
    pub number: usize,
    /// The time at which the command runs, unix milliseconds.
    pub now: i64,
    /// The shards it holds.
    pub locks: Locks<'a>,
    /// Whether look-ups leave access times alone (`CLIENT NO-TOUCH`).
    pub no_touch: bool,
    /// Whether it carries out what a log holds: then nothing expires by itself, and nothing is
    /// logged.
    pub obeys: bool,
    /// Whether keys that have expired stay until the primary says that they go; nobody sees them all
    /// the same.
    pub keeps_expired: bool,
    /// Whether keys that it meets expired stay for now: nothing is to change while writes are paused.
    pub leaves_stale: bool,
    /// Look-ups for reading that found their key, and that did not.
    pub hits: u64,
    /// See `hits`.
    pub misses: u64,
    /// Keys found expired and removed.
    pub expired: u64,
    /// Fields of hashes found expired and removed.
    pub expired_fields: u64,
    /// Changes to the data set.
    pub changes: u64,
    /// Messages that the command has for clients.
    pub mail: Mail,
    /// Whether the command may be carried out anew elsewhere, before anything has happened. Until it
    /// is clear that it is not, it tells nobody what it has missed.
    pub(super) may_restart: bool,
    /// Whether the command is part of a transaction that is being carried out.
    pub in_transaction: bool,
    /// What is to be seen to when the command is over.
    pub(super) aside: MaybeAside,
    /// Whether everything has been emptied, so that it is to be saved once the locks are released.
    pub(super) emptied: bool,
    /// What is to be logged.
    pub(super) effects: Effects,
    policy: Policy,
    /// The last key hashed: address, length, hash. A command hashes the same argument for the lock
    /// and for each look-up.
    hashed: (usize, usize, u64),
}

impl<'a> Keyspace<'a> {
    /// A keyspace that holds no lock yet.
    pub fn new(server: &'a Arc<Server>, number: usize, now: i64) -> Keyspace<'a> {
        Keyspace {
            server,
            number,
            now,
            locks: Locks::none(),
            no_touch: false,
            obeys: false,
            keeps_expired: false,
            leaves_stale: false,
            hits: 0,
            misses: 0,
            expired: 0,
            expired_fields: 0,
            changes: 0,
            may_restart: false,
            in_transaction: false,
            mail: Mail::default(),
            aside: MaybeAside::default(),
            emptied: false,
            effects: Effects::default(),
            policy: server.access_policy(),
            hashed: (0, 0, 0),
        }
    }

    /// The time at which deadlines have passed.
    #[inline]
    pub fn horizon(&self) -> i64 {
        if self.obeys { i64::MIN } else { self.now }
    }

    /// The time at which a deadline that is to be set has passed already. A replica does not know:
    /// the key goes when its primary says so.
    #[inline]
    pub fn past(&self) -> i64 {
        if self.keeps_expired {
            i64::MIN
        } else {
            self.horizon()
        }
    }

    /// Notes that a key was met expired under a shared lock.
    #[inline]
    pub fn met_expired(&mut self, key: &[u8]) {
        if !self.leaves_stale {
            self.aside.open().stale.push(Stale::new(self.number, key));
        }
    }

    /// The hash of a key.
    pub fn hash(&mut self, key: &[u8]) -> u64 {
        let name = (key.as_ptr() as usize, key.len());
        if (self.hashed.0, self.hashed.1) != name || key.is_empty() {
            self.hashed = (name.0, name.1, self.server.store.hash(key));
        }
        self.hashed.2
    }

    /// Takes somebody else's word for the hash of a key.
    pub(super) fn know_hash(&mut self, key: &[u8], hash: u64) {
        self.hashed = (key.as_ptr() as usize, key.len(), hash);
    }

    /// Forgets the last hash. Whoever looks up keys that are no arguments must call it before
    /// each of them: their bytes may lie where those of the key before lay.
    pub fn forget_hash(&mut self) {
        self.hashed = (0, 0, 0);
    }

    /// Looks a key up for reading: counts a hit or a miss, and the access.
    pub fn get(&mut self, key: &[u8]) -> Option<&Value> {
        self.read(key).map(|entry| &entry.value)
    }

    /// As [`Keyspace::get`], with the key's metadata.
    pub fn read(&mut self, key: &[u8]) -> Option<&Entry> {
        let (policy, now, no_touch) = (self.policy, self.now, self.no_touch);
        let entry = self.look_up(key, true)?;
        if !no_touch {
            let access = policy.touched(entry.key.access(), now);
            entry.key.set_access(access);
        }
        Some(entry)
    }

    /// Looks a key up without counting it as an access.
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        let hash = self.hash(key);
        let db = self.locks.shard(shard_of(hash)).db(self.number);
        let entry = db.get(hash, key)?;
        if entry.key.is_expired(self.horizon()) {
            if !self.leaves_stale {
                self.aside.open().stale.push(Stale::new(self.number, key));
            }
            return None;
        }
        Some(entry)
    }

    /// Looks a key up for writing; one that has expired is removed.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut Value> {
        let (hash, position) = self.position(key)?;
        Some(self.touched(hash, position))
    }

    /// The value at a position, which counts as an access.
    fn touched(&mut self, hash: u64, position: usize) -> &mut Value {
        let (policy, now, no_touch) = (self.policy, self.now, self.no_touch);
        let entry = self.db_mut(hash).at_mut(position);
        if !no_touch {
            entry
                .key
                .set_access(policy.touched(entry.key.access(), now));
        }
        &mut entry.value
    }

    /// Whether a key exists, under an exclusive lock; one that has expired is removed.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.position(key).is_some()
    }

    /// Looks up a string for reading.
    ///
    /// # Errors
    /// `WRONGTYPE` when the key holds something else.
    pub fn string(&mut self, key: &[u8]) -> Outcome<Option<&Value>> {
        typed(self.get(key), Type::String)
    }

    /// Looks up a string for writing.
    ///
    /// # Errors
    /// `WRONGTYPE` when the key holds something else.
    pub fn string_mut(&mut self, key: &[u8]) -> Outcome<Option<&mut Value>> {
        match self.get_mut(key) {
            Some(value) if value.kind() != Type::String => Err(WRONG_TYPE),
            found => Ok(found),
        }
    }

    collections! {
        /// Looks up a list for reading.
        list, list_mut: List(List);
        /// Looks up a set for reading.
        members, members_mut: Set(Set);
        /// Looks up a sorted set for reading.
        zset, zset_mut: ZSet(ZSet);
        /// Looks up a hash for reading. Fields that have expired are still in it.
        fields, fields_mut: Hash(Hash);
        /// Looks up a stream for reading.
        stream, stream_mut: Stream(Box<Stream>);
    }

    /// Looks up a hash for writing, after the fields that have expired are removed; a hash that
    /// had no others is gone.
    ///
    /// # Errors
    /// `WRONGTYPE` when the key holds something else.
    pub fn live_fields_mut(&mut self, key: &[u8]) -> Outcome<Option<&mut Hash>> {
        let now = self.horizon();
        let Some((hash, position)) = self.position(key) else {
            return Ok(None);
        };
        let Value::Hash(fields) = self.touched(hash, position) else {
            return Err(WRONG_TYPE);
        };
        if fields.has_due(now) && self.expire_fields(key, hash, position) {
            return Ok(None);
        }
        // Removing fields has not moved the key.
        match &mut self.db_mut(hash).at_mut(position).value {
            Value::Hash(fields) => Ok(Some(fields)),
            _ => Err(WRONG_TYPE),
        }
    }

    /// Removes the due fields of the hash at a position. Returns whether none is left and so the
    /// key is gone.
    #[cold]
    fn expire_fields(&mut self, key: &[u8], hash: u64, position: usize) -> bool {
        let now = self.now;
        let Value::Hash(fields) = &mut self.db_mut(hash).at_mut(position).value else {
            return false;
        };
        let gone = fields.expire_due(now, usize::MAX);
        self.expired_fields += gone.len() as u64;
        self.log_expired_fields(key, &gone);
        self.announce(Class::Hash, "hexpired", key);
        self.delete_empty(key)
    }

    /// Has the sweeper look at a key at this deadline, which a field of its hash has got. It does
    /// so anyway where another field of the hash has an earlier one.
    pub fn expect_fields(&mut self, key: &[u8], deadline: i64) {
        let (hash, now) = (self.hash(key), self.now);
        if let Some(due) = self.db_mut(hash).expect_fields(hash, deadline, now) {
            self.server.store.note_due(shard_of(hash), due);
        }
    }

    /// Looks up several keys for reading, which may be the same. Behind a value that does not fit,
    /// which is for the caller to refuse, none is looked up any more.
    pub fn several<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
        fits: impl Fn(&Value) -> bool,
    ) -> Vec<Option<&Value>> {
        let mut found = Vec::new();
        let mut fit = true;
        for key in keys.clone() {
            let value = if fit { self.get(key) } else { None };
            found.push(value.is_some());
            fit &= value.is_none_or(&fits);
        }
        let held = |(key, found)| {
            let hash = self.server.store.hash(key);
            let db = self.locks.shard(shard_of(hash)).db(self.number);
            db.get(hash, key)
                .filter(|_| found)
                .map(|entry| &entry.value)
        };
        keys.zip(found).map(held).collect()
    }

    /// Deletes a key if it holds a collection of which nothing is left. Returns whether it did.
    /// What emptied the collection has been counted as a change, so this is none.
    pub fn delete_empty(&mut self, key: &[u8]) -> bool {
        let empty = match self.get_mut(key) {
            Some(Value::List(list)) => list.is_empty(),
            Some(Value::Set(set)) => set.is_empty(),
            Some(Value::ZSet(zset)) => zset.is_empty(),
            Some(Value::Hash(hash)) => hash.is_empty(),
            _ => false,
        };
        if empty {
            self.delete(key, false);
            self.announce(Class::Generic, "del", key);
        }
        empty
    }

    /// Puts the result of a command that stores into `key`, whatever it held; `None`, an empty
    /// result, deletes it.
    pub fn store(&mut self, key: &[u8], value: Option<Value>, class: Class, event: &'static str) {
        match value {
            Some(value) => {
                self.set(key, value, false);
                self.changed(class, event, key);
            }
            None => {
                let lazy = self.server.config.bool(id::LAZYFREE_LAZY_SERVER_DEL);
                if self.delete(key, lazy) {
                    self.changed(Class::Generic, "del", key);
                }
            }
        }
    }

    /// Sets a key, which may exist, to a value; its deadline goes unless `keep_ttl`.
    pub fn set(&mut self, key: &[u8], value: Value, keep_ttl: bool) {
        let (policy, now) = (self.policy, self.now);
        let arrival = Arrival::of(&value);
        match self.position(key) {
            Some((hash, position)) => {
                let db = self.db_mut(hash);
                let entry = db.at_mut(position);
                let old = std::mem::replace(&mut entry.value, value);
                // As in Redis, a key that is overwritten stays as popular as it was.
                entry
                    .key
                    .set_access(policy.touched(entry.key.access(), now));
                if !keep_ttl && entry.key.deadline().is_some() {
                    db.set_deadline(hash, position, None, now);
                }
                self.departed(key, &old);
                self.server.lazyfree.free_value(old, true);
            }
            None => {
                let hash = self.hash(key);
                self.db_mut(hash)
                    .insert(hash, key, value, policy.fresh(now));
                self.notify(Class::New, "new", key);
            }
        }
        self.arrived(key, arrival);
    }

    /// Adds a key that does not exist, as a look-up for writing has just shown.
    pub fn add(&mut self, key: &[u8], value: Value) {
        let fresh = self.policy.fresh(self.now);
        let hash = self.hash(key);
        let arrival = Arrival::of(&value);
        self.db_mut(hash).insert(hash, key, value, fresh);
        self.notify(Class::New, "new", key);
        self.arrived(key, arrival);
    }

    /// Removes a key and returns its value and its deadline.
    pub fn take(&mut self, key: &[u8]) -> Option<(Value, Option<i64>)> {
        let (hash, _) = self.position(key)?;
        let entry = self.db_mut(hash).remove(hash, key)?;
        self.departed(key, &entry.value);
        let deadline = entry.key.deadline();
        Some((entry.value, deadline))
    }

    /// Deletes a key; a large value is freed in the background. Returns whether it existed.
    pub fn delete(&mut self, key: &[u8], lazy: bool) -> bool {
        let Some((value, _)) = self.take(key) else {
            return false;
        };
        self.server.lazyfree.free_value(value, lazy);
        true
    }

    /// When a key expires, unix milliseconds.
    pub fn deadline(&mut self, key: &[u8]) -> Option<i64> {
        self.peek(key)?.key.deadline()
    }

    /// Sets or removes the deadline of a key that exists.
    pub fn set_deadline(&mut self, key: &[u8], deadline: Option<i64>) {
        if let Some((hash, position)) = self.position(key) {
            let now = self.now;
            if let Some(due) = self
                .db_mut(hash)
                .set_deadline(hash, position, deadline, now)
            {
                self.server.store.note_due(shard_of(hash), due);
            }
            self.note_own(key, deadline);
        }
    }

    /// A client of a replica has given a key this deadline: the primary will not see to it.
    #[inline]
    fn note_own(&self, key: &[u8], deadline: Option<i64>) {
        if self.keeps_expired
            && let Some(deadline) = deadline
        {
            let own = &self.server.replication.own_keys;
            own.note(self.number, key, deadline);
        }
    }

    /// Whether a key of which the shard is held is there though it has expired.
    pub fn is_expired(&self, hash: u64, key: &[u8]) -> bool {
        let found = self.part(shard_of(hash)).get(hash, key);
        found.is_some_and(|entry| entry.key.is_expired(self.horizon()))
    }

    /// Empties a database, whose shards must all be held exclusively. Returns how many keys went.
    /// Their memory is freed in the background, or by this thread once the locks are released.
    pub fn flush(&mut self, number: usize, lazy: bool) -> usize {
        let mut keys = 0;
        for shard in 0..crate::store::SHARDS {
            self.touch_all(shard, number, None);
            let (gone, db) = self.locks.shard_mut(shard).take(number);
            if gone == 0 {
                continue;
            }
            keys += gone;
            // Who waits with a consumer group is told that the key is gone.
            for key in self.server.blocking.keys(shard, number) {
                self.add_ready(number, &key);
            }
            match db {
                Some(db) if lazy => self.server.lazyfree.free(Garbage::Db(db)),
                Some(db) => self.aside.open().garbage.push(db),
                None => {}
            }
        }
        self.changes += keys as u64;
        keys
    }

    /// Runs with another database as the current one.
    pub fn within<R>(&mut self, number: usize, run: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.number, number);
        let result = run(self);
        self.number = before;
        result
    }

    /// Removes the keys that were met expired under a shared lock, one shard at a time. The
    /// command's own locks must have been released.
    pub fn remove_stale(&mut self) {
        for stale in self.take_stale() {
            let hash = self.server.store.hash(&stale.key);
            self.hold(Locks::one(&self.server.store, shard_of(hash), true));
            if !self.leaves_stale {
                self.remove_one_stale(&stale);
            }
            if self.aside.has_ready() {
                super::blocking::serve_ready(self);
            }
            self.release();
        }
    }

    /// A command that writes is logged behind the removal of the keys it has met expired: whoever
    /// carries out the log would still find them.
    #[inline]
    pub(super) fn remove_stale_before(&mut self, row: &Row) {
        if self.aside.has_stale() && self.logs() && row.spec.flags.has(WRITE) {
            self.remove_stale_here();
        }
    }

    /// The same for keys whose shards the command holds exclusively: a command of a transaction
    /// leaves none of them to those behind it.
    pub(super) fn remove_stale_here(&mut self) {
        for stale in self.take_stale() {
            let shard = shard_of(self.server.store.hash(&stale.key));
            match self.locks.holds_exclusively(shard) {
                true => self.remove_one_stale(&stale),
                false => self.aside.open().stale.push(stale),
            }
        }
    }

    fn take_stale(&mut self) -> Vec<Stale> {
        let stale = self.aside.get().map(|aside| &mut aside.stale);
        stale.map(std::mem::take).unwrap_or_default()
    }

    fn remove_one_stale(&mut self, stale: &Stale) {
        self.forget_hash();
        self.within(stale.db, |db| {
            // Somebody else may have removed it, or set it anew.
            db.position(&stale.key);
            if stale.missed {
                db.notify(Class::KeyMiss, "keymiss", &stale.key);
            }
        });
        self.forget_hash();
    }

    /// As [`Keyspace::read`], but the key's access bookkeeping stays as it is: for commands that
    /// ask about a key without using its value.
    pub fn look(&mut self, key: &[u8]) -> Option<&Entry> {
        self.look_up(key, true)
    }

    /// As [`Keyspace::look`], but that there is no such key is no event.
    pub fn inspect(&mut self, key: &[u8]) -> Option<&Entry> {
        self.look_up(key, false)
    }

    #[inline]
    fn look_up(&mut self, key: &[u8], noticed: bool) -> Option<&Entry> {
        let hash = self.hash(key);
        let db = self.locks.shard(shard_of(hash)).db(self.number);
        match db.get(hash, key) {
            Some(entry) if !entry.key.is_expired(self.horizon()) => {
                self.hits += 1;
                Some(entry)
            }
            found => {
                self.misses += 1;
                let goes = found.is_some() && !self.leaves_stale;
                if noticed {
                    let (mail, aside) = (&mut self.mail, &mut self.aside);
                    missed(
                        self.server,
                        mail,
                        aside,
                        goes,
                        self.may_restart,
                        self.number,
                        key,
                    );
                } else if goes {
                    self.aside.open().stale.push(Stale::new(self.number, key));
                }
                None
            }
        }
    }

    /// Removes a key with all its metadata; to be followed by [`Keyspace::put`] under another name
    /// or in another database.
    pub fn take_entry(&mut self, key: &[u8]) -> Option<Entry> {
        let (hash, _) = self.position(key)?;
        let entry = self.db_mut(hash).remove(hash, key)?;
        self.departed(key, &entry.value);
        Some(entry)
    }

    /// Adds a key that does not exist, with a deadline and, unless it is to count as new, the
    /// access bookkeeping of the key it comes from.
    pub fn put(&mut self, key: &[u8], value: Value, deadline: Option<i64>, access: Option<u32>) {
        let hash = self.hash(key);
        let access = access.unwrap_or_else(|| self.policy.fresh(self.now));
        let (now, arrival) = (self.now, Arrival::of(&value));
        let db = self.db_mut(hash);
        let position = db.insert(hash, key, value, access);
        if deadline.is_some()
            && let Some(due) = db.set_deadline(hash, position, deadline, now)
        {
            self.server.store.note_due(shard_of(hash), due);
        }
        self.note_own(key, deadline);
        self.notify(Class::New, "new", key);
        self.arrived(key, arrival);
    }

    /// Looks a key up for writing and hands its deadline to `decide`, which returns the one it is
    /// to have from now on, or the `Err` that leaves it alone. `None` when there is no such key.
    pub fn update_deadline<E>(
        &mut self,
        key: &[u8],
        decide: impl FnOnce(Option<i64>) -> Result<Option<i64>, E>,
    ) -> Option<Result<(), E>> {
        let (hash, position) = self.position(key)?;
        let (policy, now, no_touch) = (self.policy, self.now, self.no_touch);
        let db = self.db_mut(hash);
        let entry = db.at_mut(position);
        if !no_touch {
            entry
                .key
                .set_access(policy.touched(entry.key.access(), now));
        }
        let deadline = match decide(entry.key.deadline()) {
            Ok(deadline) => deadline,
            Err(refused) => return Some(Err(refused)),
        };
        if let Some(due) = db.set_deadline(hash, position, deadline, now) {
            self.server.store.note_due(shard_of(hash), due);
        }
        self.note_own(key, deadline);
        Some(Ok(()))
    }

    /// Exchanges two databases, of which every shard must be held exclusively.
    pub fn swap(&mut self, a: usize, b: usize) {
        self.changes += 1;
        if a == b {
            return;
        }
        for shard in 0..crate::store::SHARDS {
            self.touch_all(shard, a, Some(b));
            self.touch_all(shard, b, Some(a));
            self.locks.shard_mut(shard).swap(a, b);
            for number in [a, b] {
                // What is there now, or no longer, may concern whoever waits.
                for key in self.server.blocking.keys(shard, number) {
                    self.add_ready(number, &key);
                }
            }
        }
        self.forget_hash();
    }

    /// Runs with one shard locked, for commands that lock no shard beforehand. Where the command
    /// runs under somebody else's locks, as in a transaction, those must cover the shard.
    pub fn in_shard<R>(
        &mut self,
        shard: usize,
        write: bool,
        run: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let held = !self.locks.holds_none();
        if !held {
            self.hold(Locks::one(&self.server.store, shard, write));
        }
        let result = run(self);
        if !held {
            if self.aside.has_ready() {
                super::blocking::serve_ready(self);
            }
            self.release();
        }
        result
    }

    /// The current database's part of a shard that is held.
    pub fn part(&self, shard: usize) -> &Db {
        self.locks.shard(shard).db(self.number)
    }

    /// Number of keys of the current database, one shard at a time.
    pub fn count(&mut self) -> usize {
        (0..crate::store::SHARDS)
            .map(|shard| self.in_shard(shard, false, |db| db.part(shard).len()))
            .sum()
    }

    /// How accesses to keys are kept.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Where a key is, under an exclusive lock; one that has expired is removed.
    fn position(&mut self, key: &[u8]) -> Option<(u64, usize)> {
        let hash = self.hash(key);
        let now = self.horizon();
        let db = self.db_mut(hash);
        let position = db.find(hash, key)?;
        if !db.at(position).key.is_expired(now) {
            return Some((hash, position));
        }
        if self.keeps_expired && self.server.config.bool(id::REPLICA_READ_ONLY) {
            return None;
        }
        let gone = self.db_mut(hash).remove(hash, key);
        self.expired += 1;
        self.log_expiry(key);
        let watching = &self.server.watching;
        if watching.any(shard_of(hash)) {
            watching.expired(self.number, hash, key);
        }
        if self.server.tracking.is_used() {
            let tracking = &self.server.tracking;
            tracking.expired(self.server, &mut self.mail, hash, key);
        }
        self.notify(Class::Expired, "expired", key);
        self.tell_missed(key);
        if let Some(entry) = gone {
            self.departed(key, &entry.value);
            let lazy = self.server.config.bool(id::LAZYFREE_LAZY_EXPIRE);
            self.server.lazyfree.free_value(entry.value, lazy);
        }
        None
    }

    /// A key that the command has met as an expired one is removed now: only then its look-up is an
    /// event.
    fn tell_missed(&mut self, key: &[u8]) {
        let is_it = |stale: &Stale| stale.missed && stale.db == self.number && stale.key == key;
        let mut stale = self
            .aside
            .get()
            .into_iter()
            .flat_map(|aside| &mut aside.stale);
        if let Some(stale) = stale.find(|stale| is_it(stale)) {
            stale.missed = false;
            self.notify(Class::KeyMiss, "keymiss", key);
        }
    }

    fn db_mut(&mut self, hash: u64) -> &mut Db {
        self.locks.shard_mut(shard_of(hash)).db_mut(self.number)
    }

    /// Publishes what has been kept back until it was clear that the command is not carried out
    /// anew.
    #[inline]
    pub(super) fn tell_untold(&mut self) {
        let Some(aside) = self.aside.get().filter(|aside| !aside.untold.is_empty()) else {
            return;
        };
        for (db, key) in aside.untold.drain(..) {
            let mail = &mut self.mail;
            notify::publish(self.server, mail, Class::KeyMiss, "keymiss", db, &key);
        }
    }

    /// The command is carried out anew elsewhere: its look-ups so far do not count.
    pub(super) fn forget_look_ups(&mut self) {
        (self.hits, self.misses) = (0, 0);
        if let Some(aside) = self.aside.get() {
            aside.untold.clear();
            aside
                .stale
                .iter_mut()
                .for_each(|stale| stale.missed = false);
        }
    }

    /// Adds what was counted to the statistics of the session.
    pub fn settle(&mut self, tally: &mut crate::server::stats::Tally) {
        tally.totals.hits += self.hits;
        tally.totals.misses += self.misses;
        tally.totals.expired += self.expired;
        tally.totals.expired_fields += self.expired_fields;
        tally.totals.changes += self.changes;
    }
}

impl Drop for Keyspace<'_> {
    /// A handler that panics leaves its messages here, and those of the commands before it. These
    /// have been carried out.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.aside.give_back();
        } else if !self.mail.is_empty() {
            self.mail.deliver(self.server);
        }
    }
}

/// The value, if it has the wanted type.
fn typed(value: Option<&Value>, kind: Type) -> Outcome<Option<&Value>> {
    match value {
        Some(value) if value.kind() != kind => Err(WRONG_TYPE),
        found => Ok(found),
    }
}

/// A look-up for reading found nothing, or a key that has expired and, if it is `stale`, is to go.
#[inline]
fn missed(
    server: &Server,
    mail: &mut Mail,
    aside: &mut MaybeAside,
    stale: bool,
    may_restart: bool,
    db: usize,
    key: &[u8],
) {
    let wanted = notify::is_wanted(server, Class::KeyMiss);
    if stale {
        aside.open().stale.push(Stale {
            missed: wanted,
            ..Stale::new(db, key)
        });
    } else if wanted && may_restart {
        aside.open().untold.push((db, key.to_vec()));
    } else if wanted {
        notify::publish(server, mail, Class::KeyMiss, "keymiss", db, key);
    }
}

/// On a replica, removes keys that have expired and that its own clients have given their deadlines.
/// No lock must be held.
pub fn expire_own_keys(server: &Arc<Server>, mail: &mut Mail) {
    let own = &server.replication.own_keys;
    if own.is_empty() || sweeper_rests(server) {
        return;
    }
    if !server.replication.is_replica() {
        // The sweeper sees to them.
        return own.clear();
    }
    let now = crate::util::clock::now_ms();
    for (number, key) in own.take_due(now, OWN_KEYS) {
        let mut db = Keyspace::new(server, number, now);
        db.mail = std::mem::take(mail);
        let shard = shard_of(db.hash(&key));
        db.hold(Locks::one(&server.store, shard, true));
        // Unless its deadline is another one meanwhile.
        db.keeps_expired = false;
        if server.replication.is_replica()
            && let Some((hash, position)) = db.position(&key)
            && let Some(later) = db.db_mut(hash).at(position).key.deadline()
        {
            own.note(number, &key, later);
        }
        if db.aside.has_ready() {
            super::blocking::serve_ready(&mut db);
        }
        db.release();
        server.stats.expired(db.expired);
        *mail = std::mem::take(&mut db.mail);
    }
    mail.deliver(server);
}

/// Reads a database number.
///
/// # Errors
/// `not_a_number` when it is no number, `DB index is out of range` when there is no such database.
pub fn db_number(server: &Server, text: &[u8], not_a_number: Error) -> Outcome<usize> {
    let number = crate::util::num::parse_i64(text).ok_or(not_a_number)?;
    usize::try_from(number)
        .ok()
        .filter(|&number| number < server.store.databases())
        .ok_or(super::error::DB_OUT_OF_RANGE)
}

/// Whether the sweeper is to pause.
pub fn sweeper_paused(server: &Server) -> bool {
    server.replication.is_replica() || sweeper_rests(server)
}

/// Whether nobody is to remove expired keys at the moment.
fn sweeper_rests(server: &Server) -> bool {
    !server.active_expire.load(Ordering::Relaxed)
        || server.pause.holds(true)
        || server.loading.is_active()
        || server.sealed.load(Ordering::Relaxed)
        || server.testing.no_cron.load(Ordering::Relaxed)
}
