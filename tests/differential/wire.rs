//! A client that keeps replies as the exact bytes they arrived in, and the ways to compare two.
//!
//! Knows RESP2 and RESP3 only as far as finding where a reply ends and taking it apart for the
//! looser comparisons; the strict one never looks inside. Format:
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may take over one reply before it counts as silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came back for one command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// One complete reply, or for raw input all that arrived before the barrier.
    Reply(Vec<u8>),
    /// The server closed the connection, after these bytes.
    Closed(Vec<u8>),
    /// Nothing complete came in time; these bytes did.
    Silent(Vec<u8>),
    /// Bytes that are no reply.
    Garbled(Vec<u8>),
}

impl Outcome {
    /// The outcome as one printable line, long ones cut.
    pub fn show(&self) -> String {
        match self {
            Outcome::Reply(bytes) => show(bytes),
            Outcome::Closed(bytes) if bytes.is_empty() => "(closed)".into(),
            Outcome::Closed(bytes) => format!("{} (closed)", show(bytes)),
            Outcome::Silent(bytes) => format!("{} (then nothing more)", show(bytes)),
            Outcome::Garbled(bytes) => format!("{} (not a reply)", show(bytes)),
        }
    }
}

/// Bytes as a quoted string on one line, at most 400 bytes of it.
pub fn show(bytes: &[u8]) -> String {
    const LONGEST: usize = 400;
    let mut text = String::from("\"");
    for &byte in &bytes[..bytes.len().min(LONGEST)] {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'"' | b'\\' => {
                text.push('\\');
                text.push(byte.into());
            }
            b' '..=b'~' => text.push(byte.into()),
            _ => write!(text, "\\x{byte:02x}").expect("a String takes everything"),
        }
    }
    text.push('"');
    if bytes.len() > LONGEST {
        write!(text, "… ({} bytes)", bytes.len()).expect("a String takes everything");
    }
    text
}

/// Arguments as one printable line.
pub fn show_command(args: &[Vec<u8>]) -> String {
    let plain = |arg: &Vec<u8>| {
        !arg.is_empty()
            && arg
                .iter()
                .all(|b| b.is_ascii_graphic() && !b"\"'\\".contains(b))
    };
    let words: Vec<String> = args
        .iter()
        .map(|arg| match plain(arg) && arg.len() < 100 {
            true => String::from_utf8_lossy(arg).into_owned(),
            false => show(arg),
        })
        .collect();
    words.join(" ")
}

/// A command as the array of bulk strings that goes over the wire.
pub fn encode<T: AsRef<[u8]>>(args: &[T]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// One connection to one server.
pub struct Connection {
    stream: TcpStream,
    /// What was received and not yet handed out.
    received: Vec<u8>,
}

impl Connection {
    /// Connects; RESP3 is asked for with HELLO when `protocol` is 3.
    pub fn open(address: SocketAddr, protocol: u8) -> std::io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection = Connection {
            stream,
            received: Vec::new(),
        };
        if protocol == 3 {
            let answer = connection.call(&["HELLO", "3"]);
            // Without the password the connection stays in RESP2, which a script may want.
            let fine = matches!(&answer, Outcome::Reply(bytes)
                if bytes.starts_with(b"%") || bytes.starts_with(b"-NOAUTH"));
            assert!(fine, "HELLO 3 was answered with {}", answer.show());
        }
        Ok(connection)
    }

    /// Sends bytes. Failing to is no news here: the read that follows tells what happened.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends one command and reads its reply.
    pub fn call<T: AsRef<[u8]>>(&mut self, args: &[T]) -> Outcome {
        self.send(&encode(args));
        self.read_reply()
    }

    /// Reads one complete reply or push.
    pub fn read_reply(&mut self) -> Outcome {
        self.read_with(|bytes| match length(bytes) {
            Length::Complete(length) => Some(Ok(length)),
            Length::Partial => None,
            Length::Garbled => Some(Err(())),
        })
    }

    /// Reads all bytes up to `barrier`, which is taken from the stream but not returned.
    pub fn read_until(&mut self, barrier: &[u8]) -> Outcome {
        let outcome = self.read_with(|bytes| {
            let at = bytes
                .windows(barrier.len())
                .position(|window| window == barrier)?;
            Some(Ok(at + barrier.len()))
        });
        match outcome {
            Outcome::Reply(mut bytes) => {
                bytes.truncate(bytes.len() - barrier.len());
                Outcome::Reply(bytes)
            }
            other => other,
        }
    }

    /// Reads until the server closes the connection.
    pub fn read_to_close(&mut self) -> Outcome {
        self.read_with(|_| None)
    }

    /// Reads until `found` says how many bytes belong to the answer, or that they are none.
    fn read_with(&mut self, found: impl Fn(&[u8]) -> Option<Result<usize, ()>>) -> Outcome {
        let mut chunk = [0; 65536];
        loop {
            if !self.received.is_empty() {
                match found(&self.received) {
                    Some(Ok(length)) => {
                        return Outcome::Reply(self.received.drain(..length).collect());
                    }
                    Some(Err(())) => return Outcome::Garbled(std::mem::take(&mut self.received)),
                    None => {}
                }
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Outcome::Closed(std::mem::take(&mut self.received)),
                Ok(read) => self.received.extend_from_slice(&chunk[..read]),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        return Outcome::Silent(std::mem::take(&mut self.received));
                    }
                    _ => return Outcome::Closed(std::mem::take(&mut self.received)),
                },
            }
        }
    }
}

/// How far the first reply in some bytes reaches.
enum Length {
    Complete(usize),
    Partial,
    Garbled,
}

/// Finds the end of the first reply. An attribute (`|`) belongs to the reply that follows it.
fn length(bytes: &[u8]) -> Length {
    let mut at = 0;
    let mut wanted = 1_usize;
    while wanted > 0 {
        let Some(line) = bytes[at..].windows(2).position(|window| window == b"\r\n") else {
            return Length::Partial;
        };
        let (kind, rest) = match bytes[at..at + line].split_first() {
            Some((kind, rest)) => (*kind, rest),
            None => return Length::Garbled,
        };
        at += line + 2;
        wanted -= 1;
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => continue,
            b'$' | b'=' | b'!' | b'*' | b'%' | b'~' | b'>' | b'|' => {}
            _ => return Length::Garbled,
        }
        let Some(count) = number(rest) else {
            return Length::Garbled;
        };
        let Ok(count) = usize::try_from(count) else {
            continue; // a RESP2 null
        };
        match kind {
            b'$' | b'=' | b'!' => {
                at += count + 2;
                if at > bytes.len() {
                    return Length::Partial;
                }
            }
            b'%' => wanted += 2 * count,
            b'|' => wanted += 2 * count + 1,
            _ => wanted += count,
        }
    }
    Length::Complete(at)
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A reply taken apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Value {
    /// The null of RESP3, or of RESP2 in the type that this byte names.
    Null(u8),
    /// Anything else without elements: its type byte and content.
    Leaf(u8, Vec<u8>),
    /// An array, set or push: its type byte and elements.
    List(u8, Vec<Value>),
    /// A map or attribute: its type byte and pairs.
    Map(u8, Vec<(Value, Value)>),
}

impl Value {
    /// The first value in `bytes`, which hold one completely.
    pub fn parse(bytes: &[u8]) -> Value {
        let mut rest = bytes;
        take(&mut rest)
    }

    /// The elements of an array, set or push; none for anything else.
    pub fn elements(self) -> Vec<Value> {
        match self {
            Value::List(_, elements) => elements,
            _ => Vec::new(),
        }
    }

    /// The content of a leaf; nothing for anything else.
    pub fn content(self) -> Vec<u8> {
        match self {
            Value::Leaf(_, content) => content,
            _ => Vec::new(),
        }
    }

    /// Whether this is the null of either protocol.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null(_))
    }

    fn kind(&self) -> u8 {
        match self {
            Value::Null(kind)
            | Value::Leaf(kind, _)
            | Value::List(kind, _)
            | Value::Map(kind, _) => *kind,
        }
    }

    /// The same value with the elements of every level in a fixed order.
    fn sorted(self) -> Value {
        match self {
            Value::List(kind, elements) => {
                let mut elements: Vec<Value> = elements.into_iter().map(Value::sorted).collect();
                elements.sort();
                Value::List(kind, elements)
            }
            Value::Map(kind, pairs) => {
                let mut pairs: Vec<(Value, Value)> = pairs
                    .into_iter()
                    .map(|(key, value)| (key, value.sorted()))
                    .collect();
                pairs.sort();
                Value::Map(kind, pairs)
            }
            leaf => leaf,
        }
    }
}

fn take(rest: &mut &[u8]) -> Value {
    let end = rest
        .windows(2)
        .position(|window| window == b"\r\n")
        .expect("a complete reply");
    let (kind, head) = (rest[0], &rest[1..end]);
    *rest = &rest[end + 2..];
    let count = number(head).and_then(|count| usize::try_from(count).ok());
    match (kind, count) {
        (b'$' | b'=' | b'!', Some(count)) => {
            let content = rest[..count].to_vec();
            *rest = &rest[count + 2..];
            Value::Leaf(kind, content)
        }
        (b'*' | b'~' | b'>', Some(count)) => {
            Value::List(kind, (0..count).map(|_| take(rest)).collect())
        }
        (b'%' | b'|', Some(count)) => {
            Value::Map(kind, (0..count).map(|_| (take(rest), take(rest))).collect())
        }
        (b'_', _) | (b'$' | b'*', None) => Value::Null(kind),
        _ => Value::Leaf(kind, head.to_vec()),
    }
}

/// How two replies are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Byte for byte.
    Exact,
    /// Elements of every level in any order.
    Unordered,
    /// Integers may differ by this much, the rest is exact.
    Approx(i64),
    /// Types, lengths of aggregates, nulls and error codes.
    Shape,
    /// The outermost type, null or not, and the code of an error.
    Type,
}

impl Rule {
    /// Whether the two outcomes count as the same.
    pub fn agrees(self, reference: &Outcome, subject: &Outcome) -> bool {
        let (Outcome::Reply(left), Outcome::Reply(right)) = (reference, subject) else {
            return false;
        };
        if left == right {
            return true;
        }
        if self == Rule::Exact {
            return false;
        }
        self.fits(Value::parse(left), Value::parse(right))
    }

    /// Whether two arrays count as the same, with a rule for each of their elements.
    pub fn each_agrees(rules: &[Rule], reference: &Outcome, subject: &Outcome) -> bool {
        let (Outcome::Reply(left), Outcome::Reply(right)) = (reference, subject) else {
            return false;
        };
        if left == right {
            return true;
        }
        let (left, right) = (Value::parse(left), Value::parse(right));
        if left.kind() != right.kind() || left.is_null() || left.kind() != b'*' {
            return false;
        }
        let (left, right) = (left.elements(), right.elements());
        let mut pairs = left.iter().zip(&right).zip(rules);
        left.len() == right.len()
            && left.len() == rules.len()
            && pairs.all(|((left, right), rule)| rule.fits(left.clone(), right.clone()))
    }

    fn fits(self, left: Value, right: Value) -> bool {
        match self {
            Rule::Exact => left == right,
            Rule::Unordered => left.sorted() == right.sorted(),
            Rule::Approx(by) => alike(&left, &right, &|left, right| near(left, right, by)),
            Rule::Shape => alike(&left, &right, &same_head),
            Rule::Type => left.kind() == right.kind() && same_head(&left, &right),
        }
    }
}

/// Same structure, with `leaf` deciding about the leaves.
fn alike(left: &Value, right: &Value, leaf: &dyn Fn(&Value, &Value) -> bool) -> bool {
    if left.kind() != right.kind() {
        return false;
    }
    match (left, right) {
        (Value::List(_, left), Value::List(_, right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| alike(left, right, leaf))
        }
        (Value::Map(_, left), Value::Map(_, right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| {
                    alike(&left.0, &right.0, leaf) && alike(&left.1, &right.1, leaf)
                })
        }
        (left, right) => leaf(left, right),
    }
}

fn near(left: &Value, right: &Value, by: i64) -> bool {
    match (left, right) {
        (Value::Leaf(b':', left), Value::Leaf(b':', right)) => {
            matches!((number(left), number(right)), (Some(left), Some(right))
                if left.abs_diff(right) <= by.unsigned_abs()
                // -1 and -2 stand for "no expiry" and "no key": never near a time.
                && (left == right || (left >= 0 && right >= 0)))
        }
        (left, right) => left == right,
    }
}

/// Of two leaves (or whole values): both null or neither, and errors with the same code.
fn same_head(left: &Value, right: &Value) -> bool {
    let code = |value: &Value| match value {
        Value::Leaf(b'-' | b'!', text) => text
            .split(|byte| *byte == b' ')
            .next()
            .unwrap_or_default()
            .to_vec(),
        _ => Vec::new(),
    };
    left.is_null() == right.is_null() && code(left) == code(right)
}

#[test]
fn rules_tell_replies_apart() {
    let reply = |text: &str| Outcome::Reply(text.as_bytes().to_vec());
    let cases = [
        (Rule::Exact, "+OK\r\n", "+OK\r\n", true),
        (Rule::Exact, "+OK\r\n", "+ok\r\n", false),
        (
            Rule::Unordered,
            "*2\r\n:1\r\n:2\r\n",
            "*2\r\n:2\r\n:1\r\n",
            true,
        ),
        (
            Rule::Unordered,
            "*2\r\n:1\r\n:1\r\n",
            "*2\r\n:2\r\n:1\r\n",
            false,
        ),
        (Rule::Approx(5), ":100\r\n", ":105\r\n", true),
        (Rule::Approx(5), ":100\r\n", ":106\r\n", false),
        (Rule::Approx(5), ":1\r\n", ":-1\r\n", false),
        (
            Rule::Shape,
            "*2\r\n:1\r\n$1\r\na\r\n",
            "*2\r\n:9\r\n$2\r\nbc\r\n",
            true,
        ),
        (Rule::Shape, "*1\r\n$1\r\na\r\n", "*1\r\n$-1\r\n", false),
        (Rule::Shape, "$2\r\n-1\r\n", "$1\r\na\r\n", true),
        (Rule::Type, "*1\r\n:1\r\n", "*0\r\n", true),
        (Rule::Type, "*0\r\n", "%0\r\n", false),
        (Rule::Type, "-ERR one\r\n", "-WRONGTYPE two\r\n", false),
    ];
    for (rule, left, right, agrees) in cases {
        assert_eq!(
            rule.agrees(&reply(left), &reply(right)),
            agrees,
            "{rule:?} {left:?} {right:?}"
        );
    }
    assert!(!Rule::Type.agrees(&Outcome::Closed(Vec::new()), &Outcome::Closed(Vec::new())));
}

#[test]
fn the_end_of_a_reply_is_found() {
    let whole = b"|1\r\n+a\r\n:1\r\n*3\r\n$2\r\n\r\n\r\n%1\r\n_\r\n~0\r\n*-1\r\n";
    for cut in 0..whole.len() {
        assert!(
            matches!(length(&whole[..cut]), Length::Partial),
            "cut at {cut}"
        );
    }
    let twice = [&whole[..], b"+next\r\n"].concat();
    assert!(matches!(length(&twice), Length::Complete(end) if end == whole.len()));
    assert!(matches!(length(b"oops\r\n"), Length::Garbled));
}
