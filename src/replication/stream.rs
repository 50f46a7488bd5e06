//! Carrying out the stream of the primary.
//!
//! Every command is carried out the way a client's would be, and every byte goes to the server's own
//! log, under the locks of the command that it belongs to; what needs no lock follows at once, and
//! what stands between a `MULTI` and its `EXEC` together with that. So whoever holds all locks finds
//! the data set to be exactly what the stream has made of it up to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::line::{Broken, Line, patience};
use super::link::Lost;
use super::note;
use crate::command::dispatch::{self, Place, Step};
use crate::command::session::{Clock, Session};
use crate::resp::{Args, Limits, Parsed, Parser, Reply};
use crate::server::Server;
use crate::server::client::CLOSE_ASAP;
use crate::server::config::{id, replication};
use crate::server::log::{Batch, Followed};
use crate::server::{logger, threads};
use crate::util::num::IntBuf;
use crate::{log_warning, sys};

/// How often the primary is told how far the replica is.
const ACK_EVERY: Duration = Duration::from_secs(1);
/// How often the end of a pause is looked for.
const PAUSE_POLL: Duration = Duration::from_millis(100);
/// How often the log is told that nothing can be saved.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// A buffer for replies, which nobody gets, is given back above this size.
const KEEP_REPLY: usize = 64 << 10;
/// Bytes of commands that are carried out before others are told what they did.
const TURN: usize = 1 << 20;

/// The feeder of one link.
struct Feeder<'l> {
    server: &'l Arc<Server>,
    line: &'l mut Line,
    session: Session,
    parser: Parser,
    /// Replies, which nobody gets.
    out: Reply,
    /// The second in which something last came.
    last_io: i64,
    /// Whether the next command waits for the end of a pause.
    held: bool,
    /// When the log was last told that nothing can be saved.
    complained: Option<Instant>,
}

/// Carries out what the primary sends until the link is lost. The stream is in the database `db`;
/// with `ack` the primary waits to be told that its data set has come.
pub fn serve(server: &Arc<Server>, line: &mut Line, generation: u64, db: usize, ack: bool) -> Lost {
    let mut session = Session::new(server, line.client.clone());
    session.feeder = true;
    session.select(db);
    session.followed = Some(Followed {
        generation,
        raw: Vec::new(),
    });
    let mut feeder = Feeder {
        server,
        line,
        session,
        parser: Parser::contiguous(),
        out: Reply::new(),
        last_io: 0,
        held: false,
        complained: None,
    };
    let lost = feeder.run(generation, ack);
    feeder.session.mail.deliver(server);
    server.stats.pour(&mut feeder.session.tally);
    server.replication.turns.end();
    match server.replication.is_current(generation) && !server.is_stopping() {
        true => lost,
        false => Lost::Over,
    }
}

impl Feeder<'_> {
    fn run(&mut self, generation: u64, ack: bool) -> Lost {
        let mut acked = Instant::now();
        if ack && self.acknowledge().is_err() {
            return Lost::Broken;
        }
        // What has come with the data set may be the beginning.
        self.line.heard = Instant::now();
        let mut read = self.line.input().len();
        loop {
            self.server.testing.stand_still();
            threads::fall_over("link");
            while read > 0 {
                loop {
                    self.server.replication.turns.begin();
                    match self.carry_out() {
                        Ok(more) => {
                            self.tell(generation);
                            self.server.replication.turns.end();
                            if !more {
                                break;
                            }
                        }
                        Err(lost) => return lost,
                    }
                }
                if acked.elapsed() >= ACK_EVERY || self.held {
                    break;
                }
                // A primary that has much to say is not waited for.
                self.server.replication.turns.begin();
                read = match self.line.poll() {
                    Ok(read) => read,
                    Err(_) => return Lost::Broken,
                };
            }
            self.server.replication.turns.end();
            if acked.elapsed() >= ACK_EVERY {
                acked = Instant::now();
                if self.acknowledge().is_err() {
                    return Lost::Broken;
                }
            }
            if self.line.heard.elapsed() > patience(self.server) {
                log_warning!("MASTER timeout: no data nor PING received...");
                return Lost::Broken;
            }
            if self.server.is_stopping() || self.session.client.has(CLOSE_ASAP) {
                return Lost::Broken;
            }
            if std::mem::take(&mut self.held) {
                self.server.pause.wait(true, PAUSE_POLL);
                // The primary cannot be blamed for what has not been read.
                self.line.heard = Instant::now();
                read = 1;
                continue;
            }
            let left = ACK_EVERY.saturating_sub(acked.elapsed());
            let waited = self.line.wait(left);
            self.server.replication.turns.begin();
            read = match waited.and_then(|_| self.line.poll()) {
                Ok(read) => read,
                Err(_) => return Lost::Broken,
            };
        }
    }

    /// Carries out the complete commands that have come, so many of them as are done in one go.
    /// Returns whether there may be more.
    fn carry_out(&mut self) -> Result<bool, Lost> {
        self.session.clock = Clock::now();
        let mut used = 0;
        let result = loop {
            match self.next(used) {
                Ok(0) => break Ok(false),
                Ok(more) => used += more,
                Err(lost) => break Err(lost),
            }
            if used >= TURN {
                break Ok(true);
            }
        };
        self.session.tally.totals.input_bytes += used as u64;
        self.session.tally.totals.reads += 1;
        self.line.consume(used);
        result
    }

    /// Carries out the command that begins `at` bytes into what has come. Returns its length; 0 when
    /// it has not come in full.
    fn next(&mut self, at: usize) -> Result<usize, Lost> {
        let input = &self.line.input()[at..];
        let limits = Limits {
            // What the primary has taken is taken here.
            max_bulk: i64::MAX / 2,
            unauthenticated: false,
        };
        let used = match self.parser.parse(input, limits) {
            Parsed::Incomplete => return Ok(0),
            Parsed::Error(error) => {
                let reason = String::from_utf8_lossy(&error.0);
                log_warning!("Protocol error ({reason}) from master: {}", self.peer());
                return Err(Lost::Garbled);
            }
            Parsed::Request(used) => used,
        };
        let mut args = self.parser.args(input);
        if !args.is_empty() && input[0] != b'*' {
            log_warning!(
                "WARNING: Receiving inline protocol from master, master stream corruption? \
                 Closing the master connection and discarding the cached master."
            );
            log_warning!(
                "Protocol error (Master using the inline protocol. Desync?) from master: {}",
                self.session.client.address.peer
            );
            return Err(Lost::Garbled);
        }
        if self.server.pause.mode().is_some()
            && !args.is_empty()
            && dispatch::is_held(self.server, &mut self.session, &args)
        {
            self.held = true;
            return Ok(0);
        }
        let raw = &input[..used];
        if is_getack(&args) && self.session.transaction.is_none() {
            // The offset is that before the question.
            let told = acknowledge(self.server, self.line);
            keep(&mut self.session, raw);
            flush(self.server, &mut self.session);
            told.map_err(|_| Lost::Broken)?;
        } else {
            keep(&mut self.session, raw);
            if !args.is_empty() {
                if dispatch::lacks_disk(self.server, &mut self.session, &args) {
                    complain_of_disk(self.server, &mut self.complained);
                }
                let errors = self.session.tally.totals.errors;
                let step = dispatch::execute(
                    self.server,
                    &mut self.session,
                    &mut self.out,
                    &mut args,
                    Place::Own,
                );
                if step == Step::Gone {
                    return Err(Lost::Over);
                }
                if self.session.tally.totals.errors != errors {
                    complain(self.server, self.out.bytes(), &args[0]);
                }
                self.out.clear(KEEP_REPLY);
            }
            if self.session.transaction.is_none() {
                flush(self.server, &mut self.session);
            }
        }
        self.parser.reset();
        Ok(used)
    }

    /// Tells others what the commands did.
    fn tell(&mut self, generation: u64) {
        let server = self.server;
        self.session.mail.deliver(server);
        server.stats.pour(&mut self.session.tally);
        let now = self.session.clock.ms();
        let client = &self.session.client;
        client.last_interaction.store(now, Ordering::Relaxed);
        client
            .query_used
            .store(self.line.input().len(), Ordering::Relaxed);
        // What is kept back, or has not come in full.
        let held = self
            .session
            .followed
            .as_ref()
            .map_or(0, |held| held.raw.len());
        let more = held + self.line.input().len();
        if self.last_io != now / 1000 || more > 0 {
            self.last_io = now / 1000;
            let received = server.log.stream_end() + more as u64;
            note(server, generation, |state| {
                state.link.last_io = now / 1000;
                state.link.received = received;
            });
        }
        if server.aof.is_always() {
            server.aof.commit(server, server.log.end());
        } else if server.log.has_file() {
            server.aof.throttle();
        }
    }

    fn acknowledge(&self) -> Result<(), Broken> {
        acknowledge(self.server, self.line)
    }

    fn peer(&self) -> &str {
        &self.session.client.address.peer
    }
}

/// Whether the primary asks how far the replica is.
fn is_getack(args: &Args<'_>) -> bool {
    args.len() == 3
        && args[0].eq_ignore_ascii_case(b"replconf")
        && args[1].eq_ignore_ascii_case(b"getack")
}

/// Tells the primary how far the replica is.
fn acknowledge(server: &Server, line: &Line) -> Result<(), Broken> {
    let end = server.log.position();
    if server.aof.is_always() {
        // What is acknowledged is not lost with this server.
        server.aof.commit(server, end.file);
    }
    let (mut offset, mut synced) = (IntBuf::new(), IntBuf::new());
    let mut words: Vec<&[u8]> = vec![b"REPLCONF", b"ACK", offset.u64(end.stream)];
    if let Some(at) = super::synced(server) {
        words.extend([b"FACK", synced.u64(at)]);
    }
    line.send(server, &words)
}

/// Keeps the bytes of a command for the log.
fn keep(session: &mut Session, raw: &[u8]) {
    if let Some(followed) = &mut session.followed {
        followed.raw.extend_from_slice(raw);
    }
}

/// Puts what has been carried out without a lock into the log.
fn flush(server: &Server, session: &mut Session) {
    let (db, now) = (session.db, session.clock.ms());
    if let Some(followed) = &mut session.followed
        && !followed.raw.is_empty()
    {
        let batch = Batch::default();
        server.log.append_followed(&batch, followed, db, now);
        followed.raw.clear();
    }
}

/// What the primary has done cannot be saved here. Unless that does not matter, it is the end of the
/// server: it would promise what it cannot keep.
#[cold]
fn complain_of_disk(server: &Server, complained: &mut Option<Instant>) {
    if !server.config.bool(id::REPLICA_IGNORE_DISK_WRITE_ERRORS) {
        log_warning!("Replica was unable to write command to disk.");
        sys::exit_now(1);
    }
    if complained.is_none_or(|last| last.elapsed() > COMPLAIN_EVERY) {
        *complained = Some(Instant::now());
        log_warning!("Replica is applying a command even though it is unable to write to disk.");
    }
}

/// A command of the primary has failed here, where it cannot have failed there.
#[cold]
fn complain(server: &Server, reply: &[u8], name: &[u8]) {
    let unexpected = &server.stats.unexpected_errors;
    unexpected.fetch_add(1, Ordering::Relaxed);
    // Of a transaction, the first of its errors.
    let inner = || {
        reply
            .windows(3)
            .position(|w| w == b"\r\n-")
            .map(|at| at + 2)
    };
    let at = if reply.starts_with(b"-") {
        Some(0)
    } else {
        inner()
    };
    let text = &reply[at.map_or(0, |at| at + 1)..];
    let text = text.split(|&byte| byte == b'\r').next().unwrap_or_default();
    log_warning!(
        "== CRITICAL == This replica is sending an error to its master: '{}' after processing the command '{}'",
        String::from_utf8_lossy(text),
        shown(name)
    );
    let config = &server.config;
    if config.bool(id::REPLICA_READ_ONLY)
        && config.int(id::PROPAGATION_ERROR_BEHAVIOR) != replication::IGNORE_ERRORS
    {
        logger::give_up(&format!(
            "This replica panicked sending an error to its master after processing the command '{}'",
            shown(name)
        ));
    }
}

/// The name of a command, for the log.
fn shown(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name).to_lowercase();
    name.escape_default().to_string()
}
