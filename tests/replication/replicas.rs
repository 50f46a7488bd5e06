//! What the clients of a replica see, and what else a replica does beside replicating.

use crate::array;
use crate::link::{EMPTY_RDB, FakePrimary, rdb_with};
use crate::nodes::{
    OPTIONS, assert_equal, await_link, await_link_down, await_offsets, count, difference, digest,
    field, follow, node, offset, promote, replica_of,
};
use crate::support::{NULL, REPLY_TIMEOUT, Server, error, eventually, free_port, oracle, simple};

const READONLY: &str = "READONLY You can't write against a read only replica.";
const MASTERDOWN: &str =
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";

#[test]
fn read_only() {
    let server = node(&[]);
    let replica = replica_of(&server, &[]);
    server.client().run("SET a 1");
    await_offsets(&[&server, &replica]);
    let mut client = replica.client();
    for line in [
        "SET a 2",
        "DEL a",
        "DEL none",
        "LPUSH a x",
        "FLUSHALL",
        "EXPIRE a 1",
        "BLPOP l 0",
        "SWAPDB 0 1",
        "XADD s * a b",
        "SORT a STORE b",
        "GETEX a PERSIST",
    ] {
        assert_eq!(client.run(line), error(READONLY), "{line}");
    }
    // What is wrong in itself is told first.
    assert!(client.run("SET a").error().starts_with("ERR wrong number"));
    assert_eq!(client.run("MULTI"), simple("OK"));
    assert_eq!(client.run("SET a 2"), error(READONLY));
    let aborted = "EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(client.run("EXEC"), error(aborted));
    for line in [
        "GET a",
        "EXISTS a",
        "PING",
        "INFO",
        "WATCH a",
        "PUBLISH c m",
        "OBJECT FREQ a",
    ] {
        let reply = client.run(line);
        assert_ne!(reply, error(READONLY), "{line}");
    }
    assert_eq!(client.run("GET a"), "1");
    promote(&replica);
    assert_eq!(client.run("SET a 2"), simple("OK"));
}

/// A transaction that was begun before the role changed.
#[test]
fn a_transaction_across_a_change_of_roles() {
    let server = node(&[]);
    let other = node(&[]);
    let mut client = other.client();
    client.run("SET a 1");
    client.run("MULTI");
    client.run("SET a 2");
    let mut reader = other.client();
    reader.run("MULTI");
    reader.run("GET a");
    crate::nodes::attach(&other, &server);
    assert_eq!(reader.run("EXEC"), array![NULL]);
    let aborted = format!("EXECABORT Transaction discarded because of: {READONLY}");
    assert_eq!(client.run("EXEC"), error(&aborted));
}

/// Writes to a replica that allows them stay there, and go with the next snapshot.
#[test]
fn writable() {
    let server = node(&[]);
    let replica = replica_of(&server, &["--replica-read-only", "no"]);
    let below = replica_of(&replica, &[]);
    let mut client = replica.client();
    let before = offset(&replica);
    assert_eq!(client.run("SET own 1"), simple("OK"));
    assert_eq!(client.run("SET volatile 1 PX 50"), simple("OK"));
    server.client().run("SET a 1");
    await_offsets(&[&server, &replica, &below]);
    assert!(offset(&replica) > before);
    assert_eq!(client.run("MGET a own"), array!["1", "1"]);
    assert_eq!(below.client().run("MGET a own"), array!["1", NULL]);
    // Its own keys, which no primary deletes, still expire.
    eventually("it expires", REPLY_TIMEOUT, || client.run("DBSIZE") == 2);
    client.run("CONFIG SET replica-read-only yes");
    assert_eq!(client.run("SET own 2"), error(READONLY));
}

#[test]
fn stale_data() {
    let mut server = node(&[]);
    let replica = replica_of(&server, &["--replica-serve-stale-data", "no"]);
    server.client().run("SET a 1");
    await_offsets(&[&server, &replica]);
    let mut client = replica.client();
    assert_eq!(client.run("GET a"), "1");
    server.kill9();
    await_link_down(&replica);
    for line in ["GET a", "SET a 2", "EXISTS a", "DBSIZE", "KEYS *"] {
        let reply = client.run(line);
        let expected = match line {
            "SET a 2" => error(READONLY),
            _ => error(MASTERDOWN),
        };
        assert_eq!(reply, expected, "{line}");
    }
    for line in [
        "CONFIG GET save",
        "ROLE",
        "SELECT 0",
        "REPLCONF capa x",
        "SUBSCRIBE c",
    ] {
        let reply = client.run(line);
        assert_ne!(reply, error(MASTERDOWN), "{line}");
    }
    let mut client = replica.client();
    assert_eq!(client.run("MULTI"), simple("OK"));
    assert_eq!(client.run("GET a"), error(MASTERDOWN));
    assert!(client.run("EXEC").error().starts_with("EXECABORT"));
    client.run("CONFIG SET replica-serve-stale-data yes");
    assert_eq!(client.run("GET a"), "1");
    client.run("CONFIG SET replica-serve-stale-data no");
    promote(&replica);
    assert_eq!(client.run("GET a"), "1");
}

/// While a snapshot comes from a primary, the old data are there.
#[test]
fn old_data_during_a_transfer() {
    let primary = FakePrimary::listen();
    let replica = node(&["--repl-diskless-load", "disabled"]);
    let mut client = replica.client();
    client.run("SET old 1");
    follow(&replica, primary.port());
    let (mut link, _) = primary.handshake();
    let bytes = crate::link::full_resync(&rdb_with("new", "1"));
    link.write(&bytes[..bytes.len() - 15]);
    eventually("the transfer has begun", REPLY_TIMEOUT, || {
        field(&replica, "master_sync_in_progress") == "1"
    });
    let got = client.run("GET old");
    assert_eq!(got, "1");
    assert_eq!(client.run("SET old 2"), error(READONLY));
    link.write(&bytes[bytes.len() - 15..]);
    await_link(&replica);
    assert_eq!(client.run("MGET old new"), array![NULL, "1"]);
}

/// A snapshot that breaks off leaves the old data where the replica loads beside them.
#[test]
fn a_broken_transfer() {
    for load in ["disabled", "swapdb"] {
        let primary = FakePrimary::listen();
        let replica = node(&["--repl-diskless-load", load]);
        let mut client = replica.client();
        client.run("SET old 1");
        follow(&replica, primary.port());
        let (mut link, _) = primary.handshake();
        let bytes = crate::link::full_resync(&rdb_with("new", "1"));
        link.write(&bytes[..bytes.len() - 12]);
        link.close();
        let (mut link, _) = primary.handshake();
        assert_eq!(client.run("GET old"), "1", "{load}");
        link.write(&crate::link::full_resync(EMPTY_RDB));
        await_link(&replica);
        assert_eq!(client.run("DBSIZE"), 0);
    }
}

#[test]
fn blocked_clients_when_the_role_changes() {
    let server = node(&[]);
    let other = node(&[]);
    let mut clients: Vec<_> = [
        "BLPOP a 0",
        "BRPOPLPUSH a b 0",
        "BZPOPMIN z 0",
        "XREAD BLOCK 0 STREAMS s $",
    ]
    .iter()
    .map(|line| {
        let mut client = other.client();
        client.send(&line.split(' ').collect::<Vec<_>>());
        client
    })
    .collect();
    eventually("all wait", REPLY_TIMEOUT, || {
        other.info("clients")["blocked_clients"] == "4"
    });
    follow(&other, server.port());
    let text = "UNBLOCKED force unblock from blocking operation, instance state changed \
                (master -> replica?)";
    for client in &mut clients[..3] {
        assert_eq!(client.recv(), error(text));
        client.assert_closed();
    }
    // One that only reads goes on waiting where the server reads; Redis lets it go as well.
    if other.info("clients")["blocked_clients"] == "0" {
        assert_eq!(clients[3].recv(), error(text));
    } else {
        await_link(&other);
        server.client().run("XADD s * f v");
        assert_eq!(clients[3].recv().items().len(), 1);
    }
    await_link(&other);
    promote(&other);
    // And they are served again.
    let mut client = other.client();
    let mut waiting = other.client();
    waiting.send(&["BLPOP", "a", "0"]);
    eventually("it waits", REPLY_TIMEOUT, || {
        other.info("clients")["blocked_clients"] == "1"
    });
    client.run("RPUSH a x");
    assert_eq!(waiting.recv(), array!["a", "x"]);
}

/// Waiting readers of a replica are served by what the primary sends.
#[test]
fn readers_that_wait_on_a_replica() {
    let server = node(&[]);
    let replica = replica_of(&server, &[]);
    server.client().run("XADD s 1-1 f v");
    await_offsets(&[&server, &replica]);
    let mut client = replica.client();
    client.send(&["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]);
    eventually("it waits", REPLY_TIMEOUT, || {
        replica.info("clients")["blocked_clients"] == "1"
    });
    server.client().run("XADD s 2-1 f w");
    let entry = array!["2-1", array!["f", "w"]];
    assert_eq!(
        client.recv(),
        array![array!["s", crate::support::Value::Array(vec![entry])]]
    );
}

#[test]
fn messages_go_to_replicas() {
    let server = node(&[]);
    let replica = replica_of(&server, &["--notify-keyspace-events", "KA"]);
    let below = replica_of(&replica, &[]);
    let mut clients = [replica.client(), below.client()];
    for client in &mut clients {
        client.run("SUBSCRIBE news");
        client.run("PSUBSCRIBE *w*");
    }
    let mut events = replica.client();
    events.run("PSUBSCRIBE __key*__:*");
    // Only the clients of this server are counted.
    assert_eq!(server.client().run("PUBLISH news hello"), 0);
    for client in &mut clients {
        assert_eq!(client.recv(), array!["message", "news", "hello"]);
        assert_eq!(client.recv(), array!["pmessage", "*w*", "news", "hello"]);
    }
    server.client().run("SPUBLISH shard 1");
    server.client().run("SET a 1");
    let event = events.recv().texts();
    assert_eq!(event[2..], ["__keyspace@0__:a", "set"], "{event:?}");
    // A client of the replica may publish, to its own.
    assert_eq!(replica.client().run("PUBLISH news again"), 2);
    assert_eq!(clients[0].recv(), array!["message", "news", "again"]);
}

/// A client that caches what it read from a replica is told of the primary's changes.
#[test]
fn tracking_on_a_replica() {
    let server = node(&[]);
    let replica = replica_of(&server, &[]);
    server.client().run("SET a 1");
    await_offsets(&[&server, &replica]);
    let mut client = replica.client3();
    client.run("CLIENT TRACKING on");
    assert_eq!(client.run("GET a"), "1");
    server.client().run("SET a 2");
    let push = client.recv();
    assert_eq!(push.items()[0], "invalidate", "{push:?}");
    assert_eq!(push.items()[1], array!["a"]);
    client.run("GET a");
    server.client().run("FLUSHALL");
    assert_eq!(client.recv().items()[1], NULL);
    // What a new snapshot replaces is forgotten, too.
    let primary = FakePrimary::listen();
    client.run("GET a");
    follow(&replica, primary.port());
    let _link = primary.full(&rdb_with("a", "5"));
    assert_eq!(client.recv().items()[1], NULL);
    await_link(&replica);
    assert_eq!(client.run("GET a"), "5");
}

/// A watched key that the primary changes.
#[test]
fn watching_on_a_replica() {
    let server = node(&[]);
    let replica = replica_of(&server, &[]);
    let mut client = replica.client();
    client.run("WATCH a");
    server.client().run("SET a 1");
    await_offsets(&[&server, &replica]);
    client.run("MULTI");
    client.run("GET a");
    assert_eq!(client.run("EXEC"), NULL);
    client.run("WATCH a");
    client.run("MULTI");
    client.run("GET a");
    assert_eq!(client.run("EXEC"), array!["1"]);
    // A whole new data set changes everything that was there.
    client.run("WATCH a");
    let primary = FakePrimary::listen();
    follow(&replica, primary.port());
    let _link = primary.full(EMPTY_RDB);
    await_link(&replica);
    client.run("MULTI");
    client.run("GET a");
    assert_eq!(client.run("EXEC"), NULL);
}

const AOF: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// The replica's append only file holds what it has, whether by snapshot or by stream.
#[test]
fn the_log_of_a_replica() {
    let server = node(&[]);
    let mut client = server.client();
    client.run("DEBUG POPULATE 1000 before 10");
    let mut replica = replica_of(&server, &AOF);
    write_some(&server, 1);
    client.run("MULTI");
    client.run("SET x 1");
    client.run("INCR x");
    client.run("EXEC");
    client.run("SET volatile 1 EX 1000");
    assert_equal(&[&server, &replica], "with a log");
    eventually("the log is rewritten", REPLY_TIMEOUT, || {
        replica.info("persistence")["aof_rewrite_in_progress"] == "0"
            && replica.info("persistence")["aof_rewrite_scheduled"] == "0"
    });
    let before = digest(&replica);
    replica.kill9();
    replica.restart();
    // It is nobody's replica now, and has what it had.
    assert_eq!(field(&replica, "role"), "master");
    let found = difference(&[&server, &replica]);
    assert_eq!(digest(&replica), before, "{found}");
    write_some(&server, 2);
    crate::nodes::attach(&replica, &server);
    assert_equal(&[&server, &replica], "with a log again");
    replica.client().run("BGREWRITEAOF");
    write_some(&server, 3);
    eventually("the log is rewritten", REPLY_TIMEOUT, || {
        replica.info("persistence")["aof_rewrite_in_progress"] == "0"
    });
    assert_equal(&[&server, &replica], "with a new log");
    let before = digest(&replica);
    replica.restart();
    let found = difference(&[&server, &replica]);
    assert_eq!(digest(&replica), before, "{found}");
}

/// Some writes of many kinds.
fn write_some(server: &Server, seed: u64) {
    let mut client = server.client();
    let mut random = crate::support::Random::new(seed);
    for _ in 0..300 {
        let n = random.below(50).to_string();
        let db = random.below(3).to_string();
        let value = random.next().to_string();
        match random.below(8) {
            0 => client.cmd(&["SELECT", &db]),
            1 => client.cmd(&["SET", &format!("s{n}"), &value]),
            2 => client.cmd(&["LPUSH", &format!("l{n}"), &value]),
            3 => client.cmd(&["SADD", &format!("set{n}"), &value]),
            4 => client.cmd(&["ZADD", &format!("z{n}"), &n, &value]),
            5 => client.cmd(&["HSET", &format!("h{n}"), &n, &value]),
            6 => client.cmd(&["SPOP", &format!("set{n}")]),
            _ => client.cmd(&["XADD", &format!("x{n}"), "*", "f", &value]),
        };
    }
}

/// A replica may save, reload and be copied from while the stream goes on.
#[test]
fn saving_in_the_middle_of_the_stream() {
    let server = node(&[]);
    // Which is not part of the stream.
    server.client().run("DEBUG POPULATE 20000 key 50");
    let replica = replica_of(&server, &[]);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seed = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                seed += 1;
                write_some(&server, seed);
            }
        });
        let mut client = replica.client();
        for _ in 0..4 {
            let reply = client.run("BGSAVE");
            assert_eq!(reply, simple("Background saving started"));
            eventually("the save ends", REPLY_TIMEOUT, || {
                replica.info("persistence")["rdb_bgsave_in_progress"] == "0"
            });
            let info = replica.info("persistence");
            assert_eq!(info["rdb_last_bgsave_status"], "ok");
        }
        assert_eq!(client.run("SAVE"), simple("OK"));
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_equal(&[&server, &replica], "saved in between");
    let file = replica.dir().join("dump.rdb");
    let copy = node(&[]);
    std::fs::copy(file, copy.dir().join("dump.rdb")).expect("a copy");
    assert_eq!(copy.client().run("DEBUG RELOAD NOSAVE"), simple("OK"));
    assert!(copy.client().run("DBSIZE").int() >= 20_000);
}

#[test]
fn reloading_a_replica() {
    let server = node(&[]);
    let replica = replica_of(&server, &[]);
    write_some(&server, 1);
    await_offsets(&[&server, &replica]);
    assert_eq!(replica.client().run("DEBUG RELOAD"), simple("OK"));
    write_some(&server, 2);
    assert_equal(&[&server, &replica], "reloaded");
    // And the primary.
    assert_eq!(server.client().run("DEBUG RELOAD"), simple("OK"));
    write_some(&server, 3);
    assert_equal(&[&server, &replica], "the primary reloaded");
}

/// A replica that is shut down in an orderly way goes on from its snapshot.
#[test]
fn going_on_from_a_snapshot() {
    let server = node(&[]);
    let mut replica = replica_of(&server, &[]);
    write_some(&server, 1);
    await_offsets(&[&server, &replica]);
    replica.client().send(&["SHUTDOWN", "SAVE"]);
    assert!(replica.wait_exit().success(), "{}", replica.log());
    write_some(&server, 2);
    let full = count(&server, "sync_full");
    let address = format!("127.0.0.1 {}", server.port());
    replica.add_arguments(&["--replicaof", &address]);
    replica.restart();
    await_link(&replica);
    assert_equal(&[&server, &replica], "started again");
    assert_eq!(count(&server, "sync_full"), full);
    assert_eq!(count(&server, "sync_partial_ok"), 1);
}

/// A primary that is shut down in an orderly way and comes back with its snapshot.
#[test]
fn a_primary_that_comes_back() {
    let mut server = node(&[]);
    let replica = replica_of(&server, &[]);
    write_some(&server, 1);
    await_offsets(&[&server, &replica]);
    let id = field(&server, "master_replid");
    server.client().send(&["SHUTDOWN", "SAVE"]);
    assert!(server.wait_exit().success(), "{}", server.log());
    await_link_down(&replica);
    server.restart();
    await_link(&replica);
    write_some(&server, 2);
    assert_equal(&[&server, &replica], "the primary started again");
    // It is a new history that goes on from the old one.
    assert_ne!(field(&server, "master_replid"), id);
    assert_eq!(field(&server, "master_replid2"), id);
    assert_eq!(field(&replica, "master_replid2"), id);
    assert_eq!(count(&server, "sync_partial_ok"), 1);
    assert_eq!(count(&server, "sync_full"), 0);
}

/// What a replica does to be found: priorities, announced addresses.
#[test]
fn what_info_tells() {
    let server = node(&[]);
    let replica = replica_of(
        &server,
        &[
            "--replica-priority",
            "7",
            "--replica-announce-ip",
            "10.9.8.7",
            "--replica-announce-port",
            "77",
        ],
    );
    let info = replica.info("replication");
    assert_eq!(info["slave_priority"], "7");
    assert_eq!(info["slave_read_only"], "1");
    assert_eq!(info["replica_announced"], "1");
    assert_eq!(info["master_sync_in_progress"], "0");
    assert!(info.contains_key("master_last_io_seconds_ago"));
    assert!(!info.contains_key("master_link_down_since_seconds"));
    assert_eq!(info["slave_repl_offset"], info["master_repl_offset"]);
    eventually("the primary knows it", REPLY_TIMEOUT, || {
        field(&server, "slave0").starts_with("ip=10.9.8.7,port=77,state=online,")
    });
    let role = server.client().run("ROLE");
    let first = &role.items()[2].items()[0];
    assert_eq!(first.texts()[..2], ["10.9.8.7", "77"]);
    // One that does not want to be found is not in ROLE's list of others.
    let quiet = replica_of(&server, &["--replica-announced", "no"]);
    assert_eq!(field(&quiet, "replica_announced"), "0");
    replica.client().run("CONFIG SET replica-priority 0");
    assert_eq!(field(&replica, "slave_priority"), "0");
}

/// A primary that nobody answers for is no reason to wait.
#[test]
fn a_primary_that_is_not_there() {
    let replica = node(&["--replicaof", &format!("127.0.0.1 {}", free_port())]);
    let mut client = replica.client();
    assert_eq!(client.run("PING"), simple("PONG"));
    assert_eq!(field(&replica, "master_link_status"), "down");
    assert!(!field(&replica, "master_link_down_since_seconds").is_empty());
    let role = client.run("ROLE");
    let state = role.items()[3].text();
    assert!(["connect", "connecting"].contains(&&state[..]), "{state}");
    replica.wait_log("MASTER <-> REPLICA sync started");
    // An unknown host is looked up again and again.
    assert_eq!(
        client.run("REPLICAOF no.such.host.invalid 6379"),
        simple("OK")
    );
    assert_eq!(client.run("PING"), simple("PONG"));
    promote(&replica);
    assert_eq!(client.run("SET a 1"), simple("OK"));
}

/// Memory limits are the primary's business.
#[test]
fn a_replica_does_not_evict() {
    let server = node(&[]);
    let replica = replica_of(&server, &["--maxmemory-policy", "allkeys-lru"]);
    let mut client = server.client();
    for n in 0..500 {
        client.cmd(&["SET", &format!("own:{n}"), &"x".repeat(1000)]);
    }
    await_offsets(&[&server, &replica]);
    replica.client().run("CONFIG SET maxmemory 1000000");
    for n in 0..500 {
        client.cmd(&["SET", &format!("more:{n}"), &"x".repeat(1000)]);
    }
    await_offsets(&[&server, &replica]);
    assert_eq!(replica.client().run("DBSIZE"), 1000);
    assert_eq!(count(&replica, "evicted_keys"), 0);
}

/// Both passwords: the replica's own does not matter.
#[test]
fn passwords() {
    let server = Server::with(&[&OPTIONS[..], &["--requirepass", "secret"]].concat());
    let replica = node(&[]);
    follow(&replica, server.port());
    eventually("it is refused", REPLY_TIMEOUT, || {
        replica.log().contains("NOAUTH")
    });
    assert_eq!(field(&replica, "master_link_status"), "down");
    replica.client().run("CONFIG SET masterauth wrong");
    eventually("it is refused", REPLY_TIMEOUT, || {
        replica.log().contains("WRONGPASS")
    });
    assert_eq!(field(&replica, "master_link_status"), "down");
    replica.client().run("CONFIG SET masterauth secret");
    await_link(&replica);
    replica.client().run("CONFIG SET masteruser default");
    replica.client().run("CLIENT KILL TYPE master");
    await_link(&replica);
    let mut client = server.client();
    client.run("AUTH secret");
    client.run("SET a 1");
    let mut reader = replica.client();
    eventually("it arrives", REPLY_TIMEOUT, || reader.run("GET a") == "1");
    if oracle() {
        return;
    }
    assert!(!replica.log().contains("secret"), "{}", replica.log());
}
