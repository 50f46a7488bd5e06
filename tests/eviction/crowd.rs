//! Eviction with many clients at a time, with replicas, and with the append only file.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use crate::nodes::{assert_equal, await_link, await_offsets, count, digest, node, replica_of};
use crate::support::{Client, Random, Server, eventually, simple};
use crate::{SOON, counted, fill, limit, policy};

/// Clients that write at a time.
const WRITERS: u64 = 8;
/// Bytes of the largest value.
const LARGEST: u64 = 4000;

/// Many clients write as long as `goes_on`; every command has to succeed. Returns how many there were.
fn write(s: &Server, rounds: u64) -> u64 {
    let each = |seed: u64| {
        let (mut c, mut random, mut written) = (s.client(), Random::new(seed), 0);
        while written < rounds {
            for _ in 0..50 {
                let key = format!("k:{}", random.below(20_000));
                let value = "x".repeat(random.below(LARGEST) as usize);
                match random.below(4) {
                    0 => c.send(&["SET", &key, &value, "EX", "1000"]),
                    1 => c.send(&["GET", &key]),
                    _ => c.send(&["SET", &key, &value]),
                }
            }
            for _ in 0..50 {
                let reply = c.recv();
                let refused = matches!(&reply, crate::support::Value::Error(_));
                assert!(!refused, "{reply:?}");
            }
            written += 50;
        }
        written
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..WRITERS)
            .map(|seed| scope.spawn(move || each(seed)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a writer"))
            .sum()
    })
}

#[test]
fn many_writers_keep_the_limit() {
    many_writers(3000);
}

#[test]
#[ignore = "takes a minute"]
fn many_writers_keep_the_limit_for_long() {
    many_writers(100_000);
}

fn many_writers(rounds: u64) {
    let s = Server::start();
    policy(&mut s.client(), "allkeys-lru");
    let limit = limit(&s, 8 << 20);
    let (over, most) = (AtomicBool::new(false), AtomicI64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(counted(&s), Ordering::Relaxed);
            }
        });
        write(&s, rounds);
        over.store(true, Ordering::Relaxed);
    });
    // What they are just carrying out comes on top, and the buffers they have for it.
    let most = most.into_inner();
    let bound = limit + (WRITERS * 64 * 1024) as i64;
    assert!(most < bound, "{most} of {limit}");
    assert!(most > limit - (1 << 20), "{most} of {limit}");
    // No more has gone than had to.
    let used = counted(&s);
    assert!(used > limit - (1 << 20), "{used} of {limit}");
    assert!(s.info_int("evicted_keys") > 1000);
    s.client().run("CONFIG SET maxmemory 0");
}

#[test]
fn a_replica_loses_what_its_primary_evicts() {
    let primary = node(&[
        "--maxmemory-policy",
        "allkeys-lru",
        "--repl-backlog-size",
        "1mb",
    ]);
    // Its own limit is nothing to it: the data is its primary's.
    let replica = replica_of(
        &primary,
        &["--maxmemory", "1mb", "--maxmemory-policy", "allkeys-random"],
    );
    limit(&primary, 4 << 20);
    write(&primary, 1500);
    await_offsets(&[&primary, &replica]);
    assert_equal(&[&primary, &replica], "after evictions");
    assert!(count(&primary, "evicted_keys") > 1000);
    assert_eq!(count(&replica, "evicted_keys"), 0);
    // In the stream a key goes before what it had to make room for.
    let mut other = primary.client();
    assert_eq!(other.run("CONFIG SET maxmemory 1"), simple("OK"));
    eventually("everything has gone", SOON, || other.run("DBSIZE") == 0);
    await_offsets(&[&primary, &replica]);
    assert_eq!(replica.client().run("DBSIZE"), 0);
}

#[test]
fn a_replica_evicts_if_it_is_told_to() {
    let primary = node(&[]);
    let replica = replica_of(&primary, &["--replica-ignore-maxmemory", "no"]);
    policy(&mut replica.client(), "allkeys-random");
    let limit = limit(&replica, 1 << 20);
    fill(&mut primary.client(), "k", 10_000, 1000, &[]);
    eventually("it has evicted", SOON, || {
        count(&replica, "evicted_keys") > 5000 && counted(&replica) < limit + (64 << 10)
    });
    assert_eq!(primary.client().run("DBSIZE"), 10_000);
    await_link(&replica);
}

#[test]
fn what_has_been_evicted_does_not_come_back() {
    for lazy in ["no", "yes"] {
        let mut s = node(&[
            "--appendonly",
            "yes",
            "--maxmemory-policy",
            "allkeys-lfu",
            "--lazyfree-lazy-eviction",
            lazy,
        ]);
        limit(&s, 2 << 20);
        write(&s, 1000);
        let mut c = s.client();
        assert!(count(&s, "evicted_keys") > 1000);
        assert_eq!(c.run("CONFIG SET maxmemory 0"), simple("OK"));
        let before = digest(&s);
        assert_eq!(c.run("DEBUG LOADAOF"), simple("OK"));
        assert_eq!(digest(&s), before);
        // Its limit does not matter to what is loaded.
        s.restart();
        assert_eq!(digest(&s), before);
        assert_eq!(count(&s, "evicted_keys"), 0);
        let words: &[u8] = if lazy == "yes" { b"UNLINK" } else { b"DEL" };
        let log = std::fs::read_dir(s.dir().join("appendonlydir")).expect("the log's folder");
        let found = log.flatten().any(|file| {
            let bytes = std::fs::read(file.path()).unwrap_or_default();
            bytes.windows(words.len()).any(|at| at == words)
        });
        assert!(found, "{lazy}");
    }
}

/// Clients that only read find what they look for or nothing, never something else.
#[test]
fn readers_beside_eviction() {
    let s = Server::start();
    policy(&mut s.client(), "volatile-lru");
    limit(&s, 1 << 20);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let read = |seed: u64| {
            let (mut c, mut random) = (s.client(), Random::new(seed));
            while !over.load(Ordering::Relaxed) {
                let i = random.below(5000);
                let reply = c.run(&format!("GET k:{i}"));
                assert!(reply.is_null() || reply == format!("{i}:{}", "v".repeat(500)));
            }
        };
        (0..3).for_each(|seed| drop(scope.spawn(move || read(seed))));
        let mut c: Client = s.client();
        for round in 0..3 {
            for i in 0..5000 {
                let value = format!("{i}:{}", "v".repeat(500));
                let reply = c.cmd(&["SET", &format!("k:{i}"), &value, "EX", "1000"]);
                assert_eq!(reply, simple("OK"), "{round}");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}
