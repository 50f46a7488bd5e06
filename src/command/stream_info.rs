//! `XINFO`: what there is to know about a stream, its groups and their consumers.

use super::error::{NO_SUCH_KEY, Outcome};
use super::help::{help, wrong_subcommand};
use super::options::{int, is};
use super::spec::*;
use super::stream_groups::no_group;
use super::streams::{reply_entry, reply_id, reply_range};
use super::{Args, Ctx};
use crate::resp::Reply;
use crate::types::stream::{Consumer, Group as ConsumerGroup, Log, Stream, StreamId};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("xinfo", -2, super::container)
    .docs(
        Group::Stream,
        "5.0.0",
        "Depends on the subcommand",
        "Groups the commands that tell about streams",
    )
    .subcommands(SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    Command::new("consumers", 4, consumers)
        .flags(READONLY)
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(2, RO.or(ACCESS))])
        .docs(Group::Stream, "5.0.0", "O(1)", "Lists the consumers of a group")
        .args("key groupname")
        .history(&[("7.2.0", "The field `inactive`; `idle` counts from the last attempt")])
        .tips(&["nondeterministic_output"]),
    Command::new("groups", 3, groups)
        .flags(READONLY)
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(2, RO.or(ACCESS))])
        .docs(Group::Stream, "5.0.0", "O(1)", "Lists the consumer groups of a stream")
        .args("key")
        .history(&[("7.0.0", "The fields `entries-read` and `lag`")]),
    Command::new("help", 2, info_help)
        .flags(LOADING.or(STALE))
        .acl(CAT_STREAM)
        .docs(Group::Stream, "5.0.0", "O(1)", "Lists the subcommands"),
    Command::new("stream", -3, stream)
        .flags(READONLY)
        .acl(CAT_STREAM)
        .keys(&[KeySpec::one(2, RO.or(ACCESS))])
        .docs(Group::Stream, "5.0.0", "O(N), N the number of the stream's blocks", "Tells about a stream")
        .args("key [FULL full:{[COUNT count:integer]}]")
        .history(&[
            ("6.0.0", "The option `FULL`"),
            (
                "7.0.0",
                "The fields `max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, `entries-read` and `lag`",
            ),
            ("7.2.0", "The field `active-time`; `seen-time` is the last attempt"),
        ]),
];

/// Entries that `FULL` shows of each list.
const SHOWN: i64 = 10;

/// `XINFO HELP`
fn info_help(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    help(
        c,
        args,
        &[
            "CONSUMERS <key> <groupname>",
            "    List the consumers of a group.",
            "GROUPS <key>",
            "    List the consumer groups of a stream.",
            "STREAM <key> [FULL [COUNT <count>]",
            "    Tell about a stream.",
        ],
    )
}

/// A number, or null where it cannot be told.
fn int_or_null(out: &mut Reply, value: Option<i64>) {
    match value {
        Some(value) => out.int(value),
        None => out.null(),
    }
}

/// `XINFO CONSUMERS key group`
fn consumers(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let now = c.db.now;
    let stream = c.db.stream(&args[2])?.ok_or(NO_SUCH_KEY)?;
    let group = stream.groups.get(&args[3]);
    let group = group.ok_or_else(|| no_group(&args[2], &args[3]))?;
    let since = |time: i64| now.wrapping_sub(time).max(0);
    c.out.array(group.consumer_count());
    for consumer in group.consumers() {
        c.out.map(4);
        c.out.bulk(b"name");
        c.out.bulk(&consumer.name);
        c.out.bulk(b"pending");
        c.out.count(consumer.pending().len());
        c.out.bulk(b"idle");
        c.out.int(since(consumer.seen));
        c.out.bulk(b"inactive");
        c.out.int(consumer.active.map_or(-1, since));
    }
    Ok(())
}

/// `XINFO GROUPS key`
fn groups(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let stream = c.db.stream(&args[2])?.ok_or(NO_SUCH_KEY)?;
    c.out.array(stream.groups.len());
    for (name, group) in &stream.groups {
        c.out.map(6);
        c.out.bulk(b"name");
        c.out.bulk(name);
        c.out.bulk(b"consumers");
        c.out.count(group.consumer_count());
        c.out.bulk(b"pending");
        c.out.count(group.pending().len());
        progress(c.out, &stream.log, group);
    }
    Ok(())
}

/// How far a group has come: three fields.
fn progress(out: &mut Reply, log: &Log, group: &ConsumerGroup) {
    out.bulk(b"last-delivered-id");
    reply_id(out, group.last_id);
    out.bulk(b"entries-read");
    int_or_null(out, group.entries_read);
    out.bulk(b"lag");
    int_or_null(out, group.lag(log));
}

/// `XINFO STREAM key [FULL [COUNT count]]`
fn stream(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let stream = c.db.stream(&args[2])?.ok_or(NO_SUCH_KEY)?;
    let full = match args.len() {
        3 => None,
        4 if is(&args[3], "FULL") => Some(SHOWN),
        6 if is(&args[3], "FULL") && is(&args[4], "COUNT") => {
            Some(int(args, 5)?).map(|count| if count < 0 { SHOWN } else { count })
        }
        _ => return Err(wrong_subcommand(args)),
    };
    let (out, log) = (&mut *c.out, &stream.log);
    out.map(if full.is_some() { 9 } else { 10 });
    out.bulk(b"length");
    out.count(log.len());
    out.bulk(b"radix-tree-keys");
    out.count(log.blocks().len());
    out.bulk(b"radix-tree-nodes");
    out.count(log.radix_nodes());
    out.bulk(b"last-generated-id");
    reply_id(out, log.last_id);
    out.bulk(b"max-deleted-entry-id");
    reply_id(out, log.max_deleted);
    out.bulk(b"entries-added");
    out.int(log.entries_added as i64);
    out.bulk(b"recorded-first-entry-id");
    reply_id(out, log.first_id);
    match full {
        Some(count) => everything(out, stream, count as usize),
        None => {
            out.bulk(b"groups");
            out.count(stream.groups.len());
            for (name, backward) in [(&b"first-entry"[..], false), (b"last-entry", true)] {
                out.bulk(name);
                match log.range(StreamId::MIN, StreamId::MAX, backward).next() {
                    Some(entry) => reply_entry(out, &entry),
                    None => out.null(),
                }
            }
        }
    }
    Ok(())
}

/// The entries and the groups with all they hold, `count` (0: all) of each list.
fn everything(out: &mut Reply, stream: &Stream, count: usize) {
    let log = &stream.log;
    out.bulk(b"entries");
    reply_range(out, log, (StreamId::MIN, StreamId::MAX), false, count);
    out.bulk(b"groups");
    out.array(stream.groups.len());
    let shown = |len: usize| if count == 0 { len } else { len.min(count) };
    for (name, group) in &stream.groups {
        out.map(7);
        out.bulk(b"name");
        out.bulk(name);
        progress(out, log, group);
        let pending = group.pending();
        out.bulk(b"pel-count");
        out.count(pending.len());
        out.bulk(b"pending");
        let shown = shown(pending.len());
        out.array(shown);
        for (id, entry) in pending.iter().take(shown) {
            out.array(4);
            reply_id(out, *id);
            out.bulk(&group.consumer(entry.owner).name);
            out.int(entry.delivered);
            out.int(entry.count as i64);
        }
        out.bulk(b"consumers");
        out.array(group.consumer_count());
        for consumer in group.consumers() {
            one_consumer(out, group, consumer, count);
        }
    }
}

fn one_consumer(out: &mut Reply, group: &ConsumerGroup, consumer: &Consumer, count: usize) {
    let pending = consumer.pending();
    out.map(5);
    out.bulk(b"name");
    out.bulk(&consumer.name);
    out.bulk(b"seen-time");
    out.int(consumer.seen);
    out.bulk(b"active-time");
    out.int(consumer.active.unwrap_or(-1));
    out.bulk(b"pel-count");
    out.count(pending.len());
    out.bulk(b"pending");
    let shown = if count == 0 {
        pending.len()
    } else {
        pending.len().min(count)
    };
    out.array(shown);
    let known = |id: &StreamId| group.pending().get(id).map(|entry| (*id, *entry));
    for (id, entry) in pending.iter().filter_map(known).take(shown) {
        out.array(3);
        reply_id(out, id);
        out.int(entry.delivered);
        out.int(entry.count as i64);
    }
}
