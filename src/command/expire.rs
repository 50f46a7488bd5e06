//! Deadlines: setting them, asking for them, taking them away.
//!
//! Follows <https://redis.io/docs/latest/commands/expire/> and its kin. A deadline is unix time in
//! milliseconds, whatever the command counts in.

use super::error::{Error, Outcome};
use super::keyspace::Class;
use super::options::{int, invalid_expire_time, is};
use super::spec::*;
use super::{Args, Ctx};
use crate::server::config::id;
use crate::util::num::IntBuf;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("expire", -3, expire)
        .flags(WRITE.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Generic,
            "1.0.0",
            "O(1)",
            "Lets a key expire after some seconds",
        )
        .args("key seconds:integer [condition:(NX | XX | GT | LT)@7.0.0]")
        .history(&[("7.0.0", "Options NX, XX, GT and LT")]),
    Command::new("expireat", -3, expireat)
        .flags(WRITE.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Generic,
            "1.2.0",
            "O(1)",
            "Lets a key expire at a Unix time in seconds",
        )
        .args("key unix-time-seconds:unix-time [condition:(NX | XX | GT | LT)@7.0.0]")
        .history(&[("7.0.0", "Options NX, XX, GT and LT")]),
    Command::new("expiretime", 2, expiretime)
        .flags(READONLY.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Generic,
            "7.0.0",
            "O(1)",
            "Tells the Unix time, in seconds, at which a key expires",
        )
        .args("key"),
    Command::new("persist", 2, persist)
        .flags(WRITE.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Generic,
            "2.2.0",
            "O(1)",
            "Takes the expiry off a key",
        )
        .args("key"),
    Command::new("pexpire", -3, pexpire)
        .flags(WRITE.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Generic,
            "2.6.0",
            "O(1)",
            "Lets a key expire after some milliseconds",
        )
        .args("key milliseconds:integer [condition:(NX | XX | GT | LT)@7.0.0]")
        .history(&[("7.0.0", "Options NX, XX, GT and LT")]),
    Command::new("pexpireat", -3, pexpireat)
        .flags(WRITE.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Generic,
            "2.6.0",
            "O(1)",
            "Lets a key expire at a Unix time in milliseconds",
        )
        .args("key unix-time-milliseconds:unix-time [condition:(NX | XX | GT | LT)@7.0.0]")
        .history(&[("7.0.0", "Options NX, XX, GT and LT")]),
    Command::new("pexpiretime", 2, pexpiretime)
        .flags(READONLY.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Generic,
            "7.0.0",
            "O(1)",
            "Tells the Unix time, in milliseconds, at which a key expires",
        )
        .args("key"),
    Command::new("pttl", 2, pttl)
        .flags(READONLY.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Generic,
            "2.6.0",
            "O(1)",
            "Tells how many milliseconds a key has left",
        )
        .args("key")
        .history(&[("2.8.0", "Answers -2 when there is no such key")])
        .tips(&["nondeterministic_output"]),
    Command::new("ttl", 2, ttl)
        .flags(READONLY.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Generic,
            "1.0.0",
            "O(1)",
            "Tells how many seconds a key has left",
        )
        .args("key")
        .history(&[("2.8.0", "Answers -2 when there is no such key")])
        .tips(&["nondeterministic_output"]),
];

const NX_AND_OTHERS: Error =
    Error::new("ERR NX and XX, GT or LT options at the same time are not compatible");
const GT_AND_LT: Error = Error::new("ERR GT and LT options at the same time are not compatible");

/// `EXPIRE key seconds [NX | XX | GT | LT]`
fn expire(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    set(c, args, c.db.now, 1000)
}

/// `PEXPIRE key milliseconds [NX | XX | GT | LT]`
fn pexpire(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    set(c, args, c.db.now, 1)
}

/// `EXPIREAT key unix-time-seconds [NX | XX | GT | LT]`
fn expireat(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    set(c, args, 0, 1000)
}

/// `PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]`
fn pexpireat(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    set(c, args, 0, 1)
}

/// Sets the deadline that argument 2 stands for: units of `unit` milliseconds after `base`. One
/// that has passed deletes the key.
fn set(c: &mut Ctx<'_>, args: &Args<'_>, base: i64, unit: i64) -> Outcome {
    let condition = Condition::read(args)?;
    let deadline = int(args, 2)?
        .checked_mul(unit)
        .and_then(|after| after.checked_add(base))
        .ok_or_else(|| invalid_expire_time(&c.row.name))?;
    let key = &args[1];
    if deadline <= c.db.past() {
        return expire_now(c, key, deadline, condition);
    }
    let decide = |current| {
        if condition.allows(deadline, current) {
            Ok(Some(deadline))
        } else {
            Err(())
        }
    };
    let set = matches!(c.db.update_deadline(key, decide), Some(Ok(())));
    if set {
        c.db.changed(Class::Generic, "expire", key);
        if c.db.logs() {
            let (mut digits, name) = (IntBuf::new(), &b"PEXPIREAT"[..]);
            let changes = [(0, Some(name)), (2, Some(digits.i64(deadline)))];
            c.db.instead_with(args, &changes);
        }
    }
    c.out.int(set.into());
    Ok(())
}

fn expire_now(c: &mut Ctx<'_>, key: &[u8], deadline: i64, condition: Condition) -> Outcome {
    let lazy = c.server.config.bool(id::LAZYFREE_LAZY_EXPIRE);
    // A key that is not there has no deadline either, and then there is nothing to delete.
    let current = c.db.deadline(key);
    let deleted = condition.allows(deadline, current) && c.db.delete(key, lazy);
    if deleted {
        c.db.changed(Class::Generic, "del", key);
        c.db.deletion_instead(key, lazy);
    }
    c.out.int(deleted.into());
    Ok(())
}

/// Under which condition a deadline is set; `XX` goes together with `GT` and with `LT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Condition {
    /// Only if there is none.
    nx: bool,
    /// Only if there is one.
    xx: bool,
    /// Only if it is later than the present one.
    gt: bool,
    /// Only if it is earlier than the present one.
    lt: bool,
}

impl Condition {
    /// Reads the options from argument 3 on.
    fn read(args: &Args<'_>) -> Outcome<Condition> {
        let mut condition = Condition::default();
        for option in args.from(3) {
            let flag = match option {
                option if is(option, "NX") => &mut condition.nx,
                option if is(option, "XX") => &mut condition.xx,
                option if is(option, "GT") => &mut condition.gt,
                option if is(option, "LT") => &mut condition.lt,
                option => return Err(unsupported(option)),
            };
            *flag = true;
        }
        let Condition { nx, xx, gt, lt } = condition;
        if nx && (xx || gt || lt) {
            return Err(NX_AND_OTHERS);
        }
        if gt && lt {
            return Err(GT_AND_LT);
        }
        Ok(condition)
    }

    /// Whether a key with this deadline may get the new one. None counts as an infinitely late one.
    fn allows(self, new: i64, current: Option<i64>) -> bool {
        match current {
            None => !self.xx && !self.gt,
            Some(current) => !self.nx && (!self.gt || new > current) && (!self.lt || new < current),
        }
    }
}

/// The error for an unknown option, which is quoted as C prints a string, up to a NUL; line ends
/// at the end of an error are left out.
fn unsupported(option: &[u8]) -> Error {
    let option = option.split(|&b| b == 0).next().unwrap_or_default();
    let end = option
        .iter()
        .rposition(|b| !b"\r\n".contains(b))
        .map_or(0, |last| last + 1);
    Error::raw([&b"ERR Unsupported option "[..], &option[..end]].concat())
}

/// `TTL key`
fn ttl(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    report(c, &args[1], c.db.now, 1000)
}

/// `PTTL key`
fn pttl(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    report(c, &args[1], c.db.now, 1)
}

/// `EXPIRETIME key`
fn expiretime(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    report(c, &args[1], 0, 1000)
}

/// `PEXPIRETIME key`
fn pexpiretime(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    report(c, &args[1], 0, 1)
}

/// Replies with the deadline of a key, in units of `unit` milliseconds after `base`, rounded to
/// the nearest; -1 when it has none, -2 when there is no such key.
fn report(c: &mut Ctx<'_>, key: &[u8], base: i64, unit: i64) -> Outcome {
    let reply = match c.db.look(key).map(|entry| entry.key.deadline()) {
        None => -2,
        Some(None) => -1,
        // Not past the range: the deadline is later than the present.
        Some(Some(deadline)) => {
            let left = deadline - base;
            left / unit + i64::from(left % unit >= unit / 2 && unit > 1)
        }
    };
    c.out.int(reply);
    Ok(())
}

/// `PERSIST key`
fn persist(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let key = &args[1];
    let decide = |current: Option<i64>| current.map(|_| None).ok_or(());
    let persisted = matches!(c.db.update_deadline(key, decide), Some(Ok(())));
    if persisted {
        c.db.changed(Class::Generic, "persist", key);
    }
    c.out.int(persisted.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn condition(words: &str) -> Outcome<Condition> {
        let words = format!("expire k 1 {words}");
        Condition::read(&OwnedArgs::new(words.split_whitespace()).args())
    }

    #[test]
    fn conditions_compare_with_the_present_deadline() {
        let allows = |words, current| {
            condition(words)
                .expect("a valid condition")
                .allows(100, current)
        };
        for (words, none, earlier, same, later) in [
            ("", true, true, true, true),
            ("nx", true, false, false, false),
            ("xx", false, true, true, true),
            ("gt", false, true, false, false),
            ("lt", true, false, false, true),
            ("xx gt", false, true, false, false),
            ("LT XX", false, false, false, true),
        ] {
            let found =
                [None, Some(50), Some(100), Some(150)].map(|current| allows(words, current));
            assert_eq!(found, [none, earlier, same, later], "{words}");
        }
    }

    #[test]
    fn conditions_that_contradict_are_refused() {
        for words in ["nx xx", "gt nx", "nx lt"] {
            assert_eq!(condition(words), Err(NX_AND_OTHERS));
        }
        assert_eq!(condition("gt lt"), Err(GT_AND_LT));
        assert_eq!(
            condition("gt foo"),
            Err(Error::new("ERR Unsupported option foo"))
        );
        assert_eq!(
            unsupported(b"a\r\nb\r\n\0c").as_bytes(),
            b"ERR Unsupported option a\r\nb"
        );
    }
}
