//! Finding the end of a value without building it.
//!
//! What a value is made of is a small program of `Op`s, one a tag. A `Scan` runs it over as many
//! bytes as have come, and goes on from where it was once there are more: so a value that arrives in
//! many pieces is looked through once.

use super::input::{Corrupt, Length, NoLength, length};
use super::{form, opcode, tag};

/// Why the end of a value has not been found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Need {
    /// So many bytes from the start of the value are needed to go on.
    More(usize),
    /// The bytes are wrong; the offset is from the start of the value.
    Corrupt(Corrupt),
}

/// One piece of a value.
enum Op {
    /// A string.
    Text,
    /// A length.
    Len,
    /// So many bytes.
    Bytes(usize),
    /// A score as text.
    Score,
    /// A length, and so many times these pieces.
    Each(&'static [Op]),
    /// A module's own pieces up to their end.
    Module,
    /// A module's value in the format of which only the module knows the end.
    OldModule,
}

/// The number of a module's type, and what it has written.
const MODULE_VALUE: &[Op] = &[Op::Len, Op::Module];
/// The same with the time at which it is to be loaded, which is itself marked as an integer.
const MODULE_AUX: &[Op] = &[Op::Len, Op::Len, Op::Len, Op::Module];

const PENDING: Op = Op::Each(&[Op::Bytes(16), Op::Bytes(8), Op::Len]);
const OWNED: Op = Op::Each(&[Op::Bytes(16)]);
const CONSUMERS: Op = Op::Each(&[Op::Text, Op::Bytes(8), OWNED]);
/// With the time of their last success.
const CONSUMERS_3: Op = Op::Each(&[Op::Text, Op::Bytes(8), Op::Bytes(8), OWNED]);
const BLOCKS: Op = Op::Each(&[Op::Text, Op::Text]);

/// The pieces of a value, or of a record that is no key.
#[derive(Clone, Copy)]
pub(super) struct Program(&'static [Op]);

impl Program {
    /// The pieces of the value behind a tag; `None` if there is no such tag.
    pub(super) fn of_value(tag: u8) -> Option<Program> {
        use Op::{Bytes, Each, Len, OldModule, Score, Text};
        Some(Program(match tag {
            tag::STRING
            | tag::HASH_ZIPMAP
            | tag::LIST_ZIPLIST
            | tag::SET_INTSET
            | tag::ZSET_ZIPLIST
            | tag::HASH_ZIPLIST
            | tag::HASH_LISTPACK
            | tag::ZSET_LISTPACK
            | tag::SET_LISTPACK
            | tag::HASH_LISTPACK_EX_PRE_GA => &[Text],
            tag::LIST | tag::SET | tag::LIST_QUICKLIST => &[Each(&[Text])],
            tag::ZSET => &[Each(&[Text, Score])],
            tag::ZSET_2 => &[Each(&[Text, Bytes(8)])],
            tag::HASH => &[Each(&[Text, Text])],
            tag::LIST_QUICKLIST_2 => &[Each(&[Len, Text])],
            tag::HASH_METADATA_PRE_GA => &[Each(&[Len, Text, Text])],
            tag::HASH_METADATA => &[Bytes(8), Each(&[Len, Text, Text])],
            tag::HASH_LISTPACK_EX => &[Bytes(8), Text],
            tag::STREAM_LISTPACKS => &[
                BLOCKS,
                Len,
                Len,
                Len,
                Each(&[Text, Len, Len, PENDING, CONSUMERS]),
            ],
            tag::STREAM_LISTPACKS_2 => &[
                BLOCKS,
                Len,
                Len,
                Len,
                Len,
                Len,
                Len,
                Len,
                Len,
                Each(&[Text, Len, Len, Len, PENDING, CONSUMERS]),
            ],
            tag::STREAM_LISTPACKS_3 => &[
                BLOCKS,
                Len,
                Len,
                Len,
                Len,
                Len,
                Len,
                Len,
                Len,
                Each(&[Text, Len, Len, Len, PENDING, CONSUMERS_3]),
            ],
            tag::MODULE => &[OldModule],
            tag::MODULE_2 => MODULE_VALUE,
            _ => return None,
        }))
    }

    /// The pieces of a record that is no key and not the end; `None` if there is no such record.
    pub(super) fn of_record(code: u8) -> Option<Program> {
        use Op::{Len, Text};
        Some(match code {
            opcode::FUNCTION2 => Program(&[Text]),
            opcode::AUX => Program(&[Text, Text]),
            opcode::RESIZEDB => Program(&[Len, Len]),
            opcode::SELECTDB => Program(&[Len]),
            opcode::SLOT_INFO => Program(&[Len, Len, Len]),
            opcode::MODULE_AUX => Program(MODULE_AUX),
            _ => return None,
        })
    }

    /// A key.
    pub(super) const KEY: Program = Program(&[Op::Text]);
}

/// A program at work: which of its pieces comes next, and how often it is still to be run.
struct Frame {
    pieces: &'static [Op],
    next: usize,
    left: u64,
}

/// A search for the end of a value. It keeps its memory from one to the next.
#[derive(Default)]
pub(super) struct Scan {
    frames: Vec<Frame>,
    /// Up to where the value has been looked through.
    at: usize,
}

impl Scan {
    /// Begins at an offset; what is to be found there is added with [`Scan::expect`].
    pub(super) fn begin(&mut self, at: usize) {
        self.frames.clear();
        self.at = at;
    }

    /// Adds what comes before everything added so far.
    pub(super) fn expect(&mut self, program: Program) {
        self.repeat(program.0, 1);
    }

    fn repeat(&mut self, pieces: &'static [Op], left: u64) {
        self.frames.push(Frame {
            pieces,
            next: 0,
            left,
        });
    }

    /// Goes on over `bytes`, which begin where they did before. Where the value ends.
    ///
    /// # Errors
    /// See [`Need`]. If it is more bytes, the search can go on.
    pub(super) fn run(&mut self, bytes: &[u8]) -> Result<usize, Need> {
        while let Some(frame) = self.frames.last_mut() {
            let Some(piece) = frame.pieces.get(frame.next) else {
                frame.left -= 1;
                frame.next = 0;
                if frame.left == 0 {
                    self.frames.pop();
                }
                continue;
            };
            let size = match piece {
                Op::Text => text(bytes, self.at)?,
                Op::Len => plain(bytes, self.at)?.1,
                Op::Bytes(size) => *size,
                Op::Score => match bytes.get(self.at) {
                    None => return Err(Need::More(self.at + 1)),
                    Some(253..) => 1,
                    Some(&len) => 1 + usize::from(len),
                },
                Op::Each(pieces) => {
                    let (count, size) = plain(bytes, self.at)?;
                    frame.next += 1;
                    self.at += size;
                    if count > 0 {
                        self.repeat(pieces, count);
                    }
                    continue;
                }
                Op::Module => {
                    let (size, is_end) = module_piece(bytes, self.at)?;
                    need(bytes, self.at, size)?;
                    self.at += size;
                    frame.next += usize::from(is_end);
                    continue;
                }
                Op::OldModule => {
                    let (id, _) = plain(bytes, self.at)?;
                    return Err(wrong(self.at, unknown_module(id)));
                }
            };
            need(bytes, self.at, size)?;
            frame.next += 1;
            self.at += size;
        }
        Ok(self.at)
    }
}

/// The end of the value behind a tag, counted from its start, without building it.
///
/// # Errors
/// See [`Need`].
pub fn value(tag: u8, bytes: &[u8]) -> Result<usize, Need> {
    let program = Program::of_value(tag).ok_or_else(|| wrong(0, unknown_tag(tag)))?;
    let mut scan = Scan::default();
    scan.expect(program);
    scan.run(bytes)
}

/// What is wrong with a tag that stands for no type.
pub(super) fn unknown_tag(tag: u8) -> String {
    format!("a value of unknown type {tag}")
}

/// What is wrong with a module's value.
pub(super) fn unknown_module(id: u64) -> String {
    format!(
        "data of the module type '{}', for which there is no module",
        module_name(id)
    )
}

/// The name of a module's type: nine characters of six bits, above ten bits of version.
pub(super) fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9)
        .rev()
        .map(|place| char::from(LETTERS[(id >> (10 + 6 * place)) as usize & 63]))
        .collect()
}

#[cold]
fn wrong(at: usize, what: impl Into<std::borrow::Cow<'static, str>>) -> Need {
    Need::Corrupt(Corrupt::new(at as u64, what))
}

/// Checks that there are so many bytes at an offset.
#[inline]
fn need(bytes: &[u8], at: usize, size: usize) -> Result<(), Need> {
    let end = at
        .checked_add(size)
        .ok_or_else(|| wrong(at, "a length beyond all memory"))?;
    if end > bytes.len() {
        return Err(Need::More(end));
    }
    Ok(())
}

#[inline]
fn any(bytes: &[u8], at: usize) -> Result<(Length, usize), Need> {
    length(bytes.get(at..).unwrap_or_default()).map_err(|error| match error {
        NoLength::Short(size) => Need::More(at + size),
        NoLength::Unknown => wrong(at, "a length of unknown form"),
    })
}

/// A plain length and its size.
#[inline]
fn plain(bytes: &[u8], at: usize) -> Result<(u64, usize), Need> {
    match any(bytes, at)? {
        (Length::Plain(length), size) => Ok((length, size)),
        _ => Err(wrong(at, "an encoded string, but not a length")),
    }
}

/// Where a length that begins at an offset ends.
pub(super) fn length_end(bytes: &[u8], at: usize) -> Result<usize, Need> {
    Ok(at + plain(bytes, at)?.1)
}

/// The size of a string with its length.
#[inline]
fn text(bytes: &[u8], at: usize) -> Result<usize, Need> {
    let far = || wrong(at, "a length beyond all memory");
    match any(bytes, at)? {
        (Length::Plain(length), size) => {
            let length = usize::try_from(length).map_err(|_| far())?;
            length.checked_add(size).ok_or_else(far)
        }
        (Length::Special(form::INT8), _) => Ok(2),
        (Length::Special(form::INT16), _) => Ok(3),
        (Length::Special(form::INT32), _) => Ok(5),
        (Length::Special(form::LZF), _) => {
            let (packed, first) = plain(bytes, at + 1)?;
            let (_, second) = plain(bytes, at + 1 + first)?;
            let packed = usize::try_from(packed).map_err(|_| far())?;
            packed.checked_add(1 + first + second).ok_or_else(far)
        }
        _ => Err(wrong(at, "a string of unknown form")),
    }
}

/// The size of one piece of a module's data, and whether it is the end.
fn module_piece(bytes: &[u8], at: usize) -> Result<(usize, bool), Need> {
    let (kind, size) = plain(bytes, at)?;
    Ok(match kind {
        0 => (size, true),
        // Signed and unsigned integers.
        1 | 2 => (size + plain(bytes, at + size)?.1, false),
        // A float and a double.
        3 => (size + 4, false),
        4 => (size + 8, false),
        5 => (size.saturating_add(text(bytes, at + size)?), false),
        _ => return Err(wrong(at, "a module's data of unknown kind")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of all shapes.
    const VALUES: &[(u8, &[u8])] = &[
        (tag::STRING, b"\x03abc"),
        (tag::STRING, b"\xc1\x01\x02"),
        (tag::STRING, b"\xc3\x04\x05\x00a\x40\x00"),
        (tag::LIST, b"\x02\x01a\xc0\x05"),
        (tag::SET, b"\x00"),
        (tag::ZSET, b"\x03\x01a\x031.5\x01b\xfe\x01c\xff"),
        (tag::ZSET_2, b"\x01\x01a\0\0\0\0\0\0\xf0\x3f"),
        (tag::HASH, b"\x02\x01a\x01b\x01c\x00"),
        (tag::LIST_QUICKLIST_2, b"\x02\x01\x01a\x02\x02bc"),
        (tag::HASH_METADATA, b"\0\0\0\0\0\0\0\0\x01\x05\x01a\x01b"),
        (tag::HASH_LISTPACK_EX, b"\0\0\0\0\0\0\0\0\x02xx"),
        (
            tag::STREAM_LISTPACKS,
            b"\x01\x02id\x02lp\x01\x02\x03\x01\x01g\x01\x02\x01iiiiiiiiiiiiiiiitttttttt\x01\x01\x01cssssssss\x01iiiiiiiiiiiiiiii",
        ),
        (
            tag::STREAM_LISTPACKS_3,
            b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01g\x00\x00\x00\x00\x02\x01cssssssssaaaaaaaa\x00\x01dssssssssaaaaaaaa\x00",
        ),
        (
            tag::MODULE_2,
            b"\x81\0\0\0\0\0\0\0\0\x01\x05\x02\x06\x03ffff\x04dddddddd\x05\x03str\x00",
        ),
    ];

    #[test]
    fn ends_are_found() {
        for &(tag, bytes) in VALUES {
            assert_eq!(value(tag, bytes), Ok(bytes.len()), "{tag} {bytes:?}");
            let longer = [bytes, b"more"].concat();
            assert_eq!(value(tag, &longer), Ok(bytes.len()), "{tag} {bytes:?}");
        }
    }

    #[test]
    fn a_search_goes_on_when_bytes_come() {
        for &(tag, bytes) in VALUES {
            let program = Program::of_value(tag).expect("a type");
            let mut scan = Scan::default();
            scan.begin(0);
            scan.expect(program);
            for len in 0..bytes.len() {
                match scan.run(&bytes[..len]) {
                    Err(Need::More(wanted)) => {
                        assert!(wanted > len && wanted <= bytes.len(), "{tag} {len}");
                    }
                    other => panic!("{tag} {len}: {other:?}"),
                }
            }
            assert_eq!(scan.run(bytes), Ok(bytes.len()));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (tag, bytes) in [
            (tag::STRING, &b"\x81\xff\xff\xff\xff\xff\xff\xff\xff"[..]),
            (tag::STRING, b"\xc4"),
            (tag::LIST, b"\xc0\x01"),
            (tag::LIST, b"\x01\x82"),
            (tag::MODULE_2, b"\x00\x06"),
            (8, b"\x00"),
            (99, b"\x00"),
        ] {
            let found = value(tag, bytes);
            assert!(
                matches!(found, Err(Need::Corrupt(_))),
                "{tag} {bytes:?} {found:?}"
            );
        }
    }

    #[test]
    fn modules_have_names() {
        let mut id = 0u64;
        for letter in [19, 4, 18, 19, 62, 63, 26, 52, 25] {
            id = id << 6 | letter;
        }
        assert_eq!(module_name(id << 10 | 7), "TEST-_a0Z");
        let bytes = [&[0x81][..], &(id << 10).to_be_bytes()].concat();
        match value(tag::MODULE, &bytes) {
            Err(Need::Corrupt(error)) => assert!(error.what.contains("'TEST-_a0Z'")),
            other => panic!("{other:?}"),
        }
    }
}
