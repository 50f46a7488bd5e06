//! The one ordered log of effects: what the append only file and replicas are fed from.
//!
//! Whoever changes keys appends what it did before it releases their locks, so the log has the
//! changes of each key in the order in which they happened, and whoever holds every lock knows
//! exactly what the log holds. While nobody reads the log, it costs one atomic load.
//!
//! It has two readers, which are told the same in their own frame, and each of which begins and ends
//! by itself: the file, for which what is appended gathers in memory until its writer takes it
//! ([`super::aof`]), and the [`stream`] that replicas are sent ([`super::replication`]). Offsets of
//! the file's part count bytes since the server started, those of the stream are Redis'
//! replication offsets.

pub mod stream;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::resp::encode_command;
use stream::{Cursor, Stream};

/// Whom an effect is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Whoever reads the log.
    All,
    /// Replicas only: it changes no key.
    Replicas,
}

/// Effects in the order in which they happened.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    commands: Vec<Entry>,
}

/// One command of a batch.
struct Entry {
    db: usize,
    /// Where its bytes end.
    end: usize,
    audience: Audience,
}

impl Batch {
    /// Adds a command.
    pub fn push<'w>(&mut self, db: usize, words: impl ExactSizeIterator<Item = &'w [u8]>) {
        self.push_for(Audience::All, db, words);
    }

    /// Adds a command that is encoded already.
    pub fn push_encoded(&mut self, db: usize, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let (end, audience) = (self.bytes.len(), Audience::All);
        self.commands.push(Entry { db, end, audience });
    }

    /// Adds a command that is not for everybody.
    pub fn push_for<'w>(
        &mut self,
        audience: Audience,
        db: usize,
        words: impl ExactSizeIterator<Item = &'w [u8]>,
    ) {
        encode_command(&mut self.bytes, words);
        let end = self.bytes.len();
        self.commands.push(Entry { db, end, audience });
    }

    /// Whether it holds no command.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Forgets what it holds, and most of its memory.
    pub fn clear(&mut self) {
        self.commands.clear();
        self.commands.shrink_to(16);
        self.bytes.clear();
        self.bytes.shrink_to(4096);
    }

    /// Whether something of it is for the file.
    fn is_for_file(&self) -> bool {
        let mut audiences = self.commands.iter().map(|entry| entry.audience);
        audiences.any(|audience| audience == Audience::All)
    }

    /// The commands for somebody, with their databases.
    fn part(&self, replicas: bool) -> impl Iterator<Item = (usize, &[u8])> {
        let mut at = 0;
        self.commands.iter().filter_map(move |entry| {
            let bytes = &self.bytes[std::mem::replace(&mut at, entry.end)..entry.end];
            (replicas || entry.audience == Audience::All).then_some((entry.db, bytes))
        })
    }

    /// Writes the commands for somebody as one step, several as a transaction, to `write`.
    /// `selected` is the database that the reader is in.
    #[inline]
    fn frame(&self, replicas: bool, selected: &mut Option<usize>, mut write: impl FnMut(&[u8])) {
        match &self.commands[..] {
            // Mostly it is one, in the database of the one before.
            [only] if *selected == Some(only.db) => {
                if replicas || only.audience == Audience::All {
                    write(&self.bytes);
                }
            }
            _ => self.frame_all(replicas, selected, &mut write),
        }
    }

    fn frame_all(
        &self,
        replicas: bool,
        selected: &mut Option<usize>,
        write: &mut dyn FnMut(&[u8]),
    ) {
        let group = self.part(replicas).take(2).count() > 1;
        for (at, (db, bytes)) in self.part(replicas).enumerate() {
            if *selected != Some(db) {
                *selected = Some(db);
                let (mut select, number) = (Vec::new(), db.to_string());
                encode_command(&mut select, [&b"SELECT"[..], number.as_bytes()].into_iter());
                write(&select);
            }
            if group && at == 0 {
                write(b"*1\r\n$5\r\nMULTI\r\n");
            }
            write(bytes);
        }
        if group {
            write(b"*1\r\n$4\r\nEXEC\r\n");
        }
    }
}

/// What a link to a primary has carried out, as it came: a part of the primary's stream.
pub struct Followed {
    /// The generation of the role that the link belongs to.
    pub generation: u64,
    /// The bytes.
    pub raw: Vec<u8>,
}

impl Followed {
    /// Takes the bytes, which a command that is carried out will append.
    pub fn take(&mut self) -> Followed {
        Followed {
            generation: self.generation,
            raw: std::mem::take(&mut self.raw),
        }
    }
}

/// Where in the log something is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Position {
    /// Offset in the file's part.
    pub file: u64,
    /// Offset in the replication stream.
    pub stream: u64,
}

/// The generation of a role that nobody has.
const NOBODY: u64 = u64::MAX;

/// Somebody reads the file's part.
const FILE: u8 = 1;
/// The replication stream is kept.
const STREAM: u8 = 2;

/// The log.
#[derive(Default)]
pub struct Log {
    /// Which parts are on.
    on: AtomicU8,
    /// What [`Log::end`] is, to be asked without the lock.
    appended: AtomicU64,
    /// What [`Log::stream_end`] is.
    streamed: AtomicU64,
    /// What [`Log::is_overdue`] is.
    overdue: AtomicBool,
    tail: Mutex<Tail>,
    /// Told when something arrives for the file after nothing was there.
    arrived: Condvar,
    /// Told when something arrives in the stream that somebody waits for.
    flowed: Condvar,
    /// Told when what is in the stream is to be sent at once.
    hurried: Condvar,
    /// Told when a reader has come back for more, and somebody waits for that.
    drained: Condvar,
}

#[derive(Default)]
struct Tail {
    file: FilePart,
    stream: Stream,
    /// How many wait for the stream to go on.
    readers_waiting: usize,
    /// How many let more of it come together.
    gathering: usize,
    /// How many wait for all of it to be sent.
    draining: usize,
    /// An offset up to which somebody wants to know what replicas have.
    wanted: u64,
    /// The offset at which they were last asked.
    asked: u64,
    closed: bool,
}

/// What is for the append only file.
#[derive(Default)]
struct FilePart {
    on: bool,
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
}

/// What has been taken out of the log to be written.
#[derive(Default)]
pub struct Taken {
    /// For the file in use so far.
    pub before: Vec<u8>,
    /// The file that is in use from here on, and what is for it.
    pub after: Option<(u64, Vec<u8>)>,
    /// What is behind all of it.
    pub end: Position,
}

/// What the stream has kept.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Whether it is kept.
    pub on: bool,
    /// The offset of the first byte that is there.
    pub first: u64,
    /// The offset behind the last.
    pub end: u64,
    /// Bytes of memory.
    pub memory: usize,
}

impl Log {
    /// Whether somebody reads the log. It only begins and ends while every shard is locked, so the
    /// answer holds for as long as one is held.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed) != 0
    }

    /// Whether the append only file does. As [`Log::is_on`].
    #[inline]
    pub fn has_file(&self) -> bool {
        self.on.load(Ordering::Relaxed) & FILE != 0
    }

    /// Whether the replication stream is kept. As [`Log::is_on`].
    #[inline]
    pub fn has_stream(&self) -> bool {
        self.on.load(Ordering::Relaxed) & STREAM != 0
    }

    /// Appends effects as one step: several commands become a transaction. Returns what is behind
    /// them.
    pub fn append(&self, batch: &Batch, now: i64) -> Position {
        let mut tail = self.tail();
        tail.file.append(batch, now);
        let Tail { stream, .. } = &mut *tail;
        if stream.on && stream.follows.is_none() {
            let mut selected = stream.selected;
            batch.frame(true, &mut selected, |bytes| stream.push(bytes));
            stream.selected = selected;
        }
        self.tell(tail)
    }

    /// Appends what a link to a primary has carried out: to the file its effects, to the stream the
    /// bytes themselves, behind which the stream is in the database `db`. Nothing happens for a link
    /// whose time is over.
    pub fn append_followed(&self, batch: &Batch, followed: &Followed, db: usize, now: i64) {
        let mut tail = self.tail();
        if tail.stream.follows != Some(followed.generation) {
            return;
        }
        tail.file.append(batch, now);
        tail.stream.push(&followed.raw);
        tail.stream.selected = Some(db);
        self.tell(tail);
    }

    /// Appends a command to the stream that is no effect, such as `PING`. Returns what is behind it,
    /// or `None` where the stream is not this server's own.
    pub fn say<'w>(&self, words: impl ExactSizeIterator<Item = &'w [u8]>) -> Option<u64> {
        let mut tail = self.tail();
        if !tail.stream.on || tail.stream.follows.is_some() {
            return None;
        }
        let mut bytes = Vec::new();
        encode_command(&mut bytes, words);
        tail.stream.push(&bytes);
        Some(self.tell(tail).stream)
    }

    /// Tells those who wait that something has been appended.
    fn tell(&self, mut tail: MutexGuard<'_, Tail>) -> Position {
        let end = tail.position();
        self.appended.store(end.file, Ordering::Relaxed);
        self.streamed.store(end.stream, Ordering::Relaxed);
        if tail.stream.is_overdue() {
            self.overdue.store(true, Ordering::Relaxed);
        }
        let awaited = !tail.file.pending.is_empty() && std::mem::take(&mut tail.file.awaited);
        let readers = tail.readers_waiting > 0;
        drop(tail);
        if awaited {
            self.arrived.notify_all();
        }
        if readers {
            self.flowed.notify_all();
        }
        end
    }

    /// What is behind everything appended so far.
    pub fn position(&self) -> Position {
        self.tail().position()
    }

    /// The offset behind everything appended for the file so far.
    pub fn end(&self) -> u64 {
        self.tail().file.end
    }

    /// An offset, for the file, behind everything that was appended under locks which the caller has
    /// held since.
    #[inline]
    pub fn seen(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    /// The same for both parts.
    #[inline]
    pub fn seen_position(&self) -> Position {
        Position {
            file: self.seen(),
            stream: self.stream_end(),
        }
    }

    // ------------------------------------------------------------ the file

    /// Begins the file's part, or goes on with it in another file: what is appended from now on is for
    /// the file of this number. Every shard must be locked. Returns the offset of that moment.
    pub fn switch(&self, file: u64) -> u64 {
        let mut tail = self.tail();
        let part = &mut tail.file;
        // The file stands for itself, and begins by naming its database.
        part.selected = None;
        part.switch = Some((part.pending.len(), file));
        part.on = true;
        self.on.fetch_or(FILE, Ordering::Relaxed);
        part.end
    }

    /// Ends the file's part. Every shard must be locked.
    pub fn end_log(&self) {
        self.tail().file.on = false;
        self.on.fetch_and(!FILE, Ordering::Relaxed);
    }

    /// Whether each second in which something happens is to be noted.
    pub fn set_annotations(&self, yes: bool) {
        let mut tail = self.tail();
        tail.file.annotate = yes;
        tail.file.annotated = 0;
    }

    /// Takes what is there to be written. `spare` is a buffer to go on with.
    pub fn take(&self, mut spare: Vec<u8>) -> Taken {
        spare.clear();
        let mut tail = self.tail();
        let end = tail.position();
        let part = &mut tail.file;
        let mut before = std::mem::replace(&mut part.pending, spare);
        let after = part
            .switch
            .take()
            .map(|(at, file)| (file, before.split_off(at)));
        Taken { before, after, end }
    }

    /// Bytes that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.tail().file.pending.len()
    }

    /// Bytes of memory of the stream, and of what waits to be taken.
    pub fn buffers(&self) -> (usize, usize) {
        let tail = self.tail();
        (tail.stream.memory(), tail.file.pending.capacity())
    }

    /// Waits until something is there to be taken, or the time is over. Returns whether something
    /// is.
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut tail = self.tail();
        if tail.file.is_idle() && !tail.closed {
            tail.file.awaited = true;
            let woken = self.arrived.wait_timeout(tail, timeout);
            tail = woken.unwrap_or_else(PoisonError::into_inner).0;
            tail.file.awaited = false;
        }
        !tail.file.is_idle()
    }

    // ------------------------------------------------------------ the stream

    /// Begins to keep the stream, unless it is kept. Every shard must be locked. Returns whether it
    /// has begun.
    pub fn begin_stream(&self, limit: usize) -> bool {
        let mut tail = self.tail();
        if tail.stream.on {
            return false;
        }
        let end = tail.stream.end;
        tail.stream.restart(end);
        tail.stream.on = true;
        tail.stream.limit = limit;
        self.on.fetch_or(STREAM, Ordering::Relaxed);
        true
    }

    /// No longer keeps the stream. Every shard must be locked.
    pub fn end_stream(&self) {
        let mut tail = self.tail();
        let end = tail.stream.end;
        tail.stream.restart(end);
        tail.stream.on = false;
        self.on.fetch_and(!STREAM, Ordering::Relaxed);
        drop(tail);
        self.flowed.notify_all();
    }

    /// From now on the stream is that of a primary, of which what is in the data set so far is behind
    /// `offset`; what was kept of another one is forgotten unless `goes_on`. Every shard must be
    /// locked.
    pub fn follow(&self, generation: u64, offset: u64, goes_on: bool, limit: usize) {
        let mut tail = self.tail();
        let stream = &mut tail.stream;
        if !goes_on || !stream.on {
            stream.restart(offset);
        }
        stream.on = true;
        stream.limit = limit;
        stream.follows = Some(generation);
        (tail.wanted, tail.asked) = (0, 0);
        let stream = &tail.stream;
        self.streamed.store(stream.end, Ordering::Relaxed);
        self.on.fetch_or(STREAM, Ordering::Relaxed);
    }

    /// Appends nothing any more to the stream, which is this server's own, if it stands at an offset:
    /// it is about to be that of a primary ([`Log::follow`]), who has everything up to there. What
    /// needs no lock, like `PUBLISH`, would come in between. Every shard must be locked. Returns
    /// whether that is so.
    pub fn seal_stream(&self, end: u64) -> bool {
        let stream = &mut self.tail().stream;
        let sealed = stream.on && stream.follows.is_none() && stream.end == end;
        if sealed {
            stream.follows = Some(NOBODY);
        }
        sealed
    }

    /// From now on the stream is nobody else's; it goes on where it is. Every shard must be locked.
    pub fn unfollow(&self) {
        let mut tail = self.tail();
        tail.stream.follows = None;
        tail.stream.selected = None;
    }

    /// The next effect names its database: a replica begins to read here, or the server goes on with
    /// the stream of another one. Every shard must be locked. Returns the offset of that moment and, where
    /// the stream is a primary's, its database, which cannot be named again.
    pub fn begin_copy(&self) -> (u64, Option<usize>) {
        let mut tail = self.tail();
        let stream = &mut tail.stream;
        if stream.follows.is_some() {
            return (stream.end, stream.selected);
        }
        stream.selected = None;
        (stream.end, None)
    }

    /// The stream stands at an offset, as one does that a file tells of. Nothing is kept of what was
    /// before.
    pub fn set_stream_end(&self, offset: u64) {
        let mut tail = self.tail();
        tail.stream.restart(offset);
        (tail.wanted, tail.asked) = (0, 0);
        self.streamed.store(offset, Ordering::Relaxed);
    }

    /// The offset behind the last byte of the stream, and the database that it is in, unless the next
    /// effect names its own.
    pub fn stream_at(&self) -> (u64, Option<usize>) {
        let tail = self.tail();
        (tail.stream.end, tail.stream.selected)
    }

    /// The offset behind the last byte of the stream.
    #[inline]
    pub fn stream_end(&self) -> u64 {
        self.streamed.load(Ordering::Relaxed)
    }

    /// The stream, which is a primary's, is in this database.
    pub fn set_stream_db(&self, db: usize) {
        self.tail().stream.selected = Some(db);
    }

    /// What is there of the stream.
    pub fn kept(&self) -> Kept {
        let tail = self.tail();
        Kept {
            on: tail.stream.on,
            first: tail.stream.first(),
            end: tail.stream.end,
            memory: tail.stream.memory(),
        }
    }

    /// Keeps so many bytes of the stream from now on.
    pub fn set_stream_limit(&self, limit: usize) {
        let mut tail = self.tail();
        tail.stream.set_limit(limit);
    }

    /// A cursor for reading the stream from an offset on, if everything behind it is there.
    pub fn open_cursor(&self, at: u64) -> Option<Cursor> {
        let mut tail = self.tail();
        if !tail.stream.on {
            return None;
        }
        tail.stream.open(at)
    }

    /// Lets go of a cursor.
    pub fn close_cursor(&self, cursor: Cursor) {
        self.tail().stream.close(cursor);
    }

    /// Bytes between a cursor and the end of the stream.
    pub fn behind(&self, cursor: Cursor) -> u64 {
        let tail = self.tail();
        tail.stream.end - tail.stream.at(cursor)
    }

    /// Reads up to `most` bytes behind a cursor to the end of a buffer, and moves the cursor. Waits
    /// for some to come, at most for `timeout`. Returns how many there were. Where somebody wants to
    /// know what replicas have, they are asked behind all that is there.
    pub fn read(
        &self,
        cursor: Cursor,
        most: usize,
        into: &mut Vec<u8>,
        timeout: Duration,
    ) -> usize {
        let before = into.len();
        let mut tail = self.tail();
        let idle = tail.stream.at(cursor) == tail.stream.end && !tail.is_asking();
        if idle && !timeout.is_zero() && !tail.closed {
            tail.stream.set_idle(cursor, true);
            if tail.draining > 0 {
                self.drained.notify_all();
            }
            tail.readers_waiting += 1;
            let woken = self.flowed.wait_timeout(tail, timeout);
            tail = woken.unwrap_or_else(PoisonError::into_inner).0;
            tail.readers_waiting -= 1;
        }
        if tail.is_asking() {
            let mut bytes = Vec::new();
            let words: [&[u8]; 3] = [b"REPLCONF", b"GETACK", b"*"];
            encode_command(&mut bytes, words.into_iter());
            // What they answer does not count the question.
            tail.asked = tail.stream.end;
            tail.stream.push(&bytes);
            self.streamed.store(tail.stream.end, Ordering::Relaxed);
            self.wake(&tail);
        }
        tail.stream.read(cursor, most, into);
        into.len() - before
    }

    /// Lets more come together for so long, unless somebody is in a hurry.
    pub fn gather(&self, time: Duration) {
        let mut tail = self.tail();
        if !tail.is_asking() && !tail.closed {
            tail.gathering += 1;
            let woken = self.hurried.wait_timeout(tail, time);
            tail = woken.unwrap_or_else(PoisonError::into_inner).0;
            tail.gathering -= 1;
        }
    }

    /// Somebody wants to know soon which replicas have everything before an offset.
    pub fn want_acks(&self, offset: u64) {
        let mut tail = self.tail();
        let known = tail.is_asking();
        tail.wanted = tail.wanted.max(offset);
        if !known && tail.is_asking() {
            self.wake(&tail);
        }
    }

    /// Wakes those who read the stream.
    pub fn wake_readers(&self) {
        self.wake(&self.tail());
    }

    /// Waits until all who read the stream have been sent everything, at most for so long.
    pub fn drain(&self, timeout: Duration) {
        let mut tail = self.tail();
        self.wake(&tail);
        tail.draining += 1;
        let more = |tail: &mut Tail| !tail.stream.is_drained();
        let woken = self.drained.wait_timeout_while(tail, timeout, more);
        tail = woken.unwrap_or_else(PoisonError::into_inner).0;
        tail.draining -= 1;
    }

    /// How far a reader may be behind at most, where that is more than what is kept anyway; 0 if
    /// it does not matter.
    pub fn set_hard_limit(&self, bytes: u64) {
        let mut tail = self.tail();
        tail.stream.set_hard_limit(bytes);
        if tail.stream.is_overdue() {
            self.overdue.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody has been found to be too far behind, and nobody has taken that upon himself.
    #[inline]
    pub fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    /// Takes it upon oneself to let go of whoever is too far behind. Returns whether there was any.
    pub fn take_overdue(&self) -> bool {
        self.overdue.swap(false, Ordering::Relaxed)
    }

    fn wake(&self, tail: &Tail) {
        if tail.readers_waiting > 0 {
            self.flowed.notify_all();
        }
        if tail.gathering > 0 {
            self.hurried.notify_all();
        }
    }

    // ------------------------------------------------------------ the end

    /// Wakes whoever waits, from now on.
    pub fn close(&self) {
        self.tail().closed = true;
        self.arrived.notify_all();
        self.flowed.notify_all();
        self.hurried.notify_all();
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
    fn position(&self) -> Position {
        Position {
            file: self.file.end,
            stream: self.stream.end,
        }
    }

    /// Whether replicas are to be asked how far they are.
    fn is_asking(&self) -> bool {
        self.wanted > self.asked && self.stream.on && self.stream.follows.is_none()
    }
}

impl FilePart {
    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.switch.is_none()
    }

    fn append(&mut self, batch: &Batch, now: i64) {
        if !self.on || !batch.is_for_file() {
            return;
        }
        let before = self.pending.len();
        self.annotate(now / 1000);
        let mut selected = self.selected;
        batch.frame(false, &mut selected, |bytes| {
            self.pending.extend_from_slice(bytes);
        });
        self.selected = selected;
        self.end += (self.pending.len() - before) as u64;
    }

    #[inline]
    fn annotate(&mut self, second: i64) {
        if self.annotate && second != self.annotated {
            self.write_time(second);
        }
    }

    #[cold]
    fn write_time(&mut self, second: i64) {
        self.annotated = second;
        self.pending
            .extend_from_slice(format!("#TS:{second}\r\n").as_bytes());
    }
}
