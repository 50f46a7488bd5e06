//! A disk that is full, and a directory that is gone: what the server says, what it refuses, and
//! that it goes on once there is room. The disk is a small file system in memory, which only root
//! may mount; without that right those tests say so and end.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::{
    Client, Server, Value, encode, error, eventually, info, oracle, run_to_end, temp_dir,
};

const LONG: Duration = Duration::from_secs(10);

const NO_SNAPSHOTS: &str = "MISCONF Redis is configured to save RDB snapshots, but it's currently \
    unable to persist to disk. Commands that may modify the data set are disabled, because this \
    instance is configured to report errors during writes if RDB snapshotting fails \
    (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB \
    error.";
const NO_ROOM: &str = "MISCONF Errors writing to the AOF file: No space left on device";

/// A small disk.
struct Disk(PathBuf);

impl Disk {
    /// `None`, with the reason printed, where it cannot be mounted.
    fn mount(size: &str) -> Option<Disk> {
        if oracle() {
            return None;
        }
        let dir = temp_dir();
        let option = format!("size={size}");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &option, "tmpfs"])
            .arg(&dir)
            .output();
        let why = match done {
            Ok(output) if output.status.success() => return Some(Disk(dir)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        println!("not tested, as no disk can be mounted: {}", why.trim());
        let _ = fs::remove_dir(&dir);
        None
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }

    /// Fills what is left of it, except for so many bytes.
    fn fill(&self, except: u64) {
        let mut size = 1 << 20;
        let mut all = Vec::new();
        while size > 0 {
            all.resize(all.len() + size, 1);
            if fs::write(self.0.join("filler"), &all).is_err() {
                all.truncate(all.len() - size);
                size /= 2;
            }
        }
        // A write that fails leaves what there was room for.
        let file = fs::File::create(self.0.join("filler")).expect("the filler");
        all.truncate(all.len().saturating_sub(except as usize));
        std::io::Write::write_all(&mut &file, &all).expect("what there was room for");
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).expect("a filler");
    }

    fn names(&self) -> Vec<String> {
        names(&self.0)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("list a directory");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// Runs a job of the background and tells how it ended.
fn finish(client: &mut Client, command: &str, field: &str, status: &str) -> String {
    let reply = client.run(command).text();
    assert!(reply.contains("started"), "{reply}");
    eventually(command, LONG, || info(client, "persistence")[field] == "0");
    info(client, "persistence")[status].clone()
}

fn bgsave(client: &mut Client) -> String {
    finish(
        client,
        "BGSAVE",
        "rdb_bgsave_in_progress",
        "rdb_last_bgsave_status",
    )
}

fn rewrite(client: &mut Client) -> String {
    let field = "aof_rewrite_in_progress";
    finish(client, "BGREWRITEAOF", field, "aof_last_bgrewrite_status")
}

/// Sets numbered keys, one at a time, until one is refused or the server is gone. Returns how many
/// were acknowledged, and the refusal.
fn write_until_refused(client: &mut Client, size: usize, first: usize) -> (usize, Option<Value>) {
    let value = "v".repeat(size);
    for number in first..100_000 {
        let sent = client.try_write(&encode(&["SET", &format!("key:{number}"), &value]));
        match sent.ok().and_then(|()| client.try_recv()) {
            Some(Value::Simple(_)) => {}
            other => return (number, other),
        }
    }
    panic!("the disk is never full");
}

#[track_caller]
fn assert_keys(client: &mut Client, count: usize, size: usize) {
    for number in 0..count {
        let length = client.run(&format!("STRLEN key:{number}")).int();
        assert_eq!(length, size as i64, "key:{number} of {count}");
    }
}

#[test]
fn a_snapshot_that_does_not_fit() {
    let Some(disk) = Disk::mount("4m") else {
        return;
    };
    let dir = disk.path();
    let options = [
        "--dir",
        &dir,
        "--save",
        "3600 100000",
        "--rdbcompression",
        "no",
    ];
    let mut server = Server::with(&options);
    let mut c = server.client();
    c.run("SET old 1");
    assert_eq!(bgsave(&mut c), "ok");
    for number in 0..10 {
        c.cmd(&["SET", &format!("key:{number}"), &"v".repeat(100_000)]);
    }
    disk.fill(200_000);
    assert_eq!(bgsave(&mut c), "err");
    assert_eq!(disk.names(), ["dump.rdb", "filler"]);
    server.wait_log("No space left on device");
    server.wait_log("Background saving error");
    for line in ["SET a 1", "DEL old", "PING", "LPUSH l 1"] {
        assert_eq!(c.run(line), error(NO_SNAPSHOTS), "{line}");
    }
    assert_eq!(c.run("GET old"), "1");
    c.run("MULTI");
    assert_eq!(c.run("SET a 1"), error(NO_SNAPSHOTS));
    let aborted = "EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(c.run("EXEC"), error(aborted));
    assert_eq!(c.run("SAVE"), error("ERR"));
    c.run("CONFIG SET stop-writes-on-bgsave-error no");
    assert_eq!(c.run("SET a 1"), "OK");
    c.run("CONFIG SET stop-writes-on-bgsave-error yes");
    assert_eq!(c.run("SET a 2"), error(NO_SNAPSHOTS));

    // What was saved before is there still.
    server.restart();
    let mut c = server.client();
    assert_eq!(c.run("KEYS *").texts(), ["old"]);
    for number in 0..10 {
        c.cmd(&["SET", &format!("key:{number}"), &"v".repeat(100_000)]);
    }
    assert_eq!(bgsave(&mut c), "err");
    assert_eq!(c.run("SET a 1"), error(NO_SNAPSHOTS));
    disk.make_room();
    assert_eq!(bgsave(&mut c), "ok");
    assert_eq!(c.run("PING"), "PONG");
    assert_eq!(c.run("SET old 2"), "OK");
    server.restart();
    let mut c = server.client();
    assert_keys(&mut c, 10, 100_000);
    assert_eq!(c.run("GET old"), "1");
}

#[test]
fn a_shutdown_that_cannot_save() {
    let Some(disk) = Disk::mount("2m") else {
        return;
    };
    let dir = disk.path();
    let options = [
        "--dir",
        &dir,
        "--save",
        "3600 100000",
        "--rdbcompression",
        "no",
    ];
    let mut server = Server::with(&options);
    let mut c = server.client();
    c.cmd(&["SET", "key:0", &"v".repeat(1_000_000)]);
    disk.fill(10_000);
    let refusal = error("ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(c.run("SHUTDOWN"), refusal);
    assert_eq!(c.run("SHUTDOWN SAVE"), refusal);
    support::signal(server.pid(), "TERM");
    let failed = "Errors trying to shut down the server. Check the logs for more information.";
    eventually("the third failure in the log", LONG, || {
        server.log().matches(failed).count() == 3
    });
    server.wait_log("Error trying to save the DB, can't exit.");
    // It goes on as before, and so does a client that has come meanwhile.
    assert_eq!(c.run("INCR n"), 1);
    assert_eq!(server.client().run("INCR n"), 2);
    disk.make_room();
    support::signal(server.pid(), "TERM");
    assert!(server.wait_exit().success());
    server.restart();
    let mut c = server.client();
    assert_eq!(c.run("GET n"), "2");
    disk.fill(10_000);
    c.run("INCR n");
    c.send(&["SHUTDOWN", "FORCE"]);
    c.assert_closed();
    assert!(server.wait_exit().success());
    assert_eq!(disk.names(), ["dump.rdb", "filler"]);
    server.restart();
    assert_eq!(server.client().run("GET n"), "2");
}

#[test]
fn an_append_only_file_that_finds_no_room_goes_on_later() {
    let Some(disk) = Disk::mount("3m") else {
        return;
    };
    let dir = disk.path();
    let mut server = Server::with(&["--dir", &dir, "--appendonly", "yes"]);
    let mut c = server.client();
    disk.fill(500_000);
    let (count, refusal) = write_until_refused(&mut c, 10_000, 0);
    assert_eq!(refusal, Some(error(NO_ROOM)));
    assert!(count >= 49, "only {count} keys");
    assert_eq!(c.run("PING"), error(NO_ROOM));
    assert_eq!(c.run("DEL key:0"), error(NO_ROOM));
    assert_eq!(c.run("STRLEN key:0"), 10_000);
    assert_eq!(c.run("WAITAOF 1 0 100").items()[0], 0);
    assert_eq!(info(&mut c, "persistence")["aof_last_write_status"], "err");
    server.wait_log("Error writing to the AOF file: No space left on device");
    let refusal = error("ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(c.run("SHUTDOWN"), refusal);
    disk.make_room();
    server.wait_log("AOF write error looks solved");
    assert_eq!(c.run("PING"), "PONG");
    assert_eq!(info(&mut c, "persistence")["aof_last_write_status"], "ok");
    assert_eq!(c.run("SET after 1"), "OK");
    assert_eq!(c.run("WAITAOF 1 0 0").items()[0], 1);
    server.restart();
    let mut c = server.client();
    assert_keys(&mut c, count, 10_000);
    assert_eq!(c.run("GET after"), "1");
    // What could not be written was held back and is not there twice.
    assert_eq!(c.run("DBSIZE"), count as i64 + 1);
}

/// What the writer has taken over and cannot write is nothing that eviction is to make up for.
#[test]
fn what_waits_for_room_does_not_count_for_eviction() {
    let Some(disk) = Disk::mount("3m") else {
        return;
    };
    let dir = disk.path();
    let server = Server::with(&["--dir", &dir, "--appendonly", "yes"]);
    let mut c = server.client();
    disk.fill(300_000);
    assert_eq!(c.cmd(&["SET", "key", &"v".repeat(1_000_000)]), "OK");
    server.wait_log("Error writing to the AOF file: No space left on device");
    let memory = info(&mut c, "memory");
    for field in ["mem_aof_buffer", "mem_not_counted_for_evict"] {
        let bytes: usize = memory[field].parse().expect("bytes");
        assert!(bytes >= 1_000_000, "{field}: {bytes}");
    }
    disk.make_room();
    server.wait_log("AOF write error looks solved");
    assert_eq!(c.run("WAITAOF 1 0 0").items()[0], 1);
    // Buffers of that size are not kept.
    eventually("it is given back", LONG, || {
        info(&mut c, "memory")["mem_aof_buffer"].len() < 7
    });
}

#[test]
fn a_kill_while_there_is_no_room_leaves_what_was_written() {
    let Some(disk) = Disk::mount("3m") else {
        return;
    };
    let dir = disk.path();
    let mut server = Server::with(&["--dir", &dir, "--appendonly", "yes"]);
    let mut c = server.client();
    disk.fill(300_000);
    let (count, _) = write_until_refused(&mut c, 10_000, 0);
    server.kill9();
    disk.make_room();
    server.restart();
    let mut c = server.client();
    let found = c.run("DBSIZE").int() as usize;
    assert!((20..=count).contains(&found), "{found} of {count}");
    assert_keys(&mut c, found, 10_000);
}

#[test]
fn a_rewrite_that_finds_no_room_changes_nothing() {
    let Some(disk) = Disk::mount("6m") else {
        return;
    };
    let dir = disk.path();
    let options = [
        "--dir",
        &dir,
        "--appendonly",
        "yes",
        "--rdbcompression",
        "no",
    ];
    let mut server = Server::with(&options);
    let mut c = server.client();
    for number in 0..100 {
        c.cmd(&["SET", &format!("key:{number}"), &"v".repeat(10_000)]);
    }
    assert_eq!(c.run("WAITAOF 1 0 0").items()[0], 1);
    for rdb in ["yes", "no"] {
        c.cmd(&["CONFIG", "SET", "aof-use-rdb-preamble", rdb]);
        disk.fill(300_000);
        assert_eq!(rewrite(&mut c), "err", "preamble {rdb}");
        assert_eq!(disk.names(), ["appendonlydir", "filler"]);
        assert_eq!(c.run("INCR n").int() % 2, 1);
        disk.make_room();
        assert_eq!(c.run("INCR n").int() % 2, 0);
    }
    // The disk becomes full, and a rewrite is tried twice, before there is room again.
    disk.fill(50_000);
    let (count, refusal) = write_until_refused(&mut c, 10_000, 100);
    assert_eq!(refusal, Some(error(NO_ROOM)));
    for _ in 0..2 {
        let _ = c.run("BGREWRITEAOF");
        eventually("a rewrite", LONG, || {
            info(&mut c, "persistence")["aof_rewrite_in_progress"] == "0"
        });
    }
    disk.make_room();
    eventually("room", LONG, || matches!(c.run("INCR n"), Value::Int(_)));
    let n = c.run("GET n").text();
    assert_eq!(c.run("WAITAOF 1 0 0").items()[0], 1);
    server.restart();
    let mut c = server.client();
    assert_keys(&mut c, count, 10_000);
    assert_eq!(c.run("GET n"), n);
    assert_eq!(rewrite(&mut c), "ok");
    let n = c.run("INCR n").int().to_string();
    assert_eq!(c.run("WAITAOF 1 0 0").items()[0], 1);
    server.restart();
    let mut c = server.client();
    assert_keys(&mut c, count, 10_000);
    assert_eq!(c.run("GET n"), n);
}

#[test]
fn an_append_only_file_that_cannot_be_begun() {
    let Some(disk) = Disk::mount("3m") else {
        return;
    };
    let dir = disk.path();
    let mut server = Server::with(&["--dir", &dir, "--rdbcompression", "no"]);
    let mut c = server.client();
    for number in 0..10 {
        c.cmd(&["SET", &format!("key:{number}"), &"v".repeat(100_000)]);
    }
    disk.fill(500_000);
    assert_eq!(c.run("CONFIG SET appendonly yes"), "OK");
    // It is tried again, but not for ever in a row.
    server.wait_log("repeatedly failed and triggered the limit, will retry in 1 minutes");
    std::thread::sleep(Duration::from_millis(300));
    let failures = server
        .log()
        .matches("rewrite terminated with error")
        .count();
    assert_eq!(failures, 3);
    assert_eq!(disk.names(), ["appendonlydir", "filler"]);
    assert_eq!(names(&disk.0.join("appendonlydir")), [""; 0]);
    let refusal = error("ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(c.run("SHUTDOWN"), refusal);
    assert_eq!(c.run("INCR n"), 1);
    disk.make_room();
    assert_eq!(rewrite(&mut c), "ok");
    assert_eq!(c.run("INCR n"), 2);
    assert_eq!(c.run("WAITAOF 1 0 0").items()[0], 1);
    server.add_arguments(&["--appendonly", "yes"]);
    server.restart();
    let mut c = server.client();
    assert_keys(&mut c, 10, 100_000);
    assert_eq!(c.run("GET n"), "2");
}

#[test]
fn always_ends_where_nothing_can_be_promised() {
    let Some(disk) = Disk::mount("3m") else {
        return;
    };
    let dir = disk.path();
    let options = [
        "--dir",
        &dir,
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ];
    let mut server = Server::with(&options);
    disk.fill(300_000);
    let mut c = server.client();
    let (count, refusal) = write_until_refused(&mut c, 10_000, 0);
    assert_eq!(refusal, None);
    assert_eq!(server.wait_exit().code(), Some(1));
    let log = server.log();
    assert!(
        log.contains("Error writing to the AOF file: No space left on device"),
        "{log}"
    );
    let last =
        "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...";
    assert!(log.contains(last), "{log}");
    disk.make_room();
    server.restart();
    let mut c = server.client();
    assert_keys(&mut c, count, 10_000);
    assert!(c.run("DBSIZE").int() <= count as i64 + 1);
    assert_eq!(c.run("SET after 1"), "OK");
}

#[test]
fn a_start_without_room_ends_at_once() {
    let Some(disk) = Disk::mount("1m") else {
        return;
    };
    disk.fill(0);
    let dir = disk.path();
    let ended = run_to_end(
        &[
            "--port",
            "0",
            "--unixsocket",
            "s",
            "--dir",
            &dir,
            "--appendonly",
            "yes",
        ],
        "",
    );
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    assert!(
        ended.output.contains("No space left on device"),
        "{}",
        ended.output
    );
}

#[test]
fn a_directory_that_is_gone() {
    if oracle() {
        return;
    }
    let outer = temp_dir();
    let dir = outer.join("in");
    fs::create_dir(&dir).expect("create a directory");
    let path = dir.display().to_string();
    let mut options = vec![
        "--dir",
        &path,
        "--appendonly",
        "yes",
        "--save",
        "3600 100000",
    ];
    options.extend(["--enable-protected-configs", "yes"]);
    let server = Server::with(&options);
    let mut c = server.client();
    c.run("SET a 1");
    fs::remove_dir_all(&dir).expect("remove a directory");
    assert_eq!(
        c.run("BGREWRITEAOF").error(),
        "ERR Can't execute an AOF background rewriting. \
        Please check the server logs for more information."
    );
    assert_eq!(bgsave(&mut c), "err");
    server.wait_log("Failed opening the temp RDB file");
    assert_eq!(c.run("SET a 2"), error(NO_SNAPSHOTS));
    assert_eq!(c.run("GET a"), "1");
    fs::create_dir(&dir).expect("create a directory");
    c.cmd(&["CONFIG", "SET", "dir", &path]);
    assert_eq!(bgsave(&mut c), "ok");
    assert_eq!(c.run("SET a 3"), "OK");
    assert_eq!(rewrite(&mut c), "ok");
    fs::remove_dir_all(&outer).expect("remove a directory");
}

#[test]
fn a_directory_in_the_place_of_the_file() {
    if oracle() {
        return;
    }
    let options = ["--save", "3600 100000", "--enable-protected-configs", "yes"];
    let server = Server::with(&options);
    let mut c = server.client();
    c.run("SET a 1");
    fs::create_dir_all(server.dir().join("dump.rdb/in")).expect("create a directory");
    assert_eq!(bgsave(&mut c), "err");
    server.wait_log("on the final destination dump.rdb");
    assert_eq!(c.run("SET a 2"), error(NO_SNAPSHOTS));
    assert!(
        names(server.dir())
            .iter()
            .all(|name| !name.starts_with("temp-"))
    );
    c.run("CONFIG SET dbfilename other.rdb");
    assert_eq!(c.run("SAVE"), "OK");
    assert_eq!(c.run("SET a 2"), "OK");
}

#[test]
fn directories_that_cannot_be_used() {
    if oracle() {
        return;
    }
    // A file in the place of the folder, and of a part of its path; and where nothing can be made.
    let dir = temp_dir();
    fs::write(dir.join("appendonlydir"), "a file").expect("write a file");
    let path = dir.display().to_string();
    let below = dir.join("appendonlydir/below").display().to_string();
    for (dir, append) in [(&*path, "yes"), (&*below, "no"), ("/proc", "yes")] {
        let args = [
            "--port",
            "0",
            "--unixsocket",
            "",
            "--dir",
            dir,
            "--appendonly",
            append,
        ];
        let ended = run_to_end(&args, "");
        assert_eq!(ended.status.code(), Some(1), "{dir}: {}", ended.output);
        assert!(!ended.output.contains("anic"), "{dir}: {}", ended.output);
    }
    assert_eq!(
        fs::read(dir.join("appendonlydir")).expect("a file"),
        b"a file"
    );
    // The snapshot file as a directory.
    fs::create_dir(dir.join("dump.rdb")).expect("create a directory");
    let ended = run_to_end(&["--port", "0", "--dir", &path], "");
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    fs::remove_dir_all(&dir).expect("remove a directory");

    let options = ["--save", "3600 100000", "--enable-protected-configs", "yes"];
    let server = Server::with(&options);
    let mut c = server.client();
    c.run("SET a 1");
    assert_eq!(c.run("CONFIG SET dir /proc"), "OK");
    assert_eq!(bgsave(&mut c), "err");
    assert_eq!(c.run("SET a 2"), error(NO_SNAPSHOTS));
    let refusal = c.run("CONFIG SET appendonly yes");
    assert!(
        refusal.error().contains("Unable to turn on AOF"),
        "{refusal:?}"
    );
    let path = server.dir().display().to_string();
    c.cmd(&["CONFIG", "SET", "dir", &path]);
    assert_eq!(bgsave(&mut c), "ok");
    assert_eq!(c.run("CONFIG SET appendonly yes"), "OK");
    assert_eq!(c.run("SET a 2"), "OK");
}
