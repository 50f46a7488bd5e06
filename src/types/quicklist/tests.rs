//! Lists against a `VecDeque`, under every kind of limits, and the rules of size and compression.

use super::*;
use crate::util::random::Rng;

fn strings(mut walk: Walk<'_>) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(item) = walk.next() {
        all.push(item.to_vec());
    }
    all
}

fn limits(fill: i64, depth: i64, threshold: usize) -> Limits {
    Limits::new(fill, depth, threshold)
}

/// Checks all that must hold between two operations.
fn check(list: &List, model: &VecDeque<Vec<u8>>) {
    assert_eq!(list.len(), model.len());
    let mut forward = Vec::new();
    list.iter().for_each(|item| forward.push(item.to_vec()));
    assert!(forward.iter().eq(model), "{forward:?} {model:?}");
    let List::Chunked(chunked) = list else {
        return;
    };
    let depth = usize::from(chunked.depth);
    let nodes = chunked.nodes.len();
    for (at, node) in chunked.nodes.iter().enumerate() {
        let inner = depth > 0 && at >= depth && at < nodes.saturating_sub(depth);
        assert!(node.count() > 0);
        match node {
            Node::Packed(packed) => {
                assert_eq!(raw::validate(packed.bytes()), Some(packed.count()));
                if inner {
                    let mut again = node.clone();
                    again.compress();
                    assert!(
                        matches!(again, Node::Packed(_)),
                        "node {at} should be compressed"
                    );
                }
                if at > 0 && at + 1 < nodes {
                    assert_eq!(node.heap_size(), node.size());
                }
            }
            Node::Plain(_) => {}
            Node::Lzf { .. } => assert!(inner, "node {at} of {nodes} is compressed"),
        }
    }
    let total: usize = chunked.nodes.iter().map(Node::count).sum();
    assert_eq!(total, chunked.count);
}

fn value(rng: &mut Rng) -> Vec<u8> {
    match rng.below(12) {
        0..5 => (rng.next_u64() as i64 >> rng.below(64)).to_string().into(),
        5..10 => vec![b'a' + rng.below(3) as u8; rng.index(6)],
        10 => vec![b'm'; 40 + rng.index(60)],
        _ => vec![b'x'; rng.index(3000)],
    }
}

/// One random operation on both.
fn step(rng: &mut Rng, list: &mut List, model: &mut VecDeque<Vec<u8>>, limits: &Limits) {
    let text = value(rng);
    let index = rng.index(model.len());
    match rng.below(14) {
        0..3 => {
            list.push(End::Tail, &text, limits);
            model.push_back(text);
        }
        3..6 => {
            list.push(End::Head, &text, limits);
            model.push_front(text);
        }
        6 => {
            let texts: Vec<_> = (0..rng.index(30)).map(|_| value(rng)).collect();
            let values = texts.iter().map(|text| &text[..]);
            if rng.below(2) == 0 {
                list.push_many(End::Head, values, limits);
                texts.into_iter().for_each(|text| model.push_front(text));
            } else {
                list.push_many(End::Tail, values, limits);
                model.extend(texts);
            }
        }
        7 => {
            let popped = list.pop(End::Head, limits, |item| item.to_vec());
            assert_eq!(popped, model.pop_front());
        }
        8 => {
            let popped = list.pop(End::Tail, limits, |item| item.to_vec());
            assert_eq!(popped, model.pop_back());
        }
        9 => {
            let at = index as i64
                - if rng.below(2) == 0 {
                    model.len() as i64
                } else {
                    0
                };
            assert_eq!(list.set(at, &text, limits), !model.is_empty());
            if let Some(old) = model.get_mut(index) {
                *old = text;
            }
        }
        10 => {
            let pivot = model.get(index).cloned().unwrap_or_default();
            let after = rng.below(2) == 0;
            let found = model.iter().position(|other| *other == pivot);
            assert_eq!(list.insert(&pivot, &text, after, limits), found.is_some());
            if let Some(at) = found {
                model.insert(at + usize::from(after), text);
            }
        }
        11 => {
            let count = rng.below(5) as i64 - 2;
            remove_from(model, &text, count);
            list.remove_matching(&text, count, limits);
        }
        12 => {
            let count = rng.index(6);
            list.remove_range(index, count, limits);
            model.drain(index..(index + count).min(model.len()));
        }
        _ => {
            // Seldom, so that lists get long.
            if rng.below(8) == 0 {
                let count = rng.index(model.len() * 2);
                list.trim(index, count, limits);
                model.truncate(index + count);
                model.drain(..index);
            }
        }
    }
}

fn remove_from(model: &mut VecDeque<Vec<u8>>, text: &[u8], count: i64) {
    let mut cut: Vec<usize> = (0..model.len()).filter(|&at| model[at] == text).collect();
    if count < 0 {
        cut.reverse();
    }
    if count != 0 {
        cut.truncate(count.unsigned_abs() as usize);
    }
    cut.sort_unstable();
    for at in cut.into_iter().rev() {
        model.remove(at);
    }
}

/// Reads of a random range, of single elements and of positions.
fn compare_reads(rng: &mut Rng, list: &List, model: &VecDeque<Vec<u8>>) {
    let len = model.len();
    let (start, count) = (rng.index(len + 1), rng.index(40));
    let forward: Vec<_> = model.iter().skip(start).take(count).cloned().collect();
    assert_eq!(strings(list.walk(start, count, false)), forward);
    if start < len {
        let backward: Vec<_> = model.range(..=start).rev().take(count).cloned().collect();
        assert_eq!(strings(list.walk(start, count, true)), backward);
        let mut each = Vec::new();
        let walk = list.walk(start, count, true);
        walk.for_each(|item| each.push(item.to_vec()));
        assert_eq!(each, backward);
        assert_eq!(
            list.get(start as i64, |item| item.to_vec()),
            Some(model[start].clone())
        );
        let negative = start as i64 - len as i64;
        assert_eq!(
            list.get(negative, |item| item.to_vec()),
            Some(model[start].clone())
        );
    }
    assert_eq!(list.get(len as i64, |item| item.to_vec()), None);
    assert_eq!(list.get(-(len as i64) - 1, |item| item.to_vec()), None);
    let text = value(rng);
    let rank = [1i64, 2, -1, -3][rng.index(4)];
    let (count, maxlen) = (rng.index(3), rng.index(20));
    let mut order: Vec<usize> = (0..len).collect();
    if rank < 0 {
        order.reverse();
    }
    if maxlen > 0 {
        order.truncate(maxlen);
    }
    order.retain(|&at| model[at] == text);
    let mut order = order.split_off(order.len().min(rank.unsigned_abs() as usize - 1));
    if count > 0 {
        order.truncate(count);
    }
    assert_eq!(list.positions(&text, rank, count, maxlen), order);
}

#[test]
fn all_operations_match_a_deque() {
    let mut rng = Rng::new([11, 12]);
    let kinds = [
        limits(-2, 0, PACKED_THRESHOLD),
        limits(-1, 1, PACKED_THRESHOLD),
        limits(-1, 0, 1000),
        limits(0, 0, PACKED_THRESHOLD),
        limits(1, 1, PACKED_THRESHOLD),
        limits(4, 0, 50),
        limits(5, 1, PACKED_THRESHOLD),
        limits(16, 2, 2000),
        limits(128, 3, PACKED_THRESHOLD),
        limits(3, 1, 4),
    ];
    for round in 0..120 {
        let mut limits = kinds[round % kinds.len()];
        let mut list = List::new();
        let mut model = VecDeque::new();
        for turn in 0..250 {
            if turn % 100 == 99 {
                // The threshold may change at any time.
                limits.packed_threshold = [4, 100, PACKED_THRESHOLD][rng.index(3)];
            }
            step(&mut rng, &mut list, &mut model, &limits);
            check(&list, &model);
            compare_reads(&mut rng, &list, &model);
        }
        let copy = list.clone();
        let nodes = copy.chunks().map(|chunk| match chunk {
            Chunk::Packed(bytes) => (false, bytes.into_owned()),
            Chunk::Plain(bytes) => (true, bytes.to_vec()),
        });
        let again = List::from_nodes(nodes, &limits).expect("valid");
        check(&again, &model);
        while let Some(element) = list.pop(End::Tail, &limits, |item| item.to_vec()) {
            assert_eq!(Some(element), model.pop_back());
        }
        assert!(list.is_empty() && model.is_empty() && list.is_single_packed());
    }
}

#[test]
fn encodings_grow_and_shrink_as_in_redis() {
    let small = limits(4, 0, PACKED_THRESHOLD);
    let mut list = List::new();
    for at in 0..4 {
        list.push(End::Tail, &[b'a' + at], &small);
        assert_eq!(list.encoding(), "listpack");
    }
    list.push(End::Tail, b"e", &small);
    assert_eq!((list.encoding(), list.node_count()), ("quicklist", 2));
    list.pop(End::Tail, &small, |_| ());
    assert_eq!((list.encoding(), list.len()), ("quicklist", 4));
    list.pop(End::Tail, &small, |_| ());
    assert_eq!(list.encoding(), "quicklist");
    list.pop(End::Tail, &small, |_| ());
    assert_eq!((list.encoding(), list.len()), ("listpack", 2));

    // By size: 8 kB for -2, before the overhead of the new element.
    let sized = Limits::default();
    let mut list = List::new();
    list.push(End::Tail, &[b'x'; 8185], &sized);
    assert_eq!(list.encoding(), "listpack");
    list.push(End::Tail, b"", &sized);
    assert_eq!(list.encoding(), "quicklist");
    let mut list = List::new();
    list.push(End::Tail, &[b'x'; 8186], &sized);
    assert_eq!(list.encoding(), "quicklist");
    assert!(list.set(0, b"short", &sized));
    assert_eq!(list.encoding(), "listpack");
}

#[test]
fn a_command_chooses_the_encoding_once() {
    // 5000 elements of one byte: 5007 bytes by Redis' count, 15007 in the listpack.
    let values = vec![&b"v"[..]; 5000];
    let mut list = List::new();
    list.push_many(End::Head, values.into_iter(), &Limits::default());
    assert!(list.is_single_packed());
    list.push(End::Head, b"v", &Limits::default());
    assert!(!list.is_single_packed());
    assert_eq!(list.len(), 5001);
}

#[test]
fn nodes_have_the_size_of_redis() {
    // DEBUG OBJECT of Redis 7.0.15 shows ql_nodes:10 and ql_uncompressed_size:78960.
    let mut list = List::new();
    for at in 0..10_000 {
        list.push(End::Tail, format!("el{at}").as_bytes(), &Limits::default());
    }
    assert_eq!(list.node_count(), 10);
    let List::Chunked(chunked) = &list else {
        panic!("a quicklist");
    };
    assert_eq!(chunked.uncompressed_size(), 78_960);
    // The first node was a listpack on its own, which may grow by one entry's overhead more.
    assert!(chunked.nodes.iter().skip(1).all(|node| node.size() <= 8192));
    let inner = chunked.nodes.iter().take(9);
    assert!(inner.clone().all(|node| node.size() > 8192 - 20));
    assert!(inner.clone().all(|node| node.heap_size() == node.size()));
}

#[test]
fn inner_nodes_are_compressed() {
    let deep = limits(-1, 2, PACKED_THRESHOLD);
    let mut list = List::new();
    for _ in 0..1000 {
        list.push(End::Head, &[b'z'; 100], &deep);
    }
    let List::Chunked(chunked) = &list else {
        panic!("a quicklist");
    };
    let packed: Vec<bool> = chunked
        .nodes
        .iter()
        .map(|node| matches!(node, Node::Lzf { .. }))
        .collect();
    let nodes = packed.len();
    assert!((20..40).contains(&nodes));
    for (at, packed) in packed.into_iter().enumerate() {
        assert_eq!(packed, at >= 2 && at < nodes - 2, "node {at} of {nodes}");
    }
    assert!(list.heap_size() < chunked.uncompressed_size() / 3);
}

#[test]
fn large_elements_have_nodes_of_their_own() {
    let mut list = List::new();
    let now = limits(3, 0, 10);
    for text in ["a", "b", "c", "d", "ten bytes."] {
        list.push(End::Tail, text.as_bytes(), &now);
    }
    let plain = |list: &List| -> Vec<bool> {
        list.chunks()
            .map(|chunk| matches!(chunk, Chunk::Plain(_)))
            .collect()
    };
    assert_eq!(plain(&list), [false, false, true]);
    assert!(list.insert(b"b", b"eleven bytes", false, &now));
    assert_eq!(plain(&list), [false, true, false, false, true]);
    assert!(list.set(1, b"short", &now));
    assert_eq!(plain(&list), [false, false, false, false, true]);
    assert!(list.set(-1, b"short", &now));
    assert_eq!(plain(&list), [false; 5]);
    let all: Vec<_> = strings(list.iter());
    assert_eq!(all, ["a", "short", "b", "c", "d", "short"].map(Vec::from));
}

#[test]
fn corrupt_nodes_are_refused() {
    let now = Limits::default();
    assert!(List::from_nodes([(false, b"\x07\0\0\0\x01\0\xff".to_vec())], &now).is_err());
    let empty = List::from_nodes([(false, b"\x07\0\0\0\0\0\xff".to_vec())], &now);
    assert!(empty.is_ok_and(|list| list.is_empty() && list.is_single_packed()));
}

#[test]
fn settings_are_cut_to_their_range() {
    let cut = Limits::new(-9, -1, 1);
    assert_eq!((cut.fill, cut.depth), (-5, 0));
    let cut = Limits::new(1 << 40, 1 << 40, 1);
    assert_eq!((cut.fill, cut.depth), (i16::MAX, u16::MAX));
    assert_eq!(Limits::packed_threshold_from(0), Some(1 << 30));
    assert_eq!(Limits::packed_threshold_from(200), Some(200));
    assert_eq!(
        Limits::packed_threshold_from((1 << 32) - (1 << 20) + 1),
        None
    );
}
