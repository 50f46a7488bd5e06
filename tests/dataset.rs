//! What the server says about its data as a whole: digests, and how many changes there have been.

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use support::*;

#[track_caller]
fn fails(c: &mut Client, line: &str, text: &str) {
    assert_eq!(c.run(line), error(text), "{line}");
}

#[test]
fn debug_digest() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    let zeros = "0".repeat(40);
    assert_eq!(c.run("DEBUG DIGEST"), simple(&zeros));
    assert_eq!(c.run("DEBUG DIGEST-VALUE").texts(), [""; 0]);
    // These are Redis' digests.
    c.run("SET text value");
    assert_eq!(
        c.run("DEBUG DIGEST"),
        simple("7f983942689f2abf4d95506691ac7b28476521dd")
    );
    c.run("EXPIRE text 1000");
    c.run("RPUSH list a b 3");
    c.run("SADD set a b 3");
    c.run("ZADD zset 1 a 2.5 b -inf 3");
    c.run("SELECT 5");
    c.run("HSET hash a b 1 2");
    c.run("SADD set 3 b a");
    assert_eq!(
        c.run("DEBUG DIGEST"),
        simple("599a7d23eb9000241049fbab3de4251d38296e1f")
    );
    assert_eq!(
        c.run("DEBUG DIGEST-VALUE hash none set").texts(),
        [
            "0f946a2ecb34806de9da4ac32bddb8aa6ce8d9ca",
            &zeros,
            "aa475a4a8f122ca5936aa41d911aacf8c93b827d"
        ]
    );
    if !oracle() {
        // As in Redis 7.4, whether a field expires is part of a digest, when it does is not.
        let digest = |c: &mut Client| c.run("DEBUG DIGEST-VALUE hash").texts();
        let before = digest(&mut c);
        c.run("HEXPIRE hash 1000 FIELDS 1 a");
        let volatile = digest(&mut c);
        assert_ne!(volatile, before);
        c.run("HEXPIRE hash 2000 FIELDS 1 a");
        assert_eq!(digest(&mut c), volatile);
        c.run("HPERSIST hash FIELDS 1 a");
        assert_eq!(digest(&mut c), before);
    }
    let text = "ERR unknown subcommand or wrong number of arguments for 'DIGEST'. Try DEBUG HELP.";
    fails(&mut c, "DEBUG DIGEST x", text);
    c.run("FLUSHALL");
    assert_eq!(c.run("DEBUG DIGEST"), simple(&zeros));
}

/// The number that INFO gives as changes since the last save.
fn changes(c: &mut Client) -> i64 {
    let text = c.run("INFO persistence").text();
    text.lines()
        .find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"))
        .and_then(|count| count.parse().ok())
        .expect("a number of changes")
}

#[test]
fn changes_are_counted_as_in_redis() {
    let s = Server::with(&["--save", ""]);
    let mut c = s.client();
    for (line, count) in [
        ("SET a 1", 1),
        ("SET b 2 EX 1000", 1),
        ("SET b 3 NX", 0),
        ("SETEX b 1000 2", 1),
        ("PSETEX b 100000 2", 1),
        ("MSET x 1 y 2 z 3", 3),
        ("MSETNX q 1 x 2", 0),
        ("MSETNX q 1 r 2", 2),
        ("GETEX b PERSIST", 1),
        ("GETEX b EX 100", 1),
        ("GETEX a", 0),
        ("GETDEL q", 1),
        ("APPEND ap x", 1),
        ("SETRANGE ap 0 abc", 1),
        ("INCR n", 1),
        ("INCRBYFLOAT n 1.5", 1),
        ("SETBIT bit 3 1", 1),
        ("SETBIT bit 3 1", 0),
        ("SETBIT bit 900 0", 1),
        ("BITFIELD bit SET u8 0 3 INCRBY u8 0 1 GET u8 0", 2),
        ("BITOP NOT dst bit", 1),
        ("BITOP NOT dst none", 1),
        ("BITOP NOT dst none", 0),
        ("COPY x x2", 1),
        ("COPY x w DB 4", 1),
        ("MOVE x 5", 1),
        ("RENAME y y2", 1),
        ("RENAMENX y2 z", 0),
        ("RENAMENX y2 y3", 1),
        ("DEL z y3 none", 2),
        ("UNLINK r none", 1),
        ("EXPIRE a 100", 1),
        ("PERSIST a", 1),
        ("PERSIST a", 0),
        ("EXPIRE a -1", 1),
        ("HSET h a 1 b 2", 2),
        ("HSET h a 1", 1),
        ("HSETNX h a 1", 0),
        ("HINCRBY h n 1", 1),
        ("HDEL h a b none", 2),
        ("HDEL h n", 1),
        ("SADD s a b c", 3),
        ("SADD s a d", 1),
        ("SREM s a x", 1),
        ("SMOVE s s2 b", 2),
        ("SUNIONSTORE s3 s s2", 1),
        ("SDIFFSTORE s3 none", 1),
        ("SDIFFSTORE s3 none", 0),
        ("SPOP s2", 1),
        ("SPOP s3", 0),
        ("SPOP s 10", 2),
        ("ZADD z 1 a 2 b 3 c 4 d 5 e 6 f", 6),
        ("ZADD z 1 a", 0),
        ("ZADD z 5 a 6 b 7 g", 3),
        ("ZINCRBY z 1 a", 1),
        ("ZINCRBY z 0 a", 0),
        ("ZREM z a none", 1),
        ("ZPOPMIN z 2", 2),
        ("ZRANGESTORE z2 z 0 -1", 1),
        ("ZUNIONSTORE z3 2 z z2", 1),
        ("ZREMRANGEBYRANK z3 0 1", 2),
        ("ZMPOP 1 z3 MAX COUNT 5", 2),
        ("ZREMRANGEBYSCORE z -inf inf", 4),
        ("GEOADD g 1 1 a 2 2 b 3 3 c", 3),
        ("GEOADD g 1 1 a", 0),
        ("GEOSEARCHSTORE g2 g FROMLONLAT 2 2 BYRADIUS 1000 km", 3),
        ("PFADD p a b c", 4),
        ("PFADD p a", 0),
        ("PFMERGE p2 p", 1),
        ("RPUSH l 1 2 3 4 5 6", 6),
        ("LPUSHX l 0 0", 2),
        ("LINSERT l BEFORE 2 x", 1),
        ("LINSERT l BEFORE none x", 0),
        ("LSET l 0 v", 1),
        ("LTRIM l 0 -1", 0),
        ("LTRIM l 1 -2", 2),
        ("LREM l 0 x", 1),
        ("LREM l 0 x", 0),
        ("LMOVE l l2 LEFT RIGHT", 1),
        ("RPOPLPUSH l2 l2", 1),
        ("LPOP l2", 1),
        ("LPOP l 2", 2),
        ("SORT l STORE sorted", 3),
        ("LMPOP 1 sorted LEFT COUNT 9", 3),
        ("SORT none STORE sorted", 0),
        ("SWAPDB 0 3", 1),
        ("FLUSHDB", 0),
        ("SELECT 3", 0),
        ("FLUSHALL", 13),
        ("FLUSHALL", 0),
    ] {
        let before = changes(&mut c);
        c.run(line);
        assert_eq!(changes(&mut c) - before, count, "{line}");
    }
}

#[test]
fn info_persistence() {
    let s = Server::start();
    let mut c = s.client();
    let text = c.run("INFO persistence").text();
    for line in [
        "# Persistence",
        "loading:0",
        "async_loading:0",
        "rdb_changes_since_last_save:0",
        "rdb_bgsave_in_progress:0",
        "aof_enabled:0",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in {text}");
    }
    let saved = text
        .lines()
        .find_map(|line| line.strip_prefix("rdb_last_save_time:"))
        .and_then(|time| time.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let age = now.as_secs() - saved.expect("a time");
    assert!(age < 60, "{age}");
}
