//! All commands, found by name.

use std::borrow::Cow;
use std::sync::OnceLock;

use coterie_protocol::Request;
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::error::CommandError;
use super::spec::CommandSpec;
use super::{
    acl, bitmaps, client, cluster, command, config, connection, coterie, debug, dump, expiry,
    functions, geo, hashes, hyperloglog, info, keys, latency, lists, memory, object, pubsub, scan,
    scripts, server, sets, slowlog, sort, sorted_sets, streams, strings, transactions, wait,
};

/// The families.
static FAMILIES: &[&[CommandSpec]] = &[
    acl::COMMANDS,
    bitmaps::COMMANDS,
    client::COMMANDS,
    cluster::COMMANDS,
    command::COMMANDS,
    config::COMMANDS,
    connection::COMMANDS,
    coterie::COMMANDS,
    debug::COMMANDS,
    dump::COMMANDS,
    expiry::COMMANDS,
    functions::COMMANDS,
    geo::COMMANDS,
    hashes::COMMANDS,
    hashes::EXPIRY_COMMANDS,
    hyperloglog::COMMANDS,
    info::COMMANDS,
    keys::COMMANDS,
    latency::COMMANDS,
    lists::COMMANDS,
    lists::BLOCKING_COMMANDS,
    memory::COMMANDS,
    object::COMMANDS,
    pubsub::COMMANDS,
    scan::COMMANDS,
    scripts::COMMANDS,
    server::COMMANDS,
    sets::COMMANDS,
    slowlog::COMMANDS,
    sort::COMMANDS,
    sorted_sets::ALGEBRA_COMMANDS,
    sorted_sets::BLOCKING_COMMANDS,
    sorted_sets::MEMBER_COMMANDS,
    sorted_sets::RANGE_COMMANDS,
    streams::COMMANDS,
    streams::GROUP_COMMANDS,
    strings::COMMANDS,
    transactions::COMMANDS,
    wait::COMMANDS,
];

/// No command has a longer name; a longer word need not be looked up.
const NAME_BYTES_MAX: usize = 32;

/// A command as the table holds it.
pub struct Command {
    /// What it is.
    pub spec: &'static CommandSpec,
    /// Its place in the table, subcommands included: the index of its counters.
    pub index: usize,
}

struct Table {
    commands: Vec<Command>,
    by_name: HashTable<usize>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let all = FAMILIES.iter().flat_map(|family| family.iter());
        let commands: Vec<Command> = all
            .flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
            .enumerate()
            .map(|(index, spec)| Command { spec, index })
            .collect();
        let mut by_name = HashTable::with_capacity(commands.len());
        for command in &commands {
            let hash = |&index: &usize| xxh3_64(commands[index].spec.name.as_bytes());
            by_name.insert_unique(hash(&command.index), command.index, hash);
        }
        Table { commands, by_name }
    })
}

/// Number of commands, subcommands included.
pub fn len() -> usize {
    table().commands.len()
}

/// Every command, each container followed by its subcommands.
pub fn all() -> &'static [Command] {
    &table().commands
}

/// A command by its name in any case; of a subcommand `container|subcommand`.
#[inline]
pub fn by_name(name: &[u8]) -> Option<&'static Command> {
    let mut lower = [0u8; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let table = table();
    let found = table.by_name.find(xxh3_64(lower), |&index| {
        table.commands[index].spec.name.as_bytes() == &*lower
    })?;
    Some(&table.commands[*found])
}

/// The command of a request, its arity checked.
#[inline]
pub fn find(request: Request<'_>) -> Result<&'static Command, CommandError> {
    let command = lookup(request)?;
    if command.spec.accepts(request.len()) {
        Ok(command)
    } else {
        Err(CommandError::Arity(Cow::Borrowed(command.spec.name)))
    }
}

/// The command of a request, or its subcommand.
#[inline]
pub fn lookup(request: Request<'_>) -> Result<&'static Command, CommandError> {
    let command = by_name(request.name()).filter(|command| !command.spec.name.contains('|'));
    let Some(command) = command else {
        return Err(unknown(request));
    };
    if command.spec.subcommands.is_empty() {
        return Ok(command);
    }
    match request.get(1) {
        Some(word) => find_subcommand(command.spec, word),
        None => Ok(command),
    }
}

fn find_subcommand(container: &CommandSpec, word: &[u8]) -> Result<&'static Command, CommandError> {
    let name = [container.name.as_bytes(), b"|", word].concat();
    // A command such as COMMAND that does something by itself takes no other words.
    by_name(&name).ok_or_else(|| {
        let after = format!("'. Try {} HELP.", container.name.to_ascii_uppercase());
        let word = &word[..word.len().min(QUOTED_BYTES_MAX)];
        CommandError::quoting("ERR unknown subcommand '", word, &after)
    })
}

/// Most bytes of a name that an error quotes, and most of all arguments together.
const QUOTED_BYTES_MAX: usize = 128;

/// The error Redis answers to a command it does not have: with the first arguments.
fn unknown(request: Request<'_>) -> CommandError {
    let clip = |bytes: &[u8], max: usize| {
        let bytes = &bytes[..bytes.len().min(max)];
        bytes
            .split(|&byte| byte == 0)
            .next()
            .unwrap_or_default()
            .to_vec()
    };
    let mut arguments = Vec::new();
    for argument in request.iter().skip(1) {
        if arguments.len() >= QUOTED_BYTES_MAX {
            break;
        }
        let left = QUOTED_BYTES_MAX - arguments.len();
        arguments.extend([b"'", clip(argument, left).as_slice(), b"' "].concat());
    }
    let name = clip(request.name(), QUOTED_BYTES_MAX);
    let parts: [&[u8]; 4] = [
        b"ERR unknown command '",
        &name,
        b"', with args beginning with: ",
        &arguments,
    ];
    CommandError::Bytes(parts.concat())
}
