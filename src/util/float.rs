//! Doubles from and to text, byte for byte as Redis reads and prints them.
//!
//! std is relied on for correctly rounded decimal conversion; what it lacks, hex
//! floats and the layout of C's `%g`, is added here. The rounding and scanning
//! helpers also serve `longdouble`.

use super::num::{write_i64, write_u64};
use std::io::Write;

// ----------------------------------------------------------------- doubles in

/// Parses a double as Redis parses a score or a float argument: all that C's
/// `strtod` takes (decimal or hex, `inf`, `infinity`, any case), over the whole
/// text. `None` for leading space, trailing bytes, NaN, and a number so large
/// or so small that it would become infinite or zero.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let value = strtod(text)?;
    let vanished = value.infinite_by_overflow || value.zero_by_underflow;
    (!vanished && !value.number.is_nan()).then_some(value.number)
}

/// Parses a double as Redis parses the bounds of `ZRANGEBYSCORE` and its kin:
/// as [`parse_f64`], but leading white space is skipped, what is too large is
/// infinite, what is too small is zero, a zero byte ends the text, and an empty
/// text is zero.
pub fn parse_f64_bound(text: &[u8]) -> Option<f64> {
    let text = text.split(|&b| b == 0).next().unwrap_or(text);
    if text.is_empty() {
        return Some(0.0);
    }
    let number = strtod(skip_spaces(text))?.number;
    (!number.is_nan()).then_some(number)
}

/// Parses a double as Redis parses the weights of `SORT`: as [`parse_f64_bound`], but `None` for
/// what is too large, and for what is so small that digits are lost.
pub fn parse_f64_weight(text: &[u8]) -> Option<f64> {
    let text = text.split(|&b| b == 0).next().unwrap_or(text);
    if text.is_empty() {
        return Some(0.0);
    }
    let value = strtod(skip_spaces(text))?;
    let lost = value.infinite_by_overflow || value.zero_by_underflow || value.number.is_subnormal();
    (!lost && !value.number.is_nan()).then_some(value.number)
}

struct Strtod {
    number: f64,
    infinite_by_overflow: bool,
    zero_by_underflow: bool,
}

fn strtod(text: &[u8]) -> Option<Strtod> {
    let (negative, unsigned) = split_sign(text);
    if let Some(hex) = strip_hex_prefix(unsigned) {
        let scanned = scan_hex(hex)?;
        let magnitude = scanned.to_f64();
        return Some(Strtod {
            number: if negative { -magnitude } else { magnitude },
            infinite_by_overflow: magnitude.is_infinite(),
            zero_by_underflow: magnitude == 0.0 && scanned.mantissa != 0,
        });
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let numeral = matches!(unsigned.first(), Some(b'0'..=b'9' | b'.'));
    let nonzero = |text: &[u8]| {
        let mut mantissa = text.iter().take_while(|b| !matches!(b, b'e' | b'E'));
        mantissa.any(|b| matches!(b, b'1'..=b'9'))
    };
    Some(Strtod {
        number,
        infinite_by_overflow: numeral && number.is_infinite(),
        zero_by_underflow: number == 0.0 && nonzero(unsigned),
    })
}

/// What C's `isspace` calls white space.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|&&b| is_space(b)).count();
    &text[spaces..]
}

/// Takes an optional sign off; whether it was a minus, and the rest.
pub(super) fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// What follows `0x`, if the text starts with it.
pub(super) fn strip_hex_prefix(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'0', b'x' | b'X', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// A binary number before rounding: `mantissa * 2^exponent`, plus something
/// smaller than one unit of the mantissa if `sticky`.
pub(super) struct Binary {
    pub(super) mantissa: u128,
    pub(super) exponent: i64,
    pub(super) sticky: bool,
}

impl Binary {
    /// Rounds to nearest, ties to even, to at most `precision` bits (up to 64)
    /// and to a multiple of `2^min_exponent`. The result is `(m, e)` for `m * 2^e`.
    ///
    /// `sticky` needs a mantissa of more than `precision` bits, else the bits
    /// it stands for would be missing from the result.
    pub(super) fn round(&self, precision: u32, min_exponent: i64) -> (u64, i64) {
        if self.mantissa == 0 {
            return (0, min_exponent);
        }
        let bits = i64::from(128 - self.mantissa.leading_zeros());
        let exponent = (self.exponent + bits - i64::from(precision)).max(min_exponent);
        let drop = exponent - self.exponent;
        debug_assert!(drop > 0 || !self.sticky);
        let rounded = shift_right_rounding(self.mantissa, drop, self.sticky);
        if rounded >> precision != 0 {
            return ((rounded >> 1) as u64, exponent + 1);
        }
        (rounded as u64, exponent)
    }

    /// The nearest double; infinite if it is out of range.
    fn to_f64(&self) -> f64 {
        const PRECISION: u32 = f64::MANTISSA_DIGITS;
        const MIN_EXPONENT: i64 = -1074;
        const MAX_EXPONENT: i64 = 971;
        let (mantissa, exponent) = self.round(PRECISION, MIN_EXPONENT);
        if mantissa == 0 || exponent > MAX_EXPONENT {
            return if mantissa == 0 { 0.0 } else { f64::INFINITY };
        }
        // The leading bit is implied in normal numbers; adding the mantissa with
        // it carries into the exponent field, which is one too low to allow it.
        let field = (exponent - MIN_EXPONENT) as u64;
        f64::from_bits((field << (PRECISION - 1)) + mantissa)
    }
}

/// `value >> by` (or `<<` when negative), to nearest and ties to even; `sticky`
/// says that there are non-zero bits below `value`.
pub(super) fn shift_right_rounding(value: u128, by: i64, sticky: bool) -> u128 {
    if by <= 0 {
        return value << by.unsigned_abs();
    }
    if by > 128 {
        return 0;
    }
    let (kept, half) = match by {
        128 => (0, 1 << 127),
        _ => (value >> by, 1u128 << (by - 1)),
    };
    let rest = value & (half | (half - 1));
    let up = rest > half || (rest == half && (sticky || kept & 1 == 1));
    kept + u128::from(up)
}

/// Scans a hex float after its `0x`: digits with at most one point among them,
/// then optionally `p` and a decimal exponent. The whole text must be used.
pub(super) fn scan_hex(text: &[u8]) -> Option<Binary> {
    let mut result = Binary {
        mantissa: 0,
        exponent: 0,
        sticky: false,
    };
    let (mut point, mut any) = (false, false);
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte as char).to_digit(16) {
            Some(digit) => {
                any = true;
                let full = result.mantissa >> 124 != 0;
                if full {
                    result.sticky |= digit != 0;
                } else {
                    result.mantissa = (result.mantissa << 4) | u128::from(digit);
                }
                result.exponent += 4 * (i64::from(full) - i64::from(point));
            }
            None if byte == b'.' && !point => point = true,
            None => break,
        }
        at += 1;
    }
    if !any {
        return None;
    }
    match &text[at..] {
        [] => {}
        [b'p' | b'P', exponent @ ..] => result.exponent += scan_exponent(exponent)?,
        _ => return None,
    }
    Some(result)
}

/// A decimal exponent with an optional sign, over the whole text; one that is
/// out of any use is cut to a value that stays so after some arithmetic.
pub(super) fn scan_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = split_sign(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0i64, |value, byte| {
        (value * 10 + i64::from(byte - b'0')).min(1 << 40)
    });
    Some(if negative { -value } else { value })
}

// ---------------------------------------------------------------- doubles out

/// Appends a double as Redis' replies print it (`ZSCORE`, RESP3 doubles): C's
/// `%.17g`, so `0.1` is `0.10000000000000001` and `1e20` is `1e+20`.
pub fn write_f64(out: &mut Vec<u8>, v: f64) {
    // Integers below 10^17 are printed in full by %.17g, and far faster as such.
    if v.abs() < 1e17 && v.trunc() == v && (v != 0.0 || v.is_sign_positive()) {
        write_i64(out, v as i64);
    } else {
        write_g17(out, v);
    }
}

/// Appends a double as Redis keeps it as text inside values (sorted set elements
/// on disk, scores given to scripts): as [`write_f64`], except that every
/// integer up to 2^62 is printed in full, so `1e18` is `1000000000000000000`.
pub fn write_f64_stored(out: &mut Vec<u8>, v: f64) {
    const LIMIT: f64 = (1u64 << 62) as f64;
    if v != 0.0 && v.abs() <= LIMIT && v.trunc() == v {
        write_i64(out, v as i64);
    } else {
        write_f64(out, v);
    }
}

/// C's `%.17g`.
fn write_g17(out: &mut Vec<u8>, v: f64) {
    if v.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if v.is_sign_negative() {
        out.push(b'-');
    }
    if v.is_infinite() {
        return out.extend_from_slice(b"inf");
    }
    // std prints exactly 17 digits, correctly rounded, as "d.dddde-x".
    let mut buf = [0u8; 32];
    let mut left = &mut buf[..];
    // Cannot fail: the longest is 18 bytes of digits and 5 of exponent.
    let _ = write!(left, "{:.16e}", v.abs());
    let used = 32 - left.len();
    let text = &buf[..used];
    let mut mantissa = [b'0'; 17];
    mantissa[0] = text[0];
    mantissa[1..].copy_from_slice(&text[2..18]);
    let exponent = scan_exponent(&text[19..]).unwrap_or(0);
    let significant = 17 - mantissa.iter().rev().take_while(|&&b| b == b'0').count();
    layout_g17(out, &mantissa[..significant.max(1)], exponent);
}

/// Lays out `d.ddd * 10^exponent` as `%.17g` does: plain from 10^-4 up to below
/// 10^17, otherwise with an exponent of at least two digits.
fn layout_g17(out: &mut Vec<u8>, digits: &[u8], exponent: i64) {
    if !(-4..17).contains(&exponent) {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        let size = exponent.unsigned_abs();
        if size < 10 {
            out.push(b'0');
        }
        return write_u64(out, size);
    }
    if exponent < 0 {
        out.extend_from_slice(&b"0.000"[..(1 - exponent) as usize]);
        return out.extend_from_slice(digits);
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        out.extend_from_slice(digits);
        out.resize(out.len() + whole - digits.len(), b'0');
    } else {
        out.extend_from_slice(&digits[..whole]);
        out.push(b'.');
        out.extend_from_slice(&digits[whole..]);
    }
}

/// A double in Redis' human-friendly form, as `GEOPOS` prints coordinates: 17
/// decimals, never an exponent, without trailing zeros; `-0` is `0`.
pub fn fmt_f64_human(v: f64) -> String {
    super::longdouble::LongDouble::from(v).to_human_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = b"x".to_vec();
        write(&mut out);
        assert_eq!(out[0], b'x', "appends");
        String::from_utf8(out[1..].to_vec()).unwrap()
    }

    #[test]
    fn doubles_are_read_as_strtod_reads_them() {
        for (text, value) in [
            ("1", 1.0),
            ("+1.5", 1.5),
            ("-.5", -0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E-2", 0.01),
            ("inf", f64::INFINITY),
            ("+INF", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("0x1p3", 8.0),
            ("-0X1.8P1", -3.0),
            ("0x.8", 0.5),
            ("0xff", 255.0),
            ("0x1p-1074", 5e-324),
            ("5e-324", 5e-324),
            ("0e-999", 0.0),
            ("0x0p-99999", 0.0),
            ("1.7976931348623157e308", f64::MAX),
            ("0x1.fffffffffffffp1023", f64::MAX),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        for bad in [
            "",
            " 1",
            "1 ",
            "nan",
            "-nan",
            "1e400",
            "-1e400",
            "1e-400",
            "1e",
            "1e+",
            ".",
            "e5",
            "0x",
            "0xg",
            "0x.",
            "0x1p",
            "0x1p+",
            "0x1p1024",
            "0x1p-1076",
            "1_0",
            "1,5",
            "infi",
            "1\0",
            "--1",
            "0x1.2.3",
            "\u{661}",
        ] {
            assert_eq!(parse_f64(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_f64(b"-0").map(f64::is_sign_negative), Some(true));
    }

    #[test]
    fn hex_floats_round_to_even() {
        let one = 1f64.to_bits();
        for (text, ulps) in [
            ("0x1.00000000000008", 0),
            ("0x1.000000000000080000000000000000000000000000001", 1),
            ("0x1.00000000000018", 2),
            ("0x1.00000000000007ffffffffffffffffffffffffffffff", 0),
        ] {
            assert_eq!(
                parse_f64(text.as_bytes()).map(f64::to_bits),
                Some(one + ulps)
            );
        }
        // Rounding up out of the subnormals, and out of the finite numbers.
        assert_eq!(
            parse_f64(b"0x0.fffffffffffff8p-1022"),
            Some(f64::MIN_POSITIVE)
        );
        assert_eq!(parse_f64(b"0x1.fffffffffffff8p1023"), None);
        // Exactly half of the least subnormal is zero, a little more is not.
        assert_eq!(parse_f64(b"0x1p-1075"), None);
        assert_eq!(parse_f64(b"0x1.1p-1075"), Some(5e-324));
    }

    #[test]
    fn range_bounds_are_looser() {
        assert_eq!(parse_f64_bound(b" 1"), Some(1.0));
        assert_eq!(parse_f64_bound(b""), Some(0.0));
        assert_eq!(parse_f64_bound(b"1e400"), Some(f64::INFINITY));
        assert_eq!(parse_f64_bound(b"1e-400"), Some(0.0));
        assert_eq!(parse_f64_bound(b"1\0x"), Some(1.0));
        assert_eq!(parse_f64_bound(b"1x"), None);
        assert_eq!(parse_f64_bound(b" "), None);
        assert_eq!(parse_f64_bound(b"nan"), None);
    }

    #[test]
    fn doubles_are_printed_as_c_prints_them() {
        for (v, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (1.5, "1.5"),
            (0.1, "0.10000000000000001"),
            (3.25, "3.25"),
            (1e16, "10000000000000000"),
            (99999999999999984.0, "99999999999999984"),
            (1e17, "1e+17"),
            (1e20, "1e+20"),
            (-1e20, "-1e+20"),
            (1.2345e25, "1.2345e+25"),
            (0.0001, "0.0001"),
            (0.00012345, "0.00012344999999999999"),
            (1e-5, "1.0000000000000001e-05"),
            (1e100, "1e+100"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (123456.789, "123456.789"),
            (0.3, "0.29999999999999999"),
            (2f64.powi(-20), "9.5367431640625e-07"),
            // Exact ties in the 18th digit go to the even neighbour.
            (2f64.powi(50) + 0.25, "1125899906842624.2"),
            (2f64.powi(50) + 0.75, "1125899906842624.8"),
            (0.5 + 2f64.powi(-18), "0.50000381469726562"),
        ] {
            assert_eq!(written(|out| write_f64(out, v)), text);
        }
    }

    #[test]
    fn stored_doubles_print_large_integers_in_full() {
        for (v, text) in [
            (1e17, "100000000000000000"),
            (1e18, "1000000000000000000"),
            (2f64.powi(62), "4611686018427387904"),
            (-2f64.powi(62), "-4611686018427387904"),
            (2f64.powi(63), "9.2233720368547758e+18"),
            (-0.0, "-0"),
            (0.5, "0.5"),
        ] {
            assert_eq!(written(|out| write_f64_stored(out, v)), text);
        }
    }

    #[test]
    fn coordinates_for_people() {
        assert_eq!(fmt_f64_human(13.361389338970184), "13.36138933897018433");
        assert_eq!(fmt_f64_human(-0.0), "0");
        assert_eq!(fmt_f64_human(38.0), "38");
        assert_eq!(fmt_f64_human(1e20), "100000000000000000000");
        assert_eq!(fmt_f64_human(5e-324), "0");
    }
}
