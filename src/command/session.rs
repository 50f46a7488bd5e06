//! The state of one client that commands may look at and change.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::slowlog::Waiting;
use super::table::Row;
use super::transactions::{Transaction, Watches};
use crate::server::Server;
use crate::server::acl::rights::Rights;
use crate::server::acl::{Acl, User};
use crate::server::blocking::Waiter;
use crate::server::client::Client;
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
    /// Whether it has logged in, or did not have to.
    pub authenticated: bool,
    /// Who it is logged in as.
    user: Arc<User>,
    /// What that user may do.
    rights: Arc<Rights>,
    /// Whether these are all there are; beside the session, to be at hand.
    unrestricted: bool,
    /// The version of the access rules when the rights were read.
    rights_of: u64,
    /// Which replies it gets.
    pub replies: Replies,
    /// Whether the connection ends once the replies so far are sent.
    pub close: bool,
    /// What it has counted.
    pub tally: Tally,
    /// Messages that its commands have for clients, to be sent before their replies.
    pub mail: Mail,
    /// What is behind the last effects of its commands in the log, and behind what they have seen.
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
        let user = server.acl.default_user().clone();
        let rights_of = server.acl.version();
        let mut session = Session {
            mail: Mail::new(client.id),
            client,
            db: 0,
            authenticated: false,
            rights: user.rights(),
            unrestricted: false,
            rights_of,
            user,
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
        };
        session.log_out(&server.acl);
        session
    }

    /// Whether the client has to authenticate before it may do anything else.
    pub fn must_authenticate(&self, server: &Server) -> bool {
        !self.authenticated && server.acl.is_closed()
    }

    /// Whether it carries out what a file holds.
    pub fn is_loader(&self) -> bool {
        self.feeder && self.followed.is_none()
    }

    /// Notes that the client has authenticated, or no longer is.
    fn set_authenticated(&mut self, yes: bool) {
        self.authenticated = yes;
        self.client.authenticated.store(yes, Ordering::Relaxed);
    }

    /// Who the client is logged in as.
    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    /// What its user may do, as of [`Session::read_rights`].
    pub fn rights(&self) -> &Arc<Rights> {
        &self.rights
    }

    /// Whether its user may do everything, as of then.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.unrestricted
    }

    /// Whether the access rules have changed since the rights were read.
    #[inline]
    pub fn has_old_rights(&self, acl: &Acl) -> bool {
        self.rights_of != acl.version()
    }

    /// Reads what the user may do, if that may have changed. Returns `false` when the user has been
    /// deleted: then the client is to be gone as well.
    #[inline]
    pub fn read_rights(&mut self, acl: &Acl) -> bool {
        !self.has_old_rights(acl) || self.read_rights_again(acl)
    }

    #[cold]
    fn read_rights_again(&mut self, acl: &Acl) -> bool {
        // In this order, so that what changes in between is read once more.
        let version = acl.version();
        self.rights = self.user.rights();
        self.unrestricted = self.rights.is_unrestricted();
        let deleted = self.user.is_deleted();
        // That the user is gone is found out as often as it is asked for.
        self.rights_of = if deleted { 0 } else { version };
        !deleted
    }

    /// The client is this user from now on.
    pub fn log_in(&mut self, user: Arc<User>) {
        self.become_user(user);
        self.set_authenticated(true);
    }

    /// The client is what it was when it connected.
    pub fn log_out(&mut self, acl: &Acl) {
        let user = acl.default_user().clone();
        let rights = user.rights();
        self.become_user(user);
        self.set_authenticated(rights.needs_no_password() && rights.is_enabled());
    }

    /// The client's user has been deleted, by the client itself: it is nobody for the rest of its
    /// command.
    pub fn forget_user(&mut self, acl: &Acl) {
        self.become_user(acl.default_user().clone());
        self.set_authenticated(false);
    }

    fn become_user(&mut self, user: Arc<User>) {
        self.client.set_user(&user);
        self.rights = user.rights();
        self.unrestricted = self.rights.is_unrestricted();
        self.user = user;
        // Whatever has happened to the user since it was found shows before the next command.
        self.rights_of = 0;
    }

    /// Whether what it waits for has come, or is not to be waited for any longer.
    pub fn is_wait_over(&self) -> bool {
        self.waiter.as_ref().is_none_or(|waiter| waiter.is_over())
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
