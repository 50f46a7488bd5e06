//! What the commands of the histories do when they run one at a time: the model against which the
//! checker holds what clients have seen.

use crate::support::{NULL, Value, simple};

/// Keys that hold numbers.
pub const NUMBERS: usize = 4;
/// Keys that hold lists.
pub const LISTS: usize = 2;
/// The most clients that a history may have.
pub const CLIENTS: usize = 5;

/// One command on keys, which go by number.
#[derive(Clone, Debug)]
pub enum Command {
    Get(usize),
    Set(usize, i64),
    Incr(usize),
    IncrBy(usize, i64),
    Del(usize),
    MGet(Vec<usize>),
    MSet(Vec<(usize, i64)>),
    LPush(usize, i64),
    RPop(usize),
    LRange(usize),
}

/// What a client does in one step, or so it is told.
#[derive(Clone, Debug)]
pub enum Op {
    /// A command by itself.
    One(Command),
    /// `MULTI`, these, `EXEC`; the step is that of the `EXEC`.
    Exec(Vec<Command>),
    /// `WATCH` of keys that hold numbers.
    Watch(Vec<usize>),
    /// `UNWATCH`
    Unwatch,
}

impl Command {
    /// The words of the command; `round` keeps the keys of different histories apart.
    pub fn words(&self, round: &str) -> Vec<String> {
        let name = |name: &str| name.to_string();
        match self {
            Command::Get(key) => vec![name("GET"), number(round, *key)],
            Command::Set(key, value) => {
                vec![name("SET"), number(round, *key), value.to_string()]
            }
            Command::Incr(key) => vec![name("INCR"), number(round, *key)],
            Command::IncrBy(key, by) => {
                vec![name("INCRBY"), number(round, *key), by.to_string()]
            }
            Command::Del(key) => vec![name("DEL"), number(round, *key)],
            Command::MGet(keys) => {
                let keys = keys.iter().map(|&key| number(round, key));
                std::iter::once(name("MGET")).chain(keys).collect()
            }
            Command::MSet(pairs) => {
                let pairs = pairs.iter();
                let words = pairs.flat_map(|(key, value)| [number(round, *key), value.to_string()]);
                std::iter::once(name("MSET")).chain(words).collect()
            }
            Command::LPush(key, value) => {
                vec![name("LPUSH"), list(round, *key), value.to_string()]
            }
            Command::RPop(key) => vec![name("RPOP"), list(round, *key)],
            Command::LRange(key) => {
                vec![name("LRANGE"), list(round, *key), name("0"), name("-1")]
            }
        }
    }
}

/// The name of a key that holds a number.
pub fn number(round: &str, key: usize) -> String {
    format!("{round}:n{key}")
}

/// The name of a key that holds a list.
pub fn list(round: &str, key: usize) -> String {
    format!("{round}:l{key}")
}

/// Everything there is: the keys, and what each client watches.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct State {
    numbers: [Option<i64>; NUMBERS],
    lists: [Vec<i64>; LISTS],
    watches: [Watches; CLIENTS],
}

/// What one client watches.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
struct Watches {
    /// A bit for each key that holds a number.
    keys: u8,
    /// Whether one of them has changed.
    changed: bool,
}

impl State {
    /// Takes a client's step and returns its reply.
    pub fn step(&mut self, client: usize, op: &Op) -> Value {
        match op {
            Op::One(command) => self.run(command),
            Op::Exec(commands) => {
                let watches = std::mem::take(&mut self.watches[client]);
                if watches.changed {
                    return NULL;
                }
                Value::Array(commands.iter().map(|command| self.run(command)).collect())
            }
            Op::Watch(keys) => {
                for key in keys {
                    self.watches[client].keys |= 1 << key;
                }
                simple("OK")
            }
            Op::Unwatch => {
                self.watches[client] = Watches::default();
                simple("OK")
            }
        }
    }

    fn run(&mut self, command: &Command) -> Value {
        match command {
            Command::Get(key) => text(self.numbers[*key]),
            Command::Set(key, value) => {
                self.put(*key, Some(*value));
                simple("OK")
            }
            Command::Incr(key) => self.add(*key, 1),
            Command::IncrBy(key, by) => self.add(*key, *by),
            Command::Del(key) => {
                let there = self.numbers[*key].is_some();
                if there {
                    self.put(*key, None);
                }
                Value::Int(there.into())
            }
            Command::MGet(keys) => {
                Value::Array(keys.iter().map(|&key| text(self.numbers[key])).collect())
            }
            Command::MSet(pairs) => {
                for (key, value) in pairs {
                    self.put(*key, Some(*value));
                }
                simple("OK")
            }
            Command::LPush(key, value) => {
                self.lists[*key].insert(0, *value);
                Value::Int(self.lists[*key].len() as i64)
            }
            Command::RPop(key) => text(self.lists[*key].pop()),
            Command::LRange(key) => {
                let list = self.lists[*key].iter();
                Value::Array(list.map(|&value| text(Some(value))).collect())
            }
        }
    }

    fn add(&mut self, key: usize, by: i64) -> Value {
        let sum = self.numbers[key].unwrap_or(0) + by;
        self.put(key, Some(sum));
        Value::Int(sum)
    }

    /// Changes a key, which all who watch it are to know, be the value the same and the change
    /// their own.
    fn put(&mut self, key: usize, value: Option<i64>) {
        self.numbers[key] = value;
        for watches in &mut self.watches {
            watches.changed |= watches.keys & 1 << key != 0;
        }
    }
}

fn text(value: Option<i64>) -> Value {
    value.map_or(NULL, |value| Value::from(value.to_string()))
}
