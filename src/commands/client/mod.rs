//! CLIENT: connections, seen from one of them.

mod kill;
pub mod list;
mod table;
mod tracking;

use coterie_protocol::text::parse_i64;

use super::help::wrong_subcommand;
use super::{CommandError, CommandResult, Control};
use crate::blocking::End;
use crate::clients::Client;
use crate::pause::PauseMode;
use crate::session::ReplyMode;

pub use table::COMMANDS;

/// What `CLIENT LIST` and `CLIENT KILL` tell clients apart by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ClientType {
    Normal,
    Master,
    Replica,
    PubSub,
}

impl ClientType {
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(ClientType::Normal),
            b"master" => Ok(ClientType::Master),
            b"slave" | b"replica" => Ok(ClientType::Replica),
            b"pubsub" => Ok(ClientType::PubSub),
            _ => Err(CommandError::quoting(
                "ERR Unknown client type '",
                word,
                "'",
            )),
        }
    }

    /// Who listens to channels is of a type of its own; nobody replicates this way.
    fn of(client: &Client) -> Self {
        if client.is_subscriber() {
            ClientType::PubSub
        } else {
            ClientType::Normal
        }
    }
}

/// A name or library name, if it is acceptable: printable ASCII without spaces.
fn printable<'a>(what: &str, text: &'a [u8]) -> Result<&'a [u8], CommandError> {
    if text.iter().all(u8::is_ascii_graphic) {
        return Ok(text);
    }
    Err(CommandError::err(format_args!(
        "{what} cannot contain spaces, newlines or special characters."
    )))
}

/// A client's name, if it is acceptable.
pub fn valid_name(name: &[u8]) -> Result<&[u8], CommandError> {
    printable("Client names", name)
}

/// Names a client; an empty name is none.
pub fn set_name(client: &Client, name: &[u8]) {
    client.details.lock().name = name.to_vec();
}

fn id(call: &mut Control<'_, '_>) -> CommandResult {
    call.reply.integer(call.session.client.id as i64);
    Ok(())
}

fn getname(call: &mut Control<'_, '_>) -> CommandResult {
    let details = call.session.client.details.lock();
    if details.name.is_empty() {
        call.reply.null();
    } else {
        call.reply.bulk(&details.name);
    }
    Ok(())
}

fn setname(call: &mut Control<'_, '_>) -> CommandResult {
    set_name(&call.session.client, valid_name(call.request.arg(2))?);
    call.reply.ok();
    Ok(())
}

fn setinfo(call: &mut Control<'_, '_>) -> CommandResult {
    let (attribute, value) = (call.request.arg(2), call.request.arg(3));
    let mut details = call.session.client.details.lock();
    let field = match attribute.to_ascii_lowercase().as_slice() {
        b"lib-name" => &mut details.library_name,
        b"lib-ver" => &mut details.library_version,
        _ => {
            return Err(CommandError::quoting(
                "ERR Unrecognized option '",
                attribute,
                "'",
            ));
        }
    };
    // Only the two words get here.
    let what = String::from_utf8_lossy(attribute);
    *field = printable(&what, value)?.to_vec();
    call.reply.ok();
    Ok(())
}

fn reply(call: &mut Control<'_, '_>) -> CommandResult {
    let session = &mut *call.session;
    match call.request.arg(2).to_ascii_lowercase().as_slice() {
        b"on" => {
            session.reply_mode = ReplyMode::On;
            call.reply.ok();
        }
        b"off" => session.reply_mode = ReplyMode::Off,
        b"skip" if session.reply_mode == ReplyMode::Off => {}
        b"skip" => session.reply_mode = ReplyMode::SkipNext,
        _ => return Err(CommandError::Syntax),
    }
    Ok(())
}

/// `ON` or `OFF` as the second argument.
fn on_or_off(call: &Control<'_, '_>) -> Result<bool, CommandError> {
    let word = call.request.arg(2);
    match () {
        () if word.eq_ignore_ascii_case(b"on") => Ok(true),
        () if word.eq_ignore_ascii_case(b"off") => Ok(false),
        () => Err(CommandError::Syntax),
    }
}

fn no_evict(call: &mut Control<'_, '_>) -> CommandResult {
    call.session.client.details.lock().no_evict = on_or_off(call)?;
    call.reply.ok();
    Ok(())
}

fn no_touch(call: &mut Control<'_, '_>) -> CommandResult {
    call.session.no_touch = on_or_off(call)?;
    call.reply.ok();
    Ok(())
}

fn pause(call: &mut Control<'_, '_>) -> CommandResult {
    let request = call.request;
    let mode = match request.get(3) {
        _ if request.len() > 4 => return Err(wrong_subcommand("CLIENT", request.arg(1))),
        None => PauseMode::All,
        Some(word) if word.eq_ignore_ascii_case(b"all") => PauseMode::All,
        Some(word) if word.eq_ignore_ascii_case(b"write") => PauseMode::Writes,
        Some(_) => return Err(CommandError::err("CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let milliseconds = parse_i64(request.arg(2))
        .ok_or_else(|| CommandError::err("timeout is not an integer or out of range"))?;
    let milliseconds =
        u64::try_from(milliseconds).map_err(|_| CommandError::err("timeout is negative"))?;
    let until_ms = call.now_ms + milliseconds;
    if i64::try_from(until_ms).is_err() {
        return Err(CommandError::err("timeout is out of range"));
    }
    call.node.pause.start(until_ms, mode, call.now_ms);
    call.reply.ok();
    Ok(())
}

fn unpause(call: &mut Control<'_, '_>) -> CommandResult {
    call.node.pause.end();
    call.reply.ok();
    Ok(())
}

fn unblock(call: &mut Control<'_, '_>) -> CommandResult {
    let request = call.request;
    let end = match request.get(3) {
        _ if request.len() > 4 => return Err(wrong_subcommand("CLIENT", request.arg(1))),
        None => End::TimedOut,
        Some(word) if word.eq_ignore_ascii_case(b"timeout") => End::TimedOut,
        Some(word) if word.eq_ignore_ascii_case(b"error") => End::Unblocked,
        Some(_) => {
            return Err(CommandError::err(
                "CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
            ));
        }
    };
    let id = parse_i64(request.arg(2)).ok_or(CommandError::NotInteger)?;
    // A pause is not ended this way.
    let waited = u64::try_from(id).is_ok_and(|id| call.node.engine.waiters().unblock(id, end));
    call.reply.integer(waited.into());
    Ok(())
}

fn help(call: &mut Control<'_, '_>) -> CommandResult {
    super::help::help(
        call.reply,
        "CLIENT",
        &[
            "CACHING (YES|NO)",
            "    Have the keys of the next command tracked, or not, with OPTIN or OPTOUT.",
            "GETNAME",
            "    Tell the name of this connection.",
            "GETREDIR",
            "    Tell which client gets the invalidations of keys this connection tracks.",
            "ID",
            "    Tell the id of this connection.",
            "INFO",
            "    Describe this connection.",
            "KILL <ip:port>",
            "    Close the connection from this address.",
            "KILL <filter> <value> [<filter> <value> ...]",
            "    Close the connections that meet every condition, and tell how many they were:",
            "    ID <id>, TYPE (NORMAL|MASTER|REPLICA|PUBSUB), USER <name>, ADDR <ip:port>,",
            "    LADDR <ip:port> for the server's end, SKIPME (YES|NO) for this connection.",
            "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <id> [<id> ...]]",
            "    Describe all connections, a line for each.",
            "NO-EVICT (ON|OFF)",
            "    Spare this connection when clients use too much memory.",
            "NO-TOUCH (ON|OFF)",
            "    Make commands of this connection not count as use of their keys.",
            "PAUSE <milliseconds> [WRITE|ALL]",
            "    Make commands of all clients wait, or only those that write.",
            "REPLY (ON|OFF|SKIP)",
            "    Answer all commands of this connection, none, or not the next one.",
            "SETINFO (LIB-NAME|LIB-VER) <value>",
            "    Tell the server about the client library.",
            "SETNAME <name>",
            "    Name this connection.",
            "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]] [OPTIN] [OPTOUT] [NOLOOP]",
            "    Tell this connection when keys change that it has read, for a cache of its own.",
            "TRACKINGINFO",
            "    Tell how this connection tracks keys for a cache of its own.",
            "UNBLOCK <id> [TIMEOUT|ERROR]",
            "    End a command of another connection that waits for data.",
            "UNPAUSE",
            "    End a pause.",
        ],
    );
    Ok(())
}
