//! The hash commands, but for those on the expiry of fields, which have a file of their own.
//!
//! A field whose deadline has passed stays in its [`Hash`] until a command that writes or the
//! sweeper removes it. Readers hold a shared lock and cannot; they pass over such fields, with
//! [`value`], [`live`] and [`live_len`]. All of that costs a hash without deadlines one comparison.

use std::collections::HashSet;

use super::error::{Error, NOT_A_FLOAT, Outcome};
use super::keyspace::Class;
use super::options::{draws, int, wrong_arity};
use super::replies::{
    Endless, begin_pair, begin_pairs, item as bulk, item_or_null as bulk_or_null,
};
use super::scan::{self, ScanOptions, Scanned};
use super::spec::*;
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::server::Server;
use crate::server::config::id;
use crate::types::Value;
use crate::types::hash::{Hash, Limits};
use crate::types::listpack::Item;
use crate::util::longdouble::LongDouble;
use crate::util::num;
use crate::util::num::IntBuf;
use crate::util::random::{Rng, with_thread_rng};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("hdel", -3, hdel)
        .flags(WRITE.or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RW.or(DELETE))])
        .docs(
            Group::Hash,
            "2.0.0",
            "O(N), N the number of fields given",
            "Removes fields from a hash, and the key with the last of them",
        )
        .args("key field...")
        .history(&[("2.4.0", "Several fields at once")]),
    Command::new("hexists", 3, hexists)
        .flags(READONLY.or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO)])
        .docs(
            Group::Hash,
            "2.0.0",
            "O(1)",
            "Tells whether a hash has a field",
        )
        .args("key field"),
    Command::new("hget", 3, hget)
        .flags(READONLY.or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(Group::Hash, "2.0.0", "O(1)", "Reads the value of a field")
        .args("key field"),
    Command::new("hgetall", 2, hgetall)
        .flags(READONLY)
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Hash,
            "2.0.0",
            "O(N), N the number of fields",
            "Lists every field of a hash with its value",
        )
        .args("key")
        .tips(&["nondeterministic_output_order"]),
    Command::new("hincrby", 4, hincrby)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(UPDATE))])
        .docs(
            Group::Hash,
            "2.0.0",
            "O(1)",
            "Adds a given amount to the integer in a field, which starts at 0",
        )
        .args("key field increment:integer"),
    Command::new("hincrbyfloat", 4, hincrbyfloat)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(UPDATE))])
        .docs(
            Group::Hash,
            "2.6.0",
            "O(1)",
            "Adds a given amount to the floating-point number in a field, which starts at 0",
        )
        .args("key field increment:double"),
    Command::new("hkeys", 2, hkeys)
        .flags(READONLY)
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Hash,
            "2.0.0",
            "O(N), N the number of fields",
            "Lists the fields of a hash",
        )
        .args("key")
        .tips(&["nondeterministic_output_order"]),
    Command::new("hlen", 2, hlen)
        .flags(READONLY.or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO)])
        .docs(
            Group::Hash,
            "2.0.0",
            "O(1)",
            "Tells how many fields a hash has",
        )
        .args("key"),
    Command::new("hmget", -3, hmget)
        .flags(READONLY.or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Hash,
            "2.0.0",
            "O(N), N the number of fields given",
            "Reads the values of several fields at once",
        )
        .args("key field..."),
    Command::new("hmset", -4, hmset)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Hash,
            "2.0.0",
            "O(N), N the number of fields given",
            "Sets several fields of a hash",
        )
        .args("key field_value:{field value}...")
        .deprecated("4.0.0", "`HSET` with multiple field-value pairs"),
    Command::new("hrandfield", -2, hrandfield)
        .flags(READONLY)
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Hash,
            "6.2.0",
            "O(N), N the number of fields returned",
            "Draws one or more fields of a hash at random",
        )
        .args("key [options:{count:integer [WITHVALUES]}]")
        .tips(&["nondeterministic_output"]),
    Command::new("hscan", -3, hscan)
        .flags(READONLY)
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Hash,
            "2.8.0",
            "O(1) a call, O(N) for all N fields",
            "Walks through the fields of a hash bit by bit",
        )
        .args("key cursor:integer [MATCH pattern] [COUNT count:integer] [NOVALUES@7.4.0]")
        .history(&[("7.4.0", "Option NOVALUES")])
        .tips(&["nondeterministic_output"]),
    Command::new("hset", -4, hset)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Hash,
            "2.0.0",
            "O(N), N the number of fields given",
            "Sets fields of a hash, which is made when the key is new",
        )
        .args("key field_value:{field value}...")
        .history(&[("4.0.0", "Several fields at once")]),
    Command::new("hsetnx", 4, hsetnx)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RW.or(INSERT))])
        .docs(
            Group::Hash,
            "2.0.0",
            "O(1)",
            "Sets a field, provided the hash does not have it",
        )
        .args("key field value"),
    Command::new("hstrlen", 3, hstrlen)
        .flags(READONLY.or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO)])
        .docs(
            Group::Hash,
            "3.2.0",
            "O(1)",
            "Tells how many bytes the value of a field has",
        )
        .args("key field"),
    Command::new("hvals", 2, hvals)
        .flags(READONLY)
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Hash,
            "2.0.0",
            "O(N), N the number of fields",
            "Lists the values of a hash",
        )
        .args("key")
        .tips(&["nondeterministic_output_order"]),
];

const NOT_AN_INTEGER: Error = Error::new("ERR hash value is not an integer");
const VALUE_NOT_A_FLOAT: Error = Error::new("ERR hash value is not a float");
const OVERFLOW: Error = Error::new("ERR increment or decrement would overflow");
const INFINITE: Error = Error::new("ERR value is NaN or Infinity");
const NOT_FINITE: Error = Error::new("ERR increment would produce NaN or Infinity");

// ---------------------------------------------------------------- live fields

/// The value of a field, unless its deadline has passed.
#[inline]
pub(super) fn value<'a>(hash: &'a Hash, field: &[u8], now: i64) -> Option<Item<'a>> {
    if hash.has_due(now) && !hash.is_live(field, now) {
        return None;
    }
    hash.get(field)
}

/// The fields whose deadline has not passed, with their values.
pub(super) fn live(hash: &Hash, now: i64) -> impl Iterator<Item = (Item<'_>, Item<'_>)> {
    let due = hash.has_due(now);
    hash.iter()
        .filter(move |(field, _)| !due || hash.is_live(field.bytes(&mut [0; 20]), now))
}

/// Number of fields whose deadline has not passed.
#[inline]
pub(super) fn live_len(hash: &Hash, now: i64) -> usize {
    let due = if hash.has_due(now) { hash.due(now) } else { 0 };
    hash.len() - due
}

// ---------------------------------------------------------------- reading

/// `HGET key field`
fn hget(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let now = c.db.now;
    let found = c.db.fields(&args[1])?;
    bulk_or_null(c.out, found.and_then(|hash| value(hash, &args[2], now)));
    Ok(())
}

/// `HMGET key field [field ...]`
fn hmget(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let now = c.db.now;
    let found = c.db.fields(&args[1])?;
    c.out.array(args.len() - 2);
    for field in args.from(2) {
        bulk_or_null(c.out, found.and_then(|hash| value(hash, field, now)));
    }
    Ok(())
}

/// `HSTRLEN key field`
fn hstrlen(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let now = c.db.now;
    let found = c.db.fields(&args[1])?;
    let item = found.and_then(|hash| value(hash, &args[2], now));
    c.out.count(item.map_or(0, Item::text_len));
    Ok(())
}

/// `HEXISTS key field`
fn hexists(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let now = c.db.now;
    let found = c.db.fields(&args[1])?;
    let exists = found.is_some_and(|hash| value(hash, &args[2], now).is_some());
    c.out.int(exists.into());
    Ok(())
}

/// `HLEN key`
fn hlen(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let now = c.db.now;
    let found = c.db.fields(&args[1])?;
    c.out.count(found.map_or(0, |hash| live_len(hash, now)));
    Ok(())
}

/// `HGETALL key`
fn hgetall(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let now = c.db.now;
    let Some(hash) = c.db.fields(&args[1])? else {
        c.out.map(0);
        return Ok(());
    };
    if c.pace.too_slow(hash.len()) {
        return Ok(());
    }
    c.out.map(live_len(hash, now));
    for (field, value) in live(hash, now) {
        bulk(c.out, field);
        bulk(c.out, value);
    }
    Ok(())
}

/// `HKEYS key`
fn hkeys(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    halves(c, &args[1], |(field, _)| field)
}

/// `HVALS key`
fn hvals(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    halves(c, &args[1], |(_, value)| value)
}

/// Replies with one half of each pair.
fn halves(
    c: &mut Ctx<'_>,
    key: &[u8],
    half: for<'a> fn((Item<'a>, Item<'a>)) -> Item<'a>,
) -> Outcome {
    let now = c.db.now;
    let Some(hash) = c.db.fields(key)? else {
        c.out.array(0);
        return Ok(());
    };
    if c.pace.too_slow(hash.len()) {
        return Ok(());
    }
    c.out.array(live_len(hash, now));
    live(hash, now).for_each(|pair| bulk(c.out, half(pair)));
    Ok(())
}

/// `HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]`
fn hscan(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let cursor = scan::cursor(args, 2)?;
    let now = c.db.now;
    // What stands behind the cursor is not even read when there is nothing to scan.
    let Some(hash) = c.db.fields(&args[1])? else {
        scan::reply(c.out, 0, 0, &Reply::new());
        return Ok(());
    };
    let options = ScanOptions::read(args, 3, Scanned::Hash)?;
    let due = hash.has_due(now);
    let (mut found, mut batch) = (0, Reply::new());
    let next = hash.scan(cursor, options.count, |field, value| {
        let mut scratch = [0; 20];
        let name = field.bytes(&mut scratch);
        if !options.pattern.fits(name) || (due && !hash.is_live(name, now)) {
            return;
        }
        batch.bulk(name);
        found += 1;
        if !options.no_values {
            bulk(&mut batch, value);
            found += 1;
        }
    });
    scan::reply(c.out, next, found, &batch);
    Ok(())
}

// ---------------------------------------------------------------- random fields

/// `HRANDFIELD key [count [WITHVALUES]]`
fn hrandfield(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let Some((count, with_values)) = draws(args, "WITHVALUES")? else {
        return random_field(c, &args[1]);
    };
    let now = c.db.now;
    let Some(hash) = c.db.fields(&args[1])?.filter(|_| count != 0) else {
        c.out.array(0);
        return Ok(());
    };
    if c.pace
        .too_slow(usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX))
    {
        return Ok(());
    }
    let pool = Pool::of(hash, now, count.unsigned_abs() > 1);
    let mut endless = Endless::new(c.server, &c.session.client, c.out, count.unsigned_abs());
    let drawn = Drawn {
        out: c.out,
        with_values,
    };
    with_thread_rng(|rng| match usize::try_from(count) {
        Ok(count) => draw_distinct(drawn, &pool, count, rng),
        Err(_) => draw_any(drawn, &pool, count.unsigned_abs(), rng, |out| {
            endless.goes_on(out)
        }),
    });
    Ok(())
}

/// HRANDFIELD without a count.
fn random_field(c: &mut Ctx<'_>, key: &[u8]) -> Outcome {
    let now = c.db.now;
    let pool = c.db.fields(key)?.map(|hash| Pool::of(hash, now, false));
    let drawn = pool
        .filter(|pool| pool.len() > 0)
        .map(|pool| pool.nth(with_thread_rng(|rng| rng.index(pool.len()))).0);
    bulk_or_null(c.out, drawn);
    Ok(())
}

/// The fields that are drawn from.
enum Pool<'a> {
    /// All of a hash.
    All(&'a Hash),
    /// A list of pairs: where some fields are due, or where a packed hash would be walked through
    /// again and again.
    Listed(Vec<(Item<'a>, Item<'a>)>),
}

impl<'a> Pool<'a> {
    /// The live fields of a hash, of which one or `several` are to be drawn.
    fn of(hash: &'a Hash, now: i64, several: bool) -> Pool<'a> {
        if hash.has_due(now) || (several && hash.listpack().is_some()) {
            Pool::Listed(live(hash, now).collect())
        } else {
            Pool::All(hash)
        }
    }

    fn len(&self) -> usize {
        match self {
            Pool::All(hash) => hash.len(),
            Pool::Listed(pairs) => pairs.len(),
        }
    }

    /// The pair with this number below [`Pool::len`].
    fn nth(&self, number: usize) -> (Item<'a>, Item<'a>) {
        match self {
            // There is one for each number; nothing would stand for the empty string.
            Pool::All(hash) => hash
                .nth(number)
                .unwrap_or((Item::Bytes(b""), Item::Bytes(b""))),
            Pool::Listed(pairs) => pairs[number],
        }
    }
}

/// Where drawn fields go.
struct Drawn<'a> {
    out: &'a mut Reply,
    with_values: bool,
}

impl Drawn<'_> {
    /// Announces so many fields: pairs are flat in RESP2 and nested in RESP3.
    fn begin(&mut self, fields: usize) {
        begin_pairs(self.out, fields, self.with_values);
    }

    fn pair(&mut self, (field, value): (Item<'_>, Item<'_>)) {
        begin_pair(self.out, self.with_values);
        bulk(self.out, field);
        if self.with_values {
            bulk(self.out, value);
        }
    }
}

/// Draws so many fields, any of them any number of times, or as many as `goes_on` lets it.
fn draw_any(
    mut drawn: Drawn<'_>,
    pool: &Pool<'_>,
    count: u64,
    rng: &mut Rng,
    mut goes_on: impl FnMut(&mut Reply) -> bool,
) {
    // Only when every field is due, and then the hash is as good as gone.
    if pool.len() == 0 {
        drawn.begin(0);
        return;
    }
    // The counts that are allowed fit.
    drawn.begin(count as usize);
    for _ in 0..count {
        drawn.pair(pool.nth(rng.index(pool.len())));
        if !goes_on(drawn.out) {
            break;
        }
    }
}

/// Draws so many different fields, or all when there are no more.
fn draw_distinct(mut drawn: Drawn<'_>, pool: &Pool<'_>, count: usize, rng: &mut Rng) {
    let len = pool.len();
    drawn.begin(count.min(len));
    if count >= len {
        (0..len).for_each(|number| drawn.pair(pool.nth(number)));
        return;
    }
    // Floyd's method: each round draws from one number more than the round before, and takes that
    // number itself where it has drawn one that is taken.
    let mut taken = HashSet::with_capacity(count);
    for last in len - count..len {
        let number = rng.index(last + 1);
        let number = if taken.insert(number) {
            number
        } else {
            taken.insert(last);
            last
        };
        drawn.pair(pool.nth(number));
    }
}

// ---------------------------------------------------------------- writing

/// Up to where hashes are packed.
pub(super) fn limits(server: &Server) -> Limits {
    Limits {
        entries: server.config.int(id::HASH_MAX_LISTPACK_ENTRIES) as usize,
        value: server.config.memory(id::HASH_MAX_LISTPACK_VALUE) as usize,
    }
}

/// `HSET key field value [field value ...]`
fn hset(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let new = set_pairs(c, args)?;
    c.out.count(new);
    Ok(())
}

/// `HMSET key field value [field value ...]`
fn hmset(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    set_pairs(c, args)?;
    c.out.ok();
    Ok(())
}

/// Sets the pairs from argument 2 on; how many fields are new.
fn set_pairs(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome<usize> {
    if !args.len().is_multiple_of(2) {
        return Err(wrong_arity(&c.row.name));
    }
    let limits = limits(c.server);
    let pairs = args.len() / 2 - 1;
    let set = |hash: &mut Hash| {
        hash.reserve(pairs, limits);
        (2..args.len())
            .step_by(2)
            .filter(|&at| hash.set(&args[at], &args[at + 1], limits))
            .count()
    };
    let key = &args[1];
    let new = match c.db.live_fields_mut(key)? {
        Some(hash) => set(hash),
        None => {
            let mut hash = Hash::new();
            let new = set(&mut hash);
            c.db.add(key, Value::Hash(hash));
            new
        }
    };
    c.db.changed_by(Class::Hash, "hset", key, pairs);
    Ok(new)
}

/// `HSETNX key field value`
fn hsetnx(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let limits = limits(c.server);
    let (key, field) = (&args[1], &args[2]);
    match c.db.live_fields_mut(key)? {
        Some(hash) if hash.contains(field) => {
            c.out.int(0);
            return Ok(());
        }
        Some(hash) => {
            hash.set(field, &args[3], limits);
        }
        None => add(c, key, field, &args[3], limits),
    }
    c.db.changed(Class::Hash, "hset", key);
    c.out.int(1);
    Ok(())
}

/// Adds a key with a hash of one field; the key does not exist.
fn add(c: &mut Ctx<'_>, key: &[u8], field: &[u8], value: &[u8], limits: Limits) {
    let mut hash = Hash::new();
    hash.set(field, value, limits);
    c.db.add(key, Value::Hash(hash));
}

/// `HDEL key field [field ...]`
fn hdel(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let key = &args[1];
    let mut deleted = 0;
    let mut empty = false;
    if let Some(hash) = c.db.live_fields_mut(key)? {
        deleted = args.from(2).filter(|field| hash.remove(field)).count();
        empty = hash.is_empty();
    }
    if deleted > 0 {
        c.db.changed_by(Class::Hash, "hdel", key, deleted);
    }
    if empty {
        c.db.delete_empty(key);
    }
    c.out.count(deleted);
    Ok(())
}

/// `HINCRBY key field increment`
fn hincrby(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let amount = int(args, 3)?;
    let limits = limits(c.server);
    let (key, field) = (&args[1], &args[2]);
    let mut digits = [0; 20];
    let sum = match c.db.live_fields_mut(key)? {
        Some(hash) => {
            let old = match hash.get(field) {
                Some(item) => item.integer().ok_or(NOT_AN_INTEGER)?,
                None => 0,
            };
            let sum = old.checked_add(amount).ok_or(OVERFLOW)?;
            hash.set_keep_deadline(field, num::fmt_i64(&mut digits, sum), limits);
            sum
        }
        None => {
            add(c, key, field, num::fmt_i64(&mut digits, amount), limits);
            amount
        }
    };
    c.db.changed(Class::Hash, "hincrby", key);
    c.out.int(sum);
    Ok(())
}

/// Logs the sum rather than the addition, which may come to another elsewhere; setting a field
/// takes its deadline away.
fn log_sum(c: &mut Ctx<'_>, key: &[u8], field: &[u8], sum: &[u8]) -> Outcome {
    c.db.instead(&[b"HSET", key, field, sum]);
    let deadline = c.db.live_fields_mut(key)?;
    if let Some(deadline) = deadline.and_then(|hash| hash.deadline(field)) {
        let mut digits = IntBuf::new();
        let deadline = digits.i64(deadline);
        c.db.also(&[b"HPEXPIREAT", key, deadline, b"FIELDS", b"1", field]);
    }
    Ok(())
}

/// `HINCRBYFLOAT key field increment`
fn hincrbyfloat(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let amount = LongDouble::parse(&args[3]).ok_or(NOT_A_FLOAT)?;
    if amount.is_nan() || amount.is_infinite() {
        return Err(INFINITE);
    }
    let limits = limits(c.server);
    let (key, field) = (&args[1], &args[2]);
    let found = c.db.live_fields_mut(key)?;
    let old = match found.as_ref().and_then(|hash| hash.get(field)) {
        Some(Item::Int(int)) => LongDouble::from(int),
        Some(Item::Bytes(text)) => LongDouble::parse(text).ok_or(VALUE_NOT_A_FLOAT)?,
        None => LongDouble::ZERO,
    };
    let sum = old.add(amount);
    if sum.is_nan() || sum.is_infinite() {
        return Err(NOT_FINITE);
    }
    let text = sum.to_human_string();
    match found {
        Some(hash) => {
            hash.set_keep_deadline(field, text.as_bytes(), limits);
        }
        None => add(c, key, field, text.as_bytes(), limits),
    }
    c.db.changed(Class::Hash, "hincrbyfloat", key);
    if c.db.logs() {
        log_sum(c, key, field, text.as_bytes())?;
    }
    c.out.bulk(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        entries: 128,
        value: 64,
    };

    /// A hash of `fields` fields, packed or not, of which every third was due at 1000.
    fn hash(fields: usize, packed: bool) -> Hash {
        let mut hash = Hash::new();
        let entries = if packed { usize::MAX } else { 0 };
        for number in 0..fields {
            let name = number.to_string();
            hash.set(name.as_bytes(), b"v", Limits { entries, ..LIMITS });
            if number % 3 == 0 {
                hash.set_deadline(name.as_bytes(), 1000);
            }
        }
        hash
    }

    #[test]
    fn due_fields_are_passed_over() {
        for packed in [true, false] {
            let hash = hash(10, packed);
            assert_eq!((live_len(&hash, 999), live_len(&hash, 1000)), (10, 6));
            assert_eq!(live(&hash, 999).count(), 10);
            assert!(live(&hash, 1000).all(|(field, _)| field.integer().unwrap() % 3 != 0));
            assert_eq!(live(&hash, 1000).count(), 6);
            assert!(value(&hash, b"3", 999).is_some() && value(&hash, b"3", 1000).is_none());
            assert!(value(&hash, b"4", 1000).is_some() && value(&hash, b"x", 1000).is_none());
        }
    }

    fn drawn(draw: impl Fn(Drawn<'_>, &mut Rng), rng: &mut Rng) -> Vec<String> {
        let mut out = Reply::new();
        draw(
            Drawn {
                out: &mut out,
                with_values: false,
            },
            rng,
        );
        let text = String::from_utf8_lossy(out.bytes()).into_owned();
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert_eq!(lines[0], format!("*{}", lines.len() / 2));
        lines
            .into_iter()
            .skip(2)
            .step_by(2)
            .map(String::from)
            .collect()
    }

    #[test]
    fn distinct_fields_are_distinct_and_all_equally_likely() {
        let mut rng = Rng::new([7, 7]);
        for packed in [true, false] {
            let hash = hash(12, packed);
            for (now, len) in [(0, 12), (1000, 8)] {
                let pool = Pool::of(&hash, now, true);
                assert_eq!(pool.len(), len);
                for count in 1..15 {
                    let names = drawn(|out, rng| draw_distinct(out, &pool, count, rng), &mut rng);
                    let different: HashSet<_> = names.iter().collect();
                    assert_eq!(
                        (names.len(), different.len()),
                        (count.min(len), count.min(len))
                    );
                }
                let mut seen = std::collections::HashMap::<_, usize>::new();
                for _ in 0..3000 {
                    for name in drawn(|out, rng| draw_distinct(out, &pool, 3, rng), &mut rng) {
                        *seen.entry(name).or_default() += 1;
                    }
                }
                let fair = 3000 * 3 / len;
                assert_eq!(seen.len(), len);
                assert!(
                    seen.values().all(|&n| n.abs_diff(fair) < fair / 5),
                    "{seen:?}"
                );
            }
        }
    }

    #[test]
    fn repeated_draws_know_only_live_fields() {
        let mut rng = Rng::new([1, 2]);
        let hash = hash(4, false);
        let pool = Pool::of(&hash, 1000, true);
        let names = drawn(
            |out, rng| draw_any(out, &pool, 100, rng, |_| true),
            &mut rng,
        );
        assert_eq!(names.len(), 100);
        assert!(names.iter().all(|name| name == "1" || name == "2"));
        let mut gone = Hash::new();
        gone.set(b"f", b"v", LIMITS);
        gone.set_deadline(b"f", 1);
        let pool = Pool::of(&gone, 1, true);
        assert!(
            drawn(
                |out, rng| draw_any(out, &pool, 100, rng, |_| true),
                &mut rng
            )
            .is_empty()
        );
        assert!(drawn(|out, rng| draw_distinct(out, &pool, 5, rng), &mut rng).is_empty());
    }
}
