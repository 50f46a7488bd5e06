//! Geo commands: positions in a few places, so that members meet, and searches of every size.

use crate::args;
use crate::random::{Arg, Case, Random};

/// Draws one valid command.
pub fn commands(random: &mut Random) -> Case {
    let key = random.key();
    Case::exact(match random.below(16) {
        0..5 => add(random),
        5 => [args!["GEOPOS", key], members(random)].concat(),
        6 => [args!["GEOHASH", key], members(random)].concat(),
        7 => distance(random),
        8 | 9 => radius(random, "GEORADIUS"),
        10 => radius(random, "GEORADIUSBYMEMBER"),
        11 => {
            let name = *random.of(&["GEORADIUS_RO", "GEORADIUSBYMEMBER_RO"]);
            radius(random, name)
        }
        12 => args!["ZRANGE", key, "0", "-1", "WITHSCORES"],
        13 => [args!["GEOSEARCHSTORE", key, random.key()], search(random)].concat(),
        _ => [args!["GEOSEARCH", key], search(random)].concat(),
    })
}

fn member(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0 => random.value(),
        1 => random.integer().arg(),
        n => format!("m{n}").into_bytes(),
    }
}

fn members(random: &mut Random) -> Vec<Vec<u8>> {
    (0..random.below(4)).map(|_| member(random)).collect()
}

/// A longitude and a latitude: near one of a few towns, on a grid, or anywhere.
fn position(random: &mut Random) -> [Vec<u8>; 2] {
    let mut between = |low: f64, high: f64| {
        let part = random.below(1_000_001) as f64 / 1_000_000.0;
        low + part * (high - low)
    };
    let near = [between(-0.2, 0.2), between(-0.2, 0.2)];
    let anywhere = [between(-180.0, 180.0), between(-85.0, 85.0)];
    let [longitude, latitude] = match random.below(6) {
        0..3 => {
            let town = random.of(&[[13.36, 38.11], [-0.1, 51.5], [179.9, -17.0], [0.0, 84.5]]);
            [town[0] + near[0], town[1] + near[1]]
        }
        3 => *random.of(&[
            [0.0, 0.0],
            [0.5, 0.5],
            [0.5, -0.5],
            [-0.5, 0.5],
            [-0.5, -0.5],
        ]),
        4 => *random.of(&[[180.0, 85.0], [-180.0, -85.0], [-180.0, 0.0], [90.0, 66.1]]),
        _ => anywhere,
    };
    [longitude, latitude].map(|degrees| format!("{:.7}", degrees.clamp(-180.0, 180.0)).into_bytes())
}

fn add(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["GEOADD", random.key()];
    match random.below(6) {
        0 => args.push("NX".arg()),
        1 => args.push("xx".arg()),
        _ => {}
    }
    if random.once_in(3) {
        args.push("CH".arg());
    }
    for _ in 0..1 + random.below(6) {
        args.extend(position(random));
        args.push(member(random));
    }
    args
}

fn distance(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = args!["GEODIST", random.key(), member(random), member(random)];
    if random.once_in(2) {
        args.push(unit(random));
    }
    args
}

fn unit(random: &mut Random) -> Vec<u8> {
    random.of(&["m", "km", "FT", "mi", "KM", "M"]).arg()
}

/// A length with its unit.
fn length(random: &mut Random) -> [Vec<u8>; 2] {
    let number = random.below(1_000_000) as f64 / 1000.0;
    let number = number * random.of(&[0.0, 1.0, 10.0, 100.0, 100.0]);
    [format!("{number}").into_bytes(), unit(random)]
}

/// The options that all searches have.
fn options(random: &mut Random, with: bool) -> Vec<Vec<u8>> {
    let mut args = Vec::new();
    if random.once_in(2) {
        args.extend(args!["COUNT", 1 + random.below(12) as i64]);
        if random.once_in(3) {
            args.push("ANY".arg());
        }
    }
    if random.once_in(2) {
        args.push(random.of(&["ASC", "DESC", "asc"]).arg());
    }
    for word in ["WITHDIST", "WITHCOORD", "WITHHASH"] {
        if with && random.once_in(3) {
            args.push(word.arg());
        }
    }
    args
}

/// GEORADIUS and its variants.
fn radius(random: &mut Random, name: &str) -> Vec<Vec<u8>> {
    let mut args = args![name, random.key()];
    match name.contains("MEMBER") {
        true => args.push(member(random)),
        false => args.extend(position(random)),
    }
    args.extend(length(random));
    let store = !name.ends_with("_RO") && random.once_in(3);
    args.extend(options(random, !store));
    if store {
        for _ in 0..1 + random.below(2) {
            args.push(random.of(&["STORE", "STOREDIST"]).arg());
            args.push(random.key());
        }
    }
    args
}

/// What comes behind the key of GEOSEARCH.
fn search(random: &mut Random) -> Vec<Vec<u8>> {
    let mut args = Vec::new();
    match random.once_in(2) {
        true => args.extend(args!["FROMMEMBER", member(random)]),
        false => {
            args.push("FROMLONLAT".arg());
            args.extend(position(random));
        }
    }
    let [side, unit] = length(random);
    match random.once_in(2) {
        true => args.extend(args!["BYRADIUS", side, unit]),
        false => {
            let [height, _] = length(random);
            args.extend(args!["BYBOX", side, height, unit]);
        }
    }
    // Options that do not fit the command give an error; now and then that is wanted.
    let with = random.once_in(2);
    args.extend(options(random, with));
    if random.once_in(12) {
        args.push("STOREDIST".arg());
    }
    args
}
