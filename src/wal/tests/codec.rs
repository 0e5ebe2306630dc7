//! The codec and the readers on any bytes whatever.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wal::record::{self, Class, Draft};
use crate::wal::scan::{self, Later};

const SEED: u32 = 99;

fn any_header() -> impl Strategy<Value = RecordHeader> {
    any::<(u64, u16, u16, u8)>().prop_map(|(version, partition, database, kind)| RecordHeader {
        version: Version::from_bits(version),
        partition: PartitionId(partition),
        database: DatabaseId(database),
        kind,
    })
}

/// A segment's bytes with these records from position 64 on, and where they end.
fn build(segment: u32, records: &[(RecordHeader, Vec<u8>)]) -> (Vec<u8>, u32) {
    let mut bytes = vec![0; 64];
    for (header, payload) in records {
        let draft = Draft::new(SEED, Class::Caller, *header, payload);
        let size = draft.size();
        let at = bytes.len();
        bytes.extend_from_slice(&draft.place(LogOffset::new(segment, at as u32)));
        bytes.extend_from_slice(payload);
        bytes.resize(at + size, 0);
    }
    let end = bytes.len() as u32;
    bytes.resize(bytes.len() + 256, 0);
    (bytes, end)
}

proptest! {
    #[test]
    fn records_survive_the_codec(
        segment in 1..u32::MAX,
        records in vec((any_header(), vec(any::<u8>(), 0..200)), 0..20),
    ) {
        let (bytes, end) = build(segment, &records);
        let scanned = scan::scan(SEED, segment, &bytes, 64);
        prop_assert_eq!((scanned.records, scanned.end), (records.len() as u64, end));
        let entries: Vec<_> = scan::Entries::new(segment, &bytes, 64, end).collect();
        prop_assert_eq!(entries.len(), records.len());
        for (entry, (header, payload)) in entries.iter().zip(&records) {
            prop_assert_eq!(entry.record.payload, &payload[..]);
            prop_assert_eq!(entry.record.version, header.version);
            prop_assert_eq!(entry.record.partition, header.partition);
            prop_assert_eq!(entry.record.database, header.database);
            prop_assert_eq!(entry.record.kind, header.kind);
            prop_assert_eq!(entry.record.end().position(), entry.end);
        }
        // Another segment, another log: nothing is valid.
        prop_assert_eq!(scan::scan(SEED, segment ^ 1, &bytes, 64).records, 0);
        prop_assert_eq!(scan::scan(SEED + 1, segment, &bytes, 64).records, 0);
    }

    #[test]
    fn any_mutation_is_noticed(
        payload in vec(any::<u8>(), 0..100),
        header in any_header(),
        at in any::<prop::sample::Index>(),
        flip in 1..=u8::MAX,
    ) {
        let (mut bytes, _) = build(5, &[(header, payload.clone())]);
        let at = 64 + at.index(record::HEADER_BYTES + payload.len());
        bytes[at] ^= flip;
        prop_assert_eq!(scan::scan(SEED, 5, &bytes, 64).records, 0);
    }

    #[test]
    fn readers_bear_any_bytes(
        mut bytes in vec(any::<u8>(), 0..2000),
        places in vec((0..250_u32, any::<u32>()), 0..20),
        from in 0..3000_u32,
    ) {
        // Claims of the right place make the readers look closer.
        for (place, length) in places {
            let at = place as usize * 8;
            if at + 16 <= bytes.len() {
                bytes[at..at + 4].copy_from_slice(&(length % 3000).to_le_bytes());
                bytes[at + 8..at + 16]
                    .copy_from_slice(&LogOffset::new(3, at as u32).to_u64().to_le_bytes());
            }
        }
        let scanned = scan::scan(SEED, 3, &bytes, from);
        prop_assert!(scanned.end >= from);
        let mut later = Later::default();
        scan::find_later(SEED, 3, &bytes, from, &mut later);
        for recycled in [false, true] {
            let remains = scan::remains(3, &bytes, from, recycled);
            prop_assert!(from as usize + remains as usize <= bytes.len().max(from as usize));
        }
        let _ = crate::wal::segment::SegmentHeader::decode(&bytes);
    }

    #[test]
    fn later_records_are_found(
        records in vec((any_header(), vec(any::<u8>(), 0..50)), 2..10),
        bad in any::<prop::sample::Index>(),
    ) {
        let (mut bytes, end) = build(2, &records);
        let starts: Vec<_> = scan::Entries::new(2, &bytes, 64, end)
            .map(|entry| entry.record.offset.position())
            .collect();
        let bad = bad.index(records.len() - 1);
        bytes[starts[bad] as usize + 5] ^= 1;
        let scanned = scan::scan(SEED, 2, &bytes, 64);
        prop_assert_eq!(scanned.end, starts[bad]);
        let mut later = Later::default();
        scan::find_later(SEED, 2, &bytes, scanned.end + 1, &mut later);
        prop_assert_eq!(later.first, Some(LogOffset::new(2, starts[bad + 1])));
        prop_assert_eq!(later.records, (records.len() - bad - 1) as u64);
    }

    #[test]
    fn offsets_are_ordered_and_printable(a in any::<u64>(), b in any::<u64>()) {
        let (x, y) = (LogOffset::from_u64(a), LogOffset::from_u64(b));
        prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        prop_assert_eq!(x.to_string().parse(), Ok(x));
        prop_assert_eq!(LogOffset::new(x.segment(), x.position()), x);
    }
}
