//! Random commands over strings and keys, compared reply by reply with a model that is nothing but
//! a sorted map a database. The seed is printed; `STDIS_SOAK_SEED` runs one again and
//! `STDIS_SOAK_SECONDS` sets the length of the long form.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::{Client, NULL, Random, Server, Value, error, simple};

const DATABASES: usize = 3;

type Database = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the server should hold, and what it should answer.
struct Model {
    databases: Vec<Database>,
    selected: usize,
}

type Command = Vec<Vec<u8>>;

fn ok() -> Value {
    simple("OK")
}

fn int(n: usize) -> Value {
    Value::Int(n as i64)
}

fn not_int() -> Value {
    error("ERR value is not an integer or out of range")
}

/// The number a string is, if it is written as Redis writes it.
fn number(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let n: i64 = text.parse().ok()?;
    (n.to_string() == text).then_some(n)
}

/// The part of `value` that `GETRANGE` means.
fn range(value: &[u8], from: i64, to: i64) -> Vec<u8> {
    let length = value.len() as i64;
    if from < 0 && to < 0 && from > to {
        return Vec::new();
    }
    let place = |n: i64| if n < 0 { (n + length).max(0) } else { n };
    let (from, to) = (place(from), place(to).min(length - 1));
    if length == 0 || from > to {
        return Vec::new();
    }
    value[from as usize..=to as usize].to_vec()
}

impl Model {
    fn db(&mut self) -> &mut Database {
        &mut self.databases[self.selected]
    }

    fn get(&self, key: &[u8]) -> Value {
        let value = self.databases[self.selected].get(key);
        value.map_or(NULL, |v| Value::Bulk(v.clone()))
    }

    fn length(&self, key: &[u8]) -> Value {
        int(self.databases[self.selected].get(key).map_or(0, Vec::len))
    }

    fn add(&mut self, key: &[u8], by: i64) -> Value {
        let Some(old) = self.db().get(key).map_or(Some(0), |v| number(v)) else {
            return not_int();
        };
        match old.checked_add(by) {
            None => error("ERR increment or decrement would overflow"),
            Some(sum) => {
                self.db().insert(key.to_vec(), sum.to_string().into_bytes());
                Value::Int(sum)
            }
        }
    }

    /// Does what the command does and returns what it should answer.
    fn run(&mut self, command: &Command) -> Value {
        let args: Vec<&[u8]> = command[1..].iter().map(Vec::as_slice).collect();
        let whole = |n: usize| -> i64 { number(args[n]).expect("the generator wrote a number") };
        match &command[0][..] {
            b"GET" => self.get(args[0]),
            b"STRLEN" => self.length(args[0]),
            b"SET" => self.set(&args),
            b"SETNX" => int(usize::from(self.put_new(args[0], args[1]))),
            b"GETSET" => {
                let old = self.get(args[0]);
                self.db().insert(args[0].to_vec(), args[1].to_vec());
                old
            }
            b"GETDEL" => {
                let old = self.get(args[0]);
                self.db().remove(args[0]);
                old
            }
            b"APPEND" => {
                let value = self.db().entry(args[0].to_vec()).or_default();
                value.extend_from_slice(args[1]);
                self.length(args[0])
            }
            b"SETRANGE" => self.set_range(args[0], whole(1) as usize, args[2]),
            b"GETRANGE" => {
                let (from, to) = (whole(1), whole(2));
                let value = self.db().get(args[0]).cloned().unwrap_or_default();
                Value::Bulk(range(&value, from, to))
            }
            b"INCR" => self.add(args[0], 1),
            b"DECR" => self.add(args[0], -1),
            b"INCRBY" => self.add(args[0], whole(1)),
            b"MSET" => {
                for pair in args.chunks(2) {
                    self.db().insert(pair[0].to_vec(), pair[1].to_vec());
                }
                ok()
            }
            b"MSETNX" => {
                if args.chunks(2).any(|pair| self.db().contains_key(pair[0])) {
                    return int(0);
                }
                for pair in args.chunks(2) {
                    self.db().insert(pair[0].to_vec(), pair[1].to_vec());
                }
                int(1)
            }
            b"MGET" => Value::Array(args.iter().map(|key| self.get(key)).collect()),
            _ => self.run_on_keys(command, &args),
        }
    }

    fn run_on_keys(&mut self, command: &Command, args: &[&[u8]]) -> Value {
        let index = |n: usize| number(args[n]).expect("the generator wrote an index") as usize;
        match &command[0][..] {
            b"DEL" | b"UNLINK" => int(args
                .iter()
                .filter(|key| self.db().remove(**key).is_some())
                .count()),
            b"EXISTS" | b"TOUCH" => int(args
                .iter()
                .filter(|key| self.db().contains_key(**key))
                .count()),
            b"TYPE" => simple(if self.db().contains_key(args[0]) {
                "string"
            } else {
                "none"
            }),
            b"TTL" => Value::Int(if self.db().contains_key(args[0]) {
                -1
            } else {
                -2
            }),
            b"RENAME" | b"RENAMENX" => self.rename(&command[0], args[0], args[1]),
            b"COPY" => self.copy(args[0], args[1], index(3), args.len() > 4),
            b"MOVE" => self.move_to(args[0], index(1)),
            b"SELECT" => {
                self.selected = index(0);
                ok()
            }
            b"SWAPDB" => {
                self.databases.swap(index(0), index(1));
                ok()
            }
            b"DBSIZE" => int(self.db().len()),
            b"FLUSHDB" => {
                self.db().clear();
                ok()
            }
            name => panic!("no model of {}", support::show(name)),
        }
    }

    fn put_new(&mut self, key: &[u8], value: &[u8]) -> bool {
        let is_new = !self.db().contains_key(key);
        if is_new {
            self.db().insert(key.to_vec(), value.to_vec());
        }
        is_new
    }

    fn set(&mut self, args: &[&[u8]]) -> Value {
        let has = |option: &[u8]| args[2..].contains(&option);
        let old = self.get(args[0]);
        let refused = (has(b"NX") && !old.is_null()) || (has(b"XX") && old.is_null());
        if !refused {
            self.db().insert(args[0].to_vec(), args[1].to_vec());
        }
        match (has(b"GET"), refused) {
            (true, _) => old,
            (false, true) => NULL,
            (false, false) => ok(),
        }
    }

    fn set_range(&mut self, key: &[u8], offset: usize, part: &[u8]) -> Value {
        if !part.is_empty() {
            let value = self.db().entry(key.to_vec()).or_default();
            value.resize(value.len().max(offset + part.len()), 0);
            value[offset..offset + part.len()].copy_from_slice(part);
        }
        self.length(key)
    }

    fn rename(&mut self, name: &[u8], from: &[u8], to: &[u8]) -> Value {
        let keep = name == b"RENAMENX";
        let Some(value) = self.db().get(from).cloned() else {
            return error("ERR no such key");
        };
        if keep && self.db().contains_key(to) {
            return int(0);
        }
        self.db().remove(from);
        self.db().insert(to.to_vec(), value);
        if keep { int(1) } else { ok() }
    }

    fn copy(&mut self, from: &[u8], to: &[u8], db: usize, replace: bool) -> Value {
        if db == self.selected && from == to {
            return error("ERR source and destination objects are the same");
        }
        let Some(value) = self.db().get(from).cloned() else {
            return int(0);
        };
        if !replace && self.databases[db].contains_key(to) {
            return int(0);
        }
        self.databases[db].insert(to.to_vec(), value);
        int(1)
    }

    fn move_to(&mut self, key: &[u8], db: usize) -> Value {
        if db == self.selected {
            return error("ERR source and destination objects are the same");
        }
        if self.databases[db].contains_key(key) {
            return int(0);
        }
        match self.db().remove(key) {
            None => int(0),
            Some(value) => {
                self.databases[db].insert(key.to_vec(), value);
                int(1)
            }
        }
    }
}

/// A key out of a few, so that commands meet; some need an allocation, some are binary.
fn key(random: &mut Random) -> Vec<u8> {
    match random.below(40) {
        0 => Vec::new(),
        n @ 1..=5 => vec![n as u8; 60],
        n @ 6..=10 => vec![255, n as u8, b'\r', b'\n'],
        n => format!("key:{n}").into_bytes(),
    }
}

/// Values around the sizes at which a string changes its form.
fn value(random: &mut Random) -> Vec<u8> {
    match random.below(6) {
        0 => (random.next() as i64).to_string().into_bytes(),
        1 => random.below(1000).to_string().into_bytes(),
        2 => Vec::new(),
        3 => {
            let length = *random.pick(&[7, 8, 15, 16, 22, 23, 24, 43, 44, 45, 64, 128]);
            vec![b'v'; length]
        }
        4 => {
            let length = random.below(3000);
            (0..length).map(|_| random.next() as u8).collect()
        }
        _ => b"value".to_vec(),
    }
}

fn command(random: &mut Random) -> Command {
    let text = |s: &str| s.as_bytes().to_vec();
    let digits = |n: i64| n.to_string().into_bytes();
    let db = |random: &mut Random| random.below(DATABASES as u64).to_string().into_bytes();
    let name = *random.pick(&[
        "GET", "GET", "STRLEN", "SET", "SET", "SETNX", "GETSET", "GETDEL", "APPEND", "SETRANGE",
        "GETRANGE", "INCR", "DECR", "INCRBY", "MSET", "MSETNX", "MGET", "DEL", "UNLINK", "EXISTS",
        "TOUCH", "TYPE", "TTL", "RENAME", "RENAMENX", "COPY", "MOVE", "SELECT", "SWAPDB", "DBSIZE",
    ]);
    let mut args = vec![text(name)];
    match name {
        "SET" => {
            args.extend([key(random), value(random)]);
            let options: &[&[&str]] = &[&[], &[], &["NX"], &["XX"], &["GET"], &["NX", "GET"]];
            args.extend(random.pick(options).iter().map(|o| text(o)));
        }
        "SETNX" | "GETSET" | "APPEND" => args.extend([key(random), value(random)]),
        "SETRANGE" => {
            args.extend([key(random), digits(random.below(200) as i64), value(random)]);
        }
        "GETRANGE" => {
            let (from, to) = (random.below(120) as i64 - 60, random.below(120) as i64 - 60);
            args.extend([key(random), digits(from), digits(to)]);
        }
        "INCRBY" => {
            let by = *random.pick(&[0, 1, -7, 1000, i64::MAX, i64::MIN]);
            args.extend([key(random), digits(by)]);
        }
        "MSET" | "MSETNX" => {
            for _ in 0..=random.below(5) {
                args.extend([key(random), value(random)]);
            }
        }
        "MGET" | "DEL" | "UNLINK" | "EXISTS" | "TOUCH" => {
            for _ in 0..=random.below(5) {
                args.push(key(random));
            }
        }
        "RENAME" | "RENAMENX" => args.extend([key(random), key(random)]),
        "COPY" => {
            args.extend([key(random), key(random), text("DB"), db(random)]);
            if random.below(2) == 0 {
                args.push(text("REPLACE"));
            }
        }
        "MOVE" => args.extend([key(random), db(random)]),
        "SELECT" => args.push(db(random)),
        "SWAPDB" => args.extend([db(random), db(random)]),
        // Rarely, or nothing would ever gather.
        "DBSIZE" if random.below(100) == 0 => args[0] = text("FLUSHDB"),
        "DBSIZE" => {}
        _ => args.push(key(random)),
    }
    args
}

/// All keys of the selected database and what they hold, by `SCAN` and `MGET`.
fn contents(c: &mut Client) -> Database {
    let mut found = Database::new();
    let mut cursor = b"0".to_vec();
    loop {
        let reply = c.cmd(&[b"SCAN", &cursor[..], b"COUNT", b"7"]);
        for key in reply.items()[1].items() {
            let value = c.cmd(&[b"GET", key.bytes()]);
            found.insert(key.bytes().to_vec(), value.bytes().to_vec());
        }
        cursor = reply.items()[0].bytes().to_vec();
        if cursor == b"0" {
            return found;
        }
    }
}

/// Runs until `more` says that it was enough, in batches of different lengths.
fn soak(seed: u64, mut more: impl FnMut(u64) -> bool) {
    println!("STDIS_SOAK_SEED={seed}");
    let server = Server::start();
    let mut c = server.client();
    let mut random = Random::new(seed);
    let mut model = Model {
        databases: vec![Database::new(); DATABASES],
        selected: 0,
    };
    let mut done = 0;
    while more(done) {
        let length = *random.pick(&[1, 1, 5, 50, 500]);
        let batch: Vec<Command> = (0..length).map(|_| command(&mut random)).collect();
        let bytes: Vec<u8> = batch
            .iter()
            .flat_map(|command| support::encode(command))
            .collect();
        c.write(&bytes);
        for command in &batch {
            let expected = model.run(command);
            let reply = c.recv();
            assert!(
                reply == expected,
                "seed {seed}, after {done} commands: {}\n  expected {expected:?}\n  got {reply:?}",
                support::show(&command.join(&b' ')),
            );
            done += 1;
        }
        if random.below(50) == 0 {
            check(&mut c, &model, seed);
        }
    }
    check(&mut c, &model, seed);
    println!("{done} commands agreed");
}

fn check(c: &mut Client, model: &Model, seed: u64) {
    for (db, expected) in model.databases.iter().enumerate() {
        assert_eq!(c.cmd(&["SELECT", &db.to_string()]), "OK");
        assert_eq!(
            c.run("DBSIZE"),
            expected.len() as i64,
            "seed {seed}, database {db}"
        );
        assert!(
            contents(c) == *expected,
            "seed {seed}, database {db} differs"
        );
    }
    c.cmd(&["SELECT", &model.selected.to_string()]);
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

#[test]
fn random_commands() {
    soak(
        from_environment("STDIS_SOAK_SEED").unwrap_or(20_260),
        |done| done < 60_000,
    );
}

#[test]
#[ignore = "takes as long as STDIS_SOAK_SECONDS says, a minute by default"]
fn random_commands_for_long() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = from_environment("STDIS_SOAK_SEED").unwrap_or(now.as_nanos() as u64);
    let seconds = from_environment("STDIS_SOAK_SECONDS").unwrap_or(60);
    let start = Instant::now();
    soak(seed, |_| start.elapsed() < Duration::from_secs(seconds));
}
