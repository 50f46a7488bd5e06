//! `SCRIPT KILL`. There are no scripts here, so none is ever running; a sentinel asks all the same
//! when a server has been out of reach for a while, and takes the answer for a sign of life.
//! <https://redis.io/docs/latest/commands/script-kill/>

use super::error::{Error, Outcome};
use super::help::help;
use super::spec::*;
use super::{Args, Ctx};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("script", -2, super::container)
    .docs(
        Group::Scripting,
        "2.6.0",
        "Depends on the subcommand",
        "Groups the commands about Lua scripts",
    )
    .subcommands(SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    Command::new("help", 2, script_help)
        .flags(LOADING.or(STALE))
        .acl(CAT_SCRIPTING)
        .docs(
            Group::Scripting,
            "5.0.0",
            "O(1)",
            "Lists the SCRIPT subcommands",
        ),
    Command::new("kill", 2, script_kill)
        .flags(NOSCRIPT.or(ALLOW_BUSY))
        .acl(CAT_SCRIPTING)
        .docs(
            Group::Scripting,
            "2.6.0",
            "O(1)",
            "Ends the script that is running",
        )
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"]),
];

const NO_SCRIPT: Error = Error::new("NOTBUSY No scripts in execution right now.");

/// `SCRIPT KILL`
fn script_kill(_: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    Err(NO_SCRIPT)
}

/// `SCRIPT HELP`
fn script_help(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    help(c, args, HELP)
}

const HELP: &[&str] = &["KILL", "    End the script that is running."];
