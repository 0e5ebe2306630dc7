//! `HSCAN`, `SSCAN`, `ZSCAN`: the elements of a collection, a few with each call.

use coterie_protocol::text::parse_i64;
use coterie_protocol::{ReplyWriter, Request};

use super::DEFAULT_COUNT;
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
    let (count, pattern) = parse_options(request)?;
    let mut found = Vec::new();
    let mut writer = ReplyWriter::new(&mut found, reply.version());
    let mut length = 0;
    let next = walk(count, &mut |parts| {
        let name = parts.first().copied().unwrap_or_default();
        if pattern.is_none_or(|pattern| glob::matches(pattern, name, Case::Sensitive)) {
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

/// `COUNT` and `MATCH`; no pattern where every field matches.
fn parse_options(request: Request<'_>) -> Result<(usize, Option<&[u8]>), CommandError> {
    let (mut count, mut pattern) = (DEFAULT_COUNT, None);
    let mut words = request.iter().skip(3);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(CommandError::Syntax)?;
        if word.eq_ignore_ascii_case(b"count") {
            let number = parse_i64(value).ok_or(CommandError::NotInteger)?;
            if number < 1 {
                return Err(CommandError::Syntax);
            }
            count = usize::try_from(number).unwrap_or(usize::MAX);
        } else if word.eq_ignore_ascii_case(b"match") {
            pattern = (value != b"*").then_some(value);
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok((count, pattern))
}
