//! SORT over the wire, and looking into collections: `DEBUG OBJECT`, `DEBUG LISTPACK`,
//! `MEMORY USAGE`. <https://redis.io/docs/latest/commands/sort/>

mod support;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Client, NULL, Random, Server, Shared, error, simple};

static SERVER: OnceLock<Server> = OnceLock::new();

fn server() -> Shared {
    Shared::of(&SERVER, &["--enable-debug-command", "yes"])
}

/// Adds these elements in commands of moderate size.
fn push(c: &mut Client, command: &str, key: &str, elements: &[String]) {
    for part in elements.chunks(500) {
        let mut args = vec![command, key];
        args.extend(part.iter().map(String::as_str));
        c.cmd(&args).int();
    }
}

fn lines(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

#[test]
fn a_window_is_a_part_of_the_whole() {
    let s = server();
    let mut c = s.client();
    let mut random = Random::new(5);
    // Many duplicates, so that windows begin and end among equal elements.
    let elements: Vec<String> = (0..5000)
        .map(|_| format!("{}", random.below(900) as i64 - 450))
        .collect();
    push(&mut c, "RPUSH", "window:l", &elements);
    let mut expected: Vec<i64> = elements
        .iter()
        .map(|text| text.parse().expect("a number"))
        .collect();
    expected.sort_unstable();
    let expected = expected.iter().map(i64::to_string).collect::<Vec<_>>();
    assert_eq!(c.run("SORT window:l").texts(), expected);
    for (offset, count) in [
        (0, 1),
        (0, 10),
        (4990, 100),
        (2500, 300),
        (100, 4900),
        (7, 0),
    ] {
        let end = (offset + count).min(5000);
        let line = format!("SORT window:l LIMIT {offset} {count}");
        assert_eq!(c.run(&line).texts(), expected[offset..end], "{line}");
        let line = format!("SORT window:l DESC LIMIT {offset} {count}");
        let mut backward: Vec<String> = expected[5000 - end..5000 - offset].to_vec();
        backward.reverse();
        assert_eq!(c.run(&line).texts(), backward, "{line}");
    }
}

#[test]
fn counts_that_cannot_be_are_no_burden() {
    let s = server();
    let mut c = s.client();
    c.run("RPUSH counts:l 3 1 2");
    for limit in [
        "0 9223372036854775807",
        "-9223372036854775808 4611686018427387904",
    ] {
        let reply = c.run(&format!("SORT counts:l LIMIT {limit}"));
        assert_eq!(reply.texts(), ["1", "2", "3"], "{limit}");
    }
    let far = "SORT counts:l LIMIT 9223372036854775807 9223372036854775807";
    assert!(c.run(far).items().is_empty());
    assert!(c.run(&format!("{far} BY nosort DESC")).items().is_empty());
    assert_eq!(c.run(&format!("{far} STORE counts:d")).int(), 0);
}

#[test]
fn equal_texts_from_other_keys_keep_their_order() {
    let s = server();
    let mut c = s.client();
    c.run("RPUSH ties:l 5 3 4 1 2");
    c.run("MSET ties:w5 a ties:w3 b ties:w4 a ties:w1 b");
    let sorted = c.run("SORT ties:l BY ties:w* ALPHA");
    assert_eq!(sorted.texts(), ["2", "5", "4", "3", "1"]);
    let sorted = c.run("SORT ties:l BY ties:w* ALPHA DESC");
    assert_eq!(sorted.texts(), ["3", "1", "5", "4", "2"]);
    let sorted = c.run("SORT ties:l BY ties:w* ALPHA DESC LIMIT 1 2");
    assert_eq!(sorted.texts(), ["1", "5"]);
    if support::oracle() {
        return; // Redis compares C strings.
    }
    c.cmd(&[
        &b"RPUSH"[..],
        b"ties:zero",
        b"a\0b",
        b"a\0a",
        b"\xff",
        b"\x7f",
    ]);
    let sorted = c.run("SORT ties:zero ALPHA");
    let sorted: Vec<&[u8]> = sorted.items().iter().map(|item| item.bytes()).collect();
    assert_eq!(sorted, [&b"a\0a"[..], b"a\0b", b"\x7f", b"\xff"]);
}

#[test]
fn numbers_too_large_or_too_small_are_none() {
    let s = server();
    let mut c = s.client();
    let refused = error("ERR One or more scores can't be converted into double");
    for number in ["1e400", "-1e400", "1e-400", "0x1p5000", "nan", "-nan", "1x"] {
        c.run("DEL range:l");
        c.run(&format!("RPUSH range:l 1 {number}"));
        assert_eq!(c.run("SORT range:l"), refused, "{number}");
        assert_eq!(c.run("SORT range:l BY nosort").items().len(), 2, "{number}");
    }
    if support::oracle() {
        return; // Redis refuses all numbers once C has refused one.
    }
    c.run("DEL range:l");
    c.run("RPUSH range:l 1e308 1e-300 -1e308 inf -inf");
    let sorted = ["-inf", "-1e308", "1e-300", "1e308", "inf"];
    assert_eq!(c.run("SORT range:l").texts(), sorted);
}

#[test]
fn a_stored_list_has_the_encoding_of_its_size() {
    let s = Server::start();
    let mut c = s.client();
    push(&mut c, "SADD", "s", &lines(0..200));
    c.run("CONFIG SET list-max-listpack-size 100");
    c.run("CONFIG SET encoding-names 7.2");
    assert_eq!(c.run("SORT s STORE d").int(), 200);
    assert_eq!(c.run("OBJECT ENCODING d").text(), "quicklist");
    assert_eq!(c.run("SORT s LIMIT 0 100 STORE d").int(), 100);
    if !support::oracle() {
        assert_eq!(c.run("OBJECT ENCODING d").text(), "listpack");
    }
    assert_eq!(c.run("LRANGE d 0 -1").texts(), lines(0..100));
    // The list is new: nothing of what the key held is left.
    c.run("SET d x EX 1000");
    assert_eq!(c.run("SORT s STORE d").int(), 200);
    assert_eq!(c.run("TTL d").int(), -1);
    assert_eq!(c.run("SORT nokey STORE d").int(), 0);
    assert_eq!(c.run("EXISTS d").int(), 0);
}

#[test]
fn sorting_leaves_the_source_as_it_is() {
    if support::oracle() {
        return; // Redis makes a skiplist of a sorted set.
    }
    let s = server();
    let mut c = s.client();
    c.run("ZADD source:z 2 1 1 2");
    assert_eq!(c.run("SORT source:z").texts(), ["1", "2"]);
    assert_eq!(c.run("SORT source:z BY nosort").texts(), ["2", "1"]);
    assert_eq!(c.run("SORT source:z BY nosort DESC").texts(), ["1", "2"]);
    assert_eq!(
        c.run("SORT source:z BY nosort DESC LIMIT 1 5").texts(),
        ["2"]
    );
    assert_eq!(c.run("OBJECT ENCODING source:z").text(), "listpack");
}

#[test]
fn look_ups_count_and_expired_keys_are_missing() {
    let s = Server::start();
    let mut c = s.client();
    c.run("RPUSH l 1 2 3");
    c.run("MSET w_1 3 w_3 1");
    let before = (s.info_int("keyspace_hits"), s.info_int("keyspace_misses"));
    assert_eq!(c.run("SORT l BY w_* GET w_*"), array![NULL, "1", "3"]);
    // The list itself, and each weight twice.
    assert_eq!(s.info_int("keyspace_hits"), before.0 + 5);
    assert_eq!(s.info_int("keyspace_misses"), before.1 + 2);
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    c.run("PEXPIRE w_1 1");
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(c.run("SORT l BY nosort GET w_*"), array![NULL, NULL, "1"]);
    assert_eq!(c.run("SORT l BY w_* STORE d").int(), 3);
    assert_eq!(c.run("DBSIZE").int(), 3);
}

/// Weights that a writer changes together are read together, and nobody waits for ever.
#[test]
fn patterns_see_one_state_of_all_keys() {
    let s = Server::start();
    let mut c = s.client();
    let keys = lines(0..40);
    push(&mut c, "RPUSH", "l", &keys);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (mut c, keys, done) = (s.client(), &keys, &done);
            scope.spawn(move || {
                let mut round = writer;
                while !done.load(Ordering::Relaxed) {
                    let round_text = round.to_string();
                    let pairs = keys
                        .iter()
                        .flat_map(|key| [format!("w_{key}"), round_text.clone()]);
                    let mut args = vec!["MSET".to_string()];
                    args.extend(pairs);
                    c.cmd(&args);
                    round += 2;
                }
            });
        }
        let (mut storing, done) = (s.client(), &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(storing.run("SORT l BY w_* GET w_* STORE d").int(), 40);
                assert_eq!(storing.run("SORT l STORE other").int(), 40);
            }
        });
        for _ in 0..300 {
            for line in ["SORT l GET w_*", "LRANGE d 0 -1"] {
                let mut seen = c.run(line);
                let support::Value::Array(items) = &mut seen else {
                    panic!("{seen:?}");
                };
                items.dedup();
                assert!(items.len() <= 1, "{line}: {items:?}");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn debug_object_tells_about_the_nodes_of_a_list() {
    let s = server();
    let mut c = s.client();
    let elements: Vec<String> = (0..30).map(|_| "x".repeat(900)).collect();
    push(&mut c, "RPUSH", "nodes:l", &elements);
    let text = c.run("DEBUG OBJECT nodes:l").text();
    let nodes = " ql_nodes:4 ql_avg_node:7.50 ql_listpack_max:-2 ql_compressed:0 ql_uncompressed_size:27148";
    assert!(text.ends_with(nodes), "{text}");
    assert!(text.contains(" encoding:quicklist "), "{text}");
    c.run("RPUSH nodes:short a b");
    let text = c.run("DEBUG OBJECT nodes:short").text();
    assert_eq!(text.contains("ql_nodes"), support::oracle(), "{text}");
}

#[test]
fn debug_object_tells_the_size_in_a_file() {
    if support::oracle() {
        return; // Redis compresses.
    }
    let s = server();
    let mut c = s.client();
    c.run("RPUSH size:l a bb 1 2 ccc");
    c.run("SADD size:ints 1 2 3");
    c.run("HSET size:h a 1");
    c.run("SADD size:table 1");
    push(&mut c, "SADD", "size:table", &lines(0..1000));
    c.run(&format!("ZADD size:z 1 {}", "m".repeat(100)));
    for (key, size) in [
        ("size:l", 26),
        ("size:ints", 15),
        ("size:h", 13),
        // Two bytes of length; 128 numbers take two bytes, the others three.
        ("size:table", 2 + 128 * 2 + 872 * 3),
        ("size:z", 1 + 2 + 100 + 8),
    ] {
        let text = c.run(&format!("DEBUG OBJECT {key}")).text();
        let expected = format!(" serializedlength:{size} ");
        assert!(text.contains(&expected), "{key}: {text}");
    }
}

#[test]
fn debug_listpack_writes_the_entries_to_the_log() {
    let s = server();
    let mut c = s.client();
    c.run("HSET packed:h field 12 other text");
    let done = simple("Listpack structure printed on stdout");
    assert_eq!(c.run("DEBUG LISTPACK packed:h"), done);
    let refused = error("ERR Not a listpack encoded object.");
    c.run("SADD packed:ints 1 2");
    c.run("SET packed:s x");
    assert_eq!(c.run("DEBUG LISTPACK packed:ints"), refused);
    assert_eq!(c.run("DEBUG LISTPACK packed:s"), refused);
    let missing = error("ERR no such key");
    assert_eq!(c.run("DEBUG LISTPACK packed:none"), missing);
    if support::oracle() {
        return;
    }
    s.wait_log("29 bytes, 4 entries");
    s.wait_log("1: offset 13, 2 bytes, integer 12");
    s.wait_log("3: offset 22, 6 bytes, string of 4 \"text\"");
    for line in ["RPUSH packed:l a", "SADD packed:set a", "ZADD packed:z 1 a"] {
        c.run(line);
        let key = line.split(' ').nth(1).expect("a key");
        assert_eq!(c.run(&format!("DEBUG LISTPACK {key}")), done, "{key}");
    }
}

#[test]
fn debug_htstats_key_wants_a_table() {
    let s = server();
    let mut c = s.client();
    let refused =
        error("ERR The value stored at the specified key is not represented using an hash table");
    c.run("HSET table:h a 1");
    c.run("SET table:s 1");
    c.run("RPUSH table:l 1");
    for key in ["table:h", "table:s", "table:l"] {
        assert_eq!(c.run(&format!("DEBUG HTSTATS-KEY {key}")), refused, "{key}");
    }
    let missing = error("ERR no such key");
    assert_eq!(c.run("DEBUG HTSTATS-KEY table:none"), missing);
    let long = "x".repeat(100);
    c.run(&format!("HSET table:h {long} 1"));
    c.run(&format!("SADD table:set a b {long}"));
    c.run(&format!("ZADD table:z 1 {long}"));
    for (key, elements) in [("table:h", 2), ("table:set", 3), ("table:z", 1)] {
        let text = c.run(&format!("DEBUG HTSTATS-KEY {key}")).text();
        let expected = format!(" number of elements: {elements}\n");
        assert!(
            text.replace('\n', "\n ").contains(expected.trim_end()),
            "{text}"
        );
    }
}

#[test]
fn memory_usage_is_the_truth_for_every_collection() {
    if support::oracle() {
        return; // Redis estimates.
    }
    let s = Server::start();
    let mut c = s.client();
    let text = |width: usize| move |n: usize| format!("m{n:0width$}");
    type Make<'a> = (&'a str, &'a str, Box<dyn Fn(usize) -> Vec<String>>);
    let cases: [Make<'_>; 8] = [
        ("list", "RPUSH", Box::new(|n| vec![n.to_string()])),
        (
            "list of long",
            "RPUSH",
            Box::new(move |n| vec![text(9000)(n)]),
        ),
        ("set", "SADD", Box::new(move |n| vec![text(5)(n)])),
        ("set of long", "SADD", Box::new(move |n| vec![text(100)(n)])),
        (
            "zset",
            "ZADD",
            Box::new(move |n| vec![n.to_string(), text(5)(n)]),
        ),
        (
            "zset of long",
            "ZADD",
            Box::new(move |n| vec![n.to_string(), text(60)(n)]),
        ),
        (
            "hash",
            "HSET",
            Box::new(move |n| vec![text(5)(n), n.to_string()]),
        ),
        (
            "hash of long",
            "HSET",
            Box::new(move |n| vec![text(80)(n), text(150)(n)]),
        ),
    ];
    for (name, command, make) in cases {
        let mut fill = || {
            c.run("FLUSHALL SYNC");
            let before = s.info_int("used_memory");
            for n in (0..10_000).step_by(100) {
                let mut args = vec![command.to_string(), "k".to_string()];
                args.extend((n..n + 100).flat_map(&make));
                c.cmd(&args).int();
            }
            (s.info_int("used_memory") - before) as f64
        };
        // Once for the buffers of the connection.
        fill();
        let used = fill();
        for samples in [
            "",
            " SAMPLES 0",
            " SAMPLES 50",
            " SAMPLES 9223372036854775807",
        ] {
            let told = c.run(&format!("MEMORY USAGE k{samples}")).int() as f64;
            assert!(
                (told / used - 1.0).abs() < 0.1,
                "{name}{samples}: {told}, {used}"
            );
        }
    }
}

#[test]
fn memory_usage_checks_its_options() {
    let s = server();
    let mut c = s.client();
    c.run("RPUSH usage:l 1 2 3");
    let syntax = error("ERR syntax error");
    let not_int = error("ERR value is not an integer or out of range");
    assert_eq!(c.run("MEMORY USAGE usage:l SAMPLES"), syntax);
    assert_eq!(c.run("MEMORY USAGE usage:l SAMPLES -1"), syntax);
    assert_eq!(c.run("MEMORY USAGE usage:l foo 1"), syntax);
    assert_eq!(c.run("MEMORY USAGE usage:l SAMPLES x"), not_int);
    assert_eq!(c.run("MEMORY USAGE usage:none SAMPLES x"), not_int);
    assert_eq!(c.run("MEMORY USAGE usage:none SAMPLES 1"), NULL);
    assert!(c.run("MEMORY USAGE usage:l SAMPLES 1 samples 2").int() > 0);
}
