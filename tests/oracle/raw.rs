//! Raw bytes on a fresh connection: inline commands, malformed frames and limits, compared byte for byte.
//!
//! A case in `raw.txt` is `case NAME`, then `> "bytes"` lines, each written and flushed by itself, where `*times:N "bytes"`
//! after the `>` repeats the bytes N times. It ends with `closes` if the server must hang up; otherwise a marker is
//! sent and must come back, which shows that the stream is still in step.

use std::fs;
use std::time::Duration;

use crate::common::{Protocol, Server, encode_command, escape, split_line};
use crate::runner::{report, source_path};

const MARKER: &str = "marker-of-the-end";

#[derive(Default)]
struct Case {
    name: String,
    line: usize,
    chunks: Vec<Vec<u8>>,
    closes: bool,
}

#[test]
fn raw_bytes() {
    let source = fs::read_to_string(source_path("raw.txt")).expect("the cases");
    let cases = parse(&source);
    let (subject, oracle) = (Server::subject(), Server::oracle());
    let mut differences = Vec::new();
    for case in &cases {
        let theirs = run(&oracle, case);
        let ours = run(&subject, case);
        let in_step = case.closes || theirs.0.ends_with(&echoed_marker());
        if theirs.1 != case.closes || !in_step {
            differences.push(format!(
                "raw.txt:{} {}: the oracle did otherwise: {}",
                case.line,
                case.name,
                show(&theirs)
            ));
        }
        if ours != theirs {
            differences.push(format!(
                "tests/oracle/raw.txt:{} {}\n  oracle:  {}\n  subject: {}",
                case.line,
                case.name,
                show(&theirs),
                show(&ours)
            ));
        }
    }
    report(&differences);
}

fn parse(source: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (index, text) in source.lines().enumerate() {
        let text = text.trim();
        let line = index + 1;
        if let Some(name) = text.strip_prefix("case ") {
            cases.push(Case {
                name: name.to_owned(),
                line,
                ..Case::default()
            });
        } else if let Some(chunk) = text.strip_prefix("> ") {
            let mut chunk_bytes = Vec::new();
            let mut repeat = 1;
            for word in split_line(chunk).unwrap_or_else(|e| panic!("raw.txt:{line}: {e}")) {
                let times = word.strip_prefix(b"*times:").map(String::from_utf8_lossy);
                if let Some(times) = times {
                    repeat = times.parse().expect("a number of repetitions");
                } else {
                    chunk_bytes.extend(word.repeat(repeat));
                    repeat = 1;
                }
            }
            cases.last_mut().expect("a case").chunks.push(chunk_bytes);
        } else if text == "closes" {
            cases.last_mut().expect("a case").closes = true;
        } else {
            assert!(
                text.is_empty() || text.starts_with('#'),
                "raw.txt:{line}: what is {text}?"
            );
        }
    }
    cases
}

/// What the server sent, and whether it hung up.
fn run(server: &Server, case: &Case) -> (Vec<u8>, bool) {
    let mut connection = server.connect_as(Protocol::Resp2);
    for chunk in &case.chunks {
        // Where the server hangs up early, later writes fail; what it sent is still read below.
        if connection.send(chunk).is_err() {
            break;
        }
        // Gives the server the chance to see the chunk alone. Nothing depends on it.
        std::thread::sleep(Duration::from_millis(1));
    }
    connection.set_read_timeout(Duration::from_secs(5));
    if !case.closes {
        let _ = connection.send(&encode_command(&["ECHO", MARKER]));
    }
    let end = echoed_marker();
    connection.read_bytes_until(|bytes| bytes.ends_with(&end))
}

fn echoed_marker() -> Vec<u8> {
    format!("${}\r\n{MARKER}\r\n", MARKER.len()).into_bytes()
}

fn show((bytes, closed): &(Vec<u8>, bool)) -> String {
    format!("{}{}", escape(bytes), if *closed { ", closed" } else { "" })
}
