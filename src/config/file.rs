//! Settings from a TOML file.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeArray, DeTable, DeValue};

use super::error::{ConfigError, Place, ValueError};
use super::kind::{Kind, memory_text, parse_memory};
use super::parameter::{Entry, lookup, unknown_error, value_error};
use super::table::Config;

/// The largest file that is read, in bytes.
const SIZE_LIMIT: u64 = 1 << 20;

/// Reads a file into `config`.
pub(super) fn load(path: &Path, config: &mut Config) -> Result<(), ConfigError> {
    let bytes = read_bytes(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    apply(path, &bytes, config)
}

/// The bytes of a file, at most one more than the limit: enough to tell that it is too large.
pub(super) fn read_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(SIZE_LIMIT + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Sets what the text of a file says; `path` is for error messages.
pub(super) fn apply(path: &Path, bytes: &[u8], config: &mut Config) -> Result<(), ConfigError> {
    let text = decode(path, bytes)?;
    let mut seen: Vec<Entry> = Vec::new();
    for item in items(path, text)? {
        let place = place(path, text, item.key_span.start);
        let Some(entry) = lookup(&item.name).filter(|entry| entry.name() == item.name) else {
            return Err(unknown_error(place, &item.name, str::to_owned));
        };
        let same = |other: &&Entry| std::ptr::eq(other.parameter, entry.parameter);
        if let Some(first) = seen.iter().find(same) {
            return Err(ConfigError::Twice {
                place,
                first: first.name(),
                second: entry.name(),
            });
        }
        seen.push(entry);
        item.assign(entry, config).map_err(|reason| {
            let place = self::place(path, text, item.value_span.start);
            value_error(entry, place, reason, "")
        })?;
    }
    Ok(())
}

/// Checks the size and the encoding of a file.
pub(super) fn decode<'text>(path: &Path, bytes: &'text [u8]) -> Result<&'text str, ConfigError> {
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            limit: SIZE_LIMIT,
        });
    }
    str::from_utf8(bytes).map_err(|error| ConfigError::NotUtf8 {
        path: path.to_owned(),
        offset: error.valid_up_to(),
    })
}

/// One `key = value` of a file.
pub(super) struct Item<'text> {
    pub name: String,
    pub key_span: Range<usize>,
    pub value_span: Range<usize>,
    value: DeValue<'text>,
}

impl Item<'_> {
    /// Sets the parameter to this item's value.
    pub(super) fn assign(&self, entry: Entry, config: &mut Config) -> Result<(), ValueError> {
        entry.assign(config, &value_text(&entry.parameter.kind, &self.value)?)
    }
}

/// The items of a file in their order.
pub(super) fn items<'text>(path: &Path, text: &'text str) -> Result<Vec<Item<'text>>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        place: place(path, text, error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    let mut items: Vec<Item> = table
        .into_inner()
        .into_iter()
        .map(|(key, value)| Item {
            key_span: key.span(),
            name: key.into_inner().into_owned(),
            value_span: value.span(),
            value: value.into_inner(),
        })
        .collect();
    items.sort_by_key(|item| item.key_span.start);
    Ok(items)
}

/// Line and column of a byte offset.
fn place(path: &Path, text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place::File {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// The value as the text that the environment or `CONFIG SET` would have.
fn value_text(kind: &Kind, value: &DeValue) -> Result<String, ValueError> {
    let several = matches!(
        kind,
        Kind::List | Kind::Lines | Kind::Endpoints | Kind::Percentiles | Kind::OutputBufferLimits
    );
    match value {
        DeValue::Array(array) if several => array_text(kind, array),
        DeValue::Array(_) => Err(ValueError::TOML_LIST),
        value => scalar_text(kind, value),
    }
}

fn array_text(kind: &Kind, array: &DeArray) -> Result<String, ValueError> {
    let mut words = Vec::new();
    for element in array {
        words.push(scalar_text(kind, element.get_ref())?);
    }
    Ok(words.join(if *kind == Kind::Lines { "\n" } else { " " }))
}

fn scalar_text(kind: &Kind, value: &DeValue) -> Result<String, ValueError> {
    match (value, kind) {
        (DeValue::String(text), _) => Ok(text.to_string()),
        (_, kind) if kind.is_text() => Err(ValueError::NOT_A_STRING),
        (DeValue::Integer(number), Kind::Octal) => match (number.radix(), number.as_str()) {
            (8, digits) => Ok(digits.to_owned()),
            (_, "0") => Ok("0".to_owned()),
            _ => Err(ValueError::TOML_MODE),
        },
        (DeValue::Integer(number), _) => i128::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| ValueError::NOT_AN_INTEGER),
        (DeValue::Float(number), _) => Ok(number.as_str().to_owned()),
        (DeValue::Boolean(true), _) => Ok("yes".to_owned()),
        (DeValue::Boolean(false), _) => Ok("no".to_owned()),
        (DeValue::Array(_) | DeValue::Table(_) | DeValue::Datetime(_), _) => {
            Err(ValueError::TOML_SHAPE)
        }
    }
}

/// A valid value as TOML, in the form that reads best.
pub(super) fn toml_value(kind: &Kind, text: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    match kind {
        Kind::Integer { .. } | Kind::Clamped { .. } | Kind::PowerOfTwo { .. } => text.to_owned(),
        Kind::Memory { .. } => match parse_memory(text) {
            Some(0) => "0".to_owned(),
            Some(bytes) => quoted(&memory_text(bytes)),
            None => quoted(text),
        },
        Kind::Bool => (text == "yes").to_string(),
        Kind::List | Kind::Endpoints => {
            let words: Vec<String> = text.split_ascii_whitespace().map(quoted).collect();
            format!("[{}]", words.join(", "))
        }
        Kind::Lines => {
            let lines: Vec<String> = text.lines().map(quoted).collect();
            format!("[{}]", lines.join(", "))
        }
        Kind::Percentiles => {
            let words: Vec<&str> = text.split_ascii_whitespace().collect();
            format!("[{}]", words.join(", "))
        }
        _ => quoted(text),
    }
}
