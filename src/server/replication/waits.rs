//! `WAIT` and `WAITAOF`: clients that wait until replicas have what they have written, or until it is
//! on disk.
//!
//! They are blocked as others are ([`crate::server::blocking`]), only without a key. Whoever brings an
//! acknowledgement serves those who have enough with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::resp::Reply;
use crate::server::Server;
use crate::server::blocking::{Served, Waiter, Wanted};
use crate::server::log::Position;
use crate::server::replication::replicas::Progress;

/// What a client waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copies {
    /// Everything before this is to be there.
    pub before: Position,
    /// So many replicas are to have it.
    pub replicas: i64,
    /// For `WAITAOF`: how many local disks are to have it; the replicas as well on theirs.
    pub disks: Option<i64>,
}

/// What there is of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// How many local disks have it.
    pub disks: i64,
    /// How many replicas.
    pub replicas: i64,
}

impl Copies {
    /// What there is of it at the moment.
    pub fn find(&self, server: &Server) -> Found {
        self.find_among(server, &server.replication.replicas.progress())
    }

    /// The same, where it is known how far the replicas are.
    fn find_among(&self, server: &Server, progress: &[Progress]) -> Found {
        let Position { file, stream } = self.before;
        let has = |one: &&Progress| match self.disks {
            None => one.acked >= stream,
            Some(_) => one.fsynced >= stream,
        };
        let here = self.disks.is_some() && server.log.has_file() && !server.aof.is_behind(file);
        Found {
            disks: here.into(),
            replicas: progress.iter().filter(has).count() as i64,
        }
    }

    /// Whether that is enough.
    pub fn is_met(&self, found: Found) -> bool {
        found.replicas >= self.replicas && found.disks >= self.disks.unwrap_or(0)
    }

    /// Whether what is waited for cannot come any more: there is no file.
    fn is_vain(&self, server: &Server) -> bool {
        self.disks.is_some_and(|disks| disks > 0) && !server.log.has_file()
    }

    /// Writes the reply.
    pub fn reply(&self, found: Found, out: &mut Reply) {
        if self.disks.is_some() {
            out.array(2);
            out.int(found.disks);
        }
        out.int(found.replicas);
    }
}

/// The error for one who waits for a file that is not written.
pub const NO_FILE: &str =
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

/// Those who wait.
#[derive(Default)]
pub struct Waits {
    list: Mutex<Vec<Arc<Waiter>>>,
    count: AtomicUsize,
}

impl Waits {
    fn list(&self) -> MutexGuard<'_, Vec<Arc<Waiter>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client waits. What comes from now on serves it; what has come may have.
    pub fn add(&self, waiter: &Arc<Waiter>) {
        let mut list = self.list();
        list.push(waiter.clone());
        self.count.store(list.len(), Ordering::SeqCst);
    }

    /// A client waits no longer.
    pub fn forget(&self, waiter: &Arc<Waiter>) {
        let mut list = self.list();
        list.retain(|one| !Arc::ptr_eq(one, waiter));
        self.count.store(list.len(), Ordering::SeqCst);
    }

    /// Serves those who have enough by now. Costs one atomic load where nobody waits.
    pub fn serve(&self, server: &Server) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let progress = server.replication.replicas.progress();
        let mut list = self.list();
        list.retain(|waiter| !serve(server, waiter, &progress));
        self.count.store(list.len(), Ordering::SeqCst);
    }

    /// Serves one client if it has enough by now.
    pub fn serve_one(&self, server: &Server, waiter: &Waiter) {
        serve(server, waiter, &server.replication.replicas.progress());
    }
}

/// Serves a client if it has enough. Returns whether its wait is over.
fn serve(server: &Server, waiter: &Waiter, progress: &[Progress]) -> bool {
    let Wanted::Copies(copies) = &waiter.wanted else {
        return true;
    };
    let found = copies.find_among(server, progress);
    let mut out = Reply::new();
    if copies.is_met(found) {
        copies.reply(found, &mut out);
    } else if copies.is_vain(server) {
        out.error(NO_FILE.as_bytes());
    } else {
        return false;
    }
    waiter.serve(|| Some(Served::of(out.bytes().to_vec())))
}
