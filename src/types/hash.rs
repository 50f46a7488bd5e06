//! [`enum@Hash`]: fields with values, packed into a listpack while the hash is small and a
//! [`MemberDict`] from then on; and the deadlines of single fields (`HEXPIRE` and its family).
//!
//! The packed form is Redis': field and value in turn, in the order in which fields came. It turns
//! into a dict when it grows past the limits of `hash-max-listpack-entries` and
//! `hash-max-listpack-value`, and never back.
//!
//! A hash whose fields have no deadlines pays nothing for the possibility: deadlines live beside
//! the fields in a [`Table`], in a [`SortedTable`] with the deadline as the score (milliseconds
//! since 1970 are far below 2^53, so a double holds them exactly). A packed hash moves into a table
//! for its first deadline but stays packed in there; its encoding is then `listpackex`, as in
//! Redis 7.4. A due field is still there until [`Hash::expire_due`] removes it; readers ask
//! [`Hash::has_due`] or [`Hash::is_live`].

use super::listpack::distinct::distinct;
use super::listpack::{self, Item, Listpack, Pos};
use super::member_dict::{Member, MemberDict, hash_of};
use super::sorted_table::SortedTable;
use crate::util::random::Rng;

pub use super::member_dict::Limits;

/// A hash.
#[derive(Clone)]
pub enum Hash {
    /// Fields and values in turn.
    Packed(Listpack),
    /// A large hash, or one with deadlines.
    Table(Box<Table>),
}

const _: () = assert!(size_of::<Hash>() == 16);

/// A large hash, or one with deadlines.
#[derive(Clone)]
pub struct Table {
    fields: Fields,
    /// Fields with deadlines; there from the first deadline on.
    deadlines: Option<Box<SortedTable>>,
}

#[derive(Clone)]
enum Fields {
    Packed(Listpack),
    Dict(MemberDict<Member>),
}

/// The fields for reading, wherever they are.
enum View<'a> {
    Packed(&'a Listpack),
    Dict(&'a MemberDict<Member>),
}

impl Default for Hash {
    fn default() -> Hash {
        Hash::new()
    }
}

impl Hash {
    /// An empty hash.
    pub fn new() -> Hash {
        Hash::Packed(Listpack::new())
    }

    /// A hash from a listpack as Redis saves it; `None` unless it holds fields with values, each
    /// field once.
    pub fn from_listpack(packed: Listpack) -> Option<Hash> {
        let valid = packed.len().is_multiple_of(2) && distinct(packed.iter().step_by(2));
        valid.then_some(Hash::Packed(packed))
    }

    /// Number of fields, those that are due included.
    #[inline]
    pub fn len(&self) -> usize {
        match self.view() {
            View::Packed(packed) => packed.len() / 2,
            View::Dict(dict) => dict.len(),
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Redis' name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match (self, self.view()) {
            (Hash::Packed(_), _) => "listpack",
            (_, View::Packed(_)) => "listpackex",
            (_, View::Dict(_)) => "hashtable",
        }
    }

    /// The listpack of a packed hash, with or without deadlines.
    pub fn listpack(&self) -> Option<&Listpack> {
        match self.view() {
            View::Packed(packed) => Some(packed),
            View::Dict(_) => None,
        }
    }

    /// The value of a field.
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<Item<'_>> {
        match self.view() {
            View::Packed(packed) => {
                let at = packed.find_first(field, 1)?;
                Some(packed.at(packed.next(at)?))
            }
            View::Dict(dict) => dict.get(field).map(|value| Item::Bytes(value.bytes())),
        }
    }

    /// Whether a field is there.
    pub fn contains(&self, field: &[u8]) -> bool {
        match self.view() {
            View::Packed(packed) => packed.find_first(field, 1).is_some(),
            View::Dict(dict) => dict.contains(field),
        }
    }

    /// Sets a field's value; whether the field is new. A deadline that the field had is gone.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: Limits) -> bool {
        if let Hash::Table(table) = self
            && let Some(deadlines) = &mut table.deadlines
        {
            deadlines.remove(field);
        }
        self.set_keep_deadline(field, value, limits)
    }

    /// As [`Hash::set`], but a deadline stays, as it does for `HINCRBY`.
    pub fn set_keep_deadline(&mut self, field: &[u8], value: &[u8], limits: Limits) -> bool {
        let packed = match self {
            Hash::Table(table) => match &mut table.fields {
                Fields::Dict(dict) => return put_dict(dict, field, value),
                Fields::Packed(packed) => packed,
            },
            Hash::Packed(packed) => packed,
        };
        let fits = field.len() <= limits.value
            && value.len() <= limits.value
            && packed.safe_to_add(field.len() + value.len());
        if !fits {
            return put_dict(self.make_dict(0), field, value);
        }
        if let Some(at) = packed.find_first(field, 1) {
            if let Some(at) = packed.next(at) {
                packed.replace(at, value);
            }
            return false;
        }
        packed.append([Item::of(field), Item::of(value)]);
        if packed.len() / 2 > limits.entries {
            self.make_dict(0);
        }
        true
    }

    /// Prepares for `new` fields to come: turns a packed hash into a dict when they are more than
    /// may be packed. `HSET` with many pairs and a hash being loaded know that beforehand.
    pub fn reserve(&mut self, new: usize, limits: Limits) {
        if new > limits.entries && matches!(self.view(), View::Packed(_)) {
            // The number is a client's word; more is made room for as it comes.
            self.make_dict(new.min(1 << 16));
        }
    }

    /// Removes a field; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        if let Hash::Table(table) = self
            && let Some(deadlines) = &mut table.deadlines
        {
            deadlines.remove(field);
        }
        match self {
            Hash::Packed(packed) => remove_packed(packed, field),
            Hash::Table(table) => match &mut table.fields {
                Fields::Packed(packed) => remove_packed(packed, field),
                Fields::Dict(dict) => dict.remove(field).is_some(),
            },
        }
    }

    /// All fields with their values.
    pub fn iter(&self) -> Pairs<'_> {
        Pairs(match self.view() {
            View::Packed(packed) => Source::Packed(packed.iter()),
            View::Dict(dict) => Source::Dict(dict, 0),
        })
    }

    /// The field and value with this number below [`Hash::len`]: each is there once, until the next
    /// change. Finding it in a packed hash is a walk.
    pub fn nth(&self, number: usize) -> Option<(Item<'_>, Item<'_>)> {
        match self.view() {
            View::Packed(packed) => {
                let (field, next) =
                    packed.at_and_next(packed.seek(i64::try_from(number * 2).ok()?)?);
                Some((field, packed.at(next?)))
            }
            View::Dict(dict) => (number < dict.len()).then(|| {
                let (field, value) = dict.at(number);
                (Item::Bytes(field), Item::Bytes(value.bytes()))
            }),
        }
    }

    /// One of the fields, each as likely as the others, with its value.
    pub fn random(&self, rng: &mut Rng) -> Option<(Item<'_>, Item<'_>)> {
        self.nth(rng.index(self.len()))
    }

    /// One step of a scan, as [`MemberDict::scan`]; a packed hash is visited in one step.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(Item<'_>, Item<'_>),
    ) -> u64 {
        match self.view() {
            View::Packed(_) => {
                self.iter().for_each(|(field, value)| visit(field, value));
                0
            }
            View::Dict(dict) => dict.scan(cursor, count, |field, value| {
                visit(Item::Bytes(field), Item::Bytes(value.bytes()));
            }),
        }
    }

    /// Bytes of memory behind the value; long fields and values are estimated from `samples` of
    /// them (0: all).
    pub fn memory(&self, samples: usize) -> usize {
        let own = match self {
            Hash::Packed(_) => 0,
            Hash::Table(table) => {
                size_of::<Table>() + table.deadlines.as_ref().map_or(0, |d| d.memory(samples))
            }
        };
        own + match self.view() {
            View::Packed(packed) => packed.bytes(),
            View::Dict(dict) => dict.memory(samples),
        }
    }

    // ---------------------------------------------------------- deadlines

    /// A field's deadline in unix milliseconds.
    pub fn deadline(&self, field: &[u8]) -> Option<i64> {
        self.deadlines()?.score(field).map(|at| at as i64)
    }

    /// Gives a field a deadline, in unix milliseconds below 2^53; whether the field is there.
    pub fn set_deadline(&mut self, field: &[u8], deadline: i64) -> bool {
        if !self.contains(field) {
            return false;
        }
        self.make_table()
            .deadlines
            .get_or_insert_default()
            .set(field, deadline as f64);
        true
    }

    /// Takes a field's deadline away; what it was.
    pub fn persist(&mut self, field: &[u8]) -> Option<i64> {
        match self {
            Hash::Packed(_) => None,
            Hash::Table(table) => {
                let deadline = table.deadlines.as_mut()?.remove(field);
                deadline.map(|at| at as i64)
            }
        }
    }

    /// The earliest deadline of all fields.
    pub fn next_deadline(&self) -> Option<i64> {
        let deadlines = self.deadlines()?;
        (!deadlines.is_empty()).then(|| deadlines.at(0).1 as i64)
    }

    /// Whether a field's deadline is not later than `now`.
    #[inline]
    pub fn has_due(&self, now: i64) -> bool {
        match self {
            Hash::Packed(_) => false,
            Hash::Table(_) => self.next_deadline().is_some_and(|first| first <= now),
        }
    }

    /// Number of fields whose deadline is not later than `now`.
    pub fn due(&self, now: i64) -> usize {
        self.deadlines()
            .map_or(0, |deadlines| deadlines.count_below(now as f64, true))
    }

    /// Whether a field is not due; it may be missing.
    pub fn is_live(&self, field: &[u8], now: i64) -> bool {
        self.deadline(field).is_none_or(|deadline| deadline > now)
    }

    /// Number of fields with a deadline.
    pub fn volatile(&self) -> usize {
        self.deadlines().map_or(0, SortedTable::len)
    }

    /// Fields with their deadlines, the earliest first.
    pub fn iter_deadlines(&self) -> impl Iterator<Item = (&[u8], i64)> {
        self.deadlines()
            .into_iter()
            .flat_map(|deadlines| deadlines.up(0))
            .map(|(field, deadline)| (field, deadline as i64))
    }

    /// Removes up to `max` fields whose deadline is not later than `now`, and returns them, the
    /// earliest first. The hash may be empty then.
    pub fn expire_due(&mut self, now: i64, max: usize) -> Vec<Vec<u8>> {
        let mut gone = Vec::new();
        while gone.len() < max && self.has_due(now) {
            let Hash::Table(table) = self else { break };
            let Some(deadlines) = &mut table.deadlines else {
                break;
            };
            let field = deadlines.remove_at(0).0.bytes().to_vec();
            self.remove(&field);
            gone.push(field);
        }
        gone
    }

    // ------------------------------------------------------------ changes

    #[inline]
    fn view(&self) -> View<'_> {
        match self {
            Hash::Packed(packed) => View::Packed(packed),
            Hash::Table(table) => match &table.fields {
                Fields::Packed(packed) => View::Packed(packed),
                Fields::Dict(dict) => View::Dict(dict),
            },
        }
    }

    fn deadlines(&self) -> Option<&SortedTable> {
        match self {
            Hash::Packed(_) => None,
            Hash::Table(table) => table.deadlines.as_deref(),
        }
    }

    /// Moves a packed hash into a table, where it stays packed.
    fn make_table(&mut self) -> &mut Table {
        if let Hash::Packed(packed) = self {
            let fields = Fields::Packed(std::mem::take(packed));
            *self = Hash::Table(Box::new(Table {
                fields,
                deadlines: None,
            }));
        }
        match self {
            Hash::Table(table) => table,
            Hash::Packed(_) => unreachable!("it has just become a table"),
        }
    }

    /// Turns packed fields into a dict with room for `more` fields; hands out the dict.
    fn make_dict(&mut self, more: usize) -> &mut MemberDict<Member> {
        let table = self.make_table();
        if let Fields::Packed(packed) = &table.fields {
            let mut dict = MemberDict::with_capacity(packed.len() / 2 + 1 + more);
            let mut items = packed.iter();
            let (mut one, mut two) = ([0; 20], [0; 20]);
            while let (Some(field), Some(value)) = (items.next(), items.next()) {
                put_dict(&mut dict, field.bytes(&mut one), value.bytes(&mut two));
            }
            table.fields = Fields::Dict(dict);
        }
        match &mut table.fields {
            Fields::Dict(dict) => dict,
            Fields::Packed(_) => unreachable!("it has just become a dict"),
        }
    }
}

/// Fields with their values.
#[derive(Clone)]
pub struct Pairs<'a>(Source<'a>);

#[derive(Clone)]
enum Source<'a> {
    Packed(listpack::Iter<'a>),
    /// A dict and the next position.
    Dict(&'a MemberDict<Member>, usize),
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, Item<'a>)> {
        match &mut self.0 {
            Source::Packed(items) => Some((items.next()?, items.next()?)),
            Source::Dict(dict, next) => {
                if *next == dict.len() {
                    return None;
                }
                *next += 1;
                let (field, value) = dict.at(*next - 1);
                Some((Item::Bytes(field), Item::Bytes(value.bytes())))
            }
        }
    }
}

fn remove_packed(packed: &mut Listpack, field: &[u8]) -> bool {
    let found: Option<Pos> = packed.find_first(field, 1);
    if let Some(at) = found {
        packed.delete_run(at, 2);
    }
    found.is_some()
}

/// Sets a field's value; whether the field is new.
fn put_dict(dict: &mut MemberDict<Member>, field: &[u8], value: &[u8]) -> bool {
    let hash = hash_of(field);
    let value = Member::new(value);
    match dict.find_hashed(hash, field) {
        Some(position) => *dict.value_mut(position) = value,
        None => {
            dict.insert_new(hash, Member::new(field), value);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const LIMITS: Limits = Limits {
        entries: 128,
        value: 64,
    };

    fn contents(hash: &Hash) -> HashMap<Vec<u8>, Vec<u8>> {
        hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect()
    }

    /// A field's value, and the deadline it may have.
    type Model = HashMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

    fn compare(hash: &Hash, model: &Model) {
        assert_eq!(hash.len(), model.len());
        let values: HashMap<_, _> = model
            .iter()
            .map(|(f, (v, _))| (f.clone(), v.clone()))
            .collect();
        assert_eq!(contents(hash), values);
        let mut scanned = HashMap::new();
        let mut cursor = 0;
        loop {
            cursor = hash.scan(cursor, 10, |f, v| {
                scanned.insert(f.to_vec(), v.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(scanned, values);
        let nth: HashMap<_, _> = (0..hash.len())
            .filter_map(|n| hash.nth(n).map(|(f, v)| (f.to_vec(), v.to_vec())))
            .collect();
        assert_eq!(nth, values);
        for (field, (value, deadline)) in model {
            assert!(hash.get(field).is_some_and(|item| item.is(value)));
            assert_eq!(hash.deadline(field), *deadline);
        }
        let first = model.values().filter_map(|(_, deadline)| *deadline).min();
        assert_eq!(hash.next_deadline(), first);
        let volatile = model.values().filter(|(_, d)| d.is_some()).count();
        assert_eq!(hash.volatile(), volatile);
        assert_eq!(hash.iter_deadlines().count(), volatile);
    }

    fn storm(entries: usize, fields: u64, deadlines: bool) {
        let limits = Limits { entries, value: 40 };
        let mut rng = Rng::new([entries as u64, fields]);
        let (mut hash, mut model) = (Hash::new(), Model::new());
        for step in 0..6000u64 {
            let field = match rng.below(fields) {
                n if n.is_multiple_of(3) => n.to_string(),
                n => format!("field:{n}"),
            }
            .into_bytes();
            let value = match rng.below(3) {
                0 => rng.below(300).to_string(),
                _ => "v".repeat(rng.index(35)),
            }
            .into_bytes();
            let keep = rng.below(2) == 0;
            match rng.below(10) {
                0..5 => {
                    let old = model.get(&field).map(|(_, deadline)| *deadline);
                    let new = if keep {
                        hash.set_keep_deadline(&field, &value, limits)
                    } else {
                        hash.set(&field, &value, limits)
                    };
                    assert_eq!(new, old.is_none());
                    model.insert(field, (value, old.flatten().filter(|_| keep)));
                }
                5 | 6 if deadlines => {
                    let deadline = step as i64 + rng.below(500) as i64;
                    assert_eq!(
                        hash.set_deadline(&field, deadline),
                        model.contains_key(&field)
                    );
                    if let Some((_, old)) = model.get_mut(&field) {
                        *old = Some(deadline);
                    }
                }
                7 if deadlines && rng.below(10) == 0 => {
                    let now = step as i64;
                    for gone in hash.expire_due(now, 20) {
                        let due = model.remove(&gone).and_then(|(_, deadline)| deadline);
                        assert!(due.is_some_and(|deadline| deadline <= now));
                    }
                    let more = model.values().any(|(_, d)| d.is_some_and(|d| d <= now));
                    assert_eq!(hash.has_due(now), more);
                }
                8 if deadlines => {
                    let old = model
                        .get_mut(&field)
                        .and_then(|(_, deadline)| deadline.take());
                    assert!(hash.is_live(&field, old.map_or(i64::MAX, |at| at - 1)));
                    assert_eq!(hash.persist(&field), old);
                }
                _ => assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
            }
            if step % 300 == 0 {
                compare(&hash, &model);
                compare(&hash.clone(), &model);
            }
        }
        compare(&hash, &model);
    }

    #[test]
    fn behaves_as_a_map() {
        for deadlines in [false, true] {
            storm(usize::MAX, 50, deadlines);
            storm(30, 100, deadlines);
            storm(0, 2000, deadlines);
        }
    }

    #[test]
    fn converts_at_the_limits() {
        let mut hash = Hash::new();
        for i in 0..128 {
            assert!(hash.set(format!("{i}").as_bytes(), b"1", LIMITS));
        }
        assert_eq!(hash.encoding(), "listpack");
        assert!(!hash.set(b"5", b"x", LIMITS));
        assert_eq!(hash.encoding(), "listpack");
        assert!(hash.set(b"one more", b"1", LIMITS));
        assert_eq!((hash.encoding(), hash.len()), ("hashtable", 129));
        for (field, value, encoding) in [
            (64, 64, "listpack"),
            (65, 1, "hashtable"),
            (1, 65, "hashtable"),
        ] {
            let mut hash = Hash::new();
            hash.set(&vec![b'f'; field], &vec![b'v'; value], LIMITS);
            assert_eq!(hash.encoding(), encoding);
        }
        let mut hash = Hash::new();
        hash.reserve(128, LIMITS);
        assert_eq!(hash.encoding(), "listpack");
        hash.reserve(129, LIMITS);
        assert_eq!(hash.encoding(), "hashtable");
    }

    #[test]
    fn deadlines_show_in_the_encoding() {
        let mut hash = Hash::new();
        hash.set(b"a", b"1", LIMITS);
        assert!(!hash.set_deadline(b"b", 5));
        assert_eq!(hash.encoding(), "listpack");
        assert!(hash.set_deadline(b"a", 5));
        assert_eq!(hash.encoding(), "listpackex");
        assert!(hash.has_due(5) && !hash.has_due(4));
        for i in 0..200 {
            hash.set(format!("{i}").as_bytes(), b"1", LIMITS);
        }
        assert_eq!(
            (hash.encoding(), hash.deadline(b"a")),
            ("hashtable", Some(5))
        );
        assert_eq!((hash.due(4), hash.due(5)), (0, 1));
        assert_eq!(hash.expire_due(5, 100), [b"a"]);
        assert_eq!((hash.len(), hash.volatile()), (200, 0));
    }

    #[test]
    fn a_saved_listpack_is_checked() {
        let packed = |texts: &[&'static str]| {
            Listpack::from_items(texts.iter().map(|text| Item::of(text.as_bytes())))
        };
        assert!(Hash::from_listpack(packed(&["a", "1", "b", "1"])).is_some());
        assert!(Hash::from_listpack(packed(&["a", "1", "b"])).is_none());
        assert!(Hash::from_listpack(packed(&["a", "1", "a", "2"])).is_none());
    }
}
