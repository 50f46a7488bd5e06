//! What becomes of the server when a panic takes one of its own threads.
//!
//! A panic in a command ends one client's connection. Threads that serve no client are of two kinds:
//! without some the server would go on as a shell of itself, with clients that wait for ever for what
//! nobody does any more ([`essential`]), and some can be missed ([`expendable`], [`attempt`]). A panic in one of the
//! first kind ends the process, so that whoever supervises it starts it anew; so does one in the middle
//! of what must not be left half done, whichever thread does it ([`whole`]). The log gets a report
//! either way, of which the hook of panics has written the first part.
//!
//! What clients have been told is not lost by that: before the process ends, nothing may change any
//! more, and what has changed is brought into the append only file, unless the panic came where that
//! is written. Who waits there for `appendfsync always` gets no reply.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Builder;
use std::time::Duration;

use super::Server;
use super::config::id;
use super::pause::{Mode, Purpose};
use crate::store::Locks;
use crate::{log_warning, sys};

/// What the writing of the append only file is called.
pub const WRITER: &str = "aof";

/// What [`fall_over`] can be asked for.
pub const NAMES: &[&str] = &[
    WRITER,
    "housekeeping",
    "lazyfree",
    "link",
    "listener",
    "replica",
    "save",
    "sweeper",
];

/// How long a part of the end may take: what the panic has left locked must not keep the process.
const PATIENCE: Duration = Duration::from_secs(5);

/// The server of this process, and who writes the last part of a report.
static LAST_WORDS: OnceLock<(Weak<Server>, LastWords)> = OnceLock::new();

/// Writes the last part of a report on the loss of something; `true` when the server ends with it.
pub type LastWords = fn(&Server, &str, bool);

/// Which of [`NAMES`] is to panic, plus one (`DEBUG PANIC-THREAD`).
static DOOMED: AtomicUsize = AtomicUsize::new(0);

/// Sets what is to be looked after when a thread is lost.
pub fn watch_over(server: &Arc<Server>, last_words: LastWords) {
    let _ = LAST_WORDS.set((Arc::downgrade(server), last_words));
}

/// Starts a thread that the server cannot do without.
///
/// # Errors
/// There is none to be had.
pub fn essential(name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let own = name.to_owned();
    let thread = Builder::new().name(own.clone()).stack_size(stack);
    thread.spawn(move || whole(&own, body)).map(drop)
}

/// Does what nobody could take up again if it were left half done.
pub fn whole<T>(what: &str, body: impl FnOnce() -> T) -> T {
    // Nobody gets to see what a panic leaves behind.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| end(what))
}

/// Starts a thread that can be missed; `after` is called however it ends.
///
/// # Errors
/// There is none to be had.
pub fn expendable(
    name: &str,
    stack: usize,
    body: impl FnOnce() + Send + 'static,
    after: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let own = name.to_owned();
    let thread = Builder::new().name(own.clone()).stack_size(stack);
    let body = move || {
        // What the thread was about is given up as a whole by `after`.
        let panicked = catch_unwind(AssertUnwindSafe(body)).is_err();
        after();
        if panicked {
            say_last_words(&own, false);
        }
    };
    thread.spawn(body).map(drop)
}

/// Does something that may fail and be tried again; `None` when it has panicked.
pub fn attempt<T>(what: &str, body: impl FnOnce() -> T) -> Option<T> {
    // The caller takes it for a failure, and gives up what it was about.
    let done = catch_unwind(AssertUnwindSafe(body));
    done.inspect_err(|_| say_last_words(what, false)).ok()
}

/// Panics if this thread has been doomed, for tests. One relaxed load.
#[inline]
pub fn fall_over(name: &str) {
    if DOOMED.load(Ordering::Relaxed) != 0 {
        fall_over_if(name);
    }
}

#[cold]
fn fall_over_if(name: &str) {
    let number = NAMES.iter().position(|other| *other == name);
    let number = number.map_or(usize::MAX, |at| at + 1);
    let mine = DOOMED.compare_exchange(number, 0, Ordering::Relaxed, Ordering::Relaxed);
    assert!(mine.is_err(), "DEBUG PANIC-THREAD {name}");
}

/// Has a thread of that name panic when it next does something. Returns `false` if there is none.
pub fn doom(name: &str) -> bool {
    let found = NAMES.iter().position(|other| *other == name);
    if let Some(at) = found {
        DOOMED.store(at + 1, Ordering::Relaxed);
    }
    found.is_some()
}

/// Ends the process, which has lost something that it cannot do without.
#[cold]
fn end(what: &str) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    if ENDING.swap(true, Ordering::Relaxed) {
        // Another thread was quicker.
        loop {
            std::thread::park();
        }
    }
    let owned = what.to_owned();
    let done = within_patience(move || {
        let server = LAST_WORDS.get().and_then(|(server, _)| server.upgrade());
        if let Some(server) = server.filter(|_| owned != WRITER) {
            keep_what_was_told(&server);
        }
    });
    if !done {
        log_warning!("What changed last could not be written to the append only file");
    }
    let owned = what.to_owned();
    within_patience(move || say_last_words(&owned, true));
    let server = LAST_WORDS.get().and_then(|(server, _)| server.upgrade());
    if server.is_some_and(|server| server.config.bool(id::USE_EXIT_ON_PANIC)) {
        sys::exit_now(1);
    }
    // There has been a report.
    sys::report_crashes(false);
    std::process::abort()
}

/// Does something on a thread of its own, and waits for it, though not for long. Returns whether it
/// has been done.
fn within_patience(body: impl FnOnce() + Send + 'static) -> bool {
    let (give, take) = channel();
    let body = move || {
        body();
        let _ = give.send(());
    };
    let spawned = Builder::new().name("last-words".into()).spawn(body);
    // A panic in there drops the other end.
    spawned.is_ok() && take.recv_timeout(PATIENCE).is_ok()
}

fn say_last_words(what: &str, over: bool) {
    if let Some((server, last_words)) = LAST_WORDS.get()
        && let Some(server) = server.upgrade()
    {
        last_words(&server, what, over);
    }
}

/// Brings into the append only file what clients have been told has happened, and sees to it that
/// nothing more does.
fn keep_what_was_told(server: &Server) {
    if !server.log.has_file() {
        return;
    }
    server.pause.start(Purpose::Shutdown, i64::MAX, Mode::Write);
    let locks = Locks::all(&server.store, true);
    server.sealed.store(true, Ordering::Relaxed);
    drop(locks);
    server.aof.flush(server);
}
