//! What outlives the process: the formats of the files, and reading and writing them.
//!
//! Pure code: it knows neither locks nor sockets nor the configuration; what is saved when, and by
//! which thread, is decided on the floors above.

pub mod aof;
pub mod crc64;
pub mod rdb;
