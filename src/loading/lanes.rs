//! Carrying out the commands of a log, by several threads where that is possible.
//!
//! Whoever reads the log hands its commands to a [`Feed`] one by one. Most have one key, or several
//! in one shard of the store. Each of a few lanes has a share of the shards and gets the commands
//! of these, a [`Parcel`] at a time, to be carried out by a thread of its own. Any other command,
//! which has keys of several shards or looks at everything, waits until the lanes have done what
//! came before it. Where such commands follow each other closely, handing work over and waiting
//! for it costs more than it brings, and the reader itself does all of it.
//!
//! A transaction is handed over once it is whole. After that its commands are commands like others:
//! nobody can see what is between them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, Scope};

use super::commands::feeder;
use crate::command::dispatch::{self, Place};
use crate::command::error::Error;
use crate::command::feeding::{Parcel, hash_of_only_shard};
use crate::command::session::Session;
use crate::command::table::Row;
use crate::log_warning;
use crate::resp::{Args, Reply};
use crate::server::Server;
use crate::store::shard_of;

/// Most lanes.
const LANES: usize = 4;
/// A parcel is handed over when it holds so many commands, or bytes.
const COMMANDS: usize = 2048;
/// See `COMMANDS`.
const BYTES: usize = 1 << 20;
/// Parcels of a lane under way.
const UNDER_WAY: usize = 3;
/// Up to this many commands in front of one that has to wait for them are not worth being handed
/// over.
const FEW: usize = 512;
/// Room for replies, which nobody reads.
const KEEP_REPLY: usize = 64 << 10;

/// A lane: some of the shards.
#[derive(Default)]
struct Lane {
    /// What is being filled.
    parcel: Parcel,
    /// Its thread, once it has one.
    thread: Option<Thread>,
    spare: Vec<Parcel>,
}

/// The way to a lane's thread and back.
struct Thread {
    give: Sender<Parcel>,
    done: Receiver<Parcel>,
    under_way: usize,
}

/// Carries out commands; see the head of this file.
pub struct Feed<'scope, 'env> {
    server: &'env Arc<Server>,
    scope: &'scope Scope<'scope, 'env>,
    lanes: Vec<Lane>,
    /// Whether lanes get threads.
    threads: bool,
    /// For what is carried out here, and which database is the current one.
    session: Session,
    out: Reply,
    /// The commands of a transaction that is not whole yet.
    transaction: Option<Parcel>,
}

impl<'scope, 'env> Feed<'scope, 'env> {
    /// A feed with up to so many threads, which end with it.
    ///
    /// # Errors
    /// When the system refuses what a session needs.
    pub fn new(
        server: &'env Arc<Server>,
        scope: &'scope Scope<'scope, 'env>,
        threads: usize,
    ) -> std::io::Result<Self> {
        let lanes = threads.clamp(1, LANES);
        Ok(Feed {
            server,
            scope,
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            threads: lanes > 1,
            session: feeder(server)?,
            out: Reply::new(),
            transaction: None,
        })
    }

    /// Looks a command up.
    ///
    /// # Errors
    /// There is none of that name, or not with so many arguments.
    pub fn find(&mut self, args: &Args<'_>) -> Result<&'static Row, Error> {
        dispatch::find(self.server, &mut self.session, args)
    }

    /// Carries a command out, though not before it is waited for.
    pub fn push(&mut self, row: &'static Row, args: &mut Args<'_>) {
        match (&*row.name, &mut self.transaction) {
            ("multi", None) => self.transaction = Some(Parcel::default()),
            ("exec", Some(queued)) => {
                let mut queued = std::mem::take(queued);
                self.transaction = None;
                queued.unpack(|row, args| self.carry_out(row, args));
            }
            ("discard", Some(_)) => self.transaction = None,
            ("multi", Some(_)) => log_warning!("A MULTI within a transaction is passed over"),
            (_, Some(queued)) => queued.push(row, 0, 0, args),
            (_, None) => self.carry_out(row, args),
        }
    }

    /// Waits until everything has been carried out, but for a transaction that is not whole.
    pub fn finish(&mut self) {
        self.settle();
        self.server.stats.pour(&mut self.session.tally);
    }

    fn carry_out(&mut self, row: &'static Row, args: &mut Args<'_>) {
        if let Some(hash) = hash_of_only_shard(self.server, row, args) {
            let number = shard_of(hash) % self.lanes.len();
            let parcel = &mut self.lanes[number].parcel;
            parcel.push(row, self.session.db, hash, args);
            if parcel.len() >= COMMANDS || parcel.bytes() >= BYTES {
                self.hand_over(number);
            }
            return;
        }
        // Which database is the current one is nobody's business but the reader's.
        if row.name != "select" {
            self.settle();
        }
        self.alone(args);
    }

    /// Carries out a command by itself.
    fn alone(&mut self, args: &mut Args<'_>) {
        let (server, session, out) = (self.server, &mut self.session, &mut self.out);
        dispatch::execute(server, session, out, args, Place::Own);
        out.clear(KEEP_REPLY);
    }

    /// Waits until everything that lanes have been given has been carried out.
    fn settle(&mut self) {
        let waiting: usize = self.lanes.iter().map(|lane| lane.parcel.len()).sum();
        if waiting > FEW {
            for number in 0..self.lanes.len() {
                self.hand_over(number);
            }
        }
        for number in 0..self.lanes.len() {
            while self.take_back(number, 0) {}
            self.carry_out_here(number);
        }
    }

    /// Hands a lane's parcel to its thread.
    fn hand_over(&mut self, number: usize) {
        if self.lanes[number].thread.is_none() && self.threads {
            match self.start() {
                Ok(thread) => self.lanes[number].thread = Some(thread),
                Err(error) => {
                    log_warning!("Can't start a thread: {error}");
                    self.threads = false;
                }
            }
        }
        if self.lanes[number].thread.is_none() {
            return self.carry_out_here(number);
        }
        while self.take_back(number, UNDER_WAY - 1) {}
        let lane = &mut self.lanes[number];
        let next = lane.spare.pop().unwrap_or_default();
        let parcel = std::mem::replace(&mut lane.parcel, next);
        if let Some(thread) = &mut lane.thread {
            thread.under_way += 1;
            // It fails only where the thread has panicked, of which the scope makes a panic here.
            let _ = thread.give.send(parcel);
        }
    }

    /// Waits for one of a lane's parcels if more than so many are under way. Returns whether there
    /// was one to wait for.
    fn take_back(&mut self, number: usize, most: usize) -> bool {
        let lane = &mut self.lanes[number];
        let Some(thread) = lane.thread.as_mut().filter(|it| it.under_way > most) else {
            return false;
        };
        match thread.done.recv() {
            Ok(parcel) => {
                thread.under_way -= 1;
                lane.spare.push(parcel);
            }
            Err(_) => thread.under_way = 0,
        }
        true
    }

    /// Carries out here what a lane's parcel holds.
    fn carry_out_here(&mut self, number: usize) {
        let parcel = &mut self.lanes[number].parcel;
        if !parcel.is_empty() {
            parcel.carry_out(self.server, &mut self.session, &mut self.out);
        }
    }

    /// Starts a lane's thread.
    fn start(&self) -> std::io::Result<Thread> {
        let server = self.server;
        let mut session = feeder(server)?;
        let (give, parcels) = channel::<Parcel>();
        let (give_back, done) = channel();
        let body = move || {
            let mut out = Reply::new();
            for mut parcel in parcels {
                parcel.carry_out(server, &mut session, &mut out);
                if give_back.send(parcel).is_err() {
                    break;
                }
            }
            server.stats.pour(&mut session.tally);
        };
        Builder::new()
            .name("feeder".into())
            .spawn_scoped(self.scope, body)?;
        Ok(Thread {
            give,
            done,
            under_way: 0,
        })
    }
}
