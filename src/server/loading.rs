//! Whether the data set is being loaded, and how far that is.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::util::clock::now_ms;

/// How long clients wait for the data set before they are told that it is being loaded.
const GRACE: Duration = Duration::from_millis(250);

/// The state of loading. Until it ends, clients are refused all but a few commands.
#[derive(Default)]
pub struct Loading {
    /// How many have begun and not ended: one loads within what another has begun.
    active: AtomicUsize,
    /// Whether clients are not let in yet, because that may be over before they notice.
    shut: Mutex<bool>,
    opened: Condvar,
    cancelled: AtomicBool,
    /// Whether what is loaded goes beside the data set, which clients can use meanwhile.
    beside: AtomicBool,
    /// When it began, unix seconds.
    pub since: AtomicI64,
    /// Bytes to load, as far as that is known.
    pub total: AtomicU64,
    /// Bytes loaded.
    pub loaded: AtomicU64,
    /// `used_memory` of whoever wrote the file that is loaded.
    pub writer_memory: AtomicU64,
    /// Keys that the last file held, expired ones excluded, and those that had expired.
    pub keys: AtomicU64,
    /// See `keys`.
    pub expired: AtomicU64,
}

impl Loading {
    /// Whether the data set is being loaded.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    /// Whether clients are refused all but a few commands meanwhile.
    #[inline]
    pub fn shuts_out(&self) -> bool {
        self.is_active() && !self.is_beside()
    }

    /// Whether what is loaded goes beside the data set, which clients can use meanwhile.
    pub fn is_beside(&self) -> bool {
        self.beside.load(Ordering::Relaxed)
    }

    /// The server starts: until what it returns is dropped clients are refused as while loading, and
    /// at first not even let in. A client of a server with little to load so never hears of it.
    pub fn start(&self) -> Ending<'_> {
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.active.fetch_add(1, Ordering::Relaxed);
        Ending(self)
    }

    /// Waits until clients may be let in: once everything is loaded or, when that takes long, to be
    /// told how far it is.
    pub fn wait_until_open(&self) {
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_timeout_while(shut, GRACE, |shut| *shut));
    }

    fn open(&self) {
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.opened.notify_all();
    }

    /// Begins, with so many bytes to load. Ends when what it returns is dropped.
    pub fn begin(&self, total: u64) -> Ending<'_> {
        self.since.store(now_ms() / 1000, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.loaded.store(0, Ordering::Relaxed);
        self.active.fetch_add(1, Ordering::Relaxed);
        Ending(self)
    }

    /// As [`Loading::begin`], but what is loaded goes beside the data set.
    pub fn begin_beside(&self, total: u64) -> Ending<'_> {
        self.beside.store(true, Ordering::Relaxed);
        self.begin(total)
    }

    /// Notes that so many more bytes have been loaded.
    pub fn advance(&self, bytes: u64) {
        self.loaded.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Has whoever loads give up: the server is to end.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether to give up.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Ends loading when it is dropped.
pub struct Ending<'l>(&'l Loading);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.beside.store(false, Ordering::Relaxed);
            self.0.open();
        }
    }
}
