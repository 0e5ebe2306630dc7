//! An interpreter in which scripts can reach nothing but Redis' globals, and change none of them.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Function, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};

use super::door::{self, CLOSED, Door};
use super::error::{self, Raised};
use super::random::Random;
use super::watch::{MEMORY_BYTES_MAX, Watch};
use super::{guards, libraries};

/// Instructions between two looks at the clock: one of them may copy or compare all the memory there is.
const INSTRUCTIONS_PER_LOOK: u32 = 1_000;
/// The version whose language this is.
pub const REDIS_VERSION: &str = "7.0.15";
const REDIS_VERSION_NUMBER: u32 = 0x0007_000f;

/// What the prelude makes.
type Prelude = (Table, Function, Table, Function);

/// See the module.
pub(super) struct Sandbox {
    pub lua: Lua,
    /// The globals as they are; scripts see a proxy.
    pub globals: Table,
    /// Runs a script, catching its error.
    pub run: Function,
    /// What libraries of functions see as their globals…
    pub library_globals: Table,
    /// … of which most are hidden while one is loaded: called with whether one is.
    pub set_loading: Function,
    /// Everything a script asks of the server goes through it.
    pub door: Rc<Door>,
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
        let door = Door::new(watch.clone());
        libraries::strings::install(&lua, &globals.raw_get("string")?, &host)?;
        define_random(&lua, &host)?;
        define_host(&lua, &host, &watch)?;
        let proxies = lua.create_table()?;
        guards::install(&lua, &globals, &proxies, &host.raw_get("look")?)?;
        host.raw_set("proxies", proxies)?;
        define_server(&lua, &host, &door)?;
        let (sandbox, run, library_globals, set_loading): Prelude = lua
            .load(include_str!("prelude.lua"))
            .set_name("=redis")
            .call((globals.clone(), host))?;
        lua.set_globals(sandbox)?;
        let watched = watch.clone();
        lua.set_global_hook(
            HookTriggers::new().every_nth_instruction(INSTRUCTIONS_PER_LOOK),
            move |_, _| watched.look().map(|()| VmState::Continue),
        )?;
        Ok(Sandbox {
            lua,
            globals,
            run,
            library_globals,
            set_loading,
            door,
            watch,
        })
    }
}

impl Sandbox {
    /// Does something for which there is only so much memory. The limit is not there all the time: where there is one
    /// the binding protects every small step of ours by a call of its own, and what we make is small or a request.
    ///
    /// # Errors
    /// Those of what is done.
    pub fn limited<R>(&self, run: impl FnOnce() -> mlua::Result<R>) -> mlua::Result<R> {
        self.lua.set_memory_limit(MEMORY_BYTES_MAX)?;
        let result = run();
        self.lua.set_memory_limit(0)?;
        result
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
fn define_server(lua: &Lua, host: &Table, door: &Rc<Door>) -> mlua::Result<()> {
    let server = lua.create_table()?;
    door::install(lua, &server, door)?;
    let names = [
        "log",
        "setresp",
        "set_repl",
        "sha1hex",
        "acl_check_cmd",
        "register_function",
    ];
    for name in names {
        let (door, watch) = (door.clone(), Watch::of(lua));
        let function = lua.create_function(move |lua, arguments: MultiValue| {
            watch.look()?;
            let answer = door.with(|server| server.answer(lua, name, &arguments));
            let answer = answer.unwrap_or_else(|| Ok(Err(CLOSED.to_owned())))?;
            answer.map_err(|text| Raised::reply(lua, text.into_bytes()).into())
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
