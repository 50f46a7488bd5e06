//! The orderly end of the server: what is to be on disk before it is over.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::aof::{Fsync, policy};
use super::saving::{self, NotSaved};
use super::{Server, config::id};
use crate::persist::aof::files::State;
use crate::{log_notice, log_warning};

/// How the server is to end.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Manner {
    /// Save even if no save points are set.
    pub save: bool,
    /// Do not save even if there are some.
    pub nosave: bool,
    /// End even if something cannot be written.
    pub force: bool,
}

/// The server is not to end: something cannot be written. The log has been told what.
#[derive(Debug)]
pub struct Unwritten;

/// Whether a signal has asked for the end.
#[derive(Default)]
pub struct Asked(Mutex<(u64, Stage)>);

/// How far the end is that was asked for last, which has a number.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    None,
    Waiting,
    UnderWay,
}

impl Asked {
    /// A signal asks. Returns the number of its wish; `None` if another is waiting or under way.
    pub fn ask(&self) -> Option<u64> {
        let (number, stage) = &mut *self.lock();
        if *stage != Stage::None {
            return None;
        }
        *number += 1;
        *stage = Stage::Waiting;
        Some(*number)
    }

    /// Whether the wish still waits.
    pub fn is_waiting(&self, wish: u64) -> bool {
        *self.lock() == (wish, Stage::Waiting)
    }

    /// Begins to fulfil the wish. Returns `false` when it has been taken back.
    pub fn begin(&self, wish: u64) -> bool {
        let mut asked = self.lock();
        let waits = *asked == (wish, Stage::Waiting);
        if waits {
            asked.1 = Stage::UnderWay;
        }
        waits
    }

    /// It could not be fulfilled.
    pub fn give_up(&self) {
        self.lock().1 = Stage::None;
    }

    /// Takes a wish back, if one waits.
    pub fn abort(&self) -> bool {
        let stage = &mut self.lock().1;
        let waits = *stage == Stage::Waiting;
        if waits {
            *stage = Stage::None;
        }
        waits
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Stage)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings everything to disk that is to be there. Nothing changes behind the moment of which the
/// data set is saved; if that fails, everything goes on as before.
///
/// # Errors
/// Something cannot be written, and the server is not to end nevertheless. The log has been told.
pub fn prepare(server: &Server, manner: Manner) -> Result<(), Unwritten> {
    // One at a time: if one gives up, nothing may be sealed any more, but the other relies on it.
    let _turn = server.ending.lock().unwrap_or_else(PoisonError::into_inner);
    if server.loading.is_active() {
        // What is being loaded is on disk already.
        server.loading.cancel();
        return Ok(());
    }
    // Before anything is given up: what is scheduled then would not come back.
    if server.aof.state() == State::Waiting && !manner.force {
        log_warning!("Writing initial AOF, can't exit");
        return Err(Unwritten);
    }
    if server.saving.is_busy() {
        log_warning!("There is a child saving an .rdb or rewriting the AOF. Giving it up!");
        server.saving.cancel();
    }
    let wanted = manner.save || !manner.nosave && !server.config.save_points().is_empty();
    if wanted {
        log_notice!("Saving the final RDB snapshot before exiting.");
        let saved = saving::save_and(server, || server.sealed.store(true, Ordering::Relaxed));
        if let Err(why) = saved {
            if let NotSaved::Busy(_) = why {
                log_warning!("The data set is being saved already");
            }
            log_warning!("Error trying to save the DB, can't exit.");
            if !manner.force {
                server.sealed.store(false, Ordering::Relaxed);
                return Err(Unwritten);
            }
        }
    }
    if server.log.has_file() {
        log_notice!("Calling fsync() on the AOF file.");
        let locks = crate::store::Locks::all(&server.store, true);
        server.sealed.store(true, Ordering::Relaxed);
        drop(locks);
        server.aof.flush(server);
        if server.aof.failure().is_some() && policy(server) != Fsync::No && !manner.force {
            log_warning!("Error writing the AOF, can't exit.");
            server.sealed.store(false, Ordering::Relaxed);
            return Err(Unwritten);
        }
    }
    Ok(())
}

/// How a signal ends the server, as an option says.
pub fn by_signal(server: &Server, interrupt: bool) -> Manner {
    let option = match interrupt {
        true => id::SHUTDOWN_ON_SIGINT,
        false => id::SHUTDOWN_ON_SIGTERM,
    };
    let text = server.config.show(option);
    let has = |word: &str| text.split(|&b| b == b' ').any(|one| one == word.as_bytes());
    Manner {
        save: has("save"),
        nosave: has("nosave"),
        force: has("force"),
    }
}
