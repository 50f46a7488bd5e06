//! Reading arguments: the checks and options that several families share.
//!
//! Error texts are those of Redis; relies on [`crate::util`] for the numbers themselves.

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
