//! `SHUTDOWN`.

use coterie_protocol::{ReplyWriter, Request};

use crate::background::make_checkpoint_in_turn;
use crate::commands::call::{Control, Deferred};
use crate::commands::error::CommandError;

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    /// Stop; the log has everything.
    Stop,
    /// Make a checkpoint, and stop if that went well.
    Save,
    /// Stop, and make a checkpoint on the way; go also if that fails.
    SaveOrNot,
    /// Call off a shutdown that waits.
    Abort,
}

/// Closes every connection without an answer. `NOW` changes nothing: there are no replicas to wait for.
pub(super) fn shutdown(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let order = parse(call.request)?;
    let (node, resp) = (call.node.clone(), call.session.resp);
    Ok(Box::pin(async move {
        let mut out = Vec::new();
        let mut reply = ReplyWriter::new(&mut out, resp);
        match order {
            Order::Abort if node.shutdowns.abort() => reply.ok(),
            Order::Abort => reply.error("ERR No shutdown in progress."),
            Order::Stop | Order::SaveOrNot => {
                node.stop(order == Order::SaveOrNot);
                // The end of the server ends this wait.
                std::future::pending::<()>().await;
            }
            Order::Save => {
                let checkpoint = make_checkpoint_in_turn(&node);
                match node.shutdowns.wait_for(checkpoint).await {
                    Some(Ok(())) => {
                        node.stop(false);
                        std::future::pending::<()>().await;
                    }
                    _ => reply.error("ERR Errors trying to SHUTDOWN. Check logs."),
                }
            }
        }
        out
    }))
}

fn parse(request: Request<'_>) -> Result<Order, CommandError> {
    let (mut save, mut nosave, mut force, mut abort) = (false, false, false, false);
    for argument in request.iter().skip(1) {
        let word = argument.to_ascii_lowercase();
        match &*word {
            b"save" => save = true,
            b"nosave" => nosave = true,
            b"now" => {}
            b"force" => force = true,
            b"abort" => abort = true,
            _ => return Err(CommandError::Syntax),
        }
    }
    if abort && request.len() > 2 || save && nosave {
        return Err(CommandError::Syntax);
    }
    Ok(match (abort, save, force) {
        (true, ..) => Order::Abort,
        (_, false, _) => Order::Stop,
        (_, true, false) => Order::Save,
        (_, true, true) => Order::SaveOrNot,
    })
}
