//! A user: how it logs in, and what it may do.

use super::password::PasswordHash;
use super::rule_error::RuleError;
use super::selector::{Denied, Selector};
use crate::commands::table::Command;

use coterie_protocol::Request;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Whether it can log in.
    pub is_on: bool,
    /// Whether any password is right.
    pub no_password: bool,
    /// `sanitize-payload` or `skip-sanitize-payload`, if either was said. Payloads are checked always.
    sanitizes: Option<bool>,
    passwords: Vec<PasswordHash>,
    root: Selector,
    selectors: Vec<Selector>,
}

impl User {
    /// A new user, who is off and may do nothing, except perhaps use every channel (`acl-pubsub-default`).
    pub fn new(all_channels: bool) -> Self {
        User {
            is_on: false,
            no_password: false,
            sanitizes: None,
            passwords: Vec::new(),
            root: Selector::new(all_channels),
            selectors: Vec::new(),
        }
    }

    /// The default user as it is where nothing else was said: everyone, who may do everything.
    pub fn everyone() -> Self {
        User {
            is_on: true,
            no_password: true,
            root: Selector::unrestricted(),
            ..User::new(true)
        }
    }

    /// Makes this the only password; an empty one lets everyone in (`requirepass`).
    pub fn set_password(&mut self, password: &[u8]) {
        self.no_password = password.is_empty();
        self.passwords.clear();
        if !password.is_empty() {
            self.passwords.push(PasswordHash::of(password));
        }
    }

    /// Applies a rule; an error leaves the user as it was. `all_channels` is what new selectors begin with.
    pub fn apply(&mut self, rule: &[u8], all_channels: bool) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"" => {}
            b"on" => self.is_on = true,
            b"off" => self.is_on = false,
            b"nopass" => {
                self.no_password = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.no_password = false;
                self.passwords.clear();
            }
            b"sanitize-payload" => self.sanitizes = Some(true),
            b"skip-sanitize-payload" => self.sanitizes = Some(false),
            b"clearselectors" => self.selectors.clear(),
            b"reset" => {
                *self = User::new(all_channels);
                self.sanitizes = Some(true);
            }
            [b'>', ..] => self.add_password(PasswordHash::of(&rule[1..])),
            [b'#', ..] => self.add_password(hash(&rule[1..])?),
            [b'<', ..] => self.remove_password(PasswordHash::of(&rule[1..]))?,
            [b'!', ..] => self.remove_password(hash(&rule[1..])?)?,
            [b'(', .., b')'] => {
                let rules = &rule[1..rule.len() - 1];
                self.selectors.push(Selector::parse(rules, all_channels)?);
            }
            _ => self.root.apply(rule)?,
        }
        Ok(())
    }

    fn add_password(&mut self, hash: PasswordHash) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        self.no_password = false;
    }

    fn remove_password(&mut self, hash: PasswordHash) -> Result<(), RuleError> {
        let index = self.passwords.iter().position(|other| *other == hash);
        self.passwords
            .remove(index.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }

    /// Whether it can log in with this password.
    pub fn accepts(&self, password: &[u8]) -> bool {
        let given = PasswordHash::of(password);
        // All of them, so that the time does not tell which one it is.
        let matching = self.passwords.iter().filter(|hash| hash.matches(&given));
        let is_right = matching.count() > 0;
        self.is_on && (self.no_password || is_right)
    }

    /// Whether everything is allowed.
    pub fn is_unrestricted(&self) -> bool {
        self.all_selectors().any(Selector::is_unrestricted)
    }

    /// Whether a request is allowed.
    ///
    /// # Errors
    /// It is not. If some selector allows the command itself, what that lacks: of several the channel, then the key, that
    /// stands last.
    pub fn check(&self, command: &Command, request: Request<'_>) -> Result<(), Denied> {
        let mut relevant = Denied::Command;
        for selector in self.all_selectors() {
            match selector.check(command, request) {
                Ok(()) => return Ok(()),
                Err(denied) => relevant = relevant.max(denied),
            }
        }
        Err(relevant)
    }

    /// Whether a channel may be used, by any selector.
    pub fn allows_channel(&self, name: &[u8], is_pattern: bool) -> bool {
        let mut selectors = self.all_selectors();
        selectors.any(|selector| selector.allows_channel(name, is_pattern))
    }

    /// The permissions that are not in parentheses.
    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// Those that are.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// Its flags.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let is_on = if self.is_on { "on" } else { "off" };
        let sanitizes = match self.sanitizes {
            Some(true) => Some("sanitize-payload"),
            Some(false) => Some("skip-sanitize-payload"),
            None => None,
        };
        let no_password = self.no_password.then_some("nopass");
        std::iter::once(is_on).chain(no_password).chain(sanitizes)
    }

    /// Its passwords.
    pub fn passwords(&self) -> impl ExactSizeIterator<Item = &PasswordHash> {
        self.passwords.iter()
    }

    /// Rules for what it may do, without those for logging in.
    pub fn permissions(&self) -> Vec<u8> {
        let selectors = self.selectors.iter().map(Selector::rules);
        let selectors = selectors.map(|rules| [b"(", rules.as_slice(), b")"].concat());
        let root = std::iter::once(self.root.rules());
        let parts: Vec<Vec<u8>> = root.chain(selectors).collect();
        parts.join(&b' ')
    }

    /// Rules that make a new user what it is.
    pub fn rules(&self) -> Vec<u8> {
        let flags = self.flags().map(|flag| flag.as_bytes().to_vec());
        let hashes = self.passwords().map(|hash| format!("#{hash}").into_bytes());
        let permissions = std::iter::once(self.permissions());
        let parts: Vec<Vec<u8>> = flags.chain(hashes).chain(permissions).collect();
        parts.join(&b' ')
    }

    /// The line that describes it in a file.
    pub fn line(&self, name: &[u8]) -> Vec<u8> {
        [b"user ", name, b" ", self.rules().as_slice()].concat()
    }
}

fn hash(text: &[u8]) -> Result<PasswordHash, RuleError> {
    PasswordHash::parse(text).ok_or(RuleError::Hash)
}
