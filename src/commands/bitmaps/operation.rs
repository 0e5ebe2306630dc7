//! Bitwise operations between strings.

use crate::commands::value::string_of;
use crate::commands::{Call, CommandError, CommandResult};
use crate::effect::{Effect, StringEncoding};
use crate::events::EventClasses;
use crate::store::Entry;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(word: &[u8]) -> Result<Operation, CommandError> {
        let operations: [(&[u8], Operation); 4] = [
            (b"AND", Operation::And),
            (b"OR", Operation::Or),
            (b"XOR", Operation::Xor),
            (b"NOT", Operation::Not),
        ];
        operations
            .into_iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name))
            .map(|(_, operation)| operation)
            .ok_or(CommandError::Syntax)
    }

    /// Combines the result so far with one more string; the shorter of the two counts as padded with zeros.
    fn combine(self, result: &mut Vec<u8>, value: &[u8]) {
        if result.len() < value.len() {
            result.resize(value.len(), 0);
        }
        let (overlap, rest) = result.split_at_mut(value.len());
        let pairs = overlap.iter_mut().zip(value);
        match self {
            Operation::And => {
                pairs.for_each(|(byte, other)| *byte &= other);
                rest.fill(0);
            }
            Operation::Or => pairs.for_each(|(byte, other)| *byte |= other),
            Operation::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
            Operation::Not => pairs.for_each(|(byte, other)| *byte = !other),
        }
    }
}

/// `BITOP`
pub fn bitop(call: &mut Call<'_, '_>) -> CommandResult {
    let operation = Operation::parse(call.request.arg(1))?;
    if operation == Operation::Not && call.request.len() != 4 {
        return Err(CommandError::line(
            "ERR BITOP NOT must be called with a single source key.",
        ));
    }
    call.transaction.count_lookups();
    let mut result = Vec::new();
    for (index, source) in call.request.iter().skip(3).enumerate() {
        let entry = string_of(call.transaction.get(call.database, source))?;
        let value = entry.map_or(&[][..], Entry::value);
        if index == 0 && operation != Operation::Not {
            result.extend_from_slice(value);
        } else {
            operation.combine(&mut result, value);
        }
    }
    let key = call.request.arg(2);
    let bytes = Effect::encoded_bytes_max(key.len(), result.len());
    call.transaction
        .reserve(bytes)
        .map_err(|error| CommandError::NoRoom(error, bytes))?;
    if !result.is_empty() {
        let effect = Effect::Put {
            key,
            value: &result,
            encoding: StringEncoding::Raw,
            expire_at: None,
        };
        call.transaction.apply(call.database, &effect);
        call.notify(EventClasses::STRING, "set", key);
    } else if call.transaction.peek_quietly(call.database, key).is_some() {
        call.transaction
            .apply(call.database, &Effect::Delete { key });
        call.notify(EventClasses::GENERIC, "del", key);
    }
    call.reply.integer(result.len() as i64);
    Ok(())
}
