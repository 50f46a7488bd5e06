//! High availability as it is run with Redis: three sentinels of redis-server 7.0 watch a primary
//! with two replicas. The primary is killed under load, or told to make room.
//!
//! The sentinels get `SENTINEL DEBUG`, so that they look and tell within a second what they would
//! within several; what a replica has is then known by the time the primary is found dead,
//! and the one with the most is promoted. So with `WAIT 1` nothing acknowledged can be lost.
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/>

mod support;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use support::{Client, Server, Value, eventually};

/// How long a sentinel's agreement, or a resynchronisation, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// After which silence a node counts as dead, in milliseconds. Longer than a busy machine may keep
/// a live one from answering.
const DOWN_AFTER: u32 = 2000;

/// Clients that write, and how many of their writes must be acknowledged in each phase.
const WRITERS: u64 = 4;
const ENOUGH: u64 = 400;

/// A primary with two replicas, and three sentinels.
struct Cluster {
    nodes: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Cluster {
    /// The first node is the primary.
    fn start() -> Cluster {
        let args = [
            "--enable-debug-command",
            "yes",
            "--repl-diskless-sync-delay",
            "0",
            "--repl-ping-replica-period",
            "1",
        ];
        let node = |_| Server::with_config("# A node.\ntimeout 0\n", &args);
        let nodes: Vec<Server> = (0..3).map(node).collect();
        let primary = nodes[0].port();
        for replica in &nodes[1..] {
            let mut client = replica.client();
            let told = client.cmd(&["REPLICAOF", "127.0.0.1", &primary.to_string()]);
            assert_eq!(told, "OK");
        }
        let config = format!(
            "sentinel monitor main 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds main {DOWN_AFTER}\n\
             sentinel failover-timeout main 10000\n"
        );
        let sentinel = |_| {
            let sentinel = Server::redis_with_config(&config, &["--sentinel"]);
            // A sentinel puts a primary it has not been told of in its place after four periods of
            // publishing; the one that promotes it may look a second later.
            // While a primary is down it asks replicas once a second, and promotes none of which it
            // has not heard for five periods of PING.
            let periods = "SENTINEL DEBUG info-period 100 ping-period 300 publish-period 600";
            assert_eq!(sentinel.client().run(periods), "OK");
            sentinel
        };
        let cluster = Cluster {
            nodes,
            sentinels: (0..3).map(sentinel).collect(),
        };
        cluster.wait_linked(0);
        cluster.wait_known();
        cluster
    }

    /// Waits until the other nodes that run are replicas of this one, with the link up.
    #[track_caller]
    fn wait_linked(&self, primary: usize) {
        let port = self.nodes[primary].port().to_string();
        for (number, node) in self.nodes.iter().enumerate() {
            if number == primary {
                continue;
            }
            let what = format!("node {number} is a replica of node {primary}, with its link up");
            eventually(&what, PATIENCE, || {
                let info = ask(node, &["INFO", "replication"]).text();
                let is =
                    |field: &str, value: &str| info.contains(&format!("\r\n{field}:{value}\r\n"));
                is("role", "slave") && is("master_port", &port) && is("master_link_status", "up")
            });
        }
    }

    /// Waits until every sentinel knows the others and both replicas.
    fn wait_known(&self) {
        for sentinel in &self.sentinels {
            let mut client = sentinel.client();
            eventually("a sentinel knows all others", PATIENCE, || {
                let main = client.run("SENTINEL MASTER main");
                let replicas = client.run("SENTINEL REPLICAS main");
                let linked = |replica: &Value| replica.field("master-link-status") == "ok";
                main.field("flags") == "master"
                    && main.field("num-other-sentinels") == "2"
                    && replicas.items().len() == 2
                    && replicas.items().iter().all(linked)
            });
        }
    }

    /// Waits until all sentinels agree on a primary for which `fits` holds; its number.
    #[track_caller]
    fn wait_agreed(&self, fits: impl Fn(usize) -> bool) -> usize {
        let mut agreed = None;
        eventually("the sentinels agree", PATIENCE, || {
            let ports: Vec<u16> = self
                .sentinels
                .iter()
                .map(|it| primary_port(it.port()))
                .collect();
            let same = ports.iter().all(|port| *port == ports[0]);
            agreed = self.nodes.iter().position(|node| node.port() == ports[0]);
            same && agreed.is_some_and(&fits)
        });
        agreed.expect("agreed on")
    }

    /// Waits until all nodes hold the same.
    #[track_caller]
    fn wait_equal(&self) {
        eventually("all nodes have the same data set", PATIENCE, || {
            let digests: Vec<String> = self.nodes.iter().map(digest).collect();
            digests.iter().all(|digest| *digest == digests[0])
        });
    }

    /// Waits until the config file of each node tells its role.
    #[track_caller]
    fn wait_written(&self, primary: usize) {
        let line = format!("replicaof 127.0.0.1 {}", self.nodes[primary].port());
        for (number, node) in self.nodes.iter().enumerate() {
            let what = format!("the config file of node {number} tells its role");
            eventually(&what, PATIENCE, || {
                let text = fs::read_to_string(node.dir().join("redis.conf"));
                let text = text.expect("read a config file");
                let mut lines = text.lines().filter(|line| line.starts_with("replicaof"));
                assert!(text.starts_with("# A node.\ntimeout 0\n"), "{text}");
                match lines.next() {
                    Some(found) => found == line && lines.next().is_none() && number != primary,
                    None => number == primary,
                }
            });
        }
    }
}

/// What a node answers. A sentinel that gives it a role closes its clients, whoever they are, and may do
/// so at any time after a failover: they come again.
#[track_caller]
fn ask(server: &Server, words: &[&str]) -> Value {
    let mut answer = None;
    eventually("a node answers", PATIENCE, || {
        answer = server.connect().ok().and_then(|mut client| {
            client.try_write(&support::encode(words)).ok()?;
            client.try_recv()
        });
        answer.is_some()
    });
    answer.expect("it has answered")
}

fn digest(server: &Server) -> String {
    ask(server, &["DEBUG", "DIGEST"]).text()
}

/// Whom a sentinel takes for the primary.
fn primary_port(sentinel: u16) -> u16 {
    let mut client = Client::tcp(&format!("127.0.0.1:{sentinel}")).expect("connect to a sentinel");
    let address = client.run("SENTINEL GET-MASTER-ADDR-BY-NAME main").texts();
    address[1].parse().expect("a port")
}

/// A connection to the primary, as a client with sentinels finds it.
fn primary(sentinels: &[u16], attempt: usize) -> Option<Client> {
    let port = primary_port(sentinels[attempt % sentinels.len()]);
    let mut client = Client::tcp(&format!("127.0.0.1:{port}")).ok()?;
    client.try_write(b"ROLE\r\n").ok()?;
    match client.try_recv()? {
        Value::Array(role) if role[0] == "master" => Some(client),
        // It has not heard of its promotion yet, or is starting.
        _ => None,
    }
}

/// Writes one key after the other, each again and again until a replica has it as well, and counts
/// those; until told to stop. How many are acknowledged.
fn write(writer: u64, sentinels: &[u16], acknowledged: &AtomicU64, stop: &AtomicBool) -> u64 {
    let (mut client, mut attempt, mut number) = (None, 0, 0);
    while !stop.load(Ordering::Relaxed) {
        let Some(connected) = &mut client else {
            attempt += 1;
            client = primary(sentinels, attempt);
            if client.is_none() {
                // Nobody is served by asking without a break.
                thread::sleep(Duration::from_millis(20));
            }
            continue;
        };
        match set_and_wait(connected, &key(writer, number), &number.to_string()) {
            Some(true) => {
                number += 1;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Some(false) => {}
            None => client = None,
        }
    }
    number
}

fn key(writer: u64, number: u64) -> String {
    format!("key:{writer}:{number}")
}

/// Whether a replica has acknowledged the write; `None` when the connection is of no use any more.
fn set_and_wait(client: &mut Client, key: &str, value: &str) -> Option<bool> {
    let set = support::encode(&["SET", key, value]);
    let wait = support::encode(&["WAIT", "1", "500"]);
    client.try_write(&[set, wait].concat()).ok()?;
    let (set, wait) = (client.try_recv()?, client.try_recv()?);
    match (set, wait) {
        (Value::Simple(ok), Value::Int(replicas)) if ok == "OK" => Some(replicas >= 1),
        // It is a replica by now, or still loading.
        _ => None,
    }
}

/// Fails unless all that was acknowledged is there.
#[track_caller]
fn check_written(server: &Server, counts: &[u64]) {
    for (writer, &count) in counts.iter().enumerate() {
        let mut get = vec!["MGET".to_owned()];
        get.extend((0..count).map(|number| key(writer as u64, number)));
        if count == 0 {
            continue;
        }
        let words: Vec<&str> = get.iter().map(String::as_str).collect();
        let values = ask(server, &words);
        for (number, value) in values.items().iter().enumerate() {
            assert_eq!(
                *value,
                number.to_string(),
                "{} of {count}",
                words[number + 1]
            );
        }
    }
}

/// Waits until so many more writes are acknowledged.
#[track_caller]
fn wait_written(what: &str, acknowledged: &AtomicU64) {
    let before = acknowledged.load(Ordering::Relaxed);
    eventually(what, PATIENCE, || {
        acknowledged.load(Ordering::Relaxed) >= before + ENOUGH
    });
}

#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn a_primary_killed_under_load_is_replaced_and_returns_as_a_replica() {
    let mut cluster = Cluster::start();
    let sentinels: Vec<u16> = cluster.sentinels.iter().map(Server::port).collect();
    let (acknowledged, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (counts, primary) = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (sentinels, acknowledged, stop) = (&sentinels, &acknowledged, &stop);
                scope.spawn(move || write(writer, sentinels, acknowledged, stop))
            })
            .collect();
        // A failed check must not leave the writers behind, for which the scope would wait.
        let ending = StopOnDrop(&stop);
        wait_written("writes with the first primary", &acknowledged);
        cluster.nodes[0].kill9();
        let primary = cluster.wait_agreed(|number| number != 0);
        wait_written("writes with the second primary", &acknowledged);
        cluster.nodes[0].restart();
        cluster.wait_linked(primary);
        wait_written("writes with the first primary as a replica", &acknowledged);
        drop(ending);
        let counts: Vec<u64> = writers
            .into_iter()
            .map(|writer| writer.join().expect("a writer"))
            .collect();
        (counts, primary)
    });
    check_written(&cluster.nodes[primary], &counts);
    cluster.wait_equal();
    check_written(&cluster.nodes[0], &counts);
    // Nothing has to be told to a node that starts again.
    cluster.wait_written(primary);
    cluster.nodes[0].restart();
    let role = ask(&cluster.nodes[0], &["ROLE"]);
    assert_eq!(role.items()[0], "slave");
    assert_eq!(role.items()[2], i64::from(cluster.nodes[primary].port()));
    cluster.wait_linked(primary);
    cluster.wait_equal();
    cluster.wait_known();
    // It was one failover, and nobody has changed their mind since.
    assert_eq!(cluster.wait_agreed(|_| true), primary);
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn a_primary_makes_room_on_demand() {
    let cluster = Cluster::start();
    let mut client = cluster.nodes[0].client();
    for number in 0..ENOUGH {
        assert_eq!(
            client.cmd(&["SET", &key(0, number), &number.to_string()]),
            "OK"
        );
    }
    assert_eq!(client.run("WAIT 2 10000"), 2);
    // The one that does not want to is passed over.
    let unwilling = cluster.nodes[1]
        .client()
        .run("CONFIG SET replica-priority 0");
    assert_eq!(unwilling, "OK");
    for sentinel in &cluster.sentinels {
        let mut client = sentinel.client();
        eventually("a sentinel knows the priorities", PATIENCE, || {
            let replicas = client.run("SENTINEL REPLICAS main");
            let mut priorities: Vec<String> = replicas
                .items()
                .iter()
                .map(|replica| replica.field("slave-priority").text())
                .collect();
            priorities.sort();
            priorities == ["0", "100"]
        });
    }
    let mut listener = cluster.nodes[0].client();
    assert_eq!(listener.run("SUBSCRIBE channel").items()[0], "subscribe");
    let told = cluster.sentinels[0].client().run("SENTINEL FAILOVER main");
    assert_eq!(told, "OK");
    assert_eq!(cluster.wait_agreed(|number| number != 0), 2);
    cluster.wait_linked(2);
    // Clients of the old primary have to look for the new one.
    client.assert_closed();
    listener.assert_closed();
    cluster.wait_written(2);
    check_written(&cluster.nodes[2], &[ENOUGH]);
    eventually("a write is acknowledged", PATIENCE, || {
        let client = cluster.nodes[2].connect();
        client.is_ok_and(|mut client| set_and_wait(&mut client, "after", "failover") == Some(true))
    });
    cluster.wait_equal();
    for node in &cluster.nodes {
        assert_eq!(ask(node, &["GET", "after"]), "failover");
    }
}
