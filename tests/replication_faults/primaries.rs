//! Replicas of what is no primary.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::link::{EMPTY_RDB, FAKE_ID, FakePrimary, full_resync};
use crate::nodes::{
    OPTIONS, assert_equal, await_link, field, follow, loaded, node, promote, replica_of,
};
use crate::support::{REPLY_TIMEOUT, Random, Server, eventually, free_port, oracle, simple};
use crate::{Length, long, short};

/// The replica answers, has its data, says that the link is down, and says why.
#[track_caller]
fn assert_sound(replica: &Server, said: &str) {
    let mut client = replica.client();
    assert_eq!(client.run("GET own"), "1");
    assert_eq!(field(replica, "master_link_status"), "down");
    replica.wait_log(said);
    assert!(!replica.log().contains("panicked"), "{}", replica.log());
}

fn with_data(args: &[&str]) -> Server {
    let server = node(args);
    server.client().run("SET own 1");
    server
}

#[test]
fn a_web_server() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let port = listener.local_addr().expect("a bound address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = [0; 100];
            let _ = stream.read(&mut request);
            let page = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html></html>\n";
            let _ = stream.write_all(page.as_bytes());
        }
    });
    let replica = with_data(&[]);
    follow(&replica, port);
    assert_sound(&replica, "HTTP/1.1 400 Bad Request");
}

#[test]
fn a_port_that_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let port = listener.local_addr().expect("a bound address").port();
    let replica = with_data(&["--repl-timeout", "1"]);
    follow(&replica, port);
    // Nobody accepts; the system does, up to a point.
    assert_sound(&replica, "imeout");
    drop(listener);
    assert_sound(&replica, "refused");
}

#[test]
fn a_closed_port() {
    let replica = with_data(&[]);
    follow(&replica, free_port());
    assert_sound(&replica, "refused");
    let role = replica.client().run("ROLE");
    assert_eq!(role.items()[0], "slave");
}

#[test]
fn another_password() {
    let primary = Server::with(&[&OPTIONS[..], &["--requirepass", "secret"]].concat());
    let replica = with_data(&["--masterauth", "wrong"]);
    follow(&replica, primary.port());
    assert_sound(&replica, "WRONGPASS");
    let without = with_data(&[]);
    follow(&without, primary.port());
    assert_sound(&without, "NOAUTH");
    for replica in [&replica, &without] {
        replica.client().run("CONFIG SET masterauth secret");
        await_link(replica);
    }
    // A password that a primary without one has no use for.
    let open = node(&[]);
    let replica = with_data(&["--masterauth", "anything"]);
    follow(&replica, open.port());
    replica.wait_log("Unable to AUTH to MASTER");
    replica.client().cmd(&["CONFIG", "SET", "masterauth", ""]);
    await_link(&replica);
}

#[test]
fn itself() {
    let server = with_data(&[]);
    follow(&server, server.port());
    eventually("it has tried", REPLY_TIMEOUT, || {
        server.log().contains("Can't SYNC while not connected")
    });
    assert_sound(&server, "MASTER");
    promote(&server);
    assert_eq!(server.client().run("SET own 2"), simple("OK"));
}

/// A replica with a limit on its clients still gets through, and leaves nothing open.
#[test]
fn many_failed_attempts_leave_nothing_behind() {
    let primary = FakePrimary::listen();
    let replica = with_data(&[]);
    let open = |server: &Server| {
        let path = format!("/proc/{}/fd", server.pid());
        std::fs::read_dir(path).map_or(0, |files| files.count())
    };
    let threads = |server: &Server| {
        let path = format!("/proc/{}/task", server.pid());
        std::fs::read_dir(path).map_or(0, |files| files.count())
    };
    let before = (open(&replica), threads(&replica));
    for round in 0..60 {
        follow(&replica, primary.port());
        match round % 4 {
            0 => primary.accept().close(),
            1 => primary.handshake().0.close(),
            2 => {
                let (mut link, _) = primary.handshake();
                link.try_write(&full_resync(EMPTY_RDB)[..70]);
                link.close();
            }
            _ => {
                let mut link = primary.accept();
                link.try_write(b"-ERR no\r\n");
                link.close();
            }
        }
        promote(&replica);
    }
    eventually("all is closed", REPLY_TIMEOUT, || {
        open(&replica) <= before.0 + 3 && threads(&replica) <= before.1 + 3
    });
    assert_eq!(replica.client().run("GET own"), "1");
    let files: Vec<String> = std::fs::read_dir(replica.dir())
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name().display().to_string())
        .filter(|name| name.contains("temp"))
        .collect();
    assert!(files.is_empty(), "left over: {files:?}");
}

/// Random bytes in place of the primary's words, in each phase.
fn garbage(length: Length) {
    if oracle() {
        // A Redis ends itself when it loads a file that makes no sense.
        return;
    }
    let primary = FakePrimary::listen();
    let replica = with_data(&["--repl-timeout", "2", "--repl-diskless-load", "swapdb"]);
    let other = with_data(&["--repl-timeout", "2"]);
    let mut random = Random::new(length.seed);
    for round in 0..length.rounds {
        let server = if round % 2 == 0 { &replica } else { &other };
        follow(server, primary.port());
        let count = random.below(400) as usize;
        let mut bytes = Vec::new();
        while bytes.len() < count {
            match random.below(4) {
                0 => bytes.extend_from_slice(random.pick::<&[u8]>(&[
                    &b"\r\n"[..],
                    b"*3\r\n",
                    b"$-1\r\n",
                    b"+OK\r\n",
                    b"$5\r\n",
                    b"-ERR x\r\n",
                    b"*1\r\n$4\r\nPING\r\n",
                    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n",
                    b"+FULLRESYNC",
                    b"+CONTINUE ",
                    b"$EOF:",
                    b"REDIS0011",
                ])),
                1 => bytes.push(b"0123456789"[random.below(10) as usize]),
                _ => bytes.push(random.next() as u8),
            }
        }
        let head = format!("+FULLRESYNC {FAKE_ID} 0\r\n${}\r\n", bytes.len());
        match random.below(6) {
            0 => {
                let mut link = primary.accept();
                link.try_write(&bytes);
            }
            1 => {
                let (mut link, _) = primary.handshake();
                link.try_write(&bytes);
            }
            2 => {
                let (mut link, _) = primary.handshake();
                link.try_write(format!("+FULLRESYNC {FAKE_ID} 0\r\n").as_bytes());
                link.try_write(&bytes);
            }
            3 => {
                let (mut link, _) = primary.handshake();
                link.try_write(head.as_bytes());
                link.try_write(&bytes);
            }
            4 => {
                let (mut link, _) = primary.handshake();
                let mut rdb = b"REDIS0011".to_vec();
                rdb.extend(&bytes);
                link.try_write(&full_resync(&rdb));
            }
            _ => {
                let mut link = primary.full(EMPTY_RDB);
                link.try_write(&bytes);
            }
        }
        assert_eq!(loaded(server, &["PING"]), simple("PONG"), "round {round}");
        promote(server);
    }
    for server in [&replica, &other] {
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }
    let real = node(&[]);
    real.client().run("SET a 1");
    follow(&replica, real.port());
    follow(&other, real.port());
    assert_equal(&[&real, &replica, &other], &format!("seed {}", length.seed));
}

#[test]
fn garbage_from_the_primary() {
    garbage(short(40));
}

#[test]
#[ignore = "long: thousands of rounds"]
fn garbage_from_the_primary_long() {
    garbage(long(20));
}

/// Garbage from replicas: the primary and its other replicas are none the worse.
#[test]
fn garbage_from_replicas() {
    let primary = node(&[]);
    let replica = replica_of(&primary, &[]);
    let mut random = Random::new(3);
    for _ in 0..60 {
        let mut link = crate::link::Link::connect(primary.port());
        let lines = [
            "REPLCONF listening-port 99999999999",
            "REPLCONF ACK 99999999999999999999",
            "REPLCONF ACK -5",
            "REPLCONF GETACK *",
            "PSYNC ? -1",
            "PSYNC x 1",
            "SYNC",
            "REPLCONF capa eof capa psync2",
            "PSYNC ? 9223372036854775807",
            "REPLCONF rdb-only 1",
            "PSYNC ? -9223372036854775808",
            "REPLCONF version 1",
            "*9999999\r\n",
        ];
        for _ in 0..6 {
            let line = random.pick::<&str>(&lines).split(' ').collect::<Vec<_>>();
            if !link.try_write(&crate::support::encode(&line)) {
                break;
            }
        }
        link.close();
    }
    primary.client().run("SET a 1");
    eventually("they are gone", REPLY_TIMEOUT, || {
        field(&primary, "connected_slaves") == "1"
    });
    assert_equal(&[&primary, &replica], "garbage from replicas");
}
