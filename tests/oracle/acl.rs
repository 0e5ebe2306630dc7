//! Generated rules: users of both servers are described alike and may do the same. And files of users.

use std::cell::RefCell;
use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestRunner};

use crate::common::{Connection, Options, Program, Protocol, Reply, Server};
use crate::generated::config;

const RULES: [&str; 34] = [
    "on",
    "off",
    "nopass",
    "resetpass",
    ">one",
    ">two",
    "<one",
    "allkeys",
    "resetkeys",
    "~a*",
    "~k[12]",
    "%R~r*",
    "%W~w*",
    "%RW~a*",
    "%R~*",
    "allchannels",
    "resetchannels",
    "&c*",
    "&news",
    "+@all",
    "-@all",
    "+get",
    "+client|id",
    "-client",
    "+client",
    "+select|1",
    "-select",
    "+replicaof",
    "-xadd",
    "(+@read ~s* &c*)",
    "(+set %W~k1 +publish &*)",
    "clearselectors",
    "reset",
    "nonsense",
];

const CATEGORIES: [&str; 22] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
    "nosuch",
];

const COMMANDS: [&str; 44] = [
    "get KEY",
    "set KEY v",
    "set KEY v GET",
    "getdel KEY",
    "getex KEY",
    "incr KEY",
    "append KEY x",
    "strlen KEY",
    "del KEY KEY",
    "exists KEY",
    "expire KEY 1",
    "rename KEY KEY",
    "copy KEY KEY",
    "mget KEY KEY",
    "mset KEY 1 KEY 2",
    "lpush KEY x",
    "lpop KEY",
    "lmove KEY KEY LEFT RIGHT",
    "blpop KEY KEY 0",
    "sadd KEY x",
    "smembers KEY",
    "sunionstore KEY KEY KEY",
    "sinter KEY KEY",
    "zadd KEY 1 x",
    "zrange KEY 0 1",
    "zunionstore KEY 2 KEY KEY",
    "zrangestore KEY KEY 0 1",
    "hset KEY f v",
    "hget KEY f",
    "bitop and KEY KEY KEY",
    "georadius KEY 0 0 1 m STORE KEY",
    "eval script 2 KEY KEY x",
    "publish CHANNEL x",
    "subscribe CHANNEL CHANNEL",
    "psubscribe CHANNEL",
    "spublish CHANNEL x",
    "client id",
    "client list",
    "select 1",
    "select 2",
    "config get x",
    "ping",
    "flushall",
    "multi",
];
const KEYS: [&str; 7] = ["a1", "k1", "k2", "r1", "w1", "s1", "x"];
const CHANNELS: [&str; 4] = ["c1", "c*", "news", "other"];

/// A rule, or the name of a command of this server with a sign.
fn rule() -> impl Strategy<Value = String> {
    let sign = || select(vec!["+", "-"]);
    let category =
        (sign(), select(&CATEGORIES[..])).prop_map(|(sign, name)| format!("{sign}@{name}"));
    let command = (sign(), select(&COMMANDS[..])).prop_map(|(sign, line)| {
        let name = line.split(' ').next().unwrap_or_default();
        format!("{sign}{name}")
    });
    prop_oneof![
        3 => select(&RULES[..]).prop_map(str::to_owned),
        2 => category,
        2 => command,
    ]
}

/// A command with keys and channels.
fn command() -> impl Strategy<Value = Vec<String>> {
    (
        select(&COMMANDS[..]),
        vec(select(&KEYS[..]), 3),
        vec(select(&CHANNELS[..]), 2),
    )
        .prop_map(|(line, keys, channels)| {
            let (mut keys, mut channels) = (keys.into_iter(), channels.into_iter());
            let word = |word: &str| match word {
                "KEY" => keys.next().unwrap_or("x").to_owned(),
                "CHANNEL" => channels.next().unwrap_or("c1").to_owned(),
                word => word.to_owned(),
            };
            line.split(' ').map(word).collect()
        })
}

#[test]
fn fuzz_users() {
    let (subject, oracle) = (Server::subject(), Server::oracle());
    let ours = RefCell::new(subject.connect());
    let theirs = RefCell::new(oracle.connect());
    let own = own_commands(&mut ours.borrow_mut(), &mut theirs.borrow_mut());
    let strategy = (vec(vec(rule(), 1..6), 1..5), vec(command(), 1..25));
    let mut runner = TestRunner::new(config());
    let result = runner.run(&strategy, |(changes, commands)| {
        let mut lines: Vec<Vec<String>> = vec![words("ACL DELUSER u"), words("ACL SETUSER u")];
        for rules in changes {
            let mut line = words("ACL SETUSER u");
            line.extend(rules.iter().flat_map(|rule| words(rule)));
            lines.push(line);
            lines.push(words("ACL GETUSER u"));
        }
        for command in commands {
            let mut line = words("ACL DRYRUN u");
            line.extend(command);
            lines.push(line);
        }
        for line in &lines {
            let our = plain(ours.borrow_mut().call(line), &own);
            let their = plain(theirs.borrow_mut().call(line), &own);
            if our != their {
                let text = lines.iter().map(|line| line.join(" "));
                let text: Vec<String> = text.collect();
                return Err(TestCaseError::fail(format!(
                    "{}\n{}\n  oracle:  {their}\n  subject: {our}",
                    text.join("\n"),
                    line.join(" "),
                )));
            }
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// Commands that the oracle does not have.
fn own_commands(ours: &mut Connection, theirs: &mut Connection) -> Vec<String> {
    let theirs = theirs.run("COMMAND LIST").items();
    let ours = ours.run("COMMAND LIST").items();
    let own = ours.into_iter().filter(|name| !theirs.contains(name));
    own.map(|name| name.text()).collect()
}

/// A reply with the rules for commands in order, and without those that the oracle can't know.
fn plain(reply: Reply, own: &[String]) -> Reply {
    match reply {
        Reply::Array(items) => Reply::Array(items.into_iter().map(|it| plain(it, own)).collect()),
        Reply::Bulk(text) if text.starts_with(b"+@all") || text.starts_with(b"-@all") => {
            let text = String::from_utf8(text).expect("rules are text");
            let is_known = |rule: &&str| !own.iter().any(|name| *name == rule[1..]);
            let mut rules: Vec<&str> = text.split(' ').filter(is_known).collect();
            // The order of categories counts, that of single commands is the oracle's secret.
            let singles = rules.iter().position(|rule| !rule[1..].starts_with('@'));
            rules[singles.unwrap_or_default()..].sort_unstable();
            Reply::Bulk(rules.join(" ").into_bytes())
        }
        reply => reply,
    }
}

fn with_file(text: &[u8]) -> (tempfile::TempDir, Options) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("users.acl");
    fs::write(&path, text).expect("a file");
    let options = Options::new(Program::Subject);
    let options = options.coterie_flag("aclfile", path.to_str().expect("a path"));
    (directory, options)
}

#[test]
fn users_are_saved_and_loaded() {
    let (directory, options) = with_file(b"user default on nopass ~* &* +@all\n");
    let mut server = Server::start(options);
    let mut client = server.connect();
    client.run("ACL SETUSER alice on >secret ~a* %R~r* &c* +@all -@dangerous (+set ~x)");
    client.run("ACL SETUSER bob +get");
    let users = client.run("ACL LIST");
    assert!(client.run("ACL SAVE").is_ok());
    let names: Vec<_> = fs::read_dir(directory.path()).expect("readable").collect();
    assert_eq!(names.len(), 1, "nothing is left beside the file");
    server.kill();
    server.restart();
    let mut client = server.connect();
    assert_eq!(client.run("ACL LIST"), users);
    // What is loaded replaces all; who is connected as a user of the old list is not any more.
    let mut alice = server.connect();
    assert!(alice.run("AUTH alice secret").is_ok());
    client.run("ACL SETUSER carol on nopass");
    assert!(client.run("ACL LOAD").is_ok());
    assert_eq!(client.run("ACL LIST"), users);
    assert!(alice.is_closed());
    // A damaged file changes nothing.
    let path = directory.path().join("users.acl");
    fs::write(&path, "user alice on +nosuch\nuser bob >x (\n").expect("a file");
    let mut alice = server.connect();
    assert!(alice.run("AUTH alice secret").is_ok());
    let reply = client.run("ACL LOAD").text();
    assert!(reply.contains(
        ":1: Error in applying operation '+nosuch': Unknown command or category name in ACL. "
    ));
    assert!(reply.contains(":2: Unmatched parenthesis in selector definition."));
    assert_eq!(client.run("ACL LIST"), users);
    assert_eq!(alice.run("GET a").kind(), Reply::Null.kind());
}

#[test]
fn a_damaged_file_refuses_the_start() {
    for text in ["user alice on +nosuch\n", "alice on\n", "user a\nuser a\n"] {
        let (_directory, options) = with_file(text.as_bytes());
        assert!(Server::try_start(options).is_err(), "{text}");
    }
    let (directory, options) = with_file(b"");
    fs::remove_file(directory.path().join("users.acl")).expect("removed");
    assert!(Server::try_start(options).is_err());
    let (_directory, options) = with_file(b"");
    let both = options.coterie_flag("user", "alice on");
    assert!(Server::try_start(both).is_err());
}

#[test]
fn users_of_the_configuration_are_written_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("coterie.toml");
    fs::write(
        &path,
        "# Who is who\nuser = [\"alice on >pw ~a* +@all\", \"bob off\"]\n",
    )
    .expect("a file");
    let options = Options::new(Program::Subject);
    let options = options.coterie_flag("config", path.to_str().expect("a path"));
    let mut server = Server::start(options);
    let mut client = server.connect_as(Protocol::Resp3);
    assert!(client.run("AUTH alice pw").is_ok());
    client.run("RESET");
    client.run("ACL SETUSER carol on nopass +get");
    client.run("ACL DELUSER bob");
    let users = client.run("ACL LIST");
    let written = client.run("CONFIG REWRITE");
    assert!(written.is_ok(), "{written}");
    let text = fs::read_to_string(&path).expect("readable");
    assert!(text.starts_with("# Who is who\nuser = [") && text.contains("carol on nopass"));
    server.kill();
    server.restart();
    assert_eq!(server.connect().run("ACL LIST"), users);
}
