//! The data types: pure code that knows neither locks nor sockets.
//!
//! [`value::Value`] is what a key holds; each type has its own file beside it.

pub mod bits;
pub mod geohash;
pub mod hash;
pub mod hyperloglog;
pub mod intset;
pub mod lcs;
pub mod listpack;
pub mod member_dict;
pub mod ordered;
pub mod quicklist;
pub mod set;
pub mod sorted_table;
pub mod stream;
pub mod string;
pub mod value;
pub mod zset;

pub use value::{Type, Value};
