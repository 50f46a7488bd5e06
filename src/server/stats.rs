//! What the server counts: for `INFO`, and for `CONFIG RESETSTAT` to forget.
//!
//! Sessions add to their own [`Tally`] while they work through a batch of commands and pour it in
//! here once a batch. Counters that every batch touches are spread over stripes, so that threads
//! do not fight over cache lines.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::histogram::Histogram;
use crate::store::Padded;
use crate::util::clock::now_ms;

const STRIPES: usize = 8;
/// Samples of the instantaneous figures, and milliseconds between two.
const SAMPLES: usize = 16;
const SAMPLE_MS: i64 = 100;
/// Seconds that the largest buffers of clients are remembered for.
const PEAK_SECONDS: usize = 8;
/// Kinds of errors counted one by one, as Redis limits them.
const MAX_ERRORS: usize = 128;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters that every batch of commands adds to.
        #[derive(Default)]
        pub struct Counters { $($(#[$doc])* pub $name: AtomicU64,)* }
        /// The same counters of one batch, or summed up.
        #[derive(Clone, Copy, Default, Debug)]
        pub struct Totals { $($(#[$doc])* pub $name: u64,)* }
        impl Counters {
            fn add(&self, totals: &Totals) {
                $(if totals.$name != 0 { self.$name.fetch_add(totals.$name, Ordering::Relaxed); })*
            }
            fn add_to(&self, totals: &mut Totals) {
                $(totals.$name += self.$name.load(Ordering::Relaxed);)*
            }
            /// All but the changes: that something is to be saved is no statistic.
            fn reset(&self) {
                $(if stringify!($name) != "changes" {
                    self.$name.store(0, Ordering::Relaxed);
                })*
            }
        }
    };
}

counters! {
    /// Commands carried out.
    commands,
    /// Bytes read from clients.
    input_bytes,
    /// Bytes sent to clients.
    output_bytes,
    /// Reads that returned bytes.
    reads,
    /// Writes.
    writes,
    /// Look-ups for reading that found their key.
    hits,
    /// Look-ups for reading that did not.
    misses,
    /// Error replies.
    errors,
    /// Keys removed because they had expired.
    expired,
    /// Fields of hashes removed because they had expired.
    expired_fields,
    /// Keys evicted because too much memory was in use.
    evicted,
    /// Changes to the data set.
    changes,
}

/// Statistics of one command.
#[derive(Default)]
pub struct CommandStats {
    /// Times carried out.
    pub calls: AtomicU64,
    /// Nanoseconds spent.
    pub nanos: AtomicU64,
    /// Refused before they ran.
    pub rejected: AtomicU64,
    /// Answered with an error.
    pub failed: AtomicU64,
    histogram: OnceLock<Histogram>,
}

impl CommandStats {
    /// The histogram of durations, once there is one.
    pub fn histogram(&self) -> Option<&Histogram> {
        self.histogram.get()
    }
}

/// A figure per second, from samples of a counter.
#[derive(Default)]
struct Rate {
    samples: [u64; SAMPLES],
    next: usize,
    last: u64,
    last_ms: i64,
}

impl Rate {
    fn sample(&mut self, value: u64, now: i64) {
        let elapsed = now - self.last_ms;
        if self.last_ms != 0 && elapsed > 0 {
            self.samples[self.next] = value.saturating_sub(self.last) * 1000 / elapsed as u64;
            self.next = (self.next + 1) % SAMPLES;
        }
        (self.last, self.last_ms) = (value, now);
    }

    fn get(&self) -> u64 {
        self.samples.iter().sum::<u64>() / SAMPLES as u64
    }
}

/// The largest buffers of clients, each of the last seconds for itself.
#[derive(Default)]
struct Peaks {
    seconds: [(usize, usize); PEAK_SECONDS],
    next: usize,
}

/// Figures per second.
#[derive(Clone, Copy, Default, Debug)]
pub struct Rates {
    /// Commands.
    pub commands: u64,
    /// Bytes read.
    pub input: u64,
    /// Bytes sent.
    pub output: u64,
    /// Bytes that have come from the primary, among those read.
    pub repl_input: u64,
    /// Bytes sent to replicas, among those sent.
    pub repl_output: u64,
}

/// Everything counted since the start or the last `CONFIG RESETSTAT`.
pub struct Stats {
    stripes: Box<[Padded<Counters>]>,
    commands: Box<[CommandStats]>,
    errors: Mutex<BTreeMap<Vec<u8>, u64>>,
    rates: Mutex<[Rate; 5]>,
    peaks: Mutex<Peaks>,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused because there were `maxclients`.
    pub rejected_connections: AtomicU64,
    /// Replicas that got a copy of everything.
    pub sync_full: AtomicU64,
    /// Replicas that could go on where they were.
    pub sync_partial_ok: AtomicU64,
    /// Replicas that could not, though they asked for it.
    pub sync_partial_err: AtomicU64,
    /// Bytes that have come from the primary.
    pub repl_input_bytes: AtomicU64,
    /// Bytes sent to replicas.
    pub repl_output_bytes: AtomicU64,
    /// Commands of the primary that failed here.
    pub unexpected_errors: AtomicU64,
    /// Highest `used_memory` seen.
    pub peak_memory: AtomicUsize,
    /// `used_memory` at the end of the start.
    pub startup_memory: AtomicUsize,
    /// Clients closed because of the query buffer limit.
    pub query_buffer_disconnections: AtomicU64,
    /// Clients closed because of an output buffer limit.
    pub output_buffer_disconnections: AtomicU64,
    /// Clients closed because all of them together took too much memory.
    pub evicted_clients: AtomicU64,
    /// Times that reply buffers gave room back.
    pub reply_shrinks: AtomicU64,
    /// Times that reply buffers grew.
    pub reply_expands: AtomicU64,
    /// Microseconds that the sweeper has spent on what had expired.
    pub expire_micros: AtomicU64,
    /// Failed authentications.
    pub auth_denied: AtomicU64,
    /// Commands refused because of who sent them.
    pub command_denied: AtomicU64,
    /// Commands refused because of their keys.
    pub key_denied: AtomicU64,
    /// Commands refused because of their channels.
    pub channel_denied: AtomicU64,
    /// When the statistics were last reset, unix milliseconds.
    pub since: AtomicI64,
}

/// What one session has counted since it last poured its tally in.
#[derive(Default)]
pub struct Tally {
    /// The plain counters.
    pub totals: Totals,
    /// Consecutive calls of one command.
    run: Run,
}

#[derive(Default, Clone, Copy)]
struct Run {
    command: usize,
    calls: u64,
    nanos: u64,
    bucket: usize,
    bucket_calls: u64,
}

impl Stats {
    /// Statistics for a table of `commands` rows.
    pub fn new(commands: usize) -> Stats {
        Stats {
            stripes: (0..STRIPES).map(|_| Padded(Counters::default())).collect(),
            commands: (0..commands).map(|_| CommandStats::default()).collect(),
            errors: Mutex::default(),
            rates: Mutex::default(),
            peaks: Mutex::default(),
            connections: AtomicU64::new(0),
            rejected_connections: AtomicU64::new(0),
            sync_full: AtomicU64::new(0),
            sync_partial_ok: AtomicU64::new(0),
            sync_partial_err: AtomicU64::new(0),
            repl_input_bytes: AtomicU64::new(0),
            repl_output_bytes: AtomicU64::new(0),
            unexpected_errors: AtomicU64::new(0),
            peak_memory: AtomicUsize::new(0),
            startup_memory: AtomicUsize::new(0),
            query_buffer_disconnections: AtomicU64::new(0),
            output_buffer_disconnections: AtomicU64::new(0),
            evicted_clients: AtomicU64::new(0),
            reply_shrinks: AtomicU64::new(0),
            reply_expands: AtomicU64::new(0),
            expire_micros: AtomicU64::new(0),
            auth_denied: AtomicU64::new(0),
            command_denied: AtomicU64::new(0),
            key_denied: AtomicU64::new(0),
            channel_denied: AtomicU64::new(0),
            since: AtomicI64::new(now_ms()),
        }
    }

    /// Adds what a session has counted and leaves its tally empty.
    pub fn pour(&self, tally: &mut Tally) {
        self.flush_run(tally);
        self.stripe().add(&tally.totals);
        tally.totals = Totals::default();
    }

    /// Counts one call of a command in a session's tally. `bucket` is the histogram bucket of its
    /// duration, unless latency is not tracked.
    pub fn called(&self, tally: &mut Tally, command: usize, nanos: u64, bucket: Option<usize>) {
        tally.totals.commands += 1;
        let bucket = bucket.unwrap_or(usize::MAX);
        if tally.run.calls == 0 || tally.run.command != command {
            self.flush_run(tally);
            tally.run = Run {
                command,
                bucket,
                ..Run::default()
            };
        } else if tally.run.bucket != bucket {
            self.flush_bucket(&mut tally.run);
            tally.run.bucket = bucket;
        }
        tally.run.calls += 1;
        tally.run.nanos += nanos;
        tally.run.bucket_calls += 1;
    }

    fn flush_run(&self, tally: &mut Tally) {
        if tally.run.calls > 0 {
            let stats = &self.commands[tally.run.command];
            stats.calls.fetch_add(tally.run.calls, Ordering::Relaxed);
            stats.nanos.fetch_add(tally.run.nanos, Ordering::Relaxed);
            self.flush_bucket(&mut tally.run);
            tally.run.calls = 0;
        }
    }

    fn flush_bucket(&self, run: &mut Run) {
        if run.bucket != usize::MAX {
            let histogram = self.commands[run.command]
                .histogram
                .get_or_init(Histogram::default);
            histogram.add(run.bucket, run.bucket_calls);
        }
        run.bucket_calls = 0;
    }

    /// Statistics of a command.
    pub fn command(&self, id: usize) -> &CommandStats {
        &self.commands[id]
    }

    /// Counts an error reply by its first word, if that is one that can be a code.
    pub fn error(&self, text: &[u8]) {
        /// Where a code ends at the latest.
        const LONGEST: usize = 31;
        let end = text.iter().take(LONGEST).position(|&b| b == b' ');
        let code = end.map_or(&b"ERR"[..], |end| &text[..end]);
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < MAX_ERRORS {
            errors.insert(code.to_vec(), 1);
        }
    }

    /// Error replies by their first word.
    pub fn errors(&self) -> Vec<(Vec<u8>, u64)> {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors
            .iter()
            .map(|(code, count)| (code.clone(), *count))
            .collect()
    }

    /// Counts keys removed because they had expired, outside of any session.
    pub fn expired(&self, keys: u64) {
        self.stripe().expired.fetch_add(keys, Ordering::Relaxed);
    }

    /// Counts fields of hashes removed because they had expired, outside of any session.
    pub fn expired_fields(&self, fields: u64) {
        self.stripe()
            .expired_fields
            .fetch_add(fields, Ordering::Relaxed);
    }

    /// Counts bytes sent by a writer thread.
    pub fn sent(&self, bytes: usize) {
        let stripe = self.stripe();
        stripe
            .output_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        stripe.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters of all stripes.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.stripes
            .iter()
            .for_each(|stripe| stripe.0.add_to(&mut totals));
        totals
    }

    /// Changes to the data set.
    pub fn changes(&self) -> u64 {
        let stripes = self.stripes.iter();
        stripes
            .map(|stripe| stripe.0.changes.load(Ordering::Relaxed))
            .sum()
    }

    /// Commands carried out.
    pub fn commands(&self) -> u64 {
        let stripes = self.stripes.iter();
        stripes
            .map(|stripe| stripe.0.commands.load(Ordering::Relaxed))
            .sum()
    }

    /// Takes a sample for the figures per second; called every `SAMPLE_MS`.
    pub fn sample(&self) {
        let totals = self.totals();
        let now = now_ms();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let (repl_input, repl_output) = self.repl_bytes();
        let values = [
            totals.commands,
            totals.input_bytes,
            totals.output_bytes,
            repl_input,
            repl_output,
        ];
        rates
            .iter_mut()
            .zip(values)
            .for_each(|(rate, value)| rate.sample(value, now));
        self.peak_memory
            .fetch_max(crate::sys::used_memory(), Ordering::Relaxed);
    }

    /// Notes how large the buffers of clients are for input and for output; called every second.
    pub fn note_peaks(&self, now: (usize, usize)) {
        let mut peaks = self.peaks.lock().unwrap_or_else(PoisonError::into_inner);
        let next = peaks.next;
        peaks.seconds[next] = now;
        peaks.next = (next + 1) % PEAK_SECONDS;
    }

    /// How large they have been lately, if they are so large now.
    pub fn recent_peaks(&self, now: (usize, usize)) -> (usize, usize) {
        let peaks = self.peaks.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = peaks.seconds.iter();
        seconds.fold(now, |most, second| {
            (most.0.max(second.0), most.1.max(second.1))
        })
    }

    /// Bytes that have come from the primary, and bytes sent to replicas.
    pub fn repl_bytes(&self) -> (u64, u64) {
        let (input, output) = (&self.repl_input_bytes, &self.repl_output_bytes);
        (
            input.load(Ordering::Relaxed),
            output.load(Ordering::Relaxed),
        )
    }

    /// Milliseconds between two samples.
    pub const SAMPLE_MS: i64 = SAMPLE_MS;

    /// The figures per second.
    pub fn rates(&self) -> Rates {
        let rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        Rates {
            commands: rates[0].get(),
            input: rates[1].get(),
            output: rates[2].get(),
            repl_input: rates[3].get(),
            repl_output: rates[4].get(),
        }
    }

    /// `CONFIG RESETSTAT`.
    pub fn reset(&self) {
        self.stripes.iter().for_each(|stripe| stripe.0.reset());
        for stats in &self.commands {
            for counter in [&stats.calls, &stats.nanos, &stats.rejected, &stats.failed] {
                counter.store(0, Ordering::Relaxed);
            }
            if let Some(histogram) = stats.histogram.get() {
                histogram.reset();
            }
        }
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        *self.rates.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
        for counter in [
            &self.connections,
            &self.rejected_connections,
            &self.sync_full,
            &self.sync_partial_ok,
            &self.sync_partial_err,
            &self.repl_input_bytes,
            &self.repl_output_bytes,
            &self.unexpected_errors,
            &self.query_buffer_disconnections,
            &self.output_buffer_disconnections,
            &self.evicted_clients,
            &self.reply_shrinks,
            &self.reply_expands,
            &self.expire_micros,
            &self.auth_denied,
            &self.command_denied,
            &self.key_denied,
            &self.channel_denied,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        self.peak_memory
            .store(crate::sys::used_memory(), Ordering::Relaxed);
        self.since.store(now_ms(), Ordering::Relaxed);
    }

    fn stripe(&self) -> &Counters {
        thread_local!(static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) });
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let mut number = STRIPE.get();
        if number == usize::MAX {
            number = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
            STRIPE.set(number);
        }
        &self.stripes[number].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_remembered_for_some_seconds() {
        let stats = Stats::new(1);
        assert_eq!(stats.recent_peaks((1, 2)), (1, 2));
        stats.note_peaks((50, 7));
        for _ in 1..PEAK_SECONDS {
            stats.note_peaks((5, 9));
            assert_eq!(stats.recent_peaks((1, 2)), (50, 9));
        }
        stats.note_peaks((5, 1));
        assert_eq!(stats.recent_peaks((6, 2)), (6, 9));
    }

    #[test]
    fn a_code_has_an_end() {
        let stats = Stats::new(1);
        stats.error(b"ERR no");
        stats.error(b"WRONGTYPE no");
        stats.error(b"THIS-IS-FAR-TOO-LONG-TO-BE-A-CODE no");
        stats.error(b"nothing-behind-it");
        let counted = [(b"ERR".to_vec(), 3), (b"WRONGTYPE".to_vec(), 1)];
        assert_eq!(stats.errors(), counted);
    }

    #[test]
    fn a_tally_is_poured_in_once() {
        let stats = Stats::new(3);
        let mut tally = Tally::default();
        for (command, nanos) in [(1, 100), (1, 100), (2, 5000), (1, 100)] {
            stats.called(
                &mut tally,
                command,
                nanos,
                Some(super::super::histogram::bucket(nanos)),
            );
        }
        tally.totals.hits = 3;
        stats.pour(&mut tally);
        stats.pour(&mut tally);
        assert_eq!(stats.command(1).calls.load(Ordering::Relaxed), 3);
        assert_eq!(stats.command(1).nanos.load(Ordering::Relaxed), 300);
        assert_eq!(stats.command(1).histogram().map(Histogram::count), Some(3));
        assert_eq!(stats.command(2).calls.load(Ordering::Relaxed), 1);
        assert!(stats.command(0).histogram().is_none());
        assert_eq!((stats.totals().commands, stats.totals().hits), (4, 3));
        stats.reset();
        assert_eq!(stats.totals().commands, 0);
        assert_eq!(stats.command(1).histogram().map(Histogram::count), Some(0));
    }

    #[test]
    fn errors_are_counted_by_code() {
        let stats = Stats::new(0);
        for text in ["ERR a", "ERR b", "WRONGTYPE x"] {
            stats.error(text.as_bytes());
        }
        assert_eq!(
            stats.errors(),
            [(b"ERR".to_vec(), 2), (b"WRONGTYPE".to_vec(), 1)]
        );
    }
}
