//! How far a group has come: how many of all entries that were ever added it has read, as far as that can be told.
//!
//! Entries have numbers, in the order they were added. Numbers of entries are not kept: they follow from what was added
//! in all, what is there now, and that nothing was deleted in between.

use crate::store::{GroupState, StreamId, StreamMark, StreamView};

/// What is known of a stream's entries and of those that are gone.
pub struct Progress {
    mark: StreamMark,
    length: u64,
    first: StreamId,
}

impl Progress {
    /// Of a stream.
    pub fn of(stream: StreamView<'_>) -> Self {
        Progress {
            mark: stream.mark(),
            length: stream.len() as u64,
            first: stream.first().map_or(StreamId::MIN, |(id, _)| id),
        }
    }

    /// Whether an entry at or behind this one may have been deleted.
    fn has_gaps_from(&self, id: StreamId) -> bool {
        let deleted = self.mark.max_deleted_id;
        let is_before_all = deleted == StreamId::MIN || deleted < self.first;
        self.length > 0 && !is_before_all && id <= deleted
    }

    /// The number of the entry with an id, if it can be told.
    fn number_of(&self, id: StreamId) -> Option<u64> {
        let StreamMark {
            last_id,
            entries_added: added,
            max_deleted_id: deleted,
        } = self.mark;
        if added == 0 {
            return Some(0);
        }
        if self.length == 0 && id <= last_id || id == last_id {
            return Some(added);
        }
        if id > last_id {
            return None;
        }
        let is_whole = deleted == StreamId::MIN || deleted < self.first;
        match id.cmp(&self.first) {
            std::cmp::Ordering::Less if is_whole => Some(added.wrapping_sub(self.length)),
            std::cmp::Ordering::Equal if is_whole => Some(added.wrapping_sub(self.length) + 1),
            _ => None,
        }
    }

    /// A group is given an entry that is behind all it was given before.
    pub fn advance(&self, state: &mut GroupState, id: StreamId) {
        match state.entries_read {
            Some(read) if !self.has_gaps_from(id) => state.entries_read = Some(read + 1),
            _ if self.mark.entries_added > 0 => state.entries_read = self.number_of(id),
            _ => {}
        }
        state.last_delivered = id;
    }

    /// How many entries a group has not read yet, if that can be told.
    pub fn lag(&self, state: GroupState) -> Option<i64> {
        let added = self.mark.entries_added;
        if added == 0 {
            return Some(0);
        }
        let read = match state.entries_read {
            Some(read) if !self.has_gaps_from(state.last_delivered) => read,
            _ => self.number_of(state.last_delivered)?,
        };
        Some(added.wrapping_sub(read) as i64)
    }
}
