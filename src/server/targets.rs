//! Connections to other servers, to which `MIGRATE` moves keys.
//!
//! `MIGRATE` often comes many times in a row with the same target, so its connection is kept for a
//! while. Whoever uses one takes it out of [`Targets`], has it alone, and gives it back; one that
//! fails is dropped instead. Every wait ends: each read and each write may take the time given, and
//! so may the way to a connection.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most connections that are kept.
const MOST: usize = 64;
/// How long an unused one is kept.
const KEPT: Duration = Duration::from_secs(10);
/// The most bytes that are handed to the system at once, so that the time that a write may take is
/// one for so many.
const CHUNK: usize = 64 << 10;
/// The longest line that is taken for a reply.
const MAX_LINE: usize = 64 << 10;

/// A connection to another server.
pub struct Target {
    host: Vec<u8>,
    port: Vec<u8>,
    stream: TcpStream,
    /// The database that is selected there, if that is known.
    pub database: Option<i64>,
    /// What has been read beyond the last line.
    input: Vec<u8>,
    used: Instant,
}

impl Target {
    /// Connects to a server.
    ///
    /// # Errors
    /// When there is none, or it does not answer in time.
    pub fn connect(host: &[u8], port: &[u8], timeout: Duration) -> Result<Target> {
        let stream = connect(host, port, timeout)?;
        stream.set_nodelay(true)?;
        Ok(Target {
            host: host.to_vec(),
            port: port.to_vec(),
            stream,
            // A new connection has database 0 selected, but Redis says so all the same.
            database: None,
            input: Vec::new(),
            used: Instant::now(),
        })
    }

    /// Limits the time that each single read and write may take.
    ///
    /// # Errors
    /// When the system refuses to.
    pub fn set_timeout(&self, timeout: Duration) -> Result<()> {
        self.stream.set_read_timeout(Some(timeout))?;
        self.stream.set_write_timeout(Some(timeout))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When not all of them could be sent in time.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(CHUNK) {
            self.stream.write_all(chunk)?;
        }
        Ok(())
    }

    /// Reads a reply of one line: `Err` with the text of an error reply.
    ///
    /// # Errors
    /// When none comes in time, or something that is neither a status nor an error.
    pub fn reply(&mut self) -> Result<std::result::Result<(), Vec<u8>>> {
        let line = self.line()?;
        match line.split_first() {
            Some((b'+', _)) => Ok(Ok(())),
            Some((b'-', text)) => Ok(Err(text.to_vec())),
            // Whoever answers like this has not understood; keys must not be deleted for it.
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// Reads a line and gives it without its end.
    fn line(&mut self) -> Result<Vec<u8>> {
        let mut seen = 0;
        loop {
            if let Some(more) = self.input[seen..].iter().position(|&b| b == b'\n') {
                let mut line: Vec<u8> = self.input.drain(..=seen + more).collect();
                line.pop();
                line.pop_if(|last| *last == b'\r');
                return Ok(line);
            }
            seen = self.input.len();
            if seen > MAX_LINE {
                return Err(ErrorKind::InvalidData.into());
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.input.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn is(&self, host: &[u8], port: &[u8]) -> bool {
        self.host == host && self.port == port
    }
}

/// Whether an error means that something took too long.
pub fn is_timeout(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

/// Tries each address of the host until the time is over.
fn connect(host: &[u8], port: &[u8], timeout: Duration) -> Result<TcpStream> {
    let host = std::str::from_utf8(host).map_err(|_| ErrorKind::InvalidInput)?;
    let port = port_number(port).ok_or(ErrorKind::InvalidInput)?;
    let start = Instant::now();
    let mut last = ErrorKind::AddrNotAvailable.into();
    for address in (host, port).to_socket_addrs()? {
        let left = timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The port that a text stands for, as C's `atoi` and the resolver read it: the number at its start,
/// cut to sixteen bits; `None` below zero.
fn port_number(text: &[u8]) -> Option<u16> {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"+").unwrap_or(text);
    if text.first() == Some(&b'-') {
        return None;
    }
    let digits = text.iter().take_while(|b| b.is_ascii_digit());
    Some(digits.fold(0, |port: u16, digit| {
        port.wrapping_mul(10).wrapping_add((digit - b'0').into())
    }))
}

/// The connections that are kept.
#[derive(Default)]
pub struct Targets {
    /// In the order in which they were given back.
    idle: Mutex<Vec<Target>>,
}

impl Targets {
    fn idle(&self) -> MutexGuard<'_, Vec<Target>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out a connection to this target, if one is kept.
    pub fn take(&self, host: &[u8], port: &[u8]) -> Option<Target> {
        let mut idle = self.idle();
        let at = idle.iter().rposition(|target| target.is(host, port))?;
        Some(idle.remove(at))
    }

    /// Keeps a connection, on which nothing is under way, for the next one.
    pub fn keep(&self, mut target: Target) {
        if !target.input.is_empty() {
            // It has said more than it was asked for, so what it says next would be misread.
            return;
        }
        target.used = Instant::now();
        let mut idle = self.idle();
        if idle.len() == MOST {
            idle.remove(0);
        }
        idle.push(target);
    }

    /// Closes all connections to a target of which one has failed.
    pub fn forget(&self, host: &[u8], port: &[u8]) {
        self.idle().retain(|target| !target.is(host, port));
    }

    /// Closes those that have not been used for a while; to be called every second or so.
    pub fn close_idle(&self) {
        self.idle().retain(|target| target.used.elapsed() <= KEPT);
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.idle().len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn listener() -> (TcpListener, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("an address").port();
        (listener, port.to_string().into_bytes())
    }

    #[test]
    fn ports_are_read_as_c_does() {
        for (text, port) in [
            ("6379", Some(6379)),
            (" +80x", Some(80)),
            ("65536", Some(0)),
            ("70000", Some(4464)),
            ("-1", None),
            ("x", Some(0)),
            ("", Some(0)),
        ] {
            assert_eq!(port_number(text.as_bytes()), port, "{text}");
        }
    }

    #[test]
    fn replies_come_line_by_line() {
        let (listener, port) = listener();
        let mut target = Target::connect(b"127.0.0.1", &port, TIMEOUT).expect("connect");
        target.set_timeout(TIMEOUT).expect("a timeout");
        let (mut other, _) = listener.accept().expect("accept");
        target.send(b"ping").expect("send");
        let mut sent = [0; 4];
        other.read_exact(&mut sent).expect("read");
        assert_eq!(&sent, b"ping");
        other.write_all(b"+OK\r\n-ERR no\r\n+").expect("write");
        assert_eq!(target.reply().expect("a reply"), Ok(()));
        assert_eq!(target.reply().expect("a reply"), Err(b"ERR no".to_vec()));
        other.write_all(b"late\n:1\r\n\r\n+cut").expect("write");
        assert_eq!(target.reply().expect("a reply"), Ok(()));
        for _ in 0..2 {
            let error = target.reply().expect_err("no reply");
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
        drop(other);
        let error = target.reply().expect_err("no reply");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn silence_and_endless_lines_end() {
        let (listener, port) = listener();
        let mut target = Target::connect(b"127.0.0.1", &port, TIMEOUT).expect("connect");
        let (mut other, _) = listener.accept().expect("accept");
        target.set_timeout(Duration::from_millis(5)).expect("set");
        assert!(is_timeout(&target.reply().expect_err("no reply")));
        target.set_timeout(TIMEOUT).expect("set");
        other.write_all(&[b'+'; MAX_LINE + 5000]).expect("write");
        let error = target.reply().expect_err("no reply");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn connections_are_kept_by_name() {
        let (_listener, port) = listener();
        let targets = Targets::default();
        let connect = || Target::connect(b"127.0.0.1", &port, TIMEOUT).expect("connect");
        assert!(targets.take(b"127.0.0.1", &port).is_none());
        let mut first = connect();
        first.database = Some(3);
        targets.keep(first);
        assert!(targets.take(b"localhost", &port).is_none());
        assert!(targets.take(b"127.0.0.1", b"1").is_none());
        targets.close_idle();
        let mut again = targets.take(b"127.0.0.1", &port).expect("kept");
        assert_eq!(again.database, Some(3));
        again.input.push(b'+');
        targets.keep(again);
        assert!(targets.is_empty());
        for _ in 0..MOST + 2 {
            targets.keep(connect());
        }
        assert_eq!(targets.len(), MOST);
        for target in targets.idle().iter_mut().take(5) {
            target.used -= KEPT + Duration::from_secs(1);
        }
        targets.close_idle();
        assert_eq!(targets.len(), MOST - 5);
        targets.forget(b"127.0.0.1", &port);
        assert!(targets.is_empty());
    }
}
