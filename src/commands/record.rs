//! What is kept of every command that was executed: counters, histogram, slow log, latency monitor, `MONITOR`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use coterie_protocol::Request;

use super::call::Deferred;
use super::execute::Batch;
use super::redaction::redacted;
use super::spec::{CommandSpec, Flags};
use super::table::Command;
use crate::clients::Client;
use crate::config::Config;
use crate::latency;
use crate::node::Node;
use crate::session::Session;
use crate::slowlog::shorten;

/// Keeps what is to be kept of a command that was just executed.
#[inline]
pub(super) fn finish(
    node: &Node,
    session: &Session,
    command: &Command,
    request: Request<'_>,
    batch: &mut Batch,
) {
    let now = node.ticks.raw();
    let nanoseconds = node.ticks.delta_as_nanos(batch.ticks, now);
    batch.ticks = now;
    batch
        .tally
        .call(&node.statistics, command.index, nanoseconds);
    if batch.config.latency_tracking {
        node.statistics
            .command(command.index)
            .durations
            .record(nanoseconds);
    }
    if is_slow(&batch.config, command.spec, nanoseconds / 1000) {
        let arguments = || shorten(redacted(command.spec, request));
        let now_ms = batch.moment.now_ms;
        note_slow(
            node,
            command.spec,
            nanoseconds / 1000,
            now_ms,
            &session.client,
            arguments,
        );
    }
    show_to_monitors(node, session, command.spec, request);
}

/// Whether the slow log or the latency monitor may want to know of a command.
#[inline]
fn is_slow(config: &Config, spec: &CommandSpec, microseconds: u64) -> bool {
    is_for_slow_log(config, spec, microseconds) || is_spike(config, microseconds)
}

#[inline]
fn is_for_slow_log(config: &Config, spec: &CommandSpec, microseconds: u64) -> bool {
    let limit = config.slowlog_log_slower_than;
    limit >= 0 && microseconds >= limit as u64 && !spec.flags.contains(Flags::SKIP_SLOWLOG)
}

#[inline]
fn is_spike(config: &Config, microseconds: u64) -> bool {
    let limit_ms = config.latency_monitor_threshold;
    limit_ms > 0 && microseconds / 1000 >= limit_ms
}

fn note_slow(
    node: &Node,
    spec: &CommandSpec,
    microseconds: u64,
    now_ms: u64,
    client: &Client,
    arguments: impl FnOnce() -> Vec<Vec<u8>>,
) {
    let config = node.config.load();
    if is_for_slow_log(&config, spec, microseconds) {
        let max = config.slowlog_max_len as usize;
        node.slow_log
            .push(arguments(), microseconds, now_ms, client, max);
    }
    if is_spike(&config, microseconds) {
        let event = if spec.flags.contains(Flags::FAST) {
            latency::FAST_COMMAND
        } else {
            latency::COMMAND
        };
        node.latency.note(event, now_ms, microseconds / 1000);
    }
}

/// Shows a command to those who watch, after its execution as Redis does.
#[inline]
fn show_to_monitors(node: &Node, session: &Session, spec: &CommandSpec, request: Request<'_>) {
    if !node.monitors.any() || spec.flags.intersects(Flags::SKIP_MONITOR | Flags::ADMIN) {
        return;
    }
    node.monitors.show(
        node.now_micros(),
        session.database,
        &session.client.address,
        redacted(spec, request),
    );
}

/// A command whose reply is still to come.
pub struct Pending {
    reply: Deferred,
    command: &'static Command,
    arguments: Vec<Vec<u8>>,
    client: Arc<Client>,
    began: u64,
    /// How long it took until it began to wait for data, in nanoseconds: waiting is no work.
    worked: Option<u64>,
    withheld: bool,
}

impl Pending {
    /// `withheld` tells that the client does not want the reply.
    pub(super) fn new(
        node: &Node,
        reply: Deferred,
        command: &'static Command,
        request: Request<'_>,
        session: &Session,
        began: u64,
        withheld: bool,
    ) -> Self {
        show_to_monitors(node, session, command.spec, request);
        let waits = command.spec.flags.contains(Flags::BLOCKING);
        let worked = waits.then(|| node.ticks.delta_as_nanos(began, node.ticks.raw()));
        Pending {
            reply,
            command,
            arguments: shorten(redacted(command.spec, request)),
            client: session.client.clone(),
            began,
            worked,
            withheld,
        }
    }

    /// Whether it waits for data: a client that leaves meanwhile is not to be served.
    pub fn waits_for_data(&self) -> bool {
        self.worked.is_some()
    }

    /// Waits for the encoded reply, and keeps what is to be kept of the command. Empty for a reply that is
    /// withheld.
    pub async fn wait(self, node: &Node) -> Vec<u8> {
        let reply = self.reply.await;
        let since_begin = || node.ticks.delta_as_nanos(self.began, node.ticks.raw());
        let nanoseconds = self.worked.unwrap_or_else(since_begin);
        let counters = node.statistics.command(self.command.index);
        counters.calls.fetch_add(1, Relaxed);
        counters.nanoseconds.fetch_add(nanoseconds, Relaxed);
        node.statistics.commands_processed.fetch_add(1, Relaxed);
        if let Some(line) = error_line(&reply) {
            counters.failed.fetch_add(1, Relaxed);
            node.statistics.count_error(&line);
        }
        let config = node.config.load_full();
        if config.latency_tracking {
            counters.durations.record(nanoseconds);
        }
        let (spec, microseconds) = (self.command.spec, nanoseconds / 1000);
        if is_slow(&config, spec, microseconds) {
            let arguments = || self.arguments;
            note_slow(
                node,
                spec,
                microseconds,
                node.now_ms(),
                &self.client,
                arguments,
            );
        }
        if self.withheld { Vec::new() } else { reply }
    }
}

/// The text of an error reply.
fn error_line(reply: &[u8]) -> Option<String> {
    let line = reply.strip_prefix(b"-")?;
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    Some(String::from_utf8_lossy(line).into_owned())
}
