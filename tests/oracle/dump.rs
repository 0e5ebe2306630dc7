//! Values of every type and size go from `redis-server` to the server under test and back, and the other way.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use crate::common::{Connection, Options, Program, Reply, Server};

type Command = Vec<Vec<u8>>;

/// How a value is made, and the commands that read it.
#[derive(Clone, Debug)]
struct Recipe {
    commands: Vec<Command>,
    reads: &'static [&'static str],
}

/// Settings of `redis-server` that decide how it holds and writes a value, each with its default first.
const SETTINGS: &[(&str, &[&str])] = &[
    ("rdbcompression", &["yes", "no"]),
    ("list-max-listpack-size", &["-2", "-1", "3", "128"]),
    ("hash-max-listpack-entries", &["128", "0", "2000"]),
    ("zset-max-listpack-entries", &["128", "0", "2000"]),
    ("set-max-intset-entries", &["512", "0"]),
    ("stream-node-max-entries", &["100", "3"]),
];

fn words(words: &[&str]) -> Command {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn integer() -> impl Strategy<Value = i64> {
    const EDGES: &[i64] = &[
        0,
        -1,
        127,
        128,
        -128,
        -129,
        4095,
        4096,
        -4096,
        -4097,
        32767,
        32768,
        -32768,
        -32769,
        8388607,
        8388608,
        -8388608,
        -8388609,
        2147483647,
        2147483648,
        -2147483648,
        -2147483649,
        i64::MAX,
        i64::MIN,
    ];
    prop_oneof![select(EDGES), -300..300i64, any::<i64>()]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    const LENGTHS: &[usize] = &[0, 1, 11, 12, 20, 21, 44, 45, 63, 64, 65, 100];
    const LONG: &[usize] = &[4095, 4096, 8200, 16_383, 16_384, 70_000];
    prop_oneof![
        20 => integer().prop_map(|number| number.to_string().into_bytes()),
        20 => (0..10_000_000u32).prop_map(|number| format!("e{number}").into_bytes()),
        10 => select(LENGTHS).prop_flat_map(|length| vec(any::<u8>(), length)),
        10 => (select(LENGTHS), b'a'..b'd').prop_map(|(length, byte)| vec![byte; length]),
        1 => (select(LONG), vec(any::<u8>(), 1..50)).prop_map(|(length, part)| {
            part.iter().copied().cycle().take(length).collect()
        }),
    ]
}

/// Numbers of elements, also just around where encodings change.
fn many<S: Strategy + Clone>(element: S) -> impl Strategy<Value = Vec<S::Value>> {
    select(&[1usize, 2, 3, 10, 60, 127, 128, 129, 511, 512, 513][..])
        .prop_flat_map(move |count| vec(element.clone(), count))
}

fn recipe(commands: Vec<Command>, reads: &'static [&'static str]) -> Recipe {
    Recipe { commands, reads }
}

fn each(name: &'static str, parts: Vec<Command>) -> Vec<Command> {
    let command = |mut part: Command| {
        part.splice(0..0, words(&[name, "k"]));
        part
    };
    parts.into_iter().map(command).collect()
}

fn value() -> impl Strategy<Value = Recipe> {
    let one = || text().prop_map(|text| vec![text]).boxed();
    let pair = || {
        (text(), text())
            .prop_map(|(one, two)| vec![one, two])
            .boxed()
    };
    let number = integer().prop_map(|number| vec![number.to_string().into_bytes()]);
    let score = prop_oneof![
        any::<f64>().prop_filter("no number", |score| !score.is_nan()),
        (-100..100i32).prop_map(f64::from),
        Just(f64::INFINITY),
    ];
    let scored =
        (score, text()).prop_map(|(score, member)| vec![format!("{score:e}").into_bytes(), member]);
    prop_oneof![
        one().prop_map(|part| recipe(each("SET", vec![part]), &["GET k", "OBJECT ENCODING k"])),
        many(one()).prop_map(|parts| recipe(each("RPUSH", parts), &["LRANGE k 0 -1", "TYPE k"])),
        many(one()).prop_map(|parts| recipe(each("SADD", parts), &["SMEMBERS k", "SCARD k"])),
        many(number.boxed())
            .prop_map(|parts| recipe(each("SADD", parts), &["SMEMBERS k", "SCARD k"])),
        many(pair()).prop_map(|parts| recipe(each("HSET", parts), &["HVALS k", "HKEYS k"])),
        many(scored.boxed()).prop_map(|parts| {
            recipe(each("ZADD", parts), &["ZRANGE k 0 -1 WITHSCORES", "TYPE k"])
        }),
    ]
}

/// A stream with gaps, groups, consumers and pending entries.
fn stream() -> impl Strategy<Value = Vec<Command>> {
    let entry = (0..3u64, vec(text(), 0..4), text());
    let entries = vec(entry, 1..250);
    let groups = vec((any::<bool>(), vec(1..30usize, 0..4)), 0..3);
    let common = vec(text(), 1..3);
    (
        common,
        entries,
        groups,
        vec(any::<prop::sample::Index>(), 0..20),
    )
        .prop_map(|(common, entries, groups, picked)| {
            let (mut ms, mut ids, mut commands) = (5, Vec::new(), Vec::new());
            for (number, (step, names, value)) in entries.iter().enumerate() {
                ms += step;
                ids.push(format!("{ms}-{number}"));
                let mut command = words(&["XADD", "k", ids.last().expect("an id")]);
                let names = if names.is_empty() { &common } else { names };
                names
                    .iter()
                    .for_each(|name| command.extend([name.clone(), value.clone()]));
                commands.push(command);
            }
            for (number, (from_start, reads)) in groups.iter().enumerate() {
                let group = format!("g{number}");
                let start = if *from_start {
                    "0"
                } else {
                    &ids[ids.len() / 2]
                };
                commands.push(words(&["XGROUP", "CREATE", "k", &group, start]));
                for (number, count) in reads.iter().enumerate() {
                    let (consumer, count) = (format!("c{number}"), count.to_string());
                    let read = [
                        "XREADGROUP",
                        "GROUP",
                        &group,
                        &consumer,
                        "COUNT",
                        &count,
                        "STREAMS",
                        "k",
                        ">",
                    ];
                    commands.push(words(&read));
                }
                if let Some(id) = picked.first() {
                    commands.push(words(&["XACK", "k", &group, &ids[id.index(ids.len())]]));
                }
            }
            for id in &picked {
                commands.push(words(&["XDEL", "k", &ids[id.index(ids.len())]]));
            }
            commands
        })
}

struct Sides {
    ours: Connection,
    theirs: Connection,
}

impl Sides {
    fn dump(connection: &mut Connection, key: &str) -> Vec<u8> {
        let reply = connection.call(&["DUMP", key]);
        reply.bytes().expect("a payload").to_vec()
    }

    fn restore(connection: &mut Connection, key: &str, payload: &[u8]) {
        connection.call(&["DEL", key]);
        let reply = connection.call(&[b"RESTORE", key.as_bytes(), b"0", payload]);
        assert!(reply.is_ok(), "{reply}");
    }

    fn assert_same_digests(connection: &mut Connection, key: &str, other: &str) {
        let digests = connection
            .call(&["DEBUG", "DIGEST-VALUE", key, other])
            .items();
        assert_eq!(digests[0], digests[1]);
        assert_ne!(digests[0].text(), "0".repeat(40));
    }

    fn make(connection: &mut Connection, commands: &[Command]) {
        connection.call(&["DEL", "k"]);
        for command in commands {
            let reply = connection.call(command);
            assert!(!matches!(reply, Reply::Error(_)), "{reply}");
        }
    }

    /// A value of theirs comes here and goes back.
    fn there_and_back(&mut self, commands: &[Command], settings: &[usize]) {
        for ((name, values), choice) in SETTINGS.iter().zip(settings) {
            self.theirs
                .call(&["CONFIG", "SET", name, values[choice % values.len()]]);
        }
        Self::make(&mut self.theirs, commands);
        let payload = Self::dump(&mut self.theirs, "k");
        Self::restore(&mut self.ours, "k", &payload);
        let payload = Self::dump(&mut self.ours, "k");
        Self::restore(&mut self.theirs, "copy", &payload);
        Self::assert_same_digests(&mut self.theirs, "k", "copy");
        Self::restore(&mut self.ours, "copy", &payload);
        Self::assert_same_digests(&mut self.ours, "k", "copy");
    }

    fn assert_reads_agree(&mut self, reads: &[&str]) {
        for read in reads {
            let (ours, theirs) = (self.ours.run(read), self.theirs.run(read));
            // Fields and members have an order only within a list or sorted set.
            let is_ordered = read.contains("RANGE");
            let order = |reply: Reply| if is_ordered { reply } else { reply.sorted() };
            assert_eq!(order(ours), order(theirs), "{read}");
        }
    }
}

/// Runs a test on two fresh servers, with values of a kind.
fn run<S: Strategy>(values: S, test: impl Fn(&mut Sides, S::Value, &[usize])) {
    let start = |program| Server::start(Options::new(program).flag("enable-debug-command", "yes"));
    let (subject, oracle) = (start(Program::Subject), start(Program::Oracle));
    let sides = std::cell::RefCell::new(Sides {
        ours: subject.connect(),
        theirs: oracle.connect(),
    });
    sides
        .borrow_mut()
        .theirs
        .run("CONFIG SET sanitize-dump-payload yes");
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let settings = vec(any::<usize>(), SETTINGS.len());
    let done = TestRunner::new(config).run(&(values, settings), |(value, settings)| {
        test(&mut sides.borrow_mut(), value, &settings);
        Ok(())
    });
    if let Err(error) = done {
        panic!("{error}");
    }
}

#[test]
fn values_of_theirs_come_here_and_go_back() {
    run(value(), |sides, value, settings| {
        sides.there_and_back(&value.commands, settings);
        // Before one is set anew, so that both are told with the default settings.
        let payload = Sides::dump(&mut sides.ours, "k");
        Sides::restore(&mut sides.theirs, "k", &payload);
        sides.assert_reads_agree(value.reads);
    });
}

#[test]
fn streams_of_theirs_come_here_and_go_back() {
    run(stream(), |sides, commands, settings| {
        sides.there_and_back(&commands, settings);
        for read in ["XRANGE K - +", "XINFO STREAM K", "XINFO GROUPS K"] {
            let mut reads =
                ["k", "copy"].map(|key| sides.theirs.run(&read.replace('K', key)).items());
            for items in &mut reads {
                // How many nodes there are is up to who writes.
                items.retain(|item| item.integer().is_none());
            }
            assert_eq!(reads[0], reads[1], "{read}");
        }
        let groups = sides.theirs.run("XINFO GROUPS k").items();
        for group in groups.iter().map(|group| group.items()[1].text()) {
            let pending = |key: &str, sides: &mut Sides| {
                let pending = sides
                    .theirs
                    .call(&["XPENDING", key, &group, "-", "+", "1000"]);
                let fields = |entry: &Reply| {
                    let items = entry.items();
                    // Not how long ago it was given out.
                    (items[0].clone(), items[1].clone(), items[3].clone())
                };
                pending.items().iter().map(fields).collect::<Vec<_>>()
            };
            assert_eq!(pending("k", sides), pending("copy", sides));
        }
    });
}

#[test]
fn values_of_ours_go_there() {
    run(value(), |sides, value, _| {
        Sides::make(&mut sides.ours, &value.commands);
        Sides::make(&mut sides.theirs, &value.commands);
        let payload = Sides::dump(&mut sides.ours, "k");
        Sides::restore(&mut sides.theirs, "copy", &payload);
        Sides::assert_same_digests(&mut sides.theirs, "k", "copy");
        sides.assert_reads_agree(value.reads);
    });
}
