//! `maxmemory` and `maxmemory-clients`: what goes when too much memory is in use, and who is told.

mod support;

#[path = "eviction/clients.rs"]
mod clients;
#[path = "eviction/crowd.rs"]
mod crowd;
#[path = "support/nodes.rs"]
mod nodes;

use std::time::Duration;
use support::{Client, NULL, Server, Value, error, eventually, oracle, simple};

/// Long enough for anything that is to happen at all.
pub const SOON: Duration = Duration::from_secs(30);

/// The error for a command that there is no memory for.
pub const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// What counts for the limit.
pub fn counted(server: &Server) -> i64 {
    let memory = server.info("memory");
    let field = |name: &str| memory[name].parse::<i64>().expect("a number of bytes");
    field("used_memory") - field("mem_not_counted_for_evict")
}

/// Sets the limit to what is in use and so many bytes more. Returns it.
pub fn limit(server: &Server, more: i64) -> i64 {
    let limit = counted(server) + more;
    let line = format!("CONFIG SET maxmemory {limit}");
    assert_eq!(server.client().run(&line), simple("OK"));
    limit
}

/// Sets a policy, and has each eviction go on until the limit is kept.
fn policy(c: &mut Client, name: &str) {
    let line = format!("CONFIG SET maxmemory-policy {name} maxmemory-eviction-tenacity 100");
    assert_eq!(c.run(&line), simple("OK"));
}

/// Sets keys `prefix:0` and so on to values of a size. Every command has to succeed.
fn fill(c: &mut Client, prefix: &str, keys: usize, size: usize, more: &[&str]) {
    let value = "x".repeat(size);
    for batch in (0..keys).collect::<Vec<_>>().chunks(100) {
        for i in batch {
            let key = format!("{prefix}:{i}");
            c.send(&[&["SET", &key, &value], more].concat());
        }
        batch
            .iter()
            .for_each(|_| assert_eq!(c.recv(), simple("OK")));
    }
}

/// How many of such keys there are.
fn left(c: &mut Client, prefix: &str, keys: usize) -> usize {
    let names: Vec<String> = (0..keys).map(|i| format!("{prefix}:{i}")).collect();
    let mut words = vec!["EXISTS"];
    words.extend(names.iter().map(String::as_str));
    c.cmd(&words).int() as usize
}

const POLICIES: [&str; 7] = [
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
];

#[test]
fn every_policy_keeps_the_limit() {
    let s = Server::start();
    let mut c = s.client();
    for name in POLICIES {
        c.run("CONFIG SET maxmemory 0");
        c.run("FLUSHALL");
        c.run("CONFIG RESETSTAT");
        policy(&mut c, name);
        let limit = limit(&s, 2 << 20);
        // In two databases, three times as much as there is room for.
        for db in [0, 5] {
            c.run(&format!("SELECT {db}"));
            fill(&mut c, "k", 6000, 400, &["EX", "1000"]);
        }
        let used = counted(&s);
        assert!(used < limit + (64 << 10), "{name}: {used} of {limit}");
        assert!(used > limit - (512 << 10), "{name}: {used} of {limit}");
        c.run("CONFIG SET maxmemory 0");
        let (keys, evicted) = (c.run("DBSIZE").int(), s.info_int("evicted_keys"));
        c.run("SELECT 0");
        let keys = keys + c.run("DBSIZE").int();
        assert_eq!(keys + evicted, 12_000, "{name}");
    }
}

#[test]
fn without_eviction_what_takes_memory_is_refused() {
    let s = Server::start();
    let mut c = s.client();
    fill(&mut c, "k", 10, 100, &[]);
    // By more than a client takes that is about to go.
    limit(&s, -(128 << 10));
    for line in [
        "SET a b",
        "LPUSH a b",
        "MSET a b",
        "APPEND k:0 x",
        "SETRANGE k:0 0 y",
    ] {
        assert_eq!(c.run(line), error(OOM), "{line}");
    }
    assert_eq!(c.run("GET k:0").bytes().len(), 100);
    assert_eq!(c.run("EXPIRE k:0 100"), 1);
    assert_eq!(c.run("MULTI"), simple("OK"));
    assert_eq!(c.run("GET a"), error(OOM));
    let aborted = "EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(c.run("EXEC"), error(aborted));
    assert_eq!(s.info_int("evicted_keys"), 0);
    assert!(s.info_int("current_eviction_exceeded_time") >= 0);
    eventually("time goes by", SOON, || {
        s.info_int("total_eviction_exceeded_time") > 0
    });
    assert_eq!(c.run("DEL k:0 k:1 k:2 k:3 k:4 k:5 k:6 k:7 k:8 k:9"), 10);
    assert_eq!(c.run("CONFIG SET maxmemory 100mb"), simple("OK"));
    assert_eq!(c.run("SET a b"), simple("OK"));
    assert_eq!(s.info_int("current_eviction_exceeded_time"), 0);
}

#[test]
fn a_transaction_that_takes_memory_is_refused_as_a_whole() {
    let s = Server::start();
    let (mut c, mut other) = (s.client(), s.client());
    c.run("MULTI");
    assert_eq!(c.run("SET a b"), simple("QUEUED"));
    other.run("CONFIG SET maxmemory 1");
    let text = "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.";
    assert_eq!(c.run("EXEC"), error(text));
    c.run("CONFIG SET maxmemory 0");
    c.run("MULTI");
    c.run("GET a");
    other.run("CONFIG SET maxmemory 1");
    assert_eq!(c.run("EXEC"), Value::Array(vec![NULL]));
    other.run("CONFIG SET maxmemory 0");
}

#[test]
fn volatile_policies_leave_other_keys_alone() {
    let s = Server::start();
    let mut c = s.client();
    for name in POLICIES.into_iter().filter(|name| name.starts_with("vol")) {
        c.run("CONFIG SET maxmemory 0");
        c.run("FLUSHALL");
        policy(&mut c, name);
        fill(&mut c, "stays", 3000, 100, &[]);
        fill(&mut c, "goes", 500, 100, &["EX", "1000"]);
        limit(&s, 0);
        fill(&mut c, "new", 100, 200, &[]);
        assert_eq!(left(&mut c, "stays", 3000), 3000, "{name}");
        let goes = left(&mut c, "goes", 500);
        assert!((100..450).contains(&goes), "{name}: {goes}");
        // Until none of them is left.
        let value = "x".repeat(1000);
        let mut set = 0;
        let refused = loop {
            let reply = c.cmd(&["SET", &format!("more:{set}"), &value]);
            if reply != simple("OK") {
                break reply;
            }
            set += 1;
            assert!(set < 1000, "{name}: no end");
        };
        assert_eq!(refused, error(OOM), "{name}");
        assert_eq!(left(&mut c, "goes", 500), 0, "{name}");
        assert_eq!(left(&mut c, "stays", 3000), 3000, "{name}");
        for i in 0..50 {
            assert_eq!(c.run(&format!("EXPIRE stays:{i} 1000")), 1);
        }
        // There are some again.
        assert_eq!(c.run("SET stays:50 x"), simple("OK"), "{name}");
        assert_eq!(
            c.run("CONFIG SET maxmemory-policy noeviction"),
            simple("OK")
        );
    }
}

/// Sets half of some keys with an option of RESTORE that makes them good candidates, and half of them
/// with one that does not; has some of them evicted, and returns how many good ones and others went.
fn choose(c: &mut Client, s: &Server, name: &str, good: &[&str], other: &[&str]) -> (usize, usize) {
    c.run("CONFIG SET maxmemory 0 maxmemory-samples 10");
    c.run("FLUSHALL");
    policy(c, name);
    c.cmd(&["SET", "model", &"x".repeat(200)]);
    let dump = c.run("DUMP model");
    // Mixed, so that the order in which they came does not tell them apart.
    for i in 0..2000 {
        for (prefix, options) in [("good", good), ("other", other)] {
            let key = format!("{prefix}:{i}");
            let mut words: Vec<&[u8]> = vec![b"RESTORE", key.as_bytes(), b"0", dump.bytes()];
            if options[0] == "ABSTTL" {
                words[2] = options[1].as_bytes();
                words.push(b"ABSTTL");
            } else {
                words.extend(options.iter().map(|word| word.as_bytes()));
            }
            assert_eq!(c.cmd(&words), simple("OK"));
        }
    }
    limit(s, -(100 << 10));
    c.run("PING");
    let gone = |c: &mut Client, prefix| 2000 - left(c, prefix, 2000);
    let gone = (gone(c, "good"), gone(c, "other"));
    assert!((100..1500).contains(&gone.0), "{name}: {gone:?}");
    gone
}

#[test]
fn the_right_keys_go() {
    let s = Server::start();
    let mut c = s.client();
    let (good, other) = choose(
        &mut c,
        &s,
        "allkeys-lru",
        &["IDLETIME", "5000"],
        &["IDLETIME", "100"],
    );
    assert!(other * 50 <= good, "{good} {other}");
    let (good, other) = choose(&mut c, &s, "allkeys-lfu", &["FREQ", "1"], &["FREQ", "200"]);
    assert!(other * 50 <= good, "{good} {other}");
    let (soon, late) = ("2000000000000", "3000000000000");
    let (good, other) = choose(
        &mut c,
        &s,
        "volatile-ttl",
        &["ABSTTL", soon],
        &["ABSTTL", late],
    );
    assert!(other * 50 <= good, "{good} {other}");
    // At random there is nothing to choose.
    let (good, other) = choose(
        &mut c,
        &s,
        "allkeys-random",
        &["IDLETIME", "5000"],
        &["IDLETIME", "100"],
    );
    assert!(other * 3 > good && good * 3 > other, "{good} {other}");
}

#[test]
fn what_is_used_stays() {
    let s = Server::start();
    let mut c = s.client();
    for (name, rounds) in [("allkeys-lfu", 30), ("volatile-lfu", 30)] {
        c.run("CONFIG SET maxmemory 0");
        c.run("FLUSHALL");
        policy(&mut c, name);
        fill(&mut c, "k", 4000, 100, &["EX", "1000"]);
        for _ in 0..rounds {
            left_touched(&mut c, 400);
        }
        limit(&s, -(100 << 10));
        c.run("PING");
        assert_eq!(left(&mut c, "k", 400), 400, "{name}");
        assert!(c.run("DBSIZE").int() < 3800, "{name}");
    }
}

fn left_touched(c: &mut Client, keys: usize) {
    let names: Vec<String> = (0..keys).map(|i| format!("k:{i}")).collect();
    let mut words = vec!["TOUCH"];
    words.extend(names.iter().map(String::as_str));
    assert_eq!(c.cmd(&words), keys as i64);
}

#[test]
fn eviction_is_told_of() {
    let s = Server::start();
    let (mut c, mut listener, mut watcher) = (s.client3(), s.client(), s.client());
    c.run("CONFIG SET notify-keyspace-events Ee");
    policy(&mut c, "volatile-random");
    c.run("CLIENT TRACKING ON NOLOOP");
    c.run("SET goes x EX 1000");
    assert_eq!(c.run("GET goes"), "x");
    watcher.run("WATCH goes");
    watcher.run("MULTI");
    watcher.run("PING");
    listener.run("PSUBSCRIBE *");
    c.run("SETBIT large 8000000 0");
    let line = format!("CONFIG SET maxmemory {}", counted(&s) - 1000);
    // Paused, nothing goes, so that it does not before the next command either.
    watcher.split();
    let mut other = s.client();
    other.run("CLIENT PAUSE 100000 WRITE");
    assert_eq!(other.run(&line), simple("OK"));
    assert_eq!(other.run("EXISTS goes"), 1);
    assert_eq!(s.info_int("evicted_keys"), 0);
    other.run("CLIENT UNPAUSE");
    // It is told before the reply of the command that has found too much memory in use, whoever
    // evicts.
    c.send(&["GETBIT", "large", "0"]);
    let told = c.recv();
    assert_eq!(told.items()[0], "invalidate");
    assert_eq!(told.items()[1].texts(), ["goes"]);
    assert_eq!(c.recv(), 0);
    let event = listener.recv();
    let texts = ["pmessage", "*", "__keyevent@0__:evicted", "goes"];
    assert_eq!(event.texts(), texts);
    assert!(watcher.run("EXEC").is_null());
    assert_eq!(s.info_int("evicted_keys"), 1);
    assert_eq!(s.info_int("expired_keys"), 0);
}

#[test]
fn a_lower_limit_takes_effect_by_itself() {
    let s = Server::start();
    let (mut c, mut listener) = (s.client(), s.client());
    c.run("CONFIG SET notify-keyspace-events Ee");
    c.run("CONFIG SET maxmemory-policy allkeys-lru");
    fill(&mut c, "k", 20_000, 100, &[]);
    listener.run("PSUBSCRIBE *");
    c.run("CONFIG SET maxmemory 1");
    // Nobody sends anything any more.
    (0..20_000).for_each(|_| drop(listener.recv()));
    assert!(s.log().contains("bytes is less than the"));
    assert_eq!(c.run("DBSIZE"), 0);
    assert_eq!(s.info_int("evicted_keys"), 20_000);
}

#[test]
fn the_latency_monitor_sees_it() {
    let s = Server::start();
    let mut c = s.client();
    policy(&mut c, "allkeys-random");
    c.run("CONFIG SET latency-monitor-threshold 1");
    let words: Vec<String> = (0..300_000).map(|i| i.to_string()).collect();
    let mut command = vec!["SADD", "set"];
    command.extend(words.iter().map(String::as_str));
    assert_eq!(c.cmd(&command), 300_000);
    fill(&mut c, "k", 50_000, 10, &[]);
    c.run("CONFIG SET maxmemory 1");
    // What is still being freed counts as free.
    eventually("everything has gone", SOON, || c.run("DBSIZE") == 0);
    let latest = c.run("LATENCY LATEST");
    let events: Vec<String> = (latest.items().iter())
        .map(|event| event.items()[0].text())
        .collect();
    assert!(events.contains(&"eviction-cycle".to_string()), "{events:?}");
}

#[test]
fn what_is_being_freed_counts_as_free() {
    let s = Server::with(&["--lazyfree-lazy-eviction", "yes"]);
    let mut c = s.client();
    policy(&mut c, "allkeys-random");
    // Values that are freed in the background, about a hundred kilobytes each.
    let members: Vec<String> = (0..1000).map(|i| format!("member:{i:0>30}")).collect();
    for i in 0..200 {
        let key = format!("set:{i}");
        let mut command = vec!["SADD", &key];
        command.extend(members.iter().map(String::as_str));
        assert_eq!(c.cmd(&command), 1000);
    }
    let before = counted(&s);
    let limit = limit(&s, -2_000_000);
    c.run("PING");
    let each = before / 200;
    eventually("it is freed", SOON, || counted(&s) < limit);
    let (used, gone) = (counted(&s), s.info_int("evicted_keys"));
    assert!(used > limit - 3 * each, "{used} of {limit}, {gone} gone");
    assert!(gone <= 2_000_000 / each + 3, "{gone} of {each} bytes");
    eventually("all of it is freed", SOON, || {
        let info = s.info("everything");
        info["lazyfreed_objects"] == info["evicted_keys"]
    });
}

#[test]
fn the_count_of_memory_is_true() {
    let s = Server::start();
    let mut c = s.client();
    fill(&mut c, "k", 60_000, 50, &["EX", "1000"]);
    let members: Vec<String> = (0..50_000).map(|i| i.to_string()).collect();
    let mut command = vec!["SADD", "set"];
    command.extend(members.iter().map(String::as_str));
    c.cmd(&command);
    if oracle() {
        return;
    }
    let text = c.run("MEMORY MALLOC-STATS").text();
    let field = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().last());
        number.expect("a figure").parse().expect("a number")
    };
    let truth = field("in use in heaps") + field("in blocks with a mapping");
    let counted = field("in live blocks");
    assert!((counted / truth - 1.0).abs() < 0.02, "{counted} {truth}");
}

#[test]
fn memory_goes_back_to_the_system() {
    give_back(200_000);
}

#[test]
#[ignore = "a million keys"]
fn the_memory_of_a_million_keys_goes_back_to_the_system() {
    give_back(1_000_000);
}

fn give_back(keys: usize) {
    let s = Server::start();
    let mut c = s.client();
    let Some(before) = s.rss() else { return };
    fill(&mut c, "k", keys, 100, &[]);
    let full = s.rss().expect("the process runs");
    for batch in (0..keys).collect::<Vec<_>>().chunks(1000) {
        let names: Vec<String> = batch.iter().map(|i| format!("k:{i}")).collect();
        let mut command = vec!["DEL"];
        command.extend(names.iter().map(String::as_str));
        assert_eq!(c.cmd(&command), batch.len() as i64);
    }
    eventually("memory is given back", SOON, || {
        let now = s.rss().expect("the process runs");
        now < before + (full - before) / 4
    });
}

#[test]
fn shared_integers_and_idle_times_go_by_the_policy() {
    let s = Server::start();
    let mut c = s.client();
    c.run("SET n 5");
    assert!(c.run("OBJECT REFCOUNT n").int() > 1);
    assert_eq!(c.run("OBJECT IDLETIME n"), 0);
    c.run("CONFIG SET maxmemory 1gb maxmemory-policy allkeys-lfu");
    assert_eq!(c.run("OBJECT REFCOUNT n"), 1);
    assert!(c.run("OBJECT IDLETIME n").error().starts_with("ERR An LFU"));
    c.run("SET m x");
    assert_eq!(c.run("OBJECT FREQ m"), 5);
    // Each access counts then.
    c.run("CONFIG SET lfu-log-factor 0");
    for _ in 0..100 {
        c.run("GET m");
    }
    assert_eq!(c.run("OBJECT FREQ m"), 105);
    c.run("CONFIG SET maxmemory-policy volatile-ttl");
    assert!(c.run("OBJECT FREQ m").error().starts_with("ERR An LFU"));
    assert!(c.run("OBJECT REFCOUNT n").int() > 1);
}
