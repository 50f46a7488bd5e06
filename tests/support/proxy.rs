//! A TCP proxy between a replica and its primary that does to the link what networks do: it cuts it
//! at a given byte, stalls it, refuses it, changes bytes, and counts what goes through.
//!
//! What happens to a connection is laid down in a [`Plan`] before its first byte goes through, so
//! that a seed alone decides where a link breaks.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// One of the two directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the side that connects, the replica, to the side that listens.
    Up,
    /// From the side that listens, the primary.
    Down,
}

/// What is to happen to one direction of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// So many bytes go through, then both sides are closed.
    Cut(u64),
    /// So many bytes go through, then no more do until the connection is cut.
    Stall(u64),
    /// The byte with this number, counted from 0, is changed by the mask.
    Change(u64, u8),
}

/// What is to happen to a connection, in each direction.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Plan {
    /// From the replica.
    pub up: Option<Fault>,
    /// To the replica.
    pub down: Option<Fault>,
    /// Closed as soon as it has been accepted.
    pub refuse: bool,
}

impl Plan {
    /// The fault in one direction only.
    pub fn of(way: Way, fault: Fault) -> Plan {
        let mut plan = Plan::default();
        match way {
            Way::Up => plan.up = Some(fault),
            Way::Down => plan.down = Some(fault),
        }
        plan
    }
}

type Planner = Box<dyn FnMut(u64) -> Plan + Send>;

#[derive(Default)]
struct State {
    /// What becomes of connection n; all goes well without one.
    planner: Option<Planner>,
    /// Connections so far.
    accepted: u64,
    /// Both sockets of those that are open.
    open: BTreeMap<u64, [TcpStream; 2]>,
    /// Bytes that went up and down, over all connections.
    bytes: [u64; 2],
    /// The same for the last connection alone.
    last: [u64; 2],
    /// Cuts and refusals that were carried out as planned.
    faults: u64,
    /// How often everything has been closed.
    closed: u64,
    /// Nothing goes through any connection.
    stalled: bool,
    over: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    target: AtomicU16,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A proxy on a port of its own; all its connections end when it is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
}

impl Proxy {
    /// A proxy to this port of the loopback.
    pub fn to(target: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        let port = listener.local_addr().expect("a bound address").port();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            target: AtomicU16::new(target),
        });
        let inner = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if inner.lock().over {
                    break;
                }
                if let Ok(client) = client {
                    accept(&inner, client);
                }
            }
        });
        Proxy { shared, port }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections from now on lead to another port.
    pub fn retarget(&self, port: u16) {
        self.shared.target.store(port, Ordering::SeqCst);
    }

    /// Decides, from its number, what happens to each connection from now on.
    pub fn plan(&self, planner: impl FnMut(u64) -> Plan + Send + 'static) {
        self.shared.lock().planner = Some(Box::new(planner));
    }

    /// From now on nothing happens to new connections, nor to open ones at a later byte.
    pub fn heal(&self) {
        let mut state = self.shared.lock();
        state.planner = None;
        state.stalled = false;
        self.shared.changed.notify_all();
    }

    /// Closes every connection.
    pub fn cut(&self) {
        let mut state = self.shared.lock();
        state.closed += 1;
        let open = std::mem::take(&mut state.open);
        drop(state);
        for streams in open.values() {
            close(streams);
        }
        self.shared.changed.notify_all();
    }

    /// Lets nothing through, or everything again.
    pub fn stall(&self, stalled: bool) {
        self.shared.lock().stalled = stalled;
        self.shared.changed.notify_all();
    }

    /// Connections so far.
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// Planned cuts and refusals so far.
    pub fn faults(&self) -> u64 {
        self.shared.lock().faults
    }

    /// Bytes that have gone up and down so far, over all connections.
    pub fn bytes(&self) -> (u64, u64) {
        let [up, down] = self.shared.lock().bytes;
        (up, down)
    }

    /// Bytes that have gone up and down in the last connection.
    pub fn last(&self) -> (u64, u64) {
        let [up, down] = self.shared.lock().last;
        (up, down)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.cut();
        // Wakes the thread that accepts, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn close(streams: &[TcpStream; 2]) {
    for stream in streams {
        // A side that has gone already is closed, too.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn accept(shared: &Arc<Shared>, client: TcpStream) {
    let (number, plan, closed) = {
        let mut state = shared.lock();
        let number = state.accepted;
        state.accepted += 1;
        state.last = [0, 0];
        let plan = state.planner.as_mut().map(|planner| planner(number));
        let plan = plan.unwrap_or_default();
        state.faults += u64::from(plan.refuse);
        (number, plan, state.closed)
    };
    let target = shared.target.load(Ordering::SeqCst);
    if plan.refuse {
        return;
    }
    // A primary that is down refuses the connection; so does the proxy, as well as it can.
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
        return;
    };
    let pair = || -> std::io::Result<[TcpStream; 2]> {
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        Ok([client.try_clone()?, server.try_clone()?])
    };
    let (Ok(up), Ok(down), Ok(both)) = (pair(), pair(), pair()) else {
        return;
    };
    let mut state = shared.lock();
    if state.closed != closed {
        // Everything has been closed meanwhile, this one included.
        return;
    }
    state.open.insert(number, both);
    drop(state);
    let [up_from, up_to] = up;
    let [down_to, down_from] = down;
    for (way, from, to, fault) in [
        (Way::Up, up_from, up_to, plan.up),
        (Way::Down, down_from, down_to, plan.down),
    ] {
        let shared = shared.clone();
        std::thread::spawn(move || {
            pump(&shared, number, way, from, to, fault);
            let open = shared.lock().open.remove(&number);
            if let Some(streams) = open {
                close(&streams);
            }
            shared.changed.notify_all();
        });
    }
}

/// Carries bytes until either side ends, or the fault says so.
fn pump(
    shared: &Shared,
    number: u64,
    way: Way,
    mut from: TcpStream,
    mut to: TcpStream,
    fault: Option<Fault>,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut done = 0;
    loop {
        let room = match fault {
            Some(Fault::Cut(at)) if done >= at => {
                let mut state = shared.lock();
                // The other direction may have been cut first.
                state.faults += u64::from(state.open.contains_key(&number));
                return;
            }
            Some(Fault::Stall(at)) if done >= at => {
                let state = shared.lock();
                let waiting = |state: &mut State| state.open.contains_key(&number);
                drop(shared.changed.wait_while(state, waiting));
                return;
            }
            Some(Fault::Cut(at) | Fault::Stall(at)) => (at - done).min(16 * 1024) as usize,
            _ => buffer.len(),
        };
        let Ok(count @ 1..) = from.read(&mut buffer[..room]) else {
            return;
        };
        if let Some(Fault::Change(at, mask)) = fault
            && (done..done + count as u64).contains(&at)
        {
            buffer[(at - done) as usize] ^= mask;
        }
        done += count as u64;
        {
            let mut state = shared.lock();
            let waiting = |state: &mut State| state.stalled && state.open.contains_key(&number);
            state = shared
                .changed
                .wait_while(state, waiting)
                .unwrap_or_else(PoisonError::into_inner);
            state.bytes[way as usize] += count as u64;
            if number + 1 == state.accepted {
                state.last[way as usize] += count as u64;
            }
        }
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}
