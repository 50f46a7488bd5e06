//! A snapshot of the whole store as it was at one instant, taken while clients go on.
//!
//! [`Store::begin_snapshot`] holds all shards for the moment it takes to mark each part of each
//! database (`pending`). [`Snapshot::run`] then reads the parts in slices of a few dozen entries,
//! each under a shared lock of its shard, so that readers are not kept out at all and writers for
//! some ten microseconds; who changes an entry that has not been read yet encodes the old one
//! first. Several shards are read in turn: who waits for one of them gets it while the snapshot is
//! busy with the others. No lock is held while the sink works.
//!
//! # What it costs
//!
//! Without a snapshot: one comparison where an entry is changed or removed. With one: an entry is
//! encoded by whoever changes it first, at most once. One entry is always encoded in one go,
//! however large it is, and its shard is held for as long as that takes.
//!
//! The memory in use is that of a few chunks, one bit an entry in parts that are written to, and
//! the copies that the sink has not taken yet. Up to [`HELD`] bytes of those it does not matter;
//! with more, the snapshot stops resting and the copies are written in smaller pieces, before
//! anything else. They can only pile up beyond it while the sink takes less than writers overwrite,
//! and never to more than the encoded data set. A database that is emptied meanwhile stays in
//! memory until it is read.

pub(super) mod pending;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::entry::Entry;
use super::{Db, Locks, SHARDS, Shard, Store, locks};
use pending::Pending;

/// Bytes of copies made by writers above which the snapshot hurries.
pub const HELD: usize = 16 << 20;

/// Appends an entry of a database, given by its number, to a buffer. It is called by the threads of
/// the snapshot and by writers, who hold a lock.
pub type Encode = dyn Fn(&mut Vec<u8>, usize, &Entry) + Send + Sync;

/// Takes the encoded entries, a chunk of one database at a time.
pub type Sink<'a> = dyn FnMut(usize, &[u8]) -> io::Result<()> + 'a;

/// How fast a snapshot is to be.
pub enum Pace<'a> {
    /// As fast as that many threads make it.
    Full(usize),
    /// By the calling thread alone. What is called tells, about once in a millisecond, for how
    /// many per cent of its time it may work; it rests otherwise.
    Gentle(&'a dyn Fn() -> u32),
}

/// Why a snapshot has not been completed.
#[derive(Debug)]
pub enum Stopped {
    /// [`Handle::cancel`] was called.
    Cancelled,
    /// The sink has failed, or no thread could be started.
    Failed(io::Error),
}

/// How much there was in a database when the snapshot began.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Size {
    /// Keys.
    pub keys: usize,
    /// Keys with a deadline.
    pub volatile: usize,
    /// Whether there may be hashes whose fields have deadlines.
    pub fields: bool,
}

/// Sizes that only tests change.
#[derive(Clone, Copy)]
struct Tuning {
    /// Positions looked at under one lock.
    slice: usize,
    /// Bytes written under one lock, but for the last entry.
    slice_bytes: usize,
    /// Bytes from which a chunk is handed to the sink.
    chunk: usize,
    /// Bytes of copies that a part of a database keeps to itself.
    side: usize,
    /// The same once all hold more than [`HELD`].
    small_side: usize,
    /// See [`HELD`].
    held: usize,
    /// Shards read in turn.
    group: usize,
}

const TUNING: Tuning = Tuning {
    slice: 64,
    slice_bytes: 16 << 10,
    chunk: 128 << 10,
    side: 32 << 10,
    small_side: 2 << 10,
    held: HELD,
    group: 8,
};

/// For a snapshot whose sink is to see every entry by itself.
const ONE_BY_ONE: Tuning = Tuning {
    slice: 1,
    chunk: 1,
    group: 1,
    ..TUNING
};

/// Work after which a gentle snapshot rests.
const STINT: Duration = Duration::from_micros(250);
/// The longest rest.
const REST: Duration = Duration::from_millis(20);

/// What the snapshot, its handles, and all that it has marked share.
struct Shared {
    encode: Arc<Encode>,
    tuning: Tuning,
    void: AtomicBool,
    sizes: OnceLock<Box<[Size]>>,
    /// Entries encoded.
    done: AtomicUsize,
    /// Bytes of copies ever made by writers.
    copied: AtomicU64,
    /// Bytes of copies that have not gone to the sink.
    held: AtomicUsize,
    /// Whether there is anything in `handed`.
    has_handed: AtomicBool,
    handed: Mutex<Handed>,
}

/// What writers leave to the snapshot.
#[derive(Default)]
struct Handed {
    /// Copies, with the number of the database.
    copies: VecDeque<(usize, Vec<u8>)>,
    /// What was in databases that have been emptied.
    detached: Vec<Db>,
}

impl Shared {
    fn is_void(&self) -> bool {
        self.void.load(Ordering::Relaxed)
    }

    fn handed(&self) -> MutexGuard<'_, Handed> {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a copy. Returns from how many bytes on copies are to be handed over.
    fn copied(&self, bytes: usize) -> usize {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.copied.fetch_add(bytes as u64, Ordering::Relaxed);
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held > self.tuning.held {
            self.tuning.small_side
        } else {
            self.tuning.side
        }
    }

    /// Takes copies over. They still count as held.
    fn hand_copies(&self, number: usize, copies: Vec<u8>) {
        let mut handed = self.handed();
        if !self.is_void() {
            handed.copies.push_back((number, copies));
            self.has_handed.store(true, Ordering::Relaxed);
        }
    }

    /// Takes over what was in a database that has been emptied; returns it when the snapshot has
    /// been given up.
    fn detach(&self, db: Db) -> Option<Db> {
        let mut handed = self.handed();
        if self.is_void() {
            return Some(db);
        }
        handed.detached.push(db);
        self.has_handed.store(true, Ordering::Relaxed);
        None
    }
}

/// The right to take the store's one snapshot.
struct Turn(Arc<AtomicBool>);

impl Turn {
    fn take(busy: &Arc<AtomicBool>) -> Option<Turn> {
        (!busy.swap(true, Ordering::Acquire)).then(|| Turn(busy.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A snapshot that has begun. Dropping it gives it up; what is marked is cleared by whoever comes
/// by.
pub struct Snapshot {
    shared: Arc<Shared>,
    /// What is marked: database and shard, in ascending order.
    parts: Vec<(usize, usize)>,
    turn: Turn,
}

/// Watches a snapshot and can cancel it; it may outlive it.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// Has [`Snapshot::run`] end soon, with [`Stopped::Cancelled`].
    pub fn cancel(&self) {
        self.0.void.store(true, Ordering::Relaxed);
    }

    /// Whether it has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_void()
    }

    /// The sizes of the databases when the snapshot began.
    pub fn sizes(&self) -> &[Size] {
        self.0.sizes.get().map_or(&[], |sizes| sizes)
    }

    /// Keys that the snapshot has.
    pub fn keys(&self) -> usize {
        self.sizes().iter().map(|size| size.keys).sum()
    }

    /// Keys encoded so far.
    pub fn done(&self) -> usize {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Bytes of copies that writers have made so far.
    pub fn copied(&self) -> u64 {
        self.0.copied.load(Ordering::Relaxed)
    }

    /// Bytes of copies that wait for the sink.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }
}

impl Store {
    /// Begins a snapshot of everything there is at this instant, at which `at_instant` runs: no
    /// change is under way then, all before it are part of the snapshot and none after it is.
    /// `None`, without `at_instant` having run, while another snapshot exists.
    ///
    /// The calling thread must not hold a shard.
    pub fn begin_snapshot<R>(
        &self,
        encode: Arc<Encode>,
        at_instant: impl FnOnce() -> R,
    ) -> Option<(Snapshot, R)> {
        self.begin(encode, TUNING, at_instant)
    }

    /// The same with a sink that gets the entries one by one, but for those that writers have copied.
    pub fn begin_snapshot_by_keys<R>(
        &self,
        encode: Arc<Encode>,
        at_instant: impl FnOnce() -> R,
    ) -> Option<(Snapshot, R)> {
        self.begin(encode, ONE_BY_ONE, at_instant)
    }

    fn begin<R>(
        &self,
        encode: Arc<Encode>,
        tuning: Tuning,
        at_instant: impl FnOnce() -> R,
    ) -> Option<(Snapshot, R)> {
        let turn = Turn::take(&self.snapshot)?;
        let mut locks = Locks::all(self, true);
        let mut snapshot = Snapshot::mark(&mut locks, turn, encode, tuning);
        let result = at_instant();
        drop(locks);
        snapshot.parts.sort_unstable();
        Some((snapshot, result))
    }

    /// As [`Store::begin_snapshot`], by somebody who holds all shards.
    ///
    /// # Panics
    /// When they are not all held exclusively.
    pub fn begin_snapshot_under(&self, locks: &mut Locks, encode: Arc<Encode>) -> Option<Snapshot> {
        let turn = Turn::take(&self.snapshot)?;
        let mut snapshot = Snapshot::mark(locks, turn, encode, TUNING);
        snapshot.parts.sort_unstable();
        Some(snapshot)
    }

    /// Whether there is a snapshot.
    pub fn has_snapshot(&self) -> bool {
        self.snapshot.load(Ordering::Relaxed)
    }
}

impl Snapshot {
    fn mark(locks: &mut Locks, turn: Turn, encode: Arc<Encode>, tuning: Tuning) -> Snapshot {
        let shared = Arc::new(Shared {
            encode,
            tuning,
            void: AtomicBool::new(false),
            sizes: OnceLock::new(),
            done: AtomicUsize::new(0),
            copied: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            has_handed: AtomicBool::new(false),
            handed: Mutex::default(),
        });
        let mut sizes = Vec::new();
        let mut parts = Vec::with_capacity(SHARDS);
        for number in 0..SHARDS {
            let shard = locks.shard_mut(number);
            sizes.resize(shard.dbs.len(), Size::default());
            for (db, part) in shard.dbs.iter_mut().enumerate() {
                sizes[db].keys += part.len();
                sizes[db].volatile += part.volatile;
                sizes[db].fields |= part.fields;
                part.pending = None;
                if !part.is_empty() {
                    let pending = Pending::new(shared.clone(), db, part.len());
                    part.pending = Some(Box::new(pending));
                    parts.push((db, number));
                }
            }
        }
        // It was empty, so this cannot fail.
        let _ = shared.sizes.set(sizes.into());
        Snapshot {
            shared,
            parts,
            turn,
        }
    }

    /// Something to watch and to cancel it with.
    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    /// Reads the snapshot from the store in which it was begun and hands it to `sink`: each entry
    /// once, in chunks of one database. The databases come mostly, not strictly, in ascending order;
    /// entries in none. `sink` is called by this thread only, and without locks.
    ///
    /// # Errors
    /// When the sink fails or the snapshot is cancelled. What is left of it is cleared.
    ///
    /// # Panics
    /// When it was begun in another store.
    pub fn run(self, store: &Store, pace: Pace, sink: &mut Sink) -> Result<(), Stopped> {
        assert!(Arc::ptr_eq(&self.turn.0, &store.snapshot));
        let work = Work {
            store,
            shared: &self.shared,
            groups: groups(&self.parts, self.shared.tuning.group),
            parts: &self.parts,
            next: AtomicUsize::new(0),
        };
        let result = match pace {
            Pace::Full(threads) if threads > 1 => work.run_with(threads, sink),
            Pace::Full(_) => work.run(&|| 100, sink),
            Pace::Gentle(share) => work.run(share, sink),
        };
        if result.is_err() {
            self.shared.void.store(true, Ordering::Relaxed);
            for &(_, number) in &self.parts {
                let mut shard = locks::exclusive(&store.shards[number].0);
                shard.dbs.iter_mut().for_each(Db::clear_void);
            }
        }
        result
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.shared.void.store(true, Ordering::Relaxed);
        // Taken out under the lock and freed behind it. Nothing can be handed over any more, so no
        // writer will be the one to free it.
        let left = std::mem::take(&mut *self.shared.handed());
        drop(left);
    }
}

/// Runs of parts of one database that are read in turn.
fn groups(parts: &[(usize, usize)], most: usize) -> Vec<Range<usize>> {
    let (mut groups, mut start) = (Vec::new(), 0);
    for end in 1..=parts.len() {
        let other = parts.get(end).is_none_or(|next| next.0 != parts[start].0);
        if other || end - start == most {
            groups.push(start..end);
            start = end;
        }
    }
    groups
}

/// What the threads of a running snapshot share.
struct Work<'a> {
    store: &'a Store,
    shared: &'a Shared,
    parts: &'a [(usize, usize)],
    groups: Vec<Range<usize>>,
    /// The next group that nobody has begun.
    next: AtomicUsize,
}

/// Takes a full buffer of a database and returns one to go on with.
type Emit<'a> = dyn FnMut(usize, Vec<u8>) -> Result<Vec<u8>, Stopped> + 'a;

impl Work<'_> {
    /// All by this thread.
    fn run(&self, share: &dyn Fn() -> u32, sink: &mut Sink) -> Result<(), Stopped> {
        let emit = &mut |db: usize, mut chunk: Vec<u8>| {
            sink(db, &chunk).map_err(Stopped::Failed)?;
            recycle(&mut chunk, &self.shared.tuning);
            Ok(chunk)
        };
        Walker::new(self, emit, Some(share)).walk()
    }

    /// With several threads that encode, while this one serves the sink.
    fn run_with(&self, threads: usize, sink: &mut Sink) -> Result<(), Stopped> {
        let (sender, full) = sync_channel(2 * threads);
        let (giver, empty) = sync_channel(4 * threads);
        let empty = Mutex::new(empty);
        std::thread::scope(|scope| {
            let mut started = Err(Stopped::Cancelled);
            for _ in 0..threads {
                let (sender, empty) = (sender.clone(), &empty);
                let body = move || {
                    let emit = &mut |db, chunk| exchange(&sender, empty, db, chunk);
                    // It ends early only if this thread has seen an error itself, or if the
                    // snapshot has been cancelled.
                    let _ = Walker::new(self, emit, None).walk();
                };
                match named().spawn_scoped(scope, body) {
                    Ok(_) => started = Ok(()),
                    Err(error) if started.is_err() => started = Err(Stopped::Failed(error)),
                    Err(_) => break,
                }
            }
            drop(sender);
            let result = started.and_then(|()| {
                for (db, mut chunk) in full.iter() {
                    sink(db, &chunk).map_err(Stopped::Failed)?;
                    recycle(&mut chunk, &self.shared.tuning);
                    // Where there are enough of them this one is freed.
                    let _ = giver.try_send(chunk);
                }
                if self.shared.is_void() {
                    return Err(Stopped::Cancelled);
                }
                Ok(())
            });
            // With the receiver gone nobody waits for it any more.
            drop(full);
            result
        })
    }
}

/// A thread that encodes.
fn named() -> std::thread::Builder {
    let builder = std::thread::Builder::new();
    builder.name("snapshot".into()).stack_size(256 << 10)
}

/// Sends a full buffer away and returns an empty one.
fn exchange(
    full: &SyncSender<(usize, Vec<u8>)>,
    empty: &Mutex<Receiver<Vec<u8>>>,
    db: usize,
    chunk: Vec<u8>,
) -> Result<Vec<u8>, Stopped> {
    full.send((db, chunk)).map_err(|_| Stopped::Cancelled)?;
    let empty = empty.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(empty.try_recv().unwrap_or_default())
}

/// Empties a buffer for its next use; one that a large entry has blown up is freed.
fn recycle(chunk: &mut Vec<u8>, tuning: &Tuning) {
    if chunk.capacity() > 4 * tuning.chunk {
        *chunk = Vec::new();
    }
    chunk.clear();
}

/// One thread that reads.
struct Walker<'a> {
    work: &'a Work<'a>,
    emit: &'a mut Emit<'a>,
    share: Option<&'a dyn Fn() -> u32>,
    /// What has been encoded and of which database it is.
    out: Vec<u8>,
    db: usize,
    /// When the present stint of work began.
    since: Instant,
}

impl<'a> Walker<'a> {
    fn new(
        work: &'a Work<'a>,
        emit: &'a mut Emit<'a>,
        share: Option<&'a dyn Fn() -> u32>,
    ) -> Walker<'a> {
        Walker {
            work,
            emit,
            share,
            out: Vec::new(),
            db: 0,
            since: Instant::now(),
        }
    }

    /// Reads groups until none is left.
    fn walk(&mut self) -> Result<(), Stopped> {
        let mut open = Vec::new();
        while let Some(group) = self.next_group() {
            open.clear();
            open.extend_from_slice(group);
            while !open.is_empty() {
                let mut at = 0;
                while let Some(&(db, shard)) = open.get(at) {
                    self.select(db)?;
                    if self.slice(db, shard) {
                        at += 1;
                    } else {
                        open.swap_remove(at);
                    }
                    self.between()?;
                }
            }
        }
        // What writers hand over belongs to a part that has not been finished. So when the last
        // part of this thread is, all of its copies are here or with another thread.
        self.between()?;
        self.emit_rest()
    }

    fn next_group(&self) -> Option<&'a [(usize, usize)]> {
        let work = self.work;
        let group = work.next.fetch_add(1, Ordering::Relaxed);
        work.groups.get(group).map(|at| &work.parts[at.clone()])
    }

    /// Reads a few entries of a part. Returns whether there is more.
    fn slice(&mut self, db: usize, number: usize) -> bool {
        let lock = &self.work.store.shards[number].0;
        let shard = locks::shared(lock);
        let Some((pending, part)) = shard.pending(db) else {
            // It has been emptied, and so it is with what was handed over.
            return false;
        };
        if pending.read(&part.dict, &mut self.out) {
            return true;
        }
        drop(shard);
        let pending = locks::exclusive(lock).finish(db);
        if let Some(pending) = pending {
            self.out.append(&mut pending.into_copies());
        }
        false
    }

    /// What is done between slices, without a lock: what is ready goes to the sink, what writers
    /// have handed over first; then it is time for others.
    fn between(&mut self) -> Result<(), Stopped> {
        let shared = self.work.shared;
        if shared.is_void() {
            return Err(Stopped::Cancelled);
        }
        self.take_handed()?;
        if self.out.len() >= shared.tuning.chunk {
            self.emit_rest()?;
        }
        self.rest();
        Ok(())
    }

    /// Sees to what writers have handed over.
    fn take_handed(&mut self) -> Result<(), Stopped> {
        let shared = self.work.shared;
        while shared.has_handed.load(Ordering::Relaxed) {
            let mut handed = shared.handed();
            if let Some((db, copies)) = handed.copies.pop_front() {
                drop(handed);
                let len = copies.len();
                // The buffer that comes back for it is not needed.
                let sent = (self.emit)(db, copies);
                shared.held.fetch_sub(len, Ordering::Relaxed);
                self.since = Instant::now();
                sent?;
            } else if let Some(db) = handed.detached.pop() {
                drop(handed);
                self.read_detached(db)?;
            } else {
                shared.has_handed.store(false, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Reads what is left to be read in a part that no database has any more, and frees it.
    fn read_detached(&mut self, mut db: Db) -> Result<(), Stopped> {
        let shared = self.work.shared;
        let Some(pending) = db.pending.take() else {
            return Ok(());
        };
        self.select(pending.number)?;
        while pending.read(&db.dict, &mut self.out) {
            if shared.is_void() {
                return Err(Stopped::Cancelled);
            }
            if self.out.len() >= shared.tuning.chunk {
                self.emit_rest()?;
            }
            self.rest();
        }
        self.out.append(&mut pending.into_copies());
        Ok(())
    }

    /// What is encoded from now on is of this database.
    fn select(&mut self, db: usize) -> Result<(), Stopped> {
        if db != self.db {
            self.emit_rest()?;
            self.db = db;
        }
        Ok(())
    }

    /// Hands over what has been encoded.
    fn emit_rest(&mut self) -> Result<(), Stopped> {
        if !self.out.is_empty() {
            self.out = (self.emit)(self.db, std::mem::take(&mut self.out))?;
            // What the sink has taken is not work that keeps the processor from others.
            self.since = Instant::now();
        }
        Ok(())
    }

    /// Lets others have the processor, for as long as the share asks for.
    fn rest(&mut self) {
        let Some(share) = self.share else {
            return;
        };
        let worked = self.since.elapsed();
        if worked < STINT {
            return;
        }
        let share = share().clamp(1, 100);
        let shared = self.work.shared;
        if share < 100 && shared.held.load(Ordering::Relaxed) <= shared.tuning.held {
            std::thread::sleep((worked * (100 - share) / share).min(REST));
        } else {
            std::thread::yield_now();
        }
        self.since = Instant::now();
    }
}

impl Shard {
    /// Where the database is now that had this number when the snapshot began, if there is something
    /// to be read of it. It may have been exchanged for another since.
    fn part_of(&self, number: usize) -> Option<usize> {
        let of = |db: &Db| db.pending.as_ref().is_some_and(|it| it.number == number);
        if of(&self.dbs[number]) {
            return Some(number);
        }
        self.dbs.iter().position(of)
    }

    /// What is to be read of it.
    fn pending(&self, number: usize) -> Option<(&Pending, &Db)> {
        let part = &self.dbs[self.part_of(number)?];
        part.pending.as_ref().map(|pending| (&**pending, part))
    }

    /// Takes the mark from it once it has been read: entries only ever go below the cursor, never
    /// come, so it stays read.
    fn finish(&mut self, number: usize) -> Option<Pending> {
        let part = self.part_of(number)?;
        self.dbs[part].pending.take().map(|pending| *pending)
    }
}

impl Db {
    /// The entry at `position` is about to change.
    #[cold]
    pub(super) fn keep(&mut self, position: usize) {
        self.clear_void();
        if let Some(pending) = &mut self.pending {
            pending.before_change(&self.dict, position);
        }
    }

    /// The entry at `position` is about to be removed.
    #[cold]
    pub(super) fn keep_removed(&mut self, position: usize) {
        self.clear_void();
        if let Some(pending) = &mut self.pending {
            pending.before_removal(&self.dict, position);
        }
    }

    /// What is to be freed of a part that no database has any more: nothing for now where a
    /// snapshot still has to read it.
    #[cold]
    pub(super) fn detach(mut self) -> Option<Db> {
        self.clear_void();
        match self.pending.take() {
            Some(pending) if pending.is_read() => {
                pending.close();
                Some(self)
            }
            Some(pending) => {
                let shared = pending.shared.clone();
                self.pending = Some(pending);
                shared.detach(self)
            }
            None => Some(self),
        }
    }

    /// Clears the mark of a snapshot that has been given up.
    pub(super) fn clear_void(&mut self) {
        if self.pending.as_ref().is_some_and(|it| it.is_void()) {
            self.pending = None;
        }
    }
}
