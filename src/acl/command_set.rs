//! Which commands a selector allows.

use std::collections::BTreeMap;

use super::universe::Universe;

/// A bit for each command of the universe, and what is allowed of the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandSet {
    bits: Vec<u64>,
    /// Whether commands are allowed that are yet to come: it began with all of them.
    pub has_future: bool,
    /// Whether nothing was taken away since all were allowed.
    pub is_everything: bool,
    /// First arguments with which a command is allowed that is not as a whole.
    first_arguments: BTreeMap<usize, Vec<Vec<u8>>>,
}

impl CommandSet {
    /// No command.
    pub fn nothing() -> Self {
        CommandSet {
            bits: vec![0; Universe::get().all().len().div_ceil(64)],
            has_future: false,
            is_everything: false,
            first_arguments: BTreeMap::new(),
        }
    }

    /// Every command.
    pub fn everything() -> Self {
        let mut set = CommandSet::nothing();
        set.bits.fill(u64::MAX);
        set.has_future = true;
        set.is_everything = true;
        set
    }

    /// Whether a command is allowed whatever its arguments.
    #[inline]
    pub fn contains(&self, index: usize) -> bool {
        self.bits[index / 64] & (1 << (index % 64)) != 0
    }

    /// Whether a command is allowed with this first argument.
    pub fn contains_with(&self, index: usize, argument: Option<&[u8]>) -> bool {
        let allowed = self.first_arguments(index);
        argument.is_some_and(|argument| {
            allowed
                .iter()
                .any(|other| other.eq_ignore_ascii_case(argument))
        })
    }

    /// The first arguments with which a command is allowed.
    pub fn first_arguments(&self, index: usize) -> &[Vec<u8>] {
        self.first_arguments.get(&index).map_or(&[], Vec::as_slice)
    }

    /// Allows a command or not, with all of its subcommands.
    pub fn set(&mut self, index: usize, is_allowed: bool) {
        let bit = 1 << (index % 64);
        if is_allowed {
            self.bits[index / 64] |= bit;
        } else {
            self.bits[index / 64] &= !bit;
            self.is_everything = false;
        }
        self.first_arguments.remove(&index);
        for &subcommand in &Universe::get().all()[index].subcommands {
            self.set(subcommand, is_allowed);
        }
    }

    /// Allows the commands of some categories or not.
    pub fn set_categories(&mut self, categories: u32, is_allowed: bool) {
        for (index, known) in Universe::get().all().iter().enumerate() {
            if known.categories & categories != 0 {
                self.set(index, is_allowed);
            }
        }
    }

    /// Allows a command with a first argument.
    pub fn allow_with(&mut self, index: usize, argument: &[u8]) {
        if !self.contains_with(index, Some(argument)) {
            let allowed = self.first_arguments.entry(index).or_default();
            allowed.push(argument.to_vec());
        }
    }

    /// How many of the commands of a category in Redis are allowed, and how many are not.
    fn count(&self, category: u32) -> (usize, usize) {
        let all = Universe::get().all().iter().enumerate();
        let of_category =
            all.filter(|(_, known)| known.is_redis && known.categories & category != 0);
        let (on, off): (Vec<_>, Vec<_>) = of_category.partition(|(index, _)| self.contains(*index));
        (on.len(), off.len())
    }

    /// The rules that lead to this set, as Redis tells them: from all or nothing, the categories that bring it nearest
    /// one after the other, then single commands.
    pub fn rules(&self) -> String {
        let adds = !self.has_future;
        let (mut rules, mut reached) = if adds {
            ("-@all".to_owned(), CommandSet::nothing())
        } else {
            ("+@all".to_owned(), CommandSet::everything())
        };
        let mut left = self.clone();
        let mut applied = 0;
        while let Some((bit, name)) = left.nearest_category(adds, applied) {
            let sign = if adds { '+' } else { '-' };
            rules += &format!(" {sign}@{name}");
            reached.set_categories(bit, adds);
            left.set_categories(bit, !adds);
            applied |= bit;
        }
        for index in Universe::get().top_level() {
            self.add_single(index, &mut reached, &mut rules);
        }
        rules
    }

    /// The category that has more commands to be changed than not, and the fewest of those; among equals the one with
    /// the most to be changed, and the first of these.
    fn nearest_category(&self, adds: bool, applied: u32) -> Option<(u32, &'static str)> {
        let mut nearest = None;
        let (mut least, mut most) = (usize::MAX, 0);
        for (index, name) in crate::commands::categories::names().enumerate() {
            let bit = 1 << index;
            if applied & bit != 0 {
                continue;
            }
            let (on, off) = self.count(bit);
            let (same, different) = if adds { (on, off) } else { (off, on) };
            let is_nearer = different < least || different == least && same > most;
            if same > different && is_nearer {
                nearest = Some((bit, name));
                (least, most) = (different, same);
            }
        }
        nearest
    }

    /// Appends what a command and its subcommands lack to be as they should.
    fn add_single(&self, index: usize, reached: &mut CommandSet, rules: &mut String) {
        let known = &Universe::get().all()[index];
        let is_allowed = self.contains(index);
        if reached.contains(index) != is_allowed {
            let sign = if is_allowed { '+' } else { '-' };
            rules.push_str(&format!(" {sign}{}", known.name));
            reached.set(index, is_allowed);
        }
        for &subcommand in &known.subcommands {
            self.add_single(subcommand, reached, rules);
        }
        if !is_allowed {
            for argument in self.first_arguments(index) {
                let argument = String::from_utf8_lossy(argument);
                rules.push_str(&format!(" +{}|{argument}", known.name));
            }
        }
    }
}
