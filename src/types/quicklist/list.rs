//! [`List`]: a list in the encoding that suits its size, and the operations of the list commands.

use super::walk::Source;
use super::{Chunk, Corrupt, End, Limits, Node, Quicklist, Walk};
use crate::types::listpack::{Item, Listpack, Needle, raw};

/// A list: 16 bytes, and one or more blocks behind them.
///
/// Growing past the limits makes a quicklist of it; when one node is left in there with no more
/// than half of what the limits allow, it becomes a single listpack again. All operations that
/// change a list see to that themselves.
#[derive(Clone)]
pub enum List {
    /// A single listpack.
    Packed(Listpack),
    /// Nodes.
    Chunked(Box<Quicklist>),
}

const _: () = assert!(size_of::<List>() == 16);

impl List {
    /// An empty list.
    pub fn new() -> List {
        List::Packed(Listpack::new())
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            List::Packed(packed) => packed.len(),
            List::Chunked(chunked) => chunked.len(),
        }
    }

    /// Whether there are no elements; then the key is to be removed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match self {
            List::Packed(packed) => packed.is_empty(),
            List::Chunked(chunked) => chunked.is_empty(),
        }
    }

    /// Whether the list is one listpack, which Redis 7.2 calls `listpack` and 7.0 `quicklist`.
    pub fn is_single_packed(&self) -> bool {
        matches!(self, List::Packed(_))
    }

    /// Redis 7.2's name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self {
            List::Packed(_) => "listpack",
            List::Chunked(_) => "quicklist",
        }
    }

    /// Heap memory behind the list in bytes; looks at each node.
    pub fn heap_size(&self) -> usize {
        match self {
            List::Packed(packed) => packed.bytes(),
            List::Chunked(chunked) => size_of::<Quicklist>() + chunked.heap_size(),
        }
    }

    /// Bytes of memory behind the list, blocks of the allocator included; estimated from `samples`
    /// of its nodes (0: all).
    pub fn memory(&self, samples: usize) -> usize {
        match self {
            List::Packed(packed) => packed.bytes(),
            List::Chunked(chunked) => size_of::<Quicklist>() + chunked.memory(samples),
        }
    }

    /// Number of nodes; 1 for a single listpack. Freeing takes as many steps.
    pub fn node_count(&self) -> usize {
        match self {
            List::Packed(_) => 1,
            List::Chunked(chunked) => chunked.node_count(),
        }
    }

    /// The content, node by node and decompressed, as RDB files store it.
    pub fn chunks(&self) -> Box<dyn Iterator<Item = Chunk<'_>> + '_> {
        match self {
            List::Packed(packed) => {
                Box::new(std::iter::once(Chunk::Packed(packed.as_bytes().into())))
            }
            List::Chunked(chunked) => Box::new(chunked.chunks()),
        }
    }

    // ------------------------------------------------------------ encodings

    /// Makes a quicklist of a listpack that `count` more elements of `size` bytes in all make
    /// too large.
    fn grow(&mut self, size: usize, count: usize, limits: &Limits) {
        if let List::Packed(packed) = self
            && limits.exceeded_by(packed.bytes() + size, packed.len() + count)
        {
            let bytes = std::mem::take(packed).into_bytes();
            let mut chunked = Quicklist::new(limits);
            // The bytes of a listpack are valid, and an empty one makes no node.
            let _ = chunked.append_listpack(bytes);
            *self = List::Chunked(Box::new(chunked));
        }
    }

    /// Makes a listpack of a quicklist that fits into one; after elements were removed it must
    /// fit twice, so that the next push does not turn it back.
    fn shrink(&mut self, parts: usize, limits: &Limits) {
        if let List::Chunked(chunked) = self
            && let Some(node) = chunked.single()
        {
            let (size, count) = limits.node();
            if node.size() > size / parts || node.count() > count / parts {
                return;
            }
            // The only node is within any compression depth, so it is not compressed.
            if let Some(Node::Packed(packed)) = chunked.nodes.pop_front() {
                *self = List::Packed(Listpack::from_valid(packed.into_bytes()));
            }
        } else if self.is_empty() {
            *self = List::new();
        }
    }

    /// Chooses the encoding of a list that was built in some other way, as from an RDB file.
    pub fn settle(&mut self, limits: &Limits) {
        self.grow(0, 0, limits);
        self.shrink(1, limits);
    }

    // ------------------------------------------------------------ the ends

    /// Adds an element at an end.
    #[inline]
    pub fn push(&mut self, end: End, value: &[u8], limits: &Limits) {
        self.grow(value.len(), 1, limits);
        match (self, end) {
            (List::Packed(packed), End::Head) => packed.push_front(value),
            (List::Packed(packed), End::Tail) => packed.push_back(value),
            (List::Chunked(chunked), end) => chunked.push(end, value, limits),
        }
    }

    /// Adds elements at an end one after the other, so that pushing to the head reverses them.
    /// The encoding is chosen once for all of them, as Redis does.
    pub fn push_many<'a, I>(&mut self, end: End, values: I, limits: &Limits)
    where
        I: Iterator<Item = &'a [u8]> + Clone,
    {
        let (size, count) = values.clone().fold((0, 0), |(size, count), value| {
            (size + value.len(), count + 1)
        });
        self.grow(size, count, limits);
        match (self, end) {
            (List::Packed(packed), End::Head) => packed.prepend_each(values.map(Item::of)),
            (List::Packed(packed), End::Tail) => packed.append(values.map(Item::of)),
            (List::Chunked(chunked), end) => {
                for value in values {
                    chunked.push(end, value, limits);
                }
            }
        }
    }

    /// Hands the element at an end to `f` and removes it; `None` if the list is empty.
    #[inline]
    pub fn pop<R>(
        &mut self,
        end: End,
        limits: &Limits,
        f: impl FnOnce(Item<'_>) -> R,
    ) -> Option<R> {
        match self {
            List::Packed(packed) => {
                let at = match end {
                    End::Head => packed.first(),
                    End::Tail => packed.last(),
                }?;
                let result = f(packed.at(at));
                packed.delete(at);
                Some(result)
            }
            List::Chunked(chunked) => {
                let result = chunked.pop(end, f);
                if chunked.node_count() <= 1 {
                    self.shrink(2, limits);
                }
                result
            }
        }
    }

    // ------------------------------------------------------------ by index

    /// The index that a possibly negative one stands for (-1 is the last element); `None` if it
    /// is out of range.
    pub fn index(&self, index: i64) -> Option<usize> {
        let len = self.len();
        let index = if index < 0 {
            len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
        } else {
            usize::try_from(index).ok()?
        };
        (index < len).then_some(index)
    }

    /// Hands the element `index` (see [`index`](List::index)) to `f`; `None` if there is none.
    pub fn get<R>(&self, index: i64, f: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        self.walk(self.index(index)?, 1, false).next().map(f)
    }

    /// A walk over up to `count` elements from the index `start` on, to the tail or backward.
    pub fn walk(&self, start: usize, count: usize, backward: bool) -> Walk<'_> {
        match self {
            List::Chunked(chunked) => chunked.walk(start, count, backward),
            List::Packed(packed) => {
                let len = packed.len();
                let most = match len.checked_sub(start) {
                    None | Some(0) => 0,
                    Some(_) if backward => start + 1,
                    Some(rest) => rest,
                };
                let source = Source::One(packed.as_bytes());
                Walk::new(source, 0, start, backward, count.min(most))
            }
        }
    }

    /// A walk over all elements.
    pub fn iter(&self) -> Walk<'_> {
        self.walk(0, usize::MAX, false)
    }

    /// Exchanges the element `index` (see [`index`](List::index)); whether there is one.
    pub fn set(&mut self, index: i64, value: &[u8], limits: &Limits) -> bool {
        if self.index(index).is_none() {
            return false;
        }
        self.grow(value.len(), 1, limits);
        match self {
            List::Packed(packed) => {
                if let Some(at) = packed.seek(index) {
                    packed.replace(at, value);
                }
            }
            List::Chunked(chunked) => {
                let index = if index < 0 {
                    chunked.len() - index.unsigned_abs() as usize
                } else {
                    index as usize
                };
                chunked.set(index, value, limits);
                self.shrink(2, limits);
            }
        }
        true
    }

    /// Removes up to `count` elements from the index `start` on.
    pub fn remove_range(&mut self, start: usize, count: usize, limits: &Limits) {
        match self {
            List::Packed(packed) => {
                if let Ok(start) = i64::try_from(start) {
                    packed.delete_range(start, count);
                }
            }
            List::Chunked(chunked) => {
                chunked.remove_range(start, count);
                self.shrink(2, limits);
            }
        }
    }

    /// Keeps only the `count` elements from the index `start` on.
    pub fn trim(&mut self, start: usize, count: usize, limits: &Limits) {
        let end = start.saturating_add(count);
        if end < self.len() {
            self.remove_range(end, usize::MAX, limits);
        }
        if start > 0 {
            self.remove_range(0, start, limits);
        }
    }

    // ------------------------------------------------------------ by value

    /// Adds `value` before or after the first element that is `pivot`; whether there is one.
    pub fn insert(&mut self, pivot: &[u8], value: &[u8], after: bool, limits: &Limits) -> bool {
        self.grow(value.len(), 1, limits);
        match self {
            List::Packed(packed) => {
                let Some(at) = packed.find_first(pivot, 0) else {
                    return false;
                };
                if after {
                    packed.insert_after(at, value);
                } else {
                    packed.insert_before(at, value);
                }
                true
            }
            List::Chunked(chunked) => chunked.insert(pivot, value, after, limits),
        }
    }

    /// Removes up to `count` elements that are `value`, from the head, or if `count` is negative
    /// from the tail; all of them if it is 0. How many they were.
    pub fn remove_matching(&mut self, value: &[u8], count: i64, limits: &Limits) -> usize {
        match self {
            List::Packed(packed) => {
                let limit = match count {
                    0 => usize::MAX,
                    count => usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX),
                };
                let bytes = packed.as_bytes();
                let cut = raw::matches(bytes, &Needle::new(value), count < 0, limit);
                if !cut.is_empty() {
                    let kept = raw::without(bytes, &cut, packed.len() - cut.len());
                    *packed = Listpack::from_valid(kept);
                }
                cut.len()
            }
            List::Chunked(chunked) => {
                let removed = chunked.remove_matching(value, count);
                if removed > 0 {
                    self.shrink(2, limits);
                }
                removed
            }
        }
    }

    /// The indexes of elements that are `value`, as `LPOS` finds them: from the `rank`th match on
    /// (negative ranks search from the tail), at most `count` of them (0: all), among the first
    /// `maxlen` elements looked at (0: all).
    pub fn positions(&self, value: &[u8], rank: i64, count: usize, maxlen: usize) -> Vec<usize> {
        let len = self.len();
        let backward = rank < 0;
        let most = if maxlen == 0 { len } else { maxlen.min(len) };
        let start = if backward { len.saturating_sub(1) } else { 0 };
        let needle = Needle::new(value);
        let mut walk = self.walk(start, most, backward);
        let mut found = Vec::new();
        let (mut seen, mut matched) = (0, 0);
        while let Some(item) = walk.next() {
            if needle.is(item) {
                matched += 1;
                if matched >= rank.unsigned_abs() {
                    found.push(if backward { len - 1 - seen } else { seen });
                    if found.len() == count {
                        break;
                    }
                }
            }
            seen += 1;
        }
        found
    }

    /// A list of nodes as an RDB file holds them; the encoding is chosen by
    /// [`settle`](List::settle) afterwards. `true` marks a plain node.
    ///
    /// # Errors
    /// When a node is not a valid listpack.
    pub fn from_nodes(
        nodes: impl IntoIterator<Item = (bool, Vec<u8>)>,
        limits: &Limits,
    ) -> Result<List, Corrupt> {
        let mut chunked = Quicklist::new(limits);
        for (plain, bytes) in nodes {
            if plain {
                chunked.append_plain(bytes.into_boxed_slice());
            } else {
                chunked.append_listpack(bytes)?;
            }
        }
        let mut list = List::Chunked(Box::new(chunked));
        list.settle(limits);
        Ok(list)
    }
}

impl Default for List {
    fn default() -> List {
        List::new()
    }
}
