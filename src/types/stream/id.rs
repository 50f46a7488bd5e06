//! [`StreamId`]: the id of a stream's entry, from and to text.
//!
//! An id is a time in milliseconds and a sequence number, `1526919030474-55` in text; they order by
//! time and then by sequence number.

use crate::util::num;

/// Longest text that can be an id.
const MAX_TEXT: usize = 127;
/// Bytes that the text of any id fits into.
pub const ID_TEXT: usize = 41;

/// The id of an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct StreamId {
    /// Milliseconds since 1970, usually.
    pub ms: u64,
    /// Tells entries of one millisecond apart.
    pub seq: u64,
}

/// The id that a new entry is to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewId {
    /// The next one by the clock.
    Auto,
    /// The next one of this millisecond.
    AutoSeq(u64),
    /// Exactly this one.
    Exact(StreamId),
}

impl StreamId {
    /// The lowest id, which no entry has.
    pub const MIN: StreamId = StreamId::new(0, 0);
    /// The highest id.
    pub const MAX: StreamId = StreamId::new(u64::MAX, u64::MAX);

    /// The id with this time and sequence number.
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The id behind this one; `None` behind the highest.
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId::new(self.ms, seq)),
            None => Some(StreamId::new(self.ms.checked_add(1)?, 0)),
        }
    }

    /// The id before this one; `None` before the lowest.
    pub fn prev(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId::new(self.ms, seq)),
            None => Some(StreamId::new(self.ms.checked_sub(1)?, u64::MAX)),
        }
    }

    /// Reads an id; one without a sequence number gets `missing`.
    pub fn parse(text: &[u8], missing: u64) -> Option<StreamId> {
        let text = c_text(text)?;
        let Some(dash) = text.iter().position(|&b| b == b'-') else {
            return Some(StreamId::new(num::parse_u64_loose(text)?, missing));
        };
        let ms = num::parse_u64_loose(&text[..dash])?;
        let seq = num::parse_u64_loose(&text[dash + 1..])?;
        Some(StreamId::new(ms, seq))
    }

    /// Reads an id or one of the names `-` and `+` of the lowest and the highest.
    pub fn parse_bound(text: &[u8], missing: u64) -> Option<StreamId> {
        match c_text(text)? {
            b"-" => Some(StreamId::MIN),
            b"+" => Some(StreamId::MAX),
            text => StreamId::parse(text, missing),
        }
    }

    /// Writes the id's text into the scratch space.
    #[inline]
    pub fn text(self, scratch: &mut [u8; ID_TEXT]) -> &[u8] {
        let mut digits = [0; 20];
        let ms = num::fmt_u64(&mut digits, self.ms);
        let dash = ms.len();
        scratch[..dash].copy_from_slice(ms);
        scratch[dash] = b'-';
        let seq = num::fmt_u64(&mut digits, self.seq);
        let end = dash + 1 + seq.len();
        scratch[dash + 1..end].copy_from_slice(seq);
        &scratch[..end]
    }

    /// The id as sixteen bytes that order as the ids do.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.ms.to_be_bytes());
        bytes[8..].copy_from_slice(&self.seq.to_be_bytes());
        bytes
    }
}

impl NewId {
    /// Reads the id of `XADD`: `*`, `ms-*`, or an id.
    pub fn parse(text: &[u8]) -> Option<NewId> {
        match c_text(text)? {
            b"*" => Some(NewId::Auto),
            [ms @ .., b'-', b'*'] if !ms.contains(&b'-') => {
                num::parse_u64_loose(ms).map(NewId::AutoSeq)
            }
            text => StreamId::parse(text, 0).map(NewId::Exact),
        }
    }
}

/// The text up to a NUL, where C would see its end; `None` if it is too long for an id.
fn c_text(text: &[u8]) -> Option<&[u8]> {
    if text.len() > MAX_TEXT {
        return None;
    }
    text.split(|&b| b == 0).next()
}
