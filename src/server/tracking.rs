//! Client-side caching: which clients are told when a key changes.
//!
//! A client that tracks is remembered with each key that it reads, under the lock of the key's
//! shard, and whoever changes a key tells those remembered with it while holding that lock; so no
//! change gets lost between a read and its registration. What is remembered is forgotten with the
//! message. As in Redis, a key is remembered by its name alone, whatever the database.
//!
//! In broadcasting mode a client names prefixes instead, and nothing is remembered for it. The
//! changed keys gather with the messages of whoever changes them ([`Mail`]) and leave as one
//! message a prefix when he is about to send his replies.
//!
//! As long as nobody has ever tracked, all this costs one atomic load. The locks here are held for
//! a few instructions; with them, only those of a client's subscriptions and of its outbox are
//! asked for. <https://redis.io/docs/latest/develop/reference/client-side-caching/>

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Server;
use super::client::{
    CACHING, CLOSE_AFTER_REPLY, CLOSE_ASAP, Client, SUBSCRIBED, TRACKING, TRACKING_BCAST,
    TRACKING_BROKEN, TRACKING_NOLOOP, TRACKING_OPTIN, TRACKING_OPTOUT,
};
use super::config::id;
use super::mail::Mail;
use crate::resp::Reply;
use crate::store::{SHARDS, shard_of};

/// Where those who get their messages in RESP2 find them.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// Keys that one command forgets at most to get below the limit.
const EFFORT: usize = 1000;

/// A client remembered with a key.
struct Reader {
    id: u64,
    /// Whether it has read the key, or that there is none.
    current: bool,
    /// Whether it has read that the key had expired, though it was still there: then its removal
    /// is no news.
    expired: bool,
}

/// A key with those who have read it.
struct Tracked {
    key: Box<[u8]>,
    readers: Vec<Reader>,
}

/// The remembered keys of one shard, by hash; different keys with one hash are next to never.
type Keys = HashMap<u64, Vec<Tracked>>;
/// Clients by their ids.
type Members = BTreeMap<u64, Arc<Client>>;
/// Who listens to which prefix.
type Prefixes = BTreeMap<Arc<[u8]>, Members>;

/// How a client wants to track.
#[derive(Default)]
pub struct Mode {
    /// The client that gets the messages, or 0 for the one that tracks.
    pub redirect: u64,
    /// All keys with these prefixes; without any, all keys.
    pub bcast: bool,
    /// Only what is read behind `CLIENT CACHING YES`.
    pub optin: bool,
    /// Not what is read behind `CLIENT CACHING NO`.
    pub optout: bool,
    /// Not what the client changes itself.
    pub noloop: bool,
}

/// Keys that somebody has changed and that are still to be broadcast: by prefix, with whether the
/// one whose messages these are changed them last.
pub type Broadcast = BTreeMap<Arc<[u8]>, BTreeMap<Vec<u8>, bool>>;

/// What a prefix takes beside its bytes.
const PREFIX: usize = size_of::<Arc<[u8]>>() + size_of::<Members>() + size_of::<Arc<Client>>();

/// All that is tracked.
pub struct Tracking {
    /// Whether anybody has ever tracked.
    used: AtomicBool,
    shards: Box<[Mutex<Keys>]>,
    keys: AtomicUsize,
    /// Readers of all keys.
    items: AtomicUsize,
    clients: RwLock<Members>,
    client_count: AtomicUsize,
    prefixes: RwLock<Prefixes>,
    prefix_count: AtomicUsize,
    /// Where the last key was forgotten for the limit.
    hand: AtomicUsize,
}

impl Default for Tracking {
    fn default() -> Self {
        Tracking {
            used: AtomicBool::new(false),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            keys: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
            clients: RwLock::default(),
            client_count: AtomicUsize::new(0),
            prefixes: RwLock::default(),
            prefix_count: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Tracking {
    /// Whether anybody has ever tracked. Costs one atomic load.
    #[inline]
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Number of clients that track.
    pub fn client_count(&self) -> usize {
        self.client_count.load(Ordering::Relaxed)
    }

    /// Number of remembered keys.
    pub fn key_count(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Number of clients remembered with keys, each as often as it is.
    pub fn item_count(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }

    /// Number of prefixes that are listened to.
    pub fn prefix_count(&self) -> usize {
        self.prefix_count.load(Ordering::Relaxed)
    }

    /// Lets a client track, or changes how it does; prefixes come on top of those it has. Its
    /// session must have called [`super::outbox::Outbox::hold`].
    pub fn enable(&self, client: &Arc<Client>, mode: &Mode, prefixes: &[&[u8]]) {
        let mut clients = write(&self.clients);
        clients.insert(client.id, client.clone());
        self.client_count.store(clients.len(), Ordering::Relaxed);
        drop(clients);
        client.redirect.store(mode.redirect, Ordering::Relaxed);
        client.set(TRACKING_BROKEN, false);
        client.set(TRACKING_BCAST, mode.bcast);
        client.set(TRACKING_OPTIN, mode.optin);
        client.set(TRACKING_OPTOUT, mode.optout);
        client.set(TRACKING_NOLOOP, mode.noloop);
        client.set(TRACKING, true);
        if mode.bcast {
            let mut all = write(&self.prefixes);
            let given = if prefixes.is_empty() {
                &[&b""[..]]
            } else {
                prefixes
            };
            for &prefix in given {
                let members = all.entry(prefix.into()).or_default();
                if members.insert(client.id, client.clone()).is_none() {
                    let bytes = prefix.len() + PREFIX;
                    client.prefix_memory.fetch_add(bytes, Ordering::Relaxed);
                }
            }
            self.prefix_count.store(all.len(), Ordering::Relaxed);
        }
        self.used.store(true, Ordering::Release);
    }

    /// A client no longer tracks. What is remembered for it stays until the keys change.
    pub fn disable(&self, client: &Client) {
        if !client.has(TRACKING) {
            return;
        }
        if client.has(TRACKING_BCAST) {
            let mut all = write(&self.prefixes);
            all.retain(|_, members| {
                members.remove(&client.id);
                !members.is_empty()
            });
            self.prefix_count.store(all.len(), Ordering::Relaxed);
            client.prefix_memory.store(0, Ordering::Relaxed);
        }
        for flag in [
            TRACKING,
            TRACKING_BROKEN,
            TRACKING_BCAST,
            TRACKING_OPTIN,
            TRACKING_OPTOUT,
            TRACKING_NOLOOP,
            CACHING,
        ] {
            client.set(flag, false);
        }
        let mut clients = write(&self.clients);
        clients.remove(&client.id);
        self.client_count.store(clients.len(), Ordering::Relaxed);
    }

    /// The prefixes that a client listens to.
    pub fn prefixes_of(&self, client: &Client) -> Vec<Arc<[u8]>> {
        let all = read(&self.prefixes);
        let own = all
            .iter()
            .filter(|(_, members)| members.contains_key(&client.id));
        own.map(|(prefix, _)| prefix.clone()).collect()
    }

    fn shard(&self, shard: usize) -> MutexGuard<'_, Keys> {
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that a client has read a key, of which the caller holds the shard. `expired` says
    /// that the key is there though it has expired.
    pub fn remember(&self, client: &Client, hash: u64, key: &[u8], expired: bool) {
        let mut keys = self.shard(shard_of(hash));
        let all = keys.entry(hash).or_default();
        let at = all.iter().position(|tracked| *tracked.key == *key);
        let at = at.unwrap_or_else(|| {
            self.keys.fetch_add(1, Ordering::Relaxed);
            all.push(Tracked {
                key: key.into(),
                readers: Vec::new(),
            });
            all.len() - 1
        });
        let readers = &mut all[at].readers;
        // Most recent ones last: who reads a key again and again is found at once.
        if let Some(reader) = readers.iter_mut().rfind(|reader| reader.id == client.id) {
            reader.current |= !expired;
            reader.expired |= expired;
            return;
        }
        self.items.fetch_add(1, Ordering::Relaxed);
        readers.push(Reader {
            id: client.id,
            current: !expired,
            expired,
        });
    }

    /// A key has changed, and its lock is still held: tells those who have read it, and those who
    /// listen to its prefixes.
    pub fn changed(&self, server: &Server, mail: &mut Mail, hash: u64, key: &[u8]) {
        if self.prefix_count() > 0 {
            self.note(mail, key, true);
        }
        if self.key_count() > 0 {
            let readers = self.forget(hash, key);
            self.tell(server, mail, key, readers.iter().map(|reader| reader.id));
        }
    }

    /// The same for a key that is evicted, which is nobody's own doing.
    pub fn evicted(&self, server: &Server, mail: &mut Mail, hash: u64, key: &[u8]) {
        if self.prefix_count() > 0 {
            self.note(mail, key, false);
        }
        if self.key_count() > 0 {
            let readers = self.forget(hash, key);
            let ids = readers.iter().map(|reader| reader.id);
            self.tell_even(server, mail, key, ids, true);
        }
    }

    /// The same for a key that is removed because it has expired.
    pub fn expired(&self, server: &Server, mail: &mut Mail, hash: u64, key: &[u8]) {
        if self.prefix_count() > 0 {
            self.note(mail, key, false);
        }
        if self.key_count() == 0 {
            return;
        }
        let mut told = Vec::new();
        let mut keys = self.shard(shard_of(hash));
        let Some(all) = keys.get_mut(&hash) else {
            return;
        };
        let Some(at) = all.iter().position(|tracked| *tracked.key == *key) else {
            return;
        };
        let before = all[at].readers.len();
        all[at].readers.retain_mut(|reader| {
            if reader.current {
                told.push(reader.id);
            }
            // From now on there is no such key, which is what it has read.
            reader.current = std::mem::take(&mut reader.expired);
            reader.current
        });
        let gone = before - all[at].readers.len();
        self.items.fetch_sub(gone, Ordering::Relaxed);
        if all[at].readers.is_empty() {
            self.remove(&mut keys, hash, at);
        }
        drop(keys);
        self.tell(server, mail, key, told.into_iter());
    }

    /// Databases have been emptied, and their locks are still held: everybody who tracks is told to
    /// forget everything.
    pub fn flushed(&self, server: &Server, mail: &mut Mail) {
        let clients: Vec<_> = read(&self.clients).values().cloned().collect();
        let mut nothing = [2, 3].map(|version| {
            let mut reply = Reply::new();
            reply.set_resp3(version == 3);
            reply.null();
            Message::new(reply.bytes().to_vec())
        });
        for client in clients {
            let resp3 = client.resp.load(Ordering::Relaxed) == 3;
            nothing[usize::from(resp3)].send(server, mail, &client);
        }
        for shard in 0..SHARDS {
            let keys = std::mem::take(&mut *self.shard(shard));
            let all = keys.values().flatten();
            let (mut count, mut items) = (0, 0);
            all.for_each(|tracked| {
                count += 1;
                items += tracked.readers.len();
            });
            self.keys.fetch_sub(count, Ordering::Relaxed);
            self.items.fetch_sub(items, Ordering::Relaxed);
        }
    }

    /// Whether more keys are remembered than `tracking-table-max-keys` says.
    pub fn is_full(&self, server: &Server) -> bool {
        self.excess(server) > 0
    }

    fn excess(&self, server: &Server) -> usize {
        let keys = self.key_count();
        if keys == 0 {
            return 0;
        }
        match server.config.int(id::TRACKING_TABLE_MAX_KEYS) {
            0 => 0,
            most => keys.saturating_sub(most as usize),
        }
    }

    /// Forgets keys, some of those too many, as if they had changed.
    pub fn make_room(&self, server: &Server, mail: &mut Mail) {
        for _ in 0..self.excess(server).min(EFFORT) {
            let from = self.hand.fetch_add(1, Ordering::Relaxed);
            let mut shards = (0..SHARDS).map(|step| (from + step) % SHARDS);
            let Some((key, readers)) = shards.find_map(|shard| self.forget_any(shard)) else {
                return;
            };
            self.tell(server, mail, &key, readers.iter().map(|reader| reader.id));
        }
    }

    /// Forgets some key of a shard.
    fn forget_any(&self, shard: usize) -> Option<(Box<[u8]>, Vec<Reader>)> {
        let mut keys = self.shard(shard);
        let (&hash, all) = keys.iter_mut().next()?;
        let tracked = all.first_mut()?;
        let found = (
            std::mem::take(&mut tracked.key),
            std::mem::take(&mut tracked.readers),
        );
        self.items.fetch_sub(found.1.len(), Ordering::Relaxed);
        self.remove(&mut keys, hash, 0);
        Some(found)
    }

    /// Forgets a key and returns who had read it.
    fn forget(&self, hash: u64, key: &[u8]) -> Vec<Reader> {
        let mut keys = self.shard(shard_of(hash));
        let Some(all) = keys.get_mut(&hash) else {
            return Vec::new();
        };
        let Some(at) = all.iter().position(|tracked| *tracked.key == *key) else {
            return Vec::new();
        };
        let readers = std::mem::take(&mut all[at].readers);
        self.items.fetch_sub(readers.len(), Ordering::Relaxed);
        self.remove(&mut keys, hash, at);
        readers
    }

    fn remove(&self, keys: &mut Keys, hash: u64, at: usize) {
        if let Some(all) = keys.get_mut(&hash) {
            all.swap_remove(at);
            self.keys.fetch_sub(1, Ordering::Relaxed);
            if all.is_empty() {
                keys.remove(&hash);
            }
        }
        if keys.is_empty() {
            keys.shrink_to_fit();
        }
    }

    /// Tells clients that a key has changed, as far as they still want to know.
    fn tell(
        &self,
        server: &Server,
        mail: &mut Mail,
        key: &[u8],
        ids: impl ExactSizeIterator<Item = u64>,
    ) {
        self.tell_even(server, mail, key, ids, false);
    }

    /// As [`Tracking::tell`]; with `all` even those who do not want to know what they do themselves.
    fn tell_even(
        &self,
        server: &Server,
        mail: &mut Mail,
        key: &[u8],
        ids: impl ExactSizeIterator<Item = u64>,
        all: bool,
    ) {
        if ids.len() == 0 {
            return;
        }
        let told: Vec<Arc<Client>> = {
            let clients = read(&self.clients);
            ids.filter_map(|id| clients.get(&id)).cloned().collect()
        };
        let mut message = Message::new(list(std::iter::once(key)));
        for client in told {
            let own = !all && client.has(TRACKING_NOLOOP) && mail.is_from(&client);
            if !own && client.has(TRACKING) && !client.has(TRACKING_BCAST) {
                message.send(server, mail, &client);
            }
        }
    }

    /// Notes a changed key for those who listen to its prefixes; `by_sender` says whether the one
    /// whose messages these are has meant to change it.
    fn note(&self, mail: &mut Mail, key: &[u8], by_sender: bool) {
        for prefix in read(&self.prefixes).keys() {
            if key.starts_with(prefix) {
                let changed = mail.broadcast_mut().entry(prefix.clone()).or_default();
                changed.insert(key.to_vec(), by_sender);
            }
        }
    }

    /// Sends what has been noted.
    pub fn broadcast(&self, server: &Server, mail: &mut Mail, changed: Broadcast) {
        for (prefix, keys) in changed {
            let members: Vec<_> = match read(&self.prefixes).get(&prefix) {
                Some(members) => members.values().cloned().collect(),
                None => continue,
            };
            let all = || {
                list(
                    keys.keys()
                        .map(|key| &key[..])
                        .collect::<Vec<_>>()
                        .into_iter(),
                )
            };
            let mut message = Message::new(all());
            for client in members {
                if !client.has(TRACKING_NOLOOP) || !mail.is_from(&client) {
                    message.send(server, mail, &client);
                    continue;
                }
                let others: Vec<&[u8]> = keys
                    .iter()
                    .filter(|(_, by_sender)| !**by_sender)
                    .map(|(key, _)| &key[..])
                    .collect();
                if !others.is_empty() {
                    Message::new(list(others.into_iter())).send(server, mail, &client);
                }
            }
        }
    }
}

/// A list of keys, the same in both protocols.
fn list<'k>(keys: impl ExactSizeIterator<Item = &'k [u8]>) -> Vec<u8> {
    let mut reply = Reply::new();
    reply.array(keys.len());
    keys.for_each(|key| reply.bulk(key));
    reply.bytes().to_vec()
}

/// A message, put together once for each protocol version that is asked for.
struct Message {
    /// The keys, or that it is all of them.
    value: Vec<u8>,
    encoded: [Option<Arc<[u8]>>; 2],
}

impl Message {
    fn new(value: Vec<u8>) -> Message {
        Message {
            value,
            encoded: [None, None],
        }
    }

    fn encoded(&mut self, resp3: bool) -> &Arc<[u8]> {
        let value = &self.value;
        self.encoded[usize::from(resp3)].get_or_insert_with(|| {
            let mut reply = Reply::new();
            reply.set_resp3(resp3);
            if resp3 {
                reply.push(2);
                reply.bulk(b"invalidate");
            } else {
                reply.push(3);
                reply.bulk(b"message");
                reply.bulk(CHANNEL);
            }
            reply.raw(value);
            reply.bytes().into()
        })
    }

    /// Sends the message of a client that tracks to whom it belongs.
    fn send(&mut self, server: &Server, mail: &mut Mail, client: &Arc<Client>) {
        let redirect = client.redirect.load(Ordering::Relaxed);
        if redirect == 0 || redirect == client.id {
            self.post(server, mail, client, redirect != 0);
            return;
        }
        // Who has been told good-bye is as good as gone.
        let target = server.clients.get(redirect);
        let target = target.filter(|target| !target.has_any(&[CLOSE_AFTER_REPLY, CLOSE_ASAP]));
        let sent = match target {
            Some(target) => self.post(server, mail, &target, true),
            None => false,
        };
        if !sent {
            client.set(TRACKING_BROKEN, true);
            let mut reply = Reply::new();
            reply.set_resp3(true);
            reply.push(2);
            reply.bulk(b"tracking-redir-broken");
            reply.int(redirect as i64);
            client.subscriptions.listening(|| {
                if client.resp.load(Ordering::Relaxed) == 3 {
                    mail.post(server, client, &reply.bytes().into());
                }
            });
        }
    }

    /// Posts the message if the client is one that can get it: RESP2 has a form for it only among
    /// those of subscriptions. Returns whether the client is there.
    fn post(
        &mut self,
        server: &Server,
        mail: &mut Mail,
        client: &Arc<Client>,
        redirected: bool,
    ) -> bool {
        client.subscriptions.listening(|| {
            let resp3 = client.resp.load(Ordering::Relaxed) == 3;
            if resp3 || redirected && client.has(SUBSCRIBED) {
                return mail.post(server, client, self.encoded(resp3));
            }
            true
        })
    }
}

/// Whether the next command's keys are to be remembered for a client that tracks.
pub fn remembers(client: &Client) -> bool {
    let caching = client.has(CACHING);
    client.has(TRACKING)
        && !client.has(TRACKING_BCAST)
        && (caching || !client.has(TRACKING_OPTIN))
        && !(caching && client.has(TRACKING_OPTOUT))
}

/// The first two prefixes that overlap, of which a client may not have any: a given one with one
/// that the client has (`true`), or with another given one.
pub fn overlap<'p>(given: &[&'p [u8]], has: &'p [Arc<[u8]>]) -> Option<(&'p [u8], &'p [u8], bool)> {
    let overlaps = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    for (at, &prefix) in given.iter().enumerate() {
        if let Some(old) = has.iter().find(|old| overlaps(old, prefix)) {
            return Some((prefix, old, true));
        }
        if let Some(other) = given[at + 1..].iter().find(|other| overlaps(prefix, other)) {
            return Some((prefix, other, false));
        }
    }
    None
}
