//! The configuration: one declarative table of options, their values, and
//! `CONFIG GET` and `CONFIG SET`.
//!
//! - [`table`] has a row for each option whose feature exists, and [`stock`]
//!   the rows of those that are only accepted. All else follows from the rows.
//! - [`value`] reads and shows values, a kind at a time.
//! - [`file`](mod@file) reads the command line and config files, and
//!   [`rewrite`] writes what has changed back into one.
//! - Here the values live. Numbers are atomics, so that a command reads one
//!   with a single load; the rest sits behind a lock an option.
//!
//! ```text
//! config.int(id::MAXCLIENTS)  config.bool(id::PROTECTED_MODE)  config.str(id::REQUIREPASS)
//! ```

pub mod disk;
pub mod file;
pub mod process;
pub mod replication;
pub mod rewrite;
pub mod stock;
pub mod table;
pub mod value;

#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::util::glob;
use table::{DENY_LOADING, HIDDEN, IMMUTABLE, MULTI_ARG, Opt, PENDING, PROTECTED, TABLE};
use value::{Kind, OutputClass, OutputLimit, SavePoint, Value};

pub use file::{Invocation, LoadError, Loaded, Rename, UserLine, help_text, load};
pub use stock::stock_names;
pub use table::OptId;

/// A constant for each option.
pub mod id {
    pub use super::disk::id::*;
    pub use super::process::id::*;
    pub use super::replication::id::*;
    pub use super::stock::id::*;
    pub use super::stock::later::id::*;
    pub use super::table::id::*;
}

/// The values of all options.
pub struct Config {
    /// The values of those options that are numbers.
    ints: Box<[AtomicI64]>,
    /// The values of the other options; `None` for numbers.
    others: Box<[Option<RwLock<Value>>]>,
    /// `client-output-buffer-limit` once more, to be read without a lock:
    /// hard, soft, soft seconds for each class.
    limits: [[AtomicU64; 3]; 3],
    /// Held throughout a change, so that one `CONFIG SET` is whole before the
    /// next begins.
    setting: Mutex<()>,
    /// Held while the config file is rewritten.
    rewriting: Mutex<()>,
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}

/// No values: they would put passwords into logs.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").finish_non_exhaustive()
    }
}

impl Config {
    /// Every option at its default; `dir` is the directory of the process.
    pub fn new() -> Config {
        let defaults: Vec<Value> = TABLE.iter().map(default_value).collect();
        let other = |value: &Value| match value {
            Value::Int(_) => None,
            other => Some(RwLock::new(other.clone())),
        };
        let int = |value: &Value| match value {
            Value::Int(n) => AtomicI64::new(*n),
            _ => AtomicI64::new(0),
        };
        let config = Config {
            ints: defaults.iter().map(int).collect(),
            others: defaults.iter().map(other).collect(),
            limits: Default::default(),
            setting: Mutex::new(()),
            rewriting: Mutex::new(()),
        };
        config.publish_limits();
        config
    }

    /// The value of a number, size (as bits), enumeration or flag set; 0 for an
    /// option of another kind. One relaxed load.
    #[inline]
    pub fn int(&self, id: OptId) -> i64 {
        self.ints[usize::from(id.0)].load(Relaxed)
    }

    /// The value of a `yes`-or-`no` option. One relaxed load.
    #[inline]
    pub fn bool(&self, id: OptId) -> bool {
        self.int(id) != 0
    }

    /// The value of an option that is a number of bytes. One relaxed load.
    #[inline]
    pub fn memory(&self, id: OptId) -> u64 {
        self.int(id) as u64
    }

    /// The name that an enumeration option is set to.
    pub fn name(&self, id: OptId) -> &'static str {
        match id.row().kind {
            Kind::Enum(names) => value::name_of(names, self.int(id)),
            _ => "unknown",
        }
    }

    /// The bytes of a text option; empty for an option of another kind.
    pub fn str(&self, id: OptId) -> Arc<[u8]> {
        match self.value(id) {
            Value::Text(bytes) => bytes,
            _ => Arc::from([]),
        }
    }

    /// The words of a list option, such as `bind`.
    pub fn words(&self, id: OptId) -> Arc<[Vec<u8>]> {
        match self.value(id) {
            Value::Words(words) => words,
            _ => Arc::from([]),
        }
    }

    /// The points of `save`, in the order given.
    pub fn save_points(&self) -> Arc<[SavePoint]> {
        match self.value(id::SAVE) {
            Value::Save(points) => points,
            _ => Arc::from([]),
        }
    }

    /// The percentiles of `latency-tracking-info-percentiles`.
    pub fn percentiles(&self) -> Arc<[f64]> {
        match self.value(id::LATENCY_TRACKING_INFO_PERCENTILES) {
            Value::Floats(numbers) => numbers,
            _ => Arc::from([]),
        }
    }

    /// The output-buffer limits of a class of clients. Three relaxed loads: a
    /// reader may see a change of several numbers half done.
    #[inline]
    pub fn output_limit(&self, class: OutputClass) -> OutputLimit {
        let [hard, soft, seconds] = &self.limits[class as usize];
        OutputLimit {
            hard: hard.load(Relaxed),
            soft: soft.load(Relaxed),
            soft_seconds: seconds.load(Relaxed),
        }
    }

    /// The value of an option of any kind.
    pub fn value(&self, id: OptId) -> Value {
        match &self.others[usize::from(id.0)] {
            None => Value::Int(self.int(id)),
            Some(lock) => lock.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The value of an option as `CONFIG GET` shows it.
    pub fn show(&self, id: OptId) -> Vec<u8> {
        value::format(id.row().kind, &self.value(id))
    }

    /// `CONFIG GET`: the options that match any of the patterns, each once, with
    /// names in lower case unless given in full, and their values. Names are
    /// matched without regard to case; hidden options only in full.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for pattern in patterns {
            let is_glob = pattern.iter().any(|c| b"*?[".contains(c));
            let exact = [(*pattern, lookup(pattern).filter(|_| !is_glob))];
            let by_glob = names().filter(|(name, id)| {
                is_glob && !id.row().has(HIDDEN) && glob::matches(pattern, name.as_bytes(), true)
            });
            let matching = exact
                .into_iter()
                .filter_map(|(name, known)| Some((name, known?.id)))
                .chain(by_glob.map(|(name, id)| (name.as_bytes(), id)));
            for (name, id) in matching {
                if !found
                    .iter()
                    .any(|(seen, _)| seen.eq_ignore_ascii_case(name))
                {
                    found.push((name.to_vec(), self.show(id)));
                }
            }
        }
        found
    }

    /// `CONFIG SET` of several options, all or nothing.
    ///
    /// Once all values are stored, `apply` is called for each option whose
    /// value changed. When it fails, every value is put back, and it is called
    /// again for those options it had been called for. It may read the
    /// configuration but must not set it.
    ///
    /// # Errors
    /// The whole error reply, as Redis words it.
    pub fn set(
        &self,
        pairs: &[(&[u8], &[u8])],
        caller: Caller,
        apply: &mut dyn FnMut(OptId) -> Result<(), String>,
    ) -> Result<(), ConfigError> {
        let _whole = self.setting.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.check(pairs, caller)?;
        let old: Vec<Value> = known.iter().map(|k| self.value(k.id)).collect();
        let put_back = || {
            for (known, old) in known.iter().zip(&old).rev() {
                // Only `dir` can fail, when the old directory is gone: then the
                // process stays in the new one, and no better can be done.
                let _ = self.put(known.id, old.clone());
            }
        };
        for (known, (_, word)) in known.iter().zip(pairs) {
            if let Err(reason) = self.set_words(known.id, &split_words(known.id.row(), word)) {
                put_back();
                return Err(ConfigError::failed(known.name.as_bytes(), &reason));
            }
        }
        let changed = known.iter().zip(&old);
        let changed: Vec<&Known> = changed
            .filter(|(known, old)| self.value(known.id) != **old)
            .map(|(known, _)| known)
            .collect();
        for (i, known) in changed.iter().enumerate() {
            if let Err(reason) = apply(known.id) {
                put_back();
                for known in &changed[..=i] {
                    // The old value was in force before, and the reply already
                    // tells of the first failure.
                    let _ = apply(known.id);
                }
                return Err(ConfigError::failed(known.name.as_bytes(), &reason));
            }
        }
        Ok(())
    }

    /// What can be refused before any value is looked at.
    fn check(&self, pairs: &[(&[u8], &[u8])], caller: Caller) -> Result<Vec<Known>, ConfigError> {
        let mut all: Vec<Known> = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let known = lookup(name).ok_or_else(|| ConfigError::unknown(name))?;
            let row = known.id.row();
            if row.has(IMMUTABLE) {
                return Err(ConfigError::failed(name, "can't set immutable config"));
            }
            if row.has(PROTECTED) && !self.allows(id::ENABLE_PROTECTED_CONFIGS, caller) {
                return Err(ConfigError::failed(name, "can't set protected config"));
            }
            if row.has(DENY_LOADING) && caller.loading {
                return Err(ConfigError::loading());
            }
            if all.iter().any(|other| other.name == known.name) {
                return Err(ConfigError::failed(name, "duplicate parameter"));
            }
            all.push(known);
        }
        Ok(all)
    }

    /// Lowers or raises a number that the start found to be impossible.
    pub fn adjust(&self, id: OptId, value: i64) {
        self.ints[usize::from(id.0)].store(value, Relaxed);
    }

    /// Notes whom the server follows from now on, as `replicaof` shows it.
    pub fn note_primary(&self, primary: Option<(&str, u16)>) {
        let words = primary.map(|(host, port)| [host.into(), port.to_string().into_bytes()]);
        let words: Arc<[Vec<u8>]> = words.into_iter().flatten().collect();
        // Words are stored, whatever they are.
        let _ = self.put(id::REPLICAOF, Value::Words(words));
    }

    /// Whether an option such as `enable-debug-command` allows this caller.
    pub fn allows(&self, id: OptId, caller: Caller) -> bool {
        match self.int(id) {
            table::ACTION_YES => true,
            table::ACTION_LOCAL => caller.local,
            _ => false,
        }
    }

    /// Reads words and stores the value they stand for.
    fn set_words<W: AsRef<[u8]>>(&self, id: OptId, words: &[W]) -> Result<(), String> {
        let value = value::parse(id.row().kind, words, &self.value(id))?;
        self.put(id, value)
    }

    /// Stores a value; for `dir`, changes directory.
    fn put(&self, id: OptId, mut value: Value) -> Result<(), String> {
        if let (Kind::Dir, Value::Text(path)) = (id.row().kind, &value) {
            std::env::set_current_dir(Path::new(std::ffi::OsStr::from_bytes(path)))
                .map_err(|error| system_reason(&error))?;
            value = Value::Text(current_dir());
        }
        match (&self.others[usize::from(id.0)], value) {
            (None, Value::Int(n)) => self.ints[usize::from(id.0)].store(n, Relaxed),
            (Some(lock), value) => {
                *lock.write().unwrap_or_else(PoisonError::into_inner) = value;
            }
            // A kind yields numbers always or never.
            (None, _) => debug_assert!(false, "{} is a number", id.name()),
        }
        if id == id::CLIENT_OUTPUT_BUFFER_LIMIT {
            self.publish_limits();
        }
        Ok(())
    }

    fn publish_limits(&self) {
        if let Value::Limits(limits) = self.value(id::CLIENT_OUTPUT_BUFFER_LIMIT) {
            for (slot, limit) in self.limits.iter().zip(limits) {
                slot[0].store(limit.hard, Relaxed);
                slot[1].store(limit.soft, Relaxed);
                slot[2].store(limit.soft_seconds, Relaxed);
            }
        }
    }

    /// The options that are set to something although their feature is yet to
    /// come; the start warns of them.
    pub fn pending_changed(&self) -> Vec<&'static str> {
        all_ids()
            .filter(|id| id.row().has(PENDING) && self.value(*id) != default_value(id.row()))
            .map(OptId::name)
            .collect()
    }
}

/// Who sends a `CONFIG SET` or a guarded command, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// The client is connected from this machine.
    pub local: bool,
    /// The data set is being loaded.
    pub loading: bool,
}

/// Why a `CONFIG SET` was refused: the error reply, without the leading `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(Vec<u8>);

impl ConfigError {
    /// The error reply, code first. Names are the bytes that the client sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn unknown(name: &[u8]) -> ConfigError {
        let parts: [&[u8]; 3] = [
            b"ERR Unknown option or number of arguments for CONFIG SET - '",
            name,
            b"'",
        ];
        ConfigError(parts.concat())
    }

    fn failed(name: &[u8], reason: &str) -> ConfigError {
        let mut text = b"ERR CONFIG SET failed (possibly related to argument '".to_vec();
        text.extend_from_slice(name);
        text.extend_from_slice(b"')");
        if !reason.is_empty() {
            text.extend_from_slice(b" - ");
            text.extend_from_slice(reason.as_bytes());
        }
        ConfigError(text)
    }

    fn loading() -> ConfigError {
        ConfigError(b"LOADING Redis is loading the dataset in memory".to_vec())
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl std::error::Error for ConfigError {}

/// An option found by a name.
struct Known {
    id: OptId,
    /// The name of the two that it was found by.
    name: &'static str,
}

/// Finds an option by its name or alias, in any case.
fn lookup(name: &[u8]) -> Option<Known> {
    names()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
        .map(|(name, id)| Known { id, name })
}

/// Finds an option by its name or alias, in any case: whether its value is a
/// secret, for instance, that logs must not show.
pub fn find(name: &[u8]) -> Option<OptId> {
    lookup(name).map(|known| known.id)
}

fn all_ids() -> impl Iterator<Item = OptId> {
    // The table has a few hundred rows.
    (0..TABLE.len() as u16).map(OptId)
}

/// Every name and alias.
fn names() -> impl Iterator<Item = (&'static str, OptId)> {
    all_ids().flat_map(|id| {
        let row = id.row();
        [Some(row.name), row.alias]
            .into_iter()
            .flatten()
            .map(move |name| (name, id))
    })
}

/// The words of one `CONFIG SET` argument: an option that takes several words
/// has them split at each blank, others have it whole.
fn split_words<'a>(row: &Opt, word: &'a [u8]) -> Vec<&'a [u8]> {
    match (row.has(MULTI_ARG), word) {
        (true, []) => Vec::new(),
        (true, _) => word.split(|c| *c == b' ').collect(),
        (false, _) => vec![word],
    }
}

fn default_value(row: &Opt) -> Value {
    if let Kind::Dir = row.kind {
        return Value::Text(current_dir());
    }
    let words = split_words(row, row.default.as_bytes());
    match value::parse(row.kind, &words, &Value::Int(0)) {
        Ok(value) => value,
        // The table is a constant, and a test reads every default in it.
        Err(reason) => unreachable!("default of {}: {reason}", row.name),
    }
}

fn current_dir() -> Arc<[u8]> {
    let path = std::env::current_dir().unwrap_or_default();
    path.into_os_string().into_vec().into()
}

/// The system's text for an error, without the number that std adds.
fn system_reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
