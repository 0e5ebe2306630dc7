//! Waiting for the log without blocking a thread.

use super::error::NoRoom;
use super::log::Log;
use super::offset::LogOffset;

impl Log {
    /// Waits while room for a record of this many bytes is being prepared, asking for it if need be. Ask
    /// [`Log::room`] again afterwards.
    pub async fn wait_for_room(&self, bytes: usize) {
        let mut changes = self.room_watch();
        self.make_room(bytes);
        changes.mark_unchanged();
        if self.room(bytes) == Err(NoRoom::Preparing) {
            // The log keeps the sender.
            let _ = changes.changed().await;
        }
    }

    /// Waits until a record that ends here may be acknowledged.
    pub async fn wait_until_acknowledged(&self, offset: LogOffset) {
        if self.acknowledged_when(offset) {
            return;
        }
        let mut progress = self.progress_watch();
        let _ = progress.wait_for(|_| self.acknowledged_when(offset)).await;
    }

    /// Waits until a record that ends here survives a power loss, at any durability. Who waits at the same time shares
    /// a sync.
    pub async fn wait_until_synced(&self, offset: LogOffset) {
        if self.durable() >= offset {
            return;
        }
        let mut durable = self.durable_watch();
        self.request_sync();
        // The log keeps the sender.
        let _ = durable.wait_for(|durable| *durable >= offset).await;
    }
}
