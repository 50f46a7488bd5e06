//! The parts a request passes through, each on its own: `cargo bench --bench core`.
//!
//! | group | what it measures |
//! | --- | --- |
//! | `parser` | requests out of a read buffer, one and a pipeline of 16 |
//! | `reply` | replies into an output buffer |
//! | `dict` | one table of a shard, with 100,000 keys |
//! | `execute` | whole commands by the dispatcher, without any socket traffic |
//!
//! `cargo bench --bench core -- --test` runs everything once. The end-to-end figures beside
//! redis-server are the business of the bench `versus`.

use std::fs::File;
use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_main};
use stdis::command::dispatch::{self, Place};
use stdis::command::{Session, table};
use stdis::resp::{Limits, OwnedArgs, Parsed, Parser, Reply};
use stdis::server::Server;
use stdis::server::client::Address;
use stdis::server::config::Config;
use stdis::store::KeyHasher;
use stdis::store::dict::{Dict, Hasher};
use stdis::store::entry::{Entry, Key};
use stdis::types::Value;
use stdis::util::random::Rng;

/// Requests of a pipeline.
const PIPELINE: usize = 16;
/// Keys of a full table.
const KEYS: usize = 100_000;

fn key(number: usize) -> Vec<u8> {
    format!("key:{number:012}").into_bytes()
}

/// The bytes of a request, as clients send it.
fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Takes every request out of `input`, as a connection does, and returns how many there were.
fn parse_all(parser: &mut Parser, mut input: &[u8]) -> usize {
    let mut requests = 0;
    while let Parsed::Request(used) = parser.parse(input, Limits::default()) {
        black_box(parser.args(input).len());
        parser.reset();
        input = &input[used..];
        requests += 1;
    }
    requests
}

fn parser(criterion: &mut Criterion) {
    let (name, value) = (key(7), [b'x'; 64]);
    let small = encode(&[b"SET", &name, b"xxx"]);
    let cases = [
        ("get", encode(&[b"GET", &name])),
        ("set 3 bytes", small.clone()),
        ("set 64 bytes", encode(&[b"SET", &name, &value])),
        ("set 10 KiB", encode(&[b"SET", &name, &[b'x'; 10 << 10]])),
        ("inline get", [b"GET ", &name[..], b"\r\n"].concat()),
        (
            "get, pipeline of 16",
            encode(&[b"GET", &name]).repeat(PIPELINE),
        ),
        ("set, pipeline of 16", small.repeat(PIPELINE)),
    ];
    let mut group = criterion.benchmark_group("parser");
    for (label, input) in cases {
        let mut parser = Parser::new();
        group.throughput(Throughput::Elements(parse_all(&mut parser, &input) as u64));
        group.bench_function(label, |b| {
            b.iter(|| parse_all(&mut parser, black_box(&input)))
        });
    }
    group.finish();
}

fn reply(criterion: &mut Criterion) {
    type Write = fn(&mut Reply);
    let cases: [(&str, Write); 6] = [
        ("ok", |out| out.ok()),
        ("small integer", |out| out.int(1)),
        ("large integer", |out| out.int(black_box(1_234_567_890_123))),
        ("bulk of 3 bytes", |out| out.bulk(black_box(b"xxx"))),
        ("bulk of 1 KiB", |out| out.bulk(black_box(&[b'x'; 1 << 10]))),
        ("array of 16 bulks", |out| {
            out.array(PIPELINE);
            (0..PIPELINE).for_each(|_| out.bulk(black_box(b"member")));
        }),
    ];
    let mut group = criterion.benchmark_group("reply");
    for (label, write) in cases {
        let mut out = Reply::new();
        group.bench_function(label, |b| {
            b.iter(|| {
                write(&mut out);
                black_box(out.bytes());
                out.clear(1 << 20);
            })
        });
    }
    group.finish();
}

/// A table, its keys with their hashes, and the hash they were made with.
struct Table {
    dict: Dict,
    hasher: KeyHasher,
    keys: Vec<(u64, Vec<u8>)>,
}

impl Table {
    fn new() -> Table {
        let hasher = KeyHasher::random();
        let mut table = Table {
            dict: Dict::new(),
            hasher,
            keys: (0..KEYS)
                .map(|number| (hasher.hash(&key(number)), key(number)))
                .collect(),
        };
        for (hash, key) in &table.keys {
            table.dict.insert(*hash, entry(key), &hasher);
        }
        table
    }

    /// A generator that visits the keys in no particular order, so that caches do not help more
    /// than they would a server.
    fn order() -> Rng {
        Rng::new([1, 2])
    }
}

fn entry(key: &[u8]) -> Entry {
    Entry {
        key: Key::new(key, 0),
        value: Value::string(b"xxx"),
    }
}

fn dict(criterion: &mut Criterion) {
    let mut table = Table::new();
    let mut order = Table::order();
    let mut group = criterion.benchmark_group("dict");
    group.bench_function("get, key there", |b| {
        b.iter(|| {
            let (hash, key) = &table.keys[order.index(KEYS)];
            table.dict.get(*hash, key).is_some()
        })
    });
    group.bench_function("get, key not there", |b| {
        b.iter(|| {
            let (hash, key) = &table.keys[order.index(KEYS)];
            table.dict.get(hash.rotate_left(17), key).is_some()
        })
    });
    group.bench_function("remove and insert", |b| {
        b.iter(|| {
            let (hash, key) = &table.keys[order.index(KEYS)];
            let removed = table.dict.remove(*hash, key, &table.hasher);
            removed.map(|entry| table.dict.insert(*hash, entry, &table.hasher))
        })
    });
    group.bench_function("random", |b| {
        b.iter(|| {
            let position = order.index(table.dict.len());
            black_box(table.dict.at(position)).key.bytes().len()
        })
    });
    group.throughput(Throughput::Elements(KEYS as u64));
    group.bench_function("insert from empty", |b| {
        b.iter(|| {
            let mut dict = Dict::new();
            for (hash, key) in &table.keys {
                dict.insert(*hash, entry(key), &table.hasher);
            }
            dict
        })
    });
    group.bench_function("remove until empty", |b| {
        b.iter_batched(
            || Table::new().dict_and_keys(),
            |(mut dict, hasher, keys)| {
                for (hash, key) in &keys {
                    dict.remove(*hash, key, &hasher);
                }
                (dict, keys)
            },
            BatchSize::PerIteration,
        )
    });
    group.bench_function("scan", |b| {
        b.iter(|| {
            (0..table.dict.len())
                .rev()
                .map(|position| table.dict.at(position).key.bytes().len())
                .sum::<usize>()
        })
    });
    group.finish();
}

impl Table {
    fn dict_and_keys(self) -> (Dict, KeyHasher, Vec<(u64, Vec<u8>)>) {
        (self.dict, self.hasher, self.keys)
    }
}

/// A server in this process and one client of it, whose socket nobody reads or writes.
struct Bench {
    server: Arc<Server>,
    session: Session,
    out: Reply,
    /// The client's end; closing it would make the server's look lost.
    _peer: UnixStream,
}

impl Bench {
    fn new() -> Bench {
        let server = Arc::new(Server::new(Config::new(), None, table::catalogue()));
        let (own, peer) = UnixStream::pair().expect("a pair of sockets");
        let socket = Arc::new(File::from(OwnedFd::from(own)));
        let address = Address {
            peer: "bench:0".into(),
            local: "bench:0".into(),
            unix: true,
            loopback: true,
        };
        let client = server.clients.add(socket, address, 1);
        let session = Session::new(&server, client.expect("room for one client"));
        Bench {
            server,
            session,
            out: Reply::new(),
            _peer: peer,
        }
    }

    /// Carries out one command and forgets its reply.
    fn run(&mut self, words: &mut OwnedArgs) -> usize {
        let mut args = words.args();
        dispatch::execute(
            &self.server,
            &mut self.session,
            &mut self.out,
            &mut args,
            Place::Own,
        );
        let replied = self.out.len();
        self.out.clear(1 << 20);
        replied
    }
}

fn execute(criterion: &mut Criterion) {
    let mut bench = Bench::new();
    type Make = Box<dyn Fn(usize) -> OwnedArgs>;
    let cases: [(&str, Make); 5] = [
        ("ping", Box::new(|_| OwnedArgs::new([b"PING"]))),
        (
            "set",
            Box::new(|at| OwnedArgs::new([b"SET", &key(at)[..], b"xxx"])),
        ),
        ("get", Box::new(|at| OwnedArgs::new([b"GET", &key(at)[..]]))),
        (
            "get, no key",
            Box::new(|at| OwnedArgs::new([b"GET", &key(KEYS + at)[..]])),
        ),
        (
            "mget of 16",
            Box::new(|at| {
                let mut words = vec![b"MGET".to_vec()];
                words.extend((0..PIPELINE).map(|more| key((at + more * 7) % KEYS)));
                OwnedArgs::new(words)
            }),
        ),
    ];
    for at in 0..KEYS {
        bench.run(&mut OwnedArgs::new([b"SET", &key(at)[..], b"xxx"]));
    }
    let mut group = criterion.benchmark_group("execute");
    for (label, words) in cases {
        // Enough keys that one command does not find the cache lines of the one before.
        let mut requests: Vec<OwnedArgs> = (0..4096).map(|at| words(at * 24)).collect();
        let mut next = 0;
        group.bench_function(BenchmarkId::from_parameter(label), |b| {
            b.iter(|| {
                next = (next + 1) % requests.len();
                bench.run(&mut requests[next])
            })
        });
    }
    group.finish();
}

/// The function that the macro makes is public and has no place for a comment.
#[allow(missing_docs)]
mod all {
    use super::{dict, execute, parser, reply};
    criterion::criterion_group!(benches, parser, reply, dict, execute);
}
criterion_main!(all::benches);
