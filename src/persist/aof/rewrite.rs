//! A key as commands that make it: what a base in the text format is written from.
//!
//! Large collections take several commands of 64 elements each, as those who load them
//! would otherwise have to hold one enormous command.

use crate::resp::encode_command;
use crate::types::hash::Hash;
use crate::types::listpack::Item;
use crate::types::stream::{Group, ID_TEXT, Stream};
use crate::types::{Value, string};
use crate::util::num::{self, IntBuf};

/// Elements that one command adds.
const AT_ONCE: usize = 64;

/// Appends the commands that make a key.
pub fn entry(out: &mut Vec<u8>, key: &[u8], value: &Value, deadline: Option<i64>) {
    match value {
        Value::List(list) => {
            let mut items = Vec::with_capacity(list.len());
            list.iter().for_each(|item| items.push(vec![text(item)]));
            grouped(out, b"RPUSH", key, list.len(), items.into_iter());
        }
        Value::Set(set) => {
            let items = set.iter().map(|member| vec![text(member)]);
            grouped(out, b"SADD", key, set.len(), items);
        }
        Value::ZSet(zset) => {
            let items = zset.iter().map(|(member, score)| {
                let mut digits = Vec::new();
                num::write_f64(&mut digits, score);
                vec![digits, text(member)]
            });
            grouped(out, b"ZADD", key, zset.len(), items);
        }
        Value::Hash(hash) => fields(out, key, hash),
        Value::Stream(stream) => self::stream(out, key, stream),
        value => {
            let mut scratch = [0; 20];
            let bytes = string::bytes(value, &mut scratch).unwrap_or_default();
            command(out, &[b"SET", key, bytes]);
        }
    }
    if let Some(deadline) = deadline {
        command(out, &[b"PEXPIREAT", key, IntBuf::new().i64(deadline)]);
    }
}

fn text(item: Item<'_>) -> Vec<u8> {
    item.bytes(&mut [0; 20]).to_vec()
}

fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    encode_command(out, words.iter().copied());
}

/// Appends commands that add elements, so many at a time; each element may be several words.
fn grouped(
    out: &mut Vec<u8>,
    name: &[u8],
    key: &[u8],
    len: usize,
    mut items: impl Iterator<Item = Vec<Vec<u8>>>,
) {
    let mut left = len;
    while left > 0 {
        let some: Vec<Vec<u8>> = items.by_ref().take(AT_ONCE).flatten().collect();
        left = left.saturating_sub(AT_ONCE);
        let mut words: Vec<&[u8]> = vec![name, key];
        words.extend(some.iter().map(Vec::as_slice));
        command(out, &words);
    }
}

fn fields(out: &mut Vec<u8>, key: &[u8], hash: &Hash) {
    let items = hash
        .iter()
        .map(|(field, value)| vec![text(field), text(value)]);
    grouped(out, b"HMSET", key, hash.len(), items);
    for (field, deadline) in hash.iter_deadlines() {
        let mut digits = IntBuf::new();
        let deadline = digits.i64(deadline);
        command(out, &[b"HPEXPIREAT", key, deadline, b"FIELDS", b"1", field]);
    }
}

fn stream(out: &mut Vec<u8>, key: &[u8], stream: &Stream) {
    let (log, mut scratch) = (&stream.log, [0; ID_TEXT]);
    for entry in log.iter() {
        let mut words = vec![b"XADD".to_vec(), key.to_vec()];
        words.push(entry.id.text(&mut scratch).to_vec());
        for (field, value) in entry.fields() {
            words.extend([text(field), text(value)]);
        }
        encode_command(out, words.iter().map(Vec::as_slice));
    }
    if log.is_empty() {
        // The way to make an empty stream; its last id, which may be none at all, comes below.
        command(out, &[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]);
    }
    let (mut added, mut deleted) = (IntBuf::new(), [0; ID_TEXT]);
    command(
        out,
        &[
            b"XSETID",
            key,
            log.last_id.text(&mut scratch),
            b"ENTRIESADDED",
            added.u64(log.entries_added),
            b"MAXDELETEDID",
            log.max_deleted.text(&mut deleted),
        ],
    );
    for (name, group) in &stream.groups {
        self::group(out, key, name, group);
    }
}

fn group(out: &mut Vec<u8>, key: &[u8], name: &[u8], group: &Group) {
    let (mut last, mut digits) = ([0; ID_TEXT], IntBuf::new());
    let last = group.last_id.text(&mut last);
    let read = digits.i64(group.entries_read.unwrap_or(-1));
    let create: [&[u8]; 7] = [b"XGROUP", b"CREATE", key, name, last, b"ENTRIESREAD", read];
    command(out, &create);
    for consumer in group.consumers() {
        let words: [&[u8]; 5] = [b"XGROUP", b"CREATECONSUMER", key, name, &consumer.name];
        command(out, &words);
    }
    for (id, pending) in group.pending() {
        let (mut text, mut time, mut count) = ([0; ID_TEXT], IntBuf::new(), IntBuf::new());
        command(
            out,
            &[
                b"XCLAIM",
                key,
                name,
                &group.consumer(pending.owner).name,
                b"0",
                id.text(&mut text),
                b"TIME",
                time.i64(pending.delivered),
                b"RETRYCOUNT",
                count.u64(pending.count),
                b"JUSTID",
                b"FORCE",
            ],
        );
    }
}
