//! The functions of `string` that may take long: those that match patterns, and `rep`. As in Lua 5.1, but they can be
//! stopped.

use mlua::{Lua, MultiValue, Table, Value};

use super::super::watch::{Budget, no_memory};
use super::pattern::{Capture, Matcher, find_plain, is_plain, pattern_of};
use super::{Arguments, Failure, Returned, as_number, define, one};

/// Puts them into `string`; and into `host` what the rest of them is made of.
pub(in crate::scripting) fn install(lua: &Lua, strings: &Table, host: &Table) -> mlua::Result<()> {
    define(lua, strings, "find", |lua, arguments| {
        search(lua, &arguments, true)
    })?;
    define(lua, strings, "match", |lua, arguments| {
        search(lua, &arguments, false)
    })?;
    define(lua, strings, "rep", rep)?;
    define(lua, host, "gsub", substitute)?;
    // The texts of a search that goes on.
    define(lua, host, "gmatch", |lua, arguments| {
        let texts = [arguments.string(lua, 0)?, arguments.string(lua, 1)?];
        Ok(texts.map(Value::String).into_iter().collect())
    })?;
    define(lua, host, "next_match", next_match)?;
    define(lua, host, "raise", |lua, arguments| {
        let text = arguments.string(lua, 0)?.to_string_lossy();
        Err(Failure::Text(text))
    })
}

fn rep(lua: &Lua, arguments: Arguments) -> Returned {
    let text = arguments.string(lua, 0)?;
    let count = arguments.number(lua, 1)? as i64;
    let text = text.as_bytes();
    let total = usize::try_from(count).unwrap_or(0).checked_mul(text.len());
    let total = total.ok_or_else(no_memory)?;
    Budget::of_string(lua).step(total)?;
    let mut out = Vec::with_capacity(total);
    if total > 0 {
        (0..count).for_each(|_| out.extend_from_slice(&text));
    }
    one(Value::String(lua.create_string(&out)?))
}

/// A capture as Lua's value.
fn value_of(lua: &Lua, subject: &[u8], capture: Capture) -> mlua::Result<Value> {
    Ok(match capture {
        Capture::Part(start, end) => Value::String(lua.create_string(&subject[start..end])?),
        Capture::Place(place) | Capture::Open(place) => Value::Number((place + 1) as f64),
    })
}

/// Appends all captures of a match, or the whole of it if there are none.
fn add_captures(
    lua: &Lua,
    subject: &[u8],
    matcher: &Matcher<'_>,
    range: (usize, usize),
    values: &mut Vec<Value>,
) -> Result<(), Failure> {
    for number in 0..matcher.captures.len().max(1) {
        values.push(value_of(lua, subject, matcher.capture(number, range)?)?);
    }
    Ok(())
}

/// `string.find` and `string.match`
fn search(lua: &Lua, arguments: &Arguments, is_find: bool) -> Returned {
    let subject = arguments.string(lua, 0)?;
    let text = arguments.string(lua, 1)?;
    let (subject, text) = (subject.as_bytes(), text.as_bytes());
    let from = match arguments.integer_or(lua, 2, 1)? {
        from if from < 0 => from.saturating_add(subject.len() as i64),
        from => from - 1,
    };
    let from = usize::try_from(from).unwrap_or(0).min(subject.len());
    let pattern = pattern_of(&text);
    let mut budget = Budget::of_string(lua);
    let is_text = !matches!(arguments.get(3), Value::Nil | Value::Boolean(false));
    if is_find && (is_text || is_plain(pattern)) {
        return match find_plain(&subject, &text, from, &mut budget)? {
            Some(at) => range_of(at, at + text.len(), Vec::new()),
            None => one(Value::Nil),
        };
    }
    let anchored = pattern.strip_prefix(b"^");
    let mut matcher = Matcher::new(&subject, anchored.unwrap_or(pattern), budget);
    let Some(range) = matcher.find(from, anchored.is_some())? else {
        return one(Value::Nil);
    };
    let mut values = Vec::new();
    if !is_find || !matcher.captures.is_empty() {
        add_captures(lua, &subject, &matcher, range, &mut values)?;
    }
    if is_find {
        return range_of(range.0, range.1, values);
    }
    Ok(MultiValue::from_vec(values))
}

/// The first and the last place of a match, before its captures.
fn range_of(start: usize, end: usize, captures: Vec<Value>) -> Returned {
    let places = [start + 1, end].map(|place| Value::Number(place as f64));
    Ok(places.into_iter().chain(captures).collect())
}

/// The next match from a place on: its begin, its end, its captures. `^` is only special if that is said.
fn next_match(lua: &Lua, arguments: Arguments) -> Returned {
    let subject = arguments.string(lua, 0)?;
    let text = arguments.string(lua, 1)?;
    let (subject, text) = (subject.as_bytes(), text.as_bytes());
    let from = arguments.number(lua, 2)? as usize;
    let pattern = pattern_of(&text);
    let anchored = match arguments.get(3) {
        Value::Boolean(true) => pattern.strip_prefix(b"^"),
        _ => None,
    };
    let pattern = anchored.unwrap_or(pattern);
    let mut matcher = Matcher::new(&subject, pattern, Budget::of_string(lua));
    let Some((start, end)) = matcher.find(from, anchored.is_some())? else {
        return Ok(MultiValue::new());
    };
    let mut values = vec![Value::Number(start as f64), Value::Number(end as f64)];
    add_captures(lua, &subject, &matcher, (start, end), &mut values)?;
    Ok(MultiValue::from_vec(values))
}

/// `string.gsub` with a string: the new text, and how many matches there were. With a function or a table: nil, the
/// subject, the pattern, and how many matches are wanted.
fn substitute(lua: &Lua, arguments: Arguments) -> Returned {
    let subject = arguments.string(lua, 0)?;
    let text = arguments.string(lua, 1)?;
    let with = arguments.get(2);
    let default = subject.as_bytes().len() as i64 + 1;
    let count_max = |lua| arguments.integer_or(lua, 3, default);
    let with = match with {
        Value::Function(_) | Value::Table(_) => {
            let count = Value::Number(count_max(lua)? as f64);
            let rest = [
                Value::Nil,
                Value::String(subject),
                Value::String(text),
                count,
            ];
            return Ok(rest.into_iter().collect());
        }
        other if matches!(other, Value::String(_)) || as_number(&other).is_some() => {
            arguments.string(lua, 2)?
        }
        _ => return Err(arguments.wrong(2, "string/function/table expected")),
    };
    let count_max = count_max(lua)?;
    let (subject, text, with) = (subject.as_bytes(), text.as_bytes(), with.as_bytes());
    let pattern = pattern_of(&text);
    let anchored = pattern.strip_prefix(b"^");
    let mut budget = Budget::of_string(lua);
    let pattern = anchored.unwrap_or(pattern);
    let mut matcher = Matcher::new(&subject, pattern, Budget::of_string(lua));
    let (mut out, mut from, mut count) = (Vec::new(), 0, 0);
    while count < count_max
        && from <= subject.len()
        && let Some((start, end)) = matcher.find(from, anchored.is_some())?
    {
        count += 1;
        out.extend_from_slice(&subject[from..start]);
        replace(
            &subject,
            &matcher,
            (start, end),
            &with,
            &mut budget,
            &mut out,
        )?;
        from = end;
        if end == start {
            // What matches nothing is not tried there again.
            out.extend(subject.get(start));
            from += 1;
        }
        if anchored.is_some() {
            break;
        }
    }
    out.extend_from_slice(subject.get(from..).unwrap_or_default());
    budget.step(out.len())?;
    let text = Value::String(lua.create_string(&out)?);
    Ok([text, Value::Number(count as f64)].into_iter().collect())
}

/// Appends what a match is replaced with: `%1` stands for a capture.
fn replace(
    subject: &[u8],
    matcher: &Matcher<'_>,
    range: (usize, usize),
    with: &[u8],
    budget: &mut Budget,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut rest = with.iter();
    budget.step(out.len() + with.len())?;
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let capture = match rest.next() {
            Some(b'0') => Capture::Part(range.0, range.1),
            Some(digit @ b'1'..=b'9') => matcher.capture(usize::from(digit - b'1'), range)?,
            other => {
                // Lua reads the zero behind its strings.
                out.push(other.copied().unwrap_or(0));
                continue;
            }
        };
        match capture {
            Capture::Part(start, end) => {
                budget.step(out.len() + end - start)?;
                out.extend_from_slice(&subject[start..end]);
            }
            Capture::Place(place) | Capture::Open(place) => {
                out.extend_from_slice(itoa::Buffer::new().format(place + 1).as_bytes());
            }
        }
    }
    Ok(())
}
