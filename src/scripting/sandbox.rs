//! An interpreter in which scripts can reach nothing but Redis' globals, and change none of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::{
    Function, HookTriggers, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value, VmState,
};

use super::error::{self, Raised};
use super::libraries;
use super::random::Random;
use super::request::Asked;
use super::watch::{MEMORY_BYTES_MAX, Watch};

/// Instructions between two looks at the clock: one of them may copy or compare all the memory there is.
const INSTRUCTIONS_PER_LOOK: u32 = 1_000;
/// The version whose language this is.
pub const REDIS_VERSION: &str = "7.0.15";
const REDIS_VERSION_NUMBER: u32 = 0x0007_000f;

/// The way to the server while a script runs: called with the name of what is asked for and its arguments, answers
/// whether it failed, and the result or the table of the error.
pub(super) type Invoke = Rc<RefCell<Option<Function>>>;

/// What the prelude makes.
type Prelude = (Table, Function, Function, Table, Function);

/// See the module.
pub(super) struct Sandbox {
    pub lua: Lua,
    /// The globals as they are; scripts see a proxy.
    pub globals: Table,
    /// Runs a script, catching its error.
    pub run: Function,
    /// Removes what a script has left behind.
    pub clean: Function,
    /// What libraries of functions see as their globals…
    pub library_globals: Table,
    /// … of which most are hidden while one is loaded: called with whether one is.
    pub set_loading: Function,
    /// Is called for everything a script asks of the server, while one runs.
    pub invoke: Invoke,
    pub watch: Watch,
}

impl Sandbox {
    /// A new interpreter.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> mlua::Result<Self> {
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH;
        // Panics of ours are not to be caught by scripts, and `pcall` is Lua's own.
        let lua = Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(false))?;
        let globals = lua.globals();
        libraries::install(&lua, &globals)?;
        let host = lua.create_table()?;
        let watch = Watch::default();
        lua.set_app_data(watch.clone());
        let invoke = Invoke::default();
        libraries::strings::install(&lua, &globals.raw_get("string")?, &host)?;
        define_random(&lua, &host)?;
        define_host(&lua, &host, &watch)?;
        define_server(&lua, &host, &invoke)?;
        let (sandbox, run, clean, library_globals, set_loading): Prelude = lua
            .load(include_str!("prelude.lua"))
            .set_name("=redis")
            .call((globals.clone(), host))?;
        lua.set_globals(sandbox)?;
        lua.set_memory_limit(MEMORY_BYTES_MAX)?;
        let watched = watch.clone();
        lua.set_global_hook(
            HookTriggers::new().every_nth_instruction(INSTRUCTIONS_PER_LOOK),
            move |_, _| watched.look().map(|()| VmState::Continue),
        )?;
        Ok(Sandbox {
            lua,
            globals,
            run,
            clean,
            library_globals,
            set_loading,
            invoke,
            watch,
        })
    }
}

fn define_host(lua: &Lua, host: &Table, watch: &Watch) -> mlua::Result<()> {
    let watched = watch.clone();
    let look = lua.create_function(move |_, ()| watched.look())?;
    host.raw_set("look", look)?;
    let watched = watch.clone();
    let is_stopped = lua.create_function(move |_, ()| Ok(watched.is_stopped()))?;
    host.raw_set("is_stopped", is_stopped)?;
    host.raw_set("version", REDIS_VERSION)?;
    host.raw_set("version_number", REDIS_VERSION_NUMBER)?;
    host.raw_set("failed", lua.create_function(error::failed)?)?;
    host.raw_set("caught", lua.create_function(error::caught)?)?;
    host.raw_set("handled", lua.create_function(error::handled)?)?;
    let used = lua.create_function(|lua, ()| Ok(lua.used_memory() as f64 / 1024.0))?;
    host.raw_set("used_kilobytes", used)
}

/// The functions of the table `redis` that ask the server.
fn define_server(lua: &Lua, host: &Table, invoke: &Invoke) -> mlua::Result<()> {
    let server = lua.create_table()?;
    let names = [
        "call",
        "pcall",
        "log",
        "setresp",
        "set_repl",
        "sha1hex",
        "acl_check_cmd",
        "register_function",
    ];
    for name in names {
        let invoke = invoke.clone();
        let watch = Watch::of(lua);
        let function = lua.create_function(move |lua, mut arguments: MultiValue| {
            watch.look()?;
            let Some(invoke) = invoke.borrow().clone() else {
                let text = b"ERR redis functions can only be called while a script runs";
                return Err(Raised::reply(lua, text.to_vec()).into());
            };
            let asked = if name == "pcall" { "call" } else { name };
            if matches!(asked, "call" | "acl_check_cmd") {
                Asked::put(lua, &std::mem::take(&mut arguments))?;
            }
            arguments.push_front(Value::String(lua.create_string(asked)?));
            let (failed, result): (bool, Value) = invoke.call(arguments)?;
            match &result {
                Value::Table(error) if failed && name != "pcall" => {
                    let text: LuaString = error.raw_get("err")?;
                    Err(Raised::reply(lua, text.as_bytes().to_vec()).into())
                }
                _ => Ok(result),
            }
        })?;
        server.raw_set(name, function)?;
    }
    host.raw_set("server", server)
}

fn define_random(lua: &Lua, host: &Table) -> mlua::Result<()> {
    let random = Rc::new(Cell::new(Random::default()));
    let state = random.clone();
    let next = lua.create_function(move |lua, arguments: MultiValue| {
        let mut generator = state.get();
        let unit = generator.unit();
        state.set(generator);
        let bound = |number: usize| -> mlua::Result<f64> {
            let value = arguments.get(number).cloned().unwrap_or(Value::Nil);
            Ok(lua.coerce_number(value)?.unwrap_or(0.0).trunc())
        };
        let (low, high) = match arguments.len() {
            0 => return Ok(unit),
            1 => (1.0, bound(0)?),
            _ => (bound(0)?, bound(1)?),
        };
        if low > high {
            let number = arguments.len().min(2);
            let text = format!("bad argument #{number} to 'random' (interval is empty)");
            return Err(Raised::at_caller(lua, text).into());
        }
        Ok((unit * (high - low + 1.0)).floor() + low)
    })?;
    host.raw_set("random", next)?;
    let state = random;
    let seed = lua.create_function(move |_, seed: f64| {
        state.set(Random::seeded(seed as i64 as i32));
        Ok(())
    })?;
    host.raw_set("seed", seed)
}
