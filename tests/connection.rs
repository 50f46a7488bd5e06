//! What a connection is and remembers: passwords, protocol version, names, databases, and the
//! `CLIENT` commands that list, stop and end connections.
//! <https://redis.io/docs/latest/commands/?group=connection>

mod support;

use std::sync::OnceLock;
use std::time::{Duration, Instant};
use support::{Client, NULL, Server, Shared, Value, error, eventually, oracle, simple};

static SERVER: OnceLock<Server> = OnceLock::new();

/// For tests that leave other connections alone; those that kill or pause start their own.
fn server() -> Shared {
    Shared::of(&SERVER, &[])
}

const SECOND: Duration = Duration::from_secs(1);
const SYNTAX: &str = "ERR syntax error";
const WRONG_PASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

#[track_caller]
fn fails(c: &mut Client, line: &str, text: &str) {
    assert_eq!(c.run(line), error(text), "{line}");
}

/// The fields of the line of `CLIENT LIST` or `CLIENT INFO` about one connection.
fn client_info(c: &mut Client) -> std::collections::BTreeMap<String, String> {
    let text = c.run("CLIENT INFO").text();
    text.trim_end()
        .split(' ')
        .map(|field| field.split_once('=').expect("name=value"))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

fn id(c: &mut Client) -> i64 {
    c.run("CLIENT ID").int()
}

#[test]
fn ping_and_echo() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.run("PING"), simple("PONG"));
    assert_eq!(c.cmd(&["PING", "hello you"]), Value::from("hello you"));
    assert_eq!(c.run("ECHO x"), Value::from("x"));
    fails(
        &mut c,
        "PING a b",
        "ERR wrong number of arguments for 'ping' command",
    );
    fails(
        &mut c,
        "ECHO",
        "ERR wrong number of arguments for 'echo' command",
    );
}

#[test]
fn unknown_commands_show_their_arguments() {
    let s = server();
    let mut c = s.client();
    fails(
        &mut c,
        "FOO",
        "ERR unknown command 'FOO', with args beginning with: ",
    );
    fails(
        &mut c,
        "foo a b",
        "ERR unknown command 'foo', with args beginning with: 'a' 'b' ",
    );
    // The preview ends at 128 bytes, and so does the name; line ends become blanks.
    let long = "x".repeat(200);
    let reply = c.cmd(&["foo", &long, "b"]);
    let shown = "x".repeat(128);
    assert_eq!(
        reply,
        error(&format!(
            "ERR unknown command 'foo', with args beginning with: '{shown}' "
        ))
    );
    let reply = c.cmd(&[&long]);
    assert_eq!(
        reply,
        error(&format!(
            "ERR unknown command '{shown}', with args beginning with: "
        ))
    );
    let reply = c.cmd(&["a\r\nb", "c\nd"]);
    assert_eq!(
        reply,
        error("ERR unknown command 'a  b', with args beginning with: 'c d' ")
    );
    assert_eq!(c.run("PING"), "PONG");
    fails(
        &mut c,
        "CLIENT FOO",
        "ERR unknown subcommand 'FOO'. Try CLIENT HELP.",
    );
    fails(
        &mut c,
        "CLIENT",
        "ERR wrong number of arguments for 'client' command",
    );
    fails(
        &mut c,
        "CLIENT ID x",
        "ERR wrong number of arguments for 'client|id' command",
    );
}

#[test]
fn auth() {
    let s = Server::with(&["--requirepass", "sesame"]);
    let mut c = s.client();
    let noauth = "NOAUTH Authentication required.";
    for line in ["GET a", "PING", "CLIENT ID", "SELECT 1", "COMMAND", "INFO"] {
        fails(&mut c, line, noauth);
    }
    // Nonsense is called nonsense before a password is asked for.
    fails(
        &mut c,
        "GET",
        "ERR wrong number of arguments for 'get' command",
    );
    fails(
        &mut c,
        "FOO",
        "ERR unknown command 'FOO', with args beginning with: ",
    );
    fails(&mut c, "AUTH wrong", WRONG_PASS);
    fails(&mut c, "AUTH default wrong", WRONG_PASS);
    fails(&mut c, "AUTH nobody sesame", WRONG_PASS);
    fails(&mut c, "AUTH a b c", SYNTAX);
    fails(
        &mut c,
        "AUTH",
        "ERR wrong number of arguments for 'auth' command",
    );
    fails(&mut c, "GET a", noauth);
    assert_eq!(c.run("AUTH sesame"), simple("OK"));
    assert_eq!(c.run("GET a"), NULL);
    // A failed attempt later takes nothing away.
    fails(&mut c, "AUTH wrong", WRONG_PASS);
    assert_eq!(c.run("GET a"), NULL);
    let mut d = s.client();
    assert_eq!(d.run("AUTH default sesame"), "OK");
    assert_eq!(d.run("CONFIG SET requirepass open"), "OK");
    assert_eq!(
        d.run("CONFIG GET requirepass"),
        array!["requirepass", "open"]
    );
    assert_eq!(c.run("PING"), "PONG");
    let mut e = s.client();
    fails(&mut e, "AUTH sesame", WRONG_PASS);
    assert_eq!(e.run("AUTH open"), "OK");
    assert_eq!(e.cmd(&["CONFIG", "SET", "requirepass", ""]), "OK");
    assert_eq!(s.client().run("PING"), "PONG");
}

#[test]
fn auth_without_a_password() {
    let s = server();
    let mut c = s.client();
    fails(
        &mut c,
        "AUTH sesame",
        "ERR AUTH <password> called without any password configured for the default user. Are you \
         sure your configuration is correct?",
    );
    // The default user takes any password then.
    assert_eq!(c.run("AUTH default anything"), "OK");
    fails(&mut c, "AUTH nobody anything", WRONG_PASS);
}

#[test]
fn hello() {
    let s = server();
    let mut c = s.client();
    let reply = c.run("HELLO");
    assert!(
        matches!(&reply, Value::Array(items) if items.len() == 14),
        "{reply:?}"
    );
    assert_eq!(reply.field("server"), "redis");
    assert_eq!(reply.field("proto"), 2);
    assert_eq!(reply.field("mode"), "standalone");
    assert_eq!(reply.field("role"), "master");
    assert_eq!(reply.field("modules"), Value::Array(vec![]));
    assert!(reply.field("version").text().starts_with("7."));
    assert_eq!(reply.field("id"), id(&mut c));
    let reply = c.run("HELLO 3");
    let names: Vec<String> = reply.pairs().iter().map(|(name, _)| name.text()).collect();
    assert_eq!(
        names,
        [
            "server", "version", "proto", "id", "mode", "role", "modules"
        ]
    );
    assert!(matches!(reply, Value::Map(_)), "{reply:?}");
    assert_eq!(c.cmd_raw(&["GET", "hello:none"]), b"_\r\n");
    let unsupported = "NOPROTO unsupported protocol version";
    for line in ["HELLO 1", "HELLO 4", "HELLO -1"] {
        fails(&mut c, line, unsupported);
    }
    fails(
        &mut c,
        "HELLO x",
        "ERR Protocol version is not an integer or out of range",
    );
    fails(
        &mut c,
        "HELLO 2 FOO",
        "ERR Syntax error in HELLO option 'FOO'",
    );
    fails(
        &mut c,
        "HELLO 2 SETNAME",
        "ERR Syntax error in HELLO option 'SETNAME'",
    );
    fails(
        &mut c,
        "HELLO 2 AUTH a",
        "ERR Syntax error in HELLO option 'AUTH'",
    );
    // A HELLO that failed changed nothing.
    assert_eq!(c.cmd_raw(&["GET", "hello:none"]), b"_\r\n");
    assert_eq!(c.run("HELLO 2 SETNAME me").field("proto"), 2);
    assert_eq!(c.run("CLIENT GETNAME"), "me");
    assert_eq!(c.cmd_raw(&["GET", "hello:none"]), b"$-1\r\n");
    let bad_name = "ERR Client names cannot contain spaces, newlines or special characters.";
    assert_eq!(c.cmd(&["HELLO", "2", "SETNAME", "a b"]), error(bad_name));
    assert_eq!(c.run("CLIENT GETNAME"), "me");
}

#[test]
fn hello_with_a_password() {
    let s = Server::with(&["--requirepass", "sesame"]);
    let mut c = s.client();
    for line in ["HELLO", "HELLO 3"] {
        // Redis 7.0 and 7.2 word the middle of it differently.
        let reply = c.run(line);
        let text = reply.error();
        let start = "NOAUTH HELLO must be called with the client already authenticated, otherwise";
        assert!(text.starts_with(start), "{text}");
        assert!(
            text.ends_with("and select the RESP protocol version at the same time"),
            "{text}"
        );
    }
    fails(&mut c, "HELLO 3 AUTH default wrong", WRONG_PASS);
    fails(&mut c, "PING", "NOAUTH Authentication required.");
    let reply = c.run("HELLO 3 AUTH default sesame SETNAME me");
    assert_eq!(reply.field("proto"), 3);
    assert_eq!(c.run("CLIENT GETNAME"), "me");
}

#[test]
fn names() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.cmd_raw(&["CLIENT", "GETNAME"]), b"$-1\r\n");
    assert_eq!(c.run("CLIENT SETNAME bob"), simple("OK"));
    assert_eq!(c.run("CLIENT GETNAME"), Value::from("bob"));
    assert_eq!(client_info(&mut c)["name"], "bob");
    let text = "ERR Client names cannot contain spaces, newlines or special characters.";
    for name in ["a b", "a\nb", "\u{7f}", "é"] {
        assert_eq!(c.cmd(&["CLIENT", "SETNAME", name]), error(text), "{name}");
    }
    assert_eq!(c.run("CLIENT GETNAME"), "bob");
    assert_eq!(c.cmd(&["CLIENT", "SETNAME", ""]), "OK");
    assert_eq!(c.run("CLIENT GETNAME"), NULL);
}

/// Redis 7.2: written from the documentation.
#[test]
fn setinfo_needs_7_2() {
    if oracle() {
        return;
    }
    let s = server();
    let mut c = s.client();
    assert_eq!(client_info(&mut c)["lib-name"], "");
    assert_eq!(client_info(&mut c)["lib-ver"], "");
    assert_eq!(c.run("CLIENT SETINFO lib-name redis-py"), simple("OK"));
    assert_eq!(c.run("CLIENT SETINFO LIB-VER 1.2.3"), simple("OK"));
    assert_eq!(client_info(&mut c)["lib-name"], "redis-py");
    assert_eq!(client_info(&mut c)["lib-ver"], "1.2.3");
    for field in ["lib-name", "lib-ver"] {
        let text = format!("ERR {field} cannot contain spaces, newlines or special characters.");
        assert_eq!(c.cmd(&["CLIENT", "SETINFO", field, "a b"]), error(&text));
    }
    fails(
        &mut c,
        "CLIENT SETINFO foo bar",
        "ERR Unrecognized option 'foo'",
    );
    let text = "ERR wrong number of arguments for 'client|setinfo' command";
    fails(&mut c, "CLIENT SETINFO lib-name", text);
    // RESET forgets the name of the connection, not of the library.
    assert_eq!(c.run("RESET"), "RESET");
    assert_eq!(client_info(&mut c)["lib-name"], "redis-py");
    assert_eq!(c.cmd(&["CLIENT", "SETINFO", "lib-name", ""]), "OK");
    assert_eq!(client_info(&mut c)["lib-name"], "");
}

/// Redis 7.2: written from the documentation.
#[test]
fn no_touch_needs_7_2() {
    if oracle() {
        return;
    }
    let s = server();
    let mut c = s.client();
    c.run("SET nt v");
    assert_eq!(c.run("CLIENT NO-TOUCH on"), simple("OK"));
    assert!(client_info(&mut c)["flags"].contains('T'));
    eventually("a second idle", 10 * SECOND, || {
        c.run("GET nt");
        c.run("OBJECT IDLETIME nt").int() >= 1
    });
    assert_eq!(c.run("CLIENT NO-TOUCH OFF"), "OK");
    c.run("GET nt");
    assert_eq!(c.run("OBJECT IDLETIME nt"), 0);
    fails(&mut c, "CLIENT NO-TOUCH maybe", SYNTAX);
    // TOUCH does what its name says even so.
    c.run("CLIENT NO-TOUCH ON");
    eventually("a second idle", 10 * SECOND, || {
        c.run("OBJECT IDLETIME nt").int() >= 1
    });
    assert_eq!(c.run("TOUCH nt"), 1);
    assert_eq!(c.run("OBJECT IDLETIME nt"), 0);
}

#[test]
fn client_list_and_info() {
    let s = Server::start();
    let (mut a, mut b) = (s.client(), s.client3());
    let (ia, ib) = (id(&mut a), id(&mut b));
    assert!(ib > ia, "ids grow: {ia} then {ib}");
    a.run("CLIENT SETNAME alice");
    b.run("SELECT 3");
    let fields = client_info(&mut a);
    for name in [
        "id",
        "addr",
        "laddr",
        "fd",
        "name",
        "age",
        "idle",
        "flags",
        "db",
        "sub",
        "psub",
        "ssub",
        "multi",
        "qbuf",
        "qbuf-free",
        "argv-mem",
        "multi-mem",
        "rbs",
        "rbp",
        "obl",
        "oll",
        "omem",
        "tot-mem",
        "events",
        "cmd",
        "user",
        "redir",
        "resp",
    ] {
        assert!(fields.contains_key(name), "no {name} in {fields:?}");
    }
    assert_eq!(fields["id"], ia.to_string());
    assert_eq!(fields["addr"], a.address());
    assert_eq!(fields["laddr"], format!("127.0.0.1:{}", s.port()));
    assert_eq!(fields["name"], "alice");
    assert_eq!(fields["flags"], "N");
    assert_eq!(fields["db"], "0");
    assert_eq!(fields["cmd"], "client|info");
    assert_eq!(fields["user"], "default");
    assert_eq!(fields["resp"], "2");
    assert_eq!(client_info(&mut b)["db"], "3");
    assert_eq!(client_info(&mut b)["resp"], "3");
    // RESP3 gets the list as a verbatim string.
    assert!(matches!(b.run("CLIENT LIST"), Value::Verbatim(format, _) if format == "txt"));
    let ids = |reply: Value| -> Vec<i64> {
        let field = |line: &str| line[3..].split(' ').next().unwrap().parse().unwrap();
        reply.text().lines().map(field).collect()
    };
    assert_eq!(ids(a.run("CLIENT LIST")), [ia, ib]);
    assert_eq!(ids(a.run("CLIENT LIST TYPE normal")), [ia, ib]);
    let empty: [i64; 0] = [];
    for kind in ["pubsub", "replica", "slave", "master"] {
        assert_eq!(ids(a.cmd(&["CLIENT", "LIST", "TYPE", kind])), empty);
    }
    let list = a.cmd(&["CLIENT", "LIST", "ID", &ib.to_string(), "999999"]);
    assert_eq!(ids(list), [ib]);
    fails(
        &mut a,
        "CLIENT LIST TYPE foo",
        "ERR Unknown client type 'foo'",
    );
    fails(&mut a, "CLIENT LIST ID x", "ERR Invalid client ID");
    fails(&mut a, "CLIENT LIST FOO", SYNTAX);
    drop(b);
    eventually("the list shrinks", 5 * SECOND, || {
        ids(a.run("CLIENT LIST")) == [ia]
    });
}

#[test]
fn client_kill() {
    let s = Server::start();
    let mut me = s.client();
    let my_id = id(&mut me);
    let mut b = s.client();
    assert_eq!(b.run("PING"), "PONG");
    assert_eq!(me.cmd(&["CLIENT", "KILL", &b.address()]), simple("OK"));
    b.assert_closed();
    let mut b = s.client();
    let ib = id(&mut b).to_string();
    assert_eq!(me.cmd(&["CLIENT", "KILL", "ID", &ib]), 1);
    b.assert_closed();
    assert_eq!(me.cmd(&["CLIENT", "KILL", "ID", &ib]), 0);
    let mut b = s.client();
    assert_eq!(b.run("PING"), "PONG");
    assert_eq!(me.cmd(&["CLIENT", "KILL", "ADDR", &b.address()]), 1);
    b.assert_closed();
    // Every filter must hold.
    let mut b = s.client();
    let ib = id(&mut b).to_string();
    let kill = [
        "CLIENT",
        "KILL",
        "ID",
        &ib,
        "ADDR",
        "1.2.3.4:5",
        "USER",
        "default",
    ];
    assert_eq!(me.cmd(&kill), 0);
    assert_eq!(b.run("PING"), "PONG");
    let laddr = format!("127.0.0.1:{}", s.port());
    // The caller is spared unless told otherwise.
    assert_eq!(me.cmd(&["CLIENT", "KILL", "LADDR", &laddr]), 1);
    b.assert_closed();
    let mut many: Vec<Client> = (0..20).map(|_| s.client()).collect();
    for c in &mut many {
        assert_eq!(c.run("PING"), "PONG");
    }
    assert_eq!(
        me.run("CLIENT KILL TYPE normal USER default SKIPME yes"),
        20
    );
    many.iter_mut().for_each(Client::assert_closed);
    fails(&mut me, "CLIENT KILL 1.2.3.4:5", "ERR No such client");
    fails(
        &mut me,
        "CLIENT KILL ID x",
        "ERR client-id should be greater than 0",
    );
    fails(
        &mut me,
        "CLIENT KILL ID 0",
        "ERR client-id should be greater than 0",
    );
    fails(
        &mut me,
        "CLIENT KILL TYPE foo",
        "ERR Unknown client type 'foo'",
    );
    fails(
        &mut me,
        "CLIENT KILL USER nobody",
        "ERR No such user 'nobody'",
    );
    fails(&mut me, "CLIENT KILL SKIPME maybe", SYNTAX);
    fails(&mut me, "CLIENT KILL ID 1 ADDR", SYNTAX);
    fails(&mut me, "CLIENT KILL FOO bar", SYNTAX);
    // Killing oneself: the reply still arrives.
    let kill = ["CLIENT", "KILL", "ID", &my_id.to_string(), "SKIPME", "no"];
    assert_eq!(me.cmd(&kill), 1);
    me.assert_closed();
}

#[test]
fn client_reply() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.run("CLIENT REPLY ON"), simple("OK"));
    c.send(&["CLIENT", "REPLY", "SKIP"]);
    c.send(&["SET", "cr", "1"]);
    assert_eq!(c.run("GET cr"), "1");
    c.send(&["CLIENT", "REPLY", "OFF"]);
    c.send(&["SET", "cr", "2"]);
    c.send(&["NONSENSE"]);
    c.send(&["PING"]);
    assert_eq!(c.run("CLIENT REPLY ON"), simple("OK"));
    assert_eq!(c.run("GET cr"), "2");
    fails(&mut c, "CLIENT REPLY MAYBE", SYNTAX);
}

#[test]
fn client_pause_all() {
    let s = Server::start();
    let (mut a, mut b) = (s.client(), s.client());
    assert_eq!(b.run("PING"), "PONG");
    // All means all, the client that could end it included.
    let start = Instant::now();
    assert_eq!(a.run("CLIENT PAUSE 600"), simple("OK"));
    b.send(&["PING"]);
    a.send(&["GET", "k"]);
    b.assert_silent(Duration::from_millis(200));
    assert_eq!(b.recv(), "PONG");
    assert!(
        start.elapsed() >= Duration::from_millis(590),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(a.recv(), NULL);
    assert_eq!(a.run("CLIENT PAUSE 100 ALL"), "OK");
    assert_eq!(b.run("PING"), "PONG");
    assert_eq!(a.run("CLIENT UNPAUSE"), simple("OK"));
}

#[test]
fn client_pause_write() {
    let s = Server::start();
    let (mut a, mut b) = (s.client(), s.client());
    b.run("SET k 1");
    assert_eq!(a.run("CLIENT PAUSE 60000 WRITE"), "OK");
    assert_eq!(b.run("GET k"), "1");
    assert_eq!(b.run("PING"), "PONG");
    // What follows a paused command on its connection waits with it.
    b.send(&["SET", "k", "2"]);
    b.send(&["GET", "k"]);
    b.assert_silent(Duration::from_millis(200));
    assert_eq!(a.run("GET k"), "1");
    assert_eq!(a.run("CLIENT UNPAUSE"), "OK");
    assert_eq!(b.recv(), "OK");
    assert_eq!(b.recv(), "2");
    fails(
        &mut a,
        "CLIENT PAUSE x",
        "ERR timeout is not an integer or out of range",
    );
    fails(&mut a, "CLIENT PAUSE -1", "ERR timeout is negative");
    fails(
        &mut a,
        "CLIENT PAUSE 1 FOO",
        "ERR CLIENT PAUSE mode must be WRITE or ALL",
    );
    assert_eq!(a.run("CLIENT UNPAUSE"), "OK");
}

#[test]
fn client_odds_and_ends() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.run("CLIENT GETREDIR"), -1);
    let info = c.run("CLIENT TRACKINGINFO");
    assert_eq!(
        info,
        array![
            "flags",
            array!["off"],
            "redirect",
            -1,
            "prefixes",
            Value::Array(vec![])
        ]
    );
    assert!(
        matches!(s.client3().run("CLIENT TRACKINGINFO"), Value::Map(pairs) if pairs.len() == 3)
    );
    assert_eq!(c.run("CLIENT NO-EVICT on"), simple("OK"));
    assert!(client_info(&mut c)["flags"].contains('e'));
    assert_eq!(c.run("CLIENT NO-EVICT OFF"), "OK");
    fails(&mut c, "CLIENT NO-EVICT maybe", SYNTAX);
    assert_eq!(c.run("CLIENT UNBLOCK 999999"), 0);
    let own = id(&mut c).to_string();
    assert_eq!(c.cmd(&["CLIENT", "UNBLOCK", &own]), 0);
    assert_eq!(c.cmd(&["CLIENT", "UNBLOCK", &own, "ERROR"]), 0);
    assert_eq!(c.cmd(&["CLIENT", "UNBLOCK", &own, "timeout"]), 0);
    let text = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
    fails(&mut c, "CLIENT UNBLOCK 1 FOO", text);
    fails(
        &mut c,
        "CLIENT UNBLOCK x",
        "ERR value is not an integer or out of range",
    );
    let help = c.run("CLIENT HELP").texts();
    assert_eq!(
        help[0],
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    );
    assert!(
        help.iter().any(|line| line.starts_with("KILL <option>")),
        "{help:?}"
    );
}

#[test]
fn reset() {
    let s = Server::with(&["--requirepass", "sesame"]);
    let mut c = s.client();
    assert_eq!(
        c.run("HELLO 3 AUTH default sesame SETNAME me")
            .field("proto"),
        3
    );
    assert_eq!(c.run("SELECT 5"), "OK");
    c.send(&["CLIENT", "REPLY", "OFF"]);
    assert_eq!(c.run("RESET"), simple("RESET"));
    fails(&mut c, "PING", "NOAUTH Authentication required.");
    assert_eq!(c.run("AUTH sesame"), "OK");
    let fields = client_info(&mut c);
    assert_eq!(
        (&*fields["name"], &*fields["db"], &*fields["resp"]),
        ("", "0", "2")
    );
}

#[test]
fn quit() {
    let s = server();
    let mut c = s.client();
    // What came before it is done and answered; what comes after is not.
    c.write(b"SET quit:a 1\r\nQUIT\r\nSET quit:a 2\r\n");
    assert_eq!(c.recv(), "OK");
    assert_eq!(c.recv(), simple("OK"));
    c.assert_closed();
    assert_eq!(s.client().run("GET quit:a"), "1");
}

#[test]
fn unix_socket() {
    let s = Server::unix(&["--unixsocketperm", "700"]);
    let mut c = s.client();
    assert_eq!(c.run("SET k v"), "OK");
    assert_eq!(s.client().run("GET k"), "v");
    let fields = client_info(&mut c);
    assert_eq!(fields["flags"], "U");
    assert_eq!(fields["addr"], format!("{}:0", s.socket().display()));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(s.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn maxclients() {
    let s = Server::with(&["--maxclients", "10"]);
    let mut held: Vec<Client> = Vec::new();
    let refusal = error("ERR max number of clients reached");
    // The first connection, made while starting, may be on its way out.
    eventually("ten clients", 5 * SECOND, || {
        let mut c = s.client();
        match c.try_write(b"PING\r\n").ok().and_then(|()| c.try_recv()) {
            Some(value) if value == "PONG" => held.push(c),
            Some(value) => assert_eq!(value, refusal),
            // Closed before the PING arrived, so that the refusal was lost on its way.
            None => {}
        }
        held.len() == 10
    });
    for _ in 0..30 {
        let mut c = s.client();
        assert_eq!(c.recv(), refusal);
        c.assert_closed();
    }
    assert_eq!(held[9].run("PING"), "PONG");
    assert!(stat(&mut held[0], "rejected_connections") >= 30);
    assert_eq!(stat(&mut held[0], "connected_clients"), 10);
    held.pop();
    eventually("a place is free", 5 * SECOND, || {
        let mut c = s.client();
        let sent = c.try_write(b"PING\r\n");
        sent.ok()
            .and_then(|()| c.try_recv())
            .is_some_and(|value| value == "PONG")
    });
}

fn stat(c: &mut Client, field: &str) -> i64 {
    support::info(c, "everything")[field].parse().unwrap()
}

#[test]
fn timeout_closes_idle_clients() {
    let s = Server::with(&["--timeout", "1"]);
    let mut idle = s.client();
    assert_eq!(idle.run("PING"), "PONG");
    let mut half = s.client();
    half.write(b"*2\r\n$3\r\nGET\r\n");
    let mut busy = s.client();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) {
        assert_eq!(busy.run("PING"), "PONG");
    }
    idle.assert_closed();
    half.assert_closed();
    assert_eq!(busy.run("PING"), "PONG");
}

#[test]
fn protected_mode_lets_loopback_in() {
    let s = Server::with(&["--protected-mode", "yes"]);
    let mut c = s.client();
    assert_eq!(
        c.run("CONFIG GET protected-mode"),
        array!["protected-mode", "yes"]
    );
    assert_eq!(c.run("CONFIG SET protected-mode no"), "OK");
    assert_eq!(s.client().run("PING"), "PONG");
}

#[test]
fn thousands_of_connections_come_and_go() {
    let s = server();
    let mut c = s.client();
    let before = stat(&mut c, "total_connections_received");
    for _ in 0..3000 {
        drop(s.client());
    }
    eventually("all were seen", 10 * SECOND, || {
        stat(&mut c, "total_connections_received") >= before + 3000
    });
    assert_eq!(c.run("PING"), "PONG");
}
