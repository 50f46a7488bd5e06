//! The list commands that take elements out at an end: LPOP, RPOP and LMPOP, and LMOVE and
//! RPOPLPUSH, which put them into another list.
//!
//! What they do is in functions that take the keyspace and a reply, since the blocking forms do
//! the same, often on behalf of a client that is not the one whose command runs.

use super::error::{Outcome, SYNTAX};
use super::keyspace::{Class, Keyspace};
use super::lists::{limits, push_event, remove};
use super::options::{PopMany, is, positive, wrong_arity};
use super::replies::item as element;
use super::spec::*;
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::types::Value;
use crate::types::quicklist::{End, List};
use crate::util::num::IntBuf;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("lmove", 5, lmove)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_LIST)
        .keys(&[
            KeySpec::one(1, RW.or(ACCESS).or(DELETE)),
            KeySpec::one(2, RW.or(INSERT)),
        ])
        .docs(
            Group::List,
            "6.2.0",
            "O(1)",
            "Takes an element from an end of a list and puts it to an end of another",
        )
        .args("source:key destination:key#1 wherefrom:(LEFT | RIGHT) whereto:(LEFT | RIGHT)"),
    Command::new("lmpop", -4, lmpop)
        .flags(WRITE.or(MOVABLEKEYS))
        .acl(CAT_LIST)
        .keys(&[KeySpec::counted(1, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::List,
            "7.0.0",
            "O(N+M), N the number of keys, M the number of elements taken",
            "Takes elements from an end of the first of several lists that exists",
        )
        .args("numkeys:integer key... where:(LEFT | RIGHT) [COUNT count:integer]"),
    Command::new("lpop", -2, lpop)
        .flags(WRITE.or(FAST))
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::List,
            "1.0.0",
            "O(N), N the number of elements taken",
            "Takes elements from the head of a list",
        )
        .args("key [count:integer@6.2.0]")
        .history(&[("6.2.0", "Argument `count`")]),
    Command::new("rpop", -2, rpop)
        .flags(WRITE.or(FAST))
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::List,
            "1.0.0",
            "O(N), N the number of elements taken",
            "Takes elements from the tail of a list",
        )
        .args("key [count:integer@6.2.0]")
        .history(&[("6.2.0", "Argument `count`")]),
    Command::new("rpoplpush", 3, rpoplpush)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_LIST)
        .keys(&[
            KeySpec::one(1, RW.or(ACCESS).or(DELETE)),
            KeySpec::one(2, RW.or(INSERT)),
        ])
        .docs(
            Group::List,
            "1.2.0",
            "O(1)",
            "Takes the last element of a list and puts it in front of another",
        )
        .args("source:key destination:key#1")
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
];

// ---------------------------------------------------------------- for the blocking forms as well

/// The end that LEFT or RIGHT names.
///
/// # Errors
/// A syntax error for another word.
pub(super) fn end(word: &[u8]) -> Outcome<End> {
    from_keyword(word).ok_or(SYNTAX)
}

fn from_keyword(word: &[u8]) -> Option<End> {
    match word {
        _ if is(word, "LEFT") => Some(End::Head),
        _ if is(word, "RIGHT") => Some(End::Tail),
        _ => None,
    }
}

/// Takes the element at an end of a list and replies with it. Returns false, with nothing
/// written, if there is no such list.
///
/// # Errors
/// `WRONGTYPE` when the key holds something else.
pub(super) fn pop_one(
    db: &mut Keyspace<'_>,
    out: &mut Reply,
    key: &[u8],
    end: End,
) -> Outcome<bool> {
    let limits = limits(db.server);
    let Some(list) = db.list_mut(key)? else {
        return Ok(false);
    };
    let popped = list.pop(end, &limits, |item| element(out, item));
    let emptied = list.is_empty();
    if popped.is_some() {
        popped_from(db, key, end, 1, emptied);
        if db.logs() {
            db.instead(&[pop_name(end), key]);
        }
    }
    Ok(popped.is_some())
}

/// Takes up to `count` elements, the one at the end first, and replies with an array of them.
/// Returns false, with nothing written, if there is no such list.
///
/// # Errors
/// `WRONGTYPE` when the key holds something else.
pub(super) fn pop_some(
    db: &mut Keyspace<'_>,
    out: &mut Reply,
    key: &[u8],
    end: End,
    count: usize,
) -> Outcome<bool> {
    let taken = pop_behind(db, out, key, end, count, |_| ())?;
    Ok(taken.is_some())
}

/// As [`pop_some`], for a command that names several keys or waits, and so is not logged itself;
/// the reply is an array of the key and the array of its elements.
///
/// # Errors
/// `WRONGTYPE` when the key holds something else.
pub(super) fn pop_some_with_key(
    db: &mut Keyspace<'_>,
    out: &mut Reply,
    key: &[u8],
    end: End,
    count: usize,
) -> Outcome<bool> {
    let taken = pop_behind(db, out, key, end, count, |out| {
        out.array(2);
        out.bulk(key);
    })?;
    if let Some(count) = taken
        && db.logs()
    {
        db.instead(&[pop_name(end), key, IntBuf::new().u64(count as u64)]);
    }
    Ok(taken.is_some())
}

/// As [`pop_some`], with something written before the elements. Returns how many they were.
fn pop_behind(
    db: &mut Keyspace<'_>,
    out: &mut Reply,
    key: &[u8],
    end: End,
    count: usize,
    head: impl FnOnce(&mut Reply),
) -> Outcome<Option<usize>> {
    let limits = limits(db.server);
    let Some(list) = db.list_mut(key)? else {
        return Ok(None);
    };
    head(out);
    let len = list.len();
    let count = count.min(len);
    out.array(count);
    if count == 0 {
        return Ok(Some(0));
    }
    let start = match end {
        End::Head => 0,
        End::Tail => len - 1,
    };
    list.walk(start, count, end == End::Tail)
        .for_each(|item| element(out, item));
    if count < len {
        let first = match end {
            End::Head => 0,
            End::Tail => len - count,
        };
        list.remove_range(first, count, &limits);
    }
    // A list of which nothing is left goes as a whole.
    popped_from(db, key, end, count, count == len);
    Ok(Some(count))
}

/// The command that takes elements from an end.
fn pop_name(end: End) -> &'static [u8] {
    match end {
        End::Head => b"LPOP",
        End::Tail => b"RPOP",
    }
}

/// The word for an end.
fn side(end: End) -> &'static [u8] {
    match end {
        End::Head => b"LEFT",
        End::Tail => b"RIGHT",
    }
}

/// Logs a move in the place of a command that waits for the source, which is BRPOPLPUSH or BLMOVE.
pub(super) fn log_move(
    db: &mut Keyspace<'_>,
    source: &[u8],
    destination: &[u8],
    from: End,
    to: End,
    old_name: bool,
) {
    if !db.logs() {
    } else if old_name {
        db.instead(&[b"RPOPLPUSH", source, destination]);
    } else {
        db.instead(&[b"LMOVE", source, destination, side(from), side(to)]);
    }
}

/// Says that `count` elements were taken from a list, and removes it if none is to stay.
fn popped_from(db: &mut Keyspace<'_>, key: &[u8], end: End, count: usize, emptied: bool) {
    let event = match end {
        End::Head => "lpop",
        End::Tail => "rpop",
    };
    db.changed_by(Class::List, event, key, count);
    if emptied {
        remove(db, key);
    }
}

/// Moves the element at an end of one list to an end of another, which may be the same and need
/// not exist. Returns the element; `None` if there is no source.
///
/// # Errors
/// `WRONGTYPE` when one of the keys holds something else; nothing has happened then.
pub(super) fn move_one(
    db: &mut Keyspace<'_>,
    source: &[u8],
    destination: &[u8],
    from: End,
    to: End,
) -> Outcome<Option<Vec<u8>>> {
    let limits = limits(db.server);
    let Some(list) = db.list_mut(source)? else {
        return Ok(None);
    };
    if source == destination {
        let Some(moved) = list.pop(from, &limits, |item| item.to_vec()) else {
            return Ok(None);
        };
        list.push(to, &moved, &limits);
        // A move counts as one change, that of taking the element.
        db.announce(Class::List, push_event(to), destination);
        popped_from(db, source, from, 1, false);
        return Ok(Some(moved));
    }
    // Copied first and removed at last: the destination may refuse it.
    let last = match from {
        End::Head => 0,
        End::Tail => -1,
    };
    let Some(moved) = list.get(last, |item| item.to_vec()) else {
        return Ok(None);
    };
    match db.list_mut(destination)? {
        Some(list) => list.push(to, &moved, &limits),
        None => {
            let mut list = List::new();
            list.push(to, &moved, &limits);
            db.add(destination, Value::List(list));
        }
    }
    db.announce(Class::List, push_event(to), destination);
    if let Some(list) = db.list_mut(source)? {
        list.pop(from, &limits, |_| ());
        let emptied = list.is_empty();
        popped_from(db, source, from, 1, emptied);
    }
    Ok(Some(moved))
}

/// What LMPOP and BLMPOP are asked to do.
pub(super) type Mpop = PopMany<End>;

impl Mpop {
    /// Reads `numkeys key [key ...] LEFT|RIGHT [COUNT count]` from the argument `from` on.
    ///
    /// # Errors
    /// Numbers below one, and syntax errors.
    pub fn read(args: &Args<'_>, from: usize) -> Outcome<Mpop> {
        PopMany::parse(args, from, from_keyword)
    }

    /// Takes elements from the first list that exists and replies with its key and them. Returns
    /// false, with nothing written, if there is none.
    ///
    /// # Errors
    /// `WRONGTYPE` when a key before that list holds something else.
    pub fn pop(&self, db: &mut Keyspace<'_>, out: &mut Reply, args: &Args<'_>) -> Outcome<bool> {
        for at in self.keys.clone() {
            if pop_some_with_key(db, out, &args[at], self.end, self.count)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

// ---------------------------------------------------------------- the commands

fn lpop(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    pop(c, args, End::Head)
}

fn rpop(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    pop(c, args, End::Tail)
}

/// `LPOP key [count]`, `RPOP key [count]`
fn pop(c: &mut Ctx<'_>, args: &Args<'_>, end: End) -> Outcome {
    match args.len() {
        2 => {
            if !pop_one(&mut c.db, c.out, &args[1], end)? {
                c.out.null();
            }
        }
        3 => {
            let count = usize::try_from(positive(args, 2)?).unwrap_or(usize::MAX);
            if !pop_some(&mut c.db, c.out, &args[1], end, count)? {
                c.out.null_array();
            }
        }
        _ => return Err(wrong_arity(&c.row.name)),
    }
    Ok(())
}

/// `LMPOP numkeys key [key ...] LEFT|RIGHT [COUNT count]`
fn lmpop(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if !Mpop::read(args, 1)?.pop(&mut c.db, c.out, args)? {
        c.out.null_array();
    }
    Ok(())
}

/// `LMOVE source destination LEFT|RIGHT LEFT|RIGHT`
fn lmove(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (from, to) = (end(&args[3])?, end(&args[4])?);
    let moved = move_one(&mut c.db, &args[1], &args[2], from, to)?;
    c.out.bulk_or_null(moved.as_deref());
    Ok(())
}

/// `RPOPLPUSH source destination`
fn rpoplpush(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let moved = move_one(&mut c.db, &args[1], &args[2], End::Tail, End::Head)?;
    c.out.bulk_or_null(moved.as_deref());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::error::Error;
    use super::super::options::NO_KEYS;
    use super::*;
    use crate::resp::OwnedArgs;

    const NO_COUNT: Error = Error::new("ERR count should be greater than 0");

    fn read(words: &str, from: usize) -> Outcome<Mpop> {
        Mpop::read(&OwnedArgs::new(words.split_whitespace()).args(), from)
    }

    #[test]
    fn arguments_of_lmpop() {
        let two = Mpop {
            keys: 2..4,
            end: End::Tail,
            count: 1,
        };
        assert_eq!(read("LMPOP 2 a b right", 1), Ok(two));
        let far = Mpop {
            keys: 3..4,
            end: End::Head,
            count: i64::MAX as usize,
        };
        assert_eq!(
            read("BLMPOP 0 1 a LEFT count 9223372036854775807", 2),
            Ok(far)
        );
        for (words, error) in [
            ("0 a LEFT", NO_KEYS),
            ("-1 a LEFT", NO_KEYS),
            ("x a LEFT", NO_KEYS),
            ("9223372036854775807 a LEFT", SYNTAX),
            ("2 a LEFT", SYNTAX),
            ("1 a UP", SYNTAX),
            ("1 a LEFT COUNT", SYNTAX),
            ("1 a LEFT NUMBER 1", SYNTAX),
            ("1 a LEFT COUNT 0", NO_COUNT),
            ("1 a LEFT COUNT -5", NO_COUNT),
            ("1 a LEFT COUNT x y", NO_COUNT),
            ("1 a LEFT COUNT 1 COUNT 1", SYNTAX),
        ] {
            assert_eq!(read(&format!("LMPOP {words}"), 1), Err(error), "{words}");
        }
    }
}
