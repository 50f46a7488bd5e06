//! The list commands, over the wire: encodings and when they change, what Redis 7.2 answers
//! differently from 7.0, counts beyond any list, long lists under every option, many clients.
//! <https://redis.io/docs/latest/commands/?group=list>

mod support;

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::thread;
use support::{Client, NULL, Random, Server, Shared, Value, error, oracle, simple};

static SERVER: OnceLock<Server> = OnceLock::new();

fn server() -> Shared {
    Shared::of(&SERVER, &["--enable-debug-command", "yes"])
}

const MOST: &str = "9223372036854775807";
const LEAST: &str = "-9223372036854775808";

#[track_caller]
fn encoding(c: &mut Client, key: &str, expected: &str) {
    // The names of 7.2 tell more; other servers do not know the option.
    c.run("CONFIG SET encoding-names 7.2");
    assert_eq!(c.cmd(&["OBJECT", "ENCODING", key]), expected, "{key}");
}

#[track_caller]
fn holds(c: &mut Client, key: &str, words: &str) {
    let expected: Vec<Value> = words.split_whitespace().map(Value::from).collect();
    assert_eq!(c.cmd(&["LRANGE", key, "0", "-1"]), Value::Array(expected));
}

// ---------------------------------------------------------------- encodings

#[test]
fn a_list_becomes_a_quicklist_when_it_is_large_and_a_listpack_when_it_is_small() {
    if oracle() {
        return;
    }
    let s = Server::start();
    let mut c = s.client();
    // By default a listpack may take 8 kB: 7 bytes of its own, and per element a few on top.
    let text = "x".repeat(8192 - 7);
    c.cmd(&["RPUSH", "l", &text]);
    encoding(&mut c, "l", "listpack");
    c.cmd(&["RPUSH", "l", "y"]);
    encoding(&mut c, "l", "quicklist");
    c.run("LPOP l");
    encoding(&mut c, "l", "listpack");
    c.cmd(&["LSET", "l", "0", &"x".repeat(8192)]);
    encoding(&mut c, "l", "quicklist");
    c.run("LSET l 0 small");
    encoding(&mut c, "l", "listpack");
    // Many elements at once are looked at together.
    c.run("DEL l");
    let half = "x".repeat(5000);
    c.cmd(&["RPUSH", "l", &half, &half]);
    encoding(&mut c, "l", "quicklist");
}

/// A server with at most four elements in a listpack, and in each node.
fn fours() -> Server {
    Server::with(&["--list-max-listpack-size", "4"])
}

#[test]
fn every_way_of_growing_changes_the_encoding() {
    if oracle() {
        return;
    }
    let s = fours();
    let mut c = s.client();
    for (line, expected) in [
        ("RPUSH l 5", "quicklist"),
        ("LPUSH l 0", "quicklist"),
        ("LPUSHX l 0", "quicklist"),
        ("RPUSHX l 0", "quicklist"),
        ("LINSERT l BEFORE 1 0", "quicklist"),
        ("RPOPLPUSH other l", "quicklist"),
        ("LMOVE other l LEFT RIGHT", "quicklist"),
        ("LPOS l 1", "listpack"),
        ("LRANGE l 0 -1", "listpack"),
        // Into itself it does not grow.
        ("RPOPLPUSH l l", "listpack"),
    ] {
        c.run("DEL l other");
        c.run("RPUSH l 1 2 3 4");
        c.run("RPUSH other a b");
        encoding(&mut c, "l", "listpack");
        c.run(line);
        assert_eq!(c.run("OBJECT ENCODING l"), expected, "{line}");
    }
    c.run("RPUSH new 1 2 3 4 5");
    encoding(&mut c, "new", "quicklist");
}

#[test]
fn every_way_of_shrinking_changes_the_encoding() {
    if oracle() {
        return;
    }
    let s = fours();
    let mut c = s.client();
    // The first node holds four elements, the second one. A listpack is made of a single node that
    // is half full at most.
    for (line, left, expected) in [
        ("LPOP l 3", "4 5", "quicklist"),
        ("LPOP l 4", "5", "listpack"),
        ("RPOP l", "1 2 3 4", "quicklist"),
        ("RPOP l 2", "1 2 3", "quicklist"),
        ("RPOP l 3", "1 2", "listpack"),
        ("LMPOP 1 l RIGHT COUNT 3", "1 2", "listpack"),
        ("LTRIM l 1 2", "2 3", "listpack"),
        ("LTRIM l -1 -1", "5", "listpack"),
        ("LREM l 0 5", "1 2 3 4", "quicklist"),
        ("LREM l 0 3", "1 2 4 5", "quicklist"),
    ] {
        c.run("DEL l");
        c.run("RPUSH l 1 2 3 4 5");
        encoding(&mut c, "l", "quicklist");
        c.run(line);
        holds(&mut c, "l", left);
        assert_eq!(c.run("OBJECT ENCODING l"), expected, "{line}");
    }
    c.run("DEL l to");
    c.run("RPUSH l 1 2 3 4 5");
    for expected in ["quicklist", "quicklist", "listpack", "listpack"] {
        c.run("LMOVE l to RIGHT LEFT");
        encoding(&mut c, "l", expected);
    }
    holds(&mut c, "to", "2 3 4 5");
    encoding(&mut c, "to", "listpack");
}

#[test]
fn options_shape_lists_from_then_on() {
    if oracle() {
        return;
    }
    let s = fours();
    let mut c = s.client();
    c.run("RPUSH l 1 2 3 4 5 6 7 8");
    assert_eq!(c.run("CONFIG SET list-max-listpack-size -1"), "OK");
    assert_eq!(c.run("CONFIG SET list-compress-depth 2"), simple("OK"));
    // Nothing changes before the list does.
    encoding(&mut c, "l", "quicklist");
    c.run("RPUSH l 9");
    encoding(&mut c, "l", "quicklist");
    holds(&mut c, "l", "1 2 3 4 5 6 7 8 9");
    c.run("RPUSH new 1 2 3 4 5 6 7 8");
    encoding(&mut c, "new", "listpack");
}

#[test]
fn the_packed_threshold_can_be_set() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    let wrong = error("ERR argument must be a memory value bigger than 1 and smaller than 4gb");
    for size in ["x", "-1", "4gb", "4294967295"] {
        assert_eq!(c.cmd(&["DEBUG", "QUICKLIST-PACKED-THRESHOLD", size]), wrong);
    }
    assert_eq!(c.run("debug quicklist-packed-threshold 10b"), "OK");
    c.run("RPUSH l short 0123456789 01234567890 end");
    c.run("CONFIG SET list-max-listpack-size 1");
    c.run("RPUSH m short 0123456789 01234567890 end");
    c.run("LSET m 0 9876543210");
    c.run("LINSERT m AFTER 9876543210 x");
    holds(&mut c, "l", "short 0123456789 01234567890 end");
    holds(&mut c, "m", "9876543210 x 0123456789 01234567890 end");
    assert_eq!(c.run("DEBUG QUICKLIST-PACKED-THRESHOLD 0"), "OK");
    c.run("LPUSH m 0123456789");
    assert_eq!(c.run("RPOP m"), "end");
    assert_eq!(c.run("LLEN m"), 5);
    if !oracle() {
        let Value::Array(help) = c.run("DEBUG HELP") else {
            panic!("no help")
        };
        let line = Value::Simple("QUICKLIST-PACKED-THRESHOLD <size>".into());
        assert!(help.contains(&line), "{help:?}");
    }
}

// ---------------------------------------------------------------- replies

#[test]
fn nothing_has_the_null_that_fits_its_place() {
    let s = server();
    let (mut two, mut three) = (s.client(), s.client3());
    for (line, resp2) in [
        ("LPOP ln:none", "$-1\r\n"),
        ("RPOP ln:none", "$-1\r\n"),
        ("LINDEX ln:none 0", "$-1\r\n"),
        ("LPOS ln:none a", "$-1\r\n"),
        ("LMOVE ln:none ln:other LEFT LEFT", "$-1\r\n"),
        ("RPOPLPUSH ln:none ln:other", "$-1\r\n"),
        ("LPOP ln:none 1", "*-1\r\n"),
        ("RPOP ln:none 0", "*-1\r\n"),
        ("LMPOP 1 ln:none LEFT", "*-1\r\n"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(two.cmd_raw(&words), resp2.as_bytes(), "{line}");
        assert_eq!(three.cmd_raw(&words), b"_\r\n", "{line}");
    }
    two.run("RPUSH ln a 1 b");
    let bytes = b"*2\r\n$2\r\nln\r\n*2\r\n$1\r\nb\r\n$1\r\n1\r\n";
    assert_eq!(
        three.cmd_raw(&["LMPOP", "1", "ln", "RIGHT", "COUNT", "2"]),
        bytes
    );
    assert_eq!(three.cmd_raw(&["LPOP", "ln", "0"]), b"*0\r\n");
    assert_eq!(three.cmd_raw(&["LPOP", "ln", "5"]), b"*1\r\n$1\r\na\r\n");
}

#[test]
fn the_least_integer_has_no_opposite() {
    if oracle() {
        return;
    }
    let s = server();
    let mut c = s.client();
    let range = error(
        "ERR value is out of range, value must between -9223372036854775807 and \
         9223372036854775807",
    );
    c.run("RPUSH li a");
    c.run("SET li:s a");
    for key in ["li", "li:s", "li:none"] {
        assert_eq!(c.cmd(&["LREM", key, LEAST, "a"]), range);
        assert_eq!(c.cmd(&["LPOS", key, "a", "RANK", LEAST]), range);
    }
    assert_eq!(c.run("LREM li -9223372036854775807 a"), 1);
}

#[test]
fn counts_beyond_any_list_take_no_memory() {
    let s = server();
    let mut c = s.client();
    c.run("RPUSH cb a b c");
    assert_eq!(c.cmd(&["LPOS", "cb", "a", "COUNT", MOST]), array![0]);
    assert_eq!(
        c.cmd(&["LPOS", "cb", "a", "MAXLEN", MOST, "COUNT", "0"]),
        array![0]
    );
    assert_eq!(c.cmd(&["LPOS", "cb", "a", "RANK", MOST]), NULL);
    assert_eq!(c.cmd(&["LRANGE", "cb", LEAST, MOST]), array!["a", "b", "c"]);
    assert_eq!(c.cmd(&["LTRIM", "cb", LEAST, MOST]), "OK");
    assert_eq!(c.cmd(&["LPOP", "cb", MOST]), array!["a", "b", "c"]);
    c.run("RPUSH cb a b c");
    assert_eq!(
        c.cmd(&["LMPOP", "1", "cb", "RIGHT", "COUNT", MOST]),
        array!["cb", array!["c", "b", "a"]]
    );
    assert_eq!(
        c.cmd(&["LMPOP", MOST, "cb", "RIGHT"]),
        error("ERR syntax error")
    );
    assert_eq!(c.run("EXISTS cb"), 0);
}

#[test]
fn large_elements() {
    let s = server();
    let mut c = s.client();
    let large = "0123456789".repeat(300_000);
    assert_eq!(c.cmd(&["RPUSH", "le", "a", &large, "b", &large]), 4);
    assert_eq!(c.run("LLEN le"), 4);
    assert_eq!(c.run("LINDEX le 1"), large.as_str());
    assert_eq!(c.cmd(&["LPOS", "le", &large, "RANK", "-1"]), 3);
    assert_eq!(c.cmd(&["LSET", "le", "0", &large]), "OK");
    assert_eq!(c.cmd(&["LINSERT", "le", "BEFORE", "b", &large]), 5);
    assert_eq!(c.run("LMOVE le le:to LEFT LEFT"), large.as_str());
    assert_eq!(c.run("RPOP le:to"), large.as_str());
    assert_eq!(c.cmd(&["LREM", "le", "0", &large]), 3);
    holds(&mut c, "le", "b");
}

#[test]
fn a_list_that_is_emptied_is_gone_with_its_expiry() {
    let s = server();
    let mut c = s.client();
    for line in [
        "LPOP em",
        "RPOP em",
        "LPOP em 1",
        "RPOP em 7",
        "LMPOP 2 em:none em LEFT",
        "LREM em 0 a",
        "LTRIM em 1 0",
        "LMOVE em em:to LEFT LEFT",
        "RPOPLPUSH em em:to",
    ] {
        c.run("RPUSH em a");
        c.run("EXPIRE em 1000");
        c.run(line);
        assert_eq!(c.run("EXISTS em"), 0, "{line}");
        c.run("RPUSH em a");
        assert_eq!(c.run("TTL em"), -1, "{line}");
        c.run("DEL em");
    }
    c.run("RPUSH em a");
    c.run("EXPIRE em 1000");
    c.run("RPOPLPUSH em em");
    assert!(c.run("TTL em").int() > 900, "rotated, not made anew");
}

// ---------------------------------------------------------------- long lists

/// Random commands against a model, with whatever options the server has.
fn against_model(c: &mut Client, seed: u64) {
    let mut random = Random::new(seed);
    let mut model: VecDeque<String> = VecDeque::new();
    for step in 0..3000 {
        let len = model.len() as u64;
        let text = match random.below(4) {
            0 => random.next().to_string(),
            1 => "x".repeat(random.below(300) as usize),
            _ => format!("element {}", random.below(50)),
        };
        let at = random.below(len.max(1)) as usize;
        match random.below(if len > 600 { 16 } else { 8 }) {
            0..4 => {
                c.cmd(&["RPUSH", "m", &text]);
                model.push_back(text);
            }
            4 | 5 => {
                c.cmd(&["LPUSH", "m", &text, "7"]);
                model.push_front(text);
                model.push_front("7".into());
            }
            6 if len > 0 => {
                c.cmd(&["LSET", "m", &at.to_string(), &text]);
                model[at] = text;
            }
            7 if len > 0 => {
                let pivot = model[at].clone();
                let at = model.iter().position(|e| *e == pivot).unwrap_or(at);
                c.cmd(&["LINSERT", "m", "AFTER", &pivot, &text]);
                model.insert(at + 1, text);
            }
            8 | 9 => assert_eq!(c.run("LPOP m"), model.pop_front().unwrap().as_str()),
            10 => assert_eq!(c.run("RPOP m"), model.pop_back().unwrap().as_str()),
            11 => {
                let popped = c.run("RPOP m 40");
                let expected = (0..40).filter_map(|_| model.pop_back()).map(Value::from);
                assert_eq!(popped, Value::Array(expected.collect()));
            }
            12 => {
                c.run("LTRIM m 30 -10");
                model.drain(..30);
                model.truncate(model.len() - 9);
            }
            13 => {
                c.run("RPOPLPUSH m m");
                model.rotate_right(1);
            }
            14 => {
                let victim = model[at].clone();
                let before = model.len();
                model.retain(|e| *e != victim);
                assert_eq!(
                    c.cmd(&["LREM", "m", "0", &victim]),
                    (before - model.len()) as i64
                );
            }
            _ => {}
        }
        assert_eq!(c.run("LLEN m"), model.len() as i64, "step {step}");
        if step % 100 == 0 {
            let all = model.iter().map(|e| Value::from(e.as_str())).collect();
            assert_eq!(c.run("LRANGE m 0 -1"), Value::Array(all), "step {step}");
        }
    }
    c.run("DEL m");
}

#[test]
fn long_lists_keep_their_order_under_every_option() {
    let s = server();
    let mut c = s.client();
    against_model(&mut c, 1);
    for (seed, size, depth, threshold) in [
        (2, "-1", "1", "0"),
        (3, "5", "0", "100"),
        (4, "5", "2", "0"),
        (5, "1", "1", "200"),
        (6, "100", "3", "20"),
        (7, "0", "1", "0"),
    ] {
        let s = Server::with(&[
            "--list-max-listpack-size",
            size,
            "--list-compress-depth",
            depth,
            "--enable-debug-command",
            "yes",
        ]);
        let mut c = s.client();
        c.cmd(&["DEBUG", "QUICKLIST-PACKED-THRESHOLD", threshold]);
        against_model(&mut c, seed);
    }
}

#[test]
fn a_hundred_thousand_elements() {
    let s = server();
    let mut c = s.client();
    for start in (0..100_000).step_by(1000) {
        let mut args = vec!["RPUSH".to_string(), "ht".to_string()];
        args.extend((start..start + 1000).map(|n| format!("element:{n}")));
        assert_eq!(c.cmd(&args), start + 1000);
    }
    assert_eq!(c.run("LINDEX ht 54321"), "element:54321");
    assert_eq!(c.run("LPOS ht element:99999"), 99_999);
    assert_eq!(c.run("LTRIM ht 10000 -10001"), "OK");
    assert_eq!(c.run("LLEN ht"), 80_000);
    let Value::Array(taken) = c.run("LPOP ht 79999") else {
        panic!("no array")
    };
    assert_eq!(taken.len(), 79_999);
    assert_eq!(taken[79_998], "element:89998");
    holds(&mut c, "ht", "element:89999");
}

// ---------------------------------------------------------------- many clients

#[test]
fn elements_that_are_moved_are_never_lost_or_doubled() {
    let s = server();
    const EACH: usize = 500;
    let mut c = s.client();
    for n in 0..100 {
        c.run(&format!("RPUSH mv:0 {n}"));
    }
    thread::scope(|scope| {
        for worker in 0..4u64 {
            let mut c = s.client();
            scope.spawn(move || {
                let mut random = Random::new(worker);
                for _ in 0..EACH {
                    let (from, to) = (random.below(3), random.below(3));
                    let (a, b) = (
                        *random.pick(&["LEFT", "RIGHT"]),
                        *random.pick(&["LEFT", "RIGHT"]),
                    );
                    c.run(&format!("LMOVE mv:{from} mv:{to} {a} {b}"));
                    let taken = c.run(&format!("LMPOP 3 mv:2 mv:{from} mv:1 {a} COUNT 2"));
                    if let Value::Array(reply) = taken
                        && let [_, Value::Array(elements)] = &reply[..]
                    {
                        for element in elements {
                            c.cmd(&[&b"RPUSH"[..], b"mv:0", element.bytes()]);
                        }
                    }
                }
            });
        }
    });
    let mut all = Vec::new();
    for list in 0..3 {
        if let Value::Array(elements) = c.run(&format!("LRANGE mv:{list} 0 -1")) {
            all.extend(elements.iter().map(|e| e.bytes().to_vec()));
        }
    }
    all.sort();
    let mut expected: Vec<Vec<u8>> = (0..100).map(|n| n.to_string().into_bytes()).collect();
    expected.sort();
    assert_eq!(all, expected);
}
