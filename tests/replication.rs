//! Replication from the outside: real servers as primaries and replicas, and both ends of the link
//! spoken by hand where every byte counts.
//!
//! Every server here is the one under test: `STDIS_TEST_SERVER=/usr/bin/redis-server` checks the
//! tests themselves against Redis 7.0. Links that break are in `replication_faults.rs`, chains of
//! both programs in `replication_mixed.rs`.

mod support;

#[path = "replication/acks.rs"]
mod acks;
#[path = "replication/as_primary.rs"]
mod as_primary;
#[path = "replication/as_replica.rs"]
mod as_replica;
#[path = "replication/failover.rs"]
mod failover;
#[path = "support/link.rs"]
mod link;
#[path = "support/nodes.rs"]
mod nodes;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "replication/replicas.rs"]
mod replicas;
#[path = "replication/roles.rs"]
mod roles;
#[path = "replication/stream.rs"]
mod stream;
