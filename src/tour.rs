//! Two walks through the house: one `SET` from the socket to its reply, and one `BLPOP` from the
//! moment it waits to the moment it wakes. This module holds no code.
//!
//! # `SET greeting hello`
//!
//! 1. **Arrival.** The client sends `*3\r\n$3\r\nSET\r\n$8\r\ngreeting\r\n$5\r\nhello\r\n`. Its
//!    [`Connection`](crate::net::connection::Connection) has a `BufReader`; if the client was quiet, a
//!    worker of the [`pool`](crate::net::pool) has been blocked in its read, if it is one of many busy
//!    ones, a thread of the [`round`](crate::net::round) has just been told by one `poll` that there is
//!    something to read.
//! 2. **Parsing.** [`Parser`](crate::resp::Parser) walks over the buffer and notes where the three
//!    arguments lie. Nothing is copied: an argument is a slice of the buffer until the store has to own
//!    it. Were the request cut off here, its beginning would be put aside, and the walk go on with the
//!    next packet.
//! 3. **The row.** [`dispatch::execute`](crate::command::dispatch::execute) finds the row of `SET` in
//!    the [`table`](mod@crate::command::table). The row says everything that is known of the command: arity,
//!    flags, where its keys are, its categories, its handler.
//! 4. **Checks.** Arity; what the user may do; whether there is memory, a disk, enough replicas; whether
//!    this server may be written to at all; whether a pause is on. Between `MULTI` and `EXEC` the command
//!    would be copied and queued here.
//! 5. **Locks.** The row says that the first argument is the only key and is written to. A keyed hash of
//!    `greeting` picks one of 256 shards, whose `RwLock` is taken for writing. What other threads may
//!    have changed between the check and the lock, such as the role of the server, is looked at once
//!    more. From here until the locks go, everything happens at one instant as far as others can see.
//! 6. **The handler.** `set` in `command/strings.rs` reads the options and stores the value through the
//!    [`Keyspace`](crate::command::Keyspace). Key and value are short, so both live inside the
//!    [`Entry`](crate::store::entry::Entry), without an allocation of their own. If a snapshot is being
//!    taken and has not come to this key yet, the old value is encoded first
//!    ([`store::snapshot`](crate::store::snapshot)). The keyspace notes whose transaction watches the key,
//!    who tracks it, who listens to its events, and whether somebody waits for it. The handler writes
//!    `+OK\r\n` to the output buffer of the connection.
//! 7. **The log.** Still under the lock, the command is appended to the [`log`](crate::server::log) as
//!    it came, since `SET` without a relative time to live says what it does. If neither an append only
//!    file nor a replica reads the log, this is one atomic load.
//! 8. **Unlocking.** Messages to those who listen or track the key go out once the lock is released.
//! 9. **The reply.** When the buffer holds no further complete request, the replies of all that were in
//!    it leave in one write. With `appendfsync always` the connection first waits until the disk has what
//!    they promise ([`server::aof`](crate::server::aof)); one sync serves all connections that wait. What
//!    the socket does not take, a thread of the client's [`outbox`](crate::server::outbox) sends, within
//!    the limits for clients that do not read.
//!
//! Meanwhile a [`sender`](crate::server::replication::sender) for each replica reads the same bytes from
//! the log at its own offset, and the writer of the append only file takes them at its own.
//!
//! # `BLPOP jobs 0`, and an `RPUSH jobs 7` by somebody else
//!
//! 1. **Nothing there.** The command comes the way of `SET` up to its handler. That finds no list `jobs`
//!    and asks to wait with `Keyspace::block`, naming the keys, what it wants of them, and for how long.
//! 2. **A thread to wait on.** If the handler ran in the round, whose thread serves many, it says so
//!    and nothing has happened: the connection moves to a worker of its own and the command starts over.
//! 3. **Waiting.** Still under the lock of the shard in which the handler looked, the dispatcher
//!    registers a [`Waiter`](crate::server::blocking::Waiter) with the key. So nobody can bring an element
//!    between the look and the registration. Then the locks go, the replies to earlier commands are sent,
//!    and the worker sleeps on the waiter's own `Condvar`, until its deadline if it has one.
//! 4. **Somebody brings it.** `RPUSH` of another client locks the same shard, appends to the list, and
//!    the keyspace notes that `jobs` has become ready. Before its locks go, the dispatcher serves those
//!    who wait for the key, in the order in which they came.
//! 5. **Serving.** Under the waiter's own mutex it is still waiting, or it is over: timed out, unblocked,
//!    its client gone. Only a waiter that is still waiting is served, exactly once: the element is
//!    taken on its behalf, with its user's rights, the reply is put together, and an `LPOP jobs` follows the
//!    `RPUSH` into the log. An element is never taken for a client that cannot be told.
//! 6. **Waking.** The waiter is told, the locks go, and `RPUSH` gets its own reply, which counts the
//!    element although it has been taken already. The worker wakes, sends the reply (after the disk has it,
//!    where that is promised), and reads on.
//!
//! What ends a wait early goes the same way: a timeout, `CLIENT UNBLOCK`, `CLIENT KILL`, a server
//! that becomes a replica, and a client that has gone, which is noticed by a look at the sockets of those
//! who wait, ten times a second. Whichever comes first under the waiter's mutex wins, and the others find
//! that it is over.
