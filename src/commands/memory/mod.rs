//! `MEMORY`: where memory goes.

mod advice;
mod stats;
mod table;

use coterie_protocol::ReplyWriter;
use coterie_protocol::text::parse_i64;

use super::call::{Call, Control, Deferred};
use super::error::{CommandError, CommandResult};
use super::help;
use crate::memory;
use crate::report::MemoryFigures;

pub use table::COMMANDS;

/// The entry and its share of the tables it is in.
fn usage(call: &mut Call<'_, '_>) -> CommandResult {
    check_usage_options(call)?;
    let key = call.request.arg(2);
    let found = call.transaction.peek_quietly(call.database, key);
    let Some(entry) = found.map(|entry| (entry.allocated_bytes(), entry.expire_at().is_some()))
    else {
        call.reply.null();
        return Ok(());
    };
    let (entry_bytes, expires) = entry;
    let table_bytes = call
        .transaction
        .partitions()
        .find_map(|partition| partition.keyspace(call.database))
        .map_or(0, |keyspace| keyspace.table_share(expires));
    call.reply.integer((entry_bytes + table_bytes) as i64);
    Ok(())
}

/// `SAMPLES count`, any number of times. Memory is accounted as it is taken: nothing is sampled.
fn check_usage_options(call: &Call<'_, '_>) -> CommandResult {
    let mut options = call.request.iter().skip(3);
    while let Some(option) = options.next() {
        if !option.eq_ignore_ascii_case(b"samples") {
            return Err(CommandError::Syntax);
        }
        let count = options.next().ok_or(CommandError::Syntax)?;
        if parse_i64(count).ok_or(CommandError::NotInteger)? < 0 {
            return Err(CommandError::Syntax);
        }
    }
    Ok(())
}

fn stats(call: &mut Control<'_, '_>) -> CommandResult {
    stats::write(call.reply, &MemoryFigures::gather(call.node, call.view()));
    Ok(())
}

fn doctor(call: &mut Control<'_, '_>) -> CommandResult {
    let figures = MemoryFigures::gather(call.node, call.view());
    let advice = advice::advice(&figures, call.node);
    call.reply.verbatim("txt", advice.as_bytes());
    Ok(())
}

fn purge(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let resp = call.session.resp;
    Ok(Box::pin(async move {
        let purged = tokio::task::spawn_blocking(memory::purge).await;
        let mut out = Vec::new();
        let mut reply = ReplyWriter::new(&mut out, resp);
        match purged {
            Ok(Ok(())) => reply.ok(),
            _ => reply.error("ERR Error purging dirty pages"),
        }
        out
    }))
}

fn malloc_stats(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let resp = call.session.resp;
    Ok(Box::pin(async move {
        let report = tokio::task::spawn_blocking(memory::allocator_report).await;
        let mut out = Vec::new();
        let mut reply = ReplyWriter::new(&mut out, resp);
        match report {
            Ok(Ok(text)) => reply.verbatim("txt", &text),
            _ => reply.error("ERR the allocator gives no report"),
        }
        out
    }))
}

fn help(call: &mut Control<'_, '_>) -> CommandResult {
    help::help(
        call.reply,
        "MEMORY",
        &[
            "DOCTOR",
            "    Judge the use of memory, in words.",
            "MALLOC-STATS",
            "    Show the allocator's own report.",
            "PURGE",
            "    Return free memory to the operating system.",
            "STATS",
            "    Tell how memory is used, in numbers.",
            "USAGE <key> [SAMPLES <count>]",
            "    Tell how many bytes a key and its value take, its share of the tables included.",
        ],
    );
    Ok(())
}
