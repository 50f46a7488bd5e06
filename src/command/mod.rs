//! The commands: the table that describes them, the one way in which they are carried out, and
//! their handlers, one file a family.
//!
//! A new command is a handler and a row of `COMMANDS` in its family's file, and nothing else: see
//! [`spec`] for what a row says, [`dispatch`] for what happens around a handler, [`keyspace`] for
//! how a handler reaches keys.

pub mod dispatch;
pub mod docs;
pub mod error;
pub mod keyspace;
pub mod session;
pub mod spec;
pub mod table;

mod client;
mod client_list;
mod command_docs;
mod config;
mod connection;
mod debug;
mod expire;
mod flush;
mod help;
mod info;
mod introspection;
mod keys;
mod lcs;
mod lolwut;
mod memory;
mod options;
mod scan;
mod server;
mod strings;

use std::sync::Arc;

pub use crate::resp::Args;
use crate::resp::Reply;
use crate::server::Server;
pub use error::{Error, Outcome};
pub use keyspace::Keyspace;
pub use session::Session;
pub use table::{Row, table};

/// What a command works with.
pub struct Ctx<'a> {
    /// The shared state.
    pub server: &'a Arc<Server>,
    /// The client's own state.
    pub session: &'a mut Session,
    /// Where the reply goes.
    pub out: &'a mut Reply,
    /// The keys.
    pub db: Keyspace<'a>,
    /// The command's row.
    pub row: &'static Row,
}

/// Carries a command out: writes its reply, or returns the error that replaces whatever it had
/// written. The arity has been checked and the locks of its row are held.
pub type Handler = fn(&mut Ctx<'_>, &mut Args<'_>) -> Outcome;

/// The rows of each family.
pub const FAMILIES: &[&[spec::Command]] = &[
    client::COMMANDS,
    config::COMMANDS,
    connection::COMMANDS,
    debug::COMMANDS,
    expire::COMMANDS,
    flush::COMMANDS,
    info::COMMANDS,
    introspection::COMMANDS,
    keys::COMMANDS,
    lcs::COMMANDS,
    lolwut::COMMANDS,
    memory::COMMANDS,
    scan::COMMANDS,
    server::COMMANDS,
    strings::COMMANDS,
];

/// The handler of a command that only exists through its subcommands; the dispatcher answers an
/// unknown one itself, so this is never reached.
fn container(_: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    Err(error::SYNTAX)
}
