//! Client eviction: clients are closed, the largest first, when all of them together take more memory
//! than `maxmemory-clients` allows.
//!
//! Each client's share of the sum is brought up to date where its buffers change: by its own session
//! after each batch, by whoever has messages for it, and now and then by housekeeping. Whoever looks at
//! other clients first waits until that has happened for all that they had sent before
//! ([`crate::server::arrivals`]), so that he never meets one that ought to have gone. As in Redis
//! clients of about the same size, to a power of two, are as good as each other, and those that have
//! asked for it (`CLIENT NO-EVICT`) are counted but never closed. Replicas and the link to a primary
//! are not even counted. <https://redis.io/docs/latest/develop/reference/clients/#client-eviction>

use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{Ctx, client_list};
use crate::server::Server;
use crate::server::arrivals::Pending;
use crate::server::client::{Client, HUNG_UP, MASTER, NO_EVICT, REPLICA};
use crate::server::config::id;
use crate::server::eviction::Counted;
use crate::sys::PollSet;
use crate::{log_notice, log_warning};

/// No limit is taken to be lower than this: nobody could talk to the server any more.
const LEAST: u64 = 128 << 10;
/// The smallest and the largest size, as powers of two, between which clients are told apart.
const CLASSES: std::ops::RangeInclusive<u32> = 15..=33;

/// Whether clients are counted at all. One relaxed load.
#[inline]
pub fn is_on(server: &Server) -> bool {
    server.config.int(id::MAXMEMORY_CLIENTS) != 0
}

/// As much may all clients take together.
fn limit(server: &Server) -> Option<u64> {
    let limit = match server.config.int(id::MAXMEMORY_CLIENTS) {
        0 => return None,
        // A share of what all data may take; of no limit it is none.
        share @ ..0 => match server.config.memory(id::MAXMEMORY) {
            0 => return None,
            all => (all as f64 * share.unsigned_abs() as f64 / 100.0) as u64,
        },
        bytes => bytes as u64,
    };
    Some(limit.max(LEAST))
}

/// The buffers of a client have changed.
pub fn changed(server: &Arc<Server>, client: &Client) {
    server.clients.count_memory(client);
    check(server);
}

/// Counts all clients anew.
pub fn recount(server: &Arc<Server>) {
    if is_on(server) {
        count_all(server);
        check(server);
    }
}

/// The option has changed: until now not all may have been counted. Whether anybody has to go, the
/// one who has changed it finds out before he has his reply.
pub(super) fn limit_changed(server: &Server) {
    if is_on(server) {
        count_all(server);
    }
}

fn count_all(server: &Server) -> Vec<Arc<Client>> {
    let all = server.clients.all();
    all.iter()
        .for_each(|client| server.clients.count_memory(client));
    all
}

/// Closes clients if all of them take too much. The caller holds no lock.
#[inline]
pub fn check(server: &Arc<Server>) {
    if let Some(limit) = limit(server)
        && server.clients.memory() >= limit
        // One at a time, or too many would go.
        && let Ok(mut complained) = server.clients.evicting.try_lock()
    {
        evict(server, limit, &mut complained, None);
    }
}

/// As [`changed`], for one who makes room otherwise unless clients do: who has to go has gone when this
/// returns, whoever closes him.
pub(super) fn changed_before_keys_go(server: &Arc<Server>, client: &Client) {
    server.clients.count_memory(client);
    if let Some(limit) = limit(server)
        && server.clients.memory() >= limit
    {
        let evicting = server.clients.evicting.lock();
        let mut complained = evicting.unwrap_or_else(PoisonError::into_inner);
        if server.clients.memory() >= limit {
            evict(server, limit, &mut complained, None);
        }
    }
}

/// As [`check`], for the sake of a client that is about to see who is left: who has to go has gone
/// when this returns, whoever closes him. The client itself, and whoever comes after it, may go once
/// it has its reply.
pub(super) fn enforce(server: &Arc<Server>, asker: &Client) {
    if let Some(limit) = limit(server) {
        let evicting = server.clients.evicting.lock();
        let mut complained = evicting.unwrap_or_else(PoisonError::into_inner);
        // Of two threads that count a client at a time, the slower one may know less.
        count_all(server);
        if server.clients.memory() >= limit {
            evict(server, limit, &mut complained, Some(asker));
        }
    }
}

/// What a command does that is about to look at other clients: what they have sent before is dealt
/// with, and who takes too much goes. Returns `false` when that takes a thread of the client's own.
pub(super) fn before_looking(c: &mut Ctx<'_>) -> bool {
    // What a transaction has locked may be what they wait for.
    if c.db.in_transaction {
        return true;
    }
    let asker = &c.session.client;
    let pending = Pending::of(&c.server.clients.all(), asker);
    if !pending.is_empty() {
        if c.pace.must_not_wait() {
            return false;
        }
        pending.wait(asker);
    }
    enforce(c.server, asker);
    true
}

#[cold]
fn evict(server: &Arc<Server>, limit: u64, complained: &mut bool, asker: Option<&Client>) {
    // Nobody goes for the sake of one that has gone by itself.
    note_hung_up(&server.clients.all());
    let mut all = count_all(server);
    all.retain(|client| !client.has_any(&[NO_EVICT, HUNG_UP, REPLICA, MASTER]));
    all.sort_by_key(|client| Reverse(class(client)));
    let mut largest = all.iter();
    while server.clients.memory() >= limit {
        let Some(client) = largest.next() else {
            if !std::mem::replace(complained, true) {
                log_warning!("Over client maxmemory after evicting all evictable clients");
            }
            return;
        };
        if asker.is_some_and(|asker| asker.id == client.id) {
            return;
        }
        log_notice!("Evicting client: {}", client_list::describe(client));
        client.leave(Counted::new(server.eviction.freeing()));
        // Whoever sees it closed does not find it in a list any more.
        server.remove_client(client);
        client.kill();
        server.stats.evicted_clients.fetch_add(1, Ordering::Relaxed);
    }
    *complained = false;
}

/// Marks clients whose peers have closed their connections: what they take is about to be freed.
fn note_hung_up(all: &[Arc<Client>]) {
    let mut sockets = PollSet::for_hangups();
    all.iter().for_each(|client| sockets.push(&client.socket));
    if sockets.ask().is_ok_and(|gone| gone > 0) {
        let gone = (0..all.len()).filter(|&at| sockets.is_ready(at));
        gone.for_each(|at| all[at].set(HUNG_UP, true));
    }
}

/// The size of a client, to a power of two.
fn class(client: &Client) -> u32 {
    let bits = usize::BITS - client.counted().leading_zeros();
    bits.clamp(*CLASSES.start(), *CLASSES.end())
}
