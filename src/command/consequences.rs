//! What follows from a change to the keyspace: the events, those who watch or track the key, those
//! who wait for it, and the fields of a hash that will expire.
//!
//! Handlers say what they have changed with [`Keyspace::changed`] and its kin; the keyspace itself
//! notes what comes and goes.

use super::Keyspace;
use super::notify::{self, Class};
use crate::server::Server;
use crate::server::config::id;
use crate::server::mail::Mail;
use crate::server::watching::Held;
use crate::store::shard_of;
use crate::store::sweep::Swept;
use crate::types::Value;

impl Keyspace<'_> {
    /// Notes that the command changed a key, with the event's class and name. Everything that
    /// follows from a change hangs on this call and its kind.
    #[inline]
    pub fn changed(&mut self, class: Class, event: &'static str, key: &[u8]) {
        self.changed_by(class, event, key, 1);
    }

    /// The same for one event that stands for several changes, as of so many elements that came or
    /// went: `INFO` counts each of them.
    #[inline]
    pub fn changed_by(&mut self, class: Class, event: &'static str, key: &[u8], count: usize) {
        self.changes += count as u64;
        self.touch(key);
        self.notify(class, event, key);
    }

    /// The same for an event that is no change of its own: it goes with another one that counts.
    pub fn announce(&mut self, class: Class, event: &'static str, key: &[u8]) {
        self.changed_by(class, event, key, 0);
    }

    /// The same for a change that those who watch the key are not told of, as in Redis: that of a
    /// stream's consumer groups.
    pub fn changed_unwatched(&mut self, class: Class, event: &'static str, key: &[u8]) {
        self.changes += 1;
        self.notify(class, event, key);
    }

    /// Notes a change that is no event: the value means what it meant, but its bytes are others.
    pub fn changed_quietly(&mut self, key: &[u8]) {
        self.changes += 1;
        self.touch(key);
    }

    /// Tells those who watch or track a key that it has changed.
    #[inline]
    pub(super) fn touch(&mut self, key: &[u8]) {
        let hash = self.hash(key);
        let watching = &self.server.watching;
        if watching.any(shard_of(hash)) {
            watching.touch(self.number, hash, key);
        }
        if self.server.tracking.is_used() {
            let tracking = &self.server.tracking;
            tracking.changed(self.server, &mut self.mail, hash, key);
        }
    }

    /// Tells those who track keys that databases have been emptied, which is once for all of them
    /// and while their locks are held.
    pub fn flushed(&mut self) {
        let tracking = &self.server.tracking;
        if tracking.is_used() {
            tracking.flushed(self.server, &mut self.mail);
        }
    }

    /// Tells those who watch keys of a database, before it is emptied or its content replaced by
    /// that of another: keys that exist in neither do not change.
    pub(super) fn touch_all(&mut self, shard: usize, number: usize, other: Option<usize>) {
        for (hash, key) in self.server.watching.keys(shard, number) {
            let part = self.locks.shard(shard);
            let held = |db: usize| match part.db(db).get(hash, &key) {
                None => Held::Nothing,
                Some(entry) if entry.key.is_expired(self.horizon()) => Held::Stale,
                Some(_) => Held::Value,
            };
            let watching = &self.server.watching;
            watching.replaced(number, hash, &key, held(number), other.map(held));
        }
    }

    /// Sees to what follows from a value's coming into the keyspace under a key.
    #[inline]
    pub(super) fn arrived(&mut self, key: &[u8], arrival: Arrival) {
        match arrival {
            Arrival::Plain => {}
            Arrival::Waitable => self.note_ready(key),
            Arrival::Volatile(deadline) => self.expect_fields(key, deadline),
        }
    }

    /// Sees to what follows from a value's leaving the keyspace: clients that wait for a stream as
    /// members of a consumer group are told so.
    #[inline]
    pub(super) fn departed(&mut self, key: &[u8], value: &Value) {
        if let Value::Stream(_) = value {
            self.note_ready(key);
        }
    }

    /// Notes that a key which exists has changed in a way that clients may wait for.
    pub fn note_ready(&mut self, key: &[u8]) {
        let hash = self.hash(key);
        if self.server.blocking.any(shard_of(hash)) {
            self.add_ready(self.number, key);
        }
    }
}

/// What a value that comes into the keyspace gives cause for.
pub(super) enum Arrival {
    /// Nothing.
    Plain,
    /// Clients may wait for it.
    Waitable,
    /// A hash of which fields expire, the first at this time.
    Volatile(i64),
}

impl Arrival {
    #[inline]
    pub(super) fn of(value: &Value) -> Arrival {
        match value {
            Value::List(_) | Value::ZSet(_) | Value::Stream(_) => Arrival::Waitable,
            Value::Hash(fields) => fields
                .next_deadline()
                .map_or(Arrival::Plain, Arrival::Volatile),
            _ => Arrival::Plain,
        }
    }
}

/// Notes what the sweeper has removed from a shard; the place for what follows from an expiry. For
/// a key of its own that is the event `expired`, for fields `hexpired`, and `del` when they were
/// the last of their hash.
pub fn swept(server: &Server, mail: &mut Mail, db: usize, swept: Swept) {
    super::effects::log_swept(server, db, &swept);
    let mut notify = |class, event, key: &[u8]| {
        let hash = server.store.hash(key);
        if server.watching.any(shard_of(hash)) {
            if class == Class::Expired {
                server.watching.expired(db, hash, key);
            } else {
                server.watching.touch(db, hash, key);
            }
        }
        if server.tracking.is_used() {
            if class == Class::Expired {
                server.tracking.expired(server, mail, hash, key);
            } else {
                server.tracking.changed(server, mail, hash, key);
            }
        }
        notify::publish(server, mail, class, event, db, key);
    };
    let entry = match swept {
        Swept::Key(entry) => {
            server.stats.expired(1);
            let key = entry.key.bytes();
            notify(Class::Expired, "expired", key);
            if let Value::Stream(_) = entry.value {
                super::blocking::stream_gone(server, db, server.store.hash(key), key);
            }
            entry
        }
        Swept::Fields(key, fields) => {
            notify(Class::Hash, "hexpired", &key);
            return server.stats.expired_fields(fields.len() as u64);
        }
        Swept::Hash(entry, fields) => {
            server.stats.expired_fields(fields.len() as u64);
            notify(Class::Hash, "hexpired", entry.key.bytes());
            notify(Class::Generic, "del", entry.key.bytes());
            entry
        }
    };
    let lazy = server.config.bool(id::LAZYFREE_LAZY_EXPIRE);
    server.lazyfree.free_value(entry.value, lazy);
}
