//! Compares all that two servers hold: keys, types, encodings, values and expiry times.
//!
//! Encodings and digits that Redis 7.2 changed are made equal here, so that the rest stays strict.

use std::collections::BTreeMap;

use crate::server::Pair;
use crate::wire::{Connection, Outcome, Value, encode, show};

/// How far expiry times may lie apart, in milliseconds: the servers get relative ones at slightly
/// different moments.
const TOLERANCE: i64 = 10_000;

/// One place where the key spaces differ, both sides printable.
pub struct Difference {
    /// What redis-server holds.
    pub reference: String,
    /// What stdis holds.
    pub subject: String,
}

/// Everything about one key.
#[derive(PartialEq, Debug)]
struct Entry {
    kind: String,
    encoding: String,
    value: Vec<Vec<u8>>,
    expires: i64,
}

impl Entry {
    fn agrees(&self, other: &Entry) -> bool {
        let near = self.expires == other.expires
            || (self.expires > 0
                && other.expires > 0
                && (self.expires - other.expires).abs() <= TOLERANCE);
        near && (&self.kind, &self.encoding, &self.value)
            == (&other.kind, &other.encoding, &other.value)
    }

    fn show(&self) -> String {
        let parts: Vec<String> = self.value.iter().take(50).map(|part| show(part)).collect();
        format!(
            "{} {} expires {} {}",
            self.kind,
            self.encoding,
            self.expires,
            parts.join(" ")
        )
    }
}

/// A key: the database's number and the name.
type Key = (usize, Vec<u8>);

/// Where the key spaces of the two servers differ, at most 20 keys.
pub fn differences(pair: &Pair) -> Vec<Difference> {
    let describe = |key: &Key, entry: Option<&Entry>| {
        let entry = entry.map_or("(no such key)".to_string(), Entry::show);
        format!("db {} {}: {entry}", key.0, show(&key.1))
    };
    let failed = |why: String, side: &str| {
        vec![Difference {
            reference: format!("{side}: {why}"),
            subject: String::new(),
        }]
    };
    let reference = match dump(pair.reference.address) {
        Ok(entries) => entries,
        Err(why) => return failed(why, "redis-server"),
    };
    let subject = match dump(pair.subject.address) {
        Ok(entries) => entries,
        Err(why) => return failed(why, "stdis"),
    };
    let digests = (reference.digest, subject.digest);
    let (reference, subject) = (reference.entries, subject.entries);
    let mut keys: Vec<&Key> = reference.keys().chain(subject.keys()).collect();
    keys.sort();
    keys.dedup();
    let mut differences: Vec<Difference> = keys
        .into_iter()
        .map(|key| (key, reference.get(key), subject.get(key)))
        .filter(|(_, left, right)| match (left, right) {
            (Some(left), Some(right)) => !left.agrees(right),
            _ => true,
        })
        .take(20)
        .map(|(key, left, right)| Difference {
            reference: describe(key, left),
            subject: describe(key, right),
        })
        .collect();
    // Where the content agrees, so must the digests that the servers make of it themselves.
    if let (true, (Some(left), Some(right))) = (differences.is_empty(), digests)
        && left != right
    {
        differences.push(Difference {
            reference: format!("DEBUG DIGEST {}", show(&left)),
            subject: format!("DEBUG DIGEST {}", show(&right)),
        });
    }
    differences
}

/// All that one server holds.
struct Dump {
    entries: BTreeMap<Key, Entry>,
    /// Its own digest of that, unless DEBUG is refused or it holds expired keys: those are in the
    /// digest, and when they are removed is up to each server.
    digest: Option<Vec<u8>>,
}

/// Reads the whole key space of one server.
fn dump(address: std::net::SocketAddr) -> Result<Dump, String> {
    let mut connection = Connection::open(address, 2).map_err(|why| why.to_string())?;
    let mut entries = BTreeMap::new();
    let mut expired = false;
    for db in 0.. {
        let selected = value(connection.call(&["SELECT", &db.to_string()]))?;
        if matches!(selected, Value::Leaf(b'-', _)) {
            if db == 0 {
                return Err(format!("SELECT 0 failed: {selected:?}"));
            }
            break;
        }
        let keys = value(connection.call(&["KEYS", "*"]))?.elements();
        let size = value(connection.call(&["DBSIZE"]))?.content();
        expired |= size != keys.len().to_string().into_bytes();
        for key in keys.into_iter().map(Value::content) {
            let entry = read(&mut connection, &key)?;
            entries.insert((db, key), entry);
        }
    }
    let digest = match value(connection.call(&["DEBUG", "DIGEST"]))? {
        Value::Leaf(b'+', digest) if !expired => Some(digest),
        _ => None,
    };
    Ok(Dump { entries, digest })
}

fn value(outcome: Outcome) -> Result<Value, String> {
    match outcome {
        Outcome::Reply(bytes) => Ok(Value::parse(&bytes)),
        other => Err(other.show()),
    }
}

/// Reads all about one key. The key may expire in between, which shows as type `none`.
fn read(connection: &mut Connection, key: &[u8]) -> Result<Entry, String> {
    let mut batch = encode(&[b"TYPE", key]);
    batch.extend(encode(&[&b"OBJECT"[..], b"ENCODING", key]));
    batch.extend(encode(&[b"PEXPIRETIME", key]));
    connection.send(&batch);
    let mut text = || -> Result<String, String> {
        let content = value(connection.read_reply())?.content();
        Ok(String::from_utf8_lossy(&content).into_owned())
    };
    let (kind, encoding, expires) = (text()?, text()?, text()?);
    let encoding = match (&kind[..], &encoding[..]) {
        // 7.2 packs short lists and short sets of strings; 7.0 does not.
        ("list", "listpack" | "quicklist") => "listpack or quicklist".to_string(),
        ("set", "listpack" | "hashtable") => "listpack or hashtable".to_string(),
        _ => encoding,
    };
    let command: Vec<&[u8]> = match &kind[..] {
        "string" => vec![b"GET", key],
        "list" => vec![b"LRANGE", key, b"0", b"-1"],
        "hash" => vec![b"HGETALL", key],
        "set" => vec![b"SMEMBERS", key],
        "zset" => vec![b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
        "stream" => vec![b"XRANGE", key, b"-", b"+"],
        _ => vec![b"EXISTS", key],
    };
    let content = value(connection.call(&command))?;
    let value = match &kind[..] {
        "hash" => sorted_pairs(content),
        "set" => sorted(content),
        "zset" => scores(content),
        _ => flat(content),
    };
    let expires = expires
        .parse()
        .map_err(|_| format!("PEXPIRETIME: {expires}"))?;
    Ok(Entry {
        kind,
        encoding,
        value,
        expires,
    })
}

/// All leaves in their order.
fn flat(value: Value) -> Vec<Vec<u8>> {
    match value {
        Value::Null(_) => vec![b"(null)".to_vec()],
        Value::Leaf(_, content) => vec![content],
        Value::List(_, elements) => elements.into_iter().flat_map(flat).collect(),
        Value::Map(_, pairs) => pairs
            .into_iter()
            .flat_map(|(key, value)| [flat(key), flat(value)].concat())
            .collect(),
    }
}

fn sorted(value: Value) -> Vec<Vec<u8>> {
    let mut leaves = flat(value);
    leaves.sort();
    leaves
}

fn sorted_pairs(value: Value) -> Vec<Vec<u8>> {
    let leaves = flat(value);
    let mut pairs: Vec<&[Vec<u8>]> = leaves.chunks(2).collect();
    pairs.sort();
    pairs.concat()
}

/// Members with their scores in one spelling: 7.0 writes 17 digits, 7.2 as few as it can.
fn scores(value: Value) -> Vec<Vec<u8>> {
    let mut leaves = flat(value);
    for pair in leaves.chunks_mut(2) {
        let score = String::from_utf8_lossy(&pair[1]).parse::<f64>();
        if let Ok(score) = score {
            pair[1] = format!("{score:?}").into_bytes();
        }
    }
    leaves
}
