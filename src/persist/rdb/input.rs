//! [`Input`]: bytes in the RDB format, read piece by piece.
//!
//! Nothing is trusted: each piece is checked against the bytes that are there before anything is
//! made of it, so a made-up length costs no memory. Text is borrowed from the input wherever it lies
//! there as it is.

use std::borrow::Cow;

use super::form;
use crate::types::listpack::Item;
use crate::util::{lzf, num};

/// Bytes that are not what they claim to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Corrupt {
    /// Where this was noticed, counted from the start of the file or payload.
    pub offset: u64,
    /// What is wrong.
    pub what: Cow<'static, str>,
}

/// What is wrong with a collection that has no elements.
const EMPTY: &str = "a collection without elements";

impl Corrupt {
    /// Something wrong at an offset.
    pub fn new(offset: u64, what: impl Into<Cow<'static, str>>) -> Corrupt {
        Corrupt {
            offset,
            what: what.into(),
        }
    }

    /// Whether this is a collection without elements. Redis has had faults that wrote such, so
    /// whoever loads a file leaves the key out and goes on; the input stands behind the value.
    pub fn is_empty_collection(&self) -> bool {
        self.what == EMPTY
    }
}

impl std::fmt::Display for Corrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at offset {}", self.what, self.offset)
    }
}

impl std::error::Error for Corrupt {}

/// A length as it is written: a number, or the form of a string that is no plain text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Length {
    Plain(u64),
    /// The first byte, see [`form`].
    Special(u8),
}

/// Why a length cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoLength {
    /// It takes so many bytes.
    Short(usize),
    /// There is no such form.
    Unknown,
}

/// Reads the length at the start of `bytes`; it, and how many bytes it takes.
#[inline]
pub(super) fn length(bytes: &[u8]) -> Result<(Length, usize), NoLength> {
    let &first = bytes.first().ok_or(NoLength::Short(1))?;
    match first {
        0..0x40 => Ok((Length::Plain(u64::from(first)), 1)),
        0x40..0x80 => match bytes.get(1) {
            Some(&low) => {
                let long = u64::from(first & 0x3f) << 8 | u64::from(low);
                Ok((Length::Plain(long), 2))
            }
            None => Err(NoLength::Short(2)),
        },
        0x80 => match bytes.get(1..).and_then(<[u8]>::first_chunk) {
            Some(long) => Ok((Length::Plain(u32::from_be_bytes(*long).into()), 5)),
            None => Err(NoLength::Short(5)),
        },
        0x81 => match bytes.get(1..).and_then(<[u8]>::first_chunk) {
            Some(long) => Ok((Length::Plain(u64::from_be_bytes(*long)), 9)),
            None => Err(NoLength::Short(9)),
        },
        0x82..0xc0 => Err(NoLength::Unknown),
        0xc0.. => Ok((Length::Special(first), 1)),
    }
}

/// A string of an RDB file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Text<'a> {
    /// Bytes of the input.
    Slice(&'a [u8]),
    /// The decimal form of this integer.
    Int(i64),
    /// What was compressed in the input.
    Unpacked(Vec<u8>),
}

impl<'a> Text<'a> {
    /// The bytes; those of an integer are written into the scratch space.
    #[inline]
    pub fn bytes<'b>(&'b self, scratch: &'b mut [u8; 20]) -> &'b [u8] {
        match self {
            Text::Slice(bytes) => bytes,
            Text::Int(int) => num::fmt_i64(scratch, *int),
            Text::Unpacked(bytes) => bytes,
        }
    }

    /// The text as an element of a collection.
    #[inline]
    pub fn item(&self) -> Item<'_> {
        match self {
            Text::Slice(bytes) => Item::of(bytes),
            Text::Int(int) => Item::Int(*int),
            Text::Unpacked(bytes) => Item::of(bytes),
        }
    }

    /// The bytes as a vector of their own.
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            Text::Slice(bytes) => bytes.to_vec(),
            Text::Int(_) => self.bytes(&mut [0; 20]).to_vec(),
            Text::Unpacked(bytes) => bytes,
        }
    }
}

/// Bytes that are read piece by piece.
#[derive(Clone)]
pub struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    base: u64,
}

impl<'a> Input<'a> {
    /// Reads these bytes.
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input::part(bytes, 0)
    }

    /// Reads these bytes, which lie at an offset of something larger: errors tell offsets in that.
    pub fn part(bytes: &'a [u8], base: u64) -> Input<'a> {
        Input { bytes, at: 0, base }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The bytes not yet read.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// The error for something wrong here.
    #[cold]
    pub fn corrupt(&self, what: impl Into<Cow<'static, str>>) -> Corrupt {
        Corrupt::new(self.offset(), what)
    }

    /// The error for a collection without elements.
    #[cold]
    pub(super) fn empty(&self) -> Corrupt {
        self.corrupt(EMPTY)
    }

    #[cold]
    fn short(&self) -> Corrupt {
        self.corrupt("the data ends too early")
    }

    /// So many bytes.
    ///
    /// # Errors
    /// When there are fewer.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, _) = self
            .rest()
            .split_at_checked(count)
            .ok_or_else(|| self.short())?;
        self.at += count;
        Ok(taken)
    }

    /// So many bytes as an array.
    ///
    /// # Errors
    /// When there are fewer.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let array = *self.rest().first_chunk().ok_or_else(|| self.short())?;
        self.at += N;
        Ok(array)
    }

    /// One byte.
    ///
    /// # Errors
    /// When there is none.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Corrupt> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    #[inline]
    fn any_length(&mut self) -> Result<Length, Corrupt> {
        let (length, size) = length(self.rest()).map_err(|error| match error {
            NoLength::Short(_) => self.short(),
            NoLength::Unknown => self.corrupt("a length of unknown form"),
        })?;
        self.at += size;
        Ok(length)
    }

    /// A length, or any number that is written as one.
    ///
    /// # Errors
    /// When there is something else.
    pub fn length(&mut self) -> Result<u64, Corrupt> {
        let start = self.offset();
        match self.any_length()? {
            Length::Plain(length) => Ok(length),
            Length::Special(_) => Err(Corrupt::new(start, "an encoded string, but not a length")),
        }
    }

    /// The number of elements that follow, each of which takes `least` bytes or more. That they may
    /// all be there has been checked, so memory for them can be reserved.
    ///
    /// # Errors
    /// When there is something else, or there are too few bytes for so many elements.
    pub fn count(&mut self, least: usize) -> Result<usize, Corrupt> {
        let count = usize::try_from(self.length()?).map_err(|_| self.short())?;
        if count > self.rest().len() / least {
            return Err(self.corrupt("fewer elements than announced"));
        }
        Ok(count)
    }

    /// A string.
    ///
    /// # Errors
    /// When there is something else.
    #[inline]
    pub fn text(&mut self) -> Result<Text<'a>, Corrupt> {
        match self.any_length()? {
            Length::Plain(length) => {
                let length = usize::try_from(length).map_err(|_| self.short())?;
                Ok(Text::Slice(self.take(length)?))
            }
            Length::Special(form) => self.special(form),
        }
    }

    fn special(&mut self, form: u8) -> Result<Text<'a>, Corrupt> {
        Ok(Text::Int(match form {
            form::INT8 => i8::from_le_bytes(self.array()?).into(),
            form::INT16 => i16::from_le_bytes(self.array()?).into(),
            form::INT32 => i32::from_le_bytes(self.array()?).into(),
            form::LZF => return self.unpack(),
            _ => return Err(self.corrupt("a string of unknown form")),
        }))
    }

    fn unpack(&mut self) -> Result<Text<'a>, Corrupt> {
        let (packed, len) = (self.length()?, self.length()?);
        let start = self.offset();
        let packed = usize::try_from(packed).map_err(|_| self.short())?;
        let packed = self.take(packed)?;
        usize::try_from(len)
            .ok()
            .and_then(|len| lzf::decompress(packed, len).ok())
            .map(Text::Unpacked)
            .ok_or_else(|| Corrupt::new(start, "a compressed string cannot be decompressed"))
    }

    /// A string, as a vector of its own.
    ///
    /// # Errors
    /// When there is something else.
    pub fn blob(&mut self) -> Result<Vec<u8>, Corrupt> {
        self.text().map(Text::into_vec)
    }

    /// A time or other integer in eight bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn int64(&mut self) -> Result<i64, Corrupt> {
        self.array().map(i64::from_le_bytes)
    }

    /// A score in eight bytes.
    ///
    /// # Errors
    /// When there are fewer, or it is not a number.
    #[inline]
    pub fn score(&mut self) -> Result<f64, Corrupt> {
        let score = f64::from_le_bytes(self.array()?);
        if score.is_nan() {
            return Err(self.corrupt("a score that is not a number"));
        }
        Ok(score)
    }

    /// A score as text, as the oldest files have it.
    ///
    /// # Errors
    /// When there is something else, or it is not a number.
    pub fn old_score(&mut self) -> Result<f64, Corrupt> {
        let score = match self.byte()? {
            255 => Some(f64::NEG_INFINITY),
            254 => Some(f64::INFINITY),
            253 => None,
            len => {
                let text = self.take(len.into())?;
                std::str::from_utf8(text).ok().and_then(|t| t.parse().ok())
            }
        };
        score
            .filter(|score: &f64| !score.is_nan())
            .ok_or_else(|| self.corrupt("a score that is not a number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut input = Input::new(bytes);
        let text = input.text().ok()?;
        assert!(input.is_empty());
        Some(text.into_vec())
    }

    #[test]
    fn lengths() {
        for (bytes, length) in [
            (&[5][..], Some(5)),
            (&[0x7f, 0xff], Some(16_383)),
            (&[0x80, 0, 1, 0, 0], Some(65_536)),
            (&[0x81, 1, 0, 0, 0, 0, 0, 0, 0], Some(1 << 56)),
            (&[0x82, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (&[0xbf, 0], None),
            (&[0xc0, 5], None),
            (&[0x80, 0, 1, 0], None),
            (&[0x40], None),
            (&[], None),
        ] {
            assert_eq!(Input::new(bytes).length().ok(), length, "{bytes:?}");
        }
    }

    #[test]
    fn strings_of_all_forms() {
        for (bytes, expected) in [
            (&b"\x03abc"[..], Some(&b"abc"[..])),
            (b"\x00", Some(b"")),
            (b"\x40\x03abc", Some(b"abc")),
            (b"\x80\0\0\0\x03abc", Some(b"abc")),
            (b"\x81\0\0\0\0\0\0\0\x03abc", Some(b"abc")),
            (b"\xc0\xff", Some(b"-1")),
            (b"\xc1\x00\x80", Some(b"-32768")),
            (b"\xc2\xff\xff\xff\x7f", Some(b"2147483647")),
            (b"\xc3\x04\x05\x00a\x40\x00", Some(b"aaaaa")),
            (b"\xc3\x04\x06\x00a\x40\x00", None),
            (b"\xc3\x81\xff\xff\xff\xff\xff\xff\xff\xff\x05\x00a", None),
            (
                b"\xc3\x04\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00a\x40\x00",
                None,
            ),
            (b"\xc4\x01", None),
            (b"\xff", None),
            (b"\x04abc", None),
            (b"\x81\xff\xff\xff\xff\xff\xff\xff\xffabc", None),
            (b"\xc2\xff\xff\xff", None),
        ] {
            assert_eq!(text(bytes).as_deref(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn old_scores() {
        for (bytes, score) in [
            (&b"\x031.5"[..], Some(1.5)),
            (b"\x05-1e10", Some(-1e10)),
            (b"\xfe", Some(f64::INFINITY)),
            (b"\xff", Some(f64::NEG_INFINITY)),
            (b"\xfd", None),
            (b"\x03nan", None),
            (b"\x00", None),
            (b"\x04 1.5", None),
            (b"\x041.5", None),
        ] {
            assert_eq!(Input::new(bytes).old_score().ok(), score, "{bytes:?}");
        }
    }

    #[test]
    fn counts_are_held_against_what_is_there() {
        assert_eq!(Input::new(b"\x02aabb").count(2), Ok(2));
        assert!(Input::new(b"\x03aabb").count(2).is_err());
        let huge = b"\x81\xff\xff\xff\xff\xff\xff\xff\xffaa";
        assert!(Input::new(huge).count(1).is_err());
    }

    #[test]
    fn errors_tell_where() {
        let error = Input::part(b"\x05abc", 100).text().expect_err("short");
        assert_eq!(error.to_string(), "the data ends too early at offset 101");
    }
}
