//! [`Entry`]: a key with its value, as the dict keeps it.
//!
//! An entry takes 48 bytes. Keys of up to [`INLINE`] bytes live inside; a key with a deadline
//! carries it in front of its bytes, so that keys without one pay nothing for it.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::types::Value;

/// Longest key that lives inside its entry.
pub const INLINE: usize = 18;

/// Bytes of the deadline in front of a volatile key.
const DEADLINE: usize = 8;

/// A key and what the keyspace knows about it: access time or frequency, and the deadline.
pub struct Key(Repr);

enum Repr {
    Inline {
        len: u8,
        access: AtomicU32,
        bytes: [u8; INLINE],
    },
    Heap {
        access: AtomicU32,
        bytes: Box<[u8]>,
    },
    /// Eight bytes of deadline (unix milliseconds, little endian), then the key.
    Volatile {
        access: AtomicU32,
        bytes: Box<[u8]>,
    },
}

const _: () = assert!(size_of::<Key>() == 24);
const _: () = assert!(size_of::<Entry>() == 48);

impl Key {
    /// A key without a deadline.
    pub fn new(bytes: &[u8], access: u32) -> Key {
        let access = AtomicU32::new(access);
        Key(if bytes.len() <= INLINE {
            let mut inline = [0; INLINE];
            inline[..bytes.len()].copy_from_slice(bytes);
            Repr::Inline {
                len: bytes.len() as u8,
                access,
                bytes: inline,
            }
        } else {
            Repr::Heap {
                access,
                bytes: bytes.into(),
            }
        })
    }

    /// The key's bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes, .. } => &bytes[..usize::from(*len)],
            Repr::Heap { bytes, .. } => bytes,
            Repr::Volatile { bytes, .. } => &bytes[DEADLINE..],
        }
    }

    /// When the key expires, in unix milliseconds.
    pub fn deadline(&self) -> Option<i64> {
        match &self.0 {
            Repr::Volatile { bytes, .. } => {
                bytes.first_chunk().map(|first| i64::from_le_bytes(*first))
            }
            _ => None,
        }
    }

    /// Whether the key has a deadline that is not later than `now`.
    pub fn is_expired(&self, now: i64) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Sets or removes the deadline.
    pub fn set_deadline(&mut self, deadline: Option<i64>) {
        match (&mut self.0, deadline) {
            (Repr::Volatile { bytes, .. }, Some(deadline)) => {
                bytes[..DEADLINE].copy_from_slice(&deadline.to_le_bytes());
            }
            (_, Some(deadline)) => {
                let key = self.bytes();
                let mut bytes = Vec::with_capacity(DEADLINE + key.len());
                bytes.extend_from_slice(&deadline.to_le_bytes());
                bytes.extend_from_slice(key);
                let access = AtomicU32::new(self.access());
                self.0 = Repr::Volatile {
                    access,
                    bytes: bytes.into(),
                };
            }
            (Repr::Volatile { .. }, None) => *self = Key::new(self.bytes(), self.access()),
            (_, None) => {}
        }
    }

    /// The 32 bits of access bookkeeping; see `access.rs` for what they mean.
    pub fn access(&self) -> u32 {
        self.access_cell().load(Ordering::Relaxed)
    }

    /// Replaces the access bookkeeping; allowed under a shared lock.
    pub fn set_access(&self, access: u32) {
        let cell = self.access_cell();
        // A write would bounce the cache line between readers; most of them change nothing.
        if cell.load(Ordering::Relaxed) != access {
            cell.store(access, Ordering::Relaxed);
        }
    }

    /// Bytes of heap memory behind the key.
    pub fn heap_size(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } => 0,
            Repr::Heap { bytes, .. } | Repr::Volatile { bytes, .. } => bytes.len(),
        }
    }

    fn access_cell(&self) -> &AtomicU32 {
        match &self.0 {
            Repr::Inline { access, .. }
            | Repr::Heap { access, .. }
            | Repr::Volatile { access, .. } => access,
        }
    }
}

/// A key with its value.
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Its value.
    pub value: Value,
}

impl Entry {
    /// The earliest deadline of a field, where the value is a hash with such.
    pub fn next_field(&self) -> Option<i64> {
        match &self.value {
            Value::Hash(fields) => fields.next_deadline(),
            _ => None,
        }
    }

    /// When the sweeper has to look at the key: its own deadline or that of its first field.
    pub fn next_deadline(&self) -> Option<i64> {
        match (self.key.deadline(), self.next_field()) {
            (Some(key), Some(field)) => Some(key.min(field)),
            (key, field) => key.or(field),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_comes_and_goes() {
        for name in [
            &b""[..],
            b"short",
            b"exactly-eighteen!!",
            b"a key that is too long to live inside",
        ] {
            let mut key = Key::new(name, 7);
            assert_eq!((key.bytes(), key.deadline(), key.access()), (name, None, 7));
            key.set_deadline(Some(1000));
            assert_eq!(
                (key.bytes(), key.deadline(), key.access()),
                (name, Some(1000), 7)
            );
            assert!(key.is_expired(1000) && !key.is_expired(999));
            key.set_deadline(Some(-5));
            assert_eq!(key.deadline(), Some(-5));
            key.set_access(9);
            key.set_deadline(None);
            assert_eq!((key.bytes(), key.deadline(), key.access()), (name, None, 9));
        }
    }
}
