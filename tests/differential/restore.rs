//! What redis-server makes of random commands, taken over by stdis with `DUMP` and `RESTORE`.

use crate::args;
use crate::families::FAMILIES;
use crate::keyspace;
use crate::random::Random;
use crate::server::{Pair, missing_commands};
use crate::wire::{Connection, Outcome, Value, show};

/// Commands before the data is taken over.
const COMMANDS: usize = 4_000;
/// Families of which the commands do not depend on a transaction, nor on what SORT needs.
const LEFT_OUT: [&str; 3] = ["sort", "transactions", "pubsub"];

/// Settings under which redis-server makes its data: the usual ones, everything in tables and many
/// nodes, everything packed.
const SETTINGS: [&[&str]; 3] = [
    &[],
    &[
        "list-max-listpack-size",
        "2",
        "list-compress-depth",
        "1",
        "hash-max-listpack-entries",
        "2",
        "zset-max-listpack-entries",
        "2",
        "set-max-intset-entries",
        "2",
        "stream-node-max-entries",
        "3",
    ],
    &[
        "list-max-listpack-size",
        "-5",
        "hash-max-listpack-value",
        "10000",
        "zset-max-listpack-value",
        "10000",
        "rdbcompression",
        "no",
    ],
];

/// Runs the whole test; the report is empty when the servers agree.
pub fn run() -> String {
    let mut report = String::new();
    for (seed, settings) in (1..).zip(SETTINGS) {
        let pair = Pair::start(&[]);
        let mut random = Random::new(seed);
        for address in [pair.reference.address, pair.subject.address] {
            let mut connection = Connection::open(address, 2).expect("a connection");
            for setting in settings.chunks(2) {
                connection.call(&["CONFIG", "SET", setting[0], setting[1]]);
            }
        }
        fill(&pair, &mut random);
        let taken = take_over(&pair, &mut report);
        println!("settings {seed}: {taken} keys");
        assert!(taken > 10, "hardly anything to take over");
        // The encodings are to be those with which redis-server itself loads the values.
        let mut connection = Connection::open(pair.reference.address, 2).expect("a connection");
        let reloaded = connection.call(&["DEBUG", "RELOAD"]);
        assert_eq!(reloaded, Outcome::Reply(b"+OK\r\n".to_vec()));
        for difference in keyspace::differences(&pair) {
            report.push_str(&format!(
                "settings {seed}\n  {}\n  {}\n",
                difference.reference, difference.subject
            ));
        }
    }
    report
}

fn fill(pair: &Pair, random: &mut Random) {
    let mut connection = Connection::open(pair.reference.address, 2).expect("a connection");
    let families: Vec<_> = FAMILIES
        .iter()
        .filter(|family| !LEFT_OUT.contains(&family.name))
        .filter(|family| missing_commands(pair.reference.address, family.needs).is_empty())
        .collect();
    for _ in 0..COMMANDS {
        let case = (random.of(&families).generate)(random);
        let name = case.args[0].to_ascii_uppercase();
        if matches!(&name[..], b"FLUSHALL" | b"FLUSHDB" | b"SWAPDB") {
            continue;
        }
        connection.call(&case.args);
    }
}

fn call(connection: &mut Connection, command: Vec<Vec<u8>>) -> Outcome {
    connection.call(&command)
}

fn value(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Reply(bytes) => Value::parse(&bytes),
        other => panic!("{}", other.show()),
    }
}

/// Copies every key; how many they were.
fn take_over(pair: &Pair, report: &mut String) -> usize {
    let mut from = Connection::open(pair.reference.address, 2).expect("a connection");
    let mut to = Connection::open(pair.subject.address, 2).expect("a connection");
    let mut taken = 0;
    for db in 0..16i64 {
        call(&mut from, args!["SELECT", db]);
        call(&mut to, args!["SELECT", db]);
        for key in value(from.call(&["KEYS", "*"])).elements() {
            let key = key.content();
            let payload = value(call(&mut from, args!["DUMP", key]));
            if payload.is_null() {
                continue;
            }
            let deadline = value(call(&mut from, args!["PEXPIRETIME", key])).content();
            let ttl = if deadline == b"-1" {
                b"0".to_vec()
            } else {
                deadline
            };
            let payload = payload.content();
            let reply = call(
                &mut to,
                args!["RESTORE", key, ttl, payload, "ABSTTL", "REPLACE"],
            );
            if reply != Outcome::Reply(b"+OK\r\n".to_vec()) {
                report.push_str(&format!(
                    "RESTORE of {} {}: {}\n",
                    show(&key),
                    show(&payload),
                    reply.show()
                ));
            }
            taken += 1;
            compare(&mut from, &mut to, &key, report);
        }
    }
    taken
}

/// Compares a key by the digest of its value and, if it is a stream, by its groups.
fn compare(from: &mut Connection, to: &mut Connection, key: &[u8], report: &mut String) {
    let key = key.to_vec();
    for command in [
        args!["DEBUG", "DIGEST-VALUE", key],
        args!["XLEN", key],
        args!["XINFO", "GROUPS", key],
        args!["XINFO", "STREAM", key],
    ] {
        let (left, right) = (from.call(&command), to.call(&command));
        if left != right {
            report.push_str(&format!(
                "{} {}: {} and {}\n",
                show(&command[0]),
                show(&key),
                left.show(),
                right.show()
            ));
        }
    }
}
