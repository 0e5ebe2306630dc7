//! Generated commands on streams. Ids are explicit, and times of delivery are not asked for: else two servers differ.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::generated::{Command, join, key, one, word};

const ODD_IDS: [&str; 10] = [
    "-",
    "+",
    "$",
    ">",
    "0",
    "x",
    "",
    "5-*",
    "18446744073709551615-18446744073709551615",
    "7-18446744073709551615",
];

fn id() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => (0..12u64, 0..4u64).prop_map(|(ms, sequence)| format!("{ms}-{sequence}").into_bytes()),
        3 => (0..14u64).prop_map(|ms| ms.to_string().into_bytes()),
        1 => select(&ODD_IDS[..]).prop_map(|id| id.as_bytes().to_vec()),
    ]
}

/// Most entries have an id that is higher than most others.
fn new_id() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        5 => (0..12u64).prop_map(|ms| format!("{ms}-*").into_bytes()),
        3 => id(),
    ]
}

fn end() -> impl Strategy<Value = Vec<u8>> {
    (word(&["", "", "("]), id()).prop_map(|(mark, id)| [mark, id].concat())
}

fn count() -> impl Strategy<Value = Vec<u8>> {
    (-1i64..4).prop_map(|count| count.to_string().into_bytes())
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    select(&["g", "g", "g", "h", ""][..]).prop_map(|name| name.as_bytes().to_vec())
}

fn consumer() -> impl Strategy<Value = Vec<u8>> {
    select(&["c", "d", ""][..]).prop_map(|name| name.as_bytes().to_vec())
}

fn trim() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => (word(&["MAXLEN"]), word(&["=", ""]), count()),
        2 => (word(&["MINID"]), word(&["=", ""]), id().boxed()),
    ]
    .prop_map(|(strategy, operator, value)| {
        let words = [strategy, operator, value];
        words.into_iter().filter(|word| !word.is_empty()).collect()
    })
}

fn entry_command() -> impl Strategy<Value = Command> {
    let fields = || vec(word(&["f", "g", "v", ""]), 2..3);
    let counted = || prop_oneof![1 => Just(Vec::new()), 1 => count().prop_map(|n| vec![b"COUNT".to_vec(), n])];
    let options = prop_oneof![
        3 => Just(Vec::new()),
        2 => trim().boxed(),
        1 => word(&["NOMKSTREAM", "LIMIT"]).prop_map(|w| vec![w]),
    ];
    let marks = vec(
        (
            word(&["ENTRIESADDED", "MAXDELETEDID"]),
            prop_oneof![id(), count()],
        ),
        0..2,
    );
    prop_oneof![
        8 => (key(), new_id(), fields()).prop_map(|(k, i, f)| join(vec![one("XADD"), vec![k, i], f])),
        4 => (key(), options, new_id(), fields())
            .prop_map(|(k, o, i, f)| join(vec![one("XADD"), vec![k], o, vec![i], f])),
        2 => (key(), trim()).prop_map(|(k, t)| join(vec![one("XTRIM"), vec![k], t])),
        3 => (key(), vec(id(), 1..4)).prop_map(|(k, i)| join(vec![one("XDEL"), vec![k], i])),
        2 => (word(&["XRANGE", "XREVRANGE"]), key(), end(), end(), counted())
            .prop_map(|(c, k, a, b, o)| join(vec![vec![c, k, a, b], o])),
        1 => key().prop_map(|k| vec![b"XLEN".to_vec(), k]),
        1 => (key(), id(), marks).prop_map(|(k, i, m)| {
            let marks = m.into_iter().flat_map(|(name, value)| [name, value]).collect();
            join(vec![one("XSETID"), vec![k, i], marks])
        }),
        2 => (counted(), vec((key(), id()), 1..3)).prop_map(|(o, s)| {
            let (keys, ids) = s.into_iter().unzip();
            join(vec![one("XREAD"), o, one("STREAMS"), keys, ids])
        }),
    ]
}

fn group_command() -> impl Strategy<Value = Command> {
    let place = || prop_oneof![3 => id(), 1 => Just(b"$".to_vec())];
    let options = || {
        vec(
            prop_oneof![
                2 => word(&["MKSTREAM"]).prop_map(|w| vec![w]),
                1 => count().prop_map(|n| vec![b"ENTRIESREAD".to_vec(), n]),
            ],
            0..2,
        )
        .prop_map(join)
    };
    let claiming = vec(
        prop_oneof![
            2 => word(&["FORCE", "JUSTID"]).prop_map(|w| vec![w]),
            1 => (word(&["RETRYCOUNT", "IDLE", "TIME"]), count()).prop_map(|(w, n)| vec![w, n]),
            1 => id().prop_map(|id| vec![b"LASTID".to_vec(), id]),
        ],
        0..3,
    );
    let reading = || vec(word(&["NOACK"]), 0..2);
    let asked = || prop_oneof![3 => Just(b">".to_vec()), 2 => id()];
    // Of what is pending nothing is idle for so long, and everything for nothing.
    let idle = || select(&["0", "1000000000"][..]).prop_map(|idle| idle.as_bytes().to_vec());
    prop_oneof![
        6 => (key(), name(), place(), options())
            .prop_map(|(k, g, i, o)| join(vec![one("XGROUP"), one("CREATE"), vec![k, g, i], o])),
        1 => (key(), name(), place(), options())
            .prop_map(|(k, g, i, o)| join(vec![one("XGROUP"), one("SETID"), vec![k, g, i], o])),
        1 => (key(), name()).prop_map(|(k, g)| join(vec![one("XGROUP"), one("DESTROY"), vec![k, g]])),
        2 => (word(&["CREATECONSUMER", "DELCONSUMER"]), key(), name(), consumer())
            .prop_map(|(s, k, g, c)| join(vec![one("XGROUP"), vec![s, k, g, c]])),
        7 => (name(), consumer(), count(), reading(), vec((key(), asked()), 1..3)).prop_map(|(g, c, n, o, s)| {
            let (keys, ids) = s.into_iter().unzip();
            let given = vec![b"GROUP".to_vec(), g, c, b"COUNT".to_vec(), n];
            join(vec![one("XREADGROUP"), given, o, one("STREAMS"), keys, ids])
        }),
        4 => (key(), name(), vec(id(), 1..4)).prop_map(|(k, g, i)| join(vec![one("XACK"), vec![k, g], i])),
        4 => (key(), name(), consumer(), idle(), vec(id(), 1..3), claiming).prop_map(|(k, g, c, n, i, o)| {
            join(vec![one("XCLAIM"), vec![k, g, c, n], i, join(o)])
        }),
        3 => (key(), name(), consumer(), idle(), end(), word(&["1", "2", "100"])).prop_map(|(k, g, c, n, i, m)| {
            join(vec![one("XAUTOCLAIM"), vec![k, g, c, n, i, b"COUNT".to_vec(), m]])
        }),
        2 => (key(), name()).prop_map(|(k, g)| vec![b"XPENDING".to_vec(), k, g]),
    ]
}

/// A command on a stream.
pub fn stream_command() -> impl Strategy<Value = Command> {
    prop_oneof![1 => entry_command().boxed(), 1 => group_command().boxed()]
}
