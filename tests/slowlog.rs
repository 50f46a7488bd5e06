//! The slow log: which commands are noted, what is kept of them, and what is not shown.

mod support;

use std::time::Duration;
use support::{Client, NULL, Server, Value, encode, error, eventually, oracle};

/// Long enough for anything that is to happen at all.
const SOON: Duration = Duration::from_secs(20);

/// A server that logs every command, and one that logs what takes a tenth of a second.
const EVERYTHING: &[&str] = &["--slowlog-log-slower-than", "0"];
const SLOW: &[&str] = &[
    "--slowlog-log-slower-than",
    "100000",
    "--enable-debug-command",
    "yes",
];

/// The arguments of the logged commands, the oldest first.
#[track_caller]
fn logged(c: &mut Client) -> Vec<String> {
    let entries = c.run("SLOWLOG GET -1");
    let line = |entry: &Value| entry.items()[3].texts().join(" ");
    entries.items().iter().rev().map(line).collect()
}

/// The microseconds of the newest entry of a command.
#[track_caller]
fn micros(c: &mut Client, command: &str) -> i64 {
    let entries = c.run("SLOWLOG GET -1");
    let entry = entries
        .items()
        .iter()
        .find(|entry| entry.items()[3].texts()[0] == command)
        .unwrap_or_else(|| panic!("no {command} among {entries:?}"));
    entry.items()[2].int()
}

/// Waits until so many clients are blocked.
#[track_caller]
fn blocked(s: &Server, count: i64) {
    eventually(&format!("{count} blocked clients"), SOON, || {
        s.info_int("blocked_clients") == count
    });
}

#[test]
fn an_entry_tells_what_took_long_and_whose_it_was() {
    let s = Server::with(SLOW);
    let mut c = s.client();
    c.run("CLIENT SETNAME me");
    assert_eq!(c.run("SLOWLOG LEN"), 0);
    assert_eq!(c.run("PING"), "PONG");
    assert_eq!(c.run("DEBUG SLEEP 0.2"), "OK");
    assert_eq!(c.run("SLOWLOG LEN"), 1);
    let reply = c.run("SLOWLOG GET");
    let entry = reply.items()[0].items();
    assert_eq!(entry.len(), 6);
    assert_eq!(entry[0], 0);
    let now: i64 = c.run("TIME").texts()[0].parse().unwrap();
    assert!((now - 60..=now).contains(&entry[1].int()), "{entry:?}");
    assert!((200_000..10_000_000).contains(&entry[2].int()), "{entry:?}");
    assert_eq!(entry[3].texts(), ["DEBUG", "SLEEP", "0.2"]);
    assert!(c.run("CLIENT INFO").text().contains(&entry[4].text()));
    assert_eq!(entry[5], "me");
    assert_eq!(c.run("SLOWLOG RESET"), "OK");
    assert_eq!(c.run("SLOWLOG LEN"), 0);
    // Off is off.
    c.run("CONFIG SET slowlog-log-slower-than -1");
    assert_eq!(c.run("DEBUG SLEEP 0.2"), "OK");
    assert_eq!(c.run("SLOWLOG LEN"), 0);
    c.run("CONFIG SET slowlog-log-slower-than 100000");
    assert_eq!(c.run("DEBUG SLEEP 0.2"), "OK");
    assert_eq!(c.run("SLOWLOG GET").items()[0].items()[0], 1);
}

#[test]
fn counts_and_their_errors() {
    let s = Server::with(EVERYTHING);
    let mut c = s.client();
    c.run("SLOWLOG RESET");
    (0..20).for_each(|_| drop(c.run("PING")));
    for (line, entries) in [
        ("SLOWLOG GET", 10),
        ("SLOWLOG GET 0", 0),
        ("SLOWLOG GET 3", 3),
        ("SLOWLOG GET -1", 24),
    ] {
        assert_eq!(c.run(line).items().len(), entries, "{line}");
    }
    let bad = error("ERR count should be greater than or equal to -1");
    for line in ["SLOWLOG GET -2", "SLOWLOG GET x", "SLOWLOG GET 1.0"] {
        assert_eq!(c.run(line), bad, "{line}");
    }
    assert_eq!(
        c.run("SLOWLOG GET 1 2"),
        error("ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.")
    );
    let ids: Vec<i64> = (c.run("SLOWLOG GET 5").items().iter())
        .map(|entry| entry.items()[0].int())
        .collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1] + 1), "{ids:?}");
}

#[test]
fn the_limit_holds() {
    let s = Server::with(EVERYTHING);
    let mut c = s.client();
    c.run("CONFIG SET slowlog-max-len 3");
    (0..5).for_each(|_| drop(c.run("PING")));
    assert_eq!(c.run("SLOWLOG LEN"), 3);
    // A lower one as soon as something is logged, which this is.
    c.run("CONFIG SET slowlog-max-len 1");
    assert_eq!(logged(&mut c), ["CONFIG SET slowlog-max-len 1"]);
    c.run("CONFIG SET slowlog-max-len 0");
    assert_eq!(c.run("SLOWLOG LEN"), 0);
}

#[test]
fn long_commands_are_shortened() {
    let s = Server::with(EVERYTHING);
    let mut c = s.client();
    let numbers: Vec<String> = (3..34).map(|n| n.to_string()).collect();
    let mut args = vec!["SADD", "set"];
    args.extend(numbers.iter().map(String::as_str));
    c.cmd(&args);
    let kept = logged(&mut c).pop().unwrap();
    let expected = format!(
        "SADD set {} ... (2 more arguments)",
        numbers[..29].join(" ")
    );
    assert_eq!(kept, expected);
    // One that the store has taken over.
    let big = "b".repeat(3 << 20);
    assert_eq!(c.cmd(&["SET", "k", &big]), "OK");
    let kept = logged(&mut c).pop().unwrap();
    let more = (3 << 20) - 128;
    let expected = format!("SET k {}... ({more} more bytes)", &big[..128]);
    assert_eq!(kept, expected);
    assert_eq!(c.run("STRLEN k"), 3 << 20);
    assert_eq!(c.cmd(&["SET", "k", &big[..128]]), "OK");
    let kept = logged(&mut c).pop().unwrap();
    assert_eq!(kept, format!("SET k {}", &big[..128]));
}

#[test]
fn secrets_are_not_shown() {
    let s = Server::with(EVERYTHING);
    let mut c = s.client();
    c.run("SLOWLOG RESET");
    c.run("AUTH secret");
    c.run("AUTH default secret");
    c.run("HELLO 2 AUTH default secret SETNAME x");
    c.run("CONFIG SET requirepass secret maxmemory 0");
    c.run("CONFIG SET requirepass \"\" REQUIREPASS secret");
    c.run("CONFIG SET maxmemory 0");
    let port = s.port().to_string();
    for line in [
        format!("MIGRATE 127.0.0.1 {port} none 9 5000 AUTH secret"),
        format!("MIGRATE 127.0.0.1 {port} none 9 5000 AUTH2 name secret"),
    ] {
        assert_eq!(c.run(&line), "NOKEY");
    }
    assert_eq!(
        logged(&mut c),
        [
            "SLOWLOG RESET".to_owned(),
            "AUTH (redacted)".into(),
            "AUTH (redacted) (redacted)".into(),
            "HELLO 2 AUTH (redacted) (redacted) SETNAME x".into(),
            "CONFIG SET requirepass (redacted) maxmemory 0".into(),
            "CONFIG SET requirepass (redacted) REQUIREPASS (redacted)".into(),
            "CONFIG SET maxmemory 0".into(),
            format!("MIGRATE 127.0.0.1 {port} none 9 5000 AUTH (redacted)"),
            format!("MIGRATE 127.0.0.1 {port} none 9 5000 AUTH2 (redacted) (redacted)"),
        ]
    );
}

#[test]
fn commands_are_logged_as_they_came() {
    let s = Server::with(EVERYTHING);
    let mut c = s.client();
    let lines = [
        "SLOWLOG RESET",
        "SADD set a b",
        "spop set 10",
        "GEOADD cities -122.33207 47.60621 Seattle",
        "SET A 5",
        "getset A 6",
        "INCRBYFLOAT A 1.0",
        "LPUSH A x",
        "SELECT 99",
    ];
    lines.iter().for_each(|line| drop(c.run(line)));
    // What is refused before it runs has taken no time.
    c.run("GET");
    c.run("NOSUCH");
    assert_eq!(logged(&mut c), lines);
}

#[test]
fn of_a_transaction_the_commands_are_logged() {
    let s = Server::with(SLOW);
    let mut c = s.client();
    c.run("MULTI");
    c.run("DEBUG SLEEP 0.2");
    c.run("PING");
    assert_eq!(c.run("EXEC").texts(), ["OK", "PONG"]);
    assert_eq!(logged(&mut c), ["DEBUG SLEEP 0.2"]);
    c.run("CONFIG SET slowlog-log-slower-than 0");
    c.run("SLOWLOG RESET");
    for line in ["MULTI", "SET k v", "INCR k", "EXEC"] {
        c.run(line);
    }
    assert_eq!(
        logged(&mut c),
        ["SLOWLOG RESET", "MULTI", "SET k v", "INCR k"]
    );
}

#[test]
fn to_wait_for_a_key_is_not_to_be_slow() {
    let s = Server::with(SLOW);
    let (mut c, mut waiter) = (s.client(), s.client());
    c.run("CONFIG SET slowlog-log-slower-than 0");
    waiter.run("CLIENT SETNAME waiter");
    waiter.send(&["BLPOP", "l", "0"]);
    blocked(&s, 1);
    c.run("DEBUG SLEEP 0.5");
    c.run("SLOWLOG RESET");
    c.run("LPUSH l x");
    assert_eq!(waiter.recv().texts(), ["l", "x"]);
    let mut lines = logged(&mut c);
    lines.sort();
    assert_eq!(lines, ["BLPOP l 0", "LPUSH l x", "SLOWLOG RESET"]);
    assert!(micros(&mut c, "BLPOP") < 500_000);
    // What was given up for whatever reason as well, which 7.0 does not log.
    if oracle() {
        return;
    }
    waiter.run("BLPOP l 0.5");
    let id = waiter.run("CLIENT ID").int();
    waiter.send(&["BRPOP", "l", "0"]);
    blocked(&s, 1);
    assert_eq!(c.run(&format!("CLIENT UNBLOCK {id}")), 1);
    assert_eq!(waiter.recv(), NULL);
    assert!(micros(&mut c, "BLPOP") < 500_000 && micros(&mut c, "BRPOP") < 500_000);
    // And a client that waits for the disk, or for replicas that are not there.
    waiter.run("WAITAOF 0 1 500");
    assert!(micros(&mut c, "WAITAOF") < 500_000);
}

#[test]
fn to_wait_for_others_is_not_to_be_slow() {
    let s = Server::with(SLOW);
    let (mut c, mut holder) = (s.client(), s.client());
    c.run("SET k v");
    holder.run("MULTI");
    for line in ["SET k w", "DEBUG SLEEP 0.5", "GET k"] {
        assert_eq!(holder.run(line), "QUEUED");
    }
    c.run("CONFIG SET slowlog-log-slower-than 0");
    holder.write(&encode(&["EXEC"]));
    let value = c.run("GET k");
    assert!(value == "v" || value == "w");
    assert_eq!(holder.recv().texts(), ["OK", "OK", "w"]);
    assert!(micros(&mut c, "GET") < 400_000);
}
