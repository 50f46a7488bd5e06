//! Links that are cut at random bytes, stalled, refused and falsified.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::load::Writers;
use crate::nodes::{
    assert_equal, await_link, await_link_down, count, field, follow, loaded, node, offset, promote,
};
use crate::proxy::{Fault, Plan, Proxy, Way};
use crate::support::{REPLY_TIMEOUT, Random, Server, eventually, oracle, simple};
use crate::{Length, long, short, untold};

/// How long one fault may take to happen: a replica tries again after a second.
const FAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// About how long the answers of a handshake are, with the first line of the transfer.
const HANDSHAKE: u64 = 140;

/// Where a connection is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Handshake,
    Transfer,
    Stream,
}

/// A fault somewhere in this phase. `snapshot` is about the size of one.
fn fault(random: &mut Random, phase: Phase, snapshot: u64) -> Plan {
    let below = |random: &mut Random, limit| Fault::Cut(random.below(limit));
    match phase {
        Phase::Handshake => match random.below(5) {
            0 => Plan {
                refuse: true,
                ..Plan::default()
            },
            1 | 2 => Plan::of(Way::Up, below(random, 250)),
            _ => Plan::of(Way::Down, below(random, HANDSHAKE)),
        },
        Phase::Transfer => {
            let at = HANDSHAKE + random.below(snapshot);
            Plan::of(Way::Down, Fault::Cut(at))
        }
        Phase::Stream => Plan::of(Way::Down, below(random, 2 * snapshot)),
    }
}

/// Cuts the link of a replica again and again while clients write to its primary.
fn cut_again_and_again(length: Length, diskless: &str, load: &str) {
    let primary = node(&[
        "--repl-diskless-sync",
        diskless,
        "--repl-backlog-size",
        "20mb",
    ]);
    primary.client().run("DEBUG POPULATE 3000 populated 100");
    let proxy = Proxy::to(primary.port());
    let replica = node(&["--repl-diskless-load", load]);
    let below = node(&[]);
    follow(&replica, proxy.port());
    await_link(&replica);
    follow(&below, replica.port());
    await_link(&below);
    let (_, snapshot) = proxy.bytes();
    let writers = Writers::default();
    writers.pause.store(300, Relaxed);
    let what = format!("seed {}, diskless {diskless}, load {load}", length.seed);
    std::thread::scope(|scope| {
        let _end = writers.end();
        for seed in 0..2 {
            let (writers, port) = (&writers, primary.port());
            scope.spawn(move || writers.run(port, length.seed + seed, untold));
        }
        let mut random = Random::new(length.seed);
        for round in 0..length.rounds {
            let phases = [Phase::Handshake, Phase::Transfer, Phase::Stream];
            let phase = *random.pick(&phases);
            let plan = fault(&mut random, phase, snapshot);
            let before = proxy.faults();
            proxy.plan(move |_| plan);
            if phase == Phase::Transfer {
                // A history of its own, so that it needs everything.
                promote(&replica);
                follow(&replica, proxy.port());
            } else {
                proxy.cut();
            }
            let name = format!("{what}, round {round}: {plan:?} in the {phase:?}");
            eventually(&name, FAULT_TIMEOUT, || {
                // The next connection may get through a handshake without a cut, and then has
                // nothing more to say in this direction.
                proxy.faults() > before
                    || phase == Phase::Handshake && {
                        field(&replica, "master_link_status") == "up"
                    }
            });
            if random.below(3) == 0 {
                proxy.heal();
                await_link(&replica);
            }
        }
        proxy.heal();
    });
    assert!(
        proxy.faults() * 2 >= length.rounds,
        "{what}: hardly a fault"
    );
    proxy.cut();
    assert_equal(&[&primary, &replica, &below], &what);
    assert_eq!(loaded(&replica, &["PING"]), simple("PONG"));
}

#[test]
fn cuts_diskless() {
    cut_again_and_again(short(12), "yes", "disabled");
}

#[test]
fn cuts_with_files() {
    cut_again_and_again(short(12), "no", "swapdb");
}

#[test]
#[ignore = "long: cuts of each kind"]
fn cuts_long() {
    let length = long(20);
    for (n, (diskless, load)) in [
        ("yes", "disabled"),
        ("no", "swapdb"),
        ("yes", "swapdb"),
        ("no", "disabled"),
        ("yes", "on-empty-db"),
    ]
    .into_iter()
    .enumerate()
    {
        let length = Length {
            seed: length.seed + n as u64,
            ..length
        };
        cut_again_and_again(length, diskless, load);
    }
}

/// A stream that is cut goes on where it was, again and again, without another snapshot.
fn resume_again_and_again(length: Length) {
    let primary = node(&["--repl-backlog-size", "50mb"]);
    let proxy = Proxy::to(primary.port());
    let replica = node(&[]);
    follow(&replica, proxy.port());
    await_link(&replica);
    let writers = Writers::default();
    writers.pause.store(300, Relaxed);
    std::thread::scope(|scope| {
        let _end = writers.end();
        let (writers, port) = (&writers, primary.port());
        scope.spawn(move || writers.run(port, length.seed, untold));
        let mut random = Random::new(length.seed);
        for _ in 0..length.rounds {
            let before = proxy.faults();
            let at = HANDSHAKE + random.below(20_000);
            proxy.plan(move |_| Plan::of(Way::Down, Fault::Cut(at)));
            proxy.cut();
            eventually("the link is cut", FAULT_TIMEOUT, || proxy.faults() > before);
        }
        proxy.heal();
    });
    proxy.cut();
    assert_equal(&[&primary, &replica], &format!("seed {}", length.seed));
    assert_eq!(count(&primary, "sync_full"), 1);
    assert!(count(&primary, "sync_partial_ok") >= length.rounds as i64);
}

#[test]
fn a_stream_goes_on() {
    resume_again_and_again(short(12));
}

#[test]
#[ignore = "long: many cuts"]
fn a_stream_goes_on_long() {
    resume_again_and_again(long(20));
}

/// Bytes that change on the way: the snapshot has a checksum, and so the replica notices.
fn falsify(length: Length, load: &str) {
    if oracle() {
        // A Redis that loads a file which makes no sense ends itself.
        return;
    }
    let primary = node(&["--repl-ping-replica-period", "1"]);
    let writers = Writers::default();
    std::thread::scope(|scope| {
        let _end = writers.end();
        scope.spawn(|| writers.run(primary.port(), length.seed, untold));
        eventually("something is written", REPLY_TIMEOUT, || {
            writers.batches.load(Relaxed) > 100
        });
    });
    primary.client().run("DEBUG POPULATE 200 populated 100");
    let proxy = Proxy::to(primary.port());
    // A length that has become larger than what comes is noticed by its not coming.
    let replica = node(&["--repl-diskless-load", load, "--repl-timeout", "4"]);
    follow(&replica, proxy.port());
    await_link(&replica);
    let (_, snapshot) = proxy.bytes();
    let mut random = Random::new(length.seed);
    for round in 0..length.rounds {
        promote(&replica);
        // Behind the length, and before what may follow the checksum.
        let at = HANDSHAKE + random.below(snapshot - HANDSHAKE - 60);
        let mask = 1 << random.below(8);
        let (before, accepted) = (replica.log().len(), proxy.accepted());
        proxy.plan(move |_| Plan::of(Way::Down, Fault::Change(at, mask)));
        follow(&replica, proxy.port());
        let name = format!("{load}, seed {}, round {round}: byte {at}", length.seed);
        // It tries again, and so has noticed.
        eventually(&name, FAULT_TIMEOUT, || proxy.accepted() > accepted + 1);
        let log = replica.log();
        let said = &log[before..];
        assert!(!said.contains("panicked"), "{name}: {said}");
        proxy.heal();
        proxy.cut();
        assert_equal(&[&primary, &replica], &name);
    }
}

#[test]
fn falsified_snapshots() {
    falsify(short(6), "disabled");
    falsify(short(6), "swapdb");
}

#[test]
#[ignore = "long: many changed bytes"]
fn falsified_snapshots_long() {
    for load in ["disabled", "swapdb", "on-empty-db"] {
        falsify(long(4), load);
    }
}

/// Bytes that change in the stream: whatever the replica makes of them, it goes on, and a snapshot
/// makes it whole.
fn falsify_the_stream(length: Length) {
    if oracle() {
        // It counts on the checksum of a snapshot no more than on its contents.
        return;
    }
    let primary = node(&["--repl-backlog-size", "50mb"]);
    let proxy = Proxy::to(primary.port());
    let replica = node(&["--repl-timeout", "5"]);
    follow(&replica, proxy.port());
    await_link(&replica);
    let writers = Writers::default();
    writers.pause.store(500, Relaxed);
    std::thread::scope(|scope| {
        let _end = writers.end();
        let (writers, port) = (&writers, primary.port());
        scope.spawn(move || writers.run(port, length.seed, untold));
        let mut random = Random::new(length.seed);
        for _ in 0..length.rounds {
            let (at, mask) = (HANDSHAKE + random.below(3000), 1 << random.below(8));
            let before = proxy.accepted();
            proxy.plan(move |number| match number > before {
                true => Plan::default(),
                false => Plan::of(Way::Down, Fault::Change(at, mask)),
            });
            proxy.cut();
            eventually("it has gone through", FAULT_TIMEOUT, || {
                proxy.accepted() > before && proxy.last().1 > at + 1000
                    || proxy.accepted() > before + 1
            });
            assert_eq!(loaded(&replica, &["PING"]), simple("PONG"));
        }
        proxy.heal();
    });
    promote(&replica);
    follow(&replica, proxy.port());
    assert_equal(&[&primary, &replica], &format!("seed {}", length.seed));
}

#[test]
fn falsified_streams() {
    falsify_the_stream(short(12));
}

#[test]
#[ignore = "long: many changed bytes"]
fn falsified_streams_long() {
    falsify_the_stream(long(20));
}

/// Offsets are bytes: as many as go through the link.
#[test]
fn offsets_are_bytes() {
    let primary = node(&["--repl-ping-replica-period", "3600"]);
    let proxy = Proxy::to(primary.port());
    let replica = node(&[]);
    follow(&replica, proxy.port());
    await_link(&replica);
    // The first write selects a database.
    primary.client().run("SET a 1");
    assert_equal(&[&primary, &replica], "one write");
    let before = (proxy.last().1, offset(&primary));
    let writers = Writers::default();
    std::thread::scope(|scope| {
        let _end = writers.end();
        scope.spawn(|| writers.run(primary.port(), 5, untold));
        eventually("something is written", REPLY_TIMEOUT, || {
            writers.batches.load(Relaxed) > 50
        });
    });
    assert_equal(&[&primary, &replica], "many writes");
    let after = (proxy.last().1, offset(&primary));
    assert_eq!((after.0 - before.0) as i64, after.1 - before.1);
    assert_eq!(proxy.accepted(), 1);
}

/// The lower link of a chain breaks while the upper one holds, and the other way round.
#[test]
fn both_links_of_a_chain() {
    let primary = node(&["--repl-backlog-size", "20mb"]);
    let upper = Proxy::to(primary.port());
    let middle = node(&["--repl-backlog-size", "20mb"]);
    follow(&middle, upper.port());
    await_link(&middle);
    let lower = Proxy::to(middle.port());
    let last = node(&[]);
    follow(&last, lower.port());
    await_link(&last);
    let writers = Writers::default();
    writers.pause.store(300, Relaxed);
    std::thread::scope(|scope| {
        let _end = writers.end();
        scope.spawn(|| writers.run(primary.port(), 6, untold));
        let mut random = Random::new(6);
        for _ in 0..8 {
            let proxy = *random.pick(&[&upper, &lower]);
            let (before, at) = (proxy.faults(), HANDSHAKE + random.below(20_000));
            proxy.plan(move |_| Plan::of(Way::Down, Fault::Cut(at)));
            proxy.cut();
            eventually("the link is cut", FAULT_TIMEOUT, || proxy.faults() > before);
            proxy.heal();
        }
    });
    assert_equal(&[&primary, &middle, &last], "a chain");
    assert_eq!(count(&primary, "sync_full"), 1);
    assert_eq!(count(&middle, "sync_full"), 1);
}

/// A link through which nothing goes any more is given up by both sides.
#[test]
fn a_link_that_stalls() {
    let primary = node(&["--repl-timeout", "2", "--repl-ping-replica-period", "1"]);
    primary.client().run("DEBUG POPULATE 1000 populated 100");
    let proxy = Proxy::to(primary.port());
    let replica = node(&["--repl-timeout", "2"]);
    follow(&replica, proxy.port());
    await_link(&replica);
    proxy.stall(true);
    await_link_down(&replica);
    eventually("the primary gives it up", REPLY_TIMEOUT, || {
        primary.log().contains("Disconnecting timedout replica")
    });
    primary.client().run("SET a 1");
    proxy.heal();
    proxy.cut();
    assert_equal(&[&primary, &replica], "after a stall");
    // Within the snapshot.
    promote(&replica);
    let before = proxy.accepted();
    proxy.plan(move |number| match number == before {
        true => Plan::of(Way::Down, Fault::Stall(10_000)),
        false => Plan::default(),
    });
    follow(&replica, proxy.port());
    eventually("it tries again", REPLY_TIMEOUT, || {
        proxy.accepted() > before + 1
    });
    assert_equal(&[&primary, &replica], "after a stalled snapshot");
}

/// A replica that does not read fast enough is dropped, and comes back.
fn over_the_limit(what: &str, stop: impl Fn(&Proxy, &Server), go: impl Fn(&Proxy, &Server)) {
    let primary = node(&["--client-output-buffer-limit", "replica 2mb 0 0"]);
    let proxy = Proxy::to(primary.port());
    let replica = node(&[]);
    follow(&replica, proxy.port());
    await_link(&replica);
    stop(&proxy, &replica);
    let mut client = primary.client();
    let value = "x".repeat(100_000);
    for n in 0..400 {
        client.cmd(&["SET", &format!("key:{n}"), &value]);
    }
    eventually("it is dropped", REPLY_TIMEOUT, || {
        client.run("SET tick 1");
        field(&primary, "connected_slaves") == "0"
    });
    primary.wait_log("output buffer limits");
    go(&proxy, &replica);
    assert_equal(&[&primary, &replica], what);
    assert!(count(&primary, "sync_full") >= 2);
}

#[test]
fn a_slow_link() {
    over_the_limit(
        "a slow link",
        |proxy, _| proxy.stall(true),
        |proxy, _| {
            proxy.heal();
            proxy.cut();
        },
    );
}

#[test]
fn a_slow_replica() {
    over_the_limit(
        "a slow replica",
        |_, replica| crate::support::signal(replica.pid(), "STOP"),
        |_, replica| crate::support::signal(replica.pid(), "CONT"),
    );
}
