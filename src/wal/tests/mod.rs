//! Tests of the log as a whole.

mod basics;
mod checkpoints;
mod codec;
mod concurrency;
mod crash;
mod failures;
mod faults;
mod tailing;

use std::time::{Duration, Instant};

use coterie_protocol::{DatabaseId, PartitionId, Version};

use super::*;

/// The header of the `n`th record of a test.
fn header(n: u64) -> RecordHeader {
    RecordHeader {
        version: Version::from_bits(n),
        partition: PartitionId(n as u16 % 7),
        database: DatabaseId(n as u16 % 3),
        kind: n as u8 % 5,
    }
}

fn options(directory: &std::path::Path, durability: Durability) -> Options {
    let mut options = Options::new(directory);
    options.segment_bytes = MIN_SEGMENT_BYTES;
    options.durability = durability;
    options.log_id = Some(7);
    options.on_sync_failure = Box::new(|error| panic!("unexpected sync failure: {error}"));
    options
}

/// Waits until `condition` holds; fails the test after half a minute.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for room as a writer does, and appends.
fn append(log: &Log, n: u64, payload: &[u8]) -> LogOffset {
    wait_until("there is room", || {
        log.room(payload.len())
            .inspect_err(|_| log.make_room(payload.len()))
            .is_ok()
    });
    log.append(header(n), payload)
}

fn acknowledged(log: &Log, offset: LogOffset) {
    wait_until("the record is acknowledged", || {
        log.acknowledged_when(offset)
    });
}

/// The versions and payloads of all records.
fn contents(recovery: &Recovery) -> Vec<(u64, Vec<u8>)> {
    recovery
        .records()
        .map(|r| (r.version.to_bits(), r.payload.to_vec()))
        .collect()
}
