//! What becomes of entries that a consumer group has handed out: acknowledging them, listing those
//! that are pending, and giving them to other consumers.

use super::error::{Error, Outcome, SYNTAX};
use super::keyspace::{Class, Keyspace};
use super::options::{int, int_or, is};
use super::spec::*;
use super::stream_reads::c_text;
use super::streams::{count, range_end, range_start, reply_entry, reply_id, strict_id};
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::resp::reply::Aggregate;
use crate::types::stream::ID_TEXT;
use crate::types::stream::{ConsumerId, Group as ConsumerGroup, Pending, Stream, StreamId};
use crate::util::num;
use crate::util::num::IntBuf;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("xack", -4, xack)
        .flags(WRITE.or(FAST))
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Stream,
            "5.0.0",
            "O(log(N)) for each id, N the number of pending entries",
            "Takes entries off what is pending in a consumer group and tells how many \
                there were",
        )
        .args("key group id..."),
    Command::new("xautoclaim", -6, xautoclaim)
        .flags(WRITE.or(FAST))
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(1, RW.or(DELETE))])
        .docs(
            Group::Stream,
            "6.2.0",
            "O(N), N the COUNT",
            "Gives pending entries that have been idle for some time to a consumer",
        )
        .args("key group consumer min-idle-time start [COUNT count:integer] [JUSTID]")
        .history(&[(
            "7.0.0",
            "The reply lists the deleted entries that were pending",
        )])
        .tips(&["nondeterministic_output"]),
    Command::new("xclaim", -6, xclaim)
        .flags(WRITE.or(FAST))
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Stream,
            "5.0.0",
            "O(log(N)) for each id, N the number of pending entries",
            "Gives certain pending entries to a consumer, provided they have been idle \
                for some time",
        )
        .args(
            "key group consumer min-idle-time id... [IDLE ms:integer] [TIME \
                unix-time-milliseconds:unix-time] [RETRYCOUNT count:integer] [FORCE] \
                [JUSTID] [LASTID id]",
        )
        .tips(&["nondeterministic_output"]),
    Command::new("xpending", -3, xpending)
        .flags(READONLY)
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Stream,
            "5.0.0",
            "O(N), N the pending entries looked at, or the consumers for the summary",
            "Sums up or lists the entries that a consumer group has handed out and \
                that are not acknowledged",
        )
        .args(
            "key group [filters:{[IDLE min-idle-time:integer@6.2.0] start end \
                count:integer [consumer]}]",
        )
        .history(&[(
            "6.2.0",
            "The option `IDLE`, and bounds that are not part of the range themselves",
        )])
        .tips(&["nondeterministic_output"]),
];

const CLAIM_IDLE: Error = Error::new("ERR Invalid min-idle-time argument for XCLAIM");
const AUTOCLAIM_IDLE: Error = Error::new("ERR Invalid min-idle-time argument for XAUTOCLAIM");
const IDLE_OPTION: Error = Error::new("ERR Invalid IDLE option argument for XCLAIM");
const TIME_OPTION: Error = Error::new("ERR Invalid TIME option argument for XCLAIM");
const RETRYCOUNT_OPTION: Error = Error::new("ERR Invalid RETRYCOUNT option argument for XCLAIM");
const COUNT_OPTION: Error = Error::new("ERR COUNT must be > 0");

/// The error for a key or a group that does not exist.
fn no_group(key: &[u8], group: &[u8]) -> Error {
    let parts: [&[u8]; 5] = [
        b"NOGROUP No such key '",
        c_text(key),
        b"' or consumer group '",
        c_text(group),
        b"'",
    ];
    Error::raw(parts.concat())
}

/// `XACK key group id [id ...]`
fn xack(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let key = &args[1];
    let stream = c.db.stream_of_group(key)?;
    let Some(group) = stream.and_then(|stream| stream.groups.get_mut(&args[2])) else {
        c.out.count(0);
        return Ok(());
    };
    // All or nothing: a malformed id stops it before the first acknowledgement.
    for id in args.from(3) {
        strict_id(id)?;
    }
    let mut acknowledged = 0;
    for id in args.from(3) {
        acknowledged += usize::from(group.acknowledge(strict_id(id)?));
    }
    if acknowledged > 0 {
        c.db.changes += 1;
    }
    c.out.count(acknowledged);
    Ok(())
}

// ---------------------------------------------------------------- XPENDING

/// The arguments of `XPENDING` with a range.
struct Listing {
    min_idle: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    /// Where the consumer's name is.
    consumer: Option<usize>,
}

impl Listing {
    fn read(args: &Args<'_>) -> Outcome<Listing> {
        let (mut min_idle, mut at) = (0, 3);
        if is(&args[at], "IDLE") {
            min_idle = int(args, at + 1)?;
            if args.len() < 8 {
                return Err(SYNTAX);
            }
            at += 2;
        }
        let count = count(args, at + 2)?;
        Ok(Listing {
            min_idle,
            start: range_start(&args[at])?,
            end: range_end(&args[at + 1])?,
            count,
            consumer: (at + 3 < args.len()).then_some(at + 3),
        })
    }
}

/// `XPENDING key group [[IDLE min-idle-time] start end count [consumer]]`
fn xpending(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if args.len() != 3 && !(6..=9).contains(&args.len()) {
        return Err(SYNTAX);
    }
    let listing = match args.len() {
        3 => None,
        _ => Some(Listing::read(args)?),
    };
    let now = c.db.now;
    let stream = c.db.stream(&args[1])?;
    let group = stream.and_then(|stream| stream.groups.get(&args[2]));
    let group = group.ok_or_else(|| no_group(&args[1], &args[2]))?;
    match listing {
        None => summary(c.out, group),
        Some(listing) => {
            let consumer = match listing.consumer.map(|at| group.find(&args[at])) {
                // Nothing is pending with somebody unknown.
                Some(None) => {
                    c.out.array(0);
                    return Ok(());
                }
                Some(found) => found,
                None => None,
            };
            list(c.out, group, &listing, consumer, now);
        }
    }
    Ok(())
}

/// How much is pending, from where to where, and with whom.
fn summary(out: &mut Reply, group: &ConsumerGroup) {
    let pending = group.pending();
    out.array(4);
    out.count(pending.len());
    let ends = (pending.first_key_value(), pending.last_key_value());
    let (Some((first, _)), Some((last, _))) = ends else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    reply_id(out, *first);
    reply_id(out, *last);
    let (array, mut written) = (out.begin_deferred(), 0);
    for consumer in group.consumers().filter(|one| !one.pending().is_empty()) {
        out.array(2);
        out.bulk(&consumer.name);
        out.bulk_int(consumer.pending().len() as i64);
        written += 1;
    }
    out.end_deferred(array, Aggregate::Array, written);
}

/// The pending entries of a range, of the whole group or of one consumer.
fn list(
    out: &mut Reply,
    group: &ConsumerGroup,
    listing: &Listing,
    consumer: Option<ConsumerId>,
    now: i64,
) {
    let (array, mut written) = (out.begin_deferred(), 0);
    let mut show = |id: StreamId, entry: &Pending| {
        let idle = now.wrapping_sub(entry.delivered);
        if written < listing.count && (listing.min_idle == 0 || idle >= listing.min_idle) {
            out.array(4);
            reply_id(out, id);
            out.bulk(&group.consumer(entry.owner).name);
            out.int(idle.max(0));
            out.int(entry.count as i64);
            written += 1;
        }
        written < listing.count
    };
    let (start, end) = (listing.start, listing.end);
    match consumer {
        None => {
            let mut entries = group.pending_range(start, end);
            entries.all(|(id, entry)| show(id, entry));
        }
        Some(consumer) if start <= end => {
            let mut ids = group.consumer(consumer).pending().range(start..=end);
            ids.all(|id| match group.pending().get(id) {
                Some(entry) => show(*id, entry),
                None => true,
            });
        }
        Some(_) => {}
    }
    out.end_deferred(array, Aggregate::Array, written);
}

// ---------------------------------------------------------------- claiming

/// The consumer that claims, who comes into being if need be; its number and whether it is new.
fn claimant(group: &mut ConsumerGroup, name: &[u8], now: i64) -> (ConsumerId, bool) {
    let known = group.find(name);
    let consumer = known.unwrap_or_else(|| group.add_consumer(name, now));
    group.consumer_mut(consumer).seen = now;
    (consumer, known.is_none())
}

/// Notes what a claim has changed.
fn claimed(db: &mut Keyspace<'_>, key: &[u8], new_consumer: bool, changed: bool) {
    if new_consumer {
        db.changed_unwatched(Class::Stream, "xgroup-createconsumer", key);
    }
    if changed {
        db.changes += 1;
    }
}

/// Logs that an entry is pending with somebody now, by whatever way it has come there. `new` says
/// that the group has come as far as this entry with it.
pub(super) fn log_claim(
    db: &mut Keyspace<'_>,
    key: &[u8],
    name: &[u8],
    id: StreamId,
    new: bool,
) -> Outcome {
    let group = db
        .stream_mut(key)?
        .and_then(|stream| stream.groups.get(name));
    let pending = group.and_then(|group| Some((group, *group.pending().get(&id)?)));
    let Some((group, entry)) = pending else {
        return Ok(());
    };
    let consumer = group.consumer(entry.owner).name.to_vec();
    let (mut text, mut last) = ([0; ID_TEXT], [0; ID_TEXT]);
    let last = if new { id } else { group.last_id }.text(&mut last);
    let (mut time, mut count) = (IntBuf::new(), IntBuf::new());
    db.also(&[
        b"XCLAIM",
        key,
        name,
        &consumer,
        b"0",
        id.text(&mut text),
        b"TIME",
        time.i64(entry.delivered),
        b"RETRYCOUNT",
        count.u64(entry.count),
        b"FORCE",
        b"JUSTID",
        b"LASTID",
        last,
    ]);
    Ok(())
}

/// Logs how far a group has come.
pub(super) fn log_position(db: &mut Keyspace<'_>, key: &[u8], name: &[u8]) -> Outcome {
    let group = db
        .stream_mut(key)?
        .and_then(|stream| stream.groups.get(name));
    let Some((last, read)) = group.map(|group| (group.last_id, group.entries_read)) else {
        return Ok(());
    };
    let (mut text, mut digits) = ([0; ID_TEXT], IntBuf::new());
    db.also(&[
        b"XGROUP",
        b"SETID",
        key,
        name,
        last.text(&mut text),
        b"ENTRIESREAD",
        digits.i64(read.unwrap_or(-1)),
    ]);
    Ok(())
}

/// Logs what a claim has done: the new consumer, what was claimed, and what is no longer pending
/// because it has been deleted.
fn log_claims(
    db: &mut Keyspace<'_>,
    args: &Args<'_>,
    new_consumer: bool,
    taken: &[StreamId],
    deleted: &[StreamId],
) -> Outcome {
    let (key, group) = (&args[1], &args[2]);
    db.nothing_instead();
    // A claim makes the consumer. Redis forgets one that has got nothing when it is started anew.
    if new_consumer && taken.is_empty() {
        db.also(&[b"XGROUP", b"CREATECONSUMER", key, group, &args[3]]);
    }
    for &id in taken {
        log_claim(db, key, group, id, false)?;
    }
    // Redis has claims of entries that are not there, which come to the same.
    for &id in deleted {
        db.also(&[b"XACK", key, group, id.text(&mut [0; ID_TEXT])]);
    }
    Ok(())
}

/// The options of `XCLAIM`.
#[derive(Default)]
struct Claim {
    min_idle: i64,
    /// Where the ids end.
    ids_end: usize,
    delivered: Option<i64>,
    retries: Option<i64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl Claim {
    fn read(args: &Args<'_>, now: i64) -> Outcome<Claim> {
        let mut claim = Claim {
            min_idle: int_or(args, 4, CLAIM_IDLE)?.max(0),
            ..Claim::default()
        };
        // What is no id begins the options.
        let ids = args.from(5).take_while(|text| strict_id(text).is_ok());
        claim.ids_end = 5 + ids.count();
        let mut at = claim.ids_end;
        while at < args.len() {
            let (word, more) = (&args[at], at + 1 < args.len());
            if is(word, "FORCE") {
                claim.force = true;
            } else if is(word, "JUSTID") {
                claim.just_id = true;
            } else if is(word, "IDLE") && more {
                at += 1;
                let idle = int_or(args, at, IDLE_OPTION)?;
                claim.delivered = Some(now.wrapping_sub(idle));
            } else if is(word, "TIME") && more {
                at += 1;
                claim.delivered = Some(int_or(args, at, TIME_OPTION)?);
            } else if is(word, "RETRYCOUNT") && more {
                at += 1;
                claim.retries = Some(int_or(args, at, RETRYCOUNT_OPTION)?);
            } else if is(word, "LASTID") && more {
                at += 1;
                claim.last_id = strict_id(&args[at])?;
            } else {
                let text = [b"ERR Unrecognized XCLAIM option '", c_text(word), b"'"].concat();
                return Err(Error::raw(text));
            }
            at += 1;
        }
        Ok(claim)
    }
}

/// `XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-ms]
/// [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID id]`
fn xclaim(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (key, now) = (&args[1], c.db.now);
    let missing = || no_group(key, &args[2]);
    let stream = c.db.stream_of_group(key)?.ok_or_else(missing)?;
    let Stream { log, groups } = stream;
    let group = groups.get_mut(&args[2]).ok_or_else(missing)?;
    let claim = Claim::read(args, now)?;
    let advanced = claim.last_id > group.last_id;
    let (mut taken, mut deleted) = (Vec::new(), Vec::new());
    group.last_id = group.last_id.max(claim.last_id);
    // A time that makes no sense means now, as does none.
    let delivered = claim.delivered.filter(|time| (0..=now).contains(time));
    let delivered = delivered.unwrap_or(now);
    let (consumer, new_consumer) = claimant(group, &args[3], now);
    let (array, mut written) = (c.out.begin_deferred(), 0);
    for at in 5..claim.ids_end {
        let id = strict_id(&args[at])?;
        let Some(entry) = log.get(id) else {
            if group.acknowledge(id) {
                deleted.push(id);
            }
            continue;
        };
        let count = match group.pending().get(&id) {
            Some(pending) => {
                let idle = now.wrapping_sub(pending.delivered);
                if claim.min_idle > 0 && idle < claim.min_idle {
                    continue;
                }
                pending.count
            }
            None if claim.force => 1,
            None => continue,
        };
        let count = match claim.retries {
            Some(retries @ 0..) => retries as u64,
            _ if claim.just_id => count,
            _ => count.wrapping_add(1),
        };
        group.assign(
            id,
            Pending {
                owner: consumer,
                delivered,
                count,
            },
        );
        group.consumer_mut(consumer).active = Some(now);
        match claim.just_id {
            true => reply_id(c.out, id),
            false => reply_entry(c.out, &entry),
        }
        taken.push(id);
        written += 1;
    }
    c.out.end_deferred(array, Aggregate::Array, written);
    let changed = advanced || !taken.is_empty() || !deleted.is_empty();
    claimed(&mut c.db, key, new_consumer, changed);
    if c.db.logs() {
        log_claims(&mut c.db, args, new_consumer, &taken, &deleted)?;
        if advanced && taken.is_empty() {
            log_position(&mut c.db, key, &args[2])?;
        }
    }
    Ok(())
}

/// How many entries `XAUTOCLAIM` looks at for each one that it may claim.
const ATTEMPTS: i64 = 10;

/// Reads the arguments of `XAUTOCLAIM` behind the consumer: least idle time, start, how many, and
/// whether only the ids are wanted.
fn autoclaim_options(args: &Args<'_>) -> Outcome<(i64, StreamId, i64, bool)> {
    let min_idle = int_or(args, 4, AUTOCLAIM_IDLE)?.max(0);
    let start = range_start(&args[5])?;
    let (mut count, mut just_id) = (100, false);
    let mut at = 6;
    while at < args.len() {
        if is(&args[at], "COUNT") && at + 1 < args.len() {
            // The limit of Redis, by which it gets along with the memory it sets aside.
            const MOST: i64 = i64::MAX / size_of::<StreamId>() as i64;
            at += 1;
            count = num::parse_i64(&args[at])
                .filter(|count| (1..=MOST).contains(count))
                .ok_or(COUNT_OPTION)?;
        } else if is(&args[at], "JUSTID") {
            just_id = true;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    Ok((min_idle, start, count, just_id))
}

/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]`
fn xautoclaim(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    // The look-up comes first, its errors last.
    let options = autoclaim_options(args);
    let (key, now) = (&args[1], c.db.now);
    let missing = || no_group(key, &args[2]);
    let stream = c.db.stream_of_group(key);
    let (min_idle, start, mut count, just_id) = options?;
    let Stream { log, groups } = stream?.ok_or_else(missing)?;
    let group = groups.get_mut(&args[2]).ok_or_else(missing)?;
    let (consumer, new_consumer) = claimant(group, &args[3], now);

    let (mut taken, mut deleted) = (Vec::new(), Vec::new());
    let mut attempts = count * ATTEMPTS;
    // Where the next look begins; `None` past the highest id.
    let mut next = Some(start);
    let following = |group: &ConsumerGroup, next: Option<StreamId>| {
        let mut rest = group.pending_range(next?, StreamId::MAX);
        rest.next().map(|(id, entry)| (id, *entry))
    };
    while attempts > 0
        && count > 0
        && let Some((id, entry)) = following(group, next)
    {
        attempts -= 1;
        next = id.next();
        if log.get(id).is_none() {
            group.acknowledge(id);
            deleted.push(id);
            count -= 1;
            continue;
        }
        if min_idle > 0 && now.wrapping_sub(entry.delivered) < min_idle {
            continue;
        }
        let claimed = Pending {
            owner: consumer,
            delivered: now,
            count: entry.count.wrapping_add(u64::from(!just_id)),
        };
        group.assign(id, claimed);
        group.consumer_mut(consumer).active = Some(now);
        taken.push(id);
        count -= 1;
    }
    let cursor = following(group, next).map_or(StreamId::MIN, |(id, _)| id);

    c.out.array(3);
    reply_id(c.out, cursor);
    c.out.array(taken.len());
    for &id in &taken {
        match log.get(id).filter(|_| !just_id) {
            Some(entry) => reply_entry(c.out, &entry),
            None => reply_id(c.out, id),
        }
    }
    c.out.array(deleted.len());
    deleted.iter().for_each(|&id| reply_id(c.out, id));
    let changed = !taken.is_empty() || !deleted.is_empty();
    claimed(&mut c.db, key, new_consumer, changed);
    if c.db.logs() {
        log_claims(&mut c.db, args, new_consumer, &taken, &deleted)?;
    }
    Ok(())
}
