//! The topology as the state that the log of changes leads to, and its snapshots.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageIOError};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::files;
use super::types::{
    Entry, LogId, Response, Snapshot, SnapshotMeta, StorageError, StoredMembership, TypeConfig,
};
use crate::topology::Topology;
use crate::topology::join::encode;

const HEAD: &[u8; 8] = b"COTTOPS\x02";

/// The newest topology that this node knows, for everyone on it.
pub(super) struct Published {
    current: ArcSwap<Topology>,
    changes: watch::Sender<Arc<Topology>>,
}

impl Published {
    pub(super) fn new(topology: Topology) -> Published {
        let topology = Arc::new(topology);
        Published {
            current: ArcSwap::new(Arc::clone(&topology)),
            changes: watch::Sender::new(topology),
        }
    }

    pub(super) fn current(&self) -> Arc<Topology> {
        self.current.load_full()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Arc<Topology>> {
        self.changes.subscribe()
    }

    /// Takes note of a topology. An older one than that which is known is not published: a node that joins is told one
    /// before its log gets there.
    fn publish(&self, topology: &Topology) {
        self.changes.send_if_modified(|known| {
            if topology.epoch <= known.epoch {
                return false;
            }
            *known = Arc::new(topology.clone());
            self.current.store(Arc::clone(known));
            true
        });
    }
}

/// What a snapshot holds, and what it is of.
#[derive(Clone, Serialize, Deserialize)]
struct Image {
    meta: SnapshotMeta,
    topology: Topology,
}

impl Image {
    fn load(path: &Path) -> io::Result<Option<Image>> {
        let Some(body) = files::load(path, HEAD)? else {
            return Ok(None);
        };
        let image = postcard::from_bytes(&body).map_err(|_| files::unreadable(path))?;
        Ok(Some(image))
    }

    async fn save(&self, path: &Path) -> Result<(), StorageError> {
        let (path, body) = (path.to_owned(), encode(self));
        let saved = tokio::task::spawn_blocking(move || files::save(&path, HEAD, &body)).await;
        let saved = saved.unwrap_or_else(|error| Err(io::Error::other(error)));
        saved.map_err(|error| StorageIOError::write_snapshot(None, &error).into())
    }
}

/// See the module.
pub(super) struct Machine {
    applied: Option<LogId>,
    membership: StoredMembership,
    topology: Topology,
    published: Arc<Published>,
    path: PathBuf,
}

impl Machine {
    /// Opens the last snapshot in a directory, if there is one, and publishes it.
    pub(super) fn open(directory: &Path, published: Arc<Published>) -> io::Result<Machine> {
        let path = directory.join("snapshot");
        let mut machine = Machine {
            applied: None,
            membership: StoredMembership::default(),
            topology: Topology::empty(),
            published,
            path,
        };
        if let Some(image) = Image::load(&machine.path)? {
            machine.restore(image);
        }
        Ok(machine)
    }

    fn restore(&mut self, image: Image) {
        self.applied = image.meta.last_log_id;
        self.membership = image.meta.last_membership;
        self.topology = image.topology;
        self.published.publish(&self.topology);
    }

    fn image(&self) -> Image {
        let id = self.applied.map_or(0, |applied| applied.index);
        Image {
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
                snapshot_id: id.to_string(),
            },
            topology: self.topology.clone(),
        }
    }

    fn apply_entry(&mut self, entry: Entry) -> Response {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            EntryPayload::Normal(change) => match self.topology.apply(&change) {
                Ok(topology) => self.topology = topology,
                Err(refusal) => return Response(Err(refusal)),
            },
        }
        Response(Ok(self.topology.epoch))
    }
}

/// Writes one snapshot.
pub(super) struct Builder {
    image: Image,
    path: PathBuf,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        self.image.save(&self.path).await?;
        Ok(snapshot(self.image.clone()))
    }
}

fn snapshot(image: Image) -> Snapshot {
    Snapshot {
        meta: image.meta,
        snapshot: Box::new(image.topology),
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Response>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut responses = Vec::new();
        for entry in entries {
            responses.push(self.apply_entry(entry));
            // Each epoch is published, so that whoever watches closely sees every step.
            self.published.publish(&self.topology);
        }
        Ok(responses)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            image: self.image(),
            path: self.path.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Topology>, StorageError> {
        Ok(Box::new(Topology::empty()))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Topology>,
    ) -> Result<(), StorageError> {
        let image = Image {
            meta: meta.clone(),
            topology: *snapshot,
        };
        image.save(&self.path).await?;
        self.restore(image);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let path = self.path.clone();
        let loaded = tokio::task::spawn_blocking(move || Image::load(&path)).await;
        let loaded = loaded.unwrap_or_else(|error| Err(io::Error::other(error)));
        match loaded {
            Ok(image) => Ok(image.map(snapshot)),
            Err(error) => Err(StorageIOError::read_snapshot(None, &error).into()),
        }
    }
}
