//! `DEBUG RESTART` and `DEBUG CRASH-AND-RECOVER`: the server gives its place to another run of its
//! program, with the same arguments.
//!
//! The process stays the same, and so does its number unless the new run makes itself a daemon. All its
//! other threads end with it at once, and everything that is open is closed.

use std::time::Duration;

use super::config;
use super::error::{Error, Outcome};
use super::options::int;
use super::{Args, Ctx};
use crate::log_warning;
use crate::server::client::BLOCKED;
use crate::server::ending::{self, Manner};
use crate::server::process;
use crate::sys;

const FAILED: Error = Error::new("ERR failed to restart the server. Check server logs.");

/// `DEBUG RESTART [milliseconds]`: the configuration and the data set are brought to disk first. With
/// `orderly` unset `DEBUG CRASH-AND-RECOVER [milliseconds]`: they are not.
pub(super) fn restart(c: &mut Ctx<'_>, args: &Args<'_>, orderly: bool) -> Outcome {
    let delay = match args.len() {
        2 => 0,
        _ => int(args, 2)?.max(0) as u64,
    };
    if !process::can_start_again() {
        return Err(FAILED);
    }
    if orderly {
        end_in_order(c).map_err(|why| {
            log_warning!("Can't restart: {why}");
            FAILED
        })?;
    }
    let error = process::start_again(Duration::from_millis(delay));
    log_warning!("Can't restart: {error}");
    // In order or not, it has ended.
    sys::exit_now(1)
}

/// Brings to disk what is to be there, as `SHUTDOWN NOW` does.
fn end_in_order(c: &mut Ctx<'_>) -> Result<(), String> {
    if c.db.in_transaction {
        // It holds what the data set is saved with.
        return Err("this is a transaction".into());
    }
    if c.server.config_file.is_some() {
        let written = config::rewrite_file(c.server, false);
        written
            .unwrap_or_else(|_| Err("there is no file".into()))
            .map_err(|why| format!("configuration rewrite process failed: {why}"))?;
    }
    c.server.stats.pour(&mut c.session.tally);
    let manner = Manner {
        now: true,
        ..Manner::default()
    };
    // It may have to wait for another one.
    c.session.client.set(BLOCKED, true);
    let ready = ending::prepare(c.server, manner);
    c.session.client.set(BLOCKED, false);
    ready.map_err(|_| "error preparing for shutdown".to_owned())?;
    c.server.replication.replicas.flush(c.server);
    Ok(())
}
