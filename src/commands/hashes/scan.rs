//! `HSCAN`: the fields of a hash, a few with each call.

use super::hash_of;
use crate::commands::scan::{element_cursor, elements};
use crate::commands::value::is_compact;
use crate::commands::{Call, CommandResult};

/// `HSCAN`
pub fn hscan(call: &mut Call<'_, '_>) -> CommandResult {
    let cursor = element_cursor(call.request)?;
    let config = call.node.config.load();
    let hash = hash_of(call.transaction.get(call.database, call.request.arg(1)))?;
    let walk = hash.map(|hash| {
        move |count, visit: &mut dyn FnMut(&[&[u8]])| {
            if is_compact(hash, &config) {
                // All at once, whatever the cursor, as Redis does with a list pack.
                hash.iter()
                    .for_each(|(field, value)| visit(&[field, value]));
                return None;
            }
            hash.scan(cursor, count, |field, value| visit(&[field, value]))
        }
    });
    elements(call.request, call.reply, walk)
}
