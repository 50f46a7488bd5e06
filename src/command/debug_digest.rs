//! `DEBUG DIGEST` and `DEBUG DIGEST-VALUE`: 40 hexadecimal digits that stand for all the data, or
//! for the value of a key, the same as Redis' for the same data.
//!
//! Two ways to add bytes to a digest make up the whole. What has an order is *mixed* in: the
//! digest is combined with that of the bytes and hashed again. What has none (the members of a set,
//! the keys of a database) is combined only, by exclusive or, so that the result does not depend on
//! where things happen to lie.

use super::error::Outcome;
use super::{Args, Ctx, Keyspace};
use crate::store::entry::Entry;
use crate::store::{Locks, SHARDS, shard_of};
use crate::types::listpack::Item;
use crate::types::{Type, Value, string};
use crate::util::num;
use crate::util::sha1::{self, Digest, sha1};

/// Stands for the fact that a key expires; when it does is not part of a digest.
const VOLATILE: &[u8] = b"!!expire!!";
/// The same for a field of a hash.
const VOLATILE_FIELD: &[u8] = b"!!hexpire!!";

/// `DEBUG DIGEST`: every shard is held meanwhile, so that the digest is that of one moment.
pub(super) fn digest(c: &mut Ctx<'_>) -> Outcome {
    let held = !c.db.locks.holds_none();
    if !held {
        c.db.locks = Locks::all(&c.server.store, false);
    }
    let mut sum = Sum::default();
    for number in 0..c.server.store.databases() {
        c.db.within(number, |db| add_database(&mut sum, db));
    }
    if !held {
        c.db.locks = Locks::none();
    }
    c.out.simple(&sum.hex());
    Ok(())
}

/// `DEBUG DIGEST-VALUE [key ...]`. Not a look-up: as in Redis, expired keys have a digest as well.
pub(super) fn digest_value(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    c.out.array(args.len() - 2);
    for key in args.from(2) {
        let hash = c.server.store.hash(key);
        let shard = shard_of(hash);
        let sum = c.db.in_shard(shard, false, |db| {
            let mut sum = Sum::default();
            if let Some(entry) = db.part(shard).get(hash, key) {
                add_entry(&mut sum, entry);
            }
            sum
        });
        c.out.simple(&sum.hex());
    }
    Ok(())
}

/// Adds the current database, of which all shards are held, unless it is empty.
fn add_database(sum: &mut Sum, db: &Keyspace<'_>) {
    if (0..SHARDS).all(|shard| db.part(shard).is_empty()) {
        return;
    }
    sum.mix(&(db.number as u32).to_be_bytes());
    for entry in (0..SHARDS).flat_map(|shard| db.part(shard).iter()) {
        let mut key = Sum::default();
        key.mix(entry.key.bytes());
        add_entry(&mut key, entry);
        sum.xor(&key.0);
    }
}

/// Adds what is behind a key.
fn add_entry(sum: &mut Sum, entry: &Entry) {
    sum.mix(&type_number(entry.value.kind()).to_be_bytes());
    match &entry.value {
        Value::List(list) => list.iter().for_each(|element| sum.mix_item(element)),
        Value::Set(set) => {
            for member in set.iter() {
                sum.xor(member.bytes(&mut [0; 20]));
            }
        }
        Value::ZSet(zset) => {
            let mut text = Vec::with_capacity(32);
            for (member, score) in zset.iter() {
                text.clear();
                num::write_f64(&mut text, score);
                let mut pair = Sum::default();
                pair.mix_item(member);
                pair.mix(&text);
                sum.xor(&pair.0);
            }
        }
        Value::Hash(hash) => {
            let volatile = hash.volatile() > 0;
            for (field, value) in hash.iter() {
                let mut pair = Sum::default();
                pair.mix_item(field);
                pair.mix_item(value);
                if volatile && hash.deadline(field.bytes(&mut [0; 20])).is_some() {
                    pair.xor(VOLATILE_FIELD);
                }
                sum.xor(&pair.0);
            }
        }
        Value::Stream(stream) => {
            for entry in stream.log.iter() {
                sum.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                for (field, value) in entry.fields() {
                    sum.mix_item(field);
                    sum.mix_item(value);
                }
            }
        }
        text => {
            if let Some(text) = string::bytes(text, &mut [0; 20]) {
                sum.mix(text);
            }
        }
    }
    if entry.key.deadline().is_some() {
        sum.xor(VOLATILE);
    }
}

/// The number by which Redis knows a type.
fn type_number(kind: Type) -> u32 {
    match kind {
        Type::String => 0,
        Type::List => 1,
        Type::Set => 2,
        Type::ZSet => 3,
        Type::Hash => 4,
        Type::Stream => 6,
    }
}

/// A digest as it grows; zeros at first.
#[derive(Default)]
struct Sum(Digest);

impl Sum {
    /// Adds something that has no place in an order.
    fn xor(&mut self, bytes: &[u8]) {
        for (byte, other) in self.0.iter_mut().zip(sha1(bytes)) {
            *byte ^= other;
        }
    }

    /// Adds the next of several things in order.
    fn mix(&mut self, bytes: &[u8]) {
        self.xor(bytes);
        self.0 = sha1(&self.0);
    }

    fn mix_item(&mut self, item: Item<'_>) {
        self.mix(item.bytes(&mut [0; 20]));
    }

    fn hex(&self) -> String {
        sha1::hex(&self.0)
    }
}
