//! `DEBUG`: looking inside, and provoking what tests need.
//!
//! `enable-debug-command` guards it. Unlike other containers it has no subcommand rows, in Redis
//! neither: each subcommand checks its own arguments.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::error::{Error, NO_SUCH_KEY, Outcome, TOO_LONG};
use super::help::{help, wrong_subcommand};
use super::options::{int, is, positive};
use super::spec::*;
use super::{Args, Ctx};
use super::{config, debug_clients, debug_digest, debug_reload, debug_restart, debug_values};
use crate::log_warning;
use crate::server::config::id;
use crate::server::{Testing, threads};
use crate::store::{Locks, SHARDS, shard_of};
use crate::types::quicklist::Limits;
use crate::types::{Value, string};
use crate::util::random::with_thread_rng;
use crate::util::{float, glob, num};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("debug", -2, debug)
    .flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(PROTECTED))
    .locking(Locking::None)
    .docs(
        Group::Server,
        "1.0.0",
        "Depends on the subcommand",
        "Groups the commands for testing and debugging the server",
    )
    .syscmd()
    .slow()];

/// What DEBUG PROTOCOL replies with as a double; nobody counts circles with it.
#[expect(clippy::approx_constant, reason = "Redis' test value")]
const DOUBLE: f64 = 3.141;
/// Patterns that DEBUG STRINGMATCH-TEST tries.
const MATCH_ROUNDS: usize = 100_000;

const WRONG_PROTOCOL_TYPE: Error = Error::new(
    "ERR Wrong protocol type name. Please use one of the following: \
     string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
);
const NOT_AN_SDS: Error = Error::new("ERR Not an sds encoded string.");
const NO_THRESHOLD: Error =
    Error::new("ERR argument must be a memory value bigger than 1 and smaller than 4gb");
const NO_SUCH_THREAD: Error = Error::new("ERR No such thread");
const RESP3_ONLY: Error = Error::new("ERR RESP2 is not supported by this command");

/// `DEBUG subcommand [arg ...]`
fn debug(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let name = args[1].to_ascii_lowercase();
    match (&name[..], args.len()) {
        (b"aof-flush-sleep", 3) => aof_flush_sleep(c, args),
        (b"change-repl-id", 2) => change_repl_id(c),
        (b"client-eviction", 2) => debug_clients::client_eviction(c),
        (b"config-rewrite-force-all", 2) => rewrite_all(c),
        (b"crash-and-recover", _) => debug_restart::restart(c, args, false),
        (b"digest", 2) => debug_digest::digest(c),
        (b"digest-value", 2..) => debug_digest::digest_value(c, args),
        (b"error", 3) => error(c, args),
        (b"help", 2) => help(c, args, HELP),
        (b"htstats", 3) => htstats(c, args),
        (b"htstats-key", 3) => debug_values::htstats_key(c, args),
        (b"loadaof", 2) => debug_reload::load_aof(c),
        (b"log", 3) => log(c, args),
        (b"listpack", 3) => debug_values::show_listpack(c, args),
        (b"object", 3) => debug_values::object(c, args, false),
        (b"object", 4) if is(&args[3], "FAST") => debug_values::object(c, args, true),
        (b"pause-cron", 3) => pause_cron(c, args),
        (b"segfault", _) => crate::sys::crash(),
        (b"assert", _) => panic!("DEBUG ASSERT called by client {}", c.session.client.id),
        (b"panic", _) => panic!("DEBUG PANIC called by client {}", c.session.client.id),
        (b"panic-thread", 3) => panic_thread(c, args),
        (b"populate", 3..=5) => populate(c, args),
        (b"protocol", 3) => protocol(c, args),
        (b"reload", _) => debug_reload::reload(c, args),
        (b"replicate", 3..) => replicate(c, args),
        (b"restart", _) => debug_restart::restart(c, args, true),
        (b"replybuffer", 4) => replybuffer(c, args),
        (b"quicklist-packed-threshold", 3) => quicklist_packed_threshold(c, args),
        (b"sdslen", 3) => sdslen(c, args),
        (b"set-active-expire", 3) => set_active_expire(c, args),
        (b"set-skip-checksum-validation", 3) => skip_checksum(c, args),
        (b"sleep", 3) => sleep(c, args),
        (b"stringmatch-len", 4) => stringmatch_len(c, args),
        (b"stringmatch-test", 2) => stringmatch_test(c),
        _ => Err(wrong_subcommand(args)),
    }
}

const HELP: &[&str] = &[
    "AOF-FLUSH-SLEEP <microseconds>",
    "    Wait before the append only file is written.",
    "ASSERT",
    "    Panic as PANIC does.",
    "CHANGE-REPL-ID",
    "    Give the replication history another name, which no replica knows.",
    "CLIENT-EVICTION",
    "    Show how many clients of about the same size there are (maxmemory-clients).",
    "CONFIG-REWRITE-FORCE-ALL",
    "    Rewrite the configuration file with a line for every option.",
    "CRASH-AND-RECOVER [<milliseconds>]",
    "    Start the program anew, without bringing anything to disk, after <milliseconds>",
    "    (0 by default).",
    "DIGEST",
    "    Reply with 40 hexadecimal digits that depend on everything the databases hold.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Reply with such digits for the value of each <key>.",
    "ERROR <message>",
    "    Reply with <message> as an error.",
    "HTSTATS <dbid>",
    "    Show how the keys of a database are spread over the shards, and the memory of",
    "    its tables.",
    "HTSTATS-KEY <key>",
    "    Show the number of elements and the memory of the hash table that is the value of",
    "    <key>.",
    "LISTPACK <key>",
    "    Write the entries of the listpack that is the value of <key> to the log.",
    "LOADAOF",
    "    Write the append only files out, empty the databases, and load them again.",
    "LOG <message>",
    "    Write <message> to the log at warning level.",
    "OBJECT <key> [FAST]",
    "    Show how <key> and its value are kept. FAST leaves the serialized length out.",
    "PANIC",
    "    Panic while carrying out the command. Ends this connection, not the server.",
    "PANIC-THREAD <name>",
    "    Have a thread of the server panic when it next does something: aof, housekeeping,",
    "    lazyfree, link, listener, replica, save or sweeper.",
    "PAUSE-CRON <0|1>",
    "    Do nothing that is due periodically: no save point, no expiry, no timeout, and no",
    "    end that a signal asks for.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create the strings <prefix>:0 and so on, where they do not exist. The prefix is",
    "    'key' by default; values get padded or cut to <size> bytes, if given.",
    "PROTOCOL <type>",
    "    Reply with a value of a type: string, integer, double, bignum, null, array, set,",
    "    map, attrib, push, verbatim, true or false.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Give list elements of <size> bytes and more a node of their own. 0 restores the",
    "    default.",
    "RELOAD [option ...]",
    "    Save the snapshot file, empty the databases, and load it again. Options are:",
    "    * MERGE",
    "      Let keys that exist be replaced by those in the file.",
    "    * NOFLUSH",
    "      Do not empty the databases.",
    "    * NOSAVE",
    "      Do not save first: load the file that is there.",
    "REPLICATE <word> [<word> ...]",
    "    Send a command to replicas only, so that they come to differ.",
    "REPLYBUFFER PEAK-RESET-TIME <NEVER|RESET|milliseconds>",
    "    Set for how long the most that a client's reply buffer has held decides on its size.",
    "REPLYBUFFER RESIZING <0|1>",
    "    Leave reply buffers as large as they are, or fit them to what they hold.",
    "RESTART [<milliseconds>]",
    "    Start the program anew, with the configuration and the data set on disk, after",
    "    <milliseconds> (0 by default).",
    "SDSLEN <key>",
    "    Show length, spare room and memory of <key> and its string value.",
    "SEGFAULT",
    "    End the server by a fault.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Turn off or on the sweeper, which removes expired keys that nobody uses.",
    "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
    "    Let RESTORE take payloads with a wrong checksum, or not.",
    "SLEEP <seconds>",
    "    Hold up every command that uses keys, and replication, for <seconds>, which may be a",
    "    fraction.",
    "STRINGMATCH-LEN <pattern> <string>",
    "    Show whether a glob-style pattern matches a string: 1 or 0.",
    "STRINGMATCH-TEST",
    "    Try random patterns on random strings.",
];

/// `DEBUG CONFIG-REWRITE-FORCE-ALL`
fn rewrite_all(c: &mut Ctx<'_>) -> Outcome {
    config::rewrite_file(c.server, true)?
        .map_err(|reason| Error::text(format!("ERR CONFIG-REWRITE-FORCE-ALL failed: {reason}")))?;
    c.out.ok();
    Ok(())
}

/// `DEBUG ERROR message`. The reply is an error, but the command has not failed, and so the
/// statistics do not count one.
fn error(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    c.out.error(&args[2]);
    Ok(())
}

/// `DEBUG LOG message`
fn log(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    log_warning!("DEBUG LOG: {}", String::from_utf8_lossy(&args[2]));
    c.out.ok();
    Ok(())
}

/// `DEBUG CHANGE-REPL-ID`
fn change_repl_id(c: &mut Ctx<'_>) -> Outcome {
    log_warning!("Changing replication IDs after receiving DEBUG change-repl-id");
    c.server.replication.state().rename();
    c.out.ok();
    Ok(())
}

/// `DEBUG REPLICATE word [word ...]`
fn replicate(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let words: Vec<&[u8]> = args.from(2).collect();
    c.server.log.say(words.into_iter());
    c.out.ok();
    Ok(())
}

/// `DEBUG REPLYBUFFER PEAK-RESET-TIME NEVER | RESET | milliseconds`, `DEBUG REPLYBUFFER RESIZING 0|1`
fn replybuffer(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let testing = &c.server.testing;
    if is(&args[2], "peak-reset-time") {
        let millis = match &args[3] {
            never if is(never, "never") => -1,
            reset if is(reset, "reset") => Testing::REPLY_PEAK_MS,
            _ => int(args, 3)?,
        };
        testing.reply_peak_ms.store(millis, Ordering::Relaxed);
    } else if is(&args[2], "resizing") {
        let on = num::parse_i64(&args[3]).unwrap_or(0) != 0;
        testing.reply_resizing.store(on, Ordering::Relaxed);
    } else {
        return Err(wrong_subcommand(args));
    }
    c.out.ok();
    Ok(())
}

/// `DEBUG SLEEP seconds`: in Redis nothing moves meanwhile. So all shards are held, and nothing is done
/// that is due periodically, nor about replication.
fn sleep(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    // Redis reads a number as C's strtod does, for which other text is 0.
    let seconds = float::parse_f64_bound(&args[2]).unwrap_or(0.0).max(0.0);
    let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let held = !c.db.locks.holds_none();
    if !held {
        c.db.locks = Locks::all(&c.server.store, true);
    }
    let still = &c.server.testing.still;
    let still = still.write().unwrap_or_else(PoisonError::into_inner);
    std::thread::sleep(time);
    drop(still);
    if !held {
        c.db.locks = Locks::none();
    }
    c.out.ok();
    Ok(())
}

/// `DEBUG SET-ACTIVE-EXPIRE 0|1`
fn set_active_expire(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    // Text that is no number turns it off, as C's atoi would.
    let on = num::parse_i64(&args[2]).unwrap_or(0) != 0;
    c.server.active_expire.store(on, Ordering::Relaxed);
    c.out.ok();
    Ok(())
}

/// `DEBUG AOF-FLUSH-SLEEP microseconds`
fn aof_flush_sleep(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    // As C's atoi reads it.
    let micros = num::parse_i64(&args[2]).unwrap_or(0).max(0);
    let delay = &c.server.testing.aof_delay;
    delay.store(micros as u64, Ordering::Relaxed);
    c.out.ok();
    Ok(())
}

/// `DEBUG PANIC-THREAD name`
fn panic_thread(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let name = String::from_utf8_lossy(&args[2]).to_ascii_lowercase();
    if !threads::doom(&name) {
        return Err(NO_SUCH_THREAD);
    }
    c.out.ok();
    Ok(())
}

/// `DEBUG PAUSE-CRON 0|1`
fn pause_cron(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let paused = num::parse_i64(&args[2]).unwrap_or(0) != 0;
    c.server.testing.no_cron.store(paused, Ordering::Relaxed);
    c.out.ok();
    Ok(())
}

/// `DEBUG SET-SKIP-CHECKSUM-VALIDATION 0|1`
fn skip_checksum(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let skipped = num::parse_i64(&args[2]).unwrap_or(0) != 0;
    c.server
        .testing
        .no_checksum
        .store(skipped, Ordering::Relaxed);
    c.out.ok();
    Ok(())
}

/// `DEBUG QUICKLIST-PACKED-THRESHOLD size`: for elements that are added from now on.
fn quicklist_packed_threshold(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let bytes = std::str::from_utf8(&args[2])
        .ok()
        .and_then(num::parse_memory);
    let threshold = bytes
        .and_then(Limits::packed_threshold_from)
        .ok_or(NO_THRESHOLD)?;
    c.server
        .packed_threshold
        .store(threshold, Ordering::Relaxed);
    c.out.ok();
    Ok(())
}

/// `DEBUG STRINGMATCH-LEN pattern string`
fn stringmatch_len(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    c.out
        .int(i64::from(glob::matches(&args[2], &args[3], false)));
    Ok(())
}

/// `DEBUG STRINGMATCH-TEST`: the outcome is that nothing panics.
fn stringmatch_test(c: &mut Ctx<'_>) -> Outcome {
    let mut matches = 0;
    with_thread_rng(|rng| {
        for _ in 0..MATCH_ROUNDS {
            let mut text = |alphabet: &[u8]| -> Vec<u8> {
                let len = rng.index(32) + 1;
                (0..len)
                    .map(|_| alphabet[rng.index(alphabet.len())])
                    .collect()
            };
            let (pattern, text) = (text(b"ab*?[]^-\\"), text(b"abab[]-"));
            matches += usize::from(glob::matches(&pattern, &text, false));
        }
    });
    c.out.simple(&format!(
        "{MATCH_ROUNDS} patterns tried, {matches} matched: test passed"
    ));
    Ok(())
}

/// `DEBUG POPULATE count [prefix] [size]`
fn populate(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let count = positive(args, 2)?;
    let prefix = args.get(3).unwrap_or(b"key");
    let size = if args.len() > 4 {
        positive(args, 4)?
    } else {
        0
    };
    if size > c.server.config.int(id::PROTO_MAX_BULK_LEN) {
        return Err(TOO_LONG);
    }
    let (mut key, mut digits) = (Vec::new(), [0; 20]);
    for number in 0..count {
        let number = num::fmt_i64(&mut digits, number);
        key.clear();
        key.extend_from_slice(prefix);
        key.push(b':');
        key.extend_from_slice(number);
        // The buffer of the key is used again and again, so its hash must not be remembered.
        let shard = shard_of(c.server.store.hash(&key));
        c.db.forget_hash();
        c.db.in_shard(shard, true, |db| {
            if !db.exists(&key) {
                let mut value = [b"value:", number].concat();
                if size > 0 {
                    value.resize(size as usize, 0);
                }
                db.set(&key, Value::plain(&value), false);
            }
        });
    }
    c.out.ok();
    Ok(())
}

/// `DEBUG SDSLEN key`
fn sdslen(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = &args[2];
    let hash = c.server.store.hash(key);
    let text = c.db.in_shard(shard_of(hash), false, |db| {
        let entry = db.part(shard_of(hash)).get(hash, key).ok_or(NO_SUCH_KEY)?;
        let room = match &entry.value {
            Value::Inline { .. } | Value::Str(_) => 0,
            Value::Raw(bytes) => bytes.capacity() - bytes.len(),
            _ => return Err(NOT_AN_SDS),
        };
        let len = string::len(&entry.value).ok_or(NOT_AN_SDS)?;
        Ok(format!(
            "key_sds_len:{}, key_sds_avail:0, key_zmalloc: {}, val_sds_len:{len}, val_sds_avail:{room}, \
             val_zmalloc: {}",
            key.len(),
            entry.key.heap_size(),
            entry.value.heap_size(),
        ))
    })?;
    c.out.simple(&text);
    Ok(())
}

/// `DEBUG HTSTATS dbid`
fn htstats(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let number = usize::try_from(int(args, 2)?).ok();
    let known = number.filter(|&number| number < c.server.store.databases());
    let number = known.ok_or(Error::new("ERR Out of range database"))?;
    let (mut lens, mut volatile, mut tables, mut wheels) = (Vec::new(), 0, 0, 0);
    c.db.within(number, |db| {
        for shard in 0..SHARDS {
            db.in_shard(shard, false, |db| {
                let part = db.part(shard);
                lens.push(part.len());
                volatile += part.volatile();
                tables += part.memory() - part.wheel_memory();
                wheels += part.wheel_memory();
            });
        }
    });
    let keys: usize = lens.iter().sum();
    let used = lens.iter().filter(|&&len| len > 0).count();
    let (least, most) = (
        lens.iter().min().unwrap_or(&0),
        lens.iter().max().unwrap_or(&0),
    );
    let text = format!(
        "[Dictionary HT]\nnumber of elements: {keys}\nshards: {SHARDS}\nshards in use: {used}\n\
         elements of the smallest shard: {least}\nelements of the largest shard: {most}\n\
         table bytes: {tables}\n[Expires HT]\nnumber of elements: {volatile}\ntable bytes: {wheels}\n"
    );
    c.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// `DEBUG PROTOCOL type`
fn protocol(c: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let kind = args[2].to_ascii_lowercase();
    let out = &mut *c.out;
    match &kind[..] {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double(DOUBLE),
        b"bignum" => out.big_number("1234567999999999999999999999999999999"),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|n| out.int(n));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|n| out.int(n));
        }
        b"map" => {
            out.map(3);
            for n in 0..3 {
                out.int(n);
                out.bool(n == 1);
            }
        }
        b"attrib" => {
            if out.is_resp3() {
                out.attribute(1);
                out.bulk(b"key-popularity");
                out.array(2);
                out.bulk(b"key:123");
                out.int(90);
            }
            // An attribute is no reply; what it belongs to is.
            out.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if !out.is_resp3() {
                return Err(RESP3_ONLY);
            }
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.int(42);
            // Nor is a push; the client still waits for one.
            out.bulk(b"Some real reply following the push reply");
        }
        b"true" => out.bool(true),
        b"false" => out.bool(false),
        b"verbatim" => out.verbatim("txt", b"This is a verbatim\nstring"),
        _ => return Err(WRONG_PROTOCOL_TYPE),
    }
    Ok(())
}
