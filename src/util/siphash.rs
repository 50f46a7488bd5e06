//! SipHash, the keyed hash that spreads keys over shards and tables: without the
//! key, nobody can choose names that all collide. One round per word and two at
//! the end (SipHash-1-2), the same trade for speed that Redis makes.
//!
//! Algorithm: Aumasson and Bernstein, "SipHash: a fast short-input PRF".

/// The SipHash-1-2 of `data` under a 128-bit key, given as two 64-bit halves
/// (the first half is the one read from the key's first eight bytes).
#[inline]
pub fn siphash12(key: (u64, u64), data: &[u8]) -> u64 {
    siphash::<1, 2>(key, data)
}

/// SipHash with `WORD` rounds for each eight bytes and `END` rounds at the end.
#[inline(always)]
fn siphash<const WORD: usize, const END: usize>(key: (u64, u64), data: &[u8]) -> u64 {
    // The constants spell "somepseudorandomlygeneratedbytes".
    let mut state = [
        key.0 ^ 0x736f_6d65_7073_6575,
        key.1 ^ 0x646f_7261_6e64_6f6d,
        key.0 ^ 0x6c79_6765_6e65_7261,
        key.1 ^ 0x7465_6462_7974_6573,
    ];
    let (words, tail) = data.as_chunks::<8>();
    for word in words {
        absorb::<WORD>(&mut state, u64::from_le_bytes(*word));
    }
    // The last word is the rest of the bytes under the length modulo 256.
    absorb::<WORD>(&mut state, (data.len() as u64) << 56 | read_tail(tail));
    state[2] ^= 0xff;
    for _ in 0..END {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

#[inline(always)]
fn absorb<const ROUNDS: usize>(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    for _ in 0..ROUNDS {
        round(state);
    }
    state[0] ^= word;
}

/// Up to seven bytes as a little-endian number, in at most three reads: the
/// tail's length is as good as random, so a loop over it would be mispredicted.
#[inline(always)]
fn read_tail(tail: &[u8]) -> u64 {
    let (fours, rest) = tail.as_chunks::<4>();
    let (twos, one) = rest.as_chunks::<2>();
    let mut value = 0;
    let mut shift = 0;
    if let [four] = fours {
        value = u64::from(u32::from_le_bytes(*four));
        shift = 32;
    }
    if let [two] = twos {
        value |= u64::from(u16::from_le_bytes(*two)) << shift;
        shift += 16;
    }
    if let [byte] = one {
        value |= u64::from(*byte) << shift;
    }
    value
}

#[inline(always)]
fn round(state: &mut [u64; 4]) {
    let [mut a, mut b, mut c, mut d] = *state;
    a = a.wrapping_add(b);
    c = c.wrapping_add(d);
    b = b.rotate_left(13) ^ a;
    d = d.rotate_left(16) ^ c;
    a = a.rotate_left(32).wrapping_add(d);
    c = c.wrapping_add(b);
    d = d.rotate_left(21) ^ a;
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    *state = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher;

    /// The key of the published vectors: the bytes 0 to 15.
    const KEY: (u64, u64) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);

    fn counting(len: u8) -> Vec<u8> {
        (0..len).collect()
    }

    #[test]
    fn published_vectors_of_siphash_2_4() {
        for (len, hash) in [
            (0, 0x726f_db47_dd0e_0e31),
            (1, 0x74f8_39c5_93dc_67fd),
            (2, 0x0d6c_8009_d9a9_4f5a),
            (3, 0x8567_6696_d7fb_7e2d),
            (4, 0xcf27_94e0_2771_87b7),
            (5, 0x1876_5564_cd99_a68d),
            (6, 0xcbc9_466e_58fe_e3ce),
            (7, 0xab02_00f5_8b01_d137),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
        ] {
            assert_eq!(siphash::<2, 4>(KEY, &counting(len)), hash, "{len}");
        }
    }

    /// std's own hasher is SipHash-1-3 under a zero key, an independent check of
    /// every length of tail.
    #[test]
    fn agrees_with_std_on_siphash_1_3() {
        for len in 0..200 {
            let data = counting(len);
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write(&data);
            assert_eq!(siphash::<1, 3>((0, 0), &data), hasher.finish(), "{len}");
        }
    }

    #[test]
    fn the_key_and_every_byte_count() {
        let base = siphash12(KEY, &counting(23));
        assert_ne!(siphash12((KEY.0 ^ 1, KEY.1), &counting(23)), base);
        assert_ne!(siphash12((KEY.0, KEY.1 ^ 1), &counting(23)), base);
        for at in 0..23 {
            let mut data = counting(23);
            data[at] ^= 0x80;
            assert_ne!(siphash12(KEY, &data), base, "{at}");
        }
        assert_ne!(siphash12(KEY, b""), siphash12(KEY, b"\0"));
    }
}
