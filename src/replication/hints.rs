//! What a replica that was away is not sent: records of databases without hinted handoff.
//!
//! Nothing is kept for such a replica. When it is back, its stream leaves out what was written before its link came
//! up, and anti-entropy brings that. An acknowledgement still says "everything up to here", so it says nothing of what
//! was left out: until [`Peer::skipped`] this peer does not count for writes of those databases, and the stable horizon
//! waits until the two have been compared ([`Peer::has_gap`]).

use std::sync::Arc;

use super::peers::Peer;
use super::{Replication, Routes};
use crate::engine;
use crate::wal::{LogOffset, Record, TailError};

/// Records of one look at the log; then others get their turn.
const RECORDS_AT_ONCE: usize = 1024;

/// What a stream leaves out.
pub(super) struct Skip {
    /// Records that end here or before…
    pub until: LogOffset,
    /// … of databases without hints in these routes.
    routes: Arc<Routes>,
}

impl Skip {
    /// Whether this record is left out.
    pub fn covers(&self, record: &Record<'_>) -> bool {
        record.end() <= self.until && is_without_hints(&self.routes, record)
    }
}

/// Whether nothing of a record is kept for replicas that are away.
fn is_without_hints(routes: &Routes, record: &Record<'_>) -> bool {
    engine::effects_of(record.kind, record.payload)
        .is_some_and(|(_, effects)| routes.is_without_hints(record.database, effects))
}

impl Replication {
    /// Routes under which records may be left out. `None` if there are none, and while a write is under way that was
    /// routed under other policies: it may count on what it has been promised.
    fn routes_without_hints(&self) -> Option<Arc<Routes>> {
        let routes = self.routes();
        let may_skip = routes.has_unhinted() && self.epochs.is_drained(routes.epoch);
        may_skip.then_some(routes)
    }

    /// What a stream to a peer that begins now leaves out.
    pub(super) fn skip_for(&self, peer: &Peer) -> Option<Skip> {
        let routes = self.routes_without_hints()?;
        let until = peer.back_at();
        Some(Skip { until, routes })
    }

    /// How much of the log a peer needs at least: while it is away, what only concerns databases without hints is
    /// passed over.
    ///
    /// # Errors
    /// The log can't be read.
    pub async fn needed_from(&self, peer: &Peer) -> Result<LogOffset, TailError> {
        let log = self.engine.log();
        let acknowledged = peer.acknowledged();
        let from = peer.after_passed(acknowledged);
        // In this order: what is written once it is back is sent.
        let is_away = !peer.link().is_some_and(|link| link.is_up());
        let end = log.appended();
        let Some(routes) = self.routes_without_hints().filter(|_| is_away) else {
            return Ok(from);
        };
        let mut reader = log.tail(from.max(log.oldest()))?;
        let mut needed = reader.position();
        let mut more = needed < end;
        while more {
            let mut count = 0;
            reader.read(|record| {
                let is_concerned = record.kind == engine::COORDINATED
                    && record.partition.index() < routes.topology.placements.len()
                    && routes.route(record.partition).all_holders() & peer.bit() != 0;
                let is_left_out = !is_concerned || is_without_hints(&routes, record);
                more = record.end() <= end && is_left_out;
                if more {
                    if is_concerned {
                        peer.skip(record.end());
                    }
                    needed = record.end();
                    count += 1;
                }
                more && count < RECORDS_AT_ONCE
            })?;
            more &= count > 0 && needed < end;
            tokio::task::yield_now().await;
        }
        if needed > from {
            if from < log.oldest() {
                peer.open_gap();
            }
            peer.pass(acknowledged, needed);
        }
        Ok(needed.max(from))
    }
}
