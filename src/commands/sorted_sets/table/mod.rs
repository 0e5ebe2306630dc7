//! The sorted set commands' part of the command table.

mod algebra;
mod blocking;
mod members;
mod ranges;

pub use algebra::ALGEBRA_COMMANDS;
pub use blocking::BLOCKING_COMMANDS;
pub use members::MEMBER_COMMANDS;
pub use ranges::RANGE_COMMANDS;

use crate::commands::spec::{Categories, CommandSpec, Docs};

/// What all sorted set commands share.
const SORTED_SET: CommandSpec = CommandSpec {
    categories: Categories::SORTED_SET,
    ..CommandSpec::NEW
};

/// What the documentation of all sorted set commands shares.
const DOCS: Docs = Docs {
    group: "sorted-set",
    ..Docs::NEW
};
