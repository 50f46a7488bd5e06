//! The commands about the server itself: `INFO`, `CONFIG`, `COMMAND`, `DEBUG`, `MEMORY` and the
//! rest, and the facts of the command table against Redis' own.
//! <https://redis.io/docs/latest/commands/?group=server>

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::{Client, NULL, Server, Shared, Value, error, eventually, info, oracle, simple};

static SERVER: OnceLock<Server> = OnceLock::new();

fn server() -> Shared {
    Shared::of(&SERVER, &["--enable-debug-command", "yes"])
}

const SYNTAX: &str = "ERR syntax error";

#[track_caller]
fn fails(c: &mut Client, line: &str, text: &str) {
    assert_eq!(c.run(line), error(text), "{line}");
}

#[test]
fn info_sections() {
    let s = server();
    let mut c = s.client();
    let headings = |reply: Value| -> Vec<String> {
        let text = reply.text();
        text.lines()
            .filter_map(|l| l.strip_prefix("# ").map(String::from))
            .collect()
    };
    let all = headings(c.run("INFO"));
    for section in [
        "Server",
        "Clients",
        "Memory",
        "Persistence",
        "Stats",
        "CPU",
        "Errorstats",
        "Keyspace",
    ] {
        assert!(all.iter().any(|s| s == section), "no {section} in {all:?}");
    }
    assert!(!all.iter().any(|s| s == "Commandstats"), "{all:?}");
    assert_eq!(headings(c.run("INFO default")), all);
    let everything = headings(c.run("INFO everything"));
    assert!(
        everything.iter().any(|s| s == "Commandstats"),
        "{everything:?}"
    );
    assert!(
        everything.iter().any(|s| s == "Latencystats"),
        "{everything:?}"
    );
    assert_eq!(headings(c.run("INFO ALL")), everything);
    assert_eq!(headings(c.run("INFO cpu")), ["CPU"]);
    assert_eq!(
        headings(c.run("INFO memory SERVER cpu")),
        ["Server", "Memory", "CPU"]
    );
    assert_eq!(c.run("INFO nonsense"), "");
    assert!(matches!(s.client3().run("INFO server"), Value::Verbatim(f, _) if f == "txt"));
    let text = c.run("INFO clients").text();
    assert!(
        text.starts_with("# Clients\r\n") && text.ends_with("\r\n"),
        "{text:?}"
    );
}

#[test]
fn info_fields_are_true() {
    let s = Server::start();
    let mut c = s.client();
    let fields = info(&mut c, "server");
    assert!(fields["redis_version"].starts_with("7."));
    assert_eq!(fields["redis_mode"], "standalone");
    assert_eq!(fields["tcp_port"], s.port().to_string());
    assert_eq!(fields["process_id"], s.pid().to_string());
    assert_eq!(fields["run_id"].len(), 40);
    assert_eq!(fields["arch_bits"], "64");
    assert_eq!(fields["config_file"], "");
    assert!(
        fields["executable"].starts_with('/'),
        "{}",
        fields["executable"]
    );
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_micros() as i64;
    let theirs: i64 = fields["server_time_usec"].parse().unwrap();
    assert!((now - theirs).abs() < 5_000_000, "{theirs} at {now}");
    for field in [
        "os",
        "multiplexing_api",
        "uptime_in_seconds",
        "uptime_in_days",
        "hz",
    ] {
        assert!(fields.contains_key(field), "{field}");
    }
    let mut d = s.client();
    d.run("PING");
    // The connection by which the start was awaited may take a moment to go.
    let soon = Duration::from_secs(10);
    eventually("two clients", soon, || {
        info(&mut c, "clients")["connected_clients"] == "2"
    });
    let fields = info(&mut c, "clients");
    assert_eq!(fields["blocked_clients"], "0");
    assert_eq!(fields["maxclients"], "10000");
    let fields = info(&mut c, "memory");
    let number = |name: &str| fields[name].parse::<u64>().unwrap();
    assert!(number("used_memory") > 10_000);
    assert!(number("used_memory_peak") >= number("used_memory"));
    assert!(number("total_system_memory") > number("used_memory"));
    if s.rss().is_some() {
        // The server may look at it from time to time only.
        eventually("used_memory_rss is true", Duration::from_secs(5), || {
            let told = s.info_int("used_memory_rss") as f64;
            (0.5..2.0).contains(&(told / s.rss().unwrap_or(0) as f64))
        });
    }
    assert_eq!(fields["maxmemory"], "0");
    assert_eq!(fields["maxmemory_policy"], "noeviction");
    assert!(fields["used_memory_human"].ends_with(['B', 'K', 'M', 'G']));
    let before = info(&mut c, "cpu");
    assert!(before["used_cpu_user"].parse::<f64>().unwrap() >= 0.0);
    assert!(before["used_cpu_sys"].parse::<f64>().unwrap() >= 0.0);
}

#[test]
fn used_memory_follows_the_data() {
    let s = Server::start();
    let mut c = s.client();
    let used = |c: &mut Client| info(c, "memory")["used_memory"].parse::<i64>().unwrap();
    let before = used(&mut c);
    let value = "x".repeat(1 << 20);
    for i in 0..50 {
        c.cmd(&["SET", &i.to_string(), &value]);
    }
    let full = used(&mut c);
    assert!(
        (50 << 20..80 << 20).contains(&(full - before)),
        "grew by {}",
        full - before
    );
    c.run("FLUSHALL ASYNC");
    eventually("the memory is back", Duration::from_secs(10), || {
        used(&mut c) < before + (5 << 20)
    });
    let peak: i64 = info(&mut c, "memory")["used_memory_peak"].parse().unwrap();
    assert!(peak >= full, "peak {peak}, but {full} was seen");
}

#[test]
fn statistics_count() {
    let s = Server::start();
    let mut c = s.client();
    assert_eq!(c.run("CONFIG RESETSTAT"), simple("OK"));
    c.run("SET a 1");
    for _ in 0..3 {
        c.run("GET a");
        c.run("GET none");
    }
    c.run("INCR a");
    c.run("GET");
    c.run("NONSENSE");
    c.run("SET a b EX 0");
    c.run("CLIENT GETNAME");
    let stats = info(&mut c, "stats");
    assert_eq!(stats["keyspace_hits"], "3");
    assert_eq!(stats["keyspace_misses"], "3");
    assert_eq!(stats["total_error_replies"], "3");
    // The commands that were refused unread do not count, and CONFIG RESETSTAT counts itself.
    assert_eq!(stats["total_commands_processed"], "11");
    let number = |name: &str| stats[name].parse::<i64>().unwrap();
    assert!(number("total_net_input_bytes") > 200);
    assert!(number("total_net_output_bytes") > 50);
    assert_eq!(number("expired_keys") + number("evicted_keys"), 0);
    let commands = info(&mut c, "commandstats");
    let get = &commands["cmdstat_get"];
    assert!(get.starts_with("calls=6,usec="), "{get}");
    assert!(get.ends_with(",rejected_calls=1,failed_calls=0"), "{get}");
    let set = &commands["cmdstat_set"];
    assert!(set.starts_with("calls=2,"), "{set}");
    assert!(set.ends_with(",rejected_calls=0,failed_calls=1"), "{set}");
    assert!(commands["cmdstat_client|getname"].starts_with("calls=1,"));
    assert!(!commands.contains_key("cmdstat_nonsense"));
    assert_eq!(info(&mut c, "errorstats")["errorstat_ERR"], "count=3");
    let latency = &info(&mut c, "latencystats")["latency_percentiles_usec_get"];
    assert!(
        latency.starts_with("p50=") && latency.contains(",p99.9="),
        "{latency}"
    );
    c.run("CONFIG RESETSTAT");
    assert_eq!(info(&mut c, "stats")["keyspace_hits"], "0");
    assert!(!info(&mut c, "errorstats").contains_key("errorstat_ERR"));
    assert!(!info(&mut c, "commandstats").contains_key("cmdstat_get"));
}

#[test]
fn config_get_and_set() {
    let s = Server::start();
    let mut c = s.client();
    assert_eq!(
        c.run("CONFIG GET maxclients"),
        array!["maxclients", "10000"]
    );
    assert_eq!(c.run("CONFIG GET nonsense"), Value::Array(vec![]));
    let names: BTreeSet<String> = c
        .run("CONFIG GET max*")
        .pairs()
        .iter()
        .map(|(n, _)| n.text())
        .collect();
    assert!(
        names.contains("maxclients") && names.contains("maxmemory"),
        "{names:?}"
    );
    assert!(names.iter().all(|n| n.starts_with("max")), "{names:?}");
    assert!(c.run("CONFIG GET *").pairs().len() > 30);
    let reply = s.client3().run("CONFIG GET timeout port time*");
    assert!(
        matches!(&reply, Value::Map(pairs) if pairs.len() == 2),
        "{reply:?}"
    );
    assert_eq!(reply.field("timeout"), "0");
    assert_eq!(reply.field("port"), s.port().to_string());
    assert_eq!(
        c.run("CONFIG SET timeout 100 loglevel verbose"),
        simple("OK")
    );
    assert_eq!(c.run("CONFIG GET timeout").field("timeout"), "100");
    assert_eq!(c.run("CONFIG GET LogLevel").items()[1], "verbose");
    assert_eq!(c.run("CONFIG SET proto-max-bulk-len 2mb"), "OK");
    assert_eq!(c.run("CONFIG GET proto-max-bulk-len").items()[1], "2097152");
    for (written, bytes) in [
        ("1k", 1000),
        ("1kb", 1024),
        ("1gb", 1 << 30),
        ("5", 5),
        ("2G", 2_000_000_000),
    ] {
        assert_eq!(c.cmd(&["CONFIG", "SET", "maxmemory", written]), "OK");
        assert_eq!(c.run("CONFIG GET maxmemory").items()[1], bytes.to_string());
        c.run("CONFIG SET maxmemory 0");
    }
}

#[test]
fn config_set_is_all_or_nothing() {
    let s = Server::start();
    let mut c = s.client();
    let failed = |name: &str, why: &str| {
        error(&format!(
            "ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"
        ))
    };
    for (line, reply) in [
        (
            "timeout 5 loglevel loud",
            failed(
                "loglevel",
                // Redis 7.2 added the last level.
                if oracle() {
                    "argument(s) must be one of the following: debug, verbose, notice, warning"
                } else {
                    "argument(s) must be one of the following: debug, verbose, notice, warning, \
                     nothing"
                },
            ),
        ),
        (
            "timeout 5 maxclients 0",
            failed(
                "maxclients",
                "argument must be between 1 and 4294967295 inclusive",
            ),
        ),
        (
            "timeout 5 maxmemory x",
            failed("maxmemory", "argument must be a memory value"),
        ),
        (
            "timeout 5 protected-mode maybe",
            failed("protected-mode", "argument must be 'yes' or 'no'"),
        ),
        (
            "timeout 5 tcp-keepalive x",
            failed(
                "tcp-keepalive",
                "argument couldn't be parsed into an integer",
            ),
        ),
        (
            "timeout 5 databases 4",
            failed("databases", "can't set immutable config"),
        ),
        (
            "timeout 5 timeout 6",
            failed("timeout", "duplicate parameter"),
        ),
        (
            "timeout 5 enable-debug-command yes",
            failed("enable-debug-command", "can't set immutable config"),
        ),
    ] {
        assert_eq!(c.run(&format!("CONFIG SET {line}")), reply, "{line}");
        assert_eq!(c.run("CONFIG GET timeout").items()[1], "0", "{line}");
    }
    let unknown = "ERR Unknown option or number of arguments for CONFIG SET - 'nonsense'";
    fails(&mut c, "CONFIG SET timeout 5 nonsense 1", unknown);
    let arity = "ERR wrong number of arguments for 'config|set' command";
    fails(&mut c, "CONFIG SET timeout", arity);
    fails(&mut c, "CONFIG SET timeout 5 maxclients", SYNTAX);
    fails(
        &mut c,
        "CONFIG GET",
        "ERR wrong number of arguments for 'config|get' command",
    );
    fails(
        &mut c,
        "CONFIG FOO",
        "ERR unknown subcommand 'FOO'. Try CONFIG HELP.",
    );
    assert_eq!(c.run("CONFIG GET timeout").items()[1], "0");
}

#[test]
fn help_texts() {
    let s = server();
    let mut c = s.client();
    for name in ["CONFIG", "COMMAND", "DEBUG", "CLIENT", "OBJECT"] {
        let help = c.cmd(&[name, "HELP"]).texts();
        let title = format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
        assert_eq!(help[0], title);
        assert!(help.len() > 5, "{help:?}");
    }
}

#[test]
fn command_info_list_count() {
    let s = server();
    let mut c = s.client();
    let count = c.run("COMMAND COUNT").int();
    assert!(count >= 60, "{count}");
    assert_eq!(c.run("COMMAND").items().len() as i64, count);
    assert_eq!(c.run("COMMAND INFO").items().len() as i64, count);
    let reply = c.run("COMMAND INFO get nonsense GET|x client|id");
    assert_eq!(reply.items().len(), 4);
    assert_eq!(reply.items()[1], NULL);
    assert_eq!(reply.items()[2], NULL);
    assert_eq!(reply.items()[3].items()[0], "client|id");
    let get = &reply.items()[0];
    assert_eq!(get.items().len(), 10);
    assert_eq!(get.items()[..2], [Value::from("get"), Value::Int(2)]);
    assert_eq!(
        get.items()[2],
        Value::Array(vec![simple("readonly"), simple("fast")])
    );
    assert_eq!(get.items()[3..6], [1, 1, 1].map(Value::Int));
    let categories = ["@read", "@string", "@fast"].map(simple).to_vec();
    assert_eq!(get.items()[6], Value::Array(categories));
    assert_eq!(get.items()[7], Value::Array(vec![]));
    let spec = &get.items()[8].items()[0];
    assert_eq!(
        spec.field("flags"),
        Value::Array(["RO", "access"].map(simple).to_vec())
    );
    assert_eq!(
        spec.field("begin_search"),
        array!["type", "index", "spec", array!["index", 1]]
    );
    assert_eq!(
        spec.field("find_keys"),
        array![
            "type",
            "range",
            "spec",
            array!["lastkey", 0, "keystep", 1, "limit", 0]
        ]
    );
    assert!(matches!(
        &s.client3().run("COMMAND INFO get").items()[0].items()[2],
        Value::Set(flags) if flags.len() == 2
    ));
    let all: BTreeSet<String> = c.run("COMMAND LIST").texts().into_iter().collect();
    assert!(
        all.len() as i64 > count,
        "subcommands are listed too: {all:?}"
    );
    assert!(all.contains("get") && all.contains("config|get"), "{all:?}");
    assert_eq!(
        c.run("COMMAND LIST FILTERBY PATTERN getd*").texts(),
        ["getdel"]
    );
    let strings = c.run("COMMAND LIST FILTERBY ACLCAT string").texts();
    assert!(
        strings.contains(&"lcs".into()) && !strings.contains(&"del".into()),
        "{strings:?}"
    );
    assert_eq!(
        c.run("COMMAND LIST FILTERBY MODULE none"),
        Value::Array(vec![])
    );
    fails(&mut c, "COMMAND LIST FILTERBY FOO x", SYNTAX);
    fails(
        &mut c,
        "COMMAND FOO",
        "ERR unknown subcommand 'FOO'. Try COMMAND HELP.",
    );
}

#[test]
fn command_docs() {
    let s = server();
    let mut c = s.client();
    let docs = c.run("COMMAND DOCS set nonsense client");
    assert_eq!(docs.pairs().len(), 2);
    let set = docs.field("set");
    assert_eq!(set.field("since"), "1.0.0");
    assert_eq!(set.field("group"), "string");
    assert!(!set.field("summary").text().is_empty());
    assert_eq!(set.field("complexity"), "O(1)");
    let first = &set.field("arguments").items()[0].clone();
    assert_eq!(first.field("name"), "key");
    assert_eq!(first.field("type"), "key");
    assert_eq!(first.field("key_spec_index"), 0);
    let client = docs.field("client").field("subcommands");
    assert_eq!(client.field("client|id").field("since"), "5.0.0");
    assert!(matches!(s.client3().run("COMMAND DOCS get"), Value::Map(p) if p.len() == 1));
    assert_eq!(
        c.run("COMMAND DOCS").pairs().len() as i64,
        c.run("COMMAND COUNT").int()
    );
}

#[test]
fn command_getkeys() {
    let s = server();
    let mut c = s.client();
    for (line, keys) in [
        ("GET a", &["a"][..]),
        ("MSET a 1 b 2 c 3", &["a", "b", "c"]),
        ("DEL x y", &["x", "y"]),
        ("COPY a b REPLACE", &["a", "b"]),
        ("LCS a b LEN", &["a", "b"]),
        ("OBJECT ENCODING k", &["k"]),
        ("MEMORY USAGE k", &["k"]),
        ("MGET a a", &["a", "a"]),
    ] {
        assert_eq!(
            c.run(&format!("COMMAND GETKEYS {line}")).texts(),
            keys,
            "{line}"
        );
    }
    fails(
        &mut c,
        "COMMAND GETKEYS NONSENSE a",
        "ERR Invalid command specified",
    );
    fails(
        &mut c,
        "COMMAND GETKEYS ECHO a",
        "ERR The command has no key arguments",
    );
    fails(
        &mut c,
        "COMMAND GETKEYS GET a b",
        "ERR Invalid number of arguments specified for command",
    );
    let flags = |names: &[&str]| Value::Array(names.iter().map(|n| simple(n)).collect());
    assert_eq!(
        c.run("COMMAND GETKEYSANDFLAGS SET a 1"),
        array![array!["a", flags(&["OW", "update"])]]
    );
    assert_eq!(
        c.run("COMMAND GETKEYSANDFLAGS SET a 1 GET"),
        array![array!["a", flags(&["RW", "access", "update"])]]
    );
    assert_eq!(
        c.run("COMMAND GETKEYSANDFLAGS COPY a b"),
        array![
            array!["a", flags(&["RO", "access"])],
            array!["b", flags(&["OW", "update"])]
        ]
    );
}

#[test]
fn debug() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.client();
    assert_eq!(c.run("DEBUG SLEEP 0.01"), simple("OK"));
    assert_eq!(c.run("DEBUG POPULATE 1000"), simple("OK"));
    assert_eq!(c.run("DBSIZE"), 1000);
    assert_eq!(c.run("GET key:999"), "value:999");
    assert_eq!(c.run("DEBUG POPULATE 5 p 20"), simple("OK"));
    assert_eq!(c.run("STRLEN p:4"), 20);
    // A key that exists stays as it is.
    c.run("SET key:0 mine");
    assert_eq!(c.run("DEBUG POPULATE 1"), "OK");
    assert_eq!(c.run("GET key:0"), "mine");
    let text = c.run("DEBUG OBJECT key:0").text();
    assert!(
        text.starts_with("Value at:") && text.contains(" encoding:embstr "),
        "{text}"
    );
    fails(&mut c, "DEBUG OBJECT none", "ERR no such key");
    if !oracle() {
        assert_eq!(c.run("DEBUG STRINGMATCH-LEN a*c abbc"), 1);
        assert_eq!(c.run("DEBUG STRINGMATCH-LEN a*c abbd"), 0);
    }
    let text = c.run("DEBUG STRINGMATCH-TEST").text();
    assert!(text.ends_with("test passed"), "{text}");
    assert_eq!(c.run("DEBUG SET-ACTIVE-EXPIRE 1"), simple("OK"));
    fails(
        &mut c,
        "DEBUG FOO",
        "ERR unknown subcommand or wrong number of arguments for 'FOO'. Try DEBUG HELP.",
    );
}

#[test]
fn debug_is_off_unless_asked_for() {
    let text = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \
                \"local\", you can run it from a local connection, otherwise you need to set this \
                option in the configuration file, and then restart the server.";
    fails(&mut Server::start().client(), "DEBUG SLEEP 0", text);
    let s = Server::with(&["--enable-debug-command", "local"]);
    assert_eq!(s.client().run("DEBUG SLEEP 0"), "OK");
}

#[test]
fn memory_usage() {
    let s = server();
    let mut c = s.client();
    assert_eq!(c.cmd_raw(&["MEMORY", "USAGE", "mu:none"]), b"$-1\r\n");
    c.run("SET mu:a 1");
    let small = c.run("MEMORY USAGE mu:a").int();
    assert!((16..200).contains(&small), "{small}");
    c.cmd(&["SET", "mu:b", &"x".repeat(10_000)]);
    let large = c.run("MEMORY USAGE mu:b SAMPLES 5").int();
    assert!((10_000..25_000).contains(&large), "{large}");
    fails(&mut c, "MEMORY USAGE mu:a SAMPLES", SYNTAX);
    fails(&mut c, "MEMORY USAGE mu:a SAMPLES -1", SYNTAX);
    fails(&mut c, "MEMORY USAGE mu:a FOO 1", SYNTAX);
    let text = "ERR wrong number of arguments for 'memory|usage' command";
    fails(&mut c, "MEMORY USAGE", text);
}

#[test]
fn time_dbsize_lolwut() {
    let s = server();
    let mut c = s.client();
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64
    };
    let before = now();
    let parts: Vec<i64> = c
        .run("TIME")
        .texts()
        .iter()
        .map(|t| t.parse().unwrap())
        .collect();
    assert!((before..=now()).contains(&parts[0]), "{parts:?}");
    assert!((0..1_000_000).contains(&parts[1]), "{parts:?}");
    c.run("SELECT 9");
    assert_eq!(c.run("DBSIZE"), 0);
    c.run("MSET a 1 b 2 a 3");
    assert_eq!(c.run("DBSIZE"), 2);
    fails(
        &mut c,
        "DBSIZE x",
        "ERR wrong number of arguments for 'dbsize' command",
    );
    let art = c.run("LOLWUT").text();
    assert!(art.contains("Redis ver. 7."), "{art}");
    assert!(
        c.run("LOLWUT VERSION 5 1 1 1")
            .text()
            .contains("Redis ver. 7.")
    );
}

/// What a foundation must have; each later family adds to the server, none takes away.
const FOUNDATION: &str = "
    auth client client|id client|info client|list client|kill client|setname client|getname
    client|setinfo client|reply client|no-evict client|no-touch client|unblock client|pause
    client|unpause client|getredir client|trackinginfo client|help echo hello ping quit reset select
    copy del exists expire expireat expiretime keys move object object|encoding object|freq
    object|idletime object|refcount object|help persist pexpire pexpireat pexpiretime pttl
    randomkey rename renamenx scan touch ttl type unlink
    append decr decrby get getdel getex getrange getset incr incrby incrbyfloat lcs mget mset
    msetnx psetex set setex setnx setrange strlen substr
    command command|count command|docs command|getkeys command|getkeysandflags command|info
    command|list command|help config config|get config|set config|resetstat
    config|help dbsize debug flushall flushdb info lolwut memory memory|usage shutdown swapdb time";

/// One command as `facts/commands.tsv` states it and as the server reports it.
#[derive(PartialEq, Debug)]
struct Facts {
    arity: i64,
    flags: BTreeSet<String>,
    keys: String,
    categories: BTreeSet<String>,
    group: String,
    since: String,
}

/// The table of Redis 7.0's commands, by name; a subcommand is named `client|id`.
fn expected_facts() -> BTreeMap<String, Facts> {
    let set = |text: &str| {
        text.split(',')
            .filter(|t| !t.is_empty())
            .map(String::from)
            .collect()
    };
    let rows = include_str!("facts/commands.tsv").lines().skip(1);
    rows.map(|row| {
        let [name, arity, flags, keys, categories, group, since] =
            row.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("not seven columns: {row}");
        };
        // 7.2 gave these an option.
        let arity = match name {
            "zrank" | "zrevrank" => "-3",
            _ => arity,
        };
        let facts = Facts {
            arity: arity.parse().expect("an arity"),
            flags: set(flags),
            keys: keys.into(),
            categories: set(categories),
            group: group.into(),
            since: since.into(),
        };
        (name.replace(' ', "|"), facts)
    })
    .collect()
}

/// Every command and subcommand of the server, from `COMMAND` and `COMMAND DOCS`.
fn reported_facts(c: &mut Client) -> BTreeMap<String, Facts> {
    let mut docs = BTreeMap::new();
    for (name, doc) in c.run("COMMAND DOCS").pairs() {
        if doc.pairs().iter().any(|(field, _)| *field == "subcommands") {
            for (sub, doc) in doc.field("subcommands").pairs() {
                docs.insert(sub.text(), doc);
            }
        }
        docs.insert(name.text(), doc);
    }
    let mut all = BTreeMap::new();
    let mut waiting = c.run("COMMAND").items().to_vec();
    while let Some(row) = waiting.pop() {
        let row = row.items();
        waiting.extend_from_slice(row[9].items());
        let name = row[0].text();
        let doc = docs
            .get(&name)
            .unwrap_or_else(|| panic!("no COMMAND DOCS for {name}"));
        let categories = row[6].texts();
        let facts = Facts {
            arity: row[1].int(),
            flags: row[2].texts().into_iter().collect(),
            keys: format!("{}:{}:{}", row[3].int(), row[4].int(), row[5].int()),
            categories: categories
                .iter()
                .map(|c| c.trim_start_matches('@').into())
                .collect(),
            group: doc.field("group").text(),
            since: doc.field("since").text(),
        };
        all.insert(name, facts);
    }
    all
}

#[test]
fn the_table_states_redis_own_facts() {
    let s = server();
    let expected = expected_facts();
    let reported = reported_facts(&mut s.client());
    let mut wrong = Vec::new();
    for name in FOUNDATION.split_whitespace() {
        let newer = ["client|setinfo", "client|no-touch"].contains(&name);
        if !(reported.contains_key(name) || newer && oracle()) {
            wrong.push(format!("{name}: the server does not have it"));
        }
    }
    for (name, facts) in &reported {
        // What Redis 7.0 does not have, it states no facts about.
        if let Some(expected) = expected.get(name).filter(|e| *e != facts) {
            wrong.push(format!(
                "{name}:\n  expected {expected:?}\n  reported {facts:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} commands differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
