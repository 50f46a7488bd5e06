//! What replicas are sent: the bytes of the replication stream, as far back as they are kept.
//!
//! The stream is kept in blocks, of which the oldest go once so many bytes of younger ones are there
//! as `repl-backlog-size` asks for and every replica has been sent them. Who reads has a cursor:
//! nothing at or behind it goes.
//!
//! What a cursor is behind is memory: whoever adds to the stream notices when that is more than a reader
//! may cost, and it is for others then to let go of the reader.
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

/// Where a reader is.
struct Reader {
    number: u64,
    at: u64,
    /// Whether it has come back for more, and there was nothing.
    idle: bool,
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
    /// How far a reader may be behind at most (`client-output-buffer-limit`); 0 if that is all the
    /// same.
    hard: u64,
    /// The offset of the end at which one may be too far behind, not before it is looked for.
    alarm: u64,
    blocks: VecDeque<Block>,
    /// What the blocks have room for together.
    room: usize,
    readers: Vec<Reader>,
    last_cursor: u64,
}

impl Stream {
    /// The offset of the first byte kept; that behind the stream when nothing is.
    pub fn first(&self) -> u64 {
        self.blocks.front().map_or(self.end, |block| block.start)
    }

    /// Bytes that the blocks take.
    pub fn memory(&self) -> usize {
        self.room + self.blocks.capacity() * size_of::<Block>()
    }

    /// Keeps so many bytes from now on.
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
        self.alarm = 0;
        self.trim();
    }

    /// How far a reader may be behind at most, where that is more than what is kept anyway; 0 if it
    /// does not matter.
    pub fn set_hard_limit(&mut self, bytes: u64) {
        self.hard = bytes;
        self.alarm = 0;
    }

    /// Whether a reader is too far behind. Mostly that is one comparison.
    #[inline]
    pub fn is_overdue(&mut self) -> bool {
        self.end >= self.alarm && self.look_for_slow()
    }

    #[cold]
    fn look_for_slow(&mut self) -> bool {
        let last = self.readers.iter().map(|reader| reader.at).min();
        let most = self.hard.max(self.limit as u64);
        self.alarm = match last {
            Some(at) if self.hard > 0 => at.saturating_add(most),
            // Somebody else comes by `open`.
            _ => u64::MAX,
        };
        self.end >= self.alarm
    }

    /// Whether every reader has been sent everything.
    pub fn is_drained(&self) -> bool {
        let end = self.end;
        self.readers
            .iter()
            .all(|reader| reader.idle && reader.at == end)
    }

    /// Notes that a reader has come back for more.
    pub fn set_idle(&mut self, cursor: Cursor, idle: bool) {
        if let Some(reader) = self.reader(cursor) {
            reader.idle = idle;
        }
    }

    fn reader(&mut self, cursor: Cursor) -> Option<&mut Reader> {
        let mut readers = self.readers.iter_mut();
        readers.find(|reader| reader.number == cursor.0)
    }

    /// Adds bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = match self.blocks.back() {
                Some(block) => block.bytes.capacity() - block.bytes.len(),
                None => 0,
            };
            if room == 0 {
                let block = Block {
                    start: self.end,
                    bytes: Vec::with_capacity(bytes.len().max(BLOCK)),
                };
                self.room += block.bytes.capacity();
                self.blocks.push_back(block);
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
            let needed = self.readers.iter().any(|reader| reader.at < block.end());
            if !enough || needed {
                return;
            }
            self.room -= block.bytes.capacity();
            self.blocks.pop_front();
        }
    }

    /// Forgets everything; the stream goes on at an offset. Who has been reading gets nothing more.
    pub fn restart(&mut self, end: u64) {
        self.blocks = VecDeque::new();
        self.room = 0;
        self.readers.clear();
        self.alarm = 0;
        self.end = end;
        self.selected = None;
    }

    /// A cursor at an offset, if everything behind it is there.
    pub fn open(&mut self, at: u64) -> Option<Cursor> {
        if at < self.first() || at > self.end {
            return None;
        }
        self.last_cursor += 1;
        self.readers.push(Reader {
            number: self.last_cursor,
            at,
            idle: false,
        });
        self.alarm = 0;
        Some(Cursor(self.last_cursor))
    }

    /// Lets go of a cursor.
    pub fn close(&mut self, cursor: Cursor) {
        self.readers.retain(|reader| reader.number != cursor.0);
        self.alarm = 0;
        self.trim();
    }

    /// Where a cursor is; behind everything if it is not there.
    pub fn at(&self, cursor: Cursor) -> u64 {
        let mut readers = self.readers.iter();
        let found = readers.find(|reader| reader.number == cursor.0);
        found.map_or(self.end, |reader| reader.at)
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
        if let Some(mine) = self.reader(cursor) {
            mine.at = at;
            mine.idle = false;
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
    fn a_reader_that_is_too_far_behind_is_noticed() {
        let mut stream = stream(100);
        stream.set_hard_limit(1000);
        stream.push(&[7; 5000]);
        assert!(!stream.is_overdue());
        let slow = stream.open(5000).unwrap();
        let fast = stream.open(5000).unwrap();
        stream.push(&[7; 999]);
        assert!(!stream.is_overdue());
        let mut read = Vec::new();
        stream.read(fast, 1000, &mut read);
        stream.read(slow, 1, &mut read);
        stream.push(&[7; 1]);
        assert!(!stream.is_overdue());
        stream.push(&[7; 1]);
        assert!(stream.is_overdue());
        stream.close(slow);
        assert!(!stream.is_overdue());
        // What the backlog keeps anyway is never too much, and a limit of nothing is none.
        stream.set_limit(3000);
        stream.push(&[7; 2997]);
        assert!(!stream.is_overdue());
        stream.push(&[7; 1]);
        assert!(stream.is_overdue());
        stream.set_hard_limit(0);
        assert!(!stream.is_overdue());
    }

    #[test]
    fn all_is_sent_when_every_reader_has_come_back() {
        let mut stream = stream(100);
        assert!(stream.is_drained());
        let reader = stream.open(0).unwrap();
        assert!(!stream.is_drained());
        stream.set_idle(reader, true);
        assert!(stream.is_drained());
        stream.push(b"abc");
        assert!(!stream.is_drained());
        stream.read(reader, 100, &mut Vec::new());
        assert!(!stream.is_drained());
        stream.set_idle(reader, true);
        assert!(stream.is_drained());
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
