//! The RDB format, which snapshots, `DUMP` and full synchronisation share.
//!
//! A file is the text `REDIS` and four digits of version, then *records* up to [`opcode::EOF`] and
//! eight bytes of checksum ([`crc64`](super::crc64), little endian; zero where none was made). The
//! first byte of a record says what it is: an [`opcode`], or the [`tag`] of a value, whose key and
//! content follow. What belongs to a key, such as its deadline, stands in records just before it.
//!
//! A *length* takes one byte (`00` and six bits), two (`01` and fourteen bits, high ones first), five
//! (`0x80` and 32 bits, big endian) or nine (`0x81` and 64 bits, big endian). A *string* is a length
//! and as many bytes, or one of the special forms in [`form`]: a small integer, or compressed text.
//!
//! The payload of `DUMP` is tag and content of one value, two bytes of version and the checksum.

pub mod decode;
pub mod encode;
pub mod file;
pub mod input;
pub mod legacy;
pub mod records;
pub mod skip;

/// The version of what is written, which is that of Redis 7.0.
pub const VERSION: u16 = 10;
/// The version of what holds a hash with deadlines of its fields.
pub const VERSION_FIELD_DEADLINES: u16 = 12;

/// The newest version that can be read, which is that of Redis 7.4.
pub const READABLE: u16 = 12;

/// First bytes of records that are no keys.
pub mod opcode {
    /// The code of a library of functions: a string.
    pub const FUNCTION2: u8 = 0xf5;
    /// The same as a release candidate of Redis 7.0 wrote it.
    pub const FUNCTION_PRE_GA: u8 = 0xf6;
    /// Data of a module that belongs to no key.
    pub const MODULE_AUX: u8 = 0xf7;
    /// Seconds since the next key was used: a length.
    pub const IDLE: u8 = 0xf8;
    /// How often the next key is used: a byte.
    pub const FREQ: u8 = 0xf9;
    /// A fact about the file: two strings.
    pub const AUX: u8 = 0xfa;
    /// How many keys the database has, and how many of them have deadlines: two lengths.
    pub const RESIZEDB: u8 = 0xfb;
    /// Deadline of the next key: milliseconds in eight bytes, little endian.
    pub const EXPIRETIME_MS: u8 = 0xfc;
    /// Deadline of the next key: seconds in four bytes, little endian.
    pub const EXPIRETIME: u8 = 0xfd;
    /// The number of the database that the next keys are in: a length.
    pub const SELECTDB: u8 = 0xfe;
    /// The end.
    pub const EOF: u8 = 0xff;
    /// Facts about a hash slot of a cluster: three lengths.
    pub const SLOT_INFO: u8 = 0xf4;
}

/// What is behind a key, and how it is laid out.
pub mod tag {
    /// A string.
    pub const STRING: u8 = 0;
    /// A list, element by element.
    pub const LIST: u8 = 1;
    /// A set, member by member.
    pub const SET: u8 = 2;
    /// A sorted set, with scores as text.
    pub const ZSET: u8 = 3;
    /// A hash, field and value in turn.
    pub const HASH: u8 = 4;
    /// A sorted set, with scores as doubles.
    pub const ZSET_2: u8 = 5;
    /// A module's value, in its first format.
    pub const MODULE: u8 = 6;
    /// A module's value.
    pub const MODULE_2: u8 = 7;
    /// A hash in a zipmap.
    pub const HASH_ZIPMAP: u8 = 9;
    /// A list in a ziplist.
    pub const LIST_ZIPLIST: u8 = 10;
    /// A set in an intset.
    pub const SET_INTSET: u8 = 11;
    /// A sorted set in a ziplist.
    pub const ZSET_ZIPLIST: u8 = 12;
    /// A hash in a ziplist.
    pub const HASH_ZIPLIST: u8 = 13;
    /// A list in a sequence of ziplists.
    pub const LIST_QUICKLIST: u8 = 14;
    /// A stream, as Redis 5 has it.
    pub const STREAM_LISTPACKS: u8 = 15;
    /// A hash in a listpack.
    pub const HASH_LISTPACK: u8 = 16;
    /// A sorted set in a listpack.
    pub const ZSET_LISTPACK: u8 = 17;
    /// A list in a sequence of listpacks and single large elements.
    pub const LIST_QUICKLIST_2: u8 = 18;
    /// A stream, as Redis 7.0 has it.
    pub const STREAM_LISTPACKS_2: u8 = 19;
    /// A set in a listpack.
    pub const SET_LISTPACK: u8 = 20;
    /// A stream, as Redis 7.2 has it.
    pub const STREAM_LISTPACKS_3: u8 = 21;
    /// A hash with deadlines of fields, as a release candidate of Redis 7.4 wrote it.
    pub const HASH_METADATA_PRE_GA: u8 = 22;
    /// The same in a listpack.
    pub const HASH_LISTPACK_EX_PRE_GA: u8 = 23;
    /// A hash with deadlines of fields.
    pub const HASH_METADATA: u8 = 24;
    /// A hash with deadlines of fields in a listpack.
    pub const HASH_LISTPACK_EX: u8 = 25;
}

/// First bytes of strings that are no plain text.
pub mod form {
    /// An integer in one byte.
    pub const INT8: u8 = 0xc0;
    /// An integer in two bytes, little endian.
    pub const INT16: u8 = 0xc1;
    /// An integer in four bytes, little endian.
    pub const INT32: u8 = 0xc2;
    /// Compressed text: its length now and its length before, then the data.
    pub const LZF: u8 = 0xc3;
}

/// How a node of a list is kept.
pub mod container {
    /// One large element.
    pub const PLAIN: u64 = 1;
    /// A listpack.
    pub const PACKED: u64 = 2;
}
