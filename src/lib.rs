//! stdis: a Redis-compatible server built from std alone.

pub mod resp;
#[allow(unsafe_code)]
pub mod sys;
pub mod util;
