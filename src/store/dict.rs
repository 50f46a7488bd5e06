//! The dict: from keys to entries, with what std's map lacks — a scan that can be resumed with a
//! plain number, and a random pick in constant time.
//!
//! Entries lie densely in segments of `SEGMENT`, so growing never moves them. An open-addressing
//! index of 32-bit slots finds them; a slot holds an entry's position and, in the bits that the
//! position does not need, a tag of the key's hash, so that a probe rarely looks at a wrong entry.
//! Removal moves the last entry into the hole. A scan therefore walks positions *downwards*: an
//! entry that it has not seen can only move to a lower position, which it has yet to visit.

use super::entry::Entry;
use crate::sys::fetch;

/// Entries of a segment.
const SEGMENT: usize = 64;
/// Smallest index; with 16 slots or more, 7/8 of them never need the highest position number.
const MIN_SLOTS: usize = 16;
/// A slot never used.
const EMPTY: u32 = 0;

/// Computes the hash of a key; the dict does not keep hashes.
pub trait Hasher {
    /// The hash of `key`.
    fn hash(&self, key: &[u8]) -> u64;
}

/// A map from keys to entries.
#[derive(Default)]
pub struct Dict {
    segments: Vec<Vec<Entry>>,
    len: usize,
    index: Box<[u32]>,
    /// Slots of removed entries.
    graves: usize,
}

impl Dict {
    /// An empty dict, without any allocation.
    pub fn new() -> Dict {
        Dict::default()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Looks at where keys with these hashes are to be found or put, so that the processor fetches
    /// all of that at once, rather than one after the other when they are looked up.
    pub fn warm(&self, hashes: impl Iterator<Item = u64>) {
        let mask = self.index.len().wrapping_sub(1);
        let slots = hashes.filter_map(|hash| self.index.get(hash as usize & mask));
        std::hint::black_box(slots.fold(0, |all, slot| all | slot));
    }

    /// Has the processor fetch where the search for a key of this hash begins. Returns at once.
    #[inline]
    pub fn fetch_slot(&self, hash: u64) {
        let mask = self.index.len().wrapping_sub(1);
        if let Some(slot) = self.index.get(hash as usize & mask) {
            fetch(slot);
        }
    }

    /// Has the processor fetch the entry of the first key whose hash looks like this one, if there
    /// is any, and returns its position at once. To follow a while after [`Dict::fetch_slot`].
    #[inline]
    pub fn fetch_entry(&self, hash: u64) -> Option<usize> {
        let mut found = None;
        // The entry is only looked at by the processor, so that this waits for nothing.
        self.probe(hash, |position| {
            found = Some(position);
            fetch(self.at(position));
            true
        });
        found
    }

    /// The position of `key`.
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        self.slot_of(hash, |entry| entry.key.bytes() == key)
            .map(|(_, position)| position)
    }

    /// The entry at `position`.
    ///
    /// # Panics
    /// When there is none.
    pub fn at(&self, position: usize) -> &Entry {
        &self.segments[position / SEGMENT][position % SEGMENT]
    }

    /// The entry at `position`.
    ///
    /// # Panics
    /// When there is none.
    pub fn at_mut(&mut self, position: usize) -> &mut Entry {
        &mut self.segments[position / SEGMENT][position % SEGMENT]
    }

    /// The entry of `key`.
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.find(hash, key).map(|position| self.at(position))
    }

    /// The entry of `key`.
    pub fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut Entry> {
        let position = self.find(hash, key)?;
        Some(self.at_mut(position))
    }

    /// Adds an entry whose key is not in the dict, and returns its position.
    pub fn insert(&mut self, hash: u64, entry: Entry, hasher: &impl Hasher) -> usize {
        debug_assert!(self.find(hash, entry.key.bytes()).is_none());
        if (self.len + self.graves + 1) * 8 > self.index.len() * 7 {
            self.rebuild(self.len + 1, hasher);
        }
        let position = self.len;
        let (segment, within) = (position / SEGMENT, position % SEGMENT);
        if segment == self.segments.len() {
            self.segments.push(Vec::new());
        }
        let segment = &mut self.segments[segment];
        if within == segment.capacity() {
            // Doubling inside the segment keeps small dicts small; `reserve_exact` keeps std from
            // growing past the segment.
            segment.reserve_exact(within.clamp(4, SEGMENT - within));
        }
        segment.push(entry);
        self.len += 1;
        self.link(hash, position);
        position
    }

    /// Removes the entry of `key` and returns it.
    pub fn remove(&mut self, hash: u64, key: &[u8], hasher: &impl Hasher) -> Option<Entry> {
        let (slot, position) = self.slot_of(hash, |entry| entry.key.bytes() == key)?;
        Some(self.take(slot, position, hasher))
    }

    /// Removes the first entry for which `pick` holds among those whose hash looks like `hash`.
    pub fn remove_where(
        &mut self,
        hash: u64,
        pick: impl Fn(&Entry) -> bool,
        hasher: &impl Hasher,
    ) -> Option<Entry> {
        let (slot, position) = self.slot_of(hash, pick)?;
        Some(self.take(slot, position, hasher))
    }

    /// The position of the first entry for which `pick` holds among those whose hash looks like
    /// `hash`.
    pub fn position_where(&self, hash: u64, pick: impl Fn(&Entry) -> bool) -> Option<usize> {
        self.slot_of(hash, pick).map(|(_, position)| position)
    }

    /// All entries, the last one first.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.segments
            .iter()
            .rev()
            .flat_map(|segment| segment.iter().rev())
    }

    /// Bytes of memory of the table itself, without what entries own.
    pub fn memory(&self) -> usize {
        let entries: usize = self.segments.iter().map(Vec::capacity).sum();
        entries * size_of::<Entry>()
            + self.segments.capacity() * size_of::<Vec<Entry>>()
            + self.index.len() * size_of::<u32>()
    }

    /// Bits of a slot that hold the position (plus one).
    fn bits(&self) -> u32 {
        self.index.len().trailing_zeros()
    }

    /// The slot value for an entry.
    fn slot(&self, hash: u64, position: usize) -> u32 {
        let bits = self.bits();
        let tag = ((hash >> 24) as u32).checked_shl(bits).unwrap_or(0);
        tag | (position as u32 + 1)
    }

    /// A slot value that no entry has: the highest position is never used, because the index is
    /// never full.
    fn grave(&self) -> u32 {
        self.index.len() as u32 - 1
    }

    fn slot_of(&self, hash: u64, pick: impl Fn(&Entry) -> bool) -> Option<(usize, usize)> {
        self.probe(hash, |position| pick(self.at(position)))
    }

    /// The slot and the position of the first entry for which `pick` holds among those whose hash
    /// looks like `hash`.
    #[inline]
    fn probe(&self, hash: u64, mut pick: impl FnMut(usize) -> bool) -> Option<(usize, usize)> {
        if self.len == 0 {
            return None;
        }
        let mask = self.index.len() - 1;
        let (low, tag) = (mask as u32, self.slot(hash, 0) & !(mask as u32));
        let mut at = hash as usize & mask;
        loop {
            let slot = self.index[at];
            if slot == EMPTY {
                return None;
            }
            let number = slot & low;
            if slot & !low == tag && number != self.grave() {
                let position = number as usize - 1;
                if pick(position) {
                    return Some((at, position));
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// Enters a position into the index.
    fn link(&mut self, hash: u64, position: usize) {
        let mask = self.index.len() - 1;
        let grave = self.grave();
        let mut at = hash as usize & mask;
        loop {
            let slot = self.index[at];
            if slot == EMPTY {
                break;
            }
            if slot & mask as u32 == grave {
                self.graves -= 1;
                break;
            }
            at = (at + 1) & mask;
        }
        self.index[at] = self.slot(hash, position);
    }

    /// Removes the entry at `position`, which `slot` of the index points to.
    fn take(&mut self, slot: usize, position: usize, hasher: &impl Hasher) -> Entry {
        let mask = self.index.len() - 1;
        if self.index[(slot + 1) & mask] == EMPTY {
            // Nothing is probed past this slot, so it and the graves before it may be emptied.
            let (mut at, grave) = (slot, self.grave());
            self.index[at] = EMPTY;
            loop {
                at = at.wrapping_sub(1) & mask;
                if self.index[at] == EMPTY || self.index[at] & mask as u32 != grave {
                    break;
                }
                self.index[at] = EMPTY;
                self.graves -= 1;
            }
        } else {
            self.index[slot] = self.grave();
            self.graves += 1;
        }
        let last = self.len - 1;
        if position != last {
            let hash = hasher.hash(self.at(last).key.bytes());
            let wanted = self.slot(hash, last);
            let mut at = hash as usize & mask;
            while self.index[at] != wanted {
                at = (at + 1) & mask;
            }
            self.index[at] = self.slot(hash, position);
        }
        self.len = last;
        let moved = self.pop();
        let removed = if position == last {
            moved
        } else {
            std::mem::replace(self.at_mut(position), moved)
        };
        if self.index.len() > MIN_SLOTS && self.len * 8 < self.index.len() {
            self.rebuild(self.len, hasher);
        }
        removed
    }

    /// Takes the last entry out of its segment.
    fn pop(&mut self) -> Entry {
        let segment = self.len / SEGMENT;
        // One spare segment stays, so that a dict that goes back and forth over a segment's edge
        // does not allocate each time.
        if self.segments.len() > segment + 2 {
            self.segments.truncate(segment + 2);
            if self.segments.capacity() > 4 * self.segments.len() {
                self.segments.shrink_to(2 * self.segments.len());
            }
        }
        match self.segments[segment].pop() {
            Some(entry) => entry,
            None => unreachable!("the last position of a dict is in use"),
        }
    }

    /// Builds the index anew, with room for `len` entries.
    fn rebuild(&mut self, len: usize, hasher: &impl Hasher) {
        let mut slots = MIN_SLOTS;
        // At most 7/8 full, and with a quarter of that free, so that it is not built again at once.
        while len * 8 > slots * 7 || (slots == self.index.len() && len * 4 > slots * 3) {
            slots *= 2;
        }
        self.index = vec![EMPTY; slots].into_boxed_slice();
        self.graves = 0;
        for position in 0..self.len {
            let hash = hasher.hash(self.at(position).key.bytes());
            self.link(hash, position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::Key;
    use crate::types::{Value, string};
    use std::collections::{HashMap, HashSet};

    struct Sip;
    impl Hasher for Sip {
        fn hash(&self, key: &[u8]) -> u64 {
            crate::util::siphash::siphash12((1, 2), key)
        }
    }
    /// Everything collides.
    struct Bad;
    impl Hasher for Bad {
        fn hash(&self, _: &[u8]) -> u64 {
            77
        }
    }

    fn entry(key: &[u8], value: i64) -> Entry {
        Entry {
            key: Key::new(key, 0),
            value: Value::Int(value),
        }
    }

    fn compare(dict: &Dict, model: &HashMap<Vec<u8>, i64>, hasher: &impl Hasher) {
        assert_eq!(dict.len(), model.len());
        for (key, value) in model {
            let found = dict.get(hasher.hash(key), key).expect("the key is there");
            assert_eq!(string::integer(&found.value), Some(*value));
        }
        assert_eq!(dict.iter().count(), model.len());
    }

    fn storm(hasher: &impl Hasher, keys: u64, steps: u64) {
        let (mut dict, mut model) = (Dict::new(), HashMap::new());
        let mut state = 12345u64;
        for step in 0..steps {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let key = format!("key:{}", (state >> 33) % keys).into_bytes();
            let hash = hasher.hash(&key);
            if !(state >> 20).is_multiple_of(3) {
                match dict.get_mut(hash, &key) {
                    Some(entry) => entry.value = Value::Int(step as i64),
                    None => {
                        dict.insert(hash, entry(&key, step as i64), hasher);
                    }
                }
                model.insert(key, step as i64);
            } else {
                assert_eq!(
                    dict.remove(hash, &key, hasher).is_some(),
                    model.remove(&key).is_some()
                );
            }
            if step % 1000 == 0 {
                compare(&dict, &model, hasher);
            }
        }
        compare(&dict, &model, hasher);
        for key in model.keys().cloned().collect::<Vec<_>>() {
            assert!(dict.remove(hasher.hash(&key), &key, hasher).is_some());
            model.remove(&key);
            if model.len() % 100 == 0 {
                compare(&dict, &model, hasher);
            }
        }
        assert!(dict.is_empty());
    }

    #[test]
    fn what_is_fetched_is_what_is_found() {
        let mut dict = Dict::new();
        let name = |i: i64| format!("key:{i}").into_bytes();
        for i in 0..500 {
            let hash = Sip.hash(&name(i));
            dict.fetch_slot(hash);
            assert!(dict.find(hash, &name(i)).is_none());
            dict.insert(hash, entry(&name(i), i), &Sip);
        }
        // Two hashes of which all bits in use are the same are too rare to be met.
        for i in 0..500 {
            let hash = Sip.hash(&name(i));
            dict.fetch_slot(hash);
            assert_eq!(dict.fetch_entry(hash), dict.find(hash, &name(i)));
        }
    }

    #[test]
    fn behaves_as_a_map() {
        storm(&Sip, 3000, 60_000);
        storm(&Sip, 40, 20_000);
    }

    #[test]
    fn behaves_as_a_map_when_everything_collides() {
        storm(&Bad, 100, 5000);
    }

    #[test]
    fn a_downward_scan_misses_no_key_that_stays() {
        for round in 0..50u64 {
            let mut dict = Dict::new();
            let name = |i: u64| format!("{round}:{i}").into_bytes();
            for i in 0..500 {
                dict.insert(Sip.hash(&name(i)), entry(&name(i), i as i64), &Sip);
            }
            let (mut position, mut seen, mut next) = (dict.len(), HashSet::new(), 500);
            let mut state = round + 1;
            while position > 0 {
                position = position.min(dict.len());
                if position == 0 {
                    break;
                }
                position -= 1;
                seen.insert(string::integer(&dict.at(position).value));
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                // Even numbers stay; odd ones go at random, and new ones come.
                let victim = name(((state >> 33) % 250) * 2 + 1);
                dict.remove(Sip.hash(&victim), &victim, &Sip);
                if state.is_multiple_of(3) {
                    dict.insert(Sip.hash(&name(next)), entry(&name(next), next as i64), &Sip);
                    next += 1;
                }
            }
            assert!((0..500).step_by(2).all(|i| seen.contains(&Some(i))));
        }
    }
}
