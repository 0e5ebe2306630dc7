//! `DEBUG POPULATE`: many keys at once.

use std::sync::atomic::Ordering::Relaxed;

use coterie_protocol::DatabaseId;
use coterie_protocol::text::parse_i64;

use super::{Outcome, answer};
use crate::commands::call::Control;
use crate::commands::error::CommandError;
use crate::effect::{Effect, StringEncoding};
use crate::engine::Scope;
use crate::node::Node;
use crate::wal::{LogOffset, NoRoom};

/// Keys made before other connections get their turn.
const KEYS_PER_TURN: u64 = 64;

/// What to make.
struct Order {
    count: u64,
    prefix: Vec<u8>,
    /// Size of the values in bytes; as long as their text if not given.
    size: Option<usize>,
    database: DatabaseId,
}

pub(super) fn populate(call: &mut Control<'_, '_>) -> Outcome {
    let number = |index: usize| -> Result<Option<u64>, CommandError> {
        let Some(argument) = call.request.get(index) else {
            return Ok(None);
        };
        let number = parse_i64(argument).and_then(|number| u64::try_from(number).ok());
        number.map(Some).ok_or(CommandError::NotPositive)
    };
    let size_max = call.node.config.load().proto_max_bulk_len;
    let size = number(4)?;
    if size.is_some_and(|size| size > size_max) {
        return Err(CommandError::OutOfRange);
    }
    let order = Order {
        count: number(2)?.unwrap_or(0),
        prefix: call.request.get(3).unwrap_or(b"key").to_vec(),
        size: size.map(|size| size as usize),
        database: call.session.database,
    };
    let (node, resp) = (call.node.clone(), call.session.resp);
    Ok(Box::pin(async move {
        match make(&node, &order).await {
            Ok(()) => answer(resp, |reply| reply.ok()).await,
            Err(error) => answer(resp, |reply| reply.error_display(&error)).await,
        }
    }))
}

/// Makes the keys that are not there yet, and waits until they may be acknowledged.
async fn make(node: &Node, order: &Order) -> Result<(), CommandError> {
    let log = node.engine.log();
    let mut last = None;
    let mut payload = Vec::new();
    let mut number = 0;
    while number < order.count {
        match make_one(node, order, number, &mut payload) {
            Ok(offset) => {
                last = last.max(offset);
                number += 1;
            }
            Err((NoRoom::Preparing, bytes)) => log.wait_for_room(bytes).await,
            Err((error, bytes)) => return Err(CommandError::NoRoom(error, bytes)),
        }
        if number.is_multiple_of(KEYS_PER_TURN) {
            tokio::task::yield_now().await;
        }
    }
    if let Some(offset) = last {
        log.wait_until_acknowledged(offset).await;
    }
    Ok(())
}

/// Makes one key. Returns where its record ends; `None` if the key is there.
fn make_one(
    node: &Node,
    order: &Order,
    number: u64,
    payload: &mut Vec<u8>,
) -> Result<Option<LogOffset>, (NoRoom, usize)> {
    let mut key = order.prefix.clone();
    key.extend_from_slice(format!(":{number}").as_bytes());
    let mut value = format!("value:{number}").into_bytes();
    if let Some(size) = order.size {
        value.resize(size, 0);
    }
    let moment = node.moment(&node.config.load());
    let mut transaction = node.engine.begin(Scope::Key(&key), moment, payload);
    if transaction.peek(order.database, &key).is_some() {
        return Ok(None);
    }
    let bytes = Effect::encoded_bytes_max(key.len(), value.len());
    transaction.reserve(bytes).map_err(|error| (error, bytes))?;
    let effect = Effect::Put {
        key: &key,
        value: &value,
        encoding: StringEncoding::of_text(&value),
        expire_at: None,
    };
    transaction.apply(order.database, &effect);
    node.statistics.changes.fetch_add(1, Relaxed);
    Ok(transaction.commit())
}
