//! Ids and entries as they are answered.

use coterie_protocol::{ReplyWriter, RespVersion};
use smallvec::SmallVec;

use crate::store::{StreamId, decode_fields};

/// Writes an id.
pub fn write_id(reply: &mut ReplyWriter<'_>, id: StreamId) {
    let mut text: SmallVec<[u8; 48]> = SmallVec::new();
    let mut digits = itoa::Buffer::new();
    text.extend_from_slice(digits.format(id.ms).as_bytes());
    text.push(b'-');
    text.extend_from_slice(digits.format(id.sequence).as_bytes());
    reply.bulk(&text);
}

/// Writes an entry: its id, and its fields and values.
pub fn write_entry(reply: &mut ReplyWriter<'_>, (id, fields): (StreamId, &[u8])) {
    reply.array(2);
    write_id(reply, id);
    let fields = decode_fields(fields);
    reply.array(fields.clone().count());
    fields.for_each(|text| reply.bulk(text));
}

/// Writes entries.
pub fn write_entries<'a>(
    reply: &mut ReplyWriter<'_>,
    entries: impl Iterator<Item = (StreamId, &'a [u8])>,
) {
    let mark = reply.begin_array();
    let mut count = 0;
    for entry in entries {
        write_entry(reply, entry);
        count += 1;
    }
    reply.end_array(mark, count);
}

/// Writes, for some streams, their keys and what `write` writes: in RESP2 as pairs, in RESP3 as a map. `write` is
/// called for each index, tells whether there is something, and writes key and entries then. Returns whether there
/// was anything; if not, nothing is written.
pub fn write_streams<E>(
    reply: &mut ReplyWriter<'_>,
    indices: std::ops::Range<usize>,
    mut write: impl FnMut(&mut ReplyWriter<'_>, usize) -> Result<bool, E>,
) -> Result<bool, E> {
    let start = reply.mark();
    let is_map = reply.version() == RespVersion::Resp3;
    let mark = if is_map {
        reply.begin_map()
    } else {
        reply.begin_array()
    };
    let mut count = 0;
    for index in indices {
        let before = reply.mark();
        if !is_map {
            reply.array(2);
        }
        if write(reply, index)? {
            count += 1;
        } else {
            reply.truncate_to(before);
        }
    }
    match (count, is_map) {
        (0, _) => reply.truncate_to(start),
        (_, true) => reply.end_map(mark, count),
        (_, false) => reply.end_array(mark, count),
    }
    Ok(count > 0)
}
