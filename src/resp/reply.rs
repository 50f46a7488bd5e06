//! The reply writer: commands write their replies through it, straight into the connection's
//! output buffer, in the protocol version the client speaks.
//!
//! RESP2 lacks maps, sets, doubles, booleans and so on; the writer sends what Redis sends instead,
//! so a handler says what it means once.

use crate::util::num;

/// Bytes kept free in front of an aggregate of unknown length; its head takes up to 22.
const HEAD_ROOM: usize = 24;

/// An output buffer that speaks RESP2 or RESP3.
pub struct Reply {
    buffer: Vec<u8>,
    /// Bytes at the start of the buffer that are not part of any reply.
    head: usize,
    resp3: bool,
    /// How many bytes it may hold before bulk strings are left out, and whether any has been.
    most: usize,
    cut: bool,
}

impl Default for Reply {
    fn default() -> Self {
        Reply::new()
    }
}

impl Reply {
    /// An empty buffer that speaks RESP2.
    pub fn new() -> Reply {
        Reply {
            buffer: Vec::new(),
            head: 0,
            resp3: false,
            most: usize::MAX,
            cut: false,
        }
    }

    /// From this many bytes on, bulk strings are left out: whoever is to get the replies is not to
    /// have so many.
    pub fn limit_to(&mut self, most: usize) {
        self.most = most;
    }

    /// What has been written so far is not all of it, and nothing more is to come.
    pub fn cut_off(&mut self) {
        self.cut = true;
        self.most = self.most.min(self.buffer.len());
    }

    /// Whether something has been left out, so that what is written must not be sent.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether the client speaks RESP3.
    pub fn is_resp3(&self) -> bool {
        self.resp3
    }

    /// Switches the protocol, from the next reply on.
    pub fn set_resp3(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.buffer.len() == self.head
    }

    /// What is written.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.head..]
    }

    /// Takes the buffer, with the number of bytes at its start that are not to be sent.
    pub fn take(&mut self) -> (Vec<u8>, usize) {
        (
            std::mem::take(&mut self.buffer),
            std::mem::take(&mut self.head),
        )
    }

    /// Forgets what is written and keeps at most `keep` bytes of room.
    pub fn clear(&mut self, keep: usize) {
        self.buffer.clear();
        self.buffer.shrink_to(keep);
        self.head = 0;
        self.cut = false;
    }

    /// Bytes of room.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Makes room for the first replies of an empty buffer.
    #[inline]
    pub fn prepare(&mut self, room: usize) {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(room);
        }
    }

    /// Gives room back beyond so many bytes, or beyond what is written.
    pub fn shrink(&mut self, room: usize) {
        self.buffer.shrink_to(room);
    }

    /// Takes back everything behind the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.buffer.truncate(len);
        self.head = self.head.min(len);
        // What is taken back is not missing.
        self.cut &= len >= self.most;
    }

    /// Appends bytes that are RESP already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// `+OK`
    pub fn ok(&mut self) {
        self.buffer.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; it must not hold a line end.
    pub fn simple(&mut self, text: &str) {
        self.buffer.push(b'+');
        self.buffer.extend_from_slice(text.as_bytes());
        self.line_end();
    }

    /// An error; line ends in it become spaces, as in Redis.
    pub fn error(&mut self, text: &[u8]) {
        self.buffer.push(b'-');
        self.buffer.extend(
            text.iter()
                .map(|&b| if b == b'\r' || b == b'\n' { b' ' } else { b }),
        );
        self.line_end();
    }

    /// An integer.
    pub fn int(&mut self, value: i64) {
        // The small replies of EXISTS, DEL, EXPIRE, SADD and the like.
        match value {
            0 => self.buffer.extend_from_slice(b":0\r\n"),
            1 => self.buffer.extend_from_slice(b":1\r\n"),
            _ => self.header(b':', value),
        }
    }

    /// A count as an integer.
    pub fn count(&mut self, value: usize) {
        self.int(value as i64);
    }

    /// A bulk string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        if self.buffer.len() >= self.most {
            self.cut = true;
            return;
        }
        self.header(b'$', bytes.len() as i64);
        self.buffer.extend_from_slice(bytes);
        self.line_end();
    }

    /// A bulk string or, for `None`, null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// An integer as a bulk string.
    pub fn bulk_int(&mut self, value: i64) {
        if self.buffer.len() >= self.most {
            self.cut = true;
            return;
        }
        let mut digits = [0; 20];
        let text = num::fmt_i64(&mut digits, value);
        self.header(b'$', text.len() as i64);
        self.buffer.extend_from_slice(text);
        self.line_end();
    }

    /// Null: `$-1` in RESP2.
    pub fn null(&mut self) {
        self.buffer
            .extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// Null where an array was due: `*-1` in RESP2.
    pub fn null_array(&mut self) {
        self.buffer
            .extend_from_slice(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// The start of an array of `len` replies.
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as i64);
    }

    /// The start of a map of `len` pairs; an array of twice as many in RESP2.
    pub fn map(&mut self, len: usize) {
        if self.resp3 {
            self.header(b'%', len as i64)
        } else {
            self.header(b'*', 2 * len as i64)
        }
    }

    /// The start of a set; an array in RESP2.
    pub fn set(&mut self, len: usize) {
        self.header(if self.resp3 { b'~' } else { b'*' }, len as i64);
    }

    /// The start of a push message; an array in RESP2.
    pub fn push(&mut self, len: usize) {
        self.header(if self.resp3 { b'>' } else { b'*' }, len as i64);
    }

    /// A boolean; 1 or 0 in RESP2.
    pub fn bool(&mut self, value: bool) {
        self.buffer.extend_from_slice(match (self.resp3, value) {
            (true, true) => b"#t\r\n",
            (true, false) => b"#f\r\n",
            (false, true) => b":1\r\n",
            (false, false) => b":0\r\n",
        });
    }

    /// A double; a bulk string in RESP2.
    pub fn double(&mut self, value: f64) {
        if self.resp3 {
            self.buffer.push(b',');
            num::write_f64(&mut self.buffer, value);
            return self.line_end();
        }
        // The text is at most 24 bytes long, so its length has one digit or two. Room is left for
        // one; where there are two, the text, which has just been written, moves by a byte.
        let start = self.buffer.len();
        self.buffer.extend_from_slice(b"$0\r\n");
        num::write_f64(&mut self.buffer, value);
        let len = self.buffer.len() - start - 4;
        if len < 10 {
            self.buffer[start + 1] += len as u8;
        } else {
            self.buffer.push(0);
            self.buffer
                .copy_within(start + 2..start + 4 + len, start + 3);
            self.buffer[start + 1] += (len / 10) as u8;
            self.buffer[start + 2] = b'0' + (len % 10) as u8;
        }
        self.line_end();
    }

    /// A large number in decimal digits; a bulk string in RESP2.
    pub fn big_number(&mut self, digits: &str) {
        if self.resp3 {
            self.buffer.push(b'(');
            self.buffer.extend_from_slice(digits.as_bytes());
            self.line_end();
        } else {
            self.bulk(digits.as_bytes());
        }
    }

    /// Text with a three-letter format (`txt`, `mkd`); a bulk string in RESP2.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        if self.resp3 {
            self.header(b'=', text.len() as i64 + 4);
            self.buffer.extend_from_slice(format.as_bytes());
            self.buffer.push(b':');
            self.buffer.extend_from_slice(text);
            self.line_end();
        } else {
            self.bulk(text);
        }
    }

    /// The start of `len` attributes (RESP3 only).
    pub fn attribute(&mut self, len: usize) {
        self.header(b'|', len as i64);
    }

    /// An array of which the length is not known yet: writes a place for it, to be filled in by
    /// [`Reply::end_deferred`].
    pub fn begin_deferred(&mut self) -> Deferred {
        if self.buffer.is_empty() {
            // Room for the head, so that the body need not move; what is left of it is skipped.
            self.buffer.resize(HEAD_ROOM, 0);
            self.head = HEAD_ROOM;
        }
        Deferred(self.buffer.len())
    }

    /// Fills in the head of an aggregate begun with [`Reply::begin_deferred`]. The bytes behind it
    /// are moved by the length of the head, which is paid once for the whole aggregate.
    pub fn end_deferred(&mut self, start: Deferred, kind: Aggregate, len: usize) {
        let body = self.buffer.len();
        match kind {
            Aggregate::Array => self.array(len),
            Aggregate::Map => self.map(len),
            Aggregate::Set => self.set(len),
        }
        // The head has been written behind the body; it belongs before it.
        let mut head = [0; 24];
        let size = self.buffer.len() - body;
        head[..size].copy_from_slice(&self.buffer[body..]);
        if start.0 == self.head && size <= self.head {
            self.buffer.truncate(body);
            self.head -= size;
            self.buffer[self.head..start.0].copy_from_slice(&head[..size]);
            return;
        }
        self.buffer.copy_within(start.0..body, start.0 + size);
        self.buffer[start.0..start.0 + size].copy_from_slice(&head[..size]);
    }

    fn header(&mut self, kind: u8, value: i64) {
        // Built aside and appended at once: one capacity check for the whole head.
        let mut head = [0; 24];
        head[0] = kind;
        let len = if (0..10).contains(&value) {
            head[1] = b'0' + value as u8;
            2
        } else {
            let mut digits = [0; 20];
            let text = num::fmt_i64(&mut digits, value);
            head[1..=text.len()].copy_from_slice(text);
            1 + text.len()
        };
        head[len] = b'\r';
        head[len + 1] = b'\n';
        self.buffer.extend_from_slice(&head[..len + 2]);
    }

    fn line_end(&mut self) {
        self.buffer.extend_from_slice(b"\r\n");
    }
}

/// Where an aggregate of unknown length began.
#[derive(Clone, Copy)]
pub struct Deferred(usize);

/// The kind of an aggregate of unknown length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aggregate {
    /// An array.
    Array,
    /// A map; the length counts pairs.
    Map,
    /// A set.
    Set,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(write: impl Fn(&mut Reply)) -> (String, String) {
        let text = |resp3| {
            let mut reply = Reply::new();
            reply.set_resp3(resp3);
            write(&mut reply);
            String::from_utf8_lossy(reply.bytes()).into_owned()
        };
        (text(false), text(true))
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let mut reply = Reply::new();
        reply.limit_to(10);
        reply.array(3);
        reply.bulk(b"long");
        assert!(!reply.is_cut());
        let len = reply.len();
        reply.bulk(b"more");
        reply.bulk_int(5);
        assert!(reply.is_cut());
        assert_eq!(reply.len(), len);
        // What is taken back is not missing.
        reply.truncate(4);
        assert!(!reply.is_cut());
        reply.bulk(b"x");
        assert_eq!(reply.bytes(), b"*3\r\n$1\r\nx\r\n");
        reply.cut_off();
        reply.bulk(b"y");
        assert!(reply.is_cut() && reply.bytes().ends_with(b"x\r\n"));
        reply.clear(0);
        reply.limit_to(usize::MAX);
        reply.bulk(b"y");
        assert!(!reply.is_cut() && reply.bytes() == b"$1\r\ny\r\n");
    }

    #[test]
    fn each_type_in_both_protocols() {
        type Case = (&'static str, &'static str, fn(&mut Reply));
        let cases: &[Case] = &[
            ("+OK\r\n", "+OK\r\n", |r| r.ok()),
            ("-ERR a b\r\n", "-ERR a b\r\n", |r| r.error(b"ERR a\nb")),
            (":-42\r\n", ":-42\r\n", |r| r.int(-42)),
            ("$2\r\nhi\r\n", "$2\r\nhi\r\n", |r| r.bulk(b"hi")),
            ("$2\r\n12\r\n", "$2\r\n12\r\n", |r| r.bulk_int(12)),
            ("$-1\r\n", "_\r\n", |r| r.null()),
            ("*-1\r\n", "_\r\n", |r| r.null_array()),
            ("*4\r\n", "%2\r\n", |r| r.map(2)),
            ("*2\r\n", "~2\r\n", |r| r.set(2)),
            ("*2\r\n", ">2\r\n", |r| r.push(2)),
            (":1\r\n", "#t\r\n", |r| r.bool(true)),
            ("$3\r\n1.5\r\n", ",1.5\r\n", |r| r.double(1.5)),
            ("$1\r\n0\r\n", ",0\r\n", |r| r.double(0.0)),
            ("$2\r\n-0\r\n", ",-0\r\n", |r| r.double(-0.0)),
            ("$9\r\n123456.75\r\n", ",123456.75\r\n", |r| {
                r.double(123_456.75)
            }),
            ("$10\r\n1234567.75\r\n", ",1234567.75\r\n", |r| {
                r.double(1_234_567.75)
            }),
            (
                "$24\r\n-2.2250738585072014e-308\r\n",
                ",-2.2250738585072014e-308\r\n",
                |r| r.double(-f64::MIN_POSITIVE),
            ),
            ("$2\r\n99\r\n", "(99\r\n", |r| r.big_number("99")),
            ("$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n", |r| {
                r.verbatim("txt", b"hi")
            }),
        ];
        for (two, three, write) in cases {
            assert_eq!(both(write), ((*two).to_string(), (*three).to_string()));
        }
    }

    #[test]
    fn deferred_lengths_at_the_start_and_taken_back() {
        let (two, three) = both(|r| {
            let start = r.begin_deferred();
            r.int(5);
            r.end_deferred(start, Aggregate::Map, 1000);
            r.int(6);
        });
        assert_eq!(
            (&two[..], &three[..]),
            ("*2000\r\n:5\r\n:6\r\n", "%1000\r\n:5\r\n:6\r\n")
        );
        let (two, _) = both(|r| {
            let before = r.len();
            let start = r.begin_deferred();
            r.int(5);
            r.end_deferred(start, Aggregate::Array, 1);
            r.truncate(before);
            assert!(r.is_empty());
            r.ok();
        });
        assert_eq!(two, "+OK\r\n");
    }

    #[test]
    fn deferred_lengths() {
        let (two, three) = both(|r| {
            r.int(7);
            let start = r.begin_deferred();
            (0..11).for_each(|_| r.int(1));
            r.end_deferred(start, Aggregate::Set, 11);
        });
        assert_eq!(two, format!(":7\r\n*11\r\n{}", ":1\r\n".repeat(11)));
        assert_eq!(three, format!(":7\r\n~11\r\n{}", ":1\r\n".repeat(11)));
    }
}
