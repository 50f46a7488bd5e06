//! What has been refused lately, as `ACL LOG` tells it.

use std::collections::VecDeque;

/// Milliseconds within which the same refusal is counted rather than noted once more.
const TOGETHER_MS: i64 = 60_000;
/// So many of the latest entries are searched for the same refusal.
const SEARCHED: usize = 10;

/// What was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A command.
    Command,
    /// A key.
    Key,
    /// A channel.
    Channel,
    /// A user's name and password.
    Auth,
}

impl Reason {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Auth => "auth",
        }
    }
}

/// Where it was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// A command of its own.
    TopLevel,
    /// A command of a transaction.
    Multi,
}

impl Context {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
        }
    }
}

/// One refusal, or several alike.
#[derive(Clone, Debug)]
pub struct Entry {
    /// How often it happened.
    pub count: u64,
    /// What was refused.
    pub reason: Reason,
    /// Where.
    pub context: Context,
    /// The command, key or channel; for a failed login the command that tried.
    pub object: Vec<u8>,
    /// The user, for a failed login the name that was given.
    pub user: Vec<u8>,
    /// The client that was refused last, as `CLIENT LIST` shows it.
    pub client: Vec<u8>,
    /// Its number, which no other entry has.
    pub id: u64,
    /// When it happened first, unix milliseconds.
    pub created: i64,
    /// When it happened last.
    pub updated: i64,
}

impl Entry {
    fn is_like(&self, other: &Entry) -> bool {
        self.reason == other.reason
            && self.context == other.context
            && (self.updated - other.updated).abs() <= TOGETHER_MS
            && self.object == other.object
            && self.user == other.user
    }
}

/// The latest refusals, the newest first.
#[derive(Default)]
pub struct Refusals {
    entries: VecDeque<Entry>,
    next: u64,
}

impl Refusals {
    /// Notes a refusal, and forgets the oldest beyond `most`. Count and number are given here.
    pub fn add(&mut self, mut entry: Entry, most: usize) {
        let mut latest = self.entries.iter().take(SEARCHED);
        if let Some(at) = latest.position(|known| known.is_like(&entry)) {
            if let Some(mut known) = self.entries.remove(at) {
                known.count += 1;
                known.client = entry.client;
                known.updated = entry.updated;
                self.entries.push_front(known);
            }
            return;
        }
        entry.count = 1;
        entry.id = self.next;
        self.next += 1;
        self.entries.push_front(entry);
        self.entries.truncate(most);
    }

    /// The latest, up to so many.
    pub fn latest(&self, most: usize) -> Vec<Entry> {
        self.entries.iter().take(most).cloned().collect()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(object: &str, at: i64) -> Entry {
        Entry {
            count: 0,
            reason: Reason::Key,
            context: Context::TopLevel,
            object: object.into(),
            user: b"alice".to_vec(),
            client: format!("at {at}").into_bytes(),
            id: 0,
            created: at,
            updated: at,
        }
    }

    #[test]
    fn what_happens_again_is_counted() {
        let mut log = Refusals::default();
        log.add(entry("a", 0), 10);
        log.add(entry("b", 1), 10);
        log.add(entry("a", 60_000), 10);
        let seen = log.latest(10);
        assert_eq!(seen.len(), 2);
        assert_eq!((seen[0].count, seen[0].id), (2, 0));
        assert_eq!((seen[0].created, seen[0].updated), (0, 60_000));
        assert_eq!(seen[0].client, b"at 60000");
        // Too long ago for that.
        log.add(entry("a", 120_001), 10);
        assert_eq!(log.latest(10).len(), 3);
        assert_eq!(log.latest(1)[0].id, 2);
    }

    #[test]
    fn old_ones_make_room() {
        let mut log = Refusals::default();
        for at in 0..10 {
            log.add(entry(&at.to_string(), at), 3);
        }
        let ids: Vec<u64> = log.latest(10).iter().map(|entry| entry.id).collect();
        assert_eq!(ids, [9, 8, 7]);
        log.add(entry("x", 20), 0);
        assert!(log.latest(10).is_empty());
    }
}
