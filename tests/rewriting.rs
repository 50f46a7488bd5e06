//! The files of the append only file over the life of a server: what rewrites make, leave behind
//! and delete, when they fail, and when the option is switched while something else goes on. Redis'
//! own suite asks for the same, but fails a rewrite by killing the child that does it.

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use support::{Client, Server, eventually};

const LIMIT: Duration = Duration::from_secs(10);

/// A server with `DEBUG` and without rewrites of its own accord.
fn server(options: &[&str]) -> Server {
    let usual = [
        "--enable-debug-command",
        "yes",
        "--auto-aof-rewrite-percentage",
        "0",
    ];
    Server::with(&[&usual[..], options].concat())
}

/// The manifest's lines, shortened: `b1` for the base with number one, `i` for increments and `h`
/// for history.
fn manifest(s: &Server) -> String {
    let path = s.dir().join("appendonlydir/appendonly.aof.manifest");
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, name, _, number, _, kind] = words[..] else {
            panic!("a manifest with the line '{line}'");
        };
        assert!(name.contains(&format!(".{number}.")), "{line}");
        format!("{kind}{number}")
    };
    text.lines().map(line).collect::<Vec<_>>().join(" ")
}

/// The files in the folder, without the manifest, in order.
fn files(s: &Server) -> Vec<String> {
    let entries = fs::read_dir(s.dir().join("appendonlydir")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with("manifest")).collect();
    names.sort();
    names
}

fn set(c: &mut Client, option: &str, value: &str) {
    assert_eq!(c.cmd(&["CONFIG", "SET", option, value]), "OK");
}

fn wait_for(s: &Server, field: &str, value: i64) {
    eventually(&format!("{field}:{value}"), LIMIT, || {
        s.info_int(field) == value
    });
}

/// Rewrites, and waits for the end.
fn rewrite(s: &Server, c: &mut Client) {
    let reply = c.cmd(&["BGREWRITEAOF"]);
    assert_eq!(reply, "Background append only file rewriting started");
    wait_for(s, "aof_rewrite_in_progress", 0);
}

/// Waits for a rewrite that is to begin by itself, and its end.
fn wait_for_manifest(s: &Server, wanted: &str) {
    eventually(wanted, LIMIT, || manifest(s) == wanted);
    wait_for(s, "aof_rewrite_in_progress", 0);
}

/// What is on disk is what is in memory.
fn check(c: &mut Client) {
    let before = c.cmd(&["DEBUG", "DIGEST"]);
    assert_eq!(c.cmd(&["DEBUG", "LOADAOF"]), "OK");
    assert_eq!(c.cmd(&["DEBUG", "DIGEST"]), before);
}

/// Keeps snapshots from being written for as long as it lives.
struct Obstacle(PathBuf);

impl Obstacle {
    fn new(s: &Server) -> Obstacle {
        let path = s.dir().join(format!("temp-{}.rdb", s.pid()));
        fs::create_dir(&path).unwrap();
        Obstacle(path)
    }
}

impl Drop for Obstacle {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn switched_on_and_rewritten() {
    let s = server(&[]);
    let mut c = s.client();
    assert_eq!(c.cmd(&["SET", "a", "1"]), "OK");
    set(&mut c, "appendonly", "yes");
    wait_for_manifest(&s, "b1 i1");
    assert_eq!(c.cmd(&["SET", "b", "1"]), "OK");
    check(&mut c);
    rewrite(&s, &mut c);
    assert_eq!(manifest(&s), "b2 i2");
    let now = ["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof"];
    assert_eq!(files(&s), now);
    assert_eq!(c.cmd(&["SET", "c", "1"]), "OK");
    check(&mut c);
}

#[test]
fn rewrites_that_fail_leave_increments() {
    let s = server(&["--appendonly", "yes"]);
    let mut c = s.client();
    assert_eq!(manifest(&s), "b1 i1");
    let obstacle = Obstacle::new(&s);
    for round in 1..=3 {
        assert_eq!(c.cmd(&["INCR", "rounds"]), round);
        rewrite(&s, &mut c);
        assert_eq!(s.info_int("aof_rewrites_consecutive_failures"), round);
    }
    assert_eq!(manifest(&s), "b1 i1 i2 i3 i4");
    assert_eq!(s.info("persistence")["aof_last_bgrewrite_status"], "err");
    assert_eq!(c.cmd(&["INCR", "rounds"]), 4);
    check(&mut c);
    drop(obstacle);
    rewrite(&s, &mut c);
    assert_eq!(manifest(&s), "b2 i5");
    assert_eq!(s.info("persistence")["aof_last_bgrewrite_status"], "ok");
    let now = ["appendonly.aof.2.base.rdb", "appendonly.aof.5.incr.aof"];
    assert_eq!(files(&s), now);
    check(&mut c);
}

#[test]
fn rewritten_while_switched_off() {
    let s = server(&["--appendonly", "yes"]);
    let mut c = s.client();
    assert_eq!(c.cmd(&["SET", "a", "1"]), "OK");
    set(&mut c, "appendonly", "no");
    rewrite(&s, &mut c);
    // There is nothing to go with it.
    assert_eq!(manifest(&s), "b2");
    assert_eq!(files(&s), ["appendonly.aof.2.base.rdb"]);
    check(&mut c);
    set(&mut c, "appendonly", "yes");
    wait_for_manifest(&s, "b3 i1");
    assert_eq!(c.cmd(&["SET", "b", "1"]), "OK");
    check(&mut c);
    rewrite(&s, &mut c);
    assert_eq!(manifest(&s), "b4 i2");
}

#[test]
fn history_is_kept_on_demand() {
    let s = server(&["--appendonly", "yes", "--aof-disable-auto-gc", "yes"]);
    let mut c = s.client();
    rewrite(&s, &mut c);
    rewrite(&s, &mut c);
    assert_eq!(manifest(&s), "b3 h2 h2 h1 h1 i3");
    assert_eq!(files(&s).len(), 6);
    set(&mut c, "aof-disable-auto-gc", "no");
    assert_eq!(manifest(&s), "b3 i3");
    let now = ["appendonly.aof.3.base.rdb", "appendonly.aof.3.incr.aof"];
    assert_eq!(files(&s), now);
    // Numbers go on from the manifest that has been loaded.
    check(&mut c);
    rewrite(&s, &mut c);
    assert_eq!(manifest(&s), "b4 i4");
}

#[test]
fn switched_on_while_a_snapshot_is_saved() {
    let s = server(&["--appendonly", "yes"]);
    let mut c = s.client();
    set(&mut c, "appendonly", "no");
    set(&mut c, "rdb-key-save-delay", "10000000");
    assert_eq!(c.cmd(&["SET", "a", "1"]), "OK");
    assert_eq!(c.cmd(&["BGSAVE"]), "Background saving started");
    set(&mut c, "appendonly", "yes");
    assert_eq!(s.info_int("aof_rewrite_scheduled"), 1);
    assert_eq!(s.info_int("rdb_bgsave_in_progress"), 1);
    assert_eq!(manifest(&s), "b1 i1");
    // Nothing is logged until the rewrite has begun.
    assert_eq!(c.cmd(&["SET", "b", "1"]), "OK");
    assert_eq!(c.cmd(&["DEBUG", "LOADAOF"]), "OK");
    assert_eq!(c.cmd(&["EXISTS", "a", "b"]), 0);
    let begun = s.info_int("total_forks");
    set(&mut c, "rdb-key-save-delay", "0");
    wait_for_manifest(&s, "b2 i2");
    assert_eq!(s.info_int("total_forks"), begun + 1);
    assert_eq!(c.cmd(&["SET", "c", "1"]), "OK");
    check(&mut c);
    assert_eq!(c.cmd(&["GET", "c"]), "1");
}

#[test]
fn after_three_failures_the_next_waits() {
    let s = server(&["--appendonly", "yes"]);
    let mut c = s.client();
    set(&mut c, "auto-aof-rewrite-min-size", "1kb");
    let obstacle = Obstacle::new(&s);
    for _ in 0..3 {
        rewrite(&s, &mut c);
    }
    set(&mut c, "auto-aof-rewrite-percentage", "1");
    assert_eq!(c.cmd(&["SET", "a", &"x".repeat(2000)]), "OK");
    s.wait_log("triggered the limit");
    assert_eq!(manifest(&s), "b1 i1 i2 i3 i4");
    drop(obstacle);
    // Who asks for it gets it.
    set(&mut c, "auto-aof-rewrite-percentage", "0");
    rewrite(&s, &mut c);
    assert_eq!(manifest(&s), "b2 i5");
    assert_eq!(s.log().matches("triggered the limit").count(), 1);
    check(&mut c);
}

#[test]
fn switched_on_again_until_it_succeeds() {
    let s = server(&[]);
    let mut c = s.client();
    assert_eq!(c.cmd(&["SET", "a", "1"]), "OK");
    let removed = || {
        let log = s.log();
        log.matches("Removing the temp incr aof file").count()
    };
    let obstacle = Obstacle::new(&s);
    set(&mut c, "appendonly", "yes");
    eventually("the temporary increment is removed", LIMIT, || {
        removed() > 0
    });
    assert_eq!(c.cmd(&["SET", "b", "1"]), "OK");
    assert_eq!(manifest(&s), "");
    assert_eq!(s.info_int("aof_enabled"), 1);
    drop(obstacle);
    if s.info_int("aof_rewrites_consecutive_failures") >= 3 {
        // The next would be tried in a minute.
        set(&mut c, "appendonly", "no");
        set(&mut c, "appendonly", "yes");
    }
    wait_for_manifest(&s, "b1 i1");
    assert_eq!(c.cmd(&["SET", "c", "1"]), "OK");
    check(&mut c);
    // The same with files that are there already, which stay as they are.
    set(&mut c, "appendonly", "no");
    let (obstacle, before) = (Obstacle::new(&s), removed());
    set(&mut c, "appendonly", "yes");
    eventually("the temporary increment is removed", LIMIT, || {
        removed() > before
    });
    assert_eq!(manifest(&s), "b1 i1");
    drop(obstacle);
    set(&mut c, "appendonly", "no");
    set(&mut c, "appendonly", "yes");
    wait_for_manifest(&s, "b2 i2");
    check(&mut c);
}

#[test]
fn switched_off_while_it_is_rewritten() {
    let s = server(&["--appendonly", "yes"]);
    let mut c = s.client();
    assert_eq!(c.cmd(&["SET", "a", "1"]), "OK");
    set(&mut c, "rdb-key-save-delay", "10000000");
    let reply = c.cmd(&["BGREWRITEAOF"]);
    assert_eq!(reply, "Background append only file rewriting started");
    set(&mut c, "appendonly", "no");
    assert!(s.log().contains("Killing running AOF rewrite child"));
    assert_eq!(s.info_int("aof_rewrite_in_progress"), 0);
    // What it has begun is loaded, the increment for what came after its instant included.
    assert_eq!(manifest(&s), "b1 i1 i2");
    check(&mut c);
}

#[test]
fn an_emptied_data_set_is_saved() {
    let s = server(&["--save", "3600 1"]);
    let mut c = s.client();
    set(&mut c, "rdb-key-save-delay", "10000000");
    assert_eq!(c.cmd(&["SET", "a", "1"]), "OK");
    assert_eq!(c.cmd(&["BGSAVE"]), "Background saving started");
    assert_eq!(c.cmd(&["FLUSHALL"]), "OK");
    assert_eq!(s.info_int("rdb_bgsave_in_progress"), 0);
    assert_eq!(s.info_int("rdb_changes_since_last_save"), 0);
    assert!(s.dir().join("dump.rdb").exists());
    assert_eq!(c.cmd(&["DEBUG", "RELOAD", "NOSAVE"]), "OK");
    assert_eq!(c.cmd(&["DBSIZE"]), 0);
    // Without save points nothing is.
    set(&mut c, "save", "");
    assert_eq!(c.cmd(&["SET", "a", "1"]), "OK");
    assert_eq!(c.cmd(&["FLUSHALL"]), "OK");
    assert!(s.info_int("rdb_changes_since_last_save") > 0);
    // What is to be saved is no statistic.
    assert_eq!(c.cmd(&["CONFIG", "RESETSTAT"]), "OK");
    assert!(s.info_int("rdb_changes_since_last_save") > 0);
}

#[test]
fn who_waits_is_not_served_by_the_past() {
    let s = server(&["--appendonly", "yes"]);
    let (mut c, mut waiting) = (s.client(), s.client());
    assert_eq!(c.cmd(&["RPUSH", "list", "past"]), 1);
    assert_eq!(c.cmd(&["LPOP", "list"]), "past");
    let streams = ["XGROUP", "CREATE", "stream", "group", "$", "MKSTREAM"];
    assert_eq!(c.cmd(&streams), "OK");
    waiting.send(&["BLPOP", "list", "0"]);
    let mut member = s.client();
    let read = "XREADGROUP GROUP group me BLOCK 0 STREAMS stream >";
    member.send(&read.split(' ').collect::<Vec<_>>());
    wait_for(&s, "blocked_clients", 2);
    check(&mut c);
    assert_eq!(s.info_int("blocked_clients"), 2);
    assert_eq!(c.cmd(&["RPUSH", "list", "now"]), 1);
    assert_eq!(waiting.recv(), array!["list", "now"]);
    // It is logged as ever.
    check(&mut c);
    assert_eq!(c.cmd(&["EXISTS", "list"]), 0);
}
