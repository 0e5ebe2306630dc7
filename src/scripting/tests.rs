//! What scripts can't do: reach the real tables, run on, or take all memory.

use std::rc::Rc;
use std::time::{Duration, Instant};

use coterie_protocol::{ReplyWriter, Request, RespVersion};

use super::{Host, Interpreter, LogLevel, MayGoOn, Run, digest_of};

/// A server that answers each command with the number of its arguments.
struct Counting;

impl Host for Counting {
    fn call(&mut self, request: Request<'_>, resp: RespVersion, out: &mut Vec<u8>) {
        ReplyWriter::new(out, resp).integer(request.len() as i64);
    }

    fn may_call(&mut self, _: Request<'_>) -> Option<bool> {
        Some(true)
    }

    fn log(&mut self, _: LogLevel, _: &[u8]) {}
}

/// How a script ended.
#[derive(Debug, PartialEq)]
enum Outcome {
    Reply(String),
    Failed(String),
    Stopped(String),
}

fn run_for(interpreter: &mut Interpreter, text: &str, limit: Duration) -> Outcome {
    let began = Instant::now();
    let may_go_on: MayGoOn = Rc::new(move || {
        if began.elapsed() > limit {
            return Err("ERR too late");
        }
        Ok(())
    });
    let run = Run {
        text: text.as_bytes(),
        name: digest_of(text.as_bytes()),
        keys: &[],
        arguments: &[],
        may_go_on,
    };
    let mut out = Vec::new();
    let mut reply = ReplyWriter::new(&mut out, RespVersion::Resp2);
    let ended = interpreter.run(run, &mut Counting, &mut reply);
    match ended {
        Ok(()) => Outcome::Reply(String::from_utf8_lossy(&out).into_owned()),
        Err(ended) => {
            let text = String::from_utf8_lossy(&ended.text).into_owned();
            if ended.is_stopped {
                assert!(interpreter.is_spent(), "{text}");
                Outcome::Stopped(text)
            } else {
                Outcome::Failed(text)
            }
        }
    }
}

fn run(text: &str) -> Outcome {
    let mut interpreter = Interpreter::new().expect("there is memory");
    run_for(&mut interpreter, text, Duration::from_secs(60))
}

fn reply(text: &str) -> String {
    match run(text) {
        Outcome::Reply(reply) => reply,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn nothing_hands_out_a_real_table() {
    let tables = [
        "redis",
        "string",
        "_G",
        "math",
        "table",
        "coroutine",
        "cjson",
        "cmsgpack",
        "bit",
        "struct",
    ];
    for table in tables {
        for way in [
            format!("select(2, pairs({table}))"),
            format!("select(2, ipairs({table}))"),
            format!("({{pcall(pairs, {table})}})[3]"),
            format!("select(3, pcall(pairs, {table}))"),
            format!("select(3, coroutine.resume(coroutine.create(pairs), {table}))"),
            format!("rawget(_G, '{table}')"),
        ] {
            for change in [
                "t.planted = 1",
                "rawset(t, 'planted', 1)",
                "setmetatable(t, {__index = {planted = 1}})",
            ] {
                let mut interpreter = Interpreter::new().expect("there is memory");
                let text = format!("local t = {way} pcall(function() {change} end) return 1");
                let outcome = run_for(&mut interpreter, &text, Duration::from_secs(60));
                let look = format!("return {{type(rawget({table}, 'planted'))}}");
                let seen = run_for(&mut interpreter, &look, Duration::from_secs(60));
                let untouched = Outcome::Reply("*1\r\n$3\r\nnil\r\n".to_owned());
                assert_eq!(seen, untouched, "{text}: {outcome:?}");
            }
        }
        let listed = reply(&format!(
            "local n = 0 for k, v in pairs({table}) do n = n + 1 end return n > 2"
        ));
        assert_eq!(listed, ":1\r\n", "{table}");
    }
    let metatables = reply(
        "return {tostring(getmetatable('')), tostring(getmetatable(redis)), tostring(getmetatable(_G)),
          type(rawget(_G, 'getfenv')), type(rawget(_G, 'setfenv')), type(rawget(_G, 'debug')), type(rawget(_G, 'newproxy'))}",
    );
    assert_eq!(
        metatables,
        "*7\r\n$5\r\nfalse\r\n$5\r\nfalse\r\n$5\r\nfalse\r\n$3\r\nnil\r\n$3\r\nnil\r\n$3\r\nnil\r\n$3\r\nnil\r\n"
    );
}

#[test]
fn errors_seen_by_scripts_are_texts_or_tables() {
    for text in [
        "return type(select(2, pcall(cjson.decode, '{')))",
        "return type(select(2, pcall(coroutine.wrap(function() cjson.decode('{') end))))",
        "return select(2, xpcall(function() cjson.decode('{') end, type))",
        "return type(select(2, coroutine.resume(coroutine.create(function() cjson.decode('{') end))))",
        "return type(select(2, pcall(string.rep, 'x', 1e9)))",
        "return type(select(2, pcall(cjson.encode, {string.rep('\\1', 9e7)})))",
    ] {
        assert_eq!(reply(text), "$6\r\nstring\r\n", "{text}");
    }
}

#[test]
fn what_does_not_end_is_stopped() {
    for text in [
        "while true do coroutine.wrap(function() for j=1,5000 do coroutine.wrap(function() for i=1,400 do end end)() end end)() end",
        "local f = coroutine.wrap(function() while true do coroutine.yield() end end) while true do f() end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "xpcall(function() while true do end end, function() while true do end end) return 1",
        "xpcall(function() error('x') end, function() while true do end end) return 1",
        "coroutine.wrap(function() xpcall(function() while true do end end, function() while true do end end) end)() return 1",
        "string.rep('', 1e9) while true do string.rep('', 1e9) end",
        "local t = {} for i = 1, 1e4 do t[i] = i end while true do table.sort(t, function() return false end) end",
        "while true do pcall(table.sort, {1, 2, 3, 4, 5}, function() return true end) end",
        "while true do redis.call('x') end",
        "while true do redis.pcall() end",
        "local t = {1} for i = 1, 60 do t = {t, t} end return #cjson.encode(t)",
        "local t = {1} for i = 1, 60 do t = {t, t} end return t",
        "cjson.encode_sparse_array(false, 0) return #cjson.encode({[2^53] = 1})",
        "local t = {} for i = 1, 16 do t = {t, t, t, t, t, t, t, t} end return #cmsgpack.pack(t)",
        "table.insert({}, -2147483647, 1)",
        "while true do pcall(table.insert, {}, -1e6, 1) end",
        &format!("table.insert({}, 1, 1)", of_false_length()),
        &format!("table.remove({}, 1)", of_false_length()),
        &format!("table.foreachi({}, select)", of_false_length()),
        "local t = {} for i = 1, 1e5 do t[i] = i end while true do table.foreach(t, string.rep) end",
    ] {
        let mut interpreter = Interpreter::new().expect("there is memory");
        let began = Instant::now();
        let outcome = run_for(&mut interpreter, text, Duration::from_millis(50));
        assert!(began.elapsed() < Duration::from_secs(5), "{text}");
        assert!(
            matches!(outcome, Outcome::Stopped(_)),
            "{text}: {outcome:?}"
        );
    }
}

/// A table with few elements, but in such places that Lua takes it to have a billion.
fn of_false_length() -> String {
    let places = (0..27).map(|power| format!("[{}] = 1", 5 << power));
    let places: Vec<_> = places.collect();
    format!("{{nil, nil, nil, 4, {}}}", places.join(", "))
}

#[test]
fn what_takes_all_memory_is_stopped() {
    for text in [
        "return string.rep('x', 600000000)",
        "local s = 'x' while true do s = s .. s end",
        "local s = string.rep('x', 1e7) local t = {} for i = 1, 1e4 do t[i] = s end return #cjson.encode(t)",
        "local s = string.rep('x', 1e7) local t = {} for i = 1, 1e4 do t[i] = s end return #cmsgpack.pack(t)",
        "local s = string.rep('x', 1e7) local t = {} for i = 1, 1e3 do t[i] = s end return {map = t}",
        "local s = string.rep('x', 1e7) local t = {} for i = 1, 1e3 do t[i] = s end return t",
        "local s = string.rep('x', 1e7) local t = {} for i = 1, 1e3 do t[i] = s end return redis.call(unpack(t))",
        "local s = string.rep('x', 1e7) local t = {} for i = 1, 1e3 do t[i] = s end return struct.pack(string.rep('s', 1e3), unpack(t))",
    ] {
        let outcome = run(text);
        let is_stopped =
            matches!(&outcome, Outcome::Stopped(text) if text.contains("not enough memory"));
        assert!(is_stopped, "{text}: {outcome:?}");
    }
}

#[test]
fn an_error_that_reads_like_no_memory_is_an_error() {
    for text in [
        "error('not enough memory')",
        "error({err = 'not enough memory'})",
        "return redis.error_reply('x not enough memory')",
    ] {
        let outcome = run(text);
        assert!(
            !matches!(outcome, Outcome::Stopped(_)),
            "{text}: {outcome:?}"
        );
    }
}

#[test]
fn thousands_of_values_are_taken() {
    let many = "local t = {} for i = 1, 7000 do t[i] = 'k' .. i end ";
    assert_eq!(
        reply(&format!("{many} return redis.call(unpack(t))")),
        ":7000\r\n"
    );
    let pairs = "local t = {} for i = 1, 20000 do t['k' .. i] = 'v' .. i end ";
    for (text, size) in [
        ("return #cjson.encode(t)", 337_789),
        ("return #cmsgpack.pack(t)", 257_791),
    ] {
        assert_eq!(reply(&format!("{pairs}{text}")), format!(":{size}\r\n"));
    }
    let map = reply(&format!("{pairs} redis.setresp(3) return {{map = t}}"));
    assert!(map.starts_with("*40000\r\n"), "{}", &map[..20]);
}

#[test]
fn sorting_is_that_of_lua() {
    for text in [
        "local t = {} for i = 1, 500 do t[i] = (i * 7919) % 503 end table.sort(t)
         for i = 2, 500 do if t[i - 1] > t[i] then return i end end return 'sorted'",
        "local t = {} for i = 1, 500 do t[i] = (i * 7919) % 13 end table.sort(t, function(a, b) return a > b end)
         for i = 2, 500 do if t[i - 1] < t[i] then return i end end return 'sorted'",
    ] {
        assert_eq!(reply(text), "$6\r\nsorted\r\n");
    }
    let failed = run("table.sort({1, 2, 'x', 4, 5})");
    let expected = "ERR attempt to compare ";
    assert!(
        matches!(&failed, Outcome::Failed(text) if text.starts_with(expected)),
        "{failed:?}"
    );
}

/// A server that answers with the command itself, and panics if there is none to answer with.
struct Echo;

impl Host for Echo {
    fn call(&mut self, request: Request<'_>, _: RespVersion, out: &mut Vec<u8>) {
        assert_ne!(request.name(), b"panic");
        out.extend_from_slice(request.name());
    }

    fn may_call(&mut self, _: Request<'_>) -> Option<bool> {
        None
    }

    fn log(&mut self, _: LogLevel, _: &[u8]) {}
}

fn echo(interpreter: &mut Interpreter, text: &str, word: &[u8]) -> Result<String, String> {
    let run = Run {
        text: text.as_bytes(),
        name: digest_of(text.as_bytes()),
        keys: &[],
        arguments: &[word],
        may_go_on: Rc::new(|| Ok(())),
    };
    let mut out = Vec::new();
    let mut reply = ReplyWriter::new(&mut out, RespVersion::Resp3);
    let ended = interpreter.run(run, &mut Echo, &mut reply);
    match ended {
        Ok(()) => Ok(String::from_utf8_lossy(&out).into_owned()),
        Err(ended) => Err(String::from_utf8_lossy(&ended.text).into_owned()),
    }
}

#[test]
fn replies_come_back_as_they_were() {
    let mut interpreter = Interpreter::new().expect("there is memory");
    let same = "redis.setresp(3) return redis.call(ARGV[1])";
    let deep = format!("{}:1\r\n", "*1\r\n".repeat(500));
    for reply in [
        "+OK\r\n",
        "+a\rb\r\n",
        ":-12\r\n",
        "$5\r\na\r\nbc\r\n",
        "$0\r\n\r\n",
        "_\r\n",
        "#t\r\n",
        ",1.5\r\n",
        ",inf\r\n",
        "(12345678901234567890\r\n",
        "=7\r\ntxt:abc\r\n",
        "*0\r\n",
        "*3\r\n:1\r\n*2\r\n+OK\r\n$1\r\nx\r\n:2\r\n",
        "%1\r\n$1\r\nk\r\n*1\r\n:1\r\n",
        "~1\r\n$1\r\nm\r\n",
        &deep,
    ] {
        let expected = reply.replace("a\rb", "a b");
        assert_eq!(echo(&mut interpreter, same, reply.as_bytes()), Ok(expected));
    }
    for nothing in ["*-1\r\n", "$-1\r\n"] {
        let is_false = "return tostring(redis.call(ARGV[1]))";
        let outcome = echo(&mut interpreter, is_false, nothing.as_bytes());
        assert_eq!(outcome, Ok("$5\r\nfalse\r\n".to_owned()));
    }
    let caught =
        "local e = redis.pcall(ARGV[1]) return {e.err, tostring(e.ignore_error_stats_update)}";
    assert_eq!(
        echo(&mut interpreter, caught, b"-ERR no\r\n"),
        Ok("*2\r\n$6\r\nERR no\r\n$4\r\ntrue\r\n".to_owned())
    );
    let raised = echo(&mut interpreter, same, b"-ERR no\r\n").expect_err("an error");
    assert!(raised.starts_with("ERR no script: "), "{raised}");
    for torn in [
        "",
        "*2\r\n:1\r\n",
        "$5\r\nabc\r\n",
        "$9223372036854775807\r\n",
        "?\r\n",
    ] {
        let outcome = echo(&mut interpreter, same, torn.as_bytes()).expect_err("no reply");
        assert!(outcome.starts_with("ERR malformed reply"), "{outcome}");
    }
}

#[test]
fn a_panic_of_the_server_passes_through_scripts() {
    let mut interpreter = Interpreter::new().expect("there is memory");
    let text = "pcall(redis.call, 'panic') pcall(redis.pcall, ':1\\r\\n') return 1";
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        echo(&mut interpreter, text, b"")
    }));
    assert!(outcome.is_err());
}

#[test]
fn a_panic_of_what_is_asked_whether_a_script_may_go_on_passes_through_it() {
    let mut interpreter = Interpreter::new().expect("there is memory");
    let text = b"while true do pcall(redis.call, 'x') end";
    let looks = std::cell::Cell::new(0);
    let run = Run {
        text,
        name: digest_of(text),
        keys: &[],
        arguments: &[],
        may_go_on: Rc::new(move || {
            looks.set(looks.get() + 1);
            assert!(looks.get() < 5, "the fifth look");
            Ok(())
        }),
    };
    let mut out = Vec::new();
    let mut reply = ReplyWriter::new(&mut out, RespVersion::Resp2);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        interpreter.run(run, &mut Counting, &mut reply).is_ok()
    }));
    assert!(outcome.is_err());
}

#[test]
fn replies_count_as_memory() {
    let mut interpreter = Interpreter::new().expect("there is memory");
    let text = "local t, big = {}, '*4000000\\r\\n' .. string.rep(':1\\r\\n', 4000000)
        for i = 1, 9 do t[i] = redis.call(big) end return #t";
    let outcome = echo(&mut interpreter, text, b"").expect_err("too much");
    assert!(outcome.contains("not enough memory"), "{outcome}");
    assert!(interpreter.is_spent());
}

#[test]
fn many_words_leave_room_for_the_reply() {
    let mut interpreter = Interpreter::new().expect("there is memory");
    let text = "local words = {ARGV[1]} for i = 2, 7995 do words[i] = 'k' end
        return redis.call(unpack(words))";
    for reply in [
        "*2\r\n:1\r\n*1\r\n+OK\r\n",
        "%1\r\n$1\r\nk\r\n=7\r\ntxt:abc\r\n",
    ] {
        let text = format!("redis.setresp(3) {text}");
        let outcome = echo(&mut interpreter, &text, reply.as_bytes());
        assert_eq!(outcome, Ok(reply.to_owned()));
    }
}

#[test]
fn replies_may_be_as_deep_as_the_stack_of_lua() {
    let mut interpreter = Interpreter::new().expect("there is memory");
    let depth = "local reply, depth = redis.call(ARGV[1]), 0
        while type(reply) == 'table' do reply, depth = reply[1], depth + 1 end return depth";
    let deep = |levels: usize| format!("{}:1\r\n", "*1\r\n".repeat(levels));
    let outcome = echo(&mut interpreter, depth, deep(7_900).as_bytes());
    assert_eq!(outcome, Ok(":7900\r\n".to_owned()));
    for levels in [8_000, 1_000_000] {
        let outcome = echo(&mut interpreter, depth, deep(levels).as_bytes());
        let text = outcome.expect_err("too deep");
        assert!(text.starts_with("ERR reached lua stack limit"), "{text}");
    }
}

#[test]
fn only_what_commands_have_answered_is_marked() {
    let mark = |way: &str| {
        let text = format!(
            "local error = {way} return {{error.err, tostring(error.ignore_error_stats_update)}}"
        );
        let mut interpreter = Interpreter::new().expect("there is memory");
        let reply = echo(&mut interpreter, &text, b"-ERR no\r\n").expect("a reply");
        reply.ends_with("$4\r\ntrue\r\n")
    };
    let raised =
        |way: &str| format!("select(2, xpcall(function() {way} end, function(e) return e end))");
    assert!(mark("redis.pcall(ARGV[1])"));
    assert!(mark(&raised("redis.call(ARGV[1])")));
    for way in ["redis.pcall()", "redis.pcall({})"] {
        assert!(!mark(way), "{way}");
    }
    for way in ["redis.call()", "redis.call({})", "redis.log()"] {
        assert!(!mark(&raised(way)), "{way}");
    }
}

#[test]
fn large_buffers_are_given_back() {
    let mut interpreter = Interpreter::new().expect("there is memory");
    let text = "return #redis.call('$20000000\\r\\n' .. string.rep('x', 20000000) .. '\\r\\n')";
    let outcome = echo(&mut interpreter, text, b"");
    assert_eq!(outcome, Ok(":20000000\r\n".to_owned()));
    let kept = interpreter.sandbox.door.allocated_bytes();
    assert!(kept <= 200_000, "{kept}");
}

#[test]
fn unpack_takes_no_more_than_there_is_room_for() {
    let many = "user_script:1: too many results to unpack";
    for range in [
        "0, 2147483647",
        "-2147483648, 2147483647",
        "-2147483648, -1",
        "-1, 2147483646",
        "1, 8001",
        "1, 8000",
        "2^31, 2^31 - 1",
        "2^32, 2^32 + 2^31 - 1",
    ] {
        let text = format!("return select(2, pcall(function() return unpack({{}}, {range}) end))");
        let expected = format!("${}\r\n{many}\r\n", many.len());
        assert_eq!(reply(&text), expected, "{range}");
    }
    for (range, count) in [
        ("1, 7900", 7900),
        ("2147483647, 2147483647", 1),
        ("-2147483648, -2147483648", 1),
        ("1, 2^31", 0),
        ("2147483647, -2147483648", 0),
        ("nil, 3", 3),
        ("'2', '4'", 3),
    ] {
        let text = format!("return select('#', unpack({{}}, {range}))");
        assert_eq!(reply(&text), format!(":{count}\r\n"), "{range}");
    }
}

#[test]
fn long_moves_are_those_of_lua() {
    let is = |script: &str, values: Vec<u64>| {
        let sum: u64 = values
            .iter()
            .zip(1..)
            .map(|(value, place)| value * place)
            .sum();
        let sum = sum.to_string();
        let text = format!(
            "local t, sum = {{}}, 0 for i = 1, 5000 do t[i] = i end {script}
             for i = 1, #t do sum = sum + i * t[i] end return {{#t, tostring(sum)}}"
        );
        let expected = format!("*2\r\n:{}\r\n${}\r\n{sum}\r\n", values.len(), sum.len());
        assert_eq!(reply(&text), expected, "{script}");
    };
    is(
        "table.insert(t, 1, 7)",
        [7].into_iter().chain(1..=5000).collect(),
    );
    is(
        "table.insert(t, 3000, 7)",
        (1..3000).chain([7]).chain(3000..=5000).collect(),
    );
    is(
        "table.insert(t, -2000, 7) assert(t[-2000] == 7 and t[1] == nil) t[1] = 9",
        [9].into_iter().chain(1..=5000).collect(),
    );
    is(
        "t[5000] = table.remove(t, 1)",
        (2..=5000).chain([1]).collect(),
    );
    is(
        "assert(table.remove(t, 2000) == 2000)",
        (1..2000).chain(2001..=5000).collect(),
    );
    is(
        "table.remove(t, 1) table.remove(t, 0) table.remove(t, -1)",
        (2..=5000).collect(),
    );
}

#[test]
fn insert_changes_no_table_of_ours() {
    for table in ["redis", "string", "_G", "math", "table", "cjson"] {
        for call in ["1", "1, 2", "99, 'x'"] {
            let text = format!(
                "local ok, text = pcall(table.insert, {table}, {call}) return {{text, type(rawget({table}, 1))}}"
            );
            let expected = "*2\r\n$34\r\nAttempt to modify a readonly table\r\n$3\r\nnil\r\n";
            assert_eq!(reply(&text), expected, "{text}");
        }
    }
    let own = "local t = setmetatable({}, {__metatable = false}) table.insert(t, 7) table.insert(t, 1, 6) return t";
    assert_eq!(reply(own), "*2\r\n:6\r\n:7\r\n");
}
