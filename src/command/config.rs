//! `CONFIG`: options while the server runs.
//!
//! What options there are and how their values read is in [`crate::server::config`]; here is what
//! has to happen when some of them change. Most are read where they count and need nothing.
//! <https://redis.io/docs/latest/commands/config-set/>

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::client_eviction;
use super::error::{Error, SYNTAX};
use super::eviction;
use super::help::help;
use super::spec::*;
use super::{Args, Ctx, Outcome};
use crate::persist::aof::files::State;
use crate::server::config::{Caller, OptId, id};
use crate::server::logger::{self, Level};
use crate::server::replication::replicas;
use crate::server::rewriting;
use crate::server::{Server, acl, watchdog};
use crate::sys;
use crate::{log_notice, log_warning};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("config", -2, super::container)
    .docs(
        Group::Server,
        "2.0.0",
        "Depends on the subcommand",
        "Groups the commands about the configuration",
    )
    .subcommands(CONFIG_SUBCOMMANDS)];

const CONFIG_SUBCOMMANDS: &[Command] = &[
    Command::new("get", -3, config_get)
        .flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE))
        .docs(
            Group::Server,
            "2.0.0",
            "O(N), N the number of parameters",
            "Tells the values of the parameters that fit the patterns",
        )
        .args("parameter:{parameter}...")
        .history(&[("7.0.0", "Takes several patterns")]),
    Command::new("help", 2, config_help)
        .flags(LOADING.or(STALE))
        .docs(
            Group::Server,
            "5.0.0",
            "O(1)",
            "Lists the CONFIG subcommands",
        ),
    Command::new("resetstat", 2, config_resetstat)
        .flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE))
        .docs(
            Group::Server,
            "2.0.0",
            "O(1)",
            "Sets the statistics of INFO back to zero",
        ),
    Command::new("rewrite", 2, config_rewrite)
        .flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE))
        .docs(
            Group::Server,
            "2.8.0",
            "O(1)",
            "Writes the parameters in force back into the configuration file",
        )
        .slow(),
    Command::new("set", -4, config_set)
        .flags(ADMIN.or(NOSCRIPT).or(LOADING).or(STALE))
        .docs(
            Group::Server,
            "2.0.0",
            "O(N), N the number of parameters",
            "Changes parameters while the server runs, all of them or none",
        )
        .args("parameter_value:{parameter value}...")
        .history(&[("7.0.0", "Sets several parameters at once")])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
];

const NO_FILE: Error = Error::new("ERR The server is running without a config file");

/// File descriptors that are not for clients, as Redis counts them.
const RESERVED_FDS: u64 = 32;

/// The least that `CONFIG SET repl-backlog-size` sets.
const LEAST_BACKLOG: u64 = 16 << 10;

/// `CONFIG GET parameter ...`
fn config_get(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let patterns: Vec<&[u8]> = args.from(2).collect();
    let found = c.server.config.get(&patterns);
    c.out.map(found.len());
    for (name, value) in &found {
        c.out.bulk(name);
        c.out.bulk(value);
    }
    Ok(())
}

/// `CONFIG SET parameter value ...`
fn config_set(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if !args.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    let pairs: Vec<(&[u8], &[u8])> = (2..args.len())
        .step_by(2)
        .map(|at| (&args[at], &args[at + 1]))
        .collect();
    let caller = Caller {
        local: c.session.client.address.loopback,
        loading: c.server.loading.is_active(),
    };
    let (server, in_transaction) = (c.server, c.db.in_transaction);
    let result = server.config.set(&pairs, caller, &mut |option| {
        apply(server, option, in_transaction)
    });
    result.map_err(|error| Error::raw(error.as_bytes().to_vec()))?;
    // What a transaction has locked may be what they are at who have to go.
    if !in_transaction {
        client_eviction::enforce(server, &c.session.client);
    }
    c.out.ok();
    Ok(())
}

/// Makes the new value of an option take effect.
///
/// # Errors
/// Why it cannot, in Redis' words.
fn apply(server: &Arc<Server>, option: OptId, in_transaction: bool) -> Result<(), String> {
    if option == id::LOGLEVEL {
        if let Some(level) = Level::parse(server.config.name(id::LOGLEVEL)) {
            logger::set_level(level);
        }
    } else if [id::MAXMEMORY_POLICY, id::LFU_LOG_FACTOR, id::LFU_DECAY_TIME].contains(&option) {
        server.refresh_access_policy();
    } else if option == id::MAXMEMORY_CLIENTS {
        client_eviction::limit_changed(server);
    } else if option == id::MAXMEMORY {
        eviction::limit_changed(server);
    } else if [id::SLOWLOG_LOG_SLOWER_THAN, id::LATENCY_MONITOR_THRESHOLD].contains(&option) {
        server.refresh_slow();
    } else if option == id::REQUIREPASS {
        let password = server.config.str(id::REQUIREPASS);
        server.acl.set_default_password(&password);
    } else if option == id::APPENDFSYNC {
        server.aof.refresh(server);
    } else if option == id::REPL_BACKLOG_SIZE {
        let limit = server
            .config
            .memory(id::REPL_BACKLOG_SIZE)
            .max(LEAST_BACKLOG);
        server.config.adjust(id::REPL_BACKLOG_SIZE, limit as i64);
        server.log.set_stream_limit(limit as usize);
    } else if option == id::CLIENT_OUTPUT_BUFFER_LIMIT {
        replicas::set_hard_limit(server);
    } else if option == id::AOF_TIMESTAMP_ENABLED {
        let yes = server.config.bool(id::AOF_TIMESTAMP_ENABLED);
        server.log.set_annotations(yes);
    } else if option == id::AOF_DISABLE_AUTO_GC {
        if !server.config.bool(id::AOF_DISABLE_AUTO_GC)
            && let Some(files) = &mut server.aof.setup().files
        {
            // What cannot be deleted is in nobody's way; the log has been told.
            let _ = files.delete_history();
        }
    } else if option == id::APPENDONLY {
        if in_transaction {
            // Its locks are in the way until it is over.
            if server.config.bool(id::APPENDONLY) && server.aof.state() == State::Off {
                log_notice!(
                    "AOF was enabled during a transaction. An AOF background was scheduled to start when possible."
                );
            }
            let server = server.clone();
            let thread = std::thread::Builder::new().name("switch".into());
            let done = thread.spawn(move || drop(switch_aof(&server)));
            done.map_err(|error| error.to_string())?;
        } else {
            switch_aof(server)?;
        }
    } else if option == id::PORT {
        server
            .rebind()
            .map_err(|_| "Unable to listen on this port. Check server logs.".to_owned())?;
        server.process.show_title(server);
    } else if option == id::BIND {
        server
            .rebind()
            .map_err(|_| "Failed to bind to specified addresses.".to_owned())?;
        server.process.show_title(server);
    } else if [id::OOM_SCORE_ADJ_OPT, id::OOM_SCORE_ADJ_VALUES].contains(&option) {
        server.process.adjust_oom_score(server)?;
    } else if option == id::PROC_TITLE_TEMPLATE {
        server.process.show_title(server);
    } else if option == id::WATCHDOG_PERIOD {
        watchdog::refresh(server).map_err(|error| error.to_string())?;
    } else if option == id::CRASH_LOG_ENABLED {
        sys::report_crashes(server.config.bool(id::CRASH_LOG_ENABLED));
    } else if option == id::MAXCLIENTS {
        let wanted = server.config.int(id::MAXCLIENTS) as u64 + RESERVED_FDS;
        let limit = sys::raise_nofile_limit(wanted);
        if limit < wanted {
            return Err(format!(
                "The operating system is not able to handle the specified number of clients, try with {}",
                limit.saturating_sub(RESERVED_FDS)
            ));
        }
    }
    Ok(())
}

/// Switches the append only file on or off.
fn switch_aof(server: &Arc<Server>) -> Result<(), String> {
    let (wanted, state) = (server.config.bool(id::APPENDONLY), server.aof.state());
    match (wanted, state) {
        (true, State::Off) => rewriting::switch_on(server),
        (false, State::On | State::Waiting) => {
            rewriting::switch_off(server);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `CONFIG RESETSTAT`
fn config_resetstat(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    // What this session has counted so far is to be forgotten as well.
    c.settle_counts();
    c.server.stats.reset();
    c.server.lazyfree.forget_freed();
    c.server.eviction.reset();
    let (saving, aof) = (&c.server.saving, &c.server.aof);
    for counter in [&saving.begun, &saving.held_up, &aof.delayed] {
        counter.store(0, Ordering::Relaxed);
    }
    c.out.ok();
    Ok(())
}

/// `CONFIG REWRITE`
fn config_rewrite(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    match rewrite_file(c.server, false)? {
        Ok(()) => log_warning!("CONFIG REWRITE executed with success."),
        Err(reason) => {
            log_warning!("CONFIG REWRITE failed: {reason}");
            return Err(Error::text(format!("ERR Rewriting config file: {reason}")));
        }
    }
    c.out.ok();
    Ok(())
}

/// Writes what is in force into the config file; with `all`, what is at its default as well. The
/// reason of the system comes back when that fails.
///
/// # Errors
/// There is no config file.
pub(super) fn rewrite_file(server: &Server, all: bool) -> Outcome<Result<(), String>> {
    let file = server.config_file.as_deref().ok_or(NO_FILE)?;
    // Users are told of in one file only.
    let users = match server.config.str(id::ACLFILE).is_empty() {
        true => server
            .acl
            .all()
            .iter()
            .map(|user| acl::file::describe(user))
            .collect(),
        false => Vec::new(),
    };
    Ok(server.config.rewrite(file, users, all))
}

/// `CONFIG HELP`
fn config_help(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    help(c, args, HELP)
}

const HELP: &[&str] = &[
    "GET <pattern> [<pattern> [...]]",
    "    Tell the values of the parameters whose names fit a glob-style pattern.",
    "RESETSTAT",
    "    Set the statistics of INFO back to zero.",
    "REWRITE",
    "    Write the parameters in force back into the configuration file.",
    "SET <parameter> <value> [<parameter> <value> [...]]",
    "    Change parameters, all of them or none.",
];
