//! Segment files: names, headers, and how one is prepared ahead of use.
//!
//! The header is 64 bytes, little-endian:
//!
//! | bytes  | field    |                                                          |
//! |--------|----------|----------------------------------------------------------|
//! | 0..8   | magic    | `COTERWAL`                                               |
//! | 8..12  | format   | version of the format, 1                                 |
//! | 12..16 | number   | of this segment, from 1                                  |
//! | 16..32 | log id   | random, one per directory                                |
//! | 32     | recycled | 1 if the file holds bytes of an earlier life, else zeros |
//! | 33..60 | zero     |                                                          |
//! | 60..64 | checksum | CRC-32 of bytes 0..60                                    |

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Advice, MmapRaw, UncheckedAdvice};

use super::FORMAT_VERSION;
use super::files::{File, Files, fill_with_zeros, write_all_at};
use super::record::HEADER_BYTES;

const MAGIC: &[u8; 8] = b"COTERWAL";
/// Where the first record of a segment starts.
pub(crate) const SEGMENT_HEADER_BYTES: u32 = 64;
/// The end-of-segment record that always has to fit.
pub(crate) const SEAL_BYTES: u32 = HEADER_BYTES as u32;
/// The file a segment is prepared in before it gets its name.
pub(crate) const PREPARED_NAME: &str = "prepare.tmp";

/// The file name of a segment.
pub(crate) fn segment_name(number: u32) -> String {
    format!("segment-{number:020}.log")
}

/// The name of an old segment kept to be recycled.
pub(crate) fn free_name(number: u32) -> String {
    format!("free-{number:020}.log")
}

/// The number in a name that [`segment_name`] made.
pub(crate) fn parse_segment_name(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    if digits.len() == 20 {
        digits.parse().ok()
    } else {
        None
    }
}

/// What a segment says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u32,
    pub(crate) log_id: u128,
    pub(crate) recycled: bool,
}

/// Why the bytes are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderError {
    Damaged,
    Newer(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.log_id.to_le_bytes());
        bytes[32] = u8::from(self.recycled);
        let checksum = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let Some(bytes) = bytes.first_chunk::<{ SEGMENT_HEADER_BYTES as usize }>() else {
            return Err(HeaderError::Damaged);
        };
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if &bytes[..8] != MAGIC || crc32fast::hash(&bytes[..60]) != u32_at(60) {
            return Err(HeaderError::Damaged);
        }
        if u32_at(8) > FORMAT_VERSION {
            return Err(HeaderError::Newer(u32_at(8)));
        }
        let log_id = (0..4)
            .rev()
            .fold(0, |id, i| (id << 32) | u128::from(u32_at(16 + 4 * i)));
        Ok(Self {
            number: u32_at(12),
            log_id,
            recycled: bytes[32] != 0,
        })
    }
}

/// A segment that can be written.
pub(crate) struct Segment {
    pub(crate) number: u32,
    /// The length of the file in bytes; all of it is allocated.
    pub(crate) capacity: u32,
    file: Box<dyn File>,
    map: MmapRaw,
}

impl Segment {
    /// Takes over a file whose space is allocated and whose header is written.
    pub(crate) fn open(number: u32, file: Box<dyn File>) -> io::Result<Self> {
        let capacity = u32::try_from(file.size()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let map = file.map(capacity as usize)?;
        Ok(Self {
            number,
            capacity,
            file,
            map,
        })
    }

    pub(crate) fn write(&self, bytes: &[u8], position: u32) -> io::Result<()> {
        write_all_at(&*self.file, bytes, u64::from(position))
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Makes the pages of a range ready for `copy_in`, without changing them.
    pub(crate) fn warm(&self, range: Range<u32>) {
        let (start, length) = (range.start as usize, range.len());
        // Kernels before 5.14 don't know it; then `copy_in` is slower.
        let _ = self.map.advise_range(Advice::PopulateWrite, start, length);
    }

    /// Unmaps the whole pages of a range whose records are appended. They stay in the page cache.
    #[allow(unsafe_code)]
    pub(crate) fn release(&self, range: Range<u32>) {
        const PAGE_BYTES: usize = 4096;
        let start = (range.start as usize).next_multiple_of(PAGE_BYTES);
        let end = range.end as usize / PAGE_BYTES * PAGE_BYTES;
        if start >= end {
            return;
        }
        // SAFETY: the map is shared and of a file: unmapped pages keep their contents in the page cache, and
        // whoever touches them again sees the same bytes. Nobody holds a reference into the map.
        let _ = unsafe {
            self.map
                .unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start)
        };
    }

    /// The bytes of a range.
    ///
    /// # Safety
    ///
    /// Nobody may write to the range of the file while the answer lives, nor call `release` on it.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn bytes(&self, range: Range<u32>) -> &[u8] {
        let (start, end) = (range.start as usize, range.end as usize);
        assert!(start <= end && end <= self.map.len(), "inside the file");
        // SAFETY: the range is inside the map, just checked, which lives as long as `self`; the file is as long as
        // the map and is not truncated. That nobody changes the bytes is up to the caller.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(start), end - start) }
    }

    /// Copies `bytes` into the page cache at `position`. The caller holds the lock of the log's
    /// tail, and only it writes at or after the tail.
    #[inline]
    #[allow(unsafe_code)]
    pub(crate) fn copy_in(&self, bytes: &[u8], position: u32) {
        let position = position as usize;
        let fits = position
            .checked_add(bytes.len())
            .is_some_and(|end| end <= self.map.len());
        assert!(fits, "a record that doesn't fit goes to the next segment");
        // SAFETY: the range is inside the map, just checked; the map lives as long as `self`; nobody
        // reads or writes these bytes of the map at the same time, as the tail's lock is held and
        // recovery maps only what is before the tail. The file is as long as the map and its blocks
        // are allocated (written when it was prepared), so that the copy can't fault.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.map.as_mut_ptr().add(position),
                bytes.len(),
            );
        }
    }
}

/// Makes segment files.
pub(crate) struct Workshop<'a> {
    pub(crate) files: &'a dyn Files,
    pub(crate) directory: &'a Path,
    pub(crate) log_id: u128,
}

impl Workshop<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a new file full of zeros, without a name of its own yet.
    pub(crate) fn fill(&self, capacity: u32) -> io::Result<Box<dyn File>> {
        let file = self.files.create(&self.path(PREPARED_NAME))?;
        if let Err(error) = fill_with_zeros(&*file, 0, u64::from(capacity)) {
            self.discard();
            return Err(error);
        }
        Ok(file)
    }

    /// Takes the name from an old file that is full-sized already.
    pub(crate) fn reopen(&self, old: &Path) -> io::Result<Box<dyn File>> {
        self.files.rename(old, &self.path(PREPARED_NAME))?;
        self.files.open(&self.path(PREPARED_NAME))
    }

    /// Makes what `fill` or `reopen` returned a segment: durable, and with its name.
    pub(crate) fn finish(
        &self,
        number: u32,
        file: Box<dyn File>,
        recycled: bool,
    ) -> io::Result<Segment> {
        let header = SegmentHeader {
            number,
            log_id: self.log_id,
            recycled,
        };
        write_all_at(&*file, &header.encode(), 0)?;
        file.sync()?;
        let segment = Segment::open(number, file)?;
        self.files
            .rename(&self.path(PREPARED_NAME), &self.path(&segment_name(number)))?;
        self.files.sync_directory(self.directory)?;
        Ok(segment)
    }

    /// Gives the space of an unfinished segment back. If even that fails, the next attempt
    /// truncates the file.
    pub(crate) fn discard(&self) {
        let _ = self.files.remove(&self.path(PREPARED_NAME));
    }
}
