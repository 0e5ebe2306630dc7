//! A file system with switchable faults.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use memmap2::{Mmap, MmapRaw};

use crate::wal::{File, Files, SystemFiles};

/// What goes wrong at the moment.
#[derive(Default)]
pub struct Faults {
    /// Writes find no space.
    pub no_space: AtomicBool,
    /// Syncs fail with EIO.
    pub sync_fails: AtomicBool,
    /// Syncs do not end while this is set.
    pub syncs_hang: AtomicBool,
    /// Writes write at most this many bytes at a time; 0 = no limit.
    pub write_limit: AtomicUsize,
    /// Nothing can be created.
    pub read_only: AtomicBool,
    /// Files created so far.
    pub created: AtomicUsize,
}

fn on(fault: &AtomicBool) -> bool {
    fault.load(Ordering::SeqCst)
}

pub struct FaultyFiles(pub Arc<Faults>);

struct FaultyFile(Box<dyn File>, Arc<Faults>);

impl File for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if on(&self.1.no_space) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let limit = self.1.write_limit.load(Ordering::SeqCst);
        let length = if limit == 0 {
            bytes.len()
        } else {
            bytes.len().min(limit)
        };
        self.0.write_at(&bytes[..length], offset)
    }

    fn sync(&self) -> io::Result<()> {
        while on(&self.1.syncs_hang) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if on(&self.1.sync_fails) {
            return Err(io::Error::other("injected EIO"));
        }
        self.0.sync()
    }

    fn map(&self, length: usize) -> io::Result<MmapRaw> {
        self.0.map(length)
    }

    fn map_for_reading(&self, length: usize) -> io::Result<Mmap> {
        self.0.map_for_reading(length)
    }
}

impl Files for FaultyFiles {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        SystemFiles.create_directory(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        if on(&self.0.read_only) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.0.created.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(FaultyFile(
            SystemFiles.create(path)?,
            self.0.clone(),
        )))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(FaultyFile(
            SystemFiles.open(path)?,
            self.0.clone(),
        )))
    }

    fn open_for_reading(&self, path: &Path) -> io::Result<Box<dyn File>> {
        SystemFiles.open_for_reading(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemFiles.remove(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        SystemFiles.list(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        SystemFiles.sync_directory(directory)
    }
}
