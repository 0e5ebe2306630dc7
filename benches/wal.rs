//! What an append costs, and how many durable writes group commit gets through a disk.
//!
//! Disk space: about 1 GiB in the temporary directory (`TMPDIR`), which should be on the disk in question.

use std::sync::Arc;

use coterie::wal::{Durability, Log, LogOffset, Options, RecordHeader};
use coterie_protocol::{DatabaseId, PartitionId, Version};
use divan::Bencher;
use divan::counter::ItemsCount;
use tempfile::TempDir;

const PAYLOAD: [u8; 100] = [b'p'; 100];
const APPENDS: u64 = 1_000_000;

fn main() {
    divan::main();
}

fn header(n: u64) -> RecordHeader {
    RecordHeader {
        version: Version::from_bits(n),
        partition: PartitionId(n as u16 % 256),
        database: DatabaseId(0),
        kind: 1,
    }
}

/// A log with two segments ready, in a new directory.
fn open(durability: Durability, segment_bytes: u32) -> (TempDir, Arc<Log>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = Options::new(directory.path());
    options.segment_bytes = segment_bytes;
    options.pending_bytes = 1 << 30;
    options.durability = durability;
    let (log, _) = Log::open(options, LogOffset::ZERO).expect("a new log");
    while log.status().segments < 2 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    (directory, Arc::new(log))
}

fn append_all(log: &Log, from: u64, count: u64) {
    for n in from..from + count {
        divan::black_box(log.append(header(n), &PAYLOAD));
    }
}

/// One thread; the records go straight into the page cache.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn append_mapped(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(APPENDS))
        .with_inputs(|| open(Durability::Os, 256 << 20))
        .bench_local_refs(|(_, log)| append_all(log, 0, APPENDS));
}

/// Two threads on one log.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn append_mapped_two_threads(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(APPENDS))
        .with_inputs(|| open(Durability::Os, 256 << 20))
        .bench_local_refs(|(_, log)| {
            std::thread::scope(|scope| {
                scope.spawn(|| append_all(log, 0, APPENDS / 2));
                append_all(log, APPENDS / 2, APPENDS / 2);
            });
        });
}

/// One thread that waits for nothing, while the flusher writes and syncs what it left.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn append_buffered(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(APPENDS))
        .with_inputs(|| open(Durability::Always, 256 << 20))
        .bench_local_refs(|(_, log)| append_all(log, 0, APPENDS));
}

/// Tasks on one worker thread, each of which waits until its record is durable before the next.
#[divan::bench(args = [1, 50, 200], sample_count = 5, sample_size = 1)]
fn group_commit(bencher: Bencher<'_, '_>, writers: u64) {
    let each = if writers == 1 { 4000 } else { 2000 };
    bencher
        .counter(ItemsCount::new(writers * each))
        .with_inputs(|| open(Durability::Always, 128 << 20))
        .bench_local_refs(|(_, log)| {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let runtime = runtime.expect("a runtime");
            runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for writer in 0..writers {
                    tasks.spawn(write_durably(log.clone(), writer * each, each));
                }
                tasks.join_all().await;
            });
        });
}

async fn write_durably(log: Arc<Log>, from: u64, count: u64) {
    let mut durable = log.durable_watch();
    for n in from..from + count {
        let end = log.append(header(n), &PAYLOAD);
        durable
            .wait_for(|durable| *durable >= end)
            .await
            .expect("the log is open");
    }
}
