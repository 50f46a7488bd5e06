//! Walking over the entries of a stream, in either direction.

use std::collections::btree_map;

use super::block::{Block, Fields, Found};
use super::{Log, StreamId};

/// An entry.
pub struct Entry<'a> {
    /// Its id.
    pub id: StreamId,
    block: &'a Block,
    found: Found,
}

impl<'a> Entry<'a> {
    /// Its fields with their values.
    pub fn fields(&self) -> Fields<'a> {
        self.block.fields(self.found)
    }
}

/// The entries between two ids, both included.
pub struct Range<'a> {
    blocks: Option<btree_map::Range<'a, StreamId, Block>>,
    start: StreamId,
    end: StreamId,
    backward: bool,
    /// The block at hand, its first id, and where in it the walk is.
    here: Option<(&'a Block, StreamId, usize)>,
}

impl Log {
    /// The entries from `start` to `end`, both included; from the last one on if `backward`.
    pub fn range(&self, start: StreamId, end: StreamId, backward: bool) -> Range<'_> {
        let blocks = (start <= end).then(|| {
            // The first entry may lie in the middle of the block that starts before it.
            let before = self.blocks.range(..=start).next_back();
            let from = before.map_or(start, |(first, _)| *first);
            self.blocks.range(from..=end)
        });
        Range {
            blocks,
            start,
            end,
            backward,
            here: None,
        }
    }

    /// All entries.
    pub fn iter(&self) -> Range<'_> {
        self.range(StreamId::MIN, StreamId::MAX, false)
    }

    /// The entry with an id.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        let (first, block) = self.blocks.range(..=id).next_back()?;
        let found = block.find(*first, id).filter(|found| !found.is_deleted())?;
        Some(Entry { id, block, found })
    }
}

impl<'a> Range<'a> {
    fn next_block(&mut self) -> Option<(&'a Block, StreamId, usize)> {
        let blocks = self.blocks.as_mut()?;
        Some(if self.backward {
            let (first, block) = blocks.next_back()?;
            (block, *first, block.end())
        } else {
            let (first, block) = blocks.next()?;
            (block, *first, block.start())
        })
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let (block, first, at) = match self.here {
                Some(here) => here,
                None => self.next_block()?,
            };
            let found = if self.backward {
                block.backward(first, at)
            } else {
                block.forward(first, at)
            };
            let Some((found, next)) = found else {
                self.here = None;
                continue;
            };
            self.here = Some((block, first, next));
            let past = if self.backward {
                found.id < self.start
            } else {
                found.id > self.end
            };
            if past {
                self.blocks = None;
                self.here = None;
                return None;
            }
            if !found.is_deleted() && (self.start..=self.end).contains(&found.id) {
                let id = found.id;
                return Some(Entry { id, block, found });
            }
        }
    }
}
