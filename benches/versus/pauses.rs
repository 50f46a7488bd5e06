//! How long a client has to wait when the server has something big to do: expire a million keys, grow its tables,
//! list all keys, start. Latencies are whole round trips in microseconds as a client on the same machine sees them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::{Client, key, micros};
use crate::server::Server;
use crate::{Outcome, Setup, Subject, median, millis, percentile};

/// Clients that GET while another lists all keys.
const READERS: usize = 50;

/// Seconds of GETs a measurement of `keys` takes.
const READ_SECONDS: u64 = 5;

/// Connections that load keys in `growth`, and commands each has under way.
const LOADERS: u64 = 2;
const LOADER_PIPELINE: u64 = 16;

/// From start to the first PONG, on an empty data set.
pub fn start(setup: &Setup) -> Outcome {
    println!("| | start to first PONG |");
    println!("| --- | ---: |");
    for subject in &setup.subjects {
        let mut took = Vec::new();
        for _ in 0..setup.rounds.max(5) {
            took.push(Server::start(subject)?.started_in.as_secs_f64() * 1000.0);
        }
        println!("| {} | {:.1} ms |", subject.name, median(&mut took));
    }
    Ok(())
}

/// Keys that all fall due within one second.
pub fn expire(setup: &Setup) -> Outcome {
    let keys = setup.scaled(1_000_000, 1000);
    println!(
        "| {keys} keys due within 1 s | all gone after the first was due | PING p50 | PING p99 | slowest |"
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    for subject in &setup.subjects {
        let (gone, pings) = expire_once(subject, keys)?;
        println!(
            "| {} | {:.2} s | {} | {} | {} |",
            subject.name,
            gone.as_secs_f64(),
            millis(percentile(&pings, 0.5)),
            millis(percentile(&pings, 0.99)),
            millis(percentile(&pings, 1.0))
        );
    }
    Ok(())
}

/// The time from the moment the first key was due until none was left, and the sorted latencies of the PINGs in that
/// time.
fn expire_once(subject: &Subject, keys: u64) -> Outcome<(Duration, Vec<u32>)> {
    let server = Server::start(subject)?;
    let mut client = Client::connect(server.port)?;
    // Loading once without a lifetime shows how long loading takes, hence when the first key may fall due.
    let loading = Instant::now();
    client.fill(keys, 3, |_| Vec::new())?;
    let lead = loading.elapsed() * 2 + Duration::from_secs(1);
    let due = Instant::now() + lead;
    let due_ms = (SystemTime::now() + lead).duration_since(UNIX_EPOCH)?;
    let due_ms = u64::try_from(due_ms.as_millis())?;
    client.fill(keys, 3, |number| {
        vec!["PXAT".to_owned(), (due_ms + number % 1000).to_string()]
    })?;
    let Some(wait) = due.checked_duration_since(Instant::now()) else {
        return Err(
            "loading took longer than its rehearsal; try again on a quieter machine".into(),
        );
    };
    thread::sleep(wait);

    let all_gone = AtomicBool::new(false);
    let port = server.port;
    thread::scope(|scope| {
        let pinger = scope.spawn(|| ping_until(port, &all_gone));
        let gone = until_empty(&mut client, due);
        all_gone.store(true, Ordering::Relaxed);
        let pings = pinger.join().map_err(|_| "the pinging client panicked")??;
        Ok((gone?, pings))
    })
}

/// Asks for the number of keys until it is 0; the time since `due`.
fn until_empty(client: &mut Client, due: Instant) -> Outcome<Duration> {
    loop {
        let left = client.dbsize()?;
        if left == 0 {
            return Ok(due.elapsed());
        }
        if due.elapsed() > Duration::from_secs(120) {
            return Err(format!("{left} keys are left after two minutes").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a PING a millisecond until told to stop; the sorted latencies.
fn ping_until(port: u16, stop: &AtomicBool) -> Outcome<Vec<u32>> {
    let mut client = Client::connect(port)?;
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        took.push(client.timed(&["PING"])?);
        thread::sleep(Duration::from_millis(1));
    }
    took.sort_unstable();
    Ok(took)
}

/// From no key to many under load.
pub fn growth(setup: &Setup) -> Outcome {
    let keys = setup.scaled(5_000_000, 10_000);
    println!(
        "| from 0 to {keys} keys | SET p50 | p99 | p99.9 | slowest | at about | slowest batch of {LOADER_PIPELINE} |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for subject in &setup.subjects {
        let (sets, slowest_at, slowest_batch) = grow_once(subject, keys)?;
        let [p50, p99, p999, slowest] =
            [0.5, 0.99, 0.999, 1.0].map(|share| millis(percentile(&sets, share)));
        println!(
            "| {} | {p50} | {p99} | {p999} | {slowest} | {slowest_at} keys | {} |",
            subject.name,
            millis(slowest_batch)
        );
    }
    Ok(())
}

/// Two connections load with pipelines while a third sets one key at a time: the sorted latencies of the third, the
/// number of keys when its slowest request ended, and the slowest batch of the loaders.
fn grow_once(subject: &Subject, keys: u64) -> Outcome<(Vec<u32>, u64, u32)> {
    let server = Server::start(subject)?;
    let port = server.port;
    let next = AtomicU64::new(0);
    let next = &next;
    let (probe, batches) = thread::scope(|scope| {
        let loaders: Vec<_> = (0..LOADERS)
            .map(|_| scope.spawn(move || load_batches(port, next, keys)))
            .collect();
        let probe = scope.spawn(move || load_singly(port, next, keys));
        let batches: Vec<_> = loaders.into_iter().map(|thread| thread.join()).collect();
        (probe.join(), batches)
    });
    let (sets, slowest_at) = probe.map_err(|_| "the probing client panicked")??;
    let mut slowest_batch = 0;
    for batch in batches {
        slowest_batch = slowest_batch.max(batch.map_err(|_| "a loading client panicked")??);
    }
    Ok((sets, slowest_at, slowest_batch))
}

/// Takes numbers from `next` and sets their keys, a batch at a time; the slowest batch.
fn load_batches(port: u16, next: &AtomicU64, keys: u64) -> Outcome<u32> {
    let mut client = Client::connect(port)?;
    let mut slowest = 0;
    loop {
        let first = next.fetch_add(LOADER_PIPELINE, Ordering::Relaxed);
        if first >= keys {
            return Ok(slowest);
        }
        for number in first..first + LOADER_PIPELINE {
            client.queue(&["SET", &key(number), "xxx"]);
        }
        let start = Instant::now();
        client.flush()?;
        for _ in 0..LOADER_PIPELINE {
            client.reply()?;
        }
        slowest = slowest.max(micros(start.elapsed()));
    }
}

/// Takes numbers from `next` and sets their keys one by one; the sorted latencies, and the number taken last when
/// the slowest ended.
fn load_singly(port: u16, next: &AtomicU64, keys: u64) -> Outcome<(Vec<u32>, u64)> {
    let mut client = Client::connect(port)?;
    let (mut took, mut slowest, mut slowest_at) = (Vec::new(), 0, 0);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= keys {
            took.sort_unstable();
            return Ok((took, slowest_at));
        }
        let this = client.timed(&["SET", &key(number), "xxx"])?;
        if this > slowest {
            (slowest, slowest_at) = (this, next.load(Ordering::Relaxed));
        }
        took.push(this);
    }
}

/// GETs beside a client that lists all keys.
pub fn keys(setup: &Setup) -> Outcome {
    let keys = setup.scaled(1_000_000, 1000);
    println!(
        "| GET of {READERS} clients, {keys} keys | p99 alone | p99 beside `KEYS *` | ratio | GET/s alone | beside | `KEYS *` run |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for subject in &setup.subjects {
        let server = Server::start(subject)?;
        Client::connect(server.port)?.fill(keys, 3, |_| Vec::new())?;
        let alone = read_for(&server, keys, false)?;
        let beside = read_for(&server, keys, true)?;
        println!(
            "| {} | {} | {} | {:.1} | {:.0} | {:.0} | {} times |",
            subject.name,
            millis(alone.p99),
            millis(beside.p99),
            f64::from(beside.p99) / f64::from(alone.p99.max(1)),
            alone.rate,
            beside.rate,
            beside.listings
        );
    }
    Ok(())
}

/// What the readers saw.
struct Reading {
    /// In microseconds.
    p99: u32,
    /// Replies per second.
    rate: f64,
    /// `KEYS *` completed meanwhile.
    listings: u64,
}

/// Lets the readers run for some seconds, beside a listing client or not.
fn read_for(server: &Server, keys: u64, listing: bool) -> Outcome<Reading> {
    let port = server.port;
    let start = Instant::now();
    let end = start + Duration::from_secs(READ_SECONDS);
    let (readers, lister) = thread::scope(|scope| {
        let lister = listing.then(|| scope.spawn(move || list_until(port, keys, end)));
        let readers: Vec<_> = (0..READERS as u64)
            .map(|seed| scope.spawn(move || get_until(port, keys, seed, end)))
            .collect();
        let readers: Vec<_> = readers.into_iter().map(|thread| thread.join()).collect();
        (readers, lister.map(|thread| thread.join()))
    });
    let mut took = Vec::new();
    for reader in readers {
        took.append(&mut reader.map_err(|_| "a reading client panicked")??);
    }
    let listings = match lister {
        Some(lister) => lister.map_err(|_| "the listing client panicked")??,
        None => 0,
    };
    took.sort_unstable();
    Ok(Reading {
        p99: percentile(&took, 0.99),
        rate: took.len() as f64 / READ_SECONDS as f64,
        listings,
    })
}

/// GETs random keys one by one until the end; the latencies.
fn get_until(port: u16, keys: u64, seed: u64, end: Instant) -> Outcome<Vec<u32>> {
    let mut client = Client::connect(port)?;
    let mut took = Vec::new();
    let mut random = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    while Instant::now() < end {
        // xorshift: all that is asked of it is to spread the keys.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        took.push(client.timed(&["GET", &key(random % keys)])?);
    }
    Ok(took)
}

/// Lists all keys over and over until the end, and checks that all are there; how often.
fn list_until(port: u16, keys: u64, end: Instant) -> Outcome<u64> {
    let mut client = Client::connect(port)?;
    let mut times = 0;
    while Instant::now() < end {
        client.queue(&["KEYS", "*"]);
        client.flush()?;
        let (_, bytes) = client.reply()?;
        if bytes != keys * 16 {
            return Err(format!("KEYS * gave {bytes} bytes of keys").into());
        }
        times += 1;
    }
    Ok(times)
}
