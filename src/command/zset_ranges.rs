//! The range commands of sorted sets: ZRANGE with all its options, the older commands that it
//! replaces, ZRANGESTORE, and counting and removing by range.
//!
//! Every range, whether of ranks, scores or members, becomes a range of ranks first ([`Bounds`]).
//! So an offset costs nothing, the length of a reply is known before its first member, and each
//! command is one walk from a rank.

use std::ops::Range;

use super::error::{Error, Outcome, SYNTAX};
use super::keyspace::Class;
use super::options::{int, is, span};
use super::replies::{begin_pair, begin_pairs, item};
use super::spec::*;
use super::zsets::limits;
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::types::Value;
use crate::types::listpack::Item;
use crate::types::member_dict::{Member, MemberDict};
use crate::types::set::Probe;
use crate::types::zset::{LexBound, Pairs, ScoreRange, ZSet};
use crate::util::float::parse_f64_bound;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("zcount", 4, zcount)
        .flags(READONLY.or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "2.0.0",
            "O(log N)",
            "Counts the members whose score lies between two bounds",
        )
        .args("key min:double max:double"),
    Command::new("zlexcount", 4, zlexcount)
        .flags(READONLY.or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "2.8.9",
            "O(log N)",
            "Counts the members between two byte strings, where all scores are equal",
        )
        .args("key min max"),
    Command::new("zrange", -4, zrange)
        .flags(READONLY)
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "1.2.0",
            "O(log N + M), M the number of members returned",
            "Reads members by rank, by score or in the order of their bytes",
        )
        .args(
            "key start stop [sortby:(BYSCORE | BYLEX)@6.2.0] [REV@6.2.0] [LIMIT \
                offset_count:{offset:integer count:integer}@6.2.0] [WITHSCORES]",
        )
        .history(&[("6.2.0", "BYSCORE, BYLEX, REV and LIMIT")]),
    Command::new("zrangebylex", -4, zrangebylex)
        .flags(READONLY)
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "2.8.9",
            "O(log N + M), M the number of members returned",
            "Reads the members between two byte strings, where all scores are equal",
        )
        .args("key min max [LIMIT offset_count:{offset:integer count:integer}]")
        .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    Command::new("zrangebyscore", -4, zrangebyscore)
        .flags(READONLY)
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "1.0.5",
            "O(log N + M), M the number of members returned",
            "Reads the members whose score lies between two bounds",
        )
        .args(
            "key min:double max:double [WITHSCORES@2.0.0] [LIMIT \
                offset_count:{offset:integer count:integer}]",
        )
        .history(&[("2.0.0", "WITHSCORES")])
        .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
    Command::new("zrangestore", -5, zrangestore)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_SORTEDSET)
        .keys(&[
            KeySpec::one(1, OW.or(UPDATE)),
            KeySpec::one(2, RO.or(ACCESS)),
        ])
        .docs(
            Group::SortedSet,
            "6.2.0",
            "O(log N + M), M the number of members stored",
            "Stores what ZRANGE would return",
        )
        .args(
            "dst:key src:key#1 min max [sortby:(BYSCORE | BYLEX)] [REV] [LIMIT \
                offset_count:{offset:integer count:integer}]",
        ),
    Command::new("zremrangebylex", 4, zremrangebylex)
        .flags(WRITE)
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RW.or(DELETE))])
        .docs(
            Group::SortedSet,
            "2.8.9",
            "O(M log N), M the number of members removed",
            "Removes the members between two byte strings, where all scores are equal",
        )
        .args("key min max"),
    Command::new("zremrangebyrank", 4, zremrangebyrank)
        .flags(WRITE)
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RW.or(DELETE))])
        .docs(
            Group::SortedSet,
            "2.0.0",
            "O(M log N), M the number of members removed",
            "Removes the members between two ranks",
        )
        .args("key start:integer stop:integer"),
    Command::new("zremrangebyscore", 4, zremrangebyscore)
        .flags(WRITE)
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RW.or(DELETE))])
        .docs(
            Group::SortedSet,
            "1.2.0",
            "O(M log N), M the number of members removed",
            "Removes the members whose score lies between two bounds",
        )
        .args("key min:double max:double"),
    Command::new("zrevrange", -4, zrevrange)
        .flags(READONLY)
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "1.2.0",
            "O(log N + M), M the number of members returned",
            "Reads members by rank, from the highest score down",
        )
        .args("key start:integer stop:integer [WITHSCORES]")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument"),
    Command::new("zrevrangebylex", -4, zrevrangebylex)
        .flags(READONLY)
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "2.8.9",
            "O(log N + M), M the number of members returned",
            "Reads the members between two byte strings backwards, where all scores \
                are equal",
        )
        .args("key max min [LIMIT offset_count:{offset:integer count:integer}]")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
    Command::new("zrevrangebyscore", -4, zrevrangebyscore)
        .flags(READONLY)
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "2.2.0",
            "O(log N + M), M the number of members returned",
            "Reads the members whose score lies between two bounds, from the highest down",
        )
        .args(
            "key max:double min:double [WITHSCORES] [LIMIT \
                offset_count:{offset:integer count:integer}]",
        )
        .history(&[("2.1.6", "Bounds that are left out themselves")])
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
];

const NOT_SCORES: Error = Error::new("ERR min or max is not a float");
const NOT_MEMBERS: Error = Error::new("ERR min or max not valid string range item");
const LIMITED_RANKS: Error = Error::new(
    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
);
const SCORES_BY_LEX: Error =
    Error::new("ERR syntax error, WITHSCORES not supported in combination with BYLEX");

/// `ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`
fn zrange(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let query = Query::read(args, 1, None, None, false)?;
    answer(c, &args[1], &query)
}

/// `ZREVRANGE key start stop [WITHSCORES]`
fn zrevrange(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let query = Query::read(args, 1, Some(By::Rank), Some(true), false)?;
    answer(c, &args[1], &query)
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`
fn zrangebyscore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let query = Query::read(args, 1, Some(By::Score), Some(false), false)?;
    answer(c, &args[1], &query)
}

/// `ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]`
fn zrevrangebyscore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let query = Query::read(args, 1, Some(By::Score), Some(true), false)?;
    answer(c, &args[1], &query)
}

/// `ZRANGEBYLEX key min max [LIMIT offset count]`
fn zrangebylex(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let query = Query::read(args, 1, Some(By::Lex), Some(false), false)?;
    answer(c, &args[1], &query)
}

/// `ZREVRANGEBYLEX key max min [LIMIT offset count]`
fn zrevrangebylex(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let query = Query::read(args, 1, Some(By::Lex), Some(true), false)?;
    answer(c, &args[1], &query)
}

/// `ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]`
fn zrangestore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let query = Query::read(args, 2, None, None, true)?;
    let limits = limits(c.server);
    let (mut stored, mut result) = (0, None);
    if let Some(zset) = c.db.zset(&args[2])? {
        let (count, pairs) = query.select(zset);
        stored = count;
        if count > 0 {
            result = Some(Value::ZSet(ZSet::from_members(
                collect(count, pairs),
                limits,
            )));
        }
    }
    c.db.store(&args[1], result, Class::ZSet, "zrangestore");
    c.out.count(stored);
    Ok(())
}

/// `ZCOUNT key min max`
fn zcount(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    count(c, args, By::Score)
}

/// `ZLEXCOUNT key min max`
fn zlexcount(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    count(c, args, By::Lex)
}

/// `ZREMRANGEBYRANK key start stop`
fn zremrangebyrank(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    remove(c, args, By::Rank, "zremrangebyrank")
}

/// `ZREMRANGEBYSCORE key min max`
fn zremrangebyscore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    remove(c, args, By::Score, "zremrangebyscore")
}

/// `ZREMRANGEBYLEX key min max`
fn zremrangebylex(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    remove(c, args, By::Lex, "zremrangebylex")
}

/// Replies with what a query selects.
fn answer(c: &mut Ctx<'_>, key: &[u8], query: &Query<'_>) -> Outcome {
    match c.db.zset(key)? {
        Some(zset) => {
            let (count, pairs) = query.select(zset);
            if c.pace.too_slow(count) {
                return Ok(());
            }
            reply(c.out, count, pairs, query.with_scores);
        }
        None => c.out.array(0),
    }
    Ok(())
}

/// Writes `count` members, with their scores if wanted: one flat array in RESP2, pairs in RESP3.
pub(super) fn reply<'a>(
    out: &mut Reply,
    count: usize,
    pairs: impl Iterator<Item = (Item<'a>, f64)>,
    with_scores: bool,
) {
    begin_pairs(out, count, with_scores);
    for (member, score) in pairs {
        begin_pair(out, with_scores);
        item(out, member);
        if with_scores {
            out.double(score);
        }
    }
}

fn count(c: &mut Ctx<'_>, args: &Args<'_>, by: By) -> Outcome {
    let bounds = Bounds::read(args, by, 2, 3)?;
    let count = match c.db.zset(&args[1])? {
        Some(zset) => bounds.ranks(zset, false).len(),
        None => 0,
    };
    c.out.count(count);
    Ok(())
}

fn remove(c: &mut Ctx<'_>, args: &Args<'_>, by: By, event: &'static str) -> Outcome {
    let bounds = Bounds::read(args, by, 2, 3)?;
    let key = &args[1];
    let removed = match c.db.zset_mut(key)? {
        Some(zset) => {
            let ranks = bounds.ranks(zset, false);
            zset.remove_range(ranks)
        }
        None => 0,
    };
    if removed > 0 {
        c.db.changed_by(Class::ZSet, event, key, removed);
        c.db.delete_empty(key);
    }
    c.out.count(removed);
    Ok(())
}

/// What the bounds of a range are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    /// Ranks, of which negative ones count from the end.
    Rank,
    /// Scores.
    Score,
    /// Members, compared as byte strings.
    Lex,
}

/// A range as a client gives it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Bounds<'a> {
    Ranks(i64, i64),
    Scores(ScoreRange),
    Members(LexBound<'a>, LexBound<'a>),
}

impl<'a> Bounds<'a> {
    /// Reads the bounds at two arguments.
    fn read(args: &'a Args<'_>, by: By, min: usize, max: usize) -> Outcome<Bounds<'a>> {
        Ok(match by {
            By::Rank => Bounds::Ranks(int(args, min)?, int(args, max)?),
            By::Score => {
                let (min, min_exclusive) = score_bound(&args[min])?;
                let (max, max_exclusive) = score_bound(&args[max])?;
                Bounds::Scores(ScoreRange {
                    min,
                    min_exclusive,
                    max,
                    max_exclusive,
                })
            }
            By::Lex => Bounds::Members(lex_bound(&args[min])?, lex_bound(&args[max])?),
        })
    }

    /// The ranks of the members in the range. Bounds that are ranks themselves count from the
    /// highest score when `reverse`.
    fn ranks(&self, zset: &ZSet, reverse: bool) -> Range<usize> {
        match self {
            Bounds::Ranks(start, stop) => {
                let len = zset.len();
                let ranks = span(*start, *stop, len);
                if reverse {
                    len - ranks.end..len - ranks.start
                } else {
                    ranks
                }
            }
            Bounds::Scores(range) => zset.score_ranks(range),
            Bounds::Members(min, max) => zset.lex_ranks(*min, *max),
        }
    }
}

/// Reads a score and whether it is left out itself.
fn score_bound(text: &[u8]) -> Outcome<(f64, bool)> {
    let (text, exclusive) = match text {
        [b'(', rest @ ..] => (rest, true),
        _ => (text, false),
    };
    let score = parse_f64_bound(text).ok_or(NOT_SCORES)?;
    Ok((score, exclusive))
}

/// Reads a bound of members.
fn lex_bound(text: &[u8]) -> Outcome<LexBound<'_>> {
    Ok(match text {
        // Redis looks at the sign as a C string.
        [b'-'] | [b'-', 0, ..] => LexBound::Min,
        [b'+'] | [b'+', 0, ..] => LexBound::Max,
        [b'[', member @ ..] => LexBound::Included(member),
        [b'(', member @ ..] => LexBound::Excluded(member),
        _ => return Err(NOT_MEMBERS),
    })
}

/// A range with its options.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Query<'a> {
    bounds: Bounds<'a>,
    reverse: bool,
    /// Members to skip; a negative number skips all.
    offset: i64,
    /// Members to return at most; a negative number is no limit.
    count: i64,
    with_scores: bool,
}

impl<'a> Query<'a> {
    /// Reads the query whose key is at `at`. What the command's name says already (`by`,
    /// `reverse`) is no option any more, and what it stores has its scores in any case.
    fn read(
        args: &'a Args<'_>,
        at: usize,
        mut by: Option<By>,
        mut reverse: Option<bool>,
        store: bool,
    ) -> Outcome<Query<'a>> {
        let (mut offset, mut count, mut with_scores) = (0, -1, false);
        let mut next = at + 3;
        while next < args.len() {
            let word = &args[next];
            if !store && is(word, "WITHSCORES") {
                with_scores = true;
            } else if is(word, "LIMIT") && next + 2 < args.len() {
                offset = int(args, next + 1)?;
                count = int(args, next + 2)?;
                next += 2;
            } else if reverse.is_none() && is(word, "REV") {
                reverse = Some(true);
            } else if by.is_none() && is(word, "BYLEX") {
                by = Some(By::Lex);
            } else if by.is_none() && is(word, "BYSCORE") {
                by = Some(By::Score);
            } else {
                return Err(SYNTAX);
            }
            next += 1;
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        // As in Redis, a count of -1 is as good as none.
        if by == By::Rank && count != -1 {
            return Err(LIMITED_RANKS);
        }
        if by == By::Lex && with_scores {
            return Err(SCORES_BY_LEX);
        }
        // Backwards, scores and members are given from the upper end; ranks are not.
        let (min, max) = if reverse && by != By::Rank {
            (at + 2, at + 1)
        } else {
            (at + 1, at + 2)
        };
        Ok(Query {
            bounds: Bounds::read(args, by, min, max)?,
            reverse,
            offset: if by == By::Rank { 0 } else { offset },
            count,
            with_scores,
        })
    }

    /// How many members are selected, and the members in the order asked for.
    fn select<'z>(&self, zset: &'z ZSet) -> (usize, std::iter::Take<Pairs<'z>>) {
        let ranks = self.bounds.ranks(zset, self.reverse);
        let (skip, count) = self.window(ranks.len());
        let pairs = if self.reverse {
            zset.down(ranks.end - skip)
        } else {
            zset.up(ranks.start + skip)
        };
        (count, pairs.take(count))
    }

    /// How many of `len` members are skipped, and how many are then returned.
    fn window(&self, len: usize) -> (usize, usize) {
        // What does not fit is more than there can be.
        let skip = usize::try_from(self.offset).unwrap_or(len).min(len);
        let count = usize::try_from(self.count).unwrap_or(len).min(len - skip);
        (skip, count)
    }
}

/// Copies members into a dict, in this order.
fn collect<'a>(count: usize, pairs: impl Iterator<Item = (Item<'a>, f64)>) -> MemberDict<f64> {
    let mut members = MemberDict::with_capacity(count);
    for (member, score) in pairs {
        let mut probe = Probe::new(member);
        let (hash, text) = probe.hashed();
        members.insert_new(hash, Member::new(text), score);
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn bounds() {
        assert_eq!(score_bound(b"(1.5"), Ok((1.5, true)));
        assert_eq!(score_bound(b"-inf"), Ok((f64::NEG_INFINITY, false)));
        assert_eq!(score_bound(b"("), Ok((0.0, true)));
        assert_eq!(score_bound(b"((1"), Err(NOT_SCORES));
        assert_eq!(score_bound(b"nan"), Err(NOT_SCORES));
        assert_eq!(lex_bound(b"-"), Ok(LexBound::Min));
        assert_eq!(lex_bound(b"+\0x"), Ok(LexBound::Max));
        assert_eq!(lex_bound(b"["), Ok(LexBound::Included(b"")));
        assert_eq!(lex_bound(b"(a"), Ok(LexBound::Excluded(b"a")));
        for wrong in [&b""[..], b"a", b"+x", b"-inf"] {
            assert_eq!(lex_bound(wrong), Err(NOT_MEMBERS), "{wrong:?}");
        }
    }

    #[test]
    fn windows() {
        let query = |offset, count| Query {
            bounds: Bounds::Ranks(0, -1),
            reverse: false,
            offset,
            count,
            with_scores: false,
        };
        for (offset, count, expected) in [
            (0, -1, (0, 10)),
            (3, 4, (3, 4)),
            (8, 4, (8, 2)),
            (0, 0, (0, 0)),
            (-1, 4, (10, 0)),
            (2, -7, (2, 8)),
            (i64::MAX, i64::MAX, (10, 0)),
        ] {
            assert_eq!(query(offset, count).window(10), expected);
        }
    }

    #[test]
    fn options() {
        let read = |words: &str| {
            let mut owned = OwnedArgs::new(format!("ZRANGE k {words}").split_whitespace());
            Query::read(&owned.args(), 1, None, None, false).map(|query| query.reverse)
        };
        assert_eq!(read("0 -1 rev WITHSCORES"), Ok(true));
        assert_eq!(read("(1 2 BYSCORE LIMIT 1 2 WITHSCORES"), Ok(false));
        assert_eq!(read("0 -1 LIMIT 5 -1"), Ok(false));
        assert_eq!(read("0 -1 LIMIT 0 1"), Err(LIMITED_RANKS));
        assert_eq!(read("0 -1 LIMIT 0 1 BYLEX WITHSCORES"), Err(SCORES_BY_LEX));
        assert_eq!(read("0 -1 BYSCORE BYSCORE"), Err(SYNTAX));
        assert_eq!(read("0 -1 REV REV"), Err(SYNTAX));
        assert_eq!(read("0 -1 LIMIT 0"), Err(SYNTAX));
        assert_eq!(read("a b BYLEX"), Err(NOT_MEMBERS));
        assert_eq!(read("a b BYSCORE"), Err(NOT_SCORES));
    }
}
