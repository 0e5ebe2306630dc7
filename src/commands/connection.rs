//! A connection's own state: protocol, login, database.

use super::spec::CommandSpec;

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[];
