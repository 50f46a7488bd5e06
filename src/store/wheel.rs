//! The expiry wheel: tells which keys of a db may be due, at a few bytes a key.
//!
//! A hierarchical timing wheel of seven levels with 64 slots each; a slot of the lowest level
//! covers [`TICK`] milliseconds, a slot of each level above 64 times as much. A slot lists key
//! *hashes*. An item is only a hint: the deadline itself stands in the key, so a key that was
//! persisted, deleted or given another deadline just leaves a stale item behind, which is dropped
//! (or moved) when its slot comes up. Whoever owns the wheel looks each item up and deletes the
//! key, or inserts it again under its deadline, or forgets it; moving items to finer levels is the
//! same operation.

use crate::util::random::Rng;

/// Milliseconds of a slot of the lowest level.
pub const TICK: i64 = 16;
const LEVELS: usize = 7;
const SLOTS: usize = 64;
const SLOT_BITS: u32 = 6;
/// Ticks the whole wheel spans; deadlines beyond it come up early and are inserted again.
const SPAN: i64 = 1 << (LEVELS as u32 * SLOT_BITS);

#[derive(Default)]
struct Level {
    /// One bit for each slot that is not empty.
    occupied: u64,
    slots: Option<Box<[Vec<u64>; SLOTS]>>,
}

/// Hashes of keys by deadline, be it the key's own or that of a field of its hash.
pub struct Wheel {
    /// Everything up to this tick has been taken.
    current: i64,
    items: usize,
    levels: [Level; LEVELS],
    /// Items of slots that have come up and have not been handed out yet.
    pending: Vec<u64>,
}

impl Wheel {
    /// An empty wheel that starts at `now` (unix milliseconds).
    pub fn new(now: i64) -> Wheel {
        Wheel {
            current: now.max(0) / TICK,
            items: 0,
            levels: Default::default(),
            pending: Vec::new(),
        }
    }

    /// The time up to which everything has been taken, unix milliseconds.
    pub fn now(&self) -> i64 {
        self.current * TICK
    }

    /// Number of items, stale ones included.
    pub fn len(&self) -> usize {
        self.items
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Adds the hash of a key with this deadline (unix milliseconds); one that has passed is due
    /// at the next tick.
    pub fn insert(&mut self, hash: u64, deadline: i64) {
        // Rounded up: when its slot comes up, the key has expired.
        let tick = deadline.max(0).saturating_add(TICK - 1) / TICK;
        let tick = tick
            .max(self.current + 1)
            .min((self.current | (SPAN - 1)).max(self.current + 1));
        let differing = 63 - (tick ^ self.current).leading_zeros();
        let level = ((differing / SLOT_BITS) as usize).min(LEVELS - 1);
        let slot = (tick >> (level as u32 * SLOT_BITS)) as usize % SLOTS;
        let level = &mut self.levels[level];
        let slots = level
            .slots
            .get_or_insert_with(|| Box::new(std::array::from_fn(|_| Vec::new())));
        slots[slot].push(hash);
        level.occupied |= 1 << slot;
        self.items += 1;
    }

    /// Takes an item back that was handed out and is not dealt with yet: it is handed out again by
    /// the next [`Wheel::take_due`].
    pub fn put_back(&mut self, hash: u64) {
        self.pending.push(hash);
        self.items += 1;
    }

    /// When the next slot comes up, in unix milliseconds.
    pub fn next_due(&self) -> Option<i64> {
        if !self.pending.is_empty() {
            return Some(self.current * TICK);
        }
        self.next_slot().map(|(_, _, tick)| tick * TICK)
    }

    /// Moves at most `most` items whose slot has come up by `now` to the end of `out`. Returns
    /// whether there were any.
    pub fn take_due(&mut self, now: i64, most: usize, out: &mut Vec<u64>) -> bool {
        if self.pending.is_empty() {
            let Some((level, slot, tick)) = self.next_slot() else {
                return false;
            };
            if tick * TICK > now {
                return false;
            }
            self.current = tick;
            let level = &mut self.levels[level];
            level.occupied &= !(1 << slot);
            if let Some(slots) = &mut level.slots {
                self.pending = std::mem::take(&mut slots[slot]);
            }
        }
        let rest = self.pending.len().saturating_sub(most);
        self.items -= self.pending.len() - rest;
        out.extend(self.pending.drain(rest..));
        if rest == 0 {
            self.pending = Vec::new();
        }
        true
    }

    /// The items slot by slot, those that come up soonest first. There is none without any.
    pub fn slots(&self) -> impl Iterator<Item = &[u64]> {
        let levels = self.levels.iter().enumerate();
        let ahead = levels.flat_map(|(number, level)| {
            let shift = number as u32 * SLOT_BITS;
            let here = (self.current >> shift) as usize % SLOTS;
            let slots = level.slots.as_ref().filter(|_| level.occupied != 0);
            slots.into_iter().flat_map(move |slots| &slots[here + 1..])
        });
        let slots = std::iter::once(&self.pending).chain(ahead);
        slots.map(Vec::as_slice).filter(|slot| !slot.is_empty())
    }

    /// Picks items at random, each as likely as the others, and hands them to `pick` until that
    /// returns `false`.
    pub fn each_random(&self, rng: &mut Rng, mut pick: impl FnMut(u64) -> bool) {
        let full: Vec<&[u64]> = self.slots().collect();
        loop {
            let mut at = rng.index(self.items);
            let slot = full.iter().find(|slot| match slot.get(at) {
                Some(_) => true,
                None => {
                    at -= slot.len();
                    false
                }
            });
            if !slot.is_some_and(|slot| pick(slot[at])) {
                return;
            }
        }
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let slots = self.levels.iter().filter_map(|level| level.slots.as_ref());
        size_of::<Wheel>()
            + self.pending.capacity() * 8
            + slots
                .map(|slots| {
                    size_of_val(&**slots) + slots.iter().map(|s| s.capacity() * 8).sum::<usize>()
                })
                .sum::<usize>()
    }

    /// The next occupied slot: level, slot, and the tick at which it comes up. Items of a level
    /// lie ahead of the current tick within one turn of that level, and all of them before the
    /// first item of the level above.
    fn next_slot(&self) -> Option<(usize, usize, i64)> {
        for (number, level) in self.levels.iter().enumerate() {
            let shift = number as u32 * SLOT_BITS;
            let here = (self.current >> shift) as usize % SLOTS;
            let ahead = level.occupied.checked_shr(here as u32 + 1).unwrap_or(0);
            if ahead != 0 {
                let slot = here + 1 + ahead.trailing_zeros() as usize;
                let turn = self.current >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
                return Some((number, slot, turn + ((slot as i64) << shift)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Runs a wheel as its owner does and returns when each item came out for good.
    fn run(start: i64, deadlines: &HashMap<u64, i64>) -> HashMap<u64, i64> {
        let mut wheel = Wheel::new(start);
        for (hash, deadline) in deadlines {
            wheel.insert(*hash, *deadline);
        }
        let mut out = HashMap::new();
        while let Some(now) = wheel.next_due() {
            let mut due = Vec::new();
            assert!(wheel.take_due(now, 3, &mut due), "the slot has come up");
            assert!((1..=3).contains(&due.len()));
            for hash in due {
                if deadlines[&hash] <= now {
                    out.insert(hash, now);
                } else {
                    wheel.insert(hash, deadlines[&hash]);
                }
            }
        }
        assert!(wheel.is_empty());
        out
    }

    #[test]
    fn every_item_comes_out_within_a_tick_of_its_deadline() {
        let start = 1_700_000_000_123;
        let mut state = 1u64;
        let mut deadlines = HashMap::new();
        for i in 0..5000u64 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let reach = 1i64 << ((state >> 40) % 45);
            deadlines.insert(i, start + (state >> 5) as i64 % reach);
        }
        for (hash, when) in run(start, &deadlines) {
            let late = when - deadlines[&hash];
            assert!((0..2 * TICK).contains(&late), "{late} ms late");
        }
    }

    #[test]
    fn what_is_put_back_comes_out_at_once() {
        let mut wheel = Wheel::new(1000);
        wheel.insert(1, 1500);
        wheel.insert(2, 9000);
        let mut due = Vec::new();
        assert!(wheel.take_due(1600, 9, &mut due));
        wheel.put_back(1);
        assert_eq!(wheel.len(), 2);
        assert!(wheel.next_due().is_some_and(|due| due <= 1600));
        assert!(wheel.take_due(1600, 9, &mut due));
        assert!(!wheel.take_due(1600, 9, &mut due));
        assert_eq!((due, wheel.len()), (vec![1, 1], 1));
    }

    #[test]
    fn what_is_soonest_comes_first() {
        let mut wheel = Wheel::new(1024);
        for (hash, deadline) in [(1, 9_000_000), (2, 1200), (3, 50_000), (4, 1300), (5, 1100)] {
            wheel.insert(hash, deadline);
        }
        let slots = |wheel: &Wheel| wheel.slots().map(<[u64]>::to_vec).collect::<Vec<_>>();
        assert_eq!(slots(&wheel), [[5], [2], [4], [3], [1]]);
        // What has come up and is not handed out yet is sooner than anything.
        let mut due = Vec::new();
        assert!(wheel.take_due(1100, 9, &mut due) || wheel.take_due(1200, 9, &mut due));
        wheel.put_back(5);
        assert_eq!(slots(&wheel)[0], [5]);
        // However far on the wheel is, what is in it is found.
        let mut wheel = Wheel::new(1_700_000_000_000);
        let start = wheel.now();
        for hash in 0..1000u64 {
            wheel.insert(hash, start + (hash as i64 * 7919) % 1_000_000_000);
        }
        assert_eq!(wheel.slots().map(<[u64]>::len).sum::<usize>(), 1000);
    }

    #[test]
    fn every_item_is_picked_about_as_often() {
        let mut wheel = Wheel::new(1000);
        for hash in 0..100 {
            // One by itself, all others together.
            wheel.insert(hash, if hash == 0 { 5000 } else { 9_000_000 });
        }
        let (mut counts, mut left) = ([0; 100], 100_000);
        wheel.each_random(&mut Rng::new([1, 2]), |hash| {
            counts[hash as usize] += 1;
            left -= 1;
            left > 0
        });
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
        Wheel::new(0).each_random(&mut Rng::new([1, 2]), |_| unreachable!());
    }

    #[test]
    fn extreme_deadlines() {
        let deadlines = HashMap::from([(1, i64::MAX), (2, -5), (3, 0)]);
        let mut wheel = Wheel::new(1000);
        for (hash, deadline) in &deadlines {
            wheel.insert(*hash, *deadline);
        }
        let mut due = Vec::new();
        assert!(wheel.take_due(2000, 9, &mut due), "the past is due");
        due.sort_unstable();
        assert_eq!(due, [2, 3]);
        assert!(wheel.next_due().is_some_and(|due| due > 1 << 40));
    }
}
