//! What the disk has to do with it: saving and loading a data set, saving under load, the append only file, and its
//! replay. `TESTS` names what is measured, of `strings json hashes zset bgsave aof replay`.
//!
//! All files lie in the system's directory for temporary files. Where that is in memory, waiting for the disk costs
//! nothing, and `aof` says little.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, key, micros};
use crate::server::{Dir, Server};
use crate::speed;
use crate::{Outcome, Setup, Subject, median, millis, percentile, words};

/// Commands sent before their replies are awaited.
const BATCH: u64 = 500;

/// Clients that write while the data set is saved, and the threads that drive them.
pub const WRITERS: u64 = 50;
pub const THREADS: u64 = 2;

/// How long they are counted with nothing else going on.
const COUNTED: Duration = Duration::from_secs(3);

/// Between two looks at the memory in use.
const LOOK: Duration = Duration::from_millis(50);

/// All tables of this mode.
pub fn disk(setup: &Setup) -> Outcome {
    let tests = words("TESTS", "strings json hashes zset bgsave aof replay");
    let wanted = |test: &str| tests.iter().any(|word| word == test);
    let sets: Vec<&Set> = SETS.iter().filter(|set| wanted(set.test)).collect();
    if !sets.is_empty() {
        snapshots(setup, &sets)?;
        println!();
    }
    if wanted("bgsave") {
        background(setup)?;
        println!();
    }
    if wanted("aof") {
        appending(setup)?;
        println!();
    }
    if wanted("replay") {
        replay(setup)?;
    }
    Ok(())
}

// ------------------------------------------------------------- saving and loading

/// A data set.
struct Set {
    test: &'static str,
    name: &'static str,
    /// How many of what `command` writes.
    count: u64,
    /// The words of the command that writes the one of this number.
    command: fn(u64, &mut Random) -> Vec<String>,
}

const SETS: [Set; 4] = [
    Set {
        test: "strings",
        name: "1M strings of 64 bytes, random",
        count: 1_000_000,
        command: |number, random| vec!["SET".into(), key(number), random.text(64)],
    },
    Set {
        test: "json",
        name: "1M strings of 64 bytes, JSON",
        count: 1_000_000,
        command: |number, _| vec!["SET".into(), key(number), json(number)],
    },
    Set {
        test: "hashes",
        name: "200k hashes of 8 fields",
        count: 200_000,
        command: |number, random| {
            let mut words = vec!["HSET".into(), key(number)];
            for field in 0..8 {
                words.push(format!("field:{field}"));
                words.push(random.text(12));
            }
            words
        },
    },
    Set {
        test: "zset",
        name: "a sorted set of 1M",
        count: 100_000,
        command: |number, random| {
            let mut words = vec!["ZADD".into(), "board".into()];
            for member in 10 * number..10 * number + 10 {
                words.push(format!("{}.5", random.next() % 1_000_000));
                words.push(format!("member:{member:08}"));
            }
            words
        },
    },
];

/// A text of 64 bytes that gets shorter when compressed.
fn json(number: u64) -> String {
    format!(
        "{{\"id\":{number:07},\"name\":\"user-{number:07}\",\"mail\":\"user-{number:07}@a.org\"}}"
    )
}

/// How long saving and loading take, and how large the file is.
fn snapshots(setup: &Setup, sets: &[&Set]) -> Outcome {
    let [ours, theirs] = &setup.subjects;
    println!("| data set | | {} | {} | ratio |", ours.name, theirs.name);
    println!("| --- | --- | ---: | ---: | ---: |");
    for set in sets {
        let servers = [filled(setup, ours, set)?, filled(setup, theirs, set)?];
        let saved = paired(setup, |at| save(&servers[at]))?;
        print_times(set.name, "SAVE", &saved);
        let dirs = servers.map(|server| server.dir().clone());
        let loaded = paired(setup, |at| {
            let server = Server::start_in(&setup.subjects[at], &dirs[at], &[])?;
            if loaded_keys(&server)? == 0 {
                return Err("nothing was loaded".into());
            }
            Ok(server.started_in.as_secs_f64())
        })?;
        print_times(set.name, "load", &loaded);
        let size =
            |dir: &Arc<Dir>| fs::metadata(dir.path().join("dump.rdb")).map(|file| file.len());
        let (our_size, their_size) = (size(&dirs[0])? as f64, size(&dirs[1])? as f64);
        println!(
            "| {} | file | {:.2} MB | {:.2} MB | {:.3} |",
            set.name,
            our_size / 1e6,
            their_size / 1e6,
            our_size / their_size
        );
    }
    Ok(())
}

/// A server that has the data set.
fn filled(setup: &Setup, subject: &Subject, set: &Set) -> Outcome<Server> {
    let server = Server::start(subject)?;
    let mut client = Client::connect(server.port)?;
    let (mut random, count) = (Random::new(1), setup.scaled(set.count, 1));
    let mut done = 0;
    while done < count {
        let batch = BATCH.min(count - done);
        for number in done..done + batch {
            let words = (set.command)(number, &mut random);
            client.queue(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
        client.flush()?;
        for _ in 0..batch {
            client.reply()?;
        }
        done += batch;
    }
    Ok(server)
}

/// Keys that a server has loaded.
fn loaded_keys(server: &Server) -> Outcome<u64> {
    Client::connect(server.port)?.dbsize()
}

/// Seconds that SAVE takes.
fn save(server: &Server) -> Outcome<f64> {
    let mut client = Client::connect(server.port)?;
    Ok(f64::from(client.timed(&["SAVE"])?) / 1e6)
}

/// Runs of both servers in turn.
pub fn paired(setup: &Setup, mut run: impl FnMut(usize) -> Outcome<f64>) -> Outcome<[Vec<f64>; 2]> {
    let mut results = [Vec::new(), Vec::new()];
    for _ in 0..setup.rounds {
        for (at, results) in results.iter_mut().enumerate() {
            results.push(run(at)?);
        }
    }
    Ok(results)
}

/// A row of times: the ratio says how many times as fast we are.
pub fn print_times(name: &str, what: &str, times: &[Vec<f64>; 2]) {
    let mut ratios: Vec<f64> = times[1].iter().zip(&times[0]).map(|(a, b)| a / b).collect();
    let [ours, theirs] = times.clone().map(|mut times| 1000.0 * median(&mut times));
    println!(
        "| {name} | {what} | {ours:.0} ms | {theirs:.0} ms | {:.2} |",
        median(&mut ratios)
    );
}

// ----------------------------------------------------------------- saving under load

/// What clients notice of a save in the background.
#[derive(Default)]
struct Noticed {
    /// Writes a second before and during it.
    quiet: Vec<f64>,
    saving: Vec<f64>,
    /// Microseconds that each took, sorted.
    quiet_times: Vec<u32>,
    saving_times: Vec<u32>,
    /// Seconds that the save took.
    seconds: Vec<f64>,
    /// Memory in use before, with the writers at work, and the most during it.
    memory: u64,
    peak: u64,
}

/// Writers and a save in the background.
fn background(setup: &Setup) -> Outcome {
    let keys = setup.scaled(1_000_000, 1000);
    let mut noticed = [Noticed::default(), Noticed::default()];
    let servers = [
        Server::start(&setup.subjects[0])?,
        Server::start(&setup.subjects[1])?,
    ];
    let mut data = [0, 0];
    for (server, data) in servers.iter().zip(&mut data) {
        let before = server.proportional()?;
        Client::connect(server.port)?.fill(keys, 64, |_| Vec::new())?;
        *data = server.proportional()?.saturating_sub(before);
    }
    for round in 0..=setup.rounds {
        for (server, noticed) in servers.iter().zip(&mut noticed) {
            // The first run is for the memory: looking at it takes time from the clients.
            save_under_load(server, keys, round == 0, noticed)?;
        }
    }
    println!(
        "| BGSAVE, {WRITERS} clients writing | {} | {} |",
        setup.subjects[0].name, setup.subjects[1].name
    );
    println!("| --- | ---: | ---: |");
    let row = |name: &str, show: &dyn Fn(&Noticed, u64) -> String| {
        let shown: Vec<String> = noticed
            .iter()
            .zip(data)
            .map(|(it, data)| show(it, data))
            .collect();
        println!("| {name} | {} | {} |", shown[0], shown[1]);
    };
    let mid = |values: &[f64]| median(&mut values.to_vec());
    row("writes per second without", &|it, _| {
        format!("{:.0}", mid(&it.quiet))
    });
    row("writes per second with", &|it, _| {
        format!("{:.0}", mid(&it.saving))
    });
    row("share", &|it, _| {
        let mut shares: Vec<f64> = it
            .saving
            .iter()
            .zip(&it.quiet)
            .map(|(a, b)| a / b)
            .collect();
        format!("{:.2}", median(&mut shares))
    });
    for (name, share) in [
        ("median", 0.5),
        ("99 %", 0.99),
        ("99.9 %", 0.999),
        ("longest", 1.0),
    ] {
        row(&format!("{name} without"), &|it, _| {
            millis(percentile(&it.quiet_times, share))
        });
        row(&format!("{name} with"), &|it, _| {
            millis(percentile(&it.saving_times, share))
        });
    }
    row("takes", &|it, _| format!("{:.2} s", mid(&it.seconds)));
    row("data set in memory", &|_, data| {
        format!("{:.0} MB", data as f64 / 1e6)
    });
    row("further memory", &|it, data| {
        let more = it.peak.saturating_sub(it.memory) as f64;
        format!("{:.0} MB, {:.0} %", more / 1e6, 100.0 * more / data as f64)
    });
    Ok(())
}

/// Phases of the load, told to the writers.
pub const QUIET: u64 = 0;
pub const SAVING: u64 = 1;
pub const OVER: u64 = 2;

/// One save with writers at work.
fn save_under_load(server: &Server, keys: u64, memory: bool, noticed: &mut Noticed) -> Outcome {
    let (phase, port) = (AtomicU64::new(OVER + 1), server.port);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (phase, stop) = (&phase, &stop);
                scope.spawn(move || write(port, keys, number, phase, stop))
            })
            .collect();
        let run = observe(server, memory, &phase, noticed);
        stop.store(true, Ordering::Relaxed);
        let mut writes = [0, 0];
        for writer in writers {
            let times = writer
                .join()
                .unwrap_or_else(|_| Err("a writer panicked".into()))?;
            for (writes, times) in writes.iter_mut().zip(&times) {
                *writes += times.len();
            }
            if !memory {
                let [quiet, saving] = times;
                noticed.quiet_times.extend(quiet);
                noticed.saving_times.extend(saving);
            }
        }
        let (quiet, saving) = run?;
        if !memory {
            noticed.quiet.push(writes[0] as f64 / quiet.as_secs_f64());
            noticed.saving.push(writes[1] as f64 / saving.as_secs_f64());
            noticed.seconds.push(saving.as_secs_f64());
            noticed.quiet_times.sort_unstable();
            noticed.saving_times.sort_unstable();
        }
        Ok(())
    })
}

/// Goes through the phases; how long the two that count took.
fn observe(
    server: &Server,
    memory: bool,
    phase: &AtomicU64,
    noticed: &mut Noticed,
) -> Outcome<(Duration, Duration)> {
    let mut client = Client::connect(server.port)?;
    thread::sleep(COUNTED / 6);
    let start = Instant::now();
    phase.store(QUIET, Ordering::Relaxed);
    thread::sleep(COUNTED);
    if memory {
        noticed.memory = server.proportional()?;
    }
    phase.store(SAVING, Ordering::Relaxed);
    let saving = Instant::now();
    client.command(&["BGSAVE"])?;
    while client.info("persistence", "rdb_bgsave_in_progress")? != 0 {
        thread::sleep(LOOK);
        if memory {
            noticed.peak = noticed.peak.max(server.proportional()?);
        }
    }
    let end = Instant::now();
    phase.store(OVER, Ordering::Relaxed);
    Ok((saving - start, end - saving))
}

/// One thread's share of the writers, each of which has one request under way, until told to stop. Microseconds that
/// each write took in the two phases that count.
pub fn write(
    port: u16,
    keys: u64,
    thread: u64,
    phase: &AtomicU64,
    stop: &AtomicBool,
) -> Outcome<[Vec<u32>; 2]> {
    let mut clients: Vec<Client> = (0..WRITERS / THREADS)
        .map(|_| Client::connect(port))
        .collect::<Outcome<_>>()?;
    let mut random = Random::new(thread + 2);
    let (mut times, value) = ([Vec::new(), Vec::new()], "y".repeat(64));
    let mut sent = vec![Instant::now(); clients.len()];
    for (client, sent) in clients.iter_mut().zip(&mut sent) {
        client.queue(&["SET", &key(random.next() % keys), &value]);
        *sent = Instant::now();
        client.flush()?;
    }
    while !stop.load(Ordering::Relaxed) {
        for (client, sent) in clients.iter_mut().zip(&mut sent) {
            client.reply()?;
            let now = Instant::now();
            if let Some(times) = times.get_mut(phase.load(Ordering::Relaxed) as usize) {
                times.push(micros(now - *sent));
            }
            client.queue(&["SET", &key(random.next() % keys), &value]);
            client.flush()?;
            *sent = now;
        }
    }
    Ok(times)
}

// ------------------------------------------------------------- the append only file

const OFF: &[&str] = &["--appendonly", "no"];
const EVERY_SECOND: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];
const ALWAYS: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// Rates of SET with and without an append only file.
fn appending(setup: &Setup) -> Outcome {
    let [ours, theirs] = &setup.subjects;
    println!(
        "| SET, per second | {} | {} | ratio | {} against its own without |",
        ours.name, theirs.name, ours.name
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (clients, depth, full) in [(50, 1, 200_000), (50, 16, 1_000_000), (1, 1, 20_000)] {
        let under_way = clients * depth;
        let mut rates = [OFF, EVERY_SECOND, ALWAYS].map(|_| [Vec::new(), Vec::new()]);
        let start = |options| -> Outcome<[Server; 2]> {
            Ok([
                Server::start_in(ours, &Dir::new()?, options)?,
                Server::start_in(theirs, &Dir::new()?, options)?,
            ])
        };
        let servers = [start(OFF)?, start(EVERY_SECOND)?, start(ALWAYS)?];
        for _ in 0..setup.rounds {
            for (policy, (servers, rates)) in servers.iter().zip(&mut rates).enumerate() {
                // Waiting for the disk takes its time.
                let full = if policy == 2 && depth == 1 {
                    full / 5
                } else {
                    full
                };
                let requests = setup.scaled(full, under_way);
                for (server, rates) in servers.iter().zip(rates) {
                    let what = ["-t", "set", "-r", "100000"];
                    rates.push(speed::benchmark(server, clients, depth, requests, &what)?);
                }
            }
        }
        let without = rates[0][0].clone();
        let over = |a: &[f64], b: &[f64]| {
            let mut ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| a / b).collect();
            median(&mut ratios)
        };
        for (name, [ours, theirs]) in ["no file", "everysec", "always"].iter().zip(&rates) {
            println!(
                "| {name}, {clients} clients, {depth} under way | {:.0} | {:.0} | {:.2} | {:.2} |",
                median(&mut ours.clone()),
                median(&mut theirs.clone()),
                over(ours, theirs),
                over(ours, &without)
            );
        }
    }
    Ok(())
}

/// How long it takes to carry out what a file of commands holds.
fn replay(setup: &Setup) -> Outcome {
    let commands = setup.scaled(2_000_000, 1000);
    let dirs = [Dir::new()?, Dir::new()?];
    for dir in &dirs {
        let files = dir.path().join("appendonlydir");
        fs::create_dir_all(&files)?;
        let manifest = "file appendonly.aof.1.incr.aof seq 1 type i\n";
        fs::write(files.join("appendonly.aof.manifest"), manifest)?;
        write_log(
            File::create(files.join("appendonly.aof.1.incr.aof"))?,
            commands,
        )?;
    }
    let mut sizes = [0, 0];
    let loaded = paired(setup, |at| {
        let server = Server::start_in(&setup.subjects[at], &dirs[at], EVERY_SECOND)?;
        sizes[at] = loaded_keys(&server)?;
        Ok(server.started_in.as_secs_f64())
    })?;
    if sizes[0] != sizes[1] {
        return Err(format!("the servers have {sizes:?} keys").into());
    }
    let [ours, theirs] = &setup.subjects;
    println!("| a log | | {} | {} | ratio |", ours.name, theirs.name);
    println!("| --- | --- | ---: | ---: | ---: |");
    print_times(&format!("{commands} commands"), "replay", &loaded);
    Ok(())
}

/// Writes commands of several kinds.
fn write_log(file: File, commands: u64) -> Outcome {
    let (mut file, mut random) = (BufWriter::new(file), Random::new(9));
    let mut push = |words: &[&str]| -> Outcome {
        write!(file, "*{}\r\n", words.len())?;
        for word in words {
            write!(file, "${}\r\n{word}\r\n", word.len())?;
        }
        Ok(())
    };
    push(&["SELECT", "0"])?;
    for number in 1..commands {
        let at = random.next() % 200_000;
        let (name, text) = (format!("{at:06}"), random.text(24));
        match number % 10 {
            0..4 => push(&["SET", &key(at), &text])?,
            4 => push(&["INCR", &format!("counter:{name}")])?,
            5 => push(&["HSET", &format!("hash:{}", at % 20_000), &name, &text])?,
            6 => push(&["RPUSH", &format!("list:{}", at % 20_000), &text])?,
            7 => push(&[
                "ZADD",
                &format!("zset:{}", at % 2000),
                &at.to_string(),
                &text,
            ])?,
            8 => push(&["SADD", &format!("set:{}", at % 20_000), &text])?,
            _ => push(&["DEL", &key(at)])?,
        }
    }
    file.flush()?;
    Ok(())
}

// ------------------------------------------------------------------- random numbers

/// Random numbers, the same in each run (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A text that no compression makes shorter.
    pub fn text(&mut self, len: usize) -> String {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut letter = || char::from(LETTERS[(self.next() % 64) as usize]);
        (0..len).map(|_| letter()).collect()
    }
}
