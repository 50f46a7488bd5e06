//! The request parser: turns what clients send into argument lists, in place.
//!
//! A request is a RESP array of bulk strings or an *inline* line of words. The parser works on a
//! slice that starts at the first byte of a request and remembers how far it came, so that a
//! request which arrives in a thousand pieces is still read once. Arguments are spans of that
//! slice; only a large bulk string that is still arriving gets a buffer of its own, which the
//! store can then take over without another copy. Nothing is allocated on the strength of an
//! announced length.
//!
//! Limits and error texts are those of Redis 7's `networking.c`.

use std::ops::Range;

use crate::util::{num, quoting};

/// Longest inline request, and longest count line (`*…`, `$…`) without its line end.
pub const INLINE_MAX: usize = 64 * 1024;
/// Bulk strings of at least this size, when still incomplete, are read into a buffer of their own.
pub const BIG_BULK: usize = 32 * 1024;
/// What is left of an argument that has been taken out of [`Args`].
pub const HEAD: usize = 128;
/// Limits for clients that have not authenticated: arguments, and bytes of one bulk string.
const UNAUTH_ARGS: i64 = 10;
const UNAUTH_BULK: i64 = 16 * 1024;

/// What the parser accepts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`.
    pub max_bulk: i64,
    /// Whether the client has yet to authenticate, in which case far smaller limits hold.
    pub unauthenticated: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_bulk: 512 << 20,
            unauthenticated: false,
        }
    }
}

/// A request that breaks the protocol: the text behind `-ERR Protocol error: `. The connection is
/// closed once the client has been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError(pub Vec<u8>);

/// The outcome of [`Parser::parse`].
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A request ended `usize` bytes into the slice. With no arguments it is to be ignored.
    Request(usize),
    /// More bytes are needed.
    Incomplete,
    /// The protocol was violated.
    Error(ProtocolError),
}

/// One argument: a range of the request's bytes, or (see `OWNED`) a buffer of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    start: usize,
    len: usize,
}

/// Marks a [`Span`] whose bytes are in the list of big arguments, at the index in the lower bits.
const OWNED: usize = 1 << (usize::BITS - 1);

impl Span {
    /// The `len` bytes from `start` of the request's bytes.
    pub fn inline(start: usize, len: usize) -> Span {
        Span { start, len }
    }

    /// The buffer at `index` of the list of big arguments, which has `len` bytes.
    pub fn owned(index: usize, len: usize) -> Span {
        Span {
            start: OWNED | index,
            len,
        }
    }
}

/// The arguments of one request, the command's name first.
///
/// Indexing gives an argument's bytes; [`Args::take`] moves a large one out without copying.
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
    big: &'a mut [Vec<u8>],
    /// Whether large arguments stay where they are.
    kept: bool,
    /// Whether `bytes` begins with a request, and these are its arguments.
    whole: bool,
}

impl<'a> Args<'a> {
    /// Arguments that somebody else has found: `spans` within `bytes`, or in `big`.
    pub fn new(bytes: &'a [u8], spans: &'a [Span], big: &'a mut [Vec<u8>]) -> Args<'a> {
        Args {
            bytes,
            spans,
            big,
            kept: false,
            whole: false,
        }
    }
}

impl Args<'_> {
    /// Number of arguments, the name included.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`, or `None` past the end.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let span = *self.spans.get(index)?;
        Some(if span.start & OWNED != 0 {
            &self.big[span.start & !OWNED]
        } else {
            &self.bytes[span.start..span.start + span.len]
        })
    }

    /// All arguments from `index` on.
    pub fn from(&self, index: usize) -> impl ExactSizeIterator<Item = &[u8]> {
        (index.min(self.len())..self.len()).map(move |i| &self[i])
    }

    /// Takes the argument's bytes as a buffer: a large one is moved out (and reads as its first
    /// [`HEAD`] bytes from then on), others give `None` and are to be copied.
    pub fn take(&mut self, index: usize) -> Option<Vec<u8>> {
        let span = *self.spans.get(index)?;
        if span.start & OWNED == 0 || self.kept {
            return None;
        }
        let bytes = &mut self.big[span.start & !OWNED];
        let head = bytes[..bytes.len().min(HEAD)].to_vec();
        Some(std::mem::replace(bytes, head))
    }

    /// Bytes of an argument when it came, whether it has been taken out since or not.
    pub fn sent(&self, index: usize) -> usize {
        self.spans.get(index).map_or(0, |span| span.len)
    }

    /// From now on nothing is taken out: somebody needs the arguments after the command.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// The request as [`encode_command`] would write it, if that is how it came.
    pub fn verbatim(&self) -> Option<&[u8]> {
        if !self.whole || self.bytes.first() != Some(&b'*') {
            return None;
        }
        // Numbers have one form only. But nobody has looked at the ends of lines to the last byte.
        let count = self.bytes.iter().position(|&byte| byte == b'\r')?;
        let mut ended = self.bytes[count..].starts_with(b"\r\n");
        let mut end = count + 2;
        for span in self.spans {
            if span.start & OWNED != 0 {
                return None;
            }
            end = span.start + span.len + 2;
            let bytes = &self.bytes[..end];
            ended &= bytes[..span.start].ends_with(b"\r\n") && bytes.ends_with(b"\r\n");
        }
        ended.then(|| &self.bytes[..end])
    }

    /// The total number of bytes of all arguments.
    pub fn bytes(&self) -> usize {
        (0..self.len()).map(|i| self[i].len()).sum()
    }

    /// The same arguments without the first `n`.
    pub fn skip(&mut self, n: usize) -> Args<'_> {
        let n = n.min(self.spans.len());
        Args {
            bytes: self.bytes,
            spans: &self.spans[n..],
            big: self.big,
            kept: self.kept,
            whole: false,
        }
    }

    /// Puts the arguments behind others, of which `bytes`, `spans` and `big` are kept together as in
    /// [`Args::new`]. Large ones are moved out, and read as empty from then on.
    pub fn move_to(&mut self, bytes: &mut Vec<u8>, spans: &mut Vec<Span>, big: &mut Vec<Vec<u8>>) {
        for &span in self.spans {
            let start = if span.start & OWNED != 0 {
                big.push(std::mem::take(&mut self.big[span.start & !OWNED]));
                OWNED | (big.len() - 1)
            } else {
                let start = bytes.len();
                bytes.extend_from_slice(&self.bytes[span.start..span.start + span.len]);
                start
            };
            spans.push(Span {
                start,
                len: span.len,
            });
        }
    }

    /// A copy that owns its bytes, for a command that is carried out later.
    pub fn to_owned(&self) -> OwnedArgs {
        OwnedArgs::new(self.from(0))
    }
}

impl std::ops::Index<usize> for Args<'_> {
    type Output = [u8];

    /// # Panics
    /// When there is no such argument: handlers rely on the arity check before them.
    fn index(&self, index: usize) -> &[u8] {
        let span = self.spans[index];
        if span.start & OWNED != 0 {
            &self.big[span.start & !OWNED]
        } else {
            &self.bytes[span.start..span.start + span.len]
        }
    }
}

/// Arguments that own their bytes: queued commands, and commands the server makes itself.
#[derive(Clone, Debug, Default)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// Copies the given words.
    pub fn new<I: IntoIterator>(words: I) -> OwnedArgs
    where
        I::Item: AsRef<[u8]>,
    {
        let mut owned = OwnedArgs::default();
        for word in words {
            let word = word.as_ref();
            owned.spans.push(Span {
                start: owned.bytes.len(),
                len: word.len(),
            });
            owned.bytes.extend_from_slice(word);
        }
        owned
    }

    /// The arguments as a handler takes them.
    pub fn args(&mut self) -> Args<'_> {
        Args {
            bytes: &self.bytes,
            spans: &self.spans,
            big: &mut [],
            kept: false,
            whole: false,
        }
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}

/// Writes a command as clients send it, and as the log keeps it.
pub fn encode_command<'w>(out: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'w [u8]>) {
    write_line(out, b'*', words.len());
    for word in words {
        write_line(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// A line with a number, which is mostly a short one.
#[inline]
fn write_line(out: &mut Vec<u8>, kind: u8, number: usize) {
    let digit = |digit: usize| b'0' + digit as u8;
    match number {
        0..=9 => out.extend_from_slice(&[kind, digit(number), b'\r', b'\n']),
        10..=99 => {
            let (tens, ones) = (digit(number / 10), digit(number % 10));
            out.extend_from_slice(&[kind, tens, ones, b'\r', b'\n']);
        }
        _ => {
            out.push(kind);
            num::write_u64(out, number as u64);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// The state of one connection's request parser.
#[derive(Default)]
pub struct Parser {
    spans: Vec<Span>,
    /// Arguments yet to come; 0 between requests.
    missing: usize,
    /// Announced length of the bulk string being read, once its line has been seen.
    bulk: Option<usize>,
    /// How far the slice has been read.
    position: usize,
    /// Large arguments with buffers of their own.
    big: Vec<Vec<u8>>,
    /// Whether the bulk string being read goes into the last of `big`.
    filling: bool,
    /// Room for the next large argument: who sent one is likely to send another of its size.
    spare: Vec<u8>,
    /// Length of the last large argument of this request.
    filled: usize,
    /// Whether large arguments stay in the slice like all others.
    contiguous: bool,
    /// Where in the slice the large bulk string begins that is being read.
    filled_from: usize,
    /// Bytes of the arguments of this request that are complete.
    finished: usize,
}

impl Parser {
    /// A parser between two requests.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// A parser that leaves every argument in the slice, for those who need a request as it came.
    pub fn contiguous() -> Parser {
        Parser {
            contiguous: true,
            ..Parser::default()
        }
    }

    /// Reads on in `input`, which starts at the first byte of the current request and may have
    /// grown since the last call.
    pub fn parse(&mut self, input: &[u8], limits: Limits) -> Parsed {
        if self.missing == 0 {
            if !self.spans.is_empty() {
                // Complete since an earlier call; its owner could not carry it out then.
                return Parsed::Request(self.position);
            }
            match input.first() {
                None => return Parsed::Incomplete,
                Some(b'*') => match self.count_line(input, limits) {
                    Ok(Some(())) => {}
                    Ok(None) => return Parsed::Incomplete,
                    Err(text) => return error(text),
                },
                Some(_) => return self.inline(input),
            }
            if self.missing == 0 {
                return Parsed::Request(self.position);
            }
        }
        self.bulks(input, limits)
    }

    /// The arguments of the request that [`Parser::parse`] completed in `input`.
    pub fn args<'a>(&'a mut self, input: &'a [u8]) -> Args<'a> {
        Args {
            bytes: input,
            spans: &self.spans,
            big: &mut self.big,
            kept: false,
            whole: true,
        }
    }

    /// Forgets the finished request and begins the next one.
    #[inline]
    pub fn reset(&mut self) {
        self.spans.clear();
        if self.spans.capacity() > 1024 || self.big.capacity() + self.spare.capacity() > 0 {
            self.reset_memory();
        }
        self.missing = 0;
        self.bulk = None;
        self.position = 0;
        self.filling = false;
        self.finished = 0;
    }

    /// What an unusual request has taken is given back, but for what the next one is likely to need.
    #[cold]
    fn reset_memory(&mut self) {
        if self.spans.capacity() > 1024 {
            self.spans.shrink_to(64);
        }
        self.big.clear();
        if self.big.capacity() > 1024 {
            self.big.shrink_to(16);
        }
        let room = std::mem::take(&mut self.filled);
        if self.spare.capacity() != room {
            self.spare = Vec::with_capacity(room);
        }
        if room == 0 && self.big.capacity() <= 16 {
            self.big = Vec::new();
        }
    }

    /// Whether a request has begun.
    pub fn in_request(&self) -> bool {
        self.missing > 0
    }

    /// The large bulk string that is being read, if any: its buffer, and how many of its bytes are
    /// still to come. Whoever reads them from the socket straight into the buffer saves a copy.
    pub fn big_bulk(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        if !self.filling {
            return None;
        }
        let wanted = self.bulk?;
        let buffer = self.big.last_mut()?;
        let rest = wanted.saturating_sub(buffer.len());
        if rest > 0 && buffer.capacity() - buffer.len() < rest.min(BIG_BULK) {
            // Doubled as bytes arrive, and exact in the end: the store keeps the buffer.
            buffer.reserve_exact(rest.min(buffer.len().max(BIG_BULK)));
        }
        (rest > 0).then_some((buffer, rest))
    }

    /// How far into the slice the current request has been read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes of the arguments of the current request that are complete.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// Bytes of the large bulk string that is being read.
    pub fn filling(&self) -> usize {
        let last = self.big.last().filter(|_| self.filling);
        last.map_or(0, Vec::len)
    }

    /// Which part of the slice is no longer needed: a large bulk string that is being read has its bytes
    /// in its own buffer. The next slice is to be without them.
    pub fn let_go(&mut self) -> Range<usize> {
        if !self.filling {
            return 0..0;
        }
        let taken = self.filled_from..self.position;
        self.position = self.filled_from;
        taken
    }

    /// Bytes of the large bulk string that is being read for which there is no room yet.
    pub fn announced(&self) -> usize {
        if !self.filling {
            return 0;
        }
        let room = self.big.last().map_or(0, Vec::capacity);
        self.bulk.map_or(0, |wanted| wanted.saturating_sub(room))
    }

    /// Bytes of the current request that are held outside of the slice.
    pub fn arrived(&self) -> usize {
        self.big.iter().map(Vec::len).sum()
    }

    /// Bytes of buffers held outside of the slice.
    pub fn memory(&self) -> usize {
        self.big.iter().map(Vec::capacity).sum::<usize>() + self.spare.capacity()
    }

    /// Bytes of the list of arguments.
    pub fn spans_memory(&self) -> usize {
        self.spans.capacity() * size_of::<Span>()
    }

    /// `*<count>\r\n`
    #[inline]
    fn count_line(&mut self, input: &[u8], limits: Limits) -> Result<Option<()>, Vec<u8>> {
        if let Some((count, end)) = short_line(input, b'*')
            && count <= UNAUTH_ARGS as usize
        {
            (self.position, self.missing) = (end, count);
            return Ok(Some(()));
        }
        self.any_count_line(input, limits)
    }

    #[inline(never)]
    fn any_count_line(&mut self, input: &[u8], limits: Limits) -> Result<Option<()>, Vec<u8>> {
        let Some((line, end)) = line(input, 0) else {
            return too_long(input, 0, "too big mbulk count string");
        };
        let count = num::parse_i64(&line[1..]).filter(|&n| n <= i64::from(i32::MAX));
        let Some(count) = count else {
            return Err("invalid multibulk length".into());
        };
        if count > UNAUTH_ARGS && limits.unauthenticated {
            return Err("unauthenticated multibulk length".into());
        }
        self.position = end;
        self.missing = count.max(0) as usize;
        Ok(Some(()))
    }

    /// `$<length>\r\n<bytes>\r\n`, as often as the count said.
    fn bulks(&mut self, input: &[u8], limits: Limits) -> Parsed {
        while self.missing > 0 {
            let length = match self.bulk {
                Some(length) => length,
                None => match self.bulk_line(input, limits) {
                    Ok(Some(length)) => length,
                    Ok(None) => return Parsed::Incomplete,
                    Err(text) => return error(text),
                },
            };
            let here = input.len() - self.position;
            if self.filling || here < length + 2 {
                if !self.fill(input, length) {
                    return Parsed::Incomplete;
                }
            } else {
                self.spans.push(Span {
                    start: self.position,
                    len: length,
                });
                self.position += length + 2;
            }
            self.bulk = None;
            self.finished += length;
            self.missing -= 1;
        }
        Parsed::Request(self.position)
    }

    /// The bulk string is not whole yet (or has been filling its own buffer): takes what is here
    /// and says whether it is complete now.
    fn fill(&mut self, input: &[u8], length: usize) -> bool {
        if !self.filling {
            if length < BIG_BULK || self.contiguous {
                return false;
            }
            self.spans.push(Span {
                start: OWNED | self.big.len(),
                len: length,
            });
            self.big.push(std::mem::take(&mut self.spare));
            self.filling = true;
            self.filled = length;
            self.filled_from = self.position;
        }
        let Some(buffer) = self.big.last_mut() else {
            return false;
        };
        let here = &input[self.position..];
        let rest = length - buffer.len();
        let taken = here.len().min(rest);
        if buffer.capacity() - buffer.len() < taken {
            // As in `big_bulk`.
            buffer.reserve_exact(rest.min(buffer.len().max(taken)));
        }
        buffer.extend_from_slice(&here[..taken]);
        self.position += taken;
        if buffer.len() < length || here.len() < taken + 2 {
            return false;
        }
        self.position += 2;
        self.filling = false;
        true
    }

    /// `$<length>\r\n`
    #[inline]
    fn bulk_line(&mut self, input: &[u8], limits: Limits) -> Result<Option<usize>, Vec<u8>> {
        if let Some((length, used)) = short_line(&input[self.position..], b'$') {
            // Less than any limit.
            self.position += used;
            self.bulk = Some(length);
            return Ok(Some(length));
        }
        self.any_bulk_line(input, limits)
    }

    #[inline(never)]
    fn any_bulk_line(&mut self, input: &[u8], limits: Limits) -> Result<Option<usize>, Vec<u8>> {
        let start = self.position;
        let Some((line, end)) = line(input, start) else {
            return too_long(input, start, "too big bulk count string");
        };
        match line.first() {
            Some(b'$') => {}
            first => {
                // Redis looks at the byte even when the line is empty, and so sees the line end.
                let got = *first.unwrap_or(&b'\r');
                return Err([b"expected '$', got '", &[got][..], b"'"].concat());
            }
        }
        let length = num::parse_i64(&line[1..]).filter(|&n| (0..=limits.max_bulk).contains(&n));
        let Some(length) = length else {
            return Err("invalid bulk length".into());
        };
        if length > UNAUTH_BULK && limits.unauthenticated {
            return Err("unauthenticated bulk length".into());
        }
        self.position = end;
        self.bulk = Some(length as usize);
        Ok(Some(length as usize))
    }

    /// A line of words with shell-like quoting.
    fn inline(&mut self, input: &[u8]) -> Parsed {
        let Some(newline) = input[self.position..].iter().position(|&b| b == b'\n') else {
            if input.len() > INLINE_MAX {
                return error("too big inline request".into());
            }
            self.position = input.len();
            return Parsed::Incomplete;
        };
        let newline = self.position + newline;
        let line = input[..newline]
            .strip_suffix(b"\r")
            .unwrap_or(&input[..newline]);
        let Some(words) = quoting::split_args(line) else {
            return error("unbalanced quotes in request".into());
        };
        // Unescaped words need bytes of their own; inline requests are typed by people, so the
        // cost does not matter.
        for word in words {
            self.spans.push(Span {
                start: OWNED | self.big.len(),
                len: word.len(),
            });
            self.big.push(word);
        }
        self.position = newline + 1;
        Parsed::Request(self.position)
    }
}

fn error(text: Vec<u8>) -> Parsed {
    Parsed::Error(ProtocolError(text))
}

/// The line that starts at `start`, without its `\r\n`, and where the next one starts.
fn line(input: &[u8], start: usize) -> Option<(&[u8], usize)> {
    let rest = &input[start..];
    // Count lines are short: a plain loop beats a vectorised search.
    let end = rest.iter().position(|&b| b == b'\r')?;
    (end + 2 <= rest.len()).then(|| (&rest[..end], start + end + 2))
}

/// The number of a line such as `$3\r\n` or `*12\r\n`, and the length of the line: nearly all are like
/// that. Others take the long way.
#[inline]
fn short_line(input: &[u8], kind: u8) -> Option<(usize, usize)> {
    let digit = |byte: u8| usize::from(byte - b'0');
    match *input {
        [first, a @ b'0'..=b'9', b'\r', b'\n', ..] if first == kind => Some((digit(a), 4)),
        [first, a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] if first == kind => {
            Some((digit(a) * 10 + digit(b), 5))
        }
        _ => None,
    }
}

fn too_long<T>(input: &[u8], start: usize, text: &str) -> Result<Option<T>, Vec<u8>> {
    let rest = &input[start..];
    if rest.len() > INLINE_MAX && !rest[..INLINE_MAX].contains(&b'\r') {
        Err(text.into())
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_as_it_would_be_written_is_known() {
        let long = [&b"*2\r\n$3\r\nGET\r\n$120\r\n"[..], &[b'k'; 120], b"\r\n"].concat();
        let same = [
            &b"*1\r\n$4\r\nPING\r\n"[..],
            b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n",
            &long,
        ];
        for input in same {
            // All at once, and byte by byte.
            for step in [1, input.len()] {
                let mut parser = Parser::new();
                for end in (step..=input.len()).step_by(step) {
                    let parsed = parser.parse(&input[..end], Limits::default());
                    assert_eq!(matches!(parsed, Parsed::Request(_)), end == input.len());
                }
                let args = parser.args(input);
                let mut encoded = Vec::new();
                encode_command(&mut encoded, args.from(0));
                assert_eq!(args.verbatim(), Some(input));
                assert_eq!(encoded, input);
            }
        }
        let other: [&[u8]; 5] = [
            b"PING\r\n",
            b"*1\rx$4\r\nPING\r\n",
            b"*1\r\n$4\rxPING\r\n",
            b"*1\r\n$4\r\nPINGxx",
            b"*1\r\n$4\r\nPING\n\r",
        ];
        for input in other {
            let mut parser = Parser::new();
            let parsed = parser.parse(input, Limits::default());
            assert!(matches!(parsed, Parsed::Request(used) if used == input.len()));
            assert_eq!(&parser.args(input)[0], b"PING");
            assert_eq!(parser.args(input).verbatim(), None);
            parser.reset();
            parser.parse(same[0], Limits::default());
            assert_eq!(parser.args(same[0]).verbatim(), Some(same[0]));
        }
        let mut parser = Parser::new();
        parser.parse(&long, Limits::default());
        assert_eq!(parser.args(&long).skip(1).verbatim(), None);
    }

    fn words(input: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let mut parser = Parser::new();
        let (mut rest, mut all) = (input, Vec::new());
        while let Parsed::Request(used) = parser.parse(rest, Limits::default()) {
            all.push(parser.args(rest).from(0).map(<[u8]>::to_vec).collect());
            parser.reset();
            rest = &rest[used..];
        }
        all
    }

    fn fails(input: &[u8], limits: Limits) -> String {
        match Parser::new().parse(input, limits) {
            Parsed::Error(ProtocolError(text)) => String::from_utf8(text).expect("plain text"),
            other => panic!("expected an error, got {other:?}"),
        }
    }

    #[test]
    fn arrays_and_inline_requests_follow_each_other() {
        let input = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING \"a b\"\r\n\r\n*0\r\n*1\r\n$0\r\n\r\n";
        let expected: Vec<Vec<Vec<u8>>> = vec![
            vec![b"GET".to_vec(), b"k".to_vec()],
            vec![b"PING".to_vec(), b"a b".to_vec()],
            vec![],
            vec![],
            vec![b"".to_vec()],
        ];
        assert_eq!(words(input), expected);
    }

    #[test]
    fn a_request_in_single_bytes_is_the_same_request() {
        let value = vec![b'v'; BIG_BULK + 7];
        let mut input = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$".to_vec();
        input.extend_from_slice(value.len().to_string().as_bytes());
        input.extend_from_slice(b"\r\n");
        input.extend_from_slice(&value);
        input.extend_from_slice(b"\r\n");
        let mut parser = Parser::new();
        for end in 0..input.len() {
            assert_eq!(
                parser.parse(&input[..end], Limits::default()),
                Parsed::Incomplete
            );
        }
        assert_eq!(
            parser.parse(&input, Limits::default()),
            Parsed::Request(input.len())
        );
        let mut args = parser.args(&input);
        assert_eq!(
            (&args[0], &args[1], args.len()),
            (&b"SET"[..], &b"k"[..], 3)
        );
        assert_eq!(args.take(2), Some(value));
        assert_eq!(args.take(1), None);
    }

    #[test]
    fn moved_arguments_keep_their_bytes() {
        let big = vec![b'v'; BIG_BULK];
        let (mut bytes, mut spans, mut bigs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..2 {
            let mut own = [big.clone()];
            let found = [
                Span::inline(1, 3),
                Span::owned(0, BIG_BULK),
                Span::inline(4, 0),
            ];
            let mut args = Args::new(b"xGETy", &found, &mut own);
            args.move_to(&mut bytes, &mut spans, &mut bigs);
            assert!(args[1].is_empty());
        }
        assert_eq!(bytes, b"GETGET");
        for spans in spans.chunks(3) {
            let mut args = Args::new(&bytes, spans, &mut bigs);
            assert_eq!((&args[0], &args[2]), (&b"GET"[..], &b""[..]));
            assert_eq!(args.take(1).as_ref(), Some(&big));
        }
    }

    #[test]
    fn a_complete_request_stays_complete_until_reset() {
        for input in [&b"*2\r\n$1\r\na\r\n$1\r\nb\r\n*1\r\n"[..], b"a b\r\nc\r\n"] {
            let mut parser = Parser::new();
            let first = parser.parse(input, Limits::default());
            assert!(matches!(first, Parsed::Request(_)));
            assert_eq!(parser.parse(input, Limits::default()), first);
            assert_eq!(parser.args(input).len(), 2);
        }
    }

    #[test]
    fn a_big_bulk_can_be_filled_from_outside() {
        let mut parser = Parser::new();
        let head = b"*1\r\n$40000\r\nabc";
        assert_eq!(parser.parse(head, Limits::default()), Parsed::Incomplete);
        let (buffer, rest) = parser.big_bulk().expect("a big bulk is open");
        assert_eq!((buffer.as_slice(), rest), (&b"abc"[..], 39_997));
        let shown = (parser.position(), parser.finished(), parser.filling());
        assert_eq!(shown, (head.len(), 0, 3));
        let (buffer, rest) = parser.big_bulk().expect("it is still open");
        buffer.extend(std::iter::repeat_n(b'x', rest));
        assert!(parser.big_bulk().is_none());
        let mut whole = head.to_vec();
        assert_eq!(parser.parse(&whole, Limits::default()), Parsed::Incomplete);
        whole.extend_from_slice(b"\r\n");
        assert_eq!(
            parser.parse(&whole, Limits::default()),
            Parsed::Request(whole.len())
        );
        assert_eq!(parser.args(&whole)[0].len(), 40_000);
        assert_eq!((parser.finished(), parser.filling()), (40_000, 0));
        parser.reset();
        assert_eq!((parser.finished(), parser.position()), (0, 0));
    }

    #[test]
    fn what_a_big_bulk_has_taken_need_not_be_kept() {
        let value: Vec<u8> = (0..40_000u32).map(|i| i as u8).collect();
        let input = [b"*2\r\n$40000\r\n", &value[..], b"\r\n$1\r\nz\r\n"].concat();
        for step in [1, 7, 999, 16_384, 39_999] {
            let (mut parser, mut kept) = (Parser::new(), Vec::new());
            for piece in input.chunks(step) {
                kept.extend_from_slice(piece);
                if let Parsed::Request(used) = parser.parse(&kept, Limits::default()) {
                    assert_eq!(used, kept.len());
                    break;
                }
                kept.drain(parser.let_go());
                assert!(kept.len() < 40);
                let room = parser.memory() + parser.announced();
                assert!(!parser.filling || room == value.len(), "{room}");
            }
            let args = parser.args(&kept);
            assert_eq!((&args[0], &args[1]), (&value[..], &b"z"[..]));
        }
    }

    #[test]
    fn violations_have_redis_texts() {
        let (open, closed) = (
            Limits::default(),
            Limits {
                unauthenticated: true,
                ..Limits::default()
            },
        );
        assert_eq!(fails(b"*x\r\n", open), "invalid multibulk length");
        assert_eq!(fails(b"*2147483648\r\n", open), "invalid multibulk length");
        assert_eq!(fails(b"*1\r\nfoo\r\n", open), "expected '$', got 'f'");
        assert_eq!(fails(b"*1\r\n$-1\r\n", open), "invalid bulk length");
        assert_eq!(fails(b"*1\r\n$536870913\r\n", open), "invalid bulk length");
        assert_eq!(
            fails(b"*11\r\n", closed),
            "unauthenticated multibulk length"
        );
        assert_eq!(
            fails(b"*1\r\n$16385\r\n", closed),
            "unauthenticated bulk length"
        );
        assert_eq!(fails(b"set \"a\r\n", open), "unbalanced quotes in request");
        assert_eq!(
            fails(&[b'a'; INLINE_MAX + 1], open),
            "too big inline request"
        );
        assert_eq!(
            fails(&[b'*'; INLINE_MAX + 1], open),
            "too big mbulk count string"
        );
    }
}
