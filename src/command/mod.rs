//! The commands: the table that describes them, the one way in which they are carried out, and
//! their handlers, one file a family.
//!
//! A new command is a handler and a row of `COMMANDS` in its family's file, and nothing else: see
//! [`spec`] for what a row says, [`dispatch`] for what happens around a handler, [`keyspace`] for
//! how a handler reaches keys.

pub mod aside;
pub mod consequences;
pub mod dispatch;
pub mod docs;
pub mod effects;
pub mod error;
pub mod eviction;
pub mod feeding;
pub mod keyspace;
pub mod session;
pub mod spec;
pub mod table;

mod acl;
mod bitfield;
mod bitmaps;
mod blocking;
mod blocking_pops;
mod client;
pub mod client_eviction;
pub mod client_list;
mod cluster;
mod command_docs;
mod config;
mod connection;
pub mod crash;
mod debug;
mod debug_clients;
mod debug_digest;
mod debug_reload;
mod debug_restart;
mod debug_values;
mod dump;
mod expire;
mod failover;
mod flush;
mod geo;
mod geo_search;
mod hash_expiry;
mod hashes;
mod help;
mod hyperloglog;
mod info;
mod info_replication;
mod introspection;
mod keys;
mod latency;
mod latency_report;
mod lcs;
mod list_moves;
mod lists;
mod lolwut;
mod memory;
mod migrate;
mod modules;
mod monitor;
pub mod notify;
mod options;
mod permissions;
mod persistence;
mod psync;
mod pubsub;
pub mod replacing;
mod replconf;
mod replies;
pub mod restore;
mod roles;
mod scan;
mod scripting;
mod secrets;
mod server;
mod set_algebra;
mod sets;
mod slowlog;
mod sort;
mod stream_claims;
mod stream_groups;
mod stream_info;
mod stream_reads;
mod streams;
mod strings;
mod tracking;
pub mod transactions;
mod wait;
mod zset_algebra;
mod zset_pops;
mod zset_ranges;
mod zsets;

use std::cell::Cell;
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
    /// Whether it may take long here.
    pub pace: Pace,
}

impl Ctx<'_> {
    /// Has the statistics tell of everything that the client can have seen: what this session has
    /// counted in the batch so far, and on a replica what its primary's commands have.
    fn settle_counts(&mut self) {
        self.server.stats.pour(&mut self.session.tally);
        // What a transaction has locked may be what they wait for.
        if !self.db.in_transaction {
            self.server.replication.turns.wait();
        }
    }
}

/// Work on more elements than this is done on a thread of the client's own: about a millisecond.
const LONG: usize = 20_000;

/// Where a command is carried out, as far as that limits how long it may take.
pub struct Pace {
    /// Whether the thread serves other clients as well.
    shared: bool,
    /// Whether the command is to be carried out anew, on a thread of the client's own.
    elsewhere: Cell<bool>,
}

impl Pace {
    fn new(shared: bool) -> Pace {
        Pace {
            shared,
            elsewhere: Cell::new(false),
        }
    }

    /// Whether the command, which is about to work on so many elements, must not do so here, as it
    /// would hold up other clients. The handler then returns at once, with nothing changed; it is
    /// called again on a thread of the client's own.
    pub fn too_slow(&self, elements: usize) -> bool {
        let slow = self.shared && elements > LONG;
        self.elsewhere.set(slow);
        slow
    }

    /// Whether the command, which is about to wait for other clients, must not do so here, as
    /// [`Pace::too_slow`]: the thread may be theirs too.
    pub fn must_not_wait(&self) -> bool {
        self.elsewhere.set(self.shared);
        self.shared
    }
}

/// Carries a command out: writes its reply, or returns the error that replaces whatever it had
/// written. The arity has been checked and the locks of its row are held.
pub type Handler = fn(&mut Ctx<'_>, &mut Args<'_>) -> Outcome;

/// The rows of each family.
pub const FAMILIES: &[&[spec::Command]] = &[
    acl::COMMANDS,
    bitfield::COMMANDS,
    bitmaps::COMMANDS,
    blocking_pops::COMMANDS,
    client::COMMANDS,
    cluster::COMMANDS,
    config::COMMANDS,
    connection::COMMANDS,
    debug::COMMANDS,
    dump::COMMANDS,
    expire::COMMANDS,
    failover::COMMANDS,
    flush::COMMANDS,
    geo::COMMANDS,
    geo_search::COMMANDS,
    hash_expiry::COMMANDS,
    hashes::COMMANDS,
    hyperloglog::COMMANDS,
    info::COMMANDS,
    introspection::COMMANDS,
    keys::COMMANDS,
    latency::COMMANDS,
    lcs::COMMANDS,
    list_moves::COMMANDS,
    lists::COMMANDS,
    lolwut::COMMANDS,
    memory::COMMANDS,
    migrate::COMMANDS,
    modules::COMMANDS,
    monitor::COMMANDS,
    persistence::COMMANDS,
    psync::COMMANDS,
    pubsub::COMMANDS,
    replconf::COMMANDS,
    restore::COMMANDS,
    roles::COMMANDS,
    scan::COMMANDS,
    scripting::COMMANDS,
    server::COMMANDS,
    set_algebra::COMMANDS,
    sets::COMMANDS,
    slowlog::COMMANDS,
    sort::COMMANDS,
    stream_claims::COMMANDS,
    stream_groups::COMMANDS,
    stream_info::COMMANDS,
    stream_reads::COMMANDS,
    streams::COMMANDS,
    strings::COMMANDS,
    transactions::COMMANDS,
    wait::COMMANDS,
    zset_algebra::COMMANDS,
    zset_pops::COMMANDS,
    zset_ranges::COMMANDS,
    zsets::COMMANDS,
];

/// The handler of a command that only exists through its subcommands; the dispatcher answers an
/// unknown one itself, so this is never reached.
fn container(_: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    Err(error::SYNTAX)
}
