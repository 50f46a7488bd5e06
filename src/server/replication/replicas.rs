//! The replicas of this server: who they are, how far each has come, and who waits for them.

use std::sync::Arc;

use crate::server::Server;
use crate::server::client::Client;

/// All replicas.
#[derive(Default)]
pub struct Replicas {}

/// One replica.
pub struct Replica {
    /// The connection.
    pub client: Arc<Client>,
}

impl Replicas {
    /// All of them, in the order in which they came.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        Vec::new()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many are online and have told lately how far they are.
    pub fn count_good(&self, _: &Server) -> usize {
        0
    }

    /// Ends the connections of all.
    pub fn drop_all(&self, _: &Server) {}
}

impl Replica {
    /// Its address.
    pub fn ip(&self) -> String {
        String::new()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        0
    }

    /// How far it is with its copy.
    pub fn state_name(&self) -> &'static str {
        "online"
    }

    /// The offset that it has told.
    pub fn ack_offset(&self) -> u64 {
        0
    }

    /// Seconds since it has told something.
    pub fn lag_seconds(&self, _now: i64) -> i64 {
        0
    }

    /// Whether it follows the stream.
    pub fn is_online(&self) -> bool {
        true
    }
}
