//! stdis and redis-server 7.0 as each other's primaries and replicas: alone, in chains in every
//! order, across links that break and roles that change. The random commands of the differential
//! test are written all the while; at the end all nodes are at one offset and have one digest.
//!
//! Needs `redis-server` 7.0 on the path, so every test here is ignored by default:
//! `cargo test --test replication_mixed -- --ignored`. `STDIS_SEED` repeats a run, `STDIS_ROUNDS`
//! says how many there are.

#![allow(dead_code)]

#[path = "differential/families.rs"]
mod families;
#[path = "differential/keyspace.rs"]
mod keyspace;
#[path = "support/link.rs"]
mod link;
#[path = "differential/load.rs"]
mod load;
#[path = "support/nodes.rs"]
mod nodes;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "differential/random.rs"]
mod random;
#[path = "differential/server.rs"]
mod server;
mod support;
#[path = "differential/wire.rs"]
mod wire;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use link::RawReplica;
use load::{Kind, Writers};
use nodes::{
    assert_equal, attach, await_link, await_offsets, count, field, follow, node, promote,
    redis_node,
};
use proxy::{Fault, Plan, Proxy, Way};
use random::Random;
use support::{REPLY_TIMEOUT, Server, encode, eventually};

/// Which of the two programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Program {
    Stdis,
    Redis,
}

use Program::{Redis, Stdis};

/// All chains of three with both programs in them.
const CHAINS: [[Program; 3]; 6] = [
    [Stdis, Redis, Stdis],
    [Redis, Stdis, Redis],
    [Stdis, Redis, Redis],
    [Redis, Stdis, Stdis],
    [Stdis, Stdis, Redis],
    [Redis, Redis, Stdis],
];

/// Forms of the transfer: the primary's and the replica's.
const TRANSFERS: [[&str; 2]; 4] = [
    ["yes", "disabled"],
    ["no", "disabled"],
    ["yes", "swapdb"],
    ["no", "on-empty-db"],
];

fn start(program: Program, args: &[&str]) -> Server {
    match program {
        Stdis => node(args),
        Redis => redis_node(args),
    }
}

fn seeds(rounds: u64) -> impl Iterator<Item = u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("STDIS_SEED").unwrap_or(1);
    first..first + number("STDIS_ROUNDS").unwrap_or(rounds)
}

/// What the two programs make different things of, so that a stream of effects does not say it all.
fn left_out(args: &[Vec<u8>]) -> bool {
    // Redis' sorted sets have two zeroes in some encodings and one in others.
    let negative_zero = |arg: &Vec<u8>| {
        arg.first() == Some(&b'-')
            && std::str::from_utf8(arg)
                .is_ok_and(|text| text.parse::<f64>().is_ok_and(|number| number == 0.0))
    };
    load::untold(args) || args.iter().any(negative_zero)
}

/// Writes so many random commands.
fn write(server: &Server, seed: u64, commands: usize) {
    let mut client = server.client();
    let mut random = Random::new(seed);
    let mut left = commands;
    while left > 0 {
        let mut batch = load::batch(&mut random, 50, Kind::Everything);
        batch.retain(|args| !left_out(args));
        let bytes: Vec<u8> = batch.iter().flat_map(|args| encode(args)).collect();
        client.write(&bytes);
        for _ in &batch {
            client.recv();
        }
        left = left.saturating_sub(50);
    }
}

/// Lets the writers do something for a moment.
#[track_caller]
fn some_more(writers: &Writers, batches: u64) {
    let before = writers.batches.load(Relaxed);
    eventually("they write", Duration::from_secs(30), || {
        writers.batches.load(Relaxed) >= before + batches
    });
}

/// One replica of the other program, before which, while which and after which is written.
fn one_replica(first: Program, second: Program, seed: u64, transfer: [&str; 2]) {
    let what = format!("{second:?} below {first:?}, seed {seed}, {transfer:?}");
    let primary = start(first, &["--repl-diskless-sync", transfer[0]]);
    let replica = start(second, &["--repl-diskless-load", transfer[1]]);
    write(&primary, seed, 3000);
    let writers = Writers::default();
    std::thread::scope(|scope| {
        let _end = writers.end();
        for n in 0..2 {
            let (writers, port) = (&writers, primary.port());
            scope.spawn(move || writers.run(port, 1000 * seed + n, left_out));
        }
        some_more(&writers, 10);
        attach(&replica, &primary);
        some_more(&writers, 100);
    });
    assert_equal(&[&primary, &replica], &what);
    let info = replica.info("replication");
    assert_eq!(info["master_replid"], field(&primary, "master_replid"));
    let port = format!(",port={},state=online,", replica.port());
    eventually(&what, REPLY_TIMEOUT, || {
        field(&primary, "slave0").contains(&port)
    });
    // Whatever is in it goes to a file and back.
    assert_eq!(replica.client().run("DEBUG RELOAD"), support::simple("OK"));
    assert_equal(&[&primary, &replica], &format!("{what}, reloaded"));
}

#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn redis_below_stdis() {
    for seed in seeds(4) {
        one_replica(Stdis, Redis, seed, TRANSFERS[seed as usize % 4]);
    }
}

#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn stdis_below_redis() {
    for seed in seeds(4) {
        one_replica(Redis, Stdis, seed, TRANSFERS[seed as usize % 4]);
    }
}

/// Three in a row, written to at the head; every node's stream is the same, byte for byte.
fn chain(programs: [Program; 3], seed: u64) {
    let what = format!("{programs:?}, seed {seed}");
    let nodes = programs.map(|program| start(program, &["--repl-backlog-size", "64mb"]));
    write(&nodes[0], seed, 1000);
    attach(&nodes[1], &nodes[0]);
    attach(&nodes[2], &nodes[1]);
    await_offsets(&[&nodes[0], &nodes[1], &nodes[2]]);
    let id = field(&nodes[0], "master_replid");
    let start = nodes::offset(&nodes[0]) as u64;
    let mut raw = [0, 1, 2].map(|n: usize| RawReplica::partial(nodes[n].port(), &id, start));
    write(&nodes[0], seed + 1, 2000);
    nodes[0].client().run("SET the:end 1");
    assert_equal(&[&nodes[0], &nodes[1], &nodes[2]], &what);
    let streams = raw.each_mut().map(|raw| {
        let mut words = Vec::new();
        let mut last = false;
        while !last {
            let command = raw.link.try_command().expect("a command");
            last = command.len() == 3 && command[1] == b"the:end";
            words.push(command);
        }
        (words, raw.link.consumed)
    });
    for (n, stream) in streams.iter().enumerate() {
        let same = streams[0].0.iter().zip(&stream.0);
        let same = same.take_while(|(one, other)| one == other).count();
        assert!(
            streams[0] == *stream,
            "{what}: node {n} differs from command {same} on, of {}",
            stream.0.len()
        );
    }
}

#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn chains() {
    for seed in seeds(1) {
        for programs in CHAINS {
            chain(programs, seed);
        }
    }
}

/// The link between two programs breaks again and again, and goes on without a snapshot.
fn resumes(first: Program, second: Program, seed: u64) {
    let what = format!("{second:?} below {first:?}, seed {seed}");
    let primary = start(first, &["--repl-backlog-size", "64mb"]);
    let proxy = Proxy::to(primary.port());
    let replica = start(second, &[]);
    let below = start(first, &[]);
    follow(&replica, proxy.port());
    await_link(&replica);
    attach(&below, &replica);
    let writers = Writers::default();
    writers.pause.store(300, Relaxed);
    std::thread::scope(|scope| {
        let _end = writers.end();
        let (writers, port) = (&writers, primary.port());
        scope.spawn(move || writers.run(port, seed, left_out));
        let mut random = Random::new(seed);
        for _ in 0..10 {
            let before = proxy.faults();
            let at = 140 + random.below(20_000) as u64;
            proxy.plan(move |_| Plan::of(Way::Down, Fault::Cut(at)));
            proxy.cut();
            eventually("the link is cut", Duration::from_secs(60), || {
                proxy.faults() > before
            });
        }
        proxy.heal();
    });
    proxy.cut();
    assert_equal(&[&primary, &replica, &below], &what);
    assert_eq!(count(&primary, "sync_full"), 1, "{what}");
    assert!(count(&primary, "sync_partial_ok") >= 10, "{what}");
    assert_eq!(count(&replica, "sync_full"), 1, "{what}");
}

#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn partial_resyncs() {
    for seed in seeds(1) {
        resumes(Stdis, Redis, seed);
        resumes(Redis, Stdis, seed);
    }
}

/// Roles go round: each program in turn is promoted, and the others go on below it from where they
/// are.
fn promotions(programs: [Program; 3], seed: u64) {
    let what = format!("{programs:?}, seed {seed}");
    let nodes = programs.map(|program| start(program, &["--repl-backlog-size", "64mb"]));
    write(&nodes[0], seed, 1000);
    attach(&nodes[1], &nodes[0]);
    attach(&nodes[2], &nodes[0]);
    for round in 0..6 {
        let [old, new, other] = [0, 1, 2].map(|n| &nodes[(round + n) % 3]);
        assert_equal(&[old, new, other], &format!("{what}, round {round}"));
        promote(new);
        write(new, seed + round as u64, 300);
        if round % 2 == 0 {
            attach(old, new);
            attach(other, new);
        } else {
            // In a row.
            attach(other, new);
            attach(old, other);
        }
        write(new, seed + 10 + round as u64, 300);
        assert_equal(&[new, other, old], &format!("{what}, round {round}"));
    }
    let full: i64 = nodes.iter().map(|node| count(node, "sync_full")).sum();
    assert_eq!(full, 2, "{what}: only the first two are in full");
}

#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn promotions_go_on() {
    for seed in seeds(1) {
        for programs in [[Stdis, Redis, Stdis], [Redis, Stdis, Redis]] {
            promotions(programs, seed);
        }
    }
}

/// FAILOVER from one program to the other and back.
#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn failovers() {
    let (one, two) = (start(Stdis, &[]), start(Redis, &[]));
    attach(&two, &one);
    for (round, [from, to]) in [[&one, &two], [&two, &one]]
        .into_iter()
        .cycle()
        .take(4)
        .enumerate()
    {
        write(from, round as u64, 500);
        await_offsets(&[from, to]);
        let line = format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 10000", to.port());
        eventually("it is accepted", REPLY_TIMEOUT, || {
            from.client().run(&line) == support::simple("OK")
        });
        eventually("roles have changed", REPLY_TIMEOUT, || {
            field(to, "role") == "master" && field(from, "role") == "slave"
        });
        await_link(from);
        write(to, round as u64 + 10, 500);
        assert_equal(&[to, from], &format!("round {round}"));
    }
    assert_eq!(count(&one, "sync_full") + count(&two, "sync_full"), 1);
}

/// A data set moves from redis-server to stdis, and back, without a stop: the clients go from the
/// old to the new as it is promoted.
#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn a_move_and_a_move_back() {
    let mut current = start(Redis, &[]);
    write(&current, 1, 2000);
    for (round, program) in [Stdis, Redis, Stdis].into_iter().enumerate() {
        let next = start(program, &[]);
        attach(&next, &current);
        write(&current, round as u64 + 2, 500);
        assert_equal(&[&current, &next], &format!("move {round}"));
        promote(&next);
        write(&next, round as u64 + 20, 500);
        current = next;
    }
}

/// WAIT counts replicas of both programs.
#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn waiting_for_both() {
    for first in [Stdis, Redis] {
        let primary = start(first, &[]);
        let replicas = [start(Stdis, &[]), start(Redis, &[])];
        for replica in &replicas {
            attach(replica, &primary);
        }
        let mut client = primary.client();
        for n in 0..100 {
            client.run(&format!("SET key {n}"));
            assert_eq!(client.run("WAIT 2 0"), 2);
            for replica in &replicas {
                assert_eq!(replica.client().run("GET key"), n.to_string());
            }
        }
    }
}
