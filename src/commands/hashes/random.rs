//! `HRANDFIELD`: fields taken at random.

use super::hash_of;
use crate::commands::sampling::{Choice, answer};
use crate::commands::{Call, CommandResult};

/// `HRANDFIELD`
pub fn hrandfield(call: &mut Call<'_, '_>) -> CommandResult {
    let choice = Choice::parse(call.request, b"withvalues")?;
    let limit = call.node.config.load().proto_max_bulk_len;
    let entry = call.transaction.get(call.database, call.request.arg(1));
    let hash = hash_of(entry)?;
    answer(call.reply, limit, hash, choice, |reply, value| {
        reply.bulk(value);
    })
}
