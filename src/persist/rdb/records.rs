//! [`Records`]: an RDB file record by record, as its bytes arrive.
//!
//! Values are not built here but only passed over, so that whoever loads a file can hand batches of
//! [`Entry::raw`] to several threads; each reads them with [`Head::read`] and
//! [`decode::value`](super::decode::value) in turn. Everything that a record holds is a slice of the
//! buffer, which grows only when it is full of bytes that have come. What follows the file, as after
//! the preamble of an AOF, stays readable: see [`Records::into_parts`].

use std::io::{self, Read};

use super::input::{Corrupt, Input, Text};
use super::skip::{self, Need, Program, Scan};
use super::{READABLE, opcode};
use crate::persist::crc64;

/// What a file begins with, before its version.
const SIGNATURE: &[u8] = b"REDIS";
/// Size of signature and version.
const HEADER: usize = 9;
/// First size of the buffer.
const CHUNK: usize = 256 << 10;
/// Files from this version on end with a checksum.
const WITH_CHECKSUM: u16 = 5;

/// Why a file cannot be read any further.
#[derive(Debug)]
pub enum Failure {
    /// The file itself cannot be read.
    Io(io::Error),
    /// It ends too early, after so many bytes.
    Short(u64),
    /// It is no RDB file.
    Signature,
    /// It has a version that is not known.
    Version(String),
    /// Its bytes are wrong.
    Corrupt(Corrupt),
    /// Its bytes have another checksum than the file tells.
    Checksum {
        /// What the file tells.
        told: u64,
        /// What it is.
        found: u64,
    },
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Io(error) => write!(f, "{error}"),
            Failure::Short(offset) => write!(f, "the file ends too early, at offset {offset}"),
            Failure::Signature => f.write_str("Wrong signature trying to load DB from file"),
            Failure::Version(text) => write!(f, "Can't handle RDB format version {text}"),
            Failure::Corrupt(corrupt) => write!(f, "{corrupt}"),
            Failure::Checksum { told, found } => {
                write!(
                    f,
                    "RDB CRC error: the checksum is {found:x} where {told:x} is expected"
                )
            }
        }
    }
}

impl std::error::Error for Failure {}

impl From<Corrupt> for Failure {
    fn from(corrupt: Corrupt) -> Failure {
        Failure::Corrupt(corrupt)
    }
}

/// What is told of how a key is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// The seconds since it was.
    Idle(u64),
    /// The counter of an LFU policy.
    Freq(u8),
}

/// A record.
#[derive(Debug)]
pub enum Record<'a> {
    /// A fact about the file.
    Aux {
        /// Its name.
        key: Text<'a>,
        /// What it is.
        value: Text<'a>,
    },
    /// The keys that follow are in the database with this number.
    Select(u64),
    /// How many keys there will be in the database.
    Resize {
        /// All of them.
        keys: u64,
        /// Those with deadlines.
        volatile: u64,
    },
    /// The code of a library of functions.
    Function(Text<'a>),
    /// Data of the module with this name, passed over.
    ModuleAux(String),
    /// A key with its value.
    Entry(Entry<'a>),
    /// The end of the file.
    End,
}

/// A key with its value, which has not been looked at.
#[derive(Debug)]
pub struct Entry<'a> {
    /// What comes before the value.
    pub head: Head<'a>,
    /// The value, to be read by [`decode::value`](super::decode::value).
    pub value: &'a [u8],
    /// Everything, for [`Head::read`].
    pub raw: &'a [u8],
    /// The offset of the value in the file, for errors.
    pub offset: u64,
}

/// A key, and what comes with it before its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head<'a> {
    /// What kind of value follows, see [`tag`](super::tag).
    pub tag: u8,
    /// The key.
    pub key: Text<'a>,
    /// When the key expires, unix milliseconds.
    pub deadline: Option<i64>,
    /// How it is used.
    pub access: Option<Access>,
}

impl<'a> Head<'a> {
    /// Reads everything up to a value.
    ///
    /// # Errors
    /// When there is something else.
    pub fn read(input: &mut Input<'a>) -> Result<Head<'a>, Corrupt> {
        let (mut deadline, mut access) = (None, None);
        let tag = loop {
            match input.byte()? {
                opcode::EXPIRETIME_MS => deadline = Some(input.int64()?),
                opcode::EXPIRETIME => {
                    let seconds = i32::from_le_bytes(input.array()?);
                    deadline = Some(i64::from(seconds) * 1000);
                }
                opcode::IDLE => access = Some(Access::Idle(input.length()?)),
                opcode::FREQ => access = Some(Access::Freq(input.byte()?)),
                tag => break tag,
            }
        };
        Ok(Head {
            tag,
            key: input.text()?,
            deadline,
            access,
        })
    }
}

/// The records of a file.
pub struct Records<R> {
    reader: R,
    buf: Vec<u8>,
    /// The part of the buffer that holds bytes not yet used.
    start: usize,
    filled: usize,
    /// Offset of the buffer in the file.
    base: u64,
    version: u16,
    /// The checksum of what comes before `summed` in the buffer, unless it does not matter.
    crc: Option<u64>,
    summed: usize,
    scan: Scan,
    /// Whether the search for the end of a record is under way.
    scanning: bool,
    ended: bool,
}

impl<R: Read> Records<R> {
    /// Begins to read a file, of which the checksum matters or not.
    ///
    /// # Errors
    /// When it does not begin as a file of a version that is known.
    pub fn open(reader: R, checksum: bool) -> Result<Records<R>, Failure> {
        Records::behind(Vec::new(), reader, checksum)
    }

    /// The same, where the first bytes have been read already.
    ///
    /// # Errors
    /// As [`Records::open`].
    pub fn behind(read: Vec<u8>, reader: R, checksum: bool) -> Result<Records<R>, Failure> {
        let (filled, mut buf) = (read.len(), read);
        buf.resize(filled.max(CHUNK), 0);
        let mut records = Records {
            reader,
            buf,
            start: 0,
            filled,
            base: 0,
            version: 0,
            crc: checksum.then_some(0),
            summed: 0,
            scan: Scan::default(),
            scanning: false,
            ended: false,
        };
        match records.fill(HEADER) {
            Err(Failure::Short(_)) if !records.unread().starts_with(SIGNATURE) => {
                return Err(Failure::Signature);
            }
            result => result?,
        }
        let header = &records.unread()[..HEADER];
        let Some(version) = header.strip_prefix(SIGNATURE) else {
            return Err(Failure::Signature);
        };
        let text = String::from_utf8_lossy(version).into_owned();
        records.version = text
            .parse()
            .ok()
            .filter(|version| (1..=READABLE).contains(version))
            .ok_or(Failure::Version(text))?;
        records.start = HEADER;
        Ok(records)
    }

    /// The version of the file.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// How many bytes of the file have been used up.
    pub fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// The bytes that were read but do not belong to the file, and the reader. To be called after
    /// [`Record::End`].
    pub fn into_parts(self) -> (Vec<u8>, R) {
        (self.unread().to_vec(), self.reader)
    }

    fn unread(&self) -> &[u8] {
        &self.buf[self.start..self.filled]
    }

    /// The next record; behind the end, the end again.
    ///
    /// # Errors
    /// See [`Failure`]. Nothing can be read after one.
    #[expect(
        clippy::should_implement_trait,
        reason = "records borrow from the buffer, which no Iterator's items can"
    )]
    pub fn next(&mut self) -> Result<Record<'_>, Failure> {
        loop {
            if self.ended {
                return Ok(Record::End);
            }
            let size = loop {
                match self.find_end() {
                    Ok(size) => break size,
                    Err(Need::More(size)) => self.fill(size)?,
                    Err(Need::Corrupt(mut corrupt)) => {
                        corrupt.offset += self.offset();
                        return Err(corrupt.into());
                    }
                }
            };
            self.scanning = false;
            let (start, offset) = (self.start, self.offset());
            self.start += size;
            match self.buf[start] {
                opcode::EOF => self.end(start)?,
                opcode::SLOT_INFO => {}
                _ => return Ok(read(&self.buf[start..self.start], offset)?),
            }
        }
    }

    /// The size of the record at hand.
    fn find_end(&mut self) -> Result<usize, Need> {
        let bytes = &self.buf[self.start..self.filled];
        if !self.scanning {
            let at = first_byte(bytes)?;
            let code = bytes[at];
            if code == opcode::EOF && at == 0 {
                let size = if self.version < WITH_CHECKSUM { 1 } else { 9 };
                return if bytes.len() < size {
                    Err(Need::More(size))
                } else {
                    Ok(size)
                };
            }
            self.scan.begin(at + 1);
            match (Program::of_value(code), Program::of_record(code)) {
                (Some(value), _) => {
                    self.scan.expect(value);
                    self.scan.expect(Program::KEY);
                }
                (None, Some(record)) if at == 0 => self.scan.expect(record),
                _ => return Err(Need::Corrupt(Corrupt::new(at as u64, unknown(code, at)))),
            }
            self.scanning = true;
        }
        self.scan.run(bytes)
    }

    /// Checks the checksum of the end that starts at a position of the buffer.
    fn end(&mut self, start: usize) -> Result<(), Failure> {
        self.ended = true;
        let told = self.buf[start + 1..self.start].first_chunk();
        if let (Some(told), Some(crc)) = (told, self.crc) {
            let found = crc64::update(crc, &self.buf[self.summed..=start]);
            let told = u64::from_le_bytes(*told);
            // A file that was written without a checksum has a zero there.
            if told != 0 && told != found {
                return Err(Failure::Checksum { told, found });
            }
        }
        Ok(())
    }

    /// Reads until so many unused bytes are there.
    fn fill(&mut self, size: usize) -> Result<(), Failure> {
        while self.filled - self.start < size {
            if self.filled == self.buf.len() {
                self.make_room();
            }
            match self.reader.read(&mut self.buf[self.filled..]) {
                Ok(0) => return Err(Failure::Short(self.base + self.filled as u64)),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::Io(error)),
            }
        }
        Ok(())
    }

    /// Moves what is unused to the front of the buffer, and makes it larger if that is most of it.
    fn make_room(&mut self) {
        if let Some(crc) = &mut self.crc {
            *crc = crc64::update(*crc, &self.buf[self.summed..self.start]);
        }
        self.buf.copy_within(self.start..self.filled, 0);
        self.base += self.start as u64;
        self.filled -= self.start;
        (self.start, self.summed) = (0, 0);
        if self.filled > self.buf.len() / 2 {
            self.buf.resize(2 * self.buf.len(), 0);
        }
    }
}

/// Where the byte is that tells what a record is: behind what is told of a key.
#[inline]
fn first_byte(bytes: &[u8]) -> Result<usize, Need> {
    let mut at = 0;
    loop {
        match bytes.get(at) {
            None => return Err(Need::More(at + 1)),
            Some(&opcode::EXPIRETIME_MS) => at += 9,
            Some(&opcode::EXPIRETIME) => at += 5,
            Some(&opcode::FREQ) => at += 2,
            Some(&opcode::IDLE) => at = skip::length_end(bytes, at + 1)?,
            Some(_) => return Ok(at),
        }
    }
}

/// What is wrong with a record that begins so, behind `at` bytes about a key.
fn unknown(code: u8, at: usize) -> String {
    match code {
        opcode::FUNCTION_PRE_GA => "a function library of a pre-release of Redis 7.0".to_owned(),
        opcode::EOF => "a deadline or access without a key".to_owned(),
        _ if at > 0 && Program::of_record(code).is_some() => {
            "a deadline or access without a key".to_owned()
        }
        _ => skip::unknown_tag(code),
    }
}

/// Reads a record that is there in full.
fn read(bytes: &[u8], offset: u64) -> Result<Record<'_>, Corrupt> {
    let mut input = Input::part(bytes, offset);
    if Program::of_record(bytes[0]).is_none() {
        let head = Head::read(&mut input)?;
        return Ok(Record::Entry(Entry {
            head,
            value: input.rest(),
            raw: bytes,
            offset: input.offset(),
        }));
    }
    Ok(match input.byte()? {
        opcode::AUX => Record::Aux {
            key: input.text()?,
            value: input.text()?,
        },
        opcode::SELECTDB => Record::Select(input.length()?),
        opcode::RESIZEDB => Record::Resize {
            keys: input.length()?,
            volatile: input.length()?,
        },
        opcode::FUNCTION2 => Record::Function(input.text()?),
        // What is left is a module's.
        _ => Record::ModuleAux(skip::module_name(input.length()?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with every kind of record, without its end.
    fn body() -> Vec<u8> {
        let mut file = b"REDIS0010".to_vec();
        file.extend(b"\xfa\x09redis-ver\x057.0.0");
        file.extend(b"\xfa\x04bits\xc0\x40");
        file.extend(b"\xf5\x05#!lua");
        file.extend(b"\xf7\x81\x4c\x11\x38\xfb\xe7\xc0\x00\x01\x02\x02\x05\x03abc\x00");
        file.extend(b"\xfe\x03\xfb\x02\x01\xf4\x01\x02\x03");
        file.extend(b"\x00\x03key\x05value");
        file.extend(b"\xfc\x01\0\0\0\0\0\0\0\xf8\x41\x00\x02\x03set\x02\x01a\x01b");
        file.extend(b"\xfd\x02\0\0\0\xf9\x07\x00\xc0\x05\xc0\x06");
        file
    }

    fn file() -> Vec<u8> {
        let mut file = body();
        file.push(0xff);
        let crc = crc64::checksum(&file);
        file.extend(crc.to_le_bytes());
        file
    }

    /// A reader that gives a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let most = buf.len().min(self.1);
            self.0.read(&mut buf[..most])
        }
    }

    fn all(file: &[u8], drop: usize) -> Result<Vec<String>, Failure> {
        let mut records = Records::open(Drops(file, drop), true)?;
        let mut seen = Vec::new();
        loop {
            match records.next()? {
                Record::End => break,
                record => seen.push(format!("{record:?}")),
            }
        }
        assert!(matches!(records.next(), Ok(Record::End)));
        Ok(seen)
    }

    #[test]
    fn every_record_is_read() {
        let file = file();
        let seen = all(&file, usize::MAX).expect("a good file");
        assert_eq!(seen.len(), 9, "{seen:#?}");
        assert_eq!(seen[4], "Select(3)");
        assert_eq!(seen[5], "Resize { keys: 2, volatile: 1 }");
        for drop in [1, 2, 7] {
            assert_eq!(all(&file, drop).expect("a good file"), seen);
        }
    }

    #[test]
    fn entries_come_with_what_is_told_of_them() {
        let file = file();
        let mut records = Records::open(&file[..], true).expect("a file");
        let (mut heads, mut batch) = (Vec::new(), Vec::new());
        loop {
            match records.next().expect("a record") {
                Record::End => break,
                Record::Entry(entry) => {
                    let from = entry.offset as usize;
                    assert_eq!(entry.value, &file[from..from + entry.value.len()]);
                    heads.push((
                        entry.head.tag,
                        entry.head.key.into_vec(),
                        entry.head.deadline,
                        entry.head.access,
                    ));
                    batch.extend_from_slice(entry.raw);
                }
                _ => {}
            }
        }
        let expected = [
            (0, b"key".to_vec(), None, None),
            (2, b"set".to_vec(), Some(1), Some(Access::Idle(256))),
            (0, b"5".to_vec(), Some(2000), Some(Access::Freq(7))),
        ];
        assert_eq!(heads, expected);
        let mut input = Input::new(&batch);
        for (tag, key, deadline, access) in expected {
            let head = Head::read(&mut input).expect("a head");
            assert_eq!(
                (head.tag, head.deadline, head.access),
                (tag, deadline, access)
            );
            assert_eq!(head.key.into_vec(), key);
            let size = skip::value(tag, input.rest()).expect("a value");
            input.take(size).expect("a value");
        }
        assert!(input.is_empty());
    }

    #[test]
    fn what_follows_stays_readable() {
        for drop in [1, 5, usize::MAX] {
            let more = [&file()[..], b"*1\r\n$4\r\nPING\r\n"].concat();
            let mut records = Records::open(Drops(&more, drop), true).expect("a file");
            while !matches!(records.next().expect("a record"), Record::End) {}
            assert_eq!(records.offset(), file().len() as u64);
            let (mut rest, mut reader) = records.into_parts();
            reader.read_to_end(&mut rest).expect("bytes");
            assert_eq!(rest, b"*1\r\n$4\r\nPING\r\n");
        }
    }

    #[test]
    fn large_values_and_many_of_them() {
        let mut file = b"REDIS0011".to_vec();
        for len in [10usize, 300_000, 1_000_000, 70_000, 5, 262_144] {
            file.extend(b"\x00\x01k\x80");
            file.extend((len as u32).to_be_bytes());
            file.extend(std::iter::repeat_n(b'v', len));
        }
        for _ in 0..50_000 {
            file.extend(b"\x00\x01k\x05value");
        }
        file.push(0xff);
        let crc = crc64::checksum(&file);
        file.extend(crc.to_le_bytes());
        for drop in [1000, 65_536, usize::MAX] {
            let mut records = Records::open(Drops(&file, drop), true).expect("a file");
            let mut values = 0;
            while let Record::Entry(entry) = records.next().expect("a record") {
                values += entry.value.len();
            }
            assert!(values > 1_600_000);
            assert!(records.buf.len() <= 4 << 20, "{}", records.buf.len());
        }
    }

    #[test]
    fn cut_off_files_are_short() {
        let file = file();
        for len in 0..file.len() {
            match all(&file[..len], usize::MAX) {
                Err(Failure::Short(at)) => assert_eq!(at, len as u64),
                Err(Failure::Signature) => assert!(len < SIGNATURE.len()),
                other => panic!("{len}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let file = file();
        for at in 0..file.len() - 8 {
            for bit in 0..8 {
                let mut bad = file.clone();
                bad[at] ^= 1 << bit;
                // Another known version is fine but for the checksum.
                assert!(all(&bad, usize::MAX).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn checksums_may_be_missing() {
        let mut file = body();
        file.extend(b"\xff\0\0\0\0\0\0\0\0");
        assert!(all(&file, usize::MAX).is_ok());
        let at = file.len() - 8;
        file[at] = 1;
        assert!(matches!(
            all(&file, usize::MAX),
            Err(Failure::Checksum { told: 1, .. })
        ));
        let mut records = Records::open(&file[..], false).expect("a file");
        while !matches!(records.next().expect("a record"), Record::End) {}
        // The oldest files have none.
        file.truncate(at);
        file[5..9].copy_from_slice(b"0004");
        assert!(all(&file, usize::MAX).is_ok());
    }

    #[test]
    fn headers_are_checked() {
        for (header, version) in [
            ("REDIS0000", Some("0000")),
            ("REDIS0013", Some("0013")),
            ("REDIS00x1", Some("00x1")),
            ("RADIS0010", None),
            ("*1\r\n$4\r\nPING", None),
        ] {
            match (Records::open(header.as_bytes(), true), version) {
                (Err(Failure::Version(text)), Some(version)) => assert_eq!(text, version),
                (Err(Failure::Signature), None) => {}
                (other, _) => panic!("{header}: {:?}", other.err()),
            }
        }
    }

    #[test]
    fn strange_records_are_refused() {
        for (record, what) in [
            (&b"\xf6\x01a\x01b\x00\x01c"[..], "pre-release"),
            (b"\xfc\x01\0\0\0\0\0\0\0\xfe\x01", "without a key"),
            (b"\xf9\x01\xff\0\0\0\0\0\0\0\0", "without a key"),
            (b"\x08\x01k\x01v", "unknown type 8"),
            (b"\x63\x01k\x01v", "unknown type 99"),
            (b"\x06\x01k\x05", "module type 'AAAAAAAAA'"),
        ] {
            let file = [b"REDIS0010", record].concat();
            match all(&file, usize::MAX) {
                Err(Failure::Corrupt(corrupt)) => {
                    assert!(corrupt.what.contains(what), "{corrupt}");
                    assert!(corrupt.offset >= HEADER as u64);
                }
                other => panic!("{record:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn made_up_lengths_take_no_memory() {
        let mut file = b"REDIS0010\x00\x01k\x81\x00\x00\x0f\xff\xff\xff\xff\xff".to_vec();
        file.extend([b'v'; 1000]);
        let mut records = Records::open(&file[..], true).expect("a file");
        assert!(matches!(records.next(), Err(Failure::Short(_))));
        assert_eq!(records.buf.len(), CHUNK);
    }
}
