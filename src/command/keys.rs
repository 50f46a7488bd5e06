//! Commands on keys of any type: deleting, renaming, moving, copying, and asking about them.
//!
//! Follows <https://redis.io/docs/latest/commands/?group=generic>; relies on [`Keyspace`] for
//! everything that happens to a key. A key's hash, and so its shard, is the same in every
//! database, so the locks that cover a key here cover it there as well.
//!
//! [`Keyspace`]: super::Keyspace

use super::error::{DB_OUT_OF_RANGE, Error, NO_SUCH_KEY, Outcome, SAME_OBJECT, SYNTAX};
use super::help::help;
use super::keyspace::Class;
use super::options::{int_within, is};
use super::spec::*;
use super::{Args, Ctx};
use crate::server::Server;
use crate::server::config::{id, table};
use crate::store::access::idle_seconds;
use crate::store::{SHARDS, entry::Entry};
use crate::types::Value;
use crate::util::random::with_thread_rng;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("copy", -3, copy)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_KEYSPACE)
        .keys(&[
            KeySpec::one(1, RO.or(ACCESS)),
            KeySpec::one(2, OW.or(UPDATE)),
        ])
        .docs(
            Group::Generic,
            "6.2.0",
            "O(N), N the number of elements; O(1) for strings",
            "Duplicates a key's value under another key",
        )
        .args("source:key destination:key#1 [DB destination-db:integer] [REPLACE]"),
    Command::new("del", -2, del)
        .flags(WRITE)
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::range(1, -1, 1, RM.or(DELETE))])
        .docs(
            Group::Generic,
            "1.0.0",
            "O(N), N the number of keys; collections add the number of their elements",
            "Removes keys and their values",
        )
        .args("key...")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
    Command::new("exists", -2, exists)
        .flags(READONLY.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::range(1, -1, 1, RO)])
        .docs(
            Group::Generic,
            "1.0.0",
            "O(N), N the number of keys",
            "Counts how many of the given keys exist",
        )
        .args("key...")
        .history(&[("3.0.3", "Takes several keys")])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
    Command::new("move", 3, move_)
        .flags(WRITE.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(1, RW.or(ACCESS).or(UPDATE))])
        .docs(
            Group::Generic,
            "1.0.0",
            "O(1)",
            "Takes a key from the current database to another one",
        )
        .args("key db:integer"),
    Command::new("object", -2, super::container)
        .docs(
            Group::Generic,
            "2.2.3",
            "Depends on the subcommand",
            "Groups the commands that look inside a value",
        )
        .subcommands(OBJECT_SUBCOMMANDS),
    Command::new("randomkey", 1, randomkey)
        .flags(READONLY)
        .acl(CAT_KEYSPACE)
        .docs(
            Group::Generic,
            "1.0.0",
            "O(1)",
            "Picks some key of the database at random",
        )
        .tips(&["request_policy:all_shards", "nondeterministic_output"])
        .locking(Locking::None),
    Command::new("rename", 3, rename)
        .flags(WRITE)
        .acl(CAT_KEYSPACE)
        .keys(&[
            KeySpec::one(1, RW.or(ACCESS).or(DELETE)),
            KeySpec::one(2, OW.or(UPDATE)),
        ])
        .docs(
            Group::Generic,
            "1.0.0",
            "O(1)",
            "Gives a key another name, replacing whatever had that name",
        )
        .args("key newkey:key#1"),
    Command::new("renamenx", 3, renamenx)
        .flags(WRITE.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[
            KeySpec::one(1, RW.or(ACCESS).or(DELETE)),
            KeySpec::one(2, OW.or(INSERT)),
        ])
        .docs(
            Group::Generic,
            "1.0.0",
            "O(1)",
            "Gives a key another name, provided that name is free",
        )
        .args("key newkey:key#1")
        .history(&[("3.2.0", "No error when both names are equal")]),
    Command::new("touch", -2, touch)
        .flags(READONLY.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::range(1, -1, 1, RO)])
        .docs(
            Group::Generic,
            "3.2.1",
            "O(N), N the number of keys",
            "Marks keys as used just now and counts those that exist",
        )
        .args("key...")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
    Command::new("type", 2, type_)
        .flags(READONLY.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(1, RO)])
        .docs(
            Group::Generic,
            "1.0.0",
            "O(1)",
            "Tells which type of value a key holds",
        )
        .args("key"),
    Command::new("unlink", -2, unlink)
        .flags(WRITE.or(FAST))
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::range(1, -1, 1, RM.or(DELETE))])
        .docs(
            Group::Generic,
            "4.0.0",
            "O(1) a key; the memory is given back in the background",
            "Removes keys at once and frees their values later",
        )
        .args("key...")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"]),
];

const OBJECT_SUBCOMMANDS: &[Command] = &[
    Command::new("encoding", 3, object_encoding)
        .flags(READONLY)
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(2, RO)])
        .docs(
            Group::Generic,
            "2.2.3",
            "O(1)",
            "Tells how a value is represented in memory",
        )
        .args("key")
        .tips(&["nondeterministic_output"]),
    Command::new("freq", 3, object_freq)
        .flags(READONLY)
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(2, RO)])
        .docs(
            Group::Generic,
            "4.0.0",
            "O(1)",
            "Tells how often a key is used, as a logarithmic counter",
        )
        .args("key")
        .tips(&["nondeterministic_output"]),
    Command::new("help", 2, object_help)
        .flags(LOADING.or(STALE))
        .acl(CAT_KEYSPACE)
        .docs(
            Group::Generic,
            "6.2.0",
            "O(1)",
            "Lists the OBJECT subcommands",
        ),
    Command::new("idletime", 3, object_idletime)
        .flags(READONLY)
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(2, RO)])
        .docs(
            Group::Generic,
            "2.2.3",
            "O(1)",
            "Tells for how many seconds a key has not been used",
        )
        .args("key")
        .tips(&["nondeterministic_output"]),
    Command::new("refcount", 3, object_refcount)
        .flags(READONLY)
        .acl(CAT_KEYSPACE)
        .keys(&[KeySpec::one(2, RO)])
        .docs(
            Group::Generic,
            "2.2.3",
            "O(1)",
            "Tells how many references to a value there are",
        )
        .args("key")
        .tips(&["nondeterministic_output"]),
];

/// Integers below this are shared objects in Redis, with a reference count of their own.
const SHARED_INTEGERS: i64 = 10_000;
/// How often RANDOMKEY draws again when it has drawn an expired key.
const RANDOM_TRIES: usize = 100;

const NO_LFU: Error = Error::new(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
     when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
const LFU: Error = Error::new(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
     switching between policies at runtime LRU and LFU data will take some time to adjust.",
);

/// `DEL key [key ...]`
fn del(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let lazy = c.server.config.bool(id::LAZYFREE_LAZY_USER_DEL);
    delete(c, args, lazy)
}

/// `UNLINK key [key ...]`
fn unlink(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    delete(c, args, true)
}

fn delete(c: &mut Ctx<'_>, args: &Args<'_>, lazy: bool) -> Outcome {
    let mut deleted = 0;
    for key in args.from(1) {
        if c.db.delete(key, lazy) {
            c.db.changed(Class::Generic, "del", key);
            deleted += 1;
        }
    }
    c.out.int(deleted);
    Ok(())
}

/// `EXISTS key [key ...]`
fn exists(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let found = args.from(1).filter(|key| c.db.look(key).is_some()).count();
    c.out.count(found);
    Ok(())
}

/// `TOUCH key [key ...]`
fn touch(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let found = args.from(1).filter(|key| c.db.read(key).is_some()).count();
    c.out.count(found);
    Ok(())
}

/// `TYPE key`
fn type_(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let name =
        c.db.look(&args[1])
            .map_or("none", |entry| entry.value.kind().name());
    c.out.simple(name);
    Ok(())
}

/// `RENAME key newkey`
fn rename(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if move_name(c, &args[1], &args[2], false)? {
        c.out.ok();
    }
    Ok(())
}

/// `RENAMENX key newkey`
fn renamenx(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let renamed = move_name(c, &args[1], &args[2], true)? && args[1] != args[2];
    c.out.int(renamed.into());
    Ok(())
}

/// Renames a key; `false` when `nx` is given and the new name is taken. Nothing happens when both
/// names are equal.
fn move_name(c: &mut Ctx<'_>, from: &[u8], to: &[u8], nx: bool) -> Outcome<bool> {
    if c.db.get_mut(from).is_none() {
        return Err(NO_SUCH_KEY);
    }
    if from == to {
        return Ok(true);
    }
    if nx && c.db.exists(to) {
        return Ok(false);
    }
    let Some(Entry { key, value }) = c.db.take_entry(from) else {
        return Err(NO_SUCH_KEY);
    };
    c.db.delete(to, c.server.config.bool(id::LAZYFREE_LAZY_SERVER_DEL));
    c.db.put(to, value, key.deadline(), Some(key.access()));
    c.db.changed(Class::Generic, "rename_from", from);
    c.db.announce(Class::Generic, "rename_to", to);
    Ok(true)
}

/// The number of a database, given at `index`.
///
/// # Errors
/// It is no 32-bit integer, or there is no such database.
fn database(server: &Server, args: &Args<'_>, index: usize) -> Outcome<usize> {
    let number = int_within(args, index, i32::MIN.into(), i32::MAX.into())?;
    let number = usize::try_from(number).map_err(|_| DB_OUT_OF_RANGE)?;
    if number < server.store.databases() {
        Ok(number)
    } else {
        Err(DB_OUT_OF_RANGE)
    }
}

/// `MOVE key db`
fn move_(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let to = database(c.server, args, 2)?;
    if to == c.db.number {
        return Err(SAME_OBJECT);
    }
    let key = &args[1];
    if c.db.get_mut(key).is_none() || c.db.within(to, |db| db.exists(key)) {
        c.out.int(0);
        return Ok(());
    }
    if let Some(entry) = c.db.take_entry(key) {
        let (deadline, access) = (entry.key.deadline(), entry.key.access());
        c.db.within(to, |db| db.put(key, entry.value, deadline, Some(access)));
        c.db.changed(Class::Generic, "move_from", key);
        c.db.within(to, |db| db.announce(Class::Generic, "move_to", key));
    }
    c.out.int(1);
    Ok(())
}

/// `COPY source destination [DB destination-db] [REPLACE]`
fn copy(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (mut to, mut replace) = (c.db.number, false);
    let mut at = 3;
    while at < args.len() {
        if is(&args[at], "REPLACE") {
            replace = true;
        } else if is(&args[at], "DB") && at + 1 < args.len() {
            at += 1;
            to = database(c.server, args, at)?;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    let (source, destination) = (&args[1], &args[2]);
    if to == c.db.number && source == destination {
        return Err(SAME_OBJECT);
    }
    let found =
        c.db.read(source)
            .map(|entry| (entry.value.duplicate(), entry.key.deadline()));
    let Some((value, deadline)) = found else {
        c.out.int(0);
        return Ok(());
    };
    let lazy = c.server.config.bool(id::LAZYFREE_LAZY_SERVER_DEL);
    let copied = c.db.within(to, |db| {
        if db.exists(destination) {
            if !replace {
                return false;
            }
            db.delete(destination, lazy);
        }
        db.put(destination, value, deadline, None);
        db.changed(Class::Generic, "copy_to", destination);
        true
    });
    c.out.int(copied.into());
    Ok(())
}

/// `RANDOMKEY`: every key is as likely as any other.
///
/// It is drawn by its rank among all keys, for which the shards are counted first; keys that come
/// or go in between make no difference worth a lock over everything.
fn randomkey(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let mut lens = Vec::with_capacity(SHARDS);
    for shard in 0..SHARDS {
        lens.push(c.db.in_shard(shard, false, |db| db.part(shard).len()));
    }
    let total: usize = lens.iter().sum();
    let mut key = None;
    for _ in 0..if total == 0 { 0 } else { RANDOM_TRIES } {
        let mut rank = with_thread_rng(|rng| rng.index(total));
        let mut shard = 0;
        while rank >= lens[shard] {
            rank -= lens[shard];
            shard += 1;
        }
        key = draw(c, shard, rank);
        if key.is_some() {
            break;
        }
    }
    // Where expired keys prevail, the first one alive will do.
    let key = key.or_else(|| {
        (0..SHARDS)
            .filter(|&shard| lens[shard] > 0)
            .find_map(|shard| first_alive(c, shard))
    });
    let key = key.or_else(|| {
        // A replica has nothing but expired keys, and cannot say that there is none.
        let shard = (0..SHARDS).find(|&shard| lens[shard] > 0)?;
        c.db.in_shard(shard, false, |db| {
            let mut all = db.part(shard).iter().filter(|_| db.keeps_expired);
            all.next().map(|entry| entry.key.bytes().to_vec())
        })
    });
    c.out.bulk_or_null(key.as_deref());
    Ok(())
}

/// The key at a position of a shard, unless it is gone; an expired one is removed afterwards.
fn draw(c: &mut Ctx<'_>, shard: usize, position: usize) -> Option<Vec<u8>> {
    c.db.in_shard(shard, false, |db| {
        let (now, part) = (db.now, db.part(shard));
        // Another command may just have removed keys.
        let key = &part.at(position.min(part.len().checked_sub(1)?)).key;
        let (bytes, expired) = (key.bytes().to_vec(), key.is_expired(now));
        if expired {
            db.met_expired(&bytes);
            return None;
        }
        Some(bytes)
    })
}

fn first_alive(c: &mut Ctx<'_>, shard: usize) -> Option<Vec<u8>> {
    c.db.in_shard(shard, false, |db| {
        let mut alive = db
            .part(shard)
            .iter()
            .filter(|entry| !entry.key.is_expired(db.now));
        alive.next().map(|entry| entry.key.bytes().to_vec())
    })
}

/// `OBJECT ENCODING key`
fn object_encoding(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    match c.db.inspect(&args[2]) {
        Some(entry) => {
            let name = encoding_name(c.server, &entry.value);
            c.out.bulk(name.as_bytes());
        }
        None => c.out.null(),
    }
    Ok(())
}

/// The name that `OBJECT ENCODING` gives a value's encoding. Small lists and sets of words are
/// listpacks, which in Redis they are since 7.2; scripts and tests that were written for 7.0 expect
/// the names that they had there, and get them unless `encoding-names` asks for those of 7.2.
pub(super) fn encoding_name(server: &Server, value: &Value) -> &'static str {
    if server.config.int(id::ENCODING_NAMES) == table::NAMES_7_0 {
        match value {
            Value::List(_) => return "quicklist",
            Value::Set(set) if set.encoding() == "listpack" => return "hashtable",
            _ => {}
        }
    }
    value.encoding()
}

/// `OBJECT FREQ key`
fn object_freq(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (policy, now) = (c.db.policy(), c.db.now);
    match c.db.inspect(&args[2]) {
        Some(_) if !policy.lfu => return Err(NO_LFU),
        Some(entry) => c.out.int(policy.decayed(entry.key.access(), now).into()),
        None => c.out.null(),
    }
    Ok(())
}

/// `OBJECT IDLETIME key`
fn object_idletime(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (policy, now) = (c.db.policy(), c.db.now);
    match c.db.inspect(&args[2]) {
        Some(_) if policy.lfu => return Err(LFU),
        Some(entry) => c.out.int(idle_seconds(entry.key.access(), now)),
        None => c.out.null(),
    }
    Ok(())
}

/// `OBJECT REFCOUNT key`
fn object_refcount(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    match c.db.inspect(&args[2]) {
        Some(entry) => c.out.int(refcount(c.server, &entry.value)),
        None => c.out.null(),
    }
    Ok(())
}

/// The reference count that Redis would report. No value is shared here, but in Redis small
/// integers are, unless the eviction policy needs bookkeeping for each of them.
pub(super) fn refcount(server: &Server, value: &Value) -> i64 {
    let evicts = server.config.memory(id::MAXMEMORY) > 0
        && server.config.int(id::MAXMEMORY_POLICY) & (table::POLICY_LRU | table::POLICY_LFU) != 0;
    match value {
        Value::Int(0..SHARED_INTEGERS) if !evicts => i32::MAX.into(),
        _ => 1,
    }
}

/// `OBJECT HELP`
fn object_help(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    help(
        c,
        args,
        &[
            "ENCODING <key>",
            "    Tell how the value of <key> is represented in memory.",
            "FREQ <key>",
            "    Tell how often <key> is used: a counter that grows with the logarithm of the",
            "    accesses and decays with time. Needs an LFU maxmemory-policy.",
            "IDLETIME <key>",
            "    Tell for how many seconds <key> has not been used. Needs a maxmemory-policy",
            "    other than LFU.",
            "REFCOUNT <key>",
            "    Tell how many references to the value of <key> there are.",
        ],
    )
}
