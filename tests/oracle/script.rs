//! The script format: one command per line with `redis-cli` quoting, with annotations in front.
//!
//! | in front of a command | meaning |
//! | --- | --- |
//! | `@name` | use the connection of this name (the default is `a`); connections open by themselves |
//! | `~unordered` | arrays, sets and maps are compared without order |
//! | `~pairs` | fields with values, flat or in pairs, are compared without order |
//! | `~type` | only the reply's type is compared |
//! | `~ignore` | both must answer, anything |
//! | `~match PATTERN` | both replies, as plain text, match the glob pattern (error texts begin with `-`) |
//! | `~near N` | both are integers that differ by at most N; negative ones are equal (the default for TTL, with 2) |
//! | `~until TEXT` | the command is repeated on both until its reply is TEXT |
//! | `~scan` | the command is a SCAN, HSCAN or ZSCAN without cursor: it is iterated, and the keys or elements with values are compared |
//! | `~set NAME` | the reply (not compared) replaces the word `$NAME` from here on |
//! | `~noreply` | no reply is read |
//! | `~closes` | the server closes the connection after the reply |
//! | `~drops` | the server closes the connection without a reply |
//! | `~read` | no command: the next reply or push on this connection is compared |
//! | `~sleep MS` | wait first (with or without a command) |
//! | `~resp2`, `~resp3` | only in this protocol version |

use crate::common::{Protocol, split_line};

/// How the two replies to a step are judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// The same bytes.
    Exact,
    Unordered,
    Pairs,
    Type,
    Ignore,
    Match(Vec<u8>),
    Near(i64),
    Until(String),
    Scan,
    Set(String),
    NoReply,
    Drops,
}

/// One line of a script.
#[derive(Clone, Debug)]
pub struct Step {
    pub line: usize,
    /// The line as it stands in the file.
    pub text: String,
    pub connection: String,
    pub rule: Rule,
    pub closes: bool,
    pub reads_only: bool,
    pub sleep_ms: u64,
    pub only: Option<Protocol>,
    /// Empty when the line is only a `~sleep` or a `~read`.
    pub command: Vec<Vec<u8>>,
}

/// Parses a whole script.
///
/// # Errors
/// The number of the line that is malformed, and why.
pub fn parse(source: &str) -> Result<Vec<Step>, String> {
    source
        .lines()
        .enumerate()
        .filter(|(_, text)| !text.trim().is_empty() && !text.starts_with('#'))
        .map(|(index, text)| {
            parse_line(index + 1, text).map_err(|e| format!("line {}: {e}", index + 1))
        })
        .collect()
}

fn parse_line(line: usize, text: &str) -> Result<Step, String> {
    let words = split_line(text)?;
    let mut step = Step {
        line,
        text: text.trim().to_owned(),
        connection: "a".to_owned(),
        rule: Rule::Exact,
        closes: false,
        reads_only: false,
        sleep_ms: 0,
        only: None,
        command: Vec::new(),
    };
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next_if(|word| matches!(word.first(), Some(b'~' | b'@'))) {
        let word = String::from_utf8(word).map_err(|e| e.to_string())?;
        let mut argument = || -> Result<String, String> {
            let word = words.next().ok_or("annotation lacks its argument")?;
            String::from_utf8(word).map_err(|e| e.to_string())
        };
        let number = |text: String| text.parse::<u32>().map_err(|e| format!("{text}: {e}"));
        match word.as_str() {
            "~unordered" => step.rule = Rule::Unordered,
            "~pairs" => step.rule = Rule::Pairs,
            "~type" => step.rule = Rule::Type,
            "~ignore" => step.rule = Rule::Ignore,
            "~match" => step.rule = Rule::Match(argument()?.into_bytes()),
            "~near" => step.rule = Rule::Near(number(argument()?)?.into()),
            "~until" => step.rule = Rule::Until(argument()?),
            "~scan" => step.rule = Rule::Scan,
            "~set" => step.rule = Rule::Set(argument()?),
            "~noreply" => step.rule = Rule::NoReply,
            "~drops" => step.rule = Rule::Drops,
            "~closes" => step.closes = true,
            "~read" => step.reads_only = true,
            "~sleep" => step.sleep_ms = number(argument()?)?.into(),
            "~resp2" => step.only = Some(Protocol::Resp2),
            "~resp3" => step.only = Some(Protocol::Resp3),
            name if name.starts_with('@') => step.connection = name[1..].to_owned(),
            unknown => return Err(format!("unknown annotation {unknown}")),
        }
    }
    step.command = words.collect();
    let is_ttl = step
        .command
        .first()
        .is_some_and(|name| name.eq_ignore_ascii_case(b"TTL"));
    if is_ttl && step.rule == Rule::Exact {
        step.rule = Rule::Near(2);
    }
    if step.command.is_empty() && step.sleep_ms == 0 && !step.reads_only {
        return Err("no command".to_owned());
    }
    Ok(step)
}
