//! `XREAD` and `XREADGROUP`: reading several streams from an id on, and waiting for more.
//!
//! Both look twice: first at every key and id, so that an error comes before anything is read, then
//! to read. How waiting works is in `blocking.rs`; who has waited is served by [`late`] and
//! [`late_for_member`], under the locks of the command that added to the stream.

use std::time::Duration;

use super::blocking::timeout_ms;
use super::error::{Error, Outcome, SYNTAX};
use super::keyspace::{Class, Keyspace};
use super::options::is;
use super::spec::*;
use super::stream_claims::{log_claim, log_position};
use super::streams::{count, reply_entry, reply_id, reply_range, strict_id};
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::resp::reply::Aggregate;
use crate::server::blocking::{Membership, Wanted};
use crate::types::stream::{ConsumerId, Group as ConsumerGroup, Log, Stream, StreamId};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("xread", -4, xread)
        .flags(READONLY.or(BLOCKING).or(MOVABLEKEYS))
        .acl(CAT_STREAM)
        .keys(&[KeySpec::after("STREAMS", 1, KEYS_AND_IDS, RO.or(ACCESS))])
        .find_keys(stream_keys)
        .docs(
            Group::Stream,
            "5.0.0",
            "O(N), N the entries read",
            "Reads the entries behind an id from each of several streams, waiting for \
                one if need be",
        )
        .args(
            "[COUNT count:integer] [BLOCK milliseconds:integer] STREAMS \
                streams:{key... id...}",
        ),
    Command::new("xreadgroup", -7, xreadgroup)
        .flags(WRITE.or(BLOCKING).or(MOVABLEKEYS))
        .acl(CAT_STREAM)
        .keys(&[KeySpec::after("STREAMS", 4, KEYS_AND_IDS, RO.or(ACCESS))])
        .find_keys(stream_keys)
        .docs(
            Group::Stream,
            "5.0.0",
            "O(N), N the entries read",
            "Reads entries as a consumer of a group: new ones, waiting for one if need \
                be, or those still pending",
        )
        .args(
            "GROUP group_consumer:{group consumer} [COUNT count:integer] [BLOCK \
                milliseconds:integer] [NOACK] STREAMS streams:{key... id...}",
        ),
];

const KEYS_AND_IDS: Find = Find::Range {
    last: -1,
    step: 1,
    limit: 2,
};

const UNBALANCED: Error = Error::new(
    "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.",
);
const UNBALANCED_GROUP: Error = Error::new(
    "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be \
     specified.",
);
const GROUP_IN_XREAD: Error =
    Error::new("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.");
const NOACK_IN_XREAD: Error =
    Error::new("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.");
const NO_GROUP_OPTION: Error = Error::new("ERR Missing GROUP option for XREADGROUP");
const LAST_IN_GROUP: Error = Error::new(
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of \
     this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would \
     just return an empty result set.",
);
const NEW_IN_XREAD: Error = Error::new(
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
     <consumer> option.",
);

/// The error of `XREADGROUP` for a key or a group that does not exist.
pub(super) fn no_group(key: &[u8], group: &[u8]) -> Error {
    let parts: [&[u8]; 5] = [
        b"NOGROUP No such key '",
        c_text(key),
        b"' or consumer group '",
        c_text(group),
        b"' in XREADGROUP with GROUP option",
    ];
    Error::raw(parts.concat())
}

/// A text as C prints it: no further than a NUL.
pub(super) fn c_text(text: &[u8]) -> &[u8] {
    text.split(|&b| b == 0).next().unwrap_or_default()
}

// ---------------------------------------------------------------- arguments

/// Finds the keys, which are the first half of what stands behind `STREAMS`. It goes over the
/// options exactly as [`Reading::read`] does.
fn stream_keys(args: &Args<'_>) -> Option<Vec<(usize, KeyFlags)>> {
    let mut at = 1;
    while at < args.len() {
        let word = &args[at];
        if is(word, "BLOCK") || is(word, "COUNT") {
            at += 2;
        } else if is(word, "GROUP") {
            at += 3;
        } else if is(word, "NOACK") {
            at += 1;
        } else if is(word, "STREAMS") {
            let rest = args.len() - at - 1;
            let keys = at + 1..at + 1 + rest / 2;
            let found = rest > 0 && rest.is_multiple_of(2);
            return found.then(|| keys.map(|at| (at, RO.or(ACCESS))).collect());
        } else {
            return None;
        }
    }
    None
}

/// The arguments of either command.
struct Reading<'a> {
    /// `None` not to wait, `Some(None)` to wait for ever.
    block: Option<Option<Duration>>,
    count: usize,
    no_ack: bool,
    /// Group and consumer.
    member: Option<(&'a [u8], &'a [u8])>,
    /// Where the first key is.
    first: usize,
    /// How many keys there are.
    keys: usize,
}

impl<'a> Reading<'a> {
    fn read(args: &'a Args<'_>, now: i64, in_group: bool) -> Outcome<Reading<'a>> {
        let mut reading = Reading {
            block: None,
            count: 0,
            no_ack: false,
            member: None,
            first: 0,
            keys: 0,
        };
        let mut at = 1;
        while at < args.len() {
            let (word, more) = (&args[at], args.len() - 1 - at);
            if is(word, "BLOCK") && more > 0 {
                at += 1;
                reading.block = Some(timeout_ms(args, at, now)?);
            } else if is(word, "COUNT") && more > 0 {
                at += 1;
                reading.count = count(args, at)?;
            } else if is(word, "STREAMS") && more > 0 {
                if !more.is_multiple_of(2) {
                    return Err(if in_group {
                        UNBALANCED_GROUP
                    } else {
                        UNBALANCED
                    });
                }
                reading.first = at + 1;
                reading.keys = more / 2;
                break;
            } else if is(word, "GROUP") && more >= 2 {
                if !in_group {
                    return Err(GROUP_IN_XREAD);
                }
                reading.member = Some((&args[at + 1], &args[at + 2]));
                at += 2;
            } else if is(word, "NOACK") {
                if !in_group {
                    return Err(NOACK_IN_XREAD);
                }
                reading.no_ack = true;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        if reading.keys == 0 {
            return Err(SYNTAX);
        }
        Ok(reading)
    }

    /// The keys, and the ids that belong to them.
    fn pairs(&self, args: &'a Args<'_>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
        let (first, keys) = (self.first, self.keys);
        (first..first + keys).map(move |at| (&args[at], &args[at + keys]))
    }
}

// ---------------------------------------------------------------- XREAD

/// The id behind which `XREAD` reads a stream.
fn after(text: &[u8], stream: Option<&Stream>) -> Outcome<StreamId> {
    match (text, stream) {
        (b"$", Some(stream)) => Ok(stream.log.last_id),
        // The last entry is what is behind the id before it.
        (b"+", Some(stream)) => {
            let last = stream.log.edge(true).and_then(StreamId::prev);
            Ok(last.unwrap_or(StreamId::MIN))
        }
        (b"$" | b"+", None) => Ok(StreamId::MIN),
        (b">", _) => Err(NEW_IN_XREAD),
        _ => strict_id(text),
    }
}

/// Writes a key and its entries behind an id. Returns whether there are any; if not, nothing is
/// written.
fn reply_after(out: &mut Reply, key: &[u8], log: &Log, after: StreamId, count: usize) -> bool {
    let Some(start) = after.next().filter(|_| log.has_after(after)) else {
        return false;
    };
    begin_pair(out, key);
    reply_range(out, log, (start, StreamId::MAX), false, count);
    true
}

/// Writes the key of a pair of key and entries.
fn begin_pair(out: &mut Reply, key: &[u8]) {
    if !out.is_resp3() {
        out.array(2);
    }
    out.bulk(key);
}

/// The kind of the reply: pairs, which RESP3 has maps for.
fn pairs_in(out: &Reply) -> Aggregate {
    match out.is_resp3() {
        true => Aggregate::Map,
        false => Aggregate::Array,
    }
}

/// `XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]`
fn xread(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let reading = Reading::read(args, c.db.now, false)?;
    let mut from = Vec::new();
    for (key, id) in reading.pairs(args) {
        let after = after(id, c.db.stream(key)?.map(|stream| &**stream))?;
        if reading.block.is_some() {
            from.push((key.into(), after));
        }
    }
    let before = c.out.len();
    let (reply, mut served) = (c.out.begin_deferred(), 0);
    for (key, id) in reading.pairs(args) {
        let Some(stream) = c.db.stream(key)? else {
            continue;
        };
        let after = after(id, Some(stream))?;
        served += usize::from(reply_after(c.out, key, &stream.log, after, reading.count));
    }
    if served > 0 {
        let kind = pairs_in(c.out);
        c.out.end_deferred(reply, kind, served);
        return Ok(());
    }
    c.out.truncate(before);
    let Some(timeout) = reading.block else {
        c.out.null_array();
        return Ok(());
    };
    let wanted = Wanted::Entries {
        after: from,
        count: reading.count,
    };
    let keys = reading.pairs(args).map(|(key, _)| key);
    c.db.block(keys, wanted, timeout);
    Ok(())
}

/// Serves a client that waits in `XREAD` from one of its keys. Returns whether there was anything.
///
/// # Errors
/// `WRONGTYPE`.
pub(super) fn late(
    db: &mut Keyspace<'_>,
    out: &mut Reply,
    key: &[u8],
    after: &[(Box<[u8]>, StreamId)],
    count: usize,
) -> Outcome<bool> {
    let Some(stream) = db.stream(key)? else {
        return Ok(false);
    };
    let (reply, mut served) = (out.begin_deferred(), 0);
    // A key that was given twice is answered twice.
    for (_, id) in after.iter().filter(|(name, _)| **name == *key) {
        served += usize::from(reply_after(out, key, &stream.log, *id, count));
    }
    if served > 0 {
        let kind = pairs_in(out);
        out.end_deferred(reply, kind, served);
    }
    Ok(served > 0)
}

// ---------------------------------------------------------------- XREADGROUP

/// As whom a stream is read.
#[derive(Clone, Copy)]
struct Member<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
    no_ack: bool,
    count: usize,
}

/// `XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK]
/// STREAMS key [key ...] id [id ...]`
fn xreadgroup(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let reading = Reading::read(args, c.db.now, true)?;
    let (group, consumer) = reading.member.ok_or(NO_GROUP_OPTION)?;
    let member = Member {
        group,
        consumer,
        no_ack: reading.no_ack,
        count: reading.count,
    };
    for (key, id) in reading.pairs(args) {
        let stream = c.db.stream_of_group(key)?;
        if !stream.is_some_and(|stream| stream.groups.contains_key(group)) {
            return Err(no_group(key, group));
        }
        match id {
            b"$" => return Err(LAST_IN_GROUP),
            b">" => {}
            id => drop(strict_id(id)?),
        }
    }
    let before = c.out.len();
    let (reply, mut served) = (c.out.begin_deferred(), 0);
    for (key, id) in reading.pairs(args) {
        let history = match id {
            b">" => None,
            id => Some(strict_id(id)?).filter(|id| *id != StreamId::MAX),
        };
        served += usize::from(read_as(&mut c.db, c.out, key, member, history)?);
    }
    if served > 0 {
        let kind = pairs_in(c.out);
        c.out.end_deferred(reply, kind, served);
        return Ok(());
    }
    c.out.truncate(before);
    let Some(timeout) = reading.block else {
        c.out.null_array();
        return Ok(());
    };
    let wanted = Wanted::GroupEntries(Box::new(Membership {
        group: group.to_vec(),
        consumer: consumer.to_vec(),
        no_ack: member.no_ack,
        count: member.count,
    }));
    let keys = reading.pairs(args).map(|(key, _)| key);
    c.db.block(keys, wanted, timeout);
    Ok(())
}

/// Serves a client that waits in `XREADGROUP` from one of its keys. Returns whether there was
/// anything.
///
/// # Errors
/// The key or the group is gone, or the key has another type.
pub(super) fn late_for_member(
    db: &mut Keyspace<'_>,
    out: &mut Reply,
    key: &[u8],
    member: &Membership,
) -> Outcome<bool> {
    let member = Member {
        group: &member.group,
        consumer: &member.consumer,
        no_ack: member.no_ack,
        count: member.count,
    };
    let before = out.len();
    match out.is_resp3() {
        true => out.map(1),
        false => out.array(1),
    }
    let served = read_as(db, out, key, member, None)?;
    if !served {
        out.truncate(before);
    }
    Ok(served)
}

/// Reads a stream as a consumer: what is pending with it behind an id, or what is new to the group.
/// The consumer comes into being if need be. Returns whether anything was written, which for what is
/// pending is always so.
fn read_as(
    db: &mut Keyspace<'_>,
    out: &mut Reply,
    key: &[u8],
    member: Member<'_>,
    history: Option<StreamId>,
) -> Outcome<bool> {
    let now = db.now;
    let missing = || no_group(key, member.group);
    let stream = db.stream_of_group(key)?.ok_or_else(missing)?;
    let Stream { log, groups } = stream;
    let group = groups.get_mut(member.group).ok_or_else(missing)?;
    let known = group.find(member.consumer);
    let consumer = known.unwrap_or_else(|| group.add_consumer(member.consumer, now));
    group.consumer_mut(consumer).seen = now;
    let mut given = Vec::new();
    let served = match history {
        Some(after) => {
            begin_pair(out, key);
            reply_pending(out, log, group, consumer, after, member.count, now);
            true
        }
        None if log.has_after(group.last_id) => {
            begin_pair(out, key);
            reply_new(out, log, group, consumer, member, now, &mut given);
            true
        }
        None => false,
    };
    if known.is_none() {
        db.changed_unwatched(Class::Stream, "xgroup-createconsumer", key);
    }
    if served {
        db.changes += 1;
    }
    db.nothing_instead();
    if db.logs() {
        let advanced = served && history.is_none();
        log_reading(db, key, member, known.is_none(), &given, advanced)?;
    }
    Ok(served)
}

/// Logs what reading has done to the group, as claims that come to the same.
fn log_reading(
    db: &mut Keyspace<'_>,
    key: &[u8],
    member: Member<'_>,
    new_consumer: bool,
    given: &[StreamId],
    advanced: bool,
) -> Outcome {
    // A claim makes the consumer. Redis forgets one that has got nothing when it is started anew.
    if new_consumer && given.is_empty() {
        let (group, consumer) = (member.group, member.consumer);
        db.also(&[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
    }
    for &id in given {
        log_claim(db, key, member.group, id, true)?;
    }
    if advanced && given.is_empty() {
        // Nothing is pending: how far the group has come is all there is to tell.
        log_position(db, key, member.group)?;
    }
    Ok(())
}

/// Writes the entries that are new to the group, and gives them to the consumer.
fn reply_new(
    out: &mut Reply,
    log: &Log,
    group: &mut ConsumerGroup,
    consumer: ConsumerId,
    member: Member<'_>,
    now: i64,
    given: &mut Vec<StreamId>,
) {
    let start = group.last_id.next().unwrap_or(StreamId::MAX);
    let (array, mut written) = (out.begin_deferred(), 0);
    for entry in log.range(start, StreamId::MAX, false) {
        group.advance(log, entry.id);
        reply_entry(out, &entry);
        if !member.no_ack {
            group.deliver(entry.id, consumer, now);
            given.push(entry.id);
            group.consumer_mut(consumer).active = Some(now);
        }
        written += 1;
        if written == member.count {
            break;
        }
    }
    out.end_deferred(array, Aggregate::Array, written);
}

/// Writes the entries that are pending with a consumer, which count as delivered once more. Those
/// that have been deleted show as null.
fn reply_pending(
    out: &mut Reply,
    log: &Log,
    group: &mut ConsumerGroup,
    consumer: ConsumerId,
    after: StreamId,
    count: usize,
    now: i64,
) {
    let most = if count == 0 { usize::MAX } else { count };
    let pending = group.consumer(consumer).pending();
    let ids = after.next().map(|start| pending.range(start..));
    let ids: Vec<StreamId> = ids.into_iter().flatten().take(most).copied().collect();
    out.array(ids.len());
    for id in ids {
        match log.get(id) {
            Some(entry) => {
                reply_entry(out, &entry);
                group.deliver_again(id, now);
            }
            None => {
                out.array(2);
                reply_id(out, id);
                out.null_array();
            }
        }
    }
}

impl Keyspace<'_> {
    /// Looks up a stream for a command on one of its groups, which changes the group but counts as
    /// reading the key.
    ///
    /// # Errors
    /// `WRONGTYPE` when the key holds something else.
    pub(super) fn stream_of_group(&mut self, key: &[u8]) -> Outcome<Option<&mut Stream>> {
        let found = self.exists(key);
        self.hits += u64::from(found);
        self.misses += u64::from(!found);
        match found {
            true => Ok(self.stream_mut(key)?.map(|stream| &mut **stream)),
            false => {
                self.notify(Class::KeyMiss, "keymiss", key);
                Ok(None)
            }
        }
    }
}
