//! A selector: one set of commands, keys and channels that a user may use together.
//!
//! Every user has one, and more where its rules hold some in parentheses; what any of them allows is
//! allowed. Which commands those are is a bit for each row of the command table. The rules that led
//! there are kept beside it, as a user is listed by its rules and not by their outcome.

use super::rule::{Refusal, Terms, has_spaces, until_zero};
use crate::util::glob;
use crate::util::quoting::split_args;

/// A pattern of keys, and what may be done with those that match.
#[derive(Clone, PartialEq, Eq, Debug)]
struct KeyPattern {
    pattern: Vec<u8>,
    read: bool,
    write: bool,
}

/// A rule about commands that is in force: whether it allows, and what.
#[derive(Clone, PartialEq, Eq, Debug)]
struct CommandRule {
    allows: bool,
    /// A command, `container|subcommand`, `command|argument` or `@category`, in lower case.
    what: Vec<u8>,
}

/// One set of commands, keys and channels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selector {
    /// Every command, without a look at the bits.
    all_commands: bool,
    /// It began with every command, so that what is added to the server later is allowed too.
    began_with_all: bool,
    /// A bit for each row of the command table.
    allowed: Box<[u64]>,
    /// Commands that are allowed with these first arguments only.
    first_arguments: Vec<(usize, Vec<Vec<u8>>)>,
    rules: Vec<CommandRule>,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    all_channels: bool,
    channels: Vec<Vec<u8>>,
}

const WORD: usize = u64::BITS as usize;

impl Selector {
    /// A selector that allows nothing, but for channels where that is how all begin.
    pub fn new(terms: Terms<'_>) -> Selector {
        Selector {
            all_commands: false,
            began_with_all: false,
            allowed: vec![0; terms.catalogue.len().div_ceil(WORD)].into(),
            first_arguments: Vec::new(),
            rules: Vec::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels: terms.all_channels,
            channels: Vec::new(),
        }
    }

    /// Reads what stands between the parentheses of a selector. What cannot be split into words is
    /// no rule at all, as in Redis.
    ///
    /// # Errors
    /// The first rule that is wrong.
    pub fn parse(terms: Terms<'_>, text: &[u8]) -> Result<Selector, Refusal> {
        let mut selector = Selector::new(terms);
        for rule in split_args(text).unwrap_or_default() {
            selector.apply(terms, &rule)?;
        }
        Ok(selector)
    }

    /// Applies a rule about commands, keys or channels.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn apply(&mut self, terms: Terms<'_>, rule: &[u8]) -> Result<(), Refusal> {
        let text = until_zero(rule);
        let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
        if is("allkeys") || is("~*") {
            self.all_keys = true;
            self.keys.clear();
        } else if is("resetkeys") {
            self.all_keys = false;
            self.keys.clear();
        } else if is("allchannels") || is("&*") {
            self.all_channels = true;
            self.channels.clear();
        } else if is("resetchannels") {
            self.all_channels = false;
            self.channels.clear();
        } else if is("allcommands") || is("+@all") {
            self.set_all_commands(true);
        } else if is("nocommands") || is("-@all") {
            self.set_all_commands(false);
        } else {
            match rule {
                [b'~' | b'%', ..] => return self.add_keys(rule),
                [b'&', pattern @ ..] => return self.add_channels(pattern),
                [sign @ (b'+' | b'-'), b'@', ..] => {
                    return self.set_category(terms, *sign == b'+', &text[1..]);
                }
                [b'+', ..] => return self.allow(terms, &text[1..]),
                [b'-', ..] => {
                    let id = terms.catalogue.find(&text[1..]).ok_or(Refusal::Unknown)?;
                    self.set_command(terms, id, false);
                    self.note_command(terms, id, false);
                }
                _ => return Err(Refusal::Syntax),
            }
        }
        Ok(())
    }

    fn set_all_commands(&mut self, yes: bool) {
        self.all_commands = yes;
        self.began_with_all = yes;
        self.allowed.fill(if yes { u64::MAX } else { 0 });
        self.first_arguments.clear();
        self.rules.clear();
    }

    /// `~pattern`, and `%R~`, `%W~`, `%RW~` and the like.
    fn add_keys(&mut self, rule: &[u8]) -> Result<(), Refusal> {
        if self.all_keys {
            return Err(Refusal::AllKeys);
        }
        let (mut read, mut write) = (true, true);
        let mut pattern = &rule[1..];
        if rule[0] == b'%' {
            (read, write) = (false, false);
            while let Some((letter, rest)) = pattern.split_first() {
                match letter.to_ascii_uppercase() {
                    b'R' if !read => read = true,
                    b'W' if !write => write = true,
                    b'~' => {
                        pattern = rest;
                        break;
                    }
                    _ => return Err(Refusal::Syntax),
                }
                pattern = rest;
            }
            if !read && !write {
                return Err(Refusal::Syntax);
            }
        }
        if has_spaces(pattern) {
            return Err(Refusal::Syntax);
        }
        match self.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => {
                known.read |= read;
                known.write |= write;
            }
            None => self.keys.push(KeyPattern {
                pattern: pattern.to_vec(),
                read,
                write,
            }),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), Refusal> {
        if self.all_channels {
            return Err(Refusal::AllChannels);
        }
        if has_spaces(pattern) {
            return Err(Refusal::Syntax);
        }
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    /// `+@category` and `-@category`; the name comes with its `@`.
    fn set_category(&mut self, terms: Terms<'_>, allows: bool, name: &[u8]) -> Result<(), Refusal> {
        let catalogue = terms.catalogue;
        let category = catalogue.category(&name[1..]).ok_or(Refusal::Unknown)?;
        self.note(allows, name);
        for (id, entry) in catalogue.iter() {
            if entry.categories & category != 0 {
                self.set_command(terms, id, allows);
            }
        }
        Ok(())
    }

    /// `+command`, `+container|subcommand`, and `+command|argument`.
    fn allow(&mut self, terms: Terms<'_>, name: &[u8]) -> Result<(), Refusal> {
        let catalogue = terms.catalogue;
        let Some(bar) = name.iter().rposition(|&b| b == b'|') else {
            let id = catalogue.find(name).ok_or(Refusal::Unknown)?;
            self.set_command(terms, id, true);
            self.note_command(terms, id, true);
            return Ok(());
        };
        let (command, behind) = (&name[..bar], &name[bar + 1..]);
        let id = catalogue.find(command).ok_or(Refusal::Unknown)?;
        let entry = catalogue.get(id).ok_or(Refusal::Unknown)?;
        if entry.is_subcommand() {
            return Err(Refusal::FirstArgument);
        }
        // An argument with a blank would come back from a file as two rules.
        if behind.is_empty() || has_spaces(behind) {
            return Err(Refusal::Syntax);
        }
        if entry.subcommands > 0 {
            let id = catalogue.find(name).ok_or(Refusal::Unknown)?;
            self.set_command(terms, id, true);
        } else {
            let place = self.first_arguments.iter().position(|(of, _)| *of == id);
            let place = place.unwrap_or_else(|| {
                self.first_arguments.push((id, Vec::new()));
                self.first_arguments.len() - 1
            });
            let known = &mut self.first_arguments[place].1;
            if !known.iter().any(|one| one.eq_ignore_ascii_case(behind)) {
                known.push(behind.to_vec());
            }
        }
        self.note(true, name);
        Ok(())
    }

    /// Allows a command or takes it away, with its subcommands; what was said about its first
    /// argument no longer counts.
    fn set_command(&mut self, terms: Terms<'_>, id: usize, allows: bool) {
        let entry = terms.catalogue.get(id);
        let subcommands = entry.map_or(0, |entry| entry.subcommands);
        for id in id..=id + subcommands {
            let bit = 1 << (id % WORD);
            match allows {
                true => self.allowed[id / WORD] |= bit,
                false => self.allowed[id / WORD] &= !bit,
            }
        }
        self.all_commands &= allows;
        self.first_arguments.retain(|(of, _)| *of != id);
    }

    fn note_command(&mut self, terms: Terms<'_>, id: usize, allows: bool) {
        if let Some(entry) = terms.catalogue.get(id) {
            self.note(allows, entry.name.as_bytes());
        }
    }

    /// Puts a rule behind the others. It makes up for an earlier one about the same, and one about a
    /// whole command for those about its parts.
    fn note(&mut self, allows: bool, what: &[u8]) {
        let what = what.to_ascii_lowercase();
        self.rules.retain(|rule| {
            let rest = rule.what.strip_prefix(&what[..]);
            !rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'|')
        });
        self.rules.push(CommandRule { allows, what });
    }

    /// Whether it allows everything.
    pub fn is_unrestricted(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Whether it allows every channel.
    pub fn allows_all_channels(&self) -> bool {
        self.all_channels
    }

    /// The patterns of channels it allows, unless it allows all.
    pub fn channels(&self) -> &[Vec<u8>] {
        &self.channels
    }

    /// Whether a command may be carried out, by its number and first argument.
    pub fn allows_command(&self, id: usize, first_argument: Option<&[u8]>) -> bool {
        if self.all_commands || self.has_bit(id) {
            return true;
        }
        let given = first_argument.unwrap_or_default();
        let arguments = self.first_arguments.iter().find(|(of, _)| *of == id);
        first_argument.is_some()
            && arguments
                .is_some_and(|(_, known)| known.iter().any(|one| one.eq_ignore_ascii_case(given)))
    }

    /// Whether a command may be carried out with some first argument at least.
    pub fn allows_command_somehow(&self, id: usize) -> bool {
        self.allows_command(id, None) || self.first_arguments.iter().any(|(of, _)| *of == id)
    }

    fn has_bit(&self, id: usize) -> bool {
        let word = self.allowed.get(id / WORD).copied().unwrap_or(0);
        word & 1 << (id % WORD) != 0
    }

    /// Whether a key may be read, written, or both, as far as that is asked for.
    pub fn allows_key(&self, key: &[u8], read: bool, write: bool) -> bool {
        self.all_keys
            || self.keys.iter().any(|known| {
                (known.read || !read)
                    && (known.write || !write)
                    && glob::matches(&known.pattern, key, false)
            })
    }

    /// Whether every key there may ever be may be read.
    pub fn allows_reading_all_keys(&self) -> bool {
        self.all_keys || (self.keys.iter()).any(|known| known.read && known.pattern == b"*")
    }

    /// Whether a channel may be used or, for one that subscribes to a pattern, whether that very
    /// pattern is allowed.
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.all_channels || is_among(&self.channels, channel, is_pattern)
    }

    /// The rules about commands, the whole of them first.
    pub fn describe_commands(&self) -> Vec<u8> {
        let mut text = match self.began_with_all {
            true => b"+@all".to_vec(),
            false => b"-@all".to_vec(),
        };
        for rule in &self.rules {
            text.extend_from_slice(if rule.allows { b" +" } else { b" -" });
            text.extend_from_slice(&rule.what);
        }
        text
    }

    /// The rules about keys.
    pub fn describe_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let show = |known: &KeyPattern| {
            let head: &[u8] = match (known.read, known.write) {
                (true, true) => b"~",
                (true, false) => b"%R~",
                (false, _) => b"%W~",
            };
            [head, &known.pattern].concat()
        };
        self.keys.iter().map(show).collect::<Vec<_>>().join(&b' ')
    }

    /// The rules about channels.
    pub fn describe_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let show = |pattern: &Vec<u8>| [b"&", &pattern[..]].concat();
        let shown = self.channels.iter().map(show).collect::<Vec<_>>();
        shown.join(&b' ')
    }

    /// All rules, in the order in which they make the same selector again.
    pub fn describe(&self) -> Vec<u8> {
        let mut text = self.describe_keys();
        if !text.is_empty() {
            text.push(b' ');
        }
        if !self.all_channels {
            text.extend_from_slice(b"resetchannels ");
        }
        text.extend_from_slice(&self.describe_channels());
        if !text.is_empty() && !text.ends_with(b" ") {
            text.push(b' ');
        }
        text.extend_from_slice(&self.describe_commands());
        text
    }
}

/// Whether one of these patterns matches a channel or, for a pattern, is the very same.
pub fn is_among<P: AsRef<[u8]>>(patterns: &[P], channel: &[u8], is_pattern: bool) -> bool {
    patterns.iter().any(|pattern| match is_pattern {
        true => pattern.as_ref() == channel,
        false => glob::matches(pattern.as_ref(), channel, false),
    })
}
