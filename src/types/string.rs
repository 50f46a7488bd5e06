//! Strings: reading and changing the string forms of a [`Value`].

use super::value::{INLINE, Value};
use crate::util::num;

/// The integer whose decimal form `bytes` are, if they are one.
pub fn as_integer(bytes: &[u8]) -> Option<i64> {
    // The first byte alone rules out nearly every string that is not a number.
    match bytes.first() {
        Some(b'0'..=b'9' | b'-') if bytes.len() <= 20 => num::parse_i64(bytes),
        _ => None,
    }
}

/// The bytes of a string value; an integer is written into the scratch space.
///
/// `None` when the value is not a string.
pub fn bytes<'a>(value: &'a Value, scratch: &'a mut [u8; 20]) -> Option<&'a [u8]> {
    match value {
        Value::Int(int) => Some(num::fmt_i64(scratch, *int)),
        Value::Inline { len, bytes } => Some(&bytes[..usize::from(*len)]),
        Value::Str(bytes) => Some(bytes),
        Value::Raw(bytes) => Some(bytes),
        _ => None,
    }
}

/// Length in bytes of a string value; `None` when it is not a string.
pub fn len(value: &Value) -> Option<usize> {
    match value {
        Value::Int(int) => Some(num::digits(*int)),
        Value::Inline { len, .. } => Some(usize::from(*len)),
        Value::Str(bytes) => Some(bytes.len()),
        Value::Raw(bytes) => Some(bytes.len()),
        _ => None,
    }
}

/// The integer a string value stands for; `None` when it is none (or not a string).
pub fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(int) => Some(*int),
        Value::Inline { len, bytes } => num::parse_i64(&bytes[..usize::from(*len)]),
        Value::Raw(bytes) => num::parse_i64(bytes),
        _ => None,
    }
}

/// Makes a string value changeable in place and hands out its buffer, with room for `len` bytes
/// in all. From then on its encoding is `raw`. `None` when the value is not a string.
pub fn make_raw(value: &mut Value, len: usize) -> Option<&mut Vec<u8>> {
    let old = match &mut *value {
        Value::Raw(_) => None,
        Value::Str(bytes) => Some(std::mem::take(bytes).into_vec()),
        _ => {
            let mut scratch = [0; 20];
            Some(bytes(value, &mut scratch)?.to_vec())
        }
    };
    if let Some(old) = old {
        *value = Value::Raw(Box::new(old));
    }
    let Value::Raw(buffer) = value else {
        return None;
    };
    if len > buffer.capacity() {
        // Redis' growth: twice the size for small strings, a megabyte of room for large ones.
        let room = len.min(1 << 20);
        buffer.reserve_exact(len + room - buffer.len());
    }
    Some(buffer)
}

/// A string value made of `first` and `second`, for the first APPEND to a short string.
pub fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    let mut both = Vec::with_capacity((first.len() + second.len()).max(INLINE));
    both.extend_from_slice(first);
    both.extend_from_slice(second);
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_strict() {
        assert_eq!(as_integer(b"42"), Some(42));
        for text in [
            &b""[..],
            b" 1",
            b"1 ",
            b"+1",
            b"01",
            b"-0",
            b"9223372036854775808",
        ] {
            assert_eq!(as_integer(text), None, "{text:?}");
        }
    }

    #[test]
    fn make_raw_keeps_the_bytes() {
        for start in [&b"7"[..], b"short", &[b'x'; 100]] {
            let mut value = Value::string(start);
            make_raw(&mut value, start.len() + 1)
                .expect("a string")
                .push(b'!');
            let mut scratch = [0; 20];
            assert_eq!(bytes(&value, &mut scratch), Some(&joined(start, b"!")[..]));
            assert_eq!(value.encoding(), "raw");
        }
    }
}
