//! What goes from a primary to its replicas, and what comes of it there.

use std::time::Duration;

use crate::array;
use crate::link::{RawReplica, Words};
use crate::nodes::{assert_equal, await_offsets, count, digest, node, offset, replica_of};
use crate::support::{
    Client, NULL, REPLY_TIMEOUT, Random, Server, encode, eventually, oracle, simple,
};

/// The commands of the stream up to this one, without `SELECT`, each in one line.
#[track_caller]
fn until(replica: &mut RawReplica, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = replica.text();
        if line == last {
            return lines;
        }
        if !line.starts_with("SELECT ") {
            lines.push(line);
        }
    }
}

/// Runs lines on a server and returns what a replica is sent for them.
#[track_caller]
fn sent(server: &Server, replica: &mut RawReplica, lines: &[&str]) -> Vec<String> {
    let mut client = server.client();
    for line in lines {
        client.run(line);
    }
    client.run("SET the:end 1");
    until(replica, "SET the:end 1")
}

#[test]
fn databases() {
    let server = node(&[]);
    let mut replica = RawReplica::sync(server.port());
    let mut client = server.client();
    let mut other = server.client();
    client.run("SELECT 5");
    client.run("GET a");
    client.run("SET a 1");
    client.run("SET b 1");
    other.run("SET c 1");
    client.run("SET d 1");
    for line in [
        "SELECT 5", "SET a 1", "SET b 1", "SELECT 0", "SET c 1", "SELECT 5", "SET d 1",
    ] {
        assert_eq!(replica.text(), line);
    }
    client.run("SWAPDB 5 7");
    client.run("FLUSHDB");
    client.run("FLUSHALL");
    // In whichever database.
    assert_eq!(until(&mut replica, "FLUSHALL"), ["SWAPDB 5 7", "FLUSHDB"]);
    // A replica that comes later is told the database as well, and so are the others.
    client.run("SET a 1");
    until(&mut replica, "SET a 1");
    let mut late = RawReplica::sync(server.port());
    client.run("SET b 1");
    assert_eq!(late.text(), "SELECT 5");
    assert_eq!(late.text(), "SET b 1");
    assert_eq!(replica.text(), "SELECT 5");
    assert_eq!(replica.text(), "SET b 1");
    assert_eq!(late.offset, replica.offset);
}

#[test]
fn transactions_arrive_whole() {
    let server = node(&[]);
    let mut replica = RawReplica::sync(server.port());
    let multi = ["MULTI", "SET a 1", "GET a", "INCR a", "LPUSH a x", "EXEC"];
    let lines = sent(&server, &mut replica, &multi);
    assert_eq!(lines, ["MULTI", "SET a 1", "INCR a", "EXEC"]);
    // One that reads only, or is discarded, is not sent.
    let lines = sent(&server, &mut replica, &["MULTI", "GET a", "EXEC"]);
    assert!(lines.is_empty(), "{lines:?}");
    let lines = sent(&server, &mut replica, &["MULTI", "SET a 1", "DISCARD"]);
    assert!(lines.is_empty(), "{lines:?}");
    // Over several databases.
    let mut client = server.client();
    for line in [
        "MULTI", "SET x 1", "SELECT 2", "SET y 1", "SELECT 0", "EXEC",
    ] {
        client.run(line);
    }
    client.run("SET end 1");
    let mut words: Vec<Words> = Vec::new();
    while words.last().is_none_or(|last| last[1..] != ["end", "1"]) {
        words.push(replica.next());
    }
    let names: Vec<String> = words.iter().map(|words| words.join(" ")).collect();
    let select = names.iter().position(|name| name == "SELECT 2");
    let (x, y) = ("SET x 1".to_owned(), "SET y 1".to_owned());
    let (x, y) = (
        names.iter().position(|name| *name == x),
        names.iter().position(|name| *name == y),
    );
    assert!(x < select && select < y, "{names:?}");
    assert_eq!(names.iter().filter(|name| *name == "MULTI").count(), 1);
    assert_eq!(names.iter().filter(|name| *name == "EXEC").count(), 1);
}

#[test]
fn effects() {
    let server = node(&[]);
    let mut replica = RawReplica::sync(server.port());
    let lines = sent(
        &server,
        &mut replica,
        &[
            "SADD s a",
            "SPOP s",
            "INCRBYFLOAT f 1.5",
            "HINCRBYFLOAT h f 1.5",
            "BLPOP none 0.01",
            "RPUSH l 1",
            "BLPOP l 0",
        ],
    );
    assert_eq!(
        lines,
        [
            "SADD s a",
            "SREM s a",
            "SET f 1.5 KEEPTTL",
            "HSET h f 1.5",
            "RPUSH l 1",
            "LPOP l",
        ]
        // What a set's last member is removed by is up to the server.
        .map(
            |line| match lines.contains(&"SPOP s".to_owned()) && line == "SREM s a" {
                true => "SPOP s".to_owned(),
                false => line.to_owned(),
            }
        )
    );
    // Times are absolute.
    let lines = sent(
        &server,
        &mut replica,
        &[
            "SET a 1 EX 100",
            "EXPIRE a 200",
            "GETEX a PX 300000",
            "PERSIST a",
            "EXPIRE a -1",
        ],
    );
    let names: Vec<String> = lines
        .iter()
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        names,
        ["SET a", "PEXPIREAT a", "PEXPIREAT a", "PERSIST a", "DEL a"],
        "{lines:?}"
    );
    assert!(lines[0].starts_with("SET a 1 PXAT "), "{lines:?}");
}

/// The replica deletes nothing by its own clock; its clients do not see what is over.
#[test]
fn expired_keys() {
    let server = node(&["--hz", "1"]);
    let replica = replica_of(&server, &[]);
    let mut raw = RawReplica::sync(server.port());
    let (mut client, mut reader) = (server.client(), replica.client());
    client.run("DEBUG SET-ACTIVE-EXPIRE 0");
    client.run("SET plain 1");
    for n in 0..20 {
        client.run(&format!("SET volatile:{n} 1 PX 300"));
    }
    client.run("HSET hash f v");
    client.run("PEXPIRE hash 300");
    await_offsets(&[&server, &replica]);
    assert_eq!(reader.run("GET volatile:0"), "1");
    eventually("it is over on the replica", REPLY_TIMEOUT, || {
        // Whatever was given its time last.
        reader.run("EXISTS hash volatile:0 volatile:19") == 0
    });
    assert_eq!(reader.run("EXISTS volatile:1 volatile:2"), 0);
    assert_eq!(reader.run("TTL volatile:1"), -2);
    assert_eq!(reader.run("TYPE hash"), simple("none"));
    assert_eq!(reader.run("HGETALL hash"), array![]);
    // Yet they are there.
    assert_eq!(reader.run("DBSIZE"), 22);
    assert_eq!(client.run("DBSIZE"), 22);
    // The primary says when they go.
    assert_eq!(client.run("GET volatile:3"), NULL);
    await_offsets(&[&server, &replica]);
    assert_eq!(reader.run("DBSIZE"), 21);
    client.run("DEBUG SET-ACTIVE-EXPIRE 1");
    eventually("all is deleted", REPLY_TIMEOUT, || {
        reader.run("DBSIZE") == 1
    });
    assert_equal(&[&server, &replica], "expired");
    assert_eq!(count(&replica, "expired_keys"), 0);
    client.run("SET end 1");
    let lines = until(&mut raw, "SET end 1");
    let deleted = lines
        .iter()
        .filter(|line| line.starts_with("DEL ") || line.starts_with("UNLINK "));
    assert_eq!(deleted.count(), 21, "{lines:?}");
}

/// Fields that expire, which Redis 7.0 does not have.
#[test]
fn expired_fields() {
    if oracle() {
        return;
    }
    let server = node(&[]);
    let replica = replica_of(&server, &[]);
    let (mut client, mut reader) = (server.client(), replica.client());
    client.run("DEBUG SET-ACTIVE-EXPIRE 0");
    client.run("HSET h a 1 b 2 c 3");
    client.run("HPEXPIRE h 200 FIELDS 2 a b");
    await_offsets(&[&server, &replica]);
    eventually("they are over", REPLY_TIMEOUT, || {
        reader.run("HMGET h a b c") == array![NULL, NULL, "3"]
    });
    assert_eq!(reader.run("HGETALL h"), array!["c", "3"]);
    client.run("DEBUG SET-ACTIVE-EXPIRE 1");
    // Not only out of sight: otherwise they might go between one look at the data set and the other.
    eventually("they are deleted", REPLY_TIMEOUT, || {
        count(&server, "expired_subkeys") == 2
    });
    assert_equal(&[&server, &replica], "fields");
    assert_eq!(client.run("HLEN h"), 1);
    assert_eq!(reader.run("HLEN h"), 1);
    assert_eq!(
        client.run("HPEXPIRETIME h FIELDS 3 a b c"),
        reader.run("HPEXPIRETIME h FIELDS 3 a b c")
    );
}

/// Relative times on a replica are those of the primary.
#[test]
fn times_to_live() {
    let server = node(&[]);
    let replica = replica_of(&server, &[]);
    let mut client = server.client();
    for line in [
        "SET a 1 EX 1000",
        "SETEX b 1000 1",
        "PSETEX c 100000 1",
        "SET d 1",
        "EXPIRE d 500",
        "SET e 1 EX 100",
        "EXPIRE e 500 GT",
        "SET f 1 EX 100",
        "APPEND f x",
        "SET g 1 EX 100",
        "SET g 2 KEEPTTL",
        "SET h 1 EX 100",
        "RENAME h i",
        "COPY i j",
        "SET k 1 EX 10",
        "PERSIST k",
    ] {
        client.run(line);
    }
    await_offsets(&[&server, &replica]);
    let mut reader = replica.client();
    for key in ["a", "b", "c", "d", "e", "f", "g", "i", "j", "k"] {
        let line = format!("PEXPIRETIME {key}");
        assert_eq!(client.run(&line), reader.run(&line), "{key}");
    }
    assert_equal(&[&server, &replica], "times");
}

/// Money goes from key to key in transactions; no reader of the replica sees any of it missing.
#[test]
fn nobody_sees_half_a_transaction() {
    const ACCOUNTS: u64 = 20;
    let server = node(&[]);
    let replica = replica_of(&server, &[]);
    let mut client = server.client();
    let names: Vec<String> = (0..ACCOUNTS).map(|n| format!("account:{n}")).collect();
    let mut all: Vec<&str> = vec!["MSET"];
    for name in &names {
        all.extend([name.as_str(), "100"]);
    }
    client.cmd(&all);
    await_offsets(&[&server, &replica]);
    let over = std::sync::atomic::AtomicBool::new(false);
    let mut seen = std::collections::BTreeSet::new();
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (mut client, names, over) = (server.client(), &names, &over);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let amount = random.below(50).to_string();
                    let mut bytes = encode(&["MULTI"]);
                    bytes.extend(encode(&["DECRBY", random.pick::<String>(names), &amount]));
                    bytes.extend(encode(&["INCRBY", random.pick::<String>(names), &amount]));
                    bytes.extend(encode(&["EXEC"]));
                    client.write(&bytes);
                    for _ in 0..4 {
                        client.recv();
                    }
                }
            });
        }
        let mut get = vec!["MGET"];
        get.extend(names.iter().map(String::as_str));
        let readers: Vec<_> = [false, true]
            .map(|transaction| {
                let (mut client, get) = (replica.client(), get.clone());
                scope.spawn(move || read_sums(&mut client, &get, &["MULTI", "EXEC"], transaction))
            })
            .into_iter()
            .collect();
        for reader in readers {
            match reader.join() {
                Ok(found) => seen.extend(found),
                Err(_) => {
                    seen.insert((-1, 0));
                }
            }
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let sums: std::collections::BTreeSet<i64> = seen.iter().map(|(sum, _)| *sum).collect();
    let expected = ACCOUNTS as i64 * 100;
    assert_eq!(sums.into_iter().collect::<Vec<_>>(), [expected]);
    assert!(seen.len() > 10, "nothing changed while it was read");
    assert_equal(&[&server, &replica], "money");
}

/// Sums of all accounts, with the first of them, as they are found in many reads.
fn read_sums(
    client: &mut Client,
    get: &[&str],
    around: &[&str; 2],
    transaction: bool,
) -> Vec<(i64, i64)> {
    let mut sums = Vec::new();
    for _ in 0..1500 {
        let values = if transaction {
            // Each key by a command of its own.
            let mut bytes = encode(&around[..1]);
            for key in &get[1..] {
                bytes.extend(encode(&["GET", key]));
            }
            bytes.extend(encode(&around[1..]));
            client.write(&bytes);
            for _ in 0..get.len() {
                client.recv();
            }
            client.recv()
        } else {
            client.cmd(get)
        };
        let numbers = values.texts().into_iter();
        let numbers: Vec<i64> = numbers.map(|text| text.parse().unwrap_or(-1)).collect();
        sums.push((numbers.iter().sum(), numbers[0]));
    }
    sums
}

/// Every node of a chain sends the same bytes under the same numbers.
#[test]
fn a_chain_sends_the_same_bytes() {
    let server = node(&[]);
    let middle = replica_of(&server, &[]);
    let last = replica_of(&middle, &[]);
    let id = crate::nodes::field(&server, "master_replid");
    for node in [&middle, &last] {
        assert_eq!(crate::nodes::field(node, "master_replid"), id);
    }
    let start = offset(&server) as u64;
    let nodes = [&server, &middle, &last];
    let mut raw = nodes.map(|node| RawReplica::partial(node.port(), &id, start));
    let mut client = server.client();
    for line in [
        "SET a 1",
        "MULTI",
        "INCR a",
        "INCR b",
        "EXEC",
        "SELECT 3",
        "SADD s a b c",
        "SPOP s",
        "EXPIRE s 100",
        "FLUSHALL",
        "SET b 1",
    ] {
        client.run(line);
    }
    client.run("SET end 1");
    let all = raw.each_mut().map(|raw| {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line| line != "SET end 1") {
            lines.push(raw.any().join(" "));
        }
        (lines, raw.offset)
    });
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
    assert_equal(&nodes, "a chain");
    let info = middle.info("replication");
    assert_eq!(info["connected_slaves"], "2");
    assert_eq!(info["role"], "slave");
}

#[test]
fn whole_databases() {
    let server = node(&[]);
    let replica = replica_of(&server, &[]);
    let mut client = server.client();
    for db in 0..4 {
        client.run(&format!("SELECT {db}"));
        for n in 0..100 {
            client.run(&format!("SET key:{n} {db}"));
        }
    }
    for line in [
        "SWAPDB 0 1",
        "SELECT 2",
        "FLUSHDB",
        "SELECT 1",
        "MOVE key:3 2",
        "COPY key:4 key:4 DB 2",
        "SWAPDB 2 3",
    ] {
        client.run(line);
    }
    assert_equal(&[&server, &replica], "swapped");
    let mut reader = replica.client();
    assert_eq!(reader.run("GET key:1"), "1");
    reader.run("SELECT 3");
    assert_eq!(reader.run("DBSIZE"), 2);
    client.run("FLUSHALL ASYNC");
    client.run("SET one 1");
    assert_equal(&[&server, &replica], "emptied");
    reader.run("SELECT 1");
    assert_eq!(reader.run("DBSIZE"), 1);
}

/// Values larger than all buffers, in the snapshot and in the stream.
fn large_values(megabytes: usize) {
    let server = node(&["--client-output-buffer-limit", "replica 0 0 0"]);
    let mut client = server.client();
    let size = (megabytes << 20).to_string();
    let before = (megabytes << 19).to_string();
    client.cmd(&["SETRANGE", "before", &before, "x"]);
    client.cmd(&["SETBIT", "bits", &before, "1"]);
    let replica = replica_of(&server, &[]);
    client.cmd(&["SETRANGE", "in the stream", &size, "x"]);
    let value: Vec<u8> = (0..megabytes << 20).map(|n| (n % 251) as u8).collect();
    client.set_read_timeout(Duration::from_secs(60));
    client.cmd(&[b"SET", &b"whole"[..], &value]);
    client.cmd(&[b"RPUSH", &b"list"[..], &value]);
    assert_equal(&[&server, &replica], "large values");
    let length = replica.client().run("STRLEN whole");
    assert_eq!(length, value.len() as i64);
}

#[test]
fn values_of_some_megabytes() {
    large_values(8);
}

#[test]
#[ignore = "long: values of 100 MB, and memory for some of them"]
fn values_of_a_hundred_megabytes() {
    large_values(100);
}

/// A replica that comes while many write gets all of it.
#[test]
fn a_replica_that_comes_under_load() {
    for diskless in ["yes", "no"] {
        let server = node(&["--repl-diskless-sync", diskless]);
        let mut client = server.client();
        client.run("DEBUG POPULATE 20000 key 100");
        let over = std::sync::atomic::AtomicBool::new(false);
        let replicas: Vec<Server> = (0..3).map(|_| node(&[])).collect();
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let (mut client, over) = (server.client(), &over);
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        let key = format!("key:{}", random.below(20_000));
                        match random.below(4) {
                            0 => client.cmd(&["APPEND", &key, "x"]),
                            1 => client.cmd(&["DEL", &key]),
                            2 => client.cmd(&["INCR", &format!("n:{key}")]),
                            _ => client.cmd(&["RPUSH", &format!("l:{key}"), "a", "b"]),
                        };
                    }
                });
            }
            // Two that share a snapshot, and one that comes later.
            crate::nodes::follow(&replicas[0], server.port());
            crate::nodes::follow(&replicas[1], server.port());
            crate::nodes::await_link(&replicas[0]);
            crate::nodes::attach(&replicas[2], &server);
            crate::nodes::await_link(&replicas[1]);
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut nodes = vec![&server];
        nodes.extend(&replicas);
        assert_equal(&nodes, &format!("under load, diskless {diskless}"));
        assert_ne!(digest(&server), "0".repeat(40));
    }
}
