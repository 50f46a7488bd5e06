//! LCS, the longest common subsequence of two strings.

use super::error::{Error, Outcome, SYNTAX};
use super::options::{int, is};
use super::spec::*;
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::server::config::id;
use crate::store::Locks;
use crate::types::lcs::{self, Lcs, Match};
use crate::types::{Type, string};

/// The row of LCS.
pub const COMMANDS: &[Command] = &[Command::new("lcs", -3, lcs)
    .flags(READONLY)
    .acl(CAT_STRING)
    .keys(&[KeySpec::range(1, 2, 1, RO.or(ACCESS))])
    .docs(
        Group::String,
        "7.0.0",
        "O(N*M), N and M the lengths of the two strings",
        "Finds the longest common subsequence of two strings",
    )
    .args("key1:key key2:key [LEN] [IDX] [MINMATCHLEN len:integer] [WITHMATCHLEN]")
    .slow()];

const NOT_STRINGS: Error = Error::new("ERR The specified keys must contain string values");
const BOTH: Error = Error::new("ERR If you want both the length and indexes, please just use IDX.");
const TOO_LONG: Error = Error::new("ERR String too long for LCS");
const TOO_MUCH_MEMORY: Error =
    Error::new("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");

/// What LCS is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Wanted {
    len: bool,
    matches: bool,
    /// Leave out matches that are shorter.
    least: i64,
    match_len: bool,
}

impl Wanted {
    fn read(args: &Args<'_>) -> Outcome<Wanted> {
        let mut wanted = Wanted::default();
        let mut at = 3;
        while at < args.len() {
            let arg = &args[at];
            if is(arg, "IDX") {
                wanted.matches = true;
            } else if is(arg, "LEN") {
                wanted.len = true;
            } else if is(arg, "WITHMATCHLEN") {
                wanted.match_len = true;
            } else if is(arg, "MINMATCHLEN") && at + 1 < args.len() {
                at += 1;
                wanted.least = int(args, at)?;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        if wanted.len && wanted.matches {
            Err(BOTH)
        } else {
            Ok(wanted)
        }
    }
}

fn lcs(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (a, b) = (text(c, &args[1]), text(c, &args[2]));
    let (a, b) = (a?, b?);
    // From here on the work is on copies and may take long: others may have the keys, unless this
    // is part of a transaction.
    if !c.db.in_transaction {
        c.db.locks = Locks::none();
    }
    let wanted = Wanted::read(args)?;
    check_size(
        a.len(),
        b.len(),
        c.server.config.memory(id::PROTO_MAX_BULK_LEN),
    )?;
    if wanted.len {
        c.out.count(lcs::length(&a, &b));
        return Ok(());
    }
    let common = Lcs::new(&a, &b);
    if wanted.matches {
        reply_matches(c.out, &common, wanted);
    } else {
        c.out.bulk(&common.bytes());
    }
    Ok(())
}

/// A copy of the string that a key holds, empty when there is none.
fn text(c: &mut Ctx<'_>, key: &[u8]) -> Outcome<Vec<u8>> {
    let mut scratch = [0; 20];
    match c.db.get(key) {
        Some(value) if value.kind() != Type::String => Err(NOT_STRINGS),
        Some(value) => Ok(string::bytes(value, &mut scratch)
            .unwrap_or_default()
            .to_vec()),
        None => Ok(Vec::new()),
    }
}

/// Holds the lengths against the limit that Redis has for its table of one 32-bit number for each
/// pair of prefixes. The one here takes a bit for each, but what one server refuses, the other
/// should not accept.
fn check_size(a: usize, b: usize, most: u64) -> Outcome {
    let longest = u64::from(u32::MAX) - 1;
    let (a, b) = (a as u64, b as u64);
    if a >= longest || b >= longest {
        return Err(TOO_LONG);
    }
    let table = u128::from(a + 1) * u128::from(b + 1) * 4;
    if table > u128::from(most) {
        Err(TOO_MUCH_MEMORY)
    } else {
        Ok(())
    }
}

fn reply_matches(out: &mut Reply, common: &Lcs<'_>, wanted: Wanted) {
    let long_enough = |run: &Match| run.len as i64 >= wanted.least;
    let matches: Vec<Match> = common
        .matches()
        .iter()
        .copied()
        .filter(long_enough)
        .collect();
    out.map(2);
    out.bulk(b"matches");
    out.array(matches.len());
    for run in matches {
        out.array(2 + usize::from(wanted.match_len));
        for start in [run.a, run.b] {
            out.array(2);
            out.count(start);
            out.count(start + run.len - 1);
        }
        if wanted.match_len {
            out.count(run.len);
        }
    }
    out.bulk(b"len");
    out.count(common.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn read(words: &str) -> Outcome<Wanted> {
        let mut owned = OwnedArgs::new(format!("LCS a b {words}").split_whitespace());
        Wanted::read(&owned.args())
    }

    #[test]
    fn options() {
        assert_eq!(read(""), Ok(Wanted::default()));
        let all = Wanted {
            len: false,
            matches: true,
            least: 4,
            match_len: true,
        };
        assert_eq!(read("idx minmatchlen 4 withmatchlen"), Ok(all));
        assert_eq!(read("LEN IDX"), Err(BOTH));
        for wrong in ["foo", "IDX MINMATCHLEN", "4"] {
            assert_eq!(read(wrong), Err(SYNTAX), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(check_size(9, 9, 400), Ok(()));
        assert_eq!(check_size(9, 10, 400), Err(TOO_MUCH_MEMORY));
        assert_eq!(check_size(u32::MAX as usize, 0, u64::MAX), Err(TOO_LONG));
        assert_eq!(check_size(0, u32::MAX as usize - 2, u64::MAX), Ok(()));
    }
}
