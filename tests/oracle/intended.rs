//! Where Coterie answers otherwise than Redis on purpose. Every entry is an exact line of a script.

/// Script, line, and why the replies may differ.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    (
        "server",
        "~unordered COMMAND INFO GET nosuch set",
        "the remarks in key specifications are in our own words",
    ),
    (
        "server",
        "CONFIG SET port abc",
        "the port can't be changed while running, whatever the value",
    ),
    (
        "server",
        "CONFIG SET maxmemory \"\"",
        "an empty memory size is refused, where Redis reads it as 0",
    ),
    (
        "hash_whole",
        "OBJECT ENCODING e2",
        "a copy is built anew, so it does not remember what the original once held",
    ),
    (
        "hash_whole",
        "OBJECT ENCODING e3",
        "a hash under a new name is built anew, so it does not remember what it once held",
    ),
];

/// Why the replies to this line of this script may differ, if they may.
pub fn reason(script: &str, line: &str) -> Option<&'static str> {
    DIFFERENCES
        .iter()
        .find(|(name, text, _)| *name == script && *text == line)
        .map(|(_, _, reason)| *reason)
}

/// The lines of a script whose replies differ on purpose.
pub fn lines(script: &str) -> impl Iterator<Item = &'static str> {
    DIFFERENCES
        .iter()
        .filter(move |(name, _, _)| *name == script)
        .map(|(_, line, _)| *line)
}
