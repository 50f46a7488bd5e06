//! One connection: reads requests, has them carried out, sends the replies.
//!
//! A connection is a value that is handed from thread to thread. [`Connection::turn`] does one
//! step: read once, carry out every complete request, send the replies at once. On a thread of its
//! own ([`Place::Own`]) the read waits; on a shared one ([`Place::Shared`]) it does not, and
//! whatever may wait or take long makes the connection ask for a thread of its own.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::command::dispatch::{self, Place, Step};
use crate::command::session::{Clock, Session};
use crate::command::{client_eviction, client_list, crash, table};
use crate::resp::{Limits, Parsed, Parser, Reply};
use crate::server::Server;
use crate::server::client::{CLOSE_ASAP, Client, NOT_AWAITED, Socket};
use crate::server::config::id;
use crate::server::mail;
use crate::{log_verbose, log_warning, sys};

/// Size of the buffer that requests are read into.
const READ_BUFFER: usize = 16 << 10;
/// Replies are sent before the batch is done once there are this many bytes of them.
const FLUSH_AT: usize = 64 << 10;
/// How long replies may be held back while the client waits for replicas in the command behind them.
const HOLD: Duration = Duration::from_millis(1);
/// Room that a reply buffer has at first.
const REPLY_ROOM: usize = 1 << 10;
/// A busy connection's reply buffer keeps no more than this after use …
const KEEP_REPLY: usize = 64 << 10;
/// … and any other's this. Replies up to this size are never too much for a client to be sent.
const KEEP_LITTLE: usize = 16 << 10;
/// A silent connection gives its buffers back after this many milliseconds.
pub const IDLE_MS: u32 = 2000;

/// What one step of a connection came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Nothing had arrived.
    Idle,
    /// Something had, and was dealt with as far as it goes.
    Served,
    /// The next request needs a thread of its own.
    NeedsOwnThread,
    /// The connection has ended.
    Closed,
    /// Replies wait until the disk has what they promise: [`Connection::resume`] is to follow.
    Deferred,
}

/// How busy a connection is, which decides where it is served.
pub struct Heat {
    /// Consecutive requests that came soon after the reply to the one before.
    quick: u32,
    /// How many of these it takes to go to the round; grows when going there did not pay.
    needed: u32,
    /// Requests served in the round since it came there.
    served: u32,
    /// Whether its last request had messages for many clients.
    talks: bool,
}

/// So many quick requests make a connection hot at first: a client that connects, asks once and
/// waits stays where it is.
const NEEDED: u32 = 2;
/// A request is quick when it comes within this time after the reply before it.
const QUICK: Duration = Duration::from_millis(20);
/// A connection with messages for so many clients goes to the round however slow that makes it:
/// there, messages of several senders share their way.
const MANY: usize = 8;
/// A stay in the round pays with this many requests.
const WORTHWHILE: u32 = 64;

impl Default for Heat {
    fn default() -> Self {
        Heat {
            quick: 0,
            needed: NEEDED,
            served: 0,
            talks: false,
        }
    }
}

impl Heat {
    /// A batch arrived this long after the previous reply, on a thread of the connection's own.
    fn arrived(&mut self, gap: Duration) {
        self.quick = if gap < QUICK { self.quick + 1 } else { 0 };
        self.talks = false;
    }

    /// How much room for replies the connection keeps: to make it anew for each batch takes time that
    /// shows where they follow each other.
    fn room(&self) -> usize {
        match self.quick {
            0 => KEEP_LITTLE,
            _ => KEEP_REPLY,
        }
    }

    /// Whether the connection should go to the round, if the server is busy enough for one.
    pub fn is_hot(&self) -> bool {
        self.quick > self.needed || self.talks
    }

    /// The connection leaves the round because it has been silent.
    pub fn cool(&mut self) {
        let needed = if self.served < WORTHWHILE {
            (self.needed * 2).min(1024)
        } else {
            0
        };
        *self = Heat {
            needed,
            ..Heat::default()
        };
    }
}

/// A handler panicked: the connection is gone with it, its client is told by the close, and the
/// server lives on.
pub fn lost(server: &Server, client: &Client) {
    log_warning!(
        "A command of client {} panicked; its connection is closed",
        client.address.peer
    );
    crash::conclude(server, client);
    client.kill();
    server.remove_client(client);
}

impl Drop for Connection {
    /// Whatever ends it, messages for other clients are not left behind.
    fn drop(&mut self) {
        self.session.mail.deliver(&self.server);
    }
}

/// One client's connection.
pub struct Connection {
    server: Arc<Server>,
    session: Session,
    /// `None` while the connection is idle and has given its buffer back.
    reader: Option<BufReader<Socket>>,
    /// Bytes of requests that did not arrive in one piece, and how many of them are done with.
    carry: Vec<u8>,
    carried: usize,
    /// Bytes that have been read since the client connected.
    received: u64,
    parser: Parser,
    out: Reply,
    /// The most bytes that the replies of one batch have had lately, and since when that is,
    /// unix milliseconds.
    peak: usize,
    peak_since: i64,
    nonblocking: bool,
    /// Whether the buffered input may hold a request that has not been looked at.
    pending: bool,
    /// Whether the client waits in a command, of which the reply is to be looked for now and then.
    parked: bool,
    /// What is to come of the turn once its replies are sent, which others wait for as well.
    deferred: Option<Turn>,
    /// How busy it is.
    pub heat: Heat,
    /// When it last had something to do.
    pub last_active: Instant,
}

impl Connection {
    /// The connection of a client that has just been accepted.
    pub fn new(server: Arc<Server>, client: Arc<Client>) -> Connection {
        let session = Session::new(&server, client);
        let memory = &session.client.session_memory;
        memory.store(size_of::<Connection>(), Ordering::Relaxed);
        let peak_since = session.clock.ms();
        Connection {
            server,
            session,
            reader: None,
            carry: Vec::new(),
            carried: 0,
            received: 0,
            parser: Parser::new(),
            out: Reply::new(),
            peak: 0,
            peak_since,
            nonblocking: false,
            pending: false,
            parked: false,
            deferred: None,
            heat: Heat::default(),
            last_active: Instant::now(),
        }
    }

    /// The server it belongs to.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The client it belongs to.
    pub fn client(&self) -> &Arc<Client> {
        &self.session.client
    }

    /// Reads once, carries out every complete request, and sends the replies.
    pub fn turn(&mut self, place: Place) -> Turn {
        if self.parked {
            if place == Place::Shared && !self.is_wait_over() {
                return Turn::Idle;
            }
            self.parked = false;
            // On a thread of its own nobody looks after what has been held back.
            if place == Place::Own && !self.flush() {
                return Turn::Closed;
            }
            if let Err(turn) = self.end_wait() {
                return turn;
            }
        } else if !self.pending {
            match self.read(place) {
                Ok(0) => {
                    log_verbose!(
                        "Client closed connection {}",
                        self.session.client.address.peer
                    );
                    return Turn::Closed;
                }
                Ok(_) => {}
                Err(Turn::Served) => return Turn::Served,
                Err(turn) => return turn,
            }
        }
        let step = self.serve(place);
        // Where others have their turn as well, they are all served before anything is sent.
        let waits = self.waits_for_disk() || !self.session.mail.is_empty();
        if place == Place::Shared && waits {
            self.deferred = Some(step);
            return Turn::Deferred;
        }
        self.end_turn(step)
    }

    /// Whether the client waits in a command, while the thread does other things.
    pub fn is_parked(&self) -> bool {
        self.parked
    }

    /// Whether such a wait is over, so that the client is to have its turn.
    pub fn is_wait_over(&self) -> bool {
        self.session.is_wait_over()
    }

    /// Whether replies from before such a wait have been held back for so long that they are to go
    /// without its own. Most replicas answer sooner, and one packet serves for all.
    pub fn is_held_too_long(&self, now: Instant) -> bool {
        !self.out.is_empty() && now.saturating_duration_since(self.last_active) >= HOLD
    }

    /// Sends such replies.
    pub fn send_held(&mut self) -> Turn {
        match self.flush() {
            true => Turn::Idle,
            false => Turn::Closed,
        }
    }

    /// Whether its replies wait for [`Connection::resume`].
    pub fn is_deferred(&self) -> bool {
        self.deferred.is_some()
    }

    /// Ends a turn that was deferred.
    pub fn resume(&mut self) -> Turn {
        let step = self.deferred.take().unwrap_or(Turn::Served);
        self.end_turn(step)
    }

    /// Whether something has been promised that the disk may not have yet.
    pub fn waits_for_disk(&self) -> bool {
        self.session.uncommitted > 0 && self.server.aof.is_always()
    }

    /// Sends the replies and closes the books.
    fn end_turn(&mut self, step: Turn) -> Turn {
        self.show_input();
        let turn = self.conclude(step);
        self.session.tally.totals.reads += 1;
        self.server.stats.pour(&mut self.session.tally);
        if !self.parked {
            self.show_replies();
        }
        self.count_memory();
        // Behind all that others are to see of this turn. One that is to go on elsewhere, or to end the
        // connection, is not over.
        if turn == Turn::Served {
            let served = &self.session.client.served;
            served.store(self.received, Ordering::Release);
        }
        turn
    }

    /// Waits, on a thread of its own, until something arrives, without holding any buffer.
    pub fn sleep(&mut self) {
        if self
            .reader
            .as_ref()
            .is_some_and(|reader| !reader.buffer().is_empty())
        {
            return;
        }
        self.reader = None;
        if self.carry.is_empty() {
            self.carry = Vec::new();
            self.parser = Parser::new();
        }
        self.out.clear(0);
        self.show_input();
        self.show_replies();
        self.count_memory();
        // An error shows at the next read.
        let _ = sys::wait_readable(&self.session.client.socket, -1);
    }

    /// Ends the connection. Where the server ends it, what has been written still arrives as far as
    /// the client reads it; where the client did, nothing more is sent.
    pub fn finish(self) {
        let client = &self.session.client;
        if self.session.close && !client.has(CLOSE_ASAP) {
            // Only what it has been sent so far is still to arrive.
            self.server.tracking.disable(client);
            self.server.pubsub.forget(client);
            if !client.outbox.finish() {
                // The writer ends the connection, and until then the client is there to be seen, but
                // nobody reads what it sends.
                client.served.store(NOT_AWAITED, Ordering::Release);
                return;
            }
            // Input that nobody read would turn the close into a reset, which may overtake the
            // reply.
            let _ = sys::shutdown_send(&client.socket);
            let mut rest = [0; 4096];
            for _ in 0..64 {
                match sys::recv_nonblocking(&client.socket, &mut rest) {
                    Ok(read) if read > 0 => {}
                    _ => break,
                }
            }
        } else {
            client.kill();
        }
        self.server.remove_client(client);
    }

    /// Reads what has arrived. `Err` says how the turn ends without anything to serve.
    fn read(&mut self, place: Place) -> Result<usize, Turn> {
        let wanted = place == Place::Shared;
        if self.nonblocking != wanted {
            if sys::set_nonblocking(&self.session.client.socket, wanted).is_err() {
                return Err(Turn::Closed);
            }
            self.nonblocking = wanted;
        }
        let socket = &self.session.client.socket;
        let reader = self
            .reader
            .get_or_insert_with(|| BufReader::with_capacity(READ_BUFFER, socket.clone()));
        let result = match self.parser.big_bulk() {
            Some(_) if place == Place::Shared => return Err(Turn::NeedsOwnThread),
            Some((bulk, rest)) => {
                // Straight into the argument's own buffer.
                let before = bulk.len();
                // No more than has arrived, so that a slow client is seen to be sending.
                let here = sys::pending_input(socket).unwrap_or(1).clamp(1, rest);
                if bulk.capacity() - before < here {
                    // Left to the read, it would become more than the argument is to have.
                    bulk.reserve_exact(rest.min(before.max(here)));
                }
                let result = reader.take(here as u64).read_to_end(bulk);
                // More may have come meanwhile, which went into the buffer.
                let read = bulk.len() - before + reader.buffer().len();
                self.note_announced();
                if read > 0 { Ok(read) } else { result }
            }
            None => reader.fill_buf().map(<[u8]>::len),
        };
        match result {
            Ok(read) => {
                let before = self.last_active;
                self.session.clock = Clock::now();
                self.last_active = self.session.clock.started();
                self.received += read as u64;
                self.session.tally.totals.input_bytes += read as u64;
                self.prepare_replies();
                self.show_input();
                match place {
                    Place::Own => self.heat.arrived(self.last_active - before),
                    Place::Shared => self.heat.served += 1,
                }
                Ok(read)
            }
            Err(error) => Err(match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Turn::Idle,
                ErrorKind::Interrupted => Turn::Served,
                _ => {
                    log_verbose!("Reading from client: {error}");
                    Turn::Closed
                }
            }),
        }
    }

    /// Carries out every complete request that has been read.
    fn serve(&mut self, place: Place) -> Turn {
        self.pending = false;
        loop {
            match self.next_request(place) {
                Ok(true) => {}
                Ok(false) => return Turn::Served,
                Err(turn) => return turn,
            }
        }
    }

    /// Sends the replies, and says what is to come of the turn.
    fn conclude(&mut self, step: Turn) -> Turn {
        // What a client that waits has been told already may go with what it waits for.
        let held = self.parked && self.session.mail.is_empty() && !self.waits_for_disk();
        if !(held || self.flush()) || self.session.close || self.session.client.has(CLOSE_ASAP) {
            return Turn::Closed;
        }
        if step == Turn::Served && self.over_query_limit() {
            return Turn::Closed;
        }
        step
    }

    /// Sends messages for other clients that a turn which is deferred has left. Returns whether there
    /// were many clients to send to.
    pub fn send_mail(&mut self) -> bool {
        self.commit();
        self.gather_broadcast();
        let had_mail = !self.session.mail.is_empty();
        let many = self.session.mail.deliver(&self.server) >= MANY;
        if had_mail {
            client_eviction::check(&self.server);
        }
        self.heat.talks |= many;
        many
    }

    /// Waits until the disk has what the replies promise.
    fn commit(&mut self) {
        if self.waits_for_disk() {
            self.server
                .aof
                .commit(&self.server, self.session.uncommitted);
            // The client cannot have asked for anything meanwhile: this was no silence.
            self.last_active = Instant::now();
        }
        self.session.uncommitted = 0;
    }

    /// Carries out the next request. `Ok(false)` when there is no complete one.
    fn next_request(&mut self, place: Place) -> Result<bool, Turn> {
        let Some(reader) = &mut self.reader else {
            return Ok(false);
        };
        if !self.carry.is_empty() && !reader.buffer().is_empty() {
            let more = reader.buffer().len();
            self.carry.extend_from_slice(reader.buffer());
            reader.consume(more);
        }
        let carried = !self.carry.is_empty();
        let input = if carried {
            &self.carry[self.carried..]
        } else {
            reader.buffer()
        };
        let limits = Limits {
            max_bulk: self.server.config.int(id::PROTO_MAX_BULK_LEN),
            unauthenticated: self.session.must_authenticate(&self.server),
        };
        let used = match self.parser.parse(input, limits) {
            Parsed::Incomplete => {
                self.keep_rest();
                return Ok(false);
            }
            Parsed::Error(error) => {
                let reason = String::from_utf8_lossy(&error.0);
                log_verbose!(
                    "Protocol error ({reason}) from client: {}",
                    self.session.client.address.peer
                );
                let text = [b"ERR Protocol error: ", &error.0[..]].concat();
                self.server.stats.error(&text);
                self.session.tally.totals.errors += 1;
                self.out.error(&text);
                self.session.close = true;
                return Ok(false);
            }
            Parsed::Request(used) => used,
        };
        let mut args = self.parser.args(input);
        let mut blocked = false;
        if !args.is_empty() {
            if dispatch::is_http(&self.session, &args) {
                self.out.clear(0);
                return Err(Turn::Closed);
            }
            match dispatch::execute(
                &self.server,
                &mut self.session,
                &mut self.out,
                &mut args,
                place,
            ) {
                Step::Done => {}
                Step::Blocked => blocked = true,
                Step::NeedsOwnThread => {
                    self.pending = true;
                    return Err(Turn::NeedsOwnThread);
                }
                Step::Gone => return Err(Turn::Closed),
            }
        }
        self.parser.reset();
        if carried {
            self.note_announced();
            self.carried += used;
            if self.carried == self.carry.len() {
                self.carry.clear();
                self.carry.shrink_to(READ_BUFFER);
                self.carried = 0;
            }
        } else {
            reader.consume(used);
        }
        if blocked {
            return self.wait(place).map(|()| true);
        }
        if self.session.close {
            return Ok(false);
        }
        if self.out.len() >= FLUSH_AT && self.is_to_flush() {
            if !self.flush() {
                return Err(Turn::Closed);
            }
            // However much a batch asks for, the client goes when that is too much.
            self.count_memory();
            if self.session.client.has(CLOSE_ASAP) {
                return Err(Turn::Closed);
            }
        }
        Ok(true)
    }

    /// The command just carried out blocks: waits for its reply and sends it.
    fn wait(&mut self, place: Place) -> Result<(), Turn> {
        self.show_input();
        if place == Place::Shared {
            // Earlier replies may wait a moment for this one: see `Connection::is_held_too_long`.
            self.parked = true;
            return Err(Turn::Served);
        }
        // Earlier replies do not wait for this one.
        if !self.flush() {
            return Err(Turn::Closed);
        }
        self.show_replies();
        self.count_memory();
        self.end_wait()
    }

    /// Waits until the client is no longer blocked, and sends the reply.
    fn end_wait(&mut self) -> Result<(), Turn> {
        if dispatch::wait(&self.server, &mut self.session, &mut self.out) == Step::Gone {
            return Err(Turn::Closed);
        }
        self.last_active = Instant::now();
        let sent = self.flush();
        self.session.client.unblock();
        // A kill in the meantime has left the end to us.
        if !sent || self.session.client.has(CLOSE_ASAP) {
            return Err(Turn::Closed);
        }
        Ok(())
    }

    /// The input ends within a request: moves the beginning of the request aside, so that the rest
    /// can follow it.
    fn keep_rest(&mut self) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        if self.carried > 0 {
            self.carry.drain(..self.carried);
            self.carry.shrink_to(READ_BUFFER);
            self.carried = 0;
        }
        let rest = reader.buffer().len();
        if self.carry.is_empty() && rest == 0 {
            return;
        }
        // What has come of a large argument is in its own buffer.
        let taken = self.parser.let_go();
        if self.carry.is_empty() {
            let buffer = reader.buffer();
            self.carry.extend_from_slice(&buffer[..taken.start]);
            self.carry.extend_from_slice(&buffer[taken.end..]);
            reader.consume(rest);
        } else if !taken.is_empty() {
            // All that has been read is in there already.
            self.carry.drain(taken);
            self.carry.shrink_to_fit();
        }
        self.note_announced();
    }

    /// Tells those who listen to the prefixes of changed keys; what is for the client itself goes
    /// behind its replies so far.
    fn gather_broadcast(&mut self) {
        let own = self.session.mail.broadcast(&self.server);
        if !self.session.close {
            self.out.raw(&own);
        }
    }

    /// Whether a replica may stay: what it sends must not have a reply, which would land in the middle
    /// of the stream that it is sent.
    fn is_silent(&self) -> bool {
        if self.out.is_empty() {
            return true;
        }
        let client = &self.session.client;
        let number = client.last_command.load(Ordering::Relaxed) as usize;
        let row = number.checked_sub(1).and_then(|at| table().rows.get(at));
        let command = row.map_or("<unknown>", |row| &row.name);
        if let [b'-', error @ ..] = self.out.bytes() {
            let error = String::from_utf8_lossy(error.trim_ascii_end());
            log_warning!(
                "== CRITICAL == This {} is sending an error to its replica: '{error}' after processing the command '{command}'",
                match self.server.replication.is_replica() {
                    true => "replica",
                    false => "master",
                }
            );
        }
        log_warning!(
            "Replica generated a reply to command '{command}', disconnecting it: {}",
            client_list::describe(client)
        );
        false
    }

    /// Sends the replies. Returns `false` when the connection has ended.
    fn flush(&mut self) -> bool {
        if self.session.replica.is_some() {
            self.send_mail();
            return self.is_silent();
        }
        // Who has a reply to PUBLISH finds its message on its way.
        self.send_mail();
        let large = self.out.len() > KEEP_LITTLE;
        if self.out.is_cut() || large && self.is_over_output_limit() {
            // Nothing of it is sent: the client is to see that its replies are not complete.
            self.close_for_output();
            return false;
        }
        self.peak = self.peak.max(self.out.len());
        if self.session.client.outbox.is_pushable() {
            return self.flush_in_turn();
        }
        if self.out.is_empty() {
            return true;
        }
        // Who has a reply finds its command counted.
        self.server.stats.pour(&mut self.session.tally);
        let client = &self.session.client;
        let mut sent = 0;
        let total = self.out.bytes().len();
        if !client.outbox.is_busy() {
            while sent < total {
                match sys::send_nonblocking(&client.socket, &self.out.bytes()[sent..]) {
                    Ok(written) => sent += written,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => {
                        log_verbose!("Error writing to client: {error}");
                        return false;
                    }
                }
            }
            self.session.tally.totals.output_bytes += sent as u64;
            self.session.tally.totals.writes += 1;
        }
        if sent == total {
            self.out.clear(self.heat.room());
            return true;
        }
        let (rest, head) = self.out.take();
        let limit = self.server.config.output_limit(client.output_class());
        if client.enqueue(&self.server, rest, head + sent, limit) {
            return true;
        }
        self.close_slow();
        false
    }

    /// Whether the replies of a batch that goes on are to be sent already. Where they are limited,
    /// they wait for its end, and count in full.
    fn is_to_flush(&self) -> bool {
        let client = &self.session.client;
        let limit = self.server.config.output_limit(client.output_class());
        limit.hard == 0 || self.is_over_output_limit()
    }

    /// Makes room for the replies of a batch, and limits them where the client has a limit.
    fn prepare_replies(&mut self) {
        let client = &self.session.client;
        let limit = self.server.config.output_limit(client.output_class());
        let most = usize::try_from(limit.hard).ok().filter(|&most| most > 0);
        self.out
            .limit_to(most.map_or(usize::MAX, |most| most.max(KEEP_LITTLE + 1)));
        self.out.prepare(REPLY_ROOM);
    }

    /// Whether the replies, with what waits to be sent, are more than the client may leave unread.
    fn is_over_output_limit(&self) -> bool {
        let client = &self.session.client;
        let limit = self.server.config.output_limit(client.output_class());
        let bytes = self.out.len() + client.outbox.bytes();
        limit.hard > 0 && bytes as u64 >= limit.hard
    }

    /// Closes the connection of a client whose replies are too much, unless that has happened.
    fn close_for_output(&self) {
        if self.session.client.has(CLOSE_ASAP) {
            return;
        }
        let count = &self.server.stats.output_buffer_disconnections;
        count.fetch_add(1, Ordering::Relaxed);
        self.close_slow();
    }

    /// Closes the connection of a client that has too much to read.
    fn close_slow(&self) {
        // When it sees the end of the connection, nobody else sees the client any more.
        self.server.remove_client(&self.session.client);
        mail::close_slow(&self.session.client);
    }

    /// Sends the replies of a client that may get messages from other threads.
    fn flush_in_turn(&mut self) -> bool {
        if !self.out.is_empty() {
            self.server.stats.pour(&mut self.session.tally);
        }
        let client = &self.session.client;
        let limit = self.server.config.output_limit(client.output_class());
        match client.reply(&self.server, self.out.bytes(), limit) {
            Ok(true) => {
                self.out.clear(self.heat.room());
                true
            }
            Ok(false) => {
                self.close_slow();
                false
            }
            Err(error) => {
                log_verbose!("Error writing to client: {error}");
                false
            }
        }
    }

    /// Whether the client has sent too much of a request that is still not complete.
    fn over_query_limit(&self) -> bool {
        let held = self.carry.len() + self.parser.arrived() + self.parser.spans_memory();
        if held as u64 <= self.server.config.memory(id::CLIENT_QUERY_BUFFER_LIMIT) {
            return false;
        }
        log_warning!(
            "Closing client that reached max query buffer length: {}",
            self.session.client.address.peer
        );
        self.server
            .stats
            .query_buffer_disconnections
            .fetch_add(1, Ordering::Relaxed);
        true
    }

    /// What the client takes has changed, and counts where that is limited.
    fn count_memory(&self) {
        if client_eviction::is_on(&self.server) {
            client_eviction::changed(&self.server, &self.session.client);
        }
    }

    /// Shows other clients how much there is of input: before replies are sent, so that who has one
    /// finds nothing left of its request.
    fn show_input(&self) {
        let buffer = self.reader.as_ref().map(BufReader::buffer);
        let buffered = buffer.map_or(0, <[u8]>::len);
        // Of what is carried, the arguments that are complete count as such.
        let carried = (self.carry.len() - self.carried).saturating_sub(self.parser.position());
        let used = buffered + carried + self.parser.filling();
        let room = self.carry.capacity() + self.parser.memory() + self.parser.spans_memory();
        let client = &self.session.client;
        let announced = client.announced.load(Ordering::Relaxed);
        let room = room + buffer.map_or(0, |_| READ_BUFFER) + announced;
        client.query_used.store(used, Ordering::Relaxed);
        client.query_room.store(room, Ordering::Relaxed);
        client.argv.store(self.parser.finished(), Ordering::Relaxed);
    }

    /// Notes how much is still to come of a large argument that has no room yet: where one begins, has
    /// more room, and is complete.
    fn note_announced(&self) {
        let announced = &self.session.client.announced;
        announced.store(self.parser.announced(), Ordering::Relaxed);
    }

    /// Shows other clients the state of the reply buffer, once it has been sent, and when that was.
    fn show_replies(&mut self) {
        let now = self.session.clock.ms();
        self.fit_reply_buffer(now);
        let client = &self.session.client;
        client.last_interaction.store(now, Ordering::Relaxed);
        client.reply_peak.store(self.peak, Ordering::Relaxed);
        let (shown, room) = (&client.reply_room, self.out.capacity());
        let before = shown.load(Ordering::Relaxed);
        if room == before {
            return;
        }
        shown.store(room, Ordering::Relaxed);
        let stats = &self.server.stats;
        if room < before {
            stats.reply_shrinks.fetch_add(1, Ordering::Relaxed);
        } else if before > 0 {
            stats.reply_expands.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Now and then gives back the room that replies have not needed lately.
    fn fit_reply_buffer(&mut self, now: i64) {
        let testing = &self.server.testing;
        let lasts = testing.reply_peak_ms.load(Ordering::Relaxed);
        if lasts < 0 || now - self.peak_since <= lasts {
            return;
        }
        let needed = self.peak.max(REPLY_ROOM);
        if self.out.capacity() > 2 * needed && testing.reply_resizing.load(Ordering::Relaxed) {
            self.out.shrink(needed);
        }
        (self.peak, self.peak_since) = (self.out.len(), now);
    }
}
