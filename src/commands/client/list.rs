//! `CLIENT LIST` and `CLIENT INFO`: a line for each client.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use coterie_protocol::text::parse_i64;
use coterie_protocol::{ReplyWriter, Request, RespVersion};

use super::ClientType;
use crate::clients::{Client, ClientDetails};
use crate::commands::{CommandError, CommandResult, Control, Deferred};
use crate::session::Session;
use crate::tracking::Mode;

/// Clients told about before other connections of the thread get their turn.
const SLICE: usize = 64;
/// Replies up to this many bytes have their place in a buffer of fixed size in Redis; `omem` is what needs more.
const REPLY_CHUNK_BYTES: usize = 16 * 1024;
/// Memory of a connection without its buffers, in bytes.
const FIXED_BYTES: usize = size_of::<Session>() + size_of::<Client>();

pub fn info(call: &mut Control<'_, '_>) -> CommandResult {
    let line = own_line(call);
    call.reply.verbatim("txt", line.as_bytes());
    Ok(())
}

pub fn list(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let clients = selected(call)?;
    // The other lines show clients between two batches, this one in the middle of one.
    let (own_id, own_line) = (call.session.client.id, own_line(call));
    let (version, now_ms) = (call.reply.version(), call.now_ms);
    Ok(Box::pin(async move {
        let mut text = String::new();
        for slice in clients.chunks(SLICE) {
            for client in slice {
                if client.id == own_id {
                    text.push_str(&own_line);
                } else {
                    write_line(&mut text, client, now_ms, None);
                }
            }
            tokio::task::yield_now().await;
        }
        let mut reply = Vec::with_capacity(text.len() + 32);
        ReplyWriter::new(&mut reply, version).verbatim("txt", text.as_bytes());
        reply
    }))
}

/// The clients that the options ask for.
fn selected(call: &Control<'_, '_>) -> Result<Vec<Arc<Client>>, CommandError> {
    let registry = &call.node.clients;
    let request = call.request;
    let option = request.get(2).unwrap_or_default();
    if request.len() == 2 {
        Ok(registry.all())
    } else if request.len() == 4 && option.eq_ignore_ascii_case(b"type") {
        let kind = ClientType::parse(request.arg(3))?;
        let mut clients = registry.all();
        clients.retain(|client| ClientType::of(client) == kind);
        Ok(clients)
    } else if request.len() > 3 && option.eq_ignore_ascii_case(b"id") {
        let ids: Option<Vec<i64>> = request.iter().skip(3).map(parse_i64).collect();
        let ids = ids.ok_or_else(|| CommandError::err("Invalid client ID"))?;
        let ids = ids.into_iter().filter_map(|id| u64::try_from(id).ok());
        Ok(ids.filter_map(|id| registry.get(id)).collect())
    } else {
        Err(CommandError::Syntax)
    }
}

fn own_line(call: &Control<'_, '_>) -> String {
    let client = &call.session.client;
    client.buffers.set_output_bytes(call.unsent_bytes);
    describe(call.session, call.request, call.now_ms)
}

/// The line of a client that sends this request.
pub fn describe(session: &Session, request: Request<'_>, now_ms: u64) -> String {
    session.publish(now_ms);
    let argument_bytes = request.iter().map(<[u8]>::len).sum();
    let mut line = String::new();
    write_line(&mut line, &session.client, now_ms, Some(argument_bytes));
    line
}

/// Appends a client's line, in the order of Redis 7.0 and with the fields of `CLIENT SETINFO` at its end.
///
/// `own_arguments` are the bytes of the arguments for the client that asks, the only one seen within a command.
/// Replies of a connection are in one buffer, so `oll` is always 0, and `omem` tells of replies that would not fit
/// Redis' buffer of fixed size.
fn write_line(text: &mut String, client: &Client, now_ms: u64, own_arguments: Option<usize>) {
    let details = client.details.lock().clone();
    let mode = client.tracking.lock().clone();
    let sizes = client.buffers.sizes();
    let seconds_since = |then_ms: u64| now_ms.saturating_sub(then_ms) / 1000;
    let argument_bytes = own_arguments.unwrap_or_default();
    // Input is not read while replies are on their way.
    let is_writing = own_arguments.is_none() && sizes.output_bytes > 0;
    let messages = client.outbox.bytes();
    let large_output = sizes.output_bytes > REPLY_CHUNK_BYTES;
    let names = details.name.len() + details.library_name.len() + details.library_version.len();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "id={id} addr={address} laddr={local} fd={descriptor} name={name} age={age} idle={idle} \
         flags={flags} db={database} sub={channels} psub={patterns} ssub={shard_channels} multi={multi} qbuf={qbuf} \
         qbuf-free={qbuf_free} argv-mem={argument_bytes} multi-mem={multi_bytes} rbs={rbs} rbp={rbp} obl={obl} oll=0 \
         omem={omem} tot-mem={total} events={events} cmd={command} user={user} redir={redirect} resp={resp} \
         lib-name={library} lib-ver={library_version} watch={watched}",
        id = client.id,
        address = client.address,
        local = client.local_address,
        descriptor = client.descriptor,
        name = String::from_utf8_lossy(&details.name),
        age = seconds_since(client.connected_ms),
        idle = seconds_since(client.active_ms.load(Ordering::Relaxed)),
        flags = flags(client, &details, mode.as_ref()),
        database = details.database,
        channels = details.listens_to[0],
        patterns = details.listens_to[1],
        shard_channels = details.listens_to[2],
        multi = details.queued.map_or(-1, |count| count as i64),
        multi_bytes = sizes.queued_bytes,
        watched = details.watched,
        qbuf = sizes.query_bytes,
        qbuf_free = sizes.query_capacity.saturating_sub(sizes.query_bytes),
        rbs = sizes.output_capacity,
        rbp = sizes.output_peak,
        obl = sizes.output_bytes,
        omem = messages
            + if large_output {
                sizes.output_capacity
            } else {
                0
            },
        total = client.buffer_bytes() + argument_bytes + names + FIXED_BYTES,
        events = if is_writing { "w" } else { "r" },
        command = details.last_command,
        // Who is nobody is not checked.
        user = (details.user.as_ref())
            .map_or("(superuser)".into(), |user| String::from_utf8_lossy(
                user.name()
            )),
        redirect = mode.as_ref().map_or(-1, |mode| mode.redirect as i64),
        resp = match details.resp {
            RespVersion::Resp2 => 2,
            RespVersion::Resp3 => 3,
        },
        library = String::from_utf8_lossy(&details.library_name),
        library_version = String::from_utf8_lossy(&details.library_version),
    );
}

/// A letter for each thing that is special about a client; `N` for none.
fn flags(client: &Client, details: &ClientDetails, mode: Option<&Mode>) -> String {
    let letters = [
        ('O', details.monitor),
        ('P', details.listens_to != [0; 3]),
        ('x', details.queued.is_some()),
        ('b', details.blocked),
        ('t', mode.is_some()),
        ('R', mode.is_some_and(|mode| mode.is_broken)),
        ('B', mode.is_some_and(|mode| mode.broadcast)),
        ('U', client.is_unix_socket()),
        ('e', details.no_evict),
        ('T', details.no_touch),
    ];
    let flags: String = letters
        .iter()
        .filter_map(|&(letter, is_set)| is_set.then_some(letter))
        .collect();
    if flags.is_empty() { "N".into() } else { flags }
}
