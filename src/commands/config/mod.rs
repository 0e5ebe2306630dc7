//! `CONFIG`: settings of the running server.

mod table;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::call::{Control, Deferred};
use super::error::{CommandError, CommandResult};
use super::help;
use crate::config::Config;
use crate::report::totals::Totals;
use coterie_protocol::ReplyWriter;

pub use table::COMMANDS;

/// File descriptors the server needs besides those of its clients, as Redis reckons.
const RESERVED_DESCRIPTORS: u64 = 32;

fn get(call: &mut Control<'_, '_>) -> CommandResult {
    let config = call.node.config.load();
    let mut found: Vec<(std::borrow::Cow<'static, str>, String)> = Vec::new();
    for pattern in call.request.iter().skip(2) {
        for (name, value) in config.get(pattern) {
            // The table of settings bounds the list.
            let known =
                |(other, _): &(std::borrow::Cow<'_, str>, _)| other.eq_ignore_ascii_case(&name);
            if !found.iter().any(known) {
                found.push((name, value));
            }
        }
    }
    call.reply.map(found.len());
    for (name, value) in found {
        call.reply.bulk(name.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn set(call: &mut Control<'_, '_>) -> CommandResult {
    if !call.request.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let arguments: Vec<&[u8]> = call.request.iter().skip(2).collect();
    let (pairs, _) = arguments.as_chunks::<2>();
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|[name, value]| (*name, *value)).collect();
    call.node.change_config(|current| {
        let config = current.set(&pairs).map_err(CommandError::err)?;
        if config.maxclients != current.maxclients {
            allow_descriptors(&config)?;
        }
        Ok(config)
    })?;
    call.reply.ok();
    Ok(())
}

/// Raises the process' limit of open files so that it can have this many clients.
fn allow_descriptors(config: &Config) -> CommandResult {
    let needed = u64::from(config.maxclients) + RESERVED_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if is_enough(limit.current) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(needed),
        ..limit
    };
    if is_enough(limit.maximum) && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    let possible = limit.maximum.or(limit.current).unwrap_or(needed);
    Err(CommandError::err(format_args!(
        "CONFIG SET failed (possibly related to argument 'maxclients') - The operating system is not able to \
         handle the specified number of clients, try with {}",
        possible.saturating_sub(RESERVED_DESCRIPTORS)
    )))
}

fn reset_statistics(call: &mut Control<'_, '_>) -> CommandResult {
    let totals = Totals::gather(call.node, call.view(), call.now_ms);
    call.node.statistics.reset(totals.expired);
    call.reply.ok();
    Ok(())
}

fn rewrite(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let (node, resp) = (call.node.clone(), call.session.resp);
    Ok(Box::pin(async move {
        let written = tokio::task::spawn_blocking(move || node.rewrite_config()).await;
        let mut out = Vec::new();
        let mut reply = ReplyWriter::new(&mut out, resp);
        match written {
            Ok(Ok(())) => reply.ok(),
            Ok(Err(error)) => reply.error_display(format_args!("ERR {error}")),
            Err(error) => reply.error_display(format_args!("ERR Rewriting config file: {error}")),
        }
        out
    }))
}

fn help(call: &mut Control<'_, '_>) -> CommandResult {
    help::help(
        call.reply,
        "CONFIG",
        &[
            "GET <pattern> [<pattern> ...]",
            "    List the settings whose names match a pattern, with their values.",
            "SET <name> <value> [<name> <value> ...]",
            "    Change settings, all of them or none.",
            "RESETSTAT",
            "    Set the counters of INFO back to zero.",
            "REWRITE",
            "    Write the settings in force to the configuration file.",
        ],
    );
    Ok(())
}
