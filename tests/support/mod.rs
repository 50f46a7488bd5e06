//! What every integration test stands on: a real server process of its own ([`Server`]), a client
//! that hides nothing ([`Client`]), and a way to wait for what happens by itself ([`eventually`]).
//!
//! The server is the binary under test. `STDIS_TEST_SERVER=/usr/bin/redis-server` runs the same
//! tests against another one, which is how they were checked against Redis 7.0; what needs a later
//! Redis asks [`oracle`].

// Each test file is a crate of its own and uses a part of this one.
#![allow(dead_code, unused_imports, unused_macros)]

mod client;

pub use client::{Client, NULL, REPLY_TIMEOUT, Value, encode, error, show, simple};

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a server may take to answer its first `PING`, or to end.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Whether the tests run against a Redis 7.0 rather than against this project's server: a test of
/// something newer than 7.0 then has nothing to compare with and returns at once.
pub fn oracle() -> bool {
    std::env::var_os("STDIS_TEST_SERVER").is_some()
}

/// The program that the tests start.
pub fn binary() -> PathBuf {
    match std::env::var_os("STDIS_TEST_SERVER") {
        Some(path) => path.into(),
        None => env!("CARGO_BIN_EXE_stdis").into(),
    }
}

/// Polls until `condition` holds and fails the test when it does not within `deadline`. For what
/// happens at a time of the server's choosing.
#[track_caller]
pub fn eventually(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < deadline,
            "not within {deadline:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs all tests of the calling test's file, the ignored ones left out, so many times over: what
/// threads do to each other differs from run to run, and shows the oftener they are let.
#[track_caller]
pub fn again(times: usize) {
    let program = std::env::current_exe().expect("the test program");
    for number in 1..=times {
        let ended = Command::new(&program).output().expect("run the tests");
        assert!(
            ended.status.success(),
            "run {number} of {times}:\n{}",
            String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat())
        );
    }
}

/// Sends a signal (`TERM`, `INT`, …) to a process.
pub fn signal(pid: u32, name: &str) {
    let done = Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status();
    assert!(
        done.expect("run sh").success(),
        "cannot send SIG{name} to {pid}"
    );
}

/// A new empty directory, unique on this machine.
pub fn temp_dir() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("stdis-{}-{n}", std::process::id()));
    fs::create_dir_all(&dir).expect("create a directory for the server");
    dir
}

/// A port that was free a moment ago, and that nobody else in this process was given: until a server
/// has bound it, the system may offer it again.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        let port = listener.local_addr().expect("a bound address").port();
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        // A process that has been given very many may get one again.
        if given.insert(port) || given.len() > 10_000 {
            return port;
        }
    }
}

/// How a server is started.
#[derive(Clone, Default)]
struct Launch {
    args: Vec<String>,
    /// Text of a config file, given as the first argument.
    config: Option<String>,
    /// Listen on a Unix socket only.
    unix: bool,
    /// Shell commands that come before the server takes the shell's place, such as `ulimit`.
    shell: Option<String>,
    /// The program, if it is not the one under test.
    program: Option<PathBuf>,
}

/// A running server with a directory of its own, both gone when this is dropped. When a test fails,
/// the end of the server's log is printed.
pub struct Server {
    child: Child,
    guard: Guard,
    port: u16,
    dir: PathBuf,
    launch: Launch,
}

impl Server {
    /// Starts a server on a free loopback port, without save points.
    #[track_caller]
    pub fn start() -> Server {
        Server::with::<&str>(&[])
    }

    /// The same, with more options, which win over the usual ones.
    #[track_caller]
    pub fn with<A: AsRef<str>>(args: &[A]) -> Server {
        Server::launch(Launch {
            args: args.iter().map(|a| a.as_ref().to_string()).collect(),
            ..Launch::default()
        })
    }

    /// redis-server, as the other side of a test.
    #[track_caller]
    pub fn redis(args: &[&str]) -> Server {
        Server::launch(Launch {
            args: args.iter().map(|a| a.to_string()).collect(),
            program: Some("redis-server".into()),
            ..Launch::default()
        })
    }

    /// A server that reads this config file first.
    #[track_caller]
    pub fn with_config(text: &str, args: &[&str]) -> Server {
        Server::launch(Launch {
            args: args.iter().map(|a| a.to_string()).collect(),
            config: Some(text.to_string()),
            ..Launch::default()
        })
    }

    /// redis-server with a config file, as the other side of a test or as a sentinel.
    #[track_caller]
    pub fn redis_with_config(text: &str, args: &[&str]) -> Server {
        Server::launch(Launch {
            args: args.iter().map(|a| a.to_string()).collect(),
            config: Some(text.to_string()),
            program: Some("redis-server".into()),
            ..Launch::default()
        })
    }

    /// A server without a port that listens on [`Server::socket`].
    #[track_caller]
    pub fn unix(args: &[&str]) -> Server {
        Server::launch(Launch {
            args: args.iter().map(|a| a.to_string()).collect(),
            unix: true,
            ..Launch::default()
        })
    }

    /// A server started by a shell that has run `prelude` first, as in `ulimit -n 64`.
    #[track_caller]
    pub fn after_shell(prelude: &str, args: &[&str]) -> Server {
        Server::launch(Launch {
            args: args.iter().map(|a| a.to_string()).collect(),
            shell: Some(prelude.to_string()),
            ..Launch::default()
        })
    }

    #[track_caller]
    fn launch(launch: Launch) -> Server {
        // Another process can take the port between our look and the server's bind.
        for _ in 0..5 {
            let dir = temp_dir();
            let port = if launch.unix { 0 } else { free_port() };
            let child = spawn(&launch, &dir, port);
            let guard = Guard::new(child.id(), &dir);
            let mut server = Server {
                child,
                guard,
                port,
                dir,
                launch: launch.clone(),
            };
            match server.await_first_ping() {
                Ok(()) => return server,
                Err(log) if log.contains("in use") => {}
                Err(log) => panic!("the server ended instead of starting; its log:\n{log}"),
            }
        }
        panic!("no free port after five tries");
    }

    /// Waits for the first reply; the log is the error when the process ended instead.
    #[track_caller]
    fn await_first_ping(&mut self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            if let Ok(Some(_)) = self.child.try_wait() {
                return Err(self.log());
            }
            if let Ok(mut client) = self.connect() {
                client.write(b"PING\r\n");
                // With a password the answer is NOAUTH, which is an answer.
                match client.try_recv() {
                    Some(Value::Error(text)) if text.starts_with("LOADING") => {}
                    Some(_) => return Ok(()),
                    None => {}
                }
            }
            assert!(
                start.elapsed() < START_TIMEOUT,
                "no PONG; log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A new connection; failing to connect fails the test.
    #[track_caller]
    pub fn client(&self) -> Client {
        self.connect().expect("connect to the server")
    }

    /// A new connection; the error is the caller's to judge.
    pub fn connect(&self) -> std::io::Result<Client> {
        if self.launch.unix {
            Client::unix(&self.socket())
        } else {
            Client::tcp(&format!("127.0.0.1:{}", self.port))
        }
    }

    /// A new connection that speaks RESP3.
    #[track_caller]
    pub fn client3(&self) -> Client {
        let mut client = self.client();
        let hello = client.cmd(&["HELLO", "3"]);
        assert_eq!(hello.field("proto"), 3, "HELLO 3: {hello:?}");
        client
    }

    /// The TCP port; 0 for a server on a Unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path of the Unix socket of [`Server::unix`].
    pub fn socket(&self) -> PathBuf {
        self.dir.join("s")
    }

    /// The working directory of the server.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that the server has logged.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the log contains `text`.
    #[track_caller]
    pub fn wait_log(&self, text: &str) {
        eventually(&format!("'{text}' in the log"), REPLY_TIMEOUT, || {
            self.log().contains(text)
        });
    }

    /// The fields of a section of `INFO`.
    #[track_caller]
    pub fn info(&self, section: &str) -> BTreeMap<String, String> {
        info(&mut self.client(), section)
    }

    /// A numeric field of `INFO`.
    #[track_caller]
    pub fn info_int(&self, field: &str) -> i64 {
        let all = self.info("everything");
        let text = all
            .get(field)
            .unwrap_or_else(|| panic!("no field '{field}' in INFO"));
        text.parse()
            .unwrap_or_else(|_| panic!("INFO {field}:{text} is no integer"))
    }

    /// Resident memory of the process in bytes, where the system tells (`/proc`).
    pub fn rss(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    }

    /// Ends the server without giving it a chance to do anything.
    pub fn kill9(&mut self) {
        // Fails only when the process has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.guard.release();
    }

    /// Starts the same server again in the same directory and on the same port, ending it first if
    /// it still runs.
    #[track_caller]
    pub fn restart(&mut self) {
        self.start_again();
        if let Err(log) = self.await_first_ping() {
            panic!("the server did not start again; its log:\n{log}");
        }
    }

    /// Options for the next start, which win over those before.
    pub fn add_arguments(&mut self, args: &[&str]) {
        let more = args.iter().map(|arg| arg.to_string());
        self.launch.args.extend(more);
    }

    /// As [`Server::restart`], but does not wait until it answers, which it may never do.
    pub fn start_again(&mut self) {
        self.kill9();
        self.child = spawn(&self.launch, &self.dir, self.port);
        self.guard = Guard::new(self.child.id(), &self.dir);
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let status = wait_exit(&mut self.child);
        self.guard.release();
        status
    }

    fn print_log(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(60)..];
        eprintln!(
            "--- the server's log, last {} lines:\n{}\n---",
            tail.len(),
            tail.join("\n")
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_log();
        }
        self.kill9();
        // A directory left behind is no reason to fail a test.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn spawn(launch: &Launch, dir: &Path, port: u16) -> Child {
    let mut args: Vec<String> = Vec::new();
    if let Some(text) = &launch.config {
        let path = dir.join("redis.conf");
        // A restarted server finds its file as it left it.
        if !path.exists() {
            fs::write(&path, text).expect("write a config file");
        }
        args.push(path.display().to_string());
    }
    let port = port.to_string();
    args.extend(["--bind", "127.0.0.1", "--port", &port, "--save", ""].map(String::from));
    if launch.unix {
        args.extend(["--unixsocket".into(), dir.join("s").display().to_string()]);
    }
    args.extend(launch.args.iter().cloned());
    let program = launch.program.clone().unwrap_or_else(binary);
    let mut command = match &launch.shell {
        None => Command::new(program),
        Some(prelude) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{prelude}; exec \"$0\" \"$@\"")]);
            shell.arg(program);
            shell
        }
    };
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"));
    let log = log.expect("create the log file");
    command
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("share the log file"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start the server: {e}"))
}

/// Ends the server when the test process goes away without saying so: a server shared by a file's
/// tests lives in a static, which is never dropped, and a test run can be interrupted. It is a shell
/// that waits for the end of a pipe which only this process holds.
struct Guard(Child);

impl Guard {
    fn new(pid: u32, dir: &Path) -> Guard {
        let script = "if read -r line; then exit; fi; kill -9 \"$0\"; rm -rf \"$1\"";
        let child = Command::new("sh")
            .args(["-c", script, &pid.to_string(), &dir.display().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("run sh");
        Guard(child)
    }

    fn release(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            // The shell can only be gone already, and then nothing is left to release.
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.0.wait();
    }
}

/// Waits, with a deadline, for a process to end.
#[track_caller]
fn wait_exit(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait for a process") {
            return status;
        }
        if start.elapsed() > START_TIMEOUT {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the process did not end within {START_TIMEOUT:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a run of the server that ends by itself left behind.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output and standard error, as they came.
    pub output: String,
}

/// Runs the server with exactly these arguments until it ends by itself, as it does for `--version`
/// or a bad option.
#[track_caller]
pub fn run_to_end(args: &[&str], stdin: &str) -> Ended {
    let dir = temp_dir();
    let log = File::create(dir.join("log")).expect("create the log file");
    let mut child = Command::new(binary())
        .args(args)
        .current_dir(&dir)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("share the log file"))
        .stderr(log)
        .spawn()
        .expect("start the server");
    if let Some(mut pipe) = child.stdin.take() {
        // A server that does not read its standard input may be gone before this arrives.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    let status = wait_exit(&mut child);
    let bytes = fs::read(dir.join("log")).expect("read the log file");
    let _ = fs::remove_dir_all(&dir);
    let output = String::from_utf8_lossy(&bytes).into_owned();
    Ended { status, output }
}

/// The fields of a section of `INFO`, asked over this connection.
#[track_caller]
pub fn info(client: &mut Client, section: &str) -> BTreeMap<String, String> {
    let text = client.cmd(&["INFO", section]).text();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_string(), value.trim_end().to_string()))
        .collect()
}

/// A test's hold on the server its file shares: the server itself, which prints its log when the
/// test fails.
pub struct Shared(&'static Server);

impl Shared {
    /// The server in `cell`, started with `args` by whoever comes first.
    #[track_caller]
    pub fn of(cell: &'static OnceLock<Server>, args: &[&str]) -> Shared {
        Shared(cell.get_or_init(|| Server::with(args)))
    }
}

impl Deref for Shared {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.print_log();
        }
    }
}

/// A small seeded generator (SplitMix64), so that a failing random test can be run again.
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}
