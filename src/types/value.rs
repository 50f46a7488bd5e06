//! [`Value`], what a key holds.
//!
//! A value takes 24 bytes in its entry. Integers and strings of up to [`INLINE`] bytes live in
//! there without an allocation; the rest is behind one pointer.

use super::hash::Hash;
use super::quicklist::List;
use super::set::Set;
use super::stream::Stream;
use super::string;
use super::zset::ZSet;
use crate::sys::fetch;

/// Longest string that lives inside a [`Value`].
pub const INLINE: usize = 22;
/// Longest string for which Redis reports the encoding `embstr`.
pub const EMBSTR_MAX: usize = 44;

/// The value of a key.
pub enum Value {
    /// A string that is the decimal form of an integer.
    Int(i64),
    /// A short string.
    Inline {
        /// Bytes in use.
        len: u8,
        /// The bytes, and zeros behind them.
        bytes: [u8; INLINE],
    },
    /// A string of fixed size.
    Str(Box<[u8]>),
    /// A string that has been changed in place, with room to grow.
    Raw(Box<Vec<u8>>),
    /// A list.
    List(List),
    /// A set. It is the one type that fills the whole value by itself.
    Set(Set),
    /// A sorted set.
    ZSet(ZSet),
    /// A hash.
    Hash(Hash),
    /// A stream.
    Stream(Box<Stream>),
}

const _: () = assert!(size_of::<Value>() == 24);

/// The type of a value, as `TYPE` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// `string`
    String,
    /// `list`
    List,
    /// `set`
    Set,
    /// `zset`
    ZSet,
    /// `hash`
    Hash,
    /// `stream`
    Stream,
}

impl Type {
    /// Redis' name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::List => "list",
            Type::Set => "set",
            Type::ZSet => "zset",
            Type::Hash => "hash",
            Type::Stream => "stream",
        }
    }

    /// Every type.
    pub const ALL: &'static [Type] = &[
        Type::String,
        Type::List,
        Type::Set,
        Type::ZSet,
        Type::Hash,
        Type::Stream,
    ];
}

impl Value {
    /// A string, stored as an integer where its bytes are the decimal form of one.
    pub fn string(bytes: &[u8]) -> Value {
        match string::as_integer(bytes) {
            Some(int) => Value::Int(int),
            None => Value::plain(bytes),
        }
    }

    /// A string from a buffer that may be kept.
    pub fn string_from(bytes: Vec<u8>) -> Value {
        if bytes.len() <= INLINE {
            return Value::string(&bytes);
        }
        Value::Str(bytes.into_boxed_slice())
    }

    /// A string that is not looked at for an integer.
    pub fn plain(bytes: &[u8]) -> Value {
        if bytes.len() <= INLINE {
            let mut inline = [0; INLINE];
            inline[..bytes.len()].copy_from_slice(bytes);
            Value::Inline {
                len: bytes.len() as u8,
                bytes: inline,
            }
        } else {
            Value::Str(bytes.into())
        }
    }

    /// Has the processor fetch what the value points to, or the beginning of it. Returns at once.
    #[inline]
    pub fn fetch(&self) {
        match self {
            Value::Int(_) | Value::Inline { .. } => {}
            Value::Str(bytes) => fetch(&**bytes),
            Value::Raw(bytes) => fetch(&**bytes),
            Value::List(List::Packed(packed)) => fetch(packed.as_bytes()),
            Value::List(List::Chunked(nodes)) => fetch(&**nodes),
            Value::Set(Set::Ints(ints)) => fetch(ints.as_bytes()),
            Value::Set(Set::Packed(packed)) => fetch(packed.as_bytes()),
            Value::Set(Set::Table(table)) => fetch(&**table),
            Value::ZSet(ZSet::Packed(packed)) => fetch(packed.as_bytes()),
            Value::ZSet(ZSet::Table(table)) => fetch(&**table),
            Value::Hash(Hash::Packed(packed)) => fetch(packed.as_bytes()),
            Value::Hash(Hash::Table(table)) => fetch(&**table),
            Value::Stream(stream) => fetch(&**stream),
        }
    }

    /// The value's type.
    pub fn kind(&self) -> Type {
        match self {
            Value::Int(_) | Value::Inline { .. } | Value::Str(_) | Value::Raw(_) => Type::String,
            Value::List(_) => Type::List,
            Value::Set(_) => Type::Set,
            Value::ZSet(_) => Type::ZSet,
            Value::Hash(_) => Type::Hash,
            Value::Stream(_) => Type::Stream,
        }
    }

    /// The encoding as `OBJECT ENCODING` names it.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::Int(_) => "int",
            Value::Inline { .. } => "embstr",
            Value::Str(bytes) if bytes.len() <= EMBSTR_MAX => "embstr",
            Value::Str(_) | Value::Raw(_) => "raw",
            Value::List(list) => list.encoding(),
            Value::Set(set) => set.encoding(),
            Value::ZSet(zset) => zset.encoding(),
            Value::Hash(hash) => hash.encoding(),
            Value::Stream(_) => "stream",
        }
    }

    /// Bytes of heap memory behind the value.
    pub fn heap_size(&self) -> usize {
        self.memory(0)
    }

    /// Bytes of heap memory behind the value; those of large collections are estimated from
    /// `samples` of their elements or nodes (0: all).
    pub fn memory(&self, samples: usize) -> usize {
        match self {
            Value::Int(_) | Value::Inline { .. } => 0,
            Value::Str(bytes) => bytes.len(),
            Value::Raw(bytes) => bytes.capacity() + size_of::<Vec<u8>>(),
            Value::List(list) => list.memory(samples),
            Value::Set(set) => set.memory(samples),
            Value::ZSet(zset) => zset.memory(samples),
            Value::Hash(hash) => hash.memory(samples),
            Value::Stream(stream) => stream.memory(samples),
        }
    }

    /// How much work freeing the value is, in allocations; what takes long is freed by the
    /// background thread.
    #[inline]
    pub fn free_effort(&self) -> usize {
        match self {
            Value::Int(_) | Value::Inline { .. } | Value::Str(_) | Value::Raw(_) => 1,
            _ => self.collection_effort(),
        }
    }

    fn collection_effort(&self) -> usize {
        match self {
            Value::List(list) => list.node_count(),
            Value::Set(set) if set.encoding() == "hashtable" => set.len(),
            Value::ZSet(zset) if zset.encoding() == "skiplist" => zset.len(),
            Value::Hash(hash) if hash.encoding() == "hashtable" => hash.len(),
            Value::Stream(stream) => stream.free_effort(),
            _ => 1,
        }
    }

    /// The same value once more, for `COPY`.
    pub fn duplicate(&self) -> Value {
        match self {
            Value::Int(int) => Value::Int(*int),
            Value::Inline { len, bytes } => Value::Inline {
                len: *len,
                bytes: *bytes,
            },
            Value::Str(bytes) => Value::Str(bytes.clone()),
            Value::Raw(bytes) => Value::Raw(bytes.clone()),
            Value::List(list) => Value::List(list.clone()),
            Value::Set(set) => Value::Set(set.clone()),
            Value::ZSet(zset) => Value::ZSet(zset.clone()),
            Value::Hash(hash) => Value::Hash(hash.clone()),
            Value::Stream(stream) => Value::Stream(stream.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_follow_redis() {
        assert_eq!(Value::string(b"12").encoding(), "int");
        assert_eq!(Value::string(b"012").encoding(), "embstr");
        assert_eq!(Value::string(&[b'x'; 44]).encoding(), "embstr");
        assert_eq!(Value::string(&[b'x'; 45]).encoding(), "raw");
        assert_eq!(Value::Raw(Box::new(vec![1])).encoding(), "raw");
    }
}
