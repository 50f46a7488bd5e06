//! The watchdog: where a command takes longer than `watchdog-period`, the log is told what its thread
//! is doing just then.
//!
//! While the option is set there is a thread that looks, a few times in each period, at what every
//! thread that serves clients has noted ([`sys::busy_threads`]); the notes are the same whether somebody
//! looks or not. The stack comes from the busy thread itself, to which a signal is sent. A client that
//! waits, for keys or replicas or the end of a pause, keeps nobody busy.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::client::BLOCKED;
use super::config::id;
use super::{Server, logger, threads};
use crate::sys::{self, Busy};

/// How often it looks within a period.
const LOOKS: u64 = 8;
/// How long a thread is given to tell what it is doing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Stack of the thread, in bytes.
const STACK: usize = 128 << 10;

/// The state of the watchdog.
#[derive(Default)]
pub struct Watchdog {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The number of the thread that there is.
    runs: Option<u64>,
    /// How many there have been.
    started: u64,
}

impl Watchdog {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Since when a thread has been seen carrying out the same command.
struct Suspect {
    since: Instant,
    /// Whether the log has been told.
    told: bool,
}

/// Does as `watchdog-period` says, which may have changed. A period that is too short to be kept is
/// made longer, as in Redis.
///
/// # Errors
/// There is no thread to be had.
pub fn refresh(server: &Arc<Server>) -> io::Result<()> {
    let period = server.config.int(id::WATCHDOG_PERIOD);
    let least = 1000 / server.config.int(id::HZ).max(1) * 2;
    if period > 0 && period < least {
        server.config.adjust(id::WATCHDOG_PERIOD, least);
    }
    let watchdog = &server.watchdog;
    let mut state = watchdog.lock();
    if period > 0 && state.runs.is_none() {
        sys::show_stacks(true)?;
        let number = state.started + 1;
        let (mine, theirs) = (server.clone(), server.clone());
        // One that was lost is replaced when the option is set the next time.
        let after = move || {
            theirs.watchdog.lock().runs.take_if(|at| *at == number);
        };
        threads::expendable("watchdog", STACK, move || run(&mine), after)?;
        state.started = number;
        state.runs = Some(number);
    }
    drop(state);
    watchdog.changed.notify_all();
    Ok(())
}

/// The thread's life.
fn run(server: &Server) {
    let watchdog = &server.watchdog;
    let mut suspects = BTreeMap::new();
    loop {
        let mut state = watchdog.lock();
        // Under the lock, so that whoever sets it anew finds this one or none.
        let period = server.config.int(id::WATCHDOG_PERIOD).max(0) as u64;
        if period == 0 {
            state.runs = None;
            // A signal from elsewhere is to do no harm.
            let _ = sys::show_stacks(false);
            return;
        }
        let pause = Duration::from_millis((period / LOOKS).clamp(1, 1000));
        drop(watchdog.changed.wait_timeout(state, pause));
        look(server, Duration::from_millis(period), &mut suspects);
    }
}

/// Looks at all threads, and tells the log of those that have been at the same command for a period.
fn look(server: &Server, period: Duration, suspects: &mut BTreeMap<i32, Suspect>) {
    let all = sys::busy_threads();
    suspects.retain(|thread, _| all.iter().any(|busy| busy.thread == *thread));
    let now = Instant::now();
    for busy in &all {
        let first = Suspect {
            since: now,
            told: false,
        };
        let suspect = match suspects.get_mut(&busy.thread) {
            Some(suspect) if busy.still && !waits(server, busy) => suspect,
            _ => {
                suspects.insert(busy.thread, first);
                continue;
            }
        };
        let took = now - suspect.since;
        if took >= period && !std::mem::replace(&mut suspect.told, true) {
            tell(server, busy, took);
        }
    }
}

/// Whether the command does nothing but wait until it may go on.
fn waits(server: &Server, busy: &Busy) -> bool {
    let client = server.clients.get(busy.client);
    client.is_some_and(|client| client.has(BLOCKED))
}

/// Tells the log what a thread is doing, in the frame that Redis gives it.
fn tell(server: &Server, busy: &Busy, took: Duration) {
    let stack = sys::stack_of(busy.thread, PATIENCE);
    let mut text = String::from("\n--- WATCHDOG TIMER EXPIRED ---\n");
    // Writing to a String does not fail.
    let _ = match (busy.client, server.clients.get(busy.client)) {
        (0, _) => write!(text, "The link to the primary"),
        (number, None) => write!(text, "Client {number}"),
        (number, Some(client)) => write!(text, "Client {number} ({})", client.address.peer),
    };
    let _ = write!(
        text,
        " has been at command {} for {} ms",
        busy.command,
        took.as_millis()
    );
    if !busy.part.is_empty() {
        let _ = write!(text, ", at {} now", busy.part);
    }
    let _ = write!(
        text,
        "\nThread: {} ({})\n\n------ STACK TRACE ------\nBacktrace:\n",
        busy.name, busy.thread
    );
    match stack {
        Some(lines) => text.push_str(&lines.join("\n")),
        None => text.push_str("The thread does not tell."),
    }
    logger::log_signal(&text);
    logger::log_signal("--------\n");
}
