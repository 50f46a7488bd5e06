//! The one way in which a command is carried out.
//!
//! Look up → arity → authentication and state checks → pause → lock the shards of its keys → run →
//! serve those who wait for its keys → unlock → statistics. Whoever feeds commands in, calls
//! [`execute`], and [`wait`] when the command blocks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::blocking;
use super::error::{self, Error, Outcome};
use super::session::{Clock, Replies, Session};
use super::spec::{DENYOOM, Locking, MAY_REPLICATE, NO_AUTH, PROTECTED, Scope, WRITE};
use super::table::{Keys, Row, table};
use super::{Args, Ctx, Keyspace};
use crate::log_warning;
use crate::resp::Reply;
use crate::server::client::{BLOCKED, CLOSE_ASAP};
use crate::server::config::{Caller, id};
use crate::server::{Server, histogram};
use crate::store::{Locks, shard_of};

/// How often a client that waits for the end of a pause is checked for being there.
const PAUSE_POLL: Duration = Duration::from_millis(100);
/// How much of an unknown command an error quotes.
const PREVIEW: usize = 128;

/// Where a command is being carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// On a thread that serves other sessions as well.
    Shared,
    /// On a thread of the session's own, where it may wait or take long.
    Own,
}

/// What became of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It is done, and its reply written.
    Done,
    /// Nothing has happened: it must be carried out on a thread of the session's own.
    NeedsOwnThread,
    /// The client waits for a key: send what it was owed, then call [`wait`].
    Blocked,
    /// Nothing has happened: the client went away, or the server is ending, while it had to wait.
    Gone,
}

/// Carries out one command. `args` is not empty.
pub fn execute(
    server: &Arc<Server>,
    session: &mut Session,
    out: &mut Reply,
    args: &mut Args<'_>,
    place: Place,
) -> Step {
    let start = out.len();
    let row = match find(server, session, args) {
        Ok(row) => row,
        Err(error) => {
            begin_reply(session);
            fail(server, session, out, start, &error);
            finish_reply(session, out, start);
            return Step::Done;
        }
    };
    let may_write = row.spec.flags.has(WRITE.or(MAY_REPLICATE));
    let paused = server.pause.holds(may_write);
    if place == Place::Shared && (row.spec.slow || paused) {
        return Step::NeedsOwnThread;
    }
    begin_reply(session);
    if let Err(error) = check(server, session, row, args) {
        server
            .stats
            .command(row.id)
            .rejected
            .fetch_add(1, Ordering::Relaxed);
        fail(server, session, out, start, &error);
        finish_reply(session, out, start);
        return Step::Done;
    }
    if paused && !wait_for_pause(server, session, may_write) {
        return Step::Gone;
    }
    let number = row.id as u32 + 1;
    if session.client.last_command.load(Ordering::Relaxed) != number {
        session.client.last_command.store(number, Ordering::Relaxed);
    }
    let step = match run(server, session, out, row, args, place) {
        // Whatever it looked at, it starts over.
        Ok(Step::NeedsOwnThread) => return Step::NeedsOwnThread,
        Ok(step) => step,
        Err(error) => {
            server
                .stats
                .command(row.id)
                .failed
                .fetch_add(1, Ordering::Relaxed);
            fail(server, session, out, start, &error);
            Step::Done
        }
    };
    let nanos = session.clock.lap().as_nanos() as u64;
    let bucket = server
        .config
        .bool(id::LATENCY_TRACKING)
        .then(|| histogram::bucket(nanos));
    server
        .stats
        .called(&mut session.tally, row.id, nanos, bucket);
    if step == Step::Done {
        finish_reply(session, out, start);
    }
    step
}

/// Waits until a blocked client's wait is over and writes its reply. Once that is sent, or the
/// client has gone, it is for the caller to note that the client is no longer blocked.
pub fn wait(server: &Arc<Server>, session: &mut Session, out: &mut Reply) -> Step {
    let start = out.len();
    let step = blocking::wait(server, session, out);
    finish_reply(session, out, start);
    step
}

/// A command begins: `CLIENT REPLY SKIP` before it means this one.
fn begin_reply(session: &mut Session) {
    if session.replies == Replies::SkipNext {
        session.replies = Replies::Skipping;
    }
}

/// Takes the reply back if the client does not want it.
fn finish_reply(session: &mut Session, out: &mut Reply, start: usize) {
    if session.replies != Replies::On {
        out.truncate(start);
        if session.replies == Replies::Skipping {
            session.replies = Replies::On;
        }
    }
}

/// Replaces what a command has written by an error.
fn fail(server: &Server, session: &mut Session, out: &mut Reply, start: usize, error: &Error) {
    out.truncate(start);
    out.error(error.as_bytes());
    server.stats.error(error.as_bytes());
    session.tally.totals.errors += 1;
}

/// Locks, runs, unlocks.
fn run(
    server: &Arc<Server>,
    session: &mut Session,
    out: &mut Reply,
    row: &'static Row,
    args: &mut Args<'_>,
    place: Place,
) -> Outcome<Step> {
    let mut db = Keyspace::new(server, session.db, session.clock.ms());
    db.no_touch = session.client.has(crate::server::client::NO_TOUCH) && row.name != "touch";
    db.locks = lock(server, &mut db, row, args);
    let mut ctx = Ctx {
        server,
        session,
        out,
        db,
        row,
    };
    let result = (row.spec.handler)(&mut ctx, args);
    let Ctx {
        mut db, session, ..
    } = ctx;
    let mut step = Step::Done;
    if let Some(request) = db.request.take() {
        step = match place {
            Place::Shared => Step::NeedsOwnThread,
            Place::Own => blocking::register(&mut db, session, request),
        };
    }
    if !db.ready.is_empty() {
        blocking::serve_ready(&mut db);
    }
    db.locks = Locks::none();
    if !db.put_off.is_empty() {
        blocking::serve_put_off(&mut db);
    }
    if !db.stale.is_empty() {
        db.remove_stale();
    }
    if step != Step::NeedsOwnThread {
        db.settle(&mut session.tally);
    }
    result.map(|()| step)
}

/// Locks the shards that the command's row asks for.
fn lock<'a>(
    server: &'a Arc<Server>,
    db: &mut Keyspace<'a>,
    row: &Row,
    args: &Args<'_>,
) -> Locks<'a> {
    let store = &server.store;
    let scope = match row.spec.locking {
        Locking::None => return Locks::none(),
        Locking::AllRead => return Locks::all(store, false),
        Locking::AllWrite => return Locks::all(store, true),
        Locking::Keys => Scope {
            all: false,
            write: row.exclusive,
        },
        Locking::ByArgs(scope) => scope(args),
    };
    if scope.all {
        return Locks::all(store, scope.write);
    }
    let mut shards = match row.keys {
        Keys::None => return Locks::none(),
        Keys::One(at) => {
            let shard = shard_of(db.hash(&args[at]));
            return Locks::one(store, shard, scope.write);
        }
        Keys::Range(first, last, step) => {
            let end = if last < 0 {
                args.len().saturating_add_signed(last)
            } else {
                last as usize
            };
            let keys = (first..=end.min(args.len() - 1)).step_by(step);
            keys.map(|at| shard_of(store.hash(&args[at])))
                .collect::<Vec<_>>()
        }
        Keys::Specs => {
            let keys = row.find_keys(args).unwrap_or_default();
            keys.into_iter()
                .map(|(at, _)| shard_of(store.hash(&args[at])))
                .collect()
        }
    };
    Locks::several(store, &mut shards, scope.write)
}

/// Looks the command up.
///
/// # Errors
/// Unknown command or subcommand, or a number of arguments that does not fit.
pub fn find(server: &Server, session: &mut Session, args: &Args<'_>) -> Outcome<&'static Row> {
    let row = match &session.found {
        Some((name, row)) if name[..] == args[0] => *row,
        _ => {
            let row = table()
                .find(&args[0])
                .ok_or_else(|| unknown_command(args))?;
            session.found = Some((args[0].to_vec(), row));
            row
        }
    };
    let row = subcommand(row, args)?;
    check_arity(row, args).inspect_err(|_| {
        server
            .stats
            .command(row.id)
            .rejected
            .fetch_add(1, Ordering::Relaxed);
    })?;
    Ok(row)
}

/// Follows a container to its subcommand and checks the arity.
///
/// # Errors
/// As [`find`].
pub fn resolve(row: &'static Row, args: &Args<'_>) -> Outcome<&'static Row> {
    let row = subcommand(row, args)?;
    check_arity(row, args)?;
    Ok(row)
}

fn subcommand(row: &'static Row, args: &Args<'_>) -> Outcome<&'static Row> {
    if row.subcommands.is_empty() || args.len() == 1 {
        return Ok(row);
    }
    row.subcommand(&args[1])
        .ok_or_else(|| unknown_subcommand(row, &args[1]))
}

fn check_arity(row: &Row, args: &Args<'_>) -> Outcome {
    if row.spec.arity_fits(args.len()) {
        return Ok(());
    }
    Err(Error::text(format!(
        "ERR wrong number of arguments for '{}' command",
        row.name
    )))
}

/// What must hold before the command may run.
fn check(server: &Server, session: &mut Session, row: &Row, args: &Args<'_>) -> Outcome {
    if row.spec.flags.has(PROTECTED) {
        let caller = Caller {
            local: session.client.address.loopback,
            ..Caller::default()
        };
        if !server.config.allows(id::ENABLE_DEBUG_COMMAND, caller) {
            let command = String::from_utf8_lossy(&args[0]).to_ascii_uppercase();
            return Err(Error::text(format!(
                "ERR {command} command not allowed. If the enable-debug-command option is set to \"local\", \
                 you can run it from a local connection, otherwise you need to set this option \
                 in the configuration file, and then restart the server."
            )));
        }
    }
    if session.must_authenticate(server) && !row.spec.flags.has(NO_AUTH) {
        return Err(error::NO_AUTH);
    }
    let limit = server.config.memory(id::MAXMEMORY);
    if limit > 0 && row.spec.flags.has(DENYOOM) && crate::sys::used_memory() as u64 > limit {
        return Err(Error::new(
            "OOM command not allowed when used memory > 'maxmemory'.",
        ));
    }
    Ok(())
}

/// Waits until commands of this kind are no longer paused. Returns `false` when the client has gone
/// in the meantime or the server is ending.
fn wait_for_pause(server: &Server, session: &mut Session, may_write: bool) -> bool {
    session.client.set(BLOCKED, true);
    let mut here = true;
    while here && server.pause.wait(may_write, PAUSE_POLL) {
        here = !crate::sys::peer_gone(&session.client.socket) && !session.client.has(CLOSE_ASAP);
    }
    session.client.set(BLOCKED, false);
    // The command runs now, not when it arrived.
    session.clock = Clock::now();
    here && !server.is_stopping()
}

fn unknown_command(args: &Args<'_>) -> Error {
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(preview(&args[0], PREVIEW));
    text.extend_from_slice(b"', with args beginning with: ");
    let mut quoted = Vec::new();
    for arg in args.from(1) {
        if quoted.len() >= PREVIEW {
            break;
        }
        let room = PREVIEW - quoted.len();
        quoted.push(b'\'');
        quoted.extend_from_slice(preview(arg, room));
        quoted.extend_from_slice(b"' ");
    }
    text.extend_from_slice(&quoted);
    Error::raw(text)
}

fn unknown_subcommand(row: &Row, name: &[u8]) -> Error {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(preview(name, PREVIEW));
    text.extend_from_slice(format!("'. Try {} HELP.", row.name.to_ascii_uppercase()).as_bytes());
    Error::raw(text)
}

/// The first bytes of an argument as C prints a string: no further than a NUL.
fn preview(bytes: &[u8], most: usize) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(most)];
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

/// Whether a request looks like HTTP, which browsers can be made to send to a server on the same
/// machine; such a connection is closed at once.
pub fn is_http(session: &Session, args: &Args<'_>) -> bool {
    let http = args[0].eq_ignore_ascii_case(b"host:") || args[0].eq_ignore_ascii_case(b"post");
    if http {
        log_warning!(
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to stdis. \
             This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise the \
             server. Connection from {} aborted.",
            session.client.address.peer
        );
    }
    http
}
