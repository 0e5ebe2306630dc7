//! What was refused lately (`ACL LOG`).

use std::collections::VecDeque;

/// How many of the latest entries one more of the same is looked for among.
const SCANNED: usize = 10;
/// How long an entry takes in more of the same, in milliseconds.
const MERGED_WITHIN_MS: u64 = 60_000;

/// Why something was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The command.
    Command,
    /// A key.
    Key,
    /// A channel.
    Channel,
    /// The user or its password.
    Authentication,
}

impl Reason {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Authentication => "auth",
        }
    }
}

/// Where the command stood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// By itself.
    TopLevel,
    /// In a transaction.
    Multi,
    /// In a script.
    Lua,
}

impl Context {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

/// What was refused, as often as it was.
#[derive(Clone, Debug)]
pub struct Entry {
    /// How often.
    pub count: u64,
    /// Why.
    pub reason: Reason,
    /// Where.
    pub context: Context,
    /// The command, key or channel.
    pub object: Vec<u8>,
    /// Who asked, or claimed to be.
    pub username: Vec<u8>,
    /// When it was last, Unix milliseconds.
    pub time_ms: u64,
    /// The client's line of `CLIENT LIST`, as of the last time.
    pub client: String,
}

impl Entry {
    fn is_like(&self, other: &Entry) -> bool {
        self.reason == other.reason
            && self.context == other.context
            && self.object == other.object
            && self.username == other.username
            && self.time_ms.abs_diff(other.time_ms) <= MERGED_WITHIN_MS
    }
}

/// See the module. The latest entry is the first.
#[derive(Default)]
pub struct Log {
    entries: VecDeque<Entry>,
}

impl Log {
    /// Takes in an entry, and forgets the oldest beyond `max`.
    pub fn add(&mut self, mut entry: Entry, max: usize) {
        let like = |old: &Entry| old.is_like(&entry);
        if let Some(index) = self.entries.iter().take(SCANNED).position(like)
            && let Some(old) = self.entries.remove(index)
        {
            entry.count += old.count;
        }
        self.entries.push_front(entry);
        self.entries.truncate(max);
    }

    /// The latest entries.
    pub fn latest(&self, count: usize) -> Vec<Entry> {
        self.entries.iter().take(count).cloned().collect()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(object: &str, time_ms: u64) -> Entry {
        Entry {
            count: 1,
            reason: Reason::Key,
            context: Context::TopLevel,
            object: object.into(),
            username: b"alice".to_vec(),
            time_ms,
            client: String::new(),
        }
    }

    #[test]
    fn the_same_within_a_minute_is_one_entry() {
        let mut log = Log::default();
        for (object, time_ms) in [("a", 0), ("b", 1), ("a", 60_000), ("b", 60_002)] {
            log.add(entry(object, time_ms), 3);
        }
        let told: Vec<_> = log
            .latest(9)
            .into_iter()
            .map(|it| (it.object, it.count))
            .collect();
        assert_eq!(
            told,
            [(b"b".to_vec(), 1), (b"a".to_vec(), 2), (b"b".to_vec(), 1)]
        );
        log.add(entry("c", 60_002), 3);
        assert_eq!(log.latest(9).len(), 3);
        log.clear();
        assert!(log.latest(9).is_empty());
    }
}
