// A queue with BullMQ: two workers; jobs that are delayed, repeated, retried, that fail, that depend on others.
//
// Arguments: the URLs of nodes, any of which may be asked, separated by commas; the protocol version.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { FlowProducer, Queue, QueueEvents, UnrecoverableError, Worker } from "bullmq";
import Redis from "ioredis";

const [urls, version] = process.argv.slice(2);
const nodes = urls.split(",");
// All of a queue is in one partition of a cluster.
const prefix = "{bull}";
const options = (number) => {
  const connection = new Redis(nodes[number % nodes.length], { protocol: Number(version), maxRetriesPerRequest: null });
  return { connection, prefix };
};
const queue = new Queue("jobs", options(0));
queue.setMaxListeners(0);
const closing = [queue];

async function eventually(what, check) {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const result = await check();
    if (result) return result;
    assert.ok(Date.now() < deadline, `gave up waiting for: ${what}`);
    await pause(5);
  }
}

const executed = [];
async function process_(job) {
  executed.push({ name: job.name, id: job.id, attempt: job.attemptsMade, at: Date.now() });
  switch (job.name) {
    case "add":
      await job.updateProgress(50);
      await job.log("half of it");
      return job.data.numbers.reduce((sum, number) => sum + number, 0);
    case "flaky":
      if (job.attemptsMade < job.data.failures) throw new Error(`attempt ${job.attemptsMade}`);
      return `after ${job.attemptsMade}`;
    case "broken":
      throw new Error("as intended");
    case "hopeless":
      throw new UnrecoverableError("no use");
    case "parent":
      return Object.values(await job.getChildrenValues()).sort();
    default:
      return job.name;
  }
}
const workers = [1, 2].map((number) => new Worker("jobs", process_, { ...options(number), concurrency: 4, drainDelay: 1 }));
workers.forEach((worker) => worker.on("error", (error) => console.error(`worker: ${error.stack}`)));
const events = new QueueEvents("jobs", { ...options(1), lastEventId: "0-0" });
closing.push(...workers, events);
const seen = [];
for (const name of ["waiting", "active", "completed", "failed", "delayed", "progress", "drained"]) {
  events.on(name, ({ jobId }) => seen.push(`${name} ${jobId ?? ""}`));
}
await Promise.all(closing.map((part) => part.waitUntilReady()));

// One job, and what is known of it.
const added = await queue.add("add", { numbers: [1, 2, 3] });
assert.equal(await added.waitUntilFinished(events, 20_000), 6);
assert.equal(await added.getState(), "completed");
const stored = await queue.getJob(added.id);
assert.deepEqual([stored.returnvalue, stored.progress, stored.attemptsMade], [6, 50, 1]);
assert.deepEqual((await queue.getJobLogs(added.id)).logs, ["half of it"]);
for (const name of ["waiting", "active", "progress", "completed"]) {
  await eventually(`the event ${name}`, () => seen.includes(`${name} ${added.id}`));
}

// Many at a time, added as one transaction; both workers take of them, each job once.
const bulk = await queue.addBulk(Array.from({ length: 100 }, (_, n) => ({ name: "add", data: { numbers: [n, n] } })));
const results = await Promise.all(bulk.map((job) => job.waitUntilFinished(events, 20_000)));
assert.deepEqual(results, Array.from({ length: 100 }, (_, n) => 2 * n));
assert.equal(new Set(executed.map(({ id }) => id)).size, executed.length);

// Failed and tried again, with a pause that grows; failed for good; not worth another attempt.
const flaky = await queue.add("flaky", { failures: 2 }, { attempts: 5, backoff: { type: "exponential", delay: 10 } });
assert.equal(await flaky.waitUntilFinished(events, 20_000), "after 2");
const attempts = executed.filter(({ id }) => id === flaky.id);
assert.deepEqual(attempts.map(({ attempt }) => attempt), [0, 1, 2]);
assert.ok(attempts[2].at - attempts[0].at >= 30, JSON.stringify(attempts));
const broken = await queue.add("broken", {}, { attempts: 2 });
await assert.rejects(broken.waitUntilFinished(events, 20_000), /as intended/);
const hopeless = await queue.add("hopeless", {}, { attempts: 9 });
await assert.rejects(hopeless.waitUntilFinished(events, 20_000), /no use/);
assert.deepEqual((await queue.getFailed()).map(({ id }) => id).sort(), [broken.id, hopeless.id].sort());
const again = await queue.getJob(broken.id);
assert.deepEqual([again.failedReason, again.attemptsMade], ["as intended", 2]);
assert.ok(again.stacktrace[0].includes("as intended"));
// Tried again by hand, it fails again.
await again.retry();
await eventually("the third attempt", () => executed.filter(({ id }) => id === broken.id).length === 3);
await eventually("its failure", async () => (await queue.getFailedCount()) === 2);

// Delayed ones, in the order of their time and not before it; one whose time is changed.
const began = Date.now();
const late = await queue.add("late", {}, { delay: 150 });
const sooner = await queue.add("sooner", {}, { delay: 50 });
const never = await queue.add("never", {}, { delay: 1_000_000 });
const promoted = await queue.add("promoted", {}, { delay: 1_000_000 });
assert.equal(await late.getState(), "delayed");
await promoted.promote();
await never.changeDelay(2_000_000);
for (const job of [promoted, sooner, late]) assert.equal(await job.waitUntilFinished(events, 20_000), job.name);
const order = executed.filter(({ name }) => ["late", "sooner", "promoted", "never"].includes(name));
assert.deepEqual(order.map(({ name }) => name), ["promoted", "sooner", "late"]);
assert.ok(order[1].at >= began + 50 && order[2].at >= began + 150);
await eventually("the event of a delayed job", () => seen.includes(`delayed ${late.id}`));
assert.equal(await queue.getDelayedCount(), 1);
await never.remove();

// Repeated ones, until their scheduler is removed.
await queue.upsertJobScheduler("ticks", { every: 30 }, { name: "tick", data: {} });
await eventually("three repetitions", () => executed.filter(({ name }) => name === "tick").length >= 3);
assert.equal((await queue.getJobSchedulers()).length, 1);
assert.equal(await queue.removeJobScheduler("ticks"), true);
await queue.upsertJobScheduler("limited", { every: 20, limit: 2 }, { name: "limited" });
await eventually("both repetitions", () => executed.filter(({ name }) => name === "limited").length === 2);

// The most urgent first, and the last one in before others; taken up when the queue goes on after a pause.
await queue.pause();
await eventually("the workers' jobs to be done", async () => (await queue.getActiveCount()) === 0);
for (const priority of [3, 1, 2]) await queue.add(`priority ${priority}`, {}, { priority });
await queue.add("first in", {}, {});
await queue.add("last in", {}, { lifo: true });
const twice = await Promise.all([1, 2].map(() => queue.add("once", {}, { jobId: "only-one" })));
assert.deepEqual(twice.map(({ id }) => id), ["only-one", "only-one"]);
assert.deepEqual(await queue.getCountsPerPriority([0, 1, 2, 3]), { 0: 3, 1: 1, 2: 1, 3: 1 });
const single = new Worker("jobs", process_, { ...options(2), concurrency: 1, autorun: false, drainDelay: 1 });
closing.push(single);
await Promise.all(workers.map((worker) => worker.pause()));
await queue.resume();
const running = single.run();
const wanted = ["last in", "first in", "once", "priority 1", "priority 2", "priority 3"];
await eventually("all of these", () => wanted.every((name) => executed.some((done) => done.name === name)));
assert.deepEqual(executed.filter(({ name }) => wanted.includes(name)).map(({ name }) => name), wanted);
await single.close();
await running;
workers.forEach((worker) => worker.resume());

// A parent that waits for its children.
const flows = new FlowProducer(options(2));
closing.push(flows);
const children = [1, 2, 3].map((n) => ({ name: "add", queueName: "jobs", data: { numbers: [n, 10] } }));
const { job: parent } = await flows.add({ name: "parent", queueName: "jobs", children });
assert.deepEqual(await parent.waitUntilFinished(events, 20_000), [11, 12, 13]);

// No faster than so many in a span of time.
const limited = new Queue("limited", options(0));
const times = [];
const limiter = { max: 2, duration: 60 };
const slow = new Worker("limited", async () => times.push(Date.now()), { ...options(1), limiter, drainDelay: 1 });
closing.push(limited, slow);
await limited.addBulk(Array.from({ length: 6 }, (_, n) => ({ name: `job ${n}`, data: {} })));
await eventually("all six", () => times.length === 6);
assert.ok(times[5] - times[0] >= 100, JSON.stringify(times));

// A worker that dies with its job: another finds that nobody holds it, and takes it.
const stalling = new Queue("stalling", options(0));
closing.push(stalling);
let begun = false;
const dying = new Worker("stalling", () => ((begun = true), new Promise(() => {})), {
  ...options(1), lockDuration: 200, skipStalledCheck: true, skipLockRenewal: true, drainDelay: 1,
});
await dying.waitUntilReady();
const orphan = await stalling.add("orphan", {});
await eventually("the first worker to begin", () => begun);
await dying.close(true);
const heir = new Worker("stalling", async () => "taken over", { ...options(2), stalledInterval: 100, drainDelay: 1 });
closing.push(heir);
await eventually("the job to be taken over", async () => (await stalling.getJob(orphan.id)).returnvalue === "taken over");

// What is left, and its end.
const counts = await queue.getJobCounts();
assert.deepEqual([counts.active, counts.delayed, counts.waiting, counts.failed], [0, 0, 0, 2]);
await queue.trimEvents(5);
const direct = options(2).connection;
const kept = await direct.xlen(`${prefix}:jobs:events`);
assert.ok(kept >= 5 && kept < 200, `${kept}`);
assert.equal((await queue.clean(0, 1000, "failed")).length, 2);
// A node of a cluster lists its own connections only.
assert.ok((await queue.getWorkers()).length >= (nodes.length === 1 ? 2 : 0));
await Promise.all(closing.slice(1).map((part) => part.close()));
for (const each of [queue, limited, stalling]) await each.obliterate({ force: true });
assert.deepEqual(await direct.keys(`${prefix}:jobs:*`), []);
await queue.close();
console.log("done");
process.exit(0);
