//! The subcommands of `DEBUG` that look into values: `OBJECT`, `LISTPACK`, `HTSTATS-KEY`.

use std::fmt::Write;

use super::error::{Error, NO_SUCH_KEY, Outcome};
use super::keys::refcount;
use super::{Args, Ctx};
use crate::log_warning;
use crate::store::access::idle_seconds;
use crate::store::shard_of;
use crate::types::hash::Hash;
use crate::types::listpack::{Item, Listpack};
use crate::types::quicklist::{Chunk, List};
use crate::types::set::Set;
use crate::types::stream::{Stream, StreamId};
use crate::types::zset::ZSet;
use crate::types::{Value, string};
use crate::util::{num, quoting};

/// Bytes of a text that `DEBUG LISTPACK` shows.
const SHOWN: usize = 40;

const NOT_A_LISTPACK: Error = Error::new("ERR Not a listpack encoded object.");
const NO_TABLE: Error =
    Error::new("ERR The value stored at the specified key is not represented using an hash table");

/// `DEBUG OBJECT key [FAST]`
///
/// The address is made up from the key's hash: values have none of their own here, but tests look
/// at it to see that a value is changed in place.
pub(super) fn object(c: &mut Ctx<'_>, args: &Args<'_>, fast: bool) -> Outcome {
    let key = &args[2];
    let hash = c.server.store.hash(key);
    let server = c.server;
    let text = c.db.in_shard(shard_of(hash), false, |db| {
        let now = db.now;
        // Not a look-up: as in Redis, expired keys show as well.
        let entry = db.part(shard_of(hash)).get(hash, key)?;
        let (value, access) = (&entry.value, entry.key.access());
        let length = match fast {
            false => format!(" serializedlength:{}", serialized_len(value)),
            true => String::new(),
        };
        Some(format!(
            "Value at:{:#x} refcount:{} encoding:{}{length} lru:{access} lru_seconds_idle:{}{}",
            hash >> 16,
            refcount(server, value),
            value.encoding(),
            idle_seconds(access, now),
            nodes(value),
        ))
    });
    c.out.simple(&text.ok_or(NO_SUCH_KEY)?);
    Ok(())
}

/// What `DEBUG OBJECT` says about the nodes of a list.
fn nodes(value: &Value) -> String {
    let Value::List(List::Chunked(list)) = value else {
        return String::new();
    };
    let nodes = list.node_count();
    format!(
        " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:{} ql_uncompressed_size:{}",
        list.len() as f64 / nodes as f64,
        list.fill(),
        u8::from(list.depth() != 0),
        list.uncompressed_size(),
    )
}

/// Bytes that a value takes in an RDB file, without its type and key. Everything is counted
/// without LZF compression, so what is long and repetitive is smaller in a file.
fn serialized_len(value: &Value) -> usize {
    if let Some(packed) = listpack(value) {
        let blob = blob_len(packed.bytes());
        // A list is written as nodes, each with its kind; the others are the listpack alone.
        return blob + if let Value::List(_) = value { 2 } else { 0 };
    }
    match value {
        Value::List(list) => {
            let node = |chunk: Chunk<'_>| match chunk {
                Chunk::Packed(bytes) => 1 + blob_len(bytes.len()),
                Chunk::Plain(bytes) => 1 + blob_len(bytes.len()),
            };
            length_len(list.node_count()) + list.chunks().map(node).sum::<usize>()
        }
        Value::Set(Set::Ints(ints)) => blob_len(ints.bytes()),
        Value::Set(set) => length_len(set.len()) + set.iter().map(text_len).sum::<usize>(),
        Value::ZSet(zset) => {
            let members = zset.iter().map(|(member, _)| text_len(member) + 8);
            length_len(zset.len()) + members.sum::<usize>()
        }
        Value::Hash(hash) => {
            let pairs = hash
                .iter()
                .map(|(field, value)| text_len(field) + text_len(value));
            length_len(hash.len()) + pairs.sum::<usize>()
        }
        Value::Stream(stream) => stream_len(stream),
        _ => {
            let mut scratch = [0; 20];
            string::bytes(value, &mut scratch).map_or(0, |text| text_len(Item::Bytes(text)))
        }
    }
}

/// Bytes of a stream in an RDB file: its blocks, what is remembered of it, and its groups with what
/// is pending there.
fn stream_len(stream: &Stream) -> usize {
    const ID: usize = 16;
    const TIME: usize = 8;
    let id_len = |id: StreamId| length_len(id.ms as usize) + length_len(id.seq as usize);
    let log = &stream.log;
    let blocks = log
        .blocks()
        .map(|(_, block)| blob_len(ID) + blob_len(block.as_bytes().len()));
    let groups = stream.groups.iter().map(|(name, group)| {
        let pending = group
            .pending()
            .values()
            .map(|entry| ID + TIME + length_len(entry.count as usize));
        let consumers = group.consumers().map(|consumer| {
            let pending = consumer.pending().len();
            text_len(Item::Bytes(&consumer.name)) + 2 * TIME + length_len(pending) + pending * ID
        });
        text_len(Item::Bytes(name))
            + id_len(group.last_id)
            + length_len(group.entries_read.unwrap_or(-1) as usize)
            + length_len(group.pending().len())
            + pending.sum::<usize>()
            + length_len(group.consumer_count())
            + consumers.sum::<usize>()
    });
    length_len(log.blocks().len())
        + blocks.sum::<usize>()
        + length_len(log.len())
        + id_len(log.last_id)
        + id_len(log.first_id)
        + id_len(log.max_deleted)
        + length_len(log.entries_added as usize)
        + length_len(stream.groups.len())
        + groups.sum::<usize>()
}

/// Bytes of a string in an RDB file; a small integer is written as one.
fn text_len(item: Item<'_>) -> usize {
    let int = match item {
        Item::Int(int) => Some(int),
        Item::Bytes(text) => num::parse_i64(text),
    };
    match int {
        Some(int) if i8::try_from(int).is_ok() => 2,
        Some(int) if i16::try_from(int).is_ok() => 3,
        Some(int) if i32::try_from(int).is_ok() => 5,
        _ => blob_len(item.text_len()),
    }
}

/// Bytes of a string that is no integer in an RDB file.
fn blob_len(len: usize) -> usize {
    length_len(len) + len
}

/// Bytes of a length in an RDB file.
fn length_len(len: usize) -> usize {
    match len {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// The listpack that is the whole of a value.
fn listpack(value: &Value) -> Option<&Listpack> {
    match value {
        Value::List(List::Packed(packed))
        | Value::Set(Set::Packed(packed))
        | Value::ZSet(ZSet::Packed(packed))
        | Value::Hash(Hash::Packed(packed)) => Some(packed),
        _ => None,
    }
}

/// `DEBUG LISTPACK key`: the entries of a listpack go to the log.
pub(super) fn show_listpack(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = &args[2];
    let shard = shard_of(c.server.store.hash(key));
    let text = c.db.in_shard(shard, false, |db| {
        let entry = db.peek(key).ok_or(NO_SUCH_KEY)?;
        listpack(&entry.value).map(structure).ok_or(NOT_A_LISTPACK)
    })?;
    log_warning!("DEBUG LISTPACK: {text}");
    // What Redis says; here it is the log, which may be standard output.
    c.out.simple("Listpack structure printed on stdout");
    Ok(())
}

/// A listpack entry by entry.
fn structure(packed: &Listpack) -> String {
    let mut text = format!("{} bytes, {} entries", packed.bytes(), packed.len());
    for (index, (position, item)) in packed.positions().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n  {index}: offset {}, {} bytes, ",
            position.0,
            item.encoded_len()
        );
        let _ = match item {
            Item::Int(int) => write!(text, "integer {int}"),
            Item::Bytes(bytes) => {
                let mut quoted = Vec::new();
                quoting::repr(&mut quoted, &bytes[..bytes.len().min(SHOWN)]);
                let dots = if bytes.len() > SHOWN { "..." } else { "" };
                let quoted = String::from_utf8_lossy(&quoted);
                write!(text, "string of {} {quoted}{dots}", bytes.len())
            }
        };
    }
    text
}

/// `DEBUG HTSTATS-KEY key`
pub(super) fn htstats_key(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = &args[2];
    let shard = shard_of(c.server.store.hash(key));
    let (elements, bytes) = c.db.in_shard(shard, false, |db| {
        let value = &db.peek(key).ok_or(NO_SUCH_KEY)?.value;
        let elements = match value {
            Value::Set(set) => set.len(),
            Value::ZSet(zset) => zset.len(),
            Value::Hash(hash) => hash.len(),
            _ => return Err(NO_TABLE),
        };
        match value.encoding() {
            "hashtable" | "skiplist" => Ok((elements, value.heap_size())),
            _ => Err(NO_TABLE),
        }
    })?;
    let text = format!("[Value HT]\nnumber of elements: {elements}\ntable bytes: {bytes}\n");
    c.out.verbatim("txt", text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialized_lengths_are_those_of_rdb() {
        for (text, len) in [
            ("1", 2),
            ("-128", 2),
            ("128", 3),
            ("-32769", 5),
            ("2147483647", 5),
            ("2147483648", 11),
            ("123456789012", 13),
            ("", 1),
            ("abc", 4),
        ] {
            assert_eq!(
                serialized_len(&Value::string(text.as_bytes())),
                len,
                "{text}"
            );
        }
        // A number that is kept as text is still one in a file.
        assert_eq!(serialized_len(&Value::plain(b"12")), 2);
        for (len, head) in [(63, 1), (64, 2), (16383, 2), (16384, 5)] {
            assert_eq!(serialized_len(&Value::plain(&vec![b'x'; len])), head + len);
        }
    }
}
