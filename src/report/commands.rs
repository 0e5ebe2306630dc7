//! Counters and latencies of each command, and of errors.

use std::sync::atomic::Ordering::Relaxed;

use super::value::{Field, Value};
use crate::commands::table;
use crate::node::Node;

/// A counter of its own for each command that was used.
pub(super) fn counters(node: &Node) -> Vec<Field> {
    let mut fields = Vec::new();
    for command in table::all() {
        let counters = node.statistics.command(command.index);
        let calls = counters.calls.load(Relaxed);
        let rejected = counters.rejected.load(Relaxed);
        let failed = counters.failed.load(Relaxed);
        if calls + rejected + failed == 0 {
            continue;
        }
        let microseconds = counters.nanoseconds.load(Relaxed) as f64 / 1000.0;
        let mean = if calls == 0 {
            0.0
        } else {
            microseconds / calls as f64
        };
        let values = vec![
            ("calls".into(), Value::count(calls)),
            ("usec".into(), Value::Decimal(microseconds, 0)),
            ("usec_per_call".into(), Value::Decimal(mean, 2)),
            ("rejected_calls".into(), Value::count(rejected)),
            ("failed_calls".into(), Value::count(failed)),
        ];
        fields.push(Field::of(
            "cmdstat_",
            command.spec.name,
            Value::Record(values),
        ));
    }
    fields
}

/// Error replies by their code.
pub(super) fn errors(node: &Node) -> Vec<Field> {
    let errors = node.statistics.errors.lock();
    let field = |(code, count): (&String, &u64)| {
        let values = vec![("count".into(), Value::count(*count))];
        Field::of("errorstat_", code.clone(), Value::Record(values))
    };
    errors.iter().map(field).collect()
}

/// The configured percentiles of the latency of each command that was used, in microseconds.
pub(super) fn percentiles(node: &Node) -> Vec<Field> {
    let config = node.config.load();
    if !config.latency_tracking {
        return Vec::new();
    }
    let mut fields = Vec::new();
    for command in table::all() {
        let durations = &node.statistics.command(command.index).durations;
        if durations.counts().is_empty() {
            continue;
        }
        let value = |&percent: &f64| {
            let microseconds = durations.percentile(percent) as f64 / 1000.0;
            (
                format!("p{percent}").into(),
                Value::Decimal(microseconds, 3),
            )
        };
        let values = config
            .latency_tracking_info_percentiles
            .iter()
            .map(value)
            .collect();
        fields.push(Field::of(
            "latency_percentiles_usec_",
            command.spec.name,
            Value::Record(values),
        ));
    }
    fields
}
