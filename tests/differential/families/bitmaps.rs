//! bitmaps: random commands.

use crate::args;
use crate::random::{Arg, Case, Random};

/// Draws one valid command.
pub fn commands(random: &mut Random) -> Case {
    let key = random.key();
    Case::exact(match random.below(20) {
        0..3 => args!["SETBIT", key, offset(random), random.below(2) as i64],
        3 => args!["GETBIT", key, offset(random)],
        4 | 5 => bitcount(random),
        6..9 => bitpos(random),
        9..12 => bitop(random),
        12..16 => bitfield(random, "BITFIELD", true),
        16 => bitfield(random, "BITFIELD", false),
        17 => bitfield(random, "BITFIELD_RO", false),
        18 => args!["GET", key],
        _ => args!["SET", key, pattern(random)],
    })
}

/// The offset of a bit: near, or past the longest string. In between lie gigabytes of zeros.
fn offset(random: &mut Random) -> i64 {
    match random.below(12) {
        0 => *random.of(&[-1, 4_294_967_296, i64::MAX, i64::MIN]),
        1 => random.below(20_000) as i64,
        _ => random.below(200) as i64,
    }
}

/// Long runs of equal bits with some others in between.
fn pattern(random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![*random.of(&[0x00, 0xff]); random.below(120)];
    for _ in 0..random.below(3) {
        let byte = random.bits() as u8;
        bytes.extend(vec![byte; random.below(10)]);
    }
    bytes
}

fn index(random: &mut Random) -> i64 {
    match random.once_in(3) {
        true => random.below(1000) as i64 - 500,
        false => random.index(),
    }
}

fn unit(random: &mut Random) -> Vec<u8> {
    random.of(&["BIT", "BYTE", "bit", "Byte"]).arg()
}

fn bitcount(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["BITCOUNT", random.key()];
    if !random.once_in(5) {
        args.extend(args![index(random), index(random)]);
        if random.once_in(2) {
            args.push(unit(random));
        }
    }
    args
}

fn bitpos(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["BITPOS", random.key(), random.below(2) as i64];
    for _ in 0..random.below(3) {
        args.push(index(random).arg());
    }
    if args.len() == 5 && random.once_in(2) {
        args.push(unit(random));
    }
    args
}

fn bitop(random: &mut Random) -> Vec<Vec<u8>> {
    let name = *random.of(&["AND", "OR", "XOR", "NOT", "and", "Xor"]);
    let mut args = args!["BITOP", name, random.key()];
    match name {
        "NOT" => args.push(random.key()),
        _ => args.extend(random.keys(5)),
    }
    args
}

fn bitfield(random: &mut Random, name: &str, writes: bool) -> Vec<Vec<u8>> {
    let mut args = args![name, random.key()];
    for _ in 0..random.below(5) {
        if writes && random.once_in(2) {
            let overflow = *random.of(&["WRAP", "SAT", "FAIL", "sat"]);
            args.extend(args!["OVERFLOW", overflow]);
        }
        let operation = match writes {
            true => *random.of(&["GET", "SET", "INCRBY", "set", "IncrBy"]),
            false => *random.of(&["GET", "get"]),
        };
        args.extend(args![operation, field_type(random), field_offset(random)]);
        if !operation.eq_ignore_ascii_case("GET") {
            args.push(amount(random).arg());
        }
    }
    args
}

fn field_type(random: &mut Random) -> Vec<u8> {
    let bits = match random.below(3) {
        0 => *random.of(&[1, 2, 8, 16, 32, 62, 63, 64]),
        _ => 1 + random.below(64),
    };
    match random.once_in(2) || bits == 64 {
        true => format!("i{bits}").into_bytes(),
        false => format!("u{bits}").into_bytes(),
    }
}

fn field_offset(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0 => random.of(&["#-1", "-1", "4294967296", "#"]).arg(),
        1..8 => format!("#{}", random.below(20)).into_bytes(),
        _ => (random.below(300) as i64).arg(),
    }
}

/// Mostly about as large as the fields are.
fn amount(random: &mut Random) -> i64 {
    match random.below(3) {
        0 => random.integer(),
        _ => (random.bits() as i64) >> random.below(64),
    }
}
