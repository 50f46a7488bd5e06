//! `COMMAND`: the command table as clients see it.
//!
//! Everything is derived from the rows ([`super::spec`]); `COMMAND DOCS` is in
//! [`super::command_docs`].
//! <https://redis.io/docs/latest/commands/command/>

use super::command_docs::command_docs;
use super::error::{Error, SYNTAX};
use super::help::help;
use super::options::is;
use super::spec::*;
use super::table::Row;
use super::{Args, Ctx, Outcome, table};
use crate::resp::{OwnedArgs, Reply};
use crate::util::glob;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new("command", -1, command)
    .flags(LOADING.or(STALE))
    .acl(CAT_CONNECTION)
    .docs(
        Group::Server,
        "2.8.13",
        "O(N), N the number of commands",
        "Describes all commands",
    )
    .tips(&["nondeterministic_output_order"])
    .subcommands(COMMAND_SUBCOMMANDS)];

const COMMAND_SUBCOMMANDS: &[Command] = &[
    Command::new("count", 2, command_count)
        .flags(LOADING.or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Server,
            "2.8.13",
            "O(1)",
            "Tells how many commands there are",
        ),
    Command::new("docs", -2, command_docs)
        .flags(LOADING.or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Server,
            "7.0.0",
            "O(N), N the number of commands asked for",
            "Returns the documentation of commands",
        )
        .args("[command-name...]")
        .tips(&["nondeterministic_output_order"]),
    Command::new("getkeys", -4, command_getkeys)
        .flags(LOADING.or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Server,
            "2.8.13",
            "O(N), N the number of arguments",
            "Tells which arguments of a whole command are keys",
        ),
    Command::new("getkeysandflags", -4, command_getkeysandflags)
        .flags(LOADING.or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Server,
            "7.0.0",
            "O(N), N the number of arguments",
            "Tells which arguments of a whole command are keys, and what happens to each",
        ),
    Command::new("help", 2, command_help)
        .flags(LOADING.or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Server,
            "5.0.0",
            "O(1)",
            "Lists the COMMAND subcommands",
        ),
    Command::new("info", -2, command_info)
        .flags(LOADING.or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Server,
            "2.8.13",
            "O(N), N the number of commands asked for",
            "Describes the given commands, or all",
        )
        .args("[command-name...]")
        .history(&[("7.0.0", "Without names, describes all commands")])
        .tips(&["nondeterministic_output_order"]),
    Command::new("list", -2, command_list)
        .flags(LOADING.or(STALE))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Server,
            "7.0.0",
            "O(N), N the number of commands",
            "Lists the names of commands",
        )
        .args("[FILTERBY filterby:(MODULE module-name | ACLCAT category | PATTERN pattern)]")
        .tips(&["nondeterministic_output_order"]),
];

const UNKNOWN_COMMAND: Error = Error::new("ERR Invalid command specified");
const NO_KEYS: Error = Error::new("ERR The command has no key arguments");
const BAD_ARITY: Error = Error::new("ERR Invalid number of arguments specified for command");
const BAD_ARGUMENTS: Error = Error::new("ERR Invalid arguments specified for command");

/// The commands under their present names, in the order of the table.
pub fn commands() -> Vec<&'static Row> {
    let mut rows: Vec<&'static Row> = table().commands().map(|(_, row)| row).collect();
    rows.sort_unstable_by_key(|row| row.id);
    rows
}

/// `COMMAND`
fn command(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    let rows = commands();
    c.out.array(rows.len());
    rows.into_iter().for_each(|row| describe(c.out, row));
    Ok(())
}

/// `COMMAND COUNT`
fn command_count(c: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    c.out.count(table().commands().len());
    Ok(())
}

/// `COMMAND INFO [command-name ...]`
fn command_info(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    if args.len() == 2 {
        return command(c, args);
    }
    c.out.array(args.len() - 2);
    for name in args.from(2) {
        match table().find_full(name) {
            Some(row) => describe(c.out, row),
            None => c.out.null(),
        }
    }
    Ok(())
}

/// One element of the reply of `COMMAND` and `COMMAND INFO`.
fn describe(out: &mut Reply, row: &Row) {
    let spec = row.spec;
    let (first, last, step) = legacy_range(spec.keys);
    out.array(10);
    out.bulk(row.name.as_bytes());
    out.int(spec.arity.into());
    names(out, spec.flags.and(SHOWN_FLAGS).names().collect());
    for number in [first, last, step] {
        out.int(number as i64);
    }
    let categories: Vec<String> = spec
        .categories()
        .names()
        .map(|name| format!("@{name}"))
        .collect();
    names(out, categories.iter().map(String::as_str).collect());
    out.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    out.set(spec.keys.len());
    spec.keys.iter().for_each(|key| key_spec(out, key));
    if row.subcommands.is_empty() {
        out.set(0);
    } else {
        out.array(row.subcommands.len());
        row.subcommands.iter().for_each(|row| describe(out, row));
    }
}

/// A set of flags: simple strings.
pub fn names(out: &mut Reply, names: Vec<&str>) {
    out.set(names.len());
    names.into_iter().for_each(|name| out.simple(name));
}

/// One key specification.
fn key_spec(out: &mut Reply, spec: &KeySpec) {
    out.map(if spec.notes.is_empty() { 3 } else { 4 });
    if !spec.notes.is_empty() {
        out.bulk(b"notes");
        out.bulk(spec.notes.as_bytes());
    }
    out.bulk(b"flags");
    names(out, spec.flags.names().collect());
    out.bulk(b"begin_search");
    match spec.begin {
        Begin::Index(index) => search(out, "index", &[("index", index as i64)]),
        Begin::Keyword(word, from) => {
            typed(out, "keyword", 2);
            out.bulk(b"keyword");
            out.bulk(word.as_bytes());
            out.bulk(b"startfrom");
            out.int(from as i64);
        }
        Begin::Unknown => typed(out, "unknown", 0),
    }
    out.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            search(
                out,
                "range",
                &[
                    ("lastkey", last as i64),
                    ("keystep", step as i64),
                    ("limit", limit as i64),
                ],
            );
        }
        Find::KeyNum { at, first, step } => {
            search(
                out,
                "keynum",
                &[
                    ("keynumidx", at as i64),
                    ("firstkey", first as i64),
                    ("keystep", step as i64),
                ],
            );
        }
        Find::Unknown => typed(out, "unknown", 0),
    }
}

/// How keys are searched: the type, and the start of a map with `fields` details.
fn typed(out: &mut Reply, kind: &str, fields: usize) {
    out.map(2);
    out.bulk(b"type");
    out.bulk(kind.as_bytes());
    out.bulk(b"spec");
    out.map(fields);
}

/// As [`typed`], with details that are all numbers.
fn search(out: &mut Reply, kind: &str, fields: &[(&str, i64)]) {
    typed(out, kind, fields.len());
    for (name, value) in fields {
        out.bulk(name.as_bytes());
        out.int(*value);
    }
}

/// The `first key, last key, step` triple of `COMMAND INFO`, which older clients read: the plain,
/// consecutive ranges of the key specifications taken together; zeros when there are none.
/// A negative last key counts from the end.
fn legacy_range(keys: &[KeySpec]) -> (isize, isize, isize) {
    let mut ranges = keys
        .iter()
        .filter_map(|spec| match (spec.begin, spec.find) {
            (Begin::Index(first), Find::Range { last, step, .. }) => {
                let first = first as isize;
                Some((
                    first,
                    if last < 0 { last } else { first + last },
                    step as isize,
                ))
            }
            _ => None,
        });
    if keys.len() == 1 {
        return ranges.next().unwrap_or((0, 0, 0));
    }
    let mut whole: Option<(isize, isize)> = None;
    for (first, last, step) in ranges {
        whole = match whole {
            _ if step != 1 => whole,
            None => Some((first, last)),
            // A range that reaches to the end is behind every other.
            Some((begin, end)) if end == first - 1 => Some((
                begin,
                if end < 0 || last < 0 {
                    last.min(end)
                } else {
                    end.max(last)
                },
            )),
            Some(_) => whole,
        };
    }
    whole.map_or((0, 0, 0), |(first, last)| (first, last, 1))
}

/// `COMMAND GETKEYS command [arg ...]`
fn command_getkeys(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    for (key, _) in keys_of(args, c.out)? {
        c.out.bulk(&args[key]);
    }
    Ok(())
}

/// `COMMAND GETKEYSANDFLAGS command [arg ...]`
fn command_getkeysandflags(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    for (key, flags) in keys_of(args, c.out)? {
        c.out.array(2);
        c.out.bulk(&args[key]);
        names(c.out, flags.names().collect());
    }
    Ok(())
}

/// Finds the keys of the command that stands behind the subcommand: their positions and flags.
/// Begins the array of the reply.
fn keys_of(args: &Args<'_>, out: &mut Reply) -> Outcome<Vec<(usize, KeyFlags)>> {
    const BEFORE: usize = 2;
    let mut inner = OwnedArgs::new(args.from(BEFORE));
    let inner = inner.args();
    let mut row = table().find(&inner[0]).ok_or(UNKNOWN_COMMAND)?;
    if !row.subcommands.is_empty() && inner.len() > 1 {
        row = row.subcommand(&inner[1]).ok_or(UNKNOWN_COMMAND)?;
    }
    let has_keys =
        row.spec.find_keys.is_some() || row.spec.keys.iter().any(|key| !key.flags.has(NOT_KEY));
    if !has_keys {
        return Err(NO_KEYS);
    }
    if !row.spec.arity_fits(inner.len()) {
        return Err(BAD_ARITY);
    }
    let keys = row.find_keys(&inner).unwrap_or_default();
    if keys.is_empty() && !row.spec.flags.has(NO_MANDATORY_KEYS) {
        return Err(BAD_ARGUMENTS);
    }
    out.array(keys.len());
    Ok(keys
        .into_iter()
        .map(|(at, flags)| (at + BEFORE, flags))
        .collect())
}

/// Which commands `COMMAND LIST` lists.
enum Filter<'a> {
    All,
    /// Nothing: there are no modules.
    Module,
    Category(Categories),
    Pattern(&'a [u8]),
}

impl Filter<'_> {
    fn parse<'a>(args: &'a Args<'_>) -> Outcome<Filter<'a>> {
        if args.len() == 2 {
            return Ok(Filter::All);
        }
        if args.len() != 5 || !is(&args[2], "FILTERBY") {
            return Err(SYNTAX);
        }
        let (kind, value) = (&args[3], &args[4]);
        if is(kind, "MODULE") {
            Ok(Filter::Module)
        } else if is(kind, "ACLCAT") {
            let known = Categories::NAMES.iter().find(|(_, name)| is(value, name));
            Ok(Filter::Category(
                known.map_or(Categories::NONE, |&(category, _)| category),
            ))
        } else if is(kind, "PATTERN") {
            Ok(Filter::Pattern(value))
        } else {
            Err(SYNTAX)
        }
    }

    fn fits(&self, row: &Row) -> bool {
        match self {
            Filter::All => true,
            Filter::Module => false,
            Filter::Category(category) => row.spec.categories().has(*category),
            Filter::Pattern(pattern) => glob::matches(pattern, row.name.as_bytes(), true),
        }
    }
}

/// `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`
fn command_list(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    let filter = Filter::parse(args)?;
    let all = commands()
        .into_iter()
        .flat_map(|row| std::iter::once(row).chain(row.subcommands.iter().copied()));
    let listed: Vec<&Row> = all.filter(|row| filter.fits(row)).collect();
    c.out.array(listed.len());
    listed
        .iter()
        .for_each(|row| c.out.bulk(row.name.as_bytes()));
    Ok(())
}

/// `COMMAND HELP`
fn command_help(c: &mut Ctx<'_>, args: &mut Args<'_>) -> Outcome {
    help(c, args, HELP)
}

const HELP: &[&str] = &[
    "(no subcommand)",
    "    Describe all commands.",
    "COUNT",
    "    Tell how many commands there are.",
    "DOCS [<command-name> [...]]",
    "    Return the documentation of these commands, or of all.",
    "GETKEYS <full-command>",
    "    Tell which arguments of a whole command are keys.",
    "GETKEYSANDFLAGS <full-command>",
    "    Tell which arguments of a whole command are keys, and what happens to each.",
    "INFO [<command-name> [...]]",
    "    Describe these commands, or all.",
    "LIST [FILTERBY (MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>)]",
    "    List the names of the commands, or of those that fit.",
];
