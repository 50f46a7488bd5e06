//! FAILOVER: an orderly change of roles without a lost write.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::nodes::{
    assert_equal, await_link, await_offsets, count, field, node, offset, replica_of,
};
use crate::support::{REPLY_TIMEOUT, Server, Value, error, eventually, signal, simple};

fn state(server: &Server) -> String {
    field(server, "master_failover_state")
}

#[track_caller]
fn await_role(server: &Server, role: &str) {
    eventually(&format!("it is a {role}"), REPLY_TIMEOUT, || {
        field(server, "role") == role
    });
}

#[test]
fn refusals() {
    let server = node(&[]);
    let mut client = server.client();
    assert_eq!(state(&server), "no-failover");
    let replicas = "ERR FAILOVER requires connected replicas.";
    assert_eq!(client.run("FAILOVER"), error(replicas));
    assert_eq!(
        client.run("FAILOVER ABORT"),
        error("ERR No failover in progress.")
    );
    let replica = replica_of(&server, &[]);
    for (line, text) in [
        ("FAILOVER TO 127.0.0.1", "ERR syntax error"),
        ("FAILOVER NONSENSE", "ERR syntax error"),
        (
            "FAILOVER TIMEOUT x",
            "ERR value is not an integer or out of range",
        ),
        (
            "FAILOVER TIMEOUT 0",
            "ERR FAILOVER timeout must be greater than 0",
        ),
        (
            "FAILOVER FORCE",
            "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
        ),
        (
            "FAILOVER TIMEOUT 100 FORCE",
            "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
        ),
        (
            "FAILOVER TO 127.0.0.1 1",
            "ERR FAILOVER target HOST and PORT is not a replica.",
        ),
    ] {
        assert_eq!(client.run(line), error(text), "{line}");
    }
    assert_eq!(state(&server), "no-failover");
    let text = "ERR FAILOVER is not valid when server is a replica.";
    assert_eq!(replica.client().run("FAILOVER"), error(text));
}

#[test]
fn roles_change_places() {
    let one = node(&[]);
    let two = replica_of(&one, &[]);
    let three = replica_of(&one, &[]);
    let mut client = one.client();
    client.run("SET a 1");
    await_offsets(&[&one, &two, &three]);
    let to = format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 10000", two.port());
    assert_eq!(client.run(&to), simple("OK"));
    await_role(&one, "slave");
    await_role(&two, "master");
    await_link(&one);
    assert_eq!(state(&one), "no-failover");
    // The third hangs below the first, or is told.
    crate::nodes::follow(&three, two.port());
    await_link(&three);
    two.client().run("SET a 2");
    assert_equal(&[&two, &one, &three], "after a failover");
    assert_eq!(count(&two, "sync_full"), 0);
    // And back, to whichever is ready.
    assert_eq!(two.client().run("FAILOVER"), simple("OK"));
    await_role(&two, "slave");
    eventually("one of the others is primary", REPLY_TIMEOUT, || {
        field(&one, "role") == "master" || field(&three, "role") == "master"
    });
    await_link(&two);
}

/// Clients that write all the time lose nothing: they wait, and are told who is the primary.
#[test]
fn under_load() {
    let one = node(&[]);
    let two = replica_of(&one, &[]);
    let (written, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (nodes, written, over) = ([&one, &two], &written, &over);
            scope.spawn(move || {
                let mut clients = nodes.map(Server::client);
                let (mut at, mut n) = (0, 0);
                while !over.load(Relaxed) || n == 0 {
                    let key = format!("writer:{writer}:{n}");
                    match clients[at].cmd(&["SET", &key, "1"]) {
                        Value::Simple(_) => {
                            n += 1;
                            written.fetch_add(1, Relaxed);
                        }
                        Value::Error(text) if text.starts_with("READONLY") => at = 1 - at,
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        let mut primary = &one;
        for round in 0..6 {
            let before = written.load(Relaxed);
            eventually("they write", REPLY_TIMEOUT, || {
                written.load(Relaxed) > before + 200
            });
            let other = if round % 2 == 0 { &two } else { &one };
            assert_eq!(primary.client().run("FAILOVER"), simple("OK"));
            await_role(other, "master");
            await_role(primary, "slave");
            await_link(primary);
            primary = other;
        }
        over.store(true, Relaxed);
    });
    assert_equal(&[&one, &two], "after failovers");
    let keys = one.client().run("DBSIZE").int() as u64;
    assert_eq!(keys, written.load(Relaxed));
    assert_eq!(count(&two, "sync_full") + count(&one, "sync_full"), 1);
}

/// A replica that does not catch up: the failover waits, clients with it, until it is over or ended.
#[test]
fn a_replica_that_lags() {
    let server = node(&[]);
    let replica = replica_of(&server, &[]);
    let mut client = server.client();
    client.run("SET a 1");
    await_offsets(&[&server, &replica]);
    signal(replica.pid(), "STOP");
    client.run("SET a 2");
    assert_eq!(client.run("FAILOVER"), simple("OK"));
    assert_eq!(state(&server), "waiting-for-sync");
    let already = error("ERR FAILOVER already in progress.");
    assert_eq!(client.run("FAILOVER"), already);
    let text = "ERR REPLICAOF not allowed while failing over.";
    assert_eq!(client.run("REPLICAOF NO ONE"), error(text));
    // Writes wait, reads do not.
    let mut writer = server.client();
    writer.send(&["SET", "a", "3"]);
    eventually("it waits", REPLY_TIMEOUT, || {
        server.info("clients")["blocked_clients"] == "1"
    });
    assert_eq!(client.run("GET a"), "2");
    assert_eq!(client.run("FAILOVER ABORT"), simple("OK"));
    assert_eq!(writer.recv(), simple("OK"));
    assert_eq!(state(&server), "no-failover");
    // A time limit has the same end.
    assert_eq!(client.run("FAILOVER TIMEOUT 200"), simple("OK"));
    eventually("time is over", REPLY_TIMEOUT, || {
        state(&server) == "no-failover"
    });
    assert_eq!(field(&server, "role"), "master");
    assert_eq!(client.run("SET a 4"), simple("OK"));
    signal(replica.pid(), "CONT");
    assert_equal(&[&server, &replica], "nothing happened");
}

/// With FORCE the failover goes on when time is over. What has arrived at the replica by then is not
/// lost, though it has not read it when it is asked to take over.
#[test]
fn by_force() {
    let server = node(&[]);
    let replica = replica_of(&server, &[]);
    let mut client = server.client();
    client.run("SET a 1");
    await_offsets(&[&server, &replica]);
    let before = offset(&replica);
    signal(replica.pid(), "STOP");
    client.run("SET a 2");
    let line = format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 300 FORCE", replica.port());
    assert_eq!(client.run(&line), simple("OK"));
    eventually("it goes on", REPLY_TIMEOUT, || {
        state(&server) == "failover-in-progress"
    });
    signal(replica.pid(), "CONT");
    await_role(&replica, "master");
    await_role(&server, "slave");
    await_link(&server);
    assert!(offset(&replica) > before);
    assert_eq!(replica.client().run("GET a"), Value::from("2"));
    assert_equal(&[&replica, &server], "by force");
    // The one that was the primary has nothing that the other one has not.
    assert_eq!(replica.info_int("sync_full"), 0);
    assert_eq!(replica.info_int("sync_partial_ok"), 1);
}

/// The same where the link has much to do when the replica is asked to take over: what has arrived
/// comes first.
#[test]
fn by_force_while_the_link_is_at_work() {
    let server = node(&[]);
    let replica = replica_of(&server, &[]);
    let mut client = server.client();
    for key in ["a", "b"] {
        let members: Vec<String> = (0..20_000).map(|n| format!("{key}{n}")).collect();
        let members = members.iter().map(String::as_str);
        let words: Vec<&str> = ["SADD", key].into_iter().chain(members).collect();
        client.cmd(&words);
    }
    await_offsets(&[&server, &replica]);
    signal(replica.pid(), "STOP");
    for number in 0..100 {
        assert_eq!(client.run("SUNIONSTORE all a b"), 40_000);
        client.run(&format!("SET last {number}"));
    }
    let line = format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 100 FORCE", replica.port());
    assert_eq!(client.run(&line), simple("OK"));
    eventually("it goes on", REPLY_TIMEOUT, || {
        state(&server) == "failover-in-progress"
    });
    signal(replica.pid(), "CONT");
    await_role(&replica, "master");
    await_role(&server, "slave");
    await_link(&server);
    assert_eq!(replica.client().run("GET last"), Value::from("99"));
    assert_equal(&[&replica, &server], "by force");
    assert_eq!(replica.info_int("sync_full"), 0);
}
