//! A reader of the text of an append only file: finds the commands in it.
//!
//! The text is that of requests, `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`, and lines that start with `#`,
//! which are annotations and skipped. It is taken as loosely as Redis takes it, as only then do
//! the same files load: numbers are what C's `atoi` makes of the line, and the two bytes behind an
//! argument are not looked at.
//!
//! Arguments are slices of the reader's buffer, or buffers of their own when they are large, which
//! the store can then keep without a copy. The buffer grows only as bytes arrive: a length in the
//! file allocates nothing.
//!
//! A file may also start with a snapshot. Whoever opens it has a look with [`is_rdb`] first, and
//! begins here behind the snapshot.

use std::fmt;
use std::io::{self, ErrorKind, Read};

use super::files::reason;
use super::manifest::number;
use crate::resp::Args;
use crate::resp::request::{BIG_BULK, Span};

/// Bytes read at once, and what the buffer shrinks to after a large command.
const CHUNK: usize = 256 * 1024;
/// Longest line, its line end included. What is beyond counts as another line.
const LINE_MAX: usize = 1023;
/// First bytes that are asked for of a large argument. Each time they have arrived, as many again.
const BIG_STEP: usize = 1024 * 1024;

/// Whether a file that starts with `head` starts with a snapshot. Five bytes decide it.
pub fn is_rdb(head: &[u8]) -> bool {
    head.starts_with(b"REDIS")
}

/// A command of the file.
pub struct Command<'a> {
    /// Where it starts in the file.
    pub offset: u64,
    /// Its name and arguments.
    pub args: Args<'a>,
}

/// Why there are no further commands, other than that all have been read.
#[derive(Debug)]
pub enum Error {
    /// The file ends in the middle of a command, or of a transaction. What is before `offset` is
    /// whole: if the file is cut there, it is sound.
    Truncated {
        /// Where to cut.
        offset: u64,
        /// Whether only the end of a transaction is missing: all commands are whole.
        transaction: bool,
    },
    /// At `offset` there is something that cannot be there.
    Format {
        /// Where.
        offset: u64,
    },
    /// The file cannot be read.
    Io(io::Error),
}

impl Error {
    /// The message for the log when the file of that name is refused. It begins as in Redis.
    pub fn message(&self, name: &[u8]) -> String {
        let name = String::from_utf8_lossy(name);
        match self {
            Error::Truncated { offset, .. } => format!(
                "Unexpected end of file reading the append only file {name}. It is sound up to \
                 offset {offset}. Keep a copy of it, then either have redis-check-aof --fix cut \
                 off the rest, or start with aof-load-truncated set to yes."
            ),
            Error::Format { offset } => format!(
                "Bad file format reading the append only file {name} at offset {offset}. Keep a \
                 copy of it, then have redis-check-aof --fix cut off what is from there on."
            ),
            Error::Io(error) => format!(
                "Unrecoverable error reading the append only file {name}: {}",
                reason(error)
            ),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Truncated { offset, .. } => write!(f, "not whole from offset {offset} on"),
            Error::Format { offset } => write!(f, "no command at offset {offset}"),
            Error::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

/// Reads commands; see the head of this file.
pub struct Reader<R> {
    input: R,
    buffer: Vec<u8>,
    /// The bytes of `buffer` that hold something.
    start: usize,
    end: usize,
    /// Where `start` is in the file.
    offset: u64,
    ended: bool,
    /// How far the current command has been read, from `start` on. Spans count from there too, so
    /// that the command can move within the buffer.
    at: usize,
    /// Bytes of the current command that never were in the buffer.
    aside: u64,
    spans: Vec<Span>,
    big: Vec<Vec<u8>>,
    /// Where the last whole command outside of a transaction, or whole transaction, ended.
    valid: u64,
    /// Where the last whole command or annotation ended.
    whole: u64,
    in_transaction: bool,
}

impl<R: Read> Reader<R> {
    /// A reader of what `input` gives, which is at `offset` of its file.
    pub fn new(input: R, offset: u64) -> Reader<R> {
        Reader::with_read(input, &[], offset)
    }

    /// As [`Reader::new`], when the bytes `read` from `offset` on have been read from `input`
    /// already.
    pub fn with_read(input: R, read: &[u8], offset: u64) -> Reader<R> {
        let mut buffer = vec![0; CHUNK.max(read.len())];
        buffer[..read.len()].copy_from_slice(read);
        Reader {
            input,
            buffer,
            start: 0,
            end: read.len(),
            offset,
            ended: false,
            at: 0,
            aside: 0,
            spans: Vec::new(),
            big: Vec::new(),
            valid: offset,
            whole: offset,
            in_transaction: false,
        }
    }

    /// The next command, `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read, is not what it should be, or ends too early. There is no
    /// going on then.
    #[expect(
        clippy::should_implement_trait,
        reason = "what it gives borrows the reader"
    )]
    pub fn next(&mut self) -> Result<Option<Command<'_>>, Error> {
        self.finish_command();
        let count = loop {
            match self.line()? {
                Line::None if self.in_transaction => return Err(self.truncated(true)),
                Line::None => return Ok(None),
                Line::Number(b'*', count) => break count,
                Line::Number(..) => return Err(self.malformed(0)),
                Line::Comment { whole } => {
                    self.finish_command();
                    if whole {
                        self.whole = self.offset;
                    }
                }
                Line::Cut => return Err(self.truncated(false)),
            }
        };
        // Redis keeps the count in an int.
        if !(1..=i64::from(i32::MAX)).contains(&count) {
            return Err(self.malformed(0));
        }
        for _ in 0..count {
            self.argument()?;
        }
        let offset = self.offset;
        self.note_end();
        let bytes = &self.buffer[self.start..self.start + self.at];
        let args = Args::new(bytes, &self.spans, &mut self.big);
        Ok(Some(Command { offset, args }))
    }

    /// How far into the file the commands reach that have been given out. For a progress report.
    pub fn offset(&self) -> u64 {
        self.offset + self.at as u64 + self.aside
    }

    /// Where the last whole command or annotation ends. If the file goes on behind it once
    /// [`Reader::next`] has given `None`, there is an annotation without its line end; whoever
    /// appends to the file should cut that off first, or it swallows the line behind it.
    pub fn whole_up_to(&self) -> u64 {
        self.whole
    }

    /// Leaves the last command behind.
    fn finish_command(&mut self) {
        self.offset += self.at as u64 + self.aside;
        self.start += self.at;
        (self.at, self.aside) = (0, 0);
        self.spans.clear();
        if self.spans.capacity() > CHUNK {
            self.spans.shrink_to(1024);
        }
        self.big.clear();
        if self.buffer.len() > CHUNK && self.end - self.start < CHUNK {
            let mut small = vec![0; CHUNK];
            small[..self.end - self.start].copy_from_slice(&self.buffer[self.start..self.end]);
            (self.start, self.end) = (0, self.end - self.start);
            self.buffer = small;
        }
    }

    /// A command is whole: the file may be cut behind it unless it is in a transaction.
    fn note_end(&mut self) {
        let bytes = &self.buffer[self.start..self.start + self.at];
        let args = Args::new(bytes, &self.spans, &mut self.big);
        match &args[0] {
            name if name.eq_ignore_ascii_case(b"multi") => self.in_transaction = true,
            name if name.eq_ignore_ascii_case(b"exec") => self.in_transaction = false,
            _ => {}
        }
        self.whole = self.offset();
        if !self.in_transaction {
            self.valid = self.whole;
        }
    }

    fn truncated(&self, transaction: bool) -> Error {
        Error::Truncated {
            offset: self.valid,
            transaction,
        }
    }

    /// The line that starts `line` bytes into the command is not what it should be.
    fn malformed(&self, line: usize) -> Error {
        Error::Format {
            offset: self.offset + line as u64 + self.aside,
        }
    }
}

// ---------------------------------------------------------------- lines and arguments

/// What a line is.
enum Line {
    /// The file ends here.
    None,
    /// A line with this first byte, and the number behind it.
    Number(u8, i64),
    /// An annotation; its line end may be missing at the end of the file.
    Comment { whole: bool },
    /// The file ends before the number of a `*` line.
    Cut,
}

impl<R: Read> Reader<R> {
    /// Reads a line. A line of any kind is one here; who asked judges it.
    #[inline]
    fn line(&mut self) -> Result<Line, Error> {
        if let Some((kind, number, len)) = plain_line(self.unread()) {
            self.at += len;
            return Ok(Line::Number(kind, number));
        }
        self.odd_line()
    }

    /// As [`Reader::line`], for what is not plain or not in the buffer.
    #[cold]
    fn odd_line(&mut self) -> Result<Line, Error> {
        let len = loop {
            let here = self.unread();
            let window = &here[..here.len().min(LINE_MAX)];
            if let Some(newline) = window.iter().position(|&b| b == b'\n') {
                break newline + 1;
            }
            if window.len() == LINE_MAX {
                break LINE_MAX;
            }
            if !self.more()? {
                break self.unread().len();
            }
        };
        let line = &self.buffer[self.start + self.at..][..len];
        let Some((&kind, rest)) = line.split_first() else {
            return Ok(Line::None);
        };
        let found = match kind {
            b'#' => Line::Comment {
                whole: line.ends_with(b"\n") || len == LINE_MAX,
            },
            b'*' if rest.is_empty() => Line::Cut,
            _ => Line::Number(kind, number(rest)),
        };
        self.at += len;
        Ok(found)
    }

    /// Reads `$<length>\r\n<bytes>\r\n`.
    #[inline]
    fn argument(&mut self) -> Result<(), Error> {
        let line = self.at;
        let length = match self.line()? {
            Line::Number(b'$', length) => length,
            Line::None => return Err(self.truncated(false)),
            _ => return Err(self.malformed(line)),
        };
        let Ok(length) = usize::try_from(length) else {
            return Err(self.malformed(line));
        };
        if length >= BIG_BULK && self.unread().len() < length {
            return self.big_argument(length);
        }
        // Small here, or here as a whole: the sum cannot overflow.
        while self.unread().len() < length + 2 {
            if !self.more()? {
                return Err(self.truncated(false));
            }
        }
        self.spans.push(Span::inline(self.at, length));
        self.at += length + 2;
        Ok(())
    }

    /// Reads an argument into a buffer of its own: what is here already, and the rest straight
    /// from the file.
    #[cold]
    fn big_argument(&mut self, length: usize) -> Result<(), Error> {
        let here = self.unread();
        let mut bytes = Vec::with_capacity(length.min(BIG_STEP.max(here.len())));
        bytes.extend_from_slice(here);
        self.at += here.len();
        while bytes.len() < length {
            let step = (length - bytes.len()).min(BIG_STEP.max(bytes.len()));
            bytes.reserve_exact(step);
            let read = self
                .input
                .by_ref()
                .take(step as u64)
                .read_to_end(&mut bytes)?;
            self.aside += read as u64;
            if read < step {
                return Err(self.truncated(false));
            }
        }
        while self.unread().len() < 2 {
            if !self.more()? {
                return Err(self.truncated(false));
            }
        }
        self.at += 2;
        self.spans.push(Span::owned(self.big.len(), length));
        self.big.push(bytes);
        Ok(())
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.start + self.at..self.end]
    }

    /// Reads more into the buffer; whether there was any.
    fn more(&mut self) -> Result<bool, Error> {
        if self.ended {
            return Ok(false);
        }
        if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            if self.end > self.buffer.len() / 2 {
                // All of it belongs to one command of many arguments.
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(false);
                }
                Ok(read) => {
                    self.end += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A line as everybody writes it, if there is one: its first byte, up to ten digits and `\r\n`.
/// Gives the byte, the number, and the length of the line.
#[inline]
fn plain_line(bytes: &[u8]) -> Option<(u8, i64, usize)> {
    let (&kind, rest) = bytes.split_first()?;
    if kind == b'#' {
        return None;
    }
    let mut number = 0i64;
    for (i, &byte) in rest.iter().take(11).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            number = number * 10 + i64::from(digit);
        } else if byte == b'\r' && i > 0 && rest.get(i + 1) == Some(&b'\n') {
            return Some((kind, number, i + 3));
        } else {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of one size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let len = self.0.len().min(self.1).min(buf.len());
            let (now, later) = self.0.split_at(len);
            buf[..len].copy_from_slice(now);
            self.0 = later;
            Ok(len)
        }
    }

    #[derive(Debug, PartialEq)]
    enum End {
        Whole(u64),
        Truncated(u64, bool),
        Format(u64),
    }

    fn command(words: &[&[u8]]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    fn words(line: &str) -> Vec<u8> {
        command(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    type Found = Vec<(u64, Vec<Vec<u8>>)>;

    fn drain<R: Read>(reader: &mut Reader<R>) -> (Found, End) {
        let mut all = Vec::new();
        loop {
            match reader.next() {
                Ok(Some(Command { offset, args })) => {
                    all.push((offset, args.from(0).map(<[u8]>::to_vec).collect()));
                }
                Ok(None) => return (all, End::Whole(reader.whole_up_to())),
                Err(Error::Truncated {
                    offset,
                    transaction,
                }) => return (all, End::Truncated(offset, transaction)),
                Err(Error::Format { offset }) => return (all, End::Format(offset)),
                Err(Error::Io(error)) => panic!("{error}"),
            }
        }
    }

    /// Reads in pieces of several sizes, which must not make a difference.
    fn read(text: &[u8]) -> (Found, End) {
        let whole = drain(&mut Reader::new(text, 0));
        for size in [1, 2, 3, 7, 100] {
            assert_eq!(drain(&mut Reader::new(Pieces(text, size), 0)), whole);
        }
        whole
    }

    #[track_caller]
    fn ends(parts: &[&[u8]], commands: usize, end: End) {
        let text = parts.concat();
        let (all, found) = read(&text);
        assert_eq!((all.len(), found), (commands, end), "{text:?}");
    }

    #[test]
    fn commands_and_offsets() {
        let (a, b) = (words("SET a 1"), words("SET bb 22"));
        let (all, end) = read(&[&a[..], b"#TS:12\r\n", &b, b"#x\r\n"].concat());
        assert_eq!(all[0], (0, vec![b"SET".into(), b"a".into(), b"1".into()]));
        assert_eq!(all[1].0, a.len() as u64 + 8);
        assert_eq!(all[1].1[2], b"22");
        assert_eq!(end, End::Whole((a.len() + b.len() + 12) as u64));
        assert_eq!(read(b""), (vec![], End::Whole(0)));
        let empty = command(&[b"SET", b"", b"\r\n"]);
        assert_eq!(read(&empty).0[0].1[2], b"\r\n");
    }

    #[test]
    fn from_an_offset() {
        let a = words("SET a 1");
        for read in 0..a.len() {
            let mut reader = Reader::with_read(&a[read..], &a[..read], 100);
            let (all, end) = drain(&mut reader);
            assert_eq!(all[0].0, 100);
            assert_eq!(end, End::Whole(100 + a.len() as u64));
        }
        let mut reader = Reader::new(&a[..5], 100);
        assert_eq!(drain(&mut reader).1, End::Truncated(100, false));
    }

    #[test]
    fn cut_anywhere() {
        let (a, b) = (words("SET a 1"), words("SET bb 22"));
        let first = a.len() as u64;
        for cut in 1..b.len() {
            ends(&[&a, &b[..cut]], 1, End::Truncated(first, false));
            ends(
                &[&a, b"#TS:1\r\n", &b[..cut]],
                1,
                End::Truncated(first, false),
            );
        }
    }

    #[test]
    fn transactions() {
        let (a, b) = (words("SET a 1"), words("SET bb 22"));
        let (multi, exec) = (words("multi"), words("EXEC"));
        let first = a.len() as u64;
        ends(&[&a, &multi, &b], 2 + 1, End::Truncated(first, true));
        ends(&[&multi, &b, &a], 3, End::Truncated(0, true));
        ends(&[&a, &multi, &b, &a[..9]], 3, End::Truncated(first, false));
        ends(
            &[&a, &multi, &b, &multi, &b],
            5,
            End::Truncated(first, true),
        );
        ends(
            &[&a, &multi, &words("DISCARD")],
            3,
            End::Truncated(first, true),
        );
        let all = [&a[..], &multi, b"#TS:1\r\n", &b, &exec].concat();
        ends(&[&all], 4, End::Whole(all.len() as u64));
        ends(&[&all, b"*"], 4, End::Truncated(all.len() as u64, false));
        ends(
            &[&exec, &a],
            2,
            End::Whole(exec.len() as u64 + a.len() as u64),
        );
    }

    #[test]
    fn malformed() {
        let a = words("SET a 1");
        let first = a.len() as u64;
        let tails: [(&[u8], u64); 13] = [
            (b"!!!", 0),
            (b"!!!*1\r\n$4\r\nPING\r\n", 0),
            (b"*x", 0),
            (b"*0\r\n", 0),
            (b"*-1\r\n", 0),
            (b"*\r\n", 0),
            (b"*99999999999\r\n", 0),
            (b"PING\r\n", 0),
            (b"*1\r\nx3\r\nset\r\n", 4),
            (b"*2\r\n$3\r\nset\r\n!!", 13),
            (b"*1\r\n#TS:1\r\n$4\r\nPING\r\n", 4),
            (b"*1\r\n$-1\r\n", 4),
            (b"REDI", 0),
        ];
        for (tail, at) in tails {
            ends(&[&a, tail], 1, End::Format(first + at));
        }
        let long = [b"#", &[b'x'; 2000][..], b"\r\n"].concat();
        ends(&[&a, &long, &a], 1, End::Format(first + 1023));
    }

    #[test]
    fn loosely_written() {
        let ping = [(0, vec![b"PING".to_vec()])];
        for text in [
            "*1abc\r\n$4\r\nPING\r\n",
            "* 1\r\n$ +4x\r\nPING\r\n",
            "*1\n$4\nPING\r\n",
            "*0000000000000001\r\n$4\r\nPINGxy",
        ] {
            let (all, end) = read(text.as_bytes());
            assert_eq!(all, ping, "{text:?}");
            assert_eq!(end, End::Whole(text.len() as u64));
        }
        // Redis reads "x" as 0 too: an empty argument, and then its bytes as a line.
        ends(&[b"*2\r\n$x\r\n\r\n$0\r\n\r\n"], 1, End::Whole(16));
    }

    #[test]
    fn an_annotation_without_end() {
        let a = words("SET a 1");
        ends(&[&a, b"#TS:2"], 1, End::Whole(a.len() as u64));
        ends(&[&a, b"#TS:2\n"], 1, End::Whole(a.len() as u64 + 6));
    }

    #[test]
    fn large_arguments_have_buffers_of_their_own() {
        let value = (0..3 * BIG_STEP).map(|i| i as u8).collect::<Vec<_>>();
        let a = words("SET a 1");
        let text = [&a[..], &command(&[b"SET", b"k", &value]), &a].concat();
        let mut reader = Reader::new(&text[..], 0);
        reader.next().unwrap().unwrap();
        let mut command = reader.next().unwrap().unwrap();
        assert_eq!(command.offset, a.len() as u64);
        let taken = command.args.take(2).unwrap();
        assert_eq!((taken.len(), taken.capacity()), (value.len(), value.len()));
        assert!(taken == value && command.args.take(1).is_none());
        assert_eq!(
            reader.next().unwrap().unwrap().offset,
            (text.len() - a.len()) as u64
        );
        assert!(reader.next().unwrap().is_none());
        assert_eq!(reader.whole_up_to(), text.len() as u64);
        for cut in [100, 40_000, BIG_STEP, 3 * BIG_STEP] {
            let mut reader = Reader::new(&text[..a.len() + cut], 0);
            assert_eq!(drain(&mut reader).1, End::Truncated(a.len() as u64, false));
        }
    }

    #[test]
    fn nothing_announced_is_allocated() {
        ends(
            &[b"*2147483647\r\n$9223372036854775807\r\nx"],
            0,
            End::Truncated(0, false),
        );
        ends(
            &[b"*1\r\n$99999999999999999999\r\nx"],
            0,
            End::Truncated(0, false),
        );
    }

    #[test]
    fn many_arguments() {
        let value = [b'v'; 1000];
        let list = vec![&value[..]; 5000];
        let text = [command(&list), words("PING")].concat();
        let mut reader = Reader::new(&text[..], 0);
        let args = reader.next().unwrap().unwrap().args;
        assert_eq!((args.len(), args.bytes()), (5000, 5_000_000));
        assert_eq!(&reader.next().unwrap().unwrap().args[0], b"PING");
        assert_eq!(reader.buffer.len(), CHUNK);
    }

    #[test]
    fn messages() {
        let error = Error::Format { offset: 7 };
        assert!(
            error
                .message(b"a")
                .starts_with("Bad file format reading the append only file a at offset 7")
        );
        let error = Error::Io(io::Error::from_raw_os_error(21));
        assert_eq!(
            error.message(b"a"),
            "Unrecoverable error reading the append only file a: Is a directory"
        );
        assert!(is_rdb(b"REDIS0011") && !is_rdb(b"REDI"));
    }
}
