"""A task, a result, retries, a delay and a chord with Celery: a worker takes them through one node, this asks through others.

Argument: the URLs of nodes, any of which may be asked, separated by commas.
"""

import os
import subprocess
import sys
import time

from checks import PATIENCE, eventually, equal

urls = sys.argv[1].split(",")
here = os.path.dirname(os.path.abspath(__file__))
os.environ["COTERIE_URLS"] = ",".join([urls[0], urls[-1]])
import tasks  # noqa: E402 (it reads the environment)

# The worker's own connections are to other nodes.
environment = dict(os.environ, COTERIE_URLS=",".join([urls[len(urls) // 2], urls[0]]))
command = [sys.executable, "-B", "-m", "celery", "--quiet", "-A", "tasks", "worker"]
command += ["--pool", "threads", "--concurrency", "3", "--without-mingle", "--loglevel", "WARNING"]
worker = subprocess.Popen(command, cwd=here, env=environment)
try:
    added = tasks.add.delay(2, 3)
    flaky = tasks.flaky.delay(2)
    broken = tasks.broken.delay()
    began = time.time()
    later = tasks.add.apply_async((1, 1), countdown=0.3)
    hopeless = tasks.flaky.delay(99)
    many = tasks.group(tasks.add.s(n, n) for n in range(20)).apply_async()
    summed = tasks.chord((tasks.add.s(n, n) for n in range(10)), tasks.total.s()).apply_async()
    equal(added.get(timeout=PATIENCE), 5)
    equal(flaky.get(timeout=PATIENCE), "after 2")
    try:
        broken.get(timeout=PATIENCE)
        raise AssertionError("it fails")
    except ValueError as error:
        equal(str(error), "as intended")
    equal(broken.state, "FAILURE")
    equal(later.get(timeout=PATIENCE), 2)
    assert time.time() >= began + 0.3
    equal(many.get(timeout=PATIENCE), [2 * n for n in range(20)])
    equal(summed.get(timeout=PATIENCE), 90)
    try:
        hopeless.get(timeout=PATIENCE)
        raise AssertionError("it fails again and again")
    except Exception as error:
        assert "attempt 2" in str(error), error

    # One that is taken back before its time, and what the worker says of itself.
    revoked = tasks.add.apply_async((1, 1), countdown=1000)
    assert eventually("the worker's answer", lambda: tasks.app.control.ping(limit=1))
    revoked.revoke()
    eventually("the delayed task to be taken back", lambda: revoked.id in str(tasks.app.control.inspect(limit=1).revoked()))
    assert worker.poll() is None, "the worker lives"
finally:
    worker.terminate()
    try:
        worker.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
print("done", flush=True)
