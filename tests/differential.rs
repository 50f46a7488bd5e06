//! The same commands to redis-server 7.0 and to stdis, the replies compared byte for byte.
//!
//! Needs `redis-server` 7.0 on the path, so every test here that starts servers is ignored by
//! default: `cargo test --test differential -- --ignored`. The binary under test is the one Cargo
//! built; the environment variable `STDIS_TEST_SERVER` names another.
//!
//! # Scripts
//!
//! A file in `tests/differential/scripts` whose name ends in `.txt` is a script; nothing else has
//! to know about it. It runs in RESP2 and then in RESP3, each time against a freshly started pair of
//! servers, and at its end the whole key space of both is compared. `STDIS_SCRIPT=set` runs only
//! the scripts whose name contains `set`.
//!
//! One command a line, quoted as redis-cli does (`"\xff\r\n"`, `'it\'s'`). One addition: a
//! quoted string may be repeated, `"ab"*100`. Lines that start with `#` are comments. Lines that
//! start with `@` direct the run:
//!
//! | directive | meaning |
//! | --- | --- |
//! | `@needs rpush hset` | first line: skip the script while the server lacks one of these commands |
//! | `@args --maxmemory 1mb` | start both servers with these options as well |
//! | `@resp2only`, `@resp3only` | run the script in this protocol only |
//! | `@client N` | go on with connection N (0 at the start; opened when first used) |
//! | `@unordered` | the next reply's elements, at every level, compare as a multiset |
//! | `@approx N` | integers in the next reply may differ by N |
//! | `@shape` | the next reply compares by types, lengths and error codes only |
//! | `@type` | the next reply compares by its outermost type (and error code) only |
//! | `@replies N` | the next command has N replies (0: for `CLIENT REPLY OFF`, or when it blocks) |
//! | `@seq A B` | send the next command for each i from A to B, with `{}` replaced by i |
//! | `@read N` | read N more messages (pushes, late replies) |
//! | `@blocked N` | wait until both servers count N blocked clients |
//! | `@raw "bytes"` | send these bytes and a PING; compare all that comes back before its answer, or before the connection is closed |
//! | `@rawclose "bytes"` | send only these bytes; compare all that comes back until the connection is closed |
//! | `@closed` | both servers must have closed this connection; the next command opens a new one |
//!
//! A directive about the next reply may stand on a line of its own or before its command:
//! `@approx 1000 PTTL key`. `@raw` joins several strings: `@raw "*1\r\n$" "9"*20 "\r\n"`.
//!
//! The servers are to be left as the key space comparison can reach them: without a password.
//!
//! # Random commands
//!
//! `random_commands_agree` sends generated commands, valid and nearly valid, in pipelined batches.
//! `STDIS_SEED` repeats a run, `STDIS_ROUNDS` sets its length (100 commands a round),
//! `STDIS_FAMILY` restricts it to one family. A family is one function and one row in
//! `families::FAMILIES`.
//!
//! # Redis 7.0 and 7.2
//!
//! stdis follows 7.2. What 7.2 answers differently is left out of the scripts (HELP texts, summaries,
//! fields of INFO and CLIENT LIST) or made equal in the comparison of the key space: the encodings
//! of small lists and sets, and the digits of scores.

#[path = "differential/families.rs"]
mod families;
#[path = "differential/keyspace.rs"]
mod keyspace;
#[path = "differential/random.rs"]
mod random;
#[path = "differential/restore.rs"]
mod restore;
#[path = "differential/runner.rs"]
mod runner;
#[path = "differential/script.rs"]
mod script;
#[path = "differential/server.rs"]
mod server;
#[path = "differential/wire.rs"]
mod wire;

use std::path::{Path, PathBuf};

/// Every script of the folder, in the order of their names.
fn scripts() -> Vec<script::Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/scripts");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("an entry of the folder").path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| script::load(file).unwrap_or_else(|why| panic!("{why}")))
        .collect()
}

#[test]
fn scripts_are_well_formed() {
    let scripts = scripts();
    assert!(!scripts.is_empty(), "no scripts found");
    for script in scripts {
        assert!(!script.steps.is_empty(), "{}: nothing to run", script.name);
    }
}

#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn scripts_agree() {
    run_scripts(false);
}

/// Scripts of which the notifications are not compared.
const WITHOUT_EVENTS: &[&str] = &[
    // They show the clients or what clients do, and the observer is one of them.
    "client",
    "monitor",
    // A command that has been paused goes on while the one that ended the pause is answered.
    "client_pause",
    // A result that is empty deletes a destination which has expired; Redis calls that deleted.
    "sets_expired",
    // XREADGROUP that waits: 7.2 creates the consumer at once, 7.0 when it is served.
    "streams_read",
    // The order in which the keys of the patterns are looked up.
    "sort_patterns",
];

/// The scripts once more, with an observer that listens to the notifications of each command.
#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn events_agree() {
    run_scripts(true);
}

fn run_scripts(events: bool) {
    let only = std::env::var("STDIS_SCRIPT").unwrap_or_default();
    let mut report = String::new();
    let mut ran = 0;
    for script in scripts() {
        if !script.name.contains(&only) || events && WITHOUT_EVENTS.contains(&&script.name[..]) {
            continue;
        }
        for &protocol in script.protocols {
            match runner::run(&script, protocol, events) {
                runner::Verdict::Skipped(why) => {
                    println!("{} skipped: {why}", script.name);
                    break;
                }
                runner::Verdict::Ran(mismatches) => {
                    ran += 1;
                    println!(
                        "{} (RESP{protocol}): {} mismatches",
                        script.name,
                        mismatches.len()
                    );
                    for text in mismatches {
                        report.push_str(&text);
                    }
                }
            }
        }
    }
    assert!(ran > 0, "no script ran (STDIS_SCRIPT={only:?})");
    assert!(report.is_empty(), "stdis and redis-server differ\n{report}");
}

#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn random_commands_agree() {
    let report = random::run();
    assert!(report.is_empty(), "stdis and redis-server differ\n{report}");
}

#[test]
#[ignore = "needs redis-server 7.0 on PATH"]
fn dumps_are_restored() {
    let report = restore::run();
    assert!(report.is_empty(), "stdis and redis-server differ\n{report}");
}
