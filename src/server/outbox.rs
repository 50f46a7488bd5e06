//! The outbox: bytes for a client that its socket would not take at once.
//!
//! A session writes its replies itself, without blocking, as long as the socket takes them. What
//! the socket refuses goes here, and a thread of its own writes it while the session goes on
//! reading; so a client that sends a million commands before it reads the first reply is served,
//! and one that never reads hurts nobody. The thread ends when the outbox is empty.
//!
//! Messages that other threads have for a client (see [`super::mail`]) go through here as well.
//! From the moment a client can get any, everything for it is sent under the lock of its outbox,
//! its replies included, so that no message lands in the middle of another one. Clients that never
//! can do without the lock.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
/// Messages up to this size are put together, which costs less than to share each of them.
const SMALL: usize = 1 << 10;
/// Size up to which messages are put together.
const GATHER: usize = 16 << 10;
/// A buffer of messages up to this size is used again.
const SPARE: usize = 4 << 10;
/// Buffers that are sent with one call.
const VECTOR: usize = 64;

/// Bytes waiting for a client.
pub struct Outbox {
    socket: Socket,
    state: Mutex<State>,
    bytes: AtomicUsize,
    /// Bytes of the buffers besides those that wait: what has been sent of them, and room.
    spent: AtomicUsize,
    chunks: AtomicUsize,
    /// Whether other threads may have messages for the client.
    pushable: AtomicBool,
}

/// Bytes to send.
enum Chunk {
    Own(Vec<u8>),
    /// A message that goes to other clients as well.
    Shared(Arc<[u8]>),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Own(bytes) => bytes,
            Chunk::Shared(bytes) => bytes,
        }
    }

    /// Bytes of memory besides those behind the first `sent`.
    fn spent(&self, sent: usize) -> usize {
        match self {
            Chunk::Own(bytes) => bytes.capacity() - (bytes.len() - sent),
            Chunk::Shared(_) => sent,
        }
    }
}

#[derive(Default)]
struct State {
    /// Buffers, each with the number of its first bytes that have been sent.
    queue: VecDeque<(Chunk, usize)>,
    /// An empty buffer for messages.
    spare: Vec<u8>,
    /// Messages that must not go out before the replies that the session is still holding.
    held: Option<Vec<u8>>,
    /// Whether the client has been served out of a blocking command and its thread has not taken the
    /// reply yet: messages wait for that reply.
    served: bool,
    /// The thread that has last taken it upon itself to send what is queued.
    courier: u64,
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
            spent: AtomicUsize::new(0),
            chunks: AtomicUsize::new(0),
            pushable: AtomicBool::new(false),
        }
    }

    /// Whether other threads may have messages for the client.
    pub fn is_pushable(&self) -> bool {
        self.pushable.load(Ordering::Relaxed)
    }

    /// The session is about to tell the client that it will get messages: whatever comes from now
    /// on waits until the session has sent that reply. Called by the session's own thread only.
    pub fn hold(&self) {
        let mut state = self.lock();
        state.held.get_or_insert_default();
        self.pushable.store(true, Ordering::Relaxed);
    }

    /// The client, which is blocked, has been served: whatever comes from now on waits until the
    /// session has sent the reply. Called by whoever serves it.
    pub fn hold_for_service(&self) {
        let mut state = self.lock();
        state.held.get_or_insert_default();
        state.served = true;
    }

    /// The session has the reply, which goes out next.
    pub fn end_service(&self) {
        self.lock().served = false;
    }

    /// Takes the messages that wait for the session's replies, to be put among them.
    pub fn take_held(&self) -> Vec<u8> {
        let mut state = self.lock();
        let held = state.held.as_mut().map(std::mem::take).unwrap_or_default();
        self.bytes.fetch_sub(held.len(), Ordering::Relaxed);
        held
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
        let spent = self.spent.load(Ordering::Relaxed);
        self.bytes() + spent + self.chunks() * size_of::<Vec<u8>>()
    }

    /// Appends to a buffer, of which the first bytes may have been sent.
    fn gather(&self, buffer: &mut Vec<u8>, bytes: &[u8]) {
        let before = buffer.capacity() - buffer.len();
        buffer.extend_from_slice(bytes);
        let more = (buffer.capacity() - buffer.len()).wrapping_sub(before);
        self.spent.fetch_add(more, Ordering::Relaxed);
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
        state.held = None;
    }

    /// Nothing more will come: once what is waiting has been written, the connection ends and its
    /// client is removed. Returns whether nothing is waiting.
    pub fn finish(&self) -> bool {
        let mut state = self.lock();
        state.last = true;
        // A message that has come since the last reply is not written any more.
        state.closed |= !state.active;
        !state.active
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a message for a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Posted {
    /// It is queued.
    Queued,
    /// It is queued, and the caller has to call [`Client::dispatch`] in a while.
    Dispatch,
    /// The client has gone.
    Gone,
    /// It was one too many: the caller has to close the client.
    OverLimit,
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
        let mut state = self.outbox.lock();
        self.add(server, &mut state, bytes, sent, limit) && self.start_writer(server, &mut state)
    }

    /// Queues a message from another client, which the thread `courier` will send.
    pub fn post(
        &self,
        server: &Server,
        message: &Arc<[u8]>,
        courier: u64,
        limit: OutputLimit,
    ) -> Posted {
        let outbox = &self.outbox;
        let mut guard = outbox.lock();
        let state = &mut *guard;
        if state.closed {
            return Posted::Gone;
        }
        let len = message.len();
        let total = outbox.bytes.fetch_add(len, Ordering::Relaxed) + len;
        if let Some(held) = &mut state.held {
            held.extend_from_slice(message);
        } else if let Some((Chunk::Own(last), _)) = state.queue.back_mut()
            && last.len() + len <= GATHER
        {
            outbox.gather(last, message);
        } else {
            let chunk = if len <= SMALL {
                let mut gathered = std::mem::take(&mut state.spare);
                gathered.extend_from_slice(message);
                Chunk::Own(gathered)
            } else {
                Chunk::Shared(message.clone())
            };
            outbox.chunks.fetch_add(1, Ordering::Relaxed);
            outbox.spent.fetch_add(chunk.spent(0), Ordering::Relaxed);
            state.queue.push_back((chunk, 0));
        }
        if over_limit(state, total, limit) {
            note_over_limit(server);
            return Posted::OverLimit;
        }
        if state.active || state.courier == courier {
            return Posted::Queued;
        }
        state.courier = courier;
        Posted::Dispatch
    }

    /// Sends what is queued as far as the socket takes it, and leaves the rest to a writer.
    pub fn dispatch(self: &Arc<Self>, server: &Arc<Server>) {
        // Another thread, or another client's turn on this one, has sent it along with its own.
        if !self.outbox.is_busy() {
            return;
        }
        let mut state = self.outbox.lock();
        self.send_queue(server, &mut state);
    }

    /// Sends replies of the session of a client that may get messages, behind what is queued.
    /// `Ok(false)` when the client is over its limit and is to be closed.
    ///
    /// # Errors
    /// The socket's.
    pub fn reply(
        self: &Arc<Self>,
        server: &Arc<Server>,
        bytes: &[u8],
        limit: OutputLimit,
    ) -> std::io::Result<bool> {
        let mut state = self.outbox.lock();
        let mut sent = 0;
        self.send_queue(server, &mut state);
        if state.closed {
            return Err(ErrorKind::NotConnected.into());
        }
        if state.queue.is_empty() && !state.active {
            while sent < bytes.len() {
                match sys::send_nonblocking(&self.socket, &bytes[sent..]) {
                    Ok(written) => sent += written,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            if sent > 0 {
                server.stats.sent(sent);
            }
        }
        let mut within = true;
        if sent < bytes.len() {
            within = self.add(server, &mut state, bytes[sent..].to_vec(), 0, limit);
        }
        if !state.served
            && let Some(held) = state.held.take()
            && !held.is_empty()
        {
            // Counted when it came.
            self.outbox.bytes.fetch_sub(held.len(), Ordering::Relaxed);
            within &= self.add(server, &mut state, held, 0, limit);
        }
        self.send_queue(server, &mut state);
        Ok(within)
    }

    /// Adds to the queue. Returns `false` when the client is over its limit or gone.
    fn add(
        &self,
        server: &Server,
        state: &mut State,
        bytes: Vec<u8>,
        sent: usize,
        limit: OutputLimit,
    ) -> bool {
        let outbox = &self.outbox;
        if state.closed {
            return false;
        }
        let more = bytes.len() - sent;
        let total = outbox.bytes.fetch_add(more, Ordering::Relaxed) + more;
        if let Some((Chunk::Own(last), _)) = state.queue.back_mut()
            && more <= SMALL
            && last.len() + more <= GATHER
        {
            outbox.gather(last, &bytes[sent..]);
        } else {
            let chunk = Chunk::Own(bytes);
            outbox.chunks.fetch_add(1, Ordering::Relaxed);
            outbox.spent.fetch_add(chunk.spent(sent), Ordering::Relaxed);
            state.queue.push_back((chunk, sent));
        }
        if over_limit(state, total, limit) {
            note_over_limit(server);
            return false;
        }
        true
    }

    /// Sees to it that a thread writes what is queued. Returns `false` when there is none to be
    /// had, without which the client cannot be served any further.
    fn start_writer(self: &Arc<Self>, server: &Arc<Server>, state: &mut State) -> bool {
        if !state.active {
            let (client, server) = (self.clone(), server.clone());
            let name = format!("writer-{}", self.id);
            let thread = std::thread::Builder::new().name(name).stack_size(STACK);
            state.active = thread.spawn(move || client.write_outbox(&server)).is_ok();
        }
        state.active
    }

    /// Sends from the queue without waiting; what the socket does not take is left to a writer.
    fn send_queue(self: &Arc<Self>, server: &Arc<Server>, state: &mut State) {
        let outbox = &self.outbox;
        state.courier = 0;
        while !state.active && !state.closed && !state.queue.is_empty() {
            let sent = match state.queue.front() {
                Some((chunk, from)) if state.queue.len() == 1 => {
                    sys::send_nonblocking(&outbox.socket, &chunk.bytes()[*from..])
                }
                _ => {
                    let slices: Vec<IoSlice<'_>> = state
                        .queue
                        .iter()
                        .take(VECTOR)
                        .map(|(chunk, from)| IoSlice::new(&chunk.bytes()[*from..]))
                        .collect();
                    sys::sendv_nonblocking(&outbox.socket, &slices)
                }
            };
            match sent {
                Ok(sent) => self.note_sent(server, state, sent),
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock
                        && self.start_writer(server, state) => {}
                Err(_) => {
                    state.closed = true;
                    state.queue.clear();
                    let _ = sys::shutdown(&outbox.socket);
                }
            }
        }
        if state.queue.is_empty() && !state.active {
            state.soft_since = None;
        }
    }

    /// Takes what has been sent off the queue.
    fn note_sent(&self, server: &Server, state: &mut State, mut sent: usize) {
        server.stats.sent(sent);
        self.outbox.bytes.fetch_sub(sent, Ordering::Relaxed);
        while sent > 0
            && let Some((chunk, from)) = state.queue.front_mut()
        {
            let rest = chunk.bytes().len() - *from;
            let spent = &self.outbox.spent;
            if sent < rest {
                *from += sent;
                spent.fetch_add(sent, Ordering::Relaxed);
                return;
            }
            sent -= rest;
            spent.fetch_sub(chunk.spent(*from), Ordering::Relaxed);
            self.outbox.chunks.fetch_sub(1, Ordering::Relaxed);
            if let Some((Chunk::Own(mut buffer), _)) = state.queue.pop_front()
                && state.queue.is_empty()
                && buffer.capacity() <= SPARE
            {
                buffer.clear();
                state.spare = buffer;
            }
        }
    }

    /// Whether more than the soft limit has been waiting for too long, or more than a hard one that has
    /// been lowered.
    pub fn is_over_limit(&self, limit: OutputLimit) -> bool {
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
            let rest = &chunk.bytes()[sent..];
            let written = self.send_all(rest);
            server.stats.sent(rest.len());
            state = outbox.lock();
            outbox.bytes.fetch_sub(rest.len(), Ordering::Relaxed);
            let spent = chunk.spent(sent);
            outbox.spent.fetch_sub(spent, Ordering::Relaxed);
            outbox.chunks.fetch_sub(1, Ordering::Relaxed);
            if written.is_err() {
                state.closed = true;
                let _ = sys::shutdown(&outbox.socket);
            }
        }
        // However long it has been, its memory goes with what was in it.
        state.queue = VecDeque::new();
        if state.closed {
            outbox.bytes.store(0, Ordering::Relaxed);
            outbox.spent.store(0, Ordering::Relaxed);
            outbox.chunks.store(0, Ordering::Relaxed);
        }
        state.active = false;
        state.courier = 0;
        state.soft_since = None;
        if state.last {
            // Whoever publishes asks for this lock while it holds those of the subscriptions.
            drop(state);
            let _ = sys::shutdown(&outbox.socket);
            server.remove_client(self);
        }
    }
}

fn note_over_limit(server: &Server) {
    server
        .stats
        .output_buffer_disconnections
        .fetch_add(1, Ordering::Relaxed);
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
    // To be above it for a moment is never too long.
    since.elapsed().as_secs() >= limit.soft_seconds.max(1)
}
