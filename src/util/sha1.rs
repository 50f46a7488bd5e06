//! SHA-1, for the digests of `DEBUG DIGEST`, where its weakness against collisions does not
//! matter. Written after FIPS 180-4.

use super::sha::{self, BLOCK};

/// Bytes of a digest.
pub const SIZE: usize = 20;

/// A SHA-1 digest.
pub type Digest = [u8; SIZE];

/// The state before the first block.
const START: [u32; 5] = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
];

/// The digest of `bytes`.
pub fn sha1(bytes: &[u8]) -> Digest {
    sha::digest(START, bytes, work_in)
}

/// Changes the state by one block.
fn work_in(state: &mut [u32; 5], block: &[u8; BLOCK]) {
    // The words of the schedule, of which each depends on the last sixteen alone.
    let mut words = [0u32; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for round in 0..80 {
        if round >= 16 {
            let word = |back: usize| words[(round + 16 - back) % 16];
            words[round % 16] = (word(3) ^ word(8) ^ word(14) ^ word(16)).rotate_left(1);
        }
        let (mixed, constant) = match round {
            0..20 => ((b & c) | (!b & d), 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6u32),
        };
        let next = a
            .rotate_left(5)
            .wrapping_add(mixed)
            .wrapping_add(e)
            .wrapping_add(constant)
            .wrapping_add(words[round % 16]);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
    }
    for (word, change) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.wrapping_add(change);
    }
}

/// A digest as 40 lower-case hexadecimal digits.
pub fn hex(digest: &Digest) -> String {
    sha::hex(digest).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_digests() {
        let million = vec![b'a'; 1_000_000];
        for (text, digest) in [
            (&b""[..], "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
            (
                b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn\
                  hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
                "a49b2446a02c645bf419f995b67091253a04a259",
            ),
            (
                b"The quick brown fox jumps over the lazy dog",
                "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
            ),
            (&million, "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
        ] {
            assert_eq!(hex(&sha1(text)), digest);
        }
    }

    /// Lengths around those at which the padding takes another block; the digest of all digests
    /// stands for the single ones.
    #[test]
    fn every_length_of_the_last_block() {
        let all: Vec<u8> = (0..=130u8)
            .flat_map(|len| sha1(&vec![len; len.into()]))
            .collect();
        assert_eq!(hex(&sha1(&all)), "45bd3814f5b40f93c19169f46533d88933233659");
    }
}
