//! Who follows whom: `REPLICAOF`, `SLAVEOF`, `ROLE`.
//!
//! What a change of the role entails is in [`crate::server::replication`].
//! <https://redis.io/docs/latest/commands/replicaof/>

use super::client_list;
use super::error::{Error, Outcome};
use super::options::{int_or, is};
use super::spec::*;
use super::{Args, Ctx};
use crate::log_notice;
use crate::server::client::REPLICA;
use crate::server::replication::{LinkState, Primary, follow, unfollow};
use crate::util::clock::now_ms;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("replicaof", 3, replicaof)
        .flags(ADMIN.or(NOSCRIPT).or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Server,
            "5.0.0",
            "O(1)",
            "Makes the server follow another one, or a primary of its own",
        )
        .args(ARGS)
        .locking(Locking::AllWrite),
    Command::new("role", 1, role)
        .flags(NOSCRIPT.or(LOADING).or(STALE).or(FAST))
        .acl(CAT_ADMIN.or(CAT_DANGEROUS))
        .docs(
            Group::Server,
            "2.8.12",
            "O(1)",
            "Tells whether the server is a primary or a replica, and how far it is",
        ),
    Command::new("slaveof", 3, replicaof)
        .flags(ADMIN.or(NOSCRIPT).or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Server,
            "1.0.0",
            "O(1)",
            "Makes the server follow another one, or a primary of its own",
        )
        .args(ARGS)
        .deprecated("5.0.0", "`REPLICAOF`")
        .locking(Locking::AllWrite),
];

const ARGS: &str = "args:(host-port:{host port:integer} | no-one:{NO ONE})";

const FAILING_OVER: Error = Error::new("ERR REPLICAOF not allowed while failing over.");
const IS_REPLICA: Error = Error::new("ERR Command is not valid when client is a replica.");
const BAD_PORT: Error = Error::new("ERR Invalid master port");

/// `REPLICAOF host port`, `REPLICAOF NO ONE`
fn replicaof(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let server = c.server;
    let replication = &server.replication;
    if replication.failover.is_active() {
        return Err(FAILING_OVER);
    }
    // What a transaction has done so far belongs to the history that ends.
    if is(&args[1], "no") && is(&args[2], "one") {
        if replication.is_replica() {
            c.db.end_step();
            unfollow(server);
            let who = describe(c, args);
            log_notice!("MASTER MODE enabled (user request from '{who}')");
        }
        c.out.ok();
        return Ok(());
    }
    if c.session.client.has(REPLICA) {
        return Err(IS_REPLICA);
    }
    let port = int_or(args, 2, BAD_PORT)?;
    let port = u16::try_from(port).map_err(|_| BAD_PORT)?;
    let host = String::from_utf8_lossy(&args[1]).into_owned();
    let current = replication.state().primary.clone();
    if current.is_some_and(|now| now.host.eq_ignore_ascii_case(&host) && now.port == port) {
        log_notice!(
            "REPLICAOF would result into synchronization with the master we are already connected \
             with. No operation performed."
        );
        c.out.simple("OK Already connected to specified master");
        return Ok(());
    }
    c.db.end_step();
    let primary = Primary {
        host: host.clone(),
        port,
    };
    follow(server, primary, now_ms());
    let who = describe(c, args);
    log_notice!("REPLICAOF {host}:{port} enabled (user request from '{who}')");
    c.out.ok();
    Ok(())
}

/// The client as `CLIENT LIST` shows it, for the log.
pub(super) fn describe(c: &Ctx<'_>, args: &Args<'_>) -> String {
    let mut line = Vec::new();
    client_list::line(&mut line, &c.session.client, now_ms(), Some(args));
    String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
}

/// `ROLE`
fn role(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let replication = &c.server.replication;
    let state = replication.state();
    let offset = c.server.log.stream_end() as i64;
    if let Some(primary) = &state.primary {
        let link = match state.link.state {
            LinkState::None => "none",
            LinkState::Connect => "connect",
            LinkState::Connecting => "connecting",
            LinkState::Handshake => "handshake",
            LinkState::Transfer => "sync",
            LinkState::Connected => "connected",
        };
        let connected = state.link.state == LinkState::Connected;
        c.out.array(5);
        c.out.bulk(b"slave");
        c.out.bulk(primary.host.as_bytes());
        c.out.int(i64::from(primary.port));
        c.out.bulk(link.as_bytes());
        c.out.int(if connected { offset } else { -1 });
        return Ok(());
    }
    drop(state);
    let mut replicas = replication.replicas.all();
    replicas.retain(|replica| replica.is_online());
    c.out.array(3);
    c.out.bulk(b"master");
    c.out.int(offset);
    c.out.array(replicas.len());
    for replica in replicas {
        c.out.array(3);
        c.out.bulk(replica.ip().as_bytes());
        c.out.bulk_int(i64::from(replica.port()));
        c.out.bulk_int(replica.ack_offset() as i64);
    }
    Ok(())
}
