//! `struct`: packing values into strings by a format, as Roberto Ierusalimschy's library does.
//!
//! `>` and `<` choose the byte order, `!n` the alignment, `x` is a byte of padding, `b`, `h`, `i`, `l` and `T` are
//! integers (upper case: unsigned; `i` and `I` take a size), `f` and `d` floats, `s` a string up to its zero, `cn`
//! exactly n bytes (`c0`: as many as the number before it says).

use mlua::{Lua, MultiValue, Table, Value};

use super::super::watch::Budget;
use super::{Arguments, Failure, define, one};

/// Largest integer, in bytes.
const INTEGER_BYTES_MAX: usize = 32;
const ALIGNMENT_DEFAULT: usize = 8;

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    define(lua, &library, "pack", |lua, arguments| {
        let format = arguments.string(lua, 0)?.as_bytes().to_vec();
        let packed = pack(lua, &format, &arguments)?;
        one(Value::String(lua.create_string(&packed)?))
    })?;
    define(lua, &library, "unpack", |lua, arguments| {
        let format = arguments.string(lua, 0)?.as_bytes().to_vec();
        let data = arguments.string(lua, 1)?;
        let position = arguments.integer_or(lua, 2, 1)?;
        if position < 1 {
            return Err(arguments.wrong(2, "offset must be 1 or greater"));
        }
        let data = data.as_bytes();
        unpack(lua, &format, &data, position as usize - 1, &arguments)
    })?;
    define(lua, &library, "size", |lua, arguments| {
        let format = arguments.string(lua, 0)?.as_bytes().to_vec();
        let mut total = 0_usize;
        let mut items = Items::new(&format);
        while let Some(item) = items.next(&arguments)? {
            if matches!(item.option, b's') || (item.option == b'c' && item.size == 0) {
                let name = if item.option == b's' { "s" } else { "c0" };
                let why = format!("option '{name}' has no fixed size");
                return Err(arguments.wrong(0, &why));
            }
            total = total.saturating_add(items.padding(&item, total));
            total = total.saturating_add(item.size);
            if total > i32::MAX as usize {
                return Err("format too large".into());
            }
        }
        one(Value::Number(total as f64))
    })?;
    Ok(library)
}

/// One option of a format.
struct Item {
    option: u8,
    /// Bytes it takes; 0 for what depends on the data.
    size: usize,
}

/// The options of a format, and the state they leave.
struct Items<'f> {
    format: &'f [u8],
    is_little: bool,
    alignment: usize,
}

impl<'f> Items<'f> {
    fn new(format: &'f [u8]) -> Self {
        Items {
            format,
            is_little: true,
            alignment: 1,
        }
    }

    /// Digits that follow, or the default.
    fn number(&mut self, default: usize) -> Result<usize, Failure> {
        let digits = self
            .format
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (digits, rest) = self.format.split_at(digits);
        self.format = rest;
        if digits.is_empty() {
            return Ok(default);
        }
        digits.iter().try_fold(0_usize, |number, digit| {
            let number = number * 10 + usize::from(digit - b'0');
            (number <= i32::MAX as usize / 10)
                .then_some(number)
                .ok_or_else(|| Failure::from("integral size overflow"))
        })
    }

    fn next(&mut self, arguments: &Arguments) -> Result<Option<Item>, Failure> {
        while let [option, rest @ ..] = self.format {
            self.format = rest;
            let size = match option {
                b'B' | b'b' | b'x' => 1,
                b'H' | b'h' => 2,
                b'L' | b'l' | b'T' | b'd' => 8,
                b'f' => 4,
                b'c' => self.number(1)?,
                b's' => 0,
                b'i' | b'I' => {
                    let size = self.number(4)?;
                    if size > INTEGER_BYTES_MAX {
                        return Err(Failure::Text(format!(
                            "integral size {size} is larger than limit of {INTEGER_BYTES_MAX}"
                        )));
                    }
                    size
                }
                b' ' => continue,
                b'<' | b'>' => {
                    self.is_little = *option == b'<';
                    continue;
                }
                b'!' => {
                    let alignment = self.number(ALIGNMENT_DEFAULT)?;
                    if !alignment.is_power_of_two() {
                        return Err(Failure::Text(format!(
                            "alignment {alignment} is not a power of 2"
                        )));
                    }
                    self.alignment = alignment;
                    continue;
                }
                other => {
                    let why = format!("invalid format option '{}'", char::from(*other));
                    return Err(arguments.wrong(0, &why));
                }
            };
            return Ok(Some(Item {
                option: *option,
                size,
            }));
        }
        Ok(None)
    }

    /// Bytes to leave out before an item at this place.
    fn padding(&self, item: &Item, at: usize) -> usize {
        let alignment = match item.option {
            b'c' | b's' => 1,
            _ => item.size.min(self.alignment),
        };
        if alignment < 2 || !alignment.is_power_of_two() {
            return 0;
        }
        at.wrapping_neg() & (alignment - 1)
    }
}

fn pack(lua: &Lua, format: &[u8], arguments: &Arguments) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let mut budget = Budget::of_string(lua);
    let mut items = Items::new(format);
    let mut next = 1;
    while let Some(item) = items.next(arguments)? {
        budget.step(out.len())?;
        let padding = items.padding(&item, out.len());
        out.resize(out.len() + padding, 0);
        match item.option {
            b'x' => {
                out.push(0);
                continue;
            }
            b'f' => {
                let bytes = (arguments.number(lua, next)? as f32).to_le_bytes();
                extend(&bytes, items.is_little, &mut out);
            }
            b'd' => {
                let bytes = arguments.number(lua, next)?.to_le_bytes();
                extend(&bytes, items.is_little, &mut out);
            }
            b'c' | b's' => {
                let text = arguments.string(lua, next)?;
                let text = text.as_bytes();
                let size = if item.size == 0 {
                    text.len()
                } else {
                    item.size
                };
                let Some(bytes) = text.get(..size) else {
                    return Err(arguments.wrong(next + 1, "string too short"));
                };
                budget.step(out.len() + bytes.len())?;
                out.extend_from_slice(bytes);
                if item.option == b's' {
                    out.push(0);
                }
            }
            _ => {
                let number = arguments.number(lua, next)?;
                let bits = if number < 0.0 {
                    number as i64 as u64
                } else {
                    number as u64
                };
                let bytes = bits.to_le_bytes();
                let mut sized = [0; INTEGER_BYTES_MAX];
                let shown = item.size.min(bytes.len());
                sized[..shown].copy_from_slice(&bytes[..shown]);
                extend(&sized[..item.size], items.is_little, &mut out);
            }
        }
        next += 1;
    }
    Ok(out)
}

/// Appends bytes that are given little end first.
fn extend(bytes: &[u8], is_little: bool, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(bytes);
    if !is_little {
        out[start..].reverse();
    }
}

/// The values, and the position after them.
fn unpack(
    lua: &Lua,
    format: &[u8],
    data: &[u8],
    mut at: usize,
    arguments: &Arguments,
) -> Result<MultiValue, Failure> {
    let too_short = || arguments.wrong(1, "data string too short");
    if at > data.len() {
        return Err(too_short());
    }
    let mut values = Vec::new();
    let mut items = Items::new(format);
    while let Some(item) = items.next(arguments)? {
        at = at.saturating_add(items.padding(&item, at));
        let rest = data.get(at..).ok_or_else(too_short)?;
        let mut bytes = rest.get(..item.size).ok_or_else(too_short)?;
        let value = match item.option {
            b'x' => {
                at += 1;
                continue;
            }
            b's' => {
                let Some(end) = rest.iter().position(|byte| *byte == 0) else {
                    return Err("unfinished string in data".into());
                };
                bytes = &rest[..=end];
                Value::String(lua.create_string(&rest[..end])?)
            }
            b'c' => {
                if item.size == 0 {
                    let Some(Value::Number(length)) = values.pop() else {
                        return Err("format 'c0' needs a previous size".into());
                    };
                    if length < 0.0 {
                        return Err(too_short());
                    }
                    bytes = rest.get(..length as usize).ok_or_else(too_short)?;
                }
                Value::String(lua.create_string(bytes)?)
            }
            option => {
                let mut ordered = [0; INTEGER_BYTES_MAX];
                ordered[..item.size].copy_from_slice(bytes);
                if !items.is_little {
                    ordered[..item.size].reverse();
                }
                let [a, b, c, d, e, f, g, h, ..] = ordered;
                Value::Number(match option {
                    b'f' => f64::from(f32::from_le_bytes([a, b, c, d])),
                    b'd' => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
                    _ => {
                        let bits = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
                        integer(bits, item.size, option)
                    }
                })
            }
        };
        at += bytes.len();
        values.push(value);
    }
    values.push(Value::Number((at + 1) as f64));
    Ok(MultiValue::from_vec(values))
}

/// The integer in the low bytes.
fn integer(bits: u64, size: usize, option: u8) -> f64 {
    if option.is_ascii_uppercase() {
        return bits as f64;
    }
    let shift = 64_u32.saturating_sub(8 * size as u32).min(63);
    (((bits << shift) as i64) >> shift) as f64
}
