//! The server's own threads: a panic in one that it cannot do without ends the process, with a report
//! in the log, and nothing that clients were told is lost by that.

mod support;

use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::*;

const SOON: Duration = Duration::from_secs(20);
const START: &str = "=== REDIS BUG REPORT START";
const END: &str = "=== REDIS BUG REPORT END";
const SIGABRT: i32 = 6;

const WRITERS: usize = 4;

/// Counts up in a key until the connection ends, and notes what has been acknowledged.
fn count_up(mut client: Client, key: &str, told: &AtomicU64) {
    for number in 1u64.. {
        client.send(&["SET", key, &number.to_string()]);
        if client.try_recv() != Some(simple("OK")) {
            return;
        }
        told.store(number, Ordering::Relaxed);
    }
}

/// Has a thread panic while clients write, by what `provoke` does, and looks at what is left.
fn lose(name: &str, options: &[&str], provoke: impl FnOnce(&mut Client)) {
    let all = ["--enable-debug-command", "yes", "--appendonly", "yes"];
    let mut s = Server::with(&[&all[..], options].concat());
    let told: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let mut c = s.client();
    std::thread::scope(|scope| {
        for (number, told) in told.iter().enumerate() {
            let client = s.client();
            scope.spawn(move || count_up(client, &format!("key{number}"), told));
        }
        eventually("all write", SOON, || {
            told.iter().all(|told| told.load(Ordering::Relaxed) > 10)
        });
        c.send(&["DEBUG", "PANIC-THREAD", name]);
        // Under `always` the reply may be what the writer falls over.
        c.try_recv();
        provoke(&mut c);
    });
    let status = s.wait_exit();
    let exits = options.contains(&"--use-exit-on-panic");
    let (signal, code) = match exits {
        true => (None, Some(1)),
        false => (Some(SIGABRT), None),
    };
    assert_eq!((status.signal(), status.code()), (signal, code), "{name}");
    let log = s.log();
    for text in [
        START,
        "Panic in thread ",
        &format!("DEBUG PANIC-THREAD {name}"),
        "STACK TRACE",
        &format!("------ LOST THREAD ------\n{name}: the server cannot do without it, and ends"),
        "redis_version:",
        END,
    ] {
        assert!(log.contains(text), "'{text}' in {log}");
    }
    assert_eq!(log.matches(START).count(), 1, "one report: {log}");
    s.restart();
    let mut c = s.client();
    for (number, told) in told.iter().enumerate() {
        let told = told.load(Ordering::Relaxed);
        let found = c.cmd(&["GET", &format!("key{number}")]).text();
        let found: u64 = found.parse().expect("a number");
        // One may have been written that nobody was told of.
        assert!(
            (told..=told + 1).contains(&found),
            "{name}: {found}, and {told} was acknowledged"
        );
    }
}

fn nothing(_: &mut Client) {}

#[test]
fn without_its_writer_the_server_ends_and_nothing_acknowledged_is_lost() {
    if oracle() {
        return;
    }
    lose("aof", &["--appendfsync", "always"], nothing);
}

#[test]
fn who_waits_for_the_disk_gets_no_reply_when_the_writer_is_lost() {
    if oracle() {
        return;
    }
    let mut s = Server::with(&[
        "--enable-debug-command",
        "yes",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ]);
    let mut c = s.client();
    assert_eq!(c.run("SET kept 1"), simple("OK"));
    // Long enough for all of them to wait.
    c.run("DEBUG AOF-FLUSH-SLEEP 300000");
    let mut waiting: Vec<Client> = (0..3).map(|_| s.client()).collect();
    for (number, client) in waiting.iter_mut().enumerate() {
        client.send(&["SET", &format!("k{number}"), "v"]);
    }
    c.run("DEBUG PANIC-THREAD aof");
    for client in &mut waiting {
        client.assert_closed();
    }
    assert_eq!(s.wait_exit().signal(), Some(SIGABRT));
    assert!(s.log().contains(END));
    s.restart();
    assert_eq!(s.client().run("GET kept"), "1");
}

#[test]
fn without_the_sweeper_the_server_ends() {
    if oracle() {
        return;
    }
    let expire = |c: &mut Client| drop(c.run("SET soon gone PX 1"));
    lose("sweeper", &["--appendfsync", "everysec"], expire);
}

#[test]
fn without_housekeeping_the_server_ends() {
    if oracle() {
        return;
    }
    lose("housekeeping", &["--appendfsync", "no"], nothing);
}

#[test]
fn without_who_frees_the_server_ends() {
    if oracle() {
        return;
    }
    let mut s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    c.run("DEBUG POPULATE 1000");
    c.run("DEBUG PANIC-THREAD lazyfree");
    c.send(&["FLUSHDB", "ASYNC"]);
    assert_eq!(s.wait_exit().signal(), Some(SIGABRT));
    assert!(
        s.log()
            .contains("lazyfree: the server cannot do without it")
    );
}

#[test]
fn without_who_accepts_the_server_ends_by_an_exit_where_that_is_wanted() {
    if oracle() {
        return;
    }
    let connect = |c: &mut Client| {
        let port = c.run("CONFIG GET port").field("port").text();
        let port: u16 = port.parse().expect("a port");
        let _ = TcpStream::connect(("127.0.0.1", port));
    };
    lose("listener", &["--use-exit-on-panic", "yes"], connect);
}

#[test]
fn a_replica_that_loses_its_link_for_good_ends() {
    if oracle() {
        return;
    }
    let primary = Server::with(&["--repl-diskless-sync-delay", "0"]);
    let port = primary.port().to_string();
    let mut s = Server::with(&[
        "--enable-debug-command",
        "yes",
        "--replicaof",
        "127.0.0.1",
        &port,
    ]);
    let up = || s.info("replication")["master_link_status"] == "up";
    eventually("the link is up", SOON, up);
    s.client().run("DEBUG PANIC-THREAD link");
    assert_eq!(s.wait_exit().signal(), Some(SIGABRT));
    assert!(s.log().contains("link: the server cannot do without it"));
}

#[test]
fn a_sender_that_is_lost_costs_its_replica_the_connection() {
    if oracle() {
        return;
    }
    let primary = Server::with(&[
        "--enable-debug-command",
        "yes",
        "--repl-diskless-sync-delay",
        "0",
    ]);
    let port = primary.port().to_string();
    let replica = Server::with(&["--replicaof", "127.0.0.1", &port]);
    let up = || replica.info("replication")["master_link_status"] == "up";
    eventually("the link is up", SOON, up);
    let mut c = primary.client();
    c.run("DEBUG PANIC-THREAD replica");
    c.run("SET a b");
    primary.wait_log("the server goes on without it");
    assert!(primary.log().contains(END));
    // It comes back, and there is nobody else in the list.
    eventually("it has what it missed", SOON, || {
        replica.client().run("GET a") == "b"
    });
    eventually("the link is up again", SOON, up);
    assert_eq!(primary.info("replication")["connected_slaves"], "1");
    c.run("SET a c");
    assert_eq!(c.run("WAIT 1 10000"), 1);
}

#[test]
fn only_threads_that_exist_can_be_lost() {
    if oracle() {
        return;
    }
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    let unknown = error("ERR No such thread");
    assert_eq!(c.run("DEBUG PANIC-THREAD nosuch"), unknown);
    assert_eq!(c.run("PING"), simple("PONG"));
}

#[test]
fn a_save_or_a_rewrite_that_panics_has_failed_and_can_be_tried_again() {
    if oracle() {
        return;
    }
    let s = Server::with(&[
        "--enable-debug-command",
        "yes",
        "--appendonly",
        "yes",
        "--aof-use-rdb-preamble",
        "yes",
    ]);
    let mut c = s.client();
    c.run("DEBUG POPULATE 1000");
    let state = |field: &str| s.info("persistence")[field].clone();
    for (command, running, status, name) in [
        (
            "BGSAVE",
            "rdb_bgsave_in_progress",
            "rdb_last_bgsave_status",
            "bgsave",
        ),
        (
            "BGREWRITEAOF",
            "aof_rewrite_in_progress",
            "aof_last_bgrewrite_status",
            "rewrite",
        ),
    ] {
        c.run("DEBUG PANIC-THREAD save");
        for expected in ["err", "ok"] {
            c.run(command);
            eventually(command, SOON, || {
                state(running) == "0" && state(status) == expected
            });
        }
        s.wait_log(&format!("{name}: the server goes on without it"));
    }
    assert_eq!(c.run("SET a b"), simple("OK"));
    assert_eq!(s.log().matches(END).count(), 2);
    // The command itself panics as any other does.
    c.run("DEBUG PANIC-THREAD save");
    c.send(&["SAVE"]);
    c.assert_closed();
    assert_eq!(s.client().run("SAVE"), simple("OK"));
}

#[test]
fn replicas_get_another_copy_where_making_one_panics() {
    if oracle() {
        return;
    }
    for diskless in ["yes", "no"] {
        let primary = Server::with(&[
            "--enable-debug-command",
            "yes",
            "--repl-diskless-sync",
            diskless,
            "--repl-diskless-sync-delay",
            "0",
        ]);
        let mut c = primary.client();
        c.run("DEBUG POPULATE 1000");
        c.run("DEBUG PANIC-THREAD save");
        let port = primary.port().to_string();
        let replica = Server::with(&["--replicaof", "127.0.0.1", &port]);
        eventually("the replica has everything", SOON, || {
            replica.client().run("DBSIZE") == 1000
        });
        primary.wait_log("the server goes on without it");
        c.run("SET a b");
        assert_eq!(c.run("WAIT 1 10000"), 1);
        assert_eq!(primary.info("replication")["connected_slaves"], "1");
    }
}
