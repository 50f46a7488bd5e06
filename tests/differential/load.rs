//! The random commands as a load for tests of something else: nobody compares the replies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::families::{FAMILIES, Family, in_transactions};
use crate::random::Random;
use crate::wire::encode;

/// Families of which the commands say little about what is kept.
const LEFT_OUT: [&str; 3] = ["sort", "transactions", "pubsub"];

/// Name and arguments.
type Args = Vec<Vec<u8>>;

/// Which commands there are to be in a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// None that empty or swap whole databases.
    KeysOnly,
    /// All of them, and some in transactions.
    Everything,
}

/// So many commands, or some more when transactions come to them.
pub fn batch(random: &mut Random, length: usize, kind: Kind) -> Vec<Args> {
    let families: Vec<&Family> = FAMILIES
        .iter()
        .filter(|family| !LEFT_OUT.contains(&family.name))
        .collect();
    let mut cases = Vec::new();
    while cases.len() < length {
        let case = (random.of(&families).generate)(random);
        let name = case.args[0].to_ascii_uppercase();
        let whole = matches!(&name[..], b"FLUSHALL" | b"FLUSHDB" | b"SWAPDB");
        if kind == Kind::Everything || !whole {
            cases.push(case);
        }
    }
    if kind == Kind::Everything && random.once_in(2) {
        cases = in_transactions(random, cases);
    }
    cases.into_iter().map(|case| case.args).collect()
}

/// Whether this is a command of which Redis does not tell its replicas all that it does: `BITFIELD`
/// makes a string longer also where `OVERFLOW FAIL` then has it change nothing, and `PFADD` has added
/// elements when it finds, at a later one, that the string is no proper HyperLogLog.
pub fn untold(args: &[Vec<u8>]) -> bool {
    let is = |name: &[u8]| args[0].eq_ignore_ascii_case(name);
    is(b"PFADD") && args.len() > 3
        || is(b"BITFIELD") && args.iter().any(|arg| arg.eq_ignore_ascii_case(b"FAIL"))
}

/// Writers that go on until they are told that it is over, also when their server is killed and
/// comes back, or becomes a replica and refuses them.
#[derive(Default)]
pub struct Writers {
    /// No more batches after this one.
    pub over: AtomicBool,
    /// Batches that the server has taken.
    pub batches: AtomicU64,
    /// Time between two batches, microseconds; as fast as they can if it is 0.
    pub pause: AtomicU64,
}

/// Tells writers that it is over when it goes, also because a test fails.
pub struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Commands in each batch of [`Writers`].
const BATCH: usize = 20;

impl Writers {
    /// Ends the writers when this goes: a scope waits for its threads before a failure is told.
    pub fn end(&self) -> End<'_> {
        End(&self.over)
    }

    /// Keeps writing to the server on this port of the loopback. A command for which `skip` holds
    /// is left out.
    pub fn run(&self, port: u16, seed: u64, skip: fn(&[Vec<u8>]) -> bool) {
        let mut random = Random::new(seed);
        while !self.over.load(Relaxed) {
            let done = self.write(port, &mut random, skip);
            if done.is_err() {
                // It may be down for a moment.
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn write(
        &self,
        port: u16,
        random: &mut Random,
        skip: fn(&[Vec<u8>]) -> bool,
    ) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        while !self.over.load(Relaxed) {
            // Nothing is answered but that all has been read: a reply could be cut in two.
            let mut bytes = encode(&["CLIENT", "REPLY", "OFF"]);
            for args in batch(random, BATCH, Kind::Everything) {
                if !skip(&args) {
                    bytes.extend(encode(&args));
                }
            }
            bytes.extend(encode(&["CLIENT", "REPLY", "ON"]));
            stream.write_all(&bytes)?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            assert_eq!(&answer, b"+OK\r\n", "the answer to CLIENT REPLY ON");
            self.batches.fetch_add(1, Relaxed);
            let pause = self.pause.load(Relaxed);
            if pause > 0 {
                std::thread::sleep(Duration::from_micros(pause));
            }
        }
        Ok(())
    }
}
