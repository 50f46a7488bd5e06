//! Random numbers for sampling and eviction, seeds for the keyed hash, and ids.
//!
//! std has no interface to the system's random numbers, but it seeds each
//! process' `RandomState` from them; the seeds here are drawn through that. The
//! generator itself is fast, not secret: nothing that an attacker must not guess
//! comes from [`Rng`], only from [`seed`].

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// 128 bits that nobody outside the process can predict, different at each call.
pub fn seed() -> [u64; 2] {
    // A counter tells apart two calls within one microsecond.
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let state = RandomState::new();
    let now = super::clock::now_us();
    [0u8, 1].map(|half| state.hash_one((call, now, half)))
}

/// The xoshiro256** generator of Blackman and Vigna.
pub struct Rng([u64; 4]);

impl Rng {
    /// A generator that repeats the same numbers for the same seed.
    pub fn new(seed: [u64; 2]) -> Rng {
        // Spread by SplitMix64, as its authors advise; it also keeps the state from
        // being all zero, from which the generator could not leave.
        let mut at = seed[0] ^ seed[1].rotate_left(32);
        let mut state = [0; 4].map(|_: u64| split_mix(&mut at));
        state[1] ^= seed[0];
        state[3] ^= seed[1];
        if state == [0; 4] {
            state[0] = 1;
        }
        Rng(state)
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `n`, each as likely as the others; 0 if `n` is 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        // Lemire's method: the high half of a product is the number, and the few low
        // halves that would favour some numbers are drawn again.
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            let unfair = n.wrapping_neg() % n;
            while (product as u64) < unfair {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// A position in a slice of `len` elements; 0 if it is empty.
    #[inline]
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number in `[0, 1)`, in steps of 2^-53.
    #[inline]
    pub fn unit_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (0.5f64).powi(53)
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Runs `f` with this thread's own generator, seeded on first use.
pub fn with_thread_rng<R>(f: impl FnOnce(&mut Rng) -> R) -> R {
    thread_local! {
        static RNG: Cell<Option<Rng>> = const { Cell::new(None) };
    }
    // Taken out while in use, so that a nested call gets a fresh one, not a panic.
    RNG.with(|cell| {
        let mut rng = cell.take().unwrap_or_else(|| Rng::new(seed()));
        let result = f(&mut rng);
        cell.set(Some(rng));
        result
    })
}

/// `len` random lower-case hex digits that cannot be guessed; a run id has 40.
pub fn hex_id(len: usize) -> String {
    let mut id = String::with_capacity(len + 32);
    while id.len() < len {
        let [high, low] = seed();
        id.push_str(&format!("{high:016x}{low:016x}"));
    }
    id.truncate(len);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_generator_is_xoshiro256_star_star() {
        // First outputs of the authors' code from the state 1, 2, 3, 4.
        let mut rng = Rng([1, 2, 3, 4]);
        let first = [(); 5].map(|()| rng.next_u64());
        assert_eq!(
            first,
            [
                11520,
                0,
                1509978240,
                1215971899390074240,
                1216172134540287360
            ]
        );
    }

    #[test]
    fn seeds_differ() {
        let seeds: HashSet<_> = (0..1000).map(|_| seed()).collect();
        assert_eq!(seeds.len(), 1000);
        let halves: HashSet<_> = seeds.iter().flatten().collect();
        assert_eq!(halves.len(), 2000);
    }

    #[test]
    fn equal_seeds_repeat_and_zero_works() {
        let numbers = |seed| {
            let mut rng = Rng::new(seed);
            [(); 8].map(|()| rng.next_u64())
        };
        assert_eq!(numbers([1, 2]), numbers([1, 2]));
        assert_ne!(numbers([1, 2]), numbers([2, 1]));
        assert_eq!(numbers([0, 0]).into_iter().collect::<HashSet<_>>().len(), 8);
    }

    #[test]
    fn below_is_even_and_in_range() {
        let mut rng = Rng::new([7, 11]);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        // Ten standard deviations of a binomial with n = 70000, p = 1/7.
        assert!(
            counts.iter().all(|&n| n.abs_diff(10_000) < 930),
            "{counts:?}"
        );
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
        // With three quarters of 2^64, taking a remainder would make the lowest
        // third twice as likely as the rest.
        let n = 3 << 62;
        let low = (0..30_000).filter(|_| rng.below(n) < 1 << 62).count();
        assert!(low.abs_diff(10_000) < 820, "{low}");
    }

    #[test]
    fn unit_numbers_stay_below_one() {
        let mut rng = Rng::new([3, 5]);
        let sum: f64 = (0..10_000)
            .map(|_| rng.unit_f64())
            .inspect(|v| assert!((0.0..1.0).contains(v)))
            .sum();
        assert!((4700.0..5300.0).contains(&sum), "{sum}");
    }

    #[test]
    fn thread_generators_nest_and_go_on() {
        let (outer, inner) = with_thread_rng(|a| (a.next_u64(), with_thread_rng(|b| b.next_u64())));
        assert_ne!(outer, inner);
        assert_ne!(outer, with_thread_rng(Rng::next_u64));
    }

    #[test]
    fn ids_are_hex() {
        for len in [0, 1, 40, 64, 100] {
            let id = hex_id(len);
            assert_eq!(id.len(), len);
            assert!(id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        }
        assert_ne!(hex_id(40), hex_id(40));
    }
}
