//! Lua 5.1 scripts as Redis runs them: the interpreter, what scripts find in it, values and replies. Knows nothing of
//! data: commands are executed by a [`Host`].

mod door;
mod error;
#[cfg(test)]
mod generated;
mod guards;
mod interpreter;
mod libraries;
mod library;
mod random;
mod request;
mod sandbox;
#[cfg(test)]
mod tests;
mod value;
mod watch;

pub use interpreter::{Digest, Ended, Host, Interpreter, LogLevel, Run, digest_of};
pub use library::{BAD_NAME, LoadError, Registered, is_name};
pub use sandbox::REDIS_VERSION;
pub use watch::MayGoOn;
