//! Measures stdis side by side with redis-server on this machine: `cargo bench --bench versus -- [MODE]`.
//!
//! | mode | what it measures |
//! | --- | --- |
//! | `speed` (the default) | throughput by redis-benchmark, as the ratio to redis-server; above 1 is faster |
//! | `memory` | process memory per key, keys of 16 bytes with values of 3 and 64 bytes |
//! | `idle` | 10,000 idle clients: memory for each, latency of PING beside them, idle CPU |
//! | `expire` | 1M keys falling due within one second: how long until all are gone, PING meanwhile |
//! | `growth` | from 0 to 5M keys under load: the slowest request |
//! | `keys` | GET of 50 clients while another runs `KEYS *` over 1M keys in a loop |
//! | `start` | from start to the first PONG |
//! | `meet` | streams, transactions, messages, memory of a stream, 1,000 clients that wait for one |
//! | `disk` | saving and loading, saving under load, the append only file and its replay |
//! | `evict` | finds of a cache under LRU and LFU, and SET where each new key takes the place of another |
//! | `repl` | full resync, the primary's throughput with replicas, their lag, `WAIT`, clients beside a resync |
//!
//! Each mode prints Markdown tables. Both servers run on free loopback ports, with persistence off but for `disk`.
//! Environment variables: `TESTS` (redis-benchmark's test names; for `meet`, `disk` and `repl` see there), `CELLS` (`clients:pipeline` pairs), `ROUNDS` (runs of which the
//! median counts), `SCALE` (factor on all numbers of requests, keys and clients: 0.01 for a quick look), `OTHER` (the
//! server to compare with), `STDIS_BENCH_SERVER` (a binary in the place of stdis).
//!
//! Relies on redis-server and redis-benchmark being installed, and on Linux' `/proc` for memory and CPU. Says so and
//! succeeds without a table when a tool is missing, so that `cargo bench` passes on machines without Redis.

mod client;
mod disk;
mod evict;
mod meetings;
mod occupancy;
mod pauses;
mod repl;
mod server;
mod speed;

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// What every measurement returns: nothing, or the reason it could not be taken.
type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// The two servers to compare and how much work to give them.
struct Setup {
    /// stdis, and the server it is measured against.
    subjects: [Subject; 2],
    /// Runs of which the median counts.
    rounds: usize,
    /// Factor on every number of requests, keys and clients.
    scale: f64,
}

/// A server binary under measurement.
struct Subject {
    name: &'static str,
    binary: PathBuf,
}

impl Setup {
    fn from_env() -> Outcome<Self> {
        let stdis = env::var_os("STDIS_BENCH_SERVER")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_stdis")), PathBuf::from);
        let other = env::var_os("OTHER").map_or_else(|| "redis-server".into(), PathBuf::from);
        Ok(Self {
            subjects: [
                Subject {
                    name: "stdis",
                    binary: stdis,
                },
                Subject {
                    name: "redis-server",
                    binary: other,
                },
            ],
            rounds: number("ROUNDS", 3.0)?.max(1.0) as usize,
            scale: number("SCALE", 1.0)?,
        })
    }

    /// `full` times the scale, at least `least`.
    fn scaled(&self, full: u64, least: u64) -> u64 {
        ((full as f64 * self.scale) as u64).max(least)
    }
}

/// The environment variable as a number, or the default when it is not set.
fn number(name: &str, default: f64) -> Outcome<f64> {
    match env::var(name) {
        Ok(text) => Ok(text
            .parse()
            .map_err(|_| format!("{name}={text} is not a number"))?),
        Err(_) => Ok(default),
    }
}

/// The environment variable split at blanks, or the default when it is not set.
fn words(name: &str, default: &str) -> Vec<String> {
    let text = env::var(name).unwrap_or_else(|_| default.to_owned());
    text.split_whitespace().map(str::to_owned).collect()
}

/// The middle value, or the mean of the two in the middle; NaN of nothing.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2);
    let lower = values.get(values.len().saturating_sub(1) / 2);
    upper
        .zip(lower)
        .map_or(f64::NAN, |(upper, lower)| f64::midpoint(*upper, *lower))
}

/// The value below which the given share of the sorted values lies.
fn percentile(sorted: &[u32], share: f64) -> u32 {
    let last = sorted.len().saturating_sub(1);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(last)).copied().unwrap_or(0)
}

/// Microseconds as milliseconds for a table.
fn millis(microseconds: u32) -> String {
    format!("{:.2} ms", f64::from(microseconds) / 1000.0)
}

/// The version line of an installed tool, `None` when it is not there.
fn version(tool: &std::path::Path) -> Option<String> {
    let output = Command::new(tool).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.split_whitespace();
    let version = words
        .clone()
        .find(|word| word.starts_with("v="))
        .or_else(|| words.nth(1));
    Some(version.unwrap_or("?").trim_start_matches("v=").to_owned())
}

fn run(mode: &str) -> Outcome {
    let measure = match mode {
        "speed" => speed::speed,
        "memory" => occupancy::memory,
        "idle" => occupancy::idle,
        "expire" => pauses::expire,
        "growth" => pauses::growth,
        "keys" => pauses::keys,
        "start" => pauses::start,
        "meet" => meetings::meet,
        "disk" => disk::disk,
        "evict" => evict::evict,
        "repl" => repl::repl,
        _ => {
            return Err(format!(
                "no mode {mode}; there are speed, memory, idle, expire, growth, keys, start, meet, disk, evict, repl"
            )
            .into());
        }
    };
    let setup = Setup::from_env()?;
    let other = &setup.subjects[1].binary;
    let Some(other_version) = version(other) else {
        println!(
            "versus: {} is not installed (on Debian: apt-get install redis-server); nothing measured",
            other.display()
        );
        return Ok(());
    };
    if matches!(mode, "speed" | "meet" | "disk" | "evict" | "repl")
        && version("redis-benchmark".as_ref()).is_none()
    {
        println!(
            "versus: redis-benchmark is not installed (on Debian: apt-get install redis-tools); nothing measured"
        );
        return Ok(());
    }
    if matches!(mode, "idle" | "meet") && server::raise_descriptor_limit()? {
        return Ok(()); // measured by the process with the higher limit
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("versus {mode}: beside redis-server {other_version}, {cores} cores\n");
    measure(&setup)
}

fn main() -> ExitCode {
    // cargo bench adds flags of its own, such as --bench.
    let mode = env::args().skip(1).find(|word| !word.starts_with('-'));
    match run(mode.as_deref().unwrap_or("speed")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}
