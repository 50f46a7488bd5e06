//! A histogram of durations with a bounded relative error, that many threads may add to.
//!
//! Log-linear buckets: 32 for each power of two, so a value is known to about 3 %, from one
//! nanosecond to a thousand seconds.

use std::sync::atomic::{AtomicU64, Ordering};

const SUB_BITS: u32 = 5;
const SUB: usize = 1 << SUB_BITS;
/// Powers of two above the linear part.
const POWERS: usize = 36;
/// Number of buckets.
pub const BUCKETS: usize = SUB * (POWERS + 1);

/// Counts by duration.
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

/// The bucket of a duration in nanoseconds.
pub fn bucket(nanos: u64) -> usize {
    if nanos < SUB as u64 {
        return nanos as usize;
    }
    let power = 63 - nanos.leading_zeros();
    let sub = (nanos >> (power - SUB_BITS)) as usize & (SUB - 1);
    (((power - SUB_BITS) as usize + 1) * SUB + sub).min(BUCKETS - 1)
}

/// The largest duration of a bucket, in nanoseconds.
fn upper(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64;
    }
    let power = (bucket / SUB - 1) as u32;
    (((SUB + bucket % SUB + 1) as u64) << power) - 1
}

impl Histogram {
    /// Adds `count` durations of one bucket.
    pub fn add(&self, bucket: usize, count: u64) {
        self.buckets[bucket].fetch_add(count, Ordering::Relaxed);
    }

    /// Number of durations added.
    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .sum()
    }

    /// The duration in nanoseconds that `percent` of all do not exceed; 0 when there are none.
    pub fn percentile(&self, percent: f64) -> u64 {
        let total = self.count();
        let wanted = ((percent / 100.0 * total as f64).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count.load(Ordering::Relaxed);
            if seen >= wanted {
                return upper(bucket);
            }
        }
        0
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.buckets
            .iter()
            .for_each(|bucket| bucket.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_within_their_error() {
        for nanos in [
            0u64,
            1,
            31,
            32,
            33,
            100,
            1000,
            123_456,
            10_000_000,
            3_000_000_000,
        ] {
            let upper = upper(bucket(nanos));
            assert!(
                upper >= nanos && upper - nanos <= nanos / 31 + 1,
                "{nanos}: {upper}"
            );
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles() {
        let histogram = Histogram::default();
        assert_eq!(histogram.percentile(50.0), 0);
        (1..=1000u64).for_each(|us| histogram.add(bucket(us * 1000), 1));
        let (p50, p99) = (
            histogram.percentile(50.0) / 1000,
            histogram.percentile(99.0) / 1000,
        );
        assert!(
            (500..=520).contains(&p50) && (990..=1025).contains(&p99),
            "{p50} {p99}"
        );
    }
}
