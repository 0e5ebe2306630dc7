// How programs use scripts, pipelines, transactions, messages and blocking commands with ioredis.
//
// Arguments: the URLs of nodes, any of which may be asked, separated by commas; the protocol version. Whatever one
// client writes is read through others.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import Redis from "ioredis";

const [urls, version] = process.argv.slice(2);
const nodes = urls.split(",");
const protocol = Number(version);
const clients = [];
function connect(number, options = {}) {
  const client = new Redis(nodes[number % nodes.length], { protocol, ...options });
  client.on("error", (error) => console.error(`connection: ${error.message}`));
  clients.push(client);
  return client;
}
const [first, second, third] = [0, 1, 2].map((number) => connect(number));

// What may take a moment to come about.
async function eventually(what, check) {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const result = await check();
    if (result) return result;
    assert.ok(Date.now() < deadline, `gave up waiting for: ${what}`);
    await pause(5);
  }
}

// Commands of one's own, in Lua: a fixed number of keys, any number, and one in a pipeline.
const definitions = {
  // Takes from a bucket that fills itself, as limiters do.
  take: {
    numberOfKeys: 1,
    lua: `
      local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
      local size, rate, now, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
      local tokens = math.min(size, (tonumber(bucket[1]) or size) + (now - (tonumber(bucket[2]) or now)) * rate)
      local taken = tokens >= wanted
      if taken then tokens = tokens - wanted end
      redis.call('HSET', KEYS[1], 'tokens', tokens, 'at', now)
      redis.call('EXPIRE', KEYS[1], 100)
      return {taken and 1 or 0, tostring(tokens)}
    `,
  },
  many: { lua: "return {#KEYS, KEYS[1], ARGV[1], cjson.decode(ARGV[2]).deep[2]}" },
  fails: { numberOfKeys: 1, lua: "return redis.call('INCR', KEYS[1])" },
  table: { numberOfKeys: 0, readOnly: true, lua: "return {1, 'two', {3, false}, redis.status_reply('fine'), 3.99}" },
};
for (const client of [first, second, third]) {
  for (const [name, definition] of Object.entries(definitions)) client.defineCommand(name, definition);
}
assert.deepEqual(await first.take("bucket", 10, 1, 0, 7), [1, "3"]);
assert.deepEqual(await second.take("bucket", 10, 1, 2, 7), [0, "5"]);
assert.deepEqual(await third.take("bucket", 10, 1, 4, 7), [1, "0"]);
assert.deepEqual(await second.many(2, "{k}1", "{k}2", "v", '{"deep": [1, "x"]}'), [2, "{k}1", "v", "x"]);
assert.ok((await second.takeBuffer("bucket", 10, 1, 4, 0))[1].equals(Buffer.from("0")));
assert.deepEqual(await third.table(), [1, "two", [3, null], "fine", 3]);
await first.set("word", "x");
await assert.rejects(third.fails("word"), /not an integer/);
await second.script("FLUSH");
const piped = await second.pipeline().take("bucket", 10, 1, 5, 1).ttl("bucket").fails("word").exec();
assert.deepEqual(piped.slice(0, 2), [[null, [1, "0"]], [null, 100]]);
assert.match(piped[2][0].message, /not an integer/);

// A pipeline and a transaction over collections.
const replies = await first
  .pipeline()
  .rpush("list", 1, 2, 3)
  .hset("hash", { a: 1, b: 2 })
  .hincrby("hash", "a", 9)
  .zadd("ranking", 1, "ann", 2, "bob")
  .zincrby("ranking", 5, "ann")
  .sadd("set", "x", "y")
  .exec();
assert.deepEqual(replies.map(([error, reply]) => error ?? Number(reply)), [3, 2, 10, 2, 6, 2]);
assert.deepEqual(await second.hgetall("hash"), { a: "10", b: "2" });
assert.deepEqual(await third.zrange("ranking", 0, -1), ["bob", "ann"]);
assert.deepEqual(new Set(await second.smembers("set")), new Set(["x", "y"]));
assert.deepEqual(await third.lrange("list", 0, -1), ["1", "2", "3"]);
const unit = await second.multi().incr("{m}n").rpush("{m}list", "a", "b").lpop("{m}n").take("{m}bucket", 10, 1, 0, 2).exec();
assert.deepEqual([unit[0], unit[1], unit[3]], [[null, 1], [null, 2], [null, [1, "8"]]]);
assert.match(unit[2][0].message, /WRONGTYPE/);
await assert.rejects(first.multi().set("{m}n").exec(), /EXECABORT|wrong number/);
const watching = connect(2);
await watching.watch("{m}n");
await first.incr("{m}n");
assert.equal(await watching.multi().set("{m}n", 100).exec(), null);
assert.equal(await third.get("{m}n"), "2");

// Commands of one turn of the event loop become a pipeline by themselves.
const automatic = connect(0, { enableAutoPipelining: true });
const counted = await Promise.all(Array.from({ length: 300 }, () => automatic.incr("automatic")));
assert.deepEqual(counted, Array.from({ length: 300 }, (_, n) => n + 1));
await Promise.all(Array.from({ length: 300 }, (_, n) => automatic.hset("fields", `f${n}`, n)));
const fields = await Promise.all(Array.from({ length: 300 }, (_, n) => automatic.hget("fields", `f${n}`)));
assert.deepEqual(fields.map(Number), Array.from({ length: 300 }, (_, n) => n));
const outcomes = await Promise.allSettled([automatic.get("automatic"), automatic.incr("word"), automatic.llen("list")]);
assert.deepEqual(outcomes.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);

// Scans of collections.
const members = new Set();
await first.zadd("big", ...Array.from({ length: 1000 }, (_, n) => [n, `m${n}`]).flat());
for await (const batch of second.zscanStream("big", { count: 50 })) {
  for (let at = 0; at < batch.length; at += 2) members.add(batch[at]);
}
assert.equal(members.size, 1000);

// Messages, also as bytes, and patterns.
const listener = connect(1);
const heard = [];
listener.on("message", (channel, message) => heard.push([channel, message]));
listener.on("pmessageBuffer", (pattern, channel, message) => heard.push([pattern.toString(), message.toString("hex")]));
assert.equal(await listener.subscribe("news", "sport"), 2);
assert.equal(await listener.psubscribe("w*"), 3);
// How many have heard it is only said of the node that is asked, as in a Redis Cluster.
await eventually("the first message", async () => (await third.publish("weather", "?"), heard.length > 0));
await first.publish("news", "hello");
await first.publish("weather", Buffer.from([0, 255]));
assert.equal(await second.publish("news", "hello"), 1);
assert.equal(await second.publish("nothing", "x"), 0);
await eventually("two messages", () => heard.some(([channel]) => channel === "news") && heard.some(([, text]) => text === "00ff"));
assert.equal(await listener.unsubscribe("news", "sport"), 1);

// A queue: two workers that wait, all jobs once.
const done = [];
async function work(number) {
  const client = connect(number);
  for (;;) {
    const [, job] = await client.brpop("jobs", 20);
    if (job === "stop") return;
    done.push(Number(job));
  }
}
const workers = [work(0), work(1)];
for (let n = 0; n < 200; n++) await third.lpush("jobs", n);
await third.lpush("jobs", "stop", "stop");
await Promise.all(workers);
assert.deepEqual(done.sort((a, b) => a - b), Array.from({ length: 200 }, (_, n) => n));
assert.equal(await connect(1).blpop("jobs", 0.02), null);

// A connection that is closed by the server: ioredis connects again, and sends again what has no answer.
const doomed = connect(0);
for (let n = 0; n < 5; n++) {
  const id = await doomed.client("ID");
  assert.equal(await first.client("KILL", "ID", id), 1);
  assert.equal(await doomed.set("number", n), "OK");
  assert.equal(await second.get("number"), String(n));
}

if (nodes.length === 1) {
  // The server dies and comes back: subscriptions are made again, what waits is sent.
  const restarted = new Promise((resolve) => createInterface({ input: process.stdin }).once("line", resolve));
  heard.length = 0;
  console.log("restart");
  await restarted;
  await eventually("the subscription to be made again", async () => (await first.publish("weather", "again")) === 1);
  await eventually("a message", () => heard.some(([, text]) => text === Buffer.from("again").toString("hex")));
  assert.deepEqual(await first.lrange("list", 0, -1), ["1", "2", "3"]);
  assert.deepEqual(await first.take("bucket", 10, 1, 5, 1), [0, "0"]);
}
await first.flushdb();
clients.forEach((client) => client.disconnect());
console.log("done");
process.exit(0);
