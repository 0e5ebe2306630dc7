//! Calls functions: `FCALL`, `FCALL_RO`.

use coterie_protocol::Request;

use super::library::load;
use crate::commands::error::CommandError;
use crate::commands::scripts::{Declaration, checked_count, run_in};
use crate::commands::unit::Unit;
use crate::functions::FunctionFlags;
use crate::scripting::Ended;

/// `FCALL`
pub fn fcall(
    unit: &mut Unit<'_>,
    request: Request<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    call(unit, request, false, out)
}

/// `FCALL_RO`
pub fn fcall_ro(
    unit: &mut Unit<'_>,
    request: Request<'_>,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    call(unit, request, true, out)
}

fn call(
    unit: &mut Unit<'_>,
    request: Request<'_>,
    is_read_only: bool,
    out: &mut Vec<u8>,
) -> Result<(), CommandError> {
    let node = unit.node().clone();
    let libraries = node.functions.libraries();
    let found = libraries.find(request.arg(1));
    let (library, function) = found.ok_or(CommandError::line("ERR Function not found"))?;
    let no_number = CommandError::line("ERR Bad number of keys provided");
    let count = checked_count(request, no_number)?;
    let flags = function.flags;
    let is_clustered = || {
        let replication = node.replication.get();
        replication.is_some_and(|replication| replication.is_clustered())
    };
    if flags.contains(FunctionFlags::NO_CLUSTER) && is_clustered() {
        return Err(CommandError::line(
            "ERR Can not run script on cluster, 'no-cluster' flag is set.",
        ));
    }
    if is_read_only && !flags.contains(FunctionFlags::NO_WRITES) {
        return Err(CommandError::line(
            "ERR Can not execute a script with write flag using *_ro command.",
        ));
    }
    if !flags.intersects(FunctionFlags::ALLOW_OOM | FunctionFlags::NO_WRITES)
        && node.is_out_of_memory(&node.config.load())
    {
        return Err(CommandError::line(
            "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
        ));
    }
    let declared = Declaration {
        is_there: true,
        no_writes: flags.contains(FunctionFlags::NO_WRITES),
        allow_oom: flags.contains(FunctionFlags::ALLOW_OOM),
        allow_cross_slot: flags.contains(FunctionFlags::ALLOW_CROSS_SLOT_KEYS),
    };
    let words: Vec<&[u8]> = request.iter().skip(3).collect();
    let noted = node.functions.note(&function.name, request);
    let ran = run_in(
        unit,
        (declared, is_read_only),
        out,
        |interpreter, may_go_on, host, reply| {
            if !interpreter.has_library(library.id) {
                // Another thread has loaded it.
                load(interpreter, library).map_err(|error| Ended {
                    text: error.to_line().into_owned(),
                    is_stopped: false,
                })?;
            }
            let function = (library.id, &function.name[..]);
            interpreter.call(function, words.split_at(count), may_go_on, host, reply)
        },
    );
    drop(noted);
    ran
}
