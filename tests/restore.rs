//! RESTORE over the wire: what a comparison with Redis 7.0 cannot show, since its payloads are of
//! later versions or of no Redis at all. <https://redis.io/docs/latest/commands/restore/>

mod support;

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use stdis::persist::crc64;
use support::{Client, Server, Shared, error, oracle};

static SERVER: OnceLock<Server> = OnceLock::new();

/// A client of the shared server; `None` where the tests run against Redis 7.0.
fn client() -> Option<(Shared, Client)> {
    let s = Shared::of(&SERVER, &["--enable-debug-command", "yes"]);
    let c = s.client();
    (!oracle()).then_some((s, c))
}

/// Tag and value with version and checksum.
fn payload(version: u16, body: &[u8]) -> Vec<u8> {
    let mut payload = [body, &version.to_le_bytes()].concat();
    payload.extend(crc64::checksum(&payload).to_le_bytes());
    payload
}

fn restore(c: &mut Client, key: &str, version: u16, body: &[u8]) -> support::Value {
    c.cmd(&[b"RESTORE", key.as_bytes(), b"0", &payload(version, body)])
}

#[test]
fn versions_up_to_that_of_7_4() {
    let Some((_s, mut c)) = client() else { return };
    for version in [0, 1, 6, 9, 10, 11, 12] {
        let key = format!("version:{version}");
        assert_eq!(restore(&mut c, &key, version, b"\x00\x03abc"), "OK");
        assert_eq!(c.cmd(&["GET", &key]), "abc");
    }
    let wrong = error("ERR DUMP payload version or checksum are wrong");
    assert_eq!(restore(&mut c, "version:13", 13, b"\x00\x03abc"), wrong);
}

#[test]
fn what_is_no_value() {
    let Some((_s, mut c)) = client() else { return };
    let bad = error("ERR Bad data format");
    for body in [
        &b""[..],
        b"\x00",
        b"\x08\x01a",
        b"\xff",
        b"\xfa\x01a\x01b",
        b"\x02\x00",
        b"\x02\x02\x01a\x01a",
        b"\x04\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a",
        b"\x07\x81\0\0\0\0\0\0\0\0\x00",
        b"\x10\x03abc",
    ] {
        assert_eq!(restore(&mut c, "bad", 10, body), bad, "{body:?}");
    }
    assert_eq!(c.run("EXISTS bad"), 0);
    // As in Redis, what is behind the value does not matter.
    assert_eq!(restore(&mut c, "more", 10, b"\x00\x03abcmore"), "OK");
    assert_eq!(c.run("GET more"), "abc");
    // Nor is a key replaced by what is none.
    let args: [&[u8]; 5] = [
        b"RESTORE",
        b"more",
        b"0",
        &payload(10, b"\x02\x00"),
        b"REPLACE",
    ];
    assert_eq!(c.cmd(&args), bad);
    assert_eq!(c.run("GET more"), "abc");
}

#[test]
fn values_of_later_versions() {
    let Some((_s, mut c)) = client() else { return };
    // A packed set, of 7.2.
    let set = b"\x14\x0d\x0d\0\0\0\x02\0\x81a\x02\x81b\x02\xff";
    assert_eq!(restore(&mut c, "later:set", 11, set), "OK");
    c.run("CONFIG SET encoding-names 7.2");
    assert_eq!(c.run("OBJECT ENCODING later:set"), "listpack");
    assert_eq!(c.run("SMEMBERS later:set").sorted(), ["a", "b"]);
    // A hash of which a field has a deadline, of 7.4; in an hour, or a second after the epoch.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock");
    let hour = now.as_millis() as u64 + 3_600_000;
    for (key, deadline, live) in [("later:hash", hour, 2), ("later:due", 1000, 1)] {
        let body = [
            b"\x18",
            &deadline.to_le_bytes()[..],
            b"\x02\x01\x01a\x011\x00\x01b\x012",
        ];
        assert_eq!(restore(&mut c, key, 12, &body.concat()), "OK");
        assert_eq!(c.run(&format!("HGET {key} b")), "2");
        let fields = c.run(&format!("HGETALL {key}"));
        assert_eq!(fields.items().len(), 2 * live, "{key}");
    }
    assert_eq!(c.run("OBJECT ENCODING later:hash"), "listpackex");
    let deadlines = c.run("HPEXPIRETIME later:hash FIELDS 2 a b");
    let deadlines = deadlines.items();
    assert_eq!(deadlines[0], i64::try_from(hour).expect("in range"));
    assert_eq!(deadlines[1], -1);
}

#[test]
fn whoever_waits_is_served() {
    let Some((_s, mut c)) = client() else { return };
    let s = Shared::of(&SERVER, &[]);
    let mut waiting = s.client();
    waiting.send(&["BLPOP", "waited", "0"]);
    support::eventually("a client waits", std::time::Duration::from_secs(10), || {
        support::info(&mut c, "clients")["blocked_clients"] != "0"
    });
    assert_eq!(restore(&mut c, "waited", 10, b"\x01\x02\x01a\x01b"), "OK");
    assert_eq!(waiting.recv().texts(), ["waited", "a"]);
    assert_eq!(c.run("LRANGE waited 0 -1").texts(), ["b"]);
}

#[test]
fn large_values_come_whole() {
    let Some((_s, mut c)) = client() else { return };
    let mut body = vec![4, 0x80];
    body.extend(100_000u32.to_be_bytes());
    for n in 0..100_000u32 {
        body.extend([&[4][..], &n.to_be_bytes(), b"\x05value"].concat());
    }
    let mut other = Shared::of(&SERVER, &[]).client();
    assert_eq!(restore(&mut c, "large", 10, &body), "OK");
    assert_eq!(other.run("HLEN large"), 100_000);
    assert_eq!(
        other.cmd(&[b"HGET", &b"large"[..], &77_777u32.to_be_bytes()]),
        "value"
    );
    assert_eq!(c.run("DEL large"), 1);
}
