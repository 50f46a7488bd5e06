//! The x87 80-bit extended floating point format in software: what C calls
//! `long double` on x86-64, with a mantissa of 64 bits and 15 bits of exponent.
//!
//! Redis computes `INCRBYFLOAT` and `HINCRBYFLOAT` in this format, and the extra
//! bits show in the replies (`0.1 + 0.2` is `0.3`), so a plain `f64` would answer
//! differently. Only what those commands need is here: correctly rounded parsing,
//! addition, and the one output format. Relies on `float` for rounding and hex.

use super::float::{self, Binary};

/// Bits in the mantissa; none is implied.
const PRECISION: u32 = 64;
/// Exponent of the last mantissa bit in the smallest numbers.
const MIN_EXPONENT: i64 = -16445;
/// Exponent of the last mantissa bit in the largest numbers.
const MAX_EXPONENT: i64 = 16383 - 63;
/// Texts as long as this or longer are no numbers to Redis.
const MAX_TEXT: usize = 5 * 1024;

/// An extended precision number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongDouble {
    negative: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// `mantissa * 2^exponent`; zero has mantissa 0. The top bit of the mantissa
    /// is set unless the number is zero or the exponent is the smallest.
    Finite {
        mantissa: u64,
        exponent: i64,
    },
    Infinite,
    Nan,
}

impl LongDouble {
    /// Positive zero.
    pub const ZERO: LongDouble = LongDouble {
        negative: false,
        kind: Kind::Finite {
            mantissa: 0,
            exponent: MIN_EXPONENT,
        },
    };

    /// Parses what Redis takes for a float argument: all of the text as C's
    /// `strtold` reads it (decimal or hex, exponent, `inf`, any case), to the
    /// nearest number. `None` for NaN, space around the number, 5 KiB of text or
    /// more, and a number so large or small that it would become infinite or 0.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= MAX_TEXT {
            return None;
        }
        let (negative, unsigned) = float::split_sign(text);
        if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
            return Some(LongDouble {
                negative,
                kind: Kind::Infinite,
            });
        }
        let binary = match float::strip_hex_prefix(unsigned) {
            Some(hex) => float::scan_hex(hex)?,
            None => Decimal::scan(unsigned)?.to_binary()?,
        };
        let value = LongDouble::rounded(negative, &binary);
        let vanished = value.is_infinite() || (value.is_zero() && binary.mantissa != 0);
        (!vanished).then_some(value)
    }

    /// The sum, rounded to nearest with ties to even.
    #[allow(clippy::should_implement_trait)] // An operator would hide what this costs.
    pub fn add(self, other: LongDouble) -> LongDouble {
        let (Kind::Finite { mantissa, exponent }, Kind::Finite { .. }) = (self.kind, other.kind)
        else {
            return self.add_special(other);
        };
        let (a, b) = ((mantissa, exponent), other.parts());
        // Order by magnitude; mantissas are normalized, so the exponent decides first.
        let ((large, small), negative) = if (a.1, a.0) >= (b.1, b.0) {
            ((a, b), self.negative)
        } else {
            ((b, a), other.negative)
        };
        // 63 bits of room below, one above for the carry. Bits of the smaller number
        // beyond that room only matter as "not zero", for which the last bit serves.
        let wide = |mantissa: u64| u128::from(mantissa) << 63;
        let distance = (large.1 - small.1).min(127) as u32;
        let shifted = wide(small.0) >> distance;
        let lost = shifted << distance != wide(small.0);
        let shifted = shifted | u128::from(lost);
        let same_sign = self.negative == other.negative;
        let sum = if same_sign {
            wide(large.0) + shifted
        } else {
            wide(large.0) - shifted
        };
        if sum == 0 {
            // Opposite numbers cancel to +0; only -0 + -0 stays negative.
            return LongDouble {
                negative: same_sign && negative,
                ..LongDouble::ZERO
            };
        }
        let binary = Binary {
            mantissa: sum,
            exponent: large.1 - 63,
            sticky: false,
        };
        LongDouble::rounded(negative, &binary)
    }

    /// Whether this is the result of infinity minus infinity.
    pub fn is_nan(self) -> bool {
        self.kind == Kind::Nan
    }

    /// Whether this is infinite, of either sign.
    pub fn is_infinite(self) -> bool {
        self.kind == Kind::Infinite
    }

    /// The nearest double, within its last bit.
    pub fn to_f64(self) -> f64 {
        let magnitude = match self.kind {
            Kind::Nan => f64::NAN,
            Kind::Infinite => f64::INFINITY,
            // Past these powers the result is infinite or zero in any case.
            Kind::Finite { mantissa, exponent } => {
                mantissa as f64 * 2f64.powi(exponent.clamp(-1070, 1023) as i32)
            }
        };
        if self.negative { -magnitude } else { magnitude }
    }

    /// The number as Redis prints it for people: 17 decimals (ties to even),
    /// never an exponent, without trailing zeros and without the sign of a zero.
    pub fn to_human_string(self) -> String {
        let (mantissa, exponent) = match self.kind {
            Kind::Nan => return "nan".to_owned(),
            Kind::Infinite if self.negative => return "-inf".to_owned(),
            Kind::Infinite => return "inf".to_owned(),
            Kind::Finite { mantissa, exponent } => (mantissa, exponent),
        };
        let sign = if self.negative { "-" } else { "" };
        if exponent > 0 {
            let mut number = BigUint::from_u128(mantissa.into());
            number.shift_left(exponent as usize);
            return format!("{sign}{}", number.into_decimal());
        }
        // 64 bits of mantissa times 10^17 is below 2^121, so this is exact.
        const SCALE: u128 = 10u128.pow(17);
        let scaled = u128::from(mantissa) * SCALE;
        let scaled = float::shift_right_rounding(scaled, -exponent, false);
        if scaled == 0 {
            return "0".to_owned();
        }
        let (whole, fraction) = (scaled / SCALE, scaled % SCALE);
        if fraction == 0 {
            return format!("{sign}{whole}");
        }
        let mut text = format!("{sign}{whole}.{fraction:017}");
        text.truncate(text.trim_end_matches('0').len());
        text
    }

    fn is_zero(self) -> bool {
        matches!(self.kind, Kind::Finite { mantissa: 0, .. })
    }

    /// Mantissa and exponent of a finite number (zero for the others).
    fn parts(self) -> (u64, i64) {
        match self.kind {
            Kind::Finite { mantissa, exponent } => (mantissa, exponent),
            _ => (0, MIN_EXPONENT),
        }
    }

    /// The sum when at least one side is not finite.
    fn add_special(self, other: LongDouble) -> LongDouble {
        let opposite_infinities =
            self.is_infinite() && other.is_infinite() && self.negative != other.negative;
        if self.is_nan() || other.is_nan() || opposite_infinities {
            return LongDouble {
                negative: false,
                kind: Kind::Nan,
            };
        }
        if self.is_infinite() { self } else { other }
    }

    fn rounded(negative: bool, binary: &Binary) -> LongDouble {
        let (mantissa, exponent) = binary.round(PRECISION, MIN_EXPONENT);
        let kind = if mantissa == 0 {
            LongDouble::ZERO.kind
        } else if exponent > MAX_EXPONENT {
            Kind::Infinite
        } else {
            Kind::Finite { mantissa, exponent }
        };
        LongDouble { negative, kind }
    }
}

impl From<i64> for LongDouble {
    fn from(v: i64) -> LongDouble {
        let binary = Binary {
            mantissa: v.unsigned_abs().into(),
            exponent: 0,
            sticky: false,
        };
        LongDouble::rounded(v < 0, &binary)
    }
}

impl From<f64> for LongDouble {
    fn from(v: f64) -> LongDouble {
        let negative = v.is_sign_negative();
        if v.is_nan() || v.is_infinite() {
            let kind = if v.is_nan() {
                Kind::Nan
            } else {
                Kind::Infinite
            };
            return LongDouble { negative, kind };
        }
        // The double's own layout: 52 bits of fraction under 11 of exponent, with
        // a leading one implied unless the exponent field is zero.
        let bits = v.to_bits();
        let (fraction, field) = (bits & ((1 << 52) - 1), (bits >> 52) & 0x7ff);
        let implied = u64::from(field != 0) << 52;
        let binary = Binary {
            mantissa: (fraction | implied).into(),
            exponent: field.max(1) as i64 - 1075,
            sticky: false,
        };
        LongDouble::rounded(negative, &binary)
    }
}

/// A decimal numeral: `digits * 10^exponent`, digits without zeros at the ends.
struct Decimal {
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Scans an unsigned numeral: digits with at most one point among them, then
    /// optionally `e` and an exponent. The whole text must be used.
    fn scan(text: &[u8]) -> Option<Decimal> {
        let end = text.iter().position(|b| matches!(b, b'e' | b'E'));
        let (mantissa, mut exponent) = match end {
            Some(end) => (&text[..end], float::scan_exponent(&text[end + 1..])?),
            None => (text, 0),
        };
        let mut digits = Vec::with_capacity(mantissa.len());
        let (mut point, mut any) = (false, false);
        for &byte in mantissa {
            match byte {
                b'0'..=b'9' => {
                    any = true;
                    exponent -= i64::from(point);
                    if byte != b'0' || !digits.is_empty() {
                        digits.push(byte - b'0');
                    }
                }
                b'.' if !point => point = true,
                _ => return None,
            }
        }
        let zeros = digits.iter().rev().take_while(|&&d| d == 0).count();
        digits.truncate(digits.len() - zeros);
        exponent += zeros as i64;
        any.then_some(Decimal { digits, exponent })
    }

    /// More than 64 exact leading bits, the rest told by `sticky`. `None` if the
    /// number is far outside the format's range (10^-4951 to 10^4932).
    fn to_binary(&self) -> Option<Binary> {
        if self.digits.is_empty() {
            return Some(Binary {
                mantissa: 0,
                exponent: 0,
                sticky: false,
            });
        }
        let magnitude = self.digits.len() as i64 + self.exponent;
        if !(-5000..=5000).contains(&magnitude) {
            return None;
        }
        if self.digits.len() <= 19 && (-27..=19).contains(&self.exponent) {
            return Some(self.small_to_binary());
        }
        let mut numerator = BigUint::from_digits(&self.digits);
        let mut denominator = BigUint::from_u128(1);
        let power_of_five = self.exponent.unsigned_abs() as usize;
        if self.exponent >= 0 {
            numerator.multiply_by_power_of_five(power_of_five);
        } else {
            denominator.multiply_by_power_of_five(power_of_five);
        }
        let mut ratio = divide(numerator, denominator);
        ratio.exponent += self.exponent;
        Some(ratio)
    }

    /// The everyday case, without big integers: up to 19 digits fit into 64 bits,
    /// 5^27 into 63, 10^19 into 64.
    fn small_to_binary(&self) -> Binary {
        let digits = self.digits.iter();
        let value = digits.fold(0u128, |value, &digit| value * 10 + u128::from(digit));
        let power = self.exponent.unsigned_abs() as u32;
        if self.exponent >= 0 {
            return Binary {
                mantissa: value * 10u128.pow(power),
                exponent: 0,
                sticky: false,
            };
        }
        // With the value moved to the top of 128 bits, a quotient by less than 63
        // bits has more than 64.
        let shift = value.leading_zeros();
        let (value, divisor) = (value << shift, 5u128.pow(power));
        Binary {
            mantissa: value / divisor,
            exponent: self.exponent - i64::from(shift),
            sticky: value % divisor != 0,
        }
    }
}

/// The first 66 bits of `numerator / denominator`, neither of which is zero.
fn divide(mut numerator: BigUint, mut denominator: BigUint) -> Binary {
    const BITS: i64 = 66;
    // Scale to a ratio in [1, 2), then take one bit of the quotient at a time.
    let mut exponent = numerator.bits() as i64 - denominator.bits() as i64;
    if exponent < 0 {
        numerator.shift_left(exponent.unsigned_abs() as usize);
    } else {
        denominator.shift_left(exponent as usize);
    }
    if !numerator.at_least(&denominator) {
        numerator.shift_left(1);
        exponent -= 1;
    }
    let mut mantissa = 0u128;
    for _ in 0..BITS {
        mantissa <<= 1;
        if numerator.at_least(&denominator) {
            numerator.subtract(&denominator);
            mantissa |= 1;
        }
        numerator.shift_left(1);
    }
    Binary {
        mantissa,
        exponent: exponent - (BITS - 1),
        sticky: !numerator.0.is_empty(),
    }
}

/// A non-negative integer of any size: 32-bit limbs, the least first, without
/// zero limbs at the end.
struct BigUint(Vec<u32>);

impl BigUint {
    fn from_u128(mut value: u128) -> BigUint {
        let mut limbs = Vec::new();
        while value != 0 {
            limbs.push(value as u32);
            value >>= 32;
        }
        BigUint(limbs)
    }

    fn from_digits(digits: &[u8]) -> BigUint {
        let mut number = BigUint(Vec::new());
        for chunk in digits.chunks(9) {
            let value = chunk.iter().fold(0, |v, &digit| v * 10 + u32::from(digit));
            number.multiply_add(10u32.pow(chunk.len() as u32), value);
        }
        number
    }

    fn bits(&self) -> usize {
        let top = self.0.last().map_or(0, |limb| limb.leading_zeros());
        self.0.len() * 32 - top as usize
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
    }

    fn multiply_by_power_of_five(&mut self, power: usize) {
        // 5^13 is the largest power in 32 bits.
        for _ in 0..power / 13 {
            self.multiply_add(5u32.pow(13), 0);
        }
        self.multiply_add(5u32.pow((power % 13) as u32), 0);
    }

    fn shift_left(&mut self, by: usize) {
        if self.0.is_empty() {
            return;
        }
        self.multiply_add(1 << (by % 32), 0);
        self.0.splice(0..0, std::iter::repeat_n(0, by / 32));
    }

    fn at_least(&self, other: &BigUint) -> bool {
        let by_size = self.0.len().cmp(&other.0.len());
        by_size
            .then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
            .is_ge()
    }

    /// `other` must not be larger.
    fn subtract(&mut self, other: &BigUint) {
        let mut borrow = false;
        for (i, limb) in self.0.iter_mut().enumerate() {
            let (less, first) = limb.overflowing_sub(other.0.get(i).copied().unwrap_or(0));
            let (less, second) = less.overflowing_sub(u32::from(borrow));
            *limb = less;
            borrow = first || second;
        }
        debug_assert!(!borrow);
        self.trim();
    }

    /// Divides in place and returns the remainder.
    fn divide_small(&mut self, divisor: u32) -> u32 {
        let mut rest = 0u64;
        for limb in self.0.iter_mut().rev() {
            rest = (rest << 32) | u64::from(*limb);
            *limb = (rest / u64::from(divisor)) as u32;
            rest %= u64::from(divisor);
        }
        self.trim();
        rest as u32
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn into_decimal(mut self) -> String {
        let mut groups = Vec::new();
        while !self.0.is_empty() {
            groups.push(self.divide_small(1_000_000_000));
        }
        let mut text = groups.pop().unwrap_or(0).to_string();
        for group in groups.iter().rev() {
            text.push_str(&format!("{group:09}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> LongDouble {
        let parse = |text: &str| LongDouble::parse(text.as_bytes()).expect(text);
        parse(a).add(parse(b))
    }

    /// Replies of Redis 7.0.15 on x86-64 to `SET k a` and `INCRBYFLOAT k b`.
    #[test]
    fn sums_are_those_of_redis() {
        for (a, b, reply) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("10.50", "-5", "5.5"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "1.1", "4.1"),
            ("0", "-0", "0"),
            ("-0", "-0", "0"),
            ("1", "-1", "0"),
            ("1.5", "1.5", "3"),
            ("0.3", "-0.3", "0"),
            ("1e17", "0.1", "100000000000000000.1015625"),
            ("123456789012", "0.000000000000000001", "123456789012"),
            ("17179869184", "1.5", "17179869185.5"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("9223372036854775807", "0.5", "9223372036854775807.5"),
            ("-9223372036854775808", "-1", "-9223372036854775809"),
            ("18446744073709551615", "0.5", "18446744073709551616"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("18446744073709551616", "1", "18446744073709551616"),
            ("36893488147419103233", "0", "36893488147419103232"),
            ("36893488147419103235", "0", "36893488147419103236"),
            ("1e20", "3.14159", "100000000000000000000"),
            ("1e30", "1", "1000000000000000000024696061952"),
            ("1e-17", "0", "0.00000000000000001"),
            ("5e-18", "0", "0"),
            ("1.5e-17", "0", "0.00000000000000002"),
            ("4.9e-18", "0", "0"),
            ("-4e-18", "0", "0"),
            ("1e-17", "2e-17", "0.00000000000000003"),
            ("3.0e-4940", "0", "0"),
            ("0x1p3", "0x.8", "8.5"),
            ("0x1.8p1", "-3", "0"),
            ("0.12345678901234567890", "0", "0.12345678901234568"),
            ("99999999999999999.99", "0", "99999999999999999.9921875"),
            ("1e40", "-1e22", "9999999999999999989748657316172260179968"),
            (
                "12345678901234567890123456789",
                "0.5",
                "12345678901234567890421678080",
            ),
            (".5", "5.", "5.5"),
            ("+7", "+1e0", "8"),
            ("2.5", "-0x1p-64", "2.5"),
        ] {
            assert_eq!(sum(a, b).to_human_string(), reply, "{a} + {b}");
            assert_eq!(sum(b, a).to_human_string(), reply, "{b} + {a}");
        }
    }

    #[test]
    fn what_is_no_number() {
        let long = "1".repeat(MAX_TEXT);
        assert!(
            LongDouble::parse(&long.as_bytes()[1..]).is_none(),
            "too large"
        );
        let long_zeros = "0".repeat(MAX_TEXT);
        assert!(LongDouble::parse(&long_zeros.as_bytes()[1..]).is_some());
        for bad in [
            "",
            " 1",
            "1 ",
            "1\0",
            "abc",
            "nan",
            "-nan",
            "1e",
            "1e+",
            ".",
            "-",
            "e1",
            "1.2.3",
            "0x",
            "0xp1",
            "0x1p",
            "1e5000",
            "-1e5000",
            "1e-5000",
            "1e4933",
            "1e-4952",
            "--1",
            "1e99999999999999999999",
            "0x1p16384",
            "0x1p-16446",
            &long_zeros,
            "in",
            "infinit",
        ] {
            assert!(LongDouble::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn infinities_and_what_they_add_up_to() {
        assert!(sum("inf", "1").is_infinite());
        assert_eq!(sum("1", "-Infinity").to_human_string(), "-inf");
        assert!(sum("+inf", "INF").is_infinite());
        assert!(sum("inf", "-inf").is_nan());
        assert!(!sum("inf", "inf").is_nan());
        let max = "1.18973149535723176502e4932";
        assert!(sum(max, max).is_infinite());
        assert!(!sum(max, "1").is_infinite());
        assert_eq!(sum(max, &format!("-{max}")), LongDouble::ZERO);
    }

    /// Halfway between two neighbours goes to the even one, and any digit after
    /// that, however far, goes up. 1 + 2^-64 is such a halfway point.
    #[test]
    fn parsing_rounds_correctly() {
        let half = "1.000000000000000000054210108624275221700372640043497085571289062";
        let up = "0x1.0000000000000002p0";
        for (text, same_as) in [
            (format!("{half}5"), "1"),
            (format!("{half}5{}", "0".repeat(4000)), "1"),
            (format!("{half}5{}1", "0".repeat(4000)), up),
            (format!("{half}49999"), "1"),
            (format!("{half}51"), up),
            ("0x1.00000000000000010p0".to_owned(), "1"),
            (
                "0x1.000000000000000100000000000000000000001p0".to_owned(),
                up,
            ),
            (
                "0x1.00000000000000030p0".to_owned(),
                "0x1.0000000000000004p0",
            ),
        ] {
            assert_eq!(
                LongDouble::parse(text.as_bytes()),
                LongDouble::parse(same_as.as_bytes()),
                "{text}"
            );
        }
    }

    #[test]
    fn ends_of_the_range() {
        let bits = |text: &str| LongDouble::parse(text.as_bytes()).map(LongDouble::parts);
        assert_eq!(bits("0x1p-16445"), Some((1, MIN_EXPONENT)));
        assert_eq!(bits("3.6e-4951"), Some((1, MIN_EXPONENT)));
        assert_eq!(bits("1.9e-4951"), Some((1, MIN_EXPONENT)));
        assert_eq!(bits("1.8e-4951"), None);
        assert_eq!(
            bits("1.18973149535723176502e4932"),
            Some((u64::MAX, MAX_EXPONENT))
        );
        assert_eq!(bits("1.18973149535723176509e4932"), None);
        // Exact decimal expansion of a large power of two, against its last digits.
        let text = sum("0x1p16383", "0").to_human_string();
        assert_eq!(text.len(), 4932);
        assert!(text.starts_with("594865747678615882"), "{text}");
        assert!(text.ends_with('8'), "{text}");
    }

    #[test]
    fn conversions_are_exact() {
        for v in [0, 1, -1, 10, i64::MAX, i64::MIN, 1 << 53 | 1] {
            assert_eq!(LongDouble::from(v).to_human_string(), v.to_string());
            let text = v.to_string();
            assert_eq!(LongDouble::parse(text.as_bytes()), Some(v.into()));
        }
        for (v, text) in [
            (0.1, "0.10000000000000001"),
            (-2.5, "-2.5"),
            (5e-324, "0"),
            (1e22, "10000000000000000000000"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(LongDouble::from(v).to_human_string(), text);
        }
    }
}
