//! `DEBUG`: tools for tests. Who may use them, `enable-debug-command` says.

mod digest;
mod populate;
mod protocol;

use std::future::ready;
use std::time::Duration;

use coterie_protocol::text::{parse_f64, parse_i64};
use coterie_protocol::{DatabaseId, PartitionId, ReplyWriter, RespVersion};
use xxhash_rust::xxh3::Xxh3;

use super::call::{Control, Deferred};
use super::error::CommandError;
use super::help::{help, wrong_subcommand};
use super::spec::{CommandSpec, Docs, Flags, Handler, Locks};
use super::value::encoding_name;
use crate::background::make_checkpoint_in_turn;
use crate::config::DebugCommand;
use crate::engine::{Scope, Transaction};
use crate::node::Node;
use crate::wal::checkpoint::Checkpoint;

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "debug",
    arity: -2,
    handler: Handler::Deferred(debug),
    locks: Locks::All,
    flags: Flags::ADMIN
        .union(Flags::NOSCRIPT)
        .union(Flags::LOADING)
        .union(Flags::STALE),
    docs: Docs {
        summary: "Tools for tests.",
        group: "server",
        complexity: "Depends on subcommand.",
        flags: &["syscmd"],
        ..Docs::NEW
    },
    ..CommandSpec::NEW
}];

const NOT_ALLOWED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", \
    you can run it from a local connection, otherwise you need to set this option in the configuration file, \
    and then restart the server.";

/// The longest `DEBUG SLEEP`.
const SLEEP_MAX: Duration = Duration::from_secs(365 * 86_400);

type Outcome = Result<Deferred, CommandError>;

fn debug(call: &mut Control<'_, '_>) -> Outcome {
    let allowed = match call.node.config.load().enable_debug_command {
        DebugCommand::No => false,
        DebugCommand::Local => call.session.client.is_local,
        DebugCommand::Yes => true,
    };
    if !allowed {
        return Err(CommandError::line(NOT_ALLOWED));
    }
    let word = call.request.arg(1).to_ascii_lowercase();
    match (&*word, call.request.len()) {
        (b"sleep", 3) => sleep(call),
        (b"object", 3) => object(call),
        (b"set-active-expire", 3) => set_active_expire(call),
        (b"digest", 2) => digest::digest(call),
        (b"digest-value", 2..) => digest::digest_values(call),
        (b"reload", 2..) => reload(call),
        (b"protocol", 3) => protocol::protocol(call),
        (b"error", 3) => Err(error(call)),
        (b"cluster-digest", 2 | 3) => cluster_digest(call),
        (b"log", 3) => log(call),
        // It makes transactions of its own, in slices.
        (b"populate", 3..=5) if call.transaction.is_some() => Err(CommandError::line(
            "ERR DEBUG POPULATE can't be part of a transaction",
        )),
        (b"populate", 3..=5) => populate::populate(call),
        (b"panic", 2) => panic!("DEBUG PANIC was called"),
        (b"help", 2) => Ok(answer(call.session.resp, write_help)),
        _ => Err(wrong_subcommand("DEBUG", call.request.arg(1))),
    }
}

/// A reply that is there already.
fn answer(resp: RespVersion, write: impl FnOnce(&mut ReplyWriter<'_>)) -> Deferred {
    let mut out = Vec::new();
    write(&mut ReplyWriter::new(&mut out, resp));
    Box::pin(ready(out))
}

fn ok(resp: RespVersion) -> Deferred {
    answer(resp, |reply| reply.ok())
}

/// Only this connection sleeps. What is no number is no time, as in Redis.
fn sleep(call: &mut Control<'_, '_>) -> Outcome {
    let seconds = parse_f64(call.request.arg(2)).unwrap_or(0.0);
    let duration = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(SLEEP_MAX);
    let reply = ok(call.session.resp);
    if duration.is_zero() {
        return Ok(reply);
    }
    Ok(Box::pin(async move {
        tokio::time::sleep(duration.min(SLEEP_MAX)).await;
        reply.await
    }))
}

fn cluster_digest(call: &mut Control<'_, '_>) -> Outcome {
    let store = call.node.engine.store();
    let count = store.layout().count();
    let asked = match call.request.get(2) {
        None => 0..count,
        Some(number) => parse_i64(number)
            .and_then(|number| u16::try_from(number).ok())
            .filter(|number| *number < count)
            .map(|number| number..number + 1)
            .ok_or(CommandError::NotInteger)?,
    };
    let mut digest = Xxh3::new();
    for number in asked {
        call.view().look(PartitionId(number), &mut |partition| {
            for bucket in partition.tree() {
                digest.update(&bucket.to_le_bytes());
            }
        });
    }
    let text = format!("{:016x}", digest.digest());
    Ok(answer(call.session.resp, |reply| {
        reply.bulk(text.as_bytes())
    }))
}

fn object(call: &mut Control<'_, '_>) -> Outcome {
    let key = call.request.arg(2);
    let moment = call.node.moment(&call.node.config.load());
    let database = call.session.database;
    let text = if let Some(transaction) = call.transaction.as_deref_mut() {
        describe(transaction, database, key, call.node)?
    } else {
        let payload = &mut call.session.payload;
        let mut transaction = call.node.engine.begin(Scope::Key(key), moment, payload);
        describe(&mut transaction, database, key, call.node)?
    };
    Ok(answer(call.session.resp, |reply| reply.simple(text)))
}

fn describe(
    transaction: &mut Transaction<'_>,
    database: DatabaseId,
    key: &[u8],
    node: &Node,
) -> Result<String, CommandError> {
    let clock = transaction.moment().access;
    let entry = transaction
        .peek(database, key)
        .ok_or(CommandError::NoSuchKey)?;
    let address: *const u8 = match entry.hash() {
        None => entry.value().as_ptr(),
        Some(hash) => std::ptr::from_ref(hash).cast(),
    };
    let serialized: usize = match entry.hash() {
        None => serialized_length(entry.value()),
        Some(hash) => hash
            .iter()
            .map(|(field, value)| serialized_length(field) + serialized_length(value))
            .sum(),
    };
    Ok(format!(
        "Value at:{:p} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        address,
        encoding_name(entry, &node.config.load()),
        serialized,
        entry.access(),
        clock.idle_seconds(entry.access()),
    ))
}

/// As the log has it: the length in groups of seven bits, then the bytes.
fn serialized_length(bytes: &[u8]) -> usize {
    bytes.len().max(1).ilog2() as usize / 7 + 1 + bytes.len()
}

fn set_active_expire(call: &mut Control<'_, '_>) -> Outcome {
    let on = parse_i64(call.request.arg(2)).unwrap_or(0) != 0;
    call.node
        .active_expire
        .store(on, std::sync::atomic::Ordering::Relaxed);
    Ok(ok(call.session.resp))
}

/// Makes a checkpoint, unless told not to, and reads back the last one. The state in memory stays, so that
/// Redis' options for replacing it change nothing.
fn reload(call: &mut Control<'_, '_>) -> Outcome {
    let is = |option: &[u8], word: &str| option.eq_ignore_ascii_case(word.as_bytes());
    let mut save = true;
    for option in call.request.iter().skip(2) {
        if is(option, "nosave") {
            save = false;
        } else if !is(option, "merge") && !is(option, "noflush") {
            return Err(CommandError::line(
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
            ));
        }
    }
    let (node, resp) = (call.node.clone(), call.session.resp);
    let directory = node.config.load().dir.clone();
    Ok(Box::pin(async move {
        if save && let Err(error) = make_checkpoint_in_turn(&node).await {
            return error_reply(resp, &error.to_string());
        }
        let verify = move || match Checkpoint::open_latest(&directory)? {
            Some(checkpoint) => checkpoint.verify(),
            None => Ok(0),
        };
        match tokio::task::spawn_blocking(verify).await {
            Ok(Ok(_)) => ok(resp).await,
            Ok(Err(error)) => error_reply(resp, &error.to_string()),
            Err(error) => error_reply(resp, &error.to_string()),
        }
    }))
}

fn error_reply(resp: RespVersion, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, resp).error_display(format_args!("ERR {text}"));
    out
}

fn error(call: &mut Control<'_, '_>) -> CommandError {
    CommandError::Bytes(call.request.arg(2).to_vec())
}

fn log(call: &mut Control<'_, '_>) -> Outcome {
    let message = String::from_utf8_lossy(call.request.arg(2));
    tracing::warn!("DEBUG LOG: {message}");
    Ok(ok(call.session.resp))
}

fn write_help(reply: &mut ReplyWriter<'_>) {
    help(
        reply,
        "DEBUG",
        &[
            "CLUSTER-DIGEST [<partition>]",
            "    A checksum of what this node replicates, or of one partition: the same on its replicas.",
            "DIGEST",
            "    A checksum of all keys and values, the same after a restart.",
            "DIGEST-VALUE <key> [<key> ...]",
            "    A checksum of each of these values.",
            "ERROR <string>",
            "    Answer with this error.",
            "LOG <message>",
            "    Write a message to the log.",
            "OBJECT <key>",
            "    Tell how a key is kept.",
            "PANIC",
            "    Break the handler of this command: the connection ends, the server goes on.",
            "POPULATE <count> [<prefix>] [<size>]",
            "    Create <count> strings named <prefix>:<number> ('key' if not given), of <size> bytes.",
            "PROTOCOL <type>",
            "    Answer with a value of this type: string, integer, double, bignum, null, array, set, map,",
            "    attrib, push, verbatim, true, false.",
            "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
            "    Make a checkpoint and read it back. The data in memory stays.",
            "SET-ACTIVE-EXPIRE <0|1>",
            "    Turn the removal of expired keys that nobody asks for off or on.",
            "SLEEP <seconds>",
            "    Let this connection wait; others go on.",
        ],
    );
}
