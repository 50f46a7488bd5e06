//! Copying the data set of a primary.
//!
//! It comes as a snapshot, of a length that is told beforehand or with a mark behind it. Mostly it
//! goes to a file first, and the data set that there is stays in use until all of it has come; or it
//! is loaded as it comes (`repl-diskless-load`), into databases that are empty, or into others that
//! take their place in the end. What comes behind it is the beginning of the stream.
//!
//! The moment at which the new data set is complete is one at which every shard is locked, and at
//! which the server takes over the history that it is a point of.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::RwLock;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::line::{Broken, Line};
use super::note;
use crate::command::replacing;
use crate::loading::snapshot::{self, Duplicates, Target, Terms};
use crate::persist::aof::files::State as AofState;
use crate::server::aof::reason;
use crate::server::client::Client;
use crate::server::config::id;
use crate::server::replication::{LinkState, NO_ID};
use crate::server::saving::Kind;
use crate::server::{Server, rewriting};
use crate::util::clock::now_ms;
use crate::{log_notice, log_warning, sys};

/// Bytes of the mark behind a snapshot.
pub const MARK: usize = 40;
/// How much is written between two syncs of the file.
const SYNC_EVERY: u64 = 8 << 20;
/// How often the primary is shown that the replica is there.
const SIGN_EVERY: Duration = Duration::from_secs(1);
/// How often the append only file is tried to be switched on again, and how long it takes until the
/// next time.
const TRIES: usize = 10;
/// See [`TRIES`].
const TRY_EVERY: Duration = Duration::from_secs(1);

/// What a snapshot that is to come is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announced {
    /// It has so many bytes.
    Length(u64),
    /// Behind it comes this mark.
    Marked([u8; MARK]),
}

/// Reads the line that announces a snapshot. `None` when it is something else.
pub fn announced(line: &[u8]) -> Option<Announced> {
    let rest = line.strip_prefix(b"$")?;
    if let Some(mark) = rest.strip_prefix(b"EOF:") {
        return Some(Announced::Marked(*mark.first_chunk()?));
    }
    // Redis reads a number as far as it goes.
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = std::str::from_utf8(&rest[..digits]).ok()?;
    Some(Announced::Length(text.parse().unwrap_or(0)))
}

/// Where a mark is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// It begins so many bytes on.
    At(usize),
    /// It has not come yet; so many bytes are surely no part of it.
    Before(usize),
}

/// Looks for a mark in bytes of which more may come.
pub fn find_mark(mark: &[u8; MARK], bytes: &[u8]) -> Found {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|&byte| byte == mark[0]) {
        let rest = &bytes[from + at..];
        let length = rest.len().min(MARK);
        if rest[..length] == mark[..length] {
            return match length == MARK {
                true => Found::At(from + at),
                false => Found::Before(from + at),
            };
        }
        from += at + 1;
    }
    Found::Before(bytes.len())
}

/// A data set that has been copied.
pub struct Copied {
    /// The database that the stream is in.
    pub db: usize,
    /// Whether the primary waits to be told that all has come.
    pub ack: bool,
}

/// Nothing has been copied. The log has been told why.
#[derive(Debug)]
pub struct Failed;

/// A copy that is being made.
struct Transfer<'t> {
    server: &'t Arc<Server>,
    line: &'t mut Line,
    generation: u64,
    /// The history of the primary and the offset that the data set is at.
    history: Option<(String, u64)>,
    announced: Announced,
}

/// Copies the data set of the primary at the other end, which is a point of this history.
///
/// # Errors
/// The connection is lost, or what comes is no data set.
pub fn run(
    line: &mut Line,
    server: &Arc<Server>,
    generation: u64,
    history: Option<(String, u64)>,
) -> Result<Copied, Failed> {
    // Until the new data set comes into its place, the old one is what it was: a point of a history
    // that can be gone on with.
    note(server, generation, |state| {
        state.link.state = LinkState::Transfer;
        state.link.transfer_total = 0;
        state.link.transfer_read = 0;
        state.link.transfer_last_io = now_ms() / 1000;
    });
    let announced = await_announcement(line, server, generation)?;
    let mut transfer = Transfer {
        server,
        line,
        generation,
        history,
        announced,
    };
    let db = match transfer.is_diskless() {
        true => transfer.directly()?,
        false => transfer.by_file()?,
    };
    log_notice!("MASTER <-> REPLICA sync: Finished with success");
    replacing::serve_waiting(server);
    log_again(server, generation);
    Ok(Copied {
        db,
        ack: matches!(announced, Announced::Marked(_)),
    })
}

/// Waits until the snapshot begins. Until then the primary sends empty lines.
fn await_announcement(
    line: &mut Line,
    server: &Server,
    generation: u64,
) -> Result<Announced, Failed> {
    loop {
        let text = match line.line(server) {
            Ok(text) => text,
            Err(broken) => {
                if let Broken::Lost(_) = broken {
                    let reason = broken.reason();
                    log_warning!("I/O error reading bulk count from MASTER: {reason}");
                }
                return Err(complain(broken));
            }
        };
        note(server, generation, |state| {
            state.link.transfer_last_io = now_ms() / 1000;
        });
        if text.is_empty() {
            continue;
        }
        let shown = String::from_utf8_lossy(&text[..text.len().min(256)]);
        if text.starts_with(b"-") {
            log_warning!("MASTER aborted replication with an error: {}", &shown[1..]);
            return Err(Failed);
        }
        let Some(announced) = announced(&text) else {
            log_warning!(
                "Bad protocol from MASTER, the first byte is not '$' (we received '{}'), are you sure the host and port are right?",
                shown.escape_default()
            );
            return Err(Failed);
        };
        return Ok(announced);
    }
}

/// Tells the log that a line is of no more use, where it is to know.
fn complain(broken: Broken) -> Failed {
    if let Broken::Silent = broken {
        log_warning!(
            "Timeout receiving bulk data from MASTER... If the problem persists try to set the \
             'repl-timeout' parameter in redis.conf to a larger value."
        );
    }
    Failed
}

/// What can end a copy on its way.
enum Trouble {
    Line(Broken),
    File(io::Error),
}

impl Transfer<'_> {
    /// Whether the data set is loaded as it comes.
    fn is_diskless(&self) -> bool {
        match self.server.config.name(id::REPL_DISKLESS_LOAD) {
            "swapdb" => true,
            "on-empty-db" => {
                let store = &self.server.store;
                (0..store.databases()).all(|db| store.len(db) == 0)
            }
            _ => false,
        }
    }

    /// Says what is to come.
    fn begin(&self, to: &str) {
        match self.announced {
            Announced::Length(length) => {
                log_notice!("MASTER <-> REPLICA sync: receiving {length} bytes from master {to}");
                note(self.server, self.generation, |state| {
                    state.link.transfer_total = length;
                });
            }
            Announced::Marked(_) => log_notice!(
                "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {to}"
            ),
        }
    }

    /// Copies by way of a file, which becomes the snapshot file. Returns the database that the
    /// stream is in.
    fn by_file(&mut self) -> Result<usize, Failed> {
        self.begin("to disk");
        let (mut file, temp) = open_temporary()?;
        let passing = self.is_passing();
        match self.receive(&mut file, !passing) {
            Ok(()) => {}
            Err(Trouble::Line(broken)) => {
                if let Broken::Lost(_) = broken {
                    let reason = broken.reason();
                    log_warning!("I/O error trying to sync with MASTER: {reason}");
                }
                return Err(complain(broken));
            }
            Err(Trouble::File(error)) => {
                log_warning!(
                    "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {}",
                    reason(&error)
                );
                return Err(Failed);
            }
        }
        let size = file.metadata().map_or(0, |data| data.len());
        let _ending = self.server.loading.begin(size);
        let _sign = Sign::start(&self.line.client);
        self.stop_saving();
        self.flush()?;
        let path = self.keep_file(file, temp, passing)?;
        log_notice!("MASTER <-> REPLICA sync: Loading DB in memory");
        let target = Target::of(self.server);
        let loaded = File::open(&path)
            .map_err(|error| reason(&error))
            .and_then(|file| {
                let loaded = snapshot::load(self.server, &target, file, terms());
                loaded.map_err(|error| error.to_string())
            });
        if passing {
            log_notice!(
                "Removing the RDB file obtained from the master. This replica has persistence disabled"
            );
            let _ = fs::remove_file(&path);
        }
        match loaded {
            Ok(loaded) => {
                if !passing {
                    // It is what the file holds.
                    self.server.saving.forget_changes(self.server);
                }
                let db = self.stream_db(loaded.stream_db);
                replacing::hold_everything(self.server, || self.adopt(db))?;
                Ok(db)
            }
            Err(reason) => {
                log_warning!(
                    "Failed trying to load the MASTER synchronization DB from disk: {reason}"
                );
                // What is there is half of it.
                self.empty();
                Err(Failed)
            }
        }
    }

    /// Whether the file is only there for the copy.
    fn is_passing(&self) -> bool {
        let config = &self.server.config;
        config.bool(id::RDB_DEL_SYNC_FILES)
            && !config.bool(id::APPENDONLY)
            && config.save_points().is_empty()
    }

    /// Writes the snapshot to a file, which is synced as it grows if it is to last.
    fn receive(&mut self, file: &mut File, lasting: bool) -> Result<(), Trouble> {
        let (mut received, mut synced) = (0u64, 0u64);
        loop {
            let input = self.line.input();
            let (count, done) = match self.announced {
                Announced::Length(length) => {
                    let left = length - received;
                    let here = (input.len() as u64).min(left);
                    (here as usize, here == left)
                }
                Announced::Marked(mark) => match find_mark(&mark, input) {
                    Found::At(at) => (at, true),
                    Found::Before(at) => (at, false),
                },
            };
            file.write_all(&input[..count]).map_err(Trouble::File)?;
            self.line.consume(count);
            received += count as u64;
            if count > 0 {
                self.note_progress(count);
            }
            if lasting && received - synced >= SYNC_EVERY {
                synced = received;
                file.sync_data().map_err(Trouble::File)?;
            }
            if done {
                if let Announced::Marked(_) = self.announced {
                    self.line.consume(MARK);
                }
                return Ok(());
            }
            self.line.fill(self.server).map_err(Trouble::Line)?;
        }
    }

    fn note_progress(&self, count: usize) {
        note(self.server, self.generation, |state| {
            state.link.transfer_read += count as u64;
            state.link.transfer_last_io = now_ms() / 1000;
        });
    }

    /// Gives the file that has been written the name of the snapshot file. Returns that.
    fn keep_file(&self, file: File, temp: Temporary, passing: bool) -> Result<PathBuf, Failed> {
        if !passing && let Err(error) = file.sync_all() {
            log_warning!(
                "Failed trying to sync the temp DB to disk in MASTER <-> REPLICA synchronization: {}",
                reason(&error)
            );
            return Err(Failed);
        }
        let name = self.server.config.str(id::DBFILENAME);
        let path = PathBuf::from(OsStr::from_bytes(&name));
        if let Err(error) = fs::rename(&temp.0, &path) {
            log_warning!(
                "Failed trying to rename the temp DB into {} in MASTER <-> REPLICA synchronization: {}",
                path.display(),
                reason(&error)
            );
            return Err(Failed);
        }
        if !passing && let Err(error) = File::open(".").and_then(|dir| dir.sync_all()) {
            log_warning!(
                "Failed trying to sync DB directory {} in MASTER <-> REPLICA synchronization: {}",
                path.display(),
                reason(&error)
            );
            return Err(Failed);
        }
        Ok(path)
    }

    /// Loads the snapshot as it comes. Returns the database that the stream is in.
    fn directly(&mut self) -> Result<usize, Failed> {
        self.begin("to parser");
        let beside = self.server.config.name(id::REPL_DISKLESS_LOAD) == "swapdb";
        let size = match self.announced {
            Announced::Length(length) => length,
            Announced::Marked(_) => 0,
        };
        // What there is can be read meanwhile, where it is the past of what is to come.
        let known = self.history.as_ref().map(|(id, _)| id);
        let related = beside && known.is_some_and(|id| *id == self.server.replication.state().id);
        let _ending = match related {
            true => self.server.loading.begin_beside(size),
            false => self.server.loading.begin(size),
        };
        let _sign = Sign::start(&self.line.client);
        self.stop_saving();
        let (other, functions) = (self.server.store.beside(), RwLock::default());
        let mut target = Target::of(self.server);
        if beside {
            target.store = &other;
            target.functions = &functions;
        } else {
            self.flush()?;
        }
        log_notice!("MASTER <-> REPLICA sync: Loading DB in memory");
        let stream_db = match self.load_from_line(&target) {
            Ok(stream_db) => stream_db,
            Err(reason) => {
                let read = self.server.replication.state().link.transfer_read;
                log_warning!("Internal error in RDB reading offset {read} -> {reason}");
                log_warning!(
                    "Failed trying to load the MASTER synchronization DB from socket: {reason}"
                );
                if beside {
                    log_notice!("MASTER <-> REPLICA sync: Discarding temporary DB in background");
                    replacing::discard(self.server, other);
                } else {
                    self.empty();
                }
                return Err(Failed);
            }
        };
        let db = self.stream_db(stream_db);
        if beside {
            log_notice!("MASTER <-> REPLICA sync: Swapping active DB with loaded DB");
            let swapped = replacing::exchange(self.server, &other, &functions, || self.adopt(db));
            log_notice!("MASTER <-> REPLICA sync: Discarding old DB in background");
            replacing::discard(self.server, other);
            swapped?;
        } else {
            replacing::hold_everything(self.server, || self.adopt(db))?;
        }
        Ok(db)
    }

    /// Loads what comes, up to its end. Returns the database that the stream is in, if it is told.
    fn load_from_line(&mut self, target: &Target<'_>) -> Result<Option<usize>, String> {
        let left = match self.announced {
            Announced::Length(length) => Some(length),
            Announced::Marked(_) => None,
        };
        let incoming = Incoming {
            transfer: self,
            left,
        };
        let loaded = snapshot::load(incoming.transfer.server, target, incoming, terms());
        let loaded = loaded.map_err(|error| error.to_string())?;
        let mut incoming = loaded.reader;
        match incoming.transfer.announced {
            Announced::Length(_) => {
                // What is behind the end of the snapshot, but was announced as a part of it.
                let mut rest = [0; 4096];
                while incoming.read(&mut rest).map_err(|error| reason(&error))? > 0 {}
            }
            Announced::Marked(mark) => {
                let transfer = incoming.transfer;
                transfer.line.unread(&loaded.rest);
                while transfer.line.input().len() < MARK {
                    let filled = transfer.line.fill(transfer.server);
                    filled.map_err(|broken| broken.reason())?;
                }
                if !transfer.line.input().starts_with(&mark) {
                    return Err("Replication stream EOF marker is broken".to_owned());
                }
                transfer.line.consume(MARK);
            }
        }
        Ok(loaded.stream_db)
    }

    /// Ends what is being written of the old data set.
    fn stop_saving(&self) {
        let server = self.server;
        if server.aof.state() != AofState::Off {
            rewriting::switch_off(server);
        }
        let job = server.saving.current();
        if job.is_some_and(|job| job.kind == Kind::Background) {
            log_notice!(
                "Replica is about to load the RDB file received from the master, but there is a pending RDB child running. \
                 Killing process {} and removing its temp file to avoid any race",
                std::process::id()
            );
        }
        server.saving.cancel();
    }

    /// Empties the databases: from here on there is no way back.
    fn flush(&self) -> Result<(), Failed> {
        let server = self.server;
        log_notice!("MASTER <-> REPLICA sync: Flushing old data");
        // Whoever follows this server has what is about to go.
        server.replication.replicas.drop_all(server);
        let mut known = false;
        let lazy = server.config.bool(id::REPLICA_LAZY_FLUSH);
        let emptied = replacing::empty(server, lazy, || {
            let mut state = server.replication.state();
            if !server.replication.is_current(self.generation) {
                return Err(Failed);
            }
            known = std::mem::take(&mut state.resumable);
            let limit = server.config.memory(id::REPL_BACKLOG_SIZE) as usize;
            let end = server.log.stream_end();
            server.log.follow(self.generation, end, false, limit);
            Ok(())
        });
        if known {
            log_notice!("Discarding previously cached master state.");
        }
        emptied
    }

    /// Empties the databases again after half of a data set has come into them.
    fn empty(&self) {
        let lazy = self.server.config.bool(id::REPLICA_LAZY_FLUSH);
        let _ = replacing::empty(self.server, lazy, || Ok::<(), Failed>(()));
    }

    /// The database that the stream is in; the first where nothing is told.
    fn stream_db(&self, told: Option<usize>) -> usize {
        let known = told.filter(|&db| db < self.server.store.databases());
        known.unwrap_or(0)
    }

    /// Takes over the history of the primary, of which the data set is now a point. Every shard is
    /// locked.
    fn adopt(&self, db: usize) -> Result<(), Failed> {
        let (server, generation) = (self.server, self.generation);
        let mut state = server.replication.state();
        if !server.replication.is_current(generation) {
            return Err(Failed);
        }
        let (id, offset) = match &self.history {
            Some((id, offset)) => (id.clone(), *offset),
            None => (NO_ID.to_owned(), 0),
        };
        state.id = id;
        state.id2 = NO_ID.to_owned();
        state.offset2 = -1;
        // Where the primary has no name for it, it cannot be asked for.
        if std::mem::replace(&mut state.resumable, self.history.is_some()) {
            log_notice!("Discarding previously cached master state.");
        }
        let limit = server.config.memory(id::REPL_BACKLOG_SIZE) as usize;
        server.log.follow(generation, offset, false, limit);
        server.log.set_stream_db(db);
        drop(state);
        // Those who came while the data set was on its way know nothing of it.
        server.replication.replicas.drop_all(server);
        Ok(())
    }
}

/// A replica keeps even keys that have expired: that they go is for its primary to say.
fn terms() -> Terms {
    Terms {
        duplicates: Duplicates::Refused,
        drop_expired: false,
        restore: false,
    }
}

/// A snapshot as it comes.
struct Incoming<'i, 't> {
    transfer: &'i mut Transfer<'t>,
    /// Bytes to come, if that is known.
    left: Option<u64>,
}

impl Read for Incoming<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == Some(0) || buffer.is_empty() {
            return Ok(0);
        }
        let Transfer { line, server, .. } = &mut *self.transfer;
        if line.input().is_empty() {
            line.fill(server).map_err(|broken| match broken {
                Broken::Lost(error) => error,
                Broken::Silent => {
                    complain(broken);
                    ErrorKind::TimedOut.into()
                }
                Broken::Over => ErrorKind::ConnectionAborted.into(),
            })?;
        }
        let input = line.input();
        let most = self
            .left
            .map_or(usize::MAX, |left| left.min(1 << 30) as usize);
        let count = input.len().min(buffer.len()).min(most);
        buffer[..count].copy_from_slice(&input[..count]);
        line.consume(count);
        if let Some(left) = &mut self.left {
            *left -= count as u64;
        }
        self.transfer.note_progress(count);
        Ok(count)
    }
}

/// A file that is removed unless it has got another name.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It is gone already where all went well.
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes the file that the snapshot is written to.
fn open_temporary() -> Result<(File, Temporary), Failed> {
    let name = format!("temp-{}.{}.rdb", now_ms() / 1000, std::process::id());
    let path = Path::new(&name).to_owned();
    match File::create(&path) {
        Ok(file) => Ok((file, Temporary(path))),
        Err(error) => {
            log_warning!(
                "Opening the temp file needed for MASTER <-> REPLICA synchronization: {}",
                reason(&error)
            );
            Err(Failed)
        }
    }
}

/// Begins to write the append only file again, if it is wanted, now that the data set is another.
fn log_again(server: &Arc<Server>, generation: u64) {
    if !server.config.bool(id::APPENDONLY) {
        return;
    }
    for _ in 0..TRIES {
        if server.aof.state() != AofState::Off || rewriting::switch_on(server).is_ok() {
            return;
        }
        log_warning!(
            "Failed enabling the AOF after successful master synchronization! Trying it again in one second."
        );
        // With another role, it is the business of whoever takes that up.
        let other = server.replication.wait_for_change(generation, TRY_EVERY);
        if other || server.is_stopping() {
            return;
        }
    }
    log_warning!(
        "FATAL: this replica instance finished the synchronization with its master, but the AOF can't be turned on. Exiting now."
    );
    sys::exit_now(1)
}

/// Shows the primary, every second, that the replica is there though it says nothing.
struct Sign {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sign {
    /// Until what it returns is dropped.
    fn start(client: &Arc<Client>) -> Sign {
        let (stop, stopped) = channel();
        let client = client.clone();
        let body = move || {
            // At once, for a lot may have to be done before the next.
            loop {
                let _ = sys::send_nonblocking(&client.socket, b"\n");
                match stopped.recv_timeout(SIGN_EVERY) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("sign".into());
        Sign {
            stop: Some(stop),
            // Without it, the primary has to be patient.
            thread: thread.stack_size(64 << 10).spawn(body).ok(),
        }
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8; MARK] = b"abcabdabcabcabdabcabcabdabcabcabdabcabcd";

    #[test]
    fn announcements_are_read() {
        assert_eq!(announced(b"$123"), Some(Announced::Length(123)));
        assert_eq!(announced(b"$0"), Some(Announced::Length(0)));
        assert_eq!(announced(b"$12x"), Some(Announced::Length(12)));
        let marked = [b"$EOF:", &TEXT[..]].concat();
        assert_eq!(announced(&marked), Some(Announced::Marked(*TEXT)));
        assert_eq!(announced(&marked[..44]), None);
        for wrong in [&b""[..], b"+OK", b"-ERR", b"*1"] {
            assert_eq!(announced(wrong), None);
        }
    }

    /// Feeds bytes in pieces the way the file is written: what is surely no part of the mark is
    /// taken out.
    fn split(all: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<u8>) {
        let (mut data, mut held, mut found) = (Vec::new(), Vec::new(), false);
        let ends = cuts.iter().copied().chain([all.len()]);
        let mut start = 0;
        for end in ends {
            held.extend_from_slice(&all[start..end]);
            start = end;
            if found {
                continue;
            }
            match find_mark(TEXT, &held) {
                Found::At(at) => {
                    data.extend(held.drain(..at));
                    held.drain(..MARK);
                    found = true;
                }
                Found::Before(at) => data.extend(held.drain(..at)),
            }
        }
        assert!(found);
        (data, held)
    }

    #[test]
    fn a_mark_is_found_wherever_it_is_cut() {
        // What comes before it begins like it, again and again.
        let before = [&TEXT[..39], b"abcab", &TEXT[..20], b"a"].concat();
        let all = [&before, &TEXT[..], b"*1\r\n$4\r\nPING\r\n"].concat();
        for first in 0..=all.len() {
            for second in [
                first,
                (first + 1).min(all.len()),
                (first + 39).min(all.len()),
            ] {
                let (data, rest) = split(&all, &[first, second]);
                assert!(data == before, "cut at {first} and {second}");
                assert_eq!(rest, b"*1\r\n$4\r\nPING\r\n");
            }
        }
        let cuts: Vec<usize> = (0..all.len()).collect();
        assert!(split(&all, &cuts).0 == before);
    }
}
