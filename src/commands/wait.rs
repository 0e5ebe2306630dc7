//! `WAIT` and `WAITAOF`: until a connection's writes are on other nodes, or on the disk.

use std::time::Duration;

use coterie_protocol::ReplyWriter;
use coterie_protocol::text::parse_i64;
use tokio::time::{Instant, timeout_at};

use super::call::{Control, Deferred};
use super::error::CommandError;
use super::spec::{Argument, Categories, CommandSpec, Docs, Flags, Handler};
use crate::cluster_view::Safety;
use crate::node::Node;
use crate::wal::LogOffset;

const TIPS: &[&str] = &["request_policy:all_shards", "response_policy:agg_min"];

const REPLICAS: Argument = Argument::new("numreplicas", "integer");
const TIMEOUT: Argument = Argument::new("timeout", "integer");

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "wait",
        arity: 3,
        handler: Handler::Deferred(wait),
        flags: Flags::NOSCRIPT,
        categories: Categories::CONNECTION,
        tips: TIPS,
        docs: Docs {
            summary: "Waits until enough other nodes have what this connection wrote.",
            since: "3.0.0",
            group: "generic",
            arguments: &[REPLICAS, TIMEOUT],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "waitaof",
        arity: 4,
        handler: Handler::Deferred(wait_for_disks),
        flags: Flags::NOSCRIPT,
        categories: Categories::CONNECTION,
        tips: TIPS,
        docs: Docs {
            summary: "Waits until enough disks have what this connection wrote: that of this node, and those of others.",
            since: "7.2.0",
            group: "generic",
            arguments: &[Argument::new("numlocal", "integer"), REPLICAS, TIMEOUT],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
];

fn wait(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    // Redis takes a negative number as one that is reached already.
    let wanted = parse_i64(call.request.arg(1)).ok_or(CommandError::NotInteger)?;
    let deadline = deadline(call, 2)?;
    let (node, resp, offset) = (call.node.clone(), call.session.resp, written(call));
    let wanted = usize::try_from(wanted).unwrap_or(0);
    Ok(Box::pin(async move {
        let have = others(&node, offset, wanted, Safety::Stored, deadline).await;
        let mut out = Vec::new();
        ReplyWriter::new(&mut out, resp).integer(have as i64);
        out
    }))
}

fn wait_for_disks(call: &mut Control<'_, '_>) -> Result<Deferred, CommandError> {
    let is_local_wanted = match parse_i64(call.request.arg(1)) {
        Some(number @ 0..=1) => number == 1,
        Some(_) => {
            return Err(CommandError::line(
                "ERR value is out of range, value must between 0 and 1",
            ));
        }
        None => return Err(CommandError::NotInteger),
    };
    let wanted = parse_i64(call.request.arg(2)).ok_or(CommandError::NotPositive)?;
    let wanted = usize::try_from(wanted).map_err(|_| CommandError::NotPositive)?;
    let deadline = deadline(call, 3)?;
    let (node, resp, offset) = (call.node.clone(), call.session.resp, written(call));
    Ok(Box::pin(async move {
        let (is_local, others) = tokio::join!(
            own_disk(&node, offset, is_local_wanted, deadline),
            others(&node, offset, wanted, Safety::Durable, deadline)
        );
        let mut out = Vec::new();
        let mut reply = ReplyWriter::new(&mut out, resp);
        reply.array(2);
        reply.integer(is_local.into());
        reply.integer(others as i64);
        out
    }))
}

/// Up to where the log must be known elsewhere.
fn written(call: &Control<'_, '_>) -> LogOffset {
    call.session.last_write.unwrap_or(LogOffset::ZERO)
}

/// When a timeout in milliseconds ends; never, if it is 0. A transaction does not wait.
fn deadline(call: &Control<'_, '_>, index: usize) -> Result<Option<Instant>, CommandError> {
    let timeout = parse_i64(call.request.arg(index)).ok_or(CommandError::line(
        "ERR timeout is not an integer or out of range",
    ))?;
    let timeout =
        u64::try_from(timeout).map_err(|_| CommandError::line("ERR timeout is negative"))?;
    if call.transaction.is_some() {
        return Ok(Some(Instant::now()));
    }
    let end = Instant::now().checked_add(Duration::from_millis(timeout));
    Ok(end.filter(|_| timeout > 0))
}

/// Waits for other nodes. Returns how many have everything up to an offset.
async fn others(
    node: &Node,
    offset: LogOffset,
    wanted: usize,
    safety: Safety,
    deadline: Option<Instant>,
) -> usize {
    if let Some(cluster) = node.cluster.get() {
        return cluster.wait(offset, wanted, safety, deadline).await;
    }
    // There are none, which waiting may not change.
    if wanted > 0 {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }
    0
}

/// Waits for the own log, if that is wanted. Returns whether it is durable up to an offset.
async fn own_disk(
    node: &Node,
    offset: LogOffset,
    is_wanted: bool,
    deadline: Option<Instant>,
) -> bool {
    let log = node.engine.log();
    if is_wanted && log.durable() < offset {
        let mut durable = log.durable_watch();
        log.request_sync();
        let reached = durable.wait_for(|durable| *durable >= offset);
        // What became of it is looked at below.
        match deadline {
            Some(deadline) => drop(timeout_at(deadline, reached).await),
            None => drop(reached.await),
        }
    }
    log.durable() >= offset
}
