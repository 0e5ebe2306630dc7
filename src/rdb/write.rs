//! Writes values, as Redis 7.0 would.

use coterie_protocol::text::{format_double, parse_i64};

use super::listpack::Builder;
use super::older::encode_intset;
use super::{kinds, lzf, sign, stream};
use crate::effect::Kind;
use crate::store::{Entry, HashView, ListView, SetView, SortedSetView};

/// How large Redis lets a node of a list become, unless it is told otherwise, in bytes.
const NODE_BYTES_MAX: usize = 8192;
/// A listpack that may become larger than this is not made: its lengths have 32 bits.
const PACK_BYTES_MAX: usize = 1 << 30;
/// Most that an element takes in a listpack besides its bytes.
const ITEM_BYTES: usize = 10;
/// Longest text that is looked at for an integer.
const INTEGER_BYTES_MAX: usize = 11;
/// Longest text that is not compressed.
const SHORT_BYTES: usize = 20;
/// A node of a list that is one value…
const PLAIN: u64 = 1;
/// … and one that is a listpack.
const PACKED: u64 = 2;

/// A key's value with its footer. `is_compact` tells whether Redis would hold a hash or sorted set as a listpack, a set as
/// sorted integers.
pub fn encode(entry: &Entry, is_compact: bool) -> Vec<u8> {
    let mut out = Vec::new();
    match entry.kind() {
        Kind::String => {
            out.push(kinds::STRING);
            put_string(entry.value(), &mut out);
        }
        Kind::List => entry
            .list()
            .into_iter()
            .for_each(|list| put_list(list, &mut out)),
        Kind::Set => (entry.set().into_iter()).for_each(|set| put_set(set, is_compact, &mut out)),
        Kind::Hash => {
            (entry.hash().into_iter()).for_each(|hash| put_hash(hash, is_compact, &mut out));
        }
        Kind::SortedSet => {
            let set = entry.sorted_set().into_iter();
            set.for_each(|set| put_sorted_set(set, is_compact, &mut out));
        }
        Kind::Stream => {
            out.push(kinds::STREAM_LISTPACKS_2);
            (entry.stream().into_iter()).for_each(|stream| stream::encode(stream, &mut out));
        }
    }
    sign(out)
}

/// Appends a number in as few bytes as there are for it.
pub fn put_number(number: u64, out: &mut Vec<u8>) {
    match number {
        0..64 => out.push(number as u8),
        64..0x4000 => out.extend_from_slice(&(number as u16 | 0x4000).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Appends a string: as an integer, compressed, or as it is.
pub fn put_string(text: &[u8], out: &mut Vec<u8>) {
    if text.len() <= INTEGER_BYTES_MAX
        && let Some(number) = parse_i64(text).and_then(|number| i32::try_from(number).ok())
    {
        return put_integer(number, out);
    }
    if text.len() > SHORT_BYTES
        && let Some(compressed) = lzf::compress(text)
    {
        out.push(0xc3);
        put_number(compressed.len() as u64, out);
        put_number(text.len() as u64, out);
        out.extend_from_slice(&compressed);
        return;
    }
    put_number(text.len() as u64, out);
    out.extend_from_slice(text);
}

fn put_integer(number: i32, out: &mut Vec<u8>) {
    let bytes = number.to_le_bytes();
    let (encoding, length) = match number {
        -0x80..0x80 => (0xc0, 1),
        -0x8000..0x8000 => (0xc1, 2),
        _ => (0xc2, 4),
    };
    out.push(encoding);
    out.extend_from_slice(&bytes[..length]);
}

fn put_list(list: ListView<'_>, out: &mut Vec<u8>) {
    let mut nodes: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut pack = Builder::new();
    for value in list.iter() {
        let is_full = pack.len() + value.len() + ITEM_BYTES > NODE_BYTES_MAX;
        if is_full && !pack.is_empty() {
            let full = std::mem::replace(&mut pack, Builder::new());
            nodes.push((PACKED, full.finish()));
        }
        if value.len() >= PACK_BYTES_MAX {
            nodes.push((PLAIN, value.to_vec()));
        } else {
            pack.push(value);
        }
    }
    if !pack.is_empty() {
        nodes.push((PACKED, pack.finish()));
    }
    out.push(kinds::LIST_QUICKLIST_2);
    put_number(nodes.len() as u64, out);
    for (container, node) in nodes {
        put_number(container, out);
        put_string(&node, out);
    }
}

/// Whether so many texts of at most this length are for a listpack.
fn fits(count: usize, longest: usize) -> bool {
    count.saturating_mul(longest.saturating_add(ITEM_BYTES)) < PACK_BYTES_MAX
}

fn put_set(set: SetView<'_>, is_compact: bool, out: &mut Vec<u8>) {
    let integers: Option<Vec<i64>> = (is_compact && fits(set.len(), ITEM_BYTES))
        .then(|| set.iter().map(parse_i64).collect())
        .flatten();
    if let Some(mut integers) = integers {
        integers.sort_unstable();
        out.push(kinds::SET_INTSET);
        return put_string(&encode_intset(&integers), out);
    }
    out.push(kinds::SET);
    put_number(set.len() as u64, out);
    set.iter().for_each(|member| put_string(member, out));
}

fn put_hash(hash: HashView<'_>, is_compact: bool, out: &mut Vec<u8>) {
    if is_compact && fits(2 * hash.len(), hash.longest_bytes()) {
        let mut pack = Builder::new();
        for (field, value) in hash.iter() {
            pack.push(field);
            pack.push(value);
        }
        out.push(kinds::HASH_LISTPACK);
        return put_string(&pack.finish(), out);
    }
    out.push(kinds::HASH);
    put_number(hash.len() as u64, out);
    for (field, value) in hash.iter() {
        put_string(field, out);
        put_string(value, out);
    }
}

fn put_sorted_set(set: SortedSetView<'_>, is_compact: bool, out: &mut Vec<u8>) {
    if is_compact && fits(2 * set.len(), set.longest_bytes().max(32)) {
        let mut pack = Builder::new();
        let mut text = Vec::new();
        for (member, score) in set.iter() {
            pack.push(member);
            text.clear();
            format_double(score, &mut text);
            pack.push(&text);
        }
        out.push(kinds::SORTED_SET_LISTPACK);
        return put_string(&pack.finish(), out);
    }
    out.push(kinds::SORTED_SET_2);
    put_number(set.len() as u64, out);
    // The highest first, as Redis does: whoever reads it inserts at the beginning, which is quick.
    for (member, score) in set.iter().rev() {
        put_string(member, out);
        out.extend_from_slice(&score.to_le_bytes());
    }
}
