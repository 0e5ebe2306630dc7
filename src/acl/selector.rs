//! A set of permissions: commands, keys, channels. A user may do what any one of its selectors allows.

use super::command_set::CommandSet;
use super::rule_error::RuleError;
use super::split::{has_spaces, split_quoted};
use super::universe::{Universe, category};
use crate::commands::command::keys;
use crate::commands::table::Command;
use crate::commands::{Flags, KeyFlags, Locks};
use crate::glob::{self, Case};

use coterie_protocol::Request;

/// What a key may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Its value may be read.
    pub reads: bool,
    /// Its value may be changed.
    pub writes: bool,
}

impl Access {
    /// Both.
    pub const FULL: Access = Access {
        reads: true,
        writes: true,
    };

    /// What a command needs that does this with a key.
    fn needed(flags: KeyFlags) -> Self {
        Access {
            reads: flags.contains(KeyFlags::ACCESS),
            writes: flags.intersects(KeyFlags::INSERT | KeyFlags::DELETE | KeyFlags::UPDATE),
        }
    }

    fn covers(self, needed: Access) -> bool {
        (self.reads || !needed.reads) && (self.writes || !needed.writes)
    }
}

/// Keys that may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyPattern {
    pattern: Vec<u8>,
    access: Access,
}

impl KeyPattern {
    /// As a rule.
    fn rule(&self) -> Vec<u8> {
        let before: &[u8] = match (self.access.reads, self.access.writes) {
            (true, false) => b"%R~",
            (false, true) => b"%W~",
            _ => b"~",
        };
        [before, &self.pattern].concat()
    }

    /// Reads what stands behind `%`, or all of `~pattern`.
    fn parse(rule: &[u8]) -> Result<Self, RuleError> {
        let (access, pattern) = match rule {
            [b'~', pattern @ ..] => (Access::FULL, pattern),
            [_, letters_and_pattern @ ..] => {
                let mut access = Access {
                    reads: false,
                    writes: false,
                };
                let mut rest = letters_and_pattern;
                while let [letter, after @ ..] = rest {
                    rest = after;
                    match letter.to_ascii_uppercase() {
                        b'R' if !access.reads => access.reads = true,
                        b'W' if !access.writes => access.writes = true,
                        b'~' if access.reads || access.writes => break,
                        _ => return Err(RuleError::Syntax),
                    }
                }
                if !access.reads && !access.writes {
                    return Err(RuleError::Syntax);
                }
                (access, rest)
            }
            [] => return Err(RuleError::Syntax),
        };
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        Ok(KeyPattern {
            pattern: pattern.to_vec(),
            access,
        })
    }
}

/// Why a command is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Denied {
    /// The command itself.
    Command,
    /// The key at this place among the arguments.
    Key(usize),
    /// The channel at this place among the arguments.
    Channel(usize),
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selector {
    commands: CommandSet,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    all_channels: bool,
    channels: Vec<Vec<u8>>,
}

impl Selector {
    /// Allows nothing, except perhaps every channel (`acl-pubsub-default`).
    pub fn new(all_channels: bool) -> Self {
        Selector {
            commands: CommandSet::nothing(),
            all_keys: false,
            keys: Vec::new(),
            all_channels,
            channels: Vec::new(),
        }
    }

    /// Allows everything.
    pub fn unrestricted() -> Self {
        Selector {
            commands: CommandSet::everything(),
            all_keys: true,
            ..Selector::new(true)
        }
    }

    /// Whether it allows everything.
    pub fn is_unrestricted(&self) -> bool {
        self.commands.is_everything && self.all_keys && self.all_channels
    }

    /// The selector of a rule in parentheses, which are not part of `rules`.
    pub fn parse(rules: &[u8], all_channels: bool) -> Result<Self, RuleError> {
        let mut selector = Selector::new(all_channels);
        // As in Redis, where a quote that is not closed makes it an empty list.
        for rule in split_quoted(rules).unwrap_or_default() {
            selector.apply(&rule)?;
        }
        Ok(selector)
    }

    /// Applies a rule. An error leaves it as it was.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"allkeys" | b"~*" => self.set_keys(true),
            b"resetkeys" => self.set_keys(false),
            b"allchannels" | b"&*" => self.set_channels(true),
            b"resetchannels" => self.set_channels(false),
            b"allcommands" | b"+@all" => self.commands = CommandSet::everything(),
            b"nocommands" | b"-@all" => self.commands = CommandSet::nothing(),
            [b'~' | b'%', ..] => return self.add_keys(rule),
            [b'&', ..] => return self.add_channels(&rule[1..]),
            [sign @ (b'+' | b'-'), b'@', name @ ..] => {
                let category = category(name).ok_or(RuleError::Unknown)?;
                self.commands.set_categories(category, *sign == b'+');
            }
            [b'+', ..] => return self.allow(&rule[1..]),
            [b'-', name @ ..] => {
                let command = Universe::get().find(name).ok_or(RuleError::Unknown)?;
                self.commands.set(command, false);
            }
            _ => return Err(RuleError::Syntax),
        }
        Ok(())
    }

    fn set_keys(&mut self, all: bool) {
        self.all_keys = all;
        self.keys.clear();
    }

    fn set_channels(&mut self, all: bool) {
        self.all_channels = all;
        self.channels.clear();
    }

    fn add_keys(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::AllKeys);
        }
        let new = KeyPattern::parse(rule)?;
        match self.keys.iter_mut().find(|old| old.pattern == new.pattern) {
            Some(old) => {
                old.access.reads |= new.access.reads;
                old.access.writes |= new.access.writes;
            }
            None => self.keys.push(new),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::AllChannels);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|other| other == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    /// `name`, `container|subcommand` or `name|argument`.
    fn allow(&mut self, what: &[u8]) -> Result<(), RuleError> {
        let universe = Universe::get();
        let Some(bar) = what.iter().rposition(|&byte| byte == b'|') else {
            let command = universe.find(what).ok_or(RuleError::Unknown)?;
            self.commands.set(command, true);
            return Ok(());
        };
        let (name, argument) = (&what[..bar], &what[bar + 1..]);
        let command = universe.find(name).ok_or(RuleError::Unknown)?;
        let known = &universe.all()[command];
        if known.is_subcommand {
            return Err(RuleError::FirstArgument);
        }
        if argument.is_empty() {
            return Err(RuleError::Syntax);
        }
        if known.subcommands.is_empty() {
            self.commands.allow_with(command, argument);
        } else {
            let subcommand = universe.find(what).ok_or(RuleError::Unknown)?;
            self.commands.set(subcommand, true);
        }
        Ok(())
    }

    /// Whether a request is allowed.
    pub fn check(&self, command: &Command, request: Request<'_>) -> Result<(), Denied> {
        let spec = command.spec;
        let is_free = self.commands.is_everything || spec.flags.contains(Flags::NO_AUTH);
        if !is_free && !self.commands.contains(command.index) {
            let argument = request.get(if spec.name.contains('|') { 2 } else { 1 });
            if !self.commands.contains_with(command.index, argument) {
                return Err(Denied::Command);
            }
        }
        if !self.all_keys && !spec.key_specs.is_empty() {
            for (place, flags) in keys::accesses(spec, request) {
                if !self.allows_key(request.arg(place), Access::needed(flags)) {
                    return Err(Denied::Key(place));
                }
            }
        }
        // The elements name what it reads.
        if let Locks::Asked(reads_any_key) = spec.locks
            && reads_any_key(request)
            && !self.reads_all_keys()
        {
            return Err(Denied::Key(1));
        }
        if !self.all_channels
            && let Some(channels) = Channels::of(spec.name)
        {
            for place in 1..request.len().min(channels.end) {
                if !self.allows_channel(request.arg(place), channels.are_patterns) {
                    return Err(Denied::Channel(place));
                }
            }
        }
        Ok(())
    }

    fn reads_all_keys(&self) -> bool {
        let mut keys = self.keys.iter();
        self.all_keys || keys.any(|it| it.access.reads && it.pattern == b"*")
    }

    fn allows_key(&self, key: &[u8], needed: Access) -> bool {
        self.all_keys
            || self.keys.iter().any(|it| {
                it.access.covers(needed) && glob::matches(&it.pattern, key, Case::Sensitive)
            })
    }

    /// Whether a channel may be used, or a pattern be listened to: that must be among those of the rules.
    pub fn allows_channel(&self, name: &[u8], is_pattern: bool) -> bool {
        self.all_channels
            || self.channels.iter().any(|pattern| {
                if is_pattern {
                    pattern == name
                } else {
                    glob::matches(pattern, name, Case::Sensitive)
                }
            })
    }

    /// The rules for commands, in Redis' form.
    pub fn command_rules(&self) -> String {
        self.commands.rules()
    }

    /// The rules for keys.
    pub fn key_rules(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let rules: Vec<Vec<u8>> = self.keys.iter().map(KeyPattern::rule).collect();
        rules.join(&b' ')
    }

    /// The rules for channels.
    pub fn channel_rules(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let rule = |pattern: &Vec<u8>| [b"&", pattern.as_slice()].concat();
        let rules: Vec<Vec<u8>> = self.channels.iter().map(rule).collect();
        rules.join(&b' ')
    }

    /// Rules that make it what it is, applied to one that allows nothing or to any other.
    pub fn rules(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        if self.all_keys || !self.keys.is_empty() {
            parts.push(self.key_rules());
        }
        if !self.all_channels {
            parts.push(b"resetchannels".to_vec());
        }
        if self.all_channels || !self.channels.is_empty() {
            parts.push(self.channel_rules());
        }
        parts.push(self.command_rules().into_bytes());
        parts.join(&b' ')
    }
}

/// The channels among a command's arguments: from the first on.
struct Channels {
    /// The argument they end before.
    end: usize,
    are_patterns: bool,
}

impl Channels {
    fn of(name: &str) -> Option<Self> {
        let (end, are_patterns) = match name {
            "publish" | "spublish" => (2, false),
            "subscribe" | "ssubscribe" => (usize::MAX, false),
            "psubscribe" => (usize::MAX, true),
            _ => return None,
        };
        Some(Channels { end, are_patterns })
    }
}
