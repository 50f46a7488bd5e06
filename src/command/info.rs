//! `INFO`: the state of the server and what it has counted.
//!
//! Names and order are those of Redis 7.2. A field is left out where there is nothing true to say
//! (the sections about features that do not exist yet), and is zero where nothing has happened.
//! <https://redis.io/docs/latest/commands/info/>

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use super::info_replication::{StreamMemory, about_replication};
use super::options::is;
use super::spec::*;
use super::{Args, Ctx, Outcome, table};
use crate::persist::aof::files::State as AofState;
use crate::server::client::{BLOCKED, REPLICA};
use crate::server::config::id;
use crate::server::eviction::Uncounted;
use crate::server::process;
use crate::server::pubsub::Kind as Listening;
use crate::server::saving::Kind;
use crate::server::{REDIS_VERSION, Server};
use crate::store::{SHARDS, Shard};
use crate::sys;
use crate::util::clock::now_ms;
use crate::util::num::bytes_to_human;
use crate::util::siphash::siphash12;

/// As often memory is looked at again, if it changed meanwhile.
const MOMENTS: usize = 16;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("info", -1, info)
    .flags(LOADING.or(STALE))
    .acl(CAT_DANGEROUS)
    .locking(Locking::None)
    .docs(
        Group::Server,
        "1.0.0",
        "O(1)",
        "Reports the state and statistics of the server",
    )
    .args("[section...]")
    .history(&[("7.0.0", "Takes several sections")])
    .tips(&[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ])];

/// One section.
struct Section {
    /// As the reply heads it; asked for in any case.
    title: &'static str,
    /// Whether it is shown when no section is asked for.
    default: bool,
    write: fn(&mut Text, &Server),
}

const fn section(title: &'static str, default: bool, write: fn(&mut Text, &Server)) -> Section {
    Section {
        title,
        default,
        write,
    }
}

/// The sections in the order of the reply.
const SECTIONS: &[Section] = &[
    section("Server", true, about_server),
    section("Clients", true, about_clients),
    section("Memory", true, about_memory),
    section("Persistence", true, about_persistence),
    section("Stats", true, about_stats),
    section("Replication", true, about_replication),
    section("CPU", true, about_cpu),
    section("Modules", true, about_modules),
    section("Commandstats", false, about_commands),
    section("Errorstats", true, about_errors),
    section("Latencystats", false, about_latency),
    section("Cluster", true, about_cluster),
    section("Keyspace", true, about_keyspace),
];

impl Section {
    /// Whether a word of the request asks for this section.
    fn is_meant(&self, word: &[u8]) -> bool {
        is(word, self.title)
            || is(word, "all")
            || is(word, "everything")
            || (self.default && is(word, "default"))
            || (self.title == "Modules" && is(word, "module_list"))
    }
}

/// `INFO [section ...]`
fn info(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    // What this session has counted in the batch so far is to be seen as well.
    c.settle_counts();
    let wanted: Vec<&Section> = SECTIONS
        .iter()
        .filter(|section| match args.len() {
            1 => section.default,
            _ => args.from(1).any(|word| section.is_meant(word)),
        })
        .collect();
    let surveyed = ["Memory", "Keyspace"];
    let survey = if wanted
        .iter()
        .any(|section| surveyed.contains(&section.title))
    {
        Survey::take(c)
    } else {
        Survey::default()
    };
    let mut text = Text(String::with_capacity(4096), survey);
    for section in wanted {
        if !text.0.is_empty() {
            text.0.push_str("\r\n");
        }
        text.line(format_args!("# {}", section.title));
        (section.write)(&mut text, c.server);
    }
    c.out.verbatim("txt", text.0.as_bytes());
    Ok(())
}

/// All but what the databases have to tell, which may be locked: for the report of a crash.
pub(super) fn report(server: &Server) -> String {
    let mut text = Text(String::with_capacity(4096), Survey::default());
    for section in SECTIONS
        .iter()
        .filter(|section| section.title != "Keyspace")
    {
        text.line(format_args!("# {}", section.title));
        (section.write)(&mut text, server);
    }
    text.0
}

/// What has been found out about the databases, one shard after the other.
#[derive(Default)]
pub(super) struct Survey {
    databases: Vec<Keys>,
    /// Bytes of the tables of all databases, without what their entries own.
    tables: u64,
    /// Bytes of memory in use, before the reply takes any.
    used: u64,
    /// Of these, what belongs to the stream, and what eviction leaves aside.
    stream: StreamMemory,
    /// See `stream`.
    aside: Uncounted,
}

/// Memory in use, with what of it belongs to the stream and what eviction leaves aside. They are of one
/// moment, unless that goes up and down all the time: what is just being let go is in neither, or in
/// both.
fn memory_in_use(server: &Server) -> (u64, StreamMemory, Uncounted) {
    for _ in 0..MOMENTS {
        let (aside, stream) = (Uncounted::of(server), StreamMemory::of(server));
        let used = sys::used_memory() as u64;
        if Uncounted::of(server) == aside {
            return (used, stream, aside);
        }
    }
    let used = sys::used_memory() as u64;
    (used, StreamMemory::of(server), Uncounted::of(server))
}

impl Survey {
    fn take(c: &mut Ctx<'_>) -> Survey {
        let (now, databases) = (now_ms(), c.server.store.databases());
        let (used, stream, aside) = memory_in_use(c.server);
        let mut survey = Survey {
            databases: vec![Keys::default(); databases],
            tables: 0,
            used,
            stream,
            aside,
        };
        for number in 0..SHARDS {
            c.db.in_shard(number, false, |db| {
                let shard = db.locks.shard(number);
                for (number, keys) in survey.databases.iter_mut().enumerate() {
                    keys.add(shard, number, now);
                    survey.tables += shard.db(number).memory() as u64;
                }
            });
        }
        survey
    }
}

/// The reply as it grows, and what the databases have to tell.
pub(super) struct Text(String, Survey);

impl Text {
    pub(super) fn line(&mut self, line: impl Display) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "{line}\r\n");
    }

    pub(super) fn field(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("{name}:{value}"));
    }

    /// A number of bytes, and the same again for people.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.line(format_args!("{name}_human:{}", bytes_to_human(bytes)));
    }

    /// Fields about what does not exist or has not happened.
    fn zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.field(name, 0));
    }

    /// A ratio and the difference in bytes behind it.
    fn compare(&mut self, name: &str, bytes_name: &str, part: u64, whole: u64) {
        self.line(format_args!(
            "{name}:{:.2}",
            part as f64 / whole.max(1) as f64
        ));
        self.field(bytes_name, part as i64 - whole as i64);
    }
}

fn about_server(text: &mut Text, server: &Server) {
    let system = sys::uname();
    let uptime = server.started_at.elapsed().as_secs();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let hz = server.config.int(id::HZ);
    let build = siphash12(
        (0, 0),
        concat!(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")).as_bytes(),
    );
    text.field("redis_version", REDIS_VERSION);
    text.field("redis_git_sha1", "00000000");
    text.field("redis_git_dirty", 0);
    text.line(format_args!("redis_build_id:{build:016x}"));
    text.field("redis_mode", "standalone");
    text.line(format_args!(
        "os:{} {} {}",
        system.sysname, system.release, system.machine
    ));
    text.field("arch_bits", usize::BITS);
    text.field("monotonic_clock", "POSIX clock_gettime");
    // There is no event loop: sessions are served by threads that read.
    text.field("multiplexing_api", "threads");
    text.field("atomicvar_api", "rust-std");
    // What Redis says when another compiler has made it.
    text.field("gcc_version", "0.0.0");
    text.field("process_id", std::process::id());
    text.field("process_supervised", process::supervised());
    text.field("run_id", &server.run_id);
    text.field("tcp_port", server.config.int(id::PORT));
    text.field("server_time_usec", now.as_micros());
    text.field("uptime_in_seconds", uptime);
    text.field("uptime_in_days", uptime / (24 * 3600));
    text.field("hz", hz);
    text.field("configured_hz", hz);
    text.field("lru_clock", now.as_secs() & 0xff_ffff);
    let executable = std::env::current_exe().unwrap_or_default();
    text.field("executable", executable.display());
    let file = server.config_file.clone().unwrap_or_default();
    text.field("config_file", file.display());
    text.field("io_threads_active", 0);
    if let Some(left) = server.grace.left() {
        text.field("shutdown_in_milliseconds", left.as_millis());
    }
    listeners(text, server);
}

/// Where the server listens, in the words of the configuration.
fn listeners(text: &mut Text, server: &Server) {
    let port = server.config.int(id::PORT);
    if port > 0 {
        let words = server.config.words(id::BIND);
        let bound: String = words
            .iter()
            .map(|word| format!(",bind={}", String::from_utf8_lossy(word)))
            .collect();
        text.line(format_args!("listener0:name=tcp{bound},port={port}"));
    }
    let path = server.config.str(id::UNIXSOCKET);
    if !path.is_empty() {
        text.line(format_args!(
            "listener1:name=unix,bind={}",
            String::from_utf8_lossy(&path)
        ));
    }
}

fn about_clients(text: &mut Text, server: &Server) {
    // Those that have gone while they were blocked are not found out by themselves at once.
    if !server.blocking.is_empty() {
        server.blocking.end_gone(0);
    }
    let clients = server.clients.all();
    let largest = server.clients.largest_buffers();
    let (input, output) = server.stats.recent_peaks(largest);
    let replicas = clients.iter().filter(|client| client.has(REPLICA)).count();
    text.field("connected_clients", clients.len() - replicas);
    text.field("cluster_connections", 0);
    text.field("maxclients", server.config.int(id::MAXCLIENTS));
    text.field("client_recent_max_input_buffer", input);
    text.field("client_recent_max_output_buffer", output);
    let blocked = clients.iter().filter(|client| client.has(BLOCKED)).count();
    text.field("blocked_clients", blocked);
    text.field("tracking_clients", server.tracking.client_count());
    // Three of these are from Redis 7.4.
    text.field("pubsub_clients", server.pubsub.clients());
    text.field("watching_clients", server.watching.client_count());
    text.field("clients_in_timeout_table", server.blocking.with_deadline());
    text.field("total_watched_keys", server.watching.key_count());
    text.field("total_blocking_keys", server.blocking.key_count());
    let on_loss = server.blocking.key_count_on_loss();
    text.field("total_blocking_keys_on_nokey", on_loss);
}

fn about_memory(text: &mut Text, server: &Server) {
    let used = text.1.used;
    let resident = sys::resident_memory();
    let peak = (server.stats.peak_memory.fetch_max(used as usize, Relaxed) as u64).max(used);
    let startup = server.stats.startup_memory.load(Relaxed) as u64;
    let clients: u64 = server
        .clients
        .all()
        .iter()
        .filter(|client| !client.has(REPLICA))
        .map(|client| client.memory() as u64)
        .sum();
    let (stream, aside) = (&text.1.stream, text.1.aside);
    let (backlog, replicas, buffers) = (stream.backlog, stream.replicas, stream.all());
    let overhead = startup + clients + backlog + replicas + text.1.tables;
    let dataset = used.saturating_sub(overhead);
    let percent = |part: u64, whole: u64| part as f64 * 100.0 / whole.max(1) as f64;
    text.bytes("used_memory", used);
    text.bytes("used_memory_rss", resident);
    text.bytes("used_memory_peak", peak);
    text.line(format_args!(
        "used_memory_peak_perc:{:.2}%",
        percent(used, peak)
    ));
    text.field("used_memory_overhead", overhead);
    text.field("used_memory_startup", startup);
    text.field("used_memory_dataset", dataset);
    let perc = percent(dataset, used.saturating_sub(startup));
    text.line(format_args!("used_memory_dataset_perc:{perc:.2}%"));
    // As Redis has it for an allocator that does not tell these apart.
    text.field("allocator_allocated", used);
    text.field("allocator_active", resident);
    text.field("allocator_resident", resident);
    text.bytes("total_system_memory", sys::total_system_memory());
    scripts_memory(text);
    text.bytes("maxmemory", server.config.memory(id::MAXMEMORY));
    text.field("maxmemory_policy", server.config.name(id::MAXMEMORY_POLICY));
    text.compare(
        "allocator_frag_ratio",
        "allocator_frag_bytes",
        resident,
        used,
    );
    text.compare(
        "allocator_rss_ratio",
        "allocator_rss_bytes",
        resident,
        resident,
    );
    text.compare(
        "rss_overhead_ratio",
        "rss_overhead_bytes",
        resident,
        resident,
    );
    text.compare(
        "mem_fragmentation_ratio",
        "mem_fragmentation_bytes",
        resident,
        used,
    );
    text.field("mem_not_counted_for_evict", aside.all());
    text.field("mem_replication_backlog", backlog);
    text.field("mem_total_replication_buffers", buffers);
    text.field("mem_clients_slaves", replicas);
    text.field("mem_clients_normal", clients);
    text.field("mem_cluster_links", 0);
    text.field("mem_aof_buffer", aside.file);
    text.field("mem_allocator", "libc");
    text.field("active_defrag_running", 0);
    text.field("lazyfree_pending_objects", server.lazyfree.pending());
    text.field("lazyfreed_objects", server.lazyfree.freed());
}

/// There are no scripts, so they take nothing.
fn scripts_memory(text: &mut Text) {
    text.zeros(&["used_memory_lua", "used_memory_vm_eval"]);
    text.field("used_memory_lua_human", bytes_to_human(0));
    text.zeros(&[
        "used_memory_scripts_eval",
        "number_of_cached_scripts",
        "number_of_functions",
        "number_of_libraries",
        "used_memory_vm_functions",
    ]);
    text.bytes("used_memory_vm_total", 0);
    text.field("used_memory_functions", 0);
    text.bytes("used_memory_scripts", 0);
}

/// What is on disk, and what is on its way there.
fn about_persistence(text: &mut Text, server: &Server) {
    let (saving, loading, aof) = (&server.saving, &server.loading, &server.aof);
    let job = saving.current();
    let running = |kind| job.as_ref().filter(|job| job.kind == kind);
    let handle = job.as_ref().and_then(|job| job.handle.as_ref());
    let seconds = |kind| running(kind).map_or(-1, |job| now_ms() / 1000 - job.since);
    let copied = handle.map_or(0, |handle| handle.copied());
    text.field("loading", u8::from(loading.shuts_out()));
    let beside = loading.is_active() && loading.is_beside();
    text.field("async_loading", u8::from(beside));
    text.field("current_cow_peak", copied);
    text.field("current_cow_size", copied);
    text.field("current_cow_size_age", 0);
    let (done, all) = handle.map_or((0, 0), |handle| (handle.done(), handle.keys()));
    let share = done as f64 * 100.0 / all.max(1) as f64;
    text.field("current_fork_perc", format!("{share:.2}"));
    text.field("current_save_keys_processed", done);
    text.field("current_save_keys_total", all);
    text.field("rdb_changes_since_last_save", saving.changes(server));
    let saves = running(Kind::Background).is_some();
    text.field("rdb_bgsave_in_progress", u8::from(saves));
    text.field("rdb_last_save_time", saving.last_save.load(Relaxed));
    text.field("rdb_last_bgsave_status", saving.save.status());
    text.field(
        "rdb_last_bgsave_time_sec",
        saving.save.seconds.load(Relaxed),
    );
    text.field("rdb_current_bgsave_time_sec", seconds(Kind::Background));
    text.field("rdb_saves", saving.saves.load(Relaxed));
    text.field("rdb_last_cow_size", saving.save.copied.load(Relaxed));
    text.field("rdb_last_load_keys_expired", loading.expired.load(Relaxed));
    text.field("rdb_last_load_keys_loaded", loading.keys.load(Relaxed));
    let state = aof.state();
    text.field("aof_enabled", u8::from(state != AofState::Off));
    let rewrites = running(Kind::Rewrite).is_some();
    text.field("aof_rewrite_in_progress", u8::from(rewrites));
    let (_, scheduled) = saving.scheduled();
    text.field("aof_rewrite_scheduled", u8::from(scheduled));
    text.field(
        "aof_last_rewrite_time_sec",
        saving.rewrite.seconds.load(Relaxed),
    );
    text.field("aof_current_rewrite_time_sec", seconds(Kind::Rewrite));
    text.field("aof_last_bgrewrite_status", saving.rewrite.status());
    text.field("aof_rewrites", saving.rewrite.successes.load(Relaxed));
    text.field(
        "aof_rewrites_consecutive_failures",
        saving.rewrite.failures.load(Relaxed),
    );
    let written = aof.failure().is_none();
    text.field("aof_last_write_status", if written { "ok" } else { "err" });
    text.field("aof_last_cow_size", saving.rewrite.copied.load(Relaxed));
    text.zeros(&["module_fork_in_progress", "module_fork_last_cow_size"]);
    if state != AofState::Off {
        text.field("aof_current_size", aof.size.load(Relaxed));
        text.field("aof_base_size", aof.base_size.load(Relaxed));
        text.field("aof_pending_rewrite", 0);
        text.field("aof_buffer_length", server.log.waiting());
        text.field("aof_pending_bio_fsync", u8::from(aof.is_syncing()));
        text.field("aof_delayed_fsync", aof.delayed.load(Relaxed));
    }
    if loading.is_active() {
        about_loading(text, server);
    }
}

fn about_loading(text: &mut Text, server: &Server) {
    let loading = &server.loading;
    let (since, total) = (loading.since.load(Relaxed), loading.total.load(Relaxed));
    let loaded = loading.loaded.load(Relaxed);
    let elapsed = (now_ms() / 1000 - since).max(1) as u64;
    text.field("loading_start_time", since);
    text.field("loading_total_bytes", total);
    text.field("loading_rdb_used_mem", loading.writer_memory.load(Relaxed));
    text.field("loading_loaded_bytes", loaded);
    let share = loaded as f64 * 100.0 / total.max(1) as f64;
    text.field("loading_loaded_perc", format!("{share:.2}"));
    let rate = (loaded / elapsed).max(1);
    text.field("loading_eta_seconds", total.saturating_sub(loaded) / rate);
}

fn about_stats(text: &mut Text, server: &Server) {
    let stats = &server.stats;
    let (totals, rates) = (stats.totals(), stats.rates());
    let kbps = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    text.field(
        "total_connections_received",
        stats.connections.load(Relaxed),
    );
    text.field("total_commands_processed", totals.commands);
    text.field("instantaneous_ops_per_sec", rates.commands);
    text.field("total_net_input_bytes", totals.input_bytes);
    text.field("total_net_output_bytes", totals.output_bytes);
    let (repl_input, repl_output) = stats.repl_bytes();
    text.field("total_net_repl_input_bytes", repl_input);
    text.field("total_net_repl_output_bytes", repl_output);
    text.field("instantaneous_input_kbps", kbps(rates.input));
    text.field("instantaneous_output_kbps", kbps(rates.output));
    text.field("instantaneous_input_repl_kbps", kbps(rates.repl_input));
    text.field("instantaneous_output_repl_kbps", kbps(rates.repl_output));
    text.field(
        "rejected_connections",
        stats.rejected_connections.load(Relaxed),
    );
    text.field("sync_full", stats.sync_full.load(Relaxed));
    text.field("sync_partial_ok", stats.sync_partial_ok.load(Relaxed));
    text.field("sync_partial_err", stats.sync_partial_err.load(Relaxed));
    text.field("expired_subkeys", totals.expired_fields);
    text.field("expired_keys", totals.expired);
    // The sweeper knows what is due and does not stop before it is gone, so that next to nothing of
    // what has expired is still there.
    text.field("expired_stale_perc", "0.00");
    text.zeros(&["expired_time_cap_reached_count"]);
    let swept = stats.expire_micros.load(Relaxed) / 1000;
    text.field("expire_cycle_cpu_milliseconds", swept);
    text.field("evicted_keys", totals.evicted);
    text.field("evicted_clients", stats.evicted_clients.load(Relaxed));
    let (total, current) = server.eviction.exceeded(server);
    text.field("total_eviction_exceeded_time", total / 1000);
    text.field("current_eviction_exceeded_time", current / 1000);
    text.field("keyspace_hits", totals.hits);
    text.field("keyspace_misses", totals.misses);
    text.field("pubsub_channels", server.pubsub.count(Listening::Channel));
    text.field("pubsub_patterns", server.pubsub.count(Listening::Pattern));
    text.field(
        "pubsubshard_channels",
        server.pubsub.count(Listening::Shard),
    );
    text.field("latest_fork_usec", server.saving.held_up.load(Relaxed));
    text.field("total_forks", server.saving.begun.load(Relaxed));
    text.field("migrate_cached_sockets", server.targets.len());
    text.field(
        "slave_expires_tracked_keys",
        server.replication.own_keys.len(),
    );
    text.zeros(&[
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
    ]);
    text.field("tracking_total_keys", server.tracking.key_count());
    text.field("tracking_total_items", server.tracking.item_count());
    text.field("tracking_total_prefixes", server.tracking.prefix_count());
    let unexpected = stats.unexpected_errors.load(Relaxed);
    text.field("unexpected_error_replies", unexpected);
    text.field("total_error_replies", totals.errors);
    text.field("dump_payload_sanitizations", 0);
    text.field("total_reads_processed", totals.reads);
    text.field("total_writes_processed", totals.writes);
    text.zeros(&[
        "io_threaded_reads_processed",
        "io_threaded_writes_processed",
    ]);
    // These two have their names from Redis 7.4.
    let queries = stats.query_buffer_disconnections.load(Relaxed);
    text.field("client_query_buffer_limit_disconnections", queries);
    let replies = stats.output_buffer_disconnections.load(Relaxed);
    text.field("client_output_buffer_limit_disconnections", replies);
    text.field("reply_buffer_shrinks", stats.reply_shrinks.load(Relaxed));
    text.field("reply_buffer_expands", stats.reply_expands.load(Relaxed));
    text.field("acl_access_denied_auth", stats.auth_denied.load(Relaxed));
    text.field("acl_access_denied_cmd", stats.command_denied.load(Relaxed));
    text.field("acl_access_denied_key", stats.key_denied.load(Relaxed));
    let channels = stats.channel_denied.load(Relaxed);
    text.field("acl_access_denied_channel", channels);
}

fn about_cpu(text: &mut Text, _: &Server) {
    let (user, system, user_children, system_children) = sys::cpu_times();
    let (user_main, system_main) = sys::main_thread_cpu_times();
    for (name, micros) in [
        ("sys", system),
        ("user", user),
        ("sys_children", system_children),
        ("user_children", user_children),
        ("sys_main_thread", system_main),
        ("user_main_thread", user_main),
    ] {
        text.line(format_args!(
            "used_cpu_{name}:{}.{:06}",
            micros / 1_000_000,
            micros % 1_000_000
        ));
    }
}

/// There are none.
fn about_modules(_: &mut Text, _: &Server) {}

fn about_commands(text: &mut Text, server: &Server) {
    for row in &table().rows {
        let stats = server.stats.command(row.id);
        let calls = stats.calls.load(Relaxed);
        let (rejected, failed) = (stats.rejected.load(Relaxed), stats.failed.load(Relaxed));
        if calls + rejected + failed > 0 {
            let micros = stats.nanos.load(Relaxed) / 1000;
            text.line(format_args!(
                "cmdstat_{}:calls={calls},usec={micros},usec_per_call={:.2},\
                 rejected_calls={rejected},failed_calls={failed}",
                row.name,
                micros as f64 / calls.max(1) as f64
            ));
        }
    }
}

fn about_errors(text: &mut Text, server: &Server) {
    for (code, count) in server.stats.errors() {
        // Characters that would break the format.
        let code = String::from_utf8_lossy(&code).replace(['#', ':', '\n', '\r'], "_");
        text.line(format_args!("errorstat_{code}:count={count}"));
    }
}

fn about_latency(text: &mut Text, server: &Server) {
    let percentiles = server.config.percentiles();
    for row in &table().rows {
        let Some(histogram) = server
            .stats
            .command(row.id)
            .histogram()
            .filter(|h| h.count() > 0)
        else {
            continue;
        };
        let micros = |percent: f64| histogram.percentile(percent) as f64 / 1000.0;
        let shown: Vec<String> = percentiles
            .iter()
            .map(|&p| format!("p{p}={:.3}", micros(p)))
            .collect();
        text.line(format_args!(
            "latency_percentiles_usec_{}:{}",
            row.name,
            shown.join(",")
        ));
    }
}

fn about_cluster(text: &mut Text, _: &Server) {
    text.field("cluster_enabled", 0);
}

/// What one database holds.
#[derive(Clone, Copy, Default)]
struct Keys {
    all: usize,
    volatile: usize,
    /// Sum of the times to live that were looked at, in milliseconds, and their number.
    ttl: i64,
    sampled: i64,
}

impl Keys {
    /// Keys looked at for their time to live, in each shard.
    const SAMPLE: usize = 32;

    fn add(&mut self, shard: &Shard, number: usize, now: i64) {
        let db = shard.db(number);
        self.all += db.len();
        self.volatile += db.volatile();
        if db.volatile() == 0 {
            return;
        }
        let left = db
            .iter()
            .take(Self::SAMPLE)
            .filter_map(|entry| Some(entry.key.deadline()? - now));
        for ttl in left.filter(|&ttl| ttl > 0) {
            self.ttl = self.ttl.saturating_add(ttl);
            self.sampled += 1;
        }
    }
}

/// Redis estimates the average time to live from the keys that its expiry cycle meets; here it is
/// that of a sample from each shard, and as there zero while no key with one has been met.
fn about_keyspace(text: &mut Text, _: &Server) {
    let databases = std::mem::take(&mut text.1.databases);
    for (number, keys) in databases
        .iter()
        .enumerate()
        .filter(|(_, keys)| keys.all > 0)
    {
        text.line(format_args!(
            "db{number}:keys={},expires={},avg_ttl={}",
            keys.all,
            keys.volatile,
            keys.ttl / keys.sampled.max(1)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_asked_for_by_name_or_in_groups() {
        let meant = |word: &str| -> Vec<&str> {
            let meant = SECTIONS
                .iter()
                .filter(|section| section.is_meant(word.as_bytes()));
            meant.map(|section| section.title).collect()
        };
        assert_eq!(meant("KEYSPACE"), ["Keyspace"]);
        assert_eq!(meant("module_list"), ["Modules"]);
        assert_eq!(meant("all").len(), SECTIONS.len());
        assert_eq!(meant("Everything"), meant("all"));
        assert!(
            !meant("default").contains(&"Commandstats") && meant("default").contains(&"Server")
        );
        assert!(meant("nonsense").is_empty());
    }

    #[test]
    fn fields_of_bytes_come_twice() {
        let mut text = Text(String::new(), Survey::default());
        text.bytes("used_memory", 2048);
        text.compare("ratio", "bytes", 1500, 2000);
        assert_eq!(
            text.0,
            "used_memory:2048\r\nused_memory_human:2.00K\r\nratio:0.75\r\nbytes:-500\r\n"
        );
    }
}
