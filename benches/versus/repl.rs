//! A primary with its replicas, beside a redis-server with its own: how long a full resynchronisation takes, what
//! replicas cost the primary's clients, how far they lag behind, and what waiting for them costs. `TESTS` names what is
//! measured, of `sync rates lag wait clients`.
//!
//! All servers of a pair run on this machine and share its processors with the load, so figures of different machines
//! say little about each other; the ratios do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, key, micros};
use crate::disk::{self, OVER, QUIET, Random, SAVING, THREADS, WRITERS, paired, print_times};
use crate::server::{Dir, Server};
use crate::speed;
use crate::{Outcome, Setup, Subject, median, millis, percentile, words};

/// Options of every server here. A primary that waits for more replicas would be measured waiting.
const OPTIONS: &[&str] = &[
    "--appendonly",
    "no",
    "--repl-diskless-sync-delay",
    "0",
    "--enable-debug-command",
    "yes",
];

/// How long a replica may take to get its link up, or to have all.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long writes are counted, and how long the load runs before.
const COUNTED: Duration = Duration::from_secs(4);
const WARM: Duration = Duration::from_millis(500);

/// Between two looks at a replica that is synchronising.
const LOOK: Duration = Duration::from_millis(1);

/// Between two looks at a replica that is about to have a write, and between two such writes.
const GLANCE: Duration = Duration::from_micros(100);
const PROBES: Duration = Duration::from_millis(2);

/// Measures, and prints a table.
type Measure = fn(&Setup) -> Outcome;

/// All tables of this mode.
pub fn repl(setup: &Setup) -> Outcome {
    let tests = words("TESTS", "sync rates lag wait clients");
    let all: [(&str, Measure); 5] = [
        ("sync", synchronising),
        ("rates", rates),
        ("lag", lag),
        ("wait", waiting),
        ("clients", clients),
    ];
    let mut first = true;
    for (test, measure) in all {
        if tests.iter().any(|word| word == test) {
            if !first {
                println!();
            }
            first = false;
            measure(setup)?;
        }
    }
    Ok(())
}

// ----------------------------------------------------------------- servers and links

/// A server for a pair.
fn start(subject: &Subject, more: &[&str]) -> Outcome<Server> {
    Server::start_in(subject, &Dir::new()?, &[OPTIONS, more].concat())
}

/// Makes a server the replica of another, and waits until its link is up. How long that took.
fn attach(replica: &Server, primary: &Server) -> Outcome<Duration> {
    let mut client = Client::connect(replica.port)?;
    let start = Instant::now();
    client.command(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()])?;
    while client.field("replication", "master_link_status")? != "up" {
        if start.elapsed() > PATIENCE {
            return Err("the replica's link does not get up".into());
        }
        thread::sleep(LOOK);
    }
    Ok(start.elapsed())
}

/// A primary with so many replicas.
fn with_replicas(subject: &Subject, count: usize) -> Outcome<(Server, Vec<Server>)> {
    let primary = start(subject, &[])?;
    let mut replicas = Vec::new();
    for _ in 0..count {
        let replica = start(subject, &[])?;
        attach(&replica, &primary)?;
        replicas.push(replica);
    }
    Ok((primary, replicas))
}

/// Waits until all replicas have all that has been written.
fn settle(primary: &Server, replicas: usize) -> Outcome {
    let mut client = Client::connect(primary.port)?;
    client.command(&["SET", "settled", "1"])?;
    let all = replicas.to_string();
    let patience = PATIENCE.as_millis().to_string();
    match client.command(&["WAIT", &all, &patience])? {
        reply if reply == format!(":{all}") => Ok(()),
        reply => Err(format!("of {all} replicas, WAIT found {reply}").into()),
    }
}

/// Fails unless both hold the same.
fn compare(primary: &Server, replica: &Server) -> Outcome {
    let digest = |server: &Server| Client::connect(server.port)?.command(&["DEBUG", "DIGEST"]);
    match digest(primary)? == digest(replica)? {
        true => Ok(()),
        false => Err("the replica has another data set".into()),
    }
}

// ------------------------------------------------------------ full resynchronisation

/// A way of transferring the data set: its name, the primary's option and the replica's.
const WAYS: [(&str, &str, &str); 3] = [
    ("disk-based", "no", "disabled"),
    ("diskless", "yes", "disabled"),
    ("diskless at both ends", "yes", "on-empty-db"),
];

/// How long full resynchronisations take.
fn synchronising(setup: &Setup) -> Outcome {
    let [ours, theirs] = &setup.subjects;
    let keys = setup.scaled(1_000_000, 1000);
    let primaries = [start(ours, &[])?, start(theirs, &[])?];
    for primary in &primaries {
        fill(primary, keys)?;
    }
    println!(
        "| full resync | {keys} strings of 64 bytes | {} | {} | ratio |",
        ours.name, theirs.name
    );
    println!("| --- | --- | ---: | ---: | ---: |");
    for (name, sync, load) in WAYS {
        let mut compared = [false; 2];
        let times = paired(setup, |at| {
            let primary = &primaries[at];
            Client::connect(primary.port)?.command(&[
                "CONFIG",
                "SET",
                "repl-diskless-sync",
                sync,
            ])?;
            let replica = start(&setup.subjects[at], &["--repl-diskless-load", load])?;
            let took = attach(&replica, primary)?;
            let found = Client::connect(replica.port)?.dbsize()?;
            if found != keys {
                return Err(format!("the replica has {found} of {keys} keys").into());
            }
            if !compared[at] {
                compare(primary, &replica)?;
                compared[at] = true;
            }
            Ok(took.as_secs_f64())
        })?;
        print_times(name, "REPLICAOF until the link is up", &times);
    }
    Ok(())
}

/// Strings of 64 bytes that no compression makes shorter.
fn fill(server: &Server, keys: u64) -> Outcome {
    let mut random = Random::new(1);
    Client::connect(server.port)?.fill_with(keys, || random.text(64))
}

// --------------------------------------------------------------- the primary's clients

/// Rates of SET with and without replicas.
fn rates(setup: &Setup) -> Outcome {
    let [ours, theirs] = &setup.subjects;
    println!(
        "| SET, {WRITERS} clients, per second | {} | {} | ratio | {} against its own without |",
        ours.name, theirs.name, ours.name
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    let mut without = [f64::NAN; 2];
    for count in [0, 1, 3] {
        let pairs = [with_replicas(ours, count)?, with_replicas(theirs, count)?];
        for (cell, depth) in [1, 16].into_iter().enumerate() {
            let full = if depth > 1 { 1_000_000 } else { 200_000 };
            let requests = setup.scaled(full, WRITERS * depth);
            let rates = paired(setup, |at| {
                let (primary, _) = &pairs[at];
                let what = ["-t", "set", "-r", "100000", "-d", "64"];
                let rate = speed::benchmark(primary, WRITERS, depth, requests, &what)?;
                settle(primary, count)?;
                Ok(rate)
            })?;
            let mut ratios: Vec<f64> = rates[0].iter().zip(&rates[1]).map(|(a, b)| a / b).collect();
            let [ours, theirs] = rates.map(|mut rates| median(&mut rates));
            if count == 0 {
                without[cell] = ours;
            }
            println!(
                "| {count} replicas, {depth} under way | {ours:.0} | {theirs:.0} | {:.2} | {:.2} |",
                median(&mut ratios),
                ours / without[cell]
            );
        }
        for (primary, replicas) in &pairs {
            for replica in replicas {
                compare(primary, replica)?;
            }
        }
    }
    Ok(())
}

// --------------------------------------------------------------------- lagging behind

/// Prints a table with a row of figures for each subject.
fn print_rows(setup: &Setup, heading: &[&str], rows: [Vec<String>; 2]) {
    println!("| {} |", heading.join(" | "));
    println!("| --- |{}", " ---: |".repeat(heading.len() - 1));
    for (subject, row) in setup.subjects.iter().zip(rows) {
        println!("| {} | {} |", subject.name, row.join(" | "));
    }
}

/// How long after its acknowledgement a write is on the replica, with clients writing.
fn lag(setup: &Setup) -> Outcome {
    let pairs = [
        with_replicas(&setup.subjects[0], 1)?,
        with_replicas(&setup.subjects[1], 1)?,
    ];
    let mut found = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for _ in 0..setup.rounds {
        for ((primary, replicas), (rates, lags)) in pairs.iter().zip(&mut found) {
            let (rate, mut some) = lag_under_load(primary, &replicas[0])?;
            rates.push(rate);
            lags.append(&mut some);
            settle(primary, 1)?;
        }
    }
    let rows = found.map(|(mut rates, mut lags)| {
        lags.sort_unstable();
        let mut row = vec![format!("{:.0}", median(&mut rates)), lags.len().to_string()];
        row.extend([0.5, 0.99, 1.0].map(|share| millis(percentile(&lags, share))));
        row
    });
    let name = format!("a replica's lag, {WRITERS} clients writing");
    let heading = [
        &name,
        "writes a second",
        "looked at",
        "median",
        "99 %",
        "longest",
    ];
    print_rows(setup, &heading, rows);
    Ok(())
}

/// The rate of the writers, and the lags in microseconds.
fn lag_under_load(primary: &Server, replica: &Server) -> Outcome<(f64, Vec<u32>)> {
    let (phase, stop) = (AtomicU64::new(OVER), AtomicBool::new(false));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (phase, stop, port) = (&phase, &stop, primary.port);
                scope.spawn(move || disk::write(port, 100_000, number, phase, stop))
            })
            .collect();
        thread::sleep(WARM);
        phase.store(QUIET, Ordering::Relaxed);
        let start = Instant::now();
        let lags = probe(primary.port, replica.port, start + COUNTED);
        phase.store(OVER, Ordering::Relaxed);
        let seconds = start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let mut writes = 0;
        for writer in writers {
            let times = writer
                .join()
                .unwrap_or_else(|_| Err("a writer panicked".into()))?;
            writes += times[QUIET as usize].len();
        }
        Ok((writes as f64 / seconds, lags?))
    })
}

/// Writes one marker after the other until the end; how long each took from its acknowledgement until the replica had
/// it.
fn probe(primary: u16, replica: u16, end: Instant) -> Outcome<Vec<u32>> {
    let (mut writer, mut reader) = (Client::connect(primary)?, Client::connect(replica)?);
    let mut lags = Vec::new();
    while Instant::now() < end {
        let marker = format!("marker:{}", lags.len());
        // What an earlier round has left would be found at once.
        writer.command(&["DEL", &marker])?;
        seen(&mut reader, &marker, ":0")?;
        writer.command(&["SET", &marker, "1"])?;
        lags.push(seen(&mut reader, &marker, ":1")?);
        thread::sleep(PROBES);
    }
    Ok(lags)
}

/// Microseconds until EXISTS gives this reply.
fn seen(reader: &mut Client, marker: &str, reply: &str) -> Outcome<u32> {
    let start = Instant::now();
    while reader.command(&["EXISTS", marker])? != reply {
        if start.elapsed() > PATIENCE {
            return Err("a write never came to the replica".into());
        }
        thread::sleep(GLANCE);
    }
    Ok(micros(start.elapsed()))
}

// ------------------------------------------------------------------ waiting for replicas

/// Clients that wait for a replica after each write.
fn waiting(setup: &Setup) -> Outcome {
    let pairs = [
        with_replicas(&setup.subjects[0], 1)?,
        with_replicas(&setup.subjects[1], 1)?,
    ];
    let mut found = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for _ in 0..setup.rounds {
        for ((primary, _), (rates, times)) in pairs.iter().zip(&mut found) {
            let mut some = wait_under_load(primary.port)?;
            rates.push(some.len() as f64 / COUNTED.as_secs_f64());
            times.append(&mut some);
        }
    }
    let mut ratios: Vec<f64> = found[0]
        .0
        .iter()
        .zip(&found[1].0)
        .map(|(a, b)| a / b)
        .collect();
    let rows = found.map(|(mut rates, mut times)| {
        times.sort_unstable();
        let mut row = vec![format!("{:.0}", median(&mut rates))];
        row.extend([0.5, 0.99, 1.0].map(|share| millis(percentile(&times, share))));
        row
    });
    let name = format!("SET and WAIT 1 0, {WRITERS} clients");
    let heading = [&name, "pairs a second", "median", "99 %", "longest"];
    print_rows(setup, &heading, rows);
    println!("\nRatio of the rates: {:.2}.", median(&mut ratios));
    Ok(())
}

/// Microseconds of each pair of commands in the time counted.
fn wait_under_load(port: u16) -> Outcome<Vec<u32>> {
    let start = Instant::now() + WARM;
    let all: Vec<Outcome<Vec<u32>>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..WRITERS)
            .map(|number| scope.spawn(move || write_and_wait(port, number, start)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Outcome<Vec<u32>>>| {
            thread
                .join()
                .unwrap_or_else(|_| Err("a client panicked".into()))
        };
        threads.into_iter().map(join).collect()
    });
    let all: Vec<Vec<u32>> = all.into_iter().collect::<Outcome<_>>()?;
    Ok(all.concat())
}

/// One client: a write, and its wait for a replica, sent together.
fn write_and_wait(port: u16, number: u64, start: Instant) -> Outcome<Vec<u32>> {
    let (mut client, mut random) = (Client::connect(port)?, Random::new(number + 2));
    let (mut times, value) = (Vec::new(), "y".repeat(64));
    loop {
        let sent = Instant::now();
        if sent >= start + COUNTED {
            return Ok(times);
        }
        client.queue(&["SET", &key(random.next() % 100_000), &value]);
        client.queue(&["WAIT", "1", "0"]);
        client.flush()?;
        client.reply()?;
        let (replicas, _) = client.reply()?;
        if replicas != ":1" {
            return Err(format!("WAIT 1 0 answered {replicas}").into());
        }
        if sent >= start {
            times.push(micros(sent.elapsed()));
        }
    }
}

// ------------------------------------------------------------- clients beside a resync

/// What clients notice of a full resynchronisation.
#[derive(Default)]
struct Noticed {
    /// Writes a second before and during it.
    quiet: Vec<f64>,
    syncing: Vec<f64>,
    /// Microseconds that each took.
    quiet_times: Vec<u32>,
    syncing_times: Vec<u32>,
    /// Seconds it took.
    seconds: Vec<f64>,
}

/// Clients of the primary while a replica synchronises in full.
fn clients(setup: &Setup) -> Outcome {
    let keys = setup.scaled(1_000_000, 1000);
    for (name, sync, load) in [WAYS[0], WAYS[1]] {
        let mut noticed = [Noticed::default(), Noticed::default()];
        let primaries = [
            start(&setup.subjects[0], &[])?,
            start(&setup.subjects[1], &[])?,
        ];
        for primary in &primaries {
            fill(primary, keys)?;
            Client::connect(primary.port)?.command(&[
                "CONFIG",
                "SET",
                "repl-diskless-sync",
                sync,
            ])?;
        }
        for _ in 0..setup.rounds {
            for (at, (primary, noticed)) in primaries.iter().zip(&mut noticed).enumerate() {
                let replica = start(&setup.subjects[at], &["--repl-diskless-load", load])?;
                sync_under_load(primary, &replica, keys, noticed)?;
            }
        }
        print_noticed(setup, name, noticed);
    }
    Ok(())
}

/// One synchronisation with writers at work; the replica has all at the end.
fn sync_under_load(
    primary: &Server,
    replica: &Server,
    keys: u64,
    noticed: &mut Noticed,
) -> Outcome {
    let (phase, stop) = (AtomicU64::new(OVER), AtomicBool::new(false));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (phase, stop, port) = (&phase, &stop, primary.port);
                scope.spawn(move || disk::write(port, keys, number, phase, stop))
            })
            .collect();
        thread::sleep(WARM);
        phase.store(QUIET, Ordering::Relaxed);
        let start = Instant::now();
        thread::sleep(COUNTED);
        let quiet = start.elapsed();
        phase.store(SAVING, Ordering::Relaxed);
        let took = attach(replica, primary);
        phase.store(OVER, Ordering::Relaxed);
        stop.store(true, Ordering::Relaxed);
        let mut writes = [0, 0];
        for writer in writers {
            let times = writer
                .join()
                .unwrap_or_else(|_| Err("a writer panicked".into()))?;
            for (writes, times) in writes.iter_mut().zip(&times) {
                *writes += times.len();
            }
            let [quiet, syncing] = times;
            noticed.quiet_times.extend(quiet);
            noticed.syncing_times.extend(syncing);
        }
        let took = took?.as_secs_f64();
        noticed.quiet.push(writes[0] as f64 / quiet.as_secs_f64());
        noticed.syncing.push(writes[1] as f64 / took);
        noticed.seconds.push(took);
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    })?;
    settle(primary, 1)?;
    compare(primary, replica)
}

fn print_noticed(setup: &Setup, name: &str, noticed: [Noticed; 2]) {
    let rows = noticed.map(|mut it| {
        it.quiet_times.sort_unstable();
        it.syncing_times.sort_unstable();
        let shares = |times: &[u32]| {
            let shown = [0.5, 0.999, 1.0].map(|share| millis(percentile(times, share)));
            shown.join(", ")
        };
        vec![
            format!("{:.2} s", median(&mut it.seconds)),
            format!("{:.0}", median(&mut it.quiet)),
            format!("{:.0}", median(&mut it.syncing)),
            shares(&it.quiet_times),
            shares(&it.syncing_times),
        ]
    });
    let name = format!("a {name} full resync, {WRITERS} clients writing");
    let heading = [
        &name,
        "takes",
        "writes a second before",
        "during it",
        "median, 99.9 %, longest before",
        "during it",
    ];
    print_rows(setup, &heading, rows);
    println!();
}
