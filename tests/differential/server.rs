//! Starts redis-server or stdis on a free port of the loopback, and stops it when dropped.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::wire::{Connection, Outcome};

/// How long a server may take to answer its first PING.
const START: Duration = Duration::from_secs(20);

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    folder: PathBuf,
}

/// redis-server and the server that is tested, started alike.
pub struct Pair {
    /// redis-server.
    pub reference: Server,
    /// stdis.
    pub subject: Server,
}

impl Pair {
    /// Starts both with the same extra arguments.
    pub fn start(args: &[String]) -> Pair {
        let subject = std::env::var("STDIS_TEST_SERVER")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_stdis").to_string());
        Pair {
            reference: Server::start("redis-server", args),
            subject: Server::start(&subject, args),
        }
    }

    /// The last lines both servers logged, for a report.
    pub fn logs(&self) -> String {
        format!(
            "redis-server's log:\n{}\nstdis' log:\n{}\n",
            self.reference.log(),
            self.subject.log()
        )
    }
}

impl Server {
    fn start(program: &str, args: &[String]) -> Server {
        // Another process can take the port between our look and the server's bind.
        for _ in 0..5 {
            if let Some(server) = Server::try_start(program, args) {
                return server;
            }
        }
        panic!("no free port for {program} after five tries");
    }

    /// Starts a server; `None` when somebody else has got its port.
    fn try_start(program: &str, args: &[String]) -> Option<Server> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("differential-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the server");
        let log = File::create(folder.join("log")).expect("a file for the server's log");
        let address = free_address();
        let child = Command::new(program)
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--enable-debug-command", "yes"])
            .arg("--dir")
            .arg(&folder)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|why| panic!("cannot start {program}: {why}"));
        let mut server = Server {
            address,
            child,
            folder,
        };
        server.wait_until_ready(program).then_some(server)
    }

    /// Asks for PONG until it comes. Returns `false` when the port is somebody else's.
    fn wait_until_ready(&mut self, program: &str) -> bool {
        let start = Instant::now();
        loop {
            if let Ok(mut connection) = Connection::open(self.address, 2)
                && connection.call(&["PING"]) == Outcome::Reply(b"+PONG\r\n".to_vec())
            {
                // It may be another server that answers.
                let Outcome::Reply(info) = connection.call(&["INFO", "server"]) else {
                    return false;
                };
                let own = format!("process_id:{}\r\n", self.child.id());
                return String::from_utf8_lossy(&info).contains(&own);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                if self.log().contains("in use") {
                    return false;
                }
                panic!("{program} ended at its start ({status}):\n{}", self.log());
            }
            assert!(
                start.elapsed() < START,
                "{program} does not answer:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The last lines of the log.
    fn log(&self) -> String {
        let log = std::fs::read(self.folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// An address nobody listens on at this moment, and that nobody else in this process was given.
fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("the port that was bound");
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if given.insert(address.port()) {
            return address;
        }
    }
}

/// Which of these commands the server at `address` does not have.
pub fn missing_commands<T: AsRef<str>>(address: SocketAddr, names: &[T]) -> Vec<String> {
    if names.is_empty() {
        return Vec::new();
    }
    let mut connection = Connection::open(address, 2).expect("a connection");
    let mut command = vec!["COMMAND", "INFO"];
    command.extend(names.iter().map(AsRef::as_ref));
    let Outcome::Reply(reply) = connection.call(&command) else {
        panic!("COMMAND INFO was not answered");
    };
    let rows = crate::wire::Value::parse(&reply).elements();
    assert_eq!(
        rows.len(),
        names.len(),
        "COMMAND INFO answers with a row a name"
    );
    names
        .iter()
        .zip(rows)
        .filter(|(_, row)| row.is_null())
        .map(|(name, _)| name.as_ref().to_string())
        .collect()
}
