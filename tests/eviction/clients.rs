//! Client eviction: the largest clients are closed when all together take too much memory.

use std::thread;
use std::time::{Duration, Instant};

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

/// What `CLIENT LIST` says in a field about the client with this name; 0 where there is none.
fn field(c: &mut Client, name: &str, field: &str) -> usize {
    let text = c.run("CLIENT LIST").text();
    let line = text
        .lines()
        .find(|line| line.contains(&format!("name={name} ")));
    let words = line.map(str::split_whitespace).into_iter().flatten();
    let mut values = words.filter_map(|word| word.strip_prefix(field)?.strip_prefix('='));
    values
        .next()
        .map_or(0, |value| value.parse().expect("bytes"))
}

/// How much the client with this name takes.
fn total(c: &mut Client, name: &str) -> usize {
    field(c, name, "tot-mem")
}

/// Waits until so many bytes of an argument have come, of which some may wait with their sender.
fn await_input(c: &mut Client, name: &str, bytes: usize) {
    eventually("it has arrived", SOON, || field(c, name, "qbuf") == bytes);
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
            all.push(c);
        }
    }
    assert_eq!(names(&mut control).len(), 10);
    // Who has the reply finds them gone.
    control.run("CONFIG SET maxmemory-clients 6mb");
    assert_eq!(s.info_int("evicted_clients"), 3);
    let left = ["a0", "a1", "a2", "b0", "b1", "b2", "control"];
    assert_eq!(names(&mut control), left);
    control.run("CONFIG SET maxmemory-clients 2mb");
    // One of them fits beside the small ones.
    assert_eq!(names(&mut control), ["a0", "a1", "a2", "b2", "control"]);
    assert_eq!(s.info_int("evicted_clients"), 5);
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
}

/// Whoever asks finds everything counted that others had sent before.
#[test]
fn what_has_been_sent_before_is_counted() {
    let s = Server::start();
    let mut control = named(&s, "control");
    for _ in 0..50 {
        // Who goes by himself has gone.
        let mut other = named(&s, "other");
        other.send(&["QUIT"]);
        assert!(!names(&mut control).contains(&"other".to_string()));
        drop(named(&s, "another"));
        assert!(!names(&mut control).contains(&"another".to_string()));
    }
    for round in 0..50 {
        let name = format!("c{round}");
        let (mut c, size) = (named(&s, &name), 1000 << (round % 10));
        begin(&mut c, size);
        let taken = total(&mut control, &name);
        assert!(taken >= size && taken < size + (40 << 10), "{taken} {size}");
    }
}

/// As with Redis, room that a client has asked for counts before it is used.
#[test]
fn an_announced_argument_counts() {
    let s = Server::start();
    let mut control = named(&s, "control");
    control.run("CLIENT NO-EVICT ON");
    let memory = |s: &Server| s.info("memory")["mem_clients_normal"].clone();
    let before: i64 = memory(&s).parse().expect("bytes");
    let mut c = named(&s, "c");
    c.write(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n");
    let first = total(&mut control, "c");
    assert!((1_000_000..1_040_000).contains(&first), "{first}");
    assert_eq!(field(&mut control, "c", "qbuf"), 0);
    assert_eq!(field(&mut control, "c", "argv-mem"), 4);
    assert!(field(&mut control, "c", "qbuf-free") >= 1_000_000);
    // It is not there yet, though.
    let more = memory(&s).parse::<i64>().expect("bytes") - before;
    assert!(more < 100_000, "{more}");
    for _ in 0..10 {
        c.write(&[b'v'; 100_000]);
        assert!(total(&mut control, "c").abs_diff(first) < 20_000);
    }
    await_input(&mut control, "c", 1_000_000);
    // The line end behind it completes the command.
    c.write(b"\r\n");
    assert_eq!(c.recv(), simple("OK"));
    assert_eq!(field(&mut control, "c", "qbuf"), 0);
    assert_eq!(control.run("STRLEN k"), 1_000_000);
    control.run("CONFIG SET maxmemory-clients 3mb");
    c.write(b"*2\r\n$3\r\nGET\r\n$4000000\r\n");
    assert_eq!(names(&mut control), ["control"]);
    assert_eq!(s.info_int("evicted_clients"), 1);
}

#[test]
fn queued_commands_count() {
    let s = Server::with(&["--maxmemory-clients", "3mb"]);
    let mut control = named(&s, "control");
    control.run("CLIENT NO-EVICT ON");
    let mut c = named(&s, "c");
    let value = "v".repeat(100_000);
    let before = total(&mut control, "c");
    c.run("MULTI");
    for count in 1..=10 {
        assert_eq!(c.cmd(&["SET", "k", &value]), simple("QUEUED"));
        let taken = total(&mut control, "c") - before;
        let shown = field(&mut control, "c", "multi-mem");
        assert_eq!(shown, count * (100_004 + 24));
        // Besides there are the list, and room for another argument of that size.
        assert!((shown..shown + 110_000).contains(&taken), "{taken} {shown}");
    }
    assert_eq!(c.run("EXEC").items().len(), 10);
    assert_eq!(field(&mut control, "c", "multi-mem"), 0);
    assert!(total(&mut control, "c") < before + 110_000);
    // Small ones take more for the list than for themselves.
    c.run("MULTI");
    for _ in 0..1000 {
        assert_eq!(c.run("INCR k"), simple("QUEUED"));
    }
    let shown = field(&mut control, "c", "multi-mem");
    assert!(total(&mut control, "c") > 2 * shown);
    c.run("DISCARD");
    assert!(total(&mut control, "c") < before + 110_000);
    c.run("MULTI");
    for _ in 0..40 {
        let _ = c.try_write(&crate::support::encode(&["SET", "k", &value]));
    }
    eventually("it has gone", SOON, || names(&mut control) == ["control"]);
}

/// A client with too much to read goes for that, and nobody else goes for its sake.
#[test]
fn limits_of_output_go_first() {
    let s = Server::with(&[
        "--maxmemory-clients",
        "10mb",
        "--client-output-buffer-limit",
        "normal 3mb 0 0",
    ]);
    let mut control = named(&s, "control");
    control.run("SETRANGE k 4194304 v");
    for _ in 0..10 {
        let mut large = named(&s, "large");
        begin(&mut large, 6 << 20);
        await_input(&mut control, "large", 6 << 20);
        let mut readers: Vec<Client> = (0..2).map(|_| named(&s, "reader")).collect();
        readers.iter_mut().for_each(|c| c.send(&["GET", "k"]));
        assert_eq!(names(&mut control), ["control", "large"]);
        drop(large);
        eventually("it has gone", SOON, || names(&mut control) == ["control"]);
    }
    assert_eq!(s.info_int("evicted_clients"), 0);
}

/// What one has taken who has just gone does not cost another one his connection, although the
/// server is still at his last command.
#[test]
fn who_has_gone_counts_no_more() {
    let args = [
        "--maxmemory-clients",
        "3mb",
        "--enable-debug-command",
        "yes",
    ];
    let s = Server::with(&args);
    let mut control = named(&s, "control");
    control.run("CLIENT NO-EVICT ON");
    let (rounds, mut stayed) = (5, 0);
    for round in 0..rounds {
        let mut exempt = named(&s, &format!("exempt{round}"));
        exempt.run("CLIENT NO-EVICT ON");
        exempt.run("MULTI");
        exempt.cmd(&["SET", "k", &"v".repeat(4_000_000)]);
        exempt.run("DEBUG SLEEP 0.5");
        exempt.send(&["EXEC"]);
        assert!(total(&mut control, &format!("exempt{round}")) > 4_000_000);
        drop(exempt);
        let mut c = named(&s, "c");
        begin(&mut c, 1_000_000);
        stayed += usize::from(names(&mut control)[0] == "c");
        drop(c);
        eventually("both have gone", SOON, || {
            names(&mut control) == ["control"]
        });
    }
    // On a busy machine, that one has gone may come later than what another one has sent.
    assert!(stayed >= rounds - 1, "{stayed}");
}

/// Those who look at others do not wait for each other, nor for long for anybody.
#[test]
fn who_looks_does_not_wait_for_long() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut c = s.client();
                (0..500).for_each(|_| drop(c.run("CLIENT LIST")));
            });
            scope.spawn(|| {
                let mut c = s.client();
                (0..2000).for_each(|_| drop(c.run("PING")));
            });
        }
    });
    let took = start.elapsed();
    assert!(took < SOON, "{took:?}");
    // One is busy, one is blocked, and one in a transaction has locks that another one needs.
    let (mut busy, mut blocked) = (named(&s, "busy"), named(&s, "blocked"));
    blocked.write(b"BLPOP list 0\r\nPING\r\n");
    busy.write(b"DEBUG SLEEP 3\r\n");
    let mut c = s.client();
    let start = Instant::now();
    assert_eq!(names(&mut c), ["blocked", "busy"]);
    c.run("MULTI");
    c.run("CLIENT LIST");
    assert_eq!(c.run("EXEC").items().len(), 1);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    c.run("LPUSH list 1");
    assert_eq!(blocked.recv().items().len(), 2);
    assert_eq!(blocked.recv(), simple("PONG"));
    assert_eq!(busy.recv(), simple("OK"));
}

/// A batch that asks for more than the client may leave unread ends there.
#[test]
fn a_batch_ends_where_it_takes_too_much() {
    let s = Server::with(&["--maxmemory-clients", "20mb"]);
    let mut control = named(&s, "control");
    control.cmd(&["SET", "k", &"x".repeat(1_000_000)]);
    let mut c = named(&s, "c");
    // Some megabytes fit into the socket, the rest does not.
    c.write(&b"GET k\r\n".repeat(2000));
    eventually("it has gone", SOON, || names(&mut control) == ["control"]);
    let calls = s.info("commandstats")["cmdstat_get"].clone();
    let calls = calls.split([',', '=']).nth(1).map(str::parse::<u32>);
    assert!(matches!(calls, Some(Ok(..100))), "{calls:?}");
}
