//! `bit`: operations on the low 32 bits of numbers, as Mike Pall's Lua BitOp defines them.

use mlua::{Lua, Table, Value};

use super::{Arguments, Failure, define, one};

/// Adding this to a number leaves its integer part, modulo 2^32, in the low bits.
const TO_BITS: f64 = 6_755_399_441_055_744.0;

type Unary = fn(u32) -> u32;
type Binary = fn(u32, u32) -> u32;

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let unary: [(&str, Unary); 3] = [
        ("tobit", |bits| bits),
        ("bnot", |bits| !bits),
        ("bswap", u32::swap_bytes),
    ];
    for (name, operation) in unary {
        define(lua, &library, name, move |lua, arguments| {
            one(signed(operation(bits(lua, &arguments, 0)?)))
        })?;
    }
    let folds: [(&str, Binary); 3] = [
        ("band", |a, b| a & b),
        ("bor", |a, b| a | b),
        ("bxor", |a, b| a ^ b),
    ];
    for (name, operation) in folds {
        define(lua, &library, name, move |lua, arguments| {
            let mut result = bits(lua, &arguments, 0)?;
            for number in 1..arguments.len() {
                result = operation(result, bits(lua, &arguments, number)?);
            }
            one(signed(result))
        })?;
    }
    let shifts: [(&str, Binary); 5] = [
        ("lshift", |bits, by| bits << by),
        ("rshift", |bits, by| bits >> by),
        ("arshift", |bits, by| (bits as i32 >> by) as u32),
        ("rol", u32::rotate_left),
        ("ror", u32::rotate_right),
    ];
    for (name, operation) in shifts {
        define(lua, &library, name, move |lua, arguments| {
            let value = bits(lua, &arguments, 0)?;
            one(signed(operation(value, bits(lua, &arguments, 1)? & 31)))
        })?;
    }
    define(lua, &library, "tohex", |lua, arguments| {
        let value = bits(lua, &arguments, 0)?;
        let digits = match arguments.len() {
            0 | 1 => 8,
            _ => bits(lua, &arguments, 1)? as i32,
        };
        let width = digits.unsigned_abs().min(8) as usize;
        let text = if digits < 0 {
            format!("{value:08X}")
        } else {
            format!("{value:08x}")
        };
        let text = lua.create_string(&text.as_bytes()[8 - width..])?;
        one(Value::String(text))
    })?;
    Ok(library)
}

fn bits(lua: &Lua, arguments: &Arguments, number: usize) -> Result<u32, Failure> {
    Ok((arguments.number(lua, number)? + TO_BITS).to_bits() as u32)
}

fn signed(bits: u32) -> Value {
    Value::Number(f64::from(bits as i32))
}
