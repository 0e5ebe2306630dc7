//! Frees large values and whole databases on a thread of its own, so that nobody waits for it.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::store::Garbage;

/// Bundles that may wait. When more do, whoever brings one frees it himself: memory stays bounded.
const QUEUE_MAX: usize = 1024;

/// See the module.
pub struct Reclaimer {
    queue: SyncSender<Vec<Garbage>>,
}

impl Reclaimer {
    /// Starts the thread; it ends when the reclaimer is dropped.
    pub fn start() -> std::io::Result<Self> {
        let (queue, bundles) = sync_channel::<Vec<Garbage>>(QUEUE_MAX);
        thread::Builder::new()
            .name("reclaimer".into())
            .spawn(move || bundles.into_iter().for_each(drop))?;
        Ok(Reclaimer { queue })
    }

    /// Frees what is no longer reachable, soon.
    pub fn free(&self, garbage: Vec<Garbage>) {
        // A full queue gives the bundle back, and dropping it here frees it.
        let _ = self.queue.try_send(garbage);
    }
}
