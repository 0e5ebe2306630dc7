//! The form of each reply, and that `redis-protocol` reads what was meant.

use coterie_protocol::{ReplyWriter, RespVersion};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use redis_protocol::resp2::{decode as decode2, types::OwnedFrame as Frame2};
use redis_protocol::resp3::{
    decode as decode3, types::OwnedFrame as Frame3, types::VerbatimStringFormat,
};

fn written(version: RespVersion, write: impl FnOnce(&mut ReplyWriter<'_>)) -> String {
    let mut out = b"before".to_vec();
    let mut reply = ReplyWriter::new(&mut out, version);
    assert!(reply.is_empty());
    write(&mut reply);
    let length = reply.len();
    assert_eq!(reply.written().len(), length);
    assert_eq!(out.len(), "before".len() + length);
    String::from_utf8(out.split_off("before".len())).unwrap()
}

/// The answers of redis-server 7.0.15, most of them to `DEBUG PROTOCOL`.
#[track_caller]
fn check(write: impl Fn(&mut ReplyWriter<'_>), resp2: &str, resp3: &str) {
    assert_eq!(written(RespVersion::Resp2, &write), resp2);
    assert_eq!(written(RespVersion::Resp3, &write), resp3);
}

#[test]
fn scalars() {
    check(|reply| reply.ok(), "+OK\r\n", "+OK\r\n");
    check(|reply| reply.simple("PONG"), "+PONG\r\n", "+PONG\r\n");
    check(|reply| reply.integer(0), ":0\r\n", ":0\r\n");
    check(|reply| reply.integer(12345), ":12345\r\n", ":12345\r\n");
    check(|reply| reply.integer(-1), ":-1\r\n", ":-1\r\n");
    check(
        |reply| reply.bulk(b"Hello World"),
        "$11\r\nHello World\r\n",
        "$11\r\nHello World\r\n",
    );
    check(|reply| reply.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n");
    check(
        |reply| reply.bulk_integer(-42),
        "$3\r\n-42\r\n",
        "$3\r\n-42\r\n",
    );
    check(
        |reply| reply.bulk_display(format_args!("{}-{}", 1526919030474u64, 0)),
        "$15\r\n1526919030474-0\r\n",
        "$15\r\n1526919030474-0\r\n",
    );
    check(
        |reply| reply.bulk_double(2.141),
        "$5\r\n2.141\r\n",
        "$5\r\n2.141\r\n",
    );
    check(|reply| reply.double(2.141), "$5\r\n2.141\r\n", ",2.141\r\n");
    check(
        |reply| reply.double(0.1),
        "$19\r\n0.10000000000000001\r\n",
        ",0.10000000000000001\r\n",
    );
    check(|reply| reply.double(17.0), "$2\r\n17\r\n", ",17\r\n");
    check(
        |reply| reply.double(f64::INFINITY),
        "$3\r\ninf\r\n",
        ",inf\r\n",
    );
    check(
        |reply| reply.double(f64::NEG_INFINITY),
        "$4\r\n-inf\r\n",
        ",-inf\r\n",
    );
    check(|reply| reply.null(), "$-1\r\n", "_\r\n");
    check(|reply| reply.null_array(), "*-1\r\n", "_\r\n");
    check(|reply| reply.boolean(true), ":1\r\n", "#t\r\n");
    check(|reply| reply.boolean(false), ":0\r\n", "#f\r\n");
    check(
        |reply| reply.verbatim("txt", b"a\nstring"),
        "$8\r\na\nstring\r\n",
        "=12\r\ntxt:a\nstring\r\n",
    );
    check(
        |reply| reply.big_number("-1234567999999999999999"),
        "$23\r\n-1234567999999999999999\r\n",
        "(-1234567999999999999999\r\n",
    );
    check(|reply| reply.raw(b"+RAW\r\n"), "+RAW\r\n", "+RAW\r\n");
}

#[test]
fn aggregates() {
    check(|reply| reply.array(3), "*3\r\n", "*3\r\n");
    check(
        |reply| reply.array(1_000_000),
        "*1000000\r\n",
        "*1000000\r\n",
    );
    check(|reply| reply.map(3), "*6\r\n", "%3\r\n");
    check(|reply| reply.set(3), "*3\r\n", "~3\r\n");
    check(|reply| reply.push(2), "*2\r\n", ">2\r\n");
}

#[test]
fn line_ends_in_lines_become_spaces() {
    check(
        |reply| reply.error("ERR a\r\nb\nc"),
        "-ERR a  b c\r\n",
        "-ERR a  b c\r\n",
    );
    check(|reply| reply.error("ERR a\r\n"), "-ERR a\r\n", "-ERR a\r\n");
    check(
        |reply| reply.error_display(format_args!("ERR {}\r\n", "a\nb")),
        "-ERR a b\r\n",
        "-ERR a b\r\n",
    );
    check(|reply| reply.simple("a\r\nb"), "+a  b\r\n", "+a  b\r\n");
}

#[test]
fn lengths_that_are_known_afterwards() {
    let nested = |reply: &mut ReplyWriter<'_>| {
        let outer = reply.begin_array();
        let map = reply.begin_map();
        for index in 0..12 {
            reply.bulk_integer(index);
            let set = reply.begin_set();
            reply.integer(index);
            reply.end_set(set, 1);
        }
        reply.end_map(map, 12);
        let empty = reply.begin_array();
        reply.end_array(empty, 0);
        reply.end_array(outer, 2);
    };
    let known = |reply: &mut ReplyWriter<'_>| {
        reply.array(2);
        reply.map(12);
        for index in 0..12 {
            reply.bulk_integer(index);
            reply.set(1);
            reply.integer(index);
        }
        reply.array(0);
    };
    for version in [RespVersion::Resp2, RespVersion::Resp3] {
        assert_eq!(written(version, nested), written(version, known));
    }
}

#[test]
fn half_a_reply_is_taken_back() {
    let text = written(RespVersion::Resp2, |reply| {
        reply.ok();
        let mark = reply.mark();
        reply.array(2);
        reply.integer(1);
        reply.truncate_to(mark);
        reply.error("ERR no");
    });
    assert_eq!(text, "+OK\r\n-ERR no\r\n");
}

#[test]
fn the_version_can_change() {
    let text = written(RespVersion::Resp2, |reply| {
        reply.null();
        reply.set_version(RespVersion::Resp3);
        assert_eq!(reply.version(), RespVersion::Resp3);
        reply.null();
    });
    assert_eq!(text, "$-1\r\n_\r\n");
}

/// A reply in all its kinds.
#[derive(Clone, Debug)]
enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    NullArray,
    Double(f64),
    Boolean(bool),
    Verbatim(Vec<u8>),
    BigNumber(i128),
    Array(Vec<Reply>),
    /// Written with its length known before (true) or after.
    Map(Vec<(Reply, Reply)>, bool),
    Set(Vec<Reply>, bool),
}

impl Reply {
    fn write(&self, reply: &mut ReplyWriter<'_>) {
        match self {
            Reply::Simple(text) => reply.simple(text),
            Reply::Error(text) => reply.error(text),
            Reply::Integer(value) => reply.integer(*value),
            Reply::Bulk(bytes) => reply.bulk(bytes),
            Reply::Null => reply.null(),
            Reply::NullArray => reply.null_array(),
            Reply::Double(value) => reply.double(*value),
            Reply::Boolean(value) => reply.boolean(*value),
            Reply::Verbatim(bytes) => reply.verbatim("txt", bytes),
            Reply::BigNumber(value) => reply.big_number(&value.to_string()),
            Reply::Array(elements) => {
                reply.array(elements.len());
                elements.iter().for_each(|element| element.write(reply));
            }
            Reply::Map(pairs, before) => {
                let mark = reply.begin_map();
                if *before {
                    reply.map(pairs.len());
                }
                pairs.iter().for_each(|(key, value)| {
                    key.write(reply);
                    value.write(reply);
                });
                if !before {
                    reply.end_map(mark, pairs.len());
                }
            }
            Reply::Set(elements, before) => {
                let mark = reply.begin_set();
                if *before {
                    reply.set(elements.len());
                }
                elements.iter().for_each(|element| element.write(reply));
                if !before {
                    reply.end_set(mark, elements.len());
                }
            }
        }
    }

    /// What a RESP2 client should see.
    fn resp2(&self) -> Frame2 {
        match self {
            Reply::Simple(text) => Frame2::SimpleString(text.clone().into_bytes()),
            Reply::Error(text) => Frame2::Error(text.clone()),
            Reply::Integer(value) => Frame2::Integer(*value),
            Reply::Bulk(bytes) | Reply::Verbatim(bytes) => Frame2::BulkString(bytes.clone()),
            Reply::Null | Reply::NullArray => Frame2::Null,
            Reply::Double(value) => {
                let mut text = Vec::new();
                coterie_protocol::text::format_double(*value, &mut text);
                Frame2::BulkString(text)
            }
            Reply::Boolean(value) => Frame2::Integer(i64::from(*value)),
            Reply::BigNumber(value) => Frame2::BulkString(value.to_string().into_bytes()),
            Reply::Array(elements) | Reply::Set(elements, _) => {
                Frame2::Array(elements.iter().map(Reply::resp2).collect())
            }
            Reply::Map(pairs, _) => Frame2::Array(
                pairs
                    .iter()
                    .flat_map(|(key, value)| [key.resp2(), value.resp2()])
                    .collect(),
            ),
        }
    }

    /// Whether a RESP3 client sees the same in `frame`.
    fn is_resp3(&self, frame: &Frame3) -> bool {
        match (self, frame) {
            (Reply::Simple(text), Frame3::SimpleString { data, .. }) => text.as_bytes() == data,
            (Reply::Error(text), Frame3::SimpleError { data, .. }) => text == data,
            (Reply::Integer(value), Frame3::Number { data, .. }) => value == data,
            (Reply::Bulk(bytes), Frame3::BlobString { data, .. }) => bytes == data,
            (Reply::Null | Reply::NullArray, Frame3::Null) => true,
            (Reply::Double(value), Frame3::Double { data, .. }) => value == data,
            (Reply::Boolean(value), Frame3::Boolean { data, .. }) => value == data,
            (Reply::Verbatim(bytes), Frame3::VerbatimString { data, format, .. }) => {
                bytes == data && *format == VerbatimStringFormat::Text
            }
            (Reply::BigNumber(value), Frame3::BigNumber { data, .. }) => {
                value.to_string().as_bytes() == data
            }
            (Reply::Array(elements), Frame3::Array { data, .. }) => {
                elements.len() == data.len()
                    && elements
                        .iter()
                        .zip(data)
                        .all(|(element, frame)| element.is_resp3(frame))
            }
            // Decoded sets and maps are unordered and drop what is there twice.
            (Reply::Set(elements, _), Frame3::Set { data, .. }) => {
                elements
                    .iter()
                    .all(|element| data.iter().any(|frame| element.is_resp3(frame)))
                    && data
                        .iter()
                        .all(|frame| elements.iter().any(|element| element.is_resp3(frame)))
            }
            (Reply::Map(pairs, _), Frame3::Map { data, .. }) => {
                pairs
                    .iter()
                    .all(|(key, _)| data.keys().any(|frame| key.is_resp3(frame)))
                    && data.iter().all(|(key_frame, value_frame)| {
                        pairs.iter().any(|(key, value)| {
                            key.is_resp3(key_frame) && value.is_resp3(value_frame)
                        })
                    })
            }
            _ => false,
        }
    }
}

/// What `redis-protocol` can use as a key.
fn key() -> impl Strategy<Value = Reply> {
    prop_oneof![
        "[a-zA-Z0-9 ]{0,10}".prop_map(Reply::Simple),
        any::<i64>().prop_map(Reply::Integer),
        any::<Vec<u8>>().prop_map(Reply::Bulk),
        any::<bool>().prop_map(Reply::Boolean),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let leaf = prop_oneof![
        key(),
        "[A-Z]{3,8} [a-zA-Z0-9 ']{0,30}".prop_map(Reply::Error),
        Just(Reply::Null),
        Just(Reply::NullArray),
        prop::num::f64::ANY
            .prop_filter("a number", |value| !value.is_nan())
            .prop_map(Reply::Double),
        any::<Vec<u8>>().prop_map(Reply::Verbatim),
        any::<i128>().prop_map(Reply::BigNumber),
    ];
    leaf.prop_recursive(4, 64, 12, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..12).prop_map(Reply::Array),
            (prop::collection::vec((key(), inner), 0..12), any::<bool>())
                .prop_map(|(pairs, before)| Reply::Map(pairs, before)),
            (prop::collection::vec(key(), 0..12), any::<bool>())
                .prop_map(|(elements, before)| Reply::Set(elements, before)),
        ]
    })
}

/// Keeps failing cases next to this file, to be tried first from then on.
fn config() -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("regressions");
    ProptestConfig {
        failure_persistence: Some(Box::new(persistence)),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn resp2_reads_what_was_meant(reply in reply()) {
        let mut out = Vec::new();
        reply.write(&mut ReplyWriter::new(&mut out, RespVersion::Resp2));
        let (frame, length) = decode2::decode(&out).unwrap().expect("a whole frame");
        prop_assert_eq!(length, out.len());
        prop_assert_eq!(frame, reply.resp2());
    }

    #[test]
    fn resp3_reads_what_was_meant(reply in reply()) {
        let mut out = Vec::new();
        reply.write(&mut ReplyWriter::new(&mut out, RespVersion::Resp3));
        let (frame, length) = decode3::complete::decode(&out).unwrap().expect("a whole frame");
        prop_assert_eq!(length, out.len());
        prop_assert!(reply.is_resp3(&frame), "{:?}", frame);
    }
}
