//! `LATENCY DOCTOR`: what the spikes mean, and what helps.

use std::fmt::Write;

use crate::config::{Config, Durability};
use crate::latency::{COMMAND, EXPIRE_CYCLE, Event, FAST_COMMAND};
use crate::node::Node;

/// A text for people.
pub fn advice(node: &Node) -> String {
    let config = node.config.load();
    let events = node.latency.events();
    if config.latency_monitor_threshold == 0 && events.is_empty() {
        return "The latency monitor is off. 'CONFIG SET latency-monitor-threshold <milliseconds>' turns it on: \
                everything that takes longer is then remembered.\n"
            .into();
    }
    if events.is_empty() {
        return "Nothing took longer than latency-monitor-threshold so far.\n".into();
    }
    let mut text = String::from("These events took longer than latency-monitor-threshold:\n\n");
    for (name, event) in &events {
        let _ = writeln!(text, "- {name}: {}", summary(event));
    }
    text.push_str("\nWhat may help:\n\n");
    for name in events.keys() {
        for remedy in remedies(name, &config) {
            let _ = writeln!(text, "- {remedy}");
        }
    }
    text
}

/// How many, how long, how often.
fn summary(event: &Event) -> String {
    let count = event.spikes.len().max(1) as u64;
    let latencies = || event.spikes.iter().map(|spike| spike.latency_ms);
    let mean = latencies().sum::<u64>() / count;
    let deviation = latencies()
        .map(|latency| latency.abs_diff(mean))
        .sum::<u64>()
        / count;
    let seconds = match (event.spikes.front(), event.spikes.back()) {
        (Some(first), Some(last)) => last.at - first.at,
        _ => 0,
    };
    let period = seconds as f64 / count as f64;
    format!(
        "{count} spikes, {mean} ms on average (mean deviation {deviation} ms), one every {period:.1} seconds, \
         at most {} ms.",
        event.max_ms
    )
}

fn remedies(event: &str, config: &Config) -> Vec<String> {
    let mut remedies = Vec::new();
    match event {
        COMMAND | FAST_COMMAND => {
            let threshold = config.latency_monitor_threshold.saturating_mul(1000);
            let limit = config.slowlog_log_slower_than;
            if limit < 0 || limit.unsigned_abs() > threshold {
                remedies.push(format!(
                    "The slow log does not tell which commands these were: 'CONFIG SET slowlog-log-slower-than \
                     {threshold}' makes it."
                ));
            } else {
                remedies.push("SLOWLOG GET tells which commands these were.".into());
            }
            if event == FAST_COMMAND {
                remedies.push(
                    "Commands that are fast by themselves wait for the processor: compare the number of threads \
                     with the processors that are free."
                        .into(),
                );
            } else {
                remedies.push(
                    "Commands over many keys or large values take their time: use fewer keys in a command, SCAN \
                     instead of KEYS, smaller values."
                        .into(),
                );
            }
            if config.durability == Durability::Always {
                remedies.push(
                    "Durability 'always' waits for the disk; that wait is not part of these times, but clients \
                     see it."
                        .into(),
                );
            }
        }
        EXPIRE_CYCLE => remedies.push(
            "Many keys expire at the same moment: spread their expiry times, or lower 'active-expire-effort'."
                .into(),
        ),
        _ => {}
    }
    remedies
}
