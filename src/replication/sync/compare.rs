//! Comparing one partition with one peer, top down.

use std::collections::HashMap;

use coterie_protocol::{DatabaseId, Epoch, PartitionId, Stamp, Version};

use super::message::{Answer, KeyDigest, Leaves, Request};
use super::{Replication, Summary, SyncError};
use crate::effect::Stamped;
use crate::replication::peers::Peer;

/// Buckets whose keys are asked for at a time.
const BUCKETS_AT_ONCE: usize = 16;
/// Keys whose states are exchanged at a time…
const KEYS_AT_ONCE: usize = 512;
/// … and bytes of states.
const STATE_BYTES_AT_ONCE: usize = 1024 * 1024;

/// Keys of one side by name.
type Digests = HashMap<(DatabaseId, Vec<u8>), u64>;

fn by_name(keys: Vec<KeyDigest>) -> Digests {
    keys.into_iter()
        .map(|key| ((key.database, key.key), key.digest))
        .collect()
}

impl Replication {
    pub(super) fn leaves_of(&self, partition: PartitionId) -> Leaves {
        let partition = self.engine.store().lock(partition);
        Leaves {
            joined: partition.joined(),
            horizon: partition.stable_horizon(),
            digests: partition.tree().to_vec(),
        }
    }

    /// The keys in some buckets, and since when the partition is here; `None` if it comes and goes.
    pub(super) fn keys_of(
        &self,
        partition: PartitionId,
        buckets: &[u16],
    ) -> Option<(Epoch, Vec<KeyDigest>)> {
        let mut keys = Vec::new();
        let joined = self.engine.store().lock(partition).joined();
        for bucket in buckets {
            // One lock a bucket, so that commands get their turn.
            let partition = self.engine.store().lock(partition);
            if partition.joined() != joined {
                return None;
            }
            if usize::from(*bucket) >= partition.tree().len() {
                continue;
            }
            partition.keys_of_bucket(usize::from(*bucket), |database, key, digest| {
                keys.push(KeyDigest {
                    database,
                    key: key.to_vec(),
                    digest,
                });
            });
        }
        Some((joined, keys))
    }

    /// The states of some keys, and since when the partition is here; `None` if it comes and goes.
    pub(super) fn states_of(
        &self,
        partition: PartitionId,
        keys: &[(DatabaseId, Vec<u8>)],
    ) -> Option<(Epoch, Vec<u8>)> {
        let mut states = Vec::new();
        let joined = self.engine.store().lock(partition).joined();
        for (database, key) in keys {
            let partition = self.engine.store().lock(partition);
            if partition.joined() != joined {
                return None;
            }
            partition.encode_state(*database, key, &mut states);
        }
        Some((joined, states))
    }

    pub(super) fn root(&self, partition: PartitionId) -> u64 {
        self.engine
            .store()
            .lock(partition)
            .tree()
            .iter()
            .enumerate()
            .fold(0, |root, (index, leaf)| {
                // A rotation keeps two equal leaves from cancelling each other.
                root ^ leaf.rotate_left(index as u32 % 64)
            })
    }

    pub(super) fn differing_roots(&self, roots: &[(PartitionId, u64)]) -> Vec<PartitionId> {
        let count = self.engine.store().layout().count();
        roots
            .iter()
            .filter(|(partition, root)| {
                partition.0 < count && self.is_held(*partition) && self.root(*partition) != *root
            })
            .map(|(partition, _)| *partition)
            .collect()
    }

    /// Compares a partition with a peer and exchanges what differs. Differences in keys that neither side knows of
    /// a change after `settled_at` count as settled.
    ///
    /// # Errors
    /// The peer does not answer; or the partition has begun anew on one side since: nothing is concluded then from what is
    /// not there.
    pub(super) async fn compare(
        &self,
        peer: &Peer,
        partition: PartitionId,
        settled_at: Version,
    ) -> Result<Summary, SyncError> {
        let Answer::Leaves(theirs) = self.ask_sync(peer, &Request::Leaves { partition }).await?
        else {
            return Err(SyncError::Malformed);
        };
        let ours = self.leaves_of(partition);
        if theirs.digests.len() != ours.digests.len() {
            return Err(SyncError::Malformed);
        }
        let differing: Vec<u16> = (0..ours.digests.len())
            .filter(|&bucket| ours.digests[bucket] != theirs.digests[bucket])
            .map(|bucket| bucket as u16)
            .collect();
        let comparison = Comparison {
            replication: self,
            peer,
            partition,
            settled_at,
            horizon: theirs.horizon,
            joined: ours.joined,
            joined_there: theirs.joined,
        };
        let mut summary = Summary::default();
        for buckets in differing.chunks(BUCKETS_AT_ONCE) {
            summary.add(comparison.compare_buckets(buckets).await?);
        }
        // All that it had then is here now. Who was not told of a horizon, or has restarted since, would differ for ever.
        self.set_horizon(partition, theirs.horizon, |joined| joined == ours.joined);
        Ok(summary)
    }

    async fn throttle(&self, bytes: usize) {
        let rate = self
            .sync_bytes_per_second
            .load(std::sync::atomic::Ordering::Relaxed);
        if let Some(micros) = (bytes as u64 * 1_000_000).checked_div(rate) {
            tokio::time::sleep(std::time::Duration::from_micros(micros)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// One partition, compared with one peer.
struct Comparison<'a> {
    replication: &'a Replication,
    peer: &'a Peer,
    partition: PartitionId,
    settled_at: Version,
    /// Up to there every replica has everything, as the peer knew when it told what it has: what it does not know of then
    /// is over.
    horizon: Version,
    /// Since when the partition is here…
    joined: Epoch,
    /// … and there.
    joined_there: Epoch,
}

impl Comparison<'_> {
    async fn ask(&self, request: &Request<'_>) -> Result<Answer, SyncError> {
        match self.replication.ask_sync(self.peer, request).await? {
            Answer::NotHere => Err(SyncError::Moved),
            answer => Ok(answer),
        }
    }

    /// Whether both sides have the partition since the same epochs as at the beginning.
    fn check_unmoved(&self, joined: Epoch, joined_there: Epoch) -> Result<(), SyncError> {
        if (joined, joined_there) == (self.joined, self.joined_there) {
            Ok(())
        } else {
            Err(SyncError::Moved)
        }
    }

    async fn compare_buckets(&self, buckets: &[u16]) -> Result<Summary, SyncError> {
        let replication = self.replication;
        let request = Request::Keys {
            partition: self.partition,
            buckets: buckets.to_vec(),
        };
        let Answer::Keys(joined_there, theirs) = self.ask(&request).await? else {
            return Err(SyncError::Malformed);
        };
        let ours = replication.keys_of(self.partition, buckets);
        let (joined, ours) = ours.ok_or(SyncError::Moved)?;
        self.check_unmoved(joined, joined_there)?;
        let (mut theirs, ours) = (by_name(theirs), by_name(ours));
        let mut differing: Vec<(DatabaseId, Vec<u8>)> = Vec::new();
        for (name, digest) in ours {
            let their_digest = theirs.remove(&name);
            if their_digest.is_none() {
                replication.engine.tidy(self.partition, |partition| {
                    partition.forget_settled(name.0, &name.1, self.horizon);
                });
            }
            if their_digest != Some(digest) {
                differing.push(name);
            }
        }
        differing.extend(theirs.into_keys());
        let mut summary = Summary::default();
        while !differing.is_empty() {
            let bytes = self.exchange(&mut differing, &mut summary).await?;
            summary.bytes += bytes as u64;
            replication.throttle(bytes).await;
        }
        Ok(summary)
    }

    /// Exchanges the states of some keys, taking them off the list. Returns how many bytes that took.
    async fn exchange(
        &self,
        differing: &mut Vec<(DatabaseId, Vec<u8>)>,
        summary: &mut Summary,
    ) -> Result<usize, SyncError> {
        let (replication, partition) = (self.replication, self.partition);
        let mut states = Vec::new();
        let mut wanted = Vec::new();
        let mut latest: HashMap<(DatabaseId, Vec<u8>), Version> = HashMap::new();
        while wanted.len() < KEYS_AT_ONCE
            && states.len() < STATE_BYTES_AT_ONCE
            && let Some((database, key)) = differing.pop()
        {
            let store = replication.engine.store();
            store
                .lock(partition)
                .encode_state(database, &key, &mut states);
            wanted.push((database, key));
        }
        for name in &wanted {
            latest.insert(name.clone(), Version::ZERO);
        }
        note_latest(&states, &mut latest);
        let request = Request::Exchange {
            partition,
            states: &states,
            wanted,
        };
        let Answer::States(joined_there, theirs) = self.ask(&request).await? else {
            return Err(SyncError::Malformed);
        };
        let joined = replication.engine.store().lock(partition).joined();
        self.check_unmoved(joined, joined_there)?;
        note_latest(&theirs, &mut latest);
        replication.merge(partition, &theirs).await;
        summary.keys += latest.len() as u64;
        summary.settled += latest
            .values()
            .filter(|&&version| version <= self.settled_at)
            .count() as u64;
        Ok(states.len() + theirs.len())
    }
}

/// Notes the latest version of each key in some states.
fn note_latest(states: &[u8], latest: &mut HashMap<(DatabaseId, Vec<u8>), Version>) {
    for (database, effect, stamp) in Stamped::new(DatabaseId(0), Stamp::ZERO, states).flatten() {
        if let Some(key) = effect.key()
            && let Some(version) = latest.get_mut(&(database, key.to_vec()))
        {
            *version = stamp.version.max(*version);
        }
    }
}
