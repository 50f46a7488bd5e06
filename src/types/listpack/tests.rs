//! Listpacks against bytes that Redis wrote, against a plain vector, and against corruption.

use super::*;
use crate::util::random::Rng;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

/// Texts at every border between two encodings.
fn borders() -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = [
        "a",
        "",
        "0",
        "127",
        "128",
        "-1",
        "-4096",
        "4095",
        "4096",
        "-32768",
        "32767",
        "32768",
        "-8388608",
        "8388607",
        "8388608",
        "-2147483648",
        "2147483647",
        "2147483648",
        "-9223372036854775808",
        "9223372036854775807",
        "9223372036854775808",
        "01",
        "-0",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    texts.push(vec![b'x'; 63]);
    texts.push(vec![b'y'; 64]);
    texts
}

/// What `DUMP` of a list of [`borders`] holds in Redis 7.0.15.
fn borders_in_redis() -> Vec<u8> {
    let mut hex = String::from(
        "080100001900\
         816102800100017f01c08002dfff02d00002cfff02f1001003f1008003f1ff7f03f200800004f20000\
         8004f2ffff7f04f30000800005f30000008005f3ffffff7f05f4000000800000000009f400000000000000\
         8009f4ffffffffffffff7f099339323233333732303336383534373735383038148230310382\
         2d3003bf",
    );
    hex.push_str(&"78".repeat(63));
    hex.push_str("40e040");
    hex.push_str(&"79".repeat(64));
    hex.push_str("42ff");
    unhex(&hex)
}

#[test]
fn the_bytes_are_those_of_redis() {
    let texts = borders();
    let mut one_by_one = Listpack::new();
    for text in &texts {
        one_by_one.push_back(text);
    }
    assert_eq!(one_by_one.as_bytes(), borders_in_redis());
    let bulk = Listpack::from_items(texts.iter().map(Item::from));
    assert_eq!(bulk, one_by_one);
    let mut appended = Listpack::new();
    appended.append(texts.iter().map(Item::from));
    assert_eq!(appended, one_by_one);
    let mut prepended = Listpack::new();
    prepended.prepend_each(texts.iter().rev().map(Item::from));
    assert_eq!(prepended, one_by_one);
    let read = Listpack::from_bytes(borders_in_redis()).expect("valid");
    assert!(read.iter().map(Item::to_vec).eq(texts.iter().cloned()));
    assert!(
        read.iter()
            .rev()
            .map(Item::to_vec)
            .eq(texts.into_iter().rev())
    );
}

#[test]
fn a_hash_is_pairs() {
    let hash = Listpack::from_bytes(unhex("14000000040081660201018167028374776f04ff"));
    let hash = hash.expect("valid");
    let at = hash.find_first(b"g", 1).expect("a field");
    let value = hash.next(at).expect("its value");
    assert!(hash.at(value).is(b"two"));
    assert_eq!(hash.find_first(b"two", 1), None);
    assert_eq!(
        hash.find_first(b"1", 0).map(|at| hash.at(at)),
        Some(Item::Int(1))
    );
}

#[test]
fn long_entries_have_the_backlens_of_redis() {
    // Text length, encoding bytes and backlen, as DUMP shows them.
    let cases: &[(usize, &[u8], &[u8])] = &[
        (120, &[0xe0, 0x78], &[0x7a]),
        (126, &[0xe0, 0x7e], &[0x01, 0x80]),
        (4095, &[0xef, 0xff], &[0x20, 0x81]),
        (4096, &[0xf0, 0x00, 0x10, 0, 0], &[0x20, 0x85]),
        (16_400, &[0xf0, 0x10, 0x40, 0, 0], &[0x01, 0x80, 0x95]),
    ];
    for (len, head, backlen) in cases {
        let text = vec![b'z'; *len];
        let entry = [head, &text[..], backlen].concat();
        let mut list = Listpack::new();
        list.push_back(&text);
        assert_eq!(list.as_bytes()[6..list.bytes() - 1], entry);
    }
    // The last size of a two-byte backlen is odd: 16382.
    for (text, backlen) in [(16_377, 2), (16_378, 3)] {
        assert_eq!(
            Item::Bytes(&vec![0; text]).encoded_len(),
            text + 5 + backlen
        );
    }
}

#[test]
fn indexes_count_from_both_ends() {
    let list = Listpack::from_items((0..10).map(Item::Int));
    for index in 0..10 {
        assert_eq!(list.get(index), Some(Item::Int(index)));
        assert_eq!(list.get(index - 10), Some(Item::Int(index)));
    }
    for index in [10, -11, i64::MIN, i64::MAX] {
        assert_eq!(list.get(index), None);
    }
    assert_eq!(Listpack::new().get(-1), None);
    assert_eq!(Listpack::new().last(), None);
}

/// A text that is often short, often a number, and sometimes long.
fn text(rng: &mut Rng) -> Vec<u8> {
    match rng.below(10) {
        0..4 => (rng.next_u64() as i64 >> rng.below(64)).to_string().into(),
        4..9 => vec![b'a' + rng.below(4) as u8; rng.index(8)],
        _ => vec![b'k'; rng.index(5000)],
    }
}

#[test]
fn edits_match_a_vector() {
    let mut rng = Rng::new([1, 2]);
    for _ in 0..60 {
        let mut list = Listpack::new();
        let mut model: Vec<Vec<u8>> = Vec::new();
        for _ in 0..120 {
            let value = text(&mut rng);
            let index = rng.index(model.len());
            let at = list.seek(index as i64);
            match (rng.below(9), at) {
                (0 | 1, _) => {
                    list.push_back(&value);
                    model.push(value);
                }
                (2, _) => {
                    list.push_front(&value);
                    model.insert(0, value);
                }
                (3, Some(at)) => {
                    list.insert_before(at, &value);
                    model.insert(index, value);
                }
                (4, Some(at)) => {
                    let new = list.insert_after(at, &value);
                    assert!(list.at(new).is(&value));
                    model.insert(index + 1, value);
                }
                (5, Some(at)) => {
                    list.replace(at, &value);
                    model[index] = value;
                }
                (6, Some(at)) => {
                    let next = list.delete(at);
                    model.remove(index);
                    assert_eq!(next, list.seek(index as i64));
                }
                (7, Some(_)) => {
                    let count = rng.index(4);
                    let last = (index + count).min(model.len());
                    assert_eq!(list.delete_range(index as i64, count), last - index);
                    model.drain(index..last);
                }
                (_, Some(_)) => {
                    let found = list.find_first(&value, 0);
                    let expected = model.iter().position(|other| *other == value);
                    assert_eq!(found, expected.and_then(|at| list.seek(at as i64)));
                }
                _ => assert!(model.is_empty()),
            }
            assert_eq!(raw::validate(list.as_bytes()), Some(model.len()));
            assert_eq!(list.len(), model.len());
            assert!(list.iter().map(Item::to_vec).eq(model.iter().cloned()));
        }
        let cut: Vec<Pos> = list.positions().step_by(2).map(|(at, _)| at).collect();
        list.delete_each(&cut);
        let rest = model.into_iter().skip(1).step_by(2);
        assert!(list.iter().map(Item::to_vec).eq(rest));
        assert!(raw::validate(list.as_bytes()).is_some());
    }
}

#[test]
fn many_elements_are_counted_by_a_walk() {
    let mut list = Listpack::from_items((0..65_534).map(Item::Int));
    assert_eq!(list.len(), 65_534);
    list.push_back(1);
    list.push_back(2);
    assert_eq!(list.as_bytes()[4..6], [0xff, 0xff]);
    assert_eq!(list.len(), 65_536);
    assert_eq!(list.get(-1), Some(Item::Int(2)));
    assert!(Listpack::from_bytes(list.as_bytes()).is_ok());
    list.delete_range(0, 65_530);
    assert_eq!(list.len(), 6);
}

#[test]
fn any_corruption_is_found_or_harmless() {
    let good = borders_in_redis();
    let mut refused = 0;
    for at in 0..good.len() {
        for flip in [1, 0x80, 0x40, 0xff, 0x0f] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            match Listpack::from_bytes(bad) {
                Err(Corrupt) => refused += 1,
                // Other text or another number: still a listpack, which can be read and edited.
                Ok(mut list) => {
                    assert_eq!(list.iter().count(), 25);
                    assert_eq!(list.iter().rev().count(), 25);
                    list.push_front(b"x");
                    assert_eq!(list.delete_range(0, 100), 26);
                }
            }
        }
    }
    assert!(refused > 250, "{refused}");
    for len in 0..good.len() {
        assert!(Listpack::from_bytes(&good[..len]).is_err());
        let mut cut = good[..len].to_vec();
        if len >= 7 {
            cut[..4].copy_from_slice(&(len as u32).to_le_bytes());
            cut[len - 1] = 0xff;
            assert!(Listpack::from_bytes(cut).is_err());
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = Rng::new([3, 4]);
    let mut valid = 0;
    for _ in 0..200_000 {
        let len = 7 + rng.index(12);
        let mut bytes: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
        bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
        bytes[4..6].copy_from_slice(&[0xff, 0xff]);
        bytes[len - 1] = 0xff;
        if let Ok(list) = Listpack::from_bytes(bytes) {
            valid += 1;
            assert_eq!(list.iter().count(), list.iter().rev().count());
        }
    }
    assert!(valid > 100, "{valid}");
}

/// Reads and edits a listpack in every way there is, next to a plain vector.
fn exercise(mut list: Listpack, rng: &mut Rng) {
    let mut model: Vec<Vec<u8>> = list.iter().map(Item::to_vec).collect();
    assert_eq!(
        (list.len(), list.is_empty()),
        (model.len(), model.is_empty())
    );
    let backward = list.iter().rev().map(Item::to_vec);
    assert!(backward.eq(model.iter().rev().cloned()));
    for (index, text) in model.iter().enumerate() {
        assert!(list.get(index as i64).is_some_and(|item| item.is(text)));
        let found = list.find_first(text, 0).expect("a text that is there");
        assert!(list.at(found).is(text));
        assert!(list.find(found, text, 1).is_some());
    }
    list.push_front(b"front");
    list.push_back(b"70000");
    model.insert(0, b"front".to_vec());
    model.push(b"70000".to_vec());
    for _ in 0..4 {
        let index = rng.index(model.len());
        let Some(at) = list.seek(index as i64) else {
            break;
        };
        match rng.below(4) {
            0 => {
                list.replace(at, b"other");
                model[index] = b"other".to_vec();
            }
            1 => {
                list.insert_before(at, 5);
                model.insert(index, b"5".to_vec());
            }
            2 => {
                list.insert_after(at, b"");
                model.insert(index + 1, Vec::new());
            }
            _ => {
                list.delete(at);
                model.remove(index);
            }
        }
    }
    assert!(list.iter().map(Item::to_vec).eq(model.iter().cloned()));
    let cut: Vec<Pos> = list.positions().step_by(3).map(|(at, _)| at).collect();
    list.delete_each(&cut);
    assert_eq!(
        raw::validate(list.as_bytes()),
        Some(model.len() - cut.len())
    );
}

#[test]
fn whatever_is_taken_can_be_used() {
    let mut rng = Rng::new([7, 8]);
    let good = borders_in_redis();
    let mut taken = 0;
    let mut try_out = |bytes: Vec<u8>, rng: &mut Rng| {
        if let Ok(list) = Listpack::from_bytes(bytes) {
            taken += 1;
            exercise(list, rng);
        }
    };
    for at in 0..good.len() {
        for byte in 0..=255 {
            let mut bad = good.clone();
            bad[at] = byte;
            try_out(bad, &mut rng);
        }
    }
    // Short ones, in which bytes that mean something meet more often: a run of entries that are
    // whole, some of them with one byte changed.
    let parts: [&[u8]; 9] = [
        &[5, 1],
        &[0x81, b'x', 2],
        &[0x80, 1],
        &[0xdf, 0xff, 2],
        &[0xe0, 1, b'y', 3],
        &[0xf0, 0, 0, 0, 0, 5],
        &[0xf0, 1, 0, 0, 0, b'z', 6],
        &[0xf1, 2, 0, 3],
        &[0xf4, 7, 0, 0, 0, 0, 0, 0, 0, 9],
    ];
    for _ in 0..100_000 {
        let mut bytes = vec![0; 6];
        let count = rng.index(6);
        (0..count).for_each(|_| bytes.extend(parts[rng.index(parts.len())]));
        if rng.below(2) == 0 {
            let at = rng.index(bytes.len());
            bytes[at] = rng.next_u64() as u8;
        }
        bytes.push(0xff);
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        let announced = [count as u16, u16::MAX, 1][rng.index(3)];
        bytes[4..6].copy_from_slice(&announced.to_le_bytes());
        try_out(bytes, &mut rng);
    }
    assert!(taken > 40_000, "{taken}");
}
