"""What the scripts beside this one share."""

import time

import redis

PATIENCE = 20  # seconds; it only bounds failures


def equal(actual, expected):
    assert actual == expected, f"expected {expected!r}, got {actual!r}"


def fails_with(words, call):
    try:
        result = call()
    except redis.RedisError as error:
        assert words in str(error), f"expected {words!r}, got {error!r}"
    else:
        raise AssertionError(f"expected {words!r}, got {result!r}")


def eventually(what, check):
    """Waits until `check()` is true, and returns what it returned."""
    deadline = time.monotonic() + PATIENCE
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < deadline, f"gave up waiting for: {what}"
        time.sleep(0.005)


def next_message(listener):
    return eventually("a message", lambda: listener.get_message(timeout=1))


def clients(urls, **options):
    """A client of each of the nodes with these URLs, which are separated by commas."""
    return [redis.Redis.from_url(url, **options) for url in urls.split(",")]
