//! Each rule of the request protocol. Every expectation here was checked against redis-server 7.0.15.

mod common;

use common::{Outcome, encode, read};
use coterie_protocol::{
    Limits, OwnedRequest, ProtocolError, ReplyWriter, Request, RespVersion, Scanner,
};

/// The outcome of bytes, which must not depend on how they arrive.
fn outcome(bytes: &[u8], limits: &Limits) -> Outcome {
    let whole = read([bytes], limits);
    assert_eq!(
        read(bytes.chunks(1), limits),
        whole,
        "byte by byte: {}",
        bytes.escape_ascii()
    );
    for cut in 0..bytes.len().min(200) {
        let (before, after) = bytes.split_at(cut);
        assert_eq!(
            read([before, after], limits),
            whole,
            "cut at {cut}: {}",
            bytes.escape_ascii()
        );
    }
    whole
}

#[track_caller]
fn accepts(bytes: &[u8], requests: &[&[&[u8]]]) {
    let outcome = outcome(bytes, &Limits::default());
    assert_eq!(outcome.error, None, "{}", bytes.escape_ascii());
    assert_eq!(outcome.requests, requests, "{}", bytes.escape_ascii());
    assert_eq!(outcome.rest, 0, "{}", bytes.escape_ascii());
}

#[track_caller]
fn refuses(bytes: &[u8], reply: &[u8]) {
    refuses_within(&Limits::default(), bytes, reply);
}

#[track_caller]
fn refuses_within(limits: &Limits, bytes: &[u8], reply: &[u8]) {
    let outcome = outcome(bytes, limits);
    let error = outcome
        .error
        .unwrap_or_else(|| panic!("accepted {}", bytes.escape_ascii()));
    let mut out = Vec::new();
    ReplyWriter::new(&mut out, RespVersion::Resp2).protocol_error(&error);
    assert_eq!(
        out.escape_ascii().to_string(),
        reply.escape_ascii().to_string()
    );
    if error.to_string().is_ascii() {
        assert_eq!(out, format!("-ERR {error}\r\n").into_bytes());
    }
}

#[track_caller]
fn waits(bytes: &[u8]) {
    waits_within(&Limits::default(), bytes);
}

#[track_caller]
fn waits_within(limits: &Limits, bytes: &[u8]) {
    let outcome = outcome(bytes, limits);
    assert_eq!(
        outcome,
        Outcome {
            rest: bytes.len(),
            ..Outcome::default()
        }
    );
}

#[test]
fn arrays() {
    accepts(b"*1\r\n$4\r\nPING\r\n", &[&[b"PING"]]);
    accepts(b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", &[&[b"GET", b""]]);
    accepts(
        b"*2\r\n$3\r\nGET\r\n$6\r\na\r\n\0$b\r\n*1\r\n$4\r\nPING\r\n",
        &[&[b"GET", b"a\r\n\0$b"], &[b"PING"]],
    );
    for length in [0, 9, 10, 99, 100, 999, 1000, 12345, 70000] {
        let value = vec![b'v'; length];
        let limits = Limits::default();
        let bytes = encode(&[b"SET", b"k".as_slice(), &value]);
        assert_eq!(
            read([&bytes[..]], &limits).requests,
            [[b"SET".to_vec(), b"k".to_vec(), value]]
        );
    }
}

#[test]
fn empty_requests() {
    accepts(b"*0\r\n*1\r\n$4\r\nPING\r\n", &[&[], &[b"PING"]]);
    accepts(b"*-1\r\nPING\r\n", &[&[], &[b"PING"]]);
    accepts(b"*-99\r\nPING\r\n", &[&[], &[b"PING"]]);
    accepts(b"\r\n\nPING\n", &[&[], &[], &[b"PING"]]);
    accepts(b"   \r\nPING\r\n", &[&[], &[b"PING"]]);
}

#[test]
fn line_ends_are_not_looked_at() {
    accepts(
        b"*1\r\n$4\r\nPINGab*1\r\n$4\r\nPING\r\n",
        &[&[b"PING"], &[b"PING"]],
    );
    accepts(b"*1\rX$4\rYPINGab", &[&[b"PING"]]);
    // A line feed alone does not end a line that announces a length.
    refuses(
        b"*1\n$4\r\nPING\r\n",
        b"-ERR Protocol error: invalid multibulk length\r\n",
    );
    waits(b"*1\n$4\nPING\n");
    waits(b"*1\r");
}

#[test]
fn invalid_multibulk_length() {
    let numbers: [&str; 9] = [
        "",
        "01",
        "+1",
        "-0",
        "1x",
        " 1",
        "1 ",
        "2147483648",
        "9223372036854775808",
    ];
    for number in numbers {
        let bytes = format!("*{number}\r\n");
        refuses(
            bytes.as_bytes(),
            b"-ERR Protocol error: invalid multibulk length\r\n",
        );
    }
    waits(b"*1048577\r\n");
    waits(b"*2147483647\r\n");
}

#[test]
fn invalid_bulk_length() {
    let numbers: [&str; 9] = [
        "",
        "-1",
        "+4",
        "04",
        "4 ",
        " 4",
        "4x",
        "536870913",
        "9223372036854775808",
    ];
    for number in numbers {
        let bytes = format!("*1\r\n${number}\r\nPING\r\n");
        refuses(
            bytes.as_bytes(),
            b"-ERR Protocol error: invalid bulk length\r\n",
        );
    }
    waits(b"*1\r\n$536870912\r\n");
}

#[test]
fn something_else_than_a_bulk() {
    refuses(
        b"*1\r\nxabc\r\n",
        b"-ERR Protocol error: expected '$', got 'x'\r\n",
    );
    refuses(
        b"*1\r\n*1\r\n",
        b"-ERR Protocol error: expected '$', got '*'\r\n",
    );
    refuses(
        b"*1\r\n:1\r\n",
        b"-ERR Protocol error: expected '$', got ':'\r\n",
    );
    refuses(
        b"*1\r\n\r\n",
        b"-ERR Protocol error: expected '$', got ' '\r\n",
    );
    refuses(
        b"*1\r\n\nab\r\n",
        b"-ERR Protocol error: expected '$', got ' '\r\n",
    );
    refuses(
        b"*1\r\n\x01ab\r\n",
        b"-ERR Protocol error: expected '$', got '\x01'\r\n",
    );
    refuses(
        b"*1\r\n\xffab\r\n",
        b"-ERR Protocol error: expected '$', got '\xff'\r\n",
    );
    // Not before the line has ended.
    waits(b"*1\r\nxabc");
    waits(b"*1\r\nxabc\r");
}

#[test]
fn a_nul_hides_the_end_of_a_line() {
    waits(b"*1\0\r\n");
    waits(b"*1\r\n$4\0\r\nPING\r\n");
    waits(b"PING\0\r\nPING\r\n");
}

#[test]
fn long_lines() {
    let limits = Limits {
        inline_bytes: 100,
        ..Limits::default()
    };
    let mut array = [b"*".as_slice(), &[b'1'; 99]].concat();
    waits_within(&limits, &array);
    array.push(b'1');
    refuses_within(
        &limits,
        &array,
        b"-ERR Protocol error: too big mbulk count string\r\n",
    );

    let mut bulk = [b"*1\r\n$".as_slice(), &[b'1'; 99]].concat();
    waits_within(&limits, &bulk);
    bulk.push(b'1');
    refuses_within(
        &limits,
        &bulk,
        b"-ERR Protocol error: too big bulk count string\r\n",
    );

    let mut inline = [b'a'; 100].to_vec();
    waits_within(&limits, &inline);
    let ended = [&inline[..], b"\n"].concat();
    assert_eq!(outcome(&ended, &limits).requests, [[inline.clone()]]);
    inline.push(b'a');
    refuses_within(
        &limits,
        &inline,
        b"-ERR Protocol error: too big inline request\r\n",
    );
    inline.push(b'\n');
    refuses_within(
        &limits,
        &inline,
        b"-ERR Protocol error: too big inline request\r\n",
    );
}

#[test]
fn default_limits_are_those_of_redis() {
    let waiting = |bytes: &[u8]| read([bytes], &Limits::default()).error.is_none();
    let line = |marker: &str, length| [marker.as_bytes(), &vec![b'1'; length]].concat();
    assert!(waiting(&line("*", 65535)) && !waiting(&line("*", 65536)));
    assert!(waiting(&line("*1\r\n$", 65535)) && !waiting(&line("*1\r\n$", 65536)));
    assert!(waiting(&line("", 65536)) && !waiting(&line("", 65537)));
}

#[test]
fn before_authentication() {
    let limits = Limits {
        authenticated: false,
        ..Limits::default()
    };
    waits_within(&limits, b"*10\r\n");
    refuses_within(
        &limits,
        b"*11\r\n",
        b"-ERR Protocol error: unauthenticated multibulk length\r\n",
    );
    refuses_within(
        &limits,
        b"*2147483648\r\n",
        b"-ERR Protocol error: invalid multibulk length\r\n",
    );
    waits_within(&limits, b"*1\r\n$16384\r\n");
    refuses_within(
        &limits,
        b"*1\r\n$16385\r\n",
        b"-ERR Protocol error: unauthenticated bulk length\r\n",
    );
    refuses_within(
        &limits,
        b"*1\r\n$536870913\r\n",
        b"-ERR Protocol error: invalid bulk length\r\n",
    );
    // Inline commands have no such limit.
    let inline = outcome(b"PING a b c d e f g h i j k\r\n", &limits);
    assert_eq!(inline.requests[0].len(), 12);
}

#[test]
fn own_limits() {
    let limits = Limits {
        bulk_bytes: 5,
        arguments: 2,
        ..Limits::default()
    };
    waits_within(&limits, b"*2\r\n$5\r\n");
    refuses_within(
        &limits,
        b"*3\r\n",
        b"-ERR Protocol error: invalid multibulk length\r\n",
    );
    refuses_within(
        &limits,
        b"*1\r\n$6\r\n",
        b"-ERR Protocol error: invalid bulk length\r\n",
    );
    refuses_within(
        &limits,
        b"*1\r\n$6\r\nabcdef\r\n",
        b"-ERR Protocol error: invalid bulk length\r\n",
    );
}

#[test]
fn more_than_32_bits_of_offsets() {
    let limits = Limits {
        bulk_bytes: usize::MAX,
        ..Limits::default()
    };
    waits_within(&limits, b"*1\r\n$4294967276\r\n");
    for length in ["4294967277", "4294967295", "9223372036854775807"] {
        let bytes = format!("*1\r\n${length}\r\n");
        assert_eq!(
            outcome(bytes.as_bytes(), &limits).error,
            Some(ProtocolError::TooBigRequest)
        );
    }
}

#[test]
fn inline_commands() {
    accepts(b"PING\r\n", &[&[b"PING"]]);
    accepts(b"PING\n", &[&[b"PING"]]);
    accepts(b"PING\r\r\n", &[&[b"PING"]]);
    accepts(b"  SET \t k  v \r\n", &[&[b"SET", b"k", b"v"]]);
    accepts(b"ECHO a\rb\r\n", &[&[b"ECHO", b"a", b"b"]]);
    accepts(b"ECHO a\\nb\r\n", &[&[b"ECHO", b"a\\nb"]]);
    // Vertical tab and form feed separate only in front of a word.
    accepts(b"\x0b\x0cPING\r\n", &[&[b"PING"]]);
    accepts(b"ECHO a\x0bb\r\n", &[&[b"ECHO", b"a\x0bb"]]);
    accepts(b"ECHO 'a'\x0bb\r\n", &[&[b"ECHO", b"a", b"b"]]);
    waits(b"PING");
    waits(b"PING\r");
}

#[test]
fn quotes_in_inline_commands() {
    accepts(b"ECHO \"a b\"\r\n", &[&[b"ECHO", b"a b"]]);
    accepts(
        b"ECHO \"a\\x41\\n\\r\\t\\b\\a\\q\\\"\\x4\"\r\n",
        &[&[b"ECHO", b"aA\n\r\t\x08\x07q\"x4"]],
    );
    accepts(b"ECHO \"\\xZZ\\xfF\\x00\"\r\n", &[&[b"ECHO", b"xZZ\xff\0"]]);
    accepts(b"ECHO 'a\\'b\\n\"'\r\n", &[&[b"ECHO", b"a'b\\n\""]]);
    accepts(b"ECHO \"\" ''\r\n", &[&[b"ECHO", b"", b""]]);
    accepts(b"ECHO a\"b c\"\r\n", &[&[b"ECHO", b"ab c"]]);
    accepts(b"ECHO a'b c'\r\n", &[&[b"ECHO", b"ab c"]]);
    for line in [
        "\"a\"b",
        "'a'b",
        "\"a",
        "'a",
        "\"a\\",
        "\"a\\\"",
        "'a\\'",
        "\"",
        "'",
        "a\"",
        "\"a\"\"b\"",
    ] {
        let bytes = format!("ECHO {line}\r\n");
        refuses(
            bytes.as_bytes(),
            b"-ERR Protocol error: unbalanced quotes in request\r\n",
        );
    }
}

#[test]
fn requests_before_a_fault_are_found() {
    let outcome = outcome(
        b"PING\r\n*1\r\n$4\r\nPING\r\n*x\r\nPING\r\n",
        &Limits::default(),
    );
    assert_eq!(outcome.requests.len(), 2);
    assert_eq!(outcome.error, Some(ProtocolError::InvalidMultibulkLength));
}

#[test]
fn a_long_argument_is_announced_within_reason() {
    let mut scanner = Scanner::new();
    let limits = Limits::default();
    let mut bytes = b"*1\r\n$100000\r\n".to_vec();
    assert_eq!(scanner.scan(&bytes, &limits), Ok(None));
    assert_eq!(scanner.wanted(), 16 * 1024);
    bytes.resize(40_000, b'v');
    assert_eq!(scanner.scan(&bytes, &limits), Ok(None));
    assert_eq!(scanner.wanted(), 80_000);
    bytes.resize(80_000, b'v');
    assert_eq!(scanner.scan(&bytes, &limits), Ok(None));
    assert_eq!(scanner.wanted(), 100_015);
    bytes.resize(100_015, b'v');
    assert_eq!(scanner.scan(&bytes, &limits), Ok(Some(100_015)));
}

#[test]
fn memory_is_given_back_after_a_large_request() {
    let limits = Limits::default();
    let large = encode(&vec![b"x"; 100_000]);
    let mut scanner = Scanner::new();
    assert_eq!(scanner.scan(&large, &limits), Ok(Some(large.len())));
    assert!(scanner.allocated_bytes() >= 800_000);
    assert_eq!(scanner.scan(b"", &limits), Ok(None));
    assert!(scanner.allocated_bytes() <= 8 * 1024);
}

#[test]
fn requests_as_values() {
    let owned = OwnedRequest::new(&[b"SET".as_slice(), b"k", b""]);
    let request = owned.request();
    assert_eq!((request.len(), request.is_empty()), (3, false));
    assert_eq!(
        (request.name(), request.arg(1), &request[2]),
        (&b"SET"[..], &b"k"[..], &b""[..])
    );
    assert_eq!((request.get(2), request.get(3)), (Some(&b""[..]), None));
    assert_eq!(
        request.iter().rev().collect::<Vec<_>>(),
        [&b""[..], b"k", b"SET"]
    );
    assert_eq!(format!("{request:?}"), r#"["SET", "k", ""]"#);
    let copy = OwnedRequest::from(request);
    assert!(copy.request().iter().eq(request.iter()));
    assert!(Request::EMPTY.is_empty() && Request::EMPTY.name().is_empty());
}

#[test]
fn what_has_been_parsed_is_not_read_again() {
    let limits = Limits::default();
    let mut scanner = Scanner::new();
    let mut bytes = b"*3\r\n$3\r\nSET\r\n$2000\r\n".to_vec();
    assert_eq!(scanner.scan(&bytes, &limits), Ok(None));
    bytes.fill(b'?');
    bytes.resize(bytes.len() + 2002, b'v');
    assert_eq!(scanner.scan(&bytes, &limits), Ok(None));
    bytes.fill(b'?');
    bytes.extend_from_slice(b"$1\r\nk\r\n");
    assert_eq!(scanner.scan(&bytes, &limits), Ok(Some(bytes.len())));
    let lengths: Vec<_> = scanner.request(&bytes).iter().map(<[u8]>::len).collect();
    assert_eq!(lengths, [3, 2000, 1]);

    // Nor is the end of a line looked for where it was not.
    let mut bytes = b"ECHO".to_vec();
    assert_eq!(scanner.scan(b"", &limits), Ok(None));
    assert_eq!(scanner.scan(&bytes, &limits), Ok(None));
    bytes[1] = b'\n';
    bytes.extend_from_slice(b" a\r\n");
    assert_eq!(scanner.scan(&bytes, &limits), Ok(Some(8)));
}

#[test]
fn memory_is_reused() {
    let limits = Limits::default();
    let bytes = encode(&[b"SET", b"key", b"val"]);
    let mut scanner = Scanner::new();
    assert_eq!(scanner.scan(&bytes, &limits), Ok(Some(bytes.len())));
    let allocated = scanner.allocated_bytes();
    assert!(allocated > 0);
    for _ in 0..100 {
        assert_eq!(scanner.scan(&bytes, &limits), Ok(Some(bytes.len())));
        assert_eq!(scanner.allocated_bytes(), allocated);
    }
}
