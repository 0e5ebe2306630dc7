//! Reads values of every type.

use std::borrow::Cow;
use std::collections::HashSet;

use coterie_protocol::text::parse_f64;

use super::listpack::{Item, Listpack};
use super::older::{intset, ziplist, zipmap};
use super::reader::{DecodeError, Read, Reader};
use super::{Pairs, Value, kinds, stream};
use crate::effect::Kind;
use crate::store::Score;

/// A node of a list that is one value…
const PLAIN: u64 = 1;
/// … and one that is a listpack.
const PACKED: u64 = 2;

/// See [`super::decode`]. The value may take so many bytes in the log.
pub fn decode(bytes: &[u8], budget: usize) -> Read<Value> {
    let mut reader = Reader::new(bytes, budget);
    match reader.byte()? {
        kinds::STRING => {
            let value = reader.string()?;
            reader.charge_element(value.len())?;
            Ok(Value::String(value.into_owned()))
        }
        kind @ (kinds::LIST
        | kinds::LIST_ZIPLIST
        | kinds::LIST_QUICKLIST
        | kinds::LIST_QUICKLIST_2) => list(&mut reader, kind),
        kind @ (kinds::SET | kinds::SET_INTSET) => set(&mut reader, kind),
        kind @ (kinds::SORTED_SET
        | kinds::SORTED_SET_2
        | kinds::SORTED_SET_ZIPLIST
        | kinds::SORTED_SET_LISTPACK) => sorted_set(&mut reader, kind),
        kind @ (kinds::HASH | kinds::HASH_ZIPMAP | kinds::HASH_ZIPLIST | kinds::HASH_LISTPACK) => {
            hash(&mut reader, kind)
        }
        kinds::STREAM_LISTPACKS => stream::decode(&mut reader, false),
        kinds::STREAM_LISTPACKS_2 => stream::decode(&mut reader, true),
        // Those of modules, and what begins no value.
        _ => Err(DecodeError::Malformed),
    }
}

/// Visits the elements of a string that is a listpack.
fn listpack(bytes: &[u8], mut visit: impl FnMut(Item<'_>) -> Read<()>) -> Read<()> {
    let mut pack = Listpack::new(bytes)?;
    while let Some(item) = pack.next()? {
        visit(item)?;
    }
    Ok(())
}

fn list(reader: &mut Reader<'_>, kind: u8) -> Read<Value> {
    let nodes = match kind {
        kinds::LIST_ZIPLIST => 1,
        _ => reader.count()?,
    };
    let mut values = Vec::new();
    let mut add = |reader: &mut Reader<'_>, value: Cow<'_, [u8]>| {
        reader.charge_element(value.len())?;
        values.push(value.into_owned());
        Ok(())
    };
    for _ in 0..nodes {
        let is_plain = match kind {
            kinds::LIST => true,
            kinds::LIST_QUICKLIST_2 => match reader.number()? {
                PLAIN => true,
                PACKED => false,
                _ => return Err(DecodeError::Malformed),
            },
            _ => false,
        };
        let node = reader.string()?;
        if is_plain {
            add(reader, node)?;
        } else if kind == kinds::LIST_QUICKLIST_2 {
            listpack(&node, |item| add(reader, item.text()))?;
        } else {
            ziplist(&node, |item| add(reader, item.text()))?;
        }
    }
    if values.is_empty() {
        return Err(DecodeError::Malformed);
    }
    Ok(Value::List(values))
}

/// Elements that were read so far.
#[derive(Default)]
struct Elements {
    pairs: Pairs,
    /// The first of a pair, until the second is there.
    half: Option<Vec<u8>>,
}

impl Elements {
    fn add(&mut self, reader: &mut Reader<'_>, element: &[u8], value: &[u8]) -> Read<()> {
        reader.charge_element(element.len() + value.len())?;
        self.pairs.push((element.to_vec(), value.to_vec()));
        Ok(())
    }

    /// Takes elements and values in turn; `value_of` makes the value.
    fn alternate(
        &mut self,
        reader: &mut Reader<'_>,
        item: Item<'_>,
        value_of: impl FnOnce(Item<'_>) -> Read<Vec<u8>>,
    ) -> Read<()> {
        match self.half.take() {
            None => {
                reader.charge_element(item.text().len())?;
                self.half = Some(item.text().into_owned());
            }
            Some(element) => {
                let value = value_of(item)?;
                reader.charge(value.len())?;
                self.pairs.push((element, value));
            }
        }
        Ok(())
    }

    /// The whole value, if there is any and no element is there twice.
    fn finish(self, kind: Kind) -> Read<Value> {
        let elements = self.pairs;
        let mut seen = HashSet::with_capacity(elements.len());
        let is_unique = elements.iter().all(|(element, _)| seen.insert(&**element));
        if !is_unique || elements.is_empty() || self.half.is_some() {
            return Err(DecodeError::Malformed);
        }
        let attributes = Pairs::new();
        Ok(Value::Elements {
            kind,
            elements,
            attributes,
        })
    }
}

fn set(reader: &mut Reader<'_>, kind: u8) -> Read<Value> {
    let mut elements = Elements::default();
    if kind == kinds::SET_INTSET {
        let bytes = reader.string()?;
        intset(&bytes, |member| elements.add(reader, &member, b""))?;
    } else {
        for _ in 0..reader.count()? {
            let member = reader.string()?;
            elements.add(reader, &member, b"")?;
        }
    }
    elements.finish(Kind::Set)
}

fn hash(reader: &mut Reader<'_>, kind: u8) -> Read<Value> {
    let mut elements = Elements::default();
    if kind == kinds::HASH {
        for _ in 0..reader.count()? {
            let (field, value) = (reader.string()?, reader.string()?);
            elements.add(reader, &field, &value)?;
        }
        return elements.finish(Kind::Hash);
    }
    let bytes = reader.string()?;
    let mut add =
        |item: Item<'_>| elements.alternate(reader, item, |value| Ok(value.text().into_owned()));
    match kind {
        kinds::HASH_ZIPMAP => zipmap(&bytes, |field, value| {
            add(Item::Text(field))?;
            add(Item::Text(value))
        })?,
        kinds::HASH_ZIPLIST => ziplist(&bytes, add)?,
        _ => listpack(&bytes, add)?,
    }
    elements.finish(Kind::Hash)
}

fn sorted_set(reader: &mut Reader<'_>, kind: u8) -> Read<Value> {
    let mut elements = Elements::default();
    if kind == kinds::SORTED_SET || kind == kinds::SORTED_SET_2 {
        for _ in 0..reader.count()? {
            let member = reader.string()?;
            let score = match kind {
                kinds::SORTED_SET_2 => f64::from_le_bytes(reader.array()?),
                _ => score_text(reader)?,
            };
            elements.add(reader, &member, &encode_score(score)?)?;
        }
        return elements.finish(Kind::SortedSet);
    }
    let bytes = reader.string()?;
    let add = |item: Item<'_>| {
        elements.alternate(reader, item, |score| match score {
            Item::Number(score) => encode_score(score as f64),
            Item::Text(text) => encode_score(parse_f64(text).ok_or(DecodeError::Malformed)?),
        })
    };
    match kind {
        kinds::SORTED_SET_ZIPLIST => ziplist(&bytes, add)?,
        _ => listpack(&bytes, add)?,
    }
    elements.finish(Kind::SortedSet)
}

fn encode_score(score: f64) -> Read<Vec<u8>> {
    if score.is_nan() {
        return Err(DecodeError::Malformed);
    }
    Ok(Score::encode(score).to_vec())
}

/// A score as the first versions wrote it: text with its length before it, which also tells of infinity.
fn score_text(reader: &mut Reader<'_>) -> Read<f64> {
    match reader.byte()? {
        255 => Ok(f64::NEG_INFINITY),
        254 => Ok(f64::INFINITY),
        253 => Err(DecodeError::Malformed),
        length => parse_f64(reader.take(length.into())?).ok_or(DecodeError::Malformed),
    }
}
