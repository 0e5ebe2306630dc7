"""Tasks of Celery: see queue_celery.py."""

import os

from celery import Celery, chord, group

urls = os.environ["COTERIE_URLS"].split(",")
app = Celery("tasks", broker=urls[0], backend=urls[-1])
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": "{celery}", "visibility_timeout": 60},
    result_backend_transport_options={"global_keyprefix": "{results}"},
    task_acks_late=True,
    worker_prefetch_multiplier=1,
)


class Passing(Exception):
    """Something that is gone the next time."""


@app.task
def add(a, b):
    return a + b


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, autoretry_for=(Passing,), max_retries=2, default_retry_delay=0.05)
def flaky(self, failures):
    if self.request.retries < failures:
        raise Passing(f"attempt {self.request.retries}")
    return f"after {self.request.retries}"


@app.task
def broken():
    raise ValueError("as intended")
