//! INFO: what the server is and does, as text.

use super::spec::CommandSpec;

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[];
