//! Redis' glob patterns without regard to case: `*`, `?`, `[abc]`, `[^a-z]` and `\` before a literal character.
//!
//! Time is at most proportional to the product of both lengths: only the last `*` is ever retried.

/// Whether a pattern is more than a plain name, by Redis' rule for `CONFIG GET`.
pub(super) fn has_wildcard(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| b"[*?".contains(byte))
}

/// Whether all of `text` matches `pattern`.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern_at, mut text_at) = (0, 0);
    // After the last `*`: the pattern that follows it, and where in the text that pattern was last tried.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(pattern_at) == Some(&b'*') {
            pattern_at += 1;
            retry = Some((pattern_at, text_at));
            continue;
        }
        match text.get(text_at) {
            None => return pattern_at == pattern.len(),
            Some(&byte) => {
                if let Some(length) = match_one(&pattern[pattern_at..], byte) {
                    pattern_at += length;
                    text_at += 1;
                    continue;
                }
            }
        }
        let Some((after_star, tried)) = retry else {
            return false;
        };
        (pattern_at, text_at) = (after_star, tried + 1);
        retry = Some((after_star, text_at));
    }
}

/// Matches one byte with the pattern's first element, and returns that element's length.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    let same = |other: &u8| other.eq_ignore_ascii_case(&byte);
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (matched, length) = match_class(class, byte);
            matched.then_some(1 + length)
        }
        [b'\\', literal, ..] => same(literal).then_some(2),
        [literal, ..] => same(literal).then_some(1),
    }
}

/// Matches one byte with a class (after its `[`), and returns the class's length. A class that is not closed ends
/// with the pattern.
fn match_class(class: &[u8], byte: u8) -> (bool, usize) {
    let byte = byte.to_ascii_lowercase();
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut matched = false;
    loop {
        match &class[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', literal, ..] => {
                matched |= literal.to_ascii_lowercase() == byte;
                at += 2;
            }
            [start, b'-', end, ..] => {
                let (start, end) = (start.to_ascii_lowercase(), end.to_ascii_lowercase());
                matched |= (start.min(end)..=start.max(end)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                matched |= literal.to_ascii_lowercase() == byte;
                at += 1;
            }
        }
    }
    (matched != negated, at)
}

#[cfg(test)]
mod tests {
    use super::{has_wildcard, matches};

    #[test]
    fn follows_the_rules_of_redis() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "maxmemory", true),
            ("MAXMEM*", "maxmemory", true),
            ("*memory*", "maxmemory-policy", true),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbxc", false),
            ("h?", "hz", true),
            ("h?", "h", false),
            ("[hm]z", "hz", true),
            ("[^a-y]*", "zset", true),
            ("[^a-y]*", "yset", false),
            ("[y-a]z", "hz", true),
            ("[h", "h", true),
            ("[]h", "h", false),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("hz", "hz ", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern:?} {text:?}"
            );
        }
        assert!(has_wildcard(b"a[b") && !has_wildcard(b"a\\b"));
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "*a".repeat(1000) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(5000).as_bytes()));
    }
}
