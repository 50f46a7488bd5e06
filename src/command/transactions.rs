//! Transactions: `MULTI`, `EXEC`, `DISCARD`, and optimistic locking with `WATCH`.
//!
//! Between `MULTI` and `EXEC` the dispatcher checks commands as always and then queues them
//! (`queue`). `EXEC` holds the locks of all keys of all of them (and of the watched ones) while it
//! carries them out one after the other, so that every other client sees them as one step. Which
//! watched keys have changed is kept in [`crate::server::watching`].
//! <https://redis.io/docs/latest/develop/using-commands/transactions/>

use std::sync::Arc;

use super::crash;
use super::dispatch;
use super::error::{Error, Outcome};
use super::monitor;
use super::session::Session;
use super::spec::*;
use super::table::Row;
use super::{Args, Ctx, Pace, notify, permissions, slowlog, tracking};
use crate::resp::OwnedArgs;
use crate::server::Server;
use crate::server::blocking::Wanted;
use crate::server::client::{Client, DIRTY_CAS, MULTI};
use crate::store::{Locks, shard_of};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("discard", 1, discard)
        .flags(NOSCRIPT.or(LOADING).or(STALE).or(FAST).or(ALLOW_BUSY))
        .acl(CAT_TRANSACTION)
        .docs(
            Group::Transactions,
            "2.0.0",
            "O(N), N the number of queued commands",
            "Forgets the commands queued since MULTI",
        ),
    Command::new("exec", 1, exec)
        .flags(NOSCRIPT.or(LOADING).or(STALE).or(SKIP_SLOWLOG))
        .acl(CAT_TRANSACTION)
        .docs(
            Group::Transactions,
            "1.2.0",
            "That of the commands in the transaction",
            "Carries out the commands queued since MULTI",
        )
        .locking(Locking::Transaction),
    Command::new("multi", 1, multi)
        .flags(NOSCRIPT.or(LOADING).or(STALE).or(FAST).or(ALLOW_BUSY))
        .acl(CAT_TRANSACTION)
        .docs(
            Group::Transactions,
            "1.2.0",
            "O(1)",
            "Begins a transaction: what follows is queued",
        ),
    Command::new("unwatch", 1, unwatch)
        .flags(NOSCRIPT.or(LOADING).or(STALE).or(FAST).or(ALLOW_BUSY))
        .acl(CAT_TRANSACTION)
        .docs(
            Group::Transactions,
            "2.2.0",
            "O(1)",
            "Forgets all watched keys",
        ),
    Command::new("watch", -2, watch)
        .flags(NOSCRIPT.or(LOADING).or(STALE).or(FAST).or(ALLOW_BUSY))
        .acl(CAT_TRANSACTION)
        .keys(&[KeySpec::range(1, -1, 1, RO)])
        .docs(
            Group::Transactions,
            "2.2.0",
            "O(1) a key",
            "Watches keys: a change to one of them makes the next EXEC do nothing",
        )
        .args("key..."),
];

const NESTED: Error = Error::new("ERR MULTI calls can not be nested");
const WATCH_INSIDE: Error = Error::new("ERR WATCH inside MULTI is not allowed");
const EXEC_WITHOUT_MULTI: Error = Error::new("ERR EXEC without MULTI");
const DISCARD_WITHOUT_MULTI: Error = Error::new("ERR DISCARD without MULTI");
const ABORTED: Error = Error::new("EXECABORT Transaction discarded because of previous errors.");
/// The error for a command that no transaction may hold.
pub(super) const NOT_INSIDE: Error = Error::new("ERR Command not allowed inside a transaction");

/// The commands of a client that wait for its EXEC.
#[derive(Default)]
pub struct Transaction {
    queue: Vec<(OwnedArgs, &'static Row)>,
    /// Bytes of the arguments in it.
    held: usize,
    /// Whether a command could not be queued.
    aborted: bool,
    /// The flags of all of them together.
    pub flags: Flags,
    /// Whether one of them may take long.
    pub slow: bool,
    /// Whether all of them may run while the data set is loaded.
    pub while_loading: bool,
    /// Whether all of them may run on a replica whose data may be old.
    pub while_stale: bool,
}

/// The keys that a client watches. What is left of them is forgotten when it goes.
pub struct Watches {
    server: Arc<Server>,
    client: Arc<Client>,
    keys: Vec<Watch>,
}

struct Watch {
    db: usize,
    hash: u64,
    key: Vec<u8>,
}

impl Drop for Watches {
    fn drop(&mut self) {
        for watch in &self.keys {
            let watching = &self.server.watching;
            watching.unwatch(&self.client, watch.db, watch.hash, &watch.key);
        }
        self.server.watching.left();
        let memory = &self.client.watch_memory;
        memory.store(0, std::sync::atomic::Ordering::Relaxed);
        self.client.set(DIRTY_CAS, false);
    }
}

/// Whether a command is carried out at once even after MULTI.
pub(super) fn is_immediate(row: &Row) -> bool {
    matches!(
        &*row.name,
        "exec" | "discard" | "multi" | "watch" | "quit" | "reset"
    )
}

/// Queues a command that has passed all checks.
pub(super) fn queue(session: &mut Session, row: &'static Row, args: &Args<'_>) {
    let Some(transaction) = &mut session.transaction else {
        return;
    };
    transaction.flags = transaction.flags.or(row.spec.flags);
    transaction.slow |= row.spec.slow;
    transaction.while_loading &= row.spec.flags.has(LOADING);
    transaction.while_stale &= row.spec.flags.has(STALE);
    // One that is to be discarded needs no more memory.
    if !transaction.aborted && !session.client.has(DIRTY_CAS) {
        let owned = args.to_owned();
        transaction.held += owned.memory();
        transaction.queue.push((owned, row));
        let list = transaction.queue.capacity() * size_of::<(OwnedArgs, &Row)>();
        let memory = &session.client.queue_memory;
        let held = transaction.held + list;
        memory.store(held, std::sync::atomic::Ordering::Relaxed);
        // What Redis counts: the bytes of the arguments and a pointer to each.
        let bytes = args.bytes() + args.len() * size_of::<usize>();
        let memory = &session.client.multi_memory;
        memory.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    }
    let queued = session
        .client
        .multi
        .load(std::sync::atomic::Ordering::Relaxed);
    let multi = &session.client.multi;
    multi.store(queued + 1, std::sync::atomic::Ordering::Relaxed);
}

/// A command was refused. Inside a transaction that aborts it; if the command is `EXEC` itself, the
/// transaction is over. Returns the error to reply with.
pub(super) fn refused(session: &mut Session, row: Option<&Row>, error: Error) -> Error {
    if let Some(transaction) = &mut session.transaction {
        transaction.aborted = true;
    }
    if row.is_none_or(|row| row.name != "exec") {
        return error;
    }
    finish(session);
    let text = error.as_bytes();
    let text = text.strip_prefix(b"ERR ").unwrap_or(text);
    let head = b"EXECABORT Transaction discarded because of: ";
    Error::raw([head, text].concat())
}

/// Leaves the transaction and forgets the watched keys.
pub(super) fn finish(session: &mut Session) -> Option<Transaction> {
    session.watches = None;
    show_finished(session);
    session.transaction.take()
}

/// No longer shows the client as one in a transaction.
fn show_finished(session: &Session) {
    session.client.set(MULTI, false);
    let multi = &session.client.multi;
    multi.store(-1, std::sync::atomic::Ordering::Relaxed);
    let memory = &session.client.multi_memory;
    memory.store(0, std::sync::atomic::Ordering::Relaxed);
    let memory = &session.client.queue_memory;
    memory.store(0, std::sync::atomic::Ordering::Relaxed);
}

/// Locks everything that the queued commands need, and the watched keys.
pub(super) fn lock<'a>(server: &'a Arc<Server>, session: &mut Session) -> Locks<'a> {
    let store = &server.store;
    let Some(transaction) = &mut session.transaction else {
        return Locks::none();
    };
    let (mut shards, mut all, mut write) = (Vec::new(), false, false);
    for (args, row) in &mut transaction.queue {
        let scope = dispatch::scope(row, &args.args());
        all |= scope.all;
        write |= scope.write;
        if !all {
            dispatch::key_shards(store, row, &args.args(), &mut shards);
        }
    }
    // What expires is told where a command meets it, for which the key has to be removed there.
    write |= notify::tells_of_expiry(server);
    if let Some(watches) = &session.watches {
        shards.extend(watches.keys.iter().map(|watch| shard_of(watch.hash)));
    }
    if all {
        return Locks::all(store, write);
    }
    Locks::several(store, &mut shards, write)
}

/// `MULTI`
fn multi(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    if c.session.transaction.is_some() {
        return Err(NESTED);
    }
    c.session.transaction = Some(Transaction {
        while_loading: true,
        while_stale: true,
        ..Transaction::default()
    });
    c.session.client.set(MULTI, true);
    let multi = &c.session.client.multi;
    multi.store(0, std::sync::atomic::Ordering::Relaxed);
    c.out.ok();
    Ok(())
}

/// `DISCARD`
fn discard(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    if finish(c.session).is_none() {
        return Err(DISCARD_WITHOUT_MULTI);
    }
    c.out.ok();
    Ok(())
}

/// `EXEC`
fn exec(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    if c.session.transaction.is_none() {
        return Err(EXEC_WITHOUT_MULTI);
    }
    let changed = c.session.client.has(DIRTY_CAS) || has_expired(c);
    let aborted = (c.session.transaction.as_ref()).is_some_and(|queued| queued.aborted);
    if aborted || changed {
        finish(c.session);
        if aborted {
            return Err(ABORTED);
        }
        let start = c.out.len();
        c.out.null_array();
        dispatch::finish_part(c.session, c.out, start, None);
        return Ok(());
    }
    // The commands themselves see their client still in its transaction, and watching nothing.
    c.session.watches = None;
    let Some(transaction) = c.session.transaction.take() else {
        return Err(EXEC_WITHOUT_MULTI);
    };
    let exec = c.row;
    c.db.in_transaction = true;
    // It is not left in the middle.
    c.pace = Pace::new(false);
    c.db.may_restart = false;
    let begun = c.session.clock.last();
    let start = c.out.len();
    c.out.array(transaction.queue.len());
    dispatch::finish_part(c.session, c.out, start, None);
    for (mut args, row) in transaction.queue {
        let mut args = args.args();
        match permissions::check_queued(c.server, c.session, row, &args) {
            Ok(()) => run(c, &mut args, row),
            Err(error) => dispatch::fail_part(c, row, &error),
        }
    }
    show_finished(c.session);
    c.db.in_transaction = false;
    c.db.number = c.session.db;
    c.row = exec;
    let took = c.session.clock.last() - begun;
    if c.server.is_slow(took.as_nanos() as u64) {
        slowlog::note_transaction(c.server, c.session, exec, took);
    }
    Ok(())
}

/// Carries out one command of a transaction.
fn run(c: &mut Ctx<'_>, args: &mut Args<'_>, row: &'static Row) {
    let start = c.out.len();
    c.row = row;
    c.db.number = c.session.db;
    c.db.forget_hash();
    let shown = if c.server.pubsub.is_monitored() {
        monitor::quote(row, args)
    } else {
        None
    };
    let before = c.db.begin_effects(row, args);
    let mut result = crash::run_part(c, args, row);
    c.db.remove_stale_before(row);
    c.db.end_effects(args, before);
    tracking::after(&mut c.db, c.session, row, args);
    c.db.remove_stale_here();
    if let Some(request) = c.db.aside.take_request() {
        // In a transaction nobody waits: there is nothing, and that is the reply.
        match request.wanted() {
            Wanted::Move { .. } => c.out.null(),
            _ => c.out.null_array(),
        }
        result = Ok(());
    }
    let nanos = dispatch::count(c.server, c.session, c.out, start, row, result);
    if c.server.is_slow(nanos) {
        slowlog::note(c.server, c.session, row, args, nanos);
    }
    dispatch::finish_part(c.session, c.out, start, Some(row));
    if let Some(quoted) = shown {
        // While a command runs, the keyspace has the messages.
        std::mem::swap(&mut c.session.mail, &mut c.db.mail);
        monitor::show(c.server, c.session, &quoted);
        std::mem::swap(&mut c.session.mail, &mut c.db.mail);
    }
}

/// Whether a watched key has expired since, and is still there.
fn has_expired(c: &mut Ctx<'_>) -> bool {
    let Some(watches) = &c.session.watches else {
        return false;
    };
    let (db, watching) = (&mut c.db, &c.server.watching);
    watches.keys.iter().any(|watch| {
        let (hash, key) = (watch.hash, &watch.key);
        db.within(watch.db, |db| db.is_expired(hash, key))
            && !watching.is_stale_for(&watches.client, watch.db, hash, key)
    })
}

/// `WATCH key [key ...]`
fn watch(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if c.session.transaction.is_some() {
        return Err(WATCH_INSIDE);
    }
    // Already to fail: nothing could change that.
    if c.session.client.has(DIRTY_CAS) {
        c.out.ok();
        return Ok(());
    }
    let number = c.db.number;
    let watches = c.session.watches.get_or_insert_with(|| {
        c.server.watching.joined();
        Watches {
            server: c.server.clone(),
            client: c.session.client.clone(),
            keys: Vec::new(),
        }
    });
    for key in args.from(1) {
        let known = |watch: &Watch| watch.db == number && watch.key == key;
        if watches.keys.iter().any(known) {
            continue;
        }
        let hash = c.db.hash(key);
        let expired = c.db.is_expired(hash, key);
        let watching = &c.server.watching;
        watching.watch(&watches.client, number, hash, key, expired);
        watches.keys.push(Watch {
            db: number,
            hash,
            key: key.to_vec(),
        });
        // Once here, and once where those who change the key find who watches it.
        let bytes = 2 * (size_of::<Watch>() + key.len());
        let memory = &watches.client.watch_memory;
        memory.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    }
    c.out.ok();
    Ok(())
}

/// `UNWATCH`
fn unwatch(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    c.session.watches = None;
    c.out.ok();
    Ok(())
}
