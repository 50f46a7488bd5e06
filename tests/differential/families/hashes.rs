//! hashes: random commands.

use crate::args;
use crate::random::{Arg, Case, Random};
use crate::wire::Rule;

/// One of few fields, so that commands meet each other's, or now and then another or a long one.
fn field(random: &mut Random) -> Vec<u8> {
    match random.below(40) {
        0 => Vec::new(),
        1 => b"\x00\xff\r\n".to_vec(),
        2 => {
            let length = 63 + random.below(3);
            random.bytes(length)
        }
        3 => random.integer().arg(),
        n => format!("f{}", n % 9).into_bytes(),
    }
}

/// Appends so many fields, at least one.
fn fields(random: &mut Random, mut args: Vec<Vec<u8>>, most: usize) -> Vec<Vec<u8>> {
    for _ in 0..=random.below(most) {
        args.push(field(random));
    }
    args
}

/// HSET or HMSET, now and then with enough pairs to leave the packed form.
fn set(random: &mut Random, name: &str) -> Vec<Vec<u8>> {
    let mut args = args![name, random.key()];
    if random.once_in(60) {
        let first = random.below(1000);
        for number in first..first + 300 + random.below(300) {
            args.push(format!("m{number}").into_bytes());
            args.push((number as i64).arg());
        }
        return args;
    }
    for _ in 0..=random.below(4) {
        args.push(field(random));
        args.push(random.value());
    }
    args
}

/// HRANDFIELD: what is drawn differs, and would even where a count for all fields gets lost, so the
/// replies compare by their shape.
fn random_field(random: &mut Random, key: Vec<u8>) -> Case {
    let with_values = random.once_in(2);
    let with = |mut args: Vec<Vec<u8>>| {
        if with_values {
            args.push(b"WITHVALUES".to_vec());
        }
        args
    };
    match random.below(5) {
        0 => Case::exact(args!["HRANDFIELD", key]).rule(Rule::Type),
        1 => Case::exact(with(args!["HRANDFIELD", key, 100_000])).rule(Rule::Shape),
        2 => Case::exact(with(args!["HRANDFIELD", key, 0])).rule(Rule::Shape),
        3 => {
            let count = -(random.below(30) as i64);
            Case::exact(with(args!["HRANDFIELD", key, count])).rule(Rule::Shape)
        }
        _ => {
            let count = random.below(12) as i64;
            Case::exact(with(args!["HRANDFIELD", key, count])).rule(Rule::Shape)
        }
    }
}

/// HSCAN with a COUNT that reaches the end.
fn scan(random: &mut Random, key: Vec<u8>) -> Case {
    let mut args = args!["HSCAN", key, 0, "COUNT", 100_000];
    if random.once_in(2) {
        let pattern = *random.of(&["*", "f*", "f[1-3]", "?", "m1?", "", "[^f]*"]);
        args.extend(args!["MATCH", pattern]);
    }
    Case::exact(args).rule(Rule::Unordered)
}

/// Draws one valid command.
pub fn commands(random: &mut Random) -> Case {
    let key = random.key();
    match random.below(26) {
        0..5 => Case::exact(set(random, "HSET")),
        5 => Case::exact(set(random, "HMSET")),
        6 => Case::exact(args!["HSETNX", key, field(random), random.value()]),
        7 | 8 => Case::exact(fields(random, args!["HDEL", key], 5)),
        9 => Case::exact(args!["HGET", key, field(random)]),
        10 => Case::exact(fields(random, args!["HMGET", key], 5)),
        11 => Case::exact(args!["HEXISTS", key, field(random)]),
        12 => Case::exact(args!["HSTRLEN", key, field(random)]),
        13 => Case::exact(args!["HLEN", key]),
        14 => Case::exact(args!["HGETALL", key]).rule(Rule::Unordered),
        15 => Case::exact(args!["HKEYS", key]).rule(Rule::Unordered),
        16 => Case::exact(args!["HVALS", key]).rule(Rule::Unordered),
        17 | 18 => Case::exact(args!["HINCRBY", key, field(random), random.integer()]),
        19 | 20 => Case::exact(args!["HINCRBYFLOAT", key, field(random), random.float()]),
        21 | 22 => random_field(random, key),
        23 => scan(random, key),
        24 => Case::exact(args!["OBJECT", "ENCODING", key]),
        _ => Case::exact(args!["DEL", key]),
    }
}
