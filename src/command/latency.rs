//! `LATENCY`: what has taken long, and how long commands take.
//!
//! The events come from [`crate::server::latency`], the histograms from [`crate::server::stats`].
//! <https://redis.io/docs/latest/commands/latency/>

use super::error::{Error, Outcome};
use super::help::help;
use super::latency_report::{advice, graph};
use super::spec::*;
use super::{Args, Ctx, Row, table};
use crate::server::histogram::Histogram;
use crate::util::clock::now_ms;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("latency", -2, super::container)
    .docs(
        Group::Server,
        "2.8.13",
        "Depends on the subcommand",
        "Groups the commands about latency",
    )
    .subcommands(LATENCY_SUBCOMMANDS)];

const FLAGS: Flags = ADMIN.or(NOSCRIPT).or(LOADING).or(STALE);
const TIPS: &[&str] = &[
    "nondeterministic_output",
    "request_policy:all_nodes",
    "response_policy:special",
];

const LATENCY_SUBCOMMANDS: &[Command] = &[
    Command::new("doctor", 2, latency_doctor)
        .flags(FLAGS)
        .docs(
            Group::Server,
            "2.8.13",
            "O(1)",
            "Reports on latency in words, with advice",
        )
        .tips(TIPS),
    Command::new("graph", 3, latency_graph)
        .flags(FLAGS)
        .docs(
            Group::Server,
            "2.8.13",
            "O(1)",
            "Draws the samples of an event",
        )
        .args("event:string")
        .tips(TIPS),
    Command::new("help", 2, latency_help)
        .flags(LOADING.or(STALE))
        .docs(
            Group::Server,
            "2.8.13",
            "O(1)",
            "Lists the LATENCY subcommands",
        ),
    Command::new("histogram", -2, latency_histogram)
        .flags(FLAGS)
        .docs(
            Group::Server,
            "7.0.0",
            "O(N), N the number of commands asked for",
            "Tells how many calls of commands took how long",
        )
        .args("[command:string...]")
        .tips(TIPS),
    Command::new("history", 3, latency_history)
        .flags(FLAGS)
        .docs(
            Group::Server,
            "2.8.13",
            "O(1)",
            "Returns the samples of an event",
        )
        .args("event:string")
        .tips(TIPS),
    Command::new("latest", 2, latency_latest)
        .flags(FLAGS)
        .docs(
            Group::Server,
            "2.8.13",
            "O(1)",
            "Returns the last sample of each event",
        )
        .tips(TIPS),
    Command::new("reset", -2, latency_reset)
        .flags(FLAGS)
        .docs(
            Group::Server,
            "2.8.13",
            "O(1)",
            "Forgets the samples of events",
        )
        .args("[event:string...]")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
];

/// `LATENCY LATEST`: name, time and milliseconds of the last sample, longest of all time.
fn latency_latest(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let events = c.server.latency.all();
    c.out.array(events.len());
    for (name, series) in &events {
        let last = series.samples.back();
        c.out.array(4);
        c.out.bulk(name.as_bytes());
        c.out.int(last.map_or(0, |last| last.time));
        c.out.int(last.map_or(0, |last| last.millis) as i64);
        c.out.int(series.max as i64);
    }
    Ok(())
}

/// `LATENCY HISTORY event`
fn latency_history(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let series = c.server.latency.get(&args[2]).unwrap_or_default();
    c.out.array(series.samples.len());
    for sample in &series.samples {
        c.out.array(2);
        c.out.int(sample.time);
        c.out.int(sample.millis as i64);
    }
    Ok(())
}

/// `LATENCY RESET [event ...]`: how many kinds of events there were to forget.
fn latency_reset(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let latency = &c.server.latency;
    let forgotten = match args.len() {
        2 => latency.reset_all(),
        _ => args.from(2).filter(|event| latency.reset(event)).count(),
    };
    c.out.count(forgotten);
    Ok(())
}

/// `LATENCY GRAPH event`
fn latency_graph(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let event = &args[2];
    let Some(series) = c.server.latency.get(event) else {
        let parts: [&[u8]; 3] = [b"ERR No samples available for event '", event, b"'"];
        return Err(Error::raw(parts.concat()));
    };
    let text = graph(&String::from_utf8_lossy(event), &series, now_ms() / 1000);
    c.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// `LATENCY DOCTOR`
fn latency_doctor(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let events = c.server.latency.all();
    let text = advice(&c.server.config, &events, now_ms() / 1000);
    c.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// `LATENCY HISTOGRAM [command ...]`: of a container all subcommands; names that are unknown, and
/// commands that have not been called, are left out.
fn latency_histogram(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    c.settle_counts();
    let mut rows: Vec<&Row> = Vec::new();
    if args.len() == 2 {
        rows.extend(&table().rows);
    }
    for name in args.from(2) {
        if let Some(row) = table().find_full(name) {
            rows.push(row);
            rows.extend(&row.subcommands);
        }
    }
    let stats = &c.server.stats;
    let histograms = rows
        .into_iter()
        .filter_map(|row| Some((row, stats.command(row.id).histogram()?)))
        .map(|(row, histogram)| (row, histogram, histogram.count()))
        .filter(|(.., calls)| *calls > 0);
    let histograms: Vec<(&Row, &Histogram, u64)> = histograms.collect();
    c.out.map(histograms.len());
    for (row, histogram, calls) in histograms {
        c.out.bulk(row.name.as_bytes());
        c.out.map(2);
        c.out.bulk(b"calls");
        c.out.int(calls as i64);
        c.out.bulk(b"histogram_usec");
        let steps = histogram.steps();
        c.out.map(steps.len());
        for (micros, calls) in steps {
            c.out.int(micros as i64);
            c.out.int(calls as i64);
        }
    }
    Ok(())
}

/// `LATENCY HELP`
fn latency_help(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    help(c, args, HELP)
}

const HELP: &[&str] = &[
    "DOCTOR",
    "    Report on latency in words, with advice.",
    "GRAPH <event>",
    "    Draw the samples of an event in characters.",
    "HISTOGRAM [<command> [...]]",
    "    Tell how many calls of these commands, or of all, took how many microseconds.",
    "HISTORY <event>",
    "    Return the samples of an event, each with its time.",
    "LATEST",
    "    Return the last sample of each event.",
    "RESET [<event> [...]]",
    "    Forget the samples of these events, or of all.",
];
