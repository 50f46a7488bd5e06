//! Replacing the data set as a whole, and what follows from it: for `DEBUG RELOAD` and its kin, and
//! for a replica that copies its primary's.
//!
//! Nothing of it is logged.

use std::sync::{Arc, PoisonError, RwLock};

use super::{Keyspace, blocking};
use crate::server::Server;
use crate::server::lazyfree::Garbage;
use crate::server::watching::Held;
use crate::store::{Locks, SHARDS, Shard, Store};
use crate::util::clock::now_ms;

/// A keyspace for what no client has asked for.
fn keyspace(server: &Arc<Server>) -> Keyspace<'_> {
    let mut db = Keyspace::new(server, 0, now_ms());
    // What has expired is to be replaced like the rest, and is not worth a word.
    db.obeys = true;
    db
}

/// Runs something while every shard is locked.
pub fn hold_everything<R>(server: &Arc<Server>, run: impl FnOnce() -> R) -> R {
    let _locks = Locks::all(&server.store, true);
    run()
}

/// Empties all databases, unless `first`, which runs when every shard is locked, fails.
///
/// # Errors
/// That of `first`.
pub fn empty<E>(
    server: &Arc<Server>,
    lazy: bool,
    first: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let mut db = keyspace(server);
    db.hold(Locks::all(&server.store, true));
    let result = first();
    if result.is_ok() {
        for number in 0..server.store.databases() {
            db.flush(number, lazy);
        }
        db.flushed();
        server.replication.own_keys.clear();
        let functions = &server.functions;
        let mut functions = functions.write().unwrap_or_else(PoisonError::into_inner);
        functions.clear();
        drop(functions);
        blocking::serve_ready(&mut db);
    }
    db.release();
    db.mail.deliver(server);
    result
}

/// Exchanges all databases for those of another store, and the libraries of functions for others,
/// unless `first`, which runs when every shard is locked, fails.
///
/// # Errors
/// That of `first`.
pub fn exchange<E>(
    server: &Arc<Server>,
    other: &Store,
    functions: &RwLock<Vec<Vec<u8>>>,
    first: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let mut db = keyspace(server);
    db.hold(Locks::all(&server.store, true));
    first()?;
    for shard in 0..SHARDS {
        // Nobody else knows of the other store.
        let mut incoming = Locks::one(other, shard, true);
        for number in 0..server.store.databases() {
            tell_watchers(server, &db, incoming.shard(shard), shard, number);
            for key in server.blocking.keys(shard, number) {
                // What is there now, or no longer, may concern whoever waits.
                db.add_ready(number, &key);
            }
            let (ours, theirs) = (db.locks.shard_mut(shard), incoming.shard_mut(shard));
            if let Some(old) = ours.adopt(number, theirs) {
                server.lazyfree.free(Garbage::Db(old));
            }
        }
        if let Some(due) = db.locks.shard(shard).next_due() {
            server.store.note_due(shard, due);
        }
    }
    db.flushed();
    server.replication.own_keys.clear();
    let mut theirs = functions.write().unwrap_or_else(PoisonError::into_inner);
    let ours = server.functions.write();
    *ours.unwrap_or_else(PoisonError::into_inner) = std::mem::take(&mut *theirs);
    drop(theirs);
    db.forget_hash();
    blocking::serve_ready(&mut db);
    db.release();
    db.mail.deliver(server);
    Ok(())
}

/// Tells those who watch keys of a database that is about to be exchanged for another one.
fn tell_watchers(
    server: &Server,
    db: &Keyspace<'_>,
    incoming: &Shard,
    shard: usize,
    number: usize,
) {
    for (hash, key) in server.watching.keys(shard, number) {
        let held = |shard: &Shard| match shard.db(number).get(hash, &key) {
            None => Held::Nothing,
            Some(entry) if entry.key.is_expired(db.now) => Held::Stale,
            Some(_) => Held::Value,
        };
        let (before, after) = (held(db.locks.shard(shard)), held(incoming));
        let watching = &server.watching;
        watching.replaced(number, hash, &key, before, Some(after));
    }
}

/// Frees a store in the background.
pub fn discard(server: &Server, store: Store) {
    for shard in 0..SHARDS {
        let mut locks = Locks::one(&store, shard, true);
        for number in 0..store.databases() {
            let (keys, db) = locks.shard_mut(shard).take(number);
            if let Some(db) = db.filter(|_| keys > 0) {
                server.lazyfree.free(Garbage::Db(db));
            }
        }
    }
}

/// Serves those who wait for keys that exist now.
pub fn serve_waiting(server: &Arc<Server>) {
    let mut db = keyspace(server);
    db.obeys = false;
    note_waiting(&mut db);
    blocking::serve_put_off(&mut db);
    db.mail.deliver(server);
}

/// Has those who wait for keys that exist now served, once the command is over. Who waits for
/// others goes on waiting.
pub(super) fn note_waiting(db: &mut Keyspace<'_>) {
    let server = db.server;
    db.hold(Locks::all(&server.store, false));
    for number in 0..server.store.databases() {
        for shard in 0..SHARDS {
            for key in server.blocking.keys(shard, number) {
                db.forget_hash();
                if db.within(number, |db| db.peek(&key).is_some()) {
                    db.aside.open().put_off.push((number, key.into_vec()));
                }
            }
        }
    }
    db.forget_hash();
    db.release();
}
