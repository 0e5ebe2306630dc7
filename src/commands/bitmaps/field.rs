//! `BITFIELD`: integers of any width at any place in a string.
//!
//! The operations of one call work on copies of the bytes they may change, which are then written as one change of the key.

use std::ops::Range;

use coterie_protocol::Request;
use coterie_protocol::text::parse_i64;

use super::check_offset;
use crate::commands::value::string_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::{Effect, StringEncoding};
use crate::events::EventClasses;
use crate::store::Entry;

/// Fields with at most this many bytes between them are copied and written together: to log another effect takes as many.
const JOINED_GAP_BYTES: usize = 32;

/// A type such as `u8` or `i16`.
#[derive(Clone, Copy, Debug)]
struct Kind {
    signed: bool,
    /// 1 to 64, without a sign to 63.
    bits: u32,
}

impl Kind {
    fn parse(text: &[u8]) -> Result<Kind, CommandError> {
        let (signed, digits) = match text {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => (false, &[][..]),
        };
        parse_i64(digits)
            .and_then(|bits| u32::try_from(bits).ok())
            .filter(|bits| (1..=if signed { 64 } else { 63 }).contains(bits))
            .map(|bits| Kind { signed, bits })
            .ok_or(CommandError::line(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
            ))
    }

    fn max(self) -> i128 {
        (1 << (self.bits - u32::from(self.signed))) - 1
    }

    fn min(self) -> i128 {
        if self.signed { -self.max() - 1 } else { 0 }
    }

    /// The number of this type that has these low bits.
    fn wrap(self, number: i128) -> i64 {
        let unused = i128::BITS - self.bits;
        let shifted = number << unused;
        if self.signed {
            (shifted >> unused) as i64
        } else {
            (shifted.cast_unsigned() >> unused) as i64
        }
    }
}

/// What happens to a number that its type can't hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Overflow {
    fn parse(word: &[u8]) -> Result<Overflow, CommandError> {
        if word.eq_ignore_ascii_case(b"WRAP") {
            Ok(Overflow::Wrap)
        } else if word.eq_ignore_ascii_case(b"SAT") {
            Ok(Overflow::Saturate)
        } else if word.eq_ignore_ascii_case(b"FAIL") {
            Ok(Overflow::Fail)
        } else {
            Err(CommandError::line("ERR Invalid OVERFLOW type specified"))
        }
    }
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

/// One operation of a call.
struct Operation {
    action: Action,
    kind: Kind,
    /// Index of the first bit.
    offset: u64,
    overflow: Overflow,
}

impl Operation {
    fn writes(&self) -> bool {
        !matches!(self.action, Action::Get)
    }

    /// What is stored in place of `old`; `None` if that fails.
    fn result(&self, old: i64) -> Option<i64> {
        let (kind, number) = (self.kind, self.number(old));
        if (kind.min()..=kind.max()).contains(&number) {
            return Some(number as i64);
        }
        match self.overflow {
            Overflow::Wrap => Some(kind.wrap(number)),
            Overflow::Saturate if number > kind.max() => Some(kind.max() as i64),
            Overflow::Saturate => Some(kind.min() as i64),
            Overflow::Fail => None,
        }
    }

    /// The number to be stored, if its type can hold it.
    fn number(&self, old: i64) -> i128 {
        match self.action {
            Action::Get => old.into(),
            Action::Add(increment) => i128::from(old) + i128::from(increment),
            // Redis takes a negative number for one without a sign as a large one, and one that is 2^63 or more below the
            // largest with a sign as too large, not too small: both show with SAT.
            Action::Set(value) if !self.kind.signed => value.cast_unsigned().into(),
            Action::Set(value) => match i128::from(value) {
                value if self.kind.max() - value > i64::MAX.into() && self.kind.bits < 64 => {
                    value + (1 << 64)
                }
                value => value,
            },
        }
    }

    fn parse(
        request: Request<'_>,
        index: usize,
        overflow: Overflow,
        limit: u64,
    ) -> Result<(Operation, usize), CommandError> {
        let word = request.arg(index);
        let left = request.len() - index - 1;
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let writes = is(b"SET") || is(b"INCRBY");
        if !(is(b"GET") && left >= 2 || writes && left >= 3) {
            return Err(CommandError::Syntax);
        }
        let kind = Kind::parse(request.arg(index + 1))?;
        let offset = parse_offset(request.arg(index + 2), kind, limit)?;
        let action = if writes {
            let number = parse_i64(request.arg(index + 3)).ok_or(CommandError::NotInteger)?;
            if is(b"SET") {
                Action::Set(number)
            } else {
                Action::Add(number)
            }
        } else {
            Action::Get
        };
        let operation = Operation {
            action,
            kind,
            offset,
            overflow,
        };
        Ok((operation, if writes { 4 } else { 3 }))
    }
}

/// The index of a bit; after `#` the index of a field of this type.
fn parse_offset(text: &[u8], kind: Kind, limit: u64) -> Result<u64, CommandError> {
    let offset = match text {
        [b'#', index @ ..] => {
            parse_i64(index).and_then(|index| index.checked_mul(kind.bits.into()))
        }
        index => parse_i64(index),
    };
    check_offset(offset, limit)
}

fn parse(call: &Call<'_, '_>) -> Result<Vec<Operation>, CommandError> {
    let request = call.request;
    let limit = call.node.config.load().proto_max_bulk_len;
    let mut overflow = Overflow::Wrap;
    let mut operations = Vec::new();
    let mut index = 2;
    while index < request.len() {
        let is_overflow = request.arg(index).eq_ignore_ascii_case(b"OVERFLOW");
        if let Some(word) = request.get(index + 1).filter(|_| is_overflow) {
            overflow = Overflow::parse(word)?;
            index += 2;
        } else {
            let (operation, arguments) = Operation::parse(request, index, overflow, limit)?;
            operations.push(operation);
            index += arguments;
        }
    }
    Ok(operations)
}

/// Bytes of a string that operations may change.
struct Piece {
    /// Index of the first one.
    start: usize,
    bytes: Vec<u8>,
    /// Whether any of them did change.
    changed: bool,
}

impl Piece {
    fn new(range: Range<usize>, value: &[u8]) -> Piece {
        let known = value.get(range.start..).unwrap_or_default();
        let mut bytes = Vec::with_capacity(range.len());
        bytes.extend_from_slice(&known[..known.len().min(range.len())]);
        bytes.resize(range.len(), 0);
        Piece {
            start: range.start,
            bytes,
            changed: false,
        }
    }

    fn end(&self) -> usize {
        self.start + self.bytes.len()
    }
}

/// A string as the operations of a call see it.
struct View<'v> {
    /// What it was before.
    value: &'v [u8],
    /// Apart from each other, in order.
    pieces: Vec<Piece>,
}

impl<'v> View<'v> {
    fn new(value: &'v [u8], operations: &[Operation]) -> Self {
        let writes = operations.iter().filter(|operation| operation.writes());
        let mut fields: Vec<Range<usize>> = writes.map(|write| Field::of(write).bytes).collect();
        fields.sort_unstable_by_key(|field| field.start);
        fields.dedup_by(|next, last| {
            let joined = next.start <= last.end + JOINED_GAP_BYTES;
            if joined {
                last.end = last.end.max(next.end);
            }
            joined
        });
        let pieces = fields
            .into_iter()
            .map(|range| Piece::new(range, value))
            .collect();
        View { value, pieces }
    }

    /// Index of the last piece that starts at this byte or before.
    fn piece(&self, index: usize) -> Option<usize> {
        self.pieces
            .partition_point(|piece| piece.start <= index)
            .checked_sub(1)
    }

    /// A byte; beyond the end there are zeros.
    fn byte(&self, index: usize) -> u8 {
        let in_piece = self.piece(index).and_then(|piece| {
            let piece = &self.pieces[piece];
            piece.bytes.get(index - piece.start)
        });
        in_piece.or(self.value.get(index)).copied().unwrap_or(0)
    }

    /// The bytes around a field, as one number.
    fn bytes(&self, field: &Field) -> u128 {
        field.bytes.clone().fold(0, |number, index| {
            number << 8 | u128::from(self.byte(index))
        })
    }

    fn read(&self, operation: &Operation) -> i64 {
        let field = Field::of(operation);
        let number = self.bytes(&field) >> field.shift;
        operation.kind.wrap(number.cast_signed())
    }

    /// The operation must be among those that the view was made for.
    fn write(&mut self, operation: &Operation, number: i64) {
        let field = Field::of(operation);
        let old = self.bytes(&field);
        let mask = ((1 << operation.kind.bits) - 1) << field.shift;
        let bits = i128::from(number).cast_unsigned() << field.shift;
        let new = old & !mask | bits & mask;
        let Some(piece) = self.piece(field.bytes.start) else {
            debug_assert!(false, "every write has its piece");
            return;
        };
        let piece = &mut self.pieces[piece];
        piece.changed |= new != old;
        let (first, count) = (field.bytes.start - piece.start, field.bytes.len());
        let new = &new.to_be_bytes()[size_of::<u128>() - count..];
        piece.bytes[first..first + count].copy_from_slice(new);
    }

    /// The pieces to be written. Even if every operation failed, the string reaches to the end of the last one from now on, and is
    /// an edited one, as `OBJECT ENCODING` tells; `edited` says that it was one before.
    fn into_changes(self, edited: bool) -> Vec<Piece> {
        let last = self.pieces.last().map_or(0, Piece::end);
        let writes_last = !edited || last > self.value.len();
        self.pieces
            .into_iter()
            .filter(|piece| piece.changed || writes_last && piece.end() == last)
            .collect()
    }
}

/// Where the bits of an operation are: in which bytes, and how many bits follow them in the last one.
struct Field {
    bytes: Range<usize>,
    shift: u32,
}

impl Field {
    fn of(operation: &Operation) -> Field {
        let end_bit = operation.offset + u64::from(operation.kind.bits);
        let end = end_bit.div_ceil(8);
        Field {
            bytes: (operation.offset / 8) as usize..end as usize,
            shift: (end * 8 - end_bit) as u32,
        }
    }
}

/// `BITFIELD`
pub fn bitfield(call: &mut Call<'_, '_>) -> CommandResult {
    let operations = parse(call)?;
    if !operations.iter().any(Operation::writes) {
        call.transaction.count_lookups();
    }
    execute(call, &operations)
}

/// `BITFIELD_RO`
pub fn bitfield_ro(call: &mut Call<'_, '_>) -> CommandResult {
    let operations = parse(call)?;
    if operations.iter().any(Operation::writes) {
        return Err(CommandError::line(
            "ERR BITFIELD_RO only supports the GET subcommand",
        ));
    }
    execute(call, &operations)
}

fn execute(call: &mut Call<'_, '_>, operations: &[Operation]) -> CommandResult {
    let key = call.request.arg(1);
    let entry = string_of(call.transaction.get(call.database, key))?;
    let mut view = View::new(entry.map_or(&[][..], Entry::value), operations);
    call.reply.array(operations.len());
    for operation in operations {
        let old = view.read(operation);
        let result = operation.result(old);
        if let Some(new) = result.filter(|_| operation.writes()) {
            view.write(operation, new);
        }
        match (operation.action, result) {
            (_, None) => call.reply.null(),
            (Action::Set(_), Some(_)) => call.reply.integer(old),
            (_, Some(new)) => call.reply.integer(new),
        }
    }
    let exists = entry.is_some();
    let edited = entry.is_some_and(|entry| entry.encoding() == StringEncoding::Raw);
    let pieces = view.into_changes(edited);
    if pieces.is_empty() {
        return Ok(());
    }
    let bytes_max = pieces
        .iter()
        .map(|piece| Effect::encoded_bytes_max(key.len(), piece.bytes.len()))
        .sum();
    call.transaction
        .reserve(bytes_max)
        .map_err(|error| CommandError::NoRoom(error, bytes_max))?;
    // From the last one, so that the string grows once.
    let effects: Vec<Effect<'_>> = pieces
        .iter()
        .rev()
        .enumerate()
        .map(|(index, piece)| {
            let (offset, bytes) = (piece.start as u64, &piece.bytes[..]);
            if index == 0 && !exists {
                Effect::PutPadded { key, offset, bytes }
            } else {
                Effect::Splice { key, offset, bytes }
            }
        })
        .collect();
    call.transaction.apply_all(call.database, &effects);
    call.notify(EventClasses::STRING, "setbit", key);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn operation(signed: bool, bits: u32, offset: u64, action: Action) -> Operation {
        Operation {
            action,
            kind: Kind { signed, bits },
            offset,
            overflow: Overflow::Wrap,
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_the_rest_stays(
            value in prop::collection::vec(any::<u8>(), 0..80),
            writes in prop::collection::vec((0u64..2000, 1u32..=64, any::<i64>()), 1..8),
        ) {
            let writes: Vec<_> = writes
                .into_iter()
                .map(|(offset, bits, number)| operation(true, bits, offset, Action::Set(number)))
                .collect();
            let mut view = View::new(&value, &writes);
            let read_bit = |view: &View<'_>, at| view.read(&operation(false, 1, at, Action::Get));
            for write in &writes {
                let before: Vec<_> = (0..2100).map(|at| read_bit(&view, at)).collect();
                let Action::Set(number) = write.action else { unreachable!() };
                let number = write.kind.wrap(number.into());
                view.write(write, number);
                prop_assert_eq!(view.read(write), number);
                let inside = write.offset..write.offset + u64::from(write.kind.bits);
                for at in (0..2100).filter(|at| !inside.contains(at)) {
                    prop_assert_eq!(read_bit(&view, at), before[at as usize]);
                }
            }
            let pieces = &view.pieces;
            prop_assert!(pieces.windows(2).all(|pair| pair[0].end() + JOINED_GAP_BYTES < pair[1].start));
        }

        #[test]
        fn a_sum_wraps_saturates_or_fails(signed: bool, bits in 1u32..=63, old: i64, increment: i64) {
            let mut add = operation(signed, bits, 0, Action::Add(increment));
            let old = add.kind.wrap(old.into());
            let exact = i128::from(old) + i128::from(increment);
            let range = add.kind.min()..=add.kind.max();
            let wrapped = i128::from(add.result(old).unwrap());
            prop_assert!(range.contains(&wrapped));
            prop_assert_eq!((wrapped - exact) % (1 << bits), 0);
            add.overflow = Overflow::Saturate;
            let clamped = exact.clamp(*range.start(), *range.end());
            prop_assert_eq!(add.result(old).map(i128::from), Some(clamped));
            add.overflow = Overflow::Fail;
            let checked = range.contains(&exact).then_some(exact);
            prop_assert_eq!(add.result(old).map(i128::from), checked);
        }
    }
}
