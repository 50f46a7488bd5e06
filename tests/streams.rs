//! Streams: ids that never go back, readers that wait, and groups that hand out each entry once.

mod support;

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;
use support::{Client, NULL, Server, Value, error, eventually};

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
    client.send(&line.split(' ').collect::<Vec<_>>());
    blocked(s, before + 1);
    client
}

/// The ids of the entries in a reply of XRANGE.
fn ids(entries: &Value) -> Vec<String> {
    let id = |entry: &Value| entry.items()[0].text();
    entries.items().iter().map(id).collect()
}

/// The ids in a reply of XREAD with one stream.
fn read_ids(reply: &Value) -> Vec<String> {
    assert_eq!(reply.items().len(), 1, "{reply:?}");
    ids(&reply.items()[0].items()[1])
}

fn number(id: &str) -> (u64, u64) {
    let (ms, seq) = id.split_once('-').expect("an id");
    (
        ms.parse().expect("a number"),
        seq.parse().expect("a number"),
    )
}

#[test]
fn generated_ids_grow_across_threads() {
    let s = Server::start();
    let add = |mut c: Client| {
        let mut last = (0, 0);
        for _ in 0..500 {
            let id = number(&c.run("XADD s * f v").text());
            assert!(id > last, "{id:?} after {last:?}");
            last = id;
        }
    };
    let threads: Vec<_> = (0..4)
        .map(|_| s.client())
        .map(|c| thread::spawn(move || add(c)))
        .collect();
    threads
        .into_iter()
        .for_each(|t| t.join().expect("a thread that ends well"));
    let mut c = s.client();
    let all: Vec<_> = ids(&c.run("XRANGE s - +"))
        .iter()
        .map(|id| number(id))
        .collect();
    assert_eq!(all.len(), 2000);
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
    // By the clock, and never behind what is there already.
    let id = number(&c.run("XADD t * f v").text());
    let seconds = c.run("TIME").texts()[0].parse::<u64>().expect("a number");
    assert!(id.0.abs_diff(seconds * 1000) < 60_000);
    c.run("XADD t 9999999999999-5 f v");
    assert_eq!(c.run("XADD t * f v"), "9999999999999-6");
    c.run("XDEL t 9999999999999-6");
    assert_eq!(c.run("XADD t * f v"), "9999999999999-7");
}

#[test]
fn all_readers_are_woken() {
    let s = Server::start();
    let mut c = s.client();
    c.run("XADD a 1 f v");
    let mut readers: Vec<Client> = (0..20)
        .map(|n| match n % 3 {
            0 => waiter(&s, "XREAD BLOCK 0 STREAMS a $"),
            1 => waiter(&s, "XREAD BLOCK 0 STREAMS b a 0 1"),
            _ => waiter(&s, "XREAD COUNT 1 BLOCK 100000 STREAMS a 1-0"),
        })
        .collect();
    assert_eq!(c.run("XADD a 2 f v"), "2-0");
    // They are served before the reply.
    assert_eq!(s.info_int("blocked_clients"), 0);
    for reader in &mut readers {
        assert_eq!(read_ids(&reader.recv()), ["2-0"]);
    }
    assert_eq!(s.info_int("total_blocking_keys"), 0);
    // In RESP3 it is a map.
    let mut three = s.client3();
    three.send(&["XREAD", "BLOCK", "0", "STREAMS", "a", "$"]);
    blocked(&s, 1);
    c.run("XADD a 3 f v");
    assert_eq!(ids(&three.recv().field("a")), ["3-0"]);
}

#[test]
fn a_reader_waits_for_what_it_wants() {
    let s = Server::start();
    let mut c = s.client();
    let mut w = waiter(&s, "XREAD BLOCK 0 STREAMS k 10");
    c.run("XADD k 5 f v");
    c.run("XADD k 10 f v");
    c.run("XADD k MAXLEN 0 11 f v");
    c.run("DEL k");
    c.run("SET k x");
    c.run("DEL k");
    assert_eq!(s.info_int("blocked_clients"), 1);
    c.run("XADD k 11-1 f v");
    assert_eq!(read_ids(&w.recv()), ["11-1"]);
    // A stream comes by RENAME, COPY and SWAPDB as well.
    let mut w = waiter(&s, "XREAD BLOCK 0 STREAMS there 0");
    c.run("RENAME k there");
    assert_eq!(read_ids(&w.recv()), ["11-1"]);
    let mut w = waiter(&s, "XREAD BLOCK 0 STREAMS copy 0");
    c.run("COPY there copy");
    assert_eq!(read_ids(&w.recv()), ["11-1"]);
    let mut w = waiter(&s, "XREAD BLOCK 0 STREAMS elsewhere 0");
    c.run("SELECT 1");
    c.run("XADD elsewhere 7 f v");
    c.run("SWAPDB 0 1");
    assert_eq!(read_ids(&w.recv()), ["7-0"]);
    // Its time is up.
    assert_eq!(c.run("XREAD BLOCK 20 STREAMS none $"), NULL);
    let reply = c.run("XREAD BLOCK 9223372036854775807 STREAMS none $");
    assert_eq!(reply, error("ERR timeout is out of range"));
}

#[test]
fn the_last_entry_has_a_name() {
    let s = Server::start();
    let mut c = s.client();
    assert_eq!(c.run("XREAD STREAMS s +"), NULL);
    c.run("XADD s 1 f v");
    c.run("XADD s 2-0 f v");
    c.run("XADD s 3 f v");
    c.run("XDEL s 3");
    assert_eq!(read_ids(&c.run("XREAD COUNT 5 STREAMS s +")), ["2-0"]);
    let invalid = error("ERR Invalid stream ID specified as stream command argument");
    c.run("XGROUP CREATE s g 0");
    assert_eq!(c.run("XREADGROUP GROUP g c STREAMS s +"), invalid);
    let mut w = waiter(&s, "XREAD BLOCK 0 STREAMS none +");
    c.run("XADD none 1 f v");
    assert_eq!(read_ids(&w.recv()), ["1-0"]);
}

#[test]
fn words_of_7_2() {
    let s = Server::start();
    let mut c = s.client();
    let unbalanced = |command: &str, sign: char| {
        error(&format!(
            "ERR Unbalanced '{command}' list of streams: for each stream key an ID or '{sign}' must be specified."
        ))
    };
    assert_eq!(
        c.run("XREAD STREAMS a"),
        error("ERR wrong number of arguments for 'xread' command")
    );
    assert_eq!(c.run("XREAD STREAMS a b 0"), unbalanced("xread", '$'));
    let reply = c.run("XREADGROUP GROUP g c STREAMS a b >");
    assert_eq!(reply, unbalanced("xreadgroup", '>'));
    c.run("XADD s 1 f v");
    c.run("XADD s 9 f v");
    c.run("XDEL s 9");
    let reply = c.run("XSETID s 5");
    let text = "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id";
    assert_eq!(reply, error(text));
    // Where the words of options are names, the keys are still found.
    c.run("XGROUP CREATE s streams 0");
    let reply = c.run("XREADGROUP COUNT 1 GROUP streams streams STREAMS s >");
    assert_eq!(read_ids(&reply), ["1-0"]);
    let keys = c.run("COMMAND GETKEYS XREADGROUP COUNT 1 GROUP streams block STREAMS a b > >");
    assert_eq!(keys.texts(), ["a", "b"]);
}

#[test]
fn consumers_are_seen_and_active() {
    let s = Server::start();
    let mut c = s.client();
    c.run("XGROUP CREATE s g $ MKSTREAM");
    // An attempt alone creates the consumer.
    assert_eq!(c.run("XREADGROUP GROUP g alice STREAMS s >"), NULL);
    c.run("XCLAIM s g bob 0 1-0");
    c.run("XAUTOCLAIM s g carol 0 0");
    let consumers = c.run("XINFO CONSUMERS s g");
    for (consumer, name) in consumers.items().iter().zip(["alice", "bob", "carol"]) {
        assert_eq!(consumer.field("name"), name);
        assert_eq!(consumer.field("inactive"), -1);
        assert!(consumer.field("idle").int() < 60_000);
    }
    c.run("XADD s 1 f v");
    c.run("XREADGROUP GROUP g alice NOACK STREAMS s >");
    let inactive = |c: &mut Client, at: usize| {
        c.run("XINFO CONSUMERS s g").items()[at]
            .field("inactive")
            .int()
    };
    assert_eq!(inactive(&mut c, 0), -1);
    c.run("XADD s 2 f v");
    c.run("XREADGROUP GROUP g alice STREAMS s >");
    assert!(inactive(&mut c, 0) >= 0);
    c.run("XCLAIM s g bob 0 2-0");
    assert!(inactive(&mut c, 1) >= 0);
    c.run("XAUTOCLAIM s g carol 0 0");
    assert!(inactive(&mut c, 2) >= 0);
    let full = c.run("XINFO STREAM s FULL");
    let groups = full.field("groups");
    let consumers = groups.items()[0].field("consumers");
    let carol = &consumers.items()[2];
    assert_eq!(carol.field("pel-count"), 1);
    assert_eq!(carol.field("active-time"), carol.field("seen-time"));
    let pending = carol.field("pending");
    assert_eq!(pending.items()[0].items()[0], "2-0");
}

#[test]
fn a_group_s_readers_learn_of_its_end() {
    let s = Server::start();
    let mut c = s.client();
    let no_group =
        error("NOGROUP No such key 'k' or consumer group 'g' in XREADGROUP with GROUP option");
    let wrong_type = error("WRONGTYPE Operation against a key holding the wrong kind of value");
    let ends: [(&str, &Value); 12] = [
        ("DEL k", &no_group),
        ("UNLINK k", &no_group),
        ("XGROUP DESTROY k g", &no_group),
        ("RENAME k other", &no_group),
        ("MOVE k 5", &no_group),
        ("FLUSHALL", &no_group),
        ("FLUSHDB ASYNC", &no_group),
        ("SWAPDB 0 3", &no_group),
        ("PEXPIRE k 1", &no_group),
        ("SET k x", &wrong_type),
        ("RENAME list k", &wrong_type),
        ("COPY list k REPLACE", &wrong_type),
    ];
    for (end, expected) in ends {
        c.run("FLUSHALL");
        c.run("RPUSH list x");
        c.run("XGROUP CREATE k g $ MKSTREAM");
        let mut w = waiter(&s, "XREADGROUP GROUP g c BLOCK 0 STREAMS k >");
        // Who only reads stays.
        let mut reader = waiter(&s, "XREAD BLOCK 0 STREAMS k $");
        c.run(end);
        assert_eq!(w.recv(), *expected, "{end}");
        c.run("DEL k");
        blocked(&s, 1);
        c.run("XADD k 5 f v");
        assert_eq!(read_ids(&reader.recv()), ["5-0"], "{end}");
    }
    // The group stays, by way of another stream.
    c.run("FLUSHALL");
    c.run("XGROUP CREATE k g $ MKSTREAM");
    let mut w = waiter(&s, "XREADGROUP GROUP g c BLOCK 0 STREAMS k >");
    c.run("XADD other 1 f v");
    c.run("XGROUP CREATE other g 0");
    c.run("RENAME other k");
    assert_eq!(read_ids(&w.recv()), ["1-0"]);
    assert_eq!(c.run("XPENDING k g").items()[0], 1);
    let mut w = waiter(&s, "XREADGROUP GROUP g c BLOCK 20 STREAMS k >");
    assert_eq!(w.recv(), NULL);
}

#[test]
fn a_group_hands_out_each_entry_once() {
    let s = Server::start();
    let mut c = s.client();
    c.run("XGROUP CREATE s g $ MKSTREAM");
    const ENTRIES: usize = 2000;
    const READERS: usize = 6;
    let readers: Vec<_> = (0..READERS)
        .map(|n| (n, s.client()))
        .map(|(n, mut c)| {
            thread::spawn(move || {
                let name = format!("c{n}");
                let mut got = Vec::new();
                loop {
                    let args = [
                        "XREADGROUP",
                        "GROUP",
                        "g",
                        &name,
                        "COUNT",
                        "3",
                        "BLOCK",
                        "5000",
                    ];
                    let reply = c.cmd(&[&args[..], &["STREAMS", "s", ">"]].concat());
                    for entry in reply.items()[0].items()[1].items() {
                        let fields = entry.items()[1].texts();
                        if fields[0] == "end" {
                            return got;
                        }
                        got.push(entry.items()[0].text());
                    }
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..2)
        .map(|_| s.client())
        .map(|mut c| {
            thread::spawn(move || {
                for _ in 0..ENTRIES / 2 {
                    c.run("XADD s * f v");
                }
            })
        })
        .collect();
    writers
        .into_iter()
        .for_each(|t| t.join().expect("a thread that ends well"));
    eventually("everything handed out", SOON, || {
        s.client().run("XPENDING s g").items()[0] == ENTRIES as i64
    });
    // An end mark for each, one at a time: a reader that takes it asks no more.
    for left in (0..READERS as i64).rev() {
        blocked(&s, left + 1);
        c.run("XADD s * end x");
        blocked(&s, left);
    }
    let mut all = BTreeSet::new();
    let mut count = 0;
    for reader in readers {
        let got = reader.join().expect("a thread that ends well");
        count += got.len();
        all.extend(got.iter().map(|id| number(id)));
    }
    assert_eq!((count, all.len()), (ENTRIES, ENTRIES));
    assert_eq!(c.run("XINFO GROUPS s").items()[0].field("lag"), 0);
}

#[test]
fn streams_are_known_everywhere() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    c.run("XADD s 1 f v");
    c.run("XGROUP CREATE s g 0");
    c.run("XREADGROUP GROUP g c STREAMS s >");
    assert_eq!(c.run("TYPE s"), "stream");
    assert_eq!(c.run("OBJECT ENCODING s"), "stream");
    assert!(c.run("MEMORY USAGE s").int() > 50);
    assert!(c.run("MEMORY USAGE s SAMPLES 0").int() > 50);
    assert!(
        c.run("DEBUG OBJECT s")
            .text()
            .contains("encoding:stream serializedlength:")
    );
    let scanned = c.run("SCAN 0 TYPE stream COUNT 100");
    assert_eq!(scanned.items()[1].texts(), ["s"]);
    c.run("COPY s t");
    c.run("XACK s g 1-0");
    c.run("XDEL s 1-0");
    assert_eq!(c.run("XPENDING t g").items()[0], 1);
    assert_eq!(c.run("XLEN t"), 1);
    // Large ones are freed in the background.
    for n in 0..200 {
        c.cmd(&[
            "XADD",
            "big",
            "*",
            "f",
            &"x".repeat(3000),
            "n",
            &n.to_string(),
        ]);
    }
    assert_eq!(c.run("UNLINK big"), 1);
    eventually("it freed", SOON, || s.info_int("lazyfreed_objects") >= 1);
}
