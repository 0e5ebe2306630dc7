//! The server itself: time, checkpoints, stopping, watching.

mod picture;
mod shutdown;
mod table;

use std::sync::atomic::Ordering::Relaxed;

use coterie_protocol::ReplyWriter;
use coterie_protocol::text::parse_i64;

use super::call::{Control, Deferred};
use super::error::{CommandError, CommandResult};
use crate::REDIS_VERSION;
use crate::background::{make_checkpoint, start_checkpoint};
use crate::engine::CheckpointError;
use crate::monitor::Monitor;
use shutdown::shutdown;

pub use table::COMMANDS;

fn time(call: &mut Control<'_, '_>) -> CommandResult {
    let micros = call.node.now_micros();
    call.reply.array(2);
    call.reply.bulk_display(micros / 1_000_000);
    call.reply.bulk_display(micros % 1_000_000);
    Ok(())
}

fn last_save(call: &mut Control<'_, '_>) -> CommandResult {
    let status = call.node.engine.checkpoints().status();
    call.reply.integer((status.last_ms / 1000) as i64);
    Ok(())
}

fn save(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let (node, resp) = (call.node.clone(), call.session.resp);
    Ok(Box::pin(async move {
        let mut out = Vec::new();
        let mut reply = ReplyWriter::new(&mut out, resp);
        match make_checkpoint(&node).await {
            Ok(()) => reply.ok(),
            Err(CheckpointError::UnderWay) => reply.error(SAVE_UNDER_WAY),
            Err(error) => reply.error_display(format_args!("ERR {error}")),
        }
        out
    }))
}

const SAVE_UNDER_WAY: &str = "ERR Background save already in progress";

fn background_save(call: &mut Control<'_, '_>) -> CommandResult {
    let scheduled = call.request.get(1);
    if call.request.len() > 2
        || scheduled.is_some_and(|word| !word.eq_ignore_ascii_case(b"schedule"))
    {
        return Err(CommandError::Syntax);
    }
    match start_checkpoint(call.node) {
        // It is made, and its outcome logged, whether or not someone waits.
        Ok(_) => call.reply.simple("Background saving started"),
        Err(CheckpointError::UnderWay) => return Err(CommandError::line(SAVE_UNDER_WAY)),
        Err(error) => return Err(CommandError::err(error)),
    }
    Ok(())
}

/// A checkpoint lets the log before it go, which is what this command is for. One that is under way keeps the
/// log since it began: another follows it.
fn rewrite_log(call: &mut Control<'_, '_>) -> CommandResult {
    match start_checkpoint(call.node) {
        Ok(_) => call
            .reply
            .simple("Background append only file rewriting started"),
        Err(CheckpointError::UnderWay) => {
            call.node.checkpoint_scheduled.store(true, Relaxed);
            call.reply
                .simple("Background append only file rewriting scheduled");
        }
        Err(error) => return Err(CommandError::err(error)),
    }
    Ok(())
}

/// `master`, the length of a replication stream that is not there, no replicas.
fn role(call: &mut Control<'_, '_>) -> CommandResult {
    call.reply.array(3);
    call.reply.bulk(b"master");
    call.reply.integer(0);
    call.reply.array(0);
    Ok(())
}

/// Everything executed from here on is shown. A second `MONITOR` is not answered, as in Redis.
fn monitor(call: &mut Control<'_, '_>) -> CommandResult {
    if call.transaction.is_some() {
        return Err(CommandError::line(
            "ERR MONITOR isn't allowed for DENY BLOCKING client",
        ));
    }
    if !call.session.monitor {
        call.session.monitor = true;
        call.session.monitoring = Some(Monitor::start(call.node));
        call.reply.ok();
    }
    Ok(())
}

/// `LOLWUT [VERSION n] [number …]`: as in Redis, the version chooses the picture and numbers vary it.
fn lolwut(call: &mut Control<'_, '_>) -> CommandResult {
    let has_version =
        call.request.len() >= 3 && call.request.arg(1).eq_ignore_ascii_case(b"version");
    let version = if has_version {
        let number = call.request.arg(2);
        Some(parse_i64(number).ok_or(CommandError::NotInteger)?)
    } else {
        None
    };
    let mut text = picture::families(version);
    text.push_str(&format!(
        "Coterie {} (Redis ver. {REDIS_VERSION})\n",
        env!("CARGO_PKG_VERSION")
    ));
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}
