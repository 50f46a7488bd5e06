//! The append only file: commands, in the protocol of requests, in files of one folder.
//!
//! A *base* holds the data set as of the last rewrite, as a snapshot (`.rdb`) or as commands
//! (`.aof`). *Increments* hold what was written since. A *manifest* names them in order.
//! [`manifest`] is its text, [`files`] what happens to the folder, [`reader`] takes commands
//! out of a file, and [`rewrite`] turns keys into commands. What the commands do, and when files are synced, is for the floors above.

pub mod files;
pub mod manifest;
pub mod reader;
pub mod rewrite;

pub use files::Files;
pub use manifest::Manifest;
pub use reader::Reader;
