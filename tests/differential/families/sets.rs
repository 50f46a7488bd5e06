//! sets: random commands.
//!
//! What the dice decide is left out where it would change the data: SPOP is in the scripts.

use crate::args;
use crate::random::{Arg, Case, Random};
use crate::wire::Rule;

/// Draws one valid command.
pub fn commands(random: &mut Random) -> Case {
    let key = random.key();
    match random.below(28) {
        0..8 => Case::exact(add(random)),
        8..11 => Case::exact(several(random, "SREM")),
        11 => Case::exact(several(random, "SMISMEMBER")),
        12 => Case::exact(args!["SISMEMBER", key, member(random)]),
        13 => Case::exact(args!["SCARD", key]),
        14 => Case::exact(args!["SMEMBERS", key]).rule(Rule::Unordered),
        15 | 16 => Case::exact(args!["SMOVE", key, random.key(), member(random)]),
        17 => sscan(random),
        18 => srandmember(random),
        19 => Case::exact(sintercard(random)),
        20..23 => {
            let name = *random.of(&["SINTER", "SUNION", "SDIFF"]);
            Case::exact(over_keys(random, args![name])).rule(Rule::Unordered)
        }
        _ => {
            let name = *random.of(&["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]);
            Case::exact(over_keys(random, args![name, key]))
        }
    }
}

/// A member of a small pool, so that sets have members in common: mostly small integers and short
/// words.
fn member(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0 => random.value(),
        1 => random.integer().arg(),
        2 => random
            .of(&[
                "",
                "01",
                "-0",
                " 1",
                "\0",
                "a longer member of more than sixty-four bytes, which no listpack keeps",
            ])
            .arg(),
        3..8 => format!("w{}", random.below(12)).into_bytes(),
        _ => (random.below(24) as i64 - 4).arg(),
    }
}

fn several(random: &mut Random, name: &str) -> Vec<Vec<u8>> {
    let mut args = args![name, random.key()];
    for _ in 0..=random.below(5) {
        args.push(member(random));
    }
    args
}

/// A few members of any kind, or of one kind alone; now and then so many that the encoding changes.
fn add(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["SADD", random.key()];
    match random.below(12) {
        0 => {
            let first = random.below(400) as i64;
            args.extend((first..first + 300).map(|n| n.arg()));
        }
        1 => {
            let first = random.below(100);
            args.extend((first..first + 70).map(|n| format!("w{n}").into_bytes()));
        }
        2..7 => args.extend((0..=random.below(6)).map(|_| (random.below(20) as i64).arg())),
        _ => return several(random, "SADD"),
    }
    args
}

fn over_keys(random: &mut Random, mut args: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    args.extend(random.keys(5));
    args
}

fn sintercard(random: &mut Random) -> Vec<Vec<u8>> {
    let keys = random.keys(3);
    let mut args = args!["SINTERCARD", keys.len() as i64];
    args.extend(keys);
    if random.once_in(2) {
        args.extend(args!["LIMIT", random.below(12) as i64]);
    }
    args
}

fn srandmember(random: &mut Random) -> Case {
    let mut args = args!["SRANDMEMBER", random.key()];
    if random.once_in(2) {
        args.push(random.of(&[0, 1, 5, 1000, -1, -20]).arg());
    }
    Case::exact(args).rule(Rule::Shape)
}

fn sscan(random: &mut Random) -> Case {
    let mut args = args!["SSCAN", random.key(), "0", "COUNT", 10_000_i64];
    if random.once_in(2) {
        let pattern = *random.of(&["*", "w*", "?", "1*", "[^w]*", ""]);
        args.extend(args!["MATCH", pattern]);
    }
    // A spoiled cursor goes on wherever each server likes.
    Case::exact(args).rule(Rule::Type)
}
