//! `MODULE`. There are no modules here: none is loaded, and none can be.
//!
//! Loading and unloading are refused as Redis refuses them with `enable-module-command no`, its
//! default; where that option allows them, they fail as they would for a file that is not there.
//! <https://redis.io/docs/latest/commands/module-load/>

use super::error::{Error, Outcome};
use super::help::help;
use super::spec::*;
use super::{Args, Ctx};
use crate::log_warning;
use crate::server::config::{Caller, id};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("module", -2, super::container)
    .docs(
        Group::Server,
        "4.0.0",
        "Depends on the subcommand",
        "Groups the commands about modules",
    )
    .subcommands(SUBCOMMANDS)];

const CHANGES: Flags = ADMIN.or(NOSCRIPT).or(NO_ASYNC_LOADING);

const SUBCOMMANDS: &[Command] = &[
    Command::new("help", 2, module_help)
        .flags(LOADING.or(STALE))
        .docs(
            Group::Server,
            "5.0.0",
            "O(1)",
            "Lists the MODULE subcommands",
        ),
    Command::new("list", 2, module_list)
        .flags(ADMIN.or(NOSCRIPT))
        .docs(
            Group::Server,
            "4.0.0",
            "O(N), N the number of modules",
            "Lists the modules that are loaded",
        )
        .tips(&["nondeterministic_output_order"]),
    Command::new("load", -3, module_load)
        .flags(CHANGES)
        .docs(Group::Server, "4.0.0", "O(1)", "Loads a module")
        .args("path [arg...]"),
    Command::new("loadex", -3, module_load)
        .flags(CHANGES)
        .docs(
            Group::Server,
            "7.0.0",
            "O(1)",
            "Loads a module, with options for it",
        )
        .args("path [CONFIG configs:{name value}]... [ARGS args:{arg}...]"),
    Command::new("unload", 3, module_unload)
        .flags(CHANGES)
        .docs(Group::Server, "4.0.0", "O(1)", "Unloads a module")
        .args("name"),
];

const NOT_ALLOWED: Error = Error::new(
    "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", \
     you can run it from a local connection, otherwise you need to set this option \
     in the configuration file, and then restart the server.",
);
const NOT_LOADED: Error =
    Error::new("ERR Error loading the extension. Please check the server logs.");
const NO_SUCH: Error = Error::new("ERR Error unloading module: no such module with that name");

/// Whether the client may load and unload modules.
fn check(c: &Ctx<'_>) -> Outcome {
    let caller = Caller {
        local: c.session.client.address.loopback,
        ..Caller::default()
    };
    match c.server.config.allows(id::ENABLE_MODULE_COMMAND, caller) {
        true => Ok(()),
        false => Err(NOT_ALLOWED),
    }
}

/// `MODULE LIST`: none.
fn module_list(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    c.out.array(0);
    Ok(())
}

/// `MODULE LOAD path [arg ...]`, `MODULE LOADEX path [CONFIG name value ...] [ARGS arg ...]`
fn module_load(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    check(c)?;
    log_warning!(
        "Module {} failed to load: there are no modules here",
        args[2].escape_ascii()
    );
    Err(NOT_LOADED)
}

/// `MODULE UNLOAD name`
fn module_unload(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    check(c)?;
    Err(NO_SUCH)
}

/// `MODULE HELP`
fn module_help(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    help(c, args, HELP)
}

const HELP: &[&str] = &[
    "LIST",
    "    Reply with the modules that are loaded: none.",
    "LOAD <path> [<arg> ...]",
    "    Refused: there are no modules here.",
    "LOADEX <path> [CONFIG <name> <value> [...]] [ARGS <arg> ...]",
    "    Refused: there are no modules here.",
    "UNLOAD <name>",
    "    Refused: there are no modules here.",
];
