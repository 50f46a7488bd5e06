//! Runs one script against a fresh pair of servers and describes where they differ.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::keyspace;
use crate::script::{Action, Script};
use crate::server::{Pair, missing_commands};
use crate::wire::{Connection, Outcome, Rule, Value, encode, show, show_command};

/// How many mismatches of one run are worth reading.
const MOST: usize = 20;

/// How long `@blocked` waits.
const BLOCKING: Duration = Duration::from_secs(10);

/// What became of a script.
pub enum Verdict {
    /// The tested server lacks a command the script needs.
    Skipped(String),
    /// It ran; each text describes one mismatch.
    Ran(Vec<String>),
}

/// The two ends of one numbered client.
struct Client {
    reference: Connection,
    subject: Connection,
}

impl Client {
    /// Does the same to both, redis-server first.
    fn both(&mut self, act: impl Fn(&mut Connection) -> Outcome) -> (Outcome, Outcome) {
        (act(&mut self.reference), act(&mut self.subject))
    }
}

/// Runs `script` in this version of RESP. With `events`, the notifications that each command causes
/// are compared as well.
pub fn run(script: &Script, protocol: u8, events: bool) -> Verdict {
    let pair = Pair::start(&script.args);
    let missing = missing_commands(pair.subject.address, &script.needs);
    if !missing.is_empty() {
        return Verdict::Skipped(format!("no {}", missing.join(", ")));
    }
    let mut run = Run {
        script,
        protocol,
        pair: &pair,
        clients: HashMap::new(),
        observer: None,
        current: 0,
        mismatches: Vec::new(),
        lost: false,
    };
    if events {
        run.observe();
    }
    for step in &script.steps {
        run.step(step.line, &step.action);
        if run.lost || run.mismatches.len() >= MOST {
            run.note(step.line, "(the rest of the script was not run)", "", "");
            break;
        }
    }
    for difference in keyspace::differences(&pair) {
        run.note(
            0,
            "(key space at the end)",
            &difference.reference,
            &difference.subject,
        );
    }
    let mut mismatches = run.mismatches;
    if mismatches
        .iter()
        .any(|text| text.contains("(closed)") || text.contains("(then nothing"))
    {
        mismatches.push(pair.logs());
    }
    Verdict::Ran(mismatches)
}

struct Run<'a> {
    script: &'a Script,
    protocol: u8,
    pair: &'a Pair,
    clients: HashMap<usize, Client>,
    /// Listens to the notifications.
    observer: Option<Client>,
    current: usize,
    mismatches: Vec<String>,
    /// Set once the two connections are no longer at the same reply.
    lost: bool,
}

impl Run<'_> {
    fn step(&mut self, line: usize, action: &Action) {
        match action {
            Action::Client(number) => self.current = *number,
            Action::Command {
                args,
                rule,
                replies,
            } => {
                let bytes = encode(args);
                let client = self.client();
                client.reference.send(&bytes);
                client.subject.send(&bytes);
                self.compare_replies(line, &show_command(args), *rule, *replies);
                // Of a command that blocks, nobody knows yet whether it has been carried out.
                if *replies > 0 {
                    self.compare_events(line, &show_command(args));
                }
            }
            Action::Read { rule, replies } => {
                self.compare_replies(line, "@read", *rule, *replies);
            }
            Action::Raw { bytes, barrier } => self.raw(line, bytes, *barrier),
            Action::Closed => {
                let closed = Outcome::Closed(Vec::new());
                let outcomes = self.client().both(Connection::read_to_close);
                if outcomes != (closed.clone(), closed) {
                    self.differ(line, "@closed", &outcomes);
                }
                self.clients.remove(&self.current);
            }
            Action::Blocked(count) => {
                let [reference, subject] = [&self.pair.reference, &self.pair.subject]
                    .map(|server| wait_for_blocked(server.address, *count));
                if !(reference && subject) {
                    let show = |met: bool| {
                        if met {
                            "(so many blocked)"
                        } else {
                            "(waited in vain)"
                        }
                    };
                    self.note(
                        line,
                        &format!("@blocked {count}"),
                        show(reference),
                        show(subject),
                    );
                    self.lost = true;
                }
            }
        }
    }

    /// The connections in use, opened if need be.
    fn client(&mut self) -> &mut Client {
        let (pair, protocol) = (self.pair, self.protocol);
        self.clients.entry(self.current).or_insert_with(|| Client {
            reference: Connection::open(pair.reference.address, protocol).expect("redis-server"),
            subject: Connection::open(pair.subject.address, protocol).expect("stdis"),
        })
    }

    /// Has an observer listen to all notifications but those of expiry, which comes when it comes.
    fn observe(&mut self) {
        let open = |address| {
            let mut observer = Connection::open(address, 2).expect("an observer");
            let classes = "KEg$lshztdmn";
            observer.call(&["CONFIG", "SET", "notify-keyspace-events", classes]);
            observer.call(&["PSUBSCRIBE", "__key*__:*"]);
            observer
        };
        self.observer = Some(Client {
            reference: open(self.pair.reference.address),
            subject: open(self.pair.subject.address),
        });
    }

    /// Compares the notifications since the last time.
    fn compare_events(&mut self, line: usize, command: &str) {
        let Some(observer) = &mut self.observer else {
            return;
        };
        const BARRIER: &str = "--barrier--";
        let answer = format!("{BARRIER}\r\n");
        let outcomes = observer.both(|connection| {
            connection.send(&encode(&["PING", BARRIER]));
            connection.read_until(answer.as_bytes())
        });
        if outcomes.0 != outcomes.1 {
            self.differ(line, &format!("(events of) {command}"), &outcomes);
        }
        if !matches!(outcomes, (Outcome::Reply(_), Outcome::Reply(_))) {
            self.observer = None;
        }
    }

    fn compare_replies(&mut self, line: usize, command: &str, rule: Rule, replies: usize) {
        for _ in 0..replies {
            let outcomes = self.client().both(Connection::read_reply);
            if !rule.agrees(&outcomes.0, &outcomes.1) {
                self.differ(line, command, &outcomes);
            }
            match outcomes {
                (Outcome::Reply(_), Outcome::Reply(_)) => {}
                (Outcome::Closed(_), Outcome::Closed(_)) => {
                    self.clients.remove(&self.current);
                    return;
                }
                _ => {
                    self.lost = true;
                    return;
                }
            }
        }
    }

    /// Sends `bytes`, in one write with the barrier: a server that closes the connection on the
    /// first bytes must have taken in the rest, or its last words are lost in a reset.
    fn raw(&mut self, line: usize, bytes: &[u8], barrier: bool) {
        const BARRIER: &str = "--barrier--";
        let mut sent = bytes.to_vec();
        if barrier {
            sent.extend(encode(&["PING", BARRIER]));
        }
        let answer = format!("${}\r\n{BARRIER}\r\n", BARRIER.len());
        let outcomes = self.client().both(|connection| {
            connection.send(&sent);
            match barrier {
                true => connection.read_until(answer.as_bytes()),
                false => connection.read_to_close(),
            }
        });
        // Silence of both means that the barrier went astray, so that nothing was compared.
        let silent = matches!(outcomes, (Outcome::Silent(_), _) | (_, Outcome::Silent(_)));
        if silent || outcomes.0 != outcomes.1 {
            self.differ(line, &format!("@raw {}", show(bytes)), &outcomes);
        }
        if !matches!(outcomes, (Outcome::Reply(_), Outcome::Reply(_))) {
            self.clients.remove(&self.current);
        }
    }

    fn differ(&mut self, line: usize, command: &str, outcomes: &(Outcome, Outcome)) {
        self.note(line, command, &outcomes.0.show(), &outcomes.1.show());
    }

    fn note(&mut self, line: usize, command: &str, reference: &str, subject: &str) {
        let (name, protocol) = (&self.script.name, self.protocol);
        let mut text = format!("{name}.txt:{line} (RESP{protocol}) {command}\n");
        if !(reference.is_empty() && subject.is_empty()) {
            text.push_str(&format!("    redis  {reference}\n    stdis  {subject}\n"));
        }
        self.mismatches.push(text);
    }
}

/// Asks INFO until `count` clients are blocked; false when that does not happen.
fn wait_for_blocked(address: std::net::SocketAddr, count: u64) -> bool {
    let Ok(mut connection) = Connection::open(address, 2) else {
        return false;
    };
    let wanted = format!("blocked_clients:{count}\r\n");
    let start = Instant::now();
    while start.elapsed() < BLOCKING {
        let Outcome::Reply(reply) = connection.call(&["INFO", "clients"]) else {
            return false;
        };
        let info = Value::parse(&reply).content();
        if String::from_utf8_lossy(&info).contains(&wanted) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}
