//! Clients that mean harm by their number, their pace or what they send: connections that come and go
//! by the thousand, bytes that trickle in, passwords guessed, names made to collide.
//!
//! Bounds are generous: what they are to catch is a server that stands still, not one on a busy
//! machine. The short forms run always; the long ones are ignored by default:
//! `cargo test --release --test crowds -- --ignored`.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stdis::util::siphash::siphash12;
use support::*;

const SOON: Duration = Duration::from_secs(30);

/// Open files of a process.
fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).map_or(0, Iterator::count)
}

/// Threads of a process.
fn threads(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", server.pid())).map_or(0, Iterator::count)
}

fn connect(server: &Server) -> Option<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).ok()?;
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&stream, Some(REPLY_TIMEOUT)).ok()?;
    }
    Some(stream)
}

/// Sends a `PING` now and then until told to end, and returns the longest that it took.
fn longest_ping(server: &Server, ended: &AtomicBool) -> Duration {
    let mut c = server.client();
    let mut longest = Duration::ZERO;
    while !ended.load(Ordering::Relaxed) {
        let start = Instant::now();
        assert_eq!(c.run("PING"), simple("PONG"));
        longest = longest.max(start.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    longest
}

/// Sets its flag when dropped, so that the other threads of a failing test end too.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// ---------------------------------------------------------------- coming and going

/// As many connections as `most` open and close at random for a while; then all is as before.
fn churn(most: usize, time: Duration) {
    stdis::sys::raise_nofile_limit(most as u64 + 1000);
    let maxclients = (most + 100).to_string();
    let server = Server::with(&["--maxclients", &maxclients]);
    server.client().run("SET k v");
    // A first wave has everything exist that is kept.
    let wave: Vec<_> = (0..50).filter_map(|_| connect(&server)).collect();
    drop(wave);
    eventually("the wave is gone", SOON, || {
        server.info_int("connected_clients") == 1
    });
    let (fds, memory) = (descriptors(&server), server.rss());
    let base = threads(&server);
    let ended = AtomicBool::new(false);
    let opened: u64 = std::thread::scope(|scope| {
        let finish = Finish(&ended);
        const LANES: usize = 4;
        let pinging = scope.spawn(|| longest_ping(&server, &ended));
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let server = &server;
                scope.spawn(move || come_and_go(server, lane as u64, most / LANES, time))
            })
            .collect();
        let opened = lanes
            .into_iter()
            .map(|lane| lane.join().expect("done"))
            .sum();
        drop(finish);
        let longest = pinging.join().expect("answers");
        println!("{opened} connections; the longest PING took {longest:?}");
        assert!(longest < Duration::from_secs(2), "a PING took {longest:?}");
        opened
    });
    assert!(opened > most as u64 / 4);
    eventually("the clients are gone", SOON, || {
        server.info_int("connected_clients") == 1
    });
    // Those that just looked close their connections at their own pace.
    eventually("descriptors come back", SOON, || {
        descriptors(&server) <= fds + 2
    });
    // Idle workers stay for ten seconds.
    eventually("threads end", SOON, || threads(&server) <= base + 2);
    if let Some(memory) = memory {
        eventually("memory comes back", SOON, || {
            server.client().run("MEMORY PURGE");
            server.rss().is_some_and(|now| now < memory + (32 << 20))
        });
    }
    assert!(!server.log().contains("Panic"));
    assert_eq!(server.client().run("GET k"), "v");
}

/// Opens and closes connections at random, and returns how many it opened.
fn come_and_go(server: &Server, lane: u64, most: usize, time: Duration) -> u64 {
    let mut random = Random::new(lane);
    let (mut open, mut opened) = (Vec::new(), 0);
    let end = Instant::now() + time;
    let mut buffer = [0; 64];
    while Instant::now() < end {
        if open.len() < most && random.below(3) > 0 {
            // The system may be out of ports for a moment.
            let Some(stream) = connect(server) else {
                open.truncate(open.len() / 2);
                continue;
            };
            open.push(stream);
            opened += 1;
        }
        if open.is_empty() {
            continue;
        }
        let at = random.below(open.len() as u64) as usize;
        match random.below(8) {
            0 => drop(open.swap_remove(at)),
            // Half a request, and gone: closing is for the server to do.
            1 => {
                let mut stream = open.swap_remove(at);
                let _ = stream.write_all(b"*2\r\n$3\r\nGET\r\n$1");
            }
            2 => {
                let mut stream = open.swap_remove(at);
                let _ = stream.write_all(b"BLPOP nosuch 0\r\n");
                let _ = stream.shutdown(Shutdown::Write);
            }
            3 | 4 => {
                let done = open[at].write_all(b"GET k\r\n");
                match done.and_then(|()| open[at].read(&mut buffer)) {
                    Ok(read) if read > 0 => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no reply"),
                    // There were too many for a moment: those before were not all gone yet.
                    _ => drop(open.swap_remove(at)),
                }
            }
            _ => {}
        }
        // All at once, now and then.
        if random.below(5 * most as u64 + 1) == 0 {
            open.clear();
        }
    }
    opened
}

#[test]
fn clients_that_come_and_go_leave_nothing() {
    churn(300, Duration::from_secs(3));
}

#[test]
#[ignore = "long: ten thousand connections for a minute"]
fn ten_thousand_clients_that_come_and_go_leave_nothing() {
    churn(10_000, Duration::from_secs(60));
}

// ---------------------------------------------------------------- trickling

/// So many clients send a byte a second each, in the midst of requests, for so many seconds. Nobody
/// else notices.
fn trickle(clients: usize, seconds: u64) {
    stdis::sys::raise_nofile_limit(clients as u64 + 1000);
    let maxclients = (clients + 100).to_string();
    let server = Server::with(&["--maxclients", &maxclients]);
    let mut streams: Vec<TcpStream> = Vec::new();
    while streams.len() < clients {
        streams.push(connect(&server).expect("connected"));
    }
    let request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n";
    for (n, stream) in streams.iter_mut().enumerate() {
        // Some have only begun, some are in the midst of a large value.
        stream
            .write_all(&request[..1 + n % request.len()])
            .expect("sent");
    }
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let finish = Finish(&ended);
        let pinging = scope.spawn(|| longest_ping(&server, &ended));
        for _ in 0..seconds {
            let start = Instant::now();
            for (n, stream) in streams.iter_mut().enumerate() {
                // Those that do not go on as a request must are closed by the server.
                let _ = stream.write_all(&b"x1\r\n"[n % 4..n % 4 + 1]);
            }
            // The pace is the point of the test.
            std::thread::sleep(Duration::from_secs(1).saturating_sub(start.elapsed()));
        }
        drop(finish);
        let longest = pinging.join().expect("answers");
        println!("{clients} clients; the longest PING took {longest:?}");
        assert!(longest < Duration::from_secs(2), "a PING took {longest:?}");
    });
    drop(streams);
    eventually("the clients are gone", SOON, || {
        server.info_int("connected_clients") == 1
    });
}

#[test]
fn trickling_clients_hold_up_nobody() {
    trickle(400, 2);
}

#[test]
#[ignore = "long: five thousand slow clients for half a minute"]
fn thousands_of_trickling_clients_hold_up_nobody() {
    trickle(5000, 30);
}

// ---------------------------------------------------------------- guessing

/// Passwords are guessed as fast as the line allows, over several connections.
fn guess(guesses: usize) {
    let server = Server::with(&["--requirepass", "right", "--acllog-max-len", "50"]);
    let ended = AtomicBool::new(false);
    let mut owner = server.client();
    owner.run("AUTH right");
    owner.run("ACL SETUSER alice on >secret ~* +@all");
    let memory = server.rss();
    let start = Instant::now();
    std::thread::scope(|scope| {
        let finish = Finish(&ended);
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let start = Instant::now();
                assert_eq!(owner.run("PING"), simple("PONG"));
                let took = start.elapsed();
                assert!(took < Duration::from_secs(2), "a PING took {took:?}");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let guessers: Vec<_> = (0..2)
            .map(|lane| {
                let server = &server;
                scope.spawn(move || {
                    let mut c = server.client();
                    let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
                    for from in (0..guesses / 2).step_by(100) {
                        for n in from..from + 100 {
                            let word = format!("guess-{lane}-{n}");
                            match n % 3 {
                                0 => c.send(&["AUTH", &word]),
                                1 => c.send(&["AUTH", "alice", &word]),
                                // No longer than what it would be compared with.
                                _ => c.send(&["AUTH", &word, "right"]),
                            }
                        }
                        (0..100).for_each(|_| assert_eq!(c.recv(), error(wrong)));
                    }
                })
            })
            .collect();
        guessers
            .into_iter()
            .for_each(|g| g.join().expect("refused"));
        drop(finish);
    });
    let rate = guesses as f64 / start.elapsed().as_secs_f64();
    println!("{rate:.0} guesses a second");
    let mut owner = server.client();
    owner.run("AUTH right");
    assert!(owner.run("ACL LOG").items().len() <= 50);
    assert_eq!(
        info(&mut owner, "stats")["acl_access_denied_auth"],
        guesses.to_string()
    );
    if let (Some(before), Some(now)) = (memory, server.rss()) {
        assert!(now < before + (16 << 20), "{before} bytes, then {now}");
    }
}

#[test]
fn guessed_passwords_are_refused_and_leave_little() {
    guess(6000);
}

#[test]
#[ignore = "long: a hundred thousand guesses"]
fn very_many_guessed_passwords_are_refused_and_leave_little() {
    guess(102_000);
}

/// A guess takes as long whether it has the beginning right or nothing at all: what is compared is a
/// digest, and all of it.
#[test]
fn a_guess_that_is_nearly_right_takes_as_long() {
    let password = "a".repeat(500);
    let server = Server::with(&["--requirepass", &password]);
    let mut c = server.client();
    let near = format!("{}b", &password[..499]);
    let far = "z".repeat(500);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..600 {
        for (times, guess) in times.iter_mut().zip([&near, &far]) {
            let start = Instant::now();
            c.cmd(&["AUTH", guess]);
            times.push(start.elapsed());
        }
    }
    let [near, far] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    });
    println!("nearly right {near:.6} s, all wrong {far:.6} s");
    assert!(near < far * 1.5 && far < near * 1.5, "{near} and {far}");
}

// ---------------------------------------------------------------- colliding

/// Names that would all end up in a few places of a table whose hash anybody could compute.
fn colliding(count: usize, bits: u32) -> Vec<String> {
    let mask = (1 << bits) - 1;
    (0u64..)
        .map(|n| format!("n{n:x}"))
        .filter(|name| siphash12((0, 0), name.as_bytes()) & mask == 0)
        .take(count)
        .collect()
}

/// Writes and reads these names as keys, fields and members.
fn use_names(c: &mut Client, names: &[String]) -> Duration {
    let start = Instant::now();
    for chunk in names.chunks(500) {
        let mut sent = 0;
        for name in chunk {
            for words in [
                vec!["SET", name, "1"],
                vec!["HSET", "hash", name, "1"],
                vec!["SADD", "set", name],
                vec!["ZADD", "zset", "1", name],
                vec!["GET", name],
                vec!["HGET", "hash", name],
                vec!["SISMEMBER", "set", name],
                vec!["ZSCORE", "zset", name],
            ] {
                c.send(&words);
                sent += 1;
            }
        }
        (0..sent).for_each(|_| drop(c.recv()));
    }
    start.elapsed()
}

fn flood(count: usize, bits: u32) {
    let names = colliding(count, bits);
    let plain: Vec<String> = (0..count).map(|n| format!("n{:x}", n * 7919)).collect();
    let mut times = [f64::MAX, f64::MAX];
    // The best of several runs each, so that a busy moment does not count.
    for _ in 0..3 {
        for (time, names) in times.iter_mut().zip([&names, &plain]) {
            let server = Server::start();
            *time = time.min(use_names(&mut server.client(), names).as_secs_f64());
        }
    }
    let [colliding, plain] = times;
    println!("{count} names: {colliding:.3} s, {plain:.3} s with plain ones");
    assert!(colliding < plain * 3.0, "{colliding} s, {plain} s");
}

#[test]
fn names_made_to_collide_do_not() {
    flood(3000, 9);
}

#[test]
#[ignore = "long: twenty thousand names made to collide"]
fn very_many_names_made_to_collide_do_not() {
    flood(20_000, 10);
}
