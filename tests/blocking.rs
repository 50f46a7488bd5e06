//! Commands that block: who is served, in which order, and that nothing is ever lost on the way.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{Client, NULL, Random, Server, Value, error, eventually};

/// Long enough for anything that is to happen at all.
const SOON: Duration = Duration::from_secs(20);

/// Waits until so many clients are blocked.
fn blocked(s: &Server, count: i64) {
    eventually(&format!("{count} blocked clients"), SOON, || {
        s.info_int("blocked_clients") == count
    });
}

/// A client that has sent a command and is blocked in it.
fn waiter(s: &Server, line: &str) -> Client {
    let before = s.info_int("blocked_clients");
    let mut client = s.client();
    send(&mut client, line);
    blocked(s, before + 1);
    client
}

fn send(client: &mut Client, line: &str) {
    client.send(&line.split(' ').collect::<Vec<_>>());
}

fn id(client: &mut Client) -> String {
    client.run("CLIENT ID").int().to_string()
}

fn list(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| value.to_string()).collect()
}

#[test]
fn waiters_are_served_first_come_first_served() {
    let s = Server::start();
    let mut c = s.client();
    let mut waiters: Vec<Client> = (0..40).map(|_| waiter(&s, "BLPOP q 0")).collect();
    // Some in one go, some one by one, from several connections.
    c.cmd(&["RPUSH", "q", "0", "1", "2", "3", "4", "5", "6"]);
    for n in 7..40 {
        s.client().cmd(&["RPUSH", "q", &n.to_string()]);
    }
    for (n, waiter) in waiters.iter_mut().enumerate() {
        assert_eq!(waiter.recv().texts(), list(&["q", &n.to_string()]));
    }
    assert_eq!(c.run("EXISTS q"), 0);
    assert_eq!(s.info_int("total_blocking_keys"), 0);
}

#[test]
fn the_pusher_s_reply_comes_after_the_service() {
    let s = Server::start();
    let mut c = s.client();
    for round in 0..200 {
        let mut w = s.client();
        send(&mut w, "BLMOVE from to LEFT RIGHT 0");
        blocked(&s, 1);
        assert_eq!(c.run("RPUSH from x"), 1);
        // The move has happened, and nobody counts as blocked, once the push is answered.
        assert_eq!(c.run("EXISTS from"), 0, "round {round}");
        assert_eq!(c.run("LLEN to"), 1);
        assert_eq!(s.info_int("blocked_clients"), 0);
        assert_eq!(w.recv(), "x");
        c.run("DEL to");
    }
}

#[test]
fn a_timeout_may_have_a_fraction() {
    let s = Server::start();
    let mut c = s.client();
    for (seconds, least) in [("0.001", 1), ("0.05", 50), ("0.0001", 1)] {
        let start = Instant::now();
        assert_eq!(c.cmd(&["BLPOP", "none", seconds]), NULL);
        assert!(start.elapsed() >= Duration::from_millis(least), "{seconds}");
        assert!(start.elapsed() < Duration::from_secs(5), "{seconds}");
    }
    for timeout in ["1e400", "inf", "9223372036854775"] {
        let reply = c.cmd(&["BLPOP", "none", timeout]);
        assert_eq!(reply, error("ERR timeout is out of range"), "{timeout}");
    }
    // Far away, but a time: it waits.
    let mut w = waiter(&s, "BLPOP none 9000000000");
    assert_eq!(s.info_int("clients_in_timeout_table"), 1);
    c.run("RPUSH none x");
    assert_eq!(w.recv().texts(), list(&["none", "x"]));
}

#[test]
fn client_unblock_ends_a_wait() {
    let s = Server::start();
    let mut c = s.client();
    let mut w = s.client();
    let number = id(&mut w);
    assert_eq!(c.cmd(&["CLIENT", "UNBLOCK", &number]), 0);
    send(&mut w, "BLPOP a b 0");
    blocked(&s, 1);
    assert_eq!(c.cmd(&["CLIENT", "UNBLOCK", &number]), 1);
    assert_eq!(w.recv(), NULL);
    assert_eq!(c.cmd(&["CLIENT", "UNBLOCK", &number]), 0);
    send(&mut w, "BZMPOP 0 1 a MIN");
    blocked(&s, 1);
    assert_eq!(c.cmd(&["CLIENT", "UNBLOCK", &number, "ERROR"]), 1);
    let told = error("UNBLOCKED client unblocked via CLIENT UNBLOCK");
    assert_eq!(w.recv(), told);
    // Nothing is left of it: what comes now stays.
    c.run("RPUSH a 1");
    c.run("RPUSH b 1");
    assert_eq!(w.run("LLEN a"), 1);
    // A client that waits for the end of a pause is not blocked in this sense.
    c.run("CLIENT PAUSE 100000 WRITE");
    send(&mut w, "SET k v");
    blocked(&s, 1);
    assert_eq!(c.cmd(&["CLIENT", "UNBLOCK", &number]), 0);
    c.run("CLIENT UNPAUSE");
    assert_eq!(w.recv(), "OK");
}

#[test]
fn client_list_shows_who_is_blocked() {
    let s = Server::start();
    let mut w = waiter(&s, "BLPOP k 0");
    let mut c = s.client();
    let lines = c.run("CLIENT LIST").text();
    let line = lines.lines().find(|line| line.contains("cmd=blpop"));
    assert!(line.is_some_and(|line| line.contains("flags=b")), "{lines}");
    c.run("RPUSH k 1");
    let lines = c.run("CLIENT LIST").text();
    let line = lines.lines().find(|line| line.contains("cmd=blpop"));
    assert!(line.is_some_and(|line| line.contains("flags=N")), "{lines}");
    w.recv();
}

#[test]
fn a_dead_client_gets_nothing_and_is_soon_forgotten() {
    let s = Server::start();
    let mut c = s.client();
    for round in 0..50 {
        let dead = waiter(&s, "BLPOP k other 0");
        let mut alive = waiter(&s, "BLPOP k 0");
        drop(dead);
        // The one that lives is behind the dead one, and gets the element.
        c.cmd(&["RPUSH", "k", "x"]);
        assert_eq!(alive.recv().texts(), list(&["k", "x"]), "round {round}");
        assert_eq!(c.run("EXISTS k"), 0);
        // Nobody of this round is to be counted in the next.
        blocked(&s, 0);
    }
    let gone = waiter(&s, "BLMOVE k other LEFT LEFT 0");
    let mut half = waiter(&s, "BLPOP k 0");
    half.finish_sending();
    drop(gone);
    // Nobody pushes: they are noticed by themselves.
    blocked(&s, 0);
    eventually("their threads are free", SOON, || {
        c.run("CLIENT LIST").text().lines().count() <= 2
    });
    assert_eq!(s.info_int("total_blocking_keys"), 0);
}

/// Whoever asks how many are blocked, to go on once there is one more, must not count the dead.
#[test]
fn a_dead_client_does_not_count_as_blocked() {
    let s = Server::start();
    let mut c = s.client();
    for _ in 0..20 {
        drop(waiter(&s, "BLPOP k 0"));
        assert_eq!(support::info(&mut c, "clients")["blocked_clients"], "0");
    }
}

#[test]
fn a_blocked_client_is_not_idle() {
    let s = Server::with(&["--timeout", "1"]);
    let mut w = waiter(&s, "BLPOP k 0");
    let mut idle = s.client();
    assert_eq!(idle.run("PING"), "PONG");
    // Once the other client has been closed, this one has been silent for longer.
    eventually("the idle client is closed", SOON, || {
        let list = s.client().run("CLIENT LIST").text();
        !list.lines().any(|line| line.contains("cmd=ping"))
    });
    s.client().run("RPUSH k 1");
    assert_eq!(w.recv().texts(), list(&["k", "1"]));
}

#[test]
fn earlier_replies_do_not_wait_and_later_requests_do() {
    let s = Server::start();
    let mut w = s.client();
    w.write(b"SET a 1\r\nBLPOP k 0\r\nINCR a\r\nBLPOP k 0\r\nGET a\r\n");
    assert_eq!(w.recv(), "OK");
    blocked(&s, 1);
    let mut c = s.client();
    assert_eq!(c.run("GET a"), "1");
    c.run("RPUSH k x");
    assert_eq!(w.recv().texts(), list(&["k", "x"]));
    assert_eq!(w.recv(), 2);
    blocked(&s, 1);
    c.run("RPUSH k y");
    assert_eq!(w.recv().texts(), list(&["k", "y"]));
    assert_eq!(w.recv(), "2");
}

#[test]
fn the_server_ends_while_clients_are_blocked() {
    let mut s = Server::start();
    let mut waiters: Vec<Client> = (0..20).map(|_| waiter(&s, "BLPOP k 0")).collect();
    support::signal(s.pid(), "TERM");
    assert!(s.wait_exit().success());
    for waiter in &mut waiters {
        waiter.assert_closed();
    }
}

#[test]
fn chains_of_moves_end_before_the_push_is_answered() {
    let s = Server::start();
    let mut c = s.client();
    // So many links that their keys lie in many shards; the last one closes the circle.
    let links = 30;
    let mut waiters: Vec<Client> = (0..links)
        .map(|n| {
            let line = format!("BLMOVE link:{n} link:{} LEFT RIGHT 0", (n + 1) % links);
            waiter(&s, &line)
        })
        .collect();
    c.run("RPUSH link:0 x");
    assert_eq!(s.info_int("blocked_clients"), 0);
    assert_eq!(c.run("LRANGE link:0 0 -1").texts(), list(&["x"]));
    assert_eq!(c.run("DBSIZE"), 1);
    for waiter in &mut waiters {
        assert_eq!(waiter.recv(), "x");
    }
}

#[test]
fn stored_results_make_keys_ready() {
    let s = Server::start();
    let mut c = s.client();
    c.run("RPUSH numbers 3 1 2");
    c.run("ZADD scores 1 a 2 b");
    let mut w = waiter(&s, "BLPOP sorted 0");
    assert_eq!(c.run("SORT numbers STORE sorted"), 3);
    assert_eq!(w.recv().texts(), list(&["sorted", "1"]));
    for line in [
        "ZUNIONSTORE made 1 scores",
        "ZINTERSTORE made 1 scores",
        "ZDIFFSTORE made 1 scores",
        "ZRANGESTORE made scores 0 -1",
        "RENAME scores made",
    ] {
        let mut w = waiter(&s, "BZPOPMIN made 0");
        c.run(line);
        assert_eq!(w.recv().texts(), list(&["made", "a", "1"]), "{line}");
        c.run("DEL made");
    }
}

/// Elements that were pushed are each in exactly one place: in a reply, or still in the list.
fn account(pushed: u64, received: &[String], left: &[String]) {
    let mut seen = BTreeMap::new();
    for element in received.iter().chain(left) {
        *seen.entry(element.clone()).or_insert(0) += 1;
    }
    let missing: Vec<u64> = (0..pushed)
        .filter(|n| !seen.contains_key(&n.to_string()))
        .collect();
    assert!(missing.is_empty(), "lost: {missing:?}");
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "twice: {twice:?}");
}

/// Kills a blocked client at the moment at which something is pushed for it, over and over.
fn kill_against_push(rounds: u64) {
    let s = Server::start();
    let mut received = Vec::new();
    let mut random = Random::new(7);
    let (mut pusher, mut killer) = (s.client(), s.client());
    for n in 0..rounds {
        let mut w = s.client();
        let number = id(&mut w);
        let lines = ["BLPOP q 0", "BLMPOP 0 2 other q LEFT", "BRPOP q q other 0"];
        send(&mut w, lines[random.below(3) as usize]);
        eventually("the client is blocked", SOON, || {
            pusher
                .cmd(&["CLIENT", "LIST", "ID", &number])
                .text()
                .contains("flags=b")
        });
        // Which of the two comes first is for the threads to decide.
        let spin = random.below(2000);
        let (first, kill) = (random.below(2) == 0, ["CLIENT", "KILL", "ID", &number]);
        thread::scope(|scope| {
            scope.spawn(|| {
                (0..if first { 0 } else { spin }).for_each(|_| std::hint::spin_loop());
                pusher.cmd(&["RPUSH", "q", &n.to_string()])
            });
            (0..if first { spin } else { 0 }).for_each(|_| std::hint::spin_loop());
            killer.cmd(&kill);
        });
        match w.try_recv() {
            Some(Value::Error(text)) => panic!("{text}"),
            Some(reply) => {
                let last = reply.items().last().expect("a key and more").clone();
                let element = match &last {
                    Value::Array(elements) => elements[0].text(),
                    element => element.text(),
                };
                received.push(element);
            }
            None => {
                // Not delivered, so it is still there.
                let element = pusher.run("LPOP q");
                assert_eq!(element, n.to_string().as_str(), "round {n}");
                received.push(element.text());
            }
        }
    }
    let left = pusher.run("LRANGE q 0 -1").texts();
    account(rounds, &received, &left);
    assert!(left.is_empty());
}

#[test]
fn a_kill_against_a_push_loses_nothing() {
    kill_against_push(400);
}

#[test]
#[ignore = "long: ten thousand rounds"]
fn a_kill_against_a_push_never_loses_anything() {
    kill_against_push(10_000);
}

/// Producers, consumers that time out, are unblocked and killed, and movers in between: every
/// element is in one place in the end.
fn storm(producers: u64, each: u64) {
    let s = Server::start();
    let done = AtomicBool::new(false);
    let lists: Vec<String> = (0..6).map(|n| format!("l:{n}")).collect();
    let received = thread::scope(|scope| {
        let consumers: Vec<_> = (0..6u64)
            .map(|n| {
                let (s, done, lists) = (&s, &done, &lists);
                scope.spawn(move || {
                    let (mut c, mut random) = (s.client(), Random::new(n));
                    let mut got = Vec::new();
                    while !done.load(Ordering::SeqCst) {
                        let (a, b) = (random.pick(lists), random.pick(lists));
                        let timeout = *random.pick(&["0.001", "0.01", "0.05"]);
                        match random.below(4) {
                            0 => c.send(&["BLPOP", a, b, timeout]),
                            1 => c.send(&["BRPOP", b, timeout]),
                            2 => c.send(&["BLMPOP", timeout, "2", a, b, "RIGHT", "COUNT", "3"]),
                            _ => c.send(&["BLMOVE", a, b, "LEFT", "RIGHT", timeout]),
                        }
                        let Value::Array(reply) = c.recv() else {
                            // A move leaves it in a list; nothing else has no array but null.
                            continue;
                        };
                        match &reply[1] {
                            Value::Array(elements) => got.extend(elements.iter().map(Value::text)),
                            element => got.push(element.text()),
                        }
                    }
                    got
                })
            })
            .collect();
        let movers: Vec<_> = (0..3u64)
            .map(|n| {
                let (s, done, lists) = (&s, &done, &lists);
                scope.spawn(move || {
                    let (mut c, mut random) = (s.client(), Random::new(100 + n));
                    while !done.load(Ordering::SeqCst) {
                        let (a, b) = (random.pick(lists), random.pick(lists));
                        match random.below(3) {
                            0 => c.cmd(&["LMOVE", a, b, "RIGHT", "LEFT"]),
                            1 => c.cmd(&["BRPOPLPUSH", a, b, "0.005"]),
                            _ => c.cmd(&["BLMOVE", a, b, "LEFT", "LEFT", "0.005"]),
                        };
                    }
                })
            })
            .collect();
        let producers: Vec<_> = (0..producers)
            .map(|n| {
                let (s, lists) = (&s, &lists);
                scope.spawn(move || {
                    let (mut c, mut random) = (s.client(), Random::new(200 + n));
                    for i in 0..each {
                        let list = random.pick(lists);
                        c.cmd(&["RPUSH", list.as_str(), &(n * each + i).to_string()]);
                    }
                })
            })
            .collect();
        for producer in producers {
            producer.join().expect("a producer");
        }
        done.store(true, Ordering::SeqCst);
        for mover in movers {
            mover.join().expect("a mover");
        }
        consumers
            .into_iter()
            .flat_map(|consumer| consumer.join().expect("a consumer"))
            .collect::<Vec<_>>()
    });
    blocked(&s, 0);
    let mut c = s.client();
    let left: Vec<String> = lists
        .iter()
        .flat_map(|name| c.cmd(&["LRANGE", name, "0", "-1"]).texts())
        .collect();
    account(producers * each, &received, &left);
    assert_eq!(s.info_int("total_blocking_keys"), 0);
}

#[test]
fn a_storm_of_crossing_moves_and_pops_loses_nothing() {
    storm(4, 1500);
}

#[test]
#[ignore = "long: a hundred times the short form"]
fn a_long_storm_loses_nothing() {
    storm(4, 150_000);
}

#[test]
fn a_thousand_waiters_of_a_thousand_keys_are_served() {
    let s = Server::start();
    let mut waiters: Vec<Client> = (0..1000)
        .map(|n| {
            let mut client = s.client();
            client.send(&["BLPOP", &format!("k:{n}"), "0"]);
            client
        })
        .collect();
    blocked(&s, 1000);
    assert_eq!(s.info_int("total_blocking_keys"), 1000);
    let mut c = s.client();
    for n in 0..1000 {
        c.send(&["RPUSH", &format!("k:{n}"), "x"]);
    }
    for _ in 0..1000 {
        assert_eq!(c.recv(), 1);
    }
    for (n, waiter) in waiters.iter_mut().enumerate() {
        assert_eq!(waiter.recv().texts(), list(&[&format!("k:{n}"), "x"]));
    }
    assert_eq!(c.run("DBSIZE"), 0);
}

/// Somebody waits for a list; whoever then asks for one while the key holds something else is told
/// so, and does not wait as well.
#[test]
fn a_wrong_type_is_told_although_others_wait() {
    let s = Server::start();
    let mut c = s.client();
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    for (wait, fill, ask) in [
        ("BLPOP k 0", "ZADD k 1 a", "BLPOP k 0"),
        ("BLMOVE k l LEFT LEFT 0", "SET k a", "BRPOP k 0"),
        ("BLPOP k 0", "SADD k a", "BLMPOP 0 1 k LEFT"),
        ("BZPOPMIN k 0", "RPUSH k a", "BZPOPMAX k 0"),
        ("BZMPOP 0 1 k MIN", "HSET k a 1", "BZMPOP 0 1 k MAX"),
        ("BLPOP k 0", "SET k a", "BLMOVE k l LEFT LEFT 0"),
    ] {
        let mut waiter = waiter(&s, wait);
        c.run(fill);
        assert_eq!(s.client().run(ask), error(wrong), "{ask}");
        c.run("DEL k");
        c.run(if wait.starts_with("BZ") {
            "ZADD k 1 m"
        } else {
            "RPUSH k m"
        });
        waiter.recv();
        blocked(&s, 0);
        c.run("DEL k l");
    }
}

/// What a command finds expired counts once, wherever it is carried out and however often it has
/// to be begun.
#[test]
fn keys_found_expired_by_those_who_wait_are_counted() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    let rounds = 300;
    for _ in 0..rounds {
        c.run("RPUSH k a");
        c.run("PEXPIRE k 1");
        let over = Instant::now() + Duration::from_millis(3);
        // Busy, so that it is served by a thread that serves others as well.
        while Instant::now() < over {
            c.run("PING");
        }
        assert_eq!(c.run("BLPOP k 0.001"), NULL);
    }
    assert_eq!(s.info_int("expired_keys"), rounds);
}

#[test]
fn a_client_that_counts_as_blocked_can_be_unblocked() {
    let s = Server::start();
    let (mut c, mut w) = (s.client(), s.client());
    let number = id(&mut w);
    for round in 0..500 {
        w.send(&["BLPOP", "a", "b", "c", "d", "0"]);
        // Asked as fast as can be: the client may have been blocked a moment ago.
        while !c.run("INFO clients").text().contains("blocked_clients:1") {}
        let reply = c.cmd(&["CLIENT", "UNBLOCK", &number]);
        assert_eq!(reply, 1, "round {round}");
        assert_eq!(w.recv(), NULL);
    }
}

#[test]
#[ignore = "long: all of the above ten times"]
fn ten_times_over() {
    support::again(10);
}
