//! What has arrived from clients and has not been dealt with, for those who look at other clients.
//!
//! Where one thread serves all clients, whoever asks for their list finds in it all that they had sent
//! before. Here a client's bytes may lie in its socket while its thread is still to wake up, or in the
//! hands of that thread. Who looks at clients therefore waits for those from whom more has arrived than
//! has been dealt with: then what they take is counted, and who takes too much has gone.
//!
//! The kernel counts what has arrived, and each connection what it has dealt with
//! ([`Client::served`]), so that nobody has to be told who waits: it costs those who are waited for
//! nothing. Nobody is waited for for long. A client may be at something that takes its time, and one
//! that is blocked reads nothing before it is served.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::client::{BLOCKED, Client, ClientFlag, GONE, MASTER, NOT_AWAITED, REPLICA};
use crate::sys;

/// How long somebody waits for others at most.
const MOST: Duration = Duration::from_millis(100);
/// How often he gives way to them before he sleeps in between …
const BRISK: u32 = 100;
/// … for so long at a time.
const NAP: Duration = Duration::from_micros(100);

/// Clients of whom not everything has been dealt with, each with the number of bytes that had arrived
/// from it.
pub struct Pending(Vec<(Arc<Client>, u64)>);

impl Pending {
    /// Those of some clients, besides the one that wants to know.
    pub fn of<'c>(clients: impl IntoIterator<Item = &'c Arc<Client>>, asker: &Client) -> Pending {
        let mut all = Vec::new();
        for client in clients {
            let served = client.served.load(Ordering::Acquire);
            if client.id == asker.id || is_settled(client, NOT_AWAITED) {
                continue;
            }
            let arrived = sys::received(&client.socket).unwrap_or_else(|_| {
                // Without the kernel's count, what is just being dealt with is not seen.
                served.saturating_add(sys::pending_input(&client.socket).unwrap_or(0) as u64)
            });
            if !is_settled(client, arrived) {
                all.push((client.clone(), arrived));
            }
        }
        Pending(all)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until there are none, but not for long. The asker must not hold up others, nor is it
    /// waited for meanwhile.
    pub fn wait(mut self, asker: &Client) {
        let before = asker.served.swap(NOT_AWAITED, Ordering::Relaxed);
        let start = Instant::now();
        for attempt in 0.. {
            self.0
                .retain(|(client, arrived)| !is_settled(client, *arrived));
            if self.is_empty() || start.elapsed() >= MOST {
                break;
            }
            match attempt < BRISK {
                true => std::thread::yield_now(),
                false => std::thread::sleep(NAP),
            }
        }
        asker.served.store(before, Ordering::Relaxed);
    }
}

/// Whether so many bytes of a client have been dealt with, or it is not to be waited for.
fn is_settled(client: &Client, arrived: u64) -> bool {
    // Who waits for something himself would keep others waiting.
    const EXEMPT: &[ClientFlag] = &[BLOCKED, GONE, MASTER, REPLICA];
    client.served.load(Ordering::Acquire) >= arrived || client.has_any(EXEMPT)
}
