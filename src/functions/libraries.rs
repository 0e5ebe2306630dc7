//! Libraries and their functions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::payload;

bitflags::bitflags! {
    /// What a function declares.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct FunctionFlags: u8 {
        /// It writes nothing.
        const NO_WRITES = 1;
        /// It may run although memory is over its limit.
        const ALLOW_OOM = 1 << 1;
        /// It may run on a replica that is behind.
        const ALLOW_STALE = 1 << 2;
        /// It must not run in a cluster.
        const NO_CLUSTER = 1 << 3;
        /// Its keys need not be in one slot.
        const ALLOW_CROSS_SLOT_KEYS = 1 << 4;
    }
}

/// The flags by name, in the order in which they are told.
pub const FLAGS: [(&str, FunctionFlags); 5] = [
    ("no-writes", FunctionFlags::NO_WRITES),
    ("allow-oom", FunctionFlags::ALLOW_OOM),
    ("allow-stale", FunctionFlags::ALLOW_STALE),
    ("no-cluster", FunctionFlags::NO_CLUSTER),
    (
        "allow-cross-slot-keys",
        FunctionFlags::ALLOW_CROSS_SLOT_KEYS,
    ),
];

/// A function of a library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// What it is called by.
    pub name: Vec<u8>,
    /// What its library says of it.
    pub description: Option<Vec<u8>>,
    /// What it declares.
    pub flags: FunctionFlags,
}

/// A library.
#[derive(Debug)]
pub struct Library {
    /// Unique as long as the process runs: the same code loaded again is another library.
    pub id: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// Its code, with the line that names it.
    pub code: Arc<[u8]>,
    /// Its functions.
    pub functions: Vec<Function>,
}

impl Library {
    /// A library of this code.
    pub fn new(name: &[u8], code: &[u8], functions: Vec<Function>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Library {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: name.to_vec(),
            code: code.into(),
            functions,
        }
    }
}

/// All libraries of a node at one moment.
#[derive(Clone, Default, Debug)]
pub struct Libraries(BTreeMap<Vec<u8>, Arc<Library>>);

/// Why a library can't be added or removed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// There is one of this name.
    #[error("Library '{0}' already exists")]
    Library(String),
    /// Another library has a function of this name.
    #[error("Function {0} already exists")]
    Function(String),
    /// There is none of this name.
    #[error("Library not found")]
    NoLibrary,
}

impl Libraries {
    /// In the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Library>> {
        self.0.values()
    }

    /// Number of functions in all of them.
    pub fn functions(&self) -> usize {
        self.iter().map(|library| library.functions.len()).sum()
    }

    /// A function by its name, in any case, and its library.
    pub fn find(&self, name: &[u8]) -> Option<(&Arc<Library>, &Function)> {
        let all = || {
            let libraries = self.iter();
            libraries.flat_map(|library| library.functions.iter().map(move |one| (library, one)))
        };
        let exact = all().find(|(_, function)| function.name == name);
        exact.or_else(|| all().find(|(_, function)| function.name.eq_ignore_ascii_case(name)))
    }

    /// The library of this name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Library>> {
        self.0.get(name)
    }

    /// Adds a library; one of the same name goes only if it is to be replaced.
    pub fn add(&mut self, library: Arc<Library>, replace: bool) -> Result<(), Conflict> {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        if !replace && self.0.contains_key(&library.name) {
            return Err(Conflict::Library(text(&library.name)));
        }
        for Function { name, .. } in &library.functions {
            if let Some((other, _)) = self.find(name)
                && other.name != library.name
            {
                return Err(Conflict::Function(text(name)));
            }
        }
        self.0.insert(library.name.clone(), library);
        Ok(())
    }

    /// Removes a library.
    pub fn remove(&mut self, name: &[u8]) -> Result<(), Conflict> {
        self.0.remove(name).map(drop).ok_or(Conflict::NoLibrary)
    }

    /// Removes all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Encodes them as `FUNCTION DUMP` does.
    pub fn encode(&self) -> Vec<u8> {
        payload::encode(self.iter().map(|library| &library.code[..]))
    }
}
