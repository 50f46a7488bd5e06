//! Every layout read back, what must be refused, and payloads spoiled in many ways: whatever comes
//! of those must be fit for use.

mod spoiled;

use super::*;
use crate::types::stream::StreamId;
use crate::types::string;
use spoiled::handle;

const LIMITS: Limits = Limits {
    list: quicklist::Limits {
        fill: -2,
        depth: 0,
        packed_threshold: quicklist::PACKED_THRESHOLD,
    },
    set: set::Limits {
        ints: 512,
        entries: 128,
        value: 64,
    },
    zset: zset::Limits {
        entries: 128,
        value: 64,
    },
    hash: hash::Limits {
        entries: 512,
        value: 64,
    },
};

/// Nothing may be packed, and lists are compressed.
const NONE: Limits = Limits {
    list: quicklist::Limits {
        fill: 1,
        depth: 1,
        packed_threshold: 10,
    },
    set: set::Limits {
        ints: 0,
        entries: 0,
        value: 0,
    },
    zset: zset::Limits {
        entries: 0,
        value: 0,
    },
    hash: hash::Limits {
        entries: 0,
        value: 0,
    },
};

fn read(tag: u8, bytes: &[u8], limits: &Limits) -> Result<Value, Corrupt> {
    let mut input = Input::new(bytes);
    let value = value(tag, &mut input, limits, true)?;
    assert!(input.is_empty(), "{tag}: {} bytes left", input.rest().len());
    assert_eq!(skip::value(tag, bytes), Ok(bytes.len()), "{tag}");
    Ok(value)
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Encoding and content of a value.
fn show(value: &Value) -> String {
    let one = |item: Item<'_>| text(&item.to_vec());
    let parts: Vec<String> = match value {
        Value::List(list) => {
            let mut all = list.iter();
            std::iter::from_fn(|| all.next().map(one)).collect()
        }
        Value::Set(set) => {
            let mut all: Vec<String> = set.iter().map(one).collect();
            all.sort();
            all
        }
        Value::ZSet(zset) => zset
            .iter()
            .map(|(m, s)| format!("{}={s}", one(m)))
            .collect(),
        Value::Hash(hash) => hash
            .iter()
            .map(|(f, v)| match hash.deadline(&f.to_vec()) {
                Some(at) => format!("{}={}@{at}", one(f), one(v)),
                None => format!("{}={}", one(f), one(v)),
            })
            .collect(),
        Value::Stream(stream) => stream
            .log
            .iter()
            .map(|entry| {
                let fields = entry
                    .fields()
                    .map(|(f, v)| format!("{}={}", one(f), one(v)));
                let fields: Vec<String> = fields.collect();
                format!("{}-{}:{}", entry.id.ms, entry.id.seq, fields.join(","))
            })
            .collect(),
        _ => vec![text(string::bytes(value, &mut [0; 20]).expect("a string"))],
    };
    format!("{} {}", value.encoding(), parts.join(" "))
}

#[track_caller]
fn reads(tag: u8, bytes: &[u8], expected: &str) {
    let value = read(tag, bytes, &LIMITS).unwrap_or_else(|error| panic!("{tag}: {error}"));
    assert_eq!(show(&value), expected, "{tag}");
}

#[track_caller]
fn refuses(tag: u8, bytes: &[u8], what: &str) {
    match value(tag, &mut Input::new(bytes), &LIMITS, true) {
        Ok(value) => panic!("{tag}: read as {}", show(&value)),
        Err(error) => assert!(error.what.contains(what), "{tag}: {error}"),
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a digit") as u8;
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|two| digit(two[0]) << 4 | digit(two[1]))
        .collect()
}

// ---------------------------------------------------------------- writing, for these tests alone

fn len(number: usize) -> Vec<u8> {
    match number {
        0..64 => vec![number as u8],
        _ => [&[0x80][..], &(number as u32).to_be_bytes()].concat(),
    }
}

fn blob(bytes: &[u8]) -> Vec<u8> {
    [&len(bytes.len()), bytes].concat()
}

fn words(words: &[&str]) -> Vec<u8> {
    words
        .iter()
        .flat_map(|word| blob(word.as_bytes()))
        .collect()
}

fn pack(words: &[&str]) -> Vec<u8> {
    let items = words.iter().map(|word| Item::of(word.as_bytes()));
    blob(Listpack::from_items(items).as_bytes())
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("n{n:03}")).collect()
}

// ---------------------------------------------------------------- payloads of Redis 7.0

/// Type tags with values: strings, lists, sets, sorted sets, hashes and a stream with two groups.
const FROM_REDIS: &[(&str, &str)] = &[
    ("000568656c6c6f", "embstr hello"),
    ("000b68656c6c6f20776f726c64", "embstr hello world"),
    (
        "00c3094064016161e05700016161",
        "raw aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ),
    ("00c240e20100", "int 123456"),
    (
        "12020211110000000300816102816202f1393003ff020d0d0000000200816402816502ff",
        "quicklist a b 12345 d e",
    ),
    (
        "1203020a0a0000000100816102ff01c3131b017878e004000b797a797a6162636465666768020a0a0000000100816202ff",
        "quicklist a xxxxxxxxxxxxxxxyzyzabcdefgh b",
    ),
    (
        "0b140400000003000000010000000200000070110100",
        "intset 1 2 70000",
    ),
    ("0203c02101610162", "listpack 33 a b"),
    (
        "111d1d0000000600816302842d696e6605816102010181620283322e3504ff",
        "listpack c=-inf a=1 b=2.5",
    ),
    (
        "0502c3094041016262e0340001626200000000000004400161000000000000f03f",
        "skiplist a=1 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb=2.5",
    ),
    (
        "10121200000004008166028176028167020c01ff",
        "listpack f=v g=12",
    ),
    (
        "0402016601760167c30e4048017777e009000076e02800017676",
        "hashtable f=v g=wwwwwwwwwwwwwwwwwwwwvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv",
    ),
    (STREAM, "stream 1-1:f=1 3-1:f=3,g=h 4-1:f=4 5-1:f=5"),
];

const STREAM: &str = "\
    1303100000000000000001000000000000000126260000000f0001010101010181660200010201000100010101040103\
    010101000102010401ff1000000000000000030000000000000001313100000013000201000102018166028167020001\
    02010001000103018168020501000101010001010181660204010601ff10000000000000000500000000000000011c1c\
    0000000a00010100010101816602000102010001000105010401ff040501010102010502026731040181ffffffffffff\
    ffff0300000000000000010000000000000001fdcb71fea10100000100000000000000030000000000000001fdcb71fe\
    a10100000100000000000000040000000000000001fdcb71fea1010000010205616c696365fdcb71fea1010000020000\
    00000000000100000000000000010000000000000003000000000000000103626f62fdcb71fea1010000010000000000\
    0000040000000000000001026732050181ffffffffffffffff0001046361726cfdcb71fea101000000\
    ";

#[test]
fn what_redis_has_written() {
    for (payload, expected) in FROM_REDIS {
        let payload = unhex(payload);
        reads(payload[0], &payload[1..], expected);
    }
}

#[test]
fn streams_come_with_their_groups() {
    let payload = unhex(STREAM);
    let Ok(Value::Stream(stream)) = read(payload[0], &payload[1..], &LIMITS) else {
        panic!("a stream");
    };
    let log = &stream.log;
    assert_eq!(log.last_id, StreamId::new(5, 1));
    assert_eq!(log.first_id, StreamId::new(1, 1));
    assert_eq!(log.max_deleted, StreamId::new(2, 1));
    assert_eq!((log.len(), log.entries_added), (4, 5));
    let groups: Vec<&[u8]> = stream.groups.keys().map(|name| &name[..]).collect();
    assert_eq!(groups, [b"g1", b"g2"]);
    let group = &stream.groups[&b"g1"[..]];
    assert_eq!(
        (group.last_id, group.entries_read),
        (StreamId::new(4, 1), None)
    );
    assert_eq!(group.pending().len(), 3);
    let consumers: Vec<(&[u8], usize)> = group
        .consumers()
        .map(|consumer| (&consumer.name[..], consumer.pending().len()))
        .collect();
    assert_eq!(consumers, [(&b"alice"[..], 2), (b"bob", 1)]);
    let bob = group.consumer(group.find(b"bob").expect("a consumer"));
    assert_eq!(
        (bob.seen, bob.active),
        (1_795_270_233_085, Some(1_795_270_233_085))
    );
    assert!(group.pending().values().all(|entry| entry.count == 1));
    assert_eq!(stream.groups[&b"g2"[..]].consumer_count(), 1);
}

// ---------------------------------------------------------------- each layout by hand

#[test]
fn element_by_element() {
    reads(tag::STRING, b"\x00", "embstr ");
    reads(tag::STRING, b"\x0205", "embstr 05");
    reads(tag::STRING, b"\x03512", "int 512");
    reads(tag::LIST, b"\x03\x01a\xc0\x05\x01a", "listpack a 5 a");
    reads(
        tag::SET,
        b"\x03\xc0\x05\x013\xc1\x00\x10",
        "intset 3 4096 5",
    );
    reads(tag::SET, b"\x03\xc0\x05\x01b\x01a", "listpack 5 a b");
    reads(
        tag::ZSET,
        b"\x04\x01a\x031.5\x01b\xfe\x01c\xff\x01d\x02-7",
        "listpack c=-inf d=-7 a=1.5 b=inf",
    );
    reads(tag::HASH, b"\x02\x01a\x01b\x01c\x00", "listpack a=b c=");
}

#[test]
fn packed_forms() {
    reads(tag::SET_LISTPACK, &pack(&["b", "7", "a"]), "listpack 7 a b");
    reads(
        tag::HASH_LISTPACK,
        &pack(&["b", "7", "a", "8"]),
        "listpack b=7 a=8",
    );
    reads(
        tag::ZSET_LISTPACK,
        &pack(&["b", "7", "a", "8.5"]),
        "listpack b=7 a=8.5",
    );
    let ziplist = b"\x10\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01a\x03\xf2\xff";
    reads(tag::LIST_ZIPLIST, ziplist, "listpack a 1");
    reads(tag::HASH_ZIPLIST, ziplist, "listpack a=1");
    reads(tag::ZSET_ZIPLIST, ziplist, "listpack a=1");
    let two = [&b"\x02"[..], ziplist, ziplist].concat();
    reads(tag::LIST_QUICKLIST, &two, "quicklist a 1 a 1");
    reads(
        tag::HASH_ZIPMAP,
        b"\x07\x01\x01a\x01\x00b\xff",
        "listpack a=b",
    );
}

#[test]
fn limits_decide_on_the_encoding() {
    let names = numbered(600);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let encoding = |tag, bytes: &[u8]| match read(tag, bytes, &LIMITS) {
        Ok(value) => value.encoding(),
        Err(error) => panic!("{tag}: {error}"),
    };
    let listed = |count: usize| [len(count), words(&names[..count])].concat();
    for (tag, bytes, expected) in [
        (tag::SET, listed(128), "listpack"),
        (tag::SET, listed(129), "hashtable"),
        (tag::SET, [len(1), blob(&[b'x'; 65])].concat(), "hashtable"),
        (tag::SET_LISTPACK, pack(&names[..128]), "listpack"),
        (tag::SET_LISTPACK, pack(&names[..129]), "hashtable"),
        // As in Redis, the length of what is packed already does not matter.
        (tag::SET_LISTPACK, pack(&[&"x".repeat(65)]), "listpack"),
        (tag::HASH_LISTPACK, pack(&names), "listpack"),
        (
            tag::HASH_LISTPACK,
            pack(&["f", &"x".repeat(65)]),
            "listpack",
        ),
        (tag::HASH, [len(300), words(&names)].concat(), "listpack"),
        (
            tag::HASH,
            [len(1), words(&["f", &"x".repeat(65)])].concat(),
            "hashtable",
        ),
        (tag::LIST, listed(600), "listpack"),
    ] {
        assert_eq!(encoding(tag, &bytes), expected, "{tag} {}", bytes.len());
    }
    let ints: Vec<String> = (0..513).map(|n| n.to_string()).collect();
    let ints: Vec<&str> = ints.iter().map(String::as_str).collect();
    let listed = |count: usize| [len(count), words(&ints[..count])].concat();
    assert_eq!(encoding(tag::SET, &listed(512)), "intset");
    assert_eq!(encoding(tag::SET, &listed(513)), "hashtable");
    let intset = |count: i64| blob(IntSet::from_values((0..count).collect()).as_bytes());
    assert_eq!(encoding(tag::SET_INTSET, &intset(512)), "intset");
    assert_eq!(encoding(tag::SET_INTSET, &intset(513)), "hashtable");
    let pairs = |count: usize| {
        let all = (0..count).flat_map(|n| [format!("m{n:04}"), n.to_string()]);
        all.collect::<Vec<String>>()
    };
    for (count, zset, hash) in [
        (128, "listpack", "listpack"),
        (129, "skiplist", "listpack"),
        (512, "skiplist", "listpack"),
        (513, "skiplist", "hashtable"),
    ] {
        let pairs = pairs(count);
        let pairs: Vec<&str> = pairs.iter().map(String::as_str).collect();
        assert_eq!(encoding(tag::ZSET_LISTPACK, &pack(&pairs)), zset, "{count}");
        assert_eq!(encoding(tag::HASH_LISTPACK, &pack(&pairs)), hash, "{count}");
        let listed = [len(count), words(&pairs)].concat();
        assert_eq!(encoding(tag::HASH, &listed), hash, "{count}");
        let doubles: Vec<u8> = pairs
            .chunks(2)
            .flat_map(|pair| {
                let score: f64 = pair[1].parse().expect("a number");
                [blob(pair[0].as_bytes()), score.to_le_bytes().to_vec()].concat()
            })
            .collect();
        let listed = [len(count), doubles].concat();
        assert_eq!(encoding(tag::ZSET_2, &listed), zset, "{count}");
    }
}

#[test]
fn elements_that_come_twice() {
    refuses(tag::SET, &[len(2), words(&["a", "a"])].concat(), "twice");
    refuses(tag::SET, b"\x02\xc0\x07\x017", "twice");
    refuses(tag::SET_LISTPACK, &pack(&["a", "b", "a"]), "twice");
    refuses(
        tag::HASH,
        &[len(2), words(&["a", "1", "a", "2"])].concat(),
        "twice",
    );
    refuses(tag::HASH_LISTPACK, &pack(&["a", "1", "a", "2"]), "twice");
    refuses(
        tag::HASH_ZIPMAP,
        b"\x0c\x02\x01a\x01\x00b\x01a\x01\x00c\xff",
        "twice",
    );
    refuses(tag::ZSET, b"\x02\x01a\x011\x01a\x012", "twice");
    refuses(tag::ZSET_LISTPACK, &pack(&["a", "1", "a", "2"]), "once");
    let many = numbered(600);
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    many[599] = many[0];
    let listed = [len(600), words(&many)].concat();
    refuses(tag::SET, &listed, "twice");
    refuses(tag::SET_LISTPACK, &pack(&many), "twice");
    // A file of one's own is not searched, and nothing worse comes of it.
    let bytes = pack(&["a", "1", "a", "2"]);
    let value = value(tag::HASH_LISTPACK, &mut Input::new(&bytes), &LIMITS, false);
    handle(value.expect("a hash"), &LIMITS);
}

#[test]
fn collections_without_elements() {
    for tag in [
        tag::LIST,
        tag::SET,
        tag::ZSET,
        tag::ZSET_2,
        tag::HASH,
        tag::LIST_QUICKLIST,
    ] {
        refuses(tag, b"\x00", "without elements");
    }
    let packed = [
        tag::SET_LISTPACK,
        tag::ZSET_LISTPACK,
        tag::HASH_LISTPACK,
        tag::HASH_LISTPACK_EX_PRE_GA,
    ];
    for tag in packed {
        refuses(tag, &pack(&[]), "without elements");
    }
    refuses(
        tag::LIST_QUICKLIST_2,
        &[&b"\x01\x02"[..], &pack(&[])].concat(),
        "without elements",
    );
    refuses(tag::LIST_QUICKLIST_2, b"\x00", "without elements");
    refuses(
        tag::HASH_METADATA,
        b"\0\0\0\0\0\0\0\0\x00",
        "without elements",
    );
    let ziplist = b"\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff";
    for tag in [tag::LIST_ZIPLIST, tag::HASH_ZIPLIST, tag::ZSET_ZIPLIST] {
        refuses(tag, ziplist, "without elements");
    }
    refuses(
        tag::LIST_QUICKLIST,
        &[&b"\x01"[..], ziplist].concat(),
        "without elements",
    );
    // No version of Redis has written one.
    refuses(tag::HASH_ZIPMAP, b"\x02\x00\xff", "a zipmap without pairs");
    // A list may have such nodes among others.
    let nodes = [&b"\x02\x02"[..], &pack(&[]), b"\x02", &pack(&["a"])].concat();
    reads(tag::LIST_QUICKLIST_2, &nodes, "listpack a");
    // Whoever loads a file goes on behind such a key.
    let bytes = [pack(&[]), b"rest".to_vec()].concat();
    let mut input = Input::new(&bytes);
    let error = value(tag::HASH_LISTPACK, &mut input, &LIMITS, true).err();
    assert!(error.is_some_and(|error| error.is_empty_collection()));
    assert_eq!(input.rest(), b"rest");
}

#[test]
fn what_does_not_fit() {
    refuses(tag::HASH_LISTPACK, &pack(&["a"]), "without a value");
    refuses(tag::HASH_LISTPACK, b"\x03abc", "malformed listpack");
    refuses(tag::ZSET_LISTPACK, &pack(&["a"]), "with scores");
    refuses(tag::ZSET_LISTPACK, &pack(&["a", "nan"]), "with scores");
    refuses(tag::ZSET_LISTPACK, &pack(&["a", "x"]), "with scores");
    refuses(tag::ZSET_LISTPACK, &pack(&["a", "2", "b", "1"]), "in order");
    refuses(tag::ZSET, b"\x01\x01a\xfd", "not a number");
    let nan = [b"\x01\x01a", &f64::NAN.to_le_bytes()[..]].concat();
    refuses(tag::ZSET_2, &nan, "not a number");
    refuses(
        tag::SET_INTSET,
        b"\x08\x02\0\0\0\0\0\0\0",
        "malformed intset",
    );
    refuses(
        tag::SET_INTSET,
        b"\x0c\x02\0\0\0\x02\0\0\0\x02\0\x01\0",
        "malformed intset",
    );
    refuses(tag::LIST_QUICKLIST_2, b"\x01\x03\x01a", "unknown kind");
    refuses(tag::LIST_QUICKLIST_2, b"\x01\x01\x00", "without content");
    refuses(
        tag::LIST_QUICKLIST_2,
        b"\x01\x02\x01a",
        "malformed listpack",
    );
    refuses(
        tag::MODULE,
        b"\x81\0\0\0\0\0\0\0\0",
        "module type 'AAAAAAAAA'",
    );
    refuses(
        tag::MODULE_2,
        b"\x81\0\0\0\0\0\0\0\0",
        "module type 'AAAAAAAAA'",
    );
    refuses(8, b"\x00", "unknown type 8");
    refuses(26, b"\x00", "unknown type 26");
    for tag in [
        tag::LIST,
        tag::SET,
        tag::ZSET,
        tag::ZSET_2,
        tag::HASH,
        tag::LIST_QUICKLIST_2,
    ] {
        let bytes = b"\x81\0\0\x0f\xff\xff\xff\xff\xff\x01a\x01b";
        refuses(tag, bytes, "fewer elements");
    }
}

// ---------------------------------------------------------------- hashes with deadlines

#[test]
fn fields_with_deadlines() {
    let first = 1_000_000u64.to_le_bytes();
    let fields = b"\x03\x00\x01a\x011\x01\x01b\x012\x06\x01c\x013";
    let bytes = [&first[..], fields].concat();
    reads(
        tag::HASH_METADATA,
        &bytes,
        "listpackex a=1 b=2@1000000 c=3@1000005",
    );
    reads(
        tag::HASH_METADATA_PRE_GA,
        b"\x02\x80\0\x0f\x42\x40\x01a\x011\x00\x01b\x012",
        "listpackex a=1@1000000 b=2",
    );
    let packed = pack(&["a", "1", "1000000", "b", "2", "0"]);
    let bytes = [&first[..], &packed].concat();
    reads(tag::HASH_LISTPACK_EX, &bytes, "listpackex a=1@1000000 b=2");
    reads(
        tag::HASH_LISTPACK_EX_PRE_GA,
        &packed,
        "listpackex a=1@1000000 b=2",
    );
    let late = (LATEST_FIELD + 1).to_string();
    for (words, what) in [
        (&["a", "1"][..], "without a value or deadline"),
        (&["a", "1", "x"], "no number"),
        (&["a", "1", "-1"], "no number"),
        (&["a", "1", &late], "out of range"),
        (&["a", "1", "0", "a", "1", "0"], "twice"),
    ] {
        refuses(tag::HASH_LISTPACK_EX_PRE_GA, &pack(words), what);
    }
    let never = u64::MAX.to_le_bytes();
    refuses(
        tag::HASH_METADATA,
        &[&never[..], fields].concat(),
        "out of range",
    );
    let late = (LATEST_FIELD - 2).to_le_bytes();
    refuses(
        tag::HASH_METADATA,
        &[&late[..], fields].concat(),
        "out of range",
    );
    let huge = b"\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a\x011";
    refuses(
        tag::HASH_METADATA,
        &[&first[..], huge].concat(),
        "out of range",
    );
    refuses(tag::HASH_METADATA_PRE_GA, huge, "out of range");
}

// ---------------------------------------------------------------- streams

/// A block with an entry for each of these distances in milliseconds from its first id.
fn block(first: u64, distances: &[u8]) -> Vec<u8> {
    let mut items = vec![distances.len() as i64, 0, 1];
    let field = Item::Bytes(b"f");
    let entries = distances.iter().flat_map(|&ms| [2, i64::from(ms), 0, 9, 4]);
    items.push(0);
    items.extend(entries);
    let mut items: Vec<Item<'_>> = items.into_iter().map(Item::Int).collect();
    items.insert(3, field);
    let packed = Listpack::from_items(items.iter().copied());
    let id = StreamId::new(first, 0).to_bytes();
    [blob(&id), blob(packed.as_bytes())].concat()
}

fn raw(ms: u64) -> [u8; 16] {
    StreamId::new(ms, 0).to_bytes()
}

/// A group with pending entries by their milliseconds, and for each consumer its entries.
fn group(tag: u8, name: &str, pending: &[u64], consumers: &[(&str, &[u64])]) -> Vec<u8> {
    let mut out = [&words(&[name])[..], b"\x05\x00"].concat();
    if tag != tag::STREAM_LISTPACKS {
        out.extend(b"\x02");
    }
    out.extend(len(pending.len()));
    for id in pending {
        out.extend([&raw(*id)[..], &77i64.to_le_bytes(), b"\x03"].concat());
    }
    out.extend(len(consumers.len()));
    for (name, owned) in consumers {
        out.extend(words(&[name]));
        out.extend(88i64.to_le_bytes());
        if tag == tag::STREAM_LISTPACKS_3 {
            out.extend((-1i64).to_le_bytes());
        }
        out.extend(len(owned.len()));
        owned.iter().for_each(|id| out.extend(raw(*id)));
    }
    out
}

/// A stream with the entries 5, 6 and 7, and 10.
fn stream(tag: u8, groups: &[Vec<u8>]) -> Vec<u8> {
    stream_of(tag, &[block(5, &[0, 1, 2]), block(10, &[0])], 4, 10, groups)
}

fn stream_of(tag: u8, blocks: &[Vec<u8>], count: u8, last: u8, groups: &[Vec<u8>]) -> Vec<u8> {
    let mut out = [len(blocks.len()), blocks.concat(), vec![count, last, 0]].concat();
    if tag != tag::STREAM_LISTPACKS {
        out.extend(b"\x05\x00\x03\x00\x09");
    }
    [out, len(groups.len()), groups.concat()].concat()
}

const STREAM_TAGS: [u8; 3] = [
    tag::STREAM_LISTPACKS,
    tag::STREAM_LISTPACKS_2,
    tag::STREAM_LISTPACKS_3,
];

#[test]
fn streams_of_all_versions() {
    for tag in STREAM_TAGS {
        let groups = [
            group(tag, "one", &[5, 6], &[("alice", &[6]), ("bob", &[5])]),
            group(tag, "two", &[], &[]),
        ];
        let bytes = stream(tag, &groups);
        reads(tag, &bytes, "stream 5-0:f=9 6-0:f=9 7-0:f=9 10-0:f=9");
        let Ok(Value::Stream(stream)) = read(tag, &bytes, &LIMITS) else {
            panic!("a stream");
        };
        let group = &stream.groups[&b"one"[..]];
        let alice = group.consumer(group.find(b"alice").expect("a consumer"));
        assert!(alice.pending().iter().eq([&StreamId::new(6, 0)]));
        let active = (tag != tag::STREAM_LISTPACKS_3).then_some(88);
        assert_eq!((alice.seen, alice.active), (88, active));
        let added = if tag == tag::STREAM_LISTPACKS { 4 } else { 9 };
        assert_eq!(stream.log.entries_added, added);
        let read = if tag == tag::STREAM_LISTPACKS { 1 } else { 2 };
        assert_eq!(group.entries_read, Some(read));
    }
}

#[test]
fn streams_without_entries() {
    for tag in STREAM_TAGS {
        reads(tag, &stream_of(tag, &[], 0, 10, &[]), "stream ");
    }
}

#[test]
fn streams_that_do_not_fit() {
    for tag in STREAM_TAGS {
        let with = |groups: &[Vec<u8>]| stream(tag, groups);
        let one = |pending: &[u64], consumers: &[(&str, &[u64])]| {
            with(&[group(tag, "g", pending, consumers)])
        };
        let of = |blocks: &[Vec<u8>], count, last| stream_of(tag, blocks, count, last, &[]);
        refuses(tag, &of(&[block(5, &[0, 2, 1])], 3, 10), "not in order");
        refuses(tag, &of(&[block(5, &[0, 0])], 2, 10), "not in order");
        refuses(
            tag,
            &of(&[block(5, &[0, 3]), block(8, &[0])], 3, 10),
            "not in order",
        );
        refuses(
            tag,
            &of(&[block(5, &[0]), block(5, &[0])], 2, 10),
            "not in order",
        );
        refuses(tag, &of(&[block(5, &[0])], 2, 10), "another number");
        refuses(tag, &of(&[block(5, &[0])], 1, 4), "before its last");
        refuses(tag, &of(&[block(5, &[])], 0, 4), "malformed block");
        refuses(tag, &of(&[words(&["short", "x"])], 1, 4), "size of an id");
        refuses(tag, &one(&[5], &[]), "with no consumer");
        refuses(tag, &one(&[5, 6], &[("a", &[5])]), "with no consumer");
        refuses(tag, &one(&[5, 5], &[("a", &[5])]), "twice");
        refuses(tag, &one(&[5], &[("a", &[6])]), "not pending");
        refuses(tag, &one(&[5], &[("a", &[5, 5])]), "not pending");
        refuses(tag, &one(&[5], &[("a", &[5]), ("b", &[5])]), "not pending");
        refuses(
            tag,
            &one(&[], &[("a", &[]), ("a", &[])]),
            "Duplicate stream consumer",
        );
        let twice = [group(tag, "g", &[], &[]), group(tag, "g", &[], &[])];
        refuses(tag, &with(&twice), "two groups");
    }
}
