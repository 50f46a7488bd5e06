//! How the server starts and ends: its arguments, its config file, its log, signals, `SHUTDOWN`.
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/config/>

mod support;

use std::time::Duration;
use support::{Client, NULL, Server, error, eventually, oracle, run_to_end, signal};

#[test]
fn version_and_help() {
    for flag in ["--version", "-v"] {
        let ended = run_to_end(&[flag], "");
        assert!(ended.status.success(), "{ended:?}");
        assert!(ended.output.contains("v="), "{ended:?}");
    }
    for flag in ["--help", "-h"] {
        let ended = run_to_end(&[flag], "");
        assert!(ended.output.contains("Usage:"), "{ended:?}");
    }
}

/// Runs the server with these arguments and a config on standard input; it must refuse to start and
/// say all of `texts`.
#[track_caller]
fn refuses(args: &[&str], stdin: &str, texts: &[&str]) {
    let ended = run_to_end(args, stdin);
    assert_eq!(ended.status.code(), Some(1), "{args:?}: {ended:?}");
    for text in texts {
        assert!(
            ended.output.contains(text),
            "'{text}' for {args:?}: {ended:?}"
        );
    }
}

#[test]
fn bad_arguments_are_fatal() {
    let fatal = "*** FATAL CONFIG FILE ERROR";
    let bad = "Bad directive or wrong number of arguments";
    refuses(
        &["--nonsense", "1"],
        "",
        &[fatal, "at line", "nonsense", bad],
    );
    refuses(
        &["--maxclients", "x"],
        "",
        &[
            fatal,
            "maxclients",
            "argument couldn't be parsed into an integer",
        ],
    );
    refuses(
        &["--port", "70000"],
        "",
        &["port", "argument must be between 0 and 65535 inclusive"],
    );
    refuses(
        &["--appendonly", "maybe"],
        "",
        &["appendonly", "argument must be 'yes' or 'no'"],
    );
    refuses(
        &["--loglevel", "loud"],
        "",
        &["argument(s) must be one of the following"],
    );
    refuses(&["--port"], "", &["port", "wrong number of arguments"]);
    refuses(
        &["/nonexistent/redis.conf"],
        "",
        &["can't open config file '/nonexistent/redis.conf'"],
    );
}

#[test]
fn a_bad_line_of_a_config_is_named() {
    let fatal = "*** FATAL CONFIG FILE ERROR";
    refuses(
        &["-"],
        "# fine\n\nport 0\nnonsense yes\n",
        &[fatal, "at line 4", ">>> 'nonsense yes'"],
    );
    refuses(
        &["-"],
        "timeout abc\n",
        &[
            fatal,
            "at line 1",
            ">>> 'timeout abc'",
            "argument couldn't be parsed into an integer",
        ],
    );
    refuses(
        &["-"],
        "port 0\nlogfile \"open\n",
        &[
            fatal,
            "at line 2",
            "Unbalanced quotes in configuration line",
        ],
    );
    refuses(
        &["-"],
        "maxmemory 1 2\n",
        &[fatal, "at line 1", "wrong number of arguments"],
    );
}

#[test]
fn a_config_file_is_read_and_arguments_win() {
    let text = "# comment\n  timeout   7\nrequirepass \"se\\x73ame\"\nMAXCLIENTS 50\n\n\
                maxmemory 10mb\nloglevel verbose\ntimeout 8\n";
    let s = Server::with_config(text, &["--maxclients", "60", "--loglevel", "notice"]);
    let mut c = s.client();
    assert_eq!(c.run("AUTH sesame"), "OK");
    for (name, value) in [
        ("timeout", "8"),
        ("maxclients", "60"),
        ("maxmemory", "10485760"),
        ("loglevel", "notice"),
    ] {
        assert_eq!(c.cmd(&["CONFIG", "GET", name]).items()[1], value, "{name}");
    }
    let fields = support::info(&mut c, "server");
    assert_eq!(
        fields["config_file"],
        s.dir().join("redis.conf").display().to_string()
    );
}

#[test]
fn arguments_of_several_words() {
    let s = Server::with(&[
        "--save",
        "900 1",
        "--save",
        "60 10",
        "--timeout",
        "5",
        "--maxmemory-policy",
        "volatile-lru",
    ]);
    let mut c = s.client();
    assert_eq!(c.run("CONFIG GET timeout").items()[1], "5");
    assert_eq!(
        c.run("CONFIG GET maxmemory-policy").items()[1],
        "volatile-lru"
    );
}

#[test]
fn the_log() {
    let s = Server::with(&["--always-show-logo", "yes"]);
    // The kind of listener is new in 7.2.
    s.wait_log(match oracle() {
        true => "Ready to accept connections",
        false => "Ready to accept connections tcp\n",
    });
    let log = s.log();
    assert!(log.contains(&format!("PID: {}", s.pid())), "{log}");
    assert!(log.contains("Server initialized"), "{log}");
    // `pid:role day month year hour:minute:second.millisecond level text`
    let line = log.lines().find(|l| l.contains("Ready to accept")).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[0], format!("{}:M", s.pid()));
    assert!(
        words[1].len() == 2 && words[2].len() == 3 && words[3].len() == 4,
        "{line}"
    );
    assert!(
        words[4].len() == 12 && words[4].as_bytes()[8] == b'.',
        "{line}"
    );
    assert_eq!(words[5], "*");
}

#[test]
fn the_log_names_each_kind_of_listener() {
    if oracle() {
        return;
    }
    let ready = |s: &Server| -> Vec<String> {
        s.wait_log("Ready to accept");
        let log = s.log();
        let words = log.lines().filter_map(|line| line.split_once("Ready to "));
        words.map(|(_, what)| what.to_owned()).collect()
    };
    let unix = Server::unix(&[]);
    assert_eq!(ready(&unix), ["accept connections unix"]);
    let both = Server::with(&["--unixsocket", "s"]);
    both.wait_log("connections unix");
    assert_eq!(
        ready(&both),
        ["accept connections tcp", "accept connections unix"]
    );
}

#[test]
fn logfile_and_loglevel() {
    let s = Server::with(&["--logfile", "own.log", "--loglevel", "warning"]);
    let mut c = s.client();
    let own = || std::fs::read_to_string(s.dir().join("own.log")).unwrap_or_default();
    assert!(!own().contains("Ready to accept connections"), "{}", own());
    c.run("CONFIG SET loglevel verbose");
    s.client().run("PING");
    eventually("a new client is logged", Duration::from_secs(5), || {
        own().contains("Accepted 127.0.0.1:")
    });
}

#[test]
fn signals_end_the_server_in_order() {
    for name in ["TERM", "INT"] {
        let mut s = Server::start();
        let mut c = s.client();
        assert_eq!(c.run("PING"), "PONG");
        signal(s.pid(), name);
        let status = s.wait_exit();
        assert!(status.success(), "SIG{name}: {status}");
        assert!(
            s.log()
                .contains(&format!("Received SIG{name} scheduling shutdown")),
            "{}",
            s.log()
        );
        assert!(
            s.log().contains("is now ready to exit, bye bye"),
            "{}",
            s.log()
        );
        c.assert_closed();
    }
}

#[test]
fn sigpipe_and_sighup_are_ignored() {
    let s = Server::start();
    for name in ["PIPE", "HUP"] {
        signal(s.pid(), name);
    }
    // Writing to a client that has gone raises SIGPIPE too.
    for _ in 0..20 {
        let mut c = s.client();
        for _ in 0..100 {
            c.send(&["INFO", "everything"]);
        }
    }
    assert_eq!(s.client().run("PING"), "PONG");
}

#[test]
fn shutdown() {
    for line in ["SHUTDOWN", "SHUTDOWN NOSAVE", "shutdown nosave now force"] {
        let mut s = Server::unix(&[]);
        let mut c = s.client();
        c.send(&line.split(' ').collect::<Vec<_>>());
        c.assert_closed();
        let status = s.wait_exit();
        assert!(status.success(), "{line}: {status}");
        assert!(!s.socket().exists(), "the socket stays behind after {line}");
        assert!(s.log().contains("User requested shutdown"), "{}", s.log());
    }
    let s = Server::start();
    let mut c = s.client();
    for line in ["SHUTDOWN FOO", "SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT NOW"] {
        assert_eq!(c.run(line), error("ERR syntax error"), "{line}");
    }
    assert_eq!(
        c.run("SHUTDOWN ABORT"),
        error("ERR No shutdown in progress.")
    );
}

#[test]
fn nothing_stays_behind_without_save_points() {
    let mut s = Server::start();
    let mut c = s.client();
    c.run("SET k v");
    c.send(&["SHUTDOWN"]);
    c.assert_closed();
    s.wait_exit();
    assert!(!s.dir().join("dump.rdb").exists());
    s.restart();
    assert_eq!(s.client().run("GET k"), NULL);
}

#[test]
fn a_port_in_use_is_fatal() {
    let s = Server::start();
    let port = s.port().to_string();
    let args = ["--bind", "127.0.0.1", "--port", &port, "--save", ""];
    refuses(&args, "", &["in use"]);
    assert_eq!(s.client().run("PING"), "PONG");
}

#[test]
fn several_addresses() {
    // The second is one that a machine without IPv6 does not have; the dash forgives that.
    let s = Server::with(&["--bind", "127.0.0.1", "-::1"]);
    assert_eq!(s.client().run("PING"), "PONG");
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let mut c = Client::tcp(&format!("[::1]:{}", s.port())).expect("connect over IPv6");
        let text = c.run("CLIENT INFO").text();
        assert!(text.contains(" addr=[::1]:"), "{text}");
    }
}

#[test]
fn running_out_of_files_is_survived() {
    let s = Server::after_shell("ulimit -n 100", &[]);
    let mut first = s.client();
    assert_eq!(first.run("PING"), "PONG");
    let mut held: Vec<Client> = Vec::new();
    let mut served = 0;
    for _ in 0..150 {
        let mut c = s.client();
        // Nobody has to answer the ones that are too many, but somebody answers the first.
        let _ = c.try_write(b"PING\r\n");
        if served < 20 {
            assert_eq!(c.recv(), "PONG");
            served += 1;
        }
        held.push(c);
    }
    assert_eq!(first.run("PING"), "PONG");
    drop(held);
    eventually(
        "new clients are served again",
        Duration::from_secs(10),
        || {
            let mut c = s.client();
            let sent = c.try_write(b"PING\r\n");
            sent.ok()
                .and_then(|()| c.try_recv())
                .is_some_and(|v| v == "PONG")
        },
    );
    assert_eq!(first.run("PING"), "PONG");
}

#[test]
fn it_starts_quickly() {
    let start = std::time::Instant::now();
    let s = Server::start();
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(s.client().run("DBSIZE"), 0);
}
