//! SORT and SORT_RO: random commands.
//!
//! What is sorted stands in keys of the family's own. A sorted set in there always has long
//! members, two of them in case one gets spoiled: Redis makes a skiplist of a small one when it is
//! sorted, stdis leaves it alone. Elements and weights are few, so that there are ties, missing
//! weights and weights of every type.

use crate::args;
use crate::random::{Arg, Case, Random};
use crate::wire::Rule;

/// Draws one valid command.
pub fn commands(random: &mut Random) -> Case {
    match random.below(12) {
        0..2 => fill(random),
        2 => weight(random),
        3 => Case::exact(args!["DEL", source(random)]),
        4 => Case::exact(args!["LRANGE", destination(random), 0, -1]),
        _ => sort(random),
    }
}

fn source(random: &mut Random) -> Vec<u8> {
    let kind = *random.of(&["list", "list", "set", "zset"]);
    format!("sorted:{kind}:{}", random.below(3)).into_bytes()
}

/// Never one of the sources: GET stores empty strings, which no source is to hold.
fn destination(random: &mut Random) -> Vec<u8> {
    match random.once_in(3) {
        true => random.key(),
        false => format!("stored:{}", random.below(3)).into_bytes(),
    }
}

/// Something that is a number, most of the time.
fn number(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => random.float(),
        1 => random.integer().arg(),
        // Not the empty string: what a zero byte begins is the same to Redis.
        2 => random.of(&[" 1", "0x1", "01", "abc", "-0"]).arg(),
        _ => (random.below(12) as i64 - 3).arg(),
    }
}

/// Adds elements to a key that can be sorted.
fn fill(random: &mut Random) -> Case {
    let key = source(random);
    let many = match random.once_in(20) {
        true => 200,
        false => 8,
    };
    let count = random.below(many) + 1;
    let elements: Vec<Vec<u8>> = (0..count).map(|_| number(random)).collect();
    if key.starts_with(b"sorted:zset") {
        let mut args = args!["ZADD", key, 5, vec![b'7'; 80], 6, vec![b'8'; 80]];
        for element in elements {
            args.extend([(random.below(20) as i64).arg(), element]);
        }
        return Case::exact(args);
    }
    let name = match key.starts_with(b"sorted:set") {
        true => "SADD",
        false => *random.of(&["RPUSH", "LPUSH"]),
    };
    let mut args = args![name, key];
    args.extend(elements);
    Case::exact(args)
}

/// Sets what a pattern leads to.
fn weight(random: &mut Random) -> Case {
    let (element, value) = (number(random), number(random));
    let key = [&b"weight:"[..], &element[..]].concat();
    Case::exact(match random.below(6) {
        0 => args!["DEL", key],
        1 => args!["SADD", key, value],
        2 | 3 => {
            let key = [&b"object:"[..], &element[..]].concat();
            let field = *random.of(&["f", "g", "a->b"]);
            args!["HSET", key, field, value]
        }
        _ => args!["SET", key, value],
    })
}

fn pattern(random: &mut Random) -> Vec<u8> {
    let patterns = [
        "weight:*",
        "weight:*",
        "object:*->f",
        "object:*->g",
        "object:*->a->b",
        "object:*->",
        "key:*",
        "*",
        "nosort",
        "#",
        "missing:*",
    ];
    random.of(&patterns).arg()
}

fn sort(random: &mut Random) -> Case {
    let key = source(random);
    let may_store = !random.once_in(4);
    let mut args = args![if may_store { "SORT" } else { "SORT_RO" }, key.clone()];
    // Texts that are looked up may be equal, and then Redis leaves the order to chance.
    let (alpha, by) = match random.below(4) {
        0 => (true, None),
        1 => (false, None),
        2 => (false, Some(pattern(random))),
        _ => (random.once_in(2), Some(b"nosort".to_vec())),
    };
    // Which members of a set come first is each server's own affair, when the pattern has no star
    // or has lost it to spoiling.
    let by_chance = by.is_some() && key.starts_with(b"sorted:set");
    if alpha {
        args.push(random.of(&["ALPHA", "alpha"]).arg());
    }
    if let Some(by) = by {
        args.extend([b"BY".to_vec(), by]);
    }
    if random.once_in(3) {
        args.push(random.of(&["DESC", "ASC", "desc"]).arg());
    }
    if random.once_in(3) && !by_chance {
        args.extend(args!["LIMIT", random.index(), random.index()]);
    }
    while random.once_in(3) {
        args.extend([b"GET".to_vec(), pattern(random)]);
    }
    let store = may_store && random.once_in(4);
    if store {
        args.extend([b"STORE".to_vec(), destination(random)]);
    }
    let case = Case::exact(args);
    match by_chance && !store {
        true => case.rule(Rule::Unordered),
        false => case,
    }
}
