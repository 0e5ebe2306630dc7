//! `cmsgpack`: MessagePack, as Redis' library writes and reads it (<https://msgpack.org>).

use mlua::{Lua, MultiValue, Table, Value};

use super::super::watch::Budget;
use super::{Failure, Returned, as_number, define};

/// Deeper tables are written as nil.
const NESTING_MAX: usize = 16;
/// Values that a function can return.
const RETURNED_MAX: usize = 4_000;

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    library.raw_set("_NAME", "cmsgpack")?;
    library.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    library.raw_set("_COPYRIGHT", "Coterie")?;
    library.raw_set("_DESCRIPTION", "MessagePack for scripts")?;
    define(lua, &library, "pack", |lua, arguments| {
        if arguments.len() == 0 {
            let text = "bad argument #0 to 'pack' (MessagePack pack needs input.)";
            return Err(text.into());
        }
        let mut packer = Packer {
            budget: Budget::of_string(lua),
            out: Vec::new(),
        };
        for value in arguments.values() {
            packer.value(value, 0)?;
        }
        let packed = lua.create_string(&packer.out)?;
        Ok(MultiValue::from_vec(vec![Value::String(packed)]))
    })?;
    define(lua, &library, "unpack", |lua, arguments| {
        let input = arguments.string(lua, 0)?;
        let input = input.as_bytes();
        let mut reader = Reader::new(lua, &input, 0);
        let mut values = Vec::new();
        while !reader.input.is_empty() {
            reader.check_count(values.len())?;
            values.push(reader.value(0)?);
        }
        Ok(MultiValue::from_vec(values))
    })?;
    define(lua, &library, "unpack_one", |lua, arguments| {
        let offset = arguments.integer_or(lua, 1, 0)?;
        unpack_some(lua, &arguments.string(lua, 0)?.as_bytes(), 1, offset)
    })?;
    define(lua, &library, "unpack_limit", |lua, arguments| {
        let limit = arguments.number(lua, 1)? as i64;
        let offset = arguments.integer_or(lua, 2, 0)?;
        unpack_some(lua, &arguments.string(lua, 0)?.as_bytes(), limit, offset)
    })?;
    Ok(library)
}

/// Up to `limit` values from an offset on, after the offset of what follows them; that is -1 at the end.
fn unpack_some(lua: &Lua, input: &[u8], limit: i64, offset: i64) -> Returned {
    if offset < 0 || limit < 0 {
        return Err(Failure::Text(format!(
            "Invalid request to unpack with offset of {offset} and limit of {}.",
            input.len()
        )));
    }
    let start = offset as usize;
    if start > input.len() {
        return Err(Failure::Text(format!(
            "Start offset {offset} greater than input length {}.",
            input.len()
        )));
    }
    let mut reader = Reader::new(lua, input, start);
    // Without a limit and an offset, all values and no offset.
    let is_all = limit == 0 && offset == 0;
    let mut values = vec![Value::Nil];
    while !reader.input.is_empty() && (is_all || (values.len() as i64) <= limit) {
        reader.check_count(values.len())?;
        values.push(reader.value(0)?);
    }
    let next = if reader.input.is_empty() {
        -1.0
    } else {
        (input.len() - reader.input.len()) as f64
    };
    values[0] = Value::Number(next);
    if is_all {
        values.remove(0);
    }
    Ok(MultiValue::from_vec(values))
}

struct Packer {
    budget: Budget,
    out: Vec<u8>,
}

impl Packer {
    fn value(&mut self, value: &Value, level: usize) -> Result<(), Failure> {
        self.budget.step(self.out.len())?;
        match value {
            Value::Boolean(flag) => self.out.push(if *flag { 0xc3 } else { 0xc2 }),
            Value::String(text) => {
                let text = text.as_bytes();
                self.budget.step(self.out.len() + text.len())?;
                pack_string(&text, &mut self.out);
            }
            Value::Table(_) if level == NESTING_MAX => self.out.push(0xc0),
            Value::Table(table) => self.table(table, level)?,
            other => match as_number(other) {
                Some(number) => pack_number(number, &mut self.out),
                None => self.out.push(0xc0),
            },
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, level: usize) -> Result<(), Failure> {
        self.budget.long_step(self.out.len())?;
        let (mut length, mut last, mut is_array) = (0, 0.0_f64, true);
        table.for_each(|key: Value, _: Value| {
            match as_number(&key) {
                Some(index) if index >= 1.0 && index.fract() == 0.0 => last = last.max(index),
                _ => is_array = false,
            }
            length += 1;
            Ok(())
        })?;
        if is_array && last == length as f64 {
            pack_length(length, 0x90, 0xdc, &mut self.out);
            for index in 1..=length {
                self.value(&table.raw_get(index)?, level + 1)?;
            }
            return Ok(());
        }
        pack_length(length, 0x80, 0xde, &mut self.out);
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.value(&key, level + 1)?;
            self.value(&value, level + 1)?;
        }
        Ok(())
    }
}

fn pack_number(number: f64, out: &mut Vec<u8>) {
    let integer = number as i64;
    let is_integer = integer as f64 == number && number < i64::MAX as f64;
    if !is_integer {
        let single = number as f32;
        if f64::from(single) == number {
            out.push(0xca);
            out.extend(single.to_be_bytes());
        } else {
            out.push(0xcb);
            out.extend(number.to_be_bytes());
        }
        return;
    }
    match integer {
        0..=0x7f => out.push(integer as u8),
        0x80..=0xff => out.extend([0xcc, integer as u8]),
        0x100..=0xffff => tagged(0xcd, &(integer as u16).to_be_bytes(), out),
        0x1_0000..=0xffff_ffff => tagged(0xce, &(integer as u32).to_be_bytes(), out),
        0x1_0000_0000.. => tagged(0xcf, &integer.to_be_bytes(), out),
        -32..=-1 => out.push(integer as u8),
        -128..=-33 => out.extend([0xd0, integer as u8]),
        -0x8000..=-129 => tagged(0xd1, &(integer as i16).to_be_bytes(), out),
        -0x8000_0000..=-0x8001 => tagged(0xd2, &(integer as i32).to_be_bytes(), out),
        _ => tagged(0xd3, &integer.to_be_bytes(), out),
    }
}

fn tagged(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn pack_string(text: &[u8], out: &mut Vec<u8>) {
    match text.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length @ 32..=0xff => out.extend([0xd9, length as u8]),
        length @ 0x100..=0xffff => tagged(0xda, &(length as u16).to_be_bytes(), out),
        length => tagged(0xdb, &(length as u32).to_be_bytes(), out),
    }
    out.extend_from_slice(text);
}

/// Number of elements: in the tag up to 15, else in 2 or 4 bytes behind it.
fn pack_length(length: usize, small: u8, large: u8, out: &mut Vec<u8>) {
    match length {
        0..=15 => out.push(small | length as u8),
        16..=0xffff => tagged(large, &(length as u16).to_be_bytes(), out),
        _ => tagged(large + 1, &(length as u32).to_be_bytes(), out),
    }
}

struct Reader<'a> {
    lua: &'a Lua,
    budget: Budget,
    input: &'a [u8],
}

impl<'a> Reader<'a> {
    /// More would be a stack overflow: every level is at least a byte of input.
    const DEPTH_MAX: usize = 200;

    fn new(lua: &'a Lua, input: &'a [u8], offset: usize) -> Self {
        Reader {
            lua,
            budget: Budget::of_string(lua),
            input: &input[offset..],
        }
    }

    /// Whether another value can be returned besides so many.
    fn check_count(&self, count: usize) -> Result<(), Failure> {
        if count >= RETURNED_MAX {
            return Err("stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)".into());
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Failure> {
        let (taken, rest) = self
            .input
            .split_at_checked(count)
            .ok_or("Missing bytes in input.")?;
        self.input = rest;
        Ok(taken)
    }

    /// A big-endian number of up to 8 bytes.
    fn unsigned(&mut self, bytes: usize) -> Result<u64, Failure> {
        let taken = self.take(bytes)?;
        Ok(taken
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn signed(&mut self, bytes: usize) -> Result<f64, Failure> {
        let shift = 64 - 8 * bytes as u32;
        Ok((((self.unsigned(bytes)? << shift) as i64) >> shift) as f64)
    }

    fn value(&mut self, depth: usize) -> Result<Value, Failure> {
        if depth > Self::DEPTH_MAX {
            return Err("Bad data format in input.".into());
        }
        self.budget.step(0)?;
        let tag = self.take(1)?[0];
        Ok(match tag {
            0x00..=0x7f => Value::Number(f64::from(tag)),
            0xe0..=0xff => Value::Number(f64::from(tag as i8)),
            0x80..=0x8f => self.map(usize::from(tag & 0xf), depth)?,
            0x90..=0x9f => self.array(usize::from(tag & 0xf), depth)?,
            0xa0..=0xbf => self.string(usize::from(tag & 0x1f))?,
            0xc0 => Value::Nil,
            0xc2 | 0xc3 => Value::Boolean(tag == 0xc3),
            0xca => {
                let bits = self.unsigned(4)? as u32;
                Value::Number(f64::from(f32::from_bits(bits)))
            }
            0xcb => Value::Number(f64::from_bits(self.unsigned(8)?)),
            0xcc..=0xcf => Value::Number(self.unsigned(1 << (tag - 0xcc))? as f64),
            0xd0..=0xd3 => Value::Number(self.signed(1 << (tag - 0xd0))?),
            0xc4..=0xc6 => {
                let length = self.unsigned(1 << (tag - 0xc4))?;
                self.string(length as usize)?
            }
            0xd9..=0xdb => {
                let length = self.unsigned(1 << (tag - 0xd9))?;
                self.string(length as usize)?
            }
            0xdc | 0xdd => {
                let length = self.unsigned(2 << (tag - 0xdc))?;
                self.array(length as usize, depth)?
            }
            0xde | 0xdf => {
                let length = self.unsigned(2 << (tag - 0xde))?;
                self.map(length as usize, depth)?
            }
            _ => return Err("Bad data format in input.".into()),
        })
    }

    fn string(&mut self, length: usize) -> Result<Value, Failure> {
        Ok(Value::String(self.lua.create_string(self.take(length)?)?))
    }

    fn array(&mut self, length: usize, depth: usize) -> Result<Value, Failure> {
        let table = self.lua.create_table()?;
        for index in 1..=length {
            table.raw_set(index, self.value(depth + 1)?)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<Value, Failure> {
        let table = self.lua.create_table()?;
        for _ in 0..length {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            if matches!(key, Value::Nil) || as_number(&key).is_some_and(f64::is_nan) {
                return Err("Bad data format in input.".into());
            }
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }
}
