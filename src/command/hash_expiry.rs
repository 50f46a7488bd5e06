//! The expiry of hash fields: HEXPIRE and its variants, HTTL and its variants, HPERSIST.
//!
//! A field with a deadline is absent for readers from then on (see `hashes.rs`) and is removed by
//! the next command that writes to the hash, or by the sweeper, which finds the key in the expiry
//! wheel. So whoever gives a hash an earlier first deadline than it had has to say so, with
//! [`Keyspace::expect_fields`](super::Keyspace::expect_fields).

use super::error::{Error, Outcome};
use super::keyspace::Class;
use super::options::{int, int_or, invalid_expire_time, is};
use super::spec::*;
use super::{Args, Ctx};
use crate::types::hash::Hash;
use crate::util::num::IntBuf;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("hexpire", -6, hexpire)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Hash,
            "7.4.0",
            "O(N), N the number of fields given",
            "Lets fields of a hash expire after some seconds",
        )
        .args(
            "key seconds:integer [condition:(NX | XX | GT | LT)] FIELDS \
                fields:{numfields:integer field...}",
        ),
    Command::new("hexpireat", -6, hexpireat)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Hash,
            "7.4.0",
            "O(N), N the number of fields given",
            "Lets fields of a hash expire at a Unix time in seconds",
        )
        .args(
            "key unix-time-seconds:unix-time [condition:(NX | XX | GT | LT)] FIELDS \
                fields:{numfields:integer field...}",
        ),
    Command::new("hexpiretime", -5, hexpiretime)
        .flags(READONLY.or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Hash,
            "7.4.0",
            "O(N), N the number of fields given",
            "Tells the Unix time, in seconds, at which fields of a hash expire",
        )
        .args("key FIELDS fields:{numfields:integer field...}"),
    Command::new("hpersist", -5, hpersist)
        .flags(WRITE.or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Hash,
            "7.4.0",
            "O(N), N the number of fields given",
            "Takes the expiry off fields of a hash",
        )
        .args("key FIELDS fields:{numfields:integer field...}"),
    Command::new("hpexpire", -6, hpexpire)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Hash,
            "7.4.0",
            "O(N), N the number of fields given",
            "Lets fields of a hash expire after some milliseconds",
        )
        .args(
            "key milliseconds:integer [condition:(NX | XX | GT | LT)] FIELDS \
                fields:{numfields:integer field...}",
        ),
    Command::new("hpexpireat", -6, hpexpireat)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Hash,
            "7.4.0",
            "O(N), N the number of fields given",
            "Lets fields of a hash expire at a Unix time in milliseconds",
        )
        .args(
            "key unix-time-milliseconds:unix-time [condition:(NX | XX | GT | LT)] \
                FIELDS fields:{numfields:integer field...}",
        ),
    Command::new("hpexpiretime", -5, hpexpiretime)
        .flags(READONLY.or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Hash,
            "7.4.0",
            "O(N), N the number of fields given",
            "Tells the Unix time, in milliseconds, at which fields of a hash expire",
        )
        .args("key FIELDS fields:{numfields:integer field...}"),
    Command::new("hpttl", -5, hpttl)
        .flags(READONLY.or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Hash,
            "7.4.0",
            "O(N), N the number of fields given",
            "Tells how many milliseconds fields of a hash have left",
        )
        .args("key FIELDS fields:{numfields:integer field...}")
        .tips(&["nondeterministic_output"]),
    Command::new("httl", -5, httl)
        .flags(READONLY.or(FAST))
        .acl(CAT_HASH)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Hash,
            "7.4.0",
            "O(N), N the number of fields given",
            "Tells how many seconds fields of a hash have left",
        )
        .args("key FIELDS fields:{numfields:integer field...}")
        .tips(&["nondeterministic_output"]),
];

/// The latest deadline that a field may have, in unix milliseconds.
const LATEST: i64 = (1 << 46) - 1;

// What the commands say about each field.
const NO_SUCH_FIELD: i64 = -2;
const NO_DEADLINE: i64 = -1;
const REFUSED: i64 = 0;
const DONE: i64 = 1;
const DELETED: i64 = 2;

const NEGATIVE: Error = Error::new("ERR invalid expire time, must be >= 0");
const NO_FIELDS: Error =
    Error::new("ERR Mandatory argument FIELDS is missing or not at the right position");
const NUMBER_TO_SET: Error = Error::new("ERR Parameter `numFields` should be greater than 0");
const NUMBER: Error = Error::new("ERR Number of fields must be a positive integer");
const MISMATCH: Error =
    Error::new("ERR The `numfields` parameter must match the number of arguments");

/// Checks `FIELDS numfields field [field ...]` from argument `at` on; where the first field is.
/// `number` is the error for a number of fields that makes no sense.
fn fields_at(args: &Args<'_>, at: usize, number: Error) -> Outcome<usize> {
    if !is(&args[at], "FIELDS") {
        return Err(NO_FIELDS);
    }
    // With an option in front, the arity does not tell that there is a number.
    let count = int_or(args, at + 1, number.clone())?;
    if count < 1 {
        return Err(number);
    }
    let first = at + 2;
    if count as u64 != (args.len() - first) as u64 {
        return Err(MISMATCH);
    }
    Ok(first)
}

// ---------------------------------------------------------------- setting

/// `HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
fn hexpire(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    set(c, args, c.db.now, 1000)
}

/// `HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
fn hpexpire(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    set(c, args, c.db.now, 1)
}

/// `HEXPIREAT key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
fn hexpireat(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    set(c, args, 0, 1000)
}

/// `HPEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]`
fn hpexpireat(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    set(c, args, 0, 1)
}

/// Under which condition a field gets a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Condition {
    Always,
    /// NX: only if it has none.
    IfNone,
    /// XX: only if it has one.
    IfAny,
    /// GT: only if it has an earlier one.
    IfLater,
    /// LT: only if it has a later one, or none.
    IfEarlier,
}

impl Condition {
    /// The condition that a word stands for.
    fn read(word: &[u8]) -> Condition {
        match word {
            word if is(word, "NX") => Condition::IfNone,
            word if is(word, "XX") => Condition::IfAny,
            word if is(word, "GT") => Condition::IfLater,
            word if is(word, "LT") => Condition::IfEarlier,
            _ => Condition::Always,
        }
    }

    /// Whether a field with this deadline may get the new one.
    fn allows(self, new: i64, current: Option<i64>) -> bool {
        match self {
            Condition::Always => true,
            Condition::IfNone => current.is_none(),
            Condition::IfAny => current.is_some(),
            Condition::IfLater => current.is_some_and(|current| new > current),
            Condition::IfEarlier => current.is_none_or(|current| new < current),
        }
    }
}

/// The deadline that argument 2 stands for: units of `unit` milliseconds after `base`.
fn deadline(args: &Args<'_>, base: i64, unit: i64, command: &str) -> Outcome<i64> {
    let amount = int(args, 2)?;
    if amount < 0 {
        return Err(NEGATIVE);
    }
    amount
        .checked_mul(unit)
        .and_then(|after| after.checked_add(base))
        .filter(|&deadline| deadline <= LATEST)
        .ok_or_else(|| invalid_expire_time(command))
}

/// Gives the fields the deadline that argument 2 stands for. One that has passed deletes them.
fn set(c: &mut Ctx<'_>, args: &Args<'_>, base: i64, unit: i64) -> Outcome {
    let (key, now) = (&args[1], c.db.past());
    // The type comes before the arguments.
    let found = c.db.live_fields_mut(key)?;
    let deadline = deadline(args, base, unit, &c.row.name)?;
    let condition = Condition::read(&args[3]);
    let at = if condition == Condition::Always { 3 } else { 4 };
    let first = fields_at(args, at, NUMBER_TO_SET)?;
    c.out.array(args.len() - first);
    let Some(hash) = found else {
        args.from(first).for_each(|_| c.out.int(NO_SUCH_FIELD));
        return Ok(());
    };
    let before = hash.next_deadline();
    let (mut set, mut deleted) = (Vec::new(), Vec::new());
    for field in args.from(first) {
        let done = set_one(hash, field, deadline, now, condition);
        match done {
            DONE => set.push(field),
            DELETED => deleted.push(field),
            _ => {}
        }
        c.out.int(done);
    }
    let after = hash.next_deadline();
    if let Some(after) = after.filter(|&after| before.is_none_or(|before| after < before)) {
        c.db.expect_fields(key, after);
    }
    let changes = set.len() + deleted.len();
    if changes > 0 {
        let event = if deleted.is_empty() {
            "hexpire"
        } else {
            "hdel"
        };
        c.db.changed_by(Class::Hash, event, key, changes);
    }
    if c.db.logs() && changes > 0 {
        log(c, key, deadline, &set, &deleted);
    }
    if !deleted.is_empty() {
        c.db.delete_empty(key);
    }
    Ok(())
}

/// Logs which fields have got a deadline and which are gone.
fn log(c: &mut Ctx<'_>, key: &[u8], deadline: i64, set: &[&[u8]], deleted: &[&[u8]]) {
    c.db.nothing_instead();
    if !set.is_empty() {
        let (mut at, mut count) = (IntBuf::new(), IntBuf::new());
        let (at, count) = (at.i64(deadline), count.u64(set.len() as u64));
        c.db.also(&[&[b"HPEXPIREAT", key, at, b"FIELDS", count], set].concat());
    }
    if !deleted.is_empty() {
        c.db.also(&[&[b"HDEL", key], deleted].concat());
    }
}

/// Gives one field a deadline, or deletes it when that has passed; what to say about it.
fn set_one(hash: &mut Hash, field: &[u8], deadline: i64, now: i64, condition: Condition) -> i64 {
    if !hash.contains(field) {
        NO_SUCH_FIELD
    } else if !condition.allows(deadline, hash.deadline(field)) {
        REFUSED
    } else if deadline <= now {
        hash.remove(field);
        DELETED
    } else {
        hash.set_deadline(field, deadline);
        DONE
    }
}

/// `HPERSIST key FIELDS numfields field [field ...]`
fn hpersist(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let key = &args[1];
    let found = c.db.live_fields_mut(key)?;
    let first = fields_at(args, 2, NUMBER)?;
    c.out.array(args.len() - first);
    let Some(hash) = found else {
        args.from(first).for_each(|_| c.out.int(NO_SUCH_FIELD));
        return Ok(());
    };
    let mut persisted = false;
    for field in args.from(first) {
        c.out.int(if hash.persist(field).is_some() {
            persisted = true;
            DONE
        } else if hash.contains(field) {
            NO_DEADLINE
        } else {
            NO_SUCH_FIELD
        });
    }
    if persisted {
        c.db.changed(Class::Hash, "hpersist", key);
    }
    Ok(())
}

// ---------------------------------------------------------------- asking

/// `HTTL key FIELDS numfields field [field ...]`
fn httl(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    report(c, args, c.db.now, 1000)
}

/// `HPTTL key FIELDS numfields field [field ...]`
fn hpttl(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    report(c, args, c.db.now, 1)
}

/// `HEXPIRETIME key FIELDS numfields field [field ...]`
fn hexpiretime(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    report(c, args, 0, 1000)
}

/// `HPEXPIRETIME key FIELDS numfields field [field ...]`
fn hpexpiretime(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    report(c, args, 0, 1)
}

/// Replies with the deadline of each field, in units of `unit` milliseconds after `base`, rounded
/// up.
fn report(c: &mut Ctx<'_>, args: &Args<'_>, base: i64, unit: i64) -> Outcome {
    let now = c.db.now;
    let found = c.db.fields(&args[1])?;
    let first = fields_at(args, 2, NUMBER)?;
    c.out.array(args.len() - first);
    for field in args.from(first) {
        let Some(hash) = found.filter(|hash| hash.contains(field)) else {
            c.out.int(NO_SUCH_FIELD);
            continue;
        };
        c.out.int(match hash.deadline(field) {
            None => NO_DEADLINE,
            Some(deadline) if deadline <= now => NO_SUCH_FIELD,
            Some(deadline) => (deadline - base + unit - 1) / unit,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn conditions_compare_with_the_present_deadline() {
        for (word, none, earlier, same, later) in [
            ("FIELDS", true, true, true, true),
            ("nx", true, false, false, false),
            ("XX", false, true, true, true),
            ("gt", false, true, false, false),
            ("LT", true, false, false, true),
        ] {
            let condition = Condition::read(word.as_bytes());
            let found =
                [None, Some(50), Some(100), Some(150)].map(|now| condition.allows(100, now));
            assert_eq!(found, [none, earlier, same, later], "{word}");
        }
    }

    #[test]
    fn deadlines_and_their_limit() {
        let read = |amount: i64, base, unit| {
            let mut owned = OwnedArgs::new(["hexpire", "k", &amount.to_string()]);
            deadline(&owned.args(), base, unit, "hexpire")
        };
        assert_eq!(read(5, 70, 1000), Ok(5070));
        assert_eq!(read(0, 0, 1), Ok(0));
        assert_eq!(read(LATEST, 0, 1), Ok(LATEST));
        assert_eq!(read(LATEST - 7, 7, 1), Ok(LATEST));
        assert_eq!(read(-1, 0, 1), Err(NEGATIVE));
        let late = Err(invalid_expire_time("hexpire"));
        assert_eq!(read(LATEST + 1, 0, 1), late);
        assert_eq!(read(LATEST - 6, 7, 1), late);
        assert_eq!(read(LATEST / 1000 + 1, 0, 1000), late);
        assert_eq!(read(i64::MAX, 0, 1000), late);
        assert_eq!(read(i64::MAX, 7, 1), late);
    }

    #[test]
    fn the_number_of_fields_must_be_right() {
        let read = |words: &str| {
            let mut owned = OwnedArgs::new(words.split_whitespace());
            fields_at(&owned.args(), 0, NUMBER)
        };
        assert_eq!(read("fields 2 a b"), Ok(2));
        assert_eq!(read("FIELD 2 a b"), Err(NO_FIELDS));
        for number in ["0", "-1", "x", "9223372036854775808"] {
            assert_eq!(read(&format!("FIELDS {number} a")), Err(NUMBER));
        }
        for words in ["FIELDS 1 a b", "FIELDS 2 a", "FIELDS 9223372036854775807 a"] {
            assert_eq!(read(words), Err(MISMATCH));
        }
    }
}
