//! The algebra of sorted sets: union, intersection and difference, returned, stored or counted.
//!
//! Inputs may be plain sets as well, whose members all have score 1. A result is gathered without
//! order first, and put in order once it is complete.

use std::cmp::Ordering;
use std::ops::Range;

use super::error::{Error, Outcome, SYNTAX, WRONG_TYPE};
use super::keyspace::{Class, Keyspace};
use super::options::{int, is, limit};
use super::spec::*;
use super::zset_ranges::reply;
use super::zsets::limits;
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::types::listpack::Item;
use crate::types::member_dict::{Member, MemberDict};
use crate::types::set::{Probe, Set};
use crate::types::zset::ZSet;
use crate::types::{Type, Value};
use crate::util::float::parse_f64;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("zdiff", -3, zdiff)
        .flags(READONLY.or(MOVABLEKEYS))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::counted(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "6.2.0",
            "O(N), N the total number of members; O(M log M) for the order of the M results",
            "Returns the first sorted set without the members of the others",
        )
        .args("numkeys:integer key... [WITHSCORES]"),
    Command::new("zdiffstore", -4, zdiffstore)
        .flags(WRITE.or(DENYOOM).or(MOVABLEKEYS))
        .acl(CAT_SORTEDSET)
        .keys(&[
            KeySpec::one(1, OW.or(UPDATE)),
            KeySpec::counted(2, RO.or(ACCESS)),
        ])
        .docs(
            Group::SortedSet,
            "6.2.0",
            "O(N), N the total number of members; O(M log M) for the order of the M results",
            "Stores the first sorted set without the members of the others",
        )
        .args("destination:key numkeys:integer key#1..."),
    Command::new("zinter", -3, zinter)
        .flags(READONLY.or(MOVABLEKEYS))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::counted(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "6.2.0",
            "O(N * K), N the size of the smallest of K inputs; O(M log M) for the \
                order of the M results",
            "Returns the members that all sorted sets have, with their scores combined",
        )
        .args(
            "numkeys:integer key... [WEIGHTS weight:integer...] [AGGREGATE \
                aggregate:(SUM | MIN | MAX)] [WITHSCORES]",
        ),
    Command::new("zintercard", -3, zintercard)
        .flags(READONLY.or(MOVABLEKEYS))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::counted(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "7.0.0",
            "O(N * K), N the size of the smallest of K inputs",
            "Counts the members that all sorted sets have",
        )
        .args("numkeys:integer key... [LIMIT limit:integer]"),
    Command::new("zinterstore", -4, zinterstore)
        .flags(WRITE.or(DENYOOM).or(MOVABLEKEYS))
        .acl(CAT_SORTEDSET)
        .keys(&[
            KeySpec::one(1, OW.or(UPDATE)),
            KeySpec::counted(2, RO.or(ACCESS)),
        ])
        .docs(
            Group::SortedSet,
            "2.0.0",
            "O(N * K), N the size of the smallest of K inputs; O(M log M) for the \
                order of the M results",
            "Stores the members that all sorted sets have, with their scores combined",
        )
        .args(
            "destination:key numkeys:integer key#1... [WEIGHTS weight:integer...] \
                [AGGREGATE aggregate:(SUM | MIN | MAX)]",
        ),
    Command::new("zunion", -3, zunion)
        .flags(READONLY.or(MOVABLEKEYS))
        .acl(CAT_SORTEDSET)
        .keys(&[KeySpec::counted(1, RO.or(ACCESS))])
        .docs(
            Group::SortedSet,
            "6.2.0",
            "O(N), N the total number of members; O(M log M) for the order of the M results",
            "Returns the members that any sorted set has, with their scores combined",
        )
        .args(
            "numkeys:integer key... [WEIGHTS weight:integer...] [AGGREGATE \
                aggregate:(SUM | MIN | MAX)] [WITHSCORES]",
        ),
    Command::new("zunionstore", -4, zunionstore)
        .flags(WRITE.or(DENYOOM).or(MOVABLEKEYS))
        .acl(CAT_SORTEDSET)
        .keys(&[
            KeySpec::one(1, OW.or(UPDATE)),
            KeySpec::counted(2, RO.or(ACCESS)),
        ])
        .docs(
            Group::SortedSet,
            "2.0.0",
            "O(N), N the total number of members; O(M log M) for the order of the M results",
            "Stores the members that any sorted set has, with their scores combined",
        )
        .args(
            "destination:key numkeys:integer key#1... [WEIGHTS weight:integer...] \
                [AGGREGATE aggregate:(SUM | MIN | MAX)]",
        ),
];

const NOT_A_WEIGHT: Error = Error::new("ERR weight value is not a float");

/// `ZUNION numkeys key... [WEIGHTS weight...] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]`
fn zunion(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (inputs, options) = read(&mut c.db, args, &c.row.name, Op::Union, Purpose::Reply)?;
    if c.pace.too_slow(work(&inputs, Op::Union)) {
        return Ok(());
    }
    let result = union(&inputs, options.aggregate);
    let pairs = result.iter().map(|(m, score)| (Item::Bytes(m), *score));
    answer(c.out, pairs.collect(), &options);
    Ok(())
}

/// `ZINTER numkeys key... [WEIGHTS weight...] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]`
fn zinter(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (inputs, options) = read(&mut c.db, args, &c.row.name, Op::Inter, Purpose::Reply)?;
    if c.pace.too_slow(work(&inputs, Op::Inter)) {
        return Ok(());
    }
    let mut pairs = Vec::new();
    intersect(&inputs, options.aggregate, |member, score| {
        pairs.push((member.item(), score));
        true
    });
    answer(c.out, pairs, &options);
    Ok(())
}

/// `ZDIFF numkeys key... [WITHSCORES]`
fn zdiff(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (inputs, options) = read(&mut c.db, args, &c.row.name, Op::Diff, Purpose::Reply)?;
    if c.pace.too_slow(work(&inputs, Op::Diff)) {
        return Ok(());
    }
    let mut pairs = Vec::new();
    subtract(&inputs, |member, score| pairs.push((member.item(), score)));
    answer(c.out, pairs, &options);
    Ok(())
}

/// `ZINTERCARD numkeys key... [LIMIT limit]`
fn zintercard(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (inputs, options) = read(&mut c.db, args, &c.row.name, Op::Inter, Purpose::Count)?;
    if c.pace.too_slow(work(&inputs, Op::Inter)) {
        return Ok(());
    }
    let mut count = 0;
    intersect(&inputs, options.aggregate, |_, _| {
        count += 1;
        count != options.limit
    });
    c.out.count(count);
    Ok(())
}

/// `ZUNIONSTORE destination numkeys key... [WEIGHTS weight...] [AGGREGATE SUM | MIN | MAX]`
fn zunionstore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (inputs, options) = read(&mut c.db, args, &c.row.name, Op::Union, Purpose::Store)?;
    if c.pace.too_slow(work(&inputs, Op::Union)) {
        return Ok(());
    }
    let result = union(&inputs, options.aggregate);
    store(c, &args[1], result, "zunionstore")
}

/// `ZINTERSTORE destination numkeys key... [WEIGHTS weight...] [AGGREGATE SUM | MIN | MAX]`
fn zinterstore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (inputs, options) = read(&mut c.db, args, &c.row.name, Op::Inter, Purpose::Store)?;
    if c.pace.too_slow(work(&inputs, Op::Inter)) {
        return Ok(());
    }
    let mut result = MemberDict::new();
    intersect(&inputs, options.aggregate, |member, score| {
        add(&mut result, member, score);
        true
    });
    store(c, &args[1], result, "zinterstore")
}

/// `ZDIFFSTORE destination numkeys key...`
fn zdiffstore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (inputs, _) = read(&mut c.db, args, &c.row.name, Op::Diff, Purpose::Store)?;
    if c.pace.too_slow(work(&inputs, Op::Diff)) {
        return Ok(());
    }
    let mut result = MemberDict::new();
    subtract(&inputs, |member, score| add(&mut result, member, score));
    store(c, &args[1], result, "zdiffstore")
}

/// How many members have to be looked at.
fn work(inputs: &[Input<'_>], op: Op) -> usize {
    let lens = inputs.iter().map(Input::len);
    match op {
        Op::Inter => lens.min().unwrap_or(0).saturating_mul(inputs.len()),
        Op::Union | Op::Diff => lens.sum(),
    }
}

/// Replies with a result, which is in no order yet.
fn answer(out: &mut Reply, mut pairs: Vec<(Item<'_>, f64)>, options: &Options) {
    pairs.sort_unstable_by(|a, b| match a.1.partial_cmp(&b.1) {
        Some(Ordering::Equal) | None => a.0.bytes(&mut [0; 20]).cmp(b.0.bytes(&mut [0; 20])),
        Some(order) => order,
    });
    reply(out, pairs.len(), pairs.into_iter(), options.with_scores);
}

/// Stores a result and replies with its size.
fn store(c: &mut Ctx<'_>, key: &[u8], result: MemberDict<f64>, event: &'static str) -> Outcome {
    let count = result.len();
    let limits = limits(c.server);
    let value = (count > 0).then(|| Value::ZSet(ZSet::from_members(result, limits)));
    c.db.store(key, value, Class::ZSet, event);
    c.out.count(count);
    Ok(())
}

/// Adds a member that is not there yet.
fn add(members: &mut MemberDict<f64>, member: &mut Probe<'_>, score: f64) {
    let (hash, text) = member.hashed();
    members.insert_new(hash, Member::new(text), score);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Union,
    Inter,
    Diff,
}

/// What becomes of the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Reply,
    Store,
    Count,
}

/// How the scores of a member are combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn from_keyword(word: &[u8]) -> Option<Aggregate> {
        const KEYWORDS: [(&str, Aggregate); 3] = [
            ("SUM", Aggregate::Sum),
            ("MIN", Aggregate::Min),
            ("MAX", Aggregate::Max),
        ];
        KEYWORDS
            .iter()
            .find(|(keyword, _)| is(word, keyword))
            .map(|&(_, aggregate)| aggregate)
    }

    /// Adds a score to the total so far, which is a number and stays one: the sum of opposite
    /// infinities is 0, and what is not a number is neither less nor more.
    #[inline]
    fn fold(self, total: &mut f64, score: f64) {
        match self {
            Aggregate::Sum => *total = number(*total + score),
            Aggregate::Min if score < *total => *total = score,
            Aggregate::Max if score > *total => *total = score,
            _ => {}
        }
    }
}

/// The score, or 0 for what is not a number.
#[inline]
fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

struct Options {
    aggregate: Aggregate,
    with_scores: bool,
    /// Where ZINTERCARD stops; 0 for no limit.
    limit: usize,
}

/// One of the sets, with its weight.
struct Input<'a> {
    members: Members<'a>,
    weight: f64,
}

#[derive(Clone, Copy)]
enum Members<'a> {
    /// There is no such key.
    None,
    Set(&'a Set),
    ZSet(&'a ZSet),
}

/// Reads a request: the sets, in the order in which they are worked on, and the options.
///
/// # Errors
/// In the order of Redis: the number of keys, the type of each, the options.
fn read<'a>(
    db: &'a mut Keyspace<'_>,
    args: &Args<'_>,
    name: &str,
    op: Op,
    purpose: Purpose,
) -> Outcome<(Vec<Input<'a>>, Options)> {
    let at = if purpose == Purpose::Store { 2 } else { 1 };
    let number = int(args, at)?;
    if number < 1 {
        return Err(Error::text(format!(
            "ERR at least 1 input key is needed for '{name}' command"
        )));
    }
    let first = at + 1;
    let number = usize::try_from(number)
        .ok()
        .filter(|&number| number <= args.len() - first)
        .ok_or(SYNTAX)?;
    let keys = first..first + number;
    let mut inputs = look_up(db, args, keys.clone())?;
    let options = read_options(args, keys.end, &mut inputs, op, purpose)?;
    if op != Op::Diff {
        // The smallest first. The order of those of one size must stay: sums depend on it.
        inputs.sort_by_key(|input| input.len());
    }
    Ok((inputs, options))
}

fn look_up<'a>(
    db: &'a mut Keyspace<'_>,
    args: &Args<'_>,
    keys: Range<usize>,
) -> Outcome<Vec<Input<'a>>> {
    let values = db.several(keys.map(|at| &args[at]), |value| {
        matches!(value.kind(), Type::ZSet | Type::Set)
    });
    let input = |value: Option<&'a Value>| {
        let members = match value {
            None => Members::None,
            Some(Value::Set(set)) => Members::Set(set),
            Some(Value::ZSet(zset)) => Members::ZSet(zset),
            Some(_) => return Err(WRONG_TYPE),
        };
        Ok(Input {
            members,
            weight: 1.0,
        })
    };
    values.into_iter().map(input).collect()
}

/// Reads the options from the argument `at` on; weights go to their inputs.
fn read_options(
    args: &Args<'_>,
    mut at: usize,
    inputs: &mut [Input<'_>],
    op: Op,
    purpose: Purpose,
) -> Outcome<Options> {
    let mut options = Options {
        aggregate: Aggregate::Sum,
        with_scores: false,
        limit: 0,
    };
    let combines = op != Op::Diff && purpose != Purpose::Count;
    while at < args.len() {
        let (word, rest) = (&args[at], args.len() - at - 1);
        if combines && rest >= inputs.len() && is(word, "WEIGHTS") {
            for input in &mut *inputs {
                at += 1;
                input.weight = parse_f64(&args[at]).ok_or(NOT_A_WEIGHT)?;
            }
        } else if combines && rest >= 1 && is(word, "AGGREGATE") {
            at += 1;
            options.aggregate = Aggregate::from_keyword(&args[at]).ok_or(SYNTAX)?;
        } else if purpose == Purpose::Reply && is(word, "WITHSCORES") {
            options.with_scores = true;
        } else if purpose == Purpose::Count && rest >= 1 && is(word, "LIMIT") {
            at += 1;
            options.limit = limit(args, at)?;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    Ok(options)
}

impl<'a> Input<'a> {
    fn len(&self) -> usize {
        match self.members {
            Members::None => 0,
            Members::Set(set) => set.len(),
            Members::ZSet(zset) => zset.len(),
        }
    }

    /// Hands all members with their own scores to `visit`, in no particular order, until it
    /// returns false.
    fn each(&self, mut visit: impl FnMut(Item<'a>, f64) -> bool) {
        // Not in the order of scores: as they lie in memory, which is far faster.
        match self.members {
            Members::None => true,
            Members::Set(set) => set.iter().all(|member| visit(member, 1.0)),
            Members::ZSet(ZSet::Table(table)) => table
                .members()
                .iter()
                .all(|(member, score)| visit(Item::Bytes(member), *score)),
            Members::ZSet(zset) => zset.iter().all(|(member, score)| visit(member, score)),
        };
    }

    /// A member's own score.
    #[inline]
    fn score(&self, member: &mut Probe<'_>) -> Option<f64> {
        match self.members {
            Members::None => None,
            Members::Set(set) => member.is_in(set).then_some(1.0),
            Members::ZSet(ZSet::Table(table)) => {
                let (hash, text) = member.hashed();
                let position = table.members().find_hashed(hash, text)?;
                Some(*table.members().at(position).1)
            }
            Members::ZSet(zset) => zset.score(member.text()),
        }
    }
}

/// The members of all inputs, of which the last is the largest.
fn union(inputs: &[Input<'_>], aggregate: Aggregate) -> MemberDict<f64> {
    let largest = inputs.last().map_or(0, Input::len);
    let mut result = MemberDict::with_capacity(largest);
    for input in inputs {
        input.each(|member, score| {
            let score = number(score * input.weight);
            let mut member = Probe::new(member);
            let (hash, text) = member.hashed();
            match result.find_hashed(hash, text) {
                Some(position) => aggregate.fold(result.value_mut(position), score),
                None => add(&mut result, &mut member, score),
            }
            true
        });
    }
    result
}

/// Hands the members that all inputs have to `visit`, until it returns false. The first input is
/// the smallest.
fn intersect<'a>(
    inputs: &[Input<'a>],
    aggregate: Aggregate,
    mut visit: impl FnMut(&mut Probe<'a>, f64) -> bool,
) {
    let Some((first, others)) = inputs.split_first() else {
        return;
    };
    first.each(|member, score| {
        let mut member = Probe::new(member);
        let mut total = number(score * first.weight);
        for other in others {
            let Some(score) = other.score(&mut member) else {
                return true;
            };
            aggregate.fold(&mut total, score * other.weight);
        }
        visit(&mut member, total)
    });
}

/// Hands the members of the first input that no other has to `visit`.
fn subtract<'a>(inputs: &[Input<'a>], mut visit: impl FnMut(&mut Probe<'a>, f64)) {
    let Some((first, others)) = inputs.split_first() else {
        return;
    };
    let excluded = gather(first, others);
    first.each(|member, score| {
        let mut member = Probe::new(member);
        let out = match &excluded {
            Some(excluded) => {
                let (hash, text) = member.hashed();
                excluded.find_hashed(hash, text).is_some()
            }
            None => others
                .iter()
                .any(|other| other.score(&mut member).is_some()),
        };
        if !out {
            visit(&mut member, score);
        }
        true
    });
}

/// The members of all `others` together, where these are few beside `first`: then asking one dict
/// for each member of `first` is cheaper than asking every input, which may even be packed.
fn gather(first: &Input<'_>, others: &[Input<'_>]) -> Option<MemberDict<()>> {
    /// How much larger than all others together the first input has to be.
    const LARGER: usize = 4;
    let total: usize = others.iter().map(Input::len).sum();
    if total >= first.len() / LARGER {
        return None;
    }
    let mut members = MemberDict::with_capacity(total);
    for other in others {
        other.each(|member, _| {
            members.insert(Probe::new(member).text(), ());
            true
        });
    }
    Some(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_stay_numbers() {
        let fold = |aggregate: Aggregate, mut total: f64, score| {
            aggregate.fold(&mut total, score);
            total
        };
        let inf = f64::INFINITY;
        assert_eq!(fold(Aggregate::Sum, 1.0, 2.0), 3.0);
        assert_eq!(fold(Aggregate::Sum, inf, -inf), 0.0);
        assert_eq!(fold(Aggregate::Sum, 5.0, f64::NAN), 0.0);
        assert_eq!(fold(Aggregate::Min, 1.0, f64::NAN), 1.0);
        assert_eq!(fold(Aggregate::Min, 1.0, -inf), -inf);
        assert_eq!(fold(Aggregate::Max, 1.0, 0.5), 1.0);
        assert_eq!(fold(Aggregate::Max, 1.0, 1.5), 1.5);
        assert_eq!(number(f64::NAN), 0.0);
        assert_eq!(Aggregate::from_keyword(b"mAx"), Some(Aggregate::Max));
        assert_eq!(Aggregate::from_keyword(b"avg"), None);
    }
}
