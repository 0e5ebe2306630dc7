//! The bodies of frames between replicas. No I/O.
//!
//! All integers are little-endian. `bytes` is a `u32` length and that many bytes.
//!
//! | service | direction | body |
//! | --- | --- | --- |
//! | `Records` call | to a replica | actor `u16`: "how far have you followed that log?" |
//! | … reply | back | offset `u64`, a number `u64` that is another when the log was abandoned in between |
//! | `Records` | to a replica | epoch `u64`, actor `u16`, end `u64`, then records: end `u64`, start `u64`, version `u64`, partition `u16`, database `u16`, effects `bytes` |
//! | `DurableRecords` | to a replica | the same; acknowledged when it is on the disk, whatever the replica's own setting |
//! | `Acknowledge` push | back | offset `u64`, then for each superseded record: start `u64`, end `u64`, version `u64` |
//! | `Execute` call | to a replica | see [`coterie_protocol::internal::execute`] |
//! | … reply | back | the encoded reply |
//! | `Digests` call | to a replica | epoch `u64`, items: partition `u16`, database `u16`, digest `u64`, key `bytes` |
//! | … reply | back | 1 for "refused", or 0 and for each item that differs: its number `u32`, state `bytes` |

pub use coterie_protocol::internal::execute::{ExecuteHead, execution, read_execution};
use coterie_protocol::{Actor, DatabaseId, Epoch, PartitionId, Version};

use crate::wal::LogOffset;

/// A body that ends too early, or is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed body")]
pub struct Malformed;

/// Reads a body from its start.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads these bytes.
    pub fn new(body: &'a [u8]) -> Self {
        Reader(body)
    }

    /// Whether everything is read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    /// A byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length and that many bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// An offset in a log.
    pub fn offset(&mut self) -> Result<LogOffset, Malformed> {
        self.u64().map(LogOffset::from_u64)
    }
}

/// Appends a length and bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(u32::try_from(bytes.len()).is_ok());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// One record of the coordinator's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SentRecord<'a> {
    /// Where it starts in the coordinator's log.
    pub start: LogOffset,
    /// Where it ends there.
    pub end: LogOffset,
    /// Version of its first effect.
    pub version: Version,
    /// What it changes.
    pub partition: PartitionId,
    /// Database of its first effect.
    pub database: DatabaseId,
    /// Its effects.
    pub effects: &'a [u8],
}

/// Begins a batch of records. Its end is set by [`end_records`].
pub fn begin_records(epoch: Epoch, actor: Actor, out: &mut Vec<u8>) {
    out.extend_from_slice(&epoch.0.to_le_bytes());
    out.extend_from_slice(&actor.0.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
}

/// Says how far a log was followed, and by which number.
pub fn position(offset: LogOffset, following: u64) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&offset.to_u64().to_le_bytes());
    out[8..].copy_from_slice(&following.to_le_bytes());
    out
}

/// Bytes of a batch without records.
pub const EMPTY_RECORDS_BYTES: usize = 18;

/// Says how far the batch, which is all of `out`, brings a replica.
pub fn end_records(end: LogOffset, out: &mut [u8]) {
    out[10..EMPTY_RECORDS_BYTES].copy_from_slice(&end.to_u64().to_le_bytes());
}

/// Appends a record to a batch.
pub fn put_record(record: &SentRecord<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&record.end.to_u64().to_le_bytes());
    out.extend_from_slice(&record.start.to_u64().to_le_bytes());
    out.extend_from_slice(&record.version.0.to_le_bytes());
    out.extend_from_slice(&record.partition.0.to_le_bytes());
    out.extend_from_slice(&record.database.0.to_le_bytes());
    put_bytes(out, record.effects);
}

/// A batch of records, read from its start.
pub struct ReceivedRecords<'a> {
    /// The epoch its sender was in.
    pub epoch: Epoch,
    /// Whose records they are.
    pub actor: Actor,
    /// How far they bring the receiver.
    pub end: LogOffset,
    records: Reader<'a>,
}

impl<'a> ReceivedRecords<'a> {
    /// Reads the head of a batch.
    pub fn new(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        Ok(ReceivedRecords {
            epoch: Epoch(reader.u64()?),
            actor: Actor(reader.u16()?),
            end: reader.offset()?,
            records: reader,
        })
    }

    fn read(&mut self) -> Result<SentRecord<'a>, Malformed> {
        let reader = &mut self.records;
        Ok(SentRecord {
            end: reader.offset()?,
            start: reader.offset()?,
            version: Version(reader.u64()?),
            partition: PartitionId(reader.u16()?),
            database: DatabaseId(reader.u16()?),
            effects: reader.bytes()?,
        })
    }
}

impl<'a> Iterator for ReceivedRecords<'a> {
    type Item = Result<SentRecord<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.records.is_empty()).then(|| {
            self.read().inspect_err(|_| {
                self.records = Reader::new(&[]);
            })
        })
    }
}

/// A record that lost to something newer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Superseded {
    /// Where the record starts in its coordinator's log.
    pub start: LogOffset,
    /// Where it ends.
    pub end: LogOffset,
    /// What it lost to.
    pub version: Version,
}

/// Encodes an acknowledgement.
pub fn acknowledgement(offset: LogOffset, superseded: &[Superseded]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + 24 * superseded.len());
    out.extend_from_slice(&offset.to_u64().to_le_bytes());
    for record in superseded {
        out.extend_from_slice(&record.start.to_u64().to_le_bytes());
        out.extend_from_slice(&record.end.to_u64().to_le_bytes());
        out.extend_from_slice(&record.version.0.to_le_bytes());
    }
    out
}

/// Decodes an acknowledgement.
pub fn read_acknowledgement(body: &[u8]) -> Result<(LogOffset, Vec<Superseded>), Malformed> {
    let mut reader = Reader::new(body);
    let offset = reader.offset()?;
    let mut superseded = Vec::new();
    while !reader.is_empty() {
        superseded.push(Superseded {
            start: reader.offset()?,
            end: reader.offset()?,
            version: Version(reader.u64()?),
        });
    }
    Ok((offset, superseded))
}

/// A key whose state is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DigestItem<'a> {
    /// Its partition.
    pub partition: PartitionId,
    /// Its database.
    pub database: DatabaseId,
    /// The digest of what the asker knows of it.
    pub digest: u64,
    /// Its name.
    pub key: &'a [u8],
}

/// Appends a key to a comparison.
pub fn put_digest(item: &DigestItem<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&item.partition.0.to_le_bytes());
    out.extend_from_slice(&item.database.0.to_le_bytes());
    out.extend_from_slice(&item.digest.to_le_bytes());
    put_bytes(out, item.key);
}

/// The keys of a comparison.
pub fn read_digests(body: &[u8]) -> Result<Vec<DigestItem<'_>>, Malformed> {
    let mut reader = Reader::new(body);
    let mut items = Vec::new();
    while !reader.is_empty() {
        items.push(DigestItem {
            partition: PartitionId(reader.u16()?),
            database: DatabaseId(reader.u16()?),
            digest: reader.u64()?,
            key: reader.bytes()?,
        });
    }
    Ok(items)
}

/// Appends the state of a key that differs to the answer of a comparison.
pub fn put_difference(number: u32, state: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
    put_bytes(out, state);
}

/// The numbers and states of keys that differ.
pub fn read_differences(body: &[u8]) -> Result<Vec<(u32, &[u8])>, Malformed> {
    let mut reader = Reader::new(body);
    let mut differences = Vec::new();
    while !reader.is_empty() {
        differences.push((reader.u32()?, reader.bytes()?));
    }
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offset() -> impl Strategy<Value = LogOffset> {
        any::<u64>().prop_map(LogOffset::from_u64)
    }

    proptest! {
        #[test]
        fn records_round_trip(
            epoch in any::<u64>(),
            actor in any::<u16>(),
            end in offset(),
            records in prop::collection::vec(
                (offset(), offset(), any::<u64>(), any::<u16>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)),
                0..5,
            ),
        ) {
            let sent: Vec<_> = records
                .iter()
                .map(|(start, end, version, partition, database, effects)| SentRecord {
                    start: *start,
                    end: *end,
                    version: Version(*version),
                    partition: PartitionId(*partition),
                    database: DatabaseId(*database),
                    effects,
                })
                .collect();
            let mut body = Vec::new();
            begin_records(Epoch(epoch), Actor(actor), &mut body);
            prop_assert_eq!(body.len(), EMPTY_RECORDS_BYTES);
            sent.iter().for_each(|record| put_record(record, &mut body));
            end_records(end, &mut body);
            let received = ReceivedRecords::new(&body).unwrap();
            prop_assert_eq!((received.epoch.0, received.actor.0, received.end), (epoch, actor, end));
            let read: Vec<_> = received.collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read, sent);
        }

        #[test]
        fn fuzz_bodies(body in prop::collection::vec(any::<u8>(), 0..300)) {
            // Anything may stand there: the readers end, and never panic.
            if let Ok(records) = ReceivedRecords::new(&body) {
                let _ = records.count();
            }
            let _ = (read_acknowledgement(&body), read_digests(&body), read_differences(&body));
        }
    }
}
