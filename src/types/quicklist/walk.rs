//! Reading the elements of a list in order, from any place in either direction.

use super::{Chunk, Node};
use crate::types::listpack::Item;
use crate::types::listpack::entry::{self, END, HEADER};
use crate::types::listpack::raw;
use std::collections::VecDeque;

/// What is walked over.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// A list in a single listpack.
    One(&'a [u8]),
    /// The nodes of a quicklist.
    Many(&'a VecDeque<Node>),
}

impl<'a> Source<'a> {
    fn chunk(self, node: usize) -> Option<Chunk<'a>> {
        match self {
            Source::One(bytes) => (node == 0).then(|| Chunk::Packed(bytes.into())),
            Source::Many(nodes) => nodes.get(node).map(Node::view),
        }
    }
}

/// A walk over some elements of a list. It lends them out one by one, since those of a compressed
/// node live in the walk only: `while let Some(item) = walk.next() { … }`.
pub struct Walk<'a> {
    source: Source<'a>,
    node: usize,
    chunk: Chunk<'a>,
    /// Forward: offset of the next entry. Backward: offset behind it. In a plain node, whose only
    /// element is entered at 0 and left at 1, the other way round backward.
    at: usize,
    backward: bool,
    left: usize,
}

impl<'a> Walk<'a> {
    /// A walk over `left` elements from the one with index `offset` of `node` on, which exist.
    pub(super) fn new(
        source: Source<'a>,
        node: usize,
        offset: usize,
        backward: bool,
        left: usize,
    ) -> Walk<'a> {
        let mut walk = Walk {
            source,
            node,
            chunk: Chunk::Plain(&[]),
            at: 0,
            backward,
            left,
        };
        if left == 0 {
            return walk;
        }
        if let Some(chunk) = source.chunk(node) {
            walk.chunk = chunk;
            walk.at = match (&walk.chunk, backward) {
                (Chunk::Plain(_), _) => usize::from(backward),
                (Chunk::Packed(bytes), _) => {
                    let count = match source {
                        Source::One(bytes) => raw::count(bytes),
                        Source::Many(nodes) => nodes[node].count(),
                    };
                    raw::seek(bytes, count, offset + usize::from(backward))
                }
            };
        }
        walk
    }

    /// How many elements are still to come.
    pub fn left(&self) -> usize {
        self.left
    }

    fn used_up(&self) -> bool {
        match (&self.chunk, self.backward) {
            (Chunk::Packed(bytes), false) => bytes[self.at] == END,
            (Chunk::Packed(_), true) => self.at == HEADER,
            (Chunk::Plain(_), false) => self.at == 1,
            (Chunk::Plain(_), true) => self.at == 0,
        }
    }

    /// Steps into the next node that has elements; whether there is one.
    fn ready(&mut self) -> bool {
        while self.left > 0 && self.used_up() {
            let node = if self.backward {
                self.node.checked_sub(1)
            } else {
                Some(self.node + 1)
            };
            let Some(chunk) = node.and_then(|node| self.source.chunk(node)) else {
                self.left = 0;
                return false;
            };
            self.node = node.unwrap_or(0);
            self.at = match (&chunk, self.backward) {
                (Chunk::Packed(_), false) => HEADER,
                (Chunk::Packed(bytes), true) => bytes.len() - 1,
                (Chunk::Plain(_), backward) => usize::from(backward),
            };
            self.chunk = chunk;
        }
        self.left > 0
    }

    /// The next element.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    pub fn next(&mut self) -> Option<Item<'_>> {
        if !self.ready() {
            return None;
        }
        self.left -= 1;
        let item = match &self.chunk {
            Chunk::Plain(bytes) => {
                self.at = usize::from(!self.backward);
                Item::Bytes(bytes)
            }
            Chunk::Packed(bytes) if self.backward => {
                self.at = raw::prev(bytes, self.at).unwrap_or(HEADER);
                entry::decode(bytes, self.at).0
            }
            Chunk::Packed(bytes) => {
                let (item, size) = entry::decode(bytes, self.at);
                self.at += size;
                item
            }
        };
        Some(item)
    }

    /// Hands all elements that are left to `f`; the fastest way through many.
    pub fn for_each(mut self, mut f: impl FnMut(Item<'_>)) {
        while self.ready() {
            match &self.chunk {
                Chunk::Packed(bytes) if !self.backward => {
                    let bytes: &[u8] = bytes;
                    let mut at = self.at;
                    let mut left = self.left;
                    while left > 0 && bytes[at] != END {
                        let (item, size) = entry::decode(bytes, at);
                        f(item);
                        at += size;
                        left -= 1;
                    }
                    self.at = at;
                    self.left = left;
                }
                _ => {
                    if let Some(item) = self.next() {
                        f(item);
                    }
                }
            }
        }
    }
}
