//! The narrow seam to the file system, so that tests can inject faults.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memmap2::{Advice, Mmap, MmapOptions, MmapRaw};

/// An open file of the log.
pub trait File: Send + Sync {
    /// The length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Writes some of `bytes` at `offset` and says how many.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes data and length durable, also what was written through a map (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// Maps the first `length` bytes for writing; the file must be at least as long.
    fn map(&self, length: usize) -> io::Result<MmapRaw>;
    /// Maps the first `length` bytes for reading; the file must be at least as long.
    fn map_for_reading(&self, length: usize) -> io::Result<Mmap>;
}

/// The directory operations of the log.
pub trait Files: Send + Sync {
    /// Creates the directory and its parents if they don't exist.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Creates or truncates a file, for reading and writing.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens an existing file for reading.
    fn open_for_reading(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Renames a file, replacing what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory that are UTF-8, in no order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// Writes all of `bytes` at `offset`, however many calls it takes.
pub(crate) fn write_all_at(file: &dyn File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Overwrites `from..to` with zeros, syncing every few MiB so that no other sync has to wait for
/// all of it, and once at the end.
pub(crate) fn fill_with_zeros(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    const CHUNK: u64 = 1 << 20;
    const SYNC_EVERY: u64 = 8 << 20;
    let zeros = vec![0; CHUNK.min(to.saturating_sub(from)) as usize];
    let (mut at, mut unsynced) = (from, 0);
    while at < to {
        let length = CHUNK.min(to - at);
        write_all_at(file, &zeros[..length as usize], at)?;
        at += length;
        unsynced += length;
        if unsynced >= SYNC_EVERY {
            file.sync()?;
            unsynced = 0;
        }
    }
    file.sync()
}

/// Whether an error means that there is no space (or quota) left.
pub(crate) fn is_out_of_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFiles;

struct SystemFile(fs::File);

impl File for SystemFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn map(&self, length: usize) -> io::Result<MmapRaw> {
        MmapOptions::new().len(length).map_raw(&self.0)
    }

    #[allow(unsafe_code)]
    fn map_for_reading(&self, length: usize) -> io::Result<Mmap> {
        // SAFETY: a map is sound as long as nobody changes the mapped bytes. The directory is locked
        // by this process (or only inspected by a tool), and this process appends only behind
        // what it maps for reading; it recycles no file that is still mapped (see `Recovery`).
        let map = unsafe { MmapOptions::new().len(length).map(&self.0)? };
        let _ = map.advise(Advice::Sequential);
        Ok(map)
    }
}

impl Files for SystemFiles {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Box::new(SystemFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Box::new(SystemFile(file)))
    }

    fn open_for_reading(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(SystemFile(fs::File::open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        fs::File::open(directory)?.sync_all()
    }
}
