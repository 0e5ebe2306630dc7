//! Generated command sequences, run on both servers; the replies and then the whole keyspaces must agree.

use std::cell::RefCell;
use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::common::{Connection, Protocol, Reply, Server, encode_command, escape};
use crate::runner::paired;
use crate::streams::stream_command;

pub type Command = Vec<Vec<u8>>;

/// Commands that print as lines.
#[derive(Clone)]
pub struct Sequence(pub Vec<Command>);

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|command| write!(f, "\n  {}", show(command)))
    }
}

/// Sequences tried unless `PROPTEST_CASES` says otherwise.
const DEFAULT_CASES: u32 = 300;
const FIELDS: [&str; 5] = ["f0", "f1", "f2", "n", ""];
const KEYS: [&str; 6] = ["k0", "k1", "k2", "{t}a", "{t}b", ""];
const DATABASES: [&str; 4] = ["0", "1", "2", "15"];

pub fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    Config {
        cases: cases.unwrap_or(DEFAULT_CASES),
        failure_persistence: None,
        max_shrink_iters: 2000,
        // A part of the cases, however many there are.
        max_global_rejects: u32::MAX,
        ..Config::default()
    }
}

#[test]
fn fuzz_sequences_resp2() {
    compare_sequences(Protocol::Resp2);
}

#[test]
fn fuzz_sequences_resp3() {
    compare_sequences(Protocol::Resp3);
}

fn compare_sequences(protocol: Protocol) {
    let (subject, oracle) = (Server::subject(), Server::oracle());
    let ours = RefCell::new(subject.connect_as(protocol));
    let theirs = RefCell::new(oracle.connect_as(protocol));
    keep_expired(&mut ours.borrow_mut());
    keep_expired(&mut theirs.borrow_mut());
    let mut runner = TestRunner::new(config());
    let strategy = vec(command(), 1..40).prop_map(Sequence);
    let result = runner.run(&strategy, |Sequence(commands)| {
        compare(&mut ours.borrow_mut(), &mut theirs.borrow_mut(), &commands)
            .map_err(TestCaseError::fail)
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// Makes a server keep keys that are expired until somebody asks for them: `DBSIZE` counts them as long as they are there,
/// and two servers would remove them at two moments.
pub fn keep_expired(connection: &mut Connection) {
    let reply = connection.run("DEBUG SET-ACTIVE-EXPIRE 0");
    assert!(reply.is_ok(), "{reply}");
}

fn compare(
    ours: &mut Connection,
    theirs: &mut Connection,
    commands: &[Command],
) -> Result<(), String> {
    let mut sequence: Vec<Command> = vec![words("FLUSHALL"), words("SELECT 0")];
    sequence.extend_from_slice(commands);
    sequence.extend(state_commands());
    let bytes: Vec<u8> = sequence
        .iter()
        .flat_map(|command| encode_command(command))
        .collect();
    ours.send(&bytes).map_err(|e| e.to_string())?;
    theirs.send(&bytes).map_err(|e| e.to_string())?;
    let mut differences = Vec::new();
    for command in &sequence {
        let (their, their_bytes) = theirs.read_raw().map_err(|e| format!("oracle: {e}"))?;
        let (our, our_bytes) = ours
            .read_raw()
            .map_err(|e| format!("{}: {e}", show(command)))?;
        if !agree(command, (&our, &our_bytes), (&their, &their_bytes)) {
            differences.push(format!(
                "{}\n  oracle:  {their}\n  subject: {our}",
                show(command)
            ));
        }
    }
    if differences.is_empty() {
        Ok(())
    } else {
        Err(format!("\n{}\n", differences.join("\n")))
    }
}

/// Commands that tell what a sequence left behind, in each database.
pub fn state_commands() -> Vec<Command> {
    let mut sequence = Vec::new();
    for database in DATABASES {
        sequence.push(vec![b"SELECT".to_vec(), database.into()]);
        sequence.push(words("DBSIZE"));
        sequence.push(words("KEYS *"));
        for key in KEYS {
            for read in ["TYPE", "GET", "HGETALL", "PTTL", "OBJECT ENCODING"] {
                let mut command = words(read);
                command.push(key.into());
                sequence.push(command);
            }
            sequence.push(join(vec![one("LRANGE"), vec![key.into()], words("0 -1")]));
            sequence.push(join(vec![one("XRANGE"), vec![key.into()], words("- +")]));
            sequence.push(join(vec![words("XINFO GROUPS"), vec![key.into()]]));
            sequence.push(join(vec![words("XINFO STREAM"), vec![key.into()]]));
            sequence.push(join(vec![one("XPENDING"), vec![key.into(), b"g".to_vec()]]));
            sequence.push(join(vec![
                one("ZRANGE"),
                vec![key.into()],
                words("0 -1 WITHSCORES"),
            ]));
        }
    }
    sequence
}

/// Whether the replies to a command are as good as the same.
pub fn agree(
    command: &Command,
    (our, our_bytes): (&Reply, &[u8]),
    (their, their_bytes): (&Reply, &[u8]),
) -> bool {
    let is = |name: &str| command[0] == name.as_bytes();
    if is("HRANDFIELD") && command.len() == 2 {
        // Any one field.
        return our.kind() == their.kind();
    }
    // Fields of a hash have no order.
    let has_pairs = command
        .iter()
        .any(|word| word.eq_ignore_ascii_case(b"WITHVALUES"));
    if is("HGETALL") || is("HSCAN") || is("HRANDFIELD") && has_pairs {
        return paired(our.clone()) == paired(their.clone());
    }
    if is("OBJECT") && *our == Reply::Bulk(b"listpack".to_vec()) {
        // Redis remembers longer what a hash once was: in a copy, and in a value that was not set.
        let names: [&[u8]; 3] = [b"listpack", b"hashtable", b"skiplist"];
        return matches!(their, Reply::Bulk(name) if names.contains(&&**name));
    }
    if is("XINFO") {
        return without_nodes(our) == without_nodes(their);
    }
    if ["KEYS", "HKEYS", "HVALS", "HRANDFIELD"]
        .iter()
        .any(|name| is(name))
    {
        return our.clone().sorted() == their.clone().sorted();
    }
    let seconds = is("TTL") || is("EXPIRETIME");
    if (seconds || is("PTTL") || is("PEXPIRETIME"))
        && let (Reply::Integer(our @ 0..), Reply::Integer(their @ 0..)) = (our, their)
    {
        // Two servers set a relative expiry at two moments.
        return our.abs_diff(*their) <= if seconds { 2 } else { 2000 };
    }
    our_bytes == their_bytes
}

/// What XINFO tells of a stream, without the nodes that Redis holds its entries in.
fn without_nodes(reply: &Reply) -> Reply {
    let is_of_nodes = |name: &Reply| name.text().starts_with("radix-tree-");
    match reply {
        Reply::Array(items) if items.first() == Some(&Reply::Bulk(b"length".to_vec())) => {
            let pairs = items.chunks(2).filter(|pair| !is_of_nodes(&pair[0]));
            Reply::Array(pairs.flatten().cloned().collect())
        }
        Reply::Map(pairs) => {
            let pairs = pairs.iter().filter(|(name, _)| !is_of_nodes(name));
            Reply::Map(pairs.cloned().collect())
        }
        other => other.clone(),
    }
}

pub fn words(line: &str) -> Command {
    line.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

pub fn show(command: &Command) -> String {
    command
        .iter()
        .map(|word| format!("\"{}\"", escape(word)))
        .collect::<Vec<_>>()
        .join(" ")
}

pub fn key() -> impl Strategy<Value = Vec<u8>> {
    select(&KEYS[..]).prop_map(|key| key.as_bytes().to_vec())
}

/// Mostly small numbers, sometimes the edges, sometimes none at all.
fn number() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (-20i64..40).prop_map(|n| n.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        2 => select(&[
            "9223372036854775807", "-9223372036854775808", "9223372036854775808", "4294967296", "2147483647", "-1",
            "abc", "", " 1", "1 ", "+1", "01", "1.5", "-0", "1e3", "0x1",
        ][..]).prop_map(|text| text.as_bytes().to_vec()),
    ]
}

fn float() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (-1000i32..1000, 1u32..5).prop_map(|(n, digits)| {
            format!("{:.*}", digits as usize, f64::from(n) / 100.0).into_bytes()
        }),
        1 => (-1e20f64..1e20).prop_map(|n| n.to_string().into_bytes()),
        1 => (-1.0f64..1.0).prop_map(|n| format!("{n:e}").into_bytes()),
        1 => (0u64..u64::MAX).prop_map(|n| format!("{n}.{}", n % 1_000_003).into_bytes()),
        1 => select(&["3.0e3", "1e-5", "1e17", "inf", "nan", "0x10", ".5", "5.", "-0", "1e400"][..])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => number(),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => number(),
        1 => float(),
        3 => vec(any::<u8>(), 0..20),
        1 => (any::<u8>(), 40usize..300).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

/// An offset a server can afford to write at.
fn offset() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (-3i64..200).prop_map(|n| n.to_string().into_bytes()),
        1 => select(&["abc", "", "4294967296", "9223372036854775807", "-9223372036854775808", "#3"][..])
            .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

/// One of some words, in one of two letter cases.
pub fn word(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> + Clone {
    (select(words), prop::bool::weighted(0.8)).prop_map(|(word, upper)| {
        if upper {
            word.as_bytes().to_vec()
        } else {
            word.to_ascii_lowercase().into_bytes()
        }
    })
}

/// An expiry far in the future (or long past) as an option and its argument.
fn expiry_option() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop_oneof![
        3 => (word(&["EX"]), 1000i64..100_000).prop_map(|(w, n)| vec![w, n.to_string().into_bytes()]),
        2 => (word(&["PX"]), 10_000_000i64..100_000_000).prop_map(|(w, n)| vec![w, n.to_string().into_bytes()]),
        2 => (word(&["EXAT"]), 10_000_000_000i64..10_100_000_000).prop_map(|(w, n)| vec![w, n.to_string().into_bytes()]),
        2 => (word(&["PXAT"]), 10_000_000_000_000i64..10_100_000_000_000)
            .prop_map(|(w, n)| vec![w, n.to_string().into_bytes()]),
        1 => (word(&["EXAT", "PXAT"]), 1i64..1000).prop_map(|(w, n)| vec![w, n.to_string().into_bytes()]),
        1 => (word(&["EX", "PX"]), select(&["0", "-1", "abc", "9223372036854775807"][..]))
            .prop_map(|(w, n)| vec![w, n.as_bytes().to_vec()]),
        1 => word(&["KEEPTTL", "PERSIST", "EX"]).prop_map(|w| vec![w]),
    ]
}

pub fn join(parts: Vec<Vec<Vec<u8>>>) -> Command {
    parts.into_iter().flatten().collect()
}

pub fn one(name: &str) -> Vec<Vec<u8>> {
    vec![name.as_bytes().to_vec()]
}

fn string_command() -> impl Strategy<Value = Command> {
    let options = vec(
        prop_oneof![2 => expiry_option(), 2 => word(&["NX", "XX", "GET"]).prop_map(|w| vec![w])],
        0..3,
    );
    let pairs = vec((key(), value()), 1..4)
        .prop_map(|pairs| pairs.into_iter().flat_map(|(k, v)| [k, v]).collect());
    prop_oneof![
        4 => (key(), value()).prop_map(|(k, v)| vec![b"SET".to_vec(), k, v]),
        4 => (key(), value(), options).prop_map(|(k, v, o)| join(vec![one("SET"), vec![k, v], join(o)])),
        3 => (word(&["GET", "GETDEL", "STRLEN", "INCR", "DECR", "GETEX"]), key()).prop_map(|(c, k)| vec![c, k]),
        2 => (key(), expiry_option()).prop_map(|(k, o)| join(vec![one("GETEX"), vec![k], o])),
        3 => (word(&["GETSET", "SETNX", "APPEND"]), key(), value()).prop_map(|(c, k, v)| vec![c, k, v]),
        3 => (word(&["INCRBY", "DECRBY"]), key(), number()).prop_map(|(c, k, v)| vec![c, k, v]),
        3 => (key(), float()).prop_map(|(k, v)| vec![b"INCRBYFLOAT".to_vec(), k, v]),
        2 => (word(&["SETEX", "PSETEX"]), key(), 10_000_000i64..100_000_000, value())
            .prop_map(|(c, k, n, v)| vec![c, k, n.to_string().into_bytes(), v]),
        2 => (key(), offset(), value()).prop_map(|(k, o, v)| vec![b"SETRANGE".to_vec(), k, o, v]),
        2 => (word(&["GETRANGE", "SUBSTR"]), key(), number(), number()).prop_map(|(c, k, a, b)| vec![c, k, a, b]),
        2 => (word(&["MSET", "MSETNX"]), pairs).prop_map(|(c, p): (_, Vec<_>)| join(vec![vec![c], p])),
        1 => vec(key(), 1..5).prop_map(|keys| join(vec![one("MGET"), keys])),
        1 => (key(), key(), vec(word(&["LEN", "IDX", "WITHMATCHLEN", "MINMATCHLEN", "3"]), 0..4))
            .prop_map(|(a, b, o)| join(vec![one("LCS"), vec![a, b], o])),
    ]
}

fn field() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        10 => select(&FIELDS[..]).prop_map(|field| field.as_bytes().to_vec()),
        1 => value(),
    ]
}

fn hash_command() -> impl Strategy<Value = Command> {
    let content = prop_oneof![2 => number(), 1 => float(), 2 => value()];
    let pairs = vec((field(), content.clone()), 1..4)
        .prop_map(|pairs| pairs.into_iter().flat_map(|(f, v)| [f, v]).collect());
    prop_oneof![
        6 => (word(&["HSET", "HMSET"]), key(), pairs).prop_map(|(c, k, p): (_, _, Vec<_>)| join(vec![vec![c, k], p])),
        2 => (key(), field(), content).prop_map(|(k, f, v)| vec![b"HSETNX".to_vec(), k, f, v]),
        3 => (word(&["HGET", "HEXISTS", "HSTRLEN"]), key(), field()).prop_map(|(c, k, f)| vec![c, k, f]),
        2 => (word(&["HMGET", "HDEL"]), key(), vec(field(), 1..4)).prop_map(|(c, k, f)| join(vec![vec![c, k], f])),
        2 => (select(&["HLEN", "HGETALL", "HKEYS", "HVALS"][..]), key()).prop_map(|(c, k)| vec![c.into(), k]),
        3 => (key(), field(), number()).prop_map(|(k, f, n)| vec![b"HINCRBY".to_vec(), k, f, n]),
        3 => (key(), field(), float()).prop_map(|(k, f, n)| vec![b"HINCRBYFLOAT".to_vec(), k, f, n]),
        // All fields, or an error: a choice of some is another on every server.
        1 => (key(), select(&["1000", "0", "x", "-9223372036854775808"][..]), vec(word(&["WITHVALUES", "FOO"]), 0..2))
            .prop_map(|(k, n, o)| join(vec![one("HRANDFIELD"), vec![k, n.into()], o])),
        1 => (key(), word(&["0", "x"]), vec(word(&["MATCH", "COUNT", "f*", "*", "1000"]), 0..3))
            .prop_map(|(k, c, o)| join(vec![one("HSCAN"), vec![k, c, b"COUNT".to_vec(), b"1000".to_vec()], o])),
    ]
}

fn list_command() -> impl Strategy<Value = Command> {
    let index = || (-4i64..5).prop_map(|index| index.to_string().into_bytes());
    let side = || prop_oneof![9 => word(&["LEFT", "RIGHT"]), 1 => word(&["UP"])];
    let element =
        || select(&["a", "b", "1", ""][..]).prop_map(|element| element.as_bytes().to_vec());
    let options = vec((word(&["RANK", "COUNT", "MAXLEN"]), index()), 0..3)
        .prop_map(|options| options.into_iter().flat_map(|(o, n)| [o, n]).collect());
    let counted = || {
        (vec(key(), 1..3), side(), vec(index(), 0..2)).prop_map(|(keys, side, count)| {
            let number = keys.len().to_string().into_bytes();
            let count = count
                .into_iter()
                .flat_map(|count| [b"COUNT".to_vec(), count]);
            join(vec![vec![number], keys, vec![side], count.collect()])
        })
    };
    prop_oneof![
        6 => (word(&["LPUSH", "RPUSH", "LPUSHX", "RPUSHX"]), key(), vec(element(), 1..5))
            .prop_map(|(c, k, e)| join(vec![vec![c, k], e])),
        3 => (word(&["LPOP", "RPOP", "LLEN"]), key()).prop_map(|(c, k)| vec![c, k]),
        2 => (word(&["LPOP", "RPOP", "LINDEX"]), key(), index()).prop_map(|(c, k, n)| vec![c, k, n]),
        3 => (word(&["LRANGE", "LTRIM"]), key(), index(), index()).prop_map(|(c, k, a, b)| vec![c, k, a, b]),
        3 => (word(&["LSET", "LREM"]), key(), index(), element()).prop_map(|(c, k, n, e)| vec![c, k, n, e]),
        3 => (key(), word(&["BEFORE", "AFTER"]), element(), element())
            .prop_map(|(k, w, p, e)| vec![b"LINSERT".to_vec(), k, w, p, e]),
        3 => (key(), element(), options)
            .prop_map(|(k, e, o): (_, _, Vec<_>)| join(vec![one("LPOS"), vec![k, e], o])),
        3 => (key(), key(), side(), side()).prop_map(|(a, b, f, t)| vec![b"LMOVE".to_vec(), a, b, f, t]),
        2 => (key(), key()).prop_map(|(a, b)| vec![b"RPOPLPUSH".to_vec(), a, b]),
        3 => counted().prop_map(|c| join(vec![one("LMPOP"), c])),
        1 => counted().prop_map(|c| join(vec![words("BLMPOP 0.001"), c])),
        1 => (word(&["BLPOP", "BRPOP"]), vec(key(), 1..3))
            .prop_map(|(c, k)| join(vec![vec![c], k, one("0.001")])),
    ]
}

fn score() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (-3i64..6).prop_map(|n| n.to_string().into_bytes()),
        2 => float(),
        1 => select(&["inf", "-inf", "+inf", "0.1", "1e300", "x"][..]).prop_map(|text| text.as_bytes().to_vec()),
    ]
}

fn sorted_set_command() -> impl Strategy<Value = Command> {
    let pairs = || {
        vec((score(), field()), 1..4).prop_map(|pairs| {
            pairs
                .into_iter()
                .flat_map(|(s, m)| [s, m])
                .collect::<Vec<_>>()
        })
    };
    let conditions = vec(word(&["NX", "XX", "GT", "LT", "CH", "INCR"]), 0..3);
    let bound = || (word(&["", "("]), score()).prop_map(|(mark, score)| [mark, score].concat());
    let member_bound = || {
        prop_oneof![
            1 => word(&["-", "+"]),
            2 => (word(&["[", "("]), field()).prop_map(|(mark, member)| [mark, member].concat()),
        ]
    };
    let options = || vec(word(&["REV", "WITHSCORES", "LIMIT", "0", "2"]), 0..4);
    let some = || vec(key(), 1..4).prop_map(|keys| join(vec![one(&keys.len().to_string()), keys]));
    let aggregate = || {
        prop_oneof![
            2 => Just(Vec::new()),
            1 => (score(), score()).prop_map(|(a, b)| vec![b"WEIGHTS".to_vec(), a, b]),
            1 => word(&["SUM", "MIN", "MAX", "FOO"]).prop_map(|w| vec![b"AGGREGATE".to_vec(), w]),
        ]
    };
    let changes = prop_oneof![
        6 => (key(), pairs()).prop_map(|(k, p)| join(vec![one("ZADD"), vec![k], p])),
        4 => (key(), conditions, pairs()).prop_map(|(k, c, p)| join(vec![one("ZADD"), vec![k], c, p])),
        2 => (key(), score(), field()).prop_map(|(k, s, m)| vec![b"ZINCRBY".to_vec(), k, s, m]),
        2 => (key(), vec(field(), 1..4)).prop_map(|(k, m)| join(vec![one("ZREM"), vec![k], m])),
        1 => (word(&["ZPOPMIN", "ZPOPMAX"]), key()).prop_map(|(c, k)| vec![c, k]),
        1 => (word(&["ZPOPMIN", "ZPOPMAX"]), key(), number()).prop_map(|(c, k, n)| vec![c, k, n]),
        1 => (some(), word(&["MIN", "MAX"])).prop_map(|(k, e)| join(vec![one("ZMPOP"), k, vec![e]])),
        1 => (some(), word(&["MIN", "MAX"])).prop_map(|(k, e)| join(vec![words("BZMPOP 0.001"), k, vec![e]])),
        1 => (word(&["BZPOPMIN", "BZPOPMAX"]), vec(key(), 1..3))
            .prop_map(|(c, k)| join(vec![vec![c], k, one("0.001")])),
        1 => (key(), number(), number()).prop_map(|(k, a, b)| vec![b"ZREMRANGEBYRANK".to_vec(), k, a, b]),
        1 => (key(), bound(), bound()).prop_map(|(k, a, b)| vec![b"ZREMRANGEBYSCORE".to_vec(), k, a, b]),
        2 => (word(&["ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"]), key(), some(), aggregate())
            .prop_map(|(c, d, k, a)| join(vec![vec![c, d], k, a])),
        1 => (key(), key(), number(), number()).prop_map(|(d, k, a, b)| vec![b"ZRANGESTORE".to_vec(), d, k, a, b]),
    ];
    let reads = prop_oneof![
        2 => (word(&["ZSCORE", "ZRANK", "ZREVRANK"]), key(), field()).prop_map(|(c, k, m)| vec![c, k, m]),
        1 => (key(), vec(field(), 1..4)).prop_map(|(k, m)| join(vec![one("ZMSCORE"), vec![k], m])),
        1 => (word(&["ZCARD"]), key()).prop_map(|(c, k)| vec![c, k]),
        1 => (key(), bound(), bound()).prop_map(|(k, a, b)| vec![b"ZCOUNT".to_vec(), k, a, b]),
        2 => (word(&["ZRANGE", "ZREVRANGE"]), key(), number(), number(), options())
            .prop_map(|(c, k, a, b, o)| join(vec![vec![c, k, a, b], o])),
        2 => (word(&["ZRANGEBYSCORE", "ZREVRANGEBYSCORE"]), key(), bound(), bound(), options())
            .prop_map(|(c, k, a, b, o)| join(vec![vec![c, k, a, b], o])),
        // Where scores differ the answer depends on how Redis holds the set.
        1 => (word(&["ZRANGEBYLEX", "ZREVRANGEBYLEX"]), member_bound(), member_bound(), options())
            .prop_map(|(c, a, b, o)| join(vec![vec![c, b"nosuch".to_vec(), a, b], o])),
        2 => (word(&["ZUNION", "ZINTER", "ZDIFF"]), some(), aggregate(), options())
            .prop_map(|(c, k, a, o)| join(vec![vec![c], k, a, o])),
        1 => (some(), vec(word(&["LIMIT", "1", "0", "x"]), 0..3))
            .prop_map(|(k, o)| join(vec![one("ZINTERCARD"), k, o])),
    ];
    prop_oneof![1 => changes.boxed(), 1 => reads.boxed()]
}

fn place_command() -> impl Strategy<Value = Command> {
    let degrees = || (-181i32..=181).prop_map(|n| n.to_string().into_bytes());
    let narrow = || (-86i32..=86).prop_map(|n| n.to_string().into_bytes());
    let unit = || word(&["M", "KM", "FT", "MI", "X"]);
    // No COUNT: which of several at the same distance it takes is not determined.
    let options = || {
        vec(
            word(&["ASC", "DESC", "WITHDIST", "WITHHASH", "WITHCOORD"]),
            0..4,
        )
    };
    prop_oneof![
        4 => (key(), vec((degrees(), narrow(), field()), 1..4)).prop_map(|(k, p)| {
            let places = p.into_iter().flat_map(|(x, y, m)| [x, y, m]).collect();
            join(vec![one("GEOADD"), vec![k], places])
        }),
        2 => (word(&["GEOPOS", "GEOHASH"]), key(), vec(field(), 0..3)).prop_map(|(c, k, m)| join(vec![vec![c, k], m])),
        1 => (key(), field(), field(), unit()).prop_map(|(k, a, b, u)| vec![b"GEODIST".to_vec(), k, a, b, u]),
        2 => (key(), degrees(), narrow(), number(), unit(), options()).prop_map(|(k, x, y, r, u, o)| {
            join(vec![one("GEOSEARCH"), vec![k], one("FROMLONLAT"), vec![x, y], one("BYRADIUS"), vec![r, u], o])
        }),
        1 => (key(), key(), field(), number(), number(), unit()).prop_map(|(d, k, m, w, h, u)| {
            join(vec![one("GEOSEARCHSTORE"), vec![d, k], one("FROMMEMBER"), vec![m], one("BYBOX"), vec![w, h, u]])
        }),
    ]
}

fn bitmap_command() -> impl Strategy<Value = Command> {
    let unit = vec(word(&["BIT", "BYTE"]), 0..2);
    let field = prop_oneof![3 => word(&["u8", "i8", "u4", "i5", "u63", "i64", "u1"]), 1 => word(&["u64", "i0", "x"])];
    let operation = prop_oneof![
        2 => (field.clone(), offset()).prop_map(|(f, o)| join(vec![one("GET"), vec![f, o]])),
        2 => (word(&["SET", "INCRBY"]), field, offset(), number()).prop_map(|(c, f, o, n)| vec![c, f, o, n]),
        1 => word(&["WRAP", "SAT", "FAIL", "FOO"]).prop_map(|w| join(vec![one("OVERFLOW"), vec![w]])),
    ];
    prop_oneof![
        3 => (key(), offset(), word(&["0", "1", "2"])).prop_map(|(k, o, b)| vec![b"SETBIT".to_vec(), k, o, b]),
        2 => (key(), offset()).prop_map(|(k, o)| vec![b"GETBIT".to_vec(), k, o]),
        1 => key().prop_map(|k| vec![b"BITCOUNT".to_vec(), k]),
        2 => (key(), number(), number(), unit.clone())
            .prop_map(|(k, a, b, u)| join(vec![one("BITCOUNT"), vec![k, a, b], u])),
        2 => (key(), word(&["0", "1"]), vec(number(), 0..3), unit).prop_map(|(k, b, range, u)| {
            let unit = if range.len() == 2 { u } else { Vec::new() };
            join(vec![one("BITPOS"), vec![k, b], range, unit])
        }),
        2 => (word(&["AND", "OR", "XOR", "NOT"]), key(), vec(key(), 1..4))
            .prop_map(|(o, d, keys)| join(vec![one("BITOP"), vec![o, d], keys])),
        3 => (word(&["BITFIELD", "BITFIELD_RO"]), key(), vec(operation, 0..4))
            .prop_map(|(c, k, o)| join(vec![vec![c, k], join(o)])),
    ]
}

fn key_command() -> impl Strategy<Value = Command> {
    let condition = vec(word(&["NX", "XX", "GT", "LT"]), 0..3);
    prop_oneof![
        3 => (word(&["DEL", "UNLINK", "EXISTS", "TOUCH"]), vec(key(), 1..4)).prop_map(|(c, k)| join(vec![vec![c], k])),
        3 => (word(&["TYPE", "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "PERSIST"]), key())
            .prop_map(|(c, k)| vec![c.to_ascii_uppercase(), k]),
        3 => (word(&["RENAME", "RENAMENX"]), key(), key()).prop_map(|(c, a, b)| vec![c, a, b]),
        3 => (key(), key(), vec(prop_oneof![
                word(&["REPLACE"]).prop_map(|w| vec![w]),
                word(&["0", "1", "2", "15", "16", "-1"]).prop_map(|n| join(vec![one("DB"), vec![n]])),
            ], 0..3))
            .prop_map(|(a, b, o)| join(vec![one("COPY"), vec![a, b], join(o)])),
        2 => (key(), word(&["0", "1", "2", "15", "16", "-1", "x"])).prop_map(|(k, d)| vec![b"MOVE".to_vec(), k, d]),
        2 => word(&["0", "1", "2", "15", "16", "-1", "x"]).prop_map(|d| vec![b"SELECT".to_vec(), d]),
        1 => (word(&["0", "1", "2", "16"]), word(&["0", "1", "2", "x"]))
            .prop_map(|(a, b)| vec![b"SWAPDB".to_vec(), a, b]),
        1 => word(&["FLUSHDB", "DBSIZE"]).prop_map(|c| vec![c]),
        1 => word(&["*", "k?", "k[0-1]", "[^k]*", "{t}*", ""]).prop_map(|p| vec![b"KEYS".to_vec(), p]),
        2 => (word(&["EXPIRE"]), key(), 1000i64..100_000, condition.clone())
            .prop_map(|(c, k, n, o)| join(vec![vec![c, k, n.to_string().into_bytes()], o])),
        2 => (word(&["EXPIREAT"]), key(), 10_000_000_000i64..10_000_000_009, condition.clone())
            .prop_map(|(c, k, n, o)| join(vec![vec![c, k, n.to_string().into_bytes()], o])),
        2 => (word(&["PEXPIREAT"]), key(), 10_000_000_000_000i64..10_000_000_000_009, condition.clone())
            .prop_map(|(c, k, n, o)| join(vec![vec![c, k, n.to_string().into_bytes()], o])),
        1 => (word(&["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"]), key(), select(&["0", "-1", "x"][..]), condition)
            .prop_map(|(c, k, n, o)| join(vec![vec![c, k, n.as_bytes().to_vec()], o])),
        // No REFCOUNT: Redis' small integers are shared, but not after every command (COPY).
        2 => (word(&["ENCODING", "FOO"]), key())
            .prop_map(|(s, k)| vec![b"OBJECT".to_vec(), s, k]),
    ]
}

/// Whether the last argument is for how long it waits.
fn is_blocking(command: &Command) -> bool {
    ["BLPOP", "BRPOP", "BZPOPMIN", "BZPOPMAX"]
        .iter()
        .any(|name| command[0] == name.as_bytes())
}

/// Any command, now and then with an argument too few or too many.
pub fn command() -> impl Strategy<Value = Command> {
    // Boxed: all strategies in one value are too much for the stack of a test.
    let command = prop_oneof![
        5 => string_command().boxed(),
        3 => bitmap_command().boxed(),
        5 => hash_command().boxed(),
        5 => list_command().boxed(),
        6 => sorted_set_command().boxed(),
        1 => place_command().boxed(),
        6 => stream_command().boxed(),
        4 => key_command().boxed(),
    ];
    (command, 0u8..40, value()).prop_map(|(mut command, odds, extra)| {
        match odds {
            0 if command.len() > 1 => drop(command.pop()),
            // As the time to wait it could be for ever.
            1 if !is_blocking(&command) => command.push(extra),
            _ => {}
        }
        command
    })
}
