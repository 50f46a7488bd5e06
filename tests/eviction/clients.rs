//! Client eviction: the largest clients are closed when all together take too much memory.

use std::time::Duration;

use crate::SOON;
use crate::support::{Client, Server, error, eventually, simple};

/// Sends the beginning of a command with an argument of so many bytes.
fn begin(c: &mut Client, bytes: usize) {
    let head = format!("*2\r\n${bytes}\r\n");
    // The connection may be closed meanwhile.
    let _ = c.try_write(&[head.as_bytes(), &vec![b'v'; bytes]].concat());
}

/// The names of the clients that have one, sorted.
fn names(c: &mut Client) -> Vec<String> {
    let text = c.run("CLIENT LIST").text();
    let words = text.split_whitespace();
    let names = words.filter_map(|word| word.strip_prefix("name="));
    let mut names: Vec<String> = names
        .filter(|name| !name.is_empty())
        .map(str::to_string)
        .collect();
    names.sort();
    names
}

/// What `CLIENT LIST` says of the client with this name.
fn total(c: &mut Client, name: &str) -> usize {
    let text = c.run("CLIENT LIST").text();
    let line = text
        .lines()
        .find(|line| line.contains(&format!("name={name} ")));
    let words = line.map(str::split_whitespace).into_iter().flatten();
    let mut totals = words.filter_map(|word| word.strip_prefix("tot-mem="));
    totals
        .next()
        .map_or(0, |total| total.parse().expect("bytes"))
}

fn named(s: &Server, name: &str) -> Client {
    let mut c = s.client();
    c.run(&format!("CLIENT SETNAME {name}"));
    c
}

#[test]
fn the_largest_go_first() {
    let s = Server::start();
    let mut control = named(&s, "control");
    control.run("CLIENT NO-EVICT ON");
    let mut all = Vec::new();
    for (name, size) in [("a", 100_000), ("b", 1_000_000), ("c", 4_000_000)] {
        for number in 0..3 {
            let name = format!("{name}{number}");
            let mut c = named(&s, &name);
            begin(&mut c, size);
            eventually("it has arrived", SOON, || {
                total(&mut control, &name) >= size
            });
            all.push(c);
        }
    }
    assert_eq!(names(&mut control).len(), 10);
    control.run("CONFIG SET maxmemory-clients 6mb");
    let left = ["a0", "a1", "a2", "b0", "b1", "b2", "control"];
    eventually("the largest have gone", SOON, || {
        names(&mut control) == left
    });
    assert_eq!(s.info_int("evicted_clients"), 3);
    control.run("CONFIG SET maxmemory-clients 2mb");
    // One or two of them fit beside the small ones, as their buffers have it.
    eventually("more have gone", SOON, || names(&mut control).len() <= 5);
    let left = names(&mut control);
    assert_eq!(left[..3], ["a0", "a1", "a2"]);
    assert_eq!(left.last().map(String::as_str), Some("control"));
    assert_eq!(s.info_int("evicted_clients"), 10 - left.len() as i64);
    assert!(s.log().contains("Evicting client: id="));
    // It is counted anew what there is.
    let mut c = named(&s, "d");
    begin(&mut c, 3_000_000);
    c.set_read_timeout(SOON);
    c.assert_closed();
    assert!(!names(&mut control).contains(&"d".to_string()));
    drop(all);
}

#[test]
fn replies_that_nobody_reads_count() {
    let s = Server::with(&["--maxmemory-clients", "5mb"]);
    let mut control = named(&s, "control");
    control.run("CLIENT NO-EVICT ON");
    control.cmd(&["SET", "k", &"x".repeat(200_000)]);
    let mut subscribers: Vec<Client> = (0..10).map(|_| s.client()).collect();
    for c in &mut subscribers {
        c.run("SUBSCRIBE channel");
    }
    let message = "x".repeat(100_000);
    eventually("subscribers go", SOON, || {
        control.cmd(&["PUBLISH", "channel", &message]);
        s.info_int("evicted_clients") > 0
    });
    let mut reader = named(&s, "reader");
    eventually("the one goes that reads nothing", SOON, || {
        let _ = reader.try_write(b"GET k\r\n");
        !names(&mut control).contains(&"reader".to_string())
    });
    assert_eq!(control.run("GET k").bytes().len(), 200_000);
}

#[test]
fn a_share_of_the_memory_for_data() {
    let s = Server::start();
    let mut control = named(&s, "control");
    control.run("CLIENT NO-EVICT ON");
    // Of no limit it is none.
    assert_eq!(
        control.run("CONFIG SET maxmemory-clients 10%"),
        simple("OK")
    );
    let mut c = named(&s, "c");
    begin(&mut c, 3_000_000);
    eventually("it has arrived", SOON, || {
        total(&mut control, "c") >= 3_000_000
    });
    assert_eq!(control.run("CONFIG SET maxmemory 60mb"), simple("OK"));
    control.run("PING");
    assert_eq!(names(&mut control), ["c", "control"]);
    assert_eq!(control.run("CONFIG SET maxmemory 20mb"), simple("OK"));
    eventually("it has gone", SOON, || names(&mut control) == ["control"]);
    let text = "ERR CONFIG SET failed (possibly related to argument 'maxmemory-clients') - percentage argument must be less or equal to 100";
    assert_eq!(
        control.run("CONFIG SET maxmemory-clients 101%"),
        error(text)
    );
}

#[test]
fn who_is_exempt_stays_until_he_no_longer_is() {
    let s = Server::start();
    let mut control = named(&s, "control");
    control.run("CLIENT NO-EVICT ON");
    let mut c = named(&s, "c");
    assert_eq!(c.run("CLIENT NO-EVICT ON"), simple("OK"));
    control.cmd(&["SET", "k", &"x".repeat(1_000_000)]);
    control.run("CONFIG SET maxmemory-clients 1mb");
    let mut sender = c.split();
    eventually("it takes too much", SOON, || {
        let _ = sender.try_write(b"GET k\r\n");
        total(&mut control, "c") > 5_000_000
    });
    assert_eq!(names(&mut control), ["c", "control"]);
    let _ = sender.try_write(b"CLIENT NO-EVICT OFF\r\n");
    eventually("it has gone", SOON, || names(&mut control) == ["control"]);
    // The limit is never so low that nobody could talk to the server.
    control.run("CONFIG SET maxmemory-clients 1");
    let mut other = named(&s, "other");
    assert_eq!(other.run("PING"), simple("PONG"));
    std::thread::sleep(Duration::ZERO);
}
