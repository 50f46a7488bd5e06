//! Saving by command: SAVE, BGSAVE, LASTSAVE, and BGREWRITEAOF.
//!
//! How it is done is in [`crate::server::saving`].

use std::sync::atomic::Ordering;

use super::error::{Error, Outcome, SYNTAX};
use super::options::is;
use super::spec::*;
use super::{Args, Ctx};
use crate::server::rewriting;
use crate::server::saving::{self, Kind, NotSaved};

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
