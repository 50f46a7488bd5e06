//! The server as the primary of replicas that are spoken by hand.

use crate::link::{Link, RawReplica, heard, payload};
use crate::nodes::{count, field, node, offset};
use crate::support::{REPLY_TIMEOUT, encode, error, eventually, simple};

/// Lines of INFO replication about replicas.
fn replica_lines(server: &crate::support::Server) -> Vec<String> {
    let info = server.info("replication");
    let lines = info.iter().filter(|(name, _)| {
        name.strip_prefix("slave")
            .is_some_and(|rest| rest.parse::<u32>().is_ok())
    });
    lines.map(|(_, line)| line.clone()).collect()
}

#[test]
fn a_full_resync() {
    let server = node(&[]);
    assert_eq!(field(&server, "role"), "master");
    assert_eq!(field(&server, "master_repl_offset"), "0");
    assert_eq!(field(&server, "connected_slaves"), "0");
    let id = field(&server, "master_replid");
    assert!(id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(field(&server, "master_replid2"), "0".repeat(40));
    assert_eq!(field(&server, "second_repl_offset"), "-1");
    let mut client = server.client();
    client.run("SET foo bar");
    // Nobody has asked for the stream yet.
    assert_eq!(offset(&server), 0);
    let mut link = Link::connect(server.port());
    assert_eq!(link.ask("PING"), "+PONG");
    assert_eq!(link.ask("REPLCONF listening-port 6399"), "+OK");
    assert_eq!(link.ask("REPLCONF capa psync2"), "+OK");
    link.send("PSYNC ? -1");
    let line = heard(&mut link);
    let id = field(&server, "master_replid");
    assert_eq!(line, format!("+FULLRESYNC {id} 0"));
    let rdb = payload(&mut link);
    assert!(rdb.starts_with(b"REDIS00"), "{:?}", &rdb[..9]);
    assert!(rdb.windows(8).any(|part| part == b"\x03foo\x03bar"));
    let tail = &rdb[rdb.len() - 9..];
    assert_eq!(tail[0], 0xFF);
    // Nothing comes behind it until something is written.
    client.run("SET a 1");
    assert_eq!(link.command(), ["SELECT", "0"]);
    assert_eq!(link.command(), ["SET", "a", "1"]);
    let lines = replica_lines(&server);
    assert_eq!(lines.len(), 1);
    let start = "ip=127.0.0.1,port=6399,state=online,offset=";
    assert!(lines[0].starts_with(start), "{lines:?}");
    assert_eq!(field(&server, "connected_slaves"), "1");
    let role = client.run("ROLE");
    assert_eq!(role.items()[0], "master");
    assert_eq!(role.items()[1], 23 + 27);
    let replica = &role.items()[2].items()[0];
    assert_eq!(replica.texts()[..2], ["127.0.0.1", "6399"]);
    assert!(client.run("CLIENT LIST").text().contains(" flags=S "));
    let list = client.run("CLIENT LIST TYPE replica").text();
    assert_eq!(list.lines().count(), 1, "{list}");
    assert!(list.contains("cmd=psync"), "{list}");
    link.close();
    eventually("the replica is gone", REPLY_TIMEOUT, || {
        field(&server, "connected_slaves") == "0"
    });
}

/// The other forms of transfer: without a length, and by SYNC.
#[test]
fn forms_of_transfer() {
    for diskless in ["yes", "no"] {
        let server = node(&["--repl-diskless-sync", diskless]);
        server.client().run("SET foo bar");
        for lines in [
            &["REPLCONF capa psync2"][..],
            &["REPLCONF capa eof capa psync2"],
            &["REPLCONF capa eof", "REPLCONF capa something-new"],
            &[],
        ] {
            let mut link = Link::connect(server.port());
            for line in lines {
                assert_eq!(link.ask(line), "+OK");
            }
            link.send("PSYNC ? -1");
            assert!(heard(&mut link).starts_with("+FULLRESYNC "));
            let line = heard(&mut link);
            let eof = lines.iter().any(|line| line.contains("eof"));
            let marked = line.starts_with("$EOF:");
            assert_eq!(marked, eof && diskless == "yes", "{lines:?}: {line}");
            link.close();
        }
        // SYNC knows neither ids nor offsets.
        let mut link = Link::connect(server.port());
        link.send("SYNC");
        let rdb = payload(&mut link);
        assert!(rdb.windows(8).any(|part| part == b"\x03foo\x03bar"));
        server.client().run("SET a 1");
        assert_eq!(link.command(), ["SELECT", "0"]);
        assert_eq!(link.command(), ["SET", "a", "1"]);
    }
}

/// A replica that is to acknowledge before it gets the stream: the transfer has no length, and so
/// only the replica knows when it is over.
#[test]
fn the_stream_after_a_transfer_without_a_length() {
    let server = node(&["--repl-diskless-sync", "yes"]);
    let mut client = server.client();
    client.run("SET foo bar");
    let mut replica = RawReplica::with(server.port(), &["REPLCONF capa eof capa psync2"]);
    client.run("SET a 1");
    eventually("online", REPLY_TIMEOUT, || {
        replica.ack();
        replica_lines(&server)[0].contains("state=online")
    });
    assert_eq!(replica.text(), "SELECT 0");
    assert_eq!(replica.text(), "SET a 1");
}

#[test]
fn several_replicas_get_the_same_bytes() {
    let server = node(&[]);
    let mut client = server.client();
    client.run("SET before 1");
    let mut replicas: Vec<RawReplica> = (0..4).map(|_| RawReplica::sync(server.port())).collect();
    eventually("four replicas", REPLY_TIMEOUT, || {
        field(&server, "connected_slaves") == "4"
    });
    let lines = [
        "SET a 1",
        "INCR a",
        "RPUSH l x y z",
        "LPOP l",
        "DEL a",
        "HSET h f v",
    ];
    for line in lines {
        client.run(line);
    }
    let end = offset(&server) as u64;
    for replica in &mut replicas {
        assert_eq!(replica.text(), "SELECT 0");
        for line in lines {
            assert_eq!(replica.text(), line);
        }
        assert!(replica.offset >= end, "{} of {end}", replica.offset);
    }
    // Reads, and what changes nothing, do not go out.
    for line in [
        "GET a",
        "DEL none",
        "LPOP none",
        "PING",
        "ECHO x",
        "LPUSH h 1",
        "INCR h",
    ] {
        client.run(line);
    }
    client.run("SET last 1");
    for replica in &mut replicas {
        assert_eq!(replica.text(), "SET last 1");
    }
    // Their numbers are those of the stream.
    for replica in &mut replicas {
        replica.ack();
    }
    let end = offset(&server);
    eventually("all have acknowledged", REPLY_TIMEOUT, || {
        let lines = replica_lines(&server);
        lines
            .iter()
            .all(|line| line.contains(&format!("offset={end},")))
    });
}

/// One snapshot for all that come within the delay: all get the same bytes, and go on from there.
#[test]
fn replicas_that_arrive_together() {
    let server = node(&[
        "--repl-diskless-sync",
        "yes",
        "--repl-diskless-sync-delay",
        "1",
    ]);
    let mut client = server.client();
    let mut replicas = Vec::new();
    for n in 0..3 {
        client.run(&format!("SET key:{n} {n}"));
        let mut link = Link::connect(server.port());
        assert_eq!(link.ask("REPLCONF capa eof capa psync2"), "+OK");
        link.send("PSYNC ? -1");
        replicas.push(link);
    }
    let mut replicas: Vec<RawReplica> = replicas.into_iter().map(RawReplica::resynced).collect();
    for replica in &replicas {
        assert!(replica.rdb == replicas[0].rdb, "snapshots differ");
        assert_eq!(replica.offset, replicas[0].offset);
        assert!(replica.rdb.windows(5).any(|part| part == b"key:2"));
    }
    client.run("SET a 1");
    for replica in &mut replicas {
        eventually("online", REPLY_TIMEOUT, || {
            replica.ack();
            let lines = replica_lines(&server);
            lines.iter().any(|line| line.contains("state=online"))
        });
        assert_eq!(replica.text(), "SELECT 0");
    }
    assert_eq!(count(&server, "sync_full"), 3);
    // With as many as are waited for there is no delay.
    let server = node(&[
        "--repl-diskless-sync-delay",
        "60",
        "--repl-diskless-sync-max-replicas",
        "2",
    ]);
    let mut links = [0, 1].map(|_| Link::connect(server.port()));
    for link in &mut links {
        assert_eq!(link.ask("REPLCONF capa eof capa psync2"), "+OK");
        link.send("PSYNC ? -1");
    }
    for link in links {
        RawReplica::resynced(link);
    }
}

#[test]
fn going_on() {
    let server = node(&["--repl-backlog-size", "16kb"]);
    let mut client = server.client();
    let mut replica = RawReplica::sync(server.port());
    client.run("SET a 1");
    assert_eq!(replica.text(), "SELECT 0");
    assert_eq!(replica.text(), "SET a 1");
    replica.link.close();
    client.run("SET b 2");
    client.run("SET c 3");
    let full = count(&server, "sync_full");
    let mut again = RawReplica::partial(server.port(), &replica.id, replica.offset);
    assert_eq!(again.id, replica.id, "told to a replica that knows psync2");
    assert_eq!(again.text(), "SET b 2");
    assert_eq!(again.text(), "SET c 3");
    assert_eq!(count(&server, "sync_partial_ok"), 1);
    // From the first byte on.
    let mut first = RawReplica::partial(server.port(), &replica.id, 0);
    assert_eq!(first.text(), "SELECT 0");
    assert_eq!(first.text(), "SET a 1");
    // From the very end.
    let end = offset(&server) as u64;
    let mut last = RawReplica::partial(server.port(), &replica.id, end);
    client.run("SET d 4");
    assert_eq!(last.text(), "SET d 4");
    assert_eq!(count(&server, "sync_full"), full);
    // One that does not know psync2 is not told the id.
    let mut link = Link::connect(server.port());
    let line = link.ask(&format!("PSYNC {} {}", replica.id, end + 1));
    assert_eq!(line, "+CONTINUE");
    assert_eq!(link.command(), ["SET", "d", "4"]);
    let refused = count(&server, "sync_partial_err");
    // Another id, beyond the end, and what the backlog has lost.
    let id = &replica.id;
    let end = offset(&server);
    for request in [
        format!("PSYNC {} {}", "0".repeat(40), end + 1),
        format!("PSYNC {id} {}", end + 2),
        format!("PSYNC {id} 0"),
    ] {
        let mut link = Link::connect(server.port());
        link.send("REPLCONF capa psync2");
        link.line();
        link.send(&request);
        let line = heard(&mut link);
        assert!(line.starts_with("+FULLRESYNC"), "{request}: {line}");
    }
    assert_eq!(count(&server, "sync_partial_err"), refused + 3);
    let value = "x".repeat(1000);
    for _ in 0..40 {
        client.cmd(&["SET", "big", &value]);
    }
    // It may take the server a moment to let go of it.
    eventually("the backlog has lost it", REPLY_TIMEOUT, || {
        let mut link = Link::connect(server.port());
        link.send(&format!("PSYNC {id} {end}"));
        heard(&mut link).starts_with("+FULLRESYNC")
    });
    let info = server.info("replication");
    assert_eq!(info["repl_backlog_active"], "1");
    assert_eq!(info["repl_backlog_size"], "16384");
    let (first, length): (i64, i64) = (
        info["repl_backlog_first_byte_offset"]
            .parse()
            .expect("a number"),
        info["repl_backlog_histlen"].parse().expect("a number"),
    );
    assert_eq!(first + length - 1, offset(&server));
    assert!(length >= 16384, "{length}");
}

#[test]
fn replconf_refuses() {
    let server = node(&[]);
    let integer = error("ERR value is not an integer or out of range");
    for (line, reply) in [
        ("REPLCONF listening-port abc", integer.clone()),
        ("REPLCONF listening-port 99", simple("OK")),
        ("REPLCONF capa anything", simple("OK")),
        ("REPLCONF ip-address 1.2.3.4", simple("OK")),
        ("REPLCONF capa", error("ERR syntax error")),
        ("REPLCONF a b c", error("ERR syntax error")),
        ("REPLCONF rdb-only x", integer.clone()),
        ("REPLCONF rdb-only 0", simple("OK")),
        (
            "REPLCONF nonsense 1",
            error("ERR Unrecognized REPLCONF option: nonsense"),
        ),
        (
            "REPLCONF rdb-filter-only all",
            error("ERR Unsupported rdb-filter-only option: all"),
        ),
        ("REPLCONF rdb-filter-only functions", simple("OK")),
    ] {
        assert_eq!(server.client().run(line), reply, "{line}");
    }
    // Neither is answered to anybody.
    let mut client = server.client();
    client.send(&["REPLCONF", "ACK", "1"]);
    client.send(&["REPLCONF", "GETACK", "*"]);
    assert_eq!(client.run("PING"), simple("PONG"));
    let arity = error("ERR wrong number of arguments for 'psync' command");
    assert_eq!(client.run("PSYNC x"), arity);
    assert_eq!(client.run("PSYNC ? abc"), integer);
}

/// A replica is not a client like others.
#[test]
fn a_replica_may_not_use_the_key_space() {
    let server = node(&[]);
    let mut client = server.client();
    let mut replica = RawReplica::sync(server.port());
    eventually("online", REPLY_TIMEOUT, || {
        replica_lines(&server)
            .iter()
            .any(|line| line.contains("state=online"))
    });
    replica.link.send("SET from-replica 1");
    replica.link.await_close();
    assert_eq!(client.run("EXISTS from-replica"), 0);
    // One that is killed is gone.
    let mut replica = RawReplica::sync(server.port());
    assert_eq!(client.run("CLIENT KILL TYPE replica"), 1);
    replica.link.await_close();
    eventually("none is left", REPLY_TIMEOUT, || {
        field(&server, "connected_slaves") == "0"
    });
}

/// PING every period, also when nobody writes.
#[test]
fn pings() {
    let server = node(&["--repl-ping-replica-period", "1"]);
    let mut replica = RawReplica::sync(server.port());
    let first = loop {
        let words = replica.any();
        if words[0].eq_ignore_ascii_case("PING") {
            break replica.offset;
        }
    };
    assert_eq!(replica.any().len(), 1);
    assert_eq!(replica.offset, first + 14);
    eventually("they count", REPLY_TIMEOUT, || {
        offset(&server) >= first as i64 + 14
    });
}

/// A replica that acknowledges nothing any more is dropped.
#[test]
fn a_silent_replica() {
    let server = node(&["--repl-timeout", "2", "--repl-ping-replica-period", "1"]);
    let mut replica = RawReplica::sync(server.port());
    assert_eq!(field(&server, "connected_slaves"), "1");
    while replica.link.try_command().is_some() {}
    eventually("it is gone", REPLY_TIMEOUT, || {
        field(&server, "connected_slaves") == "0"
    });
}

/// The backlog goes when nobody has been there for its time to live, and the id with it.
#[test]
fn the_end_of_the_backlog() {
    let server = node(&["--repl-backlog-ttl", "1"]);
    let replica = RawReplica::sync(server.port());
    server.client().run("SET a 1");
    let id = field(&server, "master_replid");
    drop(replica);
    eventually("the backlog is given up", REPLY_TIMEOUT, || {
        field(&server, "repl_backlog_active") == "0"
    });
    assert_ne!(field(&server, "master_replid"), id);
    assert_eq!(field(&server, "master_replid2"), "0".repeat(40));
}

/// What a replica asks for with a capability that only real ones have: the snapshot alone.
#[test]
fn the_snapshot_alone() {
    let server = node(&[]);
    let mut client = server.client();
    client.run("SET foo bar");
    let mut link = Link::connect(server.port());
    assert_eq!(link.ask("REPLCONF rdb-only 1"), "+OK");
    link.write(&encode(&["SYNC"]));
    let rdb = payload(&mut link);
    assert!(rdb.windows(8).any(|part| part == b"\x03foo\x03bar"));
    client.run("SET a 1");
    link.close();
    // Functions are all that is asked for, and there are none.
    let mut link = Link::connect(server.port());
    assert_eq!(link.ask("REPLCONF rdb-filter-only functions"), "+OK");
    let refused = link.ask("SYNC");
    assert_eq!(refused, "-ERR Filtered replica requires EOF capability");
    assert_eq!(link.ask("REPLCONF capa eof"), "+OK");
    link.send("SYNC");
    let rdb = payload(&mut link);
    assert!(!rdb.windows(8).any(|part| part == b"\x03foo\x03bar"));
}
