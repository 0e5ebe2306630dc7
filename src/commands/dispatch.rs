//! Decides what becomes of a request in a cluster: executed here, elsewhere, or in a moment.

use coterie_protocol::{DatabaseId, PartitionId, Request};
use xxhash_rust::xxh3::xxh3_64;

use super::error::CommandError;
use super::execute::{Batch, Outcome};
use super::routing::{Levels, MOVING, Router, Way};
use super::spec::{Categories, CommandSpec, Flags, Handler};
use super::transactions::SEEN;
use crate::node::Node;
use crate::outstanding::{Step, Subject};
use crate::replication::{Quorum, ReadKey, Routes};
use crate::session::Session;
use crate::topology;

/// How often a request waits for a replica that its partition moves to.
const WAITS_MAX: u8 = 100;

/// Where a request goes.
pub(super) enum Routed {
    /// It is executed here, in a cluster with regard to these replicas.
    Here(Option<(PartitionId, Levels)>),
    /// It is executed elsewhere, or in parts.
    Elsewhere(Way),
    /// Not now.
    Later(Outcome),
}

/// Routes a request of a connection, in regard of what its earlier ones still wait for.
///
/// # Errors
/// It can't be executed as things are; nothing was done.
pub(super) fn route(
    node: &Node,
    session: &mut Session,
    spec: &CommandSpec,
    request: Request<'_>,
    batch: &Batch,
) -> Result<Routed, CommandError> {
    let (Some((routes, guard)), Some(replication)) = (&batch.routes, node.replication.get()) else {
        return Ok(Routed::Here(None));
    };
    match spec.handler {
        Handler::Data(_) => {}
        // Who opens a transaction routes what is in it.
        Handler::Unit(_) if !spec.categories.contains(Categories::TRANSACTION) => {}
        _ => return Ok(Routed::Here(None)),
    }
    // The usual case of a cache: nothing of what follows is needed.
    if spec.flags.contains(Flags::READONLY)
        && spec.name != SEEN
        && !session.outstanding.orders_commands()
    {
        let local = session.consistency.local_reads && session.consistency.read.is_none();
        let level = local.then_some(topology::Quorum::Count(1));
        let level = level.or(session.consistency.read);
        if routes.answers_all_reads(session.database, level) {
            return Ok(Routed::Here(None));
        }
    }
    let router = Router {
        node,
        replication,
        routes,
        session,
    };
    let way = match router.route(spec, request) {
        Err(_) if session.waits < WAITS_MAX && is_moving(node, routes, spec, request) => {
            session.waits += 1;
            return Ok(Routed::Later(Outcome::Moving));
        }
        routed => routed?,
    };
    if let Way::Here(partition, _) = &way
        && let Some(operation) = session.operation.as_ref().filter(|it| it.is_again())
        && !router.is_done(*partition)
    {
        match operation.prepared {
            None => {
                let keys = spec.keys.of(request).map(<[u8]>::to_vec).collect();
                return Ok(Routed::Later(Outcome::Settle(*partition, keys)));
            }
            Some(false) => return Err(MOVING),
            Some(true) => {}
        }
    }
    let (partition, writes, executor) = match &way {
        Way::Here(partition, levels) if levels.refresh => {
            let quorum = router.refresh_quorum(*partition, session.database);
            let keys = spec.keys.of(request);
            let keys = keys_known(node, *partition, session.database, keys, quorum);
            return Ok(Routed::Later(Outcome::Refresh(keys)));
        }
        Way::Here(partition, levels) => (*partition, !levels.write.is_empty(), 0),
        Way::Forward(partition, peer) => {
            let writes = spec.flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE);
            (*partition, writes, peer.index)
        }
        Way::Parts => return Ok(Routed::Elsewhere(way)),
    };
    let step = Step {
        writes,
        node: executor,
    };
    let subject = subject_of(spec, request, partition);
    if session.outstanding.conflicts(&subject, step) {
        return Ok(Routed::Later(Outcome::Conclude));
    }
    session.outstanding.hold(guard);
    Ok(match way {
        Way::Here(partition, levels) => Routed::Here(Some((partition, levels))),
        way => Routed::Elsewhere(way),
    })
}

/// Whether the partition of a request's first key is on its way to other replicas.
fn is_moving(node: &Node, routes: &Routes, spec: &CommandSpec, request: Request<'_>) -> bool {
    let key = spec.keys.of(request).next();
    key.is_some_and(|key| {
        let partition = node.engine.store().partition_of(key);
        !routes.route(partition).is_settled()
    })
}

/// What a command is about, for keeping the order of those about the same.
pub(super) fn subject_of(
    spec: &CommandSpec,
    request: Request<'_>,
    partition: PartitionId,
) -> Subject {
    let mut keys = spec.keys.of(request);
    let key = if keys.len() == 1 { keys.next() } else { None };
    Subject {
        partition,
        key: key.map(xxh3_64),
    }
}

/// What this node knows of keys.
pub(super) fn keys_known<'k>(
    node: &Node,
    id: PartitionId,
    database: DatabaseId,
    keys: impl Iterator<Item = &'k [u8]>,
    quorum: Quorum,
) -> Vec<ReadKey> {
    let partition = node.engine.store().lock(id);
    keys.map(|key| ReadKey {
        partition: id,
        database,
        key: key.to_vec(),
        digest: partition.digest(database, key),
        quorum,
    })
    .collect()
}
