"""What an application does with redis-py. Arguments: the server's URL with a database number, the protocol version."""

import sys

import redis

url, protocol = sys.argv[1], int(sys.argv[2])
client = redis.Redis.from_url(url, protocol=protocol, client_name="application")
database = int(url.rsplit("/", 1)[1])


def equal(actual, expected):
    assert actual == expected, f"expected {expected!r}, got {actual!r}"


def fails_with(words, call):
    try:
        result = call()
    except redis.ResponseError as error:
        assert words in str(error), f"expected {words!r}, got {error!r}"
    else:
        raise AssertionError(f"expected {words!r}, got {result!r}")


# Strings and binary-safe values.
equal(client.ping(), True)
equal(client.set("greeting", "hello"), True)
equal(client.get("greeting"), b"hello")
binary = bytes(range(256)) + b"\r\n$5\r\nhello\r\n"
client.set(binary, binary)
equal(client.get(binary), binary)
equal(client.get("nosuch"), None)
equal(client.set("greeting", "other", nx=True), None)
equal(client.set("greeting", "other", get=True), b"hello")
equal(client.append("greeting", "!"), 6)
equal(client.getrange("greeting", -3, -1), b"er!")
equal(client.getdel("greeting"), b"other!")
equal(client.mset({"m:1": 1, "m:2": "two", "m:3": 3.5}), True)
equal(client.mget("m:1", "m:2", "m:3", "m:4"), [b"1", b"two", b"3.5", None])
equal(client.msetnx({"m:1": 9, "m:5": 9}), False)

# Numbers and bits.
equal(client.incr("counter"), 1)
equal(client.incrby("counter", 41), 42)
equal(client.decr("counter"), 41)
equal(client.incrbyfloat("float", 0.1), 0.1)
equal(client.incrbyfloat("float", 0.2), 0.3)
fails_with("not an integer", lambda: client.incr("m:2"))
equal(client.setbit("bits", 7, 1), 0)
equal(client.bitcount("bits"), 1)
equal(client.bitfield("bits").set("u8", 0, 255).get("u4", 0).execute(), [1, 15])

# Expiry.
equal(client.set("session", "data", ex=100), True)
assert 0 < client.ttl("session") <= 100
equal(client.expire("session", 1000, xx=True), True)
assert 100 < client.ttl("session") <= 1000
equal(client.persist("session"), True)
equal(client.ttl("session"), -1)
equal(client.ttl("nosuch"), -2)
equal(client.getex("session", px=50_000), b"data")
assert 0 < client.pttl("session") <= 50_000

# Keys.
equal(client.type("counter"), b"string")
equal(client.rename("counter", "renamed"), True)
equal(client.exists("counter", "renamed"), 1)
equal(client.copy("renamed", "copied"), True)
equal(client.object("encoding", "renamed"), b"int")
equal(client.delete("renamed", "copied", "nosuch"), 2)
client.mset({f"scan:{n}": n for n in range(1000)})
equal(sorted(client.scan_iter("scan:*", count=50)), sorted(f"scan:{n}".encode() for n in range(1000)))
equal(len(client.keys("scan:*")), 1000)
equal(client.unlink(*[f"scan:{n}" for n in range(1000)]), 1000)

# A pipeline, in which one command fails.
with client.pipeline(transaction=False) as pipeline:
    for n in range(500):
        pipeline.set(f"p:{n}", n)
    pipeline.incr("m:2")
    pipeline.get("p:499")
    results = pipeline.execute(raise_on_error=False)
equal(results[:500], [True] * 500)
assert isinstance(results[500], redis.ResponseError), results[500]
equal(results[501], b"499")

# What tools look at.
assert any(c["name"] == "application" and c["db"] == str(database) for c in client.client_list()), client.client_list()
equal(client.client_getname() in ("application", b"application"), True)
info = client.info()
equal(info[f"db{database}"]["keys"], client.dbsize())
assert info["redis_version"].startswith("7."), info["redis_version"]
equal(client.config_get("maxmemory-policy"), {"maxmemory-policy": "noeviction"})
equal(client.config_set("timeout", 0), True)
assert "get" in client.command() and client.command_count() > 50
keys = client.command_getkeys("MSET", "a", 1, "b", 2)
equal([key.decode() if isinstance(key, bytes) else key for key in keys], ["a", "b"])
seconds, microseconds = client.time()
assert seconds > 1_600_000_000 and 0 <= microseconds < 1_000_000
assert client.memory_usage("m:1") > 0
client.slowlog_reset()
equal(client.slowlog_len(), 0)
fails_with("unknown command", lambda: client.execute_command("NOSUCH", "a"))
fails_with("wrong number of arguments", lambda: client.execute_command("GET"))

# Another database, and MONITOR.
other = redis.Redis.from_url(url.rsplit("/", 1)[0] + "/9", protocol=protocol)
other.set("only-here", 1)
equal(client.exists("only-here"), 0)
with client.monitor() as monitor:
    other.get("only-here")
    seen = ""
    while "only-here" not in seen:
        seen = next(monitor.listen())["command"]
other.flushdb()

# The server is killed and started again.
client.set("kept", binary)
print("restart", flush=True)
sys.stdin.readline()
for attempt in range(100):
    try:
        equal(client.get("kept"), binary)
        break
    except redis.ConnectionError:
        if attempt == 99:
            raise
equal(client.get("m:2"), b"two")
client.flushdb()
equal(client.dbsize(), 0)
print("done", flush=True)
