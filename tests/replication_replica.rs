//! The replica's end of a link, against a primary that is made up here and says what no real one
//! would, or says it in pieces; and against the real one.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use support::{NULL, Server, Value, eventually};

/// Long enough for anything that is to happen at all.
const SOON: Duration = Duration::from_secs(20);

const ID: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER: &str = "abcdefabcdefabcdefabcdefabcdefabcdefabcd";
const MARK: &[u8] = b"fedcba9876543210fedcba9876543210fedcba98";

/// A primary that says what it is told to.
struct Primary {
    listener: TcpListener,
}

impl Primary {
    fn start() -> Primary {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        Primary { listener }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    /// A server that is told to follow it.
    fn followed(&self, options: &[&str]) -> Server {
        let port = self.port().to_string();
        let follow = ["--replicaof", "127.0.0.1", &port];
        Server::with(&[options, &follow].concat())
    }

    fn follow(&self, server: &Server) {
        let port = self.port().to_string();
        // While something is being loaded it does not listen.
        eventually("it listens", SOON, || {
            server.client().cmd(&["REPLICAOF", "127.0.0.1", &port]) == "OK"
        });
    }

    /// The next link.
    fn accept(&self) -> Link {
        let (stream, _) = self.listener.accept().expect("a link");
        stream.set_read_timeout(Some(SOON)).expect("a time limit");
        stream.set_nodelay(true).expect("no delay");
        Link {
            stream,
            read: Vec::new(),
        }
    }

    /// The next link, up to what it asks for.
    fn greet(&self) -> (Link, Vec<String>) {
        let mut link = self.accept();
        let asked = link.greet();
        (link, asked)
    }

    /// The next link, with a full copy of this data set at this offset.
    fn copy(&self, offset: u64, rdb: &[u8]) -> Link {
        let (mut link, _) = self.greet();
        link.say(&format!("+FULLRESYNC {ID} {offset}\r\n"));
        link.write(&[format!("${}\r\n", rdb.len()).as_bytes(), rdb].concat());
        link
    }
}

/// One link, from the primary's end.
struct Link {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Link {
    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the replica reads");
    }

    fn say(&mut self, text: &str) {
        self.write(text.as_bytes());
    }

    fn byte(&mut self) -> u8 {
        if self.read.is_empty() {
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer).expect("the replica speaks");
            assert!(read > 0, "the replica has closed the link");
            self.read.extend_from_slice(&buffer[..read]);
        }
        self.read.remove(0)
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            line.push(self.byte());
        }
        String::from_utf8(line).expect("text").trim_end().to_owned()
    }

    /// The next command. Lines that only show that the replica is there are passed over.
    fn command(&mut self) -> Vec<String> {
        let mut head = self.line();
        while head.is_empty() {
            head = self.line();
        }
        let count: usize = head[1..].parse().expect("a count");
        let word = |_| {
            let length: usize = self.line()[1..].parse().expect("a length");
            let bytes: Vec<u8> = (0..length + 2).map(|_| self.byte()).collect();
            String::from_utf8(bytes[..length].to_vec()).expect("text")
        };
        (0..count).map(word).collect()
    }

    /// Goes through the handshake. Returns what is asked for.
    fn greet(&mut self) -> Vec<String> {
        loop {
            let command = self.command();
            match &*command[0] {
                "PING" => self.say("+PONG\r\n"),
                "PSYNC" => return command,
                _ => self.say("+OK\r\n"),
            }
        }
    }

    /// Asks how far the replica is.
    fn getack(&mut self) -> u64 {
        self.write(GETACK);
        loop {
            let command = self.command();
            assert_eq!(command[..2], ["REPLCONF", "ACK"]);
            let offset = command[2].parse().expect("an offset");
            // Every second one comes by itself.
            if self.read.is_empty() {
                return offset;
            }
        }
    }

    /// Waits until the replica has told that it is at an offset.
    fn acked(&mut self, offset: u64) {
        loop {
            let command = self.command();
            assert_eq!(command[..2], ["REPLCONF", "ACK"]);
            let told: u64 = command[2].parse().expect("an offset");
            assert!(told <= offset, "{told} instead of {offset}");
            if told == offset {
                return;
            }
        }
    }
}

const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

/// A command as a primary sends it.
fn command(words: &str) -> Vec<u8> {
    support::encode(&words.split(' ').collect::<Vec<_>>())
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// A snapshot of strings in the first database, without a checksum.
fn snapshot(stream_db: Option<&str>, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = b"REDIS0009".to_vec();
    if let Some(db) = stream_db {
        out.push(0xfa);
        text(&mut out, "repl-stream-db");
        text(&mut out, db);
    }
    out.extend_from_slice(&[0xfe, 0]);
    for (key, value) in pairs {
        out.push(0);
        text(&mut out, key);
        text(&mut out, value);
    }
    out.push(0xff);
    out.extend_from_slice(&[0; 8]);
    out
}

fn get(server: &Server, key: &str) -> String {
    match server.client().cmd(&["GET", key]) {
        value if value == NULL => "none".to_owned(),
        Value::Error(error) => error,
        value => value.text(),
    }
}

fn holds(server: &Server, key: &str, value: &str) {
    eventually(&format!("{key} is {value}"), SOON, || {
        get(server, key) == value
    });
}

fn info(server: &Server, field: &str) -> String {
    let info = server.info("replication");
    info.get(field).cloned().unwrap_or_default()
}

fn up(server: &Server) {
    eventually("the link stands", SOON, || {
        info(server, "master_link_status") == "up"
    });
}

#[test]
fn the_replica_introduces_itself() {
    let primary = Primary::start();
    let server = primary.followed(&[
        "--replica-announce-ip",
        "replica.example",
        "--replica-announce-port",
        "1234",
        "--masteruser",
        "me",
        "--masterauth",
        "secret",
    ]);
    let mut link = primary.accept();
    assert_eq!(link.command(), ["PING"]);
    // It may be asked to be patient.
    link.say("\n\n-NOAUTH Authentication required.\r\n");
    assert_eq!(link.command(), ["AUTH", "me", "secret"]);
    assert_eq!(link.command(), ["REPLCONF", "listening-port", "1234"]);
    assert_eq!(
        link.command(),
        ["REPLCONF", "ip-address", "replica.example"]
    );
    let capable = ["REPLCONF", "capa", "eof", "capa", "psync2"];
    assert_eq!(link.command(), capable);
    link.say("+OK\r\n\n-ERR what?\r\n+OK\r\n-ERR what?\r\n");
    assert_eq!(link.command(), ["PSYNC", "?", "-1"]);
    // One that cannot yet is asked again later.
    link.say("\n-NOMASTERLINK Can't SYNC while not connected with my master\r\n");
    drop(link);
    let (mut link, asked) = primary.greet();
    assert_eq!(asked, ["PSYNC", "?", "-1"]);
    // One that cannot at all is asked in another way.
    link.say("-ERR unknown command 'PSYNC'\r\n");
    assert_eq!(link.line(), "SYNC");
    let rdb = snapshot(None, &[("k", "v")]);
    link.write(&[format!("\n${}\r\n", rdb.len()).as_bytes(), &rdb].concat());
    holds(&server, "k", "v");
    server.wait_log("(Non critical) Master does not understand REPLCONF capa: -ERR what?");
}

#[test]
fn a_wrong_password_ends_the_attempt() {
    let primary = Primary::start();
    let server = primary.followed(&["--masterauth", "wrong"]);
    let mut link = primary.accept();
    assert_eq!(link.command(), ["PING"]);
    link.say("-NOAUTH Authentication required.\r\n");
    assert_eq!(link.command(), ["AUTH", "wrong"]);
    link.say("-WRONGPASS invalid\r\n-NOAUTH\r\n-NOAUTH\r\n-NOAUTH\r\n");
    server.wait_log("Unable to AUTH to MASTER: -WRONGPASS invalid");
    primary.greet();
}

#[test]
fn what_comes_in_one_packet_with_the_snapshot_counts() {
    for diskless in ["disabled", "on-empty-db", "swapdb"] {
        let primary = Primary::start();
        let server = primary.followed(&["--repl-diskless-load", diskless]);
        let (mut link, _) = primary.greet();
        let rdb = snapshot(Some("3"), &[("k", "v")]);
        let mut packet = format!("+FULLRESYNC {ID} 1000\r\n\n\n${}\r\n", rdb.len()).into_bytes();
        packet.extend_from_slice(&rdb);
        let first = command("SET in-three 1");
        let rest = [command("SELECT 0"), command("SET k w")].concat();
        packet.extend_from_slice(&first);
        packet.extend_from_slice(&rest);
        packet.extend_from_slice(GETACK);
        link.write(&packet);
        let end = 1000 + (first.len() + rest.len()) as u64;
        link.acked(end);
        assert_eq!(link.getack(), end + GETACK.len() as u64);
        let all = end + 2 * GETACK.len() as u64;
        eventually("everything has been counted", SOON, || {
            info(&server, "master_repl_offset") == all.to_string()
        });
        assert_eq!(get(&server, "k"), "w");
        let mut c = server.client();
        c.run("SELECT 3");
        assert_eq!(c.run("GET in-three"), "1");
        assert_eq!(info(&server, "master_replid"), ID);
    }
}

#[test]
fn a_mark_may_come_in_pieces() {
    for diskless in ["disabled", "swapdb"] {
        let primary = Primary::start();
        let server = primary.followed(&["--repl-diskless-load", diskless]);
        for cut in 0..60 {
            let (mut link, _) = primary.greet();
            link.say(&format!("+FULLRESYNC {ID} 7\r\n"));
            let value = format!("value-{cut}");
            let rdb = snapshot(None, &[("k", &value), ("like", "fedcba9876543210fed")]);
            let all = [
                b"$EOF:",
                MARK,
                b"\r\n",
                &rdb,
                MARK,
                &command(&format!("SET behind {cut}")),
            ]
            .concat();
            let at = 5 + 40 + 2 + rdb.len() - 10 + cut;
            link.write(&all[..at]);
            // The replica has to look at what it has.
            std::thread::sleep(Duration::from_millis(2));
            link.write(&all[at..]);
            holds(&server, "behind", &cut.to_string());
            assert_eq!(get(&server, "k"), value);
            // It tells by itself that it has come, so that the stream begins.
            assert_eq!(link.command()[..2], ["REPLCONF", "ACK"]);
            // Garbage, so that everything is asked for again.
            link.say("*x\r\n");
        }
    }
}

#[test]
fn a_link_goes_on_where_it_was() {
    let primary = Primary::start();
    let server = primary.followed(&[]);
    let mut link = primary.copy(100, &snapshot(None, &[]));
    let set = command("SET a 1");
    link.write(&set);
    // Half a transaction, and half a command of it.
    let multi = [command("MULTI"), command("SET a 2"), command("SET b 2")].concat();
    link.write(&multi[..multi.len() - 3]);
    holds(&server, "a", "1");
    drop(link);
    let next = (100 + set.len() + 1).to_string();
    let (mut link, asked) = primary.greet();
    assert_eq!(asked, ["PSYNC", ID, &next]);
    link.say("+CONTINUE\r\n");
    link.write(&[multi, command("EXEC")].concat());
    holds(&server, "b", "2");
    assert_eq!(get(&server, "a"), "2");
    assert_eq!(info(&server, "master_replid"), ID);
    drop(link);
    // The primary has another name for it now.
    let (mut link, asked) = primary.greet();
    let before: u64 = asked[2].parse().expect("an offset");
    link.say(&format!("+CONTINUE {OTHER}\r\n"));
    link.write(&command("SET c 3"));
    holds(&server, "c", "3");
    assert_eq!(info(&server, "master_replid"), OTHER);
    assert_eq!(info(&server, "master_replid2"), ID);
    assert_eq!(info(&server, "second_repl_offset"), before.to_string());
    server.wait_log(&format!("Master replication ID changed to {OTHER}"));
}

#[test]
fn what_makes_no_sense_is_not_gone_on_with() {
    let primary = Primary::start();
    let server = primary.followed(&[]);
    for garbage in [
        "*1\r\n$x\r\n",
        "SET a b\r\n",
        "*1\r\n+PING\r\n",
        "*2147483648\r\n",
    ] {
        let mut link = primary.copy(0, &snapshot(None, &[("k", "v")]));
        link.write(&command("SET k w"));
        holds(&server, "k", "w");
        link.say(garbage);
        let (_, asked) = primary.greet();
        assert_eq!(asked, ["PSYNC", "?", "-1"], "behind {garbage:?}");
        primary.follow_again(&server);
    }
}

impl Primary {
    /// Has the server begin anew, without waiting.
    fn follow_again(&self, server: &Server) {
        eventually("the role changes", SOON, || {
            server.client().run("REPLICAOF NO ONE") == "OK"
        });
        self.follow(server);
    }
}

#[test]
fn an_answer_that_makes_no_sense_is_asked_for_again() {
    let primary = Primary::start();
    let server = primary.followed(&[]);
    let answers = [
        "+FULLRESYNC\r\n:1\r\n",
        "+OK\r\n",
        "$5\r\nhello",
        "-ERR\r\n-ERR\r\n",
        "+FULLRESYNC x y\r\n$EOF:short\r\n",
        "+FULLRESYNC 0123456789abcdef0123456789abcdef01234567 5\r\n-ERR no\r\n",
    ];
    for answer in answers {
        let (mut link, _) = primary.greet();
        link.say(answer);
        drop(link);
        primary.follow_again(&server);
    }
    // Lengths are not believed before the bytes are there.
    let (mut link, _) = primary.greet();
    link.say(&format!(
        "+FULLRESYNC {ID} 5\r\n$9223372036854775807\r\nREDIS"
    ));
    eventually("the copy begins", SOON, || {
        info(&server, "master_sync_in_progress") == "1"
    });
    drop(link);
    primary.follow_again(&server);
    let _link = primary.copy(9, &snapshot(None, &[("k", "v")]));
    holds(&server, "k", "v");
}

/// What a primary says in the course of a link, with what a replica has to say before each part.
fn script(rdb: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let full = format!("+FULLRESYNC {ID} 50\r\n${}\r\n", rdb.len()).into_bytes();
    vec![
        (1, b"+PONG\r\n".to_vec()),
        (2, b"+OK\r\n+OK\r\n".to_vec()),
        (1, full),
        (0, rdb.to_vec()),
        (0, command("SET k last")),
    ]
}

#[test]
fn a_link_may_be_cut_anywhere() {
    let server = Server::start();
    let rdb = snapshot(Some("0"), &[("k", "first"), ("l", "second")]);
    let length: usize = script(&rdb).iter().map(|(_, said)| said.len()).sum();
    for cut in 0..=length {
        // One of its own each time, for the replica comes back by itself.
        let primary = Primary::start();
        primary.follow(&server);
        let mut link = primary.accept();
        let mut left = cut;
        for (commands, said) in script(&rdb) {
            for _ in 0..commands {
                link.command();
            }
            let now = left.min(said.len());
            link.write(&said[..now]);
            left -= now;
            if now < said.len() {
                break;
            }
        }
        drop(link);
        // What there is, is whole.
        let found = get(&server, "k");
        let whole = ["none", "first", "last"].contains(&&*found) || found.starts_with("LOADING");
        assert!(whole, "{found}");
    }
    let primary = Primary::start();
    primary.follow(&server);
    let mut link = primary.copy(50, &rdb);
    // A value that it cannot have from a link before.
    link.write(&command("SET k whole"));
    holds(&server, "k", "whole");
    assert_eq!(get(&server, "l"), "second");
}

#[test]
fn what_there_is_can_be_read_until_all_has_come() {
    let primary = Primary::start();
    let server = primary.followed(&["--repl-diskless-load", "swapdb"]);
    let mut link = primary.copy(5, &snapshot(None, &[("k", "old"), ("gone", "soon")]));
    holds(&server, "k", "old");
    let mut watcher = server.client();
    watcher.run("WATCH k");
    watcher.run("MULTI");
    watcher.run("PING");
    link.say("*x\r\n");
    let (mut link, _) = primary.greet();
    let rdb = snapshot(None, &[("k", "new")]);
    link.say(&format!("+FULLRESYNC {ID} 50\r\n$EOF:"));
    link.write(&[MARK, b"\r\n", &rdb[..20]].concat());
    eventually("it is loading", SOON, || {
        server.info("persistence")["async_loading"] == "1"
    });
    assert_eq!(server.info("persistence")["loading"], "0");
    assert_eq!(get(&server, "k"), "old");
    for line in ["REPLICAOF NO ONE", "CONFIG SET appendonly no"] {
        let refused = server.client().run(line);
        assert!(refused.error().starts_with("LOADING"), "{refused:?}");
    }
    // The snapshot ends too early: nothing has happened.
    drop(link);
    let (mut link, asked) = primary.greet();
    assert_eq!(asked, ["PSYNC", "?", "-1"]);
    assert_eq!(get(&server, "gone"), "soon");
    link.say(&format!("+FULLRESYNC {ID} 50\r\n$EOF:"));
    link.write(&[MARK, b"\r\n", &rdb, MARK].concat());
    holds(&server, "k", "new");
    assert_eq!(get(&server, "gone"), "none");
    assert_eq!(watcher.run("EXEC"), NULL);
    up(&server);
    // Of another history, nothing is served meanwhile.
    link.say("*x\r\n");
    let (mut link, _) = primary.greet();
    link.say(&format!("+FULLRESYNC {OTHER} 50\r\n$EOF:"));
    link.write(&[MARK, b"\r\n", &rdb[..20]].concat());
    eventually("it is loading", SOON, || {
        server.info("persistence")["loading"] == "1"
    });
    let refused = server.client().run("GET k");
    assert!(refused.error().starts_with("LOADING"), "{refused:?}");
}

#[test]
fn what_there_is_can_be_gone_on_with_until_all_has_come() {
    for diskless in ["disabled", "swapdb"] {
        let (first, second) = (Primary::start(), Primary::start());
        let server = first.followed(&["--repl-diskless-load", diskless]);
        let mut link = first.copy(5, &snapshot(None, &[("k", "old")]));
        link.write(&command("SET l 1"));
        holds(&server, "l", "1");
        let offset = link.getack() + GETACK.len() as u64;
        eventually("everything has been counted", SOON, || {
            info(&server, "master_repl_offset") == offset.to_string()
        });
        second.follow(&server);
        let (mut link, asked) = second.greet();
        assert_eq!(asked, ["PSYNC", ID, &(offset + 1).to_string()]);
        let rdb = snapshot(None, &[("k", "new")]);
        link.say(&format!("+FULLRESYNC {OTHER} 50\r\n${}\r\n", rdb.len()));
        link.write(&rdb[..20]);
        server.wait_log("receiving");
        drop(link);
        let (link, asked) = second.greet();
        assert_eq!(asked, ["PSYNC", ID, &(offset + 1).to_string()]);
        drop(link);
        first.follow(&server);
        let (mut link, asked) = first.greet();
        assert_eq!(asked, ["PSYNC", ID, &(offset + 1).to_string()]);
        link.say("+CONTINUE\r\n");
        link.write(&command("SET l 2"));
        holds(&server, "l", "2");
        assert_eq!(get(&server, "k"), "old");
        // With a data set of its own, that is over.
        second.follow(&server);
        let (mut link, _) = second.greet();
        let at = rdb.len() - 16;
        let damaged = [&rdb[..at], &[0xf0], &rdb[at + 1..]].concat();
        link.say(&format!("+FULLRESYNC {OTHER} 50\r\n${}\r\n", damaged.len()));
        link.write(&damaged);
        let (_, asked) = second.greet();
        assert_eq!(asked[1] == "?", diskless == "disabled", "{asked:?}");
    }
}

#[test]
fn an_error_in_the_stream_may_be_the_end() {
    for (behaviour, read_only, ends) in [
        ("ignore", "yes", false),
        ("panic-on-replicas", "no", false),
        ("panic-on-replicas", "yes", true),
        ("panic", "yes", true),
    ] {
        let primary = Primary::start();
        let mut server = primary.followed(&[
            "--propagation-error-behavior",
            behaviour,
            "--replica-read-only",
            read_only,
        ]);
        let mut link = primary.copy(0, &snapshot(None, &[("k", "v")]));
        link.write(&command("RPUSH k w"));
        if !ends {
            link.write(&command("SET done 1"));
            holds(&server, "done", "1");
            continue;
        }
        assert!(!server.wait_exit().success());
        server.wait_log(
            "Guru Meditation: This replica panicked sending an error to its master after processing the command 'rpush'",
        );
    }
}

#[test]
fn what_the_primary_does_is_counted_when_it_is_seen() {
    let primary = Primary::start();
    let server = primary.followed(&[]);
    let mut link = primary.copy(0, &snapshot(None, &[]));
    up(&server);
    let mut c = server.client();
    for round in 1..500 {
        link.write(&command("INCR n"));
        while c.run("GET n") != round.to_string() {}
        let stats = support::info(&mut c, "commandstats");
        let incr = stats.get("cmdstat_incr").cloned().unwrap_or_default();
        assert!(incr.starts_with(&format!("calls={round},")), "{incr}");
    }
}

#[test]
fn a_damaged_snapshot_leaves_nothing_and_is_fetched_again() {
    for diskless in ["disabled", "on-empty-db", "swapdb"] {
        let primary = Primary::start();
        let server = primary.followed(&["--repl-diskless-load", diskless]);
        let mut rdb = snapshot(None, &[("k", "v"), ("l", "w")]);
        // The type of the second value.
        let at = rdb.len() - 14;
        rdb[at] = 0xf0;
        let link = primary.copy(5, &rdb);
        server.wait_log("Failed trying to load the MASTER synchronization DB from");
        drop(link);
        let (mut link, asked) = primary.greet();
        assert_eq!(asked, ["PSYNC", "?", "-1"]);
        eventually("nothing is left", SOON, || {
            server.client().run("DBSIZE") == 0
        });
        let rdb = snapshot(None, &[("k", "v")]);
        link.say(&format!("+FULLRESYNC {ID} 50\r\n${}\r\n", rdb.len()));
        link.write(&rdb);
        holds(&server, "k", "v");
    }
}

#[test]
fn expired_keys_stay_until_the_primary_says_so() {
    let primary = Primary::start();
    let server = primary.followed(&["--notify-keyspace-events", "KEA"]);
    let mut link = primary.copy(0, &snapshot(None, &[("k", "v")]));
    link.write(&command("PEXPIREAT k 1000"));
    link.write(&command("SET l v PXAT 1000"));
    link.write(&command("SET m v"));
    holds(&server, "m", "v");
    let mut c = server.client();
    assert_eq!(c.run("GET k"), NULL);
    assert_eq!(c.run("EXISTS k l m"), 1);
    assert_eq!(c.run("TTL k"), -2);
    assert_eq!(c.run("KEYS *").texts(), ["m"]);
    assert_eq!(c.run("SCAN 0 COUNT 1000").items()[1].texts(), ["m"]);
    assert_eq!(c.run("RANDOMKEY"), "m");
    assert_eq!(c.run("DBSIZE"), 3);
    // It is not said that they go, and what changes them finds them.
    link.write(&command("APPEND k w"));
    link.write(&command("PERSIST k"));
    link.write(&command("DEL l m"));
    eventually("they are gone", SOON, || c.run("DBSIZE") == 1);
    assert_eq!(get(&server, "k"), "vw");
}

#[test]
fn keys_of_its_own_expire_on_a_replica() {
    let primary = Primary::start();
    let server = primary.followed(&["--replica-read-only", "no"]);
    let mut link = primary.copy(0, &snapshot(None, &[]));
    up(&server);
    let mut c = server.client();
    c.run("SET mine v PX 50");
    c.run("SET kept v EX 1000");
    assert_eq!(server.info("stats")["slave_expires_tracked_keys"], "2");
    link.write(&command("SET theirs v PXAT 1000"));
    link.write(&command("SET behind v"));
    holds(&server, "behind", "v");
    eventually("mine is gone", SOON, || c.run("DBSIZE") == 3);
    assert_eq!(c.run("EXISTS mine kept theirs"), 1);
    assert_eq!(server.info("stats")["slave_expires_tracked_keys"], "1");
    // Whoever writes to a key of the primary's that has expired finds none.
    assert_eq!(c.run("APPEND theirs x"), 1);
    assert_eq!(c.run("GET theirs"), "x");
}

#[test]
fn errors_of_the_primary_s_commands_are_told() {
    let primary = Primary::start();
    let server = primary.followed(&[]);
    let mut link = primary.copy(0, &snapshot(None, &[("k", "v")]));
    link.write(&command("RPUSH k w"));
    link.write(&command("NOSUCHCOMMAND"));
    link.write(&command("MULTI"));
    link.write(&command("SET l 1"));
    link.write(&command("LPUSH k w"));
    link.write(&command("EXEC"));
    link.write(&command("SET done 1"));
    holds(&server, "done", "1");
    assert_eq!(get(&server, "l"), "1");
    assert_eq!(server.info("stats")["unexpected_error_replies"], "3");
    server.wait_log("== CRITICAL == This replica is sending an error to its master: 'WRONGTYPE");
    // The offset counts them all the same.
    assert_eq!(info(&server, "master_link_status"), "up");
}

#[test]
fn a_silent_primary_is_left() {
    let primary = Primary::start();
    let server = primary.followed(&["--repl-timeout", "1"]);
    let _mute = primary.accept();
    server.wait_log("Timeout connecting to the MASTER...");
    let (mut slow, _) = primary.greet();
    slow.say(&format!("+FULLRESYNC {ID} 0\r\n$100\r\nREDIS"));
    server.wait_log("Timeout receiving bulk data from MASTER...");
    let _link = primary.copy(0, &snapshot(None, &[]));
    server.wait_log("MASTER timeout: no data nor PING received...");
    let (_, asked) = primary.greet();
    assert_eq!(asked, ["PSYNC", ID, "1"]);
}

#[test]
fn the_primary_is_one_of_the_clients() {
    let primary = Primary::start();
    let server = primary.followed(&[]);
    let _link = primary.copy(0, &snapshot(None, &[]));
    up(&server);
    let mut c = server.client();
    let list = c.run("CLIENT LIST TYPE master").text();
    assert!(list.contains("flags=M "), "{list}");
    assert_eq!(c.run("CLIENT KILL TYPE master"), 1);
    let (mut link, asked) = primary.greet();
    assert_eq!(asked, ["PSYNC", ID, "1"]);
    link.say("+CONTINUE\r\n");
    up(&server);
}

#[test]
fn blocked_readers_see_what_has_come() {
    let primary = Primary::start();
    let server = primary.followed(&[]);
    let mut link = primary.copy(0, &snapshot(None, &[]));
    up(&server);
    let mut reader = server.client();
    reader.send(&["XREAD", "BLOCK", "0", "STREAMS", "s", "0"]);
    eventually("it waits", SOON, || server.info_int("blocked_clients") == 1);
    link.write(&command("XADD s 1-1 a b"));
    assert_eq!(reader.recv().items().len(), 1);
}

#[test]
#[ignore = "needs a redis-server"]
fn a_real_primary_is_followed() {
    for (diskless_sync, diskless_load) in [
        ("no", "disabled"),
        ("yes", "disabled"),
        ("yes", "swapdb"),
        ("no", "on-empty-db"),
    ] {
        let primary = Server::redis(&[
            "--repl-diskless-sync",
            diskless_sync,
            "--repl-diskless-sync-delay",
            "0",
            "--enable-debug-command",
            "yes",
        ]);
        let options = [
            "--repl-diskless-load",
            diskless_load,
            "--enable-debug-command",
            "yes",
        ];
        let server = Server::with(&options);
        let (mut p, mut c) = (primary.client(), server.client());
        let mut random = support::Random::new(7);
        p.run("SELECT 2");
        for n in 0..500 {
            p.cmd(&[
                "HSET",
                &format!("h{}", random.below(50)),
                &n.to_string(),
                "v",
            ]);
        }
        c.cmd(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
        for round in 0..20 {
            for n in 0..200 {
                let (key, value) = (format!("k{}", random.below(100)), n.to_string());
                match random.below(6) {
                    0 => p.cmd(&["SET", &key, &value, "PX", "1"]),
                    1 => p.cmd(&["DEL", &key]),
                    2 => p.cmd(&["APPEND", &key, &value]),
                    3 => p.cmd(&["ZADD", "z", &value, &key]),
                    4 => p.cmd(&["SPOP", "set", "1"]),
                    _ => p.cmd(&["SADD", "set", &key, &value]),
                };
            }
            p.run("MULTI");
            p.run("SELECT 5");
            p.cmd(&["RPUSH", "list", &round.to_string()]);
            p.run("EXEC");
            if round % 3 == 0 {
                p.run("CLIENT KILL TYPE replica");
            }
        }
        eventually("both are the same", SOON, || {
            p.run("DEBUG DIGEST") == c.run("DEBUG DIGEST")
        });
    }
}
