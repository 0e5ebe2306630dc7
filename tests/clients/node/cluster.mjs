// What an application does with ioredis' cluster client. Arguments: a node's port, the protocol version.

import assert from "node:assert/strict";
import { Cluster } from "ioredis";

const [port, protocol] = process.argv.slice(2).map(Number);
const client = new Cluster([{ host: "127.0.0.1", port }], {
  redisOptions: { protocol },
  scaleReads: "master",
});
client.on("error", (error) => console.error(`cluster: ${error.message}`));

assert.equal(await client.set("greeting", "hello"), "OK");
assert.equal(await client.get("greeting"), "hello");
for (const role of ["all", "master"]) {
  const ports = client.nodes(role).map((node) => node.options.port);
  assert.ok(ports.includes(port), `${role}: ${ports}`);
}
await Promise.all(Array.from({ length: 200 }, (_, n) => client.set(`key:${n}`, n)));
const values = await Promise.all(Array.from({ length: 200 }, (_, n) => client.get(`key:${n}`)));
assert.deepEqual(values.map(Number), Array.from({ length: 200 }, (_, n) => n));
assert.deepEqual(await client.mget("{t}a", "{t}b"), [null, null]);
assert.equal(await client.incrby("{t}a", 5), 5);
const replies = await client.pipeline().incr("{t}a").get("{t}a").exec();
assert.deepEqual(replies, [[null, 6], [null, "6"]]);

const reader = new Cluster([{ host: "127.0.0.1", port }], {
  redisOptions: { protocol },
  scaleReads: "all",
});
assert.equal(await reader.get("greeting"), "hello");
reader.disconnect();
client.disconnect();
console.log("done");
