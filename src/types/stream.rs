//! [`Stream`]: an append-only log of entries with ids that only grow, and the consumer groups that
//! read from it.
//!
//! The entries lie in [`Block`]s, each a listpack in Redis' own layout, ordered by the ids of their
//! first entries. An entry that is deleted stays in its block, marked, until the block has no
//! other. The log and the groups are separate fields, so that a group can take note of entries while
//! they are read.

mod block;
mod group;
mod id;
mod range;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::listpack::Corrupt;

pub use block::{Block, Fields};
pub use group::{Consumer, ConsumerId, Group, Pending};
pub use id::{ID_TEXT, NewId, StreamId};
pub use range::{Entry, Range};

/// The most bytes that a block, or the texts of one entry, may have.
const MAX_BLOCK: usize = 1 << 30;

/// A stream.
#[derive(Clone, Default)]
pub struct Stream {
    /// The entries.
    pub log: Log,
    /// The consumer groups by name.
    pub groups: BTreeMap<Box<[u8]>, Group>,
}

/// The entries of a stream, and what is remembered of those that are gone.
#[derive(Clone, Default)]
pub struct Log {
    blocks: BTreeMap<StreamId, Block>,
    len: usize,
    /// The id of the last entry ever added; new ones must be greater.
    pub last_id: StreamId,
    /// The id of the first entry; zero when there is none.
    pub first_id: StreamId,
    /// The greatest id of an entry that has been deleted.
    pub max_deleted: StreamId,
    /// How many entries have ever been added.
    pub entries_added: u64,
}

/// When a new block begins.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The last one would have so many bytes or more; 0 for the format's own limit.
    pub bytes: usize,
    /// It has so many entries; 0 for no limit.
    pub entries: usize,
}

/// Why an entry cannot be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Its id is not greater than the last one.
    NotGreater,
    /// It is too large.
    TooLarge,
}

/// Which entries are to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// The oldest, until so many are left.
    Last(usize),
    /// Those with lower ids than this.
    From(StreamId),
}

/// How a stream is trimmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trim {
    /// What is to stay.
    pub keep: Keep,
    /// Whether only whole blocks go.
    pub approximate: bool,
    /// The most entries to remove; 0 for no limit.
    pub limit: usize,
}

impl Stream {
    /// Bytes of heap memory behind the stream; the blocks are estimated from `samples` of them
    /// (0: all).
    pub fn memory(&self, samples: usize) -> usize {
        let log = &self.log;
        let count = log.blocks.len();
        let looked_at = if samples == 0 {
            count
        } else {
            samples.min(count)
        };
        let mut bytes = 0;
        if looked_at > 0 {
            // The last block is only partly filled, so it counts by itself.
            let (last, others) = (log.blocks.values().next_back(), looked_at - 1);
            let sum: usize = log.blocks.values().take(others).map(Block::memory).sum();
            let sum = sum as u128 * (count - 1) as u128;
            bytes = last.map_or(0, Block::memory);
            bytes += sum.checked_div(others as u128).unwrap_or(0) as usize;
        }
        let nodes = count * size_of::<(StreamId, Block)>() * 3 / 2;
        let groups: usize = self
            .groups
            .iter()
            .map(|(name, group)| name.len() + size_of::<Group>() + group.memory())
            .sum();
        size_of::<Stream>() + bytes + nodes + groups
    }

    /// How much work freeing the stream is, in allocations.
    pub fn free_effort(&self) -> usize {
        let group = |group: &Group| 1 + group.pending().len();
        self.log.blocks.len() + self.groups.values().map(group).sum::<usize>()
    }
}

impl Log {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The blocks with the ids of their first entries, in order.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = (StreamId, &Block)> {
        self.blocks.iter().map(|(id, block)| (*id, block))
    }

    /// Number of nodes of the radix tree in which Redis would keep the blocks.
    pub fn radix_nodes(&self) -> usize {
        radix_nodes(self.blocks.keys().map(|id| id.to_bytes()))
    }

    /// The id of the first or the last entry that is there.
    pub fn edge(&self, last: bool) -> Option<StreamId> {
        let mut all = self.range(StreamId::MIN, StreamId::MAX, last);
        all.next().map(|entry| entry.id)
    }

    /// Whether there is an entry with a greater id.
    pub fn has_after(&self, id: StreamId) -> bool {
        id < self.last_id && self.edge(true).is_some_and(|last| id < last)
    }

    // ------------------------------------------------------------ adding

    /// The id that an entry added now gets.
    fn new_id(&self, wanted: NewId, now: i64) -> Result<StreamId, Refused> {
        let last = self.last_id;
        let id = match wanted {
            NewId::Exact(id) => Some(id),
            NewId::AutoSeq(ms) if ms == last.ms => {
                let seq = last.seq.checked_add(1);
                seq.map(|seq| StreamId::new(ms, seq))
            }
            NewId::AutoSeq(ms) => Some(StreamId::new(ms, 0)),
            NewId::Auto => match u64::try_from(now) {
                Ok(ms) if ms > last.ms => Some(StreamId::new(ms, 0)),
                _ => last.next(),
            },
        };
        id.filter(|&id| id > last).ok_or(Refused::NotGreater)
    }

    /// Adds an entry of fields and values in turn.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn append<'w>(
        &mut self,
        wanted: NewId,
        words: impl ExactSizeIterator<Item = &'w [u8]> + Clone,
        now: i64,
        limits: Limits,
    ) -> Result<StreamId, Refused> {
        let id = self.new_id(wanted, now)?;
        let size: usize = words.clone().map(<[u8]>::len).sum();
        if size > MAX_BLOCK {
            return Err(Refused::TooLarge);
        }
        let full = |block: &Block| {
            let most = match limits.bytes {
                0 => MAX_BLOCK,
                most => most.min(MAX_BLOCK),
            };
            let (live, deleted) = block.counts();
            block.bytes() + size >= most || (limits.entries > 0 && live + deleted >= limits.entries)
        };
        let mut last = self.blocks.last_entry();
        let room = last.as_mut().and_then(|last| {
            let first = *last.key();
            let block = last.get_mut();
            if full(block) {
                block.close();
                return None;
            }
            Some((first, block))
        });
        match room {
            Some((first, block)) => block.push(first, id, words),
            None => {
                let mut block = Block::new(words.clone());
                block.push(id, id, words);
                self.blocks.insert(id, block);
            }
        }
        self.len += 1;
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        if self.len == 1 {
            self.first_id = id;
        }
        Ok(id)
    }

    /// Adds a whole block, as it comes from an RDB file, behind all others. To be followed by
    /// [`Log::complete`].
    ///
    /// # Errors
    /// When the ids of its entries do not ascend, or begin before those that are there end.
    pub fn append_block(&mut self, first: StreamId, block: Block) -> Result<(), Corrupt> {
        block.check_ids(first).ok_or(Corrupt)?;
        if self.last_in_blocks().is_some_and(|last| last >= first) {
            return Err(Corrupt);
        }
        self.len += block.counts().0;
        self.blocks.insert(first, block);
        Ok(())
    }

    /// Completes a log that has been put together from blocks, after its other fields are set: finds
    /// out which entry is the first.
    ///
    /// # Errors
    /// When an entry has a greater id than the one that is said to be the last.
    pub fn complete(&mut self) -> Result<(), Corrupt> {
        if self
            .last_in_blocks()
            .is_some_and(|last| last > self.last_id)
        {
            return Err(Corrupt);
        }
        self.renew_first();
        Ok(())
    }

    /// The id of the last entry, be it deleted.
    fn last_in_blocks(&self) -> Option<StreamId> {
        let (first, block) = self.blocks.last_key_value()?;
        let (last, _) = block.backward(*first, block.end())?;
        Some(last.id)
    }

    // ------------------------------------------------------------ removing

    /// Deletes an entry. Returns whether it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some((&first, block)) = self.blocks.range_mut(..=id).next_back() else {
            return false;
        };
        let found = block.find(first, id).filter(|found| !found.is_deleted());
        let Some(found) = found else {
            return false;
        };
        if block.counts().0 == 1 {
            self.blocks.remove(&first);
        } else {
            block.delete(found);
        }
        self.len -= 1;
        self.max_deleted = self.max_deleted.max(id);
        if id == self.first_id || self.len == 0 {
            self.renew_first();
        }
        true
    }

    /// Removes entries from the front. How many they were.
    pub fn trim(&mut self, trim: Trim) -> usize {
        let mut gone = 0;
        while let Some(mut front) = self.blocks.first_entry() {
            if let Keep::Last(most) = trim.keep
                && self.len <= most
            {
                break;
            }
            let first = *front.key();
            let block = front.get_mut();
            let live = block.counts().0;
            if trim.limit > 0 && gone + live > trim.limit {
                break;
            }
            let whole = match trim.keep {
                Keep::Last(most) => self.len - live >= most,
                Keep::From(id) => block
                    .backward(first, block.end())
                    .is_none_or(|(last, _)| last.id < id),
            };
            if whole {
                front.remove();
                self.len -= live;
                gone += live;
                continue;
            }
            if !trim.approximate {
                let len = self.len;
                let cut = block.delete_front(first, |id, cut| match trim.keep {
                    Keep::Last(most) => len - cut > most,
                    Keep::From(least) => id < least,
                });
                self.len -= cut;
                gone += cut;
            }
            break;
        }
        if gone > 0 || self.len == 0 {
            self.renew_first();
        }
        gone
    }

    fn renew_first(&mut self) {
        self.first_id = self.edge(false).unwrap_or(StreamId::MIN);
    }

    // ------------------------------------------------------------ counting

    /// Whether an entry from `id` on may have been deleted.
    pub(super) fn has_tombstones_from(&self, id: StreamId) -> bool {
        self.len > 0
            && self.max_deleted != StreamId::MIN
            && self.first_id <= self.max_deleted
            && id <= self.max_deleted
    }

    /// How many entries had been added once the one with this id was, where that can be told.
    pub fn distance(&self, id: StreamId) -> Option<i64> {
        let added = self.entries_added as i64;
        if self.entries_added == 0 {
            return Some(0);
        }
        if id == self.last_id || (self.len == 0 && id < self.last_id) {
            return Some(added);
        }
        if id > self.last_id {
            return None;
        }
        // Nothing has been deleted among the entries that are there.
        let whole = self.max_deleted == StreamId::MIN || self.max_deleted < self.first_id;
        let before = added.wrapping_sub(self.len as i64);
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less if whole => Some(before),
            std::cmp::Ordering::Equal if whole => Some(before.wrapping_add(1)),
            _ => None,
        }
    }
}

/// Number of nodes of a radix tree that holds these keys, which ascend: one for each key, one for
/// each place where keys part, and one for each run of bytes in between that is not empty.
fn radix_nodes(keys: impl Iterator<Item = [u8; 16]>) -> usize {
    const LEN: usize = 16;
    // Depths of the places on the way to the last key.
    let mut open: Vec<usize> = Vec::new();
    let mut nodes = 0;
    // The node at `depth` and the run that leads to it from the place at `above`.
    let node = |depth: usize, above: Option<usize>| {
        1 + usize::from(depth > above.map_or(0, |above| above + 1))
    };
    let mut last: Option<[u8; LEN]> = None;
    for key in keys {
        if let Some(last) = last {
            let parts = key.iter().zip(&last).take_while(|(a, b)| a == b).count();
            let mut depth = LEN;
            while let Some(&above) = open.last().filter(|&&above| above > parts) {
                nodes += node(depth, Some(above));
                depth = above;
                open.pop();
            }
            nodes += node(depth, Some(parts));
            if open.last() != Some(&parts) {
                open.push(parts);
            }
        }
        last = Some(key);
    }
    if last.is_none() {
        return 1;
    }
    let mut depth = LEN;
    while let Some(above) = open.pop() {
        nodes += node(depth, Some(above));
        depth = above;
    }
    nodes + node(depth, None)
}
