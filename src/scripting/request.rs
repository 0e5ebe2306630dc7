//! The commands that scripts put together.

use coterie_protocol::OwnedRequest;
use coterie_protocol::text::format_double;
use mlua::{Lua, MultiValue, Value};

use super::watch::{Budget, MEMORY_BYTES_MAX};

/// Said of commands that a script puts together of other things.
pub(super) const NOT_TEXTS: &str =
    "ERR Lua redis lib command arguments must be strings or integers";
/// Said of commands that are nothing at all.
pub(super) const NO_ARGUMENTS: &str =
    "ERR Please specify at least one argument for this redis lib call";

/// The command of these words, or what is wrong with it.
///
/// # Errors
/// They are too large, or the script is stopped.
pub(super) fn of_words(
    lua: &Lua,
    words: &MultiValue,
) -> mlua::Result<Result<OwnedRequest, &'static str>> {
    if words.is_empty() {
        return Ok(Err(NO_ARGUMENTS));
    }
    let mut budget = Budget::of_bytes(lua, MEMORY_BYTES_MAX);
    let mut request = OwnedRequest::default();
    let mut bytes = 0;
    for word in words {
        match word {
            Value::String(text) => {
                let text = text.as_bytes();
                bytes += text.len();
                budget.step(bytes)?;
                request.push(&text);
            }
            Value::Integer(integer) => number(*integer as f64, |text| request.push(text)),
            Value::Number(double) => number(*double, |text| request.push(text)),
            _ => return Ok(Err(NOT_TEXTS)),
        }
    }
    Ok(Ok(request))
}

/// Hands over a number as the text that it is in a command: of 17 digits at most, as Redis 7.0 writes it.
pub(super) fn number(number: f64, take: impl FnOnce(&[u8])) {
    let integer = number as i64;
    if number.abs() < 1e17 && (integer as f64).to_bits() == number.to_bits() {
        return take(itoa::Buffer::new().format(integer).as_bytes());
    }
    let mut out = Vec::new();
    format_double(number, &mut out);
    take(&out);
}
