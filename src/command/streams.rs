//! The stream commands that add, read and remove entries. Waiting reads are in `stream_reads.rs`,
//! consumer groups in `stream_groups.rs` and `stream_claims.rs`.
//!
//! Entries go straight from the stream's blocks into the reply.

use super::error::{Error, NO_SUCH_KEY, Outcome, SYNTAX};
use super::keyspace::Class;
use super::options::{int, is, wrong_arity};
use super::replies::item as element;
use super::spec::*;
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::resp::reply::Aggregate;
use crate::server::Server;
use crate::server::config::id;
use crate::types::Value;
use crate::types::stream::{
    Entry, ID_TEXT, Keep, Limits, Log, NewId, Refused, Stream, StreamId, Trim,
};
use crate::util::num::IntBuf;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("xadd", -5, xadd)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(1, RW.or(UPDATE)).notes("Not INSERT, as it may trim the stream too")])
        .docs(
            Group::Stream,
            "5.0.0",
            "O(1), and O(N) for N entries trimmed",
            "Adds an entry at the end of a stream",
        )
        .args(
            "key [NOMKSTREAM@6.2.0] [trim:{strategy:(MAXLEN | MINID@6.2.0) \
                [operator:(equal:\"=\" | approximately:\"~\")] threshold [LIMIT \
                count:integer@6.2.0]}] id_or_auto:(auto_id:\"*\" | id) field_value:{field \
                value}...",
        )
        .history(&[
            ("6.2.0", "The options `NOMKSTREAM`, `MINID` and `LIMIT`"),
            ("7.0.0", "Ids of the form `<ms>-*`"),
        ])
        .tips(&["nondeterministic_output"]),
    Command::new("xdel", -3, xdel)
        .flags(WRITE.or(FAST))
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(1, RW.or(DELETE))])
        .docs(
            Group::Stream,
            "5.0.0",
            "O(1) for each id",
            "Deletes the entries with these ids and tells how many there were",
        )
        .args("key id..."),
    Command::new("xlen", 2, xlen)
        .flags(READONLY.or(FAST))
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(1, RO)])
        .docs(
            Group::Stream,
            "5.0.0",
            "O(1)",
            "Tells how many entries a stream has",
        )
        .args("key"),
    Command::new("xrange", -4, xrange)
        .flags(READONLY)
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Stream,
            "5.0.0",
            "O(N), N the length of the reply",
            "Reads the entries between two ids",
        )
        .args("key start end [COUNT count:integer]")
        .history(&[EXCLUSIVE]),
    Command::new("xrevrange", -4, xrevrange)
        .flags(READONLY)
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Stream,
            "5.0.0",
            "O(N), N the length of the reply",
            "Reads the entries between two ids, the last one first",
        )
        .args("key end start [COUNT count:integer]")
        .history(&[EXCLUSIVE]),
    Command::new("xsetid", -3, xsetid)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Stream,
            "5.0.0",
            "O(1)",
            "Sets what a stream remembers besides its entries; meant for replication",
        )
        .args(
            "key last-id [ENTRIESADDED entries_added:integer@7.0.0] [MAXDELETEDID \
                max_deleted_entry_id@7.0.0]",
        )
        .history(&[(
            "7.0.0",
            "The arguments `entries_added` and `max_deleted_entry_id`",
        )]),
    Command::new("xtrim", -4, xtrim)
        .flags(WRITE)
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(1, RW.or(DELETE))])
        .docs(
            Group::Stream,
            "5.0.0",
            "O(N), N the entries removed; whole blocks go at once",
            "Removes the oldest entries of a stream",
        )
        .args(
            "key trim:{strategy:(MAXLEN | MINID@6.2.0) [operator:(equal:\"=\" | \
                approximately:\"~\")] threshold [LIMIT count:integer@6.2.0]}",
        )
        .history(&[("6.2.0", "The options `MINID` and `LIMIT`")])
        .tips(&["nondeterministic_output"]),
];

const EXCLUSIVE: (&str, &str) = ("6.2.0", "Bounds that are not part of the range themselves");

const INVALID_ID: Error = Error::new("ERR Invalid stream ID specified as stream command argument");
const INVALID_START: Error = Error::new("ERR invalid start ID for the interval");
const INVALID_END: Error = Error::new("ERR invalid end ID for the interval");
const BOTH_STRATEGIES: Error =
    Error::new("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");
const NEGATIVE_MAXLEN: Error = Error::new("ERR The MAXLEN argument must be >= 0.");
const NEGATIVE_LIMIT: Error = Error::new("ERR The LIMIT argument must be >= 0.");
const LIMIT_ALONE: Error =
    Error::new("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
const LIMIT_EXACT: Error =
    Error::new("ERR syntax error, LIMIT cannot be used without the special ~ option");
const NO_STRATEGY: Error =
    Error::new("ERR syntax error, XTRIM must be called with a trimming strategy");
const ZERO_ID: Error = Error::new("ERR The ID specified in XADD must be greater than 0-0");
const EXHAUSTED: Error =
    Error::new("ERR The stream has exhausted the last possible ID, unable to add more items");
const NOT_GREATER: Error =
    Error::new("ERR The ID specified in XADD is equal or smaller than the target stream top item");
const TOO_LARGE: Error = Error::new("ERR Elements are too large to be stored");
const NEGATIVE_ADDED: Error = Error::new("ERR entries_added must be positive");
const BELOW_GIVEN_DELETED: Error =
    Error::new("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id");
const BELOW_DELETED: Error =
    Error::new("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
const BELOW_TOP: Error =
    Error::new("ERR The ID specified in XSETID is smaller than the target stream top item");
const BELOW_LENGTH: Error = Error::new(
    "ERR The entries_added specified in XSETID is smaller than the target stream length",
);

// ---------------------------------------------------------------- shared with the other families

/// The id that an argument is; one without a sequence number has 0.
///
/// # Errors
/// It is none.
pub(super) fn strict_id(text: &[u8]) -> Outcome<StreamId> {
    StreamId::parse(text, 0).ok_or(INVALID_ID)
}

/// The id that an argument is, or that of `-` or `+`.
///
/// # Errors
/// It is none.
pub(super) fn loose_id(text: &[u8]) -> Outcome<StreamId> {
    StreamId::parse_bound(text, 0).ok_or(INVALID_ID)
}

/// The first id of the range that begins at a bound.
///
/// # Errors
/// It is no bound, or no id is behind it.
pub(super) fn range_start(text: &[u8]) -> Outcome<StreamId> {
    match text {
        [b'(', text @ ..] if !text.is_empty() => strict_id(text)?.next().ok_or(INVALID_START),
        _ => loose_id(text),
    }
}

/// The last id of the range that ends at a bound.
///
/// # Errors
/// It is no bound, or no id is before it.
pub(super) fn range_end(text: &[u8]) -> Outcome<StreamId> {
    let parsed = match text {
        [b'(', text @ ..] if !text.is_empty() => {
            let end = StreamId::parse(text, u64::MAX).ok_or(INVALID_ID)?;
            return end.prev().ok_or(INVALID_END);
        }
        _ => StreamId::parse_bound(text, u64::MAX),
    };
    parsed.ok_or(INVALID_ID)
}

/// A `COUNT`, of which a negative one means 0.
///
/// # Errors
/// It is no integer.
pub(super) fn count(args: &Args<'_>, index: usize) -> Outcome<usize> {
    Ok(int(args, index)?.max(0) as usize)
}

/// Writes an id.
#[inline]
pub(super) fn reply_id(out: &mut Reply, id: StreamId) {
    out.bulk(id.text(&mut [0; ID_TEXT]));
}

/// Writes an entry: its id, and its fields with their values.
pub(super) fn reply_entry(out: &mut Reply, entry: &Entry<'_>) {
    out.array(2);
    reply_id(out, entry.id);
    let fields = entry.fields();
    out.array(2 * fields.len());
    for (field, value) in fields {
        element(out, field);
        element(out, value);
    }
}

/// Writes an array of the entries between two ids, of at most `count` (0: all) of them.
pub(super) fn reply_range(
    out: &mut Reply,
    log: &Log,
    (start, end): (StreamId, StreamId),
    backward: bool,
    count: usize,
) {
    let array = out.begin_deferred();
    let mut written = 0;
    for entry in log.range(start, end, backward) {
        reply_entry(out, &entry);
        written += 1;
        if written == count {
            break;
        }
    }
    out.end_deferred(array, Aggregate::Array, written);
}

fn limits(server: &Server) -> Limits {
    Limits {
        bytes: server.config.memory(id::STREAM_NODE_MAX_BYTES) as usize,
        entries: server.config.int(id::STREAM_NODE_MAX_ENTRIES).max(0) as usize,
    }
}

// ---------------------------------------------------------------- adding

/// What the options of XADD and XTRIM say.
struct Options {
    trim: Option<Trim>,
    no_mkstream: bool,
    /// The id of the new entry, and behind it the fields.
    id: Option<NewId>,
    next: usize,
    /// Where the threshold of the trimming is, and the limit of its effort.
    threshold: usize,
    limit_at: Option<usize>,
}

impl Options {
    /// What a log holds may have a limit although the threshold is exact.
    fn read(args: &Args<'_>, server: &Server, adds: bool, obeys: bool) -> Outcome<Options> {
        let (mut keep, mut approximate, mut limit) = (None, false, None);
        let mut options = Options {
            trim: None,
            no_mkstream: false,
            id: None,
            next: args.len(),
            threshold: 0,
            limit_at: None,
        };
        let mut at = 2;
        while at < args.len() {
            let (word, more) = (&args[at], args.len() - 1 - at);
            let by_length = is(word, "MAXLEN");
            if adds && word == b"*" {
                options.id = Some(NewId::Auto);
                options.next = at + 1;
                break;
            } else if (by_length || is(word, "MINID")) && more > 0 {
                if keep.is_some() {
                    return Err(BOTH_STRATEGIES);
                }
                let sign = if more >= 2 { &args[at + 1] } else { b"" };
                approximate = sign == b"~";
                at += 1 + usize::from(approximate || sign == b"=");
                options.threshold = at;
                keep = Some(if by_length {
                    let length = int(args, at)?;
                    Keep::Last(usize::try_from(length).map_err(|_| NEGATIVE_MAXLEN)?)
                } else {
                    Keep::From(strict_id(&args[at])?)
                });
            } else if is(word, "LIMIT") && more > 0 {
                at += 1;
                options.limit_at = Some(at);
                let most = usize::try_from(int(args, at)?);
                limit = Some(most.map_err(|_| NEGATIVE_LIMIT)?);
            } else if adds && is(word, "NOMKSTREAM") {
                options.no_mkstream = true;
            } else if adds {
                options.id = Some(NewId::parse(word).ok_or(INVALID_ID)?);
                options.next = at + 1;
                break;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        let Some(keep) = keep else {
            return match limit {
                // As in Redis, a limit of 0 passes for none.
                Some(1..) => Err(LIMIT_ALONE),
                _ if !adds => Err(NO_STRATEGY),
                Some(0) => Err(LIMIT_EXACT),
                None => Ok(options),
            };
        };
        if limit.is_some() && !approximate && !obeys {
            return Err(LIMIT_EXACT);
        }
        let default = || match limits(server).entries.saturating_mul(100) {
            0 => 10_000,
            most => most.min(1_000_000),
        };
        options.trim = Some(Trim {
            keep,
            approximate,
            limit: match approximate {
                true => limit.unwrap_or_else(default),
                false => 0,
            },
        });
        Ok(options)
    }
}

/// Logs a command that adds or trims with what it came to: the id, and exactly how far it has
/// trimmed.
fn log(c: &mut Ctx<'_>, args: &Args<'_>, options: &Options, id: Option<StreamId>) -> Outcome {
    let (mut changes, mut digits, mut text) = (Vec::new(), IntBuf::new(), [0; ID_TEXT]);
    let mut first = [0; ID_TEXT];
    let approximate = options.trim.filter(|trim| trim.approximate);
    if let Some(trim) = approximate {
        let log = c.db.stream_mut(&args[1])?.map(|stream| &stream.log);
        let threshold = match trim.keep {
            Keep::Last(_) => digits.u64(log.map_or(0, Log::len) as u64),
            Keep::From(least) => {
                let edge = log.and_then(|log| log.edge(false));
                edge.unwrap_or(least).text(&mut first)
            }
        };
        changes.push((options.threshold - 1, Some(&b"="[..])));
        changes.push((options.threshold, Some(threshold)));
        if let Some(at) = options.limit_at {
            changes.extend([(at - 1, None), (at, None)]);
        }
    }
    if let Some(id) = id {
        changes.push((options.next - 1, Some(id.text(&mut text))));
    }
    if !changes.is_empty() {
        c.db.instead_with(args, &changes);
    }
    Ok(())
}

/// `XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value …`
fn xadd(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let options = Options::read(args, c.server, true, c.db.obeys)?;
    let first = options.next;
    let words = args.len() - first;
    let (Some(wanted), true) = (options.id, words >= 2 && words.is_multiple_of(2)) else {
        return Err(wrong_arity("xadd"));
    };
    if wanted == NewId::Exact(StreamId::MIN) {
        return Err(ZERO_ID);
    }
    let (key, now, limits) = (&args[1], c.db.now, limits(c.server));
    let add = |stream: &mut Stream| {
        let log = &mut stream.log;
        if log.last_id == StreamId::MAX {
            return Err(EXHAUSTED);
        }
        let words = (first..args.len()).map(|at| &args[at]);
        let id = log.append(wanted, words, now, limits);
        let id = id.map_err(|refused| match refused {
            Refused::NotGreater => NOT_GREATER,
            Refused::TooLarge => TOO_LARGE,
        })?;
        let trimmed = options.trim.map_or(0, |trim| log.trim(trim));
        Ok((id, trimmed))
    };
    let (id, trimmed) = match c.db.stream_mut(key)? {
        Some(stream) => {
            let added = add(stream)?;
            c.db.note_ready(key);
            added
        }
        None if options.no_mkstream => {
            c.out.null();
            return Ok(());
        }
        None => {
            let mut stream = Box::<Stream>::default();
            let added = add(&mut stream)?;
            c.db.add(key, Value::Stream(stream));
            added
        }
    };
    c.db.changed(Class::Stream, "xadd", key);
    if trimmed > 0 {
        c.db.changed(Class::Stream, "xtrim", key);
    }
    if c.db.logs() {
        let given = matches!(wanted, NewId::Exact(_));
        log(c, args, &options, (!given).then_some(id))?;
    }
    reply_id(c.out, id);
    Ok(())
}

// ---------------------------------------------------------------- reading

/// `XLEN key`
fn xlen(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let len = c.db.stream(&args[1])?.map_or(0, |stream| stream.log.len());
    c.out.count(len);
    Ok(())
}

/// `XRANGE key start end [COUNT count]`
fn xrange(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    range(c, args, false)
}

/// `XREVRANGE key end start [COUNT count]`
fn xrevrange(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    range(c, args, true)
}

fn range(c: &mut Ctx<'_>, args: &Args<'_>, backward: bool) -> Outcome {
    let (start, end) = if backward { (3, 2) } else { (2, 3) };
    let bounds = (range_start(&args[start])?, range_end(&args[end])?);
    let mut most = None;
    let mut at = 4;
    while at < args.len() {
        if !is(&args[at], "COUNT") || at + 1 == args.len() {
            return Err(SYNTAX);
        }
        most = Some(count(args, at + 1)?);
        at += 2;
    }
    match (c.db.stream(&args[1])?, most) {
        (None, _) => c.out.array(0),
        (Some(_), Some(0)) => c.out.null_array(),
        (Some(stream), most) => {
            reply_range(c.out, &stream.log, bounds, backward, most.unwrap_or(0));
        }
    }
    Ok(())
}

// ---------------------------------------------------------------- removing

/// `XDEL key id [id ...]`
fn xdel(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let key = &args[1];
    let Some(stream) = c.db.stream_mut(key)? else {
        c.out.count(0);
        return Ok(());
    };
    // All or nothing: a malformed id stops it before the first deletion.
    for id in args.from(2) {
        strict_id(id)?;
    }
    let mut deleted = 0;
    for id in args.from(2) {
        deleted += usize::from(stream.log.delete(strict_id(id)?));
    }
    if deleted > 0 {
        c.db.changed(Class::Stream, "xdel", key);
    }
    c.out.count(deleted);
    Ok(())
}

/// `XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]`
fn xtrim(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let options = Options::read(args, c.server, false, c.db.obeys)?;
    let key = &args[1];
    let trimmed = match (c.db.stream_mut(key)?, options.trim) {
        (Some(stream), Some(trim)) => stream.log.trim(trim),
        _ => 0,
    };
    if trimmed > 0 {
        c.db.changed(Class::Stream, "xtrim", key);
        if c.db.logs() {
            log(c, args, &options, None)?;
        }
    }
    c.out.count(trimmed);
    Ok(())
}

/// `XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]`
fn xsetid(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let last = strict_id(&args[2])?;
    let (mut added, mut max_deleted) = (None, StreamId::MIN);
    let mut at = 3;
    while at < args.len() {
        let more = at + 1 < args.len();
        if more && is(&args[at], "ENTRIESADDED") {
            let count = u64::try_from(int(args, at + 1)?);
            added = Some(count.map_err(|_| NEGATIVE_ADDED)?);
        } else if more && is(&args[at], "MAXDELETEDID") {
            max_deleted = strict_id(&args[at + 1])?;
            if last < max_deleted {
                return Err(BELOW_GIVEN_DELETED);
            }
        } else {
            return Err(SYNTAX);
        }
        at += 2;
    }
    let key = &args[1];
    let log = &mut c.db.stream_mut(key)?.ok_or(NO_SUCH_KEY)?.log;
    if last < log.max_deleted {
        return Err(BELOW_DELETED);
    }
    if log.edge(true).is_some_and(|top| last < top) {
        return Err(BELOW_TOP);
    }
    if added.is_some_and(|added| added < log.len() as u64) {
        return Err(BELOW_LENGTH);
    }
    log.last_id = last;
    if let Some(added) = added {
        log.entries_added = added;
    }
    if max_deleted > StreamId::MIN {
        log.max_deleted = max_deleted;
    }
    c.db.changed_unwatched(Class::Stream, "xsetid", key);
    c.out.ok();
    Ok(())
}
