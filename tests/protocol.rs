//! The wire protocol and those who abuse it: split, malformed and oversized requests, pipelines
//! without end, clients that never read, never finish, or never authenticate. Whatever one client
//! does, the others are served.
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

mod support;

use std::sync::OnceLock;
use std::time::{Duration, Instant};
use support::{Client, NULL, Random, Server, Shared, Value, encode, error, oracle, simple};

static SERVER: OnceLock<Server> = OnceLock::new();

fn server() -> Shared {
    Shared::of(&SERVER, &[])
}

const MIB: usize = 1 << 20;

/// Sends `bytes` on a new connection and fails unless the answer is this protocol error and the end.
#[track_caller]
fn refused(s: &Server, bytes: &[u8], text: &str) {
    let mut c = s.client();
    // The server may hang up before it has been sent everything.
    let _ = c.try_write(bytes);
    assert_eq!(c.recv(), error(&format!("ERR Protocol error: {text}")));
    c.assert_closed();
}

/// Fails unless another client gets an answer at once.
#[track_caller]
fn others_are_served(s: &Server) {
    let start = Instant::now();
    let mut c = s.client();
    assert_eq!(c.run("PING"), "PONG");
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn inline_commands() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.raw(b"PING\r\n"), simple("PONG"));
    assert_eq!(c.raw(b"PING\n"), simple("PONG"));
    assert_eq!(c.raw(b"  set   in:a\t \"a b\"  \r\n"), "OK");
    assert_eq!(c.raw(b"get in:a\r\n"), "a b");
    // Empty lines are no commands.
    assert_eq!(c.raw(b"\r\n\n   \r\nECHO x\r\n"), "x");
    let quoted: &[(&[u8], &[u8])] = &[
        (br#""\x41\x7a\xff""#, b"Az\xff"),
        (br#""\n\r\t\b\a""#, b"\n\r\t\x08\x07"),
        (br#""\"\\q""#, b"\"\\q"),
        (br#"'a"b\n'"#, br#"a"b\n"#),
        (br"'it\'s'", b"it's"),
        (b"\"\"", b""),
        (b"''", b""),
        (br#"a\x41"#, br#"a\x41"#),
        (br#"a"b c""#, b"ab c"),
        (b"\xf0\x9f\x98\x80", b"\xf0\x9f\x98\x80"),
    ];
    for (written, read) in quoted {
        assert_eq!(
            c.raw(&[b"ECHO ", *written, b"\r\n"].concat()),
            *read,
            "{}",
            support::show(written)
        );
    }
    // Both ways of asking mix on one connection.
    c.write(b"ECHO a\r\n*2\r\n$4\r\nECHO\r\n$1\r\nb\r\nECHO c\r\n");
    assert_eq!(
        [c.recv(), c.recv(), c.recv()],
        ["a", "b", "c"].map(Value::from)
    );
}

#[test]
fn empty_requests_are_skipped() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.raw(b"*0\r\n*-1\r\n*-10\r\n\r\nPING\r\n"), "PONG");
    // An empty command name is a name nobody has.
    assert_eq!(
        c.cmd(&[""]),
        error("ERR unknown command '', with args beginning with: ")
    );
}

#[test]
fn protocol_errors_end_the_connection() {
    let s = server();
    for bytes in [
        "*x\r\n",
        "*99999999999999999999\r\n",
        "*2147483648\r\n",
        "* 1\r\n",
    ] {
        refused(&s, bytes.as_bytes(), "invalid multibulk length");
    }
    for bytes in [
        "*1\r\n$x\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n$99999999999999999999\r\n",
        "*1\r\n$\r\n",
        "*2\r\n$4\r\nECHO\r\n$-5\r\n",
    ] {
        refused(&s, bytes.as_bytes(), "invalid bulk length");
    }
    for (bytes, got) in [
        ("*1\r\nPING\r\n", 'P'),
        ("*1\r\n:1\r\n", ':'),
        ("*1\r\n\r\n", '\r'),
    ] {
        let shown = if got == '\r' { ' ' } else { got };
        refused(
            &s,
            bytes.as_bytes(),
            &format!("expected '$', got '{shown}'"),
        );
    }
    refused(&s, b"ECHO \"a\r\n", "unbalanced quotes in request");
    refused(&s, b"ECHO 'a\r\n", "unbalanced quotes in request");
    refused(&s, b"ECHO \"a\"b\r\n", "unbalanced quotes in request");
    refused(&s, &[b'a'; 70_000], "too big inline request");
    let mut count = b"*".to_vec();
    count.resize(70_000, b'1');
    refused(&s, &count, "too big mbulk count string");
    let mut count = b"*1\r\n$".to_vec();
    count.resize(70_000, b'1');
    refused(&s, &count, "too big bulk count string");
    others_are_served(&s);
}

#[test]
fn what_came_before_a_protocol_error_is_answered() {
    let s = server();
    let mut c = s.client();
    c.write(b"SET pe a\r\n*2\r\n$3\r\nGET\r\n$2\r\npe\r\n*1\r\n!\r\nSET pe b\r\n");
    assert_eq!(c.recv(), "OK");
    assert_eq!(c.recv(), "a");
    assert_eq!(c.recv(), error("ERR Protocol error: expected '$', got '!'"));
    c.assert_closed();
    assert_eq!(s.client().run("GET pe"), "a");
}

#[test]
fn smaller_limits_before_authentication() {
    let s = Server::with(&["--requirepass", "sesame"]);
    refused(&s, b"*11\r\n", "unauthenticated multibulk length");
    refused(
        &s,
        b"*2\r\n$4\r\nAUTH\r\n$16385\r\n",
        "unauthenticated bulk length",
    );
    let mut c = s.client();
    let noauth = error("NOAUTH Authentication required.");
    assert_eq!(
        c.cmd(&["DEL", "a", "b", "c", "d", "e", "f", "g", "h", "i"]),
        noauth
    );
    assert_eq!(c.cmd(&["ECHO", &"x".repeat(16_384)]), noauth);
    assert_eq!(c.run("AUTH sesame"), "OK");
    assert_eq!(c.cmd(&["ECHO", &"x".repeat(20_000)]), "x".repeat(20_000));
    assert_eq!(c.cmd(&["DEL"; 20]), 0);
}

#[test]
fn one_byte_at_a_time() {
    let s = server();
    let mut c = s.client();
    let mut bytes = encode(&["SET", "slow", "a\r\nb"]);
    bytes.extend_from_slice(b"GET slow\r\n");
    bytes.extend(encode(&["STRLEN", "slow"]));
    for byte in &bytes {
        c.write(&[*byte]);
        others_are_served(&s);
    }
    assert_eq!(
        [c.recv(), c.recv(), c.recv()],
        [simple("OK"), "a\r\nb".into(), 4.into()]
    );
}

#[test]
fn split_anywhere() {
    let s = server();
    let mut random = Random::new(42);
    let mut c = s.client();
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for i in 0..2000 {
        let length = *random.pick(&[0, 1, 3, 10, 100, 5000, 40_000]) as usize;
        let text: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        if i % 10 == 0 {
            bytes.extend_from_slice(b"PING inline\r\n");
            expected.push(Value::from("inline"));
        }
        bytes.extend(encode(&[&b"ECHO"[..], &text]));
        expected.push(Value::Bulk(text));
    }
    let mut sender = c.split();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let limit = *random.pick(&[2, 30, 1000, 70_000]);
                let n = (1 + random.next() as usize % limit).min(rest.len());
                sender.write(&rest[..n]);
                rest = &rest[n..];
            }
        });
        for value in expected {
            assert!(c.recv() == value);
        }
    });
}

#[test]
fn a_million_commands_before_reading_a_reply() {
    let s = Server::start();
    let mut c = s.client();
    let batch = b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n".repeat(1000);
    for _ in 0..1000 {
        c.write(&batch);
    }
    for n in 1..=1_000_000 {
        assert_eq!(c.recv(), n);
    }
    assert_eq!(c.run("GET n"), "1000000");
}

#[test]
fn a_pipeline_that_ends_with_the_sending_side() {
    let s = server();
    let mut c = s.client();
    for i in 0..1000 {
        c.send(&["ECHO", &i.to_string()]);
    }
    c.finish_sending();
    for i in 0..1000 {
        assert_eq!(c.recv(), i.to_string());
    }
    c.assert_closed();
}

#[test]
fn a_client_that_never_reads() {
    let s = Server::start();
    let mut c = s.client();
    assert_eq!(c.cmd(&["SET", "big", &"x".repeat(MIB)]), "OK");
    let mut deaf = s.client();
    for _ in 0..64 {
        deaf.send(&["GET", "big"]);
    }
    let start = Instant::now();
    for i in 0..200 {
        assert_eq!(c.cmd(&["SET", "k", &i.to_string()]), "OK");
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    others_are_served(&s);
    // It reads after all: nothing was lost.
    for _ in 0..64 {
        assert_eq!(deaf.recv().bytes().len(), MIB);
    }
    // And one that goes away with replies unread leaves nothing behind.
    for _ in 0..64 {
        deaf.send(&["GET", "big"]);
    }
    drop(deaf);
    support::eventually("it is gone", Duration::from_secs(10), || {
        c.run("CLIENT LIST").text().lines().count() == 1
    });
    assert_eq!(c.run("GET k"), "199");
}

#[test]
fn half_open_connections_cost_others_nothing() {
    let s = Server::start();
    let parts: &[&[u8]] = &[
        b"",
        b"*",
        b"*3\r\n$3\r\nSET\r\n$1",
        b"PIN",
        b"*1\r\n$4\r\nPI",
        b"\r",
    ];
    let mut half: Vec<Client> = Vec::new();
    for i in 0..2000 {
        let Ok(mut c) = s.connect() else {
            // This process may own fewer files than that.
            assert!(half.len() > 200, "only {} connections", half.len());
            half.truncate(half.len() - 20);
            break;
        };
        c.write(parts[i % parts.len()]);
        half.push(c);
    }
    let mut c = s.client();
    for _ in 0..100 {
        assert_eq!(c.run("PING"), "PONG");
    }
    others_are_served(&s);
    // Each can still finish what it began.
    half[3].write(b"G\r\n");
    assert_eq!(half[3].recv(), "PONG");
    half[4].write(b"NG\r\n");
    assert_eq!(half[4].recv(), "PONG");
    drop(half);
    support::eventually("they are gone", Duration::from_secs(20), || {
        support::info(&mut c, "clients")["connected_clients"] == "1"
    });
}

#[test]
fn announced_bytes_are_not_allocated() {
    let s = Server::start();
    let mut c = s.client();
    let used = |c: &mut Client| {
        support::info(c, "memory")["used_memory"]
            .parse::<u64>()
            .unwrap()
    };
    let received = |c: &mut Client| {
        support::info(c, "stats")["total_net_input_bytes"]
            .parse::<u64>()
            .unwrap()
    };
    let (before, resident, read) = (used(&mut c), s.rss(), received(&mut c));
    let sent = vec![b'x'; 65_536];
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut liar = s.client();
        liar.write(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n");
        liar.write(&sent);
        held.push(liar);
        let mut liar = s.client();
        liar.write(b"*1048576\r\n$3\r\nDEL\r\n");
        held.push(liar);
    }
    support::eventually("all was read", Duration::from_secs(10), || {
        received(&mut c) >= read + 4 * 65_536
    });
    let limit = 64 * MIB as u64;
    if let (Some(now), Some(then)) = (s.rss(), resident) {
        assert!(
            now < then + limit,
            "resident memory grew from {then} to {now}"
        );
    }
    // Redis itself reserves address space for an announced string, which its counter shows.
    if !oracle() {
        let now = used(&mut c);
        assert!(
            now < before + limit,
            "used_memory grew from {before} to {now}"
        );
    }
    others_are_served(&s);
}

#[test]
fn proto_max_bulk_len() {
    let s = Server::with(&["--proto-max-bulk-len", "1mb"]);
    let mut c = s.client();
    assert_eq!(c.cmd(&["SET", "k", &"x".repeat(MIB)]), "OK");
    refused(
        &s,
        b"*2\r\n$4\r\nECHO\r\n$1048577\r\n",
        "invalid bulk length",
    );
    let too_long = error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    assert_eq!(c.run("APPEND k y"), too_long);
    assert_eq!(c.run("SETRANGE k 1048576 y"), too_long);
    assert_eq!(c.run("CONFIG SET proto-max-bulk-len 2mb"), "OK");
    assert_eq!(c.run("APPEND k y"), MIB as i64 + 1);
}

#[test]
fn client_query_buffer_limit() {
    let s = Server::with(&["--client-query-buffer-limit", "1mb"]);
    let mut c = s.client();
    let request = encode(&[&b"SET"[..], b"k", &vec![b'x'; 8 * MIB]]);
    // Hung up on somewhere in the middle.
    let _ = c.try_write(&request);
    c.assert_closed();
    s.wait_log("max query buffer length");
    let mut c = s.client();
    assert_eq!(c.run("GET k"), NULL);
    assert_eq!(c.cmd(&["SET", "k", &"x".repeat(MIB / 2)]), "OK");
}

#[test]
fn a_thousand_arguments_and_more() {
    let s = server();
    let mut c = s.client();
    let mut args = vec!["EXISTS".to_string()];
    args.extend((0..200_000).map(|i| format!("ma:{i}")));
    assert_eq!(c.cmd(&args), 0);
    assert_eq!(c.run("PING"), "PONG");
}

#[test]
fn random_bytes() {
    let s = server();
    let mut random = Random::new(4711);
    let pieces: &[&[u8]] = &[
        b"*",
        b"$",
        b"\r\n",
        b"\n",
        b"\0",
        b"1",
        b"3",
        b"-1",
        b"PING",
        b"SET",
        b"GET",
        b" ",
        b"\"",
        b"'",
        b"\xff",
        b"*1\r\n",
        b"*2\r\n$4\r\nECHO\r\n",
        b"$3\r\nabc\r\n",
        b"99999999",
        b":",
        b"%",
    ];
    for _ in 0..300 {
        let mut c = s.client();
        let count = 1 + random.below(40);
        let bytes: Vec<u8> = (0..count)
            .flat_map(|_| random.pick(pieces).to_vec())
            .collect();
        let _ = c.try_write(&bytes);
        // What comes back, if anything, is well-formed up to the end of the connection.
        c.finish_sending();
        while c.try_recv().is_some() {}
    }
    others_are_served(&s);
}
