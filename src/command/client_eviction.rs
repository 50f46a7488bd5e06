//! Client eviction: clients are closed, the largest first, when all of them together take more memory
//! than `maxmemory-clients` allows.
//!
//! Each client's share of the sum is brought up to date where its buffers change: by its own session
//! after each batch, by whoever has messages for it, and now and then by housekeeping. As in Redis
//! clients of about the same size, to a power of two, are as good as each other, and those that have
//! asked for it (`CLIENT NO-EVICT`) are counted but never closed. Replicas and the link to a primary
//! are not even counted. <https://redis.io/docs/latest/develop/reference/clients/#client-eviction>

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::client_list;
use crate::server::Server;
use crate::server::client::{Client, MASTER, NO_EVICT, REPLICA};
use crate::server::config::id;
use crate::server::eviction::Counted;
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
/// one who has changed it finds out when he has his reply.
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
    {
        evict(server, limit);
    }
}

#[cold]
fn evict(server: &Arc<Server>, limit: u64) {
    // One at a time, or too many would go.
    let Ok(mut complained) = server.clients.evicting.try_lock() else {
        return;
    };
    let mut all = count_all(server);
    all.retain(|client| !client.has_any(&[NO_EVICT, REPLICA, MASTER]));
    all.sort_by_key(|client| Reverse(class(client)));
    let mut largest = all.iter();
    while server.clients.memory() >= limit {
        let Some(client) = largest.next() else {
            if !std::mem::replace(&mut *complained, true) {
                log_warning!("Over client maxmemory after evicting all evictable clients");
            }
            return;
        };
        log_notice!("Evicting client: {}", client_list::describe(client));
        client.leave(Counted::new(server.eviction.freeing()));
        // Whoever sees it closed does not find it in a list any more.
        server.remove_client(client);
        client.kill();
        server.stats.evicted_clients.fetch_add(1, Ordering::Relaxed);
    }
    *complained = false;
}

/// The size of a client, to a power of two.
fn class(client: &Client) -> u32 {
    let bits = usize::BITS - client.counted().leading_zeros();
    bits.clamp(*CLASSES.start(), *CLASSES.end())
}
