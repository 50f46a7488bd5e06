//! The replies of the `HELP` subcommands, and the error that refers to them.

use super::error::Error;
use super::{Args, Ctx, Outcome};

/// Replies with the text of a container's `HELP`: `lines` between the usual first and last ones.
pub fn help(c: &mut Ctx<'_>, args: &Args<'_>, lines: &[&str]) -> Outcome {
    let name = String::from_utf8_lossy(&args[0]).to_ascii_uppercase();
    c.out.array(lines.len() + 3);
    c.out.simple(&format!(
        "{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    ));
    for line in lines.iter().chain(&["HELP", "    Print this help."]) {
        c.out.simple(line);
    }
    Ok(())
}

/// The error for a subcommand whose arguments are too many or make no sense in this number.
pub fn wrong_subcommand(args: &Args<'_>) -> Error {
    const QUOTED: usize = 128;
    let name = String::from_utf8_lossy(&args[0]).to_ascii_uppercase();
    // No further than C would print a string.
    let word = args[1][..args[1].len().min(QUOTED)]
        .split(|&b| b == 0)
        .next()
        .unwrap_or_default();
    let mut text = b"ERR unknown subcommand or wrong number of arguments for '".to_vec();
    text.extend_from_slice(word);
    text.extend_from_slice(format!("'. Try {name} HELP.").as_bytes());
    Error::raw(text)
}
