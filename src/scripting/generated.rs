//! Generated commands and replies on their way from scripts to the server and back: what scripts see of a reply is
//! compared with what a second conversion makes of it, and what is no reply does no harm.

use std::fmt::Write as _;
use std::rc::Rc;

use coterie_protocol::{ReplyWriter, Request, RespVersion};
use proptest::prelude::*;
use proptest::sample::Index;

use super::{Host, Interpreter, LogLevel, Run, digest_of};

/// Writes a value as a text that tells it from all others; a table is the sorted texts of its fields.
const SHOW: &str = "
    local function show(value)
        if type(value) == 'table' then
            local fields = {}
            for key, field in pairs(value) do
                fields[#fields + 1] = '[' .. show(key) .. ']=' .. show(field)
            end
            table.sort(fields)
            return '{' .. table.concat(fields, ',') .. '}'
        elseif type(value) == 'string' then
            return #value .. ':' .. value
        elseif type(value) == 'number' then
            return value == value and 'n' .. struct.pack('<d', value) or 'nan'
        end
        return tostring(value)
    end
    redis.setresp(3) ";

/// A server that answers with given bytes.
#[derive(Default)]
struct Answering {
    replies: Vec<Vec<u8>>,
    /// The words of each command.
    asked: Vec<Vec<Vec<u8>>>,
}

impl Host for Answering {
    fn call(&mut self, request: Request<'_>, _: RespVersion, out: &mut Vec<u8>) {
        let reply = self.replies.get(self.asked.len());
        out.extend_from_slice(reply.map_or(b":7\r\n", |reply| &reply[..]));
        self.asked
            .push(request.iter().map(<[u8]>::to_vec).collect());
    }

    fn may_call(&mut self, _: Request<'_>) -> Option<bool> {
        None
    }

    fn log(&mut self, _: LogLevel, _: &[u8]) {}
}

impl Answering {
    /// Runs a script, which returns a list of texts; or how it failed.
    fn run(&mut self, interpreter: &mut Interpreter, text: &str) -> Result<Vec<Vec<u8>>, String> {
        let run = Run {
            text: text.as_bytes(),
            name: digest_of(text.as_bytes()),
            keys: &[],
            arguments: &[],
            may_go_on: Rc::new(|| Ok(())),
        };
        let mut out = Vec::new();
        let mut reply = ReplyWriter::new(&mut out, RespVersion::Resp2);
        let outcome = interpreter.run(run, self, &mut reply);
        match outcome {
            Ok(()) => Ok(texts(&out)),
            Err(ended) => Err(String::from_utf8_lossy(&ended.text).into_owned()),
        }
    }
}

/// The items of an array of strings.
fn texts(reply: &[u8]) -> Vec<Vec<u8>> {
    fn length(reply: &[u8], kind: u8) -> (usize, &[u8]) {
        assert_eq!(reply[0], kind);
        let end = reply
            .iter()
            .position(|byte| *byte == b'\r')
            .expect("a line");
        let digits = std::str::from_utf8(&reply[1..end]).expect("digits");
        (digits.parse().expect("a length"), &reply[end + 2..])
    }
    let (count, mut rest) = length(reply, b'*');
    let items = (0..count).map(|_| {
        let (length, text) = length(rest, b'$');
        rest = &text[length + 2..];
        text[..length].to_vec()
    });
    items.collect()
}

/// A reply as a tree.
#[derive(Clone, Debug)]
enum Reply {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    NoBulk,
    NoArray,
    Null,
    Flag(bool),
    Double(f64),
    BigNumber(String),
    Verbatim(Vec<u8>),
    Array(Vec<Reply>),
    Push(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
}

/// Puts a length or a line in front of something.
fn framed(kind: char, line: impl AsRef<[u8]>, parts: &[&[u8]]) -> Vec<u8> {
    let mut head = vec![kind as u8];
    head.extend_from_slice(line.as_ref());
    head.extend_from_slice(b"\r\n");
    [&[&head[..]], parts].concat().concat()
}

impl Reply {
    fn encoded(&self) -> Vec<u8> {
        let all = |kind, items: &[Reply]| {
            let parts: Vec<_> = items.iter().map(Reply::encoded).collect();
            framed(kind, items.len().to_string(), &[&parts.concat()])
        };
        match self {
            Reply::Simple(text) => framed('+', text, &[]),
            Reply::Error(text) => framed('-', text, &[]),
            Reply::Integer(number) => framed(':', number.to_string(), &[]),
            Reply::Bulk(text) => framed('$', text.len().to_string(), &[text, b"\r\n"]),
            Reply::NoBulk => framed('$', "-1", &[]),
            Reply::NoArray => framed('*', "-1", &[]),
            Reply::Null => framed('_', "", &[]),
            Reply::Flag(flag) => framed('#', if *flag { "t" } else { "f" }, &[]),
            Reply::Double(number) => framed(',', number.to_string().to_lowercase(), &[]),
            Reply::BigNumber(digits) => framed('(', digits, &[]),
            Reply::Verbatim(text) => {
                framed('=', (text.len() + 4).to_string(), &[b"txt:", text, b"\r\n"])
            }
            Reply::Array(items) => all('*', items),
            Reply::Push(items) => all('>', items),
            Reply::Set(items) => all('~', items),
            Reply::Map(pairs) => {
                let parts = pairs.iter();
                let parts: Vec<_> = parts
                    .flat_map(|(key, value)| [key.encoded(), value.encoded()])
                    .collect();
                framed('%', pairs.len().to_string(), &[&parts.concat()])
            }
        }
    }

    /// What scripts see of it, as `SHOW` writes it.
    fn shown(&self) -> Vec<u8> {
        let items = |items: &[Reply]| {
            let numbered = items.iter().enumerate();
            let mut shown = Shown::default();
            for (index, item) in numbered {
                shown.set(number(index as f64 + 1.0), item.shown());
            }
            shown.text()
        };
        match self {
            Reply::Simple(line) => field("ok", text(line)),
            Reply::Error(line) => error(line, true),
            Reply::Integer(integer) => number(*integer as f64),
            Reply::Bulk(bytes) => text(bytes),
            Reply::NoBulk | Reply::NoArray => b"false".to_vec(),
            Reply::Null => b"nil".to_vec(),
            Reply::Flag(flag) => flag.to_string().into_bytes(),
            Reply::Double(double) => field("double", number(*double)),
            Reply::BigNumber(digits) => field("big_number", text(digits.as_bytes())),
            Reply::Verbatim(bytes) => {
                let mut shown = Shown::default();
                shown.set(text(b"format"), text(b"txt"));
                shown.set(text(b"string"), text(bytes));
                field("verbatim_string", shown.text())
            }
            Reply::Array(all) | Reply::Push(all) => items(all),
            Reply::Map(pairs) => {
                let mut shown = Shown::default();
                for (key, value) in pairs {
                    shown.set(key.shown(), value.shown());
                }
                field("map", shown.text())
            }
            Reply::Set(members) => {
                let mut shown = Shown::default();
                for member in members {
                    shown.set(member.shown(), b"true".to_vec());
                }
                field("set", shown.text())
            }
        }
    }
}

/// A table: what is set twice is set to the last value, but no two tables are the same key.
#[derive(Default)]
struct Shown(Vec<Field>);

struct Field {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Shown {
    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) {
        if !key.starts_with(b"{") {
            self.0.retain(|field| field.key != key);
        }
        if value != b"nil" {
            self.0.push(Field { key, value });
        }
    }

    fn text(self) -> Vec<u8> {
        let fields = self.0.into_iter();
        let mut fields: Vec<_> = fields
            .map(|Field { key, value }| [b"[", &key[..], b"]=", &value].concat())
            .collect();
        fields.sort();
        [b"{", &fields.join(&b","[..])[..], b"}"].concat()
    }
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [format!("{}:", bytes.len()).as_bytes(), bytes].concat()
}

fn number(number: f64) -> Vec<u8> {
    if number.is_nan() {
        return b"nan".to_vec();
    }
    [b"n", &number.to_le_bytes()[..]].concat()
}

fn field(name: &str, value: Vec<u8>) -> Vec<u8> {
    let mut shown = Shown::default();
    shown.set(text(name.as_bytes()), value);
    shown.text()
}

fn error(line: &[u8], is_marked: bool) -> Vec<u8> {
    let mut shown = Shown::default();
    shown.set(text(b"err"), text(line));
    if is_marked {
        let mark = text(b"ignore_error_stats_update");
        shown.set(mark, b"true".to_vec());
    }
    shown.text()
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..12)
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("a line ends there", |byte| *byte != b'\n');
    prop::collection::vec(byte, 0..12)
}

fn reply() -> impl Strategy<Value = Reply> {
    let leaf = prop_oneof![
        line().prop_map(Reply::Simple),
        line().prop_map(Reply::Error),
        any::<i64>().prop_map(Reply::Integer),
        (-3..3i64).prop_map(Reply::Integer),
        bytes().prop_map(Reply::Bulk),
        Just(Reply::NoBulk),
        Just(Reply::NoArray),
        Just(Reply::Null),
        any::<bool>().prop_map(Reply::Flag),
        any::<f64>().prop_map(Reply::Double),
        "-?[0-9]{1,30}".prop_map(Reply::BigNumber),
        bytes().prop_map(Reply::Verbatim),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let key = inner
            .clone()
            .prop_filter("nil is no key", |key| !matches!(key, Reply::Null));
        let pairs = prop::collection::vec((key.clone(), inner.clone()), 0..5);
        let items = || prop::collection::vec(inner.clone(), 0..5);
        prop_oneof![
            items().prop_map(Reply::Array),
            items().prop_map(Reply::Push),
            pairs.prop_map(Reply::Map),
            prop::collection::vec(key, 0..5).prop_map(Reply::Set),
        ]
    })
}

/// An argument of a command.
#[derive(Clone, Debug)]
enum Word {
    Text(Vec<u8>),
    Number(f64),
    /// What a command can't have.
    Wrong(&'static str),
}

fn word() -> impl Strategy<Value = Word> {
    prop_oneof![
        8 => bytes().prop_map(Word::Text),
        4 => any::<f64>().prop_map(Word::Number),
        4 => any::<i64>().prop_map(|number| Word::Number(number as f64)),
        4 => (-100..100i64).prop_map(|number| Word::Number(number as f64)),
        1 => prop::sample::select(vec!["nil", "true", "{}", "{1}", "show", "redis"]).prop_map(Word::Wrong),
    ]
}

impl Word {
    /// As it stands in a script.
    fn literal(&self) -> String {
        match self {
            Word::Text(bytes) => {
                let mut literal = String::from("'");
                for byte in bytes {
                    write!(literal, "\\{byte:03}").expect("a string takes everything");
                }
                literal + "'"
            }
            Word::Number(number) if number.is_nan() => "0/0".to_owned(),
            Word::Number(number) if number.is_infinite() => format!("{}/0", number.signum()),
            Word::Number(number) => format!("{number:e}"),
            Word::Wrong(text) => (*text).to_owned(),
        }
    }
}

/// How a script calls a command, with the words `...`.
#[derive(Clone, Copy, Debug)]
enum Way {
    Pcall,
    CaughtCall,
    InCoroutine,
    Deep,
}

impl Way {
    fn function(self) -> &'static str {
        match self {
            Way::Pcall => "redis.pcall",
            Way::CaughtCall => "function(...) return select(2, pcall(redis.call, ...)) end",
            Way::InCoroutine => {
                "function(...) return coroutine.wrap(function(...) local reply = redis.pcall(...) return reply end)(...) end"
            }
            Way::Deep => {
                "function(...) local function deep(n, ...) if n == 0 then return redis.pcall(...) end
                 local reply = deep(n - 1, ...) return reply end return deep(100, ...) end"
            }
        }
    }

    fn shown_error(self, line: &[u8], is_marked: bool) -> Vec<u8> {
        match self {
            Way::CaughtCall => text(line),
            _ => error(line, is_marked),
        }
    }
}

#[derive(Clone, Debug)]
struct Call {
    way: Way,
    words: Vec<Word>,
    reply: Reply,
}

fn call() -> impl Strategy<Value = Call> {
    let ways = vec![Way::Pcall, Way::CaughtCall, Way::InCoroutine, Way::Deep];
    let words = prop::collection::vec(word(), 0..8);
    (prop::sample::select(ways), words, reply()).prop_map(|(way, words, reply)| Call {
        way,
        words,
        reply,
    })
}

impl Call {
    /// Why the server is not asked at all.
    fn refused(&self) -> Option<&'static str> {
        if self.words.is_empty() {
            return Some(super::request::NO_ARGUMENTS);
        }
        let is_wrong = |word: &Word| matches!(word, Word::Wrong(_));
        let refused = self.words.iter().any(is_wrong);
        refused.then_some(super::request::NOT_TEXTS)
    }

    fn shown(&self) -> Vec<u8> {
        match (self.refused(), &self.reply) {
            (Some(text), _) => self.way.shown_error(text.as_bytes(), false),
            (None, Reply::Error(line)) => self.way.shown_error(line, true),
            (None, reply) => reply.shown(),
        }
    }

    /// A part of a script that calls it, shows the reply, and tells the words as C writes them.
    fn script(&self) -> String {
        let literals: Vec<_> = self.words.iter().map(Word::literal).collect();
        let mut script = format!(
            "do local words, call = {{{}}}, {} out[#out + 1] = show(call(unpack(words, 1, {})))",
            literals.join(", "),
            self.way.function(),
            self.words.len()
        );
        if self.refused().is_none() {
            script += " for _, word in ipairs(words) do
                told[#told + 1] = type(word) == 'number' and string.format('%.17g', word) or word end";
        }
        script + " end "
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fuzz_commands_and_replies(calls in prop::collection::vec(call(), 1..5)) {
        let mut interpreter = Interpreter::new().expect("there is memory");
        let body: String = calls.iter().map(Call::script).collect();
        let text = format!(
            "{SHOW} local out, told = {{}}, {{}} {body}
             for _, word in ipairs(told) do out[#out + 1] = word end return out"
        );
        let asked = calls.iter().filter(|call| call.refused().is_none());
        let replies = asked.map(|call| call.reply.encoded()).collect();
        let mut host = Answering { replies, ..Answering::default() };
        let seen = host.run(&mut interpreter, &text);
        let words = host.asked.concat();
        let expected: Vec<_> = calls.iter().map(Call::shown).chain(words).collect();
        prop_assert_eq!(seen, Ok(expected), "{}", text);
        prop_assert_eq!(host.asked.len(), host.replies.len());
    }

    #[test]
    fn fuzz_what_is_no_reply(
        reply in reply(),
        changes in prop::collection::vec((any::<Index>(), any::<bool>(), reply_byte()), 1..6),
        end in any::<Index>(),
    ) {
        let mut bytes = reply.encoded();
        for (place, inserts, byte) in changes {
            let place = place.index(bytes.len());
            if inserts {
                bytes.insert(place, byte);
            } else {
                bytes[place] = byte;
            }
        }
        check_harmless(bytes.clone())?;
        bytes.truncate(end.index(bytes.len() + 1));
        check_harmless(bytes)?;
    }

    #[test]
    fn fuzz_bytes_for_a_reply(bytes in prop::collection::vec(reply_byte(), 0..60)) {
        check_harmless(bytes)?;
    }
}

/// A byte that means something in a reply, more often than not.
fn reply_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        9 => prop::sample::select(b"+-:$*_#,(=>%~t-0129\r\n\r\n".to_vec()),
        1 => any::<u8>(),
    ]
}

/// Whatever the server answers, a script sees something or fails, and the interpreter goes on.
fn check_harmless(reply: Vec<u8>) -> Result<(), TestCaseError> {
    let mut interpreter = Interpreter::new().expect("there is memory");
    let mut host = Answering {
        replies: vec![reply],
        ..Answering::default()
    };
    let text = format!("{SHOW} return {{show(redis.pcall('x'))}}");
    let outcome = host.run(&mut interpreter, &text);
    prop_assert!(!interpreter.is_spent(), "{:?}", outcome);
    let next = host.run(&mut interpreter, &text);
    prop_assert_eq!(next, Ok(vec![number(7.0)]));
    Ok(())
}
