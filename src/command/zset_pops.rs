//! The commands that take members from an end of a sorted set: ZPOPMIN, ZPOPMAX, ZMPOP.
//!
//! What they do is written for a keyspace and a reply rather than for a command's context, so that
//! the commands that wait for members pop in the same way.

use super::error::{Outcome, SYNTAX};
use super::keyspace::{Class, Keyspace};
use super::options::{PopMany, is, positive};
use super::spec::*;
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::util::num::IntBuf;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("zmpop", -4, zmpop)
        .flags(WRITE.or(MOVABLEKEYS))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::counted(1, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::SortedSet,
            "7.0.0",
            "O(K) + O(M*log(N)), K the number of keys, M the number of members taken, \
                N the number of members there are",
            "Takes members from an end of the first sorted set that has any",
        )
        .args("numkeys:integer key... where:(MIN | MAX) [COUNT count:integer]"),
    Command::new("zpopmax", -2, zpopmax)
        .flags(WRITE.or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::SortedSet,
            "5.0.0",
            "O(log(N)*M), N the number of members, M the number of them taken",
            "Takes the members with the highest scores out of a sorted set",
        )
        .args("key [count:integer]"),
    Command::new("zpopmin", -2, zpopmin)
        .flags(WRITE.or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(DELETE))])
        .docs(
            Group::SortedSet,
            "5.0.0",
            "O(log(N)*M), N the number of members, M the number of them taken",
            "Takes the members with the lowest scores out of a sorted set",
        )
        .args("key [count:integer]"),
];

/// The end of a sorted set from which members are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The lowest scores.
    Min,
    /// The highest scores.
    Max,
}

impl End {
    /// The end with the highest scores, or the other.
    pub fn highest(yes: bool) -> End {
        if yes { End::Max } else { End::Min }
    }

    /// The event of taking members from this end.
    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }

    /// The end that a keyword names.
    fn from_keyword(arg: &[u8]) -> Option<End> {
        match arg {
            _ if is(arg, "MIN") => Some(End::Min),
            _ if is(arg, "MAX") => Some(End::Max),
            _ => None,
        }
    }
}

/// How the members that were taken stand in the reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// Member and score in turn.
    Flat,
    /// An array of pairs.
    Pairs,
    /// The key, and member and score in turn.
    KeyFlat,
    /// The key, and an array of pairs.
    KeyPairs,
}

impl Shape {
    /// Writes what stands before the first of `count` members.
    fn begin(self, out: &mut Reply, key: &[u8], count: usize) {
        match self {
            Shape::Flat => out.array(2 * count),
            Shape::Pairs => out.array(count),
            Shape::KeyFlat => {
                out.array(2 * count + 1);
                out.bulk(key);
            }
            Shape::KeyPairs => {
                out.array(2);
                out.bulk(key);
                out.array(count);
            }
        }
    }

    /// Whether each member stands in an array with its score.
    fn is_nested(self) -> bool {
        matches!(self, Shape::Pairs | Shape::KeyPairs)
    }
}

/// Takes up to `count` members (at least one) and replies with them. Returns whether the key
/// exists; if not, no reply is written.
fn take(
    db: &mut Keyspace<'_>,
    out: &mut Reply,
    key: &[u8],
    end: End,
    count: usize,
    shape: Shape,
) -> Outcome<bool> {
    let Some(zset) = db.zset_mut(key)? else {
        return Ok(false);
    };
    let count = count.min(zset.len());
    shape.begin(out, key, count);
    zset.pop(end == End::Max, count, |member, score| {
        if shape.is_nested() {
            out.array(2);
        }
        out.bulk(member.bytes(&mut [0; 20]));
        out.double(score);
    });
    let emptied = zset.is_empty();
    db.changed_by(Class::ZSet, end.event(), key, count);
    if emptied {
        db.delete_empty(key);
    }
    if db.logs() {
        let name: &[u8] = match end {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        };
        match shape {
            // ZPOPMIN and ZPOPMAX are logged as they came.
            Shape::Flat | Shape::Pairs => {}
            Shape::KeyFlat => db.instead(&[name, key]),
            Shape::KeyPairs => db.instead(&[name, key, IntBuf::new().u64(count as u64)]),
        }
    }
    Ok(true)
}

/// ZPOPMIN and ZPOPMAX: takes one member, or up to `count` of them where a count is given, and
/// replies with them.
///
/// # Errors
/// `WRONGTYPE` when the key holds something else.
pub(super) fn pop(
    db: &mut Keyspace<'_>,
    out: &mut Reply,
    key: &[u8],
    end: End,
    count: Option<usize>,
) -> Outcome {
    // RESP3 has pairs, but only where there may be several.
    let shape = match count {
        Some(_) if out.is_resp3() => Shape::Pairs,
        _ => Shape::Flat,
    };
    let popped = match count {
        // The type is looked at nevertheless.
        Some(0) => db.zset_mut(key).map(|_| false)?,
        _ => take(db, out, key, end, count.unwrap_or(1), shape)?,
    };
    if !popped {
        out.array(0);
    }
    Ok(())
}

/// BZPOPMIN and BZPOPMAX: takes one member and replies with key, member and score. Returns whether
/// the key exists; if not, no reply is written.
///
/// # Errors
/// `WRONGTYPE` when the key holds something else.
// For the commands that wait.
pub(super) fn pop_with_key(
    db: &mut Keyspace<'_>,
    out: &mut Reply,
    key: &[u8],
    end: End,
) -> Outcome<bool> {
    take(db, out, key, end, 1, Shape::KeyFlat)
}

/// ZMPOP and BZMPOP with one key: takes up to `count` members and replies with the key and an array
/// of pairs. Returns whether the key exists; if not, no reply is written.
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
    take(db, out, key, end, count, Shape::KeyPairs)
}

/// What ZMPOP and BZMPOP are asked for.
pub(super) type Mpop = PopMany<End>;

impl Mpop {
    /// Reads `numkeys key [key ...] MIN|MAX [COUNT count]` from the argument `from` on.
    ///
    /// # Errors
    /// Numbers below one, and syntax errors.
    pub fn read(args: &Args<'_>, from: usize) -> Outcome<Mpop> {
        PopMany::parse(args, from, End::from_keyword)
    }

    /// Takes members from the first of the keys that exists, and replies with that key and an
    /// array of pairs. Returns whether there was one; if not, no reply is written.
    ///
    /// # Errors
    /// `WRONGTYPE` when a key before that holds something else.
    pub fn pop(&self, db: &mut Keyspace<'_>, out: &mut Reply, args: &Args<'_>) -> Outcome<bool> {
        for at in self.keys.clone() {
            if pop_some_with_key(db, out, &args[at], self.end, self.count)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn zpopmin(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    pop_command(c, args, End::Min)
}

fn zpopmax(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    pop_command(c, args, End::Max)
}

fn pop_command(c: &mut Ctx<'_>, args: &Args<'_>, end: End) -> Outcome {
    let count = match args.len() {
        2 => None,
        3 => Some(usize::try_from(positive(args, 2)?).unwrap_or(usize::MAX)),
        _ => return Err(SYNTAX),
    };
    pop(&mut c.db, c.out, &args[1], end, count)
}

fn zmpop(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if !Mpop::read(args, 1)?.pop(&mut c.db, c.out, args)? {
        c.out.null_array();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::error::Error;
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn what_zmpop_is_asked_for() {
        let read = |line: &str| {
            let mut owned = OwnedArgs::new(line.split(' '));
            Mpop::read(&owned.args(), 1)
        };
        let many = |keys: usize, end, count| {
            Ok(PopMany {
                keys: 2..2 + keys,
                end,
                count,
            })
        };
        assert_eq!(read("zmpop 1 k min"), many(1, End::Min, 1));
        assert_eq!(read("zmpop 2 k l MAX count 7"), many(2, End::Max, 7));
        let huge = usize::try_from(i64::MAX).unwrap();
        let line = "zmpop 1 k max COUNT 9223372036854775807";
        assert_eq!(read(line), many(1, End::Max, huge));
        for line in [
            "zmpop 1 k",
            "zmpop 2 k min",
            "zmpop 9223372036854775807 k min",
            "zmpop 1 k mid",
            "zmpop 1 k min count",
            "zmpop 1 k min limit 1",
            "zmpop 1 k min count 1 count",
            "zmpop 1 k min count 1 count 1",
        ] {
            assert_eq!(read(line), Err(SYNTAX), "{line}");
        }
        for line in ["zmpop 0 k", "zmpop -1 k min", "zmpop x k min"] {
            let error = Error::new("ERR numkeys should be greater than 0");
            assert_eq!(read(line), Err(error), "{line}");
        }
        for line in ["zmpop 1 k min count 0", "zmpop 1 k min count x y"] {
            let error = Error::new("ERR count should be greater than 0");
            assert_eq!(read(line), Err(error), "{line}");
        }
    }
}
