//! Log and checkpoints, under the names Redis gives to what serves the same purpose: a checkpoint is both its
//! RDB save and its AOF rewrite, the log is its AOF.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::totals::Totals;
use super::value::{Field, Value};
use crate::engine::CheckpointStatus;
use crate::node::Node;
use crate::store::View;
use crate::wal::LogStatus;

pub(super) fn persistence(node: &Node, data: &dyn View) -> Vec<Field> {
    let status = node.engine.checkpoints().status();
    let mut fields = checkpoints(node, data, &status);
    fields.extend(rewrites(node, &status));
    fields.extend(log(node, &status, &node.engine.log().status()));
    fields
}

/// `ok` or `err`.
fn verdict(good: bool) -> Value {
    Value::text(if good { "ok" } else { "err" })
}

/// Whole seconds; -1 if it never was.
fn seconds(duration: Option<Duration>) -> Value {
    Value::Integer(duration.map_or(-1, |duration| duration.as_secs() as i64))
}

/// How long the running checkpoint has taken so far.
fn so_far(node: &Node, status: &CheckpointStatus) -> Option<Duration> {
    let began_ms = status.began_ms?;
    Some(Duration::from_millis(
        node.now_ms().saturating_sub(began_ms),
    ))
}

fn checkpoints(node: &Node, data: &dyn View, status: &CheckpointStatus) -> Vec<Field> {
    let (processed, total) = if status.running {
        let totals = Totals::gather(node, data, node.now_ms());
        (status.entries, totals.keys())
    } else {
        (0, 0)
    };
    let statistics = &node.statistics;
    let saved = statistics.changes_saved.load(Relaxed);
    let unsaved = statistics.changes.load(Relaxed).saturating_sub(saved);
    vec![
        Field::new("loading", Value::flag(false)),
        Field::new("async_loading", Value::flag(false)),
        Field::new("current_save_keys_processed", Value::count(processed)),
        Field::new("current_save_keys_total", Value::count(total)),
        Field::new("rdb_changes_since_last_save", Value::count(unsaved)),
        Field::new("rdb_bgsave_in_progress", Value::flag(status.running)),
        Field::new("rdb_last_save_time", Value::count(status.last_ms / 1000)),
        Field::new(
            "rdb_last_bgsave_status",
            verdict(status.last_error.is_none()),
        ),
        Field::new("rdb_last_bgsave_time_sec", seconds(status.last_duration)),
        Field::new("rdb_current_bgsave_time_sec", seconds(so_far(node, status))),
        Field::new("rdb_saves", Value::count(status.made)),
        // A checkpoint copies no page: there is no fork.
        Field::new("rdb_last_cow_size", Value::count(0)),
    ]
}

fn rewrites(node: &Node, status: &CheckpointStatus) -> Vec<Field> {
    let scheduled = node.checkpoint_scheduled.load(Relaxed);
    vec![
        Field::new("aof_enabled", Value::flag(true)),
        Field::new("aof_rewrite_in_progress", Value::flag(status.running)),
        Field::new("aof_rewrite_scheduled", Value::flag(scheduled)),
        Field::new("aof_last_rewrite_time_sec", seconds(status.last_duration)),
        Field::new(
            "aof_last_bgrewrite_status",
            verdict(status.last_error.is_none()),
        ),
        Field::new("aof_rewrites", Value::count(status.made)),
    ]
}

fn log(node: &Node, status: &CheckpointStatus, log: &LogStatus) -> Vec<Field> {
    let failure = log.stopped.as_ref().or(log.room_failure.as_ref());
    let microseconds = |duration: Duration| duration.as_micros() as u64;
    let growth = node.engine.log_growth();
    let base = status.last_bytes.unwrap_or(0);
    let pending_sync = log.durable < log.appended;
    vec![
        Field::new("aof_last_write_status", verdict(failure.is_none())),
        // As in Redis: the base, made by the last rewrite, and what came since.
        Field::new("aof_current_size", Value::count(base + growth)),
        Field::new("aof_base_size", Value::count(base)),
        Field::new("aof_buffer_length", Value::count(log.pending_bytes)),
        Field::new("aof_pending_bio_fsync", Value::flag(pending_sync)),
        Field::new("log_appended", Value::text(log.appended.to_string())),
        Field::new("log_durable", Value::text(log.durable.to_string())),
        Field::new("log_segments", Value::count(log.segments)),
        Field::new("log_bytes_on_disk", Value::count(log.bytes_on_disk)),
        Field::new("log_bytes_since_checkpoint", Value::count(growth)),
        Field::new("log_syncs", Value::count(log.syncs)),
        Field::new(
            "log_last_sync_usec",
            Value::count(log.last_sync.map_or(0, microseconds)),
        ),
        Field::new(
            "log_failure",
            Value::text(failure.cloned().unwrap_or_default()),
        ),
    ]
}
