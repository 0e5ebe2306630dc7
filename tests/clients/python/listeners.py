"""Publishing, listening, events and a client-side cache with redis-py. Arguments: URL, protocol version."""

import sys
import threading
import time

import redis

url, protocol = sys.argv[1], int(sys.argv[2])
client = redis.Redis.from_url(url, protocol=protocol)
database = int(url.rsplit("/", 1)[1])


def equal(actual, expected):
    assert actual == expected, f"expected {expected!r}, got {actual!r}"


def next_message(listener):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        message = listener.get_message(timeout=1)
        if message is not None:
            return message
    raise AssertionError("no message came")


# Channels and patterns.
listener = client.pubsub()
listener.subscribe("news", "sport")
listener.psubscribe("w*")
kinds = sorted(next_message(listener)["type"] for _ in range(3))
equal(kinds, ["psubscribe", "subscribe", "subscribe"])
equal(client.publish("news", "hello"), 1)
equal(next_message(listener), {"type": "message", "pattern": None, "channel": b"news", "data": b"hello"})
equal(client.publish("weather", b"\x00\xff"), 1)
equal(next_message(listener), {"type": "pmessage", "pattern": b"w*", "channel": b"weather", "data": b"\x00\xff"})
equal(client.publish("nothing", "x"), 0)
equal(sorted(client.pubsub_channels()), [b"news", b"sport"])
equal(client.pubsub_numsub("news", "none"), [(b"news", 1), (b"none", 0)])
equal(client.pubsub_numpat(), 1)
listener.ping("are you there")
equal(next_message(listener)["data"], b"are you there")

# Shard channels.
listener.ssubscribe("shard")
equal(next_message(listener)["type"], "ssubscribe")
equal(client.spublish("shard", "x"), 1)
equal(next_message(listener)["type"], "smessage")
listener.sunsubscribe("shard")
equal(next_message(listener)["type"], "sunsubscribe")
listener.unsubscribe()
listener.punsubscribe()
equal(sorted(next_message(listener)["type"] for _ in range(3)), ["punsubscribe", "unsubscribe", "unsubscribe"])
listener.close()

# A thread that handles messages, while several publish.
received = []
handler = client.pubsub(ignore_subscribe_messages=True)
handler.subscribe(jobs=lambda message: received.append(int(message["data"])))
thread = handler.run_in_thread(sleep_time=0.01)


def publish(start):
    connection = redis.Redis.from_url(url, protocol=protocol)
    for number in range(start, start + 500):
        connection.publish("jobs", number)


deadline = time.monotonic() + 20
while client.pubsub_numsub("jobs")[0][1] == 0 and time.monotonic() < deadline:
    time.sleep(0.01)
publishers = [threading.Thread(target=publish, args=(start,)) for start in (0, 10_000)]
for publisher in publishers:
    publisher.start()
for publisher in publishers:
    publisher.join()
while len(received) < 1000 and time.monotonic() < deadline:
    time.sleep(0.01)
thread.stop()
thread.join()
for start in (0, 10_000):
    equal([n for n in received if start <= n < start + 10_000], list(range(start, start + 500)))

# Events of keys.
client.config_set("notify-keyspace-events", "KEA")
events = client.pubsub(ignore_subscribe_messages=True)
events.psubscribe(f"__keyspace@{database}__:session:*")
while events.get_message(timeout=0.1) is not None:
    pass
client.set("session:1", "x", px=20)
told = []
deadline = time.monotonic() + 20
while len(told) < 3 and time.monotonic() < deadline:
    message = events.get_message(timeout=1)
    if message is not None:
        equal(message["channel"], f"__keyspace@{database}__:session:1".encode())
        told.append(message["data"])
equal(told, [b"set", b"expire", b"expired"])
client.config_set("notify-keyspace-events", "")

# A cache of the client's own, told of changes over another connection.
told = redis.Redis.from_url(url, protocol=2, client_name="told").pubsub()
told.subscribe("__redis__:invalidate")
equal(next_message(told)["type"], "subscribe")
other = next(entry["id"] for entry in client.client_list() if entry["name"] == "told")
caching = redis.Redis.from_url(url, protocol=protocol, single_connection_client=True)
equal(caching.client_tracking_on(clientid=int(other)), b"OK")
equal(caching.client_getredir(), int(other))
client.set("cached", "old")
equal(caching.get("cached"), b"old")
client.set("cached", "new")
equal(next_message(told)["data"], [b"cached"])
equal(caching.get("cached"), b"new")
client.flushdb()
equal(next_message(told)["data"], None)
equal(caching.client_tracking_off(), b"OK")
told.close()

client.flushdb()
client.close()
print("done")
