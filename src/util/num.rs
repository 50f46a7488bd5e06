//! Numbers from and to text, byte for byte as Redis reads and prints them:
//! integers and sizes here, doubles in `float`, whose functions are passed on.
//!
//! Integers are on the hot path (`INCR`, the integer encoding of `SET`, every
//! reply header), so they are parsed and written without allocating.

use super::float::{is_space, split_sign};

pub use super::float::{fmt_f64_human, parse_f64, parse_f64_bound, write_f64, write_f64_stored};

// ---------------------------------------------------------------- integers in

/// Parses a signed integer in its one canonical form: an optional `-`, then
/// digits without a leading zero (only `0` itself starts with one). Anything
/// else, `+1`, `-0`, ` 1`, `01` or a value outside `i64`, is `None`. So a string
/// that parses is also exactly what [`write_i64`] prints for the value.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let magnitude = canonical_digits::<19>(digits)?;
    if negative {
        // The lower bound's magnitude is one above the upper bound's.
        if magnitude == 0 || magnitude > i64::MIN.unsigned_abs() {
            return None;
        }
        Some((magnitude as i64).wrapping_neg())
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// Parses an unsigned integer in canonical form (see [`parse_i64`]); the full
/// range of `u64`, no sign.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.len() < 20 {
        return canonical_digits::<19>(text);
    }
    // Twenty digits fit into 64 bits only if all but the last do.
    let (head, last) = text.split_at(19);
    let [digit @ b'0'..=b'9'] = *last else {
        return None;
    };
    canonical_digits::<19>(head)
        .filter(|&head| head > 0)?
        .checked_mul(10)?
        .checked_add(u64::from(digit - b'0'))
}

/// Parses an unsigned integer as Redis does in stream ids: everything
/// [`parse_i64`] takes if it is not negative, and else whatever C's `strtoull`
/// takes: leading white space, a sign (a minus wraps around) and leading zeros.
pub fn parse_u64_loose(text: &[u8]) -> Option<u64> {
    if let Some(value) = parse_i64(text) {
        return u64::try_from(value).ok();
    }
    let spaces = text.iter().take_while(|&&b| is_space(b)).count();
    let (negative, digits) = split_sign(&text[spaces..]);
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })?;
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// One to `MAX` digits without a needless leading zero. `MAX` is at most 19, so
/// that the sum cannot overflow and the loop needs no check for it.
#[inline(always)]
fn canonical_digits<const MAX: usize>(digits: &[u8]) -> Option<u64> {
    const { assert!(MAX <= 19) };
    if digits.is_empty() || digits.len() > MAX || (digits[0] == b'0' && digits.len() > 1) {
        return None;
    }
    let mut value = 0u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

// --------------------------------------------------------------- integers out

/// `00`, `01` ... `99` in a row: two digits for one division.
static PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut n = 0;
    while n < 100 {
        pairs[2 * n] = b'0' + (n / 10) as u8;
        pairs[2 * n + 1] = b'0' + (n % 10) as u8;
        n += 1;
    }
    pairs
};

/// Formats `v` at the end of `buf` and returns the bytes used. Twenty bytes hold
/// every `i64` and every `u64`.
#[inline]
pub fn fmt_u64(buf: &mut [u8; 20], v: u64) -> &[u8] {
    let start = fill_digits(buf, v);
    &buf[start..]
}

/// As [`fmt_u64`], for a signed value.
#[inline]
pub fn fmt_i64(buf: &mut [u8; 20], v: i64) -> &[u8] {
    let mut start = fill_digits(buf, v.unsigned_abs());
    if v < 0 {
        start -= 1;
        buf[start] = b'-';
    }
    &buf[start..]
}

#[inline]
fn fill_digits(buf: &mut [u8; 20], mut v: u64) -> usize {
    let mut at = buf.len();
    while v >= 100 {
        let pair = (v % 100) as usize * 2;
        v /= 100;
        at -= 2;
        buf[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if v >= 10 {
        let pair = v as usize * 2;
        at -= 2;
        buf[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        buf[at] = b'0' + v as u8;
    }
    at
}

/// Appends `v` in decimal.
#[inline]
pub fn write_u64(out: &mut Vec<u8>, v: u64) {
    if v < 10 {
        return out.push(b'0' + v as u8);
    }
    out.extend_from_slice(fmt_u64(&mut [0; 20], v));
}

/// Appends `v` in decimal.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, v: i64) {
    if (0..10).contains(&v) {
        return out.push(b'0' + v as u8);
    }
    out.extend_from_slice(fmt_i64(&mut [0; 20], v));
}

/// The number of bytes [`write_i64`] appends for `v`, its sign included.
#[inline]
pub fn digits(v: i64) -> usize {
    let sign = usize::from(v < 0);
    sign + v.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1
}

/// A number formatted without allocating: `IntBuf::new().i64(v)` is its text.
#[derive(Default)]
pub struct IntBuf([u8; 20]);

impl IntBuf {
    /// A buffer that holds no number yet.
    #[inline]
    pub fn new() -> IntBuf {
        IntBuf([0; 20])
    }

    /// Formats a signed value; the text lives until the buffer is used again.
    #[inline]
    pub fn i64(&mut self, v: i64) -> &[u8] {
        fmt_i64(&mut self.0, v)
    }

    /// Formats an unsigned value; the text lives until the buffer is used again.
    #[inline]
    pub fn u64(&mut self, v: u64) -> &[u8] {
        fmt_u64(&mut self.0, v)
    }
}

// --------------------------------------------------------------- memory sizes

/// Parses an amount of memory as the configuration takes it: digits, then one of
/// the units (any case) `b`, `k` = 1000, `kb` = 1024, `m`, `mb`, `g`, `gb`.
/// Bytes. As in Redis, no digits at all count as zero, digits past `u64` stand
/// for its maximum, and a product past `u64` wraps.
pub fn parse_memory(text: &str) -> Option<u64> {
    let split = text.bytes().take_while(u8::is_ascii_digit).count();
    // Redis' own limit on the digits it looks at.
    if split >= 128 {
        return None;
    }
    let (digits, unit) = text.split_at(split);
    let unit: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    let value = digits.bytes().fold(0u64, |value, digit| {
        value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
            .unwrap_or(u64::MAX)
    });
    Some(value.wrapping_mul(unit))
}

/// An amount of bytes as `INFO` shows it to people: `512B`, `1.50M`.
pub fn bytes_to_human(bytes: u64) -> String {
    const UNITS: [char; 5] = ['K', 'M', 'G', 'T', 'P'];
    let power = bytes.checked_ilog2().unwrap_or(0) / 10;
    match UNITS.get((power as usize).wrapping_sub(1)) {
        Some(unit) => {
            let scaled = bytes as f64 / (1u64 << (10 * power)) as f64;
            format!("{scaled:.2}{unit}")
        }
        None => format!("{bytes}B"),
    }
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
    fn signed_integers_have_one_form() {
        for bad in [
            "", "-", "+1", " 1", "1 ", "01", "-0", "-01", "00", "1.0", "abc", "1a", "--1", "a1",
        ] {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad}");
        }
        for (text, value) in [
            ("0", 0),
            ("1", 1),
            ("-1", -1),
            ("99", 99),
            ("-99", -99),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), Some(value));
        }
        for out in [
            "9223372036854775808",
            "-9223372036854775809",
            "9999999999999999999",
            "-9999999999999999999",
            "18446744073709551616",
            "100000000000000000000",
            "-100000000000000000000",
        ] {
            assert_eq!(parse_i64(out.as_bytes()), None, "{out}");
        }
    }

    #[test]
    fn unsigned_integers() {
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"28446744073709551616"), None);
        assert_eq!(parse_u64(b"10000000000000000000"), Some(10u64.pow(19)));
        assert_eq!(parse_u64(b"9999999999999999999"), Some(10u64.pow(19) - 1));
        for bad in [
            "",
            "-1",
            "+1",
            "01",
            "00000000000000000000",
            "1844674407370955161a",
        ] {
            assert_eq!(parse_u64(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_u64(b"00000000000000000001"), None);
        assert_eq!(parse_u64(b"100000000000000000000"), None);
    }

    #[test]
    fn loose_unsigned_integers() {
        for (text, value) in [
            ("007", 7),
            ("+5", 5),
            (" \t5", 5),
            ("18446744073709551615", u64::MAX),
            ("-05", u64::MAX - 4),
            ("0", 0),
        ] {
            assert_eq!(parse_u64_loose(text.as_bytes()), Some(value), "{text}");
        }
        for bad in [
            "",
            "-5",
            "5 ",
            "+",
            " ",
            "18446744073709551616",
            "1-1",
            "0x5",
        ] {
            assert_eq!(parse_u64_loose(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn integers_print_and_parse_back() {
        let mut values = vec![0, i64::MIN, i64::MAX];
        let mut power = 1i64;
        while let Some(next) = power.checked_mul(10) {
            values.extend([power - 1, power, power + 1, -power, 1 - power]);
            power = next;
        }
        for v in values {
            let text = v.to_string();
            assert_eq!(written(|out| write_i64(out, v)), text);
            assert_eq!(IntBuf::new().i64(v), text.as_bytes());
            assert_eq!(digits(v), text.len(), "{v}");
            assert_eq!(parse_i64(text.as_bytes()), Some(v));
            let unsigned = (v as u64).to_string();
            assert_eq!(written(|out| write_u64(out, v as u64)), unsigned);
            assert_eq!(IntBuf::new().u64(v as u64), unsigned.as_bytes());
            assert_eq!(parse_u64(unsigned.as_bytes()), Some(v as u64));
        }
    }

    #[test]
    fn memory_units() {
        for (text, bytes) in [
            ("0", 0),
            ("100", 100),
            ("7b", 7),
            ("1k", 1000),
            ("1kb", 1024),
            ("2M", 2_000_000),
            ("100mb", 100 << 20),
            ("5g", 5_000_000_000),
            ("3GB", 3 << 30),
            ("", 0),
        ] {
            assert_eq!(parse_memory(text), Some(bytes), "{text}");
        }
        for bad in ["-1", "1tb", "1 kb", "x", "1.5gb", &"1".repeat(128)] {
            assert_eq!(parse_memory(bad), None, "{bad}");
        }
        assert_eq!(parse_memory("99999999999999999999999"), Some(u64::MAX));
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (1536, "1.50K"),
            (1 << 20, "1.00M"),
            ((1 << 20) - 1, "1024.00K"),
            (3 << 29, "1.50G"),
            (1 << 40, "1.00T"),
            (1 << 50, "1.00P"),
            (1 << 60, "1152921504606846976B"),
            // A tie: 1.125 goes to the even neighbour, as in C.
            (1152, "1.12K"),
            (1408, "1.38K"),
        ] {
            assert_eq!(bytes_to_human(bytes), text);
        }
    }
}
