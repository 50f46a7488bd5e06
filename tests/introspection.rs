//! What the server tells about itself and its clients, and the limits it sets them: the fields of
//! `INFO` and `CLIENT LIST`, the buffers they are about, the limits of output.
//! <https://redis.io/docs/latest/commands/info/>
//! <https://redis.io/docs/latest/develop/reference/clients/#output-buffer-limits>

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::{Client, NULL, Server, Value, encode, error, eventually, info, oracle};

const SOON: Duration = Duration::from_secs(10);
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The sections that a server shows when none is asked for, with their fields in order, as Redis 7.2
/// has them. What has no meaning here is left out: cycles of an event loop.
const FIELDS: &[(&str, &str)] = &[
    (
        "Server",
        "redis_version redis_git_sha1 redis_git_dirty redis_build_id redis_mode os arch_bits \
         monotonic_clock multiplexing_api atomicvar_api gcc_version process_id process_supervised run_id \
         tcp_port server_time_usec uptime_in_seconds uptime_in_days hz configured_hz lru_clock executable \
         config_file io_threads_active listener0",
    ),
    (
        "Clients",
        "connected_clients cluster_connections maxclients client_recent_max_input_buffer \
         client_recent_max_output_buffer blocked_clients tracking_clients clients_in_timeout_table \
         total_blocking_keys total_blocking_keys_on_nokey",
    ),
    (
        "Memory",
        "used_memory used_memory_human used_memory_rss used_memory_rss_human used_memory_peak \
         used_memory_peak_human used_memory_peak_perc used_memory_overhead used_memory_startup \
         used_memory_dataset used_memory_dataset_perc allocator_allocated allocator_active \
         allocator_resident total_system_memory total_system_memory_human used_memory_lua \
         used_memory_vm_eval used_memory_lua_human used_memory_scripts_eval number_of_cached_scripts \
         number_of_functions number_of_libraries used_memory_vm_functions used_memory_vm_total \
         used_memory_vm_total_human used_memory_functions used_memory_scripts used_memory_scripts_human \
         maxmemory maxmemory_human maxmemory_policy allocator_frag_ratio allocator_frag_bytes \
         allocator_rss_ratio allocator_rss_bytes rss_overhead_ratio rss_overhead_bytes \
         mem_fragmentation_ratio mem_fragmentation_bytes mem_not_counted_for_evict \
         mem_replication_backlog mem_total_replication_buffers mem_clients_slaves mem_clients_normal \
         mem_cluster_links mem_aof_buffer mem_allocator active_defrag_running lazyfree_pending_objects \
         lazyfreed_objects",
    ),
    (
        "Persistence",
        "loading async_loading current_cow_peak current_cow_size current_cow_size_age current_fork_perc \
         current_save_keys_processed current_save_keys_total rdb_changes_since_last_save \
         rdb_bgsave_in_progress rdb_last_save_time rdb_last_bgsave_status rdb_last_bgsave_time_sec \
         rdb_current_bgsave_time_sec rdb_saves rdb_last_cow_size rdb_last_load_keys_expired \
         rdb_last_load_keys_loaded aof_enabled aof_rewrite_in_progress aof_rewrite_scheduled \
         aof_last_rewrite_time_sec aof_current_rewrite_time_sec aof_last_bgrewrite_status aof_rewrites \
         aof_rewrites_consecutive_failures aof_last_write_status aof_last_cow_size module_fork_in_progress \
         module_fork_last_cow_size",
    ),
    (
        "Stats",
        "total_connections_received total_commands_processed instantaneous_ops_per_sec \
         total_net_input_bytes total_net_output_bytes total_net_repl_input_bytes \
         total_net_repl_output_bytes instantaneous_input_kbps instantaneous_output_kbps \
         instantaneous_input_repl_kbps instantaneous_output_repl_kbps rejected_connections sync_full \
         sync_partial_ok sync_partial_err expired_keys expired_stale_perc expired_time_cap_reached_count \
         expire_cycle_cpu_milliseconds evicted_keys evicted_clients total_eviction_exceeded_time \
         current_eviction_exceeded_time keyspace_hits keyspace_misses pubsub_channels pubsub_patterns \
         pubsubshard_channels latest_fork_usec total_forks migrate_cached_sockets \
         slave_expires_tracked_keys active_defrag_hits active_defrag_misses active_defrag_key_hits \
         active_defrag_key_misses total_active_defrag_time current_active_defrag_time tracking_total_keys \
         tracking_total_items tracking_total_prefixes unexpected_error_replies total_error_replies \
         dump_payload_sanitizations total_reads_processed total_writes_processed \
         io_threaded_reads_processed io_threaded_writes_processed reply_buffer_shrinks \
         reply_buffer_expands acl_access_denied_auth acl_access_denied_cmd acl_access_denied_key \
         acl_access_denied_channel",
    ),
    (
        "Replication",
        "role connected_slaves master_failover_state master_replid master_replid2 master_repl_offset \
         second_repl_offset repl_backlog_active repl_backlog_size repl_backlog_first_byte_offset \
         repl_backlog_histlen",
    ),
    (
        "CPU",
        "used_cpu_sys used_cpu_user used_cpu_sys_children used_cpu_user_children \
         used_cpu_sys_main_thread used_cpu_user_main_thread",
    ),
    ("Modules", ""),
    ("Errorstats", "errorstat_ERR errorstat_WRONGTYPE"),
    ("Cluster", "cluster_enabled"),
    ("Keyspace", "db0"),
];

/// The names of the fields of a reply, section by section.
fn fields(reply: &Value) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for line in reply.text().lines().filter(|line| !line.is_empty()) {
        match (line.strip_prefix("# "), all.last_mut()) {
            (Some(title), _) => all.push((title.to_owned(), Vec::new())),
            (None, Some((_, names))) => {
                names.push(line.split(':').next().unwrap_or_default().to_owned());
            }
            (None, None) => panic!("a field before any section: {line}"),
        }
    }
    all
}

/// Has something to tell in every section.
fn use_a_little(c: &mut Client) {
    c.run("SET key value EX 100");
    c.run("LPUSH key 1");
    c.run("NONSENSE");
    c.run("GET key");
}

#[test]
fn info_has_the_fields_of_redis_in_their_order() {
    let s = Server::start();
    let mut c = s.client();
    use_a_little(&mut c);
    let shown = fields(&c.run("INFO"));
    let titles: Vec<&str> = shown.iter().map(|(title, _)| title.as_str()).collect();
    let expected: Vec<&str> = FIELDS.iter().map(|(title, _)| *title).collect();
    assert_eq!(titles, expected);
    for ((title, shown), (_, expected)) in shown.iter().zip(FIELDS) {
        let expected: Vec<&str> = expected.split_whitespace().collect();
        let mut known = shown.clone();
        // Newer versions have more.
        known.retain(|name| expected.contains(&name.as_str()));
        assert_eq!(known, expected, "{title}: {shown:?}");
    }
}

#[test]
fn info_has_every_field_that_redis_shows() {
    if !oracle() {
        return;
    }
    let (ours, theirs) = (Server::start(), Server::redis(&[]));
    let (mut ours, mut theirs) = (ours.client(), theirs.client());
    for c in [&mut ours, &mut theirs] {
        use_a_little(c);
    }
    for words in [
        "INFO",
        "INFO all",
        "INFO everything",
        "INFO default",
        "INFO modules",
        "INFO server CPU nonsense",
        "INFO commandstats",
    ] {
        let (shown, expected) = (fields(&ours.run(words)), fields(&theirs.run(words)));
        let titles = |all: &[(String, Vec<String>)]| -> Vec<String> {
            all.iter().map(|(title, _)| title.clone()).collect()
        };
        assert_eq!(titles(&shown), titles(&expected), "{words}");
        for ((title, shown), (_, expected)) in shown.iter().zip(&expected) {
            // The calls so far differ by how a test waits for the start.
            let stats = ["Commandstats", "Latencystats"].contains(&title.as_str());
            let missing = expected.iter().filter(|name| !shown.contains(name));
            let missing: Vec<&String> = missing.collect();
            assert!(missing.is_empty() || stats, "{words}, {title}: {missing:?}");
        }
    }
}

#[test]
fn info_names_the_addresses_of_the_configuration() {
    let s = Server::start();
    let mut c = s.client();
    assert_eq!(c.cmd(&["CONFIG", "SET", "bind", "127.0.0.1 -::1"]), "OK");
    let listener = &info(&mut c, "server")["listener0"];
    let expected = format!("name=tcp,bind=127.0.0.1,bind=-::1,port={}", s.port());
    assert_eq!(*listener, expected);
    // Without any address it listens nowhere, but those who are there stay.
    assert_eq!(c.cmd(&["CONFIG", "SET", "bind", ""]), "OK");
    assert!(s.connect().is_err());
    let expected = format!("name=tcp,port={}", s.port());
    assert_eq!(info(&mut c, "server")["listener0"], expected);
    assert_eq!(c.cmd(&["CONFIG", "SET", "bind", "127.0.0.1"]), "OK");
    assert_eq!(s.client().run("PING"), "PONG");
}

#[test]
fn what_the_sweeper_does_is_counted() {
    let s = Server::with(&["--hz", "100", "--active-expire-effort", "10"]);
    let mut c = s.client();
    const KEYS: usize = 50_000;
    let mut batch = Vec::new();
    for number in 0..KEYS {
        let key = format!("key:{number}");
        batch.extend(encode(&["SET", &key, "value", "PX", "300"]));
    }
    let mut writer = c.split();
    let sent = std::thread::spawn(move || writer.write(&batch));
    for _ in 0..KEYS {
        assert_eq!(c.recv(), "OK");
    }
    sent.join().expect("all is sent");
    eventually("all have expired", SOON, || {
        s.info_int("expired_keys") == KEYS as i64
    });
    let stats = info(&mut c, "stats");
    let spent: u64 = stats["expire_cycle_cpu_milliseconds"].parse().unwrap();
    assert!((1..10_000).contains(&spent), "{spent} ms");
    assert_eq!(stats["expired_stale_perc"], "0.00");
    let server = info(&mut c, "server");
    assert_eq!((&*server["hz"], &*server["configured_hz"]), ("100", "100"));
    assert_eq!(c.run("CONFIG RESETSTAT"), "OK");
    assert_eq!(s.info_int("expire_cycle_cpu_milliseconds"), 0);
}

#[test]
fn keys_of_groups_are_counted_of_their_own() {
    let s = Server::start();
    let mut c = s.client();
    c.run("XGROUP CREATE stream group $ MKSTREAM");
    let mut waiters = [s.client(), s.client(), s.client()];
    waiters[0].send(&"BLPOP list 0".split(' ').collect::<Vec<_>>());
    for waiter in &mut waiters[1..] {
        let line = "XREADGROUP GROUP group me BLOCK 0 STREAMS stream >";
        waiter.send(&line.split(' ').collect::<Vec<_>>());
    }
    eventually("all wait", SOON, || s.info_int("blocked_clients") == 3);
    assert_eq!(s.info_int("total_blocking_keys"), 2);
    assert_eq!(s.info_int("total_blocking_keys_on_nokey"), 1);
    c.run("DEL stream");
    eventually("they are told", SOON, || {
        s.info_int("total_blocking_keys_on_nokey") == 0
    });
}

#[test]
fn an_error_counts_by_a_code_of_reasonable_length() {
    let s = Server::start();
    let mut c = s.client();
    c.run("NONSENSE");
    c.run("LPUSH list x");
    c.run("GET list");
    let errors = info(&mut c, "errorstats");
    let expected = [
        ("errorstat_ERR", "count=1"),
        ("errorstat_WRONGTYPE", "count=1"),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count.to_owned()));
    assert_eq!(errors, BTreeMap::from(expected));
}

// ---------------------------------------------------------------- buffers of clients

/// The line of a client in `CLIENT LIST`, by its name; `None` when it is not there.
fn line(c: &mut Client, name: &str) -> Option<BTreeMap<String, String>> {
    let text = c.run("CLIENT LIST").text();
    let named = format!(" name={name} ");
    let line = text.lines().find(|line| line.contains(&named))?;
    let pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
    let owned = pairs.map(|(field, value)| (field.to_owned(), value.to_owned()));
    Some(owned.collect())
}

#[track_caller]
fn number(c: &mut Client, name: &str, field: &str) -> usize {
    let line = line(c, name).unwrap_or_else(|| panic!("no client {name}"));
    line[field].parse().unwrap()
}

/// What a client takes besides its buffers, which go when it is silent for a while.
#[track_caller]
fn held(c: &mut Client, name: &str) -> usize {
    let line = line(c, name).unwrap_or_else(|| panic!("no client {name}"));
    let number = |field: &str| line[field].parse::<usize>().unwrap();
    let buffers = ["qbuf", "qbuf-free", "argv-mem", "rbs"];
    number("tot-mem") - buffers.map(number).iter().sum::<usize>()
}

fn named(s: &Server, name: &str) -> Client {
    let mut c = s.client();
    assert_eq!(c.run(&format!("CLIENT SETNAME {name}")), "OK");
    c
}

#[test]
fn a_client_sees_the_request_that_it_is_making() {
    let s = Server::start();
    let mut c = named(&s, "me");
    let request = encode(&["CLIENT", "LIST"]);
    for _ in 0..3 {
        let mine = line(&mut c, "me").expect("it is there");
        assert_eq!(mine["qbuf"], request.len().to_string());
        assert_eq!(mine["argv-mem"], "10");
        let free: usize = mine["qbuf-free"].parse().unwrap();
        assert!(
            free + request.len() >= 16 * KIB && free < 32 * KIB,
            "{free}"
        );
        assert_eq!(
            (&*mine["obl"], &*mine["oll"], &*mine["omem"]),
            ("0", "0", "0")
        );
        assert_eq!(mine["events"], "r");
    }
    // Between requests nothing is left of them.
    let mut other = s.client();
    assert_eq!(number(&mut other, "me", "qbuf"), 0);
    assert_eq!(number(&mut other, "me", "argv-mem"), 0);
}

#[test]
fn half_a_request_shows_as_what_it_takes() {
    let s = Server::start();
    let (mut c, mut other) = (named(&s, "half"), s.client());
    let before = number(&mut other, "half", "tot-mem");
    // A large argument that is still coming.
    let part = vec![b'x'; 300_000];
    c.write(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1000000\r\n");
    c.write(&part);
    eventually("the part is there", SOON, || {
        number(&mut other, "half", "qbuf") == part.len()
    });
    assert_eq!(number(&mut other, "half", "argv-mem"), 6);
    let more = number(&mut other, "half", "tot-mem") - before;
    // As with Redis, what is still to come counts too, although there is no room for it yet.
    assert!((980_000..1_040_000).contains(&more), "{more} more");
    let largest = info(&mut other, "clients")["client_recent_max_input_buffer"].clone();
    let largest = largest.parse::<usize>().unwrap();
    assert!((part.len()..700_000).contains(&largest), "{largest}");
    c.write(&vec![b'x'; 700_000]);
    c.write(b"\r\n");
    assert_eq!(c.recv(), "OK");
    eventually("it is done with", SOON, || {
        number(&mut other, "half", "qbuf") == 0
    });
    // Small ones that are complete are arguments, and only the rest is not.
    c.write(b"*3\r\n$3\r\nSET\r\n$5\r\nkey:1\r\n$10\r\nxyz");
    eventually("the arguments are there", SOON, || {
        number(&mut other, "half", "argv-mem") == 8
    });
    assert_eq!(number(&mut other, "half", "qbuf"), 3);
    c.write(b"1234567\r\n");
    assert_eq!(c.recv(), "OK");
}

#[test]
fn what_a_client_holds_counts_as_its_memory() {
    let s = Server::start();
    let mut other = s.client();
    let mut grows = |by: usize, what: &str, run: &mut dyn FnMut(&mut Client)| {
        let mut c = named(&s, "holder");
        let before = held(&mut other, "holder");
        run(&mut c);
        let after = held(&mut other, "holder");
        assert!(after >= before + by, "{what}: from {before} to {after}");
        drop(c);
        eventually("it is gone", SOON, || line(&mut other, "holder").is_none());
    };
    grows(100 * 20, "WATCH", &mut |c| {
        for number in 0..100 {
            c.run(&format!("WATCH key:of:some:length:{number}"));
        }
    });
    grows(100_000, "MULTI", &mut |c| {
        c.run("MULTI");
        c.cmd(&["SET", "key", &"x".repeat(100_000)]);
    });
    for command in ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"] {
        grows(100 * 20, command, &mut |c| {
            for number in 0..100 {
                c.run(&format!("{command} channel:{number}"));
            }
        });
    }
    grows(100 * 20, "CLIENT TRACKING", &mut |c| {
        c.run("HELLO 3");
        for number in 0..100 {
            c.run(&format!(
                "CLIENT TRACKING ON BCAST PREFIX prefix:{number:04}:"
            ));
        }
    });
}

#[test]
fn what_is_given_up_no_longer_counts() {
    let s = Server::start();
    let (mut c, mut other) = (named(&s, "holder"), s.client());
    let before = held(&mut other, "holder");
    for (begin, end) in [
        ("WATCH key", "UNWATCH"),
        ("MULTI", "DISCARD"),
        ("SUBSCRIBE channel", "UNSUBSCRIBE channel"),
    ] {
        c.run(begin);
        if begin == "MULTI" {
            c.cmd(&["SET", "key", &"x".repeat(1000)]);
            assert!(number(&mut other, "holder", "multi-mem") > 1000);
        }
        assert!(held(&mut other, "holder") > before || begin == "MULTI");
        c.run(end);
        assert_eq!(held(&mut other, "holder"), before, "{end}");
    }
    assert_eq!(number(&mut other, "holder", "multi-mem"), 0);
}

#[test]
fn the_reply_buffer_grows_and_shrinks() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let (mut c, mut other) = (named(&s, "reader"), s.client());
    // Who is silent for some seconds has no buffer at all, so something is asked for each time.
    let mut room = |c: &mut Client, key: &str, fits: fn(usize) -> bool, what: &str| {
        eventually(what, SOON, || {
            c.run(&format!("STRLEN {key}"));
            c.run(&format!("GET {key}"));
            c.run("PING");
            fits(number(&mut other, "reader", "rbs"))
        });
    };
    room(&mut c, "none", |room| room == KIB, "a small one at first");
    let mut other = s.client();
    other.cmd(&["SET", "large", &"x".repeat(100_000)]);
    other.cmd(&["SET", "middle", &"x".repeat(10_000)]);
    assert_eq!(other.run("DEBUG REPLYBUFFER PEAK-RESET-TIME never"), "OK");
    // However much it was, only so much of it stays, and less where the next request takes its time.
    room(
        &mut c,
        "large",
        |room| room == 64 * KIB,
        "some is given back",
    );
    eventually("more is given back", SOON, || {
        std::thread::sleep(Duration::from_millis(50));
        c.run("GET large");
        number(&mut other, "reader", "rbs") == 16 * KIB
    });
    assert!(number(&mut other, "reader", "rbp") >= 100_000);
    assert!(s.info_int("reply_buffer_expands") >= 1);
    // What has not been needed for long goes as well.
    assert_eq!(other.run("DEBUG REPLYBUFFER PEAK-RESET-TIME 0"), "OK");
    let shrunk = s.info_int("reply_buffer_shrinks");
    room(&mut c, "none", |room| room == KIB, "it fits small replies");
    assert!(s.info_int("reply_buffer_shrinks") > shrunk);
    assert_eq!(other.run("DEBUG REPLYBUFFER RESIZING 0"), "OK");
    room(&mut c, "middle", |room| room > 10_000, "it keeps its size");
    assert_eq!(other.run("DEBUG REPLYBUFFER RESIZING 1"), "OK");
    assert_eq!(other.run("DEBUG REPLYBUFFER PEAK-RESET-TIME RESET"), "OK");
    let wrong =
        "ERR unknown subcommand or wrong number of arguments for 'REPLYBUFFER'. Try DEBUG HELP.";
    assert_eq!(other.run("DEBUG REPLYBUFFER SIZE 1"), error(wrong));
    let wrong = "ERR value is not an integer or out of range";
    assert_eq!(
        other.run("DEBUG REPLYBUFFER PEAK-RESET-TIME x"),
        error(wrong)
    );
}

// ---------------------------------------------------------------- limits

/// A server with a limit for ordinary clients, and a list of 150 elements of 1000 bytes.
fn limited(hard: &str) -> (Server, Client) {
    let limit = format!("normal {hard} 0 0");
    let s = Server::with(&["--client-output-buffer-limit", &limit]);
    let mut c = s.client();
    let item = "x".repeat(1000);
    for _ in 0..150 {
        c.cmd(&["RPUSH", "list", &item]);
    }
    (s, c)
}

#[test]
fn a_reply_beyond_the_limit_is_not_begun() {
    let (s, mut other) = limited("100000");
    for (at, lines) in [
        vec!["LRANGE list 0 -1"],
        vec!["LRANGE list 0 79", "LRANGE list 0 79"],
        vec!["PING", "LRANGE list 0 -1", "SET after 1"],
    ]
    .iter()
    .enumerate()
    {
        let mut c = named(&s, "greedy");
        let batch: Vec<u8> = lines
            .iter()
            .flat_map(|line| encode(&line.split(' ').collect::<Vec<_>>()))
            .collect();
        c.write(&batch);
        // Not a byte of it, not even of what came before in the same batch.
        c.assert_closed();
        assert!(line(&mut other, "greedy").is_none());
        let closed = s.info_int("client_output_buffer_limit_disconnections");
        assert_eq!(closed, at as i64 + 1);
    }
    s.wait_log("overcoming of output buffer limits");
    // What came behind it was not carried out.
    assert_eq!(other.run("GET after"), NULL);
    // What fits into the limit arrives, however often.
    for _ in 0..3 {
        assert_eq!(other.run("LRANGE list 0 79").items().len(), 80);
    }
    // No limit is as low as that.
    assert_eq!(
        other
            .run("CONFIG SET client-output-buffer-limit normal")
            .error(),
        "ERR CONFIG SET failed (possibly related to argument 'client-output-buffer-limit') - Wrong number of \
         arguments in buffer limit configuration."
    );
    assert_eq!(
        other.cmd(&[
            "CONFIG",
            "SET",
            "client-output-buffer-limit",
            "normal 1 0 0"
        ]),
        "OK"
    );
    assert_eq!(other.run("LRANGE list 0 9").items().len(), 10);
}

#[test]
fn a_transaction_beyond_the_limit_is_carried_out() {
    let (s, mut other) = limited("100000");
    other.run("SET k1 v1");
    let mut c = named(&s, "greedy");
    for line in [
        "MULTI",
        "SET k2 v2",
        "LRANGE list 0 -1",
        "SET k3 v3",
        "DEL k1",
    ] {
        c.run(line);
    }
    c.send(&["EXEC"]);
    c.assert_closed();
    assert_eq!(other.run("GET k1"), NULL);
    assert_eq!(other.run("MGET k2 k3").texts(), ["v2", "v3"]);
}

#[test]
fn who_wants_no_reply_has_none_that_is_too_long() {
    let (s, _) = limited("100000");
    let mut c = s.client();
    c.send(&["CLIENT", "REPLY", "OFF"]);
    c.send(&["LRANGE", "list", "0", "-1"]);
    c.send(&["CLIENT", "REPLY", "ON"]);
    assert_eq!(c.recv(), "OK");
    assert_eq!(c.run("LLEN list"), 150);
}

#[test]
fn a_reply_beyond_the_limit_takes_no_more_memory() {
    let (s, mut other) = limited("1mb");
    let item = "x".repeat(MIB);
    for _ in 0..64 {
        other.cmd(&["RPUSH", "huge", &item]);
    }
    for number in 0..20_000 {
        other.send(&["SET", &format!("key:{number:0100}"), "x"]);
    }
    (0..20_000).for_each(|_| assert_eq!(other.recv(), "OK"));
    other.run("CONFIG RESETSTAT");
    let before = s.info_int("used_memory");
    for line in ["LRANGE huge 0 -1", "KEYS *"] {
        let mut c = s.client();
        c.send(&line.split(' ').collect::<Vec<_>>());
        c.assert_closed();
    }
    let more = s.info_int("used_memory_peak") - before;
    assert!(more < 16 << 20, "{more} bytes more at the peak");
}

#[test]
fn a_hard_limit_that_is_lowered_holds_at_once() {
    let s = Server::start();
    let (mut c, mut other) = (named(&s, "slow"), s.client());
    other.cmd(&["SET", "large", &"x".repeat(MIB)]);
    // As much as the sockets between do not take.
    for _ in 0..64 {
        c.send(&["GET", "large"]);
    }
    eventually("replies wait", SOON, || {
        number(&mut other, "slow", "omem") > 8 * MIB
    });
    assert_eq!(line(&mut other, "slow").unwrap()["events"], "rw");
    assert!(number(&mut other, "slow", "tot-mem") > 8 * MIB);
    let output = &info(&mut other, "clients")["client_recent_max_output_buffer"];
    assert!(output.parse::<usize>().unwrap() > 8 * MIB, "{output}");
    let limit = "normal 4mb 0 0";
    other.cmd(&["CONFIG", "SET", "client-output-buffer-limit", limit]);
    eventually("it is closed", SOON, || line(&mut other, "slow").is_none());
}

#[test]
fn a_soft_limit_holds_after_its_time() {
    let s = Server::with(&["--client-output-buffer-limit", "normal 0 1mb 3"]);
    let (mut slow, mut other) = (named(&s, "slow"), s.client());
    let mut briefly = named(&s, "briefly");
    other.cmd(&["SET", "large", &"x".repeat(MIB)]);
    for _ in 0..32 {
        slow.send(&["GET", "large"]);
    }
    for _ in 0..16 {
        briefly.send(&["GET", "large"]);
    }
    for _ in 0..16 {
        assert_eq!(briefly.recv().bytes().len(), MIB);
    }
    eventually("replies wait", SOON, || {
        number(&mut other, "slow", "omem") > 8 * MIB
    });
    eventually("who does not read is closed", 2 * SOON, || {
        line(&mut other, "slow").is_none()
    });
    assert!(line(&mut other, "briefly").is_some());
    assert_eq!(s.info_int("client_output_buffer_limit_disconnections"), 1);
}

#[test]
fn who_does_not_read_holds_nobody_up() {
    let s = Server::start();
    let (mut slow, mut other) = (named(&s, "slow"), s.client());
    other.cmd(&["SET", "large", &"x".repeat(MIB)]);
    for _ in 0..100 {
        slow.send(&["GET", "large"]);
    }
    eventually("replies wait", SOON, || {
        number(&mut other, "slow", "omem") > 8 * MIB
    });
    for number in 0..1000 {
        assert_eq!(other.run(&format!("SET key:{number} x")), "OK");
    }
    // And it has everything once it reads.
    for _ in 0..100 {
        assert_eq!(slow.recv().bytes().len(), MIB);
    }
}

#[test]
fn a_backlog_has_a_least_size() {
    let s = Server::start();
    let mut c = s.client();
    assert_eq!(c.run("CONFIG SET repl-backlog-size 100"), "OK");
    let shown = c.run("CONFIG GET repl-backlog-size").texts();
    assert_eq!(shown, ["repl-backlog-size", "16384"]);
}

#[test]
fn a_replica_comes_from_the_address_that_it_is_told() {
    let primary = Server::with(&["--repl-diskless-sync-delay", "0"]);
    for (source, seen) in [
        ("127.0.0.2", "127.0.0.2"),
        // No machine has this one, and a link from another address is better than none.
        ("192.0.2.1", "127.0.0.1"),
    ] {
        let port = primary.port().to_string();
        let words = [
            "--bind-source-addr",
            source,
            "--replicaof",
            "127.0.0.1",
            &port,
        ];
        let replica = Server::with(&words);
        eventually("the link is up", 6 * SOON, || {
            replica.info("replication")["master_link_status"] == "up"
        });
        let shown = primary.info("replication")["slave0"].clone();
        assert!(shown.starts_with(&format!("ip={seen},")), "{shown}");
        drop(replica);
        eventually("it is gone", SOON, || {
            primary.info_int("connected_slaves") == 0
        });
    }
}
