//! Servers that replicate from each other, and the comparison of what they hold.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::time::Duration;

use crate::support::{Client, Server, Value, eventually, simple};

/// How long a replica may take to be where its primary is.
pub const SYNC_TIMEOUT: Duration = Duration::from_secs(60);

/// Options of all nodes: what the tests look with, and no waiting for more replicas.
pub const OPTIONS: [&str; 4] = [
    "--enable-debug-command",
    "yes",
    "--repl-diskless-sync-delay",
    "0",
];

/// The server under test, with more options.
#[track_caller]
pub fn node(args: &[&str]) -> Server {
    Server::with(&[&OPTIONS, args].concat())
}

/// redis-server in the same way.
#[track_caller]
pub fn redis_node(args: &[&str]) -> Server {
    Server::redis(&[&OPTIONS, args].concat())
}

/// Sends a command, again as long as the server is loading a snapshot.
#[track_caller]
pub fn loaded(server: &Server, args: &[&str]) -> Value {
    let mut client = server.client();
    let mut reply = client.cmd(args);
    eventually("the server has loaded", SYNC_TIMEOUT, || {
        let loading = matches!(&reply, Value::Error(text) if text.starts_with("LOADING"));
        if loading {
            reply = client.cmd(args);
        }
        !loading
    });
    reply
}

/// Makes a replica of the server on this port and does not wait for anything.
#[track_caller]
pub fn follow(replica: &Server, port: u16) {
    let reply = loaded(replica, &["REPLICAOF", "127.0.0.1", &port.to_string()]);
    // It may be one already.
    assert!(reply.text().starts_with("OK"), "{reply:?}");
}

/// Makes a replica and waits until its link is up.
#[track_caller]
pub fn attach(replica: &Server, primary: &Server) {
    follow(replica, primary.port());
    await_link(replica);
}

/// A node that replicates from another, with its link up.
#[track_caller]
pub fn replica_of(primary: &Server, args: &[&str]) -> Server {
    let replica = node(args);
    attach(&replica, primary);
    replica
}

/// Ends replication.
#[track_caller]
pub fn promote(replica: &Server) {
    assert_eq!(loaded(replica, &["REPLICAOF", "NO", "ONE"]), simple("OK"));
}

/// A field of `INFO replication`, empty when it is not there.
#[track_caller]
pub fn field(server: &Server, name: &str) -> String {
    server.info("replication").remove(name).unwrap_or_default()
}

/// Waits until the replica says that its link is up.
#[track_caller]
pub fn await_link(replica: &Server) {
    eventually("the link is up", SYNC_TIMEOUT, || {
        field(replica, "master_link_status") == "up"
    });
}

/// Waits until the replica says that its link is down.
#[track_caller]
pub fn await_link_down(replica: &Server) {
    eventually("the link is down", SYNC_TIMEOUT, || {
        field(replica, "master_link_status") == "down"
    });
}

/// How far the server's stream is.
#[track_caller]
pub fn offset(server: &Server) -> i64 {
    let text = field(server, "master_repl_offset");
    text.parse()
        .unwrap_or_else(|_| panic!("an offset: '{text}'"))
}

/// The digest of all databases.
#[track_caller]
pub fn digest(server: &Server) -> String {
    server.client().run("DEBUG DIGEST").text()
}

/// Waits until every server behind the first is where the first is; nobody may be writing.
#[track_caller]
pub fn await_offsets(nodes: &[&Server]) {
    eventually("all nodes are at one offset", SYNC_TIMEOUT, || {
        let up = nodes[1..]
            .iter()
            .all(|node| field(node, "master_link_status") == "up");
        let first = offset(nodes[0]);
        up && nodes[1..].iter().all(|node| offset(node) == first)
    });
}

/// Waits until all are at one offset, and compares what they hold.
#[track_caller]
pub fn assert_equal(nodes: &[&Server], what: &str) {
    await_offsets(nodes);
    let digests: Vec<String> = nodes.iter().map(|node| digest(node)).collect();
    if digests.windows(2).any(|pair| pair[0] != pair[1]) {
        let sizes: Vec<Value> = nodes
            .iter()
            .map(|node| node.client().run("DBSIZE"))
            .collect();
        panic!("{what}: {digests:?}, {sizes:?} keys\n{}", difference(nodes));
    }
}

/// Names a few keys of which two nodes tell something else.
#[track_caller]
pub fn difference(nodes: &[&Server]) -> String {
    let mut text = String::new();
    let mut clients: Vec<Client> = nodes.iter().map(|node| node.client()).collect();
    for db in 0..4 {
        let db = db.to_string();
        let mut keys = Vec::new();
        for client in &mut clients {
            client.cmd(&["SELECT", &db]);
            let found = client.run("KEYS *");
            keys.extend(found.items().iter().map(|key| key.bytes().to_vec()));
        }
        keys.sort();
        keys.dedup();
        for key in keys {
            let mut told: Vec<String> = Vec::new();
            for client in &mut clients {
                let value = client.cmd(&[b"DEBUG", &b"DIGEST-VALUE"[..], &key]);
                let deadline = client.cmd(&[&b"PEXPIRETIME"[..], &key]);
                let kind = client.cmd(&[&b"TYPE"[..], &key]);
                let content = match kind == *"string" {
                    true => client.cmd(&[&b"GET"[..], &key]),
                    false => client.cmd(&[b"OBJECT", &b"ENCODING"[..], &key]),
                };
                told.push(format!("{kind:?} {value:?} {deadline:?} {content:?}"));
            }
            if told.windows(2).any(|pair| pair[0] != pair[1]) && text.len() < 4000 {
                let key = crate::support::show(&key);
                text.push_str(&format!("db {db} {key}: {told:#?}\n"));
            }
        }
    }
    text
}

/// A counter of `INFO stats`.
#[track_caller]
pub fn count(server: &Server, name: &str) -> i64 {
    let stats = server.info("stats");
    let text = stats.get(name).map_or("", String::as_str);
    text.parse().unwrap_or_else(|_| panic!("{name}: '{text}'"))
}
