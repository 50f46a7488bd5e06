//! Writing the append only file anew, and switching it on and off.
//!
//! A rewrite makes a new base from a snapshot of the store; what happens after its instant goes to
//! a new increment. The manifest names the increment before the first byte is written to it, so
//! that whatever happens to the rewrite, what is on disk can be loaded. Switching the file on is a
//! rewrite as well: until it is done, what happens goes to a temporary increment.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Server;
use super::aof::Setup;
use super::config::id;
use super::saving::{self, Kind, NotSaved, Speed};
use super::threads;
use crate::persist::aof::files::State;
use crate::persist::rdb::file::{Options, Target};
use crate::store::Locks;
use crate::util::clock::now_ms;
use crate::{log_notice, log_warning};

/// Starts to write the append only file anew in the background.
///
/// # Errors
/// Something else is being saved, or it cannot be started; the log has been told why.
pub fn rewrite_in_background(server: &Arc<Server>) -> Result<(), NotSaved> {
    let saving = &server.saving;
    saving.begin(Kind::Rewrite, false)?;
    saving.rewrite.begin();
    saving.unschedule_rewrite();
    let started = prepare(server).and_then(|plan| {
        let shared = server.clone();
        let spawned = saving::spawn("rewrite", move || run(&shared, plan));
        spawned.map_err(|error| {
            log_warning!("Can't rewrite append only file in background: {error}");
            NotSaved::Failed(error.to_string())
        })
    });
    if let Err(why) = started {
        saving.rewrite.note(false, 0, 0);
        saving.end();
        return Err(why);
    }
    log_notice!(
        "Background append only file rewriting started by pid {}",
        std::process::id()
    );
    Ok(())
}

/// What a rewrite has to know.
#[derive(Clone)]
struct Plan {
    state: State,
    /// The number of the new increment, if there is one.
    increment: Option<u64>,
    temp: PathBuf,
    rdb: bool,
}

/// Readies the new increment.
fn prepare(server: &Server) -> Result<Plan, NotSaved> {
    let aof = &server.aof;
    if server.log.has_file() {
        // The writer has gone over to the file in use by then: the log remembers one switch only.
        aof.flush(server);
    }
    let mut setup = aof.setup();
    let state = setup.state;
    let files = setup.files.as_mut().ok_or_else(no_files)?;
    let file = files.begin_rewrite(state);
    let file = file.map_err(|_| NotSaved::Failed("no increment".to_owned()))?;
    let temp = files.temp_base();
    let increment = file.map(|file| aof.prepare(file));
    Ok(Plan {
        state,
        increment,
        temp,
        rdb: server.config.bool(id::AOF_USE_RDB_PREAMBLE),
    })
}

fn no_files() -> NotSaved {
    NotSaved::Failed("the append only file cannot be used".to_owned())
}

/// The thread of a rewrite.
fn run(server: &Server, plan: Plan) {
    let ending = saving::Ending::of(&server.saving);
    let start = now_ms();
    let written = saving::attempt("rewrite", || write_base(server, &plan));
    // The files are exchanged as a whole, or it is found out at the next start how far that has come.
    let result = written.and_then(|()| threads::whole("rewrite", || finish(server, &plan)));
    let copied = server.saving.copied();
    let seconds = (now_ms() - start) / 1000;
    match result {
        Ok(()) => server.saving.rewrite.note(true, seconds, copied),
        Err(why) => {
            abandon(server, &plan);
            if let NotSaved::Cancelled = why {
                log_warning!("Background AOF rewrite was cancelled");
            } else {
                log_warning!("Background AOF rewrite terminated with error");
                server.saving.rewrite.note(false, seconds, copied);
            }
        }
    }
    drop(ending);
    if server.aof.state() == State::Waiting {
        // Until there is a base, nothing is safe.
        server.saving.schedule_rewrite();
    }
}

/// Writes the base to a temporary file.
fn write_base(server: &Server, plan: &Plan) -> Result<(), NotSaved> {
    let at_instant = || {
        if let Some(number) = plan.increment {
            server.log.switch(number);
            server.aof.refresh(server);
        }
    };
    if plan.rdb {
        let options = Options {
            checksum: server.config.bool(id::RDBCHECKSUM),
            incremental_sync: server.config.bool(id::AOF_REWRITE_INCREMENTAL_FSYNC),
        };
        let mut target = create(&plan.temp, options)?;
        saving::write_snapshot(server, &mut target, Speed::Gentle, true, at_instant)?;
        return target.finish().map(drop).map_err(saving::failed);
    }
    saving::write_commands(server, &plan.temp, at_instant)
}

fn create(path: &Path, options: Options) -> Result<Target, NotSaved> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let target = Target::create(dir.unwrap_or(Path::new(".")), &name, options);
    target.map_err(saving::failed)
}

/// Makes the base part of what is loaded.
fn finish(server: &Server, plan: &Plan) -> Result<(), NotSaved> {
    // What was logged before the switch is on disk before the manifest says that it is not needed.
    server.aof.flush(server);
    let mut setup = server.aof.setup();
    if setup.state != plan.state {
        // Switched off meanwhile.
        return Err(NotSaved::Cancelled);
    }
    let files = setup.files.as_mut().ok_or_else(no_files)?;
    let keep = server.config.bool(id::AOF_DISABLE_AUTO_GC);
    let start = Instant::now();
    let size = files.finish_rewrite(&plan.temp, plan.state, plan.rdb, keep);
    let took = start.elapsed();
    server.latency.note(&server.config, "aof-rename", took);
    let size = size.map_err(|_| NotSaved::Failed("the files cannot be exchanged".to_owned()))?;
    if setup.state == State::Waiting {
        setup.state = State::On;
    }
    if setup.state == State::On {
        server.aof.rebase(size);
    }
    Ok(())
}

fn abandon(server: &Server, plan: &Plan) {
    let mut setup = server.aof.setup();
    if let Some(files) = &mut setup.files {
        files.abandon_rewrite(&plan.temp, plan.state);
    }
}

/// Switches the append only file on: from the instant of a first rewrite on, everything is logged.
///
/// # Errors
/// The rewrite cannot be started.
pub fn switch_on(server: &Arc<Server>) -> Result<(), String> {
    server.aof.setup().state = State::Waiting;
    if server.saving.cancel_rewrite() {
        log_warning!(
            "AOF was enabled but there is already an AOF rewriting in background. Stopping it and starting a rewrite now."
        );
    }
    match rewrite_in_background(server) {
        Ok(()) => Ok(()),
        Err(NotSaved::Busy(_)) => {
            server.saving.schedule_rewrite();
            log_notice!(
                "AOF was enabled but there is already another background operation. An AOF background was scheduled to start when possible."
            );
            Ok(())
        }
        Err(_) => {
            server.aof.setup().state = State::Off;
            log_warning!(
                "Redis needs to enable the AOF but can't trigger a background AOF rewrite operation. Check the above logs for more info about the error."
            );
            Err("Unable to turn on AOF. Check server logs.".to_owned())
        }
    }
}

/// Switches the append only file off, after everything logged so far has been written.
pub fn switch_off(server: &Server) {
    server.aof.setup().state = State::Off;
    server.saving.cancel_rewrite();
    let locks = Locks::all(&server.store, true);
    server.log.end_log();
    drop(locks);
    server.aof.close(server);
}

/// Starts to log, at the start of the server, when nothing can change yet; `loaded` bytes of files
/// have been loaded.
///
/// # Errors
/// The files cannot be made; the log has been told why.
pub fn start(server: &Server, loaded: u64) -> Result<(), String> {
    let mut setup = server.aof.setup();
    let Setup { files, state } = &mut *setup;
    let files = files.as_mut().ok_or("Can't open the append-only file")?;
    let rdb = server.config.bool(id::AOF_USE_RDB_PREAMBLE);
    let opened = files.open_at_start(rdb, |file| {
        // Where there was nothing to load, the base is empty.
        let base = if rdb {
            saving::empty_snapshot(server)
        } else {
            Vec::new()
        };
        file.write_all(&base)
    });
    let opened = opened.map_err(|_| "Can't open the append-only file")?;
    *state = State::On;
    server.aof.measure(loaded);
    let number = server.aof.prepare(opened.file);
    drop(setup);
    let locks = Locks::all(&server.store, true);
    server.log.switch(number);
    drop(locks);
    server.aof.refresh(server);
    Ok(())
}

/// Whether the file has grown so much that it is to be rewritten.
pub fn is_due(server: &Server) -> bool {
    let percentage = server.config.int(id::AUTO_AOF_REWRITE_PERCENTAGE) as u64;
    let least = server.config.memory(id::AUTO_AOF_REWRITE_MIN_SIZE);
    let size = server.aof.size.load(Ordering::Relaxed);
    if percentage == 0 || size <= least || server.aof.state() != State::On {
        return false;
    }
    let base = server.aof.base_size.load(Ordering::Relaxed).max(1);
    let growth = (size * 100 / base).saturating_sub(100);
    if growth >= percentage && !is_held_back(server) {
        log_notice!("Starting automatic rewriting of AOF on {growth}% growth");
        return true;
    }
    false
}

/// So many failures in a row make automatic rewrites wait.
const FAILURES: u64 = 3;
/// The longest wait, in minutes.
const LONGEST: i64 = 60;

/// Whether rewrites have failed so often that the next, unless somebody asks for it, has to wait:
/// each leaves an increment behind. The wait doubles each time.
pub fn is_held_back(server: &Server) -> bool {
    let rewrite = &server.saving.rewrite;
    let failures = rewrite.failures.load(Ordering::Relaxed);
    if failures < FAILURES {
        return false;
    }
    let delay = 1i64.checked_shl((failures - FAILURES).min(6) as u32);
    let delay = delay.unwrap_or(LONGEST).min(LONGEST);
    if now_ms() / 1000 - rewrite.tried() >= delay * 60 {
        return false;
    }
    if rewrite.complain(failures) {
        log_warning!(
            "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {delay} minutes"
        );
    }
    true
}
