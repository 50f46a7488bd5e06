//! Streams: blocks of entries as they lie in memory, what is remembered of the entries that are
//! gone, and the consumer groups with what is pending.

use super::super::input::{Corrupt, Input};
use super::super::tag;
use crate::types::stream::{Block, Consumer, ConsumerId, Group, Log, Pending, Stream, StreamId};

/// Bytes of a pending entry at least: its id, a time and a counter.
const PENDING: usize = 16 + 8 + 1;

/// Reads a stream.
pub(super) fn read(tag: u8, input: &mut Input<'_>) -> Result<Stream, Corrupt> {
    let mut stream = Stream::default();
    log(tag, input, &mut stream.log)?;
    for _ in 0..input.count(5)? {
        let at = input.offset();
        let name = input.blob()?;
        let group = group(tag, input, &stream.log)?;
        if stream.groups.insert(name.into(), group).is_some() {
            return Err(Corrupt::new(at, "a stream has two groups of one name"));
        }
    }
    Ok(stream)
}

/// An id in sixteen bytes.
fn raw_id(bytes: [u8; 16]) -> StreamId {
    let id = u128::from_be_bytes(bytes);
    StreamId::new((id >> 64) as u64, id as u64)
}

/// An id in two numbers.
fn id(input: &mut Input<'_>) -> Result<StreamId, Corrupt> {
    Ok(StreamId::new(input.length()?, input.length()?))
}

fn log(tag: u8, input: &mut Input<'_>, log: &mut Log) -> Result<(), Corrupt> {
    for _ in 0..input.count(2)? {
        let at = input.offset();
        let first = input.blob()?;
        let first = first.try_into().map(raw_id).map_err(|_| {
            Corrupt::new(at, "the name of a stream's block is not the size of an id")
        })?;
        let at = input.offset();
        let block = Block::from_bytes(input.blob()?).map_err(|_| {
            Corrupt::new(
                at,
                "Stream listpack integrity check failed: a malformed block",
            )
        })?;
        log.append_block(first, block)
            .map_err(|_| Corrupt::new(at, "a stream's entries are not in order"))?;
    }
    let at = input.offset();
    let len = input.length()?;
    if len != log.len() as u64 {
        return Err(Corrupt::new(
            at,
            "a stream has another number of entries than told",
        ));
    }
    log.last_id = id(input)?;
    log.entries_added = len;
    if tag != tag::STREAM_LISTPACKS {
        // The first id is plain to see.
        id(input)?;
        log.max_deleted = id(input)?;
        log.entries_added = input.length()?;
    }
    log.complete()
        .map_err(|_| Corrupt::new(at, "a stream's last id is before its last entry"))
}

fn group(tag: u8, input: &mut Input<'_>, log: &Log) -> Result<Group, Corrupt> {
    let last_id = id(input)?;
    let read = if tag == tag::STREAM_LISTPACKS {
        log.distance(last_id)
    } else {
        // Minus one where it is not known.
        Some(input.length()? as i64).filter(|&read| read != -1)
    };
    let mut group = Group::new(last_id, read);
    let mut pending = pending(input)?;
    for _ in 0..input.count(10)? {
        consumer(tag, input, &mut group, &mut pending)?;
    }
    if pending.iter().any(|entry| entry.owner.is_none()) {
        return Err(input.corrupt("a pending entry of a stream is with no consumer"));
    }
    Ok(group)
}

/// A pending entry, of which the owner is told later.
struct Unowned {
    id: StreamId,
    delivered: i64,
    count: u64,
    owner: Option<ConsumerId>,
}

/// What is pending in a group, by id.
fn pending(input: &mut Input<'_>) -> Result<Vec<Unowned>, Corrupt> {
    let count = input.count(PENDING)?;
    let mut pending = Vec::with_capacity(count);
    for _ in 0..count {
        pending.push(Unowned {
            id: raw_id(input.array()?),
            delivered: input.int64()?,
            count: input.length()?,
            owner: None,
        });
    }
    // It is written in order.
    if !pending.is_sorted_by_key(|entry| entry.id) {
        pending.sort_by_key(|entry| entry.id);
    }
    if pending.windows(2).any(|two| two[0].id == two[1].id) {
        return Err(input.corrupt("an entry of a stream is pending twice"));
    }
    Ok(pending)
}

fn consumer(
    tag: u8,
    input: &mut Input<'_>,
    group: &mut Group,
    pending: &mut [Unowned],
) -> Result<(), Corrupt> {
    let at = input.offset();
    let name = input.blob()?;
    if group.find(&name).is_some() {
        return Err(Corrupt::new(at, "Duplicate stream consumer detected"));
    }
    let seen = input.int64()?;
    let active = match tag {
        tag::STREAM_LISTPACKS_3 => Some(input.int64()?).filter(|&active| active != -1),
        // The best guess.
        _ => Some(seen),
    };
    let owner = group.add_consumer(&name, seen);
    let consumer: &mut Consumer = group.consumer_mut(owner);
    consumer.active = active;
    for _ in 0..input.count(16)? {
        let at = input.offset();
        let id = raw_id(input.array()?);
        let entry = pending
            .binary_search_by_key(&id, |entry| entry.id)
            .ok()
            .map(|place| &mut pending[place])
            .filter(|entry| entry.owner.is_none())
            .ok_or_else(|| {
                Corrupt::new(
                    at,
                    "a consumer has an entry that is not pending, or another's",
                )
            })?;
        entry.owner = Some(owner);
        group.assign(
            id,
            Pending {
                owner,
                delivered: entry.delivered,
                count: entry.count,
            },
        );
    }
    Ok(())
}
