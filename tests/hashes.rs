//! Hashes over the wire: encodings, large hashes, scans while fields come and go, random fields.
//! What a Redis 7.0 can show is in `differential/scripts/hashes_*`; fields that expire are in
//! `hash_expiry.rs`. <https://redis.io/docs/latest/commands/?group=hash>

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use support::{Client, NULL, Random, Server, Shared, Value, error, oracle};

static SERVER: OnceLock<Server> = OnceLock::new();

fn server() -> Shared {
    Shared::of(&SERVER, &[])
}

/// Sets fields `f0` to `f<n-1>`, each to its number.
fn fill(c: &mut Client, key: &str, fields: usize) {
    let mut args = vec!["HSET".to_string(), key.to_string()];
    for number in 0..fields {
        args.push(format!("f{number}"));
        args.push(number.to_string());
    }
    assert_eq!(c.cmd(&args), fields as i64);
}

#[track_caller]
fn encoding(c: &mut Client, key: &str) -> String {
    c.cmd(&["OBJECT", "ENCODING", key]).text()
}

#[test]
fn a_hash_is_packed_up_to_the_limits() {
    let s = server();
    let mut c = s.client();
    fill(&mut c, "e:512", 512);
    assert_eq!(encoding(&mut c, "e:512"), "listpack");
    assert_eq!(c.run("HSET e:512 f5 x"), 0);
    assert_eq!(encoding(&mut c, "e:512"), "listpack");
    assert_eq!(c.run("HSETNX e:512 more x"), 1);
    assert_eq!(encoding(&mut c, "e:512"), "hashtable");
    // It stays a table, and holds what it held.
    assert_eq!(c.run("HDEL e:512 more f5"), 2);
    assert_eq!(encoding(&mut c, "e:512"), "hashtable");
    assert_eq!(c.run("HMGET e:512 f5 f6"), array![NULL, "6"]);
    let (long, longer) = ("x".repeat(64), "x".repeat(65));
    for (field, value, expected) in [
        (&long, &long, "listpack"),
        (&longer, &long, "hashtable"),
        (&long, &longer, "hashtable"),
    ] {
        c.run("DEL e:long");
        assert_eq!(c.cmd(&["HSET", "e:long", field, value]), 1);
        assert_eq!(encoding(&mut c, "e:long"), expected);
        assert_eq!(c.cmd(&["HGET", "e:long", field]), *value);
    }
    // As 7.2 does, a command with more pairs than may be packed makes a table from the start.
    if !oracle() {
        let mut args = vec!["HSET", "e:same"];
        (0..513).for_each(|_| args.extend(["f", "v"]));
        assert_eq!(c.cmd(&args), 1);
        assert_eq!(encoding(&mut c, "e:same"), "hashtable");
    }
}

#[test]
fn every_command_works_on_both_encodings() {
    let s = server();
    let mut c = s.client();
    for (key, fields) in [("b:small", 20), ("b:large", 5000)] {
        fill(&mut c, key, fields);
        let all: BTreeMap<_, _> = (0..fields)
            .map(|n| (format!("f{n}"), n.to_string()))
            .collect();
        let listed: BTreeMap<_, _> = c
            .cmd(&["HGETALL", key])
            .texts()
            .chunks(2)
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect();
        assert_eq!(listed, all);
        let keys: Vec<_> = all.keys().cloned().collect();
        assert_eq!(c.cmd(&["HKEYS", key]).sorted(), keys);
        assert_eq!(c.cmd(&["HLEN", key]), fields as i64);
        assert_eq!(c.cmd(&["HVALS", key]).items().len(), fields);
        assert_eq!(c.cmd(&["HGET", key, "f7"]), "7");
        assert_eq!(c.cmd(&["HSTRLEN", key, "f17"]), 2);
        assert_eq!(c.cmd(&["HEXISTS", key, "f17"]), 1);
        assert_eq!(c.cmd(&["HEXISTS", key, "g"]), 0);
        assert_eq!(c.cmd(&["HINCRBY", key, "f7", "5"]), 12);
        assert_eq!(c.cmd(&["HINCRBYFLOAT", key, "f7", "0.5"]), "12.5");
        assert_eq!(c.cmd(&["HDEL", key, "f7", "f7", "f8", "g"]), 2);
        assert_eq!(c.cmd(&["HMGET", key, "f7", "f9"]), array![NULL, "9"]);
        assert_eq!(c.cmd(&["COPY", key, "b:copy", "REPLACE"]), 1);
        assert_eq!(c.cmd(&["HSET", "b:copy", "f9", "x"]), 0);
        assert_eq!(c.cmd(&["HGET", key, "f9"]), "9");
    }
}

#[test]
fn deleting_the_last_field_deletes_the_key() {
    let s = server();
    let mut c = s.client();
    for fields in [3, 1000] {
        fill(&mut c, "d", fields);
        let mut args = vec!["HDEL".to_string(), "d".into()];
        args.extend((0..fields).map(|n| format!("f{n}")));
        assert_eq!(c.cmd(&args), fields as i64);
        assert_eq!(c.run("EXISTS d"), 0);
    }
    assert_eq!(c.run("HDEL d f0"), 0);
}

/// All that a full scan returns; a scan that does not end fails the test.
fn scan_all(c: &mut Client, key: &str, options: &[&str], mut between: impl FnMut()) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), "0".to_string());
    for _ in 0..100_000 {
        let reply = c.cmd(&[&["HSCAN", key, &cursor], options].concat());
        let [next, batch] = reply.items() else {
            panic!("not a cursor and fields: {reply:?}");
        };
        found.extend(batch.texts());
        cursor = next.text();
        if cursor == "0" {
            return found;
        }
        between();
    }
    panic!("the scan does not end");
}

#[test]
fn a_scan_finds_every_field() {
    let s = server();
    let mut c = s.client();
    for (key, fields) in [("s:small", 100), ("s:large", 3000)] {
        fill(&mut c, key, fields);
        for options in [
            &[][..],
            &["COUNT", "1"],
            &["COUNT", "77", "MATCH", "f*"],
            &["count", "9223372036854775807"],
        ] {
            let found = scan_all(&mut c, key, options, || {});
            let distinct: BTreeSet<_> = found.chunks(2).map(|pair| &pair[0]).collect();
            assert_eq!((distinct.len(), found.len()), (fields, 2 * fields));
            assert!(found.chunks(2).all(|pair| pair[0][1..] == pair[1]));
        }
        let mut some = scan_all(&mut c, key, &["MATCH", "f1?"], || {});
        some.sort();
        let values = (10..20).map(|n| n.to_string());
        let names = (10..20).map(|n| format!("f{n}"));
        assert_eq!(some, values.chain(names).collect::<Vec<_>>());
    }
    // One batch of a large hash stays small.
    let batch = c.run("HSCAN s:large 0").items()[1].items().len();
    assert!((2..200).contains(&batch), "{batch} for COUNT 10");
}

#[test]
fn a_scan_misses_nothing_while_fields_go_and_come() {
    let s = server();
    let (mut c, mut other) = (s.client(), s.client());
    fill(&mut c, "s:moving", 2000);
    let mut random = Random::new(5);
    let mut number = 0;
    let found = scan_all(&mut c, "s:moving", &["COUNT", "20"], || {
        for _ in 0..10 {
            // The even fields stay throughout.
            let gone = format!("f{}", 2 * random.below(1000) + 1);
            other.cmd(&["HDEL", "s:moving", &gone]);
            other.cmd(&["HSET", "s:moving", &format!("new{number}"), "v"]);
            number += 1;
        }
    });
    let found: BTreeSet<_> = found.chunks(2).map(|pair| pair[0].clone()).collect();
    for number in (0..2000).step_by(2) {
        assert!(found.contains(&format!("f{number}")), "f{number} is missed");
    }
}

#[test]
fn a_scan_without_values() {
    if oracle() {
        return;
    }
    let s = server();
    let mut c = s.client();
    for (key, fields) in [("v:small", 3), ("v:large", 1000)] {
        fill(&mut c, key, fields);
        for options in [&["NOVALUES"][..], &["count", "50", "NoValues"]] {
            let mut found = scan_all(&mut c, key, options, || {});
            found.sort();
            assert_eq!(found, c.cmd(&["HKEYS", key]).sorted());
        }
        let found = scan_all(
            &mut c,
            key,
            &["NOVALUES", "MATCH", "f2", "COUNT", "10"],
            || {},
        );
        assert_eq!(found, ["f2"]);
    }
    let empty = array!["0", Value::Array(vec![])];
    assert_eq!(c.run("HSCAN v:none 0 NOVALUES"), empty);
    let syntax = error("ERR syntax error");
    assert_eq!(c.run("HSCAN v:small 0 NOVALUES 1"), syntax);
    assert_eq!(c.run("HSCAN v:small 0 MATCH NOVALUES x"), syntax);
    assert_eq!(c.run("SCAN 0 NOVALUES"), syntax);
}

#[test]
fn random_fields() {
    let s = server();
    let (mut c, mut c3) = (s.client(), s.client3());
    for (key, fields) in [("r:small", 30), ("r:large", 2000)] {
        fill(&mut c, key, fields);
        for count in [1, 2, 10, 29, fields - 1, fields, fields + 1] {
            let drawn = c.cmd(&["HRANDFIELD", key, &count.to_string()]).texts();
            let distinct: BTreeSet<_> = drawn.iter().collect();
            let expected = count.min(fields);
            assert_eq!((drawn.len(), distinct.len()), (expected, expected));
            let text = count.to_string();
            let pairs = c.cmd(&["HRANDFIELD", key, &text, "WITHVALUES"]).texts();
            assert_eq!(pairs.len(), 2 * expected);
            assert!(pairs.chunks(2).all(|pair| pair[0][1..] == pair[1]));
            let nested = c3.cmd(&["HRANDFIELD", key, &text, "WITHVALUES"]);
            assert_eq!(nested.items().len(), expected);
            assert!(nested.items().iter().all(|pair| {
                let pair = pair.texts();
                pair.len() == 2 && pair[0][1..] == pair[1]
            }));
        }
        assert_eq!(c.cmd(&["HRANDFIELD", key, "-5000"]).items().len(), 5000);
        let pairs = c.cmd(&["HRANDFIELD", key, "-5000", "withvalues"]).texts();
        assert_eq!(pairs.len(), 10_000);
        assert!(pairs.chunks(2).all(|pair| pair[0][1..] == pair[1]));
        let seen: BTreeSet<_> = pairs.chunks(2).map(|pair| &pair[0]).collect();
        assert!(seen.len() > fields / 2, "{} of {fields}", seen.len());
        let one = c.cmd(&["HRANDFIELD", key]).text();
        assert!(one.starts_with('f'), "{one}");
        // A count far beyond what is there costs nothing.
        for count in ["4611686018427387904", "9223372036854775807"] {
            assert_eq!(c.cmd(&["HRANDFIELD", key, count]).items().len(), fields);
        }
    }
}

/// Many random changes, compared with a model.
#[test]
fn behaves_as_a_map() {
    let s = server();
    let mut c = s.client();
    let mut random = Random::new(11);
    for (key, names) in [("m:small", 40), ("m:large", 1500)] {
        let mut model = BTreeMap::<String, String>::new();
        for _ in 0..4000 {
            let field = format!("f{}", random.below(names));
            match random.below(6) {
                0..3 => {
                    let value = random.below(1000).to_string();
                    let new = model.insert(field.clone(), value.clone()).is_none();
                    assert_eq!(c.cmd(&["HSET", key, &field, &value]), i64::from(new));
                }
                3 => {
                    let gone = model.remove(&field).is_some();
                    assert_eq!(c.cmd(&["HDEL", key, &field]), i64::from(gone));
                }
                4 => {
                    let value = model.entry(field.clone()).or_insert("0".into());
                    let sum = value.parse::<i64>().unwrap() + 7;
                    *value = sum.to_string();
                    assert_eq!(c.cmd(&["HINCRBY", key, &field, "7"]), sum);
                }
                _ => {
                    let value = c.cmd(&["HGET", key, &field]);
                    match model.get(&field) {
                        Some(expected) => assert_eq!(value, *expected),
                        None => assert!(value.is_null()),
                    }
                }
            }
        }
        assert_eq!(c.cmd(&["HLEN", key]), model.len() as i64);
        let flat = c.cmd(&["HGETALL", key]).texts();
        let listed: BTreeMap<_, _> = flat
            .chunks(2)
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect();
        assert_eq!(listed, model);
    }
}
