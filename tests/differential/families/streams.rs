//! The stream commands: random ones. Ids are explicit and small, so that both servers agree on them
//! and commands meet each other's entries. XSETID is left to the scripts, as 7.2 allows less.

use crate::args;
use crate::random::{Arg, Case, Random};
use crate::wire::Rule;

/// Draws one valid command.
pub fn commands(random: &mut Random) -> Case {
    let key = random.key();
    Case::exact(match random.below(34) {
        0..9 => add(random),
        9 => return limit(random),
        10 | 11 => range(random),
        12 | 13 => delete(random),
        14 | 15 => trim(random),
        16 => args!["XLEN", key],
        17 | 18 => read(random),
        19..22 => read_group(random),
        22 | 23 => group(random),
        24 => several_ids(args!["XACK", key, name(random)], random),
        25 => return pending(random),
        26 | 27 => claim(random),
        28 => autoclaim(random),
        29 => args!["XINFO", "STREAM", key],
        // 7.2 also counts the consumers to whom nothing was given.
        30 | 31 => return Case::exact(args!["XINFO", "GROUPS", key]).rule(Rule::Approx(9)),
        32 => args!["XPENDING", key, name(random)],
        _ => args!["OBJECT", "ENCODING", key],
    })
}

/// An id that entries have, or nearly.
fn id(random: &mut Random) -> Vec<u8> {
    let ms = random.below(400);
    match random.below(6) {
        0 => format!("{ms}-{}", random.below(4)).into_bytes(),
        1 => random.of(&["0", "0-1", "500", "1000000"]).arg(),
        _ => (ms as i64).arg(),
    }
}

/// The end of a range.
fn bound(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => "-".arg(),
        1 => "+".arg(),
        2 => [b"(".to_vec(), id(random)].concat(),
        _ => id(random),
    }
}

/// The name of a group or consumer.
fn name(random: &mut Random) -> Vec<u8> {
    random.of(&["g", "h", "i"]).arg()
}

/// How small the nodes are; both servers change at the same point.
fn limit(random: &mut Random) -> Case {
    let entries = random.of(&["1", "3", "5", "10", "100"]);
    // An error that quotes the option's name is not what this is about.
    Case::exact(args!["CONFIG", "SET", "stream-node-max-entries", *entries]).rule(Rule::Type)
}

fn add(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["XADD", random.key()];
    if random.once_in(5) {
        args.push("NOMKSTREAM".arg());
    }
    if random.once_in(8) {
        args.extend(strategy(random));
    }
    args.push(match random.below(4) {
        0 => format!("{}-{}", random.below(400), random.below(4)).into_bytes(),
        _ => format!("{}-*", random.below(400)).into_bytes(),
    });
    if random.once_in(2) {
        args.extend(args!["a", random.integer(), "b", random.value()]);
    } else {
        for _ in 0..=random.below(3) {
            args.extend(args![*random.of(&["a", "b", "c", "7"]), random.value()]);
        }
    }
    args
}

fn strategy(random: &mut Random) -> Vec<Vec<u8>> {
    let about = random.of(&["", "=", "~", "~"]);
    let mut args = match random.once_in(2) {
        true => args!["MAXLEN", *about, random.below(30) as i64],
        false => args!["MINID", *about, id(random)],
    };
    if about.is_empty() {
        args.remove(1);
    }
    if *about == "~" && random.once_in(2) {
        args.extend(args!["LIMIT", random.below(20) as i64]);
    }
    args
}

fn range(random: &mut Random) -> Vec<Vec<u8>> {
    let name = random.of(&["XRANGE", "XREVRANGE"]);
    let mut args = args![*name, random.key(), bound(random), bound(random)];
    if random.once_in(3) {
        args.extend(args!["COUNT", random.below(8) as i64 - 1]);
    }
    args
}

fn several_ids(mut args: Vec<Vec<u8>>, random: &mut Random) -> Vec<Vec<u8>> {
    for _ in 0..=random.below(20) {
        args.push(id(random));
    }
    args
}

fn delete(random: &mut Random) -> Vec<Vec<u8>> {
    several_ids(args!["XDEL", random.key()], random)
}

fn trim(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["XTRIM", random.key()];
    args.extend(strategy(random));
    args
}

fn read(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["XREAD"];
    if random.once_in(2) {
        args.extend(args!["COUNT", random.below(8) as i64]);
    }
    args.push("STREAMS".arg());
    let keys = random.keys(3);
    let count = keys.len();
    args.extend(keys);
    for _ in 0..count {
        args.push(match random.once_in(6) {
            true => "$".arg(),
            false => id(random),
        });
    }
    args
}

/// XREADGROUP. Where it finds nothing, 7.0 does not create the consumer, and 7.2 does; nothing that
/// is compared here shows the consumers without pending entries.
fn read_group(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["XREADGROUP", "GROUP", name(random), name(random)];
    if random.once_in(2) {
        args.extend(args!["COUNT", random.below(8) as i64]);
    }
    if random.once_in(5) {
        args.push("NOACK".arg());
    }
    args.extend(args!["STREAMS", random.key()]);
    args.push(match random.once_in(4) {
        true => id(random),
        false => ">".arg(),
    });
    args
}

fn group(random: &mut Random) -> Vec<Vec<u8>> {
    let (key, group) = (random.key(), name(random));
    match random.below(8) {
        0..4 => {
            let start = if random.once_in(3) {
                "$".arg()
            } else {
                id(random)
            };
            let mut args = args!["XGROUP", "CREATE", key, group, start];
            if random.once_in(2) {
                args.push("MKSTREAM".arg());
            }
            if random.once_in(4) {
                args.extend(args!["ENTRIESREAD", random.below(30) as i64 - 1]);
            }
            args
        }
        4 | 5 => args!["XGROUP", "SETID", key, group, id(random)],
        6 => args!["XGROUP", "DESTROY", key, group],
        _ => args!["XGROUP", "DELCONSUMER", key, group, name(random)],
    }
}

fn pending(random: &mut Random) -> Case {
    let mut args = args!["XPENDING", random.key(), name(random)];
    args.extend(args![bound(random), bound(random), random.below(20) as i64]);
    if random.once_in(2) {
        args.push(name(random));
    }
    // Idle times are each server's own; so much they do not differ.
    Case::exact(args).rule(Rule::Approx(60_000))
}

fn claim(random: &mut Random) -> Vec<Vec<u8>> {
    let idle = *random.of(&[0_i64, 0, 0, 10_000_000]);
    let args = args!["XCLAIM", random.key(), name(random), name(random), idle];
    let mut args = several_ids(args, random);
    if random.once_in(3) {
        args.push("FORCE".arg());
    }
    if random.once_in(3) {
        args.push("JUSTID".arg());
    }
    if random.once_in(4) {
        args.extend(args!["RETRYCOUNT", random.below(20) as i64]);
    }
    args
}

fn autoclaim(random: &mut Random) -> Vec<Vec<u8>> {
    let idle = *random.of(&[0_i64, 0, 0, 10_000_000]);
    let mut args = args!["XAUTOCLAIM", random.key(), name(random), name(random)];
    args.extend(args![idle, bound(random)]);
    if random.once_in(2) {
        args.extend(args!["COUNT", 1 + random.below(8) as i64]);
    }
    if random.once_in(3) {
        args.push("JUSTID".arg());
    }
    args
}
