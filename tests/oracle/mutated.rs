//! Mutated protocol bytes: both servers answer the same bytes, and neither stalls nor falls over.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

use crate::common::{Protocol, Server, encode_command, escape};
use crate::generated::{Sequence, command, config, keep_expired};

/// A change to a valid stream.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Truncate(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    // No NUL: in an inline command Redis doesn't find the line's end behind one, and waits for ever.
    let byte = prop_oneof![
        3 => prop::sample::select(&b"*$\r\n0123456789-+: \"'"[..]),
        1 => 1u8..=255,
    ];
    prop_oneof![
        3 => (any::<prop::sample::Index>(), byte.clone()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        2 => (any::<prop::sample::Index>(), byte).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        2 => any::<prop::sample::Index>().prop_map(Mutation::Remove),
        1 => any::<prop::sample::Index>().prop_map(Mutation::Truncate),
    ]
}

fn apply(mut bytes: Vec<u8>, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        if bytes.is_empty() {
            break;
        }
        match mutation {
            Mutation::Replace(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Mutation::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
            Mutation::Remove(at) => {
                bytes.remove(at.index(bytes.len()));
            }
            Mutation::Truncate(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
    bytes
}

/// Names, or parts of them, of commands whose replies differ from server to server or from moment to moment. A stream in
/// which one stands anywhere would hide what this test is about; mutations make such names of others.
/// Those that wait could be made to wait for ever.
const UNSTEADY: [&[u8]; 32] = [
    b"bgrewriteaof",
    b"bgsave",
    b"blmpop",
    b"blpop",
    b"brpop",
    b"bzmpop",
    b"bzpop",
    b"client",
    b"cluster",
    b"command",
    b"config",
    b"debug",
    b"hello",
    b"hgetall",
    b"hkeys",
    b"hrandfield",
    b"hvals",
    b"info",
    b"keys",
    b"lastsave",
    b"latency",
    b"lolwut",
    b"memory",
    b"monitor",
    b"object",
    b"randomkey",
    b"role",
    b"scan",
    b"shutdown",
    b"slowlog",
    b"time",
    b"ttl",
];

#[test]
fn fuzz_mutated_frames() {
    let (subject, oracle) = (Server::subject(), Server::oracle());
    for server in [&subject, &oracle] {
        keep_expired(&mut server.connect_as(Protocol::Resp2));
    }
    // A mutation may hit the name of a command that isn't built yet.
    let known = command_names(&subject);
    let foreign: Vec<_> = command_names(&oracle)
        .into_iter()
        .filter(|name| !known.contains(name))
        .collect();
    let mut runner = TestRunner::new(config());
    let strategy = (
        vec(command(), 1..6).prop_map(Sequence),
        vec(mutation(), 1..4),
    );
    let result = runner.run(&strategy, |(Sequence(commands), mutations)| {
        let is_steady = |bytes: &[u8]| !UNSTEADY.iter().any(|name| contains(bytes, name));
        let commands = commands.iter().map(|command| encode_command(command));
        let valid = commands
            .filter(|bytes| is_steady(bytes))
            .flatten()
            .collect();
        let bytes = apply(valid, &mutations);
        if bytes.contains(&0) {
            return Err(TestCaseError::reject("a NUL byte"));
        }
        if foreign.iter().any(|name| contains(&bytes, name)) {
            return Err(TestCaseError::reject("a command that only Redis has"));
        }
        if !is_steady(&bytes) {
            return Err(TestCaseError::reject("a command whose replies differ"));
        }
        let (ours, theirs) = (answer(&subject, &bytes), answer(&oracle, &bytes));
        prop_assert!(
            ours == theirs,
            "sent {}\n  oracle:  {}\n  subject: {}",
            escape(&bytes),
            escape(&theirs),
            escape(&ours)
        );
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// The names of a server's commands, in lower case.
fn command_names(server: &Server) -> Vec<Vec<u8>> {
    let reply = server.connect_as(Protocol::Resp2).run("COMMAND LIST");
    let names = reply.items();
    assert!(!names.is_empty(), "{reply:?}");
    names
        .iter()
        .filter_map(|name| Some(name.bytes()?.to_ascii_lowercase()))
        .collect()
}

/// Whether a lower-case name stands in these bytes, in any case.
fn contains(bytes: &[u8], name: &[u8]) -> bool {
    bytes
        .windows(name.len())
        .any(|window| window.eq_ignore_ascii_case(name))
}

/// Everything the server sends back for these bytes and the end of the stream after them.
fn answer(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut connection = server.connect_as(Protocol::Resp2);
    assert!(connection.run("FLUSHALL").is_ok());
    // The server may hang up before it has read everything.
    let _ = connection.send(bytes);
    connection.shutdown_write();
    let (received, closed) = connection.read_bytes_until(|_| false);
    assert!(
        closed,
        "the server doesn't hang up after the end of the stream"
    );
    received
}
