//! A vector in chunks, which grows without moving what it holds.

use super::{buffer_bytes, reserve_to_class};

/// Elements in a chunk.
const CHUNK: usize = 1024;

/// Elements by number. All numbers below the length are taken: whoever removes one gives its number to the
/// last. Adding and removing are O(1) without a pause, and memory follows the length.
pub struct Chunked<T> {
    /// All but the last are full, and none is empty.
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Chunked { chunks: Vec::new() }
    }
}

impl<T> Chunked<T> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        let last = self.chunks.last().map_or(0, Vec::len);
        self.chunks.len().saturating_sub(1) * CHUNK + last
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The element with a number.
    pub fn get(&self, number: usize) -> Option<&T> {
        self.chunks.get(number / CHUNK)?.get(number % CHUNK)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }

    /// Adds an element, whose number is what the length was.
    pub fn push(&mut self, element: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => {
                if last.len() == last.capacity() {
                    reserve_to_class(last, 1);
                }
                last.push(element);
            }
            _ => {
                // The first grows as needed; who has filled one will need all of the next.
                let mut chunk = Vec::new();
                if !self.chunks.is_empty() {
                    chunk.reserve_exact(CHUNK);
                }
                chunk.push(element);
                self.chunks.push(chunk);
            }
        }
    }

    /// Takes out the element with a number, and gives the number to the last.
    pub fn swap_remove(&mut self, number: usize) -> Option<T> {
        if number >= self.len() {
            return None;
        }
        let last_chunk = self.chunks.last_mut()?;
        let last = last_chunk.pop()?;
        if last_chunk.is_empty() {
            self.chunks.pop();
            if self.chunks.len() * 4 < self.chunks.capacity() {
                self.chunks.shrink_to(self.chunks.len() * 2);
            }
        } else if self.chunks.len() == 1 {
            super::give_back(&mut self.chunks[0]);
        }
        match self.get_mut(number) {
            Some(element) => Some(std::mem::replace(element, last)),
            None => Some(last),
        }
    }

    /// All elements in order of number.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// All elements, taken out in order of number.
    pub fn into_elements(self) -> impl Iterator<Item = T> {
        self.chunks.into_iter().flatten()
    }

    /// Memory of all chunks, in bytes, without what the elements point to. O(1).
    pub fn allocated_bytes(&self) -> usize {
        let full = match &self.chunks[..] {
            [] => 0,
            [first, .., last] => {
                buffer_bytes(first)
                    + (self.chunks.len() - 2) * buffer_bytes(last)
                    + buffer_bytes(last)
            }
            [only] => buffer_bytes(only),
        };
        buffer_bytes(&self.chunks) + full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_a_vector(edits in prop::collection::vec((0u8..5, any::<u32>()), 0..6000)) {
            let mut chunked = Chunked::default();
            let mut model = Vec::new();
            let mut grows = true;
            for (n, (kind, number)) in edits.into_iter().enumerate() {
                // Two thirds grow it, the rest shrinks it, so that it passes chunks both ways.
                grows &= n < 4000;
                if (kind < 4) == grows {
                    chunked.push(number);
                    model.push(number);
                } else if !model.is_empty() {
                    let at = number as usize % model.len();
                    prop_assert_eq!(chunked.swap_remove(at), Some(model.swap_remove(at)));
                }
                prop_assert_eq!(chunked.len(), model.len());
            }
            prop_assert_eq!(chunked.swap_remove(model.len()), None);
            prop_assert!(chunked.iter().eq(model.iter()));
            prop_assert!((0..model.len()).all(|at| chunked.get(at) == model.get(at)));
            let chunks: usize = chunked.chunks.iter().map(buffer_bytes).sum();
            prop_assert_eq!(chunked.allocated_bytes(), chunks + buffer_bytes(&chunked.chunks));
            prop_assert!(chunked.into_elements().eq(model));
        }
    }
}
