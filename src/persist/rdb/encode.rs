//! Writing RDB: keys with their values, and the records around them.
//!
//! Listpacks, intsets, the blocks of streams and the compressed nodes of lists lie in memory as
//! Redis writes them, so they are copied; tables are written element by element. Everything goes
//! onto the end of a vector, and nothing is remembered between two calls.

use super::{VERSION, VERSION_FIELD_DEADLINES, container, form, opcode, tag};
use crate::persist::crc64;
use crate::types::hash::Hash;
use crate::types::listpack::{Item, Listpack};
use crate::types::quicklist::{List, Stored};
use crate::types::set::Set;
use crate::types::stream::{Group, Stream, StreamId};
use crate::types::zset::ZSet;
use crate::types::{Value, string};
use crate::util::{lzf, num};

/// Longest text that may be written as an integer: `-2147483648`.
const INT_TEXT: usize = 11;
/// Longest text that is never compressed.
const SHORT: usize = 20;
/// What a compression must save at least.
const MIN_GAIN: usize = 4;

/// When, or how often, a key was used; what of it is known depends on the eviction policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Seconds since it was used.
    Idle(u64),
    /// How often it is used, on a logarithmic scale.
    Freq(u8),
}

/// Writes keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    /// Whether text that gets shorter by it is compressed.
    pub compress: bool,
}

/// How a value is laid out; see [`super::tag`].
pub fn tag(value: &Value) -> u8 {
    match value {
        Value::Int(_) | Value::Inline { .. } | Value::Str(_) | Value::Raw(_) => tag::STRING,
        Value::List(_) => tag::LIST_QUICKLIST_2,
        Value::Set(Set::Ints(_)) => tag::SET_INTSET,
        // Redis 7.0 knows no sets in listpacks.
        Value::Set(_) => tag::SET,
        Value::ZSet(ZSet::Packed(_)) => tag::ZSET_LISTPACK,
        Value::ZSet(ZSet::Table(_)) => tag::ZSET_2,
        Value::Hash(hash) => match (hash.listpack(), hash.volatile() > 0) {
            (Some(_), false) => tag::HASH_LISTPACK,
            (Some(_), true) => tag::HASH_LISTPACK_EX,
            (None, false) => tag::HASH,
            (None, true) => tag::HASH_METADATA,
        },
        Value::Stream(_) => tag::STREAM_LISTPACKS_2,
    }
}

/// The version that a reader must know to understand a value.
pub fn version(value: &Value) -> u16 {
    match value {
        Value::Hash(hash) if hash.volatile() > 0 => VERSION_FIELD_DEADLINES,
        _ => VERSION,
    }
}

// ------------------------------------------------------------------- records

/// Begins a database.
pub fn select(out: &mut Vec<u8>, db: usize) {
    out.push(opcode::SELECTDB);
    length(out, db as u64);
}

/// Tells how many keys the database has, and how many of them have deadlines.
pub fn resize(out: &mut Vec<u8>, keys: usize, volatile: usize) {
    out.push(opcode::RESIZEDB);
    length(out, keys as u64);
    length(out, volatile as u64);
}

/// Ends what has the checksum `crc`; `None` writes the zero that stands for no checksum.
pub fn end(out: &mut Vec<u8>, crc: Option<u64>) {
    out.push(opcode::EOF);
    let crc = crc.map_or(0, |crc| crc64::update(crc, &[opcode::EOF]));
    out.extend_from_slice(&crc.to_le_bytes());
}

impl Encoder {
    /// Begins a file, with facts about it.
    pub fn header(&self, out: &mut Vec<u8>, version: u16, aux: &[(&str, &[u8])]) {
        out.extend_from_slice(format!("REDIS{version:04}").as_bytes());
        for (name, value) in aux {
            out.push(opcode::AUX);
            self.string(out, name.as_bytes());
            self.string(out, value);
        }
    }

    /// A library of functions: its code.
    pub fn function(&self, out: &mut Vec<u8>, code: &[u8]) {
        out.push(opcode::FUNCTION2);
        self.string(out, code);
    }

    /// A key with its value, its deadline in unix milliseconds and what is known of its use.
    #[inline]
    pub fn entry(
        &self,
        out: &mut Vec<u8>,
        key: &[u8],
        value: &Value,
        deadline: Option<i64>,
        access: Option<Access>,
    ) {
        if let Some(deadline) = deadline {
            out.push(opcode::EXPIRETIME_MS);
            out.extend_from_slice(&deadline.to_le_bytes());
        }
        match access {
            Some(Access::Idle(seconds)) => {
                out.push(opcode::IDLE);
                length(out, seconds);
            }
            Some(Access::Freq(often)) => out.extend_from_slice(&[opcode::FREQ, often]),
            None => {}
        }
        out.push(tag(value));
        self.string(out, key);
        self.value(out, value);
    }

    /// What `DUMP` answers: the value with its tag, the version and the checksum. `out` is empty
    /// before.
    pub fn payload(&self, out: &mut Vec<u8>, value: &Value) {
        out.push(tag(value));
        self.value(out, value);
        out.extend_from_slice(&version(value).to_le_bytes());
        let crc = crc64::checksum(out);
        out.extend_from_slice(&crc.to_le_bytes());
    }

    // ---------------------------------------------------------------- values

    /// A value without its tag.
    pub fn value(&self, out: &mut Vec<u8>, value: &Value) {
        match value {
            Value::Int(int) => integer(out, *int),
            Value::List(list) => self.list(out, list),
            Value::Set(set) => self.set(out, set),
            Value::ZSet(zset) => self.zset(out, zset),
            Value::Hash(hash) => self.hash(out, hash),
            Value::Stream(stream) => self.stream(out, stream),
            text => {
                if let Some(text) = string::bytes(text, &mut [0; 20]) {
                    self.string(out, text);
                }
            }
        }
    }

    /// A text.
    #[inline]
    pub fn string(&self, out: &mut Vec<u8>, text: &[u8]) {
        if text.len() <= INT_TEXT
            && let Some(int) = string::as_integer(text)
            && small_integer(out, int)
        {
            return;
        }
        if self.compress && text.len() > SHORT && compressed(out, text) {
            return;
        }
        length(out, text.len() as u64);
        out.extend_from_slice(text);
    }

    fn item(&self, out: &mut Vec<u8>, item: Item<'_>) {
        match item {
            Item::Int(int) => integer(out, int),
            Item::Bytes(text) => self.string(out, text),
        }
    }

    fn list(&self, out: &mut Vec<u8>, list: &List) {
        let nodes = match list {
            List::Packed(packed) => {
                length(out, 1);
                length(out, container::PACKED);
                return self.string(out, packed.as_bytes());
            }
            List::Chunked(nodes) => nodes,
        };
        length(out, nodes.node_count() as u64);
        for node in nodes.stored() {
            match node {
                Stored::Plain(text) => {
                    length(out, container::PLAIN);
                    self.string(out, text);
                }
                Stored::Packed(bytes) => {
                    length(out, container::PACKED);
                    self.string(out, bytes);
                }
                Stored::Lzf { data, size } => {
                    length(out, container::PACKED);
                    out.push(form::LZF);
                    length(out, data.len() as u64);
                    length(out, size as u64);
                    out.extend_from_slice(data);
                }
            }
        }
    }

    fn set(&self, out: &mut Vec<u8>, set: &Set) {
        if let Set::Ints(ints) = set {
            return self.string(out, ints.as_bytes());
        }
        length(out, set.len() as u64);
        for member in set.iter() {
            self.item(out, member);
        }
    }

    fn zset(&self, out: &mut Vec<u8>, zset: &ZSet) {
        if let ZSet::Packed(packed) = zset {
            return self.string(out, packed.as_bytes());
        }
        let len = zset.len();
        length(out, len as u64);
        // The greatest first: so each that a reader adds goes to the front.
        for (member, score) in zset.down(len) {
            self.item(out, member);
            out.extend_from_slice(&score.to_le_bytes());
        }
    }

    fn hash(&self, out: &mut Vec<u8>, hash: &Hash) {
        let first = hash.next_deadline();
        if let Some(first) = first {
            out.extend_from_slice(&first.to_le_bytes());
        }
        match (hash.listpack(), first) {
            (Some(packed), None) => self.string(out, packed.as_bytes()),
            (Some(_), Some(_)) => self.string(out, with_deadlines(hash).as_bytes()),
            (None, first) => {
                length(out, hash.len() as u64);
                for (field, value) in hash.iter() {
                    if let Some(first) = first {
                        // Counted from the first one, so that it is short; 0 is none.
                        let deadline = hash.deadline(field.bytes(&mut [0; 20]));
                        let after = deadline.map_or(0, |at| at.wrapping_sub(first) as u64 + 1);
                        length(out, after);
                    }
                    self.item(out, field);
                    self.item(out, value);
                }
            }
        }
    }

    fn stream(&self, out: &mut Vec<u8>, stream: &Stream) {
        let log = &stream.log;
        let blocks = log.blocks();
        length(out, blocks.len() as u64);
        for (first, block) in blocks {
            self.string(out, &first.to_bytes());
            self.string(out, block.as_bytes());
        }
        length(out, log.len() as u64);
        for id in [log.last_id, log.first_id, log.max_deleted] {
            stream_id(out, id);
        }
        length(out, log.entries_added);
        length(out, stream.groups.len() as u64);
        for (name, group) in &stream.groups {
            self.string(out, name);
            self.group(out, group);
        }
    }

    fn group(&self, out: &mut Vec<u8>, group: &Group) {
        stream_id(out, group.last_id);
        // What is not known is -1, and so a length of 64 bits.
        length(out, group.entries_read.unwrap_or(-1) as u64);
        length(out, group.pending().len() as u64);
        for (id, entry) in group.pending() {
            out.extend_from_slice(&id.to_bytes());
            out.extend_from_slice(&entry.delivered.to_le_bytes());
            length(out, entry.count);
        }
        length(out, group.consumer_count() as u64);
        for consumer in group.consumers() {
            self.string(out, &consumer.name);
            out.extend_from_slice(&consumer.seen.to_le_bytes());
            length(out, consumer.pending().len() as u64);
            for id in consumer.pending() {
                out.extend_from_slice(&id.to_bytes());
            }
        }
    }
}

/// The listpack of a packed hash with deadlines: field, value and deadline in turn, the earliest
/// deadline first and fields without one, which have a zero, last.
fn with_deadlines(hash: &Hash) -> Listpack {
    let mut fields: Vec<_> = hash
        .iter()
        .map(|(field, value)| (hash.deadline(field.bytes(&mut [0; 20])), field, value))
        .collect();
    fields.sort_by_key(|(deadline, ..)| deadline.unwrap_or(i64::MAX));
    Listpack::from_items(
        fields.iter().flat_map(|(deadline, field, value)| {
            [*field, *value, Item::Int(deadline.unwrap_or(0))]
        }),
    )
}

// -------------------------------------------------------------------- pieces

/// A length, or another number without a sign.
#[inline]
pub fn length(out: &mut Vec<u8>, len: u64) {
    match len {
        0..0x40 => out.push(len as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

/// Bytes that [`length`] takes.
fn length_size(len: usize) -> usize {
    match len {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..=0xffff_ffff => 5,
        _ => 9,
    }
}

fn stream_id(out: &mut Vec<u8>, id: StreamId) {
    length(out, id.ms);
    length(out, id.seq);
}

/// The text of an integer.
fn integer(out: &mut Vec<u8>, int: i64) {
    if !small_integer(out, int) {
        let mut scratch = [0; 20];
        let text = num::fmt_i64(&mut scratch, int);
        out.push(text.len() as u8);
        out.extend_from_slice(text);
    }
}

/// The text of an integer as one, unless it takes more than 32 bits; whether it does not.
#[inline]
fn small_integer(out: &mut Vec<u8>, int: i64) -> bool {
    if let Ok(int) = i8::try_from(int) {
        out.extend_from_slice(&[form::INT8, int as u8]);
    } else if let Ok(int) = i16::try_from(int) {
        let [a, b] = int.to_le_bytes();
        out.extend_from_slice(&[form::INT16, a, b]);
    } else if let Ok(int) = i32::try_from(int) {
        let [a, b, c, d] = int.to_le_bytes();
        out.extend_from_slice(&[form::INT32, a, b, c, d]);
    } else {
        return false;
    }
    true
}

/// A text in compressed form, if that is shorter by enough; whether it is. The text is longer than
/// [`MIN_GAIN`].
fn compressed(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let start = out.len();
    let limit = text.len() - MIN_GAIN;
    // The lengths stand in front; room is left for what they may need.
    let room = 1 + length_size(limit) + length_size(text.len());
    out.resize(start + room, 0);
    if !lzf::append(out, text, limit) {
        out.truncate(start);
        return false;
    }
    let end = out.len();
    let packed = end - start - room;
    // Behind the data at first, so that no memory is needed for it.
    out.push(form::LZF);
    length(out, packed as u64);
    length(out, text.len() as u64);
    let head = out.len() - end;
    out.copy_within(end.., start);
    if head < room {
        out.copy_within(start + room..end, start + head);
    }
    out.truncate(start + head + packed);
    true
}

#[cfg(test)]
mod tests;
