//! The first line of a script that says what it does: `#!lua flags=no-writes,allow-oom`.

use crate::commands::error::CommandError;

/// What a script declares.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Declaration {
    /// There is such a line: otherwise the script is of the old kind, which may do anything.
    pub is_there: bool,
    /// It writes nothing.
    pub no_writes: bool,
    /// It may run although memory is over its limit.
    pub allow_oom: bool,
    /// All its keys are in one slot or it does not care.
    pub allow_cross_slot: bool,
}

/// Reads the declaration of a script.
///
/// # Errors
/// The line makes no sense.
pub fn declaration_of(text: &[u8]) -> Result<Declaration, CommandError> {
    let mut declared = Declaration::default();
    if !text.starts_with(b"#!") {
        return Ok(declared);
    }
    declared.is_there = true;
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else {
        return Err(CommandError::line("ERR Invalid script shebang"));
    };
    let mut words = text[..end]
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        return Err(CommandError::quoting(
            "ERR Unexpected engine in script shebang: ",
            engine,
            "",
        ));
    }
    for word in words {
        let Some(flags) = word.strip_prefix(b"flags=") else {
            return Err(CommandError::quoting(
                "ERR Unknown lua shebang option: ",
                word,
                "",
            ));
        };
        for flag in flags.split(|byte| *byte == b',') {
            match flag {
                b"" => {}
                b"no-writes" => declared.no_writes = true,
                b"allow-oom" => declared.allow_oom = true,
                b"allow-cross-slot-keys" => declared.allow_cross_slot = true,
                // Nothing here depends on these.
                b"allow-stale" | b"no-cluster" => {}
                other => {
                    return Err(CommandError::quoting(
                        "ERR Unexpected flag in script shebang: ",
                        other,
                        "",
                    ));
                }
            }
        }
    }
    Ok(declared)
}
