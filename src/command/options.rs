//! Reading arguments: the checks and options that several families share.
//!
//! Error texts are those of Redis; relies on [`crate::util`] for the numbers themselves.

use std::ops::Range;

use super::error::{Error, NOT_AN_INTEGER, Outcome, SYNTAX};
use crate::resp::Args;
use crate::util::num;

/// Whether an argument is this keyword, in any case.
#[inline]
pub fn is(arg: &[u8], keyword: &str) -> bool {
    arg.eq_ignore_ascii_case(keyword.as_bytes())
}

/// The integer at `index`.
///
/// # Errors
/// `ERR value is not an integer or out of range`. A missing argument is a syntax error.
pub fn int(args: &Args<'_>, index: usize) -> Outcome<i64> {
    int_or(args, index, NOT_AN_INTEGER)
}

/// As [`int`], with another error for what is no integer.
///
/// # Errors
/// The given one. A missing argument is a syntax error.
pub fn int_or(args: &Args<'_>, index: usize, error: Error) -> Outcome<i64> {
    num::parse_i64(args.get(index).ok_or(SYNTAX)?).ok_or(error)
}

/// The integer at `index`, zero or more.
///
/// # Errors
/// `ERR value is out of range, must be positive`, for what is no integer as well.
pub fn positive(args: &Args<'_>, index: usize) -> Outcome<i64> {
    const RANGE: Error = Error::new("ERR value is out of range, must be positive");
    let value = int_or(args, index, RANGE)?;
    if value < 0 { Err(RANGE) } else { Ok(value) }
}

/// The integer at `index`, which must lie within both bounds.
///
/// # Errors
/// `ERR value is not an integer or out of range`, or the one that names the bounds.
pub fn int_within(args: &Args<'_>, index: usize, least: i64, most: i64) -> Outcome<i64> {
    let value = int(args, index)?;
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    // The missing word is missing in Redis as well.
    Err(Error::text(format!(
        "ERR value is out of range, value must between {least} and {most}"
    )))
}

/// The integer at `index`, one or more; `error` for anything else.
///
/// # Errors
/// The given one. A missing argument is a syntax error.
pub fn natural(args: &Args<'_>, index: usize, error: Error) -> Outcome<usize> {
    let number = int_or(args, index, error.clone())?;
    usize::try_from(number)
        .ok()
        .filter(|&number| number > 0)
        .ok_or(error)
}

/// The value of LIMIT, where SINTERCARD and ZINTERCARD stop; 0 for no limit.
///
/// # Errors
/// `ERR LIMIT can't be negative`, for what is no integer as well.
pub fn limit(args: &Args<'_>, index: usize) -> Outcome<usize> {
    const NEGATIVE: Error = Error::new("ERR LIMIT can't be negative");
    let limit = int_or(args, index, NEGATIVE)?;
    usize::try_from(limit).map_err(|_| NEGATIVE)
}

/// What `numkeys` below one is answered with where the keys are counted.
pub const NO_KEYS: Error = Error::new("ERR numkeys should be greater than 0");

/// What LMPOP, ZMPOP and their blocking forms are asked for; `E` are the ends of the type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PopMany<E> {
    /// Which arguments are keys.
    pub keys: Range<usize>,
    /// From which end to take.
    pub end: E,
    /// How many to take at most; at least one.
    pub count: usize,
}

impl<E> PopMany<E> {
    /// Reads `numkeys key [key ...] end [COUNT count]` from the argument `from` on.
    ///
    /// # Errors
    /// Numbers below one, and syntax errors.
    pub fn parse(
        args: &Args<'_>,
        from: usize,
        end: impl Fn(&[u8]) -> Option<E>,
    ) -> Outcome<PopMany<E>> {
        const NO_COUNT: Error = Error::new("ERR count should be greater than 0");
        let keys = natural(args, from, NO_KEYS)?;
        let first = from + 1;
        let at = first.checked_add(keys).ok_or(SYNTAX)?;
        let end = args.get(at).and_then(end).ok_or(SYNTAX)?;
        let count = match args.get(at + 1) {
            None => 1,
            Some(word) if is(word, "COUNT") && args.len() > at + 2 => {
                // A number that is no count is found before what follows it.
                let count = natural(args, at + 2, NO_COUNT)?;
                if args.len() > at + 3 {
                    return Err(SYNTAX);
                }
                count
            }
            Some(_) => return Err(SYNTAX),
        };
        Ok(PopMany {
            keys: first..at,
            end,
            count,
        })
    }
}

/// What HRANDFIELD and ZRANDMEMBER are asked for: how many (below zero: any of them any number of
/// times), and whether with what `word` stands for. `None` without a count.
///
/// # Errors
/// A count out of range, and syntax errors.
pub fn draws(args: &Args<'_>, word: &str) -> Outcome<Option<(i64, bool)>> {
    if args.len() < 3 {
        return Ok(None);
    }
    let count = int_within(args, 2, -i64::MAX, i64::MAX)?;
    let paired = match args.get(3) {
        None => false,
        Some(arg) if args.len() == 4 && is(arg, word) => true,
        Some(_) => return Err(SYNTAX),
    };
    // The reply may have two elements each.
    if paired && !(-(i64::MAX / 2)..=i64::MAX / 2).contains(&count) {
        return Err(Error::new("ERR value is out of range"));
    }
    Ok(Some((count, paired)))
}

/// The positions from `start` to `stop`, both included, in something of this length; negative ones
/// count from the end.
pub fn span(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_head = |index: i64| if index < 0 { index + len } else { index };
    let (start, stop) = (from_head(start).max(0), from_head(stop).min(len - 1));
    if start > stop {
        return 0..0;
    }
    start as usize..stop as usize + 1
}

/// The error for an expiry that makes no sense; `command` is the row's name.
pub fn invalid_expire_time(command: &str) -> Error {
    Error::text(format!("ERR invalid expire time in '{command}' command"))
}

/// The error for a number of arguments that does not fit; `command` is the row's name.
pub fn wrong_arity(command: &str) -> Error {
    Error::text(format!(
        "ERR wrong number of arguments for '{command}' command"
    ))
}

/// In what an expiry is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Seconds from now.
    Ex,
    /// Milliseconds from now.
    Px,
    /// Unix time in seconds.
    ExAt,
    /// Unix time in milliseconds.
    PxAt,
}

impl Unit {
    /// The unit that a keyword stands for.
    pub fn from_keyword(arg: &[u8]) -> Option<Unit> {
        const KEYWORDS: [(&str, Unit); 4] = [
            ("EX", Unit::Ex),
            ("PX", Unit::Px),
            ("EXAT", Unit::ExAt),
            ("PXAT", Unit::PxAt),
        ];
        KEYWORDS
            .iter()
            .find(|(keyword, _)| is(arg, keyword))
            .map(|&(_, unit)| unit)
    }

    /// Whether it counts from the epoch rather than from now.
    pub fn is_absolute(self) -> bool {
        matches!(self, Unit::ExAt | Unit::PxAt)
    }

    /// The deadline (unix milliseconds) that `amount` of this unit means at `now`. An amount below
    /// one and a deadline past the range give `None`; one in the past does not.
    pub fn deadline(self, amount: i64, now: i64) -> Option<i64> {
        if amount <= 0 {
            return None;
        }
        let millis = match self {
            Unit::Ex | Unit::ExAt => amount.checked_mul(1000)?,
            Unit::Px | Unit::PxAt => amount,
        };
        if self.is_absolute() {
            Some(millis)
        } else {
            millis.checked_add(now)
        }
    }
}

/// What SET, GETEX and their kin are asked to do with a key's expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Expiry {
    /// Nothing was said.
    #[default]
    Unsaid,
    /// Leave it as it is.
    KeepTtl,
    /// Remove it.
    Persist,
    /// Set it to the amount at this argument.
    At(Unit, usize),
}

impl Expiry {
    /// Reads EX, PX, EXAT or PXAT at `index`; gives the index behind the option, or `None` when
    /// there is another word.
    ///
    /// # Errors
    /// A syntax error when the amount is missing or another expiry was given before; the same unit
    /// once more is fine, and the last one counts.
    pub fn read(&mut self, args: &Args<'_>, index: usize) -> Outcome<Option<usize>> {
        let Some(unit) = Unit::from_keyword(&args[index]) else {
            return Ok(None);
        };
        let fits = match self {
            Expiry::Unsaid => true,
            Expiry::At(before, _) => *before == unit,
            Expiry::KeepTtl | Expiry::Persist => false,
        };
        if !fits || index + 1 >= args.len() {
            return Err(SYNTAX);
        }
        *self = Expiry::At(unit, index + 1);
        Ok(Some(index + 2))
    }

    /// Notes KEEPTTL or PERSIST.
    ///
    /// # Errors
    /// A syntax error when another expiry was given before.
    pub fn note(&mut self, word: Expiry) -> Outcome {
        if *self != Expiry::Unsaid && *self != word {
            return Err(SYNTAX);
        }
        *self = word;
        Ok(())
    }

    /// The deadline asked for, unix milliseconds, if any; `command` is the row's name.
    ///
    /// # Errors
    /// The amount is no integer, or makes no sense as an expiry.
    pub fn deadline(self, args: &Args<'_>, now: i64, command: &str) -> Outcome<Option<i64>> {
        let Expiry::At(unit, index) = self else {
            return Ok(None);
        };
        let amount = int(args, index)?;
        unit.deadline(amount, now)
            .map(Some)
            .ok_or_else(|| invalid_expire_time(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn units_and_their_limits() {
        let now = 1_000;
        assert_eq!(Unit::Ex.deadline(2, now), Some(3_000));
        assert_eq!(Unit::Px.deadline(2, now), Some(1_002));
        assert_eq!(Unit::ExAt.deadline(2, now), Some(2_000));
        assert_eq!(Unit::PxAt.deadline(2, now), Some(2));
        assert_eq!(Unit::PxAt.deadline(i64::MAX, now), Some(i64::MAX));
        for (unit, amount) in [
            (Unit::Ex, 0),
            (Unit::PxAt, -1),
            (Unit::Ex, i64::MAX / 1000),
            (Unit::ExAt, i64::MAX / 1000 + 1),
            (Unit::Px, i64::MAX),
        ] {
            assert_eq!(unit.deadline(amount, now), None, "{unit:?} {amount}");
        }
    }

    #[test]
    fn expiry_options_exclude_each_other() {
        let mut owned = OwnedArgs::new(["ex", "1", "PX", "2", "EX"]);
        let args = owned.args();
        let mut expiry = Expiry::default();
        assert_eq!(expiry.read(&args, 1), Ok(None));
        assert_eq!(expiry.read(&args, 0), Ok(Some(2)));
        assert_eq!(expiry.read(&args, 0), Ok(Some(2)));
        assert_eq!(expiry.read(&args, 2), Err(SYNTAX));
        assert_eq!(expiry.read(&args, 4), Err(SYNTAX), "no amount");
        assert_eq!(expiry.note(Expiry::KeepTtl), Err(SYNTAX));
        assert_eq!(expiry.deadline(&args, 5, "set"), Ok(Some(1_005)));
        let mut expiry = Expiry::default();
        assert_eq!(expiry.note(Expiry::Persist), Ok(()));
        assert_eq!(expiry.note(Expiry::Persist), Ok(()));
        assert_eq!(expiry.note(Expiry::KeepTtl), Err(SYNTAX));
        assert_eq!(expiry.read(&args, 0), Err(SYNTAX));
        assert_eq!(expiry.deadline(&args, 5, "set"), Ok(None));
    }

    #[test]
    fn spans_between_indexes() {
        for (start, stop, expected) in [
            (0, -1, 0..5),
            (1, 2, 1..3),
            (-2, -1, 3..5),
            (-100, 100, 0..5),
            (4, 4, 4..5),
            (5, 9, 0..0),
            (3, 2, 0..0),
            (0, -6, 0..0),
            (-1, -2, 0..0),
            (i64::MIN, i64::MAX, 0..5),
            (i64::MAX, i64::MIN, 0..0),
        ] {
            assert_eq!(span(start, stop, 5), expected, "{start} {stop}");
        }
        assert_eq!(span(0, -1, 0), 0..0);
    }

    #[test]
    fn how_many_to_draw() {
        let read = |line: &str| {
            let mut owned = OwnedArgs::new(line.split(' '));
            draws(&owned.args(), "WITHSCORES")
        };
        let half = i64::MAX / 2;
        assert_eq!(read("ZRANDMEMBER k"), Ok(None));
        assert_eq!(read("ZRANDMEMBER k -7"), Ok(Some((-7, false))));
        assert_eq!(read("ZRANDMEMBER k 0 withscores"), Ok(Some((0, true))));
        let least = format!("ZRANDMEMBER k -{half} WITHSCORES");
        assert_eq!(read(&least), Ok(Some((-half, true))));
        for line in [
            format!("ZRANDMEMBER k -{} WITHSCORES", half + 1),
            format!("ZRANDMEMBER k {} WITHSCORES", half + 1),
        ] {
            let range = Error::new("ERR value is out of range");
            assert_eq!(read(&line), Err(range), "{line}");
        }
        assert!(read("ZRANDMEMBER k -9223372036854775808").is_err());
        assert_eq!(read("ZRANDMEMBER k x WITHSCORES"), Err(NOT_AN_INTEGER));
        for line in ["ZRANDMEMBER k 1 WITHVALUES", "ZRANDMEMBER k 1 WITHSCORES x"] {
            assert_eq!(read(line), Err(SYNTAX), "{line}");
        }
    }

    #[test]
    fn numbers_and_their_errors() {
        let mut owned = OwnedArgs::new(["7", "-1", "x"]);
        let args = owned.args();
        assert_eq!(
            (int(&args, 0), int(&args, 2), int(&args, 9)),
            (Ok(7), Err(NOT_AN_INTEGER), Err(SYNTAX))
        );
        let range = Err(Error::new("ERR value is out of range, must be positive"));
        assert_eq!(
            (positive(&args, 0), positive(&args, 1), positive(&args, 2)),
            (Ok(7), range.clone(), range)
        );
        assert_eq!(int_within(&args, 0, 1, 7), Ok(7));
        let range = Error::new("ERR value is out of range, value must between 1 and 6");
        assert_eq!(int_within(&args, 0, 1, 6), Err(range));
    }
}
