//! What a user may do, and how it logs in: the outcome of its rules.
//!
//! A [`Rights`] never changes. A rule is applied to a copy, which takes the place of the old one once
//! all rules of a command have been applied, so that nobody ever acts on half of them.

use super::rule::{Refusal, Terms, until_zero};
use super::selector::Selector;
use crate::util::sha256::{self, sha256};

/// Characters of a password's digest.
pub const DIGEST: usize = 2 * sha256::SIZE;

/// The digest of a password, in hexadecimal digits.
pub type Digest = [u8; DIGEST];

/// What a user may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rights {
    enabled: bool,
    /// Any password will do.
    no_password: bool,
    /// What it sends to `RESTORE` need not be checked; it is all the same.
    skip_sanitize: bool,
    passwords: Vec<Digest>,
    /// The first is there always, and is what rules without parentheses are about.
    selectors: Vec<Selector>,
    /// Everything is allowed, which spares every further question.
    unrestricted: bool,
}

impl Rights {
    /// Those of a new user: none.
    pub fn new(terms: Terms<'_>) -> Rights {
        Rights {
            enabled: false,
            no_password: false,
            skip_sanitize: false,
            passwords: Vec::new(),
            selectors: vec![Selector::new(terms)],
            unrestricted: false,
        }
    }

    /// Those of the default user, until somebody changes them: all.
    pub fn of_default_user(terms: Terms<'_>) -> Rights {
        let mut rights = Rights::new(terms);
        for rule in ["+@all", "~*", "&*", "on", "nopass"] {
            // These are rules.
            let _ = rights.apply(terms, rule.as_bytes());
        }
        rights
    }

    /// Applies a rule.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn apply(&mut self, terms: Terms<'_>, rule: &[u8]) -> Result<(), Refusal> {
        self.apply_one(terms, rule)?;
        self.unrestricted = self.selectors.iter().any(Selector::is_unrestricted);
        Ok(())
    }

    fn apply_one(&mut self, terms: Terms<'_>, rule: &[u8]) -> Result<(), Refusal> {
        let text = until_zero(rule);
        let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
        if rule.is_empty() {
            return Ok(());
        }
        if is("on") {
            self.enabled = true;
        } else if is("off") {
            self.enabled = false;
        } else if is("nopass") {
            self.no_password = true;
            self.passwords.clear();
        } else if is("skip-sanitize-payload") {
            self.skip_sanitize = true;
        } else if is("sanitize-payload") {
            self.skip_sanitize = false;
        } else if is("resetpass") {
            self.no_password = false;
            self.passwords.clear();
        } else if is("clearselectors") {
            self.selectors.truncate(1);
        } else if is("reset") {
            *self = Rights::new(terms);
        } else {
            match rule {
                [b'>', password @ ..] => self.add_password(digest(password)),
                [b'#', given @ ..] => self.add_password(read_digest(given)?),
                [b'<', password @ ..] => self.remove_password(&digest(password))?,
                [b'!', given @ ..] => self.remove_password(&read_digest(given)?)?,
                [b'(', inner @ .., b')'] => self.selectors.push(Selector::parse(terms, inner)?),
                _ => self.selectors[0].apply(terms, rule)?,
            }
        }
        Ok(())
    }

    fn add_password(&mut self, password: Digest) {
        if !self.passwords.contains(&password) {
            self.passwords.push(password);
        }
        self.no_password = false;
    }

    fn remove_password(&mut self, password: &Digest) -> Result<(), Refusal> {
        let known = self.passwords.iter().position(|known| known == password);
        self.passwords.remove(known.ok_or(Refusal::NoSuchPassword)?);
        Ok(())
    }

    /// Whether the user may log in at all.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether any password will do.
    pub fn needs_no_password(&self) -> bool {
        self.no_password
    }

    /// Whether a password with this digest lets the user in. The time this takes tells nothing.
    pub fn admits(&self, password: &Digest) -> bool {
        let fits = |known: &Digest| {
            let differs = known.iter().zip(password);
            differs.fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b))) == 0
        };
        let known = self.passwords.iter();
        let fitting = known.fold(false, |found, known| found | fits(known));
        self.enabled && (self.no_password || fitting)
    }

    /// Whether everything is allowed.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.unrestricted
    }

    /// The selectors, the one that is always there first.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The digests of the passwords.
    pub fn passwords(&self) -> &[Digest] {
        &self.passwords
    }

    /// Whether a channel may be used or, for one that subscribes to a pattern, whether that very
    /// pattern is allowed.
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        let mut selectors = self.selectors.iter();
        selectors.any(|one| one.allows_channel(channel, is_pattern))
    }

    /// The patterns of channels that are left to subscribers when these rights take the place of
    /// `before`; `None` where that takes nothing away.
    pub fn channels_left(&self, before: &Rights) -> Option<Vec<&[u8]>> {
        if self.selectors.iter().any(Selector::allows_all_channels) {
            return None;
        }
        let channels = self.selectors.iter().flat_map(Selector::channels);
        let left: Vec<&[u8]> = channels.map(Vec::as_slice).collect();
        let lost = before.selectors.iter().any(|old| {
            old.allows_all_channels() || old.channels().iter().any(|one| !left.contains(&&one[..]))
        });
        lost.then_some(left)
    }

    /// The words that describe the user apart from its passwords and selectors.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let sanitize = match self.skip_sanitize {
            true => "skip-sanitize-payload",
            false => "sanitize-payload",
        };
        [
            Some(if self.enabled { "on" } else { "off" }),
            self.no_password.then_some("nopass"),
            Some(sanitize),
        ]
        .into_iter()
        .flatten()
    }

    /// All rules, in the order in which they make the same user again.
    pub fn describe(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for flag in self.flags() {
            text.extend_from_slice(flag.as_bytes());
            text.push(b' ');
        }
        for password in &self.passwords {
            text.push(b'#');
            text.extend_from_slice(password);
            text.push(b' ');
        }
        for (at, selector) in self.selectors.iter().enumerate() {
            let rules = selector.describe();
            match at {
                0 => text.extend_from_slice(&rules),
                _ => text.extend_from_slice(&[b" (", &rules[..], b")"].concat()),
            }
        }
        text
    }
}

/// The digest of a password.
pub fn digest(password: &[u8]) -> Digest {
    sha256::hex(&sha256(password))
}

fn read_digest(text: &[u8]) -> Result<Digest, Refusal> {
    let digest = Digest::try_from(text).map_err(|_| Refusal::BadDigest)?;
    let is_digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    match digest.iter().all(is_digit) {
        true => Ok(digest),
        false => Err(Refusal::BadDigest),
    }
}
