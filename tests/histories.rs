//! Histories: a few clients do at random what must look like one step at a time, on few keys; what
//! they called and got is written down with the times, and a checker ([`check`]) looks for an order
//! that explains it all. The same checker is shown servers with faults ([`toy`]), and has to find
//! them.
//!
//! `STDIS_SEED` repeats the choices of a run, though not the order of its threads.

mod support;

#[path = "histories/check.rs"]
mod check;
#[path = "histories/model.rs"]
mod model;
#[path = "histories/toy.rs"]
mod toy;

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use check::{Event, describe, is_linearisable};
use model::{Command, LISTS, NUMBERS, Op};
use support::{Client, NULL, Random, Server, Value, encode, simple};
use toy::Fault;

/// Readings of this are the times of a history.
static CLOCK: AtomicU64 = AtomicU64::new(0);

fn tick() -> u64 {
    CLOCK.fetch_add(1, Ordering::SeqCst)
}

/// One client in one round.
struct Actor<'a> {
    number: usize,
    client: &'a mut Client,
    random: Random,
    round: &'a str,
    events: Vec<Event>,
}

impl Actor<'_> {
    /// Takes a step and writes it down.
    fn step(&mut self, op: Op) -> Value {
        let (call, reply) = match &op {
            Op::One(command) => self.call(&command.words(self.round)),
            Op::Watch(keys) => {
                let keys = keys.iter().map(|&key| model::number(self.round, key));
                let words: Vec<String> = std::iter::once("WATCH".into()).chain(keys).collect();
                self.call(&words)
            }
            Op::Unwatch => self.call(&["UNWATCH".into()]),
            Op::Exec(commands) => self.transaction(commands),
        };
        let returned = tick();
        self.events.push(Event {
            client: self.number,
            op,
            call,
            returned,
            reply: reply.clone(),
        });
        reply
    }

    fn call(&mut self, words: &[String]) -> (u64, Value) {
        let call = tick();
        (call, self.client.cmd(words))
    }

    /// A transaction, now in one write, now with a wait for every reply.
    fn transaction(&mut self, commands: &[Command]) -> (u64, Value) {
        let queued: Vec<Vec<String>> = commands
            .iter()
            .map(|command| command.words(self.round))
            .collect();
        if self.random.below(2) == 0 {
            assert_eq!(self.client.run("MULTI"), "OK");
            for words in &queued {
                assert_eq!(self.client.cmd(words), "QUEUED");
            }
            return self.call(&["EXEC".into()]);
        }
        let mut bytes = encode(&["MULTI"]);
        for words in &queued {
            bytes.extend(encode(words));
        }
        bytes.extend(encode(&["EXEC"]));
        let call = tick();
        self.client.write(&bytes);
        assert_eq!(self.client.recv(), "OK");
        for _ in &queued {
            assert_eq!(self.client.recv(), "QUEUED");
        }
        (call, self.client.recv())
    }

    /// Steps until there are so many.
    fn act(&mut self, steps: usize) {
        while self.events.len() < steps {
            let key = self.random.below(NUMBERS as u64) as usize;
            match self.random.below(10) {
                0 | 1 => self.transfer(),
                2 | 3 => self.compare_and_set(key),
                4 => {
                    let count = 1 + self.random.below(8);
                    let commands = (0..count).map(|_| self.command()).collect();
                    self.step(Op::Exec(commands));
                }
                5 => {
                    self.step(Op::Watch(vec![key, (key + 1) % NUMBERS]));
                    if self.random.below(4) == 0 {
                        self.step(Op::Unwatch);
                    }
                }
                6 => {
                    self.step(Op::One(Command::MGet((0..NUMBERS).collect())));
                }
                _ => {
                    let command = self.command();
                    self.step(Op::One(command));
                }
            }
        }
    }

    /// From one account to another.
    fn transfer(&mut self) {
        let from = self.random.below(NUMBERS as u64) as usize;
        let to = (from + 1 + self.random.below(NUMBERS as u64 - 1) as usize) % NUMBERS;
        let sum = 1 + self.random.below(9) as i64;
        let transfer = [Command::IncrBy(from, -sum), Command::IncrBy(to, sum)];
        // Often there and back again: the longer it takes, the more would be seen of it.
        let times = 1 + self.random.below(8) as usize;
        self.step(Op::Exec(vec![transfer; times].concat()));
    }

    /// Reads a number and sets it to the next one, unless somebody else changes it meanwhile.
    fn compare_and_set(&mut self, key: usize) {
        self.step(Op::Watch(vec![key]));
        let found = self.step(Op::One(Command::Get(key)));
        let number: i64 = match found {
            Value::Null => 0,
            found => found.text().parse().expect("a number"),
        };
        self.step(Op::Exec(vec![
            Command::Set(key, number + 1),
            Command::Get(key),
        ]));
    }

    fn command(&mut self) -> Command {
        let key = self.random.below(NUMBERS as u64) as usize;
        let list = self.random.below(LISTS as u64) as usize;
        let value = self.random.below(100) as i64;
        match self.random.below(12) {
            0 | 1 => Command::Get(key),
            2 => Command::Set(key, value),
            3 => Command::Incr(key),
            4 => Command::IncrBy(key, value),
            5 => Command::Del(key),
            6 | 7 => Command::MGet(vec![key, (key + 1) % NUMBERS]),
            8 => Command::MSet(vec![(key, value), ((key + 1) % NUMBERS, value)]),
            9 => Command::LPush(list, value),
            10 => Command::RPop(list),
            _ => Command::LRange(list),
        }
    }
}

/// A round: the history of so many steps of each client, and of one look at everything afterwards.
fn history(clients: &mut [Client], steps: usize, seed: u64, round: &str) -> Vec<Event> {
    let start = Barrier::new(clients.len());
    let mut events: Vec<Event> = thread::scope(|scope| {
        let actors: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|(number, client)| {
                let start = &start;
                let mut actor = Actor {
                    number,
                    client,
                    random: Random::new(seed.wrapping_mul(64).wrapping_add(number as u64)),
                    round,
                    events: Vec::new(),
                };
                scope.spawn(move || {
                    start.wait();
                    actor.act(steps);
                    actor.step(Op::Unwatch);
                    actor.events
                })
            })
            .collect();
        let actors = actors.into_iter();
        actors
            .flat_map(|actor| actor.join().expect("a client"))
            .collect()
    });
    let mut last = Actor {
        number: 0,
        client: &mut clients[0],
        random: Random::new(seed),
        round,
        events: Vec::new(),
    };
    last.step(Op::One(Command::MGet((0..NUMBERS).collect())));
    for list in 0..LISTS {
        last.step(Op::One(Command::LRange(list)));
    }
    events.extend(last.events);
    events
}

/// Rounds until there is a history that cannot be, which is returned with the number of the round.
fn search(mut clients: Vec<Client>, rounds: u64, steps: usize) -> Option<(u64, Vec<Event>)> {
    let seed = std::env::var("STDIS_SEED").ok();
    let seed: u64 = seed.map_or(1, |seed| seed.parse().expect("STDIS_SEED is a number"));
    (0..rounds).find_map(|round| {
        // Keys of its own, for it begins with none.
        let name = format!("r{}", tick());
        let events = history(&mut clients, steps, seed.wrapping_add(round), &name);
        (!is_linearisable(&events)).then_some((round, events))
    })
}

#[track_caller]
fn assert_linearisable(connect: impl Fn() -> Client, clients: usize, rounds: u64, steps: usize) {
    let clients = (0..clients).map(|_| connect()).collect();
    if let Some((round, events)) = search(clients, rounds, steps) {
        panic!("round {round} is no order of steps:\n{}", describe(&events));
    }
}

#[test]
fn what_clients_see_is_one_step_at_a_time() {
    let s = Server::start();
    assert_linearisable(|| s.client(), 3, 120, 10);
    assert_linearisable(|| s.client(), 5, 30, 8);
}

#[test]
#[ignore = "long: thousands of rounds (STDIS_SEED)"]
fn what_clients_see_is_always_one_step_at_a_time() {
    let s = Server::start();
    for (clients, rounds, steps) in [(3, 6000, 12), (4, 3000, 10), (5, 3000, 8)] {
        assert_linearisable(|| s.client(), clients, rounds, steps);
    }
}

#[test]
fn a_simple_server_passes() {
    let address = toy::start(Fault::None);
    let connect = || Client::tcp(&address).expect("connect");
    assert_linearisable(connect, 3, 60, 10);
}

#[test]
fn faults_are_found() {
    for fault in [
        Fault::TornExec,
        Fault::EarlyLook,
        Fault::NoLook,
        Fault::TornMGet,
        Fault::TornIncr,
        Fault::StaleGet,
    ] {
        let address = toy::start(fault);
        let clients = (0..4).map(|_| Client::tcp(&address).expect("connect"));
        let found = search(clients.collect(), 3000, 10);
        let (round, _) = found.unwrap_or_else(|| panic!("{fault:?} was not found"));
        eprintln!("{fault:?}: found in round {round}");
    }
}

/// A history by hand: client, times, step, reply.
fn by_hand(events: &[(usize, (u64, u64), Op, Value)]) -> Vec<Event> {
    let event = |(client, (call, returned), op, reply): &(usize, (u64, u64), Op, Value)| Event {
        client: *client,
        op: op.clone(),
        call: *call,
        returned: *returned,
        reply: reply.clone(),
    };
    events.iter().map(event).collect()
}

fn one(command: Command) -> Op {
    Op::One(command)
}

fn ok() -> Value {
    simple("OK")
}

fn values(values: &[Value]) -> Value {
    Value::Array(values.to_vec())
}

#[track_caller]
fn accepted(events: &[(usize, (u64, u64), Op, Value)]) {
    assert!(is_linearisable(&by_hand(events)), "was rejected");
}

#[track_caller]
fn rejected(events: &[(usize, (u64, u64), Op, Value)]) {
    assert!(!is_linearisable(&by_hand(events)), "was accepted");
}

#[test]
fn steps_at_one_time_may_come_in_any_order() {
    for (first, second) in [(1, 2), (2, 1)] {
        accepted(&[
            (0, (0, 3), one(Command::Incr(0)), Value::Int(first)),
            (1, (1, 2), one(Command::Incr(0)), Value::Int(second)),
        ]);
    }
    // A read during a write may see it or not, but no later read may see less.
    let write = (0, (0, 9), one(Command::Set(0, 7)), ok());
    let read = |client, times, reply: Value| (client, times, one(Command::Get(0)), reply);
    let new = || Value::from("7");
    accepted(&[write.clone(), read(1, (1, 2), NULL), read(2, (3, 4), new())]);
    accepted(&[write.clone(), read(1, (1, 4), new()), read(2, (2, 3), NULL)]);
    rejected(&[write, read(1, (1, 2), new()), read(2, (3, 4), NULL)]);
}

#[test]
fn lost_updates_are_rejected() {
    rejected(&[
        (0, (0, 3), one(Command::Incr(0)), Value::Int(1)),
        (1, (1, 2), one(Command::Incr(0)), Value::Int(1)),
    ]);
    // Both compared and set, and neither noticed the other.
    let set = || Op::Exec(vec![Command::Set(0, 1)]);
    let steps = |client: usize, at: u64, reply: Value| {
        vec![
            (client, (at, at + 1), Op::Watch(vec![0]), ok()),
            (client, (at + 2, at + 3), one(Command::Get(0)), NULL),
            (client, (at + 10, at + 20), set(), reply),
        ]
    };
    let done = values(&[ok()]);
    rejected(&[steps(0, 0, done.clone()), steps(1, 4, done.clone())].concat());
    accepted(&[steps(0, 0, done.clone()), steps(1, 4, NULL)].concat());
    accepted(&[steps(0, 0, NULL), steps(1, 4, done)].concat());
    // One of them must have done it.
    rejected(&[steps(0, 0, NULL), steps(1, 4, NULL)].concat());
}

#[test]
fn torn_reads_are_rejected() {
    let write = (0, (0, 9), one(Command::MSet(vec![(0, 1), (1, 1)])), ok());
    let read = |reply: &[Value]| (1, (1, 2), one(Command::MGet(vec![0, 1])), values(reply));
    accepted(&[write.clone(), read(&[NULL, NULL])]);
    accepted(&[write.clone(), read(&["1".into(), "1".into()])]);
    rejected(&[write.clone(), read(&["1".into(), NULL])]);
    rejected(&[write, read(&[NULL, "1".into()])]);
}

#[test]
fn transactions_are_not_seen_in_the_middle() {
    let move_one = Op::Exec(vec![Command::IncrBy(0, -1), Command::IncrBy(1, 1)]);
    let moved = values(&[Value::Int(-1), Value::Int(1)]);
    let transfer = (0, (0, 9), move_one, moved);
    let get = |times, key, reply: Value| (1, times, one(Command::Get(key)), reply);
    let (first, second) = ((1, 2), (3, 4));
    accepted(&[transfer.clone(), get(first, 0, NULL), get(second, 1, NULL)]);
    accepted(&[
        transfer.clone(),
        get(first, 0, NULL),
        get(second, 1, "1".into()),
    ]);
    rejected(&[
        transfer.clone(),
        get(first, 0, "-1".into()),
        get(second, 1, NULL),
    ]);
    // Nor may another transaction's reply come from in between.
    let look = Op::Exec(vec![Command::Get(0), Command::Get(1)]);
    rejected(&[transfer, (1, (1, 2), look, values(&["-1".into(), NULL]))]);
}

#[test]
fn stale_reads_are_rejected() {
    let write = (0, (0, 1), one(Command::Set(0, 7)), ok());
    rejected(&[write.clone(), (1, (2, 3), one(Command::Get(0)), NULL)]);
    accepted(&[write.clone(), (1, (2, 3), one(Command::Get(0)), "7".into())]);
    // A client's own steps are in order too.
    rejected(&[write, (0, (2, 3), one(Command::Get(0)), NULL)]);
}

#[test]
fn an_exec_fails_if_and_only_if_a_watched_key_has_changed() {
    let watch = (0, (0, 1), Op::Watch(vec![0]), ok());
    let exec = |reply| (0, (4, 5), Op::Exec(vec![Command::Get(0)]), reply);
    let by = |client, key| (client, (2, 3), one(Command::Set(key, 7)), ok());
    let got = |reply: Value| values(&[reply]);
    rejected(&[watch.clone(), exec(NULL)]);
    accepted(&[watch.clone(), exec(got(NULL))]);
    accepted(&[watch.clone(), by(1, 0), exec(NULL)]);
    rejected(&[watch.clone(), by(1, 0), exec(got("7".into()))]);
    // Its own change is one as well; that of another key is none.
    accepted(&[watch.clone(), by(0, 0), exec(NULL)]);
    accepted(&[watch.clone(), by(1, 1), exec(got(NULL))]);
    rejected(&[watch.clone(), by(1, 1), exec(NULL)]);
    // What is no longer watched does not count, nor what changed before.
    let unwatch = (0, (3, 3), Op::Unwatch, ok());
    accepted(&[watch.clone(), by(1, 0), unwatch, exec(got("7".into()))]);
    let before = (1, (0, 0), one(Command::Set(0, 7)), ok());
    let later = (0, (1, 2), Op::Watch(vec![0]), ok());
    rejected(&[before, later, exec(NULL)]);
    // Nothing happens to a key by deleting it where it is not.
    let gone = (1, (2, 3), one(Command::Del(0)), Value::Int(0));
    rejected(&[watch, gone, exec(NULL)]);
}

#[test]
fn a_history_that_is_hard_to_refute_is_refuted_quickly() {
    // Three clients write for as long as it takes, so that next to every order has to be tried.
    let mut events: Vec<_> = (0..36u64)
        .map(|n| {
            let client = (n % 3) as usize;
            (client, (n, 1000 + n), one(Command::Set(0, n as i64)), ok())
        })
        .collect();
    let read = |reply: &str| (3, (2000, 2001), one(Command::Get(0)), Value::from(reply));
    for last in ["33", "34", "35"] {
        accepted(&[events.clone(), vec![read(last)]].concat());
    }
    events.push(read("32"));
    let start = Instant::now();
    rejected(&events);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}
