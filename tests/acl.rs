//! Access control lists: who may log in, what each user may do at every point where that matters, and
//! that a change holds for those who are there already.

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use support::{
    Client, NULL, Server, Value, encode, error, eventually, free_port, oracle, run_to_end, simple,
};

/// Long enough for anything that is to happen at all.
const SOON: Duration = Duration::from_secs(20);

const NO_KEY: &str = "NOPERM No permissions to access a key";
const NO_CHANNEL: &str = "NOPERM No permissions to access a channel";

fn no_command(user: &str, command: &str) -> Value {
    error(&format!(
        "NOPERM User {user} has no permissions to run the '{command}' command"
    ))
}

#[track_caller]
fn set_user(c: &mut Client, line: &str) {
    assert_eq!(c.run(&format!("ACL SETUSER {line}")), "OK", "{line}");
}

/// A client that has logged in as this user, who needs no password.
#[track_caller]
fn login(s: &Server, user: &str) -> Client {
    let mut client = s.client();
    assert_eq!(client.cmd(&["AUTH", user, "x"]), "OK");
    client
}

fn blocked(s: &Server, count: i64) {
    eventually("a blocked client", SOON, || {
        s.info_int("blocked_clients") == count
    });
}

#[test]
fn refusals_are_worded_as_in_7_2() {
    if oracle() {
        return;
    }
    let s = Server::start();
    let mut c = s.client();
    set_user(&mut c, "alice on nopass +get +publish +acl|whoami ~a");
    let mut alice = login(&s, "alice");
    assert_eq!(alice.run("SET a 1"), no_command("alice", "set"));
    assert_eq!(alice.run("acl LIST"), no_command("alice", "acl|list"));
    assert_eq!(alice.run("GET b"), error(NO_KEY));
    assert_eq!(alice.run("PUBLISH b x"), error(NO_CHANNEL));
    assert_eq!(alice.run("ACL WHOAMI"), "alice");
    for (command, text) in [
        (
            "SET a 1",
            "User alice has no permissions to run the 'set' command",
        ),
        (
            "GET b",
            "User alice has no permissions to access the 'b' key",
        ),
        (
            "PUBLISH b x",
            "User alice has no permissions to access the 'b' channel",
        ),
    ] {
        assert_eq!(c.run(&format!("ACL DRYRUN alice {command}")), text);
    }
    assert_eq!(c.run("ACL DRYRUN alice GET a"), simple("OK"));
    for (field, count) in [("cmd", 2), ("key", 1), ("channel", 1), ("auth", 0)] {
        assert_eq!(s.info_int(&format!("acl_access_denied_{field}")), count);
    }
    assert!(s.info("errorstats")["errorstat_NOPERM"].contains("count=4"));
    let stats = &s.info("commandstats")["cmdstat_set"];
    assert!(
        stats.contains("calls=0") && stats.contains("rejected_calls=1"),
        "{stats}"
    );
    assert_eq!(
        c.run("ACL LIST").texts(),
        [
            "user alice on nopass sanitize-payload ~a resetchannels -@all +get +publish +acl|whoami",
            "user default on nopass sanitize-payload ~* &* +@all",
        ]
    );
}

#[test]
fn the_default_user_without_rights() {
    let s = Server::start();
    let mut c = s.client();
    set_user(&mut c, "root on >secret ~* &* +@all");
    set_user(&mut c, "default -@all");
    assert!(c.run("PING").error().starts_with("NOPERM "));
    // Who cannot do anything can still become somebody.
    assert_eq!(c.run("HELLO 3 AUTH root secret").field("proto"), 3);
    set_user(&mut c, "default off");
    let mut other = s.client();
    assert_eq!(other.run("PING"), error("NOAUTH Authentication required."));
    assert!(
        other
            .run("AUTH default x")
            .error()
            .starts_with("WRONGPASS ")
    );
    assert_eq!(other.run("AUTH root secret"), "OK");
    assert_eq!(other.run("PING"), "PONG");
    // What it was at first, it is again.
    assert_eq!(other.run("RESET"), "RESET");
    assert_eq!(other.run("PING"), error("NOAUTH Authentication required."));
}

#[test]
fn requirepass_is_the_default_user_s_password() {
    let s = Server::with(&["--requirepass", "one"]);
    let mut c = s.client();
    assert_eq!(c.run("AUTH one"), "OK");
    let listed = c.run("ACL GETUSER default").field("passwords").texts();
    assert_eq!(listed.len(), 1);
    set_user(&mut c, "default >two");
    for (password, fits) in [("one", true), ("two", true), ("three", false)] {
        assert_eq!(
            s.client().cmd(&["AUTH", password]) == "OK",
            fits,
            "{password}"
        );
    }
    assert_eq!(c.run("CONFIG SET requirepass three"), "OK");
    for (password, fits) in [("one", false), ("two", false), ("three", true)] {
        assert_eq!(
            s.client().cmd(&["AUTH", password]) == "OK",
            fits,
            "{password}"
        );
    }
    assert_eq!(c.cmd(&["CONFIG", "SET", "requirepass", ""]), "OK");
    assert_eq!(s.client().run("PING"), "PONG");
    let flags = c.run("ACL GETUSER default").field("flags").texts();
    assert!(flags.contains(&"nopass".to_string()), "{flags:?}");
}

#[test]
fn clients_show_their_users() {
    let s = Server::start();
    let mut c = s.client();
    set_user(&mut c, "alice on nopass +@all");
    let mut alice = login(&s, "alice");
    assert!(alice.run("CLIENT INFO").text().contains(" user=alice "));
    // The one that saw to the start may still be there.
    eventually("one client of each user", SOON, || {
        let all = c.run("CLIENT LIST").text();
        [" user=alice ", " user=default "]
            .iter()
            .all(|user| all.matches(user).count() == 1)
    });
    assert_eq!(
        c.run("CLIENT KILL USER bob"),
        error("ERR No such user 'bob'")
    );
    assert_eq!(c.run("CLIENT KILL USER alice"), 1);
    alice.assert_closed();
}

/// A change holds for whatever comes after its reply, also where much has been sent before.
#[test]
fn changes_hold_at_once() {
    let s = Server::start();
    let mut c = s.client();
    set_user(&mut c, "alice on nopass ~* +incr +ping");
    let revoked = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (mut alice, revoked) = (login(&s, "alice"), revoked.clone());
            thread::spawn(move || {
                let batch: Vec<u8> = (0..50).flat_map(|_| encode(&["INCR", "n"])).collect();
                loop {
                    let late = revoked.load(Ordering::SeqCst);
                    alice.write(&batch);
                    let mut refused = 0;
                    for _ in 0..50 {
                        let reply = alice.recv();
                        match &reply {
                            Value::Int(_) => assert!(!late && refused == 0, "{reply:?}"),
                            other => {
                                assert!(other.error().starts_with("NOPERM "));
                                refused += 1;
                            }
                        }
                    }
                    if late {
                        return;
                    }
                }
            })
        })
        .collect();
    eventually("some work", SOON, || {
        let done = c.run("GET n");
        !done.is_null() && done.text().parse::<i64>().is_ok_and(|n| n > 1000)
    });
    set_user(&mut c, "alice -incr");
    let counted = c.run("GET n").text();
    revoked.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.join().expect("no command too late");
    }
    assert_eq!(c.run("GET n"), counted);
}

#[test]
fn deleted_users_are_gone() {
    let s = Server::start();
    let mut c = s.client();
    set_user(&mut c, "alice on nopass ~* &* +@all");
    let (mut idle, mut listening) = (login(&s, "alice"), login(&s, "alice"));
    assert_eq!(listening.run("SUBSCRIBE ch").items()[0], "subscribe");
    let mut waiting = login(&s, "alice");
    waiting.send(&["BLPOP", "q", "0"]);
    blocked(&s, 1);
    assert_eq!(c.run("ACL DELUSER alice"), 1);
    for client in [&mut idle, &mut listening, &mut waiting] {
        client.assert_closed();
    }
    assert_eq!(c.run("PUBLISH ch x"), 0);
    assert_eq!(c.run("RPUSH q x"), 1);
    assert_eq!(c.run("LLEN q"), 1);
    assert!(c.run("AUTH alice x").error().starts_with("WRONGPASS "));
    // One of the same name is another one.
    set_user(&mut c, "alice on nopass +ping");
    assert_eq!(login(&s, "alice").run("PING"), "PONG");
}

#[test]
fn who_deletes_itself_gets_the_reply_and_no_more() {
    let s = Server::start();
    let mut c = s.client();
    set_user(&mut c, "alice on nopass ~* &* +@all");
    let mut alice = login(&s, "alice");
    let both = [
        encode(&["ACL", "DELUSER", "alice"]),
        encode(&["SET", "k", "v"]),
    ];
    alice.write(&both.concat());
    assert_eq!(alice.recv(), 1);
    alice.assert_closed();
    assert_eq!(c.run("EXISTS k"), 0);
    // Redis stops in the middle of the reply to EXEC.
    if oracle() {
        return;
    }
    // In a transaction, the rest of it is nobody's in particular: the default user's.
    set_user(&mut c, "alice on nopass ~* &* +@all");
    set_user(&mut c, "default -set");
    let mut alice = login(&s, "alice");
    assert_eq!(alice.run("MULTI"), "OK");
    assert_eq!(alice.run("ACL DELUSER alice"), "QUEUED");
    assert_eq!(alice.run("SET k v"), "QUEUED");
    assert_eq!(alice.run("INCR n"), "QUEUED");
    let replies = alice.run("EXEC");
    let replies = replies.items();
    assert_eq!(replies[0], 1);
    assert!(replies[1].error().starts_with("NOPERM ACLs rules changed"));
    assert_eq!(replies[2], 1);
    alice.assert_closed();
}

#[test]
fn transactions_are_checked_twice() {
    let s = Server::start();
    let mut c = s.client();
    set_user(&mut c, "alice on nopass ~a &a +@all");
    let mut alice = login(&s, "alice");
    alice.run("MULTI");
    assert!(alice.run("SET b 1").error().starts_with("NOPERM "));
    let aborted = "EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(alice.run("EXEC"), error(aborted));
    alice.run("MULTI");
    for command in ["SET a 1", "GET a", "PUBLISH a x", "PING"] {
        assert_eq!(alice.run(command), "QUEUED");
    }
    set_user(&mut c, "alice -set resetkeys ~b resetchannels");
    let replies = alice.run("EXEC");
    let head = "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC \
                call. This command is no longer allowed for the following reason: ";
    for (reply, reason) in replies.items().iter().zip([
        "no permission to execute the command or subcommand",
        "no permission to touch the specified keys",
        "no permission to access one of the channels used as arguments",
    ]) {
        assert_eq!(*reply, error(&format!("{head}{reason}")));
    }
    assert_eq!(replies.items()[3], "PONG");
    assert_eq!(c.run("EXISTS a"), 0);
    // Of the log, too, it can be told where that was.
    let entry = c.run("ACL LOG 1").items()[0].clone();
    assert_eq!(entry.field("context"), "multi");
    assert_eq!(entry.field("object"), "a");
    // Nor may EXEC itself be used by those who may not.
    alice.run("MULTI");
    set_user(&mut c, "alice -exec");
    assert!(alice.run("EXEC").error().starts_with("EXECABORT "));
}

/// As in 7.2: who waits for a key that it may no longer use gets an error when that is ready.
#[test]
fn who_waits_is_checked_when_served() {
    if oracle() {
        return;
    }
    let s = Server::start();
    let mut c = s.client();
    c.run("XADD st 1-1 f v");
    for (command, later, text) in [
        ("BLPOP q 0", "-blpop", None),
        ("BRPOP q 0", "resetkeys ~x", Some(NO_KEY)),
        ("BLMPOP 0 2 q p LEFT", "resetkeys ~q", Some(NO_KEY)),
        ("BLMOVE q x LEFT LEFT 0", "resetkeys ~q", Some(NO_KEY)),
        ("BRPOPLPUSH q x 0", "resetkeys %R~* ~q", Some(NO_KEY)),
    ] {
        set_user(&mut c, "alice reset on nopass ~* +@all");
        let mut alice = login(&s, "alice");
        alice.send(&command.split(' ').collect::<Vec<_>>());
        blocked(&s, 1);
        set_user(&mut c, &format!("alice {later}"));
        assert_eq!(c.run("RPUSH q 1"), 1, "{command}");
        let reply = alice.recv();
        match text {
            Some(text) => assert_eq!(reply, error(text), "{command}"),
            None => assert_eq!(reply, no_command("alice", "blpop")),
        }
        // What it did not get is there.
        assert_eq!(c.run("LPOP q"), "1", "{command}");
        blocked(&s, 0);
    }
    // What is still allowed is served.
    set_user(&mut c, "alice reset on nopass ~* +@all");
    let mut alice = login(&s, "alice");
    alice.send(&["BLPOP", "q", "0"]);
    blocked(&s, 1);
    set_user(&mut c, "alice -@all +blpop resetkeys ~q");
    c.run("RPUSH q 2");
    assert_eq!(alice.recv().texts(), ["q", "2"]);
    set_user(&mut c, "alice +xread ~st");
    alice.send(&["XREAD", "BLOCK", "0", "STREAMS", "st", "$"]);
    blocked(&s, 1);
    set_user(&mut c, "alice resetkeys %W~st");
    c.run("XADD st 2-1 f v");
    assert_eq!(alice.recv(), error(NO_KEY));
}

/// A command that a pause has held up is carried out by the rules at its end.
#[test]
fn who_is_paused_is_checked_again() {
    let s = Server::start();
    let mut c = s.client();
    set_user(&mut c, "alice on nopass ~* +@all");
    let mut alice = login(&s, "alice");
    assert_eq!(c.run("CLIENT PAUSE 100000 WRITE"), "OK");
    alice.send(&["SET", "k", "v"]);
    blocked(&s, 1);
    set_user(&mut c, "alice -set");
    assert_eq!(c.run("CLIENT UNPAUSE"), "OK");
    assert!(alice.recv().error().starts_with("NOPERM "));
    assert_eq!(c.run("EXISTS k"), 0);
    assert_eq!(alice.run("PING"), "PONG");
}

#[test]
fn listeners_are_closed_only_when_they_lose_something() {
    let s = Server::start();
    let mut c = s.client();
    set_user(&mut c, "alice on nopass resetchannels &a &p:* &s +@all");
    let (mut plain, mut pattern) = (login(&s, "alice"), login(&s, "alice"));
    let (mut shard, mut idle) = (login(&s, "alice"), login(&s, "alice"));
    plain.run("SUBSCRIBE a");
    pattern.run("PSUBSCRIBE p:*");
    shard.run("SSUBSCRIBE s");
    set_user(&mut c, "alice resetchannels &a &p:* &s &more");
    set_user(&mut c, "alice allchannels");
    assert_eq!(c.run("PUBLISH a x"), 1);
    set_user(&mut c, "alice resetchannels &a &p:* &z");
    shard.assert_closed();
    set_user(&mut c, "alice resetchannels &a &p:1*");
    // The pattern must be the very same.
    pattern.assert_closed();
    set_user(&mut c, "alice resetchannels (&[a-c])");
    assert_eq!(c.run("PUBLISH a x"), 1);
    assert_eq!(plain.recv().texts(), ["message", "a", "x"]);
    assert_eq!(plain.recv().texts(), ["message", "a", "x"]);
    set_user(&mut c, "alice clearselectors");
    plain.assert_closed();
    assert_eq!(idle.run("PING"), "PONG");
}

/// Whoever subscribes while the permission for it is taken away is either refused or closed.
#[test]
fn no_listener_slips_through() {
    let s = Server::start();
    let mut c = s.client();
    for _ in 0..100 {
        set_user(&mut c, "alice reset on nopass &a +@all");
        let mut alice = login(&s, "alice");
        let subscriber = thread::spawn(move || {
            alice.send(&["SUBSCRIBE", "a"]);
            (alice.try_recv(), alice)
        });
        set_user(&mut c, "alice resetchannels");
        let (_, alice) = subscriber.join().expect("a reply or a close");
        assert_eq!(c.run("PUBLISH a x"), 0);
        drop(alice);
    }
}

#[test]
fn the_log_of_refusals() {
    if oracle() {
        return;
    }
    let s = Server::start();
    let mut c = s.client();
    set_user(&mut c, "alice on >x +get +publish ~a");
    let mut alice = s.client();
    assert!(
        alice
            .run("AUTH alice wrong")
            .error()
            .starts_with("WRONGPASS ")
    );
    assert!(
        alice
            .run("HELLO 2 AUTH alice wrong")
            .error()
            .starts_with("WRONGPASS ")
    );
    assert_eq!(alice.run("AUTH alice x"), "OK");
    for command in ["SET a 1", "SET a 1", "GET b", "PUBLISH c x", "ACL WHOAMI"] {
        alice.run(command);
    }
    let entries = c.run("ACL LOG");
    let seen: Vec<(String, String, i64, i64)> = entries
        .items()
        .iter()
        .map(|entry| {
            let text = |name: &str| entry.field(name).text();
            let number = |name: &str| entry.field(name).int();
            assert_eq!(text("username"), "alice");
            assert_eq!(text("context"), "toplevel");
            assert!(text("client-info").starts_with("id="), "{entry:?}");
            assert!(number("timestamp-created") <= number("timestamp-last-updated"));
            assert!(
                text("age-seconds")
                    .parse::<f64>()
                    .is_ok_and(|age| age < 60.0)
            );
            (
                text("reason"),
                text("object"),
                number("count"),
                number("entry-id"),
            )
        })
        .collect();
    let row = |reason: &str, object: &str, count, id| (reason.into(), object.into(), count, id);
    assert_eq!(
        seen,
        [
            row("command", "acl|whoami", 1, 5),
            row("channel", "c", 1, 4),
            row("key", "b", 1, 3),
            row("command", "set", 2, 2),
            row("auth", "HELLO", 1, 1),
            row("auth", "AUTH", 1, 0),
        ]
    );
    assert_eq!(c.run("ACL LOG 2").items().len(), 2);
    assert_eq!(c.run("CONFIG SET acllog-max-len 3"), "OK");
    assert_eq!(c.run("ACL LOG").items().len(), 6);
    alice.run("GET d");
    assert_eq!(c.run("ACL LOG").items().len(), 3);
    assert_eq!(c.run("ACL LOG RESET"), "OK");
    assert_eq!(c.run("ACL LOG").items().len(), 0);
    let mut three = s.client3();
    alice.run("GET d");
    let entry = three.run("ACL LOG").items()[0].clone();
    assert!(matches!(entry.field("age-seconds"), Value::Double(_)));
    assert_eq!(entry.field("entry-id"), 7);
}

#[test]
fn the_acl_file_is_written_and_read() {
    let dir = support::temp_dir();
    let path = dir.join("users.acl");
    fs::write(&path, "").expect("write a file");
    let mut s = Server::with(&["--aclfile", &path.display().to_string()]);
    let mut c = s.client();
    set_user(&mut c, "alice on >x (+get ~a) %R~b +@all -config|set");
    set_user(&mut c, "bob");
    assert_eq!(c.run("ACL SAVE"), "OK");
    let text = fs::read_to_string(&path).expect("a file");
    let listed = c.run("ACL LIST").texts();
    assert_eq!(text.lines().collect::<Vec<_>>(), listed);
    // Nothing is left beside it.
    assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 1);
    s.restart();
    let mut c = s.client();
    assert_eq!(c.run("ACL LIST").texts(), listed);
    // Loading closes the connections of all but the default user.
    let mut alice = s.client();
    assert_eq!(alice.run("AUTH alice x"), "OK");
    set_user(&mut c, "carol on nopass");
    assert_eq!(c.run("ACL LOAD"), "OK");
    alice.assert_closed();
    assert_eq!(c.run("ACL LIST").texts(), listed);
    assert_eq!(c.run("ACL GETUSER carol"), NULL);
    // The password that the configuration has for the default user is not in the file.
    fs::write(
        &path,
        "user default on >y ~* &* +@all\n\n  user dave on nopass \r\n",
    )
    .expect("write");
    assert_eq!(c.run("ACL LOAD"), "OK");
    assert_eq!(c.run("ACL USERS").texts(), ["dave", "default"]);
    assert_eq!(
        s.client().run("PING"),
        error("NOAUTH Authentication required.")
    );
    assert_eq!(s.client().run("AUTH y"), "OK");
    let _ = fs::remove_dir_all(&dir);
}

#[test]
fn a_bad_acl_file_changes_nothing() {
    let dir = support::temp_dir();
    let path = dir.join("users.acl");
    fs::write(&path, "user alice on nopass ~* +@all\n").expect("write a file");
    let name = path.display().to_string();
    let s = Server::with(&["--aclfile", &name]);
    let mut c = s.client();
    let listed = c.run("ACL LIST").texts();
    let bad = "user alice on nopass\nnonsense\nuser\nuser alice off\nuser b\u{b}c on\n\
               user d on +nosuch ~* ~a &* &b\nuser e (+get\n";
    fs::write(&path, bad).expect("write a file");
    let errors = c.run("ACL LOAD").error().to_string();
    let reason = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have \
                  any effect. Try 'resetkeys' to start with an empty list of patterns";
    let expected = format!(
        "ERR {name}:2 should start with user keyword followed by the username. \
         {name}:3 should start with user keyword followed by the username. \
         WARNING: Duplicate user 'alice' found on line 4. \
         '{name}:5: username 'b\u{b}c' contains invalid characters. \
         {name}:6: Error in applying operation '+nosuch': Unknown command or category name in ACL. \
         {name}:6: {reason}. \
         {name}:7: Unmatched parenthesis in selector definition.\
         WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    );
    assert_eq!(errors, expected);
    assert_eq!(c.run("ACL LIST").texts(), listed);
    fs::remove_file(&path).expect("remove a file");
    let missing =
        format!("ERR Error loading ACLs, opening file '{name}': No such file or directory");
    assert_eq!(c.run("ACL LOAD"), error(&missing));
    // Where it cannot be written, what is there stays.
    fs::create_dir(&path).expect("create a directory");
    let failed = "ERR There was an error trying to save the ACLs. Please check the server logs for more \
                  information";
    assert_eq!(c.run("ACL SAVE"), error(failed));
    assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 1);
    let _ = fs::remove_dir_all(&dir);
}

#[test]
fn users_of_the_configuration() {
    let text = "user alice on >x ~* +@all\nuser default on nopass +ping +acl|whoami\n";
    let s = Server::with_config(
        text,
        &["--user", "bob", "on", "nopass", "(+get ~a)", "+client"],
    );
    let mut c = s.client();
    assert_eq!(c.run("ACL WHOAMI"), "default");
    assert!(c.run("SET a 1").error().starts_with("NOPERM "));
    assert_eq!(c.run("AUTH alice x"), "OK");
    assert_eq!(c.run("SET a 1"), "OK");
    assert_eq!(login(&s, "bob").run("GET a"), "1");
    assert_eq!(c.run("ACL USERS").texts(), ["alice", "bob", "default"]);
    let none = "This Redis instance is not configured to use an ACL file.";
    for command in ["ACL SAVE", "ACL LOAD"] {
        assert!(c.run(command).error().contains(none));
    }
}

#[test]
fn bad_users_stop_the_start() {
    let fatal = "*** FATAL CONFIG FILE ERROR";
    for (args, texts) in [
        (
            &["--user", "foo", "--user", "foo"][..],
            &[
                fatal,
                "Error in user declaration 'foo': Duplicate user found.",
            ][..],
        ),
        (
            &["--user", "foo", "on", "nonsense"],
            &[fatal, "Error in user declaration", "Syntax error"],
        ),
        (
            &["--user", "foo", "+nosuch"],
            &["Error loading ACL rule '+nosuch' for the user named 'foo'"],
        ),
        (
            &["--aclfile", "missing.acl"],
            &["missing.acl", "No such file or directory"],
        ),
        (&["--aclfile", "/dev/null", "--user", "foo"], &["not both"]),
    ] {
        let port = free_port().to_string();
        let ended = run_to_end(&[&["--port", &port], args].concat(), "");
        assert_eq!(ended.status.code(), Some(1), "{args:?}: {ended:?}");
        for text in texts {
            assert!(
                ended.output.contains(text),
                "'{text}' for {args:?}: {ended:?}"
            );
        }
    }
}

/// Nothing about users is part of the data set, and secrets are not shown to those who look on.
#[test]
fn users_are_no_data() {
    let mut s = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut c = s.client();
    let mut looking = s.client();
    assert_eq!(looking.run("MONITOR"), "OK");
    set_user(&mut c, "alice on >secret ~* +@all");
    assert_eq!(c.run("AUTH alice secret"), "OK");
    assert_eq!(c.run("SET k v"), "OK");
    let seen: Vec<String> = (0..2).map(|_| looking.recv().text()).collect();
    assert!(
        seen[0].ends_with("\"AUTH\" \"(redacted)\" \"(redacted)\""),
        "{seen:?}"
    );
    assert!(seen[1].ends_with("\"SET\" \"k\" \"v\""), "{seen:?}");
    s.restart();
    let mut c = s.client();
    assert_eq!(c.run("ACL USERS").texts(), ["default"]);
    assert_eq!(c.run("GET k"), "v");
}

/// What a log holds is carried out whatever the users may do.
#[test]
fn loading_needs_no_permission() {
    let mut s = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut c = s.client();
    assert_eq!(c.run("SET k v"), "OK");
    s.add_arguments(&["--user", "default", "on", "nopass", "+ping"]);
    s.add_arguments(&["--user", "root", "on", "nopass", "~*", "+@all"]);
    s.restart();
    let mut c = s.client();
    assert!(c.run("GET k").error().starts_with("NOPERM "));
    assert_eq!(login(&s, "root").run("GET k"), "v");
}

#[test]
fn getuser_in_either_protocol() {
    if oracle() {
        return;
    }
    let s = Server::start();
    let (mut c, mut three) = (s.client(), s.client3());
    set_user(&mut c, "alice on >x +get ~a &b (+set %W~c)");
    let text = |value: &Value| format!("{value:?}");
    let (old, new) = (c.run("ACL GETUSER alice"), three.run("ACL GETUSER alice"));
    assert!(matches!(old, Value::Array(_)) && matches!(new, Value::Map(_)));
    assert!(matches!(new.field("flags"), Value::Set(_)));
    for value in [&old, &new] {
        assert_eq!(value.field("flags").texts(), ["on", "sanitize-payload"]);
        assert_eq!(value.field("passwords").texts()[0].len(), 64);
        assert_eq!(value.field("commands"), "-@all +get");
        assert_eq!(value.field("keys"), "~a");
        assert_eq!(value.field("channels"), "&b");
        let selector = value.field("selectors").items()[0].clone();
        assert_eq!(selector.field("commands"), "-@all +set", "{}", text(value));
        assert_eq!(selector.field("keys"), "%W~c");
        assert_eq!(selector.field("channels"), "");
    }
    assert_eq!(c.run("ACL GETUSER nobody"), NULL);
}
