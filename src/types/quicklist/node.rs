//! One node of a quicklist: a listpack, a single large element, or a compressed listpack.
//!
//! A listpack in a node may have a gap before its header and room behind its terminator. So
//! pushes and pops at either end of a list move no other element: the header is simply written
//! anew in front of what is now the first entry. Nodes that are not at an end have neither
//! ([`Node::trim`]).

use super::{Chunk, Stored};
use crate::types::listpack::entry::{self, HEADER, Item, Needle};
use crate::types::listpack::raw;
use crate::util::lzf;

/// A listpack smaller than this is not compressed.
const MIN_COMPRESS: usize = 48;
/// What a compression must gain at least.
const MIN_GAIN: usize = 8;

/// A listpack that grows and shrinks at both ends.
#[derive(Clone)]
pub(super) struct Packed {
    /// A gap, then the listpack.
    buf: Vec<u8>,
    /// Where the listpack starts.
    start: u32,
    /// Its elements.
    count: u32,
}

/// A node.
#[derive(Clone)]
pub(super) enum Node {
    /// A listpack.
    Packed(Packed),
    /// One element that is too large for a listpack.
    Plain(Box<[u8]>),
    /// A compressed listpack.
    Lzf {
        /// What it is compressed to.
        data: Box<[u8]>,
        /// Its size before, in bytes.
        size: u32,
        /// Its elements.
        count: u32,
    },
}

const _: () = assert!(size_of::<Node>() == 32);

/// Room for further pushes to a listpack of this size.
fn slack(size: usize) -> usize {
    match size {
        0..2048 => size.max(32),
        2048..=65_536 => 2048,
        // One large element; hardly anything will be added.
        _ => 0,
    }
}

impl Packed {
    /// A listpack from its bytes, which are valid.
    pub(super) fn from_valid(buf: Vec<u8>) -> Packed {
        let count = raw::count(&buf) as u32;
        Packed {
            buf,
            start: 0,
            count,
        }
    }

    pub(super) fn with_one(item: Item<'_>) -> Packed {
        let mut buf = raw::empty(HEADER + item.encoded_len() + 1);
        raw::append(&mut buf, item);
        raw::set_header(&mut buf, 0, 1);
        Packed {
            buf,
            start: 0,
            count: 1,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    fn base(&self) -> usize {
        self.start as usize
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buf[self.base()..]
    }

    fn size(&self) -> usize {
        self.buf.len() - self.base()
    }

    /// Makes header and count those of `count` elements.
    fn set_count(&mut self, count: usize) {
        self.count = count as u32;
        raw::set_header(&mut self.buf, self.start as usize, count);
    }

    fn push_back(&mut self, item: Item<'_>) {
        let need = item.encoded_len();
        if self.buf.capacity() - self.buf.len() < need {
            if self.base() > self.size() {
                self.close_gap();
            }
            self.buf.reserve_exact(need + slack(self.size()));
        }
        raw::append(&mut self.buf, item);
        self.set_count(self.count() + 1);
    }

    fn push_front(&mut self, item: Item<'_>) {
        let need = item.encoded_len();
        if self.base() < need {
            let gap = need + slack(self.size());
            let old = self.base();
            raw::splice(&mut self.buf, 0, 0, old, gap);
            self.start = gap as u32;
        }
        let start = self.base() - need;
        item.encode(&mut self.buf[start + HEADER..start + HEADER + need]);
        self.start = start as u32;
        self.set_count(self.count() + 1);
    }

    /// Removes `remove` elements in the bytes from offset `from` up to `to`.
    fn cut(&mut self, from: usize, to: usize, remove: usize) {
        if from == HEADER {
            self.start += (to - from) as u32;
        } else {
            raw::splice(&mut self.buf, self.start as usize, from, to - from, 0);
        }
        self.set_count(self.count() - remove);
        if self.buf.capacity() > 4 * self.size() + 1024 {
            self.trim();
        }
    }

    fn close_gap(&mut self) {
        self.buf.drain(..self.start as usize);
        self.start = 0;
    }

    fn trim(&mut self) {
        self.close_gap();
        self.buf.shrink_to_fit();
    }

    /// The bytes of the listpack, in a vector of their size.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.trim();
        self.buf
    }
}

impl Node {
    /// A node with one element, plain if it is as large as `threshold`.
    pub(super) fn with_one(value: &[u8], threshold: usize) -> Node {
        if value.len() >= threshold {
            Node::Plain(value.into())
        } else {
            Node::Packed(Packed::with_one(Item::of(value)))
        }
    }

    pub(super) fn from_valid(buf: Vec<u8>) -> Node {
        Node::Packed(Packed::from_valid(buf))
    }

    /// Number of elements.
    #[inline]
    pub(super) fn count(&self) -> usize {
        match self {
            Node::Packed(packed) => packed.count(),
            Node::Plain(_) => 1,
            Node::Lzf { count, .. } => *count as usize,
        }
    }

    /// Size of the listpack, or of the plain element, in bytes; before compression.
    #[inline]
    pub(super) fn size(&self) -> usize {
        match self {
            Node::Packed(packed) => packed.size(),
            Node::Plain(bytes) => bytes.len(),
            Node::Lzf { size, .. } => *size as usize,
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Node::Plain(_))
    }

    /// Heap memory behind the node in bytes.
    pub(super) fn heap_size(&self) -> usize {
        match self {
            Node::Packed(packed) => packed.buf.capacity(),
            Node::Plain(bytes) => bytes.len(),
            Node::Lzf { data, .. } => data.len(),
        }
    }

    /// The content, decompressed into memory of its own if need be.
    #[inline]
    pub(super) fn view(&self) -> Chunk<'_> {
        match self {
            Node::Packed(packed) => Chunk::Packed(packed.bytes().into()),
            Node::Plain(bytes) => Chunk::Plain(bytes),
            Node::Lzf { data, size, .. } => Chunk::Packed(inflate(data, *size).into()),
        }
    }

    /// The node as it is.
    pub(super) fn stored(&self) -> Stored<'_> {
        match self {
            Node::Packed(packed) => Stored::Packed(packed.bytes()),
            Node::Plain(bytes) => Stored::Plain(bytes),
            Node::Lzf { data, size, .. } => Stored::Lzf {
                data,
                size: *size as usize,
            },
        }
    }

    /// Decompresses the node; `None` if it is a plain one.
    #[inline]
    pub(super) fn open(&mut self) -> Option<&mut Packed> {
        if let Node::Lzf { data, size, count } = self {
            *self = Node::Packed(Packed {
                buf: inflate(data, *size),
                start: 0,
                count: *count,
            });
        }
        match self {
            Node::Packed(packed) => Some(packed),
            _ => None,
        }
    }

    /// Compresses a listpack if that pays, by Redis' measure.
    pub(super) fn compress(&mut self) {
        let Node::Packed(packed) = self else {
            return;
        };
        let size = packed.size();
        if size < MIN_COMPRESS {
            return;
        }
        if let Some(data) = lzf::compress(packed.bytes(), size - MIN_GAIN - 1) {
            *self = Node::Lzf {
                data: data.into_boxed_slice(),
                size: size as u32,
                count: packed.count,
            };
        }
    }

    /// Gives back gap and room, for a node that is no longer at an end of the list.
    pub(super) fn trim(&mut self) {
        if let Node::Packed(packed) = self {
            packed.trim();
        }
    }

    /// Adds an element at an end. The node is no plain one.
    #[inline]
    pub(super) fn push(&mut self, item: Item<'_>, front: bool) {
        if let Some(packed) = self.open() {
            if front {
                packed.push_front(item);
            } else {
                packed.push_back(item);
            }
        }
    }

    /// Hands the element at an end to `f` and removes it. The node is not empty.
    #[inline]
    pub(super) fn pop<R>(&mut self, front: bool, f: impl FnOnce(Item<'_>) -> R) -> R {
        if let Node::Plain(bytes) = self {
            let result = f(Item::Bytes(bytes));
            *self = Node::from_valid(raw::empty(0));
            return result;
        }
        let Some(packed) = self.open() else {
            unreachable!("plain nodes are dealt with above");
        };
        let bytes = packed.bytes();
        let end = bytes.len() - 1;
        if front {
            let (item, size) = entry::decode(bytes, HEADER);
            let result = f(item);
            packed.cut(HEADER, HEADER + size, 1);
            result
        } else {
            let at = raw::prev(bytes, end).unwrap_or(HEADER);
            let result = f(entry::decode(bytes, at).0);
            packed.cut(at, end, 1);
            result
        }
    }

    /// Offset of the entry with this index in the node.
    pub(super) fn seek(&mut self, index: usize) -> usize {
        match self.open() {
            Some(packed) => raw::seek(packed.bytes(), packed.count(), index),
            None => 0,
        }
    }

    /// Adds an element at offset `at`. The node is no plain one.
    pub(super) fn insert(&mut self, at: usize, item: Item<'_>) {
        if let Some(packed) = self.open() {
            raw::put(&mut packed.buf, packed.start as usize, at, 0, item);
            packed.set_count(packed.count() + 1);
        }
    }

    /// Exchanges the element at offset `at`. The node is no plain one.
    pub(super) fn replace(&mut self, at: usize, item: Item<'_>) {
        if let Some(packed) = self.open() {
            let old = entry::size(packed.bytes(), at);
            raw::put(&mut packed.buf, packed.start as usize, at, old, item);
            packed.set_count(packed.count());
        }
    }

    /// Removes `count` elements from the index `from` on; they are not all of a plain node.
    pub(super) fn delete(&mut self, from: usize, count: usize) {
        if let Some(packed) = self.open() {
            let bytes = packed.bytes();
            let start = raw::seek(bytes, packed.count(), from);
            let end = if from + count == packed.count() {
                bytes.len() - 1
            } else {
                raw::seek(bytes, packed.count(), from + count)
            };
            packed.cut(start, end, count);
        }
    }

    /// Removes up to `limit` elements with the needle's text, the last ones if `from_tail`. How
    /// many they were; a plain node becomes an empty one.
    pub(super) fn remove_matching(
        &mut self,
        needle: &Needle<'_>,
        from_tail: bool,
        limit: usize,
    ) -> usize {
        let count = self.count();
        let kept = match self.view() {
            Chunk::Plain(bytes) => {
                if !needle.is(Item::Bytes(bytes)) {
                    return 0;
                }
                raw::empty(0)
            }
            Chunk::Packed(bytes) => {
                let cut = raw::matches(&bytes, needle, from_tail, limit);
                if cut.is_empty() {
                    return 0;
                }
                raw::without(&bytes, &cut, count - cut.len())
            }
        };
        *self = Node::from_valid(kept);
        count - self.count()
    }

    /// Splits the node at an offset: it keeps the entries before, the result has the others. The
    /// node is no plain one.
    pub(super) fn split(&mut self, at: usize) -> Node {
        let count = self.count();
        let Some(packed) = self.open() else {
            return Node::from_valid(raw::empty(0));
        };
        let bytes = packed.bytes();
        let mut left = 0;
        let mut walk = HEADER;
        while walk < at {
            walk += entry::size(bytes, walk);
            left += 1;
        }
        let first = raw::from_parts(&[&bytes[HEADER..at]], left);
        let second = raw::from_parts(&[&bytes[at..bytes.len() - 1]], count - left);
        *packed = Packed::from_valid(first);
        Node::from_valid(second)
    }

    /// Takes over the elements of the node behind. Neither is a plain one.
    pub(super) fn merge(&mut self, mut other: Node) {
        if let (Some(first), Some(second)) = (self.open(), other.open()) {
            let parts = [raw::entries(first.bytes()), raw::entries(second.bytes())];
            let count = first.count() + second.count();
            let buf = raw::from_parts(&parts, count);
            *first = Packed {
                buf,
                start: 0,
                count: count as u32,
            };
        }
    }
}

/// Decompresses what [`Node::compress`] made.
fn inflate(data: &[u8], size: u32) -> Vec<u8> {
    match lzf::decompress(data, size as usize) {
        Ok(bytes) => bytes,
        Err(lzf::Corrupt) => unreachable!("only this file makes compressed nodes"),
    }
}
