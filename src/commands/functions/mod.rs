//! Functions: `FCALL`, and the libraries they come from.

mod call;
mod library;
mod manage;
mod show;
mod spread;
mod table;

pub use library::open;
pub use spread::{hear, tell_again};
pub use table::COMMANDS;
