//! Clients that behave badly, or just slowly: gone while they wait, never reading, trickling.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use support::*;

fn blocked(client: &mut Client) -> bool {
    client
        .run("INFO clients")
        .text()
        .contains("blocked_clients:1\r\n")
}

fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).map_or(0, Iterator::count)
}

#[test]
fn a_deadline_counts_from_the_end_of_a_pause() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    a.run("CLIENT PAUSE 600 WRITE");
    assert_eq!(b.run("SET k v PX 500"), simple("OK"));
    assert_eq!(a.run("GET k"), "v");
}

#[test]
fn a_client_that_goes_during_a_pause_writes_nothing() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    a.run("CLIENT PAUSE 60000 WRITE");
    b.send(&["SET", "k", "v"]);
    eventually("the writer waits", Duration::from_secs(10), || {
        blocked(&mut a)
    });
    drop(b);
    eventually("the writer is gone", Duration::from_secs(10), || {
        !blocked(&mut a)
    });
    a.run("CLIENT UNPAUSE");
    assert!(a.run("GET k").is_null());
}

#[test]
fn gone_clients_leave_nothing_behind() {
    let server = Server::with(&["--maxclients", "4"]);
    let mut a = server.client();
    a.cmd(&["SET", "k", &"x".repeat(1 << 20)]);
    let before = descriptors(&server);
    for _ in 0..20 {
        let mut client = server.connect().expect("there is room for another client");
        for _ in 0..30 {
            if client.try_write(b"GET k\r\n").is_err() {
                break;
            }
        }
        // Half-closed, and not a byte of the replies is ever read.
        client.finish_sending();
        eventually("the client is gone", Duration::from_secs(10), || {
            a.run("CLIENT LIST").text().lines().count() == 1
        });
        std::mem::forget(client);
    }
    eventually("descriptors come back", Duration::from_secs(10), || {
        descriptors(&server) <= before + 1
    });
}

#[test]
fn the_old_port_stays_when_the_new_one_is_taken() {
    let server = Server::start();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let mut a = server.client();
    assert!(matches!(
        a.cmd(&["CONFIG", "SET", "port", &port]),
        Value::Error(_)
    ));
    assert_eq!(server.client().run("PING"), simple("PONG"));
}

#[test]
fn a_slow_upload_is_not_idle() {
    let server = Server::with(&["--timeout", "1"]);
    let mut c = server.client();
    c.write(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$400000\r\n");
    for _ in 0..40 {
        c.try_write(&[b'x'; 10_000]).expect("still connected");
        // The pace of a slow line.
        std::thread::sleep(Duration::from_millis(100));
    }
    c.write(b"\r\n");
    assert_eq!(c.recv(), simple("OK"));
}

#[test]
fn a_slow_download_is_not_idle() {
    let server = Server::with(&["--timeout", "1"]);
    server.client().cmd(&["SET", "k", &"x".repeat(16 << 20)]);
    let mut c = std::net::TcpStream::connect(("127.0.0.1", server.port())).expect("connected");
    c.write_all(b"GET k\r\n").expect("sent");
    let (mut buffer, mut got) = (vec![0; 400 << 10], 0);
    let wanted = (16 << 20) + b"$16777216\r\n\r\n".len();
    while got < wanted {
        let read = c.read(&mut buffer).unwrap_or(0);
        assert!(read > 0, "closed after {got} bytes");
        got += read;
        // The pace of a slow line.
        std::thread::sleep(Duration::from_millis(60));
    }
}

#[test]
fn buffers_of_a_large_request_go_back_while_another_begins() {
    let server = Server::start();
    let mut c = server.client();
    let before = server.rss().expect("it runs");
    let mut bytes = b"*300000\r\n$6\r\nEXISTS\r\n".to_vec();
    bytes.extend(b"$30\r\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(299_999));
    bytes.extend(b"*1\r\n$4\r\nPI");
    c.write(&bytes);
    assert_eq!(c.recv(), 0);
    let mut other = server.client();
    eventually("memory comes back", Duration::from_secs(10), || {
        other.run("MEMORY PURGE");
        server.rss().is_some_and(|now| now < before + (8 << 20))
    });
}

/// A reply without end takes no more memory than the client's limit allows.
#[test]
fn endless_replies_end_the_connection() {
    let s = Server::with(&["--client-output-buffer-limit", "normal 4mb 0 0"]);
    let mut other = s.client();
    other.run("SADD set a b c");
    other.run("HSET hash a 1 b 2 c 3");
    other.run("ZADD zset 1 a 2 b 3 c");
    let long = "x".repeat(100);
    other.cmd(&["HSET", "table", &long, "1", "b", "2"]);
    other.cmd(&["ZADD", "ztable", "1", &long, "2", "b"]);
    for line in [
        "SRANDMEMBER set -4611686018427387904",
        "SRANDMEMBER set -9223372036854775807",
        "HRANDFIELD hash -9223372036854775807",
        "HRANDFIELD table -4611686018427387903 WITHVALUES",
        "ZRANDMEMBER zset -9223372036854775807",
        "ZRANDMEMBER zset -4611686018427387903 WITHSCORES",
        "ZRANDMEMBER ztable -4611686018427387903 WITHSCORES",
    ] {
        for protocol in ["2", "3"] {
            let before = s.info_int("client_output_buffer_limit_disconnections");
            let mut c = s.client();
            c.run(&format!("HELLO {protocol}"));
            c.send(&line.split(' ').collect::<Vec<_>>());
            eventually(
                &format!("the client is gone after {line}"),
                Duration::from_secs(20),
                || other.run("CLIENT LIST").text().lines().count() == 1,
            );
            let after = s.info_int("client_output_buffer_limit_disconnections");
            assert_eq!(after, before + 1, "{line}");
        }
    }
    s.wait_log("overcoming of output buffer limits");
    assert!(s.rss().is_none_or(|bytes| bytes < 200 << 20));
    // One that fits is complete, whatever its length.
    for line in [
        "SRANDMEMBER set -3000",
        "HRANDFIELD hash -3000",
        "ZRANDMEMBER zset -3000",
    ] {
        assert_eq!(other.run(line).items().len(), 3000);
    }
    for line in [
        "HRANDFIELD hash -4611686018427387904 WITHVALUES",
        "ZRANDMEMBER zset 4611686018427387904 WITHSCORES",
    ] {
        assert_eq!(other.run(line), support::error("ERR value is out of range"));
    }
}

/// A client that waits for very many keys does not hold up the others.
#[test]
fn waiting_for_very_many_keys_is_quick() {
    let s = Server::start();
    let mut c = s.client();
    let keys: Vec<String> = (0..400_000)
        .map(|n| format!("key:{}", n % 300_000))
        .collect();
    let mut line = vec!["BLPOP"];
    line.extend(keys.iter().map(String::as_str));
    line.push("0");
    let mut waiter = s.client();
    waiter.send(&line);
    eventually("it waits", Duration::from_secs(20), || {
        s.info_int("total_blocking_keys") == 300_000
    });
    c.run("RPUSH key:299999 x");
    assert_eq!(waiter.recv().texts(), ["key:299999", "x"]);
}
