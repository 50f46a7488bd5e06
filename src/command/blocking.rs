//! Commands that wait for a key: how they begin to wait, are served, and go on.
//!
//! A handler that finds nothing asks for it with [`Keyspace::block`]. The dispatcher registers the
//! client while it still holds the locks under which the handler looked, and the connection waits
//! on its thread. A command that makes a key ready (the keyspace notes it, see [`Keyspace::ready`])
//! serves the clients that wait for it before it releases its locks, in the order in which they
//! came. It does so on their behalf: what they wanted is taken under its locks, and the reply put
//! together for them.
//!
//! `BLMOVE` also changes a second key, whose shard the command may not hold. Whoever holds locks
//! never asks for more, so such a key is put off: once the locks are released, those of the key
//! and of everything its waiters may change are taken together, and its waiters served, still
//! before the reply of the command that made it ready leaves. A command of this kind that asks for
//! the key in between queues up behind those who wait; any other sees the key as it is.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::dispatch::Step;
use super::error::{Error, Outcome};
use super::options::int_or;
use super::session::{Clock, Session};
use super::{Args, Keyspace, list_moves, permissions, stream_reads, tracking, wait, zset_pops};
use crate::resp::Reply;
use crate::server::Server;
use crate::server::blocking::{End, Outcome as Waited, Served, Waiter, Wanted};
use crate::server::client::CLOSE_AFTER_REPLY;
use crate::store::{Locks, shard_of};
use crate::types::Type;
use crate::util::longdouble::LongDouble;

const NOT_A_TIMEOUT: Error = Error::new("ERR timeout is not a float or out of range");
const NOT_A_TIMEOUT_MS: Error = Error::new("ERR timeout is not an integer or out of range");
const NEGATIVE_TIMEOUT: Error = Error::new("ERR timeout is negative");
const TIMEOUT_TOO_LONG: Error = Error::new("ERR timeout is out of range");
const UNBLOCKED: Error = Error::new("UNBLOCKED client unblocked via CLIENT UNBLOCK");
/// What a client that waits is told when the server begins to follow a primary.
pub(super) const DEMOTED: Error = Error::new(
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
);

/// A wish to wait, from the handler to the dispatcher.
pub struct Request {
    keys: Vec<Vec<u8>>,
    wanted: Wanted,
    timeout: Option<Duration>,
}

impl Request {
    /// What is waited for.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }
}

/// Reads a timeout in seconds, which may have a fraction; `None` for ever.
///
/// # Errors
/// It is no number, negative, or further away than 64-bit milliseconds reach.
pub(super) fn timeout(args: &Args<'_>, index: usize, now: i64) -> Outcome<Option<Duration>> {
    let seconds = LongDouble::parse(&args[index])
        .filter(|seconds| !seconds.is_nan())
        .ok_or(NOT_A_TIMEOUT)?;
    // Rounded up to milliseconds.
    let millis = (seconds.to_f64() * 1000.0).ceil();
    if millis < 0.0 {
        return Err(NEGATIVE_TIMEOUT);
    }
    if millis >= (i64::MAX - now) as f64 {
        return Err(TIMEOUT_TOO_LONG);
    }
    Ok((millis > 0.0).then(|| Duration::from_millis(millis as u64)))
}

/// Reads a timeout in milliseconds; `None` for ever.
///
/// # Errors
/// It is no integer, negative, or further away than 64-bit milliseconds reach.
pub(super) fn timeout_ms(args: &Args<'_>, index: usize, now: i64) -> Outcome<Option<Duration>> {
    let millis = int_or(args, index, NOT_A_TIMEOUT_MS)?;
    if millis < 0 {
        return Err(NEGATIVE_TIMEOUT);
    }
    if millis > i64::MAX - now {
        return Err(TIMEOUT_TOO_LONG);
    }
    Ok((millis > 0).then(|| Duration::from_millis(millis as u64)))
}

impl Keyspace<'_> {
    /// Waits for any of these keys instead of a reply; the handler returns behind this.
    pub fn block<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k [u8]>,
        wanted: Wanted,
        timeout: Option<Duration>,
    ) {
        // A key given twice is waited for once.
        let mut seen = HashSet::new();
        let named = keys.filter(|&key| seen.insert(key)).map(<[u8]>::to_vec);
        self.aside.open().request = Some(Request {
            keys: named.collect(),
            wanted,
            timeout,
        });
    }

    /// Whether a key holds a value of this type although clients wait for one: they are about to
    /// be served, and whoever comes now queues up behind them.
    pub fn is_awaited(&mut self, key: &[u8], kind: Type) -> bool {
        let hash = self.hash(key);
        // Within a transaction, nobody else has been served yet.
        !self.in_transaction
            && self.server.blocking.waits(hash, self.number, key, kind)
            && self
                .peek(key)
                .is_some_and(|entry| entry.value.kind() == kind)
    }

    /// Notes that a key has come to hold something that clients may wait for. One that is noted
    /// twice is looked at twice, which is harmless and cheaper than to search for it here.
    pub(super) fn add_ready(&mut self, number: usize, key: &[u8]) {
        // While the data set is loaded, the past happens once more.
        if !self.server.loading.is_active() {
            self.aside.open().ready.push_back((number, key.to_vec()));
        }
    }
}

/// Registers the client with the keys it is to wait for; their locks are held.
pub(super) fn register(db: &mut Keyspace<'_>, session: &mut Session, request: Request) -> Step {
    let Request {
        keys,
        wanted,
        timeout,
    } = request;
    let kind = wanted.kind();
    for key in &keys {
        // Skipped by the handler for those who wait already; the service that is due serves both.
        // A stream is never skipped, and XREAD holds no lock to serve anybody under.
        if let Some(kind) = kind
            && kind != Type::Stream
            && db.is_awaited(key, kind)
        {
            db.add_ready(db.number, key);
        }
    }
    let keys = keys
        .into_iter()
        .map(|key| (db.server.store.hash(&key), key.into_boxed_slice()))
        .collect();
    // A deadline past what the clock can express never comes.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let blocking = &db.server.blocking;
    match blocking.register(&session.client, db.number, keys, wanted, deadline) {
        Some(waiter) => {
            if kind.is_none() {
                wait::begin(db.server, &waiter);
            }
            session.waiter = Some(waiter);
            Step::Blocked
        }
        None => Step::Gone,
    }
}

/// Serves those who wait for the keys that have become ready. Keys that cannot be served under the
/// locks at hand are put off.
pub(super) fn serve_ready(db: &mut Keyspace<'_>) {
    db.end_step();
    while let Some((number, key)) = db.aside.get().and_then(|aside| aside.ready.pop_front()) {
        db.within(number, |db| serve_key(db, &key));
    }
}

/// Serves those who wait for the keys that were put off, each under its own locks. The command's
/// own have been released.
pub(super) fn serve_put_off(db: &mut Keyspace<'_>) {
    while let Some((number, key)) = db.aside.get().and_then(|aside| aside.put_off.pop()) {
        let server = db.server;
        let hash = server.store.hash(&key);
        let mut shards = vec![shard_of(hash)];
        let destinations = server.blocking.destinations(hash, number, &key);
        shards.extend(
            destinations
                .iter()
                .map(|key| shard_of(server.store.hash(key))),
        );
        db.forget_hash();
        db.hold(Locks::several(&server.store, &mut shards, true));
        db.aside.open().ready.push_back((number, key));
        serve_ready(db);
        db.release();
    }
}

/// Serves the clients that wait for one key of the current database, until nothing is left.
fn serve_key(db: &mut Keyspace<'_>, key: &[u8]) {
    let server = db.server;
    let hash = server.store.hash(key);
    db.forget_hash();
    let kind = db.peek(key).map(|entry| entry.value.kind());
    if kind != Some(Type::Stream) {
        // Whoever waits as a member of a consumer group learns that it is gone.
        for waiter in server.blocking.members(hash, db.number, key) {
            if waiter.serve(|| take(db, key, &waiter)) {
                server.blocking.leave(&waiter, hash, key);
            }
        }
    }
    let mut last: Option<Arc<Waiter>> = None;
    while let Some(waiter) = server.blocking.next(hash, db.number, key, last.as_deref()) {
        db.forget_hash();
        let kind = db.peek(key).map(|entry| entry.value.kind());
        let Some(kind) = kind else {
            return;
        };
        if Some(kind) == waiter.wanted.kind() {
            if let Some(second) = waiter.wanted.destination()
                && !db.locks.holds(shard_of(server.store.hash(second)))
            {
                let number = db.number;
                db.aside.open().put_off.push((number, key.to_vec()));
                return;
            }
            if waiter.serve(|| take(db, key, &waiter)) {
                server.blocking.leave(&waiter, hash, key);
            }
        }
        last = Some(waiter);
    }
}

/// Takes what a client wanted from a key, and puts its reply together. `None` when there is
/// nothing.
fn take(db: &mut Keyspace<'_>, key: &[u8], waiter: &Waiter) -> Option<Served> {
    let start = Instant::now();
    let mut out = Reply::new();
    out.set_resp3(waiter.resp3);
    db.forget_hash();
    // The client may listen to what serving it brings about, which is to follow its reply.
    db.mail.begin_service(&waiter.client);
    let allowed = permissions::check_waiter(db.server, waiter);
    let fetched = allowed.and_then(|()| fetch(db, &mut out, key, &waiter.wanted));
    let messages = db.mail.end_service();
    db.forget_hash();
    db.end_step();
    match fetched {
        Ok(true) => {}
        Ok(false) => {
            if !messages.is_empty() {
                db.mail.post(db.server, &waiter.client, &messages.into());
            }
            return None;
        }
        Err(error) => {
            out.truncate(0);
            out.error(error.as_bytes());
        }
    }
    if waiter.tracks {
        tracking::remember_keys(db, waiter);
    }
    // What later commands of this client or any other have for it follows its reply.
    if waiter.client.outbox.is_pushable() {
        waiter.client.outbox.hold_for_service();
    }
    Some(Served {
        reply: out.bytes().to_vec(),
        messages,
        nanos: start.elapsed().as_nanos() as u64,
        logged: db.effects.logged,
    })
}

/// Takes what is wanted from a key and replies with it. Returns whether there was anything; if not,
/// no reply is written.
///
/// # Errors
/// `WRONGTYPE` for either of the keys.
pub(super) fn fetch(
    db: &mut Keyspace<'_>,
    out: &mut Reply,
    key: &[u8],
    wanted: &Wanted,
) -> Outcome<bool> {
    match wanted {
        Wanted::Element(end) => {
            let start = out.len();
            out.array(2);
            out.bulk(key);
            let found = list_moves::pop_one(db, out, key, *end)?;
            if !found {
                out.truncate(start);
            }
            Ok(found)
        }
        Wanted::Elements(end, count) => list_moves::pop_some_with_key(db, out, key, *end, *count),
        Wanted::Move {
            from,
            destination,
            to,
            old_name,
        } => {
            let moved = list_moves::move_one(db, key, destination, *from, *to)?;
            if let Some(element) = &moved {
                out.bulk(element);
                list_moves::log_move(db, key, destination, *from, *to, *old_name);
            }
            Ok(moved.is_some())
        }
        Wanted::Member { highest } => {
            zset_pops::pop_with_key(db, out, key, zset_pops::End::highest(*highest))
        }
        Wanted::Members { highest, count } => {
            let end = zset_pops::End::highest(*highest);
            zset_pops::pop_some_with_key(db, out, key, end, *count)
        }
        Wanted::Entries { after, count } => stream_reads::late(db, out, key, after, *count),
        Wanted::GroupEntries(member) => stream_reads::late_for_member(db, out, key, member),
        // There is no key.
        Wanted::Copies(_) => Ok(false),
    }
}

/// Tells the clients that wait for a key as members of a consumer group that the stream is gone;
/// for whoever removes it without a [`Keyspace`].
pub(super) fn stream_gone(server: &Server, db: usize, hash: u64, key: &[u8]) {
    for waiter in server.blocking.members(hash, db, key) {
        let group = waiter.wanted.membership().map(|member| &member.group[..]);
        let mut out = Reply::new();
        let error = stream_reads::no_group(key, group.unwrap_or_default());
        out.error(error.as_bytes());
        if waiter.serve(|| Some(Served::of(out.bytes().to_vec()))) {
            server.blocking.leave(&waiter, hash, key);
        }
    }
}

/// The offset in the log behind what a client has been served, which whoever served it logs before
/// it releases the locks of the keys.
fn served_by(server: &Server, waiter: &Waiter) -> u64 {
    for (hash, _) in &waiter.keys {
        drop(Locks::one(&server.store, shard_of(*hash), false));
    }
    server.log.end()
}

/// Waits, on the thread of a client that has been registered, and writes what comes of it. The
/// client counts as blocked until [`crate::server::client::Client::unblock`], which is to follow
/// once the reply has been sent.
pub(super) fn wait(server: &Server, session: &mut Session, out: &mut Reply) -> Step {
    let Some(waiter) = session.waiter.take() else {
        return Step::Done;
    };
    let waited = waiter.wait();
    let waiting = session.waiting.take();
    let serving = match &waited {
        Waited::Served(served) => Some(served.nanos),
        Waited::Ended(End::TimedOut | End::Unblocked | End::Demoted) => Some(0),
        Waited::Ended(End::Gone) => None,
    };
    if let (Some(waiting), Some(nanos)) = (waiting, serving) {
        waiting.end(server, session, nanos);
    }
    server.blocking.forget(&waiter);
    let copies = match &waiter.wanted {
        Wanted::Copies(copies) => {
            server.replication.replicas.waits.forget(&waiter);
            Some(copies)
        }
        _ => None,
    };
    session.clock = Clock::now();
    let failed = |session: &mut Session, text: &[u8]| {
        server.stats.error(text);
        // The command has been counted when it began to wait, though not as one that failed.
        let row = session.client.last_command.load(Ordering::Relaxed);
        if let Some(row) = row.checked_sub(1) {
            let stats = server.stats.command(row as usize);
            stats.failed.fetch_add(1, Ordering::Relaxed);
        }
        session.tally.totals.errors += 1;
    };
    match waited {
        Waited::Served(Served {
            reply,
            messages,
            logged,
            ..
        }) => {
            if let Some(logged) = logged {
                session.logged = logged;
            }
            if server.aof.is_always() && copies.is_none() {
                session.uncommitted = match logged {
                    Some(logged) => logged.file,
                    None => served_by(server, &waiter),
                };
            }
            let outbox = &session.client.outbox;
            if outbox.is_pushable() {
                outbox.end_service();
            }
            session.mail.add_own(messages);
            if let [b'-', error @ ..] = &reply[..] {
                failed(session, error.trim_ascii_end());
            }
            out.raw(&reply);
        }
        Waited::Ended(End::TimedOut) => match copies {
            Some(copies) => copies.reply(copies.find(server), out),
            None => out.null_array(),
        },
        Waited::Ended(End::Unblocked) => {
            failed(session, UNBLOCKED.as_bytes());
            out.error(UNBLOCKED.as_bytes());
        }
        Waited::Ended(End::Demoted) => {
            failed(session, DEMOTED.as_bytes());
            out.error(DEMOTED.as_bytes());
            session.client.set(CLOSE_AFTER_REPLY, true);
            session.close = true;
        }
        Waited::Ended(End::Gone) => {
            session.client.unblock();
            return Step::Gone;
        }
    }
    Step::Done
}
