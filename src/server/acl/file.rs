//! Users in files: the ACL file, and `user` lines of the configuration.
//!
//! The ACL file is read whole before anything changes, and everything that is wrong with it is told
//! at once. It is written beside its place and moved there, so that there always is one.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::catalogue::Catalogue;
use super::rights::Rights;
use super::rule::{Refusal, Terms, has_spaces, merge_selectors};
use super::{Acl, User, Users};
use crate::server::config::{Config, id};
use crate::util::clock::now_ms;
use crate::{log_notice, log_warning};

/// A user as the configuration declares it: the word `user`, its name, and its rules.
pub type Declaration = Vec<Vec<u8>>;

/// Looks for what is wrong with declarations without a look at the commands.
///
/// # Errors
/// Which one it is and why, in Redis' words.
pub fn check(declarations: &[Declaration]) -> Result<(), (usize, String)> {
    let no_commands = Catalogue::default();
    let terms = Terms {
        catalogue: &no_commands,
        all_channels: false,
    };
    for (at, words) in declarations.iter().enumerate() {
        let refuse = |place: usize, reason: &str| {
            let word = words.get(place).map_or(&[][..], Vec::as_slice);
            let word = String::from_utf8_lossy(word);
            (at, format!("Error in user declaration '{word}': {reason}"))
        };
        let name = words.get(1);
        if declarations[..at].iter().any(|other| other.get(1) == name) {
            return Err(refuse(1, Refusal::Duplicate.text()));
        }
        let rules = words.get(2..).unwrap_or_default();
        // The word that is quoted is two further ahead than the one that is wrong, as in Redis.
        let rules = merge_selectors(rules).map_err(|place| refuse(place, "Wrong format"))?;
        let mut rights = Rights::new(terms);
        for (place, rule) in rules.iter().enumerate() {
            match rights.apply(terms, rule) {
                // Whether there is such a command is found out later.
                Ok(()) | Err(Refusal::Unknown) => {}
                Err(refusal) => return Err(refuse(place, refusal.text())),
            }
        }
    }
    Ok(())
}

impl Acl {
    /// Takes in the users of the configuration, or of the ACL file.
    ///
    /// # Errors
    /// Why the server cannot start.
    pub fn start(&self, config: &Config, declarations: &[Declaration]) -> Result<(), String> {
        let from_file = !config.str(id::ACLFILE).is_empty();
        if from_file && !declarations.is_empty() {
            return Err(
                "Configuring users in the configuration file and at the same time setting an ACL file \
                 path is invalid: define either an ACL file or declare users in the configuration file, \
                 but not both."
                    .to_owned(),
            );
        }
        for words in declarations {
            self.declare(config, words)?;
        }
        if from_file {
            self.load(config).map_err(|errors| {
                let errors = String::from_utf8_lossy(&errors);
                format!("Aborting startup because of ACL errors: {errors}")
            })?;
        }
        Ok(())
    }

    fn declare(&self, config: &Config, words: &Declaration) -> Result<(), String> {
        const FATAL: &str = "Critical error while loading ACLs. Exiting.";
        let [_, name, rules @ ..] = &words[..] else {
            return Ok(());
        };
        if has_spaces(name) {
            log_warning!("Spaces not allowed in ACL usernames");
            return Err(FATAL.to_owned());
        }
        let terms = self.terms(config);
        let shown = String::from_utf8_lossy(name);
        let mut rights = Rights::new(terms);
        for rule in merge_selectors(rules).unwrap_or_default() {
            if let Err(refusal) = rights.apply(terms, &rule) {
                log_warning!(
                    "Error loading ACL rule '{}' for the user named '{shown}': {}",
                    String::from_utf8_lossy(&rule),
                    refusal.text()
                );
                return Err(FATAL.to_owned());
            }
        }
        if !rights.is_enabled() {
            log_notice!(
                "The user '{shown}' is disabled (there is no 'on' modifier in the user description). \
                 Make sure this is not a configuration error."
            );
        }
        let mut users = self.users();
        match users.get(&name[..]) {
            // Only the default user is there before it is declared.
            Some(user) => user.set(Arc::new(rights)),
            None => {
                users.insert(name.clone(), User::new(name, rights));
            }
        }
        self.publish();
        Ok(())
    }

    /// Reads the ACL file and puts its users in the place of those there are. Returns those that are
    /// gone.
    ///
    /// # Errors
    /// All that is wrong with the file, in Redis' words; nothing has changed then.
    pub fn load(&self, config: &Config) -> Result<Vec<Arc<User>>, Vec<u8>> {
        let name = config.str(id::ACLFILE);
        let text = fs::read(Path::new(OsStr::from_bytes(&name))).map_err(|error| {
            let reason = reason(&error);
            let head = b"Error loading ACLs, opening file '";
            [&head[..], &name, b"': ", reason.as_bytes()].concat()
        })?;
        let mut reading = Reading {
            terms: self.terms(config),
            file: &name,
            users: Users::new(),
            errors: Vec::new(),
        };
        for (at, line) in text.split(|&b| b == b'\n').enumerate() {
            reading.line(at + 1, trim(line, b" \t\r\n"));
        }
        let Reading {
            users, mut errors, ..
        } = reading;
        if errors.is_empty() {
            return Ok(self.replace(config, users));
        }
        errors.extend_from_slice(
            b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
        );
        Err(errors)
    }

    /// Writes all users to the ACL file. Returns whether that went well; if not, the file is what it
    /// was, and the log has the reason.
    pub fn save(&self, config: &Config) -> bool {
        // Of two at the same time, the later one has the later users.
        let _turn = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = Vec::new();
        for user in self.all() {
            text.extend_from_slice(&describe(&user));
            text.push(b'\n');
        }
        let name = config.str(id::ACLFILE);
        let path = Path::new(OsStr::from_bytes(&name));
        let mut temporary = name.to_vec();
        let suffix = format!(".tmp-{}-{}", std::process::id(), now_ms());
        temporary.extend_from_slice(suffix.as_bytes());
        let temporary = Path::new(OsStr::from_bytes(&temporary));
        let saved = write(temporary, &text).and_then(|()| {
            let moved = fs::rename(temporary, path);
            moved.map_err(|error| ("Renaming ACL file", error))?;
            sync_directory(path).map_err(|error| ("Syncing ACL directory", error))
        });
        if let Err((step, error)) = &saved {
            log_warning!("{step} for ACL SAVE: {}", reason(error));
            // Nothing is there any more if it has been moved.
            let _ = fs::remove_file(temporary);
        }
        saved.is_ok()
    }
}

/// A user as a line of the ACL file, and of `ACL LIST`.
pub fn describe(user: &User) -> Vec<u8> {
    let rights = user.rights().describe();
    [b"user ", user.name(), b" ", &rights].concat()
}

/// An ACL file being read.
struct Reading<'a> {
    terms: Terms<'a>,
    file: &'a [u8],
    users: Users,
    errors: Vec<u8>,
}

impl Reading<'_> {
    fn line(&mut self, number: usize, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        let words: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
        let [b"user", name, rules @ ..] = &words[..] else {
            let what = b" should start with user keyword followed by the username. ";
            return self.complain(number, &[what]);
        };
        if has_spaces(name) {
            self.errors.push(b'\'');
            return self.complain(
                number,
                &[b": username '", name, b"' contains invalid characters. "],
            );
        }
        if self.users.contains_key(*name) {
            let at = number.to_string();
            let parts: [&[u8]; 5] = [
                b"WARNING: Duplicate user '",
                name,
                b"' found on line ",
                at.as_bytes(),
                b". ",
            ];
            return self.errors.extend_from_slice(&parts.concat());
        }
        let mut rights = Rights::new(self.terms);
        match merge_selectors(rules) {
            Ok(rules) => self.apply(number, &mut rights, &rules),
            Err(_) => self.complain(
                number,
                &[b": Unmatched parenthesis in selector definition."],
            ),
        }
        let user = User::new(name, rights);
        self.users.insert(name.to_vec(), user);
    }

    fn apply(&mut self, number: usize, rights: &mut Rights, rules: &[Vec<u8>]) {
        let mut complained = false;
        for rule in rules {
            let rule = trim(rule, b"\t\r\n");
            let Err(refusal) = rights.apply(self.terms, rule) else {
                continue;
            };
            let reason = refusal.text().as_bytes();
            if refusal == Refusal::Unknown {
                // A command is no secret, so this may be told in full.
                let head = b": Error in applying operation '";
                self.complain(number, &[head, rule, b"': ", reason, b". "]);
            } else if !complained {
                // Of the others only the first, as those behind it may follow from it.
                complained = true;
                self.complain(number, &[b": ", reason, b". "]);
            }
        }
    }

    fn complain(&mut self, number: usize, what: &[&[u8]]) {
        self.errors.extend_from_slice(self.file);
        self.errors
            .extend_from_slice(format!(":{number}").as_bytes());
        what.iter()
            .for_each(|part| self.errors.extend_from_slice(part));
    }
}

/// A text without such bytes at its ends.
fn trim<'a>(text: &'a [u8], bytes: &[u8]) -> &'a [u8] {
    let stays = |b: &u8| !bytes.contains(b);
    let start = text.iter().position(stays).unwrap_or(text.len());
    let end = text.iter().rposition(stays).map_or(start, |at| at + 1);
    &text[start..end]
}

/// What failed, and why.
type Failed = (&'static str, std::io::Error);

fn write(path: &Path, text: &[u8]) -> Result<(), Failed> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644);
    let opened = options.open(path);
    let mut file = opened.map_err(|error| ("Opening temp ACL file", error))?;
    let written = file.write_all(text);
    written.map_err(|error| ("Writing ACL file", error))?;
    let synced = file.sync_all();
    synced.map_err(|error| ("Syncing ACL file", error))
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|path| !path.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// The system's text for an error, without the number that std adds.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let reason = text.split(" (os error").next();
    reason.unwrap_or_default().to_owned()
}
