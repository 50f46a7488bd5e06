//! Messages from one client's thread to other clients.
//!
//! Whoever has messages for others keeps a [`Mail`]: a message goes into the outbox of each of its
//! receivers at once, which costs no system call, and what has gathered there is sent when the
//! sender is about to send its own replies. So a batch of messages costs each receiver one call,
//! and the sender never waits for a slow one.
//!
//! Who has something to be sent is kept for each thread, not for each sender: where one thread
//! serves many senders, their messages for one receiver leave together (see [`crate::net::round`]).
//! Each thread sends what its list asks for before it sends any reply of a client with messages.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Server;
use super::client::{Client, DEPARTED};
use super::config::id;
use super::outbox::Posted;
use super::tracking::Broadcast;
use crate::log_warning;
use crate::resp::Reply;

/// The number under which the sweeper sends; clients have theirs.
pub const SWEEPER: u64 = u64::MAX;
/// The number under which housekeeping sends.
pub const HOUSEKEEPER: u64 = u64::MAX - 1;
/// The number under which the thread sends that goes on with an eviction.
pub const EVICTOR: u64 = u64::MAX - 2;

/// Lists of receivers up to this length are used again.
const KEEP: usize = 1024;

thread_local! {
    /// The number of this thread among those that have had messages, or 0.
    static COURIER: Cell<u64> = const { Cell::new(0) };
    /// Clients that have something in their outbox that this thread is to send.
    static RECEIVERS: RefCell<Vec<Arc<Client>>> = const { RefCell::new(Vec::new()) };
}

/// The number of this thread.
fn courier() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if COURIER.get() == 0 {
        COURIER.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    COURIER.get()
}

/// Sends what this thread has taken upon itself to send. Returns to how many clients.
fn send_all(server: &Arc<Server>) -> usize {
    let mut receivers = RECEIVERS.take();
    let count = receivers.len();
    for client in receivers.drain(..) {
        client.dispatch(server);
    }
    if receivers.capacity() <= KEEP {
        RECEIVERS.set(receivers);
    }
    count
}

/// What a client's commands, or another thread, have for clients. Next to nothing as long as there is nothing: each command passes
/// one on.
#[derive(Default)]
pub struct Mail {
    /// The client whose commands these messages come from, or one of the numbers above.
    sender: u64,
    bag: Option<Box<Bag>>,
}

#[derive(Default)]
struct Bag {
    /// What the sender has for itself: it follows the reply to the command it comes from.
    own: Vec<u8>,
    /// A blocked client that is being served, and what has come for it meanwhile.
    served: Option<(u64, Vec<u8>)>,
    /// Changed keys for those who listen to their prefixes.
    changed: Broadcast,
    /// Whether anything has gone to an outbox.
    posted: bool,
    /// Those who have read too little for too long.
    slow: Vec<Arc<Client>>,
}

impl Mail {
    /// No messages yet.
    pub fn new(sender: u64) -> Mail {
        Mail {
            sender,
            ..Mail::default()
        }
    }

    /// Puts a message into a client's outbox. Returns whether the client is there.
    pub fn post(&mut self, server: &Server, client: &Arc<Client>, message: &Arc<[u8]>) -> bool {
        let bag = self.bag.get_or_insert_default();
        if client.id == self.sender {
            bag.own.extend_from_slice(message);
            return true;
        }
        if let Some((served, messages)) = &mut bag.served
            && *served == client.id
        {
            messages.extend_from_slice(message);
            return true;
        }
        if client.has(DEPARTED) {
            return false;
        }
        let limit = server.config.output_limit(client.output_class());
        match client.post(server, message, courier(), limit) {
            Posted::Queued => {}
            Posted::Dispatch => RECEIVERS.with_borrow_mut(|all| all.push(client.clone())),
            Posted::Gone => return false,
            Posted::OverLimit => bag.slow.push(client.clone()),
        }
        bag.posted = true;
        if server.config.int(id::MAXMEMORY_CLIENTS) != 0 {
            server.clients.count_memory(client);
        }
        true
    }

    /// Whether there is nothing for anybody.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bag
            .as_ref()
            .is_none_or(|bag| !bag.posted && bag.changed.is_empty() && bag.slow.is_empty())
    }

    /// A blocked client is about to be served: what comes for it from now on is put aside.
    pub fn begin_service(&mut self, client: &Client) {
        if client.outbox.is_pushable() {
            let bag = self.bag.get_or_insert_default();
            bag.served = Some((client.id, Vec::new()));
        }
    }

    /// It has been served: returns what is to follow its reply.
    pub fn end_service(&mut self) -> Vec<u8> {
        let served = self.bag.as_mut().and_then(|bag| bag.served.take());
        served.map(|(_, messages)| messages).unwrap_or_default()
    }

    /// Adds to what the sender has for itself.
    pub fn add_own(&mut self, messages: Vec<u8>) {
        if !messages.is_empty() {
            self.bag.get_or_insert_default().own.extend(messages);
        }
    }

    /// Writes what the sender has for itself.
    #[inline]
    pub fn write_own(&mut self, out: &mut Reply) {
        if let Some(bag) = &mut self.bag {
            out.raw(&std::mem::take(&mut bag.own));
        }
    }

    /// Whether these are the messages of a client.
    pub fn is_from(&self, client: &Client) -> bool {
        client.id == self.sender
    }

    /// Keys that are to be broadcast as changed.
    pub fn broadcast_mut(&mut self) -> &mut Broadcast {
        &mut self.bag.get_or_insert_default().changed
    }

    /// Posts messages about the keys that are to be broadcast as changed. The sender's own, if any,
    /// is returned: it belongs behind all replies so far.
    pub fn broadcast(&mut self, server: &Server) -> Vec<u8> {
        let Some(bag) = &mut self.bag else {
            return Vec::new();
        };
        if bag.changed.is_empty() {
            return Vec::new();
        }
        let changed = std::mem::take(&mut bag.changed);
        let before = std::mem::take(&mut bag.own);
        server.tracking.broadcast(server, self, changed);
        let bag = self.bag.get_or_insert_default();
        std::mem::replace(&mut bag.own, before)
    }

    /// Sends everything, without waiting for anybody. Returns how many clients had to be looked
    /// after.
    pub fn deliver(&mut self, server: &Arc<Server>) -> usize {
        if self.bag.is_none() {
            return 0;
        }
        // Where there is something for the sender itself, it has been asked for before.
        self.broadcast(server);
        let receivers = send_all(server);
        if let Some(mut bag) = self.bag.take() {
            for client in bag.slow.drain(..) {
                // Nobody is to see it without what it has not read.
                server.remove_client(&client);
                close_slow(&client);
            }
        }
        receivers
    }
}

/// Closes a client that does not read what it has been sent.
pub fn close_slow(client: &Client) {
    log_warning!(
        "Client {} closed for overcoming of output buffer limits.",
        client.address.peer
    );
    client.kill();
}
