//! Data sets that go through files and come back: through snapshots, append only files and `DUMP`,
//! from stdis to stdis, and from and to redis-server 7.0 in both directions and in chains.
//!
//! What goes on the way is made by the random commands of the differential test. Everything that
//! commands tell of a key is compared, and the digest that the server makes of all of them.
//! `STDIS_SEED` begins at another seed, `STDIS_ROUNDS` goes through so many (3, one for each of the
//! settings, if nothing is said).

#![allow(dead_code)]

#[path = "differential/families.rs"]
mod families;
#[path = "differential/keyspace.rs"]
mod keyspace;
#[path = "differential/load.rs"]
mod load;
#[path = "differential/random.rs"]
mod random;
#[path = "differential/server.rs"]
mod server;
mod support;
#[path = "differential/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use random::Random;
use support::{Client, Server, Value, temp_dir};

/// Databases that the random commands use.
const DATABASES: usize = 4;
/// Commands that are sent at once.
const BATCH: usize = 50;

/// Settings under which values take different forms: the usual ones, everything in tables and many
/// nodes, everything packed.
const SETTINGS: [&[&str]; 3] = [
    &[],
    &[
        "--list-max-listpack-size",
        "2",
        "--list-compress-depth",
        "1",
        "--hash-max-listpack-entries",
        "2",
        "--zset-max-listpack-entries",
        "2",
        "--set-max-intset-entries",
        "2",
        "--stream-node-max-entries",
        "3",
    ],
    &[
        "--list-max-listpack-size",
        "-5",
        "--hash-max-listpack-value",
        "10000",
        "--zset-max-listpack-value",
        "10000",
        "--rdbcompression",
        "no",
    ],
];

/// Seeds, with settings for each.
fn seeds() -> impl Iterator<Item = (u64, &'static [&'static str])> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("STDIS_SEED").unwrap_or(1);
    let rounds = number("STDIS_ROUNDS").unwrap_or(SETTINGS.len() as u64);
    (first..first + rounds).map(|seed| (seed, SETTINGS[(seed - 1) as usize % SETTINGS.len()]))
}

/// Which of the two programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Stdis,
    Redis,
}

impl Kind {
    fn other(self) -> Kind {
        match self {
            Kind::Stdis => Kind::Redis,
            Kind::Redis => Kind::Stdis,
        }
    }
}

/// A folder that goes when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        Folder(temp_dir())
    }

    /// One with a copy of what a server has written.
    fn copy(server: &Server) -> Folder {
        let copy = Folder::new();
        for name in ["dump.rdb", "appendonlydir"] {
            copy_all(&server.dir().join(name), &copy.0.join(name));
        }
        copy
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies a file or a folder of files, if it exists.
fn copy_all(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).expect("a copy");
    } else if from.is_dir() {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("a folder") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
}

/// Starts a server that loads what the folder holds, in a directory of its own.
fn start(kind: Kind, folder: Option<&Folder>, args: &[&str]) -> Server {
    let at = folder.map(|folder| folder.0.display().to_string());
    let mut all = vec!["--enable-debug-command", "yes"];
    all.extend(args);
    if let Some(at) = &at {
        all.extend(["--dir", at]);
    }
    match kind {
        Kind::Stdis => Server::with(&all),
        Kind::Redis => Server::redis(&all),
    }
}

/// Sends random commands.
fn fill(server: &Server, seed: u64, commands: usize) {
    let mut client = server.client();
    let mut random = Random::new(seed);
    let mut left = commands;
    while left > 0 {
        let batch = load::batch(&mut random, BATCH, load::Kind::KeysOnly);
        let bytes: Vec<u8> = batch
            .iter()
            .flat_map(|args| support::encode(args))
            .collect();
        client.write(&bytes);
        for _ in &batch {
            client.recv();
        }
        left = left.saturating_sub(BATCH);
    }
}

/// What all commands tell of a server's keys.
struct Picture {
    keys: BTreeMap<(usize, Vec<u8>), Vec<Value>>,
    digest: Value,
}

/// What is left out of a picture.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Without {
    /// A value that has been loaded may have another encoding than one that has grown.
    encodings: bool,
    /// A log does not tell when a consumer was last seen, nor how a stream is kept.
    internals: bool,
}

/// Everything, to compare what has been loaded from a snapshot.
const STRICT: Without = Without {
    encodings: false,
    internals: false,
};
/// To compare what is in use with what has been loaded from a snapshot.
const LIVE: Without = Without {
    encodings: true,
    internals: false,
};
/// To compare with what has been loaded from a log.
const LOGGED: Without = Without {
    encodings: true,
    internals: true,
};

impl Picture {
    fn of(server: &Server, without: Without) -> Picture {
        let mut client = server.client();
        let mut keys = BTreeMap::new();
        for db in 0..DATABASES {
            client.cmd(&["SELECT", &db.to_string()]);
            for key in client.run("KEYS *").items() {
                let key = key.bytes().to_vec();
                let content = content(&mut client, &key, without);
                keys.insert((db, key), content);
            }
        }
        let digest = client.run("DEBUG DIGEST");
        Picture { keys, digest }
    }

    #[track_caller]
    fn assert_same(&self, other: &Picture, what: &str) {
        assert!(self.keys.len() > 10, "{what}: hardly any keys");
        for (key, content) in &self.keys {
            let Some(found) = other.keys.get(key) else {
                panic!("{what}: {key:?} is missing");
            };
            // The last thing that differs tells most: the first may be a digest.
            let mut differ = content.iter().zip(found).filter(|(one, two)| one != two);
            let differ = differ.next_back();
            assert!(
                content.len() == found.len() && differ.is_none(),
                "{what}: db {} {}, a {:?}: {differ:?}",
                key.0,
                support::show(&key.1),
                content[0]
            );
        }
        assert_eq!(self.keys.len(), other.keys.len(), "{what}: new keys");
        assert_eq!(self.digest, other.digest, "{what}");
    }
}

/// All about one key.
fn content(client: &mut Client, key: &[u8], without: Without) -> Vec<Value> {
    let mut ask = |words: &[&str]| {
        let mut command: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let at = command.iter().position(|word| word.is_empty());
        command[at.expect("a place for the key")] = key;
        client.cmd(&command)
    };
    let kind = ask(&["TYPE", ""]).text();
    let mut all = vec![Value::from(&kind[..]), ask(&["PEXPIRETIME", ""])];
    all.push(ask(&["DEBUG", "DIGEST-VALUE", ""]));
    if !without.encodings {
        let encoding = ask(&["OBJECT", "ENCODING", ""]).text();
        let encoding = match (&kind[..], &encoding[..]) {
            // 7.2 packs short lists and short sets of strings; 7.0 does not.
            ("list", "listpack" | "quicklist") => "listpack or quicklist",
            ("set", "listpack" | "hashtable") => "listpack or hashtable",
            (_, other) => other,
        };
        all.push(Value::from(encoding));
    }
    match &kind[..] {
        "string" => all.push(ask(&["GET", ""])),
        "list" => all.push(ask(&["LRANGE", "", "0", "-1"])),
        "set" => {
            let mut members = ask(&["SMEMBERS", ""]).items().to_vec();
            members.sort_by(|a, b| a.bytes().cmp(b.bytes()));
            all.extend(members);
        }
        "zset" => {
            for (member, score) in ask(&["ZRANGE", "", "0", "-1", "WITHSCORES"]).pairs() {
                let score: f64 = score.text().parse().expect("a score");
                // As text: there are two zeroes.
                all.extend([member, Value::from(format!("{score:?}"))]);
            }
        }
        "hash" => {
            let mut pairs = ask(&["HGETALL", ""]).pairs();
            pairs.sort_by(|a, b| a.0.bytes().cmp(b.0.bytes()));
            all.extend(pairs.into_iter().flat_map(|(field, value)| [field, value]));
        }
        _ => {
            all.push(ask(&["XRANGE", "", "-", "+"]));
            let full = ask(&["XINFO", "STREAM", "", "FULL", "COUNT", "0"]);
            all.push(stripped(full, without.internals));
            all.push(ask(&["XINFO", "GROUPS", ""]));
        }
    }
    all
}

/// Without the fields that Redis 7.0 does not have, and those that a log does not keep.
fn stripped(value: Value, internals: bool) -> Value {
    let Value::Array(items) = value else {
        return value;
    };
    let (mut kept, mut items) = (Vec::new(), items.into_iter());
    while let Some(item) = items.next() {
        let inner = ["seen-time", "radix-tree-keys", "radix-tree-nodes"];
        if item == "active-time" || internals && inner.iter().any(|name| item == *name) {
            items.next();
        } else {
            kept.push(stripped(item, internals));
        }
    }
    Value::Array(kept)
}

/// Runs one of Redis' programs that look at files.
#[track_caller]
fn check(program: &str, path: &Path) {
    let output = Command::new(program).arg(path).output();
    let output = output.unwrap_or_else(|error| panic!("run {program}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{program}: {said}");
}

/// Ends a server in an orderly way, so that its files are complete.
#[track_caller]
fn shut_down(server: &mut Server) {
    server.client().send(&["SHUTDOWN", "NOSAVE"]);
    let status = server.wait_exit();
    assert!(status.success(), "{status}; {}", server.log());
}

const AOF: [&str; 4] = ["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"];

fn preamble(yes: bool) -> [&'static str; 2] {
    ["--aof-use-rdb-preamble", if yes { "yes" } else { "no" }]
}

#[track_caller]
fn rewrite(server: &Server) {
    let reply = server.client().run("BGREWRITEAOF");
    assert!(!matches!(reply, Value::Error(_)), "{reply:?}");
    let limit = std::time::Duration::from_secs(30);
    support::eventually("the rewrite ends", limit, || {
        let info = server.info("persistence");
        info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0"
    });
    assert_eq!(
        server.info("persistence")["aof_last_bgrewrite_status"],
        "ok"
    );
}

// ---------------------------------------------------------- stdis by itself

/// What is there comes back from every kind of file.
fn comes_back(seed: u64, settings: &[&str], commands: usize) {
    for rdb in [true, false] {
        let args = [settings, &AOF, &preamble(rdb), &["--appendfsync", "no"]].concat();
        let mut server = start(Kind::Stdis, None, &args);
        fill(&server, seed, commands);
        let ok = support::simple("OK");
        let live = Picture::of(&server, LOGGED);
        for command in ["DEBUG LOADAOF", "DEBUG RELOAD"] {
            assert_eq!(server.client().run(command), ok, "{}", server.log());
            live.assert_same(&Picture::of(&server, LOGGED), command);
        }
        let strict = Picture::of(&server, STRICT);
        assert_eq!(server.client().run("DEBUG RELOAD"), ok);
        strict.assert_same(&Picture::of(&server, STRICT), "a second DEBUG RELOAD");
        rewrite(&server);
        assert_eq!(server.client().run("DEBUG LOADAOF"), ok);
        live.assert_same(&Picture::of(&server, LOGGED), "DEBUG LOADAOF, rewritten");
        fill(&server, seed + 100, commands / 4);
        let live = Picture::of(&server, LOGGED);
        shut_down(&mut server);
        server.restart();
        live.assert_same(&Picture::of(&server, LOGGED), "a restart");
    }
}

#[test]
fn what_is_there_comes_back() {
    comes_back(1, SETTINGS[0], 1000);
}

#[test]
#[ignore = "long: more seeds and settings"]
fn what_is_there_comes_back_long() {
    for (seed, settings) in seeds() {
        comes_back(seed, settings, 5000);
    }
}

// -------------------------------------------------------- with redis-server

/// A snapshot that one program writes, the other loads and writes, and the first loads.
fn snapshots(first: Kind, seed: u64, settings: &[&str]) {
    let what = format!("snapshot of {first:?}, seed {seed}");
    let server = start(first, None, settings);
    fill(&server, seed, 4000);
    let live = Picture::of(&server, LIVE);
    assert_eq!(server.client().run("SAVE"), support::simple("OK"));
    check("redis-check-rdb", &server.dir().join("dump.rdb"));
    let copy = Folder::copy(&server);
    let second = start(first.other(), Some(&copy), settings);
    live.assert_same(&Picture::of(&second, LIVE), &what);
    // The same file loaded by the first.
    let again = Folder::copy(&server);
    let loaded = start(first, Some(&again), settings);
    let strict = Picture::of(&loaded, STRICT);
    strict.assert_same(&Picture::of(&second, STRICT), &what);
    assert_eq!(second.client().run("SAVE"), support::simple("OK"));
    check("redis-check-rdb", &copy.0.join("dump.rdb"));
    let third = start(first, Some(&copy), settings);
    strict.assert_same(&Picture::of(&third, STRICT), &format!("{what}, and back"));
}

/// Takes sorted sets with a score of -0 out of two pictures. As text they do not all survive:
/// Redis' ZADD makes 0 of it in a listpack, where other commands leave it.
fn without_negative_zeroes(one: &mut Picture, other: &mut Picture) {
    let has_one =
        |content: &[Value]| content[0] == "zset" && content[3..].iter().any(|it| *it == "-0.0");
    let keys = one.keys.iter().chain(&other.keys);
    let found = keys.filter(|(_, content)| has_one(content));
    let found: Vec<_> = found.map(|(key, _)| key.clone()).collect();
    for key in &found {
        one.keys.remove(key);
        other.keys.remove(key);
    }
    if !found.is_empty() {
        (one.digest, other.digest) = (support::NULL, support::NULL);
    }
}

/// An append only file in the same way, with and without a snapshot as its base.
fn logs(first: Kind, seed: u64, settings: &[&str], rdb: bool) {
    let what = format!("log of {first:?}, seed {seed}, preamble {rdb}");
    let args = [settings, &AOF, &preamble(rdb)].concat();
    let mut server = start(first, None, &args);
    for round in 0..2 {
        let what = format!("{what}, round {round}");
        fill(&server, seed + 100 * round, 2500);
        let mut live = Picture::of(&server, LOGGED);
        shut_down(&mut server);
        let manifest = "appendonlydir/appendonly.aof.manifest";
        check("redis-check-aof", &server.dir().join(manifest));
        let copy = Folder::copy(&server);
        server.restart();
        let loaded = Picture::of(&server, LOGGED);
        if first == Kind::Redis {
            // It does not log consumers that have got nothing.
            live = loaded;
        } else {
            live.assert_same(&loaded, &format!("{what}, restarted"));
        }
        let mut second = start(first.other(), Some(&copy), &args);
        assert!(!second.log().contains("CRITICAL"), "{}", second.log());
        let mut there = Picture::of(&second, LOGGED);
        if !rdb {
            without_negative_zeroes(&mut live, &mut there);
        }
        live.assert_same(&there, &what);
        rewrite(&second);
        shut_down(&mut second);
        check("redis-check-aof", &copy.0.join(manifest));
        let third = start(first, Some(&copy), &args);
        let mut back = Picture::of(&third, LOGGED);
        if !rdb {
            // What has been taken out of one is still in the other.
            back.keys.retain(|key, _| live.keys.contains_key(key));
            if live.digest.is_null() {
                back.digest = support::NULL;
            }
            without_negative_zeroes(&mut live, &mut back);
        }
        live.assert_same(&back, &format!("{what}, and back"));
        rewrite(&server);
    }
}

#[test]
#[ignore = "needs redis-server 7.0, redis-check-rdb and redis-check-aof on PATH"]
fn snapshots_go_both_ways() {
    for (seed, settings) in seeds() {
        for first in [Kind::Stdis, Kind::Redis] {
            snapshots(first, seed, settings);
        }
    }
}

#[test]
#[ignore = "needs redis-server 7.0, redis-check-rdb and redis-check-aof on PATH"]
fn logs_go_both_ways() {
    for (seed, settings) in seeds() {
        for first in [Kind::Stdis, Kind::Redis] {
            logs(first, seed, settings, seed % 2 == 1);
        }
    }
}

/// Every key by DUMP and RESTORE, to redis-server and back.
#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn dumps_go_both_ways() {
    for (seed, settings) in seeds() {
        let chain = [Kind::Stdis, Kind::Redis, Kind::Stdis].map(|kind| start(kind, None, settings));
        fill(&chain[0], seed, 4000);
        for pair in chain.windows(2) {
            let (mut from, mut to) = (pair[0].client(), pair[1].client());
            for db in 0..DATABASES {
                from.cmd(&["SELECT", &db.to_string()]);
                to.cmd(&["SELECT", &db.to_string()]);
                for key in from.run("KEYS *").items() {
                    let key = key.bytes();
                    let deadline = from.cmd(&[b"PEXPIRETIME", key]).int().max(0).to_string();
                    let payload = from.cmd(&[b"DUMP", key]);
                    let (at, payload) = (deadline.as_bytes(), payload.bytes());
                    let reply = to.cmd(&[b"RESTORE", key, at, payload, b"ABSTTL"]);
                    assert_eq!(reply, support::simple("OK"), "{}", support::show(key));
                }
            }
        }
        let live = Picture::of(&chain[0], LIVE);
        live.assert_same(&Picture::of(&chain[1], LIVE), "in redis-server");
        live.assert_same(&Picture::of(&chain[2], LIVE), "back again");
    }
}

/// How long keys have not been used, and how often they have been, go along.
#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn the_use_of_keys_goes_along() {
    for (policy, option, ask) in [
        ("allkeys-lru", "IDLETIME", "IDLETIME"),
        ("volatile-lfu", "FREQ", "FREQ"),
    ] {
        for first in [Kind::Stdis, Kind::Redis] {
            for log in [false, true] {
                let mut args = vec!["--maxmemory-policy", policy, "--lfu-decay-time", "0"];
                if log {
                    args.extend(AOF);
                }
                let mut server = start(first, None, &args);
                let mut client = server.client();
                client.run("SET source v");
                let payload = client.run("DUMP source");
                for n in 0..50 {
                    let (key, use_of) = (format!("key:{n}"), (n * 5).to_string());
                    let words = [key.as_bytes(), b"0", payload.bytes()];
                    let more = [option.as_bytes(), use_of.as_bytes()];
                    let command = [&[&b"RESTORE"[..]], &words[..], &more].concat();
                    assert_eq!(client.cmd(&command), support::simple("OK"));
                }
                if log {
                    rewrite(&server);
                    shut_down(&mut server);
                } else {
                    assert_eq!(client.run("SAVE"), support::simple("OK"));
                }
                for second in [first, first.other()] {
                    let copy = Folder::copy(&server);
                    let loaded = start(second, Some(&copy), &args);
                    let mut client = loaded.client();
                    for n in 0..50 {
                        let found = client.cmd(&["OBJECT", ask, &format!("key:{n}")]).int();
                        let near = (n * 5..n * 5 + 60).contains(&found);
                        assert!(
                            if ask == "FREQ" { found == n * 5 } else { near },
                            "{policy} from {first:?} to {second:?}, log {log}: {n} has {found}"
                        );
                    }
                }
            }
        }
    }
}
