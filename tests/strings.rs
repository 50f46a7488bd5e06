//! The string commands, over the wire: every option, every error text, values of every size.
//! <https://redis.io/docs/latest/commands/?group=string>

mod support;

use std::sync::OnceLock;
use support::{Client, NULL, Random, Server, Shared, Value, error, simple};

static SERVER: OnceLock<Server> = OnceLock::new();

fn server() -> Shared {
    Shared::of(&SERVER, &[])
}

const SYNTAX: &str = "ERR syntax error";
const NOT_INT: &str = "ERR value is not an integer or out of range";
const NOT_FLOAT: &str = "ERR value is not a valid float";
const OVERFLOW: &str = "ERR increment or decrement would overflow";
const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

#[track_caller]
fn fails(c: &mut Client, line: &str, text: &str) {
    assert_eq!(c.run(line), error(text), "{line}");
}

#[test]
fn every_command_checks_its_arity() {
    let s = server();
    let mut c = s.client();
    let short = [
        "append k",
        "decr",
        "decrby k",
        "get",
        "getdel",
        "getex",
        "getrange k 0",
        "getset k",
        "incr",
        "incrby k",
        "incrbyfloat k",
        "lcs k",
        "mget",
        "mset k",
        "msetnx k",
        "psetex k 1",
        "set k",
        "setex k 1",
        "setnx k",
        "setrange k 0",
        "strlen",
        "substr k 0",
    ];
    let long = [
        "append k v v",
        "decr k v",
        "decrby k 1 1",
        "get k k",
        "getdel k k",
        "getrange k 0 1 2",
        "getset k v v",
        "incr k v",
        "incrby k 1 1",
        "incrbyfloat k 1 1",
        "psetex k 1 v v",
        "setex k 1 v v",
        "setnx k v v",
        "setrange k 0 v v",
        "strlen k k",
        "substr k 0 1 2",
    ];
    for line in short.into_iter().chain(long) {
        let name = line.split(' ').next().unwrap();
        let text = format!("ERR wrong number of arguments for '{name}' command");
        fails(&mut c, line, &text);
        // The name comes back in lower case, however it was written.
        fails(&mut c, &line.to_uppercase(), &text);
    }
}

#[test]
fn set_and_get() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.run("SET sg a"), simple("OK"));
    assert_eq!(c.run("GET sg"), Value::from("a"));
    assert_eq!(c.run("sEt sg b"), simple("OK"));
    assert_eq!(c.run("gET sg"), "b");
    assert_eq!(c.cmd_raw(&["GET", "sg"]), b"$1\r\nb\r\n");
    assert_eq!(c.cmd_raw(&["GET", "sg:none"]), b"$-1\r\n");
    assert_eq!(s.client3().cmd_raw(&["GET", "sg:none"]), b"_\r\n");
    // The empty key and the empty value are a key and a value like others.
    assert_eq!(c.cmd(&["SET", "", ""]), "OK");
    assert_eq!(c.cmd_raw(&["GET", ""]), b"$0\r\n\r\n");
    assert_eq!(c.cmd(&["DEL", ""]), 1);
}

#[test]
fn every_byte_is_allowed_in_keys_and_values() {
    let s = server();
    let mut c = s.client();
    let all: Vec<u8> = (0..=255).collect();
    let mut key = b"bytes:".to_vec();
    key.extend_from_slice(&all);
    assert_eq!(c.cmd(&[b"SET", &key[..], &all]), "OK");
    assert_eq!(c.cmd(&[b"GET", &key[..]]), all);
    for byte in 0..=255u8 {
        let key = [b'1', b':', byte];
        assert_eq!(c.cmd(&[b"SET", &key[..], &[byte]]), "OK");
        assert_eq!(c.cmd(&[b"GETRANGE", &key[..], b"0", b"-1"]), vec![byte]);
    }
}

#[test]
fn set_conditions() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.run("SET sc a XX"), NULL);
    assert_eq!(c.run("EXISTS sc"), 0);
    assert_eq!(c.run("SET sc a nx"), "OK");
    assert_eq!(c.run("SET sc b NX"), NULL);
    assert_eq!(c.run("GET sc"), "a");
    assert_eq!(c.run("SET sc b xx"), "OK");
    assert_eq!(c.run("SET sc c GET"), Value::from("b"));
    assert_eq!(c.run("SET sc d NX GET"), Value::from("c"));
    assert_eq!(c.run("GET sc"), "c");
    assert_eq!(c.run("SET sc d XX GET"), "c");
    assert_eq!(c.run("SET sc:2 d XX GET"), NULL);
    assert_eq!(c.run("SET sc:2 d NX GET"), NULL);
    assert_eq!(c.run("MGET sc sc:2"), array!["d", "d"]);
}

#[test]
fn set_expiries() {
    let s = server();
    let mut c = s.client();
    let near = |value: Value, low: i64, high: i64| {
        let n = value.int();
        assert!((low..=high).contains(&n), "{n} not in {low}..={high}");
    };
    assert_eq!(c.run("SET se a EX 100"), "OK");
    near(c.run("PTTL se"), 90_000, 100_000);
    assert_eq!(c.run("SET se a PX 50000"), "OK");
    near(c.run("PTTL se"), 40_000, 50_000);
    assert_eq!(c.run("SET se a EXAT 33177117420"), "OK");
    assert_eq!(c.run("EXPIRETIME se"), 33_177_117_420);
    assert_eq!(c.run("SET se b KEEPTTL"), "OK");
    assert_eq!(c.run("EXPIRETIME se"), 33_177_117_420);
    assert_eq!(c.run("SET se a pxat 33177117420123"), "OK");
    assert_eq!(c.run("PEXPIRETIME se"), 33_177_117_420_123);
    assert_eq!(c.run("SET se c"), "OK");
    assert_eq!(c.run("TTL se"), -1);
    // A time in the past: the key is set and gone.
    assert_eq!(c.run("SET se d PXAT 1"), "OK");
    assert_eq!(c.run("EXISTS se"), 0);
    assert_eq!(c.run("SET se e XX GET EX 10"), NULL);
    assert_eq!(c.run("SET se e EX 10 NX GET"), NULL);
    assert_eq!(c.run("TTL se"), 10);
}

#[test]
fn set_refuses_what_makes_no_sense() {
    let s = server();
    let mut c = s.client();
    for line in [
        "SET sr a NX XX",
        "SET sr a XX NX",
        "SET sr a EX 1 PX 1",
        "SET sr a EX 1 KEEPTTL",
        "SET sr a KEEPTTL PX 1",
        "SET sr a EX",
        "SET sr a PXAT",
        "SET sr a EXAT 5 EX 5",
        "SET sr a FOO",
        "SET sr a b",
        "SET sr a PERSIST",
    ] {
        fails(&mut c, line, SYNTAX);
    }
    for line in [
        "SET sr a EX x",
        "SET sr a PX 1.5",
        "SET sr a EXAT 99999999999999999999",
    ] {
        fails(&mut c, line, NOT_INT);
    }
    for line in [
        "SET sr a EX 0",
        "SET sr a PX -1",
        "SET sr a EXAT 0",
        "SET sr a PXAT -5",
        "SET sr a EX 9223372036854775807",
        "SET sr a EX 9223372036854775",
        "SET sr a PX 9223372036854775807",
        "SET sr a EXAT 9223372036854776",
    ] {
        fails(&mut c, line, "ERR invalid expire time in 'set' command");
    }
    assert_eq!(c.run("EXISTS sr"), 0);
}

#[test]
fn setex_psetex_setnx_getset_getdel() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.run("SETEX sx 100 a"), "OK");
    assert_eq!(c.run("TTL sx"), 100);
    assert_eq!(c.run("PSETEX sx 90000 b"), "OK");
    assert_eq!(c.run("TTL sx"), 90);
    for (line, name) in [("SETEX sx 0 a", "setex"), ("PSETEX sx -1 a", "psetex")] {
        fails(
            &mut c,
            line,
            &format!("ERR invalid expire time in '{name}' command"),
        );
    }
    fails(&mut c, "SETEX sx x a", NOT_INT);
    assert_eq!(c.run("SETNX sx c"), 0);
    assert_eq!(c.run("GET sx"), "b");
    assert_eq!(c.run("SETNX sx:new c"), 1);
    assert_eq!(c.run("GETSET sx d"), "b");
    assert_eq!(c.run("TTL sx"), -1);
    assert_eq!(c.run("GETSET sx:none d"), NULL);
    assert_eq!(c.run("GETDEL sx"), "d");
    assert_eq!(c.run("GETDEL sx"), NULL);
    assert_eq!(c.run("EXISTS sx"), 0);
}

#[test]
fn getex() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.run("GETEX gx EX 10"), NULL);
    c.run("SET gx v");
    assert_eq!(c.run("GETEX gx"), "v");
    assert_eq!(c.run("TTL gx"), -1);
    assert_eq!(c.run("GETEX gx EX 10"), "v");
    assert_eq!(c.run("TTL gx"), 10);
    assert_eq!(c.run("GETEX gx"), "v");
    assert_eq!(c.run("TTL gx"), 10);
    assert_eq!(c.run("GETEX gx PERSIST"), "v");
    assert_eq!(c.run("TTL gx"), -1);
    assert_eq!(c.run("GETEX gx PX 20000"), "v");
    assert_eq!(c.run("TTL gx"), 20);
    assert_eq!(c.run("GETEX gx EXAT 33177117420"), "v");
    assert_eq!(c.run("EXPIRETIME gx"), 33_177_117_420);
    assert_eq!(c.run("GETEX gx PXAT 33177117420999"), "v");
    assert_eq!(c.run("PEXPIRETIME gx"), 33_177_117_420_999);
    for line in [
        "GETEX gx EX",
        "GETEX gx EX 1 PERSIST",
        "GETEX gx KEEPTTL",
        "GETEX gx NX",
        "GETEX gx FOO",
        "GETEX gx PERSIST PERSIST x",
        "GETEX gx EX 1 PX 1",
    ] {
        fails(&mut c, line, SYNTAX);
    }
    fails(&mut c, "GETEX gx EX x", NOT_INT);
    fails(
        &mut c,
        "GETEX gx EX 0",
        "ERR invalid expire time in 'getex' command",
    );
    assert_eq!(c.run("GETEX gx PXAT 1"), "v");
    assert_eq!(c.run("EXISTS gx"), 0);
}

#[test]
fn mset_mget_msetnx() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.run("MSET m:a 1 m:b 2 m:a 3"), simple("OK"));
    assert_eq!(
        c.run("MGET m:a m:none m:b m:a"),
        array!["3", NULL, "2", "3"]
    );
    assert_eq!(s.client3().cmd_raw(&["MGET", "m:none"]), b"*1\r\n_\r\n");
    assert_eq!(c.run("MSETNX m:c 1 m:b 9"), 0);
    assert_eq!(c.run("EXISTS m:c"), 0);
    assert_eq!(c.run("MSETNX m:c 1 m:d 2 m:c 5"), 1);
    assert_eq!(c.run("MGET m:c m:d"), array!["5", "2"]);
    fails(
        &mut c,
        "MSET a b c",
        "ERR wrong number of arguments for 'mset' command",
    );
    fails(
        &mut c,
        "MSETNX a b c",
        "ERR wrong number of arguments for 'msetnx' command",
    );
    c.run("EXPIRE m:a 100");
    c.run("MSET m:a 1");
    assert_eq!(c.run("TTL m:a"), -1);
    let mut set: Vec<String> = vec!["MSET".into()];
    let mut get: Vec<String> = vec!["MGET".into()];
    let mut expected = Vec::new();
    for i in 0..10_000 {
        set.extend([format!("m:many:{i}"), format!("v{i}")]);
        get.push(format!("m:many:{i}"));
        expected.push(Value::from(format!("v{i}")));
    }
    assert_eq!(c.cmd(&set), "OK");
    assert_eq!(c.cmd(&get), Value::Array(expected));
}

#[test]
fn integers() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.run("INCR i"), 1);
    assert_eq!(c.run("INCRBY i 41"), 42);
    assert_eq!(c.run("DECR i"), 41);
    assert_eq!(c.run("DECRBY i 100"), -59);
    assert_eq!(c.run("INCRBY i -1"), -60);
    assert_eq!(c.run("DECRBY i:new 5"), -5);
    assert_eq!(c.cmd(&["GET", "i"]), "-60");
    c.run("SET i 9223372036854775806");
    assert_eq!(c.run("INCR i"), i64::MAX);
    fails(&mut c, "INCR i", OVERFLOW);
    fails(&mut c, "DECRBY i -1", OVERFLOW);
    assert_eq!(c.run("GET i"), "9223372036854775807");
    c.run("SET i -9223372036854775808");
    fails(&mut c, "DECR i", OVERFLOW);
    fails(&mut c, "INCRBY i -1", OVERFLOW);
    fails(
        &mut c,
        "DECRBY i -9223372036854775808",
        "ERR decrement would overflow",
    );
    assert_eq!(c.run("INCRBY i 9223372036854775807"), -1);
    for value in [
        "",
        " 1",
        "1 ",
        "+1",
        "01",
        "0x1",
        "1.0",
        "-0",
        "--1",
        "9223372036854775808",
        "a",
    ] {
        c.cmd(&["SET", "i:bad", value]);
        assert_eq!(c.cmd(&["INCR", "i:bad"]), error(NOT_INT), "'{value}'");
        assert_eq!(
            c.cmd(&["INCRBY", "i", value]),
            error(NOT_INT),
            "by '{value}'"
        );
        assert_eq!(
            c.cmd(&["DECRBY", "i", value]),
            error(NOT_INT),
            "by '{value}'"
        );
        assert_eq!(c.cmd(&["GET", "i:bad"]), value);
    }
    c.run("SET i 5 EX 100");
    c.run("INCR i");
    assert_eq!(c.run("TTL i"), 100);
}

#[test]
fn floats() {
    let s = server();
    let mut c = s.client();
    let cases = [
        ("10.50", "0.1", "10.6"),
        ("5.0e3", "2.0e2", "5200"),
        ("10.6", "-5", "5.6"),
        ("1", "1.5", "2.5"),
        ("3", "0", "3"),
        ("0", "1e-7", "0.0000001"),
        ("3.0", "1.000", "4"),
        ("-1", "1", "0"),
        ("0.1", "0.2", "0.3"),
        ("1e17", "1", "100000000000000001"),
        ("0", "-0.0", "0"),
        ("17179869184.5", "17179869184.25", "34359738368.75"),
        ("1", "-1.25", "-0.25"),
        ("0", "+5", "5"),
        ("2", "0x10", "18"),
    ];
    for (start, by, sum) in cases {
        c.cmd(&["SET", "f", start]);
        assert_eq!(
            c.cmd(&["INCRBYFLOAT", "f", by]),
            Value::from(sum),
            "{start} + {by}"
        );
        assert_eq!(c.cmd(&["GET", "f"]), sum);
    }
    assert_eq!(c.run("INCRBYFLOAT f:new 1.25"), "1.25");
    // RESP3 sends it as a string too.
    assert_eq!(
        s.client3().cmd_raw(&["INCRBYFLOAT", "f:new", "1"]),
        b"$4\r\n2.25\r\n"
    );
    for value in ["", " 1", "1 ", "abc", "1.2.3", "nan"] {
        c.cmd(&["SET", "f:bad", value]);
        assert_eq!(
            c.cmd(&["INCRBYFLOAT", "f:bad", "1"]),
            error(NOT_FLOAT),
            "'{value}'"
        );
        assert_eq!(
            c.cmd(&["INCRBYFLOAT", "f", value]),
            error(NOT_FLOAT),
            "by '{value}'"
        );
    }
    c.run("SET f 1");
    let infinite = "ERR increment would produce NaN or Infinity";
    fails(&mut c, "INCRBYFLOAT f inf", infinite);
    fails(&mut c, "INCRBYFLOAT f -infinity", infinite);
    c.run("SET f 1 EX 100");
    c.run("INCRBYFLOAT f 1");
    assert_eq!(c.run("TTL f"), 100);
}

#[test]
fn append_strlen_ranges() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.run("STRLEN ap"), 0);
    assert_eq!(c.run("APPEND ap Hello"), 5);
    assert_eq!(c.cmd(&["APPEND", "ap", " World"]), 11);
    assert_eq!(c.cmd(&["APPEND", "ap", ""]), 11);
    assert_eq!(c.run("STRLEN ap"), 11);
    for (from, to, part) in [
        ("0", "4", "Hello"),
        ("-5", "-1", "World"),
        ("0", "-1", "Hello World"),
        ("3", "2", ""),
        ("-1", "-5", ""),
        ("0", "1000", "Hello World"),
        ("-100", "0", "H"),
        ("11", "20", ""),
        ("-100", "-50", "H"),
        ("4", "6", "o W"),
        ("-9223372036854775808", "9223372036854775807", "Hello World"),
    ] {
        for name in ["GETRANGE", "SUBSTR"] {
            let reply = c.cmd(&[name, "ap", from, to]);
            assert_eq!(reply, Value::from(part), "{name} {from} {to}");
        }
    }
    assert_eq!(c.run("GETRANGE ap:none 0 -1"), "");
    fails(&mut c, "GETRANGE ap a 1", NOT_INT);
    fails(&mut c, "SUBSTR ap 0 1.5", NOT_INT);
    c.run("SET ap 12345");
    assert_eq!(c.run("GETRANGE ap 1 3"), "234");
    assert_eq!(c.run("STRLEN ap"), 5);
    assert_eq!(c.run("APPEND ap 6"), 6);
    assert_eq!(c.run("INCR ap"), 123_457);
    c.run("EXPIRE ap 100");
    c.run("APPEND ap 8");
    assert_eq!(c.run("TTL ap"), 100);
}

#[test]
fn setrange() {
    let s = server();
    let mut c = s.client();
    c.cmd(&["SET", "r", "Hello World"]);
    assert_eq!(c.run("SETRANGE r 6 Redis"), 11);
    assert_eq!(c.run("GET r"), "Hello Redis");
    assert_eq!(c.run("SETRANGE r:new 3 ab"), 5);
    assert_eq!(c.run("GET r:new"), "\0\0\0ab");
    // Nothing to write: nothing is padded or created.
    assert_eq!(c.cmd(&["SETRANGE", "r:none", "10", ""]), 0);
    assert_eq!(c.run("EXISTS r:none"), 0);
    assert_eq!(c.cmd(&["SETRANGE", "r", "100", ""]), 11);
    c.run("SET r:int 1234");
    assert_eq!(c.run("SETRANGE r:int 1 0"), 4);
    assert_eq!(c.run("GET r:int"), "1034");
    assert_eq!(c.run("INCR r:int"), 1035);
    fails(&mut c, "SETRANGE r -1 x", "ERR offset is out of range");
    fails(&mut c, "SETRANGE r:none -1 x", "ERR offset is out of range");
    fails(&mut c, "SETRANGE r a x", NOT_INT);
    fails(&mut c, "SETRANGE r 536870912 x", TOO_LONG);
    fails(&mut c, "SETRANGE r:none 536870911 xy", TOO_LONG);
    fails(&mut c, "SETRANGE r 9223372036854775807 x", TOO_LONG);
    assert_eq!(c.run("EXISTS r:none"), 0);
    assert_eq!(c.run("GET r"), "Hello Redis");
}

#[test]
fn lcs() {
    let s = server();
    let mut c = s.client();
    c.run("MSET l:1 ohmytext l:2 mynewtext");
    assert_eq!(c.run("LCS l:1 l:2"), Value::from("mytext"));
    assert_eq!(c.run("LCS l:1 l:2 LEN"), 6);
    let long = array![array![4, 7], array![5, 8]];
    let short = array![array![2, 3], array![0, 1]];
    assert_eq!(
        c.run("LCS l:1 l:2 IDX"),
        array!["matches", array![long.clone(), short.clone()], "len", 6]
    );
    assert_eq!(
        c.run("lcs l:1 l:2 idx minmatchlen 4"),
        array!["matches", array![long], "len", 6]
    );
    let with = |mut range: Value, length: i64| {
        if let Value::Array(items) = &mut range {
            items.push(Value::Int(length));
        }
        range
    };
    assert_eq!(
        c.run("LCS l:1 l:2 IDX MINMATCHLEN 4 WITHMATCHLEN"),
        array![
            "matches",
            array![with(array![array![4, 7], array![5, 8]], 4)],
            "len",
            6
        ]
    );
    assert_eq!(
        s.client3().run("LCS l:1 l:2 IDX WITHMATCHLEN"),
        Value::Map(vec![
            (
                Value::from("matches"),
                array![with(array![array![4, 7], array![5, 8]], 4), with(short, 2)]
            ),
            (Value::from("len"), Value::Int(6)),
        ])
    );
    assert_eq!(c.run("LCS l:1 l:none"), "");
    assert_eq!(c.run("LCS l:none l:1 LEN"), 0);
    let none: Vec<Value> = vec![];
    assert_eq!(
        c.run("LCS l:1 l:none IDX"),
        array!["matches", Value::Array(none), "len", 0]
    );
    assert_eq!(
        c.run("LCS l:1 l:2 IDX MINMATCHLEN -5"),
        c.run("LCS l:1 l:2 IDX")
    );
    fails(&mut c, "LCS l:1 l:2 FOO", SYNTAX);
    fails(&mut c, "LCS l:1 l:2 MINMATCHLEN", SYNTAX);
    fails(&mut c, "LCS l:1 l:2 IDX MINMATCHLEN x", NOT_INT);
    fails(
        &mut c,
        "LCS l:1 l:2 IDX LEN",
        "ERR If you want both the length and indexes, please just use IDX.",
    );
}

/// The length of a longest common subsequence, by the textbook.
fn lcs_length(a: &[u8], b: &[u8]) -> i64 {
    let mut row = vec![0i64; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y {
                diagonal + 1
            } else {
                above.max(row[j])
            };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[test]
fn lcs_of_random_strings() {
    let s = server();
    let mut c = s.client();
    let mut random = Random::new(7);
    for _ in 0..200 {
        let mut word = |limit: u64| -> Vec<u8> {
            let length = random.below(limit);
            (0..length).map(|_| b'a' + random.below(4) as u8).collect()
        };
        let (a, b) = (word(60), word(60));
        c.cmd(&[&b"MSET"[..], b"lr:1", &a, b"lr:2", &b]);
        let length = lcs_length(&a, &b);
        assert_eq!(c.run("LCS lr:1 lr:2 LEN"), length, "{a:?} {b:?}");
        let common = c.run("LCS lr:1 lr:2").bytes().to_vec();
        assert_eq!(common.len() as i64, length);
        for text in [&a, &b] {
            let mut rest = text.iter();
            assert!(
                common.iter().all(|x| rest.any(|y| x == y)),
                "{common:?} in {text:?}"
            );
        }
        // The ranges, read from the last to the first, spell the same string.
        let ranges = c.run("LCS lr:1 lr:2 IDX").field("matches");
        let mut spelt = Vec::new();
        for range in ranges.items().iter().rev() {
            let ends: Vec<usize> = range.items()[0]
                .items()
                .iter()
                .map(|n| n.int() as usize)
                .collect();
            spelt.extend_from_slice(&a[ends[0]..=ends[1]]);
        }
        assert_eq!(spelt, common);
    }
}

#[test]
fn encodings() {
    let s = server();
    let mut c = s.client();
    let mut encoding = |value: &str| {
        c.cmd(&["SET", "enc", value]);
        c.run("OBJECT ENCODING enc").text()
    };
    for number in [
        "0",
        "-1",
        "12345",
        "9223372036854775807",
        "-9223372036854775808",
    ] {
        assert_eq!(encoding(number), "int", "{number}");
    }
    for text in [
        "",
        "a",
        "01",
        "+1",
        "-0",
        "1.5",
        "9223372036854775808",
        &"x".repeat(44),
    ] {
        assert_eq!(encoding(text), "embstr", "{text}");
    }
    for length in [45, 64, 1000] {
        assert_eq!(encoding(&"x".repeat(length)), "raw", "{length}");
    }
    c.run("SET enc a");
    c.run("APPEND enc b");
    assert_eq!(c.run("OBJECT ENCODING enc"), "raw");
    c.run("SET enc 12");
    c.run("INCR enc");
    assert_eq!(c.run("OBJECT ENCODING enc"), "int");
    c.run("APPEND enc 4");
    assert_eq!(c.run("OBJECT ENCODING enc"), "raw");
    c.run("INCR enc");
    assert_eq!(c.run("OBJECT ENCODING enc"), "int");
}

#[test]
fn values_of_every_size_come_back_whole() {
    let s = server();
    let mut c = s.client();
    let sizes = [
        1, 2, 7, 8, 15, 16, 22, 23, 24, 31, 32, 43, 44, 45, 63, 64, 127, 128, 255, 256, 4095, 4096,
        16_383, 16_384, 16_385, 32_767, 32_768, 65_535, 65_536, 1_000_000, 20_000_000,
    ];
    for size in sizes {
        let value: Vec<u8> = (0..size).map(|i| (i * 31 + size) as u8).collect();
        assert_eq!(c.cmd(&[b"SET", &b"big"[..], &value]), "OK");
        assert_eq!(c.run("STRLEN big"), size as i64);
        assert!(c.run("GET big") == value, "{size} bytes");
        assert!(
            c.run("GETRANGE big 1 -1") == value[1..].to_vec(),
            "{size} bytes"
        );
    }
    // And together, in one batch, as keys too.
    let mut small = sizes[..24].to_vec();
    small.reverse();
    for size in &small {
        let key: Vec<u8> = (0..*size).map(|i| (i * 7 + size) as u8).collect();
        c.send(&[&b"SET"[..], &key, &key]);
        c.send(&[b"GET", &key[..]]);
    }
    for size in &small {
        let key: Vec<u8> = (0..*size).map(|i| (i * 7 + size) as u8).collect();
        assert_eq!(c.recv(), "OK");
        assert!(c.recv() == key, "{size} bytes");
    }
}

#[test]
#[ignore = "moves 512 MB over a socket and needs 2 GB of memory"]
fn the_largest_value() {
    let s = Server::start();
    let mut c = s.client();
    let value = vec![b'x'; 512 << 20];
    assert_eq!(c.cmd(&[b"SET", &b"k"[..], &value]), "OK");
    assert_eq!(c.run("STRLEN k"), 512 << 20);
    assert_eq!(c.run("APPEND k y"), error(TOO_LONG));
    assert!(c.run("GET k") == value);
}
