//! Access bookkeeping: how long ago, or how often, a key was used.
//!
//! Each key has 32 bits for it (24 are used, as in Redis). Under an LRU policy they are the second
//! of the last access; under an LFU policy the minute of the last decay in the upper 16 bits and a
//! logarithmic counter in the lower 8. Which of the two holds depends on `maxmemory-policy` alone,
//! and as in Redis a key keeps a meaningless value when that changes, until its next access.

/// Bits in use.
const MASK: u32 = (1 << 24) - 1;
/// The counter of a new key, so that it is not evicted before it had a chance.
const LFU_START: u32 = 5;

/// How accesses are kept.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether an LFU policy is configured.
    pub lfu: bool,
    /// `lfu-log-factor`.
    pub log_factor: u32,
    /// `lfu-decay-time`, in minutes.
    pub decay_minutes: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            lfu: false,
            log_factor: 10,
            decay_minutes: 1,
        }
    }
}

impl Policy {
    /// The bookkeeping of a new key.
    pub fn fresh(self, now_ms: i64) -> u32 {
        if self.lfu {
            minutes(now_ms) << 8 | LFU_START
        } else {
            clock(now_ms)
        }
    }

    /// The bookkeeping after one more access.
    pub fn touched(self, access: u32, now_ms: i64) -> u32 {
        if !self.lfu {
            return clock(now_ms);
        }
        let counter = increment(self.decayed(access, now_ms), self.log_factor);
        minutes(now_ms) << 8 | counter
    }

    /// The LFU counter as it is now, after the decay that time has brought.
    pub fn decayed(self, access: u32, now_ms: i64) -> u32 {
        let (then, counter) = (access >> 8 & 0xffff, access & 0xff);
        if self.decay_minutes == 0 {
            return counter;
        }
        let elapsed = minutes(now_ms).wrapping_sub(then) & 0xffff;
        counter.saturating_sub(elapsed / self.decay_minutes)
    }

    /// Bookkeeping with a given LFU counter, for `RESTORE … FREQ`.
    pub fn used_often(now_ms: i64, counter: u8) -> u32 {
        minutes(now_ms) << 8 | u32::from(counter)
    }

    /// Bookkeeping with a given idle time in seconds, for `RESTORE … IDLETIME`.
    pub fn idle_since(now_ms: i64, seconds: i64) -> u32 {
        clock(now_ms.saturating_sub(seconds.saturating_mul(1000)))
    }
}

/// Seconds since the last access.
pub fn idle_seconds(access: u32, now_ms: i64) -> i64 {
    i64::from(clock(now_ms).wrapping_sub(access) & MASK)
}

fn clock(now_ms: i64) -> u32 {
    (now_ms / 1000) as u32 & MASK
}

fn minutes(now_ms: i64) -> u32 {
    (now_ms / 60_000) as u32 & 0xffff
}

/// Counts one access with a probability that falls as the counter rises.
fn increment(counter: u32, log_factor: u32) -> u32 {
    if counter >= 255 {
        return 255;
    }
    let odds = u64::from(counter.saturating_sub(LFU_START)) * u64::from(log_factor) + 1;
    counter + u32::from(crate::util::random::with_thread_rng(|rng| rng.below(odds)) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_survives_the_clock_turning_over() {
        let turn = (i64::from(MASK) + 1) * 1000;
        assert_eq!(idle_seconds(clock(turn - 3000), turn + 2000), 5);
    }

    #[test]
    fn lfu_decays_by_minutes() {
        let policy = Policy {
            lfu: true,
            log_factor: 10,
            decay_minutes: 2,
        };
        let fresh = policy.fresh(0);
        assert_eq!(policy.decayed(fresh, 0), 5);
        assert_eq!(policy.decayed(fresh, 4 * 60_000), 3);
        assert_eq!(policy.decayed(fresh, 1000 * 60_000), 0);
        // The first accesses above the start count almost always.
        assert_eq!(policy.touched(fresh, 0) & 0xff, 6);
    }
}
