//! The writer of the append only file: takes what the [`super::log`] holds and brings it to disk.
//!
//! One at a time writes and syncs: whoever needs it first does it for all. With `appendfsync
//! always` those are the threads that have replies to send: each waits until the disk has what it
//! has logged ([`Aof::commit`]), so one sync serves all that wait, and nobody waits for more than
//! the one under way and the next. Otherwise it is a thread of its own, which also syncs once a
//! second where that is wanted.
//!
//! A write that fails is tried again every second, from where it stopped; until it succeeds,
//! writing commands are refused. With `always` nothing could be promised any more, and the server
//! ends, as Redis does.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Server;
use super::config::id;
use super::log::{Log, Position};
use super::threads;
use crate::log_warning;
use crate::persist::aof::files::{Files, State};
use crate::util::clock::steady_ms;

/// The time between two writes, where nobody waits for them. What comes after a longer silence is
/// written at once.
const GATHER: Duration = Duration::from_millis(2);
/// The same where those who wait write themselves, and nothing but what nobody waits for, such as
/// that keys have expired, is left.
const LEFT_OVER: Duration = Duration::from_millis(100);
/// How long a sync may be under way before writers are held up.
const PATIENCE_MS: i64 = 2000;
/// Time between two complaints about the same trouble.
const COMPLAIN_EVERY_MS: i64 = 30_000;

/// When the file is synced; the values of the option `appendfsync`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fsync {
    /// Never by the server.
    No,
    /// Before a reply leaves.
    Always,
    /// Once a second.
    EverySecond,
}

/// The writer's state.
#[derive(Default)]
pub struct Aof {
    /// Whether the policy is `always`, and there is a file; to be read by every session.
    always: AtomicBool,
    progress: Mutex<Progress>,
    /// What [`Progress::synced`] is, to be asked without the lock.
    synced: AtomicU64,
    /// Told when somebody has written and synced.
    done: Condvar,
    output: Mutex<Output>,
    /// Since when a sync has been under way, milliseconds on the steady clock; 0 when none is.
    syncing_since: AtomicI64,
    /// Syncs that held writers up.
    pub delayed: AtomicU64,
    /// Bytes of the files in use, and of the base when it was made.
    pub size: AtomicU64,
    /// See `size`.
    pub base_size: AtomicU64,
    /// Whether the last write failed.
    failed: AtomicBool,
    /// See [`Aof::held`].
    held: AtomicUsize,
    setup: Mutex<Setup>,
    /// Files handed to [`Aof::prepare`].
    files: AtomicU64,
}

/// The files on disk, and whether they are in use.
pub struct Setup {
    /// The folder with its manifest; `None` where it could not be read.
    pub files: Option<Files>,
    /// Whether what happens is logged, and where to.
    pub state: State,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            files: None,
            state: State::Off,
        }
    }
}

/// Who is at work, and how far it has come.
#[derive(Default)]
struct Progress {
    busy: bool,
    /// Offsets of the log up to which everything has been written, and synced.
    written: u64,
    synced: u64,
    /// What `synced` is in the replication stream.
    synced_stream: u64,
}

/// The files.
#[derive(Default)]
struct Output {
    current: Option<File>,
    /// Bytes written to it.
    current_size: u64,
    /// The files to go on with once the log says so, and their numbers. More than one only while
    /// nothing can be written, or where a rewrite was given up before it began.
    next: VecDeque<(u64, File)>,
    /// What has been taken out of the log and not written yet, in order.
    queue: VecDeque<Piece>,
    /// What is behind it in the log.
    taken: Position,
    spare: Vec<u8>,
    /// When something was last complained about, and synced, on the steady clock: one that is set back
    /// must not put a sync off.
    complained: i64,
    last_sync: i64,
    /// What the last failure was.
    error: Option<io::Error>,
    /// How long writing has taken since somebody last asked.
    writing: Duration,
}

/// A part of the log on its way to the disk.
struct Piece {
    /// The file that begins with it, if it begins one.
    file: Option<u64>,
    bytes: Vec<u8>,
    /// How much of it has been written.
    at: usize,
}

impl Piece {
    fn new(file: Option<u64>, bytes: Vec<u8>) -> Piece {
        Piece { file, bytes, at: 0 }
    }
}

impl Aof {
    /// Whether replies have to wait for [`Aof::commit`].
    #[inline]
    pub fn is_always(&self) -> bool {
        self.always.load(Ordering::Relaxed)
    }

    /// Reads the policy anew, after an option changed or the file was opened or closed.
    pub fn refresh(&self, server: &Server) {
        let always = server.log.has_file() && policy(server) == Fsync::Always;
        self.always.store(always, Ordering::Relaxed);
    }

    /// Whether the last write or sync failed; then why.
    #[inline]
    pub fn failure(&self) -> Option<String> {
        match self.failed.load(Ordering::Relaxed) {
            true => Some(self.reason()),
            false => None,
        }
    }

    #[cold]
    fn reason(&self) -> String {
        let output = self.output();
        output.error.as_ref().map_or_else(String::new, reason)
    }

    /// Waits until everything logged before `offset` is on disk.
    pub fn commit(&self, server: &Server, offset: u64) {
        let mut state = self.progress();
        while state.synced < offset {
            if state.busy {
                state = self.wait(state);
                continue;
            }
            state.busy = true;
            drop(state);
            let end = self.work_whole(server, true);
            self.finish(server, end, true);
            state = self.progress();
            if end.is_none() {
                // Only where the policy has changed meanwhile: nothing to wait for any more.
                return;
            }
        }
    }

    /// Whether a sync is under way.
    pub fn is_syncing(&self) -> bool {
        self.syncing_since.load(Ordering::Relaxed) != 0
    }

    /// Whether the disk does not have everything before this offset of the log yet.
    #[inline]
    pub fn is_behind(&self, offset: u64) -> bool {
        self.synced.load(Ordering::Relaxed) < offset
    }

    /// Offset of the log up to which everything is on disk.
    pub fn synced(&self) -> u64 {
        self.progress().synced
    }

    /// Waits until everything logged before `offset` is on disk, or the time is over.
    pub fn wait_synced(&self, offset: u64, timeout: Duration) -> bool {
        let state = self.progress();
        let waiting = |state: &mut Progress| state.synced < offset;
        let result = self.done.wait_timeout_while(state, timeout, waiting);
        let (state, _) = result.unwrap_or_else(PoisonError::into_inner);
        state.synced >= offset
    }

    /// Holds the caller up while the disk is so far behind that too much would be at risk.
    pub fn throttle(&self) {
        let since = self.syncing_since.load(Ordering::Relaxed);
        if since == 0 || steady_ms() - since <= PATIENCE_MS {
            return;
        }
        self.delayed.fetch_add(1, Ordering::Relaxed);
        let state = self.progress();
        let late = |state: &mut Progress| {
            let since = self.syncing_since.load(Ordering::Relaxed);
            state.busy && since != 0 && steady_ms() - since > PATIENCE_MS
        };
        // Looked at again now and then: what is late may be followed by something else.
        let most = Duration::from_secs(1);
        drop(self.done.wait_timeout_while(state, most, late));
    }

    /// Sets the file that is to be used from the moment on when the log is switched to the number
    /// that is returned.
    pub fn prepare(&self, file: File) -> u64 {
        let number = self.files.fetch_add(1, Ordering::Relaxed) + 1;
        self.output().next.push_back((number, file));
        number
    }

    /// The files on disk, and whether they are in use.
    pub fn setup(&self) -> MutexGuard<'_, Setup> {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what happens is logged, and where to.
    pub fn state(&self) -> State {
        self.setup().state
    }

    /// The files in use have so many bytes, of which growth is counted.
    pub fn measure(&self, bytes: u64) {
        self.size.store(bytes, Ordering::Relaxed);
        self.base_size.store(bytes, Ordering::Relaxed);
    }

    /// There is a new base of so many bytes, to go with the current file.
    pub fn rebase(&self, base: u64) {
        let bytes = base + self.output().current_size;
        self.measure(bytes);
    }

    /// Writes and syncs everything there is, whoever else does it too.
    pub fn flush(&self, server: &Server) {
        let mut state = self.progress();
        while state.busy {
            state = self.wait(state);
        }
        state.busy = true;
        drop(state);
        let end = self.work_whole(server, true);
        self.finish(server, end, true);
    }

    /// Closes the file, after everything has been written; the log has ended.
    pub fn close(&self, server: &Server) {
        self.flush(server);
        let mut output = self.output();
        output.current = None;
        output.next.clear();
        output.queue.clear();
        self.failed.store(false, Ordering::Relaxed);
        self.always.store(false, Ordering::Relaxed);
    }

    /// The life of the thread that writes where nobody waits.
    pub fn run(&self, server: &Server) {
        let mut last: Option<Instant> = None;
        while !server.log.is_closed() {
            let waited = server.log.wait(Duration::from_millis(500));
            if !server.log.has_file() && !waited {
                continue;
            }
            if self.is_always() {
                std::thread::sleep(LEFT_OVER);
            } else if let Some(pause) = last.and_then(|last| GATHER.checked_sub(last.elapsed())) {
                std::thread::sleep(pause);
            }
            last = Some(Instant::now());
            let mut state = self.progress();
            if state.busy {
                continue;
            }
            let unsynced = state.synced < server.log.end();
            state.busy = true;
            drop(state);
            let sync = unsynced && self.is_sync_due(server);
            let end = self.work_whole(server, sync);
            self.finish(server, end, sync);
            if self.failed.load(Ordering::Relaxed) {
                // The next try is in a second.
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }

    fn is_sync_due(&self, server: &Server) -> bool {
        match policy(server) {
            Fsync::No => false,
            Fsync::Always => true,
            Fsync::EverySecond => {
                let rewriting =
                    server.saving.is_busy() && server.config.bool(id::NO_APPENDFSYNC_ON_REWRITE);
                !rewriting && steady_ms() - self.output().last_sync >= 1000
            }
        }
    }

    /// As [`Aof::work`]. What a panic in there leaves of the file and of what is to be written nobody
    /// could go on with, and who waits for it would wait for ever, so it ends the process.
    fn work_whole(&self, server: &Server, sync: bool) -> Option<Position> {
        threads::whole(threads::WRITER, || self.work(server, sync))
    }

    /// Writes what the log holds, and syncs it if asked to. Returns the offset up to which it has
    /// done so, unless it failed.
    fn work(&self, server: &Server, sync: bool) -> Option<Position> {
        let delay = server.testing.aof_delay.load(Ordering::Relaxed);
        if delay > 0 {
            std::thread::sleep(Duration::from_micros(delay));
        }
        let mut output = self.output();
        let output = &mut *output;
        threads::fall_over(threads::WRITER);
        let result = self.write_out(&server.log, output).and_then(|end| {
            note_write(server, std::mem::take(&mut output.writing));
            if sync {
                let start = Instant::now();
                self.sync(output)?;
                if self.is_always() {
                    let took = start.elapsed();
                    let latency = &server.latency;
                    latency.note(&server.config, "aof-fsync-always", took);
                }
            }
            Ok(end)
        });
        match result {
            Ok(end) => {
                if self.failed.swap(false, Ordering::Relaxed) {
                    log_warning!("AOF write error looks solved, the server can write again.");
                }
                Some(end)
            }
            Err(error) => {
                self.fail(server, output, error);
                None
            }
        }
    }

    /// Writes what the log holds and what is left from before. Returns the offset behind it.
    fn write_out(&self, log: &Log, output: &mut Output) -> io::Result<Position> {
        let taken = log.take(std::mem::take(&mut output.spare));
        output.queue.push_back(Piece::new(None, taken.before));
        if let Some((number, after)) = taken.after {
            output.queue.push_back(Piece::new(Some(number), after));
        }
        output.taken = taken.end;
        self.note_held(output);
        while let Some(mut piece) = output.queue.pop_front() {
            let result = self.write(output, &mut piece);
            if result.is_err() {
                output.queue.push_front(piece);
                self.note_held(output);
                result?;
            } else if piece.bytes.capacity() <= 1 << 20 {
                output.spare = piece.bytes;
            }
        }
        self.note_held(output);
        Ok(output.taken)
    }

    /// Notes how much memory the writer has of what it has taken out of the log.
    fn note_held(&self, output: &Output) {
        let pieces = output.queue.iter().map(|piece| piece.bytes.capacity());
        let held = pieces.sum::<usize>() + output.spare.capacity();
        self.held.store(held, Ordering::Relaxed);
    }

    /// Bytes of memory of what has been taken out of the log to be written, and is not yet.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Writes a piece, to the file that it begins if it begins one.
    fn write(&self, output: &mut Output, piece: &mut Piece) -> io::Result<()> {
        if let Some(number) = piece.file {
            if output.current.is_some() {
                // The file before is whole before the next one begins.
                self.sync(output)?;
            }
            while let Some((next, file)) = output.next.pop_front_if(|(next, _)| *next <= number) {
                if next == number {
                    output.current = Some(file);
                    output.current_size = 0;
                }
            }
            piece.file = None;
        }
        let Some(file) = &mut output.current else {
            return Ok(());
        };
        if piece.at == piece.bytes.len() {
            return Ok(());
        }
        let start = Instant::now();
        while piece.at < piece.bytes.len() {
            match file.write(&piece.bytes[piece.at..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    piece.at += written;
                    output.current_size += written as u64;
                    self.size.fetch_add(written as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        output.writing += start.elapsed();
        Ok(())
    }

    fn sync(&self, output: &mut Output) -> io::Result<()> {
        let Some(file) = &output.current else {
            return Ok(());
        };
        let start = steady_ms();
        self.syncing_since.store(start, Ordering::Relaxed);
        let result = file.sync_data();
        self.syncing_since.store(0, Ordering::Relaxed);
        output.last_sync = steady_ms();
        result
    }

    fn fail(&self, server: &Server, output: &mut Output, error: io::Error) {
        let now = steady_ms();
        let first = !self.failed.swap(true, Ordering::Relaxed);
        if first || now - output.complained > COMPLAIN_EVERY_MS {
            output.complained = now;
            log_warning!("Error writing to the AOF file: {}", reason(&error));
        }
        output.error = Some(error);
        if policy(server) == Fsync::Always {
            log_warning!(
                "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting..."
            );
            crate::sys::exit_now(1);
        }
    }

    fn finish(&self, server: &Server, end: Option<Position>, synced: bool) {
        let mut state = self.progress();
        state.busy = false;
        if let Some(end) = end {
            state.written = state.written.max(end.file);
            if synced {
                state.synced = state.synced.max(end.file);
                state.synced_stream = end.stream;
                self.synced.store(state.synced, Ordering::Relaxed);
            }
        }
        drop(state);
        self.done.notify_all();
        if synced {
            server.replication.replicas.waits.serve(server);
        }
    }

    /// Offset of the replication stream up to which everything is on disk that is to be there.
    pub fn synced_stream(&self, log: &Log) -> u64 {
        let here = log.position();
        let state = self.progress();
        // What came since may have been for replicas only.
        match state.synced >= here.file {
            true => here.stream,
            false => state.synced_stream,
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, Progress>) -> MutexGuard<'a, Progress> {
        self.done
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the latency monitor how long a write has taken.
fn note_write(server: &Server, took: Duration) {
    let (latency, config) = (&server.latency, &server.config);
    let alone = match server.saving.is_busy() {
        true => "aof-write-active-child",
        false => "aof-write-alone",
    };
    latency.note(config, alone, took);
    latency.note(config, "aof-write", took);
}

/// The policy in force.
pub fn policy(server: &Server) -> Fsync {
    match server.config.name(id::APPENDFSYNC) {
        "always" => Fsync::Always,
        "no" => Fsync::No,
        _ => Fsync::EverySecond,
    }
}

/// An error of the system without Rust's remark on its number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
