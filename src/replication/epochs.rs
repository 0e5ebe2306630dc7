//! Which epochs still have requests under way on this node (I9).

use std::collections::BTreeMap;
use std::sync::Arc;

use coterie_protocol::Epoch;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Counts requests by the epoch they were routed under.
pub struct Epochs {
    in_flight: Mutex<BTreeMap<Epoch, u64>>,
    oldest: watch::Sender<Option<Epoch>>,
}

/// A request under way. Its epoch is not over before this is dropped.
pub struct EpochGuard {
    epochs: Arc<Epochs>,
    epoch: Epoch,
}

impl Default for Epochs {
    fn default() -> Self {
        Epochs {
            in_flight: Mutex::default(),
            oldest: watch::Sender::new(None),
        }
    }
}

impl Epochs {
    /// A request begins.
    pub fn enter(self: &Arc<Self>, epoch: Epoch) -> EpochGuard {
        *self.in_flight.lock().entry(epoch).or_default() += 1;
        EpochGuard {
            epochs: self.clone(),
            epoch,
        }
    }

    /// Whether no request of an epoch before this one is under way.
    pub fn is_drained(&self, epoch: Epoch) -> bool {
        let first = self.in_flight.lock().keys().next().copied();
        first.is_none_or(|first| first >= epoch)
    }

    /// Waits until no request of an epoch before this one is under way.
    pub async fn drained(&self, epoch: Epoch) {
        let mut oldest = self.oldest.subscribe();
        loop {
            if self.is_drained(epoch) {
                return;
            }
            // The sender lives as long as `self`.
            let _ = oldest.changed().await;
        }
    }
}

impl Drop for EpochGuard {
    fn drop(&mut self) {
        let mut in_flight = self.epochs.in_flight.lock();
        if let Some(count) = in_flight.get_mut(&self.epoch) {
            *count -= 1;
            if *count == 0 {
                in_flight.remove(&self.epoch);
                let oldest = in_flight.keys().next().copied();
                drop(in_flight);
                self.epochs.oldest.send_replace(oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_epoch_is_over_when_its_last_request_is() {
        let epochs = Arc::new(Epochs::default());
        let (first, second) = (epochs.enter(Epoch(1)), epochs.enter(Epoch(1)));
        let later = epochs.enter(Epoch(2));
        epochs.drained(Epoch(1)).await;
        let is_over = |epoch| {
            let epochs = epochs.clone();
            async move {
                tokio::time::timeout(Duration::from_millis(5), epochs.drained(epoch))
                    .await
                    .is_ok()
            }
        };
        assert!(!is_over(Epoch(2)).await);
        drop(first);
        assert!(!is_over(Epoch(2)).await);
        let waiting = tokio::spawn({
            let epochs = epochs.clone();
            async move { epochs.drained(Epoch(2)).await }
        });
        tokio::task::yield_now().await;
        drop(second);
        waiting.await.unwrap();
        assert!(!is_over(Epoch(3)).await);
        drop(later);
        assert!(is_over(Epoch(3)).await);
    }
}
