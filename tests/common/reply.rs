//! A reply of either protocol version, comparable and printable.

use std::fmt;

use redis_protocol::resp2::{decode as resp2, types::OwnedFrame as Frame2};
use redis_protocol::resp3::types::VerbatimStringFormat;
use redis_protocol::resp3::{decode::complete as resp3, types::OwnedFrame as Frame3};

use super::connection::Protocol;
use super::quoting::escape;
use super::resp3::decode as resp3_decode;

/// A decoded reply. Maps and sets keep no order (their decoder doesn't): compare raw bytes where order counts.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum Reply {
    Null,
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Double(f64),
    Boolean(bool),
    BigNumber(Vec<u8>),
    Bulk(Vec<u8>),
    /// Format (`txt` or `mkd`) and text.
    Verbatim(&'static str, Vec<u8>),
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    Push(Vec<Reply>),
}

impl Reply {
    /// Decodes one reply from the start of `buffer`: the reply and its length, or `None` when it is cut short.
    ///
    /// # Errors
    /// Bytes that are no reply in this protocol version.
    pub fn decode(protocol: Protocol, buffer: &[u8]) -> Result<Option<(Self, usize)>, String> {
        // Error replies may carry bytes that are no UTF-8 (an unknown command's name), which the decoder refuses.
        if buffer.first() == Some(&b'-') {
            let end = buffer.windows(2).position(|pair| pair == b"\r\n");
            return Ok(end.map(|end| (Self::Error(buffer[1..end].to_vec()), end + 2)));
        }
        match protocol {
            Protocol::Resp2 => resp2::decode(buffer)
                .map(|found| found.map(|(frame, length)| (Self::from_resp2(frame), length)))
                .map_err(|e| e.to_string()),
            Protocol::Resp3 => resp3::decode(buffer)
                .map(|found| found.map(|(frame, length)| (Self::from_resp3(frame), length)))
                // The decoder refuses sets of maps, which COMMAND INFO's key specifications are.
                .or_else(|_| resp3_decode(buffer)),
        }
    }

    fn from_resp2(frame: Frame2) -> Self {
        match frame {
            Frame2::SimpleString(data) => Self::Simple(data),
            Frame2::Error(text) => Self::Error(text.into_bytes()),
            Frame2::Integer(number) => Self::Integer(number),
            Frame2::BulkString(data) => Self::Bulk(data),
            Frame2::Array(items) => Self::Array(items.into_iter().map(Self::from_resp2).collect()),
            Frame2::Null => Self::Null,
        }
    }

    fn from_resp3(frame: Frame3) -> Self {
        let all = |items: Vec<Frame3>| items.into_iter().map(Self::from_resp3).collect();
        match frame {
            Frame3::BlobString { data, .. } => Self::Bulk(data),
            Frame3::BlobError { data, .. } => Self::Error(data),
            Frame3::SimpleString { data, .. } => Self::Simple(data),
            Frame3::SimpleError { data, .. } => Self::Error(data.into_bytes()),
            Frame3::Boolean { data, .. } => Self::Boolean(data),
            Frame3::Null => Self::Null,
            Frame3::Number { data, .. } => Self::Integer(data),
            Frame3::Double { data, .. } => Self::Double(data),
            Frame3::BigNumber { data, .. } => Self::BigNumber(data),
            Frame3::VerbatimString { data, format, .. } => match format {
                VerbatimStringFormat::Text => Self::Verbatim("txt", data),
                VerbatimStringFormat::Markdown => Self::Verbatim("mkd", data),
            },
            Frame3::Array { data, .. } => Self::Array(all(data)),
            Frame3::Push { data, .. } => Self::Push(all(data)),
            Frame3::Map { data, .. } => {
                let mut pairs: Vec<_> = data
                    .into_iter()
                    .map(|(key, value)| (Self::from_resp3(key), Self::from_resp3(value)))
                    .collect();
                pairs.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
                Self::Map(pairs)
            }
            Frame3::Set { data, .. } => {
                Self::Set(data.into_iter().map(Self::from_resp3).collect()).sorted()
            }
            Frame3::Hello { .. } | Frame3::ChunkedString(_) => {
                unreachable!("a server sends neither HELLO nor streamed strings")
            }
        }
    }

    /// The same reply with every array, set and map in a canonical order.
    #[must_use]
    pub fn sorted(self) -> Self {
        let sort = |items: Vec<Self>| {
            let mut items: Vec<_> = items.into_iter().map(Self::sorted).collect();
            items.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
            items
        };
        match self {
            Self::Array(items) => Self::Array(sort(items)),
            Self::Set(items) => Self::Set(sort(items)),
            Self::Push(items) => Self::Push(items),
            Self::Map(pairs) => Self::Map(
                pairs
                    .into_iter()
                    .map(|(key, value)| (key, value.sorted()))
                    .collect(),
            ),
            other => other,
        }
    }

    /// The name of the reply's type; arrays and maps name only themselves.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Simple(_) => "simple string",
            Self::Error(_) => "error",
            Self::Integer(_) => "integer",
            Self::Double(_) => "double",
            Self::Boolean(_) => "boolean",
            Self::BigNumber(_) => "big number",
            Self::Bulk(_) => "bulk string",
            Self::Verbatim(..) => "verbatim string",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Set(_) => "set",
            Self::Push(_) => "push",
        }
    }

    /// A scalar as plain text; `(nil)` for null, `(array)` and the like for aggregates.
    pub fn text(&self) -> String {
        match self {
            Self::Null => "(nil)".into(),
            Self::Simple(data)
            | Self::Bulk(data)
            | Self::BigNumber(data)
            | Self::Verbatim(_, data) => String::from_utf8_lossy(data).into_owned(),
            Self::Error(data) => format!("-{}", String::from_utf8_lossy(data)),
            Self::Integer(number) => number.to_string(),
            Self::Double(number) => number.to_string(),
            Self::Boolean(value) => value.to_string(),
            other => format!("({})", other.kind()),
        }
    }

    /// The bytes of a string reply.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Simple(data) | Self::Bulk(data) | Self::Verbatim(_, data) => Some(data),
            _ => None,
        }
    }

    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The items of an array, a set or a push; the keys and values in turn of a map.
    pub fn items(&self) -> Vec<Self> {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => items.clone(),
            Self::Map(pairs) => pairs
                .iter()
                .flat_map(|(key, value)| [key.clone(), value.clone()])
                .collect(),
            _ => Vec::new(),
        }
    }

    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Simple(text) if text == b"OK")
    }

    pub fn is_error(&self, prefix: &str) -> bool {
        matches!(self, Self::Error(text) if text.starts_with(prefix.as_bytes()))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name: &str, items: &[Self]| {
            write!(f, "{name}[")?;
            for (at, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
            }
            write!(f, "]")
        };
        match self {
            Self::Simple(data) => write!(f, "+{}", escape(data)),
            Self::Error(data) => write!(f, "-{}", escape(data)),
            Self::Integer(number) => write!(f, ":{number}"),
            Self::Double(number) => write!(f, ",{number}"),
            Self::Bulk(data) => write!(f, "\"{}\"", escape(data)),
            Self::Verbatim(format, data) => write!(f, "{format}:\"{}\"", escape(data)),
            Self::Array(items) => list(f, "", items),
            Self::Set(items) => list(f, "set", items),
            Self::Push(items) => list(f, "push", items),
            Self::Map(_) => list(f, "map", &self.items()),
            other => write!(f, "{}", other.text()),
        }
    }
}
