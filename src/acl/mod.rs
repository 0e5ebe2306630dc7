//! Who may do what: users, their rules, and the check of a command against them
//! (<https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>).
//!
//! A connection holds the *account* it is logged in as. A user who may do everything costs a command one load; what
//! others may do is looked up in an immutable [`User`], which is replaced as a whole when its rules change.

mod account;
mod command_set;
pub mod file;
mod foreign;
pub mod log;
mod password;
mod rule_error;
mod selector;
mod split;
mod universe;
mod user;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

pub use account::Account;
pub use password::PasswordHash;
pub use rule_error::RuleError;
pub use selector::{Denied, Selector};
pub use split::{has_spaces, merge_selectors};
pub use universe::category;
pub use user::User;

use log::Log;

/// The user whom connections begin as.
pub const DEFAULT_USER: &[u8] = b"default";

/// Accounts by their names, in order.
pub type Accounts = BTreeMap<Vec<u8>, Arc<Account>>;

/// All accounts of a server.
pub struct Acl {
    default: Arc<Account>,
    /// Locked while users change or are looked for by name.
    accounts: Mutex<Accounts>,
    /// What was refused.
    pub log: Mutex<Log>,
}

impl Acl {
    /// With nobody but the default user, and its password; empty for none.
    pub fn new(password: &[u8]) -> Self {
        let mut user = User::everyone();
        user.set_password(password);
        let default = Arc::new(Account::new(DEFAULT_USER, user));
        Acl {
            accounts: Mutex::new(Accounts::from([(DEFAULT_USER.to_vec(), default.clone())])),
            default,
            log: Mutex::default(),
        }
    }

    /// The account that connections begin with.
    pub fn default_account(&self) -> &Arc<Account> {
        &self.default
    }

    /// The account of this name.
    pub fn get(&self, name: &[u8]) -> Option<Arc<Account>> {
        self.accounts.lock().get(name).cloned()
    }

    /// All accounts, to look at and to change.
    pub fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock()
    }

    /// The account of this user, if the password is right.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<Account>> {
        let account = self.get(name)?;
        account.user().accepts(password).then_some(account)
    }

    /// Makes this the default user's password; empty for none (`requirepass`).
    pub fn set_default_password(&self, password: &[u8]) {
        let _changing = self.accounts.lock();
        let mut user = User::clone(&self.default.user());
        user.set_password(password);
        self.default.set(user);
    }

    /// Replaces all users. The default user is as at first if it is not among them. Returns the accounts that are gone:
    /// all but the default user's, even if there is a user of the same name again.
    pub fn replace(&self, mut users: file::Users) -> Vec<Arc<Account>> {
        let mut accounts = self.accounts.lock();
        let default = users.remove(DEFAULT_USER);
        self.default.set(default.unwrap_or_else(User::everyone));
        let new = users.into_iter().map(|(name, user)| {
            let account = Account::new(&name, user);
            (name, Arc::new(account))
        });
        let mut new: Accounts = new.collect();
        new.insert(DEFAULT_USER.to_vec(), self.default.clone());
        let mut old = std::mem::replace(&mut *accounts, new);
        old.remove(DEFAULT_USER);
        old.into_values()
            .inspect(|account| close(account))
            .collect()
    }

    /// Removes a user. Returns its account, if there was one.
    pub fn remove(&self, name: &[u8]) -> Option<Arc<Account>> {
        let account = self.accounts.lock().remove(name)?;
        close(&account);
        Some(account)
    }

    /// The lines that describe all users in a file.
    pub fn text(&self) -> Vec<u8> {
        let users: Vec<_> = {
            let accounts = self.accounts.lock();
            accounts
                .values()
                .map(|it| (it.clone(), it.user()))
                .collect()
        };
        file::text(
            users
                .iter()
                .map(|(account, user)| (account.name(), &**user)),
        )
    }

    /// What a configuration file has to say of the users: a line for each, without the word `user`. None if there is
    /// nobody but the default user with this password.
    ///
    /// # Errors
    /// A name or rule is no text.
    pub fn lines_beside(&self, password: &[u8]) -> Result<Vec<String>, std::string::FromUtf8Error> {
        let mut expected = User::everyone();
        expected.set_password(password);
        if self.accounts.lock().len() == 1 && *self.default.user() == expected {
            return Ok(Vec::new());
        }
        let text = String::from_utf8(self.text())?;
        let lines = text.lines().filter_map(|line| line.strip_prefix("user "));
        Ok(lines.map(str::to_owned).collect())
    }
}

/// Takes all rights from an account that is gone: who logs in as that just now may do nothing.
fn close(account: &Account) {
    account.set(User::new(false));
}
