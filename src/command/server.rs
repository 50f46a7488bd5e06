//! Commands about the server as a whole: its size, its clock, its end.

use super::error::{Error, Outcome, SYNTAX};
use super::options::is;
use super::spec::*;
use super::{Args, Ctx};
use crate::server::Stop;
use crate::server::client::BLOCKED;
use crate::server::ending::{self, Manner};
use crate::util::clock::now_us;
use crate::{log_notice, log_warning};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("dbsize", 1, dbsize)
        .flags(READONLY.or(FAST))
        .acl(CAT_KEYSPACE)
        .docs(
            Group::Server,
            "1.0.0",
            "O(1)",
            "Counts the keys of the current database",
        )
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .locking(Locking::None),
    Command::new("shutdown", -1, shutdown)
        .flags(
            ADMIN
                .or(NOSCRIPT)
                .or(LOADING)
                .or(STALE)
                .or(NO_MULTI)
                .or(ALLOW_BUSY),
        )
        .docs(
            Group::Server,
            "1.0.0",
            "O(N) when it saves, N the number of all keys",
            "Stops the server, after saving if so configured",
        )
        .args("[nosave_save:(NOSAVE | SAVE)] [NOW@7.0.0] [FORCE@7.0.0] [ABORT@7.0.0]")
        .history(&[("7.0.0", "Options NOW, FORCE and ABORT")])
        .locking(Locking::None)
        .slow(),
    Command::new("time", 1, time)
        .flags(LOADING.or(STALE).or(FAST))
        .docs(
            Group::Server,
            "2.6.0",
            "O(1)",
            "Tells the time of the server's clock",
        )
        .tips(&["nondeterministic_output"]),
];

const FAILED: Error = Error::new("ERR Errors trying to SHUTDOWN. Check logs.");
const NO_SHUTDOWN: Error = Error::new("ERR No shutdown in progress.");

/// `DBSIZE`
fn dbsize(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let keys = c.db.count();
    c.out.count(keys);
    Ok(())
}

/// `TIME`: seconds and microseconds.
fn time(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let now = now_us();
    c.out.array(2);
    c.out.bulk_int(now / 1_000_000);
    c.out.bulk_int(now % 1_000_000);
    Ok(())
}

/// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]`
///
/// A shutdown can be aborted as long as it waits: for its turn, or for replicas, which NOW skips.
fn shutdown(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (mut manner, mut abort) = (Manner::default(), false);
    for option in args.from(1) {
        match option {
            option if is(option, "SAVE") => manner.save = true,
            option if is(option, "NOSAVE") => manner.nosave = true,
            option if is(option, "NOW") => manner.now = true,
            option if is(option, "FORCE") => manner.force = true,
            option if is(option, "ABORT") => abort = true,
            _ => return Err(SYNTAX),
        }
    }
    if manner.save && manner.nosave || abort && manner != Manner::default() {
        return Err(SYNTAX);
    }
    if abort {
        let asked = c.server.asked.abort();
        if !c.server.grace.abort() && !asked {
            return Err(NO_SHUTDOWN);
        }
        log_notice!("Shutdown manually aborted.");
        c.out.ok();
        return Ok(());
    }
    c.server.stats.pour(&mut c.session.tally);
    // It may have to wait for replicas.
    c.session.client.set(BLOCKED, true);
    let ready = ending::prepare(c.server, manner);
    c.session.client.set(BLOCKED, false);
    ready.map_err(|_| {
        log_warning!("Errors trying to shut down the server. Check the logs for more information.");
        FAILED
    })?;
    // The end of the connection is the reply.
    c.session.close = true;
    c.server.stop(Stop::Command);
    Ok(())
}
