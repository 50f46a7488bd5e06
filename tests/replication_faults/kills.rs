//! Servers that are killed, and chains that are turned round, while clients write.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::load::Writers;
use crate::nodes::{
    assert_equal, attach, await_link, await_link_down, await_offsets, field, follow, loaded, node,
    promote, replica_of,
};
use crate::support::{REPLY_TIMEOUT, Random, Server, eventually, oracle};
use crate::{Length, long, short, untold};

/// Lets the writers do something for a moment.
#[track_caller]
fn some_more(writers: &Writers, batches: u64) {
    let before = writers.batches.load(Relaxed);
    eventually("they write", Duration::from_secs(30), || {
        writers.batches.load(Relaxed) >= before + batches
    });
}

/// Kills a replica at random moments; it is started again and connects by itself.
fn kill_the_replica(length: Length, options: &[&str]) {
    if oracle() {
        // A Redis that forks leaves a child behind when it is killed.
        return;
    }
    let primary = node(&["--repl-backlog-size", "20mb"]);
    primary.client().run("DEBUG POPULATE 3000 populated 100");
    let address = format!("127.0.0.1 {}", primary.port());
    let mut replica = node(&[&["--replicaof", &address], options].concat());
    let writers = Writers::default();
    writers.pause.store(300, Relaxed);
    std::thread::scope(|scope| {
        let _end = writers.end();
        scope.spawn(|| writers.run(primary.port(), length.seed, untold));
        let mut random = Random::new(length.seed);
        for _ in 0..length.rounds {
            if random.below(3) > 0 {
                await_link(&replica);
            }
            std::thread::sleep(Duration::from_micros(random.below(50_000)));
            replica.kill9();
            replica.restart();
        }
    });
    let what = format!("seed {}, {options:?}", length.seed);
    assert_equal(&[&primary, &replica], &what);
    assert!(!replica.log().contains("panicked"), "{}", replica.log());
}

const AOF: [&str; 2] = ["--appendonly", "yes"];

#[test]
fn a_replica_is_killed() {
    kill_the_replica(short(6), &[]);
    kill_the_replica(short(6), &AOF);
}

#[test]
#[ignore = "long: many kills"]
fn a_replica_is_killed_long() {
    kill_the_replica(long(20), &[]);
    kill_the_replica(long(20), &AOF);
}

/// Kills a primary at random moments. One without files comes back empty, and its replicas become
/// empty with it; one with an append only file comes back with what it had acknowledged.
fn kill_the_primary(length: Length, options: &[&str]) {
    if oracle() {
        return;
    }
    let mut primary = node(options);
    let replicas = [replica_of(&primary, &[]), replica_of(&primary, &[])];
    let below = replica_of(&replicas[0], &[]);
    let writers = Writers::default();
    writers.pause.store(300, Relaxed);
    std::thread::scope(|scope| {
        let _end = writers.end();
        let (writers, port) = (&writers, primary.port());
        scope.spawn(move || writers.run(port, length.seed, untold));
        let mut random = Random::new(length.seed);
        for _ in 0..length.rounds {
            some_more(writers, 20);
            if random.below(2) == 0 {
                await_link(&replicas[0]);
            }
            primary.kill9();
            primary.restart();
        }
    });
    let what = format!("seed {}, {options:?}", length.seed);
    assert_equal(&[&primary, &replicas[0], &replicas[1], &below], &what);
}

#[test]
fn a_primary_is_killed() {
    kill_the_primary(short(4), &[]);
    kill_the_primary(short(4), &["--appendonly", "yes", "--appendfsync", "no"]);
}

#[test]
#[ignore = "long: many kills"]
fn a_primary_is_killed_long() {
    kill_the_primary(long(20), &[]);
    kill_the_primary(long(20), &["--appendonly", "yes", "--appendfsync", "no"]);
}

/// A primary that comes back empty: everybody is empty, then.
#[test]
fn a_primary_that_comes_back_empty() {
    let mut primary = node(&[]);
    let replica = replica_of(&primary, &[]);
    let below = replica_of(&replica, &[]);
    primary.client().run("SET a 1");
    await_offsets(&[&primary, &replica, &below]);
    primary.kill9();
    await_link_down(&replica);
    assert_eq!(replica.client().run("GET a"), "1");
    primary.restart();
    await_link(&replica);
    await_link(&below);
    primary.client().run("SET b 1");
    assert_equal(&[&primary, &replica, &below], "empty");
    for node in [&replica, &below] {
        assert_eq!(node.client().run("EXISTS a"), 0);
        assert_eq!(node.client().run("GET b"), "1");
    }
}

/// What a client of a replica may ask for and yet changes bytes there: `PFCOUNT` keeps its result.
fn changes_where_it_reads(args: &[Vec<u8>]) -> bool {
    untold(args) || args[0].eq_ignore_ascii_case(b"PFCOUNT")
}

/// A chain of three, turned round again and again under load. Clients write to every node, of
/// which all but one refuse.
fn turn_round(length: Length) {
    let nodes = [node(&[]), node(&[]), node(&[])];
    attach(&nodes[1], &nodes[0]);
    attach(&nodes[2], &nodes[1]);
    let writers = Writers::default();
    writers.pause.store(1000, Relaxed);
    let mut order: Vec<&Server> = nodes.iter().collect();
    let mut random = Random::new(length.seed);
    std::thread::scope(|scope| {
        let _end = writers.end();
        for (n, node) in nodes.iter().enumerate() {
            let (writers, port) = (&writers, node.port());
            scope.spawn(move || writers.run(port, length.seed + n as u64, changes_where_it_reads));
        }
        for _ in 0..length.rounds {
            some_more(&writers, 30);
            order.reverse();
            promote(order[0]);
            if random.below(2) == 0 {
                some_more(&writers, 3);
            }
            follow(order[1], order[0].port());
            follow(order[2], order[1].port());
            if random.below(3) > 0 {
                await_link(order[1]);
                await_link(order[2]);
            }
        }
    });
    assert_equal(&order, &format!("seed {}", length.seed));
    assert_eq!(field(order[0], "role"), "master");
}

#[test]
fn a_chain_is_turned_round() {
    turn_round(short(8));
}

#[test]
#[ignore = "long: many turns"]
fn a_chain_is_turned_round_long() {
    turn_round(long(20));
}

/// Roles that change as fast as commands can be sent: nobody stops answering.
#[test]
fn roles_change_quickly() {
    let (one, two) = (node(&[]), node(&[]));
    let nodes = [&one, &two];
    let ports = [one.port().to_string(), two.port().to_string()];
    let mut random = Random::new(1);
    for _ in 0..300 {
        let at = random.below(2) as usize;
        let reply = match random.below(3) {
            0 => loaded(nodes[at], &["REPLICAOF", "NO", "ONE"]),
            1 => loaded(nodes[at], &["REPLICAOF", "127.0.0.1", &ports[1 - at]]),
            _ => loaded(nodes[at], &["REPLICAOF", "127.0.0.1", &ports[at]]),
        };
        assert!(reply.text().starts_with("OK"), "{reply:?}");
    }
    promote(&one);
    assert_eq!(one.client().run("SET a 1"), crate::support::simple("OK"));
    follow(&two, one.port());
    assert_equal(&[&one, &two], "after all");
    eventually("no connection is left over", REPLY_TIMEOUT, || {
        field(&one, "connected_slaves") == "1" && field(&two, "connected_slaves") == "0"
    });
}
