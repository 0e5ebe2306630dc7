//! `HSCAN`: the fields of a hash, a few with each call.

use coterie_protocol::ReplyWriter;

use super::hash_of;
use crate::commands::scan::{ScanOptions, parse_cursor};
use crate::commands::value::is_compact;
use crate::commands::{Call, CommandResult};
use crate::glob::{self, Case};
use crate::store::POSITION_BITS;

/// A cursor that no call ever gave is somewhere.
const CURSOR_MASK: u64 = (1 << POSITION_BITS) - 1;

/// `HSCAN`
pub fn hscan(call: &mut Call<'_, '_>) -> CommandResult {
    let cursor = parse_cursor(call.request.arg(2))?;
    let entry = call.transaction.get(call.database, call.request.arg(1));
    let Some(hash) = hash_of(entry)? else {
        // Redis does not even look at the options then.
        call.reply.array(2);
        call.reply.bulk(b"0");
        call.reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(call.request, 3, false)?;
    let mut elements = Vec::new();
    let mut writer = ReplyWriter::new(&mut elements, call.reply.version());
    let mut found = 0;
    let mut visit = |field: &[u8], value: &[u8]| {
        if options
            .pattern
            .is_none_or(|pattern| glob::matches(pattern, field, Case::Sensitive))
        {
            writer.bulk(field);
            writer.bulk(value);
            found += 2;
        }
    };
    let next = if is_compact(hash, &call.node.config.load()) {
        // All at once, whatever the cursor, as Redis does with a list pack.
        hash.iter().for_each(|(field, value)| visit(field, value));
        None
    } else {
        hash.scan(cursor & CURSOR_MASK, options.count, visit)
    };
    call.reply.array(2);
    call.reply.bulk_display(next.unwrap_or(0));
    call.reply.array(found);
    call.reply.raw(&elements);
    Ok(())
}
