//! The server as a primary: what replicas are sent, and what clients learn of them. The replicas are
//! plain sockets, so that every byte is seen; those of the last tests are a Redis 7.0.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{Client, Server, Value, encode, error, eventually, simple};

const SOON: Duration = Duration::from_secs(20);

/// A server with options in one line.
fn start(options: &str) -> Server {
    Server::with(&options.split(' ').collect::<Vec<_>>())
}

/// A connection that becomes that of a replica.
struct Replica {
    reader: BufReader<TcpStream>,
    /// The history, and the offset behind what has been read of the stream.
    id: String,
    offset: u64,
    /// Bytes that have come in front of the answer to tell that the server is there.
    patience: usize,
}

impl Replica {
    fn connect(server: &Server) -> Replica {
        let socket = TcpStream::connect(("127.0.0.1", server.port())).expect("connect");
        socket.set_read_timeout(Some(SOON)).expect("set a timeout");
        Replica {
            reader: BufReader::new(socket),
            id: String::new(),
            offset: 0,
            patience: 0,
        }
    }

    /// Connects and says what it understands.
    fn introduced(server: &Server, words: &[&str]) -> Replica {
        let mut replica = Replica::connect(server);
        for word in words {
            replica.send(&["REPLCONF", "capa", word]);
            assert_eq!(replica.line(), "+OK");
        }
        replica
    }

    fn send(&mut self, words: &[&str]) {
        let bytes = encode(words);
        self.reader.get_mut().write_all(&bytes).expect("send");
    }

    /// A line without its end.
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).expect("a line");
        assert!(line.ends_with(b"\n"), "the connection has ended: {line:?}");
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// A line that says something.
    fn answer(&mut self) -> String {
        loop {
            let line = self.line();
            if !line.is_empty() {
                return line;
            }
            self.patience += 1;
        }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes).expect("so many bytes");
        bytes
    }

    /// Reads the answer to a request for everything.
    fn full_answer(&mut self) {
        let line = self.answer();
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words.len() == 3 && words[0] == "+FULLRESYNC", "{line}");
        assert_eq!(words[1].len(), 40);
        self.id = words[1].to_owned();
        self.offset = words[2].parse().expect("an offset");
    }

    /// Reads a copy of the data set.
    fn copy(&mut self) -> Vec<u8> {
        let line = self.answer();
        if let Some(mark) = line.strip_prefix("$EOF:") {
            let mut copy = Vec::new();
            while !copy.ends_with(mark.as_bytes()) {
                copy.extend(self.bytes(1));
            }
            copy.truncate(copy.len() - mark.len());
            return copy;
        }
        let length = line.strip_prefix('$').and_then(|rest| rest.parse().ok());
        let length: usize = length.unwrap_or_else(|| panic!("no length: {line}"));
        self.bytes(length)
    }

    /// Becomes a replica by way of the disk.
    fn follow(server: &Server) -> Replica {
        let mut replica = Replica::introduced(server, &["psync2"]);
        replica.send(&["PSYNC", "?", "-1"]);
        replica.full_answer();
        let copy = replica.copy();
        assert!(copy.starts_with(b"REDIS"));
        replica
    }

    /// The next command of the stream.
    fn command(&mut self) -> Vec<String> {
        let mut size = 0;
        let head = self.line();
        size += head.len() + 2;
        let count: usize = head[1..].parse().expect("a count");
        let mut words = Vec::new();
        for _ in 0..count {
            let head = self.line();
            let length: usize = head[1..].parse().expect("a length");
            let mut word = self.bytes(length + 2);
            size += head.len() + 2 + word.len();
            word.truncate(length);
            words.push(String::from_utf8(word).expect("text"));
        }
        self.offset += size as u64;
        words
    }

    /// The next command, in one line.
    fn next(&mut self) -> String {
        self.command().join(" ")
    }

    fn ack(&mut self, offset: u64) {
        self.send(&["REPLCONF", "ACK", &offset.to_string()]);
    }

    /// Asserts that the server has closed the connection.
    fn assert_closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = self.reader.read_to_end(&mut rest);
        assert_eq!(String::from_utf8_lossy(&rest).trim(), "");
    }

    /// Asserts that nothing comes for a while.
    fn assert_silent(&mut self, time: Duration) {
        let socket = self.reader.get_ref();
        socket.set_read_timeout(Some(time)).expect("set a timeout");
        let got = self.reader.fill_buf().map(<[u8]>::to_vec);
        assert!(got.is_err(), "came: {got:?}");
        let socket = self.reader.get_ref();
        socket.set_read_timeout(Some(SOON)).expect("set a timeout");
    }
}

/// How many clients are replicas.
fn replicas(client: &mut Client) -> usize {
    let list = client.run("CLIENT LIST").text();
    list.lines()
        .filter(|line| line.contains(" flags=S "))
        .count()
}

fn set(client: &mut Client, option: &str, value: &str) {
    assert_eq!(client.cmd(&["CONFIG", "SET", option, value]), simple("OK"));
}

fn int(value: i64) -> Value {
    Value::Int(value)
}

#[test]
fn a_replica_gets_a_copy_and_what_happens_then() {
    let server = Server::start();
    let mut client = server.client();
    client.run("SET a 1");
    let mut replica = Replica::connect(&server);
    replica.send(&["PING"]);
    assert_eq!(replica.line(), "+PONG");
    replica.send(&["REPLCONF", "listening-port", "1234"]);
    assert_eq!(replica.line(), "+OK");
    replica.send(&["REPLCONF", "capa", "psync2"]);
    assert_eq!(replica.line(), "+OK");
    replica.send(&["PSYNC", "?", "-1"]);
    replica.full_answer();
    assert_eq!(replica.offset, 0);
    let copy = replica.copy();
    assert!(copy.starts_with(b"REDIS0010"));
    let id = replica.id.clone();
    assert!(copy.windows(40).any(|part| part == id.as_bytes()));
    client.run("SET b 2");
    client.run("INCR b");
    client.run("GET b");
    client.run("SELECT 3");
    client.run("MULTI");
    client.run("LPUSH l x");
    client.run("LPUSH l y");
    client.run("EXEC");
    for line in [
        "SELECT 0",
        "SET b 2",
        "INCR b",
        "SELECT 3",
        "MULTI",
        "LPUSH l x",
        "LPUSH l y",
        "EXEC",
    ] {
        assert_eq!(replica.next(), line);
    }
    server.wait_log("Replica 127.0.0.1:1234 asks for synchronization");
    server.wait_log("Starting BGSAVE for SYNC with target: disk");
    server.wait_log("Synchronization with replica 127.0.0.1:1234 succeeded");
    assert_eq!(replicas(&mut client), 1);
    drop(replica);
    eventually("the replica goes", SOON, || replicas(&mut client) == 0);
    server.wait_log("Connection with replica 127.0.0.1:1234 lost.");
}

#[test]
fn a_copy_without_a_file_holds_the_stream_back_until_it_is_acknowledged() {
    let server = start("--repl-diskless-sync-delay 0");
    let mut client = server.client();
    client.run("SET a 1");
    let mut replica = Replica::introduced(&server, &["eof", "psync2"]);
    replica.send(&["PSYNC", "?", "-1"]);
    replica.full_answer();
    assert!(replica.copy().starts_with(b"REDIS"));
    server.wait_log("Waiting for REPLCONF ACK from slave to enable streaming");
    client.run("SET b 2");
    replica.assert_silent(Duration::from_millis(100));
    replica.ack(0);
    assert_eq!(replica.next(), "SELECT 0");
    assert_eq!(replica.next(), "SET b 2");
    assert!(!server.dir().join("dump.rdb").exists());
}

#[test]
fn replicas_that_come_together_share_a_copy() {
    let server = start("--repl-diskless-sync-delay 1000 --repl-diskless-sync-max-replicas 2");
    let mut one = Replica::introduced(&server, &["eof"]);
    one.send(&["PSYNC", "?", "-1"]);
    server.wait_log("Delay next BGSAVE for diskless SYNC");
    let mut two = Replica::introduced(&server, &["eof"]);
    two.send(&["PSYNC", "?", "-1"]);
    one.full_answer();
    two.full_answer();
    assert_eq!(one.answer(), two.answer());
    let log = server.log();
    assert_eq!(log.matches("Starting BGSAVE for SYNC").count(), 1);
}

#[test]
fn those_that_wait_are_told_that_the_server_is_there() {
    let server = start("--repl-diskless-sync-delay 3");
    let mut replica = Replica::introduced(&server, &["eof"]);
    replica.send(&["PSYNC", "?", "-1"]);
    replica.full_answer();
    assert!(replica.patience >= 2, "{}", replica.patience);
}

#[test]
fn a_copy_on_its_way_to_the_disk_is_shared() {
    let server =
        start("--repl-diskless-sync no --rdb-key-save-delay 20000 --enable-debug-command yes");
    let mut client = server.client();
    client.run("DEBUG POPULATE 50");
    let mut one = Replica::introduced(&server, &[]);
    one.send(&["PSYNC", "?", "-1"]);
    one.full_answer();
    client.run("SET late 1");
    let mut two = Replica::introduced(&server, &[]);
    two.send(&["PSYNC", "?", "-1"]);
    two.full_answer();
    server.wait_log("Waiting for end of BGSAVE for SYNC");
    assert_eq!((&one.id, one.offset), (&two.id, two.offset));
    client.run("CONFIG SET rdb-key-save-delay 0");
    assert!(one.copy() == two.copy());
    for replica in [&mut one, &mut two] {
        assert_eq!(replica.next(), "SELECT 0");
        assert_eq!(replica.next(), "SET late 1");
    }
    // A plain save is not one that a replica can join.
    client.run("CONFIG SET rdb-key-save-delay 20000");
    // They have the copy a moment before it is over.
    eventually("a save begins", SOON, || {
        client.run("BGSAVE") == simple("Background saving started")
    });
    let mut three = Replica::introduced(&server, &[]);
    three.send(&["PSYNC", "?", "-1"]);
    server.wait_log("Can't attach the replica to the current BGSAVE.");
    client.run("CONFIG SET rdb-key-save-delay 0");
    three.full_answer();
    three.copy();
}

#[test]
fn a_replica_goes_on_from_where_it_was() {
    let server = Server::start();
    let mut client = server.client();
    let mut first = Replica::follow(&server);
    client.run("SET a 1");
    assert_eq!(first.next(), "SELECT 0");
    assert_eq!(first.next(), "SET a 1");
    let (id, offset) = (first.id.clone(), first.offset);
    drop(first);
    eventually("the replica goes", SOON, || replicas(&mut client) == 0);
    client.run("SET a 2");

    let resume = |words: &[&str], id: &str, offset: u64| {
        let mut replica = Replica::introduced(&server, words);
        replica.send(&["PSYNC", id, &offset.to_string()]);
        replica
    };
    let mut second = resume(&["psync2"], &id.to_ascii_uppercase(), offset + 1);
    assert_eq!(second.answer(), format!("+CONTINUE {id}"));
    assert_eq!(second.next(), "SET a 2");
    client.run("SET a 3");
    assert_eq!(second.next(), "SET a 3");
    server.wait_log("Sending 27 bytes of backlog starting from offset ");
    let mut old = resume(&[], &id, offset + 1);
    assert_eq!(old.answer(), "+CONTINUE");
    assert_eq!(old.next(), "SET a 2");

    let mut other = resume(&["psync2"], &"a".repeat(40), 1);
    other.full_answer();
    server.wait_log("Partial resynchronization not accepted: Replication ID mismatch");
    let mut ahead = resume(&["psync2"], &id, 1_000_000);
    ahead.full_answer();
    server.wait_log(
        "tried to PSYNC with an offset that is greater than the master replication offset.",
    );
    let mut wrong = resume(&[], &id, 0);
    wrong.full_answer();
    let mut none = Replica::connect(&server);
    none.send(&["PSYNC", &id, "x"]);
    assert_eq!(
        none.answer(),
        "-ERR value is not an integer or out of range"
    );
}

#[test]
fn replconf_says_what_is_wrong() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.run("REPLCONF"), simple("OK"));
    assert_eq!(client.run("REPLCONF x"), error("ERR syntax error"));
    assert_eq!(
        client.run("REPLCONF capa psync2 foo 1"),
        error("ERR Unrecognized REPLCONF option: foo")
    );
    assert_eq!(
        client.run("REPLCONF listening-port x"),
        error("ERR value is not an integer or out of range")
    );
    assert_eq!(
        client.run("REPLCONF rdb-only 2"),
        error("ERR value is out of range, value must between 0 and 1")
    );
    assert_eq!(
        client.run("REPLCONF rdb-filter-only keys"),
        error("ERR Unsupported rdb-filter-only option: keys")
    );
    let long = "x".repeat(256);
    assert_eq!(
        client.cmd(&["REPLCONF", "ip-address", &long]),
        error("ERR REPLCONF ip-address provided by replica instance is too long: 256 bytes")
    );
    assert_eq!(
        client.run("PSYNC ? -1"),
        error("ERR Filtered replica requires EOF capability")
    );
    // Neither has a reply.
    client.send(&["REPLCONF", "ACK", "1"]);
    client.send(&["REPLCONF", "GETACK", "*"]);
    assert_eq!(client.run("PING"), simple("PONG"));
    client.write(b"PING\r\nPSYNC ? -1\r\n");
    assert_eq!(client.recv(), simple("PONG"));
    assert_eq!(
        client.recv(),
        error("ERR SYNC and PSYNC are invalid with pending output")
    );
    assert_eq!(
        client.run("PSYNC ? -1 FAILOVER"),
        error("ERR PSYNC FAILOVER can't be sent to a master.")
    );
}

#[test]
fn a_replica_must_not_ask_for_anything() {
    let server = Server::start();
    for (line, log) in [
        (
            "PING",
            "Replica generated a reply to command 'ping', disconnecting it: id=",
        ),
        (
            "GET a",
            "This master is sending an error to its replica: 'ERR Replica can't interact with the keyspace' after processing the command 'get'",
        ),
    ] {
        let mut replica = Replica::follow(&server);
        let words: Vec<&str> = line.split(' ').collect();
        replica.send(&words);
        replica.assert_closed();
        server.wait_log(log);
    }
    // One that asks to be what it is already is not answered.
    let mut replica = Replica::follow(&server);
    replica.send(&["PSYNC", "?", "-1"]);
    replica.send(&["SYNC"]);
    server.client().run("SET a 1");
    assert_eq!(replica.next(), "SELECT 0");
}

#[test]
fn who_wants_the_copy_only_gets_no_more() {
    let server = start("--repl-diskless-sync-delay 0");
    let mut client = server.client();
    client.run("SET a 1");
    for capa in ["eof", "other"] {
        let mut replica = Replica::introduced(&server, &[capa]);
        replica.send(&["REPLCONF", "rdb-only", "1"]);
        assert_eq!(replica.line(), "+OK");
        replica.send(&["SYNC"]);
        assert!(replica.copy().starts_with(b"REDIS"));
        replica.assert_closed();
    }
    let mut replica = Replica::introduced(&server, &["eof"]);
    replica.send(&["REPLCONF", "rdb-filter-only", "functions", "rdb-only", "1"]);
    assert_eq!(replica.line(), "+OK");
    replica.send(&["PSYNC", "?", "-1"]);
    replica.full_answer();
    let copy = replica.copy();
    // The first database, and how many keys it has.
    let database = |three: &[u8]| three == [0xfe, 0, 0xfb];
    assert!(!copy.windows(3).any(database), "there is a database in it");
    replica.assert_closed();
    server.wait_log("RDB transfer completed, rdb only replica (127.0.0.1:<unknown-replica-port>) should be disconnected asap");
}

#[test]
fn wait_counts_who_has_acknowledged() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.run("WAIT 0 0"), int(0));
    assert_eq!(client.run("WAIT 1 10"), int(0));
    let mut one = Replica::follow(&server);
    let mut two = Replica::follow(&server);
    // Whoever has written nothing waits for nothing.
    eventually("both follow", SOON, || {
        server.client().run("WAIT 2 1") == int(2)
    });
    let mut idle = server.client();
    client.run("SET a 1");
    client.send(&["WAIT", "2", "0"]);
    for replica in [&mut one, &mut two] {
        assert_eq!(replica.next(), "SELECT 0");
        assert_eq!(replica.next(), "SET a 1");
        let offset = replica.offset;
        assert_eq!(replica.next(), "REPLCONF GETACK *");
        replica.ack(offset);
    }
    assert_eq!(client.recv(), int(2));
    // They are not asked again for what they have acknowledged.
    assert_eq!(client.run("WAIT 2 0"), int(2));
    client.run("SET a 2");
    client.send(&["WAIT", "2", "300"]);
    assert_eq!(one.next(), "SET a 2");
    let offset = one.offset;
    one.ack(offset);
    assert_eq!(client.recv(), int(1));
    assert_eq!(client.run("WAIT 1 0"), int(1));
    assert_eq!(idle.run("WAIT 2 0"), int(2));
    // What somebody has seen, others may have written.
    assert_eq!(idle.run("GET a"), "2");
    idle.send(&["WAIT", "1", "0"]);
    assert_eq!(one.next(), "REPLCONF GETACK *");
    let offset = one.offset;
    assert_eq!(one.next(), "REPLCONF GETACK *");
    one.ack(offset);
    assert_eq!(idle.recv(), int(1));

    let offset = one.offset;
    one.ack(offset);
    eventually("that has come", SOON, || {
        server.info("replication")["slave0"].contains(&format!(",offset={offset},"))
    });
    client.run("MULTI");
    client.run("SET a 3");
    client.run("WAIT 2 0");
    // What it asks for is what was written before the transaction.
    assert_eq!(client.run("EXEC"), Value::Array(vec![simple("OK"), int(1)]));
    let id = client.run("CLIENT ID").int().to_string();
    let mut other = server.client();
    for (how, reply) in [
        ("TIMEOUT", int(0)),
        (
            "ERROR",
            error("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
        ),
    ] {
        client.send(&["WAIT", "2", "0"]);
        eventually("the client waits", SOON, || {
            other.cmd(&["CLIENT", "UNBLOCK", &id, how]) == int(1)
        });
        assert_eq!(client.recv(), reply);
    }
    assert_eq!(client.run("WAIT 1 -1"), error("ERR timeout is negative"));
    assert_eq!(
        client.run("WAIT x 0"),
        error("ERR value is not an integer or out of range")
    );
}

#[test]
fn what_a_client_is_served_is_waited_for() {
    let server = Server::start();
    let mut replica = Replica::follow(&server);
    let mut client = server.client();
    client.send(&["BLPOP", "l", "0"]);
    let mut other = server.client();
    eventually("the client waits", SOON, || {
        server.info_int("blocked_clients") == 1
    });
    other.run("RPUSH l x");
    assert_eq!(client.recv().texts(), ["l", "x"]);
    assert_eq!(client.run("WAIT 1 1"), int(0));
    for line in ["SELECT 0", "RPUSH l x", "LPOP l"] {
        assert_eq!(replica.next(), line);
    }
    let offset = replica.offset;
    replica.ack(offset);
    assert_eq!(client.run("WAIT 1 0"), int(1));
}

#[test]
fn waitaof_asks_replicas_for_their_disks() {
    let server = start("--appendonly yes");
    let mut client = server.client();
    let mut replica = Replica::follow(&server);
    client.run("SET a 1");
    assert_eq!(
        client.run("WAITAOF 1 0 0"),
        Value::Array(vec![int(1), int(0)])
    );
    assert_eq!(
        client.run("WAITAOF 0 1 1"),
        Value::Array(vec![int(1), int(0)])
    );
    assert_eq!(replica.next(), "SELECT 0");
    assert_eq!(replica.next(), "SET a 1");
    let offset = replica.offset.to_string();
    replica.send(&["REPLCONF", "ACK", &offset]);
    assert_eq!(client.run("WAIT 1 0"), int(1));
    // By now it has been asked, which is a part of the stream as well.
    client.send(&["WAITAOF", "1", "1", "0"]);
    assert_eq!(replica.next(), "REPLCONF GETACK *");
    let offset = replica.offset.to_string();
    replica.send(&["REPLCONF", "ACK", &offset, "FACK", &offset]);
    assert_eq!(client.recv(), Value::Array(vec![int(1), int(1)]));
}

#[test]
fn replicas_are_pinged() {
    let server = start("--repl-ping-replica-period 1");
    let mut replica = Replica::follow(&server);
    assert_eq!(replica.next(), "PING");
    assert_eq!(replica.next(), "PING");
}

#[test]
fn a_silent_replica_is_closed() {
    let server = start("--repl-timeout 2 --repl-ping-replica-period 1000");
    let mut replica = Replica::follow(&server);
    let start = Instant::now();
    replica.assert_closed();
    assert!(start.elapsed() >= Duration::from_secs(1));
    server.wait_log("Disconnecting timedout replica (streaming sync)");
}

#[test]
fn a_replica_that_does_not_read_is_closed_at_its_limit() {
    let server = start("--client-output-buffer-limit replica 10mb 0 0 --repl-backlog-size 16kb");
    let mut client = server.client();
    let _replica = Replica::follow(&server);
    let value = "x".repeat(1 << 20);
    // What the sockets take does not count.
    for _ in 0..60 {
        client.cmd(&["SET", "a", &value]);
    }
    eventually("it is closed", SOON, || replicas(&mut client) == 0);
    server.wait_log("closed for overcoming of output buffer limits");
}

#[test]
fn a_replica_is_closed_at_once_when_too_much_is_written() {
    let server = start(
        "--client-output-buffer-limit replica 10mb 0 0 --repl-backlog-size 16kb --repl-diskless-sync-delay 1000",
    );
    let mut client = server.client();
    let _replica = Replica::follow(&server);
    let value = "x".repeat(60 << 20);
    client.cmd(&["SET", "a", &value]);
    assert_eq!(replicas(&mut client), 0);
    // A limit that comes later counts as well, and one of nothing is none.
    set(&mut client, "client-output-buffer-limit", "replica 0 0 0");
    let _replica = Replica::follow(&server);
    client.cmd(&["SET", "a", &value]);
    assert_eq!(replicas(&mut client), 1);
    set(
        &mut client,
        "client-output-buffer-limit",
        "replica 10mb 0 0",
    );
    client.run("SET a 1");
    assert_eq!(replicas(&mut client), 0);
}

#[test]
fn a_copy_says_which_version_it_needs() {
    let server = start("--repl-diskless-sync-delay 0");
    let mut client = server.client();
    let head = || {
        let mut replica = Replica::introduced(&server, &["eof", "psync2"]);
        replica.send(&["PSYNC", "?", "-1"]);
        replica.full_answer();
        let copy = replica.copy();
        String::from_utf8_lossy(&copy[..9]).into_owned()
    };
    client.run("HSET h f v g w");
    assert_eq!(head(), "REDIS0010");
    client.run("HEXPIRE h 1000 FIELDS 1 f");
    assert_eq!(head(), "REDIS0012");
    client.run("HPERSIST h FIELDS 1 f");
    assert_eq!(head(), "REDIS0010");
    client.run("HEXPIRE h 1000 FIELDS 1 f");
    client.run("COPY h i");
    client.run("DEL h");
    assert_eq!(head(), "REDIS0012");
    client.run("FLUSHALL");
    assert_eq!(head(), "REDIS0010");
}

#[test]
fn a_history_ends_when_nobody_reads_it() {
    let server = start("--repl-backlog-ttl 1");
    let first = Replica::follow(&server);
    let (id, offset) = (first.id.clone(), first.offset);
    drop(first);
    server.wait_log("Replication backlog freed after 1 seconds without connected replicas.");
    let mut second = Replica::introduced(&server, &["psync2"]);
    second.send(&["PSYNC", &id, &(offset + 1).to_string()]);
    second.full_answer();
    assert_ne!(second.id, id);
}

#[test]
fn the_file_made_for_replicas_goes() {
    let server = start("--rdb-del-sync-files yes");
    let _replica = Replica::follow(&server);
    eventually("the file goes", SOON, || {
        !server.dir().join("dump.rdb").exists()
    });
    server.wait_log("Removing the RDB file used to feed replicas in a persistence-less instance");
}

#[test]
fn the_last_replica_to_go_ends_a_copy() {
    let server =
        start("--repl-diskless-sync-delay 0 --rdb-key-save-delay 10000 --enable-debug-command yes");
    let mut client = server.client();
    client.run("DEBUG POPULATE 2000");
    let mut replica = Replica::introduced(&server, &["eof"]);
    replica.send(&["PSYNC", "?", "-1"]);
    replica.full_answer();
    drop(replica);
    server.wait_log("Diskless rdb transfer, last replica dropped, killing fork child.");
    eventually("it has ended", SOON, || {
        server.info_int("rdb_bgsave_in_progress") == 0
    });
}

#[test]
fn a_file_that_nobody_waits_for_is_not_made() {
    let server =
        start("--repl-diskless-sync no --rdb-key-save-delay 100000 --enable-debug-command yes");
    let mut client = server.client();
    client.run("DEBUG POPULATE 1000");
    let is_saving = || server.info_int("rdb_bgsave_in_progress") == 1;
    let ask = || {
        let mut replica = Replica::introduced(&server, &["psync2"]);
        replica.send(&["PSYNC", "?", "-1"]);
        replica.full_answer();
        replica
    };
    let (one, two) = (ask(), ask());
    assert!(is_saving());
    drop(one);
    eventually("one is gone", SOON, || replicas(&mut client) == 1);
    assert!(is_saving());
    drop(two);
    eventually("it has ended", SOON, || !is_saving());
    // What would be saved anyway goes on.
    set(&mut client, "save", "3600 1");
    drop(ask());
    eventually("it is gone", SOON, || replicas(&mut client) == 0);
    assert!(is_saving());
}

#[test]
fn a_shutdown_waits_for_replicas() {
    let mut server = Server::start();
    let mut replica = Replica::follow(&server);
    let mut client = server.client();
    client.run("SET a 1");
    let mut ender = server.client();
    ender.send(&["SHUTDOWN"]);
    server.wait_log("Waiting for replicas before shutting down.");
    // Called off.
    assert_eq!(client.run("SHUTDOWN ABORT"), simple("OK"));
    assert_eq!(
        ender.recv(),
        error("ERR Errors trying to SHUTDOWN. Check logs.")
    );
    assert_eq!(client.run("SET a 2"), simple("OK"));
    assert_eq!(
        client.run("SHUTDOWN ABORT"),
        error("ERR No shutdown in progress.")
    );
    ender.send(&["SHUTDOWN"]);
    eventually("it waits again", SOON, || {
        server.log().matches("Waiting for replicas").count() == 2
    });
    // Nothing is written any more.
    client.send(&["SET", "a", "3"]);
    let mut offset = 0;
    for _ in 0..5 {
        offset = replica.offset;
        replica.next();
    }
    replica.ack(offset.max(replica.offset));
    server.wait_exit();
    server.wait_log("1 of 1 replicas are in sync when shutting down.");
    assert_eq!(client.try_recv(), None);
}

#[test]
fn a_shutdown_does_not_wait_for_ever() {
    let mut server = start("--shutdown-timeout 1");
    let _replica = Replica::follow(&server);
    let mut client = server.client();
    client.run("SET a 1");
    client.send(&["SHUTDOWN"]);
    server.wait_exit();
    server.wait_log("Lagging replica 127.0.0.1:<unknown-replica-port> reported offset ");
    server.wait_log("0 of 1 replicas are in sync when shutting down.");
}

// ---------------------------------------------------------------- with a Redis 7.0 as replica

/// The digest of everything.
fn digest(server: &Server) -> String {
    server.client().run("DEBUG DIGEST").text()
}

/// Whether a replica has what its primary has.
fn is_level(primary: &Server, replica: &Server) -> bool {
    replica
        .info("replication")
        .get("master_link_status")
        .map(String::as_str)
        == Some("up")
        && digest(primary) == digest(replica)
}

fn redis_follows(diskless: &str) {
    let primary = start(&format!(
        "--enable-debug-command yes --repl-diskless-sync-delay 0 --repl-diskless-sync {diskless}"
    ));
    let mut client = primary.client();
    client.run("DEBUG POPULATE 50000");
    for n in 0..100 {
        client.run(&format!("SELECT {}", n % 3));
        client.run(&format!("RPUSH l{n} a b c"));
        client.run(&format!("ZADD z{n} 1 a 2 b"));
        client.run(&format!("PEXPIRE l{n} 100000000"));
    }
    let port = primary.port().to_string();
    let replica = Server::redis(&[
        "--enable-debug-command",
        "yes",
        "--replicaof",
        "127.0.0.1",
        &port,
    ]);
    eventually("the copy", SOON, || is_level(&primary, &replica));
    for n in 0..1000 {
        client.run(&format!("SET k{} {n}", n % 10));
    }
    assert_eq!(client.run("WAIT 1 20000"), int(1));
    assert_eq!(digest(&primary), digest(&replica));
    // Cut off, it goes on from where it was.
    let id = client.run("CLIENT LIST").text();
    let line = id
        .lines()
        .find(|line| line.contains(" flags=S "))
        .map(str::to_owned);
    let line = line.expect("a replica");
    let id = line.split([' ', '=']).nth(1).expect("an id").to_owned();
    assert_eq!(client.cmd(&["CLIENT", "KILL", "ID", &id]), int(1));
    client.run("SET after 1");
    eventually("the rest", SOON, || is_level(&primary, &replica));
    assert!(
        replica
            .log()
            .contains("Master accepted a Partial Resynchronization")
    );
}

#[test]
#[ignore = "needs redis-server"]
fn a_redis_follows_with_a_file() {
    redis_follows("no");
}

#[test]
#[ignore = "needs redis-server"]
fn a_redis_follows_without_a_file() {
    redis_follows("yes");
}
