//! Replication over links that break, between servers that are killed, from primaries that are
//! none. Random commands are written all the while; when the faults are over all nodes must come to
//! the same offset, and to the same data.
//!
//! A short form of everything runs always. The long forms are ignored by default; `STDIS_SEED`
//! repeats a run, `STDIS_ROUNDS` sets how many faults there are.

#![allow(dead_code)]

#[path = "replication_faults/cuts.rs"]
mod cuts;
#[path = "differential/families.rs"]
mod families;
#[path = "differential/keyspace.rs"]
mod keyspace;
#[path = "replication_faults/kills.rs"]
mod kills;
#[path = "support/link.rs"]
mod link;
#[path = "differential/load.rs"]
mod load;
#[path = "support/nodes.rs"]
mod nodes;
#[path = "replication_faults/primaries.rs"]
mod primaries;
#[path = "replication_faults/promise.rs"]
mod promise;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "differential/random.rs"]
mod random;
#[path = "differential/server.rs"]
mod server;
mod support;
#[path = "differential/wire.rs"]
mod wire;

/// How many rounds, and from which seed.
#[derive(Clone, Copy)]
struct Length {
    rounds: u64,
    seed: u64,
}

/// A length of this many rounds, the same each time.
fn short(rounds: u64) -> Length {
    Length { rounds, seed: 1 }
}

/// As the environment says; otherwise so many rounds, the same each time.
fn long(rounds: u64) -> Length {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let length = Length {
        rounds: number("STDIS_ROUNDS").unwrap_or(rounds),
        seed: number("STDIS_SEED").unwrap_or(77),
    };
    println!("STDIS_SEED={} STDIS_ROUNDS={}", length.seed, length.rounds);
    length
}

/// What a writer leaves out: nothing, unless it is Redis that is tested.
fn untold(args: &[Vec<u8>]) -> bool {
    support::oracle() && load::untold(args)
}
