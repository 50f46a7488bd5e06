//! What a command puts aside while it holds its locks, to be seen to when it has let go of them, or
//! before it does.
//!
//! Most commands have nothing of the kind. What takes it in is therefore only there once something
//! has been put aside, and each thread keeps one at hand, with the memory it has come to, so that
//! the next command that needs one has it without asking the allocator.

use std::cell::Cell;
use std::collections::VecDeque;

use super::blocking::Request;
use super::keyspace::Stale;
use crate::server::log::{Batch, Followed};
use crate::store::Db;

/// For as many keys of each kind is there still room in the next one.
const FEW: usize = 16;

/// What a command has put aside.
#[derive(Default)]
pub struct Aside {
    /// Keys met under a shared lock although they have expired; removed once it is released.
    pub stale: Vec<Stale>,
    /// Keys that a command which may be carried out anew has looked for in vain, with their
    /// databases, if that is an event.
    pub untold: Vec<(usize, Vec<u8>)>,
    /// What the client is to wait for.
    pub request: Option<Request>,
    /// Keys that clients wait for and that have come to hold something, with their databases.
    pub ready: VecDeque<(usize, Vec<u8>)>,
    /// Those of them that have to be served under other locks.
    pub put_off: Vec<(usize, Vec<u8>)>,
    /// What a flush has emptied; dropped when all is over, which is after the locks.
    pub garbage: Vec<Db>,
    /// What is to be logged.
    pub batch: Batch,
    /// Where the command comes from a primary, what has come of its stream since the last one.
    pub followed: Option<Followed>,
}

thread_local! {
    static AT_HAND: Cell<Option<Box<Aside>>> = const { Cell::new(None) };
}

impl Aside {
    fn is_empty(&self) -> bool {
        self.stale.is_empty()
            && self.untold.is_empty()
            && self.request.is_none()
            && self.ready.is_empty()
            && self.put_off.is_empty()
            && self.garbage.is_empty()
            && self.batch.is_empty()
            && self.followed.is_none()
    }

    /// Whether nothing is kept room for, but for effects.
    fn is_plain(&self) -> bool {
        self.stale.capacity()
            + self.untold.capacity()
            + self.ready.capacity()
            + self.put_off.capacity()
            + self.garbage.capacity()
            == 0
    }

    fn shrink(&mut self) {
        self.stale.shrink_to(FEW);
        self.untold.shrink_to(FEW);
        self.ready.shrink_to(FEW);
        self.put_off.shrink_to(FEW);
        self.garbage.shrink_to(FEW);
    }
}

/// What a command has put aside, if anything.
#[derive(Default)]
pub struct MaybeAside(Option<Box<Aside>>);

impl MaybeAside {
    /// What there is, if there is anything at all.
    #[inline]
    pub fn get(&mut self) -> Option<&mut Aside> {
        self.0.as_deref_mut()
    }

    /// Where something is to be put.
    pub fn open(&mut self) -> &mut Aside {
        let at_hand = || AT_HAND.try_with(Cell::take).ok().flatten();
        self.0.get_or_insert_with(|| at_hand().unwrap_or_default())
    }

    /// Whether keys have been met that have expired.
    #[inline]
    pub fn has_stale(&self) -> bool {
        self.0.as_ref().is_some_and(|aside| !aside.stale.is_empty())
    }

    /// Whether there are keys for whom somebody waits.
    #[inline]
    pub fn has_ready(&self) -> bool {
        self.0.as_ref().is_some_and(|aside| !aside.ready.is_empty())
    }

    /// Whether some of them are to be served under other locks.
    #[inline]
    pub fn has_put_off(&self) -> bool {
        let aside = self.0.as_ref();
        aside.is_some_and(|aside| !aside.put_off.is_empty())
    }

    /// What the client is to wait for, if it is.
    #[inline]
    pub fn take_request(&mut self) -> Option<Request> {
        self.get()?.request.take()
    }

    /// Everything has been seen to: the thread has it at hand for the next one.
    #[inline]
    pub fn give_back(&mut self) {
        if let Some(aside) = self.0.take() {
            keep(aside);
        }
    }
}

fn keep(mut aside: Box<Aside>) {
    if !aside.is_plain() {
        aside.garbage.clear();
        aside.shrink();
    }
    // A command that was given up half-way may have left something.
    if aside.is_empty() {
        // While the thread ends, there is no next one.
        let _ = AT_HAND.try_with(|at_hand| at_hand.set(Some(aside)));
    }
}
