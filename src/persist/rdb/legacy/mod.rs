//! Packed forms that older versions of Redis wrote and that are only ever read: what they hold goes
//! into the forms of today.
//!
//! RDB files before version 10 have small lists, hashes and sorted sets as [`ziplist`]s, and those
//! before version 4 small hashes as a [`zipmap`]. Both are taken as untrusted: each is checked down
//! to the last byte before anything of it is handed out, and nothing is reserved that the bytes at
//! hand do not account for.

pub mod ziplist;
pub mod zipmap;

/// Bytes that are not what they claim to be, and why not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt(pub &'static str);

/// The `N` bytes at an offset.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
