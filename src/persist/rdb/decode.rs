//! Building values from what RDB files and `DUMP` payloads hold.
//!
//! Every layout that Redis has written since its first version is read, and each value gets the
//! encoding that Redis 7.2 would load it with: packed collections stay packed unless they have more
//! elements than the limits allow, those stored element by element are packed while they fit.
//!
//! Nothing is trusted. What Redis would refuse is refused, and so is some of what it would only
//! stumble over later: this server's types are never built of bytes that have not been checked.

mod stream;
#[cfg(test)]
mod tests;

use super::input::{Corrupt, Input, Text};
use super::legacy::{ziplist, zipmap};
use super::{container, skip, tag};
use crate::types::Value;
use crate::types::hash::{self, Hash};
use crate::types::intset::IntSet;
use crate::types::listpack::{Item, Listpack};
use crate::types::member_dict::MemberDict;
use crate::types::quicklist::{self, End, List};
use crate::types::set::{self, Set};
use crate::types::zset::{self, ZSet};

/// Up to where collections are kept in a compact form; the configuration's limits of all types.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Lists.
    pub list: quicklist::Limits,
    /// Sets.
    pub set: set::Limits,
    /// Sorted sets.
    pub zset: zset::Limits,
    /// Hashes.
    pub hash: hash::Limits,
}

/// The latest deadline that a field of a hash can have.
const LATEST_FIELD: u64 = (1 << 48) - 2;

/// Reads the value behind a tag. With `deep`, as for what comes from a client, packed hashes and
/// sets are searched for elements that are there twice; a file of one's own need not be.
///
/// # Errors
/// When the bytes are not such a value. See also [`Corrupt::is_empty_collection`].
pub fn value(
    tag: u8,
    input: &mut Input<'_>,
    limits: &Limits,
    deep: bool,
) -> Result<Value, Corrupt> {
    Ok(match tag {
        tag::STRING => match input.text()? {
            Text::Slice(bytes) => Value::string(bytes),
            Text::Int(int) => Value::Int(int),
            Text::Unpacked(bytes) => Value::string_from(bytes),
        },
        tag::LIST => Value::List(list(input, limits)?),
        tag::LIST_ZIPLIST => Value::List(list_of_ziplist(input, limits)?),
        tag::LIST_QUICKLIST | tag::LIST_QUICKLIST_2 => Value::List(nodes(tag, input, limits)?),
        tag::SET => Value::Set(set(input, limits.set)?),
        tag::SET_INTSET => Value::Set(intset(input, limits.set)?),
        tag::SET_LISTPACK => {
            let offset = input.offset();
            let packed = listpack(tag, input)?;
            Value::Set(packed_set(packed, limits.set, deep).map_err(|e| e.at(tag, offset, input))?)
        }
        tag::ZSET | tag::ZSET_2 => Value::ZSet(zset(tag, input, limits.zset)?),
        tag::ZSET_LISTPACK | tag::ZSET_ZIPLIST => {
            let offset = input.offset();
            let packed = pairs(tag, input)?;
            Value::ZSet(packed_zset(packed, limits.zset).map_err(|e| e.at(tag, offset, input))?)
        }
        tag::HASH => Value::Hash(hash(input, limits.hash)?),
        tag::HASH_LISTPACK | tag::HASH_ZIPLIST => {
            let offset = input.offset();
            let packed = pairs(tag, input)?;
            Value::Hash(
                packed_hash(packed, limits.hash, deep).map_err(|e| e.at(tag, offset, input))?,
            )
        }
        tag::HASH_ZIPMAP => Value::Hash(hash_of_zipmap(input, limits.hash)?),
        tag::HASH_METADATA | tag::HASH_METADATA_PRE_GA => {
            Value::Hash(volatile_hash(tag, input, limits.hash)?)
        }
        tag::HASH_LISTPACK_EX | tag::HASH_LISTPACK_EX_PRE_GA => {
            Value::Hash(packed_volatile_hash(tag, input, limits.hash)?)
        }
        tag::STREAM_LISTPACKS | tag::STREAM_LISTPACKS_2 | tag::STREAM_LISTPACKS_3 => {
            Value::Stream(Box::new(stream::read(tag, input)?))
        }
        tag::MODULE | tag::MODULE_2 => {
            let id = input.length()?;
            return Err(input.corrupt(skip::unknown_module(id)));
        }
        _ => return Err(input.corrupt(skip::unknown_tag(tag))),
    })
}

/// Why a listpack is no collection.
enum Unfit {
    Empty,
    Wrong(&'static str),
}

impl Unfit {
    #[cold]
    fn at(self, tag: u8, offset: u64, input: &Input<'_>) -> Corrupt {
        match self {
            Unfit::Empty => input.empty(),
            Unfit::Wrong(what) => broken(tag, offset, what),
        }
    }
}

/// Something wrong inside a string that holds a whole collection or a part of it. The words at the
/// beginning are those by which logs of Redis are searched.
#[cold]
fn broken(tag: u8, offset: u64, what: &str) -> Corrupt {
    let kind = match tag {
        tag::LIST_ZIPLIST => "List ziplist",
        tag::LIST_QUICKLIST => "Ziplist",
        tag::LIST_QUICKLIST_2 => "Listpack",
        tag::SET_INTSET => "Intset",
        tag::SET_LISTPACK => "Set listpack",
        tag::ZSET_ZIPLIST => "Zset ziplist",
        tag::ZSET_LISTPACK => "Zset listpack",
        tag::HASH_ZIPMAP => "Zipmap",
        tag::HASH_ZIPLIST => "Hash ziplist",
        _ => "Hash listpack",
    };
    Corrupt::new(offset, format!("{kind} integrity check failed: {what}"))
}

/// For how many elements a dict is made at once: no more than can differ from each other in what
/// is left of the input.
fn room(count: usize, input: &Input<'_>) -> usize {
    count.min(input.rest().len() / 4 + 256)
}

/// A number of elements that is not zero.
fn count(input: &mut Input<'_>, least: usize) -> Result<usize, Corrupt> {
    match input.count(least)? {
        0 => Err(input.empty()),
        count => Ok(count),
    }
}

/// A string with a listpack in it.
fn listpack(tag: u8, input: &mut Input<'_>) -> Result<Listpack, Corrupt> {
    let offset = input.offset();
    let bytes: Box<[u8]> = match input.text()? {
        Text::Slice(bytes) => bytes.into(),
        other => other.into_vec().into(),
    };
    Listpack::from_bytes(bytes).map_err(|_| broken(tag, offset, "a malformed listpack"))
}

/// A string with a listpack in it, or with a ziplist, which is made a listpack.
fn pairs(tag: u8, input: &mut Input<'_>) -> Result<Listpack, Corrupt> {
    if matches!(tag, tag::HASH_LISTPACK | tag::ZSET_LISTPACK) {
        return listpack(tag, input);
    }
    let offset = input.offset();
    let text = input.text()?;
    let mut scratch = [0; 20];
    let entries =
        ziplist::entries(text.bytes(&mut scratch)).map_err(|e| broken(tag, offset, e.0))?;
    Ok(Listpack::from_items(entries.iter().copied()))
}

// ---------------------------------------------------------------- lists

/// A list, element by element.
fn list(input: &mut Input<'_>, limits: &Limits) -> Result<List, Corrupt> {
    let mut list = List::new();
    for _ in 0..count(input, 1)? {
        let text = input.text()?;
        list.push(End::Tail, text.bytes(&mut [0; 20]), &limits.list);
    }
    list.settle(&limits.list);
    Ok(list)
}

fn list_of_ziplist(input: &mut Input<'_>, limits: &Limits) -> Result<List, Corrupt> {
    let offset = input.offset();
    let text = input.text()?;
    let mut scratch = [0; 20];
    let entries = ziplist::entries(text.bytes(&mut scratch))
        .map_err(|e| broken(tag::LIST_ZIPLIST, offset, e.0))?;
    let mut list = List::new();
    for item in entries {
        list.push(End::Tail, item.bytes(&mut [0; 20]), &limits.list);
    }
    if list.is_empty() {
        return Err(input.empty());
    }
    list.settle(&limits.list);
    Ok(list)
}

/// A list in nodes, which stay as they are.
fn nodes(tag: u8, input: &mut Input<'_>, limits: &Limits) -> Result<List, Corrupt> {
    let mut nodes = Vec::new();
    for _ in 0..count(input, 1)? {
        if tag == tag::LIST_QUICKLIST {
            nodes.push((false, pairs(tag, input)?.into_bytes()));
            continue;
        }
        let plain = match input.length()? {
            container::PLAIN => true,
            container::PACKED => false,
            _ => return Err(input.corrupt("a list's node of unknown kind")),
        };
        let bytes = input.blob()?;
        if bytes.is_empty() {
            return Err(input.corrupt("a list's node without content"));
        }
        nodes.push((plain, bytes));
    }
    let list = List::from_nodes(nodes, &limits.list)
        .map_err(|_| broken(tag, input.offset(), "a malformed listpack in a list"))?;
    if list.is_empty() {
        return Err(input.empty());
    }
    Ok(list)
}

// ---------------------------------------------------------------- sets

const MEMBER_TWICE: &str = "a set has a member twice";

/// A set, member by member.
fn set(input: &mut Input<'_>, limits: set::Limits) -> Result<Set, Corrupt> {
    let count = count(input, 1)?;
    let mut set = Set::new();
    if count > limits.ints {
        let room = room(count, input);
        let table = set.make_table(room);
        for _ in 0..count {
            let text = input.text()?;
            if !table.insert(text.bytes(&mut [0; 20]), ()) {
                return Err(input.corrupt(MEMBER_TWICE));
            }
        }
        return Ok(set);
    }
    for _ in 0..count {
        let new = match input.text()? {
            Text::Int(int) => set.add_item(Item::Int(int), limits),
            Text::Slice(bytes) => set.add(bytes, limits),
            Text::Unpacked(bytes) => set.add(&bytes, limits),
        };
        if !new {
            return Err(input.corrupt(MEMBER_TWICE));
        }
    }
    Ok(set)
}

fn intset(input: &mut Input<'_>, limits: set::Limits) -> Result<Set, Corrupt> {
    let offset = input.offset();
    let ints = IntSet::from_bytes(input.blob()?)
        .map_err(|_| broken(tag::SET_INTSET, offset, "a malformed intset"))?;
    let large = ints.len() > limits.ints;
    let mut set = Set::Ints(ints);
    if large {
        set.make_table(0);
    }
    Ok(set)
}

fn packed_set(packed: Listpack, limits: set::Limits, deep: bool) -> Result<Set, Unfit> {
    if packed.is_empty() {
        return Err(Unfit::Empty);
    }
    let large = packed.len() > limits.entries;
    let mut set = if deep || large {
        Set::from_listpack(packed).ok_or(Unfit::Wrong(MEMBER_TWICE))?
    } else {
        Set::Packed(packed)
    };
    if large {
        set.make_table(0);
    }
    Ok(set)
}

// ---------------------------------------------------------------- sorted sets

/// A sorted set, member by member.
fn zset(tag: u8, input: &mut Input<'_>, limits: zset::Limits) -> Result<ZSet, Corrupt> {
    let old = tag == tag::ZSET;
    let count = count(input, if old { 2 } else { 9 })?;
    let mut members = MemberDict::with_capacity(room(count, input));
    for _ in 0..count {
        let text = input.text()?;
        let score = if old {
            input.old_score()?
        } else {
            input.score()?
        };
        if !members.insert(text.bytes(&mut [0; 20]), score) {
            return Err(input.corrupt("a sorted set has a member twice"));
        }
    }
    Ok(ZSet::from_members(members, limits))
}

fn packed_zset(packed: Listpack, limits: zset::Limits) -> Result<ZSet, Unfit> {
    if packed.is_empty() {
        return Err(Unfit::Empty);
    }
    let mut zset = ZSet::from_listpack(packed).ok_or(Unfit::Wrong(
        "a listpack that does not hold members once, with scores and in order",
    ))?;
    if zset.len() > limits.entries {
        zset.make_table();
    }
    Ok(zset)
}

// ---------------------------------------------------------------- hashes

const FIELD_TWICE: &str = "a hash has a field twice";

/// A hash, field by field.
fn hash(input: &mut Input<'_>, limits: hash::Limits) -> Result<Hash, Corrupt> {
    let count = count(input, 2)?;
    let mut hash = Hash::new();
    hash.reserve(count, limits);
    for _ in 0..count {
        add_field(&mut hash, input, limits)?;
    }
    Ok(hash)
}

/// Reads a field with its value and adds it; the field.
fn add_field<'a>(
    hash: &mut Hash,
    input: &mut Input<'a>,
    limits: hash::Limits,
) -> Result<Text<'a>, Corrupt> {
    let (field, value) = (input.text()?, input.text()?);
    let (mut one, mut two) = ([0; 20], [0; 20]);
    if !hash.set(field.bytes(&mut one), value.bytes(&mut two), limits) {
        return Err(input.corrupt(FIELD_TWICE));
    }
    Ok(field)
}

fn packed_hash(packed: Listpack, limits: hash::Limits, deep: bool) -> Result<Hash, Unfit> {
    if packed.is_empty() {
        return Err(Unfit::Empty);
    }
    let elements = packed.len();
    if !elements.is_multiple_of(2) {
        return Err(Unfit::Wrong("a hash has a field without a value"));
    }
    let large = elements / 2 > limits.entries;
    let mut hash = if deep || large {
        Hash::from_listpack(packed).ok_or(Unfit::Wrong(FIELD_TWICE))?
    } else {
        Hash::Packed(packed)
    };
    // More fields than may be packed make a table of it.
    if large {
        hash.reserve(limits.entries + 1, limits);
    }
    Ok(hash)
}

fn hash_of_zipmap(input: &mut Input<'_>, limits: hash::Limits) -> Result<Hash, Corrupt> {
    let offset = input.offset();
    let text = input.text()?;
    let mut scratch = [0; 20];
    let pairs = zipmap::pairs(text.bytes(&mut scratch))
        .map_err(|e| broken(tag::HASH_ZIPMAP, offset, e.0))?;
    let mut hash = Hash::new();
    hash.reserve(pairs.len(), limits);
    for (field, value) in pairs {
        if !hash.set(field, value, limits) {
            return Err(Corrupt::new(offset, FIELD_TWICE));
        }
    }
    if hash.is_empty() {
        // No version of Redis has written one, so it is not left out like others.
        return Err(broken(tag::HASH_ZIPMAP, offset, "a zipmap without pairs"));
    }
    Ok(hash)
}

/// The deadline before which no field expires, from which the others are counted.
fn first_deadline(input: &mut Input<'_>) -> Result<u64, Corrupt> {
    let first = u64::from_le_bytes(input.array()?);
    if first > LATEST_FIELD + 1 {
        return Err(input.corrupt("a hash with a deadline out of range"));
    }
    Ok(first)
}

/// Gives a field of a hash its deadline.
fn set_deadline(hash: &mut Hash, field: &[u8], deadline: u64, at: u64) -> Result<(), Corrupt> {
    match i64::try_from(deadline) {
        Ok(deadline) if deadline as u64 <= LATEST_FIELD => {
            hash.set_deadline(field, deadline);
            Ok(())
        }
        _ => Err(Corrupt::new(at, "a field's deadline is out of range")),
    }
}

/// A hash of which fields have deadlines, field by field.
fn volatile_hash(tag: u8, input: &mut Input<'_>, limits: hash::Limits) -> Result<Hash, Corrupt> {
    // Deadlines are counted from the first, which is a one as zero stands for none.
    let first = match tag {
        tag::HASH_METADATA => first_deadline(input)?,
        _ => 1,
    };
    let count = count(input, 3)?;
    let mut hash = Hash::new();
    hash.reserve(count, limits);
    for _ in 0..count {
        let at = input.offset();
        let deadline = input.length()?;
        let field = add_field(&mut hash, input, limits)?;
        if deadline > 0 {
            let deadline = first.saturating_add(deadline - 1);
            set_deadline(&mut hash, field.bytes(&mut [0; 20]), deadline, at)?;
        }
    }
    Ok(hash)
}

/// A hash of which fields have deadlines: a listpack of fields, values and deadlines in turn.
fn packed_volatile_hash(
    tag: u8,
    input: &mut Input<'_>,
    limits: hash::Limits,
) -> Result<Hash, Corrupt> {
    if tag == tag::HASH_LISTPACK_EX {
        first_deadline(input)?;
    }
    let offset = input.offset();
    let wrong = |what| Corrupt::new(offset, what);
    let packed = listpack(tag, input)?;
    if packed.is_empty() {
        return Err(input.empty());
    }
    let elements = packed.len();
    if !elements.is_multiple_of(3) {
        return Err(wrong("a hash has a field without a value or deadline"));
    }
    let mut hash = Hash::new();
    hash.reserve(elements / 3, limits);
    let mut items = packed.iter();
    let (mut one, mut two) = ([0; 20], [0; 20]);
    while let (Some(field), Some(value), Some(deadline)) =
        (items.next(), items.next(), items.next())
    {
        let field = field.bytes(&mut one);
        if !hash.set(field, value.bytes(&mut two), limits) {
            return Err(wrong(FIELD_TWICE));
        }
        let deadline = deadline.integer().and_then(|at| u64::try_from(at).ok());
        match deadline.ok_or_else(|| wrong("a field's deadline is no number"))? {
            0 => {}
            deadline => set_deadline(&mut hash, field, deadline, offset)?,
        }
    }
    Ok(hash)
}
