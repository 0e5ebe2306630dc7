//! Values of a report, and their text as `INFO` shows it.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

/// One value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// A number with this many decimal places.
    Decimal(f64, usize),
    /// Anything else.
    Text(String),
    /// Several named values of one thing.
    Record(Vec<(Cow<'static, str>, Value)>),
}

impl Value {
    /// A count; beyond `i64` it stays at the largest.
    pub fn count(count: impl TryInto<i64>) -> Self {
        Value::Integer(count.try_into().unwrap_or(i64::MAX))
    }

    /// A switch, as `1` or `0`.
    pub fn flag(on: bool) -> Self {
        Value::Integer(on.into())
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Value::Text(text.into())
    }

    /// Bytes with a unit, for people.
    pub fn human(bytes: u64) -> Self {
        Value::Text(human_bytes(bytes))
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(number) => number.fmt(f),
            Value::Decimal(number, places) => write!(f, "{number:.places$}"),
            // A line break would end the field.
            Value::Text(text) => f.write_str(&text.replace(['\r', '\n'], " ")),
            Value::Record(values) => {
                for (index, (name, value)) in values.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{name}={value}")?;
                }
                Ok(())
            }
        }
    }
}

/// A named value.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    /// Its name; with a label the part before it.
    pub name: &'static str,
    /// Which of several things of one kind it tells of: a command, a database.
    pub label: Cow<'static, str>,
    /// The value.
    pub value: Value,
}

impl Field {
    /// A field of the server as a whole.
    pub fn new(name: &'static str, value: Value) -> Self {
        Field::of(name, "", value)
    }

    /// A field of one of several things.
    pub fn of(name: &'static str, label: impl Into<Cow<'static, str>>, value: Value) -> Self {
        Field {
            name,
            label: label.into(),
            value,
        }
    }
}

/// Fields that belong together.
#[derive(Clone, PartialEq, Debug)]
pub struct Section {
    /// Title.
    pub title: &'static str,
    /// Fields in order.
    pub fields: Vec<Field>,
}

/// The text of `INFO`.
pub fn render(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        // Writing to a string can't fail.
        let _ = write!(text, "# {}\r\n", section.title);
        for Field { name, label, value } in &section.fields {
            let _ = write!(text, "{name}{label}:{value}\r\n");
        }
    }
    text
}

/// Bytes with a unit and two decimals, as Redis writes them: `1.50K`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let power = (bytes.ilog2() / 10).min(UNITS.len() as u32);
    let amount = bytes as f64 / (1u64 << (10 * power)) as f64;
    format!("{amount:.2}{}", UNITS[power as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_for_people() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (1_139_152, "1.09M"),
            (25_325_268_992, "23.59G"),
            (u64::MAX, "16384.00P"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }

    #[test]
    fn sections_are_lines() {
        let record = Value::Record(vec![
            ("keys".into(), Value::count(3u64)),
            ("share".into(), Value::Decimal(0.5, 2)),
        ]);
        let sections = [
            Section {
                title: "A",
                fields: vec![Field::new("text", Value::text("two\r\nlines"))],
            },
            Section {
                title: "B",
                fields: vec![Field::of("db", "0", record)],
            },
        ];
        assert_eq!(
            render(&sections),
            "# A\r\ntext:two  lines\r\n\r\n# B\r\ndb0:keys=3,share=0.50\r\n"
        );
        assert_eq!(render(&[]), "");
    }
}
