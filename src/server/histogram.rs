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

/// Nanoseconds of the first step of [`Histogram::steps`], and the number of the last.
const FIRST_STEP: u64 = 1024;
/// See `FIRST_STEP`: the first of them that is longer than a second.
const LAST_STEP: u32 = 20;

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

/// The smallest duration of a bucket, in nanoseconds.
fn lower(bucket: usize) -> u64 {
    bucket.checked_sub(1).map_or(0, |before| upper(before) + 1)
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

    /// How many took no longer than about 1, 2, 4, 8 … microseconds, as `LATENCY HISTOGRAM` shows
    /// it: each step that has more than the one before, with the microseconds that Redis names for
    /// it. What took longer than a second counts as a second, as it does there.
    pub fn steps(&self) -> Vec<(u64, u64)> {
        let mut steps = Vec::new();
        let (mut seen, mut shown, mut bucket) = (0, 0, 0);
        for step in 0..=LAST_STEP {
            let limit = match step {
                LAST_STEP => u64::MAX,
                _ => FIRST_STEP << step,
            };
            while bucket < BUCKETS && lower(bucket) <= limit {
                seen += self.buckets[bucket].load(Ordering::Relaxed);
                bucket += 1;
            }
            if seen > shown {
                // A step reaches to the end of the bucket in which it falls, and those of Redis
                // are so wide.
                let end = (FIRST_STEP + FIRST_STEP / 128) << step;
                steps.push(((end - 1) / 1000, seen));
                shown = seen;
            }
        }
        steps
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
    fn steps_are_those_of_redis() {
        let steps_of = |durations: &[u64]| {
            let histogram = Histogram::default();
            for &nanos in durations {
                histogram.add(bucket(nanos), 1);
            }
            histogram.steps()
        };
        assert_eq!(steps_of(&[]), []);
        assert_eq!(steps_of(&[0, 1, 1000, 1024]), [(1, 4)]);
        assert_eq!(steps_of(&[1100, 2000, 5000]), [(2, 2), (8, 3)]);
        let each: Vec<u64> = (0..=20).map(|step| 1000 << step).collect();
        let shown: Vec<u64> = steps_of(&each).iter().map(|step| step.0).collect();
        assert_eq!(
            shown,
            [
                1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113, 4227, 8454, 16908, 33816, 67633,
                135266, 270532, 541065, 1082130
            ]
        );
        assert_eq!(
            steps_of(&[500, 5_000_000_000, u64::MAX]),
            [(1, 1), (1_082_130, 3)]
        );
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
