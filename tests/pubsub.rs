//! Publish and subscribe, and MONITOR: what arrives, in which order, and that nothing is left of
//! those who have gone.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use support::{Client, NULL, Random, Server, Value, encode, error, eventually, info};

/// Long enough for anything that is to happen at all.
const SOON: Duration = Duration::from_secs(20);

fn list(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| value.to_string()).collect()
}

/// A client that listens to a channel.
fn listener(s: &Server, channel: &str) -> Client {
    let mut client = s.client();
    client.cmd(&["SUBSCRIBE", channel]);
    client
}

/// A field of the line that describes a client.
fn described(c: &mut Client, id: i64, field: &str) -> String {
    let line = c.cmd(&["CLIENT", "LIST", "ID", &id.to_string()]).text();
    let found = line.split([' ', '\n']).find_map(|word| {
        word.strip_prefix(field)
            .and_then(|rest| rest.strip_prefix('='))
    });
    found.unwrap_or("(no such field)").to_string()
}

#[test]
fn messages_of_one_publisher_keep_their_order() {
    let s = Server::start();
    let mut listeners: Vec<Client> = (0..5).map(|_| listener(&s, "ch")).collect();
    let mut c = s.client();
    const MESSAGES: usize = 2000;
    let batch: Vec<u8> = (0..MESSAGES)
        .flat_map(|n| encode(&["PUBLISH", "ch", &format!("{n}{}", "x".repeat(n % 3 * 900))]))
        .collect();
    c.write(&batch);
    for _ in 0..MESSAGES {
        assert_eq!(c.recv(), 5);
    }
    for listener in &mut listeners {
        for n in 0..MESSAGES {
            let text = format!("{n}{}", "x".repeat(n % 3 * 900));
            assert_eq!(listener.recv().texts(), list(&["message", "ch", &text]));
        }
    }
}

#[test]
fn a_confirmation_comes_before_the_messages() {
    let s = Server::start();
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = thread::spawn({
        let (mut c, stop) = (s.client(), stop.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                c.run("PUBLISH ch x");
            }
        }
    });
    let (subscribe, unsubscribe) = (encode(&["SUBSCRIBE", "ch"]), encode(&["UNSUBSCRIBE", "ch"]));
    let mut c = s.client();
    for round in 0..300 {
        match round % 2 {
            // In one batch …
            0 => c.write(&[&subscribe[..], &unsubscribe, &encode(&["PING"])].concat()),
            // … and with time for messages in between.
            _ => c.write(&subscribe),
        }
        assert_eq!(c.recv().items()[0], "subscribe");
        if round % 2 == 1 {
            assert_eq!(c.recv().items()[0], "message");
            c.write(&[&unsubscribe[..], &encode(&["PING"])].concat());
        }
        loop {
            let message = c.recv();
            if message.items()[0] == "unsubscribe" {
                break;
            }
            assert_eq!(message.texts(), list(&["message", "ch", "x"]));
        }
        // Nothing behind the confirmation.
        assert_eq!(c.recv(), "PONG");
    }
    stop.store(true, Ordering::Relaxed);
    publisher.join().expect("the publisher");
}

#[test]
fn own_messages_follow_the_reply() {
    // Redis 7.0 sent them before it.
    if support::oracle() {
        return;
    }
    let s = Server::start();
    let mut c = s.client3();
    c.run("SUBSCRIBE ch");
    assert_eq!(c.run("PUBLISH ch hello"), 1);
    assert_eq!(c.recv().texts(), list(&["message", "ch", "hello"]));
    c.run("CONFIG SET notify-keyspace-events KEA");
    c.run("SUBSCRIBE __keyspace@0__:k");
    assert_eq!(c.run("SET k v"), "OK");
    assert_eq!(c.recv().texts()[2], "set");
}

#[test]
fn pushes_stand_between_replies() {
    let s = Server::start();
    // However slowly it reads.
    s.client().cmd(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "pubsub 0 0 0",
    ]);
    let stop = Arc::new(AtomicBool::new(false));
    let big = "y".repeat(100_000);
    let publishers: Vec<_> = (0..3)
        .map(|_| {
            let (mut c, stop, big) = (s.client(), stop.clone(), big.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    c.run("PUBLISH ch small");
                    c.cmd(&["PUBLISH", "ch", &big]);
                }
            })
        })
        .collect();
    let mut c = s.client3();
    let large = "z".repeat(300_000);
    c.cmd(&["SET", "k", &large]);
    c.run("SUBSCRIBE ch");
    let mut pushes = 0;
    for _ in 0..100 {
        c.send(&["GET", "k"]);
        // A push that began within the reply, or the other way round, would not parse.
        loop {
            match c.recv() {
                Value::Push(message) => {
                    assert_eq!(message.len(), 3);
                    pushes += 1;
                }
                reply => {
                    assert_eq!(reply.bytes().len(), large.len());
                    break;
                }
            }
        }
    }
    assert!(pushes > 0);
    stop.store(true, Ordering::Relaxed);
    // Reads on, so that nobody waits for it.
    let reader = thread::spawn(move || while c.try_recv().is_some() {});
    publishers
        .into_iter()
        .for_each(|thread| thread.join().expect("a publisher"));
    drop(s);
    let _ = reader.join();
}

#[test]
fn clients_show_what_they_listen_to() {
    let s = Server::start();
    let mut c = s.client();
    let mut l = s.client3();
    let id = l.run("CLIENT ID").int();
    assert_eq!(described(&mut c, id, "flags"), "N");
    l.run("SUBSCRIBE a");
    l.run("SUBSCRIBE b");
    l.run("PSUBSCRIBE p*");
    l.run("SSUBSCRIBE s");
    for (field, value) in [("sub", "2"), ("psub", "1"), ("ssub", "1"), ("flags", "P")] {
        assert_eq!(described(&mut c, id, field), value, "{field}");
    }
    for (field, value) in [
        ("pubsub_channels", 2),
        ("pubsub_patterns", 1),
        ("pubsubshard_channels", 1),
    ] {
        assert_eq!(s.info_int(field), value, "{field}");
    }
    if !support::oracle() {
        assert_eq!(s.info_int("pubsub_clients"), 1);
    }
    let listed = c.run("CLIENT LIST TYPE pubsub").text();
    assert!(listed.starts_with(&format!("id={id} ")) && listed.matches('\n').count() == 1);
    assert_eq!(c.run("CLIENT KILL TYPE pubsub"), 1);
    // To everybody else it is gone at once.
    assert_eq!(c.run("PUBLISH a x"), 0);
    assert_eq!(c.run("PUBSUB CHANNELS").items().len(), 0);
    assert_eq!(c.run("PUBSUB NUMPAT"), 0);
    assert_eq!(s.info_int("pubsubshard_channels"), 0);
    l.assert_closed();
}

#[test]
fn reset_leaves_all() {
    let s = Server::start();
    let mut l = listener(&s, "a");
    l.run("PSUBSCRIBE p");
    l.run("SSUBSCRIBE s");
    let mut c = s.client();
    assert_eq!(c.run("PUBLISH a x"), 1);
    assert_eq!(l.recv().texts(), list(&["message", "a", "x"]));
    assert_eq!(l.run("RESET"), "RESET");
    assert_eq!(c.run("PUBLISH a x"), 0);
    assert_eq!(l.run("GET k"), NULL);
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody_and_is_closed() {
    let s = Server::with(&["--client-output-buffer-limit", "pubsub 4mb 0 0"]);
    let slow = listener(&s, "ch");
    let mut quick = listener(&s, "ch");
    let mut c = s.client();
    let text = "x".repeat(100_000);
    let mut rounds = 0;
    while c.cmd(&["PUBLISH", "ch", &text]) == 2 {
        assert_eq!(quick.recv().items()[2].bytes().len(), text.len());
        rounds += 1;
        assert!(rounds < 10_000, "the slow client is never closed");
    }
    assert!(rounds >= 30, "closed after {rounds} messages");
    assert_eq!(quick.recv().items()[2].bytes().len(), text.len());
    eventually("the slow client to be gone", SOON, || {
        c.run("PUBSUB NUMSUB ch").items()[1] == 1
    });
    if !support::oracle() {
        assert_eq!(s.info_int("client_output_buffer_limit_disconnections"), 1);
    }
    drop(slow);
    assert_eq!(c.run("PING"), "PONG");
}

#[test]
fn a_slow_reader_gets_everything() {
    let s = Server::start();
    let mut l = listener(&s, "ch");
    let mut c = s.client();
    let text = "x".repeat(10_000);
    for n in 0..1000 {
        assert_eq!(c.cmd(&["PUBLISH", "ch", &format!("{n}{text}")]), 1);
    }
    for n in 0..1000 {
        assert_eq!(l.recv().texts()[2], format!("{n}{text}"));
    }
}

#[test]
fn monitor_shows_commands() {
    let s = Server::start();
    let mut m = s.client();
    assert_eq!(m.run("MONITOR"), "OK");
    let mut c = s.client();
    let address = c.address();
    c.run("SELECT 3");
    c.cmd(&[&b"SET"[..], b"k\"\\", b"\x00\xff\r\n\t a"]);
    c.run("GET");
    c.run("CONFIG GET port");
    c.run("auth secret");
    c.run("HELLO 2 AUTH default secret SETNAME me");
    c.run("INCR k\"\\");
    c.run("NOPE");
    let mut next = || {
        let line = m.recv().text();
        let (time, rest) = line.split_once(' ').expect("a time");
        let (seconds, micros) = time.split_once('.').expect("a fraction");
        assert!(
            seconds.parse::<u64>().is_ok() && micros.len() == 6,
            "{line}"
        );
        rest.to_string()
    };
    let shown = |db: u8, text: &str| format!("[{db} {address}] {text}");
    assert_eq!(next(), shown(3, r#""SELECT" "3""#));
    let set = r#""SET" "k\"\\" "\x00\xff\r\n\t a""#;
    assert_eq!(next(), shown(3, set));
    assert_eq!(next(), shown(3, r#""auth" "(redacted)""#));
    let hello = r#""HELLO" "2" "AUTH" "(redacted)" "(redacted)" "SETNAME" "me""#;
    assert_eq!(next(), shown(3, hello));
    assert_eq!(next(), shown(3, r#""INCR" "k\"\\""#));
    assert_eq!(
        m.run("GET k"),
        error("ERR Replica can't interact with the keyspace")
    );
    assert!(c.run("CLIENT LIST").text().contains("flags=O"));
    assert_eq!(m.run("RESET"), "RESET");
    assert_eq!(m.run("GET k"), NULL);
    m.assert_silent(Duration::from_millis(20));
}

/// Something a client of the storm does, without caring for the answer.
fn act(random: &mut Random, client: &mut Client) -> bool {
    let channel = format!("c{}", random.below(8));
    let pattern = format!("c{}*", random.below(4));
    let words: &[&str] = match random.below(12) {
        0..3 => &["SUBSCRIBE", &channel],
        3 => &["PSUBSCRIBE", &pattern],
        4 => &["SSUBSCRIBE", &channel],
        5 => &["UNSUBSCRIBE", &channel],
        6 => &["UNSUBSCRIBE"],
        7 => &["PUNSUBSCRIBE"],
        8 => &["MONITOR"],
        9 => &["RESET"],
        10 => &["PUBLISH", &channel, "a message"],
        _ => &["SPUBLISH", &channel, "a message"],
    };
    // Killed in the middle, now and then.
    client.try_write(&encode(words)).is_ok()
}

#[test]
fn a_panic_takes_no_message_with_it() {
    if support::oracle() {
        return;
    }
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut listener = listener(&s, "ch");
    let mut c = s.client();
    c.write(
        &[
            encode(&["PUBLISH", "ch", "before"]),
            encode(&["DEBUG", "PANIC"]),
        ]
        .concat(),
    );
    assert_eq!(listener.recv().texts(), list(&["message", "ch", "before"]));
    c.assert_closed();
    assert_eq!(s.client().run("PING"), "PONG");
}

#[test]
fn what_a_client_waited_for_comes_before_later_messages() {
    let s = Server::start();
    let mut waiting = s.client3();
    waiting.run("SUBSCRIBE ch");
    let mut c = s.client();
    let batch = [
        encode(&["RPUSH", "k", "x"]),
        encode(&["PUBLISH", "ch", "m"]),
    ]
    .concat();
    for round in 0..100 {
        waiting.send(&["BLPOP", "k", "0"]);
        eventually("it waits", SOON, || {
            info(&mut c, "clients")["blocked_clients"] == "1"
        });
        c.write(&batch);
        assert_eq!((c.recv(), c.recv()), (Value::Int(1), Value::Int(1)));
        assert_eq!(waiting.recv().texts(), list(&["k", "x"]), "round {round}");
        assert_eq!(waiting.recv().items()[0], "message", "round {round}");
    }
}

#[test]
fn those_who_have_left_do_not_count() {
    let s = Server::start();
    let mut c = s.client();
    // Nobody has told the server but the kernel, which on a busy machine may take its time to hear
    // of it itself.
    let mut late = 0;
    let mut is_soon = |c: &mut Client, line: &str, right: &dyn Fn(&Value) -> bool| {
        let at_once = right(&c.run(line));
        late += usize::from(!at_once);
        if !at_once {
            eventually("those who left do not count", SOON, || right(&c.run(line)));
        }
    };
    for _ in 0..100 {
        let stays = listener(&s, "ch");
        let leaves = [listener(&s, "ch"), listener(&s, "other")];
        drop(leaves);
        is_soon(&mut c, "PUBLISH ch x", &|reply| reply == &1);
        is_soon(&mut c, "PUBSUB NUMSUB other", &|reply| {
            reply.items()[1] == 0
        });
        drop(stays);
        is_soon(&mut c, "PUBLISH ch x", &|reply| reply == &0);
        is_soon(&mut c, "PUBSUB CHANNELS", &|reply| reply.items().is_empty());
    }
    assert!(
        late <= 40,
        "{late} of 400 answers came before the kernel knew"
    );
}

#[test]
fn storms_leave_nothing_behind() {
    let s = Server::start();
    let stop = AtomicBool::new(false);
    let mut c = s.client();
    thread::scope(|scope| {
        for seed in 0..6 {
            let (s, stop) = (&s, &stop);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut client) = s.connect() else {
                        continue;
                    };
                    for _ in 0..random.below(40) {
                        if !act(&mut random, &mut client) {
                            break;
                        }
                    }
                    // Half of them wait for an answer, the others just go.
                    if random.below(2) == 0 && client.try_write(&encode(&["QUIT"])).is_ok() {
                        while client.try_recv().is_some() {}
                    }
                }
            });
        }
        let mut publisher = s.client();
        for round in 0..600 {
            for n in 0..8 {
                publisher.cmd(&["PUBLISH", &format!("c{n}"), "from outside"]);
            }
            if round % 10 == 0 {
                publisher.run("CLIENT KILL TYPE pubsub");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    eventually("everybody to be gone", SOON, || {
        let fields = info(&mut c, "everything");
        let zero = |name: &str| fields.get(name).is_some_and(|value| value == "0");
        let pubsub_clients = support::oracle() || zero("pubsub_clients");
        zero("pubsub_channels")
            && zero("pubsub_patterns")
            && zero("pubsubshard_channels")
            && pubsub_clients
            && fields.get("connected_clients").is_some_and(|n| n == "1")
    });
    // Nobody looks on any more, and who comes now gets what is his.
    let mut l = listener(&s, "c1");
    assert_eq!(c.run("PUBLISH c1 x"), 1);
    assert_eq!(l.recv().texts(), list(&["message", "c1", "x"]));
    assert!(!c.run("CLIENT LIST").text().contains("flags=O"));
}
