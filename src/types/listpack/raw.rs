//! Reading and editing the bytes of a listpack, whoever owns them.
//!
//! Positions are byte offsets from the start of the listpack. All functions but [`validate`] rely
//! on the bytes being a valid listpack; edits work on a vector in which the listpack starts at
//! `base` and ends at the end.

use super::entry::{self, END, HEADER, Item, Needle};

/// The count in a header that stands for "65535 or more".
const UNKNOWN: u16 = u16::MAX;

/// Checks bytes from anywhere; the number of elements if they are a listpack.
pub fn validate(bytes: &[u8]) -> Option<usize> {
    let end = bytes.len().checked_sub(1)?;
    if end < HEADER || bytes[end] != END {
        return None;
    }
    let (total, announced) = header(bytes);
    if total as usize != bytes.len() {
        return None;
    }
    let mut at = HEADER;
    let mut count = 0;
    while at < end {
        at = entry::check(bytes, at, end)?;
        count += 1;
    }
    (announced == UNKNOWN || usize::from(announced) == count).then_some(count)
}

fn header(bytes: &[u8]) -> (u32, u16) {
    (
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        u16::from_le_bytes([bytes[4], bytes[5]]),
    )
}

/// Writes the header of the listpack that starts at `base`.
#[inline]
pub fn set_header(buf: &mut [u8], base: usize, count: usize) {
    let total = (buf.len() - base) as u32;
    let count = count.min(usize::from(UNKNOWN)) as u16;
    let head = &mut buf[base..base + HEADER];
    head[..4].copy_from_slice(&total.to_le_bytes());
    head[4..].copy_from_slice(&count.to_le_bytes());
}

/// Number of elements; a walk over all of them if there are 65535 or more.
#[inline]
pub fn count(bytes: &[u8]) -> usize {
    match header(bytes).1 {
        UNKNOWN => {
            let mut at = HEADER;
            let mut count = 0;
            while bytes[at] != END {
                at += entry::size(bytes, at);
                count += 1;
            }
            count
        }
        count => usize::from(count),
    }
}

/// The entry before `at`, which may also be the terminator.
#[inline]
pub fn prev(bytes: &[u8], at: usize) -> Option<usize> {
    if at <= HEADER {
        return None;
    }
    let body = entry::read_backlen(&bytes[..at])?;
    Some(at - body - entry::backlen_size(body))
}

/// The entry with this index, walking from the nearer end; the terminator if `index` is `count`.
pub fn seek(bytes: &[u8], count: usize, index: usize) -> usize {
    if index <= count / 2 {
        let mut at = HEADER;
        for _ in 0..index {
            at += entry::size(bytes, at);
        }
        at
    } else {
        let mut at = bytes.len() - 1;
        for _ in index..count {
            at = prev(bytes, at).unwrap_or(HEADER);
        }
        at
    }
}

/// The first entry with the needle's text, looking at `at` and then at every `skip + 1`st entry.
#[inline]
pub fn find(bytes: &[u8], mut at: usize, needle: &Needle<'_>, skip: usize) -> Option<usize> {
    while bytes[at] != END {
        let (item, size) = entry::decode(bytes, at);
        if needle.is(item) {
            return Some(at);
        }
        at += size;
        for _ in 0..skip {
            if bytes[at] == END {
                return None;
            }
            at += entry::size(bytes, at);
        }
    }
    None
}

/// Offsets of up to `limit` entries with the needle's text, ascending; the last ones if
/// `from_tail`.
pub fn matches(bytes: &[u8], needle: &Needle<'_>, from_tail: bool, limit: usize) -> Vec<usize> {
    let mut found = Vec::new();
    if from_tail {
        let mut end = bytes.len() - 1;
        while found.len() < limit
            && let Some(at) = prev(bytes, end)
        {
            if needle.is(entry::decode(bytes, at).0) {
                found.push(at);
            }
            end = at;
        }
        found.reverse();
    } else {
        let mut from = HEADER;
        while found.len() < limit
            && let Some(at) = find(bytes, from, needle, 0)
        {
            found.push(at);
            from = at + entry::size(bytes, at);
        }
    }
    found
}

/// Replaces `remove` bytes at offset `at` by `insert` new ones, of which the content is left to
/// the caller. Grows by exactly what is missing. The header is left to the caller, too.
pub fn splice(buf: &mut Vec<u8>, base: usize, at: usize, remove: usize, insert: usize) {
    let from = base + at + remove;
    let len = buf.len();
    if insert > remove {
        buf.reserve_exact(insert - remove);
        buf.resize(len + insert - remove, 0);
    }
    buf.copy_within(from..len, base + at + insert);
    buf.truncate(len + insert - remove);
}

/// Replaces the `removed` entries in `remove` bytes at `at` by one with `item`.
pub fn put(buf: &mut Vec<u8>, base: usize, at: usize, remove: usize, item: Item<'_>) {
    let size = item.encoded_len();
    splice(buf, base, at, remove, size);
    item.encode(&mut buf[base + at..base + at + size]);
}

/// The count in the header after `added` more and `removed` fewer elements; once unknown, it
/// stays so.
pub fn count_after(bytes: &[u8], added: usize, removed: usize) -> usize {
    match header(bytes).1 {
        UNKNOWN => usize::from(UNKNOWN),
        count => usize::from(count) + added - removed,
    }
}

/// An empty listpack in a vector with room for `room` bytes in all.
pub fn empty(room: usize) -> Vec<u8> {
    let mut buf = Vec::with_capacity(room.max(HEADER + 1));
    buf.extend_from_slice(&[HEADER as u8 + 1, 0, 0, 0, 0, 0, END]);
    buf
}

/// Adds an entry behind the last one. The header is left to the caller.
#[inline]
pub fn append(buf: &mut Vec<u8>, item: Item<'_>) {
    let end = buf.len() - 1;
    let size = item.encoded_len();
    buf.resize(end + size + 1, 0);
    item.encode(&mut buf[end..end + size]);
    buf[end + size] = END;
}

/// A listpack of the entry bytes in `parts`.
pub fn from_parts(parts: &[&[u8]], count: usize) -> Vec<u8> {
    let size = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut buf = Vec::with_capacity(HEADER + size + 1);
    buf.extend_from_slice(&[0; HEADER]);
    for part in parts {
        buf.extend_from_slice(part);
    }
    buf.push(END);
    set_header(&mut buf, 0, count);
    buf
}

/// The bytes of all entries, without header and terminator.
pub fn entries(bytes: &[u8]) -> &[u8] {
    &bytes[HEADER..bytes.len() - 1]
}

/// A copy without the entries at the given offsets (ascending); `count` elements stay.
pub fn without(bytes: &[u8], cut: &[usize], count: usize) -> Vec<u8> {
    let mut parts = Vec::with_capacity(cut.len() + 1);
    let mut from = HEADER;
    for &at in cut {
        parts.push(&bytes[from..at]);
        from = at + entry::size(bytes, at);
    }
    parts.push(&bytes[from..bytes.len() - 1]);
    from_parts(&parts, count)
}
