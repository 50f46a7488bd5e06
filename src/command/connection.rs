//! The commands of a connection about itself: passwords, protocol version, current database.
//!
//! Who may log in, and what for, is in [`crate::server::acl`].
//! <https://redis.io/docs/latest/commands/?group=connection>

use std::sync::atomic::Ordering;

use super::client::set_name;
use super::error::{DB_OUT_OF_RANGE, Error, SYNTAX, WRONG_PASS};
use super::options::{int_or, int_within, is, wrong_arity};
use super::session::Replies;
use super::spec::*;
use super::{Args, Ctx, Outcome, permissions, transactions};
use crate::server::acl::DEFAULT_USER;
use crate::server::client::{CLOSE_AFTER_REPLY, NO_EVICT, NO_TOUCH, SUBSCRIBED};
use crate::server::{REDIS_VERSION, Server};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("auth", -2, auth)
        .flags(
            NOSCRIPT
                .or(LOADING)
                .or(STALE)
                .or(FAST)
                .or(NO_AUTH)
                .or(ALLOW_BUSY),
        )
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "1.0.0",
            "O(N), N the number of the user's passwords",
            "Logs the connection in",
        )
        .args("[username@6.0.0] password")
        .history(&[("6.0.0", "Takes a user name")]),
    Command::new("echo", 2, echo)
        .flags(LOADING.or(STALE).or(FAST))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "1.0.0",
            "O(1)",
            "Sends its argument back",
        )
        .args("message"),
    Command::new("hello", -1, hello)
        .flags(
            NOSCRIPT
                .or(LOADING)
                .or(STALE)
                .or(FAST)
                .or(NO_AUTH)
                .or(ALLOW_BUSY),
        )
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "6.0.0",
            "O(1)",
            "Chooses the protocol version, optionally logs in, and describes the server",
        )
        .args(
            "[arguments:{protover:integer [AUTH username_password:{username password}] \
                [SETNAME clientname]}]",
        )
        .history(&[("6.2.0", "The protocol version may be left out")]),
    Command::new("ping", -1, ping)
        .flags(FAST)
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "1.0.0",
            "O(1)",
            "Answers PONG, or with its argument, to show that the server lives",
        )
        .args("[message]")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    Command::new("quit", -1, quit)
        .flags(
            NOSCRIPT
                .or(LOADING)
                .or(STALE)
                .or(FAST)
                .or(NO_AUTH)
                .or(ALLOW_BUSY),
        )
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "1.0.0",
            "O(1)",
            "Ends the connection after an OK",
        ),
    Command::new("reset", 1, reset)
        .flags(
            NOSCRIPT
                .or(LOADING)
                .or(STALE)
                .or(FAST)
                .or(NO_AUTH)
                .or(ALLOW_BUSY),
        )
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "6.2.0",
            "O(1)",
            "Puts the connection back into the state of a new one",
        ),
    Command::new("select", 2, select)
        .flags(LOADING.or(STALE).or(FAST))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "1.0.0",
            "O(1)",
            "Makes another database the current one",
        )
        .args("index:integer"),
];

const NO_PASSWORD: Error = Error::new(
    "ERR AUTH <password> called without any password configured for the default user. \
     Are you sure your configuration is correct?",
);
const BAD_VERSION: Error = Error::new("ERR Protocol version is not an integer or out of range");
const NO_PROTO: Error = Error::new("NOPROTO unsupported protocol version");
const HELLO_NO_AUTH: Error = Error::new(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
     <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
);

/// `AUTH [username] password`
fn auth(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    match args.len() {
        2 if needs_no_password(c.server) => return Err(NO_PASSWORD),
        2 => log_in(c, DEFAULT_USER, &args[1], &args[0])?,
        3 => log_in(c, &args[1], &args[2], &args[0])?,
        _ => return Err(SYNTAX),
    }
    c.out.ok();
    Ok(())
}

/// Whether any password lets the default user in.
fn needs_no_password(server: &Server) -> bool {
    server.acl.default_user().rights().needs_no_password()
}

/// Logs the client in, on behalf of `command`; one that has logged in before and now fails remains
/// who it was.
fn log_in(c: &mut Ctx<'_>, name: &[u8], password: &[u8], command: &[u8]) -> Outcome {
    match c.server.acl.log_in(name, password) {
        Some(user) => c.session.log_in(user),
        None => {
            permissions::note_failed_login(c.server, c.session, name, command);
            return Err(WRONG_PASS);
        }
    }
    Ok(())
}

/// `ECHO message`
fn echo(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    c.out.bulk(&args[1]);
    Ok(())
}

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`
fn hello(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let version = match args.len() {
        1 => None,
        _ => Some(int_or(args, 1, BAD_VERSION)?),
    };
    if version.is_some_and(|version| !(2..=3).contains(&version)) {
        return Err(NO_PROTO);
    }
    let (mut login, mut name) = (None, None);
    let mut at = 2;
    while at < args.len() {
        let left = args.len() - 1 - at;
        if is(&args[at], "AUTH") && left >= 2 {
            login = Some(at + 1);
            at += 3;
        } else if is(&args[at], "SETNAME") && left >= 1 {
            super::client::check_name(&args[at + 1])?;
            name = Some(at + 1);
            at += 2;
        } else {
            let mut text = b"ERR Syntax error in HELLO option '".to_vec();
            text.extend_from_slice(&args[at]);
            text.push(b'\'');
            return Err(Error::raw(text));
        }
    }
    if let Some(at) = login {
        log_in(c, &args[at], &args[at + 1], &args[0])?;
    }
    if !c.session.authenticated {
        return Err(HELLO_NO_AUTH);
    }
    if let Some(at) = name {
        set_name(&c.session.client, &args[at])?;
    }
    if let Some(version) = version {
        speak(c, version == 3);
    }
    describe(c);
    Ok(())
}

/// Switches the protocol, from the next reply on.
fn speak(c: &mut Ctx<'_>, resp3: bool) {
    c.out.set_resp3(resp3);
    let client = &c.session.client;
    if resp3 {
        // From now on, other threads may have messages for it: those of a client that redirects
        // to it what it is told about keys.
        client.outbox.hold();
    }
    client.subscriptions.listening(|| {
        let version = if resp3 { 3 } else { 2 };
        client.resp.store(version, Ordering::Relaxed);
    });
}

/// The reply of `HELLO`.
fn describe(c: &mut Ctx<'_>) {
    let proto = if c.out.is_resp3() { 3 } else { 2 };
    let out = &mut *c.out;
    out.map(7);
    for (name, text) in [("server", "redis"), ("version", REDIS_VERSION)] {
        out.bulk(name.as_bytes());
        out.bulk(text.as_bytes());
    }
    out.bulk(b"proto");
    out.int(proto);
    out.bulk(b"id");
    out.int(c.session.client.id as i64);
    for (name, text) in [("mode", "standalone"), ("role", "master")] {
        out.bulk(name.as_bytes());
        out.bulk(text.as_bytes());
    }
    out.bulk(b"modules");
    out.array(0);
}

/// `PING [message]`
fn ping(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let client = &c.session.client;
    let apart = client.has(SUBSCRIBED) && !c.out.is_resp3();
    match args.len() {
        // To be told from the messages it comes among.
        1 | 2 if apart => {
            c.out.array(2);
            c.out.bulk(b"pong");
            c.out.bulk(args.get(1).unwrap_or_default());
        }
        1 => c.out.simple("PONG"),
        2 => c.out.bulk(&args[1]),
        _ => return Err(wrong_arity("ping")),
    }
    Ok(())
}

/// `QUIT`
fn quit(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    c.out.ok();
    c.session.client.set(CLOSE_AFTER_REPLY, true);
    c.session.close = true;
    Ok(())
}

/// `RESET`. What the client said about its library stays, as the library does.
fn reset(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    transactions::finish(c.session);
    speak(c, false);
    c.session.select(0);
    c.session.replies = Replies::On;
    c.server.tracking.disable(&c.session.client);
    c.server.pubsub.leave(&c.session.client);
    c.session.log_out(&c.server.acl);
    c.session.client.rename(|names| names.name.clear());
    c.session.client.set(NO_EVICT, false);
    c.session.client.set(NO_TOUCH, false);
    c.out.simple("RESET");
    Ok(())
}

/// `SELECT index`
fn select(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let number = int_within(args, 1, i64::from(i32::MIN), i64::from(i32::MAX))?;
    let number = usize::try_from(number).map_err(|_| DB_OUT_OF_RANGE)?;
    if number >= c.server.store.databases() {
        return Err(DB_OUT_OF_RANGE);
    }
    c.session.select(number);
    c.out.ok();
    Ok(())
}
