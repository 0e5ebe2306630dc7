//! Where Coterie answers otherwise than Redis on purpose. Every entry is an exact line of a script.

/// Script, line, and why the replies may differ.
const DIFFERENCES: &[(&str, &str, &str)] = &[];

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
