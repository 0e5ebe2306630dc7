//! `HSCAN`, `SSCAN`, `ZSCAN`: the elements of a collection, a few with each call.

use coterie_protocol::{ReplyWriter, Request};

use super::ScanOptions;
use crate::commands::{CommandError, CommandResult};
use crate::glob::{self, Case};
use crate::store::POSITION_BITS;

/// A cursor that no call ever gave is somewhere.
const CURSOR_MASK: u64 = (1 << POSITION_BITS) - 1;

/// The cursor of such a command.
pub fn element_cursor(request: Request<'_>) -> Result<u64, CommandError> {
    Ok(super::parse_cursor(request.arg(2))? & CURSOR_MASK)
}

/// Answers with what a walk visits: called with the number of elements to visit at least, it visits an element with
/// what is answered with it, and returns where to go on. `None` for a collection that is not there.
pub fn elements<W>(
    request: Request<'_>,
    reply: &mut ReplyWriter<'_>,
    walk: Option<W>,
) -> CommandResult
where
    W: FnOnce(usize, &mut dyn FnMut(&[&[u8]])) -> Option<u64>,
{
    let Some(walk) = walk else {
        // Redis does not even look at the options then.
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(request, 3, false)?;
    let mut found = Vec::new();
    let mut writer = ReplyWriter::new(&mut found, reply.version());
    let mut length = 0;
    let next = walk(options.count, &mut |parts| {
        let name = parts.first().copied().unwrap_or_default();
        if options
            .pattern
            .is_none_or(|pattern| glob::matches(pattern, name, Case::Sensitive))
        {
            parts.iter().for_each(|part| writer.bulk(part));
            length += parts.len();
        }
    });
    reply.array(2);
    reply.bulk_display(next.unwrap_or(0));
    reply.array(length);
    reply.raw(&found);
    Ok(())
}
