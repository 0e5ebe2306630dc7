//! The libraries of functions that a node knows, the file that keeps them, and which functions run.
//!
//! The file is what `FUNCTION DUMP` answers. It is written anew at every change, beside the old one and put in its place
//! when it is on the disk: libraries are few and rarely change, and belong to no partition of the log.

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

pub use libraries::{Conflict, FLAGS, Function, FunctionFlags, Libraries, Library};
pub use payload::{Unreadable, decode};

/// The name of the file in the data directory.
const FILE: &str = "functions";
/// What it is called until it is whole.
const FILE_BEGUN: &str = "functions.new";

/// See the module.
#[derive(Default)]
pub struct Functions {
    libraries: ArcSwap<Libraries>,
    changing: Mutex<()>,
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

    /// Changes the libraries. Of two changes at the same time, the second sees the first.
    pub fn change<E>(&self, change: impl FnOnce(&mut Libraries) -> Result<(), E>) -> Result<(), E> {
        let _changing = self.changing.lock();
        let mut libraries = Libraries::clone(&self.libraries.load());
        change(&mut libraries)?;
        self.libraries.store(libraries.into());
        Ok(())
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

    /// What is kept in a data directory; `None` if nothing is. Changes are kept there from now on.
    pub fn open(&self, directory: &Path) -> io::Result<Option<Vec<u8>>> {
        // A second directory could only be the same.
        let _ = self.directory.set(directory.to_owned());
        match std::fs::read(directory.join(FILE)) {
            Ok(payload) => Ok(Some(payload)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
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
        file.write_all(&self.libraries().encode())?;
        file.sync_all()?;
        std::fs::rename(&begun, directory.join(FILE))?;
        File::open(directory)?.sync_all()
    }
}
