//! Messages from one client's thread to other clients.
//!
//! Whoever has messages for others keeps a [`Mail`]: a message goes into the outbox of each of its
//! receivers at once, which costs no system call, and what has gathered there is sent when the
//! sender is about to send its own replies. So a batch of messages costs each receiver one call,
//! and the sender never waits for a slow one.

use std::sync::Arc;

use super::Server;
use super::client::Client;
use super::outbox::Posted;
use super::tracking::Broadcast;
use crate::log_warning;
use crate::resp::Reply;

/// The number under which the sweeper sends; clients have theirs.
pub const SWEEPER: u64 = u64::MAX;
/// The number under which housekeeping sends.
pub const HOUSEKEEPER: u64 = u64::MAX - 1;

/// What a thread has for clients. Next to nothing as long as there is nothing: each command passes
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
    /// Those who have something in their outbox that is to be sent.
    receivers: Vec<Arc<Client>>,
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
        let limit = server.config.output_limit(client.output_class());
        match client.post(server, message, self.sender, limit) {
            Posted::Queued => {}
            Posted::Dispatch => bag.receivers.push(client.clone()),
            Posted::Gone => return false,
            Posted::OverLimit => bag.slow.push(client.clone()),
        }
        true
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

    /// Sends everything, without waiting for anybody.
    pub fn deliver(&mut self, server: &Arc<Server>) {
        // Where there is something for the sender itself, it has been asked for before.
        self.broadcast(server);
        if let Some(mut bag) = self.bag.take() {
            for client in bag.receivers.drain(..) {
                client.dispatch(server);
            }
            for client in bag.slow.drain(..) {
                close_slow(&client);
            }
        }
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
