//! What was done since the start or the last `CONFIG RESETSTAT`.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::totals::Totals;
use super::value::{Field, Value};
use crate::node::Node;
use crate::pubsub::Topic;
use crate::store::View;

pub(super) fn stats(node: &Node, data: &dyn View) -> Vec<Field> {
    let statistics = &node.statistics;
    let totals = Totals::gather(node, data, node.now_ms());
    let before = statistics.expired_before_reset.load(Relaxed);
    let replication = node.replication.get();
    let repaired = replication.map_or(0, |replication| replication.repaired_keys.load(Relaxed));
    let count = |name, counter: &AtomicU64| Field::new(name, Value::count(counter.load(Relaxed)));
    let kilobytes = |name, bytes: u64| Field::new(name, Value::Decimal(bytes as f64 / 1024.0, 2));
    let rates = &statistics.rates;
    let expiry_ms = statistics.expire_cycle_microseconds.load(Relaxed) / 1000;
    vec![
        count("total_connections_received", &statistics.connections),
        count("total_commands_processed", &statistics.commands_processed),
        Field::new(
            "instantaneous_ops_per_sec",
            Value::count(rates.commands.per_second()),
        ),
        count("total_net_input_bytes", &statistics.input_bytes),
        count("total_net_output_bytes", &statistics.output_bytes),
        kilobytes("instantaneous_input_kbps", rates.input_bytes.per_second()),
        kilobytes("instantaneous_output_kbps", rates.output_bytes.per_second()),
        count("rejected_connections", &statistics.rejected_connections),
        Field::new(
            "expired_keys",
            Value::count(totals.expired.saturating_sub(before)),
        ),
        Field::new("tombstones", Value::count(totals.tombstones)),
        Field::new("repaired_keys", Value::count(repaired)),
        Field::new("expire_cycle_cpu_milliseconds", Value::count(expiry_ms)),
        count("evicted_keys", &statistics.evicted_keys),
        count("evicted_clients", &statistics.evicted_clients),
        count("keyspace_hits", &statistics.keyspace_hits),
        count("keyspace_misses", &statistics.keyspace_misses),
        Field::new(
            "pubsub_channels",
            Value::count(node.pubsub.count(Topic::Channel)),
        ),
        Field::new(
            "pubsub_patterns",
            Value::count(node.pubsub.count(Topic::Pattern)),
        ),
        Field::new(
            "pubsubshard_channels",
            Value::count(node.pubsub.count(Topic::Shard)),
        ),
        // There is no fork to time.
        Field::new("latest_fork_usec", Value::count(0)),
        Field::new("total_forks", Value::count(0)),
        Field::new("tracking_total_keys", Value::count(node.tracking.keys())),
        Field::new("tracking_total_items", Value::count(node.tracking.items())),
        Field::new(
            "tracking_total_prefixes",
            Value::count(node.tracking.prefixes()),
        ),
        count("total_error_replies", &statistics.error_replies),
        count("protocol_errors", &statistics.protocol_errors),
    ]
}
