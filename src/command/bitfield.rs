//! BITFIELD and BITFIELD_RO: integers of any width at any bit offset of a string.
//!
//! All operations are read before the first is carried out, so that a mistake in the last one
//! leaves the key alone. The arithmetic is in [`crate::types::bits`].

use super::bitmaps::{change_bits, offset};
use super::error::{Error, Outcome, SYNTAX};
use super::keyspace::Class;
use super::options::{int, is};
use super::spec::*;
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::types::bits::{FieldType, Overflow};
use crate::types::string;

/// The rows of BITFIELD and BITFIELD_RO.
pub const COMMANDS: &[Command] = &[
    Command::new("bitfield", -2, bitfield)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_BITMAP)
        .keys(
            &[KeySpec::one(1, RW.or(ACCESS).or(UPDATE).or(VARIABLE_FLAGS))
                .notes("only read when every operation is GET")],
        )
        .find_keys(bitfield_keys)
        .docs(
            Group::Bitmap,
            "3.2.0",
            "O(1) for each operation",
            "Reads, stores and increments integers of any width within a string",
        )
        .args(
            "key [operation:(GET encoding_offset:{encoding offset:integer} \
                | write:{[OVERFLOW wrap_sat_fail:(WRAP | SAT | FAIL)] \
                write_operation:(SET encoding_offset_value:{encoding offset:integer \
                value:integer} | INCRBY encoding_offset_increment:{encoding offset:integer \
                increment:integer})})...]",
        ),
    Command::new("bitfield_ro", -2, bitfield_ro)
        .flags(READONLY.or(FAST))
        .acl(CAT_BITMAP)
        .keys(&[KeySpec::one(1, RO.or(ACCESS))])
        .docs(
            Group::Bitmap,
            "6.0.0",
            "O(1) for each operation",
            "Reads integers of any width within a string",
        )
        .args("key [GET encoding_offset:{encoding offset:integer}]..."),
];

const TYPE: Error = Error::new(
    "ERR Invalid bitfield type. Use something like i16 u8. \
    Note that u64 is not supported but i64 is.",
);
const OVERFLOW: Error = Error::new("ERR Invalid OVERFLOW type specified");
const ONLY_GET: Error = Error::new("ERR BITFIELD_RO only supports the GET subcommand");

/// What to do with one field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Get,
    Set(i64, Overflow),
    Increment(i64, Overflow),
}

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Operation {
    kind: FieldType,
    offset: u64,
    action: Action,
}

impl Operation {
    /// The last bit of the field, if the operation may change it.
    fn last_written(&self) -> Option<u64> {
        match self.action {
            Action::Get => None,
            _ => Some(self.offset + u64::from(self.kind.bits) - 1),
        }
    }

    /// Carries it out and writes the reply. Returns whether the field has another value now, or
    /// one that was stored in a string `grown` for it.
    fn run(self, out: &mut Reply, bytes: &mut [u8], grown: bool) -> bool {
        let old = self.kind.get(bytes, self.offset);
        let (new, reply_old) = match self.action {
            Action::Get => {
                out.int(old);
                return false;
            }
            Action::Set(value, overflow) => (self.kind.fit(value, 0, overflow), true),
            Action::Increment(by, overflow) => (self.kind.fit(old, by, overflow), false),
        };
        let Some(new) = new else {
            out.null();
            return false;
        };
        self.kind.set(bytes, self.offset, new);
        out.int(if reply_old { old } else { new });
        grown || new != old
    }
}

/// The type of a field. What follows a zero byte does not count, as in Redis.
fn field_type(text: &[u8]) -> Outcome<FieldType> {
    let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
    FieldType::parse(&text[..end]).ok_or(TYPE)
}

/// Reads all operations.
fn operations(c: &Ctx<'_>, args: &Args<'_>) -> Outcome<Vec<Operation>> {
    let mut operations = Vec::with_capacity(args.len() / 3);
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while at < args.len() {
        let (word, behind) = (&args[at], args.len() - at - 1);
        if is(word, "OVERFLOW") && behind >= 1 {
            overflow = read_overflow(&args[at + 1])?;
            at += 2;
            continue;
        }
        let takes = if is(word, "GET") {
            2
        } else if is(word, "SET") || is(word, "INCRBY") {
            3
        } else {
            return Err(SYNTAX);
        };
        if behind < takes {
            return Err(SYNTAX);
        }
        let kind = field_type(&args[at + 1])?;
        let offset = offset(c, &args[at + 2], Some(kind.bits))?;
        let action = match takes {
            2 => Action::Get,
            _ if is(word, "SET") => Action::Set(int(args, at + 3)?, overflow),
            _ => Action::Increment(int(args, at + 3)?, overflow),
        };
        operations.push(Operation {
            kind,
            offset,
            action,
        });
        at += 1 + takes;
    }
    Ok(operations)
}

fn read_overflow(arg: &[u8]) -> Outcome<Overflow> {
    if is(arg, "WRAP") {
        Ok(Overflow::Wrap)
    } else if is(arg, "SAT") {
        Ok(Overflow::Saturate)
    } else if is(arg, "FAIL") {
        Ok(Overflow::Fail)
    } else {
        Err(OVERFLOW)
    }
}

fn bitfield(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let operations = operations(c, args)?;
    match operations.iter().filter_map(Operation::last_written).max() {
        Some(last) => write(c, &args[1], &operations, last),
        None => read(c, &args[1], &operations),
    }
}

/// The key of BITFIELD: whether it is changed depends on the operations. What makes no sense counts
/// as a change.
fn bitfield_keys(args: &Args<'_>) -> Option<Vec<(usize, KeyFlags)>> {
    args.get(1)?;
    let mut at = 2;
    let mut flags = RO.or(ACCESS);
    while let Some(word) = args.get(at) {
        let behind = args.len() - at - 1;
        if is(word, "GET") && behind >= 2 {
            at += 3;
        } else if is(word, "OVERFLOW") && behind >= 1 {
            at += 2;
        } else {
            flags = RW.or(ACCESS).or(UPDATE);
            break;
        }
    }
    Some(vec![(1, flags)])
}

fn bitfield_ro(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let operations = operations(c, args)?;
    if operations.iter().any(|one| one.action != Action::Get) {
        return Err(ONLY_GET);
    }
    read(c, &args[1], &operations)
}

/// Carries out operations that change nothing.
fn read(c: &mut Ctx<'_>, key: &[u8], operations: &[Operation]) -> Outcome {
    let mut scratch = [0; 20];
    let value = c.db.string(key)?;
    let bytes = value
        .and_then(|value| string::bytes(value, &mut scratch))
        .unwrap_or_default();
    c.out.array(operations.len());
    for one in operations {
        c.out.int(one.kind.get(bytes, one.offset));
    }
    Ok(())
}

/// Carries out operations of which some may change the string up to bit `last`.
fn write(c: &mut Ctx<'_>, key: &[u8], operations: &[Operation], last: u64) -> Outcome {
    let out = &mut *c.out;
    let mut longer = false;
    let changes = change_bits(&mut c.db, key, last, |bytes, grown| {
        longer = grown;
        out.array(operations.len());
        let run = |one: &&Operation| one.run(out, bytes, grown);
        operations.iter().filter(run).count()
    })?;
    if changes > 0 {
        c.db.changed_by(Class::String, "setbit", key, changes);
    } else if longer {
        // Where everything fails, the string has got its length nevertheless, which is no change
        // to Redis; but the log is to bring back the same bytes.
        c.db.log_anyway();
    }
    Ok(())
}
