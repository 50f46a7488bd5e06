//! `XGROUP`: creating, changing and removing consumer groups and their consumers.

use super::error::{Error, Outcome};
use super::help::{help, wrong_subcommand};
use super::keyspace::Class;
use super::options::{int, is};
use super::spec::*;
use super::stream_reads::c_text;
use super::streams::{loose_id, strict_id};
use super::{Args, Ctx};
use crate::types::Value;
use crate::types::stream::{Group as ConsumerGroup, Stream, StreamId};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("xgroup", -2, super::container)
    .docs(
        Group::Stream,
        "5.0.0",
        "Depends on the subcommand",
        "Groups the commands that manage consumer groups",
    )
    .subcommands(SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    Command::new("create", -5, create)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(2, RW.or(INSERT))])
        .docs(Group::Stream, "5.0.0", "O(1)", "Creates a consumer group")
        .args("key groupname id:(id | new_id:\"$\") [MKSTREAM] [ENTRIESREAD entries_read:integer]")
        .history(&[("7.0.0", "The option `ENTRIESREAD`")]),
    Command::new("createconsumer", 5, create_consumer)
        .flags(WRITE.or(DENYOOM))
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(2, RW.or(INSERT))])
        .docs(
            Group::Stream,
            "6.2.0",
            "O(1)",
            "Creates a consumer in a group",
        )
        .args("key groupname consumername"),
    Command::new("delconsumer", 5, delete_consumer)
        .flags(WRITE)
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(2, RW.or(DELETE))])
        .docs(
            Group::Stream,
            "5.0.0",
            "O(1)",
            "Removes a consumer from a group, with what is pending there",
        )
        .args("key groupname consumername"),
    Command::new("destroy", 4, destroy)
        .flags(WRITE)
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(2, RW.or(DELETE))])
        .docs(
            Group::Stream,
            "5.0.0",
            "O(N), N the number of pending entries",
            "Removes a consumer group",
        )
        .args("key groupname"),
    Command::new("help", 2, group_help)
        .flags(LOADING.or(STALE))
        .acl(CAT_STREAM)
        .docs(Group::Stream, "5.0.0", "O(1)", "Lists the subcommands"),
    Command::new("setid", -5, set_id)
        .flags(WRITE)
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(2, RW.or(UPDATE))])
        .docs(
            Group::Stream,
            "5.0.0",
            "O(1)",
            "Sets the last entry that a group has been given",
        )
        .args("key groupname id:(id | new_id:\"$\") [ENTRIESREAD entries_read:integer]")
        .history(&[("7.0.0", "The argument `entries_read`")]),
];

const NO_KEY: Error = Error::new(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use \
     the MKSTREAM option to create an empty stream automatically.",
);
const BUSY: Error = Error::new("BUSYGROUP Consumer Group name already exists");
const ENTRIES_READ: Error = Error::new("ERR value for ENTRIESREAD must be positive or -1");

/// The error for a group that a stream does not have.
pub(super) fn no_group(key: &[u8], group: &[u8]) -> Error {
    let parts: [&[u8]; 5] = [
        b"NOGROUP No such consumer group '",
        c_text(group),
        b"' for key name '",
        c_text(key),
        b"'",
    ];
    Error::raw(parts.concat())
}

/// `XGROUP HELP`
fn group_help(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    help(
        c,
        args,
        &[
            "CREATE <key> <groupname> <id|$> [option]",
            "    Create a consumer group. Options are:",
            "    * MKSTREAM",
            "      Create an empty stream if there is none.",
            "    * ENTRIESREAD entries_read",
            "      How many entries the group has been given (internal use).",
            "CREATECONSUMER <key> <groupname> <consumer>",
            "    Create a consumer in a group.",
            "DELCONSUMER <key> <groupname> <consumer>",
            "    Remove a consumer from a group.",
            "DESTROY <key> <groupname>",
            "    Remove a group.",
            "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
            "    Set how far a group has come.",
        ],
    )
}

/// What stands behind the id of `CREATE` and `SETID`: whether to create the stream, and the number
/// of entries read.
fn options(args: &Args<'_>, creates: bool) -> Outcome<(bool, Option<i64>)> {
    let (mut mkstream, mut read) = (false, None);
    let mut at = 5;
    while at < args.len() {
        if creates && is(&args[at], "MKSTREAM") {
            mkstream = true;
            at += 1;
        } else if is(&args[at], "ENTRIESREAD") && at + 1 < args.len() {
            read = match int(args, at + 1)? {
                count @ 0.. => Some(count),
                -1 => None,
                _ => return Err(ENTRIES_READ),
            };
            at += 2;
        } else {
            return Err(wrong_subcommand(args));
        }
    }
    Ok((mkstream, read))
}

/// The stream of a subcommand that needs it.
fn stream<'c>(c: &'c mut Ctx<'_>, args: &Args<'_>) -> Outcome<&'c mut Stream> {
    c.db.stream_mut(&args[2])?
        .map(|stream| &mut **stream)
        .ok_or(NO_KEY)
}

/// The group of a subcommand that needs it.
fn group<'c>(c: &'c mut Ctx<'_>, args: &Args<'_>) -> Outcome<&'c mut ConsumerGroup> {
    let found = stream(c, args)?.groups.get_mut(&args[3]);
    found.ok_or_else(|| no_group(&args[2], &args[3]))
}

/// `XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD entries-read]`
fn create(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (mkstream, read) = options(args, true)?;
    let (key, name) = (&args[2], &args[3]);
    let stream = c.db.stream_mut(key)?;
    if stream.is_none() && !mkstream {
        return Err(NO_KEY);
    }
    // So many can only come of an option given twice.
    if args.len() > 8 {
        return Err(wrong_subcommand(args));
    }
    let last = match &args[4] {
        b"$" => stream
            .as_ref()
            .map_or(StreamId::MIN, |stream| stream.log.last_id),
        id => strict_id(id)?,
    };
    let group = ConsumerGroup::new(last, read);
    match stream {
        Some(stream) if stream.groups.contains_key(name) => return Err(BUSY),
        Some(stream) => drop(stream.groups.insert(name.into(), group)),
        None => {
            let mut stream = Box::<Stream>::default();
            stream.groups.insert(name.into(), group);
            c.db.add(key, Value::Stream(stream));
            c.db.changed(Class::Stream, "xgroup-create", key);
            c.out.ok();
            return Ok(());
        }
    }
    c.db.changed_unwatched(Class::Stream, "xgroup-create", key);
    c.out.ok();
    Ok(())
}

/// `XGROUP SETID key group id|$ [ENTRIESREAD entries-read]`
fn set_id(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let (_, read) = options(args, false)?;
    let (key, name) = (&args[2], &args[3]);
    let stream = stream(c, args)?;
    let group = stream.groups.get_mut(name);
    let group = group.ok_or_else(|| no_group(key, name))?;
    if args.len() > 7 {
        return Err(wrong_subcommand(args));
    }
    group.last_id = match &args[4] {
        b"$" => stream.log.last_id,
        id => loose_id(id)?,
    };
    group.entries_read = read;
    c.db.changed_unwatched(Class::Stream, "xgroup-setid", key);
    c.out.ok();
    Ok(())
}

/// `XGROUP DESTROY key group`
fn destroy(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let key = &args[2];
    let gone = stream(c, args)?.groups.remove(&args[3]).is_some();
    if gone {
        c.db.changed_unwatched(Class::Stream, "xgroup-destroy", key);
        // Whoever waits as a member of the group is told that it is gone.
        c.db.note_ready(key);
    }
    c.out.count(usize::from(gone));
    Ok(())
}

/// `XGROUP CREATECONSUMER key group consumer`
fn create_consumer(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let now = c.db.now;
    let group = group(c, args)?;
    let new = group.find(&args[4]).is_none();
    if new {
        group.add_consumer(&args[4], now);
        c.db.changed_unwatched(Class::Stream, "xgroup-createconsumer", &args[2]);
    }
    c.out.count(usize::from(new));
    Ok(())
}

/// `XGROUP DELCONSUMER key group consumer`
fn delete_consumer(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let pending = group(c, args)?.remove_consumer(&args[4]);
    if pending.is_some() {
        c.db.changed_unwatched(Class::Stream, "xgroup-delconsumer", &args[2]);
    }
    c.out.count(pending.unwrap_or(0));
    Ok(())
}
