//! Commands on keys whatever their type: deleting, renaming, copying, expiring, scanning.
//! <https://redis.io/docs/latest/commands/?group=generic>

mod support;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;
use support::{Client, NULL, Server, Shared, Value, error, eventually, info, simple};

static SERVER: OnceLock<Server> = OnceLock::new();

/// Databases 0 to 15 are shared by all tests, which keep to keys of their own; a test that counts
/// or scans keys takes one of the databases above.
fn server() -> Shared {
    Shared::of(
        &SERVER,
        &["--databases", "40", "--enable-debug-command", "yes"],
    )
}

fn in_db(server: &Server, db: i64) -> Client {
    let mut c = server.client();
    assert_eq!(c.cmd(&["SELECT", &db.to_string()]), "OK");
    c
}

const SYNTAX: &str = "ERR syntax error";
const NOT_INT: &str = "ERR value is not an integer or out of range";
const NO_KEY: &str = "ERR no such key";
const SAME_OBJECT: &str = "ERR source and destination objects are the same";

#[track_caller]
fn fails(c: &mut Client, line: &str, text: &str) {
    assert_eq!(c.run(line), error(text), "{line}");
}

#[test]
fn every_command_checks_its_arity() {
    let s = server();
    let mut c = s.client();
    for line in [
        "copy k",
        "del",
        "exists",
        "expire k",
        "expireat k",
        "expiretime",
        "expiretime k k",
        "keys",
        "keys a b",
        "move k",
        "move k 1 2",
        "object",
        "persist",
        "persist k k",
        "pexpire k",
        "pexpireat k",
        "pexpiretime",
        "pttl",
        "pttl k k",
        "randomkey k",
        "rename k",
        "rename k l m",
        "renamenx k",
        "scan",
        "touch",
        "ttl",
        "ttl k k",
        "type",
        "type k k",
        "unlink",
    ] {
        let name = line.split(' ').next().unwrap();
        fails(
            &mut c,
            line,
            &format!("ERR wrong number of arguments for '{name}' command"),
        );
    }
    for line in [
        "object encoding",
        "object freq",
        "object idletime",
        "object refcount a b",
    ] {
        let name = line.split(' ').take(2).collect::<Vec<_>>().join("|");
        fails(
            &mut c,
            line,
            &format!("ERR wrong number of arguments for '{name}' command"),
        );
    }
}

#[test]
fn del_unlink_exists_touch_type() {
    let s = server();
    let mut c = s.client();
    c.run("MSET d:1 a d:2 b d:3 c");
    assert_eq!(c.run("EXISTS d:1 d:none d:2 d:1"), 3);
    assert_eq!(c.run("TOUCH d:1 d:none d:2 d:1"), 3);
    assert_eq!(c.run("DEL d:1 d:1 d:none"), 1);
    assert_eq!(c.run("UNLINK d:2 d:1 d:2"), 1);
    assert_eq!(c.run("EXISTS d:1 d:2 d:3"), 1);
    assert_eq!(c.run("TYPE d:3"), simple("string"));
    assert_eq!(c.run("TYPE d:1"), simple("none"));
    let mut many = vec!["DEL".to_string()];
    for i in 0..5000 {
        c.send(&["SET", &format!("d:many:{i}"), "v"]);
        many.push(format!("d:many:{i}"));
    }
    for _ in 0..5000 {
        assert_eq!(c.recv(), "OK");
    }
    assert_eq!(c.cmd(&many), 5000);
}

#[test]
fn rename() {
    let s = server();
    let mut c = s.client();
    c.run("SET rn:a 1 EX 100");
    c.run("SET rn:b 2");
    assert_eq!(c.run("RENAME rn:a rn:b"), simple("OK"));
    assert_eq!(c.run("MGET rn:a rn:b"), array![NULL, "1"]);
    assert_eq!(c.run("TTL rn:b"), 100);
    c.run("SET rn:a 3");
    assert_eq!(c.run("RENAME rn:a rn:b"), "OK");
    assert_eq!(c.run("TTL rn:b"), -1);
    assert_eq!(c.run("RENAME rn:b rn:b"), "OK");
    assert_eq!(c.run("RENAMENX rn:b rn:b"), 0);
    assert_eq!(c.run("GET rn:b"), "3");
    fails(&mut c, "RENAME rn:none rn:b", NO_KEY);
    fails(&mut c, "RENAME rn:none rn:none", NO_KEY);
    fails(&mut c, "RENAMENX rn:none rn:b", NO_KEY);
    c.run("SET rn:a 4");
    assert_eq!(c.run("RENAMENX rn:a rn:b"), 0);
    assert_eq!(c.run("RENAMENX rn:a rn:c"), 1);
    assert_eq!(c.run("MGET rn:a rn:b rn:c"), array![NULL, "3", "4"]);
}

#[test]
fn copy() {
    let s = server();
    let mut c = s.client();
    c.run("SET cp:a hello EX 100");
    assert_eq!(c.run("COPY cp:a cp:b"), 1);
    assert_eq!(c.run("MGET cp:a cp:b"), array!["hello", "hello"]);
    assert_eq!(c.run("TTL cp:b"), 100);
    c.run("APPEND cp:b !");
    assert_eq!(c.run("GET cp:a"), "hello");
    assert_eq!(c.run("COPY cp:a cp:b"), 0);
    assert_eq!(c.run("COPY cp:a cp:b REPLACE"), 1);
    assert_eq!(c.run("GET cp:b"), "hello");
    assert_eq!(c.run("COPY cp:none cp:b REPLACE"), 0);
    assert_eq!(c.run("COPY cp:a cp:a DB 1"), 1);
    assert_eq!(c.run("COPY cp:a cp:a DB 1"), 0);
    assert_eq!(c.run("COPY cp:a cp:a db 1 replace"), 1);
    assert_eq!(in_db(&s, 1).run("GET cp:a"), "hello");
    fails(&mut c, "COPY cp:a cp:a", SAME_OBJECT);
    fails(&mut c, "COPY cp:a cp:a DB 0", SAME_OBJECT);
    fails(
        &mut c,
        "COPY cp:a cp:b DB 40",
        "ERR DB index is out of range",
    );
    fails(
        &mut c,
        "COPY cp:a cp:b DB -1",
        "ERR DB index is out of range",
    );
    fails(
        &mut c,
        "COPY cp:a cp:b DB x",
        "ERR value is not an integer or out of range",
    );
    fails(&mut c, "COPY cp:a cp:b DB", SYNTAX);
    fails(&mut c, "COPY cp:a cp:b NX", SYNTAX);
}

#[test]
fn move_between_databases() {
    let s = server();
    let mut c = s.client();
    let mut other = in_db(&s, 2);
    c.run("SET mv:a 1 EX 100");
    assert_eq!(c.run("MOVE mv:a 2"), 1);
    assert_eq!(c.run("EXISTS mv:a"), 0);
    assert_eq!(other.run("GET mv:a"), "1");
    assert_eq!(other.run("TTL mv:a"), 100);
    assert_eq!(c.run("MOVE mv:a 2"), 0);
    c.run("SET mv:a 2");
    assert_eq!(c.run("MOVE mv:a 2"), 0);
    assert_eq!(other.run("GET mv:a"), "1");
    fails(&mut c, "MOVE mv:a 0", SAME_OBJECT);
    fails(&mut c, "MOVE mv:a 40", "ERR DB index is out of range");
    fails(&mut c, "MOVE mv:a -1", "ERR DB index is out of range");
    fails(&mut c, "MOVE mv:a x", NOT_INT);
}

#[test]
fn databases_are_apart() {
    let s = server();
    let mut c = in_db(&s, 30);
    c.run("SET k a");
    assert_eq!(c.run("SELECT 31"), simple("OK"));
    assert_eq!(c.run("GET k"), NULL);
    assert_eq!(c.run("DBSIZE"), 0);
    c.run("MSET k b l c");
    assert_eq!(c.run("DBSIZE"), 2);
    fails(&mut c, "SELECT 40", "ERR DB index is out of range");
    fails(&mut c, "SELECT -1", "ERR DB index is out of range");
    fails(
        &mut c,
        "SELECT x",
        "ERR value is not an integer or out of range",
    );
    assert_eq!(c.run("GET k"), "b");
    c.run("SELECT 30");
    assert_eq!(c.run("GET k"), "a");
    let keyspace = info(&mut c, "keyspace");
    assert_eq!(
        keyspace["db30"].split(",avg_ttl").next(),
        Some("keys=1,expires=0")
    );
    assert_eq!(keyspace["db31"].split(',').next(), Some("keys=2"));
}

#[test]
fn keys_by_pattern() {
    let s = server();
    let mut c = in_db(&s, 29);
    let empty: [&str; 0] = [];
    assert_eq!(c.run("KEYS *").items(), &[] as &[Value]);
    for key in [
        "hello", "hallo", "hxllo", "hllo", "heeeello", "h*llo", "h[llo", "a\\b", "1", "",
    ] {
        c.cmd(&["SET", key, "v"]);
    }
    let mut keys = |pattern: &str| c.cmd(&["KEYS", pattern]).sorted();
    assert_eq!(keys("*").len(), 10);
    assert_eq!(keys("h?llo"), ["h*llo", "h[llo", "hallo", "hello", "hxllo"]);
    assert_eq!(keys("h*llo").len(), 7);
    assert_eq!(keys("h[ae]llo"), ["hallo", "hello"]);
    assert_eq!(keys("h[^e]llo"), ["h*llo", "h[llo", "hallo", "hxllo"]);
    assert_eq!(keys("h[a-e]llo"), ["hallo", "hello"]);
    assert_eq!(keys("h[e-a]llo"), ["hallo", "hello"]);
    assert_eq!(keys("h\\*llo"), ["h*llo"]);
    assert_eq!(keys("h[\\[]llo"), ["h[llo"]);
    assert_eq!(keys("a\\\\b"), ["a\\b"]);
    assert_eq!(keys("?"), ["1"]);
    assert_eq!(keys(""), [""]);
    assert_eq!(keys("**e**"), ["heeeello", "hello"]);
    assert_eq!(keys("HELLO"), empty);
    assert_eq!(keys("h[a"), empty);
    assert_eq!(keys("hello"), ["hello"]);
    assert_eq!(keys("none"), empty);
}

#[test]
fn a_pattern_of_many_stars_is_no_weapon() {
    let s = server();
    let mut c = in_db(&s, 28);
    c.cmd(&["SET", &"a".repeat(100), "v"]);
    let pattern = "a*".repeat(50) + "b";
    assert_eq!(c.cmd(&["KEYS", &pattern]).items().len(), 0);
    assert_eq!(
        c.cmd(&["SCAN", "0", "MATCH", &pattern]).items()[1]
            .items()
            .len(),
        0
    );
}

#[test]
fn randomkey() {
    let s = server();
    let mut c = in_db(&s, 27);
    assert_eq!(c.cmd_raw(&["RANDOMKEY"]), b"$-1\r\n");
    c.run("MSET a 1 b 2 c 3 d 4");
    let mut seen = BTreeSet::new();
    for _ in 0..400 {
        seen.insert(c.run("RANDOMKEY").text());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    // A key that has expired is never picked.
    c.run("DEL b c d");
    c.run("PEXPIREAT a 1");
    assert_eq!(c.run("RANDOMKEY"), NULL);
}

#[test]
fn expire_and_ttl() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.run("EXPIRE ex:none 10"), 0);
    assert_eq!(c.run("TTL ex:none"), -2);
    assert_eq!(c.run("PTTL ex:none"), -2);
    assert_eq!(c.run("EXPIRETIME ex:none"), -2);
    assert_eq!(c.run("PEXPIRETIME ex:none"), -2);
    assert_eq!(c.run("PERSIST ex:none"), 0);
    c.run("SET ex a");
    for command in ["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"] {
        assert_eq!(c.cmd(&[command, "ex"]), -1);
    }
    assert_eq!(c.run("EXPIRE ex 100"), 1);
    assert_eq!(c.run("TTL ex"), 100);
    let ttl = c.run("PTTL ex").int();
    assert!((90_000..=100_000).contains(&ttl), "{ttl}");
    assert_eq!(c.run("PEXPIRE ex 1500000"), 1);
    assert_eq!(c.run("TTL ex"), 1500);
    assert_eq!(c.run("EXPIREAT ex 33177117420"), 1);
    assert_eq!(c.run("EXPIRETIME ex"), 33_177_117_420);
    assert_eq!(c.run("PEXPIRETIME ex"), 33_177_117_420_000);
    assert_eq!(c.run("PEXPIREAT ex 33177117420500"), 1);
    assert_eq!(c.run("PEXPIRETIME ex"), 33_177_117_420_500);
    assert_eq!(c.run("EXPIRETIME ex"), 33_177_117_421);
    assert_eq!(c.run("PERSIST ex"), 1);
    assert_eq!(c.run("PERSIST ex"), 0);
    assert_eq!(c.run("TTL ex"), -1);
    assert_eq!(c.run("GET ex"), "a");
}

#[test]
fn expiring_in_the_past_deletes() {
    let s = server();
    let mut c = s.client();
    for line in [
        "EXPIRE ep 0",
        "EXPIRE ep -1",
        "PEXPIRE ep -1000",
        "EXPIREAT ep 1",
        "EXPIREAT ep -5",
        "PEXPIREAT ep 1000",
        "PEXPIREAT ep 0",
    ] {
        c.run("SET ep a");
        assert_eq!(c.run(line), 1, "{line}");
        assert_eq!(c.run("EXISTS ep"), 0, "{line}");
    }
}

#[test]
fn expire_conditions() {
    let s = server();
    let mut c = s.client();
    c.run("SET ec a");
    assert_eq!(c.run("EXPIRE ec 100 XX"), 0);
    // Without an expiry a key counts as living forever.
    assert_eq!(c.run("EXPIRE ec 100 GT"), 0);
    assert_eq!(c.run("TTL ec"), -1);
    assert_eq!(c.run("EXPIRE ec 100 NX"), 1);
    assert_eq!(c.run("EXPIRE ec 200 NX"), 0);
    assert_eq!(c.run("EXPIRE ec 50 GT"), 0);
    assert_eq!(c.run("EXPIRE ec 200 gt"), 1);
    assert_eq!(c.run("PEXPIRE ec 300000 LT"), 0);
    assert_eq!(c.run("TTL ec"), 200);
    assert_eq!(c.run("PEXPIRE ec 90000 LT"), 1);
    assert_eq!(c.run("TTL ec"), 90);
    assert_eq!(c.run("EXPIREAT ec 33177117420 XX GT"), 1);
    assert_eq!(c.run("PEXPIREAT ec 33177117420000 GT"), 0);
    assert_eq!(c.run("PEXPIREAT ec 33177117420000 LT"), 0);
    c.run("PERSIST ec");
    assert_eq!(c.run("EXPIRE ec 100 LT"), 1);
    for line in [
        "EXPIRE ec 1 NX XX",
        "EXPIRE ec 1 NX GT",
        "EXPIRE ec 1 LT NX",
    ] {
        let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
        fails(&mut c, line, text);
    }
    fails(
        &mut c,
        "EXPIRE ec 1 GT LT",
        "ERR GT and LT options at the same time are not compatible",
    );
    fails(&mut c, "EXPIRE ec 1 AB", "ERR Unsupported option AB");
    fails(&mut c, "PEXPIREAT ec 1 XX AB", "ERR Unsupported option AB");
}

#[test]
fn expire_refuses_what_is_no_time() {
    let s = server();
    let mut c = s.client();
    c.run("SET ei a");
    for name in ["expire", "pexpire", "expireat", "pexpireat"] {
        for time in ["x", "", "1.5", "9223372036854775808"] {
            assert_eq!(c.cmd(&[name, "ei", time]), error(NOT_INT), "{name} {time}");
        }
    }
    let invalid = |name: &str| format!("ERR invalid expire time in '{name}' command");
    fails(&mut c, "EXPIRE ei 9223372036854775807", &invalid("expire"));
    fails(&mut c, "EXPIRE ei 9223372036854775", &invalid("expire"));
    fails(&mut c, "EXPIRE ei -9223372036854775808", &invalid("expire"));
    fails(&mut c, "EXPIREAT ei 9223372036854776", &invalid("expireat"));
    fails(
        &mut c,
        "PEXPIRE ei 9223372036854775807",
        &invalid("pexpire"),
    );
    assert_eq!(c.run("PEXPIREAT ei 9223372036854775807"), 1);
    assert_eq!(c.run("PEXPIRETIME ei"), i64::MAX);
    assert_eq!(c.run("GET ei"), "a");
}

/// The server's own clock, in milliseconds.
fn now_ms(c: &mut Client) -> i64 {
    let parts: Vec<i64> = c
        .run("TIME")
        .texts()
        .iter()
        .map(|t| t.parse().unwrap())
        .collect();
    parts[0] * 1000 + parts[1] / 1000
}

#[test]
fn an_expired_key_is_gone_for_every_command() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    // Without the active cycle each command has to notice by itself.
    assert_eq!(c.run("DEBUG SET-ACTIVE-EXPIRE 0"), "OK");
    let reads: &[(&str, Value)] = &[
        ("GET k", NULL),
        ("EXISTS k", Value::Int(0)),
        ("TTL k", Value::Int(-2)),
        ("TYPE k", simple("none")),
        ("STRLEN k", Value::Int(0)),
        ("GETRANGE k 0 -1", "".into()),
        ("MGET k", array![NULL]),
        ("TOUCH k", Value::Int(0)),
        ("DEL k", Value::Int(0)),
        ("UNLINK k", Value::Int(0)),
        ("PERSIST k", Value::Int(0)),
        ("EXPIRE k 10", Value::Int(0)),
        ("APPEND k x", Value::Int(1)),
        ("INCR k", Value::Int(1)),
        ("SETNX k v", Value::Int(1)),
        ("SET k v XX", NULL),
        ("GETSET k v", NULL),
        ("RENAME k l", error(NO_KEY)),
        ("COPY k l", Value::Int(0)),
        ("MOVE k 1", Value::Int(0)),
        ("KEYS k", Value::Array(vec![])),
        ("OBJECT ENCODING k", NULL),
        ("RANDOMKEY", NULL),
        ("GETDEL k", NULL),
        ("SCAN 0 COUNT 1000", array!["0", Value::Array(vec![])]),
    ];
    for (line, expected) in reads {
        assert_eq!(c.run("FLUSHALL"), "OK");
        let due = now_ms(&mut c) + 20;
        assert_eq!(c.cmd(&["SET", "k", "5", "PXAT", &due.to_string()]), "OK");
        // Nothing may touch the key meanwhile: it is the command that has to notice.
        eventually("the key is due", Duration::from_secs(5), || {
            now_ms(&mut c) > due
        });
        let reply = c.run(line);
        assert_eq!(reply, *expected, "{line}");
    }
}

#[test]
fn the_active_cycle_removes_what_nobody_touches() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    for i in 0..5000 {
        c.send(&["SET", &format!("k:{i}"), "v", "PX", "1"]);
    }
    for _ in 0..5000 {
        assert_eq!(c.recv(), "OK");
    }
    c.run("SET stays v");
    // With the cycle off nothing goes without being touched, though all is due by now.
    eventually("a key is due", Duration::from_secs(5), || {
        c.run("PTTL k:4999") == -2
    });
    assert!(c.run("DBSIZE").int() >= 5000);
    c.run("DEBUG SET-ACTIVE-EXPIRE 1");
    eventually("all gone but one", Duration::from_secs(10), || {
        c.run("DBSIZE") == 1
    });
    assert_eq!(info(&mut c, "stats")["expired_keys"], "5000");
    assert_eq!(c.run("GET stays"), "v");
    assert_eq!(
        info(&mut c, "keyspace")["db0"].split(",avg").next(),
        Some("keys=1,expires=0")
    );
}

#[test]
fn info_counts_keys_that_can_expire() {
    let s = server();
    let mut c = in_db(&s, 26);
    c.run("MSET a 1 b 2 c 3");
    c.run("EXPIRE a 1000");
    c.run("EXPIRE b 1000");
    let fields = info(&mut c, "keyspace");
    let line = &fields["db26"];
    assert!(line.starts_with("keys=3,expires=2,avg_ttl="), "{line}");
    c.run("PERSIST a");
    c.run("SET b 2");
    let line = info(&mut c, "keyspace")["db26"].clone();
    assert!(line.starts_with("keys=3,expires=0,avg_ttl=0"), "{line}");
}

#[test]
fn object() {
    let s = server();
    let mut c = s.client();
    c.cmd(&["SET", "ob", "some text"]);
    assert_eq!(c.run("OBJECT REFCOUNT ob"), 1);
    assert_eq!(c.run("OBJECT ENCODING ob"), "embstr");
    assert!(c.run("OBJECT IDLETIME ob").int() <= 1);
    for line in [
        "OBJECT ENCODING ob:none",
        "OBJECT IDLETIME ob:none",
        "OBJECT REFCOUNT ob:none",
    ] {
        assert_eq!(
            c.cmd_raw(&line.split(' ').collect::<Vec<_>>()),
            b"$-1\r\n",
            "{line}"
        );
    }
    fails(
        &mut c,
        "OBJECT FREQ ob",
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
         that when switching between policies at runtime LRU and LFU data will take some time to \
         adjust.",
    );
    fails(
        &mut c,
        "OBJECT FOO ob",
        "ERR unknown subcommand 'FOO'. Try OBJECT HELP.",
    );
    let help = c.run("OBJECT HELP").texts();
    assert_eq!(
        help[0],
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    );
    // Redis 7.0 says that it "Prints" the help.
    assert!(help[help.len() - 1].starts_with("    Print"), "{help:?}");
    assert_eq!(help[help.len() - 2], "HELP");
    // Asking for the idle time does not end it, and neither does OBJECT ENCODING.
    eventually("a second idle", Duration::from_secs(10), || {
        c.run("OBJECT ENCODING ob");
        c.run("OBJECT IDLETIME ob").int() >= 1
    });
    c.run("TOUCH ob");
    assert_eq!(c.run("OBJECT IDLETIME ob"), 0);
}

#[test]
fn object_freq_under_lfu() {
    let s = Server::with(&["--maxmemory-policy", "allkeys-lfu"]);
    let mut c = s.client();
    c.run("SET k v");
    let first = c.run("OBJECT FREQ k").int();
    assert!((4..=6).contains(&first), "{first}");
    for _ in 0..2000 {
        c.send(&["GET", "k"]);
    }
    for _ in 0..2000 {
        assert_eq!(c.recv(), "v");
    }
    let later = c.run("OBJECT FREQ k").int();
    assert!(later > first && later <= 255, "{first} then {later}");
    assert_eq!(c.cmd_raw(&["OBJECT", "FREQ", "none"]), b"$-1\r\n");
    fails(
        &mut c,
        "OBJECT IDLETIME k",
        "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
         switching between policies at runtime LRU and LFU data will take some time to adjust.",
    );
}

/// All keys that a full scan returns; a scan that does not end fails the test.
fn scan_all(c: &mut Client, options: &[&str]) -> Vec<String> {
    let mut keys = Vec::new();
    let mut cursor = "0".to_string();
    for _ in 0..100_000 {
        let reply = c.cmd(&[&["SCAN", &cursor], options].concat());
        let [next, batch] = reply.items() else {
            panic!("not a cursor and keys: {reply:?}");
        };
        keys.extend(batch.texts());
        cursor = next.text();
        if cursor == "0" {
            return keys;
        }
    }
    panic!("the scan does not end");
}

#[test]
fn scan() {
    let s = server();
    let mut c = in_db(&s, 25);
    assert_eq!(c.run("SCAN 0"), array!["0", Value::Array(vec![])]);
    for i in 0..2000 {
        c.send(&["SET", &format!("k:{i}"), "v"]);
    }
    for _ in 0..2000 {
        assert_eq!(c.recv(), "OK");
    }
    for options in [
        &[][..],
        &["COUNT", "1"],
        &["COUNT", "7"],
        &["COUNT", "100"],
        &["COUNT", "100000"],
        &["TYPE", "string"],
        &["count", "50", "match", "k:*", "type", "STRING"],
    ] {
        let keys = scan_all(&mut c, options);
        let distinct: BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), 2000, "{options:?}");
        // Nothing changes meanwhile, so nothing needs to come twice.
        assert_eq!(keys.len(), 2000, "{options:?}");
    }
    let mut some = scan_all(&mut c, &["MATCH", "k:1?", "COUNT", "30"]);
    some.sort();
    assert_eq!(some, (10..20).map(|i| format!("k:{i}")).collect::<Vec<_>>());
    assert_eq!(scan_all(&mut c, &["TYPE", "list"]).len(), 0);
    assert_eq!(scan_all(&mut c, &["MATCH", "none*"]).len(), 0);
    let batch = c.run("SCAN 0 COUNT 10").items()[1].items().len();
    assert!(
        (1..500).contains(&batch),
        "COUNT 10 returned {batch} of 2000"
    );
}

#[test]
fn scan_refuses_nonsense() {
    let s = server();
    let mut c = s.client();
    for line in [
        "SCAN x",
        "SCAN 1x",
        "SCAN -",
        "SCAN 99999999999999999999999",
    ] {
        fails(&mut c, line, "ERR invalid cursor");
    }
    for line in [
        "SCAN 0 COUNT 0",
        "SCAN 0 COUNT -1",
        "SCAN 0 COUNT",
        "SCAN 0 FOO",
        "SCAN 0 MATCH",
    ] {
        fails(&mut c, line, SYNTAX);
    }
    fails(&mut c, "SCAN 0 COUNT x", NOT_INT);
    // A cursor nobody handed out is harmless.
    for cursor in ["1", "12345", "9223372036854775807", "18446744073709551615"] {
        assert_eq!(c.cmd(&["SCAN", cursor]).items().len(), 2, "{cursor}");
    }
}

#[test]
fn scan_while_keys_come_and_go() {
    let s = server();
    let mut c = in_db(&s, 24);
    for i in 0..1000 {
        assert_eq!(c.cmd(&["SET", &format!("stay:{i}"), "v"]), "OK");
    }
    for i in 0..500 {
        c.cmd(&["SET", &format!("go:{i}"), "v"]);
    }
    let (mut cursor, mut seen, mut round) = ("0".to_string(), BTreeSet::new(), 0);
    loop {
        let reply = c.cmd(&["SCAN", &cursor, "COUNT", "5"]);
        for key in reply.items()[1].texts() {
            seen.insert(key);
        }
        // Grow, then shrink, between the calls.
        for i in 0..10 {
            if round < 100 {
                c.cmd(&["SET", &format!("new:{round}:{i}"), "v"]);
                c.cmd(&["DEL", &format!("go:{}", round * 5 + i)]);
            } else {
                c.cmd(&["DEL", &format!("new:{}:{i}", round - 100)]);
            }
        }
        round += 1;
        cursor = reply.items()[0].text();
        if cursor == "0" {
            break;
        }
        assert!(round < 100_000, "the scan does not end");
    }
    for i in 0..1000 {
        assert!(
            seen.contains(&format!("stay:{i}")),
            "stay:{i} was never returned"
        );
    }
}

#[test]
fn scan_that_deletes_what_it_finds() {
    let s = server();
    let mut c = in_db(&s, 23);
    for i in 0..3000 {
        c.send(&["SET", &format!("k:{i}"), "v"]);
    }
    for _ in 0..3000 {
        c.recv();
    }
    let mut cursor = "0".to_string();
    loop {
        let reply = c.cmd(&["SCAN", &cursor]);
        for key in reply.items()[1].texts() {
            c.cmd(&["DEL", &key]);
        }
        cursor = reply.items()[0].text();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(c.run("DBSIZE"), 0);
}

#[test]
fn flushdb_and_swapdb() {
    let s = Server::start();
    let mut c = s.client();
    let mut other = in_db(&s, 1);
    c.run("MSET a 1 b 2");
    other.run("MSET a 3 c 4");
    assert_eq!(c.run("SWAPDB 0 1"), simple("OK"));
    assert_eq!(c.run("MGET a b c"), array!["3", NULL, "4"]);
    assert_eq!(other.run("MGET a b c"), array!["1", "2", NULL]);
    assert_eq!(c.run("SWAPDB 1 1"), "OK");
    assert_eq!(other.run("DBSIZE"), 2);
    fails(&mut c, "SWAPDB 0 16", "ERR DB index is out of range");
    fails(&mut c, "SWAPDB 0 -1", "ERR DB index is out of range");
    fails(&mut c, "SWAPDB x 1", "ERR invalid first DB index");
    fails(&mut c, "SWAPDB 0 x", "ERR invalid second DB index");
    assert_eq!(c.run("FLUSHDB"), simple("OK"));
    assert_eq!(c.run("DBSIZE"), 0);
    assert_eq!(other.run("DBSIZE"), 2);
    for line in [
        "FLUSHDB ASYNC",
        "FLUSHDB SYNC",
        "FLUSHALL ASYNC",
        "flushall sync",
        "FLUSHALL",
    ] {
        c.run("SET a 1 EX 1000");
        other.run("SET a 1");
        assert_eq!(c.run(line), "OK");
        assert_eq!(c.run("DBSIZE"), 0, "{line}");
        assert_eq!(
            other.run("EXISTS a"),
            i64::from(line.starts_with("FLUSHDB")),
            "{line}"
        );
    }
    fails(&mut c, "FLUSHALL NOW", SYNTAX);
    fails(&mut c, "FLUSHDB ASYNC SYNC", SYNTAX);
    c.run("SET a 1");
    assert_eq!(c.run("TTL a"), -1);
}
