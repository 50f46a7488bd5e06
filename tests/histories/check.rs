//! The checker: could a history have happened one step at a time?
//!
//! A history says of each step when its client called and when it had the reply. It is
//! linearisable when the steps can be put in one order in which the model gives every client the
//! replies it has seen, and in which no step comes before another that had returned when it was
//! called. The search (Wing and Gong's, with Lowe's memory of what has been tried) takes, from
//! where it is, each client's next step in turn, if it may come next; a combination of steps
//! done and state that led nowhere is not tried again.

use std::collections::HashSet;
use std::fmt::Write;

use super::model::{CLIENTS, Op, State};
use crate::support::Value;

/// One step of a client, with what it got for it.
#[derive(Clone, Debug)]
pub struct Event {
    pub client: usize,
    pub op: Op,
    /// When it called, and when it had the reply: readings of one counter for all.
    pub call: u64,
    pub returned: u64,
    pub reply: Value,
}

/// How many of each client's steps have been taken.
type Done = [u8; CLIENTS];

struct Search<'h> {
    clients: [Vec<&'h Event>; CLIENTS],
    left: usize,
    tried: HashSet<(Done, State)>,
}

/// Whether a history, which begins without any key, could have happened one step at a time.
pub fn is_linearisable(history: &[Event]) -> bool {
    let mut clients: [Vec<&Event>; CLIENTS] = Default::default();
    for event in history {
        clients[event.client].push(event);
    }
    for events in &mut clients {
        events.sort_by_key(|event| event.call);
    }
    let mut search = Search {
        clients,
        left: history.len(),
        tried: HashSet::new(),
    };
    search.from(Done::default(), &State::default())
}

impl Search<'_> {
    /// Whether the rest can follow, once these steps are done and have led to this state.
    fn from(&mut self, done: Done, state: &State) -> bool {
        if self.left == 0 {
            return true;
        }
        let next: Vec<&Event> = (0..CLIENTS)
            .filter_map(|client| self.clients[client].get(usize::from(done[client])).copied())
            .collect();
        // Whatever was called after one of the others had returned has to wait for that one.
        let first_return = next.iter().map(|event| event.returned).min();
        for event in next {
            if first_return.is_some_and(|returned| event.call > returned) {
                continue;
            }
            let mut after = state.clone();
            if after.step(event.client, &event.op) != event.reply {
                continue;
            }
            let mut done = done;
            done[event.client] += 1;
            if !self.tried.insert((done, after.clone())) {
                continue;
            }
            self.left -= 1;
            if self.from(done, &after) {
                return true;
            }
            self.left += 1;
        }
        false
    }
}

/// A history for a failure message, in the order of the calls.
pub fn describe(history: &[Event]) -> String {
    let mut events: Vec<&Event> = history.iter().collect();
    events.sort_by_key(|event| event.call);
    let mut text = String::new();
    for event in events {
        let Event {
            client,
            op,
            call,
            returned,
            reply,
        } = event;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "client {client}  {call:>4} to {returned:>4}  {op:?}  {reply:?}"
        );
    }
    text
}
