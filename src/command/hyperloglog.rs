//! The HyperLogLog commands. A HyperLogLog is a string; what is in it is the business of
//! [`crate::types::hyperloglog`].

use super::error::{Error, Outcome, WRONG_TYPE};
use super::keyspace::Class;
use super::options::is;
use super::spec::*;
use super::{Args, Ctx};
use crate::server::config::id;
use crate::types::hyperloglog::{self as hll, Corrupted, REGISTERS, Run};
use crate::types::{Value, string};
use crate::util::random::{Rng, seed};
use std::io::Write;

/// The rows of the HyperLogLog commands.
pub const COMMANDS: &[Command] = &[
    Command::new("pfadd", -2, pfadd)
        .flags(WRITE.or(DENYOOM).or(FAST))
        .acl(CAT_HYPERLOGLOG)
        .keys(&[KeySpec::one(1, RW.or(INSERT))])
        .docs(
            Group::Hyperloglog,
            "2.8.9",
            "O(1) for each element",
            "Adds elements to a HyperLogLog, which starts empty when the key is new",
        )
        .args("key [element...]"),
    Command::new("pfcount", -2, pfcount)
        .flags(READONLY.or(MAY_REPLICATE))
        .acl(CAT_HYPERLOGLOG)
        .keys(&[KeySpec::range(1, -1, 1, RW.or(ACCESS))
            .notes("the count of a single key is kept in its value")])
        .docs(
            Group::Hyperloglog,
            "2.8.9",
            "O(1) for a single key, with a small factor; O(N) for N keys, with a large one",
            "Estimates how many different elements were added to one or several HyperLogLogs",
        )
        .args("key..."),
    Command::new("pfdebug", 3, pfdebug)
        .flags(WRITE.or(DENYOOM).or(ADMIN))
        .acl(CAT_HYPERLOGLOG)
        .keys(&[KeySpec::one(2, RW.or(ACCESS))])
        .docs(
            Group::Hyperloglog,
            "2.8.9",
            "O(1)",
            "Shows the inside of a HyperLogLog, or makes it dense",
        )
        .args("subcommand key")
        .syscmd(),
    Command::new("pfmerge", -2, pfmerge)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_HYPERLOGLOG)
        .keys(&[
            KeySpec::one(1, RW.or(ACCESS).or(INSERT)),
            KeySpec::range(2, -1, 1, RO.or(ACCESS)),
        ])
        .docs(
            Group::Hyperloglog,
            "2.8.9",
            "O(N) for N keys, with a large factor",
            "Adds what other HyperLogLogs hold to the first one",
        )
        .args("destkey:key sourcekey:key#1..."),
    Command::new("pfselftest", 1, pfselftest)
        .flags(ADMIN)
        .acl(CAT_HYPERLOGLOG)
        .keys(&[])
        .docs(
            Group::Hyperloglog,
            "2.8.9",
            "O(1), which takes about a second",
            "Tests the HyperLogLog code",
        )
        .syscmd()
        .slow(),
];

const INVALID: Error = Error::new("WRONGTYPE Key is not a valid HyperLogLog string value.");
const CORRUPTED: Error = Error::new("INVALIDOBJ Corrupted HLL object detected");
const NO_SUCH_KEY: Error = Error::new("ERR The specified key does not exist");
const NOT_SPARSE: Error = Error::new("ERR HLL encoding is not sparse");

/// Rounds of the part of PFSELFTEST that writes and reads every register.
const SELF_TEST_CYCLES: usize = 1000;
/// Elements that the other part counts.
const SELF_TEST_ELEMENTS: u64 = 10_000_000;

impl From<Corrupted> for Error {
    fn from(_: Corrupted) -> Error {
        CORRUPTED
    }
}

// ---------------------------------------------------------------- access

/// The bytes of a HyperLogLog. An integer is none, so no scratch space is needed.
fn bytes(value: &Value) -> Outcome<&[u8]> {
    let bytes = match value {
        Value::Raw(bytes) => bytes.as_slice(),
        Value::Str(bytes) => bytes,
        // A short one that a client has put there byte by byte.
        Value::Inline { len, bytes } => &bytes[..usize::from(*len)],
        _ => b"",
    };
    if hll::is_valid(bytes) {
        Ok(bytes)
    } else {
        Err(INVALID)
    }
}

/// The buffer of a HyperLogLog, for changes.
fn buffer(value: &mut Value) -> Outcome<&mut Vec<u8>> {
    let len = bytes(value)?.len();
    string::make_raw(value, len).ok_or(WRONG_TYPE)
}

// ---------------------------------------------------------------- commands

fn pfadd(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let sparse_max = c.server.config.memory(id::HLL_SPARSE_MAX_BYTES);
    let add_all = |buffer: &mut Vec<u8>, raised: &mut usize| {
        for element in args.from(2) {
            *raised += usize::from(hll::add(buffer, element, sparse_max)?);
        }
        Ok::<(), Error>(())
    };
    let logs = c.db.logs();
    let mut raised = 0;
    let key = &args[1];
    let updates = match c.db.string_mut(key)? {
        Some(value) => {
            let buffer = buffer(value)?;
            if let Err(error) = add_all(buffer, &mut raised) {
                // As in Redis what has been added stays, and nobody is told. But the log is to
                // bring back the same bytes.
                if raised > 0 && logs {
                    let bytes = buffer.clone();
                    c.db.instead(&[b"SET", key, &bytes, b"KEEPTTL"]);
                }
                return Err(error);
            }
            if raised > 0 {
                hll::invalidate(buffer);
            }
            raised
        }
        None => {
            let mut buffer = hll::new();
            add_all(&mut buffer, &mut raised)?;
            hll::invalidate(&mut buffer);
            c.db.add(key, Value::Raw(Box::new(buffer)));
            raised + 1
        }
    };
    if updates > 0 {
        c.db.changed_by(Class::String, "pfadd", key, updates);
    }
    c.out.int(i64::from(updates > 0));
    Ok(())
}

fn pfcount(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if args.len() == 2 {
        return count_one(c, &args[1]);
    }
    let mut all = [0; REGISTERS];
    for key in args.from(1) {
        if let Some(value) = c.db.string(key)? {
            hll::merge(&mut all, bytes(value)?)?;
        }
    }
    c.out.int(hll::count_registers(&all) as i64);
    Ok(())
}

/// The count of one key, which is kept in its value until it changes.
fn count_one(c: &mut Ctx<'_>, key: &[u8]) -> Outcome {
    let Some(value) = c.db.string(key)? else {
        c.out.int(0);
        return Ok(());
    };
    // As in Redis the value is raw from here on, even when nothing is written.
    if let Some(count) = hll::cached_count(bytes(value)?)
        && matches!(value, Value::Raw(_))
    {
        c.out.int(count as i64);
        return Ok(());
    }
    let buffer = buffer(c.db.string_mut(key)?.ok_or(INVALID)?)?;
    if let Some(count) = hll::cached_count(buffer) {
        c.out.int(count as i64);
        return Ok(());
    }
    let count = hll::count(buffer)?;
    hll::cache_count(buffer, count);
    c.db.changed_quietly(key);
    // A command that reads is not logged by itself.
    if c.db.logs() {
        c.db.instead(&[b"PFCOUNT", key]);
    }
    c.out.int(count as i64);
    Ok(())
}

fn pfmerge(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let mut all = [0; REGISTERS];
    let mut dense = false;
    // The destination counts as a source as well.
    for key in args.from(1) {
        if let Some(value) = c.db.string(key)? {
            let bytes = bytes(value)?;
            dense |= !hll::is_sparse(bytes);
            hll::merge(&mut all, bytes)?;
        }
    }
    let sparse_max = c.server.config.memory(id::HLL_SPARSE_MAX_BYTES);
    let key = &args[1];
    match c.db.string_mut(key)? {
        Some(value) => raise_all(buffer(value)?, &all, dense, sparse_max)?,
        None => {
            let mut buffer = hll::new();
            raise_all(&mut buffer, &all, dense, sparse_max)?;
            c.db.add(key, Value::Raw(Box::new(buffer)));
        }
    }
    // The event is that of PFADD, as in Redis.
    c.db.changed(Class::String, "pfadd", key);
    c.out.ok();
    Ok(())
}

/// Raises the registers of a HyperLogLog to those in `all`, which it has been merged into.
fn raise_all(buffer: &mut Vec<u8>, all: &[u8], dense: bool, sparse_max: u64) -> Outcome {
    if dense {
        hll::make_dense(buffer)?;
    }
    hll::raise_all(buffer, all, sparse_max)?;
    hll::invalidate(buffer);
    Ok(())
}

// ---------------------------------------------------------------- the inside

fn pfdebug(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (word, key) = (&args[1], &args[2]);
    let buffer = buffer(c.db.string_mut(key)?.ok_or(NO_SUCH_KEY)?)?;
    let mut changed = false;
    if is(word, "GETREG") {
        changed = hll::make_dense(buffer)?;
        let registers = hll::registers(buffer)?;
        c.out.array(registers.len());
        registers.iter().for_each(|&one| c.out.int(i64::from(one)));
    } else if is(word, "DECODE") {
        if !hll::is_sparse(buffer) {
            return Err(NOT_SPARSE);
        }
        c.out.bulk(&decoded(buffer));
    } else if is(word, "ENCODING") {
        c.out.simple(match hll::is_sparse(buffer) {
            true => "sparse",
            false => "dense",
        });
    } else if is(word, "TODENSE") {
        changed = hll::make_dense(buffer)?;
        c.out.int(i64::from(changed));
    } else {
        let mut text = b"ERR Unknown PFDEBUG subcommand '".to_vec();
        text.extend(word.iter().take_while(|&&b| b != 0));
        text.push(b'\'');
        return Err(Error::raw(text));
    }
    if changed {
        // To those who watch the key it is the same: counted, but no change to them.
        c.db.changes += 1;
    }
    Ok(())
}

/// The runs of a sparse HyperLogLog for people: `z:5 Z:100 v:3,2`.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for run in hll::runs(bytes) {
        if !text.is_empty() {
            text.push(b' ');
        }
        // Writing to a vector does not fail.
        let _ = match run {
            Run::Zeros(len) => write!(text, "z:{len}"),
            Run::ManyZeros(len) => write!(text, "Z:{len}"),
            Run::Value(value, len) => write!(text, "v:{value},{len}"),
        };
    }
    text
}

fn pfselftest(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let sparse_max = c.server.config.memory(id::HLL_SPARSE_MAX_BYTES);
    let mut rng = Rng::new(seed());
    hll::self_test(&mut rng, SELF_TEST_CYCLES, SELF_TEST_ELEMENTS, sparse_max)
        .map_err(|why| Error::text(format!("ERR TESTFAILED {why}")))?;
    c.out.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding() {
        let mut buffer = hll::new();
        assert_eq!(decoded(&buffer), b"Z:16384");
        for index in [3, 4, 80] {
            assert_eq!(hll::raise(&mut buffer, index, 2, 3000), Ok(true));
        }
        assert_eq!(decoded(&buffer), b"z:3 v:2,2 Z:75 v:2,1 Z:16303");
    }

    #[test]
    fn only_hyperloglogs_are_taken() {
        for other in [&b""[..], b"12", b"HYLL", &[b'x'; 20], &[b'x'; 50]] {
            let mut value = Value::string(other);
            assert_eq!(bytes(&value), Err(INVALID));
            assert_eq!(buffer(&mut value), Err(INVALID));
        }
        let mut value = Value::string(&hll::new());
        assert_eq!(bytes(&value), Ok(&hll::new()[..]));
        assert_eq!(buffer(&mut value), Ok(&mut hll::new()));
        assert_eq!(value.encoding(), "raw");
    }
}
