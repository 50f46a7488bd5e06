//! `CLIENT`: the connections as clients may look at, name, stop and end them.
//!
//! What other clients show of themselves is in [`crate::server::client`]; the line that describes
//! one is made in [`super::client_list`].
//! <https://redis.io/docs/latest/commands/?group=connection>

use std::sync::Arc;

use super::error::{Error, SYNTAX};
use super::help::{help, wrong_subcommand};
use super::options::{int, int_or, is};
use super::session::Replies;
use super::spec::*;
use super::{Args, Ctx, Outcome, tracking};
use super::{client_eviction, client_list};
use crate::server::acl::{Acl, User};
use crate::server::blocking::End;
use crate::server::client::{
    CLOSE_AFTER_REPLY, Client, ClientFlag, MASTER, NO_EVICT, NO_TOUCH, REPLICA, SUBSCRIBED,
};
use crate::server::pause::{Mode, Purpose};
use crate::util::clock::now_ms;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("client", -2, super::container)
    .docs(
        Group::Connection,
        "2.4.0",
        "Depends on the subcommand",
        "Groups the commands about connections",
    )
    .subcommands(CLIENT_SUBCOMMANDS)];

const CLIENT_SUBCOMMANDS: &[Command] = &[
    tracking::CACHING_ROW,
    Command::new("getname", 2, client_getname)
        .flags(NOSCRIPT.or(LOADING).or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "2.6.9",
            "O(1)",
            "Tells the name of this connection",
        ),
    tracking::GETREDIR_ROW,
    Command::new("help", 2, client_help)
        .flags(LOADING.or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "5.0.0",
            "O(1)",
            "Lists the CLIENT subcommands",
        ),
    Command::new("id", 2, client_id)
        .flags(NOSCRIPT.or(LOADING).or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "5.0.0",
            "O(1)",
            "Tells the id of this connection",
        ),
    Command::new("info", 2, client_info)
        .flags(NOSCRIPT.or(LOADING).or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "6.2.0",
            "O(1)",
            "Describes this connection",
        )
        .tips(&["nondeterministic_output"]),
    Command::new("kill", -3, client_kill)
        .flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "2.4.0",
            "O(N), N the number of connections",
            "Closes the connections that fit an address or filters",
        )
        .args(
            "filter:(`ip:port`!2.8.12 | new-format:([ID client-id:integer@2.8.12] \
                | [TYPE normal_master_slave_pubsub:(NORMAL | MASTER@3.2.0 | SLAVE | REPLICA@5.0.0 \
                | PUBSUB)@2.8.12] | [USER username] | [ADDR `ip:port`] | [LADDR `ip:port`@6.2.0] \
                | [SKIPME `yes/no`])...)",
        )
        .history(&[
            ("2.8.12", "Filters"),
            ("2.8.12", "Filter ID"),
            ("3.2.0", "TYPE knows masters"),
            (
                "5.0.0",
                "TYPE says replica where it said slave; the old word still works",
            ),
            ("6.2.0", "Filter LADDR"),
        ]),
    Command::new("list", -2, client_list)
        .flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "2.4.0",
            "O(N), N the number of connections",
            "Describes the open connections, one a line",
        )
        .args(
            "[TYPE normal_master_replica_pubsub:(NORMAL | MASTER | REPLICA | PUBSUB)@5.0.0] \
                [ID id:{client-id:integer...}@6.2.0]",
        )
        .history(&[
            ("2.8.12", "Field id"),
            ("5.0.0", "Filter TYPE"),
            ("6.0.0", "Field user"),
            (
                "6.2.0",
                "Fields argv-mem, tot-mem, laddr and redir; filter ID",
            ),
            ("7.0.0", "Fields resp, multi-mem, rbs and rbp"),
            ("7.0.3", "Field ssub"),
            ("7.2.0", "Fields lib-name and lib-ver"),
        ])
        .tips(&["nondeterministic_output"]),
    Command::new("no-evict", 3, client_no_evict)
        .flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "7.0.0",
            "O(1)",
            "Exempts this connection from client eviction, or ends that",
        )
        .args("enabled:(ON | OFF)"),
    Command::new("no-touch", 3, client_no_touch)
        .flags(NOSCRIPT.or(LOADING).or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "7.2.0",
            "O(1)",
            "Keeps this connection's commands from counting as use of keys, or ends that",
        )
        .args("enabled:(ON | OFF)"),
    Command::new("pause", -3, client_pause)
        .flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "2.9.50",
            "O(1)",
            "Holds up the commands of clients for a while",
        )
        .args("timeout:integer [mode:(WRITE | ALL)@6.2.0]")
        .history(&[("6.2.0", "Modes WRITE and ALL")])
        // Whoever has the reply relies on it: nothing that is paused is still being carried out.
        .locking(Locking::AllWrite),
    Command::new("reply", 3, client_reply)
        .flags(NOSCRIPT.or(LOADING).or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "3.2.0",
            "O(1)",
            "Says whether this connection gets replies",
        )
        .args("on_off_skip:(ON | OFF | SKIP)"),
    Command::new("setinfo", 4, client_setinfo)
        .flags(NOSCRIPT.or(LOADING).or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "7.2.0",
            "O(1)",
            "Notes the name or version of the client library",
        )
        .args("attr:(\"lib-name\" libname | \"lib-ver\" libver)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    Command::new("setname", 3, client_setname)
        .flags(NOSCRIPT.or(LOADING).or(STALE))
        .acl(CAT_CONNECTION)
        .docs(Group::Connection, "2.6.9", "O(1)", "Names this connection")
        .args("connection-name"),
    tracking::TRACKING_ROW,
    tracking::TRACKINGINFO_ROW,
    Command::new("unblock", -3, client_unblock)
        .flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "5.0.0",
            "O(log(N)), N the number of connections",
            "Ends the wait of another client's blocking command",
        )
        .args("client-id:integer [timeout_error:(TIMEOUT | ERROR)]"),
    Command::new("unpause", 2, client_unpause)
        .flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Connection,
            "6.2.0",
            "O(N), N the number of paused clients",
            "Ends a CLIENT PAUSE",
        ),
];

const BAD_ID: Error = Error::new("ERR Invalid client ID");
const ID_TOO_SMALL: Error = Error::new("ERR client-id should be greater than 0");
const NO_SUCH_CLIENT: Error = Error::new("ERR No such client");
const BAD_NAME: Error =
    Error::new("ERR Client names cannot contain spaces, newlines or special characters.");
const BAD_TIMEOUT: Error = Error::new("ERR timeout is not an integer or out of range");
const NEGATIVE_TIMEOUT: Error = Error::new("ERR timeout is negative");
const BAD_PAUSE_MODE: Error = Error::new("ERR CLIENT PAUSE mode must be WRITE or ALL");
const BAD_UNBLOCK_REASON: Error =
    Error::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");

/// An error that quotes a word the client sent.
fn quoting(before: &str, word: &[u8], after: &str) -> Error {
    Error::raw([before.as_bytes(), word, after.as_bytes()].concat())
}

/// What kind of connection a client has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Master,
    Replica,
    Pubsub,
}

impl Kind {
    fn parse(word: &[u8]) -> Outcome<Kind> {
        const NAMES: [(&str, Kind); 5] = [
            ("normal", Kind::Normal),
            ("slave", Kind::Replica),
            ("replica", Kind::Replica),
            ("pubsub", Kind::Pubsub),
            ("master", Kind::Master),
        ];
        let found = NAMES.iter().find(|(name, _)| is(word, name));
        found
            .map(|&(_, kind)| kind)
            .ok_or_else(|| quoting("ERR Unknown client type '", word, "'"))
    }

    fn of(client: &Client) -> Kind {
        if client.has(MASTER) {
            Kind::Master
        } else if client.has(REPLICA) {
            Kind::Replica
        } else if client.has(SUBSCRIBED) {
            Kind::Pubsub
        } else {
            Kind::Normal
        }
    }
}

/// Whether a text can stand in a line of `CLIENT LIST`: printable ASCII without blanks.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

/// Checks a name for `CLIENT SETNAME`.
///
/// # Errors
/// It would not fit into a line of `CLIENT LIST`.
pub fn check_name(name: &[u8]) -> Outcome {
    if is_plain(name) {
        Ok(())
    } else {
        Err(BAD_NAME)
    }
}

/// Names a connection; an empty name takes the name away.
///
/// # Errors
/// As [`check_name`].
pub fn set_name(client: &Client, name: &[u8]) -> Outcome {
    check_name(name)?;
    client.rename(|names| names.name = name.to_vec());
    Ok(())
}

/// `CLIENT SETNAME connection-name`
fn client_setname(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    set_name(&c.session.client, &args[2])?;
    c.out.ok();
    Ok(())
}

/// `CLIENT GETNAME`
fn client_getname(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let name = c.session.client.names().name;
    c.out.bulk_or_null((!name.is_empty()).then_some(&name));
    Ok(())
}

/// `CLIENT SETINFO LIB-NAME libname | LIB-VER libver`
fn client_setinfo(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (attribute, value) = (&args[2], &args[3]);
    let is_name = is(attribute, "lib-name");
    if !is_name && !is(attribute, "lib-ver") {
        return Err(quoting("ERR Unrecognized option '", attribute, "'"));
    }
    if !is_plain(value) {
        return Err(quoting(
            "ERR ",
            attribute,
            " cannot contain spaces, newlines or special characters.",
        ));
    }
    c.session.client.rename(|names| {
        let field = if is_name {
            &mut names.lib_name
        } else {
            &mut names.lib_version
        };
        *field = value.to_vec();
    });
    c.out.ok();
    Ok(())
}

/// `CLIENT ID`
fn client_id(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    c.out.int(c.session.client.id as i64);
    Ok(())
}

/// `CLIENT INFO`
fn client_info(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let mut text = Vec::new();
    client_list::line(&mut text, &c.session.client, now_ms(), Some(args));
    c.out.verbatim("txt", &text);
    Ok(())
}

/// `CLIENT LIST [TYPE type | ID id ...]`
fn client_list(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if !client_eviction::before_looking(c) {
        // It looks again elsewhere.
        return Ok(());
    }
    let clients = &c.server.clients;
    let listed = match args.len() {
        2 => clients.all(),
        4 if is(&args[2], "TYPE") => {
            let kind = Kind::parse(&args[3])?;
            let all = clients.all().into_iter();
            all.filter(|client| Kind::of(client) == kind).collect()
        }
        4.. if is(&args[2], "ID") => {
            let ids = (3..args.len()).map(|at| int_or(args, at, BAD_ID));
            let ids = ids.collect::<Outcome<Vec<i64>>>()?;
            ids.into_iter()
                .filter_map(|id| clients.get(u64::try_from(id).ok()?))
                .collect()
        }
        _ => return Err(SYNTAX),
    };
    let (now, args) = (now_ms(), &*args);
    let mut text = Vec::new();
    for client in &listed {
        let asks = Arc::ptr_eq(client, &c.session.client);
        client_list::line(&mut text, client, now, asks.then_some(args));
    }
    c.out.verbatim("txt", &text);
    Ok(())
}

/// Which clients `CLIENT KILL` ends: those that fit everything that is given.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    kind: Option<Kind>,
    user: Option<Arc<User>>,
    skip_me: bool,
}

impl<'a> Filter<'a> {
    /// Reads the options behind `CLIENT KILL`. A later one replaces an earlier one of its kind.
    fn parse(args: &'a Args<'_>, acl: &Acl) -> Outcome<Filter<'a>> {
        let mut filter = Filter {
            skip_me: true,
            ..Filter::default()
        };
        for at in (2..args.len()).step_by(2) {
            let value = args.get(at + 1).ok_or(SYNTAX)?;
            let option = &args[at];
            if is(option, "ID") {
                let id = int_or(args, at + 1, ID_TOO_SMALL)?;
                filter.id = Some(
                    u64::try_from(id)
                        .ok()
                        .filter(|&id| id > 0)
                        .ok_or(ID_TOO_SMALL)?,
                );
            } else if is(option, "TYPE") {
                filter.kind = Some(Kind::parse(value)?);
            } else if is(option, "ADDR") {
                filter.addr = Some(value);
            } else if is(option, "LADDR") {
                filter.laddr = Some(value);
            } else if is(option, "USER") {
                let user = acl.get(value);
                let user = user.ok_or_else(|| quoting("ERR No such user '", value, "'"))?;
                filter.user = Some(user);
            } else if is(option, "SKIPME") {
                filter.skip_me = match () {
                    () if is(value, "yes") => true,
                    () if is(value, "no") => false,
                    () => return Err(SYNTAX),
                };
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(filter)
    }

    fn fits(&self, client: &Client) -> bool {
        self.id.is_none_or(|id| id == client.id)
            && self
                .addr
                .is_none_or(|addr| addr == client.address.peer.as_bytes())
            && self
                .laddr
                .is_none_or(|addr| addr == client.address.local.as_bytes())
            && self.kind.is_none_or(|kind| kind == Kind::of(client))
            && (self.user.as_ref()).is_none_or(|user| client.is_user(user))
    }
}

/// `CLIENT KILL ip:port`, `CLIENT KILL option value ...`
fn client_kill(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let old_form = args.len() == 3;
    let filter = match old_form {
        true => Filter {
            addr: Some(&args[2]),
            ..Filter::default()
        },
        false => Filter::parse(args, &c.server.acl)?,
    };
    let mut killed = 0;
    for client in c.server.clients.all() {
        let me = client.id == c.session.client.id;
        if (me && filter.skip_me) || !filter.fits(&client) {
            continue;
        }
        killed += 1;
        if me {
            // Once it has its reply.
            client.set(CLOSE_AFTER_REPLY, true);
            c.session.close = true;
        } else {
            // Its thread notices later; to everybody else it is gone now.
            client.kill();
            c.server.remove_client(&client);
        }
    }
    match (old_form, killed) {
        (true, 0) => return Err(NO_SUCH_CLIENT),
        (true, _) => c.out.ok(),
        (false, _) => c.out.int(killed),
    }
    Ok(())
}

/// `CLIENT REPLY ON | OFF | SKIP`. The dispatcher takes the replies back.
fn client_reply(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let mode = &args[2];
    if is(mode, "on") {
        c.session.replies = Replies::On;
        c.out.ok();
    } else if is(mode, "off") {
        c.session.replies = Replies::Off;
    } else if is(mode, "skip") {
        if c.session.replies != Replies::Off {
            c.session.replies = Replies::SkipNext;
        }
    } else {
        return Err(SYNTAX);
    }
    Ok(())
}

/// Sets or clears a flag of the own connection as the argument behind the subcommand says.
fn switch(c: &mut Ctx<'_>, args: &Args<'_>, flag: ClientFlag) -> Outcome {
    let on = is(&args[2], "on");
    if !on && !is(&args[2], "off") {
        return Err(SYNTAX);
    }
    c.session.client.set(flag, on);
    c.out.ok();
    Ok(())
}

/// `CLIENT NO-EVICT ON | OFF`
fn client_no_evict(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    switch(c, args, NO_EVICT)
}

/// `CLIENT NO-TOUCH ON | OFF`
fn client_no_touch(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    switch(c, args, NO_TOUCH)
}

/// `CLIENT UNBLOCK client-id [TIMEOUT | ERROR]`. A client that waits for the end of a pause is not to
/// be woken, as in Redis.
fn client_unblock(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let why = match args.len() {
        3 => End::TimedOut,
        4 if is(&args[3], "timeout") => End::TimedOut,
        4 if is(&args[3], "error") => End::Unblocked,
        4 => return Err(BAD_UNBLOCK_REASON),
        _ => return Err(wrong_subcommand(args)),
    };
    let id = int(args, 2)?;
    let waiter = u64::try_from(id)
        .ok()
        .and_then(|id| c.server.clients.get(id)?.waiter());
    c.out
        .int(waiter.is_some_and(|waiter| waiter.end(why)).into());
    Ok(())
}

/// `CLIENT PAUSE timeout [WRITE | ALL]`
fn client_pause(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let mode = match args.len() {
        3 => Mode::All,
        4 if is(&args[3], "all") => Mode::All,
        4 if is(&args[3], "write") => Mode::Write,
        4 => return Err(BAD_PAUSE_MODE),
        _ => return Err(wrong_subcommand(args)),
    };
    let timeout = int_or(args, 2, BAD_TIMEOUT)?;
    if timeout < 0 {
        return Err(NEGATIVE_TIMEOUT);
    }
    let until = now_ms().saturating_add(timeout);
    c.server.pause.start(Purpose::Client, until, mode);
    c.out.ok();
    Ok(())
}

/// `CLIENT UNPAUSE`
fn client_unpause(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    c.server.pause.end(Purpose::Client);
    c.out.ok();
    Ok(())
}

/// `CLIENT HELP`
fn client_help(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    help(c, args, HELP)
}

const HELP: &[&str] = &[
    "CACHING (YES|NO)",
    "    Say whether the keys of the next command are tracked, as OPTIN or OPTOUT leave open.",
    "GETNAME",
    "    Tell the name of this connection.",
    "GETREDIR",
    "    Tell the id of the client that gets this one's tracking messages, or -1.",
    "ID",
    "    Tell the id of this connection.",
    "INFO",
    "    Describe this connection, as a line of LIST does.",
    "KILL <ip:port>",
    "    Close the connection from that address.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Close every connection that fits all options:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      comes from this address",
    "    * ID <client-id>",
    "      has this id",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      was made to this address of the server",
    "    * SKIPME (YES|NO)",
    "      whether to spare the connection that asks (default: yes)",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      is of this type",
    "    * USER <username>",
    "      is logged in as this user",
    "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <client-id> [<client-id> [...]]]",
    "    Describe the connections, one a line: all, or only these.",
    "NO-EVICT (ON|OFF)",
    "    Exempt this connection from client eviction, or no longer.",
    "NO-TOUCH (ON|OFF)",
    "    Leave access times and counters of keys alone, or no longer.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Hold up commands of all clients for so many milliseconds: those that write, or all.",
    "REPLY (ON|OFF|SKIP)",
    "    Say whether this connection gets replies; SKIP leaves out that of the next command.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Note the name or the version of the client library.",
    "SETNAME <name>",
    "    Name this connection; an empty name takes the name away.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [PREFIX <prefix> ...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Have this connection, or another one, told when keys that it has read change.",
    "TRACKINGINFO",
    "    Describe how this connection uses client-side caching.",
    "UNBLOCK <client-id> [TIMEOUT|ERROR]",
    "    End the wait of a client in a blocking command, as if by timeout or with an error.",
    "UNPAUSE",
    "    End a PAUSE.",
];
