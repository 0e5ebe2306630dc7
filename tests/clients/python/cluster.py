"""What an application does with redis-py's cluster client. Arguments: a node's port, the protocol version."""

import sys

from redis.cluster import RedisCluster

port, protocol = int(sys.argv[1]), int(sys.argv[2])
client = RedisCluster(host="127.0.0.1", port=port, protocol=protocol, decode_responses=True)

# The topology, in all its forms.
assert client.cluster_info(target_nodes=RedisCluster.RANDOM)["cluster_state"] == "ok"
nodes = client.cluster_nodes()
assert f"127.0.0.1:{port}" in nodes, nodes
assert nodes[f"127.0.0.1:{port}"]["connected"]
slots = client.cluster_slots()
assert min(first for first, _ in slots) == 0 and max(last for _, last in slots) == 16383, slots
assert all(entry["primary"][0] == "127.0.0.1" for entry in slots.values()), slots
shards = client.cluster_shards()
assert any(node["port"] == port for shard in shards for node in shard["nodes"]), shards
assert client.keyslot("foo") == client.cluster_keyslot("foo") == 12182

# Keys all over the slots.
for n in range(200):
    assert client.set(f"key:{n}", n)
assert client.get("key:7") == "7"
assert client.incr("key:7") == 8
assert client.mget_nonatomic("key:1", "key:2", "nosuch") == ["1", "2", None]
assert client.mset_nonatomic({"a": 1, "b": 2})
assert client.cluster_countkeysinslot(client.keyslot("a")) >= 1
assert "a" in client.cluster_get_keys_in_slot(client.keyslot("a"), 10)
with client.pipeline() as pipeline:
    for n in range(200):
        pipeline.get(f"key:{n}")
    values = pipeline.execute()
assert [int(value) for value in values] == [n if n != 7 else 8 for n in range(200)]
assert client.dbsize() >= 202
assert len(set(client.scan_iter("key:*", count=50))) == 200
assert client.delete("a", "b") == 2

# Reading from replicas sends READONLY first.
reader = RedisCluster(
    host="127.0.0.1", port=port, protocol=protocol, decode_responses=True, read_from_replicas=True
)
assert reader.get("key:9") == "9"
print("done", flush=True)
