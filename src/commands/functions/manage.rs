//! Changes of the libraries: `FUNCTION LOAD`, `DELETE`, `FLUSH`, `RESTORE`; and `KILL`.
//!
//! A change is kept on the disk before it is answered, and made at all nodes of a cluster. Those execute the same
//! command, which takes no notice there of what is in its way.

use std::sync::Arc;

use coterie_protocol::{OwnedRequest, ReplyWriter};
use tokio::sync::oneshot;

use super::library::{compile, libraries_of};
use crate::commands::call::{Control, Deferred};
use crate::commands::error::{CommandError, CommandResult};
use crate::commands::help::wrong_subcommand;
use crate::commands::spanning;
use crate::functions::Libraries;
use crate::node::Node;

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
    let functions = &call.node.functions;
    let changed = functions.change(|libraries| libraries.add(library, replace));
    changed.map_err(CommandError::err)?;
    let same = OwnedRequest::new(&[b"FUNCTION" as &[u8], b"LOAD", b"REPLACE", code]);
    Ok(kept_everywhere(call, same, reply))
}

/// `FUNCTION DELETE`
pub fn delete(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let name = call.request.arg(2);
    let functions = &call.node.functions;
    let changed = functions.change(|libraries| libraries.remove(name));
    changed.map_err(CommandError::err)?;
    Ok(done(call, call.request.into()))
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
    clear(&call.node.functions)?;
    Ok(done(call, call.request.into()))
}

fn clear(functions: &crate::functions::Functions) -> CommandResult {
    functions.change(|libraries| {
        libraries.clear();
        Ok(())
    })
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
        let mut restored = restored.into_iter();
        restored.try_for_each(|library| libraries.add(library, policy == Policy::Replace))
    };
    let changed = call.node.functions.change(restore);
    changed.map_err(|conflict| CommandError::Line(conflict_line(&conflict).into()))?;
    let word: &[u8] = match policy {
        Policy::Flush => b"FLUSH",
        Policy::Append | Policy::Replace => b"REPLACE",
    };
    let same = OwnedRequest::new(&[b"FUNCTION" as &[u8], b"RESTORE", request.arg(2), word]);
    Ok(done(call, same))
}

/// `RESTORE` names libraries without quotes.
fn conflict_line(conflict: &crate::functions::Conflict) -> String {
    format!("ERR {}", conflict.to_string().replace('\'', ""))
}

fn done(call: &mut Control<'_, '_>, same: OwnedRequest) -> Deferred {
    let mut reply = Vec::new();
    ReplyWriter::new(&mut reply, call.session.resp).ok();
    kept_everywhere(call, same, reply)
}

/// Answers once the libraries are on the disk, and the other nodes have done the same.
fn kept_everywhere(call: &mut Control<'_, '_>, same: OwnedRequest, reply: Vec<u8>) -> Deferred {
    let (node, resp) = (call.node.clone(), call.session.resp);
    let told = spanning::on_other_nodes(&node, call.session, &same);
    Box::pin(async move {
        let kept = keep(node).await;
        told.await;
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

async fn keep(node: Arc<Node>) -> Result<(), String> {
    let (told, kept) = oneshot::channel();
    let begun = std::thread::Builder::new()
        .name("functions".to_owned())
        .spawn(move || {
            // Who asked may have left.
            let _ = told.send(node.functions.keep());
        });
    begun.map_err(|error| error.to_string())?;
    match kept.await {
        Ok(kept) => kept.map_err(|error| error.to_string()),
        Err(_) => Err("the thread that writes them is gone".to_owned()),
    }
}
