//! One attempt at a link to the primary, from its connection to its loss.

use std::io::ErrorKind;
use std::sync::Arc;

use super::handshake::{self, Agreed, Refused, Request};
use super::line::{self, Broken, Line};
use super::transfer::{self, Copied};
use super::{note, stream};
use crate::server::Server;
use crate::server::client::{Client, MASTER};
use crate::server::replication::failover::{self, Stage};
use crate::server::replication::{LinkState, Primary};
use crate::util::clock::now_ms;
use crate::{log_notice, log_warning};

/// Which attempt it is, and what it came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// The first of a generation, or one behind another that failed.
    First,
    /// One behind a link that stood, and was lost.
    Again,
}

/// How a link was lost that stood.
#[derive(Debug)]
pub enum Lost {
    /// The server has another role or another primary now.
    Over,
    /// It broke, and may go on where it was.
    Broken,
    /// The primary said what makes no sense: what it has sent so far cannot be relied upon.
    Garbled,
}

/// Makes a link, and serves it until it is lost. Returns what the next attempt is.
pub fn serve(
    server: &Arc<Server>,
    generation: u64,
    primary: &Primary,
    attempt: Attempt,
) -> Attempt {
    let Primary { host, port } = primary;
    server.testing.stand_still();
    match attempt {
        Attempt::First => log_notice!("Connecting to MASTER {host}:{port}"),
        Attempt::Again => log_notice!("Reconnecting to MASTER {host}:{port}"),
    }
    log_notice!("MASTER <-> REPLICA sync started");
    note(server, generation, |state| {
        state.link.state = LinkState::Connecting;
    });
    let up = establish(server, generation, primary);
    let stood = up.is_some();
    if let Some(mut up) = up {
        let lost = stream::serve(server, &mut up.line, generation, up.db, up.ack);
        dissolve(server, generation, &up.line, lost);
    }
    note(server, generation, |state| {
        if let Some(client) = state.link.client.take() {
            client.kill();
        }
        state.link.state = LinkState::Connect;
        if stood {
            state.link.down_since = now_ms() / 1000;
        }
    });
    match stood {
        true => Attempt::Again,
        false => Attempt::First,
    }
}

/// A link that stands.
struct Up {
    line: Line,
    /// The database that the stream is in.
    db: usize,
    /// Whether the primary waits to be told that the data set has come.
    ack: bool,
}

/// Makes a link. `None` when that fails, of which the log has been told.
fn establish(server: &Arc<Server>, generation: u64, primary: &Primary) -> Option<Up> {
    let (socket, address) = match line::connect(server, generation, primary) {
        Ok(found) => found,
        Err(broken) => {
            complain_of_connection(&broken);
            return None;
        }
    };
    log_notice!("Non blocking connect for SYNC fired the event.");
    // Nobody sees it yet, but who changes the role can cut it.
    let client = Arc::new(Client::new(0, socket.clone(), address.clone()));
    let mut line = Line::new(client.clone());
    let request = {
        let mut request = None;
        note(server, generation, |state| {
            state.link.client = Some(client);
            state.link.state = LinkState::Handshake;
            let next = server.log.stream_end() + 1;
            request = Some(Request {
                from: state.resumable.then(|| (state.id.clone(), next)),
                failover: server.replication.failover.stage() == Stage::InProgress,
            });
        });
        request?
    };
    let introduced = handshake::introduce(&mut line, server);
    let asks = introduced.is_ok() && request.failover;
    let agreed = introduced.and_then(|()| handshake::ask(&mut line, server, &request));
    if asks {
        let refused = agreed.is_err();
        let reason = refused.then_some("Failover target rejected psync request");
        if !failover::answered(server, generation, reason) {
            return None;
        }
    }
    let agreed = match agreed {
        Ok(agreed) => agreed,
        Err(Refused::Broken(Broken::Silent)) => {
            log_warning!("Timeout connecting to the MASTER...");
            return None;
        }
        Err(_) => return None,
    };
    let (db, ack) = match agreed {
        Agreed::Continue(id) => {
            if !go_on(server, generation, id) {
                return None;
            }
            log_notice!("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
            // Where the stream is of one that begins it anew, its database is named first.
            (server.log.stream_at().1.unwrap_or(0), false)
        }
        Agreed::Full(history) => {
            let Copied { db, ack } = transfer::run(&mut line, server, generation, history).ok()?;
            (db, ack)
        }
    };
    // From now on it is one of the clients.
    let seen = server.clients.add(socket, address, usize::MAX)?;
    seen.set(MASTER, true);
    line.client = seen.clone();
    let current = note(server, generation, |state| {
        state.link.client = Some(seen.clone());
        state.link.state = LinkState::Connected;
        state.link.down_since = 0;
        state.link.last_io = now_ms() / 1000;
        state.link.received = server.log.stream_end();
    });
    if !current {
        seen.kill();
        server.remove_client(&seen);
        return None;
    }
    Some(Up { line, db, ack })
}

/// The stream goes on where it was, perhaps under another name. Returns whether the generation is
/// not over.
fn go_on(server: &Server, generation: u64, id: Option<String>) -> bool {
    let mut renamed = None;
    let current = note(server, generation, |state| {
        if let Some(id) = id.filter(|id| *id != state.id) {
            // Whoever follows this server can go on with it as well.
            state.id2 = std::mem::replace(&mut state.id, id.clone());
            state.offset2 = server.log.stream_end() as i64 + 1;
            renamed = Some(id);
        }
    });
    if let Some(id) = renamed {
        log_notice!("Master replication ID changed to {id}");
        // They are told when they come again.
        server.replication.replicas.drop_all(server);
    }
    current
}

/// Ends a link that stood.
fn dissolve(server: &Server, generation: u64, line: &Line, lost: Lost) {
    line.client.kill();
    server.remove_client(&line.client);
    if let Lost::Over = lost {
        return;
    }
    log_notice!("Connection with master lost.");
    if let Lost::Garbled = lost {
        note(server, generation, |state| state.resumable = false);
    } else {
        log_notice!("Caching the disconnected master state.");
    }
}

fn complain_of_connection(broken: &Broken) {
    match broken {
        Broken::Over => {}
        Broken::Silent => log_warning!("Timeout connecting to the MASTER..."),
        Broken::Lost(error) => {
            let reason = broken.reason();
            match error.kind() {
                ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionReset
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable => {
                    log_warning!("Error condition on socket for SYNC: {reason}");
                }
                _ => log_warning!("Unable to connect to MASTER: {reason}"),
            }
        }
    }
}
