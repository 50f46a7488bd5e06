//! Every command, with arguments made from its own description: nearly right, then spoilt.
//!
//! The command table says what arguments a command takes, and so requests are drawn from it: keys
//! of all types, numbers where numbers stand, options in their places; one in five is then damaged.
//! They come in RESP2 and RESP3, in pipelines and in transactions. Whatever comes back has to be
//! well-formed, no handler may panic, and the data set must be the same after it has been saved
//! and loaded.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use stdis::command::docs::{self, Arg, Kind};
use stdis::command::table;

use crate::support::{Client, REPLY_TIMEOUT, Random, Server, encode, simple};

/// Connections at a time.
const LANES: u64 = 3;
/// Longest string that a command may make.
const LARGEST: &str = "1mb";
/// Commands on one connection.
const BATCH: u64 = 60;
/// Commands after which the data set is saved and loaded.
const RELOAD_EVERY: u64 = 100_000;

/// Commands that are not drawn, and why not.
const LEFT_OUT: &[(&str, &str)] = &[
    ("shutdown", "ends the server"),
    (
        "debug",
        "has subcommands that end or hold up the server; see SAFE_DEBUG",
    ),
    ("sync", "answers with bytes that are no replies"),
    ("psync", "answers with bytes that are no replies"),
    ("replconf", "is for replicas; some forms have no reply"),
    (
        "replicaof",
        "empties the data set, and refuses writes from then on",
    ),
    (
        "slaveof",
        "empties the data set, and refuses writes from then on",
    ),
    ("failover", "pauses all writes"),
    ("client|pause", "holds up all clients"),
    ("client|kill", "closes the other connections of the test"),
    (
        "config|set",
        "could move the server to another directory or port",
    ),
    ("acl|load", "there is no file"),
    ("acl|save", "there is no file"),
];

/// What of `DEBUG` is drawn.
const SAFE_DEBUG: &[&str] = &[
    "DEBUG OBJECT",
    "DEBUG LISTPACK",
    "DEBUG SDSLEN",
    "DEBUG HTSTATS-KEY",
    "DEBUG DIGEST-VALUE",
    "DEBUG HTSTATS",
    "DEBUG STRINGMATCH-LEN a*b",
    "DEBUG PROTOCOL",
    "DEBUG ERROR",
    "DEBUG NOSUCH",
];

/// Rare, as hardly a command would meet what others have left, or as they take long.
const RARE: &[&str] = &[
    "flushall",
    "flushdb",
    "swapdb",
    "save",
    "bgsave",
    "bgrewriteaof",
    "quit",
    "reset",
    "pfselftest",
];

const WORDS: &[&str] = &[
    "a", "b", "c", "m1", "m2", "m3", "x", "1", "2", "-1", "0", "3.5", "1-1", "2-2", "*", "$", ">",
    "-", "+", "[a", "(b", "field", "member", "group", "alice", "bob", "string", "list", "", "u8",
    "i16", "#1", "1000-0", "km", "hello",
];
const INTEGERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "5",
    "10",
    "-1",
    "-2",
    "-10",
    "100",
    "1000",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483649",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "1.5",
    "abc",
    "",
    "+1",
    " 1",
    "01",
];
const DOUBLES: &[&str] = &[
    "0", "1", "-1", "1.5", "3", "2.25", "100", "inf", "-inf", "+inf", "nan", "1e308", "-1e308",
    "1e-320", "0x10", "abc", "", "1e400", "179.9", "85.05",
];
const PATTERNS: &[&str] = &[
    "*",
    "k*",
    "h?llo",
    "[a-c]*",
    "[^x]",
    "\\",
    "[",
    "nosuch",
    "*->*",
    "hash:*->a",
    "",
];

/// What the commands are drawn from.
struct Catalogue(Vec<(Vec<String>, Vec<Arg>)>);

impl Catalogue {
    fn new() -> Catalogue {
        let mut all = Vec::new();
        let left_out = |name: &str| LEFT_OUT.iter().any(|(other, _)| *other == name);
        for (_, row) in table::table().commands() {
            let mut add = |name: &str, notation: &str| {
                if !left_out(name) {
                    let args = docs::parse(notation).expect("the table can be read");
                    let words: Vec<String> = name.split('|').map(str::to_uppercase).collect();
                    all.push((words, args));
                }
            };
            add(&row.name, row.spec.args);
            for sub in &row.subcommands {
                add(&sub.name, sub.spec.args);
            }
        }
        // The table is a hash map; a seed must mean the same in every run.
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Catalogue(all)
    }

    /// One request.
    fn request(&self, random: &mut Random) -> Vec<Vec<u8>> {
        if random.below(100) == 0 {
            let mut words: Vec<Vec<u8>> = random
                .pick(SAFE_DEBUG)
                .split(' ')
                .map(|word| word.as_bytes().to_vec())
                .collect();
            words.push(key(random));
            return words;
        }
        let (name, args) = loop {
            let (name, args) = random.pick(&self.0);
            if !RARE.contains(&&*name[0].to_lowercase()) || random.below(50) == 0 {
                break (name, args);
            }
        };
        let mut request: Vec<Vec<u8>> = name.iter().map(|word| word.clone().into_bytes()).collect();
        let mut count = None;
        for arg in args {
            draw(random, arg, &mut request, &mut count, 0);
        }
        if random.below(5) == 0 {
            spoil(random, &mut request);
        }
        request
    }
}

/// Draws what stands for one argument. `count` is how many keys have been announced.
fn draw(
    random: &mut Random,
    arg: &Arg,
    out: &mut Vec<Vec<u8>>,
    count: &mut Option<u64>,
    depth: usize,
) {
    if arg.optional && random.below(5) < 3 || depth > 6 {
        return;
    }
    let mut times = match arg.multiple {
        true => 1 + random.below(4),
        false => 1,
    };
    if arg.kind == Kind::Key && arg.multiple && random.below(10) > 0 {
        times = count.take().unwrap_or(times);
    }
    for time in 0..times {
        if let Some(token) = &arg.token
            && (time == 0 || arg.multiple_token)
        {
            out.push(token.clone().into_bytes());
        }
        match arg.kind {
            Kind::PureToken => {}
            Kind::OneOf => {
                let one = random.pick(&arg.args);
                draw(random, one, out, count, depth + 1);
            }
            Kind::Block => {
                for part in &arg.args {
                    draw(random, part, out, count, depth + 1);
                }
            }
            _ => out.push(value(random, arg, count)),
        }
    }
}

/// A value of an argument's type.
fn value(random: &mut Random, arg: &Arg, count: &mut Option<u64>) -> Vec<u8> {
    let text = match (arg.kind, &*arg.name) {
        (Kind::Key, _) => return key(random),
        // Nobody listens there.
        (_, "host") => "127.0.0.1".to_string(),
        (_, "port") => "1".to_string(),
        // The default user is the test's own.
        (_, "username") => (*random.pick(&["alice", "bob"])).to_string(),
        (_, "protover") => (*random.pick(&["2", "3", "4"])).to_string(),
        (Kind::Integer, "timeout" | "milliseconds") if random.below(50) > 0 => "1".to_string(),
        (_, "timeout") => (*random.pick(&["0.01", "0.001", "-1", "abc"])).to_string(),
        (_, "numkeys" | "numfields") => {
            let announced = 1 + random.below(3);
            *count = Some(announced);
            announced.to_string()
        }
        (_, "path") => "/nonexistent".to_string(),
        (_, "id" | "start" | "end" | "lastid" | "last-id") if random.below(2) == 0 => {
            let (ms, number) = (random.below(4), random.below(4));
            format!("{ms}-{number}")
        }
        (Kind::Integer, _) if random.below(2) == 0 => random.below(20).to_string(),
        (Kind::Integer, _) => (*random.pick(INTEGERS)).to_string(),
        (Kind::Double, _) => (*random.pick(DOUBLES)).to_string(),
        (Kind::Pattern, _) => (*random.pick(PATTERNS)).to_string(),
        (Kind::UnixTime, _) => match random.below(4) {
            0 => (*random.pick(INTEGERS)).to_string(),
            1 => "4102444800".to_string(),
            2 => "4102444800000".to_string(),
            _ => "1".to_string(),
        },
        _ => match random.below(20) {
            0 => "x".repeat(random.below(3000) as usize),
            1 => (*random.pick(INTEGERS)).to_string(),
            _ => (*random.pick(WORDS)).to_string(),
        },
    };
    text.into_bytes()
}

/// A key: of each type there are some, and some are missing as a rule.
fn key(random: &mut Random) -> Vec<u8> {
    const KINDS: &[&str] = &[
        "string", "list", "set", "zset", "hash", "stream", "hll", "bits", "geo", "none",
    ];
    let number = random.below(4);
    format!("{}:{number}", random.pick(KINDS)).into_bytes()
}

/// Damages a request in one way.
fn spoil(random: &mut Random, request: &mut Vec<Vec<u8>>) {
    let at = random.below(request.len() as u64) as usize;
    let other = random.below(request.len() as u64) as usize;
    match random.below(7) {
        0 if request.len() > 1 => drop(request.remove(at)),
        1 => request.insert(at, request[other].clone()),
        // The name stays, so that it is a command's arguments that are wrong.
        2 if at > 0 && other > 0 => request.swap(at, other),
        3 if at > 0 => request[at] = crate::generate::argument(random),
        4 => request.push((*random.pick(WORDS)).as_bytes().to_vec()),
        5 if at > 0 && !request[at].is_empty() => {
            let place = random.below(request[at].len() as u64) as usize;
            request[at][place] ^= 1 << random.below(8);
        }
        _ => request.truncate((at + 1).max(1)),
    }
}

/// A value of each type.
fn values(n: u64) -> [String; 11] {
    [
        format!("SET string:{n} 1{n}"),
        format!("RPUSH list:{n} a b c 1 2 3"),
        format!("SADD set:{n} 1 2 {n}"),
        format!("ZADD zset:{n} 1 a 2 b 3 m1"),
        format!("HSET hash:{n} a 1 b 2 field x"),
        format!("XADD stream:{n} 1-1 a 1 b 2"),
        format!("XADD stream:{n} 2-1 a 3"),
        format!("XGROUP CREATE stream:{n} group 0"),
        format!("PFADD hll:{n} a b c"),
        format!("SETBIT bits:{n} 77 1"),
        format!("GEOADD geo:{n} 13.3 38.1 a 15.0 37.5 b"),
    ]
}

/// Fills every kind of key that [`key`] names, some with much.
fn fill(c: &mut Client) {
    (0..3).flat_map(values).for_each(|line| drop(c.run(&line)));
    for number in 0..200 {
        let member = format!("member-{number}-{}", "x".repeat(number % 70));
        c.cmd(&["SADD", "set:2", &member]);
        c.cmd(&["ZADD", "zset:2", &number.to_string(), &member]);
        c.cmd(&["HSET", "hash:2", &member, &member]);
        c.cmd(&["RPUSH", "list:2", &member.repeat(5)]);
    }
}

/// Sends commands number `first..first + count` of a seed.
pub fn storm(seed: u64, first: u64, count: u64) {
    let server = Server::with(&[
        "--proto-max-bulk-len",
        LARGEST,
        // Draws with huge negative counts go on until there is more than this.
        "--client-output-buffer-limit",
        "normal 2mb 0 0",
        "--enable-debug-command",
        "yes",
        // Drawn commands may put it out of reach for a while, and nothing waits for it.
        "--slowlog-log-slower-than",
        "-1",
    ]);
    let catalogue = Catalogue::new();
    let mut c = server.client();
    let end = first + count;
    let mut from = first;
    while from < end {
        fill(&mut c);
        let to = end.min(from + RELOAD_EVERY);
        let next = AtomicU64::new(from);
        std::thread::scope(|scope| {
            for _ in 0..LANES {
                let (server, catalogue, next) = (&server, &catalogue, &next);
                scope.spawn(move || {
                    loop {
                        let at = next.fetch_add(BATCH, Ordering::Relaxed);
                        if at >= to {
                            break;
                        }
                        visit(server, catalogue, seed, at);
                    }
                });
            }
        });
        check(&server, seed, from);
        from = to;
    }
}

/// The server is as good as before.
fn check(server: &Server, seed: u64, from: u64) {
    let log = server.log();
    assert!(
        !log.contains("Panic") && !log.contains("panicked"),
        "a handler panicked; STDIS_SEED={seed}, in the commands from {from}"
    );
    let mut c = server.client();
    assert_eq!(c.run("PING"), simple("PONG"), "STDIS_SEED={seed}");
    c.run("CONFIG SET save \"\"");
    // Nothing is to expire between the two.
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    let before = contents(&mut c, true);
    assert_eq!(c.run("DEBUG RELOAD"), simple("OK"), "STDIS_SEED={seed}");
    let after = contents(&mut c, false);
    for (key, value) in &before {
        let loaded = after.get(key);
        assert_eq!(
            loaded,
            Some(value),
            "{key:?}, STDIS_SEED={seed} from {from}"
        );
    }
    assert_eq!(before.len(), after.len(), "STDIS_SEED={seed} from {from}");
    c.run("DEBUG SET-ACTIVE-EXPIRE 1");
    // Subscriptions, transactions and the like have ended with their connections; three are this test's.
    crate::support::eventually("the clients are gone", REPLY_TIMEOUT, || {
        server.info_int("connected_clients") == 3
    });
}

/// The digest of each key of each database. With `lasting`, those that may expire, or have fields
/// that may, are deleted first.
fn contents(c: &mut Client, lasting: bool) -> BTreeMap<(u64, Vec<u8>), String> {
    let mut all = BTreeMap::new();
    for db in 0..16 {
        c.run(&format!("SELECT {db}"));
        for key in c.run("KEYS *").items() {
            let key = key.bytes();
            if lasting {
                let expires = c.cmd(&[b"PTTL", key]) != -1;
                let is_hash = c.cmd(&[b"TYPE", key]).text() == "hash";
                let fields = |c: &mut Client| {
                    let names = c.cmd(&[b"HKEYS", key]);
                    names.items().iter().any(|name| {
                        let words: [&[u8]; 5] = [b"HTTL", key, b"FIELDS", b"1", name.bytes()];
                        c.cmd(&words).items()[0] != -1
                    })
                };
                if expires || is_hash && fields(c) {
                    c.cmd(&[b"DEL", key]);
                    continue;
                }
            }
            let words: [&[u8]; 3] = [b"DEBUG", b"DIGEST-VALUE", key];
            let digest = c.cmd(&words).texts();
            all.insert((db, key.to_vec()), digest.concat());
        }
    }
    c.run("SELECT 0");
    all
}

/// One connection: a batch of commands, of which every reply must be well-formed.
fn visit(server: &Server, catalogue: &Catalogue, seed: u64, first: u64) {
    let mut random = crate::random(seed, first);
    let mut bytes = Vec::new();
    if random.below(2) == 0 {
        bytes.extend(encode(&["HELLO", "3"]));
    }
    // Much of what is drawn removes keys.
    for line in values(random.below(3)) {
        bytes.extend(encode(&line.split(' ').collect::<Vec<_>>()));
    }
    let mut in_transaction = false;
    for _ in 0..BATCH {
        if random.below(20) == 0 {
            in_transaction = !in_transaction;
            let word = if in_transaction { "MULTI" } else { "EXEC" };
            bytes.extend(encode(&[word]));
        }
        bytes.extend(encode(&catalogue.request(&mut random)));
    }
    if in_transaction {
        bytes.extend(encode(&["EXEC"]));
    }
    let culprit = crate::Culprit {
        seed,
        number: first,
        input: &bytes,
        cuts: &[],
    };
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("connected");
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&stream, Some(REPLY_TIMEOUT)).expect("set a timeout");
    }
    let mut replies = Vec::new();
    std::thread::scope(|scope| {
        let (mut reader, replies) = (stream.try_clone().expect("a second handle"), &mut replies);
        let reading = scope.spawn(move || read_to_end(&mut reader, replies));
        // The server may end the connection, as QUIT has it do.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let done = reading.join();
        assert!(done.is_ok_and(|ended| ended), "no reply, and not closed");
    });
    let mut rest = &replies[..];
    while !rest.is_empty() {
        match reply_len(rest) {
            Some(len) => rest = &rest[len..],
            // A connection that the server closes may end in the midst of a reply.
            None if rest.len() < 1 << 20 => break,
            None => panic!("a reply without end: {:?}", &rest[..100]),
        }
    }
    drop(culprit);
}

/// Reads until the server has closed the connection; `false` if it neither does nor sends anything.
fn read_to_end(stream: &mut TcpStream, replies: &mut Vec<u8>) -> bool {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(read) => replies.extend_from_slice(&buffer[..read]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(_) => return true,
        }
    }
}

/// Bytes of the first reply; `None` when it is not all there. Anything that is no reply panics.
fn reply_len(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|two| two == b"\r\n")?;
    let (mark, text) = (bytes[0], &bytes[1..line]);
    let mut at = line + 2;
    let number = || {
        let text = std::str::from_utf8(text).expect("a number");
        let number: i64 = text.parse().expect("a number");
        number
    };
    match mark {
        b'+' | b'-' | b'_' | b'#' | b',' | b'(' => {}
        b':' => drop(number()),
        b'$' | b'=' | b'!' => {
            if let Ok(len) = usize::try_from(number()) {
                at += len + 2;
                assert!(at > bytes.len() || &bytes[at - 2..at] == b"\r\n", "no end");
                if at > bytes.len() {
                    return None;
                }
            }
        }
        b'*' | b'~' | b'>' | b'%' | b'|' => {
            let pairs = if matches!(mark, b'%' | b'|') { 2 } else { 1 };
            // An attribute is followed by what it belongs to.
            let more = i64::from(mark == b'|');
            for _ in 0..number().max(0) * pairs + more {
                at += reply_len(&bytes[at..])?;
            }
        }
        other => panic!(
            "not a reply: {other:?} in {:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(200)])
        ),
    }
    Some(at)
}

#[test]
fn replies_are_measured() {
    assert_eq!(reply_len(b"*2\r\n$1\r\na\r\n:5\r\n+x\r\n"), Some(15));
    assert_eq!(reply_len(b"$5\r\nab"), None);
}
