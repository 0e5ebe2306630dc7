//! `cjson`: JSON, as Mark Pulford's library writes and reads it, with its settings.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use super::super::watch::Budget;
use super::numbers::{format_general, number};
use super::{Arguments, Failure, Returned, as_number, define, one, type_name};

#[derive(Clone, Copy)]
struct Settings {
    sparse_convert: bool,
    sparse_ratio: i64,
    sparse_safe: i64,
    encode_depth: usize,
    decode_depth: usize,
    precision: usize,
    keep_buffer: bool,
    encode_invalid: Invalid,
    decode_invalid: bool,
}

/// What becomes of numbers that JSON has no text for.
#[derive(Clone, Copy, PartialEq)]
enum Invalid {
    Refused,
    Written,
    Null,
}

const DEFAULTS: Settings = Settings {
    sparse_convert: false,
    sparse_ratio: 2,
    sparse_safe: 10,
    encode_depth: 1000,
    decode_depth: 1000,
    precision: 14,
    keep_buffer: true,
    encode_invalid: Invalid::Refused,
    decode_invalid: true,
};

type Shared = Rc<Cell<Settings>>;

/// Bytes of strings that are written between two looks at the budget.
const PIECE: usize = 64 << 10;

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let settings: Shared = Rc::new(Cell::new(DEFAULTS));
    library.raw_set("_NAME", "cjson")?;
    library.raw_set("_VERSION", "2.1.0")?;
    library.raw_set("null", Value::NULL)?;
    let shared = settings.clone();
    define(lua, &library, "encode", move |lua, arguments| {
        if arguments.len() != 1 {
            return Err(arguments.wrong(0, "expected 1 argument"));
        }
        let mut encoder = Encoder {
            settings: shared.get(),
            budget: Budget::of_string(lua),
            out: Vec::new(),
        };
        encoder.value(&arguments.get(0), 0)?;
        one(Value::String(lua.create_string(&encoder.out)?))
    })?;
    let shared = settings.clone();
    define(lua, &library, "decode", move |lua, arguments| {
        if arguments.len() != 1 {
            return Err(arguments.wrong(0, "expected 1 argument"));
        }
        let text = arguments.string(lua, 0)?;
        let mut decoder = Decoder {
            lua,
            settings: shared.get(),
            budget: Budget::of_string(lua),
            text: &text.as_bytes(),
            at: 0,
        };
        one(decoder.document()?)
    })?;
    define(lua, &library, "new", |lua, _| {
        one(Value::Table(self::library(lua)?))
    })?;
    define_settings(lua, &library, &settings)?;
    Ok(library)
}

fn define_settings(lua: &Lua, library: &Table, settings: &Shared) -> mlua::Result<()> {
    let setting = |name, change: fn(&Lua, &Arguments, &mut Settings) -> Returned| {
        let shared = settings.clone();
        define(lua, library, name, move |lua, arguments| {
            let mut settings = shared.get();
            let shown = change(lua, &arguments, &mut settings)?;
            shared.set(settings);
            Ok(shown)
        })
    };
    setting("encode_sparse_array", |lua, arguments, settings| {
        settings.sparse_convert = flag(arguments, 0, settings.sparse_convert)?;
        settings.sparse_ratio = bounded(lua, arguments, 1, settings.sparse_ratio, 0)?;
        settings.sparse_safe = bounded(lua, arguments, 2, settings.sparse_safe, 0)?;
        Ok(MultiValue::from_vec(vec![
            Value::Boolean(settings.sparse_convert),
            Value::Number(settings.sparse_ratio as f64),
            Value::Number(settings.sparse_safe as f64),
        ]))
    })?;
    setting("encode_max_depth", |lua, arguments, settings| {
        let depth = bounded(lua, arguments, 0, settings.encode_depth as i64, 1)?;
        settings.encode_depth = (depth as usize).min(DEFAULTS.encode_depth);
        one(Value::Number(settings.encode_depth as f64))
    })?;
    setting("decode_max_depth", |lua, arguments, settings| {
        let depth = bounded(lua, arguments, 0, settings.decode_depth as i64, 1)?;
        settings.decode_depth = (depth as usize).min(DEFAULTS.decode_depth);
        one(Value::Number(settings.decode_depth as f64))
    })?;
    setting("encode_number_precision", |lua, arguments, settings| {
        let precision = bounded(lua, arguments, 0, settings.precision as i64, 1)?;
        if precision > 16 {
            return Err(arguments.wrong(0, "expected integer between 1 and 16"));
        }
        settings.precision = precision as usize;
        one(Value::Number(precision as f64))
    })?;
    setting("encode_keep_buffer", |_, arguments, settings| {
        settings.keep_buffer = flag(arguments, 0, settings.keep_buffer)?;
        one(Value::Boolean(settings.keep_buffer))
    })?;
    setting("encode_invalid_numbers", |lua, arguments, settings| {
        settings.encode_invalid = match arguments.get(0) {
            Value::Nil => settings.encode_invalid,
            Value::Boolean(true) => Invalid::Written,
            Value::Boolean(false) => Invalid::Refused,
            Value::String(word) if word.as_bytes() == *b"null" => Invalid::Null,
            _ => return Err(arguments.wrong(0, "invalid option")),
        };
        one(match settings.encode_invalid {
            Invalid::Written => Value::Boolean(true),
            Invalid::Refused => Value::Boolean(false),
            Invalid::Null => Value::String(lua.create_string("null")?),
        })
    })?;
    setting("decode_invalid_numbers", |_, arguments, settings| {
        settings.decode_invalid = flag(arguments, 0, settings.decode_invalid)?;
        one(Value::Boolean(settings.decode_invalid))
    })
}

fn flag(arguments: &Arguments, number: usize, present: bool) -> Result<bool, Failure> {
    match arguments.get(number) {
        Value::Nil => Ok(present),
        Value::Boolean(flag) => Ok(flag),
        _ => Err(arguments.wrong(number, "boolean expected")),
    }
}

fn bounded(
    lua: &Lua,
    arguments: &Arguments,
    number: usize,
    present: i64,
    min: i64,
) -> Result<i64, Failure> {
    let value = arguments.integer_or(lua, number, present)?;
    if !(min..=i64::from(i32::MAX)).contains(&value) {
        let why = format!("expected integer between {min} and {}", i32::MAX);
        return Err(arguments.wrong(number, &why));
    }
    Ok(value)
}

struct Encoder {
    settings: Settings,
    budget: Budget,
    out: Vec<u8>,
}

impl Encoder {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Failure> {
        self.budget.step(self.out.len())?;
        match value {
            Value::Nil => self.out.extend(b"null"),
            Value::LightUserData(pointer) if pointer.0.is_null() => self.out.extend(b"null"),
            Value::Boolean(true) => self.out.extend(b"true"),
            Value::Boolean(false) => self.out.extend(b"false"),
            Value::String(text) => self.string(&text.as_bytes())?,
            Value::Table(table) => self.table(table, depth + 1)?,
            other => match as_number(other) {
                Some(number) => self.number(number)?,
                None => return Err(refused(type_name(other), "type not supported")),
            },
        }
        Ok(())
    }

    fn number(&mut self, number: f64) -> Result<(), Failure> {
        if number.is_finite() {
            format_general(number, self.settings.precision, &mut self.out);
            return Ok(());
        }
        match self.settings.encode_invalid {
            Invalid::Refused => return Err(refused("number", "must not be NaN or Inf")),
            Invalid::Null => self.out.extend(b"null"),
            Invalid::Written if number.is_nan() => self.out.extend(b"nan"),
            Invalid::Written if number > 0.0 => self.out.extend(b"inf"),
            Invalid::Written => self.out.extend(b"-inf"),
        }
        Ok(())
    }

    fn string(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.out.push(b'"');
        for piece in text.chunks(PIECE) {
            self.budget.step(self.out.len() + piece.len())?;
            for byte in piece {
                match byte {
                    b'"' => self.out.extend(b"\\\""),
                    b'\\' => self.out.extend(b"\\\\"),
                    b'/' => self.out.extend(b"\\/"),
                    8 => self.out.extend(b"\\b"),
                    9 => self.out.extend(b"\\t"),
                    10 => self.out.extend(b"\\n"),
                    12 => self.out.extend(b"\\f"),
                    13 => self.out.extend(b"\\r"),
                    0..=31 | 127 => self.out.extend(format!("\\u{byte:04x}").bytes()),
                    other => self.out.push(*other),
                }
            }
        }
        self.out.push(b'"');
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<(), Failure> {
        if depth > self.settings.encode_depth {
            return Err(Failure::Text(format!(
                "Cannot serialise, excessive nesting ({depth})"
            )));
        }
        self.budget.long_step(self.out.len())?;
        if let Some(length) = self.array_length(table)? {
            self.out.push(b'[');
            for index in 1..=length {
                if index > 1 {
                    self.out.push(b',');
                }
                self.value(&table.raw_get(index)?, depth)?;
            }
            self.out.push(b']');
            return Ok(());
        }
        self.out.push(b'{');
        for (number, pair) in table.pairs::<Value, Value>().enumerate() {
            let (key, value) = pair?;
            if number > 0 {
                self.out.push(b',');
            }
            match (&key, as_number(&key)) {
                (_, Some(number)) => {
                    self.out.push(b'"');
                    self.number(number)?;
                    self.out.push(b'"');
                }
                (Value::String(text), None) => self.string(&text.as_bytes())?,
                _ => {
                    let why = "table key must be a number or string";
                    return Err(refused(type_name(&key), why));
                }
            }
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Length of a table that is an array, `None` for one that is an object.
    fn array_length(&self, table: &Table) -> Result<Option<i64>, Failure> {
        let (mut last, mut items, mut is_array) = (0_i64, 0_i64, true);
        table.for_each(|key: Value, _: Value| {
            match as_number(&key) {
                Some(index) if index >= 1.0 && index.fract() == 0.0 => {
                    last = last.max(index as i64);
                }
                _ => is_array = false,
            }
            items += 1;
            Ok(())
        })?;
        if !is_array || items == 0 {
            return Ok(None);
        }
        let Settings {
            sparse_convert,
            sparse_ratio,
            sparse_safe,
            ..
        } = self.settings;
        let is_sparse =
            sparse_ratio > 0 && last > items.saturating_mul(sparse_ratio) && last > sparse_safe;
        if is_sparse && !sparse_convert {
            return Err(refused("table", "excessively sparse array"));
        }
        Ok((!is_sparse).then_some(last))
    }
}

fn refused(what: &str, why: &str) -> Failure {
    Failure::Text(format!("Cannot serialise {what}: {why}"))
}

struct Decoder<'a> {
    lua: &'a Lua,
    settings: Settings,
    budget: Budget,
    text: &'a [u8],
    at: usize,
}

/// What a value begins with.
const EXPECTED_VALUE: &str = "value";

impl Decoder<'_> {
    fn document(&mut self) -> Result<Value, Failure> {
        if self.text.len() >= 2 && (self.text[0] == 0 || self.text[1] == 0) {
            return Err("JSON parser does not support UTF-16 or UTF-32".into());
        }
        let value = self.value(0)?;
        self.skip_spaces();
        if self.at < self.text.len() {
            return Err(self.unexpected("the end", self.at));
        }
        Ok(value)
    }

    fn skip_spaces(&mut self) {
        let rest = self.text[self.at..].iter();
        self.at += rest
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_spaces();
        self.text.get(self.at).copied()
    }

    /// The failure that something else stands at a place.
    fn unexpected(&self, wanted: &str, at: usize) -> Failure {
        let found = match self.text.get(at) {
            None => "T_END",
            Some(b'{') => "T_OBJ_BEGIN",
            Some(b'}') => "T_OBJ_END",
            Some(b'[') => "T_ARR_BEGIN",
            Some(b']') => "T_ARR_END",
            Some(b',') => "T_COMMA",
            Some(b':') => "T_COLON",
            Some(b'"') => "T_STRING",
            Some(b'-' | b'0'..=b'9') => "T_NUMBER",
            Some(_) if self.text[at..].starts_with(b"true") => "T_BOOLEAN",
            Some(_) if self.text[at..].starts_with(b"false") => "T_BOOLEAN",
            Some(_) if self.text[at..].starts_with(b"null") => "T_NULL",
            Some(_) => "invalid token",
        };
        self.failure(wanted, found, at)
    }

    fn failure(&self, wanted: &str, found: &str, at: usize) -> Failure {
        Failure::Text(format!(
            "Expected {wanted} but found {found} at character {}",
            at + 1
        ))
    }

    fn value(&mut self, depth: usize) -> Result<Value, Failure> {
        self.budget.step(0)?;
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => {
                let text = self.string()?;
                Ok(Value::String(self.lua.create_string(&text)?))
            }
            Some(_) => self.word(),
            None => Err(self.unexpected(EXPECTED_VALUE, self.at)),
        }
    }

    /// A literal or a number.
    fn word(&mut self) -> Result<Value, Failure> {
        let rest = &self.text[self.at..];
        let literals: [(&[u8], Value); 3] = [
            (b"true", Value::Boolean(true)),
            (b"false", Value::Boolean(false)),
            (b"null", Value::NULL),
        ];
        for (word, value) in literals {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        let length = rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
            .count();
        match number(&rest[..length], self.settings.decode_invalid) {
            Some((number, length)) => {
                self.at += length;
                Ok(Value::Number(number))
            }
            None if matches!(rest.first(), Some(b'-' | b'0'..=b'9')) => {
                Err(self.failure(EXPECTED_VALUE, "invalid number", self.at))
            }
            None => Err(self.unexpected(EXPECTED_VALUE, self.at)),
        }
    }

    fn check_depth(&self, depth: usize) -> Result<(), Failure> {
        if depth > self.settings.decode_depth {
            return Err(Failure::Text(format!(
                "Found too many nested data structures ({depth}) at character {}",
                self.at + 1
            )));
        }
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<Value, Failure> {
        self.check_depth(depth)?;
        let table = self.lua.create_table()?;
        self.at += 1;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Table(table));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("object key string", self.at));
            }
            let key = self.string()?;
            if self.peek() != Some(b':') {
                return Err(self.unexpected("colon", self.at));
            }
            self.at += 1;
            let value = self.value(depth)?;
            table.raw_set(self.lua.create_string(&key)?, value)?;
            match self.peek() {
                Some(b'}') => break self.at += 1,
                Some(b',') => self.at += 1,
                _ => return Err(self.unexpected("comma or object end", self.at)),
            }
        }
        Ok(Value::Table(table))
    }

    fn array(&mut self, depth: usize) -> Result<Value, Failure> {
        self.check_depth(depth)?;
        let table = self.lua.create_table()?;
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Table(table));
        }
        let mut length = 0;
        loop {
            let value = self.value(depth)?;
            length += 1;
            table.raw_set(length, value)?;
            match self.peek() {
                Some(b']') => break self.at += 1,
                Some(b',') => self.at += 1,
                _ => return Err(self.unexpected("comma or array end", self.at)),
            }
        }
        Ok(Value::Table(table))
    }

    /// The string that begins here.
    fn string(&mut self) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::new();
        self.at += 1;
        loop {
            let Some(&byte) = self.text.get(self.at) else {
                return Err(self.failure(EXPECTED_VALUE, "unexpected end of string", self.at));
            };
            self.at += 1;
            match byte {
                b'"' => return Ok(out),
                b'\\' => self.escape(&mut out)?,
                other => out.push(other),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let at = self.at - 1;
        let invalid = |decoder: &Self, what: &str| decoder.failure(EXPECTED_VALUE, what, at);
        let Some(&code) = self.text.get(self.at) else {
            return Err(invalid(self, "unexpected end of string"));
        };
        self.at += 1;
        out.push(match code {
            b'"' | b'\\' | b'/' => code,
            b'b' => 8,
            b't' => 9,
            b'n' => 10,
            b'f' => 12,
            b'r' => 13,
            b'u' => {
                let unit = self
                    .hex4()
                    .ok_or_else(|| invalid(self, "invalid unicode escape code"))?;
                let point = match unit {
                    0xd800..=0xdbff => {
                        let low = self.text[self.at..].starts_with(b"\\u").then(|| {
                            self.at += 2;
                            self.hex4()
                        });
                        match low.flatten() {
                            Some(low @ 0xdc00..=0xdfff) => {
                                0x1_0000 + ((unit & 0x3ff) << 10) + (low & 0x3ff)
                            }
                            _ => return Err(invalid(self, "invalid unicode escape code")),
                        }
                    }
                    unit => unit,
                };
                let Some(point) = char::from_u32(point) else {
                    return Err(invalid(self, "invalid unicode escape code"));
                };
                out.extend(point.encode_utf8(&mut [0; 4]).bytes());
                return Ok(());
            }
            _ => return Err(invalid(self, "invalid escape code")),
        });
        Ok(())
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        let number = digits.iter().try_fold(0, |number, digit| {
            Some(number << 4 | char::from(*digit).to_digit(16)?)
        })?;
        self.at += 4;
        Some(number)
    }
}
