//! The LZF compression that RDB files and the inner nodes of quicklists use.
//!
//! The format, from Marc Lehmann's LibLZF: a control byte below 32 starts that many plus one
//! literal bytes; any other is a back reference. Its upper three bits are the length less two (7:
//! the next byte is added), its lower five with the byte after it the distance less one. Pure
//! code; what is compressed here Redis can read, and the other way round, but the compressed
//! bytes need not be those that Redis would have chosen.

/// The greatest distance of a back reference.
const MAX_DISTANCE: usize = 1 << 13;
/// The greatest length of a back reference.
const MAX_MATCH: usize = (1 << 8) + (1 << 3);
/// The greatest number of literal bytes behind one control byte.
const MAX_LITERALS: usize = 1 << 5;
/// No input byte can stand for more than this many: three for [`MAX_MATCH`].
const MAX_RATIO: usize = MAX_MATCH / 3;

/// Compressed data that is malformed or of another length than announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt;

/// Compresses `input` into at most `limit` bytes; `None` if it does not fit.
pub fn compress(input: &[u8], limit: usize) -> Option<Vec<u8>> {
    if input.is_empty() || limit == 0 || u32::try_from(input.len()).is_err() {
        return None;
    }
    // Positions, plus one, at which a hash of three bytes was last seen. A small input gets a
    // small table, since clearing it is a good part of the work.
    let bits = (input.len().ilog2() + 1).clamp(8, 14);
    let mut seen = vec![0u32; 1 << bits];
    let mut out = Vec::with_capacity(limit);
    let (mut at, mut literals) = (0, 0);
    while at + 2 < input.len() {
        let slot = hash(&input[at..at + 3], bits);
        let before = seen[slot] as usize;
        seen[slot] = at as u32 + 1;
        let length = match before.checked_sub(1) {
            Some(from) if at - from <= MAX_DISTANCE => common(input, from, at),
            _ => 0,
        };
        if length < 3 {
            at += 1;
            continue;
        }
        push_literals(&mut out, &input[literals..at], limit)?;
        push_match(&mut out, at - before, length, limit)?;
        let end = at + length;
        // The last two positions of the match are enough to be found again from.
        for inner in end - 2..end {
            if let Some(three) = input.get(inner..inner + 3) {
                seen[hash(three, bits)] = inner as u32 + 1;
            }
        }
        at = end;
        literals = end;
    }
    push_literals(&mut out, &input[literals..], limit)?;
    Some(out)
}

fn hash(three: &[u8], bits: u32) -> usize {
    let value = u32::from_be_bytes([0, three[0], three[1], three[2]]);
    (value.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize
}

/// How many bytes at `from` and at `at` are the same, up to [`MAX_MATCH`].
fn common(input: &[u8], from: usize, at: usize) -> usize {
    input[at..]
        .iter()
        .zip(&input[from..])
        .take(MAX_MATCH)
        .take_while(|(a, b)| a == b)
        .count()
}

fn push_literals(out: &mut Vec<u8>, literals: &[u8], limit: usize) -> Option<()> {
    for run in literals.chunks(MAX_LITERALS) {
        if out.len() + 1 + run.len() > limit {
            return None;
        }
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
    Some(())
}

/// Appends a back reference; `distance` counts from 0 for the byte just before.
fn push_match(out: &mut Vec<u8>, distance: usize, length: usize, limit: usize) -> Option<()> {
    let code = length - 2;
    let high = (distance >> 8) as u8;
    if code < 7 {
        out.push((code as u8) << 5 | high);
    } else {
        out.push(7 << 5 | high);
        out.push((code - 7) as u8);
    }
    out.push(distance as u8);
    (out.len() <= limit).then_some(())
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
