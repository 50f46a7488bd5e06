//! Loading a snapshot: one thread takes the file apart, others decode what it finds and put it
//! into the store.
//!
//! The first hands on batches of entries as they are in the file; where a batch ends is of no
//! consequence to the others. It also sums up the checksum, so that on two cores neither waits for
//! long. The others put what they have decoded into the store shard by shard: so each shard is
//! locked once, and what its keys need of the memory is fetched at once. What goes wrong in any of
//! them ends it all.

use std::fmt;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::command::restore::limits;
use crate::persist::rdb::decode::{self, Limits};
use crate::persist::rdb::input::{Corrupt, Input, Text};
use crate::persist::rdb::records::{Access, Failure, Head, Record, Records};
use crate::server::config::{id, table};
use crate::server::replication::{self, History};
use crate::server::{Server, log};
use crate::store::access::Policy;
use crate::store::{Db, Locks, SHARDS, Store, shard_of};
use crate::types::Value;
use crate::util::clock::now_ms;
use crate::{log_notice, log_warning};

/// Bytes of a batch.
const BATCH: usize = 128 << 10;
/// Batches that wait for somebody to decode them.
const WAITING: usize = 8;

/// What to do about a key that there is already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duplicates {
    /// The file is taken to be damaged.
    Refused,
    /// It is replaced.
    Replace,
}

/// On which terms a snapshot is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// What to do about a key that there is already.
    pub duplicates: Duplicates,
    /// Whether keys that have expired are left out. What follows a snapshot in a log relies on
    /// them.
    pub drop_expired: bool,
    /// Whether the server takes up the history that the snapshot is a point of.
    pub restore: bool,
}

/// Where a snapshot is loaded to.
#[derive(Clone, Copy)]
pub struct Target<'t> {
    /// The databases.
    pub store: &'t Store,
    /// The libraries of functions.
    pub functions: &'t RwLock<Vec<Vec<u8>>>,
}

impl<'t> Target<'t> {
    /// The server's own data set.
    pub fn of(server: &'t Server) -> Target<'t> {
        Target {
            store: &server.store,
            functions: &server.functions,
        }
    }
}

/// What has been loaded.
#[derive(Debug)]
pub struct Loaded<R> {
    /// What was read of what follows the snapshot.
    pub rest: Vec<u8>,
    /// The reader.
    pub reader: R,
    /// Where the snapshot ends.
    pub end: u64,
    /// The database that the stream is in of which the data set is a point, if that is told.
    pub stream_db: Option<usize>,
}

/// Why a snapshot could not be loaded.
#[derive(Debug)]
pub enum Error {
    /// The file is not what it should be.
    File(Failure),
    /// A key is there twice.
    Duplicate {
        /// The key.
        key: Vec<u8>,
        /// Its database.
        db: usize,
    },
    /// It has a database that the server does not.
    NoSuchDb(u64),
    /// The server is ending.
    Cancelled,
    /// No thread can be started.
    Threads(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File(failure) => write!(f, "{failure}"),
            Error::Duplicate { key, db } => {
                let key = String::from_utf8_lossy(key);
                write!(f, "RDB has duplicated key '{key}' in DB {db}")
            }
            Error::NoSuchDb(number) => write!(
                f,
                "FATAL: Data file was created with a Redis server configured to handle more than \
                 {number} databases. Exiting"
            ),
            Error::Cancelled => f.write_str("the server is ending"),
            Error::Threads(error) => write!(f, "Can't start a thread: {error}"),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error::File(failure)
    }
}

/// Entries of one database as they are in the file.
struct Batch {
    db: usize,
    bytes: Vec<u8>,
    /// Where each entry ends in `bytes`, and the offset of its value in the file.
    entries: Vec<(usize, u64)>,
}

/// An entry that has been decoded.
struct Decoded<'b> {
    hash: u64,
    key: Text<'b>,
    value: Value,
    deadline: Option<i64>,
    access: u32,
    /// The next one of its shard.
    next: usize,
}

/// What a snapshot tells of the history that it is a point of.
#[derive(Default)]
struct Told {
    id: Option<String>,
    offset: Option<u64>,
    db: Option<usize>,
}

impl Told {
    /// A fact about the file. Returns whether it was one about the history.
    fn note(&mut self, name: &[u8], value: &[u8]) -> bool {
        let text = std::str::from_utf8(value).unwrap_or_default();
        match name {
            b"repl-id" => self.id = (text.len() == 40).then(|| text.to_owned()),
            b"repl-offset" => self.offset = text.parse().ok(),
            // Old versions have left -1 behind.
            b"repl-stream-db" => self.db = text.parse().ok(),
            _ => return false,
        }
        true
    }

    /// All of it, once it is there.
    fn history(&self) -> Option<History> {
        Some(History {
            id: self.id.clone()?,
            offset: self.offset?,
            db: self.db?,
        })
    }
}

/// Where no entry follows.
const NONE: usize = usize::MAX;

/// What the threads share.
struct Shared<'s> {
    server: &'s Server,
    target: Target<'s>,
    terms: Terms,
    limits: Limits,
    deep: bool,
    now: i64,
    policy: i64,
    keys: AtomicU64,
    expired: AtomicU64,
    empty: AtomicU64,
    /// Whether to give up, and why.
    failed: AtomicBool,
    error: Mutex<Option<Error>>,
    /// Batches that have been done with, to be filled again.
    spare: Mutex<Vec<Batch>>,
}

/// Loads a snapshot, which the reader is at the beginning of.
///
/// # Errors
/// It is damaged or cannot be read, or the server is ending. What has been loaded until then
/// stays.
pub fn load<R: Read>(
    server: &Server,
    target: &Target<'_>,
    reader: R,
    terms: Terms,
) -> Result<Loaded<R>, Error> {
    let records = Records::open(reader, server.config.bool(id::RDBCHECKSUM))?;
    load_records(server, target, records, terms)
}

/// The same where the file has been opened.
///
/// # Errors
/// As [`load`].
pub fn load_records<R: Read>(
    server: &Server,
    target: &Target<'_>,
    mut records: Records<R>,
    terms: Terms,
) -> Result<Loaded<R>, Error> {
    let shared = Shared {
        server,
        target: *target,
        terms,
        limits: limits(server),
        deep: server.config.name(id::SANITIZE_DUMP_PAYLOAD) == "yes",
        now: now_ms(),
        policy: server.config.int(id::MAXMEMORY_POLICY),
        keys: AtomicU64::new(0),
        expired: AtomicU64::new(0),
        empty: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        error: Mutex::new(None),
        spare: Mutex::default(),
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let helpers = cores.clamp(1, 4);
    let read = std::thread::scope(|scope| {
        let (give, take) = sync_channel::<Batch>(WAITING);
        let take = Arc::new(Mutex::new(take));
        for _ in 0..helpers {
            let (take, shared) = (take.clone(), &shared);
            let thread = std::thread::Builder::new().name("loader".into());
            let body = move || shared.decode_all(&take);
            thread.spawn_scoped(scope, body).map_err(Error::Threads)?;
        }
        drop(take);
        shared.read(&mut records, &give)
    });
    let keys = shared.keys.into_inner();
    let expired = shared.expired.into_inner();
    let empty = shared.empty.into_inner();
    server.loading.keys.store(keys, Ordering::Relaxed);
    server.loading.expired.store(expired, Ordering::Relaxed);
    let failure = shared
        .error
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = failure {
        return Err(error);
    }
    let told = read?;
    if empty == 0 {
        log_notice!("Done loading RDB, keys loaded: {keys}, keys expired: {expired}.");
    } else {
        log_notice!(
            "Done loading RDB, keys loaded: {keys}, keys expired: {expired}, empty keys skipped: {empty}."
        );
    }
    let end = records.offset();
    let (rest, reader) = records.into_parts();
    Ok(Loaded {
        rest,
        reader,
        end,
        stream_db: told.db,
    })
}

impl Shared<'_> {
    /// Takes the file apart.
    fn read<R: Read>(
        &self,
        records: &mut Records<R>,
        give: &SyncSender<Batch>,
    ) -> Result<Told, Error> {
        let (mut db, mut seen) = (0, 0);
        let mut batch = self.empty(db);
        let mut told = Told::default();
        loop {
            if batch.bytes.len() >= BATCH {
                self.hand(&mut batch, db, give)?;
                let offset = records.offset();
                self.server.loading.advance(offset - seen);
                seen = offset;
            }
            match records.next()? {
                Record::Entry(entry) => {
                    batch.bytes.extend_from_slice(entry.raw);
                    batch.entries.push((batch.bytes.len(), entry.offset));
                }
                Record::Select(number) => {
                    self.hand(&mut batch, db, give)?;
                    let known = usize::try_from(number).ok();
                    db = known
                        .filter(|&number| number < self.server.store.databases())
                        .ok_or(Error::NoSuchDb(self.server.store.databases() as u64))?;
                    batch.db = db;
                }
                Record::Aux { key, value } => {
                    let (mut name, mut text) = ([0; 20], [0; 20]);
                    let (name, value) = (key.bytes(&mut name), value.bytes(&mut text));
                    self.note(name, value);
                    // Before the first entry, of which an expired one is the first event of the
                    // history that begins.
                    if told.note(name, value)
                        && self.terms.restore
                        && let Some(history) = told.history()
                    {
                        replication::restore(self.server, &history);
                    }
                }
                Record::Function(code) => {
                    let functions = self.target.functions.write();
                    let mut functions = functions.unwrap_or_else(PoisonError::into_inner);
                    let code = code.into_vec();
                    if !functions.contains(&code) {
                        functions.push(code);
                    }
                }
                Record::ModuleAux(name) => {
                    log_warning!("Data of the module {name} is passed over");
                }
                Record::Resize { .. } => {}
                Record::End => {
                    self.hand(&mut batch, db, give)?;
                    self.server.loading.advance(records.offset() - seen);
                    return Ok(told);
                }
            }
        }
    }

    /// Hands a batch on, and goes on with an empty one.
    fn hand(&self, batch: &mut Batch, db: usize, give: &SyncSender<Batch>) -> Result<(), Error> {
        if self.server.loading.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if batch.entries.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(batch, self.empty(db));
        // Nobody takes it when all have failed; then why is told elsewhere.
        if self.failed.load(Ordering::Relaxed) || give.send(full).is_err() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// A batch to be filled.
    fn empty(&self, db: usize) -> Batch {
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut batch = spare.unwrap_or_else(Batch::new);
        batch.db = db;
        batch
    }

    /// Keeps a batch that has been done with, unless a large entry has blown it up.
    fn keep(&self, mut batch: Batch) {
        if batch.bytes.capacity() <= 2 * BATCH {
            batch.bytes.clear();
            batch.entries.clear();
            let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            spare.push(batch);
        }
    }

    /// A fact about the file.
    fn note(&self, name: &[u8], value: &[u8]) {
        let text = String::from_utf8_lossy(value);
        match name {
            b"redis-ver" => log_notice!("Loading RDB produced by version {text}"),
            b"ctime" => {
                let age = now_ms() / 1000 - text.parse().unwrap_or(0);
                log_notice!("RDB age {} seconds", age.max(0));
            }
            b"used-mem" => {
                let bytes: u64 = text.parse().unwrap_or(0);
                let megabytes = bytes as f64 / 1024.0 / 1024.0;
                log_notice!("RDB memory usage when created {megabytes:.2} Mb");
                let loading = &self.server.loading;
                loading.writer_memory.store(bytes, Ordering::Relaxed);
            }
            b"aof-base" if text == "1" => log_notice!("RDB is base AOF"),
            _ => {}
        }
    }

    /// The life of a thread that decodes.
    fn decode_all(&self, take: &Mutex<Receiver<Batch>>) {
        loop {
            let next = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = next else {
                return;
            };
            if self.failed.load(Ordering::Relaxed) {
                // Emptied, so that nobody waits for room.
                continue;
            }
            if let Err(error) = self.decode(&batch) {
                let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(error);
                self.failed.store(true, Ordering::Relaxed);
            }
            self.keep(batch);
        }
    }

    /// Decodes a batch and puts it into the store.
    fn decode(&self, batch: &Batch) -> Result<(), Error> {
        let mut decoded = Vec::with_capacity(batch.entries.len());
        let mut start = 0;
        for &(end, offset) in &batch.entries {
            let raw = &batch.bytes[start..end];
            start = end;
            // So many keys to a microsecond, if it is negative: too little to wait for.
            let delay = self.server.config.int(id::KEY_LOAD_DELAY).max(0) as u64;
            if delay > 0 {
                std::thread::sleep(Duration::from_micros(delay));
                if self.server.loading.is_cancelled() {
                    return Err(Error::Cancelled);
                }
            }
            decoded.extend(self.decode_entry(batch.db, raw, offset)?);
        }
        self.keys.fetch_add(decoded.len() as u64, Ordering::Relaxed);
        self.insert_all(batch.db, decoded)
    }

    /// Decodes one entry. `None` when it is left out, because it has expired or has no elements.
    fn decode_entry<'b>(
        &self,
        db: usize,
        raw: &'b [u8],
        offset: u64,
    ) -> Result<Option<Decoded<'b>>, Error> {
        let corrupt = |corrupt: Corrupt| Error::File(Failure::Corrupt(corrupt));
        let mut input = Input::new(raw);
        let head = Head::read(&mut input).map_err(corrupt)?;
        let mut scratch = [0; 20];
        let mut value = Input::part(input.rest(), offset);
        let value = match decode::value(head.tag, &mut value, &self.limits, self.deep) {
            Ok(value) => value,
            // Old versions have left such behind.
            Err(error) if error.is_empty_collection() => {
                let key = String::from_utf8_lossy(head.key.bytes(&mut scratch)).into_owned();
                log_notice!("rdbLoadObject skipping empty key: {key}");
                self.empty.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
            Err(error) => {
                let key = String::from_utf8_lossy(head.key.bytes(&mut scratch)).into_owned();
                log_warning!("The value of key '{key}' is damaged: {error}");
                return Err(corrupt(error));
            }
        };
        let past = head.deadline.is_some_and(|deadline| deadline < self.now);
        if past && self.terms.drop_expired {
            self.expired.fetch_add(1, Ordering::Relaxed);
            if self.terms.restore && self.server.log.is_on() {
                // Replicas that go on from here still have it.
                let lazy = self.server.config.bool(id::LAZYFREE_LAZY_EXPIRE);
                let command: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
                let mut effect = log::Batch::default();
                let key = head.key.bytes(&mut scratch);
                effect.push(db, [command, key].into_iter());
                self.server.log.append(&effect, self.now);
            }
            return Ok(None);
        }
        Ok(Some(Decoded {
            hash: self.server.store.hash(head.key.bytes(&mut scratch)),
            key: head.key,
            value,
            deadline: head.deadline,
            access: self.access(head.access),
            next: NONE,
        }))
    }

    /// Puts entries into the store, those of a shard in the order in which they are given.
    fn insert_all(&self, db: usize, mut decoded: Vec<Decoded<'_>>) -> Result<(), Error> {
        let mut first = [NONE; SHARDS];
        for (at, entry) in decoded.iter_mut().enumerate().rev() {
            let first = &mut first[shard_of(entry.hash)];
            entry.next = std::mem::replace(first, at);
        }
        let store = self.target.store;
        for (number, first) in first.into_iter().enumerate() {
            if first == NONE {
                continue;
            }
            let mut due: Option<i64> = None;
            let mut locks = Locks::one(store, number, true);
            let part = locks.shard_mut(number).db_mut(db);
            let next = |entry: &Decoded| (entry.next != NONE).then_some(entry.next);
            let of_shard = std::iter::successors(Some(first), |&at| next(&decoded[at]));
            part.warm(of_shard.map(|at| decoded[at].hash));
            let mut at = first;
            while at != NONE {
                let entry = &mut decoded[at];
                at = entry.next;
                due = due.into_iter().chain(self.insert(db, part, entry)?).min();
            }
            if let Some(due) = due {
                store.note_due(number, due);
            }
        }
        Ok(())
    }

    /// The bookkeeping of accesses that a key begins with.
    fn access(&self, told: Option<Access>) -> u32 {
        let policy = self.server.access_policy();
        match told {
            Some(Access::Freq(freq)) if self.policy & table::POLICY_LFU != 0 => {
                Policy::used_often(self.now, freq)
            }
            Some(Access::Idle(seconds)) if self.policy & table::POLICY_LFU == 0 => {
                let idle = i64::try_from(seconds).unwrap_or(i64::MAX / 2000);
                policy.fresh(self.now.saturating_sub(idle.saturating_mul(1000)).max(0))
            }
            _ => policy.fresh(self.now),
        }
    }

    /// Puts an entry into its part of a database. Returns when the sweeper has to look at it.
    fn insert(
        &self,
        db: usize,
        part: &mut Db,
        entry: &mut Decoded<'_>,
    ) -> Result<Option<i64>, Error> {
        let mut scratch = [0; 20];
        let (hash, key) = (entry.hash, entry.key.bytes(&mut scratch));
        if part.find(hash, key).is_some() {
            if self.terms.duplicates == Duplicates::Refused {
                let key = key.to_vec();
                return Err(Error::Duplicate { key, db });
            }
            drop(part.remove(hash, key));
        }
        let value = std::mem::replace(&mut entry.value, Value::Int(0));
        let fields = match &value {
            Value::Hash(fields) => fields.next_deadline(),
            _ => None,
        };
        let position = part.insert(hash, key, value, entry.access);
        let mut due = None;
        if entry.deadline.is_some() {
            due = part.set_deadline(hash, position, entry.deadline, self.now);
        }
        if let Some(fields) = fields {
            due = due
                .into_iter()
                .chain(part.expect_fields(hash, fields, self.now))
                .min();
        }
        Ok(due)
    }
}

impl Batch {
    fn new() -> Batch {
        Batch {
            db: 0,
            bytes: Vec::with_capacity(BATCH + BATCH / 8),
            entries: Vec::new(),
        }
    }
}
