"""How programs use collections, transactions, scripts, locks and blocking commands with redis-py.

Arguments: the URLs of nodes, any of which may be asked, separated by commas; the protocol version. Whatever one client
writes is read through others.
"""

import itertools
import sys
import threading
import time

import redis
from checks import clients, equal, eventually, fails_with, next_message
from redis.exceptions import LockError, LockNotOwnedError

urls, protocol = sys.argv[1], int(sys.argv[2])
nodes = clients(urls, protocol=protocol, decode_responses=True)
first, second, third = itertools.islice(itertools.cycle(nodes), 3)

# A pipeline over collections, read through another node.
with first.pipeline(transaction=False) as pipeline:
    pipeline.rpush("list", *range(10)).hset("hash", mapping={"a": 1, "b": 2}).sadd("set", "x", "y")
    pipeline.zadd("ranking", {"ann": 3, "bob": 1.5, "cleo": 2}).hincrby("hash", "a", 9).lpop("list", 2)
    equal(pipeline.execute(), [10, 2, 2, 3, 10, ["0", "1"]])
equal(second.lrange("list", 0, -1), [str(n) for n in range(2, 10)])
equal(second.hgetall("hash"), {"a": "10", "b": "2"})
equal(second.smembers("set"), {"x", "y"})
equal([list(pair) for pair in third.zrange("ranking", 0, -1, withscores=True)], [["bob", 1.5], ["cleo", 2], ["ann", 3]])
equal(third.zrevrank("ranking", "ann"), 0)
equal([list(pair) for pair in second.zpopmin("ranking", 1)], [["bob", 1.5]])
equal(first.zrange("ranking", "-inf", "(3", byscore=True), ["cleo"])
try:
    second.lpush("hash", 1)
    raise AssertionError("a hash is no list")
except redis.ResponseError as error:
    assert "wrong kind of value" in str(error), error

# Iterators over collections of more than a page.
first.hset("big:hash", mapping={f"f{n}": n for n in range(1000)})
first.sadd("big:set", *range(1000))
first.zadd("big:ranking", {f"m{n}": n for n in range(1000)})
equal(dict(second.hscan_iter("big:hash", count=50)), {f"f{n}": str(n) for n in range(1000)})
equal({int(m) for m in third.sscan_iter("big:set", count=50)}, set(range(1000)))
equal(dict(second.zscan_iter("big:ranking", count=50)), {f"m{n}": float(n) for n in range(1000)})
equal(sorted(third.scan_iter("big:*", count=1)), ["big:hash", "big:ranking", "big:set"])
equal(list(second.scan_iter("big:*", _type="zset")), ["big:ranking"])

# A transaction; one that fails at a command; one that is refused as a whole.
with first.pipeline() as pipeline:
    equal(pipeline.set("{t}a", 1).incr("{t}a").rpush("{t}b", "x").execute(), [True, 2, 1])
with second.pipeline() as pipeline:
    results = pipeline.incr("{t}a").incr("{t}b").incr("{t}a").execute(raise_on_error=False)
equal((results[0], results[2]), (3, 4))
assert isinstance(results[1], redis.ResponseError), results
with third.pipeline() as pipeline:
    pipeline.set("{t}a", 100).execute_command("GET")
    fails_with("wrong number of arguments", pipeline.execute)
equal(first.get("{t}a"), "4")

# Optimistic locking: what was watched has changed; many clients that each count up.
with first.pipeline() as pipeline:
    pipeline.watch("{t}a")
    equal(pipeline.get("{t}a"), "4")
    second.set("{t}a", 50)
    pipeline.multi()
    pipeline.set("{t}a", 5)
    try:
        pipeline.execute()
        raise AssertionError("a watched key has changed")
    except redis.WatchError:
        pass
equal(third.get("{t}a"), "50")


def count_up(client):
    def body(pipeline):
        value = int(pipeline.get("{t}watched") or 0)
        pipeline.multi()
        pipeline.set("{t}watched", value + 1)

    for _ in range(20):
        client.transaction(body, "{t}watched")


def together(*jobs):
    """Runs each job in a thread; panics if one does."""
    failures = []

    def guarded(job):
        try:
            job()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


together(*[lambda client=client: count_up(client) for client in (first, second, third)])
equal(third.get("{t}watched"), "60")

# Scripts that are sent once; a server that has forgotten them.
add = first.register_script(
    """
    local sum = redis.call('INCRBY', KEYS[1], ARGV[1])
    redis.call('RPUSH', KEYS[2], sum)
    return {sum, redis.call('LLEN', KEYS[2]), cjson.encode({sum = sum})}
    """
)
equal(add(keys=["{s}sum", "{s}log"], args=[5]), [5, 1, '{"sum":5}'])
equal(add(keys=["{s}sum", "{s}log"], args=[6], client=second), [11, 2, '{"sum":11}'])
second.script_flush()
equal(add(keys=["{s}sum", "{s}log"], args=[7], client=second), [18, 3, '{"sum":18}'])
with third.pipeline() as pipeline:
    add(keys=["{s}sum", "{s}log"], args=[1], client=pipeline)
    pipeline.get("{s}sum")
    equal(pipeline.execute(), [[19, 4, '{"sum":19}'], "19"])
equal(second.script_exists(add.sha), [True])
fails_with("my words", lambda: first.eval("return redis.error_reply('ERR my words')", 0))
fails_with("not an integer", lambda: first.eval("redis.call('SET', KEYS[1], 'x') return redis.call('INCR', KEYS[1])", 1, "s"))

# The library's lock: held by one at a time, whichever node is asked; extended; released by its owner only.
lock = first.lock("lock", timeout=30)
assert lock.acquire(blocking=False)
equal(second.lock("lock", timeout=30).acquire(blocking=False), False)
assert lock.owned() and second.lock("lock").locked()
assert lock.extend(100) and 100 < third.ttl("lock") <= 130
assert lock.reacquire() and third.ttl("lock") <= 30
lock.release()
try:
    lock.release()
    raise AssertionError("it is not held any more")
except LockError:
    pass
taken = first.lock("lock", timeout=0.05)
assert taken.acquire()
eventually("the lock's end", lambda: not third.exists("lock"))
assert second.lock("lock", timeout=30).acquire(blocking=False)
try:
    taken.release()
    raise AssertionError("it is another's")
except LockNotOwnedError:
    pass
second.delete("lock")
inside = []


def hold(client, name):
    for _ in range(5):
        with client.lock("lock", timeout=30, sleep=0.002):
            inside.append((name, "in"))
            inside.append((name, "out"))


together(*[lambda client=client, n=n: hold(client, n) for n, client in enumerate([first, second, third])])
equal(len(inside), 30)
for entered, left in zip(inside[::2], inside[1::2]):
    equal((entered[0], entered[1], left[1]), (left[0], "in", "out"))

# Blocking commands: what comes while one waits, from another node; several lists; a time-out.
equal(first.blpop(["queue:none"], timeout=0.02), None)
results = {}


def take(name, call):
    return lambda: results.update({name: call()})


def waiting(count):
    return lambda: sum(int(node.info("clients")["blocked_clients"]) for node in nodes) >= count


giver = threading.Thread(
    target=lambda: (
        eventually("three that wait", waiting(3)),
        second.rpush("{q}2", "for blpop"),
        third.rpush("{m}from", "for blmove"),
        first.rpush("{p}1", "for brpop"),
    )
)
giver.start()
together(
    take("blpop", lambda: first.blpop(["{q}1", "{q}2"], timeout=20)),
    take("blmove", lambda: second.blmove("{m}from", "{m}to", 20, "LEFT", "RIGHT")),
    take("brpop", lambda: third.brpop("{p}1", timeout=20)),
)
giver.join()
equal([list(results[name]) for name in ("blpop", "brpop")], [["{q}2", "for blpop"], ["{p}1", "for brpop"]])
equal((results["blmove"], first.lrange("{m}to", 0, -1)), ("for blmove", ["for blmove"]))

# A queue with a list of what is being worked on: two that take, all is taken once.
done = []


def work(client):
    while True:
        job = client.blmove("{w}jobs", "{w}doing", 5, "RIGHT", "LEFT")
        if job == "stop":
            client.lrem("{w}doing", 1, job)
            return
        done.append(int(job))
        equal(client.lrem("{w}doing", 1, job), 1)


def give(client):
    for number in range(100):
        client.lpush("{w}jobs", number)
    client.lpush("{w}jobs", "stop", "stop")


together(lambda: work(first), lambda: work(second), lambda: give(third))
equal(sorted(done), list(range(100)))
equal(first.exists("{w}jobs", "{w}doing"), 0)

# Messages from another node.
listener = first.pubsub()
listener.subscribe("news")
equal(next_message(listener)["type"], "subscribe")

# How many have heard it is only said of the node that is asked, as in a Redis Cluster.
eventually("the subscription being known", lambda: [second.publish("news", "?"), listener.get_message(timeout=0.1)][1])
third.publish("news", "hello")
while (said := next_message(listener)["data"]) != "hello":
    equal(said, "?")
equal(first.publish("news", "hello"), 1)
listener.close()

# Connections that break: the client connects again by itself and repeats what it sent.
doomed = redis.Redis.from_url(
    urls.split(",")[0],
    protocol=protocol,
    decode_responses=True,
    retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.01), 5),
)
for number in range(5):
    doomed.set("number", number)
    assert first.client_kill_filter(_id=doomed.client_id()) == 1
    equal(doomed.get("number"), str(number))

if len(nodes) == 1:
    # The server dies and comes back while a client writes.
    steady = redis.Redis.from_url(
        urls,
        protocol=protocol,
        retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 400),
        retry_on_error=[redis.ConnectionError, redis.exceptions.BusyLoadingError],
    )
    restarted = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), restarted.set()), daemon=True).start()
    print("restart", flush=True)
    number = 0
    while not restarted.is_set():
        number += 1
        steady.set("steady", number)
    steady.rpush("list", "more")
    equal(int(steady.get("steady")), number)
    equal(first.lrange("list", -2, -1), ["9", "more"])
    equal(first.zscore("big:ranking", "m999"), 999)

first.flushdb()
print("done", flush=True)
