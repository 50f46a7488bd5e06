//! `DEBUG RELOAD` and `DEBUG LOADAOF`: the data set written to disk and loaded again.

use super::error::{Error, Outcome};
use super::options::is;
use super::{Args, Ctx, replacing};
use crate::log_warning;
use crate::server::{Source, saving};
use crate::store::Locks;

const OPTIONS: Error =
    Error::new("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.");
const NOT_SAVED: Error = Error::new("ERR");
const NOT_LOADED: Error = Error::new("ERR Error trying to load the RDB dump, check server logs.");
const AOF_NOT_LOADED: Error =
    Error::new("ERR Error trying to load the AOF files, check server logs.");
const INSIDE: Error = Error::new("ERR The data set cannot be loaded inside a transaction");

/// `DEBUG RELOAD [MERGE] [NOFLUSH] [NOSAVE]`
pub(super) fn reload(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (mut merge, mut flush, mut save) = (false, true, true);
    for option in args.from(2) {
        match option {
            option if is(option, "MERGE") => merge = true,
            option if is(option, "NOFLUSH") => flush = false,
            option if is(option, "NOSAVE") => save = false,
            _ => return Err(OPTIONS),
        }
    }
    if c.db.in_transaction {
        return Err(INSIDE);
    }
    if save {
        saving::save(c.server).map_err(|_| NOT_SAVED)?;
    }
    let source = Source::Snapshot { strict: !merge };
    load(c, source, flush).map_err(|_| NOT_LOADED)?;
    log_warning!("DB reloaded by DEBUG RELOAD");
    c.out.ok();
    Ok(())
}

/// `DEBUG LOADAOF`
pub(super) fn load_aof(c: &mut Ctx<'_>) -> Outcome {
    if c.db.in_transaction {
        return Err(INSIDE);
    }
    if c.server.log.has_file() {
        c.server.aof.flush(c.server);
    }
    load(c, Source::Aof, true).map_err(|_| AOF_NOT_LOADED)?;
    log_warning!("Append Only File loaded by DEBUG LOADAOF");
    c.out.ok();
    Ok(())
}

/// Loads, after the databases are emptied if they are to be. Nobody else changes anything
/// meanwhile, and nothing of it is logged.
fn load(c: &mut Ctx<'_>, source: Source, flush: bool) -> Result<(), String> {
    let ending = c.server.loading.begin(0);
    if flush {
        c.db.hold(Locks::all(&c.server.store, true));
        for number in 0..c.server.store.databases() {
            c.db.flush(number, true);
        }
        c.db.release();
    }
    let result = c.server.reload(source);
    drop(ending);
    replacing::note_waiting(&mut c.db);
    c.server.saving.forget_changes(c.server);
    result
}
