//! [`Listpack`]: a sequence of short texts and integers in one block of memory, byte for byte in
//! the format of Redis' `listpack.c`, so that it goes into RDB files and `DUMP` unchanged.
//!
//! Six bytes of header (total size `u32`, element count `u16`, little endian; 65535 elements and
//! more are counted by a walk), then the entries, then `0xff`. Small hashes, sets, sorted sets and
//! lists live in one; the nodes of a quicklist and of a stream are listpacks too. Relies on
//! `entry` for single elements and on `raw` for everything that works on bare bytes.
//!
//! The block always has exactly the size of its content, and each edit costs at most one
//! reallocation and one move of the bytes behind it. Finding an element is a walk.

pub(in crate::types) mod distinct;
pub(in crate::types) mod entry;
pub(in crate::types) mod raw;
#[cfg(test)]
mod tests;

use entry::{END, HEADER};
pub use entry::{Item, Needle};

/// Bytes that are not what they claim to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt;

/// Where an element is: the offset of its entry in bytes. Any edit before it makes it invalid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Pos(pub usize);

/// A listpack. Always valid: every way in checks the bytes or writes them.
#[derive(Clone, PartialEq, Eq)]
pub struct Listpack(Box<[u8]>);

/// Size in bytes up to which Redis lets a listpack grow.
pub const MAX_SIZE: usize = 1 << 30;

impl Listpack {
    /// An empty listpack.
    pub fn new() -> Listpack {
        Listpack(raw::empty(0).into_boxed_slice())
    }

    /// A listpack from bytes of any origin.
    ///
    /// # Errors
    /// When they are not a valid listpack, down to the last entry.
    pub fn from_bytes(bytes: impl Into<Box<[u8]>>) -> Result<Listpack, Corrupt> {
        let bytes = bytes.into();
        raw::validate(&bytes).ok_or(Corrupt)?;
        Ok(Listpack(bytes))
    }

    /// A listpack of these items, made with one allocation.
    pub fn from_items<'a, I>(items: I) -> Listpack
    where
        I: IntoIterator<Item = Item<'a>>,
        I::IntoIter: Clone,
    {
        let items = items.into_iter();
        let size: usize = items.clone().map(Item::encoded_len).sum();
        let mut buf = raw::empty(HEADER + size + 1);
        let mut count = 0;
        for item in items {
            raw::append(&mut buf, item);
            count += 1;
        }
        raw::set_header(&mut buf, 0, count);
        Listpack(buf.into_boxed_slice())
    }

    /// A listpack that is known to be valid.
    pub(in crate::types) fn from_valid(bytes: Vec<u8>) -> Listpack {
        debug_assert!(raw::validate(&bytes).is_some());
        Listpack(bytes.into_boxed_slice())
    }

    /// The listpack as it is stored and saved.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The listpack's bytes, without copying them.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_vec()
    }

    /// Number of elements; from the header up to 65534, by a walk beyond.
    #[inline]
    pub fn len(&self) -> usize {
        raw::count(&self.0)
    }

    /// Whether there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0[HEADER] == END
    }

    /// Size in bytes, header and terminator included; also the heap memory behind it.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Whether `add` more bytes leave the listpack within the size that Redis allows.
    pub fn safe_to_add(&self, add: usize) -> bool {
        self.0.len().saturating_add(add) <= MAX_SIZE
    }

    // ------------------------------------------------------------ reading

    /// The first element.
    #[inline]
    pub fn first(&self) -> Option<Pos> {
        (!self.is_empty()).then_some(Pos(HEADER))
    }

    /// The last element.
    pub fn last(&self) -> Option<Pos> {
        raw::prev(&self.0, self.0.len() - 1).map(Pos)
    }

    /// The element after the one at `at`.
    #[inline]
    pub fn next(&self, at: Pos) -> Option<Pos> {
        let next = at.0 + entry::size(&self.0, at.0);
        (self.0[next] != END).then_some(Pos(next))
    }

    /// The element before the one at `at`.
    #[inline]
    pub fn prev(&self, at: Pos) -> Option<Pos> {
        raw::prev(&self.0, at.0).map(Pos)
    }

    /// The element with this index, negative ones counting from the end (-1 is the last); walks
    /// from the nearer end.
    pub fn seek(&self, index: i64) -> Option<Pos> {
        let count = self.len();
        let index = if index < 0 {
            count.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
        } else {
            usize::try_from(index).ok()?
        };
        (index < count).then(|| Pos(raw::seek(&self.0, count, index)))
    }

    /// The element at a position.
    #[inline]
    pub fn at(&self, at: Pos) -> Item<'_> {
        entry::decode(&self.0, at.0).0
    }

    /// The element at a position, and the position of the one after it.
    #[inline]
    pub fn at_and_next(&self, at: Pos) -> (Item<'_>, Option<Pos>) {
        let (item, size) = entry::decode(&self.0, at.0);
        let next = at.0 + size;
        (item, (self.0[next] != END).then_some(Pos(next)))
    }

    /// The element with this index, as for [`seek`](Listpack::seek).
    pub fn get(&self, index: i64) -> Option<Item<'_>> {
        self.seek(index).map(|at| self.at(at))
    }

    /// The first element with this text, looking at the one at `from` and then always skipping
    /// `skip` elements (1 looks at the fields of a hash only).
    #[inline]
    pub fn find(&self, from: Pos, text: &[u8], skip: usize) -> Option<Pos> {
        raw::find(&self.0, from.0, &Needle::new(text), skip).map(Pos)
    }

    /// [`find`](Listpack::find) from the first element.
    #[inline]
    pub fn find_first(&self, text: &[u8], skip: usize) -> Option<Pos> {
        self.find(Pos(HEADER), text, skip)
    }

    /// All elements in order; the iterator also runs from the end.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.positions())
    }

    /// All elements with their positions; the iterator also runs from the end.
    #[inline]
    pub fn positions(&self) -> Positions<'_> {
        Positions {
            bytes: &self.0,
            front: HEADER,
            back: self.0.len() - 1,
        }
    }

    /// The elements from `from` on.
    pub fn iter_from(&self, from: Pos) -> Iter<'_> {
        Iter(Positions {
            bytes: &self.0,
            front: from.0,
            back: self.0.len() - 1,
        })
    }

    // ------------------------------------------------------------ editing

    /// Runs an edit on the bytes as a vector, which costs no copy.
    fn edit<R>(&mut self, added: usize, removed: usize, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let count = raw::count_after(&self.0, added, removed);
        let mut buf = std::mem::take(&mut self.0).into_vec();
        let result = f(&mut buf);
        raw::set_header(&mut buf, 0, count);
        self.0 = buf.into_boxed_slice();
        result
    }

    /// Adds an element at the end.
    pub fn push_back<'a>(&mut self, item: impl Into<Item<'a>>) {
        self.put(self.0.len() - 1, 0, item.into());
    }

    /// Adds an element at the front.
    pub fn push_front<'a>(&mut self, item: impl Into<Item<'a>>) {
        self.put(HEADER, 0, item.into());
    }

    /// Adds an element before the one at `at`; where it is.
    pub fn insert_before<'a>(&mut self, at: Pos, item: impl Into<Item<'a>>) -> Pos {
        self.put(at.0, 0, item.into())
    }

    /// Adds an element after the one at `at`; where it is.
    pub fn insert_after<'a>(&mut self, at: Pos, item: impl Into<Item<'a>>) -> Pos {
        let next = at.0 + entry::size(&self.0, at.0);
        self.put(next, 0, item.into())
    }

    /// Exchanges the element at `at`, which stays valid.
    pub fn replace<'a>(&mut self, at: Pos, item: impl Into<Item<'a>>) {
        let item = item.into();
        let old = entry::size(&self.0, at.0);
        if old == item.encoded_len() {
            item.encode(&mut self.0[at.0..at.0 + old]);
        } else {
            self.put(at.0, old, item);
        }
    }

    fn put(&mut self, at: usize, remove: usize, item: Item<'_>) -> Pos {
        let removed = usize::from(remove > 0);
        self.edit(1, removed, |buf| raw::put(buf, 0, at, remove, item));
        Pos(at)
    }

    /// Removes the element at `at`, where then the one after it is, if there is one.
    pub fn delete(&mut self, at: Pos) -> Option<Pos> {
        self.delete_run(at, 1)
    }

    /// Removes up to `count` elements from the one at `at` on, where then the one after them is.
    pub fn delete_run(&mut self, at: Pos, count: usize) -> Option<Pos> {
        let mut end = at.0;
        let mut removed = 0;
        while removed < count && self.0[end] != END {
            end += entry::size(&self.0, end);
            removed += 1;
        }
        if removed > 0 {
            self.edit(0, removed, |buf| raw::splice(buf, 0, at.0, end - at.0, 0));
        }
        (self.0[at.0] != END).then_some(at)
    }

    /// Removes up to `count` elements from the index `start` on, which may be negative as for
    /// [`seek`](Listpack::seek). How many they were.
    pub fn delete_range(&mut self, start: i64, count: usize) -> usize {
        let Some(at) = self.seek(start) else {
            return 0;
        };
        let before = self.len();
        self.delete_run(at, count);
        before - self.len()
    }

    /// Removes the elements at these positions, which ascend.
    pub fn delete_each(&mut self, cut: &[Pos]) {
        if cut.is_empty() {
            return;
        }
        let cut: Vec<usize> = cut.iter().map(|at| at.0).collect();
        let count = raw::count_after(&self.0, 0, cut.len());
        self.0 = raw::without(&self.0, &cut, count).into_boxed_slice();
    }

    /// Adds many elements at the end with one reallocation.
    pub fn append<'a, I>(&mut self, items: I)
    where
        I: IntoIterator<Item = Item<'a>>,
        I::IntoIter: Clone,
    {
        let items = items.into_iter();
        let (size, count) = measure(items.clone());
        self.edit(count, 0, |buf| {
            buf.reserve_exact(size);
            for item in items {
                raw::append(buf, item);
            }
        });
    }

    /// Puts each item in turn before all others with one reallocation, so that the last one ends
    /// up first.
    pub fn prepend_each<'a, I>(&mut self, items: I)
    where
        I: IntoIterator<Item = Item<'a>>,
        I::IntoIter: Clone,
    {
        let items = items.into_iter();
        let (size, count) = measure(items.clone());
        self.edit(count, 0, |buf| {
            raw::splice(buf, 0, HEADER, 0, size);
            let mut end = HEADER + size;
            for item in items {
                let start = end - item.encoded_len();
                item.encode(&mut buf[start..end]);
                end = start;
            }
        });
    }
}

/// Encoded size and number of some items.
fn measure<'a>(items: impl Iterator<Item = Item<'a>>) -> (usize, usize) {
    items.fold((0, 0), |(size, count), item| {
        (size + item.encoded_len(), count + 1)
    })
}

impl Default for Listpack {
    fn default() -> Listpack {
        Listpack::new()
    }
}

impl std::fmt::Debug for Listpack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for &'a Listpack {
    type Item = Item<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The elements of a listpack, from either end.
#[derive(Clone)]
pub struct Iter<'a>(Positions<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        self.0.next().map(|(_, item)| item)
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Item<'a>> {
        self.0.next_back().map(|(_, item)| item)
    }
}

/// The elements of a listpack and their positions, from either end.
#[derive(Clone)]
pub struct Positions<'a> {
    bytes: &'a [u8],
    front: usize,
    /// Where the last entry not yet handed out ends.
    back: usize,
}

impl<'a> Iterator for Positions<'a> {
    type Item = (Pos, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<(Pos, Item<'a>)> {
        if self.front >= self.back {
            return None;
        }
        let at = self.front;
        let (item, size) = entry::decode(self.bytes, at);
        self.front += size;
        Some((Pos(at), item))
    }
}

impl<'a> DoubleEndedIterator for Positions<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<(Pos, Item<'a>)> {
        if self.front >= self.back {
            return None;
        }
        self.back = raw::prev(self.bytes, self.back)?;
        let item = entry::decode(self.bytes, self.back).0;
        Some((Pos(self.back), item))
    }
}
