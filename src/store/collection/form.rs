//! Either form of a collection, to read it.

use std::ops::Range;

use super::{Collection, Extent, Small};
use crate::effect::Kind;
use crate::store::entry::Entry;

/// See the module.
#[derive(Clone, Copy)]
pub enum Form<'a> {
    /// Packed, inline in the entry.
    Small(Small<'a>),
    /// An object of its own.
    Object(&'a Collection),
}

impl<'a> Form<'a> {
    /// What it is.
    pub fn kind(self) -> Kind {
        match self {
            Form::Small(small) => small.kind(),
            Form::Object(collection) => collection.kind(),
        }
    }

    /// Number of elements that clients see.
    pub fn len(self) -> usize {
        match self {
            Form::Small(small) => small.len(),
            Form::Object(collection) => collection.len(),
        }
    }

    /// See [`Extent`].
    pub fn extent(self) -> Extent {
        match self {
            Form::Small(small) => small.extent(),
            Form::Object(collection) => collection.extent(),
        }
    }

    /// The value of an element.
    pub fn get(self, element: &[u8]) -> Option<&'a [u8]> {
        match self {
            Form::Small(small) => small.get(element),
            Form::Object(collection) => collection.get(element),
        }
    }

    fn small(self) -> Option<Small<'a>> {
        match self {
            Form::Small(small) => Some(small),
            Form::Object(_) => None,
        }
    }

    /// The collection, if it is an object of its own.
    pub fn object(self) -> Option<&'a Collection> {
        match self {
            Form::Small(_) => None,
            Form::Object(collection) => Some(collection),
        }
    }

    /// Elements with their values: of lists and streams in order, of others in none.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let small = self.small().into_iter().flat_map(Small::iter);
        small.chain(self.object().into_iter().flat_map(Collection::iter))
    }

    /// Those of a range, if it is small; else none.
    pub fn few(self, indices: Range<usize>) -> Vec<(&'a [u8], &'a [u8])> {
        let small = self.small().into_iter().flat_map(Small::iter);
        small.skip(indices.start).take(indices.len()).collect()
    }

    /// Walks a table in order of position; see `Table::scan`. A small collection is one step.
    pub fn scan(
        self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> Option<u64> {
        match self {
            Form::Small(small) => {
                small.iter().for_each(|(name, value)| visit(name, value));
                None
            }
            Form::Object(collection) => {
                let visit = |entry: &Entry| visit(entry.key(), entry.value());
                collection.elements.scan(cursor, count, visit)
            }
        }
    }

    /// Visits up to `count` elements near a random point; at least one if there is any.
    pub fn sample(self, random: u64, count: usize, mut visit: impl FnMut(&[u8], &[u8])) {
        match self {
            Form::Small(small) => small.sample(random, count, visit),
            Form::Object(collection) => {
                let visit = |entry: &Entry| visit(entry.key(), entry.value());
                collection.elements.sample(random, count, visit);
            }
        }
    }
}
