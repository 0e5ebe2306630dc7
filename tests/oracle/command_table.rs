//! The command table as clients see it: `COMMAND INFO` and `COMMAND DOCS`, field by field.

use std::collections::BTreeMap;

use crate::common::{Connection, Protocol, Reply, Server};
use crate::runner::report;

/// Every command that both servers have; subcommands are written `container|name`.
const COMMANDS: &[&str] = &[
    // values of any type
    "sort",
    "sort_ro",
    "dump",
    "restore",
    // ACL
    "acl",
    "acl|cat",
    "acl|deluser",
    "acl|dryrun",
    "acl|genpass",
    "acl|getuser",
    "acl|help",
    "acl|list",
    "acl|load",
    "acl|log",
    "acl|save",
    "acl|setuser",
    "acl|users",
    "acl|whoami",
    // strings
    "append",
    "decr",
    "decrby",
    "get",
    "getdel",
    "getex",
    "getrange",
    "getset",
    "incr",
    "incrby",
    "incrbyfloat",
    "lcs",
    "mget",
    "mset",
    "msetnx",
    "psetex",
    "set",
    "setex",
    "setnx",
    "setrange",
    "strlen",
    "substr",
    // bitmaps
    "bitcount",
    "bitfield",
    "bitfield_ro",
    "bitop",
    "bitpos",
    "getbit",
    "setbit",
    // hashes
    "hdel",
    "hexists",
    "hget",
    "hgetall",
    "hincrby",
    "hincrbyfloat",
    "hkeys",
    "hlen",
    "hmget",
    "hmset",
    "hrandfield",
    "hscan",
    "hset",
    "hsetnx",
    "hstrlen",
    "hvals",
    // HyperLogLog
    "pfadd",
    "pfcount",
    "pfdebug",
    "pfmerge",
    "pfselftest",
    // lists
    "blmove",
    "blmpop",
    "blpop",
    "brpop",
    "brpoplpush",
    "lindex",
    "linsert",
    "llen",
    "lmove",
    "lmpop",
    "lpop",
    "lpos",
    "lpush",
    "lpushx",
    "lrange",
    "lrem",
    "lset",
    "ltrim",
    "rpop",
    "rpoplpush",
    "rpush",
    "rpushx",
    // sets
    "sadd",
    "scard",
    "sdiff",
    "sdiffstore",
    "sinter",
    "sintercard",
    "sinterstore",
    "sismember",
    "smembers",
    "smismember",
    "smove",
    "spop",
    "srandmember",
    "srem",
    "sscan",
    "sunion",
    "sunionstore",
    // streams
    "xack",
    "xadd",
    "xautoclaim",
    "xclaim",
    "xdel",
    "xgroup",
    "xgroup|create",
    "xgroup|createconsumer",
    "xgroup|delconsumer",
    "xgroup|destroy",
    "xgroup|help",
    "xgroup|setid",
    "xinfo",
    "xinfo|consumers",
    "xinfo|groups",
    "xinfo|help",
    "xinfo|stream",
    "xlen",
    "xpending",
    "xrange",
    "xread",
    "xreadgroup",
    "xrevrange",
    "xsetid",
    "xtrim",
    // functions
    "fcall",
    "fcall_ro",
    "function",
    "function|delete",
    "function|dump",
    "function|flush",
    "function|help",
    "function|kill",
    "function|list",
    "function|load",
    "function|restore",
    "function|stats",
    // scripts
    "eval",
    "eval_ro",
    "evalsha",
    "evalsha_ro",
    "script",
    "script|debug",
    "script|exists",
    "script|flush",
    "script|help",
    "script|kill",
    "script|load",
    // sorted sets
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "zadd",
    "zcard",
    "zcount",
    "zdiff",
    "zdiffstore",
    "zincrby",
    "zinter",
    "zintercard",
    "zinterstore",
    "zlexcount",
    "zmpop",
    "zmscore",
    "zpopmax",
    "zpopmin",
    "zrandmember",
    "zrange",
    "zrangebylex",
    "zrangebyscore",
    "zrangestore",
    "zrank",
    "zrem",
    "zremrangebylex",
    "zremrangebyrank",
    "zremrangebyscore",
    "zrevrange",
    "zrevrangebylex",
    "zrevrangebyscore",
    "zrevrank",
    "zscan",
    "zscore",
    "zunion",
    "zunionstore",
    // places
    "geoadd",
    "geodist",
    "geohash",
    "geopos",
    "georadius",
    "georadius_ro",
    "georadiusbymember",
    "georadiusbymember_ro",
    "geosearch",
    "geosearchstore",
    // keys
    "copy",
    "del",
    "exists",
    "expire",
    "expireat",
    "expiretime",
    "keys",
    "move",
    "object",
    "object|encoding",
    "object|freq",
    "object|help",
    "object|idletime",
    "object|refcount",
    "persist",
    "pexpire",
    "pexpireat",
    "pexpiretime",
    "pttl",
    "randomkey",
    "rename",
    "renamenx",
    "scan",
    "touch",
    "ttl",
    "type",
    "unlink",
    // cluster
    "asking",
    "cluster",
    "cluster|addslots",
    "cluster|addslotsrange",
    "cluster|bumpepoch",
    "cluster|count-failure-reports",
    "cluster|countkeysinslot",
    "cluster|delslots",
    "cluster|delslotsrange",
    "cluster|failover",
    "cluster|flushslots",
    "cluster|forget",
    "cluster|getkeysinslot",
    "cluster|help",
    "cluster|info",
    "cluster|keyslot",
    "cluster|links",
    "cluster|meet",
    "cluster|myid",
    "cluster|nodes",
    "cluster|replicas",
    "cluster|replicate",
    "cluster|reset",
    "cluster|saveconfig",
    "cluster|set-config-epoch",
    "cluster|setslot",
    "cluster|shards",
    "cluster|slaves",
    "cluster|slots",
    "readonly",
    "readwrite",
    "wait",
    // transactions
    "discard",
    "exec",
    "multi",
    "unwatch",
    "watch",
    // connection
    "auth",
    "client",
    "client|caching",
    "client|getname",
    "client|getredir",
    "client|id",
    "client|info",
    "client|kill",
    "client|list",
    "client|no-evict",
    "client|pause",
    "client|reply",
    "client|setname",
    "client|tracking",
    "client|trackinginfo",
    "client|unpause",
    "echo",
    "hello",
    "ping",
    "quit",
    "reset",
    "select",
    // pub/sub
    "psubscribe",
    "publish",
    "pubsub",
    "pubsub|channels",
    "pubsub|help",
    "pubsub|numpat",
    "pubsub|numsub",
    "pubsub|shardchannels",
    "pubsub|shardnumsub",
    "punsubscribe",
    "spublish",
    "ssubscribe",
    "subscribe",
    "sunsubscribe",
    "unsubscribe",
    // server
    "bgrewriteaof",
    "bgsave",
    "command",
    "command|count",
    "command|docs",
    "command|getkeys",
    "command|info",
    "command|list",
    "config",
    "config|get",
    "config|resetstat",
    "config|rewrite",
    "config|set",
    "dbsize",
    "debug",
    "flushall",
    "flushdb",
    "info",
    "lastsave",
    "latency",
    "latency|latest",
    "latency|history",
    "latency|reset",
    "lolwut",
    "memory",
    "memory|stats",
    "memory|usage",
    "monitor",
    "save",
    "shutdown",
    "slowlog",
    "slowlog|get",
    "slowlog|len",
    "slowlog|reset",
    "swapdb",
    "time",
];

const FIELDS: [&str; 9] = [
    "name",
    "arity",
    "flags",
    "first key",
    "last key",
    "step",
    "ACL categories",
    "tips",
    "key specifications",
];

#[test]
fn command_info_resp2() {
    compare_info(Protocol::Resp2);
}

#[test]
fn command_info_resp3() {
    compare_info(Protocol::Resp3);
}

fn compare_info(protocol: Protocol) {
    let (subject, oracle) = (Server::subject(), Server::oracle());
    let (mut ours, mut theirs) = (subject.connect_as(protocol), oracle.connect_as(protocol));
    let mut differences = Vec::new();
    for name in COMMANDS {
        let our = info(&mut ours, name);
        let their = info(&mut theirs, name);
        assert!(!their.is_empty(), "the oracle doesn't know {name}");
        if our.is_empty() {
            differences.push(format!("{name}: not in the table"));
            continue;
        }
        for (index, field) in FIELDS.iter().enumerate() {
            let (our, their) = (our.get(index), their.get(index));
            if our.is_none()
                || our.map(Reply::kind) != their.map(Reply::kind)
                || comparable(our) != comparable(their)
            {
                differences.push(format!(
                    "{name}: {field}\n  oracle:  {}\n  subject: {}",
                    show(their),
                    show(our)
                ));
            }
        }
    }
    report(&differences);
}

/// The fields of a command's entry; empty when there is no such command.
fn info(connection: &mut Connection, name: &str) -> Vec<Reply> {
    let reply = connection.call(&["COMMAND", "INFO", name]);
    reply.items().first().map(Reply::items).unwrap_or_default()
}

/// A field in a fixed order, without the remarks of key specifications: those are in our own words.
fn comparable(field: Option<&Reply>) -> Option<Reply> {
    field.map(|field| without_remarks(field.clone()).sorted())
}

fn without_remarks(reply: Reply) -> Reply {
    let is_notes = |reply: &Reply| *reply == Reply::Bulk(b"notes".to_vec());
    let each = |items: Vec<Reply>| items.into_iter().map(without_remarks).collect();
    match reply {
        Reply::Array(mut items) => {
            if let Some(at) = items.iter().position(is_notes) {
                items.remove(at + 1);
            }
            Reply::Array(each(items))
        }
        Reply::Set(items) => Reply::Set(each(items)),
        Reply::Map(pairs) => Reply::Map(
            pairs
                .into_iter()
                .filter(|(key, _)| !is_notes(key))
                .map(|(key, value)| (key, without_remarks(value)))
                .collect(),
        ),
        other => other,
    }
}

fn show(field: Option<&Reply>) -> String {
    field.map_or_else(|| "missing".to_owned(), ToString::to_string)
}

#[test]
fn command_lists_agree_with_command_info() {
    let subject = Server::subject();
    let mut connection = subject.connect();
    let all = connection.run("COMMAND").items();
    let count = connection.run("COMMAND COUNT").integer();
    assert_eq!(count, i64::try_from(all.len()).ok());
    let mut names: Vec<_> = all.iter().map(|entry| entry.items()[0].text()).collect();
    let mut listed: Vec<_> = connection
        .run("COMMAND LIST")
        .items()
        .iter()
        .map(Reply::text)
        .filter(|name| !name.contains('|'))
        .collect();
    names.sort();
    listed.sort();
    assert_eq!(names, listed);
    for container in [
        "client", "cluster", "config", "object", "command", "memory", "slowlog", "latency",
    ] {
        let entry = info(&mut connection, container);
        let subcommands: Vec<_> = entry[9]
            .items()
            .iter()
            .map(|entry| entry.items()[0].text())
            .collect();
        let expected: Vec<_> = COMMANDS
            .iter()
            .filter(|name| name.starts_with(&format!("{container}|")))
            .collect();
        for name in expected {
            assert!(
                subcommands.iter().any(|have| have == name),
                "{container} lacks {name}: {subcommands:?}"
            );
        }
    }
}

#[test]
fn command_docs() {
    let (subject, oracle) = (Server::subject(), Server::oracle());
    let (mut ours, mut theirs) = (subject.connect(), oracle.connect());
    let mut differences = Vec::new();
    for name in COMMANDS {
        let our = docs(&mut ours, name);
        let their = docs(&mut theirs, name);
        for field in ["since", "group"] {
            let (our, their) = (
                our.get(field).map(Reply::text),
                their.get(field).map(Reply::text),
            );
            if our != their {
                differences.push(format!(
                    "{name}: {field}: oracle {their:?}, subject {our:?}"
                ));
            }
        }
        if our
            .get("summary")
            .is_none_or(|summary| summary.text().is_empty())
        {
            differences.push(format!("{name}: no summary"));
        }
    }
    report(&differences);
}

fn docs(connection: &mut Connection, name: &str) -> BTreeMap<String, Reply> {
    let reply = connection.call(&["COMMAND", "DOCS", name]).items();
    let fields = reply.get(1).map(Reply::items).unwrap_or_default();
    fields
        .chunks_exact(2)
        .map(|pair| (pair[0].text(), pair[1].clone()))
        .collect()
}
