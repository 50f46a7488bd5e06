//! The commands as access rules know them: names, categories, and which are subcommands of which.
//!
//! The table itself stands on a floor above, which hands this extract down. It holds the names that
//! commands were born with: rules mean the same whatever `rename-command` says.

use std::collections::HashMap;

/// One command or subcommand.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name in lower case, a subcommand's with its container: `config|get`.
    pub name: String,
    /// Its categories, as bits.
    pub categories: u32,
    /// How many subcommands it has; they stand right behind it.
    pub subcommands: usize,
}

impl Entry {
    /// Whether it is a subcommand itself.
    pub fn is_subcommand(&self) -> bool {
        self.name.contains('|')
    }
}

/// All commands, in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    categories: Vec<(u32, &'static str)>,
}

impl Catalogue {
    /// A catalogue of these commands, numbered from zero, and of the names of the category bits.
    pub fn new(entries: Vec<Entry>, categories: Vec<(u32, &'static str)>) -> Catalogue {
        let numbered = entries.iter().enumerate();
        Catalogue {
            by_name: numbered.map(|(id, one)| (one.name.clone(), id)).collect(),
            entries,
            categories,
        }
    }

    /// How many commands and subcommands there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The command with this number.
    pub fn get(&self, id: usize) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// All commands with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries.iter().enumerate()
    }

    /// The number of the command with this full name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        self.by_name.get(&name).copied()
    }

    /// The bit of a category, by its name in any case.
    pub fn category(&self, name: &[u8]) -> Option<u32> {
        let is = |known: &str| known.as_bytes().eq_ignore_ascii_case(name);
        let found = self.categories.iter().find(|(_, known)| is(known));
        found.map(|&(bit, _)| bit)
    }

    /// The names of all categories.
    pub fn categories(&self) -> impl ExactSizeIterator<Item = &'static str> {
        self.categories.iter().map(|&(_, name)| name)
    }
}
