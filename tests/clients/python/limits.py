"""Locks and limits as programs build them from scripts: Redlock, and a window that slides.

Arguments: what is tried, `redlock` (each URL is a server of its own) or `window` (any node may be asked); the URLs,
separated by commas; the protocol version.
"""

import itertools
import secrets
import sys
import threading
import time

import redis
from checks import clients, equal, eventually

task, urls, protocol = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Redlock:
    """A lock that most of several servers grant: https://redis.io/docs/latest/develop/use/patterns/distributed-locks/"""

    RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end"
    EXTEND = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) else return 0 end"
    DRIFT = 0.01

    def __init__(self, servers, name):
        self.servers, self.name, self.token = servers, name, secrets.token_hex(20)
        self.release_script = servers[0].register_script(self.RELEASE)
        self.extend_script = servers[0].register_script(self.EXTEND)

    def _count(self, call):
        granted = 0
        for server in self.servers:
            try:
                granted += bool(call(server))
            except redis.RedisError:
                pass  # One that is away grants nothing.
        return granted

    def acquire(self, milliseconds):
        """Returns for how many seconds it is held; 0 if it is not."""
        began = time.monotonic()
        granted = self._count(lambda server: server.set(self.name, self.token, nx=True, px=milliseconds))
        left = milliseconds / 1000 * (1 - self.DRIFT) - (time.monotonic() - began)
        if granted > len(self.servers) // 2 and left > 0:
            return left
        self.release()
        return 0

    def extend(self, milliseconds):
        granted = self._count(
            lambda server: self.extend_script(keys=[self.name], args=[self.token, milliseconds], client=server)
        )
        return granted > len(self.servers) // 2

    def release(self):
        return self._count(lambda server: self.release_script(keys=[self.name], args=[self.token], client=server))


def try_redlock():
    servers = clients(urls, protocol=protocol, socket_connect_timeout=1, retry=None)
    count = len(servers)
    one, other = Redlock(servers, "lock"), Redlock(servers, "lock")
    assert one.acquire(30_000) > 20
    equal(other.acquire(30_000), 0)
    equal(other.release(), 0)
    assert one.extend(60_000)
    assert all(server.pttl("lock") > 30_000 for server in servers)
    equal(other.extend(60_000), False)
    equal(one.release(), count)
    assert other.acquire(30) and not one.extend(1000)
    eventually("the lock's end", lambda: one.acquire(30_000))
    equal(other.extend(1000), False)
    assert one.release() > count // 2

    # Several want it: never two at a time.
    inside, most, rounds = [], [], []

    def contend():
        lock = Redlock(servers, "contended")
        for _ in range(5):
            while not lock.acquire(30_000):
                time.sleep(secrets.randbelow(10) / 1000)
            inside.append(lock.token)
            most.append(len(inside))
            time.sleep(0.001)
            inside.remove(lock.token)
            rounds.append(lock.release())

    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal((set(most), len(rounds)), ({1}, 20))
    assert min(rounds) > count // 2, rounds

    # One server is away: the others are enough. It comes back with what it had, or empty.
    assert one.acquire(30_000)
    print("kill", flush=True)
    sys.stdin.readline()
    assert one.extend(30_000)
    equal(other.acquire(30_000), 0)
    equal(one.release(), count - 1)
    print("start", flush=True)
    sys.stdin.readline()
    assert other.acquire(30_000) or other.acquire(30_000)
    equal(one.extend(30_000), False)
    assert other.release() >= count - 1


# At most so many in any span of time: the moments of what was let in, in a sorted set.
WINDOW = """
    local now = redis.call('TIME')
    local micros = tonumber(now[1]) * 1000000 + tonumber(now[2])
    local span, limit = tonumber(ARGV[1]) * 1000, tonumber(ARGV[2])
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', micros - span)
    local count = redis.call('ZCARD', KEYS[1])
    if count >= limit then
        local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
        return {0, 0, math.ceil((tonumber(oldest[2]) + span - micros) / 1000)}
    end
    redis.call('ZADD', KEYS[1], string.format('%.0f', micros), ARGV[3])
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    return {1, limit - count - 1, 0}
"""


def try_window():
    nodes = clients(urls, protocol=protocol)
    script = nodes[0].register_script(WINDOW)
    at = itertools.cycle(nodes)
    numbers = itertools.count()

    def ask(name, span, limit, node=None):
        return script(keys=[name], args=[span, limit, next(numbers)], client=node or next(at))

    for left in (4, 3, 2, 1, 0):
        equal(ask("window", 60_000, 5), [1, left, 0])
    granted, left, wait = ask("window", 60_000, 5)
    equal((granted, left), (0, 0))
    assert 0 < wait <= 60_000, wait
    assert 0 < nodes[0].pttl("window") <= 60_000
    equal(ask("another", 60_000, 5), [1, 4, 0])

    # It slides: with time there is room again.
    equal(ask("short", 50, 1)[0], 1)
    eventually("room in the window", lambda: ask("short", 50, 1)[0])

    # Many at once, through all nodes: exactly as many are let in as may.
    granted = []

    def crowd(node):
        for _ in range(50):
            granted.append(ask("crowd", 60_000, 60, node)[0])

    threads = [threading.Thread(target=crowd, args=(node,)) for node in itertools.islice(at, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal((len(granted), sum(granted)), (150, 60))
    equal(nodes[0].zcard("crowd"), 60)


{"redlock": try_redlock, "window": try_window}[task]()
print("done", flush=True)
