//! The texts of `LATENCY GRAPH` and `LATENCY DOCTOR`.

use std::fmt::Write;

use crate::server::config::{Config, id};
use crate::server::latency::Series;

/// Samples beside one another in a graph.
const COLUMNS: usize = 80;
/// Lines that the bars of a graph take.
const ROWS: u64 = 4;
/// The ends of bars that reach a third, two thirds, and all of the way through their line.
const ENDS: [char; 3] = ['_', 'o', '#'];

/// The samples of an event as bars, below each of them how long it has been.
pub fn graph(event: &str, series: &Series, now: i64) -> String {
    let figures = series.summary(now);
    let mut text = format!(
        "{event} - high {} ms, low {} ms (all time high {} ms)\n",
        figures.high, figures.low, series.max
    );
    text.push_str(&"-".repeat(COLUMNS));
    text.push('\n');
    let steps = ROWS * ENDS.len() as u64;
    let range = (figures.high - figures.low).max(1);
    let bars: Vec<(u64, String)> = series
        .samples
        .iter()
        .map(|sample| {
            let height = (sample.millis - figures.low).saturating_mul(steps) / range;
            (height.min(steps - 1), since(now - sample.time))
        })
        .collect();
    for (number, part) in bars.chunks(COLUMNS).enumerate() {
        if number > 0 {
            text.push('\n');
        }
        for row in (0..ROWS).rev() {
            text.extend(part.iter().map(|(height, _)| bar(*height, row)));
            text.push('\n');
        }
        text.extend(part.iter().map(|_| ' '));
        text.push('\n');
        let longest = part.iter().map(|(_, label)| label.len()).max();
        for at in 0..longest.unwrap_or(0) {
            let letters = part.iter().map(|(_, label)| label.chars().nth(at));
            text.extend(letters.map(|letter| letter.unwrap_or(' ')));
            text.push('\n');
        }
    }
    text
}

/// What is seen in a row, the lowest being 0, of a bar of this height.
fn bar(height: u64, row: u64) -> char {
    let ends = ENDS.len() as u64;
    match (height / ends).cmp(&row) {
        std::cmp::Ordering::Less => ' ',
        std::cmp::Ordering::Equal => ENDS[(height % ends) as usize],
        std::cmp::Ordering::Greater => '|',
    }
}

/// So many seconds, in the largest unit that fits.
fn since(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

/// What has happened, and what may be done about it.
pub fn advice(config: &Config, events: &[(&'static str, Series)], now: i64) -> String {
    let threshold = config.int(id::LATENCY_MONITOR_THRESHOLD);
    if events.is_empty() {
        return if threshold == 0 {
            "Nothing is known about latency, as it is not being watched. CONFIG SET \
             latency-monitor-threshold <milliseconds> notes every event that takes as long.\n"
                .to_owned()
        } else {
            format!("All is well: no event has taken {threshold} milliseconds or longer.\n")
        };
    }
    let mut text = "Some events have taken long:\n\n".to_owned();
    for (number, (event, series)) in events.iter().enumerate() {
        let figures = series.summary(now);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}. {event}: {} latency spikes (average {}ms, mean deviation {}ms, period {:.2} sec). \
             Worst all time event {}ms.",
            number + 1,
            figures.samples,
            figures.average,
            figures.deviation,
            figures.period,
            series.max
        );
    }
    text.push_str("\nWhat may help:\n\n");
    let seen = |names: &[&str]| events.iter().any(|(event, _)| names.contains(event));
    let mut advise = |advice: &str| {
        text.push_str("- ");
        text.push_str(advice);
        text.push('\n');
    };
    if seen(&["command"]) {
        let slower = config.int(id::SLOWLOG_LOG_SLOWER_THAN);
        // The monitor may have been switched off since.
        let wanted = threshold.max(1).saturating_mul(1000);
        let set = format!("'CONFIG SET slowlog-log-slower-than {wanted}'");
        if slower < 0 {
            advise(&format!(
                "The slow log is off, though it would name the commands that took long: {set}."
            ));
        } else if slower > wanted {
            advise(&format!(
                "The slow log leaves out commands that are slow enough to be counted here: {set}."
            ));
        }
        advise("SLOWLOG GET shows the commands that took longest.");
    }
    if seen(&["fast-command"]) {
        advise(
            "A command that does little and still took long was kept from the processor. See what else \
             runs on this machine, and whether its own host is overcommitted.",
        );
    }
    if seen(&["command", "command-unblocking"]) {
        advise(
            "Large values take long to go through as a whole: spread them over several keys, or read \
             them in parts, with HSCAN, SSCAN and ZSCAN.",
        );
    }
    if seen(&["expire-cycle"]) {
        advise(
            "Many keys expire at the same time. Where that is not wanted, add a little chance to their \
             times to live.",
        );
    }
    if seen(&["expire-cycle"]) && !config.bool(id::LAZYFREE_LAZY_EXPIRE) {
        advise(
            "Expired values can be freed in the background: 'CONFIG SET lazyfree-lazy-expire yes'.",
        );
    }
    if seen(&["fork"]) {
        advise(
            "A save or a rewrite holds everybody up for an instant when it begins. Where that is too \
             often, see the options 'save' and 'auto-aof-rewrite-percentage'.",
        );
    }
    let writes = [
        "aof-write",
        "aof-write-alone",
        "aof-write-active-child",
        "aof-fsync-always",
    ];
    if seen(&writes) || seen(&["aof-rename", "rdb-unlink-temp-file"]) {
        advise(
            "The disk takes long. See what else writes to it, and whether it is a network's; a local one \
             of its own is best.",
        );
    }
    if seen(&["aof-write-active-child"]) && !config.bool(id::NO_APPENDFSYNC_ON_REWRITE) {
        advise(
            "Where a crash may cost more than a second's worth of data, nothing needs to be synced \
             while something is saved: 'CONFIG SET no-appendfsync-on-rewrite yes'.",
        );
    }
    if seen(&["aof-fsync-always"]) && config.name(id::APPENDFSYNC) == "always" {
        advise(
            "Where a crash may cost a second's worth of data, replies need not wait for the disk: \
             'CONFIG SET appendfsync everysec'.",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::latency::Sample;

    fn series(samples: &[(i64, u64)]) -> Series {
        Series {
            samples: samples
                .iter()
                .map(|&(time, millis)| Sample { time, millis })
                .collect(),
            max: samples.iter().map(|sample| sample.1).max().unwrap_or(0),
        }
    }

    /// What Redis draws of the same samples, without its first two lines.
    #[track_caller]
    fn draws(samples: &[(i64, u64)], now: i64, bars: &[&str]) {
        let drawn = graph("x", &series(samples), now);
        let lines: Vec<&str> = drawn.split_terminator('\n').skip(2).collect();
        assert_eq!(lines, bars);
        assert!(drawn.ends_with('\n'));
    }

    #[test]
    fn a_graph_has_a_head() {
        let mut series = series(&[(5, 30), (6, 20)]);
        series.max = 50;
        let head = format!(
            "name - high 30 ms, low 20 ms (all time high 50 ms)\n{}\n",
            "-".repeat(80)
        );
        assert!(graph("name", &series, 6).starts_with(&head));
    }

    #[test]
    fn graphs_of_redis() {
        draws(&[(0, 5)], 0, &[" ", " ", " ", "_", " ", "0", "s"]);
        draws(
            &[(0, 5), (1, 5)],
            1,
            &["  ", "  ", "  ", "__", "  ", "10", "ss"],
        );
        let values = [4, 3, 6, 3, 9, 9, 9, 8, 5, 3, 9, 2];
        let samples: Vec<(i64, u64)> = (0i64..).zip(values).collect();
        let bars = [
            "    ###o  # ",
            "  _ ||||  | ",
            "_ | ||||# | ",
            "|o|o|||||o|_",
            "            ",
            "119876543210",
            "10ssssssssss",
            "ss          ",
        ];
        draws(&samples, 11, &bars);
    }

    #[test]
    fn a_longer_graph_of_redis() {
        let values = [
            21, 10, 25, 13, 27, 24, 28, 25, 22, 18, 2, 28, 16, 26, 9, 22, 3, 30, 10, 5,
        ];
        let samples: Vec<(i64, u64)> = (0i64..).zip(values).collect();
        let bars = [
            "  _ o_#_   # o   #  ",
            "# | ||||#_ |_| # |  ",
            "|_|o|||||| |||_| |_ ",
            "||||||||||_|||||_||o",
            "                    ",
            "11111111119876543210",
            "9876543210ssssssssss",
            "ssssssssss          ",
        ];
        draws(&samples, 19, &bars);
    }
    #[test]
    fn long_series_take_several_parts() {
        let samples: Vec<(i64, u64)> = (0..81).map(|at| (at, 1)).collect();
        let drawn = graph("x", &series(&samples), 3600 * 25);
        let lines: Vec<&str> = drawn.split_terminator('\n').skip(2).collect();
        assert_eq!(lines.len(), 7 + 1 + 7);
        assert_eq!((lines[3].len(), lines[7], lines[11]), (80, "", "_"));
        assert_eq!((lines[13], lines[14]), ("1", "d"));
    }

    #[test]
    fn spans_of_time() {
        let shown = [-1, 0, 59, 60, 3599, 3600, 86_399, 86_400, 864_000].map(since);
        let expected = ["0s", "0s", "59s", "1m", "59m", "1h", "23h", "1d", "10d"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_report_has_the_figures() {
        let config = Config::default();
        assert!(advice(&config, &[], 0).contains("not being watched"));
        config.adjust(id::LATENCY_MONITOR_THRESHOLD, 3);
        assert!(advice(&config, &[], 0).contains("no event has taken 3 milliseconds"));
        let events = [
            ("command", series(&[(100, 10), (110, 30)])),
            ("fork", series(&[(90, 7)])),
        ];
        let text = advice(&config, &events, 120);
        let figures = "1. command: 2 latency spikes (average 20ms, mean deviation 10ms, period \
                       10.00 sec). Worst all time event 30ms.\n2. fork: 1 latency spikes";
        assert!(text.contains(figures), "{text}");
        assert!(text.contains("slowlog-log-slower-than 3000"), "{text}");
        config.adjust(id::SLOWLOG_LOG_SLOWER_THAN, 3000);
        assert!(!advice(&config, &events, 120).contains("CONFIG SET slowlog"));
        config.adjust(id::SLOWLOG_LOG_SLOWER_THAN, -1);
        assert!(advice(&config, &events, 120).contains("slow log is off"));
    }
}
