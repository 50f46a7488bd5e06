//! The ziplist: texts and integers in one block of memory, each entry with the size of the one
//! before it.
//!
//! | part | bytes |
//! | --- | --- |
//! | total size in bytes | 4 |
//! | offset of the last entry | 4 |
//! | number of entries, 65535 when it has to be counted | 2 |
//! | the entries | |
//! | `0xff` | 1 |
//!
//! An entry begins with the size of the one before it (zero for the first): one byte up to 253,
//! else `0xfe` and four bytes. The next byte says what follows:
//!
//! | first byte | content |
//! | --- | --- |
//! | `00llllll` | a text of up to 63 bytes |
//! | `01llllll`, 1 byte | a text of up to 16383 bytes, the length big endian |
//! | `10......`, 4 bytes | a longer text, the length big endian |
//! | `0xc0`, `0xd0`, `0xe0` | an integer of 2, 4, 8 bytes |
//! | `0xf0`, `0xfe` | an integer of 3 bytes, of 1 byte |
//! | `0xf1` to `0xfd` | an integer from 0 to 12 by itself |
//!
//! All other numbers are little endian.

use super::{Corrupt, array};
use crate::types::listpack::Item;

/// Size of the header.
const HEADER: usize = 10;
/// The byte that ends a ziplist.
const END: u8 = 0xff;
/// The first byte of a size that takes four more.
const LONG: u8 = 0xfe;
/// The count in a header that stands for "65535 or more".
const UNKNOWN: u16 = u16::MAX;
/// The least that an entry takes.
const LEAST: usize = 2;

const CUT_OFF: Corrupt = Corrupt("a ziplist entry reaches past the end");

/// The entries of a ziplist, in order. A text that is the decimal form of an integer comes as that
/// integer, however it was stored.
///
/// # Errors
/// When any part of the bytes does not fit the others.
pub fn entries(bytes: &[u8]) -> Result<Vec<Item<'_>>, Corrupt> {
    let (tail, announced) = header(bytes)?;
    let end = bytes.len() - 1;
    let most = (end - HEADER) / LEAST;
    let mut items = Vec::with_capacity(most.min(announced.into()));
    let (mut at, mut last, mut size) = (HEADER, HEADER, 0);
    while at < end {
        let (before, lead) = size_before(&bytes[..end], at)?;
        if before != size {
            return Err(Corrupt("the entries of a ziplist do not join"));
        }
        let (item, body) = content(&bytes[..end], at + lead)?;
        items.push(item);
        (last, size) = (at, lead + body);
        at += size;
    }
    if tail != last {
        return Err(Corrupt("the last entry of a ziplist is not where it says"));
    }
    if announced != UNKNOWN && usize::from(announced) != items.len() {
        return Err(Corrupt("a ziplist has another count than it says"));
    }
    Ok(items)
}

/// Checks the header and the terminator; the offset of the last entry and the number of entries
/// that are announced.
fn header(bytes: &[u8]) -> Result<(usize, u16), Corrupt> {
    let read = || Some((array(bytes, 0)?, array(bytes, 4)?, array(bytes, 8)?));
    let (Some((total, tail, count)), Some(&last)) =
        (read(), bytes.get(HEADER..).and_then(<[u8]>::last))
    else {
        return Err(Corrupt("a ziplist is too short"));
    };
    if u32::from_le_bytes(total) as usize != bytes.len() {
        return Err(Corrupt("a ziplist has another size than it says"));
    }
    if last != END {
        return Err(Corrupt("a ziplist has no end"));
    }
    Ok((u32::from_le_bytes(tail) as usize, u16::from_le_bytes(count)))
}

/// The size of the previous entry as the one at `at` has it, and how many bytes that takes.
fn size_before(bytes: &[u8], at: usize) -> Result<(usize, usize), Corrupt> {
    match bytes[at] {
        // In this place it is the terminator.
        END => Err(Corrupt("a ziplist ends before its end")),
        LONG => {
            let size = array(bytes, at + 1).ok_or(CUT_OFF)?;
            Ok((u32::from_le_bytes(size) as usize, 5))
        }
        size => Ok((size.into(), 1)),
    }
}

/// The item whose encoding byte is at `at`, and how many bytes it takes.
fn content(bytes: &[u8], at: usize) -> Result<(Item<'_>, usize), Corrupt> {
    let head = *bytes.get(at).ok_or(CUT_OFF)?;
    if head < 0xc0 {
        return text(bytes, at, head).ok_or(CUT_OFF);
    }
    let (int, len) = match head {
        0xf1..=0xfd => (Some(i64::from(head - 0xf1)), 0),
        0xfe => (
            array(bytes, at + 1).map(|int| i8::from_le_bytes(int).into()),
            1,
        ),
        0xc0 => (
            array(bytes, at + 1).map(|int| i16::from_le_bytes(int).into()),
            2,
        ),
        0xf0 => {
            // Read into the upper bytes and shifted down to spread the sign.
            let spread = |[low, mid, high]: [u8; 3]| i32::from_le_bytes([0, low, mid, high]) >> 8;
            (array(bytes, at + 1).map(|int| spread(int).into()), 3)
        }
        0xd0 => (
            array(bytes, at + 1).map(|int| i32::from_le_bytes(int).into()),
            4,
        ),
        0xe0 => (array(bytes, at + 1).map(i64::from_le_bytes), 8),
        _ => return Err(Corrupt("a ziplist entry has an unknown encoding")),
    };
    Ok((Item::Int(int.ok_or(CUT_OFF)?), 1 + len))
}

/// The text whose encoding byte `head` is at `at`, and how many bytes it takes.
fn text(bytes: &[u8], at: usize, head: u8) -> Option<(Item<'_>, usize)> {
    let (len, lead) = match head >> 6 {
        0 => (usize::from(head), 1),
        1 => (
            usize::from(u16::from_be_bytes([head & 0x3f, *bytes.get(at + 1)?])),
            2,
        ),
        _ => (u32::from_be_bytes(array(bytes, at + 1)?) as usize, 5),
    };
    let text = bytes.get(at + lead..)?.get(..len)?;
    Some((Item::of(text), lead + len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Rng;

    /// An entry without the size before it.
    fn body(content: &[u8]) -> Vec<u8> {
        let len = content.len();
        let head = match len {
            0..64 => vec![len as u8],
            64..16384 => vec![0x40 | (len >> 8) as u8, len as u8],
            _ => [&[0x80][..], &(len as u32).to_be_bytes()].concat(),
        };
        [&head[..], content].concat()
    }

    /// A ziplist of entries, `long` with every size in five bytes.
    fn ziplist(bodies: &[Vec<u8>], long: bool) -> Vec<u8> {
        let mut out = vec![0; HEADER];
        let (mut size, mut tail) = (0, HEADER);
        for body in bodies {
            tail = out.len();
            if size < 254 && !long {
                out.push(size as u8);
            } else {
                out.push(LONG);
                out.extend((size as u32).to_le_bytes());
            }
            out.extend(body);
            size = out.len() - tail;
        }
        out.push(END);
        seal(&mut out, tail, bodies.len());
        out
    }

    fn seal(out: &mut [u8], tail: usize, count: usize) {
        let total = out.len() as u32;
        out[..4].copy_from_slice(&total.to_le_bytes());
        out[4..8].copy_from_slice(&(tail as u32).to_le_bytes());
        out[8..10].copy_from_slice(&(count.min(65535) as u16).to_le_bytes());
    }

    fn int(head: u8, bytes: &[u8]) -> Vec<u8> {
        [&[head], bytes].concat()
    }

    #[test]
    fn every_encoding_is_read() {
        let (mid, long, longest) = ([b'm'; 64], [b'l'; 16383], [b'x'; 16384]);
        let bodies = [
            body(b""),
            body(b"a"),
            body(&[b's'; 63]),
            body(&mid),
            body(&long),
            body(&longest),
            // The spare bits of the first byte mean nothing.
            [&[0xbf, 0, 0, 0, 2][..], b"hi"].concat(),
            int(0xf1, &[]),
            int(0xfd, &[]),
            int(0xfe, &[0x80]),
            int(0xc0, &[0xff, 0x7f]),
            int(0xf0, &[0, 0, 0x80]),
            int(0xf0, &[0xff, 0xff, 0x7f]),
            int(0xd0, &i32::MIN.to_le_bytes()),
            int(0xe0, &i64::MAX.to_le_bytes()),
            body(b"123"),
        ];
        let expected = [
            Item::Bytes(b""),
            Item::Bytes(b"a"),
            Item::Bytes(&[b's'; 63]),
            Item::Bytes(&mid),
            Item::Bytes(&long),
            Item::Bytes(&longest),
            Item::Bytes(b"hi"),
            Item::Int(0),
            Item::Int(12),
            Item::Int(-128),
            Item::Int(32767),
            Item::Int(-8_388_608),
            Item::Int(8_388_607),
            Item::Int(i32::MIN.into()),
            Item::Int(i64::MAX),
            Item::Int(123),
        ];
        for long in [false, true] {
            let bytes = ziplist(&bodies, long);
            assert_eq!(entries(&bytes).expect("valid"), expected);
        }
        assert_eq!(entries(&ziplist(&[], false)), Ok(vec![]));
    }

    #[test]
    fn many_entries_are_counted_by_a_walk() {
        let bodies = vec![int(0xf2, &[]); 70_000];
        let bytes = ziplist(&bodies, false);
        assert_eq!(bytes[8..10], [0xff, 0xff]);
        assert_eq!(entries(&bytes).expect("valid"), vec![Item::Int(1); 70_000]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let good = ziplist(&[body(b"ab"), int(0xfe, &[5]), body(b"c")], false);
        assert!(entries(&good).is_ok());
        let with = |at: usize, byte: u8| {
            let mut bad = good.clone();
            bad[at] = byte;
            entries(&bad).expect_err("corrupt").0
        };
        let last = good.len() - 1;
        assert!(with(0, 1).contains("size"));
        assert!(with(4, 14).contains("last entry"));
        assert!(with(8, 2).contains("count"));
        assert!(with(10, 1).contains("join"));
        assert!(with(10, END).contains("ends before"));
        assert!(with(14, 3).contains("join"));
        assert!(with(11, 1).contains("join"));
        assert!(with(11, 63).contains("past the end"));
        assert!(with(15, 0xc1).contains("unknown"));
        assert!(with(15, 0xff).contains("unknown"));
        assert!(with(last, 0).contains("no end"));
        let mut empty = ziplist(&[], false);
        empty[4] = 9;
        assert!(entries(&empty).is_err());
        // A length of four gigabytes, of which there are seven bytes.
        let huge = ziplist(&[int(0x80, &[0xff, 0xff, 0xff, 0xff, 0, 0])], false);
        assert_eq!(entries(&huge), Err(CUT_OFF));
    }

    #[test]
    fn truncation_is_always_found() {
        let bodies = [
            body(b"field"),
            body(&[b'v'; 300]),
            int(0xe0, &[7; 8]),
            int(0xfd, &[]),
        ];
        for long in [false, true] {
            let good = ziplist(&bodies, long);
            for len in 0..good.len() {
                assert!(entries(&good[..len]).is_err(), "{len}");
                // With a size and an end that fit, and every place for the last entry.
                let mut cut = good[..len].to_vec();
                if len <= HEADER {
                    continue;
                }
                cut[len - 1] = END;
                for tail in HEADER..len {
                    seal(&mut cut, tail, 4);
                    assert!(entries(&cut).is_err(), "{len} {tail}");
                }
            }
        }
    }

    #[test]
    fn mutations_are_found_or_harmless() {
        let good = ziplist(
            &[
                body(b"key"),
                int(0xc0, &[1, 2]),
                body(&[b'v'; 70]),
                int(0xf4, &[]),
                body(b"9"),
            ],
            false,
        );
        let mut refused = 0;
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bad = good.clone();
                bad[at] = byte;
                match entries(&bad) {
                    Err(_) => refused += 1,
                    Ok(items) => assert_eq!(items.len(), 5, "{at} {byte}"),
                }
            }
        }
        assert!(refused > 20 * 255, "{refused}");
        let mut rng = Rng::new([11, 12]);
        for _ in 0..100_000 {
            let len = HEADER + 1 + rng.index(14);
            let mut bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            bytes[len - 1] = END;
            let tail = HEADER + rng.index(len - HEADER);
            seal(&mut bytes, tail, 65535);
            bytes[HEADER] = 0;
            if let Ok(items) = entries(&bytes) {
                assert!(items.len() <= (len - HEADER - 1) / LEAST);
            }
        }
    }
}
