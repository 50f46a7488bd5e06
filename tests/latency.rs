//! The latency monitor, and the histograms of commands.

mod support;

use std::time::Duration;
use support::{Client, Server, Value, error, eventually, oracle};

/// Long enough for anything that is to happen at all.
const SOON: Duration = Duration::from_secs(20);

/// A server on which `DEBUG SLEEP` is an event.
fn watched() -> Server {
    Server::with(&[
        "--latency-monitor-threshold",
        "100",
        "--enable-debug-command",
        "yes",
    ])
}

/// The histogram of a command: its calls, and how many of them took no longer than so many
/// microseconds.
#[track_caller]
fn histogram(c: &mut Client, command: &str) -> (i64, Vec<(i64, i64)>) {
    let reply = c.run(&format!("LATENCY HISTOGRAM {command}"));
    let found = reply.field(command);
    let steps = found.field("histogram_usec").pairs();
    let steps = steps.iter().map(|(us, calls)| (us.int(), calls.int()));
    (found.field("calls").int(), steps.collect())
}

/// The commands of which there are histograms.
#[track_caller]
fn measured(c: &mut Client, line: &str) -> Vec<String> {
    let reply = c.run(line);
    let mut names: Vec<String> = reply.pairs().iter().map(|(name, _)| name.text()).collect();
    names.sort();
    names
}

#[test]
fn nothing_is_watched_by_default() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    c.run("DEBUG SLEEP 0.2");
    assert_eq!(c.run("LATENCY LATEST").items().len(), 0);
    assert!((c.run("LATENCY DOCTOR").text()).contains("latency-monitor-threshold <milliseconds>"));
}

#[test]
fn events_are_kept() {
    let s = watched();
    let mut c = s.client();
    assert_eq!(c.run("LATENCY LATEST").items().len(), 0);
    c.run("DEBUG SLEEP 0.2");
    let history = c.run("LATENCY HISTORY command");
    assert_eq!(history.items().len(), 1);
    let sample = history.items()[0].items();
    let now: i64 = c.run("TIME").texts()[0].parse().unwrap();
    assert!((now - 60..=now).contains(&sample[0].int()), "{sample:?}");
    assert!((200..10_000).contains(&sample[1].int()), "{sample:?}");
    // The commands of a transaction one by one, and all of them together.
    c.run("MULTI");
    (0..4).for_each(|_| drop(c.run("DEBUG SLEEP 0.09")));
    c.run("EXEC");
    let latest = c.run("LATENCY LATEST");
    assert_eq!(latest.items().len(), 1);
    let event = latest.items()[0].items();
    assert_eq!(event[0], "command");
    assert!(event[3].int() >= 360, "{event:?}");
    assert_eq!(c.run("LATENCY HISTORY nothing").items().len(), 0);
    assert_eq!(c.run("LATENCY HISTORY COMMAND").items().len(), 0);
    let text = c.run("LATENCY DOCTOR").text();
    assert!(text.contains("1. command: "), "{text}");
    assert!(
        text.contains(&format!("Worst all time event {}ms.", event[3].int())),
        "{text}"
    );
    assert_eq!(c.run("LATENCY RESET nothing more"), 0);
    assert_eq!(c.run("LATENCY RESET command command"), 1);
    assert_eq!(c.run("LATENCY LATEST").items().len(), 0);
    c.run("DEBUG SLEEP 0.2");
    assert_eq!(c.run("LATENCY RESET"), 1);
    assert_eq!(c.run("LATENCY RESET"), 0);
    // From now on nothing is noted.
    c.run("CONFIG SET latency-monitor-threshold 0");
    c.run("DEBUG SLEEP 0.2");
    assert_eq!(c.run("LATENCY LATEST").items().len(), 0);
}

#[test]
fn a_graph_is_drawn() {
    let s = watched();
    let mut c = s.client3();
    assert_eq!(
        c.run("LATENCY GRAPH command"),
        error("ERR No samples available for event 'command'")
    );
    c.run("DEBUG SLEEP 0.2");
    let reply = c.run("LATENCY GRAPH command");
    assert!(matches!(&reply, Value::Verbatim(format, _) if format == "txt"));
    let sample = c.run("LATENCY HISTORY command").items()[0].items()[1].int();
    let text = reply.text();
    let lines: Vec<&str> = text.split('\n').collect();
    assert_eq!(
        lines[0],
        format!("command - high {sample} ms, low {sample} ms (all time high {sample} ms)")
    );
    assert_eq!(lines[1], "-".repeat(80));
    assert_eq!(lines[2..7], [" ", " ", " ", "_", " "]);
    assert_eq!((lines.last(), lines[lines.len() - 2]), (Some(&""), "s"));
    assert!(matches!(c.run("LATENCY DOCTOR"), Value::Verbatim(..)));
}

#[test]
fn histograms_count_every_call() {
    let s = Server::start();
    for mut c in [s.client(), s.client3()] {
        c.run("CONFIG RESETSTAT");
        assert_eq!(measured(&mut c, "LATENCY HISTOGRAM"), ["config|resetstat"]);
        for _ in 0..50 {
            c.run("SET k v");
        }
        c.run("GET k");
        c.run("CLIENT ID");
        c.run("CLIENT GETNAME");
        // Refused, and so not called.
        c.run("HGET k");
        let (calls, steps) = histogram(&mut c, "set");
        assert_eq!(calls, 50);
        assert_eq!(steps.last().map(|step| step.1), Some(50), "{steps:?}");
        assert!(
            steps.windows(2).all(|s| s[0].0 < s[1].0 && s[0].1 < s[1].1),
            "{steps:?}"
        );
        assert_eq!(histogram(&mut c, "client|id").0, 1);
        assert_eq!(
            measured(&mut c, "LATENCY HISTOGRAM client"),
            ["client|getname", "client|id"]
        );
        assert_eq!(
            measured(
                &mut c,
                "LATENCY HISTOGRAM nosuch GET hget set client|nosuch"
            ),
            ["get", "set"]
        );
        assert_eq!(measured(&mut c, "LATENCY HISTOGRAM nosuch"), [""; 0]);
    }
    let mut c = s.client();
    c.run("CONFIG SET latency-tracking no");
    c.run("CONFIG RESETSTAT");
    c.run("SET k v");
    assert_eq!(measured(&mut c, "LATENCY HISTOGRAM"), [""; 0]);
}

#[test]
fn a_rewrite_is_an_event() {
    // Where the disk is quick, nothing takes a millisecond; the names are what is looked at.
    let s = Server::with(&["--latency-monitor-threshold", "1", "--appendonly", "yes"]);
    let mut c = s.client();
    for part in 0..20 {
        let value = "v".repeat(1 << 20);
        c.cmd(&["SET", &format!("k{part}"), &value]);
    }
    c.run("BGREWRITEAOF");
    eventually("the end of the rewrite", SOON, || {
        s.info_int("aof_rewrite_in_progress") == 0
    });
    let known = [
        "command",
        "fast-command",
        "aof-write",
        "aof-write-alone",
        "aof-write-active-child",
        "aof-rename",
        "fork",
    ];
    for event in c.run("LATENCY LATEST").items() {
        let name = event.items()[0].text();
        assert!(oracle() || known.contains(&&*name), "{name}");
    }
}
