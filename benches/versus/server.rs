//! Starting and stopping the servers under measurement, and what `/proc` says of them.
//! Relies on Linux and a POSIX shell, which can raise the limit of open files where std cannot.

use std::env;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::{Outcome, Subject};

/// Set for the copy of this program that runs with the higher limit of open files.
const RAISED: &str = "STDIS_BENCH_LIMIT_RAISED";

/// How long a server may take to start and load.
const PATIENCE: Duration = Duration::from_secs(120);

/// Clock ticks a second in `/proc/PID/stat`; 100 on every Linux architecture.
const TICKS: f64 = 100.0;

/// A directory for a server's files; removed when the last who uses it is dropped.
pub struct Dir(PathBuf);

impl Dir {
    /// An empty directory.
    pub fn new() -> Outcome<Arc<Dir>> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let serial = MADE.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("stdis-versus-{}-{serial}", std::process::id()));
        fs::create_dir_all(&dir)?;
        Ok(Arc::new(Dir(dir)))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Fails only when there is nothing left to remove.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running server; dropped, it is killed, and its directory removed unless another uses it too.
pub struct Server {
    child: Child,
    dir: Arc<Dir>,
    /// The loopback port it listens on.
    pub port: u16,
    /// From just before the start to the first PONG.
    pub started_in: Duration,
}

impl Server {
    /// Starts the server on a free port with persistence off and waits for its first PONG.
    pub fn start(subject: &Subject) -> Outcome<Self> {
        Self::start_in(subject, &Dir::new()?, &["--appendonly", "no"])
    }

    /// Starts the server in a directory with options of its own, and waits until it has loaded what
    /// it finds there. It saves nothing unless asked to.
    pub fn start_in(subject: &Subject, dir: &Arc<Dir>, options: &[&str]) -> Outcome<Self> {
        let log = File::create(dir.path().join("log"))?;
        let port = free_port()?;
        let start = Instant::now();
        let child = Command::new(&subject.binary)
            .args(["--port", &port.to_string(), "--save", ""])
            .args(["--maxclients", "20000"])
            .args(options)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", subject.binary.display()))?;
        let mut server = Self {
            child,
            dir: dir.clone(),
            port,
            started_in: Duration::ZERO,
        };
        while !server.answers() {
            let gone = server.child.try_wait()?.is_some();
            let waited = start.elapsed();
            if gone || waited > PATIENCE {
                let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
                return Err(format!("{} does not answer; its log:\n{log}", subject.name).into());
            }
            // Where loading takes long, asking must not take part of its time.
            let pause = (waited / 100).clamp(Duration::from_micros(200), Duration::from_millis(5));
            thread::sleep(pause);
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

    /// Bytes of process memory in use by it and by a process that it has forked, what they share
    /// counted once.
    pub fn proportional(&self) -> Outcome<u64> {
        let server = self.child.id();
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
        let children = children.unwrap_or_default();
        let mut sum = proportional(server).ok_or("the server's memory is not known")?;
        for child in children.split_whitespace() {
            // It may have ended meanwhile.
            sum += child.parse().ok().and_then(proportional).unwrap_or(0);
        }
        Ok(sum)
    }

    /// The directory it runs in.
    pub fn dir(&self) -> &Arc<Dir> {
        &self.dir
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
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process' share of the memory in use.
fn proportional(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
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
