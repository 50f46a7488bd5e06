//! Payloads of every layout, cut off, changed and spoiled at random. Most are refused; what is not
//! must do for everything that commands do with a value.

use super::*;
use crate::types::stream::{Keep, NewId, Trim};
use crate::util::random::Rng;

/// One payload of each layout.
fn samples() -> Vec<(u8, Vec<u8>)> {
    let ziplist = b"\x10\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01a\x03\xf2\xff";
    let mut samples: Vec<(u8, Vec<u8>)> = FROM_REDIS
        .iter()
        .map(|(payload, _)| unhex(payload))
        .map(|payload| (payload[0], payload[1..].to_vec()))
        .collect();
    samples.extend([
        (tag::LIST, b"\x03\x01a\xc0\x05\x01a".to_vec()),
        (tag::SET, b"\x03\xc0\x05\x013\xc1\x00\x10".to_vec()),
        (tag::ZSET, b"\x03\x01a\x031.5\x01b\xfe\x01c\xff".to_vec()),
        (tag::SET_LISTPACK, pack(&["b", "7", "a"])),
        (
            tag::HASH_LISTPACK,
            pack(&["b", "-5000", "a", &"x".repeat(70)]),
        ),
        (tag::ZSET_LISTPACK, pack(&["b", "7", "a", "8.5"])),
        (tag::LIST_ZIPLIST, ziplist.to_vec()),
        (tag::HASH_ZIPLIST, ziplist.to_vec()),
        (tag::ZSET_ZIPLIST, ziplist.to_vec()),
        (
            tag::LIST_QUICKLIST,
            [&b"\x02"[..], ziplist, ziplist].concat(),
        ),
        (tag::HASH_ZIPMAP, b"\x07\x01\x01a\x01\x00b\xff".to_vec()),
        (
            tag::HASH_METADATA,
            b"\x40\x42\x0f\0\0\0\0\0\x02\x00\x01a\x011\x01\x01b\x012".to_vec(),
        ),
        (
            tag::HASH_LISTPACK_EX,
            [
                b"\x40\x42\x0f\0\0\0\0\0",
                &pack(&["a", "1", "1000000", "b", "2", "0"])[..],
            ]
            .concat(),
        ),
    ]);
    for tag in STREAM_TAGS {
        let one = group(tag, "one", &[5, 6], &[("alice", &[6]), ("bob", &[5])]);
        samples.push((tag, stream(tag, &[one])));
    }
    samples
}

/// Reads what may be spoiled, and does what commands do with the value, if there is one.
fn attempt(tag: u8, bytes: &[u8], deep: bool) {
    for limits in [&LIMITS, &NONE] {
        let mut input = Input::new(bytes);
        let _ = skip::value(tag, bytes);
        match value(tag, &mut input, limits, deep) {
            Ok(value) => {
                let end = skip::value(tag, bytes);
                assert_eq!(end, Ok(input.position()), "{tag} {bytes:?}");
                handle(value, limits);
            }
            Err(error) => assert!(error.offset <= bytes.len() as u64, "{error}"),
        }
    }
}

/// Reads and changes a value in many ways.
pub(super) fn handle(value: Value, limits: &Limits) {
    let before = show(&value);
    let copy = value.duplicate();
    assert_eq!(show(&copy), before);
    assert!(value.memory(0) < 1 << 20 && value.memory(5) < 1 << 20);
    value.free_effort();
    let mut rng = Rng::new([5, 7]);
    match value {
        Value::List(mut list) => {
            list.push(End::Head, b"new", &limits.list);
            list.push(End::Tail, b"new", &limits.list);
            list.set(1, b"other", &limits.list);
            list.insert(b"other", b"before", false, &limits.list);
            list.positions(b"new", -1, 0, 0);
            list.remove_matching(b"a", 0, &limits.list);
            while list.pop(End::Tail, &limits.list, |_| ()).is_some() {}
            assert!(list.is_empty());
        }
        Value::Set(mut set) => {
            set.add(b"new", limits.set);
            set.add(b"12", limits.set);
            set.random(&mut rng);
            set.remove(b"a");
            set.compact(limits.set);
            while set.pop(&mut rng).is_some() {}
            assert!(set.is_empty());
        }
        Value::ZSet(mut zset) => {
            zset.set(b"new", 5.5, limits.zset);
            zset.set(b"a", f64::INFINITY, limits.zset);
            zset.rank(b"new", true);
            zset.down(zset.len()).for_each(drop);
            zset.remove(b"b");
            zset.compact(limits.zset);
            while zset.pop_min().is_some() {}
            assert!(zset.is_empty());
        }
        Value::Hash(mut hash) => {
            hash.set(b"new", b"value", limits.hash);
            hash.set(b"a", &[b'x'; 100], limits.hash);
            hash.set_deadline(b"new", 50);
            hash.random(&mut rng);
            hash.expire_due(i64::MAX >> 10, 2);
            let fields: Vec<Vec<u8>> = hash.iter().map(|(field, _)| field.to_vec()).collect();
            fields.iter().for_each(|field| {
                hash.remove(field);
            });
            assert!(hash.is_empty());
        }
        Value::Stream(mut stream) => {
            let log = &mut stream.log;
            let ids: Vec<StreamId> = log.iter().map(|entry| entry.id).collect();
            let back = log.range(StreamId::MIN, StreamId::MAX, true);
            assert!(back.map(|entry| entry.id).eq(ids.iter().rev().copied()));
            let small = crate::types::stream::Limits {
                bytes: 100,
                entries: 2,
            };
            for _ in 0..3 {
                let words = [&b"f"[..], b"v"];
                let _ = log.append(NewId::Auto, words.into_iter(), 5, small);
            }
            for group in stream.groups.values_mut() {
                group.lag(log);
                for id in &ids {
                    group.acknowledge(*id);
                }
                group.advance(log, log.last_id);
                group.remove_consumer(b"alice");
            }
            if let Some(first) = ids.first() {
                assert!(log.delete(*first) && !log.delete(*first));
            }
            log.trim(Trim {
                keep: Keep::Last(2),
                approximate: false,
                limit: 0,
            });
            ids.iter().for_each(|id| {
                log.delete(*id);
            });
            log.trim(Trim {
                keep: Keep::Last(0),
                approximate: false,
                limit: 0,
            });
            assert!(log.is_empty() && log.iter().next().is_none());
        }
        mut other => {
            string::make_raw(&mut other, 100)
                .expect("a string")
                .push(b'!');
        }
    }
}

#[test]
fn payloads_cut_off() {
    for (tag, bytes) in samples() {
        attempt(tag, &bytes, true);
        for len in 0..bytes.len() {
            let cut = &bytes[..len];
            assert!(
                value(tag, &mut Input::new(cut), &LIMITS, true).is_err(),
                "{tag} {len}"
            );
            match skip::value(tag, cut) {
                Err(skip::Need::More(wanted)) => assert!(wanted > len && wanted <= bytes.len()),
                other => panic!("{tag} {len}: {other:?}"),
            }
        }
    }
}

#[test]
fn payloads_with_a_changed_byte() {
    for (tag, bytes) in samples() {
        for at in 0..bytes.len() {
            let mut spoiled = bytes.clone();
            for value in 0..=255 {
                spoiled[at] = value;
                attempt(tag, &spoiled, value % 2 == 0);
            }
        }
    }
}

#[test]
fn payloads_under_other_tags() {
    for (_, bytes) in samples() {
        for tag in 0..=30 {
            attempt(tag, &bytes, true);
        }
    }
}

/// Spoils payloads at random.
fn storm(rounds: u64, seed: u64) {
    const ODD: [u8; 12] = [
        0, 1, 2, 0x3f, 0x40, 0x7f, 0x80, 0x81, 0xc0, 0xc3, 0xf4, 0xff,
    ];
    let samples = samples();
    let mut rng = Rng::new([seed, 11]);
    for _ in 0..rounds {
        let (tag, bytes) = &samples[rng.index(samples.len())];
        let mut bytes = bytes.clone();
        for _ in 0..=rng.below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = rng.index(bytes.len());
            match rng.below(7) {
                0 => bytes[at] = rng.next_u64() as u8,
                1 => bytes[at] = ODD[rng.index(ODD.len())],
                2 => bytes[at] ^= 1 << rng.below(8),
                3 => bytes.insert(at, ODD[rng.index(ODD.len())]),
                4 => drop(bytes.remove(at)),
                5 => {
                    let other = &samples[rng.index(samples.len())].1;
                    let from = rng.index(other.len());
                    let to = from + rng.index(other.len() - from + 1);
                    bytes.splice(at..at, other[from..to].iter().copied());
                }
                _ => {
                    let end = at + rng.index((bytes.len() - at).min(8) + 1);
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
            }
        }
        attempt(*tag, &bytes, rng.below(2) == 0);
    }
}

#[test]
fn payloads_spoiled_at_random() {
    storm(20_000, 1);
}

#[test]
#[ignore = "takes minutes"]
fn payloads_spoiled_a_million_times() {
    storm(1_000_000, 2);
}
