//! Watched keys: which clients are to learn that a key has changed before their `EXEC`.
//!
//! `WATCH` registers a client under the locks of its keys, and whoever changes a key marks the
//! clients that watch it while it holds the key's lock ([`Watching::touch`]); so a client that holds
//! that lock knows for certain. A counter for each shard tells without a lock that nobody watches
//! there. The locks here are held for a few instructions, and never while another is asked for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::{Client, DIRTY_CAS};
use crate::store::{SHARDS, shard_of};

/// One client's interest in a key.
struct Watcher {
    client: Arc<Client>,
    /// Whether the key had expired, but was still there, when the client began to watch it: its
    /// removal is no news then.
    expired: bool,
}

/// What a database holds under a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// A value that has expired, but is still there.
    Stale,
    /// A value.
    Value,
}

/// A key with those who watch it.
struct Watched {
    key: Box<[u8]>,
    watchers: Vec<Watcher>,
}

/// The watched keys of one shard, by database and hash; different keys with one hash are next to
/// never.
type Keys = HashMap<(usize, u64), Vec<Watched>>;

/// All watched keys.
pub struct Watching {
    shards: Box<[Mutex<Keys>]>,
    counts: Box<[AtomicUsize]>,
    /// Clients that watch anything.
    clients: AtomicUsize,
}

impl Default for Watching {
    fn default() -> Self {
        Watching {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            counts: (0..SHARDS).map(|_| AtomicUsize::new(0)).collect(),
            clients: AtomicUsize::new(0),
        }
    }
}

impl Watching {
    fn shard(&self, shard: usize) -> MutexGuard<'_, Keys> {
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody watches a key of this shard. Costs one atomic load.
    #[inline]
    pub fn any(&self, shard: usize) -> bool {
        self.counts[shard].load(Ordering::Acquire) > 0
    }

    /// Number of watched keys.
    pub fn key_count(&self) -> usize {
        let counts = self.counts.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Number of clients that watch keys.
    pub fn client_count(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// A client begins to watch keys.
    pub fn joined(&self) {
        self.clients.fetch_add(1, Ordering::Relaxed);
    }

    /// A client no longer watches any key.
    pub fn left(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }

    /// Has a client watch a key, of which the caller holds the shard and the client does not watch
    /// it yet. `expired` says that the key is there though it has expired.
    pub fn watch(&self, client: &Arc<Client>, db: usize, hash: u64, key: &[u8], expired: bool) {
        let shard = shard_of(hash);
        let mut keys = self.shard(shard);
        let all = keys.entry((db, hash)).or_default();
        let at = all.iter().position(|watched| *watched.key == *key);
        let at = at.unwrap_or_else(|| {
            all.push(Watched {
                key: key.into(),
                watchers: Vec::new(),
            });
            all.len() - 1
        });
        all[at].watchers.push(Watcher {
            client: client.clone(),
            expired,
        });
        self.counts[shard].store(keys.len(), Ordering::Release);
    }

    /// Ends a client's interest in a key.
    pub fn unwatch(&self, client: &Client, db: usize, hash: u64, key: &[u8]) {
        let shard = shard_of(hash);
        let mut keys = self.shard(shard);
        let Some(all) = keys.get_mut(&(db, hash)) else {
            return;
        };
        for watched in all.iter_mut().filter(|watched| *watched.key == *key) {
            watched
                .watchers
                .retain(|watcher| watcher.client.id != client.id);
        }
        all.retain(|watched| !watched.watchers.is_empty());
        if all.is_empty() {
            keys.remove(&(db, hash));
        }
        if keys.is_empty() {
            keys.shrink_to_fit();
        }
        self.counts[shard].store(keys.len(), Ordering::Release);
    }

    /// Marks those who watch a key: it has changed.
    pub fn touch(&self, db: usize, hash: u64, key: &[u8]) {
        self.each(db, hash, key, |watcher| watcher.client.set(DIRTY_CAS, true));
    }

    /// The same for a key that is removed because it has expired. Whoever began to watch it when it
    /// had expired already is told nothing new.
    pub fn expired(&self, db: usize, hash: u64, key: &[u8]) {
        self.each(db, hash, key, |watcher| {
            if !std::mem::take(&mut watcher.expired) {
                watcher.client.set(DIRTY_CAS, true);
            }
        });
    }

    /// The same for a database that is emptied (`after` is `None`) or exchanged for another one.
    pub fn replaced(&self, db: usize, hash: u64, key: &[u8], before: Held, after: Option<Held>) {
        let after = after.unwrap_or(Held::Nothing);
        if before == Held::Nothing && after == Held::Nothing {
            return;
        }
        self.each(db, hash, key, |watcher| {
            match (watcher.expired, before, after) {
                // What had expired is gone now, which is no news.
                (true, _, Held::Nothing) => watcher.expired = false,
                (true, _, Held::Stale) => {}
                (false, Held::Nothing, Held::Stale) => watcher.expired = true,
                _ => watcher.client.set(DIRTY_CAS, true),
            }
        });
    }

    /// Whether a client counts a watched key as one that had expired before.
    pub fn is_stale_for(&self, client: &Client, db: usize, hash: u64, key: &[u8]) -> bool {
        let mut stale = false;
        self.each(db, hash, key, |watcher| {
            stale |= watcher.expired && watcher.client.id == client.id;
        });
        stale
    }

    /// The watched keys of a database and shard, with their hashes.
    pub fn keys(&self, shard: usize, db: usize) -> Vec<(u64, Box<[u8]>)> {
        if !self.any(shard) {
            return Vec::new();
        }
        let keys = self.shard(shard);
        let here = keys.iter().filter(|((number, _), _)| *number == db);
        here.flat_map(|((_, hash), all)| all.iter().map(|watched| (*hash, watched.key.clone())))
            .collect()
    }

    fn each(&self, db: usize, hash: u64, key: &[u8], mut run: impl FnMut(&mut Watcher)) {
        let mut keys = self.shard(shard_of(hash));
        let Some(all) = keys.get_mut(&(db, hash)) else {
            return;
        };
        for watched in all.iter_mut().filter(|watched| *watched.key == *key) {
            watched.watchers.iter_mut().for_each(&mut run);
        }
    }
}
