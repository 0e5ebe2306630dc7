//! Keys of any type: existence, names, copies, whole databases.

use super::spec::CommandSpec;

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[];
