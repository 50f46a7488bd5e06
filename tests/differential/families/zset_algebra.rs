//! Union, intersection and difference of sorted sets and sets: random commands.

use super::zset_ranges::add;
use crate::args;
use crate::random::{Arg, Case, Random};

/// Draws one valid command.
pub fn commands(random: &mut Random) -> Case {
    Case::exact(match random.below(11) {
        0..3 => add(random),
        3..5 => combine(random, "ZUNION", false),
        5 => combine(random, "ZINTER", false),
        6 => difference(random, "ZDIFF", false),
        7 => cardinality(random),
        8 => combine(random, "ZUNIONSTORE", true),
        9 => combine(random, "ZINTERSTORE", true),
        _ => difference(random, "ZDIFFSTORE", true),
    })
}

fn combine(random: &mut Random, name: &str, store: bool) -> Vec<Vec<u8>> {
    let (mut args, keys) = inputs(random, name, store);
    if random.once_in(2) {
        args.push("WEIGHTS".arg());
        (0..keys).for_each(|_| args.push(weight(random)));
    }
    if random.once_in(2) {
        args.extend(args!["AGGREGATE", *random.of(&["SUM", "MIN", "max"])]);
    }
    if !store && random.once_in(2) {
        args.push("WITHSCORES".arg());
    }
    args
}

fn difference(random: &mut Random, name: &str, store: bool) -> Vec<Vec<u8>> {
    let (mut args, _) = inputs(random, name, store);
    if !store && random.once_in(2) {
        args.push("withscores".arg());
    }
    args
}

fn cardinality(random: &mut Random) -> Vec<Vec<u8>> {
    let (mut args, _) = inputs(random, "ZINTERCARD", false);
    if random.once_in(2) {
        args.extend(args!["LIMIT", random.below(6) as i64]);
    }
    args
}

/// A command with its keys, and how many of them it reads.
fn inputs(random: &mut Random, name: &str, store: bool) -> (Vec<Vec<u8>>, usize) {
    let mut args = args![name];
    if store {
        args.push(random.key());
    }
    let keys = random.keys(4);
    let count = keys.len();
    args.push((count as i64).arg());
    args.extend(keys);
    (args, count)
}

fn weight(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => random.of(&["inf", "-inf", "0", "-1", "0x10"]).arg(),
        1 => random.of(&["0.5", "1e-3", "-2.5"]).arg(),
        _ => (random.below(5) as i64).arg(),
    }
}
