//! stdis: a Redis-compatible server built from std alone.
//!
//! # The house, floor by floor
//!
//! A module may use the floors below it, never one above.
//!
//! | floor | module | what lives there |
//! | --- | --- | --- |
//! | 5 | [`boot`] | command line, start, orderly shutdown |
//! | 4 | [`net`] | listeners, the worker pool, the round, connections |
//! | 4 | [`loading`] | the data set from disk, at the start and on demand |
//! | 4 | [`replication`] | the replica's end of the link to its primary |
//! | 3 | [`command`] | the command table, the dispatcher, one file a family |
//! | 2 | [`server`] | what commands share: configuration, users, clients, who waits, watches, tracks and listens, statistics, background freeing |
//! | 1 | [`store`] | keys: shards, locks, the dict, expiry, snapshots |
//! | 0 | [`types`], [`resp`], [`persist`], [`util`], [`sys`] | pure code, and the calls std does not have |
//!
//! # The way of a command
//!
//! A [`net::listener`] thread accepts a client, registers it with [`server::clients`] and hands it
//! to the [`net::pool`] as a [`net::connection::Connection`]. A worker reads into a `BufReader`;
//! [`resp::Parser`] finds the arguments in place. [`command::dispatch::execute`] looks the command
//! up in the table, checks what must hold, locks exactly the shards of its keys, runs its handler,
//! serves those who wait for what it has brought, appends its effects to the [`server::log`], and
//! unlocks. Between `MULTI` and `EXEC` it queues instead, and `EXEC` takes the locks of all at once.
//! The handler reaches keys through [`command::Keyspace`] and writes its reply through
//! [`resp::Reply`]. When the input holds no further complete request, the replies leave in one
//! write; with `appendfsync always`, once the disk has what they promise. [`tour`] walks the whole way
//! with one `SET` and one `BLPOP`.
//!
//! # Threads
//!
//! Workers (at most `maxclients`) block in reads, one connection each. Busy connections move to the
//! threads of [`net::round`], which try them in turn without blocking. What a client's socket does
//! not take at once is written by a thread of its [`server::outbox`]. The sweeper
//! ([`store::sweep`]) removes expired keys, one thread frees large values
//! ([`server::lazyfree`]), and housekeeping in [`boot`] does what is due periodically. One writes the
//! append only file where no client waits for it ([`server::aof`]); a save or a rewrite has a thread
//! while it lasts ([`server::saving`], [`server::rewriting`]), a replica one that sends it what it gets
//! ([`server::replication::sender`]), and loading several
//! ([`loading::snapshot`], [`loading::lanes`]). Which of them the server cannot do without is in
//! [`server::threads`]; with `watchdog-period` there is one that looks for what takes long
//! ([`server::watchdog`]).

pub mod boot;
pub mod command;
pub mod loading;
pub mod net;
pub mod persist;
pub mod replication;
pub mod resp;
pub mod server;
pub mod store;
#[allow(unsafe_code)]
pub mod sys;
pub mod tour;
pub mod types;
pub mod util;

/// Counts what the process has allocated; see [`sys::used_memory`].
#[global_allocator]
static ALLOCATOR: sys::CountingAllocator = sys::CountingAllocator;
