//! Tests of streams, against a plain map where the content matters.

use super::block::Block;
use super::*;
use crate::types::listpack::{Item, Listpack};
use crate::util::random::Rng;

const LIMITS: Limits = Limits {
    bytes: 4096,
    entries: 100,
};

fn limits(entries: usize) -> Limits {
    Limits { entries, ..LIMITS }
}

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId::new(ms, seq)
}

fn add(log: &mut Log, id: StreamId, words: &[&str], limits: Limits) {
    let words = words.iter().map(|word| word.as_bytes());
    let added = log.append(NewId::Exact(id), words, 0, limits);
    assert_eq!(added, Ok(id));
}

fn filled(count: u64, per_block: usize) -> Log {
    let mut log = Log::default();
    for n in 1..=count {
        add(
            &mut log,
            id(n, 0),
            &["f", &n.to_string()],
            limits(per_block),
        );
    }
    log
}

fn ids(log: &Log) -> Vec<u64> {
    log.iter().map(|entry| entry.id.ms).collect()
}

fn trim(keep: Keep, approximate: bool, limit: usize) -> Trim {
    Trim {
        keep,
        approximate,
        limit,
    }
}

#[test]
fn ids_from_and_to_text() {
    let parse = |text: &str| StreamId::parse(text.as_bytes(), 7);
    assert_eq!(parse("5-3"), Some(id(5, 3)));
    assert_eq!(parse("5"), Some(id(5, 7)));
    assert_eq!(parse("05- 3"), Some(id(5, 3)));
    assert_eq!(
        parse("18446744073709551615-18446744073709551615"),
        Some(StreamId::MAX)
    );
    for bad in [
        "",
        "-",
        "+",
        "-1",
        "5-",
        "5-*",
        "*",
        "a",
        "5-3-1",
        "18446744073709551616",
    ] {
        assert_eq!(parse(bad), None, "{bad}");
    }
    assert_eq!(StreamId::parse(&[b'1'; 128], 0), None);
    assert_eq!(StreamId::parse_bound(b"-", 7), Some(StreamId::MIN));
    assert_eq!(StreamId::parse_bound(b"+", 7), Some(StreamId::MAX));
    assert_eq!(NewId::parse(b"*"), Some(NewId::Auto));
    assert_eq!(NewId::parse(b"5-*"), Some(NewId::AutoSeq(5)));
    assert_eq!(NewId::parse(b"5-1"), Some(NewId::Exact(id(5, 1))));
    for bad in ["-*", "*-*", "1-2-*", "*-1", "+"] {
        assert_eq!(NewId::parse(bad.as_bytes()), None, "{bad}");
    }
    let mut scratch = [0; ID_TEXT];
    assert_eq!(id(5, 0).text(&mut scratch), b"5-0");
    assert_eq!(StreamId::MAX.text(&mut scratch).len(), ID_TEXT);
}

#[test]
fn ids_have_neighbours() {
    assert_eq!(id(5, 0).next(), Some(id(5, 1)));
    assert_eq!(id(5, u64::MAX).next(), Some(id(6, 0)));
    assert_eq!(StreamId::MAX.next(), None);
    assert_eq!(id(5, 0).prev(), Some(id(4, u64::MAX)));
    assert_eq!(StreamId::MIN.prev(), None);
    assert!(id(5, 9) < id(6, 0) && id(5, 1) < id(5, 2));
}

#[test]
fn generated_ids_only_grow() {
    let mut log = Log::default();
    let mut add = |wanted, now| {
        let words = ["f", "v"].iter().map(|word| word.as_bytes());
        log.append(wanted, words, now, LIMITS)
    };
    assert_eq!(add(NewId::AutoSeq(0), 0), Ok(id(0, 1)));
    assert_eq!(add(NewId::Auto, 10), Ok(id(10, 0)));
    // The clock stands still, or goes back.
    assert_eq!(add(NewId::Auto, 10), Ok(id(10, 1)));
    assert_eq!(add(NewId::Auto, 3), Ok(id(10, 2)));
    assert_eq!(add(NewId::Auto, -3), Ok(id(10, 3)));
    assert_eq!(add(NewId::AutoSeq(10), 0), Ok(id(10, 4)));
    assert_eq!(add(NewId::AutoSeq(9), 0), Err(Refused::NotGreater));
    assert_eq!(add(NewId::AutoSeq(11), 0), Ok(id(11, 0)));
    let edge = id(11, u64::MAX);
    assert_eq!(add(NewId::Exact(edge), 0), Ok(edge));
    assert_eq!(add(NewId::AutoSeq(11), 0), Err(Refused::NotGreater));
    assert_eq!(add(NewId::Auto, 0), Ok(id(12, 0)));
    assert_eq!(add(NewId::Exact(StreamId::MAX), 0), Ok(StreamId::MAX));
    assert_eq!(add(NewId::Auto, 0), Err(Refused::NotGreater));
}

#[test]
fn a_block_has_the_layout_of_redis() {
    let mut log = Log::default();
    add(&mut log, id(10, 5), &["f", "1", "g", "x"], LIMITS);
    add(&mut log, id(12, 1), &["f", "2", "g", "y"], LIMITS);
    add(&mut log, id(13, 5), &["h", "3"], LIMITS);
    let (first, block) = log.blocks().next().expect("a block");
    assert_eq!(first, id(10, 5));
    let packed = Listpack::from_bytes(block.as_bytes()).expect("a listpack");
    let items: Vec<Vec<u8>> = packed.iter().map(Item::to_vec).collect();
    let expected = "3 0 2 f g 0 2 0 0 1 x 5 2 2 -4 2 y 5 0 3 0 1 h 3 6";
    let expected: Vec<&[u8]> = expected.split(' ').map(str::as_bytes).collect();
    assert_eq!(items, expected);
    assert!(log.delete(id(12, 1)) && !log.delete(id(12, 1)));
    let (_, block) = log.blocks().next().expect("a block");
    let packed = Listpack::from_bytes(block.as_bytes()).expect("a listpack");
    assert_eq!(packed.get(0), Some(Item::Int(2)));
    assert_eq!(packed.get(1), Some(Item::Int(1)));
    assert_eq!(packed.get(12), Some(Item::Int(3)), "deleted, same fields");
    assert_eq!(log.max_deleted, id(12, 1));
    assert!(Block::from_bytes(block.as_bytes().to_vec()).is_ok());
}

fn block(text: &str) -> Result<Block, Corrupt> {
    let words = text.split(' ').filter(|word| !word.is_empty());
    let items = words.map(|word| Item::of(word.as_bytes()));
    Block::from_bytes(Listpack::from_items(items).into_bytes())
}

#[test]
fn blocks_from_elsewhere_are_checked() {
    let good = "2 1 1 f 0 2 0 0 x 4 3 1 0 y 4 0 2 0 1 g z 6";
    let bad = [
        "",
        "1 0 1 f 0",
        "0 0 0 0",
        "1 0 1 f 1 2 0 0 x 4",
        "1 0 1 f 0 2 0 0 x 5",
        "1 0 1 f 0 2 0 0 x",
        "1 0 2 f 0 2 0 0 x 4",
        "1 0 1 f 0 0 0 0 9 x 4",
        "1 0 1 f 0 a 0 0 x 4",
        "x 0 1 f 0 2 0 0 x 4",
        "1 1 1 f 0 2 0 0 x 4",
        "1 0 9223372036854775807 f 0 2 0 0 x 4",
        "1 0 1 f 0 0 0 0 9223372036854775807 x 4",
        "1 0 1 f 0 0 0 0 0 4",
        "1 0 1 f 0 4 0 0 1 g x 6",
        "1 0 1 f 0 -1 0 0 x 4",
        "0 0 1 f 0",
        "-1 0 1 f 0",
    ];
    assert!(block(good).is_ok());
    for text in bad {
        assert!(block(text).is_err(), "{text}");
    }
}

#[test]
fn flags_of_more_than_a_byte_are_refused() {
    // The same number in two bytes and in nine: to mark the entry as deleted would tear the
    // listpack apart.
    for wide in [&[0xc0, 2, 2][..], &[0xf4, 2, 0, 0, 0, 0, 0, 0, 0, 9]] {
        let good = block("1 0 1 f 0 2 0 0 x 4").expect("a block");
        let mut bytes = good.as_bytes().to_vec();
        let flags = good.start();
        bytes.splice(flags..flags + 2, wide.iter().copied());
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        assert!(Listpack::from_bytes(bytes.clone()).is_ok());
        assert!(Block::from_bytes(bytes).is_err());
    }
}

#[test]
fn ids_of_blocks_from_elsewhere_ascend() {
    let two = |ms: i64, seq: i64| {
        let text = format!("2 0 1 f 0 2 0 0 x 4 2 {ms} {seq} y 4");
        block(&text).expect("a block")
    };
    for (ms, seq, fits) in [
        (0, 1, true),
        (1, -5, true),
        (i64::MAX, 0, true),
        (0, 0, false),
        (0, -1, false),
        (-1, 0, false),
        // Past the greatest id and round to the lowest again.
        (-5, 3, false),
        (0, -6, true),
    ] {
        let mut log = Log::default();
        let added = log.append_block(id(5, 5), two(ms, seq));
        assert_eq!(added.is_ok(), fits, "{ms} {seq}");
    }
    let mut log = Log::default();
    assert_eq!(log.append_block(id(5, 0), two(2, 0)), Ok(()));
    for first in [id(4, 0), id(5, 0), id(6, 0), id(7, 0)] {
        assert_eq!(
            log.append_block(first, two(1, 0)),
            Err(Corrupt),
            "{first:?}"
        );
    }
    assert_eq!(log.append_block(id(7, 1), two(1, 0)), Ok(()));
    log.last_id = id(8, 0);
    assert_eq!(log.complete(), Err(Corrupt));
    log.last_id = id(8, 1);
    assert_eq!(log.complete(), Ok(()));
    assert_eq!((log.len(), log.first_id), (4, id(5, 0)));
    let mut late = Log::default();
    let start = "1 0 1 f 0 2 -1 0 x 4";
    let early = block(start).expect("a block");
    assert_eq!(late.append_block(id(5, 0), early), Err(Corrupt));
}

/// Uses a stream in every way there is.
fn exercise(log: &mut Log) {
    let forward: Vec<StreamId> = log.iter().map(|entry| entry.id).collect();
    let mut backward: Vec<StreamId> = log
        .range(StreamId::MIN, StreamId::MAX, true)
        .map(|entry| entry.id)
        .collect();
    backward.reverse();
    assert_eq!(forward, backward);
    assert_eq!(forward.len(), log.len());
    assert!(forward.is_sorted_by(|a, b| a < b));
    for entry in log.iter() {
        assert_eq!(entry.fields().len(), entry.fields().count());
    }
    let words: [&[u8]; 2] = [b"f", b"new"];
    if let Some(next) = log.last_id.next() {
        let added = log.append(NewId::Exact(next), words.into_iter(), 0, LIMITS);
        assert_eq!(added, Ok(next));
    }
    let mut left = log.len();
    for (n, &id) in forward.iter().enumerate() {
        assert!(log.get(id).is_some());
        if n % 2 == 0 {
            assert!(log.delete(id) && log.get(id).is_none());
            left -= 1;
        }
    }
    assert_eq!((log.len(), log.iter().count()), (left, left));
    for (first, block) in log.blocks() {
        assert!(Block::from_bytes(block.as_bytes().to_vec()).is_ok());
        assert!(block.check_ids(first).is_some());
    }
    log.trim(trim(Keep::Last(1), false, 0));
    assert_eq!(log.iter().count(), left.min(1));
    log.trim(trim(Keep::From(StreamId::MAX), false, 0));
}

#[test]
fn any_corruption_of_a_block_is_found_or_harmless() {
    let mut source = Log::default();
    add(&mut source, id(10, 5), &["f", "1", "g", "x"], LIMITS);
    add(&mut source, id(12, 1), &["f", "200", "g", "y"], LIMITS);
    add(&mut source, id(13, 5), &["h", "3"], LIMITS);
    add(
        &mut source,
        id(70_000, 0),
        &["f", "", "g", "-70000"],
        LIMITS,
    );
    source.delete(id(12, 1));
    let (first, good) = source.blocks().next().expect("a block");
    let good = good.as_bytes();
    let (mut refused, mut taken) = (0, 0);
    let mut try_out = |bytes: Vec<u8>| {
        let mut log = Log::default();
        let added = Block::from_bytes(bytes).and_then(|block| log.append_block(first, block));
        if added.is_err() {
            refused += 1;
            return;
        }
        log.last_id = log.last_in_blocks().expect("an entry");
        log.complete().expect("ids that fit");
        taken += 1;
        exercise(&mut log);
    };
    for at in 0..good.len() {
        try_out(good[..at].to_vec());
        for byte in 0..=255 {
            let mut bad = good.to_vec();
            bad[at] = byte;
            try_out(bad);
        }
    }
    // Several bytes at once, and elements that come twice or not at all.
    let mut rng = Rng::new([21, 22]);
    let packed = Listpack::from_bytes(good).expect("a listpack");
    for _ in 0..50_000 {
        let mut bad = packed.clone();
        for _ in 0..1 + rng.index(3) {
            let at = bad.seek(rng.index(bad.len()) as i64).expect("an element");
            match rng.below(4) {
                0 => drop(bad.delete(at)),
                1 => bad.replace(at, rng.below(6) as i64 - 1),
                2 => drop(bad.insert_after(at, rng.below(4) as i64)),
                _ => bad.replace(at, b"word"),
            }
        }
        let mut bytes = bad.into_bytes();
        if rng.below(4) == 0 {
            let at = rng.index(bytes.len());
            bytes[at] = rng.next_u64() as u8;
        }
        try_out(bytes);
    }
    assert!(refused > 20_000 && taken > 1000, "{refused} {taken}");
}

#[test]
fn fields_come_back_as_they_were() {
    let mut log = Log::default();
    let long = "x".repeat(5000);
    let all: [&[&str]; 6] = [
        &["f", "1", "g", "-1"],
        &["f", "", "g", "007"],
        &["g", "1", "f", "2"],
        &["f", &long],
        &["12", "13", "14", "15"],
        &["f", "9223372036854775807", "g", "\r\n"],
    ];
    for (n, words) in all.iter().enumerate() {
        add(&mut log, id(n as u64 + 1, 0), words, LIMITS);
    }
    for (entry, words) in log.iter().zip(all) {
        let fields = entry.fields();
        assert_eq!(fields.len(), words.len() / 2);
        let flat: Vec<Vec<u8>> = fields
            .flat_map(|(field, value)| [field.to_vec(), value.to_vec()])
            .collect();
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        assert_eq!(flat, words);
    }
}

#[test]
fn ranges_run_both_ways() {
    let log = filled(35, 10);
    assert_eq!(log.blocks().len(), 4);
    for (start, end) in [
        (0, 100),
        (1, 35),
        (10, 11),
        (11, 11),
        (9, 22),
        (36, 40),
        (5, 4),
        (0, 0),
    ] {
        let expected: Vec<u64> = (1..=35).filter(|n| (start..=end).contains(n)).collect();
        let range = |backward| {
            let range = log.range(id(start, 0), id(end, 0), backward);
            range.map(|entry| entry.id.ms).collect::<Vec<_>>()
        };
        assert_eq!(range(false), expected);
        let mut back = range(true);
        back.reverse();
        assert_eq!(back, expected);
    }
    assert!(log.get(id(20, 0)).is_some() && log.get(id(20, 1)).is_none());
    assert!(log.get(StreamId::MIN).is_none() && log.get(StreamId::MAX).is_none());
    assert_eq!(log.edge(true), Some(id(35, 0)));
    assert!(log.has_after(id(34, 9)) && !log.has_after(id(35, 0)));
}

#[test]
fn trimming_goes_as_far_as_it_may() {
    let mut log = filled(35, 10);
    assert_eq!(log.trim(trim(Keep::Last(28), true, 0)), 0);
    assert_eq!(log.trim(trim(Keep::Last(25), true, 0)), 10);
    assert_eq!(log.first_id, id(11, 0));
    assert_eq!(log.trim(trim(Keep::Last(23), false, 0)), 2);
    assert_eq!((log.len(), log.first_id), (23, id(13, 0)));
    assert_eq!(log.trim(trim(Keep::Last(0), true, 7)), 0);
    assert_eq!(log.trim(trim(Keep::Last(0), true, 8)), 8);
    assert_eq!(log.trim(trim(Keep::From(id(25, 0)), true, 0)), 0);
    assert_eq!(log.trim(trim(Keep::From(id(25, 0)), false, 0)), 4);
    assert_eq!(log.trim(trim(Keep::From(id(31, 0)), true, 0)), 6);
    assert_eq!(ids(&log), [31, 32, 33, 34, 35]);
    // What is trimmed is not remembered as deleted.
    assert_eq!(log.max_deleted, StreamId::MIN);
    assert_eq!(log.trim(trim(Keep::Last(0), false, 0)), 5);
    assert_eq!((log.len(), log.first_id), (0, StreamId::MIN));
    assert_eq!((log.blocks().len(), log.entries_added), (0, 35));
    assert_eq!(log.last_id, id(35, 0));
}

#[test]
fn deletions_and_trims_agree_with_a_plain_list() {
    let mut random = 88172645463325252u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for per_block in [1, 3, 200] {
        let (mut log, mut plain) = (Log::default(), Vec::new());
        for n in 1..=3000 {
            add(&mut log, id(n, 0), &["f", "v"], limits(per_block));
            plain.push(n);
            if next(3) == 0 {
                let gone = n - next(n.min(300));
                let at = plain.iter().position(|&n| n == gone);
                assert_eq!(log.delete(id(gone, 0)), at.is_some());
                at.map(|at| plain.remove(at));
            }
            if next(50) == 0 {
                let keep = plain.len().min(next(200) as usize + 50);
                let gone = plain.len() - keep;
                assert_eq!(log.trim(trim(Keep::Last(keep), false, 0)), gone);
                plain.drain(..gone);
            }
            assert_eq!(log.len(), plain.len());
            assert_eq!(log.first_id.ms, plain.first().copied().unwrap_or(0));
        }
        assert_eq!(ids(&log), plain);
        for (_, block) in log.blocks() {
            assert!(Block::from_bytes(block.as_bytes().to_vec()).is_ok());
        }
    }
}

#[test]
fn radix_nodes_are_counted_as_redis_does() {
    let nodes =
        |ids: &[(u64, u64)]| radix_nodes(ids.iter().map(|&(ms, seq)| id(ms, seq).to_bytes()));
    assert_eq!(nodes(&[]), 1);
    assert_eq!(nodes(&[(1, 1)]), 2);
    // One run, one place where the keys part, and the keys.
    assert_eq!(nodes(&[(1, 1), (1, 2)]), 4);
    assert_eq!(nodes(&[(1, 1), (1, 2), (1, 3)]), 5);
    // They part at the first byte, so that a run is behind the place only.
    assert_eq!(nodes(&[(1, 0), (1 << 56, 0)]), 5);
    // They part at the last byte but one: a run of one byte each.
    assert_eq!(nodes(&[(1, 0), (1, 256)]), 6);
}

#[test]
fn groups_hand_out_each_entry_once() {
    let mut log = filled(10, 4);
    let mut group = Group::new(StreamId::MIN, Some(0));
    let (alice, bob) = (
        group.add_consumer(b"alice", 1),
        group.add_consumer(b"bob", 1),
    );
    for n in 1..=4 {
        group.advance(&log, id(n, 0));
        group.deliver(id(n, 0), if n < 4 { alice } else { bob }, 5);
    }
    assert_eq!((group.entries_read, group.lag(&log)), (Some(4), Some(6)));
    assert_eq!(group.consumer(alice).pending().len(), 3);
    assert!(group.acknowledge(id(1, 0)) && !group.acknowledge(id(1, 0)));
    // Delivered to another: it has one owner only.
    group.deliver(id(2, 0), bob, 9);
    assert_eq!(group.consumer(alice).pending().len(), 1);
    assert_eq!(group.consumer(bob).pending().len(), 2);
    assert_eq!(group.pending().len(), 3);
    assert_eq!(group.remove_consumer(b"bob"), Some(2));
    assert_eq!(group.remove_consumer(b"bob"), None);
    assert_eq!(group.pending().len(), 1);
    // The place of one who has gone is taken by who comes next, with nothing pending.
    let carol = group.add_consumer(b"carol", 2);
    assert!(group.consumer(carol).pending().is_empty());
    let names: Vec<&[u8]> = group.consumers().map(|one| &one.name[..]).collect();
    assert_eq!(names, [&b"alice"[..], b"carol"]);
    assert_eq!(group.pending_range(id(9, 0), id(1, 0)).count(), 0);
    // A deletion ahead makes the lag unknown, and reading past it known again.
    log.delete(id(8, 0));
    assert_eq!(group.lag(&log), None);
    for n in [5, 6, 7, 9, 10] {
        group.advance(&log, id(n, 0));
    }
    assert_eq!((group.entries_read, group.lag(&log)), (Some(10), Some(0)));
}

#[test]
fn memory_counts_what_there_is() {
    let mut stream = Stream {
        log: filled(1000, 100),
        ..Stream::default()
    };
    let all = stream.memory(0);
    let bytes: usize = stream
        .log
        .blocks()
        .map(|(_, block)| block.as_bytes().len())
        .sum();
    assert!(all > bytes && all < 2 * bytes + 8192, "{all} {bytes}");
    assert!(stream.memory(3).abs_diff(all) < all / 3);
    let mut group = Group::new(StreamId::MIN, None);
    let consumer = group.add_consumer(b"c", 0);
    (1..=100).for_each(|n| group.deliver(id(n, 0), consumer, 0));
    stream.groups.insert(b"g"[..].into(), group);
    assert!(stream.memory(0) > all + 100 * 32);
    assert!(Stream::default().memory(5) > 0);
}
