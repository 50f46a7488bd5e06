//! The basic sorted set commands: members and their scores one by one, ranks, random members,
//! ZSCAN. Ranges, algebra over several sets and popping have files of their own.
//!
//! [`Adding`] is ZADD without its arguments, and also what stands behind ZINCRBY and GEOADD; a
//! member is looked up once, whatever the options.

use std::collections::HashSet;

use super::error::{Error, NOT_A_FLOAT, Outcome, SYNTAX};
use super::keyspace::{Class, Keyspace};
use super::options::{draws, is, wrong_arity};
use super::replies::{Endless, begin_pair, begin_pairs, item};
use super::scan::{self, ScanOptions, Scanned};
use super::spec::*;
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::server::Server;
use crate::server::config::id;
use crate::types::Value;
use crate::types::listpack::Item;
use crate::types::zset::{Change, Limits, ZSet};
use crate::util::num;
use crate::util::random::{Rng, with_thread_rng};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("zadd", -4, zadd)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::SortedSet,
            "1.2.0",
            "O(log(N)) a member, N the number of members",
            "Adds members with scores to a sorted set, or changes the scores of those it has",
        )
        .args(
            "key [condition:(NX | XX)@3.0.2] [comparison:(GT | LT)@6.2.0] [change:\"CH\"@3.0.2] \
                [increment:\"INCR\"@3.0.2] score_member:{score:double member}...",
        )
        .history(&[
            ("2.4.0", "Several members at once"),
            ("3.0.2", "Options XX, NX, CH and INCR"),
            ("6.2.0", "Options GT and LT"),
        ]),
    Command::new("zcard", 2, zcard)
        .flags(READONLY.or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO)])
        .docs(
            Group::SortedSet,
            "1.2.0",
            "O(1)",
            "Tells how many members a sorted set has",
        )
        .args("key"),
    Command::new("zincrby", 4, zincrby)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(UPDATE))])
        .docs(
            Group::SortedSet,
            "1.2.0",
            "O(log(N)), N the number of members",
            "Adds a given amount to a member's score",
        )
        .args("key increment:integer member"),
    Command::new("zmscore", -3, zmscore)
        .flags(READONLY.or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "6.2.0",
            "O(N), N the number of members asked for",
            "Reads the scores of several members",
        )
        .args("key member..."),
    Command::new("zrandmember", -2, zrandmember)
        .flags(READONLY)
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "6.2.0",
            "O(N), N the number of members returned",
            "Picks members of a sorted set at random",
        )
        .args("key [options:{count:integer [WITHSCORES]}]")
        .tips(&["nondeterministic_output"]),
    Command::new("zrank", -3, zrank)
        .flags(READONLY.or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "2.0.0",
            "O(log(N)), N the number of members",
            "Tells a member's position, counted from the lowest score",
        )
        .args("key member [WITHSCORE@7.2.0]")
        .history(&[("7.2.0", "Option WITHSCORE")]),
    Command::new("zrem", -3, zrem)
        .flags(WRITE.or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RW.or(DELETE))])
        .docs(
            Group::SortedSet,
            "1.2.0",
            "O(M*log(N)), N the number of members, M the number of them removed",
            "Removes members from a sorted set",
        )
        .args("key member...")
        .history(&[("2.4.0", "Several members at once")]),
    Command::new("zrevrank", -3, zrevrank)
        .flags(READONLY.or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "2.0.0",
            "O(log(N)), N the number of members",
            "Tells a member's position, counted from the highest score",
        )
        .args("key member [WITHSCORE@7.2.0]")
        .history(&[("7.2.0", "Option WITHSCORE")]),
    Command::new("zscan", -3, zscan)
        .flags(READONLY)
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "2.8.0",
            "O(1) a call, O(N) for all N members",
            "Walks through the members of a sorted set bit by bit",
        )
        .args("key cursor:integer [MATCH pattern] [COUNT count:integer]")
        .tips(&["nondeterministic_output"]),
    Command::new("zscore", 3, zscore)
        .flags(READONLY.or(FAST))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(Group::SortedSet, "1.2.0", "O(1)", "Reads a member's score")
        .args("key member"),
];

const NX_AND_XX: Error = Error::new("ERR XX and NX options at the same time are not compatible");
const GT_LT_NX: Error =
    Error::new("ERR GT, LT, and/or NX options at the same time are not compatible");
const ONE_PAIR: Error = Error::new("ERR INCR option supports a single increment-element pair");
const NOT_A_NUMBER: Error = Error::new("ERR resulting score is not a number (NaN)");

/// Up to where sorted sets are packed.
pub(super) fn limits(server: &Server) -> Limits {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Limits {
        entries: size(server.config.int(id::ZSET_MAX_LISTPACK_ENTRIES) as u64),
        value: size(server.config.memory(id::ZSET_MAX_LISTPACK_VALUE)),
    }
}

// ---------------------------------------------------------------- adding

/// How ZADD and its kin add members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Adding {
    /// NX: only members that are not there.
    pub nx: bool,
    /// XX: only members that are there.
    pub xx: bool,
    /// GT: a score only ever rises.
    pub gt: bool,
    /// LT: a score only ever falls.
    pub lt: bool,
    /// CH: the reply counts the scores that have changed as well.
    pub ch: bool,
    /// INCR: the score is added to the one that is there; the reply is the sum.
    pub incr: bool,
}

/// What adding some members has done.
#[derive(Default)]
struct Added {
    added: usize,
    updated: usize,
    /// The last member's new score, unless the options kept it as it was.
    score: Option<f64>,
}

impl Adding {
    /// Adds members, each with its score, and writes the reply of ZADD. There is at least one
    /// pair, and exactly one with INCR.
    ///
    /// # Errors
    /// `WRONGTYPE` when the key holds something else; with INCR, when the sum is not a number.
    pub fn add<'m>(
        self,
        db: &mut Keyspace<'_>,
        out: &mut Reply,
        key: &[u8],
        pairs: impl ExactSizeIterator<Item = (f64, &'m [u8])>,
    ) -> Outcome {
        let limits = limits(db.server);
        let done = match db.zset_mut(key)? {
            Some(zset) => {
                if pairs.len() > limits.entries {
                    zset.make_table();
                }
                self.add_to(zset, limits, pairs)?
            }
            None if self.xx => Added::default(),
            None => {
                let mut pairs = pairs.peekable();
                let first = pairs.peek().map_or(0, |(_, member)| member.len());
                let mut zset = ZSet::sized(pairs.len(), first, limits);
                let done = self.add_to(&mut zset, limits, pairs)?;
                db.add(key, Value::ZSet(zset));
                done
            }
        };
        match done.score {
            _ if !self.incr && self.ch => out.count(done.added + done.updated),
            _ if !self.incr => out.count(done.added),
            Some(score) => out.double(score),
            None => out.null(),
        }
        let changes = done.added + done.updated;
        if changes > 0 {
            let event = if self.incr { "zincr" } else { "zadd" };
            db.changed_by(Class::ZSet, event, key, changes);
        }
        Ok(())
    }

    /// Adds members to a sorted set.
    fn add_to<'m>(
        self,
        zset: &mut ZSet,
        limits: Limits,
        pairs: impl Iterator<Item = (f64, &'m [u8])>,
    ) -> Outcome<Added> {
        let mut done = Added::default();
        for (by, member) in pairs {
            let mut score = by;
            let change = zset.update(member, limits, |old| {
                score = self.decide(old, by)?;
                (!score.is_nan()).then_some(score)
            });
            if score.is_nan() {
                return Err(NOT_A_NUMBER);
            }
            match change {
                Some(Change::Added) => done.added += 1,
                Some(Change::Updated) => done.updated += 1,
                Some(Change::Same) | None => {}
            }
            done.score = change.map(|_| score);
        }
        Ok(done)
    }

    /// The score of a member that had `old`, or `None` when it is to keep that or to stay away.
    #[inline]
    fn decide(self, old: Option<f64>, score: f64) -> Option<f64> {
        let Some(old) = old else {
            return (!self.xx).then_some(score);
        };
        if self.nx {
            return None;
        }
        let score = if self.incr { old + score } else { score };
        let refused = (self.gt && score <= old) || (self.lt && score >= old);
        (!refused).then_some(score)
    }

    /// Notes the option at the start of ZADD's arguments; whether it is one.
    fn note(&mut self, arg: &[u8]) -> bool {
        let flag = match arg {
            _ if is(arg, "NX") => &mut self.nx,
            _ if is(arg, "XX") => &mut self.xx,
            _ if is(arg, "CH") => &mut self.ch,
            _ if is(arg, "INCR") => &mut self.incr,
            _ if is(arg, "GT") => &mut self.gt,
            _ if is(arg, "LT") => &mut self.lt,
            _ => return false,
        };
        *flag = true;
        true
    }

    /// Carries out ZADD or, where INCR is set to begin with, ZINCRBY.
    fn command(mut self, c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
        // Redis looks for options in ZINCRBY as well.
        let mut at = 2;
        while args.get(at).is_some_and(|arg| self.note(arg)) {
            at += 1;
        }
        let words = args.len() - at;
        if words == 0 || !words.is_multiple_of(2) {
            return Err(SYNTAX);
        }
        let pairs = words / 2;
        if self.nx && self.xx {
            return Err(NX_AND_XX);
        }
        if (self.nx && (self.gt || self.lt)) || (self.gt && self.lt) {
            return Err(GT_LT_NX);
        }
        if self.incr && pairs > 1 {
            return Err(ONE_PAIR);
        }
        // All scores are read before the first one counts; a few of them on the stack.
        let (mut few, mut many) = ([0.0; 16], Vec::new());
        let scores = match few.get_mut(..pairs) {
            Some(few) => few,
            None => {
                many.resize(pairs, 0.0);
                &mut many[..]
            }
        };
        for (pair, score) in scores.iter_mut().enumerate() {
            *score = num::parse_f64(&args[at + 2 * pair]).ok_or(NOT_A_FLOAT)?;
        }
        let members = scores.iter().enumerate();
        let pairs = members.map(|(pair, score)| (*score, &args[at + 2 * pair + 1]));
        self.add(&mut c.db, c.out, &args[1], pairs)
    }
}

fn zadd(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    Adding::default().command(c, args)
}

fn zincrby(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let adding = Adding {
        incr: true,
        ..Adding::default()
    };
    adding.command(c, args)
}

// ---------------------------------------------------------------- removing

fn zrem(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let key = &args[1];
    let Some(zset) = c.db.zset_mut(key)? else {
        c.out.int(0);
        return Ok(());
    };
    let mut removed = 0;
    for member in args.from(2) {
        if zset.remove(member).is_some() {
            removed += 1;
            if zset.is_empty() {
                break;
            }
        }
    }
    let emptied = zset.is_empty();
    if removed > 0 {
        c.db.changed_by(Class::ZSet, "zrem", key, removed);
    }
    if emptied {
        c.db.delete_empty(key);
    }
    c.out.count(removed);
    Ok(())
}

// ---------------------------------------------------------------- reading

fn zcard(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let len = c.db.zset(&args[1])?.map_or(0, ZSet::len);
    c.out.count(len);
    Ok(())
}

/// A score, or null where there is no such member.
fn score_or_null(out: &mut Reply, score: Option<f64>) {
    match score {
        Some(score) => out.double(score),
        None => out.null(),
    }
}

fn zscore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let zset = c.db.zset(&args[1])?;
    score_or_null(c.out, zset.and_then(|zset| zset.score(&args[2])));
    Ok(())
}

fn zmscore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let zset = c.db.zset(&args[1])?;
    c.out.array(args.len() - 2);
    for member in args.from(2) {
        score_or_null(c.out, zset.and_then(|zset| zset.score(member)));
    }
    Ok(())
}

fn zrank(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    rank(c, args, false)
}

fn zrevrank(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    rank(c, args, true)
}

fn rank(c: &mut Ctx<'_>, args: &Args<'_>, reverse: bool) -> Outcome {
    let with_score = match args.get(3) {
        None => false,
        Some(_) if args.len() > 4 => return Err(wrong_arity(&c.row.name)),
        Some(arg) if is(arg, "WITHSCORE") => true,
        Some(_) => return Err(SYNTAX),
    };
    let zset = c.db.zset(&args[1])?;
    match zset.and_then(|zset| zset.rank(&args[2], reverse)) {
        Some((rank, score)) if with_score => {
            c.out.array(2);
            c.out.count(rank);
            c.out.double(score);
        }
        Some((rank, _)) => c.out.count(rank),
        None if with_score => c.out.null_array(),
        None => c.out.null(),
    }
    Ok(())
}

fn zscan(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let cursor = scan::cursor(args, 2)?;
    let (mut found, mut batch) = (0, Reply::new());
    // The options of a scan over nothing are not looked at.
    let Some(zset) = c.db.zset(&args[1])? else {
        scan::reply(c.out, 0, 0, &batch);
        return Ok(());
    };
    let options = ScanOptions::read(args, 3, Scanned::Members)?;
    let packed = matches!(zset, ZSet::Packed(_));
    let (mut scratch, mut text) = ([0; 20], Vec::with_capacity(32));
    let next = zset.scan(cursor, options.count, |member, score| {
        let member = member.bytes(&mut scratch);
        if !options.pattern.fits(member) {
            return;
        }
        text.clear();
        // A packed score is shown as it is stored; neither is a double in RESP3.
        if packed {
            num::write_f64_stored(&mut text, score);
        } else {
            num::write_f64(&mut text, score);
        }
        batch.bulk(member);
        batch.bulk(&text);
        found += 2;
    });
    scan::reply(c.out, next, found, &batch);
    Ok(())
}

// ---------------------------------------------------------------- picking

fn zrandmember(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let Some((count, with_scores)) = draws(args, "WITHSCORES")? else {
        match c.db.zset(&args[1])? {
            Some(zset) => with_thread_rng(|rng| pick(c.out, zset, rng, false)),
            None => c.out.null(),
        }
        return Ok(());
    };
    let Some(zset) = c.db.zset(&args[1])? else {
        c.out.array(0);
        return Ok(());
    };
    if let Ok(count) = usize::try_from(count) {
        let times = count.min(zset.len());
        begin_pairs(c.out, times, with_scores);
        with_thread_rng(|rng| pick_distinct(c.out, zset, rng, times, with_scores));
        return Ok(());
    }
    let times = count.unsigned_abs();
    if c.pace.too_slow(times as usize) {
        return Ok(());
    }
    begin_pairs(c.out, times as usize, with_scores);
    let mut endless = Endless::new(c.server, &c.session.client, c.out, times);
    with_thread_rng(|rng| {
        pick_repeatedly(c.out, zset, rng, times, with_scores, |out| {
            endless.goes_on(out)
        });
    });
    Ok(())
}

/// Writes a member that was picked.
fn picked(out: &mut Reply, (member, score): (Item<'_>, f64), with_score: bool) {
    begin_pair(out, with_score);
    item(out, member);
    if with_score {
        out.double(score);
    }
}

/// Writes one member at random.
fn pick(out: &mut Reply, zset: &ZSet, rng: &mut Rng, with_score: bool) {
    if let Some(pair) = zset.random(rng) {
        picked(out, pair, with_score);
    }
}

/// Writes so many members, each at random, or as many as `goes_on` lets it.
fn pick_repeatedly(
    out: &mut Reply,
    zset: &ZSet,
    rng: &mut Rng,
    times: u64,
    with_scores: bool,
    mut goes_on: impl FnMut(&mut Reply) -> bool,
) {
    // Each step through a packed set would start at its beginning.
    let pairs: Vec<_> = match zset {
        ZSet::Packed(_) if times > 1 => zset.iter().collect(),
        _ => Vec::new(),
    };
    for _ in 0..times {
        match &pairs[..] {
            [] => pick(out, zset, rng, with_scores),
            pairs => picked(out, pairs[rng.index(pairs.len())], with_scores),
        }
        if !goes_on(out) {
            break;
        }
    }
}

/// Writes so many different members, of which there are enough.
fn pick_distinct(out: &mut Reply, zset: &ZSet, rng: &mut Rng, times: usize, with_scores: bool) {
    let len = zset.len();
    if times == len {
        for pair in zset.down(len) {
            picked(out, pair, with_scores);
        }
    } else if times > len / 3 || matches!(zset, ZSet::Packed(_)) {
        // Each member is taken with the probability that the rest of the sample needs.
        let mut left = times;
        for (passed, pair) in zset.iter().enumerate() {
            if left == 0 {
                break;
            }
            if rng.index(len - passed) < left {
                picked(out, pair, with_scores);
                left -= 1;
            }
        }
    } else {
        let mut taken = HashSet::with_capacity(times);
        while taken.len() < times {
            let number = rng.index(len);
            if taken.insert(number) {
                zset.nth(number)
                    .into_iter()
                    .for_each(|pair| picked(out, pair, with_scores));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_options_make_of_a_score() {
        let with = |options: &str| {
            let mut adding = Adding::default();
            for option in options.split_whitespace() {
                assert!(adding.note(option.as_bytes()));
            }
            adding
        };
        for (options, old, score, new) in [
            ("", None, 1.0, Some(1.0)),
            ("", Some(5.0), 1.0, Some(1.0)),
            ("nx", None, 1.0, Some(1.0)),
            ("NX incr", Some(5.0), 1.0, None),
            ("xx", None, 1.0, None),
            ("XX", Some(5.0), 1.0, Some(1.0)),
            ("gt", None, 1.0, Some(1.0)),
            ("gt", Some(5.0), 5.0, None),
            ("gt", Some(5.0), 5.5, Some(5.5)),
            ("lt ch", Some(5.0), 5.0, None),
            ("lt", Some(5.0), 4.5, Some(4.5)),
            ("incr", None, 1.0, Some(1.0)),
            ("incr", Some(5.0), 1.0, Some(6.0)),
            ("gt incr", Some(5.0), -1.0, None),
            ("lt incr", Some(5.0), -1.0, Some(4.0)),
        ] {
            assert_eq!(with(options).decide(old, score), new, "{options} {old:?}");
        }
        assert!(!Adding::default().note(b"5"));
    }

    #[test]
    fn samples_are_fair_and_distinct() {
        for (entries, len, times) in [(128, 10, 3), (0, 10, 2), (0, 10, 7)] {
            let limits = Limits { entries, value: 64 };
            let mut zset = ZSet::new();
            for member in 0..len {
                zset.set(format!("{member}").as_bytes(), 0.0, limits);
            }
            let mut counts = vec![0usize; len];
            let mut rng = Rng::new([1, 2]);
            let rounds = 10_000;
            for _ in 0..rounds {
                let mut out = Reply::new();
                pick_distinct(&mut out, &zset, &mut rng, times, false);
                let text = String::from_utf8_lossy(out.bytes()).into_owned();
                let members: HashSet<usize> = text
                    .split("\r\n")
                    .filter_map(|line| line.parse().ok())
                    .collect();
                assert_eq!(members.len(), times, "{text}");
                members.into_iter().for_each(|member| counts[member] += 1);
            }
            // Six standard deviations.
            let expected = rounds * times / len;
            assert!(
                counts.iter().all(|n| n.abs_diff(expected) < 300),
                "{counts:?}"
            );
        }
    }
}
