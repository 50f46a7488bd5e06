//! What `WAIT 2` promises: a write that two replicas have acknowledged outlives the primary, when
//! the replica that has most is promoted.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::nodes::{
    SYNC_TIMEOUT, assert_equal, attach, await_link_down, node, offset, promote, replica_of,
};
use crate::support::{Client, Random, Server, Value, encode, eventually};
use crate::{Length, long, short};

const WRITERS: usize = 6;

/// The reply to a command, `None` when the server is gone.
fn ask(client: &mut Client, words: &[&str]) -> Option<Value> {
    client.try_write(&encode(words)).ok()?;
    client.try_recv()
}

/// Appends numbers to a list of its own until the server is gone; `acknowledged` is the last one
/// that two replicas have.
fn keep_writing(server: &Server, writer: usize, acknowledged: &AtomicI64) -> Option<()> {
    let mut client = server.connect().ok()?;
    for n in 1.. {
        let (key, number) = (format!("list:{writer}"), n.to_string());
        match n % 3 {
            // A transaction, too.
            0 => {
                for words in [&["MULTI"][..], &["RPUSH", &key, &number], &["EXEC"]] {
                    ask(&mut client, words)?;
                }
            }
            _ => drop(ask(&mut client, &["RPUSH", &key, &number])?),
        }
        if ask(&mut client, &["WAIT", "2", "5000"])?.int() >= 2 {
            acknowledged.store(n, Relaxed);
        }
    }
    None
}

fn nothing_acknowledged_is_missing(length: Length) {
    let mut random = Random::new(length.seed);
    for round in 0..length.rounds {
        let mut primary = node(&[]);
        let replicas = [replica_of(&primary, &[]), replica_of(&primary, &[])];
        // A primary may learn late that a replica has all of a snapshot.
        eventually("both replicas count", SYNC_TIMEOUT, || {
            primary.client().run("WAIT 2 100") == 2
        });
        let acknowledged: [AtomicI64; WRITERS] = Default::default();
        let writes = random.below(60) as i64;
        std::thread::scope(|scope| {
            for (writer, acknowledged) in acknowledged.iter().enumerate() {
                let server = &primary;
                scope.spawn(move || keep_writing(server, writer, acknowledged));
            }
            let start = Instant::now();
            let done = || {
                acknowledged
                    .iter()
                    .all(|count| count.load(Relaxed) > writes)
            };
            while !done() && start.elapsed() < SYNC_TIMEOUT {
                std::thread::sleep(Duration::from_millis(1));
            }
            // They end with it.
            crate::support::signal(primary.pid(), "KILL");
        });
        primary.kill9();
        let what = format!("seed {}, round {round}", length.seed);
        for replica in &replicas {
            await_link_down(replica);
        }
        let order = match offset(&replicas[0]) >= offset(&replicas[1]) {
            true => [&replicas[0], &replicas[1]],
            false => [&replicas[1], &replicas[0]],
        };
        let [new, other] = order;
        promote(new);
        let mut client = new.client();
        for (writer, count) in acknowledged.iter().enumerate() {
            let count = count.load(Relaxed);
            assert!(count > 0, "{what}: writer {writer} did nothing");
            let list = client.cmd(&["LRANGE", &format!("list:{writer}"), "0", "-1"]);
            let found = list.texts();
            assert!(found.len() as i64 >= count, "{what}: {count}, {found:?}");
            for (at, number) in found.iter().enumerate() {
                assert_eq!(*number, (at + 1).to_string(), "{what}");
            }
        }
        attach(other, new);
        client.run("SET a 1");
        assert_equal(&[new, other], &what);
        primary.restart();
        attach(&primary, new);
        assert_equal(&[new, other, &primary], &what);
    }
}

#[test]
fn what_two_have_acknowledged_is_there() {
    nothing_acknowledged_is_missing(short(3));
}

#[test]
#[ignore = "long: a hundred primaries killed"]
fn what_two_have_acknowledged_is_there_long() {
    nothing_acknowledged_is_missing(long(20));
}
