//! One element of a listpack: its value, its encoded form and how the two become each other.
//!
//! An entry is an encoding byte with length or integer bits, the payload, and the *backlen*: the
//! size of what came before it, in groups of seven bits that are read backwards.

use crate::util::num;

/// The byte that ends a listpack.
pub(in crate::types) const END: u8 = 0xff;
/// Size of the header: total bytes (`u32`) and element count (`u16`), little endian.
pub(in crate::types) const HEADER: usize = 6;

/// An element: an integer, or bytes that are not the decimal form of one.
///
/// Equality is that of the representation; [`Item::is`] compares with text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    /// Text that is the canonical decimal form of this integer.
    Int(i64),
    /// Any other text.
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    /// The item for `text`: an integer wherever its text is the canonical form of one.
    #[inline]
    pub fn of(text: &'a [u8]) -> Item<'a> {
        match integer(text) {
            Some(int) => Item::Int(int),
            None => Item::Bytes(text),
        }
    }

    /// The text; an integer is written into the scratch space.
    #[inline]
    pub fn bytes<'b>(self, scratch: &'b mut [u8; 20]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Item::Int(int) => num::fmt_i64(scratch, int),
            Item::Bytes(bytes) => bytes,
        }
    }

    /// The text as a vector of its own.
    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut [0; 20]).to_vec()
    }

    /// Length of the text in bytes.
    #[inline]
    pub fn text_len(self) -> usize {
        match self {
            Item::Int(int) => num::digits(int),
            Item::Bytes(bytes) => bytes.len(),
        }
    }

    /// The integer that the text stands for, if it is one.
    #[inline]
    pub fn integer(self) -> Option<i64> {
        match self {
            Item::Int(int) => Some(int),
            // A listpack that some other program wrote may hold digits as a string.
            Item::Bytes(bytes) => integer(bytes),
        }
    }

    /// Whether the item's text is `text`.
    #[inline]
    pub fn is(self, text: &[u8]) -> bool {
        match self {
            Item::Int(int) => integer(text) == Some(int),
            Item::Bytes(bytes) => bytes == text,
        }
    }

    /// Bytes that the item takes in a listpack, backlen included.
    #[inline]
    pub fn encoded_len(self) -> usize {
        let body = self.body_len();
        body + backlen_size(body)
    }

    /// Size of encoding byte and payload.
    fn body_len(self) -> usize {
        match self {
            Item::Int(int) => match int {
                0..=127 => 1,
                -4096..=4095 => 2,
                -32_768..=32_767 => 3,
                -8_388_608..=8_388_607 => 4,
                -2_147_483_648..=2_147_483_647 => 5,
                _ => 9,
            },
            Item::Bytes(bytes) => match bytes.len() {
                len @ 0..64 => 1 + len,
                len @ 64..4096 => 2 + len,
                len => 5 + len,
            },
        }
    }

    /// Writes the entry into `out`, which has exactly its [`encoded_len`](Item::encoded_len).
    #[inline]
    pub(in crate::types) fn encode(self, out: &mut [u8]) {
        let body = self.body_len();
        match self {
            Item::Int(int) => encode_int(int, &mut out[..body]),
            Item::Bytes(bytes) => {
                let len = bytes.len();
                match len {
                    0..64 => out[0] = 0x80 | len as u8,
                    64..4096 => {
                        out[0] = 0xe0 | (len >> 8) as u8;
                        out[1] = len as u8;
                    }
                    _ => {
                        out[0] = 0xf0;
                        out[1..5].copy_from_slice(&(len as u32).to_le_bytes());
                    }
                }
                out[body - len..body].copy_from_slice(bytes);
            }
        }
        write_backlen(&mut out[body..], body);
    }
}

impl<'a> From<&'a [u8]> for Item<'a> {
    #[inline]
    fn from(text: &'a [u8]) -> Item<'a> {
        Item::of(text)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Item<'a> {
    fn from(text: &'a [u8; N]) -> Item<'a> {
        Item::of(text)
    }
}

impl<'a> From<&'a Vec<u8>> for Item<'a> {
    fn from(text: &'a Vec<u8>) -> Item<'a> {
        Item::of(text)
    }
}

impl From<i64> for Item<'_> {
    #[inline]
    fn from(int: i64) -> Self {
        Item::Int(int)
    }
}

/// A text that is looked for, parsed once for all comparisons.
#[derive(Clone, Copy)]
pub struct Needle<'a> {
    text: &'a [u8],
    int: Option<i64>,
}

impl<'a> Needle<'a> {
    /// Prepares `text` for comparisons.
    #[inline]
    pub fn new(text: &'a [u8]) -> Needle<'a> {
        Needle {
            text,
            int: integer(text),
        }
    }

    /// Whether `item` has this text.
    #[inline]
    pub fn is(&self, item: Item<'_>) -> bool {
        match item {
            Item::Int(int) => self.int == Some(int),
            Item::Bytes(bytes) => bytes == self.text,
        }
    }
}

/// The integer of which `text` is the canonical form; the first byte rules out most others.
#[inline]
fn integer(text: &[u8]) -> Option<i64> {
    match text.first() {
        Some(b'0'..=b'9' | b'-') if text.len() <= 20 => num::parse_i64(text),
        _ => None,
    }
}

fn encode_int(int: i64, out: &mut [u8]) {
    let bytes = int.to_le_bytes();
    match out.len() {
        1 => out[0] = bytes[0],
        2 => {
            out[0] = 0xc0 | (bytes[1] & 0x1f);
            out[1] = bytes[0];
        }
        len => {
            // 16, 24, 32 and 64 bits have the encodings 0xf1 to 0xf4.
            out[0] = if len == 9 { 0xf4 } else { 0xee + len as u8 };
            out[1..].copy_from_slice(&bytes[..len - 1]);
        }
    }
}

/// Reads the entry at `at`: the item, and the size of the entry with its backlen.
///
/// `bytes` must be a valid listpack and `at` the offset of an entry in it.
#[inline]
pub(in crate::types) fn decode(bytes: &[u8], at: usize) -> (Item<'_>, usize) {
    let head = bytes[at];
    match head {
        0..0x80 => (Item::Int(i64::from(head)), 2),
        0x80..0xc0 => {
            let len = usize::from(head & 0x3f);
            (Item::Bytes(&bytes[at + 1..at + 1 + len]), len + 2)
        }
        _ => decode_long(bytes, at, head),
    }
}

fn decode_long(bytes: &[u8], at: usize, head: u8) -> (Item<'_>, usize) {
    let int = match head {
        0xc0..0xe0 => {
            // Shifted up and down again to spread the sign.
            i64::from((i16::from_be_bytes([head, bytes[at + 1]]) << 3) >> 3)
        }
        0xf1 => i64::from(i16::from_le_bytes(array(bytes, at + 1))),
        0xf2 => {
            let [low, mid, high] = array(bytes, at + 1);
            i64::from(i32::from_le_bytes([0, low, mid, high]) >> 8)
        }
        0xf3 => i64::from(i32::from_le_bytes(array(bytes, at + 1))),
        0xf4 => i64::from_le_bytes(array(bytes, at + 1)),
        _ => {
            let body = body_size(bytes, at);
            let lead = if head == 0xf0 { 5 } else { 2 };
            let text = &bytes[at + lead..at + body];
            return (Item::Bytes(text), body + backlen_size(body));
        }
    };
    (Item::Int(int), body_size(bytes, at) + 1)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Size of the entry at `at` with its backlen.
#[inline]
pub(in crate::types) fn size(bytes: &[u8], at: usize) -> usize {
    match bytes[at] {
        0..0x80 => 2,
        head @ 0x80..0xc0 => usize::from(head & 0x3f) + 2,
        _ => {
            let body = body_size(bytes, at);
            body + backlen_size(body)
        }
    }
}

/// Size of encoding byte and payload of the entry at `at`.
fn body_size(bytes: &[u8], at: usize) -> usize {
    match bytes[at] {
        0..0x80 => 1,
        head @ 0x80..0xc0 => 1 + usize::from(head & 0x3f),
        0xc0..0xe0 => 2,
        head @ 0xe0..0xf0 => 2 + usize::from(u16::from_be_bytes([head & 0x0f, bytes[at + 1]])),
        0xf0 => 5 + u32::from_le_bytes(array(bytes, at + 1)) as usize,
        0xf1 => 3,
        0xf2 => 4,
        0xf3 => 5,
        0xf4 => 9,
        0xf5.. => unreachable!("listpacks are validated when they come in"),
    }
}

/// Checks the entry at `at` of bytes from anywhere, of which `end` is the offset of the
/// terminator. The offset of the next entry; `None` if the entry is malformed.
pub(in crate::types) fn check(bytes: &[u8], at: usize, end: usize) -> Option<usize> {
    let lead = match bytes[at] {
        0..0xe0 => 1,
        0xe0..0xf0 => 2,
        0xf0 => 5,
        0xf1..=0xf4 => 1,
        0xf5.. => return None,
    };
    if at + lead > end {
        return None;
    }
    let body = body_size(bytes, at);
    let next = at.checked_add(body)?.checked_add(backlen_size(body))?;
    if next > end || read_backlen(&bytes[..next]) != Some(body) {
        return None;
    }
    Some(next)
}

/// Bytes that a backlen of `len` takes. The limits are one below the obvious ones from the
/// second on, and part of the format.
#[inline]
pub(in crate::types) fn backlen_size(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

fn write_backlen(out: &mut [u8], len: usize) {
    let mut rest = len;
    for byte in out.iter_mut().rev() {
        *byte = (rest & 0x7f) as u8 | 0x80;
        rest >>= 7;
    }
    // The first byte, which is read last, has no mark.
    out[0] &= 0x7f;
}

/// The backlen that ends where `bytes` end; `None` if it has no end itself.
#[inline]
pub(in crate::types) fn read_backlen(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    for (group, byte) in bytes.iter().rev().take(5).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * group);
        if byte & 0x80 == 0 {
            return Some(len);
        }
    }
    None
}
