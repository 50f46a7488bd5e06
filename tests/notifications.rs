//! Keyspace notifications beyond what the differential scripts compare: order, expiry, and many
//! clients at once.

mod support;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;
use support::{Client, Server, eventually};

/// A client that gets every event, as `event key`.
fn observer(s: &Server, classes: &str) -> Client {
    let mut c = s.client();
    c.cmd(&["CONFIG", "SET", "notify-keyspace-events", classes]);
    c.cmd(&["PSUBSCRIBE", "__keyevent@*__:*"]);
    c
}

/// The next event: `event key`, with the database where it is not 0.
fn next(c: &mut Client) -> String {
    let texts = c.recv().texts();
    let (db, event) = texts[2]
        .strip_prefix("__keyevent@")
        .and_then(|rest| rest.split_once("__:"))
        .expect("the channel of an event");
    match db {
        "0" => format!("{event} {}", texts[3]),
        db => format!("{event} {} in {db}", texts[3]),
    }
}

#[track_caller]
fn events(c: &mut Client, expected: &[&str]) {
    for event in expected {
        assert_eq!(next(c), *event);
    }
}

#[test]
fn events_of_one_command_are_in_order() {
    let s = Server::start();
    let mut o = observer(&s, "AKEn");
    // By name of the event only.
    let mut c = s.client();
    c.run("CONFIG SET notify-keyspace-events AEn");
    c.run("MSET a 1 b 2");
    events(&mut o, &["new a", "set a", "new b", "set b"]);
    c.run("RENAME a b");
    events(&mut o, &["new b", "rename_from a", "rename_to b"]);
    c.run("COPY b c DB 2");
    events(&mut o, &["new c in 2", "copy_to c in 2"]);
    c.run("SET b x EX 100");
    events(&mut o, &["set b", "expire b"]);
    c.run("RPUSH l 1");
    c.run("LPOP l");
    events(&mut o, &["new l", "rpush l", "lpop l", "del l"]);
}

#[test]
fn events_come_before_the_reply_and_in_the_order_of_changes() {
    let s = Server::start();
    let mut o = observer(&s, "El");
    let pushers: Vec<_> = (0..4)
        .map(|_| {
            let mut c = s.client();
            thread::spawn(move || {
                for _ in 0..500 {
                    c.run("RPUSH l x");
                    c.run("LPOP l");
                }
            })
        })
        .collect();
    pushers
        .into_iter()
        .for_each(|pusher| pusher.join().expect("a pusher"));
    // A pop that had an event found an element, which some push before it had brought.
    let (mut length, mut count) = (0, 0);
    while count < 4000 {
        match &next(&mut o)[..] {
            "rpush l" => length += 1,
            "lpop l" => length -= 1,
            other => panic!("{other}"),
        }
        assert!(length >= 0);
        count += 1;
    }
    assert_eq!(length, 0);
}

#[test]
fn keys_expire_with_an_event_each() {
    let s = Server::start();
    let mut o = observer(&s, "Ex");
    let mut c = s.client();
    for n in 0..200 {
        c.cmd(&["SET", &format!("k{n}"), "v", "PX", "1"]);
    }
    c.run("SELECT 1");
    c.run("SET other v PX 1");
    let mut seen = BTreeMap::new();
    for _ in 0..201 {
        *seen.entry(next(&mut o)).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 201);
    assert!(seen.contains_key("expired other in 1") && seen.contains_key("expired k199"));
    o.assert_silent(Duration::from_millis(20));
}

#[test]
fn an_expired_key_is_told_by_whoever_meets_it() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut o = observer(&s, "Exmn$");
    let mut c = s.client();
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    c.run("SET k v PX 1");
    events(&mut o, &["new k", "set k"]);
    eventually("the key to expire", Duration::from_secs(10), || {
        c.run("EXISTS k") == 0
    });
    events(&mut o, &["expired k", "keymiss k"]);
}

#[test]
fn fields_of_hashes_expire_with_events() {
    if support::oracle() {
        return;
    }
    let s = Server::start();
    let mut o = observer(&s, "Ehg");
    let mut c = s.client();
    c.run("HSET h a 1");
    c.run("HPEXPIRE h 1 FIELDS 1 a");
    events(&mut o, &["hset h", "hexpire h", "hexpired h", "del h"]);
}

#[test]
fn a_miss_is_told_once_by_a_command_that_moves_to_a_thread_of_its_own() {
    let s = Server::start();
    let mut o = observer(&s, "Emt");
    let mut c = s.client();
    // So busy that it is served together with others, where nobody may wait.
    for _ in 0..200 {
        c.run("PING");
    }
    c.send(&["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]);
    // Redis looks twice: at the ids first.
    events(&mut o, &["keymiss s", "keymiss s"]);
    eventually("the client to wait", Duration::from_secs(10), || {
        s.info_int("blocked_clients") == 1
    });
    s.client().run("XADD s 1-1 a b");
    c.recv();
    events(&mut o, &["xadd s"]);
}

#[test]
fn a_client_that_waits_gets_its_reply_before_the_events_of_its_service() {
    let s = Server::start();
    let mut c = s.client3();
    c.run("CONFIG SET notify-keyspace-events El");
    c.cmd(&["PSUBSCRIBE", "__keyevent@*__:*"]);
    c.send(&["BLPOP", "l", "0"]);
    eventually("the client to wait", Duration::from_secs(10), || {
        s.info_int("blocked_clients") == 1
    });
    s.client().run("RPUSH l 1 2");
    assert_eq!(next(&mut c), "rpush l");
    assert_eq!(c.recv().texts(), ["l", "1"]);
    assert_eq!(next(&mut c), "lpop l");
}
