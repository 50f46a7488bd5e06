//! Hash fields that expire: HEXPIRE and its family, what other commands make of such fields, and
//! their removal by nobody's doing. <https://redis.io/docs/latest/commands/hexpire/>

mod support;

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::{Client, NULL, Server, Shared, Value, error, eventually, info, oracle};

/// A server whose sweeper sleeps, so that expired fields stay where they are.
static SLEEPING: OnceLock<Server> = OnceLock::new();
static SWEEPING: OnceLock<Server> = OnceLock::new();

const SOON: Duration = Duration::from_secs(10);

/// A client of a server that does not remove expired fields by itself; `None` where the tests run
/// against a Redis that does not know about them.
fn sleeping() -> Option<(Shared, Client)> {
    let s = Shared::of(&SLEEPING, &["--enable-debug-command", "yes"]);
    let mut c = s.client();
    if oracle() {
        return None;
    }
    assert_eq!(c.run("DEBUG SET-ACTIVE-EXPIRE 0"), "OK");
    Some((s, c))
}

fn sweeping() -> Option<(Shared, Client)> {
    let s = Shared::of(&SWEEPING, &["--databases", "20"]);
    let c = s.client();
    (!oracle()).then_some((s, c))
}

fn ints(values: &[i64]) -> Value {
    Value::Array(values.iter().copied().map(Value::Int).collect())
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock after 1970").as_millis() as i64
}

#[track_caller]
fn fails(c: &mut Client, line: &str, text: &str) {
    assert_eq!(c.run(line), error(text), "{line}");
}

/// Waits until this field is past its deadline, which HTTL tells without removing it.
#[track_caller]
fn until_expired(c: &mut Client, key: &str, field: &str) {
    eventually("a field expires", SOON, || {
        c.cmd(&["HPTTL", key, "FIELDS", "1", field]) == ints(&[-2])
    });
}

const SETTERS: [&str; 4] = ["hexpire", "hpexpire", "hexpireat", "hpexpireat"];
const GETTERS: [&str; 5] = ["httl", "hpttl", "hexpiretime", "hpexpiretime", "hpersist"];

#[test]
fn errors_come_in_order() {
    let Some((_s, mut c)) = sleeping() else {
        return;
    };
    c.run("SET e:str v");
    c.run("HSET e:h a 1");
    let wrong_type = "WRONGTYPE Operation against a key holding the wrong kind of value";
    let no_fields = "ERR Mandatory argument FIELDS is missing or not at the right position";
    let mismatch = "ERR The `numfields` parameter must match the number of arguments";
    for name in SETTERS {
        let arity = format!("ERR wrong number of arguments for '{name}' command");
        for rest in ["", " k", " k 1", " k 1 FIELDS", " k 1 FIELDS 1"] {
            fails(&mut c, &format!("{name}{rest}"), &arity);
        }
        fails(&mut c, &format!("{name} e:str x NX 0 a b"), wrong_type);
        let not_int = "ERR value is not an integer or out of range";
        for amount in ["x", "1.5", "9223372036854775808"] {
            fails(&mut c, &format!("{name} e:h {amount} FOO 1 a"), not_int);
        }
        let negative = "ERR invalid expire time, must be >= 0";
        fails(&mut c, &format!("{name} e:h -1 FOO 1 a"), negative);
        let invalid = format!("ERR invalid expire time in '{name}' command");
        for amount in ["70368744177664", "9223372036854775807"] {
            fails(&mut c, &format!("{name} e:h {amount} FOO 1 a"), &invalid);
        }
        for rest in [
            "FOO 1 a",
            "NX XX FIELDS 1 a",
            "NX 1 FIELDS 1 a",
            "1 FIELDS a",
        ] {
            fails(&mut c, &format!("{name} e:h 9 {rest}"), no_fields);
        }
        let number = "ERR Parameter `numFields` should be greater than 0";
        for count in ["0", "-1", "x", "NX", "9223372036854775808"] {
            fails(&mut c, &format!("{name} e:h 9 FIELDS {count} a"), number);
        }
        for rest in [
            "FIELDS 2 a",
            "FIELDS 1 a b",
            "NX FIELDS 1",
            "FIELDS 4611686018427387904 a",
        ] {
            fails(&mut c, &format!("{name} e:h 9 {rest}"), mismatch);
        }
        assert_eq!(
            c.run(&format!("{name} e:none 9 FIELDS 2 a b")),
            ints(&[-2, -2])
        );
    }
    for name in GETTERS {
        let arity = format!("ERR wrong number of arguments for '{name}' command");
        for rest in ["", " k", " k FIELDS", " k FIELDS 1"] {
            fails(&mut c, &format!("{name}{rest}"), &arity);
        }
        fails(&mut c, &format!("{name} e:str FOO 0 a"), wrong_type);
        fails(&mut c, &format!("{name} e:h FOO 0 a"), no_fields);
        let number = "ERR Number of fields must be a positive integer";
        for count in ["0", "-1", "x"] {
            fails(&mut c, &format!("{name} e:h FIELDS {count} a"), number);
        }
        for rest in ["2 a", "1 a b", "9223372036854775807 a"] {
            fails(&mut c, &format!("{name} e:h FIELDS {rest}"), mismatch);
        }
        assert_eq!(
            c.run(&format!("{name} e:none fields 2 a b")),
            ints(&[-2, -2])
        );
        assert_eq!(c.run(&format!("{name} e:h FIELDS 2 a b")), ints(&[-1, -2]));
    }
}

#[test]
fn deadlines_are_set_told_and_taken_away() {
    let Some((_s, mut c)) = sleeping() else {
        return;
    };
    c.run("HSET d a 1 b 2 c 3 d 4");
    assert_eq!(c.run("HEXPIRE d 1000 FIELDS 3 a x a"), ints(&[1, -2, 1]));
    assert_eq!(c.run("HPEXPIRE d 1000000 FIELDS 1 b"), ints(&[1]));
    assert_eq!(c.run("HEXPIREAT d 7258118400 fields 1 c"), ints(&[1]));
    for (line, least, most) in [
        ("HTTL d FIELDS 1 a", 990, 1000),
        ("HTTL d FIELDS 1 b", 990, 1000),
        ("HPTTL d FIELDS 1 a", 990_000, 1_000_000),
        ("HEXPIRETIME d FIELDS 1 c", 7_258_118_400, 7_258_118_400),
        (
            "HPEXPIRETIME d FIELDS 1 c",
            7_258_118_400_000,
            7_258_118_400_000,
        ),
    ] {
        let told = c.run(line).items()[0].int();
        assert!((least..=most).contains(&told), "{line}: {told}");
    }
    let later = now_ms() + 1_000_500;
    let told = c.run("HPEXPIRETIME d FIELDS 1 a").items()[0].int();
    assert!((later - 10_500..=later).contains(&told), "{told}");
    // Seconds are rounded up.
    assert_eq!(c.run("HPEXPIREAT d 7258118400001 FIELDS 1 c"), ints(&[1]));
    assert_eq!(c.run("HEXPIRETIME d FIELDS 1 c"), ints(&[7_258_118_401]));
    assert_eq!(c.run("HTTL d FIELDS 2 d x"), ints(&[-1, -2]));
    assert_eq!(c.run("HPERSIST d FIELDS 3 a d x"), ints(&[1, -1, -2]));
    assert_eq!(c.run("HPERSIST d FIELDS 1 a"), ints(&[-1]));
    assert_eq!(c.run("HTTL d FIELDS 1 a"), ints(&[-1]));
    // The latest deadline there is.
    assert_eq!(c.run("HPEXPIREAT d 70368744177663 FIELDS 1 d"), ints(&[1]));
    assert_eq!(
        c.run("HPEXPIRETIME d FIELDS 1 d"),
        ints(&[70_368_744_177_663])
    );
    // The key itself does not expire.
    assert_eq!(c.run("TTL d"), -1);
}

#[test]
fn conditions() {
    let Some((_s, mut c)) = sleeping() else {
        return;
    };
    let at = |c: &mut Client, seconds: i64, condition: &str, field: &str| {
        let line = format!("HEXPIREAT c {seconds} {condition} FIELDS 1 {field}");
        c.run(&line).items()[0].int()
    };
    let base = 7_258_118_400;
    c.run("HSET c none 1 some 1");
    // Nothing is earlier than no deadline, and nothing later.
    assert_eq!(at(&mut c, base, "XX", "none"), 0);
    assert_eq!(at(&mut c, base, "GT", "none"), 0);
    assert_eq!(c.run("HTTL c FIELDS 1 none"), ints(&[-1]));
    assert_eq!(at(&mut c, base, "LT", "none"), 1);
    assert_eq!(at(&mut c, base, "nx", "some"), 1);
    assert_eq!(at(&mut c, base + 5, "NX", "some"), 0);
    assert_eq!(at(&mut c, base, "GT", "some"), 0);
    assert_eq!(at(&mut c, base, "LT", "some"), 0);
    assert_eq!(at(&mut c, base + 1, "LT", "some"), 0);
    assert_eq!(at(&mut c, base + 1, "gt", "some"), 1);
    assert_eq!(at(&mut c, base - 1, "lt", "some"), 1);
    assert_eq!(at(&mut c, base, "xx", "some"), 1);
    assert_eq!(c.run("HEXPIRETIME c FIELDS 1 some"), ints(&[base]));
    // A condition also guards a deadline that has passed.
    assert_eq!(at(&mut c, 1, "NX", "some"), 0);
    assert_eq!(at(&mut c, 1, "GT", "some"), 0);
    assert_eq!(c.run("HLEN c"), 2);
    assert_eq!(at(&mut c, 1, "LT", "some"), 2);
    assert_eq!(at(&mut c, 1, "", "some"), -2);
    assert_eq!(c.run("HKEYS c").texts(), ["none"]);
}

#[test]
fn a_deadline_that_has_passed_deletes() {
    let Some((_s, mut c)) = sleeping() else {
        return;
    };
    for line in [
        "HEXPIRE p 0 FIELDS 3 a x a",
        "HPEXPIRE p 0 FIELDS 3 a x a",
        "HEXPIREAT p 0 FIELDS 3 a x a",
        "HPEXPIREAT p 1000 FIELDS 3 a x a",
    ] {
        c.run("HSET p a 1 b 2");
        assert_eq!(c.run(line), ints(&[2, -2, -2]), "{line}");
        assert_eq!(c.run("HGETALL p"), array!["b", "2"]);
    }
    assert_eq!(c.run("HEXPIRE p 0 FIELDS 2 b c"), ints(&[2, -2]));
    assert_eq!(c.run("EXISTS p"), 0);
}

#[test]
fn readers_do_not_see_expired_fields() {
    let Some((s, mut c)) = sleeping() else {
        return;
    };
    let mut c3 = s.client3();
    let filler = "y".repeat(100);
    for large in [false, true] {
        c.run("DEL r");
        c.run("HSET r a 1 b 2 c 3 live 4");
        if large {
            c.cmd(&["HSET", "r", "live", &filler]);
        }
        assert_eq!(c.run("HPEXPIRE r 1 FIELDS 3 a b c"), ints(&[1, 1, 1]));
        until_expired(&mut c, "r", "c");
        let encoding = if large { "hashtable" } else { "listpackex" };
        assert_eq!(c.run("OBJECT ENCODING r"), encoding);
        let live = if large { filler.as_str() } else { "4" };
        assert_eq!(c.run("HLEN r"), 1);
        assert_eq!(c.run("HGETALL r"), array!["live", live]);
        assert_eq!(c3.run("HGETALL r").pairs().len(), 1);
        assert_eq!(c.run("HKEYS r"), array!["live"]);
        assert_eq!(c.run("HVALS r"), array![live]);
        assert!(c.run("HGET r a").is_null());
        assert_eq!(c.run("HMGET r a live"), array![NULL, live]);
        assert_eq!(c.run("HEXISTS r b"), 0);
        assert_eq!(c.run("HSTRLEN r c"), 0);
        assert_eq!(c.run("HSCAN r 0").items()[1], array!["live", live]);
        assert_eq!(c.run("HSCAN r 0 NOVALUES").items()[1], array!["live"]);
        assert_eq!(c.run("HRANDFIELD r"), "live");
        assert_eq!(c.run("HRANDFIELD r 10"), array!["live"]);
        let drawn = c.run("HRANDFIELD r -50").texts();
        assert!(drawn.len() == 50 && drawn.iter().all(|field| field == "live"));
        assert_eq!(c.run("HTTL r FIELDS 2 a live"), ints(&[-2, -1]));
        assert_eq!(c.run("HPEXPIRETIME r FIELDS 2 a live"), ints(&[-2, -1]));
    }
    // Nothing is left but expired fields.
    c.run("HDEL r live");
    c.run("HSET r a 1");
    assert_eq!(c.run("HPEXPIRE r 1 FIELDS 1 a"), ints(&[1]));
    until_expired(&mut c, "r", "a");
    assert_eq!(c.run("HLEN r"), 0);
    assert_eq!(c.run("HGETALL r").items().len(), 0);
    assert!(c.run("HRANDFIELD r").is_null());
    assert_eq!(c.run("HRANDFIELD r 5").items().len(), 0);
    assert_eq!(c.run("HRANDFIELD r -5").items().len(), 0);
}

#[test]
fn writers_find_expired_fields_gone() {
    let Some((_s, mut c)) = sleeping() else {
        return;
    };
    for (line, reply) in [
        ("HSETNX w a 9", Value::Int(1)),
        ("HSET w a 9", Value::Int(1)),
        ("HINCRBY w a 9", Value::Int(9)),
        ("HINCRBYFLOAT w a 9", "9".into()),
        ("HDEL w a", Value::Int(0)),
        ("HPERSIST w FIELDS 1 a", ints(&[-2])),
        ("HEXPIRE w 100 FIELDS 1 a", ints(&[-2])),
    ] {
        for (rest, left) in [("", 0), ("b 2", 1)] {
            c.run("DEL w");
            c.run(&format!("HSET w a 1 {rest}"));
            c.run("HPEXPIRE w 1 FIELDS 1 a");
            until_expired(&mut c, "w", "a");
            assert_eq!(c.run(line), reply, "{line}");
            let there = c.run("HEXISTS w a").int();
            assert_eq!(c.run("HLEN w"), left + there, "{line}");
            assert_eq!(c.run("EXISTS w"), i64::from(left + there > 0), "{line}");
            // What came back has no deadline.
            assert_eq!(c.run("HTTL w FIELDS 1 a"), ints(&[there - 2]), "{line}");
        }
    }
}

#[test]
fn which_writes_keep_a_deadline() {
    let Some((_s, mut c)) = sleeping() else {
        return;
    };
    for (line, kept) in [
        ("HINCRBY k f 1", true),
        ("HINCRBYFLOAT k f 1.5", true),
        ("HSETNX k f 1", true),
        ("HSET k other 1", true),
        ("HDEL k other", true),
        ("HSET k f 1", false),
        ("HMSET k f 1", false),
    ] {
        c.run("HSET k f 1");
        c.run("HEXPIRE k 1000 FIELDS 1 f");
        c.run(line);
        let told = c.run("HTTL k FIELDS 1 f").items()[0].int();
        assert_eq!(told > 0, kept, "{line}: {told}");
    }
    c.run("HEXPIRE k 1000 FIELDS 1 f");
    c.run("HDEL k f");
    c.run("HSET k f 1");
    assert_eq!(c.run("HTTL k FIELDS 1 f"), ints(&[-1]));
    // A table that was packed keeps its deadlines.
    c.run("HEXPIRE k 1000 FIELDS 1 f");
    c.cmd(&["HSET", "k", "long", &"x".repeat(100)]);
    assert_eq!(c.run("OBJECT ENCODING k"), "hashtable");
    assert!(c.run("HTTL k FIELDS 1 f").items()[0].int() > 990);
}

// ---------------------------------------------------------------- nobody's doing

/// Waits until a hash has lost its last field and so its key: EXISTS does not look at fields.
#[track_caller]
fn until_gone(c: &mut Client, key: &str) {
    eventually("the key of an expired hash goes", SOON, || {
        c.cmd(&["EXISTS", key]) == 0
    });
}

#[test]
fn fields_go_without_being_touched() {
    if oracle() {
        return;
    }
    let s = Server::start();
    let mut c = s.client();
    let gone = |fields: i64| {
        eventually("the sweeper has removed the fields", SOON, || {
            s.info_int("expired_subkeys") == fields
        });
    };
    c.run("HSET h a 1 b 2 c 3");
    c.run("HPEXPIRE h 20 FIELDS 1 a");
    c.run("HPEXPIRE h 60 FIELDS 1 b");
    gone(2);
    assert_eq!(c.run("HGETALL h"), array!["c", "3"]);
    // An earlier deadline than the one the sweeper knows, and one that was taken away.
    c.run("HSET h d 4 e 5");
    c.run("HEXPIRE h 1000 FIELDS 1 c");
    c.run("HPEXPIRE h 500 FIELDS 2 d e");
    assert_eq!(c.run("HPERSIST h FIELDS 1 e"), ints(&[1]));
    gone(3);
    assert_eq!(c.run("HKEYS h").sorted(), ["c", "e"]);
    c.run("HPEXPIRE h 10 FIELDS 2 c e");
    until_gone(&mut c, "h");
    gone(5);
    assert_eq!(s.info_int("expired_keys"), 0);
    c.run("CONFIG RESETSTAT");
    gone(0);
}

#[test]
fn a_key_and_its_fields_expire_each_in_their_time() {
    let Some((_s, mut c)) = sweeping() else {
        return;
    };
    // The key first.
    c.run("HSET t:key a 1");
    c.run("HEXPIRE t:key 1000 FIELDS 1 a");
    c.run("PEXPIRE t:key 20");
    until_gone(&mut c, "t:key");
    // The field first, and the key keeps its own deadline.
    c.run("HSET t:field a 1 b 2");
    c.run("EXPIREAT t:field 7258118400");
    c.run("HPEXPIRE t:field 20 FIELDS 1 a");
    eventually("the field goes", SOON, || c.run("HLEN t:field") == 1);
    assert_eq!(c.run("EXPIRETIME t:field"), 7_258_118_400);
    c.run("HPEXPIRE t:field 20 FIELDS 1 b");
    until_gone(&mut c, "t:field");
    // A key that was to expire and is not any more.
    c.run("HSET t:persist a 1");
    c.run("PEXPIRE t:persist 60000");
    c.run("HPEXPIRE t:persist 40 FIELDS 1 a");
    c.run("PERSIST t:persist");
    until_gone(&mut c, "t:persist");
}

#[test]
fn deadlines_follow_the_hash_wherever_it_goes() {
    let Some((_s, mut c)) = sweeping() else {
        return;
    };
    let make = |c: &mut Client, key: &str| {
        c.cmd(&["HSET", key, "a", "1"]);
        let set = c.cmd(&["HPEXPIRE", key, "60", "FIELDS", "1", "a"]);
        assert_eq!(set, ints(&[1]), "{key}");
    };
    make(&mut c, "f:one");
    c.run("RENAME f:one f:two");
    make(&mut c, "f:three");
    c.run("COPY f:three f:four");
    c.run("COPY f:three f:five DB 3");
    make(&mut c, "f:six");
    c.run("MOVE f:six 3");
    for key in ["f:two", "f:three", "f:four"] {
        until_gone(&mut c, key);
    }
    c.run("SELECT 3");
    for key in ["f:five", "f:six"] {
        until_gone(&mut c, key);
    }
    c.run("SELECT 17");
    make(&mut c, "f:seven");
    c.run("SWAPDB 17 18");
    c.run("SELECT 18");
    until_gone(&mut c, "f:seven");
    // A copy has deadlines of its own.
    c.run("HSET f:eight a 1");
    c.run("HEXPIRE f:eight 1000 FIELDS 1 a");
    c.run("COPY f:eight f:nine");
    c.run("HPERSIST f:eight FIELDS 1 a");
    assert!(c.run("HTTL f:nine FIELDS 1 a").items()[0].int() > 990);
}

#[test]
fn a_hash_with_very_many_expired_fields_is_removed_bit_by_bit() {
    if oracle() {
        return;
    }
    let s = Server::start();
    let mut c = s.client();
    const FIELDS: usize = 100_000;
    // One of them stays, so that the key does.
    let mut set: Vec<String> = ["HSET", "big", "stays", "v"].map(String::from).into();
    (0..FIELDS).for_each(|n| set.extend([format!("f{n}"), "v".into()]));
    assert_eq!(c.cmd(&set), FIELDS as i64 + 1);
    let mut expire: Vec<String> = ["HPEXPIRE", "big", "50", "FIELDS"].map(String::from).into();
    expire.push(FIELDS.to_string());
    expire.extend((0..FIELDS).map(|n| format!("f{n}")));
    assert_eq!(c.cmd(&expire).items().len(), FIELDS);
    eventually("all but one are removed", Duration::from_secs(30), || {
        info(&mut c, "stats")["expired_subkeys"] == FIELDS.to_string()
    });
    assert_eq!(c.run("HGETALL big"), array!["stays", "v"]);
}

#[test]
fn many_hashes_with_deadlines_that_come_and_go() {
    if oracle() {
        return;
    }
    let s = Server::start();
    let mut c = s.client();
    // Far more hints for the sweeper than there are deadlines.
    c.run("HSET one f v");
    for _ in 0..5000 {
        c.send(&["HEXPIRE", "one", "1000", "FIELDS", "1", "f"]);
        c.send(&["HPERSIST", "one", "FIELDS", "1", "f"]);
    }
    for _ in 0..10_000 {
        assert_eq!(c.recv(), ints(&[1]));
    }
    for n in 0..3000 {
        let key = format!("h{n}");
        c.send(&["HSET", &key, "f", "v"]);
        c.send(&["HPEXPIRE", &key, "100", "FIELDS", "1", "f"]);
    }
    for n in 0..6000 {
        let reply = c.recv();
        assert!(n % 2 == 0 || reply == ints(&[1]), "{reply:?}");
    }
    c.run("HPEXPIRE one 50 FIELDS 1 f");
    eventually("all hashes are gone", SOON, || c.run("DBSIZE") == 0);
    assert_eq!(s.info_int("expired_subkeys"), 3001);
}

#[test]
fn the_command_table_knows_the_commands() {
    let Some((_s, mut c)) = sleeping() else {
        return;
    };
    for name in SETTERS.iter().chain(&GETTERS) {
        let row = c.cmd(&["COMMAND", "INFO", name]);
        let row = row.items()[0].items();
        let setter = SETTERS.contains(name);
        assert_eq!(row[1], if setter { -6 } else { -5 }, "{name}");
        let flags = match *name {
            _ if setter => &["denyoom", "fast", "write"][..],
            "hpersist" => &["fast", "write"],
            _ => &["fast", "readonly"],
        };
        assert_eq!(row[2].sorted(), flags, "{name}");
        assert_eq!((row[3].int(), row[4].int(), row[5].int()), (1, 1, 1));
        assert!(row[6].texts().contains(&"@hash".to_string()), "{name}");
        let docs = c.cmd(&["COMMAND", "DOCS", name]).pairs()[0].1.clone();
        assert_eq!(docs.field("since"), "7.4.0");
        assert_eq!(docs.field("group"), "hash");
        let last = docs.field("arguments").items().last().cloned();
        let last = last.expect("an argument");
        assert_eq!(last.field("type"), "block", "{name}");
        assert_eq!(last.field("token"), "FIELDS", "{name}");
    }
}
