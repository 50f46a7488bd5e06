//! `SLOWLOG`: the commands that took long, and how they come to be noted.
//! <https://redis.io/docs/latest/commands/slowlog/>

use std::time::Duration;

use super::error::{Error, Outcome};
use super::help::{help, wrong_subcommand};
use super::options::int_or;
use super::spec::*;
use super::{Args, Ctx, Row, Session, secrets};
use crate::server::Server;
use crate::server::config::id;
use crate::server::slowlog::shorten;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("slowlog", -2, super::container)
    .docs(
        Group::Server,
        "2.2.12",
        "Depends on the subcommand",
        "Groups the commands about the log of slow commands",
    )
    .subcommands(SLOWLOG_SUBCOMMANDS)];

const SLOWLOG_SUBCOMMANDS: &[Command] = &[
    Command::new("get", -2, slowlog_get)
        .flags(ADMIN.or(LOADING).or(STALE))
        .docs(
            Group::Server,
            "2.2.12",
            "O(N), N the number of entries returned",
            "Returns the newest entries of the slow log",
        )
        .args("[count:integer]")
        .history(&[("4.0.0", "Entries tell the client's address and name")])
        .tips(&["request_policy:all_nodes", "nondeterministic_output"]),
    Command::new("help", 2, slowlog_help)
        .flags(LOADING.or(STALE))
        .docs(
            Group::Server,
            "6.2.0",
            "O(1)",
            "Lists the SLOWLOG subcommands",
        ),
    Command::new("len", 2, slowlog_len)
        .flags(ADMIN.or(LOADING).or(STALE))
        .docs(
            Group::Server,
            "2.2.12",
            "O(1)",
            "Counts the entries of the slow log",
        )
        .tips(&[
            "request_policy:all_nodes",
            "response_policy:agg_sum",
            "nondeterministic_output",
        ]),
    Command::new("reset", 2, slowlog_reset)
        .flags(ADMIN.or(LOADING).or(STALE))
        .docs(
            Group::Server,
            "2.2.12",
            "O(N), N the number of entries",
            "Empties the slow log",
        )
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
];

const BAD_COUNT: Error = Error::new("ERR count should be greater than or equal to -1");

/// How many entries there are without a count.
const DEFAULT_COUNT: usize = 10;

/// The event of a command that has run.
fn event(row: &Row) -> &'static str {
    match row.spec.flags.has(FAST) {
        true => "fast-command",
        false => "command",
    }
}

/// Notes a command that took so long that [`Server::is_slow`] says so.
#[cold]
pub(super) fn note(server: &Server, session: &Session, row: &Row, args: &Args<'_>, nanos: u64) {
    // What a log holds was slow, or not, when it happened.
    if session.feeder {
        return;
    }
    let took = Duration::from_nanos(nanos);
    server.latency.note(&server.config, event(row), took);
    if is_logged(server, row, nanos) {
        push(server, session, nanos, kept(row, args));
    }
}

/// Notes for the latency monitor alone how long all commands of a transaction took together.
#[cold]
pub(super) fn note_transaction(server: &Server, session: &Session, row: &Row, took: Duration) {
    if !session.feeder {
        server.latency.note(&server.config, event(row), took);
    }
}

/// A command that has begun to wait, and is for the slow log once it has been served.
pub struct Waiting {
    row: &'static Row,
    args: Vec<Box<[u8]>>,
    nanos: u64,
}

impl Waiting {
    /// A command that took so long before it waited.
    #[cold]
    pub(super) fn new(
        server: &Server,
        row: &'static Row,
        args: &Args<'_>,
        nanos: u64,
    ) -> Box<Waiting> {
        if server.is_slow(nanos) {
            let took = Duration::from_nanos(nanos);
            server.latency.note(&server.config, event(row), took);
        }
        Box::new(Waiting {
            row,
            args: kept(row, args),
            nanos,
        })
    }

    /// The wait is over; to serve the client took so long.
    pub(super) fn end(self, server: &Server, session: &Session, serving: u64) {
        let took = Duration::from_nanos(serving);
        let latency = &server.latency;
        latency.note(&server.config, "command-unblocking", took);
        let nanos = self.nanos + serving;
        if is_logged(server, self.row, nanos) {
            push(server, session, nanos, self.args);
        }
    }
}

fn is_logged(server: &Server, row: &Row, nanos: u64) -> bool {
    let limit = server.config.int(id::SLOWLOG_LOG_SLOWER_THAN);
    let slow = u64::try_from(limit).is_ok_and(|micros| nanos / 1000 >= micros);
    slow && !row.spec.flags.has(SKIP_SLOWLOG)
}

fn kept(row: &Row, args: &Args<'_>) -> Vec<Box<[u8]>> {
    shorten(args, &secrets::positions(row, args))
}

fn push(server: &Server, session: &Session, nanos: u64, args: Vec<Box<[u8]>>) {
    let most = server.config.int(id::SLOWLOG_MAX_LEN) as usize;
    let client = &session.client;
    let (peer, name) = (client.address.peer.clone(), client.names().name);
    server.slowlog.push(most, nanos / 1000, args, peer, name);
}

/// `SLOWLOG GET [count]`: -1 stands for all.
fn slowlog_get(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let count = match args.len() {
        2 => DEFAULT_COUNT,
        3 => match int_or(args, 2, BAD_COUNT)? {
            -1 => usize::MAX,
            count => usize::try_from(count).map_err(|_| BAD_COUNT)?,
        },
        _ => return Err(wrong_subcommand(args)),
    };
    let entries = c.server.slowlog.newest(count);
    c.out.array(entries.len());
    for entry in &entries {
        c.out.array(6);
        c.out.int(entry.id as i64);
        c.out.int(entry.time);
        c.out.int(entry.micros as i64);
        c.out.array(entry.args.len());
        entry.args.iter().for_each(|arg| c.out.bulk(arg));
        c.out.bulk(entry.peer.as_bytes());
        c.out.bulk(&entry.name);
    }
    Ok(())
}

/// `SLOWLOG LEN`
fn slowlog_len(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    c.out.count(c.server.slowlog.len());
    Ok(())
}

/// `SLOWLOG RESET`
fn slowlog_reset(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    c.server.slowlog.reset();
    c.out.ok();
    Ok(())
}

/// `SLOWLOG HELP`
fn slowlog_help(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    help(c, args, HELP)
}

const HELP: &[&str] = &[
    "GET [<count>]",
    "    Return the newest entries (default: 10, -1 for all), each made of",
    "    id, unix time, microseconds, arguments, address and name of the client.",
    "LEN",
    "    Count the entries.",
    "RESET",
    "    Remove all entries.",
];
