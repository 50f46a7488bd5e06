//! WAIT, WAITAOF, and writes that need replicas.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::array;
use crate::link::RawReplica;
use crate::nodes::{field, node, replica_of};
use crate::support::{
    Client, REPLY_TIMEOUT, Server, Value, encode, error, eventually, oracle, simple,
};

const NOREPLICAS: &str = "NOREPLICAS Not enough good replicas to write.";

/// How long a command takes.
#[track_caller]
fn timed(client: &mut Client, line: &str) -> (i64, Duration) {
    let start = Instant::now();
    let reply = client.run(line).int();
    (reply, start.elapsed())
}

#[track_caller]
fn await_replicas(server: &Server, count: usize) {
    eventually("all replicas are online", REPLY_TIMEOUT, || {
        let info = server.info("replication");
        let lines = info.values();
        lines.filter(|line| line.contains("state=online")).count() == count
    });
}

#[test]
fn without_replicas() {
    let server = node(&[]);
    let mut client = server.client();
    assert_eq!(client.run("WAIT 0 0"), 0);
    assert_eq!(client.run("WAIT 0 60000"), 0);
    let (count, time) = timed(&mut client, "WAIT 1 100");
    assert_eq!(count, 0);
    assert!(time >= Duration::from_millis(90), "{time:?}");
    client.run("SET a 1");
    let (count, time) = timed(&mut client, "WAIT 3 100");
    assert_eq!(count, 0);
    assert!(time >= Duration::from_millis(90), "{time:?}");
    // A client that waits for ever is let go when its connection ends.
    client.send(&["WAIT", "1", "0"]);
    let mut other = server.client();
    eventually("it waits", REPLY_TIMEOUT, || {
        server.info("clients")["blocked_clients"] == "1"
    });
    drop(client);
    eventually("it is gone", REPLY_TIMEOUT, || {
        server.info("clients")["blocked_clients"] == "0"
    });
    let integer = error("ERR value is not an integer or out of range");
    assert_eq!(other.run("WAIT a 0"), integer);
    let timeout = error("ERR timeout is not an integer or out of range");
    assert_eq!(other.run("WAIT 0 a"), timeout);
    assert_eq!(other.run("WAIT 0 -1"), error("ERR timeout is negative"));
}

/// Without a write of its own a client has nothing to wait for.
#[test]
fn without_writes() {
    let server = node(&[]);
    let replicas: Vec<RawReplica> = (0..3).map(|_| RawReplica::sync(server.port())).collect();
    await_replicas(&server, 3);
    let mut client = server.client();
    for line in ["WAIT 1 5000", "WAIT 3 5000", "WAIT 3 0", "WAIT 0 0"] {
        assert_eq!(client.run(line), 3, "{line}");
    }
    let (count, time) = timed(&mut client, "WAIT 7 200");
    assert_eq!(count, 3);
    assert!(time >= Duration::from_millis(190), "{time:?}");
    drop(replicas);
}

/// Some acknowledge, some do not.
#[test]
fn some_acknowledge() {
    let server = node(&[]);
    let mut replicas: Vec<RawReplica> = (0..4).map(|_| RawReplica::sync(server.port())).collect();
    await_replicas(&server, 4);
    let mut client = server.client();
    client.run("SET a 1");
    client.send(&["WAIT", "2", "60000"]);
    for replica in &mut replicas {
        assert_eq!(replica.text(), "SELECT 0");
        assert_eq!(replica.text(), "SET a 1");
        let before = replica.offset;
        // They are asked, which is part of the stream.
        assert_eq!(replica.text(), "REPLCONF GETACK *");
        // The offset that counts is the one before the question.
        replica.offset = before;
    }
    replicas[1].ack();
    replicas[3].ack();
    assert_eq!(client.recv(), 2);
    for replica in &mut replicas {
        replica.offset += 37;
    }
    // More than acknowledge: as many as did when time is over.
    client.run("SET a 2");
    client.send(&["WAIT", "4", "400"]);
    for replica in &mut replicas[..3] {
        assert_eq!(replica.text(), "SET a 2");
        assert_eq!(replica.text(), "REPLCONF GETACK *");
        replica.ack();
    }
    assert_eq!(client.recv(), 3);
    // A write that failed, or changed nothing, is none.
    client.run("GET a");
    client.run("DEL none");
    assert_eq!(client.run("WAIT 3 60000"), 3);
    // Another client's writes are not waited for.
    server.client().run("SET a 3");
    assert_eq!(client.run("WAIT 3 60000"), 3);
    // One that acknowledges too little does not count.
    client.run("SET b 1");
    replicas[0].ack();
    let (count, _) = timed(&mut client, "WAIT 1 100");
    assert_eq!(count, 0);
}

/// Several wait for different offsets and counts.
#[test]
fn many_wait() {
    let server = node(&[]);
    let mut replicas: Vec<RawReplica> = (0..3).map(|_| RawReplica::sync(server.port())).collect();
    await_replicas(&server, 3);
    let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.run(&format!("SET key:{n} 1"));
        client.send(&["WAIT", &(n % 3 + 1).to_string(), "0"]);
    }
    eventually("all wait", REPLY_TIMEOUT, || {
        server.info("clients")["blocked_clients"] == "6"
    });
    for (number, replica) in replicas.iter_mut().enumerate() {
        while replica.text() != "SET key:5 1" {}
        replica.ack();
        for (n, client) in clients.iter_mut().enumerate() {
            if n % 3 == number {
                assert!(client.recv().int() > n as i64 % 3);
            }
        }
    }
}

#[test]
fn in_a_transaction_nothing_waits() {
    let server = node(&[]);
    let mut client = server.client();
    client.run("MULTI");
    client.run("SET a 1");
    client.run("WAIT 1 0");
    assert_eq!(client.run("EXEC"), array![simple("OK"), 0]);
}

#[test]
fn real_replicas() {
    let server = node(&[]);
    let first = replica_of(&server, &[]);
    let second = replica_of(&server, &[]);
    let mut client = server.client();
    for n in 0..200 {
        client.run(&format!("SET key {n}"));
        assert_eq!(client.run("WAIT 2 0"), 2);
        for replica in [&first, &second] {
            if n % 20 == 0 {
                assert_eq!(replica.client().run("GET key"), n.to_string());
            }
        }
    }
    let text = "ERR WAIT cannot be used with replica instances. Please also note that since Redis \
                4.0 if a replica is configured to be writable (which is not the default) writes to \
                replicas are just local and are not propagated.";
    assert_eq!(first.client().run("WAIT 0 0"), error(text));
    // A server that becomes a replica lets nobody wait.
    client.run("SET a 1");
    client.send(&["WAIT", "9", "0"]);
    eventually("it waits", REPLY_TIMEOUT, || {
        server.info("clients")["blocked_clients"] == "1"
    });
    crate::nodes::promote(&first);
    crate::nodes::follow(&server, first.port());
    let unblocked = "UNBLOCKED force unblock from blocking operation, instance state changed \
                     (master -> replica?)";
    assert_eq!(client.recv(), error(unblocked));
}

/// What a client has been told before it waits may be sent a moment later, together with what it
/// waits for; but no later, however long it waits, and whatever others do meanwhile.
#[test]
fn earlier_replies_do_not_wait_for_replicas() {
    let server = node(&[]);
    let over = AtomicBool::new(false);
    let mut replies = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut busy = server.client();
                let start = Instant::now();
                while !over.load(Ordering::Relaxed) && start.elapsed() < 4 * REPLY_TIMEOUT {
                    busy.run("PING");
                }
            });
        }
        for round in 0..20 {
            let mut client = server.client();
            // So that it is served by the thread that serves the busy ones.
            for _ in 0..round * 5 {
                client.run("PING");
            }
            let mut both = encode(&["SET", "a", "1"]);
            both.extend(encode(&["WAIT", "1", "600000"]));
            client.write(&both);
            replies.push(client.try_recv());
        }
        over.store(true, Ordering::Relaxed);
    });
    let ok = |reply: &Option<Value>| *reply == Some(simple("OK"));
    assert!(replies.iter().all(ok), "{replies:?}");
}

/// WAITAOF counts files that are synced: our own, and those of replicas.
#[test]
fn waiting_for_files() {
    if oracle() {
        return;
    }
    let log = ["--appendonly", "yes", "--appendfsync", "everysec"];
    let server = node(&log);
    let mut client = server.client();
    client.run("SET a 1");
    assert_eq!(client.run("WAITAOF 1 0 0"), array![1, 0]);
    let with = replica_of(&server, &log);
    let without = replica_of(&server, &[]);
    client.run("SET a 2");
    assert_eq!(client.run("WAITAOF 1 1 0"), array![1, 1]);
    client.run("SET a 3");
    let reply = client.run("WAITAOF 0 2 1500");
    assert_eq!(reply.items()[1], 1, "{reply:?}");
    assert_eq!(with.client().run("GET a"), "3");
    assert_eq!(without.client().run("GET a"), "3");
    let plain = node(&[]);
    let text = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";
    assert_eq!(plain.client().run("WAITAOF 1 0 0"), error(text));
    let text = "ERR WAITAOF cannot be used with replica instances. Please also note that writes to \
                replicas are just local and are not propagated.";
    assert_eq!(with.client().run("WAITAOF 1 0 0"), error(text));
}

#[test]
fn writes_that_need_replicas() {
    let server = node(&[
        "--min-replicas-to-write",
        "1",
        "--min-replicas-max-lag",
        "2",
    ]);
    let mut client = server.client();
    assert_eq!(client.run("SET a 1"), error(NOREPLICAS));
    assert_eq!(client.run("GET a"), crate::support::NULL);
    client.run("MULTI");
    assert_eq!(client.run("SET a 1"), error(NOREPLICAS));
    assert!(client.run("EXEC").error().starts_with("EXECABORT"));
    let mut replica = replica_of(&server, &[]);
    eventually("there is a good replica", REPLY_TIMEOUT, || {
        field(&server, "min_slaves_good_slaves") == "1"
    });
    assert_eq!(client.run("SET a 1"), simple("OK"));
    eventually("it arrives", REPLY_TIMEOUT, || {
        replica.client().run("GET a") == "1"
    });
    replica.kill9();
    eventually("there is none any more", REPLY_TIMEOUT, || {
        field(&server, "min_slaves_good_slaves") == "0"
    });
    assert_eq!(client.run("SET a 2"), error(NOREPLICAS));
    assert_eq!(client.run("GET a"), "1");
    // One that is there but does not acknowledge is none after some time.
    replica.restart();
    crate::nodes::attach(&replica, &server);
    eventually("there is a good replica", REPLY_TIMEOUT, || {
        client.run("SET a 3") == simple("OK")
    });
    crate::support::signal(replica.pid(), "STOP");
    eventually("it lags", REPLY_TIMEOUT, || {
        client.run("SET a 4") == error(NOREPLICAS)
    });
    crate::support::signal(replica.pid(), "CONT");
    eventually("it is back", REPLY_TIMEOUT, || {
        client.run("SET a 5") == simple("OK")
    });
    client.run("CONFIG SET min-replicas-to-write 0");
    replica.kill9();
    assert_eq!(client.run("SET a 6"), simple("OK"));
}
