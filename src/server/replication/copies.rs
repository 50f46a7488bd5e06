//! Copies of the data set for replicas that cannot go on from where they are.
//!
//! A copy is a snapshot whose instant is a point of the stream: replicas that wait for one are told
//! the offset, and get the stream from there once they have the copy. It is either saved as the
//! snapshot file and sent from there, or sent to all that wait while it is made. Which one is decided
//! by `repl-diskless-sync` and by what the replicas understand; replicas that come together share one.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::replicas::{Phase, Replica, Wants};
use crate::persist::aof::files::State as AofState;
use crate::persist::crc64;
use crate::persist::rdb::{VERSION_FIELD_DEADLINES, encode};
use crate::server::Server;
use crate::server::aof::reason;
use crate::server::config::id;
use crate::server::log::stream::Cursor;
use crate::server::replication::History;
use crate::server::saving::{self, Ending, Extent, Kind, NotSaved, Speed};
use crate::store::snapshot::Handle;
use crate::util::random;
use crate::{log_notice, log_warning, sys};

/// Bytes of a copy that wait for a replica to take them before whoever makes it waits as well.
const HELD: usize = 2 << 20;
/// How often one that waits for a replica looks after itself.
const LOOK: Duration = Duration::from_millis(100);

/// The copies that are being made.
#[derive(Default)]
pub(super) struct Copies {
    /// The one at the moment, once its instant has passed.
    current: Mutex<Option<Current>>,
    /// Whether the snapshot file was made for replicas only, and is to go when they have it.
    file_is_theirs: AtomicBool,
}

/// A copy that is being made.
struct Current {
    target: Target,
    /// The name of the history, and the offset that the copy has.
    id: String,
    offset: u64,
}

/// Where a copy goes first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Disk,
    Sockets,
}

impl Copies {
    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn copies(server: &Server) -> &Copies {
    &server.replication.replicas.copies
}

/// A replica waits for a copy: has it join the one that is being made if it can, or begins one if it
/// is time.
pub(super) fn ask(server: &Arc<Server>, replica: &Arc<Replica>) {
    let target = copies(server).current().as_ref().map(|one| one.target);
    let saving = server.saving.current().map(|job| job.kind);
    let background = matches!(saving, Some(Kind::Background | Kind::Save));
    if target == Some(Target::Sockets) {
        log_notice!("Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC");
    } else if background {
        if join(server, replica) {
            log_notice!("Waiting for end of BGSAVE for SYNC");
        } else {
            log_notice!(
                "Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC"
            );
        }
    } else if replica.said.eof
        && server.config.bool(id::REPL_DISKLESS_SYNC)
        && server.config.int(id::REPL_DISKLESS_SYNC_DELAY) > 0
    {
        log_notice!("Delay next BGSAVE for diskless SYNC");
    } else if saving.is_some() {
        log_notice!(
            "No BGSAVE in progress, but another BG operation is active. BGSAVE for replication delayed"
        );
    } else {
        start(server, replica.said.wants, replica.said.eof);
    }
}

/// Has a replica share the copy that is being written to the disk for another one, if that is what it
/// wants.
fn join(server: &Server, replica: &Replica) -> bool {
    // Held until it is among those that get the copy.
    let guard = copies(server).current();
    let Some(current) = guard.as_ref().filter(|one| one.target == Target::Disk) else {
        return false;
    };
    let said = &replica.said;
    let fits = |other: &&Arc<Replica>| {
        let has = &other.said;
        (said.eof || !has.eof)
            && (said.psync2 || !has.psync2)
            && said.wants == has.wants
            && (said.rdb_only || !has.rdb_only)
            && other.state().phase == Phase::Saving
    };
    let all = server.replication.replicas.all();
    if !all.iter().any(|other| fits(&other)) {
        return false;
    }
    // The other one keeps what is behind it.
    let cursor = match said.rdb_only {
        true => None,
        false => match server.log.open_cursor(current.offset) {
            Some(cursor) => Some(cursor),
            None => return false,
        },
    };
    set_up(server, replica, current, cursor, b"");
    true
}

/// Begins the copy that is due, if one is.
pub(super) fn start_due(server: &Arc<Server>) {
    if server.replication.replicas.is_empty() || server.saving.is_busy() {
        return;
    }
    let all = server.replication.replicas.all();
    let mut waiting = all
        .iter()
        .filter(|replica| replica.state().phase == Phase::Waiting);
    let Some(first) = waiting.next() else {
        return;
    };
    let (wants, mut eof, mut count) = (first.said.wants, first.said.eof, 1);
    for other in waiting.filter(|replica| replica.said.wants == wants) {
        eof &= other.said.eof;
        count += 1;
    }
    let config = &server.config;
    let most = config.int(id::REPL_DISKLESS_SYNC_MAX_REPLICAS);
    let delay = config.int(id::REPL_DISKLESS_SYNC_DELAY);
    let waited = first.since.elapsed().as_secs() as i64;
    if !config.bool(id::REPL_DISKLESS_SYNC) || most > 0 && count >= most || waited >= delay {
        start(server, wants, eof);
    }
}

/// Begins a copy for all that wait and want the same of it.
fn start(server: &Arc<Server>, wants: Wants, eof: bool) {
    // What is not everything is never saved: it would take the place of what is.
    let sockets = eof && (server.config.bool(id::REPL_DISKLESS_SYNC) || wants != Wants::ALL);
    log_notice!(
        "Starting BGSAVE for SYNC with target: {}",
        if sockets { "replicas sockets" } else { "disk" }
    );
    let started = match sockets {
        true => start_sending(server, wants),
        false => start_saving(server, wants),
    };
    match started {
        // Somebody was faster: it begins behind that.
        Ok(()) | Err(NotSaved::Busy(_)) => {}
        Err(_) => {
            log_warning!("BGSAVE for replication failed");
            for replica in server.replication.replicas.all() {
                if replica.state().phase == Phase::Waiting {
                    let error = b"-ERR BGSAVE failed, replication can't continue\r\n";
                    // It may have gone by now.
                    let _ = sys::send_nonblocking(&replica.client.socket, error);
                    drop_one(server, &replica);
                }
            }
        }
    }
}

/// At the instant of a copy: tells those that are to get it, and opens the stream for each. Every shard
/// is locked. `head` is what stands before the copy.
fn begin(
    server: &Server,
    wants: Wants,
    target: Target,
    head: &[u8],
) -> (History, Vec<Arc<Replica>>) {
    let id = server.replication.state().id.clone();
    let (offset, db) = server.log.begin_copy();
    let current = Current {
        target,
        id: id.clone(),
        offset,
    };
    let fits = |replica: &Arc<Replica>| {
        replica.said.wants == wants
            && (target == Target::Disk || replica.said.eof)
            && replica.state().phase == Phase::Waiting
    };
    let mut all = server.replication.replicas.all();
    all.retain(|replica| {
        let cursor = match replica.said.rdb_only {
            true => None,
            false => server.log.open_cursor(offset),
        };
        let fits = fits(replica) && (cursor.is_some() || replica.said.rdb_only);
        if fits {
            return set_up(server, replica, &current, cursor, head);
        }
        if let Some(cursor) = cursor {
            server.log.close_cursor(cursor);
        }
        false
    });
    *copies(server).current() = Some(current);
    let db = db.unwrap_or(0);
    (History { id, offset, db }, all)
}

/// A replica that has waited gets a copy. Returns whether it is still there.
fn set_up(
    server: &Server,
    replica: &Replica,
    copy: &Current,
    cursor: Option<Cursor>,
    head: &[u8],
) -> bool {
    let mut state = replica.state();
    if state.phase != Phase::Waiting {
        drop(state);
        if let Some(cursor) = cursor {
            server.log.close_cursor(cursor);
        }
        return false;
    }
    state.phase = match copy.target {
        Target::Disk => Phase::Saving,
        Target::Sockets => Phase::Streaming,
    };
    state.cursor = cursor;
    state.start = copy.offset;
    if !replica.old {
        let line = format!("+FULLRESYNC {} {}\r\n", copy.id, copy.offset);
        state.head.extend_from_slice(line.as_bytes());
    }
    state.head.extend_from_slice(head);
    drop(state);
    replica.changed.notify_all();
    true
}

fn drop_one(server: &Server, replica: &Replica) {
    replica.client.kill();
    server.remove_client(&replica.client);
}

// ---------------------------------------------------------------- by way of the disk

/// Saves the snapshot file, and has it sent from there.
fn start_saving(server: &Arc<Server>, wants: Wants) -> Result<(), NotSaved> {
    let (instant, then) = (server.clone(), server.clone());
    let theirs = server.config.bool(id::RDB_DEL_SYNC_FILES);
    saving::save_in_background_and(
        server,
        Speed::Brisk,
        move || drop(begin(&instant, wants, Target::Disk, b"")),
        move |saved| {
            if saved && theirs {
                copies(&then).file_is_theirs.store(true, Ordering::Relaxed);
            }
            hand_out(&then, saved);
        },
    )
}

/// The snapshot file is there, or is not: those that wait for it get it, or go.
fn hand_out(server: &Server, saved: bool) {
    let mut current = copies(server).current();
    *current = None;
    let all = server.replication.replicas.all();
    let waiting = all
        .iter()
        .filter(|replica| replica.state().phase == Phase::Saving);
    let open = || {
        let name = server.config.str(id::DBFILENAME);
        let file = File::open(&*String::from_utf8_lossy(&name))?;
        let length = file.metadata()?.len();
        Ok((Arc::new(file), length))
    };
    let file: io::Result<(Arc<File>, u64)> = open();
    let mut lost = Vec::new();
    for replica in waiting {
        match &file {
            Ok((file, length)) if saved => {
                let mut state = replica.state();
                if state.phase == Phase::Saving {
                    state.phase = Phase::Sending;
                    state.file = Some((file.clone(), *length));
                }
                drop(state);
                replica.changed.notify_all();
                continue;
            }
            Err(error) if saved => log_warning!(
                "SYNC failed. Can't open/stat DB after BGSAVE: {}",
                reason(error)
            ),
            _ => log_warning!("SYNC failed. BGSAVE child returned an error"),
        }
        lost.push(replica);
    }
    drop(current);
    for replica in lost {
        drop_one(server, replica);
    }
}

/// A replica that has waited for the snapshot file is gone. If it was the last, and the file is of use
/// for nobody else, there is no need to go on with it. Shards may be locked.
pub(super) fn let_go(server: &Server) {
    let current = copies(server).current();
    let on_disk = current
        .as_ref()
        .is_some_and(|one| one.target == Target::Disk);
    if !on_disk || !server.config.save_points().is_empty() {
        return;
    }
    let waits = |replica: &Arc<Replica>| replica.state().phase == Phase::Saving;
    if server.replication.replicas.all().iter().any(waits) {
        return;
    }
    // It ends by itself, soon: whoever is here may hold what it needs for that.
    if let Some(handle) = server.saving.current().and_then(|job| job.handle) {
        handle.cancel();
    }
}

/// Removes the snapshot file if it was made for replicas only and all of them have it.
pub(super) fn remove_file(server: &Server) {
    let theirs = &copies(server).file_is_theirs;
    if !theirs.load(Ordering::Relaxed) {
        return;
    }
    if !server.config.bool(id::RDB_DEL_SYNC_FILES) {
        theirs.store(false, Ordering::Relaxed);
        return;
    }
    let kept = !server.config.save_points().is_empty() || server.aof.state() != AofState::Off;
    let in_use = |replica: &Arc<Replica>| {
        let phase = replica.state().phase;
        matches!(phase, Phase::Waiting | Phase::Saving | Phase::Sending)
    };
    if kept || server.replication.replicas.all().iter().any(in_use) {
        return;
    }
    theirs.store(false, Ordering::Relaxed);
    log_notice!("Removing the RDB file used to feed replicas in a persistence-less instance");
    let name = server.config.str(id::DBFILENAME);
    // It may be gone already.
    let _ = std::fs::remove_file(&*String::from_utf8_lossy(&name));
}

// ---------------------------------------------------------------- straight to the sockets

/// Sends a copy to all that wait for it while it is made.
fn start_sending(server: &Arc<Server>, wants: Wants) -> Result<(), NotSaved> {
    server.saving.begin(Kind::Background, false)?;
    log_notice!(
        "Background RDB transfer started by pid {}",
        std::process::id()
    );
    let shared = server.clone();
    let body = move || {
        let server = &*shared;
        let _ending = Ending::of(&server.saving);
        let them = RefCell::new(Vec::new());
        let sent = saving::attempt("copy", || send(server, wants, &them));
        *copies(server).current() = None;
        match sent {
            Ok(()) => log_notice!("Background RDB transfer terminated with success"),
            Err(_) => {
                log_warning!("Background transfer error");
                for replica in them.take() {
                    drop_one(server, &replica);
                }
            }
        }
    };
    saving::spawn("copy", body).map_err(|error| {
        server.saving.end();
        log_warning!("Can't save in background: {error}");
        NotSaved::Failed(error.to_string())
    })
}

/// Makes a copy and hands it to the senders of those that want it.
fn send(server: &Server, wants: Wants, them: &RefCell<Vec<Arc<Replica>>>) -> Result<(), NotSaved> {
    let mark = random::hex_id(40);
    let head = format!("$EOF:{mark}\r\n");
    let extent = Extent {
        speed: Speed::Brisk,
        aof_base: false,
        functions: wants.functions,
        keys: wants.keys,
    };
    let mut crc = server.config.bool(id::RDBCHECKSUM).then_some(0);
    // What has been, and is no more, is not to be told of.
    server.store.look_for_fields();
    let mut begun = false;
    let mut write = |bytes: &[u8]| {
        let head = match std::mem::replace(&mut begun, true) {
            true => None,
            false => Some(with_version(server, bytes)),
        };
        let bytes = head.as_deref().unwrap_or(bytes);
        if let Some(crc) = &mut crc {
            *crc = crc64::update(*crc, bytes);
        }
        feed(server, &mut them.borrow_mut(), bytes.into(), false)
    };
    let at_instant = || {
        let (history, all) = begin(server, wants, Target::Sockets, head.as_bytes());
        *them.borrow_mut() = all;
        (Some(history), ())
    };
    saving::send_snapshot(server, extent, &mut write, at_instant)?;
    let mut end = Vec::new();
    encode::end(&mut end, crc);
    end.extend_from_slice(mark.as_bytes());
    let mut them = them.borrow_mut();
    feed(server, &mut them, end.into(), true).map_err(|_| NotSaved::Cancelled)?;
    log_notice!(
        "Diskless rdb transfer, done reading from pipe, {} replicas still up.",
        them.len()
    );
    Ok(())
}

/// The head of a copy, with the version that is needed to read what comes behind it: the snapshot of
/// that has begun.
fn with_version(server: &Server, head: &[u8]) -> Vec<u8> {
    let mut head = head.to_vec();
    let handle = server.saving.current().and_then(|job| job.handle);
    let fields = |handle: Handle| handle.sizes().iter().any(|size| size.fields);
    if handle.is_some_and(fields) {
        let signature = format!("REDIS{VERSION_FIELD_DEADLINES:04}");
        if let Some(place) = head.get_mut(..signature.len()) {
            place.copy_from_slice(signature.as_bytes());
        }
    }
    head
}

/// Hands a piece of a copy to the senders; waits for those that have too much already.
///
/// # Errors
/// Nobody is left, or the copy has been given up.
fn feed(
    server: &Server,
    them: &mut Vec<Arc<Replica>>,
    piece: Arc<[u8]>,
    last: bool,
) -> io::Result<()> {
    for replica in them.iter() {
        let mut state = replica.state();
        while state.phase == Phase::Streaming && state.held >= HELD {
            let woken = replica.changed.wait_timeout(state, LOOK);
            let (guard, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() && is_given_up(server) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        if state.phase == Phase::Streaming {
            state.held += piece.len();
            state.whole = last;
            state.pieces.push_back(piece.clone());
            drop(state);
            replica.changed.notify_all();
        }
    }
    them.retain(|replica| !replica.is_gone());
    if them.is_empty() {
        log_warning!("Diskless rdb transfer, last replica dropped, killing fork child.");
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

/// Whether the copy that is being made has been given up.
fn is_given_up(server: &Server) -> bool {
    let handle = server.saving.current().and_then(|job| job.handle);
    handle.is_some_and(|handle| handle.is_cancelled()) || server.is_stopping()
}
