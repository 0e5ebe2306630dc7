//! The stable horizon of a replicated partition, and what is forgotten below it (I6).

use coterie_protocol::{DatabaseId, Version};

use super::digest::Sums;
use super::entry::Entry;
use super::partition::{Partition, discard};
use super::state::{KeyState, latest_of};

impl Partition {
    /// The version up to which all replicas are known to have everything.
    pub fn stable_horizon(&self) -> Version {
        self.replica
            .as_ref()
            .map_or(Version::ZERO, |replica| replica.horizon())
    }

    /// Raises the horizon. Deletions at or before it are forgotten; what comes late from at or before it, and is
    /// of something unknown, is discarded by then. Nothing is stamped at or before it here from then on; a replica
    /// that may still do so must not exist, so a horizon is at most the earliest of the replicas' clocks.
    pub fn set_stable_horizon(&mut self, horizon: Version) {
        self.clock.observe(horizon);
        if let Some(replica) = &mut self.replica
            && replica.raise_horizon(horizon)
        {
            self.collect();
        }
    }

    /// While tombstones are held, as a checkpoint does that walks the partition, the horizon waits.
    pub fn hold_tombstones(&mut self, held: bool) {
        if let Some(replica) = &mut self.replica
            && replica.hold(held)
        {
            self.collect();
        }
    }

    fn collect(&mut self) {
        let Some(replica) = &self.replica else {
            return;
        };
        // Whether somebody has looked for what expired before the horizon makes no difference: all replicas forget the
        // same.
        let expired_by = replica.horizon().millis();
        for database in self.databases() {
            self.take_out_expired(database, expired_by);
        }
        let Some(replica) = &self.replica else {
            return;
        };
        for database in replica.databases() {
            let context = self.context(database);
            let is_over = |entry: &Entry| {
                let fields_are = entry
                    .collection()
                    .is_none_or(|collection| collection.is_over(context.horizon));
                entry.version() <= context.horizon && fields_are && {
                    let expiry = entry.metadata().and_then(|metadata| metadata.expiry);
                    let at = expiry.and_then(|(_, at)| at);
                    at.is_none_or(|at| at < context.horizon.millis())
                }
            };
            let beside = self.replica.as_ref().and_then(|r| r.get(database));
            let Some(beside) = beside else { continue };
            let over = beside.remembered.iter().filter(|entry| is_over(entry));
            let over: Vec<Vec<u8>> = over.map(|entry| entry.key().to_vec()).collect();
            let thinned: Vec<_> = beside.thinned.iter().cloned().collect();
            for key in over {
                let hash = self.hash(&key);
                if let Some((entry, is_live)) = self.take(database, &key, hash)
                    && let Some(replica) = &mut self.replica
                {
                    let before = replica.sums(database, Some(&entry), is_live);
                    replica.change_tree(database, &key, before, Sums::default());
                    discard(&mut self.garbage, entry);
                }
            }
            for key in thinned {
                let hash = self.hash(&key);
                let mut remain = false;
                if let Some((entry, is_live)) = self.take(database, &key, hash) {
                    let mut state = KeyState::of(entry, is_live);
                    let before = state.sums(context);
                    remain = state.collect(context);
                    self.put_back(database, &key, hash, state, before);
                }
                if !remain && let Some(replica) = &mut self.replica {
                    replica.get_mut(database).thinned.remove(&key);
                }
            }
        }
    }

    /// Forgets a key of which a replica at this horizon knows nothing, if all that is known of it here is from before:
    /// it is over, and was not forgotten here.
    pub fn forget_settled(&mut self, database: DatabaseId, key: &[u8], horizon: Version) {
        let known = self.known(database, key);
        let is_settled = known.is_some_and(|(entry, _)| latest_of(entry) <= horizon);
        let hash = self.hash(key);
        if is_settled
            && let Some((entry, is_live)) = self.take(database, key, hash)
            && let Some(replica) = &mut self.replica
        {
            let before = replica.sums(database, Some(&entry), is_live);
            replica.change_tree(database, key, before, Sums::default());
            replica.get_mut(database).thinned.remove(key);
            discard(&mut self.garbage, entry);
        }
    }

    /// Number of keys that are remembered though clients do not see them, or may have elements that are.
    pub fn tombstones(&self) -> usize {
        let Some(replica) = &self.replica else {
            return 0;
        };
        let besides = replica
            .databases()
            .filter_map(|database| replica.get(database));
        besides
            .map(|beside| beside.remembered.len() + beside.thinned.len())
            .sum()
    }
}
