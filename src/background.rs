//! What a node does without being asked: expiry, eviction, checkpoints by size and age, samples.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use coterie_protocol::NodeId;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;
use crate::engine::{CheckpointError, ExpiryCycle};
use crate::latency::EXPIRE_CYCLE;
use crate::node::Node;
use crate::replication::Replication;
use crate::wal::Hold;
use crate::{memory, rates};

/// Keys looked at in one step of the expiry cycle before other tasks get their turn.
const EXPIRY_STEP: usize = 1024;
/// A step that removed more than one in this many of the keys it saw is followed by another at once.
const EXPIRY_STALE_FRACTION: usize = 10;
/// Steps a tick at most, for each unit of `active-expire-effort`.
const EXPIRY_STEPS: u32 = 25;

/// Removes expired keys `hz` times a second, longer where many are due.
pub async fn expire(node: Arc<Node>) {
    let mut cycle = ExpiryCycle::default();
    loop {
        let config = node.config.load_full();
        tokio::time::sleep(Duration::from_secs(1) / config.hz.max(1)).await;
        if !node.active_expire.load(Relaxed) {
            continue;
        }
        let now_ms = node.now_ms();
        if node.pause.holds(true, now_ms).is_some() {
            continue;
        }
        let mut worked = Duration::ZERO;
        for _ in 0..EXPIRY_STEPS * config.active_expire_effort {
            let began = Instant::now();
            let removed = cycle.step(&node.engine, EXPIRY_STEP, now_ms);
            worked += began.elapsed();
            if removed <= EXPIRY_STEP / EXPIRY_STALE_FRACTION {
                break;
            }
            tokio::task::yield_now().await;
        }
        note_expiry_cycle(&node, &config, worked);
    }
}

fn note_expiry_cycle(node: &Node, config: &Config, worked: Duration) {
    let microseconds = worked.as_micros() as u64;
    node.statistics
        .expire_cycle_microseconds
        .fetch_add(microseconds, Relaxed);
    let limit_ms = config.latency_monitor_threshold;
    if limit_ms > 0 && microseconds / 1000 >= limit_ms {
        node.latency
            .note(EXPIRE_CYCLE, node.now_ms(), microseconds / 1000);
    }
}

/// Samples what grows, for rates, and the use of memory, for its peak.
pub async fn sample(node: Arc<Node>) {
    let mut ticks = interval(rates::INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = ticks.tick().await;
    loop {
        let now = ticks.tick().await;
        let elapsed = now - last;
        last = now;
        let statistics = &node.statistics;
        let pairs = [
            (&statistics.rates.commands, &statistics.commands_processed),
            (&statistics.rates.input_bytes, &statistics.input_bytes),
            (&statistics.rates.output_bytes, &statistics.output_bytes),
        ];
        for (rate, counter) in pairs {
            rate.sample(counter.load(Relaxed), elapsed);
        }
        node.note_memory(memory::allocated_bytes());
    }
}

/// Brings memory under a limit that was lowered, without a client having to write.
pub async fn evict(node: Arc<Node>) {
    let mut ticks = interval(Duration::from_millis(100));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let config = node.config.load_full();
        if config.maxmemory == 0 {
            continue;
        }
        node.note_overhead(memory::allocated_bytes());
        let Some(settings) = node.eviction(&config) else {
            continue;
        };
        if node.pause.holds(true, node.now_ms()).is_some() {
            continue;
        }
        while let Ok(1..) = node.evict(&settings, node.moment(&config)) {
            tokio::task::yield_now().await;
        }
    }
}

/// Disconnects clients that were silent for longer than `timeout`. Monitors, those that listen to
/// channels and those that wait are not idle.
pub async fn close_idle(node: Arc<Node>) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let timeout_ms = u64::from(node.config.load().timeout) * 1000;
        if timeout_ms == 0 {
            continue;
        }
        let now_ms = node.now_ms();
        for client in node.clients.all() {
            let idle_ms = now_ms.saturating_sub(client.active_ms.load(Relaxed));
            let details = client.details.lock();
            let is_exempt = details.monitor || details.blocked || details.listens_to != [0; 3];
            drop(details);
            if idle_ms > timeout_ms && !is_exempt {
                tracing::debug!(client = client.id, "closed: idle");
                node.clients.kill(&client);
            }
        }
    }
}

/// Disconnects clients that have had too many unread messages for too long, although no more come. Tells other nodes what
/// this one's clients listen to, if they could not be told at once.
pub async fn tend_listeners(node: Arc<Node>) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let limit = node.config.load().client_output_buffer_limit.pubsub;
        for client in node.clients.all() {
            client.check_outbox(&limit);
        }
        if node.remote.is_behind() {
            node.refresh_watch();
        }
    }
}

/// Keeps the buffers of all clients together within `maxmemory-clients`, by disconnecting the largest ones.
pub async fn evict_clients(node: Arc<Node>) {
    let mut ticks = interval(Duration::from_millis(100));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let config = node.config.load();
        let limit = config.maxmemory_clients.bytes(config.maxmemory);
        drop(config);
        let Some(limit_bytes) = limit else {
            continue;
        };
        for client in node.clients.above_memory_limit(limit_bytes) {
            tracing::warn!(
                client = client.id,
                address = client.address,
                "disconnected: clients use more than maxmemory-clients"
            );
            node.clients.kill(&client);
            node.statistics.evicted_clients.fetch_add(1, Relaxed);
        }
    }
}

/// How long after a failed checkpoint the next one is tried, so that a full disk is not written to all the time.
const CHECKPOINT_RETRY: Duration = Duration::from_secs(30);

/// Makes a checkpoint when the log has grown, the last one is old, or one is scheduled.
pub async fn checkpoint(node: Arc<Node>) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let has_failed = node.engine.checkpoints().status().last_error.is_some();
        if has_failed {
            tokio::time::sleep(CHECKPOINT_RETRY).await;
        }
        if is_checkpoint_due(&node) {
            // A failure is logged, and told by INFO.
            let _ = make_checkpoint(&node).await;
        }
    }
}

fn is_checkpoint_due(node: &Node) -> bool {
    let config = node.config.load();
    let status = node.engine.checkpoints().status();
    let grown = node.engine.log_growth();
    let by_size = config.checkpoint_log_size > 0 && grown >= config.checkpoint_log_size;
    let scheduled = node.checkpoint_scheduled.load(Relaxed);
    let age_ms = node.now_ms().saturating_sub(status.last_ms);
    let by_age = config.checkpoint_interval > 0
        && grown > 0
        && age_ms >= u64::from(config.checkpoint_interval) * 1000;
    !status.running && (by_size || by_age || scheduled)
}

/// Makes a checkpoint on a thread of its own and waits for it.
pub async fn make_checkpoint(node: &Arc<Node>) -> Result<(), CheckpointError> {
    let result = start_checkpoint(node)?;
    result
        .await
        .unwrap_or_else(|_| Err(CheckpointError::Failed("its thread died".into())))
}

/// Makes a checkpoint; after the one that is under way, if there is one.
pub async fn make_checkpoint_in_turn(node: &Arc<Node>) -> Result<(), CheckpointError> {
    loop {
        let mut finished = node.engine.checkpoints().finished();
        match make_checkpoint(node).await {
            Err(CheckpointError::UnderWay) => {
                // The node keeps the sender.
                let _ = finished.changed().await;
            }
            result => return result,
        }
    }
}

/// Starts a checkpoint on a thread of its own. It goes on when the receiver of its result is dropped.
pub fn start_checkpoint(
    node: &Arc<Node>,
) -> Result<oneshot::Receiver<Result<(), CheckpointError>>, CheckpointError> {
    let claim = node.engine.checkpoints().claim()?;
    node.checkpoint_scheduled.store(false, Relaxed);
    let changes = node.statistics.changes.load(Relaxed);
    let (done, result) = oneshot::channel();
    let for_thread = node.clone();
    std::thread::Builder::new()
        .name("checkpoint".into())
        .spawn(move || {
            crate::priority::give_way();
            let outcome = for_thread.engine.checkpoint(claim);
            if outcome.is_ok() {
                for_thread.statistics.changes_saved.store(changes, Relaxed);
            }
            // Whoever asked may have left.
            let _ = done.send(outcome);
        })
        .map_err(|error| CheckpointError::Failed(error.to_string().into()))?;
    Ok(result)
}

/// How often it is looked at how much of the log replicas that are away still need.
const RETENTION_INTERVAL: Duration = Duration::from_millis(500);

/// Keeps the log for replicas that have not followed it to its end, as far as `hint-log-size` allows.
pub async fn retain_log(node: Arc<Node>, replication: Arc<Replication>) {
    let log = node.engine.log().clone();
    let mut holds: HashMap<NodeId, Hold> = HashMap::new();
    loop {
        let routes = replication.routes();
        let limit = node.config.load().hint_log_size;
        let least = node.engine.log_back(limit);
        let members = &routes.topology.members;
        holds.retain(|id, _| members.contains_key(id));
        for peer in replication.peers.all().iter().skip(1) {
            if members.contains_key(&peer.id) {
                let needed = replication.needed_from(peer).await;
                let from = needed.unwrap_or(peer.acknowledged()).max(least);
                let hold = holds.entry(peer.id).or_insert_with(|| log.hold(from));
                hold.set(from);
            }
        }
        tokio::time::sleep(RETENTION_INTERVAL).await;
    }
}
