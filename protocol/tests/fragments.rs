//! Generated and mutated input: fragmentation never matters, `redis-protocol` agrees, nothing panics or hoards memory.
//!
//! `PROPTEST_CASES=100000 cargo test -p coterie-protocol --test fragments` makes it a longer fuzz run.

mod common;

use common::{Arguments, encode, read};
use coterie_protocol::{Limits, Scanner};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use redis_protocol::resp2::{decode::decode, types::OwnedFrame};

fn argument() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..20),
        1 => vec(prop::sample::select(b"\r\n$*0123456789".to_vec()), 0..20),
        1 => (0usize..1200).prop_map(|length| vec![b'v'; length]),
    ]
}

fn arguments() -> impl Strategy<Value = Arguments> {
    vec(argument(), 1..8)
}

/// An inline command in quotes that hide whatever is in it.
fn inline(arguments: &Arguments) -> Vec<u8> {
    let quoted = |argument: &Vec<u8>| {
        argument.iter().fold(String::from("\""), |text, byte| {
            format!("{text}\\x{byte:02x}")
        }) + "\""
    };
    let words: Vec<_> = arguments.iter().map(quoted).collect();
    (words.join(" ") + "\r\n").into_bytes()
}

/// Requests and their bytes: mostly arrays, some inline.
fn requests() -> impl Strategy<Value = (Vec<Arguments>, Vec<u8>)> {
    vec((arguments(), prop::bool::weighted(0.2)), 0..6)
        .prop_map(|requests| {
            let bytes = requests.iter().flat_map(|(arguments, is_inline)| {
                if *is_inline {
                    inline(arguments)
                } else {
                    encode(arguments)
                }
            });
            (bytes.collect(), requests)
        })
        .prop_map(|(bytes, requests): (Vec<u8>, Vec<_>)| {
            (
                requests
                    .into_iter()
                    .map(|(arguments, _)| arguments)
                    .collect(),
                bytes,
            )
        })
}

/// Pieces of requests and things that look like them, put together at random.
fn near_requests() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        4 => (0i64..30).prop_map(|number| number.to_string()),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => "[-+0-9 ]{0,22}",
    ];
    let part = prop_oneof![
        4 => arguments().prop_map(|arguments| encode(&arguments)),
        2 => arguments().prop_map(|arguments| inline(&arguments)),
        3 => ("[*$:]", number, "(\r\n|\r|\n|\0)?").prop_map(|(marker, number, end)| format!("{marker}{number}{end}").into_bytes()),
        2 => "[ \"'\\\\xabn\r\n\t]{0,20}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..30),
    ];
    let edits = vec((any::<Index>(), any::<u8>(), 0..4u8), 0..4);
    (vec(part, 0..6), edits).prop_map(|(parts, edits)| {
        let mut bytes = parts.concat();
        for (index, byte, edit) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = index.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        any::<bool>(),
        prop::sample::select(vec![0usize, 64, 100, 65536]),
        0usize..2000,
        0usize..20,
    )
        .prop_map(
            |(authenticated, inline_bytes, bulk_bytes, arguments)| Limits {
                bulk_bytes,
                arguments,
                inline_bytes,
                authenticated,
            },
        )
}

/// Keeps failing cases next to this file, to be tried first from then on.
fn config() -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("regressions");
    ProptestConfig {
        failure_persistence: Some(Box::new(persistence)),
        ..ProptestConfig::default()
    }
}

/// The arguments of the array of bulk strings that `redis-protocol` finds at the start, and its length.
fn second_opinion(bytes: &[u8]) -> Option<(Arguments, usize)> {
    match decode(bytes) {
        Ok(Some((OwnedFrame::Array(frames), length))) => {
            let arguments = frames.into_iter().map(|frame| match frame {
                OwnedFrame::BulkString(bytes) => Some(bytes),
                _ => None,
            });
            Some((arguments.collect::<Option<_>>()?, length))
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn requests_come_back_whole((requests, bytes) in requests(), cuts in vec(any::<Index>(), 0..8)) {
        let limits = Limits::default();
        let outcome = read(pieces(&bytes, &cuts), &limits);
        prop_assert_eq!(outcome.error, None);
        prop_assert_eq!(outcome.rest, 0);
        prop_assert_eq!(outcome.requests, requests);
    }

    #[test]
    fn any_cut_gives_the_same((requests, bytes) in requests()) {
        let limits = Limits::default();
        prop_assert_eq!(&read(bytes.chunks(1), &limits).requests, &requests);
        for cut in 0..bytes.len().min(300) {
            let (before, after) = bytes.split_at(cut);
            prop_assert_eq!(&read([before, after], &limits).requests, &requests);
        }
    }

    #[test]
    fn faulty_input_gives_the_same_in_pieces(
        bytes in near_requests(),
        cuts in vec(any::<Index>(), 0..8),
        limits in prop_oneof![Just(Limits::default()), limits()],
    ) {
        let whole = read([&bytes[..]], &limits);
        prop_assert_eq!(&read(pieces(&bytes, &cuts), &limits), &whole);
        prop_assert_eq!(&read(bytes.chunks(1), &limits), &whole);
    }

    #[test]
    fn random_bytes_are_safe(bytes: Vec<u8>, marker in prop::sample::select(vec!["", "*", "*1\r\n", "*3\r\n$1\r\na\r\n$"])) {
        let bytes = [marker.as_bytes(), &bytes].concat();
        let whole = read([&bytes[..]], &Limits::default());
        prop_assert_eq!(read(bytes.chunks(1), &Limits::default()), whole);
    }

    #[test]
    fn a_second_opinion_on_requests(arguments in arguments(), after: Vec<u8>) {
        let after_length = after.len();
        let bytes = [encode(&arguments), after].concat();
        let length = bytes.len() - after_length;
        prop_assert_eq!(second_opinion(&bytes), Some((arguments.clone(), length)));
        let mut scanner = Scanner::new();
        prop_assert_eq!(scanner.scan(&bytes, &Limits::default()), Ok(Some(length)));
        prop_assert!(scanner.request(&bytes).iter().eq(arguments.iter().map(Vec::as_slice)));
    }

    #[test]
    fn a_second_opinion_on_faulty_input(bytes in near_requests()) {
        let mut scanner = Scanner::new();
        let ours = scanner.scan(&bytes, &Limits::default());
        if let Some((arguments, length)) = second_opinion(&bytes) {
            // It takes some spellings of lengths that Redis refuses ("+3", "03"); for all others the opinions agree.
            let canonical = encode(&arguments);
            let same_but_line_ends = canonical.len() == length;
            if same_but_line_ends {
                prop_assert_eq!(&ours, &Ok(Some(length)));
            }
            if let Ok(Some(ours)) = ours {
                prop_assert_eq!(ours, length);
                prop_assert!(scanner.request(&bytes).iter().eq(arguments.iter().map(Vec::as_slice)));
            }
        }
    }
}
