//! The two ends of a replication link, spoken by hand: a replica that says exactly what a test has
//! it say, and a primary that answers as a test likes. Every byte of the stream is counted.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{REPLY_TIMEOUT, encode, show};

/// A snapshot without keys, and without a checksum, which a sum of 0 says.
pub const EMPTY_RDB: &[u8] = b"REDIS0009\xFF\0\0\0\0\0\0\0\0";

/// A snapshot with one short key and value in database 0.
pub fn rdb_with(key: &str, value: &str) -> Vec<u8> {
    let mut rdb = b"REDIS0009\xFE\x00\xFB\x01\x00\x00".to_vec();
    for text in [key, value] {
        rdb.push(u8::try_from(text.len()).expect("a short text"));
        rdb.extend_from_slice(text.as_bytes());
    }
    rdb.extend_from_slice(b"\xFF\0\0\0\0\0\0\0\0");
    rdb
}

/// The words of a command, for comparisons.
pub type Words = Vec<String>;

/// One connection. Whatever does not come within [`REPLY_TIMEOUT`] fails the test.
pub struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    read: usize,
    /// Bytes that have been handed out.
    pub consumed: u64,
}

impl Link {
    /// Over a connection that is there.
    pub fn over(stream: TcpStream) -> Link {
        stream.set_nodelay(true).expect("set an option");
        stream
            .set_read_timeout(Some(REPLY_TIMEOUT))
            .expect("set an option");
        stream
            .set_write_timeout(Some(REPLY_TIMEOUT))
            .expect("set an option");
        Link {
            stream,
            buffer: Vec::new(),
            read: 0,
            consumed: 0,
        }
    }

    /// To a port of the loopback.
    pub fn connect(port: u16) -> Link {
        Link::over(TcpStream::connect(("127.0.0.1", port)).expect("connect"))
    }

    /// Sends these bytes.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(bytes)
            .unwrap_or_else(|why| panic!("cannot send {} bytes: {why}", bytes.len()));
    }

    /// Sends these bytes; that the other side is gone is the caller's to judge.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends one command.
    #[track_caller]
    pub fn send(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        self.write(&encode(&words));
    }

    /// Sends a command and returns the line that answers it.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.line()
    }

    /// Ends both directions.
    pub fn close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Reads more; false when the other side has closed.
    #[track_caller]
    fn fill(&mut self) -> bool {
        let mut chunk = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(count) => {
                    self.buffer.drain(..self.read);
                    self.read = 0;
                    self.buffer.extend_from_slice(&chunk[..count]);
                    return true;
                }
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why)
                    if matches!(
                        why.kind(),
                        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                    ) =>
                {
                    return false;
                }
                Err(why) => {
                    let rest = &self.buffer[self.read..];
                    let rest = &rest[..rest.len().min(300)];
                    panic!("nothing more came ({why}) after '{}'", show(rest));
                }
            }
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.buffer[self.read..self.read + count].to_vec();
        self.read += count;
        self.consumed += count as u64;
        bytes
    }

    /// The next line without its end, `None` when there is none any more.
    #[track_caller]
    pub fn try_line(&mut self) -> Option<String> {
        loop {
            let unread = &self.buffer[self.read..];
            if let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
                let line = self.take(end + 1);
                let line = String::from_utf8_lossy(&line).into_owned();
                return Some(line.trim_end().to_owned());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// The next line without its end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.try_line().expect("the other side closed the link")
    }

    /// So many bytes.
    #[track_caller]
    pub fn exact(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() - self.read < count {
            assert!(self.fill(), "closed within {count} bytes");
        }
        self.take(count)
    }

    /// The next command, word by word; `None` when the other side has closed.
    #[track_caller]
    pub fn try_command(&mut self) -> Option<Vec<Vec<u8>>> {
        let number = |line: &str, kind: &str| -> usize {
            let digits = line.strip_prefix(kind).and_then(|rest| rest.parse().ok());
            digits.unwrap_or_else(|| panic!("not a command: '{line}'"))
        };
        // A replica that is busy with a snapshot sends empty lines to show that it is alive.
        let mut line = self.try_line()?;
        while line.is_empty() {
            line = self.try_line()?;
        }
        if line == "PING" {
            return Some(vec![line.into_bytes()]);
        }
        let count = number(&line, "*");
        let mut words = Vec::new();
        for _ in 0..count {
            line = self.try_line()?;
            let length = number(&line, "$");
            words.push(self.exact(length));
            assert_eq!(self.exact(2), b"\r\n", "a word without its end");
        }
        Some(words)
    }

    /// The next command.
    #[track_caller]
    pub fn command(&mut self) -> Words {
        let words = self.try_command().expect("the other side closed the link");
        words
            .iter()
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect()
    }

    /// Reads until the other side closes; fails when it does not in time.
    #[track_caller]
    pub fn await_close(&mut self) {
        while self.fill() {
            self.read = self.buffer.len();
        }
    }
}

/// A replica that is one connection and keeps nothing.
pub struct RawReplica {
    /// The connection.
    pub link: Link,
    /// The primary's replication id.
    pub id: String,
    /// What the primary sent in full.
    pub rdb: Vec<u8>,
    /// How far the stream has been read.
    pub offset: u64,
}

impl RawReplica {
    /// The handshake without `eof`, and the snapshot.
    #[track_caller]
    pub fn sync(port: u16) -> RawReplica {
        RawReplica::with(port, &["REPLCONF listening-port 1", "REPLCONF capa psync2"])
    }

    /// The same with other lines between `PING` and `PSYNC`, each answered with OK.
    #[track_caller]
    pub fn with(port: u16, lines: &[&str]) -> RawReplica {
        let mut link = Link::connect(port);
        assert_eq!(link.ask("PING"), "+PONG");
        for line in lines {
            assert_eq!(link.ask(line), "+OK", "{line}");
        }
        link.send("PSYNC ? -1");
        RawReplica::resynced(link)
    }

    /// What follows a PSYNC that cannot be answered with `+CONTINUE`.
    #[track_caller]
    pub fn resynced(mut link: Link) -> RawReplica {
        let line = heard(&mut link);
        let words: Vec<&str> = line.split(' ').collect();
        let [word, id, offset] = words[..] else {
            panic!("not the answer to PSYNC: '{line}'");
        };
        assert_eq!(word, "+FULLRESYNC", "{line}");
        let (id, offset) = (id.to_owned(), offset.parse().expect("an offset"));
        let rdb = payload(&mut link);
        link.consumed = 0;
        RawReplica {
            link,
            id,
            rdb,
            offset,
        }
    }

    /// Goes on from an offset, which the primary must accept.
    #[track_caller]
    pub fn partial(port: u16, id: &str, offset: u64) -> RawReplica {
        let mut link = Link::connect(port);
        assert_eq!(link.ask("REPLCONF capa psync2"), "+OK");
        let line = link.ask(&format!("PSYNC {id} {}", offset + 1));
        let id = line.strip_prefix("+CONTINUE").map(str::trim);
        let id = id.unwrap_or_else(|| panic!("not a partial resync: '{line}'"));
        link.consumed = 0;
        RawReplica {
            link,
            id: id.to_owned(),
            rdb: Vec::new(),
            offset,
        }
    }

    /// The next command of the stream, which may be any.
    #[track_caller]
    pub fn any(&mut self) -> Words {
        let before = self.link.consumed;
        let words = self.link.command();
        self.offset += self.link.consumed - before;
        words
    }

    /// The next command of the stream that is not a `PING`.
    #[track_caller]
    pub fn next(&mut self) -> Words {
        loop {
            let words = self.any();
            if !words[0].eq_ignore_ascii_case("PING") {
                return words;
            }
        }
    }

    /// The same in one line.
    #[track_caller]
    pub fn text(&mut self) -> String {
        self.next().join(" ")
    }

    /// Says how far it is.
    #[track_caller]
    pub fn ack(&mut self) {
        self.link.send(&format!("REPLCONF ACK {}", self.offset));
    }
}

/// The next line that says something: a primary sends empty ones so as not to be taken for dead.
#[track_caller]
pub fn heard(link: &mut Link) -> String {
    loop {
        let line = link.line();
        if !line.is_empty() {
            return line;
        }
    }
}

/// A snapshot in either form of transfer.
#[track_caller]
pub fn payload(link: &mut Link) -> Vec<u8> {
    let line = heard(link);
    if let Some(mark) = line.strip_prefix("$EOF:") {
        assert_eq!(mark.len(), 40, "{line}");
        let mut all = Vec::new();
        while !all.ends_with(mark.as_bytes()) {
            all.extend(link.exact(1));
        }
        all.truncate(all.len() - 40);
        return all;
    }
    let length = line.strip_prefix('$').and_then(|rest| rest.parse().ok());
    link.exact(length.unwrap_or_else(|| panic!("not a snapshot: '{line}'")))
}

/// A primary that is a listener and whatever the test makes of it.
pub struct FakePrimary {
    listener: TcpListener,
}

impl FakePrimary {
    /// On a port of its own.
    pub fn listen() -> FakePrimary {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        listener.set_nonblocking(true).expect("set an option");
        FakePrimary { listener }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("a bound address").port()
    }

    /// The next connection.
    #[track_caller]
    pub fn accept(&self) -> Link {
        let start = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).expect("set an option");
                    return Link::over(stream);
                }
                Err(why) if why.kind() == ErrorKind::WouldBlock => {}
                Err(why) => panic!("cannot accept: {why}"),
            }
            assert!(start.elapsed() < REPLY_TIMEOUT, "no replica connected");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The next connection, after its handshake up to and with `PSYNC`, and what it said. One that
    /// the replica has given up in the meantime does not count.
    #[track_caller]
    pub fn handshake(&self) -> (Link, Vec<Words>) {
        loop {
            let mut link = self.accept();
            let mut said: Vec<Words> = Vec::new();
            while let Some(words) = link.try_command() {
                let text = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
                said.push(words.iter().map(text).collect());
                let answer = match &words[0].to_ascii_uppercase()[..] {
                    b"PSYNC" => return (link, said),
                    b"PING" => "+PONG\r\n",
                    _ => "+OK\r\n",
                };
                if !link.try_write(answer.as_bytes()) {
                    break;
                }
            }
        }
    }

    /// The next connection, after a full resync with this snapshot, at offset 0.
    #[track_caller]
    pub fn full(&self, rdb: &[u8]) -> Link {
        let (mut link, _) = self.handshake();
        link.write(&full_resync(rdb));
        link.consumed = 0;
        link
    }
}

/// The id of [`FakePrimary`].
pub const FAKE_ID: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a primary sends to a replica that it has to send everything to.
pub fn full_resync(rdb: &[u8]) -> Vec<u8> {
    let mut bytes = format!("+FULLRESYNC {FAKE_ID} 0\r\n${}\r\n", rdb.len()).into_bytes();
    bytes.extend_from_slice(rdb);
    bytes
}
