//! The server as a replica of a primary that is spoken by hand.

use std::time::Duration;

use crate::array;
use crate::link::{EMPTY_RDB, FAKE_ID, FakePrimary, Link, full_resync, rdb_with};
use crate::nodes::{await_link, await_link_down, field, follow, loaded, node, offset, promote};
use crate::support::{NULL, REPLY_TIMEOUT, Server, encode, eventually, oracle, simple};

/// The commands that a request consists of, in one piece.
fn stream(lines: &[&str]) -> Vec<u8> {
    let line = |line: &&str| encode(&line.split(' ').collect::<Vec<_>>());
    lines.iter().flat_map(line).collect()
}

/// Reads acknowledgements, which also come by themselves, until this one.
#[track_caller]
fn await_ack(link: &mut Link, expected: u64) {
    loop {
        let words = link.command();
        assert_eq!(words[..2], ["REPLCONF", "ACK"], "{words:?}");
        let offset: u64 = words[2].parse().expect("an offset");
        assert!(offset <= expected, "{offset} beyond {expected}");
        if offset == expected {
            return;
        }
    }
}

#[test]
fn what_it_says_first() {
    let primary = FakePrimary::listen();
    let replica = node(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
    let (_link, said) = primary.handshake();
    assert_eq!(said[0], ["PING"]);
    let port = replica.port().to_string();
    assert_eq!(said[1], ["REPLCONF", "listening-port", &port[..]]);
    let capabilities = &said[2];
    assert_eq!(capabilities[0], "REPLCONF");
    assert!(
        capabilities[1..].chunks(2).all(|pair| pair[0] == "capa"),
        "{said:?}"
    );
    assert!(capabilities[1..].chunks(2).any(|pair| pair[1] == "psync2"));
    assert_eq!(said[3], ["PSYNC", "?", "-1"]);
    assert_eq!(said.len(), 4, "{said:?}");
    assert_eq!(field(&replica, "role"), "slave");
    assert_eq!(field(&replica, "master_link_status"), "down");
    assert_eq!(field(&replica, "master_host"), "127.0.0.1");
    assert_eq!(field(&replica, "master_port"), primary.port().to_string());
}

#[test]
fn what_it_announces() {
    let primary = FakePrimary::listen();
    let replica = node(&[
        "--replica-announce-ip",
        "10.1.2.3",
        "--replica-announce-port",
        "4321",
        "--masteruser",
        "alice",
        "--masterauth",
        "secret",
    ]);
    follow(&replica, primary.port());
    let (_link, said) = primary.handshake();
    assert_eq!(said[1], ["AUTH", "alice", "secret"], "{said:?}");
    assert_eq!(said[2], ["REPLCONF", "listening-port", "4321"]);
    assert_eq!(said[3], ["REPLCONF", "ip-address", "10.1.2.3"]);
    let replica = node(&["--masterauth", "secret"]);
    follow(&replica, primary.port());
    let (_link, said) = primary.handshake();
    assert_eq!(said[1], ["AUTH", "secret"], "{said:?}");
}

#[test]
fn a_snapshot_and_commands_in_one_packet() {
    let primary = FakePrimary::listen();
    let replica = node(&[]);
    replica.client().run("SET old 1");
    follow(&replica, primary.port());
    let (mut link, _) = primary.handshake();
    let lines = ["SELECT 0", "SET a 1", "SET b 2", "INCR b", "SET c 3"];
    let mut bytes = full_resync(&rdb_with("foo", "bar"));
    let start = bytes.len() as u64;
    bytes.extend(stream(&lines));
    link.write(&bytes);
    await_link(&replica);
    let end = bytes.len() as u64 - start;
    eventually("all is applied", REPLY_TIMEOUT, || {
        offset(&replica) as u64 == end
    });
    let mut client = replica.client();
    let all = client.run("MGET foo a b c old");
    assert_eq!(all, array!["bar", "1", "3", "3", NULL]);
    assert_eq!(field(&replica, "master_replid"), FAKE_ID);
    // Nothing is said about the commands themselves.
    link.send("REPLCONF GETACK *");
    await_ack(&mut link, end);
    // The question counts when it has been answered.
    eventually("it counts, too", REPLY_TIMEOUT, || {
        field(&replica, "slave_repl_offset") == (end + 37).to_string()
    });
}

/// The packet of a full resync with commands behind it, torn apart at each place.
fn split_at(places: impl Iterator<Item = usize>) {
    let primary = FakePrimary::listen();
    let replica = node(&[]);
    let mut client = replica.client();
    for place in places {
        let mut bytes = full_resync(&rdb_with("foo", "bar"));
        bytes.extend(stream(&["SELECT 0", &format!("SET n {place}"), "SET m 1"]));
        if place >= bytes.len() {
            break;
        }
        let end = stream(&["SELECT 0", &format!("SET n {place}"), "SET m 1"]).len();
        follow(&replica, primary.port());
        let (mut link, _) = primary.handshake();
        link.write(&bytes[..place]);
        std::thread::yield_now();
        link.write(&bytes[place..]);
        eventually("both parts are applied", REPLY_TIMEOUT, || {
            field(&replica, "master_link_status") == "up" && offset(&replica) == end as i64
        });
        let found = client.run("MGET foo n m");
        assert_eq!(found, array!["bar", place.to_string(), "1"]);
        link.send("REPLCONF GETACK *");
        await_ack(&mut link, end as u64);
        promote(&replica);
    }
}

#[test]
fn split_at_some_bytes() {
    split_at((1..).step_by(7));
}

#[test]
#[ignore = "long: at every byte"]
fn split_at_every_byte() {
    split_at(1..);
}

#[test]
fn byte_by_byte() {
    let primary = FakePrimary::listen();
    let replica = node(&[]);
    follow(&replica, primary.port());
    let (mut link, _) = primary.handshake();
    let mut bytes = full_resync(&rdb_with("foo", "bar"));
    bytes.extend(stream(&["SELECT 3", "SET a b", "RPUSH list 1 2 3"]));
    for byte in bytes {
        link.write(&[byte]);
        std::thread::yield_now();
    }
    let mut client = replica.client();
    client.run("SELECT 3");
    eventually("all is applied", REPLY_TIMEOUT, || {
        client.run("LLEN list") == 3
    });
    assert_eq!(client.run("GET a"), "b");
    client.run("SELECT 0");
    assert_eq!(client.run("GET foo"), "bar");
}

#[test]
fn a_snapshot_of_unknown_length() {
    let primary = FakePrimary::listen();
    for diskless in ["disabled", "on-empty-db", "swapdb"] {
        let replica = node(&["--repl-diskless-load", diskless]);
        replica.client().run("SET old 1");
        follow(&replica, primary.port());
        let (mut link, said) = primary.handshake();
        assert!(said[2].contains(&"eof".to_owned()), "{said:?}");
        let mark = "abcdefghij0123456789ABCDEFGHIJ9876543210";
        let mut bytes = format!("+FULLRESYNC {FAKE_ID} 7\r\n$EOF:{mark}\r\n").into_bytes();
        bytes.extend(rdb_with("foo", "bar"));
        bytes.extend(mark.as_bytes());
        // So that the mark itself is torn apart.
        let (first, second) = bytes.split_at(bytes.len() - 17);
        link.write(first);
        std::thread::yield_now();
        link.write(second);
        // Which the replica has to say first, as the end is where the mark is.
        await_ack(&mut link, 7);
        await_link(&replica);
        link.write(&stream(&["SELECT 0", "SET a 1"]));
        let end = 7 + stream(&["SELECT 0", "SET a 1"]).len() as u64;
        link.send("REPLCONF GETACK *");
        await_ack(&mut link, end);
        let found = replica.client().run("MGET foo a old");
        assert_eq!(found, array!["bar", "1", NULL], "{diskless}");
    }
}

#[test]
fn acknowledged_offsets_count_all_bytes() {
    let primary = FakePrimary::listen();
    let replica = node(&[]);
    follow(&replica, primary.port());
    let mut link = primary.full(EMPTY_RDB);
    link.send("REPLCONF GETACK *");
    await_ack(&mut link, 0);
    link.send("PING");
    link.send("REPLCONF GETACK *");
    await_ack(&mut link, 51);
    link.send("SET foo 1");
    link.send("SET bar 2");
    link.send("REPLCONF GETACK *");
    await_ack(&mut link, 51 + 37 + 2 * 29);
    // Empty requests, and what fails, count as well.
    link.write(b"\r\n*0\r\n");
    link.send("INCR foo");
    link.send("REPLCONF GETACK *");
    await_ack(&mut link, 51 + 37 + 58 + 37 + 2 + 4 + 23);
    assert_eq!(replica.client().run("GET foo"), "2");
    // Several in one packet, each by what lies before it.
    let offset = 51 + 37 + 58 + 37 + 29 + 37;
    link.write(&stream(&[
        "REPLCONF GETACK *",
        "PING",
        "REPLCONF GETACK *",
        "REPLCONF GETACK *",
    ]));
    for expected in [offset, offset + 51, offset + 88] {
        await_ack(&mut link, expected);
    }
}

/// Not even an error is answered to the primary.
#[test]
fn nothing_is_answered() {
    let primary = FakePrimary::listen();
    let replica = node(&[]);
    follow(&replica, primary.port());
    let mut link = primary.full(EMPTY_RDB);
    let lines = ["SET a 1", "LPUSH a 1", "GET a", "PING", "NONSENSE x", "GET"];
    link.write(&stream(&lines));
    link.send("REPLCONF GETACK *");
    await_ack(&mut link, stream(&lines).len() as u64);
    assert_eq!(replica.client().run("GET a"), "1");
}

#[test]
fn it_asks_to_go_on() {
    let primary = FakePrimary::listen();
    let replica = node(&[]);
    follow(&replica, primary.port());
    let mut link = primary.full(&rdb_with("foo", "bar"));
    let lines = ["SELECT 1", "SET a 1"];
    let mut end = stream(&lines).len() as i64;
    link.write(&stream(&lines));
    eventually("all is applied", REPLY_TIMEOUT, || offset(&replica) == end);
    link.close();
    let (mut link, said) = primary.handshake();
    let next = (end + 1).to_string();
    assert_eq!(said[said.len() - 1], ["PSYNC", FAKE_ID, &next[..]]);
    link.write(b"+CONTINUE\r\n");
    // The database is still selected.
    link.send("SET b 2");
    end += stream(&["SET b 2"]).len() as i64;
    eventually("all is applied", REPLY_TIMEOUT, || offset(&replica) == end);
    let mut client = replica.client();
    client.run("SELECT 1");
    assert_eq!(client.run("MGET a b"), array!["1", "2"]);
    // A half command is not counted, and comes again.
    link.write(b"*3\r\n$3\r\nSET\r\n$1\r\nc");
    link.close();
    let (mut link, said) = primary.handshake();
    let next = (end + 1).to_string();
    assert_eq!(said[said.len() - 1], ["PSYNC", FAKE_ID, &next[..]]);
    // A primary may go on under another name.
    let id = "f".repeat(40);
    link.write(format!("+CONTINUE {id}\r\n").as_bytes());
    link.send("SET c 3");
    end += stream(&["SET c 3"]).len() as i64;
    eventually("all is applied", REPLY_TIMEOUT, || offset(&replica) == end);
    assert_eq!(client.run("GET c"), "3");
    assert_eq!(field(&replica, "master_replid"), id);
    assert_eq!(field(&replica, "master_replid2"), FAKE_ID);
    link.close();
    let (mut link, said) = primary.handshake();
    let next = (end + 1).to_string();
    assert_eq!(said[said.len() - 1], ["PSYNC", &id[..], &next[..]]);
    // Refused: everything anew.
    link.write(&full_resync(&rdb_with("new", "1")));
    eventually("all is anew", REPLY_TIMEOUT, || offset(&replica) == 0);
    client.run("SELECT 0");
    assert_eq!(client.run("MGET foo new"), array![NULL, "1"]);
    assert_eq!(field(&replica, "master_replid"), FAKE_ID);
}

/// Answers to PSYNC that ask for patience.
#[test]
fn it_tries_again() {
    let primary = FakePrimary::listen();
    let replica = node(&[]);
    follow(&replica, primary.port());
    for answer in [
        "-NOMASTERLINK Can't SYNC while not connected\r\n",
        "-LOADING data\r\n",
    ] {
        let (mut link, _) = primary.handshake();
        link.write(answer.as_bytes());
        link.await_close();
    }
    let (mut link, _) = primary.handshake();
    link.write(&full_resync(EMPTY_RDB));
    await_link(&replica);
    link.close();
    // An empty line says no more than that the primary is alive.
    let (mut link, _) = primary.handshake();
    link.write(b"\n\n");
    link.write(&full_resync(EMPTY_RDB));
    await_link(&replica);
}

/// PING answered with an error that a password would mend.
#[test]
fn a_primary_that_wants_a_password() {
    let primary = FakePrimary::listen();
    let replica = node(&[]);
    follow(&replica, primary.port());
    let mut link = primary.accept();
    assert_eq!(link.command(), ["PING"]);
    link.write(b"-NOAUTH Authentication required.\r\n");
    // Goes on, as what follows may be allowed.
    assert_eq!(link.command()[0], "REPLCONF");
    link.close();
    // Anything else ends the attempt.
    let mut link = primary.accept();
    assert_eq!(link.command(), ["PING"]);
    link.write(b"-ERR not today\r\n");
    link.await_close();
    replica.wait_log("not today");
    assert_eq!(field(&replica, "master_link_status"), "down");
}

/// The primary's words in front of the snapshot, and everything that is no snapshot.
#[test]
fn what_is_no_snapshot_is_refused() {
    let primary = FakePrimary::listen();
    let replica = node(&[]);
    replica.client().run("SET old 1");
    follow(&replica, primary.port());
    for bytes in [
        &b"*3\r\n"[..],
        b"hello\r\n",
        b"-ERR no\r\n",
        b"$abc\r\n",
        b"$-5\r\n",
    ] {
        // Redis takes these for a length of nothing, and waits.
        if oracle() && bytes.starts_with(b"$") {
            continue;
        }
        let (mut link, _) = primary.handshake();
        link.write(format!("+FULLRESYNC {FAKE_ID} 0\r\n").as_bytes());
        link.write(bytes);
        link.await_close();
    }
    let (mut link, _) = primary.handshake();
    link.write(&full_resync(&rdb_with("new", "1")));
    await_link(&replica);
    assert_eq!(replica.client().run("MGET old new"), array![NULL, "1"]);
}

/// The link's state as the clients of the replica see it.
#[test]
fn its_state() {
    let primary = FakePrimary::listen();
    let replica = node(&[]);
    let port = i64::from(primary.port());
    follow(&replica, primary.port());
    let mut client = replica.client();
    let mut link = primary.accept();
    assert_eq!(link.command(), ["PING"]);
    let role = client.run("ROLE");
    assert_eq!(role.items()[0], "slave");
    assert_eq!(role.items()[1], "127.0.0.1");
    assert_eq!(role.items()[2], port);
    assert_eq!(role.items()[3], "handshake");
    assert_eq!(field(&replica, "master_sync_in_progress"), "0");
    link.write(b"+PONG\r\n");
    while link.command()[0] != "PSYNC" {
        link.write(b"+OK\r\n");
    }
    link.write(format!("+FULLRESYNC {FAKE_ID} 0\r\n$100000\r\n").as_bytes());
    eventually("the transfer is seen", REPLY_TIMEOUT, || {
        client.run("ROLE").items()[3] == "sync" && field(&replica, "master_sync_in_progress") == "1"
    });
    link.close();
    eventually("the end is seen", REPLY_TIMEOUT, || {
        field(&replica, "master_sync_in_progress") == "0"
    });
    let mut link = primary.full(EMPTY_RDB);
    await_link(&replica);
    link.send("SET a 1");
    link.send("REPLCONF GETACK *");
    await_ack(&mut link, 27);
    eventually("the question counts, too", REPLY_TIMEOUT, || {
        client.run("ROLE").items()[4] == 27 + 37
    });
    assert_eq!(client.run("ROLE").items()[3], "connected");
    assert!(client.run("CLIENT LIST").text().contains(" flags=M "));
    let list = client.run("CLIENT LIST TYPE master").text();
    assert_eq!(list.lines().count(), 1, "{list}");
    // Its link can be closed by hand, and is then opened again.
    assert_eq!(client.run("CLIENT KILL TYPE master"), 1);
    link.await_close();
    let (mut link, said) = primary.handshake();
    assert_eq!(said[said.len() - 1], ["PSYNC", FAKE_ID, "65"]);
    link.write(b"+CONTINUE\r\n");
    await_link(&replica);
}

/// A primary that says nothing any more is given up.
#[test]
fn a_silent_primary() {
    let primary = FakePrimary::listen();
    let replica = node(&["--repl-timeout", "2"]);
    follow(&replica, primary.port());
    // In the handshake, ...
    let mut link = primary.accept();
    link.await_close();
    // ... within the snapshot, ...
    let (mut link, _) = primary.handshake();
    link.write(format!("+FULLRESYNC {FAKE_ID} 0\r\n$1000\r\nREDIS").as_bytes());
    link.await_close();
    // ... and in the stream.
    let mut link = primary.full(EMPTY_RDB);
    await_link(&replica);
    while link.try_command().is_some() {}
    // One that sends empty lines instead of a snapshot is alive.
    let (mut link, _) = primary.handshake();
    link.write(b"\n");
    for _ in 0..30 {
        assert!(link.try_write(b"\n"), "taken for dead");
        std::thread::sleep(Duration::from_millis(100));
    }
    link.write(&full_resync(EMPTY_RDB));
    await_link(&replica);
}

/// A stream that makes no sense ends the link; what came before it is kept.
#[test]
fn a_stream_that_is_no_stream() {
    let primary = FakePrimary::listen();
    let replica = node(&[]);
    follow(&replica, primary.port());
    for bytes in [
        &b"*1\r\n!4\r\nPING\r\n"[..],
        b"*-77\r\n$4\r\nPING\r\n*99999999999\r\n",
        b"*2\r\n$3\r\nGET\r\n$-9\r\n",
        // No primary sends a command as a line of text.
        b"PING\r\n",
    ] {
        let mut link = primary.full(EMPTY_RDB);
        link.send("SET a 1");
        link.write(bytes);
        while link.try_command().is_some() {}
    }
    let mut link = primary.full(EMPTY_RDB);
    link.send("SET a 2");
    let mut client = replica.client();
    eventually("it goes on", REPLY_TIMEOUT, || client.run("GET a") == "2");
}

/// What a primary only announces takes no memory; one that does not go on is given up.
#[test]
fn announced_lengths_take_no_memory() {
    if oracle() {
        // It allocates what is announced.
        return;
    }
    let primary = FakePrimary::listen();
    let replica = node(&["--repl-timeout", "2"]);
    follow(&replica, primary.port());
    let before = replica.rss().unwrap_or_default();
    for bytes in [
        &b"*2\r\n$3\r\nGET\r\n$99999999999\r\nabc"[..],
        b"*2147483647\r\n$3\r\nGET\r\n",
    ] {
        let mut link = primary.full(EMPTY_RDB);
        link.write(bytes);
        while link.try_command().is_some() {}
    }
    for length in [
        "999999999999",
        "9223372036854775807",
        "99999999999999999999",
    ] {
        let (mut link, _) = primary.handshake();
        let head = format!("+FULLRESYNC {FAKE_ID} 0\r\n${length}\r\n");
        link.write(head.as_bytes());
        link.write(b"REDIS0009");
        link.await_close();
    }
    let after = replica.rss().unwrap_or_default();
    assert!(after < before + 50_000_000, "{before} bytes, then {after}");
    primary.full(EMPTY_RDB);
    is_alive(&replica);
}

/// What comes from the primary may be as large as it likes, and is not held back.
#[test]
fn large_values_in_the_stream() {
    let primary = FakePrimary::listen();
    let replica = node(&[]);
    follow(&replica, primary.port());
    let mut link = primary.full(EMPTY_RDB);
    let value = vec![b'x'; 20_000_000];
    let command = encode(&[b"SET", &b"big"[..], &value]);
    for chunk in command.chunks(1_000_003) {
        link.write(chunk);
    }
    link.send("REPLCONF GETACK *");
    await_ack(&mut link, command.len() as u64);
    assert_eq!(replica.client().run("STRLEN big"), value.len() as i64);
}

fn is_alive(server: &Server) {
    assert_eq!(loaded(server, &["PING"]), simple("PONG"));
}

/// A link that is closed at once, again and again, harms nobody.
#[test]
fn a_primary_that_hangs_up() {
    let primary = FakePrimary::listen();
    let replica = node(&[]);
    for _ in 0..20 {
        follow(&replica, primary.port());
        primary.accept().close();
        promote(&replica);
    }
    is_alive(&replica);
    follow(&replica, primary.port());
    let link = primary.full(EMPTY_RDB);
    await_link(&replica);
    drop(link);
    await_link_down(&replica);
    is_alive(&replica);
}
