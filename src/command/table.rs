//! The command table: the rows of all families, looked up by name.
//!
//! It is put together once, at start, and then read without a lock. Each row and subcommand gets a
//! number, under which its statistics are kept.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::spec::{
    Begin, Categories, Command, Find, KeyFlags, KeySpec, NOT_KEY, OW, RM, RW, VARIABLE_FLAGS, WRITE,
};
use super::{Args, FAMILIES};
use crate::server::acl::catalogue::{Catalogue, Entry};

/// Longest name that is looked up; longer ones are unknown.
const MAX_NAME: usize = 64;

/// A command or subcommand in the table.
pub struct Row {
    /// What it is.
    pub spec: &'static Command,
    /// Its number.
    pub id: usize,
    /// Lower-case name, for a subcommand with its container: `client|kill`.
    pub name: String,
    /// Subcommands.
    pub subcommands: Vec<&'static Row>,
    /// The container of a subcommand.
    pub container: Option<&'static str>,
    /// Whether its keys are locked exclusively.
    pub exclusive: bool,
    /// Where its keys are, worked out for the common cases.
    pub keys: Keys,
}

/// Where a command's keys are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// There are none.
    None,
    /// One, at this position.
    One(usize),
    /// From a position to another (negative counts from the end), every so many arguments.
    Range(usize, isize, usize),
    /// The key specifications have to be followed.
    Specs,
}

impl Row {
    fn new(spec: &'static Command, id: usize, container: Option<&'static str>) -> Row {
        let name = match container {
            Some(container) => format!("{container}|{}", spec.name),
            None => spec.name.to_string(),
        };
        let changes = RW.or(OW).or(RM);
        Row {
            spec,
            id,
            name,
            subcommands: Vec::new(),
            container,
            exclusive: spec.flags.has(WRITE) || spec.keys.iter().any(|key| key.flags.has(changes)),
            keys: plain_keys(spec),
        }
    }

    /// The positions of the keys in `args` and what happens to each; `None` when the arguments
    /// make that impossible to tell.
    pub fn find_keys(&self, args: &Args<'_>) -> Option<Vec<(usize, KeyFlags)>> {
        if let Some(find) = self.spec.find_keys {
            return find(args);
        }
        let mut keys = Vec::new();
        for spec in self
            .spec
            .keys
            .iter()
            .filter(|spec| !spec.flags.has(NOT_KEY))
        {
            follow(spec, args, &mut keys)?;
        }
        Some(keys)
    }

    /// The subcommand with this name.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Row> {
        self.subcommands
            .iter()
            .copied()
            .find(|row| row.spec.name.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// The common cases of key specifications.
fn plain_keys(spec: &Command) -> Keys {
    match spec.keys {
        [] if spec.find_keys.is_none() => Keys::None,
        [KeySpec { begin: Begin::Index(first), find: Find::Range { last, step, limit: 0 | 1 }, flags, .. }]
            // A finder behind variable flags refines what happens to the keys, not where they are.
            if (spec.find_keys.is_none() || flags.has(VARIABLE_FLAGS)) && !flags.has(NOT_KEY) =>
        {
            if *last == 0 {
                return Keys::One(*first);
            }
            let last = if *last < 0 { *last } else { *first as isize + last };
            Keys::Range(*first, last, *step)
        }
        _ => Keys::Specs,
    }
}

/// Adds the keys that one specification finds.
fn follow(spec: &KeySpec, args: &Args<'_>, keys: &mut Vec<(usize, KeyFlags)>) -> Option<()> {
    let argc = args.len();
    let first = match spec.begin {
        Begin::Index(index) => index,
        Begin::Keyword(word, from) => match keyword(args, word, from) {
            Some(at) => at + 1,
            // An option that is not given has no keys.
            None => return Some(()),
        },
        Begin::Unknown => return None,
    };
    let (first, last, step) = match spec.find {
        Find::Range { last, step, limit } => {
            let end = if last >= 0 {
                first.checked_add_signed(last)?
            } else if limit > 1 {
                // The first 1/limit of what is left.
                let rest = (argc.checked_sub(first)?).checked_add_signed(last + 1)?;
                (first + rest / limit).checked_sub(1)?
            } else {
                argc.checked_add_signed(last)?
            };
            (first, end, step)
        }
        Find::KeyNum {
            at,
            first: offset,
            step,
        } => {
            let count = crate::util::num::parse_i64(args.get(first + at)?).filter(|&n| n >= 0)?;
            if count == 0 {
                return Some(());
            }
            let start = first + offset;
            let span = usize::try_from(count - 1).ok()?.checked_mul(step)?;
            (start, start.checked_add(span)?, step)
        }
        Find::Unknown => return None,
    };
    if last >= argc {
        return None;
    }
    keys.extend(
        (first..=last)
            .step_by(step.max(1))
            .map(|position| (position, spec.flags)),
    );
    Some(())
}

/// Where a keyword stands, searched forwards from `from` or backwards from the end.
fn keyword(args: &Args<'_>, word: &str, from: isize) -> Option<usize> {
    let is_word = |&at: &usize| args[at].eq_ignore_ascii_case(word.as_bytes());
    if from >= 0 {
        (from as usize..args.len()).find(is_word)
    } else {
        let end = args.len().checked_add_signed(from)?;
        (1..=end).rev().find(is_word)
    }
}

/// All rows, by name.
pub struct Table {
    /// Every row and subcommand, by number.
    pub rows: Vec<&'static Row>,
    by_name: HashMap<Vec<u8>, &'static Row>,
}

static TABLE: OnceLock<Table> = OnceLock::new();

/// The command table.
pub fn table() -> &'static Table {
    TABLE.get_or_init(|| {
        Table::build(&[]).unwrap_or_else(|name| unreachable!("no rename, yet {name} is unknown"))
    })
}

/// The commands as access rules see them: under the names they were born with.
pub fn catalogue() -> Catalogue {
    let names = Categories::NAMES.iter();
    let entry = |row: &&'static Row| Entry {
        // Renaming puts a row under another name, but does not change its own.
        name: row.name.clone(),
        categories: row.spec.categories().0,
        subcommands: row.subcommands.len(),
    };
    Catalogue::new(
        table().rows.iter().map(entry).collect(),
        names.map(|(bit, name)| (bit.0, *name)).collect(),
    )
}

/// Puts the table together with commands renamed: pairs of name and new name, an empty one to
/// leave the command out. Must come before the first [`table`].
///
/// # Errors
/// The index of a rename of which the command does not exist, or whose new name is taken.
pub fn init(renames: &[(Vec<u8>, Vec<u8>)]) -> Result<(), usize> {
    let built = Table::build(renames)?;
    // A second call (from tests in one process) leaves the first table in place.
    let _ = TABLE.set(built);
    Ok(())
}

impl Table {
    fn build(renames: &[(Vec<u8>, Vec<u8>)]) -> Result<Table, usize> {
        let mut rows: Vec<&'static Row> = Vec::new();
        let mut by_name = HashMap::new();
        for spec in FAMILIES.iter().flat_map(|family| family.iter()) {
            let mut row = Row::new(spec, rows.len(), None);
            let id = rows.len();
            let mut subcommands = Vec::new();
            for sub in spec.subcommands {
                // Rows live as long as the process: one table is ever built.
                let leaked: &'static Row = Box::leak(Box::new(Row::new(
                    sub,
                    id + 1 + subcommands.len(),
                    Some(spec.name),
                )));
                subcommands.push(leaked);
            }
            row.subcommands = subcommands.clone();
            let row: &'static Row = Box::leak(Box::new(row));
            rows.push(row);
            rows.extend(subcommands);
            by_name.insert(spec.name.as_bytes().to_vec(), row);
        }
        for (index, (name, new)) in renames.iter().enumerate() {
            let row = by_name.remove(&name.to_ascii_lowercase()).ok_or(index)?;
            if !new.is_empty() && by_name.insert(new.to_ascii_lowercase(), row).is_some() {
                return Err(index);
            }
        }
        Ok(Table { rows, by_name })
    }

    /// The command with this name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<&'static Row> {
        let mut lower = [0; MAX_NAME];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower).copied()
    }

    /// The command or, for `client|kill`, the subcommand with this name.
    pub fn find_full(&self, name: &[u8]) -> Option<&'static Row> {
        match name.iter().position(|&b| b == b'|') {
            Some(bar) => self.find(&name[..bar])?.subcommand(&name[bar + 1..]),
            None => self.find(name),
        }
    }

    /// The commands under their present names, without subcommands.
    pub fn commands(&self) -> impl ExactSizeIterator<Item = (&[u8], &'static Row)> {
        self.by_name.iter().map(|(name, row)| (&name[..], *row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn keys(words: &[&str]) -> Option<Vec<usize>> {
        let mut owned = OwnedArgs::new(words);
        let row = table().find(words[0].as_bytes()).expect("a command");
        Some(
            row.find_keys(&owned.args())?
                .into_iter()
                .map(|(at, _)| at)
                .collect(),
        )
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert!(table().find(b"GeT").is_some());
        assert!(
            table()
                .find(b"client")
                .is_some_and(|row| row.subcommand(b"KILL").is_some())
        );
        assert!(table().find_full(b"client|list").is_some());
        assert!(table().find(b"nope").is_none() && table().find(&[b'x'; 1000]).is_none());
    }

    #[test]
    fn keys_are_found() {
        assert_eq!(keys(&["get", "a"]), Some(vec![1]));
        assert_eq!(keys(&["mset", "a", "1", "b", "2"]), Some(vec![1, 3]));
        assert_eq!(keys(&["mget", "a", "b"]), Some(vec![1, 2]));
        assert_eq!(keys(&["ping"]), Some(vec![]));
        assert_eq!(keys(&["get"]), None);
    }

    #[test]
    fn numbers_are_dense_and_names_unique() {
        let mut names = std::collections::HashSet::new();
        for (number, row) in table().rows.iter().enumerate() {
            assert_eq!(row.id, number);
            assert!(names.insert(&row.name), "{} twice", row.name);
        }
    }
}
