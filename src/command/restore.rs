//! `RESTORE`: making a key of a payload that `DUMP` has made.
//!
//! A payload is a value as RDB files hold it with the type in front, and behind it the version of
//! the format in two bytes and the checksum of everything before in eight.
//! <https://redis.io/docs/latest/commands/restore/>

use std::sync::atomic::Ordering;

use super::error::{Error, Outcome, SYNTAX};
use super::keyspace::Class;
use super::options::{int, is};
use super::spec::*;
use super::{Args, Ctx, hashes, lists, sets, zsets};
use crate::log_warning;
use crate::persist::crc64;
use crate::persist::rdb::{READABLE, decode, input::Input};
use crate::server::Server;
use crate::server::config::id;
use crate::store::access::Policy;
use crate::types::Value;
use crate::util::num::IntBuf;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("restore", -4, restore)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_KEYSPACE.or(CAT_DANGEROUS))
        .keys(&[KeySpec::one(1, OW.or(UPDATE))])
        .docs(
            Group::Generic,
            "2.6.0",
            COMPLEXITY,
            "Makes a key of what DUMP has replied",
        )
        .args(ARGS)
        .history(HISTORY),
    // What one node of a cluster sends another that is taking the key's slot over.
    Command::new("restore-asking", -4, restore)
        .flags(WRITE.or(DENYOOM).or(ASKING))
        .acl(CAT_KEYSPACE.or(CAT_DANGEROUS))
        .keys(&[KeySpec::one(1, OW.or(UPDATE))])
        .docs(
            Group::Server,
            "3.0.0",
            COMPLEXITY,
            "Does what RESTORE does, for nodes of a cluster among themselves",
        )
        .args(ARGS)
        .history(HISTORY)
        .syscmd(),
];

const COMPLEXITY: &str =
    "O(N) for strings and packed values, N the size; O(N*log(N)) for large sorted sets";
const ARGS: &str = "key ttl:integer serialized-value [REPLACE@3.0.0] [ABSTTL@5.0.0] \
                    [IDLETIME seconds:integer@5.0.0] [FREQ frequency:integer@5.0.0]";
const HISTORY: &[(&str, &str)] = &[
    ("3.0.0", "REPLACE came"),
    ("5.0.0", "ABSTTL came"),
    ("5.0.0", "IDLETIME and FREQ came"),
];

/// Version and checksum at the end of a payload.
const FOOTER: usize = 2 + CHECKSUM;
/// The checksum.
const CHECKSUM: usize = 8;
/// Building a value takes about as long as so many bytes of payload for each element.
const BYTES_AN_ELEMENT: usize = 32;

const BUSY_KEY: Error = Error::new("BUSYKEY Target key name already exists.");
const NEGATIVE_TTL: Error = Error::new("ERR Invalid TTL value, must be >= 0");
const NEGATIVE_IDLETIME: Error = Error::new("ERR Invalid IDLETIME value, must be >= 0");
const FREQ_RANGE: Error = Error::new("ERR Invalid FREQ value, must be >= 0 and <= 255");
const WRONG_PAYLOAD: Error = Error::new("ERR DUMP payload version or checksum are wrong");
const BAD_FORMAT: Error = Error::new("ERR Bad data format");

/// The limits of all types that the configuration sets.
pub fn limits(server: &Server) -> decode::Limits {
    decode::Limits {
        list: lists::limits(server),
        set: sets::limits(server),
        zset: zsets::limits(server),
        hash: hashes::limits(server),
    }
}

/// What the options say.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle: Option<i64>,
    freq: Option<u8>,
}

impl Options {
    fn read(args: &Args<'_>) -> Outcome<Options> {
        let mut options = Options::default();
        let mut at = 4;
        while at < args.len() {
            let (word, has_value) = (&args[at], at + 1 < args.len());
            if is(word, "REPLACE") {
                options.replace = true;
            } else if is(word, "ABSTTL") {
                options.absolute = true;
            } else if is(word, "IDLETIME") && has_value && options.freq.is_none() {
                at += 1;
                let idle = int(args, at)?;
                if idle < 0 {
                    return Err(NEGATIVE_IDLETIME);
                }
                options.idle = Some(idle);
            } else if is(word, "FREQ") && has_value && options.idle.is_none() {
                at += 1;
                let freq = u8::try_from(int(args, at)?).map_err(|_| FREQ_RANGE)?;
                options.freq = Some(freq);
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }

    /// The key's access bookkeeping, where the options tell that which the policy keeps.
    fn access(&self, policy: Policy, now: i64) -> Option<u32> {
        if policy.lfu {
            self.freq.map(|freq| Policy::used_often(now, freq))
        } else {
            self.idle.map(|idle| Policy::idle_since(now, idle))
        }
    }
}

/// `RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]`
fn restore(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let options = Options::read(args)?;
    if c.pace.too_slow(args[3].len() / BYTES_AN_ELEMENT) {
        return Ok(());
    }
    let key = &args[1];
    if !options.replace && c.db.get_mut(key).is_some() {
        return Err(BUSY_KEY);
    }
    let ttl = int(args, 2)?;
    if ttl < 0 {
        return Err(NEGATIVE_TTL);
    }
    let value = read(c.server, &args[3])?;
    let lazy = c.server.config.bool(id::LAZYFREE_LAZY_SERVER_DEL);
    let deleted = options.replace && c.db.delete(key, lazy);
    // A time past the range is one in the past, as Redis' sum is.
    let deadline = match ttl {
        0 => None,
        ttl if options.absolute => Some(ttl),
        ttl => Some(ttl.wrapping_add(c.db.now)),
    };
    if deadline.is_some_and(|deadline| deadline <= c.db.past()) {
        if deleted {
            c.db.changed(Class::Generic, "del", key);
            c.db.deletion_instead(key, lazy);
        }
        c.server.lazyfree.free_value(value, true);
        c.out.ok();
        return Ok(());
    }
    let access = options.access(c.db.policy(), c.db.now);
    c.db.put(key, value, deadline, access);
    c.db.changed(Class::Generic, "restore", key);
    if let Some(deadline) = deadline.filter(|_| c.db.logs() && !options.absolute) {
        let mut digits = IntBuf::new();
        let mut words: Vec<&[u8]> = args.from(0).collect();
        words[2] = digits.i64(deadline);
        words.push(b"ABSTTL");
        c.db.instead(&words);
    }
    c.out.ok();
    Ok(())
}

/// The value of a payload.
fn read(server: &Server, payload: &[u8]) -> Outcome<Value> {
    let summed = !server.testing.no_checksum.load(Ordering::Relaxed);
    let body = check(payload, summed).ok_or(WRONG_PAYLOAD)?;
    let mut input = Input::new(body);
    // As in Redis, what may be behind the value is not looked at.
    let value = input
        .byte()
        .and_then(|tag| decode::value(tag, &mut input, &limits(server), true));
    value.map_err(|error| {
        log_warning!("Bad data format in a payload of RESTORE: {error}");
        BAD_FORMAT
    })
}

/// Checks version and, if it matters, checksum; what comes before them.
fn check(payload: &[u8], sum: bool) -> Option<&[u8]> {
    let body = payload.len().checked_sub(FOOTER)?;
    let (summed, checksum) = payload.split_last_chunk::<CHECKSUM>()?;
    let version = summed[body..].first_chunk()?;
    let known = u16::from_le_bytes(*version) <= READABLE;
    let right = !sum || crc64::checksum(summed) == u64::from_le_bytes(*checksum);
    (known && right).then_some(&payload[..body])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body with version and checksum.
    fn payload(body: &[u8], version: u16) -> Vec<u8> {
        let mut payload = [body, &version.to_le_bytes()].concat();
        payload.extend(crc64::checksum(&payload).to_le_bytes());
        payload
    }

    #[test]
    fn footers_are_checked() {
        for version in 0..=READABLE {
            assert_eq!(check(&payload(b"body", version), true), Some(&b"body"[..]));
        }
        assert_eq!(check(&payload(b"", 10), true), Some(&b""[..]));
        assert_eq!(check(&payload(b"body", READABLE + 1), true), None);
        let good = payload(b"body", 10);
        for len in 0..good.len() {
            assert_eq!(check(&good[..len], true), None, "{len} bytes");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(check(&bad, true), None, "byte {at}");
        }
        // A checksum of zero is no way around it.
        let mut bad = good.clone();
        bad[6..].fill(0);
        assert_eq!(check(&bad, true), None);
    }

    #[test]
    fn a_payload_of_redis() {
        let payload = b"\x00\xc0\x05\x0a\x00\x63\x2f\x5f\x66\x83\x2f\xb3\x51";
        assert_eq!(check(payload, true), Some(&b"\x00\xc0\x05"[..]));
    }
}
