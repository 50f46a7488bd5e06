//! What Redis 7.0.15 answers to `DUMP`, byte for byte, and what is beyond it.

use super::*;
use crate::types::member_dict;
use crate::types::quicklist::{self, End, PACKED_THRESHOLD};
use crate::types::set;
use crate::types::stream::{self, NewId, Pending};
use crate::util::random::Rng;

const PLAIN: Encoder = Encoder { compress: false };
const PACKING: Encoder = Encoder { compress: true };

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn payload(encoder: Encoder, value: &Value) -> String {
    let mut out = Vec::new();
    encoder.payload(&mut out, value);
    hex(&out)
}

/// The value alone.
fn content(encoder: Encoder, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.value(&mut out, value);
    out
}

fn limits(entries: usize) -> member_dict::Limits {
    member_dict::Limits { entries, value: 64 }
}

fn list(fill: i64, depth: i64, threshold: usize, elements: &[&[u8]]) -> Value {
    let limits = quicklist::Limits::new(fill, depth, threshold);
    let mut list = List::new();
    for element in elements {
        list.push(End::Tail, element, &limits);
    }
    Value::List(list)
}

#[test]
fn strings_are_those_of_redis() {
    for (text, wanted) in [
        ("hello", "000568656c6c6f0a006372df766534200a"),
        ("", "00000a005d9b5c400f7fa2da"),
        ("0", "00c0000a009840a778f8500308"),
        ("-1", "00c0ff0a000c937e2485089dc5"),
        ("127", "00c07f0a000db5eb315254c514"),
        ("128", "00c180000a00eb7ab3b510cf4b65"),
        ("-129", "00c17fff0a001760822854808480"),
        ("32768", "00c2008000000a0045d82eedd5bda910"),
        ("-2147483648", "00c2000000800a00c74f873e33558187"),
        ("2147483648", "000a323134373438333634380a00e7b129a34c1d76ee"),
        (
            "-9223372036854775808",
            "00142d393232333337323033363835343737353830380a00ede2b956eb709e81",
        ),
        ("012", "00033031320a008f5463e9547eeb0c"),
        (
            "12345678901",
            "000b31323334353637383930310a00304e52d727176510",
        ),
    ] {
        // In whatever form the string is kept.
        for value in [
            Value::string(text.as_bytes()),
            Value::plain(text.as_bytes()),
            Value::Raw(Box::new(text.into())),
        ] {
            assert_eq!(payload(PACKING, &value), wanted, "{text}");
        }
    }
    let bytes: Vec<u8> = (0..100).collect();
    assert_eq!(
        payload(PACKING, &Value::plain(&bytes)),
        format!("004064{}0a007355fcc4ad6466be", hex(&bytes))
    );
}

#[test]
fn small_integers_of_every_width() {
    for (int, wanted) in [
        (i64::from(i8::MIN), "c080"),
        (i64::from(i16::MIN), "c10080"),
        (i64::from(i16::MAX), "c1ff7f"),
        (i64::from(i32::MAX), "c2ffffff7f"),
        (i64::from(i32::MIN) - 1, "0b2d32313437343833363439"),
        (i64::MAX, "1339323233333732303336383534373735383037"),
    ] {
        assert_eq!(hex(&content(PLAIN, &Value::Int(int))), wanted);
        assert_eq!(
            content(PLAIN, &Value::plain(int.to_string().as_bytes())),
            content(PLAIN, &Value::Int(int))
        );
    }
}

#[test]
fn lengths_of_every_width() {
    for (len, wanted) in [
        (0, "00"),
        (63, "3f"),
        (64, "4040"),
        (16_383, "7fff"),
        (16_384, "8000004000"),
        (u64::from(u32::MAX), "80ffffffff"),
        (1 << 32, "810000000100000000"),
        (u64::MAX, "81ffffffffffffffff"),
    ] {
        let mut out = Vec::new();
        length(&mut out, len);
        assert_eq!(hex(&out), wanted);
        assert_eq!(length_size(len as usize), out.len());
    }
}

/// Reads a length from the front.
fn take_length(bytes: &mut &[u8]) -> usize {
    let (len, size) = match bytes[0] >> 6 {
        0 => (usize::from(bytes[0]), 1),
        1 => (
            usize::from(u16::from_be_bytes([bytes[0] & 0x3f, bytes[1]])),
            2,
        ),
        _ => {
            assert_eq!(bytes[0], 0x80);
            let four = bytes[1..].first_chunk().expect("four bytes");
            (u32::from_be_bytes(*four) as usize, 5)
        }
    };
    *bytes = &bytes[size..];
    len
}

#[test]
fn compressed_text_comes_back() {
    let mut rng = Rng::new([5, 7]);
    let mut texts: Vec<Vec<u8>> = [0, 20, 21, 24, 67, 68, 100, 8000, 16_387, 16_388, 70_000]
        .map(|len| vec![b'a'; len])
        .into();
    for _ in 0..500 {
        let (len, letters) = (rng.index(3000), 1 + rng.below(30));
        texts.push((0..len).map(|_| rng.below(letters) as u8 + 60).collect());
    }
    for text in texts {
        let mut out = b"before".to_vec();
        PACKING.string(&mut out, &text);
        let mut rest = &out[6..];
        if rest[0] != form::LZF {
            assert_eq!(take_length(&mut rest), text.len());
            assert_eq!(rest, text);
            continue;
        }
        rest = &rest[1..];
        let (packed, len) = (take_length(&mut rest), take_length(&mut rest));
        assert_eq!((packed, len), (rest.len(), text.len()));
        assert!(len > SHORT && packed <= len - MIN_GAIN);
        assert_eq!(lzf::decompress(rest, len).as_ref(), Ok(&text));
    }
    // Where it pays, it is done; where it does not or is not wanted, it is not.
    let value = Value::plain(&[b'a'; 100]);
    assert!(content(PACKING, &value).len() < 15);
    assert_eq!(content(PLAIN, &value).len(), 102);
    assert_eq!(content(PACKING, &Value::plain(&[b'a'; 20])).len(), 21);
}

#[test]
fn lists_are_those_of_redis() {
    let long = [b'x'; 50];
    let elements: [&[u8]; 4] = [b"a", b"b", b"1000", &long];
    let packed = format!(
        "1201024044440000000400816102816202c3e802b2{}33ff0a00",
        "78".repeat(50)
    );
    let value = list(-2, 0, PACKED_THRESHOLD, &elements);
    let start = payload(PLAIN, &value);
    assert_eq!(&start[..start.len() - 16], packed);

    let five: [&[u8]; 5] = [b"ab0", b"ab1", b"ab2", b"ab3", b"ab4"];
    assert_eq!(
        payload(PACKING, &list(3, 0, PACKED_THRESHOLD, &five)),
        "12020216160000000300836162300483616231048361623204ff02111100000002008361623304\
         8361623404ff0a009002368fa6233259"
    );
}

#[test]
fn nodes_of_lists_keep_their_form() {
    let long = b"abcabcabcabcabcabcabcabcabcabcabcabcabcabc".repeat(2);
    let elements: Vec<&[u8]> = vec![&long; 7];
    let value = list(2, 1, PACKED_THRESHOLD, &elements);
    let Value::List(List::Chunked(nodes)) = &value else {
        panic!("too long for one listpack");
    };
    let compressed = nodes
        .stored()
        .filter(|node| matches!(node, Stored::Lzf { .. }))
        .count();
    assert_eq!((nodes.node_count(), compressed), (4, 2));
    // What is compressed in memory is written so, wanted or not.
    for encoder in [PLAIN, PACKING] {
        let bytes = content(encoder, &value);
        let mut rest = &bytes[..];
        assert_eq!(take_length(&mut rest), 4);
        let mut forms = Vec::new();
        for _ in 0..4 {
            assert_eq!(take_length(&mut rest), 2);
            let packed = rest[0] == form::LZF;
            forms.push(packed);
            let data = if packed {
                rest = &rest[1..];
                let (now, before) = (take_length(&mut rest), take_length(&mut rest));
                lzf::decompress(&rest[..now], before).map(|data| (data, now))
            } else {
                let len = take_length(&mut rest);
                Ok((rest[..len].to_vec(), len))
            };
            let (data, taken) = data.expect("good data");
            assert!(Listpack::from_bytes(data).is_ok());
            rest = &rest[taken..];
        }
        assert!(rest.is_empty());
        let ends = encoder.compress;
        assert_eq!(forms, [ends, true, true, ends]);
    }
    // Large elements are nodes of their own.
    let value = list(1, 0, 4, &[b"abc", b"large", b"12345", b"d"]);
    assert_eq!(
        hex(&content(PLAIN, &value)),
        "04020c0c000000010083616263\
         04ff01056c6172676501c1393002\
         0a0a0000000100816402ff"
    );
}

#[test]
fn sets_are_those_of_redis() {
    let limits = |entries| set::Limits {
        ints: 10,
        entries,
        value: 64,
    };
    let mut ints = Set::new();
    for member in ["1", "2", "70000"] {
        ints.add(member.as_bytes(), limits(10));
    }
    assert_eq!(
        payload(PACKING, &Value::Set(ints)),
        "0b1404000000030000000100000002000000701101000a0085d5c1065b1dd055"
    );
    // Redis 7.0 has these in a table.
    for most in [10, 0] {
        let mut members = Set::new();
        for member in ["abc", "7", "123456789012"] {
            members.add(member.as_bytes(), limits(most));
        }
        let packed = matches!(members, Set::Packed(_));
        assert_eq!(packed, most == 10);
        let text = payload(PACKING, &Value::Set(members));
        assert_eq!(
            &text[..text.len() - 20],
            "020303616263c0070c313233343536373839303132"
        );
    }
}

#[test]
fn sorted_sets_are_those_of_redis() {
    let zset = |most| {
        let mut zset = ZSet::new();
        for (member, score) in [("a", 1.0), ("b", 1.5), ("c", f64::NEG_INFINITY)] {
            zset.set(member.as_bytes(), score, limits(most));
        }
        Value::ZSet(zset)
    };
    assert_eq!(
        payload(PACKING, &zset(10)),
        "111d1d0000000600816302842d696e6605816102010181620283312e3504ff0a002fa234becaf9c99a"
    );
    assert_eq!(
        payload(PACKING, &zset(0)),
        "05030162000000000000f83f0161000000000000f03f0163000000000000f0ff0a00697a176e216a1240"
    );
}

#[test]
fn hashes_are_those_of_redis() {
    let hash = |most, pairs: &[(&str, &str)]| {
        let mut hash = Hash::new();
        for (field, value) in pairs {
            hash.set(field.as_bytes(), value.as_bytes(), limits(most));
        }
        Value::Hash(hash)
    };
    let pairs = [("f", "v"), ("n", "12")];
    assert_eq!(
        payload(PACKING, &hash(10, &pairs)),
        "1012120000000400816602817602816e020c01ff0a0001369481d35b8974"
    );
    assert_eq!(
        payload(PACKING, &hash(0, &pairs[..1])),
        "0401016601760a00adf24356b1860efc"
    );
    let text = payload(PACKING, &hash(0, &pairs));
    assert!(text.starts_with("040201660176016ec00c0a00"), "{text}");
}

#[test]
fn deadlines_of_fields_make_a_form_of_their_own() {
    let hash = |most| {
        let mut hash = Hash::new();
        for (field, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
            hash.set(field.as_bytes(), value.as_bytes(), limits(most));
        }
        hash.set_deadline(b"b", 1_000_000);
        hash.set_deadline(b"c", 999_936);
        hash
    };
    // The first deadline; then by deadline, and what has none last.
    let packed = Value::Hash(hash(10));
    assert_eq!(tag(&packed), tag::HASH_LISTPACK_EX);
    assert_eq!(version(&packed), 12);
    let items = concat!(
        "816302",
        "0301",
        "f200420f04",
        "816202",
        "0201",
        "f240420f04",
        "816102",
        "0101",
        "0001"
    );
    assert_eq!(
        hex(&content(PLAIN, &packed)),
        format!("00420f00000000002222000000{}{items}ff", "0900")
    );
    let text = payload(PLAIN, &packed);
    assert!(text.starts_with("19") && text[..text.len() - 16].ends_with("ff0c00"));

    // In a table: one more than the distance from the first.
    let table = Value::Hash(hash(0));
    assert_eq!(tag(&table), tag::HASH_METADATA);
    assert_eq!(
        hex(&content(PLAIN, &table)),
        "00420f000000000003000161c0014041\
         0162c002010163c003"
    );

    // Without any left it is a hash like others.
    for (most, wanted) in [(10, tag::HASH_LISTPACK), (0, tag::HASH)] {
        let mut hash = hash(most);
        hash.persist(b"b");
        hash.persist(b"c");
        let value = Value::Hash(hash);
        assert_eq!((tag(&value), version(&value)), (wanted, 10));
        assert!(content(PLAIN, &value).len() < 30);
    }
}

/// A stream as commands would make it: two groups, an entry that is gone and one that is pending.
fn stream() -> Stream {
    let limits = stream::Limits {
        bytes: 4096,
        entries: 100,
    };
    let mut stream = Stream::default();
    for (ms, seq, words) in [
        (5, 1, &["a", "1", "b", "2"][..]),
        (5, 2, &["a", "1", "b", "2"]),
        (6, 0, &["c", "hello"]),
    ] {
        let id = NewId::Exact(StreamId::new(ms, seq));
        let words = words.iter().map(|word| word.as_bytes());
        let added = stream.log.append(id, words, 0, limits);
        added.expect("ids that grow");
    }
    assert!(stream.log.delete(StreamId::new(5, 2)));
    let pending = StreamId::new(5, 1);
    let mut group = Group::new(pending, None);
    group.add_consumer(b"bob", 7);
    let owner = group.add_consumer(b"amy", 8);
    let entry = Pending {
        owner,
        delivered: 1000,
        count: 3,
    };
    group.assign(pending, entry);
    stream.groups.insert(b"g"[..].into(), group);
    let other = Group::new(StreamId::new(6, 0), Some(1));
    stream.groups.insert(b"h"[..].into(), other);
    stream
}

#[test]
fn streams_are_those_of_redis() {
    let text = payload(PLAIN, &Value::Stream(Box::new(stream())));
    let wanted = concat!(
        // One block.
        "13011000000000000000050000000000000001",
        "4042420000001900020101010201816102816202000102010001000101010201050103010001010101010201",
        "050100010101dfff0201018163028568656c6c6f060601ff",
        // Length, last, first and greatest deleted id, entries ever added.
        "0206000501050203",
        // A group, what is pending there, and its consumers.
        "020167050181ffffffffffffffff",
        "010000000000000005000000000000000",
        "1e80300000000000003",
        "0203616d79080000000000000001000000000000000500000000000000010362",
        "6f62070000000000000000",
        "0168060001000",
        "00a00"
    );
    assert_eq!(&text[..text.len() - 16], wanted);

    let empty = Value::Stream(Box::default());
    assert_eq!(hex(&content(PLAIN, &empty)), "00000000000000000000");
}

#[test]
fn entries_come_with_what_belongs_to_the_key() {
    let value = Value::string(b"v");
    for (deadline, access, wanted) in [
        (None, None, "00016b0176"),
        (Some(1), None, "fc010000000000000000016b0176"),
        (None, Some(Access::Idle(70)), "f8404600016b0176"),
        (
            Some(-1),
            Some(Access::Freq(255)),
            "fcfffffffffffffffff9ff00016b0176",
        ),
    ] {
        let mut out = Vec::new();
        PLAIN.entry(&mut out, b"k", &value, deadline, access);
        assert_eq!(hex(&out), wanted);
    }
    let mut out = Vec::new();
    PLAIN.entry(&mut out, b"12", &value, None, None);
    assert_eq!(hex(&out), "00c00c0176", "a key may be an integer too");
}

#[test]
fn a_whole_file_is_that_of_redis() {
    // Saved by Redis 7.0.15 with nothing but `a` = 12.
    let wanted = concat!(
        "524544495330303130fa0972656469732d76657206372e302e3135fa0a72656469732d62697473c040",
        "fa056374696d65c2a8a2016bfa08757365642d6d656dc238d60f00fa08616f662d62617365c000",
        "fe00fb0100000",
        "161c00cff14740f45ffa923de"
    );
    let mut out = Vec::new();
    let aux: [(&str, &[u8]); 5] = [
        ("redis-ver", b"7.0.15"),
        ("redis-bits", b"64"),
        ("ctime", b"1795269288"),
        ("used-mem", b"1037880"),
        ("aof-base", b"0"),
    ];
    PACKING.header(&mut out, VERSION, &aux);
    select(&mut out, 0);
    resize(&mut out, 1, 0);
    PACKING.entry(&mut out, b"a", &Value::Int(12), None, None);
    let crc = crc64::checksum(&out);
    end(&mut out, Some(crc));
    assert_eq!(hex(&out), wanted);

    let mut out = Vec::new();
    PACKING.function(&mut out, b"#!lua");
    end(&mut out, None);
    assert_eq!(hex(&out), "f50523216c7561ff0000000000000000");
}

/// Prints how fast strings are written:
/// `cargo test --release encode -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    const COUNT: usize = 1_000_000;
    let mut rng = Rng::new([6, 7]);
    let digits = b"0123456789abcdef";
    let random = (0..COUNT)
        .map(|_| Value::plain(&[(); 64].map(|()| digits[rng.index(16)])))
        .collect();
    let same = (0..COUNT)
        .map(|n| {
            Value::plain(
                format!(
                    "{{\"user\":{n:08},\"user_name\":\"user-{n:08}\",\"level\":\"user level\"}}"
                )
                .as_bytes(),
            )
        })
        .collect();
    let values: [(&str, Vec<Value>); 2] =
        [("random hexadecimal digits", random), ("repetitive", same)];
    for (name, values) in &values {
        for encoder in [PLAIN, PACKING] {
            let mut out = Vec::with_capacity(100 * COUNT);
            let start = std::time::Instant::now();
            for (n, value) in values.iter().enumerate() {
                encoder.entry(
                    &mut out,
                    format!("key:{n:08}").as_bytes(),
                    value,
                    None,
                    None,
                );
            }
            let took = start.elapsed();
            let rate = COUNT as f64 / took.as_secs_f64() / 1e6;
            println!(
                "{name}, {encoder:?}: {took:?}, {rate:.1} M/s, {} bytes",
                out.len()
            );
        }
    }
}
