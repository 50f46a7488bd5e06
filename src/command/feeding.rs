//! Commands of a log, put into the store many at a time.
//!
//! While a log is carried out nobody looks at the keys. What it comes to is then decided by the
//! order of the commands of each key alone, and a command can only reach keys of shards that it
//! declares: commands of different shards may change places. A [`Parcel`] collects commands that
//! have all their keys in one shard each, and carries them out one shard after the other. So a lock
//! is taken once for all commands of a shard, what they look up is fetched together, and what they
//! touch lies close to each other. Several threads may do so at once, as long as each shard is the
//! business of one of them.

use std::sync::Arc;

use super::dispatch::{each_key, fail, scope};
use super::session::{Clock, Session};
use super::spec::Locking;
use super::table::{Keys, Row};
use super::{Args, Ctx, Keyspace, Pace, blocking, tracking};
use crate::resp::Reply;
use crate::resp::request::Span;
use crate::server::Server;
use crate::store::{Locks, SHARDS, Shard, shard_of};
use crate::sys::fetch;

/// Up to this many commands are not worth being sorted.
const FEW: usize = 16;
/// Room for replies, which nobody reads.
const KEEP_REPLY: usize = 64 << 10;
/// Buffers of a parcel above this size are given back.
const KEEP: usize = 4 << 20;

/// So many commands are prepared for together.
const AHEAD: usize = 16;

/// Where no command follows.
const NONE: usize = usize::MAX;

/// The hash of a command's first key, if the shard of that is all that the command needs.
pub fn hash_of_only_shard(server: &Server, row: &Row, args: &Args<'_>) -> Option<u64> {
    let by_key = matches!(row.spec.locking, Locking::Keys | Locking::ByArgs(_));
    if !by_key || scope(row, args).all {
        return None;
    }
    let mut only = None;
    let mut same = true;
    each_key(row, args, |key| {
        let hash = server.store.hash(key);
        same &= shard_of(*only.get_or_insert(hash)) == shard_of(hash);
    });
    only.filter(|_| same)
}

/// A command of a parcel.
struct Fed {
    row: &'static Row,
    db: usize,
    /// The hash of its first key.
    hash: u64,
    /// Where its arguments begin and end, and the bytes of those that are not large begin.
    start: usize,
    end: usize,
    bytes: usize,
    /// The next one of its shard.
    next: usize,
}

/// Commands with their arguments.
#[derive(Default)]
pub struct Parcel {
    commands: Vec<Fed>,
    bytes: Vec<u8>,
    spans: Vec<Span>,
    big: Vec<Vec<u8>>,
    /// Bytes of the large arguments.
    apart: usize,
}

impl Parcel {
    /// Adds a command for a database, with what [`hash_of_only_shard`] has said of it. Large
    /// arguments are taken.
    pub fn push(&mut self, row: &'static Row, db: usize, hash: u64, args: &mut Args<'_>) {
        let (big, bytes, start) = (self.big.len(), self.bytes.len(), self.spans.len());
        args.move_to(&mut self.bytes, &mut self.spans, &mut self.big);
        self.apart += self.big[big..].iter().map(Vec::len).sum::<usize>();
        self.commands.push(Fed {
            row,
            db,
            hash,
            start,
            end: self.spans.len(),
            bytes,
            next: NONE,
        });
    }

    /// Number of commands.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Bytes of arguments.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.apart
    }

    /// Hands the commands out in their order, and forgets them.
    pub fn unpack(&mut self, mut each: impl FnMut(&'static Row, &mut Args<'_>)) {
        for command in &self.commands {
            let spans = &self.spans[command.start..command.end];
            each(
                command.row,
                &mut Args::new(&self.bytes, spans, &mut self.big),
            );
        }
        self.clear();
    }

    /// Carries the commands out, those of each shard in their order, and forgets them.
    pub fn carry_out(&mut self, server: &Arc<Server>, session: &mut Session, out: &mut Reply) {
        let db = session.db;
        session.clock = Clock::now();
        if self.commands.len() <= FEW {
            for at in 0..self.commands.len() {
                self.carry_out_shard(server, session, out, at);
            }
        } else {
            let mut first = [NONE; SHARDS];
            for (at, command) in self.commands.iter_mut().enumerate().rev() {
                let first = &mut first[shard_of(command.hash)];
                command.next = std::mem::replace(first, at);
            }
            for first in first.into_iter().filter(|first| *first != NONE) {
                self.carry_out_shard(server, session, out, first);
            }
        }
        self.clear();
        session.db = db;
    }

    /// Carries out a command and those that follow it in its shard.
    fn carry_out_shard(
        &mut self,
        server: &Arc<Server>,
        session: &mut Session,
        out: &mut Reply,
        first: usize,
    ) {
        let commands = &self.commands;
        let mut db = Keyspace::new(server, session.db, session.clock.ms());
        db.mail = std::mem::take(&mut session.mail);
        db.obeys = true;
        let shard = shard_of(commands[first].hash);
        db.hold(Locks::one(&server.store, shard, true));
        let mut ctx = Ctx {
            server,
            session,
            out,
            db,
            row: commands[first].row,
            pace: Pace::new(false),
        };
        let (mut next, mut count) = (first, 0);
        while next != NONE {
            if count == 0 {
                let hold = ctx.db.locks.shard(shard);
                count = self.fetch(hold, next);
            }
            count -= 1;
            let at = next;
            let command = &commands[at];
            let spans = &self.spans[command.start..command.end];
            let mut args = Args::new(&self.bytes, spans, &mut self.big);
            ctx.session.db = command.db;
            ctx.db.number = command.db;
            ctx.row = command.row;
            match command.row.keys {
                Keys::One(key) => ctx.db.know_hash(&args[key], command.hash),
                _ => ctx.db.forget_hash(),
            }
            let done = (command.row.spec.handler)(&mut ctx, &mut args);
            if let Err(error) = done {
                fail(server, ctx.session, ctx.out, 0, Some(command.row), &error);
            }
            // Nobody waits.
            ctx.db.aside.take_request();
            ctx.out.clear(KEEP_REPLY);
            next = command.next;
        }
        let Ctx {
            mut db, session, ..
        } = ctx;
        if db.aside.has_ready() {
            blocking::serve_ready(&mut db);
        }
        db.release();
        if db.aside.has_put_off() {
            blocking::serve_put_off(&mut db);
        }
        tracking::make_room(&mut db);
        db.settle(&mut session.tally);
        session.mail = std::mem::take(&mut db.mail);
        if !session.mail.is_empty() {
            session.mail.deliver(server);
        }
    }

    /// Has the processor fetch what a command and the next ones of its shard need, all at once
    /// rather than piece by piece when it comes to each. Returns how many commands these are.
    fn fetch(&self, shard: &Shard, first: usize) -> usize {
        let mut chain = [first; AHEAD];
        let (mut count, mut next) = (0, first);
        while count < AHEAD && next != NONE {
            let command = &self.commands[next];
            chain[count] = next;
            shard.db(command.db).fetch_slot(command.hash);
            fetch(&self.spans[command.start]);
            (count, next) = (count + 1, command.next);
        }
        if count == 1 {
            return count;
        }
        let mut found = [None; AHEAD];
        for (found, &at) in found.iter_mut().zip(&chain[..count]) {
            let command = &self.commands[at];
            *found = shard.db(command.db).fetch_entry(command.hash);
            fetch(&self.bytes[command.bytes..]);
        }
        for (found, &at) in found.iter().zip(&chain[..count]) {
            if let Some(position) = *found {
                shard.db(self.commands[at].db).at(position).value.fetch();
            }
        }
        count
    }

    fn clear(&mut self) {
        self.commands.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEEP);
        self.spans.clear();
        self.spans.shrink_to(KEEP / size_of::<Span>());
        self.big.clear();
        self.big.shrink_to(1024);
        self.apart = 0;
    }
}
