//! One connected client, as others see it: what `CLIENT LIST` shows, and what `CLIENT KILL`
//! reaches.
//!
//! The session that serves the client owns everything else; it keeps these fields up to date with
//! plain atomic stores, once a batch.

use std::fs::File;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use std::sync::{Arc, Mutex, PoisonError};

use super::acl::{DEFAULT_USER, User};
use super::blocking::Waiter;
use super::config::value::OutputClass;
use super::eviction::Counted;
use super::outbox::Outbox;
use super::pubsub::Subscriptions;
use crate::util::clock::now_ms;

/// A connected socket, TCP or unix alike: all that is ever done with it is to read and write
/// bytes, for which std's `File` serves both. Socket calls go through `sys`.
pub type Socket = Arc<File>;

/// Where a client comes from.
#[derive(Clone, Debug)]
pub struct Address {
    /// The peer, as `CLIENT LIST` shows it: `ip:port`, or the socket's path and `:0`.
    pub peer: String,
    /// Our end.
    pub local: String,
    /// Whether it came through the unix socket.
    pub unix: bool,
    /// Whether the peer is on this machine.
    pub loopback: bool,
}

/// Texts that a client sets about itself.
#[derive(Clone, Default)]
pub struct Names {
    /// `CLIENT SETNAME`.
    pub name: Vec<u8>,
    /// `CLIENT SETINFO LIB-NAME`.
    pub lib_name: Vec<u8>,
    /// `CLIENT SETINFO LIB-VER`.
    pub lib_version: Vec<u8>,
}

/// Flags that `CLIENT LIST` shows as letters.
#[derive(Clone, Copy)]
pub struct ClientFlag(u32);

/// Closed once the replies in its buffer are sent (`c`).
pub const CLOSE_AFTER_REPLY: ClientFlag = ClientFlag(1 << 0);
/// To be closed as soon as possible (`A`).
pub const CLOSE_ASAP: ClientFlag = ClientFlag(1 << 1);
/// Connected through the unix socket (`U`).
pub const UNIX_SOCKET: ClientFlag = ClientFlag(1 << 2);
/// Exempt from client eviction (`e`).
pub const NO_EVICT: ClientFlag = ClientFlag(1 << 3);
/// Does not touch the access time of keys (`T`).
pub const NO_TOUCH: ClientFlag = ClientFlag(1 << 4);
/// Waits, in a blocking command or for the end of a pause (`b`).
pub const BLOCKED: ClientFlag = ClientFlag(1 << 5);
/// In a transaction, between MULTI and EXEC (`x`).
pub const MULTI: ClientFlag = ClientFlag(1 << 6);
/// A watched key has changed, and its EXEC will do nothing (`d`).
pub const DIRTY_CAS: ClientFlag = ClientFlag(1 << 7);
/// Gets a line for each command that is carried out (`O`).
pub const MONITOR: ClientFlag = ClientFlag(1 << 8);
/// Has subscribed to something (`P`).
pub const SUBSCRIBED: ClientFlag = ClientFlag(1 << 9);

/// Is told when keys that it has read change (`t`).
pub const TRACKING: ClientFlag = ClientFlag(1 << 10);
/// The client that gets what it is told has gone (`R`).
pub const TRACKING_BROKEN: ClientFlag = ClientFlag(1 << 11);
/// Is told when any key with one of its prefixes changes (`B`).
pub const TRACKING_BCAST: ClientFlag = ClientFlag(1 << 12);
/// Only what it reads behind `CLIENT CACHING YES` counts.
pub const TRACKING_OPTIN: ClientFlag = ClientFlag(1 << 13);
/// What it reads behind `CLIENT CACHING NO` does not count.
pub const TRACKING_OPTOUT: ClientFlag = ClientFlag(1 << 14);
/// Is not told about its own changes.
pub const TRACKING_NOLOOP: ClientFlag = ClientFlag(1 << 15);
/// `CLIENT CACHING` holds for the next command.
pub const CACHING: ClientFlag = ClientFlag(1 << 16);

/// Is a replica of this server (`S`). It is never paused, and must not ask for keys.
pub const REPLICA: ClientFlag = ClientFlag(1 << 18);
/// Is the link to the primary that this server follows (`M`).
pub const MASTER: ClientFlag = ClientFlag(1 << 19);

/// Its peer has closed the connection: it counts as gone although its own thread may not have seen
/// to that yet. Set by [`super::pubsub`] for those subscribed.
pub const DEPARTED: ClientFlag = ClientFlag(1 << 17);

/// Its peer has closed the connection: it no longer counts for `maxmemory-clients`, although its own
/// thread may not have seen to that yet.
pub const HUNG_UP: ClientFlag = ClientFlag(1 << 20);

/// It is no longer among [`super::clients::Clients`].
pub const GONE: ClientFlag = ClientFlag(1 << 21);

/// The letters in the order in which Redis prints them.
const LETTERS: &[(ClientFlag, char)] = &[
    (MONITOR, 'O'),
    (REPLICA, 'S'),
    (MASTER, 'M'),
    (SUBSCRIBED, 'P'),
    (MULTI, 'x'),
    (BLOCKED, 'b'),
    (TRACKING, 't'),
    (TRACKING_BROKEN, 'R'),
    (TRACKING_BCAST, 'B'),
    (DIRTY_CAS, 'd'),
    (CLOSE_AFTER_REPLY, 'c'),
    (CLOSE_ASAP, 'A'),
    (UNIX_SOCKET, 'U'),
    (NO_EVICT, 'e'),
    (NO_TOUCH, 'T'),
];

/// In [`Client::served`], more than any client has ever sent.
pub const NOT_AWAITED: u64 = u64::MAX;

/// One connected client.
pub struct Client {
    /// Its number, never used again.
    pub id: u64,
    /// The connection; shutting it down ends the session that serves it.
    pub socket: Socket,
    /// Where it comes from.
    pub address: Address,
    /// Replies that the socket did not take at once, and pushes.
    pub outbox: Outbox,
    /// When it connected, unix milliseconds.
    pub created: i64,
    /// When it last sent something.
    pub last_interaction: AtomicI64,
    /// Its current database.
    pub db: AtomicU32,
    /// 2 or 3.
    pub resp: AtomicU8,
    /// Row of the last command in the command table, plus one.
    pub last_command: AtomicU32,
    /// Bytes that have come and belong to no complete argument yet: before a batch of commands, all
    /// of it.
    pub query_used: AtomicUsize,
    /// Bytes of all buffers for its input, and of what it has announced: in one number, so that nobody
    /// adds up what belongs to two moments.
    pub query_room: AtomicUsize,
    /// Of these, the bytes of an argument that it has announced and that have no buffer yet.
    pub announced: AtomicUsize,
    /// Bytes of the arguments that are complete of a command that is not.
    pub argv: AtomicUsize,
    /// Bytes of its input that have been dealt with as far as that goes, their replies sent and what
    /// they take counted; [`NOT_AWAITED`] while nobody is to wait for that. See [`super::arrivals`].
    pub served: AtomicU64,
    /// Capacity of the reply buffer.
    pub reply_room: AtomicUsize,
    /// The most bytes it has held lately.
    pub reply_peak: AtomicUsize,
    /// Commands queued in a transaction; -1 outside of one.
    pub multi: AtomicI64,
    /// Bytes of these commands, as Redis shows them.
    pub multi_memory: AtomicUsize,
    /// Bytes that they take, what is kept with them included.
    pub queue_memory: AtomicUsize,
    /// Bytes that its watched keys take.
    pub watch_memory: AtomicUsize,
    /// Bytes that the prefixes take under which it is told about keys.
    pub prefix_memory: AtomicUsize,
    /// Bytes of the connection that serves it, without its buffers.
    pub session_memory: AtomicUsize,
    /// Whether it has authenticated.
    pub authenticated: AtomicBool,
    /// What it has subscribed to.
    pub subscriptions: Subscriptions,
    /// The client that gets what this one is told about keys it tracks; 0 for itself.
    pub redirect: AtomicU64,
    /// For a replica, bytes of the stream that it has not been sent, as of a moment ago.
    pub replica_output: AtomicUsize,
    /// What it counts for in the memory of all clients.
    counted: AtomicUsize,
    /// Once it has been evicted, what is freed when the last one lets go of it.
    leaving: Mutex<Option<Counted>>,
    flags: AtomicU32,
    names: Mutex<Names>,
    /// Who it is logged in as; nobody for a moment before its session begins.
    user: Mutex<Option<Arc<User>>>,
    /// What it waits for in a blocking command, until the reply has been sent.
    blocked: Mutex<Option<Arc<Waiter>>>,
}

impl Client {
    /// A client that has just connected.
    pub fn new(id: u64, socket: Socket, address: Address) -> Client {
        let now = now_ms();
        let flags = if address.unix { UNIX_SOCKET.0 } else { 0 };
        Client {
            id,
            outbox: Outbox::new(socket.clone()),
            socket,
            address,
            created: now,
            last_interaction: AtomicI64::new(now),
            db: AtomicU32::new(0),
            resp: AtomicU8::new(2),
            last_command: AtomicU32::new(0),
            query_used: AtomicUsize::new(0),
            query_room: AtomicUsize::new(0),
            announced: AtomicUsize::new(0),
            argv: AtomicUsize::new(0),
            served: AtomicU64::new(0),
            reply_room: AtomicUsize::new(0),
            reply_peak: AtomicUsize::new(0),
            multi: AtomicI64::new(-1),
            multi_memory: AtomicUsize::new(0),
            queue_memory: AtomicUsize::new(0),
            watch_memory: AtomicUsize::new(0),
            prefix_memory: AtomicUsize::new(0),
            session_memory: AtomicUsize::new(0),
            authenticated: AtomicBool::new(false),
            subscriptions: Subscriptions::default(),
            redirect: AtomicU64::new(0),
            replica_output: AtomicUsize::new(0),
            counted: AtomicUsize::new(0),
            leaving: Mutex::default(),
            flags: AtomicU32::new(flags),
            names: Mutex::default(),
            user: Mutex::default(),
            blocked: Mutex::default(),
        }
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: ClientFlag) -> bool {
        self.flags.load(Ordering::Relaxed) & flag.0 != 0
    }

    /// Whether any of these flags is set.
    #[inline]
    pub fn has_any(&self, flags: &[ClientFlag]) -> bool {
        let mask = flags.iter().fold(0, |mask, flag| mask | flag.0);
        self.flags.load(Ordering::Relaxed) & mask != 0
    }

    /// Sets or clears a flag.
    pub fn set(&self, flag: ClientFlag, on: bool) {
        if on {
            self.flags.fetch_or(flag.0, Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!flag.0, Ordering::Relaxed);
        }
    }

    /// Which limits hold for its output.
    pub fn output_class(&self) -> OutputClass {
        if self.has(REPLICA) {
            OutputClass::Replica
        } else if self.has(SUBSCRIBED) && !self.has(MASTER) {
            OutputClass::Pubsub
        } else {
            OutputClass::Normal
        }
    }

    /// The flags as `CLIENT LIST` prints them.
    pub fn letters(&self) -> String {
        let letters: String = LETTERS
            .iter()
            .filter(|(flag, _)| self.has(*flag))
            .map(|(_, letter)| *letter)
            .collect();
        if letters.is_empty() {
            "N".into()
        } else {
            letters
        }
    }

    /// What it calls itself.
    pub fn names(&self) -> Names {
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes what it calls itself.
    pub fn rename(&self, change: impl FnOnce(&mut Names)) {
        change(&mut self.names.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Who it is logged in as.
    pub fn user(&self) -> Option<Arc<User>> {
        let user = self.user.lock().unwrap_or_else(PoisonError::into_inner);
        user.clone()
    }

    /// The name of that user.
    pub fn user_name(&self) -> Vec<u8> {
        let user = self.user();
        user.map_or(DEFAULT_USER.to_vec(), |user| user.name().to_vec())
    }

    /// Whether it is logged in as this user.
    pub fn is_user(&self, user: &Arc<User>) -> bool {
        let own = self.user.lock().unwrap_or_else(PoisonError::into_inner);
        own.as_ref().is_some_and(|own| Arc::ptr_eq(own, user))
    }

    /// Notes who it is logged in as.
    pub fn set_user(&self, user: &Arc<User>) {
        *self.user.lock().unwrap_or_else(PoisonError::into_inner) = Some(user.clone());
    }

    /// Notes that the client is blocked. Returns `false` when it is to be closed instead.
    pub fn block(&self, waiter: &Arc<Waiter>) -> bool {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has(CLOSE_ASAP) {
            return false;
        }
        self.set(BLOCKED, true);
        *blocked = Some(waiter.clone());
        true
    }

    /// What the client waits for. Whoever has seen it counted as blocked finds it here.
    pub fn waiter(&self) -> Option<Arc<Waiter>> {
        let blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        blocked.clone()
    }

    /// Notes that the client is no longer blocked, and has been sent what it was owed.
    pub fn unblock(&self) {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(BLOCKED, false);
        *blocked = None;
    }

    /// Closes the connection from outside of its session. A client that has just been served out of
    /// a blocking command still gets its reply, for what is in it is no longer anywhere else; its
    /// session closes the connection behind the reply.
    pub fn kill(&self) {
        let blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(CLOSE_ASAP, true);
        if blocked.as_ref().is_some_and(|waiter| waiter.kill()) {
            return;
        }
        drop(blocked);
        self.outbox.close();
        // The session may be reading or writing; both end now.
        let _ = crate::sys::shutdown(&self.socket);
    }

    /// Milliseconds since it last sent something.
    pub fn idle_ms(&self, now: i64) -> i64 {
        (now - self.last_interaction.load(Ordering::Relaxed)).max(0)
    }

    /// Bytes that wait to be sent to it, with what they take besides.
    pub fn output_memory(&self) -> usize {
        self.outbox.memory() + self.replica_output.load(Ordering::Relaxed)
    }

    /// Bytes of memory it takes, as of when all clients were last counted.
    pub fn counted(&self) -> usize {
        self.counted.load(Ordering::Relaxed)
    }

    /// It is evicted: what it takes counts as being freed until it is.
    pub fn leave(&self, mut freeing: Counted) {
        freeing.set(self.counted());
        *self.leaving.lock().unwrap_or_else(PoisonError::into_inner) = Some(freeing);
    }

    /// Notes how many it takes. Returns how many it has taken until now.
    pub(super) fn count(&self, bytes: usize) -> usize {
        self.counted.swap(bytes, Ordering::Relaxed)
    }

    /// Room for input besides what there is of it.
    pub fn query_free(&self) -> usize {
        let used = self.query_used.load(Ordering::Relaxed) + self.argv.load(Ordering::Relaxed);
        self.query_room.load(Ordering::Relaxed).saturating_sub(used)
    }

    /// Bytes of the buffers for its input.
    pub fn input_memory(&self) -> usize {
        let announced = self.announced.load(Ordering::Relaxed);
        let room = self.query_room.load(Ordering::Relaxed);
        room.saturating_sub(announced)
    }

    /// Bytes of memory the client takes, its buffers included.
    pub fn memory(&self) -> usize {
        self.memory_besides_input() + self.input_memory()
    }

    /// As many bytes it counts for in `maxmemory-clients`: those that it takes, and those of an
    /// argument that it is about to send, for which Redis makes room at once.
    pub fn claim(&self) -> usize {
        self.memory_besides_input() + self.query_room.load(Ordering::Relaxed)
    }

    fn memory_besides_input(&self) -> usize {
        let counts = [
            &self.session_memory,
            &self.queue_memory,
            &self.watch_memory,
            &self.prefix_memory,
            &self.reply_room,
        ];
        size_of::<Client>()
            + counts
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .sum::<usize>()
            + self.subscriptions.memory()
            + self.output_memory()
    }
}
