//! The outbox: bytes for a client that its socket would not take at once.
//!
//! A session writes its replies itself, without blocking, as long as the socket takes them. What
//! the socket refuses goes here, and a thread of its own writes it while the session goes on
//! reading; so a client that sends a million commands before it reads the first reply is served,
//! and one that never reads hurts nobody. The thread ends when the outbox is empty.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Server;
use super::client::{Client, Socket};
use super::config::value::OutputLimit;
use crate::sys;
use crate::util::clock::now_ms;

/// Stack of a writer thread, in bytes.
const STACK: usize = 128 << 10;
/// Bytes handed to the socket at a time.
const SLICE: usize = 64 << 10;

/// Bytes waiting for a client.
pub struct Outbox {
    socket: Socket,
    state: Mutex<State>,
    bytes: AtomicUsize,
    chunks: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// Buffers, each with the number of its first bytes that have been sent.
    queue: VecDeque<(Vec<u8>, usize)>,
    /// Whether a thread is writing.
    active: bool,
    closed: bool,
    /// Whether the connection ends once everything is written.
    last: bool,
    /// Since when the soft limit is exceeded.
    soft_since: Option<Instant>,
}

impl Outbox {
    /// An empty outbox.
    pub fn new(socket: Socket) -> Outbox {
        Outbox {
            socket,
            state: Mutex::default(),
            bytes: AtomicUsize::new(0),
            chunks: AtomicUsize::new(0),
        }
    }

    /// Bytes waiting.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Buffers waiting.
    pub fn chunks(&self) -> usize {
        self.chunks.load(Ordering::Relaxed)
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.bytes() + self.chunks() * size_of::<Vec<u8>>()
    }

    /// Whether anything is waiting (or being written), in which case later bytes must queue up
    /// behind it. Costs one atomic load when not.
    pub fn is_busy(&self) -> bool {
        self.bytes() > 0
    }

    /// Ends the writer and drops what is waiting.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.queue.clear();
    }

    /// Nothing more will come: once what is waiting has been written, the connection ends and its
    /// client is removed. Returns whether nothing is waiting.
    pub fn finish(&self) -> bool {
        let mut state = self.lock();
        state.last = true;
        !state.active
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Queues a buffer, of which the first `sent` bytes are not to be sent (again), behind what is
    /// waiting and sees to it that it is written. Returns `false` when the client is over its limit and is to be closed.
    pub fn enqueue(
        self: &Arc<Self>,
        server: &Arc<Server>,
        bytes: Vec<u8>,
        sent: usize,
        limit: OutputLimit,
    ) -> bool {
        let outbox = &self.outbox;
        let mut state = outbox.lock();
        if state.closed {
            return false;
        }
        let more = bytes.len() - sent;
        let total = outbox.bytes.fetch_add(more, Ordering::Relaxed) + more;
        outbox.chunks.fetch_add(1, Ordering::Relaxed);
        state.queue.push_back((bytes, sent));
        if over_limit(&mut state, total, limit) {
            server
                .stats
                .output_buffer_disconnections
                .fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if !state.active {
            let (client, server) = (self.clone(), server.clone());
            let name = format!("writer-{}", self.id);
            let thread = std::thread::Builder::new().name(name).stack_size(STACK);
            // Without a thread the client cannot be served any further.
            if thread.spawn(move || client.write_outbox(&server)).is_err() {
                return false;
            }
            state.active = true;
        }
        true
    }

    /// Whether more than the soft limit has been waiting for too long.
    pub fn is_over_soft_limit(&self, limit: OutputLimit) -> bool {
        self.outbox.is_busy() && {
            let mut state = self.outbox.lock();
            over_limit(&mut state, self.outbox.bytes(), limit)
        }
    }

    /// Writes everything, waiting for the socket where necessary; it may be in either mode.
    fn send_all(&self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            // In slices, so that a slow reader is seen to be reading.
            match sys::send_blocking(&self.socket, &bytes[..bytes.len().min(SLICE)]) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    self.last_interaction.store(now_ms(), Ordering::Relaxed);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    sys::wait_writable(&self.socket, -1)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The writer thread: writes until the outbox is empty.
    fn write_outbox(&self, server: &Server) {
        let outbox = &self.outbox;
        let mut state = outbox.lock();
        while !state.closed
            && let Some((chunk, sent)) = state.queue.pop_front()
        {
            drop(state);
            let written = self.send_all(&chunk[sent..]);
            server.stats.sent(chunk.len() - sent);
            state = outbox.lock();
            outbox
                .bytes
                .fetch_sub(chunk.len() - sent, Ordering::Relaxed);
            outbox.chunks.fetch_sub(1, Ordering::Relaxed);
            if written.is_err() {
                state.closed = true;
                let _ = sys::shutdown(&outbox.socket);
            }
        }
        state.queue.clear();
        if state.closed {
            outbox.bytes.store(0, Ordering::Relaxed);
            outbox.chunks.store(0, Ordering::Relaxed);
        }
        state.active = false;
        state.soft_since = None;
        if state.last {
            let _ = sys::shutdown(&outbox.socket);
            server.clients.remove(self.id);
        }
    }
}

fn over_limit(state: &mut State, bytes: usize, limit: OutputLimit) -> bool {
    let bytes = bytes as u64;
    if limit.hard > 0 && bytes >= limit.hard {
        return true;
    }
    if limit.soft == 0 || bytes < limit.soft {
        state.soft_since = None;
        return false;
    }
    let since = *state.soft_since.get_or_insert_with(Instant::now);
    since.elapsed().as_secs() >= limit.soft_seconds
}
