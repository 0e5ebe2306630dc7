//! Strings.

use super::spec::{Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys};
use super::{Call, CommandResult};
use crate::effect::{Effect, StringEncoding};

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "get",
        arity: 2,
        handler: Handler::Data(get),
        flags: Flags::READONLY.union(Flags::FAST),
        categories: Categories::STRING,
        keys: Keys::FIRST,
        key_specs: &[KeySpec {
            flags: KeyFlags::RO.union(KeyFlags::ACCESS),
            index: 1,
            last: 0,
            step: 1,
            limit: 0,
            notes: "",
        }],
        docs: Docs {
            summary: "Reads the string value of a key.",
            group: "string",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
    CommandSpec {
        name: "set",
        arity: -3,
        handler: Handler::Data(set),
        flags: Flags::WRITE.union(Flags::DENYOOM),
        categories: Categories::STRING,
        keys: Keys::FIRST,
        docs: Docs {
            summary: "Sets a key to a string value.",
            group: "string",
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    },
];

fn get(call: &mut Call<'_, '_>) -> CommandResult {
    match call.transaction.get(call.database, call.request.arg(1)) {
        Some(entry) => call.reply.bulk(entry.value()),
        None => call.reply.null(),
    }
    Ok(())
}

fn set(call: &mut Call<'_, '_>) -> CommandResult {
    let (key, value) = (call.request.arg(1), call.request.arg(2));
    let effect = Effect::Put {
        key,
        value,
        encoding: StringEncoding::of(value),
        expire_at: None,
    };
    call.transaction.apply(call.database, &effect);
    call.reply.ok();
    Ok(())
}
