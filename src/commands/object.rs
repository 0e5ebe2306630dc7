//! OBJECT: how a key is held.

use super::spec::{
    Argument, Categories, CommandSpec, Docs, Flags, Handler, KeyFlags, KeySpec, Keys,
};
use super::value::encoding_name;
use super::{Call, CommandError, CommandResult, Control};
use crate::config::MaxmemoryPolicy;
use crate::effect::StringEncoding;
use crate::store::Kind;

/// Integers below this are one shared object each in Redis…
const SHARED_INTEGERS: u64 = 10_000;
/// … with this number of references.
const SHARED_REFERENCES: i64 = i32::MAX as i64;

const HELP: &[&str] = &[
    "ENCODING <key>",
    "    Tell in which form the value of <key> is held.",
    "FREQ <key>",
    "    Tell how often <key> is used: a counter that grows with the logarithm of the",
    "    number of uses and falls with time. Needs an LFU maxmemory-policy.",
    "IDLETIME <key>",
    "    Tell for how many seconds <key> was not used. Needs a maxmemory-policy that",
    "    is not an LFU one.",
    "REFCOUNT <key>",
    "    Tell how many references there are to the value of <key>.",
];

/// A subcommand about one key.
const KEY_SPECS: &[KeySpec] = &[KeySpec::range(KeyFlags::RO, 2, 0, 1)];

const fn of_key(
    name: &'static str,
    handler: fn(&mut Call<'_, '_>) -> CommandResult,
    summary: &'static str,
    since: &'static str,
) -> CommandSpec {
    CommandSpec {
        name,
        arity: 3,
        handler: Handler::Data(handler),
        flags: Flags::READONLY,
        categories: Categories::KEYSPACE,
        keys: Keys::SECOND,
        key_specs: KEY_SPECS,
        tips: &["nondeterministic_output"],
        docs: Docs {
            summary,
            since,
            group: "generic",
            arguments: &[Argument {
                name: "key",
                kind: "key",
                key_spec_index: Some(0),
                ..Argument::NEW
            }],
            ..Docs::NEW
        },
        ..CommandSpec::NEW
    }
}

/// The family's part of the command table.
pub static COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "object",
    arity: -2,
    docs: Docs {
        summary: "Tells how the value of a key is held.",
        since: "2.2.3",
        group: "generic",
        complexity: "Depends on subcommand.",
        ..Docs::NEW
    },
    subcommands: &[
        CommandSpec {
            name: "object|help",
            arity: 2,
            handler: Handler::Control(help),
            flags: Flags::LOADING.union(Flags::STALE),
            categories: Categories::KEYSPACE,
            docs: Docs {
                summary: "Explains the subcommands.",
                since: "6.2.0",
                group: "generic",
                ..Docs::NEW
            },
            ..CommandSpec::NEW
        },
        of_key(
            "object|encoding",
            encoding,
            "Tells in which form a value is held.",
            "2.2.3",
        ),
        of_key(
            "object|idletime",
            idletime,
            "Tells for how many seconds a key was not used.",
            "2.2.3",
        ),
        of_key(
            "object|refcount",
            refcount,
            "Tells how many references there are to a value.",
            "2.2.3",
        ),
        of_key(
            "object|freq",
            freq,
            "Tells the counter of a key's uses.",
            "4.0.0",
        ),
    ],
    ..CommandSpec::NEW
}];

fn help(control: &mut Control<'_, '_>) -> CommandResult {
    super::help::help(control.reply, "OBJECT", HELP);
    Ok(())
}

fn encoding(call: &mut Call<'_, '_>) -> CommandResult {
    let config = call.node.config.load();
    match call
        .transaction
        .peek_quietly(call.database, call.request.arg(2))
    {
        Some(entry) => call.reply.bulk(encoding_name(entry, &config).as_bytes()),
        None => call.reply.null(),
    }
    Ok(())
}

/// A value has one owner; Redis' shared integers are told as Redis tells them.
fn refcount(call: &mut Call<'_, '_>) -> CommandResult {
    let config = call.node.config.load();
    let keeps_uses = !matches!(
        config.maxmemory_policy,
        MaxmemoryPolicy::Noeviction
            | MaxmemoryPolicy::AllkeysRandom
            | MaxmemoryPolicy::VolatileRandom
            | MaxmemoryPolicy::VolatileTtl
    );
    let shares_integers = config.maxmemory == 0 || !keeps_uses;
    let Some(entry) = call
        .transaction
        .peek_quietly(call.database, call.request.arg(2))
    else {
        call.reply.null();
        return Ok(());
    };
    let is_shared = shares_integers
        && entry.kind() == Kind::String
        && entry.encoding() == StringEncoding::Int
        && coterie_protocol::text::parse_u64(entry.value()).is_some_and(|n| n < SHARED_INTEGERS);
    call.reply
        .integer(if is_shared { SHARED_REFERENCES } else { 1 });
    Ok(())
}

fn idletime(call: &mut Call<'_, '_>) -> CommandResult {
    let clock = call.transaction.moment().access;
    let found = call
        .transaction
        .peek_quietly(call.database, call.request.arg(2));
    match found.map(|entry| entry.access()) {
        None => call.reply.null(),
        Some(_) if clock.counts_uses() => {
            return Err(CommandError::line(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        Some(access) => call.reply.integer(clock.idle_seconds(access).into()),
    }
    Ok(())
}

fn freq(call: &mut Call<'_, '_>) -> CommandResult {
    let clock = call.transaction.moment().access;
    let found = call
        .transaction
        .peek_quietly(call.database, call.request.arg(2));
    match found.map(|entry| entry.access()) {
        None => call.reply.null(),
        Some(_) if !clock.counts_uses() => {
            return Err(CommandError::line(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        Some(access) => call.reply.integer(clock.frequency(access).into()),
    }
    Ok(())
}
