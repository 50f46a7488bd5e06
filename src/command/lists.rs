//! The list commands that add, read and change elements. Those that take elements out at an end
//! and hand them on are in `list_moves.rs`.
//!
//! Everything works on a [`List`], which chooses its encoding itself by the [`Limits`] it is given.
//! Elements go straight from the list into the reply.

use std::sync::atomic::Ordering;

use super::error::{Error, NO_SUCH_KEY, Outcome, SYNTAX};
use super::keyspace::{Class, Keyspace};
use super::options::{int, int_or, int_within, is, span};
use super::replies::item as element;
use super::spec::*;
use super::{Args, Ctx};
use crate::server::Server;
use crate::server::config::id;
use crate::types::Value;
use crate::types::quicklist::{End, Limits, List};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("lindex", 3, lindex)
        .flags(READONLY)
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::List,
            "1.0.0",
            "O(N), N the distance from the nearer end",
            "Reads the element at an index",
        )
        .args("key index:integer"),
    Command::new("linsert", 5, linsert)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RW.or(INSERT))])
        .docs(
            Group::List,
            "2.2.0",
            "O(N), N the elements in front of the pivot",
            "Adds an element before or after another one, the first that is found",
        )
        .args("key where:(BEFORE | AFTER) pivot element"),
    Command::new("llen", 2, llen)
        .flags(READONLY.or(FAST))
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RO)])
        .docs(
            Group::List,
            "1.0.0",
            "O(1)",
            "Tells how many elements a list has",
        )
        .args("key"),
    Command::new("lpos", -3, lpos)
        .flags(READONLY)
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::List,
            "6.0.6",
            "O(N), N the elements looked at",
            "Finds the indexes at which an element stands",
        )
        .args(
            "key element [RANK rank:integer] [COUNT num-matches:integer] [MAXLEN len:integer]",
        ),
    Command::new("lpush", -3, lpush)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RW.or(INSERT))])
        .docs(
            Group::List,
            "1.0.0",
            "O(N), N the number of new elements",
            "Adds elements at the head of a list, one in front of the other",
        )
        .args("key element...")
        .history(&[("2.4.0", "Several elements at once")]),
    Command::new("lpushx", -3, lpushx)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RW.or(INSERT))])
        .docs(
            Group::List,
            "2.2.0",
            "O(N), N the number of new elements",
            "Adds elements at the head of a list, provided the key exists",
        )
        .args("key element...")
        .history(&[("4.0.0", "Several elements at once")]),
    Command::new("lrange", 4, lrange)
        .flags(READONLY)
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::List,
            "1.0.0",
            "O(S+N), S the distance of the first one from the nearer end, N the length of the reply",
            "Reads the elements between two indexes",
        )
        .args("key start:integer stop:integer"),
    Command::new("lrem", 4, lrem)
        .flags(WRITE)
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RW.or(DELETE))])
        .docs(
            Group::List,
            "1.0.0",
            "O(N), N the length of the list",
            "Removes elements that have a given value",
        )
        .args("key count:integer element"),
    Command::new("lset", 4, lset)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::List,
            "1.0.0",
            "O(N), N the distance from the nearer end",
            "Exchanges the element at an index",
        )
        .args("key index:integer element"),
    Command::new("ltrim", 4, ltrim)
        .flags(WRITE)
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RW.or(DELETE))])
        .docs(
            Group::List,
            "1.0.0",
            "O(N), N the number of elements removed",
            "Removes all elements but those between two indexes",
        )
        .args("key start:integer stop:integer"),
    Command::new("rpush", -3, rpush)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RW.or(INSERT))])
        .docs(
            Group::List,
            "1.0.0",
            "O(N), N the number of new elements",
            "Adds elements at the tail of a list, one behind the other",
        )
        .args("key element...")
        .history(&[("2.4.0", "Several elements at once")]),
    Command::new("rpushx", -3, rpushx)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_LIST)
        .keys(&[KeySpec::one(1, RW.or(INSERT))])
        .docs(
            Group::List,
            "2.2.0",
            "O(N), N the number of new elements",
            "Adds elements at the tail of a list, provided the key exists",
        )
        .args("key element...")
        .history(&[("4.0.0", "Several elements at once")]),
];

const INDEX: Error = Error::new("ERR index out of range");
const RANK_ZERO: Error = Error::new(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
     or use negative to start from the end of the list",
);
const NEGATIVE_COUNT: Error = Error::new("ERR COUNT can't be negative");
const NEGATIVE_MAXLEN: Error = Error::new("ERR MAXLEN can't be negative");

// ---------------------------------------------------------------- shared with the other families

/// The limits that the configuration sets to the nodes of lists.
#[inline]
pub(super) fn limits(server: &Server) -> Limits {
    Limits::new(
        server.config.int(id::LIST_MAX_LISTPACK_SIZE),
        server.config.int(id::LIST_COMPRESS_DEPTH),
        server.packed_threshold.load(Ordering::Relaxed),
    )
}

/// The event of a push at an end.
pub(super) fn push_event(end: End) -> &'static str {
    match end {
        End::Head => "lpush",
        End::Tail => "rpush",
    }
}

/// Removes a list of which no element is to stay, and says so; the elements have been counted.
pub(super) fn remove(db: &mut Keyspace<'_>, key: &[u8]) {
    let lazy = db.server.config.bool(id::LAZYFREE_LAZY_SERVER_DEL);
    db.delete(key, lazy);
    db.announce(Class::Generic, "del", key);
}

// ---------------------------------------------------------------- pushing

fn lpush(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    push(c, args, End::Head, false)
}

fn rpush(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    push(c, args, End::Tail, false)
}

fn lpushx(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    push(c, args, End::Head, true)
}

fn rpushx(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    push(c, args, End::Tail, true)
}

/// Adds the arguments from the third on; to a list that exists, or to any if not `only_existing`.
fn push(c: &mut Ctx<'_>, args: &Args<'_>, end: End, only_existing: bool) -> Outcome {
    let limits = limits(c.server);
    let key = &args[1];
    let add = |list: &mut List| {
        if args.len() == 3 {
            list.push(end, &args[2], &limits);
        } else {
            list.push_many(end, (2..args.len()).map(|at| &args[at]), &limits);
        }
        list.len()
    };
    let len = match c.db.list_mut(key)? {
        Some(list) => add(list),
        None if only_existing => {
            c.out.count(0);
            return Ok(());
        }
        None => {
            let mut list = List::new();
            let len = add(&mut list);
            c.db.add(key, Value::List(list));
            len
        }
    };
    c.db.changed_by(Class::List, push_event(end), key, args.len() - 2);
    c.out.count(len);
    Ok(())
}

/// `LINSERT key BEFORE|AFTER pivot element`
fn linsert(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let after = match &args[2] {
        word if is(word, "AFTER") => true,
        word if is(word, "BEFORE") => false,
        _ => return Err(SYNTAX),
    };
    let limits = limits(c.server);
    let Some(list) = c.db.list_mut(&args[1])? else {
        c.out.count(0);
        return Ok(());
    };
    if !list.insert(&args[3], &args[4], after, &limits) {
        c.out.int(-1);
        return Ok(());
    }
    c.out.count(list.len());
    c.db.changed(Class::List, "linsert", &args[1]);
    Ok(())
}

// ---------------------------------------------------------------- reading

fn llen(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let len = c.db.list(&args[1])?.map_or(0, List::len);
    c.out.count(len);
    Ok(())
}

fn lindex(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let Some(list) = c.db.list(&args[1])? else {
        c.out.null();
        return Ok(());
    };
    // Only now: as in Redis, a list that is not there takes any index.
    let index = int(args, 2)?;
    if list.get(index, |item| element(c.out, item)).is_none() {
        c.out.null();
    }
    Ok(())
}

fn lrange(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (start, stop) = (int(args, 2)?, int(args, 3)?);
    let Some(list) = c.db.list(&args[1])? else {
        c.out.array(0);
        return Ok(());
    };
    let span = span(start, stop, list.len());
    if c.pace.too_slow(span.len()) {
        return Ok(());
    }
    c.out.array(span.len());
    list.walk(span.start, span.len(), false)
        .for_each(|item| element(c.out, item));
    Ok(())
}

/// What LPOS is asked to find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Search {
    /// Which match comes first; a negative one is counted from the tail.
    rank: i64,
    /// COUNT: how many, 0 for all. With it the reply is an array.
    count: Option<usize>,
    /// How many elements to look at, 0 for all.
    maxlen: usize,
}

impl Search {
    /// The options of LPOS, from the fourth argument on.
    fn read(args: &Args<'_>) -> Outcome<Search> {
        let mut search = Search {
            rank: 1,
            count: None,
            maxlen: 0,
        };
        let natural = |at, error: Error| {
            let number = int_or(args, at, error.clone())?;
            usize::try_from(number).map_err(|_| error)
        };
        let mut at = 3;
        while at + 1 < args.len() {
            let (word, value) = (&args[at], at + 1);
            if is(word, "RANK") {
                search.rank = int_within(args, value, -i64::MAX, i64::MAX)?;
                if search.rank == 0 {
                    return Err(RANK_ZERO);
                }
            } else if is(word, "COUNT") {
                search.count = Some(natural(value, NEGATIVE_COUNT)?);
            } else if is(word, "MAXLEN") {
                search.maxlen = natural(value, NEGATIVE_MAXLEN)?;
            } else {
                return Err(SYNTAX);
            }
            at += 2;
        }
        if at < args.len() {
            Err(SYNTAX)
        } else {
            Ok(search)
        }
    }
}

/// `LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]`
fn lpos(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let search = Search::read(args)?;
    let found = match c.db.list(&args[1])? {
        Some(list) => list.positions(
            &args[2],
            search.rank,
            search.count.unwrap_or(1),
            search.maxlen,
        ),
        None => Vec::new(),
    };
    match (search.count, found.first()) {
        (Some(_), _) => {
            c.out.array(found.len());
            found.into_iter().for_each(|index| c.out.count(index));
        }
        (None, Some(&index)) => c.out.count(index),
        (None, None) => c.out.null(),
    }
    Ok(())
}

// ---------------------------------------------------------------- changing

fn lset(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let limits = limits(c.server);
    let list = c.db.list_mut(&args[1])?.ok_or(NO_SUCH_KEY)?;
    if !list.set(int(args, 2)?, &args[3], &limits) {
        return Err(INDEX);
    }
    c.db.changed(Class::List, "lset", &args[1]);
    c.out.ok();
    Ok(())
}

fn lrem(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let count = int_within(args, 2, -i64::MAX, i64::MAX)?;
    let limits = limits(c.server);
    let key = &args[1];
    let Some(list) = c.db.list_mut(key)? else {
        c.out.count(0);
        return Ok(());
    };
    let removed = list.remove_matching(&args[3], count, &limits);
    let emptied = list.is_empty();
    if removed > 0 {
        c.db.changed_by(Class::List, "lrem", key, removed);
    }
    if emptied {
        remove(&mut c.db, key);
    }
    c.out.count(removed);
    Ok(())
}

fn ltrim(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (start, stop) = (int(args, 2)?, int(args, 3)?);
    let limits = limits(c.server);
    let key = &args[1];
    let Some(list) = c.db.list_mut(key)? else {
        c.out.ok();
        return Ok(());
    };
    let len = list.len();
    let kept = span(start, stop, len);
    if !kept.is_empty() {
        list.trim(kept.start, kept.len(), &limits);
    }
    // Said even where every element stays, as in Redis.
    c.db.changed_by(Class::List, "ltrim", key, len - kept.len());
    if kept.is_empty() {
        remove(&mut c.db, key);
    }
    c.out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::error::NOT_AN_INTEGER;
    use crate::resp::OwnedArgs;

    fn search(words: &str) -> Outcome<Search> {
        let mut owned = OwnedArgs::new(format!("LPOS k e {words}").split_whitespace());
        Search::read(&owned.args())
    }

    #[test]
    fn options_of_lpos() {
        let plain = Search {
            rank: 1,
            count: None,
            maxlen: 0,
        };
        assert_eq!(search(""), Ok(plain));
        let all = Search {
            rank: -2,
            count: Some(0),
            maxlen: 7,
        };
        assert_eq!(search("rank -2 COUNT 0 MaxLen 7"), Ok(all));
        assert_eq!(search("RANK 5 COUNT 3 COUNT 0 MAXLEN 7 RANK -2"), Ok(all));
        for (wrong, error) in [
            ("RANK", SYNTAX),
            ("RANK 1 COUNT", SYNTAX),
            ("FOO 1", SYNTAX),
            ("RANK x", NOT_AN_INTEGER),
            ("RANK 0", RANK_ZERO),
            ("COUNT -1", NEGATIVE_COUNT),
            ("COUNT x", NEGATIVE_COUNT),
            ("MAXLEN -1", NEGATIVE_MAXLEN),
        ] {
            assert_eq!(search(wrong), Err(error), "{wrong}");
        }
        // The one number that has no opposite.
        let least = search("RANK -9223372036854775808");
        assert!(least.is_err_and(|error| error.as_bytes().starts_with(b"ERR value is out of")));
    }
}
