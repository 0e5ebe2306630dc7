"""A task, its result, retries, what fails, what depends on another and what is for later, with RQ.

Argument: the server's URL. Its transactions are about keys that no hash tag holds together, so it is not for clusters.
"""

import itertools
import logging
import sys
from datetime import timedelta

import jobs
from checks import clients, equal
from rq import Queue, Retry, Worker
from rq.job import Job
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry
from rq.scheduler import RQScheduler

first, second, third = itertools.islice(itertools.cycle(clients(sys.argv[1])), 3)
queue = Queue("programs", connection=first)
added = queue.enqueue(jobs.add, 2, 3)
flaky = queue.enqueue(jobs.flaky, retry=Retry(max=3))
broken = queue.enqueue(jobs.broken)
after = queue.enqueue(jobs.add, 1, 1, depends_on=added)
urgent = queue.enqueue(jobs.add, 4, 4, at_front=True)
many = queue.enqueue_many([Queue.prepare_data(jobs.add, (n, n)) for n in range(10)])
later = queue.enqueue_in(timedelta(seconds=100), jobs.add, 5, 5)
equal(queue.get_job_ids()[0], urgent.id)
equal(after.get_status(), "deferred")
equal(later.get_status(), "scheduled")

logging.disable(logging.ERROR)  # What fails is meant to.
worker = Worker([Queue("programs", connection=second)], connection=second)
equal(worker.work(burst=True), True)

for job, result in [(added, 5), (after, 2), (urgent, 8)] + [(job, 2 * n) for n, job in enumerate(many)]:
    found = Job.fetch(job.id, connection=third)
    equal((found.get_status(), found.return_value()), ("finished", result))
found = Job.fetch(flaky.id, connection=third)
equal((found.return_value(), found.retries_left), ("with 1 left", 1))
found = Job.fetch(broken.id, connection=third)
equal((found.get_status(), found.latest_result().type.name), ("failed", "FAILED"))
assert "as intended" in found.latest_result().exc_string
equal(FailedJobRegistry("programs", connection=third).get_job_ids(), [broken.id])
equal(len(FinishedJobRegistry("programs", connection=third)), 14)

# Failed ones are tried again by hand; scheduled ones are put into the queue when it is time.
FailedJobRegistry("programs", connection=first).requeue(broken.id)
equal(ScheduledJobRegistry("programs", connection=third).get_job_ids(), [later.id])
ScheduledJobRegistry("programs", connection=third).schedule(later, later.enqueued_at or later.created_at)
scheduler = RQScheduler([queue], connection=first)
scheduler.acquire_locks()
scheduler.enqueue_scheduled_jobs()
scheduler.release_locks()
equal(set(queue.get_job_ids()), {broken.id, later.id})
worker = Worker([Queue("programs", connection=third)], connection=third)
worker.work(burst=True)
equal(Job.fetch(later.id, connection=second).return_value(), 10)
equal(Job.fetch(broken.id, connection=second).get_status(), "failed")
print("done", flush=True)
