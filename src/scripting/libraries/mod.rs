//! The libraries that Redis gives to scripts: `bit`, `cjson`, `cmsgpack` and `struct`.

mod bits;
mod json;
mod message_pack;
mod numbers;
mod pattern;
pub(super) mod strings;
mod structs;

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::error::Raised;

/// Why a function of a library fails: a Lua error with this text, prefixed by the place in the script.
pub(super) enum Failure {
    /// What to say.
    Text(String),
    /// An error of the interpreter: no memory, say.
    Lua(mlua::Error),
}

impl From<mlua::Error> for Failure {
    fn from(error: mlua::Error) -> Self {
        Failure::Lua(error)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Failure::Text(text.to_owned())
    }
}

/// What a function of a library returns.
pub(super) type Returned = Result<MultiValue, Failure>;

/// Makes the four libraries globals.
pub(super) fn install(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    globals.raw_set("bit", bits::library(lua)?)?;
    globals.raw_set("cjson", json::library(lua)?)?;
    globals.raw_set("cmsgpack", message_pack::library(lua)?)?;
    globals.raw_set("struct", structs::library(lua)?)
}

/// Adds a function to a library.
pub(super) fn define(
    lua: &Lua,
    library: &Table,
    name: &'static str,
    function: impl Fn(&Lua, Arguments) -> Returned + 'static,
) -> mlua::Result<()> {
    let function = lua.create_function(move |lua, values: MultiValue| {
        function(lua, Arguments { name, values }).map_err(|failure| match failure {
            Failure::Text(text) => Raised::at_caller(lua, text).into(),
            Failure::Lua(error) => error,
        })
    })?;
    library.raw_set(name, function)
}

/// What a function of a library was called with.
pub(super) struct Arguments {
    name: &'static str,
    values: MultiValue,
}

impl Arguments {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    /// The argument of this number, from 0 on; nil if there is none.
    pub fn get(&self, number: usize) -> Value {
        self.values.get(number).cloned().unwrap_or(Value::Nil)
    }

    /// Likewise, if it is a number, or a text of one.
    pub fn number(&self, lua: &Lua, number: usize) -> Result<f64, Failure> {
        let value = self.get(number);
        match lua.coerce_number(value.clone()) {
            Ok(Some(found)) => Ok(found),
            _ => Err(self.mistyped(number, "number", &value)),
        }
    }

    /// Likewise, if it is a string or a number.
    pub fn string(&self, lua: &Lua, number: usize) -> Result<LuaString, Failure> {
        let value = self.get(number);
        match lua.coerce_string(value.clone()) {
            Ok(Some(found)) => Ok(found),
            _ => Err(self.mistyped(number, "string", &value)),
        }
    }

    /// An integer that may be left out.
    pub fn integer_or(&self, lua: &Lua, number: usize, default: i64) -> Result<i64, Failure> {
        match self.get(number) {
            Value::Nil => Ok(default),
            _ => Ok(self.number(lua, number)? as i64),
        }
    }

    /// The failure that an argument is wrong.
    pub fn wrong(&self, number: usize, why: &str) -> Failure {
        Failure::Text(format!(
            "bad argument #{} to '{}' ({why})",
            number + 1,
            self.name
        ))
    }

    fn mistyped(&self, number: usize, wanted: &str, found: &Value) -> Failure {
        let found = if number < self.len() {
            type_name(found)
        } else {
            "no value"
        };
        self.wrong(number, &format!("{wanted} expected, got {found}"))
    }
}

/// The name that Lua gives a value's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) | Value::Number(_) => "number",
        Value::LightUserData(_) => "userdata",
        other => other.type_name(),
    }
}

/// A number among values.
pub(super) fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// One result.
pub(super) fn one(value: Value) -> Returned {
    Ok(MultiValue::from_vec(vec![value]))
}
