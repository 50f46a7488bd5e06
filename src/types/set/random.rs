//! Random members of a [`Set`]: taken out, or looked at, with and without repetition.
//!
//! A table and an intset find a member by its number in constant time; a listpack has to be
//! walked, so there each function walks once, however many members it is to find.

use std::collections::HashSet;

use super::{Limits, Set};
use crate::types::listpack::{Item, Listpack};
use crate::util::random::Rng;

/// When more than this many members go for each one that stays, the members that stay are moved
/// to a new set instead.
const MOVE: usize = 5;

impl Set {
    /// Takes out one of the members, each as likely as the others, and hands it to `visit`.
    #[inline]
    pub fn pop_with<R>(&mut self, rng: &mut Rng, visit: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let number = rng.index(self.len());
        match self {
            Set::Ints(ints) => ints.remove_at(number).map(|int| visit(Item::Int(int))),
            Set::Packed(packed) => {
                let at = packed.seek(number as i64)?;
                let result = visit(packed.at(at));
                packed.delete(at);
                Some(result)
            }
            Set::Table(table) if table.is_empty() => None,
            Set::Table(table) => {
                let (member, ()) = table.remove_at(number);
                Some(visit(Item::Bytes(member.bytes())))
            }
        }
    }

    /// Takes out `count` members, which are fewer than there are, and hands them to `visit`.
    pub fn pop_many(
        &mut self,
        count: usize,
        rng: &mut Rng,
        limits: Limits,
        mut visit: impl FnMut(Item<'_>),
    ) {
        let left = self.len().saturating_sub(count);
        if let Set::Packed(packed) = self {
            let mut walk = Selection::new(packed.len(), count);
            let mut cut = Vec::with_capacity(count.min(packed.len()));
            for (at, member) in packed.positions().filter(|_| walk.takes(rng)) {
                cut.push(at);
                visit(member);
            }
            packed.delete_each(&cut);
        } else if left > count / MOVE {
            for _ in 0..count {
                self.pop_with(rng, &mut visit);
            }
        } else {
            let mut rest = match self {
                Set::Ints(_) => Set::new(),
                _ => Set::Packed(Listpack::new()),
            };
            rest.reserve(left, limits);
            for _ in 0..left {
                self.pop_with(rng, |member| rest.add_item(member, limits));
            }
            self.iter().for_each(visit);
            *self = rest;
        }
    }

    /// Hands `count` different members, which are fewer than there are, to `visit`.
    pub fn sample<'a>(&'a self, count: usize, rng: &mut Rng, mut visit: impl FnMut(Item<'a>)) {
        let len = self.len();
        if count > len / 3 || matches!(self, Set::Packed(_)) {
            let mut walk = Selection::new(len, count);
            self.iter().filter(|_| walk.takes(rng)).for_each(visit);
            return;
        }
        // Floyd's method: a number that was drawn before gives way to the highest one so far.
        let mut drawn = HashSet::with_capacity(count);
        for highest in len - count..len {
            let mut number = rng.index(highest + 1);
            if !drawn.insert(number) {
                number = highest;
                drawn.insert(number);
            }
            if let Some(member) = self.nth(number) {
                visit(member);
            }
        }
    }

    /// Hands a random member to `visit`, `count` times or until it returns false; a member may
    /// come several times.
    pub fn draw<'a>(&'a self, count: u64, rng: &mut Rng, mut visit: impl FnMut(Item<'a>) -> bool) {
        let walked: Vec<Item<'a>> = match self {
            Set::Packed(packed) if count > 1 => packed.iter().collect(),
            _ => Vec::new(),
        };
        for _ in 0..count {
            let number = rng.index(self.len());
            let member = walked.get(number).copied().or_else(|| self.nth(number));
            if !member.is_some_and(&mut visit) {
                return;
            }
        }
    }
}

/// Chooses some of a row of elements in one walk, each choice as likely as the others.
struct Selection {
    /// Elements still to come.
    left: usize,
    /// How many of them are to be taken.
    wanted: usize,
}

impl Selection {
    fn new(left: usize, wanted: usize) -> Selection {
        Selection { left, wanted }
    }

    /// Whether the next element is taken.
    fn takes(&mut self, rng: &mut Rng) -> bool {
        let takes = self.wanted > 0 && rng.index(self.left) < self.wanted;
        self.left = self.left.saturating_sub(1);
        self.wanted -= usize::from(takes);
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const LIMITS: Limits = Limits {
        ints: 512,
        entries: 128,
        value: 64,
    };

    /// A set of so many members in each form.
    fn forms(len: usize) -> [Set; 3] {
        let of = |prefix: &str, limits| {
            let mut set = Set::new();
            for n in 0..len {
                set.add(format!("{prefix}{n}").as_bytes(), limits);
            }
            set
        };
        let none = Limits {
            ints: 0,
            entries: 0,
            value: 0,
        };
        [of("", LIMITS), of("m", LIMITS), of("", none)]
    }

    fn all(set: &Set) -> HashSet<Vec<u8>> {
        set.iter().map(Item::to_vec).collect()
    }

    #[test]
    fn popped_and_left_members_are_the_set() {
        let mut rng = Rng::new([1, 2]);
        for set in forms(100) {
            for count in [0, 1, 2, 50, 82, 83, 84, 85, 98, 99] {
                let mut left = set.clone();
                let mut gone = HashSet::new();
                left.pop_many(count, &mut rng, LIMITS, |member| {
                    assert!(gone.insert(member.to_vec()));
                });
                assert_eq!((gone.len(), left.len()), (count, 100 - count));
                gone.extend(all(&left));
                assert_eq!(gone, all(&set));
            }
        }
    }

    #[test]
    fn what_is_left_of_a_large_table_is_packed() {
        let mut rng = Rng::new([3, 4]);
        let [_, _, mut table] = forms(1000);
        table.pop_many(100, &mut rng, LIMITS, |_| {});
        assert_eq!((table.encoding(), table.len()), ("hashtable", 900));
        table.pop_many(890, &mut rng, LIMITS, |_| {});
        assert_eq!((table.encoding(), table.len()), ("listpack", 10));
        let [_, _, mut table] = forms(10_000);
        table.pop_many(9_800, &mut rng, LIMITS, |_| {});
        assert_eq!((table.encoding(), table.len()), ("hashtable", 200));
    }

    #[test]
    fn nothing_comes_from_an_empty_set() {
        let mut rng = Rng::new([5, 6]);
        for mut set in forms(0) {
            assert_eq!(set.pop_with(&mut rng, |_| ()), None);
            set.draw(u64::MAX, &mut rng, |_| panic!("a member of an empty set"));
        }
        for mut set in forms(1) {
            assert_eq!(
                set.pop_with(&mut rng, |m| m.to_vec()).map(|m| m.len() > 2),
                Some(false)
            );
            assert_eq!(set.pop_with(&mut rng, |_| ()), None);
        }
    }

    #[test]
    fn samples_are_different_and_fair() {
        let mut rng = Rng::new([7, 8]);
        for set in forms(40) {
            for count in [1, 5, 13, 14, 39] {
                let mut times: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
                const ROUNDS: usize = 4000;
                for _ in 0..ROUNDS {
                    let mut seen = HashSet::new();
                    set.sample(count, &mut rng, |member| {
                        assert!(seen.insert(member.to_vec()));
                    });
                    assert_eq!(seen.len(), count);
                    seen.into_iter()
                        .for_each(|m| *times.entry(m).or_default() += 1);
                }
                // About six standard deviations of a binomial.
                let expected = ROUNDS * count / 40;
                assert_eq!(times.len(), 40);
                assert!(
                    times.values().all(|n| n.abs_diff(expected) < 200),
                    "{times:?}"
                );
            }
        }
    }

    #[test]
    fn draws_repeat_and_end_when_told() {
        let mut rng = Rng::new([9, 10]);
        for set in forms(3) {
            let mut times: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
            set.draw(3000, &mut rng, |member| {
                *times.entry(member.to_vec()).or_default() += 1;
                true
            });
            assert_eq!(times.len(), 3);
            assert!(times.values().all(|n| n.abs_diff(1000) < 160), "{times:?}");
            let mut drawn = 0;
            set.draw(1 << 62, &mut rng, |_| {
                drawn += 1;
                drawn < 7
            });
            assert_eq!(drawn, 7);
        }
    }
}
