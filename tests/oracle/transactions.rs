//! Generated transactions of two connections, run on both servers: replies and what is left must agree.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestRunner};

use crate::common::{Connection, Protocol, Reply, Server};
use crate::generated::{
    Command, agree, command, config, keep_expired, show, state_commands, words,
};

/// Keys of different partitions: an absent key counts as changed when another one of its partition comes to be, rarely.
const WATCHED: [&str; 3] = ["k0", "k1", "k2"];

/// A command, and which of the two connections sends it.
#[derive(Clone)]
struct Step(usize, Command);

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n  {}: {}", self.0, show(&self.1))
    }
}

fn step() -> impl Strategy<Value = Step> {
    let keys = vec(select(&WATCHED[..]), 1..3);
    let control = prop_oneof![
        3 => Just(words("MULTI")),
        4 => Just(words("EXEC")),
        1 => Just(words("DISCARD")),
        1 => Just(words("UNWATCH")),
        1 => Just(words("PING")),
        4 => keys.prop_map(|keys| words(&format!("WATCH {}", keys.join(" ")))),
    ];
    // Errors of these quote an argument, which within an array can't be read unless it is text.
    let command = command().prop_filter("a readable reply", |command| {
        let is_text = |word: &Vec<u8>| std::str::from_utf8(word).is_ok();
        command.iter().all(is_text)
            || !command[0]
                .to_ascii_uppercase()
                .windows(6)
                .any(|w| w == b"EXPIRE")
    });
    let command = prop_oneof![2 => control, 3 => command];
    (prop::bool::weighted(0.25), command).prop_map(|(other, command)| Step(other.into(), command))
}

/// What a connection is in the middle of.
#[derive(Default)]
struct Progress {
    watches: bool,
    queued: Vec<Command>,
}

/// One server with its two connections.
struct Side {
    connections: [Connection; 2],
}

impl Side {
    fn new(server: &Server, protocol: Protocol) -> Self {
        let connect = || server.connect_as(protocol);
        Side {
            connections: [connect(), connect()],
        }
    }

    fn call(&mut self, who: usize, command: &Command) -> Result<(Reply, Vec<u8>), String> {
        self.connections[who]
            .try_call_raw(command)
            .map_err(|e| format!("{}: {e}", show(command)))
    }
}

fn is(command: &Command, name: &str) -> bool {
    command[0].eq_ignore_ascii_case(name.as_bytes())
}

/// Compares one command's replies; those of `EXEC` by the commands they belong to.
fn is_same(
    command: &Command,
    queued: &[Command],
    ours: &(Reply, Vec<u8>),
    theirs: &(Reply, Vec<u8>),
) -> bool {
    match (&ours.0, &theirs.0) {
        (Reply::Array(our), Reply::Array(their))
            if is(command, "EXEC") && our.len() == queued.len() && their.len() == queued.len() =>
        {
            let agrees = |((our, their), command): ((&Reply, &Reply), &Command)| {
                // Bytes within an array are not kept apart: the values are compared.
                let bytes = |same: bool| if same { &b"same"[..] } else { b"other" };
                agree(command, (our, bytes(true)), (their, bytes(our == their)))
            };
            our.iter().zip(their).zip(queued).all(agrees)
        }
        _ => agree(command, (&ours.0, &ours.1), (&theirs.0, &theirs.1)),
    }
}

fn compare(ours: &mut Side, theirs: &mut Side, steps: &[Step]) -> Result<(), String> {
    let both = |line: &str| [Step(0, words(line)), Step(1, words(line))];
    let begin = ["DISCARD", "UNWATCH", "SELECT 0", "FLUSHALL"]
        .map(both)
        .concat();
    let end = [both("DISCARD"), both("UNWATCH")].concat();
    let read = state_commands().into_iter().map(|command| Step(0, command));
    let all = begin
        .into_iter()
        .chain(steps.to_vec())
        .chain(end)
        .chain(read);
    let mut progress = [Progress::default(), Progress::default()];
    for Step(who, mut command) in all {
        let swaps = |command: &Command| is(command, "SWAPDB");
        let other_watches = progress[1 - who].watches;
        if other_watches || progress[who].watches {
            // What changes groups of a stream changes the stream here, and in Redis only for `WATCH` not.
            let groups = ["XGROUP", "XACK", "XCLAIM", "XAUTOCLAIM", "XREADGROUP"];
            // Databases that change places twice are as they were, which Redis does not notice. A bit that is set to what
            // it was makes an edited string of the key, which counts as a change here.
            if swaps(&command)
                || is(&command, "SETBIT")
                || groups.iter().any(|name| is(&command, name))
            {
                command = words("PING");
            } else if is(&command, "EXEC") && progress[who].queued.iter().any(swaps) {
                command = words("DISCARD");
            }
        }
        let our = ours.call(who, &command)?;
        let their = theirs.call(who, &command)?;
        let progress = &mut progress[who];
        if !is_same(&command, &progress.queued, &our, &their) {
            return Err(format!(
                "\n{who}: {}\n  oracle:  {}\n  subject: {}\n",
                show(&command),
                their.0,
                our.0
            ));
        }
        if our.0.text() == "QUEUED" {
            progress.queued.push(command);
        } else if is(&command, "EXEC") || is(&command, "DISCARD") {
            // Without `MULTI` they change nothing.
            progress.watches &= matches!(our.0, Reply::Error(_));
            progress.queued.clear();
        } else if is(&command, "MULTI") && our.0.is_ok() {
            progress.queued.clear();
        } else if is(&command, "WATCH") && our.0.is_ok() {
            progress.watches = true;
        }
    }
    Ok(())
}

fn compare_transactions(protocol: Protocol) {
    let (subject, oracle) = (Server::subject(), Server::oracle());
    keep_expired(&mut subject.connect_as(protocol));
    keep_expired(&mut oracle.connect_as(protocol));
    let mut runner = TestRunner::new(config());
    let result = runner.run(&vec(step(), 1..60), |steps| {
        let mut ours = Side::new(&subject, protocol);
        let mut theirs = Side::new(&oracle, protocol);
        compare(&mut ours, &mut theirs, &steps).map_err(TestCaseError::fail)
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn fuzz_transactions_resp2() {
    compare_transactions(Protocol::Resp2);
}

#[test]
fn fuzz_transactions_resp3() {
    compare_transactions(Protocol::Resp3);
}
