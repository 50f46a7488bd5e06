//! Persistence and replication as the CodeCrafters challenge looks at them: options on the command
//! line, a snapshot that somebody else has made, the files of the append only file and both ends of
//! a replication link byte for byte.
//! <https://app.codecrafters.io/courses/redis/overview>

#[path = "support/link.rs"]
mod link;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use link::{FAKE_ID, FakePrimary, Link, RawReplica, full_resync, heard};
use stdis::persist::crc64;
use support::{Client, NULL, REPLY_TIMEOUT, Server, encode, eventually, info, simple, temp_dir};

/// A folder that goes when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        Folder(temp_dir())
    }

    fn text(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn now_ms() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.expect("a time after 1970").as_millis() as u64
}

/// A text with its length in front, as short ones are written.
fn text(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

/// A snapshot of some version: header, auxiliary fields, one database, end.
fn snapshot(version: &str, keys: u8, volatile: u8, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut file = format!("REDIS{version}").into_bytes();
    file.push(0xFA);
    file.extend([text("redis-ver"), text("7.2.0")].concat());
    file.push(0xFA);
    file.extend(text("redis-bits"));
    file.extend([0xC0, 64]);
    file.extend([0xFE, 0, 0xFB, keys, volatile]);
    file.extend(entries.concat());
    file.push(0xFF);
    let crc = crc64::checksum(&file);
    file.extend(crc.to_le_bytes());
    file
}

fn entry(key: &str, value: &str) -> Vec<u8> {
    [vec![0], text(key), text(value)].concat()
}

fn with_ms(deadline: u64, entry: Vec<u8>) -> Vec<u8> {
    [vec![0xFC], deadline.to_le_bytes().to_vec(), entry].concat()
}

fn with_seconds(deadline: u32, entry: Vec<u8>) -> Vec<u8> {
    [vec![0xFD], deadline.to_le_bytes().to_vec(), entry].concat()
}

#[test]
fn a_snapshot_made_by_hand() {
    let later = now_ms() + 100_000;
    for version in ["0003", "0009", "0011"] {
        let mut entries = vec![
            entry("plain", "value"),
            with_ms(later, entry("ms", "milliseconds")),
            with_seconds((later / 1000) as u32, entry("s", "seconds")),
            with_ms(now_ms() - 1000, entry("past", "gone")),
            with_seconds(1_000_000_000, entry("long ago", "gone")),
        ];
        // Integers of 8, 16 and 32 bits, a length of 14 bits, and a compressed text.
        for (key, value) in [
            ("int8", &[0xC0, 0x7B][..]),
            ("int16", &[0xC1, 0x39, 0x30]),
            ("int32", &[0xC2, 0x87, 0xD6, 0x12, 0x00]),
            ("lzf", &[0xC3, 0x05, 0x0A, 0x00, b'a', 0xE0, 0x00, 0x00]),
        ] {
            entries.push([vec![0], text(key), value.to_vec()].concat());
        }
        let long = [&[0x42, 0x58][..], &[b'x'; 600]].concat();
        entries.push([vec![0], text("long"), long].concat());
        let mut file = snapshot(version, entries.len() as u8, 4, &entries);
        if version == "0003" {
            // Before version 5 there was no checksum, nor were there auxiliary fields.
            let body = entries.concat();
            file = [b"REDIS0003\xFE\x00", &body[..], b"\xFF"].concat();
        }
        let folder = Folder::new();
        fs::write(folder.0.join("made.rdb"), file).expect("a file");
        let s = Server::with(&["--dir", &folder.text(), "--dbfilename", "made.rdb"]);
        let mut c = s.client();
        for (key, value) in [
            ("plain", "value"),
            ("ms", "milliseconds"),
            ("s", "seconds"),
            ("int8", "123"),
            ("int16", "12345"),
            ("int32", "1234567"),
            ("lzf", "aaaaaaaaaa"),
            ("long", &"x".repeat(600)),
        ] {
            assert_eq!(c.cmd(&["GET", key]), value, "{key}, version {version}");
        }
        assert_eq!(c.run("GET past"), NULL);
        assert_eq!(c.cmd(&["GET", "long ago"]), NULL);
        assert_eq!(c.run("PEXPIRETIME ms"), later as i64);
        assert_eq!(c.run("EXPIRETIME s"), (later / 1000) as i64);
        assert_eq!(c.run("TTL plain"), -1);
        assert_eq!(c.run("DBSIZE"), 8);
        let mut keys = c.run("KEYS *").sorted();
        keys.retain(|key| key.starts_with('i'));
        assert_eq!(keys, ["int16", "int32", "int8"]);
        assert_eq!(c.run("CONFIG GET dir"), array!["dir", folder.text()]);
        let name = array!["dbfilename", "made.rdb"];
        assert_eq!(c.run("CONFIG GET dbfilename"), name);
    }
}

#[test]
fn no_snapshot_is_an_empty_data_set() {
    let folder = Folder::new();
    let s = Server::with(&["--dir", &folder.text(), "--dbfilename", "none.rdb"]);
    let mut c = s.client();
    assert_eq!(c.run("KEYS *"), array![]);
    assert_eq!(c.run("DBSIZE"), 0);
    assert!(!folder.0.join("none.rdb").exists());
    c.run("SET a 1");
    assert_eq!(c.run("SAVE"), simple("OK"));
    let file = fs::read(folder.0.join("none.rdb")).expect("the file");
    assert!(file.starts_with(b"REDIS00"));
}

/// The options of a server with an append only file under names of its own.
fn options(folder: &str) -> Vec<String> {
    let words = format!(
        "--appendonly yes --appenddirname logs --appendfilename my.aof --appendfsync always \
         --dir {folder}"
    );
    words.split(' ').map(str::to_owned).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const SELECT: &str = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
const SET: &str = "*3\r\n$3\r\nSET\r\n$3\r\nfoo\r\n$3\r\nbar\r\n";

#[test]
fn an_append_only_file_from_the_start() {
    let folder = Folder::new();
    let mut s = Server::with(&options(&folder.text()));
    let logs = folder.0.join("logs");
    let increment = logs.join("my.aof.1.incr.aof");
    assert_eq!(read(&increment), "");
    let manifest = read(&logs.join("my.aof.manifest"));
    assert_eq!(
        manifest,
        "file my.aof.1.base.rdb seq 1 type b\nfile my.aof.1.incr.aof seq 1 type i\n"
    );
    let mut c = s.client();
    for (name, value) in [
        ("appendonly", "yes"),
        ("appenddirname", "logs"),
        ("appendfilename", "my.aof"),
        ("appendfsync", "always"),
    ] {
        assert_eq!(c.cmd(&["CONFIG", "GET", name]), array![name, value]);
    }
    assert_eq!(c.run("SET foo bar"), simple("OK"));
    let mut expected = format!("{SELECT}{SET}");
    assert_eq!(read(&increment), expected);
    for line in [
        "GET foo",
        "PING",
        "ECHO x",
        "EXISTS foo",
        "DEL none",
        "KEYS *",
    ] {
        c.run(line);
    }
    // What fails changes nothing.
    c.run("INCR foo");
    c.run("SET foo");
    c.run("LPUSH foo x");
    assert_eq!(read(&increment), expected);
    c.write(b"INCR n\r\n");
    assert_eq!(c.recv(), 1);
    expected += "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n";
    assert_eq!(read(&increment), expected);
    c.cmd(&["RPUSH", "list", "", "a\r\nb"]);
    expected += "*4\r\n$5\r\nRPUSH\r\n$4\r\nlist\r\n$0\r\n\r\n$4\r\na\r\nb\r\n";
    assert_eq!(read(&increment), expected);
    s.restart();
    let mut c = s.client();
    assert_eq!(c.run("GET foo"), "bar");
    assert_eq!(c.run("GET n"), "1");
    assert_eq!(c.run("LRANGE list 0 -1"), array!["", "a\r\nb"]);
    assert_eq!(read(&increment), expected);
    assert_eq!(read(&logs.join("my.aof.manifest")), manifest);
    // It goes on behind what is there, in a database that it names anew.
    c.run("SET foo bar");
    assert_eq!(read(&increment), expected + SELECT + SET);
}

#[test]
fn an_append_only_file_that_is_there() {
    let folder = Folder::new();
    let logs = folder.0.join("logs");
    fs::create_dir(&logs).expect("a folder");
    // Only an increment, under a number and with a name of its own.
    let manifest = "file other.7.incr.aof seq 7 type i\n";
    fs::write(logs.join("my.aof.manifest"), manifest).expect("a file");
    let replayed = "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$1\r\nv\r\n";
    fs::write(logs.join("other.7.incr.aof"), replayed).expect("a file");
    let mut s = Server::with(&options(&folder.text()));
    let mut c = s.client();
    assert_eq!(c.run("GET k"), "v");
    assert_eq!(c.run("DBSIZE"), 1);
    c.run("SET foo bar");
    let increment = logs.join("other.7.incr.aof");
    let expected = format!("{replayed}{SELECT}{SET}");
    assert_eq!(read(&increment), expected);
    assert_eq!(read(&logs.join("my.aof.manifest")), manifest);
    let mut files: Vec<_> = fs::read_dir(&logs)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["my.aof.manifest", "other.7.incr.aof"]);
    s.restart();
    let mut c = s.client();
    assert_eq!(c.run("GET k"), "v");
    assert_eq!(c.run("GET foo"), "bar");
    assert_eq!(read(&increment), expected);
}

#[test]
fn an_empty_increment_that_is_there() {
    let folder = Folder::new();
    let logs = folder.0.join("logs");
    fs::create_dir(&logs).expect("a folder");
    let manifest = "file my.aof.1.incr.aof seq 1 type i\n";
    fs::write(logs.join("my.aof.manifest"), manifest).expect("a file");
    fs::write(logs.join("my.aof.1.incr.aof"), "").expect("a file");
    let s = Server::with(&options(&folder.text()));
    s.client().run("SET foo bar");
    let increment = read(&logs.join("my.aof.1.incr.aof"));
    assert_eq!(increment, format!("{SELECT}{SET}"));
    assert_eq!(read(&logs.join("my.aof.manifest")), manifest);
}

/// What is there is seen, and nothing is refused, from the first reply on that is not an error.
#[test]
fn nobody_sees_the_data_set_half_loaded() {
    let folder = Folder::new();
    let mut s = Server::with(&options(&folder.text()));
    s.client().run("SET foo bar");
    for n in 1..=20 {
        s.restart();
        let mut c = s.client();
        assert_eq!(c.run("GET foo"), "bar");
        assert_eq!(c.run("INCR n"), n);
    }
}

// ------------------------------------------------------------------ replication

/// The snapshot without keys that the challenge's primary sends.
const EMPTY: &str = "524544495330303131fa0972656469732d76657205372e322e30fa0a72656469732d62697473c0\
                     40fa056374696d65c26d08bc65fa08757365642d6d656dc2b0c41000fa08616f662d62617365c0\
                     00fff06e3bfec0ff5aa2";

fn empty() -> Vec<u8> {
    if support::oracle() {
        // Redis 7.0 does not know this version yet.
        return link::EMPTY_RDB.to_vec();
    }
    let digits = EMPTY.as_bytes().chunks(2);
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(text, 16).expect("two digits")
    };
    digits.map(pair).collect()
}

/// The commands of a stream in one piece.
fn stream(lines: &[&str]) -> Vec<u8> {
    let line = |line: &&str| encode(&line.split(' ').collect::<Vec<_>>());
    lines.iter().flat_map(line).collect()
}

/// Reads until a replica has acknowledged this offset, which it also does by itself.
#[track_caller]
fn await_ack(link: &mut Link, expected: u64) {
    loop {
        let words = link.command();
        assert_eq!(words[..2], ["REPLCONF", "ACK"]);
        let offset: u64 = words[2].parse().expect("an offset");
        assert!(offset <= expected, "{offset} instead of {expected}");
        if offset == expected {
            return;
        }
    }
}

#[test]
fn what_info_says_of_replication() {
    let server = Server::start();
    let mut client = server.client();
    let text = client.run("INFO replication").text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "# Replication");
    assert!(lines.contains(&"role:master"), "{text}");
    assert!(lines.contains(&"master_repl_offset:0"), "{text}");
    let id = lines
        .iter()
        .find_map(|line| line.strip_prefix("master_replid:"));
    let id = id.expect("an id");
    assert!(id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    // A replica of nobody that answers says what it is all the same.
    let port = support::free_port();
    let replica = Server::with(&["--replicaof", &format!("localhost {port}")]);
    assert_eq!(replica.info("replication")["role"], "slave");
}

/// Both ways of naming the primary, and what the replica says first.
#[test]
fn the_handshake_of_a_replica() {
    let primary = FakePrimary::listen();
    let port = primary.port().to_string();
    let one = format!("localhost {port}");
    for arguments in [
        &["--replicaof", &one[..]][..],
        &["--replicaof", "localhost", &port],
    ] {
        let replica = Server::with(arguments);
        let (mut link, said) = primary.handshake();
        let own = replica.port().to_string();
        assert_eq!(said[0], ["PING"]);
        assert_eq!(said[1], ["REPLCONF", "listening-port", &own[..]]);
        assert_eq!(said[2][0], "REPLCONF");
        let psync2 = said[2].windows(2).any(|pair| pair == ["capa", "psync2"]);
        assert!(psync2, "{said:?}");
        assert_eq!(said[3], ["PSYNC", "?", "-1"]);
        link.write(&full_resync(&empty()));
        eventually("the link is up", REPLY_TIMEOUT, || {
            replica.info("replication")["master_link_status"] == "up"
        });
        assert_eq!(replica.info("replication")["master_replid"], FAKE_ID);
    }
}

#[test]
fn the_answers_to_a_replica() {
    let server = Server::start();
    let mut link = Link::connect(server.port());
    assert_eq!(link.ask("PING"), "+PONG");
    assert_eq!(link.ask("REPLCONF listening-port 6380"), "+OK");
    assert_eq!(link.ask("REPLCONF capa psync2"), "+OK");
    link.send("PSYNC ? -1");
    let answer = heard(&mut link);
    let words: Vec<&str> = answer.split(' ').collect();
    assert_eq!((words[0], words[2]), ("+FULLRESYNC", "0"), "{answer}");
    assert_eq!(words[1].len(), 40);
    assert_eq!(words[1], server.info("replication")["master_replid"]);
    let length = heard(&mut link);
    let length: usize = length
        .strip_prefix('$')
        .and_then(|digits| digits.parse().ok())
        .expect("a length");
    let snapshot = link.exact(length);
    assert_eq!(&snapshot[..5], b"REDIS");
    // It is one: with what a checksum is for.
    let (body, sum) = snapshot.split_at(length - 8);
    assert_eq!(crc64::checksum(body).to_le_bytes(), sum);
    // Nothing stands between it and the first command.
    server.client().run("SET foo 1");
    assert_eq!(link.exact(23), stream(&["SELECT 0"]));
    assert_eq!(link.exact(29), stream(&["SET foo 1"]));
}

/// Commands go to every replica, in their order, and are not answered by any.
#[test]
fn commands_go_to_all_replicas() {
    let server = Server::start();
    let mut replicas: Vec<RawReplica> = (0..3).map(|_| RawReplica::sync(server.port())).collect();
    let mut client = server.client();
    for (key, value) in [("foo", "123"), ("bar", "456"), ("baz", "789")] {
        assert_eq!(client.run(&format!("SET {key} {value}")), simple("OK"));
    }
    for replica in &mut replicas {
        assert_eq!(replica.text(), "SELECT 0");
        for line in ["SET foo 123", "SET bar 456", "SET baz 789"] {
            assert_eq!(replica.text(), line);
        }
    }
}

/// The snapshot, commands, and a question in one packet, or in packets of any size.
#[test]
fn a_replica_takes_packets_as_they_come() {
    let primary = FakePrimary::listen();
    for size in [usize::MAX, 1, 2, 3, 5, 7, 11, 50, 88, 100] {
        let replica = Server::with(&["--replicaof", &format!("localhost {}", primary.port())]);
        let (mut link, _) = primary.handshake();
        let lines = ["SET foo 123", "SET bar 456", "SET baz 789"];
        let mut bytes = full_resync(&empty());
        bytes.extend(stream(&lines));
        bytes.extend(stream(&["REPLCONF GETACK *"]));
        for part in bytes.chunks(size.min(bytes.len())) {
            link.write(part);
            std::thread::yield_now();
        }
        await_ack(&mut link, stream(&lines).len() as u64);
        let mut client = replica.client();
        for (key, value) in [("foo", "123"), ("bar", "456"), ("baz", "789")] {
            assert_eq!(client.cmd(&["GET", key]), value, "packets of {size}");
        }
    }
}

#[test]
fn a_replica_counts_every_byte() {
    let primary = FakePrimary::listen();
    let _replica = Server::with(&["--replicaof", &format!("localhost {}", primary.port())]);
    let mut link = primary.full(&empty());
    link.send("REPLCONF GETACK *");
    await_ack(&mut link, 0);
    link.send("PING");
    link.send("REPLCONF GETACK *");
    await_ack(&mut link, 37 + 14);
    link.send("SET foo 1");
    link.send("SET bar 2");
    link.send("REPLCONF GETACK *");
    await_ack(&mut link, 37 + 14 + 37 + 29 + 29);
}

/// The reply of WAIT, and how long it takes.
#[track_caller]
fn wait(client: &mut Client, line: &str) -> (i64, Duration) {
    let start = Instant::now();
    (client.run(line).int(), start.elapsed())
}

#[test]
fn waiting_for_replicas() {
    let server = Server::start();
    let mut client = server.client();
    // Nobody is there.
    let (count, time) = wait(&mut client, "WAIT 0 60000");
    assert_eq!(count, 0);
    assert!(time < Duration::from_secs(5));
    // Nothing has been written.
    let mut replicas: Vec<RawReplica> = (0..5).map(|_| RawReplica::sync(server.port())).collect();
    eventually("all are there", REPLY_TIMEOUT, || {
        info(&mut client, "replication")["connected_slaves"] == "5" && client.run("WAIT 5 10") == 5
    });
    for needed in [3, 5, 7] {
        let (count, time) = wait(&mut client, &format!("WAIT {needed} 300"));
        assert_eq!(count, 5);
        assert_eq!(time >= Duration::from_millis(290), needed == 7, "{time:?}");
    }
    // Some acknowledge: enough of them, and then not.
    for (n, needed, acknowledging) in [(1, 1, 1), (2, 2, 4), (3, 3, 2), (4, 5, 3)] {
        client.run(&format!("SET foo {n}"));
        client.send(&["WAIT", &needed.to_string(), "500"]);
        for replica in &mut replicas {
            while replica.text() != format!("SET foo {n}") {}
            assert_eq!(replica.text(), "REPLCONF GETACK *");
        }
        for replica in &mut replicas[..acknowledging] {
            replica.offset -= 37;
            replica.ack();
            replica.offset += 37;
        }
        let count = client.recv().int();
        let least = needed.min(acknowledging as i64);
        assert!(
            count >= least && count <= acknowledging as i64,
            "{n}: {count}"
        );
    }
}

/// A whole pair: the replica has what the primary has, and refuses what is not from there.
#[test]
fn a_pair() {
    let server = Server::start();
    let option = format!("localhost {}", server.port());
    let replica = Server::with(&["--replicaof", &option]);
    let mut client = server.client();
    client.run("SET foo bar");
    let mut reader = replica.client();
    eventually("it is replicated", REPLY_TIMEOUT, || {
        reader.run("GET foo") == "bar"
    });
    client.run("SET foo 1");
    assert_eq!(client.run("WAIT 1 10000"), 1);
    assert_eq!(reader.run("GET foo"), "1");
    assert!(reader.run("SET foo 2").error().starts_with("READONLY"));
}
