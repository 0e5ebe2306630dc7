//! Compiles scripts and runs them for a host.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Display;
use std::hash::{Hash, Hasher};

use coterie_protocol::{ReplyWriter, Request, RespVersion};
use mlua::{Function, IntoLua, Lua, MultiValue, Table, Value};
use sha1::{Digest as _, Sha1};

use super::door::{Answer, Server};
use super::error::SCRIPT_SOURCE;
use super::library::Callbacks;
use super::request;
use super::sandbox::Sandbox;
use super::value;
use super::watch::{Budget, MEMORY_BYTES_MAX, MayGoOn, no_memory};

/// Compiled scripts that an interpreter keeps.
const COMPILED_MAX: usize = 1_000;

/// An interpreter that keeps more memory than this, in bytes, is not used again.
const KEPT_BYTES_MAX: usize = 128 << 20;
/// Said of a script that wanted more memory than it may have.
const NO_MEMORY: &str = "ERR Script stopped: not enough memory; what it had changed is taken back.";
/// Said of `redis.register_function` where nothing can be registered.
const ONLY_WHILE_LOADING: &str =
    "ERR redis.register_function can only be called on FUNCTION LOAD command";

/// SHA-1 of a script's text in lower-case hexadecimal: its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest([u8; 40]);

/// A part of it is as good as all of it: it is a digest.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0[..16]);
    }
}

impl Digest {
    /// Reads one, in either case.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits: [u8; 40] = text.try_into().ok()?;
        let is_digest = digits.iter().all(u8::is_ascii_hexdigit);
        is_digest.then(|| Digest(digits.map(|digit| digit.to_ascii_lowercase())))
    }

    /// Its text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// The name of a text.
pub fn digest_of(text: &[u8]) -> Digest {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut name = [0; 40];
    for (pair, byte) in name.chunks_exact_mut(2).zip(Sha1::digest(text)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    Digest(name)
}

/// How loud `redis.log` is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// `redis.LOG_DEBUG`
    Debug,
    /// `redis.LOG_VERBOSE`
    Verbose,
    /// `redis.LOG_NOTICE`
    Notice,
    /// `redis.LOG_WARNING`
    Warning,
}

/// The server, as a running script sees it.
pub trait Host {
    /// Executes a command, appending its reply in this version of the protocol.
    fn call(&mut self, request: Request<'_>, resp: RespVersion, out: &mut Vec<u8>);

    /// Whether the user may execute a command; `None` if there is no such command.
    fn may_call(&mut self, request: Request<'_>) -> Option<bool>;

    /// `redis.log`
    fn log(&mut self, level: LogLevel, text: &[u8]);
}

/// What is run.
pub struct Run<'r> {
    /// The script's text.
    pub text: &'r [u8],
    /// Its name, which error messages tell.
    pub name: Digest,
    /// The table `KEYS`.
    pub keys: &'r [&'r [u8]],
    /// The table `ARGV`.
    pub arguments: &'r [&'r [u8]],
    /// Asked now and then whether the script may go on; else the text of the error.
    pub may_go_on: MayGoOn,
}

/// How a script ended that did not come to its end.
pub struct Ended {
    /// The error reply, without the leading `-`.
    pub text: Vec<u8>,
    /// It was stopped, and what it has changed should be taken back.
    pub is_stopped: bool,
}

/// An interpreter. Belongs to one thread.
pub struct Interpreter {
    pub(super) sandbox: Sandbox,
    compiled: HashMap<Digest, Function>,
    pub(super) libraries: HashMap<u64, Callbacks>,
    is_spent: Cell<bool>,
}

impl Interpreter {
    /// A new one.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> Result<Self, String> {
        Ok(Interpreter {
            sandbox: Sandbox::new().map_err(|error| error.to_string())?,
            compiled: HashMap::new(),
            libraries: HashMap::new(),
            is_spent: Cell::new(false),
        })
    }

    /// Whether this should not be used again: what it ran was stopped, and may have left it without memory.
    pub fn is_spent(&self) -> bool {
        self.is_spent.get()
    }

    /// Compiles a script.
    ///
    /// # Errors
    /// The error reply: it isn't Lua.
    pub fn compile(&mut self, text: &[u8], name: Digest) -> Result<(), Vec<u8>> {
        self.function(text, name).map(drop)
    }

    fn function(&mut self, text: &[u8], name: Digest) -> Result<Function, Vec<u8>> {
        if let Some(function) = self.compiled.get(&name) {
            return Ok(function.clone());
        }
        let chunk = self.sandbox.lua.load(body_of(text));
        let chunk = chunk
            .set_name(SCRIPT_SOURCE)
            .set_mode(mlua::chunk::ChunkMode::Text);
        let function = self.sandbox.limited(|| chunk.into_function());
        let function = function.map_err(|error| {
            if !matches!(error, mlua::Error::SyntaxError { .. }) {
                self.is_spent.set(true);
            }
            let text = compile_error(&error);
            on_one_line(format!("ERR Error compiling script (new function): {text}").into_bytes())
        })?;
        if self.compiled.len() >= COMPILED_MAX {
            self.compiled.clear();
        }
        self.compiled.insert(name, function.clone());
        Ok(function)
    }

    /// Runs a script and writes what it returns.
    ///
    /// # Errors
    /// It ended with an error. What was called before has happened.
    pub fn run(
        &mut self,
        run: Run<'_>,
        host: &mut dyn Host,
        reply: &mut ReplyWriter<'_>,
    ) -> Result<(), Ended> {
        let function = self.function(run.text, run.name);
        let function = function.map_err(|text| Ended {
            text,
            is_stopped: false,
        })?;
        self.watched(run.may_go_on.clone(), reply, |interpreter, reply| {
            let Sandbox { lua, globals, .. } = &interpreter.sandbox;
            globals.raw_set("KEYS", list(lua, run.keys)?)?;
            globals.raw_set("ARGV", list(lua, run.arguments)?)?;
            let words = MultiValue::from_vec(vec![Value::Function(function)]);
            interpreter.run_function(words, &run.name, host, reply)
        })
    }

    /// Runs something that may be told to stop, and that writes a reply or ends with an error.
    pub(super) fn watched<'o>(
        &self,
        may_go_on: MayGoOn,
        reply: &mut ReplyWriter<'o>,
        run: impl FnOnce(&Self, &mut ReplyWriter<'o>) -> mlua::Result<Result<(), Vec<u8>>>,
    ) -> Result<(), Ended> {
        let ended = |text, is_stopped| Ended { text, is_stopped };
        let mark = reply.mark();
        self.sandbox.watch.begin(may_go_on);
        let outcome = run(self, reply);
        let outcome = match (self.sandbox.watch.end(), outcome) {
            (Some(text), _) => Err(ended(text.into(), true)),
            (None, Ok(outcome)) => outcome.map_err(|text| ended(on_one_line(text), false)),
            // Not an error of the script's: the interpreter could not go on.
            (None, Err(mlua::Error::MemoryError(_))) => Err(ended(NO_MEMORY.into(), true)),
            (None, Err(error)) => {
                let text = format!("ERR Script stopped: {error}");
                Err(ended(on_one_line(text.into_bytes()), true))
            }
        };
        let is_stopped = matches!(&outcome, Err(ended) if ended.is_stopped);
        let is_large = || self.sandbox.lua.used_memory() > KEPT_BYTES_MAX;
        self.is_spent
            .set(self.is_spent.get() || is_stopped || is_large());
        if outcome.is_err() {
            reply.truncate_to(mark);
        }
        outcome
    }

    /// Calls a function with arguments, which follow it; `name` is what error messages tell.
    pub(super) fn run_function(
        &self,
        words: MultiValue,
        name: &dyn Display,
        host: &mut dyn Host,
        reply: &mut ReplyWriter<'_>,
    ) -> mlua::Result<Result<(), Vec<u8>>> {
        let session = Session {
            host: RefCell::new(host),
            resp: Cell::new(RespVersion::Resp2),
        };
        let (ok, result) = self.answering(words, &session)?;
        if ok {
            let resp = session.resp.get();
            let bytes_max = reply.len() + MEMORY_BYTES_MAX;
            let budget = Budget::of_bytes(&self.sandbox.lua, bytes_max);
            value::to_reply(&result, resp, budget, reply)?;
            return Ok(Ok(()));
        }
        Ok(Err(error_text(&result, name)?))
    }

    /// Calls a function while what it asks of the server is answered. Returns whether it came to its end, and what it
    /// returned, or its error.
    pub(super) fn answering(
        &self,
        words: MultiValue,
        server: &dyn Server,
    ) -> mlua::Result<(bool, Value)> {
        let Sandbox { door, run, .. } = &self.sandbox;
        let outcome = door.open(server, || self.sandbox.limited(|| run.call(words)))?;
        match outcome {
            (false, Value::Error(_)) => Err(no_memory()),
            // Lua's own error of this kind is a text, not what the handler of errors has made of it.
            (false, Value::String(text)) if text.as_bytes() == *b"not enough memory" => {
                Err(no_memory())
            }
            (false, Value::String(text)) => Err(mlua::Error::RuntimeError(text.to_string_lossy())),
            outcome => Ok(outcome),
        }
    }
}

/// The part of a text that is Lua: not a first line that declares something. The end of that stays, so that lines keep
/// their numbers.
pub(super) fn body_of(text: &[u8]) -> &[u8] {
    match text {
        [b'#', b'!', ..] => {
            let end = text.iter().position(|byte| *byte == b'\n');
            &text[end.unwrap_or(text.len())..]
        }
        _ => text,
    }
}

/// What is wrong with a text that is no Lua.
pub(super) fn compile_error(error: &mlua::Error) -> String {
    match error {
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// An error reply is one line.
pub(super) fn on_one_line(mut text: Vec<u8>) -> Vec<u8> {
    for byte in &mut text {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    text
}

pub(super) fn list(lua: &Lua, items: &[&[u8]]) -> mlua::Result<Table> {
    lua.create_sequence_from(items.iter().map(|item| Text(item)))
}

/// Bytes that become a string.
struct Text<'t>(&'t [u8]);

impl IntoLua for Text<'_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        lua.create_string(self.0).map(Value::String)
    }
}

/// The reply for an error that a script ended with.
fn error_text(error: &Value, name: &dyn Display) -> mlua::Result<Vec<u8>> {
    let Value::Table(error) = error else {
        return Ok(format!("ERR Error running script {name}, execution failure").into_bytes());
    };
    let mut text = match error.raw_get("err")? {
        Value::String(text) => text.as_bytes().to_vec(),
        _ => b"ERR unknown error".to_vec(),
    };
    if let (Value::String(source), Value::Integer(line)) =
        (error.raw_get("source")?, error.raw_get("line")?)
    {
        let source = source.to_string_lossy();
        text.extend(format!(" script: {name}, on {source}:{line}.").bytes());
    }
    Ok(text)
}

/// What answers a script.
struct Session<'h> {
    host: RefCell<&'h mut dyn Host>,
    /// The version of the protocol in which commands answer the script.
    resp: Cell<RespVersion>,
}

impl Server for Session<'_> {
    fn call(&self, request: Request<'_>, out: &mut Vec<u8>) {
        self.host.borrow_mut().call(request, self.resp.get(), out);
    }

    fn answer(&self, lua: &Lua, name: &str, arguments: &MultiValue) -> mlua::Result<Answer> {
        match name {
            "log" => log(&mut **self.host.borrow_mut(), lua, arguments),
            "setresp" => self.set_resp(lua, arguments),
            "set_repl" => set_replication(lua, arguments),
            "sha1hex" => sha1_hex(lua, arguments),
            "acl_check_cmd" => self.check(lua, arguments),
            _ => Ok(Err(ONLY_WHILE_LOADING.to_owned())),
        }
    }
}

impl Session<'_> {
    fn set_resp(&self, lua: &Lua, arguments: &MultiValue) -> mlua::Result<Answer> {
        if arguments.len() != 1 {
            let text = "ERR redis.setresp() requires one argument.";
            return Ok(Err(text.to_owned()));
        }
        let version = lua.coerce_integer(arguments.front().cloned().unwrap_or(Value::Nil))?;
        self.resp.set(match version {
            Some(2) => RespVersion::Resp2,
            Some(3) => RespVersion::Resp3,
            _ => return Ok(Err("ERR RESP version must be 2 or 3.".to_owned())),
        });
        Ok(Ok(Value::Nil))
    }

    fn check(&self, lua: &Lua, words: &MultiValue) -> mlua::Result<Answer> {
        let text = match request::of_words(lua, words)? {
            Err(text) => text,
            Ok(request) => match self.host.borrow_mut().may_call(request.request()) {
                Some(allowed) => return Ok(Ok(Value::Boolean(allowed))),
                None => "ERR Invalid command passed to redis.acl_check_cmd()",
            },
        };
        Ok(Err(text.to_owned()))
    }
}

/// `redis.log`
pub(super) fn log(host: &mut dyn Host, lua: &Lua, arguments: &MultiValue) -> mlua::Result<Answer> {
    if arguments.len() < 2 {
        return Ok(Err(
            "ERR redis.log() requires two arguments or more.".to_owned()
        ));
    }
    let level = match arguments.front() {
        Some(Value::Integer(level)) => *level,
        Some(Value::Number(level)) => *level as i64,
        _ => {
            let text = "ERR First argument must be a number (log level).";
            return Ok(Err(text.to_owned()));
        }
    };
    let level = match level {
        0 => LogLevel::Debug,
        1 => LogLevel::Verbose,
        2 => LogLevel::Notice,
        3 => LogLevel::Warning,
        _ => return Ok(Err("ERR Invalid debug level.".to_owned())),
    };
    let mut text = Vec::new();
    let mut budget = Budget::of_string(lua);
    for value in arguments.iter().skip(1) {
        if let Some(part) = lua.coerce_string(value.clone())? {
            if !text.is_empty() {
                text.push(b' ');
            }
            budget.step(text.len() + part.as_bytes().len())?;
            text.extend_from_slice(&part.as_bytes());
        }
    }
    host.log(level, &text);
    Ok(Ok(Value::Nil))
}

/// Effects reach the log and replicas in any case: only the flags are checked.
fn set_replication(lua: &Lua, arguments: &MultiValue) -> mlua::Result<Answer> {
    if arguments.len() != 1 {
        let text = "ERR redis.set_repl() requires one argument.";
        return Ok(Err(text.to_owned()));
    }
    let flags = lua.coerce_integer(arguments.front().cloned().unwrap_or(Value::Nil))?;
    Ok(match flags {
        Some(0..=3) => Ok(Value::Nil),
        _ => Err(
            "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE."
                .to_owned(),
        ),
    })
}

fn sha1_hex(lua: &Lua, arguments: &MultiValue) -> mlua::Result<Answer> {
    let text = match arguments.front() {
        Some(value) if arguments.len() == 1 => lua.coerce_string(value.clone())?,
        _ => None,
    };
    Ok(match text {
        Some(text) => {
            let name = digest_of(&text.as_bytes());
            Ok(Value::String(lua.create_string(name.as_bytes())?))
        }
        None => Err("ERR wrong number of arguments".to_owned()),
    })
}
