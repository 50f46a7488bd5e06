//! Starting and stopping the servers under measurement, and what `/proc` says of them.
//! Relies on Linux and a POSIX shell, which can raise the limit of open files where std cannot.

use std::env;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::{Outcome, Subject};

/// Set for the copy of this program that runs with the higher limit of open files.
const RAISED: &str = "STDIS_BENCH_LIMIT_RAISED";

/// Clock ticks a second in `/proc/PID/stat`; 100 on every Linux architecture.
const TICKS: f64 = 100.0;

/// A running server; dropped, it is killed and its directory removed.
pub struct Server {
    child: Child,
    dir: PathBuf,
    /// The loopback port it listens on.
    pub port: u16,
    /// From just before the start to the first PONG.
    pub started_in: Duration,
}

impl Server {
    /// Starts the server on a free port with persistence off and waits for its first PONG.
    pub fn start(subject: &Subject) -> Outcome<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let serial = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("stdis-versus-{}-{serial}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let log = File::create(dir.join("log"))?;
        let port = free_port()?;
        let start = Instant::now();
        let child = Command::new(&subject.binary)
            .args(["--port", &port.to_string(), "--save", ""])
            .args(["--appendonly", "no", "--maxclients", "20000"])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", subject.binary.display()))?;
        let mut server = Self {
            child,
            dir,
            port,
            started_in: Duration::ZERO,
        };
        while !server.answers() {
            let gone = server.child.try_wait()?.is_some();
            if gone || start.elapsed() > Duration::from_secs(10) {
                let log = fs::read_to_string(server.dir.join("log")).unwrap_or_default();
                return Err(format!("{} does not answer; its log:\n{log}", subject.name).into());
            }
            thread::sleep(Duration::from_micros(200));
        }
        server.started_in = start.elapsed();
        Ok(server)
    }

    fn answers(&self) -> bool {
        Client::connect(self.port)
            .and_then(|mut client| client.command(&["PING"]))
            .is_ok()
    }

    /// Bytes of process memory in use (`VmRSS`).
    pub fn resident(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
        let kilobytes = kilobytes.ok_or("the server's memory is not known")?;
        Ok(kilobytes.parse::<u64>()? * 1024)
    }

    /// `resident` once it stays the same for half a second, or after ten seconds.
    pub fn settled_resident(&self) -> Outcome<u64> {
        let mut last = self.resident()?;
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(500));
            let now = self.resident()?;
            if now == last {
                break;
            }
            last = now;
        }
        Ok(last)
    }

    /// Processor time used so far, user and system, in seconds.
    pub fn cpu_seconds(&self) -> Outcome<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may hold blanks; the two times are the 12th and 13th fields after it.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let times = fields.split_whitespace().skip(11).take(2);
        let ticks: f64 = times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        Ok(ticks / TICKS)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // All three fail only when there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Runs this program once more with as many open files as the system allows, for itself and for the servers it
/// starts. `false` in the program so started, and where the limit is high enough as it is.
///
/// # Errors
/// When the shell cannot be run.
pub fn raise_descriptor_limit() -> Outcome<bool> {
    if env::var_os(RAISED).is_some() {
        return Ok(false);
    }
    let error = Command::new("sh")
        .args([
            "-c",
            "ulimit -n \"$(ulimit -Hn)\" 2>/dev/null; exec \"$0\" \"$@\"",
        ])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(RAISED, "1")
        .exec();
    Err(format!("sh: {error}").into())
}
