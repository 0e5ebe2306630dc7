//! Checkpoint files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::wal::checkpoint::{Checkpoint, CheckpointError, CheckpointWriter};

type Parts = BTreeMap<u16, (u64, Vec<Vec<u8>>)>;

fn write(directory: &Path, id: u64, parts: &Parts) -> std::path::PathBuf {
    let start = LogOffset::new(4, 800);
    let mut writer = CheckpointWriter::create(directory, id, start, b"metadata").unwrap();
    for (&partition, (version, blocks)) in parts {
        writer
            .begin_partition(PartitionId(partition), Version::from_bits(*version))
            .unwrap();
        for block in blocks {
            writer.block(block).unwrap();
        }
        writer.end_partition().unwrap();
    }
    writer.finish().unwrap().0
}

fn read(checkpoint: &Checkpoint) -> Result<Parts, CheckpointError> {
    let mut parts = Parts::new();
    for partition in checkpoint.partitions() {
        let blocks: Result<Vec<_>, _> = checkpoint
            .blocks(partition)
            .map(|block| block.map(<[u8]>::to_vec))
            .collect();
        let start = checkpoint.start(partition).unwrap();
        parts.insert(partition.0, (start.to_bits(), blocks?));
    }
    Ok(parts)
}

fn small() -> Parts {
    let blocks = vec![b"one".to_vec(), Vec::new(), vec![7; 300]];
    BTreeMap::from([
        (0, (5, blocks)),
        (3, (6, Vec::new())),
        (255, (7, vec![vec![1; 20]])),
    ])
}

#[test]
fn round_trip() {
    let directory = tempfile::tempdir().unwrap();
    assert!(Checkpoint::open_latest(directory.path()).unwrap().is_none());
    assert!(
        Checkpoint::open_latest(&directory.path().join("nowhere"))
            .unwrap()
            .is_none()
    );
    write(directory.path(), 1, &BTreeMap::new());
    write(directory.path(), 2, &small());
    let checkpoint = Checkpoint::open_latest(directory.path()).unwrap().unwrap();
    assert_eq!(checkpoint.id(), 2);
    assert_eq!(checkpoint.log_start(), LogOffset::new(4, 800));
    assert_eq!(checkpoint.metadata(), b"metadata");
    assert_eq!(checkpoint.verify().unwrap(), 4);
    assert_eq!(checkpoint.start(PartitionId(1)), None);
    assert_eq!(checkpoint.blocks(PartitionId(1)).count(), 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(read(&checkpoint).unwrap(), small()));
        }
    });
    assert_eq!(
        Checkpoint::remove_older_than(directory.path(), 2).unwrap(),
        1
    );
    assert_eq!(Checkpoint::list(directory.path()).unwrap().len(), 1);
}

#[test]
fn large_blocks_go_through() {
    let directory = tempfile::tempdir().unwrap();
    let blocks = (0..12_u8)
        .map(|n| vec![n; 100_000 * (1 + n as usize * 3)])
        .collect();
    let parts = BTreeMap::from([(9, (1, blocks))]);
    write(directory.path(), 1, &parts);
    let checkpoint = Checkpoint::open_latest(directory.path()).unwrap().unwrap();
    assert_eq!(read(&checkpoint).unwrap(), parts);
}

#[test]
fn a_partition_can_be_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = CheckpointWriter::create(directory.path(), 1, LogOffset::ZERO, b"").unwrap();
    assert!(matches!(
        writer.block(b"x"),
        Err(CheckpointError::Misuse(_))
    ));
    assert!(matches!(
        writer.end_partition(),
        Err(CheckpointError::Misuse(_))
    ));
    writer
        .begin_partition(PartitionId(1), Version::from_bits(1))
        .unwrap();
    assert!(matches!(
        writer.begin_partition(PartitionId(2), Version::from_bits(1)),
        Err(CheckpointError::Misuse(_))
    ));
    writer.block(b"first try").unwrap();
    writer.restart_partition(Version::from_bits(2)).unwrap();
    writer.block(b"second try").unwrap();
    writer.end_partition().unwrap();
    writer.finish().unwrap();
    let checkpoint = Checkpoint::open_latest(directory.path()).unwrap().unwrap();
    let expected = BTreeMap::from([(1, (2, vec![b"second try".to_vec()]))]);
    assert_eq!(read(&checkpoint).unwrap(), expected);
}

#[test]
fn unfinished_ones_vanish() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 1, &small());
    let writer = CheckpointWriter::create(directory.path(), 2, LogOffset::ZERO, b"").unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    drop(writer);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    let left = directory
        .path()
        .join("checkpoint-00000000000000000003.ckpt.tmp");
    fs::write(&left, b"half a checkpoint").unwrap();
    let checkpoint = Checkpoint::open_latest(directory.path()).unwrap().unwrap();
    assert_eq!(checkpoint.id(), 1);
    assert!(!left.exists());
}

#[test]
fn a_damaged_newest_one_is_not_skipped() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), 1, &small());
    let path = write(directory.path(), 2, &small());
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let result = Checkpoint::open_latest(directory.path());
        assert!(
            matches!(result, Err(CheckpointError::Corrupt { .. })),
            "cut at {cut}"
        );
    }
    let mut newer = whole.clone();
    newer[8] = 2;
    fs::write(&path, newer).unwrap();
    let result = Checkpoint::open_latest(directory.path());
    assert!(matches!(
        result,
        Err(CheckpointError::NewerFormat { found: 2, .. })
    ));
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        fs::write(&path, bytes).unwrap();
        // The four reserved bytes of the header are under no checksum.
        let harmless = (36..40).contains(&at);
        let result = Checkpoint::open_latest(directory.path()).and_then(|c| read(&c.unwrap()));
        assert_eq!(result.is_ok(), harmless, "mutated at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_checkpoint_is_read_back(
        parts in btree_map(any::<u16>(), (any::<u64>(), vec(vec(any::<u8>(), 0..100), 0..5)), 0..9),
    ) {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), 1, &parts);
        let checkpoint = Checkpoint::open_latest(directory.path()).unwrap().unwrap();
        prop_assert_eq!(read(&checkpoint).unwrap(), parts);
    }

    #[test]
    fn any_bytes_are_borne(
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        random in vec(any::<u8>(), 0..400),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = write(directory.path(), 1, &small());
        let mut bytes = fs::read(&path).unwrap();
        for (at, value) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(checkpoint) = Checkpoint::open(&path) {
            let _ = checkpoint.verify();
        }
        fs::write(&path, random).unwrap();
        prop_assert!(Checkpoint::open(&path).is_err());
    }
}
