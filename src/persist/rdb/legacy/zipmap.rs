//! The zipmap: fields and values in turn, as small hashes were kept before Redis 2.6.
//!
//! One byte with the number of pairs (254: it has to be counted), then for each pair the length of
//! the field, the field, the length of the value, a byte that says how many unused bytes follow the
//! value, the value, and those bytes. `0xff` stands at the end. A length up to 253 takes one byte,
//! others `0xfe` and four bytes, little endian.

use super::{Corrupt, array};

/// The byte that ends a zipmap.
const END: u8 = 0xff;
/// The first byte of a length that takes four more, and the count that is unknown.
const LONG: u8 = 0xfe;
/// The least that a pair takes: two lengths and the number of unused bytes.
const LEAST: usize = 3;

/// A field and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// The fields of a zipmap with their values, in order. Whether a field is there twice is for the
/// caller to find out.
///
/// # Errors
/// When any part of the bytes does not fit the others.
pub fn pairs(bytes: &[u8]) -> Result<Vec<Pair<'_>>, Corrupt> {
    let [announced, pairs @ .., END] = bytes else {
        return Err(Corrupt("a zipmap is too short or has no end"));
    };
    let count = usize::from(*announced);
    let mut found = Vec::with_capacity(count.min(pairs.len() / LEAST));
    let mut rest = pairs;
    while !rest.is_empty() {
        found.push(pair(&mut rest)?);
    }
    if *announced != LONG && count != found.len() {
        return Err(Corrupt("a zipmap has another count than it says"));
    }
    Ok(found)
}

/// Takes one pair off the front.
fn pair<'a>(rest: &mut &'a [u8]) -> Result<Pair<'a>, Corrupt> {
    const CUT_OFF: Corrupt = Corrupt("a pair of a zipmap reaches past the end");
    let field_len = length(rest)?;
    let field = rest.split_off(..field_len).ok_or(CUT_OFF)?;
    let value_len = length(rest)?;
    let unused = *rest.split_off_first().ok_or(CUT_OFF)?;
    let value = rest.split_off(..value_len).ok_or(CUT_OFF)?;
    rest.split_off(..usize::from(unused)).ok_or(CUT_OFF)?;
    Ok((field, value))
}

/// Takes a length off the front.
fn length(rest: &mut &[u8]) -> Result<usize, Corrupt> {
    let (len, size) = match rest.first() {
        None => return Err(Corrupt("a zipmap has a field without a value")),
        Some(&END) => return Err(Corrupt("a zipmap ends before its end")),
        Some(&LONG) => {
            let len = array(rest, 1).ok_or(Corrupt("a zipmap ends within a length"))?;
            (u32::from_le_bytes(len) as usize, 5)
        }
        Some(&len) => (len.into(), 1),
    };
    *rest = &rest[size..];
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Rng;

    fn push_len(out: &mut Vec<u8>, len: usize, long: bool) {
        if len < 254 && !long {
            out.push(len as u8);
        } else {
            out.push(LONG);
            out.extend((len as u32).to_le_bytes());
        }
    }

    fn zipmap(pairs: &[(&[u8], &[u8])], unused: u8, long: bool) -> Vec<u8> {
        let mut out = vec![pairs.len().min(254) as u8];
        for (field, value) in pairs {
            push_len(&mut out, field.len(), long);
            out.extend(*field);
            push_len(&mut out, value.len(), long);
            out.push(unused);
            out.extend(*value);
            out.extend(vec![b'?'; unused.into()]);
        }
        out.push(END);
        out
    }

    #[test]
    fn pairs_are_read() {
        let (field, value) = ([b'f'; 253], [b'v'; 254]);
        let all: &[(&[u8], &[u8])] = &[
            (b"a", b"1"),
            (b"", b""),
            (&field, &value),
            (&value, b"\xff\xfe"),
        ];
        for unused in [0, 4, 255] {
            for long in [false, true] {
                let bytes = zipmap(all, unused, long);
                assert_eq!(pairs(&bytes).expect("valid"), all);
            }
        }
        assert_eq!(pairs(&[0, END]), Ok(vec![]));
        let many = vec![(&b"k"[..], &b"v"[..]); 1000];
        assert_eq!(pairs(&zipmap(&many, 0, false)).expect("valid"), many);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let good = zipmap(&[(b"ab", b"cd"), (b"e", b"f")], 1, false);
        assert!(pairs(&good).is_ok());
        let with = |at: usize, byte: u8| {
            let mut bad = good.clone();
            bad[at] = byte;
            pairs(&bad).expect_err("corrupt").0
        };
        assert!(with(0, 1).contains("count"));
        assert!(with(0, 255).contains("count"));
        assert!(with(1, END).contains("ends before"));
        assert!(with(1, 200).contains("past the end"));
        assert!(with(4, END).contains("ends before"));
        assert!(with(5, 200).contains("past the end"));
        assert!(with(good.len() - 1, 0).contains("no end"));
        for short in [&[][..], &[END], &[0], &[1, 1, END], &[254, 254, 1, 0, END]] {
            assert!(pairs(short).is_err(), "{short:?}");
        }
        assert!(pairs(&[1, LONG, 0xff, 0xff, 0xff, 0xff, 1, END]).is_err());
    }

    #[test]
    fn truncation_is_always_found() {
        for long in [false, true] {
            let good = zipmap(&[(b"field", b"value"), (b"g", &[b'w'; 300])], 2, long);
            for len in 0..good.len() {
                let mut cut = good[..len].to_vec();
                assert!(pairs(&cut).is_err(), "{len}");
                if let Some(last) = cut.last_mut() {
                    *last = END;
                    assert!(pairs(&cut).is_err(), "{len}");
                }
            }
        }
    }

    #[test]
    fn mutations_are_found_or_harmless() {
        let good = zipmap(
            &[(b"field", b"value"), (b"g", b"hh"), (b"", b"x")],
            2,
            false,
        );
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bad = good.clone();
                bad[at] = byte;
                if let Ok(found) = pairs(&bad) {
                    assert!(found.len() <= good.len() / LEAST);
                }
            }
        }
        let mut rng = Rng::new([13, 14]);
        for _ in 0..100_000 {
            let len = 2 + rng.index(14);
            let mut bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            bytes[0] = LONG;
            bytes[len - 1] = END;
            if let Ok(found) = pairs(&bytes) {
                assert!(found.len() <= len / LEAST);
            }
        }
    }
}
