//! Functions: `FCALL`, and the libraries they come from.

mod call;
mod library;
mod manage;
mod show;
mod table;

pub use library::open;
pub use table::COMMANDS;
