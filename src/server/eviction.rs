//! `maxmemory`: whether too much memory is in use, and which keys are best given up for it.
//!
//! Every command asks, before it runs, whether it has to look ([`crate::sys::at_memory_mark`], two
//! loads from a cache line of its thread's own). Only near the limit the answer is yes; what is done
//! then is in `command::eviction`.
//!
//! As in Redis, some memory is not counted, because eviction fills it: what replicas have not been
//! sent, and what waits to be written to the append only file. Nor is what has been evicted and is
//! still to be freed in the background, so that no more is evicted than has to be.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Server;
use super::config::{id, table};
use crate::store::access::{Policy, idle_seconds};
use crate::store::entry::Entry;
use crate::store::sampling::Pick;
use crate::sys;

/// Candidates kept from one eviction to the next.
const POOL: usize = 16;

/// What Redis reckons that the blocks of the backlog take besides what is in them, for each.
const BLOCK_HEAD: u64 = 64;
/// The size of such a block.
const BLOCK: u64 = 16 << 10;

/// The state of eviction.
#[derive(Default)]
pub struct Eviction {
    pool: Mutex<Pool>,
    /// Bytes of evicted values that are still to be freed in the background.
    freeing: Arc<AtomicUsize>,
    /// Bytes that are being sent to replicas and are no longer in the stream's own buffers.
    sending: Arc<AtomicUsize>,
    /// The database from which a key is evicted next where it is picked at random.
    next: AtomicUsize,
    /// Whether a thread goes on evicting where commands have not had the time to.
    pub running: AtomicBool,
    /// Since when the limit has been exceeded, in microseconds since the start, plus one; 0 when it
    /// is not.
    since: AtomicU64,
    /// For how many microseconds it was exceeded before.
    total: AtomicU64,
}

/// A key that may be given up.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The more, the sooner it goes.
    pub score: u64,
    /// Its database.
    pub db: usize,
    /// The hash of its name.
    pub hash: u64,
}

/// The best candidates met so far. A sample is small; over many of them the best keys gather here.
#[derive(Default)]
struct Pool {
    /// The best one last.
    candidates: Vec<Candidate>,
    /// The policy under which they have got their scores.
    policy: i64,
}

impl Pool {
    fn add(&mut self, candidate: Candidate) {
        let same = |other: &Candidate| (other.db, other.hash) == (candidate.db, candidate.hash);
        if let Some(at) = self.candidates.iter().position(same) {
            self.candidates.remove(at);
        }
        let worse = |other: &Candidate| other.score < candidate.score;
        let at = self.candidates.partition_point(worse);
        if self.candidates.len() < POOL {
            self.candidates.insert(at, candidate);
        } else if at > 0 {
            self.candidates[..at].rotate_left(1);
            self.candidates[at - 1] = candidate;
        }
    }
}

/// The best candidates of one sample, of which there may be any number.
#[derive(Default)]
pub struct Best {
    candidates: [Candidate; POOL],
    len: usize,
}

impl Best {
    /// Adds a candidate, in the place of a worse one if there are enough.
    pub fn add(&mut self, candidate: Candidate) {
        if self.len < POOL {
            self.candidates[self.len] = candidate;
            self.len += 1;
            return;
        }
        let worst = self.candidates.iter_mut().min_by_key(|other| other.score);
        if let Some(worst) = worst.filter(|worst| worst.score < candidate.score) {
            *worst = candidate;
        }
    }

    /// All of them.
    pub fn all(&self) -> &[Candidate] {
        &self.candidates[..self.len]
    }
}

/// Some of the bytes that are counted together, until it is dropped.
pub struct Counted {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Counted {
    /// None yet.
    pub fn new(all: &Arc<AtomicUsize>) -> Counted {
        Counted {
            bytes: 0,
            all: all.clone(),
        }
    }

    /// So many from now on.
    pub fn set(&mut self, bytes: usize) {
        let more = bytes.wrapping_sub(self.bytes);
        if more != 0 {
            self.all.fetch_add(more, Ordering::Relaxed);
            self.bytes = bytes;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// How keys are chosen, as `maxmemory-policy` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    policy: i64,
    /// From which keys.
    pub pick: Pick,
    /// Whether the first one met will do.
    pub at_random: bool,
}

impl Choice {
    /// The choice of a policy; `None` where nothing is evicted.
    pub fn of(policy: i64) -> Option<Choice> {
        let pick = match policy {
            table::POLICY_NOEVICTION => return None,
            _ if policy & table::POLICY_ALLKEYS != 0 => Pick::Any,
            _ if policy & table::POLICY_TTL != 0 => Pick::Soonest,
            _ => Pick::Volatile,
        };
        Some(Choice {
            policy,
            pick,
            at_random: policy & table::POLICY_RANDOM != 0,
        })
    }

    /// How well a key serves as a candidate: how long it has not been used, how rarely it is used,
    /// or how soon it goes by itself.
    pub fn score(self, entry: &Entry, access: Policy, now: i64) -> u64 {
        if self.policy & table::POLICY_LRU != 0 {
            idle_seconds(entry.key.access(), now) as u64
        } else if self.policy & table::POLICY_LFU != 0 {
            u64::from(255 - access.decayed(entry.key.access(), now))
        } else {
            // Deadlines may be negative.
            let deadline = entry.key.deadline().unwrap_or(i64::MAX);
            i64::MAX.abs_diff(deadline)
        }
    }
}

impl Eviction {
    /// Adds candidates to the best ones and takes the best of all.
    pub fn exchange(&self, choice: Choice, candidates: &[Candidate]) -> Option<Candidate> {
        let mut pool = self.pool();
        if pool.policy != choice.policy {
            pool.candidates.clear();
            pool.policy = choice.policy;
        }
        candidates.iter().for_each(|&candidate| pool.add(candidate));
        pool.candidates.pop()
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database in which a key is looked for first.
    pub fn next_database(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// What counts the bytes of evicted values that are still to be freed.
    pub fn freeing(&self) -> &Arc<AtomicUsize> {
        &self.freeing
    }

    /// What counts the bytes that are being sent to replicas.
    pub fn sending(&self) -> &Arc<AtomicUsize> {
        &self.sending
    }

    /// The limit has been found exceeded, and not much could be done about it, or it has been found
    /// kept.
    pub fn note_exceeded(&self, server: &Server, exceeded: bool) {
        let before = self.since.load(Ordering::Relaxed);
        if exceeded == (before != 0) {
            return;
        }
        let now = micros(server) + 1;
        let after = if exceeded { now } else { 0 };
        // Whoever changes it does the sum.
        let changed =
            self.since
                .compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed);
        if changed.is_ok() && !exceeded {
            self.total
                .fetch_add(now.saturating_sub(before), Ordering::Relaxed);
        }
    }

    /// For how many microseconds the limit has been exceeded: altogether, and since it last was kept.
    pub fn exceeded(&self, server: &Server) -> (u64, u64) {
        let current = match self.since.load(Ordering::Relaxed) {
            0 => 0,
            since => (micros(server) + 1).saturating_sub(since),
        };
        (self.total.load(Ordering::Relaxed) + current, current)
    }

    /// `CONFIG RESETSTAT`.
    pub fn reset(&self) {
        self.since.store(0, Ordering::Relaxed);
        self.total.store(0, Ordering::Relaxed);
    }
}

fn micros(server: &Server) -> u64 {
    // What does not fit is longer than the process lives.
    u64::try_from((Instant::now() - server.started_at).as_micros()).unwrap_or(u64::MAX)
}

/// Memory that eviction leaves aside, because it would only make more of it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Uncounted {
    /// What replicas have not been sent, as far as it is more than the backlog is to hold.
    pub replicas: u64,
    /// What waits to be written to the append only file.
    pub file: u64,
}

impl Uncounted {
    /// As it is now.
    pub fn of(server: &Server) -> Uncounted {
        if !server.log.is_on() {
            return Uncounted::default();
        }
        let (stream, file) = server.log.buffers();
        let limit = server.config.memory(id::REPL_BACKLOG_SIZE);
        let counted = limit.saturating_add((limit / BLOCK + 1) * BLOCK_HEAD);
        Uncounted {
            replicas: (stream as u64).saturating_sub(counted)
                + server.eviction.sending.load(Ordering::Relaxed) as u64,
            file: (file + server.aof.held()) as u64,
        }
    }

    /// All of it.
    pub fn all(self) -> u64 {
        self.replicas + self.file
    }
}

/// By how many bytes too much memory is in use. Sees to it that threads look again when that may have
/// changed.
pub fn excess(server: &Server) -> u64 {
    let limit = server.config.memory(id::MAXMEMORY);
    if limit == 0 {
        sys::mark_memory(None);
        return 0;
    }
    let limit = match sys::used_memory() as u64 <= limit {
        true => limit,
        false => {
            let freeing = server.eviction.freeing.load(Ordering::Relaxed) as u64;
            limit.saturating_add(Uncounted::of(server).all() + freeing)
        }
    };
    (sys::mark_memory(usize::try_from(limit).ok()) as u64).saturating_sub(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(score: u64) -> Candidate {
        Candidate {
            score,
            db: 0,
            hash: score,
        }
    }

    #[test]
    fn the_pool_keeps_the_best() {
        let eviction = Eviction::default();
        let choice = Choice::of(table::POLICY_LRU | table::POLICY_ALLKEYS).unwrap();
        // Each number below 97 comes once.
        let all: Vec<Candidate> = (0..97).map(|i| candidate(i * 31 % 97)).collect();
        let best = eviction.exchange(choice, &all);
        assert_eq!(best.map(|best| best.score), Some(96));
        for score in (97 - POOL as u64..96).rev() {
            let best = eviction.exchange(choice, &[]);
            assert_eq!(best.map(|best| best.score), Some(score));
        }
        assert_eq!(eviction.exchange(choice, &[]), None);
    }

    #[test]
    fn the_pool_knows_each_key_once_and_one_policy() {
        let eviction = Eviction::default();
        let choice = Choice::of(table::POLICY_LRU | table::POLICY_ALLKEYS).unwrap();
        let (mut old, new) = (candidate(7), candidate(9));
        old.hash = new.hash;
        assert_eq!(eviction.exchange(choice, &[old, new]), Some(new));
        assert_eq!(eviction.exchange(choice, &[]), None);
        assert_eq!(eviction.exchange(choice, &[candidate(3), new]), Some(new));
        let other = Choice::of(table::POLICY_LFU).unwrap();
        assert_eq!(eviction.exchange(other, &[]), None);
    }

    #[test]
    fn the_best_of_a_large_sample_are_kept() {
        let mut best = Best::default();
        (0..97).for_each(|i| best.add(candidate(i * 31 % 97)));
        let mut scores: Vec<u64> = best.all().iter().map(|best| best.score).collect();
        scores.sort_unstable();
        assert!(scores.into_iter().eq(97 - POOL as u64..97));
    }

    #[test]
    fn policies() {
        assert_eq!(Choice::of(table::POLICY_NOEVICTION), None);
        for &(name, policy) in table::MAXMEMORY_POLICIES {
            let Some(choice) = Choice::of(policy) else {
                assert_eq!(name, "noeviction");
                continue;
            };
            assert_eq!(choice.pick == Pick::Any, name.starts_with("allkeys"));
            assert_eq!(choice.pick == Pick::Soonest, name.ends_with("ttl"));
            assert_eq!(choice.at_random, name.ends_with("random"));
        }
    }
}
