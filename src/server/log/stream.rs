//! What replicas are sent: the bytes of the replication stream, as far back as they are kept.
//!
//! The stream is kept in blocks, of which the oldest go once so many bytes of younger ones are there
//! as `repl-backlog-size` asks for and every replica has been sent them. Who reads has a cursor:
//! nothing at or behind it goes.
//!
//! A server that is a replica itself has the stream of its primary, byte for byte.

use std::collections::VecDeque;

/// The least capacity of a block, in bytes, as Redis has it.
const BLOCK: usize = 16 << 10;

/// Who reads the stream, from its own offset on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor(u64);

/// Some bytes of the stream.
struct Block {
    /// The offset of the first.
    start: u64,
    bytes: Vec<u8>,
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// The replication stream. Offsets count its bytes the way `master_repl_offset` does.
#[derive(Default)]
pub(super) struct Stream {
    /// Whether it is kept at all.
    pub on: bool,
    /// The offset behind its last byte.
    pub end: u64,
    /// The database of the last command.
    pub selected: Option<usize>,
    /// The generation of the role in which it is the stream of a primary.
    pub follows: Option<u64>,
    /// Bytes to keep (`repl-backlog-size`).
    pub limit: usize,
    blocks: VecDeque<Block>,
    cursors: Vec<(u64, u64)>,
    last_cursor: u64,
}

impl Stream {
    /// The offset of the first byte kept; that behind the stream when nothing is.
    pub fn first(&self) -> u64 {
        self.blocks.front().map_or(self.end, |block| block.start)
    }

    /// Bytes that the blocks take.
    pub fn memory(&self) -> usize {
        let room = self.blocks.iter().map(|block| block.bytes.capacity());
        room.sum::<usize>() + self.blocks.len() * size_of::<Block>()
    }

    /// Adds bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = match self.blocks.back() {
                Some(block) => block.bytes.capacity() - block.bytes.len(),
                None => 0,
            };
            if room == 0 {
                self.blocks.push_back(Block {
                    start: self.end,
                    bytes: Vec::with_capacity(bytes.len().max(BLOCK)),
                });
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if let Some(block) = self.blocks.back_mut() {
                block.bytes.extend_from_slice(now);
            }
            self.end += now.len() as u64;
            bytes = later;
        }
        self.trim();
    }

    /// Lets go of what need not be kept.
    pub fn trim(&mut self) {
        while let Some(block) = self.blocks.front() {
            let enough = self.end - block.end() >= self.limit as u64;
            let needed = self.cursors.iter().any(|&(_, at)| at < block.end());
            if !enough || needed {
                return;
            }
            self.blocks.pop_front();
        }
    }

    /// Forgets everything; the stream goes on at an offset. Who has been reading gets nothing more.
    pub fn restart(&mut self, end: u64) {
        self.blocks.clear();
        self.cursors.clear();
        self.end = end;
        self.selected = None;
    }

    /// A cursor at an offset, if everything behind it is there.
    pub fn open(&mut self, at: u64) -> Option<Cursor> {
        if at < self.first() || at > self.end {
            return None;
        }
        self.last_cursor += 1;
        self.cursors.push((self.last_cursor, at));
        Some(Cursor(self.last_cursor))
    }

    /// Lets go of a cursor.
    pub fn close(&mut self, cursor: Cursor) {
        self.cursors.retain(|&(number, _)| number != cursor.0);
        self.trim();
    }

    /// Where a cursor is; behind everything if it is not there.
    pub fn at(&self, cursor: Cursor) -> u64 {
        let found = self.cursors.iter().find(|&&(number, _)| number == cursor.0);
        found.map_or(self.end, |&(_, at)| at)
    }

    /// Moves up to `most` bytes from where a cursor is to the end of a buffer.
    pub fn read(&mut self, cursor: Cursor, most: usize, into: &mut Vec<u8>) {
        let mut at = self.at(cursor);
        let end = self.end.min(at + most as u64);
        let block = self.blocks.partition_point(|block| block.end() <= at);
        for block in self.blocks.range(block..) {
            if at >= end {
                break;
            }
            let from = (at - block.start) as usize;
            let to = (block.end().min(end) - block.start) as usize;
            into.extend_from_slice(&block.bytes[from..to]);
            at = block.start + to as u64;
        }
        if let Some(mine) = self.cursors.iter_mut().find(|mine| mine.0 == cursor.0) {
            mine.1 = at;
        }
        self.trim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(limit: usize) -> Stream {
        Stream {
            on: true,
            limit,
            ..Stream::default()
        }
    }

    #[test]
    fn a_cursor_reads_everything_behind_it() {
        let mut stream = stream(1);
        let start = stream.open(0).unwrap();
        let data: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        for chunk in data.chunks(999) {
            stream.push(chunk);
        }
        assert_eq!((stream.first(), stream.end), (0, 200_000));
        let mut read = Vec::new();
        while stream.at(start) < stream.end {
            stream.read(start, 1234, &mut read);
        }
        assert!(read == data);
        // Nobody needs them any more.
        assert!(stream.first() > 180_000);
        stream.close(start);
        assert!(stream.open(0).is_none() && stream.open(200_001).is_none());
        let last = stream.open(199_990).unwrap();
        read.clear();
        stream.read(last, 100, &mut read);
        assert_eq!(read, data[199_990..]);
    }

    #[test]
    fn as_much_is_kept_as_asked_for() {
        let mut stream = stream(100_000);
        for _ in 0..1000 {
            stream.push(&[7; 1000]);
        }
        let kept = stream.end - stream.first();
        assert!((100_000..120_000).contains(&kept), "{kept}");
        stream.limit = 10;
        stream.trim();
        assert!(stream.end - stream.first() <= BLOCK as u64);
        stream.restart(5);
        assert_eq!((stream.first(), stream.end, stream.memory()), (5, 5, 0));
    }

    #[test]
    fn another_stream_is_not_for_those_who_have_read_the_one_before() {
        let mut stream = stream(1000);
        stream.push(&[7; 100]);
        let reader = stream.open(50).unwrap();
        stream.restart(10);
        stream.push(&[8; 100]);
        let mut read = Vec::new();
        stream.read(reader, 1000, &mut read);
        assert!(read.is_empty() && stream.at(reader) == 110);
    }
}
