//! `DUMP`: a value in the form of RDB files, for `RESTORE` to bring back.
//!
//! Follows <https://redis.io/docs/latest/commands/dump/>.

use super::error::Outcome;
use super::spec::*;
use super::{Args, Ctx};
use crate::persist::rdb::encode::Encoder;
use crate::server::config::id;

/// Bytes of a value that are written in the time that other commands need for an element.
const BYTES_PER_ELEMENT: usize = 16;
/// Elements of a large value that are looked at to estimate its size.
const SAMPLES: usize = 5;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("dump", 2, dump)
    .flags(READONLY)
    .acl(CAT_KEYSPACE)
    .keys(&[KeySpec::one(1, RO.or(ACCESS))])
    .docs(
        Group::Generic,
        "2.6.0",
        "O(N), N the size of the value",
        "Returns a key's value in a form that can be brought back",
    )
    .args("key")
    .tips(&["nondeterministic_output"])];

/// `DUMP key`
fn dump(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let Some(value) = c.db.get(&args[1]) else {
        c.out.null();
        return Ok(());
    };
    let size = value.memory(SAMPLES);
    if c.pace.too_slow(size / BYTES_PER_ELEMENT) {
        return Ok(());
    }
    let encoder = Encoder {
        compress: c.server.config.bool(id::RDBCOMPRESSION),
    };
    let mut payload = Vec::with_capacity(size.min(1 << 20) + 32);
    encoder.payload(&mut payload, value);
    c.out.bulk(&payload);
    Ok(())
}
