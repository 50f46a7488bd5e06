//! Inputs for the fuzz tests: bytes as clients send them, and those bytes spoilt.
//!
//! Everything follows from a seed, so that an input can be made again from its number.

use crate::support::{Random, encode};

/// Bulk strings of this size are read into a buffer of their own; the interesting ones lie around
/// it.
const BIG: u64 = stdis::resp::request::BIG_BULK as u64;
/// Lines of this length are refused.
const LINE: u64 = stdis::resp::request::INLINE_MAX as u64;

/// Numbers that stand where a count or a length does.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "7",
    "-1",
    "-2",
    "00",
    "+1",
    " 1",
    "1 ",
    "",
    "-",
    "1.5",
    "0x10",
    "abc",
    "\0",
    "10",
    "11",
    "1000",
    "16384",
    "16385",
    "32767",
    "32768",
    "65536",
    "1048576",
    "1048577",
    "2147483647",
    "2147483648",
    "-2147483649",
    "4294967296",
    "536870912",
    "536870913",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "99999999999999999999999999",
];

/// Arguments that are no plain words.
const ODD: &[&[u8]] = &[
    b"",
    b"\0",
    b"\r\n",
    b"\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"\"",
    b"'",
    b"\\x",
    b"\xff\xfe",
    b"$-1\r\n",
    b"\0\r\0\n",
    b"OK",
    b"-1",
    b"9223372036854775807",
    b"1e400",
    b"*?[a-",
];

/// What no client library sends.
const STRAY: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*-10\r\n",
    b"*1\r\n*1\r\n$4\r\nPING\r\n",
    b"*2\r\n$1\r\na\r\n:1\r\n",
    b"*1\r\n+OK\r\n",
    b"*1\r\n\r\n",
    b"*\r\n",
    b"**\r\n",
    b"*1\n$4\nPING\n",
    b"*1\r$4\rPING\r",
    b"*1\r\r$4\r\rPING\r\r",
    b"$4\r\nPING\r\n",
    b":1\r\n",
    b"+PING\r\n",
    b"-ERR\r\n",
    b"%1\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"PING\r\n",
    b"ping\n",
    b"  echo \"a\\x41\\n\" 'b\\'c'  \r\n",
    b"echo \"open\r\n",
    b"echo \"a\"b\r\n",
    b"echo 'a'\x0b\x0c\r\n",
    b"a\0b c\r\n",
    b"\0\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
];

/// Where arguments of requests come from.
pub trait Words {
    /// The arguments of one request, its name first.
    fn request(&self, random: &mut Random) -> Vec<Vec<u8>>;
}

/// Arguments that mean nothing: for the parser alone.
pub struct Plain;

impl Words for Plain {
    fn request(&self, random: &mut Random) -> Vec<Vec<u8>> {
        let len = match random.below(100) {
            0 => 1 + random.below(3000),
            1..10 => 8 + random.below(20),
            _ => 1 + random.below(5),
        };
        (0..len).map(|_| argument(random)).collect()
    }
}

/// An argument: mostly short, sometimes odd, rarely large.
pub fn argument(random: &mut Random) -> Vec<u8> {
    match random.below(1000) {
        0 => filled(random, BIG - 3, 6),
        1 => filled(random, BIG, 3 * BIG),
        2..10 => filled(random, 100, 2000),
        10..200 => one_of(random, ODD).to_vec(),
        _ => filled(random, 0, 9),
    }
}

fn one_of(random: &mut Random, choices: &[&'static [u8]]) -> &'static [u8] {
    choices[random.below(choices.len() as u64) as usize]
}

fn filled(random: &mut Random, least: u64, more: u64) -> Vec<u8> {
    let len = least + random.below(more);
    let byte = b'a' + random.below(26) as u8;
    vec![byte; len as usize]
}

/// Well-formed requests as RESP arrays, and what a parser is to make of them.
pub fn valid(random: &mut Random, words: &dyn Words) -> (Vec<u8>, Vec<Vec<Vec<u8>>>) {
    let requests: Vec<_> = (0..1 + random.below(5))
        .map(|_| words.request(random))
        .collect();
    let bytes = requests.iter().flat_map(|words| encode(words)).collect();
    (bytes, requests)
}

/// Bytes that may be anything: requests of both forms and stray ones, mostly spoilt.
pub fn input(random: &mut Random, words: &dyn Words) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(5) {
        match random.below(100) {
            0..55 => bytes.extend(encode(&words.request(random))),
            55..75 => inline(random, words, &mut bytes),
            75..95 => bytes.extend_from_slice(one_of(random, STRAY)),
            95..99 => announced(random, &mut bytes),
            _ => long_line(random, &mut bytes),
        }
    }
    if random.below(4) > 0 {
        for _ in 0..1 + random.below(4) {
            spoil(random, &mut bytes);
        }
    }
    bytes
}

fn inline(random: &mut Random, words: &dyn Words, bytes: &mut Vec<u8>) {
    for word in words.request(random) {
        match random.below(4) {
            0 => {
                let mut quoted = Vec::new();
                stdis::util::quoting::repr(&mut quoted, &word);
                bytes.extend(quoted);
            }
            1 => {
                bytes.push(b'\'');
                bytes.extend(&word);
                bytes.push(b'\'');
            }
            _ => bytes.extend(&word),
        }
        bytes.extend_from_slice(one_of(random, &[b" ", b"  ", b"\t", b""]));
    }
    bytes.extend_from_slice(one_of(random, &[b"\r\n", b"\n"]));
}

/// A count and lengths that promise something else than what follows.
fn announced(random: &mut Random, bytes: &mut Vec<u8>) {
    let count = random.pick(NUMBERS);
    bytes.extend_from_slice(format!("*{count}\r\n").as_bytes());
    for _ in 0..random.below(4) {
        let (length, argument) = (random.pick(NUMBERS), argument(random));
        bytes.extend_from_slice(format!("${length}\r\n").as_bytes());
        bytes.extend(argument);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// A line about as long as the longest that is read.
fn long_line(random: &mut Random, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(one_of(random, &[b"", b"*", b"*1\r\n$", b"\"", b"a b "]));
    let len = LINE - 8 + random.below(16) + random.below(2) * LINE;
    let unit = one_of(random, &[b"1", b"a", b"a ", b"\"\" ", b"\0", b"\\", b" "]);
    bytes.extend(unit.iter().cycle().take(len as usize));
    bytes.extend_from_slice(one_of(random, &[b"\r\n", b"\n", b"", b"\r"]));
}

/// Damages the bytes in one way.
fn spoil(random: &mut Random, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len() as u64) as usize;
    let near = (at + 1 + random.below(12) as usize).min(bytes.len());
    match random.below(9) {
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes.truncate(at),
        3 => bytes[at] = *random.pick(b"\0\r\n*$\"'\\ -0\xff"),
        4 => drop(bytes.drain(at..near)),
        5 => {
            let again = bytes[at..near].to_vec();
            bytes.splice(at..at, again);
        }
        6 => {
            let noise: Vec<u8> = (0..random.below(9)).map(|_| random.next() as u8).collect();
            bytes.splice(at..at, noise);
        }
        _ => renumber(random, bytes, at),
    }
}

/// Replaces the number behind the next `*` or `$`.
fn renumber(random: &mut Random, bytes: &mut Vec<u8>, from: usize) {
    let marks = |b: &u8| matches!(b, b'*' | b'$');
    let Some(mark) = bytes[from..].iter().position(marks) else {
        return;
    };
    let start = from + mark + 1;
    let digits = bytes[start..].iter().take_while(|b| b.is_ascii_digit());
    let end = start + digits.count();
    bytes.splice(start..end, random.pick(NUMBERS).bytes());
}

/// Where to cut `input` into the pieces in which it arrives, in ascending order: anywhere, and in
/// the midst of line ends, where a parser is most easily wrong.
pub fn cuts(random: &mut Random, input: &[u8]) -> Vec<usize> {
    let len = input.len();
    if len <= 300 && random.below(4) == 0 {
        return (1..len).collect();
    }
    let mut cuts: Vec<usize> = (0..random.below(20))
        .map(|_| {
            let from = random.below(len as u64 + 1) as usize;
            let line_end = input[from..].iter().position(|&b| b == b'\r');
            match line_end.filter(|_| random.below(2) == 0) {
                Some(more) => (from + more + random.below(3) as usize).min(len),
                None => from,
            }
        })
        .collect();
    cuts.sort_unstable();
    cuts
}
