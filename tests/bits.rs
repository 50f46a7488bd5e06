//! Bitmaps and HyperLogLogs, over the wire: what a comparison of replies does not show.
//! <https://redis.io/docs/latest/commands/?group=bitmap>

mod support;

use std::sync::OnceLock;
use support::{Client, NULL, Random, Server, Shared, Value, error, simple};

static SERVER: OnceLock<Server> = OnceLock::new();

fn server() -> Shared {
    Shared::of(&SERVER, &[])
}

#[track_caller]
fn fails(c: &mut Client, line: &str, text: &str) {
    assert_eq!(c.run(line), error(text), "{line}");
}

#[track_caller]
fn counts(c: &mut Client, line: &str, number: i64) {
    assert_eq!(c.run(line), Value::Int(number), "{line}");
}

#[test]
fn the_last_bit_that_there_is() {
    let s = server();
    let mut c = s.client();
    counts(&mut c, "SETBIT far 4294967295 1", 0);
    counts(&mut c, "STRLEN far", 536_870_912);
    counts(&mut c, "GETBIT far 4294967295", 1);
    counts(&mut c, "BITPOS far 1", 4_294_967_295);
    counts(&mut c, "BITCOUNT far", 1);
    counts(&mut c, "DEL far", 1);
    let offset = "ERR bit offset is not an integer or out of range";
    fails(&mut c, "SETBIT far 4294967296 1", offset);
    fails(&mut c, "GETBIT far 4294967296", offset);
    fails(&mut c, "BITFIELD far SET u8 #536870912 1", offset);
    counts(&mut c, "EXISTS far", 0);
}

#[test]
fn bits_agree_with_a_model() {
    let s = server();
    let mut c = s.client();
    let mut random = Random::new(7);
    let mut model = vec![false; 2000];
    for _ in 0..2000 {
        let (at, on) = (random.below(2000) as usize, random.below(2) == 1);
        let old = std::mem::replace(&mut model[at], on);
        let line = format!("SETBIT model {at} {}", u8::from(on));
        counts(&mut c, &line, i64::from(old));
    }
    for _ in 0..500 {
        let start = random.below(2000) as usize;
        let end = start + random.below(2000 - start as u64) as usize;
        let part = &model[start..=end];
        let set = part.iter().filter(|bit| **bit).count() as i64;
        counts(&mut c, &format!("BITCOUNT model {start} {end} BIT"), set);
        for wanted in [false, true] {
            let found = part.iter().position(|bit| *bit == wanted);
            let line = format!("BITPOS model {} {start} {end} BIT", u8::from(wanted));
            counts(&mut c, &line, found.map_or(-1, |at| (start + at) as i64));
        }
    }
}

#[test]
fn combinations_of_long_strings() {
    let s = server();
    let mut c = s.client();
    let mut random = Random::new(8);
    let mut strings: Vec<Vec<u8>> = Vec::new();
    for (number, len) in [100_003, 70_001, 100_000].into_iter().enumerate() {
        let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        let key = format!("long{number}");
        let set = [b"SET", key.as_bytes(), &bytes];
        assert_eq!(c.cmd(&set), simple("OK"));
        strings.push(bytes);
    }
    type Step = fn(u8, u8) -> u8;
    let steps: [(&str, Step); 3] = [
        ("AND", |a, b| a & b),
        ("OR", |a, b| a | b),
        ("XOR", |a, b| a ^ b),
    ];
    for (name, step) in steps {
        let line = format!("BITOP {name} result long0 long1 long2");
        counts(&mut c, &line, 100_003);
        let at = |bytes: &Vec<u8>, index| bytes.get(index).copied().unwrap_or(0);
        let expected: Vec<u8> = (0..100_003)
            .map(|index| {
                let [a, b, c] = [0, 1, 2].map(|number| at(&strings[number], index));
                step(step(a, b), c)
            })
            .collect();
        assert_eq!(c.run("GET result"), Value::Bulk(expected), "{name}");
    }
}

#[test]
fn encodings_and_deadlines() {
    let s = server();
    let mut c = s.client();
    c.run("SET short 12 EX 1000");
    assert_eq!(c.run("OBJECT ENCODING short").text(), "int");
    counts(&mut c, "SETBIT short 0 0", 0);
    assert_eq!(c.run("OBJECT ENCODING short").text(), "raw");
    assert!(matches!(c.run("TTL short"), Value::Int(900..=1000)));
    counts(&mut c, "BITOP NOT short short", 2);
    counts(&mut c, "TTL short", -1);
    c.run("SET one 5");
    counts(&mut c, "BITOP OR copied one", 1);
    assert_eq!(c.run("OBJECT ENCODING copied").text(), "raw");
    counts(&mut c, "INCR copied", 6);
}

#[test]
fn a_field_that_fails_is_null_in_both_protocols() {
    let s = server();
    let mut c = s.client();
    let line = "BITFIELD nulls OVERFLOW FAIL SET u2 0 4 SET u2 0 3 INCRBY u2 0 1";
    let expected = Value::Array(vec![NULL, Value::Int(0), NULL]);
    assert_eq!(c.run(line), expected);
    c.run("DEL nulls");
    c.run("HELLO 3");
    assert_eq!(c.run(line), expected);
}

#[test]
fn estimates_are_near() {
    let s = server();
    let mut c = s.client();
    for thousand in 0..100 {
        let elements: Vec<String> = (0..1000)
            .map(|number| format!("{}", thousand * 1000 + number))
            .collect();
        let mut args = vec!["PFADD", "near"];
        args.extend(elements.iter().map(String::as_str));
        counts_as_one(c.cmd(&args), thousand);
    }
    let Value::Int(count) = c.run("PFCOUNT near") else {
        panic!("no count");
    };
    assert!((97_000..103_000).contains(&count), "{count}");
    counts(&mut c, "PFCOUNT near near nothing", count);
    assert_eq!(c.run("PFMERGE near2 near"), simple("OK"));
    counts(&mut c, "PFCOUNT near2", count);
    counts(&mut c, "STRLEN near2", 12_304);
}

/// Each thousand of new elements changes some register.
#[track_caller]
fn counts_as_one(reply: Value, thousand: i32) {
    assert_eq!(reply, Value::Int(1), "thousand {thousand}");
}

#[test]
fn sparse_until_the_limit() {
    let s = server();
    let mut c = s.client();
    let encoding = |c: &mut Client| c.run("PFDEBUG ENCODING grows").text();
    let mut sparse = 0;
    for number in 0..3000 {
        c.run(&format!("PFADD grows {number}"));
        if encoding(&mut c) == "dense" {
            break;
        }
        sparse = match c.run("STRLEN grows") {
            Value::Int(len) => len,
            other => panic!("{other:?}"),
        };
    }
    assert!((2900..=3000).contains(&sparse), "{sparse}");
    counts(&mut c, "STRLEN grows", 12_304);
    fails(
        &mut c,
        "PFDEBUG DECODE grows",
        "ERR HLL encoding is not sparse",
    );
}

#[test]
fn many_count_the_same_key_at_a_time() {
    let s = server();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let server = &s;
            scope.spawn(move || {
                let mut c = server.client();
                for number in 0..500 {
                    c.run(&format!("PFADD shared {thread}:{number}"));
                    assert!(matches!(c.run("PFCOUNT shared"), Value::Int(1..=2100)));
                }
            });
        }
    });
    let Value::Int(count) = s.client().run("PFCOUNT shared") else {
        panic!("no count");
    };
    assert!((1900..=2100).contains(&count), "{count}");
}

#[test]
fn the_self_test_passes_over_the_wire() {
    let s = server();
    assert_eq!(s.client().run("PFSELFTEST"), simple("OK"));
}
