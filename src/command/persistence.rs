//! Saving by command: SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF, and WAITAOF.
//!
//! How it is done is in [`crate::server::saving`].

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::blocking::timeout_ms;
use super::error::{Error, Outcome, SYNTAX};
use super::options::{int, is};
use super::spec::*;
use super::{Args, Ctx};
use crate::server::client::{BLOCKED, CLOSE_ASAP};
use crate::server::rewriting;
use crate::server::saving::{self, Kind, NotSaved};
use crate::sys;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("bgrewriteaof", 1, bgrewriteaof)
        .flags(ADMIN.or(NOSCRIPT).or(NO_ASYNC_LOADING))
        .docs(
            Group::Server,
            "1.0.0",
            "O(1)",
            "Writes the append only file anew, in the background",
        )
        .locking(Locking::None)
        .slow(),
    Command::new("bgsave", -1, bgsave)
        .flags(ADMIN.or(NOSCRIPT).or(NO_ASYNC_LOADING))
        .docs(
            Group::Server,
            "1.0.0",
            "O(1)",
            "Saves the data set to disk, in the background",
        )
        .args("[SCHEDULE@3.2.2]")
        .history(&[("3.2.2", "Option SCHEDULE")])
        .locking(Locking::None),
    Command::new("lastsave", 1, lastsave)
        .flags(LOADING.or(STALE).or(FAST))
        .acl(CAT_ADMIN.or(CAT_DANGEROUS))
        .docs(
            Group::Server,
            "1.0.0",
            "O(1)",
            "Tells the Unix time at which the data set was last saved",
        )
        .tips(&["nondeterministic_output"])
        .locking(Locking::None),
    Command::new("save", 1, save)
        .flags(ADMIN.or(NOSCRIPT).or(NO_ASYNC_LOADING).or(NO_MULTI))
        .docs(
            Group::Server,
            "1.0.0",
            "O(N), N the number of all keys",
            "Saves the data set to disk and waits for it",
        )
        .locking(Locking::None)
        .slow(),
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
        .locking(Locking::None)
        .slow(),
];

const SAVING: Error = Error::new("ERR Background save already in progress");
const REWRITING: Error =
    Error::new("ERR Background append only file rewriting already in progress");
const OTHER_JOB: Error = Error::new(
    "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in \
     order to schedule a BGSAVE whenever possible.",
);
const NO_REWRITE: Error = Error::new(
    "ERR Can't execute an AOF background rewriting. Please check the server logs for more \
     information.",
);
const FAILED: Error = Error::new("ERR");
const NO_AOF: Error =
    Error::new("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
const OUT_OF_RANGE: Error = Error::new("ERR value is out of range, must between 0 and 1");
const NOT_POSITIVE: Error = Error::new("ERR value is out of range, must be positive");

/// How often a client that waits is checked for being there.
const POLL: Duration = Duration::from_millis(50);

/// `SAVE`
fn save(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    // What this session has changed so far is among what is saved.
    c.server.stats.pour(&mut c.session.tally);
    match saving::save(c.server) {
        Ok(()) => c.out.ok(),
        Err(NotSaved::Busy(_)) => return Err(SAVING),
        Err(_) => return Err(FAILED),
    }
    Ok(())
}

/// `BGSAVE [SCHEDULE]`
fn bgsave(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let schedule = match args.len() {
        1 => false,
        2 if is(&args[1], "SCHEDULE") => true,
        _ => return Err(SYNTAX),
    };
    c.server.stats.pour(&mut c.session.tally);
    let current = c.server.saving.current().map(|job| job.kind);
    match current {
        Some(Kind::Save | Kind::Background) => return Err(SAVING),
        // The locks that the commands of a transaction hold are those that a snapshot needs.
        Some(Kind::Rewrite) | None if c.db.in_transaction || schedule && current.is_some() => {
            c.server.saving.schedule_save();
            c.out.simple("Background saving scheduled");
            return Ok(());
        }
        Some(Kind::Rewrite) => return Err(OTHER_JOB),
        None => {}
    }
    match saving::save_in_background(c.server) {
        Ok(()) => c.out.simple("Background saving started"),
        Err(NotSaved::Busy(Kind::Rewrite)) => return Err(OTHER_JOB),
        Err(NotSaved::Busy(_)) => return Err(SAVING),
        Err(_) => return Err(FAILED),
    }
    Ok(())
}

/// `BGREWRITEAOF`
fn bgrewriteaof(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let current = c.server.saving.current().map(|job| job.kind);
    let later = match current {
        Some(Kind::Rewrite) => return Err(REWRITING),
        Some(_) => true,
        None => c.db.in_transaction,
    };
    if later {
        c.server.saving.schedule_rewrite();
        c.out
            .simple("Background append only file rewriting scheduled");
        return Ok(());
    }
    match rewriting::rewrite_in_background(c.server) {
        Ok(()) => c
            .out
            .simple("Background append only file rewriting started"),
        Err(NotSaved::Busy(Kind::Rewrite)) => return Err(REWRITING),
        Err(NotSaved::Busy(_)) => {
            c.server.saving.schedule_rewrite();
            c.out
                .simple("Background append only file rewriting scheduled");
        }
        Err(_) => return Err(NO_REWRITE),
    }
    Ok(())
}

/// `LASTSAVE`
fn lastsave(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    c.out.int(c.server.saving.last_save.load(Ordering::Relaxed));
    Ok(())
}

/// `WAITAOF numlocal numreplicas timeout`
///
/// There are no replicas: a client that wants some waits for the end of its time.
fn waitaof(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let local = int(args, 1)?;
    if !(0..=1).contains(&local) {
        return Err(OUT_OF_RANGE);
    }
    let replicas = int(args, 2)?;
    if replicas < 0 {
        return Err(NOT_POSITIVE);
    }
    let timeout = timeout_ms(args, 3, c.db.now)?;
    if local > 0 && !c.server.log.has_file() {
        return Err(NO_AOF);
    }
    let offset = c.session.logged.file;
    let has =
        |server: &crate::server::Server| server.log.has_file() && server.aof.synced() >= offset;
    let enough = |server| replicas == 0 && (local == 0 || has(server));
    if !c.db.in_transaction && !enough(c.server) {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let client = &c.session.client;
        client.set(BLOCKED, true);
        while !enough(c.server)
            && deadline.is_none_or(|deadline| Instant::now() < deadline)
            && !client.has(CLOSE_ASAP)
            && !c.server.is_stopping()
            && !sys::peer_gone(&client.socket)
        {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let pause = left.map_or(POLL, |left| left.min(POLL));
            if local > 0 && !has(c.server) {
                c.server.aof.wait_synced(offset, pause);
            } else {
                std::thread::sleep(pause);
            }
        }
        client.set(BLOCKED, false);
        // To wait is not to work.
        c.session.clock.lap();
    }
    c.out.array(2);
    c.out.int(has(c.server).into());
    c.out.int(0);
    Ok(())
}
