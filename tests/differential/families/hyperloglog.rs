//! hyperloglog: random commands.

use crate::args;
use crate::random::{Case, Random};
use crate::wire::Rule;

/// Draws one valid command.
pub fn commands(random: &mut Random) -> Case {
    let key = random.key();
    Case::exact(match random.below(24) {
        0..7 => add(random),
        7..10 => args!["PFCOUNT", key],
        10 => several(random, "PFCOUNT"),
        11..14 => several(random, "PFMERGE"),
        14 => args!["PFDEBUG", "ENCODING", key],
        15 => args!["PFDEBUG", "DECODE", key],
        16 => args!["PFDEBUG", "TODENSE", key],
        17 => args!["PFDEBUG", "GETREG", key],
        18 => args!["GET", key],
        19 => args!["OBJECT", "ENCODING", key],
        20 => damage(random),
        21 => crafted(random),
        22 => args!["DEL", key],
        _ => return Case::exact(args!["MEMORY", "USAGE", key]).rule(Rule::Type),
    })
}

/// Elements of a pool of which commands share some, few or, so that registers fill, many.
fn add(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["PFADD", random.key()];
    let count = match random.below(12) {
        0 => 0,
        1 => random.below(900),
        _ => random.below(20),
    };
    for _ in 0..count {
        let element = match random.below(3) {
            0 => format!("e{}", random.below(50)).into_bytes(),
            1 => format!("element:{}", random.below(20_000)).into_bytes(),
            _ => {
                let length = random.below(20);
                random.bytes(length)
            }
        };
        args.push(element);
    }
    args
}

fn several(random: &mut Random, name: &str) -> Vec<Vec<u8>> {
    let mut args = args![name];
    args.extend(random.keys(4));
    args
}

/// Damages what may be a HyperLogLog: its header, or its length. Half a run at the end would only
/// show what Redis reads behind the end of a string.
fn damage(random: &mut Random) -> Vec<Vec<u8>> {
    let byte = random.bits() as u8;
    match random.below(3) {
        0 => args!["APPEND", random.key(), vec![byte | 0x80]],
        1 => args!["APPEND", random.key(), vec![byte & 0x3f]],
        _ => args![
            "SETRANGE",
            random.key(),
            random.below(16) as i64,
            vec![byte]
        ],
    }
}

/// A sparse HyperLogLog of random runs, which hardly ever are as long as they should be.
fn crafted(random: &mut Random) -> Vec<Vec<u8>> {
    let mut bytes = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80".to_vec();
    let mut left = 16384_usize;
    for _ in 0..random.below(12) {
        match random.below(3) {
            0 => {
                let len = 1 + random.below(64);
                bytes.push(len as u8 - 1);
                left = left.saturating_sub(len);
            }
            1 => {
                let len = 1 + random.below(2000);
                bytes.extend([0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]);
                left = left.saturating_sub(len);
            }
            _ => {
                let (value, len) = (random.below(32) as u8, random.below(4));
                bytes.push(0x80 | value << 2 | len as u8);
                left = left.saturating_sub(len + 1);
            }
        }
    }
    if !random.once_in(4) && left > 0 {
        bytes.extend([0x40 | ((left - 1) >> 8) as u8, (left - 1) as u8]);
    }
    args!["SET", random.key(), bytes]
}
