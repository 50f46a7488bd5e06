//! What a shard's part of a database still owes to a snapshot: [`Pending`].
//!
//! A snapshot marks every part that holds keys. From then on the part is read downwards by
//! position, a few entries at a time, while writers go on. Who is about to change or remove an
//! entry that has not been read yet puts a copy of it, encoded, aside first, and notes in a bitmap
//! that this position needs no reading any more.
//!
//! What holds at all times: the entries of the snapshot that are still to be read are those at
//! positions below `cursor` whose bit is not set, and `cursor` is never more than the number of
//! entries. Therefore
//!
//! - a new entry, which always comes last, is at or above the cursor: nothing has to be done;
//! - a removal, which moves the last entry into the hole, moves that entry's bit along, and an
//!   entry from above the cursor counts as read in its new place;
//! - the dict's index may be rebuilt at will, for that moves no entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Shared;
use crate::store::dict::Dict;

/// What is owed for one part of a database.
pub(in crate::store) struct Pending {
    pub(super) shared: Arc<Shared>,
    /// The database's number when the snapshot began.
    pub(super) number: usize,
    /// Entries below this position are still to be read. It is changed by the reader under a shared
    /// lock, of whom there is one, and by writers under an exclusive one; the lock orders the two.
    cursor: AtomicUsize,
    /// A bit for each position below the cursor, set where nothing is to be read; without any
    /// memory until the first is set.
    saved: Vec<u64>,
    /// Copies of entries that were changed before they were read.
    side: Vec<u8>,
}

impl Pending {
    /// Everything in a part of `len` entries is to be read.
    pub(super) fn new(shared: Arc<Shared>, number: usize, len: usize) -> Pending {
        Pending {
            shared,
            number,
            cursor: AtomicUsize::new(len),
            saved: Vec::new(),
            side: Vec::new(),
        }
    }

    /// Whether the snapshot has been given up.
    pub(in crate::store) fn is_void(&self) -> bool {
        self.shared.is_void()
    }

    /// The entry at `position` is about to change.
    pub(in crate::store) fn before_change(&mut self, dict: &Dict, position: usize) {
        if position >= self.cursor() || self.is_saved(position) {
            return;
        }
        let before = self.side.len();
        (self.shared.encode)(&mut self.side, self.number, dict.at(position));
        let most = self.shared.copied(self.side.len() - before);
        if self.side.len() >= most {
            let side = std::mem::take(&mut self.side);
            self.shared.hand_copies(self.number, side);
        }
        self.set_saved(position, true);
    }

    /// The entry at `position` is about to be removed, and the last one to take its place.
    pub(in crate::store) fn before_removal(&mut self, dict: &Dict, position: usize) {
        self.before_change(dict, position);
        let (cursor, last) = (self.cursor(), dict.len() - 1);
        if last < cursor {
            if position != last {
                let saved = self.is_saved(last);
                self.set_saved(position, saved);
            }
            *self.cursor.get_mut() = last;
        }
    }

    /// Encodes the next entries, at most as many as fit into one slice. Returns whether there are
    /// more.
    pub(super) fn read(&self, dict: &Dict, out: &mut Vec<u8>) -> bool {
        let tuning = &self.shared.tuning;
        let mut cursor = self.cursor();
        let (last, full) = (
            cursor.saturating_sub(tuning.slice),
            out.len() + tuning.slice_bytes,
        );
        let mut read = 0;
        while cursor > last && out.len() < full {
            cursor -= 1;
            if !self.is_saved(cursor) {
                (self.shared.encode)(out, self.number, dict.at(cursor));
                read += 1;
            }
        }
        self.cursor.store(cursor, Ordering::Relaxed);
        self.shared.done.fetch_add(read, Ordering::Relaxed);
        cursor > 0
    }

    /// Whether all entries have been read or copied.
    pub(in crate::store) fn is_read(&self) -> bool {
        self.cursor() == 0
    }

    /// The copies that have not been handed over, which are no longer counted as held.
    pub(super) fn into_copies(self) -> Vec<u8> {
        self.shared
            .held
            .fetch_sub(self.side.len(), Ordering::Relaxed);
        self.side
    }

    /// Hands over what copies there are.
    pub(in crate::store) fn close(self) {
        if !self.side.is_empty() {
            self.shared.hand_copies(self.number, self.side);
        }
    }

    fn cursor(&self) -> usize {
        self.cursor.load(Ordering::Relaxed)
    }

    fn is_saved(&self, position: usize) -> bool {
        let word = self.saved.get(position / 64);
        word.is_some_and(|word| word >> (position % 64) & 1 == 1)
    }

    /// Sets or clears the bit of a position below the cursor.
    fn set_saved(&mut self, position: usize, saved: bool) {
        if self.saved.is_empty() {
            self.saved = vec![0; self.cursor().div_ceil(64)];
        }
        let (word, bit) = (&mut self.saved[position / 64], 1 << (position % 64));
        if saved {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }
}
