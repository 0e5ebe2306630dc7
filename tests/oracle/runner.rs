//! Runs scripts and command sequences on both servers and collects where they differ.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::common::{
    Connection, Options, Program, Protocol, Reply, Server, encode_command, escape, glob_match,
    wait_until,
};
use crate::intended;
use crate::script::{Rule, Step, parse};

/// The file of a script or raw case below this directory.
pub fn source_path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/oracle")
        .join(relative)
}

/// Runs `scripts/<name>.txt` on fresh servers and panics with every line on which they differ.
pub fn run_script(name: &str, protocol: Protocol) {
    report(&differences(name, protocol, Options::new(Program::Subject)));
}

/// Every line of `scripts/<name>.txt` on which a server with these options differs from the oracle.
pub fn differences(name: &str, protocol: Protocol, subject: Options) -> Vec<String> {
    let source =
        fs::read_to_string(source_path(&format!("scripts/{name}.txt"))).expect("the script");
    let steps = parse(&source).unwrap_or_else(|e| panic!("{name}.txt: {e}"));
    let is_coterie = subject.program.is_coterie();
    let mut subject = Side::start(subject, protocol);
    let mut oracle = Side::start(Options::new(Program::Oracle), protocol);
    let mut differences = Vec::new();
    let mut differing_lines = BTreeSet::new();
    for step in &steps {
        if step.only.is_some_and(|only| only != protocol) {
            continue;
        }
        if step.sleep_ms > 0 {
            std::thread::sleep(Duration::from_millis(step.sleep_ms));
        }
        if step.command.is_empty() && !step.reads_only {
            continue;
        }
        let theirs = oracle.perform(step);
        let ours = subject.perform(step);
        if std::env::var_os("COTERIE_TEST_TRACE").is_some() {
            eprintln!("{name}.txt:{}: {}\n    {theirs}", step.line, step.text);
        }
        if agree(&step.rule, &ours, &theirs) {
            continue;
        }
        differing_lines.insert(step.text.clone());
        if intended::reason(name, &step.text).is_none() {
            differences.push(format!(
                "tests/oracle/scripts/{name}.txt:{} ({protocol:?})\n  {}\n  oracle:  {theirs}\n  subject: {ours}",
                step.line, step.text
            ));
        }
    }
    if is_coterie {
        for line in intended::lines(name).filter(|line| !differing_lines.contains(*line)) {
            let in_script = steps
                .iter()
                .any(|s| s.text == line && s.only.is_none_or(|only| only == protocol));
            if in_script {
                differences.push(format!(
                    "{name}.txt: no difference is left, so it isn't intended: {line}"
                ));
            }
        }
    }
    differences
}

/// Panics when there are differences.
pub fn report(differences: &[String]) {
    const SHOWN: usize = 100;
    assert!(
        differences.is_empty(),
        "{} differences:\n\n{}\n",
        differences.len(),
        differences[..differences.len().min(SHOWN)].join("\n\n")
    );
}

/// What one server did with a step.
#[derive(Debug)]
pub enum Outcome {
    /// A reply, its bytes, and whether the connection was closed after it.
    Reply(Reply, Vec<u8>, bool),
    /// The keys of a whole iteration.
    Keys(BTreeSet<Vec<u8>>),
    /// Nothing was to be read.
    Silent,
    /// The connection was closed without a reply.
    Dropped,
    /// No reply, or something that is none.
    Failed(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reply(reply, raw, closed) => {
                write!(f, "{reply}")?;
                if matches!(reply, Reply::Null | Reply::Double(_)) {
                    write!(f, "  ({})", escape(raw))?;
                }
                write!(f, "{}", if *closed { ", then closed" } else { "" })
            }
            Self::Keys(keys) => {
                let keys: Vec<_> = keys.iter().map(|key| escape(key)).collect();
                write!(f, "{} keys: {}", keys.len(), keys.join(" "))
            }
            Self::Silent => write!(f, "nothing"),
            Self::Dropped => write!(f, "closed without a reply"),
            Self::Failed(why) => write!(f, "FAILED: {why}"),
        }
    }
}

fn agree(rule: &Rule, ours: &Outcome, theirs: &Outcome) -> bool {
    let (Outcome::Reply(our, our_bytes, our_end), Outcome::Reply(their, their_bytes, their_end)) =
        (ours, theirs)
    else {
        return match (ours, theirs) {
            (Outcome::Keys(ours), Outcome::Keys(theirs)) => ours == theirs,
            (Outcome::Silent, Outcome::Silent) | (Outcome::Dropped, Outcome::Dropped) => true,
            _ => false,
        };
    };
    if our_end != their_end {
        return false;
    }
    match rule {
        Rule::Exact | Rule::Until(_) => our_bytes == their_bytes,
        Rule::Unordered => our.clone().sorted() == their.clone().sorted(),
        Rule::Pairs => paired(our.clone()) == paired(their.clone()),
        Rule::Type => our.kind() == their.kind(),
        Rule::Ignore | Rule::Set(_) => true,
        Rule::Match(pattern) => [our, their]
            .iter()
            .all(|reply| glob_match(pattern, reply.text().as_bytes())),
        Rule::Near(distance) => match (our.integer(), their.integer()) {
            (Some(our @ 0..), Some(their @ 0..)) => our.abs_diff(their) <= distance.unsigned_abs(),
            _ => our_bytes == their_bytes,
        },
        Rule::Scan | Rule::NoReply | Rule::Drops => false,
    }
}

/// A reply with the fields and values of a hash, wherever they stand in it, as pairs in a canonical order.
pub fn paired(reply: Reply) -> Reply {
    let is_bulk = |item: &Reply| matches!(item, Reply::Bulk(_));
    match reply {
        Reply::Array(items) if items.len() > 2 && items.iter().all(is_bulk) => {
            let pairs = items.chunks(2).map(|pair| Reply::Array(pair.to_vec()));
            in_order(pairs.collect())
        }
        // The two parts of the reply to HSCAN, or pairs already.
        Reply::Array(items) => {
            let is_scan = matches!(&items[..], [Reply::Bulk(_), Reply::Array(_)]);
            let items = items.into_iter().map(paired).collect();
            if is_scan {
                Reply::Array(items)
            } else {
                in_order(items)
            }
        }
        other => other,
    }
}

fn in_order(mut items: Vec<Reply>) -> Reply {
    if items.iter().all(|item| matches!(item, Reply::Array(_))) {
        items.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    }
    Reply::Array(items)
}

/// One of the two servers with its named connections and captured words.
struct Side {
    server: Server,
    protocol: Protocol,
    connections: HashMap<String, Connection>,
    captured: HashMap<Vec<u8>, Vec<u8>>,
}

impl Side {
    fn start(options: Options, protocol: Protocol) -> Self {
        Self {
            server: Server::start(options),
            protocol,
            connections: HashMap::new(),
            captured: HashMap::new(),
        }
    }

    fn perform(&mut self, step: &Step) -> Outcome {
        let command: Vec<Vec<u8>> = step.command.iter().map(|word| self.expand(word)).collect();
        let protocol = self.protocol;
        let server = &self.server;
        let connection = self
            .connections
            .entry(step.connection.clone())
            .or_insert_with(|| server.connect_as(protocol));
        let outcome = match &step.rule {
            Rule::NoReply => match connection.send(&encode_command(&command)) {
                Ok(()) => Outcome::Silent,
                Err(e) => Outcome::Failed(e.to_string()),
            },
            Rule::Drops => {
                // The connection may be closed already: then sending fails, which is what is asked for.
                let _ = connection.send(&encode_command(&command));
                if connection.is_closed() {
                    Outcome::Dropped
                } else {
                    Outcome::Failed("still open".into())
                }
            }
            Rule::Scan => scan(connection, &command),
            Rule::Until(text) => until(connection, &command, text, &step.text),
            _ => exchange(connection, &command, step.reads_only),
        };
        let outcome = match outcome {
            Outcome::Reply(reply, raw, _) if step.closes => {
                Outcome::Reply(reply, raw, connection.is_closed())
            }
            other => other,
        };
        if let (Rule::Set(name), Outcome::Reply(reply, ..)) = (&step.rule, &outcome) {
            self.captured
                .insert(format!("${name}").into_bytes(), reply.text().into_bytes());
        }
        if step.closes || matches!(outcome, Outcome::Dropped | Outcome::Failed(_)) {
            self.connections.remove(&step.connection);
        }
        outcome
    }

    /// Replaces `$addr:NAME` by a connection's own address, `$port` by the server's port, and captured words.
    fn expand(&self, word: &[u8]) -> Vec<u8> {
        if word == b"$port" {
            return self.server.port().to_string().into_bytes();
        }
        if let Some(name) = word.strip_prefix(b"$addr:") {
            let name = String::from_utf8_lossy(name);
            let connection = self
                .connections
                .get(name.as_ref())
                .expect("a connection that is open");
            return connection.local_address().to_string().into_bytes();
        }
        self.captured
            .get(word)
            .cloned()
            .unwrap_or_else(|| word.to_vec())
    }
}

fn exchange(connection: &mut Connection, command: &[Vec<u8>], reads_only: bool) -> Outcome {
    let before = connection.protocol();
    let is = |at: usize, text: &str| {
        command
            .get(at)
            .is_some_and(|w| w.eq_ignore_ascii_case(text.as_bytes()))
    };
    if is(0, "HELLO") && is(1, "3") {
        connection.set_protocol(Protocol::Resp3);
    } else if is(0, "RESET") || (is(0, "HELLO") && is(1, "2")) {
        connection.set_protocol(Protocol::Resp2);
    }
    let result = if reads_only {
        connection.read_raw()
    } else {
        connection.try_call_raw(command)
    };
    match result {
        Ok((reply, raw)) => {
            if matches!(reply, Reply::Error(_)) {
                connection.set_protocol(before);
            }
            Outcome::Reply(reply, raw, false)
        }
        Err(e) => Outcome::Failed(e.to_string()),
    }
}

fn until(connection: &mut Connection, command: &[Vec<u8>], text: &str, what: &str) -> Outcome {
    let mut last = Outcome::Silent;
    wait_until(what, || {
        last = exchange(connection, command, false);
        matches!(&last, Outcome::Reply(reply, ..) if reply.text() == text)
            || matches!(last, Outcome::Failed(_))
    });
    last
}

/// Iterates `SCAN`, `HSCAN` or `ZSCAN` with the given options to its end.
fn scan(connection: &mut Connection, words: &[Vec<u8>]) -> Outcome {
    // The cursor follows the command's name, or the key, whose elements come in pairs.
    let in_key = [b"HSCAN", b"ZSCAN"]
        .iter()
        .any(|name| words[0].eq_ignore_ascii_case(*name));
    let (head, options) = words.split_at(if in_key { 2 } else { 1 });
    let mut cursor = b"0".to_vec();
    let mut keys = BTreeSet::new();
    loop {
        let command = [head, std::slice::from_ref(&cursor), options].concat();
        match exchange(connection, &command, false) {
            Outcome::Reply(Reply::Array(parts), ..) => match &parts[..] {
                [Reply::Bulk(next), Reply::Array(found)] => {
                    let found: Vec<_> = found.iter().filter_map(Reply::bytes).collect();
                    keys.extend(
                        found
                            .chunks(if in_key { 2 } else { 1 })
                            .map(|element| element.join(&b"="[..])),
                    );
                    cursor.clone_from(next);
                }
                _ => return Outcome::Failed("SCAN's reply has another shape".into()),
            },
            other => return other,
        }
        if cursor == b"0" {
            return Outcome::Keys(keys);
        }
    }
}
