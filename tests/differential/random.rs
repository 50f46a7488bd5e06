//! Seeded random commands to both servers, in pipelined batches, and the comparison of replies.
//!
//! The families of commands are in `families.rs`; this file draws from them, spoils some of the
//! commands, and runs them. Keys come from a small pool, so that commands meet each other's data.

use crate::families::{FAMILIES, Family};
use crate::keyspace;
use crate::server::{Pair, missing_commands};
use crate::wire::{Connection, Outcome, Rule, encode, show_command};

/// Commands a round: one pipelined batch.
const BATCH: usize = 100;

/// After so many rounds the key spaces are compared, and emptied.
const COMPARED: u64 = 20;

/// How many mismatches are worth reading.
const MOST: usize = 20;

/// A generated command and how its replies compare.
pub struct Case {
    /// Name and arguments.
    pub args: Vec<Vec<u8>>,
    /// How the replies compare.
    pub rule: Rule,
    /// How the elements of the replies compare, where each has a rule of its own.
    pub parts: Vec<Rule>,
}

impl Case {
    /// A command whose replies must be equal.
    pub fn exact(args: Vec<Vec<u8>>) -> Case {
        Case {
            args,
            rule: Rule::Exact,
            parts: Vec::new(),
        }
    }

    /// Whether two replies to the command count as the same.
    fn agrees(&self, reference: &Outcome, subject: &Outcome) -> bool {
        match self.parts.is_empty() {
            true => self.rule.agrees(reference, subject),
            false => Rule::each_agrees(&self.parts, reference, subject),
        }
    }

    /// The same command under another rule.
    pub fn rule(self, rule: Rule) -> Case {
        Case { rule, ..self }
    }
}

/// Arguments from whatever is cheapest to write: `args![b"SET", key, 5]`.
#[macro_export]
macro_rules! args {
    ($($arg:expr),* $(,)?) => {
        vec![$($crate::random::Arg::arg(&$arg)),*]
    };
}

/// Something that can be an argument.
pub trait Arg {
    /// Its bytes.
    fn arg(&self) -> Vec<u8>;
}

impl Arg for &str {
    fn arg(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Arg for Vec<u8> {
    fn arg(&self) -> Vec<u8> {
        self.clone()
    }
}

impl Arg for i64 {
    fn arg(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

/// A small generator (SplitMix64) and the values worth drawing.
pub struct Random {
    state: u64,
}

impl Random {
    /// The generator that this seed determines.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// A key of the pool. The pool holds 24 keys, an empty and a binary one among them.
    pub fn key(&mut self) -> Vec<u8> {
        match self.below(24) {
            0 => Vec::new(),
            1 => b"\x00\xffkey\r\n".to_vec(),
            n => format!("key:{n}").into_bytes(),
        }
    }

    /// So many keys of the pool, at least one.
    pub fn keys(&mut self, most: usize) -> Vec<Vec<u8>> {
        (0..=self.below(most)).map(|_| self.key()).collect()
    }

    /// The number of one of the databases in use.
    pub fn db(&mut self) -> i64 {
        self.below(4) as i64
    }

    /// A value: integers, floats, short, long and binary strings.
    pub fn value(&mut self) -> Vec<u8> {
        match self.below(10) {
            0 => Vec::new(),
            1 | 2 => self.integer().arg(),
            3 => self.float(),
            4 => {
                let length = self.below(3) + 43; // around the end of embstr
                self.bytes(length)
            }
            5 => {
                let length = self.below(500);
                self.bytes(length)
            }
            6 => {
                let length = self.below(12);
                let letter = *self.of(b"ab\xff");
                vec![letter; length]
            }
            _ => {
                let length = self.below(20);
                self.bytes(length)
            }
        }
    }

    /// So many bytes, mostly letters of a small alphabet.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length)
            .map(|_| match self.once_in(20) {
                true => self.bits() as u8,
                false => *self.of(b"abcde019 "),
            })
            .collect()
    }

    /// An integer, often one near a limit.
    pub fn integer(&mut self) -> i64 {
        match self.below(8) {
            0 => i64::MAX - self.below(3) as i64,
            1 => i64::MIN + self.below(3) as i64,
            2 => *self.of(&[
                i64::from(i32::MAX),
                i64::from(i32::MIN),
                9999,
                10_000,
                -1,
                0,
            ]),
            3 => self.bits() as i64,
            _ => self.below(200) as i64 - 100,
        }
    }

    /// An index into something short, now and then far out.
    pub fn index(&mut self) -> i64 {
        match self.below(12) {
            0 => self.integer(),
            _ => self.below(60) as i64 - 30,
        }
    }

    /// A float as a client might write it.
    pub fn float(&mut self) -> Vec<u8> {
        match self.below(8) {
            0 => self
                .of(&[
                    "3.0e3", "1e10", "-1.5e-5", ".5", "5.", "+1.25", "inf", "-inf",
                ])
                .arg(),
            1 => self
                .of(&["0.1", "0.2", "-0.3", "1e17", "1e-17", "0x10", "1e300"])
                .arg(),
            _ => {
                let digits = *self.of(&[1, 10, 100, 1000, 100_000_000]);
                let number = self.below(2_000_000) as f64 - 1_000_000.0;
                format!("{}", number / f64::from(digits)).into_bytes()
            }
        }
    }

    /// Something hardly any command wants, and that is never a short time to live.
    fn odd(&mut self) -> Vec<u8> {
        let choices = [
            "",
            "abc",
            "9223372036854775808",
            "-9223372036854775809",
            "-1",
            "1.5",
            "0",
            " 1",
            "1 ",
            "nan",
            "inf",
            "0x10",
            "-0",
            "01",
            "+5555555",
            "9223372036854775807",
            "NX",
            "\0",
            "*",
        ];
        self.of(&choices).arg()
    }
}

/// Makes a valid command nearly valid. Arguments never change places: a value must not become a
/// short time to live, or the servers would race against the clock.
fn spoil(random: &mut Random, case: &mut Case) {
    let args = &mut case.args;
    let at = random.below(args.len());
    match random.below(5) {
        0 => {
            args.pop();
            if args.is_empty() {
                args.push(b"PING".to_vec());
            }
        }
        1 => {
            let arg = args[at].clone();
            args.insert(at, arg);
        }
        2 => args[at] = random.odd(),
        3 => {
            let odd = random.odd();
            args.push(odd);
        }
        _ => {
            for byte in &mut args[at] {
                if random.once_in(2) {
                    *byte = match byte.is_ascii_lowercase() {
                        true => byte.to_ascii_uppercase(),
                        false => byte.to_ascii_lowercase(),
                    };
                }
            }
        }
    }
}

/// Undoes what spoiling does to a command of the family of SORT that makes Redis leave the order to
/// chance (an element that a zero byte ends, which is the empty string to it) or turn another
/// family's sorted set into a skiplist.
fn keep_sortable(key: &[u8], args: &mut [Vec<u8>]) {
    for (at, arg) in args.iter_mut().enumerate().skip(1) {
        if at == 1 {
            *arg = key.to_vec();
        } else if arg.is_empty() || arg[0] == 0 {
            *arg = b"x".to_vec();
        }
    }
}

/// Both servers, with one connection to each in either protocol.
struct Run {
    pair: Pair,
    /// redis-server's and stdis' connection, in RESP2 and in RESP3.
    connections: [(Connection, Connection); 2],
    /// Two more that listen to notifications.
    observers: (Connection, Connection),
    /// All commands since both were empty.
    history: Vec<Vec<Vec<u8>>>,
    report: String,
    mismatches: usize,
}

/// Runs the whole test; the report is empty when the servers agree.
pub fn run() -> String {
    let seed = number("STDIS_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |time| time.as_nanos() as u64 % 1_000_000_000)
    });
    let rounds = number("STDIS_ROUNDS").unwrap_or(200);
    println!("STDIS_SEED={seed} STDIS_ROUNDS={rounds}");
    let pair = Pair::start(&[]);
    let families = families(&pair);
    let transactions = missing_commands(pair.subject.address, &["multi", "watch"]).is_empty();
    let open = |protocol| {
        let open = |address| Connection::open(address, protocol).expect("a connection");
        (open(pair.reference.address), open(pair.subject.address))
    };
    let connections = [open(2), open(3)];
    // Not those of expiry and of look-ups: when and in which order these come is nobody's business.
    let observe = |mut connection: Connection| {
        let classes = "KEg$lshztdn";
        connection.call(&["CONFIG", "SET", "notify-keyspace-events", classes]);
        connection.call(&["PSUBSCRIBE", "__key*__:*"]);
        connection
    };
    let (reference, subject) = open(2);
    let observers = (observe(reference), observe(subject));
    let mut run = Run {
        pair,
        connections,
        observers,
        history: Vec::new(),
        report: String::new(),
        mismatches: 0,
    };
    let mut random = Random::new(seed);
    for round in 1..=rounds {
        let mut cases = batch(&mut random, &families);
        if transactions && random.once_in(2) {
            cases = crate::families::in_transactions(&mut random, cases);
        }
        let alive = run.round((round % 2) as usize, &cases);
        if !alive || run.mismatches >= MOST {
            break;
        }
        if round % COMPARED == 0 || round == rounds {
            run.compare_keyspace();
            run.start_over();
        }
    }
    match run.report.is_empty() {
        true => String::new(),
        false => format!("STDIS_SEED={seed}\n{}{}", run.report, run.pair.logs()),
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
    )
}

/// The families that the tested server has, or the one that was asked for.
fn families(pair: &Pair) -> Vec<&'static Family> {
    let only = std::env::var("STDIS_FAMILY").ok();
    let chosen: Vec<&Family> = FAMILIES
        .iter()
        .filter(|family| only.as_ref().is_none_or(|only| only == family.name))
        .filter(|family| {
            let missing = missing_commands(pair.subject.address, family.needs);
            if !missing.is_empty() {
                println!("family {} skipped: no {}", family.name, missing.join(", "));
            }
            missing.is_empty()
        })
        .collect();
    assert!(
        !chosen.is_empty(),
        "no family to draw from (STDIS_FAMILY={only:?})"
    );
    chosen
}

fn batch(random: &mut Random, families: &[&Family]) -> Vec<Case> {
    (0..BATCH)
        .map(|_| {
            let mut case = (random.of(families).generate)(random);
            if random.once_in(12) {
                let valid = case.args.get(1).cloned();
                spoil(random, &mut case);
                if let Some(key) = valid.filter(|key| key.starts_with(b"sorted:")) {
                    keep_sortable(&key, &mut case.args);
                }
                // Where a scan goes on from a made-up cursor is each server's own affair.
                let name = case.args[0].to_ascii_uppercase();
                let cursor = if name == b"SCAN" { 1 } else { 2 };
                let elsewhere = case.args.get(cursor).is_some_and(|arg| arg != b"0");
                // And a third argument of ZRANK has a meaning in 7.2 only.
                let rank = name.ends_with(b"RANK") && case.args.len() > 3;
                // An id by the clock is each server's own, too.
                if name == b"XADD" {
                    case.args.retain(|arg| arg != b"*");
                }
                // 7.2 also says in other words that keys and ids of XREAD do not match.
                let read = name.starts_with(b"XREAD");
                if name.ends_with(b"SCAN") && elsewhere || rank || read {
                    case.rule = Rule::Type;
                }
            }
            case
        })
        .collect()
}

impl Run {
    /// Sends one batch and compares; false when a connection is lost.
    fn round(&mut self, which: usize, cases: &[Case]) -> bool {
        let bytes: Vec<u8> = cases.iter().flat_map(|case| encode(&case.args)).collect();
        self.connections[which].0.send(&bytes);
        self.connections[which].1.send(&bytes);
        let mut agreed = true;
        for case in cases {
            self.history.push(case.args.clone());
            let (reference, subject) = &mut self.connections[which];
            let (reference, subject) = (reference.read_reply(), subject.read_reply());
            // After one mismatch the data may differ, so the rest of the batch says little.
            if agreed && !case.agrees(&reference, &subject) {
                agreed = false;
                self.note(which + 2, &case.args, &reference.show(), &subject.show());
            }
            if !matches!((reference, subject), (Outcome::Reply(_), Outcome::Reply(_))) {
                return false;
            }
        }
        if !self.compare_events(which + 2, agreed) {
            return false;
        }
        if !agreed {
            self.start_over();
        }
        true
    }

    /// Compares the notifications of a batch, if its replies agreed. Returns whether the observers
    /// are still there.
    fn compare_events(&mut self, protocol: usize, agreed: bool) -> bool {
        const BARRIER: &str = "--barrier--";
        let read = |connection: &mut Connection| {
            connection.send(&encode(&["PING", BARRIER]));
            connection.read_until(format!("{BARRIER}\r\n").as_bytes())
        };
        let (reference, subject) = (read(&mut self.observers.0), read(&mut self.observers.1));
        let (Outcome::Reply(reference), Outcome::Reply(subject)) = (reference, subject) else {
            self.note(protocol, &[b"(events)".to_vec()], "(see below)", "(gone)");
            return false;
        };
        if !agreed || reference == subject {
            return true;
        }
        let events = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let text = text
                .split("*2\r\n$4\r\npong\r\n")
                .next()
                .unwrap_or_default();
            let events = text.split("*4\r\n$8\r\npmessage\r\n$10\r\n__key*__:*\r\n");
            // 7.2 also has this one where XREADGROUP finds nothing.
            let events = events.filter(|event| !event.contains("xgroup-createconsumer\r\n"));
            events.map(str::to_owned).collect::<Vec<_>>()
        };
        let (reference, subject) = (events(&reference), events(&subject));
        if reference != subject {
            let pairs = reference.iter().zip(&subject);
            let same = pairs.take_while(|(one, other)| one == other).count();
            let from = |events: &[String]| {
                let few = events.iter().skip(same.saturating_sub(2)).take(5);
                few.map(|event| event.replace("\r\n", " "))
                    .collect::<String>()
            };
            let (reference, subject) = (from(&reference), from(&subject));
            self.note(protocol, &[b"(events)".to_vec()], &reference, &subject);
        }
        true
    }

    fn compare_keyspace(&mut self) {
        let differences = keyspace::differences(&self.pair);
        for difference in differences.iter().take(3) {
            let name: Vec<Vec<u8>> = vec![b"(key space)".to_vec()];
            self.note(2, &name, &difference.reference, &difference.subject);
        }
    }

    /// Empties both servers and goes back to database 0.
    fn start_over(&mut self) {
        self.history.clear();
        for (reference, subject) in &mut self.connections {
            for connection in [reference, subject] {
                let ok = Outcome::Reply(b"+OK\r\n".to_vec());
                assert_eq!(
                    connection.call(&["FLUSHALL"]),
                    ok,
                    "FLUSHALL between rounds"
                );
                assert_eq!(
                    connection.call(&["SELECT", "0"]),
                    ok,
                    "SELECT between rounds"
                );
            }
        }
    }

    /// Notes a mismatch with the last commands that name one of its keys.
    fn note(&mut self, protocol: usize, args: &[Vec<u8>], reference: &str, subject: &str) {
        self.mismatches += 1;
        self.report.push_str(&format!(
            "(RESP{protocol}) {}\n    redis  {reference}\n    stdis  {subject}\n",
            show_command(args)
        ));
        let exec = args[0] == b"EXEC";
        // What is queued, and what comes between WATCH and MULTI.
        let is_end = |name: &[u8]| matches!(name, b"EXEC" | b"DISCARD");
        let queued = self.history.iter().rev().skip(1);
        let queued: Vec<_> = queued.take_while(|it| exec && !is_end(&it[0])).collect();
        for command in queued.iter().rev() {
            self.report
                .push_str(&format!("    since {}\n", show_command(command)));
        }
        let related = |earlier: &&Vec<Vec<u8>>| {
            let name = &earlier[0];
            name.eq_ignore_ascii_case(b"SELECT")
                || name.eq_ignore_ascii_case(b"SWAPDB")
                || earlier[1..]
                    .iter()
                    .any(|arg| arg.len() > 3 && args[1..].contains(arg))
        };
        let before: Vec<&Vec<Vec<u8>>> = self
            .history
            .iter()
            .rev()
            .skip(1)
            .filter(related)
            .take(8)
            .collect();
        for earlier in before.iter().rev() {
            self.report
                .push_str(&format!("    before {}\n", show_command(earlier)));
        }
    }
}
