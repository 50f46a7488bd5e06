//! SHA-256, for the digests of passwords in access control lists. Written after FIPS 180-4.

use super::sha::{self, BLOCK};

/// Bytes of a digest.
pub const SIZE: usize = 32;

/// A SHA-256 digest.
pub type Digest = [u8; SIZE];

/// The first 32 bits of the fractions of the square roots of the first eight primes.
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The first 32 bits of the fractions of the cube roots of the first 64 primes.
#[rustfmt::skip]
const ROUNDS: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// The digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    sha::digest(START, bytes, work_in)
}

/// Changes the state by one block.
fn work_in(state: &mut [u32; 8], block: &[u8; BLOCK]) {
    // The words of the schedule, of which each depends on the last sixteen alone.
    let mut words = [0u32; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (round, constant) in ROUNDS.iter().enumerate() {
        let at = round % 16;
        if round >= 16 {
            let (near, far) = (words[(round + 14) % 16], words[(round + 1) % 16]);
            let mixed_near = near.rotate_right(17) ^ near.rotate_right(19) ^ (near >> 10);
            let mixed_far = far.rotate_right(7) ^ far.rotate_right(18) ^ (far >> 3);
            words[at] = words[at]
                .wrapping_add(mixed_far)
                .wrapping_add(words[(round + 9) % 16])
                .wrapping_add(mixed_near);
        }
        let spread = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let chosen = (e & f) ^ (!e & g);
        let first = h
            .wrapping_add(spread)
            .wrapping_add(chosen)
            .wrapping_add(*constant)
            .wrapping_add(words[at]);
        let spread = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        let second = spread.wrapping_add(majority);
        (h, g, f, e) = (g, f, e, d.wrapping_add(first));
        (d, c, b, a) = (c, b, a, first.wrapping_add(second));
    }
    for (word, change) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(change);
    }
}

/// A digest as 64 lower-case hexadecimal digits.
pub fn hex(digest: &Digest) -> [u8; 2 * SIZE] {
    let mut text = [0; 2 * SIZE];
    for (digit, shown) in text.iter_mut().zip(sha::hex(digest)) {
        *digit = shown;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        String::from_utf8_lossy(&hex(&sha256(bytes))).into_owned()
    }

    #[test]
    fn published_digests() {
        let million = vec![b'a'; 1_000_000];
        for (text, digest) in [
            (
                &b""[..],
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                b"abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
            (
                b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn\
                  hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
                "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
            ),
            (
                &million,
                "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
            ),
        ] {
            assert_eq!(shown(text), digest);
        }
    }

    /// Lengths around those at which the padding takes another block; the digest of all digests
    /// stands for the single ones.
    #[test]
    fn every_length_of_the_last_block() {
        let all: Vec<u8> = (0..=130u8)
            .flat_map(|len| sha256(&vec![len; len.into()]))
            .collect();
        assert_eq!(
            shown(&all),
            "fca3495a3fbc30990f59b06285f40a03acec6c606df73c6d666a554854cd1573"
        );
    }
}
