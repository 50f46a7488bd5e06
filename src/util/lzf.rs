//! The LZF compression that RDB files and the inner nodes of quicklists use.
//!
//! The format, from Marc Lehmann's LibLZF: a control byte below 32 starts that many plus one
//! literal bytes; any other is a back reference. Its upper three bits are the length less two (7:
//! the next byte is added), its lower five with the byte after it the distance less one. Pure
//! code; what is compressed here Redis can read, and the other way round, but the compressed
//! bytes need not be those that Redis would have chosen.

use std::cell::Cell;
use std::ops::RangeInclusive;

/// The greatest distance of a back reference.
const MAX_DISTANCE: usize = 1 << 13;
/// The greatest length of a back reference.
const MAX_MATCH: usize = (1 << 8) + (1 << 3);
/// The greatest number of literal bytes behind one control byte.
const MAX_LITERALS: usize = 1 << 5;
/// No input byte can stand for more than this many: three for [`MAX_MATCH`].
const MAX_RATIO: usize = MAX_MATCH / 3;
/// Bits of a hash: for short inputs, and at most.
const BITS: RangeInclusive<u32> = 11..=14;

/// Compressed data that is malformed or of another length than announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt;

/// Compresses `input` into at most `limit` bytes; `None` if it does not fit.
pub fn compress(input: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(limit);
    append(&mut out, input, limit).then_some(out)
}

/// Compresses `input` onto the end of `out` if it takes at most `limit` bytes there; whether it
/// does. If not, `out` is as before. The thread's own compressor does it.
pub fn append(out: &mut Vec<u8>, input: &[u8], limit: usize) -> bool {
    thread_local! {
        static COMPRESSOR: Cell<Compressor> = const { Cell::new(Compressor::new()) };
    }
    // On a thread that is just ending, the text may stay as it is.
    let done = COMPRESSOR.try_with(|cell| {
        let mut compressor = cell.take();
        let done = compressor.append(out, input, limit);
        cell.set(compressor);
        done
    });
    done.unwrap_or(false)
}

/// Remembers where three bytes were last seen. Making such a table for each of many short inputs
/// would cost more than the inputs, so one serves many, and is not even cleared in between: what
/// it knows of earlier inputs lies below `base`.
#[derive(Default)]
struct Compressor {
    /// By hash of three bytes: `base`, as it was then, plus their position. Grows to what the
    /// longest input so far asked for.
    seen: Vec<u32>,
    /// What stands for position 0 of the present input; above 0.
    base: u32,
}

impl Compressor {
    const fn new() -> Compressor {
        Compressor {
            seen: Vec::new(),
            base: 1,
        }
    }

    /// See [`append`].
    fn append(&mut self, out: &mut Vec<u8>, input: &[u8], limit: usize) -> bool {
        let Ok(len) = u32::try_from(input.len()) else {
            return false;
        };
        if len < 2 || limit == 0 {
            return len == 1 && literals(out, input, out.len() + limit);
        }
        // A small part of the table stays in the nearest cache, and that is enough for few positions.
        let bits = (input.len().ilog2() + 3).clamp(*BITS.start(), *BITS.end());
        if self.seen.len() < 1 << bits {
            self.seen.resize(1 << bits, 0);
        }
        if self.base.checked_add(len).is_none() || self.base == 0 {
            self.seen.fill(0);
            self.base = 1;
        }
        let start = out.len();
        out.reserve(limit + 3);
        let done = self.pack(out, input, limit, bits);
        if !done {
            out.truncate(start);
        }
        self.base = self.base.saturating_add(len);
        done
    }

    fn pack(&mut self, out: &mut Vec<u8>, input: &[u8], limit: usize, bits: u32) -> bool {
        let (base, seen) = (self.base, &mut self.seen[..1 << bits]);
        let end = out.len() + limit;
        let slot = |three: u32| (three.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize;
        // Everything before `done` is in `out`.
        let (mut at, mut done) = (0, 0);
        let mut three = u32::from_be_bytes([0, 0, input[0], input[1]]);
        while let Some(rest) = input.get(at + 2..) {
            // To the next place whose hash has been seen not too far back in this input.
            let mut found = None;
            for (here, &third) in (base + at as u32..).zip(rest) {
                three = (three << 8 | u32::from(third)) & 0x00ff_ffff;
                let before = std::mem::replace(&mut seen[slot(three)], here);
                if before >= base && here - before <= MAX_DISTANCE as u32 {
                    found = Some(((here - base) as usize, (before - base) as usize));
                    break;
                }
            }
            let Some((here, from)) = found else {
                break;
            };
            at = here;
            let length = common(input, from, at);
            if length < 3 {
                at += 1;
                continue;
            }
            if !literals(out, &input[done..at], end) {
                return false;
            }
            reference(out, at - from - 1, length);
            if out.len() > end {
                return false;
            }
            at += length;
            done = at;
            // The last two positions of the match are enough to be found again from.
            if let Some(&[a, b, c, d]) = input.get(at - 2..at + 2).and_then(|s| s.first_chunk()) {
                let inside = u32::from_be_bytes([0, a, b, c]);
                seen[slot(inside)] = base + at as u32 - 2;
                three = u32::from_be_bytes([0, b, c, d]);
                seen[slot(three)] = base + at as u32 - 1;
            }
        }
        literals(out, &input[done..], end)
    }
}

/// How many bytes at `from` and at `at` are the same, up to [`MAX_MATCH`].
#[inline]
fn common(input: &[u8], from: usize, at: usize) -> usize {
    let most = (input.len() - at).min(MAX_MATCH);
    let (a, b) = (&input[from..from + most], &input[at..at + most]);
    let (first, rest) = a.as_chunks::<8>();
    let (second, other) = b.as_chunks::<8>();
    for (eights, (x, y)) in first.iter().zip(second).enumerate() {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return eights * 8 + differ.trailing_zeros() as usize / 8;
        }
    }
    let same = rest.iter().zip(other).take_while(|(x, y)| x == y).count();
    first.len() * 8 + same
}

/// Appends literal bytes, unless they would reach beyond `end`; whether not.
#[inline]
fn literals(out: &mut Vec<u8>, bytes: &[u8], end: usize) -> bool {
    if out.len() + bytes.len() + bytes.len().div_ceil(MAX_LITERALS) > end {
        return false;
    }
    for run in bytes.chunks(MAX_LITERALS) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
    true
}

/// Appends a back reference; `distance` counts from 0 for the byte just before.
#[inline]
fn reference(out: &mut Vec<u8>, distance: usize, length: usize) {
    let code = length - 2;
    let high = (distance >> 8) as u8;
    if code < 7 {
        out.extend_from_slice(&[(code as u8) << 5 | high, distance as u8]);
    } else {
        out.extend_from_slice(&[7 << 5 | high, (code - 7) as u8, distance as u8]);
    }
}

/// Decompresses `input`, which stands for exactly `len` bytes.
///
/// # Errors
/// When it is malformed or stands for another number of bytes.
pub fn decompress(input: &[u8], len: usize) -> Result<Vec<u8>, Corrupt> {
    // Before memory is taken for a length that may be made up.
    if len > input.len().saturating_mul(MAX_RATIO) {
        return Err(Corrupt);
    }
    let mut out = Vec::with_capacity(len);
    let mut rest = input;
    while let Some((&control, behind)) = rest.split_first() {
        rest = behind;
        if usize::from(control) < MAX_LITERALS {
            let count = usize::from(control) + 1;
            let (run, behind) = rest.split_at_checked(count).ok_or(Corrupt)?;
            if out.len() + count > len {
                return Err(Corrupt);
            }
            out.extend_from_slice(run);
            rest = behind;
        } else {
            let mut length = usize::from(control >> 5) + 2;
            if control >> 5 == 7 {
                length += usize::from(take(&mut rest)?);
            }
            let low = take(&mut rest)?;
            let distance = (usize::from(control & 0x1f) << 8 | usize::from(low)) + 1;
            copy_back(&mut out, distance, length, len)?;
        }
    }
    if out.len() == len {
        Ok(out)
    } else {
        Err(Corrupt)
    }
}

fn take(rest: &mut &[u8]) -> Result<u8, Corrupt> {
    let (&byte, behind) = rest.split_first().ok_or(Corrupt)?;
    *rest = behind;
    Ok(byte)
}

fn copy_back(out: &mut Vec<u8>, distance: usize, length: usize, len: usize) -> Result<(), Corrupt> {
    let start = out.len().checked_sub(distance).ok_or(Corrupt)?;
    if out.len() + length > len {
        return Err(Corrupt);
    }
    if distance >= length {
        out.extend_from_within(start..start + length);
    } else {
        // The reference runs into what it makes.
        for from in start..start + length {
            out.push(out[from]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Rng;

    /// A text whose `DUMP` in Redis 7.0.15 is [`FROM_REDIS`].
    fn text() -> Vec<u8> {
        let mut text = b"abcabcabcabcabcabcabcabcabcabcabc hello hello hello hello ".repeat(3);
        text.extend(0..100);
        text.extend([b'q'; 700]);
        text
    }

    const FROM_REDIS: &[u8] = &[
        3, b'a', b'b', b'c', b'a', 0xe0, 0x14, 2, 5, b' ', b'h', b'e', b'l', b'l', b'o', 0xe0,
        0x0a, 5, 0xe0, 0x15, b'6', 0x20, 0x1d, 0xe0, 0x0a, b'3', 0x80, b'K', 0x20, 0x1b, 0xe0,
        0x15, 0x02, 0xa0, 0x27, 0x80, 0x2d, 0xe0, 0x03, 0x05, 0x1f,
    ];

    /// The rest of Redis' output: the bytes 0 to 99 and the 700 equal ones.
    fn from_redis() -> Vec<u8> {
        let mut data = FROM_REDIS.to_vec();
        data.extend(0..32);
        data.push(0x1f);
        data.extend(32..64);
        data.push(0x1f);
        data.extend(64..96);
        data.extend([0, 0x60, 0x20, 0x97, 0, b'q']);
        data.extend([0xe0, 0xff, 0, 0xe0, 0xff, 0, 0xe0, 0xa0, 0, 1, b'q', b'q']);
        data
    }

    #[test]
    fn what_redis_compressed_can_be_read() {
        assert_eq!(decompress(&from_redis(), text().len()), Ok(text()));
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let mut rng = Rng::new([1, 9]);
        let mut inputs = vec![text(), vec![0; 100_000], vec![7; 3], vec![1], vec![1, 2]];
        for _ in 0..300 {
            let len = 1 + rng.index(20_000);
            let letters = 1 + rng.below(6);
            inputs.push((0..len).map(|_| rng.below(letters) as u8).collect());
        }
        for input in inputs {
            let packed = compress(&input, input.len() + input.len() / 32 + 1);
            let packed = packed.expect("literals alone fit");
            assert_eq!(decompress(&packed, input.len()), Ok(input.clone()));
            // Exactly the size is enough, one byte less is not.
            assert_eq!(compress(&input, packed.len()).as_ref(), Some(&packed));
            assert_eq!(compress(&input, packed.len() - 1), None);
        }
        assert!(compress(&text(), 170).is_some(), "Redis needs 155 bytes");
        assert_eq!(compress(b"", 10), None);
    }

    #[test]
    fn what_was_compressed_before_does_not_matter() {
        let mut rng = Rng::new([4, 9]);
        let inputs: Vec<Vec<u8>> = (0..500)
            .map(|_| {
                let len = 1 + rng.index(300);
                (0..len)
                    .map(|_| b"0123456789abcdef"[rng.index(4)])
                    .collect()
            })
            .collect();
        // Close to where the count of positions starts again, too.
        for base in [1, u32::MAX - 20_000, u32::MAX] {
            let mut used = Compressor::new();
            used.base = base;
            for input in &inputs {
                let (mut first, mut second) = (b"before".to_vec(), b"before".to_vec());
                let limit = input.len().saturating_sub(4);
                let done = used.append(&mut first, input, limit);
                assert_eq!(done, Compressor::new().append(&mut second, input, limit));
                assert_eq!(first, second);
                assert_eq!(&first[..6], b"before");
                if done {
                    assert_eq!(decompress(&first[6..], input.len()).as_ref(), Ok(input));
                } else {
                    assert_eq!(first.len(), 6);
                }
            }
        }
    }

    #[test]
    fn corrupt_data_is_refused() {
        let good = from_redis();
        for len in 0..good.len() {
            assert_eq!(decompress(&good[..len], text().len()), Err(Corrupt));
        }
        for len in [0, 1, 973, 975, usize::MAX] {
            assert_eq!(decompress(&good, len), Err(Corrupt));
        }
        // A reference to before the start, and one that is cut off.
        assert_eq!(decompress(&[0, b'a', 0x20, 1], 4), Err(Corrupt));
        assert_eq!(decompress(&[0, b'a', 0xe0, 0], 10), Err(Corrupt));
        assert_eq!(decompress(&[0, b'a', 0x20, 0], 4), Ok(b"aaaa".to_vec()));
        let mut rng = Rng::new([2, 9]);
        for _ in 0..100_000 {
            let bytes: Vec<u8> = (0..rng.index(20)).map(|_| rng.next_u64() as u8).collect();
            if let Ok(out) = decompress(&bytes, 40) {
                assert_eq!(out.len(), 40);
            }
        }
    }
}
