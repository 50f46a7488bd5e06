//! From the command line to a running server, and from a signal to an orderly end.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::command::{client_eviction, consequences, crash, eviction, keyspace, table};
use crate::loading;
use crate::net::listener::Listeners;
use crate::net::pool::Pool;
use crate::net::round::Rounds;
use crate::persist::rdb::file;
use crate::server::acl;
use crate::server::client::{BLOCKED, MASTER, REPLICA};
use crate::server::config::{self, Config, Invocation, Loaded, id};
use crate::server::ending;
use crate::server::mail::{self, HOUSEKEEPER, Mail, SWEEPER};
use crate::server::stats::Stats;
use crate::server::{
    REDIS_VERSION, Server, Stop, logger, process, replication, rewriting, saving, syslog, threads,
    watchdog,
};
use crate::util::clock::now_ms;
use crate::{log_notice, log_verbose, log_warning, sys};

/// File descriptors kept free for other things than clients, as in Redis.
const RESERVED_FDS: u64 = 32;
/// Stack of a thread that carries out no commands, in bytes.
const STACK: usize = 256 << 10;

/// Runs the server with the given arguments, and returns when it has ended.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    process::note_start(&args);
    let loaded = match config::load(args) {
        Ok(Invocation::Run(loaded)) => *loaded,
        Ok(Invocation::Version) => return print(&version()),
        Ok(Invocation::Help) => return print(&config::help_text()),
        Err(error) => {
            eprint!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match start(loaded) {
        Ok(code) => code,
        Err(reason) => {
            log_warning!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    // A closed pipe behind `stdis --help | head` is no reason to panic.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn version() -> String {
    format!(
        "stdis server v={} redis={REDIS_VERSION} malloc=libc bits={}\n",
        env!("CARGO_PKG_VERSION"),
        usize::BITS
    )
}

/// Starts everything, waits for the end, and ends everything.
fn start(loaded: Loaded) -> Result<ExitCode, String> {
    let Loaded {
        config,
        file,
        renames,
        users,
        ..
    } = loaded;
    let pairs: Vec<_> = renames
        .iter()
        .map(|rename| (rename.from.clone(), rename.to.clone()))
        .collect();
    if let Err(index) = table::init(&pairs) {
        eprint!(
            "{}",
            renames[index].refuse("No such command in rename-command")
        );
        return Ok(ExitCode::FAILURE);
    }
    let declarations: Vec<_> = users.iter().map(|user| user.words.clone()).collect();
    if let Err((index, reason)) = acl::file::check(&declarations) {
        eprint!("{}", users[index].refuse(&reason));
        return Ok(ExitCode::FAILURE);
    }
    start_log(&config)?;
    // Whoever is supervised stays in the foreground.
    let background = !process::supervise(&config) && config.bool(id::DAEMONIZE);
    if background {
        sys::daemonize().map_err(|error| format!("Can't daemonize: {error}"))?;
    }
    // Before any thread exists, so that all of them inherit the mask.
    sys::install_signals().map_err(|error| format!("Can't install signal handlers: {error}"))?;
    sys::report_crashes(config.bool(id::CRASH_LOG_ENABLED));
    process::avoid_huge_pages(&config);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    sys::tune_allocator(2 * cores, 128 << 10, 1 << 20);
    banner(&config, file.as_deref());
    adjust_maxclients(&config);
    write_pidfile(&config);
    std::panic::set_hook(Box::new(crash::hook));

    let server = Server::new(config, file, table::catalogue());
    server.process.claim_title(&server.config);
    server.process.show_title(&server);
    let server = Arc::new(server);
    threads::watch_over(&server, crash::conclude_thread);
    server.acl.start(&server.config, &declarations)?;
    // From before the first client can come until what happens is logged: what a client did in
    // between would be lost, and a shutdown would save next to nothing over everything.
    let starting = server.loading.start();
    let pool = Pool::new(server.clone());
    Rounds::start(cores, &pool).map_err(|error| format!("Can't start a thread: {error}"))?;
    let listeners = Listeners::start(&server, &pool)?;
    // Test runners read the process id from a line of this form, and connect then.
    log_notice!(
        "Running in standalone mode on port {}, PID: {}",
        server.config.int(id::PORT),
        std::process::id()
    );
    let rebind = listeners.clone();
    server.set_rebind(Box::new(move || rebind.bind_tcp()));
    let loader = Arc::downgrade(&server);
    server.set_reload(Box::new(move |source| match loader.upgrade() {
        Some(server) => loading::on_demand(&server, source),
        None => Ok(()),
    }));
    start_threads(&server).map_err(|error| format!("Can't start a thread: {error}"))?;
    server
        .stats
        .startup_memory
        .store(sys::used_memory(), Ordering::Relaxed);
    logger::set_role(b'M');
    replication::start(&server);
    log_notice!("Server initialized");
    let loaded = loading::at_start(&server);
    if server.loading.is_cancelled() {
        // The server is ending: what may be half of the data set is nobody's to see or save.
        let why = server.wait_for_stop();
        return Ok(stop(&server, &listeners, why));
    }
    if let Err(reason) = loaded {
        // The reason is the last line of the log. Until the process is gone, nobody is to see, or
        // save, what has been loaded.
        std::mem::forget(starting);
        listeners.close();
        remove_files(&server.config);
        return Err(reason);
    }
    start_writers(&server).map_err(|error| format!("Can't start a thread: {error}"))?;
    drop(starting);
    start_link(&server).map_err(|error| format!("Can't start a thread: {error}"))?;
    // A line for each kind of listener.
    if server.config.int(id::PORT) != 0 {
        log_notice!("Ready to accept connections tcp");
    }
    if !server.config.str(id::UNIXSOCKET).is_empty() {
        log_notice!("Ready to accept connections unix");
    }
    // What cannot be set has told the log.
    let _ = server.process.adjust_oom_score(&server);
    process::tell_ready(&server);

    let why = server.wait_for_stop();
    Ok(stop(&server, &listeners, why))
}

fn start_log(config: &Config) -> Result<(), String> {
    let file = config.str(id::LOGFILE);
    let file = (!file.is_empty()).then(|| PathBuf::from(OsString::from_vec(file.to_vec())));
    let level = logger::Level::parse(config.name(id::LOGLEVEL)).unwrap_or(logger::Level::Notice);
    if config.bool(id::SYSLOG_ENABLED) {
        let ident = String::from_utf8_lossy(&config.str(id::SYSLOG_IDENT)).into_owned();
        let facility = config.int(id::SYSLOG_FACILITY) as u8;
        syslog::open(&ident, facility).map_err(|error| format!("Can't log to syslog: {error}"))?;
    }
    logger::init(level, file.clone()).map_err(|error| {
        let name = file.unwrap_or_default();
        format!("Can't open the log file {}: {error}", name.display())
    })
}

/// The first lines of the log.
fn banner(config: &Config, file: Option<&std::path::Path>) {
    log_notice!("oO0OoO0OoO0Oo stdis is starting oO0OoO0OoO0Oo");
    log_notice!(
        "stdis version={}, compatible with Redis {REDIS_VERSION}, bits={}, pid={}",
        env!("CARGO_PKG_VERSION"),
        usize::BITS,
        std::process::id()
    );
    match file {
        Some(file) => log_notice!("Configuration loaded from {}", file.display()),
        None => log_warning!(
            "Warning: no config file specified, using the default config. \
             In order to specify a config file use stdis /path/to/redis.conf"
        ),
    }
    let pending = config.pending_changed();
    if !pending.is_empty() {
        log_warning!(
            "These options are set, but what they control does not exist yet: {}",
            pending.join(", ")
        );
    }
}

/// Raises the limit of open files for `maxclients`, or lowers `maxclients` to what it allows.
fn adjust_maxclients(config: &Config) {
    let wanted = config.int(id::MAXCLIENTS) as u64 + RESERVED_FDS;
    let limit = sys::raise_nofile_limit(wanted);
    if limit < wanted {
        let most = limit.saturating_sub(RESERVED_FDS).max(1);
        log_warning!(
            "You requested maxclients of {} requiring at least {wanted} max file descriptors; the limit is {limit}, \
             so maxclients has been reduced to {most}.",
            wanted - RESERVED_FDS
        );
        config.adjust(id::MAXCLIENTS, most as i64);
    }
}

fn pidfile(config: &Config) -> Option<PathBuf> {
    let path = config.str(id::PIDFILE);
    if path.is_empty() {
        // A daemon has one in any case, as in Redis; who is supervised is none.
        let daemon = config.bool(id::DAEMONIZE) && process::supervised() == "no";
        return daemon.then(|| PathBuf::from("/var/run/redis.pid"));
    }
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(&path)))
}

fn write_pidfile(config: &Config) {
    if let Some(path) = pidfile(config)
        && let Err(error) = std::fs::write(&path, format!("{}\n", std::process::id()))
    {
        log_verbose!("Can't write the pid file {}: {error}", path.display());
    }
}

/// Starts the threads that serve no connection.
fn start_threads(server: &Arc<Server>) -> std::io::Result<()> {
    let sweeper = server.clone();
    threads::essential("sweeper", STACK, move || sweep(&sweeper))?;
    let keeper = server.clone();
    threads::essential("housekeeping", STACK, move || keep_house(&keeper))?;
    let signalled = server.clone();
    threads::essential("signals", STACK, move || wait_for_signals(&signalled))?;
    watchdog::refresh(server)
}

/// Removes expired keys that nobody uses.
fn sweep(server: &Arc<Server>) {
    let paused = || keyspace::sweeper_paused(server);
    let effort = || server.config.int(id::ACTIVE_EXPIRE_EFFORT) as usize;
    let mail = RefCell::new(Mail::new(SWEEPER));
    server.store.sweep_until_stopped(
        paused,
        effort,
        |_, db, gone| {
            threads::fall_over("sweeper");
            consequences::swept(server, &mut mail.borrow_mut(), db, gone);
        },
        |took| {
            let micros = took.as_micros() as u64;
            let spent = &server.stats.expire_micros;
            spent.fetch_add(micros, Ordering::Relaxed);
            let latency = &server.latency;
            latency.note(&server.config, "expire-cycle", took);
            mail.borrow_mut().deliver(server);
        },
    );
}

/// The first signal stops the server in order, a second one while that goes on at once.
fn wait_for_signals(server: &Arc<Server>) {
    loop {
        let signal = sys::wait_for_signal();
        let Some(wish) = server.asked.ask() else {
            logger::log_signal("You insist... exiting now.");
            // The save that is given up has nobody else to clear up behind it.
            let dir = std::env::current_dir().unwrap_or_else(|_| ".".into());
            let _ = std::fs::remove_file(crate::persist::rdb::file::temporary(&dir));
            remove_files(&server.config);
            // What it would have become is not to be.
            let _ = std::fs::remove_file(file::temporary(Path::new("")));
            sys::exit_now(1)
        };
        let (name, why) = match signal {
            sys::Signal::Terminate => ("SIGTERM", Stop::Sigterm),
            sys::Signal::Interrupt => ("SIGINT", Stop::Sigint),
        };
        logger::log_signal(&format!("Received {name} scheduling shutdown..."));
        let server = server.clone();
        let prepare = move || {
            let paused = || server.testing.no_cron.load(Ordering::Relaxed);
            while paused() && server.asked.is_waiting(wish) {
                std::thread::sleep(Duration::from_millis(Stats::SAMPLE_MS as u64));
            }
            if !server.asked.begin(wish) {
                return;
            }
            let manner = ending::by_signal(&server, why == Stop::Sigint);
            if ending::prepare(&server, manner).is_ok() {
                server.stop(why);
            } else {
                log_warning!(
                    "Errors trying to shut down the server. Check the logs for more information."
                );
                server.asked.give_up();
            }
        };
        if let Err(error) = std::thread::Builder::new().spawn(prepare) {
            log_warning!("Can't start a thread to shut down: {error}");
        }
    }
}

/// Starts the thread that writes the append only file where nobody waits for it.
fn start_writers(server: &Arc<Server>) -> std::io::Result<()> {
    let writer = server.clone();
    threads::essential(threads::WRITER, STACK, move || writer.aof.run(&writer))
}

/// Starts the thread that follows a primary, if there is one to follow.
fn start_link(server: &Arc<Server>) -> std::io::Result<()> {
    let server = server.clone();
    // It carries out commands, as many bytes of stack as a client's thread has.
    threads::essential("link", 2 << 20, move || crate::replication::run(server))
}

/// Starts what is due: a save, or a rewrite of the append only file.
fn save_what_is_due(server: &Arc<Server>) {
    let saving = &server.saving;
    if saving.is_busy() || server.loading.is_active() {
        return;
    }
    let (save, rewrite) = saving.scheduled();
    // What fails has told the log, and is tried again.
    let rewrite = rewrite && !rewriting::is_held_back(server);
    if rewrite || rewriting::is_due(server) {
        let _ = rewriting::rewrite_in_background(server);
    } else if save || saving.is_due(server) {
        let _ = saving::save_in_background(server);
    }
}

/// What is due as often as `hz` says, every tenth of a second, and every second.
fn keep_house(server: &Arc<Server>) {
    const TENTH: Duration = Duration::from_millis(Stats::SAMPLE_MS as u64);
    let (mut ticks, mut rounds) = (0u64, 0u64);
    let mut mail = Mail::new(HOUSEKEEPER);
    let mut memory = Waste::default();
    let mut last = Instant::now();
    while !server.is_stopping() {
        // What tests and tools rely on happens ten times a second, however low it is.
        let hz = server.config.int(id::HZ).max(10) as u32;
        std::thread::sleep(Duration::from_secs(1) / hz);
        if server.testing.no_cron.load(Ordering::Relaxed) {
            continue;
        }
        server.testing.stand_still();
        threads::fall_over("housekeeping");
        rounds += 1;
        if !server.blocking.is_empty() {
            server.blocking.end_gone(rounds);
        }
        if server.tracking.is_full(server) {
            // The limit has been lowered.
            server.tracking.make_room(server, &mut mail);
            mail.deliver(server);
        }
        keyspace::expire_own_keys(server, &mut mail);
        eviction::tick(server);
        save_what_is_due(server);
        if last.elapsed() < TENTH {
            continue;
        }
        // What is late by less than a tenth is made up for.
        last = match last.elapsed() < 2 * TENTH {
            true => last + TENTH,
            false => Instant::now(),
        };
        ticks += 1;
        server.stats.sample();
        replication::failover::tick(server);
        server.replication.replicas.tick(server);
        if ticks.is_multiple_of(10) {
            close_idle_clients(server);
            close_slow_readers(server);
            client_eviction::recount(server);
            memory.give_back();
            server.stats.note_peaks(server.clients.largest_buffers());
            server.targets.close_idle();
        }
    }
}

/// How much memory the allocator may hold that is not in use.
#[derive(Default)]
struct Waste {
    /// The most that has been in use since memory was last given back.
    most: usize,
    /// What was in use when it was last looked at.
    last: usize,
}

impl Waste {
    /// As little is not worth the effort.
    const LITTLE: usize = 8 << 20;

    /// Gives memory back to the system once much less is in use than before. That takes a while, in
    /// which others may have to wait for memory, so not as long as there is more and more of it.
    fn give_back(&mut self) {
        let used = sys::used_memory();
        self.most = self.most.max(used);
        let still = self.last.abs_diff(used) <= Self::LITTLE / 8;
        self.last = used;
        if still && self.most - used >= Self::LITTLE.max(self.most / 4) {
            sys::trim();
            self.most = used;
        }
    }
}

/// Closes clients that have been silent for longer than `timeout`.
fn close_idle_clients(server: &Server) {
    let timeout = server.config.int(id::TIMEOUT);
    if timeout == 0 {
        return;
    }
    let now = now_ms();
    for client in server.clients.all() {
        if client.idle_ms(now) / 1000 > timeout && !client.has_any(&[BLOCKED, REPLICA, MASTER]) {
            log_verbose!("Closing idle client");
            client.kill();
        }
    }
}

/// Closes clients that have been above the soft limit of their output for too long, or are above a
/// hard one that has been lowered.
fn close_slow_readers(server: &Server) {
    for client in server.clients.all() {
        let limit = server.config.output_limit(client.output_class());
        if limit.soft.max(limit.hard) > 0 && client.is_over_limit(limit) {
            server
                .stats
                .output_buffer_disconnections
                .fetch_add(1, Ordering::Relaxed);
            server.remove_client(&client);
            mail::close_slow(&client);
        }
    }
}

/// Ends everything.
fn stop(server: &Arc<Server>, listeners: &Listeners, why: Stop) -> ExitCode {
    log_notice!(
        "User requested shutdown...{}",
        if why == Stop::Command {
            " (by the SHUTDOWN command)"
        } else {
            ""
        }
    );
    process::tell("STOPPING=1\n");
    listeners.close();
    server.store.stop_sweeper();
    server.replication.replicas.flush(server);
    server.log.close();
    server.pause.end_all();
    for client in server.clients.all() {
        client.kill();
    }
    remove_files(&server.config);
    log_warning!("stdis is now ready to exit, bye bye...");
    ExitCode::SUCCESS
}

fn remove_files(config: &Config) {
    if let Some(path) = pidfile(config) {
        log_notice!("Removing the pid file.");
        let _ = std::fs::remove_file(path);
    }
    let socket = config.str(id::UNIXSOCKET);
    if !socket.is_empty() {
        log_notice!("Removing the unix socket file.");
        let _ = std::fs::remove_file(std::ffi::OsStr::from_bytes(&socket));
    }
}
