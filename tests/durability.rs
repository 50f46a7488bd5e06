//! What survives: servers are killed at random moments while clients write, started again in the
//! same directory, and what they hold is compared with what they had acknowledged. Nothing is
//! mocked; the clients, the files and the kills are real.
//!
//! What only the death of the machine could take away, as what was written but not synced, cannot
//! be tested this way.

mod support;

#[path = "durability/money.rs"]
mod money;
#[path = "durability/writers.rs"]
mod writers;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::{Client, REPLY_TIMEOUT, Random, Server, Value, encode, eventually, info, oracle};
use writers::{Ledgers, Promise, World};

/// What goes on in the background while clients write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meanwhile {
    Nothing,
    Rewrites,
    Saves,
    /// The append only file is switched off and on; the kill comes while it is on.
    Switches,
}

/// How many rounds, each with one kill, and from which seed.
struct Length {
    rounds: u64,
    seed: u64,
}

const SHORT: Length = Length {
    rounds: 10,
    seed: 1,
};

/// The seed of a long form is told when it fails, and can be set.
fn long(rounds: u64) -> Length {
    let seed = std::env::var("STDIS_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(7, |now| u64::from(now.subsec_nanos()))
    });
    println!("seed {seed}");
    Length { rounds, seed }
}

/// Kills a server again and again, and checks what is left each time.
fn kill_again_and_again(options: &[&str], promise: Promise, what: Meanwhile, length: &Length) {
    if oracle() {
        // A Redis that forks leaves a child behind when it is killed.
        return;
    }
    let mut server = Server::with(options);
    let mut random = Random::new(length.seed);
    let mut world = World::new(random.next());
    for round in 0..length.rounds {
        if round % 25 == 0 {
            // From time to time anew, so that the data set stays small and rounds stay short.
            world.found(&server, promise);
        }
        let pause = Duration::from_micros(2000 + random.below(60_000));
        let at_switch = what == Meanwhile::Rewrites && random.below(2) == 0;
        let seed = random.next();
        let off = Mutex::new(());
        std::thread::scope(|scope| {
            let ledgers = world.start(scope, &server);
            let background = server.client();
            match what {
                Meanwhile::Nothing => {}
                Meanwhile::Rewrites => drop(scope.spawn(move || keep_rewriting(background, seed))),
                Meanwhile::Switches => drop(scope.spawn(|| keep_switching(background, &off))),
                Meanwhile::Saves => drop(scope.spawn(move || keep_saving(background, &ledgers))),
            }
            std::thread::sleep(pause);
            if at_switch {
                await_switch(&server.dir().join("appendonlydir"));
            }
            let on = off.lock();
            world.killed = Instant::now();
            server.kill9();
            drop(on);
        });
        server.restart();
        let context = format!("seed {}, round {round}, {what:?}", length.seed);
        world.check(&server, promise, &context);
    }
}

/// The reply as text, an error's as well; `None` when the server is gone.
fn ask(client: &mut Client, words: &[&str]) -> Option<String> {
    client.try_write(&encode(words)).ok()?;
    Some(match client.try_recv()? {
        Value::Error(text) => text,
        value => value.text(),
    })
}

/// Waits until a field of `INFO persistence` is 0.
fn await_end(client: &mut Client, field: &str) -> Option<()> {
    let ended = format!("{field}:0\r");
    while !ask(client, &["INFO", "persistence"])?.contains(&ended) {
        std::thread::sleep(Duration::from_micros(200));
    }
    Some(())
}

/// Rewrites the append only file all the time, in both formats, until the server is gone.
fn keep_rewriting(mut client: Client, seed: u64) -> Option<()> {
    let mut random = Random::new(seed);
    loop {
        let rdb = ["no", "yes"][random.below(2) as usize];
        ask(&mut client, &["CONFIG", "SET", "aof-use-rdb-preamble", rdb])?;
        ask(&mut client, &["BGREWRITEAOF"])?;
        await_end(&mut client, "aof_rewrite_in_progress")?;
    }
}

/// Switches the append only file off and on until the server is gone; while it is not on, holds
/// the lock.
fn keep_switching(mut client: Client, off: &Mutex<()>) -> Option<()> {
    loop {
        let guard = off.lock();
        assert_eq!(
            ask(&mut client, &["CONFIG", "SET", "appendonly", "no"])?,
            "OK"
        );
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(
            ask(&mut client, &["CONFIG", "SET", "appendonly", "yes"])?,
            "OK"
        );
        await_end(&mut client, "aof_rewrite_scheduled")?;
        await_end(&mut client, "aof_rewrite_in_progress")?;
        drop(guard);
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Saves all the time, until the server is gone.
fn keep_saving(mut client: Client, ledgers: &Ledgers) -> Option<()> {
    loop {
        let acknowledged = ledgers.acknowledged();
        let reply = ask(&mut client, &["BGSAVE"])?;
        assert_eq!(reply, "Background saving started");
        await_end(&mut client, "rdb_bgsave_in_progress")?;
        let state = ask(&mut client, &["INFO", "persistence"])?;
        assert!(state.contains("rdb_last_bgsave_status:ok"), "{state}");
        ledgers.saved(&acknowledged);
    }
}

/// Waits until the manifest is being exchanged, or some time is over.
fn await_switch(folder: &Path) {
    let manifest = folder.join("appendonly.aof.manifest");
    let number = |path: &Path| fs::metadata(path).map_or(0, |data| data.ino());
    let before = number(&manifest);
    let temporary = folder.join("temp-appendonly.aof.manifest");
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(100) {
        if number(&manifest) != before || temporary.exists() {
            return;
        }
    }
}

const ALWAYS: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
const EVERY_SECOND: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

#[test]
fn always_loses_nothing() {
    kill_again_and_again(ALWAYS, Promise::Everything, Meanwhile::Nothing, &SHORT);
}

#[test]
fn always_loses_nothing_during_rewrites() {
    kill_again_and_again(ALWAYS, Promise::Everything, Meanwhile::Rewrites, &SHORT);
}

#[test]
fn always_loses_nothing_once_it_is_switched_on() {
    kill_again_and_again(ALWAYS, Promise::Everything, Meanwhile::Switches, &SHORT);
}

#[test]
fn every_second_loses_two_seconds_at_most() {
    kill_again_and_again(
        EVERY_SECOND,
        Promise::Seconds(2),
        Meanwhile::Nothing,
        &SHORT,
    );
}

#[test]
fn every_second_loses_two_seconds_at_most_during_rewrites() {
    kill_again_and_again(
        EVERY_SECOND,
        Promise::Seconds(2),
        Meanwhile::Rewrites,
        &SHORT,
    );
}

#[test]
fn a_snapshot_is_the_old_or_the_new() {
    kill_again_and_again(&[], Promise::LastSave, Meanwhile::Saves, &SHORT);
}

#[test]
#[ignore = "long: hundreds of kills under appendfsync always"]
fn always_loses_nothing_long() {
    let length = long(150);
    kill_again_and_again(ALWAYS, Promise::Everything, Meanwhile::Switches, &length);
    kill_again_and_again(ALWAYS, Promise::Everything, Meanwhile::Nothing, &length);
    kill_again_and_again(ALWAYS, Promise::Everything, Meanwhile::Rewrites, &length);
}

#[test]
#[ignore = "long: hundreds of kills under appendfsync everysec"]
fn every_second_loses_two_seconds_at_most_long() {
    let length = long(90);
    let promise = Promise::Seconds(2);
    kill_again_and_again(EVERY_SECOND, promise, Meanwhile::Nothing, &length);
    kill_again_and_again(EVERY_SECOND, promise, Meanwhile::Rewrites, &length);
}

#[test]
#[ignore = "long: hundreds of kills during BGSAVE"]
fn a_snapshot_is_the_old_or_the_new_long() {
    kill_again_and_again(&[], Promise::LastSave, Meanwhile::Saves, &long(250));
}

/// While the server that is killed has an append only file, saves go on as well.
#[test]
#[ignore = "long: kills during saves beside an append only file"]
fn saves_do_not_disturb_the_append_only_file() {
    kill_again_and_again(ALWAYS, Promise::Everything, Meanwhile::Saves, &long(100));
}

/// Killed while it loads, the server loads the same the next time.
#[test]
fn a_kill_while_loading_changes_nothing() {
    if oracle() {
        return;
    }
    let mut server = Server::with(&["--appendonly", "yes", "--enable-debug-command", "yes"]);
    let mut client = server.client();
    for number in 0..2000 {
        client.cmd(&[
            "RPUSH",
            &format!("list:{}", number % 100),
            &number.to_string(),
        ]);
    }
    client.run("BGREWRITEAOF");
    eventually("a rewrite", REPLY_TIMEOUT, || {
        info(&mut client, "persistence")["aof_rewrite_in_progress"] == "0"
    });
    client.run("INCR after");
    client.run("WAITAOF 1 0 0");
    let digest = client.run("DEBUG DIGEST").text();
    let mut random = Random::new(3);
    for _ in 0..5 {
        server.kill9();
        server.start_again();
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
    }
    server.restart();
    assert_eq!(server.client().run("DEBUG DIGEST").text(), digest);
}
