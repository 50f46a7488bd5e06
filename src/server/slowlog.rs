//! The slow log: the last commands that took longer than `slowlog-log-slower-than`.
//!
//! What is kept of a command is bounded, whatever its arguments were.
//! <https://redis.io/docs/latest/commands/slowlog/>

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::resp::Args;
use crate::resp::request::HEAD;
use crate::util::clock::now_ms;

/// Arguments kept of a command.
const MAX_ARGS: usize = 32;
/// Bytes kept of an argument.
const MAX_BYTES: usize = 128;
/// What stands in the place of a secret.
const REDACTED: &[u8] = b"(redacted)";

// Of an argument that has been taken out, enough is left.
const _: () = assert!(HEAD >= MAX_BYTES);

/// The log.
#[derive(Default)]
pub struct Slowlog {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The newest first.
    entries: VecDeque<Arc<Entry>>,
    next: u64,
}

/// One slow command.
#[derive(Debug)]
pub struct Entry {
    /// Its number, which grows by one from entry to entry.
    pub id: u64,
    /// When it was done, unix seconds.
    pub time: i64,
    /// Microseconds it took.
    pub micros: u64,
    /// Its arguments, as far as they are kept.
    pub args: Vec<Box<[u8]>>,
    /// Whose it was: `ip:port`.
    pub peer: String,
    /// What the client called itself.
    pub name: Vec<u8>,
}

impl Slowlog {
    /// Adds a command that has taken so many microseconds; at most `most` are kept.
    pub fn push(
        &self,
        most: usize,
        micros: u64,
        args: Vec<Box<[u8]>>,
        peer: String,
        name: Vec<u8>,
    ) {
        let mut state = self.state();
        let entry = Entry {
            id: state.next,
            time: now_ms() / 1000,
            micros,
            args,
            peer,
            name,
        };
        state.next += 1;
        state.entries.push_front(Arc::new(entry));
        // As in Redis a lower limit shows from the next slow command on.
        state.entries.truncate(most);
    }

    /// The newest entries, at most so many.
    pub fn newest(&self, most: usize) -> Vec<Arc<Entry>> {
        self.state().entries.iter().take(most).cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.state().entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all entries. Numbers go on.
    pub fn reset(&self) {
        let gone = std::mem::take(&mut self.state().entries);
        // Freed without the lock, which it is by now.
        drop(gone);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept of a command's arguments, of which those at `secret` are not to be shown.
pub fn shorten(args: &Args<'_>, secret: &[usize]) -> Vec<Box<[u8]>> {
    let most = if args.len() > MAX_ARGS {
        MAX_ARGS - 1
    } else {
        args.len()
    };
    let mut kept: Vec<Box<[u8]>> = Vec::with_capacity(most + 1);
    for (at, arg) in args.from(0).enumerate().take(most) {
        if secret.contains(&at) {
            kept.push(REDACTED.into());
            continue;
        }
        // It may have been taken out, but for its head.
        let more = args.sent(at).saturating_sub(MAX_BYTES);
        let mut word = arg[..arg.len().min(MAX_BYTES)].to_vec();
        if more > 0 {
            word.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
        }
        kept.push(word.into());
    }
    if args.len() > most {
        let more = args.len() - most;
        kept.push(format!("... ({more} more arguments)").into_bytes().into());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn short(words: &[Vec<u8>], secret: &[usize]) -> Vec<String> {
        let mut owned = OwnedArgs::new(words);
        let kept = shorten(&owned.args(), secret);
        let words = kept.iter().map(|word| String::from_utf8_lossy(word));
        words.map(|word| word.into_owned()).collect()
    }

    #[test]
    fn long_lists_and_words_are_shortened() {
        let numbers: Vec<Vec<u8>> = (0..32).map(|n: u8| n.to_string().into_bytes()).collect();
        assert_eq!(short(&numbers, &[]).len(), 32);
        assert_eq!(short(&numbers, &[])[31], "31");
        let numbers: Vec<Vec<u8>> = (0..33).map(|n: u8| n.to_string().into_bytes()).collect();
        let kept = short(&numbers, &[0]);
        assert_eq!(kept.len(), 32);
        assert_eq!((&*kept[0], &*kept[30]), ("(redacted)", "30"));
        assert_eq!(kept[31], "... (2 more arguments)");
        let kept = short(&[vec![b'a'; 128], vec![b'b'; 129]], &[]);
        assert_eq!(kept[0], "a".repeat(128));
        assert_eq!(kept[1], "b".repeat(128) + "... (1 more bytes)");
    }

    #[test]
    fn numbers_go_on_and_limits_hold() {
        let log = Slowlog::default();
        let push = |most| log.push(most, 7, Vec::new(), String::new(), Vec::new());
        (0..5).for_each(|_| push(3));
        let ids = |most| -> Vec<u64> { log.newest(most).iter().map(|entry| entry.id).collect() };
        assert_eq!((ids(9), ids(1), ids(0)), (vec![4, 3, 2], vec![4], vec![]));
        push(1);
        assert_eq!(ids(9), [5]);
        push(0);
        assert!(log.is_empty());
        push(3);
        assert_eq!(ids(9), [7]);
        log.reset();
        push(3);
        assert_eq!(ids(9), [8]);
    }
}
