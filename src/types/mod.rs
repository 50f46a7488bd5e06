//! The data types: pure code that knows neither locks nor sockets.
//!
//! [`value::Value`] is what a key holds; each type has its own file beside it.

pub mod lcs;
pub mod string;
pub mod value;

pub use value::{Type, Value};
