//! Keeps refusals that repeat from flooding the log.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use coterie_protocol::internal::Reason;
use parking_lot::Mutex;

/// The same refusal of the same host is logged once in this time.
const REPEAT: Duration = Duration::from_secs(10);
/// So many are remembered; then all are forgotten.
const REMEMBERED: usize = 256;

/// When which refusal was logged last.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<(IpAddr, Reason), Duration>>);

impl Refusals {
    /// Whether to log it; `now` is the time since the start.
    pub(super) fn is_news(&self, address: SocketAddr, reason: Reason, now: Duration) -> bool {
        let mut logged = self.0.lock();
        let key = (address.ip(), reason);
        if logged.get(&key).is_some_and(|last| now < *last + REPEAT) {
            return false;
        }
        if logged.len() >= REMEMBERED {
            logged.clear();
        }
        logged.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_no_news_for_a_while() {
        let refusals = Refusals::default();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let other = SocketAddr::from(([127, 0, 0, 2], 1));
        let at = Duration::from_secs;
        assert!(refusals.is_news(address, Reason::Secret, at(0)));
        assert!(!refusals.is_news(address, Reason::Secret, at(9)));
        assert!(refusals.is_news(address, Reason::Clock, at(9)));
        assert!(refusals.is_news(other, Reason::Secret, at(9)));
        assert!(refusals.is_news(address, Reason::Secret, at(10)));
    }
}
