//! Ranges and algebra of sorted sets, over the wire: encodings of results, counts far out of
//! range, large inputs, locks that cover every key.
//! <https://redis.io/docs/latest/commands/?group=sorted-set>

mod support;

use std::sync::OnceLock;
use support::{Client, Server, Shared, Value, error};

static SERVER: OnceLock<Server> = OnceLock::new();

fn server() -> Shared {
    Shared::of(&SERVER, &[])
}

/// Adds `key` with the members from `start` on, each with its number as score.
fn fill(c: &mut Client, key: &str, start: usize, count: usize) {
    for from in (start..start + count).step_by(500) {
        let mut line = format!("zadd {key}");
        for n in from..(from + 500).min(start + count) {
            line.push_str(&format!(" {n} m{n:06}"));
        }
        c.run(&line);
    }
}

fn list(members: &[&str]) -> Value {
    Value::Array(members.iter().map(|&member| member.into()).collect())
}

#[track_caller]
fn encoding(c: &mut Client, key: &str, expected: &str) {
    assert_eq!(c.run(&format!("object encoding {key}")), expected);
}

#[test]
fn stored_results_have_the_encoding_of_their_size() {
    let s = server();
    let mut c = s.client();
    fill(&mut c, "full", 0, 128);
    fill(&mut c, "more", 64, 129);
    encoding(&mut c, "full", "listpack");
    encoding(&mut c, "more", "skiplist");
    for (line, expected) in [
        ("zunionstore d 1 full", "listpack"),
        ("zunionstore d 2 full more", "skiplist"),
        ("zinterstore d 2 full more", "listpack"),
        ("zdiffstore d 2 more full", "listpack"),
        ("zdiffstore d 1 more", "skiplist"),
        ("zrangestore d more 0 127", "listpack"),
        ("zrangestore d more 0 128", "skiplist"),
        ("zrangestore d more 64 100 byscore", "listpack"),
    ] {
        c.run(line);
        encoding(&mut c, "d", expected);
    }
    let long = "x".repeat(65);
    c.run(&format!("zadd long 1 {long}"));
    c.run("zunionstore d 1 long");
    encoding(&mut c, "d", "skiplist");
}

#[test]
fn counts_that_no_memory_holds() {
    let s = server();
    let mut c = s.client();
    c.run("zadd z 1 a 2 b 3 c");
    let huge = i64::MAX;
    let all = c.run("zrange z 0 -1");
    for line in [
        format!("zrangebyscore z -inf +inf limit 0 {huge}"),
        format!("zrange z {} {huge}", i64::MIN),
        format!("zrangebylex z - + limit 0 {huge}"),
    ] {
        assert_eq!(c.run(&line), all, "{line}");
    }
    assert_eq!(c.run(&format!("zintercard 1 z limit {huge}")), 3);
    let line = format!("zrangestore dz z 0 {huge}");
    assert_eq!(c.run(&line), 3);
    for name in ["zunion", "zinter", "zdiff", "zintercard"] {
        let line = format!("{name} {huge} z z");
        assert_eq!(c.run(&line), error("ERR syntax error"), "{line}");
    }
    for name in ["zunionstore", "zinterstore", "zdiffstore"] {
        let line = format!("{name} d {huge} z z");
        assert_eq!(c.run(&line), error("ERR syntax error"), "{line}");
        let line = format!("{name} d 0 z");
        let text = format!("ERR at least 1 input key is needed for '{name}' command");
        assert_eq!(c.run(&line), error(&text), "{line}");
    }
}

#[test]
fn results_of_large_inputs_are_in_order() {
    let s = server();
    let mut c = s.client();
    fill(&mut c, "p", 0, 20_000);
    fill(&mut c, "q", 10_000, 20_000);
    assert_eq!(c.run("zunionstore u 2 p q weights 1 -1"), 30_000);
    assert_eq!(c.run("zinterstore i 2 p q aggregate max"), 10_000);
    assert_eq!(c.run("zdiffstore diff 2 p q"), 10_000);
    assert_eq!(c.run("zintercard 2 p q limit 77"), 77);
    // The members of both have 0, those of `q` alone come before them.
    assert_eq!(c.run("zcount u 0 0"), 10_001);
    assert_eq!(c.run("zcount u -inf (0"), 10_000);
    let ends = c.run("zrange u 0 0 withscores");
    assert_eq!(ends, list(&["m029999", "-29999"]));
    assert_eq!(c.run("zrange u 9999 9999"), list(&["m020000"]));
    assert_eq!(c.run("zrange u -1 -1"), list(&["m009999"]));
    assert_eq!(c.run("zrange i 5 6"), list(&["m010005", "m010006"]));
    assert_eq!(c.run("zrevrange diff 0 0"), list(&["m009999"]));
    // What was built at once goes on as any other.
    assert_eq!(c.run("zremrangebyrank u 0 29997"), 29_998);
    assert_eq!(c.run("zadd u 5 new"), 1);
    let left = list(&["new", "m009998", "m009999"]);
    assert_eq!(c.run("zrange u 0 -1"), left);
    assert_eq!(c.run("zremrangebyscore u -inf +inf"), 3);
    assert_eq!(c.run("exists u"), 0);
}
