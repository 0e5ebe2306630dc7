//! What the keys of one connection may hold after a crash.
//!
//! A connection's writes take effect in order, so after a crash its keys hold the state after some prefix of what it
//! sent, and that prefix has at least everything that was acknowledged.

use std::collections::{BTreeMap, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use crate::common::{Connection, Reply};

/// Fields of each hash.
const FIELDS: [&str; 3] = ["a", "b", "c"];

/// A key's value, or that of a field, and its expiry as Unix milliseconds (-1 for none).
pub type Entry = (Vec<u8>, i64);
/// The keys of one connection that exist, and the fields of its hashes.
pub type State = BTreeMap<String, Entry>;

/// What a field is called among the keys.
fn name_of(key: &str, field: &str) -> String {
    format!("{key}/{field}")
}

/// One write.
#[derive(Clone, Debug)]
pub enum Write {
    /// Value, and expiry as Unix milliseconds.
    Set(String, Vec<u8>, Option<i64>),
    /// Both keys or none.
    SetBoth([String; 2], Vec<u8>),
    Append(String, Vec<u8>),
    Increment(String),
    Delete(String),
    ExpireAt(String, i64),
    Rename(String, String),
    /// Hash, field and value: a field lives for ever then.
    SetField(String, &'static str, Vec<u8>),
    FieldExpireAt(String, &'static str, i64),
    DeleteField(String, &'static str),
}

impl Write {
    /// A random write to the keys of this connection; `count` makes values tell one write from another.
    pub fn random(rng: &mut StdRng, connection: usize, count: u64) -> Self {
        let mut key = |kind: &str| format!("{kind}:{connection}:{}", rng.random_range(0..4));
        let (string, other, counter) = (key("string"), key("string"), key("counter"));
        let hash = key("hash");
        let field = FIELDS[rng.random_range(0..FIELDS.len())];
        let length = match rng.random_range(0..100) {
            0 => rng.random_range(50_000..200_000),
            1..10 => rng.random_range(1000..5000),
            _ => rng.random_range(0..200),
        };
        let value = || {
            let mut value = format!("{count}:").into_bytes();
            value.resize(value.len() + length, b'a' + (count % 26) as u8);
            value
        };
        let moment = 10_000_000_000_000 + i64::from(rng.next_u32());
        match rng.random_range(0..28) {
            0..6 => Self::Set(string, value(), None),
            6..8 => Self::Set(string, value(), Some(moment)),
            8..10 => Self::SetBoth([string, other], value()),
            10..12 => Self::Append(string, format!("+{count}").into_bytes()),
            12..16 => Self::Increment(counter),
            16..18 => Self::Delete(string),
            18 => Self::ExpireAt(string, moment),
            19 => Self::Rename(string, other),
            20..23 => Self::SetField(hash, field, value()),
            23..27 => Self::FieldExpireAt(hash, field, moment),
            _ => Self::DeleteField(hash, field),
        }
    }

    pub fn command(&self) -> Vec<Vec<u8>> {
        let text = |words: &[&str]| {
            words
                .iter()
                .map(|word| word.as_bytes().to_vec())
                .collect::<Vec<_>>()
        };
        match self {
            Self::Set(key, value, None) => vec![b"SET".to_vec(), key.clone().into(), value.clone()],
            Self::Set(key, value, Some(moment)) => {
                let mut command = vec![b"SET".to_vec(), key.clone().into(), value.clone()];
                command.extend(text(&["PXAT", &moment.to_string()]));
                command
            }
            Self::SetBoth([one, two], value) => vec![
                b"MSET".to_vec(),
                one.clone().into(),
                value.clone(),
                two.clone().into(),
                value.clone(),
            ],
            Self::Append(key, value) => vec![b"APPEND".to_vec(), key.clone().into(), value.clone()],
            Self::Increment(key) => text(&["INCR", key]),
            Self::Delete(key) => text(&["DEL", key]),
            Self::ExpireAt(key, moment) => text(&["PEXPIREAT", key, &moment.to_string()]),
            Self::Rename(from, to) => text(&["RENAME", from, to]),
            Self::SetField(key, field, value) => {
                let mut command = text(&["HSET", key, field]);
                command.push(value.clone());
                command
            }
            Self::FieldExpireAt(key, field, moment) => {
                let moment = moment.to_string();
                text(&["HPEXPIREAT", key, &moment, "FIELDS", "1", field])
            }
            Self::DeleteField(key, field) => text(&["HDEL", key, field]),
        }
    }

    /// Is this reply one that the write may get? (Renaming a missing key is an error without effect.)
    pub fn accepts(&self, reply: &Reply) -> bool {
        match self {
            Self::Rename(..) => reply.is_ok() || reply.is_error("ERR no such key"),
            Self::Set(..) | Self::SetBoth(..) => reply.is_ok(),
            Self::FieldExpireAt(..) => {
                let done = |number| *reply == Reply::Array(vec![Reply::Integer(number)]);
                done(1) || done(-2)
            }
            _ => reply.integer().is_some(),
        }
    }

    pub fn apply(&self, state: &mut State) {
        match self {
            Self::Set(key, value, expiry) => {
                state.insert(key.clone(), (value.clone(), expiry.unwrap_or(-1)));
            }
            Self::SetBoth(keys, value) => {
                for key in keys {
                    state.insert(key.clone(), (value.clone(), -1));
                }
            }
            Self::Append(key, value) => {
                let entry = state.entry(key.clone()).or_insert_with(|| (Vec::new(), -1));
                entry.0.extend_from_slice(value);
            }
            Self::Increment(key) => {
                let entry = state
                    .entry(key.clone())
                    .or_insert_with(|| (b"0".to_vec(), -1));
                let text = std::str::from_utf8(&entry.0).expect("a counter");
                let number: u64 = text.parse().expect("a counter");
                entry.0 = (number + 1).to_string().into_bytes();
            }
            Self::Delete(key) => {
                state.remove(key);
            }
            Self::ExpireAt(key, moment) => {
                if let Some(entry) = state.get_mut(key) {
                    entry.1 = *moment;
                }
            }
            Self::Rename(from, to) => {
                if let Some(entry) = state.remove(from) {
                    state.insert(to.clone(), entry);
                }
            }
            Self::SetField(key, field, value) => {
                state.insert(name_of(key, field), (value.clone(), -1));
            }
            Self::FieldExpireAt(key, field, moment) => {
                if let Some(entry) = state.get_mut(&name_of(key, field)) {
                    entry.1 = *moment;
                }
            }
            Self::DeleteField(key, field) => {
                state.remove(&name_of(key, field));
            }
        }
    }
}

/// What one connection wrote so far.
#[derive(Default)]
pub struct Model {
    /// After everything that was acknowledged.
    pub acknowledged: State,
    /// Sent, and not acknowledged yet.
    pub sent: VecDeque<Write>,
    pub count: u64,
}

impl Model {
    /// Checks what the server holds, and takes it as the state to go on from.
    ///
    /// # Errors
    /// The server's state is after no prefix that has all that was acknowledged.
    pub fn settle(&mut self, actual: State) -> Result<(), String> {
        let mut state = self.acknowledged.clone();
        let first = difference(&state, &actual);
        let mut found = first.is_empty();
        for write in &self.sent {
            if found {
                break;
            }
            write.apply(&mut state);
            found = difference(&state, &actual).is_empty();
        }
        if !found {
            return Err(format!(
                "no prefix of the {} unacknowledged writes explains the keys; against what was acknowledged:\n{}\n\
                 against everything that was sent:\n{}",
                self.sent.len(),
                first.join("\n"),
                difference(&state, &actual).join("\n"),
            ));
        }
        self.sent.clear();
        self.acknowledged = actual;
        Ok(())
    }
}

fn difference(expected: &State, actual: &State) -> Vec<String> {
    let keys: std::collections::BTreeSet<_> = expected.keys().chain(actual.keys()).collect();
    let show = |entry: Option<&Entry>| match entry {
        None => "nothing".to_owned(),
        Some((value, expiry)) => {
            let start = String::from_utf8_lossy(&value[..value.len().min(20)]).into_owned();
            let end =
                String::from_utf8_lossy(&value[value.len().saturating_sub(20)..]).into_owned();
            format!("{} bytes {start}…{end} until {expiry}", value.len())
        }
    };
    keys.into_iter()
        .filter(|key| expected.get(*key) != actual.get(*key))
        .map(|key| {
            format!(
                "  {key}: expected {}, found {}",
                show(expected.get(key)),
                show(actual.get(key))
            )
        })
        .collect()
}

/// Reads the state of a connection's keys from the server.
pub fn read_state(client: &mut Connection, connection: usize) -> State {
    let keys: Vec<String> = (0..4)
        .flat_map(|n| ["string", "counter"].map(|kind| format!("{kind}:{connection}:{n}")))
        .collect();
    let mut state = State::new();
    for key in keys {
        let value = client.call(&["GET", &key]);
        if let Reply::Bulk(value) = value {
            let expiry = client
                .call(&["PEXPIRETIME", &key])
                .integer()
                .expect("a moment");
            state.insert(key, (value, expiry));
        } else {
            assert_eq!(value, Reply::Null, "GET {key}");
        }
    }
    read_fields(client, connection, &mut state);
    state
}

fn read_fields(client: &mut Connection, connection: usize, state: &mut State) {
    for key in (0..4).map(|n| format!("hash:{connection}:{n}")) {
        for field in FIELDS {
            let value = client.call(&["HGET", &key, field]);
            let times = client.call(&["HPEXPIRETIME", &key, "FIELDS", "1", field]);
            let at = times.items()[0].integer().expect("a moment");
            match value {
                Reply::Bulk(value) => {
                    state.insert(name_of(&key, field), (value, at));
                }
                _ => assert_eq!((value, at), (Reply::Null, -2), "{key} {field}"),
            }
        }
    }
}
