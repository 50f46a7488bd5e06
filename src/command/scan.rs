//! `SCAN` and `KEYS`: walking over the keys of a database.
//!
//! Both hold one shard at a time, so that a walk over many keys delays nobody for long. A scan
//! visits the shards in turn and within each the positions of its dict *downwards*, which by the
//! dict's own rule (see `store/dict.rs`) misses no key that is there throughout.

use super::error::{Error, Outcome, SYNTAX};
use super::keyspace::Stale;
use super::options::{int, is};
use super::replies::Endless;
use super::spec::*;
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::resp::reply::Aggregate;
use crate::store::SHARDS;
use crate::store::entry::Entry;
use crate::util::glob;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("keys", 2, keys)
        .flags(READONLY)
        .acl(CAT_KEYSPACE.or(CAT_DANGEROUS))
        .docs(
            Group::Generic,
            "1.0.0",
            "O(N), N the number of keys in the database",
            "Lists every key whose name fits a pattern",
        )
        .args("pattern")
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .locking(Locking::None)
        .slow(),
    Command::new("scan", -2, scan)
        .flags(READONLY)
        .acl(CAT_KEYSPACE)
        .docs(
            Group::Generic,
            "2.8.0",
            "O(1) a call, O(N) for all N keys",
            "Walks through the keys of the database bit by bit",
        )
        .args("cursor:integer [MATCH pattern] [COUNT count:integer] [TYPE type@6.0.0]")
        .history(&[("6.0.0", "Option TYPE")])
        .tips(&["nondeterministic_output", "request_policy:special"])
        .locking(Locking::None),
];

const INVALID_CURSOR: Error = Error::new("ERR invalid cursor");
/// Keys that a call looks at when the client does not say how many.
const DEFAULT_COUNT: usize = 10;

/// `KEYS pattern`
fn keys(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let pattern = Pattern::new(&args[1]);
    let start = c.out.begin_deferred();
    let (mut found, mut within) = (0, true);
    let mut endless = Endless::new(c.server, &c.session.client, c.out, u64::MAX);
    for shard in 0..SHARDS {
        let out = &mut *c.out;
        c.db.in_shard(shard, false, |db| {
            for entry in db.part(shard).iter() {
                let key = &entry.key;
                if !key.is_expired(db.now) && pattern.fits(key.bytes()) {
                    out.bulk(key.bytes());
                    found += 1;
                    within = endless.goes_on(out);
                    if !within {
                        break;
                    }
                }
            }
        });
        if !within {
            break;
        }
        // This may go on for long; on a machine with more to do than cores, others go first.
        std::thread::yield_now();
    }
    c.out.end_deferred(start, Aggregate::Array, found);
    Ok(())
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
fn scan(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let cursor = Cursor::decode(cursor(args, 1)?);
    let options = ScanOptions::read(args, 2, Scanned::Keys)?;
    let kind = options.kind;
    let (mut found, mut batch) = (0, Reply::new());
    let next = walk(c, cursor, options.count, &mut |entry| {
        let of_kind = |kind: &[u8]| kind.eq_ignore_ascii_case(entry.value.kind().name().as_bytes());
        if options.pattern.fits(entry.key.bytes()) && kind.is_none_or(of_kind) {
            batch.bulk(entry.key.bytes());
            found += 1;
        }
    });
    reply(c.out, next.encode(), found, &batch);
    Ok(())
}

/// The cursor at `index`.
///
/// # Errors
/// `ERR invalid cursor`
pub(super) fn cursor(args: &Args<'_>, index: usize) -> Outcome<u64> {
    parse_cursor(&args[index]).ok_or(INVALID_CURSOR)
}

/// Writes the reply of SCAN and its kin: where to go on, and `found` elements, which are in
/// `batch`.
pub(super) fn reply(out: &mut Reply, next: u64, found: usize, batch: &Reply) {
    out.array(2);
    let mut digits = [0; 20];
    out.bulk(crate::util::num::fmt_u64(&mut digits, next));
    out.array(found);
    out.raw(batch.bytes());
}

/// Shows `count` entries from the cursor on to `visit` and returns where to go on. Expired ones
/// count but are not shown; they are removed when the command is done.
///
/// Shards without a key do not count: there are at most [`SHARDS`] of them, and a small database
/// is done in one call.
fn walk(
    c: &mut Ctx<'_>,
    mut at: Cursor,
    mut count: usize,
    visit: &mut impl FnMut(&Entry),
) -> Cursor {
    while at.shard < SHARDS {
        let shard = at.shard;
        let rest = c.db.in_shard(shard, false, |db| {
            let mut stale = Vec::new();
            let part = db.part(shard);
            let mut position = match at.position {
                0 => part.len(),
                below => below.min(part.len()),
            };
            while position > 0 && count > 0 {
                position -= 1;
                count -= 1;
                let entry = part.at(position);
                if entry.key.is_expired(db.now) {
                    stale.push(Stale::new(db.number, entry.key.bytes()));
                } else {
                    visit(entry);
                }
            }
            if !db.keeps_expired && !stale.is_empty() {
                db.aside.open().stale.append(&mut stale);
            }
            position
        });
        if rest > 0 {
            return Cursor {
                shard,
                position: rest,
            };
        }
        at = Cursor {
            shard: shard + 1,
            position: 0,
        };
    }
    at
}

/// Where a scan goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cursor {
    /// The shard; [`SHARDS`] when the scan is over.
    shard: usize,
    /// The entries below this position remain; 0 for all of them.
    position: usize,
}

impl Cursor {
    /// The number that clients get: `position << 8 | shard`, and 0 when the scan is over.
    fn encode(self) -> u64 {
        if self.shard >= SHARDS {
            0
        } else {
            self.position as u64 * SHARDS as u64 + self.shard as u64
        }
    }

    fn decode(number: u64) -> Cursor {
        let shards = SHARDS as u64;
        Cursor {
            shard: (number % shards) as usize,
            position: (number / shards) as usize,
        }
    }
}

/// Reads a cursor as C's `strtoul` does, which knows signs and reads no text as 0, but allows no
/// space in front. What stands behind a NUL is not looked at.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    let text = text.split(|&b| b == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0);
    }
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(digit.into())
    })?;
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// The options of SCAN and its kin.
pub(super) struct ScanOptions<'a> {
    /// MATCH
    pub pattern: Pattern<'a>,
    /// COUNT
    pub count: usize,
    /// TYPE; for SCAN alone.
    kind: Option<&'a [u8]>,
    /// NOVALUES; for HSCAN alone.
    pub no_values: bool,
}

/// The command whose options are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scanned {
    /// SCAN
    Keys,
    /// HSCAN
    Hash,
    /// SSCAN, ZSCAN
    Members,
}

impl<'a> ScanOptions<'a> {
    /// Reads the options from the argument `at` on.
    ///
    /// # Errors
    /// Syntax errors, and what is no integer.
    pub fn read(args: &'a Args<'_>, mut at: usize, of: Scanned) -> Outcome<ScanOptions<'a>> {
        let mut options = ScanOptions {
            pattern: Pattern::ALL,
            count: DEFAULT_COUNT,
            kind: None,
            no_values: false,
        };
        while at < args.len() {
            if of == Scanned::Hash && is(&args[at], "NOVALUES") {
                options.no_values = true;
                at += 1;
                continue;
            }
            let Some(value) = args.get(at + 1) else {
                return Err(SYNTAX);
            };
            if is(&args[at], "COUNT") {
                let count = int(args, at + 1)?;
                options.count = usize::try_from(count)
                    .ok()
                    .filter(|&count| count > 0)
                    .ok_or(SYNTAX)?;
            } else if is(&args[at], "MATCH") {
                options.pattern = Pattern::new(value);
            } else if of == Scanned::Keys && is(&args[at], "TYPE") {
                options.kind = Some(value);
            } else {
                return Err(SYNTAX);
            }
            at += 2;
        }
        Ok(options)
    }
}

/// A glob-style pattern, of which `*` alone fits everything (even the empty key, which no other
/// use of the star does).
#[derive(Clone, Copy)]
pub(super) struct Pattern<'a> {
    pattern: &'a [u8],
    all: bool,
}

impl<'a> Pattern<'a> {
    /// Fits everything.
    pub const ALL: Pattern<'static> = Pattern {
        pattern: b"*",
        all: true,
    };

    /// The pattern of a MATCH option.
    pub fn new(pattern: &'a [u8]) -> Pattern<'a> {
        Pattern {
            pattern,
            all: pattern == b"*",
        }
    }

    /// Whether a name fits it.
    pub fn fits(&self, key: &[u8]) -> bool {
        self.all || glob::matches(self.pattern, key, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_by_strtoul() {
        for (text, value) in [
            (&b"0"[..], 0),
            (b"", 0),
            (b"007", 7),
            (b"+7", 7),
            (b"-1", u64::MAX),
            (b"18446744073709551615", u64::MAX),
            (b"7\0junk", 7),
        ] {
            assert_eq!(parse_cursor(text), Some(value), "{text:?}");
        }
        for text in [
            &b" 1"[..],
            b"1 ",
            b"x",
            b"-",
            b"1x",
            b"18446744073709551616",
        ] {
            assert_eq!(parse_cursor(text), None, "{text:?}");
        }
    }

    #[test]
    fn cursors_survive_the_way_to_the_client_and_back() {
        for shard in [0, 1, SHARDS - 1] {
            for position in [1, 63, 1 << 31] {
                let cursor = Cursor { shard, position };
                assert_eq!(Cursor::decode(cursor.encode()), cursor);
            }
        }
        assert_eq!(
            Cursor::decode(0),
            Cursor {
                shard: 0,
                position: 0
            }
        );
        assert_eq!(
            Cursor {
                shard: SHARDS,
                position: 0
            }
            .encode(),
            0
        );
    }

    #[test]
    fn a_lone_star_fits_the_empty_key() {
        assert!(Pattern::new(b"*").fits(b""));
        assert!(!Pattern::new(b"**").fits(b""));
        assert!(Pattern::new(b"h?llo").fits(b"hello"));
    }
}
