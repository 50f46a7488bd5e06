//! Where the configuration comes from: the command line, config files and
//! standard input.
//!
//! The flags are turned into lines and read after the file and standard input,
//! so that all three obey one set of rules: those of `redis-server`. The first
//! error is fatal and names its line.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::disk::DISK;
use super::process::PROCESS;
use super::replication::REPLICATION;
use super::stock::{DEPRECATED, LATER, STOCK};
use super::table::{MULTI_ARG, OWN, Opt};
use super::value::Value;
use super::{Config, find, id, system_reason};
use crate::util::quoting::{repr, split_args};

/// How deep config files may include each other: a file that includes itself
/// must not exhaust the stack.
const MAX_INCLUDE_DEPTH: usize = 16;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Start the server.
    Run(Box<Loaded>),
    /// `--version` or `-v`: tell the version.
    Version,
    /// `--help` or `-h`: show [`help_text`].
    Help,
}

/// A configuration that was read without error.
#[derive(Debug)]
pub struct Loaded {
    /// The values of all options.
    pub config: Config,
    /// The full path of the config file, if one was named.
    pub file: Option<PathBuf>,
    /// The `rename-command` lines, in their order.
    pub renames: Vec<Rename>,
    /// The `user` lines, in their order.
    pub users: Vec<UserLine>,
    /// Standard input was read.
    pub from_stdin: bool,
}

/// A line `rename-command <from> <to>`; an empty `to` removes the command.
///
/// Commands are not known here: whoever applies the lines reports a bad one
/// with [`Rename::refuse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The present name, as given.
    pub from: Vec<u8>,
    /// The new name, as given.
    pub to: Vec<u8>,
    at: Line,
}

impl Rename {
    /// The fatal error that names the line of this renaming.
    pub fn refuse(&self, reason: &str) -> LoadError {
        LoadError::Config {
            at: Some(self.at.clone()),
            reason: reason.to_owned(),
        }
    }
}

/// A line `user <name> <rule> ...`. What is wrong with the rules, too, is found out by whoever
/// applies the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserLine {
    /// All words, `user` among them.
    pub words: Vec<Vec<u8>>,
    at: Line,
}

impl UserLine {
    /// The fatal error that names the line of this user.
    pub fn refuse(&self, reason: &str) -> LoadError {
        LoadError::Config {
            at: Some(self.at.clone()),
            reason: reason.to_owned(),
        }
    }
}

/// A line of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1, flags of the command line coming after the file's lines.
    pub number: usize,
    /// The line without leading and trailing blanks.
    pub text: Vec<u8>,
}

/// Why the configuration cannot be used. Its text is what the server prints
/// before it exits with status 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// A line is wrong, or the whole is.
    Config {
        /// The line, unless the whole is wrong.
        at: Option<Line>,
        /// What is wrong.
        reason: String,
    },
    /// A config file, or standard input, cannot be read.
    Unreadable {
        /// Its name.
        file: String,
        /// The system's reason.
        reason: String,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Config { at, reason } => {
                let version = env!("CARGO_PKG_VERSION");
                write!(f, "\n*** FATAL CONFIG FILE ERROR (stdis {version}) ***\n")?;
                if let Some(Line { number, text }) = at {
                    let text = String::from_utf8_lossy(text);
                    writeln!(f, "Reading the configuration file, at line {number}")?;
                    writeln!(f, ">>> '{text}'")?;
                }
                f.write_str(reason)
            }
            LoadError::Unreadable { file, reason } => {
                write!(f, "Fatal error, can't open config file '{file}': {reason}")
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// Reads the command line (without the name of the program), and the config
/// file and standard input that it names.
///
/// # Errors
/// The first line that is wrong, or a file that cannot be read.
pub fn load(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, LoadError> {
    load_with(args, &mut io::stdin())
}

pub(super) fn load_with(
    args: impl IntoIterator<Item = OsString>,
    stdin: &mut dyn Read,
) -> Result<Invocation, LoadError> {
    let args: Vec<Vec<u8>> = args.into_iter().map(OsString::into_vec).collect();
    match args.first().map(Vec::as_slice) {
        Some(b"-v" | b"--version") => return Ok(Invocation::Version),
        Some(b"-h" | b"--help") => return Ok(Invocation::Help),
        _ => {}
    }
    let (file, flags) = match args.split_first() {
        Some((first, rest)) if first.first() != Some(&b'-') => (Some(as_path(first)), rest),
        _ => (None, args.as_slice()),
    };
    let flags = Flags::read(flags, file.is_none());

    let mut text = Vec::new();
    // The absolute path is noted before a `dir` line can change directory.
    let file = file.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    if let Some(path) = &file {
        text = read_file(path)?;
    }
    if flags.stdin {
        stdin
            .read_to_end(&mut text)
            .map_err(|error| LoadError::Unreadable {
                file: "-".to_owned(),
                reason: system_reason(&error),
            })?;
    }
    text.push(b'\n');
    text.extend_from_slice(&flags.lines);

    let mut loader = Loader::default();
    loader.read_text(&text, 0)?;
    loader.check_log_file()?;
    Ok(Invocation::Run(Box::new(Loaded {
        config: loader.config,
        file,
        renames: loader.renames,
        users: loader.users,
        from_stdin: flags.stdin,
    })))
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn read_file(path: &Path) -> Result<Vec<u8>, LoadError> {
    fs::read(path).map_err(|error| LoadError::Unreadable {
        file: path.display().to_string(),
        reason: system_reason(&error),
    })
}

/// The flags of the command line, as config lines.
#[derive(Default)]
struct Flags {
    lines: Vec<u8>,
    stdin: bool,
}

impl Flags {
    /// `--name` begins a line and all else adds to it, quoted. A flag's first
    /// value may itself begin with `--`; only `--save` may have none, which
    /// stands for `--save ""`. `-`, first (`leads`) or last, is standard input.
    fn read(args: &[Vec<u8>], leads: bool) -> Flags {
        let mut flags = Flags::default();
        let mut has_value = true;
        for (i, arg) in args.iter().enumerate() {
            let next = args.get(i + 1);
            if arg == b"-" && ((i == 0 && leads) || next.is_none()) {
                flags.stdin = true;
            } else if let Some(name) = arg.strip_prefix(b"--").filter(|_| has_value) {
                flags.begin(name);
                // `--port 6380` may come as one argument.
                has_value = !matches!(split_args(arg), Some(words) if words.len() == 1);
                let none_follows = next.is_none_or(|next| next.starts_with(b"--"));
                if !has_value && none_follows && name.eq_ignore_ascii_case(b"save") {
                    flags.lines.extend_from_slice(b"\"\"");
                    has_value = true;
                }
            } else {
                repr(&mut flags.lines, arg);
                flags.lines.push(b' ');
                has_value = true;
            }
        }
        flags
    }

    fn begin(&mut self, name: &[u8]) {
        if !self.lines.is_empty() {
            self.lines.push(b'\n');
        }
        self.lines.extend_from_slice(name);
        self.lines.push(b' ');
    }
}

/// Reads lines into a configuration.
#[derive(Default)]
struct Loader {
    config: Config,
    renames: Vec<Rename>,
    users: Vec<UserLine>,
    /// A `save` line was read: the next ones add to it.
    save_seen: bool,
}

/// Why a line stops the reading.
enum Stop {
    /// The line itself is wrong.
    Reason(String),
    /// A file that it includes is.
    Included(LoadError),
}

impl From<&str> for Stop {
    fn from(reason: &str) -> Stop {
        Stop::Reason(reason.to_owned())
    }
}

impl From<String> for Stop {
    fn from(reason: String) -> Stop {
        Stop::Reason(reason)
    }
}

impl Loader {
    fn read_text(&mut self, text: &[u8], depth: usize) -> Result<(), LoadError> {
        for (i, line) in text.split(|c| *c == b'\n').enumerate() {
            let at = Line {
                number: i + 1,
                text: trim_blanks(line).to_vec(),
            };
            match self.read_line(&at, depth) {
                Ok(()) => {}
                Err(Stop::Included(error)) => return Err(error),
                Err(Stop::Reason(reason)) => {
                    return Err(LoadError::Config {
                        at: Some(at),
                        reason,
                    });
                }
            }
        }
        Ok(())
    }

    fn read_line(&mut self, at: &Line, depth: usize) -> Result<(), Stop> {
        const BAD: &str = "Bad directive or wrong number of arguments";
        if at.text.is_empty() || at.text.starts_with(b"#") {
            return Ok(());
        }
        let words = split_args(&at.text).ok_or("Unbalanced quotes in configuration line")?;
        let Some((name, values)) = words.split_first() else {
            return Ok(());
        };
        if let Some(id) = find(name) {
            return self.set(id, values);
        }
        match (name.to_ascii_lowercase().as_slice(), values) {
            (b"include", [path]) => self.include(path, depth),
            (b"rename-command", [from, to]) => {
                self.renames.push(Rename {
                    from: from.clone(),
                    to: to.clone(),
                    at: at.clone(),
                });
                Ok(())
            }
            (b"user", [_, ..]) => {
                self.users.push(UserLine {
                    words: words.clone(),
                    at: at.clone(),
                });
                Ok(())
            }
            (name, [_]) if DEPRECATED.iter().any(|known| known.as_bytes() == name) => Ok(()),
            _ => Err(BAD.into()),
        }
    }

    fn include(&mut self, path: &[u8], depth: usize) -> Result<(), Stop> {
        if depth == MAX_INCLUDE_DEPTH {
            return Err("config files include each other too deeply".into());
        }
        read_file(as_path(path))
            .and_then(|text| self.read_text(&text, depth + 1))
            .map_err(Stop::Included)
    }

    fn set(&mut self, id: super::OptId, values: &[Vec<u8>]) -> Result<(), Stop> {
        let row = id.row();
        let split;
        let values = match values {
            // Several words may come as one: `--replicaof "host port"`.
            [one] if row.has(MULTI_ARG) && !one.is_empty() => {
                split = split_args(one).ok_or("Unbalanced quotes in configuration line")?;
                &split
            }
            [_] => values,
            _ if row.has(MULTI_ARG) => values,
            _ => return Err("wrong number of arguments".into()),
        };
        let before = self.config.value(id);
        self.config.set_words(id, values)?;
        if id == id::SAVE {
            self.add_save_points(before, values)?;
        }
        Ok(())
    }

    /// The first `save` line replaces the default, later ones add to it, and
    /// `save ""` removes all that came before.
    fn add_save_points(&mut self, before: Value, values: &[Vec<u8>]) -> Result<(), Stop> {
        let clears = matches!(values, [word] if word.is_empty());
        if self.save_seen
            && !clears
            && let Value::Save(before) = before
        {
            let new = self.config.save_points();
            let all = before.iter().chain(new.iter()).copied().collect();
            self.config.put(id::SAVE, Value::Save(all))?;
        }
        self.save_seen = true;
        Ok(())
    }

    /// A log file that cannot be opened is found out while there is still a
    /// terminal to tell.
    fn check_log_file(&self) -> Result<(), LoadError> {
        let path = self.config.str(id::LOGFILE);
        if path.is_empty() {
            return Ok(());
        }
        let opened = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(as_path(&path));
        match opened {
            Ok(_) => Ok(()),
            Err(error) => Err(LoadError::Config {
                at: None,
                reason: format!("Can't open the log file: {}", system_reason(&error)),
            }),
        }
    }
}

pub(super) fn trim_blanks(line: &[u8]) -> &[u8] {
    let blank = |c: &u8| matches!(c, b' ' | b'\t' | b'\r' | b'\n');
    let Some(start) = line.iter().position(|c| !blank(c)) else {
        return &[];
    };
    let end = line.iter().rposition(|c| !blank(c)).unwrap_or(start);
    &line[start..=end]
}

/// The text of `--help`: usage, and every option with its default.
pub fn help_text() -> String {
    let mut text = String::from(
        "\
Usage: stdis [/path/to/redis.conf] [--option value ...] [-]
       stdis --version | -v
       stdis --help | -h

Starts a Redis-compatible server. Options are those of redis.conf; on the
command line they come after two dashes and override the file. A lone - reads
further lines of configuration from standard input.

Examples:
  stdis                                    all defaults, port 6379
  stdis /etc/redis/redis.conf --port 7777  a file, with one option overridden
  stdis --save \"\" --maxmemory 100mb        no snapshots, little memory
  echo 'maxclients 100' | stdis -          configuration from standard input

Options, with their defaults:
",
    );
    let rows = [OWN, DISK, REPLICATION, PROCESS].into_iter().flatten();
    rows.for_each(|row| help_row(&mut text, row));
    text.push_str(
        "
In config files also: include <file>, rename-command <name> <new name>, and
user <name> <rule> ...

Accepted, but without effect in this version:
",
    );
    help_names(&mut text, LATER);
    text.push_str("\nAccepted and ignored, as there is nothing here for them to tune:\n");
    help_names(&mut text, STOCK);
    text
}

fn help_row(text: &mut String, row: &Opt) {
    let default = match row.default {
        "" => "\"\"",
        other => other,
    };
    text.push_str(&format!(
        "  --{} {default}\n        {}.\n",
        row.name, row.doc
    ));
}

/// Names only, as many to a line as fit.
fn help_names(text: &mut String, rows: &[Opt]) {
    const WIDTH: usize = 80;
    let mut line = String::from(" ");
    for row in rows {
        if line.len() + 1 + row.name.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(row.name);
    }
    text.push_str(&line);
    text.push('\n');
}
