//! `DEBUG CLIENT-EVICTION`: the clients by how much memory they take, as client eviction tells them
//! apart.

use std::fmt::Write;

use super::error::{Error, Outcome};
use super::{Ctx, client_eviction};
use crate::server::client::{CLOSE_ASAP, MASTER, NO_EVICT, REPLICA};

/// The sizes that are told apart, as powers of two.
const SMALLEST: u32 = 15;
const LARGEST: u32 = 33;
const CLASSES: usize = (LARGEST - SMALLEST + 1) as usize;

const IS_OFF: Error = Error::new("ERR maxmemory-clients is disabled.");

/// `DEBUG CLIENT-EVICTION`
pub(super) fn client_eviction(c: &mut Ctx<'_>) -> Outcome {
    if !client_eviction::is_on(c.server) {
        return Err(IS_OFF);
    }
    let mut classes = [(0usize, 0usize); CLASSES];
    for client in c.server.clients.all() {
        // Who is never evicted does not stand in line.
        if !client.has_any(&[NO_EVICT, REPLICA, MASTER, CLOSE_ASAP]) {
            c.server.clients.count_memory(&client);
            let (memory, number) = &mut classes[class(client.counted())];
            *memory += client.counted();
            *number += 1;
        }
    }
    c.out.verbatim("txt", show(&classes).as_bytes());
    Ok(())
}

fn class(memory: usize) -> usize {
    let bits = usize::BITS - memory.leading_zeros();
    (bits.clamp(SMALLEST, LARGEST) - SMALLEST) as usize
}

fn show(classes: &[(usize, usize); CLASSES]) -> String {
    let mut text = String::new();
    for (at, (memory, number)) in classes.iter().enumerate() {
        let from = match at {
            0 => 0,
            _ => 1u64 << (SMALLEST as usize + at - 1),
        };
        let to = match at + 1 {
            CLASSES => format!("+{:12}", ""),
            _ => format!(" - {:10}", (1u64 << (SMALLEST as usize + at)) - 1),
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "bucket {from:10}{to}: tot-mem: {memory:10}, clients: {number}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_redis() {
        let mut classes = [(0, 0); CLASSES];
        for memory in [0, 32767, 32768, 65535, 65536, 1 << 32, 1 << 40] {
            let (sum, number) = &mut classes[class(memory)];
            *sum += memory;
            *number += 1;
        }
        let text = show(&classes);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 19);
        for (at, line) in [
            (
                0,
                "bucket          0 -      32767: tot-mem:      32767, clients: 2",
            ),
            (
                1,
                "bucket      32768 -      65535: tot-mem:      98303, clients: 2",
            ),
            (
                2,
                "bucket      65536 -     131071: tot-mem:      65536, clients: 1",
            ),
            (
                17,
                "bucket 2147483648 - 4294967295: tot-mem:          0, clients: 0",
            ),
            (
                18,
                "bucket 4294967296+            : tot-mem: 1103806595072, clients: 2",
            ),
        ] {
            assert_eq!(lines[at], line);
        }
    }
}
