//! `MEMORY`: what takes how many bytes.
//!
//! The figures come from the counting allocator (`used_memory`), from glibc's own account of its
//! heaps, and from the tables, clients and values themselves.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::error::{Outcome, SYNTAX};
use super::help::help;
use super::info_replication::StreamMemory;
use super::options::{int, is};
use super::spec::*;
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::resp::reply::Aggregate;
use crate::server::client::REPLICA;
use crate::server::eviction::Uncounted;
use crate::store::entry::Entry;
use crate::store::{SHARDS, shard_of};
use crate::sys;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("memory", -2, super::container)
    .docs(
        Group::Server,
        "4.0.0",
        "Depends on the subcommand",
        "Groups the commands about memory",
    )
    .subcommands(MEMORY_SUBCOMMANDS)];

const MEMORY_SUBCOMMANDS: &[Command] = &[
    Command::new("doctor", 2, memory_doctor)
        .locking(Locking::None)
        .docs(
            Group::Server,
            "4.0.0",
            "O(1)",
            "Looks for memory problems and gives advice",
        )
        .tips(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ]),
    Command::new("help", 2, memory_help)
        .flags(LOADING.or(STALE))
        .docs(
            Group::Server,
            "4.0.0",
            "O(1)",
            "Lists the MEMORY subcommands",
        ),
    Command::new("malloc-stats", 2, memory_malloc_stats)
        .docs(
            Group::Server,
            "4.0.0",
            "O(1)",
            "Returns the allocator's own statistics",
        )
        .tips(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ]),
    Command::new("purge", 2, memory_purge)
        .docs(
            Group::Server,
            "4.0.0",
            "Depends on the amount of memory",
            "Asks the allocator to give unused memory back",
        )
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Command::new("stats", 2, memory_stats)
        .locking(Locking::None)
        .docs(
            Group::Server,
            "4.0.0",
            "O(1)",
            "Breaks the memory in use down by purpose",
        )
        .tips(&[
            "nondeterministic_output",
            "request_policy:all_shards",
            "response_policy:special",
        ]),
    Command::new("usage", -3, memory_usage)
        .flags(READONLY)
        .keys(&[KeySpec::one(2, RO)])
        .docs(
            Group::Server,
            "4.0.0",
            "O(N), N the number of samples",
            "Estimates the bytes that a key and its value take",
        )
        .args("key [SAMPLES count:integer]"),
];

/// Below this the doctor has nothing to go by.
const SMALL: usize = 5 << 20;
/// Waste below this is not worth a word.
const WASTE: usize = 10 << 20;
/// Average memory of a client above which the doctor complains.
const CLIENT: usize = 200 << 10;
/// How many elements MEMORY USAGE measures if it is not told.
const SAMPLES: usize = 5;
/// Bytes of the index for one key: its slots are between 7/16 and 7/8 full.
const INDEX: usize = 6;

/// `MEMORY USAGE key [SAMPLES count]`
fn memory_usage(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (mut at, mut samples) = (3, SAMPLES);
    while at < args.len() {
        if !is(&args[at], "SAMPLES") || at + 1 == args.len() {
            return Err(SYNTAX);
        }
        // More than there can be is all of them.
        samples = usize::try_from(int(args, at + 1)?).map_err(|_| SYNTAX)?;
        at += 2;
    }
    // Not a look-up: as in Redis, expired keys show as well.
    let hash = c.db.hash(&args[2]);
    match c.db.part(shard_of(hash)).get(hash, &args[2]) {
        Some(entry) => c.out.count(usage(entry, samples)),
        None => c.out.null(),
    }
    Ok(())
}

/// Bytes of memory that a key takes with its value and its place in the tables; a large collection
/// is estimated from `samples` of its elements (0: all).
fn usage(entry: &Entry, samples: usize) -> usize {
    let (key, value) = (entry.key.heap_size(), entry.value.memory(samples));
    size_of::<Entry>() + INDEX + sys::block(key) + sys::block(value)
}

/// One database in the account.
struct Tables {
    number: usize,
    keys: usize,
    main: usize,
    expires: usize,
}

/// Where the memory is.
struct Account {
    used: usize,
    startup: usize,
    peak: usize,
    clients: usize,
    stream: StreamMemory,
    client_count: usize,
    /// What waits to be written to the append only file.
    file: u64,
    tables: Vec<Tables>,
    /// From glibc: in live blocks, and taken from the system for blocks live and free.
    allocated: usize,
    active: usize,
    /// Memory of the process that is in RAM.
    resident: usize,
}

impl Account {
    fn take(c: &mut Ctx<'_>) -> Account {
        let mut tables = Vec::new();
        for number in 0..c.server.store.databases() {
            let mut sum = Tables {
                number,
                keys: 0,
                main: 0,
                expires: 0,
            };
            c.db.within(number, |db| {
                for shard in 0..SHARDS {
                    db.in_shard(shard, false, |db| {
                        let part = db.part(shard);
                        sum.keys += part.len();
                        sum.main += part.memory() - part.wheel_memory();
                        sum.expires += part.wheel_memory();
                    });
                }
            });
            if sum.keys > 0 {
                tables.push(sum);
            }
        }
        let clients = c.server.clients.all();
        let heaps = sys::allocator_stats();
        let used = sys::used_memory();
        Account {
            used,
            startup: c.server.stats.startup_memory.load(Ordering::Relaxed),
            peak: c.server.stats.peak_memory.load(Ordering::Relaxed).max(used),
            clients: (clients.iter().filter(|client| !client.has(REPLICA)))
                .map(|client| client.memory())
                .sum(),
            stream: StreamMemory::of(c.server),
            client_count: clients.len(),
            file: Uncounted::of(c.server).file,
            tables,
            allocated: heaps.in_use + heaps.mmapped,
            active: heaps.arena + heaps.mmapped,
            resident: sys::resident_memory() as usize,
        }
    }

    fn keys(&self) -> usize {
        self.tables.iter().map(|tables| tables.keys).sum()
    }

    /// Everything that is not the users' data.
    fn overhead(&self) -> usize {
        let tables: usize = self
            .tables
            .iter()
            .map(|tables| tables.main + tables.expires)
            .sum();
        let stream = (self.stream.backlog + self.stream.replicas) as usize;
        self.startup + self.clients + stream + tables
    }

    fn dataset(&self) -> usize {
        self.used.saturating_sub(self.overhead())
    }

    /// What has been allocated since the start.
    fn net(&self) -> usize {
        self.used.saturating_sub(self.startup)
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * ratio(part, whole)
}

/// How much `a` is above `b`; may be negative.
fn above(a: usize, b: usize) -> i64 {
    a as i64 - b as i64
}

/// `MEMORY STATS`
fn memory_stats(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let a = Account::take(c);
    let out = &mut *c.out;
    let start = out.begin_deferred();
    let mut fields = 0;
    let mut number = |out: &mut Reply, name: &str, value: i64| {
        out.bulk(name.as_bytes());
        out.int(value);
        fields += 1;
    };
    number(out, "peak.allocated", a.peak as i64);
    number(out, "total.allocated", a.used as i64);
    number(out, "startup.allocated", a.startup as i64);
    number(out, "replication.backlog", a.stream.backlog as i64);
    number(out, "clients.slaves", a.stream.replicas as i64);
    number(out, "clients.normal", a.clients as i64);
    // What does not exist yet takes nothing.
    number(out, "cluster.links", 0);
    number(out, "aof.buffer", a.file as i64);
    for name in ["lua.caches", "functions.caches"] {
        number(out, name, 0);
    }
    for tables in &a.tables {
        out.bulk(format!("db.{}", tables.number).as_bytes());
        out.map(3);
        for (name, bytes) in [
            ("main", tables.main),
            ("expires", tables.expires),
            ("slot-to-keys", 0),
        ] {
            out.bulk(format!("overhead.hashtable.{name}").as_bytes());
            out.count(bytes);
        }
    }
    number(out, "overhead.total", a.overhead() as i64);
    number(out, "keys.count", a.keys() as i64);
    number(
        out,
        "keys.bytes-per-key",
        a.net().checked_div(a.keys()).unwrap_or(0) as i64,
    );
    number(out, "dataset.bytes", a.dataset() as i64);
    let mut double = |out: &mut Reply, name: &str, value: f64| {
        out.bulk(name.as_bytes());
        out.double(value);
        fields += 1;
    };
    double(out, "dataset.percentage", percent(a.dataset(), a.net()));
    double(out, "peak.percentage", percent(a.used, a.peak));
    let fields = allocator_fields(out, &a) + fields + a.tables.len();
    out.end_deferred(start, Aggregate::Map, fields);
    Ok(())
}

/// The part of `MEMORY STATS` about the allocator. Returns the number of fields.
fn allocator_fields(out: &mut Reply, a: &Account) -> usize {
    for (name, bytes) in [
        ("allocated", a.allocated),
        ("active", a.active),
        ("resident", a.resident),
    ] {
        out.bulk(format!("allocator.{name}").as_bytes());
        out.count(bytes);
    }
    let pairs = [
        (
            "allocator-fragmentation.ratio",
            "allocator-fragmentation.bytes",
            a.active,
            a.allocated,
        ),
        (
            "allocator-rss.ratio",
            "allocator-rss.bytes",
            a.resident,
            a.active,
        ),
        // glibc does not tell how much of its heaps is in RAM, so all of the process counts.
        (
            "rss-overhead.ratio",
            "rss-overhead.bytes",
            a.resident,
            a.resident,
        ),
        ("fragmentation", "fragmentation.bytes", a.resident, a.used),
    ];
    for (ratio_name, bytes_name, more, less) in pairs {
        out.bulk(ratio_name.as_bytes());
        out.double(ratio(more, less));
        out.bulk(bytes_name.as_bytes());
        out.int(above(more, less));
    }
    3 + 2 * pairs.len()
}

/// `MEMORY MALLOC-STATS`
fn memory_malloc_stats(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let heaps = sys::allocator_stats();
    let mut text = String::from("glibc malloc, bytes:\n");
    for (name, bytes) in [
        ("taken from the system for heaps", heaps.arena),
        ("in use in heaps", heaps.in_use),
        ("free in heaps", heaps.free),
        ("free at the end of the main heap", heaps.releasable),
        ("in blocks with a mapping of their own", heaps.mmapped),
        ("in live blocks, as the server counts", sys::used_memory()),
        ("of the process in RAM", sys::resident_memory() as usize),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<40}{bytes:>16}");
    }
    c.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// `MEMORY PURGE`
fn memory_purge(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    sys::trim();
    c.out.ok();
    Ok(())
}

/// `MEMORY DOCTOR`
fn memory_doctor(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let report = diagnose(&Account::take(c));
    c.out.verbatim("txt", report.as_bytes());
    Ok(())
}

/// The doctor's report; its thresholds are those of Redis.
fn diagnose(a: &Account) -> String {
    if a.used < SMALL {
        return "There is too little data in this server to tell anything about its memory.\n"
            .into();
    }
    let mut findings = Vec::new();
    if ratio(a.peak, a.used) > 1.5 {
        findings.push(
            "Peak memory: the server once used more than one and a half times the memory it uses now. What the \
             allocator keeps of it will serve new data; MEMORY PURGE gives it back to the system.",
        );
    }
    if ratio(a.resident, a.used) > 1.4 && above(a.resident, a.used) > WASTE as i64 {
        findings.push(
            "High total RSS: the process takes more than 1.4 times the memory that its data needs. After a peak \
             that is normal; else the sizes of values may have changed so often that the heap has holes.",
        );
    }
    if ratio(a.active, a.allocated) > 1.1 && above(a.active, a.allocated) > WASTE as i64 {
        findings.push(
            "High allocator fragmentation: more than a tenth of the heap is free memory between live blocks. \
             MEMORY PURGE gives back whole free pages.",
        );
    }
    if ratio(a.resident, a.active) > 1.1 && above(a.resident, a.active) > WASTE as i64 {
        findings.push(
            "High process RSS: more than a tenth of the memory of the process is outside of its heap, such as in \
             the stacks of threads that serve many connections.",
        );
    }
    if a.clients / a.client_count.max(1) > CLIENT {
        findings.push(
            "Big client buffers: clients take more than 200 KB on average. They may read their replies too slowly, \
             or send very long pipelines; CLIENT LIST tells which ones.",
        );
    }
    if findings.is_empty() {
        return "No memory problem found.\n".into();
    }
    let items: String = findings
        .iter()
        .map(|finding| format!(" * {finding}\n\n"))
        .collect();
    format!("Memory problems found:\n\n{items}")
}

/// `MEMORY HELP`
fn memory_help(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    help(
        c,
        args,
        &[
            "DOCTOR",
            "    Look for memory problems and explain them.",
            "MALLOC-STATS",
            "    Show what the allocator says about its heaps.",
            "PURGE",
            "    Give unused memory of the allocator back to the system.",
            "STATS",
            "    Show what the memory of the server is used for.",
            "USAGE <key> [SAMPLES <count>]",
            "    Tell how many bytes <key> and its value take. Of a collection <count> elements",
            "    are measured (5 by default, 0 for all).",
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::Key;
    use crate::types::Value;

    fn account() -> Account {
        Account {
            used: 100 << 20,
            startup: 1 << 20,
            peak: 100 << 20,
            clients: 1 << 20,
            stream: StreamMemory {
                backlog: 0,
                replicas: 0,
            },
            client_count: 10,
            file: 0,
            tables: vec![Tables {
                number: 0,
                keys: 1000,
                main: 10 << 20,
                expires: 2 << 20,
            }],
            allocated: 100 << 20,
            active: 105 << 20,
            resident: 110 << 20,
        }
    }

    #[test]
    fn the_account_adds_up() {
        let a = account();
        assert_eq!(a.overhead(), 14 << 20);
        assert_eq!(a.dataset() + a.overhead(), a.used);
        assert_eq!((a.keys(), a.net()), (1000, 99 << 20));
    }

    #[test]
    fn the_doctor_finds_what_there_is() {
        assert!(diagnose(&account()).starts_with("No memory problem"));
        assert!(
            diagnose(&Account {
                used: 1 << 20,
                ..account()
            })
            .starts_with("There is too little")
        );
        for (sick, name) in [
            (
                Account {
                    peak: 151 << 20,
                    ..account()
                },
                "Peak memory",
            ),
            (
                Account {
                    resident: 141 << 20,
                    active: 140 << 20,
                    allocated: 139 << 20,
                    ..account()
                },
                "High total RSS",
            ),
            (
                Account {
                    active: 111 << 20,
                    ..account()
                },
                "High allocator fragmentation",
            ),
            (
                Account {
                    resident: 120 << 20,
                    ..account()
                },
                "High process RSS",
            ),
            (
                Account {
                    clients: 10 << 20,
                    ..account()
                },
                "Big client buffers",
            ),
        ] {
            let report = diagnose(&sick);
            assert!(report.contains(name), "{name}: {report}");
            assert_eq!(report.matches(" * ").count(), 1, "{report}");
        }
    }

    #[test]
    fn usage_grows_with_key_and_value() {
        let usage = |key: usize, value: usize| {
            let entry = Entry {
                key: Key::new(&vec![b'k'; key], 0),
                value: Value::plain(&vec![b'v'; value]),
            };
            super::usage(&entry, 0)
        };
        assert_eq!(usage(3, 3), usage(10, 20));
        assert!(usage(3, 100) >= usage(3, 3) + 100);
        assert!(usage(100, 3) >= usage(3, 3) + 100);
    }
}
