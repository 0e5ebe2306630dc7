//! The commands that scripts put together.

use coterie_protocol::OwnedRequest;
use mlua::{Lua, MultiValue};

use super::value;
use super::watch::{Budget, MEMORY_BYTES_MAX};

/// The command that a script asks for, on its way to the server. It does not go through the interpreter again, which
/// hands over some thousand values at most.
pub(super) struct Asked(OwnedRequest);

impl Asked {
    /// Lays down the command of these words; none, if one is neither a string nor a number.
    ///
    /// # Errors
    /// They are too large, or the script is stopped.
    pub fn put(lua: &Lua, words: &MultiValue) -> mlua::Result<()> {
        let mut budget = Budget::of_bytes(lua, MEMORY_BYTES_MAX);
        let mut request = OwnedRequest::default();
        let mut bytes = 0;
        for word in words {
            let added = value::argument(word, |text| -> mlua::Result<()> {
                bytes += text.len();
                budget.step(bytes)?;
                request.push(text);
                Ok(())
            });
            match added {
                Some(added) => added?,
                None => {
                    lua.remove_app_data::<Asked>();
                    return Ok(());
                }
            }
        }
        lua.set_app_data(Asked(request));
        Ok(())
    }

    /// Takes up what was laid down, if it is a command.
    pub fn take(lua: &Lua) -> Option<OwnedRequest> {
        lua.remove_app_data::<Asked>().map(|asked| asked.0)
    }
}
