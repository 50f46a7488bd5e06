//! The dict behind large sets, hashes and sorted sets: from members to values, with a scan that
//! resumes at a plain number and a random pick in constant time.
//!
//! Built as the keyspace's dict is: entries lie densely in segments that growing never moves, an
//! open-addressing index of 32-bit slots finds them, and removal moves the last entry into the
//! hole. A scan walks positions *downwards*, because what it has not seen can only move to a
//! lower position. Two things differ. A collection can be far larger than one shard's keys, so an
//! index that must grow is replaced step by step: each change moves a few entries from the old
//! index to the new one, and lookups try both until that is done. And members are hashed in here,
//! with a SipHash key that each process draws anew, so nobody can choose members that collide.

use std::sync::OnceLock;

use crate::sys;
use crate::util::{random, siphash::siphash12};

/// Longest member that lives inside its entry.
pub const INLINE: usize = 22;
/// Entries of a segment.
const SEGMENT: usize = 256;
/// Smallest index; with 16 slots or more, 7/8 of them never need the highest position number.
const MIN_SLOTS: usize = 16;
/// A slot never used.
const EMPTY: u32 = 0;
/// Up to this many entries an index is replaced at once.
const AT_ONCE: usize = 1024;
/// Entries that each change moves to the new index. A new index has room for at least a seventh
/// more entries than there are, so anything above 7 is done in time.
const STEP: usize = 16;

/// Up to where a collection is packed; the configuration's `*-max-listpack-*` of its type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most elements (fields, members).
    pub entries: usize,
    /// The longest element in bytes.
    pub value: usize,
}

/// A byte string of 24 bytes that keeps up to [`INLINE`] bytes in place.
#[derive(Clone)]
pub struct Member(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Box<[u8]>),
}

const _: () = assert!(size_of::<Member>() == 24);

impl Member {
    /// A copy of `bytes`.
    pub fn new(bytes: &[u8]) -> Member {
        Member(if bytes.len() <= INLINE {
            let mut inline = [0; INLINE];
            inline[..bytes.len()].copy_from_slice(bytes);
            Repr::Inline {
                len: bytes.len() as u8,
                bytes: inline,
            }
        } else {
            Repr::Heap(bytes.into())
        })
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(bytes) => bytes,
        }
    }
}

/// What a value kept with a member owns on the heap; for memory reports.
pub trait HeapSize {
    /// Bytes on the heap, 0 by default.
    fn heap_size(&self) -> usize {
        0
    }
}

impl HeapSize for () {}
impl HeapSize for f64 {}
impl HeapSize for Member {
    fn heap_size(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } => 0,
            Repr::Heap(bytes) => sys::block(bytes.len()),
        }
    }
}

/// The hash under which every [`MemberDict`] of this process files `member`. Who looks up one
/// member in several dicts computes it once.
#[inline]
pub fn hash_of(member: &[u8]) -> u64 {
    static KEY: OnceLock<(u64, u64)> = OnceLock::new();
    let key = *KEY.get_or_init(|| random::seed().into());
    siphash12(key, member)
}

/// The index of one dict, or what is left of it while another takes over.
#[derive(Clone, Default)]
struct Index {
    /// An entry's position plus one and, in the bits that this does not need, a tag of its hash.
    slots: Box<[u32]>,
    /// Slots of removed entries.
    graves: usize,
}

impl Index {
    fn new(slots: usize) -> Index {
        Index {
            slots: vec![EMPTY; slots].into_boxed_slice(),
            graves: 0,
        }
    }

    /// The slot value for an entry.
    #[inline]
    fn slot(&self, hash: u64, position: usize) -> u32 {
        let bits = self.slots.len().trailing_zeros();
        let tag = ((hash >> 32) as u32).checked_shl(bits).unwrap_or(0);
        tag | (position as u32 + 1)
    }

    /// A number that stands for a removed entry: the highest position is never used, because the
    /// index is never full.
    #[inline]
    fn grave(&self) -> u32 {
        (self.slots.len() - 1) as u32
    }

    /// The position for which `pick` holds, among those whose hash looks like `hash`.
    #[inline]
    fn find(&self, hash: u64, pick: impl Fn(usize) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let low = mask as u32;
        let tag = self.slot(hash, 0) & !low;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == EMPTY {
                return None;
            }
            let number = slot & low;
            if slot & !low == tag && number != self.grave() {
                let position = number as usize - 1;
                if pick(position) {
                    return Some(position);
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// Enters a position.
    fn link(&mut self, hash: u64, position: usize) {
        let mask = self.slots.len() - 1;
        let grave = self.grave();
        let mut at = hash as usize & mask;
        while self.slots[at] != EMPTY {
            if self.slots[at] & mask as u32 == grave {
                self.graves -= 1;
                break;
            }
            at = (at + 1) & mask;
        }
        self.slots[at] = self.slot(hash, position);
    }

    /// Enters an entry under another position; whether it was in. It keeps its slot, so this
    /// leaves no grave.
    fn relink(&mut self, hash: u64, from: usize, to: usize) -> bool {
        let Some(at) = self.slot_of(hash, from) else {
            return false;
        };
        self.slots[at] = self.slot(hash, to);
        true
    }

    /// Which slot has this position.
    fn slot_of(&self, hash: u64, position: usize) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let wanted = self.slot(hash, position);
        let mut at = hash as usize & mask;
        while self.slots[at] != wanted {
            if self.slots[at] == EMPTY {
                return None;
            }
            at = (at + 1) & mask;
        }
        Some(at)
    }

    /// Takes a position out; whether it was in.
    fn unlink(&mut self, hash: u64, position: usize) -> bool {
        let Some(mut at) = self.slot_of(hash, position) else {
            return false;
        };
        let mask = self.slots.len() - 1;
        let grave = self.grave();
        if self.slots[(at + 1) & mask] != EMPTY {
            self.slots[at] = grave;
            self.graves += 1;
            return true;
        }
        // Nothing is probed past this slot, so it and the graves before it may be emptied.
        self.slots[at] = EMPTY;
        loop {
            at = at.wrapping_sub(1) & mask;
            if self.slots[at] == EMPTY || self.slots[at] & mask as u32 != grave {
                return true;
            }
            self.slots[at] = EMPTY;
            self.graves -= 1;
        }
    }
}

/// The index that is being replaced, and the first position not yet looked at.
#[derive(Clone)]
struct Retiring {
    index: Index,
    next: usize,
}

#[derive(Clone)]
struct Entry<V> {
    member: Member,
    value: V,
}

/// A map from members to values.
#[derive(Clone)]
pub struct MemberDict<V> {
    segments: Vec<Vec<Entry<V>>>,
    len: usize,
    index: Index,
    retiring: Option<Box<Retiring>>,
}

impl<V> Default for MemberDict<V> {
    fn default() -> Self {
        MemberDict {
            segments: Vec::new(),
            len: 0,
            index: Index::default(),
            retiring: None,
        }
    }
}

impl<V> MemberDict<V> {
    /// An empty dict, without any allocation.
    pub fn new() -> MemberDict<V> {
        MemberDict::default()
    }

    /// An empty dict whose index has room for `len` members.
    pub fn with_capacity(len: usize) -> MemberDict<V> {
        MemberDict {
            index: Index::new(slots_for(len)),
            ..MemberDict::default()
        }
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The member and its value at `position`, which is below [`MemberDict::len`]. A random
    /// position is a fair random pick.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub fn at(&self, position: usize) -> (&[u8], &V) {
        let entry = self.entry(position);
        (entry.member.bytes(), &entry.value)
    }

    /// The value at `position`.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub fn value_mut(&mut self, position: usize) -> &mut V {
        &mut self.segments[position / SEGMENT][position % SEGMENT].value
    }

    /// The position of `member`, until the next removal.
    #[inline]
    pub fn find(&self, member: &[u8]) -> Option<usize> {
        self.find_hashed(hash_of(member), member)
    }

    /// As [`MemberDict::find`], with the member's [`hash_of`].
    #[inline]
    pub fn find_hashed(&self, hash: u64, member: &[u8]) -> Option<usize> {
        let pick = |position: usize| self.entry(position).member.bytes() == member;
        match self.index.find(hash, pick) {
            None => self.retiring.as_ref()?.index.find(hash, pick),
            found => found,
        }
    }

    /// Whether `member` is there.
    pub fn contains(&self, member: &[u8]) -> bool {
        self.find(member).is_some()
    }

    /// The value of `member`.
    pub fn get(&self, member: &[u8]) -> Option<&V> {
        self.find(member)
            .map(|position| &self.entry(position).value)
    }

    /// The value of `member`.
    pub fn get_mut(&mut self, member: &[u8]) -> Option<&mut V> {
        let position = self.find(member)?;
        Some(self.value_mut(position))
    }

    /// Sets the value of `member`; whether it is new.
    pub fn insert(&mut self, member: &[u8], value: V) -> bool {
        let hash = hash_of(member);
        match self.find_hashed(hash, member) {
            Some(position) => *self.value_mut(position) = value,
            None => {
                self.insert_new(hash, Member::new(member), value);
                return true;
            }
        }
        false
    }

    /// Adds a member that is not there, with its [`hash_of`], and returns its position.
    pub fn insert_new(&mut self, hash: u64, member: Member, value: V) -> usize {
        debug_assert!(self.find_hashed(hash, member.bytes()).is_none());
        self.migrate(STEP);
        if (self.len + self.index.graves + 1) * 8 > self.index.slots.len() * 7 {
            self.replace_index(self.len + 1);
        }
        let position = self.len;
        let segment = position / SEGMENT;
        if segment == self.segments.len() {
            self.segments.push(Vec::new());
        }
        let entries = &mut self.segments[segment];
        let within = entries.len();
        if within == entries.capacity() {
            // Doubling inside the first segment keeps small dicts small; `reserve_exact` keeps
            // std from growing past the segment.
            let room = if segment == 0 { within.max(4) } else { SEGMENT };
            entries.reserve_exact(room.min(SEGMENT - within));
        }
        entries.push(Entry { member, value });
        self.len += 1;
        self.index.link(hash, position);
        position
    }

    /// Removes `member` and returns its value.
    pub fn remove(&mut self, member: &[u8]) -> Option<V> {
        let hash = hash_of(member);
        let position = self.find_hashed(hash, member)?;
        Some(self.take(hash, position).value)
    }

    /// Removes the member at `position`; the last member takes its place.
    ///
    /// # Panics
    /// When there is none.
    pub fn remove_at(&mut self, position: usize) -> (Member, V) {
        let hash = hash_of(self.entry(position).member.bytes());
        let entry = self.take(hash, position);
        (entry.member, entry.value)
    }

    /// Keeps the `len` members at the positions for which `keep` holds. They stay in their order,
    /// and so move to lower positions only, as the scan relies on. For removing many at once: it
    /// costs as much as adding what is kept.
    pub fn retain(&mut self, len: usize, keep: impl Fn(usize) -> bool) {
        let old = std::mem::replace(self, MemberDict::with_capacity(len));
        let entries = old.segments.into_iter().flatten().enumerate();
        for (_, entry) in entries.filter(|(position, _)| keep(*position)) {
            let hash = hash_of(entry.member.bytes());
            self.insert_new(hash, entry.member, entry.value);
        }
        debug_assert_eq!(self.len, len);
    }

    /// All members with their values, by position.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &V)> {
        self.segments
            .iter()
            .flatten()
            .map(|entry| (entry.member.bytes(), &entry.value))
    }

    /// One step of a scan: hands up to `count` members to `visit` and returns the cursor for the
    /// next step. Cursor 0 starts a scan, and 0 is returned at its end. A member that stays
    /// throughout is visited at least once.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&[u8], &V)) -> u64 {
        let from = match usize::try_from(cursor) {
            Ok(0) | Err(_) => self.len,
            Ok(cursor) => cursor.min(self.len),
        };
        let to = from.saturating_sub(count);
        for position in (to..from).rev() {
            let (member, value) = self.at(position);
            visit(member, value);
        }
        to as u64
    }

    #[inline]
    fn entry(&self, position: usize) -> &Entry<V> {
        &self.segments[position / SEGMENT][position % SEGMENT]
    }

    fn take(&mut self, hash: u64, position: usize) -> Entry<V> {
        self.migrate(STEP);
        self.unlink(hash, position);
        let last = self.len - 1;
        if position != last {
            let hash = hash_of(self.entry(last).member.bytes());
            if !self.index.relink(hash, last, position) {
                // Always into the new index: below `Retiring::next` everything must be in there.
                self.unlink(hash, last);
                self.index.link(hash, position);
            }
        }
        self.len = last;
        let moved = self.pop();
        let removed = if position == last {
            moved
        } else {
            std::mem::replace(
                &mut self.segments[position / SEGMENT][position % SEGMENT],
                moved,
            )
        };
        let slots = self.index.slots.len();
        if slots > MIN_SLOTS && self.len * 8 < slots && self.retiring.is_none() {
            self.replace_index(self.len);
        }
        removed
    }

    /// Takes a position out of whichever index has it.
    fn unlink(&mut self, hash: u64, position: usize) {
        if !self.index.unlink(hash, position)
            && let Some(retiring) = &mut self.retiring
        {
            retiring.index.unlink(hash, position);
        }
    }

    /// Takes the last entry out of its segment; `len` is already its position.
    fn pop(&mut self) -> Entry<V> {
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

    /// Starts a new index with room for `len` entries; a small one is filled at once.
    fn replace_index(&mut self, len: usize) {
        self.migrate(usize::MAX);
        let mut slots = slots_for(len);
        if len * 4 > slots * 3 {
            // Room enough that the next index is not due before this one is filled.
            slots *= 2;
        }
        let index = std::mem::replace(&mut self.index, Index::new(slots));
        if self.len > AT_ONCE {
            self.retiring = Some(Box::new(Retiring { index, next: 0 }));
            return;
        }
        for position in 0..self.len {
            let hash = hash_of(self.entry(position).member.bytes());
            self.index.link(hash, position);
        }
    }

    /// Moves up to `steps` entries from the retiring index to the new one.
    fn migrate(&mut self, steps: usize) {
        let Some(mut retiring) = self.retiring.take() else {
            return;
        };
        let to = retiring.next.saturating_add(steps).min(self.len);
        for position in retiring.next..to {
            let hash = hash_of(self.entry(position).member.bytes());
            // What is not in there has been added or moved since, straight into the new one.
            if retiring.index.unlink(hash, position) {
                self.index.link(hash, position);
            }
        }
        retiring.next = to;
        if to < self.len {
            self.retiring = Some(retiring);
        }
    }
}

impl<V: HeapSize> MemberDict<V> {
    /// Bytes of memory of the table, and of what its entries own as estimated from `samples` of
    /// them (0: all).
    pub fn memory(&self, samples: usize) -> usize {
        let capacity: usize = self.segments.iter().map(Vec::capacity).sum();
        let index =
            self.index.slots.len() + self.retiring.as_ref().map_or(0, |r| r.index.slots.len());
        let table = capacity * size_of::<Entry<V>>()
            + self.segments.capacity() * size_of::<Vec<Entry<V>>>()
            + index * size_of::<u32>();
        let samples = if samples == 0 { self.len } else { samples }.min(self.len);
        if samples == 0 {
            return table;
        }
        let heap: usize = (0..samples)
            .map(|sample| {
                let entry = self.entry(sample * self.len / samples);
                entry.member.heap_size() + entry.value.heap_size()
            })
            .sum();
        table + (heap as u128 * self.len as u128 / samples as u128) as usize
    }
}

/// The size of an index that is at most 7/8 full with `len` entries.
fn slots_for(len: usize) -> usize {
    let mut slots = MIN_SLOTS;
    while len * 8 > slots * 7 {
        slots *= 2;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Rng;
    use std::collections::{HashMap, HashSet};

    fn name(i: u64) -> Vec<u8> {
        // Some of the names are too long to live inside.
        let tail = if i.is_multiple_of(7) {
            "-with-a-long-tail-that-is-boxed"
        } else {
            ""
        };
        format!("m:{i}{tail}").into_bytes()
    }

    fn compare(dict: &MemberDict<f64>, model: &HashMap<Vec<u8>, f64>) {
        assert_eq!(dict.len(), model.len());
        for (member, value) in model {
            assert_eq!(dict.get(member), Some(value));
        }
        let seen: HashMap<Vec<u8>, f64> = dict.iter().map(|(m, v)| (m.to_vec(), *v)).collect();
        assert_eq!(&seen, model);
    }

    fn storm(members: u64, steps: u64, seed: u64) {
        let mut rng = Rng::new([seed, 1]);
        let (mut dict, mut model) = (MemberDict::new(), HashMap::new());
        for step in 0..steps {
            // Phases of growth and of decline, so that the index goes both ways.
            let growing = (step * 6 / steps).is_multiple_of(2);
            let member = name(rng.below(members));
            match rng.below(10) {
                0..7 if growing => {
                    let new = model.insert(member.clone(), step as f64).is_none();
                    assert_eq!(dict.insert(&member, step as f64), new);
                }
                7 if !dict.is_empty() => {
                    let (gone, value) = dict.remove_at(rng.index(dict.len()));
                    assert_eq!(model.remove(gone.bytes()), Some(value));
                }
                8 => assert_eq!(dict.get(&member), model.get(&member)),
                _ => assert_eq!(dict.remove(&member), model.remove(&member)),
            }
            if step % (steps / 20) == 0 {
                compare(&dict, &model);
                compare(&dict.clone(), &model);
            }
        }
        compare(&dict, &model);
        while !dict.is_empty() {
            let (gone, value) = dict.remove_at(rng.index(dict.len()));
            assert_eq!(model.remove(gone.bytes()), Some(value));
        }
        assert!(model.is_empty());
    }

    #[test]
    fn behaves_as_a_map() {
        storm(20, 4000, 1);
        storm(1000, 20_000, 2);
        storm(30_000, 120_000, 3);
    }

    #[test]
    fn lookups_work_while_the_index_is_replaced() {
        let mut dict = MemberDict::new();
        let mut replacing = 0;
        for i in 0..20_000u64 {
            assert!(dict.insert(&name(i), ()));
            if dict.retiring.is_some() {
                replacing += 1;
                assert!(dict.contains(&name(i * 31 % (i + 1))));
                assert!(!dict.contains(&name(i + 1)));
            }
        }
        assert!(replacing > 500, "{replacing}");
        assert!((0..20_000).all(|i| dict.contains(&name(i))));
    }

    #[test]
    fn a_scan_misses_no_member_that_stays() {
        for round in 0..20 {
            let mut rng = Rng::new([round, 9]);
            let mut dict = MemberDict::new();
            (0..2000).for_each(|i| assert!(dict.insert(&name(i), i as f64)));
            let (mut cursor, mut seen, mut next) = (0, HashSet::new(), 2000);
            loop {
                cursor = dict.scan(cursor, 7, |_, value| {
                    seen.insert(*value as u64);
                });
                if cursor == 0 {
                    break;
                }
                // Even numbers stay; odd ones go at random, and new ones come.
                for _ in 0..5 {
                    dict.remove(&name(rng.below(1000) * 2 + 1));
                }
                if rng.below(2) == 0 {
                    dict.insert(&name(next), next as f64);
                    next += 1;
                }
            }
            assert!((0..2000).step_by(2).all(|i| seen.contains(&i)));
        }
    }

    #[test]
    fn retain_keeps_the_order() {
        for len in [0, 1, 300, 5000u64] {
            let mut dict = MemberDict::new();
            (0..len).for_each(|i| assert!(dict.insert(&name(i), i as f64)));
            let kept = len.div_ceil(3);
            dict.retain(kept as usize, |position| position.is_multiple_of(3));
            let expected = (0..len).step_by(3).map(|i| (name(i), i as f64));
            assert!(dict.iter().map(|(m, v)| (m.to_vec(), *v)).eq(expected));
            for i in 0..len {
                let value = i.is_multiple_of(3).then_some(i as f64);
                assert_eq!(dict.get(&name(i)).copied(), value);
            }
        }
    }

    #[test]
    fn memory_per_short_member_is_small() {
        let mut dict = MemberDict::new();
        for i in 0..100_000u64 {
            dict.insert(format!("element:{i:012}").as_bytes(), Member::new(b"value"));
        }
        let each = dict.memory(5) / dict.len();
        assert!((48..64).contains(&each), "{each}");
        assert_eq!(dict.memory(5), dict.memory(0));
    }
}
