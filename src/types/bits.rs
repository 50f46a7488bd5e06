//! Strings as arrays of bits, for SETBIT, BITCOUNT, BITFIELD and their kin.
//!
//! Bit 0 is the highest bit of the first byte. A field is a big-endian integer of 1 to 64 bits at
//! any bit offset. Pure functions over byte slices.

use std::ops::Range;

/// What BITOP computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Bits set in every string.
    And,
    /// Bits set in any string.
    Or,
    /// Bits set in an odd number of strings.
    Xor,
    /// Bits that are clear in the only string.
    Not,
}

/// What becomes of a result that does not fit its field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overflow {
    /// The lowest bits stay.
    Wrap,
    /// The nearest integer that fits.
    Saturate,
    /// Nothing is stored.
    Fail,
}

/// The type of a field: `i16`, `u8`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldType {
    /// Whether it is in two's complement.
    pub signed: bool,
    /// Its width: 1 to 64, at most 63 when it is unsigned.
    pub bits: u32,
}

/// Number of bits set.
pub fn count(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let whole: u64 = words
        .iter()
        .map(|word| u64::from(u64::from_ne_bytes(*word).count_ones()))
        .sum();
    whole
        + rest
            .iter()
            .map(|byte| u64::from(byte.count_ones()))
            .sum::<u64>()
}

/// Number of bits set among those in `range`, which lies within the string.
pub fn count_within(bytes: &[u8], range: Range<u64>) -> u64 {
    if range.is_empty() {
        return 0;
    }
    let (first, last) = (range.start / 8, (range.end - 1) / 8);
    let bytes = &bytes[first as usize..=last as usize];
    let before = bytes[0] & !head_mask(range.start);
    let behind = bytes[bytes.len() - 1] & !tail_mask(range.end);
    count(bytes) - u64::from(before.count_ones()) - u64::from(behind.count_ones())
}

/// The position of the first bit in `range`, which lies within the string, that is set (or clear).
pub fn find(bytes: &[u8], range: Range<u64>, set: bool) -> Option<u64> {
    if range.is_empty() {
        return None;
    }
    // With the bits turned over where a clear one is wanted, a set one is looked for in any case.
    let flip = if set { 0 } else { 0xff };
    let (first, last) = ((range.start / 8) as usize, ((range.end - 1) / 8) as usize);
    let at = |index: usize| {
        let mut byte = bytes[index] ^ flip;
        if index == first {
            byte &= head_mask(range.start);
        }
        if index == last {
            byte &= tail_mask(range.end);
        }
        (byte != 0).then(|| index as u64 * 8 + u64::from(byte.leading_zeros()))
    };
    at(first)
        .or_else(|| {
            let middle = bytes.get(first + 1..last)?;
            at(first + 1 + find_byte(middle, flip)?)
        })
        .or_else(|| at(last))
}

/// The index of the first byte that is not `byte`, which is 0x00 or 0xff.
fn find_byte(bytes: &[u8], byte: u8) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    let skipped = words.iter().take_while(|word| **word == [byte; 8]).count() * 8;
    let rest = bytes[skipped..].iter().position(|other| *other != byte)?;
    Some(skipped + rest)
}

/// The bits of a byte from bit `start` of the string on.
fn head_mask(start: u64) -> u8 {
    0xff >> (start % 8)
}

/// The bits of a byte before bit `end` of the string, which lies in it or just behind it.
fn tail_mask(end: u64) -> u8 {
    0xff << (7 - (end - 1) % 8)
}

/// Brings one more string into the result of BITOP, which begins as a copy of the first one. The
/// shorter of both counts as padded with zeros.
pub fn combine(result: &mut Vec<u8>, operation: Operation, other: &[u8]) {
    if result.len() < other.len() {
        result.resize(other.len(), 0);
    }
    let pairs = result.iter_mut().zip(other);
    match operation {
        Operation::And => {
            pairs.for_each(|(a, b)| *a &= b);
            result[other.len()..].fill(0);
        }
        Operation::Or => pairs.for_each(|(a, b)| *a |= b),
        Operation::Xor => pairs.for_each(|(a, b)| *a ^= b),
        Operation::Not => {}
    }
}

/// Turns every bit over.
pub fn invert(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

/// The bit at `offset`; past the end it is clear.
pub fn get(bytes: &[u8], offset: u64) -> bool {
    usize::try_from(offset / 8)
        .ok()
        .and_then(|index| bytes.get(index))
        .is_some_and(|byte| byte & (0x80 >> (offset % 8)) != 0)
}

/// Sets or clears the bit at `offset`, which lies within the string, and returns what it was.
pub fn set(bytes: &mut [u8], offset: u64, value: bool) -> bool {
    let byte = &mut bytes[(offset / 8) as usize];
    let mask = 0x80 >> (offset % 8);
    let old = *byte & mask != 0;
    *byte = if value { *byte | mask } else { *byte & !mask };
    old
}

/// Bytes that a field of 64 bits may touch.
const TOUCHED: usize = 9;

/// The bytes from the one with bit `offset` on, zeros behind the end, as one integer.
fn window(bytes: &[u8], offset: u64) -> u128 {
    let mut window = [0; 16];
    let rest = usize::try_from(offset / 8)
        .ok()
        .and_then(|start| bytes.get(start..))
        .unwrap_or_default();
    let len = rest.len().min(TOUCHED);
    window[..len].copy_from_slice(&rest[..len]);
    u128::from_be_bytes(window)
}

impl FieldType {
    /// Reads `i16`, `u8` and the like.
    pub fn parse(text: &[u8]) -> Option<FieldType> {
        let (&sign, width) = text.split_first()?;
        let (signed, most) = match sign {
            b'i' => (true, 64),
            b'u' => (false, 63),
            _ => return None,
        };
        let bits = crate::util::num::parse_i64(width)?;
        (1..=most).contains(&bits).then_some(FieldType {
            signed,
            bits: bits as u32,
        })
    }

    /// The least and the greatest integer of the type.
    fn bounds(self) -> (i64, i64) {
        if self.signed {
            let greatest = i64::MAX >> (64 - self.bits);
            (-greatest - 1, greatest)
        } else {
            (0, i64::MAX >> (63 - self.bits))
        }
    }

    /// How far the field at `offset` is from the right end of its [`window`].
    fn shift(self, offset: u64) -> u32 {
        128 - (offset % 8) as u32 - self.bits
    }

    fn mask(self) -> u128 {
        (1u128 << self.bits) - 1
    }

    /// The integer that the lowest bits of `raw` stand for.
    fn interpret(self, raw: u128) -> i64 {
        let unused = 64 - self.bits;
        let raw = (raw as u64) << unused;
        if self.signed {
            raw as i64 >> unused
        } else {
            (raw >> unused) as i64
        }
    }

    /// The field at bit `offset`; bits past the end are clear.
    pub fn get(self, bytes: &[u8], offset: u64) -> i64 {
        self.interpret(window(bytes, offset) >> self.shift(offset))
    }

    /// Stores the lowest bits of `value` in the field at bit `offset`, which lies within the
    /// string.
    pub fn set(self, bytes: &mut [u8], offset: u64, value: i64) {
        let shift = self.shift(offset);
        let mask = self.mask() << shift;
        let value = (u128::from(value as u64) << shift) & mask;
        let new = (window(bytes, offset) & !mask | value).to_be_bytes();
        let rest = &mut bytes[(offset / 8) as usize..];
        let len = rest.len().min(TOUCHED);
        rest[..len].copy_from_slice(&new[..len]);
    }

    /// What to store for `value + increment`; `None` when nothing is to be stored.
    ///
    /// `value` is either in the field, or a client's with an `increment` of 0. A client's negative
    /// value for an unsigned field counts as one above the greatest, and so does one for a signed
    /// field that is so low that its distance to the greatest is no 64-bit integer: as in Redis.
    pub fn fit(self, value: i64, increment: i64, overflow: Overflow) -> Option<i64> {
        let (least, greatest) = self.bounds();
        let (up, down) = (greatest.wrapping_sub(value), least.wrapping_sub(value));
        let (above, below) = if self.signed {
            let narrow = self.bits < 64;
            (
                value > greatest || (increment > up && (narrow || (value >= 0 && increment > 0))),
                value < least || (increment < down && (narrow || (value < 0 && increment < 0))),
            )
        } else {
            (
                value as u64 > greatest as u64 || (increment > 0 && increment > up),
                increment < 0 && increment < down,
            )
        };
        match overflow {
            Overflow::Fail if above || below => None,
            Overflow::Saturate if above => Some(greatest),
            Overflow::Saturate if below => Some(least),
            _ => Some(self.interpret(value.wrapping_add(increment) as u64 as u128)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Rng;

    /// A string as a list of bits.
    fn bits_of(bytes: &[u8]) -> Vec<bool> {
        (0..bytes.len() as u64 * 8).map(|i| get(bytes, i)).collect()
    }

    fn random(rng: &mut Rng, len: usize) -> Vec<u8> {
        (0..len)
            .map(|_| match rng.below(3) {
                0 => 0,
                1 => 0xff,
                _ => rng.below(256) as u8,
            })
            .collect()
    }

    #[test]
    fn counts_and_finds_as_bit_by_bit() {
        let mut rng = Rng::new([1, 2]);
        for _ in 0..3000 {
            let len = 1 + rng.index(40);
            let bytes = random(&mut rng, len);
            let bits = bits_of(&bytes);
            assert_eq!(
                count(&bytes),
                bits.iter().filter(|bit| **bit).count() as u64
            );
            let start = rng.index(bits.len());
            let end = start + rng.index(bits.len() - start + 1);
            let range = start as u64..end as u64;
            let part = &bits[start..end];
            assert_eq!(
                count_within(&bytes, range.clone()),
                part.iter().filter(|bit| **bit).count() as u64
            );
            for set in [true, false] {
                let expected = part.iter().position(|bit| *bit == set);
                assert_eq!(
                    find(&bytes, range.clone(), set),
                    expected.map(|at| (start + at) as u64)
                );
            }
        }
        assert_eq!(find(&[0; 1000], 0..8000, true), None);
        assert_eq!(find(b"", 0..0, false), None);
    }

    #[test]
    fn combines_strings_of_any_length() {
        for (operation, expected) in [
            (Operation::And, &[0x0c, 0x00][..]),
            (Operation::Or, &[0x3f, 0x55]),
            (Operation::Xor, &[0x33, 0x55]),
        ] {
            let (long, short) = ([0x3c, 0x55], [0x0f]);
            let mut result = long.to_vec();
            combine(&mut result, operation, &short);
            assert_eq!(result, expected);
            let mut result = short.to_vec();
            combine(&mut result, operation, &long);
            assert_eq!(result, expected);
        }
        let mut bytes = [0x00, 0xa5];
        invert(&mut bytes);
        assert_eq!(bytes, [0xff, 0x5a]);
    }

    #[test]
    fn fields_are_read_back() {
        let mut rng = Rng::new([3, 4]);
        for _ in 0..3000 {
            let signed = rng.below(2) == 0;
            let kind = FieldType {
                signed,
                bits: 1 + rng.below(if signed { 64 } else { 63 }) as u32,
            };
            let offset = rng.below(60);
            let len = (offset as usize + kind.bits as usize).div_ceil(8);
            let mut bytes = random(&mut rng, len);
            let before = bits_of(&bytes);
            let value = rng.below(u64::MAX) as i64;
            kind.set(&mut bytes, offset, value);
            assert_eq!(
                kind.get(&bytes, offset),
                kind.interpret(value as u64 as u128)
            );
            let field = offset as usize..offset as usize + kind.bits as usize;
            for (at, (old, new)) in before.iter().zip(bits_of(&bytes)).enumerate() {
                assert!(field.contains(&at) || *old == new);
            }
        }
        let byte = FieldType {
            signed: true,
            bits: 8,
        };
        assert_eq!(byte.get(b"\xff", 4), -16, "zeros behind the end");
        assert_eq!(byte.get(b"\xff", u64::MAX), 0);
    }

    #[test]
    fn overflow() {
        use Overflow::{Fail, Saturate, Wrap};
        let all = |kind: &str, value, increment| {
            let kind = FieldType::parse(kind.as_bytes()).expect("a type");
            [Wrap, Saturate, Fail].map(|overflow| kind.fit(value, increment, overflow))
        };
        assert_eq!(all("u8", 250, 10), [Some(4), Some(255), None]);
        assert_eq!(all("u8", 5, -10), [Some(251), Some(0), None]);
        assert_eq!(all("u8", -1, 0), [Some(255), Some(255), None]);
        assert_eq!(all("i8", 120, 10), [Some(-126), Some(127), None]);
        assert_eq!(all("i8", -120, -10), [Some(126), Some(-128), None]);
        assert_eq!(all("i8", 127, 0), [Some(127); 3]);
        let (min, max) = (i64::MIN, i64::MAX);
        assert_eq!(all("i64", max, 1), [Some(min), Some(max), None]);
        assert_eq!(all("i64", min, -1), [Some(max), Some(min), None]);
        assert_eq!(all("u63", max, 1), [Some(0), Some(max), None]);
        assert_eq!(all("i1", 0, 1), [Some(-1), Some(0), None]);
        assert_eq!(all("i40", min + 2, 0), [Some(2), Some((1 << 39) - 1), None]);
        assert_eq!(all("i8", -1000, 0), [Some(24), Some(-128), None]);
        assert_eq!(all("u63", min, 0), [Some(0), Some(max), None]);
    }

    #[test]
    fn types_of_fields() {
        for wrong in [
            "", "i", "u", "8", "x8", "i0", "u0", "i65", "u64", "i08", "I8", "i-1",
        ] {
            assert_eq!(FieldType::parse(wrong.as_bytes()), None, "{wrong}");
        }
        let i64 = FieldType {
            signed: true,
            bits: 64,
        };
        assert_eq!(FieldType::parse(b"i64"), Some(i64));
    }
}
