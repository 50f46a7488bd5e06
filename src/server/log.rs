//! The one ordered log of effects: what the append only file and, later, replicas are fed from.
//!
//! Whoever changes keys appends what it did before it releases their locks, so the log has the
//! changes of each key in the order in which they happened, and whoever holds every lock knows
//! exactly what the log holds. Offsets count bytes since the server started. While nobody reads the
//! log, it costs one atomic load.
//!
//! What is appended gathers in memory until the writer of the append only file takes it; see
//! [`super::aof`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::resp::encode_command;

/// Effects in the order in which they happened, with the database of each.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// The database of each command, and where its bytes end.
    commands: Vec<(usize, usize)>,
}

impl Batch {
    /// Adds a command.
    pub fn push<'w>(&mut self, db: usize, words: impl ExactSizeIterator<Item = &'w [u8]>) {
        encode_command(&mut self.bytes, words);
        self.commands.push((db, self.bytes.len()));
    }

    /// Whether it holds no command.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Forgets what it holds, and most of its memory.
    pub fn clear(&mut self) {
        self.commands.clear();
        self.bytes.clear();
        self.bytes.shrink_to(4096);
    }
}

/// The log.
#[derive(Default)]
pub struct Log {
    on: AtomicBool,
    /// What [`Log::end`] is, to be asked without the lock.
    appended: AtomicU64,
    tail: Mutex<Tail>,
    /// Told when something arrives after nothing was there.
    arrived: Condvar,
}

#[derive(Default)]
struct Tail {
    /// Bytes appended since the start.
    end: u64,
    /// The database of the last command.
    selected: Option<usize>,
    /// What has not been taken yet.
    pending: Vec<u8>,
    /// Where a new file begins in what has not been taken yet, and its number.
    switch: Option<(usize, u64)>,
    /// Unix second of the last annotation, where they are wanted.
    annotated: i64,
    /// Whether annotations of the time are wanted.
    annotate: bool,
    /// Whether somebody waits for something to arrive.
    awaited: bool,
    closed: bool,
}

/// What has been taken out of the log to be written.
#[derive(Default)]
pub struct Taken {
    /// For the file in use so far.
    pub before: Vec<u8>,
    /// The file that is in use from here on, and what is for it.
    pub after: Option<(u64, Vec<u8>)>,
    /// The offset behind all of it.
    pub end: u64,
}

impl Log {
    /// Whether somebody reads the log. It only begins and ends while every shard is locked, so the
    /// answer holds for as long as one is held.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Appends effects as one step: several commands become a transaction. Returns the offset
    /// behind them.
    pub fn append(&self, batch: &Batch, now: i64) -> u64 {
        let mut tail = self.tail();
        let before = tail.pending.len();
        tail.annotate(now / 1000);
        let group = batch.commands.len() > 1;
        if let Some(&(db, _)) = batch.commands.first() {
            tail.select(db);
        }
        if group {
            encode_command(&mut tail.pending, [&b"MULTI"[..]].into_iter());
        }
        let mut at = 0;
        for &(db, end) in &batch.commands {
            tail.select(db);
            tail.pending.extend_from_slice(&batch.bytes[at..end]);
            at = end;
        }
        if group {
            encode_command(&mut tail.pending, [&b"EXEC"[..]].into_iter());
        }
        tail.end += (tail.pending.len() - before) as u64;
        let end = tail.end;
        self.appended.store(end, Ordering::Relaxed);
        if std::mem::take(&mut tail.awaited) {
            drop(tail);
            self.arrived.notify_all();
        }
        end
    }

    /// The offset behind everything appended so far.
    pub fn end(&self) -> u64 {
        self.tail().end
    }

    /// An offset behind everything that was appended under locks which the caller has held since.
    #[inline]
    pub fn seen(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    /// Begins the log, or goes on with it in another file: what is appended from now on is for
    /// the file of this number. Every shard must be locked. Returns the offset of that moment.
    pub fn switch(&self, file: u64) -> u64 {
        let mut tail = self.tail();
        // The file stands for itself, and begins by naming its database.
        tail.selected = None;
        tail.switch = Some((tail.pending.len(), file));
        self.on.store(true, Ordering::Relaxed);
        tail.end
    }

    /// Ends the log. Every shard must be locked.
    pub fn end_log(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    /// Whether each second in which something happens is to be noted.
    pub fn set_annotations(&self, yes: bool) {
        let mut tail = self.tail();
        tail.annotate = yes;
        tail.annotated = 0;
    }

    /// Takes what is there to be written. `spare` is a buffer to go on with.
    pub fn take(&self, mut spare: Vec<u8>) -> Taken {
        spare.clear();
        let mut tail = self.tail();
        let mut before = std::mem::replace(&mut tail.pending, spare);
        let after = tail
            .switch
            .take()
            .map(|(at, file)| (file, before.split_off(at)));
        Taken {
            before,
            after,
            end: tail.end,
        }
    }

    /// Bytes that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.tail().pending.len()
    }

    /// Waits until something is there to be taken, or the time is over. Returns whether something
    /// is.
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut tail = self.tail();
        if tail.pending.is_empty() && tail.switch.is_none() && !tail.closed {
            tail.awaited = true;
            let woken = self.arrived.wait_timeout(tail, timeout);
            tail = woken.unwrap_or_else(PoisonError::into_inner).0;
            tail.awaited = false;
        }
        !tail.pending.is_empty() || tail.switch.is_some()
    }

    /// Wakes whoever waits, from now on.
    pub fn close(&self) {
        self.tail().closed = true;
        self.arrived.notify_all();
    }

    /// Whether the log has been closed.
    pub fn is_closed(&self) -> bool {
        self.tail().closed
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    fn select(&mut self, db: usize) {
        if self.selected != Some(db) {
            let number = db.to_string();
            encode_command(
                &mut self.pending,
                [&b"SELECT"[..], number.as_bytes()].into_iter(),
            );
            self.selected = Some(db);
        }
    }

    fn annotate(&mut self, second: i64) {
        if self.annotate && second != self.annotated {
            self.annotated = second;
            self.pending
                .extend_from_slice(format!("#TS:{second}\r\n").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(commands: &[(usize, &str)]) -> Batch {
        let mut batch = Batch::default();
        for (db, line) in commands {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            batch.push(*db, words.into_iter());
        }
        batch
    }

    fn text(bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        let words = text
            .split("\r\n")
            .filter(|line| !line.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    #[test]
    fn several_effects_are_one_step() {
        let log = Log::default();
        assert!(!log.is_on());
        log.switch(1);
        assert!(log.is_on());
        log.append(&batch(&[(0, "SET a 1")]), 0);
        let end = log.append(&batch(&[(0, "SET b 1"), (2, "DEL c")]), 0);
        let taken = log.take(Vec::new());
        let (file, bytes) = taken.after.unwrap();
        assert_eq!((file, taken.end, bytes.len() as u64), (1, end, end));
        assert_eq!(
            text(&bytes),
            "SELECT 0 SET a 1 MULTI SET b 1 SELECT 2 DEL c EXEC"
        );
        log.append(&batch(&[(2, "SET c 1")]), 0);
        assert_eq!(text(&log.take(Vec::new()).before), "SET c 1");
    }

    #[test]
    fn a_new_file_begins_between_two_appends() {
        let log = Log::default();
        log.switch(1);
        drop(log.take(Vec::new()));
        log.append(&batch(&[(3, "SET a 1")]), 0);
        log.switch(2);
        log.append(&batch(&[(3, "SET a 2")]), 0);
        let taken = log.take(Vec::new());
        assert_eq!(text(&taken.before), "SELECT 3 SET a 1");
        let (file, bytes) = taken.after.unwrap();
        assert_eq!((file, text(&bytes).as_str()), (2, "SELECT 3 SET a 2"));
    }

    #[test]
    fn seconds_are_noted_once() {
        let log = Log::default();
        log.set_annotations(true);
        log.switch(1);
        for now in [5000, 5999, 6000] {
            log.append(&batch(&[(0, "PING")]), now);
        }
        let (_, bytes) = log.take(Vec::new()).after.unwrap();
        assert_eq!(text(&bytes), "#TS:5 SELECT 0 PING PING #TS:6 PING");
    }
}
