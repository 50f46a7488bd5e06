//! [`Block`]: a run of entries in one listpack, laid out as Redis does it, so that it goes into RDB
//! files unchanged.
//!
//! A *master entry* comes first: the number of entries, the number of those marked as deleted, the
//! number of fields of the first entry, their names, and a zero. Then the entries: flags, the
//! distance of the id from the block's first id (milliseconds, then sequence number), and the
//! content, which is the values alone where the fields are those of the master entry
//! ([`SAME_FIELDS`]), else the number of fields, and fields and values in turn. Each entry ends with
//! the number of its elements, by which a walk from the end finds its start.
//!
//! Unlike a [`Listpack`](crate::types::listpack::Listpack), a block may have room behind its end,
//! as long as it is the one that entries are added to.

use super::StreamId;
use crate::types::listpack::entry::{self, END, HEADER, Item};
use crate::types::listpack::{Corrupt, raw};

/// Flag of an entry that has been deleted.
const DELETED: i64 = 1;
/// Flag of an entry with the fields of the master entry.
const SAME_FIELDS: i64 = 2;

/// Elements of an entry besides its content: flags, two distances.
const LEAD: usize = 3;
/// The most bytes that an integer takes in a listpack.
const INT_MAX: usize = 10;
/// The most bytes that an element takes beyond its text.
const OVERHEAD: usize = 11;

/// A block.
pub struct Block(Vec<u8>);

impl Clone for Block {
    fn clone(&self) -> Block {
        // Only what is in use.
        Block(self.0.as_slice().into())
    }
}

/// An entry as it lies in its block.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// Where it starts.
    at: usize,
    flags: i64,
    pub(super) id: StreamId,
    /// Pairs of field and value.
    pairs: usize,
    /// Where its content starts.
    content: usize,
}

impl Found {
    /// Whether it has been deleted.
    pub(super) fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }
}

impl Block {
    /// A block without entries, whose master entry has every other word of `words` as fields.
    pub(super) fn new<'w>(words: impl ExactSizeIterator<Item = &'w [u8]> + Clone) -> Block {
        let fields = words.clone().step_by(2);
        let count = words.len() / 2;
        let size: usize = fields.clone().map(|field| field.len() + OVERHEAD).sum();
        let mut buf = raw::empty(HEADER + 1 + size + 4 * INT_MAX);
        for head in [0, 0, count as i64] {
            raw::append(&mut buf, Item::Int(head));
        }
        fields.for_each(|field| raw::append(&mut buf, Item::of(field)));
        raw::append(&mut buf, Item::Int(0));
        raw::set_header(&mut buf, 0, count + 4);
        Block(buf)
    }

    /// A block from the bytes of a listpack, as an RDB file holds it.
    ///
    /// # Errors
    /// When they are no listpack, or no block.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Block, Corrupt> {
        raw::validate(&bytes).ok_or(Corrupt)?;
        let block = Block(bytes);
        block.check().ok_or(Corrupt)?;
        Ok(block)
    }

    /// Checks that the elements of a listpack make up a block with at least one entry.
    fn check(&self) -> Option<()> {
        let mut elements = Elements::new(&self.0, HEADER);
        let live = elements.count()?;
        let deleted = elements.count()?;
        let fields = elements.count().filter(|&fields| fields > 0)?;
        elements.pass(fields)?;
        (elements.int()? == 0).then_some(())?;
        let (mut all, mut gone) = (0, 0);
        loop {
            // Flags are changed in place, which only works in their shortest form: one byte.
            let flags = match elements.head() {
                END => break,
                flags if i64::from(flags) <= DELETED | SAME_FIELDS => i64::from(flags),
                _ => return None,
            };
            elements.pass(1)?;
            elements.int()?;
            elements.int()?;
            let content = if flags & SAME_FIELDS != 0 {
                elements.pass(fields)?;
                fields
            } else {
                let pairs = elements.count().filter(|&pairs| pairs > 0)?;
                let words = pairs.checked_mul(2)?;
                elements.pass(words)?;
                words + 1
            };
            (elements.count()? == LEAD + content).then_some(())?;
            all += 1;
            gone += usize::from(flags & DELETED != 0);
        }
        (all > 0 && live == all - gone && deleted == gone).then_some(())
    }

    /// Checks that the ids ascend from the block's first one on; the last of them.
    pub(super) fn check_ids(&self, first: StreamId) -> Option<StreamId> {
        let mut last: Option<StreamId> = None;
        let mut at = self.start();
        while let Some((found, next)) = self.forward(first, at) {
            let fits = match last {
                None => found.id >= first,
                Some(last) => found.id > last,
            };
            fits.then_some(())?;
            (last, at) = (Some(found.id), next);
        }
        last
    }

    /// The block as a listpack.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Size of the listpack in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Bytes of heap memory behind the block.
    pub(super) fn memory(&self) -> usize {
        self.0.capacity()
    }

    /// Gives back the room behind the end: nothing more will be added.
    pub(super) fn close(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Reads an integer; where it stands, and behind it.
    fn int(&self, at: usize) -> (i64, usize) {
        let (item, size) = entry::decode(&self.0, at);
        let Item::Int(int) = item else {
            unreachable!("blocks are checked when they come in");
        };
        (int, at + size)
    }

    fn skip(&self, mut at: usize, count: usize) -> usize {
        for _ in 0..count {
            at += entry::size(&self.0, at);
        }
        at
    }

    /// Number of entries, and of those that have been deleted but are still here.
    pub(super) fn counts(&self) -> (usize, usize) {
        let (live, at) = self.int(HEADER);
        (live as usize, self.int(at).0 as usize)
    }

    /// Sets both counts.
    fn set_counts(&mut self, live: usize, deleted: usize) {
        let mut at = HEADER;
        for count in [live, deleted] {
            let item = Item::Int(count as i64);
            let old = entry::size(&self.0, at);
            raw::put(&mut self.0, 0, at, old, item);
            at += item.encoded_len();
        }
        let elements = raw::count_after(&self.0, 0, 0);
        raw::set_header(&mut self.0, 0, elements);
    }

    /// The number of fields of the master entry, and where they are.
    fn master(&self) -> (usize, usize) {
        let at = self.skip(HEADER, 2);
        let (fields, at) = self.int(at);
        (fields as usize, at)
    }

    /// Adds an entry of fields and values in turn.
    pub(super) fn push<'w>(
        &mut self,
        first: StreamId,
        id: StreamId,
        words: impl ExactSizeIterator<Item = &'w [u8]> + Clone,
    ) {
        let pairs = words.len() / 2;
        let (fields, mut at) = self.master();
        let mut same = fields == pairs;
        if same {
            for field in words.clone().step_by(2) {
                let (item, size) = entry::decode(&self.0, at);
                if !item.is(field) {
                    same = false;
                    break;
                }
                at += size;
            }
        }
        let text: usize = words.clone().map(|word| word.len() + OVERHEAD).sum();
        self.make_room(text + (LEAD + 2) * INT_MAX);
        let buf = &mut self.0;
        let mut put = |item| raw::append(buf, item);
        put(Item::Int(if same { SAME_FIELDS } else { 0 }));
        put(Item::Int(id.ms.wrapping_sub(first.ms) as i64));
        put(Item::Int(id.seq.wrapping_sub(first.seq) as i64));
        let content = if same {
            words
                .skip(1)
                .step_by(2)
                .for_each(|word| put(Item::of(word)));
            pairs
        } else {
            put(Item::Int(pairs as i64));
            words.for_each(|word| put(Item::of(word)));
            1 + 2 * pairs
        };
        put(Item::Int((LEAD + content) as i64));
        let elements = raw::count_after(&self.0, LEAD + content + 1, 0);
        raw::set_header(&mut self.0, 0, elements);
        let (live, deleted) = self.counts();
        self.set_counts(live + 1, deleted);
    }

    /// Makes room for so many bytes, and for some entries more of the kind.
    fn make_room(&mut self, need: usize) {
        if self.0.capacity() - self.0.len() < need {
            let more = self.0.len().clamp(64, 2048);
            self.0.reserve_exact(need.max(more));
        }
    }

    // ------------------------------------------------------------ walking

    /// Where the first entry is, or would be.
    pub(super) fn start(&self) -> usize {
        let (fields, at) = self.master();
        self.skip(at, fields + 1)
    }

    /// Where the last entry ends.
    pub(super) fn end(&self) -> usize {
        self.0.len() - 1
    }

    /// The entry at a position.
    fn read(&self, first: StreamId, at: usize, fields: usize) -> Found {
        let (flags, next) = self.int(at);
        let (ms, next) = self.int(next);
        let (seq, next) = self.int(next);
        let (pairs, content) = if flags & SAME_FIELDS != 0 {
            (fields, next)
        } else {
            let (pairs, content) = self.int(next);
            (pairs as usize, content)
        };
        let id = StreamId::new(
            first.ms.wrapping_add(ms as u64),
            first.seq.wrapping_add(seq as u64),
        );
        Found {
            at,
            flags,
            id,
            pairs,
            content,
        }
    }

    /// The entry that starts at a position, and where it ends; `None` at the end.
    pub(super) fn forward(&self, first: StreamId, at: usize) -> Option<(Found, usize)> {
        if self.0[at] == END {
            return None;
        }
        let found = self.read(first, at, self.master().0);
        let same = found.flags & SAME_FIELDS != 0;
        let elements = if same { found.pairs } else { 2 * found.pairs };
        Some((found, self.skip(found.content, elements + 1)))
    }

    /// The entry that ends at a position, and where it starts; `None` at the start.
    pub(super) fn backward(&self, first: StreamId, at: usize) -> Option<(Found, usize)> {
        let mut at = raw::prev(&self.0, at)?;
        let elements = self.int(at).0;
        // The zero behind the master entry.
        if elements == 0 {
            return None;
        }
        for _ in 0..elements {
            at = raw::prev(&self.0, at)?;
        }
        Some((self.read(first, at, self.master().0), at))
    }

    /// The entry with an id, deleted or not.
    pub(super) fn find(&self, first: StreamId, id: StreamId) -> Option<Found> {
        let mut at = self.start();
        while let Some((found, next)) = self.forward(first, at) {
            if found.id >= id {
                return (found.id == id).then_some(found);
            }
            at = next;
        }
        None
    }

    // ------------------------------------------------------------ deleting

    /// Marks an entry as deleted, which it is not yet.
    pub(super) fn delete(&mut self, found: Found) {
        let (live, deleted) = self.counts();
        self.mark(found);
        self.set_counts(live - 1, deleted + 1);
    }

    fn mark(&mut self, found: Found) {
        // The flags are too small for their size to change.
        let flags = Item::Int(found.flags | DELETED);
        let end = found.at + flags.encoded_len();
        flags.encode(&mut self.0[found.at..end]);
    }

    /// Marks entries from the first on as deleted for as long as `more` wants, given each id and
    /// how many entries it has cost so far. How many they were.
    pub(super) fn delete_front(
        &mut self,
        first: StreamId,
        mut more: impl FnMut(StreamId, usize) -> bool,
    ) -> usize {
        let (live, deleted) = self.counts();
        let mut gone = 0;
        let mut at = self.start();
        while let Some((found, next)) = self.forward(first, at) {
            if !more(found.id, gone) {
                break;
            }
            if !found.is_deleted() {
                self.mark(found);
                gone += 1;
            }
            at = next;
        }
        self.set_counts(live - gone, deleted + gone);
        gone
    }

    // ------------------------------------------------------------ content

    /// The fields and values of an entry.
    pub(super) fn fields(&self, found: Found) -> Fields<'_> {
        let same = found.flags & SAME_FIELDS != 0;
        Fields {
            bytes: &self.0,
            left: found.pairs,
            names: same.then(|| self.master().1),
            content: found.content,
        }
    }
}

/// The elements of a listpack that is still to prove a block.
struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Elements<'a> {
    fn new(bytes: &'a [u8], at: usize) -> Elements<'a> {
        Elements { bytes, at }
    }

    /// The first byte of the next element, or the terminator.
    fn head(&self) -> u8 {
        self.bytes[self.at]
    }

    /// Goes past so many elements, if there are as many.
    fn pass(&mut self, count: usize) -> Option<()> {
        for _ in 0..count {
            if self.head() == END {
                return None;
            }
            self.at += entry::size(self.bytes, self.at);
        }
        Some(())
    }

    /// The next element, if it is an integer.
    fn int(&mut self) -> Option<i64> {
        if self.head() == END {
            return None;
        }
        let (item, size) = entry::decode(self.bytes, self.at);
        self.at += size;
        match item {
            Item::Int(int) => Some(int),
            Item::Bytes(_) => None,
        }
    }

    /// The next element, if it is an integer that counts something.
    fn count(&mut self) -> Option<usize> {
        self.int()?.try_into().ok()
    }
}

/// The fields of an entry with their values.
#[derive(Clone)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    left: usize,
    /// Where the next name is, if it is one of the master entry.
    names: Option<usize>,
    /// Where the next name or value is.
    content: usize,
}

impl<'a> Fields<'a> {
    fn take(bytes: &'a [u8], at: &mut usize) -> Item<'a> {
        let (item, size) = entry::decode(bytes, *at);
        *at += size;
        item
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, Item<'a>)> {
        self.left = self.left.checked_sub(1)?;
        let names = self.names.as_mut();
        let name = Fields::take(self.bytes, names.unwrap_or(&mut self.content));
        Some((name, Fields::take(self.bytes, &mut self.content)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Fields<'_> {}
