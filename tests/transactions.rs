//! Transactions: that they are one step for everybody else, that watched keys notice whatever
//! happens to them, and that nothing is left of clients that go.

mod support;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{Client, NULL, Random, Server, Value, encode, error, eventually, oracle};

/// Long enough for anything that is to happen at all.
const SOON: Duration = Duration::from_secs(20);

const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// A server on which the sweeper can be stopped.
fn with_debug() -> Server {
    Server::with(&["--enable-debug-command", "yes"])
}

/// Runs one line after the other; each is to succeed.
#[track_caller]
fn all(client: &mut Client, lines: &[&str]) {
    for line in lines {
        let reply = client.run(line);
        assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
    }
}

/// Runs these lines in a transaction and returns the reply of `EXEC`.
#[track_caller]
fn transaction(client: &mut Client, lines: &[&str]) -> Value {
    assert_eq!(client.run("MULTI"), "OK");
    for line in lines {
        assert_eq!(client.run(line), "QUEUED", "{line}");
    }
    client.run("EXEC")
}

/// Whether the next transaction of this client does nothing because of what it watches.
#[track_caller]
fn is_stopped(client: &mut Client) -> bool {
    match transaction(client, &["PING"]) {
        Value::Null => true,
        reply => {
            assert_eq!(reply.texts(), ["PONG"]);
            false
        }
    }
}

/// Waits until so many clients are blocked.
#[track_caller]
fn blocked(s: &Server, count: i64) {
    eventually(&format!("{count} blocked clients"), SOON, || {
        s.info_int("blocked_clients") == count
    });
}

/// A client that has sent a command and is blocked in it.
#[track_caller]
fn waiter(s: &Server, line: &str) -> Client {
    let before = s.info_int("blocked_clients");
    let mut client = s.client();
    client.send(&line.split(' ').collect::<Vec<_>>());
    blocked(s, before + 1);
    client
}

/// Waits until nobody watches anything.
#[track_caller]
fn nobody_watches(s: &Server) {
    if oracle() {
        return;
    }
    eventually("nobody watches", SOON, || {
        s.info_int("watching_clients") == 0 && s.info_int("total_watched_keys") == 0
    });
}

/// The line of a client in `CLIENT LIST`, as others see it.
fn line_of(s: &Server, client: &Client) -> String {
    let lines = s.client().run("CLIENT LIST").text();
    let address = format!(" addr={} ", client.address());
    let line = lines.lines().find(|line| line.contains(&address));
    line.expect("the client in the list").to_string()
}

#[track_caller]
fn assert_shown(line: &str, field: &str) {
    assert!(line.split(' ').any(|word| word == field), "{field}: {line}");
}

/// Sets its flag when dropped, so that the other threads of a failing test end too.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn transfers_are_one_step_for_everybody_else() {
    let s = Server::start();
    let keys: Vec<String> = (0..8).map(|n| format!("account:{n}")).collect();
    let mut c = s.client();
    for key in &keys {
        c.cmd(&["SET", key, "100"]);
    }
    let (done, reads) = (AtomicBool::new(false), AtomicI64::new(0));
    thread::scope(|scope| {
        let (s, keys, done, reads) = (&s, &keys, &done, &reads);
        for n in 0..2 {
            scope.spawn(move || {
                let mut c = s.client();
                let mut all = vec!["MGET"];
                all.extend(keys.iter().map(String::as_str));
                while !done.load(Ordering::SeqCst) {
                    let reply = if n == 0 {
                        c.cmd(&all)
                    } else {
                        let gets: Vec<String> =
                            keys.iter().map(|key| format!("GET {key}")).collect();
                        let gets: Vec<&str> = gets.iter().map(String::as_str).collect();
                        transaction(&mut c, &gets)
                    };
                    let numbers = reply.texts().into_iter();
                    let sum: i64 = numbers.map(|number| number.parse::<i64>().unwrap()).sum();
                    assert_eq!(sum, 800, "{reply:?}");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let movers: Vec<_> = (0..3)
            .map(|n| {
                scope.spawn(move || {
                    let (mut c, mut random) = (s.client(), Random::new(n));
                    for _ in 0..600 {
                        let (from, to) = (random.pick(keys), random.pick(keys));
                        if n > 0 {
                            // Many in one: the longer it takes, the more would be seen of it.
                            let mut bytes = encode(&["MULTI"]);
                            for _ in 0..20 {
                                bytes.extend(encode(&["DECRBY", from, "3"]));
                                bytes.extend(encode(&["INCRBY", to, "3"]));
                            }
                            bytes.extend(encode(&["EXEC"]));
                            c.write(&bytes);
                            for _ in 0..41 {
                                c.recv();
                            }
                            assert_eq!(c.recv().items().len(), 40);
                            continue;
                        }
                        // The same with what was read before, as long as it holds.
                        if from == to {
                            continue;
                        }
                        all(&mut c, &[&format!("WATCH {from} {to}")]);
                        let found = c.cmd(&["MGET", from, to]).texts();
                        let number = |at: usize| found[at].parse::<i64>().unwrap();
                        let (less, more) = (number(0) - 3, number(1) + 3);
                        let (less, more) =
                            (format!("SET {from} {less}"), format!("SET {to} {more}"));
                        transaction(&mut c, &[&less, &more]);
                    }
                })
            })
            .collect();
        let finish = Finish(done);
        for mover in movers {
            mover.join().expect("a mover");
        }
        eventually("some reads", SOON, || reads.load(Ordering::Relaxed) > 20);
        drop(finish);
    });
    nobody_watches(&s);
}

#[test]
fn transfers_between_databases_are_one_step_too() {
    let s = Server::start();
    let done = AtomicBool::new(false);
    s.client().run("SET k 100");
    thread::scope(|scope| {
        let (s, done) = (&s, &done);
        let _finish = Finish(done);
        scope.spawn(move || {
            let mut c = s.client();
            while !done.load(Ordering::SeqCst) {
                let reply = transaction(&mut c, &["GET k", "SELECT 1", "GET k", "SELECT 0"]);
                let number = |at: usize| match &reply.items()[at] {
                    Value::Null => 0,
                    value => value.text().parse::<i64>().unwrap(),
                };
                assert_eq!(number(0) + number(2), 100, "{reply:?}");
            }
        });
        let mut c = s.client();
        for _ in 0..500 {
            transaction(&mut c, &["DECR k", "SELECT 1", "INCR k", "SELECT 0"]);
        }
        // It stays in the database that the transaction has left it in.
        transaction(&mut c, &["SELECT 3"]);
        assert_shown(&line_of(s, &c), "db=3");
    });
}

#[test]
fn a_watched_key_is_seen_to_expire() {
    let s = with_debug();
    let (mut c, mut other) = (s.client(), s.client());
    // Removed by the sweeper, though nobody asks for it.
    all(&mut c, &["SET k v PX 40", "WATCH k"]);
    eventually("it is removed", SOON, || other.run("DBSIZE") == 0);
    assert!(is_stopped(&mut c));
    // Removed by whoever comes across it, reading or writing.
    all(&mut c, &["DEBUG SET-ACTIVE-EXPIRE 0"]);
    for line in ["GET k", "SET k v", "DEL k", "INCR k", "MGET k", "LPUSH k x"] {
        all(
            &mut c,
            &["FLUSHALL", "SET k v PX 40", "WATCH k", "DEBUG SLEEP 0.06"],
        );
        other.run(line);
        assert!(is_stopped(&mut c), "{line}");
    }
    // Not removed at all.
    all(
        &mut c,
        &["FLUSHALL", "SET k v PX 40", "WATCH k", "DEBUG SLEEP 0.06"],
    );
    assert_eq!(other.run("DBSIZE"), 1);
    assert!(is_stopped(&mut c));
    // In another database than the one the client is in by then.
    all(
        &mut c,
        &[
            "FLUSHALL",
            "SELECT 2",
            "SET k v PX 40",
            "WATCH k",
            "SELECT 0",
        ],
    );
    all(&mut c, &["DEBUG SLEEP 0.06"]);
    assert!(is_stopped(&mut c));
    // Between two keys that stay.
    all(
        &mut c,
        &["FLUSHALL", "MSET a 1 b 1", "SET k v PX 40", "WATCH a k b"],
    );
    all(&mut c, &["DEBUG SLEEP 0.06"]);
    assert!(is_stopped(&mut c));
}

#[test]
fn a_key_that_had_expired_when_it_was_watched_does_not_count() {
    let s = with_debug();
    let (mut c, mut other) = (s.client(), s.client());
    all(&mut c, &["DEBUG SET-ACTIVE-EXPIRE 0"]);
    let expired = |c: &mut Client| {
        all(
            c,
            &["FLUSHALL", "SET k v PX 1", "DEBUG SLEEP 0.01", "WATCH k"],
        );
    };
    expired(&mut c);
    assert!(!is_stopped(&mut c));
    // Nor does its removal.
    for line in [
        "GET k",
        "DEL k",
        "EXISTS k",
        "FLUSHALL",
        "FLUSHDB",
        "SWAPDB 0 1",
    ] {
        expired(&mut c);
        other.run(line);
        assert!(!is_stopped(&mut c), "{line}");
    }
    // What comes into its place does.
    for line in [
        "SET k v",
        "INCR k",
        "LPUSH k x",
        "MSET k v",
        "SET k v PX 100000",
    ] {
        expired(&mut c);
        other.run(line);
        assert!(is_stopped(&mut c), "{line}");
    }
    expired(&mut c);
    all(&mut other, &["GET k", "SET k v"]);
    assert!(is_stopped(&mut c));
    // The sweeper removes it.
    expired(&mut c);
    all(&mut other, &["DEBUG SET-ACTIVE-EXPIRE 1"]);
    eventually("it is removed", SOON, || other.run("DBSIZE") == 0);
    assert!(!is_stopped(&mut c));
}

#[test]
fn databases_that_are_emptied_or_exchanged_are_told_to_those_who_watch() {
    let s = with_debug();
    let (mut c, mut other) = (s.client(), s.client());
    all(&mut c, &["DEBUG SET-ACTIVE-EXPIRE 0"]);
    let sleep = "DEBUG SLEEP 0.06";
    let (flush, swap) = ("FLUSHALL", "SWAPDB 0 1");
    let cases: &[(&[&str], &str, bool)] = &[
        (&["SET k 1", "WATCH k"], flush, true),
        (&["WATCH k"], flush, false),
        // It has expired since, but was still there to be removed.
        (&["SET k 1 PX 40", "WATCH k", sleep], flush, true),
        (&["SET k 1 PX 40", "WATCH k", sleep], "FLUSHDB", true),
        (&["SET k 1", "WATCH k"], swap, true),
        (&["WATCH k"], swap, false),
        (&["SELECT 1", "SET k 1", "SELECT 0", "WATCH k"], swap, true),
        // An expired key comes, or goes, or both.
        (
            &["SELECT 1", "SET k 1 PX 40", "SELECT 0", sleep, "WATCH k"],
            swap,
            false,
        ),
        (&["SET k 1 PX 40", sleep, "WATCH k"], swap, false),
        (
            &[
                "SET k 1 PX 40",
                "SELECT 1",
                "SET k 1 PX 40",
                "SELECT 0",
                sleep,
                "WATCH k",
            ],
            swap,
            false,
        ),
        (
            &[
                "SELECT 1",
                "SET k 1 PX 40",
                "SELECT 0",
                "SET k 1",
                sleep,
                "WATCH k",
            ],
            swap,
            true,
        ),
        (
            &[
                "SET k 1 PX 40",
                sleep,
                "SELECT 1",
                "SET k 1",
                "SELECT 0",
                "WATCH k",
            ],
            swap,
            true,
        ),
        (&["SELECT 1", "SET k 1 PX 40", "WATCH k", sleep], swap, true),
    ];
    for (lines, change, stopped) in cases {
        all(&mut c, &["FLUSHALL"]);
        all(&mut c, lines);
        other.run(change);
        assert_eq!(is_stopped(&mut c), *stopped, "{lines:?}, then {change}");
        all(&mut c, &["SELECT 0"]);
    }
}

#[test]
fn fields_that_expire_are_changes() {
    // Newer than Redis 7.0.
    if oracle() {
        return;
    }
    let s = with_debug();
    let (mut c, mut other) = (s.client(), s.client());
    all(
        &mut c,
        &["HSET h f v g w", "HPEXPIRE h 40 FIELDS 1 f", "WATCH h"],
    );
    eventually("the field is removed", SOON, || {
        s.info_int("expired_subkeys") == 1
    });
    assert!(is_stopped(&mut c));
    // The last field takes the key with it.
    all(&mut c, &["HPEXPIRE h 40 FIELDS 1 g", "WATCH h"]);
    eventually("the hash is removed", SOON, || other.run("DBSIZE") == 0);
    assert!(is_stopped(&mut c));
    // To give a field a deadline is a change too.
    all(&mut c, &["HSET h f v", "WATCH h"]);
    all(&mut other, &["HPEXPIRE h 100000 FIELDS 1 f"]);
    assert!(is_stopped(&mut c));
    // A write removes what is due.
    all(
        &mut c,
        &[
            "DEBUG SET-ACTIVE-EXPIRE 0",
            "HPEXPIRE h 40 FIELDS 1 f",
            "HSET h g w",
        ],
    );
    all(&mut c, &["WATCH h", "DEBUG SLEEP 0.06"]);
    other.run("HDEL h nothing");
    assert!(is_stopped(&mut c));
}

#[test]
fn a_client_that_goes_leaves_nothing_behind() {
    let s = Server::start();
    let mut c = s.client();
    all(&mut c, &["SET k v"]);
    for round in 0..50 {
        let mut gone = s.client();
        all(
            &mut gone,
            &["WATCH k other", "MULTI", "SET k changed", "FLUSHALL"],
        );
        match round % 5 {
            0 => drop(gone),
            1 => gone.finish_sending(),
            2 => assert_eq!(gone.run("QUIT"), "OK"),
            3 => {
                assert_eq!(c.cmd(&["CLIENT", "KILL", &gone.address()]), "OK");
                gone.assert_closed();
            }
            // Half a request.
            _ => gone.write(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\nchan"),
        }
    }
    nobody_watches(&s);
    assert_eq!(c.run("GET k"), "v");
    assert_eq!(c.run("DBSIZE"), 1);
}

#[test]
fn watches_are_counted() {
    if oracle() {
        return;
    }
    let s = Server::start();
    let counts = || {
        (
            s.info_int("watching_clients"),
            s.info_int("total_watched_keys"),
        )
    };
    let (mut a, mut b) = (s.client(), s.client());
    all(&mut a, &["WATCH x y", "WATCH x z", "WATCH x"]);
    assert_eq!(counts(), (1, 3));
    all(&mut b, &["WATCH x", "SELECT 1", "WATCH x"]);
    assert_eq!(counts(), (2, 4));
    all(&mut a, &["UNWATCH"]);
    assert_eq!(counts(), (1, 2));
    all(&mut a, &["WATCH x", "MULTI", "PING"]);
    assert_eq!(counts(), (2, 2));
    for end in ["EXEC", "DISCARD", "RESET"] {
        all(&mut a, &["RESET", "WATCH q", "MULTI", "PING"]);
        assert_eq!(counts(), (2, 3), "{end}");
        all(&mut a, &[end]);
        assert_eq!(counts(), (1, 2), "{end}");
    }
    // A change of the key alone ends no watch; the EXEC that fails does.
    s.client().run("SET x 1");
    assert_eq!(counts(), (1, 2));
    assert_eq!(b.run("SELECT 0"), "OK");
    assert!(is_stopped(&mut b));
    assert_eq!(counts(), (0, 0));
}

#[test]
fn client_list_shows_transactions_and_changed_keys() {
    let s = Server::start();
    let mut c = s.client();
    all(&mut c, &["WATCH k"]);
    assert_shown(&line_of(&s, &c), "flags=N");
    assert_shown(&line_of(&s, &c), "multi=-1");
    all(&mut c, &["MULTI"]);
    assert_shown(&line_of(&s, &c), "flags=x");
    assert_shown(&line_of(&s, &c), "multi=0");
    all(&mut c, &["PING", "PING"]);
    assert_shown(&line_of(&s, &c), "multi=2");
    assert_shown(&line_of(&s, &c), "cmd=ping");
    s.client().run("SET k v");
    assert_shown(&line_of(&s, &c), "flags=xd");
    assert_eq!(c.run("EXEC"), NULL);
    assert_shown(&line_of(&s, &c), "flags=N");
    assert_shown(&line_of(&s, &c), "multi=-1");
    // It is in its transaction while the commands run, and watches nothing any more.
    all(&mut c, &["WATCH k"]);
    let reply = transaction(&mut c, &["SET k v", "CLIENT INFO", "CLIENT LIST"]);
    for line in &reply.items()[1..] {
        assert_shown(line.text().lines().last().unwrap_or(""), "flags=x");
        assert_shown(line.text().lines().last().unwrap_or(""), "multi=3");
    }
    assert_shown(&line_of(&s, &c), "flags=N");
    // A change with nothing queued, and the end of it.
    all(&mut c, &["WATCH k"]);
    s.client().run("SET k v");
    assert_shown(&line_of(&s, &c), "flags=d");
    all(&mut c, &["UNWATCH"]);
    assert_shown(&line_of(&s, &c), "flags=N");
}

#[test]
fn nothing_is_queued_without_memory() {
    let s = Server::start();
    let (mut c, mut other) = (s.client(), s.client());
    let mut limit = |bytes: &str| all(&mut other, &[&format!("CONFIG SET maxmemory {bytes}")]);
    all(&mut c, &["SET k 1", "MULTI", "GET k"]);
    limit("1");
    // Even what would need none when carried out.
    for line in ["GET k", "PING", "SET k 2", "UNWATCH", "MULTI", "WATCH k"] {
        assert_eq!(c.run(line), error(OOM), "{line}");
    }
    let aborted = error("EXECABORT Transaction discarded because of previous errors.");
    assert_eq!(c.run("EXEC"), aborted);
    // Outside of a transaction that is none of its concern.
    assert_eq!(c.run("GET k"), "1");
    assert_eq!(c.run("MULTI"), "OK");
    assert_eq!(c.run("DISCARD"), "OK");
    // What was queued before: reads go on, writes do not.
    limit("0");
    all(&mut c, &["MULTI", "GET k"]);
    limit("1");
    assert_eq!(c.run("EXEC").texts(), ["1"]);
    limit("0");
    all(&mut c, &["MULTI", "GET k", "SET k 2"]);
    limit("1");
    let aborted = format!("EXECABORT Transaction discarded because of: {OOM}");
    assert_eq!(c.run("EXEC"), error(&aborted));
    assert_eq!(c.run("EXEC"), error("ERR EXEC without MULTI"));
    assert_eq!(c.run("GET k"), "1");
    all(&mut c, &["MULTI"]);
    assert_eq!(c.run("RESET"), "RESET");
}

#[test]
fn whoever_has_not_authenticated_has_no_transactions() {
    let s = Server::with(&["--requirepass", "secret"]);
    let mut c = s.client();
    let refused = error("NOAUTH Authentication required.");
    let aborted =
        error("EXECABORT Transaction discarded because of: NOAUTH Authentication required.");
    for line in ["MULTI", "SET k v", "WATCH k", "UNWATCH", "DISCARD"] {
        assert_eq!(c.run(line), refused, "{line}");
    }
    assert_eq!(c.run("EXEC"), aborted);
    all(
        &mut c,
        &["AUTH secret", "WATCH k", "MULTI", "SET k v", "AUTH wrong"],
    );
    let reply = c.run("EXEC");
    assert_eq!(reply.items()[0], "OK");
    assert!(reply.items()[1].error().starts_with("WRONGPASS "));
    // It still is who it was, until RESET; that ends the transaction as well.
    all(&mut c, &["MULTI", "SET k other"]);
    assert_eq!(c.run("RESET"), "RESET");
    assert_eq!(c.run("EXEC"), aborted);
    all(&mut c, &["AUTH secret"]);
    assert_eq!(c.run("GET k"), "v");
}

#[test]
fn a_pause_of_writes_holds_transactions_that_write() {
    let s = Server::start();
    let (mut c, mut reader, mut writer) = (s.client(), s.client(), s.client());
    all(&mut c, &["SET k 1"]);
    all(&mut reader, &["MULTI", "GET k", "PING"]);
    all(&mut writer, &["WATCH k", "MULTI", "INCR k", "GET k"]);
    let mut queues = s.client();
    all(&mut queues, &["MULTI"]);
    all(&mut c, &["CLIENT PAUSE 100000 WRITE"]);
    assert_eq!(reader.run("EXEC").texts(), ["1", "PONG"]);
    assert_eq!(transaction(&mut reader, &["GET k"]).texts(), ["1"]);
    writer.send(&["EXEC"]);
    blocked(&s, 1);
    // To be queued a write waits too.
    queues.send(&["INCR", "k"]);
    blocked(&s, 2);
    assert_eq!(c.run("GET k"), "1");
    all(&mut c, &["CLIENT UNPAUSE"]);
    assert_eq!(writer.recv(), array![2, "2"]);
    assert_eq!(queues.recv(), "QUEUED");
    assert_eq!(queues.run("EXEC"), array![3]);
    // One that goes while it waits has done nothing.
    let mut gone = s.client();
    all(&mut gone, &["WATCH other", "MULTI", "SET k lost"]);
    all(&mut c, &["CLIENT PAUSE 100000 WRITE"]);
    gone.send(&["EXEC"]);
    blocked(&s, 1);
    drop(gone);
    blocked(&s, 0);
    all(&mut c, &["CLIENT UNPAUSE"]);
    assert_eq!(c.run("GET k"), "3");
    nobody_watches(&s);
}

#[test]
fn a_pause_of_everything_holds_exec() {
    let s = Server::start();
    let (mut c, mut other) = (s.client(), s.client());
    all(&mut c, &["MULTI", "PING"]);
    let start = Instant::now();
    // It holds what would end it as well.
    all(&mut other, &["CLIENT PAUSE 150 ALL"]);
    assert_eq!(c.run("EXEC").texts(), ["PONG"]);
    assert!(start.elapsed() >= Duration::from_millis(149));
}

#[test]
fn a_storm_of_watches_and_kills_leaves_nothing() {
    storm(600);
}

#[test]
#[ignore = "long: fifty times the short form"]
fn a_long_storm_of_watches_and_kills_leaves_nothing() {
    storm(30_000);
}

fn storm(steps: u64) {
    let s = Server::start();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (s, done) = (&s, &done);
        scope.spawn(move || {
            let mut c = s.client();
            let mut random = Random::new(99);
            while !done.load(Ordering::SeqCst) {
                let lines = c.run("CLIENT LIST ID 1 2 3").text() + &c.run("CLIENT LIST").text();
                let ids: Vec<&str> = lines
                    .lines()
                    .filter_map(|line| line.split(' ').next()?.strip_prefix("id="))
                    .collect();
                if let Some(id) = ids.get(random.below(ids.len() as u64 + 1) as usize) {
                    c.cmd(&["CLIENT", "KILL", "ID", id, "SKIPME", "yes"]);
                }
            }
        });
        let workers: Vec<_> = (0..5)
            .map(|n| {
                scope.spawn(move || {
                    let (mut c, mut random) = (s.client(), Random::new(n));
                    let mut ran = 0;
                    for _ in 0..steps {
                        let key = |random: &mut Random| format!("k:{}", random.below(10));
                        let line = match random.below(12) {
                            0..=2 => format!("WATCH {} {}", key(&mut random), key(&mut random)),
                            3 => "UNWATCH".into(),
                            4 => "MULTI".into(),
                            5 => "EXEC".into(),
                            6 => "DISCARD".into(),
                            7 => format!("SET {} v PX {}", key(&mut random), 1 + random.below(5)),
                            8 => format!("DEL {}", key(&mut random)),
                            9 => format!("SELECT {}", random.below(2)),
                            10 => "SWAPDB 0 1".into(),
                            _ => "FLUSHDB".into(),
                        };
                        let words: Vec<&str> = line.split(' ').collect();
                        // A client that has been killed begins anew.
                        let sent = c.try_write(&encode(&words)).is_ok();
                        if !sent || c.try_recv().is_none() {
                            c = s.client();
                        } else {
                            ran += 1;
                        }
                    }
                    ran
                })
            })
            .collect();
        let finish = Finish(done);
        let ran: u64 = workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker"))
            .sum();
        assert!(ran > 0, "all were killed at once");
        drop(finish);
    });
    nobody_watches(&s);
    assert!(!s.log().contains("panicked"), "{}", s.log());
    assert_eq!(s.client().run("PING"), "PONG");
}

#[test]
fn many_clients_watch_one_key() {
    let s = Server::start();
    let mut clients: Vec<Client> = (0..200).map(|_| s.client()).collect();
    for client in &mut clients {
        all(client, &["WATCH k", "MULTI", "INCR k"]);
    }
    // The first one wins.
    let replies: Vec<Value> = clients.iter_mut().map(|c| c.run("EXEC")).collect();
    assert_eq!(replies[0], array![1]);
    assert!(replies[1..].iter().all(Value::is_null));
    nobody_watches(&s);
}

#[test]
fn exactly_one_of_those_who_race_wins() {
    let s = Server::start();
    let wins = AtomicI64::new(0);
    thread::scope(|scope| {
        for _ in 0..6 {
            let (wins, mut c) = (&wins, s.client());
            scope.spawn(move || {
                for _ in 0..300 {
                    all(&mut c, &["WATCH n"]);
                    let next = match c.run("GET n") {
                        Value::Null => 1,
                        found => found.text().parse::<i64>().unwrap() + 1,
                    };
                    let set = transaction(&mut c, &[&format!("SET n {next}")]);
                    wins.fetch_add(i64::from(!set.is_null()), Ordering::SeqCst);
                }
            });
        }
    });
    // No update was lost: as many as were told so have counted one on.
    let wins = wins.load(Ordering::SeqCst);
    assert_eq!(s.client().run("GET n"), wins.to_string());
    assert!(wins >= 300, "somebody always wins: {wins}");
}

#[test]
fn a_hundred_thousand_commands_are_one_step() {
    let s = Server::start();
    let (mut c, mut other) = (s.client(), s.client());
    let count = 100_000;
    let mut bytes = encode(&["MULTI"]);
    for n in 0..count {
        bytes.extend(match n % 2 {
            0 => encode(&["INCR", "n"]),
            _ => encode(&["SET", &format!("k:{}", n % 1000), "v"]),
        });
    }
    let mut sender = c.split();
    thread::scope(|scope| {
        scope.spawn(move || sender.write(&bytes));
        assert_eq!(c.recv(), "OK");
        for _ in 0..count {
            assert_eq!(c.recv(), "QUEUED");
        }
    });
    assert_shown(&line_of(&s, &c), &format!("multi={count}"));
    assert_eq!(other.run("GET n"), NULL);
    c.send(&["EXEC"]);
    // Whatever is seen from now on is all or nothing.
    eventually("it has happened", SOON, || {
        let seen = other.run("MGET n k:1");
        match &seen.items()[0] {
            Value::Null => false,
            n => {
                assert_eq!(*n, "50000");
                assert_eq!(seen.items()[1], "v");
                true
            }
        }
    });
    let reply = c.recv();
    assert_eq!(reply.items().len(), count);
    assert_eq!(reply.items()[count - 2], 50_000);
    assert_eq!(c.run("PING"), "PONG");
}

#[test]
fn nobody_waits_in_a_transaction() {
    let s = Server::start();
    let mut c = s.client();
    let commands = [
        "BLPOP none 0",
        "BRPOP none other 0",
        "BLMOVE none other LEFT LEFT 0",
        "BRPOPLPUSH none other 0",
        "BLMPOP 0 2 none other LEFT",
        "BZPOPMIN none 0",
        "BZMPOP 0 1 none MIN",
    ];
    let reply = transaction(&mut c, &commands);
    assert_eq!(reply.items(), vec![NULL; commands.len()]);
    // What the transaction has put there is for itself.
    let reply = transaction(
        &mut c,
        &["RPUSH q 1 2", "BLPOP q 0", "BLMOVE q r LEFT LEFT 0"],
    );
    assert_eq!(reply.items()[1].texts(), ["q", "1"]);
    assert_eq!(reply.items()[2], "2");
    assert_eq!(s.info_int("blocked_clients"), 0);
}

#[test]
fn those_who_wait_are_served_after_the_transaction() {
    let s = Server::start();
    let mut c = s.client();
    let mut w = waiter(&s, "BLPOP q 0");
    // Neither what is gone again nor what is of another type.
    let reply = transaction(&mut c, &["RPUSH q x", "LLEN q", "DEL q"]);
    assert_eq!(reply, array![1, 1, 1]);
    transaction(&mut c, &["RPUSH q x", "DEL q", "SADD q x"]);
    transaction(&mut c, &["DEL q", "RPUSH q x", "BLPOP q 0", "RPOP q"]);
    assert_eq!(s.info_int("blocked_clients"), 1);
    // What is there in the end, and as it is then.
    let reply = transaction(&mut c, &["RPUSH q a b", "LPOP q", "LPUSH q z", "LLEN q"]);
    assert_eq!(*reply.items().last().expect("a reply"), 2);
    assert_eq!(w.recv().texts(), ["q", "z"]);
    assert_eq!(c.run("LRANGE q 0 -1").texts(), ["b"]);
    // Several, in several databases and with further moves, all before the reply to EXEC.
    c.run("DEL q");
    let mut waiters = [
        waiter(&s, "BLMOVE q r LEFT LEFT 0"),
        waiter(&s, "BLPOP r 0"),
        waiter(&s, "BZPOPMAX z 0"),
    ];
    let mut elsewhere = s.client();
    elsewhere.run("SELECT 1");
    elsewhere.send(&["BLPOP", "q", "0"]);
    blocked(&s, 4);
    let lines = [
        "RPUSH q 1",
        "ZADD z 1 a 2 b",
        "SELECT 1",
        "RPUSH q 2",
        "SELECT 0",
    ];
    transaction(&mut c, &lines);
    assert_eq!(s.info_int("blocked_clients"), 0);
    assert_eq!(c.run("EXISTS q r"), 0);
    assert_eq!(waiters[0].recv(), "1");
    assert_eq!(waiters[1].recv().texts(), ["r", "1"]);
    assert_eq!(waiters[2].recv().texts(), ["z", "b", "2"]);
    assert_eq!(elsewhere.recv().texts(), ["q", "2"]);
}

#[test]
fn what_is_taken_for_those_who_wait_is_a_change() {
    let s = Server::start();
    let (mut c, mut watcher) = (s.client(), s.client());
    // The element comes and goes under one lock, but the key has changed.
    let mut w = waiter(&s, "BLPOP q 0");
    all(&mut watcher, &["WATCH q"]);
    c.run("RPUSH q x");
    assert!(is_stopped(&mut watcher));
    w.recv();
    // So has the one that it is moved to.
    let mut w = waiter(&s, "BLMOVE q r LEFT LEFT 0");
    all(&mut watcher, &["WATCH r"]);
    c.run("RPUSH q x");
    assert!(is_stopped(&mut watcher));
    w.recv();
    // Nothing happens to a key when nothing comes.
    all(&mut watcher, &["WATCH none"]);
    assert_eq!(c.run("BLPOP none 0.01"), NULL);
    assert!(!is_stopped(&mut watcher));
    // A client that waits changes what it watches itself.
    let mut own = s.client();
    all(&mut own, &["WATCH q"]);
    own.send(&["BLPOP", "q", "0"]);
    blocked(&s, 1);
    c.run("RPUSH q x");
    own.recv();
    assert!(is_stopped(&mut own));
    nobody_watches(&s);
}

#[test]
fn commands_that_look_at_everything_do_so_in_a_transaction() {
    let s = with_debug();
    let mut c = s.client();
    let lines = [
        "SET a 1",
        "INFO everything",
        "DBSIZE",
        "KEYS *",
        "SCAN 0 COUNT 1000",
        "RANDOMKEY",
        "MEMORY STATS",
        "MEMORY USAGE a",
        "DEBUG SLEEP 0.001",
        "LCS a b",
        "SORT l BY w_* GET v_*",
        "CLIENT LIST",
        "CONFIG GET *",
        "COMMAND COUNT",
        "SWAPDB 0 0",
        "FLUSHDB",
        "SET a 2",
        "INFO keyspace",
    ];
    let reply = transaction(&mut c, &lines);
    assert_eq!(reply.items().len(), lines.len());
    assert!(reply.items()[1].text().contains("db0:keys=1,"));
    assert_eq!(reply.items()[2], 1);
    assert_eq!(reply.items()[3].texts(), ["a"]);
    assert!(reply.items()[17].text().contains("db0:keys=1,"));
    // The same with the locks of only some keys, shared ones.
    let reply = transaction(&mut c, &["GET a", "INFO keyspace", "DBSIZE"]);
    assert!(reply.items()[1].text().contains("db0:keys=1,"));
    assert_eq!(s.client().run("GET a"), "2");
}

#[test]
fn publishing_to_shard_channels_waits_for_no_key() {
    let s = Server::start();
    let (mut a, mut b) = (s.client(), s.client());
    b.run("SSUBSCRIBE c");
    assert_eq!(
        transaction(&mut a, &["SPUBLISH c x", "SSUBSCRIBE c", "SPUBLISH c y"]).items()[0],
        1
    );
    // Behind the whole reply comes what the transaction has for its own client.
    assert_eq!(a.recv().texts(), ["smessage", "c", "y"]);
    assert_eq!(b.recv().texts(), ["smessage", "c", "x"]);
    assert_eq!(b.recv().texts(), ["smessage", "c", "y"]);
}

#[test]
#[ignore = "long: all of the above ten times"]
fn ten_times_over() {
    support::again(10);
}
