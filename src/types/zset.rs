//! [`ZSet`]: a sorted set, packed into a listpack while it is small and a [`SortedTable`] from then
//! on.
//!
//! The packed form is Redis': member and score in turn, in the order of scores and then members; a
//! score that is an integer is stored as one, any other as text. It turns into a table when a
//! member is added past the limits of `zset-max-listpack-entries` and `zset-max-listpack-value`,
//! and back only where a command has built it anew ([`ZSet::compact`]).

use std::cmp::Ordering::{Greater, Less};
use std::ops::Range;

use super::listpack::distinct::distinct;
use super::listpack::{self, Item, Listpack, Pos};
use super::member_dict::MemberDict;
use super::ordered::{self, Names};
use super::sorted_table::SortedTable;
use crate::util::num;
use crate::util::random::Rng;

pub use super::member_dict::Limits;
pub use super::sorted_table::Change;

/// Scores up to this absolute value are stored as integers when they are integers.
const INTEGER_MAX: f64 = (1u64 << 62) as f64;

/// A sorted set.
#[derive(Clone)]
pub enum ZSet {
    /// Members and scores in turn, sorted.
    Packed(Listpack),
    /// Everything larger.
    Table(Box<SortedTable>),
}

const _: () = assert!(size_of::<ZSet>() == 16);

/// An interval of scores.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ScoreRange {
    /// Lower end.
    pub min: f64,
    /// Whether the lower end itself is left out.
    pub min_exclusive: bool,
    /// Upper end.
    pub max: f64,
    /// Whether the upper end itself is left out.
    pub max_exclusive: bool,
}

/// An end of an interval of members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LexBound<'a> {
    /// Before every member, `-`.
    Min,
    /// After every member, `+`.
    Max,
    /// This member and from there on, `[member`.
    Included(&'a [u8]),
    /// Without this member, `(member`.
    Excluded(&'a [u8]),
}

impl Default for ZSet {
    fn default() -> ZSet {
        ZSet::new()
    }
}

impl ZSet {
    /// An empty sorted set.
    pub fn new() -> ZSet {
        ZSet::Packed(Listpack::new())
    }

    /// An empty sorted set for about `len` members of up to `value` bytes.
    pub fn sized(len: usize, value: usize, limits: Limits) -> ZSet {
        if len <= limits.entries && value <= limits.value {
            ZSet::new()
        } else {
            // The size is a client's word; more is made room for as it comes.
            ZSet::Table(Box::new(SortedTable::with_capacity(len.min(1 << 16))))
        }
    }

    /// The sorted set of these members, as commands that store a result build it: packed when it
    /// is within the limits. No score may be NaN.
    pub fn from_members(members: MemberDict<f64>, limits: Limits) -> ZSet {
        let mut zset = ZSet::Table(Box::new(SortedTable::from_members(members)));
        zset.compact(limits);
        zset
    }

    /// A sorted set from a listpack as Redis saves it; `None` unless it holds members with scores
    /// in their order, each member once.
    pub fn from_listpack(packed: Listpack) -> Option<ZSet> {
        let mut last: Option<(Item<'_>, f64)> = None;
        let mut scratch = [0; 20];
        let mut items = packed.iter();
        while let Some(member) = items.next() {
            let score = parse_score(items.next()?)?;
            let ordered = last.is_none_or(|(before, lower)| {
                lower < score || (lower == score && cmp(before, member.bytes(&mut scratch)) == Less)
            });
            if !ordered {
                return None;
            }
            last = Some((member, score));
        }
        distinct(packed.iter().step_by(2)).then_some(ZSet::Packed(packed))
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            ZSet::Packed(packed) => packed.len() / 2,
            ZSet::Table(table) => table.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Redis' name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self {
            ZSet::Packed(_) => "listpack",
            ZSet::Table(_) => "skiplist",
        }
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            ZSet::Packed(packed) => find(packed, member).map(|(_, score)| score),
            ZSet::Table(table) => table.score(member),
        }
    }

    /// Sets a member's score, which is a number.
    pub fn set(&mut self, member: &[u8], score: f64, limits: Limits) -> Change {
        self.update(member, limits, |_| Some(score))
            .unwrap_or(Change::Same)
    }

    /// Sets a member's score to what `decide` makes of the one it has, which must be a number;
    /// `None` leaves everything as it is.
    pub fn update(
        &mut self,
        member: &[u8],
        limits: Limits,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Option<Change> {
        let packed = match self {
            ZSet::Table(table) => return table.update(member, decide),
            ZSet::Packed(packed) => packed,
        };
        if let Some((at, old)) = find(packed, member) {
            let score = decide(Some(old))?;
            if old == score {
                return Some(Change::Same);
            }
            packed.delete_run(at, 2);
            insert(packed, member, score);
            return Some(Change::Updated);
        }
        let score = decide(None)?;
        if packed.len() / 2 < limits.entries
            && member.len() <= limits.value
            && packed.safe_to_add(member.len())
        {
            insert(packed, member, score);
        } else {
            self.make_table().set(member, score);
        }
        Some(Change::Added)
    }

    /// Removes a member and returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self {
            ZSet::Packed(packed) => {
                let (at, score) = find(packed, member)?;
                packed.delete_run(at, 2);
                Some(score)
            }
            ZSet::Table(table) => table.remove(member),
        }
    }

    /// A member's rank and score. The lowest score has rank 0, or the highest when `reverse`.
    pub fn rank(&self, member: &[u8], reverse: bool) -> Option<(usize, f64)> {
        let (rank, score) = match self {
            ZSet::Packed(_) => self
                .iter()
                .enumerate()
                .find_map(|(rank, (item, score))| item.is(member).then_some((rank, score)))?,
            ZSet::Table(table) => table.rank(member)?,
        };
        Some((if reverse { self.len() - 1 - rank } else { rank }, score))
    }

    /// The member and score at `rank`.
    pub fn at(&self, rank: usize) -> Option<(Item<'_>, f64)> {
        self.up(rank).next()
    }

    /// All members with their scores, from the lowest score.
    pub fn iter(&self) -> Pairs<'_> {
        self.up(0)
    }

    /// Members and scores from `rank` upwards.
    pub fn up(&self, rank: usize) -> Pairs<'_> {
        Pairs(match self {
            ZSet::Packed(packed) => {
                let from = i64::try_from(rank * 2).ok().and_then(|i| packed.seek(i));
                Source::Packed(from.map(|at| packed.iter_from(at)))
            }
            ZSet::Table(table) => Source::Up(table.order().up(rank), table.members()),
        })
    }

    /// Members and scores downwards; the first is the one at `rank - 1`, so `down(len)` is all.
    pub fn down(&self, rank: usize) -> Pairs<'_> {
        Pairs(match self {
            ZSet::Packed(packed) => {
                let mut items = packed.positions();
                for _ in rank..packed.len() / 2 {
                    items.next_back();
                    items.next_back();
                }
                Source::PackedDown(items)
            }
            ZSet::Table(table) => Source::Down(table.order().down(rank), table.members()),
        })
    }

    /// The ranks of the members whose score is in `range`.
    pub fn score_ranks(&self, range: &ScoreRange) -> Range<usize> {
        let start = self.count_below(range.min, range.min_exclusive);
        let end = self.count_below(range.max, !range.max_exclusive);
        start..end.max(start)
    }

    /// The ranks of the members between two bounds, when all have the same score.
    pub fn lex_ranks(&self, min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
        let rank = |bound, lower: bool| match bound {
            LexBound::Min => 0,
            LexBound::Max => self.len(),
            LexBound::Included(member) => self.count_below_lex(member, !lower),
            LexBound::Excluded(member) => self.count_below_lex(member, lower),
        };
        let (start, end) = (rank(min, true), rank(max, false));
        start..end.max(start)
    }

    /// Removes the member with the lowest score.
    pub fn pop_min(&mut self) -> Option<(Vec<u8>, f64)> {
        self.remove_at(0)
    }

    /// Removes the member with the highest score.
    pub fn pop_max(&mut self) -> Option<(Vec<u8>, f64)> {
        self.remove_at(self.len().checked_sub(1)?)
    }

    /// Removes up to `count` members from the low end, or the high one, and shows each of them to
    /// `visit`, the outermost first.
    pub fn pop(&mut self, high: bool, count: usize, mut visit: impl FnMut(Item<'_>, f64)) {
        let len = self.len();
        let count = count.min(len);
        match self {
            ZSet::Table(table) if !SortedTable::is_large_part(count, len) => {
                for left in (len - count..len).rev() {
                    let (member, score) = table.remove_at(if high { left } else { 0 });
                    visit(Item::Bytes(member.bytes()), score);
                }
            }
            _ if high => {
                self.down(len).take(count).for_each(|(m, s)| visit(m, s));
                self.remove_range(len - count..len);
            }
            _ => {
                self.up(0).take(count).for_each(|(m, s)| visit(m, s));
                self.remove_range(0..count);
            }
        }
    }

    /// Removes the member at `rank` and returns it with its score.
    pub fn remove_at(&mut self, rank: usize) -> Option<(Vec<u8>, f64)> {
        match self {
            ZSet::Packed(packed) => {
                let at = packed.seek(i64::try_from(rank * 2).ok()?)?;
                let (member, next) = packed.at_and_next(at);
                let pair = (member.to_vec(), score_of(packed.at(next?)));
                packed.delete_run(at, 2);
                Some(pair)
            }
            ZSet::Table(table) if rank < table.len() => {
                let (member, score) = table.remove_at(rank);
                Some((member.bytes().to_vec(), score))
            }
            ZSet::Table(_) => None,
        }
    }

    /// Removes the members with these ranks, which may end past the last one; how many they were.
    pub fn remove_range(&mut self, ranks: Range<usize>) -> usize {
        let end = ranks.end.min(self.len());
        let count = end.saturating_sub(ranks.start);
        match self {
            _ if count == 0 => {}
            ZSet::Packed(packed) => {
                packed.delete_range(ranks.start as i64 * 2, count * 2);
            }
            ZSet::Table(table) => table.remove_range(ranks.start..end),
        }
        count
    }

    /// The member and score with this number below [`ZSet::len`], in no particular order but each
    /// once: for random picks.
    pub fn nth(&self, number: usize) -> Option<(Item<'_>, f64)> {
        match self {
            ZSet::Packed(_) => self.at(number),
            ZSet::Table(table) => (number < table.len()).then(|| {
                let (member, score) = table.members().at(number);
                (Item::Bytes(member), *score)
            }),
        }
    }

    /// One of the members, each as likely as the others, with its score.
    pub fn random(&self, rng: &mut Rng) -> Option<(Item<'_>, f64)> {
        self.nth(rng.index(self.len()))
    }

    /// One step of a scan, as [`MemberDict::scan`]; a packed set is visited in one step.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Item<'_>, f64)) -> u64 {
        match self {
            ZSet::Packed(_) => {
                self.iter().for_each(|(member, score)| visit(member, score));
                0
            }
            ZSet::Table(table) => table.members().scan(cursor, count, |member, score| {
                visit(Item::Bytes(member), *score);
            }),
        }
    }

    /// Turns a table that is within the limits into the packed form, as commands that store a
    /// result do.
    pub fn compact(&mut self, limits: Limits) {
        let ZSet::Table(table) = self else { return };
        if table.len() > limits.entries {
            return;
        }
        let longest = table.members().iter().map(|(member, _)| member.len()).max();
        let bytes: usize = table.members().iter().map(|(m, _)| m.len() + 32).sum();
        if longest.unwrap_or(0) > limits.value || bytes > listpack::MAX_SIZE {
            return;
        }
        let mut packed = Listpack::new();
        for (member, score) in table.up(0) {
            push(&mut packed, member, score);
        }
        *self = ZSet::Packed(packed);
    }

    /// Turns the packed form into a table; hands out the table.
    pub fn make_table(&mut self) -> &mut SortedTable {
        if let ZSet::Packed(_) = self {
            let mut table = SortedTable::with_capacity(self.len() + 1);
            let mut scratch = [0; 20];
            for (member, score) in self.iter() {
                table.set(member.bytes(&mut scratch), score);
            }
            *self = ZSet::Table(Box::new(table));
        }
        match self {
            ZSet::Table(table) => table,
            ZSet::Packed(_) => unreachable!("it has just become a table"),
        }
    }

    /// Bytes of memory behind the value; long members are estimated from `samples` of them (0: all).
    pub fn memory(&self, samples: usize) -> usize {
        match self {
            ZSet::Packed(packed) => packed.bytes(),
            ZSet::Table(table) => table.memory(samples),
        }
    }

    fn count_below(&self, bound: f64, inclusive: bool) -> usize {
        match self {
            ZSet::Packed(_) => self
                .iter()
                .take_while(|(_, score)| *score < bound || (inclusive && *score == bound))
                .count(),
            ZSet::Table(table) => table.count_below(bound, inclusive),
        }
    }

    fn count_below_lex(&self, bound: &[u8], inclusive: bool) -> usize {
        match self {
            ZSet::Packed(_) => self
                .iter()
                .take_while(|(member, _)| match cmp(*member, bound) {
                    Less => true,
                    Greater => false,
                    _ => inclusive,
                })
                .count(),
            ZSet::Table(table) => table.count_below_lex(bound, inclusive),
        }
    }
}

/// Members with scores, from one end or the other.
pub struct Pairs<'a>(Source<'a>);

enum Source<'a> {
    Packed(Option<listpack::Iter<'a>>),
    PackedDown(listpack::Positions<'a>),
    Up(ordered::Up<'a>, &'a MemberDict<f64>),
    Down(ordered::Down<'a>, &'a MemberDict<f64>),
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Item<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, f64)> {
        let ((score, slot), members) = match &mut self.0 {
            Source::Packed(items) => {
                let items = items.as_mut()?;
                return Some((items.next()?, score_of(items.next()?)));
            }
            Source::PackedDown(items) => {
                let score = score_of(items.next_back()?.1);
                return Some((items.next_back()?.1, score));
            }
            Source::Up(pairs, members) => (pairs.next()?, *members),
            Source::Down(pairs, members) => (pairs.next()?, *members),
        };
        Some((Item::Bytes(members.name(slot)), score))
    }
}

/// The order of an item's text and a member.
fn cmp(item: Item<'_>, member: &[u8]) -> std::cmp::Ordering {
    item.bytes(&mut [0; 20]).cmp(member)
}

/// A score as it is stored in a listpack, unless it is not a number.
fn parse_score(item: Item<'_>) -> Option<f64> {
    match item {
        Item::Int(int) => Some(int as f64),
        Item::Bytes(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .filter(|score: &f64| !score.is_nan()),
    }
}

/// A score of a listpack that is known to hold scores.
fn score_of(item: Item<'_>) -> f64 {
    parse_score(item).unwrap_or(0.0)
}

/// Calls `f` with the stored form of a score.
fn with_score<R>(score: f64, f: impl FnOnce(Item<'_>) -> R) -> R {
    // Minus zero becomes the integer 0 here, as in Redis.
    if score.abs() <= INTEGER_MAX && score.trunc() == score {
        return f(Item::Int(score as i64));
    }
    let mut text = Vec::with_capacity(32);
    num::write_f64_stored(&mut text, score);
    f(Item::of(&text))
}

/// Where a member is, and its score.
fn find(packed: &Listpack, member: &[u8]) -> Option<(Pos, f64)> {
    let at = packed.find_first(member, 1)?;
    let score = packed.at(packed.next(at)?);
    Some((at, score_of(score)))
}

/// Adds a pair at the end.
fn push(packed: &mut Listpack, member: &[u8], score: f64) {
    with_score(score, |score| packed.append([Item::of(member), score]));
}

/// Adds a pair where it belongs.
fn insert(packed: &mut Listpack, member: &[u8], score: f64) {
    let mut items = packed.positions();
    while let (Some((at, other)), Some((_, theirs))) = (items.next(), items.next()) {
        let theirs = score_of(theirs);
        if theirs > score || (theirs == score && cmp(other, member) == Greater) {
            let at = packed.insert_before(at, member);
            with_score(score, |score| packed.insert_after(at, score));
            return;
        }
    }
    push(packed, member, score);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const LIMITS: Limits = Limits {
        entries: 128,
        value: 64,
    };

    fn pairs<'a>(pairs: impl Iterator<Item = (Item<'a>, f64)>) -> Vec<(Vec<u8>, f64)> {
        pairs
            .map(|(member, score)| (member.to_vec(), score))
            .collect()
    }

    fn compare(zset: &ZSet, model: &BTreeMap<Vec<u8>, f64>) {
        let mut all: Vec<(Vec<u8>, f64)> = model.iter().map(|(m, s)| (m.clone(), *s)).collect();
        // A stable sort keeps the members' order among equal scores.
        all.sort_by(|a, b| a.1.partial_cmp(&b.1).expect("numbers"));
        let len = all.len();
        assert_eq!(zset.len(), len);
        assert_eq!(pairs(zset.iter()), all);
        let reversed: Vec<_> = all.iter().rev().cloned().collect();
        assert_eq!(pairs(zset.down(len)), reversed);
        for rank in [0, 1, len / 2, len, len + 1] {
            assert_eq!(pairs(zset.up(rank)), all[rank.min(len)..]);
            assert_eq!(pairs(zset.down(rank)), reversed[len.saturating_sub(rank)..]);
        }
        for (rank, (member, score)) in all.iter().enumerate() {
            assert_eq!(zset.score(member), Some(*score));
            assert_eq!(zset.rank(member, false), Some((rank, *score)));
            assert_eq!(zset.rank(member, true), Some((len - 1 - rank, *score)));
        }
        for (min, max) in [
            (-1.0, 1.5),
            (2.0, 2.0),
            (3.0, 1.0),
            (f64::NEG_INFINITY, 2.5),
        ] {
            for exclusive in 0..4 {
                let range = ScoreRange {
                    min,
                    min_exclusive: exclusive & 1 > 0,
                    max,
                    max_exclusive: exclusive & 2 > 0,
                };
                let inside = |score: f64| {
                    (score > min || (score == min && exclusive & 1 == 0))
                        && (score < max || (score == max && exclusive & 2 == 0))
                };
                let ranks = zset.score_ranks(&range);
                let expected: Vec<_> = all.iter().filter(|p| inside(p.1)).cloned().collect();
                assert_eq!(pairs(zset.up(ranks.start).take(ranks.len())), expected);
            }
        }
        let mut numbers: Vec<_> = (0..len)
            .filter_map(|n| zset.nth(n).map(|(member, _)| member.to_vec()))
            .collect();
        numbers.sort();
        assert_eq!(numbers, model.keys().cloned().collect::<Vec<_>>());
        assert!(zset.nth(len).is_none());
    }

    fn storm(entries: usize, members: u64) {
        let limits = Limits { entries, value: 20 };
        let mut rng = Rng::new([entries as u64, members]);
        let (mut zset, mut model) = (ZSet::new(), BTreeMap::new());
        for step in 0..3000u64 {
            let member = match rng.below(members) {
                n if n.is_multiple_of(3) => n.to_string(),
                n => format!("member:{n}"),
            }
            .into_bytes();
            let score = match rng.below(20) {
                0 => f64::INFINITY,
                1 => f64::NEG_INFINITY,
                2 => 1e300 * rng.unit_f64(),
                3..8 => rng.unit_f64() * 4.0,
                _ => rng.below(6) as f64 - 2.0,
            };
            match rng.below(10) {
                0..6 => {
                    let expected = match model.insert(member.clone(), score) {
                        None => Change::Added,
                        Some(old) if old == score => Change::Same,
                        Some(_) => Change::Updated,
                    };
                    assert_eq!(zset.set(&member, score, limits), expected);
                }
                6 => {
                    if let Some((member, score)) = zset.pop_min() {
                        assert_eq!(model.remove(&member), Some(score));
                        assert!(model.values().all(|other| *other >= score));
                    }
                }
                7 => {
                    if let Some((member, score)) = zset.pop_max() {
                        assert_eq!(model.remove(&member), Some(score));
                        assert!(model.values().all(|other| *other <= score));
                    }
                }
                8 if rng.below(40) == 0 => {
                    let start = rng.index(zset.len() + 1);
                    let ranks = start..start + rng.index(zset.len() + 2);
                    for (member, _) in pairs(zset.up(start).take(ranks.len())) {
                        model.remove(&member);
                    }
                    let before = zset.len();
                    assert_eq!(zset.remove_range(ranks), before - model.len());
                }
                _ => assert_eq!(zset.remove(&member), model.remove(&member)),
            }
            if step % 100 == 0 {
                compare(&zset, &model);
                let mut copy = zset.clone();
                copy.compact(Limits {
                    entries: usize::MAX,
                    value: usize::MAX,
                });
                assert_eq!(copy.encoding(), "listpack");
                compare(&copy, &model);
            }
        }
    }

    #[test]
    fn behaves_as_a_sorted_map() {
        storm(usize::MAX, 60);
        storm(30, 100);
        storm(0, 1000);
    }

    #[test]
    fn converts_at_the_limits() {
        let mut zset = ZSet::new();
        for i in 0..128 {
            zset.set(format!("{i}").as_bytes(), 1.0, LIMITS);
        }
        assert_eq!(zset.encoding(), "listpack");
        assert_eq!(zset.set(b"5", 2.0, LIMITS), Change::Updated);
        assert_eq!(zset.encoding(), "listpack");
        zset.set(b"one more", 1.0, LIMITS);
        assert_eq!((zset.encoding(), zset.len()), ("skiplist", 129));
        let mut long = ZSet::new();
        long.set(&[b'x'; 64], 1.0, LIMITS);
        assert_eq!(long.encoding(), "listpack");
        long.set(&[b'x'; 65], 1.0, LIMITS);
        assert_eq!(long.encoding(), "skiplist");
        long.compact(LIMITS);
        assert_eq!(long.encoding(), "skiplist");
        let mut members = MemberDict::new();
        (0..128).for_each(|i| assert!(members.insert(format!("{i}").as_bytes(), f64::from(i % 9))));
        let built = ZSet::from_members(members.clone(), LIMITS);
        assert_eq!((built.encoding(), built.len()), ("listpack", 128));
        assert_eq!(built.rank(b"9", false), Some((12, 0.0)));
        members.insert(b"one more", 0.0);
        assert_eq!(ZSet::from_members(members, LIMITS).encoding(), "skiplist");
        assert_eq!(ZSet::sized(129, 1, LIMITS).encoding(), "skiplist");
        assert_eq!(ZSet::sized(128, 64, LIMITS).encoding(), "listpack");
    }

    #[test]
    fn updates_see_the_old_score() {
        for entries in [0, 128] {
            let limits = Limits { entries, value: 64 };
            let mut zset = ZSet::new();
            let add = |by: f64| move |old: Option<f64>| Some(old.unwrap_or(0.0) + by);
            assert_eq!(zset.update(b"a", limits, |_| None), None);
            assert!(zset.is_empty());
            assert_eq!(zset.update(b"a", limits, add(2.0)), Some(Change::Added));
            zset.set(b"b", 4.0, limits);
            assert_eq!(zset.update(b"a", limits, add(1.0)), Some(Change::Updated));
            assert_eq!(zset.rank(b"a", false), Some((0, 3.0)));
            assert_eq!(zset.update(b"a", limits, add(5.0)), Some(Change::Updated));
            assert_eq!(zset.rank(b"a", false), Some((1, 8.0)));
            assert_eq!(zset.update(b"a", limits, add(0.0)), Some(Change::Same));
            assert_eq!(zset.update(b"a", limits, |_| None), None);
            assert_eq!(zset.score(b"a"), Some(8.0));
        }
    }

    #[test]
    fn pops_from_both_ends() {
        for entries in [0, 128] {
            let limits = Limits { entries, value: 64 };
            let mut zset = ZSet::new();
            for i in 0..10 {
                zset.set(format!("{i}").as_bytes(), f64::from(i), limits);
            }
            let mut popped = Vec::new();
            let mut pop = |zset: &mut ZSet, high, count| {
                popped.clear();
                zset.pop(high, count, |member, score| {
                    assert_eq!(member.to_vec(), format!("{score}").into_bytes());
                    popped.push(score as u32);
                });
                popped.clone()
            };
            assert_eq!(pop(&mut zset, false, 2), [0, 1]);
            assert_eq!(pop(&mut zset, true, 3), [9, 8, 7]);
            assert!(pop(&mut zset, true, 0).is_empty());
            assert_eq!(pop(&mut zset, true, usize::MAX), [6, 5, 4, 3, 2]);
            assert!(zset.is_empty());
            assert!(pop(&mut zset, false, 1).is_empty());
        }
    }

    #[test]
    fn packed_scores_look_as_in_redis() {
        let mut zset = ZSet::new();
        for (member, score) in [
            ("a", -0.0),
            ("b", 3.0),
            ("c", 3.5),
            ("d", 1e19),
            ("e", f64::INFINITY),
            ("f", 0.1),
        ] {
            zset.set(member.as_bytes(), score, LIMITS);
        }
        let ZSet::Packed(packed) = &zset else {
            panic!("six members are packed")
        };
        let texts: Vec<String> = packed
            .iter()
            .map(|item| String::from_utf8_lossy(&item.to_vec()).into_owned())
            .collect();
        let expected = "a 0 f 0.10000000000000001 b 3 c 3.5 d 1e+19 e inf";
        assert_eq!(texts.join(" "), expected);
        assert!(zset.score(b"a").is_some_and(f64::is_sign_positive));
        assert!(ZSet::from_listpack(packed.clone()).is_some());
        let backwards = Listpack::from_items([b"b", b"2", b"a", b"1"].map(|t| Item::of(t)));
        assert!(ZSet::from_listpack(backwards).is_none());
        let twice = Listpack::from_items([b"b", b"2", b"b", b"3"].map(|t| Item::of(t)));
        assert!(ZSet::from_listpack(twice).is_none());
    }

    #[test]
    fn lex_ranges() {
        for entries in [0, 128] {
            let limits = Limits { entries, value: 64 };
            let mut zset = ZSet::new();
            for member in ["a", "b", "c", "d", "e"] {
                zset.set(member.as_bytes(), 7.0, limits);
            }
            use LexBound::*;
            for (min, max, expected) in [
                (Min, Max, 0..5),
                (Max, Min, 5..5),
                (Included(&b"b"[..]), Included(&b"d"[..]), 1..4),
                (Excluded(b"b"), Excluded(b"d"), 2..3),
                (Excluded(b"b"), Excluded(b"b"), 2..2),
                (Included(b"aa"), Max, 1..5),
                (Min, Excluded(b"a"), 0..0),
            ] {
                assert_eq!(zset.lex_ranks(min, max), expected, "{min:?} {max:?}");
            }
        }
    }
}
