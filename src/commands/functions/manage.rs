//! Changes of the libraries: `FUNCTION LOAD`, `DELETE`, `FLUSH`, `RESTORE`; and `KILL`.
//!
//! A change is kept on the disk before it is answered, and made at all nodes of a cluster.

use std::sync::Arc;

use coterie_protocol::ReplyWriter;

use super::library::{compile, libraries_of};
use super::spread;
use crate::commands::call::{Control, Deferred};
use crate::commands::error::CommandError;
use crate::commands::help::wrong_subcommand;
use crate::functions::{Change, Conflict, Libraries, Library};

/// `FUNCTION LOAD`
pub fn load(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let request = call.request;
    let last = request.len() - 1;
    let mut replace = false;
    for word in request.iter().take(last).skip(2) {
        if !word.eq_ignore_ascii_case(b"replace") {
            let text = "ERR Unknown option given: ";
            return Err(CommandError::quoting(text, word, ""));
        }
        replace = true;
    }
    let code = request.arg(last);
    let library = compile(code)?;
    let mut reply = Vec::new();
    ReplyWriter::new(&mut reply, call.session.resp).bulk(&library.name);
    let changes = change(call, |libraries| libraries.add(library.into(), replace));
    let changes = changes.map_err(CommandError::err)?;
    Ok(kept_everywhere(call, changes, reply))
}

/// `FUNCTION DELETE`
pub fn delete(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let name = call.request.arg(2);
    let changes = change(call, |libraries| libraries.remove(name));
    let changes = changes.map_err(CommandError::err)?;
    Ok(done(call, changes))
}

/// `FUNCTION FLUSH`
pub fn flush(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    match call.request.len() {
        2 => {}
        3 => {
            let word = call.request.arg(2);
            if !word.eq_ignore_ascii_case(b"sync") && !word.eq_ignore_ascii_case(b"async") {
                return Err(CommandError::line(
                    "ERR FUNCTION FLUSH only supports SYNC|ASYNC option",
                ));
            }
        }
        _ => return Err(wrong_subcommand("FUNCTION", call.request.arg(1))),
    }
    let changes = change(call, |libraries| {
        libraries.clear();
        Ok::<(), CommandError>(())
    })?;
    Ok(done(call, changes))
}

fn change<E>(
    call: &Control<'_, '_>,
    change: impl FnOnce(&mut Libraries) -> Result<(), E>,
) -> Result<Vec<Change>, E> {
    call.node.functions.change(call.node.now_ms(), change)
}

/// What is done with the libraries that are there when others are restored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Flush,
    Append,
    Replace,
}

/// `FUNCTION RESTORE`
pub fn restore(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let request = call.request;
    let policy = match (request.len(), request.get(3)) {
        (4, Some(word)) if word.eq_ignore_ascii_case(b"flush") => Policy::Flush,
        (4, Some(word)) if word.eq_ignore_ascii_case(b"replace") => Policy::Replace,
        (4, Some(word)) if word.eq_ignore_ascii_case(b"append") => Policy::Append,
        (4, _) => {
            return Err(CommandError::line(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
        (3, _) => Policy::Append,
        _ => return Err(wrong_subcommand("FUNCTION", request.arg(1))),
    };
    let restored = libraries_of(request.arg(2))?;
    let restore = |libraries: &mut Libraries| {
        if policy == Policy::Flush {
            libraries.clear();
        }
        let mut restored = restored.into_iter().map(Arc::<Library>::new);
        restored.try_for_each(|library| libraries.add(library, policy == Policy::Replace))
    };
    let changes = change(call, restore);
    let changes =
        changes.map_err(|conflict| CommandError::Line(conflict_line(&conflict).into()))?;
    Ok(done(call, changes))
}

/// `RESTORE` names libraries without quotes.
fn conflict_line(conflict: &Conflict) -> String {
    format!("ERR {}", conflict.to_string().replace('\'', ""))
}

fn done(call: &mut Control<'_, '_>, changes: Vec<Change>) -> Deferred {
    let mut reply = Vec::new();
    ReplyWriter::new(&mut reply, call.session.resp).ok();
    kept_everywhere(call, changes, reply)
}

/// Answers once the libraries are on the disk, and the other nodes know.
fn kept_everywhere(call: &mut Control<'_, '_>, changes: Vec<Change>, reply: Vec<u8>) -> Deferred {
    let (node, resp) = (call.node.clone(), call.session.resp);
    Box::pin(async move {
        let told = spread::tell_all(node.clone(), changes);
        let (kept, ()) = tokio::join!(spread::keep(node), told);
        match kept {
            Ok(()) => reply,
            Err(text) => {
                let mut out = Vec::new();
                let text = format!("ERR the libraries are changed, but not kept: {text}");
                ReplyWriter::new(&mut out, resp).error(text);
                out
            }
        }
    })
}
