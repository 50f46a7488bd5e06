//! `COMMAND DOCS`: the documentation of commands, from which redis-cli makes its hints.
//!
//! The arguments come from the rows' notation ([`super::docs`]).
//! <https://redis.io/docs/latest/commands/command-docs/>

use super::docs::{self, Arg, Kind};
use super::introspection::{commands, names};
use super::table::Row;
use super::{Args, Ctx, Outcome, table};
use crate::resp::Reply;

/// `COMMAND DOCS [command-name ...]`
pub fn command_docs(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let rows: Vec<&Row> = match args.len() {
        2 => commands(),
        _ => args
            .from(2)
            .filter_map(|name| table().find_full(name))
            .collect(),
    };
    map_of(c.out, &rows);
    Ok(())
}

/// A map of names and documentation.
fn map_of(out: &mut Reply, rows: &[&Row]) {
    out.map(rows.len());
    for row in rows {
        out.bulk(row.name.as_bytes());
        command(out, row);
    }
}

/// The documentation of one command.
fn command(out: &mut Reply, row: &Row) {
    let spec = row.spec;
    // A test reads the notation of every row, so there is nothing to report here.
    let arguments = docs::parse(spec.args).unwrap_or_default();
    let (since, by) = spec.deprecated.unzip();
    let mut flags = Vec::new();
    if spec.deprecated.is_some() {
        flags.push("deprecated");
    }
    if spec.syscmd {
        flags.push("syscmd");
    }
    let texts = [
        ("summary", Some(spec.summary)),
        ("since", Some(spec.since)),
        ("group", Some(spec.group.name())),
        ("complexity", Some(spec.complexity)),
    ];
    let more = [("deprecated_since", since), ("replaced_by", by)];
    let given =
        |texts: &[(&str, Option<&str>)]| texts.iter().filter(|(_, text)| is_given(*text)).count();
    let others = [
        !flags.is_empty(),
        !spec.history.is_empty(),
        !arguments.is_empty(),
        !row.subcommands.is_empty(),
    ];
    out.map(given(&texts) + given(&more) + others.iter().filter(|&&there| there).count());
    texts
        .iter()
        .for_each(|(name, text)| field(out, name, *text));
    if !flags.is_empty() {
        out.bulk(b"doc_flags");
        names(out, flags);
    }
    more.iter().for_each(|(name, text)| field(out, name, *text));
    if !spec.history.is_empty() {
        out.bulk(b"history");
        out.set(spec.history.len());
        for (since, change) in spec.history {
            out.array(2);
            out.bulk(since.as_bytes());
            out.bulk(change.as_bytes());
        }
    }
    if !arguments.is_empty() {
        out.bulk(b"arguments");
        list_of(out, &arguments);
    }
    if !row.subcommands.is_empty() {
        out.bulk(b"subcommands");
        map_of(out, &row.subcommands);
    }
}

/// Whether there is a text to show: there is, and it is not empty.
fn is_given(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

/// A field with a text, if there is one to show.
fn field(out: &mut Reply, name: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.bulk(name.as_bytes());
        out.bulk(text.as_bytes());
    }
}

fn list_of(out: &mut Reply, args: &[Arg]) {
    out.array(args.len());
    args.iter().for_each(|arg| argument(out, arg));
}

/// One argument. A token may be the empty string, and is shown even so.
fn argument(out: &mut Reply, arg: &Arg) {
    let nests = matches!(arg.kind, Kind::OneOf | Kind::Block);
    let display = (!nests).then(|| arg.display_text.as_ref().unwrap_or(&arg.name));
    let flags: Vec<&str> = arg.flags().collect();
    let more = [
        ("token", &arg.token),
        ("since", &arg.since),
        ("deprecated_since", &arg.deprecated_since),
    ];
    let optional = [
        display.is_some(),
        arg.key_spec.is_some(),
        !flags.is_empty(),
        nests,
    ];
    let fields = optional.iter().filter(|&&there| there).count();
    out.map(2 + fields + more.iter().filter(|(_, text)| text.is_some()).count());
    let mut text = |name: &str, text: &str| {
        out.bulk(name.as_bytes());
        out.bulk(text.as_bytes());
    };
    text("name", &arg.name);
    text("type", arg.kind.name());
    if let Some(display) = display {
        text("display_text", display);
    }
    if let Some(index) = arg.key_spec {
        out.bulk(b"key_spec_index");
        out.count(index);
    }
    for (name, text) in more {
        if let Some(text) = text {
            out.bulk(name.as_bytes());
            out.bulk(text.as_bytes());
        }
    }
    if !flags.is_empty() {
        out.bulk(b"flags");
        names(out, flags);
    }
    if nests {
        out.bulk(b"arguments");
        list_of(out, &arg.args);
    }
}

#[cfg(test)]
mod tests {
    use super::super::FAMILIES;
    use super::super::spec::Command;
    use super::*;

    /// Every row's arguments follow the notation, and name only key specifications that exist.
    #[test]
    fn arguments_of_all_rows() {
        fn check(command: &Command, args: &[docs::Arg]) {
            for arg in args {
                assert!(
                    arg.key_spec.is_none_or(|index| index < command.keys.len()),
                    "{}: {arg:?}",
                    command.name
                );
                check(command, &arg.args);
            }
        }
        fn walk(commands: &[Command]) {
            for command in commands {
                let args = docs::parse(command.args)
                    .unwrap_or_else(|error| panic!("{}: {error}", command.name));
                check(command, &args);
                walk(command.subcommands);
            }
        }
        for family in FAMILIES {
            walk(family);
        }
    }
}
