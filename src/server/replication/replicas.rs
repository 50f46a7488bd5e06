//! The replicas of this server: who they are, how far each has come, and who waits for them.

use std::sync::Arc;

use crate::server::client::Client;

/// All replicas.
#[derive(Default)]
pub struct Replicas {}

/// One replica.
pub struct Replica {
    /// The connection.
    pub client: Arc<Client>,
}
