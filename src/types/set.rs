//! [`Set`]: members without order; an intset while all are integers, a listpack while they are
//! few and short, a [`MemberDict`] from then on.
//!
//! The rules of conversion are those of Redis 7.2: an intset that gets a member which is no integer
//! becomes a listpack if everything fits into one; an intset past `set-max-intset-entries`, or a
//! listpack past `set-max-listpack-entries` and `-value`, becomes a table. There is no way back but
//! [`Set::compact`], for commands that store a result.

use super::intset::{self, IntSet};
use super::listpack::distinct::distinct;
use super::listpack::{self, Item, Listpack};
use super::member_dict::{Member, MemberDict, hash_of};
use crate::util::num;
use crate::util::random::Rng;

mod random;

/// A set.
///
/// Three forms with pointers of two words do not fit into two words. With its tag in one byte
/// (`repr(u8)`; rustc would widen it) a set can still share that byte with an enum around it, which
/// then takes 24 bytes like the set itself.
#[derive(Clone)]
#[repr(u8)]
pub enum Set {
    /// Integers only.
    Ints(IntSet),
    /// Few short members.
    Packed(Listpack),
    /// Everything larger.
    Table(Box<MemberDict<()>>),
}

const _: () = assert!(size_of::<Set>() == 24 && size_of::<Option<Set>>() == 24);

/// Up to where a set is kept in a compact form; the configuration's `set-max-*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most members of an intset.
    pub ints: usize,
    /// The most members of a listpack.
    pub entries: usize,
    /// The longest member of a listpack in bytes.
    pub value: usize,
}

impl Limits {
    /// Redis lets no intset grow past this.
    fn ints(self) -> usize {
        self.ints.min(1 << 30)
    }
}

impl Set {
    /// An empty set that will be an intset.
    pub fn new() -> Set {
        Set::Ints(IntSet::new())
    }

    /// An empty set in the form that suits its first member and about `len` members.
    pub fn sized(first: &[u8], len: usize, limits: Limits) -> Set {
        if len <= limits.ints && num::parse_i64(first).is_some() {
            Set::Ints(IntSet::new())
        } else if len <= limits.entries {
            Set::Packed(Listpack::new())
        } else {
            // The size is a client's word; more is made room for as it comes.
            Set::Table(Box::new(MemberDict::with_capacity(len.min(1 << 16))))
        }
    }

    /// A set of these members, of which none may come twice, in the form that suits them.
    pub fn from_distinct(members: &[Item<'_>], limits: Limits) -> Set {
        if members.len() <= limits.ints() {
            let ints: Option<Vec<i64>> = members.iter().map(|member| member.integer()).collect();
            if let Some(ints) = ints {
                return Set::Ints(IntSet::from_values(ints));
            }
        }
        if members.len() <= limits.entries
            && members
                .iter()
                .all(|member| member.text_len() <= limits.value)
            && members
                .iter()
                .map(|member| member.encoded_len())
                .sum::<usize>()
                < listpack::MAX_SIZE
        {
            return Set::Packed(Listpack::from_items(members.iter().copied()));
        }
        let mut table = MemberDict::with_capacity(members.len());
        let mut scratch = [0; 20];
        for member in members {
            let text = member.bytes(&mut scratch);
            table.insert_new(hash_of(text), Member::new(text), ());
        }
        Set::Table(Box::new(table))
    }

    /// A set from a listpack as Redis saves it; `None` unless each member is there once.
    pub fn from_listpack(packed: Listpack) -> Option<Set> {
        distinct(packed.iter()).then_some(Set::Packed(packed))
    }

    /// Prepares for `more` members to come: takes the form of a table when they are more than the
    /// present form may hold.
    pub fn reserve(&mut self, more: usize, limits: Limits) {
        let most = match self {
            Set::Ints(_) => limits.ints,
            Set::Packed(_) => limits.entries,
            Set::Table(_) => return,
        };
        if more > most {
            self.make_table(more.min(1 << 16));
        }
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Set::Ints(ints) => ints.len(),
            Set::Packed(packed) => packed.len(),
            Set::Table(table) => table.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Redis' name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self {
            Set::Ints(_) => "intset",
            Set::Packed(_) => "listpack",
            Set::Table(_) => "hashtable",
        }
    }

    /// Whether `member` is in the set.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match self {
            Set::Ints(ints) => num::parse_i64(member).is_some_and(|int| ints.contains(int)),
            Set::Packed(packed) => packed.find_first(member, 0).is_some(),
            Set::Table(table) => table.contains(member),
        }
    }

    /// As [`Set::contains`], for a member of another set.
    pub fn contains_item(&self, member: Item<'_>) -> bool {
        Probe::new(member).is_in(self)
    }

    /// Adds a member; whether it is new.
    pub fn add(&mut self, member: &[u8], limits: Limits) -> bool {
        match self {
            Set::Table(table) => add_to_table(table, member),
            Set::Packed(packed) => {
                if packed.find_first(member, 0).is_some() {
                    return false;
                }
                if packed.len() < limits.entries
                    && member.len() <= limits.value
                    && packed.safe_to_add(member.len())
                {
                    packed.push_back(member);
                } else {
                    add_to_table(self.make_table(1), member);
                }
                true
            }
            Set::Ints(ints) => {
                if let Some(int) = num::parse_i64(member) {
                    let new = ints.add(int);
                    if new && ints.len() > limits.ints() {
                        self.make_table(0);
                    }
                    return new;
                }
                if ints.len() < limits.entries
                    && member.len() <= limits.value
                    && ints_fit(ints, member.len(), limits)
                {
                    let mut packed = Listpack::from_items(ints.iter().map(Item::Int));
                    packed.push_back(member);
                    *self = Set::Packed(packed);
                } else {
                    add_to_table(self.make_table(1), member);
                }
                true
            }
        }
    }

    /// As [`Set::add`], for a member of another set.
    pub fn add_item(&mut self, member: Item<'_>, limits: Limits) -> bool {
        match (&mut *self, member) {
            (Set::Ints(ints), Item::Int(int)) => {
                let new = ints.add(int);
                if new && ints.len() > limits.ints() {
                    self.make_table(0);
                }
                new
            }
            _ => self.add(member.bytes(&mut [0; 20]), limits),
        }
    }

    /// Removes a member; whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Set::Ints(ints) => num::parse_i64(member).is_some_and(|int| ints.remove(int)),
            Set::Packed(packed) => {
                let found = packed.find_first(member, 0);
                if let Some(at) = found {
                    packed.delete(at);
                }
                found.is_some()
            }
            Set::Table(table) => table.remove(member).is_some(),
        }
    }

    /// All members.
    pub fn iter(&self) -> Members<'_> {
        Members(match self {
            Set::Ints(ints) => Source::Ints(ints.iter()),
            Set::Packed(packed) => Source::Packed(packed.iter()),
            Set::Table(table) => Source::Table(table, 0),
        })
    }

    /// The member with this number below [`Set::len`]: each is there once, until the next change.
    /// Finding it in a listpack is a walk.
    pub fn nth(&self, number: usize) -> Option<Item<'_>> {
        match self {
            Set::Ints(ints) => ints.get(number).map(Item::Int),
            Set::Packed(packed) => packed.get(i64::try_from(number).ok()?),
            Set::Table(table) => (number < table.len()).then(|| Item::Bytes(table.at(number).0)),
        }
    }

    /// One of the members, each as likely as the others.
    pub fn random(&self, rng: &mut Rng) -> Option<Item<'_>> {
        self.nth(rng.index(self.len()))
    }

    /// Removes one of the members, each as likely as the others.
    pub fn pop(&mut self, rng: &mut Rng) -> Option<Vec<u8>> {
        self.pop_with(rng, |member| member.to_vec())
    }

    /// One step of a scan, as [`MemberDict::scan`]; the compact forms are visited in one step.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Item<'_>)) -> u64 {
        match self {
            Set::Table(table) => table.scan(cursor, count, |member, ()| visit(Item::Bytes(member))),
            _ => {
                self.iter().for_each(visit);
                0
            }
        }
    }

    /// Turns a set of integers into an intset if it may be one, as commands that store a result do.
    pub fn compact(&mut self, limits: Limits) {
        if matches!(self, Set::Ints(_)) || self.len() > limits.ints() {
            return;
        }
        let ints: Option<Vec<i64>> = self.iter().map(Item::integer).collect();
        if let Some(ints) = ints {
            *self = Set::Ints(IntSet::from_values(ints));
        }
    }

    /// Takes the form of a table with room for `more` members; hands out the table.
    pub fn make_table(&mut self, more: usize) -> &mut MemberDict<()> {
        if !matches!(self, Set::Table(_)) {
            let mut table = MemberDict::with_capacity(self.len() + more);
            let mut scratch = [0; 20];
            for member in self.iter() {
                add_to_table(&mut table, member.bytes(&mut scratch));
            }
            *self = Set::Table(Box::new(table));
        }
        match self {
            Set::Table(table) => table,
            _ => unreachable!("it has just become a table"),
        }
    }

    /// Bytes of memory behind the value; long members are estimated from `samples` of them (0: all).
    pub fn memory(&self, samples: usize) -> usize {
        match self {
            Set::Ints(ints) => ints.bytes(),
            Set::Packed(packed) => packed.bytes(),
            Set::Table(table) => size_of::<MemberDict<()>>() + table.memory(samples),
        }
    }
}

impl Default for Set {
    fn default() -> Set {
        Set::new()
    }
}

/// Hands the members that all `sets` have in common to `visit`, until it returns false. Walks the
/// smallest set and asks the others, the next smallest first. No sets have nothing in common.
pub fn intersect<'a>(sets: &[&'a Set], mut visit: impl FnMut(Item<'a>) -> bool) {
    let mut sets = sets.to_vec();
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else {
        return;
    };
    for member in smallest.iter() {
        let mut probe = Probe::new(member);
        if others.iter().all(|set| probe.is_in(set)) && !visit(member) {
            return;
        }
    }
}

/// A member to be looked up in several sets: its text and its hash are made once, when needed.
pub struct Probe<'a> {
    member: Item<'a>,
    scratch: [u8; 20],
    hash: Option<u64>,
}

impl<'a> Probe<'a> {
    /// Prepares a member.
    #[inline]
    pub fn new(member: Item<'a>) -> Probe<'a> {
        Probe {
            member,
            scratch: [0; 20],
            hash: None,
        }
    }

    /// The member.
    #[inline]
    pub fn item(&self) -> Item<'a> {
        self.member
    }

    /// The member's text.
    #[inline]
    pub fn text(&mut self) -> &[u8] {
        self.member.bytes(&mut self.scratch)
    }

    /// The member's [`hash_of`] and text.
    #[inline]
    pub fn hashed(&mut self) -> (u64, &[u8]) {
        let text = self.member.bytes(&mut self.scratch);
        (*self.hash.get_or_insert_with(|| hash_of(text)), text)
    }

    /// Whether the member is in `set`.
    #[inline]
    pub fn is_in(&mut self, set: &Set) -> bool {
        match set {
            Set::Ints(ints) => self.member.integer().is_some_and(|int| ints.contains(int)),
            Set::Packed(packed) => {
                let text = self.member.bytes(&mut self.scratch);
                packed.find_first(text, 0).is_some()
            }
            Set::Table(table) => {
                let (hash, text) = self.hashed();
                table.find_hashed(hash, text).is_some()
            }
        }
    }
}

/// Members of a set.
#[derive(Clone)]
pub struct Members<'a>(Source<'a>);

#[derive(Clone)]
enum Source<'a> {
    Ints(intset::Iter<'a>),
    Packed(listpack::Iter<'a>),
    /// A dict and the next position.
    Table(&'a MemberDict<()>, usize),
}

impl<'a> Iterator for Members<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match &mut self.0 {
            Source::Ints(ints) => ints.next().map(Item::Int),
            Source::Packed(items) => items.next(),
            Source::Table(table, next) => {
                if *next == table.len() {
                    return None;
                }
                *next += 1;
                Some(Item::Bytes(table.at(*next - 1).0))
            }
        }
    }

    /// What `for_each` runs on: the members of a table segment by segment.
    #[inline]
    fn fold<B, F>(self, init: B, mut f: F) -> B
    where
        F: FnMut(B, Item<'a>) -> B,
    {
        match self.0 {
            Source::Ints(ints) => ints.map(Item::Int).fold(init, f),
            Source::Packed(items) => items.fold(init, f),
            Source::Table(table, next) => table
                .iter()
                .skip(next)
                .fold(init, |state, (member, ())| f(state, Item::Bytes(member))),
        }
    }
}

/// Whether the integers, and one more member of `len` bytes, fit into a listpack.
fn ints_fit(ints: &IntSet, len: usize, limits: Limits) -> bool {
    // The longest integers are at the ends.
    let ends = [ints.min(), ints.max()];
    let longest = ends.iter().flatten().map(|int| num::digits(*int)).max();
    let widest = ends
        .iter()
        .flatten()
        .map(|int| Item::Int(*int).encoded_len())
        .max();
    longest.unwrap_or(0) <= limits.value
        && widest.unwrap_or(0) * ints.len() + len <= listpack::MAX_SIZE
}

/// Adds a member; whether it is new.
fn add_to_table(table: &mut MemberDict<()>, member: &[u8]) -> bool {
    let hash = hash_of(member);
    if table.find_hashed(hash, member).is_some() {
        return false;
    }
    table.insert_new(hash, Member::new(member), ());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const LIMITS: Limits = Limits {
        ints: 512,
        entries: 128,
        value: 64,
    };

    fn contents(set: &Set) -> BTreeSet<Vec<u8>> {
        set.iter().map(Item::to_vec).collect()
    }

    fn compare(set: &Set, model: &BTreeSet<Vec<u8>>) {
        assert_eq!(set.len(), model.len());
        assert_eq!(&contents(set), model);
        let nth: BTreeSet<_> = (0..set.len())
            .filter_map(|n| set.nth(n).map(Item::to_vec))
            .collect();
        assert_eq!(&nth, model);
        let mut scanned = BTreeSet::new();
        let mut cursor = 0;
        loop {
            cursor = set.scan(cursor, 10, |member| {
                scanned.insert(member.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(&scanned, model);
    }

    /// `words`: of ten members, how many are not integers.
    fn storm(limits: Limits, members: u64, words: u64) {
        let mut rng = Rng::new([members, words]);
        let (mut set, mut model) = (Set::new(), BTreeSet::new());
        for step in 0..5000u64 {
            let n = rng.below(members);
            let member = if rng.below(10) < words {
                format!("member:{n}")
            } else {
                (n as i64 * 1_000_003 - 5000).to_string()
            }
            .into_bytes();
            match rng.below(10) {
                0..5 => assert_eq!(set.add(&member, limits), model.insert(member)),
                5 => {
                    let item = Item::of(&member);
                    assert_eq!(set.add_item(item, limits), model.insert(member.clone()));
                }
                6 => match set.pop(&mut rng) {
                    Some(gone) => assert!(model.remove(&gone)),
                    None => assert!(model.is_empty()),
                },
                7 => {
                    assert_eq!(set.contains(&member), model.contains(&member));
                    assert_eq!(
                        set.contains_item(Item::of(&member)),
                        model.contains(&member)
                    );
                }
                _ => assert_eq!(set.remove(&member), model.remove(&member)),
            }
            if step % 250 == 0 {
                compare(&set, &model);
                let mut copy = set.clone();
                copy.compact(LIMITS);
                compare(&copy, &model);
            }
        }
        compare(&set, &model);
    }

    #[test]
    fn behaves_as_a_set() {
        let small = Limits {
            ints: 20,
            entries: 20,
            value: 64,
        };
        let none = Limits {
            ints: 0,
            entries: 0,
            value: 0,
        };
        for words in [0, 1, 10] {
            storm(LIMITS, 60, words);
            storm(small, 60, words);
            storm(none, 1000, words);
        }
    }

    fn of(members: &[&str], limits: Limits) -> Set {
        let mut set = Set::new();
        for member in members {
            set.add(member.as_bytes(), limits);
        }
        set
    }

    #[test]
    fn converts_as_redis_does() {
        let long = "x".repeat(65);
        assert_eq!(of(&["1", "2"], LIMITS).encoding(), "intset");
        assert_eq!(of(&["1", "a"], LIMITS).encoding(), "listpack");
        assert_eq!(of(&["1", &long], LIMITS).encoding(), "hashtable");
        assert_eq!(of(&["a", &long], LIMITS).encoding(), "hashtable");
        assert_eq!(of(&["a", "1"], LIMITS).encoding(), "listpack");
        let narrow = Limits { value: 3, ..LIMITS };
        assert_eq!(of(&["1234", "a"], narrow).encoding(), "hashtable");
        let numbers: Vec<String> = (0..513).map(|n| n.to_string()).collect();
        let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
        assert_eq!(of(&numbers[..512], LIMITS).encoding(), "intset");
        assert_eq!(of(&numbers, LIMITS).encoding(), "hashtable");
        let with = |count: usize| {
            let mut set = of(&numbers[..count], LIMITS);
            set.add(b"word", LIMITS);
            set
        };
        assert_eq!(with(127).encoding(), "listpack");
        assert_eq!(with(128).encoding(), "hashtable");
        let mut full = with(127);
        assert!(!full.add(b"5", LIMITS) && full.encoding() == "listpack");
        assert!(full.add(b"another", LIMITS) && full.encoding() == "hashtable");
        full.remove(b"word");
        full.remove(b"another");
        full.compact(LIMITS);
        assert_eq!((full.encoding(), full.len()), ("intset", 127));
    }

    #[test]
    fn built_in_one_go() {
        let numbers: Vec<String> = (0..513).map(|n| n.to_string()).collect();
        let numbers: Vec<Item<'_>> = numbers.iter().map(|n| Item::Bytes(n.as_bytes())).collect();
        let words: Vec<String> = (0..129).map(|n| format!("w{n}")).collect();
        let words: Vec<Item<'_>> = words.iter().map(|w| Item::of(w.as_bytes())).collect();
        let long = "x".repeat(65);
        let narrow = Limits { ints: 5, ..LIMITS };
        for (members, limits, encoding) in [
            (&numbers[..0], LIMITS, "intset"),
            (&numbers[..512], LIMITS, "intset"),
            (&numbers[..], LIMITS, "hashtable"),
            (&numbers[..5], narrow, "intset"),
            (&numbers[..6], narrow, "listpack"),
            (&words[..128], LIMITS, "listpack"),
            (&words[..], LIMITS, "hashtable"),
            (&[words[0], Item::of(long.as_bytes())], LIMITS, "hashtable"),
        ] {
            let set = Set::from_distinct(members, limits);
            assert_eq!(set.encoding(), encoding);
            compare(
                &set,
                &members.iter().map(|member| member.to_vec()).collect(),
            );
        }
    }

    #[test]
    fn sized_for_what_is_to_come() {
        for (first, len, encoding) in [
            (&b"1"[..], 512, "intset"),
            (b"1", 513, "hashtable"),
            (b"a", 128, "listpack"),
            (b"a", 129, "hashtable"),
            (b"01", 1, "listpack"),
        ] {
            assert_eq!(Set::sized(first, len, LIMITS).encoding(), encoding);
        }
        let mut set = of(&["1"], LIMITS);
        set.reserve(512, LIMITS);
        assert_eq!(set.encoding(), "intset");
        set.reserve(513, LIMITS);
        assert_eq!((set.encoding(), set.contains(b"1")), ("hashtable", true));
    }

    #[test]
    fn intersections_of_all_forms() {
        let mut rng = Rng::new([4, 4]);
        let tables = Limits {
            ints: 0,
            entries: 0,
            value: 0,
        };
        for round in 0..200usize {
            let mut sets = Vec::new();
            let mut models: Vec<BTreeSet<Vec<u8>>> = Vec::new();
            for form in 0..1 + round % 4 {
                let (mut set, mut model) = (Set::new(), BTreeSet::new());
                let limits = if (round + form).is_multiple_of(3) {
                    tables
                } else {
                    LIMITS
                };
                let words = (round / 2 + form).is_multiple_of(2);
                for _ in 0..60 {
                    let n = rng.below(50).to_string();
                    let n = if words && rng.below(2) == 0 {
                        format!("w{n}")
                    } else {
                        n
                    };
                    set.add(n.as_bytes(), limits);
                    model.insert(n.into_bytes());
                }
                sets.push(set);
                models.push(model);
            }
            let expected: BTreeSet<_> = models[0]
                .iter()
                .filter(|member| models.iter().all(|model| model.contains(*member)))
                .cloned()
                .collect();
            let sets: Vec<&Set> = sets.iter().collect();
            let mut found = BTreeSet::new();
            intersect(&sets, |member| found.insert(member.to_vec()));
            assert_eq!(found, expected);
            let mut count = 0;
            intersect(&sets, |_| {
                count += 1;
                count < 2
            });
            assert_eq!(count, expected.len().min(2));
        }
        intersect(&[], |_| panic!("nothing is in no sets"));
    }
}
