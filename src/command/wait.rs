//! `WAIT` and `WAITAOF`: what the client has written is to be on replicas, or on disk, before it goes
//! on.

use std::sync::Arc;

use super::blocking::timeout_ms;
use super::error::{Error, Outcome};
use super::options::{int, int_within};
use super::spec::*;
use super::{Args, Ctx};
use crate::server::Server;
use crate::server::blocking::{Waiter, Wanted};
use crate::server::replication::waits::{Copies, NO_FILE};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("wait", 3, wait)
        .flags(NOSCRIPT)
        .acl(CAT_CONNECTION)
        .docs(
            Group::Generic,
            "3.0.0",
            "O(1)",
            "Waits until replicas have what the client has written",
        )
        .args("numreplicas:integer timeout:integer")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .locking(Locking::None),
    Command::new("waitaof", 4, waitaof)
        .flags(NOSCRIPT.or(BLOCKING))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Generic,
            "7.2.0",
            "O(1)",
            "Waits until what the client has written is in the append only file, here and on \
                replicas",
        )
        .args("numlocal:integer numreplicas:integer timeout:integer")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .locking(Locking::None),
];

const NOT_POSITIVE: Error = Error::new("ERR value is out of range, must be positive");
const NOT_ON_A_REPLICA: Error = Error::new(
    "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a \
     replica is configured to be writable (which is not the default) writes to replicas are just \
     local and are not propagated.",
);
const NOT_ON_A_REPLICA_AOF: Error = Error::new(
    "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas \
     are just local and are not propagated.",
);

/// `WAIT numreplicas timeout`
fn wait(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if c.server.replication.is_replica() {
        return Err(NOT_ON_A_REPLICA);
    }
    let replicas = int(args, 1)?;
    let timeout = timeout_ms(args, 2, c.db.now)?;
    let copies = Copies {
        before: c.session.logged,
        replicas,
        disks: None,
    };
    wait_for(c, copies, timeout);
    Ok(())
}

/// `WAITAOF numlocal numreplicas timeout`
fn waitaof(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let disks = int_within(args, 1, 0, 1)?;
    let replicas = int(args, 2)?;
    if replicas < 0 {
        return Err(NOT_POSITIVE);
    }
    let timeout = timeout_ms(args, 3, c.db.now)?;
    if c.server.replication.is_replica() {
        return Err(NOT_ON_A_REPLICA_AOF);
    }
    if disks > 0 && !c.server.log.has_file() {
        return Err(Error::new(NO_FILE));
    }
    let copies = Copies {
        before: c.session.logged,
        replicas,
        disks: Some(disks),
    };
    wait_for(c, copies, timeout);
    Ok(())
}

/// Replies at once where there is enough, or where nobody waits; else the client waits.
fn wait_for(c: &mut Ctx<'_>, copies: Copies, timeout: Option<std::time::Duration>) {
    let found = copies.find(c.server);
    if copies.is_met(found) || c.db.in_transaction {
        copies.reply(found, c.out);
        return;
    }
    c.db.block(std::iter::empty(), Wanted::Copies(copies), timeout);
}

/// The client has been registered, and begins to wait.
pub(super) fn begin(server: &Server, waiter: &Arc<Waiter>) {
    let replicas = &server.replication.replicas;
    replicas.waits.add(waiter);
    if let Wanted::Copies(copies) = &waiter.wanted
        && copies.replicas > 0
    {
        server.log.want_acks(copies.before.stream);
    }
    // What has come since it was looked for.
    replicas.waits.serve_one(server, waiter);
}
