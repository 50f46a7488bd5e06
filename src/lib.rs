//! stdis: a Redis-compatible server built from std alone.

pub mod command;
pub mod resp;
pub mod server;
pub mod store;
#[allow(unsafe_code)]
pub mod sys;
pub mod types;
pub mod util;
