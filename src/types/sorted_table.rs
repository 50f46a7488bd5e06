//! [`SortedTable`]: members with scores, by name and in order; a sorted set too large to be packed,
//! and the deadlines of hash fields.
//!
//! A [`MemberDict`] holds member and score, and an [`Ordered`] the same scores in order, naming
//! each member by its position in the dict. When a removal moves the dict's last entry into the
//! hole, its pair in the tree is found by score and member and told its new position: one more
//! descent for each removal, and in return nothing points from the dict to the tree, members are
//! stored once and a pair of the tree takes 12 bytes.

use std::cmp::Ordering;
use std::ops::Range;

use super::member_dict::{Member, MemberDict, hash_of};
use super::ordered::{Names, Ordered};

/// Removing a member takes about seven times as long as keeping one when the table is built anew.
/// So that is done when more than one member in four goes at once: earlier it would gain little and
/// take memory for nearly two tables.
const REBUILD: usize = 4;

impl Names for MemberDict<f64> {
    #[inline]
    fn name(&self, slot: u32) -> &[u8] {
        self.at(slot as usize).0
    }
}

/// What setting a member's score has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The member is new.
    Added,
    /// It had another score.
    Updated,
    /// It had this score; 0 and -0 are the same.
    Same,
}

/// Members with scores.
#[derive(Clone, Default)]
pub struct SortedTable {
    members: MemberDict<f64>,
    order: Ordered,
}

impl SortedTable {
    /// An empty table.
    pub fn new() -> SortedTable {
        SortedTable::default()
    }

    /// An empty table whose index has room for `len` members.
    pub fn with_capacity(len: usize) -> SortedTable {
        SortedTable {
            members: MemberDict::with_capacity(len),
            order: Ordered::new(),
        }
    }

    /// The table of these members, put in order at once; no score may be NaN.
    pub fn from_members(members: MemberDict<f64>) -> SortedTable {
        let mut pairs: Vec<(f64, u32)> = (0u32..)
            .zip(members.iter())
            .map(|(slot, (_, &score))| (score, slot))
            .collect();
        let order = |a: &(f64, u32), b: &(f64, u32)| match a.0.partial_cmp(&b.0) {
            Some(Ordering::Equal) | None => members.name(a.1).cmp(members.name(b.1)),
            Some(order) => order,
        };
        // Results are often in order already, which one pass tells.
        if !pairs.is_sorted_by(|a, b| order(a, b).is_le()) {
            pairs.sort_unstable_by(order);
        }
        SortedTable {
            order: Ordered::from_sorted(&pairs),
            members,
        }
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The members with their scores in no order: for lookups, scans and random picks.
    pub fn members(&self) -> &MemberDict<f64> {
        &self.members
    }

    /// The scores in order, with positions in [`SortedTable::members`].
    pub fn order(&self) -> &Ordered {
        &self.order
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.members.get(member).copied()
    }

    /// A member's rank (the lowest score has rank 0) and score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        Some((self.order.rank_of(score, member, &self.members), score))
    }

    /// Sets a member's score, which is a number.
    pub fn set(&mut self, member: &[u8], score: f64) -> Change {
        self.update(member, |_| Some(score)).unwrap_or(Change::Same)
    }

    /// Sets a member's score to what `decide` makes of the one it has, which must be a number;
    /// `None` leaves everything as it is.
    pub fn update(
        &mut self,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Option<Change> {
        let hash = hash_of(member);
        let Some(slot) = self.members.find_hashed(hash, member) else {
            let score = decide(None)?;
            debug_assert!(!score.is_nan());
            // The order first: a member's rank is looked up among those that are in the dict.
            let rank = self.order.rank_of(score, member, &self.members);
            let slot = self.members.insert_new(hash, Member::new(member), score);
            self.order.insert(rank, score, slot as u32);
            return Some(Change::Added);
        };
        let old = *self.members.at(slot).1;
        let score = decide(Some(old))?;
        debug_assert!(!score.is_nan());
        if old == score {
            return Some(Change::Same);
        }
        self.reorder(member, slot as u32, old, score);
        *self.members.value_mut(slot) = score;
        Some(Change::Updated)
    }

    /// Moves a member in the order to where its new score belongs.
    fn reorder(&mut self, member: &[u8], slot: u32, old: f64, score: f64) {
        let from = self.order.rank_of(old, member, &self.members);
        // Counted with the old pair still in.
        let to = self.order.rank_of(score, member, &self.members);
        let to = if to > from { to - 1 } else { to };
        if from == to {
            // It overtakes nobody.
            self.order.replace(from, score, slot);
        } else {
            self.order.remove(from);
            self.order.insert(to, score, slot);
        }
    }

    /// Removes a member and returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let slot = self.members.find(member)?;
        let score = *self.members.at(slot).1;
        let rank = self.order.rank_of(score, member, &self.members);
        self.order.remove(rank);
        self.remove_slot(slot);
        Some(score)
    }

    /// Removes the member at `rank`.
    ///
    /// # Panics
    /// When there is none.
    pub fn remove_at(&mut self, rank: usize) -> (Member, f64) {
        let (_, slot) = self.order.remove(rank);
        self.remove_slot(slot as usize)
    }

    /// Whether `count` of `len` members are so many that [`SortedTable::remove_range`] is the way
    /// to remove them.
    pub fn is_large_part(count: usize, len: usize) -> bool {
        count > len / REBUILD
    }

    /// Removes the members with these ranks, which all exist.
    pub fn remove_range(&mut self, ranks: Range<usize>) {
        let (count, len) = (ranks.len(), self.len());
        if count == len {
            *self = SortedTable::new();
        } else if SortedTable::is_large_part(count, len) {
            self.rebuild_without(ranks);
        } else {
            // From the end, so that a tree node is emptied without moving what is in it.
            for rank in ranks.rev() {
                self.remove_at(rank);
            }
        }
    }

    /// Removes most of the members by building the table anew from the others.
    fn rebuild_without(&mut self, ranks: Range<usize>) {
        const GONE: u32 = u32::MAX;
        let left = self.len() - ranks.len();
        let mut pairs = Vec::with_capacity(left);
        pairs.extend(self.order.up(0).take(ranks.start));
        pairs.extend(self.order.up(ranks.end));
        // Where the members of each slot go, in the order in which they are now.
        let mut slots = vec![GONE; self.len()];
        for &(_, slot) in &pairs {
            slots[slot as usize] = 0;
        }
        let kept = slots.iter_mut().filter(|slot| **slot != GONE);
        for (number, slot) in (0u32..).zip(kept) {
            *slot = number;
        }
        for (_, slot) in &mut pairs {
            *slot = slots[*slot as usize];
        }
        self.members.retain(left, |slot| slots[slot] != GONE);
        self.order = Ordered::from_sorted(&pairs);
    }

    /// The member and score at `rank`.
    ///
    /// # Panics
    /// When there is none.
    pub fn at(&self, rank: usize) -> (&[u8], f64) {
        let (score, slot) = self.order.at(rank);
        (self.members.name(slot), score)
    }

    /// Number of members whose score is below `bound`, or not above it when `inclusive`.
    pub fn count_below(&self, bound: f64, inclusive: bool) -> usize {
        self.order
            .rank_where(|score, _| score < bound || (inclusive && score == bound))
    }

    /// Number of members that are below `bound` as byte strings, or not above it when `inclusive`;
    /// for a table in which all have the same score.
    pub fn count_below_lex(&self, bound: &[u8], inclusive: bool) -> usize {
        self.order.rank_where(|_, slot| {
            let member = self.members.name(slot);
            member < bound || (inclusive && member == bound)
        })
    }

    /// Members and scores from `rank` upwards.
    pub fn up(&self, rank: usize) -> impl Iterator<Item = (&[u8], f64)> {
        self.order
            .up(rank)
            .map(|(score, slot)| (self.members.name(slot), score))
    }

    /// Members and scores downwards; the first is the one at `rank - 1`.
    pub fn down(&self, rank: usize) -> impl Iterator<Item = (&[u8], f64)> {
        self.order
            .down(rank)
            .map(|(score, slot)| (self.members.name(slot), score))
    }

    /// Bytes of memory; members that are not stored in place are estimated from `samples` of them
    /// (0: all).
    pub fn memory(&self, samples: usize) -> usize {
        size_of::<SortedTable>() + self.members.memory(samples) + self.order.memory()
    }

    /// Removes the entry in `slot` of the dict, which the tree does not name any more.
    fn remove_slot(&mut self, slot: usize) -> (Member, f64) {
        let last = self.members.len() - 1;
        if slot != last {
            let score = *self.members.at(last).1;
            self.order
                .rename(score, last as u32, slot as u32, &self.members);
        }
        self.members.remove_at(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Rng;
    use std::collections::HashMap;

    /// The model's members in order.
    fn sorted(model: &HashMap<Vec<u8>, f64>) -> Vec<(Vec<u8>, f64)> {
        let mut all: Vec<_> = model.iter().map(|(m, s)| (m.clone(), *s)).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        all
    }

    fn compare(table: &SortedTable, model: &HashMap<Vec<u8>, f64>) {
        let all = sorted(model);
        assert_eq!(table.len(), all.len());
        assert!(table.up(0).map(|(m, s)| (m.to_vec(), s)).eq(all.clone()));
        assert!(
            table
                .down(all.len())
                .map(|(m, s)| (m.to_vec(), s))
                .eq(all.iter().rev().cloned())
        );
        for (rank, (member, score)) in all.iter().enumerate() {
            assert_eq!(table.rank(member), Some((rank, *score)));
            assert_eq!(table.at(rank), (&member[..], *score));
        }
        for bound in [f64::NEG_INFINITY, -3.0, 0.0, 0.5, 4.0, f64::INFINITY] {
            let below = all.iter().filter(|m| m.1 < bound).count();
            let upto = all.iter().filter(|m| m.1 <= bound).count();
            assert_eq!(table.count_below(bound, false), below);
            assert_eq!(table.count_below(bound, true), upto);
        }
    }

    #[test]
    fn behaves_as_a_sorted_map() {
        // Few scores make many ties, many scores next to none.
        for (scores, members, steps) in [
            (5, 400, 8000),
            (1_000_000, 3000, 20_000),
            (1, 2000, 9000u64),
        ] {
            let mut rng = Rng::new([scores, members]);
            let (mut table, mut model) = (SortedTable::new(), HashMap::new());
            for step in 0..steps {
                let member = format!("member:{}", rng.below(members)).into_bytes();
                let score = match rng.below(50) {
                    0 => f64::INFINITY,
                    1 => f64::NEG_INFINITY,
                    _ => rng.below(scores) as f64 - 2.0,
                };
                let growing = (step * 4 / steps).is_multiple_of(2);
                match rng.below(10) {
                    0..6 if growing => {
                        let expected = match model.insert(member.clone(), score) {
                            None => Change::Added,
                            Some(old) if old == score => Change::Same,
                            Some(_) => Change::Updated,
                        };
                        assert_eq!(table.set(&member, score), expected);
                    }
                    0 if !table.is_empty() => {
                        let (gone, score) = table.remove_at(rng.index(table.len()));
                        assert_eq!(model.remove(gone.bytes()), Some(score));
                    }
                    _ => assert_eq!(table.remove(&member), model.remove(&member)),
                }
                if step % (steps / 8) == 0 {
                    compare(&table, &model);
                    compare(&table.clone(), &model);
                }
            }
            compare(&table, &model);
        }
    }

    #[test]
    fn built_at_once() {
        let (mut members, mut model) = (MemberDict::new(), HashMap::new());
        let mut rng = Rng::new([7, 8]);
        for n in 0..3000 {
            let member = format!("{}", rng.below(10_000)).into_bytes();
            members.insert(&member, f64::from(n % 7));
            model.insert(member, f64::from(n % 7));
        }
        let mut table = SortedTable::from_members(members);
        compare(&table, &model);
        assert_eq!(table.set(b"new", 3.0), Change::Added);
        model.insert(b"new".to_vec(), 3.0);
        compare(&table, &model);
        assert!(SortedTable::from_members(MemberDict::new()).is_empty());
    }

    #[test]
    fn ranges_go_at_once() {
        // Few and many, from both ends and out of the middle.
        for (len, ranks) in [
            (1, 0..1),
            (2, 0..1),
            (3, 1..3),
            (3000, 0..10),
            (3000, 0..2900),
            (3000, 100..3000),
            (3000, 700..2999),
            (3000, 1..1502),
            (3000, 1400..2900),
            (3000, 0..3000),
        ] {
            let mut rng = Rng::new([len, 3]);
            let (mut table, mut model) = (SortedTable::new(), HashMap::new());
            while table.len() < len as usize {
                let tail = if rng.below(5) == 0 {
                    "-on-the-heap".repeat(3)
                } else {
                    String::new()
                };
                let member = format!("{}{tail}", rng.below(1 << 20)).into_bytes();
                let score = rng.below(50) as f64;
                table.set(&member, score);
                model.insert(member, score);
            }
            let before: Vec<Vec<u8>> = table.members().iter().map(|(m, _)| m.to_vec()).collect();
            for (member, _) in &sorted(&model)[ranks.clone()] {
                model.remove(member);
            }
            table.remove_range(ranks.clone());
            compare(&table, &model);
            if SortedTable::is_large_part(ranks.len(), len as usize) {
                // A scan that is under way finds what it has not seen at lower positions only.
                let kept = before
                    .into_iter()
                    .filter(|member| model.contains_key(member));
                assert!(table.members().iter().map(|(m, _)| m.to_vec()).eq(kept));
            }
            for _ in 0..200 {
                let member = format!("{}", rng.below(1 << 20)).into_bytes();
                table.set(&member, 7.0);
                model.insert(member, 7.0);
            }
            compare(&table, &model);
        }
    }

    #[test]
    fn lex_ranks() {
        let mut table = SortedTable::with_capacity(1000);
        for i in 0..1000 {
            assert_eq!(table.set(format!("{i:03}").as_bytes(), 0.0), Change::Added);
        }
        assert_eq!(table.count_below_lex(b"500", false), 500);
        assert_eq!(table.count_below_lex(b"500", true), 501);
        assert_eq!(table.count_below_lex(b"", true), 0);
        assert_eq!(table.count_below_lex(b"5000", false), 501);
        assert_eq!(table.count_below_lex(b"x", false), 1000);
    }

    #[test]
    fn minus_zero_changes_nothing() {
        let mut table = SortedTable::new();
        table.set(b"a", 0.0);
        assert_eq!(table.set(b"a", -0.0), Change::Same);
        assert!(table.score(b"a").is_some_and(f64::is_sign_positive));
    }
}
