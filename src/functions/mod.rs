//! The libraries of functions that a node knows, the file that keeps them, and which functions run.
//!
//! The file is written anew at every change, beside the old one and put in its place when it is on the disk: libraries are
//! few and rarely change, and belong to no partition of the log.

mod catalogue;
mod libraries;
mod payload;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use coterie_protocol::{OwnedRequest, Request};
use parking_lot::Mutex;

use catalogue::Catalogue;

pub use catalogue::{Change, Changed};
pub use libraries::{Conflict, FLAGS, Function, FunctionFlags, Libraries, Library};
pub use payload::{Unreadable, decode};

/// The name of the file in the data directory.
const FILE: &str = "functions";
/// What it is called until it is whole.
const FILE_BEGUN: &str = "functions.new";

/// See the module.
#[derive(Default)]
pub struct Functions {
    catalogue: Mutex<Catalogue>,
    /// Those of the catalogue.
    libraries: ArcSwap<Libraries>,
    /// Held while the file is written.
    writing: Mutex<()>,
    directory: OnceLock<PathBuf>,
    running: Mutex<Vec<Running>>,
    next: AtomicU64,
}

/// A function that runs.
#[derive(Clone)]
pub struct Running {
    number: u64,
    began: Instant,
    /// Its name.
    pub name: Vec<u8>,
    /// The request that called it.
    pub command: OwnedRequest,
}

impl Running {
    /// For how long.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Says that a function runs, until it is dropped.
pub struct Noted<'f> {
    functions: &'f Functions,
    number: u64,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let mut running = self.functions.running.lock();
        running.retain(|one| one.number != self.number);
    }
}

impl Functions {
    /// The libraries at this moment.
    pub fn libraries(&self) -> Arc<Libraries> {
        self.libraries.load_full()
    }

    /// Changes the libraries. Of two changes at the same time, the second sees the first. Returns what other nodes are to
    /// be told.
    pub fn change<E>(
        &self,
        now_ms: u64,
        change: impl FnOnce(&mut Libraries) -> Result<(), E>,
    ) -> Result<Vec<Change>, E> {
        let mut catalogue = self.catalogue.lock();
        let mut libraries = Libraries::clone(&self.libraries.load());
        change(&mut libraries)?;
        let changes = catalogue.note(&libraries, now_ms);
        self.libraries.store(libraries.into());
        Ok(changes)
    }

    /// Whether a change that was made elsewhere is later than what is known of its library.
    pub fn is_news(&self, change: &Change) -> bool {
        self.catalogue.lock().is_news(change)
    }

    /// Takes in a change that was made elsewhere; `library` is made of its code.
    pub fn take_in(&self, change: &Change, library: Option<Library>) {
        let mut catalogue = self.catalogue.lock();
        catalogue.take_in(change, library);
        self.libraries.store(catalogue.libraries().into());
    }

    /// The last change of each library.
    pub fn changes(&self) -> Vec<Change> {
        self.catalogue.lock().changes().collect()
    }

    /// Notes that a function runs.
    pub fn note(&self, name: &[u8], request: Request<'_>) -> Noted<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.running.lock().push(Running {
            number,
            began: Instant::now(),
            name: name.to_vec(),
            command: request.into(),
        });
        let functions = self;
        Noted { functions, number }
    }

    /// The function that has run for longest, of those that run.
    pub fn running(&self) -> Option<Running> {
        self.running.lock().first().cloned()
    }

    /// What is kept in a data directory. Changes are kept there from now on.
    pub fn open(&self, directory: &Path) -> io::Result<Vec<Change>> {
        // A second directory could only be the same.
        let _ = self.directory.set(directory.to_owned());
        match std::fs::read(directory.join(FILE)) {
            Ok(file) => read(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Writes the libraries to the file. Blocks until they are on the disk. After a crash at any moment there are the
    /// old ones or the new.
    pub fn keep(&self) -> io::Result<()> {
        let Some(directory) = self.directory.get() else {
            return Ok(());
        };
        // One at a time, and the last one writes the newest.
        let _writing = self.writing.lock();
        let begun = directory.join(FILE_BEGUN);
        let mut file = File::create(&begun)?;
        let changes = postcard::to_stdvec(&self.changes()).map_err(io::Error::other)?;
        file.write_all(&crc32fast::hash(&changes).to_le_bytes())?;
        file.write_all(&changes)?;
        file.sync_all()?;
        std::fs::rename(&begun, directory.join(FILE))?;
        File::open(directory)?.sync_all()
    }
}

/// Reads the file: the changes, behind their checksum.
fn read(file: &[u8]) -> io::Result<Vec<Change>> {
    let damaged = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the file `functions` is damaged",
        )
    };
    let (checksum, changes) = file.split_first_chunk().ok_or_else(damaged)?;
    if crc32fast::hash(changes) != u32::from_le_bytes(*checksum) {
        return Err(damaged());
    }
    postcard::from_bytes(changes).map_err(|_| damaged())
}
