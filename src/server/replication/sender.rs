//! What a replica is sent, by a thread of its own: the answer to its request, a copy of the data set
//! where it needs one, and the stream.
//!
//! The thread sends what has come together, lets more come together for a moment, and sends that; so
//! a client that writes wakes it once in a millisecond and not for every command. Where somebody
//! waits for replicas to have something, it does not take that moment.
//!
//! It ends when the replica goes; whoever removes it shuts its connection down.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::replicas::{Phase, Replica};
use crate::server::Server;
use crate::server::client::CLOSE_ASAP;
use crate::server::eviction::Counted;
use crate::server::log::stream::Cursor;
use crate::server::threads;
use crate::sys;
use crate::util::clock::steady_ms;
use crate::{log_notice, log_warning};

/// Stack of the thread, in bytes.
const STACK: usize = 128 << 10;
/// Bytes handed to the socket at a time.
const SLICE: usize = 256 << 10;
/// For how long the stream comes together.
const GATHER: Duration = Duration::from_millis(1);
/// How often one that waits is told that the server is there.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Starts the thread.
///
/// # Errors
/// There is none to be had.
pub(super) fn start(server: &Arc<Server>, replica: &Arc<Replica>) -> io::Result<()> {
    let name = format!("replica-{}", replica.client.id);
    let (server, replica) = (server.clone(), replica.clone());
    let of = (server.clone(), replica.clone());
    let body = move || {
        let sender = Sender {
            server: &server,
            replica: &replica,
        };
        let _ = sender.run();
    };
    // However it ends, the replica is to go: its session sees the end of its connection.
    let after = move || {
        let (server, replica) = of;
        let _ = sys::shutdown(&replica.client.socket);
        server
            .replication
            .replicas
            .remove(&server, replica.client.id);
    };
    threads::expendable(&name, STACK, body, after)
}

/// What is next for a replica.
enum Next {
    Bytes(Vec<u8>),
    Piece(Arc<[u8]>),
    /// All pieces have been sent.
    Whole,
    File(Arc<File>, u64),
    Stream(Cursor),
    /// Nothing, for as long as a keep-alive takes.
    Nothing(Phase),
}

struct Sender<'s> {
    server: &'s Server,
    replica: &'s Replica,
}

impl Sender<'_> {
    fn run(&self) -> io::Result<()> {
        while let Some(next) = self.next() {
            self.server.testing.stand_still();
            threads::fall_over("replica");
            match next {
                Next::Bytes(bytes) => self.send(&bytes)?,
                Next::Piece(piece) => {
                    self.send(&piece)?;
                    self.let_go(piece.len());
                }
                Next::File(file, length) => self.send_file(&file, length)?,
                Next::Whole => {
                    log_notice!(
                        "Streamed RDB transfer with replica {} succeeded (socket). Waiting for REPLCONF ACK from slave to enable streaming",
                        self.replica.name()
                    );
                    if !self.replica.put_online() {
                        return Ok(());
                    }
                }
                Next::Stream(cursor) => return self.stream(cursor),
                // Not between the parts of a copy.
                Next::Nothing(Phase::Waiting | Phase::Saving) => self.send(b"\n")?,
                Next::Nothing(_) => {}
            }
        }
        Ok(())
    }

    /// Waits for what is next; `None` when the replica is gone.
    fn next(&self) -> Option<Next> {
        let mut state = self.replica.state();
        loop {
            if state.phase == Phase::Gone || self.replica.client.has(CLOSE_ASAP) {
                return None;
            }
            if !state.head.is_empty() {
                return Some(Next::Bytes(std::mem::take(&mut state.head)));
            }
            match state.phase {
                Phase::Streaming => {
                    if let Some(piece) = state.pieces.pop_front() {
                        return Some(Next::Piece(piece));
                    }
                    if state.whole {
                        return Some(Next::Whole);
                    }
                }
                Phase::Sending => {
                    if let Some((file, length)) = state.file.take() {
                        return Some(Next::File(file, length));
                    }
                }
                Phase::Online if !state.holds_back => return state.cursor.map(Next::Stream),
                _ => {}
            }
            let woken = self.replica.changed.wait_timeout(state, KEEP_ALIVE);
            let (guard, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() && state.head.is_empty() {
                return Some(Next::Nothing(state.phase));
            }
        }
    }

    /// A piece has been sent: there is room for another.
    fn let_go(&self, bytes: usize) {
        let mut state = self.replica.state();
        state.held = state.held.saturating_sub(bytes);
        drop(state);
        self.replica.changed.notify_all();
    }

    /// Sends a copy from the disk, and lets the replica follow.
    fn send_file(&self, file: &File, length: u64) -> io::Result<()> {
        let head = format!("${length}\r\n");
        self.send(head.as_bytes()).inspect_err(|error| {
            log_warning!("Write error sending RDB preamble to replica: {error}");
        })?;
        let mut buffer = vec![0; SLICE.min(length as usize)];
        let mut at = 0;
        while at < length {
            let most = buffer.len().min((length - at) as usize);
            let read = match file.read_at(&mut buffer[..most], at) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other,
            };
            let read = read.inspect_err(|error| {
                log_warning!("Read error sending DB to replica: {error}");
            })?;
            self.send(&buffer[..read]).inspect_err(|error| {
                log_warning!("Write error sending DB to replica: {error}");
            })?;
            at += read as u64;
        }
        if self.replica.put_online() {
            return Ok(());
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// Sends the stream from where the replica is.
    fn stream(&self, cursor: Cursor) -> io::Result<()> {
        let log = &self.server.log;
        let mut buffer = Vec::new();
        // What has been read is still to be sent.
        let mut counted = Counted::new(self.server.eviction.sending());
        while !self.replica.is_gone() && !log.is_closed() {
            buffer.clear();
            if log.read(cursor, SLICE, &mut buffer, KEEP_ALIVE) == 0 {
                buffer.shrink_to(0);
                counted.set(0);
                continue;
            }
            counted.set(buffer.capacity());
            threads::fall_over("replica");
            self.send(&buffer)?;
            // A replica that has much to catch up with gets it at once.
            if buffer.len() < SLICE {
                log.gather(GATHER);
            }
        }
        Ok(())
    }

    /// Sends everything, however long that takes, unless the connection ends.
    fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        let (socket, stuck_since) = (&self.replica.client.socket, &self.replica.stuck_since);
        stuck_since.store(steady_ms().max(1), Ordering::Relaxed);
        while !bytes.is_empty() {
            match sys::send_nonblocking(socket, &bytes[..bytes.len().min(SLICE)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    stuck_since.store(steady_ms().max(1), Ordering::Relaxed);
                    self.server.stats.sent(sent);
                    self.server
                        .stats
                        .repl_output_bytes
                        .fetch_add(sent as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sys::wait_writable(socket, -1)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        stuck_since.store(0, Ordering::Relaxed);
        Ok(())
    }
}
