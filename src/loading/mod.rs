//! Loading the data set: from the snapshot file or the append only file, at the start and on
//! demand. This is one of the feeders of commands, beside the connections.
//!
//! A snapshot is taken apart by one thread and decoded by others ([`snapshot`]). The commands of an
//! append only file are read by one thread ([`commands`]) and carried out by others, each for a
//! share of the shards ([`lanes`]). Meanwhile clients are refused all but a few commands.

pub mod commands;
pub mod lanes;
pub mod snapshot;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::persist::aof::files::{Files, Hooks, Plan, Severity};
use crate::server::aof::reason;
use crate::server::config::id;
use crate::server::{Server, Source, rewriting};
use crate::{log_debug, log_notice, log_warning};
use snapshot::{Duplicates, Target, Terms};

/// Loads what there is when the server starts, and begins to log if that is wanted.
///
/// # Errors
/// What keeps the server from starting.
pub fn at_start(server: &Arc<Server>) -> Result<(), String> {
    open_files(server)?;
    let start = Instant::now();
    if !server.config.bool(id::APPENDONLY) {
        let loaded = load_snapshot(server, Duplicates::Refused, true);
        if let Some(keys) = loaded.map_err(Refused::at_start)? {
            let seconds = start.elapsed().as_secs_f64();
            log_notice!("DB loaded from disk: {seconds:.3} seconds ({keys} keys)");
        }
        return Ok(());
    }
    let loaded = load_aof(server)?;
    if loaded > 0 {
        let seconds = start.elapsed().as_secs_f64();
        log_notice!("DB loaded from append only file: {seconds:.3} seconds");
    }
    rewriting::start(server, loaded)?;
    let mut setup = server.aof.setup();
    if let Some(files) = &mut setup.files
        && !server.config.bool(id::AOF_DISABLE_AUTO_GC)
    {
        // What stays is in nobody's way.
        let _ = files.delete_history();
    }
    Ok(())
}

/// Loads on demand, into databases that the caller has emptied.
///
/// # Errors
/// What could not be loaded.
pub fn on_demand(server: &Arc<Server>, source: Source) -> Result<(), String> {
    let loaded = match source {
        Source::Snapshot { strict } => {
            let duplicates = if strict {
                Duplicates::Refused
            } else {
                Duplicates::Replace
            };
            let loaded = load_snapshot(server, duplicates, false);
            loaded.map(drop).map_err(|refused| refused.0)
        }
        Source::Aof => {
            // Somebody may have changed the files meanwhile, which is why this is asked for.
            let read = server.aof.setup().files.as_mut().map(Files::reload);
            match read {
                Some(Err(_)) => {
                    Err("The manifest of the append only file cannot be read".to_owned())
                }
                _ => load_aof(server).map(drop),
            }
        }
    };
    loaded.inspect_err(|reason| log_warning!("{reason}"))
}

/// Reads the manifest of the append only file, whether it is to be used or not.
fn open_files(server: &Server) -> Result<(), String> {
    fn log(severity: Severity, line: &str) {
        match severity {
            Severity::Debug => log_debug!("{line}"),
            Severity::Notice => log_notice!("{line}"),
            Severity::Warning => log_warning!("{line}"),
        }
    }
    fn discard(file: File) {
        // Freeing the blocks of a large file takes time.
        let _ = std::thread::Builder::new().spawn(move || drop(file));
    }
    let hooks = Hooks { log, discard };
    let folder = server.config.str(id::APPENDDIRNAME);
    let stem = server.config.str(id::APPENDFILENAME);
    let files = Files::open(&PathBuf::new(), &folder, &stem, hooks);
    let files = files.map_err(|_| "The manifest of the append only file cannot be read")?;
    server.aof.setup().files = Some(files);
    Ok(())
}

/// Why the snapshot file is not loaded, and whether it could be read.
struct Refused(String, bool);

impl Refused {
    /// The last line in the log of a server that does not start.
    fn at_start(self) -> String {
        match self {
            Refused(_, true) => "Terminating server after rdb file reading failure.".to_owned(),
            Refused(reason, false) => reason,
        }
    }
}

/// Loads the snapshot file; with `restore`, the server takes up the history that it tells of. Returns
/// the number of its keys; `None` when there is no such file.
fn load_snapshot(
    server: &Arc<Server>,
    duplicates: Duplicates,
    restore: bool,
) -> Result<Option<u64>, Refused> {
    let name = server.config.str(id::DBFILENAME);
    let path = PathBuf::from(OsStr::from_bytes(&name));
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let reason = reason(&error);
            let reason =
                format!("Fatal error loading the DB, check server logs: {reason}. Exiting.");
            return Err(Refused(reason, false));
        }
    };
    let size = file.metadata().map_or(0, |data| data.len());
    let _ending = server.loading.begin(size);
    let terms = Terms {
        duplicates,
        // What has expired is for the primary to say.
        drop_expired: !server.replication.is_replica(),
        restore,
    };
    snapshot::load(server, &Target::of(server), file, terms).map_err(|error| {
        log_warning!("Error loading the snapshot {}: {error}", path.display());
        let reason = "Fatal error loading the DB, check server logs. Exiting.";
        Refused(reason.to_owned(), true)
    })?;
    server.saving.forget_changes(server);
    Ok(Some(server.loading.keys.load(Ordering::Relaxed)))
}

/// Loads the append only file; how many bytes it has.
fn load_aof(server: &Arc<Server>) -> Result<u64, String> {
    // Taken out for that time: others ask for the state meanwhile.
    let taken = server.aof.setup().files.take();
    let mut files = taken.ok_or("Fatal error loading the DB, check server logs. Exiting.")?;
    let loaded = load_parts(server, &mut files);
    server.aof.setup().files = Some(files);
    loaded
}

fn load_parts(server: &Arc<Server>, files: &mut Files) -> Result<u64, String> {
    let plan = files.plan();
    let plan = plan.map_err(|_| "Fatal error loading the DB, check server logs. Exiting.")?;
    let Plan::Load { parts, total } = plan else {
        return Ok(0);
    };
    if total == 0 {
        return Ok(0);
    }
    let _ending = server.loading.begin(total);
    for part in &parts {
        commands::load(server, files, part)?;
    }
    server.saving.forget_changes(server);
    Ok(total)
}
