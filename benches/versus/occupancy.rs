//! What a server takes up: memory for each key, and memory and processor for each client that does nothing.
//! Memory is the growth of the whole process (`VmRSS`), divided by what was added.

use std::thread;
use std::time::Duration;

use crate::client::Client;
use crate::server::Server;
use crate::{Outcome, Setup, Subject, percentile};

/// Seconds over which the idle processor time is taken.
const IDLE_SECONDS: u64 = 10;

/// PINGs sent beside the idle clients.
const PINGS: usize = 2000;

/// Memory for each key.
pub fn memory(setup: &Setup) -> Outcome {
    let keys = setup.scaled(1_000_000, 1000);
    let [ours, theirs] = &setup.subjects;
    println!(
        "| {keys} keys of 16 bytes | {} | {} |",
        ours.name, theirs.name
    );
    println!("| --- | ---: | ---: |");
    for size in [3, 64] {
        let [ours, theirs] = [ours, theirs].map(|subject| bytes_per_key(subject, keys, size));
        println!(
            "| values of {size} bytes, bytes a key | {} | {} |",
            ours?, theirs?
        );
    }
    Ok(())
}

fn bytes_per_key(subject: &Subject, keys: u64, size: usize) -> Outcome<u64> {
    let server = Server::start(subject)?;
    let before = server.settled_resident()?;
    let mut client = Client::connect(server.port)?;
    client.fill(keys, size, |_| Vec::new())?;
    let held = client.dbsize()?;
    if held != keys {
        return Err(format!("{} holds {held} keys of {keys}", subject.name).into());
    }
    Ok(server.settled_resident()?.saturating_sub(before) / keys)
}

/// Clients that are connected and do nothing.
pub fn idle(setup: &Setup) -> Outcome {
    let count = setup.scaled(10_000, 10);
    println!("| {count} idle clients | memory each | PING p50 | PING p99 | idle CPU |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for subject in &setup.subjects {
        let (bytes, p50, p99, cpu) = idle_beside(subject, count as usize)?;
        println!(
            "| {} | {:.1} KiB | {p50} µs | {p99} µs | {cpu:.1} % |",
            subject.name,
            bytes as f64 / 1024.0
        );
    }
    Ok(())
}

/// Bytes a client, the PING's percentiles in microseconds, and the idle processor time in percent of one core.
fn idle_beside(subject: &Subject, count: usize) -> Outcome<(u64, u32, u32, f64)> {
    let server = Server::start(subject)?;
    let before = server.settled_resident()?;
    let mut clients = Vec::with_capacity(count);
    for number in 0..count {
        let connected = Client::connect(server.port);
        let mut client =
            connected.map_err(|error| format!("client {number} of {count}: {error}"))?;
        client.queue(&["PING"]);
        client.flush()?;
        clients.push(client);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let reply = client.reply();
        reply.map_err(|error| format!("client {number} of {count}: {error}"))?;
    }
    // Redis gives the buffers of a client back once it has been idle for two seconds.
    thread::sleep(Duration::from_secs(4));
    let held = server.settled_resident()?.saturating_sub(before) / count as u64;

    let mut took = Vec::with_capacity(PINGS);
    for number in 0..PINGS {
        took.push(clients[number * 7 % count].timed(&["PING"])?);
    }
    took.sort_unstable();

    thread::sleep(Duration::from_secs(1)); // let whatever the PINGs woke go back to sleep
    let used = server.cpu_seconds()?;
    thread::sleep(Duration::from_secs(IDLE_SECONDS));
    let used = (server.cpu_seconds()? - used) / IDLE_SECONDS as f64;
    let [p50, p99] = [0.5, 0.99].map(|share| percentile(&took, share));
    Ok((held, p50, p99, used * 100.0))
}
