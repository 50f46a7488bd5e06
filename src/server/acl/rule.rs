//! What single rules have in common: what they refer to, why one is refused, and how a selector that
//! comes in several words is put together.

use super::catalogue::Catalogue;
use crate::util::float::is_space;

/// What rules refer to besides themselves.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// The commands and categories there are.
    pub catalogue: &'a Catalogue,
    /// Whether a user or selector begins with every channel (`acl-pubsub-default`).
    pub all_channels: bool,
}

/// Why a rule is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such command or category.
    Unknown,
    /// It is no rule.
    Syntax,
    /// A key pattern where every key is allowed already.
    AllKeys,
    /// A channel pattern where every channel is allowed already.
    AllChannels,
    /// There is no such password to remove.
    NoSuchPassword,
    /// What should be the digest of a password is none.
    BadDigest,
    /// A user is declared twice.
    Duplicate,
    /// A first argument is allowed for a subcommand.
    FirstArgument,
}

impl Refusal {
    /// The reason in Redis' words.
    pub fn text(self) -> &'static str {
        match self {
            Refusal::Unknown => "Unknown command or category name in ACL",
            Refusal::Syntax => "Syntax error",
            Refusal::AllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not \
                 have any effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            Refusal::AllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not \
                 have any effect. Try 'resetchannels' to start with an empty list of channels"
            }
            Refusal::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            Refusal::BadDigest => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal \
                 characters"
            }
            Refusal::Duplicate => {
                "Duplicate user found. A user can only be defined once in config files"
            }
            Refusal::FirstArgument => "Allowing first-arg of a subcommand is not supported",
        }
    }
}

/// Whether a name or pattern could not be told from its neighbours in a list of rules.
pub fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|&b| is_space(b) || b == 0)
}

/// A text as far as C would read it.
pub fn until_zero(text: &[u8]) -> &[u8] {
    text.split(|&b| b == 0).next().unwrap_or(text)
}

/// Joins the words between an opening and a closing parenthesis to one rule.
///
/// # Errors
/// The position of the word with a parenthesis that nothing closes.
pub fn merge_selectors<W: AsRef<[u8]>>(words: &[W]) -> Result<Vec<Vec<u8>>, usize> {
    let mut rules: Vec<Vec<u8>> = Vec::with_capacity(words.len());
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (at, word) in words.iter().enumerate() {
        let word = word.as_ref();
        let closes = word.ends_with(b")");
        match &mut open {
            None if word.starts_with(b"(") && !closes => open = Some((at, word.to_vec())),
            None => rules.push(word.to_vec()),
            Some((_, selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(until_zero(word));
                if closes && let Some((_, whole)) = open.take() {
                    rules.push(whole);
                }
            }
        }
    }
    match open {
        Some((at, _)) => Err(at),
        None => Ok(rules),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_put_together() {
        let merged = |words: &[&str]| {
            merge_selectors(words).map(|rules| {
                let text = |rule: &Vec<u8>| String::from_utf8_lossy(rule).into_owned();
                rules.iter().map(text).collect::<Vec<_>>()
            })
        };
        let whole = ["on", "(+get ~a)", "()"].map(str::to_owned).to_vec();
        assert_eq!(merged(&["on", "(+get", "~a)", "()"]), Ok(whole));
        assert_eq!(merged(&["(", "a", ")"]), Ok(vec!["( a )".to_owned()]));
        assert_eq!(merged(&["on", "(+get", "~a"]), Err(1));
        assert_eq!(merged(&["", ")"]).map(|rules| rules.len()), Ok(2));
    }
}
