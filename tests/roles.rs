//! Primary or replica: how a server gets its role, what it shows of it, and what it refuses in it.
//! There is nobody at the other end; the links themselves have tests of their own.

mod support;

use std::net::TcpListener;
use std::thread;
use std::time::Duration;
use support::{Client, NULL, Server, Value, error, eventually, free_port, simple};

/// Long enough for anything that is to happen at all.
const SOON: Duration = Duration::from_secs(20);
const READONLY: &str = "READONLY You can't write against a read only replica.";

fn replication(s: &Server) -> std::collections::BTreeMap<String, String> {
    s.info("replication")
}

fn field(s: &Server, name: &str) -> String {
    let info = replication(s);
    info.get(name)
        .unwrap_or_else(|| panic!("no {name}"))
        .clone()
}

/// A port where nobody listens, for a primary that is not there.
fn nobody() -> String {
    free_port().to_string()
}

/// Has a primary keep a stream, which it begins once somebody wants to follow it.
fn keep_a_stream(s: &Server) {
    let mut replica = s.client();
    // One that need not be sent a file: its copy would begin some seconds later.
    assert_eq!(replica.run("REPLCONF capa eof"), simple("OK"));
    replica.send(&["PSYNC", "?", "-1"]);
    eventually("the stream is kept", SOON, || {
        field(s, "repl_backlog_active") == "1"
    });
}

fn send(client: &mut Client, line: &str) {
    client.send(&line.split(' ').collect::<Vec<_>>());
}

#[test]
fn a_primary_becomes_a_replica_and_back() {
    let s = Server::start();
    let mut c = s.client();
    assert_eq!(
        c.run("ROLE").items(),
        [
            Value::Bulk(b"master".to_vec()),
            Value::Int(0),
            Value::Array(vec![])
        ]
    );
    let id = field(&s, "master_replid");
    assert_eq!(id.len(), 40);
    assert_eq!(field(&s, "master_replid2"), "0".repeat(40));
    assert_eq!(field(&s, "second_repl_offset"), "-1");
    let port = nobody();
    let line = format!("REPLICAOF 127.0.0.1 {port}");
    assert_eq!(c.run(&line), simple("OK"));
    assert_eq!(
        c.run(&line),
        simple("OK Already connected to specified master")
    );
    let role = c.run("ROLE");
    let role = role.items();
    assert_eq!(role[0].text(), "slave");
    assert_eq!(role[1].text(), "127.0.0.1");
    assert_eq!(role[2].int().to_string(), port);
    assert!(["connect", "connecting"].contains(&&*role[3].text()));
    assert_eq!(role[4], -1);
    let shown = format!("127.0.0.1 {port}");
    assert_eq!(c.run("CONFIG GET replicaof").texts(), ["replicaof", &shown]);
    let info = replication(&s);
    for (name, value) in [
        ("role", "slave"),
        ("master_host", "127.0.0.1"),
        ("master_port", &port),
        ("master_link_status", "down"),
        ("master_last_io_seconds_ago", "-1"),
        ("master_sync_in_progress", "0"),
        ("slave_read_repl_offset", "0"),
        ("slave_repl_offset", "0"),
        ("slave_priority", "100"),
        ("slave_read_only", "1"),
        ("replica_announced", "1"),
        ("connected_slaves", "0"),
        ("master_failover_state", "no-failover"),
        ("master_replid", &id),
        ("repl_backlog_active", "0"),
    ] {
        assert_eq!(info.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(c.run("SLAVEOF no ONE"), simple("OK"));
    assert_eq!(field(&s, "role"), "master");
    assert_eq!(field(&s, "master_replid2"), id);
    assert_ne!(field(&s, "master_replid"), id);
    assert_eq!(field(&s, "second_repl_offset"), "1");
    assert_eq!(c.run("CONFIG GET slaveof").texts(), ["slaveof", ""]);
    // There is nothing to be done the second time.
    let id = field(&s, "master_replid");
    assert_eq!(c.run("REPLICAOF NO ONE"), simple("OK"));
    assert_eq!(field(&s, "master_replid"), id);
    let log = s.log();
    for line in [
        format!("REPLICAOF 127.0.0.1:{port} enabled (user request from 'id="),
        "MASTER MODE enabled (user request from 'id=".to_owned(),
        "REPLICAOF would result into synchronization with the master we are already connected with."
            .to_owned(),
    ] {
        assert!(log.contains(&line), "{line}");
    }
}

#[test]
fn a_primary_is_named_by_an_address_and_a_port() {
    let s = Server::start();
    let mut c = s.client();
    let bad = error("ERR Invalid master port");
    for port in ["65536", "-1", "x", ""] {
        assert_eq!(c.cmd(&["REPLICAOF", "localhost", port]), bad);
    }
    assert_eq!(field(&s, "role"), "master");
}

#[test]
fn replicas_refuse_writes() {
    let s = Server::start();
    let mut c = s.client();
    c.run("SET before 1");
    c.run(&format!("REPLICAOF 127.0.0.1 {}", nobody()));
    assert_eq!(c.run("SET k v"), error(READONLY));
    assert_eq!(c.run("BLPOP k 0"), error(READONLY));
    assert_eq!(c.run("FLUSHALL"), error(READONLY));
    // Whoever only reads is served, with what there is.
    assert_eq!(c.run("GET before").text(), "1");
    assert_eq!(c.run("PFCOUNT none"), 0);
    assert_eq!(c.run("PUBLISH c m"), 0);
    // A transaction is aborted by the first of them.
    assert_eq!(c.run("MULTI"), simple("OK"));
    assert_eq!(c.run("SET k v"), error(READONLY));
    assert!(c.run("EXEC").error().starts_with("EXECABORT"));
    // And where they had been queued, by itself.
    c.run("REPLICAOF NO ONE");
    c.run("MULTI");
    c.run("SET k v");
    s.client().run(&format!("REPLICAOF 127.0.0.1 {}", nobody()));
    assert_eq!(
        c.run("EXEC"),
        error(&format!(
            "EXECABORT Transaction discarded because of: {READONLY}"
        ))
    );
    assert_eq!(c.run("EXEC"), error("ERR EXEC without MULTI"));
    assert_eq!(c.run("EXISTS k"), 0);
    // Unless they are asked not to.
    c.run("CONFIG SET replica-read-only no");
    assert_eq!(c.run("SET k v"), simple("OK"));
    assert_eq!(field(&s, "slave_read_only"), "0");
    assert_eq!(field(&s, "master_repl_offset"), "0");
}

#[test]
fn stale_data_is_not_served_where_that_is_not_wanted() {
    let s = Server::with(&["--replica-serve-stale-data", "no"]);
    let mut c = s.client();
    c.run("SET k v");
    c.run("MULTI");
    c.run("GET k");
    s.client().run(&format!("REPLICAOF 127.0.0.1 {}", nobody()));
    let down = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    assert_eq!(
        c.run("EXEC"),
        error(&format!(
            "EXECABORT Transaction discarded because of: {down}"
        ))
    );
    assert_eq!(c.run("GET k"), error(down));
    assert_eq!(c.run("DBSIZE"), error(down));
    // Writes are refused for another reason first.
    assert_eq!(c.run("SET k w"), error(READONLY));
    assert_eq!(c.run("PING"), error(down));
    for line in [
        "INFO",
        "CONFIG GET port",
        "ROLE",
        "MULTI",
        "DISCARD",
        "TIME",
    ] {
        assert!(!matches!(c.run(line), Value::Error(_)), "{line}");
    }
    assert_eq!(c.run("SUBSCRIBE c").items()[0].text(), "subscribe");
    let mut c = s.client();
    assert_eq!(c.run("CONFIG SET slave-serve-stale-data yes"), simple("OK"));
    assert_eq!(c.run("GET k").text(), "v");
}

#[test]
fn writes_may_need_replicas() {
    let s = Server::with(&["--min-replicas-to-write", "1"]);
    let mut c = s.client();
    let few = "NOREPLICAS Not enough good replicas to write.";
    assert_eq!(c.run("SET k v"), error(few));
    assert_eq!(c.run("GET k"), NULL);
    assert_eq!(c.run("PUBLISH c m"), 0);
    assert_eq!(field(&s, "min_slaves_good_slaves"), "0");
    c.run("MULTI");
    assert_eq!(c.run("SET k v"), error(few));
    c.run("DISCARD");
    c.run("CONFIG SET min-slaves-max-lag 0");
    assert_eq!(c.run("SET k v"), simple("OK"));
    assert!(!replication(&s).contains_key("min_slaves_good_slaves"));
    c.run("CONFIG SET min-replicas-max-lag 10 min-replicas-to-write 0");
    c.run("MULTI");
    c.run("SET k w");
    s.client().run("CONFIG SET min-replicas-to-write 3");
    assert_eq!(
        c.run("EXEC"),
        error(&format!(
            "EXECABORT Transaction discarded because of: {few}"
        ))
    );
    // That is for primaries to know.
    c.run(&format!("REPLICAOF 127.0.0.1 {}", nobody()));
    assert_eq!(c.run("SET k v"), error(READONLY));
}

#[test]
fn who_waits_for_keys_is_sent_away() {
    let s = Server::start();
    let mut waiters: Vec<Client> = (0..5).map(|_| s.client()).collect();
    for waiter in &mut waiters[1..] {
        send(waiter, "BLPOP q 0");
    }
    send(&mut waiters[0], "XREAD BLOCK 0 STREAMS s $");
    eventually("five blocked clients", SOON, || {
        s.info_int("blocked_clients") == 5
    });
    let mut c = s.client();
    // Nothing changes for a primary that stays one.
    c.run("REPLICAOF NO ONE");
    assert_eq!(s.info_int("blocked_clients"), 5);
    c.run(&format!("REPLICAOF 127.0.0.1 {}", nobody()));
    for mut waiter in waiters {
        assert_eq!(
            waiter.recv(),
            error(
                "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
            )
        );
        waiter.assert_closed();
    }
    assert_eq!(s.info_int("blocked_clients"), 0);
    // A replica has clients that wait, too: the primary's stream may serve them.
    let mut reader = s.client();
    send(&mut reader, "XREAD BLOCK 0 STREAMS s $");
    eventually("a blocked client", SOON, || {
        s.info_int("blocked_clients") == 1
    });
    c.run("REPLICAOF NO ONE");
    c.run("XADD s 1-1 f v");
    assert_eq!(reader.recv().items().len(), 1);
}

#[test]
fn a_transaction_may_change_the_role() {
    let s = Server::start();
    let mut c = s.client();
    let port = nobody();
    c.run("MULTI");
    c.run("SET a 1");
    c.run(&format!("SLAVEOF 127.0.0.1 {port}"));
    c.run("INFO replication");
    c.run("SET b 1");
    let all = c.run("EXEC");
    assert!(all.items()[2].text().contains("master_link_status:down"));
    // It had been let in as a whole.
    assert_eq!(all.items()[3], simple("OK"));
    assert_eq!(c.run("SET c 1"), error(READONLY));
    c.run("WATCH a");
    c.run("MULTI");
    c.run("SLAVEOF NO ONE");
    c.run("ROLE");
    assert_eq!(c.run("EXEC").items()[1].items()[0].text(), "master");
    // Watched keys have not changed by any of it.
    c.run("WATCH a");
    s.client().run(&format!("SLAVEOF 127.0.0.1 {port}"));
    c.run("MULTI");
    c.run("GET a");
    assert_eq!(c.run("EXEC").texts(), ["1"]);
}

#[test]
fn the_role_may_be_configured() {
    let port = nobody();
    let words = format!("127.0.0.1 {port}");
    for args in [
        &["--replicaof", &words][..],
        &["--slaveof", "127.0.0.1", &port],
    ] {
        let s = Server::with(args);
        let mut c = s.client();
        assert_eq!(c.run("ROLE").items()[0].text(), "slave");
        assert_eq!(c.run("CONFIG GET replicaof").texts()[1], words);
        assert_eq!(c.run("SET k v"), error(READONLY));
        assert_eq!(field(&s, "master_port"), port);
        // It has no data of which it could know.
        assert_eq!(field(&s, "slave_repl_offset"), "1");
        assert_eq!(c.run("REPLICAOF NO ONE"), simple("OK"));
        assert_eq!(c.run("SET k v"), simple("OK"));
    }
    let s = Server::with_config(&format!("replicaof localhost {port}\n"), &[]);
    assert_eq!(field(&s, "master_host"), "localhost");
    let refused = s.client().cmd(&["CONFIG", "SET", "replicaof", "no one"]);
    assert!(refused.error().contains("can't set immutable config"));
}

#[test]
fn secrets_and_options_of_the_link() {
    let s = Server::with(&["--masterauth", "secret", "--masteruser", "me"]);
    let mut c = s.client();
    assert_eq!(c.run("CONFIG GET masterauth").texts()[1], "secret");
    assert_eq!(c.run("CONFIG GET masteruser").texts()[1], "me");
    assert_eq!(c.run("CONFIG SET masterauth other"), simple("OK"));
    assert_eq!(c.run("CONFIG SET repl-backlog-size 20kb"), simple("OK"));
    assert_eq!(field(&s, "repl_backlog_size"), "20480");
    assert!(!s.log().contains("what they control does not exist yet"));
}

#[test]
fn failover_needs_a_replica() {
    let s = Server::start();
    let mut c = s.client();
    let none = error("ERR FAILOVER requires connected replicas.");
    for line in [
        "FAILOVER",
        "FAILOVER TO localhost 1",
        "FAILOVER TIMEOUT 10 TO localhost 1 FORCE",
        "FAILOVER FORCE",
        "failover to a 99999999",
    ] {
        assert_eq!(c.run(line), none, "{line}");
    }
    let syntax = error("ERR syntax error");
    for line in [
        "FAILOVER x",
        "FAILOVER TO a",
        "FAILOVER ABORT ABORT",
        "FAILOVER TIMEOUT",
        "FAILOVER TIMEOUT 1 TIMEOUT 2",
        "FAILOVER FORCE FORCE",
        "FAILOVER TO a 1 TO a 1",
    ] {
        assert_eq!(c.run(line), syntax, "{line}");
    }
    let number = error("ERR value is not an integer or out of range");
    assert_eq!(c.run("FAILOVER TO a b"), number);
    assert_eq!(c.run("FAILOVER TIMEOUT a"), number);
    assert_eq!(
        c.run("FAILOVER TIMEOUT 0"),
        error("ERR FAILOVER timeout must be greater than 0")
    );
    assert_eq!(
        c.run("FAILOVER ABORT"),
        error("ERR No failover in progress.")
    );
    c.run(&format!("REPLICAOF 127.0.0.1 {}", nobody()));
    assert_eq!(
        c.run("FAILOVER"),
        error("ERR FAILOVER is not valid when server is a replica.")
    );
}

#[test]
fn a_history_survives_a_restart() {
    let mut s = Server::start();
    let mut c = s.client();
    keep_a_stream(&s);
    for n in 0..100 {
        c.run(&format!("SET key:{n} {n}"));
    }
    let (id, offset) = (field(&s, "master_replid"), field(&s, "master_repl_offset"));
    assert!(offset.parse::<u64>().is_ok_and(|offset| offset > 1000));
    assert_eq!(c.run("SAVE"), simple("OK"));
    s.restart();
    // What comes next is another history, which goes on from there.
    assert_ne!(field(&s, "master_replid"), id);
    assert_eq!(field(&s, "master_replid2"), id);
    assert_eq!(field(&s, "master_repl_offset"), offset);
    let second: u64 = offset.parse::<u64>().unwrap_or(0) + 1;
    assert_eq!(field(&s, "second_repl_offset"), second.to_string());
    assert_eq!(field(&s, "repl_backlog_active"), "1");
    assert_eq!(
        field(&s, "repl_backlog_first_byte_offset"),
        second.to_string()
    );
    assert_eq!(field(&s, "repl_backlog_histlen"), "0");
    // A replica goes on with the same one.
    let id = field(&s, "master_replid");
    assert_eq!(s.client().run("SAVE"), simple("OK"));
    s.add_arguments(&["--replicaof", &format!("127.0.0.1 {}", nobody())]);
    s.restart();
    assert_eq!(field(&s, "master_replid"), id);
    assert_eq!(field(&s, "slave_repl_offset"), offset);
    assert_eq!(s.client().run("DBSIZE"), 100);
    // Keys that expired meanwhile are for the primary to remove.
    assert_eq!(s.info_int("rdb_last_load_keys_expired"), 0);
}

#[test]
fn what_expired_meanwhile_is_part_of_the_history() {
    let mut s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    keep_a_stream(&s);
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    for n in 0..50 {
        c.run(&format!("SET key:{n} {n} PX 1"));
    }
    c.run("SET last 1");
    eventually("the keys have expired", SOON, || {
        s.client().run("GET key:49").is_null()
    });
    assert_eq!(c.run("SAVE"), simple("OK"));
    let offset = s.info_int("master_repl_offset");
    s.restart();
    let expired = s.info_int("rdb_last_load_keys_expired");
    assert!(expired >= 40, "{expired}");
    let grown = s.info_int("repl_backlog_histlen");
    assert!(grown > expired * 20);
    assert_eq!(s.info_int("master_repl_offset"), offset + grown);
    assert_eq!(s.client().run("DBSIZE"), 1);
}

#[test]
fn debug_changes_the_history() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    keep_a_stream(&s);
    let id = field(&s, "master_replid");
    assert_eq!(c.run("DEBUG CHANGE-REPL-ID"), simple("OK"));
    assert_ne!(field(&s, "master_replid"), id);
    assert_eq!(field(&s, "master_replid2"), "0".repeat(40));
    assert_eq!(field(&s, "second_repl_offset"), "-1");
    let before = s.info_int("master_repl_offset");
    assert_eq!(c.run("DEBUG REPLICATE SET a 1"), simple("OK"));
    assert_eq!(s.info_int("master_repl_offset") - before, 27);
    assert_eq!(c.run("EXISTS a"), 0);
}

#[test]
fn who_has_the_reply_to_a_pause_sees_no_write_any_more() {
    let s = Server::start();
    let writers: Vec<_> = (0..4)
        .map(|n| {
            let mut c = s.client();
            thread::spawn(move || {
                for _ in 0..20_000 {
                    if !matches!(c.run(&format!("INCR n{n}")), Value::Int(_)) {
                        return;
                    }
                }
            })
        })
        .collect();
    let mut c = s.client();
    let sum = |c: &mut Client| {
        let all = c.run("MGET n0 n1 n2 n3");
        let all = all.items().iter().filter(|n| !n.is_null());
        all.map(|n| n.text().parse::<u64>().unwrap_or(0))
            .sum::<u64>()
    };
    for _ in 0..200 {
        assert_eq!(c.run("CLIENT PAUSE 60000 WRITE"), simple("OK"));
        let before = sum(&mut c);
        for _ in 0..5 {
            assert_eq!(sum(&mut c), before);
        }
        assert_eq!(c.run("CLIENT UNPAUSE"), simple("OK"));
    }
    for writer in writers {
        writer.join().expect("a writer failed");
    }
    assert_eq!(sum(&mut c), 80_000);
}

#[test]
fn a_role_changed_under_load_lets_nothing_slip_in() {
    let s = Server::start();
    let port = {
        // Somebody who never answers.
        let silent = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        let port = silent.local_addr().expect("a bound address").port();
        std::mem::forget(silent);
        port
    };
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let mut c = s.client();
            thread::spawn(move || {
                let mut done = 0;
                for _ in 0..10_000 {
                    match c.run("INCR n") {
                        Value::Int(_) => done += 1,
                        refused => assert_eq!(refused, error(READONLY)),
                    }
                }
                done
            })
        })
        .collect();
    let mut c = s.client();
    for _ in 0..100 {
        c.run(&format!("REPLICAOF 127.0.0.1 {port}"));
        let before = c.run("GET n");
        for _ in 0..5 {
            assert_eq!(c.run("GET n"), before);
        }
        c.run("REPLICAOF NO ONE");
    }
    let done: i64 = writers
        .into_iter()
        .map(|writer| writer.join().expect("a writer failed"))
        .sum();
    assert_eq!(c.run("GET n").text(), done.to_string());
}
