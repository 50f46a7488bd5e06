//! Access control lists: the users, and what each of them may do.
//!
//! - [`rights`] holds what a user's rules come to, [`selector`] one set of commands, keys and
//!   channels, [`rule`] what is common to rules.
//! - [`catalogue`] is the command table as rules see it.
//! - [`file`](mod@file) reads users from a file and writes them there.
//! - [`log`](mod@log) keeps what has been refused.
//!
//! Whether a client may do something is asked for every command, so that must not cost anything
//! where all is allowed. A session keeps its user's rights and the [`Acl::version`] at which it read
//! them; as long as that has not moved, they are what holds, and one load and a comparison tell.
//! Whoever changes anything stores the new rights first and moves the version then.
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>

pub mod catalogue;
pub mod file;
pub mod log;
pub mod rights;
pub mod rule;
pub mod selector;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::config::{Config, id};
use catalogue::Catalogue;
use log::Refusals;
use rights::{Rights, digest};
use rule::{Terms, merge_selectors, until_zero};

/// The user that every client is until it logs in as another one.
pub const DEFAULT_USER: &[u8] = b"default";

/// A user. Clients that are logged in hold it, also when it has been deleted meanwhile.
pub struct User {
    name: Box<[u8]>,
    rights: RwLock<Arc<Rights>>,
    deleted: AtomicBool,
}

impl User {
    fn new(name: &[u8], rights: Rights) -> Arc<User> {
        Arc::new(User {
            name: name.into(),
            rights: RwLock::new(Arc::new(rights)),
            deleted: AtomicBool::new(false),
        })
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// What it may do now.
    pub fn rights(&self) -> Arc<Rights> {
        let rights = self.rights.read().unwrap_or_else(PoisonError::into_inner);
        rights.clone()
    }

    /// Whether it has been deleted. A client that is still logged in as such a user has gone, even if
    /// its thread may not have noticed.
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    fn set(&self, rights: Arc<Rights>) {
        *self.rights.write().unwrap_or_else(PoisonError::into_inner) = rights;
    }
}

/// A change of a user that was there before.
pub struct Change {
    /// The user.
    pub user: Arc<User>,
    /// What it could do.
    pub before: Arc<Rights>,
    /// What it can do now.
    pub after: Arc<Rights>,
}

/// What every command looks at, on a cache line that is written only when something changes.
#[repr(align(64))]
struct State {
    /// Moves with every change.
    version: AtomicU64,
    /// Whether the default user needs a password, or may not log in.
    closed: AtomicBool,
}

/// The names of the users in their order, with each its user.
type Users = BTreeMap<Vec<u8>, Arc<User>>;

/// All users.
pub struct Acl {
    catalogue: Catalogue,
    users: Mutex<Users>,
    default: Arc<User>,
    state: State,
    refusals: Mutex<Refusals>,
    /// Held by whoever writes the ACL file.
    saving: Mutex<()>,
}

impl Acl {
    /// The default user alone, with the password of `requirepass`.
    pub fn new(catalogue: Catalogue, config: &Config) -> Acl {
        let terms = Terms {
            catalogue: &catalogue,
            all_channels: false,
        };
        let default = User::new(DEFAULT_USER, Rights::of_default_user(terms));
        let acl = Acl {
            users: Mutex::new([(DEFAULT_USER.to_vec(), default.clone())].into()),
            catalogue,
            default,
            state: State {
                version: AtomicU64::new(1),
                closed: AtomicBool::new(false),
            },
            refusals: Mutex::default(),
            saving: Mutex::default(),
        };
        acl.set_default_password(&config.str(id::REQUIREPASS));
        acl
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn terms(&self, config: &Config) -> Terms<'_> {
        Terms {
            catalogue: &self.catalogue,
            all_channels: config.int(id::ACL_PUBSUB_DEFAULT) != 0,
        }
    }

    /// The commands that rules can be about.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// A number that moves whenever anything changes; never 0.
    #[inline]
    pub fn version(&self) -> u64 {
        self.state.version.load(Ordering::Acquire)
    }

    /// Makes a change known. What it consists of has been stored.
    fn publish(&self) {
        let rights = self.default.rights();
        let closed = !rights.needs_no_password() || !rights.is_enabled();
        self.state.closed.store(closed, Ordering::Release);
        self.state.version.fetch_add(1, Ordering::Release);
    }

    /// The user that clients are at first.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// Whether clients must log in before they may do anything: the default user needs a password,
    /// or is switched off.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.state.closed.load(Ordering::Acquire)
    }

    /// The user with this name.
    pub fn get(&self, name: &[u8]) -> Option<Arc<User>> {
        self.users().get(name).cloned()
    }

    /// All users, in the order of their names.
    pub fn all(&self) -> Vec<Arc<User>> {
        self.users().values().cloned().collect()
    }

    /// The user whom this name and password let in.
    pub fn log_in(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        // Worked out before the look at the user, so that the time does not tell whether there is one.
        let password = digest(password);
        let user = self.get(name)?;
        user.rights().admits(&password).then_some(user)
    }

    /// Applies rules to a user, who is created if there is none with this name; all of them, or none.
    /// Returns the change unless the user is new.
    ///
    /// # Errors
    /// What is wrong, in Redis' words.
    pub fn set_user<R: AsRef<[u8]>>(
        &self,
        config: &Config,
        name: &[u8],
        rules: &[R],
    ) -> Result<Option<Change>, Vec<u8>> {
        let merged = merge_selectors(rules).map_err(|at| {
            let head = b"Unmatched parenthesis in acl selector starting at '";
            [&head[..], until_zero(rules[at].as_ref()), b"'."].concat()
        })?;
        let terms = self.terms(config);
        let mut users = self.users();
        let known = users.get(name).cloned();
        let before = known.as_ref().map(|user| user.rights());
        let mut rights = match &before {
            Some(before) => Rights::clone(before),
            None => Rights::new(terms),
        };
        for rule in &merged {
            rights.apply(terms, rule).map_err(|refusal| {
                let head = b"Error in ACL SETUSER modifier '";
                let reason = refusal.text().as_bytes();
                [&head[..], until_zero(rule), b"': ", reason].concat()
            })?;
        }
        let change = match known.zip(before) {
            Some((user, before)) => {
                let after = Arc::new(rights);
                user.set(after.clone());
                Some(Change {
                    user,
                    before,
                    after,
                })
            }
            None => {
                users.insert(name.to_vec(), User::new(name, rights));
                None
            }
        };
        self.publish();
        Ok(change)
    }

    /// Deletes a user, other than the default one, and returns it.
    pub fn delete(&self, name: &[u8]) -> Option<Arc<User>> {
        if name == DEFAULT_USER {
            return None;
        }
        let mut users = self.users();
        let user = users.remove(name)?;
        user.deleted.store(true, Ordering::Release);
        self.publish();
        Some(user)
    }

    /// Gives the default user this password and no other; an empty one means that any will do.
    pub fn set_default_password(&self, password: &[u8]) {
        let terms = Terms {
            catalogue: &self.catalogue,
            all_channels: false,
        };
        let _changing = self.users();
        let mut rights = Rights::clone(&self.default.rights());
        let rule = match password {
            [] => b"nopass".to_vec(),
            _ => [b">", password].concat(),
        };
        for rule in [&b"resetpass"[..], &rule] {
            // These are rules.
            let _ = rights.apply(terms, rule);
        }
        self.default.set(Arc::new(rights));
        self.publish();
    }

    /// Puts other users in the place of those there are. The default user remains the same, with the
    /// rights it has among the new ones. Returns those that are gone.
    fn replace(&self, config: &Config, mut new: Users) -> Vec<Arc<User>> {
        let mut users = self.users();
        let default = match new.get(DEFAULT_USER) {
            Some(user) => user.rights(),
            None => Arc::new(Rights::of_default_user(self.terms(config))),
        };
        self.default.set(default);
        new.insert(DEFAULT_USER.to_vec(), self.default.clone());
        let old = std::mem::replace(&mut *users, new);
        let gone = old.into_values();
        let gone: Vec<_> = gone
            .filter(|user| !Arc::ptr_eq(user, &self.default))
            .collect();
        for user in &gone {
            user.deleted.store(true, Ordering::Release);
        }
        self.publish();
        gone
    }

    /// What has been refused.
    pub fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
