//! The set commands, over the wire: encodings and their thresholds, random members, replies in
//! both protocols, counts beyond all measure.
//! <https://redis.io/docs/latest/commands/?group=set>

mod support;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use support::{Client, NULL, Random, Server, Shared, Value, error};

static SERVER: OnceLock<Server> = OnceLock::new();

fn server() -> Shared {
    Shared::of(&SERVER, &[])
}

#[track_caller]
fn encoding(c: &mut Client, key: &str) -> String {
    // The names of 7.2 tell more; other servers do not know the option.
    c.run("CONFIG SET encoding-names 7.2");
    c.cmd(&["OBJECT", "ENCODING", key]).text()
}

/// Adds the members that `name` gives to the numbers from 0 to `count`, one command each.
fn grow(c: &mut Client, key: &str, count: usize, name: impl Fn(usize) -> String) {
    for n in 0..count {
        assert_eq!(c.cmd(&["SADD", key, &name(n)]), 1);
    }
}

/// Adds them all at once.
fn fill(c: &mut Client, key: &str, numbers: std::ops::Range<usize>, prefix: &str) {
    let mut args = vec!["SADD".to_string(), key.to_string()];
    args.extend(numbers.map(|n| format!("{prefix}{n}")));
    let added = args.len() as i64 - 2;
    assert_eq!(c.cmd(&args), added);
}

#[test]
fn a_set_grows_out_of_its_encodings() {
    let s = server();
    let mut c = s.client();
    grow(&mut c, "ge:i", 512, |n| n.to_string());
    assert_eq!(encoding(&mut c, "ge:i"), "intset");
    assert_eq!(c.run("SADD ge:i 5"), 0);
    assert_eq!(encoding(&mut c, "ge:i"), "intset");
    c.run("SADD ge:i 512");
    assert_eq!(encoding(&mut c, "ge:i"), "hashtable");
    grow(&mut c, "ge:w", 128, |n| format!("w{n}"));
    assert_eq!(encoding(&mut c, "ge:w"), "listpack");
    c.run("SADD ge:w w128");
    assert_eq!(encoding(&mut c, "ge:w"), "hashtable");
    // There is no way back.
    c.run("SPOP ge:w");
    assert_eq!(encoding(&mut c, "ge:w"), "hashtable");
    // Integers that are joined by a word.
    grow(&mut c, "ge:m", 127, |n| n.to_string());
    c.run("SADD ge:m word");
    assert_eq!(encoding(&mut c, "ge:m"), "listpack");
    c.run("SADD ge:m 127");
    assert_eq!(encoding(&mut c, "ge:m"), "hashtable");
    grow(&mut c, "ge:n", 128, |n| n.to_string());
    c.run("SADD ge:n word");
    assert_eq!(encoding(&mut c, "ge:n"), "hashtable");
    // A long member.
    for (key, first) in [("ge:l", "1"), ("ge:k", "a")] {
        c.cmd(&["SADD", key, first]);
        c.cmd(&["SADD", key, &"x".repeat(64)]);
        assert_eq!(encoding(&mut c, key), "listpack");
        c.cmd(&["SADD", key, &"y".repeat(65)]);
        assert_eq!(encoding(&mut c, key), "hashtable");
        assert_eq!(c.cmd(&["SCARD", key]), 3);
    }
}

#[test]
fn a_set_made_at_once_has_its_encoding_from_the_start() {
    let s = server();
    let mut c = s.client();
    fill(&mut c, "mo:1", 0..512, "");
    assert_eq!(encoding(&mut c, "mo:1"), "intset");
    fill(&mut c, "mo:2", 0..513, "");
    assert_eq!(encoding(&mut c, "mo:2"), "hashtable");
    fill(&mut c, "mo:3", 0..128, "w");
    assert_eq!(encoding(&mut c, "mo:3"), "listpack");
    fill(&mut c, "mo:4", 0..129, "w");
    assert_eq!(encoding(&mut c, "mo:4"), "hashtable");
    assert_eq!(c.run("SADD mo:5 1 2 a"), 3);
    assert_eq!(encoding(&mut c, "mo:5"), "listpack");
    // What is announced counts, even if all of it is the same member.
    let mut args = vec!["SADD", "mo:6"];
    args.extend(["same"; 129]);
    assert_eq!(c.cmd(&args), 1);
    assert_eq!(encoding(&mut c, "mo:6"), "hashtable");
}

#[test]
fn the_thresholds_are_configurable() {
    let s = Server::with(&[
        "--set-max-intset-entries",
        "4",
        "--set-max-listpack-entries",
        "6",
        "--set-max-listpack-value",
        "3",
    ]);
    let mut c = s.client();
    c.run("SADD i 1 2 3 4");
    assert_eq!(encoding(&mut c, "i"), "intset");
    c.run("SADD i 5");
    assert_eq!(encoding(&mut c, "i"), "hashtable");
    c.run("SADD w a b c d e fff");
    assert_eq!(encoding(&mut c, "w"), "listpack");
    c.run("SADD w g");
    assert_eq!(encoding(&mut c, "w"), "hashtable");
    c.run("SADD v a");
    c.run("SADD v abcd");
    assert_eq!(encoding(&mut c, "v"), "hashtable");
    // The integers are too long for a listpack.
    c.run("SADD x 1234");
    c.run("SADD x a");
    assert_eq!(encoding(&mut c, "x"), "hashtable");
    // Results: five integers from tables, in Redis' own ways.
    c.run("SADD t 1 2 3 4 5");
    assert_eq!(c.run("SINTERSTORE d i t"), 5);
    assert_eq!(encoding(&mut c, "d"), "listpack");
    assert_eq!(c.run("SUNIONSTORE d i t"), 5);
    assert_eq!(encoding(&mut c, "d"), "hashtable");
    assert_eq!(c.run("SDIFFSTORE d i none"), 5);
    assert_eq!(encoding(&mut c, "d"), "hashtable");
    assert_eq!(c.run("CONFIG SET set-max-intset-entries 512"), "OK");
    assert_eq!(c.run("SINTERSTORE d i t"), 5);
    assert_eq!(encoding(&mut c, "d"), "intset");
    assert_eq!(c.run("SUNIONSTORE d i t"), 5);
    assert_eq!(encoding(&mut c, "d"), "intset");
}

#[test]
fn results_are_stored_in_their_own_encoding() {
    let s = server();
    let mut c = s.client();
    fill(&mut c, "rs:n", 0..600, "");
    fill(&mut c, "rs:m", 400..1000, "");
    fill(&mut c, "rs:w", 0..600, "w");
    fill(&mut c, "rs:v", 500..1100, "w");
    c.run("SADD rs:few 1 2 a");
    for (line, len, expected) in [
        ("SINTERSTORE rs:d rs:n rs:m", 200, "intset"),
        ("SINTERSTORE rs:d rs:n rs:n", 600, "hashtable"),
        ("SINTERSTORE rs:d rs:w rs:v", 100, "listpack"),
        ("SINTERSTORE rs:d rs:w rs:w", 600, "hashtable"),
        ("SINTERSTORE rs:d rs:n rs:few", 2, "intset"),
        ("SUNIONSTORE rs:d rs:n rs:m", 1000, "hashtable"),
        ("SUNIONSTORE rs:d rs:few rs:few", 3, "listpack"),
        ("SUNIONSTORE rs:d rs:few rs:w", 603, "hashtable"),
        ("SUNIONSTORE rs:d rs:none rs:few", 3, "listpack"),
        ("SDIFFSTORE rs:d rs:n rs:m", 400, "intset"),
        ("SDIFFSTORE rs:d rs:v rs:w", 500, "hashtable"),
        ("SDIFFSTORE rs:d rs:few rs:n", 1, "listpack"),
        // By removal from a copy, which stays a table.
        ("SDIFFSTORE rs:d rs:n rs:few rs:few", 598, "hashtable"),
    ] {
        assert_eq!(c.run(line), len, "{line}");
        assert_eq!(encoding(&mut c, "rs:d"), expected, "{line}");
        assert_eq!(c.run("SCARD rs:d"), len, "{line}");
    }
}

#[test]
fn random_members_of_every_encoding() {
    let s = server();
    let mut c = s.client();
    for (key, len, prefix) in [("rm:i", 300, ""), ("rm:w", 100, "w"), ("rm:t", 3000, "t")] {
        fill(&mut c, key, 0..len, prefix);
        let all: BTreeSet<String> = c.cmd(&["SMEMBERS", key]).texts().into_iter().collect();
        assert_eq!(all.len(), len);
        assert!(all.contains(&c.cmd(&["SRANDMEMBER", key]).text()));
        for count in [1, 2, len / 4, len / 2, len - 1, len, len + 1] {
            let drawn = c.cmd(&["SRANDMEMBER", key, &count.to_string()]).texts();
            assert_eq!(drawn.len(), count.min(len));
            let drawn: BTreeSet<String> = drawn.into_iter().collect();
            assert_eq!(
                drawn.len(),
                count.min(len),
                "{key} {count}: some came twice"
            );
            assert!(drawn.is_subset(&all));
        }
        let drawn = c
            .cmd(&["SRANDMEMBER", key, &format!("-{}", 3 * len)])
            .texts();
        assert_eq!(drawn.len(), 3 * len);
        assert!(drawn.iter().all(|member| all.contains(member)));
        // Taken out bit by bit, each member comes once.
        let mut left = all.clone();
        for count in [1, 2, len / 3, len / 3, len] {
            let gone = c.cmd(&["SPOP", key, &count.to_string()]).texts();
            assert_eq!(gone.len(), count.min(left.len()));
            assert!(gone.iter().all(|member| left.remove(member)));
            assert_eq!(c.cmd(&["SCARD", key]), left.len() as i64);
        }
        assert_eq!(c.cmd(&["EXISTS", key]), 0);
    }
}

#[test]
fn popping_most_of_a_table_leaves_a_compact_set() {
    let s = server();
    let mut c = s.client();
    fill(&mut c, "pm", 0..1000, "m");
    assert_eq!(c.run("SPOP pm 990").items().len(), 990);
    assert_eq!(encoding(&mut c, "pm"), "listpack");
    assert_eq!(c.run("SCARD pm"), 10);
    c.run("EXPIRE pm 1000");
    assert_eq!(c.run("SPOP pm 9").items().len(), 9);
    assert!(c.run("TTL pm").int() > 900);
    assert!(!c.run("SPOP pm").is_null());
    assert_eq!(c.run("EXISTS pm"), 0);
}

#[test]
fn replies_in_both_protocols() {
    let s = server();
    let (mut two, mut three) = (s.client(), s.client3());
    two.run("SADD rp one");
    for (line, old, new) in [
        ("SMEMBERS rp", "*1\r\n$3\r\none\r\n", "~1\r\n$3\r\none\r\n"),
        ("SINTER rp rp", "*1\r\n$3\r\none\r\n", "~1\r\n$3\r\none\r\n"),
        (
            "SUNION rp none",
            "*1\r\n$3\r\none\r\n",
            "~1\r\n$3\r\none\r\n",
        ),
        (
            "SDIFF rp none",
            "*1\r\n$3\r\none\r\n",
            "~1\r\n$3\r\none\r\n",
        ),
        ("SMEMBERS none", "*0\r\n", "~0\r\n"),
        ("SINTER rp none", "*0\r\n", "~0\r\n"),
        ("SDIFF rp rp", "*0\r\n", "~0\r\n"),
        ("SUNION none", "*0\r\n", "~0\r\n"),
        ("SPOP none", "$-1\r\n", "_\r\n"),
        ("SPOP none 5", "*0\r\n", "~0\r\n"),
        ("SPOP rp 0", "*0\r\n", "~0\r\n"),
        ("SRANDMEMBER none", "$-1\r\n", "_\r\n"),
        ("SRANDMEMBER none 5", "*0\r\n", "*0\r\n"),
        (
            "SRANDMEMBER rp 5",
            "*1\r\n$3\r\none\r\n",
            "*1\r\n$3\r\none\r\n",
        ),
        (
            "SMISMEMBER rp one x",
            "*2\r\n:1\r\n:0\r\n",
            "*2\r\n:1\r\n:0\r\n",
        ),
        ("SISMEMBER rp one", ":1\r\n", ":1\r\n"),
        (
            "SSCAN none 0",
            "*2\r\n$1\r\n0\r\n*0\r\n",
            "*2\r\n$1\r\n0\r\n*0\r\n",
        ),
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        assert_eq!(two.cmd_raw(&args), old.as_bytes(), "{line}");
        assert_eq!(three.cmd_raw(&args), new.as_bytes(), "{line}");
    }
    assert_eq!(three.cmd_raw(&["SPOP", "rp", "7"]), b"~1\r\n$3\r\none\r\n");
}

#[test]
fn counts_beyond_all_measure() {
    let s = server();
    let mut c = s.client();
    c.run("SADD cb a b c");
    let between = "ERR value is out of range, value must between -9223372036854775807 and \
                   9223372036854775807";
    let not_int = "ERR value is not an integer or out of range";
    assert_eq!(c.run("SRANDMEMBER cb -9223372036854775808"), error(between));
    assert_eq!(c.run("SRANDMEMBER cb 9223372036854775808"), error(not_int));
    assert_eq!(c.run("SRANDMEMBER cb 9223372036854775807").items().len(), 3);
    assert_eq!(
        c.run("SRANDMEMBER none -9223372036854775807"),
        Value::Array(vec![])
    );
    let positive = error("ERR value is out of range, must be positive");
    assert_eq!(c.run("SPOP cb -1"), positive);
    assert_eq!(c.run("SPOP cb 9223372036854775808"), positive);
    assert_eq!(c.run("SPOP none -1"), positive);
    let keys = error("ERR Number of keys can't be greater than number of args");
    assert_eq!(c.run("SINTERCARD 9223372036854775807 cb"), keys);
    assert_eq!(c.run("SINTERCARD 1 cb LIMIT 9223372036854775807"), 3);
    assert_eq!(
        c.run("SSCAN cb 0 COUNT 9223372036854775807").items()[1]
            .items()
            .len(),
        3
    );
    assert_eq!(c.run("SSCAN cb 18446744073709551615").items().len(), 2);
    assert_eq!(c.run("SPOP cb 9223372036854775807").items().len(), 3);
    assert_eq!(c.run("SPOP cb"), NULL);
}

#[test]
fn a_scan_sees_all_that_stays() {
    let s = server();
    let mut c = s.client();
    let mut random = Random::new(7);
    fill(&mut c, "sc", 0..5000, "m");
    for count in ["1", "10", "700"] {
        let mut seen = BTreeSet::new();
        let mut cursor = "0".to_string();
        loop {
            let reply = c.cmd(&["SSCAN", "sc", &cursor, "COUNT", count]);
            seen.extend(reply.items()[1].texts());
            // Others come and go meanwhile.
            let n = random.below(3000);
            c.cmd(&["SADD", "sc", &format!("x{n}")]);
            c.cmd(&["SREM", "sc", &format!("x{}", random.below(3000))]);
            cursor = reply.items()[0].text();
            if cursor == "0" {
                break;
            }
        }
        assert!(
            (0..5000).all(|n| seen.contains(&format!("m{n}"))),
            "COUNT {count}"
        );
    }
}

#[test]
fn algebra_agrees_with_a_model() {
    let s = server();
    let mut c = s.client();
    let mut random = Random::new(11);
    for round in 0..60u64 {
        let keys: Vec<String> = (0..1 + round % 6).map(|n| format!("am:{n}")).collect();
        let mut models: Vec<BTreeSet<String>> = Vec::new();
        for key in &keys {
            c.cmd(&["DEL", key]);
            let mut model = BTreeSet::new();
            let pool = *random.pick(&[20, 200, 900]);
            let prefix = *random.pick(&["", "w"]);
            for _ in 0..random.below(pool) {
                model.insert(format!("{prefix}{}", random.below(pool)));
            }
            let mut args = vec!["SADD".to_string(), key.clone()];
            args.extend(model.iter().cloned());
            if !model.is_empty() {
                assert_eq!(c.cmd(&args), model.len() as i64);
            }
            models.push(model);
        }
        let others = &models[1..];
        let every = |m: &&String| others.iter().all(|other| other.contains(*m));
        let none = |m: &&String| others.iter().all(|other| !other.contains(*m));
        let inter: BTreeSet<String> = models[0].iter().filter(every).cloned().collect();
        let diff: BTreeSet<String> = models[0].iter().filter(none).cloned().collect();
        let union: BTreeSet<String> = models.iter().flatten().cloned().collect();
        for (name, expected) in [("SINTER", inter), ("SDIFF", diff), ("SUNION", union)] {
            let expected: Vec<String> = expected.into_iter().collect();
            let mut args = vec![name.to_string()];
            args.extend(keys.iter().cloned());
            assert_eq!(c.cmd(&args).sorted(), expected, "{name} round {round}");
            args[0] = format!("{name}STORE");
            args.insert(1, "am:d".to_string());
            assert_eq!(c.cmd(&args), expected.len() as i64);
            assert_eq!(
                c.run("SMEMBERS am:d").sorted(),
                expected,
                "{name}STORE round {round}"
            );
        }
    }
}
