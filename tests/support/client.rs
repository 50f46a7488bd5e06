//! A blocking RESP2/RESP3 client for the tests: it sends exactly the bytes a test asks for and
//! shows exactly what came back. It relies on nothing but std, and shares no code with the server,
//! so that a mistake in the server's protocol cannot hide in a shared parser.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long a test waits for a reply, or for room to send, before it fails.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// One reply. The three ways of saying nothing (`$-1`, `*-1`, `_`) are all [`Value::Null`]; a test
/// that must tell them apart reads with [`Client::recv_raw`].
#[derive(Clone, PartialEq)]
pub enum Value {
    /// `+text`
    Simple(String),
    /// `-text`, also the RESP3 form `!n`
    Error(String),
    /// `:n`
    Int(i64),
    /// `$n` and its bytes
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`
    Null,
    /// `*n`
    Array(Vec<Value>),
    /// `%n`, in the order in which the server sent it
    Map(Vec<(Value, Value)>),
    /// `~n`
    Set(Vec<Value>),
    /// `,text`
    Double(f64),
    /// `#t` or `#f`
    Bool(bool),
    /// `(digits`
    BigNumber(String),
    /// `=n`: the three letters of its format, and the text
    Verbatim(String, Vec<u8>),
    /// `>n`
    Push(Vec<Value>),
}

/// Shorthand for the null reply, for use in [`array!`](crate::array).
pub const NULL: Value = Value::Null;

/// The error reply with this exact text.
pub fn error(text: &str) -> Value {
    Value::Error(text.into())
}

/// The status reply with this exact text.
pub fn simple(text: &str) -> Value {
    Value::Simple(text.into())
}

/// An array reply: `array!["a", 1, NULL]`. Text stands for a bulk string.
#[macro_export]
macro_rules! array {
    ($($item:expr),* $(,)?) => {
        $crate::support::Value::Array(vec![$($crate::support::Value::from($item)),*])
    };
}

impl Value {
    /// The number; anything else fails the test.
    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Value::Int(n) => *n,
            other => panic!("expected an integer, got {other:?}"),
        }
    }

    /// The bytes of a bulk, verbatim or status reply; anything else fails the test.
    #[track_caller]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Value::Bulk(bytes) | Value::Verbatim(_, bytes) => bytes,
            Value::Simple(text) | Value::BigNumber(text) => text.as_bytes(),
            other => panic!("expected a string, got {other:?}"),
        }
    }

    /// The same as text.
    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// The items of an array, set or push; anything else fails the test.
    #[track_caller]
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => items,
            other => panic!("expected an array, got {other:?}"),
        }
    }

    /// The items as texts, in the order they came.
    #[track_caller]
    pub fn texts(&self) -> Vec<String> {
        self.items().iter().map(Value::text).collect()
    }

    /// The items as texts, sorted.
    #[track_caller]
    pub fn sorted(&self) -> Vec<String> {
        let mut texts = self.texts();
        texts.sort();
        texts
    }

    /// The pairs of a RESP3 map or of the flat array that RESP2 sends in its place.
    #[track_caller]
    pub fn pairs(&self) -> Vec<(Value, Value)> {
        match self {
            Value::Map(pairs) => pairs.clone(),
            Value::Array(items) => {
                assert!(items.len() % 2 == 0, "odd number of items in {self:?}");
                items
                    .chunks(2)
                    .map(|p| (p[0].clone(), p[1].clone()))
                    .collect()
            }
            other => panic!("expected a map, got {other:?}"),
        }
    }

    /// The value of a field of [`Value::pairs`].
    #[track_caller]
    pub fn field(&self, name: &str) -> Value {
        let found = self.pairs().into_iter().find(|(key, _)| *key == name);
        found
            .unwrap_or_else(|| panic!("no field '{name}' in {self:?}"))
            .1
    }

    /// The text of an error reply; anything else fails the test.
    #[track_caller]
    pub fn error(&self) -> &str {
        match self {
            Value::Error(text) => text,
            other => panic!("expected an error, got {other:?}"),
        }
    }

    /// Whether this is the null reply.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    fn is_bytes(&self, expected: &[u8]) -> bool {
        match self {
            Value::Bulk(bytes) | Value::Verbatim(_, bytes) => bytes == expected,
            Value::Simple(text) | Value::BigNumber(text) => text.as_bytes() == expected,
            _ => false,
        }
    }
}

/// Short values are printed whole, as text where they are text; long ones by their length.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Simple(text) => write!(f, "+{text}"),
            Value::Error(text) => write!(f, "-{text}"),
            Value::Int(n) => write!(f, ":{n}"),
            Value::Bulk(bytes) if bytes.len() > 4096 => {
                write!(f, "\"{}\"... ({} bytes)", show(&bytes[..256]), bytes.len())
            }
            Value::Bulk(bytes) => write!(f, "\"{}\"", show(bytes)),
            Value::Null => write!(f, "(null)"),
            Value::Array(items) => f.debug_list().entries(items).finish(),
            Value::Map(pairs) => f
                .debug_map()
                .entries(pairs.iter().map(|(k, v)| (k, v)))
                .finish(),
            Value::Set(items) => f.debug_set().entries(items).finish(),
            Value::Double(number) => write!(f, ",{number}"),
            Value::Bool(flag) => write!(f, "#{flag}"),
            Value::BigNumber(text) => write!(f, "({text}"),
            Value::Verbatim(format, bytes) => write!(f, "={format}:\"{}\"", show(bytes)),
            Value::Push(items) => {
                write!(f, ">")?;
                f.debug_list().entries(items).finish()
            }
        }
    }
}

/// Bytes for a failure message.
pub fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.is_bytes(other.as_bytes())
    }
}
impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.is_bytes(other.as_bytes())
    }
}
impl PartialEq<String> for Value {
    fn eq(&self, other: &String) -> bool {
        self.is_bytes(other.as_bytes())
    }
}
impl PartialEq<&[u8]> for Value {
    fn eq(&self, other: &&[u8]) -> bool {
        self.is_bytes(other)
    }
}
impl PartialEq<Vec<u8>> for Value {
    fn eq(&self, other: &Vec<u8>) -> bool {
        self.is_bytes(other)
    }
}
impl PartialEq<i64> for Value {
    fn eq(&self, other: &i64) -> bool {
        matches!(self, Value::Int(n) if n == other)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Bulk(text.into())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Bulk(text.into_bytes())
    }
}
impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Value::Bulk(bytes)
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

/// The bytes of one request, as clients send it: an array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection to a server. Every call fails the test, with what was still unread, when the server
/// does not answer within [`REPLY_TIMEOUT`].
pub struct Client {
    stream: Stream,
    buffer: Vec<u8>,
    /// How much of `buffer` has been handed out.
    read: usize,
}

impl Client {
    /// Connects over TCP; the error is the caller's to judge.
    pub fn tcp(address: &str) -> std::io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Client::over(Stream::Tcp(stream)))
    }

    /// Connects to a Unix socket; the error is the caller's to judge.
    pub fn unix(path: &std::path::Path) -> std::io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Client::over(Stream::Unix(stream)))
    }

    fn over(stream: Stream) -> Client {
        Client {
            stream,
            buffer: Vec::new(),
            read: 0,
        }
    }

    /// Sends one command and returns its reply.
    #[track_caller]
    pub fn cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.send(args);
        self.recv()
    }

    /// Sends the words of `line` as one command; for arguments without spaces.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> Value {
        self.cmd(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Sends one command and leaves its reply unread.
    #[track_caller]
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.write(&encode(args));
    }

    /// Sends these bytes as they are.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes)
            .unwrap_or_else(|e| panic!("cannot send {} bytes: {e}", bytes.len()));
    }

    /// Sends these bytes; an error, such as a connection the server closed, is the caller's.
    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Sends bytes as they are and returns the first reply.
    #[track_caller]
    pub fn raw(&mut self, bytes: &[u8]) -> Value {
        self.write(bytes);
        self.recv()
    }

    /// The next reply.
    #[track_caller]
    pub fn recv(&mut self) -> Value {
        self.try_recv()
            .unwrap_or_else(|| panic!("the server closed the connection instead of replying"))
    }

    /// The next reply, or `None` when the server has closed the connection.
    #[track_caller]
    pub fn try_recv(&mut self) -> Option<Value> {
        self.forget();
        self.parse()
    }

    /// The exact bytes of the next reply.
    #[track_caller]
    pub fn recv_raw(&mut self) -> Vec<u8> {
        self.forget();
        self.parse()
            .unwrap_or_else(|| panic!("the server closed the connection instead of replying"));
        self.buffer[..self.read].to_vec()
    }

    /// Sends one command and returns the exact bytes of its reply.
    #[track_caller]
    pub fn cmd_raw<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Vec<u8> {
        self.send(args);
        self.recv_raw()
    }

    /// Fails unless the server closes the connection without saying another word.
    #[track_caller]
    pub fn assert_closed(&mut self) {
        if let Some(value) = self.try_recv() {
            panic!("expected the connection to be closed, got {value:?}");
        }
    }

    /// Fails when anything arrives within `time`. This is for what must *not* happen and so cannot
    /// be waited for.
    #[track_caller]
    pub fn assert_silent(&mut self, time: Duration) {
        self.set_read_timeout(time);
        let mut byte = [0; 256];
        let unread = self.buffer.len() - self.read;
        assert!(unread == 0, "{unread} bytes arrived already");
        let result = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut byte),
            Stream::Unix(stream) => stream.read(&mut byte),
        };
        match result {
            Err(e) if is_timeout(&e) => self.set_read_timeout(REPLY_TIMEOUT),
            Err(e) => panic!("expected silence, got {e}"),
            Ok(0) => panic!("expected silence, but the server closed the connection"),
            Ok(n) => panic!("expected silence, got {}", show(&byte[..n])),
        }
    }

    /// Changes how long a read may take before it fails the test.
    pub fn set_read_timeout(&mut self, time: Duration) {
        match &self.stream {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(time)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(time)),
        }
        .expect("set a read timeout");
    }

    /// A second handle on the same connection, to send from one thread and receive in another.
    /// Only one of the two may receive.
    pub fn split(&self) -> Client {
        let stream = match &self.stream {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone().expect("clone a socket")),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone().expect("clone a socket")),
        };
        Client::over(stream)
    }

    /// Tells the server that nothing more will be sent; replies can still be read.
    pub fn finish_sending(&mut self) {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
        .expect("shut down the sending side");
    }

    /// This end's address, as the server names it in `CLIENT LIST` (TCP only).
    pub fn address(&self) -> String {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().expect("own address").to_string(),
            Stream::Unix(_) => panic!("a Unix socket has no address"),
        }
    }

    /// Drops what was handed out, so that `buffer` starts with the next reply.
    fn forget(&mut self) {
        self.buffer.drain(..self.read);
        self.read = 0;
    }

    /// Reads more; false at the end of the connection.
    #[track_caller]
    fn fill(&mut self) -> bool {
        let mut chunk = [0; 64 * 1024];
        let result = loop {
            let result = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(&mut chunk),
                Stream::Unix(stream) => stream.read(&mut chunk),
            };
            // A signal to this process is nothing the server did.
            if !matches!(&result, Err(e) if e.kind() == ErrorKind::Interrupted) {
                break result;
            }
        };
        match result {
            Ok(0) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                true
            }
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                false
            }
            Err(e) if is_timeout(&e) => {
                let start = self.buffer.len().saturating_sub(512);
                panic!(
                    "no complete reply in time; {} bytes so far, ending in '{}'",
                    self.buffer.len(),
                    show(&self.buffer[start..])
                );
            }
            Err(e) => panic!("cannot read a reply: {e}"),
        }
    }

    #[track_caller]
    fn line(&mut self) -> Option<String> {
        let mut searched = self.read;
        loop {
            if let Some(at) = self.buffer[searched..]
                .windows(2)
                .position(|w| w == b"\r\n")
            {
                let end = searched + at;
                let line = String::from_utf8_lossy(&self.buffer[self.read..end]).into_owned();
                self.read = end + 2;
                return Some(line);
            }
            searched = self.buffer.len().saturating_sub(1).max(self.read);
            if !self.fill() {
                let rest = &self.buffer[self.read..];
                assert!(rest.is_empty(), "closed within a reply: '{}'", show(rest));
                return None;
            }
        }
    }

    #[track_caller]
    fn blob(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < self.read + length + 2 {
            assert!(self.fill(), "closed within a string of {length} bytes");
        }
        let end = self.read + length;
        let blob = self.buffer[self.read..end].to_vec();
        assert_eq!(
            &self.buffer[end..end + 2],
            b"\r\n",
            "a string without its end"
        );
        self.read = end + 2;
        blob
    }

    #[track_caller]
    fn many(&mut self, count: usize) -> Vec<Value> {
        (0..count)
            .map(|_| {
                self.parse()
                    .expect("the server closed the connection within a reply")
            })
            .collect()
    }

    #[track_caller]
    fn parse(&mut self) -> Option<Value> {
        let line = self.line()?;
        let (kind, rest) = line.split_at(line.chars().next().map_or(0, char::len_utf8));
        let number = || -> i64 {
            rest.parse()
                .unwrap_or_else(|_| panic!("not a number in the reply '{line}'"))
        };
        let size = || usize::try_from(number()).expect("a length");
        Some(match kind {
            "+" => Value::Simple(rest.into()),
            "-" => Value::Error(rest.into()),
            ":" => Value::Int(number()),
            "$" | "*" if number() == -1 => Value::Null,
            "$" => Value::Bulk(self.blob(size())),
            "*" => Value::Array(self.many(size())),
            "_" => Value::Null,
            "%" => {
                let flat = self.many(2 * size());
                Value::Map(
                    flat.chunks(2)
                        .map(|p| (p[0].clone(), p[1].clone()))
                        .collect(),
                )
            }
            "~" => Value::Set(self.many(size())),
            ">" => Value::Push(self.many(size())),
            "," => Value::Double(rest.parse().expect("a double")),
            "#" => Value::Bool(rest == "t"),
            "(" => Value::BigNumber(rest.into()),
            "!" => Value::Error(String::from_utf8_lossy(&self.blob(size())).into_owned()),
            "=" => {
                let blob = self.blob(size());
                assert!(
                    blob.len() >= 4 && blob[3] == b':',
                    "a verbatim string without format"
                );
                Value::Verbatim(show(&blob[..3]), blob[4..].to_vec())
            }
            _ => panic!("not a reply: '{line}'"),
        })
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
