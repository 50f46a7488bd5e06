//! Who gets which messages: the subscriptions to channels, patterns and shard channels, and those
//! who look on (`MONITOR`).
//!
//! Channels are spread over a few maps by their hash, each behind a lock that publishing only
//! shares; patterns, of which there are few, are in one. A client keeps a list of what it has
//! subscribed to. Locks are asked for in this order: the list of a client, one map, the outbox of a
//! receiver.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Server;
use super::client::{Client, DEPARTED, MONITOR, SUBSCRIBED};
use super::mail::Mail;
use crate::resp::Reply;
use crate::sys::Hangups;
use crate::util::glob;

/// Maps that the channels are spread over.
const PARTS: usize = 16;

/// What a client can subscribe to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A channel, by its name.
    Channel = 0,
    /// The channels whose names match a pattern.
    Pattern = 1,
    /// A shard channel; without a cluster just another name space.
    Shard = 2,
}

/// The clients that have subscribed to one name.
type Members = BTreeMap<u64, Arc<Client>>;
/// A part of the names.
type Part = RwLock<HashMap<Arc<[u8]>, Members>>;

/// All names of one kind that somebody has subscribed to.
struct Names {
    parts: Box<[Part]>,
    hasher: RandomState,
    /// How many there are.
    count: AtomicUsize,
}

impl Names {
    fn new(parts: usize) -> Names {
        Names {
            parts: (0..parts).map(|_| Part::default()).collect(),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
        }
    }

    fn part(&self, name: &[u8]) -> &Part {
        &self.parts[self.hasher.hash_one(name) as usize % self.parts.len()]
    }

    fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn add(&self, name: &Arc<[u8]>, client: &Arc<Client>) {
        let mut part = write(self.part(name));
        let members = part.entry(name.clone()).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            Members::new()
        });
        members.insert(client.id, client.clone());
    }

    fn remove(&self, name: &Arc<[u8]>, id: u64) {
        let mut part = write(self.part(name));
        if let Entry::Occupied(mut members) = part.entry(name.clone()) {
            members.get_mut().remove(&id);
            if members.get().is_empty() {
                members.remove();
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if part.is_empty() {
            part.shrink_to_fit();
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// What one client has subscribed to.
#[derive(Default)]
pub struct Subscriptions {
    list: Mutex<List>,
    counts: [AtomicUsize; 3],
}

#[derive(Default)]
struct List {
    names: [BTreeSet<Arc<[u8]>>; 3],
    /// Whether the client has gone, so that nothing may be added.
    gone: bool,
}

impl Subscriptions {
    /// How many there are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.counts[kind as usize].load(Ordering::Relaxed)
    }

    /// About the bytes that they take, without those of the names, which all who have subscribed to
    /// one share.
    pub fn memory(&self) -> usize {
        /// Its place in the client's own list and in that of the name.
        const EACH: usize = 2 * (size_of::<Arc<[u8]>>() + size_of::<(u64, Arc<Client>)>());
        let counts = self.counts.iter();
        let all: usize = counts.map(|count| count.load(Ordering::Relaxed)).sum();
        all * EACH
    }

    /// Runs while nothing changes about how the client listens: neither do its subscriptions, nor
    /// does the protocol it speaks.
    pub fn listening<R>(&self, run: impl FnOnce() -> R) -> R {
        let _list = self.lock();
        run()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All subscriptions.
pub struct PubSub {
    /// By [`Kind`].
    names: [Names; 3],
    /// Clients that have subscribed to something.
    clients: AtomicUsize,
    /// Their connections, as far as they were closed; `None` where the system has no such thing.
    hangups: Option<Hangups>,
    /// Those of them that have been found closed, while their own threads have not seen to it yet.
    departed: AtomicUsize,
    monitors: RwLock<Members>,
    monitoring: AtomicUsize,
}

impl Default for PubSub {
    fn default() -> Self {
        PubSub {
            names: [Names::new(PARTS), Names::new(1), Names::new(PARTS)],
            clients: AtomicUsize::new(0),
            hangups: Hangups::new().ok(),
            departed: AtomicUsize::new(0),
            monitors: RwLock::default(),
            monitoring: AtomicUsize::new(0),
        }
    }
}

impl PubSub {
    /// Subscribes a client; its session must have called [`super::outbox::Outbox::hold`].
    pub fn subscribe(&self, client: &Arc<Client>, kind: Kind, name: &[u8]) {
        let mut list = client.subscriptions.lock();
        if list.gone || list.names[kind as usize].contains(name) {
            return;
        }
        let name: Arc<[u8]> = name.into();
        list.names[kind as usize].insert(name.clone());
        client.subscriptions.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
        if !client.has(SUBSCRIBED) {
            client.set(SUBSCRIBED, true);
            self.clients.fetch_add(1, Ordering::Relaxed);
            if let Some(hangups) = &self.hangups {
                // Without it, the client counts until its own thread finds it gone.
                let _ = hangups.add(&client.socket, client.id);
            }
        }
        self.names[kind as usize].add(&name, client);
    }

    /// Ends a subscription, if there is one.
    pub fn unsubscribe(&self, client: &Client, kind: Kind, name: &[u8]) {
        let mut list = client.subscriptions.lock();
        if let Some(name) = list.names[kind as usize].take(name) {
            self.names[kind as usize].remove(&name, client.id);
            client.subscriptions.counts[kind as usize].fetch_sub(1, Ordering::Relaxed);
            self.update(client, &list);
        }
    }

    /// What a client has subscribed to.
    pub fn names_of(&self, client: &Client, kind: Kind) -> Vec<Arc<[u8]>> {
        let list = client.subscriptions.lock();
        list.names[kind as usize].iter().cloned().collect()
    }

    /// Ends all subscriptions of a client, and its looking on.
    pub fn leave(&self, client: &Client) {
        if client.has(SUBSCRIBED) || client.has(MONITOR) {
            self.leave_all(client, &mut client.subscriptions.lock());
        }
    }

    /// As [`PubSub::leave`], for good: the client is going.
    pub fn forget(&self, client: &Client) {
        let mut list = client.subscriptions.lock();
        if client.has(DEPARTED) && !list.gone {
            self.departed.fetch_sub(1, Ordering::Relaxed);
        }
        list.gone = true;
        self.leave_all(client, &mut list);
    }

    fn leave_all(&self, client: &Client, list: &mut List) {
        for kind in 0..list.names.len() {
            for name in std::mem::take(&mut list.names[kind]) {
                self.names[kind].remove(&name, client.id);
            }
            client.subscriptions.counts[kind].store(0, Ordering::Relaxed);
        }
        self.update(client, list);
        if client.has(MONITOR) {
            client.set(MONITOR, false);
            write(&self.monitors).remove(&client.id);
            self.monitoring.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Clears the flag of a client that has no subscription left.
    fn update(&self, client: &Client, list: &List) {
        if client.has(SUBSCRIBED) && list.names.iter().all(BTreeSet::is_empty) {
            client.set(SUBSCRIBED, false);
            self.clients.fetch_sub(1, Ordering::Relaxed);
            self.stop_asking(client);
        }
    }

    fn stop_asking(&self, client: &Client) {
        if let Some(hangups) = &self.hangups {
            // One that is not there need not be removed.
            let _ = hangups.remove(&client.socket);
        }
    }

    /// Notes which subscribers have closed their connections by now: they get nothing more and do
    /// not count. That is for commands that tell how many there are, which is to be right even if
    /// the threads of those clients have not come round to it. What such a client has sent before is
    /// still carried out. Costs a system call, or an atomic load if nobody has subscribed.
    pub fn note_departures(&self, server: &Server) {
        let Some(hangups) = self.hangups.as_ref().filter(|_| self.clients() > 0) else {
            return;
        };
        loop {
            let (gone, mut noted) = (hangups.ask(), 0);
            for client in gone.iter().filter_map(|&id| server.clients.get(id)) {
                let list = client.subscriptions.lock();
                if !list.gone && !client.has(DEPARTED) {
                    client.set(DEPARTED, true);
                    self.departed.fetch_add(1, Ordering::Relaxed);
                    noted += 1;
                }
                self.stop_asking(&client);
            }
            // Where they are many, there may be more.
            if noted == 0 {
                return;
            }
        }
    }

    /// Whether none of these clients is there any more.
    fn have_departed(&self, members: &Members) -> bool {
        self.departed.load(Ordering::Relaxed) > 0
            && members.values().all(|client| client.has(DEPARTED))
    }

    /// Whether anybody gets what is published to channels.
    pub fn has_listeners(&self) -> bool {
        self.names[Kind::Channel as usize].len() > 0 || self.names[Kind::Pattern as usize].len() > 0
    }

    /// Sends a message to those who have subscribed to a channel or shard channel, and to those
    /// with a pattern that matches the channel. Returns how many messages that makes.
    pub fn publish(
        &self,
        server: &Server,
        mail: &mut Mail,
        kind: Kind,
        channel: &[u8],
        text: &[u8],
    ) -> usize {
        let word = if kind == Kind::Shard {
            "smessage"
        } else {
            "message"
        };
        let mut sent = 0;
        let names = &self.names[kind as usize];
        if names.len() > 0
            && let Some(members) = read(names.part(channel)).get(channel)
        {
            let parts = [word.as_bytes(), channel, text];
            sent += Message::new(&parts).post(server, mail, members);
        }
        let patterns = &self.names[Kind::Pattern as usize];
        if kind == Kind::Channel && patterns.len() > 0 {
            for (pattern, members) in read(&patterns.parts[0]).iter() {
                if glob::matches(pattern, channel, false) {
                    let parts = [&b"pmessage"[..], pattern, channel, text];
                    sent += Message::new(&parts).post(server, mail, members);
                }
            }
        }
        sent
    }

    /// The names of a kind that somebody has subscribed to and that match a pattern.
    pub fn list(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Arc<[u8]>> {
        let mut found = Vec::new();
        for part in &self.names[kind as usize].parts {
            let part = read(part);
            let fits = |name: &&Arc<[u8]>| pattern.is_none_or(|p| glob::matches(p, name, false));
            let here = part
                .iter()
                .filter(|(_, members)| !self.have_departed(members));
            found.extend(here.map(|(name, _)| name).filter(fits).cloned());
        }
        found
    }

    /// How many clients have subscribed to a name.
    pub fn subscribers(&self, kind: Kind, name: &[u8]) -> usize {
        let part = read(self.names[kind as usize].part(name));
        match part.get(name) {
            None => 0,
            Some(members) if self.departed.load(Ordering::Relaxed) == 0 => members.len(),
            Some(members) => {
                let here = members.values().filter(|client| !client.has(DEPARTED));
                here.count()
            }
        }
    }

    /// How many names of a kind somebody has subscribed to.
    pub fn count(&self, kind: Kind) -> usize {
        match self.departed.load(Ordering::Relaxed) {
            0 => self.names[kind as usize].len(),
            _ => self.list(kind, None).len(),
        }
    }

    /// How many clients have subscribed to something.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Lets a client look on; its session must have called [`super::outbox::Outbox::hold`].
    pub fn monitor(&self, client: &Arc<Client>) {
        let list = client.subscriptions.lock();
        if !list.gone && !client.has(MONITOR) {
            client.set(MONITOR, true);
            write(&self.monitors).insert(client.id, client.clone());
            self.monitoring.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether anybody looks on. Costs one atomic load.
    #[inline]
    pub fn is_monitored(&self) -> bool {
        self.monitoring.load(Ordering::Relaxed) > 0
    }

    /// Sends a line to those who look on.
    pub fn show(&self, server: &Server, mail: &mut Mail, line: &[u8]) {
        let line: Arc<[u8]> = line.into();
        for client in read(&self.monitors).values() {
            mail.post(server, client, &line);
        }
    }
}

/// A message, put together once for each protocol version that is asked for.
struct Message<'a> {
    parts: &'a [&'a [u8]],
    encoded: [Option<Arc<[u8]>>; 2],
}

impl<'a> Message<'a> {
    fn new(parts: &'a [&'a [u8]]) -> Message<'a> {
        Message {
            parts,
            encoded: [None, None],
        }
    }

    fn post(&mut self, server: &Server, mail: &mut Mail, members: &Members) -> usize {
        let mut sent = 0;
        for client in members.values() {
            let resp3 = client.resp.load(Ordering::Relaxed) == 3;
            let parts = self.parts;
            let message = self.encoded[usize::from(resp3)].get_or_insert_with(|| {
                let mut reply = Reply::new();
                reply.set_resp3(resp3);
                reply.push(parts.len());
                parts.iter().for_each(|part| reply.bulk(part));
                reply.bytes().into()
            });
            sent += usize::from(mail.post(server, client, message));
        }
        sent
    }
}
