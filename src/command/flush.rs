//! Emptying databases, and exchanging them.
//!
//! All shards are locked while a database is taken out of them, which is quick; what was in it is
//! freed after they are released, here or, with ASYNC, in the background.

use super::error::{DB_OUT_OF_RANGE, Error, Outcome, SYNTAX};
use super::options::{int_or, is};
use super::spec::*;
use super::{Args, Ctx};
use crate::server::config::id;
use crate::server::{Server, saving};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("flushall", -1, flushall)
        .flags(WRITE)
        .acl(CAT_KEYSPACE.or(CAT_DANGEROUS))
        .docs(
            Group::Server,
            "1.0.0",
            "O(N), N the number of all keys",
            "Empties every database",
        )
        .args("[async:(ASYNC@4.0.0 | SYNC@6.2.0)]")
        .history(&[("4.0.0", "Option ASYNC"), ("6.2.0", "Option SYNC")])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .locking(Locking::AllWrite)
        .slow(),
    Command::new("flushdb", -1, flushdb)
        .flags(WRITE)
        .acl(CAT_KEYSPACE.or(CAT_DANGEROUS))
        .docs(
            Group::Server,
            "1.0.0",
            "O(N), N the number of keys in the database",
            "Empties the current database",
        )
        .args("[async:(ASYNC@4.0.0 | SYNC@6.2.0)]")
        .history(&[("4.0.0", "Option ASYNC"), ("6.2.0", "Option SYNC")])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .locking(Locking::AllWrite)
        .slow(),
    Command::new("swapdb", 3, swapdb)
        .flags(WRITE.or(FAST))
        .acl(CAT_KEYSPACE.or(CAT_DANGEROUS))
        .docs(
            Group::Server,
            "4.0.0",
            "O(N), N the number of clients watching or waiting for keys",
            "Exchanges the contents of two databases",
        )
        .args("index1:integer index2:integer")
        .locking(Locking::AllWrite),
];

/// `FLUSHDB [ASYNC | SYNC]`
fn flushdb(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let lazy = is_lazy(c, args)?;
    let number = c.db.number;
    c.db.flush(number, lazy);
    c.db.flushed();
    c.db.log_anyway();
    c.out.ok();
    Ok(())
}

/// `FLUSHALL [ASYNC | SYNC]`
fn flushall(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let lazy = is_lazy(c, args)?;
    for number in 0..c.server.store.databases() {
        c.db.flush(number, lazy);
    }
    c.db.flushed();
    c.db.log_anyway();
    // A feeder carries out what has been saved.
    c.db.emptied = !c.db.obeys;
    c.out.ok();
    Ok(())
}

/// What `FLUSHALL` does once no lock is held: what is being saved is out of date, and a start after a
/// crash must not bring back what has been deleted on purpose.
#[cold]
pub(super) fn save_emptied(server: &Server) {
    server.saving.cancel_save();
    if server.config.save_points().is_empty() {
        return;
    }
    if server.saving.is_busy() {
        // A rewrite would hold the client up for as long as it takes.
        server.saving.schedule_save();
        return;
    }
    // That it has failed the log has been told; the next save point tries again.
    let _ = saving::save(server);
}

/// Whether the memory is to be freed in the background.
fn is_lazy(c: &Ctx<'_>, args: &Args<'_>) -> Outcome<bool> {
    match args.len() {
        1 => Ok(c.server.config.bool(id::LAZYFREE_LAZY_USER_FLUSH)),
        2 if is(&args[1], "SYNC") => Ok(false),
        2 if is(&args[1], "ASYNC") => Ok(true),
        _ => Err(SYNTAX),
    }
}

/// `SWAPDB index1 index2`
fn swapdb(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let first = index(args, 1, Error::new("ERR invalid first DB index"))?;
    let second = index(args, 2, Error::new("ERR invalid second DB index"))?;
    let known = |number: i32| {
        let number = usize::try_from(number).ok()?;
        (number < c.server.store.databases()).then_some(number)
    };
    let (first, second) = known(first).zip(known(second)).ok_or(DB_OUT_OF_RANGE)?;
    c.db.swap(first, second);
    c.out.ok();
    Ok(())
}

fn index(args: &Args<'_>, at: usize, error: Error) -> Outcome<i32> {
    let number = int_or(args, at, error.clone())?;
    i32::try_from(number).map_err(|_| error)
}
