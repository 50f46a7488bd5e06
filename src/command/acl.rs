//! `ACL`: the users, what they may do, and what they have been refused.
//!
//! The users themselves are in [`crate::server::acl`]; how a command is held against them is in
//! [`super::permissions`].
//! <https://redis.io/docs/latest/commands/acl/>

use std::sync::Arc;

use super::dispatch::resolve;
use super::error::{Error, Outcome};
use super::help::{help, wrong_subcommand};
use super::options::{int, is};
use super::spec::*;
use super::table::{Row, table};
use super::{Args, Ctx, permissions};
use crate::resp::Reply;
use crate::server::acl::rule::{has_spaces, until_zero};
use crate::server::acl::selector::{Selector, is_among};
use crate::server::acl::{Change, DEFAULT_USER, User, file};
use crate::server::client::{CLOSE_AFTER_REPLY, Client, SUBSCRIBED};
use crate::server::config::id;
use crate::util::clock::now_ms;
use crate::util::random::hex_id;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("acl", -2, super::container)
    .docs(
        Group::Server,
        "6.0.0",
        "Depends on the subcommand",
        "Groups the commands about users and their permissions",
    )
    .subcommands(ACL_SUBCOMMANDS)];

/// A subcommand that is for administrators.
const fn admin(name: &'static str, arity: i16, handler: super::Handler) -> Command {
    Command::new(name, arity, handler).flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE))
}

/// A subcommand that is for everybody.
const fn open(name: &'static str, arity: i16, handler: super::Handler) -> Command {
    Command::new(name, arity, handler).flags(NOSCRIPT.or(LOADING).or(STALE))
}

const ACL_SUBCOMMANDS: &[Command] = &[
    open("cat", -2, acl_cat)
        .docs(
            Group::Server,
            "6.0.0",
            "O(1)",
            "Lists the categories of commands, or the commands of one",
        )
        .args("[category]"),
    admin("deluser", -3, acl_deluser)
        .docs(
            Group::Server,
            "6.0.0",
            "O(1) a user",
            "Deletes users and closes their connections",
        )
        .args("username..."),
    admin("dryrun", -4, acl_dryrun)
        .docs(
            Group::Server,
            "7.0.0",
            "O(1)",
            "Tells whether a user may carry out a command, without carrying it out",
        )
        .args("username command [arg...]"),
    open("genpass", -2, acl_genpass)
        .docs(
            Group::Server,
            "6.0.0",
            "O(1)",
            "Makes up a password that cannot be guessed",
        )
        .args("[bits:integer]"),
    admin("getuser", 3, acl_getuser)
        .docs(
            Group::Server,
            "6.0.0",
            "O(N), N the number of the user's passwords and rules",
            "Tells what a user may do",
        )
        .args("username")
        .history(&[
            ("6.2.0", "Shows channel patterns"),
            (
                "7.0.0",
                "Shows selectors; keys and channels come as text, in the form of rules",
            ),
        ]),
    Command::new("help", 2, acl_help)
        .flags(LOADING.or(STALE))
        .docs(Group::Server, "6.0.0", "O(1)", "Lists the ACL subcommands"),
    admin("list", 2, acl_list).docs(
        Group::Server,
        "6.0.0",
        "O(N), N the number of users",
        "Lists the users, each as a line of the ACL file",
    ),
    admin("load", 2, acl_load).slow().docs(
        Group::Server,
        "6.0.0",
        "O(N), N the number of users",
        "Reads the users from the ACL file again",
    ),
    admin("log", -2, acl_log)
        .docs(
            Group::Server,
            "6.0.0",
            "O(N), N the number of entries shown",
            "Tells what has been refused lately",
        )
        .args("[operation:(count:integer | RESET)]")
        .history(&[(
            "7.2.0",
            "Entries have numbers, and the times of the first and the last refusal",
        )]),
    admin("save", 2, acl_save).slow().docs(
        Group::Server,
        "6.0.0",
        "O(N), N the number of users",
        "Writes the users to the ACL file",
    ),
    admin("setuser", -3, acl_setuser)
        .docs(
            Group::Server,
            "6.0.0",
            "O(N), N the number of rules",
            "Creates a user, or changes what one may do",
        )
        .args("username [rule...]")
        .history(&[
            ("6.2.0", "Channel patterns"),
            (
                "7.0.0",
                "Selectors, and separate permissions to read and write keys",
            ),
        ]),
    admin("users", 2, acl_users).docs(
        Group::Server,
        "6.0.0",
        "O(N), N the number of users",
        "Lists the names of the users",
    ),
    open("whoami", 2, acl_whoami).docs(
        Group::Server,
        "6.0.0",
        "O(1)",
        "Tells which user this connection is logged in as",
    ),
];

/// Most bits of a password that `GENPASS` makes, and how many it makes unless told otherwise.
const MAX_BITS: i64 = 4096;
const DEFAULT_BITS: i64 = 256;
/// Bits of a hexadecimal digit.
const DIGIT_BITS: i64 = 4;
/// Entries that `LOG` shows unless told otherwise.
const SHOWN: i64 = 10;
/// Bytes of a category that an error quotes.
const QUOTED: usize = 128;

const BAD_NAME: Error = Error::new("ERR Usernames can't contain spaces or null characters");
const NOT_DEFAULT: Error = Error::new("ERR The 'default' user cannot be removed");
const BAD_BITS: Error = Error::new(
    "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number \
     up to 4096",
);
const NO_FILE: Error = Error::new(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via \
     the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration \
     file set) in order to store users in the Redis configuration.",
);
const NOT_SAVED: Error = Error::new(
    "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
);

/// An error that quotes a word the client sent, as far as C would print it.
fn quoting(before: &str, word: &[u8], after: &str) -> Error {
    Error::raw([before.as_bytes(), until_zero(word), after.as_bytes()].concat())
}

// ---------------------------------------------------------------- telling

/// `ACL CAT [category]`
fn acl_cat(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let catalogue = c.server.acl.catalogue();
    match args.len() {
        2 => {
            c.out.array(catalogue.categories().len());
            catalogue
                .categories()
                .for_each(|name| c.out.bulk(name.as_bytes()));
        }
        3 => {
            let name = until_zero(&args[2]);
            let category = catalogue.category(name).ok_or_else(|| {
                let shown = &name[..name.len().min(QUOTED)];
                quoting("ERR Unknown category '", shown, "'")
            })?;
            let commands = catalogue.iter().map(|(_, entry)| entry);
            let found: Vec<_> = commands
                .filter(|entry| entry.categories & category != 0)
                .collect();
            c.out.array(found.len());
            (found.iter()).for_each(|entry| c.out.bulk(entry.name.as_bytes()));
        }
        _ => return Err(wrong_subcommand(args)),
    }
    Ok(())
}

/// `ACL USERS`
fn acl_users(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let users = c.server.acl.all();
    c.out.array(users.len());
    users.iter().for_each(|user| c.out.bulk(user.name()));
    Ok(())
}

/// `ACL LIST`
fn acl_list(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let users = c.server.acl.all();
    c.out.array(users.len());
    (users.iter()).for_each(|user| c.out.bulk(&file::describe(user)));
    Ok(())
}

/// `ACL WHOAMI`
fn acl_whoami(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    c.out.bulk(c.session.user().name());
    Ok(())
}

/// `ACL GETUSER username`
fn acl_getuser(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let Some(user) = c.server.acl.get(&args[2]) else {
        c.out.null();
        return Ok(());
    };
    let (rights, out) = (user.rights(), &mut *c.out);
    out.map(6);
    out.bulk(b"flags");
    out.set(rights.flags().count());
    rights.flags().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"passwords");
    out.array(rights.passwords().len());
    rights.passwords().iter().for_each(|one| out.bulk(one));
    let selectors = rights.selectors();
    show_selector(out, &selectors[0]);
    out.bulk(b"selectors");
    out.array(selectors.len() - 1);
    for selector in &selectors[1..] {
        out.map(3);
        show_selector(out, selector);
    }
    Ok(())
}

/// The three fields of a selector.
fn show_selector(out: &mut Reply, selector: &Selector) {
    for (name, rules) in [
        ("commands", selector.describe_commands()),
        ("keys", selector.describe_keys()),
        ("channels", selector.describe_channels()),
    ] {
        out.bulk(name.as_bytes());
        out.bulk(&rules);
    }
}

/// `ACL DRYRUN username command [arg ...]`
fn acl_dryrun(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let user = c.server.acl.get(&args[2]);
    let user = user.ok_or_else(|| quoting("ERR User '", &args[2], "' not found"))?;
    let unknown = quoting("ERR Command '", &args[3], "' not found");
    let inner = args.skip(3);
    let row = lookup(&inner).ok_or(unknown)?;
    // The arity is what can still be wrong.
    let row = resolve(row, &inner)?;
    match permissions::judge(&user.rights(), row, &inner) {
        Ok(()) => c.out.ok(),
        Err(denied) => c.out.bulk(&denied.explain(user.name(), row, &inner)),
    }
    Ok(())
}

/// The command that these arguments begin with.
fn lookup(args: &Args<'_>) -> Option<&'static Row> {
    let row = table().find(&args[0])?;
    match args.get(1) {
        Some(word) if !row.subcommands.is_empty() => row.subcommand(word).map(|_| row),
        _ => Some(row),
    }
}

/// `ACL GENPASS [bits]`
fn acl_genpass(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let bits = match args.len() {
        2 => DEFAULT_BITS,
        3 => int(args, 2)?,
        _ => return Err(wrong_subcommand(args)),
    };
    if !(1..=MAX_BITS).contains(&bits) {
        return Err(BAD_BITS);
    }
    // Every digit that has one of the bits.
    let digits = (bits + DIGIT_BITS - 1) / DIGIT_BITS;
    c.out.bulk(hex_id(digits as usize).as_bytes());
    Ok(())
}

/// `ACL LOG [count | RESET]`
fn acl_log(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let count = match args.len() {
        2 => SHOWN,
        3 if is(&args[2], "RESET") => {
            c.server.acl.refusals().clear();
            c.out.ok();
            return Ok(());
        }
        3 => int(args, 2)?.max(0),
        _ => return Err(wrong_subcommand(args)),
    };
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let entries = c.server.acl.refusals().latest(most);
    let (now, out) = (now_ms(), &mut *c.out);
    out.array(entries.len());
    for entry in &entries {
        let text = |out: &mut Reply, name: &str, text: &[u8]| {
            out.bulk(name.as_bytes());
            out.bulk(text);
        };
        let number = |out: &mut Reply, name: &str, number: i64| {
            out.bulk(name.as_bytes());
            out.int(number);
        };
        out.map(10);
        number(out, "count", entry.count as i64);
        text(out, "reason", entry.reason.name().as_bytes());
        text(out, "context", entry.context.name().as_bytes());
        text(out, "object", &entry.object);
        text(out, "username", &entry.user);
        out.bulk(b"age-seconds");
        out.double((now - entry.updated) as f64 / 1000.0);
        text(out, "client-info", &entry.client);
        number(out, "entry-id", entry.id as i64);
        number(out, "timestamp-created", entry.created);
        number(out, "timestamp-last-updated", entry.updated);
    }
    Ok(())
}

// --------------------------------------------------------------- changing

/// `ACL SETUSER username [rule ...]`
fn acl_setuser(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let name = &args[2];
    if has_spaces(name) {
        return Err(BAD_NAME);
    }
    let rules: Vec<&[u8]> = args.from(3).collect();
    let changed = c.server.acl.set_user(&c.server.config, name, &rules);
    let changed = changed.map_err(|reason| Error::raw([b"ERR ", &reason[..]].concat()))?;
    if let Some(change) = changed {
        close_subscribers(c, &change);
    }
    c.out.ok();
    Ok(())
}

/// Closes the connections of a user that listen to what the user may no longer listen to.
fn close_subscribers(c: &mut Ctx<'_>, change: &Change) {
    let Some(left) = change.after.channels_left(&change.before) else {
        return;
    };
    let allows = |name: &[u8], is_pattern: bool| is_among(&left, name, is_pattern);
    for client in c.server.clients.all() {
        let listens = client.has(SUBSCRIBED) && client.is_user(&change.user);
        if listens && !permissions::listens_within(c.server, &client, &allows) {
            close(c, &client);
        }
    }
}

/// Closes a connection; that of the client itself once it has its reply.
fn close(c: &mut Ctx<'_>, client: &Arc<Client>) {
    if client.id == c.session.client.id {
        client.set(CLOSE_AFTER_REPLY, true);
        c.session.close = true;
    } else {
        // Its thread notices later; to everybody else it is gone now.
        client.kill();
        c.server.remove_client(client);
    }
}

/// Closes the connections of users that have been deleted.
fn close_connections(c: &mut Ctx<'_>, users: &[Arc<User>]) {
    if users.is_empty() {
        return;
    }
    for client in c.server.clients.all() {
        if !users.iter().any(|user| client.is_user(user)) {
            continue;
        }
        close(c, &client);
        if client.id == c.session.client.id {
            c.session.forget_user(&c.server.acl);
        }
    }
}

/// `ACL DELUSER username [username ...]`
fn acl_deluser(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if args.from(2).any(|name| until_zero(name) == DEFAULT_USER) {
        return Err(NOT_DEFAULT);
    }
    let names = args.from(2);
    let deleted: Vec<_> = names.filter_map(|name| c.server.acl.delete(name)).collect();
    close_connections(c, &deleted);
    c.out.count(deleted.len());
    Ok(())
}

// ------------------------------------------------------------------- file

fn check_file(c: &Ctx<'_>) -> Outcome {
    match c.server.config.str(id::ACLFILE).is_empty() {
        true => Err(NO_FILE),
        false => Ok(()),
    }
}

/// `ACL LOAD`
fn acl_load(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    check_file(c)?;
    let gone = c.server.acl.load(&c.server.config);
    let gone = gone.map_err(|errors| Error::raw([b"ERR ", &errors[..]].concat()))?;
    close_connections(c, &gone);
    c.out.ok();
    Ok(())
}

/// `ACL SAVE`
fn acl_save(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    check_file(c)?;
    if !c.server.acl.save(&c.server.config) {
        return Err(NOT_SAVED);
    }
    c.out.ok();
    Ok(())
}

/// `ACL HELP`
fn acl_help(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    help(c, args, HELP)
}

const HELP: &[&str] = &[
    "CAT [<category>]",
    "    List the categories of commands, or the commands of one category.",
    "DELUSER <username> [<username> ...]",
    "    Delete users, and close their connections.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Tell whether a user may carry out a command, without carrying it out.",
    "GENPASS [<bits>]",
    "    Make up a password of 256 bits, or of another size.",
    "GETUSER <username>",
    "    Tell what a user may do.",
    "LIST",
    "    List the users as lines of the ACL file.",
    "LOAD",
    "    Read the users from the ACL file again.",
    "LOG [<count> | RESET]",
    "    Tell what has been refused lately, or forget it.",
    "SAVE",
    "    Write the users to the ACL file.",
    "SETUSER <username> <rule> [<rule> ...]",
    "    Create a user, or change what one may do.",
    "USERS",
    "    List the names of the users.",
    "WHOAMI",
    "    Tell which user this connection is logged in as.",
];
