//! The kinds of values a parameter can have: their text form, their ranges and Redis' words for what is wrong.

use super::error::ValueError;

/// What a parameter accepts. Texts are those of `CONFIG SET`, the environment and flags.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A decimal integer in a range.
    Integer { min: i64, max: i64 },
    /// A decimal integer, moved to the nearest end of the range if it lies outside (Redis' `hz`).
    Clamped { min: i64, max: i64 },
    /// A power of two from 1 to `max`.
    PowerOfTwo { max: i64 },
    /// A number of bytes, with an optional unit.
    Memory { min: u64, max: u64 },
    /// A number of bytes with an optional unit, or a percentage.
    MemoryOrPercent,
    /// An octal file mode from 0 to 777.
    Octal,
    /// `yes` or `no`.
    Bool,
    /// One of these words; case doesn't matter.
    Keyword(&'static [&'static str]),
    /// Any UTF-8 text.
    Text,
    /// Any UTF-8 text, which is never shown: `CONFIG GET` and `CONFIG REWRITE` see it empty.
    Hidden,
    /// An IP address, or nothing.
    Ip,
    /// Letters, digits, hyphens and dots, or nothing.
    Hostname,
    /// `HOST:PORT` words separated by spaces.
    Endpoints,
    /// `majority`, `all` or a number from 1.
    Quorum,
    /// Words separated by spaces.
    List,
    /// Lines of text. `CONFIG GET` and `CONFIG SET` do not know the parameter.
    Lines,
    /// Numbers from 0 to 100 separated by spaces.
    Percentiles,
    /// Redis' `<class> <hard> <soft> <seconds>` groups.
    OutputBufferLimits,
    /// Letters of classes of keyspace events.
    EventClasses,
    /// Accepted with one value only, for the sake of tools that ask.
    Fixed { value: &'static str },
}

/// An integer range.
pub(super) const fn integer(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

/// The integer range of Redis' `int` parameters that can't be negative.
pub(super) const fn natural() -> Kind {
    integer(0, i32::MAX as i64)
}

/// A number of bytes from `min` to `max`.
pub(super) const fn memory(min: u64, max: u64) -> Kind {
    Kind::Memory { min, max }
}

impl Kind {
    /// Reads a number of one of the numeric kinds and checks its range.
    pub(super) fn number(&self, text: &str) -> Result<i128, ValueError> {
        match *self {
            Kind::Integer { min, max } => in_range(decimal(text)?.into(), min.into(), max.into()),
            Kind::Clamped { min, max } => {
                let value = in_range(decimal(text)?.into(), 0, i32::MAX.into())?;
                Ok(value.clamp(min.into(), max.into()))
            }
            Kind::PowerOfTwo { max } => {
                let value = in_range(decimal(text)?.into(), 1, max.into())?;
                if value & (value - 1) == 0 {
                    Ok(value)
                } else {
                    Err(ValueError::NOT_POWER_OF_TWO)
                }
            }
            Kind::Memory { min, max } => {
                let bytes = parse_memory(text).ok_or(ValueError::NOT_MEMORY)?;
                in_range(bytes.into(), min.into(), max.into())
            }
            Kind::Octal => {
                let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
                let value = i64::from_str_radix(text, 8).ok().filter(|_| digits);
                let value = value.ok_or(ValueError::NOT_OCTAL)?;
                if value > 0o777 {
                    return Err(ValueError::OCTAL_RANGE);
                }
                Ok(value.into())
            }
            _ => Err(ValueError::NOT_AN_INTEGER),
        }
    }

    /// What is accepted, in words for error messages and documentation.
    pub(super) fn accepted(&self) -> String {
        match self {
            Kind::Integer { min, max } | Kind::Clamped { min, max } => {
                format!("an integer from {min} to {max}")
            }
            Kind::PowerOfTwo { max } => format!("a power of two from 1 to {max}"),
            Kind::Memory { min, max } => {
                let size = "a size in bytes or with a unit (64k, 64kb, 100mb, 1gb)";
                match (*min, *max >= i64::MAX as u64) {
                    (0, true) => size.to_owned(),
                    (min, true) => format!("{size}, at least {}", memory_text(min)),
                    (min, false) => {
                        format!("{size}, from {} to {}", memory_text(min), memory_text(*max))
                    }
                }
            }
            Kind::MemoryOrPercent => {
                "a size in bytes or with a unit (64k, 64kb, 100mb, 1gb), or a percentage (5%)"
                    .to_owned()
            }
            Kind::Octal => "an octal file mode from 0 to 777".to_owned(),
            Kind::Bool => "yes or no".to_owned(),
            Kind::Keyword(words) => format!("one of {}", words.join(", ")),
            Kind::Text | Kind::Hidden => "text".to_owned(),
            Kind::Ip => "an IP address, or nothing".to_owned(),
            Kind::Hostname => "a host name, or nothing".to_owned(),
            Kind::Endpoints => "a list of HOST:PORT".to_owned(),
            Kind::Quorum => "majority, all or a number from 1".to_owned(),
            Kind::EventClasses => "any of the letters Ag$lshzxeKEtmdn, or nothing".to_owned(),
            Kind::List => "a list of words".to_owned(),
            Kind::Lines => "a list of texts".to_owned(),
            Kind::Percentiles => "a list of numbers from 0 to 100".to_owned(),
            Kind::OutputBufferLimits => {
                "<class> <hard limit> <soft limit> <soft seconds> for the classes normal, replica and pubsub"
                    .to_owned()
            }
            Kind::Fixed { value } => format!("only {value:?}"),
        }
    }

    /// Whether a value can only be written as text.
    pub(super) fn is_text(&self) -> bool {
        matches!(
            self,
            Kind::Text
                | Kind::Hidden
                | Kind::Ip
                | Kind::Hostname
                | Kind::List
                | Kind::Lines
                | Kind::Endpoints
                | Kind::EventClasses
        )
    }

    /// Whether a flag may be followed by several values, which are joined by spaces.
    pub(super) fn takes_several(&self) -> bool {
        matches!(
            self,
            Kind::List
                | Kind::Endpoints
                | Kind::Percentiles
                | Kind::OutputBufferLimits
                | Kind::Fixed { value: "" }
        )
    }
}

/// Reads an integer as strictly as Redis does: no sign `+`, no leading zeros, no spaces, no `-0`.
fn decimal(text: &str) -> Result<i64, ValueError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = match digits.as_bytes() {
        [b'0'] => text == "0",
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if canonical {
        text.parse().map_err(|_| ValueError::NOT_AN_INTEGER)
    } else {
        Err(ValueError::NOT_AN_INTEGER)
    }
}

fn in_range(value: i128, min: i128, max: i128) -> Result<i128, ValueError> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(ValueError::out_of_range(min, max))
    }
}

/// Reads a number of bytes: digits and one of Redis' units (`k` = 1000, `kb` = 1024, and so on). Unlike Redis,
/// an empty text and a number above 64 bits are refused rather than read as 0 and as the maximum.
pub(super) fn parse_memory(text: &str) -> Option<u64> {
    let end = text
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// The shortest exact text of a number of bytes: `64mb`, `1gb`, `1000`.
pub(super) fn memory_text(bytes: u64) -> String {
    for (shift, unit) in [(30, "gb"), (20, "mb"), (10, "kb")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}
