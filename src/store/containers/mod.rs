//! Ordered and packed containers for the elements of collections. Pure data structures: no keys, no effects,
//! no stamps beyond ten bytes that are kept with an element.
//!
//! | container | for |
//! | --- | --- |
//! | [`SortedSet`] | elements found by hash and by order of score |
//! | [`Sequence`] | elements in the order of a key of theirs: lists, streams |
//! | [`Packed`] | few small elements in one byte buffer |
//!
//! The first two share one mechanism, the [`CountedTree`]. All report the memory they take as the allocator
//! counts it, without what their elements point to.

mod chunked;
mod counted_tree;
mod packed;
mod score_index;
mod sequence;
mod sorted_set;

pub use chunked::Chunked;
pub use counted_tree::{CountedTree, Keyed, Range};
pub use packed::{Element, Packed, PackedView, STAMP_BYTES};
pub use score_index::{Bound, Members, ScoreIndex};
pub use sequence::Sequence;
pub use sorted_set::{Scored, SortedSet};

use super::size_class::size_class;

/// Memory of a vector's buffer, in bytes.
fn buffer_bytes<T>(vector: &Vec<T>) -> usize {
    size_class(vector.capacity() * size_of::<T>())
}

/// Makes room for `more` elements in a vector, and no more than fills the allocation.
fn reserve_to_class<T>(vector: &mut Vec<T>, more: usize) {
    let length = vector.len() + more;
    if length > vector.capacity() {
        let fits = size_class(length * size_of::<T>()) / size_of::<T>();
        vector.reserve_exact(fits - vector.len());
    }
}

/// Gives back what a vector has grown out of, once that is more than half.
fn give_back<T>(vector: &mut Vec<T>) {
    if vector.len() * 2 < vector.capacity() {
        let fits = size_class(vector.len() * size_of::<T>()) / size_of::<T>();
        vector.shrink_to(fits);
    }
}
