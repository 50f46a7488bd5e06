//! Eviction: keys go when more memory is in use than `maxmemory` allows.
//!
//! Whoever is about to carry out a command of a client makes room first, while it holds no lock yet:
//! keys are looked at under a shared lock of one shard at a time, and each goes under an exclusive
//! one of its own. Several threads may be at it at once; each looks at the memory in use after every
//! key. When that takes longer than `maxmemory-eviction-tenacity` allows, the command is carried out
//! all the same, and a thread goes on. Where nothing is left to evict, commands that may take memory
//! are refused. <https://redis.io/docs/latest/develop/reference/eviction/>
//!
//! What has to go, how, and to whom it matters is as with any other deletion: the log and replicas
//! get a `DEL`, or an `UNLINK` with `lazyfree-lazy-eviction`, there is the event `evicted`, and who
//! watches or tracks the key is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Keyspace;
use super::client_eviction;
use super::dispatch::Place;
use super::notify::Class;
use super::session::Session;
use crate::log_warning;
use crate::server::Server;
use crate::server::config::{id, table};
use crate::server::eviction::{Best, Candidate, Choice, excess};
use crate::server::mail::{EVICTOR, Mail};
use crate::server::stats::Tally;
use crate::server::threads;
use crate::store::entry::Entry;
use crate::store::{Locks, SHARDS, shard_of};
use crate::util::clock::now_ms;
use crate::util::random::with_thread_rng;

/// Keys evicted from one look at the clock to the next.
const BETWEEN_LOOKS: u32 = 16;
/// Samples without a key that could be evicted, because others were quicker, after which a command
/// waits no longer.
const ATTEMPTS: usize = 16;
/// Eviction may take this long on a thread that serves others as well …
const BRIEF: Duration = Duration::from_millis(1);
/// … which it does not exceed while there is no more than this to free.
const LITTLE: u64 = 1 << 20;

/// What there is room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// Everything: the limit is kept, or it is not for this server to keep it now.
    Enough,
    /// Everything, although the limit is exceeded: eviction goes on.
    InTime,
    /// Nothing more: no key is left that may go.
    Nothing,
}

/// Makes room before a command of a client. The caller holds no lock.
#[cold]
pub(super) fn before_command(server: &Arc<Server>, session: &mut Session) -> Room {
    if client_eviction::is_on(server) {
        // Before any key has to go.
        client_eviction::changed_before_keys_go(server, &session.client);
    }
    let mut by = By {
        server,
        mail: std::mem::take(&mut session.mail),
        tally: &mut session.tally,
        now: session.clock.ms(),
    };
    let room = by.make_room();
    session.mail = by.mail;
    room
}

/// Whether to make room, which is likely to be necessary, may take longer than a thread may that
/// serves others as well.
#[cold]
pub(super) fn takes_long(server: &Server, place: Place) -> bool {
    place == Place::Shared && {
        let evicts = Choice::of(server.config.int(id::MAXMEMORY_POLICY)).is_some();
        evicts && time_limit(server) > BRIEF && is_due(server) && excess(server) > LITTLE
    }
}

/// The limit has changed.
pub(super) fn limit_changed(server: &Arc<Server>) {
    let over = excess(server);
    let limit = server.config.memory(id::MAXMEMORY);
    if over == 0 {
        server.eviction.note_exceeded(server, false);
    } else {
        log_warning!(
            "The new maxmemory of {limit} bytes is less than the {} in use: as maxmemory-policy has it, keys will be \
             evicted, or commands refused that may take memory.",
            limit + over
        );
        go_on(server);
    }
}

/// What is due now and then: others than clients may have taken memory.
pub fn tick(server: &Arc<Server>) {
    if server.config.memory(id::MAXMEMORY) == 0 {
        return;
    }
    // What a replica that evicts by itself is sent, no client has carried out.
    if excess(server) > 0
        && server.replication.is_replica()
        && is_due(server)
        && server.config.int(id::MAXMEMORY_POLICY) != table::POLICY_NOEVICTION
    {
        go_on(server);
    }
}

/// Whether it is for this server, and at this time, to keep the limit.
fn is_due(server: &Server) -> bool {
    // How much a replica holds is for its primary to decide.
    let ignored =
        server.replication.is_replica() && server.config.bool(id::REPLICA_IGNORE_MAXMEMORY);
    !ignored
        && !server.loading.is_active()
        && !server.sealed.load(Ordering::Relaxed)
        // While clients are paused nothing is to change by itself either.
        && server.pause.mode().is_none()
}

/// How long one eviction may go on: up to half a millisecond in equal steps, then by a factor each.
fn time_limit(server: &Server) -> Duration {
    match server.config.int(id::MAXMEMORY_EVICTION_TENACITY) {
        tenacity @ ..=10 => Duration::from_micros(50) * tenacity.max(0) as u32,
        tenacity @ 11..=99 => {
            Duration::from_micros(500).mul_f64(1.15_f64.powi(tenacity as i32 - 10))
        }
        _ => Duration::MAX,
    }
}

/// Has a thread go on evicting until the limit is kept or nothing is left, if none does so already.
fn go_on(server: &Arc<Server>) {
    struct Running(Arc<Server>);
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.eviction.running.store(false, Ordering::Relaxed);
        }
    }
    if server.eviction.running.swap(true, Ordering::Relaxed) {
        return;
    }
    let running = Running(server.clone());
    let body = move || {
        let server = &running.0;
        let mut mail = Mail::new(EVICTOR);
        let mut tally = Tally::default();
        loop {
            server.testing.stand_still();
            let mut by = By {
                server,
                mail: std::mem::take(&mut mail),
                tally: &mut tally,
                now: now_ms(),
            };
            let room = by.make_room();
            mail = std::mem::take(&mut by.mail);
            server.stats.pour(&mut tally);
            mail.deliver(server);
            if room != Room::InTime || server.is_stopping() {
                return;
            }
            // Clients go first.
            std::thread::yield_now();
        }
    };
    // Where there is no thread to be had, or it is lost, commands are all that evicts.
    let _ = threads::expendable("eviction", 256 << 10, body, || ());
}

/// Whoever evicts.
struct By<'a> {
    server: &'a Arc<Server>,
    mail: Mail,
    tally: &'a mut Tally,
    now: i64,
}

impl By<'_> {
    fn make_room(&mut self) -> Room {
        let server = self.server;
        if !is_due(server) {
            return Room::Enough;
        }
        let room = match excess(server) {
            0 => Room::Enough,
            _ => match Choice::of(server.config.int(id::MAXMEMORY_POLICY)) {
                Some(choice) => self.evict_enough(choice),
                None => Room::Nothing,
            },
        };
        server.eviction.note_exceeded(server, room != Room::Enough);
        room
    }

    /// Evicts keys until the limit is kept.
    fn evict_enough(&mut self, choice: Choice) -> Room {
        let server = self.server;
        let (start, most) = (Instant::now(), time_limit(server));
        let mut evicted = 0u32;
        let room = loop {
            let gone = match choice.at_random {
                true => self.evict_some(choice),
                false => self.evict_best(choice),
            };
            if !gone {
                break self.wait_for_memory(start, most);
            }
            evicted += 1;
            if excess(server) == 0 {
                break Room::Enough;
            }
            if evicted.is_multiple_of(BETWEEN_LOOKS) && start.elapsed() > most {
                go_on(server);
                break Room::InTime;
            }
        };
        let took = start.elapsed();
        server.latency.note(&server.config, "eviction-cycle", took);
        room
    }

    /// There is no key left to evict. But memory may be about to be freed in the background.
    #[cold]
    fn wait_for_memory(&mut self, start: Instant, most: Duration) -> Room {
        let server = self.server;
        let begun = Instant::now();
        // Where it is too far away, there is none.
        let deadline = start.checked_add(most);
        let room = match server.lazyfree.wait(deadline, || excess(server) == 0) {
            true => Room::Enough,
            false => Room::Nothing,
        };
        let took = begun.elapsed();
        server
            .latency
            .note(&server.config, "eviction-lazyfree", took);
        room
    }

    /// Evicts the key that is best given up. Returns `false` when there is none at all.
    fn evict_best(&mut self, choice: Choice) -> bool {
        let server = self.server;
        let (access, now) = (server.access_policy(), self.now);
        let samples = server.config.int(id::MAXMEMORY_SAMPLES) as usize;
        for _ in 0..ATTEMPTS {
            let mut met = Best::default();
            let store = &server.store;
            let any = with_thread_rng(|rng| {
                store.sample(rng, samples, choice.pick, |db, hash, entry| {
                    let score = choice.score(entry, access, now);
                    met.add(Candidate { score, db, hash });
                })
            });
            if !any {
                return false;
            }
            let mut best = server.eviction.exchange(choice, met.all());
            while let Some(candidate) = best {
                let shard = shard_of(candidate.hash);
                // One that has been used since is no longer what it was.
                let still = |entry: &Entry| {
                    choice.pick.fits(entry) && choice.score(entry, access, now) >= candidate.score
                };
                if self.locked(shard, |db, _| evict(db, &candidate, still)) {
                    return true;
                }
                best = server.eviction.exchange(choice, &[]);
            }
        }
        // Others evict as well.
        true
    }

    /// Evicts a key at random. Returns `false` when there is none.
    fn evict_some(&mut self, choice: Choice) -> bool {
        let server = self.server;
        let first = server.eviction.next_database();
        let from = with_thread_rng(|rng| rng.index(SHARDS));
        for shard in server.store.shards_with(from, choice.pick) {
            let gone = self.locked(shard, |db, shard| {
                let part = db.locks.shard(shard);
                let found = with_thread_rng(|rng| part.pick(rng, first, choice.pick));
                found.is_some_and(|(number, hash)| {
                    let candidate = Candidate {
                        score: 0,
                        db: number,
                        hash,
                    };
                    evict(db, &candidate, |_| true)
                })
            });
            if gone {
                return true;
            }
        }
        false
    }

    /// Runs with a shard locked, unless it is no longer for this server to evict anything.
    fn locked(&mut self, shard: usize, run: impl FnOnce(&mut Keyspace<'_>, usize) -> bool) -> bool {
        let server = self.server;
        let mut db = Keyspace::new(server, 0, self.now);
        db.mail = std::mem::take(&mut self.mail);
        db.hold(Locks::one(&server.store, shard, true));
        let gone = is_due(server) && run(&mut db, shard);
        if db.aside.has_ready() {
            super::blocking::serve_ready(&mut db);
        }
        db.release();
        db.settle(self.tally);
        self.tally.totals.evicted += u64::from(gone);
        self.mail = std::mem::take(&mut db.mail);
        gone
    }
}

/// Evicts a key whose shard is held, if it is there and as the caller wants it.
fn evict(db: &mut Keyspace<'_>, candidate: &Candidate, fits: impl Fn(&Entry) -> bool) -> bool {
    let (server, hash) = (db.server, candidate.hash);
    db.number = candidate.db;
    let watched = server.config.int(id::LATENCY_MONITOR_THRESHOLD) > 0;
    let start = watched.then(Instant::now);
    let part = db.locks.shard_mut(shard_of(hash)).db_mut(candidate.db);
    let Some(Entry { key, value }) = part.remove_if(hash, fits) else {
        return false;
    };
    let key = key.bytes();
    db.know_hash(key, hash);
    db.departed(key, &value);
    let lazy = server.config.bool(id::LAZYFREE_LAZY_EVICTION);
    let freeing = server.eviction.freeing();
    server.lazyfree.free_evicted(value, lazy, freeing);
    if let Some(start) = start {
        let took = start.elapsed();
        server.latency.note(&server.config, "eviction-del", took);
    }
    let watching = &server.watching;
    if watching.any(shard_of(hash)) {
        watching.touch(candidate.db, hash, key);
    }
    if server.tracking.is_used() {
        server.tracking.evicted(server, &mut db.mail, hash, key);
    }
    db.notify(Class::Evicted, "evicted", key);
    db.log_deletion(key, lazy);
    db.forget_hash();
    true
}
