//! The checksum of RDB files and `DUMP` payloads: CRC-64 with the polynomial of Jones, lowest bit
//! first, starting from 0 and not inverted in the end.
//!
//! Sixteen bytes are taken at a time, each through a table of its own that knows what a byte comes to
//! when so many others follow it.

/// The polynomial 0xad93d23594c935a9 with its bits in reverse.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
/// Bytes taken at a time.
const STEP: usize = 16;

/// `TABLES[n][byte]`: what `byte` comes to when `n` zero bytes follow it.
static TABLES: [[u64; 256]; STEP] = tables();

const fn tables() -> [[u64; 256]; STEP] {
    let mut tables = [[0; 256]; STEP];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut step = 1;
    while step < STEP {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[step - 1][byte];
            tables[step][byte] = (crc >> 8) ^ tables[0][(crc & 0xff) as usize];
            byte += 1;
        }
        step += 1;
    }
    tables
}

/// The checksum of `bytes` behind what has the checksum `crc`; 0 is that of nothing.
pub fn update(mut crc: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let (steps, last) = words.as_chunks::<{ STEP / 8 }>();
    for [first, second] in steps {
        let first = u64::from_le_bytes(*first) ^ crc;
        crc = eight::<8>(first) ^ eight::<0>(u64::from_le_bytes(*second));
    }
    for word in last {
        crc = eight::<0>(u64::from_le_bytes(*word) ^ crc);
    }
    for byte in rest {
        crc = (crc >> 8) ^ TABLES[0][usize::from(crc as u8 ^ byte)];
    }
    crc
}

/// What the eight bytes of `word`, the lowest first, come to when `BEHIND` others follow them.
#[inline(always)]
fn eight<const BEHIND: usize>(word: u64) -> u64 {
    // Taken out of a register: reading each byte from memory would double the loads, and they are
    // what limits the speed.
    let look_up = |byte: u32| {
        let table = &TABLES[BEHIND + 7 - byte as usize];
        table[(word >> (8 * byte)) as usize & 0xff]
    };
    let first = look_up(0) ^ look_up(1) ^ look_up(2) ^ look_up(3);
    first ^ (look_up(4) ^ look_up(5) ^ look_up(6) ^ look_up(7))
}

/// The checksum of `bytes`.
pub fn checksum(bytes: &[u8]) -> u64 {
    update(0, bytes)
}

/// The checksum, before it is known how much more there is, with so many zero bytes behind it. As
/// checksums are linear, that is what a change to the beginning changes at the end.
pub fn shift(crc: u64, mut bytes: u64) -> u64 {
    // One zero bit is a linear map of 64 bits; squared three times it is that of a byte.
    let mut map: [u64; 64] = std::array::from_fn(|bit| match bit {
        0 => POLYNOMIAL,
        bit => 1 << (bit - 1),
    });
    for _ in 0..3 {
        map = squared(&map);
    }
    let mut crc = crc;
    while bytes > 0 {
        if bytes & 1 != 0 {
            crc = mapped(&map, crc);
        }
        bytes >>= 1;
        if bytes > 0 {
            map = squared(&map);
        }
    }
    crc
}

/// What a linear map makes of a number.
fn mapped(map: &[u64; 64], number: u64) -> u64 {
    let bits = map.iter().enumerate();
    bits.fold(0, |sum, (bit, image)| match number >> bit & 1 {
        0 => sum,
        _ => sum ^ image,
    })
}

/// A linear map applied twice.
fn squared(map: &[u64; 64]) -> [u64; 64] {
    map.map(|image| mapped(map, image))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::random::Rng;

    #[test]
    fn known_checksums() {
        // The usual test text, and a file of an empty Redis up to its end.
        assert_eq!(checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(checksum(b""), 0);
    }

    #[test]
    fn parts_and_whole_agree() {
        let mut rng = Rng::new([3, 1]);
        let bytes: Vec<u8> = (0..100_000).map(|_| rng.next_u64() as u8).collect();
        let slow = bytes.iter().fold(0, |crc, byte| update(crc, &[*byte]));
        assert_eq!(checksum(&bytes), slow);
        for _ in 0..200 {
            let cut = rng.index(bytes.len());
            let first = checksum(&bytes[..cut]);
            assert_eq!(update(first, &bytes[cut..]), slow, "cut at {cut}");
        }
    }

    /// Prints the speed: `cargo test --release crc64 -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn speed() {
        for size in [64, 4096, 1 << 20, 64 << 20] {
            let bytes = vec![0x5a; size];
            let rounds = (512 << 20) / size;
            let start = std::time::Instant::now();
            let mut crc = 0;
            for _ in 0..rounds {
                crc = update(crc, std::hint::black_box(&bytes));
            }
            let rate = (size * rounds) as f64 / start.elapsed().as_secs_f64() / 1e9;
            println!("{size} bytes at a time: {rate:.2} GB/s ({crc:x})");
        }
    }

    #[test]
    fn a_change_to_the_beginning_shifts_to_the_end() {
        let mut rng = Rng::new([7, 1]);
        for len in [0usize, 1, 7, 8, 9, 1000, 70_001] {
            let rest: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            let whole = |head: &[u8]| checksum(&[head, &rest].concat());
            let difference = checksum(b"REDIS0010") ^ checksum(b"REDIS0012");
            let shifted = shift(difference, len as u64);
            assert_eq!(whole(b"REDIS0010") ^ shifted, whole(b"REDIS0012"), "{len}");
        }
    }
}
