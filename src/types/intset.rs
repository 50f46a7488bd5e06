//! [`IntSet`]: a sorted set of integers in one block of memory, byte for byte in the format of
//! Redis' `intset.c`, so that it goes into RDB files and `DUMP` unchanged.
//!
//! Two `u32` of header (bytes per integer, 2, 4 or 8, and how many there are), then the integers
//! in ascending order; all little endian. The width grows when an integer does not fit and never
//! shrinks, as in Redis. Membership is a binary search, a change one move of what lies behind.

use super::listpack::Corrupt;
use crate::util::random::Rng;

const HEADER: usize = 8;

/// A set of integers. Always valid: every way in checks the bytes or writes them.
#[derive(Clone, PartialEq, Eq)]
pub struct IntSet(Box<[u8]>);

/// Bytes that an integer needs.
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

/// The integer with this index in a block of the given width.
#[inline]
fn read(bytes: &[u8], width: usize, index: usize) -> i64 {
    let at = HEADER + index * width;
    let slot = &bytes[at..at + width];
    match slot {
        [a, b] => i64::from(i16::from_le_bytes([*a, *b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([*a, *b, *c, *d])),
        _ => {
            let mut wide = [0; 8];
            wide.copy_from_slice(slot);
            i64::from_le_bytes(wide)
        }
    }
}

fn write(bytes: &mut [u8], width: usize, index: usize, value: i64) {
    let at = HEADER + index * width;
    bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

fn set_header(bytes: &mut [u8], width: usize, len: usize) {
    bytes[..4].copy_from_slice(&(width as u32).to_le_bytes());
    bytes[4..HEADER].copy_from_slice(&(len as u32).to_le_bytes());
}

impl IntSet {
    /// An empty set.
    pub fn new() -> IntSet {
        let mut bytes = vec![0; HEADER];
        set_header(&mut bytes, 2, 0);
        IntSet(bytes.into_boxed_slice())
    }

    /// A set from bytes of any origin.
    ///
    /// # Errors
    /// When they are not a valid intset, or an empty one, which Redis never writes.
    pub fn from_bytes(bytes: impl Into<Box<[u8]>>) -> Result<IntSet, Corrupt> {
        let bytes = bytes.into();
        if bytes.len() <= HEADER {
            return Err(Corrupt);
        }
        let width = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let len = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        if !matches!(width, 2 | 4 | 8) || len.checked_mul(width) != Some(bytes.len() - HEADER) {
            return Err(Corrupt);
        }
        let set = IntSet(bytes);
        if !set.iter().is_sorted_by(|a, b| a < b) {
            return Err(Corrupt);
        }
        Ok(set)
    }

    /// A set of these integers, which may come in any order and more than once.
    pub fn from_values(mut values: Vec<i64>) -> IntSet {
        values.sort_unstable();
        values.dedup();
        let width = values.iter().map(|&v| width_of(v)).max().unwrap_or(2);
        let mut bytes = vec![0; HEADER + values.len() * width];
        set_header(&mut bytes, width, values.len());
        for (index, &value) in values.iter().enumerate() {
            write(&mut bytes, width, index, value);
        }
        IntSet(bytes.into_boxed_slice())
    }

    /// The set as it is stored and saved.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Number of integers.
    #[inline]
    pub fn len(&self) -> usize {
        (self.0.len() - HEADER) / self.width()
    }

    /// Whether there are no integers.
    pub fn is_empty(&self) -> bool {
        self.0.len() == HEADER
    }

    /// Size in bytes, header included; also the heap memory behind it.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Bytes per integer: 2, 4 or 8.
    #[inline]
    pub fn width(&self) -> usize {
        usize::from(self.0[0])
    }

    /// The integer with this rank, from 0 for the smallest.
    #[inline]
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| read(&self.0, self.width(), index))
    }

    /// The smallest integer.
    pub fn min(&self) -> Option<i64> {
        self.get(0)
    }

    /// The greatest integer.
    pub fn max(&self) -> Option<i64> {
        self.get(self.len().wrapping_sub(1))
    }

    /// One of the integers, each as likely as the others.
    pub fn random(&self, rng: &mut Rng) -> Option<i64> {
        self.get(rng.index(self.len()))
    }

    /// The rank of `value`, or the rank that it would have.
    #[inline]
    fn search(&self, value: i64) -> Result<usize, usize> {
        let (width, len) = (self.width(), self.len());
        // Integers often come in ascending order.
        if len > 0 && value > read(&self.0, width, len - 1) {
            return Err(len);
        }
        let (mut low, mut high) = (0, len);
        while low < high {
            let middle = (low + high) / 2;
            let found = read(&self.0, width, middle);
            if found == value {
                return Ok(middle);
            }
            if found < value {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Err(low)
    }

    /// Whether `value` is in the set.
    #[inline]
    pub fn contains(&self, value: i64) -> bool {
        width_of(value) <= self.width() && self.search(value).is_ok()
    }

    /// Adds an integer; whether it is new.
    pub fn add(&mut self, value: i64) -> bool {
        let width = width_of(value);
        if width > self.width() {
            self.widen_and_add(width, value);
            return true;
        }
        let Err(index) = self.search(value) else {
            return false;
        };
        let (width, len) = (self.width(), self.len());
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        let (at, end) = (HEADER + index * width, bytes.len());
        bytes.reserve_exact(width);
        bytes.resize(end + width, 0);
        bytes.copy_within(at..end, at + width);
        write(&mut bytes, width, index, value);
        set_header(&mut bytes, width, len + 1);
        self.0 = bytes.into_boxed_slice();
        true
    }

    /// Rewrites the set with a greater width, for an integer that needs it and therefore lies
    /// before or after all others.
    fn widen_and_add(&mut self, width: usize, value: i64) {
        let len = self.len();
        let first = usize::from(value < 0);
        let mut bytes = vec![0; HEADER + (len + 1) * width];
        set_header(&mut bytes, width, len + 1);
        for (index, old) in self.iter().enumerate() {
            write(&mut bytes, width, index + first, old);
        }
        write(&mut bytes, width, if first == 1 { 0 } else { len }, value);
        self.0 = bytes.into_boxed_slice();
    }

    /// Removes an integer; whether it was there.
    pub fn remove(&mut self, value: i64) -> bool {
        if width_of(value) > self.width() {
            return false;
        }
        match self.search(value) {
            Ok(index) => {
                self.remove_at(index);
                true
            }
            Err(_) => false,
        }
    }

    /// Removes and returns the integer with this rank.
    pub fn remove_at(&mut self, index: usize) -> Option<i64> {
        let value = self.get(index)?;
        let (width, len) = (self.width(), self.len());
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        let at = HEADER + index * width;
        bytes.copy_within(at + width.., at);
        bytes.truncate(bytes.len() - width);
        set_header(&mut bytes, width, len - 1);
        self.0 = bytes.into_boxed_slice();
        Some(value)
    }

    /// The integers in ascending order; the iterator also runs from the end.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            bytes: &self.0,
            width: self.width(),
            front: 0,
            back: self.len(),
        }
    }
}

impl Default for IntSet {
    fn default() -> IntSet {
        IntSet::new()
    }
}

impl std::fmt::Debug for IntSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for &'a IntSet {
    type Item = i64;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The integers of an [`IntSet`], from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    width: usize,
    front: usize,
    back: usize,
}

impl Iterator for Iter<'_> {
    type Item = i64;

    #[inline]
    fn next(&mut self) -> Option<i64> {
        if self.front == self.back {
            return None;
        }
        self.front += 1;
        Some(read(self.bytes, self.width, self.front - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.back - self.front;
        (left, Some(left))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<i64> {
        if self.front == self.back {
            return None;
        }
        self.back -= 1;
        Some(read(self.bytes, self.width, self.back))
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests;
