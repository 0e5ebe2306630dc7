//! Small files that are there as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// CRC-32 of parts that follow each other.
pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Puts a file in the place of another. After a crash there is the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes `head`, a checksum and `body` in the place of a file.
pub(super) fn save(path: &Path, head: &[u8; 8], body: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(head.len() + 4 + body.len());
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(&checksum(&[body]).to_le_bytes());
    bytes.extend_from_slice(body);
    replace(path, &bytes)
}

/// Reads what [`save`] wrote; `None` if there is no file.
pub(super) fn load(path: &Path, head: &[u8; 8]) -> io::Result<Option<Vec<u8>>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let body = (bytes.strip_prefix(head))
        .and_then(|rest| rest.split_first_chunk::<4>())
        .filter(|(sum, body)| checksum(&[body]) == u32::from_le_bytes(**sum))
        .map(|(_, body)| body.to_vec());
    match body {
        Some(body) => Ok(Some(body)),
        None => Err(unreadable(path)),
    }
}

/// The error of a file with other contents than expected.
pub(super) fn unreadable(path: &Path) -> io::Error {
    let message = format!("{} is damaged or of another version", path.display());
    io::Error::new(io::ErrorKind::InvalidData, message)
}
