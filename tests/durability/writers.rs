//! Clients that write, and know what they may find again.
//!
//! Each numbers what it does. After a kill, everything up to the last number that was acknowledged
//! must be there, perhaps the number under way as well, and nothing of any other: no holes, nothing
//! twice, no half of a transaction.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::support::{Client, Random, Server, Value, encode};

/// What a server may lose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Promise {
    /// Nothing that was acknowledged.
    Everything,
    /// What was acknowledged in so many seconds before the kill.
    Seconds(u64),
    /// What was acknowledged after the last save had begun.
    LastSave,
}

/// Clients of each kind.
const PER_KIND: usize = 2;
/// Accounts that money is moved between.
const ACCOUNTS: u64 = 8;
/// What is in each at first.
const DEPOSIT: i64 = 1000;
/// Writes that are sent at once by clients that do so.
const AT_ONCE: u64 = 7;

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Counts in a key.
    Counter,
    /// Counts in a key, several steps at a time.
    Pipeline,
    /// Appends numbers to a list.
    List,
    /// Moves money in transactions that keep a journal.
    Transfers,
    /// Adds the same members to one set as the others of its kind.
    SharedSet,
    /// Adds to a list that the next takes from.
    Producer,
    /// Waits for what the one before adds.
    Consumer,
    /// Reads what a counter has written, and relies on it.
    Reader,
}

const KINDS: [Kind; 8] = [
    Kind::Counter,
    Kind::Pipeline,
    Kind::List,
    Kind::Transfers,
    Kind::SharedSet,
    Kind::Producer,
    Kind::Consumer,
    Kind::Reader,
];

/// What one client has done.
struct Ledger {
    kind: Kind,
    number: usize,
    /// The last number that was acknowledged, and that was sent.
    acknowledged: AtomicU64,
    sent: AtomicU64,
    /// What had been acknowledged when, newest last.
    history: Mutex<Vec<(Instant, u64)>>,
    /// What had been acknowledged when the last save that ended well began; what was found at
    /// the start of the round before any has.
    saved: AtomicU64,
}

impl Ledger {
    fn acknowledge(&self, number: u64) {
        self.acknowledged.store(number, Relaxed);
        let mut history = self.history.lock().unwrap();
        let now = Instant::now();
        // A hundred entries a second are enough.
        match history.last_mut() {
            Some((time, last)) if now - *time < Duration::from_millis(10) => *last = number,
            _ => history.push((now, number)),
        }
    }

    /// The least that must be found.
    fn least(&self, promise: Promise, killed: Instant) -> u64 {
        match promise {
            Promise::Everything => self.acknowledged.load(Relaxed),
            Promise::LastSave => self.saved.load(Relaxed),
            Promise::Seconds(seconds) => {
                let history = self.history.lock().unwrap();
                let old =
                    |(time, _): &&(Instant, u64)| killed - *time > Duration::from_secs(seconds);
                history
                    .iter()
                    .rev()
                    .find(old)
                    .map_or(self.saved.load(Relaxed), |(_, number)| *number)
            }
        }
    }

    fn key(&self) -> String {
        format!("{:?}:{}", self.kind, self.number).to_lowercase()
    }

    /// The client writes until the server is gone.
    fn run(&self, client: &mut Client, random: &mut Random) -> Option<()> {
        let key = self.key();
        loop {
            let next = self.acknowledged.load(Relaxed) + 1;
            match self.kind {
                Kind::Counter => {
                    self.send(client, next, &encode(&["INCR", &key]))?;
                    assert_eq!(client.try_recv()?, next as i64, "{key}");
                    self.acknowledge(next);
                }
                Kind::Pipeline => {
                    let bytes = encode(&["INCR", &key]).repeat(AT_ONCE as usize);
                    self.send(client, next + AT_ONCE - 1, &bytes)?;
                    for number in next..next + AT_ONCE {
                        assert_eq!(client.try_recv()?, number as i64, "{key}");
                        self.acknowledge(number);
                    }
                }
                Kind::List => {
                    self.send(client, next, &encode(&["RPUSH", &key, &next.to_string()]))?;
                    assert_eq!(client.try_recv()?, next as i64, "{key}");
                    self.acknowledge(next);
                }
                Kind::Transfers => {
                    let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
                    let amount = random.below(50).to_string();
                    let (from, to) = (format!("account:{from}"), format!("account:{to}"));
                    let entry = format!("{next} {from} {to} {amount}");
                    let mut bytes = encode(&["MULTI"]);
                    bytes.extend(encode(&["DECRBY", &from, &amount]));
                    bytes.extend(encode(&["INCRBY", &to, &amount]));
                    bytes.extend(encode(&["RPUSH", &key, &entry]));
                    bytes.extend(encode(&["EXEC"]));
                    self.send(client, next, &bytes)?;
                    for _ in 0..4 {
                        client.try_recv()?;
                    }
                    assert_eq!(client.try_recv()?.items()[2], next as i64, "{key}");
                    self.acknowledge(next);
                }
                Kind::SharedSet => {
                    let bytes = encode(&["SADD", "shared", &next.to_string()]);
                    self.send(client, next, &bytes)?;
                    client.try_recv()?.int();
                    self.acknowledge(next);
                }
                Kind::Producer => {
                    let (queue, number) = (format!("queue:{}", self.number), next.to_string());
                    let mut bytes = encode(&["MULTI"]);
                    bytes.extend(encode(&["RPUSH", &queue, &number]));
                    bytes.extend(encode(&["SET", &key, &number]));
                    bytes.extend(encode(&["EXEC"]));
                    self.send(client, next, &bytes)?;
                    for _ in 0..4 {
                        client.try_recv()?;
                    }
                    self.acknowledge(next);
                }
                Kind::Consumer => {
                    let queue = format!("queue:{}", self.number);
                    self.send(client, next, &encode(&["BLPOP", &queue, "0"]))?;
                    let reply = client.try_recv()?;
                    assert_eq!(reply.items()[1], next.to_string(), "{queue}");
                    self.acknowledge(next);
                }
                Kind::Reader => {
                    let counter = format!("counter:{}", self.number);
                    client.try_write(&encode(&["GET", &counter])).ok()?;
                    if let Value::Bulk(digits) = client.try_recv()? {
                        let seen: u64 = String::from_utf8_lossy(&digits).parse().unwrap();
                        self.sent.store(seen, Relaxed);
                        self.acknowledge(seen);
                    }
                }
            }
        }
    }

    fn send(&self, client: &mut Client, number: u64, bytes: &[u8]) -> Option<()> {
        self.sent.store(number, Relaxed);
        client.try_write(bytes).ok()
    }
}

/// The clients of a round, for somebody who watches them.
pub struct Ledgers(Vec<Arc<Ledger>>);

impl Ledgers {
    /// What each has had acknowledged.
    pub fn acknowledged(&self) -> Vec<u64> {
        let all = self.0.iter();
        all.map(|ledger| ledger.acknowledged.load(Relaxed))
            .collect()
    }

    /// What had been acknowledged then is saved.
    pub fn saved(&self, acknowledged: &[u64]) {
        for (ledger, &number) in self.0.iter().zip(acknowledged) {
            ledger.saved.store(number, Relaxed);
        }
    }
}

/// Everything that is written, by whom, and what is known of it.
pub struct World {
    ledgers: Vec<Arc<Ledger>>,
    random: Random,
    /// When the server was killed last.
    pub killed: Instant,
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            ledgers: Vec::new(),
            random: Random::new(seed),
            killed: Instant::now(),
        }
    }

    /// Begins with an empty world that the server will not lose.
    pub fn found(&mut self, server: &Server, promise: Promise) {
        let mut client = server.client();
        client.run("FLUSHALL");
        for account in 0..ACCOUNTS {
            client.run(&format!("SET account:{account} {DEPOSIT}"));
        }
        match promise {
            Promise::Everything => {}
            Promise::Seconds(_) => assert_eq!(client.run("WAITAOF 1 0 0").items()[0], 1),
            Promise::LastSave => assert_eq!(client.run("SAVE"), "OK"),
        }
        let ledger = |kind: Kind, number: usize| Ledger {
            kind,
            number,
            acknowledged: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            history: Mutex::default(),
            saved: AtomicU64::new(0),
        };
        let numbers = |kind: Kind| (0..PER_KIND).map(move |number| (kind, number));
        let all = KINDS.iter().flat_map(|&kind| numbers(kind));
        self.ledgers = all
            .map(|(kind, number)| Arc::new(ledger(kind, number)))
            .collect();
    }

    /// Starts the clients, which write until the server is gone.
    pub fn start<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, server: &Server) -> Ledgers {
        for ledger in &self.ledgers {
            let (ledger, mut client) = (ledger.clone(), server.client());
            let mut random = Random::new(self.random.next());
            scope.spawn(move || ledger.run(&mut client, &mut random));
        }
        Ledgers(self.ledgers.clone())
    }

    /// Compares what a server has found on its disk with what it may.
    #[track_caller]
    pub fn check(&self, server: &Server, promise: Promise, context: &str) {
        let mut client = server.client();
        let mut balances = [DEPOSIT; ACCOUNTS as usize];
        for ledger in &self.ledgers {
            let found = ledger.find(&mut client, &mut balances, context);
            let (least, most) = (ledger.least(promise, self.killed), self.most(ledger));
            assert!(
                least <= found && found <= most,
                "{context}: {}: found {found}, which must be {least} at least and {most} at most",
                ledger.key()
            );
        }
        for (account, &balance) in balances.iter().enumerate() {
            let found = client.run(&format!("GET account:{account}")).text();
            assert_eq!(found, balance.to_string(), "{context}: account {account}");
        }
        for ledger in &self.ledgers {
            // Here the next round goes on.
            let found = ledger.find(&mut client, &mut balances, context);
            ledger.acknowledged.store(found, Relaxed);
            ledger.sent.store(found, Relaxed);
            ledger.saved.store(found, Relaxed);
            ledger.history.lock().unwrap().clear();
        }
    }

    /// The most that may be found of what a client has done.
    fn most(&self, ledger: &Ledger) -> u64 {
        let others = |kind: Kind| {
            let all = self.ledgers.iter().filter(move |other| other.kind == kind);
            all.map(|other| other.sent.load(Relaxed)).max().unwrap_or(0)
        };
        match ledger.kind {
            Kind::SharedSet => others(Kind::SharedSet),
            Kind::Reader => others(Kind::Counter),
            _ => ledger.sent.load(Relaxed),
        }
    }
}

impl Ledger {
    /// The number up to which everything is there. Adds what was moved to the balances.
    #[track_caller]
    fn find(&self, client: &mut Client, balances: &mut [i64], context: &str) -> u64 {
        let key = self.key();
        let mut count = |key: &str| -> u64 {
            let reply = client.run(&format!("GET {key}"));
            if reply.is_null() {
                0
            } else {
                reply.text().parse().unwrap()
            }
        };
        match self.kind {
            Kind::Counter | Kind::Pipeline => count(&key),
            Kind::Reader => count(&format!("counter:{}", self.number)),
            Kind::Producer => count(&key),
            Kind::Consumer => {
                let produced = count(&format!("producer:{}", self.number));
                let queue = client.run(&format!("LRANGE queue:{} 0 -1", self.number));
                let left: Vec<u64> = numbers(&queue);
                let consumed = produced - left.len() as u64;
                let expected: Vec<u64> = (consumed + 1..=produced).collect();
                assert_eq!(left, expected, "{context}: {key}");
                consumed
            }
            Kind::List => {
                let found = numbers(&client.run(&format!("LRANGE {key} 0 -1")));
                let expected: Vec<u64> = (1..=found.len() as u64).collect();
                assert_eq!(found, expected, "{context}: {key}");
                found.len() as u64
            }
            Kind::SharedSet => {
                let mut found = numbers(&client.run("SMEMBERS shared"));
                found.sort_unstable();
                let expected: Vec<u64> = (1..=found.len() as u64).collect();
                assert_eq!(found, expected, "{context}: {key}");
                found.len() as u64
            }
            Kind::Transfers => {
                let journal = client.run(&format!("LRANGE {key} 0 -1")).texts();
                for (at, entry) in journal.iter().enumerate() {
                    let words: Vec<&str> = entry.split(' ').collect();
                    assert_eq!(words[0], (at + 1).to_string(), "{context}: {key}");
                    let account = |word: &str| -> usize { word[8..].parse().unwrap() };
                    let amount: i64 = words[3].parse().unwrap();
                    balances[account(words[1])] -= amount;
                    balances[account(words[2])] += amount;
                }
                journal.len() as u64
            }
        }
    }
}

fn numbers(reply: &Value) -> Vec<u64> {
    let numbers = reply.texts().into_iter().map(|text| text.parse().unwrap());
    numbers.collect()
}
