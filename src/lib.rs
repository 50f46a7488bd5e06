//! stdis: a Redis-compatible server built from std alone.

#[allow(unsafe_code)]
pub mod sys;
pub mod util;
