//! lists: random commands.
//!
//! Elements come from a small pool, so that pivots and searches find some. Now and then they are
//! large or many, so that lists get several nodes and shrink again.

use crate::args;
use crate::random::{Arg, Case, Random};

/// Draws one valid command.
pub fn commands(random: &mut Random) -> Case {
    let key = random.key();
    Case::exact(match random.below(32) {
        0..7 => push(random),
        7 | 8 => args![*random.of(&["LPOP", "RPOP"]), key],
        9 => args![*random.of(&["LPOP", "RPOP"]), key, count(random)],
        10 => args!["LLEN", key],
        11 => args!["LINDEX", key, random.index()],
        12 | 13 => args!["LRANGE", key, random.index(), random.index()],
        14 => args!["LRANGE", key, "0", "-1"],
        15 => args!["LTRIM", key, near(random), -near(random) - 1],
        16 => args!["LTRIM", key, random.index(), random.index()],
        17 | 18 => args!["LSET", key, random.index(), element(random)],
        19 | 20 => args![
            "LINSERT",
            key,
            *random.of(&["BEFORE", "AFTER", "before"]),
            element(random),
            element(random),
        ],
        21 | 22 => args!["LREM", key, signed(random), element(random)],
        23..26 => lpos(random),
        26..29 => args!["LMOVE", key, random.key(), side(random), side(random)],
        29 => args!["RPOPLPUSH", key, random.key()],
        _ => lmpop(random),
    })
}

/// Mostly one of a few short elements and integers.
fn element(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => random.value(),
        1 => {
            let length = *random.of(&[63, 64, 127, 4095, 4096, 8180, 8192, 20_000]);
            vec![b'x'; length]
        }
        2 => random
            .of(&[127, 128, -4096, -4097, 32_768, i64::MIN, i64::MAX])
            .arg(),
        3 | 4 => (random.below(4) as i64).arg(),
        _ => random.of(&["a", "b", "c", "", "01", "-0"]).arg(),
    }
}

fn push(random: &mut Random) -> Vec<Vec<u8>> {
    let name = *random.of(&["LPUSH", "RPUSH", "RPUSH", "LPUSH", "LPUSHX", "RPUSHX"]);
    let mut args = args![name, random.key()];
    let many = match random.below(20) {
        0 => 200,
        _ => random.below(4) + 1,
    };
    args.extend((0..many).map(|_| element(random)));
    args
}

fn side(random: &mut Random) -> &'static str {
    random.of::<&str>(&["LEFT", "RIGHT", "left", "Right"])
}

/// A distance from an end, mostly small.
fn near(random: &mut Random) -> i64 {
    match random.below(8) {
        0 => random.below(300) as i64,
        _ => random.below(5) as i64,
    }
}

/// How many elements to take, zero included.
fn count(random: &mut Random) -> i64 {
    match random.below(12) {
        0 => i64::MAX,
        1 => random.below(300) as i64,
        _ => random.below(5) as i64,
    }
}

/// A count or rank that may be negative, but never the least integer, which 7.0 takes and 7.2
/// refuses.
fn signed(random: &mut Random) -> i64 {
    match random.below(12) {
        0 => *random.of(&[i64::MAX, -i64::MAX]),
        _ => random.below(9) as i64 - 4,
    }
}

fn lpos(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["LPOS", random.key(), element(random)];
    while random.once_in(2) {
        args.extend(match random.below(3) {
            0 => args!["RANK", signed(random)],
            1 => args!["count", count(random)],
            _ => args!["MAXLEN", count(random)],
        });
    }
    args
}

fn lmpop(random: &mut Random) -> Vec<Vec<u8>> {
    let keys = random.keys(3);
    let mut args = args!["LMPOP", keys.len() as i64];
    args.extend(keys);
    args.push(side(random).arg());
    if random.once_in(2) {
        args.extend(args!["COUNT", count(random)]);
    }
    args
}
