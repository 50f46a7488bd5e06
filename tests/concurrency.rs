//! Many clients at once: what is atomic stays atomic, what crosses does not lock up, what has
//! expired is never seen again. Each test does a fixed amount of work, and every reply has a
//! deadline, so that a deadlock fails instead of hanging.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{Client, NULL, Random, Server, Value, encode, eventually};

/// Runs `work` on `count` threads, each with a connection of its own and its number.
fn crowd(server: &Server, count: usize, work: impl Fn(usize, &mut Client) + Sync) {
    thread::scope(|scope| {
        for n in 0..count {
            let (work, mut client) = (&work, server.client());
            scope.spawn(move || work(n, &mut client));
        }
    });
}

/// Sets its flag when dropped, so that the other threads of a failing test end too.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn increments_are_never_lost() {
    let s = Server::start();
    crowd(&s, 16, |n, c| {
        for round in 0..50 {
            for i in 0..20 {
                c.send(&["INCR", "one"]);
                c.send(&["INCRBY", &format!("k:{}", (n + i) % 7), "3"]);
                c.send(&["INCRBYFLOAT", "float", "0.5"]);
                c.send(&["APPEND", "text", "x"]);
            }
            for _ in 0..20 {
                for _ in 0..4 {
                    let value = c.recv();
                    assert!(
                        !matches!(value, Value::Error(_)),
                        "{value:?} in round {round}"
                    );
                }
            }
        }
    });
    let mut c = s.client();
    assert_eq!(c.run("GET one"), "16000");
    assert_eq!(c.run("GET float"), "8000");
    assert_eq!(c.run("STRLEN text"), 16_000);
    let sum: i64 = (0..7)
        .map(|k| c.run(&format!("GET k:{k}")).text().parse::<i64>().unwrap())
        .sum();
    assert_eq!(sum, 48_000);
}

#[test]
fn every_increment_gets_a_number_of_its_own() {
    let s = Server::start();
    let seen = std::sync::Mutex::new(BTreeSet::new());
    crowd(&s, 8, |_, c| {
        let mine: Vec<i64> = (0..500).map(|_| c.run("INCR n").int()).collect();
        assert!(mine.is_sorted(), "a client's own numbers went backwards");
        seen.lock().unwrap().extend(mine);
    });
    assert!(seen.into_inner().unwrap().into_iter().eq(1..=4000));
}

#[test]
fn several_keys_are_written_and_read_as_one() {
    let s = Server::start();
    // Enough keys to lie in different shards, in an order that differs from client to client.
    let keys: Vec<String> = (0..12).map(|i| format!("key:{i}")).collect();
    let done = AtomicBool::new(false);
    let reads = AtomicI64::new(0);
    thread::scope(|scope| {
        let (s, keys, done, reads) = (&s, &keys, &done, &reads);
        for _ in 0..3 {
            scope.spawn(move || {
                let mut c = s.client();
                while !done.load(Ordering::SeqCst) {
                    let mut args = vec!["MGET"];
                    args.extend(keys.iter().map(String::as_str));
                    let reply = c.cmd(&args);
                    let first = &reply.items()[0];
                    assert!(reply.items().iter().all(|v| v == first), "torn: {reply:?}");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let writers: Vec<_> = (0..3)
            .map(|n| {
                scope.spawn(move || {
                    let mut c = s.client();
                    let mut random = Random::new(n);
                    for round in 0..700 {
                        let value = format!("{n}:{round}");
                        let mut args = vec!["MSET"];
                        let start = random.below(12) as usize;
                        for i in 0..12 {
                            args.extend([keys[(start + i * 5) % 12].as_str(), &value]);
                        }
                        assert_eq!(c.cmd(&args), "OK");
                    }
                })
            })
            .collect();
        let finish = Finish(done);
        for writer in writers {
            writer.join().expect("a writer failed");
        }
        // The readers may have been slow to start; each has something to check before the end.
        eventually("some reads", Duration::from_secs(10), || {
            reads.load(Ordering::Relaxed) > 10
        });
        drop(finish);
    });
}

#[test]
fn msetnx_has_one_winner() {
    let s = Server::start();
    for round in 0..50 {
        let wins = AtomicI64::new(0);
        crowd(&s, 4, |n, c| {
            let (a, b) = (format!("a:{round}"), format!("b:{round}"));
            let who = n.to_string();
            let pair = if n % 2 == 0 { [&a, &b] } else { [&b, &a] };
            wins.fetch_add(
                c.cmd(&["MSETNX", pair[0], &who, pair[1], &who]).int(),
                Ordering::SeqCst,
            );
        });
        assert_eq!(wins.into_inner(), 1);
        let both = s.client().run(&format!("MGET a:{round} b:{round}"));
        assert_eq!(both.items()[0], both.items()[1]);
    }
}

#[test]
fn two_key_commands_cross_without_a_deadlock() {
    let s = Server::start();
    let start = Instant::now();
    crowd(&s, 12, |n, c| {
        let mut random = Random::new(n as u64);
        c.cmd(&["SELECT", &(n % 3).to_string()]);
        for _ in 0..100 {
            // In batches, so that the clients really meet.
            for _ in 0..10 {
                let (a, b) = (random.below(6).to_string(), random.below(6).to_string());
                let db = random.below(3).to_string();
                match random.below(12) {
                    0 => c.send(&["RENAME", &a, &b]),
                    1 => c.send(&["RENAMENX", &a, &b]),
                    2 => c.send(&["COPY", &a, &b, "REPLACE"]),
                    3 => c.send(&["COPY", &a, &b, "DB", &db, "REPLACE"]),
                    4 => c.send(&["MOVE", &a, &db]),
                    5 => c.send(&["SWAPDB", &db, &random.below(3).to_string()]),
                    6 => c.send(&["MSET", &a, "x", &b, "y"]),
                    7 => c.send(&["DEL", &a, &b]),
                    8 => c.send(&["MGET", &a, &b]),
                    9 => c.send(&["LCS", &a, &b]),
                    10 => c.send(&["RANDOMKEY"]),
                    _ => c.send(&["MSETNX", &a, "x", &b, "y"]),
                }
            }
            for _ in 0..10 {
                match c.recv() {
                    Value::Error(text) => assert!(
                        text == "ERR no such key"
                            || text == "ERR source and destination objects are the same",
                        "{text}"
                    ),
                    value => drop(value),
                }
            }
        }
    });
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
    for db in 0..3 {
        let mut c = s.client();
        c.cmd(&["SELECT", &db.to_string()]);
        assert!(c.run("DBSIZE").int() <= 6);
        assert_eq!(c.run("DBSIZE").int(), c.run("KEYS *").items().len() as i64);
    }
}

#[test]
fn a_renamed_key_is_always_somewhere() {
    let s = Server::start();
    s.client().run("SET a treasure");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (s, done) = (&s, &done);
        let reader = scope.spawn(move || {
            let mut c = s.client();
            while !done.load(Ordering::SeqCst) {
                assert_eq!(c.run("EXISTS a b"), 1);
                let values = c.run("MGET a b");
                let found = values.items().iter().filter(|v| **v == "treasure").count();
                assert_eq!(found, 1, "{values:?}");
            }
        });
        let finish = Finish(done);
        let mut c = s.client();
        for _ in 0..2000 {
            assert_eq!(c.run("RENAME a b"), "OK");
            assert_eq!(c.run("RENAME b a"), "OK");
        }
        drop(finish);
        reader.join().expect("the reader failed");
    });
}

#[test]
fn swapped_databases_are_never_mixed() {
    let s = Server::start();
    for db in ["0", "1"] {
        let mut c = s.client();
        c.cmd(&["SELECT", db]);
        for i in 0..20 {
            c.cmd(&["SET", &format!("k:{i}"), db]);
        }
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (s, done) = (&s, &done);
        for _ in 0..2 {
            scope.spawn(move || {
                let mut c = s.client();
                let mut args = vec!["MGET".to_string()];
                args.extend((0..20).map(|i| format!("k:{i}")));
                while !done.load(Ordering::SeqCst) {
                    let reply = c.cmd(&args);
                    assert!(
                        reply.items().iter().all(|v| *v == reply.items()[0]),
                        "{reply:?}"
                    );
                    assert!(!reply.items()[0].is_null());
                }
            });
        }
        let _finish = Finish(done);
        let mut c = s.client();
        for _ in 0..1000 {
            assert_eq!(c.run("SWAPDB 0 1"), "OK");
        }
    });
}

#[test]
fn an_expired_value_is_never_read() {
    let s = Server::start();
    let start = Instant::now();
    crowd(&s, 6, |n, c| {
        let mut random = Random::new(n as u64);
        let mut round = 0;
        while start.elapsed() < Duration::from_secs(2) {
            let key = format!("k:{n}:{}", random.below(50));
            let due = now_ms(c) + 1 + random.below(15) as i64;
            let value = format!("{due}:{round}");
            assert_eq!(
                c.cmd(&["SET", &key, &value, "PXAT", &due.to_string()]),
                "OK"
            );
            for _ in 0..4 {
                // The clock is read first: if the key was due by then, it must be gone.
                let before = now_ms(c);
                let read = c.cmd(&["GET", &key]);
                let (exists, ttl) = (c.cmd(&["EXISTS", &key]).int(), c.cmd(&["PTTL", &key]).int());
                if before > due {
                    assert_eq!((read, exists, ttl), (NULL, 0, -2), "{before}, due {due}");
                } else {
                    assert!(
                        read.is_null() || read == value,
                        "{read:?} instead of {value}"
                    );
                    assert!(ttl == -2 || (0..=due - before).contains(&ttl), "{ttl}");
                }
            }
            round += 1;
        }
    });
    eventually("all is swept", Duration::from_secs(10), || {
        s.client().run("DBSIZE") == 0
    });
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
fn a_scan_under_growth_misses_nothing() {
    let s = Server::start();
    let mut c = s.client();
    for i in 0..3000 {
        c.send(&["SET", &format!("stay:{i}"), "v"]);
    }
    for _ in 0..3000 {
        c.recv();
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (s, done) = (&s, &done);
        for n in 0..3 {
            scope.spawn(move || {
                let mut c = s.client();
                // Grows by 20,000 keys, shrinks to none, and again.
                for i in (0..).take_while(|_| !done.load(Ordering::SeqCst)) {
                    let grow = i / 200 % 2 == 0;
                    for j in 0..100 {
                        let key = format!("come:{n}:{}", (i % 200) * 100 + j);
                        if grow {
                            c.send(&["SET", &key, "v"]);
                        } else {
                            c.send(&["DEL", &key]);
                        }
                    }
                    for _ in 0..100 {
                        c.recv();
                    }
                }
            });
        }
        let _finish = Finish(done);
        for count in ["10", "50", "200", "1000"] {
            let (mut cursor, mut seen) = ("0".to_string(), BTreeSet::new());
            let start = Instant::now();
            loop {
                let reply = c.cmd(&["SCAN", &cursor, "COUNT", count, "MATCH", "stay:*"]);
                seen.extend(reply.items()[1].texts());
                cursor = reply.items()[0].text();
                if cursor == "0" {
                    break;
                }
                assert!(
                    start.elapsed() < Duration::from_secs(60),
                    "the scan does not end"
                );
            }
            assert_eq!(seen.len(), 3000, "COUNT {count}");
        }
    });
}

#[test]
fn flushall_crosses_writers() {
    let s = Server::start();
    crowd(&s, 8, |n, c| {
        for round in 0..60 {
            if n < 2 {
                let how = if round % 2 == 0 { "ASYNC" } else { "SYNC" };
                assert_eq!(c.cmd(&[["FLUSHALL", "FLUSHDB"][n], how]), "OK");
                continue;
            }
            for i in 0..20 {
                c.send(&["SET", &format!("{n}:{i}"), "v", "EX", "1000"]);
                c.send(&["MSET", "a", "1", "b", "2", "c", "3"]);
                c.send(&["MGET", "a", "b", "c"]);
            }
            for _ in 0..20 {
                assert_eq!(c.recv(), "OK");
                assert_eq!(c.recv(), "OK");
                let read = c.recv();
                let gone = read.items().iter().filter(|v| v.is_null()).count();
                assert!(gone == 0 || gone == 3, "half a flush: {read:?}");
            }
        }
    });
    let mut c = s.client();
    assert_eq!(c.run("FLUSHALL"), "OK");
    assert_eq!(c.run("DBSIZE"), 0);
    assert_eq!(c.run("RANDOMKEY"), NULL);
    assert!(!support::info(&mut c, "keyspace").contains_key("db0"));
}

#[test]
fn a_storm_of_client_kill() {
    let s = Server::start();
    let done = AtomicBool::new(false);
    let answered = AtomicI64::new(0);
    thread::scope(|scope| {
        let (s, done, answered) = (&s, &done, &answered);
        for _ in 0..8 {
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let Ok(mut c) = s.connect() else { continue };
                    while !done.load(Ordering::SeqCst)
                        && c.try_write(&encode(&["INCR", "n"])).is_ok()
                    {
                        match c.try_recv() {
                            Some(value) => answered.fetch_max(value.int(), Ordering::SeqCst),
                            None => break,
                        };
                    }
                }
            });
        }
        let _finish = Finish(done);
        let mut c = s.client();
        let mut killed = 0;
        for _ in 0..200 {
            killed += c.run("CLIENT KILL TYPE normal").int();
            c.run("CLIENT LIST");
        }
        // A storm that hits nobody proves nothing.
        eventually("a thousand are hit", Duration::from_secs(20), || {
            killed += c.run("CLIENT KILL TYPE normal").int();
            killed > 200
        });
    });
    let mut c = s.client();
    let n: i64 = c.run("GET n").text().parse().unwrap();
    assert!(n >= answered.into_inner(), "an answered INCR was lost");
    eventually("only this client is left", Duration::from_secs(10), || {
        c.run("CLIENT LIST").text().lines().count() == 1
    });
}

#[test]
fn long_commands_hold_up_no_other_client() {
    let s = Server::start();
    let mut c = s.client();
    for set in ["a", "b"] {
        for part in 0..20 {
            let mut args = vec!["SADD".to_string(), set.to_string()];
            args.extend((0..5000).map(|n| format!("{set}:{}", part * 5000 + n)));
            assert_eq!(c.cmd(&args), 5000);
        }
    }
    // Busy clients share their threads; those that ask for much leave them, and are served right.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let finish = Finish(&done);
        for n in 0..6 {
            let (s, done) = (&s, &done);
            scope.spawn(move || {
                let mut c = s.client();
                while !done.load(Ordering::SeqCst) {
                    assert_eq!(c.cmd(&["SET", &format!("k{n}"), "v"]), "OK");
                }
            });
        }
        let mut c = s.client();
        for _ in 0..10 {
            // So that it is busy as well.
            for _ in 0..50 {
                c.run("PING");
            }
            assert_eq!(c.run("SUNIONSTORE both a b"), 200_000);
            assert_eq!(c.run("SMEMBERS a").items().len(), 100_000);
            assert_eq!(c.run("SINTERSTORE none a b"), 0);
            assert_eq!(c.run("SDIFF a both").items().len(), 0);
        }
        drop(finish);
    });
    assert_eq!(c.run("EXISTS none"), 0);
}

#[test]
#[ignore = "long: all of the above ten times"]
fn ten_times_over() {
    support::again(10);
}
