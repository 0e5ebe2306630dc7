//! The nearest known name to a misspelt one.

/// The candidate with the smallest edit distance to `name`, if it is near enough to be a likely typo.
pub(super) fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let tolerance = (name.len() / 3).clamp(1, 4);
    candidates
        .map(|candidate| (distance(name, &candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The edit distance of two names without regard to case, `_` counting as `-`: insertions, deletions, substitutions
/// and swaps of neighbours (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let fold = |text: &str| -> Vec<u8> {
        let bytes = text.bytes().map(|byte| byte.to_ascii_lowercase());
        bytes
            .map(|byte| if byte == b'_' { b'-' } else { byte })
            .collect()
    };
    let (left, right) = (fold(left), fold(right));
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let substitution = last[j] + usize::from(a != b);
            let mut best = substitution.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn counts_edits() {
        assert_eq!(distance("port", "port"), 0);
        assert_eq!(distance("prot", "port"), 1);
        assert_eq!(distance("max_memory", "maxmemory"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn suggests_only_what_is_near() {
        let known = || {
            ["port", "timeout", "maxmemory"]
                .map(str::to_owned)
                .into_iter()
        };
        assert_eq!(nearest("prot", known()).as_deref(), Some("port"));
        assert_eq!(nearest("max-memory", known()).as_deref(), Some("maxmemory"));
        assert_eq!(nearest("replicaof", known()), None);
        assert_eq!(nearest(&"x".repeat(1000), known()), None);
    }
}
