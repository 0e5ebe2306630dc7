//! Keys named by elements: `weight_*`, `object_*->field`, or `#` for the element itself.

use coterie_protocol::DatabaseId;

use crate::effect::Kind;
use crate::engine::Transaction;

/// What a pattern finds for an element: a string, or the field of a hash that follows `->`.
pub fn look_up<'t>(
    pattern: &[u8],
    element: &'t [u8],
    database: DatabaseId,
    transaction: &'t Transaction<'_>,
) -> Option<&'t [u8]> {
    if pattern == b"#" {
        return Some(element);
    }
    let star = pattern.iter().position(|byte| *byte == b'*')?;
    let (before, after) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = after.windows(2).position(|pair| pair == b"->");
    let (after, field) = match arrow {
        Some(arrow) if arrow + 2 < after.len() => (&after[..arrow], Some(&after[arrow + 2..])),
        _ => (after, None),
    };
    let key = [before, element, after].concat();
    let entry = transaction.find(database, &key)?;
    match field {
        Some(field) => {
            let hash = entry.hash()?;
            // What is over may still be there: it is taken out when somebody asks for the hash itself.
            let until = hash.expire_at(field);
            let is_over = until.is_some_and(|at| at < transaction.now_ms());
            hash.get(field).filter(|_| !is_over)
        }
        None => (entry.kind() == Kind::String).then(|| entry.value()),
    }
}
