//! Writing replies: what several families write alike.

use crate::resp::Reply;
use crate::server::Server;
use crate::server::client::{CLOSE_ASAP, Client};
use crate::types::listpack::Item;

/// Writes an element, a member, a field or a value as a bulk string.
#[inline]
pub(super) fn item(out: &mut Reply, item: Item<'_>) {
    match item {
        Item::Int(int) => out.bulk_int(int),
        Item::Bytes(bytes) => out.bulk(bytes),
    }
}

/// The same, or null where there is none.
#[inline]
pub(super) fn item_or_null(out: &mut Reply, found: Option<Item<'_>>) {
    match found {
        Some(found) => item(out, found),
        None => out.null(),
    }
}

/// Announces `count` items, `paired` with something each or alone. Pairs stand one behind the other
/// in RESP2; in RESP3 each is an array, to be begun with [`begin_pair`].
pub(super) fn begin_pairs(out: &mut Reply, count: usize, paired: bool) {
    let flat = paired && !out.is_resp3();
    out.array(if flat { 2 * count } else { count });
}

/// Announces one of the pairs.
#[inline]
pub(super) fn begin_pair(out: &mut Reply, paired: bool) {
    if paired && out.is_resp3() {
        out.array(2);
    }
}

/// The end of a reply that may get as long as a client likes, because it may name the same thing again
/// and again, or as the number of keys: the client's output limit, beyond which it is closed anyway.
pub(super) struct Endless<'a> {
    client: &'a Client,
    /// Where the reply starts, and how long it may get; 0 for no limit.
    start: usize,
    most: u64,
    left: u64,
}

impl<'a> Endless<'a> {
    /// A reply of `items` items, which starts here.
    pub fn new(server: &Server, client: &'a Client, out: &Reply, items: u64) -> Endless<'a> {
        Endless {
            client,
            start: out.len(),
            most: server.config.output_limit(client.output_class()).hard,
            left: items,
        }
    }

    /// To be asked behind each item: whether to go on. Where the reply is not complete, the
    /// connection cannot go on either and is closed.
    #[inline]
    pub fn goes_on(&mut self, out: &mut Reply) -> bool {
        /// After so many items it looks whether the client has been killed in the meantime.
        const LOOK: u64 = 1024;
        self.left -= 1;
        if self.left == 0 {
            return false;
        }
        let over = self.most > 0 && (out.len() - self.start) as u64 > self.most;
        if over || (self.left.is_multiple_of(LOOK) && self.client.has(CLOSE_ASAP)) {
            out.cut_off();
        }
        !out.is_cut()
    }
}
