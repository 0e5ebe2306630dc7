//! Bitmaps: strings seen as bits.

use super::spec::CommandSpec;

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[];
