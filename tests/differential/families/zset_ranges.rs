//! Ranges of sorted sets: random commands.
//!
//! Ranges of members are drawn for keys of their own, in which all scores are equal: for others
//! their result is unspecified. A spoiled command may name another key all the same, so they only
//! read, and only the type of the reply is compared; the scripts compare the rest.

use crate::args;
use crate::random::{Arg, Case, Random};
use crate::wire::Rule;

/// Draws one valid command.
pub fn commands(random: &mut Random) -> Case {
    let args = match random.below(16) {
        0..3 => add(random),
        3 => add_lex(random),
        4..7 => by_rank(random),
        7..10 => by_score(random),
        10 => return Case::exact(by_lex(random)).rule(Rule::Type),
        11..13 => store(random),
        13 => args!["ZCOUNT", random.key(), score(random), score(random)],
        14 => {
            let args = args!["ZLEXCOUNT", lex_key(random), bound(random), bound(random)];
            return Case::exact(args).rule(Rule::Type);
        }
        _ => remove(random),
    };
    Case::exact(args)
}

/// Adds members to a sorted set, or to one of the plain sets that others are made of.
///
/// Large sorted sets come from plain sets, and ZADD adds one new member at a time: 7.2 gives up the
/// packed form when the members of a command *could* be too many, which 7.0 does not.
pub fn add(random: &mut Random) -> Vec<Vec<u8>> {
    match random.below(4) {
        0 => {
            let new = format!("new{}", random.below(100_000));
            args!["ZADD", random.key(), score_value(random), &new[..]]
        }
        1 => add_names(random),
        _ => args![
            "ZUNIONSTORE",
            random.key(),
            "2",
            names(random),
            random.key(),
            "WEIGHTS",
            score_value(random),
            "1"
        ],
    }
}

fn add_names(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["SADD", names(random)];
    let most = if random.once_in(5) { 150 } else { 6 };
    for _ in 0..=random.below(most) {
        args.push(member(random));
    }
    args
}

fn add_lex(random: &mut Random) -> Vec<Vec<u8>> {
    match random.once_in(2) {
        true => add_names(random),
        false => args!["ZUNIONSTORE", lex_key(random), "1", names(random)],
    }
}

/// The key of a plain set.
fn names(random: &mut Random) -> Vec<u8> {
    format!("names:{}", random.below(6)).into_bytes()
}

fn score_value(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => random.of(&["inf", "-inf", "0.1", "0.2", "1e300"]).arg(),
        _ => (random.below(40) as i64 - 10).arg(),
    }
}

fn by_rank(random: &mut Random) -> Vec<Vec<u8>> {
    let names = ["ZRANGE", "ZREVRANGE"];
    let name = *random.of(&names);
    let mut args = args![name, random.key(), random.index(), random.index()];
    if name == "ZRANGE" && random.once_in(2) {
        args.push("REV".arg());
    }
    with_scores(random, &mut args);
    args
}

fn by_score(random: &mut Random) -> Vec<Vec<u8>> {
    let names = ["ZRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE"];
    let name = *random.of(&names);
    let mut args = args![name, random.key(), score(random), score(random)];
    if name == "ZRANGE" {
        args.push("BYSCORE".arg());
        if random.once_in(2) {
            args.push("rev".arg());
        }
    }
    with_scores(random, &mut args);
    limit(random, &mut args);
    args
}

fn by_lex(random: &mut Random) -> Vec<Vec<u8>> {
    let names = ["ZRANGE", "ZRANGEBYLEX", "ZREVRANGEBYLEX"];
    let name = *random.of(&names);
    let mut args = args![name, lex_key(random), bound(random), bound(random)];
    if name == "ZRANGE" {
        args.push("BYLEX".arg());
        if random.once_in(2) {
            args.push("REV".arg());
        }
    }
    limit(random, &mut args);
    args
}

fn store(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["ZRANGESTORE", random.key(), random.key()];
    if random.once_in(2) {
        args.extend(args![random.index(), random.index()]);
    } else {
        args.extend(args![score(random), score(random), "BYSCORE"]);
        limit(random, &mut args);
    }
    if random.once_in(3) {
        args.push("REV".arg());
    }
    args
}

fn remove(random: &mut Random) -> Vec<Vec<u8>> {
    if random.once_in(2) {
        let start = random.index();
        return args![
            "ZREMRANGEBYRANK",
            random.key(),
            start,
            start.saturating_add(3)
        ];
    }
    args![
        "ZREMRANGEBYSCORE",
        random.key(),
        score(random),
        score(random)
    ]
}

fn with_scores(random: &mut Random, args: &mut Vec<Vec<u8>>) {
    if random.once_in(2) {
        args.push(random.of(&["WITHSCORES", "withscores"]).arg());
    }
}

fn limit(random: &mut Random, args: &mut Vec<Vec<u8>>) {
    if random.once_in(2) {
        let (offset, count) = (random.below(12) as i64 - 1, random.below(12) as i64 - 2);
        args.extend(args!["LIMIT", offset, count]);
    }
}

fn member(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => random.value(),
        1 => (random.below(20) as i64).arg(),
        n => format!("m{}", random.below(n * 20)).into_bytes(),
    }
}

/// A key whose members all have the score 1.
fn lex_key(random: &mut Random) -> Vec<u8> {
    format!("lex:{}", random.below(3)).into_bytes()
}

/// A bound of scores.
fn score(random: &mut Random) -> Vec<u8> {
    let number = random.below(44) as i64 - 12;
    match random.below(8) {
        0 => "-inf".arg(),
        1 => "+inf".arg(),
        2 | 3 => format!("({number}").into_bytes(),
        4 => format!("{number}.5").into_bytes(),
        _ => number.arg(),
    }
}

/// A bound of members.
fn bound(random: &mut Random) -> Vec<u8> {
    let mut bound = match random.below(6) {
        0 => return "-".arg(),
        1 => return "+".arg(),
        2 | 3 => b"(".to_vec(),
        _ => b"[".to_vec(),
    };
    bound.extend(member(random));
    bound
}
