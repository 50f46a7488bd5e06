//! The replica's end of the link to its primary: one thread, which is one of the feeders of
//! commands.
//!
//! The thread ([`run`]) works for one generation of the role at a time: as long as that lasts it
//! connects ([`mod@line`]), says who it is and what it has ([`handshake`]), fetches the data set where
//! the stream does not go on from there ([`transfer`]), and then carries out what comes
//! ([`stream`]); [`link`] holds these together. When the role changes, its connection is cut, and
//! whatever is still on its way is not carried out, for the locks under which it would be are those
//! under which the role has changed.

pub mod handshake;
pub mod line;
pub mod link;
pub mod stream;
pub mod transfer;

use std::sync::Arc;
use std::time::Duration;

use crate::persist::aof::files::State as AofState;
use crate::server::config::id;
use crate::server::replication::{Primary, State};
use crate::server::{Server, rewriting};

/// How long it takes until a connection that cannot be made is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The life of the thread.
pub fn run(server: Arc<Server>) {
    let _watched = crate::sys::watch_thread();
    while !server.is_stopping() {
        let (generation, primary) = role(&server);
        match primary {
            Some(primary) => follow(&server, generation, &primary),
            None => lead(&server, generation),
        }
    }
}

/// The generation of the role, and the primary if there is one.
fn role(server: &Server) -> (u64, Option<Primary>) {
    // It only changes under this lock.
    let state = server.replication.state();
    (server.replication.generation(), state.primary.clone())
}

/// Follows a primary for as long as that is the server's role.
fn follow(server: &Arc<Server>, generation: u64, primary: &Primary) {
    let mut attempt = link::Attempt::First;
    while server.replication.is_current(generation) && !server.is_stopping() {
        attempt = link::serve(server, generation, primary, attempt);
        // One that stood is made again at once.
        if attempt != link::Attempt::Again {
            server.replication.wait_for_change(generation, PAUSE);
        }
    }
}

/// There is nobody to follow.
fn lead(server: &Arc<Server>, generation: u64) {
    // A copy of the data set that was under way when the role changed may have left it off.
    if server.config.bool(id::APPENDONLY)
        && server.aof.state() == AofState::Off
        && !server.loading.is_active()
        && server.aof.setup().files.is_some()
        && generation > 1
    {
        let _ = rewriting::switch_on(server);
    }
    server.replication.wait_for_change(generation, PAUSE);
}

/// Changes what is known of the replication, unless the generation is over. Returns whether it is
/// not.
fn note(server: &Server, generation: u64, change: impl FnOnce(&mut State)) -> bool {
    let mut state = server.replication.state();
    let current = server.replication.is_current(generation);
    if current {
        change(&mut state);
    }
    current
}

/// As whom to log in to the primary, and with which password.
fn credentials(server: &Server) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let given = |option| {
        let text = server.config.str(option);
        (!text.is_empty()).then(|| text.to_vec())
    };
    (given(id::MASTERUSER), given(id::MASTERAUTH))
}

/// The offset up to which everything is in the append only file and on disk, if there is one.
fn synced(server: &Server) -> Option<u64> {
    let kept = server.log.has_file() && server.aof.state() == AofState::On;
    kept.then(|| server.aof.synced_stream(&server.log))
}
