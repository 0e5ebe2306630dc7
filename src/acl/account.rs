//! A user as those see it who are logged in as that: they hold on to the account, and the user in it changes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::user::User;

/// See the module.
pub struct Account {
    name: Box<[u8]>,
    user: ArcSwap<User>,
    /// What every command asks first: whether there is nothing to be checked.
    is_unrestricted: AtomicBool,
    /// Whether everyone is let in.
    is_open: AtomicBool,
}

impl Account {
    /// An account of this user.
    pub fn new(name: &[u8], user: User) -> Self {
        let account = Account {
            name: name.into(),
            user: ArcSwap::from_pointee(User::new(false)),
            is_unrestricted: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
        };
        account.set(user);
        account
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its user, as of now.
    pub fn user(&self) -> Arc<User> {
        self.user.load_full()
    }

    /// Replaces its user. Whoever is logged in as that has other rights from its next command on.
    pub fn set(&self, user: User) {
        let is_unrestricted = user.is_unrestricted();
        let is_open = user.is_on && user.no_password;
        // Nobody is without a check while the rights are there no more.
        if !is_unrestricted {
            self.is_unrestricted.store(false, Ordering::Release);
        }
        self.user.store(Arc::new(user));
        self.is_unrestricted
            .store(is_unrestricted, Ordering::Release);
        self.is_open.store(is_open, Ordering::Release);
    }

    /// Whether everything is allowed.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.is_unrestricted.load(Ordering::Acquire)
    }

    /// Whether everyone is let in without a word.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Account({})", self.name.escape_ascii())
    }
}
