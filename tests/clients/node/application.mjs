// What an application does with ioredis. Arguments: the server's URL with a database number, the protocol version.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import Redis from "ioredis";

const [url, protocol] = process.argv.slice(2);
const database = Number(url.split("/").pop());
const client = new Redis(url, { connectionName: "application", protocol: Number(protocol) });
client.on("error", (error) => console.error(`connection: ${error.message}`));

// Strings and binary-safe values.
assert.equal(await client.ping(), "PONG");
assert.equal(await client.set("greeting", "hello"), "OK");
assert.equal(await client.get("greeting"), "hello");
const binary = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, n) => n)), Buffer.from("\r\n$5\r\n")]);
await client.set(binary, binary);
assert.ok(binary.equals(await client.getBuffer(binary)));
assert.equal(await client.get("nosuch"), null);
assert.equal(await client.set("greeting", "other", "NX"), null);
assert.equal(await client.set("greeting", "other", "GET"), "hello");
assert.equal(await client.getdel("greeting"), "other");
await client.mset({ "m:1": 1, "m:2": "two" });
assert.deepEqual(await client.mget("m:1", "m:2", "m:3"), ["1", "two", null]);

// Numbers, bits, expiry, keys.
assert.equal(await client.incr("counter"), 1);
assert.equal(await client.incrby("counter", 41), 42);
assert.equal(await client.incrbyfloat("float", 0.1), "0.1");
assert.equal(await client.incrbyfloat("float", 0.2), "0.3");
await assert.rejects(client.incr("m:2"), /not an integer/);
assert.equal(await client.setbit("bits", 7, 1), 0);
assert.equal(await client.bitcount("bits"), 1);
assert.equal(await client.set("session", "data", "EX", 100), "OK");
assert.equal(await client.expire("session", 1000), 1);
const ttl = await client.ttl("session");
assert.ok(ttl > 100 && ttl <= 1000);
assert.equal(await client.persist("session"), 1);
assert.equal(await client.type("session"), "string");
assert.equal(await client.rename("session", "renamed"), "OK");
assert.equal(await client.exists("session", "renamed"), 1);

// A pipeline, in which one command fails, and a scan.
const pipeline = client.pipeline();
for (let n = 0; n < 500; n++) pipeline.set(`scan:${n}`, n);
pipeline.incr("m:2");
pipeline.get("scan:499");
const results = await pipeline.exec();
assert.ok(results.slice(0, 500).every(([error, result]) => error === null && result === "OK"));
assert.match(results[500][0].message, /not an integer/);
assert.deepEqual(results[501], [null, "499"]);
const keys = new Set();
for await (const batch of client.scanStream({ match: "scan:*", count: 50 })) batch.forEach((key) => keys.add(key));
assert.equal(keys.size, 500);
const concurrent = await Promise.all(Array.from({ length: 1000 }, () => client.incr("concurrent")));
assert.deepEqual(concurrent, Array.from({ length: 1000 }, (_, n) => n + 1));

// What tools look at.
const list = await client.client("LIST");
assert.ok(list.split("\n").some((line) => line.includes("name=application") && line.includes(`db=${database} `)), list);
const info = await client.info();
assert.match(info, new RegExp(`db${database}:keys=${await client.dbsize()},`));
assert.match(info, /redis_version:7\./);
const policy = await client.config("GET", "maxmemory-policy");
assert.ok(JSON.stringify(policy).includes("noeviction"), JSON.stringify(policy));
await assert.rejects(client.call("NOSUCH", "a"), /unknown command/);

// Another database, and MONITOR.
const other = client.duplicate({ db: 9 });
await other.set("only-here", 1);
assert.equal(await client.exists("only-here"), 0);
const monitor = await client.monitor();
const seen = new Promise((resolve) => monitor.on("monitor", (_, words) => words.includes("only-here") && resolve()));
await other.get("only-here");
await seen;
monitor.disconnect();
await other.flushdb();
other.disconnect();

// The server is killed and started again; ioredis reconnects by itself and sends what waited.
await client.set("kept", binary);
const restarted = new Promise((resolve) => createInterface({ input: process.stdin }).once("line", resolve));
console.log("restart");
await restarted;
assert.ok(binary.equals(await client.getBuffer("kept")));
assert.equal(await client.get("m:2"), "two");
await client.flushdb();
assert.equal(await client.dbsize(), 0);
await client.quit();
console.log("done");
process.exit(0);
