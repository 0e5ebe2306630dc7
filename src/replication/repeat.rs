//! Writes that met something newer at a replica: stamped anew past it, and sent again (I10).
//!
//! The coordinator did not know of the newer state, so it fetches and merges that first. Then the same effects are
//! made again with a later version, as a record of their own. Only when that is acknowledged does the first one
//! count, so a client is never told of a write that had already lost.

use std::sync::Arc;

use super::Replication;
use super::peers::Peer;
use super::wire::{self, DigestItem, Superseded};
use crate::effect::Effects;
use crate::engine;
use crate::transport::Service;
use crate::wal::LogOffset;

/// A record of this node's log.
struct Own {
    partition: coterie_protocol::PartitionId,
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
            self.fetch(peer, &record).await;
            super::receive::wait_for_room(self, record.effects.len()).await;
            let repeated = self.engine.repeat(
                record.partition,
                record.database,
                &record.effects,
                superseded.version,
            );
            match repeated {
                Ok(end) => until = until.max(Some(end)),
                Err(error) => tracing::error!(%error, "own record can't be repeated"),
            }
        }
        peer.release(until);
        self.waiters.marks_moved();
    }

    fn read_own(&self, start: LogOffset) -> Option<Own> {
        let actor = self.actor()?;
        let mut reader = self.engine.log().tail(start).ok()?;
        let mut found = None;
        let read = reader.read(|record| {
            if record.offset == start && record.kind == engine::COORDINATED {
                found = engine::coordinated_by(record.payload, actor).map(|effects| Own {
                    partition: record.partition,
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
        let mut body = Vec::new();
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
            && let Ok(differences) = wire::read_differences(&answer)
        {
            for (_, state) in differences {
                self.merge(record.partition, state).await;
            }
        }
    }
}
