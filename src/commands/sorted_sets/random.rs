//! `ZRANDMEMBER`: members taken at random.

use crate::commands::sampling::{Choice, answer};
use crate::commands::value::sorted_set_of;
use crate::commands::{Call, CommandResult};
use crate::store::Score;

/// `ZRANDMEMBER`
pub fn zrandmember(call: &mut Call<'_, '_>) -> CommandResult {
    let choice = Choice::parse(call.request, b"withscores")?;
    let limit = call.node.config.load().proto_max_bulk_len;
    let set = sorted_set_of(call.transaction.get(call.database, call.request.arg(1)))?;
    answer(call.reply, limit, set, choice, |reply, score| {
        reply.double(Score::decode(score));
    })
}
