//! The basic sorted set commands, over the wire: what a comparison with Redis 7.0 cannot show.
//! Conversions at their thresholds, what 7.2 added, samples, scans of large sets.
//! <https://redis.io/docs/latest/commands/?group=sorted-set>

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;
use support::{Client, Server, Shared, Value, error, oracle};

static SERVER: OnceLock<Server> = OnceLock::new();

fn server() -> Shared {
    Shared::of(&SERVER, &[])
}

#[track_caller]
fn encoding(c: &mut Client, key: &str) -> String {
    c.cmd(&["OBJECT", "ENCODING", key]).text()
}

/// Adds the members `m0`, `m1` … with their numbers as scores.
fn fill(c: &mut Client, key: &str, members: usize) {
    for from in (0..members).step_by(1000) {
        let mut args = vec!["ZADD".to_string(), key.to_string()];
        for i in from..(from + 1000).min(members) {
            args.extend([i.to_string(), format!("m{i}")]);
        }
        c.cmd(&args);
    }
}

#[test]
fn a_set_is_packed_up_to_its_limits() {
    let s = server();
    let mut c = s.client();
    fill(&mut c, "pack", 128);
    assert_eq!(encoding(&mut c, "pack"), "listpack");
    // No new member, no conversion.
    assert_eq!(c.run("ZADD pack 5000 m5"), 0);
    assert_eq!(encoding(&mut c, "pack"), "listpack");
    assert_eq!(c.run("ZADD pack XX 1 m128"), 0);
    assert_eq!(encoding(&mut c, "pack"), "listpack");
    assert_eq!(c.run("ZINCRBY pack 1 m128"), "1");
    assert_eq!(encoding(&mut c, "pack"), "skiplist");
    // There is no way back.
    for i in 1..=128 {
        assert_eq!(c.cmd(&["ZREM", "pack", &format!("m{i}")]), 1);
    }
    assert_eq!(encoding(&mut c, "pack"), "skiplist");

    let (fits, longer) = ("x".repeat(64), "x".repeat(65));
    assert_eq!(c.cmd(&["ZADD", "long", "1", &fits]), 1);
    assert_eq!(encoding(&mut c, "long"), "listpack");
    assert_eq!(c.cmd(&["ZADD", "long", "1", &longer]), 1);
    assert_eq!(encoding(&mut c, "long"), "skiplist");
    assert_eq!(
        c.cmd(&["ZMSCORE", "long", &fits, &longer]).texts(),
        ["1", "1"]
    );
}

#[test]
fn the_limits_can_be_set() {
    let server = Server::with(&["--zset-max-listpack-entries", "3"]);
    let mut c = server.client();
    fill(&mut c, "z", 3);
    assert_eq!(encoding(&mut c, "z"), "listpack");
    c.run("CONFIG SET zset-max-listpack-entries 5 zset-max-listpack-value 4");
    fill(&mut c, "z", 5);
    assert_eq!(encoding(&mut c, "z"), "listpack");
    assert_eq!(c.run("ZADD z 1 12345"), 1);
    assert_eq!(encoding(&mut c, "z"), "skiplist");
    c.run("CONFIG SET zset-max-listpack-entries 0");
    assert_eq!(c.run("ZADD y 1 a"), 1);
    assert_eq!(encoding(&mut c, "y"), "skiplist");
}

#[test]
fn many_pairs_convert_at_once() {
    if oracle() {
        return; // as of 7.2
    }
    let s = server();
    let mut c = s.client();
    let mut pairs: Vec<&str> = vec!["ZADD", "once"];
    pairs.extend(["1", "a"].repeat(129));
    assert_eq!(c.cmd(&pairs), 1);
    assert_eq!(encoding(&mut c, "once"), "skiplist");
    assert_eq!(c.run("ZADD later 1 a"), 1);
    pairs[1] = "later";
    assert_eq!(c.cmd(&pairs), 0);
    assert_eq!(encoding(&mut c, "later"), "skiplist");
}

#[test]
fn ranks_come_with_scores() {
    if oracle() {
        return; // as of 7.2
    }
    let s = server();
    let (mut two, mut three) = (s.client(), s.client3());
    two.run("ZADD ranks 1 a 2.5 b 3 c");
    let raw = |c: &mut Client, line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        String::from_utf8(c.cmd_raw(&words)).unwrap()
    };
    for (line, in_two, in_three) in [
        (
            "ZRANK ranks b withscore",
            "*2\r\n:1\r\n$3\r\n2.5\r\n",
            "*2\r\n:1\r\n,2.5\r\n",
        ),
        (
            "ZREVRANK ranks a WITHSCORE",
            "*2\r\n:2\r\n$1\r\n1\r\n",
            "*2\r\n:2\r\n,1\r\n",
        ),
        ("ZRANK ranks x WITHSCORE", "*-1\r\n", "_\r\n"),
        ("ZRANK ranks:none x WITHSCORE", "*-1\r\n", "_\r\n"),
        ("ZRANK ranks x", "$-1\r\n", "_\r\n"),
        ("ZREVRANK ranks:none x", "$-1\r\n", "_\r\n"),
    ] {
        assert_eq!(raw(&mut two, line), in_two, "{line}");
        assert_eq!(raw(&mut three, line), in_three, "{line}");
    }
    let arity = |name| {
        error(&format!(
            "ERR wrong number of arguments for '{name}' command"
        ))
    };
    assert_eq!(
        two.run("ZRANK ranks a WITHSCORES"),
        error("ERR syntax error")
    );
    assert_eq!(two.run("ZRANK ranks a WITHSCORE x"), arity("zrank"));
    assert_eq!(two.run("ZREVRANK ranks a x x"), arity("zrevrank"));
    two.run("SET ranks:string x");
    assert!(
        two.run("ZRANK ranks:string a WITHSCORE")
            .error()
            .starts_with("WRONGTYPE")
    );
}

#[test]
fn huge_counts_allocate_nothing() {
    let s = server();
    let mut c = s.client();
    c.run("ZADD huge 1 a 2 b");
    let max = i64::MAX.to_string();
    assert_eq!(c.cmd(&["ZRANDMEMBER", "huge", &max]).items().len(), 2);
    assert_eq!(
        c.run("ZRANDMEMBER huge -4611686018427387904 WITHSCORES"),
        error("ERR value is out of range")
    );
    assert_eq!(
        c.cmd(&["ZPOPMAX", "huge", &max]).texts(),
        ["b", "2", "a", "1"]
    );
    c.run("ZADD huge 1 a 2 b");
    let popped = c.cmd(&["ZMPOP", "1", "huge", "MIN", "COUNT", &max]);
    assert_eq!(popped.items()[1].items().len(), 2);
    assert_eq!(c.run("EXISTS huge"), 0);
    let error = error("ERR syntax error");
    assert_eq!(c.cmd(&["ZMPOP", &max, "huge", "MIN"]), error);
}

/// Whether picks of one member each hit every member about equally often.
fn evenly(picks: &[String], members: usize) -> bool {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    picks
        .iter()
        .for_each(|pick| *counts.entry(pick).or_default() += 1);
    let mean = picks.len() / members;
    // Eight standard deviations.
    let most = 8 * mean.isqrt();
    counts.len() == members && counts.values().all(|count| count.abs_diff(mean) < most)
}

#[test]
fn samples_are_fair() {
    let s = server();
    let mut c = s.client();
    for (key, members) in [("sample:small", 20), ("sample:large", 200)] {
        fill(&mut c, key, members);
        let repeated = c.cmd(&["ZRANDMEMBER", key, "-40000"]).texts();
        assert_eq!(repeated.len(), 40_000);
        assert!(evenly(&repeated, members), "{key}");
        for count in [1, members / 10, members / 2, members - 1] {
            let mut all = Vec::new();
            while all.len() < 20_000 {
                let picks = c.cmd(&["ZRANDMEMBER", key, &count.to_string()]).texts();
                assert_eq!(picks.len(), count);
                assert_eq!(picks.iter().collect::<HashSet<_>>().len(), count);
                all.extend(picks);
            }
            assert!(evenly(&all, members), "{key} {count}");
        }
        let with_scores = c.cmd(&["ZRANDMEMBER", key, "15", "WITHSCORES"]).texts();
        assert_eq!(with_scores.len(), 30);
        for pair in with_scores.chunks(2) {
            assert_eq!(pair[0], format!("m{}", pair[1]));
        }
    }
}

#[test]
fn a_scan_sees_what_stays() {
    let s = server();
    let mut c = s.client();
    fill(&mut c, "scan", 5000);
    let mut seen: HashSet<String> = HashSet::new();
    let (mut cursor, mut steps) = ("0".to_string(), 0);
    loop {
        let reply = c.cmd(&["ZSCAN", "scan", &cursor, "COUNT", "50"]);
        let pairs = reply.items()[1].texts();
        for pair in pairs.chunks(2) {
            assert_eq!(pair[0], format!("m{}", pair[1]));
            seen.insert(pair[0].clone());
        }
        cursor = reply.items()[0].text();
        steps += 1;
        // The odd ones go, and others come, while the scan is under way.
        for i in 0..25 {
            let i = (steps * 25 + i) % 2500;
            c.cmd(&["ZREM", "scan", &format!("m{}", 2 * i + 1)]);
            c.cmd(&[
                "ZADD",
                "scan",
                &(10_000 + i).to_string(),
                &format!("m{}", 10_000 + i),
            ]);
        }
        if cursor == "0" {
            break;
        }
        assert!(steps < 1000, "the scan does not end");
    }
    for i in (0..5000).step_by(2) {
        assert!(seen.contains(&format!("m{i}")), "m{i} was not seen");
    }
}

#[test]
fn random_changes_keep_the_order() {
    let s = server();
    let mut c = s.client();
    let mut random = support::Random::new(11);
    let mut model: HashMap<String, i64> = HashMap::new();
    for step in 0..6000 {
        let member = format!("m{}", random.below(400));
        let score = random.below(40) as i64;
        match random.below(10) {
            0..5 => {
                let new = model.insert(member.clone(), score).is_none();
                let added = c.cmd(&["ZADD", "order", &score.to_string(), &member]);
                assert_eq!(added, i64::from(new));
            }
            5..8 => {
                let sum = model.entry(member.clone()).or_default();
                *sum += score - 20;
                let by = (score - 20).to_string();
                assert_eq!(c.cmd(&["ZINCRBY", "order", &by, &member]), sum.to_string());
            }
            8 => {
                let there = model.remove(&member).is_some();
                assert_eq!(c.cmd(&["ZREM", "order", &member]), i64::from(there));
            }
            _ => {
                let least = model.iter().map(|(m, s)| (*s, m.clone())).min();
                let popped = c.cmd(&["ZPOPMIN", "order"]).texts();
                let expected = least.map(|(score, member)| {
                    model.remove(&member);
                    vec![member, score.to_string()]
                });
                assert_eq!(popped, expected.unwrap_or_default());
            }
        }
        if step % 600 == 0 {
            let mut sorted: Vec<_> = model.iter().map(|(m, s)| (*s, m.clone())).collect();
            sorted.sort();
            assert_eq!(c.run("ZCARD order"), sorted.len() as i64);
            for (rank, (score, member)) in sorted.iter().enumerate() {
                assert_eq!(c.cmd(&["ZRANK", "order", member]), rank as i64);
                assert_eq!(c.cmd(&["ZSCORE", "order", member]), score.to_string());
            }
        }
    }
}

#[test]
fn a_pop_takes_the_ends() {
    let s = server();
    let mut c = s.client();
    fill(&mut c, "ends", 1000);
    for i in 0..300 {
        assert_eq!(
            c.run("ZPOPMIN ends").texts(),
            [format!("m{i}"), i.to_string()]
        );
        let last = 999 - i;
        assert_eq!(
            c.run("ZPOPMAX ends").texts(),
            [format!("m{last}"), last.to_string()]
        );
    }
    let reply = c.run("ZMPOP 2 ends:none ends MIN COUNT 3");
    assert_eq!(reply.items()[0], Value::from("ends"));
    let members: Vec<String> = reply.items()[1]
        .items()
        .iter()
        .map(|p| p.items()[0].text())
        .collect();
    assert_eq!(members, ["m300", "m301", "m302"]);
    assert_eq!(c.run("ZPOPMAX ends 1000").items().len(), 2 * 397);
    assert_eq!(c.run("EXISTS ends"), 0);
}
