//! The families of commands that the random test draws from.
//!
//! To add a family, write a function from a generator to a [`Case`] and give it a row in
//! [`FAMILIES`]; its commands then also meet the keys that the other families made.
//! Expiry times are far away or past, and no two relative ones are close to each other: the two
//! servers do not read the clock at the same moment.

#[path = "families/bitmaps.rs"]
mod bitmaps;
#[path = "families/geo.rs"]
mod geo;
#[path = "families/hashes.rs"]
mod hashes;
#[path = "families/hyperloglog.rs"]
mod hyperloglog;
#[path = "families/lists.rs"]
mod lists;
#[path = "families/sets.rs"]
mod sets;
#[path = "families/sort.rs"]
mod sort;
#[path = "families/streams.rs"]
mod streams;
#[path = "families/transactions.rs"]
mod transactions;
#[path = "families/zset_algebra.rs"]
mod zset_algebra;
#[path = "families/zset_ranges.rs"]
mod zset_ranges;
#[path = "families/zsets.rs"]
mod zsets;

use crate::args;
use crate::random::{Arg, Case, Random};
use crate::wire::Rule;

pub use transactions::in_transactions;

/// A group of commands that belong together.
pub struct Family {
    /// What `STDIS_FAMILY` calls it.
    pub name: &'static str,
    /// The family is left out while the server lacks one of these commands.
    pub needs: &'static [&'static str],
    /// Draws one valid command.
    pub generate: fn(&mut Random) -> Case,
}

/// Every family.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "strings",
        needs: &["set", "lcs", "incrbyfloat"],
        generate: strings,
    },
    Family {
        name: "counters",
        needs: &["incr", "incrbyfloat"],
        generate: counters,
    },
    Family {
        name: "keys",
        needs: &["scan", "copy", "swapdb"],
        generate: keys,
    },
    Family {
        name: "expire",
        needs: &["expire", "pexpiretime", "getex"],
        generate: expire,
    },
    Family {
        name: "lists",
        needs: &["rpush", "lpos", "lmpop"],
        generate: lists::commands,
    },
    Family {
        name: "hashes",
        needs: &["hset", "hrandfield"],
        generate: hashes::commands,
    },
    Family {
        name: "sets",
        needs: &["sadd", "sintercard"],
        generate: sets::commands,
    },
    Family {
        name: "zsets",
        needs: &["zadd", "zmpop"],
        generate: zsets::commands,
    },
    Family {
        name: "zset_ranges",
        needs: &["zadd", "sadd", "zrangestore", "zunionstore"],
        generate: zset_ranges::commands,
    },
    Family {
        name: "zset_algebra",
        needs: &["zadd", "sadd", "zunionstore"],
        generate: zset_algebra::commands,
    },
    Family {
        name: "geo",
        needs: &["geoadd", "geosearchstore"],
        generate: geo::commands,
    },
    Family {
        name: "bitmaps",
        needs: &["setbit", "bitfield"],
        generate: bitmaps::commands,
    },
    Family {
        name: "hyperloglog",
        needs: &["pfadd", "pfmerge"],
        generate: hyperloglog::commands,
    },
    Family {
        name: "sort",
        needs: &["sort", "rpush", "hset"],
        generate: sort::commands,
    },
    Family {
        name: "streams",
        needs: &["xadd", "xreadgroup", "xautoclaim"],
        generate: streams::commands,
    },
];

/// A time to live in seconds: far away, and a different one each time.
fn seconds(random: &mut Random) -> i64 {
    10_000 + 100 * random.below(10_000_000) as i64
}

/// Seconds since 1970: past, or later than any relative time reaches.
fn moment(random: &mut Random) -> i64 {
    *random.of(&[
        1,
        1_000_000_000,
        4_102_444_800,
        4_102_444_801,
        7_258_118_400,
    ])
}

/// The same in milliseconds.
fn moment_ms(random: &mut Random) -> i64 {
    moment(random) * 1000 + random.below(1000) as i64
}

/// `EX`, `PX`, `EXAT` or `PXAT` with a time that is not past.
fn time_option(random: &mut Random) -> Vec<Vec<u8>> {
    match random.below(4) {
        0 => args!["EX", seconds(random)],
        1 => args!["PX", seconds(random) * 1000],
        2 => args!["EXAT", *random.of(&[4_102_444_800_i64, 7_258_118_400])],
        _ => args![
            "pxat",
            *random.of(&[4_102_444_800_001_i64, 7_258_118_400_999])
        ],
    }
}

fn strings(random: &mut Random) -> Case {
    let key = random.key();
    let args = match random.below(24) {
        0..4 => set(random),
        4 => args!["GET", key],
        5 => args!["GETDEL", key],
        6 => args!["GETSET", key, random.value()],
        7 => args!["SETNX", key, random.value()],
        8 => args!["APPEND", key, random.value()],
        9 => args!["STRLEN", key],
        10 => args!["GETRANGE", key, random.index(), random.index()],
        11 => args!["SUBSTR", key, random.index(), random.index()],
        12 | 13 => setrange(random),
        14 => many(random, "MGET", false),
        15 => many(random, "MSET", true),
        16 => many(random, "MSETNX", true),
        17 => args!["SETEX", key, seconds(random), random.value()],
        18 => args!["PSETEX", key, seconds(random) * 1000, random.value()],
        19 | 20 => lcs(random),
        21 => args!["OBJECT", "ENCODING", key],
        _ => getex(random),
    };
    Case::exact(args)
}

fn set(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["SET", random.key(), random.value()];
    if random.once_in(3) {
        args.push(random.of(&["NX", "XX", "nx", "xX"]).arg());
    }
    if random.once_in(3) {
        args.push("GET".arg());
    }
    match random.below(4) {
        0 => args.extend(time_option(random)),
        1 => args.push("KEEPTTL".arg()),
        _ => {}
    }
    args
}

fn getex(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["GETEX", random.key()];
    match random.below(3) {
        0 => args.extend(time_option(random)),
        1 => args.push("PERSIST".arg()),
        _ => {}
    }
    args
}

fn setrange(random: &mut Random) -> Vec<Vec<u8>> {
    // Just past the longest string, or near: in between lie half a gigabyte of zeroes.
    let offset = match random.below(10) {
        0 => *random.of(&[536_870_912, 9_223_372_036_854_775_807, -1]),
        _ => random.below(100) as i64,
    };
    args!["SETRANGE", random.key(), offset, random.value()]
}

/// A command over several keys, each with a value when it `sets`.
fn many(random: &mut Random, name: &str, sets: bool) -> Vec<Vec<u8>> {
    let mut args = args![name];
    for key in random.keys(4) {
        args.push(key);
        if sets {
            args.push(random.value());
        }
    }
    args
}

fn lcs(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["LCS", random.key(), random.key()];
    match random.below(4) {
        0 => args.push("LEN".arg()),
        1 | 2 => {
            args.push("IDX".arg());
            if random.once_in(2) {
                args.extend(args!["MINMATCHLEN", random.below(6) as i64 - 1]);
            }
            if random.once_in(2) {
                args.push("WITHMATCHLEN".arg());
            }
        }
        _ => {}
    }
    args
}

fn counters(random: &mut Random) -> Case {
    let key = random.key();
    Case::exact(match random.below(8) {
        0 => args!["INCR", key],
        1 => args!["DECR", key],
        2 => args!["INCRBY", key, random.integer()],
        3 => args!["DECRBY", key, random.integer()],
        4 | 5 => args!["INCRBYFLOAT", key, random.float()],
        6 => args!["SET", key, random.integer()],
        _ => args!["SET", key, random.float()],
    })
}

fn keys(random: &mut Random) -> Case {
    let key = random.key();
    match random.below(22) {
        0 => Case::exact(many(random, "DEL", false)),
        1 => Case::exact(many(random, "UNLINK", false)),
        2 => Case::exact(many(random, "EXISTS", false)),
        3 => Case::exact(many(random, "TOUCH", false)),
        4 => Case::exact(args!["TYPE", key]),
        5 | 6 => Case::exact(args!["RENAME", key, random.key()]),
        7 => Case::exact(args!["RENAMENX", key, random.key()]),
        8 | 9 => Case::exact(copy(random)),
        10 => Case::exact(args!["MOVE", key, random.db()]),
        11 => Case::exact(args!["SELECT", random.db()]),
        12 => Case::exact(args!["SWAPDB", random.db(), random.db()]),
        13 => Case::exact(args!["OBJECT", "ENCODING", key]),
        14 => Case::exact(args!["OBJECT", "FREQ", key]),
        15 => Case::exact(args!["OBJECT", "IDLETIME", key]).rule(Rule::Approx(60)),
        16 => Case::exact(args!["MEMORY", "USAGE", key]).rule(Rule::Type),
        17 => Case::exact(args!["KEYS", pattern(random)]).rule(Rule::Unordered),
        // One server may still hold keys that have expired.
        18 => Case::exact(args!["DBSIZE"]).rule(Rule::Type),
        19 => Case::exact(args!["RANDOMKEY"]).rule(Rule::Type),
        20 if random.once_in(10) => Case::exact(match random.below(3) {
            0 => args!["FLUSHALL"],
            1 => args!["FLUSHDB", "SYNC"],
            _ => args!["FLUSHDB", "ASYNC"],
        }),
        _ => scan(random),
    }
}

fn copy(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["COPY", random.key(), random.key()];
    if random.once_in(2) {
        args.extend(args!["DB", random.db()]);
    }
    if random.once_in(2) {
        args.push("REPLACE".arg());
    }
    args
}

fn pattern(random: &mut Random) -> Vec<u8> {
    let patterns = [
        "*",
        "key:*",
        "key:?",
        "key:1?",
        "key:[1-5]",
        "key:[^1]*",
        "key:[1",
        "*1*",
        "k[a-f]y:*",
        "",
        "\\key:*",
        "*\r\n",
        "key:1\\",
        "**:*?",
    ];
    random.of(&patterns).arg()
}

fn scan(random: &mut Random) -> Case {
    // A count above the number of keys: cursors are each server's own, and 0 ends both scans.
    let mut args = args!["SCAN", "0", "COUNT", 1000_i64];
    if random.once_in(2) {
        args.extend(args!["MATCH", pattern(random)]);
    }
    if random.once_in(2) {
        args.extend(args![
            "TYPE",
            *random.of(&["string", "list", "hash", "STRING"])
        ]);
    }
    Case::exact(args).rule(Rule::Unordered)
}

fn expire(random: &mut Random) -> Case {
    let key = random.key();
    let (name, time) = match random.below(14) {
        0..3 => ("EXPIRE", seconds(random)),
        3 => (
            "EXPIRE",
            *random.of(&[0, -1, -1_000_000, 9_223_372_036_854_775]),
        ),
        4 => ("PEXPIRE", seconds(random) * 1000),
        5 => ("PEXPIRE", *random.of(&[0, -5, i64::MIN, i64::MAX])),
        6 => ("EXPIREAT", moment(random)),
        7 => ("PEXPIREAT", moment_ms(random)),
        8 => return Case::exact(args!["PERSIST", key]),
        9 => return Case::exact(args!["TTL", key]).rule(Rule::Approx(15)),
        10 => return Case::exact(args!["PTTL", key]).rule(Rule::Approx(15_000)),
        11 => return Case::exact(args!["EXPIRETIME", key]).rule(Rule::Approx(15)),
        12 => return Case::exact(args!["PEXPIRETIME", key]).rule(Rule::Approx(15_000)),
        _ => return Case::exact(getex(random)),
    };
    let mut args = args![name, key, time];
    while random.once_in(3) {
        args.push(random.of(&["NX", "XX", "GT", "LT", "gt"]).arg());
    }
    Case::exact(args)
}
