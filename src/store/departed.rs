//! Keys that expired and were removed, until it is told.

use std::sync::atomic::{AtomicBool, Ordering};

use coterie_protocol::{DatabaseId, PartitionId};
use parking_lot::Mutex;

/// A key that is gone, or of which something is.
pub type DepartedKey = (PartitionId, DatabaseId, Box<[u8]>, Departure);

/// What of a key has expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Departure {
    /// The key itself.
    Key,
    /// Fields of it, a hash.
    Fields,
    /// The last field of it, and so the key is gone.
    LastField,
}

/// See the module. Partitions note such keys only while that is wanted.
#[derive(Default)]
pub struct Departed {
    wanted: AtomicBool,
    any: AtomicBool,
    keys: Mutex<Vec<DepartedKey>>,
}

impl Departed {
    /// Whether they are noted.
    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Says whether they are to be noted.
    pub fn set_wanted(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Adds those that a partition noted.
    pub(super) fn add(
        &self,
        partition: PartitionId,
        keys: Vec<(DatabaseId, Box<[u8]>, Departure)>,
    ) {
        let keys = keys
            .into_iter()
            .map(|(database, key, what)| (partition, database, key, what));
        self.keys.lock().extend(keys);
        self.any.store(true, Ordering::Release);
    }

    /// Takes all of them.
    #[inline]
    pub fn take(&self) -> Vec<DepartedKey> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut keys = self.keys.lock();
        self.any.store(false, Ordering::Relaxed);
        std::mem::take(&mut keys)
    }
}
