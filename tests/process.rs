//! The process as the system sees it: reports of crashes and of what takes long, its title, its
//! supervisor, how readily it is ended when memory runs out, how it starts itself anew. And what it says
//! about clusters and modules, which it lacks.

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

const EXPIRED: &str = "--- WATCHDOG TIMER EXPIRED ---";

#[test]
fn the_watchdog_tells_what_takes_long() {
    if oracle() {
        return;
    }
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let (mut c, mut waiting) = (s.client(), s.client());
    let period = |c: &mut Client| c.run("CONFIG GET watchdog-period").field("watchdog-period");
    // Off by default, and then no thread is there for it.
    assert_eq!(period(&mut c), "0");
    let threads = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", s.pid())).expect("it runs");
        let names =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name == "watchdog\n").count()
    };
    assert_eq!(threads(), 0);
    // As much as two of the server's own periods.
    assert_eq!(c.run("CONFIG SET watchdog-period 5"), simple("OK"));
    assert_eq!(period(&mut c), "200");
    eventually("there is a thread", SOON, || threads() == 1);
    // Who waits takes no time.
    waiting.send(&["BLPOP", "nothing", "0"]);
    let mut paused = s.client();
    c.run("CLIENT PAUSE 600 WRITE");
    assert_eq!(paused.run("SET a b"), simple("OK"));
    assert!(!s.log().contains(EXPIRED), "{}", s.log());
    let id = c.run("CLIENT ID").int();
    assert_eq!(c.run("DEBUG SLEEP 0.6"), simple("OK"));
    s.wait_log("signal-handler");
    let log = s.log();
    for text in [
        EXPIRED,
        &format!("Client {id} (127.0.0.1:"),
        "has been at command debug for ",
        "STACK TRACE",
        "[0x",
        " --------\n",
    ] {
        assert!(log.contains(text), "'{text}' in {log}");
    }
    assert_eq!(log.matches(EXPIRED).count(), 1, "once a command: {log}");
    // A transaction counts as a whole.
    c.run("MULTI");
    for _ in 0..5 {
        c.run("DEBUG SLEEP 0.15");
    }
    c.run("EXEC");
    eventually("the transaction is told", SOON, || {
        s.log().contains("at command exec for ") && s.log().contains(", at debug now")
    });
    // A command after the other does not.
    for _ in 0..40 {
        c.run("DEBUG SLEEP 0.01");
    }
    assert_eq!(s.log().matches(EXPIRED).count(), 2);
    assert_eq!(c.run("CONFIG SET watchdog-period 0"), simple("OK"));
    eventually("the thread ends", SOON, || threads() == 0);
    // From elsewhere the signal does no harm.
    signal(s.pid(), "ALRM");
    c.run("DEBUG SLEEP 0.5");
    assert_eq!(s.log().matches(EXPIRED).count(), 2);
    assert_eq!(c.run("CONFIG SET watchdog-period 300"), simple("OK"));
    eventually("there is a thread", SOON, || threads() == 1);
    signal(s.pid(), "ALRM");
    assert_eq!(c.run("PING"), simple("PONG"));
}

#[test]
fn the_watchdog_is_set_by_the_configuration_as_well() {
    let s = Server::with(&[
        "--watchdog-period",
        "50",
        "--hz",
        "100",
        "--enable-debug-command",
        "yes",
    ]);
    s.client().run("DEBUG SLEEP 0.4");
    s.wait_log(EXPIRED);
}

#[test]
fn the_server_starts_itself_anew() {
    // Arguments that count from where it was started.
    let dir = temp_dir();
    let place = dir.display().to_string();
    let options = [
        "--enable-debug-command",
        "yes",
        "--save",
        "3600 1",
        "--dir",
        &place,
    ];
    let s = Server::with_config("maxclients 100\n", &options);
    let run_id = |s: &Server| {
        let mut c = s.connect().ok()?;
        c.send(&["INFO", "server"]);
        let text = c
            .try_recv()
            .filter(|reply| !matches!(reply, Value::Error(_)))?;
        let text = text.text();
        let line = text.lines().find(|line| line.starts_with("run_id:"))?;
        Some(line.to_owned())
    };
    let pid = s.pid();
    for (command, kept) in [("RESTART", true), ("CRASH-AND-RECOVER", false)] {
        for delay in ["0", "200"] {
            let before = run_id(&s);
            let (mut c, mut other) = (s.client(), s.client());
            assert_eq!(
                c.cmd(&["DEBUG", command, "soon"]),
                error("ERR value is not an integer or out of range")
            );
            let value = format!("{command} {delay}");
            c.cmd(&["SET", "key", &value]);
            c.run("CONFIG SET maxclients 90");
            c.send(&["DEBUG", command, delay]);
            c.assert_closed();
            other.assert_closed();
            let anew = || run_id(&s).is_some_and(|now| Some(now) != before);
            eventually("another run", SOON, anew);
            let mut c = s.client();
            let found = c.run("GET key");
            assert_eq!(found == value.as_str(), kept, "{command}: {found:?}");
            let most = c.run("CONFIG GET maxclients").field("maxclients");
            // It has been written down by the first one.
            assert_eq!(most, "90");
            assert_eq!(s.info("server")["process_id"], pid.to_string());
            assert!(of_process(&s, "cmdline").contains(&s.port().to_string()));
        }
    }
    fs::remove_dir_all(&dir).expect("it is there");
}

#[test]
fn a_transaction_is_no_place_to_start_anew_from() {
    if oracle() {
        return;
    }
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    c.run("MULTI");
    c.run("DEBUG RESTART");
    let failed = error("ERR failed to restart the server. Check server logs.");
    assert_eq!(c.run("EXEC"), array![failed]);
    assert_eq!(c.run("SET a b"), simple("OK"));
}

#[test]
fn clients_are_shown_by_their_size() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    assert_eq!(
        c.run("DEBUG CLIENT-EVICTION"),
        error("ERR maxmemory-clients is disabled.")
    );
    c.run("CONFIG SET maxmemory-clients 100mb");
    let mut other = s.client();
    other.run("CLIENT NO-EVICT on");
    let shown = |c: &mut Client| {
        let text = c.run("DEBUG CLIENT-EVICTION").text();
        let count = |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<i64>().ok());
        let all: i64 = text.lines().filter_map(count).sum();
        (text.lines().count(), all)
    };
    // One that has gone may still be counted for a moment.
    eventually("one of them", SOON, || shown(&mut c) == (19, 1));
    other.run("CLIENT NO-EVICT off");
    other.run("PING");
    assert_eq!(shown(&mut c), (19, 2));
}
