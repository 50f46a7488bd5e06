//! `PSYNC` and `SYNC`: a client asks to become a replica.
//!
//! What it is sent from then on, the answer included, is the business of
//! [`crate::server::replication::replicas`].

use std::sync::atomic::Ordering;

use super::error::{Error, Outcome};
use super::options::{int, is};
use super::spec::*;
use super::{Args, Ctx, client_list};
use crate::server::client::MONITOR;
use crate::server::replication::replicas::{self, Introduction, Wants};
use crate::server::replication::{LinkState, failover};
use crate::store::Locks;
use crate::{log_notice, log_warning};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("psync", -3, psync)
        .flags(ADMIN.or(NOSCRIPT).or(NO_ASYNC_LOADING).or(NO_MULTI))
        .docs(
            Group::Server,
            "2.8.0",
            "",
            "Makes the connection that of a replica, which may go on from where it was",
        )
        .args("replicationid:string offset:integer")
        .locking(Locking::None)
        .slow(),
    Command::new("sync", 1, sync)
        .flags(ADMIN.or(NOSCRIPT).or(NO_ASYNC_LOADING).or(NO_MULTI))
        .docs(
            Group::Server,
            "1.0.0",
            "",
            "Makes the connection that of a replica, which gets everything anew",
        )
        .locking(Locking::None)
        .slow(),
];

const FAILING_OVER: Error = Error::new("NOMASTERLINK Can't SYNC while failing over");
const NO_LINK: Error = Error::new("NOMASTERLINK Can't SYNC while not connected with my master");
const PENDING_OUTPUT: Error = Error::new("ERR SYNC and PSYNC are invalid with pending output");
const FILTER_NEEDS_EOF: Error = Error::new("ERR Filtered replica requires EOF capability");
const NO_THREAD: Error = Error::new("ERR no thread can be started for the replica");

/// `PSYNC replicationid offset [FAILOVER]`
fn psync(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if !is_new(c) {
        return Ok(());
    }
    if args.len() > 3 && is(&args[3], "failover") {
        take_over(c, &args[1])?;
    }
    let said = check(c)?;
    let Ok(offset) = int(args, 2) else {
        log_warning!(
            "Replica {} asks for synchronization but with a wrong offset",
            replicas::name(&c.session.client, &said)
        );
        return Err(super::error::NOT_AN_INTEGER);
    };
    let stats = &c.server.stats;
    let history = &args[1];
    let resumed = replicas::resume(c.server, &c.session.client, &said, history, offset);
    if let Some(replica) = resumed.map_err(|_| NO_THREAD)? {
        stats.sync_partial_ok.fetch_add(1, Ordering::Relaxed);
        c.session.replica = Some(replica);
        return Ok(());
    }
    if history.first() != Some(&b'?') {
        stats.sync_partial_err.fetch_add(1, Ordering::Relaxed);
    }
    attach(c, &said, false)
}

/// `SYNC`
fn sync(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    if !is_new(c) {
        return Ok(());
    }
    let said = check(c)?;
    attach(c, &said, true)
}

/// Whether the client is no replica yet; a replica that asks again is not answered.
fn is_new(c: &Ctx<'_>) -> bool {
    c.session.replica.is_none() && !c.session.client.has(MONITOR)
}

/// The primary asks this replica to take its place.
fn take_over(c: &mut Ctx<'_>, history: &[u8]) -> Outcome {
    let who = client_list::describe(&c.session.client);
    // What the primary has sent before, on its other connection, comes first.
    failover::catch_up(c.server);
    let _locks = Locks::all(&c.server.store, true);
    failover::taken_over(c.server, history, &who).map_err(Error::new)
}

/// What must hold before a client can become a replica. Returns what it has said about itself.
fn check(c: &mut Ctx<'_>) -> Outcome<Introduction> {
    if c.server.replication.failover.is_active() {
        return Err(FAILING_OVER);
    }
    {
        let state = c.server.replication.state();
        if state.primary.is_some() && state.link.state != LinkState::Connected {
            return Err(NO_LINK);
        }
    }
    let client = &c.session.client;
    if !c.out.is_empty() || client.outbox.is_busy() {
        return Err(PENDING_OUTPUT);
    }
    let said = c.session.introduction.as_deref().cloned();
    let said = said.unwrap_or_default();
    // What is not everything is never put into the snapshot file.
    if said.wants != Wants::ALL && !said.eof {
        return Err(FILTER_NEEDS_EOF);
    }
    log_notice!(
        "Replica {} asks for synchronization",
        replicas::name(client, &said)
    );
    Ok(said)
}

/// The client gets a copy of the data set.
fn attach(c: &mut Ctx<'_>, said: &Introduction, old: bool) -> Outcome {
    c.server.stats.sync_full.fetch_add(1, Ordering::Relaxed);
    let replica = replicas::attach(c.server, &c.session.client, said, old);
    c.session.replica = Some(replica.map_err(|_| NO_THREAD)?);
    Ok(())
}
