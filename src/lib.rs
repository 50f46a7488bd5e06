//! stdis: a Redis-compatible server built from std alone.

pub mod util;
