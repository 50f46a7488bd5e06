//! From the command line to a running server, and from a signal to an orderly end.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::command::{consequences, keyspace, table};
use crate::net::listener::Listeners;
use crate::net::pool::Pool;
use crate::net::round::Rounds;
use crate::server::config::{self, Config, Invocation, Loaded, id};
use crate::server::mail::{self, HOUSEKEEPER, Mail, SWEEPER};
use crate::server::stats::Stats;
use crate::server::{REDIS_VERSION, Server, Stop, logger};
use crate::util::clock::now_ms;
use crate::{log_notice, log_verbose, log_warning, sys};

/// File descriptors kept free for other things than clients, as in Redis.
const RESERVED_FDS: u64 = 32;

/// Runs the server with the given arguments, and returns when it has ended.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
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
    if config.bool(id::DAEMONIZE) {
        sys::daemonize().map_err(|error| format!("Can't daemonize: {error}"))?;
    }
    // Before any thread exists, so that all of them inherit the mask.
    sys::install_signals().map_err(|error| format!("Can't install signal handlers: {error}"))?;
    start_log(&config)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    sys::tune_allocator(2 * cores, 128 << 10, 1 << 20);
    banner(&config, file.as_deref());
    adjust_maxclients(&config);
    write_pidfile(&config);
    log_panics();

    let server = Arc::new(Server::new(config, file, table::table().rows.len()));
    let pool = Pool::new(server.clone());
    Rounds::start(cores, &pool).map_err(|error| format!("Can't start a thread: {error}"))?;
    let listeners = Listeners::start(&server, &pool)?;
    let rebind = listeners.clone();
    server.set_rebind(Box::new(move || rebind.bind_tcp()));
    start_threads(&server).map_err(|error| format!("Can't start a thread: {error}"))?;
    server
        .stats
        .startup_memory
        .store(sys::used_memory(), Ordering::Relaxed);
    logger::set_role(b'M');
    log_notice!("Server initialized");
    log_notice!("Ready to accept connections");

    let why = server.wait_for_stop();
    Ok(stop(&server, &listeners, why))
}

fn start_log(config: &Config) -> Result<(), String> {
    let file = config.str(id::LOGFILE);
    let file = (!file.is_empty()).then(|| PathBuf::from(OsString::from_vec(file.to_vec())));
    let level = logger::Level::parse(config.name(id::LOGLEVEL)).unwrap_or(logger::Level::Notice);
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
    // Test runners read the process id from a line of this form.
    log_notice!(
        "Running in standalone mode on port {}, PID: {}",
        config.int(id::PORT),
        std::process::id()
    );
    if !config.save_points().is_empty() {
        log_warning!(
            "Save points are configured, but nothing is saved yet: a restart starts with an empty data set"
        );
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
        // A daemon has one in any case, as in Redis.
        return config
            .bool(id::DAEMONIZE)
            .then(|| PathBuf::from("/var/run/redis.pid"));
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

/// Panics go to the log, with the place and a backtrace where one is enabled.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let trace = std::backtrace::Backtrace::capture();
        log_warning!(
            "Panic in thread {}: {info}\n{trace}",
            thread.name().unwrap_or("?")
        );
    }));
}

/// Starts the threads that serve no connection.
fn start_threads(server: &Arc<Server>) -> std::io::Result<()> {
    let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new()
            .name(name.into())
            .stack_size(256 << 10)
            .spawn(body)
            .map(drop)
    };
    let sweeper = server.clone();
    spawn(
        "sweeper",
        Box::new(move || {
            let paused = || keyspace::sweeper_paused(&sweeper);
            let mail = RefCell::new(Mail::new(SWEEPER));
            sweeper.store.sweep_until_stopped(
                paused,
                |_, db, gone| consequences::swept(&sweeper, &mut mail.borrow_mut(), db, gone),
                || {
                    mail.borrow_mut().deliver(&sweeper);
                },
            );
        }),
    )?;
    let keeper = server.clone();
    spawn("housekeeping", Box::new(move || keep_house(&keeper)))?;
    let signalled = server.clone();
    spawn("signals", Box::new(move || wait_for_signals(&signalled)))
}

/// The first signal stops the server in order, a second one at once.
fn wait_for_signals(server: &Server) {
    let first = sys::wait_for_signal();
    let (name, why) = match first {
        sys::Signal::Terminate => ("SIGTERM", Stop::Sigterm),
        sys::Signal::Interrupt => ("SIGINT", Stop::Sigint),
    };
    logger::log_signal(&format!("Received {name} scheduling shutdown..."));
    server.stop(why);
    sys::wait_for_signal();
    logger::log_signal("You insist... exiting now.");
    remove_files(&server.config);
    sys::exit_now(1);
}

/// What is due every tenth of a second, and every second.
fn keep_house(server: &Arc<Server>) {
    let mut ticks = 0u64;
    let mut mail = Mail::new(HOUSEKEEPER);
    while !server.is_stopping() {
        std::thread::sleep(Duration::from_millis(Stats::SAMPLE_MS as u64));
        server.stats.sample();
        if !server.blocking.is_empty() {
            server.blocking.end_gone(ticks);
        }
        if server.tracking.is_full(server) {
            // The limit has been lowered.
            server.tracking.make_room(server, &mut mail);
            mail.deliver(server);
        }
        ticks += 1;
        if ticks.is_multiple_of(10) {
            close_idle_clients(server);
            close_slow_readers(server);
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
        if client.idle_ms(now) / 1000 > timeout && !client.has(crate::server::client::BLOCKED) {
            log_verbose!("Closing idle client");
            client.kill();
        }
    }
}

/// Closes clients that have been above the soft limit of their output for too long.
fn close_slow_readers(server: &Server) {
    for client in server.clients.all() {
        let limit = server.config.output_limit(client.output_class());
        if limit.soft > 0 && client.is_over_soft_limit(limit) {
            server
                .stats
                .output_buffer_disconnections
                .fetch_add(1, Ordering::Relaxed);
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
    listeners.close();
    server.store.stop_sweeper();
    server.pause.end();
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
