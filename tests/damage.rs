//! Damaged files: every prefix of a snapshot, an append only file and a manifest, and every byte of
//! them changed. Whatever is in a file, the server loads what can be loaded or says what is wrong
//! and ends with code 1; it never panics, hangs, or takes memory that the file does not justify.
//!
//! All cases are tried on the library, in a process that may have little memory; a sample of them
//! is tried on the server itself.

mod support;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stdis::command::table;
use stdis::loading::commands;
use stdis::loading::snapshot::{self, Duplicates, Target, Terms};
use stdis::persist::aof::files::{Files, Hooks, Part};
use stdis::persist::aof::manifest::Manifest;
use stdis::persist::rdb::encode::Encoder;
use stdis::server::Server as Core;
use stdis::server::config::{self, Invocation};
use stdis::server::logger;
use stdis::store::entry::Entry;
use stdis::store::snapshot::Pace;
use support::{Client, Random, Server, eventually, info, oracle, temp_dir};

/// The longest that a process may take to load or refuse a small file.
const PATIENCE: Duration = Duration::from_secs(20);
/// KiB of address space for the process that tries all cases, most of it for threads' stacks and
/// the code. What a file's lengths ask for is far beyond it.
const LITTLE: u64 = 256 << 10;
/// The same for servers, which have more threads.
const SERVER_LITTLE: u64 = 2 << 20;

// ---------------------------------------------------------------- files

/// Fills a server with values of all types in all their layouts.
fn fill(c: &mut Client) {
    let later = "4102444800000";
    for line in [
        "SET int 12345",
        "SET short -7",
        "SET text hello",
        "SET volatile soon",
        "RPUSH list a b 300 -1",
        "SADD ints 1 2 70000",
        "SADD words one two three",
        "ZADD scores 1 a 2.5 b -inf c",
        "HSET hash a 1 b two",
        "XADD stream 1-1 a 1 b 2",
        "XADD stream 2-1 a 3 b 4",
        "XADD stream 3-1 c 5",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group alice COUNT 2 STREAMS stream >",
        "XGROUP CREATECONSUMER stream group bob",
        "XDEL stream 3-1",
        "SETBIT bits 70 1",
        "PFADD counts a b c",
    ] {
        c.run(line);
    }
    c.cmd(&["PEXPIREAT", "volatile", later]);
    c.cmd(&["SET", "packed", &"abcd".repeat(40)]);
    c.run("CONFIG SET list-max-listpack-size 2 set-max-listpack-entries 1 zset-max-listpack-entries 1 hash-max-listpack-entries 1");
    for line in [
        "RPUSH nodes a b c d e",
        "SADD hashed one two",
        "ZADD tree 1 a 2 b",
        "HSET table a 1 b 2",
        "SELECT 3",
        "SET elsewhere 1",
        "SELECT 0",
    ] {
        c.run(line);
    }
}

/// Files of a server, each with its path under the server's directory.
type Tree = Vec<(PathBuf, Vec<u8>)>;

struct Samples {
    rdb: Vec<u8>,
    /// With fields that expire, for which the format is another.
    newer_rdb: Vec<u8>,
    /// An increment, the manifest, and the base.
    log: Vec<u8>,
    manifest: Vec<u8>,
    base: Vec<u8>,
}

const LOG: &str = "appendonlydir/appendonly.aof.2.incr.aof";
const BASE: &str = "appendonlydir/appendonly.aof.2.base.rdb";
const MANIFEST: &str = "appendonlydir/appendonly.aof.manifest";

impl Samples {
    fn make() -> Samples {
        let server = Server::with(&["--appendonly", "yes"]);
        let mut c = server.client();
        let read = |name: &str| fs::read(server.dir().join(name)).expect("a file");
        fill(&mut c);
        assert_eq!(c.run("SAVE"), "OK");
        let rdb = read("dump.rdb");
        c.run("BGREWRITEAOF");
        eventually("a rewrite", PATIENCE, || {
            info(&mut c, "persistence")["aof_rewrite_in_progress"] == "0"
        });
        c.run("FLUSHALL");
        fill(&mut c);
        for line in [
            "MULTI",
            "INCR int",
            "LPOP list",
            "EXEC",
            "RENAME text other",
        ] {
            c.run(line);
        }
        assert_eq!(c.run("WAITAOF 1 0 0").items()[0], 1);
        let (log, manifest, base) = (read(LOG), read(MANIFEST), read(BASE));
        c.run("FLUSHALL");
        c.run("CONFIG SET hash-max-listpack-entries 128");
        c.run("HSET fields a 1 b 2");
        c.run("HPEXPIREAT fields 4102444800000 FIELDS 1 a");
        c.run("CONFIG SET hash-max-listpack-entries 1");
        c.run("HSET more a 1 b 2 c 3");
        c.run("HPEXPIREAT more 4102444800000 FIELDS 1 a");
        assert_eq!(c.run("SAVE"), "OK");
        Samples {
            rdb,
            newer_rdb: read("dump.rdb"),
            log,
            manifest,
            base,
        }
    }

    /// Files in which one is replaced.
    fn tree(&self, damaged: &str, bytes: &[u8]) -> Tree {
        if damaged == "dump.rdb" {
            return vec![("dump.rdb".into(), bytes.to_vec())];
        }
        let all = [
            (LOG, &self.log),
            (BASE, &self.base),
            (MANIFEST, &self.manifest),
        ];
        let all = all.into_iter();
        all.map(|(name, whole)| {
            let bytes = if name == damaged { bytes } else { &whole[..] };
            (name.into(), bytes.to_vec())
        })
        .collect()
    }
}

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// It ends after so many bytes.
    Cut(usize),
    /// Bits of a byte are changed.
    Flip(usize, u8),
}

impl Damage {
    fn to(self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Damage::Cut(length) => bytes.truncate(length),
            Damage::Flip(at, bits) => bytes[at] ^= bits,
        }
        bytes
    }

    /// Every prefix, and every byte changed in so many ways.
    fn all(length: usize, flips: usize) -> impl Iterator<Item = Damage> {
        const BITS: [u8; 10] = [0xff, 0x01, 0x80, 0x40, 0xc0, 0x02, 0x20, 0x04, 0x10, 0x08];
        let cuts = (0..length).map(Damage::Cut);
        let flip = move |at| {
            BITS[..flips]
                .iter()
                .map(move |&bits| Damage::Flip(at, bits))
        };
        cuts.chain((0..length).flat_map(flip))
    }
}

// ---------------------------------------------------------------- the library

/// A server without threads or sockets.
fn core(args: &[&str]) -> Arc<Core> {
    // Only the first call has to do anything.
    let _ = table::init(&[]);
    let Ok(Invocation::Run(loaded)) = config::load(args.iter().map(OsString::from)) else {
        panic!("these are no options: {args:?}");
    };
    Arc::new(Core::new(loaded.config, None, table::catalogue()))
}

/// Looks at everything that has been loaded.
fn walk(core: &Core) -> usize {
    let encoder = Encoder { compress: true };
    let encode = move |out: &mut Vec<u8>, _: usize, entry: &Entry| {
        let key = &entry.key;
        encoder.entry(out, key.bytes(), &entry.value, key.deadline(), None);
    };
    let begun = core.store.begin_snapshot(Arc::new(encode), || ());
    let (snapshot, ()) = begun.expect("no other snapshot");
    let mut size = 0;
    let sink = &mut |_: usize, chunk: &[u8]| {
        size += chunk.len();
        Ok(())
    };
    snapshot
        .run(&core.store, Pace::Full(1), sink)
        .expect("a sink that takes everything");
    size
}

/// Has the cases that this process was started for tried on the library; see [`try_all`].
#[test]
#[ignore = "run by other tests in a process of its own"]
fn in_a_process_of_its_own() {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(what), Some(dir), Some(flips)) = (
        variable("STDIS_DAMAGE"),
        variable("STDIS_DAMAGE_DIR"),
        variable("STDIS_DAMAGE_FLIPS"),
    ) else {
        return;
    };
    // Thousands of notices would be in the way of a panic's message.
    logger::init(logger::Level::Warning, None).expect("a log");
    let flips: usize = flips.parse().expect("a number");
    let bytes = fs::read(Path::new(&dir).join("sample")).expect("a sample");
    match &*what {
        "snapshot" => all_snapshots(&bytes, flips),
        "log" => all_logs(&bytes, flips, Path::new(&dir)),
        _ => all_manifests(&bytes),
    }
}

fn all_snapshots(bytes: &[u8], flips: usize) {
    let terms = Terms {
        duplicates: Duplicates::Replace,
        drop_expired: true,
        restore: false,
    };
    let mut loaded = [0; 2];
    // Without the checksum, what is damaged comes to be looked at; with it, nothing is accepted.
    for (number, checksum) in ["no", "yes"].into_iter().enumerate() {
        let options = ["--rdbchecksum", checksum, "--sanitize-dump-payload", "no"];
        let mut server = core(&options);
        assert!(snapshot::load(&server, &Target::of(&server), bytes, terms).is_ok());
        let flips = if number == 0 { flips } else { 1 };
        for (count, damage) in Damage::all(bytes.len(), flips).enumerate() {
            let damaged = damage.to(bytes);
            let target = Target::of(&server);
            let result = snapshot::load(&server, &target, &damaged[..], terms);
            match result {
                Ok(_) => loaded[number] += 1,
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            if matches!(damage, Damage::Cut(_)) {
                assert_eq!(loaded[number], 0, "{damage:?} has been loaded");
            }
            if count % 16 == 0 {
                walk(&server);
                server = core(&options);
            }
        }
    }
    assert_eq!(loaded[1], 0, "files with wrong checksums have been loaded");
    assert!(loaded[0] > 0);
    println!("{} files were loaded without their checksum", loaded[0]);
}

fn all_logs(bytes: &[u8], flips: usize, dir: &Path) {
    let hooks = Hooks {
        log: |_, _| (),
        discard: drop,
    };
    let name = b"log".to_vec();
    let path = dir.join("folder/log");
    fs::create_dir_all(dir.join("folder")).expect("create a directory");
    let files = Files::open(dir, b"folder", b"log", hooks).expect("an empty folder");
    let strict = core(&["--aof-load-truncated", "no"]);
    let options = ["--aof-load-truncated", "yes"];
    let mut server = core(&options);
    // The short form takes every third case, as each writes a file.
    let step = if flips == 1 { 3 } else { 1 };
    for (count, damage) in Damage::all(bytes.len(), flips).step_by(step).enumerate() {
        let damaged = damage.to(bytes);
        let part = Part {
            name: name.clone(),
            base: false,
            last: true,
            size: damaged.len() as u64,
        };
        if count % 8 == 0 {
            walk(&server);
            server = core(&options);
        }
        fs::write(&path, &damaged).expect("write a file");
        if let Damage::Cut(_) = damage {
            // Read only: the strict one must not have cut it off.
            let refused = commands::load(&strict, &files, &part).is_err();
            assert_eq!(fs::read(&path).expect("a file"), damaged, "{damage:?}");
            commands::load(&server, &files, &part).unwrap_or_else(|e| panic!("{damage:?}: {e}"));
            let kept = fs::metadata(&path).expect("a file").len();
            assert_eq!(
                kept < part.size,
                refused,
                "{damage:?}: {kept} bytes are kept"
            );
            // What is kept is loaded by everybody.
            let part = Part { size: kept, ..part };
            commands::load(&strict, &files, &part).unwrap_or_else(|e| panic!("{damage:?}: {e}"));
        } else if let Err(error) = commands::load(&server, &files, &part) {
            assert!(!error.is_empty());
        }
    }
}

fn all_manifests(bytes: &[u8]) {
    for first in 0..bytes.len() {
        for to in 0..=255 {
            let mut bytes = bytes.to_vec();
            bytes[first] = to;
            if let Err(invalid) = Manifest::parse(&bytes) {
                assert!(!invalid.messages().is_empty());
            }
        }
        let _ = Manifest::parse(&bytes[..first]);
        let _ = Manifest::parse(&bytes[first..]);
    }
}

/// Tries all cases in a process that may not have more memory than it needs.
#[track_caller]
fn try_all(what: &str, bytes: &[u8], flips: usize, patience: Duration) {
    if oracle() {
        return;
    }
    let dir = temp_dir();
    fs::write(dir.join("sample"), bytes).expect("write a file");
    let log = File::create(dir.join("log")).expect("create a file");
    let this = std::env::current_exe().expect("this program");
    let script = format!("ulimit -v {LITTLE}; exec \"$0\" \"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .arg(this)
        .args([
            "--exact",
            "in_a_process_of_its_own",
            "--ignored",
            "--nocapture",
        ])
        .env("STDIS_DAMAGE", what)
        .env("STDIS_DAMAGE_DIR", &dir)
        .env("STDIS_DAMAGE_FLIPS", flips.to_string())
        .env("MALLOC_ARENA_MAX", "1")
        .current_dir(&dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("share a file"))
        .stderr(log)
        .spawn()
        .expect("run sh");
    let status = wait(&mut child, patience);
    let output = fs::read_to_string(dir.join("log")).unwrap_or_default();
    let lines: Vec<&str> = output.lines().collect();
    let tail = lines[lines.len().saturating_sub(30)..].join("\n");
    assert!(
        status.is_some_and(|s| s.success()),
        "{what}: {status:?}\n{tail}"
    );
    assert!(
        output.contains("1 passed"),
        "{what}: nothing was tried\n{tail}"
    );
    let _ = fs::remove_dir_all(&dir);
}

/// `None`, and the process is ended, when that takes too long.
fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < patience {
        if let Some(status) = child.try_wait().expect("wait for a process") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

#[test]
fn every_damage_to_files() {
    if oracle() {
        return;
    }
    let samples = Samples::make();
    try_all("snapshot", &samples.rdb, 1, 3 * PATIENCE);
    try_all("snapshot", &samples.newer_rdb, 3, 3 * PATIENCE);
    try_all("manifest", &samples.manifest, 1, 3 * PATIENCE);
    try_all("log", &samples.log, 1, 3 * PATIENCE);
}

#[test]
#[ignore = "long: every byte of snapshots changed in ten ways"]
fn every_damage_to_snapshots_long() {
    if oracle() {
        return;
    }
    let samples = Samples::make();
    try_all("snapshot", &samples.rdb, 10, 6 * PATIENCE);
    try_all("snapshot", &samples.newer_rdb, 10, 6 * PATIENCE);
}

#[test]
#[ignore = "long: every byte of an append only file changed in ten ways"]
fn every_damage_to_logs_long() {
    if oracle() {
        return;
    }
    try_all("log", &Samples::make().log, 10, 6 * PATIENCE);
}

// ---------------------------------------------------------------- the server

/// What came of a start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Refused,
    Loaded,
}

/// Starts a server on these files. Fails unless it loads them or ends as it should.
#[track_caller]
fn start(files: &Tree, options: &[&str], context: &str) -> Outcome {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let dir = temp_dir().join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("create a directory");
        fs::write(path, bytes).expect("write a file");
    }
    let log = File::create(dir.join("log")).expect("create a file");
    let script = format!("ulimit -v {SERVER_LITTLE}; exec \"$0\" \"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .arg(support::binary())
        .args(["--port", "0", "--unixsocket", "socket", "--save", ""])
        .args(["--enable-debug-command", "yes"])
        .args(options)
        .current_dir(&dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("share a file"))
        .stderr(log)
        .spawn()
        .expect("run sh");
    let begun = Instant::now();
    let socket = dir.join("socket");
    let outcome = loop {
        if let Some(status) = child.try_wait().expect("wait for a process") {
            let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert_eq!(status.code(), Some(1), "{context}: {status}\n{log}");
            let last = log.lines().last().unwrap_or_default();
            assert!(
                last.contains(" # "),
                "{context}: it does not end with a warning\n{log}"
            );
            println!("{context}: {last}");
            break Outcome::Refused;
        }
        if let Ok(mut client) = Client::unix(&socket) {
            let reply = ask(&mut client, "DBSIZE");
            if reply.is_some_and(|reply| !matches!(reply, support::Value::Error(_))) {
                // What is loaded can be used.
                if let Some(support::Value::Simple(_)) = ask(&mut client, "DEBUG DIGEST") {
                    break Outcome::Loaded;
                }
            }
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{context}: it neither starts nor ends"
        );
        std::thread::sleep(Duration::from_millis(1));
    };
    let _ = child.kill();
    let _ = child.wait();
    let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
    assert!(!log.contains("anic"), "{context}:\n{log}");
    let _ = fs::remove_dir_all(dir.parent().expect("a directory"));
    outcome
}

/// `None` when the server has gone, as it may at any moment.
fn ask(client: &mut Client, line: &str) -> Option<support::Value> {
    let words: Vec<&str> = line.split(' ').collect();
    client.try_write(&support::encode(&words)).ok()?;
    client.try_recv()
}

/// Every command there is, in a file where most have no business to be, outside of and within a
/// transaction: none may end the server, or hold it up.
#[test]
fn a_log_may_hold_any_command() {
    if oracle() {
        return;
    }
    let server = Server::start();
    let mut c = server.client();
    let mut all: Vec<Vec<String>> = Vec::new();
    let names = c.run("COMMAND LIST").texts();
    for name in &names {
        if names
            .iter()
            .any(|other| other.starts_with(&format!("{name}|")))
        {
            // What such a command is to do is not known without the rest of its name.
            continue;
        }
        let reply = c.cmd(&["COMMAND", "INFO", name]);
        let arity = reply.items()[0].items()[1].int().unsigned_abs() as usize;
        for word in ["1", "x", "0"] {
            let mut words: Vec<String> = name.split('|').map(String::from).collect();
            words.resize(arity.max(words.len()), word.to_owned());
            all.push(words);
        }
    }
    for line in [
        "WAITAOF 0 1 0",
        "WAITAOF 1 0 0",
        "WAIT 1 0",
        "CLIENT PAUSE 100000",
        "DEBUG SLEEP 1000",
        "DEBUG SEGFAULT",
        "DEBUG LOADAOF",
        "DEBUG RELOAD",
        "BGREWRITEAOF",
        "BGSAVE SCHEDULE",
        "SAVE",
        "SHUTDOWN NOSAVE",
        "CONFIG SET appendonly no",
        "BLPOP none 0",
        "BLMOVE none other LEFT RIGHT 0",
        "BZMPOP 0 1 none MIN",
        "XREAD BLOCK 0 STREAMS none $",
        "SUBSCRIBE channel",
        "MONITOR",
        "CLIENT REPLY OFF",
        "CLIENT KILL TYPE normal",
        "REPLCONF GETACK *",
        "HELLO 3",
        "RESET",
        "QUIT",
    ] {
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        if names.contains(&words[0].to_lowercase()) {
            all.push(words);
        }
    }
    drop(server);
    for within in [false, true] {
        let mut log = support::encode(&["SELECT", "0"]);
        for words in &all {
            let frames = [
                "multi", "exec", "discard", "flushall", "select", "swapdb", "watch",
            ];
            if frames.contains(&&*words[0].to_lowercase()) {
                continue;
            }
            if within {
                log.extend(support::encode(&["MULTI"]));
            }
            log.extend(support::encode(words));
            if within {
                log.extend(support::encode(&["EXEC"]));
            }
        }
        log.extend(support::encode(&["SET", "last", "1"]));
        let manifest = b"file appendonly.aof.2.incr.aof seq 2 type i\n".to_vec();
        let files = vec![(LOG.into(), log), (MANIFEST.into(), manifest)];
        let context = format!("any command, in a transaction: {within}");
        let outcome = start(&files, &["--appendonly", "yes"], &context);
        assert_eq!(outcome, Outcome::Loaded, "{context}");
    }
}

/// A new increment is named in the manifest before the first byte is written to it, while the one
/// before is still written to: a kill may cut that one off.
#[test]
fn an_increment_may_be_cut_off_while_the_next_is_empty() {
    if oracle() {
        return;
    }
    let manifest = b"file appendonly.aof.1.incr.aof seq 1 type i\n\
        file appendonly.aof.2.incr.aof seq 2 type i\n\
        file appendonly.aof.3.incr.aof seq 3 type i\n";
    let name =
        |number: u64| PathBuf::from(format!("appendonlydir/appendonly.aof.{number}.incr.aof"));
    let whole = support::encode(&["SET", "a", "1"]);
    let mut log = whole.clone();
    log.extend(support::encode(&["SET", "b", "2"]));
    for (cut, next, expected) in [
        (whole.len() + 1, &b""[..], Outcome::Loaded),
        (log.len() - 1, b"", Outcome::Loaded),
        (log.len() - 1, &whole, Outcome::Refused),
    ] {
        let files = vec![
            (MANIFEST.into(), manifest.to_vec()),
            (name(1), log[..cut].to_vec()),
            (name(2), next.to_vec()),
            (name(3), Vec::new()),
        ];
        let context = format!("cut at {cut}, {} bytes behind it", next.len());
        assert_eq!(
            start(&files, &["--appendonly", "yes"], &context),
            expected,
            "{context}"
        );
    }
}

/// Tries a sample of cases of each file on the server.
fn sample(cases: u64, seed: u64) {
    if oracle() {
        return;
    }
    let samples = Samples::make();
    let mut random = Random::new(seed);
    let aof = ["--appendonly", "yes"];
    let strict = ["--appendonly", "yes", "--aof-load-truncated", "no"];
    assert_eq!(
        start(&samples.tree("", &[]), &strict, "whole"),
        Outcome::Loaded
    );
    let whole = samples.tree("dump.rdb", &samples.rdb);
    assert_eq!(start(&whole, &[], "whole"), Outcome::Loaded);
    for case in 0..cases {
        let (name, bytes, options) = match case % 6 {
            0 => ("dump.rdb", &samples.rdb, &[][..]),
            1 => ("dump.rdb", &samples.newer_rdb, &[][..]),
            2 => (LOG, &samples.log, &aof[..]),
            3 => (BASE, &samples.base, &aof[..]),
            4 => (MANIFEST, &samples.manifest, &aof[..]),
            _ => (LOG, &samples.log, &strict[..]),
        };
        let at = random.below(bytes.len() as u64) as usize;
        let damage = match random.below(2) {
            0 => Damage::Cut(at),
            _ => Damage::Flip(at, 1 << random.below(8)),
        };
        let damaged = damage.to(bytes);
        let context = format!("seed {seed}, case {case}: {name}, {options:?}, {damage:?}");
        let outcome = start(&samples.tree(name, &damaged), options, &context);
        let expected = match (name, damage) {
            // There is nothing in an empty file of an append only file.
            (BASE, Damage::Cut(0)) => None,
            // Versions below 5 have no checksum: what is read as one of them is whole.
            ("dump.rdb" | BASE, Damage::Flip(5..=8, _)) => None,
            ("dump.rdb" | BASE, _) => Some(Outcome::Refused),
            (LOG, Damage::Cut(_)) if options.len() == aof.len() => Some(Outcome::Loaded),
            _ => None,
        };
        assert_eq!(expected.unwrap_or(outcome), outcome, "{context}");
    }
}

#[test]
fn damaged_files_on_the_server() {
    sample(60, 1);
}

#[test]
#[ignore = "long: fifteen hundred starts on damaged files"]
fn damaged_files_on_the_server_long() {
    let seed = std::env::var("STDIS_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let halves = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)) as u64;
    std::thread::scope(|scope| {
        for half in 0..halves {
            scope.spawn(move || sample(1500 / halves, seed + half));
        }
    });
}
