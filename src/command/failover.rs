//! `FAILOVER`: has a replica take the place of this primary.
//!
//! How that goes on is in [`crate::server::replication::failover`].
//! <https://redis.io/docs/latest/commands/failover/>

use super::error::{Error, Outcome, SYNTAX};
use super::options::{int, is};
use super::spec::*;
use super::{Args, Ctx};
use crate::server::replication::Primary;
use crate::server::replication::failover::{self, Wish};
use crate::util::clock::steady_ms;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("failover", -1, failover)
    .flags(ADMIN.or(NOSCRIPT).or(STALE))
    .docs(
        Group::Server,
        "6.2.0",
        "O(1)",
        "Hands the role of the primary over to a replica",
    )
    .args("[TO target:{host port:integer [FORCE]}] [ABORT] [TIMEOUT milliseconds:integer]")
    .locking(Locking::AllWrite)];

const NONE_UNDER_WAY: Error = Error::new("ERR No failover in progress.");
const UNDER_WAY: Error = Error::new("ERR FAILOVER already in progress.");
const BAD_TIMEOUT: Error = Error::new("ERR FAILOVER timeout must be greater than 0");
const IS_REPLICA: Error = Error::new("ERR FAILOVER is not valid when server is a replica.");
const NO_REPLICAS: Error = Error::new("ERR FAILOVER requires connected replicas.");
const FORCED_WITHOUT: Error =
    Error::new("ERR FAILOVER with force option requires both a timeout and target HOST and IP.");
const NO_SUCH_REPLICA: Error = Error::new("ERR FAILOVER target HOST and PORT is not a replica.");
const NOT_ONLINE: Error = Error::new("ERR FAILOVER target replica is not online.");

/// `FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]`
fn failover(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (server, replication) = (c.server, &c.server.replication);
    if args.len() == 2 && is(&args[1], "abort") {
        if !replication.failover.is_active() {
            return Err(NONE_UNDER_WAY);
        }
        failover::abort(server, "Failover manually aborted");
        c.out.ok();
        return Ok(());
    }
    let (mut wish, mut port, mut at) = (Wish::default(), 0, 1);
    while at < args.len() {
        let left = args.len() - 1 - at;
        if is(&args[at], "timeout") && left >= 1 && wish.until.is_none() {
            let timeout = int(args, at + 1)?;
            if timeout <= 0 {
                return Err(BAD_TIMEOUT);
            }
            wish.until = Some(steady_ms().saturating_add(timeout));
            at += 2;
        } else if is(&args[at], "to") && left >= 2 && wish.target.is_none() {
            port = int(args, at + 2)?;
            let host = String::from_utf8_lossy(&args[at + 1]).into_owned();
            wish.target = Some(Primary {
                host,
                // One that is none is nobody's, which is found out below.
                port: u16::try_from(port).unwrap_or(0),
            });
            at += 3;
        } else if is(&args[at], "force") && !wish.force {
            wish.force = true;
            at += 1;
        } else {
            return Err(SYNTAX);
        }
    }
    if replication.failover.is_active() {
        return Err(UNDER_WAY);
    }
    if replication.is_replica() {
        return Err(IS_REPLICA);
    }
    if replication.replicas.is_empty() {
        return Err(NO_REPLICAS);
    }
    if wish.force && (wish.until.is_none() || wish.target.is_none()) {
        return Err(FORCED_WITHOUT);
    }
    if let Some(target) = &wish.target {
        let mut replicas = replication.replicas.all().into_iter();
        let found = replicas.find(|replica| {
            failover::is_at(target, &replica.ip(), replica.port()) && i64::from(target.port) == port
        });
        let found = found.ok_or(NO_SUCH_REPLICA)?;
        if !found.is_online() {
            return Err(NOT_ONLINE);
        }
    }
    // What a transaction has done so far is to reach the replica.
    c.db.end_step();
    failover::begin(server, wish);
    c.out.ok();
    Ok(())
}
