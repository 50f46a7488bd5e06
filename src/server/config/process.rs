//! The options about the process: who looks after it, how it shows itself, and what it leaves
//! behind when it crashes.

use super::disk::DISK;
use super::replication::REPLICATION;
use super::stock::{LATER, STOCK};
use super::table::{HIDDEN, IMMUTABLE, MULTI_ARG, MUTABLE, int, options};
use super::value::{INT_MAX, Kind, Names};

const OOM_SCORE_ADJ: Names = &[
    ("no", OOM_NO),
    ("yes", OOM_RELATIVE),
    ("relative", OOM_RELATIVE),
    ("absolute", OOM_ABSOLUTE),
];
/// `oom-score-adj no`: the score is left alone.
pub const OOM_NO: i64 = 0;
/// `oom-score-adj relative`, or `yes`: the values are added to the score there was.
pub const OOM_RELATIVE: i64 = 1;
/// `oom-score-adj absolute`: the values are the score.
pub const OOM_ABSOLUTE: i64 = 2;

const SYSLOG_FACILITIES: Names = &[
    ("user", 1),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

const SUPERVISORS: Names = &[
    ("upstart", SUPERVISED_UPSTART),
    ("systemd", SUPERVISED_SYSTEMD),
    ("auto", SUPERVISED_AUTO),
    ("no", SUPERVISED_NO),
];
/// `supervised no`: nobody is told anything.
pub const SUPERVISED_NO: i64 = 0;
/// `supervised auto`: whoever the environment names.
pub const SUPERVISED_AUTO: i64 = 1;
/// `supervised systemd`: messages go to the socket that systemd names.
pub const SUPERVISED_SYSTEMD: i64 = 2;
/// `supervised upstart`: the process stops for a moment once it runs.
pub const SUPERVISED_UPSTART: i64 = 3;

/// Names in braces must be known, braces are written twice to stand for
/// themselves, and something must be left to show.
fn title_template(template: &[u8]) -> Result<(), &'static str> {
    const INVALID: &str = "template format is invalid or contains unknown variables";
    let shown = expand_title(template, |name| {
        const NAMES: [&[u8]; 7] = [
            b"title",
            b"listen-addr",
            b"server-mode",
            b"config-file",
            b"port",
            b"tls-port",
            b"unixsocket",
        ];
        NAMES.contains(&name).then(|| b"x".to_vec())
    });
    match shown {
        Some(_) if !template.iter().all(|c| *c == b' ') => Ok(()),
        _ => Err(INVALID),
    }
}

/// Puts what names in braces stand for into a template of the process' title; `None` if a name is
/// not known.
pub fn expand_title(template: &[u8], value: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let (mut rest, mut shown) = (template, Vec::new());
    while let [c, after @ ..] = rest {
        rest = match (c, after) {
            (b'{', [b'{', after @ ..]) => {
                shown.push(b'{');
                after
            }
            (b'{', _) => {
                let end = after.iter().position(|c| *c == b'}')?;
                shown.extend(value(&after[..end])?);
                &after[end + 1..]
            }
            _ => {
                shown.push(*c);
                after
            }
        };
    }
    Some(shown)
}

const fn before() -> usize {
    super::table::OWN.len() + STOCK.len() + LATER.len() + DISK.len() + REPLICATION.len()
}

const fn base(place: usize, before: usize) -> u16 {
    (place + before) as u16
}

options! {
    /// Options about the process.
    PROCESS, base super::before(), all MUTABLE;

    SUPERVISED = "supervised", Kind::Enum(SUPERVISORS), "no", IMMUTABLE, "Whom to tell when the server is ready: no, systemd, upstart, auto";
    SET_PROC_TITLE = "set-proc-title", Kind::Bool, "yes", IMMUTABLE, "Show address and port in the title of the process";
    PROC_TITLE_TEMPLATE = "proc-title-template", Kind::CheckedText(title_template), "{title} {listen-addr} {server-mode}", MUTABLE, "What the title of the process shows";
    SYSLOG_ENABLED = "syslog-enabled", Kind::Bool, "no", IMMUTABLE, "Log to syslog as well";
    SYSLOG_IDENT = "syslog-ident", Kind::Text, "redis", IMMUTABLE, "Name in syslog";
    SYSLOG_FACILITY = "syslog-facility", Kind::Enum(SYSLOG_FACILITIES), "local0", IMMUTABLE, "Facility in syslog: user or local0 to local7";
    OOM_SCORE_ADJ_OPT = "oom-score-adj", Kind::Enum(OOM_SCORE_ADJ), "no", MUTABLE, "Set how readily the system ends the process when memory runs out";
    OOM_SCORE_ADJ_VALUES = "oom-score-adj-values", Kind::OomScores, "0 200 800", MULTI_ARG, "Scores of a primary, a replica and a child (there are no children)";
    DISABLE_THP = "disable-thp", Kind::Bool, "yes", IMMUTABLE, "Use no huge pages where the system always would";
    CRASH_LOG_ENABLED = "crash-log-enabled", Kind::Bool, "yes", MUTABLE, "Log a report when a fault ends the process";
    USE_EXIT_ON_PANIC = "use-exit-on-panic", Kind::Bool, "no", HIDDEN, "Exit rather than abort when a thread has panicked that the server cannot do without";
    WATCHDOG_PERIOD = "watchdog-period", int(0, INT_MAX), "0", HIDDEN, "Milliseconds after which the log is told what a command is doing, 0 for never";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_put_together() {
        let value = |name: &[u8]| (name == b"port").then(|| b"6379".to_vec());
        let shown = |template: &str| expand_title(template.as_bytes(), value);
        assert_eq!(shown("a {port} b").as_deref(), Some(&b"a 6379 b"[..]));
        assert_eq!(shown("{{{port}}}").as_deref(), Some(&b"{6379}}"[..]));
        assert_eq!(shown("{x}"), None);
        assert_eq!(shown("{port"), None);
    }
}
