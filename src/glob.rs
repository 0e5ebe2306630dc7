//! Redis' glob patterns: `*`, `?`, `[abc]`, `[^a-z]` and `\` before a literal character.
//!
//! They follow Redis 7.0 in the corners too (`KEYS`, `SCAN`, `CONFIG GET`). Time is at most proportional to
//! the product of both lengths, whatever the number of stars: only the last `*` is ever retried.

/// Whether letters of different case are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Case {
    /// They differ.
    Sensitive,
    /// They don't, as far as ASCII goes. An escaped letter in a class stands for itself all the same.
    Insensitive,
}

impl Case {
    fn fold(self, byte: u8) -> u8 {
        match self {
            Case::Sensitive => byte,
            Case::Insensitive => byte.to_ascii_lowercase(),
        }
    }

    fn same(self, one: u8, other: u8) -> bool {
        self.fold(one) == self.fold(other)
    }

    /// Whether `byte` is between two others, in either order. Redis compares what C calls a char: signed.
    fn between(self, start: u8, end: u8, byte: u8) -> bool {
        let (low, high) = if start as i8 > end as i8 {
            (end, start)
        } else {
            (start, end)
        };
        let [low, high, byte] = [low, high, byte].map(|bound| self.fold(bound) as i8);
        (low..=high).contains(&byte)
    }
}

/// Whether a pattern is more than a plain name, by Redis' rule for `CONFIG GET`.
pub fn has_wildcard(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| b"[*?".contains(byte))
}

/// Whether all of `text` matches `pattern`. An empty text matches nothing but an empty pattern, not even `*`:
/// where that is to mean everything, as in `KEYS`, the caller looks for it.
pub fn matches(pattern: &[u8], text: &[u8], case: Case) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut pattern_at, mut text_at) = (0, 0);
    // After the last `*`: the pattern that follows it, and where in the text that pattern was last tried.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(pattern_at) == Some(&b'*') {
            pattern_at += 1;
            if pattern_at == pattern.len() {
                return true;
            }
            retry = Some((pattern_at, text_at));
            continue;
        }
        match text.get(text_at) {
            None if pattern_at == pattern.len() => return true,
            // A longer match of the `*` leaves even less text to the rest.
            None => return false,
            Some(&byte) => {
                if let Some(length) = match_one(&pattern[pattern_at..], byte, case) {
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
fn match_one(pattern: &[u8], byte: u8, case: Case) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (matched, length) = match_class(class, byte, case);
            matched.then_some(1 + length)
        }
        [b'\\', literal, ..] => case.same(*literal, byte).then_some(2),
        [literal, ..] => case.same(*literal, byte).then_some(1),
    }
}

/// Matches one byte with a class (after its `[`), and returns the class's length. A class that is not closed ends
/// with the pattern.
fn match_class(class: &[u8], byte: u8, case: Case) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut matched = false;
    loop {
        match &class[at..] {
            [] => break,
            [b'\\', literal, ..] => {
                matched |= *literal == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [start, b'-', end, ..] => {
                matched |= case.between(*start, *end, byte);
                at += 3;
            }
            [literal, ..] => {
                matched |= case.same(*literal, byte);
                at += 1;
            }
        }
    }
    (matched != negated, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn follows_the_rules_of_redis() {
        for (pattern, text, expected) in [
            ("*", "", false),
            ("", "", true),
            ("", "a", false),
            ("*", "maxmemory", true),
            ("MAXMEM*", "maxmemory", true),
            ("*memory*", "maxmemory-policy", true),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbxc", false),
            ("a**b", "ab", true),
            ("a*", "a", true),
            ("*?", "a", true),
            ("*?", "", false),
            ("h?", "hz", true),
            ("h?", "h", false),
            ("[hm]z", "hz", true),
            ("[^a-y]*", "zset", true),
            ("[^a-y]*", "yset", false),
            ("[y-a]z", "hz", true),
            ("[h", "h", true),
            ("[", "[", false),
            ("[^", "[", true),
            ("[]h", "h", false),
            ("[^]h", "xh", true),
            ("[\\]]", "]", true),
            ("[\\", "\\", true),
            ("[a-]x", "a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\", "\\", true),
            ("hz", "hz ", false),
            ("[\\A]", "a", false),
            ("[A-C]", "b", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes(), Case::Insensitive),
                expected,
                "{pattern:?} {text:?}"
            );
        }
        assert!(!matches(b"A", b"a", Case::Sensitive));
        assert!(!matches(b"[A-C]", b"b", Case::Sensitive));
        assert!(has_wildcard(b"a[b") && !has_wildcard(b"a\\b"));
    }

    #[test]
    fn ranges_are_of_signed_characters() {
        assert!(matches(b"[\x01-\xff]", b"\x00", Case::Sensitive));
        assert!(!matches(b"[\x01-\xff]", b"\x02", Case::Sensitive));
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "*a".repeat(1000) + "b";
        let text = "a".repeat(5000);
        assert!(!matches(
            pattern.as_bytes(),
            text.as_bytes(),
            Case::Sensitive
        ));
    }

    /// What a part of a pattern stands for.
    #[derive(Clone, Debug)]
    enum Part {
        Anything,
        One(Vec<bool>),
    }

    /// A part and the text of a pattern that says it.
    fn part() -> impl Strategy<Value = (Part, Vec<u8>)> {
        let accepts = |accept: &dyn Fn(u8) -> bool| Part::One((0..=255).map(accept).collect());
        // Few characters, so that patterns match at all; none that has a meaning of its own.
        let letter = || prop::sample::select(&b"abcABC"[..]);
        prop_oneof![
            Just((Part::Anything, b"*".to_vec())),
            Just((Part::Anything, b"**".to_vec())),
            Just((accepts(&|_| true), b"?".to_vec())),
            letter().prop_map(move |c| (accepts(&|byte| byte == c), vec![c])),
            prop::sample::select(&b"*?[]\\^-ab"[..])
                .prop_map(move |c| (accepts(&|byte| byte == c), vec![b'\\', c])),
            (any::<bool>(), prop::collection::vec(letter(), 1..4)).prop_map(
                move |(not, members)| {
                    let text = [&b"["[..], if not { b"^" } else { b"" }, &members, b"]"].concat();
                    (accepts(&|byte| members.contains(&byte) != not), text)
                }
            ),
            (any::<bool>(), letter(), letter()).prop_map(move |(not, a, b)| {
                let text = [&b"["[..], if not { b"^" } else { b"" }, &[a, b'-', b], b"]"].concat();
                let range = a.min(b)..=a.max(b);
                (accepts(&|byte| range.contains(&byte) != not), text)
            }),
        ]
    }

    /// Tries every split of the text: simple, and exponential.
    fn reference(parts: &[Part], text: &[u8]) -> bool {
        match parts {
            [] => text.is_empty(),
            [Part::Anything, rest @ ..] => {
                (0..=text.len()).any(|skipped| reference(rest, &text[skipped..]))
            }
            [Part::One(accepted), rest @ ..] => match text {
                [] => false,
                [byte, tail @ ..] => accepted[usize::from(*byte)] && reference(rest, tail),
            },
        }
    }

    proptest! {
        #[test]
        fn agrees_with_trying_everything(
            parts in prop::collection::vec(part(), 0..6),
            text in prop::collection::vec(prop::sample::select(&b"abcABC*[-"[..]), 1..8),
        ) {
            let pattern: Vec<u8> = parts.iter().flat_map(|(_, text)| text.clone()).collect();
            let parts: Vec<Part> = parts.into_iter().map(|(part, _)| part).collect();
            prop_assert_eq!(matches(&pattern, &text, Case::Sensitive), reference(&parts, &text));
        }

        #[test]
        fn case_makes_no_difference_to_plain_letters(pattern in "[a-cA-C*?]{0,6}", text in "[a-cA-C]{1,6}") {
            prop_assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes(), Case::Insensitive),
                matches(pattern.to_lowercase().as_bytes(), text.to_lowercase().as_bytes(), Case::Sensitive)
            );
        }

        #[test]
        fn fuzz_patterns(pattern in prop::collection::vec(any::<u8>(), 0..40), text in prop::collection::vec(any::<u8>(), 0..40)) {
            // Anything may be a pattern: the search ends, and never panics.
            let _ = matches(&pattern, &text, Case::Insensitive);
        }
    }
}
