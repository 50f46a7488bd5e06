//! What SHA-1 and SHA-256 share: how a message is cut into blocks and filled up, and how a digest
//! is written. Written after FIPS 180-4.

/// Bytes that are worked in at a time.
pub(super) const BLOCK: usize = 64;

/// The digest of `bytes`, the bytes of the last state: beginning with `state`, each block of the
/// message changes it by `work_in`.
pub(super) fn digest<const WORDS: usize, const SIZE: usize>(
    mut state: [u32; WORDS],
    bytes: &[u8],
    work_in: impl Fn(&mut [u32; WORDS], &[u8; BLOCK]),
) -> [u8; SIZE] {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for block in blocks {
        work_in(&mut state, block);
    }
    // Behind the message comes a one bit, then zeros, then its length in bits in the last eight
    // bytes of a block; where the rest leaves no room for that, of one block more.
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x80;
    if rest.len() >= BLOCK - 8 {
        work_in(&mut state, &last);
        last = [0; BLOCK];
    }
    let bits = (bytes.len() as u64).wrapping_mul(8);
    last[BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
    work_in(&mut state, &last);
    let mut digest = [0; SIZE];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// Two lower-case hexadecimal digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
    bytes
        .iter()
        .flat_map(move |&byte| [digit(byte >> 4), digit(byte & 15)])
}
