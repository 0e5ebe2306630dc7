//! Scripts: `EVAL`, `EVALSHA`, `SCRIPT`.

mod declaration;
mod host;
mod manage;
mod run;
mod table;

pub use declaration::Declaration;
pub use host::log;
pub use manage::kill;
pub use run::{checked_count, remember, run_in, spelled_out, with_interpreter};
pub use table::COMMANDS;

use coterie_protocol::Request;

use super::spec::Positions;

/// Where the keys of a script are: behind their number, the second argument.
pub fn keys_of_script(request: Request<'_>) -> Positions {
    Positions::counted(request, 2)
}
