"""Tasks of RQ: see queue_rq.py."""

from rq import get_current_job


def add(a, b):
    return a + b


def flaky():
    left = get_current_job().retries_left
    if left > 1:
        raise ValueError(f"{left} attempts left")
    return f"with {left} left"


def broken():
    raise ValueError("as intended")
