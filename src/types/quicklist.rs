//! [`List`] and [`Quicklist`]: the list type.
//!
//! A short list is a single [`Listpack`](super::listpack::Listpack); beyond `list-max-listpack-size` it becomes a
//! [`Quicklist`], a deque of nodes that each hold a listpack of limited size, or one large
//! element. When `list-compress-depth` is not 0, the nodes further than that from both ends are
//! compressed with LZF. The rules for sizes, splits and merges are those of Redis 7.2.
//!
//! The nodes (32 bytes each) are in a `VecDeque` and know how many elements they have. So work at
//! the ends is O(1); finding an index walks the nodes from the nearer end and then one node;
//! making or dropping a node in the middle moves the 32-byte nodes of the shorter side, which is
//! less than the walk that found the place.

mod list;
mod node;
#[cfg(test)]
mod tests;
mod walk;

use super::listpack::entry::{self, HEADER, Item, Needle};
use super::listpack::{Corrupt, raw};
use crate::sys;
use node::Node;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

pub use list::List;
use walk::Source;
pub use walk::Walk;

/// Size limits of a node in bytes for `list-max-listpack-size` -1 to -5.
const SIZES: [usize; 5] = [4096, 8192, 16_384, 32_768, 65_536];
/// Limit of a node in bytes when `list-max-listpack-size` is a number of elements.
const SAFE_SIZE: usize = 8192;
/// What an element adds to its node at most besides its text; Redis' estimate.
const OVERHEAD: usize = 8;
/// Text size from which on an element gets a plain node of its own.
pub const PACKED_THRESHOLD: usize = 1 << 30;

/// The settings that shape lists. An existing quicklist keeps the first two as they were when it
/// was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// `list-max-listpack-size`: elements per node, or, from -1 to -5, a size of 4 to 64 kB.
    pub fill: i16,
    /// `list-compress-depth`: nodes at either end that stay uncompressed; 0 for all.
    pub depth: u16,
    /// Bytes from which on an element gets a node of its own.
    pub packed_threshold: usize,
}

impl Limits {
    /// Limits from the values of the settings, cut to what Redis can hold: -5 to 32767 and 0 to
    /// 65535.
    pub fn new(fill: i64, depth: i64, packed_threshold: usize) -> Limits {
        Limits {
            fill: fill.clamp(-5, i64::from(i16::MAX)) as i16,
            depth: depth.clamp(0, i64::from(u16::MAX)) as u16,
            packed_threshold,
        }
    }

    /// The threshold for a value given to `DEBUG QUICKLIST-PACKED-THRESHOLD`: 0 restores the
    /// default; `None` if it is too close to 4 GB.
    pub fn packed_threshold_from(bytes: u64) -> Option<usize> {
        match bytes {
            0 => Some(PACKED_THRESHOLD),
            1..=0xfff0_0000 => usize::try_from(bytes).ok(),
            _ => None,
        }
    }

    /// Limits of a single node in bytes and in elements; one of the two is open.
    fn node(&self) -> (usize, usize) {
        match usize::try_from(self.fill) {
            Ok(count) => (usize::MAX, count.max(1)),
            Err(_) => (self.node_size(), usize::MAX),
        }
    }

    fn node_size(&self) -> usize {
        SIZES[usize::from(self.fill.unsigned_abs()).clamp(1, 5) - 1]
    }

    /// Whether a list of `count` elements in `size` bytes is too much for a single listpack.
    fn exceeded_by(&self, size: usize, count: usize) -> bool {
        match self.node() {
            (limit, usize::MAX) => size > limit,
            (_, limit) => size > SAFE_SIZE || count > limit,
        }
    }

    /// Whether a node takes one more element of `len` bytes.
    fn allow_insert(&self, node: &Node, len: usize) -> bool {
        if node.is_plain() || len >= self.packed_threshold {
            return false;
        }
        let size = node.size() + len + OVERHEAD;
        match usize::try_from(self.fill) {
            Ok(fill) => size <= SAFE_SIZE && node.count() < fill,
            Err(_) => size <= self.node_size(),
        }
    }

    /// Whether two neighbours fit into one node.
    fn allow_merge(&self, a: &Node, b: &Node) -> bool {
        if a.is_plain() || b.is_plain() {
            return false;
        }
        let size = (a.size() + b.size()).saturating_sub(11);
        match usize::try_from(self.fill) {
            Ok(fill) => size <= SAFE_SIZE && a.count() + b.count() <= fill,
            Err(_) => size <= self.node_size(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::new(-2, 0, PACKED_THRESHOLD)
    }
}

/// Either end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The left one, with index 0.
    Head,
    /// The right one.
    Tail,
}

/// The content of a node.
pub enum Chunk<'a> {
    /// A listpack.
    Packed(Cow<'a, [u8]>),
    /// One large element.
    Plain(&'a [u8]),
}

/// A node as it lies in memory.
pub enum Stored<'a> {
    /// A listpack.
    Packed(&'a [u8]),
    /// One large element.
    Plain(&'a [u8]),
    /// A listpack of `size` bytes, compressed.
    Lzf {
        /// What it is compressed to.
        data: &'a [u8],
        /// Its size before.
        size: usize,
    },
}

/// A list in nodes.
#[derive(Clone)]
pub struct Quicklist {
    nodes: VecDeque<Node>,
    count: usize,
    fill: i16,
    depth: u16,
}

/// A place between or at elements: a node and an offset in its listpack.
#[derive(Clone, Copy)]
struct Place {
    node: usize,
    at: usize,
}

impl Quicklist {
    /// An empty quicklist with the fill factor and the depth of `limits`.
    pub fn new(limits: &Limits) -> Quicklist {
        Quicklist {
            nodes: VecDeque::new(),
            count: 0,
            fill: limits.fill,
            depth: limits.depth,
        }
    }

    /// The limits that count for this list: its own, and today's threshold.
    fn own(&self, now: &Limits) -> Limits {
        Limits {
            fill: self.fill,
            depth: self.depth,
            ..*now
        }
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The fill factor that the list was made with.
    pub fn fill(&self) -> i16 {
        self.fill
    }

    /// The compression depth that the list was made with.
    pub fn depth(&self) -> u16 {
        self.depth
    }

    /// Size of all nodes before compression, in bytes.
    pub fn uncompressed_size(&self) -> usize {
        self.nodes.iter().map(Node::size).sum()
    }

    /// Heap memory behind the quicklist in bytes; looks at each node.
    pub fn heap_size(&self) -> usize {
        let nodes: usize = self.nodes.iter().map(Node::heap_size).sum();
        nodes + self.nodes.capacity() * size_of::<Node>()
    }

    /// Bytes of memory behind the quicklist, blocks of the allocator included; estimated from
    /// `samples` of its nodes (0: all).
    pub fn memory(&self, samples: usize) -> usize {
        let len = self.nodes.len();
        let samples = if samples == 0 { len } else { samples }.min(len);
        let node = |sample| sys::block(self.nodes[sample * len / samples].heap_size());
        let sampled: usize = (0..samples).map(node).sum();
        let nodes = sampled as u128 * len as u128 / samples.max(1) as u128;
        nodes as usize + self.nodes.capacity() * size_of::<Node>()
    }

    /// The nodes in order, decompressed.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk<'_>> {
        self.nodes.iter().map(Node::view)
    }

    /// The nodes in order, compressed ones as they are.
    pub fn stored(&self) -> impl ExactSizeIterator<Item = Stored<'_>> {
        self.nodes.iter().map(Node::stored)
    }

    // ------------------------------------------------------------ the ends

    /// Adds an element at an end.
    #[inline]
    pub fn push(&mut self, end: End, value: &[u8], limits: &Limits) {
        let limits = self.own(limits);
        let front = end == End::Head;
        let last = match end {
            End::Head => self.nodes.front_mut(),
            End::Tail => self.nodes.back_mut(),
        };
        match last {
            Some(node) if limits.allow_insert(node, value.len()) => {
                node.push(Item::of(value), front);
            }
            last => {
                if let Some(node) = last {
                    node.trim();
                }
                let node = Node::with_one(value, limits.packed_threshold);
                if front {
                    self.nodes.push_front(node);
                    self.settle(0..0);
                } else {
                    self.nodes.push_back(node);
                    self.settle(0..0);
                }
            }
        }
        self.count += 1;
    }

    /// Hands the element at an end to `f` and removes it; `None` if the list is empty.
    #[inline]
    pub fn pop<R>(&mut self, end: End, f: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let front = end == End::Head;
        let node = match end {
            End::Head => self.nodes.front_mut(),
            End::Tail => self.nodes.back_mut(),
        }?;
        let result = node.pop(front, f);
        self.count -= 1;
        if node.count() == 0 {
            if front {
                self.nodes.pop_front();
            } else {
                self.nodes.pop_back();
            }
            self.settle(0..0);
        }
        Some(result)
    }

    /// Adds a whole listpack at the tail, as it comes from an RDB file.
    ///
    /// # Errors
    /// When the bytes are not a valid listpack. An empty one is left out.
    pub fn append_listpack(&mut self, bytes: Vec<u8>) -> Result<(), Corrupt> {
        if raw::validate(&bytes).ok_or(Corrupt)? > 0 {
            self.append(Node::from_valid(bytes));
        }
        Ok(())
    }

    /// Adds a large element at the tail as a node of its own, as it comes from an RDB file.
    pub fn append_plain(&mut self, value: Box<[u8]>) {
        self.append(Node::Plain(value));
    }

    fn append(&mut self, node: Node) {
        self.count += node.count();
        self.nodes.push_back(node);
        self.settle(0..0);
    }

    // ------------------------------------------------------------ by index

    /// The node with the element `index`, which exists, and the element's index in there.
    fn locate(&self, index: usize) -> (usize, usize) {
        if index <= self.count / 2 {
            let mut left = index;
            for (at, node) in self.nodes.iter().enumerate() {
                if left < node.count() {
                    return (at, left);
                }
                left -= node.count();
            }
        } else {
            let mut behind = self.count - index;
            for (at, node) in self.nodes.iter().enumerate().rev() {
                if behind <= node.count() {
                    return (at, node.count() - behind);
                }
                behind -= node.count();
            }
        }
        (self.nodes.len(), 0)
    }

    /// A walk over up to `count` elements from the index `start` on, to the tail or backward.
    pub fn walk(&self, start: usize, count: usize, backward: bool) -> Walk<'_> {
        let source = Source::Many(&self.nodes);
        if start >= self.count {
            return Walk::new(source, 0, 0, backward, 0);
        }
        let most = if backward {
            start + 1
        } else {
            self.count - start
        };
        let (node, offset) = self.locate(start);
        Walk::new(source, node, offset, backward, count.min(most))
    }

    /// Exchanges the element `index`; whether there is one.
    pub fn set(&mut self, index: usize, value: &[u8], limits: &Limits) -> bool {
        if index >= self.count {
            return false;
        }
        let limits = self.own(limits);
        let (at, offset) = self.locate(index);
        let node = &mut self.nodes[at];
        let large = value.len() >= limits.packed_threshold;
        if node.is_plain() || large || (node.count() > 1 && !fits(node, value.len(), &limits)) {
            self.set_apart(Place { node: at, at: 0 }, offset, index, value, &limits);
        } else {
            let place = node.seek(offset);
            node.replace(place, Item::of(value));
            self.tidy(at);
            self.settle(at..at + 1);
        }
        true
    }

    /// [`set`](Quicklist::set) where the new element needs another node than the old one.
    fn set_apart(
        &mut self,
        mut place: Place,
        offset: usize,
        index: usize,
        value: &[u8],
        limits: &Limits,
    ) {
        let node = &mut self.nodes[place.node];
        if node.count() == 1 {
            *node = Node::with_one(value, limits.packed_threshold);
            self.settle(place.node..place.node + 1);
            return;
        }
        place.at = node.seek(offset);
        self.insert_at(place, value, true, limits);
        self.remove_range(index, 1);
    }

    /// Removes up to `count` elements from the index `start` on.
    pub fn remove_range(&mut self, start: usize, count: usize) {
        let mut left = count.min(self.count.saturating_sub(start));
        if left == 0 {
            return;
        }
        let (first, mut offset) = self.locate(start);
        self.count -= left;
        let mut at = first;
        // Nodes that go as a whole are taken out in one move.
        let mut whole = first..first;
        while left > 0 {
            let node = &mut self.nodes[at];
            let here = left.min(node.count() - offset);
            if here == node.count() {
                if whole.is_empty() {
                    whole = at..at;
                }
                whole.end = at + 1;
            } else {
                node.delete(offset, here);
            }
            left -= here;
            offset = 0;
            at += 1;
        }
        self.nodes.drain(whole);
        self.tidy(first);
        self.tidy(first + 1);
        self.settle(first.saturating_sub(1)..first + 2);
    }

    // ------------------------------------------------------------ by value

    /// Adds `value` before or after the first element that is `pivot`; whether there is one.
    pub fn insert(&mut self, pivot: &[u8], value: &[u8], after: bool, limits: &Limits) -> bool {
        let needle = Needle::new(pivot);
        let place = self.nodes.iter().enumerate().find_map(|(node, content)| {
            let at = match content.view() {
                Chunk::Packed(bytes) => raw::find(&bytes, HEADER, &needle, 0),
                Chunk::Plain(bytes) => needle.is(Item::Bytes(bytes)).then_some(0),
            }?;
            Some(Place { node, at })
        });
        match place {
            Some(place) => {
                let limits = self.own(limits);
                self.insert_at(place, value, after, &limits);
                true
            }
            None => false,
        }
    }

    /// Adds `value` before or after the element at `place`, in the way Redis chooses: in its
    /// node, else in the next one if the place is at its border, else in a new one.
    fn insert_at(&mut self, place: Place, value: &[u8], after: bool, limits: &Limits) {
        let Place {
            node: at,
            at: mut offset,
        } = place;
        let node = &mut self.nodes[at];
        let item = Item::of(value);
        self.count += 1;
        let plain = node.is_plain();
        let mut border = plain;
        if let Some(packed) = node.open() {
            let bytes = packed.bytes();
            if after {
                offset += entry::size(bytes, offset);
            }
            border = offset == if after { bytes.len() - 1 } else { HEADER };
        }
        if limits.allow_insert(node, value.len()) {
            node.insert(offset, item);
            self.settle(at..at + 1);
            return;
        }
        let neighbour = if after {
            Some(at + 1)
        } else {
            at.checked_sub(1)
        };
        if border
            && !plain
            && let Some(near) = neighbour
            && let Some(node) = self.nodes.get_mut(near)
            && limits.allow_insert(node, value.len())
        {
            node.push(item, after);
            node.trim();
            self.settle(near.min(at)..near.max(at) + 1);
            return;
        }
        let new = Node::with_one(value, limits.packed_threshold);
        let node = &mut self.nodes[at];
        if border {
            node.trim();
            self.nodes.insert(at + usize::from(after), new);
            self.settle(at..at + 2);
            return;
        }
        let behind = node.split(offset);
        self.nodes.insert(at + 1, behind);
        if new.is_plain() {
            // After each of the two new nodes, since one at a time leaves the depth of an end.
            self.settle(at..at + 2);
            self.nodes.insert(at + 1, new);
            self.settle(at..at + 3);
            return;
        }
        // The new element goes to the half that Redis makes anew.
        let half = &mut self.nodes[at + usize::from(after)];
        half.push(item, after);
        half.trim();
        self.merge_around(at + usize::from(!after), limits);
    }

    /// Removes up to `count` elements that are `value`, from the head, or if `count` is negative
    /// from the tail; all of them if it is 0. How many they were.
    pub fn remove_matching(&mut self, value: &[u8], count: i64) -> usize {
        let needle = Needle::new(value);
        let wanted = match count {
            0 => usize::MAX,
            count => usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX),
        };
        let from_tail = count < 0;
        let nodes = self.nodes.len();
        let mut removed = 0;
        let mut touched = nodes..0;
        for step in 0..nodes {
            if removed == wanted {
                break;
            }
            let at = if from_tail { nodes - 1 - step } else { step };
            let here = self.nodes[at].remove_matching(&needle, from_tail, wanted - removed);
            if here > 0 {
                removed += here;
                touched = touched.start.min(at)..touched.end.max(at + 1);
            }
        }
        if removed > 0 {
            self.count -= removed;
            let around = touched.start.saturating_sub(1)..(touched.end + 1).min(nodes);
            self.compact(around);
        }
        removed
    }

    // ------------------------------------------------------------ nodes

    /// Drops empty nodes among these and merges neighbours that fit into one.
    fn compact(&mut self, range: Range<usize>) {
        let limits = self.own(&Limits::default());
        let behind = self.nodes.split_off(range.end);
        let touched = self.nodes.split_off(range.start);
        for node in touched {
            if node.count() == 0 {
                continue;
            }
            if self.nodes.len() > range.start
                && let Some(last) = self.nodes.back_mut()
                && limits.allow_merge(last, &node)
            {
                last.merge(node);
                continue;
            }
            self.nodes.push_back(node);
        }
        let end = self.nodes.len();
        self.nodes.extend(behind);
        self.settle(range.start..end);
    }

    /// Merges a node that was split, and its neighbours, where two fit into one.
    fn merge_around(&mut self, center: usize, limits: &Limits) {
        let mut at = center;
        let first = at.saturating_sub(2);
        if at >= 2 && self.merge(at - 2, limits) {
            at -= 1;
        }
        self.merge(at + 1, limits);
        if at >= 1 && self.merge(at - 1, limits) {
            at -= 1;
        }
        self.merge(at, limits);
        self.settle(first..center + 3);
    }

    /// Merges the node `at` and the one behind it, if they exist and fit.
    fn merge(&mut self, at: usize, limits: &Limits) -> bool {
        let (Some(first), Some(second)) = (self.nodes.get(at), self.nodes.get(at + 1)) else {
            return false;
        };
        if !limits.allow_merge(first, second) {
            return false;
        }
        if let Some(second) = self.nodes.remove(at + 1) {
            self.nodes[at].merge(second);
        }
        true
    }

    /// Gives back what a node holds beyond its content, unless it is at an end of the list.
    fn tidy(&mut self, at: usize) {
        if at > 0 && at + 1 < self.nodes.len() {
            self.nodes[at].trim();
        }
    }

    /// Makes compression right again after nodes were made, dropped or, in the range `touched`,
    /// changed: none within the depth of an end, those beyond it.
    fn settle(&mut self, touched: Range<usize>) {
        let depth = usize::from(self.depth);
        if depth == 0 {
            return;
        }
        let len = self.nodes.len();
        for at in 0..depth.min(len) {
            self.nodes[at].open();
            self.nodes[len - 1 - at].open();
        }
        if len <= 2 * depth {
            return;
        }
        let inner = depth..len - depth;
        for at in touched.start.max(inner.start)..touched.end.min(inner.end) {
            self.nodes[at].compress();
        }
        self.nodes[inner.start].compress();
        self.nodes[inner.end - 1].compress();
    }

    /// The only node's listpack, if there is a single node and it is no plain one.
    fn single(&self) -> Option<&Node> {
        self.nodes
            .front()
            .filter(|node| self.nodes.len() == 1 && !node.is_plain())
    }
}

/// Whether a node stays within its limits when an element in it becomes `len` bytes long.
fn fits(node: &Node, len: usize, limits: &Limits) -> bool {
    let size = node.size() + len + OVERHEAD;
    match usize::try_from(limits.fill) {
        Ok(_) => size <= SAFE_SIZE,
        Err(_) => size <= limits.node_size(),
    }
}
