//! The bitmap commands: strings as arrays of bits. BITFIELD has a file of its own.
//!
//! The arithmetic is in [`crate::types::bits`]. Offsets end where `proto-max-bulk-len` does; as in
//! Redis, a bit set far out allocates all bytes before it.

use super::error::{Error, NOT_AN_INTEGER, Outcome, SYNTAX, WRONG_TYPE};
use super::keyspace::{Class, Keyspace};
use super::options::{int, int_or, is};
use super::spec::*;
use super::{Args, Ctx};
use crate::server::config::id;
use crate::types::bits::{self, Operation};
use crate::types::{Type, Value, string};
use crate::util::num;
use std::ops::Range;

/// The rows of the bitmap commands.
pub const COMMANDS: &[Command] = &[
    Command::new("bitcount", -2, bitcount)
        .flags(READONLY)
        .acl(CAT_BITMAP)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Bitmap,
            "2.6.0",
            "O(N), N the length of the part",
            "Counts the bits that are set in a string or in a part of it",
        )
        .args("key [index:{start:integer end:integer [index_unit:(BYTE | BIT)@7.0.0]}]")
        .history(&[("7.0.0", "Options BYTE and BIT")]),
    Command::new("bitop", -4, bitop)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_BITMAP)
        .keys(&[
            KeySpec::one(2, OW.or(UPDATE)),
            KeySpec::range(3, -1, 1, RO.or(ACCESS)),
        ])
        .docs(
            Group::Bitmap,
            "2.6.0",
            "O(N), N the length of the longest string",
            "Combines strings bit by bit and stores the result",
        )
        .args("operation destkey:key key#1..."),
    Command::new("bitpos", -3, bitpos)
        .flags(READONLY)
        .acl(CAT_BITMAP)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Bitmap,
            "2.8.7",
            "O(N), N the length of the part",
            "Finds the first bit that is set, or clear, in a string or in a part of it",
        )
        .args(
            "key bit:integer [index:{start:integer [end_index:{end:integer \
                [index_unit:(BYTE | BIT)@7.0.0]}]}]",
        )
        .history(&[("7.0.0", "Options BYTE and BIT")]),
    Command::new("getbit", 3, getbit)
        .flags(READONLY.or(FAST))
        .acl(CAT_BITMAP)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Bitmap,
            "2.2.0",
            "O(1)",
            "Reads one bit of a string; past its end all are clear",
        )
        .args("key offset:integer"),
    Command::new("setbit", 4, setbit)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_BITMAP)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(UPDATE))])
        .docs(
            Group::Bitmap,
            "2.2.0",
            "O(1)",
            "Sets or clears one bit of a string, padding it with zero bytes as needed",
        )
        .args("key offset:integer value:integer"),
];

const OFFSET: Error = Error::new("ERR bit offset is not an integer or out of range");
const NOT_A_BIT: Error = Error::new("ERR bit is not an integer or out of range");
const NOT_0_OR_1: Error = Error::new("ERR The bit argument must be 1 or 0.");
const NOT_TAKES_ONE: Error = Error::new("ERR BITOP NOT must be called with a single source key.");

// ---------------------------------------------------------------- single bits

/// Reads the offset of a bit, or, where fields are `width` bits wide, `#n` for the n-th field.
pub(super) fn offset(c: &Ctx<'_>, text: &[u8], width: Option<u32>) -> Outcome<u64> {
    let most = c.server.config.memory(id::PROTO_MAX_BULK_LEN);
    let offset = match (text.strip_prefix(b"#"), width) {
        // An offset past the range wraps around, as in Redis.
        (Some(number), Some(width)) => {
            num::parse_i64(number).map(|number| number.wrapping_mul(i64::from(width)))
        }
        _ => num::parse_i64(text),
    };
    offset
        .and_then(|offset| u64::try_from(offset).ok())
        .filter(|offset| offset / 8 < most)
        .ok_or(OFFSET)
}

/// Changes the bits of a string, which is made, or made longer, so that it holds bit `last`.
/// `change` is also told whether that was needed.
pub(super) fn change_bits<R>(
    db: &mut Keyspace<'_>,
    key: &[u8],
    last: u64,
    change: impl FnOnce(&mut [u8], bool) -> R,
) -> Outcome<R> {
    let len = usize::try_from(last / 8).map_err(|_| OFFSET)? + 1;
    if let Some(value) = db.string_mut(key)? {
        let buffer = string::make_raw(value, len).ok_or(WRONG_TYPE)?;
        let grows = buffer.len() < len;
        if grows {
            buffer.resize(len, 0);
        }
        return Ok(change(buffer, grows));
    }
    let mut buffer = vec![0; len];
    let result = change(&mut buffer, true);
    db.add(key, Value::Raw(Box::new(buffer)));
    Ok(result)
}

fn setbit(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let offset = offset(c, &args[2], None)?;
    let on = match int_or(args, 3, NOT_A_BIT)? {
        0 => false,
        1 => true,
        _ => return Err(NOT_A_BIT),
    };
    let key = &args[1];
    let (old, grown) = change_bits(&mut c.db, key, offset, |bytes, grown| {
        (bits::set(bytes, offset, on), grown)
    })?;
    if grown || old != on {
        c.db.changed(Class::String, "setbit", key);
    }
    c.out.int(i64::from(old));
    Ok(())
}

fn getbit(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let offset = offset(c, &args[2], None)?;
    let mut scratch = [0; 20];
    let value = c.db.string(&args[1])?;
    let bytes = value.and_then(|value| string::bytes(value, &mut scratch));
    let bit = bits::get(bytes.unwrap_or_default(), offset);
    c.out.int(i64::from(bit));
    Ok(())
}

// ---------------------------------------------------------------- parts

/// Whether the argument says that indexes count bits rather than bytes.
fn counts_bits(arg: &[u8]) -> Outcome<bool> {
    match (is(arg, "BIT"), is(arg, "BYTE")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(SYNTAX),
    }
}

/// The bits between two indexes, both included, of a string of `len` bytes; negative indexes count
/// from the end. They count bits, or else bytes.
fn part(len: usize, start: i64, end: i64, in_bits: bool) -> Range<u64> {
    let (total, unit) = if in_bits {
        (len as i64 * 8, 1)
    } else {
        (len as i64, 8)
    };
    let from_front = |index: i64| {
        if index < 0 {
            (total + index).max(0)
        } else {
            index
        }
    };
    let (start, end) = (from_front(start), from_front(end).min(total - 1));
    if start > end {
        return 0..0;
    }
    start as u64 * unit..(end as u64 + 1) * unit
}

fn bitcount(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let mut scratch = [0; 20];
    let Some(value) = c.db.string(&args[1])? else {
        c.out.int(0);
        return Ok(());
    };
    let bytes = string::bytes(value, &mut scratch).unwrap_or_default();
    let count = match args.len() {
        2 => bits::count(bytes),
        4 | 5 => {
            let (start, end) = (int(args, 2)?, int(args, 3)?);
            // As in Redis, this comes before a look at the unit.
            if start < 0 && end < 0 && start > end {
                c.out.int(0);
                return Ok(());
            }
            let in_bits = args.get(4).map_or(Ok(false), counts_bits)?;
            bits::count_within(bytes, part(bytes.len(), start, end, in_bits))
        }
        _ => return Err(SYNTAX),
    };
    c.out.int(count as i64);
    Ok(())
}

fn bitpos(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let wanted = match int_or(args, 2, NOT_AN_INTEGER)? {
        0 => false,
        1 => true,
        _ => return Err(NOT_0_OR_1),
    };
    let mut scratch = [0; 20];
    let Some(value) = c.db.string(&args[1])? else {
        // Nothing but clear bits, without an end.
        c.out.int(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let bytes = string::bytes(value, &mut scratch).unwrap_or_default();
    let (start, end, in_bits) = match args.len() {
        3 => (0, None, false),
        4..=6 => {
            let start = int(args, 3)?;
            let in_bits = args.get(5).map_or(Ok(false), counts_bits)?;
            let end = args.get(4).map(|_| int(args, 4)).transpose()?;
            (start, end, in_bits)
        }
        _ => return Err(SYNTAX),
    };
    let part = part(bytes.len(), start, end.unwrap_or(-1), in_bits);
    let position = match bits::find(bytes, part.clone(), wanted) {
        Some(position) => position as i64,
        // Behind the string there are clear bits, unless the client has named an end.
        None if !wanted && end.is_none() && !part.is_empty() => part.end as i64,
        None => -1,
    };
    c.out.int(position);
    Ok(())
}

// ---------------------------------------------------------------- BITOP

/// What the first argument of BITOP asks for.
fn operation(arg: &[u8]) -> Outcome<Operation> {
    const NAMES: [(&str, Operation); 4] = [
        ("AND", Operation::And),
        ("OR", Operation::Or),
        ("XOR", Operation::Xor),
        ("NOT", Operation::Not),
    ];
    NAMES
        .iter()
        .find(|(name, _)| is(arg, name))
        .map(|&(_, operation)| operation)
        .ok_or(SYNTAX)
}

fn bitop(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let operation = operation(&args[1])?;
    if operation == Operation::Not && args.len() != 4 {
        return Err(NOT_TAKES_ONE);
    }
    let args = &*args;
    let values = c.db.several((3..args.len()).map(|at| &args[at]), |value| {
        value.kind() == Type::String
    });
    let mut longest = 0;
    for value in values.iter().flatten() {
        longest = longest.max(string::len(value).ok_or(WRONG_TYPE)?);
    }
    let mut result = Vec::with_capacity(longest);
    for (number, value) in values.iter().enumerate() {
        let mut scratch = [0; 20];
        let bytes = value.and_then(|value| string::bytes(value, &mut scratch));
        match number {
            0 => result.extend_from_slice(bytes.unwrap_or_default()),
            _ => bits::combine(&mut result, operation, bytes.unwrap_or_default()),
        }
    }
    if operation == Operation::Not {
        bits::invert(&mut result);
    }
    let value = (longest > 0).then(|| Value::Raw(Box::new(result)));
    c.db.store(&args[2], value, Class::String, "set");
    c.out.count(longest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_strings() {
        for (start, end, in_bits, expected) in [
            (0, -1, false, 0..24),
            (0, -1, true, 0..24),
            (1, 1, false, 8..16),
            (1, 1, true, 1..2),
            (-2, 100, false, 8..24),
            (-2, 100, true, 22..24),
            (i64::MIN, i64::MAX, true, 0..24),
            (-100, -99, false, 0..8),
            (2, 1, false, 0..0),
            (24, 24, true, 0..0),
            (i64::MAX, i64::MIN, false, 0..0),
        ] {
            assert_eq!(part(3, start, end, in_bits), expected, "{start} {end}");
        }
        assert!(part(0, 0, -1, false).is_empty());
        assert!(part(0, 0, 0, true).is_empty());
    }

    #[test]
    fn units_and_operations() {
        assert_eq!(
            (counts_bits(b"bit"), counts_bits(b"Byte"), counts_bits(b"")),
            (Ok(true), Ok(false), Err(SYNTAX))
        );
        assert_eq!(operation(b"xor"), Ok(Operation::Xor));
        assert_eq!(operation(b"nand"), Err(SYNTAX));
    }
}
