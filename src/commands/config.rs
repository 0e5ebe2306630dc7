//! CONFIG: settings of the running server.

use super::spec::CommandSpec;

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[];
