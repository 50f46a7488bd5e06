//! Throughput: redis-benchmark against both servers in turn, cell by cell.
//! A figure is the median of the ratios of paired runs, so that a machine that gets slower or faster cancels out.

use std::process::Command;

use crate::server::Server;
use crate::{Outcome, Setup, median, words};

/// A row of the table: so many clients, each with so many commands under way.
struct Cell {
    clients: u64,
    pipeline: u64,
}

impl Cell {
    fn parse(text: &str) -> Outcome<Self> {
        let cell = text.split_once(':').and_then(|(clients, pipeline)| {
            Some(Self {
                clients: clients.parse().ok()?,
                pipeline: pipeline.parse().ok()?,
            })
        });
        cell.ok_or_else(|| format!("{text} is not clients:pipeline").into())
    }

    /// Requests of one run: enough for about a second.
    fn requests(&self, setup: &Setup) -> u64 {
        let full = if self.pipeline > 1 { 400_000 } else { 60_000 };
        let full = if self.clients == 1 { full / 4 } else { full };
        setup.scaled(full, self.clients * self.pipeline)
    }
}

/// The throughput table.
pub fn speed(setup: &Setup) -> Outcome {
    let tests = words("TESTS", "set get incr mset");
    let cells = words("CELLS", "1:1 1:16 50:1 50:16 50:64 200:1 200:16");
    let cells: Vec<Cell> = cells
        .iter()
        .map(|cell| Cell::parse(cell))
        .collect::<Outcome<_>>()?;
    let [ours, theirs] = &setup.subjects;
    let servers = [Server::start(ours)?, Server::start(theirs)?];

    println!("| clients | pipeline | {} |", tests.join(" | "));
    println!("|{}", " ---: |".repeat(tests.len() + 2));
    for cell in &cells {
        let mut row = format!("| {} | {} |", cell.clients, cell.pipeline);
        for test in &tests {
            let ratio = paired(setup, &servers, cell, test)?;
            row.push_str(&format!(" {ratio:.2} |"));
        }
        println!("{row}");
    }
    Ok(())
}

/// The median ratio of the paired runs of one cell; the median rates go to standard error.
fn paired(setup: &Setup, servers: &[Server; 2], cell: &Cell, test: &str) -> Outcome<f64> {
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..setup.rounds {
        for (server, rates) in servers.iter().zip(&mut rates) {
            rates.push(rate(setup, server, cell, test)?);
        }
    }
    let mut ratios: Vec<f64> = rates[0].iter().zip(&rates[1]).map(|(a, b)| a / b).collect();
    let [ours, theirs] = rates.map(|mut rates| median(&mut rates) / 1000.0);
    eprintln!(
        "{test} {}:{}  {ours:.0}k against {theirs:.0}k requests per second",
        cell.clients, cell.pipeline
    );
    Ok(median(&mut ratios))
}

/// Requests per second of one run of redis-benchmark.
fn rate(setup: &Setup, server: &Server, cell: &Cell, test: &str) -> Outcome<f64> {
    let requests = cell.requests(setup);
    let what = ["-t", test, "-r", "100000"];
    benchmark(server, cell.clients, cell.pipeline, requests, &what)
}

/// Requests per second of one run of redis-benchmark; `what` ends its arguments: options, or a command of its own.
pub fn benchmark(
    server: &Server,
    clients: u64,
    pipeline: u64,
    requests: u64,
    what: &[&str],
) -> Outcome<f64> {
    let output = Command::new("redis-benchmark")
        .args(["--csv", "-p", &server.port.to_string()])
        .args(["-n", &requests.to_string()])
        .args(["-c", &clients.to_string()])
        .args(["-P", &pipeline.to_string()])
        .args(what)
        .output()
        .map_err(|error| format!("redis-benchmark: {error}"))?;
    // A heading, then a line a test: "SET","57142.86",…
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    let field = line.split("\",\"").nth(1);
    field.and_then(|rate| rate.parse().ok()).ok_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("redis-benchmark {what:?} gave no rate: {text}{errors}").into()
    })
}
