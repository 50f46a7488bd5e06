//! Intersections, unions and differences of sets: SINTER, SUNION and SDIFF, their variants that
//! store the result, and SINTERCARD.
//!
//! An intersection walks the smallest set and asks the others. A union is the largest set and
//! what the others add to it. A difference chooses between two ways by the work each would take:
//! asking every other set about each member of the first, or taking the members of the others out
//! of a copy of the first. Results that are stored end up in the encoding that Redis gives them.

use std::ops::Range;

use super::error::{Error, Outcome, SYNTAX, WRONG_TYPE};
use super::keyspace::Class;
use super::options::{NO_KEYS, is, limit, natural};
use super::replies::item as bulk;
use super::sets::limits;
use super::spec::*;
use super::{Args, Ctx, Keyspace};
use crate::resp::Reply;
use crate::resp::reply::Aggregate;
use crate::types::listpack::Item;
use crate::types::set::{Limits, Probe, Set, intersect};
use crate::types::{Type, Value};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("sdiff", -2, sdiff)
        .flags(READONLY)
        .acl(CAT_SET)
        .keys(&[KeySpec::range(1, -1, 1, RO.or(ACCESS))])
        .docs(
            Group::Set,
            "1.0.0",
            "O(N), N the members of all sets together",
            "Lists the members of a set that none of the other sets has",
        )
        .args("key...")
        .tips(&["nondeterministic_output_order"]),
    Command::new("sdiffstore", -3, sdiffstore)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_SET)
        .keys(&[
            KeySpec::one(1, OW.or(UPDATE)),
            KeySpec::range(2, -1, 1, RO.or(ACCESS)),
        ])
        .docs(
            Group::Set,
            "1.0.0",
            "O(N), N the members of all sets together",
            "Stores the members of a set that none of the other sets has",
        )
        .args("destination:key key#1..."),
    Command::new("sinter", -2, sinter)
        .flags(READONLY)
        .acl(CAT_SET)
        .keys(&[KeySpec::range(1, -1, 1, RO.or(ACCESS))])
        .docs(
            Group::Set,
            "1.0.0",
            "O(N*M), N the members of the smallest set and M the number of sets",
            "Lists the members that several sets have in common",
        )
        .args("key...")
        .tips(&["nondeterministic_output_order"]),
    Command::new("sintercard", -3, sintercard)
        .flags(READONLY.or(MOVABLEKEYS))
        .acl(CAT_SET)
        .keys(&[KeySpec::counted(1, RO.or(ACCESS))])
        .docs(
            Group::Set,
            "7.0.0",
            "O(N*M), N the members of the smallest set and M the number of sets",
            "Counts the members that several sets have in common, up to a limit if there is one",
        )
        .args("numkeys:integer key... [LIMIT limit:integer]"),
    Command::new("sinterstore", -3, sinterstore)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_SET)
        .keys(&[
            KeySpec::one(1, RW.or(UPDATE)),
            KeySpec::range(2, -1, 1, RO.or(ACCESS)),
        ])
        .docs(
            Group::Set,
            "1.0.0",
            "O(N*M), N the members of the smallest set and M the number of sets",
            "Stores the members that several sets have in common",
        )
        .args("destination:key key#1..."),
    Command::new("sunion", -2, sunion)
        .flags(READONLY)
        .acl(CAT_SET)
        .keys(&[KeySpec::range(1, -1, 1, RO.or(ACCESS))])
        .docs(
            Group::Set,
            "1.0.0",
            "O(N), N the members of all sets together",
            "Lists the members of several sets, each once",
        )
        .args("key...")
        .tips(&["nondeterministic_output_order"]),
    Command::new("sunionstore", -3, sunionstore)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_SET)
        .keys(&[
            KeySpec::one(1, OW.or(UPDATE)),
            KeySpec::range(2, -1, 1, RO.or(ACCESS)),
        ])
        .docs(
            Group::Set,
            "1.0.0",
            "O(N), N the members of all sets together",
            "Stores the members of several sets as one set",
        )
        .args("destination:key key#1..."),
];

const TOO_MANY_KEYS: Error = Error::new("ERR Number of keys can't be greater than number of args");

/// Up to so many sets, a union that is not stored asks for each member whether an earlier set has
/// had it, instead of gathering the members.
const ASKED: usize = 4;

/// The sets that these arguments name; `None` for a key that is not there.
fn sets_of<'d>(
    db: &'d mut Keyspace<'_>,
    args: &Args<'_>,
    keys: Range<usize>,
) -> Outcome<Vec<Option<&'d Set>>> {
    let held = db.several(keys.map(|at| &args[at]), |value| value.kind() == Type::Set);
    held.into_iter()
        .map(|value| match value {
            Some(Value::Set(set)) => Ok(Some(set)),
            Some(_) => Err(WRONG_TYPE),
            None => Ok(None),
        })
        .collect()
}

/// What an intersection has to look at: the members of the smallest set, in each of the sets.
fn least(sets: &[&Set]) -> usize {
    let smallest = sets.iter().map(|set| set.len()).min().unwrap_or(0);
    smallest.saturating_mul(sets.len())
}

/// The members of all sets together.
fn total<'s>(sets: impl IntoIterator<Item = &'s Set>) -> usize {
    sets.into_iter().map(Set::len).sum()
}

/// Stores a result in the first argument's key and replies with its size.
fn store(c: &mut Ctx<'_>, args: &Args<'_>, result: Option<Set>, event: &'static str) {
    let result = result.filter(|set| !set.is_empty());
    let len = result.as_ref().map_or(0, Set::len);
    let value = result.map(Value::Set);
    c.db.store(&args[1], value, Class::Set, event);
    c.out.count(len);
}

// ---------------------------------------------------------------- intersections

/// The sets, if all of them are there; with one missing the intersection is empty.
fn all_there(sets: Vec<Option<&Set>>) -> Option<Vec<&Set>> {
    sets.into_iter().collect()
}

fn sinter(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let Some(sets) = all_there(sets_of(&mut c.db, args, 1..args.len())?) else {
        c.out.set(0);
        return Ok(());
    };
    if c.pace.too_slow(least(&sets)) {
        return Ok(());
    }
    let start = c.out.begin_deferred();
    let mut found = 0;
    intersect(&sets, |member| {
        bulk(c.out, member);
        found += 1;
        true
    });
    c.out.end_deferred(start, Aggregate::Set, found);
    Ok(())
}

/// `SINTERCARD numkeys key [key ...] [LIMIT limit]`
fn sintercard(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let count = natural(args, 1, NO_KEYS)?;
    if count > args.len() - 2 {
        return Err(TOO_MANY_KEYS);
    }
    let mut most = 0;
    let mut at = 2 + count;
    while at < args.len() {
        if !is(&args[at], "LIMIT") {
            return Err(SYNTAX);
        }
        most = limit(args, at + 1)?;
        at += 2;
    }
    let mut found = 0;
    if let Some(sets) = all_there(sets_of(&mut c.db, args, 2..2 + count)?) {
        if most == 0 && c.pace.too_slow(least(&sets)) {
            return Ok(());
        }
        // No limit, 0, is never reached: the first member makes 1.
        intersect(&sets, |_| {
            found += 1;
            found != most
        });
    }
    c.out.count(found);
    Ok(())
}

fn sinterstore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let limits = limits(c.server);
    let sets = all_there(sets_of(&mut c.db, args, 2..args.len())?);
    if let Some(sets) = &sets
        && c.pace.too_slow(least(sets))
    {
        return Ok(());
    }
    let result = sets.map(|sets| {
        let mut found = Vec::new();
        intersect(&sets, |member| {
            found.push(member);
            true
        });
        Set::from_distinct(&found, limits)
    });
    store(c, args, result, "sinterstore");
    Ok(())
}

// ---------------------------------------------------------------- unions

/// The sets that are there, each once although its key may be named several times, the largest
/// first.
fn different<'d>(sets: &[Option<&'d Set>]) -> Vec<&'d Set> {
    let mut different: Vec<&Set> = Vec::with_capacity(sets.len());
    for set in sets.iter().flatten() {
        // Many keys are too many to compare each with all others; what comes twice adds nothing.
        if sets.len() > 64 || !different.iter().any(|other| std::ptr::eq(*other, *set)) {
            different.push(set);
        }
    }
    different.sort_by_key(|set| std::cmp::Reverse(set.len()));
    different
}

/// The union of some sets, the largest of which is the first, encoded as if the members had been
/// added one by one.
fn union(sets: &[&Set], limits: Limits) -> Set {
    let (mut result, others) = match sets {
        // Nothing that follows can make it smaller, so it stays a table.
        [largest @ Set::Table(table), others @ ..]
            if table.len() > limits.ints.max(limits.entries) =>
        {
            (Set::clone(largest), others)
        }
        _ => (Set::new(), sets),
    };
    for set in others {
        set.iter().for_each(|member| {
            result.add_item(member, limits);
        });
    }
    result
}

/// Replies with all members of a set.
fn reply_with(out: &mut Reply, set: &Set) {
    out.set(set.len());
    set.iter().for_each(|member| bulk(out, member));
}

fn sunion(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let limits = limits(c.server);
    let sets = different(&sets_of(&mut c.db, args, 1..args.len())?);
    if c.pace.too_slow(total(sets.iter().copied())) {
        return Ok(());
    }
    if let [set] = sets[..] {
        reply_with(c.out, set);
        return Ok(());
    }
    if sets.len() > ASKED {
        reply_with(c.out, &union(&sets, limits));
        return Ok(());
    }
    let start = c.out.begin_deferred();
    let mut found = 0;
    for (number, set) in sets.iter().enumerate() {
        set.iter().for_each(|member| {
            let mut probe = Probe::new(member);
            if !sets[..number].iter().any(|larger| probe.is_in(larger)) {
                bulk(c.out, member);
                found += 1;
            }
        });
    }
    c.out.end_deferred(start, Aggregate::Set, found);
    Ok(())
}

fn sunionstore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let limits = limits(c.server);
    let sets = different(&sets_of(&mut c.db, args, 2..args.len())?);
    if c.pace.too_slow(total(sets.iter().copied())) {
        return Ok(());
    }
    let result = union(&sets, limits);
    store(c, args, Some(result), "sunionstore");
    Ok(())
}

// ---------------------------------------------------------------- differences

/// A difference, ready to be worked out.
struct Difference<'d> {
    first: &'d Set,
    /// What is to be taken away, the largest set first.
    others: Vec<&'d Set>,
    /// Whether to take the members of the others out of a copy of the first.
    by_removal: bool,
}

impl<'d> Difference<'d> {
    /// Chooses the way as Redis does. `None` when it is empty in any case.
    fn new(sets: &[Option<&'d Set>]) -> Option<Difference<'d>> {
        let (first, others) = sets.split_first()?;
        let first = (*first)?;
        let mut others: Vec<&Set> = others.iter().copied().flatten().collect();
        if others.iter().any(|other| std::ptr::eq(*other, first)) {
            return None;
        }
        // Asking often ends early and needs no copy, so it is given some advantage.
        let asking = first.len() * (others.len() + 1) / 2;
        let removing = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
        others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        Some(Difference {
            first,
            others,
            by_removal: asking > removing,
        })
    }

    /// Hands each member of the difference to `visit`, by asking the others.
    fn ask(&self, mut visit: impl FnMut(Item<'d>)) {
        self.first.iter().for_each(|member| {
            let mut probe = Probe::new(member);
            if !self.others.iter().any(|other| probe.is_in(other)) {
                visit(member);
            }
        });
    }

    /// The difference, by removal from a copy.
    fn remove(&self, limits: Limits) -> Set {
        let mut result = union(&[self.first], limits);
        let mut scratch = [0; 20];
        for other in &self.others {
            for member in other.iter() {
                result.remove(member.bytes(&mut scratch));
            }
            if result.is_empty() {
                break;
            }
        }
        result
    }
}

fn sdiff(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let limits = limits(c.server);
    let sets = sets_of(&mut c.db, args, 1..args.len())?;
    if c.pace.too_slow(total(sets.iter().copied().flatten())) {
        return Ok(());
    }
    let Some(work) = Difference::new(&sets) else {
        c.out.set(0);
        return Ok(());
    };
    if work.by_removal {
        reply_with(c.out, &work.remove(limits));
        return Ok(());
    }
    let start = c.out.begin_deferred();
    let mut found = 0;
    work.ask(|member| {
        bulk(c.out, member);
        found += 1;
    });
    c.out.end_deferred(start, Aggregate::Set, found);
    Ok(())
}

fn sdiffstore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let mut limits = limits(c.server);
    let sets = sets_of(&mut c.db, args, 2..args.len())?;
    if c.pace.too_slow(total(sets.iter().copied().flatten())) {
        return Ok(());
    }
    let work = Difference::new(&sets);
    let result = work.map(|work| {
        if work.by_removal {
            return work.remove(limits);
        }
        let mut found = Vec::new();
        work.ask(|member| found.push(member));
        if found.len() > limits.ints && found.iter().all(|member| member.integer().is_some()) {
            // The result begins as an intset, and one that is too large becomes a table.
            limits.entries = 0;
        }
        Set::from_distinct(&found, limits)
    });
    store(c, args, result, "sdiffstore");
    Ok(())
}
