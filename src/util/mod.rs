//! Small pure-code utilities at the bottom floor: bytes in, bytes out, no locks
//! and no sockets. Nothing here knows about any other room of the server.
//! What each file is for is told at its top.

// Wall-clock time as integers.
pub mod clock;
// Doubles from and to text.
pub mod float;
// Glob-style pattern matching.
pub mod glob;
// x87 extended precision arithmetic for `INCRBYFLOAT`.
pub mod longdouble;
// Integers and sizes from and to text.
pub mod lzf;
pub mod num;
// Sorting only the front of a slice, as Redis does.
pub mod partial_sort;
// Splitting a line into arguments, and quoting bytes for people.
pub mod quoting;
// Random numbers, seeds and ids.
pub mod random;
// SHA-1.
mod sha;
pub mod sha1;
pub mod sha256;
// The keyed hash of keys.
pub mod siphash;
