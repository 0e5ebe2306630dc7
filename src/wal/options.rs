//! What the caller decides about a log.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::files::{Files, SystemFiles};

/// When a write may be acknowledged, and how far back a power loss may reach. `kill -9` loses
/// nothing acknowledged in any of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub enum Durability {
    /// After the sync: a power loss loses nothing acknowledged.
    Always,
    /// At once; synced every second.
    #[default]
    Everysec,
    /// At once; the system writes when it likes, and the log syncs only full segments.
    Os,
}

impl Durability {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Always, Self::Everysec, Self::Os];

    /// Its word in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Everysec => "everysec",
            Self::Os => "os",
        }
    }

    pub(crate) fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Always,
            1 => Self::Everysec,
            _ => Self::Os,
        }
    }

    /// What a log is opened with whose records are of different durability: the least that all of them need. Those of
    /// `Always` ask for their syncs ([`Log::wait_until_synced`](super::Log::wait_until_synced)) where others are not.
    pub fn of_all(all: impl IntoIterator<Item = Self>) -> Self {
        let (mut always, mut everysec, mut os) = (false, false, false);
        for one in all {
            match one {
                Self::Always => always = true,
                Self::Everysec => everysec = true,
                Self::Os => os = true,
            }
        }
        if always && !everysec && !os {
            Self::Always
        } else if everysec || !os {
            Self::Everysec
        } else {
            Self::Os
        }
    }
}

/// Called with the error of a failed write or sync. See [`Options::on_sync_failure`].
pub type SyncFailureHook = Box<dyn FnMut(io::Error) + Send>;

/// How to open a log.
pub struct Options {
    /// Holds the log and nothing else but checkpoints; created if it doesn't exist.
    pub directory: PathBuf,
    /// The size of a segment file, 64 KiB to 2 GiB, 64 MiB by default. May differ from what it was.
    pub segment_bytes: u32,
    /// When a write may be acknowledged; `Everysec` by default.
    pub durability: Durability,
    /// There is no room while more bytes than this wait to be written; 16 MiB by default.
    pub pending_bytes: usize,
    /// Old segments kept for reuse; 2 by default.
    pub recycled_segments: usize,
    /// What to do when data can't be written or synced. Nothing is known then about what is on the
    /// disk, so the process must stop: by default the error is logged and the process aborts. The
    /// log accepts nothing any more and acknowledges nothing any more.
    pub on_sync_failure: SyncFailureHook,
    /// The id of a log that is created; random by default.
    pub log_id: Option<u128>,
    /// The boot of the machine, see `OpenError::Corrupt`; by default what the system says.
    pub boot: Option<String>,
    /// The file system.
    pub files: Arc<dyn Files>,
}

/// The smallest segment.
pub const MIN_SEGMENT_BYTES: u32 = 64 << 10;
/// The largest segment of normal size.
pub const MAX_SEGMENT_BYTES: u32 = 2 << 30;

impl Options {
    /// The defaults for a log in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            segment_bytes: 64 << 20,
            durability: Durability::default(),
            pending_bytes: 16 << 20,
            recycled_segments: 2,
            on_sync_failure: Box::new(|error| {
                tracing::error!(%error, "the log can't be made durable; stopping");
                std::process::abort();
            }),
            log_id: None,
            boot: super::directory::current_boot(),
            files: Arc::new(SystemFiles),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("directory", &self.directory)
            .field("segment_bytes", &self.segment_bytes)
            .field("durability", &self.durability)
            .field("pending_bytes", &self.pending_bytes)
            .field("recycled_segments", &self.recycled_segments)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Durability::{Always, Everysec, Os};
    use super::*;

    #[test]
    fn a_log_of_several_durabilities_does_what_the_least_of_them_needs() {
        for (all, expected) in [
            (&[Always][..], Always),
            (&[Always, Always], Always),
            (&[Always, Os], Os),
            (&[Os, Everysec], Everysec),
            (&[Always, Everysec, Os], Everysec),
        ] {
            assert_eq!(Durability::of_all(all.iter().copied()), expected, "{all:?}");
        }
    }
}
