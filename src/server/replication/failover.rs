//! `FAILOVER`: the role of the primary is handed over to a replica in order.
//!
//! Writes are paused until a replica has everything; then this server follows it, and asks it, in
//! place of a mere `PSYNC`, to be the primary. Until that has been accepted the old primary can take
//! its role back.
//!
//! Stages only change while every shard is locked, as the role does. The lock of [`Failover`] itself
//! is held for moments, and never while another is asked for.
//! <https://redis.io/docs/latest/commands/failover/>

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Primary, follow, unfollow};
use crate::log_notice;
use crate::server::Server;
use crate::server::pause::{Mode, Purpose};
use crate::store::Locks;
use crate::sys;
use crate::util::clock::{now_ms, steady_ms};

/// How long a replica that is to take over carries out what has come, at most.
const CATCH_UP: Duration = Duration::from_secs(5);

/// How far a failover is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Stage {
    /// There is none.
    #[default]
    None,
    /// A replica is to catch up.
    WaitingForSync,
    /// The replica is asked to take over.
    InProgress,
}

impl Stage {
    /// As `INFO` says it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::None => "no-failover",
            Stage::WaitingForSync => "waiting-for-sync",
            Stage::InProgress => "failover-in-progress",
        }
    }
}

/// What is asked for.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Wish {
    /// The replica that is to take over; any if there is none.
    pub target: Option<Primary>,
    /// When to give up waiting for it, milliseconds on the steady clock.
    pub until: Option<i64>,
    /// Whether it is to take over then, whatever it has.
    pub force: bool,
}

#[derive(Default)]
struct Inner {
    stage: Stage,
    wish: Wish,
}

/// The failover under way.
#[derive(Default)]
pub struct Failover(Mutex<Inner>);

impl Failover {
    /// How far it is.
    pub fn stage(&self) -> Stage {
        self.lock().stage
    }

    /// Whether one is under way.
    pub fn is_active(&self) -> bool {
        self.stage() != Stage::None
    }

    /// How far it is, and what is asked for.
    fn get(&self) -> (Stage, Wish) {
        let inner = self.lock();
        (inner.stage, inner.wish.clone())
    }

    fn set(&self, stage: Stage, wish: Wish) {
        *self.lock() = Inner { stage, wish };
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a failover. Every shard must be locked, so that nothing which has not been held up is still
/// being written.
pub fn begin(server: &Server, wish: Wish) {
    match &wish.target {
        Some(target) => {
            log_notice!("FAILOVER requested to {}:{}.", target.host, target.port);
        }
        None => log_notice!("FAILOVER requested to any replica."),
    }
    let failover = &server.replication.failover;
    failover.set(Stage::WaitingForSync, wish);
    server.pause.start(Purpose::Failover, i64::MAX, Mode::Write);
}

/// The failover is over, one way or the other.
fn clear(server: &Server) {
    let failover = &server.replication.failover;
    failover.set(Stage::None, Wish::default());
    server.pause.end(Purpose::Failover);
}

/// Gives the failover up, if one is under way. Every shard must be locked.
pub fn abort(server: &Server, reason: &str) {
    let (stage, wish) = server.replication.failover.get();
    match (stage, &wish.target) {
        (Stage::None, _) => return,
        (_, Some(target)) => {
            let (host, port) = (&target.host, target.port);
            log_notice!("FAILOVER to {host}:{port} aborted: {reason}");
        }
        (_, None) => log_notice!("FAILOVER to any replica aborted: {reason}"),
    }
    if stage == Stage::InProgress {
        unfollow(server);
    }
    clear(server);
}

/// The replica that was asked to take over has answered, or could not be asked: with a reason if it
/// does not. For the link; no shard must be locked. Returns whether the server still follows it.
pub fn answered(server: &Server, generation: u64, refused: Option<&str>) -> bool {
    let _locks = Locks::all(&server.store, true);
    if !server.replication.is_current(generation) {
        return false;
    }
    if server.replication.failover.stage() != Stage::InProgress {
        return true;
    }
    if let Some(reason) = refused {
        abort(server, reason);
        return false;
    }
    clear(server);
    true
}

/// Looks after the failover; called every tenth of a second, with no shard locked.
pub fn tick(server: &Server) {
    let failover = &server.replication.failover;
    if failover.stage() != Stage::WaitingForSync {
        return;
    }
    let is_due = |wish: &Wish| wish.until.is_some_and(|until| until <= steady_ms());
    let (_, wish) = failover.get();
    if !is_due(&wish) && caught_up(server, &wish).is_none() {
        return;
    }
    let _locks = Locks::all(&server.store, true);
    // It may have been given up meanwhile.
    let (stage, mut wish) = failover.get();
    if stage != Stage::WaitingForSync {
        return;
    }
    let target = if is_due(&wish) {
        let Some(target) = wish.target.clone().filter(|_| wish.force) else {
            return abort(server, "Replica never caught up before timeout");
        };
        let (host, port) = (&target.host, target.port);
        log_notice!("FAILOVER to {host}:{port} time out exceeded, failing over.");
        target
    } else {
        let Some((target, end)) = caught_up(server, &wish) else {
            return;
        };
        if !server.log.seal_stream(end) {
            // There is more meanwhile.
            return;
        }
        let (host, port) = (&target.host, target.port);
        log_notice!("Failover target {host}:{port} is synced, failing over.");
        target
    };
    wish.target = Some(target.clone());
    failover.set(Stage::InProgress, wish);
    follow(server, target, now_ms());
}

/// The replica that is to take over, or any, if it has everything, and the offset up to which that is.
fn caught_up(server: &Server, wish: &Wish) -> Option<(Primary, u64)> {
    let end = server.log.stream_end();
    let found = server
        .replication
        .replicas
        .all()
        .into_iter()
        .find(|replica| {
            let meant = wish
                .target
                .as_ref()
                .is_none_or(|target| is_at(target, &replica.ip(), replica.port()));
            meant && replica.is_online() && replica.ack_offset() == end
        })?;
    let target = wish.target.clone().unwrap_or_else(|| Primary {
        host: found.ip(),
        port: found.port(),
    });
    Some((target, end))
}

/// Whether a replica is the one that is meant.
pub fn is_at(target: &Primary, ip: &str, port: u16) -> bool {
    target.host.eq_ignore_ascii_case(ip) && target.port == port
}

/// Has the link carry out what has arrived from the primary and is not read yet. Where it has more than
/// that to send, its replica does not take over without having been forced to. No shard must be
/// locked.
pub fn catch_up(server: &Server) {
    let link = server.replication.state().link.client.clone();
    if let Some(client) = link {
        let is_left = || sys::pending_input(&client.socket).is_ok_and(|bytes| bytes > 0);
        server.replication.turns.drain(is_left, CATCH_UP);
    }
}

/// The primary asks this replica, by the name of their history, to take its place. `who` describes
/// the connection. Every shard must be locked.
///
/// # Errors
/// The error reply for whoever asks in vain.
pub fn taken_over(server: &Server, id: &[u8], who: &str) -> Result<(), &'static str> {
    crate::log_warning!(
        "Failover request received for replid {}.",
        String::from_utf8_lossy(id)
    );
    let state = server.replication.state();
    if state.primary.is_none() {
        return Err("ERR PSYNC FAILOVER can't be sent to a master.");
    }
    if !state.id.as_bytes().eq_ignore_ascii_case(id) {
        return Err("ERR PSYNC FAILOVER replid must match my replid.");
    }
    drop(state);
    unfollow(server);
    log_notice!("MASTER MODE enabled (failover request from '{who}')");
    Ok(())
}
