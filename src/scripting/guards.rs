//! What stands in for functions of Lua that trust their arguments: one writes behind the end of the stack, others move
//! elements for minutes without a look at the clock, or change tables that are to stay as they are. For all they do
//! well they call Lua's own. One of the few modules with `unsafe`; all of it is private to this one.
//!
//! What Lua raises jumps over the frames of these functions: they hold nothing but numbers and pointers.

use std::ffi::{CStr, c_int};

use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua, Table};

/// Elements that are moved between two looks at the clock.
const MOVES_PER_LOOK: usize = 1_000;
/// Values that a function of C can have on its stack (LUAI_MAXCSTACK).
const STACK_MAX: i64 = 8_000;
/// Said of a change to what is not a script's to change.
const READ_ONLY: &CStr = c"Attempt to modify a readonly table";

/// The upvalues of the functions here: Lua's own function, …
const ORIGINAL: c_int = ffi::lua_upvalueindex(1);
/// … a table whose keys are the tables that scripts don't change, …
const READ_ONLY_TABLES: c_int = ffi::lua_upvalueindex(2);
/// … and a function that raises an error if the script is to end.
const LOOK: c_int = ffi::lua_upvalueindex(3);

/// Puts them in the place of Lua's own.
pub(super) fn install(
    lua: &Lua,
    globals: &Table,
    read_only: &Table,
    look: &Function,
) -> mlua::Result<()> {
    let tables: Table = globals.raw_get("table")?;
    let functions: [(&Table, &str, ffi::lua_CFunction); 3] = [
        (&tables, "insert", insert),
        (&tables, "remove", remove),
        (globals, "unpack", unpack),
    ];
    for (library, name, function) in functions {
        let original: Function = library.raw_get(name)?;
        // SAFETY: three values are there, which are taken up; what lua_pushcclosure raises is caught.
        let guarded: Function = unsafe {
            lua.exec_raw((original, read_only, look), |state| {
                ffi::lua_pushcclosure(state, function, 3);
            })?
        };
        library.raw_set(name, guarded)?;
    }
    Ok(())
}

/// `unpack`. Lua's own reckons how many values there are without a thought to overflow.
///
/// # Safety
/// Lua calls it, with the upvalues above.
unsafe extern "C-unwind" fn unpack(state: *mut lua_State) -> c_int {
    // SAFETY: nothing here has to be dropped; there is room on the stack (LUA_MINSTACK).
    unsafe {
        if ffi::lua_type(state, 1) == ffi::LUA_TTABLE {
            let first = integer_or(state, 2, 1);
            let last = integer_or(state, 3, length(state));
            if last - first >= STACK_MAX {
                return ffi::luaL_error(state, c"too many results to unpack".as_ptr());
            }
        }
        as_lua_does(state)
    }
}

/// `table.insert`
///
/// # Safety
/// Lua calls it, with the upvalues above.
unsafe extern "C-unwind" fn insert(state: *mut lua_State) -> c_int {
    // SAFETY: nothing here has to be dropped; there is room on the stack (LUA_MINSTACK).
    unsafe {
        if ffi::lua_type(state, 1) != ffi::LUA_TTABLE {
            return as_lua_does(state);
        }
        let count = ffi::lua_gettop(state);
        let has_place = count == 3 && ffi::lua_isnumber(state, 2) != 0;
        if (count == 2 || has_place) && is_read_only(state) {
            ffi::lua_pushlstring_(state, READ_ONLY.as_ptr(), READ_ONLY.count_bytes());
            ffi::lua_error(state);
        }
        if has_place {
            let (place, end) = (integer_or(state, 2, 0) as c_int, length(state) + 1);
            if end - i64::from(place) > MOVES_PER_LOOK as i64 {
                // Lua's lengths end two below the largest number of this size.
                move_each(state, (place + 1..=end as c_int).rev(), -1);
                ffi::lua_rawseti_(state, 1, place);
                return 0;
            }
        }
        as_lua_does(state)
    }
}

/// `table.remove`. Proxies have no elements: there is nothing to guard in them.
///
/// # Safety
/// Lua calls it, with the upvalues above.
unsafe extern "C-unwind" fn remove(state: *mut lua_State) -> c_int {
    // SAFETY: nothing here has to be dropped; there is room on the stack (LUA_MINSTACK).
    unsafe {
        if ffi::lua_type(state, 1) == ffi::LUA_TTABLE {
            let end = length(state);
            let place = integer_or(state, 2, end);
            if place >= 1 && end - place > MOVES_PER_LOOK as i64 {
                let (place, end) = (place as c_int, end as c_int);
                ffi::lua_rawgeti_(state, 1, place);
                move_each(state, place..end, 1);
                ffi::lua_pushnil(state);
                ffi::lua_rawseti_(state, 1, end);
                return 1;
            }
        }
        as_lua_does(state)
    }
}

/// Calls Lua's own function as if it were this one, which is what it needs to name itself in errors; it has no upvalues
/// of its own.
///
/// # Safety
/// A function of those above calls it, with its arguments as they were and nothing to be dropped.
unsafe fn as_lua_does(state: *mut lua_State) -> c_int {
    // SAFETY: the caller's; the upvalue is a function of C.
    unsafe {
        match ffi::lua_tocfunction(state, ORIGINAL) {
            Some(original) => original(state),
            None => 0,
        }
    }
}

/// The length of the table that is the first argument, as Lua reckons it: with holes, it may be more than there is.
///
/// # Safety
/// It is a table.
unsafe fn length(state: *mut lua_State) -> i64 {
    // SAFETY: the caller's.
    i64::from(unsafe { ffi::lua_objlen(state, 1) } as c_int)
}

/// An argument that is an integer and may be left out, as Lua cuts it to the size that it counts with. Raises that it
/// is none.
///
/// # Safety
/// A function of those above calls it, with nothing to be dropped.
unsafe fn integer_or(state: *mut lua_State, argument: c_int, default: i64) -> i64 {
    // SAFETY: the caller's.
    unsafe {
        if ffi::lua_isnoneornil(state, argument) != 0 {
            return default;
        }
        i64::from(ffi::luaL_checkinteger(state, argument) as c_int)
    }
}

/// Whether the table that is the first argument is to stay as it is.
///
/// # Safety
/// It is a table, and there is room for two values on the stack.
unsafe fn is_read_only(state: *mut lua_State) -> bool {
    // SAFETY: the caller's. What is pushed is taken away.
    unsafe {
        // Few tables have a metatable, which such tables have.
        if ffi::lua_getmetatable(state, 1) == 0 {
            return false;
        }
        ffi::lua_pushvalue(state, 1);
        ffi::lua_rawget_(state, READ_ONLY_TABLES);
        let is_key = ffi::lua_type(state, -1) != ffi::LUA_TNIL;
        ffi::lua_settop(state, -3);
        is_key
    }
}

/// Gives each of these places of the table that is the first argument the value of the place at some distance. Ends when
/// the script does.
///
/// # Safety
/// It is a table, there is room for a value on the stack, and nothing to be dropped above.
unsafe fn move_each(state: *mut lua_State, places: impl Iterator<Item = c_int>, distance: c_int) {
    for (moved, place) in places.enumerate() {
        // SAFETY: the caller's; the upvalue is a function. What is pushed is taken away.
        unsafe {
            if moved % MOVES_PER_LOOK == 0 {
                ffi::lua_pushvalue(state, LOOK);
                ffi::lua_call(state, 0, 0);
            }
            ffi::lua_rawgeti_(state, 1, place + distance);
            ffi::lua_rawseti_(state, 1, place);
        }
    }
}
