//! The state of one client that commands may look at and change.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::slowlog::Waiting;
use super::table::Row;
use super::transactions::{Transaction, Watches};
use crate::server::Server;
use crate::server::blocking::Waiter;
use crate::server::client::Client;
use crate::server::config::id;
use crate::server::log::{Followed, Position};
use crate::server::mail::Mail;
use crate::server::replication::replicas::{Introduction, Replica};
use crate::server::stats::Tally;
use crate::util::clock::now_ms;

/// Which replies a client gets (`CLIENT REPLY`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replies {
    /// All.
    On,
    /// None.
    Off,
    /// Not that of the next command.
    SkipNext,
    /// Not that of the command being carried out.
    Skipping,
}

/// The state of one client.
pub struct Session {
    /// What other clients see of it.
    pub client: Arc<Client>,
    /// The current database.
    pub db: usize,
    /// Whether it may run commands.
    pub authenticated: bool,
    /// Which replies it gets.
    pub replies: Replies,
    /// Whether the connection ends once the replies so far are sent.
    pub close: bool,
    /// What it has counted.
    pub tally: Tally,
    /// Messages that its commands have for clients, to be sent before their replies.
    pub mail: Mail,
    /// What is behind the last effects of its commands in the log.
    pub logged: Position,
    /// The file's part of it for replies that have not been sent; 0 when all have.
    pub uncommitted: u64,
    /// Whether it carries out what a log holds, rather than what a client wants.
    pub feeder: bool,
    /// For the link to a primary, what has come of its stream and is not in the log yet.
    pub followed: Option<Followed>,
    /// What the client has said about itself, who may ask to be a replica.
    pub introduction: Option<Box<Introduction>>,
    /// What the client is as a replica of this server.
    pub replica: Option<Arc<Replica>>,
    /// The time, as this session last read it.
    pub clock: Clock,
    /// What it waits for, from its registration until its thread goes to sleep.
    pub(super) waiter: Option<Arc<Waiter>>,
    /// The command in which it waits.
    pub(super) waiting: Option<Box<Waiting>>,
    /// The commands queued since MULTI.
    pub transaction: Option<Transaction>,
    /// The keys it watches.
    pub watches: Option<Watches>,
    /// The last command looked up and the name it was found under; clients repeat themselves.
    pub(super) found: Option<(Vec<u8>, &'static Row)>,
}

impl Session {
    /// The state of a client that has just connected.
    pub fn new(server: &Server, client: Arc<Client>) -> Session {
        let authenticated = server.config.str(id::REQUIREPASS).is_empty();
        client.authenticated.store(authenticated, Ordering::Relaxed);
        Session {
            mail: Mail::new(client.id),
            client,
            db: 0,
            authenticated,
            replies: Replies::On,
            close: false,
            tally: Tally::default(),
            logged: Position::default(),
            uncommitted: 0,
            feeder: false,
            followed: None,
            introduction: None,
            replica: None,
            clock: Clock::now(),
            waiter: None,
            waiting: None,
            transaction: None,
            watches: None,
            found: None,
        }
    }

    /// Whether the client has to authenticate before it may do anything else.
    pub fn must_authenticate(&self, server: &Server) -> bool {
        !self.authenticated && !server.config.str(id::REQUIREPASS).is_empty()
    }

    /// Whether it carries out what a file holds.
    pub fn is_loader(&self) -> bool {
        self.feeder && self.followed.is_none()
    }

    /// Notes that the client has authenticated, or no longer is.
    pub fn set_authenticated(&mut self, yes: bool) {
        self.authenticated = yes;
        self.client.authenticated.store(yes, Ordering::Relaxed);
    }

    /// Changes the current database.
    pub fn select(&mut self, db: usize) {
        self.db = db;
        self.client.db.store(db as u32, Ordering::Relaxed);
    }
}

/// The time, read once for each command: the end of one is the start of the next.
pub struct Clock {
    start: Instant,
    start_ms: i64,
    last: Instant,
}

impl Clock {
    /// Reads both clocks.
    pub fn now() -> Clock {
        let start = Instant::now();
        Clock {
            start,
            start_ms: now_ms(),
            last: start,
        }
    }

    /// When the clock was made.
    pub fn started(&self) -> Instant {
        self.start
    }

    /// Unix milliseconds at the last reading.
    pub fn ms(&self) -> i64 {
        self.start_ms + (self.last - self.start).as_millis() as i64
    }

    /// The last reading of the monotonic clock.
    pub fn last(&self) -> Instant {
        self.last
    }

    /// Reads the monotonic clock again and returns the time since the last reading.
    pub fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.last, now)
    }
}
