//! Reading the bytes of a segment: where the valid records end, and whether more follow.

use super::offset::LogOffset;
use super::record::{self, ALIGNMENT, Class, Entry, Invalid};

const PAGE: usize = 4096;

/// What a walk from record to record found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scan {
    /// The caller's records.
    pub(crate) records: u64,
    /// Their payloads.
    pub(crate) payload_bytes: u64,
    /// The position after the last valid record.
    pub(crate) end: u32,
    /// Why there is no valid record at `end`; `None` if the segment ends there by a seal.
    pub(crate) stop: Option<Invalid>,
}

/// Walks over the valid records from `from`, checking all of each.
pub(crate) fn scan(seed: u32, segment: u32, bytes: &[u8], from: u32) -> Scan {
    let mut scan = Scan {
        records: 0,
        payload_bytes: 0,
        end: from,
        stop: None,
    };
    loop {
        match record::parse(seed, segment, bytes, scan.end as usize) {
            Ok(entry) => {
                scan.end = entry.end;
                match entry.class {
                    Class::Caller => {
                        scan.records += 1;
                        scan.payload_bytes += entry.record.payload.len() as u64;
                    }
                    Class::Seal => return scan,
                    Class::SyncMark => {}
                }
            }
            Err(reason) => {
                scan.stop = Some(reason);
                return scan;
            }
        }
    }
}

/// Valid records found after a place where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Later {
    /// The first of them.
    pub(crate) first: Option<LogOffset>,
    /// How many, the log's own included.
    pub(crate) records: u64,
    /// The highest offset that one of them proves to have been synced.
    pub(crate) synced: LogOffset,
}

/// Searches every aligned position from `from` on for valid records.
///
/// Clients choose payloads, so a segment may be full of bytes that claim to be long records. The
/// bytes checksummed in vain are limited to 16 times the segment: after that the claim counts as
/// proven, which errs on the side of refusing to start.
pub(crate) fn find_later(seed: u32, segment: u32, bytes: &[u8], from: u32, later: &mut Later) {
    let mut at = record::padded(from as usize);
    let mut budget = bytes.len().saturating_mul(16);
    while at + record::HEADER_BYTES <= bytes.len() {
        if at.is_multiple_of(PAGE) && is_zero(&bytes[at..bytes.len().min(at + PAGE)]) {
            at += PAGE;
            continue;
        }
        let mut next = at + ALIGNMENT;
        if record::claims_place(bytes, segment, at) {
            let found = record::parse(seed, segment, bytes, at);
            if found.is_ok() || budget == 0 {
                later
                    .first
                    .get_or_insert(LogOffset::new(segment, at as u32));
                later.records += 1;
            }
            match found {
                Ok(entry) => {
                    if entry.class == Class::SyncMark {
                        later.synced = later.synced.max(synced_offset(&entry));
                    }
                    next = entry.end as usize;
                }
                Err(_) if budget == 0 => return,
                Err(_) => {
                    budget = budget.saturating_sub(record::announced_length(bytes, at));
                }
            }
        }
        at = next;
    }
}

fn synced_offset(mark: &Entry<'_>) -> LogOffset {
    LogOffset::from_u64(mark.record.version.to_bits())
}

/// How many bytes at `from`, where no valid record is, were written there. In a `recycled` file
/// only what claims its place counts, as the rest is of the file's earlier life.
pub(crate) fn remains(segment: u32, bytes: &[u8], from: u32, recycled: bool) -> u32 {
    let from = from as usize;
    if from >= bytes.len() {
        return 0;
    }
    if recycled {
        let claimed = record::claims_place(bytes, segment, from);
        let length = if claimed {
            record::announced_length(bytes, from)
        } else {
            0
        };
        return length.min(bytes.len() - from) as u32;
    }
    let mut end = bytes.len();
    while end > from {
        let start = end.saturating_sub(PAGE).max(from);
        if let Some(last) = bytes[start..end].iter().rposition(|&byte| byte != 0) {
            return (start + last + 1 - from) as u32;
        }
        end = start;
    }
    0
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// The records between two positions that `scan` has found valid.
pub(crate) struct Entries<'a> {
    segment: u32,
    bytes: &'a [u8],
    at: u32,
    end: u32,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(segment: u32, bytes: &'a [u8], at: u32, end: u32) -> Self {
        Self {
            segment,
            bytes,
            at,
            end,
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.at >= self.end {
            return None;
        }
        let entry = record::reread(self.segment, self.bytes, self.at as usize).ok()?;
        self.at = entry.end;
        Some(entry)
    }
}
