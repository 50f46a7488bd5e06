//! Who is connected: the list of clients behind `CLIENT LIST` and `maxclients`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::client::{Address, CLOSE_ASAP, Client, GONE, HUNG_UP, MASTER, REPLICA, Socket};

/// All connected clients, by id.
#[derive(Default)]
pub struct Clients {
    list: Mutex<BTreeMap<u64, Arc<Client>>>,
    next: AtomicU64,
    count: AtomicUsize,
    /// Bytes that they take, as far as they have been counted.
    memory: AtomicU64,
    /// Held by whoever closes clients because all of them take too much memory; whether that was in
    /// vain.
    pub evicting: Mutex<bool>,
}

impl Clients {
    /// Adds a client, unless there are `most` already.
    pub fn add(&self, socket: Socket, address: Address, most: usize) -> Option<Arc<Client>> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() >= most {
            return None;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let client = Arc::new(Client::new(id, socket, address));
        list.insert(id, client.clone());
        self.count.store(list.len(), Ordering::Relaxed);
        Some(client)
    }

    /// Removes a client that has gone.
    pub fn remove(&self, id: u64) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = list.remove(&id);
        self.count.store(list.len(), Ordering::Relaxed);
        drop(list);
        if let Some(client) = gone {
            // Whoever still has it cannot do anything with it, and it counts no more.
            client.set(CLOSE_ASAP, true);
            client.set(GONE, true);
            self.count_memory(&client);
        }
    }

    /// Brings up to date what a client counts for in [`Clients::memory`].
    pub fn count_memory(&self, client: &Client) {
        let counts = !client.has_any(&[CLOSE_ASAP, HUNG_UP, REPLICA, MASTER]);
        let now = if counts { client.claim() } else { 0 };
        // However many do so at a time, the differences add up to what is there in the end.
        let before = client.count(now) as u64;
        let more = (now as u64).wrapping_sub(before);
        self.memory.fetch_add(more, Ordering::Relaxed);
    }

    /// Bytes that all clients take which count for `maxmemory-clients`, as far as they have been
    /// counted.
    pub fn memory(&self) -> u64 {
        // For a moment a difference may be missing.
        (self.memory.load(Ordering::Relaxed) as i64).max(0) as u64
    }

    /// Number of clients.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The client with this id.
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.list
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }

    /// All clients, in the order in which they came.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.list
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// How much the largest input of a client takes, and the largest output.
    pub fn largest_buffers(&self) -> (usize, usize) {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.values().fold((0, 0), |(input, output), client| {
            (
                input.max(client.input_memory()),
                output.max(client.output_memory()),
            )
        })
    }
}
