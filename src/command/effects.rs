//! What a command does to the data set, as the log keeps it.
//!
//! Mostly that is the command itself: one that has changed something is logged as it came, unless
//! its handler says what to log instead, because carried out once more it would not have the same
//! effect — it draws lots, asks the clock, or blocks. Expired keys are logged as deletions by
//! whoever removes them, and what clients that wait are served is logged as if they had asked for
//! just that. What one command does is one step in the log, and so is all that a transaction does;
//! each service to a client that waits is another one.
//!
//! Expired keys that a command meets under exclusive locks are logged before it, since whoever
//! carries out the log lets nothing expire. Those met under shared locks are removed afterwards,
//! each under a lock and as a step of its own, where Redis has one step for all of them.

use super::aside::Aside;
use super::spec::{MAY_REPLICATE, WRITE};
use super::table::Row;
use super::{Args, Keyspace};
use crate::server::config::id;
use crate::server::log::{Audience, Position};
use crate::server::{Server, log};
use crate::store::Locks;
use crate::store::sweep::Swept;
use crate::util::num::IntBuf;

/// The effects of one command that have not been logged yet.
#[derive(Default)]
pub struct Effects {
    /// Whether anybody reads the log, as of when the locks were taken.
    on: bool,
    /// Whether the command itself is not logged.
    replaced: bool,
    /// Whether it is logged even if it has changed nothing.
    forced: bool,
    /// What is behind the last effects in the log, if there were any.
    pub logged: Option<Position>,
    /// Whether the command comes from a primary.
    pub follows: bool,
}

/// As much of the memory that the bytes of a primary's command took is kept for the next one.
const SPARE: usize = 64 << 10;

impl<'a> Keyspace<'a> {
    /// Holds these locks from now on.
    pub(super) fn hold(&mut self, locks: Locks<'a>) {
        self.locks = locks;
        // The role only changes while every shard is locked.
        self.keeps_expired = !self.obeys && self.server.replication.is_replica();
        self.leaves_stale = self.keeps_expired || !self.obeys && self.server.pause.holds(true);
        let log = &self.server.log;
        self.effects.on = match (self.obeys, self.effects.follows) {
            (false, _) => log.is_on(),
            // The file has a log of its own, while replicas are passed on what the primary sends.
            (true, true) => log.has_file(),
            // What the file held that is being loaded.
            (true, false) => false,
        };
    }

    /// Logs what has happened and releases the locks.
    #[inline]
    pub(super) fn release(&mut self) {
        self.end_step();
        self.locks = Locks::none();
    }

    /// Logs what has happened so far as one step. What others are served then is a step of its own.
    #[inline]
    pub(super) fn end_step(&mut self) {
        if self.aside.get().is_some() {
            self.log_step();
        }
    }

    fn log_step(&mut self) {
        let Some(Aside {
            batch, followed, ..
        }) = self.aside.get()
        else {
            return;
        };
        let (log, now) = (&self.server.log, self.now);
        if let Some(followed) = followed
            && !followed.raw.is_empty()
        {
            log.append_followed(batch, followed, self.number, now);
            followed.raw.clear();
            followed.raw.shrink_to(SPARE);
            batch.clear();
        } else if !batch.is_empty() {
            self.effects.logged = Some(log.append(batch, now));
            batch.clear();
        }
    }

    /// Whether effects are wanted. A handler asks before it puts something together for
    /// [`Keyspace::instead`] and [`Keyspace::also`].
    #[inline]
    pub fn logs(&self) -> bool {
        self.effects.on
    }

    /// Logs these words in the place of the command.
    pub fn instead(&mut self, words: &[&[u8]]) {
        self.effects.replaced = true;
        self.also(words);
    }

    /// Logs these words, in the current database, besides the command.
    pub fn also(&mut self, words: &[&[u8]]) {
        if self.effects.on {
            let number = self.number;
            self.aside.open().batch.push(number, words.iter().copied());
        }
    }

    /// Sends these words to replicas in the place of the command, which changes no key.
    pub fn to_replicas(&mut self, words: &[&[u8]]) {
        self.effects.replaced = true;
        if self.effects.on && self.server.log.has_stream() {
            let (number, words) = (self.number, words.iter().copied());
            let batch = &mut self.aside.open().batch;
            batch.push_for(Audience::Replicas, number, words);
        }
    }

    /// Logs the arguments with others in the place of some of them, each given with its position,
    /// in the place of the command; an argument that is given as `None` is left out.
    pub fn instead_with(&mut self, args: &Args<'_>, changes: &[(usize, Option<&[u8]>)]) {
        self.effects.replaced = true;
        if !self.effects.on {
            return;
        }
        let changed = |at: usize| changes.iter().rev().find(|(changed, _)| *changed == at);
        let words: Vec<&[u8]> = (0..args.len())
            .filter_map(|at| changed(at).map_or(Some(&args[at]), |(_, with)| *with))
            .collect();
        let number = self.number;
        self.aside.open().batch.push(number, words.into_iter());
    }

    /// What the command does is not logged, or has been.
    pub fn nothing_instead(&mut self) {
        self.effects.replaced = true;
    }

    /// The command is logged whatever it has changed.
    pub fn log_anyway(&mut self) {
        self.effects.forced = true;
    }

    /// Logs a deadline that a key has got in the place of the command.
    pub fn deadline_instead(&mut self, key: &[u8], deadline: i64) {
        if self.logs() {
            self.instead(&[b"PEXPIREAT", key, IntBuf::new().i64(deadline)]);
        }
    }

    /// Logs that a key has been deleted in the place of the command, which says whether that is to
    /// be in the background.
    pub fn deletion_instead(&mut self, key: &[u8], lazy: bool) {
        if self.logs() {
            self.instead(&[deletion(lazy), key]);
        }
    }

    /// Logs that a key has been removed because it had expired.
    pub(super) fn log_expiry(&mut self, key: &[u8]) {
        if self.logs() {
            let lazy = self.server.config.bool(id::LAZYFREE_LAZY_EXPIRE);
            self.also(&[deletion(lazy), key]);
        }
    }

    /// Logs that a key has been deleted besides what the command does.
    pub(super) fn log_deletion(&mut self, key: &[u8], lazy: bool) {
        if self.logs() {
            self.also(&[deletion(lazy), key]);
        }
    }

    /// Logs that fields of a hash have been removed because they had expired.
    pub(super) fn log_expired_fields(&mut self, key: &[u8], fields: &[Vec<u8>]) {
        if self.logs() && !fields.is_empty() {
            self.also(&removal(key, fields));
        }
    }

    /// Begins a command: what the one before it in a transaction has said does not count.
    pub(super) fn begin_effects(&mut self, row: &Row, args: &mut Args<'_>) -> u64 {
        // What others do, like the subcommands of DEBUG, is nobody else's business.
        let counts = row.spec.flags.has(WRITE.or(MAY_REPLICATE));
        self.effects.replaced = !counts;
        self.effects.forced = false;
        if self.effects.on && counts {
            args.keep();
        }
        self.changes
    }

    /// Logs a command that has just been carried out; `before` is what [`Keyspace::begin_effects`]
    /// has returned.
    #[inline]
    pub(super) fn end_effects(&mut self, args: &Args<'_>, before: u64) {
        if self.effects.on {
            self.log_command(args, before);
        }
    }

    fn log_command(&mut self, args: &Args<'_>, before: u64) {
        let changed = self.changes != before || self.effects.forced;
        if changed && !self.effects.replaced {
            let (number, batch) = (self.number, &mut self.aside.open().batch);
            match args.verbatim() {
                Some(bytes) => batch.push_encoded(number, bytes),
                None => batch.push(number, args.from(0)),
            }
        }
    }
}

/// The command that deletes a key, at once or in the background.
fn deletion(lazy: bool) -> &'static [u8] {
    if lazy { b"UNLINK" } else { b"DEL" }
}

/// Logs what the sweeper has removed, while its shard is still locked.
pub(super) fn log_swept(server: &Server, db: usize, swept: &Swept) {
    if !server.log.is_on() {
        return;
    }
    let mut batch = log::Batch::default();
    match swept {
        Swept::Key(entry) => {
            let lazy = server.config.bool(id::LAZYFREE_LAZY_EXPIRE);
            batch.push(db, [deletion(lazy), entry.key.bytes()].into_iter());
        }
        Swept::Fields(key, fields) => batch.push(db, removal(key, fields).into_iter()),
        Swept::Hash(entry, fields) => {
            let words = removal(entry.key.bytes(), fields);
            batch.push(db, words.into_iter());
        }
    }
    server.log.append(&batch, crate::util::clock::now_ms());
}

/// The command that removes fields of a hash.
fn removal<'w>(key: &'w [u8], fields: &'w [Vec<u8>]) -> Vec<&'w [u8]> {
    let words: [&[u8]; 2] = [b"HDEL", key];
    let fields = fields.iter().map(Vec::as_slice);
    words.into_iter().chain(fields).collect()
}
