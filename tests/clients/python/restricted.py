"""A user with few rights, as redis-py sees it. Arguments: the server's URL with a database number, the protocol version."""

import sys

import redis

url, protocol = sys.argv[1], int(sys.argv[2])
admin = redis.Redis.from_url(url, protocol=protocol, decode_responses=True)


def equal(actual, expected):
    assert actual == expected, f"expected {expected!r}, got {actual!r}"


def refused(call, kind=redis.exceptions.NoPermissionError):
    try:
        result = call()
    except kind:
        return
    raise AssertionError(f"expected {kind}, got {result!r}")


equal(
    admin.acl_setuser(
        "worker",
        enabled=True,
        passwords=["+first", "+second"],
        categories=["+@read", "+@write", "+@connection", "+@transaction", "+@pubsub", "+@scripting", "-@dangerous"],
        commands=["-dbsize"],
        keys=["jobs:*", "results:*"],
        channels=["events:*"],
        reset=True,
    ),
    True,
)
assert "worker" in admin.acl_users()
user = admin.acl_getuser("worker")
equal(user["enabled"], True)
equal(len(user["passwords"]), 2)
admin.set("secret", "x")

arguments = dict(username="worker", protocol=protocol, decode_responses=True)
refused(
    lambda: redis.Redis.from_url(url, password="wrong", **arguments).ping(),
    redis.exceptions.AuthenticationError,
)
for password in ["first", "second"]:
    equal(redis.Redis.from_url(url, password=password, **arguments).ping(), True)
worker = redis.Redis.from_url(url, password="first", **arguments)
equal(worker.set("jobs:1", "a"), True)
equal(worker.get("jobs:1"), "a")
equal(worker.lpush("results:1", 1, 2), 2)
refused(lambda: worker.get("secret"))
refused(lambda: worker.mget("jobs:1", "secret"))
refused(lambda: worker.rename("jobs:1", "other"))
refused(lambda: worker.keys())
refused(lambda: worker.dbsize())
refused(lambda: worker.config_get())
refused(lambda: worker.flushall())
refused(lambda: worker.acl_list())

# Transactions and scripts know the same limits.
with worker.pipeline() as pipeline:
    equal(pipeline.set("jobs:2", "b").get("jobs:2").execute(), [True, "b"])
    pipeline.set("jobs:3", "c").get("secret")
    try:
        pipeline.execute()
    except redis.exceptions.ExecAbortError:
        pass
    except redis.exceptions.NoPermissionError:
        pass
    else:
        raise AssertionError("a transaction was executed in part")
equal(worker.exists("jobs:3"), 0)
equal(worker.eval("return redis.call('get', KEYS[1])", 1, "jobs:1"), "a")
refused(lambda: worker.eval("return 1", 1, "secret"))
refused(lambda: worker.eval("return redis.call('get', 'secret')", 0), redis.exceptions.ResponseError)

# Channels.
listener = worker.pubsub()
listener.subscribe("events:1")
equal(listener.get_message(timeout=5)["type"], "subscribe")
equal(worker.publish("events:1", "hello"), 1)
equal(listener.get_message(timeout=5)["data"], "hello")
refused(lambda: worker.publish("news", "hello"))
equal(admin.acl_setuser("worker", enabled=True, reset_channels=True), True)
try:
    while listener.get_message(timeout=5) is not None:
        pass
except (redis.exceptions.ConnectionError, redis.exceptions.NoPermissionError):
    pass
else:
    raise AssertionError("a listener without rights is still there")

# What was refused.
log = admin.acl_log(50)
assert any(entry["reason"] == "key" and entry["object"] == "secret" for entry in log), log
assert any(entry["reason"] == "auth" and entry["username"] == "worker" for entry in log), log
assert any(entry["context"] == "lua" for entry in log), log
equal(admin.acl_log_reset(), True)
equal(admin.acl_log(), [])
equal(admin.acl_dryrun("worker", "get", "jobs:1"), "OK")
denied = "This user has no permissions to access the 'secret' key"
equal(admin.acl_dryrun("worker", "get", "secret"), denied)
equal(admin.acl_whoami(), "default")
equal(admin.acl_deluser("worker"), 1)
refused(lambda: worker.get("jobs:1"), (redis.exceptions.AuthenticationError, redis.exceptions.ConnectionError))
print("done", flush=True)
