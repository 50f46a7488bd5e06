//! The part of `INFO` about replication, and what the replication stream takes of memory.

use super::info::Text;
use crate::server::Server;
use crate::server::config::id;
use crate::server::replication::{LinkState, Primary, State};
use crate::util::clock::now_ms;

/// The section about replication.
pub(super) fn about_replication(text: &mut Text, server: &Server) {
    let replication = &server.replication;
    let state = replication.state().clone();
    let kept = server.log.kept();
    match &state.primary {
        None => text.field("role", "master"),
        Some(primary) => {
            text.field("role", "slave");
            about_primary(text, server, primary, &state, kept.end);
        }
    }
    about_replicas(text, server);
    // A replica keeps a stream from the start; for Redis there is none before it knows of one.
    let known = state.unshared.as_ref() != Some(&state.id);
    let active = kept.on && known;
    text.field("master_failover_state", replication.failover.stage().name());
    text.field("master_replid", &state.id);
    text.field("master_replid2", &state.id2);
    text.field("master_repl_offset", kept.end);
    text.field("second_repl_offset", state.offset2);
    text.field("repl_backlog_active", u8::from(active));
    text.field(
        "repl_backlog_size",
        server.config.memory(id::REPL_BACKLOG_SIZE),
    );
    let (first, kept) = match active {
        true => (kept.first + 1, kept.end - kept.first),
        false => (0, 0),
    };
    text.field("repl_backlog_first_byte_offset", first);
    text.field("repl_backlog_histlen", kept);
}

/// What a replica tells of its primary; `end` is the end of the stream.
fn about_primary(text: &mut Text, server: &Server, primary: &Primary, state: &State, end: u64) {
    let (link, now) = (&state.link, now_ms() / 1000);
    let connected = link.state == LinkState::Connected;
    let in_progress = link.state == LinkState::Transfer;
    let last_io = if connected { now - link.last_io } else { -1 };
    text.field("master_host", &primary.host);
    text.field("master_port", primary.port);
    text.field("master_link_status", if connected { "up" } else { "down" });
    text.field("master_last_io_seconds_ago", last_io);
    text.field("master_sync_in_progress", u8::from(in_progress));
    // Redis begins to count here only where there is a stream.
    let end = if connected || state.resumable { end } else { 1 };
    let received = if connected { link.received } else { 0 };
    text.field("slave_read_repl_offset", end.max(received));
    text.field("slave_repl_offset", end);
    if in_progress {
        let (total, read) = (link.transfer_total as i64, link.transfer_read as i64);
        let share = match total {
            0 => 0.0,
            _ => read as f64 * 100.0 / total as f64,
        };
        text.field("master_sync_total_bytes", total);
        text.field("master_sync_read_bytes", read);
        text.field("master_sync_left_bytes", total - read);
        text.field("master_sync_perc", format!("{share:.2}"));
        let ago = now - link.transfer_last_io;
        text.field("master_sync_last_io_seconds_ago", ago);
    }
    if !connected {
        let since = link.down_since;
        let down = if since == 0 { -1 } else { now - since };
        text.field("master_link_down_since_seconds", down);
    }
    text.field("slave_priority", server.config.int(id::REPLICA_PRIORITY));
    text.field("slave_read_only", server.config.int(id::REPLICA_READ_ONLY));
    text.field(
        "replica_announced",
        server.config.int(id::REPLICA_ANNOUNCED),
    );
}

/// Those that follow this server.
fn about_replicas(text: &mut Text, server: &Server) {
    let replicas = &server.replication.replicas;
    let all = replicas.all();
    text.field("connected_slaves", all.len());
    let needed = server.config.int(id::MIN_REPLICAS_TO_WRITE);
    if needed > 0 && server.config.int(id::MIN_REPLICAS_MAX_LAG) > 0 {
        text.field("min_slaves_good_slaves", replicas.count_good(server));
    }
    for (number, replica) in all.iter().enumerate() {
        let lag = replica.lag_seconds();
        text.line(format_args!(
            "slave{number}:ip={},port={},state={},offset={},lag={lag}",
            replica.ip(),
            replica.port(),
            replica.state_name(),
            replica.ack_offset(),
        ));
    }
}

/// The memory of the replication stream, as Redis divides it up: what is more than the backlog is to
/// hold is there because of replicas.
#[derive(Default)]
pub(super) struct StreamMemory {
    /// That of the backlog.
    pub backlog: u64,
    /// That of what replicas have not been sent.
    pub replicas: u64,
}

impl StreamMemory {
    /// As it is now.
    pub fn of(server: &Server) -> StreamMemory {
        let memory = server.log.kept().memory as u64;
        let limit = server.config.memory(id::REPL_BACKLOG_SIZE);
        let has_replicas = !server.replication.replicas.is_empty();
        let backlog = if has_replicas {
            memory.min(limit)
        } else {
            memory
        };
        StreamMemory {
            backlog,
            replicas: memory - backlog,
        }
    }

    /// That of all of it.
    pub fn all(&self) -> u64 {
        self.backlog + self.replicas
    }
}
