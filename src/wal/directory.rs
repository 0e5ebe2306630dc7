//! The directory of a log: its lock, its format, its id, and which boot wrote it.
//!
//! | file                        |                                                             |
//! |-----------------------------|-------------------------------------------------------------|
//! | `LOCK`                      | locked (`flock`) by the owner, holds its process id         |
//! | `FORMAT`                    | text: format version and log id                             |
//! | `BOOT`                      | the boot of the machine in which the log was last opened    |
//! | `segment-<20 digits>.log`   | the segments                                                |
//! | `free-<20 digits>.log`      | old segments to be recycled                                 |
//! | `prepare.tmp`               | a segment under preparation                                 |

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::FORMAT_VERSION;
use super::error::OpenError;
use super::files::{Files, write_all_at};

const LOCK_NAME: &str = "LOCK";
const FORMAT_NAME: &str = "FORMAT";
const BOOT_NAME: &str = "BOOT";
const FORMAT_TITLE: &str = "coterie log";
/// The small text files are read up to this many bytes.
const TEXT_LIMIT: u64 = 4096;

/// The held lock; released on drop, and by the system when the process ends however it ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    file: fs::File,
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that was just forked has it open until it executes its program.
        // Should it fail, closing is all there is.
        let _ = self.file.unlock();
    }
}

impl DirectoryLock {
    pub(crate) fn acquire(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(LOCK_NAME);
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(OpenError::io("opening", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let pid = owner(&mut file);
                return Err(OpenError::Locked { path, pid });
            }
            Err(fs::TryLockError::Error(source)) => {
                return Err(OpenError::Io {
                    action: "locking",
                    path,
                    source,
                });
            }
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()));
        written.map_err(OpenError::io("writing", &path))?;
        Ok(Self { file })
    }

    /// Whether somebody holds the lock, without keeping it.
    pub(crate) fn is_held(directory: &Path) -> Result<bool, OpenError> {
        let path = directory.join(LOCK_NAME);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(OpenError::io("opening", &path)(e)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(fs::TryLockError::WouldBlock) => Ok(true),
            Err(fs::TryLockError::Error(source)) => Err(OpenError::Io {
                action: "locking",
                path,
                source,
            }),
        }
    }
}

fn owner(file: &mut fs::File) -> Option<u32> {
    let mut text = String::new();
    file.take(TEXT_LIMIT).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn read_text(path: &Path) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Ok(file) => file.take(TEXT_LIMIT).read_to_end(&mut bytes)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Replaces a small file as a whole, durably.
fn replace(files: &dyn Files, directory: &Path, name: &str, text: &str) -> Result<(), OpenError> {
    let temporary = directory.join(format!("{name}.tmp"));
    let path = directory.join(name);
    let write = || {
        let file = files.create(&temporary)?;
        write_all_at(&*file, text.as_bytes(), 0)?;
        file.sync()?;
        files.rename(&temporary, &path)?;
        files.sync_directory(directory)
    };
    write().map_err(OpenError::io("writing", &path))
}

/// The id of the log that `FORMAT` names; `None` if there is no such file.
pub(crate) fn read_format(directory: &Path) -> Result<Option<u128>, OpenError> {
    let path = directory.join(FORMAT_NAME);
    let Some(text) = read_text(&path).map_err(OpenError::io("reading", &path))? else {
        return Ok(None);
    };
    let damaged = |reason: &str| OpenError::NotALog {
        path: path.clone(),
        reason: reason.to_owned(),
    };
    let mut lines = text.lines();
    if lines.next() != Some(FORMAT_TITLE) {
        return Err(damaged("is not the FORMAT file of a log"));
    }
    let version = lines.next().and_then(|line| line.strip_prefix("version "));
    let version: u32 = version
        .and_then(|version| version.parse().ok())
        .ok_or_else(|| damaged("has no format version"))?;
    if version > FORMAT_VERSION {
        return Err(OpenError::NewerFormat {
            found: version,
            supported: FORMAT_VERSION,
            path,
        });
    }
    let id = lines.next().and_then(|line| line.strip_prefix("id "));
    let id = id.and_then(|id| u128::from_str_radix(id, 16).ok());
    id.map(Some).ok_or_else(|| damaged("has no log id"))
}

pub(crate) fn write_format(
    files: &dyn Files,
    directory: &Path,
    log_id: u128,
) -> Result<(), OpenError> {
    let text = format!("{FORMAT_TITLE}\nversion {FORMAT_VERSION}\nid {log_id:032x}\n");
    replace(files, directory, FORMAT_NAME, &text)
}

/// The boot of the machine as the system names it; `None` if it doesn't.
pub(crate) fn current_boot() -> Option<String> {
    let text = read_text(Path::new("/proc/sys/kernel/random/boot_id")).ok()??;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The boot in which the log was last opened; `None` if that is not known.
pub(crate) fn read_boot(directory: &Path) -> Option<String> {
    let text = read_text(&directory.join(BOOT_NAME)).ok()??;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Whether the machine was started again since the log was last opened. If either boot is unknown
/// it counts as the same: then damage is never taken for the harmless effect of a power loss.
pub(crate) fn rebooted(directory: &Path, boot: Option<&str>) -> bool {
    let before = read_boot(directory);
    before
        .zip(boot)
        .is_some_and(|(before, boot)| before != boot)
}

pub(crate) fn write_boot(files: &dyn Files, directory: &Path, boot: &str) -> Result<(), OpenError> {
    replace(files, directory, BOOT_NAME, &format!("{boot}\n"))
}

/// The segments of a directory by number, and its other files of interest.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) segments: Vec<(u32, PathBuf)>,
    pub(crate) free: Vec<PathBuf>,
    pub(crate) temporary: Vec<PathBuf>,
}

pub(crate) fn list(files: &dyn Files, directory: &Path) -> Result<Listing, OpenError> {
    let mut listing = Listing::default();
    for name in files
        .list(directory)
        .map_err(OpenError::io("listing", directory))?
    {
        let path = directory.join(&name);
        if let Some(number) = super::segment::parse_segment_name(&name) {
            listing.segments.push((number, path));
        } else if name.starts_with("free-") && name.ends_with(".log") {
            listing.free.push(path);
        } else if name == super::segment::PREPARED_NAME {
            listing.temporary.push(path);
        }
    }
    listing.segments.sort_unstable();
    listing.free.sort_unstable();
    Ok(listing)
}
