//! The string commands: GET, SET and their kin, counters, ranges. LCS has a file of its own.
//!
//! Everything works on the string forms of a [`Value`] through [`crate::types::string`]. GET, SET,
//! INCR and the like are the hottest code of the server: one look-up where it can be, and no
//! allocation but that of the value itself.

use super::error::{Error, NOT_A_FLOAT, NOT_AN_INTEGER, Outcome, TOO_LONG};
use super::keyspace::Class;
use super::options::{Expiry, Unit, int, is, wrong_arity};
use super::spec::*;
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::server::config::id;
use crate::types::{Value, string};
use crate::util::longdouble::LongDouble;
use crate::util::num::IntBuf;

/// The rows of the string commands.
pub const COMMANDS: &[Command] = &[
    Command::new("append", 3, append)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RW.or(INSERT))])
        .docs(
            Group::String,
            "2.0.0",
            "O(1) on average",
            "Puts bytes at the end of a string, which starts empty when the key is new",
        )
        .args("key value"),
    Command::new("decr", 2, decr)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(UPDATE))])
        .docs(
            Group::String,
            "1.0.0",
            "O(1)",
            "Subtracts one from the integer in a string",
        )
        .args("key"),
    Command::new("decrby", 3, decrby)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(UPDATE))])
        .docs(
            Group::String,
            "1.0.0",
            "O(1)",
            "Subtracts a given amount from the integer in a string",
        )
        .args("key decrement:integer"),
    Command::new("get", 2, get)
        .flags(READONLY.or(FAST))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(Group::String, "1.0.0", "O(1)", "Reads a string")
        .args("key"),
    Command::new("getdel", 2, getdel)
        .flags(WRITE.or(FAST))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::String,
            "6.2.0",
            "O(1)",
            "Reads a string and deletes its key",
        )
        .args("key"),
    Command::new("getex", -2, getex)
        .flags(WRITE.or(FAST))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(UPDATE)).notes("only the expiry changes")])
        .docs(
            Group::String,
            "6.2.0",
            "O(1)",
            "Reads a string and sets or clears its expiry",
        )
        .args(
            "key [expiration:(EX seconds:integer | PX milliseconds:integer \
                | EXAT unix-time-seconds:unix-time | PXAT unix-time-milliseconds:unix-time \
                | PERSIST)]",
        ),
    Command::new("getrange", 4, getrange)
        .flags(READONLY)
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::String,
            "2.4.0",
            "O(N), N the length of the reply",
            "Reads the part of a string between two offsets",
        )
        .args("key start:integer end:integer"),
    Command::new("getset", 3, getset)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(UPDATE))])
        .docs(
            Group::String,
            "1.0.0",
            "O(1)",
            "Stores a new string and returns the one it replaced",
        )
        .args("key value")
        .deprecated("6.2.0", "`SET` with the `!GET` argument"),
    Command::new("incr", 2, incr)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(UPDATE))])
        .docs(
            Group::String,
            "1.0.0",
            "O(1)",
            "Adds one to the integer in a string",
        )
        .args("key"),
    Command::new("incrby", 3, incrby)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(UPDATE))])
        .docs(
            Group::String,
            "1.0.0",
            "O(1)",
            "Adds a given amount to the integer in a string",
        )
        .args("key increment:integer"),
    Command::new("incrbyfloat", 3, incrbyfloat)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(UPDATE))])
        .docs(
            Group::String,
            "2.6.0",
            "O(1)",
            "Adds a given amount to the floating-point number in a string",
        )
        .args("key increment:double"),
    Command::new("mget", -2, mget)
        .flags(READONLY.or(FAST))
        .acl(CAT_STRING)
        .keys(&[KeySpec::range(1, -1, 1, RO.or(ACCESS))])
        .docs(
            Group::String,
            "1.0.0",
            "O(N), N the number of keys",
            "Reads several strings at once",
        )
        .args("key...")
        .tips(&["request_policy:multi_shard"]),
    Command::new("mset", -3, mset)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_STRING)
        .keys(&[KeySpec::range(1, -1, 2, OW.or(UPDATE))])
        .docs(
            Group::String,
            "1.0.1",
            "O(N), N the number of keys",
            "Stores several strings in one atomic step",
        )
        .args("key_value:{key value}...")
        .tips(&[
            "request_policy:multi_shard",
            "response_policy:all_succeeded",
        ]),
    Command::new("msetnx", -3, msetnx)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_STRING)
        .keys(&[KeySpec::range(1, -1, 2, OW.or(INSERT))])
        .docs(
            Group::String,
            "1.0.1",
            "O(N), N the number of keys",
            "Stores several strings in one step, provided none of the keys exists",
        )
        .args("key_value:{key value}...")
        .tips(&["request_policy:multi_shard", "response_policy:agg_min"]),
    Command::new("psetex", 4, psetex)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, OW.or(UPDATE))])
        .docs(
            Group::String,
            "2.6.0",
            "O(1)",
            "Stores a string that expires after some milliseconds",
        )
        .args("key milliseconds:integer value"),
    Command::new("set", -3, set)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_STRING)
        .keys(
            &[KeySpec::one(1, RW.or(ACCESS).or(UPDATE).or(VARIABLE_FLAGS))
                .notes("read as well with GET")],
        )
        .find_keys(set_keys)
        .docs(
            Group::String,
            "1.0.0",
            "O(1)",
            "Stores a string under a key, whatever the key held before",
        )
        .args(
            "key value [condition:(NX | XX)@2.6.12] [GET@6.2.0] \
                [expiration:(EX seconds:integer@2.6.12 | PX milliseconds:integer@2.6.12 \
                | EXAT unix-time-seconds:unix-time@6.2.0 \
                | PXAT unix-time-milliseconds:unix-time@6.2.0 | KEEPTTL@6.0.0)]",
        )
        .history(&[
            ("2.6.12", "Options EX, PX, NX and XX"),
            ("6.0.0", "Option KEEPTTL"),
            ("6.2.0", "Options GET, EXAT and PXAT"),
            ("7.0.0", "NX may go with GET"),
        ]),
    Command::new("setex", 4, setex)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, OW.or(UPDATE))])
        .docs(
            Group::String,
            "2.0.0",
            "O(1)",
            "Stores a string that expires after some seconds",
        )
        .args("key seconds:integer value"),
    Command::new("setnx", 3, setnx)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, OW.or(INSERT))])
        .docs(
            Group::String,
            "1.0.0",
            "O(1)",
            "Stores a string, provided the key does not exist",
        )
        .args("key value"),
    Command::new("setrange", 4, setrange)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::String,
            "2.2.0",
            "O(M), M the length of the new part",
            "Overwrites a string from an offset on, padding it with zero bytes as needed",
        )
        .args("key offset:integer value"),
    Command::new("strlen", 2, strlen)
        .flags(READONLY.or(FAST))
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RO)])
        .docs(
            Group::String,
            "2.2.0",
            "O(1)",
            "Tells how many bytes a string has",
        )
        .args("key"),
    Command::new("substr", 4, getrange)
        .flags(READONLY)
        .acl(CAT_STRING)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::String,
            "1.0.0",
            "O(N), N the length of the reply",
            "Older name of GETRANGE",
        )
        .args("key start:integer end:integer")
        .deprecated("2.0.0", "`GETRANGE`"),
];

const OVERFLOW: Error = Error::new("ERR increment or decrement would overflow");
const DECREMENT_OVERFLOW: Error = Error::new("ERR decrement would overflow");
const NOT_FINITE: Error = Error::new("ERR increment would produce NaN or Infinity");
const OFFSET: Error = Error::new("ERR offset is out of range");

// ---------------------------------------------------------------- reading

/// Writes a string value as a bulk string.
#[inline]
pub(super) fn bulk(out: &mut Reply, value: &Value) {
    match value {
        Value::Int(int) => out.bulk_int(*int),
        other => {
            let mut scratch = [0; 20];
            // Handlers look the type up before they come here, so there are bytes.
            out.bulk(string::bytes(other, &mut scratch).unwrap_or_default());
        }
    }
}

/// Replies with the string that a key holds, or null; the reply of GET.
fn reply_with(c: &mut Ctx<'_>, key: &[u8]) -> Outcome<bool> {
    match c.db.string(key)? {
        Some(value) => {
            bulk(c.out, value);
            Ok(true)
        }
        None => {
            c.out.null();
            Ok(false)
        }
    }
}

fn get(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    reply_with(c, &args[1]).map(|_| ())
}

fn mget(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    c.out.array(args.len() - 1);
    for key in args.from(1) {
        // A key of another type reads as one that is not there.
        match c.db.string(key) {
            Ok(Some(value)) => bulk(c.out, value),
            Ok(None) | Err(_) => c.out.null(),
        }
    }
    Ok(())
}

fn strlen(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let len = c.db.string(&args[1])?.and_then(string::len);
    c.out.count(len.unwrap_or(0));
    Ok(())
}

/// GETRANGE and SUBSTR.
fn getrange(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (start, end) = (int(args, 2)?, int(args, 3)?);
    let mut scratch = [0; 20];
    let value = c.db.string(&args[1])?;
    let bytes = value
        .and_then(|value| string::bytes(value, &mut scratch))
        .unwrap_or_default();
    c.out.bulk(part(bytes, start, end));
    Ok(())
}

/// The bytes between two offsets, both included; negative ones count from the end.
fn part(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let len = bytes.len() as i64;
    let from_front = |offset: i64| {
        if offset < 0 {
            (len + offset).max(0)
        } else {
            offset
        }
    };
    let (start, end) = (from_front(start), from_front(end).min(len - 1));
    if start > end {
        return b"";
    }
    &bytes[start as usize..=end as usize]
}

// ---------------------------------------------------------------- storing

/// When a string is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Condition {
    #[default]
    Always,
    /// NX: only if the key does not exist.
    IfMissing,
    /// XX: only if it does.
    IfExists,
}

/// How SET and its variants store a string.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Storing {
    condition: Condition,
    /// Reply with the old string.
    get: bool,
    expiry: Expiry,
}

impl Storing {
    /// The options of SET, from the fourth argument on.
    fn read(args: &Args<'_>) -> Outcome<Storing> {
        let mut how = Storing::default();
        let mut at = 3;
        while at < args.len() {
            let arg = &args[at];
            if is(arg, "NX") && how.condition != Condition::IfExists {
                how.condition = Condition::IfMissing;
            } else if is(arg, "XX") && how.condition != Condition::IfMissing {
                how.condition = Condition::IfExists;
            } else if is(arg, "GET") {
                how.get = true;
            } else if is(arg, "KEEPTTL") {
                how.expiry.note(Expiry::KeepTtl)?;
            } else {
                at = how.expiry.read(args, at)?.ok_or(super::error::SYNTAX)?;
                continue;
            }
            at += 1;
        }
        Ok(how)
    }

    /// Logs what has been stored: with the time at which it expires rather than how long it lives,
    /// and without what only the reply is about.
    fn log(self, c: &mut Ctx<'_>, args: &Args<'_>, at: usize, deadline: Option<i64>) {
        let (key, value) = (&args[1], &args[at]);
        match deadline {
            Some(deadline) => {
                let mut digits = IntBuf::new();
                c.db.instead(&[b"SET", key, value, b"PXAT", digits.i64(deadline)]);
            }
            None if self.get && args.len() == 3 => c.db.instead(&[b"SET", key, value]),
            None if self.get => {
                let without: Vec<_> = gets(args).map(|at| (at, None)).collect();
                c.db.instead_with(args, &without);
            }
            None => {}
        }
    }

    /// Stores the argument at `at`. Writes no reply but that of GET; returns whether it was stored.
    fn store(self, c: &mut Ctx<'_>, args: &mut Args<'_>, at: usize) -> Outcome<bool> {
        let deadline = self.expiry.deadline(args, c.db.now, &c.row.name)?;
        if self.get {
            reply_with(c, &args[1])?;
        }
        let refused = match self.condition {
            Condition::Always => false,
            Condition::IfMissing => c.db.exists(&args[1]),
            Condition::IfExists => !c.db.exists(&args[1]),
        };
        if refused {
            return Ok(false);
        }
        let value = value_of(args, at);
        let key = &args[1];
        // An old deadline that is about to be replaced need not be removed first.
        c.db.set(key, value, self.expiry != Expiry::Unsaid);
        c.db.changed(Class::String, "set", key);
        if deadline.is_some() {
            c.db.set_deadline(key, deadline);
            c.db.announce(Class::Generic, "expire", key);
        }
        if c.db.logs() {
            self.log(c, args, at, deadline);
        }
        Ok(true)
    }
}

/// Where SET's arguments say GET.
fn gets(args: &Args<'_>) -> impl Iterator<Item = usize> {
    (3..args.len()).filter(|&at| is(&args[at], "GET"))
}

/// The value an argument becomes; a large one is moved rather than copied.
#[inline]
fn value_of(args: &mut Args<'_>, at: usize) -> Value {
    match args.take(at) {
        Some(bytes) => Value::string_from(bytes),
        None => Value::string(&args[at]),
    }
}

fn set(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let how = Storing::read(args)?;
    let stored = how.store(c, args, 2)?;
    match (how.get, stored) {
        (true, _) => {}
        (false, true) => c.out.ok(),
        (false, false) => c.out.null(),
    }
    Ok(())
}

/// The keys of SET: whether it reads its key depends on GET.
fn set_keys(args: &Args<'_>) -> Option<Vec<(usize, KeyFlags)>> {
    args.get(1)?;
    let get = args.from(3).any(|arg| is(arg, "GET"));
    Some(vec![(
        1,
        if get {
            RW.or(ACCESS).or(UPDATE)
        } else {
            OW.or(UPDATE)
        },
    )])
}

fn setnx(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let how = Storing {
        condition: Condition::IfMissing,
        ..Storing::default()
    };
    let stored = how.store(c, args, 2)?;
    c.out.int(i64::from(stored));
    Ok(())
}

fn setex(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    store_until(c, args, Unit::Ex)
}

fn psetex(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    store_until(c, args, Unit::Px)
}

fn store_until(c: &mut Ctx<'_>, args: &mut Args<'_>, unit: Unit) -> Outcome {
    let how = Storing {
        expiry: Expiry::At(unit, 2),
        ..Storing::default()
    };
    how.store(c, args, 3)?;
    c.out.ok();
    Ok(())
}

fn getset(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let how = Storing {
        get: true,
        ..Storing::default()
    };
    how.store(c, args, 2).map(|_| ())
}

fn mset(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    store_pairs(c, args, false)?;
    c.out.ok();
    Ok(())
}

fn msetnx(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let stored = store_pairs(c, args, true)?;
    c.out.int(i64::from(stored));
    Ok(())
}

/// Stores all pairs, or, if any key exists and `all_new`, none. Returns whether they were stored.
fn store_pairs(c: &mut Ctx<'_>, args: &mut Args<'_>, all_new: bool) -> Outcome<bool> {
    if args.len().is_multiple_of(2) {
        return Err(wrong_arity(&c.row.name));
    }
    if all_new && args.from(1).step_by(2).any(|key| c.db.exists(key)) {
        return Ok(false);
    }
    for at in (1..args.len()).step_by(2) {
        let value = value_of(args, at + 1);
        c.db.set(&args[at], value, false);
        c.db.changed(Class::String, "set", &args[at]);
    }
    Ok(true)
}

// ---------------------------------------------------------------- reading and more

fn getdel(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let key = &args[1];
    if reply_with(c, key)? {
        let lazy = c.server.config.bool(id::LAZYFREE_LAZY_USER_DEL);
        c.db.delete(key, lazy);
        c.db.changed(Class::Generic, "del", key);
        c.db.deletion_instead(key, lazy);
    }
    Ok(())
}

fn getex(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let expiry = getex_expiry(args)?;
    let key = &args[1];
    if !reply_with(c, key)? {
        return Ok(());
    }
    // An error from here on replaces the reply.
    let deadline = expiry.deadline(args, c.db.now, &c.row.name)?;
    match deadline {
        Some(due) if due <= c.db.past() => {
            let lazy = c.server.config.bool(id::LAZYFREE_LAZY_EXPIRE);
            c.db.delete(key, lazy);
            c.db.changed(Class::Generic, "del", key);
            c.db.deletion_instead(key, lazy);
        }
        Some(due) => {
            c.db.set_deadline(key, deadline);
            c.db.changed(Class::Generic, "expire", key);
            c.db.deadline_instead(key, due);
        }
        None if expiry == Expiry::Persist && c.db.deadline(key).is_some() => {
            c.db.set_deadline(key, None);
            c.db.changed(Class::Generic, "persist", key);
            c.db.instead(&[b"PERSIST", key]);
        }
        None => {}
    }
    Ok(())
}

/// The options of GETEX, from the third argument on.
fn getex_expiry(args: &Args<'_>) -> Outcome<Expiry> {
    let mut expiry = Expiry::default();
    let mut at = 2;
    while at < args.len() {
        if is(&args[at], "PERSIST") {
            expiry.note(Expiry::Persist)?;
            at += 1;
        } else {
            at = expiry.read(args, at)?.ok_or(super::error::SYNTAX)?;
        }
    }
    Ok(expiry)
}

// ---------------------------------------------------------------- counters

fn incr(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    add(c, &args[1], 1)
}

fn decr(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    add(c, &args[1], -1)
}

fn incrby(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let amount = int(args, 2)?;
    add(c, &args[1], amount)
}

fn decrby(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let amount = int(args, 2)?.checked_neg().ok_or(DECREMENT_OVERFLOW)?;
    add(c, &args[1], amount)
}

/// Adds to the integer in a string, 0 for a new key, and replies with the sum.
fn add(c: &mut Ctx<'_>, key: &[u8], amount: i64) -> Outcome {
    let sum = match c.db.string_mut(key)? {
        Some(value) => {
            let old = string::integer(value).ok_or(NOT_AN_INTEGER)?;
            let sum = old.checked_add(amount).ok_or(OVERFLOW)?;
            *value = Value::Int(sum);
            sum
        }
        None => {
            c.db.add(key, Value::Int(amount));
            amount
        }
    };
    c.db.changed(Class::String, "incrby", key);
    c.out.int(sum);
    Ok(())
}

fn incrbyfloat(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let key = &args[1];
    let amount = LongDouble::parse(&args[2]);
    let found = c.db.string_mut(key)?;
    let old = match &found {
        Some(Value::Int(int)) => LongDouble::from(*int),
        Some(value) => {
            let mut scratch = [0; 20];
            let text = string::bytes(value, &mut scratch).unwrap_or_default();
            LongDouble::parse(text).ok_or(NOT_A_FLOAT)?
        }
        None => LongDouble::ZERO,
    };
    let sum = old.add(amount.ok_or(NOT_A_FLOAT)?);
    if sum.is_nan() || sum.is_infinite() {
        return Err(NOT_FINITE);
    }
    let text = sum.to_human_string();
    // Never stored as an integer, even when it looks like one: so does Redis.
    let new = Value::plain(text.as_bytes());
    match found {
        Some(value) => *value = new,
        None => c.db.add(key, new),
    }
    c.db.changed(Class::String, "incrbyfloat", key);
    // Without the sum, which may be another elsewhere.
    c.db.instead(&[b"SET", key, text.as_bytes(), b"KEEPTTL"]);
    c.out.bulk(text.as_bytes());
    Ok(())
}

// ---------------------------------------------------------------- changing in place

/// The length of a string with `len` bytes behind `start`, if it is at most `most`.
fn grown(start: usize, len: usize, most: u64) -> Outcome<usize> {
    start
        .checked_add(len)
        .filter(|&total| total as u64 <= most)
        .ok_or(TOO_LONG)
}

fn append(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let most = c.server.config.memory(id::PROTO_MAX_BULK_LEN);
    let added = args[2].len();
    let total = match c.db.string_mut(&args[1])? {
        Some(value) => {
            let total = grown(string::len(value).unwrap_or(0), added, most)?;
            if let Some(buffer) = string::make_raw(value, total) {
                buffer.extend_from_slice(&args[2]);
            }
            total
        }
        None => {
            let value = value_of(args, 2);
            c.db.add(&args[1], value);
            added
        }
    };
    c.db.changed(Class::String, "append", &args[1]);
    c.out.count(total);
    Ok(())
}

fn setrange(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let offset = usize::try_from(int(args, 2)?).map_err(|_| OFFSET)?;
    let most = c.server.config.memory(id::PROTO_MAX_BULK_LEN);
    let (key, new) = (&args[1], &args[3]);
    let found = c.db.string_mut(key)?;
    if new.is_empty() {
        let len = found.and_then(|value| string::len(value));
        c.out.count(len.unwrap_or(0));
        return Ok(());
    }
    let end = grown(offset, new.len(), most)?;
    let len = match found {
        Some(value) => overwrite(value, offset, new),
        None => {
            let mut buffer = vec![0; end];
            buffer[offset..].copy_from_slice(new);
            c.db.add(key, Value::Raw(Box::new(buffer)));
            end
        }
    };
    c.db.changed(Class::String, "setrange", key);
    c.out.count(len);
    Ok(())
}

/// Puts bytes into a string at an offset, with zeros before them as needed; returns its length.
fn overwrite(value: &mut Value, offset: usize, new: &[u8]) -> usize {
    let end = offset + new.len();
    let Some(buffer) = string::make_raw(value, end) else {
        return 0;
    };
    if buffer.len() < end {
        buffer.resize(end, 0);
    }
    buffer[offset..end].copy_from_slice(new);
    buffer.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::error::SYNTAX;
    use crate::resp::OwnedArgs;

    #[test]
    fn parts_of_strings() {
        for (start, end, expected) in [
            (0, 2, "abc"),
            (-3, -1, "efg"),
            (0, -1, "abcdefg"),
            (5, 100, "fg"),
            (-100, 0, "a"),
            (-100, -99, "a"),
            (-1, -2, ""),
            (3, 2, ""),
            (7, 9, ""),
            (i64::MIN, i64::MAX, "abcdefg"),
            (i64::MAX, i64::MIN, ""),
        ] {
            assert_eq!(
                part(b"abcdefg", start, end),
                expected.as_bytes(),
                "{start} {end}"
            );
        }
        assert_eq!(part(b"", 0, -1), b"");
        assert_eq!(part(b"", -1, 0), b"");
    }

    #[test]
    fn overwriting_pads_and_keeps_the_rest() {
        let mut value = Value::string(b"12345");
        assert_eq!(overwrite(&mut value, 1, b"ab"), 5);
        assert_eq!(overwrite(&mut value, 7, b"z"), 8);
        assert_eq!(
            string::bytes(&value, &mut [0; 20]),
            Some(&b"1ab45\0\0z"[..])
        );
        assert_eq!(value.encoding(), "raw");
        assert_eq!(grown(usize::MAX, 1, u64::MAX), Err(TOO_LONG));
        assert_eq!((grown(3, 2, 5), grown(3, 2, 4)), (Ok(5), Err(TOO_LONG)));
    }

    fn options(words: &str) -> Outcome<Storing> {
        let mut owned = OwnedArgs::new(format!("SET k v {words}").split_whitespace());
        Storing::read(&owned.args())
    }

    #[test]
    fn options_of_set() {
        assert_eq!(options(""), Ok(Storing::default()));
        let all = Storing {
            condition: Condition::IfMissing,
            get: true,
            expiry: Expiry::At(Unit::Px, 6),
        };
        assert_eq!(options("nx get px 5"), Ok(all));
        assert_eq!(options("NX GET PX 5 GET nx"), Ok(all));
        assert_eq!(
            options("XX KEEPTTL").map(|how| how.condition),
            Ok(Condition::IfExists)
        );
        for wrong in [
            "NX XX",
            "EX",
            "EX 1 PX 1",
            "KEEPTTL EX 1",
            "EX 1 KEEPTTL",
            "PERSIST",
            "foo",
            "EX 1 2",
        ] {
            assert_eq!(options(wrong), Err(SYNTAX), "{wrong}");
        }
    }

    #[test]
    fn options_of_getex() {
        let read = |words: &str| getex_expiry(&OwnedArgs::new(words.split_whitespace()).args());
        assert_eq!(read("GETEX k"), Ok(Expiry::Unsaid));
        assert_eq!(read("GETEX k persist"), Ok(Expiry::Persist));
        assert_eq!(read("GETEX k EXAT 5"), Ok(Expiry::At(Unit::ExAt, 3)));
        for wrong in ["PERSIST EX 1", "EX 1 PERSIST", "KEEPTTL", "NX", "GET", "PX"] {
            assert_eq!(read(&format!("GETEX k {wrong}")), Err(SYNTAX), "{wrong}");
        }
    }
}
