//! Eviction: how many of the requests of a cache find their key, and what it costs to write where each new key has to
//! make room for itself.
//!
//! The keys of stdis take less memory. So that this does not count for a better cache, each server gets a limit of its
//! own, in which it holds the same number of keys: what it uses when it holds so many, put right while the cache warms up.
//! How many it held in the end is in the table.

use std::time::{Duration, Instant};

use crate::client::{Client, key};
use crate::server::Server;
use crate::speed::benchmark;
use crate::{Outcome, Setup, Subject, median};

/// Bytes of a value.
const VALUE: usize = 64;

/// Keys that are asked for, for each that there is room for.
const KEYS_PER_PLACE: u64 = 10;

/// Requests sent together.
const BATCH: u64 = 100;

/// Requests a second. The clock of LRU ticks once a second: at a rate of its own, the faster server would have seen fewer
/// ticks.
const RATE: u64 = 50_000;

/// Seconds of requests of which the last half count.
const SECONDS: u64 = 30;

/// Clients and their pipelines where writing is measured.
const CELLS: [(u64, u64); 2] = [(50, 1), (50, 16)];

/// Both tables.
pub fn evict(setup: &Setup) -> Outcome {
    hits(setup)?;
    println!();
    writes(setup)
}

/// Requests as of a cache: what is not found is set. The keys follow Zipf's law.
fn hits(setup: &Setup) -> Outcome {
    let places = setup.scaled(40_000, 500);
    let seconds = setup.scaled(SECONDS, 4);
    let [ours, theirs] = &setup.subjects;
    println!(
        "| room for {places} of {} keys | {} finds | holds | {} finds | holds |",
        places * KEYS_PER_PLACE,
        ours.name,
        theirs.name
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
        let [ours, theirs] =
            [ours, theirs].map(|subject| hit_rate(subject, policy, places, seconds));
        let ((ours, our_keys), (theirs, their_keys)) = (ours?, theirs?);
        println!(
            "| {policy} | {:.2} % | {our_keys} | {:.2} % | {their_keys} |",
            ours * 100.0,
            theirs * 100.0
        );
    }
    Ok(())
}

/// The share of requests that found their key, and the number of keys in the end.
fn hit_rate(subject: &Subject, policy: &str, places: u64, seconds: u64) -> Outcome<(f64, u64)> {
    let server = Server::start(subject)?;
    let (mut client, mut limit, each) = full(&server, policy, places)?;
    let mut zipf = Zipf::new(places * KEYS_PER_PLACE);
    let value = "x".repeat(VALUE);
    let (mut found, mut asked) = (0, 0);
    let start = Instant::now();
    let batches = seconds * RATE / BATCH;
    for batch in 0..batches {
        if batch < batches / 2 && batch % (batches / 40).max(1) == 0 {
            let missing = places as i64 - client.dbsize()? as i64;
            limit = limit.saturating_add_signed(missing * each as i64);
            client.command(&["CONFIG", "SET", "maxmemory", &limit.to_string()])?;
        }
        let keys: Vec<String> = (0..BATCH).map(|_| key(zipf.next())).collect();
        for key in &keys {
            client.queue(&["GET", key]);
        }
        client.flush()?;
        let mut missing = Vec::new();
        for key in &keys {
            if client.reply()?.0 == "$-1" {
                missing.push(key);
            }
        }
        for key in &missing {
            client.queue(&["SET", key, &value]);
        }
        client.flush()?;
        for _ in &missing {
            client.reply()?;
        }
        if batch >= batches / 2 {
            asked += BATCH;
            found += BATCH - missing.len() as u64;
        }
        let due = start + Duration::from_secs_f64(((batch + 1) * BATCH) as f64 / RATE as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok((found as f64 / asked as f64, client.dbsize()?))
}

/// Has the server hold so many keys, and no room for any more. Returns a client with the limit, and the bytes that a
/// key takes.
fn full(server: &Server, policy: &str, places: u64) -> Outcome<(Client, u64, u64)> {
    let mut client = Client::connect(server.port)?;
    let empty = client.info("memory", "used_memory")?;
    client.command(&["CONFIG", "SET", "maxmemory-policy", policy])?;
    client.fill(places, VALUE, |_| Vec::new())?;
    let used = client.info("memory", "used_memory")?;
    client.command(&["CONFIG", "SET", "maxmemory", &used.to_string()])?;
    Ok((client, used, used.saturating_sub(empty) / places))
}

/// Throughput of SET where each new key takes the place of another.
fn writes(setup: &Setup) -> Outcome {
    let places = setup.scaled(200_000, 500);
    println!(
        "| SET at the limit, allkeys-lru | ratio to {} |",
        setup.subjects[1].name
    );
    println!("| --- | ---: |");
    let servers = [
        Server::start(&setup.subjects[0])?,
        Server::start(&setup.subjects[1])?,
    ];
    let size = VALUE.to_string();
    let what = ["-t", "set", "-r", "1000000000", "-d", &size];
    for server in &servers {
        full(server, "allkeys-lru", places)?;
    }
    for (clients, pipeline) in CELLS {
        let full = if pipeline > 1 { 400_000 } else { 100_000 };
        let requests = setup.scaled(full, clients * pipeline);
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..setup.rounds {
            for (server, rates) in servers.iter().zip(&mut rates) {
                rates.push(benchmark(server, clients, pipeline, requests, &what)?);
            }
        }
        let mut ratios: Vec<f64> = rates[0].iter().zip(&rates[1]).map(|(a, b)| a / b).collect();
        let [ours, theirs] = rates.map(|mut rates| median(&mut rates) / 1000.0);
        eprintln!("{clients}:{pipeline}  {ours:.0}k against {theirs:.0}k requests per second");
        println!(
            "| {clients} clients, pipeline {pipeline} | {:.2} |",
            median(&mut ratios)
        );
    }
    for server in &servers {
        let evicted = Client::connect(server.port)?.info("stats", "evicted_keys")?;
        if evicted < places {
            return Err(format!("only {evicted} keys were evicted").into());
        }
    }
    Ok(())
}

/// Numbers below a limit, of which the one of rank `r` comes about `1 / r` times as often as the first.
struct Zipf {
    /// For each rank, how often it or a lower one comes.
    sums: Vec<f64>,
    state: u64,
}

impl Zipf {
    const EXPONENT: f64 = 0.99;

    fn new(limit: u64) -> Zipf {
        let mut sum = 0.0;
        let weights = (1..=limit).map(|rank| (rank as f64).powf(-Self::EXPONENT));
        let sums = weights.map(|weight| {
            sum += weight;
            sum
        });
        Zipf {
            sums: sums.collect(),
            state: 1,
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let share = (self.state >> 11) as f64 / (1u64 << 53) as f64;
        let wanted = share * self.sums.last().copied().unwrap_or(0.0);
        let rank = self.sums.partition_point(|sum| *sum < wanted) as u64;
        // A prime above any number of keys used here: those often asked for are not the first to have been set.
        rank.wrapping_mul(2_147_483_647) % self.sums.len() as u64
    }
}
