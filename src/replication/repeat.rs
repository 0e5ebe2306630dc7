//! Writes that met something newer at a replica: stamped anew past it, and sent again (I10).
//!
//! A write that reaches its quorum without that replica is left alone: what is newer came later, perhaps from someone
//! who had read it. Otherwise the coordinator fetches and merges the newer state, and makes the same effects again with a
//! later version, as a record of their own. Only when that is acknowledged does the first one count, so a client is
//! never told of a write that had already lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coterie_protocol::Version;
use tokio::time::Instant;

use super::Replication;
use super::barrier::Condition;
use super::operations::Sent;
use super::peers::Peer;
use super::waiters::LATE_MAX;
use super::wire::{self, DigestItem, Superseded};
use crate::effect::{Effects, OperationId};
use crate::engine;
use crate::topology;
use crate::transport::Service;
use crate::wal::LogOffset;

/// How long other replicas may take to answer before a write is repeated.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// Repetitions that are remembered.
const REPEATED_MAX: usize = 65_536;
/// How often it is looked whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A record of this node's log.
struct Own {
    partition: coterie_protocol::PartitionId,
    version: Version,
    database: coterie_protocol::DatabaseId,
    effects: Vec<u8>,
}

impl Replication {
    /// Repeats records that a peer has something newer for.
    pub(super) async fn repeat(self: &Arc<Self>, peer: &Arc<Peer>, records: Vec<Superseded>) {
        let mut until = None;
        for superseded in records {
            let Some(record) = self.read_own(superseded.start) else {
                continue;
            };
            let operation = engine::operation_of(record.database, &record.effects);
            let is_awaited = self.is_record_awaited(&record, &superseded, operation);
            if !is_awaited && operation.is_none() {
                continue;
            }
            if self.is_held_without(peer, &record, superseded.end).await {
                continue;
            }
            if let Some(id) = operation.filter(|_| !is_awaited) {
                // Should it be asked for once more, its effect is lost.
                let mut partition = self.engine.store().lock(record.partition);
                partition.doubt_operation(id);
                continue;
            }
            self.fetch(peer, &record).await;
            super::receive::wait_for_room(self, record.effects.len()).await;
            until = until.max(self.repeat_once(&record, &superseded));
        }
        peer.release(until);
        peer.notify();
        self.waiters.marks_moved();
    }

    /// Whether a client may still be told of what a record did. If none is, the record has lost: what is newer may have
    /// been written by whoever waited for it, and told of, since.
    fn is_record_awaited(
        &self,
        record: &Own,
        superseded: &Superseded,
        operation: Option<OperationId>,
    ) -> bool {
        // If not, its origin has it executed by somebody else, and this record has lost to that.
        let is_awaited = self.is_awaited(match operation {
            Some(id) => Sent::Operation(id),
            None => Sent::Record(superseded.end),
        });
        let is_of_earlier_life = superseded.start < self.engine.log().started_at();
        let age_ms = self.clock.now_ms().saturating_sub(record.version.millis());
        // Nobody waits that long; what made it may have taken a while before anybody did.
        let age_max_ms =
            LATE_MAX.as_millis() as u64 + 2 * self.write_timeout_ms.load(Ordering::Relaxed);
        is_awaited && !is_of_earlier_life && age_ms <= age_max_ms
    }

    /// Repeats a record, unless that was done already for another peer. Returns what a peer has to acknowledge before
    /// the record counts.
    fn repeat_once(&self, record: &Own, superseded: &Superseded) -> Option<LogOffset> {
        let mut repeated = self.repeated.lock();
        if let Some(end) = repeated.get(&superseded.start) {
            return Some(*end);
        }
        let made = self.engine.repeat(
            record.partition,
            record.database,
            record.version,
            &record.effects,
            superseded.version,
        );
        match made {
            Ok(end) => {
                // Without an end this node has changed all of it since, in records before here.
                let end = end.unwrap_or_else(|| self.engine.log().appended());
                repeated.insert(superseded.start, end);
                if repeated.len() > REPEATED_MAX {
                    repeated.pop_first();
                }
                Some(end)
            }
            Err(error) => {
                tracing::error!(%error, "own record can't be repeated");
                None
            }
        }
    }

    /// Whether a quorum without this peer has a record, once all others have answered that can.
    async fn is_held_without(&self, peer: &Peer, record: &Own, end: LogOffset) -> bool {
        let give_up = Instant::now() + ANSWERED_WITHIN;
        loop {
            let routes = self.routes();
            let route = routes.route(record.partition);
            let holders = route.all_holders();
            let others = holders & !peer.bit();
            // While the partition moves, of both sets.
            let policy = routes.policy(record.database);
            let quorums = route.write_quorums(&policy, Some(topology::Quorum::Majority));
            let mut conditions = quorums.into_iter().map(|mut quorum| {
                quorum.members &= others;
                let offset = end;
                Condition { quorum, offset }
            });
            if conditions.all(|condition| self.waiters.is_met(&condition)) {
                return true;
            }
            let peers = self.peers.all();
            let may_answer = peers.iter().skip(1).any(|other| {
                other.bit() & others != 0 && other.is_connected() && other.seen() < end
            });
            if !may_answer || Instant::now() >= give_up {
                return false;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn read_own(&self, start: LogOffset) -> Option<Own> {
        let actor = self.actor()?;
        let mut reader = self.engine.log().tail(start).ok()?;
        let mut found = None;
        let read = reader.read(|record| {
            if record.offset == start && record.kind == engine::COORDINATED {
                found = engine::coordinated_by(record.payload, actor).map(|effects| Own {
                    partition: record.partition,
                    version: record.version,
                    database: record.database,
                    effects: effects.to_vec(),
                });
            }
            false
        });
        read.ok().and(found)
    }

    /// Fetches what a peer knows of the keys of a record.
    async fn fetch(&self, peer: &Peer, record: &Own) {
        let mut body = self.routes().epoch.0.to_le_bytes().to_vec();
        {
            let partition = self.engine.store().lock(record.partition);
            for (database, effect) in Effects::new(record.database, &record.effects).flatten() {
                if let Some(key) = effect.key() {
                    let item = DigestItem {
                        partition: record.partition,
                        database,
                        digest: partition.digest(database, key),
                        key,
                    };
                    wire::put_digest(&item, &mut body);
                }
            }
        }
        let Some(link) = peer.link() else { return };
        // Without an answer the effects are repeated on what is known: they are past the newer version all the same.
        if let Ok(answer) = link.call(Service::Digests, &body).await
            && let Ok(differences) = wire::read_differences(answer.get(1..).unwrap_or_default())
        {
            for (_, state) in differences {
                self.merge(record.partition, state).await;
            }
        }
    }
}
