//! The one way in which a command is carried out.
//!
//! Look up → arity → authentication and state checks → pause → lock the shards of its keys → run →
//! serve those who wait for its keys → unlock → statistics. Whoever feeds commands in, calls
//! [`execute`], and [`wait`] when the command blocks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::error::{self, Error, Outcome};
use super::eviction::{self, Room};
use super::monitor;
use super::session::{Clock, Replies, Session};
use super::spec::{
    ADMIN, DENYOOM, Flags, LOADING, Locking, MAY_REPLICATE, NO_ASYNC_LOADING, NO_AUTH, NO_MULTI,
    NOSCRIPT, PROTECTED, PUBSUB, READONLY, STALE, Scope, WRITE,
};
use super::table::{Keys, Row, table};
use super::{Args, Ctx, Keyspace, Pace, permissions, tracking, transactions};
use super::{blocking, crash, flush, slowlog};
use crate::log_warning;
use crate::resp::Reply;
use crate::server::client::{BLOCKED, CLOSE_ASAP, Client, MONITOR, REPLICA, SUBSCRIBED};
use crate::server::config::{Caller, id, replication};
use crate::server::eviction::excess;
use crate::server::replication::LinkState;
use crate::server::{Server, histogram, logger};
use crate::store::{Locks, Store, shard_of};

/// How often a client that waits for the end of a pause is checked for being there.
const PAUSE_POLL: Duration = Duration::from_millis(100);
/// How much of an unknown command an error quotes.
const PREVIEW: usize = 128;

const IS_LOADING: Error = Error::new("LOADING Redis is loading the dataset in memory");
const NO_SNAPSHOTS: Error = Error::new(
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to \
     disk. Commands that may modify the data set are disabled, because this instance is configured \
     to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). \
     Please check the Redis logs for details about the RDB error.",
);

const NO_MEMORY: Error = Error::new("OOM command not allowed when used memory > 'maxmemory'.");
const READ_ONLY: Error = Error::new("READONLY You can't write against a read only replica.");
const TOO_FEW_REPLICAS: Error = Error::new("NOREPLICAS Not enough good replicas to write.");
const PRIMARY_DOWN: Error =
    Error::new("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");

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
    /// Nothing has happened but that expired keys were removed: it must be carried out on a thread
    /// of the session's own.
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
            let row = table().find(&args[0]);
            tracking::end_caching(session, row);
            refuse(server, session, out, row, error);
            return Step::Done;
        }
    };
    let number = row.id as u32 + 1;
    if session.client.last_command.load(Ordering::Relaxed) != number {
        session.client.last_command.store(number, Ordering::Relaxed);
    }
    let (may_write, slow) = demands(session, row);
    let paused = may_pause(session) && server.pause.holds(may_write);
    if place == Place::Shared && (slow || paused) {
        return Step::NeedsOwnThread;
    }
    // Everything that this takes has been asked for before.
    let is_near = crate::sys::at_memory_mark();
    if is_near && eviction::takes_long(server, place) {
        return Step::NeedsOwnThread;
    }
    if !session.feeder && !session.read_rights(&server.acl) {
        return Step::Gone;
    }
    let evicted = session.tally.totals.evicted;
    // What a log holds has been checked when it happened.
    let allowed = match session.feeder {
        true => Ok(()),
        false => check(server, session, row, args, is_near),
    };
    let start = if session.tally.totals.evicted == evicted {
        start
    } else {
        // What its own commands have brought about comes behind their replies, but not this.
        session.mail.write_own(out);
        out.len()
    };
    if let Err(error) = allowed {
        return reject(server, session, out, row, error);
    }
    begin_reply(session);
    if may_write && server.log.has_file() && !session.feeder {
        server.aof.throttle();
    }
    if paused {
        if !wait_for_pause(server, session, may_write) || !session.read_rights(&server.acl) {
            return Step::Gone;
        }
        // What counts is what its user may do now.
        if let Err(error) = permissions::check(server, session, row, args) {
            return reject(server, session, out, row, error);
        }
    }
    if session.transaction.is_some() && !transactions::is_immediate(row) {
        transactions::queue(session, row, args);
        out.simple("QUEUED");
        finish_reply(session, out, start);
        return Step::Done;
    }
    let shown = match server.pubsub.is_monitored() {
        true => monitor::quote(row, args),
        false => None,
    };
    let (step, result) = loop {
        break match run(server, session, out, row, args, place) {
            // Whatever it looked at, it starts over.
            Ok(Step::NeedsOwnThread) if place == Place::Shared => return Step::NeedsOwnThread,
            // A pause has begun before it had its locks, or the server is about to end.
            Ok(Step::NeedsOwnThread) => {
                let held = may_write || server.sealed.load(Ordering::Relaxed);
                match wait_for_pause(server, session, held) {
                    true => continue,
                    false => return Step::Gone,
                }
            }
            Ok(step) => (step, Ok(())),
            Err(Stop::Refused(error)) => return reject(server, session, out, row, error),
            Err(Stop::Failed(error)) => (Step::Done, Err(error)),
        };
    };
    let done = result.is_ok();
    tracking::end_caching(session, Some(row));
    let nanos = count(server, session, out, start, row, result);
    if step == Step::Blocked {
        session.waiting = Some(slowlog::Waiting::new(server, row, args, nanos));
    } else if server.is_slow(nanos) {
        slowlog::note(server, session, row, args, nanos);
    }
    if let Some(quoted) = shown {
        monitor::show(server, session, &quoted);
    }
    if step == Step::Done {
        // Redis tells even those who want no replies what they listen to.
        // And of the commands of a transaction each has been dealt with.
        if is_told_anyway(row) || row.name == "exec" && done {
            keep_reply(session);
        } else {
            finish_reply(session, out, start);
        }
        // Behind the reply to QUIT comes nothing.
        if !session.close {
            session.mail.write_own(out);
        }
    }
    step
}

/// Whether a command may write, and whether it may take long: an `EXEC` what its commands may.
fn demands(session: &Session, row: &Row) -> (bool, bool) {
    let (mut flags, mut slow) = (row.spec.flags, row.spec.slow);
    if let Some(transaction) = &session.transaction {
        if row.name == "exec" {
            flags = flags.or(transaction.flags);
            slow = transaction.slow;
        } else if !transactions::is_immediate(row) {
            slow = false;
        }
    }
    (flags.has(WRITE.or(MAY_REPLICATE)), slow)
}

/// Whether a command does nothing but look at keys: an `EXEC` if its commands do not.
fn only_reads(session: &Session, row: &Row) -> bool {
    match row.name == "exec" {
        true => !queued_flags(session).has(WRITE.or(MAY_REPLICATE).or(ADMIN)),
        false => row.spec.flags.has(READONLY) && !row.spec.flags.has(MAY_REPLICATE),
    }
}

/// Whether pauses hold for what a session asks for. Those of a replica have to do with the stream,
/// and what comes from a primary is held up where it arrives.
fn may_pause(session: &Session) -> bool {
    !session.feeder && !session.client.has(REPLICA)
}

/// Refuses a command that does not fit the state of the server or of its client.
fn reject(
    server: &Server,
    session: &mut Session,
    out: &mut Reply,
    row: &Row,
    error: Error,
) -> Step {
    let rejected = &server.stats.command(row.id).rejected;
    rejected.fetch_add(1, Ordering::Relaxed);
    tracking::end_caching(session, Some(row));
    refuse(server, session, out, Some(row), error);
    Step::Done
}

/// Whether a pause holds for a command of the primary, of which nothing has been done yet.
pub fn is_held(server: &Server, session: &mut Session, args: &Args<'_>) -> bool {
    let row = find(server, session, args);
    server.pause.mode().is_some()
        && server
            .pause
            .holds(row.is_ok_and(|row| demands(session, row).0))
}

/// Whether a command of the primary writes, and what it does cannot be saved.
pub fn lacks_disk(server: &Server, session: &mut Session, args: &Args<'_>) -> bool {
    check_disk(server).is_err()
        && find(server, session, args).is_ok_and(|row| may_write(session, row))
}

/// Replies with the error for a command that is not carried out.
fn refuse(
    server: &Server,
    session: &mut Session,
    out: &mut Reply,
    row: Option<&Row>,
    error: Error,
) {
    let start = out.len();
    begin_reply(session);
    let error = transactions::refused(session, row, error);
    fail(server, session, out, start, row, &error);
    finish_reply(session, out, start);
}

/// Counts a command that has been carried out, and replaces by its error, if it failed, what it
/// wrote behind `start`. Returns how many nanoseconds it took.
#[inline(always)]
pub(super) fn count(
    server: &Server,
    session: &mut Session,
    out: &mut Reply,
    start: usize,
    row: &Row,
    result: Outcome,
) -> u64 {
    if let Err(error) = result {
        let failed = &server.stats.command(row.id).failed;
        failed.fetch_add(1, Ordering::Relaxed);
        fail(server, session, out, start, Some(row), &error);
    }
    if session.is_loader() {
        // Those have been counted when they happened.
        return 0;
    }
    let nanos = session.clock.lap().as_nanos() as u64;
    let bucket = server
        .config
        .bool(id::LATENCY_TRACKING)
        .then(|| histogram::bucket(nanos));
    server
        .stats
        .called(&mut session.tally, row.id, nanos, bucket);
    nanos
}

/// Waits until a blocked client's wait is over and writes its reply. Once that is sent, or the
/// client has gone, it is for the caller to note that the client is no longer blocked.
pub fn wait(server: &Arc<Server>, session: &mut Session, out: &mut Reply) -> Step {
    let start = out.len();
    let step = blocking::wait(server, session, out);
    finish_reply(session, out, start);
    session.mail.write_own(out);
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

/// Whether the reply is one that even a client gets that wants none.
fn is_told_anyway(row: &Row) -> bool {
    row.spec.flags.has(PUBSUB) && row.spec.flags.has(NOSCRIPT)
}

/// Takes back a part of the reply to `EXEC` that the client does not want: what it wants may change
/// from one command to the next. `row` is the command it comes from, if it is not `EXEC` itself.
pub(super) fn finish_part(session: &Session, out: &mut Reply, start: usize, row: Option<&Row>) {
    let unwanted = matches!(session.replies, Replies::Off | Replies::Skipping);
    if unwanted && !row.is_some_and(is_told_anyway) {
        out.truncate(start);
    }
}

/// Replies with an error for a command of a transaction that is not carried out.
pub(super) fn fail_part(c: &mut Ctx<'_>, row: &Row, error: &Error) {
    let start = c.out.len();
    fail(c.server, c.session, c.out, start, Some(row), error);
    finish_part(c.session, c.out, start, Some(row));
}

/// The client gets this reply in any case.
fn keep_reply(session: &mut Session) {
    if session.replies == Replies::Skipping {
        session.replies = Replies::On;
    }
}

/// Replaces what a command has written by an error.
pub(super) fn fail(
    server: &Server,
    session: &mut Session,
    out: &mut Reply,
    start: usize,
    row: Option<&Row>,
    error: &Error,
) {
    out.truncate(start);
    if session.is_loader() {
        let unexpected = &server.stats.unexpected_errors;
        unexpected.fetch_add(1, Ordering::Relaxed);
        // The log and the data set do not belong together.
        log_warning!(
            "== CRITICAL == This server is sending an error to its AOF-loading-client: '{}' after processing the \
             command '{}'",
            error.as_bytes().escape_ascii(),
            row.map_or("<unknown>", |row| &row.name)
        );
        if server.config.int(id::PROPAGATION_ERROR_BEHAVIOR) == replication::PANIC_ON_ERRORS {
            logger::give_up(&format!(
                "This server panicked sending an error to its AOF-loading-client after processing the command '{}'",
                row.map_or("<unknown>", |row| &row.name)
            ));
        }
    }
    out.error(error.as_bytes());
    server.stats.error(error.as_bytes());
    session.tally.totals.errors += 1;
}

/// Why a command has not done what it was to do.
enum Stop {
    /// It was not carried out: what was checked before it had its locks no longer holds.
    Refused(Error),
    /// It failed.
    Failed(Error),
}

/// Locks, runs, unlocks. [`Step::NeedsOwnThread`] where there is one means that a pause has begun.
fn run(
    server: &Arc<Server>,
    session: &mut Session,
    out: &mut Reply,
    row: &'static Row,
    args: &mut Args<'_>,
    place: Place,
) -> Result<Step, Stop> {
    let mut ctx = Ctx {
        db: Keyspace::new(server, session.db, session.clock.ms()),
        server,
        session,
        out,
        row,
        pace: Pace::new(place == Place::Shared),
    };
    let (c, db) = (&mut ctx.session, &mut ctx.db);
    db.mail = std::mem::take(&mut c.mail);
    db.may_restart = place == Place::Shared;
    db.no_touch = c.client.has(crate::server::client::NO_TOUCH) && row.name != "touch";
    db.obeys = c.feeder;
    db.effects.follows = c.followed.is_some();
    let locks = match row.spec.locking {
        Locking::Transaction => transactions::lock(server, c),
        _ => lock(server, db, row, args),
    };
    if locks.has_waited() {
        // What others held up is not what the command takes.
        c.clock.lap();
    }
    db.hold(locks);
    let holds_some = !db.locks.holds_none();
    if let Some(followed) = &mut c.followed {
        if !server.replication.is_current(followed.generation) {
            // The server has another role now.
            return Ok(Step::Gone);
        }
        if holds_some {
            // What needs no lock is passed on once it has been carried out.
            db.aside.open().followed = Some(followed.take());
        }
    }
    if holds_some && !c.feeder {
        // What has been checked may have changed just before the locks were taken.
        if let Some(stop) = recheck(server, c, row) {
            // What earlier commands have for others is not lost with this one.
            c.mail = std::mem::take(&mut db.mail);
            return stop;
        }
        if may_pause(c) && server.pause.mode().is_some() && server.pause.holds(demands(c, row).0) {
            c.mail = std::mem::take(&mut db.mail);
            return Ok(Step::NeedsOwnThread);
        }
    }
    let looks = holds_some || row.spec.flags.has(WRITE.or(READONLY));
    // A later WAIT means what the client sees as well, all of which is in the log by now.
    let seen = server.log.is_on().then(|| server.log.seen_position());
    let before = db.begin_effects(row, args);
    let result = crash::run(&mut ctx, args, row);
    let mut step = Step::Done;
    if ctx.pace.elsewhere.get() {
        step = Step::NeedsOwnThread;
    } else {
        tracking::after(&mut ctx.db, ctx.session, ctx.row, args);
        // The commands of a transaction have been logged one by one.
        if !matches!(row.spec.locking, Locking::Transaction) {
            ctx.db.remove_stale_before(row);
            ctx.db.end_effects(args, before);
        }
    }
    let Ctx { session, db, .. } = &mut ctx;
    if let Some(request) = db.aside.take_request().filter(|_| !session.feeder) {
        step = match place {
            // What others bring, such a thread can wait for between other things.
            Place::Shared if request.wanted().kind().is_some() => Step::NeedsOwnThread,
            _ => blocking::register(db, session, request),
        };
    }
    db.may_restart = false;
    match step {
        // It will look again. But what it met expired is gone for good.
        Step::NeedsOwnThread => db.forget_look_ups(),
        _ => db.tell_untold(),
    }
    if db.aside.has_ready() {
        blocking::serve_ready(db);
    }
    db.release();
    if db.aside.has_put_off() {
        blocking::serve_put_off(db);
    }
    if db.aside.has_stale() {
        db.remove_stale();
    }
    tracking::make_room(db);
    db.settle(&mut session.tally);
    session.mail = std::mem::take(&mut db.mail);
    if db.emptied {
        server.stats.pour(&mut session.tally);
        flush::save_emptied(server);
    }
    if let Some(mine) = &mut session.followed
        && let Some(spent) = db.aside.get().and_then(|aside| aside.followed.take())
        && mine.raw.is_empty()
    {
        // Its memory serves the next command.
        mine.raw = spent.raw;
    }
    if server.log.is_overdue() {
        server.replication.replicas.watch_output(server);
    }
    if let Some(logged) = db.effects.logged.or(seen) {
        session.logged = logged;
    }
    if let Some(logged) = db.effects.logged {
        session.uncommitted = logged.file;
    } else if server.aof.is_always()
        && !session.feeder
        && (looks || server.replication.is_replica())
    {
        // The reply tells what others have done, and that must not be lost either. On a replica
        // its offset is enough.
        let seen = server.log.seen();
        if server.aof.is_behind(seen) {
            session.uncommitted = seen;
        }
    }
    if crate::sys::passed_memory_mark() {
        // Not only this thread is to look now.
        excess(server);
    }
    result.map(|()| step).map_err(Stop::Failed)
}

/// What no longer holds, now that the command has its locks, under which it does not change any more.
fn recheck(server: &Server, session: &Session, row: &Row) -> Option<Result<Step, Stop>> {
    if server.sealed.load(Ordering::Relaxed) && !only_reads(session, row) {
        // What has been saved is what remains, unless the end is called off.
        return Some(Ok(Step::NeedsOwnThread));
    }
    if server.loading.is_active() && !may_run_while_loading(server, session, row) {
        return Some(Err(Stop::Refused(IS_LOADING)));
    }
    if server.replication.is_replica()
        && may_write(session, row)
        && let Err(error) = check_role(server)
    {
        return Some(Err(Stop::Refused(error)));
    }
    None
}

/// Locks the shards that the command's row asks for.
fn lock<'a>(
    server: &'a Arc<Server>,
    db: &mut Keyspace<'a>,
    row: &Row,
    args: &Args<'_>,
) -> Locks<'a> {
    let store = &server.store;
    if matches!(row.spec.locking, Locking::None) {
        return Locks::none();
    }
    let scope = scope(row, args);
    if scope.all {
        return Locks::all(store, scope.write);
    }
    if let Keys::One(at) = row.keys {
        let shard = shard_of(db.hash(&args[at]));
        return Locks::one(store, shard, scope.write);
    }
    let mut shards = Vec::new();
    key_shards(store, row, args, &mut shards);
    Locks::several(store, &mut shards, scope.write)
}

/// How much a command needs locked while it runs, which is everything if it locks by itself where
/// it can.
pub(super) fn scope(row: &Row, args: &Args<'_>) -> Scope {
    let (all, write) = match row.spec.locking {
        // Channels are no keys.
        Locking::None if row.spec.flags.has(PUBSUB) => (false, false),
        Locking::None => (true, !row.spec.flags.has(READONLY)),
        Locking::AllRead => (true, false),
        Locking::AllWrite => (true, true),
        Locking::Keys => (false, row.exclusive),
        Locking::ByArgs(scope) => return scope(args),
        Locking::Transaction => (false, false),
    };
    Scope { all, write }
}

/// Adds the shards of a command's keys.
pub(super) fn key_shards(store: &Store, row: &Row, args: &Args<'_>, shards: &mut Vec<usize>) {
    each_key(row, args, |key| shards.push(shard_of(store.hash(key))));
}

/// Runs for each of a command's keys.
pub(super) fn each_key<'k>(row: &Row, args: &'k Args<'_>, mut run: impl FnMut(&'k [u8])) {
    match row.keys {
        Keys::None => {}
        Keys::One(at) => run(&args[at]),
        Keys::Range(first, last, step) => {
            let end = if last < 0 {
                args.len().saturating_add_signed(last)
            } else {
                last as usize
            };
            let keys = (first..=end.min(args.len() - 1)).step_by(step);
            keys.for_each(|at| run(&args[at]));
        }
        Keys::Specs => {
            let keys = row.find_keys(args).unwrap_or_default();
            keys.into_iter().for_each(|(at, _)| run(&args[at]));
        }
    }
}

/// Looks the command up.
///
/// # Errors
/// Unknown command or subcommand, or a number of arguments that does not fit.
#[inline(always)]
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

#[inline(always)]
fn subcommand(row: &'static Row, args: &Args<'_>) -> Outcome<&'static Row> {
    if row.subcommands.is_empty() || args.len() == 1 {
        return Ok(row);
    }
    row.subcommand(&args[1])
        .ok_or_else(|| unknown_subcommand(row, &args[1]))
}

#[inline]
fn check_arity(row: &Row, args: &Args<'_>) -> Outcome {
    match row.spec.arity_fits(args.len()) {
        true => Ok(()),
        false => Err(wrong_arity(row)),
    }
}

#[cold]
fn wrong_arity(row: &Row) -> Error {
    Error::text(format!(
        "ERR wrong number of arguments for '{}' command",
        row.name
    ))
}

/// What must hold before the command may run; `near_limit` if it may not have the memory.
#[inline]
fn check(
    server: &Arc<Server>,
    session: &mut Session,
    row: &Row,
    args: &Args<'_>,
    near_limit: bool,
) -> Outcome {
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
    if session.transaction.is_some() && row.spec.flags.has(NO_MULTI) {
        return Err(transactions::NOT_INSIDE);
    }
    permissions::check(server, session, row, args)?;
    if near_limit {
        check_memory(server, session, row)?;
    }
    let may_write = may_write(session, row);
    if may_write || row.name == "ping" {
        check_disk(server)?;
    }
    let replica = server.replication.is_replica();
    if may_write {
        match replica {
            true => check_role(server)?,
            false => check_replicas(server)?,
        }
    }
    let client = &session.client;
    check_subscribed(client, row)?;
    if replica && !may_run_stale(session, row) {
        check_link(server)?;
    }
    if server.loading.is_active() && !may_run_while_loading(server, session, row) {
        return Err(IS_LOADING);
    }
    if client.has_any(&[MONITOR, REPLICA])
        && row.spec.flags.has(WRITE.or(READONLY).or(MAY_REPLICATE))
    {
        return Err(Error::new("ERR Replica can't interact with the keyspace"));
    }
    Ok(())
}

/// Makes room where too much memory is in use. Where that is not possible, what may take more is
/// refused.
#[cold]
fn check_memory(server: &Arc<Server>, session: &mut Session, row: &Row) -> Outcome {
    let needs_memory = row.spec.flags.has(DENYOOM)
        || (session.transaction.as_ref()).is_some_and(|queued| match &*row.name {
            "exec" => queued.flags.has(DENYOOM),
            // What gives memory back.
            "discard" | "quit" | "reset" => false,
            // To be queued takes memory, whatever the command is.
            _ => true,
        });
    match eviction::before_command(server, session) {
        Room::Nothing if needs_memory => Err(NO_MEMORY),
        _ => Ok(()),
    }
}

/// Whether a command writes to keys: an `EXEC` if one of its commands does.
fn may_write(session: &Session, row: &Row) -> bool {
    row.spec.flags.has(WRITE) || row.name == "exec" && queued_flags(session).has(WRITE)
}

/// Whether a replica lets clients write.
fn check_role(server: &Server) -> Outcome {
    match server.config.bool(id::REPLICA_READ_ONLY) {
        true => Err(READ_ONLY),
        false => Ok(()),
    }
}

/// Whether a primary has as many replicas at hand as writes need.
#[inline]
fn check_replicas(server: &Server) -> Outcome {
    let needed = server.config.int(id::MIN_REPLICAS_TO_WRITE);
    if needed == 0 || server.config.int(id::MIN_REPLICAS_MAX_LAG) == 0 {
        return Ok(());
    }
    let good = server.replication.replicas.count_good(server);
    match (good as i64) < needed {
        true => Err(TOO_FEW_REPLICAS),
        false => Ok(()),
    }
}

/// Whether a replica answers with what it has, which may be old.
fn check_link(server: &Server) -> Outcome {
    if server.config.bool(id::REPLICA_SERVE_STALE_DATA) {
        return Ok(());
    }
    let state = server.replication.state();
    match state.primary.is_some() && state.link.state != LinkState::Connected {
        true => Err(PRIMARY_DOWN),
        false => Ok(()),
    }
}

/// The flags of all commands of the client's transaction together.
fn queued_flags(session: &Session) -> Flags {
    let queued = session.transaction.as_ref();
    queued.map_or(Flags::NONE, |queued| queued.flags)
}

/// Whether a command, for an `EXEC` all of its commands, may run before the data set is loaded.
fn may_run_while_loading(server: &Server, session: &Session, row: &Row) -> bool {
    if server.loading.is_beside() {
        // What there is can be used; what would get in the way cannot.
        return !row.spec.flags.has(NO_ASYNC_LOADING);
    }
    let queued = session.transaction.as_ref();
    let all = row.name != "exec" || queued.is_none_or(|queued| queued.while_loading);
    row.spec.flags.has(LOADING) && all
}

/// Whether a command, for an `EXEC` all of its commands, may run on a replica whose data may be old.
fn may_run_stale(session: &Session, row: &Row) -> bool {
    let queued = session.transaction.as_ref();
    let all = row.name != "exec" || queued.is_none_or(|queued| queued.while_stale);
    row.spec.flags.has(STALE) && all
}

/// Whether what is written could be saved.
fn check_disk(server: &Server) -> Outcome {
    if server.saving.stops_writes(server) {
        return Err(NO_SNAPSHOTS);
    }
    match server.aof.failure() {
        Some(reason) => Err(Error::text(format!(
            "MISCONF Errors writing to the AOF file: {reason}"
        ))),
        None => Ok(()),
    }
}

/// Whether a client that has subscribed may use this command.
fn check_subscribed(client: &Client, row: &Row) -> Outcome {
    if client.has(SUBSCRIBED) && client.resp.load(Ordering::Relaxed) == 2 && !fits_subscribed(row) {
        return Err(Error::text(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
             allowed in this context",
            row.name
        )));
    }
    Ok(())
}

/// Whether a client that gets messages as RESP2 arrays may use this command: its reply can be told
/// from a message.
fn fits_subscribed(row: &Row) -> bool {
    let flags = row.spec.flags;
    // Those that begin or end a subscription are alone in having both flags.
    flags.has(PUBSUB) && flags.has(NOSCRIPT) || matches!(row.spec.name, "ping" | "quit" | "reset")
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
