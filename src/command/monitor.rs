//! `MONITOR`: a line for each command that is carried out, to the clients that look on.
//! <https://redis.io/docs/latest/commands/monitor/>

use super::spec::*;
use super::{Args, Ctx, Error, Outcome, Row, Session, secrets};
use crate::server::Server;
use crate::server::client::MONITOR;
use crate::util::clock::now_us;
use crate::util::quoting::repr;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("monitor", 1, monitor)
    .flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE))
    .docs(
        Group::Server,
        "1.0.0",
        "O(1)",
        "Shows every command that is carried out",
    )];

const NOT_INSIDE: Error = Error::new("ERR MONITOR isn't allowed for DENY BLOCKING client");

/// `MONITOR`. A client that looks on already gets no reply, as in Redis.
fn monitor(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    if c.db.in_transaction {
        return Err(NOT_INSIDE);
    }
    let client = &c.session.client;
    if !client.has(MONITOR) {
        client.outbox.hold();
        c.server.pubsub.monitor(client);
        c.out.ok();
    }
    Ok(())
}

/// The arguments of a command as they are shown, or `None` where it is not to be. Handlers may take
/// their arguments apart, so this comes before the command runs.
pub fn quote(row: &Row, args: &Args<'_>) -> Option<Vec<u8>> {
    if row.spec.flags.has(SKIP_MONITOR.or(ADMIN)) {
        return None;
    }
    let mut quoted = Vec::with_capacity(args.bytes() + 4 * args.len());
    let secret = secrets::positions(row, args);
    for (at, arg) in args.from(0).enumerate() {
        quoted.push(b' ');
        if secret.contains(&at) {
            quoted.extend_from_slice(b"\"(redacted)\"");
        } else {
            repr(&mut quoted, arg);
        }
    }
    Some(quoted)
}

/// Shows a command that has been carried out to those who look on.
pub fn show(server: &Server, session: &mut Session, quoted: &[u8]) {
    let now = now_us();
    let address = &session.client.address;
    let (unix, peer) = match address.unix {
        // The path without the port it has not got.
        true => (
            "unix:",
            address.local.strip_suffix(":0").unwrap_or_default(),
        ),
        false => ("", &address.peer[..]),
    };
    let head = format!(
        "+{}.{:06} [{} {unix}{peer}]",
        now / 1_000_000,
        now % 1_000_000,
        session.db
    );
    let line = [head.as_bytes(), quoted, b"\r\n"].concat();
    server.pubsub.show(server, &mut session.mail, &line);
}
