//! Damaged requests for a running server: all its commands, with arguments that nearly fit.
//! Most of them follow the patterns of [`collections`], so that they meet data of every type.
//!
//! The server must answer throughout, no handler may panic, and when the clients have gone it must
//! have given back what they took.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use stdis::command::spec::BLOCKING;
use stdis::command::table;

use crate::collections;
use crate::generate::{self, Words};
use crate::support::{Client, REPLY_TIMEOUT, Random, Server, eventually};

/// Connections at a time.
const CLIENTS: u64 = 4;
/// Longest string that a command may make, so that the test does not measure the machine's memory.
const LARGEST: &str = "1mb";
/// What the process may keep, beyond what it had at the start: fragments, and caches of allocators.
const KEPT: u64 = 64 << 20;

/// Arguments that commands understand.
const KNOWN: &[&str] = &[
    "k1",
    "k2",
    "k3",
    "k4",
    "{k}5",
    "0",
    "1",
    "-1",
    "2",
    "10",
    "15",
    "16",
    "100",
    "1000",
    "65535",
    "1048576",
    "536870911",
    "9223372036854775807",
    "-9223372036854775808",
    "3.0e3",
    "inf",
    "nan",
    "*",
    "k*",
    "[a-",
    "\\",
    "EX",
    "PX",
    "EXAT",
    "PXAT",
    "NX",
    "XX",
    "GT",
    "LT",
    "GET",
    "KEEPTTL",
    "PERSIST",
    "MATCH",
    "COUNT",
    "TYPE",
    "string",
    "LEN",
    "IDX",
    "MINMATCHLEN",
    "WITHMATCHLEN",
    "DB",
    "REPLACE",
    "COPY",
    "AUTH",
    "SETNAME",
    "ID",
    "ADDR",
    "LADDR",
    "USER",
    "ON",
    "OFF",
    "SKIP",
    "ASYNC",
    "SYNC",
    "FILTERBY",
    "PATTERN",
    "MODULE",
    "ACLCAT",
    "SAMPLES",
    "everything",
    "default",
    "maxmemory",
    "list0",
    "set0",
    "zset0",
    "hash0",
    "geo0",
    "bits0",
    "hll0",
    "LIMIT",
    "WITHSCORES",
    "WEIGHTS",
    "AGGREGATE",
    "BYSCORE",
    "BYLEX",
    "REV",
    "LEFT",
    "RIGHT",
    "RANK",
    "STORE",
    "BY",
    "FIELDS",
    "OVERFLOW",
    "SET",
    "u8",
    "#1",
    "km",
    "abc",
    "",
];

/// Subcommands that would disturb the test itself rather than the server.
const LEFT_OUT: &[&str] = &["kill", "pause"];

/// Requests made from the command table.
struct Commands(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Commands {
    fn new() -> Commands {
        let usable =
            |row: &&table::Row| !LEFT_OUT.contains(&row.spec.name) && !row.spec.flags.has(BLOCKING);
        let mut names = Vec::new();
        for (name, row) in table::table().commands() {
            if usable(&row) {
                names.push((name.to_vec(), None));
            }
            for sub in row.subcommands.iter().copied().filter(usable) {
                names.push((name.to_vec(), Some(sub.spec.name.as_bytes().to_vec())));
            }
        }
        // The table is a hash map; a seed must mean the same in every run.
        names.sort();
        Commands(names)
    }
}

impl Words for Commands {
    fn request(&self, random: &mut Random) -> Vec<Vec<u8>> {
        if random.below(4) > 0 {
            return collections::request(random);
        }
        let (mut name, subcommand) = random.pick(&self.0).clone();
        if name.starts_with(b"flush") && random.below(10) > 0 {
            // Else hardly a command would meet what others have left.
            name = b"get".to_vec();
        }
        let mut words = vec![name];
        words.extend(subcommand);
        for _ in 0..random.below(7) {
            words.push(match random.below(12) {
                0 => generate::argument(random),
                1 => random.next().to_string().into_bytes(),
                _ => random.pick(KNOWN).as_bytes().to_vec(),
            });
        }
        words
    }
}

/// Sends inputs `first..first + count` to a server and checks that it is as good as new.
pub fn storm(seed: u64, first: u64, count: u64) {
    let server = Server::with(&[
        "--proto-max-bulk-len",
        LARGEST,
        // Draws with huge negative counts go on until there is more than this.
        "--client-output-buffer-limit",
        "normal 16mb 0 0",
        "--rename-command",
        "SHUTDOWN",
        "",
    ]);
    let commands = Commands::new();
    let before = server.rss();
    std::thread::scope(|scope| {
        for lane in 0..CLIENTS {
            let (server, commands) = (&server, &commands);
            scope.spawn(move || {
                let mut at = first + lane;
                while at < first + count {
                    at = visit(server, commands, seed, at, first + count);
                    assert_eq!(ping(server), "PONG", "around input {at} of seed {seed}");
                }
            });
        }
    });
    let log = server.log();
    assert!(!log.contains("Panic"), "a handler panicked; seed {seed}");
    server.client().run("FLUSHALL");
    eventually("the clients are gone", REPLY_TIMEOUT, || {
        server.info_int("connected_clients") == 1
    });
    if let Some(before) = before {
        eventually("the memory is given back", REPLY_TIMEOUT, || {
            server.client().run("MEMORY PURGE");
            server.rss().is_some_and(|now| now < before + KEPT)
        });
    }
}

/// A fresh client's `PING`, whatever another one has made of the password or the like.
fn ping(server: &Server) -> String {
    let mut client: Client = server.client();
    client.cmd(&["PING"]).text()
}

/// One connection: sends some inputs in pieces and ends in one of several ways. Returns the number
/// of the next input of this lane.
fn visit(server: &Server, commands: &Commands, seed: u64, first: u64, end: u64) -> u64 {
    let mut stream = connect(server.port());
    let mut at = first;
    let mut random = crate::random(seed, first);
    let inputs = 1 + random.below(8);
    'inputs: for _ in 0..inputs {
        if at >= end {
            break;
        }
        random = crate::random(seed, at);
        at += CLIENTS;
        let input = generate::input(&mut random, commands);
        let mut start = 0;
        for cut in generate::cuts(&mut random, &input) {
            // The server has ended the connection, as it does after a protocol error.
            if stream.write_all(&input[start..cut]).is_err() {
                break 'inputs;
            }
            start = cut;
        }
        if stream.write_all(&input[start..]).is_err() {
            break;
        }
    }
    if random.below(2) == 0 {
        // Gone without a word, with replies on their way.
        return at;
    }
    if stream.shutdown(Shutdown::Write).is_ok() {
        read_to_end(&mut stream, at);
    }
    at
}

/// Reads until the server has closed the connection.
fn read_to_end(stream: &mut TcpStream, at: u64) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the server neither replies nor closes, before input {at}")
            }
            // Reset: the server closed while something was still unread.
            Err(_) => return,
        }
    }
}

fn connect(port: u16) -> TcpStream {
    let mut stream = None;
    // Many short connections can use up the local ports for a moment.
    eventually("a connection", Duration::from_secs(60), || {
        stream = TcpStream::connect(("127.0.0.1", port)).ok();
        stream.is_some()
    });
    let stream = stream.expect("eventually() has seen it");
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&stream, Some(REPLY_TIMEOUT)).expect("set a timeout");
    }
    stream
}
