//! The network floor: whatever feeds commands in from sockets.
//!
//! The [`listener`] accepts and hands connections to the fixed [`pool`] of worker threads. A
//! worker serves one [`connection`] at a time with blocking reads. A connection that is busy goes
//! to the [`round`]: a few threads that try their connections in turn without blocking, which
//! saves a sleep and a wake-up for each request; when it falls silent, or has something slow to
//! do, it goes back to a worker of its own.

pub mod connection;
pub mod listener;
pub mod pool;
pub mod round;
