//! Consumer groups: who has been given which entry and has not acknowledged it yet.
//!
//! What is pending is kept twice: by id with its details in the group, and as a set of ids with
//! each consumer. Consumers are numbered, so that a pending entry names its owner in four bytes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Log, StreamId};

/// A consumer's number within its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConsumerId(u32);

/// An entry that has been delivered and not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    /// Who got it.
    pub owner: ConsumerId,
    /// When, in unix milliseconds.
    pub delivered: i64,
    /// How often.
    pub count: u64,
}

/// A consumer.
#[derive(Clone)]
pub struct Consumer {
    /// Its name.
    pub name: Box<[u8]>,
    /// When it last asked for anything, in unix milliseconds.
    pub seen: i64,
    /// When it last got anything.
    pub active: Option<i64>,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// The ids of the entries that it has not acknowledged.
    pub fn pending(&self) -> &BTreeSet<StreamId> {
        &self.pending
    }
}

/// A consumer group.
#[derive(Clone, Default)]
pub struct Group {
    /// The last entry that has been delivered.
    pub last_id: StreamId,
    /// How many entries have been delivered, counted from the first that the stream ever had;
    /// `None` where that cannot be told.
    pub entries_read: Option<i64>,
    pending: BTreeMap<StreamId, Pending>,
    names: BTreeMap<Box<[u8]>, ConsumerId>,
    slots: Vec<Option<Consumer>>,
    free: Vec<u32>,
}

impl Group {
    /// A group that begins behind an entry.
    pub fn new(last_id: StreamId, entries_read: Option<i64>) -> Group {
        Group {
            last_id,
            entries_read,
            ..Group::default()
        }
    }

    /// What is pending, by id.
    pub fn pending(&self) -> &BTreeMap<StreamId, Pending> {
        &self.pending
    }

    /// What is pending between two ids, both included.
    pub fn pending_range(
        &self,
        start: StreamId,
        end: StreamId,
    ) -> impl Iterator<Item = (StreamId, &Pending)> {
        // A range that ends before it starts is empty.
        let range = (start <= end).then(|| self.pending.range(start..=end));
        range.into_iter().flatten().map(|(id, entry)| (*id, entry))
    }

    // ------------------------------------------------------------ consumers

    /// Number of consumers.
    pub fn consumer_count(&self) -> usize {
        self.names.len()
    }

    /// The consumers by name.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.names.values().map(|id| self.consumer(*id))
    }

    /// The number of the consumer with this name.
    pub fn find(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name).copied()
    }

    /// The consumer with this number.
    pub fn consumer(&self, id: ConsumerId) -> &Consumer {
        self.slots[id.0 as usize]
            .as_ref()
            .unwrap_or_else(|| unreachable!("nothing refers to a consumer that is gone"))
    }

    /// As [`Group::consumer`], to be changed.
    pub fn consumer_mut(&mut self, id: ConsumerId) -> &mut Consumer {
        self.slots[id.0 as usize]
            .as_mut()
            .unwrap_or_else(|| unreachable!("nothing refers to a consumer that is gone"))
    }

    /// Adds a consumer, whose name must be new.
    pub fn add_consumer(&mut self, name: &[u8], now: i64) -> ConsumerId {
        let consumer = Some(Consumer {
            name: name.into(),
            seen: now,
            active: None,
            pending: BTreeSet::new(),
        });
        let id = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = consumer;
                ConsumerId(slot)
            }
            None => {
                self.slots.push(consumer);
                ConsumerId(self.slots.len() as u32 - 1)
            }
        };
        self.names.insert(name.into(), id);
        id
    }

    /// Removes a consumer and what is pending with it. How much that was; `None` if there is no
    /// such consumer.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let id = self.names.remove(name)?;
        self.free.push(id.0);
        let gone = self.slots[id.0 as usize].take()?;
        for entry in &gone.pending {
            self.pending.remove(entry);
        }
        Some(gone.pending.len())
    }

    // ------------------------------------------------------------ entries

    /// Notes that the group has got as far as an entry of the stream.
    pub fn advance(&mut self, log: &Log, id: StreamId) {
        if id <= self.last_id {
            return;
        }
        match &mut self.entries_read {
            Some(read) if !log.has_tombstones_from(id) => *read = read.wrapping_add(1),
            _ if log.entries_added > 0 => self.entries_read = log.distance(id),
            _ => {}
        }
        self.last_id = id;
    }

    /// Gives an entry to a consumer, also if it was with another, as delivered once.
    pub fn deliver(&mut self, id: StreamId, owner: ConsumerId, now: i64) {
        self.assign(
            id,
            Pending {
                owner,
                delivered: now,
                count: 1,
            },
        );
    }

    /// Makes an entry pending, or changes what is known of it.
    pub fn assign(&mut self, id: StreamId, entry: Pending) {
        let before = self.pending.insert(id, entry);
        if let Some(before) = before {
            if before.owner == entry.owner {
                return;
            }
            self.consumer_mut(before.owner).pending.remove(&id);
        }
        self.consumer_mut(entry.owner).pending.insert(id);
    }

    /// Notes that a pending entry has been delivered to its owner once more.
    pub fn deliver_again(&mut self, id: StreamId, now: i64) {
        if let Some(entry) = self.pending.get_mut(&id) {
            entry.delivered = now;
            entry.count = entry.count.wrapping_add(1);
        }
    }

    /// Takes an entry off what is pending. Returns whether it was.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(entry) = self.pending.remove(&id) else {
            return false;
        };
        self.consumer_mut(entry.owner).pending.remove(&id);
        true
    }

    /// How many entries of the stream the group has still to get, where that can be told.
    pub fn lag(&self, log: &Log) -> Option<i64> {
        if log.entries_added == 0 {
            return Some(0);
        }
        let read = match self.entries_read {
            Some(read) if !log.has_tombstones_from(self.last_id) => read,
            _ => log.distance(self.last_id)?,
        };
        Some((log.entries_added as i64).wrapping_sub(read))
    }

    /// Bytes of heap memory behind the group.
    pub(super) fn memory(&self) -> usize {
        // A tree's nodes are about two thirds full.
        let tree = |entries: usize, size: usize| entries * size * 3 / 2;
        let consumers: usize = self
            .consumers()
            .map(|consumer| {
                let names = 2 * consumer.name.len();
                names + tree(consumer.pending.len(), size_of::<StreamId>())
            })
            .sum();
        consumers
            + self.slots.capacity() * size_of::<Option<Consumer>>()
            + tree(self.names.len(), size_of::<(Box<[u8]>, ConsumerId)>())
            + tree(self.pending.len(), size_of::<(StreamId, Pending)>())
    }
}
