//! Errors that functions of the server raise in scripts.

use std::fmt;

use mlua::{Lua, Table, Value};

use super::door::MARK;

/// How chunks of scripts are named; anything else is the server's own.
pub(super) const SCRIPT_SOURCE: &str = "@user_script";
/// Frames looked through for one of a script.
const FRAMES_MAX: usize = 8;

/// An error with a text, and where in a script it was raised. Lua sees an object; what catches errors for scripts
/// turns it into what they expect.
#[derive(Clone, Debug)]
pub(super) struct Raised {
    text: Vec<u8>,
    place: Option<Place>,
    /// Redis raises it as a table, not as a string.
    is_reply: bool,
    /// That table has the mark of what a command has answered with.
    is_marked: bool,
}

#[derive(Clone, Debug)]
struct Place {
    source: String,
    line: usize,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}

impl std::error::Error for Raised {}

impl From<Raised> for mlua::Error {
    fn from(raised: Raised) -> Self {
        mlua::Error::external(raised)
    }
}

impl Raised {
    /// An error as C functions of Lua raise it: the text says where they were called.
    pub fn at_caller(lua: &Lua, text: String) -> Self {
        let place = place(lua);
        let text = match &place {
            Some(Place { source, line }) => format!("{}:{line}: {text}", &source[1..]),
            None => text,
        };
        Raised {
            text: text.into_bytes(),
            place,
            is_reply: false,
            is_marked: false,
        }
    }

    /// An error reply.
    pub fn reply(lua: &Lua, text: Vec<u8>) -> Self {
        Raised {
            text,
            place: place(lua),
            is_reply: true,
            is_marked: false,
        }
    }

    /// The same, with that mark or without it.
    pub fn marked(self, is_marked: bool) -> Self {
        Raised { is_marked, ..self }
    }

    /// An error reply as Redis raises it.
    fn table(&self, lua: &Lua) -> mlua::Result<Table> {
        let table = lua.create_table()?;
        table.raw_set("err", lua.create_string(&self.text)?)?;
        if self.is_marked {
            table.raw_set(MARK, true)?;
        }
        Ok(table)
    }

    fn of(error: &mlua::Error) -> Option<&Raised> {
        match error {
            mlua::Error::CallbackError { cause, .. } => Raised::of(cause),
            mlua::Error::ExternalError(error) => error.downcast_ref(),
            _ => None,
        }
    }
}

/// Where the innermost function of a script is.
fn place(lua: &Lua) -> Option<Place> {
    (1..FRAMES_MAX)
        .map_while(|level| {
            lua.inspect_stack(level, |frame| {
                let source = frame.source().source?.into_owned();
                let line = frame.current_line()?;
                source.starts_with('@').then_some(Place { source, line })
            })
        })
        .flatten()
        .next()
}

/// Error objects as scripts see them when they catch one: a text, or what was raised if that was no object.
pub(super) fn caught(lua: &Lua, error: Value) -> mlua::Result<Value> {
    match error {
        Value::Error(_) => Ok(Value::String(lua.create_string(text_of(lua, &error))?)),
        other => Ok(other),
    }
}

/// Error objects as handlers of `xpcall` see them.
pub(super) fn handled(lua: &Lua, error: Value) -> mlua::Result<Value> {
    if let Value::Error(inner) = &error
        && let Some(raised) = Raised::of(inner)
        && raised.is_reply
    {
        return raised.table(lua).map(Value::Table);
    }
    caught(lua, error)
}

/// Puts any error into the form of a table with its text and where it was raised; but not that there is no memory,
/// which is no error of a script.
pub(super) fn failed(lua: &Lua, error: Value) -> mlua::Result<Value> {
    if let Value::Error(inner) = &error
        && matches!(root_of(inner), mlua::Error::MemoryError(_))
    {
        return Ok(error);
    }
    let raised = match &error {
        Value::Error(error) => Raised::of(error).cloned(),
        _ => None,
    };
    let table = match (error, &raised) {
        (Value::Table(table), _) => table,
        (_, Some(raised)) if raised.is_reply => raised.table(lua)?,
        (other, _) => {
            let text = [b"ERR ", &text_of(lua, &other)[..]].concat();
            let table = lua.create_table()?;
            table.raw_set("err", lua.create_string(text)?)?;
            table
        }
    };
    let raised_at = raised.and_then(|raised| raised.place);
    if let Some(Place { source, line }) = raised_at.or_else(|| place(lua)) {
        table.raw_set("source", source)?;
        table.raw_set("line", line)?;
    }
    Ok(Value::Table(table))
}

fn text_of(lua: &Lua, error: &Value) -> Vec<u8> {
    match error {
        Value::Error(error) => match (Raised::of(error), root_of(error)) {
            (Some(raised), _) => raised.text.clone(),
            (None, mlua::Error::MemoryError(_)) => b"not enough memory".to_vec(),
            (None, mlua::Error::RuntimeError(text)) => text.clone().into_bytes(),
            (None, other) => other.to_string().into_bytes(),
        },
        other => match lua.coerce_string(other.clone()) {
            Ok(Some(text)) => text.as_bytes().to_vec(),
            _ => other.to_string().unwrap_or_default().into_bytes(),
        },
    }
}

fn root_of(error: &mlua::Error) -> &mlua::Error {
    match error {
        mlua::Error::CallbackError { cause, .. } => root_of(cause),
        other => other,
    }
}
