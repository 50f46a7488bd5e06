//! The process as the system sees it: reports of crashes, its title, its supervisor, how readily it
//! is ended when memory runs out. And what it says about clusters and modules, which it lacks.

mod support;

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use support::*;

const SOON: Duration = Duration::from_secs(20);
const START: &str = "=== REDIS BUG REPORT START";
const END: &str = "=== REDIS BUG REPORT END";

fn of_process(s: &Server, name: &str) -> String {
    let bytes = fs::read(format!("/proc/{}/{name}", s.pid())).expect("it runs");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_panic_is_reported_and_ends_one_connection() {
    if oracle() {
        return;
    }
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let (mut other, mut c) = (s.client(), s.client());
    c.run("CLIENT SETNAME unlucky");
    c.send(&["DEBUG", "PANIC", "with \"quotes\"", &"x".repeat(1000)]);
    c.assert_closed();
    s.wait_log(END);
    let log = s.log();
    for text in [
        START,
        "Panic in thread ",
        "DEBUG PANIC called by client",
        "STACK TRACE",
        "argv[0]: \"DEBUG\"",
        r#"argv[2]: "with \"quotes\"""#,
        "name=unlucky",
        "redis_version:",
        "# Clients",
    ] {
        assert!(log.contains(text), "'{text}' in {log}");
    }
    assert!(!log.contains(&"x".repeat(200)));
    assert_eq!(other.run("PING"), simple("PONG"));
    // In a transaction as well; the second report is a shorter one.
    let mut c = s.client();
    c.run("MULTI");
    c.run("SET k v");
    c.run("DEBUG ASSERT");
    c.send(&["EXEC"]);
    c.assert_closed();
    eventually("the second report", SOON, || {
        s.log().matches(END).count() == 2
    });
    let log = s.log();
    assert_eq!(log.matches("redis_version:").count(), 1);
    assert_eq!(log.matches("CURRENT COMMAND").count(), 3, "EXEC's own too");
    assert_eq!(other.run("SET k w"), simple("OK"));
}

#[test]
fn a_fatal_signal_is_reported_before_the_end() {
    if oracle() {
        return;
    }
    for (name, number) in [("SEGV", 11), ("ABRT", 6), ("BUS", 7)] {
        let mut s = Server::start();
        s.client().run("SET a b");
        signal(s.pid(), name);
        assert_eq!(s.wait_exit().signal(), Some(number));
        let log = s.log();
        let crashed = format!("crashed by signal: {number}");
        for text in [
            START,
            &crashed,
            "Killed by PID: ",
            "STACK TRACE",
            "[0x",
            END,
        ] {
            assert!(log.contains(text), "'{text}' in {log}");
        }
    }
}

#[test]
fn a_fault_names_the_client_and_its_command() {
    if oracle() {
        return;
    }
    let mut s = Server::with(&["--enable-debug-command", "yes", "--logfile", "own.log"]);
    let mut c = s.client();
    let id = c.run("CLIENT ID").int();
    c.send(&["DEBUG", "SEGFAULT"]);
    c.assert_closed();
    assert_eq!(s.wait_exit().signal(), Some(11));
    let log = fs::read_to_string(s.dir().join("own.log")).expect("a log");
    let who = format!("which last served client {id} with command debug\n");
    for text in [START, &who, "STACK TRACE", END] {
        assert!(log.contains(text), "'{text}' in {log}");
    }
}

#[test]
fn a_report_can_be_switched_off_and_on() {
    if oracle() {
        return;
    }
    for (first, then, reported) in [("yes", "no", false), ("no", "yes", true)] {
        let mut s = Server::with(&["--crash-log-enabled", first]);
        let set = ["CONFIG", "SET", "crash-log-enabled", then];
        assert_eq!(s.client().cmd(&set), simple("OK"));
        signal(s.pid(), "ABRT");
        assert_eq!(s.wait_exit().signal(), Some(6));
        assert_eq!(s.log().contains(START), reported);
    }
}

#[test]
fn the_title_follows_its_template() {
    let s = Server::start();
    let mut c = s.client();
    let title = || of_process(&s, "cmdline").trim_end_matches('\0').to_string();
    let address = format!("127.0.0.1:{}", s.port());
    assert!(title().ends_with(&format!(" {address}")), "{}", title());
    let set =
        |c: &mut Client, template: &str| c.cmd(&["CONFIG", "SET", "proc-title-template", template]);
    let template = "T {port} {{ {tls-port} {listen-addr} {config-file}";
    assert_eq!(set(&mut c, template), simple("OK"));
    // Without a config file there is a dash, or nothing.
    let shown = format!("T {} {{ 0 {address}", s.port());
    assert!(title().starts_with(&shown), "{}", title());
    // Longer than any room there is.
    assert_eq!(set(&mut c, &"x".repeat(100_000)), simple("OK"));
    assert!(title().starts_with("xxxx"));
    assert_eq!(set(&mut c, "short"), simple("OK"));
    assert_eq!(title(), "short");
    let invalid = set(&mut c, "{nosuch}");
    assert!(invalid.error().contains("template format is invalid"));
    assert_eq!(title(), "short");
    // The environment has made room.
    assert_eq!(c.run("PING"), simple("PONG"));
}

#[test]
fn the_title_can_stay_as_it_was() {
    let s = Server::with(&["--set-proc-title", "no"]);
    assert!(of_process(&s, "cmdline").contains("--set-proc-title\0no\0"));
}

#[test]
fn systemd_is_told() {
    if oracle() {
        // It may have been built without.
        return;
    }
    let name = format!("stdis-notify-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("bound");
    socket.set_read_timeout(Some(SOON)).expect("set");
    let heard = || {
        let mut buffer = [0; 200];
        let len = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    for mode in ["systemd", "auto"] {
        let prelude = format!("export NOTIFY_SOCKET=@{name}");
        // Whoever is supervised stays in the foreground.
        let args = ["--supervised", mode, "--daemonize", "yes"];
        let mut s = Server::after_shell(&prelude, &args);
        assert_eq!(heard(), "STATUS=Redis is loading...\n");
        assert_eq!(heard(), "STATUS=Ready to accept connections\n");
        assert_eq!(heard(), "READY=1\n");
        assert_eq!(s.info("server")["process_supervised"], "systemd");
        assert_eq!(s.info("server")["process_id"], s.pid().to_string());
        s.client().run("SET a b");
        signal(s.pid(), "TERM");
        assert!(s.wait_exit().success());
        assert_eq!(heard(), "STOPPING=1\n");
    }
    // Where nobody is there to be told, the server starts all the same.
    let s = Server::with(&["--supervised", "systemd"]);
    s.wait_log("NOTIFY_SOCKET not found!");
    assert_eq!(s.info("server")["process_supervised"], "no");
}

#[test]
fn the_score_for_the_lack_of_memory_depends_on_the_role() {
    let s = Server::start();
    let mut c = s.client();
    let score = || {
        let text = of_process(&s, "oom_score_adj");
        text.trim().parse::<i64>().expect("a number")
    };
    let base = score();
    c.cmd(&["CONFIG", "SET", "oom-score-adj-values", "10 20 30"]);
    assert_eq!(score(), base);
    c.run("CONFIG SET oom-score-adj yes");
    assert_eq!(score(), base + 10);
    c.cmd(&["CONFIG", "SET", "oom-score-adj-values", "15 25 35"]);
    assert_eq!(score(), base + 15);
    c.run("REPLICAOF 127.0.0.1 1");
    assert_eq!(score(), base + 25);
    c.run("REPLICAOF NO ONE");
    assert_eq!(score(), base + 15);
    c.run("CONFIG SET oom-score-adj absolute");
    assert_eq!(score(), 15);
    c.run("CONFIG SET oom-score-adj no");
    assert_eq!(score(), base);
}

#[test]
fn modules_are_refused_where_they_are_allowed() {
    let s = Server::with(&["--enable-module-command", "local"]);
    let mut c = s.client();
    let failed = error("ERR Error loading the extension. Please check the server logs.");
    assert_eq!(c.run("MODULE LOAD /nonexistent/a.so x y"), failed);
    assert_eq!(
        c.run("MODULE UNLOAD nosuch"),
        error("ERR Error unloading module: no such module with that name")
    );
    assert_eq!(c.run("MODULE LIST"), array![]);
}
