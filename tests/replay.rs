//! Carrying out an append only file: whatever commands it holds and whichever threads carry them
//! out, what comes of it is what they came to when they were logged.

mod support;

use std::fs;
use std::time::Duration;

use support::{Random, Server, encode, oracle};

const OPTIONS: [&str; 10] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--auto-aof-rewrite-percentage",
    "0",
    "--aof-use-rdb-preamble",
    "no",
    "--enable-debug-command",
    "yes",
];

/// Words of a command.
type Words = Vec<String>;

fn words(line: &str) -> Words {
    line.split(' ').map(str::to_owned).collect()
}

/// A command with one key, of a kind whose order with others of that key shows.
fn of_one_key(random: &mut Random, keys: u64) -> Words {
    let (key, value) = (random.below(keys), random.next() % 1000);
    words(&match random.below(10) {
        0 => format!("SET s:{key} {value}"),
        1 | 2 => format!("APPEND s:{key} {value}"),
        3 => format!("INCRBY n:{key} {value}"),
        4 => format!("RPUSH l:{key} {value}"),
        5 => format!("LPOP l:{key}"),
        6 => format!("HSET h:{key} f{} {value}", value % 7),
        7 => format!("ZADD z:{key} {value} m{}", value % 9),
        8 => format!("DEL s:{key}"),
        _ => format!("XADD x:{key} * f {value}"),
    })
}

/// A command with several keys, or with a whole database for its key.
fn of_several(random: &mut Random, keys: u64) -> Words {
    let (a, b, value) = (random.below(keys), random.below(keys), random.below(1000));
    words(&match random.below(40) {
        0 => "FLUSHDB".to_owned(),
        1 => format!("SWAPDB {} {}", a % 4, b % 4),
        2..6 => format!("MOVE s:{a} {}", b % 4),
        6..10 => format!("COPY l:{a} l:{b} DB {} REPLACE", value % 4),
        10..16 => format!("LMOVE l:{a} l:{b} LEFT RIGHT"),
        16..20 => format!("RENAME s:{a} s:{b}"),
        20..24 => format!("MSET s:{a} {value} s:{b} {value}"),
        24..28 => format!("DEL s:{a} l:{b} z:{a}"),
        28..32 => format!("ZUNIONSTORE z:{a} 2 z:{a} z:{b}"),
        _ => format!("SELECT {}", a % 4),
    })
}

/// Long stretches of commands with one key, and others where all kinds are mixed.
fn history(random: &mut Random, commands: usize) -> Vec<Words> {
    let mut all = Vec::new();
    while all.len() < commands {
        let several = [0, 0, 2, 50][random.below(4) as usize];
        let keys = [5, 300][random.below(2) as usize];
        for _ in 0..random.below(6000) {
            if random.below(100) < several {
                all.push(of_several(random, keys));
            } else if random.below(200) == 0 {
                all.push(words("MULTI"));
                for _ in 0..random.below(8) {
                    all.push(match random.below(4) {
                        0 => of_several(random, keys),
                        _ => of_one_key(random, keys),
                    });
                }
                all.push(words("EXEC"));
            } else {
                all.push(of_one_key(random, keys));
            }
        }
    }
    all
}

/// What a server holds, database by database.
fn digests(server: &Server) -> Vec<String> {
    let mut client = server.client();
    let mut digests = vec![client.run("DEBUG DIGEST").text()];
    for db in 0..4 {
        client.run(&format!("SELECT {db}"));
        digests.push(client.run("DBSIZE").int().to_string());
    }
    digests
}

#[test]
fn a_log_of_any_commands_gives_what_it_was_written_from() {
    for seed in 1..4 {
        let mut server = Server::with(&OPTIONS);
        let mut client = server.client();
        for batch in history(&mut Random::new(seed), 40_000).chunks(500) {
            let bytes: Vec<u8> = batch.iter().flat_map(|words| encode(words)).collect();
            client.write(&bytes);
            for _ in batch {
                client.recv();
            }
        }
        let before = digests(&server);
        server.restart();
        assert_eq!(digests(&server), before, "seed {seed}");
        // Once more, into a server that has clients.
        server.client().run("DEBUG LOADAOF");
        assert_eq!(digests(&server), before, "seed {seed}");
    }
}

/// A server that finds a log with these commands, and perhaps bytes behind them.
fn with_log(lines: &[&str], tail: &[u8]) -> Server {
    let mut server = Server::with(&OPTIONS);
    server.kill9();
    let folder = server.dir().join("appendonlydir");
    let log = folder.join("appendonly.aof.1.incr.aof");
    let mut bytes: Vec<u8> = Vec::new();
    for line in lines {
        bytes.extend(encode(&words(line)));
    }
    bytes.extend(tail);
    fs::write(log, bytes).expect("the log can be written");
    server.restart();
    server
}

#[test]
fn commands_of_a_log_are_no_statistics_but_their_errors_are() {
    let lines = [
        "SELECT 0",
        "SET a 1",
        "LPUSH a x",
        "MULTI",
        "SET b 2",
        "LPUSH b x",
        "EXEC",
        "EXEC",
        "GET a",
        "GET none",
    ];
    let server = with_log(&lines, b"");
    let mut client = server.client();
    assert_eq!(client.run("MGET a b").texts(), ["1", "2"]);
    let stats = server.info("stats");
    assert_eq!(stats["total_error_replies"], "3");
    if !oracle() {
        // Looked up by this test as well.
        assert_eq!(
            (
                stats["keyspace_hits"].as_str(),
                stats["keyspace_misses"].as_str()
            ),
            ("3", "1")
        );
    }
    let commands = server.info("commandstats");
    assert!(!commands.contains_key("cmdstat_set"), "{commands:?}");
    server.wait_log("sending an error to its AOF-loading-client");
}

#[test]
fn a_transaction_that_is_not_whole_has_never_been() {
    let lines = [
        "SELECT 1", "SET a 1", "MULTI", "SET a 2", "SELECT 2", "SET b 1",
    ];
    let server = with_log(&lines, b"*1\r\n$4\r\nEX");
    let mut client = server.client();
    assert_eq!(client.run("DBSIZE").int(), 0);
    client.run("SELECT 1");
    assert_eq!(client.run("GET a").text(), "1");
    client.run("SELECT 2");
    assert_eq!(client.run("DBSIZE").int(), 0);
}

#[test]
fn large_arguments_arrive() {
    let large = "v".repeat(3_000_000);
    let lines = [
        "SELECT 0".to_owned(),
        format!("SET a {large}"),
        "MULTI".to_owned(),
        format!("SET b {large}"),
        format!("RPUSH l {large} x {large}"),
        "EXEC".to_owned(),
        format!("APPEND a {large}"),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let server = with_log(&lines, b"");
    let mut client = server.client();
    client.set_read_timeout(Duration::from_secs(60));
    assert_eq!(client.run("STRLEN a").int(), 6_000_000);
    assert_eq!(client.run("STRLEN b").int(), 3_000_000);
    assert_eq!(client.run("LINDEX l 2").bytes(), large.as_bytes());
}
