//! Saving the data set: the snapshot file, the rewriting of the append only file, and the points at
//! which either is due.
//!
//! Both are written from a snapshot of the store ([`crate::store::snapshot`]) while clients go on;
//! one at a time, as in Redis. What `SAVE` and a shutdown write is written by the thread that asks
//! for it, the rest by a thread of its own.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::config::value::SavePoint;
use super::config::{id, table};
use super::replication::History;
use super::{REDIS_VERSION, Server, aof, threads};
use crate::persist::aof::rewrite;
use crate::persist::crc64;
use crate::persist::rdb::encode::{self, Access, Encoder};
use crate::persist::rdb::file::{Failure, Options, Target};
use crate::persist::rdb::{VERSION, opcode};
use crate::resp::encode_command;
use crate::store::Locks;
use crate::store::access::idle_seconds;
use crate::store::entry::Entry;
use crate::store::snapshot::{Encode, Handle, Pace, Snapshot, Stopped};
use crate::util::clock::now_ms;
use crate::{log_notice, log_warning, sys};

/// How long after a failed save the next is tried, in seconds.
const RETRY_AFTER: i64 = 5;
/// The least that a gentle snapshot works, in per cent of its thread's time, however busy clients
/// are.
const GENTLE: u32 = 12;
/// The same for one that replicas wait for.
const BRISK: u32 = 60;

/// What is being written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The snapshot file, while the caller waits.
    Save,
    /// The snapshot file, in the background.
    Background,
    /// The append only file anew.
    Rewrite,
}

impl Kind {
    /// What the log is told when it is given up, which is what Redis tells.
    fn given_up(self) -> &'static str {
        match self {
            Kind::Rewrite => "Killing running AOF rewrite child",
            Kind::Save | Kind::Background => "Killing running RDB child",
        }
    }
}

/// Why something was not saved.
#[derive(Debug)]
pub enum NotSaved {
    /// Something else is being saved.
    Busy(Kind),
    /// It was given up.
    Cancelled,
    /// What went wrong, in words for the log.
    Failed(String),
}

/// What is being saved and what has been.
pub struct Saving {
    job: Mutex<Jobs>,
    ended: Condvar,
    busy: AtomicBool,
    /// When the snapshot file was last saved, unix seconds.
    pub last_save: AtomicI64,
    /// All changes to the data set when it was.
    saved_changes: AtomicU64,
    /// How often the snapshot file was saved.
    pub saves: AtomicU64,
    /// How the last save in the background, and the last rewrite, ended.
    pub save: Record,
    /// See `save`.
    pub rewrite: Record,
    /// Jobs in the background that have begun, and for how many microseconds the snapshot of the
    /// last has held everybody up when it began.
    pub begun: AtomicU64,
    /// See `begun`.
    pub held_up: AtomicU64,
}

/// How something that is done time and again went last.
pub struct Record {
    /// Whether it failed.
    failed: AtomicBool,
    /// When it was last tried, unix seconds.
    tried: AtomicI64,
    /// How long it took, in seconds; -1 when it was never done.
    pub seconds: AtomicI64,
    /// Bytes of copies that had to be made meanwhile.
    pub copied: AtomicU64,
    /// How often it failed in a row.
    pub failures: AtomicU64,
    /// After how many failures the log was last told.
    complained: AtomicU64,
    /// How often it was done.
    pub successes: AtomicU64,
}

impl Default for Record {
    fn default() -> Record {
        Record {
            failed: AtomicBool::new(false),
            tried: AtomicI64::new(0),
            seconds: AtomicI64::new(-1),
            copied: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            complained: AtomicU64::new(0),
            successes: AtomicU64::new(0),
        }
    }
}

impl Record {
    /// `ok` or `err`, as `INFO` says it.
    pub fn status(&self) -> &'static str {
        if self.has_failed() { "err" } else { "ok" }
    }

    /// Whether it failed last.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// When it was last tried, unix seconds.
    pub(super) fn tried(&self) -> i64 {
        self.tried.load(Ordering::Relaxed)
    }

    /// Whether so many failures in a row are worth a line in the log, which is so once.
    pub(super) fn complain(&self, failures: u64) -> bool {
        self.complained.swap(failures, Ordering::Relaxed) != failures
    }

    /// It is tried now.
    pub(super) fn begin(&self) {
        self.tried.store(now_ms() / 1000, Ordering::Relaxed);
    }

    pub(super) fn note(&self, ok: bool, seconds: i64, copied: u64) {
        self.failed.store(!ok, Ordering::Relaxed);
        self.seconds.store(seconds, Ordering::Relaxed);
        self.copied.store(copied, Ordering::Relaxed);
        if ok {
            self.failures.store(0, Ordering::Relaxed);
            self.successes.fetch_add(1, Ordering::Relaxed);
        } else {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Default)]
struct Jobs {
    running: Option<Job>,
    save_scheduled: bool,
    rewrite_scheduled: bool,
}

/// What is being saved at the moment.
#[derive(Clone)]
pub struct Job {
    /// What.
    pub kind: Kind,
    /// Since when, unix seconds.
    pub since: i64,
    /// Shows how far it is, once its snapshot has begun.
    pub handle: Option<Handle>,
}

impl Default for Saving {
    fn default() -> Saving {
        Saving {
            job: Mutex::default(),
            ended: Condvar::new(),
            busy: AtomicBool::new(false),
            last_save: AtomicI64::new(now_ms() / 1000),
            saved_changes: AtomicU64::new(0),
            saves: AtomicU64::new(0),
            save: Record::default(),
            rewrite: Record::default(),
            begun: AtomicU64::new(0),
            held_up: AtomicU64::new(0),
        }
    }
}

impl Saving {
    /// Whether something is being saved.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// What is being saved.
    pub fn current(&self) -> Option<Job> {
        self.jobs().running.clone()
    }

    /// Whether a save, and whether a rewrite, is to begin as soon as nothing else is saved.
    pub fn scheduled(&self) -> (bool, bool) {
        let jobs = self.jobs();
        (jobs.save_scheduled, jobs.rewrite_scheduled)
    }

    /// Lets a save in the background begin as soon as nothing else is saved.
    pub fn schedule_save(&self) {
        self.jobs().save_scheduled = true;
    }

    /// Lets a rewrite begin as soon as nothing else is saved.
    pub fn schedule_rewrite(&self) {
        self.jobs().rewrite_scheduled = true;
    }

    /// Changes to the data set since it was last saved.
    pub fn changes(&self, server: &Server) -> u64 {
        let all = server.stats.changes();
        all.saturating_sub(self.saved_changes.load(Ordering::Relaxed))
    }

    /// The data set is what the file holds: nothing has changed since.
    pub fn forget_changes(&self, server: &Server) {
        let all = server.stats.changes();
        self.saved_changes.store(all, Ordering::Relaxed);
    }

    /// Whether so much has changed in so long a time that the data set is to be saved.
    pub fn is_due(&self, server: &Server) -> bool {
        let points = server.config.save_points();
        let (changes, now) = (self.changes(server), now_ms() / 1000);
        let since = now - self.last_save.load(Ordering::Relaxed);
        let retry = now - self.save.tried.load(Ordering::Relaxed) > RETRY_AFTER;
        if changes == 0 || (self.save.has_failed() && !retry) {
            return false;
        }
        let due =
            |point: &&SavePoint| changes >= point.changes.max(0) as u64 && since > point.seconds;
        let Some(point) = points.iter().find(due) else {
            return false;
        };
        log_notice!(
            "{} changes in {} seconds. Saving...",
            point.changes,
            point.seconds
        );
        true
    }

    /// Whether writes are refused because the last save failed.
    pub fn stops_writes(&self, server: &Server) -> bool {
        self.save.has_failed()
            && server.config.bool(id::STOP_WRITES_ON_BGSAVE_ERROR)
            && !server.config.save_points().is_empty()
    }

    /// Gives up what is being saved in the background, and waits until it has ended.
    pub fn cancel(&self) {
        let mut jobs = self.jobs();
        jobs.save_scheduled = false;
        jobs.rewrite_scheduled = false;
        while let Some(job) = &jobs.running {
            if let Some(handle) = &job.handle {
                handle.cancel();
            }
            let woken = self.ended.wait_timeout(jobs, Duration::from_millis(10));
            jobs = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives up a rewrite, and waits until it has ended. Returns whether there was one.
    pub fn cancel_rewrite(&self) -> bool {
        self.jobs().rewrite_scheduled = false;
        self.cancel_kind(Kind::Rewrite)
    }

    /// Gives up a save in the background, and waits until it has ended. Returns whether there was
    /// one.
    pub fn cancel_save(&self) -> bool {
        self.cancel_kind(Kind::Background)
    }

    fn cancel_kind(&self, kind: Kind) -> bool {
        let mut jobs = self.jobs();
        let mut found = false;
        while let Some(job) = jobs.running.as_ref().filter(|job| job.kind == kind) {
            if !std::mem::replace(&mut found, true) {
                log_notice!("{}: {}", kind.given_up(), std::process::id());
            }
            if let Some(handle) = &job.handle {
                handle.cancel();
            }
            let woken = self.ended.wait_timeout(jobs, Duration::from_millis(10));
            jobs = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        found
    }

    /// Forgets that a rewrite is to begin.
    pub(super) fn unschedule_rewrite(&self) {
        self.jobs().rewrite_scheduled = false;
    }

    /// Bytes of copies that the job has cost so far.
    pub(super) fn copied(&self) -> u64 {
        let handle = self.current().and_then(|job| job.handle);
        handle.map_or(0, |handle| handle.copied())
    }

    /// Begins a job, if none is running. With `wait`, waits for others to end.
    pub(super) fn begin(&self, kind: Kind, wait: bool) -> Result<(), NotSaved> {
        let mut jobs = self.jobs();
        while let Some(job) = &jobs.running {
            if !wait || job.kind != Kind::Rewrite {
                return Err(NotSaved::Busy(job.kind));
            }
            jobs = self
                .ended
                .wait(jobs)
                .unwrap_or_else(PoisonError::into_inner);
        }
        jobs.running = Some(Job {
            kind,
            since: now_ms() / 1000,
            handle: None,
        });
        self.busy.store(true, Ordering::Relaxed);
        if kind != Kind::Save {
            self.begun.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Shows how far the job is.
    fn show(&self, handle: Handle) {
        if let Some(job) = &mut self.jobs().running {
            job.handle = Some(handle);
        }
    }

    /// The job has ended.
    pub(super) fn end(&self) {
        self.jobs().running = None;
        self.busy.store(false, Ordering::Relaxed);
        self.ended.notify_all();
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the job, however it is left.
pub(super) struct Ending<'s>(&'s Saving);

impl Ending<'_> {
    /// Ends the job that is running.
    pub fn of(saving: &Saving) -> Ending<'_> {
        Ending(saving)
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

// ---------------------------------------------------------------- the snapshot file

/// Saves the data set while the caller waits, who holds no lock.
///
/// # Errors
/// Something else is being saved, or saving fails.
pub fn save(server: &Server) -> Result<(), NotSaved> {
    save_and(server, || ())
}

/// The same; at the instant of which the data set is saved it runs `at_instant`, with every shard
/// locked.
///
/// # Errors
/// As [`save`].
pub fn save_and(server: &Server, at_instant: impl FnOnce()) -> Result<(), NotSaved> {
    server.saving.begin(Kind::Save, true)?;
    let _ending = Ending(&server.saving);
    let result = write_file(server, Speed::Full, at_instant);
    if result.is_ok() {
        server.saving.save.failed.store(false, Ordering::Relaxed);
    }
    result
}

/// Starts to save the data set in the background.
///
/// # Errors
/// Something else is being saved, or no thread can be started.
pub fn save_in_background(server: &Arc<Server>) -> Result<(), NotSaved> {
    save_in_background_and(server, Speed::Gentle, || (), |_| ())
}

/// The same; runs `at_instant` as [`save_and`] does, and `then` with whether the file was saved,
/// before anything else can be.
///
/// # Errors
/// As [`save_in_background`]; neither of the two runs then.
pub(super) fn save_in_background_and(
    server: &Arc<Server>,
    speed: Speed,
    at_instant: impl FnOnce() + Send + 'static,
    then: impl FnOnce(bool) + Send + 'static,
) -> Result<(), NotSaved> {
    server.saving.begin(Kind::Background, false)?;
    server.saving.save.begin();
    server.saving.jobs().save_scheduled = false;
    let shared = server.clone();
    let body = move || {
        let server = &*shared;
        let _ending = Ending(&server.saving);
        let start = now_ms();
        let result = attempt("bgsave", || write_file(server, speed, at_instant));
        let copied = server.saving.copied();
        let seconds = (now_ms() - start) / 1000;
        let saved = result.is_ok();
        match result {
            Ok(()) => {
                log_notice!("Background saving terminated with success");
                server.saving.save.note(true, seconds, copied);
            }
            // Given up on purpose: no failure.
            Err(NotSaved::Cancelled) => log_warning!("Background saving was cancelled"),
            Err(_) => {
                log_warning!("Background saving error");
                server.saving.save.note(false, seconds, copied);
            }
        }
        then(saved);
    };
    spawn("bgsave", body).map_err(|error| {
        server.saving.end();
        server.saving.save.note(false, 0, 0);
        log_warning!("Can't save in background: {error}");
        NotSaved::Failed(error.to_string())
    })?;
    log_notice!("Background saving started by pid {}", std::process::id());
    Ok(())
}

/// Does what a thread that saves is about, for which a panic is a failure like any other: whoever waits
/// for it is told, and it is tried again.
pub(super) fn attempt<T>(
    name: &str,
    body: impl FnOnce() -> Result<T, NotSaved>,
) -> Result<T, NotSaved> {
    let panicked = || Err(NotSaved::Failed("a panic".to_owned()));
    threads::attempt(name, body).unwrap_or_else(panicked)
}

/// Starts a thread that saves.
pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    threads::expendable(name, 512 << 10, body, || ())
}

/// Tells the log why a file could not be written.
pub(super) fn failed(failure: Failure) -> NotSaved {
    let reason = failure.to_string();
    log_warning!("{reason}");
    NotSaved::Failed(reason)
}

/// Writes the snapshot file; a job is running.
fn write_file(server: &Server, speed: Speed, at_instant: impl FnOnce()) -> Result<(), NotSaved> {
    let name = server.config.str(id::DBFILENAME);
    let name = String::from_utf8_lossy(&name).into_owned();
    let options = Options {
        checksum: server.config.bool(id::RDBCHECKSUM),
        incremental_sync: server.config.bool(id::RDB_SAVE_INCREMENTAL_FSYNC),
    };
    let dir = std::env::current_dir().unwrap_or_else(|_| ".".into());
    let mut target = Target::create(&dir, &name, options).map_err(failed)?;
    let instant = || {
        at_instant();
        server.stats.changes()
    };
    let changes = match write_snapshot(server, &mut target, speed, false, instant) {
        Ok(changes) => changes,
        Err(why) => {
            let start = Instant::now();
            drop(target);
            if speed != Speed::Full {
                let took = start.elapsed();
                let latency = &server.latency;
                latency.note(&server.config, "rdb-unlink-temp-file", took);
            }
            return Err(why);
        }
    };
    target.finish().map_err(failed)?;
    server
        .saving
        .saved_changes
        .store(changes, Ordering::Relaxed);
    server
        .saving
        .last_save
        .store(now_ms() / 1000, Ordering::Relaxed);
    server.saving.saves.fetch_add(1, Ordering::Relaxed);
    log_notice!("DB saved on disk");
    Ok(())
}

/// How fast a snapshot is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Speed {
    /// As fast as all cores make it.
    Full,
    /// So that clients hardly notice.
    Gentle,
    /// So that clients are served well, but replicas wait for it.
    Brisk,
}

/// What of the data set is written, and how.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    /// How fast.
    pub speed: Speed,
    /// Whether it says that it is the base of an append only file.
    pub aof_base: bool,
    /// Whether the libraries of functions are part of it.
    pub functions: bool,
    /// Whether the keys are.
    pub keys: bool,
}

/// Writes the data set as it is at an instant of its own choice, at which it runs `at_instant`
/// with every shard locked, to a file that has been begun.
///
/// # Errors
/// It was cancelled, or the file cannot be written.
pub(super) fn write_snapshot<R>(
    server: &Server,
    target: &mut Target,
    speed: Speed,
    aof_base: bool,
    at_instant: impl FnOnce() -> R,
) -> Result<R, NotSaved> {
    let extent = Extent {
        speed,
        aof_base,
        functions: true,
        keys: true,
    };
    let mut write = |bytes: &[u8]| {
        let written = target.write(bytes);
        written.map_err(|failure: Failure| io::Error::other(failure.to_string()))
    };
    let instant = || {
        let result = at_instant();
        // What the append only file goes on from is no point of a history: there may be more in it.
        let history = (!aof_base).then(|| History::of(server)).flatten();
        (history, result)
    };
    let (result, version) = send_snapshot(server, extent, &mut write, instant)?;
    target.set_version(version);
    Ok(result)
}

/// Hands the data set, as it is at an instant of its own choice, to `write`, but for the end of the
/// file. At that instant it runs `at_instant` with every shard locked. Returns what that returned, and
/// the version that is needed to read it, which may be above that in its head.
///
/// # Errors
/// It was cancelled, or `write` has failed.
pub(super) fn send_snapshot<R>(
    server: &Server,
    extent: Extent,
    write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    at_instant: impl FnOnce() -> (Option<History>, R),
) -> Result<(R, u16), NotSaved> {
    let encoder = Encoder {
        compress: server.config.bool(id::RDBCOMPRESSION),
    };
    let unwritten = |error: io::Error| {
        let reason = error.to_string();
        log_warning!("{reason}");
        NotSaved::Failed(reason)
    };
    let mut head = Vec::new();
    if !extent.keys {
        let locks = Locks::all(&server.store, true);
        let (history, result) = at_instant();
        drop(locks);
        header(server, &encoder, extent, history.as_ref(), &mut head);
        write(&head).map_err(unwritten)?;
        return Ok((result, VERSION));
    }
    // Keys that fields expire of are of a kind that older versions of the format do not know.
    let version = Arc::new(AtomicU16::new(VERSION));
    let (highest, policy) = (version.clone(), server.config.int(id::MAXMEMORY_POLICY));
    let now = now_ms();
    let encode_one = move |out: &mut Vec<u8>, _: usize, entry: &Entry| {
        let needed = encode::version(&entry.value);
        if needed > VERSION {
            highest.fetch_max(needed, Ordering::Relaxed);
        }
        let access = access(policy, entry.key.access(), now);
        let key = &entry.key;
        encoder.entry(out, key.bytes(), &entry.value, key.deadline(), access);
    };
    let background = extent.speed != Speed::Full;
    let (snapshot, (history, result)) =
        begin(server, background, Arc::new(encode_one), at_instant)?;
    let handle = snapshot.handle();
    let mut output = Output {
        write,
        handle,
        selected: None,
        seen: vec![false; server.store.databases()],
    };
    header(server, &encoder, extent, history.as_ref(), &mut head);
    let done = (output.write)(&head).map_err(Stopped::Failed);
    let done = done.and_then(|()| {
        let mut sink = |db: usize, chunk: &[u8]| {
            threads::fall_over("save");
            output.take(db, chunk)?;
            delay(server, &output.handle);
            Ok(())
        };
        run(server, snapshot, extent.speed, &mut sink)
    });
    match done {
        Ok(()) => Ok((result, version.load(Ordering::Relaxed))),
        Err(Stopped::Cancelled) => Err(NotSaved::Cancelled),
        Err(Stopped::Failed(error)) => Err(unwritten(error)),
    }
}

/// Writes the data set as commands to a file, and syncs it; else as [`write_snapshot`].
///
/// # Errors
/// As [`write_snapshot`].
pub(super) fn write_commands(
    server: &Server,
    path: &Path,
    at_instant: impl FnOnce(),
) -> Result<(), NotSaved> {
    let unwritten = |error: io::Error| {
        let reason = aof::reason(&error);
        log_warning!("Write error writing append only file on disk: {reason}");
        NotSaved::Failed(reason)
    };
    let file = File::create(path).map_err(unwritten)?;
    let mut file = BufWriter::with_capacity(64 << 10, file);
    let encode_one = |out: &mut Vec<u8>, _: usize, entry: &Entry| {
        let key = &entry.key;
        rewrite::entry(out, key.bytes(), &entry.value, key.deadline());
    };
    let (snapshot, ()) = begin(server, true, Arc::new(encode_one), at_instant)?;
    let handle = snapshot.handle();
    if server.config.bool(id::AOF_TIMESTAMP_ENABLED) {
        let line = format!("#TS:{}\r\n", now_ms() / 1000);
        file.write_all(line.as_bytes()).map_err(unwritten)?;
    }
    let mut selected = None;
    let mut sink = |db: usize, chunk: &[u8]| {
        if selected.replace(db) != Some(db) {
            let (mut select, number) = (Vec::new(), db.to_string());
            let words = [&b"SELECT"[..], number.as_bytes()];
            encode_command(&mut select, words.into_iter());
            file.write_all(&select)?;
        }
        file.write_all(chunk)?;
        delay(server, &handle);
        Ok(())
    };
    run(server, snapshot, Speed::Gentle, &mut sink).map_err(|stopped| match stopped {
        Stopped::Cancelled => NotSaved::Cancelled,
        Stopped::Failed(error) => unwritten(error),
    })?;
    let file = file
        .into_inner()
        .map_err(|error| unwritten(error.into_error()))?;
    file.sync_all().map_err(unwritten)
}

/// Begins the snapshot of a job.
fn begin<R>(
    server: &Server,
    gently: bool,
    encode: Arc<Encode>,
    at_instant: impl FnOnce() -> R,
) -> Result<(Snapshot, R), NotSaved> {
    let start = Instant::now();
    let begun = if server.config.int(id::RDB_KEY_SAVE_DELAY) == 0 {
        server.store.begin_snapshot(encode, at_instant)
    } else {
        server.store.begin_snapshot_by_keys(encode, at_instant)
    };
    let begun = begun.ok_or(NotSaved::Busy(Kind::Save))?;
    let saving = &server.saving;
    if gently {
        let micros = start.elapsed().as_micros() as u64;
        saving.held_up.store(micros, Ordering::Relaxed);
        let took = Duration::from_micros(micros);
        server.latency.note(&server.config, "fork", took);
    }
    saving.show(begun.0.handle());
    Ok(begun)
}

/// Waits for as long as `rdb-key-save-delay` asks for behind every key, unless it asks for less
/// meanwhile or the save is given up.
fn delay(server: &Server, handle: &Handle) {
    const STEP: Duration = Duration::from_millis(5);
    let mut since = None;
    while !handle.is_cancelled() {
        // So many keys to a microsecond, if it is negative: too little to wait for.
        let micros = server.config.int(id::RDB_KEY_SAVE_DELAY).max(0) as u64;
        if micros == 0 {
            return;
        }
        let since = since.get_or_insert_with(Instant::now);
        let left = Duration::from_micros(micros).saturating_sub(since.elapsed());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(STEP));
    }
}

/// Lets the snapshot be read.
fn run(
    server: &Server,
    snapshot: Snapshot,
    speed: Speed,
    sink: &mut dyn FnMut(usize, &[u8]) -> io::Result<()>,
) -> Result<(), Stopped> {
    if speed == Speed::Full {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        return snapshot.run(&server.store, Pace::Full(cores.min(4)), sink);
    }
    let commands = Cell::new(server.stats.commands());
    let share = || {
        let now = server.stats.commands();
        let idle = commands.replace(now) == now;
        match speed {
            _ if idle => 100,
            Speed::Brisk => BRISK,
            _ => GENTLE,
        }
    };
    snapshot.run(&server.store, Pace::Gentle(&share), sink)
}

/// Where a snapshot goes.
struct Output<'t> {
    write: &'t mut dyn FnMut(&[u8]) -> io::Result<()>,
    handle: Handle,
    selected: Option<usize>,
    /// Databases whose sizes have been written.
    seen: Vec<bool>,
}

impl Output<'_> {
    /// Takes entries of a database.
    fn take(&mut self, db: usize, chunk: &[u8]) -> io::Result<()> {
        if self.selected != Some(db) {
            self.selected = Some(db);
            let mut select = Vec::new();
            encode::select(&mut select, db);
            if let Some(seen) = self.seen.get_mut(db)
                && !std::mem::replace(seen, true)
                && let Some(size) = self.handle.sizes().get(db)
            {
                encode::resize(&mut select, size.keys, size.volatile);
            }
            (self.write)(&select)?;
        }
        (self.write)(chunk)
    }
}

/// What stands before the first entry, with the point of a history that it is, if it is one.
fn header(
    server: &Server,
    encoder: &Encoder,
    extent: Extent,
    history: Option<&History>,
    out: &mut Vec<u8>,
) {
    let (now, memory) = (now_ms() / 1000, sys::used_memory());
    let mut aux = vec![
        ("redis-ver", REDIS_VERSION.to_owned()),
        ("redis-bits", usize::BITS.to_string()),
        ("ctime", now.to_string()),
        ("used-mem", memory.to_string()),
    ];
    if let Some(history) = history {
        aux.push(("repl-stream-db", history.db.to_string()));
        aux.push(("repl-id", history.id.clone()));
        aux.push(("repl-offset", history.offset.to_string()));
    }
    aux.push(("aof-base", u8::from(extent.aof_base).to_string()));
    let aux = aux.iter().map(|(name, value)| (*name, value.as_bytes()));
    encoder.header(out, VERSION, &aux.collect::<Vec<_>>());
    if !extent.functions {
        return;
    }
    for code in server
        .functions
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
    {
        encoder.function(out, code);
    }
}

/// A snapshot of nothing.
pub(super) fn empty_snapshot(server: &Server) -> Vec<u8> {
    let encoder = Encoder { compress: false };
    let mut out = Vec::new();
    let extent = Extent {
        speed: Speed::Full,
        aof_base: true,
        functions: true,
        keys: false,
    };
    header(server, &encoder, extent, None, &mut out);
    let checksum = server.config.bool(id::RDBCHECKSUM);
    out.push(opcode::EOF);
    let crc = if checksum { crc64::update(0, &out) } else { 0 };
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// What is saved of a key's accesses, which the policy decides.
fn access(policy: i64, access: u32, now: i64) -> Option<Access> {
    if policy & table::POLICY_LFU != 0 {
        Some(Access::Freq((access & 0xff) as u8))
    } else if policy & table::POLICY_LRU != 0 {
        Some(Access::Idle(idle_seconds(access, now).max(0) as u64))
    } else {
        None
    }
}
