//! A small server with a fault of one's choosing, to show that the checker finds it: a thread for
//! each client, one lock around everything, and the lock let go where the fault wants it.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// `EXEC` lets the lock go between its commands.
    TornExec,
    /// `EXEC` lets the lock go between its look at the watched keys and its commands.
    EarlyLook,
    /// `EXEC` does not look at the watched keys.
    NoLook,
    /// `MGET` lets the lock go between its keys.
    TornMGet,
    /// `INCR` and `INCRBY` let the lock go between reading and writing.
    TornIncr,
    /// A client gets `GET`'s reply of the last time now and then.
    StaleGet,
}

#[derive(Default)]
struct Data {
    numbers: HashMap<String, i64>,
    lists: HashMap<String, VecDeque<String>>,
    /// How often each key has been changed.
    changes: HashMap<String, u64>,
}

/// Starts a server and returns its address. Its threads end with the process.
pub fn start(fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
    let address = listener.local_addr().expect("a bound address").to_string();
    let data = Arc::new(Mutex::new(Data::default()));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut client = Toy {
                fault,
                data: data.clone(),
                queue: None,
                watched: Vec::new(),
                seen: HashMap::new(),
                gets: 0,
            };
            thread::spawn(move || client.serve(stream));
        }
    });
    address
}

/// One client of it.
struct Toy {
    fault: Fault,
    data: Arc<Mutex<Data>>,
    queue: Option<Vec<Vec<String>>>,
    watched: Vec<(String, u64)>,
    seen: HashMap<String, String>,
    gets: u64,
}

impl Toy {
    fn serve(&mut self, stream: TcpStream) {
        let mut writer = stream.try_clone().expect("clone a socket");
        stream.set_nodelay(true).expect("set an option");
        let mut reader = BufReader::new(stream);
        while let Some(args) = request(&mut reader) {
            let reply = self.request(args);
            if writer.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn request(&mut self, args: Vec<String>) -> String {
        match (args[0].as_str(), &mut self.queue) {
            ("EXEC", Some(_)) => self.exec(),
            (_, Some(queue)) => {
                queue.push(args);
                "+QUEUED\r\n".into()
            }
            ("MULTI", None) => {
                self.queue = Some(Vec::new());
                "+OK\r\n".into()
            }
            ("WATCH", None) => {
                let data = self.data.lock().expect("the lock");
                for key in &args[1..] {
                    let changes = data.changes.get(key).copied().unwrap_or(0);
                    self.watched.push((key.clone(), changes));
                }
                "+OK\r\n".into()
            }
            ("UNWATCH", None) => {
                self.watched.clear();
                "+OK\r\n".into()
            }
            _ => self.command(&args),
        }
    }

    fn exec(&mut self) -> String {
        let queue = self.queue.take().expect("a queue");
        let watched = std::mem::take(&mut self.watched);
        let same = |data: &Data| {
            watched
                .iter()
                .all(|(key, changes)| data.changes.get(key).copied().unwrap_or(0) == *changes)
        };
        let mut reply = format!("*{}\r\n", queue.len());
        let mut data = self.data.lock().expect("the lock");
        if self.fault != Fault::NoLook && !same(&data) {
            return "*-1\r\n".into();
        }
        if self.fault == Fault::EarlyLook {
            drop(data);
            thread::yield_now();
            data = self.data.lock().expect("the lock");
        }
        for args in &queue {
            reply += &data.run(args);
            if self.fault == Fault::TornExec {
                drop(data);
                thread::yield_now();
                data = self.data.lock().expect("the lock");
            }
        }
        reply
    }

    fn command(&mut self, args: &[String]) -> String {
        let lock = || self.data.lock().expect("the lock");
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|word| word.to_string())
                .collect::<Vec<_>>()
        };
        match (args[0].as_str(), self.fault) {
            ("MGET", Fault::TornMGet) => {
                let mut reply = format!("*{}\r\n", args.len() - 1);
                for key in &args[1..] {
                    reply += &lock().run(&words(&["GET", key]));
                    thread::yield_now();
                }
                reply
            }
            ("INCR" | "INCRBY", Fault::TornIncr) => {
                let by: i64 = args.get(2).map_or(1, |by| by.parse().expect("a number"));
                let sum = lock().numbers.get(&args[1]).copied().unwrap_or(0) + by;
                thread::yield_now();
                lock().run(&words(&["SET", &args[1], &sum.to_string()]));
                format!(":{sum}\r\n")
            }
            ("GET", Fault::StaleGet) => {
                let fresh = lock().run(args);
                self.gets += 1;
                let last = self.seen.insert(args[1].clone(), fresh.clone());
                last.filter(|_| self.gets.is_multiple_of(3))
                    .unwrap_or(fresh)
            }
            _ => lock().run(args),
        }
    }
}

impl Data {
    fn run(&mut self, args: &[String]) -> String {
        let key = args.get(1).cloned().unwrap_or_default();
        match args[0].as_str() {
            "GET" => bulk(self.numbers.get(&key)),
            "MGET" => {
                let values = args[1..].iter().map(|key| bulk(self.numbers.get(key)));
                format!("*{}\r\n{}", args.len() - 1, values.collect::<String>())
            }
            "SET" | "MSET" => {
                for pair in args[1..].chunks(2) {
                    let value = pair[1].parse().expect("a number");
                    self.numbers.insert(pair[0].clone(), value);
                    self.changed(&pair[0]);
                }
                "+OK\r\n".into()
            }
            "INCR" | "INCRBY" => {
                let by: i64 = args.get(2).map_or(1, |by| by.parse().expect("a number"));
                let sum = self.numbers.get(&key).copied().unwrap_or(0) + by;
                self.numbers.insert(key.clone(), sum);
                self.changed(&key);
                format!(":{sum}\r\n")
            }
            "DEL" => {
                let there = self.numbers.remove(&key).is_some();
                if there {
                    self.changed(&key);
                }
                format!(":{}\r\n", u8::from(there))
            }
            "LPUSH" => {
                let list = self.lists.entry(key).or_default();
                list.push_front(args[2].clone());
                format!(":{}\r\n", list.len())
            }
            "RPOP" => bulk(self.lists.entry(key).or_default().pop_back().as_ref()),
            "LRANGE" => {
                let list = self.lists.entry(key).or_default();
                let values: String = list.iter().map(|value| bulk(Some(value))).collect();
                format!("*{}\r\n{values}", list.len())
            }
            other => format!("-ERR unknown command '{other}'\r\n"),
        }
    }

    fn changed(&mut self, key: &str) {
        *self.changes.entry(key.to_string()).or_default() += 1;
    }
}

fn bulk<T: ToString>(value: Option<T>) -> String {
    let Some(text) = value.map(|value| value.to_string()) else {
        return "$-1\r\n".into();
    };
    format!("${}\r\n{text}\r\n", text.len())
}

/// Reads one request; `None` at the end of the connection.
fn request(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let length = |reader: &mut dyn BufRead| -> Option<usize> {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.trim_end().get(1..)?.parse().ok()
    };
    let count = length(reader)?;
    (0..count)
        .map(|_| {
            let mut bytes = vec![0; length(reader)? + 2];
            reader.read_exact(&mut bytes).ok()?;
            bytes.truncate(bytes.len() - 2);
            String::from_utf8(bytes).ok()
        })
        .collect()
}
