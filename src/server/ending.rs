//! The orderly end of the server: what is to be on disk before it is over.

use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::aof::{Fsync, policy};
use super::pause::{Mode, Purpose};
use super::process;
use super::saving::{self, NotSaved};
use super::{Server, config::id};
use crate::persist::aof::files::State;
use crate::{log_notice, log_warning};

/// How often one that waits for replicas looks after them.
const LOOK: Duration = Duration::from_millis(10);

/// How the server is to end.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Manner {
    /// Save even if no save points are set.
    pub save: bool,
    /// Do not save even if there are some.
    pub nosave: bool,
    /// End even if something cannot be written.
    pub force: bool,
    /// Do not wait for replicas.
    pub now: bool,
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

/// The time that replicas are given to catch up before the server ends.
#[derive(Default)]
pub struct Grace {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Whether it goes on.
    now: bool,
    /// When it is over at the latest.
    until: Option<Instant>,
    /// How often it was ended by somebody who wants the server to live on.
    aborts: u64,
}

impl Grace {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the end was called off.
    fn aborts(&self) -> u64 {
        self.lock().aborts
    }

    /// The time that replicas still have, if the end waits for them.
    pub fn left(&self) -> Option<Duration> {
        let state = self.lock();
        let until = state.until.filter(|_| state.now)?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Calls the end off, if it waits for replicas. Returns whether it does.
    pub fn abort(&self) -> bool {
        let mut state = self.lock();
        let waits = state.now;
        if waits {
            state.aborts += 1;
            drop(state);
            self.changed.notify_all();
        }
        waits
    }

    /// Waits until replicas have everything, or their time is over. Nothing is written meanwhile, nor
    /// afterwards. Returns the offset that they are to have; `None` when the end is called off.
    fn wait(&self, server: &Server) -> Option<u64> {
        let seconds = server.config.int(id::SHUTDOWN_TIMEOUT).max(0) as u64;
        let replicas = &server.replication.replicas;
        let end = server.log.stream_end();
        if seconds == 0 || replicas.lagging(end).is_empty() {
            return Some(end);
        }
        let deadline = Instant::now().checked_add(Duration::from_secs(seconds));
        let mut state = self.lock();
        let aborts = state.aborts;
        state.now = true;
        state.until = deadline;
        drop(state);
        server.pause.start(Purpose::Shutdown, i64::MAX, Mode::Write);
        log_notice!("Waiting for replicas before shutting down.");
        // What was not held up any more is done by the time that everything is locked.
        drop(crate::store::Locks::all(&server.store, true));
        let end = server.log.stream_end();
        server.log.want_acks(end);
        let late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let mut state = self.lock();
        while state.aborts == aborts && !late() && !replicas.lagging(end).is_empty() {
            let woken = self.changed.wait_timeout(state, LOOK);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.now = false;
        // That they are asked how far they are is in the stream as well, but that is nothing to wait for.
        (state.aborts == aborts).then_some(end)
    }
}

/// Tells the log how far replicas are from an offset when the server ends.
fn report_replicas(server: &Server, end: u64) {
    let all = server.replication.replicas.all();
    let lagging = server.replication.replicas.lagging(end);
    for replica in &lagging {
        log_warning!(
            "Lagging replica {} reported offset {} behind master, lag={}, state={}.",
            replica.name(),
            end - replica.ack_offset().min(end),
            replica.lag_seconds(),
            replica.state_name()
        );
    }
    let (count, well) = (all.len(), all.len() - lagging.len().min(all.len()));
    if count == 0 {
    } else if lagging.is_empty() {
        log_notice!("{well} of {count} replicas are in sync when shutting down.");
    } else {
        log_warning!("{well} of {count} replicas are in sync when shutting down.");
    }
}

/// Brings everything to disk that is to be there. Nothing changes behind the moment of which the
/// data set is saved; if that fails, everything goes on as before.
///
/// # Errors
/// Something cannot be written, and the server is not to end nevertheless. The log has been told.
pub fn prepare(server: &Server, manner: Manner) -> Result<(), Unwritten> {
    let aborts = server.grace.aborts();
    // One at a time: if one gives up, nothing may be sealed any more, but the other relies on it.
    let _turn = server.ending.lock().unwrap_or_else(PoisonError::into_inner);
    let result = match server.grace.aborts() == aborts {
        true => write_all(server, manner),
        // Whoever called the other one off meant this one as well.
        false => Err(Unwritten),
    };
    if result.is_err() {
        server.pause.end(Purpose::Shutdown);
    }
    result
}

fn write_all(server: &Server, manner: Manner) -> Result<(), Unwritten> {
    if server.loading.is_active() {
        // What is being loaded is on disk already.
        server.loading.cancel();
        return Ok(());
    }
    let end = match manner.now {
        true => server.log.stream_end(),
        false => server.grace.wait(server).ok_or(Unwritten)?,
    };
    report_replicas(server, end);
    // Before anything is given up: what is scheduled then would not come back.
    if server.aof.state() == State::Waiting && !manner.force {
        log_warning!("Writing initial AOF, can't exit");
        return Err(Unwritten);
    }
    // Whoever writes behind the moment of which everything is saved waits for how that ends.
    server.pause.start(Purpose::Shutdown, i64::MAX, Mode::Write);
    if server.saving.is_busy() {
        log_warning!("There is a child saving an .rdb or rewriting the AOF. Giving it up!");
        server.saving.cancel();
    }
    let wanted = manner.save || !manner.nosave && !server.config.save_points().is_empty();
    if wanted {
        log_notice!("Saving the final RDB snapshot before exiting.");
        process::tell("STATUS=Saving the final RDB snapshot\n");
        let saved = saving::save_and(server, || server.sealed.store(true, Ordering::Relaxed));
        if let Err(why) = saved {
            if let NotSaved::Busy(_) = why {
                log_warning!("The data set is being saved already");
            }
            log_warning!("Error trying to save the DB, can't exit.");
            process::tell("STATUS=Error trying to save the DB, can't exit.\n");
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
        now: has("now"),
    }
}
