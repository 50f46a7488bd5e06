//! Wall-clock time as integers, in the units of Redis' commands and files, and a clock that is never
//! set.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// Milliseconds since the Unix epoch.
#[inline]
pub fn now_ms() -> i64 {
    now_us() / 1000
}

/// Microseconds since the Unix epoch.
#[inline]
pub fn now_us() -> i64 {
    // A clock before 1970 is a broken clock; zero keeps every key alive.
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
    since.as_micros() as i64
}

/// Milliseconds, at least one, on a clock that is never set: how long the process has been asking.
pub fn steady_ms() -> i64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as i64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_agree_and_time_is_plausible() {
        let before = now_us();
        let ms = now_ms();
        let after = now_us();
        assert!((before / 1000..=after / 1000).contains(&ms));
        // 2020 to 2200, in microseconds: catches a wrong unit.
        assert!((1_577_836_800_000_000..7_258_118_400_000_000).contains(&before));
    }
}
