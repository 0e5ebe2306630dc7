//! The commands that rules can name: those of this server, and those of Redis 7.0 that it does not have.
//!
//! Rules written for Redis (`-replicaof`, `+@all -module`) are to be accepted, and shown in the form in which Redis shows
//! them. What Redis does not have takes no part in the choice of that form.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::foreign::FOREIGN;
use crate::commands::table;
use crate::commands::{CommandSpec, Flags, categories};

/// A command that a rule can name.
pub struct Known {
    /// Its full name, in lower case.
    pub name: &'static str,
    /// Its categories, a bit each in the order of [`categories::names`].
    pub categories: u32,
    /// Its subcommands.
    pub subcommands: Vec<usize>,
    /// Whether it is a subcommand.
    pub is_subcommand: bool,
    /// Whether Redis 7.0 has it.
    pub is_redis: bool,
}

/// See the module. A command is known by its index; those of this server have the index of [`table::Command`].
pub struct Universe {
    known: Vec<Known>,
    by_name: HashMap<&'static str, usize>,
}

impl Universe {
    /// The only one.
    pub fn get() -> &'static Universe {
        static UNIVERSE: OnceLock<Universe> = OnceLock::new();
        UNIVERSE.get_or_init(Universe::new)
    }

    fn new() -> Self {
        let own = table::all().iter().map(|command| of_spec(command.spec));
        let foreign = FOREIGN
            .iter()
            .filter(|(name, _)| table::by_name(name.as_bytes()).is_none())
            .map(|(name, categories)| known(name, categories.split(' '), true));
        let mut known: Vec<Known> = own.chain(foreign).collect();
        let names = known.iter().enumerate();
        let by_name: HashMap<&'static str, usize> =
            names.map(|(index, known)| (known.name, index)).collect();
        for index in 0..known.len() {
            if let Some((container, _)) = known[index].name.split_once('|') {
                known[by_name[container]].subcommands.push(index);
            }
        }
        Universe { known, by_name }
    }

    /// All commands.
    pub fn all(&self) -> &[Known] {
        &self.known
    }

    /// Those that are no subcommands.
    pub fn top_level(&self) -> impl Iterator<Item = usize> {
        (0..self.known.len()).filter(|&index| !self.known[index].is_subcommand)
    }

    /// A command by its full name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        let name = str::from_utf8(name).ok()?.to_ascii_lowercase();
        self.by_name.get(name.as_str()).copied()
    }
}

/// The bit of a category by its name, in any case.
pub fn category(name: &[u8]) -> Option<u32> {
    let is_it = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    categories::names().position(is_it).map(|index| 1 << index)
}

fn known<'n>(
    name: &'static str,
    categories: impl Iterator<Item = &'n str>,
    is_redis: bool,
) -> Known {
    Known {
        name,
        categories: categories
            .filter_map(|name| category(name.as_bytes()))
            .sum(),
        subcommands: Vec::new(),
        is_subcommand: name.contains('|'),
        is_redis,
    }
}

fn of_spec(spec: &'static CommandSpec) -> Known {
    let is_redis = !spec.flags.contains(Flags::INTERNAL)
        && !spec.name.starts_with("coterie.")
        && is_of_redis_7_0(spec.docs.since);
    known(spec.name, categories::of(spec), is_redis)
}

/// Whether a command that came with this version of Redis is in 7.0.
fn is_of_redis_7_0(since: &str) -> bool {
    let mut numbers = since.split('.').map(|number| number.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version <= (7, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_this_server_have_the_index_of_the_table() {
        let universe = Universe::get();
        for command in table::all() {
            assert_eq!(universe.all()[command.index].name, command.spec.name);
        }
        assert!(universe.find(b"ReplicaOf").is_some());
        assert!(universe.find(b"nosuch").is_none());
    }

    #[test]
    fn what_redis_lacks_takes_no_part_in_the_choice_of_a_form() {
        let universe = Universe::get();
        let is_redis =
            |name: &str| universe.all()[universe.find(name.as_bytes()).unwrap()].is_redis;
        assert!(is_redis("get") && is_redis("client|list") && is_redis("replicaof"));
        assert!(!is_redis("coterie.consistency"));
    }
}
