//! `MIGRATE`: moves keys to another server, each with `RESTORE` there and `DEL` here.
//!
//! The shards of the keys stay locked from the first look-up until the last key is deleted, so that
//! nobody changes a key that is on its way, or sees it in both places or in none. Who asks for a key
//! of those shards waits as long; a target that does not answer ends that by the command's timeout.
//! So it is when the target is this very server, which cannot store a key in a shard that the
//! command holds. Redis makes every client wait in both cases.
//! <https://redis.io/docs/latest/commands/migrate/>

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::options::{int, is};
use super::spec::*;
use super::{Args, Ctx, Error, Outcome, error::SYNTAX, keyspace::Class};
use crate::persist::rdb::encode::Encoder;
use crate::server::config::id;
use crate::server::targets::{Target, is_timeout};
use crate::util::num::write_i64;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("migrate", -6, migrate)
    .flags(WRITE.or(MOVABLEKEYS))
    .acl(CAT_KEYSPACE.or(CAT_DANGEROUS))
    .keys(&[
        KeySpec::one(3, RW.or(ACCESS).or(DELETE)),
        KeySpec::after(
            "KEYS",
            -2,
            Find::Range {
                last: -1,
                step: 1,
                limit: 0,
            },
            RW.or(ACCESS).or(DELETE).or(INCOMPLETE),
        ),
    ])
    .find_keys(find_keys)
    .slow()
    .docs(
        Group::Generic,
        "2.6.0",
        "O(N), N the size of the values: each is written, sent, and stored by the target",
        "Moves keys to another server",
    )
    .args(
        "host port:integer key_or_empty_string:(key | empty_string:\"\") \
         destination-db:integer timeout:integer [COPY@3.0.0] [REPLACE@3.0.0] \
         [authentication:([AUTH password@4.0.7] | \
         [AUTH2 username_password:{username password}@6.0.0])] \
         [KEYS key#1...@3.0.6]",
    )
    .history(&[
        ("3.0.0", "Options COPY and REPLACE"),
        ("3.0.6", "Option KEYS"),
        ("4.0.7", "Option AUTH"),
        ("6.0.0", "Option AUTH2"),
    ])
    .tips(&["nondeterministic_output"])];

const KEY_AND_KEYS: Error = Error::new(
    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
);
const NOT_CONNECTED: Error = Error::new("IOERR error or timeout connecting to the client");
const NOT_WRITTEN: Error = Error::new("IOERR error or timeout writing to target instance");
const NOT_READ: Error = Error::new("IOERR error or timeout reading to target instance");

/// What stands in for no timeout, or one below zero.
const DEFAULT_TIMEOUT: i64 = 1000;
/// Requests are put together up to this size before they are sent.
const CHUNK: usize = 64 << 10;
/// As much of an error reply as Redis passes on.
const MAX_ERROR: usize = 1023;

/// The arguments behind the timeout.
#[derive(Default)]
struct Options {
    copy: bool,
    replace: bool,
    /// Where the user's name is.
    user: Option<usize>,
    /// Where the password is.
    password: Option<usize>,
    /// Where the word KEYS is.
    keys: Option<usize>,
    /// The first thing that is wrong with them.
    error: Option<Error>,
}

impl Options {
    fn read(args: &Args<'_>) -> Options {
        let mut options = Options::default();
        let mut at = 6;
        while at < args.len() && options.keys.is_none() {
            let (word, left) = (&args[at], args.len() - 1 - at);
            if is(word, "COPY") {
                options.copy = true;
            } else if is(word, "REPLACE") {
                options.replace = true;
            } else if is(word, "AUTH") && left >= 1 {
                options.password = Some(at + 1);
                at += 1;
            } else if is(word, "AUTH2") && left >= 2 {
                (options.user, options.password) = (Some(at + 1), Some(at + 2));
                at += 2;
            } else if is(word, "KEYS") {
                options.keys = Some(at);
                if !args[3].is_empty() {
                    options.error.get_or_insert(KEY_AND_KEYS);
                }
            } else {
                options.error.get_or_insert(SYNTAX);
            }
            at += 1;
        }
        options
    }

    /// Which arguments are keys.
    fn keys(&self, args: &Args<'_>) -> Range<usize> {
        self.keys.map_or(3..4, |at| at + 1..args.len())
    }
}

/// The keys, found as the handler finds them. Words that it refuses make no difference.
fn find_keys(args: &Args<'_>) -> Option<Vec<(usize, KeyFlags)>> {
    let options = Options::read(args);
    if options.keys.is_some() && !args[3].is_empty() {
        return None;
    }
    let keys = match options.keys(args) {
        none if none.is_empty() => 3..4,
        keys => keys,
    };
    Some(keys.map(|at| (at, RW.or(ACCESS).or(DELETE))).collect())
}

/// The arguments that nobody else is to see.
pub(super) fn secrets(args: &Args<'_>) -> Range<usize> {
    let options = Options::read(args);
    match (options.user, options.password) {
        (Some(user), Some(password)) if user < password => user..password + 1,
        (_, Some(password)) => password..password + 1,
        _ => 0..0,
    }
}

/// What is to be done.
struct Job<'a> {
    host: &'a [u8],
    port: &'a [u8],
    database: i64,
    timeout: Duration,
    copy: bool,
    replace: bool,
    user: Option<&'a [u8]>,
    password: Option<&'a [u8]>,
}

/// What became of the words that were exchanged with the target.
enum Failure {
    /// It did not take what was sent.
    Writing(io::Error),
    /// It did not answer the first request.
    Reading(io::Error),
    /// It answered some requests but not all.
    Halfway,
}

/// `MIGRATE host port key|"" destination-db timeout [COPY] [REPLACE] [AUTH password |
/// AUTH2 username password] [KEYS key [key ...]]`
fn migrate(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let options = Options::read(args);
    if let Some(error) = options.error {
        return Err(error);
    }
    let timeout = match int(args, 5)? {
        ..=0 => DEFAULT_TIMEOUT,
        millis => millis,
    };
    let job = Job {
        host: &args[1],
        port: &args[2],
        database: int(args, 4)?,
        timeout: Duration::from_millis(timeout.unsigned_abs()),
        copy: options.copy,
        replace: options.replace,
        user: options.user.map(|at| &args[at]),
        password: options.password.map(|at| &args[at]),
    };
    let mut keys: Vec<&[u8]> = options.keys(args).map(|at| &args[at]).collect();
    keys.retain(|key| c.db.read(key).is_some());
    if keys.is_empty() {
        c.out.simple("NOKEY");
        return Ok(());
    }
    let targets = &c.server.targets;
    let mut tried = false;
    loop {
        let target = match targets.take(job.host, job.port) {
            Some(target) => target,
            None => Target::connect(job.host, job.port, job.timeout)
                .map_err(|why| not_connected(&why))?,
        };
        let failure = match transfer(c, &job, &keys, target) {
            Ok(()) => {
                c.out.ok();
                return Ok(());
            }
            Err(Problem::Refused(error)) => return Err(error),
            Err(Problem::Failed(failure)) => failure,
        };
        // Another connection that has been kept as long will be closed, too.
        targets.forget(job.host, job.port);
        let (why, error) = match failure {
            Failure::Writing(why) => (Some(why), NOT_WRITTEN),
            Failure::Reading(why) => (Some(why), NOT_READ),
            Failure::Halfway => (None, NOT_READ),
        };
        if tried || why.is_none_or(|why| is_timeout(&why)) {
            return Err(error);
        }
        tried = true;
    }
}

/// The error for a connection that cannot be made. Redis only learns from its first write that
/// nobody listens, and says so.
fn not_connected(why: &io::Error) -> Error {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable};
    match why.kind() {
        ConnectionRefused | ConnectionReset | HostUnreachable => NOT_WRITTEN,
        _ => NOT_CONNECTED,
    }
}

/// Why keys were not moved.
enum Problem {
    /// The target refused at least one of them.
    Refused(Error),
    /// The connection broke.
    Failed(Failure),
}

/// Sends the keys over a connection, which is kept if it still works, and deletes those that have
/// arrived.
fn transfer(
    c: &mut Ctx<'_>,
    job: &Job<'_>,
    keys: &[&[u8]],
    mut target: Target,
) -> Result<(), Problem> {
    let writing = |error| Problem::Failed(Failure::Writing(error));
    let reading = |error| Problem::Failed(Failure::Reading(error));
    target.set_timeout(job.timeout).map_err(writing)?;
    let select = target.database != Some(job.database);
    let sent = send(c, job, keys, &mut target, select).map_err(writing)?;
    let mut refused = None;
    if job.password.is_some() {
        refused = target.reply().map_err(reading)?.err();
    }
    if select {
        let selected = target.reply().map_err(reading)?;
        refused = refused.or(selected.err());
    }
    // What the target says to each key then tells nothing.
    let astray = refused.is_some();
    let mut broken = None;
    let mut told = None;
    // What is logged of it, for which it makes no difference how the memory is freed.
    let mut gone: Vec<&[u8]> = vec![b"DEL"];
    for (at, key) in sent.into_iter().enumerate() {
        let reply = match target.reply() {
            Ok(reply) => reply,
            Err(error) => {
                broken = Some(if at == 0 {
                    Failure::Reading(error)
                } else {
                    Failure::Halfway
                });
                break;
            }
        };
        if let (true, None) = (astray || reply.is_err(), &told) {
            told = refused.take().or(reply.err());
        } else if !astray && reply.is_ok() && !job.copy {
            let lazy = c.server.config.bool(id::LAZYFREE_LAZY_SERVER_DEL);
            c.db.delete(key, lazy);
            c.db.changed(Class::Generic, "del", key);
            gone.push(key);
        }
    }
    if gone.len() > 1 {
        c.db.instead(&gone);
    }
    if broken.is_none() {
        target.database = told.is_none().then_some(job.database);
        c.server.targets.keep(target);
    }
    match (told, broken) {
        (Some(text), _) => Err(Problem::Refused(target_error(&text))),
        (None, Some(failure)) => Err(Problem::Failed(failure)),
        (None, None) => Ok(()),
    }
}

fn target_error(text: &[u8]) -> Error {
    let mut error = b"ERR Target instance replied with error: ".to_vec();
    error.extend_from_slice(&text[..text.len().min(MAX_ERROR - 1)]);
    Error::raw(error)
}

/// Sends all requests, and tells for which keys.
fn send<'k>(
    c: &mut Ctx<'_>,
    job: &Job<'_>,
    keys: &[&'k [u8]],
    target: &mut Target,
    select: bool,
) -> io::Result<Vec<&'k [u8]>> {
    let mut out = Vec::new();
    let mut number = Vec::new();
    match (job.user, job.password) {
        (Some(user), Some(password)) => request(&mut out, &[b"AUTH", user, password]),
        (None, Some(password)) => request(&mut out, &[b"AUTH", password]),
        _ => {}
    }
    if select {
        write_i64(&mut number, job.database);
        request(&mut out, &[b"SELECT", &number]);
    }
    let encoder = Encoder {
        compress: c.server.config.bool(id::RDBCOMPRESSION),
    };
    let mut sent = Vec::with_capacity(keys.len());
    let mut value = Vec::new();
    for &key in keys {
        let Some(entry) = c.db.peek(key) else {
            continue;
        };
        value.clear();
        encoder.payload(&mut value, &entry.value);
        // A deadline that is just being reached must not become none.
        let ttl = entry
            .key
            .deadline()
            .map_or(0, |deadline| (deadline - c.db.now).max(1));
        number.clear();
        write_i64(&mut number, ttl);
        head(&mut out, if job.replace { 5 } else { 4 });
        bulks(&mut out, &[b"RESTORE", key, &number]);
        // A large value is sent from where it is.
        length(&mut out, b'$', value.len());
        if value.len() >= CHUNK {
            target.send(&out)?;
            target.send(&value)?;
            out.clear();
        } else {
            out.extend_from_slice(&value);
        }
        out.extend_from_slice(b"\r\n");
        if job.replace {
            bulks(&mut out, &[b"REPLACE"]);
        }
        sent.push(key);
        if out.len() >= CHUNK {
            target.send(&out)?;
            out.clear();
        }
    }
    target.send(&out)?;
    Ok(sent)
}

/// Adds a whole request.
fn request(out: &mut Vec<u8>, words: &[&[u8]]) {
    head(out, words.len());
    bulks(out, words);
}

/// Adds the beginning of a request of so many words.
fn head(out: &mut Vec<u8>, words: usize) {
    length(out, b'*', words);
}

fn bulks(out: &mut Vec<u8>, words: &[&[u8]]) {
    for word in words {
        length(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn length(out: &mut Vec<u8>, mark: u8, len: usize) {
    out.push(mark);
    // No length in memory is beyond the range.
    write_i64(out, len as i64);
    out.extend_from_slice(b"\r\n");
}
