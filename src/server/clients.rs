//! Who is connected: the list of clients behind `CLIENT LIST` and `maxclients`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::client::{Address, Client, Socket};

/// All connected clients, by id.
#[derive(Default)]
pub struct Clients {
    list: Mutex<BTreeMap<u64, Arc<Client>>>,
    next: AtomicU64,
    count: AtomicUsize,
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
        list.remove(&id);
        self.count.store(list.len(), Ordering::Relaxed);
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
}
