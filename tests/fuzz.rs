//! Random and damaged bytes: to the request parser, to a running server, and in its files. Those of
//! snapshots and append only files are in `damage.rs`, those of `RESTORE` in `restore.rs`.
//!
//! The short form runs always. The long forms are ignored by default:
//! `cargo test --release --test fuzz -- --ignored --nocapture`. `STDIS_SEED` repeats a run,
//! `STDIS_FUZZ_INPUTS` sets its length; a failure names the seed and the number of the input, and
//! `STDIS_FUZZ_FIRST` starts at that number.

#[path = "fuzz/collections.rs"]
mod collections;
#[path = "fuzz/commands.rs"]
mod commands;
#[path = "fuzz/files.rs"]
mod files;
#[path = "fuzz/generate.rs"]
mod generate;
#[path = "fuzz/parser.rs"]
mod parser;
mod support;
#[path = "fuzz/wire.rs"]
mod wire;

use generate::Plain;
use stdis::resp::Limits;
use support::{Random, show};

/// Inputs of the short form.
const SHORT: u64 = 20_000;
/// Inputs of the long forms unless `STDIS_FUZZ_INPUTS` says otherwise.
const LONG: u64 = 1_000_000;
const LONG_WIRE: u64 = 100_000;
/// Files of each kind in the long form.
const LONG_FILES: u64 = 50_000;

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The seed of a long run: the one given, or another one each time.
fn seed() -> u64 {
    let seed = setting("STDIS_SEED").unwrap_or_else(|| {
        let [seed, _] = stdis::util::random::seed();
        seed
    });
    println!("STDIS_SEED={seed}");
    seed
}

/// The generator of one input.
fn random(seed: u64, number: u64) -> Random {
    Random::new(Random::new(seed ^ number.rotate_left(32)).next())
}

/// Says, when the test fails, which input it was.
struct Culprit<'a> {
    seed: u64,
    number: u64,
    input: &'a [u8],
    cuts: &'a [usize],
}

impl Drop for Culprit<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let shown = &self.input[..self.input.len().min(2000)];
            eprintln!(
                "STDIS_SEED={} STDIS_FUZZ_FIRST={}: {} bytes {}, cut at {:?}",
                self.seed,
                self.number,
                self.input.len(),
                show(shown),
                self.cuts
            );
        }
    }
}

/// Parses inputs `first..first + count`, each in one piece and cut up in two ways.
fn fuzz_parser(seed: u64, first: u64, count: u64) {
    for number in first..first + count {
        let mut random = random(seed, number);
        let (input, expected) = match random.below(5) {
            0 => {
                let (input, requests) = generate::valid(&mut random, &Plain);
                (input, Some(requests))
            }
            _ => (generate::input(&mut random, &Plain), None),
        };
        let limits = match random.below(8) {
            0 if expected.is_none() => Limits {
                unauthenticated: true,
                ..Limits::default()
            },
            1 if expected.is_none() => Limits {
                max_bulk: i64::MAX,
                ..Limits::default()
            },
            _ => Limits::default(),
        };
        let cuts = generate::cuts(&mut random, &input);
        let culprit = Culprit {
            seed,
            number,
            input: &input,
            cuts: &cuts,
        };
        let whole = parser::run(&input, &[], limits, false);
        if let Some(requests) = expected {
            assert_eq!((&whole.requests, &whole.error), (&requests, &None));
        }
        for fill in [false, true] {
            let pieces = parser::run(&input, &cuts, limits, fill);
            if whole.ends_at_long_line() || pieces.ends_at_long_line() {
                assert!(input.len() > stdis::resp::request::INLINE_MAX);
                let common = whole.requests.len().min(pieces.requests.len());
                assert_eq!(whole.requests[..common], pieces.requests[..common]);
            } else {
                assert_eq!(whole, pieces, "left: in one piece, right: in pieces");
            }
        }
        drop(culprit);
    }
}

#[test]
fn the_parser_takes_any_bytes_in_any_pieces() {
    fuzz_parser(1, 0, SHORT);
}

#[test]
#[ignore = "long: a million inputs for the parser (STDIS_FUZZ_INPUTS, STDIS_SEED)"]
fn the_parser_takes_any_bytes_for_long() {
    let first = setting("STDIS_FUZZ_FIRST").unwrap_or(0);
    let count = setting("STDIS_FUZZ_INPUTS").unwrap_or(LONG);
    fuzz_parser(seed(), first, count);
}

#[test]
fn every_command_takes_any_arguments() {
    commands::storm(1, 0, SHORT);
}

#[test]
#[ignore = "long: a million commands with random arguments (STDIS_FUZZ_INPUTS, STDIS_SEED)"]
fn every_command_takes_any_arguments_for_long() {
    let first = setting("STDIS_FUZZ_FIRST").unwrap_or(0);
    let count = setting("STDIS_FUZZ_INPUTS").unwrap_or(LONG);
    commands::storm(seed(), first, count);
}

#[test]
fn config_and_acl_files_may_hold_anything() {
    files::read_all(1, 0, 1500);
}

#[test]
#[ignore = "long: fifty thousand config files and as many ACL files (STDIS_SEED)"]
fn config_and_acl_files_may_hold_anything_for_long() {
    let first = setting("STDIS_FUZZ_FIRST").unwrap_or(0);
    files::read_all(seed(), first, LONG_FILES);
}

#[test]
#[ignore = "long: damaged requests for a running server (STDIS_FUZZ_INPUTS, STDIS_SEED)"]
fn a_server_outlives_any_bytes() {
    let first = setting("STDIS_FUZZ_FIRST").unwrap_or(0);
    let count = setting("STDIS_FUZZ_INPUTS").unwrap_or(LONG_WIRE);
    wire::storm(seed(), first, count);
}
