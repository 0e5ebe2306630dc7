//! `SCRIPT`: the scripts that are known by name.

use super::run::compile;
use crate::commands::call::{Control, Deferred};
use crate::commands::error::{CommandError, CommandResult};
use crate::commands::help;
use crate::commands::spanning;
use crate::scripting::{Digest, digest_of};
use coterie_protocol::{OwnedRequest, ReplyWriter};

/// `SCRIPT LOAD`: every node of a cluster gets to know the script.
pub fn load(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let text = call.request.arg(2);
    let name = digest_of(text);
    compile(text, name)?;
    call.node.scripts.add(name, text, true);
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, call.session.resp).bulk(name.as_bytes());
    everywhere(call, out)
}

/// `SCRIPT FLUSH`: every node of a cluster forgets its scripts.
pub fn flush(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let is_mode =
        |word: &[u8]| word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async");
    if !(call.request.len() == 2 || call.request.len() == 3 && is_mode(call.request.arg(2))) {
        return Err(CommandError::line(
            "ERR SCRIPT FLUSH only support SYNC|ASYNC option",
        ));
    }
    call.node.scripts.clear();
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, call.session.resp).ok();
    everywhere(call, out)
}

/// Has the other nodes execute the same, and answers after that.
fn everywhere(call: &mut Control<'_, '_>, reply: Vec<u8>) -> Result<Deferred, CommandError> {
    let request = OwnedRequest::from(call.request);
    let done = spanning::on_other_nodes(call.node, call.session, &request);
    Ok(Box::pin(async move {
        // A node that is away asks for the text when it needs it: who forwards a script sends it along.
        done.await;
        reply
    }))
}

/// `SCRIPT EXISTS`
pub fn exists(call: &mut Control<'_, '_>) -> CommandResult {
    call.reply.array(call.request.len() - 2);
    for name in call.request.iter().skip(2) {
        let is_known =
            Digest::parse(name).is_some_and(|name| call.node.scripts.get(name).is_some());
        call.reply.integer(is_known.into());
    }
    Ok(())
}

/// `SCRIPT KILL`, `FUNCTION KILL`
pub fn kill(call: &mut Control<'_, '_>) -> CommandResult {
    if !call.node.scripts.kill() {
        return Err(CommandError::line(
            "NOTBUSY No scripts in execution right now.",
        ));
    }
    call.reply.ok();
    Ok(())
}

/// `SCRIPT DEBUG`
pub fn debug(call: &mut Control<'_, '_>) -> CommandResult {
    if call.request.arg(2).eq_ignore_ascii_case(b"no") {
        call.reply.ok();
        return Ok(());
    }
    Err(CommandError::line("ERR scripts can't be debugged here"))
}

/// `SCRIPT HELP`
pub fn help(call: &mut Control<'_, '_>) -> CommandResult {
    help::help(
        call.reply,
        "SCRIPT",
        &[
            "EXISTS <name> [<name> ...]",
            "    Tell which scripts are known.",
            "FLUSH [ASYNC|SYNC]",
            "    Forget all scripts.",
            "KILL",
            "    Stop a script that runs for long.",
            "LOAD <script>",
            "    Keep a script, to be called by its name.",
        ],
    );
    Ok(())
}
