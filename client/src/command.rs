//! What a client has to know of a command: where it goes, and whether it may be sent twice.

use coterie_protocol::{OwnedRequest, Request, Slot};

/// Whether executing a command twice is as good as once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Repeat {
    /// It changes nothing.
    Read,
    /// It writes the same whatever was there.
    PlainWrite,
    /// It must not.
    Never,
}

/// A command on its way.
pub(crate) struct Command {
    pub(crate) request: OwnedRequest,
    /// Of its first key.
    pub(crate) slot: Option<Slot>,
    pub(crate) repeat: Repeat,
    /// Bytes of it in the body of a call.
    pub(crate) bytes: usize,
}

impl Command {
    pub(crate) fn new(request: OwnedRequest) -> Command {
        let words = request.request();
        Command {
            slot: first_key(words).map(Slot::of),
            repeat: repeat(words),
            bytes: words.iter().map(|word| 4 + word.len()).sum::<usize>() + 4,
            request,
        }
    }
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}

/// Commands whose first argument is no key.
const KEYLESS: &[&str] = &[
    "ACL",
    "BGREWRITEAOF",
    "BGSAVE",
    "CLIENT",
    "CLUSTER",
    "COMMAND",
    "CONFIG",
    "DBSIZE",
    "ECHO",
    "FLUSHALL",
    "FLUSHDB",
    "FUNCTION",
    "INFO",
    "KEYS",
    "LASTSAVE",
    "LATENCY",
    "LOLWUT",
    "PFSELFTEST",
    "PING",
    "PUBLISH",
    "RANDOMKEY",
    "REPLICAOF",
    "ROLE",
    "SAVE",
    "SCAN",
    "SCRIPT",
    "SHUTDOWN",
    "SLOWLOG",
    "SWAPDB",
    "TIME",
    "WAIT",
    "WAITAOF",
];
/// Commands whose second argument is the first key.
const KEY_SECOND: &[&str] = &[
    "BITOP",
    "DEBUG",
    "LMPOP",
    "MEMORY",
    "OBJECT",
    "PFDEBUG",
    "SINTERCARD",
    "XGROUP",
    "XINFO",
    "ZDIFF",
    "ZINTER",
    "ZINTERCARD",
    "ZMPOP",
    "ZUNION",
];
/// Commands with a number of keys, and the keys after it.
const KEYS_COUNTED: &[&str] = &[
    "BLMPOP",
    "BZMPOP",
    "EVAL",
    "EVALSHA",
    "EVALSHA_RO",
    "EVAL_RO",
    "FCALL",
    "FCALL_RO",
];

/// Where a wrong answer costs a detour and nothing else: any node serves any key.
fn first_key(request: Request<'_>) -> Option<&[u8]> {
    let name = request.name();
    if is_one_of(name, KEYLESS) {
        None
    } else if is_one_of(name, KEY_SECOND) {
        request.get(2)
    } else if is_one_of(name, KEYS_COUNTED) {
        request.get(3)
    } else {
        request.get(1)
    }
}

/// Whether the client takes a command of this name for one that changes nothing, whatever its arguments: it is then sent
/// again when there is no answer.
pub fn is_read(name: &str) -> bool {
    is_one_of(name.as_bytes(), READS)
}

const READS: &[&str] = &[
    "BITCOUNT",
    "BITFIELD_RO",
    "BITPOS",
    "COMMAND",
    "DBSIZE",
    "DUMP",
    "ECHO",
    "EVALSHA_RO",
    "EVAL_RO",
    "EXISTS",
    "EXPIRETIME",
    "FCALL_RO",
    "GEODIST",
    "GEOHASH",
    "GEOPOS",
    "GEORADIUSBYMEMBER_RO",
    "GEORADIUS_RO",
    "GEOSEARCH",
    "GET",
    "GETBIT",
    "GETRANGE",
    "HEXISTS",
    "HEXPIRETIME",
    "HGET",
    "HGETALL",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HPEXPIRETIME",
    "HPTTL",
    "HRANDFIELD",
    "HSCAN",
    "HSTRLEN",
    "HTTL",
    "HVALS",
    "INFO",
    "KEYS",
    "LCS",
    "LINDEX",
    "LLEN",
    "LOLWUT",
    "LPOS",
    "LRANGE",
    "MGET",
    "OBJECT",
    "PEXPIRETIME",
    "PFCOUNT",
    "PING",
    "PTTL",
    "RANDOMKEY",
    "SCAN",
    "SCARD",
    "SDIFF",
    "SINTER",
    "SINTERCARD",
    "SISMEMBER",
    "SMEMBERS",
    "SMISMEMBER",
    "SORT_RO",
    "SRANDMEMBER",
    "SSCAN",
    "STRLEN",
    "SUBSTR",
    "SUNION",
    "TIME",
    "TOUCH",
    "TTL",
    "TYPE",
    "XINFO",
    "XLEN",
    "XPENDING",
    "XRANGE",
    "XREAD",
    "XREVRANGE",
    "ZCARD",
    "ZCOUNT",
    "ZDIFF",
    "ZINTER",
    "ZINTERCARD",
    "ZLEXCOUNT",
    "ZMSCORE",
    "ZRANDMEMBER",
    "ZRANGE",
    "ZRANGEBYLEX",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZREVRANGE",
    "ZREVRANGEBYLEX",
    "ZREVRANGEBYSCORE",
    "ZREVRANK",
    "ZSCAN",
    "ZSCORE",
    "ZUNION",
];
/// Writes whose effect does not depend on what is there, whatever their arguments.
const PLAIN_WRITES: &[&str] = &[
    "DEL", "FLUSHALL", "FLUSHDB", "HDEL", "HMSET", "HSET", "MSET", "PSETEX", "SETEX", "UNLINK",
];
/// Options that make `SET` look at what is there.
const SET_CONDITIONS: &[&str] = &["NX", "XX", "GET", "KEEPTTL"];

fn repeat(request: Request<'_>) -> Repeat {
    let name = request.name();
    let is_conditional = |option| is_one_of(option, SET_CONDITIONS);
    if is_one_of(name, READS) {
        Repeat::Read
    } else if is_one_of(name, PLAIN_WRITES)
        || is_one_of(name, &["SET"]) && !request.iter().skip(3).any(is_conditional)
    {
        Repeat::PlainWrite
    } else {
        Repeat::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Command {
        let words: Vec<_> = line.split(' ').collect();
        Command::new(OwnedRequest::new(&words))
    }

    #[test]
    fn only_what_is_known_to_be_safe_is_repeated() {
        for line in ["get k", "HGETALL k", "scan 0", "PING"] {
            assert_eq!(command(line).repeat, Repeat::Read, "{line}");
        }
        for line in [
            "SET k v",
            "set k v EX 10",
            "DEL a b",
            "HSET k f v",
            "MSET a 1",
        ] {
            assert_eq!(command(line).repeat, Repeat::PlainWrite, "{line}");
        }
        let never = [
            "SET k v nx",
            "SET k v EX 9 GET",
            "INCR k",
            "GETSET k v",
            "MSETNX a 1",
            "EXPIRE k 9",
            "NEW k",
        ];
        for line in never {
            assert_eq!(command(line).repeat, Repeat::Never, "{line}");
        }
    }

    #[test]
    fn keys_are_found() {
        let slot = |key: &str| Some(Slot::of(key.as_bytes()));
        assert_eq!(command("GET k").slot, slot("k"));
        assert_eq!(command("bitop AND to a b").slot, slot("to"));
        assert_eq!(command("OBJECT ENCODING k").slot, slot("k"));
        assert_eq!(command("EVAL text 1 k").slot, slot("k"));
        assert_eq!(command("EVAL text 0").slot, None);
        assert_eq!(command("INFO server").slot, None);
        assert_eq!(command("NEW").slot, None);
    }
}
