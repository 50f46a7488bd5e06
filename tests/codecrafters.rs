//! Persistence as the CodeCrafters challenge looks at it: options on the command line, a snapshot
//! that somebody else has made, and the files of the append only file byte for byte.
//! <https://app.codecrafters.io/courses/redis/overview>

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use stdis::persist::crc64;
use support::{NULL, Server, simple, temp_dir};

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
