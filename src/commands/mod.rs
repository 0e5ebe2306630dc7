//! Redis commands: one file per family, one static table that drives everything about them.

mod call;
mod error;
mod execute;
mod spec;
mod strings;
pub mod table;

pub use call::{Call, Control, Deferred};
pub use error::{CommandError, CommandResult};
pub use execute::{Batch, Outcome, execute};
pub use spec::{Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys, Locks};
