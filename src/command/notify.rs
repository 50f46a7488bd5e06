//! Keyspace notifications: what happens to keys, published as messages.
//!
//! An event is published at once, while the shard of its key is still locked: so the events of one
//! key come in the order of its changes, whoever makes them. That costs no system call (see
//! [`crate::server::mail`]), and while `notify-keyspace-events` is empty one atomic load.
//! <https://redis.io/docs/latest/develop/use/keyspace-notifications/>

use super::Keyspace;
use crate::server::Server;
use crate::server::config::id;
use crate::server::mail::Mail;
use crate::server::pubsub::Kind;

/// Classes of keyspace events, as `notify-keyspace-events` groups them. The numbers are the bits of
/// the option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// `g`: commands for any type.
    Generic = 1 << 2,
    /// `$`: string commands.
    String = 1 << 3,
    /// `l`: list commands.
    List = 1 << 4,
    /// `s`: set commands.
    Set = 1 << 5,
    /// `h`: hash commands.
    Hash = 1 << 6,
    /// `z`: sorted set commands.
    ZSet = 1 << 7,
    /// `x`: keys that have expired.
    Expired = 1 << 8,
    /// `e`: keys evicted for `maxmemory`.
    Evicted = 1 << 9,
    /// `t`: stream commands.
    Stream = 1 << 10,
    /// `m`: look-ups of keys that do not exist.
    KeyMiss = 1 << 11,
    /// `n`: keys that are created.
    New = 1 << 14,
}

/// `K`: to channels that are named after the key, with the event as the message.
const BY_KEY: i64 = 1;
/// `E`: to channels that are named after the event, with the key as the message.
const BY_EVENT: i64 = 1 << 1;

impl Keyspace<'_> {
    /// Publishes an event about a key of the current database.
    #[inline]
    pub(super) fn notify(&mut self, class: Class, event: &str, key: &[u8]) {
        if is_wanted(self.server, class) {
            self.tell_untold();
            publish(self.server, &mut self.mail, class, event, self.number, key);
        }
    }
}

/// Whether events of a class are to be published.
#[inline]
pub(super) fn is_wanted(server: &Server, class: Class) -> bool {
    server.config.int(id::NOTIFY_KEYSPACE_EVENTS) & class as i64 != 0
}

/// Whether somebody may be told when a look-up meets a key that has expired.
pub(super) fn tells_of_expiry(server: &Server) -> bool {
    (is_wanted(server, Class::Expired) || is_wanted(server, Class::KeyMiss))
        && server.pubsub.has_listeners()
}

/// Publishes an event if it is wanted.
#[cold]
pub fn publish(server: &Server, mail: &mut Mail, class: Class, event: &str, db: usize, key: &[u8]) {
    let wanted = server.config.int(id::NOTIFY_KEYSPACE_EVENTS);
    if wanted & class as i64 == 0 || !server.pubsub.has_listeners() {
        return;
    }
    let channel =
        |space: &str, name: &[u8]| [format!("__{space}@{db}__:").as_bytes(), name].concat();
    let event = event.as_bytes();
    let mut send = |channel: &[u8], text: &[u8]| {
        server
            .pubsub
            .publish(server, mail, Kind::Channel, channel, text);
    };
    if wanted & BY_KEY != 0 {
        send(&channel("keyspace", key), event);
    }
    if wanted & BY_EVENT != 0 {
        send(&channel("keyevent", event), key);
    }
}
