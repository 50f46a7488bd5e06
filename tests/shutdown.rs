//! The end of a server with data to save: by signal and by command, while it loads, twice, and with
//! clients that die at the wrong moment.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use support::{Client, NULL, Server, Value, encode, error, eventually, oracle, signal};

const LONG: Duration = Duration::from_secs(10);

/// All files of a server but its log, with what is in them.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("list a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.file_name().is_some_and(|name| name != "log") {
            let bytes = fs::read(&path).expect("read a file");
            all.insert(path.display().to_string(), bytes);
        }
    }
    all
}

/// A client of a server that is loading.
fn client_while_loading(server: &Server) -> Client {
    let start = Instant::now();
    while start.elapsed() < LONG {
        if let Ok(mut client) = server.connect()
            && matches!(client.run("GET a"), Value::Error(text) if text.starts_with("LOADING"))
        {
            return client;
        }
    }
    panic!("the server is never seen loading");
}

#[test]
fn loading_is_interrupted_and_nothing_touched() {
    if oracle() {
        return;
    }
    for appendonly in ["no", "yes"] {
        let mut server = Server::with(&[
            "--appendonly",
            appendonly,
            "--save",
            "1 1",
            "--enable-debug-command",
            "yes",
            "--rdb-key-save-delay",
            "0",
        ]);
        let mut c = server.client();
        for part in 0..20 {
            let mut words = vec!["MSET".to_owned()];
            for number in 0..500 {
                words.extend([format!("key:{}", part * 500 + number), "value".to_owned()]);
            }
            c.cmd(&words);
        }
        c.cmd(&["CONFIG", "SET", "save", ""]);
        assert_eq!(c.run("SAVE"), "OK");
        if appendonly == "yes" {
            c.run("BGREWRITEAOF");
            eventually("a rewrite", LONG, || {
                support::info(&mut c, "persistence")["aof_rewrite_in_progress"] == "0"
            });
        }
        server.kill9();
        let before = files(server.dir());
        // Slow from the first key on.
        server.add_arguments(&["--key-load-delay", "1000"]);
        for (how, code) in [
            ("TERM", 0),
            ("INT", 0),
            ("SHUTDOWN", 0),
            ("SHUTDOWN SAVE", 0),
        ] {
            server.start_again();
            let mut c = client_while_loading(&server);
            let start = Instant::now();
            if let Some(signal_name) = Some(how).filter(|how| !how.starts_with("SHUT")) {
                signal(server.pid(), signal_name);
            } else {
                c.send(&how.split(' ').collect::<Vec<_>>());
                c.assert_closed();
            }
            let status = server.wait_exit();
            assert_eq!(status.code(), Some(code), "{how}: {}", server.log());
            let took = start.elapsed();
            assert!(took < Duration::from_secs(2), "{how} took {took:?}");
            assert!(files(server.dir()) == before, "{how} has touched the files");
        }
    }
}

#[test]
fn nothing_is_written_between_loading_and_logging() {
    if oracle() {
        return;
    }
    // Clients that ask from the first moment on; what is acknowledged is logged.
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut highest = 0;
    for round in 0..10 {
        server.start_again();
        let start = Instant::now();
        let mut clients: Vec<Client> = Vec::new();
        while clients.len() < 3 && start.elapsed() < LONG {
            clients.extend(server.connect().ok());
        }
        'asking: for _ in 0..200 {
            for client in &mut clients {
                match client.run("INCR n") {
                    Value::Int(number) => {
                        assert_eq!(number, highest + 1, "round {round}");
                        highest = number;
                    }
                    Value::Error(text) => assert!(text.starts_with("LOADING"), "{text}"),
                    other => panic!("{other:?}"),
                }
                if highest > 20 * (round + 1) {
                    break 'asking;
                }
            }
        }
    }
    assert!(highest > 0);
    server.restart();
    assert_eq!(server.client().run("GET n"), highest.to_string());
}

#[test]
fn a_signal_at_the_very_start_saves_nothing_over_everything() {
    if oracle() {
        return;
    }
    let mut server = Server::with(&["--save", "3600 1"]);
    let mut c = server.client();
    c.run("SET a 1");
    assert_eq!(c.run("SAVE"), "OK");
    let mut at_once = 0;
    for round in 0..30 {
        server.start_again();
        std::thread::sleep(Duration::from_micros(300 * round));
        signal(server.pid(), "TERM");
        // Before its handlers are installed, the signal just kills it.
        let status = server.wait_exit();
        at_once += u32::from(status.code().is_none());
    }
    assert!(at_once < 30, "the server never got far enough");
    server.restart();
    assert_eq!(server.client().run("GET a"), "1");
}

#[test]
fn a_signal_saves_where_save_points_are_set() {
    for name in ["TERM", "INT"] {
        let mut server = Server::with(&["--save", "3600 100000"]);
        server.client().run("SET a 1");
        signal(server.pid(), name);
        assert!(server.wait_exit().success(), "SIG{name}");
        server.restart();
        assert_eq!(server.client().run("GET a"), "1", "SIG{name}");
        server.client().run("SET a 2");
        signal(server.pid(), name);
        assert!(server.wait_exit().success(), "SIG{name}");
        server.restart();
        assert_eq!(server.client().run("GET a"), "2", "SIG{name}");
    }
}

#[test]
fn options_say_how_a_signal_ends_the_server() {
    for (option, saved) in [("save", true), ("nosave", false), ("now force", false)] {
        let mut server = Server::with(&["--shutdown-on-sigterm", option]);
        server.client().run("SET a 1");
        signal(server.pid(), "TERM");
        assert!(server.wait_exit().success(), "{option}");
        assert_eq!(server.dir().join("dump.rdb").exists(), saved, "{option}");
    }
}

#[test]
fn shutdown_saves_as_it_is_told() {
    for (points, line, saved) in [
        ("", "SHUTDOWN", false),
        ("", "SHUTDOWN SAVE", true),
        ("", "SHUTDOWN SAVE NOW FORCE", true),
        ("3600 100000", "SHUTDOWN", true),
        ("3600 100000", "SHUTDOWN NOSAVE", false),
    ] {
        let mut server = Server::with(&["--save", points]);
        let mut c = server.client();
        c.run("SET a 1");
        c.send(&line.split(' ').collect::<Vec<_>>());
        c.assert_closed();
        assert!(server.wait_exit().success(), "{line}");
        assert_eq!(
            server.dir().join("dump.rdb").exists(),
            saved,
            "{points} {line}"
        );
        server.restart();
        let expected = if saved { "1".into() } else { NULL };
        assert_eq!(server.client().run("GET a"), expected, "{points} {line}");
    }
}

/// Everything that was acknowledged before an orderly end is in the append only file, whatever the
/// policy.
#[test]
fn an_orderly_end_writes_the_append_only_file() {
    if oracle() {
        return;
    }
    for (round, policy) in ["no", "everysec", "always"]
        .into_iter()
        .cycle()
        .take(9)
        .enumerate()
    {
        let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", policy]);
        let acknowledged: Vec<i64> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|number| {
                    let mut client = server.client();
                    scope.spawn(move || {
                        let (key, mut last) = (format!("n:{number}"), 0);
                        while client.try_write(&encode(&["INCR", &key])).is_ok() {
                            match client.try_recv() {
                                Some(reply) => last = reply.int(),
                                None => break,
                            }
                        }
                        last
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(20));
            if round % 2 == 0 {
                signal(server.pid(), "TERM");
            } else {
                // Two at once: one waits for the other.
                let mut clients = [server.client(), server.client()];
                for client in &mut clients {
                    client.send(&["SHUTDOWN"]);
                }
            }
            let ended = writers
                .into_iter()
                .map(|writer| writer.join().expect("a writer"));
            ended.collect()
        });
        assert!(server.wait_exit().success());
        server.restart();
        let mut c = server.client();
        for (number, &last) in acknowledged.iter().enumerate() {
            let found: i64 = c
                .run(&format!("GET n:{number}"))
                .text()
                .parse()
                .expect("a number");
            let exact = found == last || found == last + 1;
            assert!(exact, "{policy}: {found} of {last}");
        }
    }
}

#[test]
fn whoever_insists_is_obeyed() {
    if oracle() {
        return;
    }
    for name in ["TERM", "INT"] {
        // A save that takes for ever.
        let options = ["--save", "3600 100000", "--rdb-key-save-delay", "60000000"];
        let mut server = Server::with(&options);
        let mut c = server.client();
        c.run("SET a 1");
        signal(server.pid(), "TERM");
        server.wait_log("Saving the final RDB snapshot before exiting.");
        signal(server.pid(), name);
        assert_eq!(server.wait_exit().code(), Some(1));
        server.wait_log("You insist... exiting now.");
        let names = files(server.dir()).into_keys().collect::<Vec<_>>();
        assert!(names.is_empty(), "{names:?}");
    }
}

#[test]
fn shutdown_gives_up_what_is_saved_in_the_background() {
    if oracle() {
        return;
    }
    let mut server = Server::with(&["--rdb-key-save-delay", "200000", "--appendonly", "yes"]);
    let mut c = server.client();
    for number in 0..100 {
        c.run(&format!("SET key:{number} 1"));
    }
    for job in ["BGSAVE", "BGREWRITEAOF"] {
        assert!(c.run(job).text().contains("started"), "{job}");
        c.send(&["SHUTDOWN"]);
        c.assert_closed();
        assert!(server.wait_exit().success(), "{job}");
        let left: Vec<String> = files(server.dir()).into_keys().collect();
        assert!(left.iter().all(|name| !name.contains("temp-")), "{left:?}");
        server.restart();
        c = server.client();
        assert_eq!(c.run("DBSIZE"), 100, "{job}");
    }
}

#[test]
fn a_refused_shutdown_leaves_everything_as_it_was() {
    if oracle() {
        return;
    }
    let mut server = Server::with(&["--appendonly", "yes"]);
    let mut c = server.client();
    c.run("SET a 1");
    let obstacle = server.dir().join("dump.rdb/in");
    fs::create_dir_all(&obstacle).expect("create a directory");
    let refusal = error("ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(c.run("SHUTDOWN SAVE"), refusal);
    assert_eq!(
        c.run("SHUTDOWN ABORT"),
        error("ERR No shutdown in progress.")
    );
    assert_eq!(c.run("INCR a"), 2);
    assert_eq!(c.run("WAITAOF 1 0 0").items()[0], 1);
    c.send(&["SHUTDOWN", "SAVE", "FORCE"]);
    c.assert_closed();
    assert!(server.wait_exit().success());
    server.restart();
    assert_eq!(server.client().run("GET a"), "2");
}

/// Behind the moment of which everything is saved nothing changes; whoever wants to write then waits for
/// whether the server lives on.
#[test]
fn who_writes_while_everything_is_saved_waits_for_how_that_ends() {
    if oracle() {
        return;
    }
    let mut server = Server::with(&["--rdb-key-save-delay", "20000"]);
    let mut c = server.client();
    for number in 0..20 {
        c.run(&format!("SET key:{number} 1"));
    }
    let obstacle = server.dir().join("dump.rdb/in");
    fs::create_dir_all(&obstacle).expect("create a directory");
    for round in 1..=2 {
        let mut ender = server.client();
        ender.send(&["SHUTDOWN", "SAVE"]);
        eventually("it is being saved", LONG, || {
            let begun = "Saving the final RDB snapshot before exiting.";
            server.log().matches(begun).count() == round
        });
        let (mut writer, mut several, mut reader) =
            (server.client(), server.client(), server.client());
        writer.send(&["INCR", "a"]);
        for line in ["MULTI", "INCR b", "GET b"] {
            several.run(line);
        }
        several.send(&["EXEC"]);
        assert_eq!(reader.run("GET key:1"), "1");
        assert_eq!(reader.run("PING"), support::simple("PONG"));
        let refusal = error("ERR Errors trying to SHUTDOWN. Check logs.");
        assert_eq!(ender.recv(), refusal);
        let round = round as i64;
        assert_eq!(writer.recv(), round);
        let both = Value::Array(vec![Value::Int(round), round.to_string().into()]);
        assert_eq!(several.recv(), both);
    }
    // And when it does not, there is no reply.
    fs::remove_dir_all(server.dir().join("dump.rdb")).expect("remove a directory");
    c.send(&["SHUTDOWN", "SAVE"]);
    eventually("it is being saved", LONG, || {
        let begun = "Saving the final RDB snapshot before exiting.";
        server.log().matches(begun).count() == 3
    });
    // The moment may not have come yet.
    let mut writer = server.client();
    writer.send(&["INCR", "a"]);
    assert!(server.wait_exit().success());
    let reply = writer.try_recv();
    server.add_arguments(&["--rdb-key-save-delay", "0"]);
    server.restart();
    let expected = if reply.is_some() { "3" } else { "2" };
    assert_eq!(server.client().run("GET a"), expected);
}

/// Clients that close, or send half of something, while they wait for the disk.
#[test]
fn clients_that_die_while_they_wait_for_the_disk() {
    if oracle() {
        return;
    }
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut other = server.client();
    for round in 0..100 {
        let mut client = server.client();
        let mut bytes = encode(&["INCR", "n"]).repeat(1 + round % 7);
        bytes.extend(encode(&["MULTI"]));
        bytes.extend(encode(&["INCR", "m"]));
        bytes.extend(encode(&["INCR", "m"]));
        if round % 2 == 0 {
            bytes.extend(encode(&["EXEC"]));
        }
        bytes.extend(b"*2\r\n$4\r\nIN");
        client.write(&bytes);
        if round % 3 == 0 {
            // Its requests have been seen; the reply to the first is on its way.
            client.recv();
        }
        drop(client);
        let number = other.run("INCR other").int();
        assert_eq!(number, round as i64 + 1);
    }
    let mut count = |key: &str| other.run(&format!("GET {key}")).text();
    eventually("all have gone", LONG, || {
        server.info("clients")["connected_clients"]
            .parse::<u32>()
            .is_ok_and(|n| n <= 2)
    });
    let all = [count("n"), count("m"), count("other")];
    assert_eq!(all[2], "100");
    assert_eq!(all[1].parse::<u32>().expect("a number") % 2, 0);
    server.restart();
    let mut other = server.client();
    for (key, value) in ["n", "m", "other"].into_iter().zip(all) {
        assert_eq!(other.run(&format!("GET {key}")), value, "{key}");
    }
}
