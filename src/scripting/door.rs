//! The way from a script that runs to the server. `redis.call` and `redis.pcall` go through Lua's C interface without
//! anything in between: they are most of what a short script costs. One of the few modules with `unsafe`; all of it is
//! private to this one.
//!
//! What Lua raises, a lack of memory above all, jumps over the frames of the function that has called it. The functions
//! here are therefore of two kinds: those that own something never call what may raise, and those that call it hold
//! nothing but numbers and pointers.

use std::any::Any;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::rc::Rc;

use coterie_protocol::text::{parse_f64, parse_i64};
use coterie_protocol::{OwnedRequest, Request};
use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua, LuaString, MultiValue, Table, Value};

use super::error::Raised;
use super::request;
use super::watch::{MEMORY_BYTES_MAX, Watch, no_memory};

/// Buffers of more bytes are not kept when a script has ended.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// Places on Lua's stack that one level of a reply needs: three and a key for a map, and five for a value of it that is
/// no level of its own. One is to spare.
const SLOTS_PER_LEVEL: c_int = 10;
/// The fewest bytes that a reply has: its kind, and the end of its line.
const REPLY_BYTES_MIN: usize = 3;
/// The mark of errors that commands have answered with: the statistics have counted them already.
pub(super) const MARK: &str = "ignore_error_stats_update";
/// Said of what is no reply, which is an error of this program.
const MALFORMED: &str = "ERR malformed reply";
/// Said of a reply for which Lua's stack has no place: it is too deep, or there is no memory for a larger stack.
const NO_ROOM: &str = "ERR reached lua stack limit";
/// Said to what calls the server when nothing runs.
pub(super) const CLOSED: &str = "ERR redis functions can only be called while a script runs";

/// A result, or the failure to be raised.
pub(super) type Answer = Result<Value, String>;

/// What answers a script that runs.
pub(super) trait Server {
    /// Executes a command, appending its reply.
    fn call(&self, request: Request<'_>, out: &mut Vec<u8>);

    /// Answers what is no command: the name of a function and its arguments.
    fn answer(&self, lua: &Lua, name: &str, arguments: &MultiValue) -> mlua::Result<Answer>;
}

/// See the module. Open while a script runs.
#[derive(Default)]
pub(super) struct Door {
    server: Cell<Option<NonNull<dyn Server>>>,
    watch: Watch,
    request: RefCell<OwnedRequest>,
    /// The reply to the last command. Changed by [`Door::execute`] and [`Door::shrink`] alone, and read only between two
    /// calls of these.
    reply: UnsafeCell<Vec<u8>>,
    /// What was panicked with on behalf of a script: Lua is left before it goes on.
    panic: RefCell<Option<Box<dyn Any + Send>>>,
}

/// What has come of a command.
#[derive(Clone, Copy)]
enum Asked {
    /// There is a reply.
    Replied,
    /// It is none, for this reason.
    Refused(&'static str),
    /// The script can't go on: it is stopped, or there is no memory.
    Ended,
    /// No script runs.
    Closed,
}

impl Door {
    /// A door that nobody is behind.
    pub fn new(watch: Watch) -> Rc<Self> {
        Rc::new(Door {
            watch,
            ..Door::default()
        })
    }

    /// Runs something for which this server answers.
    pub fn open<R>(&self, server: &dyn Server, run: impl FnOnce() -> R) -> R {
        struct Closing<'d>(&'d Door, Option<NonNull<dyn Server>>);
        impl Drop for Closing<'_> {
            fn drop(&mut self) {
                self.0.server.set(self.1);
            }
        }
        // SAFETY: only the lifetime differs. The pointer is used by `with` alone, which runs inside of `run`, and is
        // taken away when that ends, be it by a panic.
        let server: NonNull<dyn Server> = unsafe {
            std::mem::transmute::<NonNull<dyn Server + '_>, NonNull<dyn Server + 'static>>(
                NonNull::from(server),
            )
        };
        let closing = Closing(self, self.server.replace(Some(server)));
        let result = run();
        drop(closing);
        self.shrink();
        if let Some(panic) = self.panic.take() {
            resume_unwind(panic);
        }
        result
    }

    /// Does something with the server, if a script runs.
    pub fn with<R>(&self, ask: impl FnOnce(&dyn Server) -> R) -> Option<R> {
        let server = self.server.get()?;
        // SAFETY: what `open` was given lives until that ends, which is not before this does: this is called by what
        // it runs.
        Some(ask(unsafe { server.as_ref() }))
    }

    /// Gives large buffers back: nobody knows when the next script comes.
    fn shrink(&self) {
        let mut request = self.request.borrow_mut();
        if request.allocated_bytes() > KEPT_BYTES_MAX {
            *request = OwnedRequest::default();
        }
        // SAFETY: no script runs that would read it.
        let reply = unsafe { &mut *self.reply.get() };
        reply.clear();
        reply.shrink_to(KEPT_BYTES_MAX);
    }

    /// Executes the command whose words are all that is on the stack. Raises nothing, and keeps panics, which must not
    /// pass through Lua's own frames.
    fn ask(&self, state: *mut lua_State) -> Asked {
        let asked = catch_unwind(AssertUnwindSafe(|| self.execute(state)));
        asked.unwrap_or_else(|panic| {
            *self.panic.borrow_mut() = Some(panic);
            Asked::Ended
        })
    }

    /// Does what [`Door::ask`] says. Raises nothing, but may panic.
    fn execute(&self, state: *mut lua_State) -> Asked {
        if self.panic.borrow().is_some() || self.watch.look_unless_fresh().is_err() {
            return Asked::Ended;
        }
        let mut request = self.request.borrow_mut();
        request.clear();
        if let Err(refused) = words(state, &mut request) {
            return refused;
        }
        // SAFETY: nobody has a reference to it. `call` reads it to the end before the script goes on. What it pushes
        // meanwhile may collect garbage, but that runs no script: only userdata has finalizers, and scripts make none.
        let reply = unsafe { &mut *self.reply.get() };
        reply.clear();
        match self.with(|server| server.call(request.request(), reply)) {
            Some(()) => Asked::Replied,
            None => Asked::Closed,
        }
    }

    /// Bytes that the buffers take.
    #[cfg(test)]
    pub fn allocated_bytes(&self) -> usize {
        // SAFETY: tests ask when no script runs.
        let reply = unsafe { &*self.reply.get() };
        self.request.borrow().allocated_bytes() + reply.capacity()
    }
}

/// Copies the words of a command from the stack. Raises nothing, and needs no place on it.
fn words(state: *mut lua_State, request: &mut OwnedRequest) -> Result<(), Asked> {
    // SAFETY: the state is the one that has called; none of these raises, nor changes the stack.
    let count = unsafe { ffi::lua_gettop(state) };
    if count == 0 {
        return Err(Asked::Refused(request::NO_ARGUMENTS));
    }
    let mut bytes = 0;
    for index in 1..=count {
        // SAFETY: as above.
        match unsafe { ffi::lua_type(state, index) } {
            ffi::LUA_TSTRING => {
                let mut length = 0;
                // SAFETY: it is a string, which is not converted, and stays where it is while it is on the stack.
                let word = unsafe {
                    let start = ffi::lua_tolstring(state, index, &mut length);
                    std::slice::from_raw_parts(start.cast::<u8>(), length)
                };
                bytes += length;
                if bytes > MEMORY_BYTES_MAX {
                    return Err(Asked::Ended);
                }
                request.push(word);
            }
            ffi::LUA_TNUMBER => {
                // SAFETY: as above.
                let number = unsafe { ffi::lua_tonumber(state, index) };
                request::number(number, |word| request.push(word));
            }
            _ => return Err(Asked::Refused(request::NOT_TEXTS)),
        }
    }
    Ok(())
}

/// `redis.call`, or `redis.pcall` if it catches errors. Upvalues: the door, and a function that raises what it is given,
/// or the reason for which the script can't go on if that is nothing.
///
/// # Safety
/// Lua calls it, with these upvalues.
unsafe extern "C-unwind" fn call<const CATCHES: bool>(state: *mut lua_State) -> c_int {
    // SAFETY: the first upvalue is the door, which lives as long as the interpreter. From here on there is nothing in
    // this frame or those of what it calls that would have to be dropped, but in `Door::ask`, which raises nothing.
    // After it the stack is empty, with at least the room that a function of C finds there (LUA_MINSTACK).
    unsafe {
        let door = ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<Door>();
        let asked = (*door).ask(state);
        // The words are copied. Lua counts what a function has on its stack: what they took is left to the reply.
        ffi::lua_settop(state, 0);
        let failed = match asked {
            Asked::Replied => {
                let reply: &[u8] = &*(*door).reply.get();
                if let Err(text) = push_reply(state, reply) {
                    ffi::lua_settop(state, 0);
                    push_text(state, text);
                    return raise(state);
                }
                reply.first() == Some(&b'-')
            }
            Asked::Refused(text) => {
                push_field(state, "err", text.as_bytes());
                true
            }
            Asked::Closed => {
                push_text(state, CLOSED);
                return raise(state);
            }
            Asked::Ended => {
                ffi::lua_pushnil(state);
                return raise(state);
            }
        };
        if failed && !CATCHES {
            return raise(state);
        }
        1
    }
}

/// Gives what is on top of the stack to the function that raises it. That is a call, too: where a script is as deep in
/// functions of C as it may be, the error is that it is.
///
/// # Safety
/// There is something on the stack of the state and room for one value more, nothing to be dropped above, and the second
/// upvalue is that function.
unsafe fn raise(state: *mut lua_State) -> c_int {
    // SAFETY: the second upvalue is a function; nothing here has to be dropped.
    unsafe {
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(2));
        ffi::lua_insert(state, -2);
        ffi::lua_call(state, 1, 0);
    }
    0
}

/// # Safety
/// There is room for it on the stack of the state, and nothing to be dropped above: it may raise a lack of memory.
unsafe fn push_text(state: *mut lua_State, text: &str) {
    // SAFETY: the caller's, as everywhere below.
    unsafe { push_bytes(state, text.as_bytes()) }
}

/// # Safety
/// As for `push_text`.
unsafe fn push_bytes(state: *mut lua_State, text: &[u8]) {
    // SAFETY: the text is copied.
    unsafe { ffi::lua_pushlstring_(state, text.as_ptr().cast(), text.len()) }
}

/// Pushes a reply of this server as a Lua value; returns the rest, or what is wrong with it. May raise that there is no
/// memory, or that a key of a map is none for Lua.
///
/// # Safety
/// As for `push_text`, with room for five values.
unsafe fn push_reply(state: *mut lua_State, reply: &[u8]) -> Result<&[u8], &'static str> {
    let (kind, line, rest) = first_line(reply).ok_or(MALFORMED)?;
    // SAFETY: there is room on the stack for what one level pushes; nothing here has to be dropped.
    unsafe {
        match kind {
            b'+' => push_field(state, "ok", line),
            b'-' => {
                push_field(state, "err", line);
                push_text(state, MARK);
                ffi::lua_pushboolean(state, 1);
                ffi::lua_rawset(state, -3);
            }
            b':' => {
                let number = parse_i64(line).map(|number| number as f64);
                let number = number.or_else(|| parse_f64(line));
                ffi::lua_pushnumber(state, number.ok_or(MALFORMED)?);
            }
            b'$' | b'*' if line == b"-1" => ffi::lua_pushboolean(state, 0),
            b'_' => ffi::lua_pushnil(state),
            b'#' => ffi::lua_pushboolean(state, c_int::from(line == b"t")),
            b',' => {
                ffi::lua_createtable(state, 0, 1);
                push_text(state, "double");
                ffi::lua_pushnumber(state, parse_f64(line).unwrap_or(f64::NAN));
                ffi::lua_rawset(state, -3);
            }
            b'(' => push_field(state, "big_number", line),
            b'$' | b'=' => return push_string(state, kind, length(line)?, rest),
            b'*' | b'>' | b'%' | b'~' => return push_items(state, kind, length(line)?, rest),
            _ => return Err(MALFORMED),
        }
    }
    Ok(rest)
}

/// The kind of a reply, its first line, and what follows that.
fn first_line(reply: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, text) = reply.split_first()?;
    let mut from = 0;
    loop {
        let end = from + text.get(from..)?.iter().position(|byte| *byte == b'\r')?;
        if text.get(end + 1) == Some(&b'\n') {
            return Some((*kind, &text[..end], &text[end + 2..]));
        }
        from = end + 1;
    }
}

fn length(line: &[u8]) -> Result<usize, &'static str> {
    let length = parse_i64(line).and_then(|length| usize::try_from(length).ok());
    length.ok_or(MALFORMED)
}

/// Pushes a table with one field.
///
/// # Safety
/// As for `push_text`, with room for three values.
unsafe fn push_field(state: *mut lua_State, name: &str, text: &[u8]) {
    // SAFETY: as for `push_reply`.
    unsafe {
        ffi::lua_createtable(state, 0, 1);
        push_text(state, name);
        push_bytes(state, text);
        ffi::lua_rawset(state, -3);
    }
}

/// # Safety
/// As for `push_reply`.
unsafe fn push_string(
    state: *mut lua_State,
    kind: u8,
    length: usize,
    rest: &[u8],
) -> Result<&[u8], &'static str> {
    let (text, rest) = rest.split_at_checked(length).ok_or(MALFORMED)?;
    // SAFETY: as for `push_reply`.
    unsafe {
        if kind == b'$' {
            push_bytes(state, text);
        } else {
            // Three letters of the format, and a colon.
            let (Some(format), Some(text)) = (text.get(..3), text.get(4..)) else {
                return Err(MALFORMED);
            };
            ffi::lua_createtable(state, 0, 1);
            push_text(state, "verbatim_string");
            push_field(state, "format", format);
            push_text(state, "string");
            push_bytes(state, text);
            ffi::lua_rawset(state, -3);
            ffi::lua_rawset(state, -3);
        }
    }
    rest.get(2..).ok_or(MALFORMED)
}

/// # Safety
/// As for `push_reply`.
unsafe fn push_items(
    state: *mut lua_State,
    kind: u8,
    length: usize,
    mut rest: &[u8],
) -> Result<&[u8], &'static str> {
    // No table is made for more than there can be.
    if length > rest.len() / REPLY_BYTES_MIN {
        return Err(MALFORMED);
    }
    let count = c_int::try_from(length).map_err(|_| MALFORMED)?;
    // SAFETY: as for `push_reply`; room for this level, and for what the items push that are none, is made here.
    unsafe {
        if ffi::lua_checkstack(state, SLOTS_PER_LEVEL) == 0 {
            return Err(NO_ROOM);
        }
        if matches!(kind, b'*' | b'>') {
            ffi::lua_createtable(state, count, 0);
            for index in 1..=count {
                rest = push_reply(state, rest)?;
                ffi::lua_rawseti_(state, -2, index);
            }
            return Ok(rest);
        }
        ffi::lua_createtable(state, 0, 1);
        push_text(state, if kind == b'%' { "map" } else { "set" });
        ffi::lua_createtable(state, 0, count);
        for _ in 0..count {
            rest = push_reply(state, rest)?;
            if kind == b'%' {
                rest = push_reply(state, rest)?;
            } else {
                ffi::lua_pushboolean(state, 1);
            }
            ffi::lua_rawset(state, -3);
        }
        ffi::lua_rawset(state, -3);
    }
    Ok(rest)
}

/// `redis.call` and `redis.pcall`.
pub(super) fn install(lua: &Lua, server: &Table, door: &Rc<Door>) -> mlua::Result<()> {
    let watch = Watch::of(lua);
    let raising = lua.create_function(move |lua, what: Value| -> mlua::Result<()> {
        let raised = match &what {
            Value::Table(error) => {
                let text: LuaString = error.raw_get("err")?;
                let raised = Raised::reply(lua, text.as_bytes().to_vec());
                raised.marked(error.raw_get(MARK)?)
            }
            Value::String(text) => Raised::reply(lua, text.as_bytes().to_vec()),
            _ => {
                watch.look()?;
                return Err(no_memory());
            }
        };
        Err(raised.into())
    })?;
    // The interpreter keeps it alive.
    lua.set_app_data(door.clone());
    let at = Rc::as_ptr(door).cast_mut().cast::<c_void>();
    let functions: [(_, ffi::lua_CFunction); 2] =
        [("call", call::<false>), ("pcall", call::<true>)];
    for (name, function) in functions {
        // SAFETY: a value is there and one is pushed, which are taken up; what lua_pushcclosure raises is caught.
        let function: Function = unsafe {
            lua.exec_raw(raising.clone(), |state| {
                ffi::lua_pushlightuserdata(state, at);
                ffi::lua_insert(state, -2);
                ffi::lua_pushcclosure(state, function, 2);
            })?
        };
        server.raw_set(name, function)?;
    }
    Ok(())
}
