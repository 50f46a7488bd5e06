//! Where clients meet: streams, transactions, messages, and clients that wait for what others bring.
//! Rates are medians of paired runs as in `speed`; subscribers read as fast as messages come, so that what counts is
//! what arrives. `TESTS` names what is measured, of `xadd xrange xread exec publish memory waiting`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use stdis::sys::PollSet;

use crate::client::{Client, micros};
use crate::server::Server;
use crate::speed;
use crate::{Outcome, Setup, Subject, median, millis, percentile, words};

/// Clients that load the server.
const CLIENTS: u64 = 50;

/// Threads that drive them where redis-benchmark does not.
const THREADS: u64 = 2;

/// Entries of the stream that is read.
const ENTRIES: u64 = 100;

/// Commands between `MULTI` and `EXEC`.
const QUEUED: usize = 10;

/// Clients that wait for one entry, and how often they do.
const WAITING: u64 = 1000;
const WAKES: usize = 50;

/// Seconds over which their idle processor time is taken.
const IDLE_SECONDS: u64 = 5;

/// How long transactions and messages are counted, and how long the load runs before.
const COUNTED: Duration = Duration::from_secs(3);
const WARM: Duration = Duration::from_millis(500);

/// All tables of this mode.
pub fn meet(setup: &Setup) -> Outcome {
    let tests = words("TESTS", "xadd xrange xread exec publish memory waiting");
    let wanted = |test: &str| tests.iter().any(|word| word == test);
    rates(setup, wanted)?;
    if wanted("memory") {
        println!();
        memory(setup)?;
    }
    if wanted("waiting") {
        println!();
        waiting(setup)?;
    }
    Ok(())
}

/// Rates of commands, transactions and messages.
fn rates(setup: &Setup, wanted: impl Fn(&str) -> bool) -> Outcome {
    let [ours, theirs] = &setup.subjects;
    println!(
        "| {CLIENTS} clients | {} | {} | ratio |",
        ours.name, theirs.name
    );
    println!("| --- | ---: | ---: | ---: |");
    let row = |name: &str, rate: &dyn Fn(&Server) -> Outcome<f64>| {
        let test = name.split([' ', ',']).next().unwrap_or_default();
        match wanted(&test.to_ascii_lowercase()) {
            true => row(setup, name, rate),
            false => Ok(()),
        }
    };
    for depth in [1, 16] {
        let add = ["XADD", "log", "*", "field", "value"];
        let name = format!("XADD, {depth} under way, per second");
        row(&name, &|server| benchmark(setup, server, depth, &add))?;
    }
    let range = ["XRANGE", "log", "-", "+"];
    row("XRANGE of 100 entries, per second", &|server| {
        fill(server, ENTRIES)?;
        benchmark(setup, server, 1, &range)
    })?;
    let read = ["XREAD", "STREAMS", "log", "0"];
    row("XREAD of 100 entries, per second", &|server| {
        fill(server, ENTRIES)?;
        benchmark(setup, server, 1, &read)
    })?;
    row("EXEC of 10 commands, per second", &transactions)?;
    for full in [1, 100, 1000] {
        let subscribers = setup.scaled(full, 1).min(full);
        let name = format!("PUBLISH to {subscribers}, messages delivered per second");
        row(&name, &|server| messages(server, subscribers))?;
    }
    Ok(())
}

/// A row of the table of rates: each run on servers of its own.
fn row(setup: &Setup, name: &str, rate: impl Fn(&Server) -> Outcome<f64>) -> Outcome {
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..setup.rounds {
        for (subject, rates) in setup.subjects.iter().zip(&mut rates) {
            rates.push(rate(&Server::start(subject)?)?);
        }
    }
    let mut ratios: Vec<f64> = rates[0].iter().zip(&rates[1]).map(|(a, b)| a / b).collect();
    let [ours, theirs] = rates.map(|mut rates| median(&mut rates));
    println!(
        "| {name} | {ours:.0} | {theirs:.0} | {:.2} |",
        median(&mut ratios)
    );
    Ok(())
}

/// The rate that redis-benchmark finds for a command.
fn benchmark(setup: &Setup, server: &Server, depth: u64, command: &[&str]) -> Outcome<f64> {
    let full = if depth > 1 { 400_000 } else { 100_000 };
    let requests = setup.scaled(full, CLIENTS * depth);
    speed::benchmark(server, CLIENTS, depth, requests, command)
}

/// Adds entries of three short fields to the stream.
fn fill(server: &Server, entries: u64) -> Outcome {
    let mut client = Client::connect(server.port)?;
    let mut left = entries;
    while left > 0 {
        let batch = left.min(500);
        for number in 0..batch {
            let number = (left - number).to_string();
            client.queue(&[
                "XADD", "log", "*", "name", "value", "number", &number, "kind", "x",
            ]);
        }
        client.flush()?;
        for _ in 0..batch {
            client.reply()?;
        }
        left -= batch;
    }
    Ok(())
}

/// Transactions per second.
fn transactions(server: &Server) -> Outcome<f64> {
    let start = Instant::now() + WARM;
    let port = server.port;
    let counts: Vec<Outcome<u64>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| scope.spawn(move || transact(port, number, start)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Outcome<u64>>| {
            thread
                .join()
                .unwrap_or_else(|_| Err("a loading client panicked".into()))
        };
        threads.into_iter().map(join).collect()
    });
    let total: u64 = counts.into_iter().sum::<Outcome<u64>>()?;
    Ok(total as f64 / COUNTED.as_secs_f64())
}

/// One thread's share of the clients: each has one transaction under way. Counts those done in the time counted.
fn transact(port: u16, thread: u64, start: Instant) -> Outcome<u64> {
    let mut clients: Vec<Client> = (0..CLIENTS / THREADS)
        .map(|_| Client::connect(port))
        .collect::<Outcome<_>>()?;
    let (mut done, mut round) = (0, 0u64);
    loop {
        for (number, client) in clients.iter_mut().enumerate() {
            client.queue(&["MULTI"]);
            for command in 0..QUEUED {
                let key = format!("key:{thread}:{number}:{}", round as usize % 100 + command);
                match command % 2 {
                    0 => client.queue(&["INCR", &key]),
                    _ => client.queue(&["SET", &key, "1"]),
                }
            }
            client.queue(&["EXEC"]);
            client.flush()?;
        }
        for client in &mut clients {
            for _ in 0..QUEUED + 2 {
                client.reply()?;
            }
        }
        round += 1;
        let now = Instant::now();
        if now >= start + COUNTED {
            return Ok(done);
        }
        if now >= start {
            done += clients.len() as u64;
        }
    }
}

/// A redis-benchmark that publishes until it is dropped.
struct Publishers(Child);

impl Publishers {
    fn start(port: u16) -> Outcome<Publishers> {
        let child = Command::new("redis-benchmark")
            .args(["-q", "-p", &port.to_string(), "-c", &CLIENTS.to_string()])
            .args(["-n", "1000000000", "PUBLISH", "channel", TEXT])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-benchmark: {error}"))?;
        Ok(Publishers(child))
    }
}

impl Drop for Publishers {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is published, and its bytes as a message.
const TEXT: &str = "0123456789abcdef";
const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n$7\r\nchannel\r\n$16\r\n0123456789abcdef\r\n";

/// Messages delivered per second to so many subscribers of one channel.
fn messages(server: &Server, subscribers: u64) -> Outcome<f64> {
    let mut sockets = Vec::new();
    for _ in 0..subscribers {
        sockets.push(subscriber(server.port)?);
    }
    let _publishers = Publishers::start(server.port)?;
    let mut asked = PollSet::default();
    sockets.iter().for_each(|socket| asked.push(socket));
    drain(&mut sockets, &mut asked, WARM)?;
    let start = Instant::now();
    let bytes = drain(&mut sockets, &mut asked, COUNTED)?;
    let messages = bytes as f64 / MESSAGE.len() as f64;
    Ok(messages / start.elapsed().as_secs_f64())
}

/// A socket that is subscribed to the channel and does not wait.
fn subscriber(port: u16) -> Outcome<TcpStream> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.write_all(b"*2\r\n$9\r\nSUBSCRIBE\r\n$7\r\nchannel\r\n")?;
    let mut reply = [0; b"*3\r\n$9\r\nsubscribe\r\n$7\r\nchannel\r\n:1\r\n".len()];
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.read_exact(&mut reply)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Reads what comes for so long, about every millisecond; the bytes.
fn drain(sockets: &mut [TcpStream], asked: &mut PollSet, time: Duration) -> Outcome<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < time {
        asked.ask()?;
        for (at, socket) in sockets.iter_mut().enumerate() {
            if !asked.is_ready(at) {
                continue;
            }
            match socket.read(&mut buffer) {
                Ok(0) => return Err("the server has closed a subscriber".into()),
                Ok(read) => bytes += read as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(bytes)
}

/// Memory of a large stream.
fn memory(setup: &Setup) -> Outcome {
    let entries = setup.scaled(1_000_000, 1000);
    let [ours, theirs] = &setup.subjects;
    println!("| stream | {} | {} |", ours.name, theirs.name);
    println!("| --- | ---: | ---: |");
    let [ours, theirs] = [ours, theirs].map(|subject| -> Outcome<f64> {
        let server = Server::start(subject)?;
        let before = server.settled_resident()?;
        fill(&server, entries)?;
        let grown = server.settled_resident()?.saturating_sub(before);
        Ok(grown as f64 / (1024.0 * 1024.0))
    });
    println!(
        "| {entries} entries of 3 short fields | {:.1} MiB | {:.1} MiB |",
        ours?, theirs?
    );
    Ok(())
}

/// Clients that wait for one stream.
fn waiting(setup: &Setup) -> Outcome {
    let count = setup.scaled(WAITING, 10);
    println!(
        "| {count} clients in XREAD | idle CPU | XADD until the last has it, p50 | p99 over {WAKES} rounds |"
    );
    println!("| --- | ---: | ---: | ---: |");
    for subject in &setup.subjects {
        let (cpu, wakes) = wake_all(subject, count)?;
        println!(
            "| {} | {cpu:.1} % | {} | {} |",
            subject.name,
            millis(percentile(&wakes, 0.5)),
            millis(percentile(&wakes, 0.99))
        );
    }
    Ok(())
}

/// The idle processor time in percent of one core, and the sorted times until all had an entry.
fn wake_all(subject: &Subject, count: u64) -> Outcome<(f64, Vec<u32>)> {
    let server = Server::start(subject)?;
    let mut clients: Vec<Client> = (0..count)
        .map(|_| Client::connect(server.port))
        .collect::<Outcome<_>>()?;
    let mut writer = Client::connect(server.port)?;
    let (mut cpu, mut took) = (0.0, Vec::new());
    for round in 0..WAKES {
        for client in &mut clients {
            client.queue(&["XREAD", "BLOCK", "0", "STREAMS", "log", "$"]);
            client.flush()?;
        }
        until_blocked(&mut writer, count)?;
        if round == 0 {
            let before = server.cpu_seconds()?;
            thread::sleep(Duration::from_secs(IDLE_SECONDS));
            cpu = (server.cpu_seconds()? - before) * 100.0 / IDLE_SECONDS as f64;
        }
        let start = Instant::now();
        writer.command(&["XADD", "log", "*", "field", "value"])?;
        for client in &mut clients {
            client.reply()?;
        }
        took.push(micros(start.elapsed()));
    }
    took.sort_unstable();
    Ok((cpu, took))
}

/// Waits until so many clients are blocked.
fn until_blocked(client: &mut Client, count: u64) -> Outcome {
    let start = Instant::now();
    while client.info("clients", "blocked_clients")? != count {
        if start.elapsed() > Duration::from_secs(30) {
            return Err(format!("not all of {count} clients are blocked").into());
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
