//! Writes that came here as the state of a key, by a read or a comparison, rather than by their coordinator's log. When
//! their record comes and has lost meanwhile, this replica has had them all the same: who read them is not to see them made
//! anew behind what they lost to.

use std::collections::HashSet;

use coterie_protocol::{DatabaseId, Stamp};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::effect::Effect;

/// Writes that are remembered are at least so many: a record comes soon after its state.
const KEPT: usize = 32_768;

/// See the module. The last writes, and those before them.
#[derive(Default)]
pub(super) struct Spread(Mutex<[HashSet<u64>; 2]>);

impl Spread {
    /// These came.
    pub fn note(&self, writes: &[u64]) {
        let mut sets = self.0.lock();
        for write in writes {
            if sets[0].len() >= KEPT {
                sets.swap(0, 1);
                sets[0].clear();
            }
            sets[0].insert(*write);
        }
    }

    /// Whether it came not long ago.
    pub fn has(&self, write: u64) -> bool {
        self.0.lock().iter().any(|set| set.contains(&write))
    }
}

/// A write is told by its stamp, which is one of its partition, and its key.
pub(super) fn write_of(database: DatabaseId, effect: &Effect<'_>, stamp: Stamp) -> u64 {
    let seed = stamp.version.0 ^ u64::from(stamp.actor.0).rotate_left(48);
    let key = effect.key().unwrap_or_default();
    xxh3_64_with_seed(key, seed).wrapping_add(u64::from(database.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_remembered_for_a_while() {
        let spread = Spread::default();
        let all: Vec<u64> = (0..3 * KEPT as u64).collect();
        spread.note(&all);
        let last = all.len() as u64 - 1;
        assert!(spread.has(last) && spread.has(last - KEPT as u64 + 1));
        assert!(!spread.has(0) && !spread.has(last + 1));
    }
}
