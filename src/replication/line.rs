//! [`Line`]: the connection to a primary, as bytes that come and words that go.
//!
//! What has come waits in one buffer, from which lines, a data set and commands are taken in turn;
//! so it does not matter where the packets end. The buffer only grows while it is full of bytes that
//! have come.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::resp::encode_command;
use crate::server::Server;
use crate::server::client::{Address, Client, Socket};
use crate::server::config::id;
use crate::server::replication::Primary;
use crate::sys;

/// The buffer's first size, and that to which it returns.
const ROOM: usize = 64 << 10;
/// The longest line that a primary is believed to send.
const LINE: usize = 16 << 10;
/// How often somebody who waits asks whether there is still reason to.
const TICK: Duration = Duration::from_millis(100);

/// Why a line is of no more use.
#[derive(Debug)]
pub enum Broken {
    /// The server has another role or another primary now, or is ending.
    Over,
    /// Nothing has come for `repl-timeout`.
    Silent,
    /// The connection cannot be made, or is lost.
    Lost(io::Error),
}

impl Broken {
    /// What the log is told of it.
    pub fn reason(&self) -> String {
        match self {
            Broken::Over => "the link is no longer wanted".to_owned(),
            Broken::Silent => "Connection timed out".to_owned(),
            Broken::Lost(error) if error.kind() == ErrorKind::UnexpectedEof => {
                "connection lost".to_owned()
            }
            Broken::Lost(error) => crate::server::aof::reason(error),
        }
    }
}

/// How long a primary may be silent.
pub fn patience(server: &Server) -> Duration {
    Duration::from_secs(server.config.int(id::REPL_TIMEOUT).max(1) as u64)
}

/// Connects to a primary. Names are looked up, and connections made, by a thread that may be left
/// alone with it when the role changes meanwhile.
///
/// # Errors
/// The connection is refused or takes too long, or the generation is over.
pub fn connect(
    server: &Server,
    generation: u64,
    primary: &Primary,
) -> Result<(Socket, Address), Broken> {
    let (give, take) = channel();
    let (target, limit) = (primary.clone(), patience(server));
    let source = server.config.str(id::BIND_SOURCE_ADDR);
    let body = move || {
        // Nobody may be waiting any more.
        let _ = give.send(reach(&target, &String::from_utf8_lossy(&source), limit));
    };
    let thread = std::thread::Builder::new().name("connect".into());
    let spawned = thread.stack_size(256 << 10).spawn(body);
    spawned.map_err(Broken::Lost)?;
    let start = Instant::now();
    loop {
        match take.recv_timeout(TICK) {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) if error.kind() == ErrorKind::TimedOut => return Err(Broken::Silent),
            Ok(Err(error)) => return Err(Broken::Lost(error)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Broken::Lost(ErrorKind::ConnectionAborted.into()));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if !server.replication.is_current(generation) || server.is_stopping() {
            return Err(Broken::Over);
        }
        if start.elapsed() > patience(server) {
            return Err(Broken::Silent);
        }
    }
}

/// Tries the addresses of a name in turn, from the address `source` if it is not empty.
fn reach(primary: &Primary, source: &str, limit: Duration) -> io::Result<(Socket, Address)> {
    let mut failed = None;
    for address in (&*primary.host, primary.port).to_socket_addrs()? {
        let connected = match bound(source, address) {
            Some(socket) => sys::connect(socket, address, limit),
            None => TcpStream::connect_timeout(&address, limit),
        };
        match connected {
            Ok(stream) => {
                // What the two ends tell each other does not wait for more.
                let _ = stream.set_nodelay(true);
                let peer = stream.peer_addr()?;
                let address = Address {
                    peer: peer.to_string(),
                    local: stream.local_addr()?.to_string(),
                    unix: false,
                    loopback: peer.ip().to_canonical().is_loopback(),
                };
                return Ok((Arc::new(File::from(OwnedFd::from(stream))), address));
            }
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| ErrorKind::NotFound.into()))
}

/// A socket at an address of this machine's own from which the target may be reached. Where there is
/// none, a link from another address is better than no link, as in Redis.
fn bound(source: &str, target: SocketAddr) -> Option<OwnedFd> {
    if source.is_empty() {
        return None;
    }
    let mut sources = (source, 0).to_socket_addrs().ok()?;
    sources.find_map(|source| {
        let fits = source.is_ipv4() == target.is_ipv4();
        fits.then(|| sys::bound_socket(source).ok())?
    })
}

/// A connection to a primary.
pub struct Line {
    /// What the primary is seen as.
    pub client: Arc<Client>,
    buffer: Vec<u8>,
    /// The part of the buffer that holds what has come and has not been used.
    start: usize,
    end: usize,
    /// When something last came.
    pub heard: Instant,
}

impl Line {
    /// A line over a connection that stands.
    pub fn new(client: Arc<Client>) -> Line {
        Line {
            client,
            buffer: vec![0; ROOM],
            start: 0,
            end: 0,
            heard: Instant::now(),
        }
    }

    /// What has come and has not been used.
    pub fn input(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// So many bytes have been used.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > 4 * ROOM {
                self.buffer = vec![0; ROOM];
            }
        }
    }

    /// These bytes have not been used after all: they come before those that are here.
    pub fn unread(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut all = bytes.to_vec();
        all.extend_from_slice(self.input());
        (self.start, self.end) = (0, all.len());
        all.resize(all.len().max(ROOM), 0);
        self.buffer = all;
    }

    /// Makes room behind what has come: of what a long command or a busy primary needs.
    fn make_room(&mut self) {
        if self.start > 0 && self.end + ROOM / 2 > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end + ROOM / 4 > self.buffer.len() {
            let more = self.buffer.len().max(ROOM);
            self.buffer.resize(self.buffer.len() + more, 0);
        }
    }

    /// Reads what has arrived, which may be nothing. Returns how much.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn poll(&mut self) -> Result<usize, Broken> {
        self.make_room();
        match sys::recv_nonblocking(&self.client.socket, &mut self.buffer[self.end..]) {
            Ok(0) => Err(Broken::Lost(ErrorKind::UnexpectedEof.into())),
            Ok(read) => {
                self.end += read;
                self.heard = Instant::now();
                Ok(read)
            }
            Err(error) if is_nothing(&error) => Ok(0),
            Err(error) => Err(Broken::Lost(error)),
        }
    }

    /// Waits until something more has come, and reads it.
    ///
    /// # Errors
    /// The connection is lost, or nothing has come for too long.
    pub fn fill(&mut self, server: &Server) -> Result<usize, Broken> {
        loop {
            server.testing.stand_still();
            let read = self.poll()?;
            if read > 0 {
                return Ok(read);
            }
            if self.heard.elapsed() > patience(server) {
                return Err(Broken::Silent);
            }
            if server.is_stopping() {
                return Err(Broken::Over);
            }
            self.wait(Duration::from_secs(1))?;
        }
    }

    /// Waits for something to come, at most for so long.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn wait(&self, most: Duration) -> Result<bool, Broken> {
        let millis = most.as_millis().clamp(1, 60_000) as i32;
        match sys::wait_readable(&self.client.socket, millis) {
            Ok(readable) => Ok(readable),
            Err(error) if is_nothing(&error) => Ok(false),
            Err(error) => Err(Broken::Lost(error)),
        }
    }

    /// The next line, without its end. It may be empty: so primaries show that they are there.
    ///
    /// # Errors
    /// As [`Line::fill`]; or what comes is no line.
    pub fn line(&mut self, server: &Server) -> Result<Vec<u8>, Broken> {
        let mut looked = 0;
        loop {
            let input = self.input();
            if let Some(at) = input[looked..].iter().position(|&byte| byte == b'\n') {
                let end = looked + at;
                let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
                let line = line.to_vec();
                self.consume(end + 1);
                return Ok(line);
            }
            looked = input.len();
            if looked > LINE {
                return Err(Broken::Lost(ErrorKind::InvalidData.into()));
            }
            self.fill(server)?;
        }
    }

    /// Sends a command.
    ///
    /// # Errors
    /// The connection is lost, or the primary does not read.
    pub fn send(&self, server: &Server, words: &[&[u8]]) -> Result<(), Broken> {
        let mut bytes = Vec::new();
        encode_command(&mut bytes, words.iter().copied());
        self.send_raw(server, &bytes)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// As [`Line::send`].
    pub fn send_raw(&self, server: &Server, mut bytes: &[u8]) -> Result<(), Broken> {
        let start = Instant::now();
        while !bytes.is_empty() {
            match sys::send_nonblocking(&self.client.socket, bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if is_nothing(&error) => {
                    if start.elapsed() > patience(server) {
                        return Err(Broken::Silent);
                    }
                    let waited = sys::wait_writable(&self.client.socket, 1000);
                    waited.map_err(Broken::Lost)?;
                }
                Err(error) => return Err(Broken::Lost(error)),
            }
        }
        Ok(())
    }
}

/// Whether an error says no more than that there is nothing to be done now.
fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::TimedOut
    )
}
