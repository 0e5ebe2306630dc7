//! Texts of rules taken apart.

/// What C calls spaces.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Whether a name or pattern can't be written in a line of rules.
pub fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|&byte| byte == 0 || is_space(byte))
}

/// Splits at spaces, with quotes as in an inline request. `None` if a quote is not closed, or something follows one
/// directly.
pub fn split_quoted(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        let skipped = rest.iter().take_while(|&&byte| is_space(byte)).count();
        rest = &rest[skipped..];
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        rest = split_word(rest, &mut word)?;
        words.push(word);
    }
}

/// Takes a word, and returns what follows.
fn split_word<'t>(mut rest: &'t [u8], word: &mut Vec<u8>) -> Option<&'t [u8]> {
    while let [byte, after @ ..] = rest {
        match byte {
            b'"' | b'\'' => {
                rest = split_quote(after, *byte, word)?;
                let is_end = rest.first().is_none_or(|&byte| is_space(byte));
                return is_end.then_some(rest);
            }
            byte if is_space(*byte) => return Some(rest),
            byte => word.push(*byte),
        }
        rest = after;
    }
    Some(rest)
}

/// Takes what stands before the closing quote, and returns what follows it.
fn split_quote<'t>(mut rest: &'t [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'t [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'\\', b'x', high, low, after @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
                word.push(digit(*high) << 4 | digit(*low));
                after
            }
            [b'\\', escaped, after @ ..] if quote == b'"' => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                after
            }
            [b'\\', b'\'', after @ ..] if quote == b'\'' => {
                word.push(b'\'');
                after
            }
            [byte, after @ ..] if *byte == quote => return Some(after),
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
        };
    }
}

/// Puts the words of a selector together, which begins with one that starts with `(` and ends with one that ends with
/// `)`.
///
/// # Errors
/// One is not closed: where it begins.
pub fn merge_selectors(words: &[&[u8]]) -> Result<Vec<Vec<u8>>, usize> {
    let mut merged = Vec::with_capacity(words.len());
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (index, word) in words.iter().enumerate() {
        match &mut open {
            Some((_, selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if word.ends_with(b")")
                    && let Some((_, selector)) = open.take()
                {
                    merged.push(selector);
                }
            }
            None if word.starts_with(b"(") && !word.ends_with(b")") => {
                open = Some((index, word.to_vec()));
            }
            None => merged.push(word.to_vec()),
        }
    }
    match open {
        Some((index, _)) => Err(index),
        None => Ok(merged),
    }
}
