//! Fields of hashes that expire.
//!
//! The time is in the field's entry; a hash that has such fields keeps an index of them, earliest first. Others pay
//! nothing. Who looks a hash up takes out what has expired before anything else is done with it.

use std::collections::BTreeSet;

use coterie_protocol::Version;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Collection;
use super::elements::Elements;
use crate::store::entry::Entry;

/// Times and hashes of the fields that expire.
pub(super) type Expiries = BTreeSet<(u64, u64)>;

/// What one of them takes, in bytes: nodes are three quarters full.
const EXPIRY_BYTES: usize = 22;
/// What the index takes besides.
const INDEX_BYTES: usize = 48;

impl Collection {
    fn hash_of(&self, element: &[u8]) -> u64 {
        xxh3_64_with_seed(element, self.seed)
    }

    /// Takes note of when an element expires that was added or changed.
    pub(super) fn note_expiry(&mut self, element: &[u8], expire_at: Option<u64>) {
        if let Some(at) = expire_at {
            let hash = self.hash_of(element);
            self.expiries.get_or_insert_default().insert((at, hash));
        }
    }

    /// Forgets when an element expires that was changed or taken out.
    pub(super) fn forget_expiry(&mut self, element: &[u8], expire_at: Option<u64>) {
        if let Some(at) = expire_at {
            let hash = self.hash_of(element);
            if let Some(expiries) = &mut self.expiries {
                expiries.remove(&(at, hash));
            }
            self.expiries.take_if(|expiries| expiries.is_empty());
        }
    }

    pub(super) fn expiry_bytes(&self) -> usize {
        let expiries = self.expiries.as_ref();
        expiries.map_or(0, |expiries| INDEX_BYTES + EXPIRY_BYTES * expiries.len())
    }

    /// When an element expires that is there.
    pub fn expire_at(&self, element: &[u8]) -> Option<u64> {
        self.expiries.as_ref()?;
        self.elements.find(element)?.expire_at()
    }

    /// Elements with their values, and when they expire.
    pub fn iter_until(&self) -> impl Iterator<Item = (&[u8], &[u8], Option<u64>)> {
        let elements = self.elements.iter();
        elements.map(|entry| (entry.key(), entry.value(), entry.expire_at()))
    }

    /// Whether it has fields that expire.
    pub fn expires(&self) -> bool {
        self.expiries.is_some()
    }

    /// Whether a field's time is over.
    pub fn has_lapsed(&self, now_ms: u64) -> bool {
        let first = self.expiries.as_ref().and_then(|expiries| expiries.first());
        first.is_some_and(|(at, _)| *at < now_ms)
    }

    /// Whether the time of every field is over.
    pub fn is_lapsed(&self, now_ms: u64) -> bool {
        self.expiries.as_ref().is_some_and(|expiries| {
            let last = expiries.last();
            expiries.len() >= self.len() && last.is_some_and(|(at, _)| *at < now_ms)
        })
    }

    /// Takes out at most so many fields whose time is over, and remembers them if it is replicated. Returns how many.
    pub fn lapse(&mut self, now_ms: u64, max: usize) -> usize {
        let mut count = 0;
        while count < max && self.has_lapsed(now_ms) {
            let first = self
                .expiries
                .as_mut()
                .and_then(|expiries| expiries.pop_first());
            self.expiries.take_if(|expiries| expiries.is_empty());
            let (Some((at, hash)), Elements::Table(table)) = (first, &mut self.elements) else {
                debug_assert!(false, "fields of hashes");
                break;
            };
            let is_it = |entry: &Entry| entry.expire_at() == Some(at);
            if let Some(entry) = table.remove(hash, is_it) {
                self.element_bytes -= entry.allocated_bytes();
                if let Some(history) = &mut self.history {
                    history.hide(entry);
                }
                count += 1;
            }
        }
        count
    }

    /// Whether a field is remembered that expired.
    pub fn remembers_lapsed(&self, field: &[u8]) -> bool {
        let history = self.history.as_ref();
        history.is_some_and(|history| history.has_lapsed(field))
    }

    /// Whether all fields that are remembered though they expired have done so at a version on every replica.
    pub fn is_over(&self, horizon: Version) -> bool {
        let history = self.history.as_ref();
        history.is_none_or(|history| history.all_over(horizon))
    }
}
