//! The latency monitor: what has lately taken longer than `latency-monitor-threshold`.
//!
//! Each kind of event keeps its last samples, at most one a second, and the longest of all time.
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency-monitor/>
//!
//! Events have the names that Redis gives them:
//!
//! | event | what is measured |
//! | --- | --- |
//! | `command` | a command that is not marked as fast |
//! | `fast-command` | a command that is |
//! | `command-unblocking` | serving a client that has waited in a blocking command |
//! | `eviction-cycle` | making room before a command, or a part of it in the background |
//! | `eviction-del` | the removal of one key for that |
//! | `eviction-lazyfree` | waiting for memory to be freed where no key is left to evict |
//! | `expire-cycle` | the removal of expired keys of one shard, while it is locked |
//! | `aof-write` | a write to the append only file |
//! | `aof-write-active-child` | the same while something is being saved |
//! | `aof-write-alone` | the same while nothing is |
//! | `aof-fsync-always` | a sync that replies wait for |
//! | `aof-rename` | putting the files of a rewrite in the place of the old ones |
//! | `rdb-unlink-temp-file` | removing the file of a save that was given up |
//! | `fork` | the instant of a snapshot, at which every shard is locked |
//!
//! There is no fork; but as in Redis the event stands for the time in which a save in the background
//! holds everybody up when it begins, and tools know it by that name (`latest_fork_usec` of `INFO`
//! is the same time). Writes and syncs of the append only file follow one another, so none is ever
//! held up by a sync (`aof-write-pending-fsync`); its size is counted rather than asked for
//! (`aof-fstat`); and a rewrite has no differences to add at its end (`aof-rewrite-diff-write`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::config::{Config, id};
use crate::util::clock::now_ms;

/// Samples kept of one kind of event.
const SAMPLES: usize = 160;

/// The events that have been seen.
#[derive(Default)]
pub struct Latency {
    events: Mutex<BTreeMap<&'static str, Series>>,
}

/// One event, or the longest of those within one second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Unix seconds.
    pub time: i64,
    /// Milliseconds it took.
    pub millis: u64,
}

/// The events of one kind.
#[derive(Clone, Default, Debug)]
pub struct Series {
    /// The last samples, the oldest first; never none.
    pub samples: VecDeque<Sample>,
    /// Milliseconds that the longest of all time took.
    pub max: u64,
}

impl Series {
    fn add(&mut self, time: i64, millis: u64) {
        self.max = self.max.max(millis);
        if let Some(last) = self.samples.back_mut().filter(|last| last.time == time) {
            last.millis = last.millis.max(millis);
            return;
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { time, millis });
    }

    /// The figures of a report.
    pub fn summary(&self, now: i64) -> Summary {
        let millis = || self.samples.iter().map(|sample| sample.millis);
        let samples = self.samples.len() as u64;
        let average = millis().sum::<u64>() / samples.max(1);
        let deviation = millis().map(|ms| ms.abs_diff(average)).sum::<u64>() / samples.max(1);
        let oldest = self.samples.iter().map(|sample| sample.time).min();
        Summary {
            samples,
            low: millis().min().unwrap_or(0),
            high: millis().max().unwrap_or(0),
            average,
            deviation,
            period: oldest.map_or(0, |oldest| now - oldest) as f64 / samples.max(1) as f64,
        }
    }
}

/// The figures of the samples of one kind of event, in milliseconds where nothing else is said.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Summary {
    /// How many there are.
    pub samples: u64,
    /// The shortest.
    pub low: u64,
    /// The longest.
    pub high: u64,
    /// Their mean.
    pub average: u64,
    /// How far they are from it in the mean.
    pub deviation: u64,
    /// Seconds from one to the next.
    pub period: f64,
}

impl Latency {
    /// Notes an event if it took as long as the threshold says.
    pub fn note(&self, config: &Config, event: &'static str, took: Duration) {
        let threshold = config.int(id::LATENCY_MONITOR_THRESHOLD) as u64;
        // What does not fit took longer than the process lives.
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if threshold == 0 || millis < threshold {
            return;
        }
        let mut events = self.events();
        events
            .entry(event)
            .or_default()
            .add(now_ms() / 1000, millis);
    }

    /// The events of one kind, if there have been any.
    pub fn get(&self, event: &[u8]) -> Option<Series> {
        let event = std::str::from_utf8(event).ok()?;
        self.events().get(event).cloned()
    }

    /// All kinds, in the order of their names.
    pub fn all(&self) -> Vec<(&'static str, Series)> {
        let events = self.events();
        events
            .iter()
            .map(|(event, series)| (*event, series.clone()))
            .collect()
    }

    /// Forgets one kind of event. Returns whether there was anything to forget.
    pub fn reset(&self, event: &[u8]) -> bool {
        let event = std::str::from_utf8(event);
        event.is_ok_and(|event| self.events().remove(event).is_some())
    }

    /// Forgets all kinds. Returns how many there were.
    pub fn reset_all(&self) -> usize {
        std::mem::take(&mut *self.events()).len()
    }

    fn events(&self) -> MutexGuard<'_, BTreeMap<&'static str, Series>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(samples: &[(i64, u64)]) -> Series {
        let mut series = Series::default();
        for &(time, millis) in samples {
            series.add(time, millis);
        }
        series
    }

    #[test]
    fn a_second_keeps_its_longest() {
        let series = series(&[(10, 5), (10, 9), (10, 7), (11, 3)]);
        let kept: Vec<(i64, u64)> = series.samples.iter().map(|s| (s.time, s.millis)).collect();
        assert_eq!(kept, [(10, 9), (11, 3)]);
        assert_eq!(series.max, 9);
    }

    #[test]
    fn the_oldest_go_and_the_maximum_stays() {
        let mut series = series(&[(0, 1000)]);
        (1..=SAMPLES as i64).for_each(|time| series.add(time, 1));
        assert_eq!(series.samples.len(), SAMPLES);
        assert_eq!(series.samples.front().map(|s| s.time), Some(1));
        assert_eq!((series.max, series.summary(200).high), (1000, 1));
    }

    #[test]
    fn a_summary() {
        let summary = series(&[(100, 10), (105, 20), (110, 33)]).summary(130);
        assert_eq!((summary.samples, summary.low, summary.high), (3, 10, 33));
        assert_eq!((summary.average, summary.deviation), (21, 8));
        assert_eq!(summary.period, 10.0);
    }

    #[test]
    fn only_what_reaches_the_threshold_counts() {
        let (latency, config) = (Latency::default(), Config::default());
        let long = Duration::from_secs(9);
        latency.note(&config, "command", long);
        assert!(latency.all().is_empty());
        config.adjust(id::LATENCY_MONITOR_THRESHOLD, 5);
        latency.note(&config, "command", Duration::from_micros(4999));
        assert!(latency.get(b"command").is_none());
        latency.note(&config, "command", Duration::from_millis(5));
        latency.note(&config, "fork", long);
        assert_eq!(latency.get(b"command").map(|series| series.max), Some(5));
        assert!(latency.get(b"\xff").is_none() && !latency.reset(b"nothing"));
        assert!(latency.reset(b"fork") && latency.reset_all() == 1);
    }
}
