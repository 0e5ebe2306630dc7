//! Libraries of functions: loads them, and calls their functions.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use coterie_protocol::{ReplyWriter, Request, RespVersion};
use mlua::{Function, Lua, MultiValue, Table, Value};

use super::door::{Answer, Server};
use super::interpreter::{
    Ended, Host, Interpreter, body_of, compile_error, list, log, on_one_line,
};
use super::sandbox::Sandbox;
use super::watch::MayGoOn;

/// How chunks of libraries are named.
const LIBRARY_SOURCE: &str = "@user_function";
/// A library that takes longer to load is refused.
const LOADED_WITHIN: Duration = Duration::from_millis(500);
/// Said of commands where there are none.
const NOT_WHILE_LOADING: &str = "ERR commands can't be called on FUNCTION LOAD command";
/// Libraries that an interpreter keeps.
const LIBRARIES_MAX: usize = 1_000;

/// The functions of a library, by name.
pub(super) type Callbacks = HashMap<Vec<u8>, Function>;

/// What a library says of one of its functions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registered {
    /// Its name.
    pub name: Vec<u8>,
    /// What it does.
    pub description: Option<Vec<u8>>,
    /// The flags it has, by name.
    pub flags: Vec<Vec<u8>>,
}

/// Why a library can't be loaded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It isn't Lua.
    #[error("Error compiling function: {0}")]
    Syntax(String),
    /// It ended with an error.
    #[error("Error registering functions: {0}")]
    Failed(String),
}

/// What a library registers while it is loaded.
#[derive(Default)]
struct Contents {
    registered: Vec<Registered>,
    callbacks: Callbacks,
}

/// What answers a library while it is loaded.
struct Loading<'h> {
    contents: RefCell<Contents>,
    host: RefCell<&'h mut dyn Host>,
    is_flag: fn(&[u8]) -> bool,
}

impl Server for Loading<'_> {
    fn call(&self, _: Request<'_>, out: &mut Vec<u8>) {
        debug_assert!(false, "hidden from libraries");
        ReplyWriter::new(out, RespVersion::Resp2).error(NOT_WHILE_LOADING);
    }

    fn answer(&self, lua: &Lua, name: &str, arguments: &MultiValue) -> mlua::Result<Answer> {
        if name == "log" {
            return log(&mut **self.host.borrow_mut(), lua, arguments);
        }
        let mut contents = self.contents.borrow_mut();
        register(&mut contents, lua, arguments, self.is_flag)
    }
}

impl Interpreter {
    /// Loads a library, which is known by a number from then on. Returns what it registers. `is_flag` tells which flags
    /// there are.
    ///
    /// # Errors
    /// It can't be loaded.
    pub fn load(
        &mut self,
        id: u64,
        code: &[u8],
        is_flag: fn(&[u8]) -> bool,
        host: &mut dyn Host,
    ) -> Result<Vec<Registered>, LoadError> {
        let chunk = self.sandbox.lua.load(body_of(code));
        let chunk = chunk
            .set_name(LIBRARY_SOURCE)
            .set_mode(mlua::chunk::ChunkMode::Text)
            .set_environment(self.sandbox.library_globals.clone());
        let function = self
            .sandbox
            .limited(|| chunk.into_function())
            .map_err(|error| LoadError::Syntax(one_line(compile_error(&error).into_bytes())))?;
        let loading = Loading {
            contents: RefCell::default(),
            host: RefCell::new(host),
            is_flag,
        };
        let began = Instant::now();
        let may_go_on: MayGoOn = Rc::new(move || match began.elapsed() > LOADED_WITHIN {
            true => Err("ERR FUNCTION LOAD timeout"),
            false => Ok(()),
        });
        let mut unused = Vec::new();
        let mut reply = ReplyWriter::new(&mut unused, RespVersion::Resp2);
        let loaded = self.watched(may_go_on, &mut reply, |interpreter, _| {
            interpreter.sandbox.set_loading.call::<()>(true)?;
            let words = MultiValue::from_vec(vec![Value::Function(function)]);
            let outcome = interpreter.answering(words, &loading);
            interpreter.sandbox.set_loading.call::<()>(false)?;
            let (is_loaded, error) = outcome?;
            Ok(if is_loaded {
                Ok(())
            } else {
                Err(text_of(&error)?)
            })
        });
        loaded.map_err(|ended| LoadError::Failed(one_line(ended.text)))?;
        let Contents {
            registered,
            callbacks,
        } = loading.contents.into_inner();
        if self.libraries.len() >= LIBRARIES_MAX {
            self.libraries.clear();
        }
        self.libraries.insert(id, callbacks);
        Ok(registered)
    }

    /// Whether the library of this number is loaded.
    pub fn has_library(&self, id: u64) -> bool {
        self.libraries.contains_key(&id)
    }

    /// Calls a function of a library that is loaded, and writes what it returns.
    ///
    /// # Errors
    /// It ended with an error. What was called before has happened.
    pub fn call(
        &mut self,
        (library, name): (u64, &[u8]),
        (keys, arguments): (&[&[u8]], &[&[u8]]),
        may_go_on: MayGoOn,
        host: &mut dyn Host,
        reply: &mut ReplyWriter<'_>,
    ) -> Result<(), Ended> {
        let callbacks = self.libraries.get(&library);
        let Some(function) = callbacks.and_then(|all| all.get(name)).cloned() else {
            return Err(Ended {
                text: b"ERR Function not found".to_vec(),
                is_stopped: false,
            });
        };
        self.watched(may_go_on, reply, |interpreter, reply| {
            let Sandbox { lua, globals, .. } = &interpreter.sandbox;
            // Those of the last script.
            globals.raw_set("KEYS", Value::Nil)?;
            globals.raw_set("ARGV", Value::Nil)?;
            let (keys, arguments) = (list(lua, keys)?, list(lua, arguments)?);
            let words = MultiValue::from_vec(vec![
                Value::Function(function),
                Value::Table(keys),
                Value::Table(arguments),
            ]);
            let name = String::from_utf8_lossy(name);
            interpreter.run_function(words, &name, host, reply)
        })
    }
}

/// The text of the error that a library ended with.
fn text_of(error: &Value) -> mlua::Result<Vec<u8>> {
    let text = match error {
        Value::Table(error) => error.raw_get("err")?,
        _ => Value::Nil,
    };
    Ok(match text {
        Value::String(text) => text.as_bytes().to_vec(),
        _ => b"ERR unknown error".to_vec(),
    })
}

fn one_line(text: Vec<u8>) -> String {
    String::from_utf8_lossy(&on_one_line(text)).into_owned()
}

/// `redis.register_function`
fn register(
    loading: &mut Contents,
    lua: &Lua,
    arguments: &MultiValue,
    is_flag: fn(&[u8]) -> bool,
) -> mlua::Result<Answer> {
    let registered = match (arguments.len(), arguments.front(), arguments.get(1)) {
        (1, Some(Value::Table(named)), _) => registered_by_name(lua, named, is_flag)?,
        (1, ..) => Err(
            "calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
        ),
        (2, Some(name), Some(callback)) => match (text(lua, name)?, callback) {
            (None, _) => Err("first argument to redis.register_function must be a string"),
            (Some(name), Value::Function(callback)) => {
                let (description, flags) = (None, Vec::new());
                let registered = Registered {
                    name,
                    description,
                    flags,
                };
                Ok((registered, callback.clone()))
            }
            _ => Err("second argument to redis.register_function must be a function"),
        },
        _ => Err("wrong number of arguments to redis.register_function"),
    };
    let added = registered.and_then(|(registered, callback)| {
        if !is_name(&registered.name) {
            return Err(BAD_NAME);
        }
        if loading.callbacks.contains_key(&registered.name) {
            return Err("Function already exists in the library");
        }
        loading.callbacks.insert(registered.name.clone(), callback);
        loading.registered.push(registered);
        Ok(Value::Nil)
    });
    Ok(added.map_err(|text| format!("ERR {text}")))
}

/// Said of names that are none.
pub const BAD_NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// Whether this may be the name of a library or a function.
pub fn is_name(name: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    !name.is_empty() && name.iter().all(is_part)
}

/// What is registered, or why it can't be.
type Named = Result<(Registered, Function), &'static str>;

fn registered_by_name(lua: &Lua, named: &Table, is_flag: fn(&[u8]) -> bool) -> mlua::Result<Named> {
    let (mut name, mut description, mut callback, mut flags) = (None, None, None, Vec::new());
    for pair in named.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let Some(key) = text(lua, &key)? else {
            return Ok(Err(
                "named argument key given to redis.register_function is not a string",
            ));
        };
        match (&key[..], value) {
            (b"function_name", value) => match text(lua, &value)? {
                Some(text) => name = Some(text),
                None => {
                    return Ok(Err(
                        "function_name argument given to redis.register_function must be a string",
                    ));
                }
            },
            (b"description", value) => match text(lua, &value)? {
                Some(text) => description = Some(text),
                None => {
                    return Ok(Err(
                        "description argument given to redis.register_function must be a string",
                    ));
                }
            },
            (b"callback", Value::Function(function)) => callback = Some(function),
            (b"callback", _) => {
                return Ok(Err(
                    "callback argument given to redis.register_function must be a function",
                ));
            }
            (b"flags", Value::Table(given)) => match flags_of(&given, is_flag)? {
                Some(given) => flags = given,
                None => return Ok(Err("unknown flag given")),
            },
            (b"flags", _) => {
                return Ok(Err(
                    "flags argument to redis.register_function must be a table representing function flags",
                ));
            }
            _ => return Ok(Err("unknown argument given to redis.register_function")),
        }
    }
    Ok(match (name, callback) {
        (None, _) => Err("redis.register_function must get a function name argument"),
        (_, None) => Err("redis.register_function must get a callback argument"),
        (Some(name), Some(callback)) => {
            let registered = Registered {
                name,
                description,
                flags,
            };
            Ok((registered, callback))
        }
    })
}

/// A list of flags; `None` if one of them is none.
fn flags_of(list: &Table, is_flag: fn(&[u8]) -> bool) -> mlua::Result<Option<Vec<Vec<u8>>>> {
    let mut flags = Vec::new();
    loop {
        match list.raw_get(flags.len() + 1)? {
            Value::Nil => return Ok(Some(flags)),
            Value::String(flag) if is_flag(&flag.as_bytes()) => {
                flags.push(flag.as_bytes().to_vec());
            }
            _ => return Ok(None),
        }
    }
}

/// A string, or a number as one.
fn text(lua: &Lua, value: &Value) -> mlua::Result<Option<Vec<u8>>> {
    if !matches!(
        value,
        Value::String(_) | Value::Integer(_) | Value::Number(_)
    ) {
        return Ok(None);
    }
    let text = lua.coerce_string(value.clone())?;
    Ok(text.map(|text| text.as_bytes().to_vec()))
}
