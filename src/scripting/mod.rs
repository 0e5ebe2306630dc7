//! Lua 5.1 scripts as Redis runs them: the interpreter, what scripts find in it, values and replies. Knows nothing of
//! data: commands are executed by a [`Host`].

mod error;
mod interpreter;
mod libraries;
mod library;
mod random;
mod sandbox;
mod value;

pub use interpreter::{Digest, Ended, Host, Interpreter, LogLevel, Run, digest_of};
pub use library::{BAD_NAME, LoadError, Registered, is_name};
pub use sandbox::{MayGoOn, REDIS_VERSION};
