//! Client-side caching: who is told about which changes, in which order, and that nothing is left
//! of those who have gone.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use support::{Client, Server, Value, encode, error, eventually};

/// Long enough for anything that is to happen at all.
const SOON: Duration = Duration::from_secs(20);

/// A RESP3 client that tracks.
fn tracker(s: &Server, options: &str) -> Client {
    let mut client = s.client3();
    assert_eq!(client.run(&format!("CLIENT TRACKING ON {options}")), "OK");
    client
}

/// The message that keys are no longer what they were.
fn invalidate(keys: &[&str]) -> Value {
    let keys = keys.iter().map(|key| Value::Bulk(key.as_bytes().to_vec()));
    Value::Push(vec![
        Value::Bulk(b"invalidate".to_vec()),
        Value::Array(keys.collect()),
    ])
}

/// A field of the line that describes a client.
fn described(c: &mut Client, field: &str) -> String {
    let line = c.run("CLIENT INFO").text();
    let found = line.split([' ', '\n']).find_map(|word| {
        word.strip_prefix(field)
            .and_then(|rest| rest.strip_prefix('='))
    });
    found.unwrap_or("(no such field)").to_string()
}

/// Counts of INFO: clients, keys, items, prefixes.
fn counts(s: &Server) -> [i64; 4] {
    [
        "tracking_clients",
        "tracking_total_keys",
        "tracking_total_items",
        "tracking_total_prefixes",
    ]
    .map(|field| s.info_int(field))
}

#[test]
fn a_reader_is_told_once() {
    let s = Server::start();
    let (mut t, mut c) = (tracker(&s, ""), s.client());
    t.run("MGET a b c");
    assert_eq!(counts(&s), [1, 3, 3, 0]);
    // Not what is only written, nor what is read by others.
    t.run("SET own 1");
    c.run("GET other");
    for command in [
        "SET a 1",
        "SET a 2",
        "SET own 2",
        "SET other 1",
        "LPUSH b x",
        "DEL c",
    ] {
        c.run(command);
    }
    assert_eq!(t.recv(), invalidate(&["a"]));
    assert_eq!(t.recv(), invalidate(&["b"]));
    assert_eq!(t.run("PING"), support::simple("PONG"));
    assert_eq!(counts(&s), [1, 1, 1, 0]);
}

#[test]
fn a_key_counts_in_all_databases() {
    let s = Server::start();
    let (mut t, mut c) = (tracker(&s, ""), s.client());
    t.run("GET k");
    c.run("SELECT 1");
    c.run("SET k v");
    assert_eq!(t.recv(), invalidate(&["k"]));
}

#[test]
fn own_changes_follow_the_reply() {
    let s = Server::start();
    let mut t = tracker(&s, "");
    t.run("GET k");
    assert_eq!(t.run("SET k 1"), "OK");
    assert_eq!(t.recv(), invalidate(&["k"]));
    for command in ["MULTI", "GET k", "SET k 2", "GET k", "SET k 3"] {
        t.run(command);
    }
    assert_eq!(t.run("EXEC").items().len(), 4);
    assert_eq!(t.recv(), invalidate(&["k"]));
    assert_eq!(t.recv(), invalidate(&["k"]));
    // Even where the reply itself is not wanted.
    t.run("GET k");
    t.write(
        &[
            encode(&["CLIENT", "REPLY", "SKIP"]),
            encode(&["SET", "k", "4"]),
        ]
        .concat(),
    );
    assert_eq!(t.recv(), invalidate(&["k"]));

    let mut t = tracker(&s, "NOLOOP");
    t.run("GET k");
    t.run("SET k 1");
    assert_eq!(t.run("PING"), support::simple("PONG"));
    assert_eq!(counts(&s), [2, 0, 0, 0]);
}

#[test]
fn flushes_are_told_to_all() {
    let s = Server::start();
    let (mut t, mut b, mut c) = (tracker(&s, ""), tracker(&s, "BCAST PREFIX x"), s.client());
    t.run("GET k");
    for command in ["FLUSHDB", "FLUSHALL ASYNC"] {
        c.run(command);
        for client in [&mut t, &mut b] {
            let message = client.recv();
            assert!(message.items()[0] == "invalidate" && message.items()[1].is_null());
        }
        assert_eq!(counts(&s), [2, 0, 0, 1]);
    }
    assert_eq!(t.run("FLUSHALL"), "OK");
    assert!(t.recv().items()[1].is_null());
}

#[test]
fn expired_keys_are_told() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let (mut t, mut b, mut c) = (tracker(&s, ""), tracker(&s, "BCAST"), s.client());
    c.run("SET k v PX 20");
    t.run("GET k");
    assert_eq!(b.recv(), invalidate(&["k"]));
    assert_eq!(t.recv(), invalidate(&["k"]));
    assert_eq!(b.recv(), invalidate(&["k"]));
    // Whoever reads that a key has expired is not told that it is removed.
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    c.run("SET k v PX 1");
    assert_eq!(c.run("DEBUG SLEEP 0.01"), "OK");
    assert!(t.run("GET k").is_null());
    assert_eq!(t.run("PING"), support::simple("PONG"));
    c.run("SET k v");
    assert_eq!(t.recv(), invalidate(&["k"]));
    // Unless it has read the value before.
    t.run("GET k");
    c.run("PEXPIRE k 1");
    assert_eq!(t.recv(), invalidate(&["k"]));
    assert_eq!(c.run("DEBUG SLEEP 0.01"), "OK");
    t.run("MGET k k");
    assert_eq!(t.run("PING"), support::simple("PONG"));
    assert_eq!(counts(&s)[1..3], [1, 1]);
}

#[test]
fn broadcasts_are_one_message_a_prefix() {
    let s = Server::start();
    let mut b = tracker(&s, "BCAST PREFIX k PREFIX z");
    let mut c = s.client();
    let batch: Vec<u8> = ["kb", "z", "ka", "other", "kb"]
        .iter()
        .flat_map(|key| encode(&["SET", key, "v"]))
        .collect();
    b.write(&batch);
    for _ in 0..5 {
        assert_eq!(b.recv(), "OK");
    }
    assert_eq!(b.recv(), invalidate(&["ka", "kb"]));
    assert_eq!(b.recv(), invalidate(&["z"]));
    c.run("MSET kb 1 z 1 ka 1");
    assert_eq!(b.recv(), invalidate(&["ka", "kb"]));
    assert_eq!(b.recv(), invalidate(&["z"]));

    let mut n = tracker(&s, "BCAST NOLOOP");
    n.run("SET ka 1");
    assert_eq!(n.run("PING"), support::simple("PONG"));
    assert_eq!(b.recv(), invalidate(&["ka"]));
    c.run("SET ka 1");
    assert_eq!(n.recv(), invalidate(&["ka"]));
    assert_eq!(counts(&s), [2, 0, 0, 3]);
    b.run("CLIENT TRACKING OFF");
    drop(n);
    eventually("both have gone", SOON, || counts(&s) == [0; 4]);
}

#[test]
fn caching_holds_for_the_next_command_or_transaction() {
    let s = Server::start();
    let (mut t, mut c) = (tracker(&s, "OPTIN"), s.client());
    let remembered = || counts(&s)[1];
    t.run("GET k");
    assert_eq!(remembered(), 0);
    t.run("CLIENT CACHING YES");
    t.run("CLIENT ID");
    t.run("GET k");
    t.run("GET l");
    assert_eq!(remembered(), 1);
    for command in [
        "CLIENT CACHING YES",
        "MULTI",
        "GET m",
        "GET n",
        "EXEC",
        "GET o",
    ] {
        t.run(command);
    }
    assert_eq!(remembered(), 3);
    for command in [
        "MULTI",
        "GET p",
        "CLIENT CACHING YES",
        "GET q",
        "EXEC",
        "GET r",
    ] {
        t.run(command);
    }
    assert_eq!(remembered(), 4);
    // An unknown command is a next one.
    for command in ["CLIENT CACHING YES", "NOSUCH", "GET s"] {
        t.run(command);
    }
    assert_eq!(remembered(), 4);
    c.run("FLUSHALL");
    let mut t = tracker(&s, "OPTOUT");
    for command in ["CLIENT CACHING NO", "GET k", "GET l"] {
        t.run(command);
    }
    assert_eq!(remembered(), 1);
}

#[test]
fn messages_go_to_another_client() {
    let s = Server::start();
    let (mut t, mut target, mut c) = (s.client(), s.client(), s.client());
    let id = target.run("CLIENT ID").int();
    target.run("SUBSCRIBE __redis__:invalidate");
    t.run(&format!("CLIENT TRACKING ON REDIRECT {id}"));
    assert_eq!(t.run("CLIENT GETREDIR"), id);
    assert_eq!(described(&mut t, "redir"), id.to_string());
    t.run("GET k");
    c.run("SET k v");
    let key = Value::Array(vec![Value::Bulk(b"k".to_vec())]);
    let message = target.recv();
    assert_eq!(message.items()[1], "__redis__:invalidate");
    assert_eq!(message.items()[2], key);
    c.run("FLUSHALL");
    assert!(target.recv().items()[2].is_null());
    // Without a subscription there is no form for it.
    target.run("UNSUBSCRIBE");
    t.run("GET k");
    c.run("SET k v");
    assert_eq!(target.run("PING"), support::simple("PONG"));
    // In RESP3 there is always one.
    target.run("HELLO 3");
    t.run("GET k");
    c.run("SET k v");
    assert_eq!(target.recv(), invalidate(&["k"]));
}

#[test]
fn a_broken_redirection_is_told() {
    let s = Server::start();
    let (mut t, mut c) = (s.client3(), s.client());
    let target = {
        let mut target = s.client();
        let id = target.run("CLIENT ID").int();
        t.run(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        id
    };
    t.run("GET k");
    eventually("the target goes", SOON, || {
        c.run("CLIENT LIST").text().matches('\n').count() == 2
    });
    c.run("SET k v");
    let message = t.recv();
    assert!(message.items()[0] == "tracking-redir-broken" && message.items()[1] == target);
    assert_eq!(described(&mut t, "flags"), "tR");
    t.run("CLIENT TRACKING ON");
    assert_eq!(described(&mut t, "flags"), "t");
}

#[test]
fn the_table_keeps_its_limit() {
    let s = Server::with(&["--tracking-table-max-keys", "2"]);
    let mut t = tracker(&s, "");
    t.run("MGET a b");
    t.run("GET c");
    let message = t.recv();
    assert_eq!(message.items()[1].items().len(), 1);
    assert_eq!(counts(&s), [1, 2, 2, 0]);
    s.client().run("CONFIG SET tracking-table-max-keys 1");
    t.recv();
    assert_eq!(counts(&s), [1, 1, 1, 0]);
}

#[test]
fn reset_ends_it() {
    let s = Server::start();
    let mut t = tracker(&s, "BCAST");
    assert_eq!(described(&mut t, "flags"), "tB");
    t.run("RESET");
    assert_eq!(counts(&s), [0; 4]);
    assert_eq!(described(&mut t, "flags"), "N");
    let again = t.run("CLIENT TRACKING ON PREFIX x");
    let text = "ERR PREFIX option requires BCAST mode to be enabled";
    assert_eq!(again, error(text));
}

/// A client that believes its cache as long as it is not told otherwise must end up with what is
/// there.
#[test]
fn no_change_is_missed() {
    let s = Server::start();
    for options in ["", "BCAST"] {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let (mut c, stop) = (s.client(), stop.clone());
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        for key in ["a", "b", "c"] {
                            c.run(&format!("INCR {key}"));
                        }
                    }
                })
            })
            .collect();
        let mut t = tracker(&s, options);
        let keys = ["a", "b", "c"];
        let mut cache: [Option<String>; 3] = Default::default();
        fn drop_told(cache: &mut [Option<String>; 3], message: &Value) {
            for key in message.items()[1].texts() {
                cache[usize::from(key.as_bytes()[0] - b'a')] = None;
            }
        }
        for round in 0..3000 {
            let at = round % 3;
            t.write(&encode(&["GET", keys[at]]));
            loop {
                match t.recv() {
                    message @ Value::Push(_) => drop_told(&mut cache, &message),
                    reply => {
                        cache[at] = Some(reply.text());
                        break;
                    }
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .for_each(|thread| thread.join().expect("a writer"));
        t.write(&encode(&["PING"]));
        while let message @ Value::Push(_) = t.recv() {
            drop_told(&mut cache, &message);
        }
        let mut c = s.client();
        for (key, cached) in keys.iter().zip(&cache) {
            if let Some(cached) = cached {
                assert_eq!(c.run(&format!("GET {key}")).text(), *cached, "{options}");
            }
        }
    }
}
