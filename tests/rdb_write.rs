//! Values in the form of RDB files: what DUMP answers, and whether Redis 7.0 reads what is written.
//! <https://redis.io/docs/latest/commands/dump/>

mod support;

use std::fs;
use std::process::Command;

use stdis::persist::crc64;
use stdis::persist::rdb::encode::{self, Access, Encoder};
use stdis::persist::rdb::file::{Options, Target};
use stdis::persist::rdb::{VERSION, opcode};
use support::{Client, NULL, Random, Server, Value, error, oracle, temp_dir};

/// Version and checksum at the end of a payload.
const FOOTER: usize = 10;

/// The payload of a key without its footer, which must be right.
#[track_caller]
fn dumped(c: &mut Client, key: &str, version: u16) -> Vec<u8> {
    let reply = c.cmd(&["DUMP", key]);
    let payload = reply.bytes();
    let (rest, crc) = payload.split_at(payload.len() - 8);
    assert_eq!(crc, crc64::checksum(rest).to_le_bytes(), "{key}");
    let (value, found) = rest.split_at(rest.len() - 2);
    assert_eq!(found, version.to_le_bytes(), "{key}");
    value.to_vec()
}

#[test]
fn dump_answers_with_a_payload() {
    let s = Server::start();
    for mut c in [s.client(), s.client3()] {
        assert_eq!(c.run("DUMP none"), NULL);
        let arity = error("ERR wrong number of arguments for 'dump' command");
        assert_eq!(c.run("DUMP"), arity);
        assert_eq!(c.run("DUMP a b"), arity);
        c.run("SET s hello");
        assert_eq!(
            c.run("DUMP s").bytes(),
            b"\x00\x05hello\x0a\x00\x63\x72\xdf\x76\x65\x34\x20\x0a"
        );
        c.run("SET s 12 PX 1");
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(c.run("DUMP s"), NULL);
        c.run("HSET h f v");
        c.run("MULTI");
        c.run("DUMP h");
        let reply = c.run("EXEC");
        assert_eq!(reply.items()[0].bytes()[0], 16);
        c.run("DEL h");
    }
}

#[test]
fn compression_follows_the_configuration() {
    let s = Server::start();
    let mut c = s.client();
    c.cmd(&["SET", "s", &"abc".repeat(1000)]);
    assert!(dumped(&mut c, "s", 10).len() < 100);
    c.run("CONFIG SET rdbcompression no");
    assert_eq!(dumped(&mut c, "s", 10).len(), 3003);
}

#[test]
fn large_values_are_dumped_whole() {
    let s = Server::start();
    let mut c = s.client();
    for part in 0..20 {
        let mut command = vec!["SADD".to_string(), "large".to_string()];
        command.extend((0..5000).map(|n| format!("member-{part}-{n}")));
        c.cmd(&command);
    }
    // On the shared thread of a busy connection and on its own.
    for _ in 0..50 {
        c.run("PING");
        let value = dumped(&mut c, "large", 10);
        assert_eq!(&value[..6], b"\x02\x80\x00\x01\x86\xa0");
    }
    c.cmd(&["SET", "text", &"x1y2z".repeat(1 << 20)]);
    c.run("CONFIG SET rdbcompression no");
    assert_eq!(dumped(&mut c, "text", 10).len(), 1 + 5 + (5 << 20));
}

#[test]
fn deadlines_of_fields_need_a_later_version() {
    if oracle() {
        return;
    }
    let s = Server::start();
    let mut c = s.client();
    c.run("HSET h a 1 b 2");
    assert_eq!(dumped(&mut c, "h", 10)[0], 16);
    c.run("HPEXPIREAT h 4102444800000 FIELDS 1 a");
    let value = dumped(&mut c, "h", 12);
    assert_eq!(value[0], 25);
    assert_eq!(value[1..9], 4_102_444_800_000i64.to_le_bytes());
    c.run("CONFIG SET hash-max-listpack-entries 1");
    c.run("HSET h c 3");
    let value = dumped(&mut c, "h", 12);
    assert_eq!(value[0], 24);
    assert_eq!(value[1..9], 4_102_444_800_000i64.to_le_bytes());
    c.run("HPERSIST h FIELDS 1 a");
    assert_eq!(dumped(&mut c, "h", 10)[0], 4);
}

// ------------------------------------------------------- with redis-server

/// Once in so many times.
fn one_in(rng: &mut Random, times: u64) -> bool {
    rng.next().is_multiple_of(times)
}

/// A text of some length and some kind.
fn text(rng: &mut Random) -> Vec<u8> {
    let lengths = [0, 1, 5, 11, 20, 21, 63, 64, 65, 200, 5000, 70_000];
    let kinds = if one_in(rng, 20) { 12 } else { 10 };
    let length = lengths[rng.next() as usize % kinds];
    let byte = |n: u64| n as u8;
    match rng.next() % 6 {
        0 => (rng.next() as i64 >> (rng.next() % 64)).to_string().into(),
        1 => (0..length).map(|_| byte(rng.next())).collect(),
        2 => vec![byte(rng.next()); length],
        3 => (0..length).map(|_| b'a' + byte(rng.next() % 3)).collect(),
        4 => (0..length)
            .map(|n| b"{\"name\": \"value\"}, "[n % 19])
            .collect(),
        _ => format!("m{}", rng.next() % 1000).into(),
    }
}

fn words(
    rng: &mut Random,
    start: &[&str],
    count: u64,
    of: fn(&mut Random) -> Vec<u8>,
) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = start.iter().map(|word| word.as_bytes().to_vec()).collect();
    words.extend((0..count).map(|_| of(rng)));
    words
}

fn score(rng: &mut Random) -> Vec<u8> {
    let random = rng.next();
    match random % 8 {
        0 => b"inf".to_vec(),
        1 => b"-inf".to_vec(),
        2 => b"-0".to_vec(),
        3 => format!("{:e}", f64::from_bits(random >> 12 | 1023 << 52)).into(),
        4 => "1e300".into(),
        5 => "0.1".into(),
        _ => (random as i64 >> (random % 64)).to_string().into(),
    }
}

/// Fills a server with values of every type, encoding and size.
fn fill(c: &mut Client, seed: u64) {
    let mut rng = Random::new(seed);
    let rng = &mut rng;
    for n in 0..30 {
        let small = rng.next() % 8 + 1;
        let count = if one_in(rng, 3) {
            rng.next() % 400 + 100
        } else {
            small
        };
        let mut string = words(rng, &["SET", &format!("string:{n}")], 1, text);
        c.cmd(&string);
        string = words(rng, &["APPEND", &format!("raw:{n}")], 1, text);
        c.cmd(&string);
        let list = words(rng, &["RPUSH", &format!("list:{n}")], count, text);
        c.cmd(&list);
        c.cmd(&words(rng, &["LPUSH", &format!("list:{n}")], small, text));
        c.cmd(&words(rng, &["SADD", &format!("set:{n}")], count, text));
        let int = |rng: &mut Random| (rng.next() as i64 >> (rng.next() % 64)).to_string().into();
        c.cmd(&words(rng, &["SADD", &format!("ints:{n}")], count, int));
        c.cmd(&words(
            rng,
            &["HSET", &format!("hash:{n}")],
            2 * count,
            text,
        ));
        let mut zset = words(rng, &["ZADD", &format!("zset:{n}")], 0, text);
        for _ in 0..count {
            zset.extend([score(rng), text(rng)]);
        }
        c.cmd(&zset);
        stream(c, rng, &format!("stream:{n}"), count);
        if n % 3 == 0 {
            for kind in ["string", "hash", "stream"] {
                let at = (4_102_444_800_000 + rng.next() % 1000).to_string();
                c.cmd(&["PEXPIREAT", &format!("{kind}:{n}"), &at]);
            }
        }
    }
}

/// A stream with entries deleted and trimmed, groups, consumers and what is pending.
fn stream(c: &mut Client, rng: &mut Random, key: &str, count: u64) {
    let (mut ms, mut ids) = (rng.next() % 100, Vec::new());
    for _ in 0..count {
        let seq = rng.next() % 3 + 1;
        ms += rng.next() % 3 + 1;
        let id = format!("{ms}-{seq}");
        let pairs = if one_in(rng, 4) { 2 } else { 1 };
        c.cmd(&words(rng, &["XADD", key, &id], 2 * pairs, text));
        ids.push(id);
    }
    let some = |rng: &mut Random| &ids[rng.next() as usize % ids.len()];
    for group in ["g", "other"].iter().take((rng.next() % 3) as usize) {
        let start = ["0", "$", some(rng)][(rng.next() % 3) as usize];
        c.cmd(&["XGROUP", "CREATE", key, group, start]);
        for consumer in ["amy", "bob", "12", "someone with a much longer name"] {
            c.cmd(&["XGROUP", "CREATECONSUMER", key, group, consumer]);
            c.cmd(&[
                "XREADGROUP",
                "GROUP",
                group,
                consumer,
                "COUNT",
                "7",
                "STREAMS",
                key,
                ">",
            ]);
            c.cmd(&["XACK", key, group, some(rng), some(rng)]);
            let id = some(rng);
            c.cmd(&[
                "XCLAIM",
                key,
                group,
                consumer,
                "0",
                id,
                "TIME",
                "1000",
                "RETRYCOUNT",
                "300",
            ]);
        }
    }
    for _ in 0..rng.next() % 8 {
        c.cmd(&["XDEL", key, some(rng)]);
    }
    if one_in(rng, 4) {
        c.cmd(&["XTRIM", key, "MAXLEN", &(rng.next() % 5).to_string()]);
    }
}

/// Without the fields that Redis 7.0 does not have.
fn without_news(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut kept = Vec::new();
            let mut items = items.into_iter();
            while let Some(item) = items.next() {
                if item == "active-time" {
                    items.next();
                } else {
                    kept.push(without_news(item));
                }
            }
            Value::Array(kept)
        }
        other => other,
    }
}

/// What a key holds, as far as commands and digests tell; what has no order is sorted.
fn content(c: &mut Client, key: &str) -> Vec<Value> {
    let kind = c.cmd(&["TYPE", key]).text();
    let mut all = vec![Value::from(&kind[..]), c.cmd(&["PEXPIRETIME", key])];
    if kind != "zset" {
        // In a digest Redis 7.0 writes scores with more digits.
        all.push(c.cmd(&["DEBUG", "DIGEST-VALUE", key]));
    }
    match &kind[..] {
        "string" => all.push(c.cmd(&["GET", key])),
        "list" => all.push(c.cmd(&["LRANGE", key, "0", "-1"])),
        "set" => {
            let mut members = c.cmd(&["SMEMBERS", key]).items().to_vec();
            members.sort_by(|a, b| a.bytes().cmp(b.bytes()));
            all.extend(members);
        }
        "zset" => {
            for (member, score) in c.cmd(&["ZRANGE", key, "0", "-1", "WITHSCORES"]).pairs() {
                let score: f64 = score.text().parse().expect("a score");
                all.extend([member, Value::Double(score)]);
            }
        }
        "hash" => {
            let mut pairs = c.cmd(&["HGETALL", key]).pairs();
            pairs.sort_by(|a, b| a.0.bytes().cmp(b.0.bytes()));
            all.extend(pairs.into_iter().flat_map(|(field, value)| [field, value]));
        }
        _ => {
            all.push(c.cmd(&["XRANGE", key, "-", "+"]));
            let info = c.cmd(&["XINFO", "STREAM", key, "FULL", "COUNT", "0"]);
            all.push(without_news(info));
            all.push(c.cmd(&["XINFO", "GROUPS", key]));
        }
    }
    all
}

/// Compares a key of two servers.
#[track_caller]
fn compare(c: &mut Client, r: &mut Client, key: &str, place: &str) {
    let (left, right) = (content(c, key), content(r, key));
    let differ = left.iter().zip(&right).find(|(left, right)| left != right);
    assert!(
        left.len() == right.len() && differ.is_none(),
        "{key}, {place}: {differ:?}"
    );
}

/// Settings under which values take different forms.
const SETTINGS: [&str; 3] = [
    "rdbcompression yes",
    "rdbcompression no list-max-listpack-size 4 list-compress-depth 1 set-max-listpack-entries 0 \
     hash-max-listpack-entries 0 zset-max-listpack-entries 0 set-max-intset-entries 3 \
     stream-node-max-entries 3",
    "rdbcompression yes list-max-listpack-size -1 list-compress-depth 2 \
     hash-max-listpack-value 100000 zset-max-listpack-value 100000 stream-node-max-bytes 200",
];

fn both(setting: usize) -> (Server, Server, Client, Client) {
    let debug = ["--enable-debug-command", "yes"];
    let ours = Server::with(&debug);
    let redis = Server::redis(&[&debug[..], &["--sanitize-dump-payload", "yes"]].concat());
    let (mut c, r) = (ours.client(), redis.client());
    let set: Vec<&str> = ["CONFIG", "SET"]
        .into_iter()
        .chain(SETTINGS[setting].split_whitespace())
        .collect();
    assert_eq!(c.cmd(&set), "OK");
    if setting == 1 {
        assert_eq!(c.run("DEBUG QUICKLIST-PACKED-THRESHOLD 150b"), "OK");
    }
    (ours, redis, c, r)
}

#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn redis_restores_what_is_dumped() {
    for setting in 0..SETTINGS.len() {
        let (_ours, _redis, mut c, mut r) = both(setting);
        for seed in 0..3 {
            c.run("FLUSHALL");
            r.run("FLUSHALL");
            fill(&mut c, seed);
            let keys = c.run("KEYS *").texts();
            assert!(keys.len() > 200);
            for key in keys {
                let at = c.cmd(&["PEXPIRETIME", &key]).int().max(0).to_string();
                let payload = c.cmd(&["DUMP", &key]);
                let payload = payload.bytes();
                let restore = [
                    b"RESTORE",
                    key.as_bytes(),
                    at.as_bytes(),
                    payload,
                    b"ABSTTL",
                ];
                assert_eq!(
                    r.cmd(&restore),
                    "OK",
                    "{key}, seed {seed}, settings {setting}"
                );
                compare(
                    &mut c,
                    &mut r,
                    &key,
                    &format!("seed {seed}, settings {setting}"),
                );
            }
        }
    }
}

#[test]
#[ignore = "needs redis-server 7.0 and redis-check-rdb on PATH"]
fn redis_loads_the_files() {
    for setting in 0..SETTINGS.len() {
        for checksum in [true, false] {
            let (_ours, _redis, mut c, _) = both(setting);
            let dir = temp_dir();
            let options = Options {
                checksum,
                incremental_sync: setting == 0,
            };
            let mut target = Target::create(&dir, "dump.rdb", options).expect("a file");
            save(&mut c, &mut target, setting as u64);
            target.finish().expect("a file");

            let path = dir.join("dump.rdb");
            let check = Command::new("redis-check-rdb").arg(&path).output();
            let check = check.expect("run redis-check-rdb");
            let said = String::from_utf8_lossy(&check.stdout);
            assert!(check.status.success(), "{said}");
            assert!(said.contains("\\o/ RDB looks OK! \\o/"), "{said}");

            let at = dir.display().to_string();
            let loaded = Server::redis(&[
                "--dir",
                &at,
                "--sanitize-dump-payload",
                "yes",
                "--enable-debug-command",
                "yes",
                "--maxmemory-policy",
                "allkeys-lru",
            ]);
            let mut r = loaded.client();
            let idle = r.run("OBJECT IDLETIME string:1").int();
            assert!((100..200).contains(&idle), "idle for {idle}");
            for db in ["0", "3"] {
                r.cmd(&["SELECT", db]);
                c.cmd(&["SELECT", db]);
                assert_eq!(r.run("DBSIZE"), c.run("DBSIZE"), "{}", loaded.log());
                for key in c.run("KEYS *").texts() {
                    compare(&mut c, &mut r, &key, &format!("settings {setting}"));
                }
            }
            fs::remove_dir_all(dir).expect("remove a directory");
        }
    }
}

/// Writes all that a server has, in two databases, as a snapshot would.
fn save(c: &mut Client, target: &mut Target, seed: u64) {
    let encoder = Encoder { compress: true };
    let mut out = Vec::new();
    let aux: [(&str, &[u8]); 2] = [("redis-ver", b"7.2.4"), ("redis-bits", b"64")];
    encoder.header(&mut out, VERSION, &aux);
    for db in [0, 3] {
        c.run(&format!("SELECT {db}"));
        fill(c, seed + db);
        let keys = c.run("KEYS *").texts();
        encode::select(&mut out, db as usize);
        encode::resize(&mut out, keys.len(), 3);
        for key in keys {
            // An entry with a value that is replaced by what DUMP answers.
            let at = c.cmd(&["PEXPIRETIME", &key]).int();
            let deadline = (at > 0).then_some(at);
            let access = Some(Access::Idle(100));
            let place = out.len();
            let none = stdis::types::Value::string(b"");
            encoder.entry(&mut out, key.as_bytes(), &none, deadline, access);
            out.pop();
            let payload = c.cmd(&["DUMP", &key]);
            let (value, _) = payload.bytes().split_at(payload.bytes().len() - FOOTER);
            // Behind deadline (9) and idle time (3).
            let tag = place + 3 + if deadline.is_some() { 9 } else { 0 };
            assert_eq!(out[tag - 3], opcode::IDLE);
            out[tag] = value[0];
            out.extend_from_slice(&value[1..]);
            target.write(&out).expect("room on the disk");
            out.clear();
        }
    }
    c.run("SELECT 0");
}
