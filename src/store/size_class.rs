//! What an allocation really costs.

/// The allocator's size class of an allocation, in bytes: jemalloc's spacing, four classes for each doubling.
///
/// Accounting by classes instead of requested bytes keeps `maxmemory` true to the process' memory; a test
/// compares the sum with the allocator's own figure.
pub fn size_class(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        _ => {
            let doubling = (bytes - 1).ilog2();
            bytes.next_multiple_of(1 << (doubling - 2))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn follows_jemalloc() {
        for (bytes, class) in [
            (1, 8),
            (8, 8),
            (9, 16),
            (63, 64),
            (65, 80),
            (128, 128),
            (129, 160),
            (160, 160),
        ] {
            assert_eq!(size_class(bytes), class, "{bytes}");
        }
        for (bytes, class) in [
            (257, 320),
            (1024, 1024),
            (1025, 1280),
            (14337, 16384),
            (16385, 20480),
        ] {
            assert_eq!(size_class(bytes), class, "{bytes}");
        }
    }
}
