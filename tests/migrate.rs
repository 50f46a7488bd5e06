//! MIGRATE: what it says to its target, what it makes of the answers, and that a key is never in
//! two places or in none.

mod support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{
    Client, NULL, REPLY_TIMEOUT, Server, Value, error, eventually, free_port, oracle, simple,
};

/// Long enough for anything that is to happen.
const LONG: &str = "10000";
const NOT_READ: &str = "IOERR error or timeout reading to target instance";
const NOT_WRITTEN: &str = "IOERR error or timeout writing to target instance";
const NOT_CONNECTED: &str = "IOERR error or timeout connecting to the client";

/// Stands in for the server that keys are moved to.
struct Target {
    listener: TcpListener,
}

impl Target {
    fn new() -> Target {
        Target {
            listener: TcpListener::bind("127.0.0.1:0").expect("bind"),
        }
    }

    fn port(&self) -> String {
        let address = self.listener.local_addr().expect("an address");
        address.port().to_string()
    }

    fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().expect("a connection");
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).expect("set");
        Peer {
            input: BufReader::new(stream.try_clone().expect("a second handle")),
            stream,
        }
    }

    /// Nobody else has connected.
    fn assert_quiet(&self) {
        self.listener.set_nonblocking(true).expect("set");
        let error = self.listener.accept().expect_err("no connection");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        self.listener.set_nonblocking(false).expect("set");
    }

    /// `MIGRATE` to this target; `rest` is the key and all behind it.
    fn send(&self, c: &mut Client, rest: &str) {
        let port = self.port();
        let mut words = vec!["MIGRATE", "127.0.0.1", &port];
        words.extend(rest.split(' ').map(|word| word.trim_matches('"')));
        c.send(&words);
    }
}

/// One connection to the target.
struct Peer {
    input: BufReader<TcpStream>,
    stream: TcpStream,
}

impl Peer {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.input.read_line(&mut line).expect("a line");
        line.trim_end().to_string()
    }

    /// The next request.
    fn request(&mut self) -> Vec<Vec<u8>> {
        let count = self.line()[1..].parse().expect("a count");
        let bulk = |_| {
            let len: usize = self.line()[1..].parse().expect("a length");
            let mut word = vec![0; len + 2];
            self.input.read_exact(&mut word).expect("a word");
            word.truncate(len);
            word
        };
        (0..count).map(bulk).collect()
    }

    /// The next request is this one; `*` stands for any word that is not empty.
    #[track_caller]
    fn expect(&mut self, words: &str) {
        let request = self.request();
        let shown: Vec<_> = request.iter().map(|w| String::from_utf8_lossy(w)).collect();
        let words: Vec<&str> = words.split(' ').collect();
        let fits = words.len() == shown.len()
            && (words.iter().zip(&shown)).all(|(&w, s)| w == "*" && !s.is_empty() || w == s);
        assert!(fits, "{shown:?} is not {words:?}");
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("write");
    }
}

fn with_keys(keys: &[&str]) -> (Server, Client) {
    let s = Server::start();
    let mut c = s.client();
    for key in keys {
        c.cmd(&["SET", key, &format!("value of {key}")]);
    }
    (s, c)
}

#[test]
fn arguments_are_checked_before_keys() {
    let (_s, mut c) = with_keys(&["k"]);
    const BOTH: &str =
        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string";
    const NUMBER: &str = "ERR value is not an integer or out of range";
    for (line, expected) in [
        ("h 1 k 0 10 WHAT", "ERR syntax error"),
        ("h 1 k 0 10 AUTH", "ERR syntax error"),
        ("h 1 k 0 10 AUTH2 user", "ERR syntax error"),
        ("h 1 k 0 10 COPY WHAT KEYS k", "ERR syntax error"),
        ("h 1 k x y WHAT", "ERR syntax error"),
        ("h 1 k 0 10 KEYS a", BOTH),
        ("h 1 k 0 10 KEYS", BOTH),
        ("h 1 none 0 x", NUMBER),
        ("h 1 none x 10", NUMBER),
        (
            "h 1 none 0",
            "ERR wrong number of arguments for 'migrate' command",
        ),
    ] {
        assert_eq!(c.run(&format!("MIGRATE {line}")), error(expected), "{line}");
    }
    for line in ["none 0 10", "none 5000 -3", "none -1 10 AUTH KEYS COPY"] {
        let reply = c.run(&format!("MIGRATE h 1 {line}"));
        assert_eq!(reply, simple("NOKEY"), "{line}");
    }
    let reply = c.cmd(&["MIGRATE", "h", "1", "", "0", "10", "KEYS"]);
    assert_eq!(reply, simple("NOKEY"));
    let reply = c.cmd(&["MIGRATE", "h", "1", "", "0", "10", "copy", "keys", "a", "b"]);
    assert_eq!(reply, simple("NOKEY"));
}

#[test]
fn keys_are_found_in_the_arguments() {
    let (_s, mut c) = with_keys(&[]);
    let mut keys = |rest: &[&str]| {
        let mut words = vec!["COMMAND", "GETKEYS", "MIGRATE", "h", "1"];
        words.extend(rest);
        c.cmd(&words)
    };
    assert_eq!(keys(&["k", "0", "10"]).texts(), ["k"]);
    assert_eq!(keys(&["", "0", "10", "KEYS", "a", "b"]).texts(), ["a", "b"]);
    let hidden = ["", "0", "10", "AUTH2", "keys", "keys", "KEYS", "keys", "b"];
    assert_eq!(keys(&hidden).texts(), ["keys", "b"]);
    assert_eq!(keys(&["", "0", "10", "WHAT", "KEYS", "b"]).texts(), ["b"]);
    assert_eq!(keys(&["", "0", "10", "KEYS"]).texts(), [""]);
    let invalid = error("ERR Invalid arguments specified for command");
    assert_eq!(keys(&["k", "0", "10", "KEYS", "a"]), invalid);
}

#[test]
fn monitors_do_not_see_passwords() {
    let (s, mut c) = with_keys(&[]);
    let mut monitor = s.client();
    monitor.run("MONITOR");
    c.run("MIGRATE h 1 k 0 10 AUTH hush COPY");
    c.run("MIGRATE h 1 k 0 10 AUTH2 me hush");
    let line = monitor.recv().text();
    let shown = r#""0" "10" "AUTH" "(redacted)" "COPY""#;
    assert!(line.ends_with(shown), "{line}");
    let line = monitor.recv().text();
    assert!(
        line.ends_with(r#""AUTH2" "(redacted)" "(redacted)""#),
        "{line}"
    );
}

#[test]
fn a_key_moves_and_the_connection_stays() {
    let (s, mut c) = with_keys(&["a", "b", "c", "d"]);
    let target = Target::new();
    target.send(&mut c, "a 3 5000");
    let mut peer = target.accept();
    peer.expect("SELECT 3");
    peer.expect("RESTORE a 0 *");
    peer.say("+OK\r\n+OK\r\n");
    assert_eq!(c.recv(), "OK");
    assert_eq!(c.run("EXISTS a"), 0);
    assert_eq!(s.info_int("migrate_cached_sockets"), 1);
    // The same database is selected already.
    c.run("PEXPIRE b 100000");
    target.send(&mut c, "b 3 5000 COPY REPLACE");
    let request = peer.request();
    let ttl: i64 = String::from_utf8_lossy(&request[2]).parse().expect("a ttl");
    assert!((90_000..=100_000).contains(&ttl), "{ttl}");
    assert_eq!((&request[4][..], request.len()), (&b"REPLACE"[..], 5));
    peer.say("+OK\r\n");
    assert_eq!(c.recv(), "OK");
    assert_eq!(c.run("EXISTS b"), 1);
    target.send(&mut c, "c 0 5000");
    peer.expect("SELECT 0");
    peer.expect("RESTORE c 0 *");
    peer.say("+OK\r\n-BUSYKEY Target key name already exists.\r\n");
    let text = "ERR Target instance replied with error: BUSYKEY Target key name already exists.";
    assert_eq!(c.recv(), error(text));
    assert_eq!(c.run("EXISTS c"), 1);
    // After an error it is selected anew.
    target.send(&mut c, "d 0 5000");
    peer.expect("SELECT 0");
    peer.expect("RESTORE d 0 *");
    peer.say("+OK\r\n+OK\r\n");
    assert_eq!(c.recv(), "OK");
    target.assert_quiet();
}

#[test]
fn an_idle_connection_is_closed_after_a_while() {
    let (s, mut c) = with_keys(&["a"]);
    let target = Target::new();
    target.send(&mut c, "a 0 5000");
    let mut peer = target.accept();
    peer.say("+OK\r\n+OK\r\n");
    assert_eq!(c.recv(), "OK");
    eventually("the connection is closed", Duration::from_secs(20), || {
        s.info_int("migrate_cached_sockets") == 0
    });
    let mut rest = Vec::new();
    peer.input.read_to_end(&mut rest).expect("the end");
}

#[test]
fn the_target_is_told_who_comes() {
    let (_s, mut c) = with_keys(&["a", "b"]);
    let target = Target::new();
    target.send(&mut c, "a 1 5000 AUTH hush");
    let mut peer = target.accept();
    peer.expect("AUTH hush");
    peer.expect("SELECT 1");
    peer.expect("RESTORE a 0 *");
    peer.say("+OK\r\n+OK\r\n+OK\r\n");
    assert_eq!(c.recv(), "OK");
    target.send(&mut c, "b 1 5000 AUTH2 me hush");
    peer.expect("AUTH me hush");
    peer.expect("RESTORE b 0 *");
    // Even if it stores the key, this is an error.
    peer.say("-WRONGPASS no\r\n+OK\r\n");
    let text = "ERR Target instance replied with error: WRONGPASS no";
    assert_eq!(c.recv(), error(text));
    assert_eq!(c.run("EXISTS b"), 1);
    target.send(&mut c, "b 7 5000");
    peer.expect("SELECT 7");
    peer.expect("RESTORE b 0 *");
    peer.say("-ERR DB index is out of range\r\n+OK\r\n");
    let text = "ERR Target instance replied with error: ERR DB index is out of range";
    assert_eq!(c.recv(), error(text));
    assert_eq!(c.run("EXISTS b"), 1);
}

#[test]
fn of_several_keys_those_go_that_have_arrived() {
    let (s, mut c) = with_keys(&["a", "b", "c"]);
    c.run("CONFIG SET notify-keyspace-events KEg");
    let mut listener = s.client();
    listener.run("SUBSCRIBE __keyevent@0__:del");
    let target = Target::new();
    target.send(&mut c, "\"\" 0 5000 KEYS a none b c a");
    let mut peer = target.accept();
    peer.expect("SELECT 0");
    for key in ["a", "b", "c", "a"] {
        peer.expect(&format!("RESTORE {key} 0 *"));
    }
    peer.say("+OK\r\n+OK\r\n-ERR first\r\n+OK\r\n-ERR second\r\n");
    let text = "ERR Target instance replied with error: ERR first";
    assert_eq!(c.recv(), error(text));
    assert_eq!(c.run("EXISTS a b c"), 1);
    assert_eq!(c.run("EXISTS b"), 1);
    for key in ["a", "c"] {
        let event = listener.recv().texts();
        assert_eq!(event, ["message", "__keyevent@0__:del", key]);
    }
}

#[test]
fn a_connection_that_breaks_is_made_anew_once() {
    let (_s, mut c) = with_keys(&["a", "b"]);
    let target = Target::new();
    target.send(&mut c, "a 0 10000");
    drop(target.accept());
    let mut peer = target.accept();
    peer.expect("SELECT 0");
    peer.expect("RESTORE a 0 *");
    peer.say("+OK\r\n+OK\r\n");
    assert_eq!(c.recv(), "OK");
    // The one that is kept breaks while nobody looks.
    drop(peer);
    target.send(&mut c, "b 0 10000");
    let mut peer = target.accept();
    peer.expect("SELECT 0");
    peer.expect("RESTORE b 0 *");
    drop(peer);
    let reply = c.recv();
    assert_eq!(reply, error(NOT_READ));
    assert_eq!(c.run("EXISTS b"), 1);
    target.assert_quiet();
}

#[test]
fn keys_that_had_arrived_before_it_broke_are_gone() {
    let (_s, mut c) = with_keys(&["a", "b"]);
    let target = Target::new();
    target.send(&mut c, "\"\" 0 10000 KEYS a b");
    let mut peer = target.accept();
    (0..3).for_each(|_| drop(peer.request()));
    peer.say("+OK\r\n+OK\r\n");
    drop(peer);
    assert_eq!(c.recv(), error(NOT_READ));
    assert_eq!((c.run("EXISTS a"), c.run("EXISTS b")), (0.into(), 1.into()));
    target.assert_quiet();
}

#[test]
fn who_does_not_answer_is_not_waited_for() {
    let (_s, mut c) = with_keys(&["a"]);
    let target = Target::new();
    target.send(&mut c, "a 0 20");
    let _peer = target.accept();
    assert_eq!(c.recv(), error(NOT_READ));
    assert_eq!(c.run("EXISTS a"), 1);
    target.assert_quiet();
}

#[test]
fn who_is_not_there_is_told_from_who_cannot_be() {
    let (_s, mut c) = with_keys(&["a"]);
    let port = free_port().to_string();
    // As in Redis, it is the first write that finds nobody there.
    for (host, port, expected) in [
        ("127.0.0.1", &port[..], NOT_WRITTEN),
        ("127.0.0.1", "0", NOT_WRITTEN),
        ("127.0.0.1", "x", NOT_WRITTEN),
        ("127.0.0.1", "65536", NOT_WRITTEN),
        ("127.0.0.1", "-1", NOT_CONNECTED),
        ("", "1", NOT_CONNECTED),
    ] {
        let reply = c.cmd(&["MIGRATE", host, port, "a", "0", LONG]);
        assert_eq!(reply, error(expected), "{host} {port}");
    }
    assert_eq!(c.run("EXISTS a"), 1);
}

#[test]
fn who_does_not_read_is_not_waited_for() {
    let (_s, mut c) = with_keys(&[]);
    // More than any socket buffers.
    let mut big = vec![b'x'; 64 << 20];
    let mut n = 0u32;
    for chunk in big.chunks_mut(4) {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        chunk.copy_from_slice(&n.to_le_bytes());
    }
    c.cmd(&[b"SET", &b"big"[..], &big]);
    let target = Target::new();
    target.send(&mut c, "big 0 100");
    let _peer = target.accept();
    assert_eq!(c.recv(), error(NOT_WRITTEN));
    assert_eq!(c.run("STRLEN big"), big.len() as i64);
}

#[test]
fn an_answer_in_another_language_moves_nothing() {
    if oracle() {
        return; // Redis takes whatever is no error for success.
    }
    let (_s, mut c) = with_keys(&["a"]);
    let target = Target::new();
    target.send(&mut c, "a 0 10000");
    for _ in 0..2 {
        let mut peer = target.accept();
        peer.expect("SELECT 0");
        peer.say("HTTP/1.1 400 Bad Request\r\n\r\n");
    }
    assert_eq!(c.recv(), error(NOT_READ));
    assert_eq!(c.run("EXISTS a"), 1);
}

#[test]
fn nobody_sees_a_key_on_its_way() {
    let (s, mut c) = with_keys(&["a"]);
    let (mut reader, mut writer) = (s.client(), s.client());
    let target = Target::new();
    target.send(&mut c, "a 0 10000");
    let mut peer = target.accept();
    peer.expect("SELECT 0");
    peer.expect("RESTORE a 0 *");
    reader.send(&["GET", "a"]);
    writer.send(&["APPEND", "a", "new"]);
    reader.assert_silent(Duration::from_millis(50));
    peer.say("+OK\r\n+OK\r\n");
    assert_eq!(c.recv(), "OK");
    assert!(matches!(reader.recv(), value if value == NULL || value == "new"));
    assert_eq!(writer.recv(), 3);
}

#[test]
fn moving_to_itself_ends_with_the_timeout() {
    let (s, mut c) = with_keys(&["a"]);
    let port = s.port().to_string();
    let reply = c.cmd(&["MIGRATE", "127.0.0.1", &port, "a", "0", "50"]);
    assert_eq!(reply, error(NOT_READ));
    // What it sent is carried out afterwards, in vain.
    assert_eq!(c.run("GET a"), "value of a");
    assert_eq!(c.run("MIGRATE 127.0.0.1 1 none 0 50"), simple("NOKEY"));
}

#[test]
fn keys_move_within_a_transaction() {
    let (s, mut c) = with_keys(&["a", "b"]);
    let mut watcher = s.client();
    watcher.run("WATCH a");
    let target = Target::new();
    c.run("MULTI");
    c.run("SET b new");
    target.send(&mut c, "a 0 10000");
    assert_eq!(c.recv(), "QUEUED");
    c.run("EXISTS a b");
    c.send(&["EXEC"]);
    let mut peer = target.accept();
    peer.expect("SELECT 0");
    peer.expect("RESTORE a 0 *");
    peer.say("+OK\r\n+OK\r\n");
    let replies = c.recv();
    assert_eq!(replies.items()[1], "OK");
    assert_eq!(replies.items()[2], 1);
    watcher.run("MULTI");
    assert_eq!(watcher.run("EXEC"), NULL);
}

/// A `redis-server` of its own, without anything saved.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start() -> Redis {
        let port = free_port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server runs");
        let redis = Redis { child, port };
        eventually("redis-server answers", Duration::from_secs(20), || {
            let client = Client::tcp(&format!("127.0.0.1:{port}"));
            client.is_ok_and(|mut client| client.run("PING") == "PONG")
        });
        redis
    }

    fn client(&self) -> Client {
        Client::tcp(&format!("127.0.0.1:{}", self.port)).expect("connect")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fills a server with keys of every type and their usual encodings.
fn fill(c: &mut Client) -> Vec<String> {
    let many = |command: &str, pair: bool| {
        let words = (0..600).map(|n| match pair {
            true => format!("{n} word{n}"),
            false => format!("word{n}"),
        });
        words.fold(command.to_string(), |line, word| line + " " + &word)
    };
    for line in [
        "SET int 12345",
        "SET text hello",
        "RPUSH list a b 3 -4",
        &many("RPUSH longlist", false),
        "SADD ints 1 2 3",
        "SADD set a b c",
        &many("SADD bigset", false),
        "HSET hash f v g 7",
        &many("HSET bighash", true),
        "ZADD zset 1 a 2.5 b -inf c",
        &many("ZADD bigzset", true),
        "XADD stream 1-1 f v",
        "XADD stream 1-2 f w",
        "XDEL stream 1-1",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group me STREAMS stream >",
    ] {
        let reply = c.run(line);
        assert!(!matches!(reply, Value::Error(_)), "{reply:?} to {line}");
    }
    let mut keys = c.run("KEYS *").texts();
    keys.sort();
    keys
}

/// Moves everything from one server to the other and compares the digests of the values.
fn moved_whole(mut from: Client, mut to: Client, port: u16) {
    let keys = fill(&mut from);
    from.run("PEXPIRE text 1000000");
    let digest = |c: &mut Client| {
        let mut words = vec!["DEBUG".to_string(), "DIGEST-VALUE".to_string()];
        words.extend(keys.iter().cloned());
        c.cmd(&words)
    };
    let before = digest(&mut from);
    let port = port.to_string();
    let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", LONG, "KEYS"];
    words.extend(keys.iter().map(String::as_str));
    assert_eq!(from.cmd(&words), "OK");
    assert_eq!(from.run("DBSIZE"), 0);
    assert_eq!(digest(&mut to), before);
    let ttl = to.run("PTTL text").int();
    assert!((900_000..=1_000_000).contains(&ttl), "{ttl}");
}

#[test]
#[ignore = "needs redis-server in PATH, and DUMP payloads of every type"]
fn every_type_moves_to_redis() {
    let (s, redis) = (Server::start(), Redis::start());
    moved_whole(s.client(), redis.client(), redis.port);
}

#[test]
#[ignore = "needs redis-server in PATH, and RESTORE"]
fn every_type_comes_from_redis() {
    let (s, redis) = (Server::start(), Redis::start());
    moved_whole(redis.client(), s.client(), s.port());
}
