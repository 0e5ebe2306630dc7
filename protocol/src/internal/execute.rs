//! Requests that another node executes: body of a call of service `Execute`, and a part of those of service
//! `Client`.
//!
//! A head, then a request. `bytes` is a `u32` length and that many bytes.
//!
//! | what | fields |
//! | --- | --- |
//! | head | epoch `u64`, when it was sent in Unix milliseconds `u64`, database `u16`, flags `u8` (1 RESP3, 2 reading counts as use, 4 local reads, 8 an operation follows, 16 rights follow), read level `u8`, write level `u8`, partitions `bytes` (bits; empty for all), perhaps an operation, perhaps rights `bytes` |
//! | operation | origin's actor `u16`, number `u64`, settled `u64`, number of executors `u8`, their node ids (20 bytes each) |
//! | request | number of arguments `u32`, arguments `bytes` |
//!
//! A level is 0 for the database's policy, 254 for a majority, 255 for all, otherwise a number of replicas.

use super::Fields;
use crate::{Actor, DatabaseId, Epoch, NodeId, Quorum};

/// A body that ends too early, or is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed body")]
pub struct Malformed;

/// What a request carries besides its arguments.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExecuteHead {
    /// The epoch it was routed under.
    pub epoch: Epoch,
    /// When it was sent, Unix milliseconds by the sender's clock. A write that comes much later is refused: its sender
    /// may have had it executed elsewhere by then. 0 for never too late.
    pub sent_ms: u64,
    /// The session's database.
    pub database: DatabaseId,
    /// Whether replies are in RESP3.
    pub resp3: bool,
    /// Whether reading counts as use.
    pub touch: bool,
    /// How many replicas a read asks; `None` for the database's policy.
    pub read: Option<Quorum>,
    /// How many replicas a write needs; `None` for the database's policy.
    pub write: Option<Quorum>,
    /// Whether a read asks no other replica, however old the answer.
    pub local: bool,
    /// The partitions that a walk is to visit, a bit each; empty for one that is about keys.
    pub partitions: Vec<u8>,
    /// For a write that must not be executed twice: what replicas know it by.
    pub operation: Option<Operation>,
    /// The rules of the user on whose behalf a script is executed, to which each of its commands is held; empty for one
    /// who may do everything.
    pub rights: Vec<u8>,
}

/// Names a write that must be executed exactly once, by whomever it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Operation {
    /// The node that has to answer the client.
    pub origin: Actor,
    /// Unique for the origin, and growing.
    pub number: u64,
    /// The origin has an answer to all operations with smaller numbers than this: they can be forgotten.
    pub settled: u64,
    /// Nodes that may have executed it, of which no answer came; empty for the first attempt. At most 255.
    pub executors: Vec<NodeId>,
}

const RESP3: u8 = 1;
const TOUCH: u8 = 2;
const LOCAL: u8 = 4;
const OPERATION: u8 = 8;
const RIGHTS: u8 = 16;

fn level_byte(level: Option<Quorum>) -> u8 {
    match level {
        None => 0,
        Some(Quorum::Majority) => 254,
        Some(Quorum::All) => 255,
        Some(Quorum::Count(count)) => count.clamp(1, 253),
    }
}

fn byte_level(byte: u8) -> Option<Quorum> {
    match byte {
        0 => None,
        254 => Some(Quorum::Majority),
        255 => Some(Quorum::All),
        count => Some(Quorum::Count(count)),
    }
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(u32::try_from(bytes.len()).is_ok());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn take_bytes<'a>(fields: &mut Fields<'a>) -> Option<&'a [u8]> {
    let length = fields.array().map(u32::from_le_bytes)?;
    fields.bytes(length as usize)
}

/// Appends a head.
pub(super) fn put_head(head: &ExecuteHead, out: &mut Vec<u8>) {
    out.extend_from_slice(&head.epoch.0.to_le_bytes());
    out.extend_from_slice(&head.sent_ms.to_le_bytes());
    out.extend_from_slice(&head.database.0.to_le_bytes());
    let resp3 = if head.resp3 { RESP3 } else { 0 };
    let touch = if head.touch { TOUCH } else { 0 };
    let local = if head.local { LOCAL } else { 0 };
    let operation = head.operation.as_ref().map_or(0, |_| OPERATION);
    let rights = if head.rights.is_empty() { 0 } else { RIGHTS };
    out.push(resp3 | touch | local | operation | rights);
    out.push(level_byte(head.read));
    out.push(level_byte(head.write));
    put_bytes(out, &head.partitions);
    if let Some(operation) = &head.operation {
        put_operation(operation, out);
    }
    if !head.rights.is_empty() {
        put_bytes(out, &head.rights);
    }
}

fn put_operation(operation: &Operation, out: &mut Vec<u8>) {
    out.extend_from_slice(&operation.origin.0.to_le_bytes());
    out.extend_from_slice(&operation.number.to_le_bytes());
    out.extend_from_slice(&operation.settled.to_le_bytes());
    let executors = operation.executors.iter().take(usize::from(u8::MAX));
    out.push(executors.len() as u8);
    executors.for_each(|id| out.extend_from_slice(&id.0));
}

fn take_operation(fields: &mut Fields<'_>) -> Option<Operation> {
    let origin = Actor(fields.u16()?);
    let (number, settled) = (fields.u64()?, fields.u64()?);
    let count = fields.u8()?;
    let executors = (0..count).map(|_| fields.array().map(NodeId));
    Some(Operation {
        origin,
        number,
        settled,
        executors: executors.collect::<Option<_>>()?,
    })
}

/// Takes a head.
pub(super) fn take_head(fields: &mut Fields<'_>) -> Option<ExecuteHead> {
    let epoch = Epoch(fields.u64()?);
    let sent_ms = fields.u64()?;
    let database = DatabaseId(fields.u16()?);
    let flags = fields.u8()?;
    Some(ExecuteHead {
        epoch,
        sent_ms,
        database,
        resp3: flags & RESP3 != 0,
        touch: flags & TOUCH != 0,
        local: flags & LOCAL != 0,
        read: byte_level(fields.u8()?),
        write: byte_level(fields.u8()?),
        partitions: take_bytes(fields)?.to_vec(),
        operation: match flags & OPERATION {
            0 => None,
            _ => Some(take_operation(fields)?),
        },
        rights: match flags & RIGHTS {
            0 => Vec::new(),
            _ => take_bytes(fields)?.to_vec(),
        },
    })
}

/// Appends a request.
pub(super) fn put_request<'a>(
    arguments: impl ExactSizeIterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(&(arguments.len() as u32).to_le_bytes());
    for argument in arguments {
        put_bytes(out, argument);
    }
}

/// Takes a request; it has one argument at least.
pub(super) fn take_request<'a>(fields: &mut Fields<'a>) -> Option<Vec<&'a [u8]>> {
    let count = fields.array().map(u32::from_le_bytes)?;
    let mut arguments = Vec::new();
    for _ in 0..count {
        arguments.push(take_bytes(fields)?);
    }
    (!arguments.is_empty()).then_some(arguments)
}

/// Encodes a forwarded request.
pub fn execution<'a>(
    head: &ExecuteHead,
    arguments: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    put_head(head, &mut out);
    put_request(arguments, &mut out);
    out
}

/// Decodes a forwarded request: its head and its arguments.
///
/// # Errors
/// The body is none.
pub fn read_execution(body: &[u8]) -> Result<(ExecuteHead, Vec<&[u8]>), Malformed> {
    let mut fields = Fields(body);
    let head = take_head(&mut fields).ok_or(Malformed)?;
    let arguments = take_request(&mut fields).ok_or(Malformed)?;
    if fields.0.is_empty() {
        Ok((head, arguments))
    } else {
        Err(Malformed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn operations() -> impl Strategy<Value = Operation> {
        let ids = prop::collection::vec(any::<[u8; 20]>().prop_map(NodeId), 0..3);
        (any::<u16>(), any::<u64>(), any::<u64>(), ids).prop_map(
            |(origin, number, settled, executors)| Operation {
                origin: Actor(origin),
                number,
                settled,
                executors,
            },
        )
    }

    pub(crate) fn heads() -> impl Strategy<Value = ExecuteHead> {
        let level = || any::<u8>().prop_map(byte_level);
        (
            (any::<u64>(), any::<u64>(), any::<u16>()),
            any::<[bool; 3]>(),
            (level(), level()),
            prop::collection::vec(any::<u8>(), 0..40),
            prop::option::of(operations()),
            prop::collection::vec(any::<u8>(), 0..40),
        )
            .prop_map(
                |(
                    (epoch, sent_ms, database),
                    [resp3, touch, local],
                    (read, write),
                    partitions,
                    operation,
                    rights,
                )| {
                    ExecuteHead {
                        epoch: Epoch(epoch),
                        sent_ms,
                        database: DatabaseId(database),
                        resp3,
                        touch,
                        read,
                        write,
                        local,
                        partitions,
                        operation,
                        rights,
                    }
                },
            )
    }

    pub(crate) fn requests() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5)
    }

    proptest! {
        #[test]
        fn executions_round_trip(head in heads(), arguments in requests()) {
            let body = execution(&head, arguments.iter().map(Vec::as_slice));
            let (again, words) = read_execution(&body).unwrap();
            prop_assert_eq!(again, head);
            prop_assert_eq!(words, arguments);
            for cut in 0..body.len() {
                prop_assert_eq!(read_execution(&body[..cut]), Err(Malformed));
            }
        }

        #[test]
        fn fuzz_bodies(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_execution(&body);
        }
    }
}
