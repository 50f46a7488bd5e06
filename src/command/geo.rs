//! The geo commands: positions as the scores of a sorted set. The searches have a file of their
//! own, `geo_search.rs`.
//!
//! The mathematics is in [`crate::types::geohash`]. Any sorted set will do: every score stands for
//! some position.

use super::error::{Error, NOT_A_FLOAT, Outcome, SYNTAX};
use super::options::is;
use super::spec::*;
use super::zsets::Adding;
use super::{Args, Ctx, Keyspace};
use crate::resp::Reply;
use crate::types::geohash::Position;
use crate::types::zset::ZSet;
use crate::util::num;

/// The rows of the geo commands without the searches.
pub const COMMANDS: &[Command] = &[
    Command::new("geoadd", -5, geoadd)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_GEO)
        .keys(&[KeySpec::one(1, RW.or(UPDATE))])
        .docs(
            Group::Geo,
            "3.2.0",
            "O(log N) for each member, N the size of the sorted set",
            "Adds members at positions, or moves them there",
        )
        .args(
            "key [condition:(NX | XX)@6.2.0] [change:\"CH\"@6.2.0] \
                longitude_latitude_member:{longitude:double latitude:double member}...",
        )
        .history(&[("6.2.0", "Options CH, NX and XX")]),
    Command::new("geodist", -4, geodist)
        .flags(READONLY)
        .acl(CAT_GEO)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Geo,
            "3.2.0",
            "O(1)",
            "Measures how far apart two members are",
        )
        .args("key member1 member2 [unit:(M | KM | FT | MI)]"),
    Command::new("geohash", -2, geohash)
        .flags(READONLY)
        .acl(CAT_GEO)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Geo,
            "3.2.0",
            "O(N), N the number of members asked for",
            "Reads the positions of members as standard geohashes",
        )
        .args("key member..."),
    Command::new("geopos", -2, geopos)
        .flags(READONLY)
        .acl(CAT_GEO)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Geo,
            "3.2.0",
            "O(N), N the number of members asked for",
            "Reads the positions of members as longitude and latitude",
        )
        .args("key member..."),
];

/// The longitude and latitude at `index`.
///
/// # Errors
/// One is not a number, or there is no such position.
pub(super) fn position(args: &Args<'_>, index: usize) -> Outcome<Position> {
    let degrees = |at| num::parse_f64(args.get(at).ok_or(SYNTAX)?).ok_or(NOT_A_FLOAT);
    let (longitude, latitude) = (degrees(index)?, degrees(index + 1)?);
    Position::new(longitude, latitude).ok_or_else(|| {
        Error::text(format!(
            "ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"
        ))
    })
}

/// The metres of a unit.
///
/// # Errors
/// There is no such unit.
pub(super) fn unit(arg: &[u8]) -> Outcome<f64> {
    const UNITS: [(&str, f64); 4] = [("M", 1.0), ("KM", 1000.0), ("FT", 0.3048), ("MI", 1609.34)];
    UNITS
        .iter()
        .find(|(name, _)| is(arg, name))
        .map(|&(_, metres)| metres)
        .ok_or(Error::new(
            "ERR unsupported unit provided. please use M, KM, FT, MI",
        ))
}

/// Where a member is.
pub(super) fn position_of(zset: &ZSet, member: &[u8]) -> Option<Position> {
    zset.score(member).map(Position::from_score)
}

/// A distance with four decimals, a bulk string in either protocol.
pub(super) fn write_distance(out: &mut Reply, distance: f64) {
    // In units of the last decimal; no distance on the globe comes near the limits of an integer.
    let scaled = (distance * 10_000.0).round_ties_even() as u64;
    let mut text = [0; 25];
    let mut digits = [0; 20];
    let whole = num::fmt_u64(&mut digits, scaled / 10_000);
    let len = whole.len();
    text[..len].copy_from_slice(whole);
    text[len] = b'.';
    let mut rest = scaled % 10_000;
    for place in (1..=4).rev() {
        text[len + place] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.bulk(&text[..len + 5]);
}

/// A position as its longitude and latitude, without exponents.
pub(super) fn write_position(out: &mut Reply, position: Position) {
    out.array(2);
    for degrees in [position.longitude, position.latitude] {
        let text = num::fmt_f64_human(degrees);
        if out.is_resp3() {
            out.raw(b",");
            out.raw(text.as_bytes());
            out.raw(b"\r\n");
        } else {
            out.bulk(text.as_bytes());
        }
    }
}

fn geoadd(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let mut how = Adding::default();
    let mut first = 2;
    while let Some(arg) = args.get(first) {
        if is(arg, "NX") {
            how.nx = true;
        } else if is(arg, "XX") {
            how.xx = true;
        } else if is(arg, "CH") {
            how.ch = true;
        } else {
            break;
        }
        first += 1;
    }
    let rest = args.len() - first;
    if rest == 0 || !rest.is_multiple_of(3) || (how.nx && how.xx) {
        return Err(SYNTAX);
    }
    // All of them are read before the first is added.
    let pairs = (first..args.len())
        .step_by(3)
        .map(|at| Ok((position(args, at)?.score() as f64, &args[at + 2])))
        .collect::<Outcome<Vec<_>>>()?;
    let before = c.db.changes;
    how.add(&mut c.db, c.out, &args[1], pairs.iter().copied())?;
    if c.db.logs() && c.db.changes != before {
        log_scores(&mut c.db, args, first, &pairs);
    }
    Ok(())
}

/// Logs what GEOADD comes to, with the options that stand before the argument `first`.
fn log_scores(db: &mut Keyspace<'_>, args: &Args<'_>, first: usize, pairs: &[(f64, &[u8])]) {
    let texts: Vec<Vec<u8>> = (pairs.iter())
        .map(|&(score, _)| format!("{score}").into_bytes())
        .collect();
    let mut words: Vec<&[u8]> = vec![b"ZADD"];
    words.extend((1..first).map(|at| &args[at]));
    for (text, (_, member)) in texts.iter().zip(pairs) {
        words.extend([text, *member]);
    }
    db.instead(&words);
}

fn geodist(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let metres = match args.len() {
        4 => 1.0,
        5 => unit(&args[4])?,
        _ => return Err(SYNTAX),
    };
    let ends = c.db.zset(&args[1])?.and_then(|zset| {
        let from = position_of(zset, &args[2])?;
        Some((from, position_of(zset, &args[3])?))
    });
    match ends {
        Some((from, to)) => write_distance(c.out, from.distance(to) / metres),
        None => c.out.null(),
    }
    Ok(())
}

fn geohash(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let zset = c.db.zset(&args[1])?;
    c.out.array(args.len() - 2);
    for member in args.from(2) {
        let found = zset.and_then(|zset| position_of(zset, member));
        c.out
            .bulk_or_null(found.map(Position::geohash).as_ref().map(|hash| &hash[..]));
    }
    Ok(())
}

fn geopos(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let zset = c.db.zset(&args[1])?;
    c.out.array(args.len() - 2);
    for member in args.from(2) {
        match zset.and_then(|zset| position_of(zset, member)) {
            Some(position) => write_position(c.out, position),
            None => c.out.null_array(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(metres: f64) -> String {
        let mut out = Reply::new();
        write_distance(&mut out, metres);
        let text = String::from_utf8_lossy(out.bytes()).into_owned();
        text.split("\r\n").nth(1).map(str::to_owned).unwrap_or(text)
    }

    #[test]
    fn distances_have_four_decimals() {
        for (metres, text) in [
            (0.0, "0.0000"),
            (0.00004, "0.0000"),
            (0.0005, "0.0005"),
            (0.99996, "1.0000"),
            (166274.15156, "166274.1516"),
            (65_674_186.123_45, "65674186.1234"),
            (1e12, "1000000000000.0000"),
        ] {
            assert_eq!(distance(metres), text);
        }
        // Nothing that is not a number on a sphere may panic.
        distance(f64::INFINITY);
        distance(f64::NAN);
    }

    #[test]
    fn units_in_any_case() {
        for (name, metres) in [("m", 1.0), ("Km", 1000.0), ("FT", 0.3048), ("mI", 1609.34)] {
            assert_eq!(unit(name.as_bytes()), Ok(metres));
        }
        assert!(unit(b"yd").is_err() && unit(b"").is_err());
    }
}
