//! Whether the client's user may carry out a command with these keys and channels.
//!
//! What users may do is kept in [`crate::server::acl`]. Here it is held against a command: when that
//! arrives, once more when `EXEC` carries it out, and when a client that waited is served.

use std::sync::atomic::Ordering;

use super::error::{Error, Outcome};
use super::session::Session;
use super::spec::{ACCESS, DELETE, INSERT, KeyFlags, NO_AUTH, UPDATE};
use super::table::{Row, table};
use super::{Args, client_list};
use crate::server::Server;
use crate::server::acl::log::{Context, Entry, Reason};
use crate::server::acl::rights::Rights;
use crate::server::acl::selector::Selector;
use crate::server::blocking::Waiter;
use crate::server::client::Client;
use crate::server::config::id;
use crate::server::pubsub::Kind;
use crate::util::clock::now_ms;

/// Why a command is refused. Of several reasons the last in this order counts and, for keys and
/// channels, the last argument.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Denied {
    /// No selector allows the command.
    Command,
    /// No selector allows this argument, a key.
    Key(usize),
    /// No selector allows this argument, a channel.
    Channel(usize),
}

impl Denied {
    fn reason(self) -> Reason {
        match self {
            Denied::Command => Reason::Command,
            Denied::Key(_) => Reason::Key,
            Denied::Channel(_) => Reason::Channel,
        }
    }

    /// What is refused.
    fn object<'a>(self, row: &'a Row, args: &'a Args<'_>) -> &'a [u8] {
        match self {
            Denied::Command => row.name.as_bytes(),
            Denied::Key(at) | Denied::Channel(at) => args.get(at).unwrap_or_default(),
        }
    }

    /// The reason at length, which names the key or channel.
    pub fn explain(self, user: &[u8], row: &Row, args: &Args<'_>) -> Vec<u8> {
        let object = self.object(row, args);
        let (before, after): (&[u8], &[u8]) = match self {
            Denied::Command => (b"run the '", b"' command"),
            Denied::Key(_) => (b"access the '", b"' key"),
            Denied::Channel(_) => (b"access the '", b"' channel"),
        };
        let head = b" has no permissions to ";
        [b"User ", user, head, before, object, after].concat()
    }

    /// The error reply.
    fn error(self, user: &[u8], row: &Row) -> Error {
        const KEY: Error = Error::new("NOPERM No permissions to access a key");
        const CHANNEL: Error = Error::new("NOPERM No permissions to access a channel");
        match self {
            Denied::Command => {
                let (head, name) = (b" has no permissions to run the '", row.name.as_bytes());
                Error::raw([b"NOPERM User ", user, head, name, b"' command"].concat())
            }
            Denied::Key(_) => KEY,
            Denied::Channel(_) => CHANNEL,
        }
    }
}

/// Whether these rights cover a command.
///
/// # Errors
/// What they do not cover.
pub fn judge(rights: &Rights, row: &Row, args: &Args<'_>) -> Result<(), Denied> {
    if rights.is_unrestricted() {
        return Ok(());
    }
    // Found once for all selectors, and not if none asks.
    let mut keys = None;
    let mut worst = Denied::Command;
    for selector in rights.selectors() {
        match judge_selector(selector, row, args, &mut keys) {
            Ok(()) => return Ok(()),
            Err(denied) => worst = worst.max(denied),
        }
    }
    Err(worst)
}

fn judge_selector(
    selector: &Selector,
    row: &Row,
    args: &Args<'_>,
    keys: &mut Option<Vec<(usize, KeyFlags)>>,
) -> Result<(), Denied> {
    let argument = args.get(if row.container.is_some() { 2 } else { 1 });
    let open = row.spec.flags.has(NO_AUTH);
    if !open && !selector.allows_command(row.id, argument) {
        return Err(Denied::Command);
    }
    let keys = keys.get_or_insert_with(|| row.find_keys(args).unwrap_or_default());
    for &(at, flags) in keys.iter() {
        if !allows_key(selector, &args[at], flags) {
            return Err(Denied::Key(at));
        }
    }
    if let Some((count, is_pattern)) = channels(row) {
        for at in 1..args.len().min(count.saturating_add(1)) {
            if !selector.allows_channel(&args[at], is_pattern) {
                return Err(Denied::Channel(at));
            }
        }
    }
    Ok(())
}

fn allows_key(selector: &Selector, key: &[u8], flags: KeyFlags) -> bool {
    let (reads, writes) = (flags.has(ACCESS), flags.has(INSERT | DELETE | UPDATE));
    selector.allows_key(key, reads, writes)
}

/// How many channels a command names at most, from its first argument on, and whether they are
/// patterns. To end a subscription needs no permission.
fn channels(row: &Row) -> Option<(usize, bool)> {
    match row.spec.name {
        "subscribe" | "ssubscribe" => Some((usize::MAX, false)),
        "psubscribe" => Some((usize::MAX, true)),
        "publish" | "spublish" => Some((1, false)),
        _ => None,
    }
}

/// Whether some selector allows the command and to read every key there may be, as keys need whose
/// names only the values tell.
pub fn may_read_any_key(session: &Session, row: &Row, args: &Args<'_>) -> bool {
    let rights = session.rights();
    let covers = |selector: &Selector| {
        selector.allows_reading_all_keys() && judge_selector(selector, row, args, &mut None).is_ok()
    };
    session.feeder || rights.is_unrestricted() || rights.selectors().iter().any(covers)
}

/// Refuses a command that the client's user may not carry out, and notes that.
///
/// # Errors
/// `NOPERM`.
#[inline]
pub fn check(server: &Server, session: &Session, row: &Row, args: &Args<'_>) -> Outcome {
    if session.is_unrestricted() {
        return Ok(());
    }
    check_restricted(server, session, row, args)
}

#[cold]
fn check_restricted(server: &Server, session: &Session, row: &Row, args: &Args<'_>) -> Outcome {
    judge(session.rights(), row, args).map_err(|denied| {
        let context = match session.transaction {
            Some(_) => Context::Multi,
            None => Context::TopLevel,
        };
        note(server, &session.client, denied, context, row, args);
        denied.error(session.user().name(), row)
    })
}

/// Checks a command of a transaction once more, when it is to be carried out.
///
/// # Errors
/// `NOPERM`, with the reason that the rules have changed.
pub fn check_queued(server: &Server, session: &mut Session, row: &Row, args: &Args<'_>) -> Outcome {
    if session.feeder {
        return Ok(());
    }
    // A client that has just deleted its own user goes on as nobody in particular.
    session.read_rights(&server.acl);
    judge(session.rights(), row, args).map_err(|denied| {
        note(server, &session.client, denied, Context::Multi, row, args);
        let reason = match denied {
            Denied::Command => "no permission to execute the command or subcommand",
            Denied::Key(_) => "no permission to touch the specified keys",
            Denied::Channel(_) => "no permission to access one of the channels used as arguments",
        };
        Error::text(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC \
             call. This command is no longer allowed for the following reason: {reason}"
        ))
    })
}

/// Checks a client that waited, before it is served: its user may have lost the right to what it
/// asked for.
///
/// # Errors
/// `NOPERM`; the client gets this instead.
pub fn check_waiter(server: &Server, waiter: &Waiter) -> Outcome {
    let client = &waiter.client;
    let Some(user) = client.user() else {
        return Ok(());
    };
    let rights = user.rights();
    if rights.is_unrestricted() {
        return Ok(());
    }
    let number = client.last_command.load(Ordering::Relaxed) as usize;
    let Some(row) = number.checked_sub(1).and_then(|id| table().rows.get(id)) else {
        return Ok(());
    };
    let mut worst = (Denied::Command, row.name.as_bytes());
    for selector in rights.selectors() {
        match judge_waiter(selector, row, waiter) {
            Ok(()) => return Ok(()),
            Err(denied) if denied.0 >= worst.0 => worst = denied,
            Err(_) => {}
        }
    }
    let (denied, object) = worst;
    note_object(server, client, denied.reason(), Context::TopLevel, object);
    Err(denied.error(user.name(), row))
}

fn judge_waiter<'a>(
    selector: &Selector,
    row: &'a Row,
    waiter: &'a Waiter,
) -> Result<(), (Denied, &'a [u8])> {
    // Its first argument has been looked at when it began to wait.
    if !selector.allows_command_somehow(row.id) {
        return Err((Denied::Command, row.name.as_bytes()));
    }
    let flags = |at: usize| {
        row.spec
            .keys
            .get(at)
            .map_or(KeyFlags::NONE, |key| key.flags)
    };
    let sources = waiter.keys.iter().map(|(_, key)| (&key[..], flags(0)));
    let destination = waiter.wanted.destination().map(|key| (key, flags(1)));
    for (at, (key, flags)) in sources.chain(destination).enumerate() {
        if !allows_key(selector, key, flags) {
            return Err((Denied::Key(at), key));
        }
    }
    Ok(())
}

/// Whether the client may still listen to everything it has subscribed to. Asked behind a
/// subscription, during which the rules may have changed: whoever changes them looks for subscribers
/// afterwards, and finds either the subscription or a client that asks this.
pub fn may_still_listen(server: &Server, session: &mut Session) -> bool {
    if session.feeder || !session.has_old_rights(&server.acl) {
        return true;
    }
    session.read_rights(&server.acl)
        && listens_within(server, &session.client, &|name, pattern| {
            session.rights().allows_channel(name, pattern)
        })
}

/// Whether everything that a client has subscribed to is allowed.
pub fn listens_within(
    server: &Server,
    client: &Client,
    allows: &dyn Fn(&[u8], bool) -> bool,
) -> bool {
    let kinds = [
        (Kind::Pattern, true),
        (Kind::Channel, false),
        (Kind::Shard, false),
    ];
    kinds.iter().all(|&(kind, is_pattern)| {
        let names = server.pubsub.names_of(client, kind);
        names.iter().all(|name| allows(name, is_pattern))
    })
}

/// Notes that a client could not log in under this name.
pub fn note_failed_login(server: &Server, session: &Session, name: &[u8], command: &[u8]) {
    let context =
        match session.transaction.is_some() || session.client.multi.load(Ordering::Relaxed) >= 0 {
            true => Context::Multi,
            false => Context::TopLevel,
        };
    server.stats.auth_denied.fetch_add(1, Ordering::Relaxed);
    add(
        server,
        &session.client,
        Reason::Auth,
        context,
        command,
        name.to_vec(),
    );
}

fn note(
    server: &Server,
    client: &Client,
    denied: Denied,
    context: Context,
    row: &Row,
    args: &Args<'_>,
) {
    let object = denied.object(row, args);
    note_object(server, client, denied.reason(), context, object);
}

fn note_object(server: &Server, client: &Client, reason: Reason, context: Context, object: &[u8]) {
    let stats = &server.stats;
    let counter = match reason {
        Reason::Command => &stats.command_denied,
        Reason::Key => &stats.key_denied,
        Reason::Channel => &stats.channel_denied,
        Reason::Auth => &stats.auth_denied,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    add(server, client, reason, context, object, client.user_name());
}

/// Adds to what has been refused.
fn add(
    server: &Server,
    client: &Client,
    reason: Reason,
    context: Context,
    object: &[u8],
    user: Vec<u8>,
) {
    let now = now_ms();
    let mut line = Vec::new();
    client_list::line(&mut line, client, now, None);
    // Without its line end.
    line.pop();
    let entry = Entry {
        count: 1,
        reason,
        context,
        object: object.to_vec(),
        user,
        client: line,
        id: 0,
        created: now,
        updated: now,
    };
    let most = server.config.int(id::ACLLOG_MAX_LEN);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    server.acl.refusals().add(entry, most);
}
