//! Streams: listpacks of entries by the first one's id, what the stream remembers, and its groups.
//!
//! A listpack begins with a master entry: how many entries it has and how many that are deleted, the fields of the first
//! one, and 0. Each entry has flags, the distance of its id from the first one's, its fields unless they are the master's,
//! its values, and how many elements it has.

use std::collections::{BTreeMap, BTreeSet};

use super::listpack::{Builder, Item, Listpack};
use super::reader::{DecodeError, Read, Reader};
use super::write::{put_number, put_string};
use super::{Pairs, Value};
use crate::effect::Kind;
use crate::store::{
    Attribute, ConsumerState, Group, GroupState, PendingState, StreamId, StreamMark, StreamView,
    decode_fields, encode_fields,
};

/// Flags of an entry.
const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;
/// How large Redis lets a listpack of entries become, unless it is told otherwise.
const NODE_ENTRIES_MAX: usize = 100;
const NODE_BYTES_MAX: usize = 4096;
/// Said of a group of which it is not known how many entries it has read.
const UNKNOWN: u64 = u64::MAX;

fn expect(is_right: bool) -> Read<()> {
    if is_right {
        Ok(())
    } else {
        Err(DecodeError::Malformed)
    }
}

/// A count or time that commands can calculate with.
fn signed(number: u64) -> Read<u64> {
    expect(i64::try_from(number).is_ok())?;
    Ok(number)
}

fn id(reader: &mut Reader<'_>) -> Read<StreamId> {
    Ok(StreamId::new(reader.number()?, reader.number()?))
}

/// Milliseconds, as they are written: none are before 1970.
fn time(reader: &mut Reader<'_>) -> Read<u64> {
    Ok(i64::from_le_bytes(reader.array()?).max(0) as u64)
}

/// A stream, of version 2 or 1.
pub fn decode(reader: &mut Reader<'_>, is_second: bool) -> Read<Value> {
    let mut elements = Pairs::new();
    let mut last = StreamId::MIN;
    for _ in 0..reader.count()? {
        let first = reader.string()?;
        expect(first.len() == 16)?;
        let first = StreamId::from_bytes(&first);
        let node = reader.string()?;
        let before = elements.len();
        let mut pack = Entries::new(&node, first)?;
        while let Some((id, fields)) = pack.next(reader)? {
            expect(id > last)?;
            last = id;
            elements.push((id.to_bytes().to_vec(), fields));
        }
        // Redis drops a listpack with its last entry.
        expect(elements.len() > before)?;
    }
    let length = reader.number()?;
    expect(length == 0 || !elements.is_empty())?;
    let mut mark = StreamMark {
        last_id: id(reader)?,
        ..StreamMark::default()
    };
    if is_second {
        id(reader)?; // Of the first entry.
        mark.max_deleted_id = id(reader)?;
        mark.entries_added = signed(reader.number()?)?;
    } else {
        mark.entries_added = elements.len() as u64;
    }
    expect(mark.last_id >= last)?;
    let name = Attribute::Mark.encode();
    let mut attributes = vec![(name, mark.encode())];
    let first = elements.first().map(|(id, _)| StreamId::from_bytes(id));
    let read = |delivered| read_so_far(&mark, elements.len() as u64, first, delivered);
    let mut names = BTreeSet::new();
    for _ in 0..reader.count()? {
        let name = reader.string()?;
        expect(names.insert(name.clone()))?;
        let last_delivered = id(reader)?;
        let entries_read = match is_second {
            true => Some(reader.number()?).filter(|read| *read != UNKNOWN),
            false => read(last_delivered),
        };
        entries_read.map(signed).transpose()?;
        let state = GroupState {
            last_delivered,
            entries_read,
        };
        group(reader, &name, state, &mut attributes)?;
    }
    Ok(Value::Elements {
        kind: Kind::Stream,
        elements,
        attributes,
    })
}

/// How many of the entries ever added a group has read that is at this one; `None` if that can't be told. Version 1
/// doesn't say, and Redis works it out like this.
fn read_so_far(
    mark: &StreamMark,
    length: u64,
    first: Option<StreamId>,
    delivered: StreamId,
) -> Option<u64> {
    let added = mark.entries_added;
    if added == 0 {
        return Some(0);
    }
    let first = first?;
    if delivered == mark.last_id {
        return Some(added);
    }
    match delivered.cmp(&first) {
        std::cmp::Ordering::Less => Some(added - length),
        std::cmp::Ordering::Equal => Some(added - length + 1),
        std::cmp::Ordering::Greater => None,
    }
}

/// A group behind its name and state: pending entries, then consumers and which of them are theirs.
fn group(
    reader: &mut Reader<'_>,
    name: &[u8],
    state: GroupState,
    attributes: &mut Pairs,
) -> Read<()> {
    let mut add = |reader: &mut Reader<'_>, attribute: Attribute<'_>, value: Vec<u8>| {
        reader.charge_element(name.len() + 32 + value.len())?;
        attributes.push((attribute.encode(), value));
        Ok(())
    };
    add(reader, Attribute::Group(name), state.encode())?;
    let mut pending = BTreeMap::new();
    for _ in 0..reader.count()? {
        let id = StreamId::from_bytes(&reader.array::<16>()?);
        let delivered_ms = time(reader)?;
        let deliveries = signed(reader.number()?)?;
        expect(pending.insert(id, (delivered_ms, deliveries)).is_none())?;
    }
    let mut names = BTreeSet::new();
    for _ in 0..reader.count()? {
        let consumer = reader.string()?;
        expect(names.insert(consumer.clone()))?;
        let seen_ms = time(reader)?;
        // Redis 7.0 knows no other time of a consumer.
        let active_ms = seen_ms;
        let state = ConsumerState { seen_ms, active_ms };
        reader.charge(consumer.len())?;
        add(reader, Attribute::Consumer(name, &consumer), state.encode())?;
        for _ in 0..reader.count()? {
            let id = StreamId::from_bytes(&reader.array::<16>()?);
            let (delivered_ms, deliveries) = pending.remove(&id).ok_or(DecodeError::Malformed)?;
            reader.charge(consumer.len())?;
            let state = PendingState {
                consumer: &consumer,
                delivered_ms,
                deliveries,
            };
            add(reader, Attribute::Pending(name, id), state.encode())?;
        }
    }
    // Whatever is pending is somebody's.
    expect(pending.is_empty())
}

/// The entries of a listpack.
struct Entries<'a> {
    pack: Listpack<'a>,
    first: StreamId,
    left: i64,
    deleted: i64,
    fields: Vec<Item<'a>>,
}

impl<'a> Entries<'a> {
    fn new(bytes: &'a [u8], first: StreamId) -> Read<Self> {
        let mut pack = Listpack::new(bytes)?;
        let (count, deleted) = (pack.number()?, pack.number()?);
        expect(count >= 0 && deleted >= 0)?;
        let mut fields = Vec::new();
        for _ in 0..pack.number()? {
            fields.push(pack.item()?);
        }
        expect(pack.number()? == 0)?;
        Ok(Entries {
            pack,
            first,
            left: count.checked_add(deleted).ok_or(DecodeError::Malformed)?,
            deleted,
            fields,
        })
    }

    /// The next entry that is not deleted, and its encoded fields.
    fn next(&mut self, reader: &mut Reader<'_>) -> Read<Option<(StreamId, Vec<u8>)>> {
        while self.left > 0 {
            self.left -= 1;
            let flags = self.pack.number()?;
            expect(flags & !(DELETED | SAME_FIELDS) == 0)?;
            let ms = self.first.ms.wrapping_add_signed(self.pack.number()?);
            let sequence = self.first.sequence.wrapping_add_signed(self.pack.number()?);
            let fields = self.fields(flags & SAME_FIELDS != 0)?;
            if flags & DELETED != 0 {
                self.deleted -= 1;
                continue;
            }
            let texts = fields.iter().map(|item| item.text());
            let bytes: usize = texts.clone().map(|text| text.len() + 4).sum();
            reader.charge_element(bytes)?;
            let mut encoded = Vec::with_capacity(bytes);
            texts.for_each(|text| encode_fields(std::iter::once(&*text), &mut encoded));
            return Ok(Some((StreamId::new(ms, sequence), encoded)));
        }
        expect(self.pack.next()?.is_none() && self.deleted == 0)?;
        Ok(None)
    }

    /// Fields and values of an entry, of which there is at least one, and the number of elements behind them.
    fn fields(&mut self, are_same: bool) -> Read<Vec<Item<'a>>> {
        let mut fields = Vec::new();
        let elements = if are_same {
            for index in 0..self.fields.len() {
                fields.extend([self.fields[index], self.pack.item()?]);
            }
            self.fields.len() as i64 + 3
        } else {
            let count = self.pack.number()?;
            for _ in 0..count {
                fields.extend([self.pack.item()?, self.pack.item()?]);
            }
            count.saturating_mul(2).saturating_add(4)
        };
        expect(!fields.is_empty() && self.pack.number()? == elements)?;
        Ok(fields)
    }
}

/// Appends a stream, in version 2.
pub fn encode(stream: StreamView<'_>, out: &mut Vec<u8>) {
    let nodes = nodes(stream);
    put_number(nodes.len() as u64, out);
    for (first, node) in nodes {
        put_string(&first.to_bytes(), out);
        put_string(&node, out);
    }
    let mark = stream.mark();
    put_number(stream.len() as u64, out);
    put_id(mark.last_id, out);
    put_id(stream.first().map_or(StreamId::MIN, |(id, _)| id), out);
    put_id(mark.max_deleted_id, out);
    put_number(mark.entries_added, out);
    put_number(stream.groups().count() as u64, out);
    for (name, group) in stream.groups() {
        put_string(name, out);
        let state = group.state();
        put_id(state.last_delivered, out);
        put_number(state.entries_read.unwrap_or(UNKNOWN), out);
        encode_group(group, out);
    }
}

fn put_id(id: StreamId, out: &mut Vec<u8>) {
    put_number(id.ms, out);
    put_number(id.sequence, out);
}

fn encode_group(group: &Group, out: &mut Vec<u8>) {
    put_number(group.pending().len() as u64, out);
    // In a cluster something may be pending for a consumer that this replica has not heard of otherwise.
    let mut consumers: BTreeMap<&[u8], (u64, Vec<StreamId>)> = BTreeMap::new();
    for (name, consumer) in group.consumers() {
        consumers.insert(name, (consumer.state().seen_ms, Vec::new()));
    }
    for (id, pending) in group.pending() {
        out.extend_from_slice(&id.to_bytes());
        out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
        put_number(pending.deliveries, out);
        consumers.entry(pending.consumer()).or_default().1.push(*id);
    }
    put_number(consumers.len() as u64, out);
    for (name, (seen_ms, ids)) in consumers {
        put_string(name, out);
        out.extend_from_slice(&seen_ms.to_le_bytes());
        put_number(ids.len() as u64, out);
        for id in ids {
            out.extend_from_slice(&id.to_bytes());
        }
    }
}

/// The entries in listpacks, with the id of the first of each.
fn nodes(stream: StreamView<'_>) -> Vec<(StreamId, Vec<u8>)> {
    let mut nodes = Vec::new();
    let mut entries = stream.range(0..stream.len()).peekable();
    while let Some((first, _)) = entries.peek().copied() {
        let mut node = Vec::new();
        let mut bytes = 0;
        while node.len() < NODE_ENTRIES_MAX && bytes < NODE_BYTES_MAX {
            let Some((id, fields)) = entries.next() else {
                break;
            };
            bytes += fields.len();
            node.push((id, fields));
        }
        nodes.push((first, encode_node(first, &node)));
    }
    nodes
}

fn encode_node(first: StreamId, entries: &[(StreamId, &[u8])]) -> Vec<u8> {
    let mut pack = Builder::new();
    pack.push_number(entries.len() as i64);
    pack.push_number(0);
    let encoded = entries.first().map_or(&b""[..], |(_, fields)| *fields);
    let master: Vec<&[u8]> = decode_fields(encoded).step_by(2).collect();
    pack.push_number(master.len() as i64);
    master.iter().for_each(|field| pack.push(field));
    pack.push_number(0);
    for (id, fields) in entries {
        let names = decode_fields(fields).step_by(2);
        let are_same = names.eq(master.iter().copied());
        pack.push_number(if are_same { SAME_FIELDS } else { 0 });
        pack.push_number(id.ms.wrapping_sub(first.ms) as i64);
        pack.push_number(id.sequence.wrapping_sub(first.sequence) as i64);
        if are_same {
            (decode_fields(fields).skip(1).step_by(2)).for_each(|value| pack.push(value));
            pack.push_number(master.len() as i64 + 3);
        } else {
            let count = decode_fields(fields).count() / 2;
            pack.push_number(count as i64);
            decode_fields(fields).for_each(|text| pack.push(text));
            pack.push_number(2 * count as i64 + 4);
        }
    }
    pack.finish()
}
