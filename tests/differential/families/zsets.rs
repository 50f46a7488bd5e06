//! The basic sorted set commands: random ones. Members come from a small pool, so that commands
//! meet each other's members.

use crate::args;
use crate::random::{Arg, Case, Random};
use crate::wire::Rule;

/// Draws one valid command.
pub fn commands(random: &mut Random) -> Case {
    let key = random.key();
    Case::exact(match random.below(24) {
        0..7 => add(random),
        7 => fill(random),
        8 | 9 => args!["ZINCRBY", key, score(random), member(random)],
        10 => several(random, "ZREM"),
        11 => several(random, "ZMSCORE"),
        12 => args!["ZSCORE", key, member(random)],
        13 => args!["ZCARD", key],
        14 | 15 => args!["ZRANK", key, member(random)],
        16 | 17 => args!["ZREVRANK", key, member(random)],
        18 | 19 => pop(random),
        20 => pop_many(random),
        21 => args!["OBJECT", "ENCODING", key],
        22 => return pick(random),
        _ => return scan(random),
    })
}

/// A member of the pool, now and then a long or a binary one.
fn member(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => Vec::new(),
        1 => random.integer().arg(),
        2 => {
            let length = random.below(4) + 62; // around the longest packed one
            vec![b'x'; length]
        }
        3 => b"\x00\xff\r\n".to_vec(),
        _ => format!("m{}", random.below(20)).into_bytes(),
    }
}

/// A score: small ones that tie, and what is hard to read or to print.
fn score(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => random.float(),
        1 => random.integer().arg(),
        2 => random.of(&["0", "-0", "0.5", "-inf", "+inf"]).arg(),
        _ => (random.below(10) as i64 - 4).arg(),
    }
}

fn add(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["ZADD", random.key()];
    if random.once_in(2) {
        let options = random.of(&[
            "NX", "XX", "GT", "LT", "xx gt", "LT XX CH", "CH", "nx ch", "GT CH",
        ]);
        args.extend(options.split(' ').map(|option| option.arg()));
    }
    if random.once_in(5) {
        args.extend(args!["INCR", score(random), member(random)]);
        return args;
    }
    for _ in 0..=random.below(5) {
        args.extend(args![score(random), member(random)]);
    }
    args
}

/// Enough members to leave the packed form behind.
fn fill(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["ZADD", random.key()];
    let (first, count) = (random.below(100), 60 + random.below(60));
    for i in first..first + count {
        args.extend(args![random.below(20) as i64, format!("m{i}").into_bytes()]);
    }
    args
}

fn several(random: &mut Random, name: &str) -> Vec<Vec<u8>> {
    let mut args = args![name, random.key()];
    for _ in 0..=random.below(5) {
        args.push(member(random));
    }
    args
}

/// A number of members to take, rarely all of them.
fn count(random: &mut Random) -> i64 {
    match random.below(12) {
        0 => i64::MAX,
        1 => 100,
        _ => random.below(6) as i64,
    }
}

fn pop(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args![*random.of(&["ZPOPMIN", "ZPOPMAX"]), random.key()];
    if random.once_in(2) {
        args.push(count(random).arg());
    }
    args
}

fn pop_many(random: &mut Random) -> Vec<Vec<u8>> {
    let keys = random.keys(4);
    let mut args = args!["ZMPOP", keys.len() as i64];
    args.extend(keys);
    args.push(random.of(&["MIN", "MAX", "min", "Max"]).arg());
    if random.once_in(2) {
        args.extend(args!["COUNT", count(random).max(1)]);
    }
    args
}

/// ZRANDMEMBER: the whole set in any order, or a sample of which only the form is the same.
fn pick(random: &mut Random) -> Case {
    let key = random.key();
    match random.below(4) {
        0 => Case::exact(args!["ZRANDMEMBER", key]).rule(Rule::Type),
        1 => Case::exact(args!["ZRANDMEMBER", key, 10_000_i64, "WITHSCORES"]).rule(Rule::Unordered),
        2 => Case::exact(args!["ZRANDMEMBER", key, random.index().max(-30)]).rule(Rule::Shape),
        _ => Case::exact(args![
            "ZRANDMEMBER",
            key,
            random.index().max(-30),
            "WITHSCORES"
        ])
        .rule(Rule::Shape),
    }
}

fn scan(random: &mut Random) -> Case {
    let mut args = args!["ZSCAN", random.key(), 0_i64, "COUNT", 10_000_i64];
    if random.once_in(2) {
        args.extend(args!["MATCH", *random.of(&["m1*", "*", "[^m]*", "m?"])]);
    }
    Case::exact(args).rule(Rule::Unordered)
}
