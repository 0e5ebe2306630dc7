//! Command lines with `redis-cli`'s quoting rules, glob patterns, and readable bytes.

/// Splits a line as `redis-cli` does: blanks separate, `"…"` knows `\n \r \t \b \a \xHH \" \\`, `'…'` knows only `\'`.
///
/// # Errors
/// An unfinished quotation, or text that touches a closing quote.
pub fn split_line(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let bytes = line.as_bytes();
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while at < bytes.len() && bytes[at].is_ascii_whitespace() {
            at += 1;
        }
        if at == bytes.len() {
            return Ok(words);
        }
        let mut word = Vec::new();
        match bytes[at] {
            b'"' => at = read_double_quoted(bytes, at + 1, &mut word)?,
            b'\'' => at = read_single_quoted(bytes, at + 1, &mut word)?,
            _ => {
                while at < bytes.len() && !bytes[at].is_ascii_whitespace() {
                    word.push(bytes[at]);
                    at += 1;
                }
            }
        }
        words.push(word);
    }
}

fn read_double_quoted(bytes: &[u8], mut at: usize, word: &mut Vec<u8>) -> Result<usize, String> {
    loop {
        match bytes.get(at) {
            None => return Err("unfinished quotation".into()),
            Some(b'"') => return after_quote(bytes, at + 1),
            Some(b'\\') => {
                let escaped = *bytes.get(at + 1).ok_or("unfinished escape")?;
                at += 2;
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    b'x' => {
                        let digits = bytes.get(at..at + 2).ok_or("unfinished \\x")?;
                        let digits = std::str::from_utf8(digits).map_err(|e| e.to_string())?;
                        at += 2;
                        u8::from_str_radix(digits, 16).map_err(|e| e.to_string())?
                    }
                    other => other,
                });
            }
            Some(&other) => {
                word.push(other);
                at += 1;
            }
        }
    }
}

fn read_single_quoted(bytes: &[u8], mut at: usize, word: &mut Vec<u8>) -> Result<usize, String> {
    loop {
        match bytes.get(at) {
            None => return Err("unfinished quotation".into()),
            Some(b'\'') => return after_quote(bytes, at + 1),
            Some(b'\\') if bytes.get(at + 1) == Some(&b'\'') => {
                word.push(b'\'');
                at += 2;
            }
            Some(&other) => {
                word.push(other);
                at += 1;
            }
        }
    }
}

fn after_quote(bytes: &[u8], at: usize) -> Result<usize, String> {
    match bytes.get(at) {
        Some(byte) if !byte.is_ascii_whitespace() => Err("text touches a closing quote".into()),
        _ => Ok(at),
    }
}

/// A command as a RESP array of bulk strings.
pub fn encode_command<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Bytes as text with escapes, cut after 400 bytes.
pub fn escape(bytes: &[u8]) -> String {
    const SHOWN: usize = 400;
    let shown = bytes[..bytes.len().min(SHOWN)].escape_ascii().to_string();
    match bytes.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown}… ({more} more bytes)"),
        _ => shown,
    }
}

/// Does `text` match the pattern, where `*` stands for anything and `?` for one byte?
pub fn glob_match(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => {
            glob_match(&pattern[1..], text) || (!text.is_empty() && glob_match(pattern, &text[1..]))
        }
        (Some(b'?'), Some(_)) => glob_match(&pattern[1..], &text[1..]),
        (Some(p), Some(t)) if p == t => glob_match(&pattern[1..], &text[1..]),
        _ => false,
    }
}
