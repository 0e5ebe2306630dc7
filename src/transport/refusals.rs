//! Keeps refusals that repeat from flooding the log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use coterie_protocol::internal::Reason;
use parking_lot::Mutex;

/// The same refusal is logged once in this time.
const REPEAT: Duration = Duration::from_secs(10);
/// So many are remembered; then all are forgotten.
const REMEMBERED: usize = 256;

/// What was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Refused {
    /// A connection.
    Connection(IpAddr, Reason),
    /// A datagram, for this reason. It may name whatever address it likes.
    Datagram(&'static str),
}

/// When which refusal was logged last.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<Refused, Duration>>);

impl Refusals {
    /// Whether to log it; `now` is the time since the start.
    pub(super) fn is_news(&self, refused: Refused, now: Duration) -> bool {
        let mut logged = self.0.lock();
        if logged
            .get(&refused)
            .is_some_and(|last| now < *last + REPEAT)
        {
            return false;
        }
        if logged.len() >= REMEMBERED {
            logged.clear();
        }
        logged.insert(refused, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_no_news_for_a_while() {
        let refusals = Refusals::default();
        let connection = |last, reason| Refused::Connection([127, 0, 0, last].into(), reason);
        let at = Duration::from_secs;
        assert!(refusals.is_news(connection(1, Reason::Secret), at(0)));
        assert!(!refusals.is_news(connection(1, Reason::Secret), at(9)));
        assert!(refusals.is_news(connection(1, Reason::Clock), at(9)));
        assert!(refusals.is_news(connection(2, Reason::Secret), at(9)));
        assert!(refusals.is_news(connection(1, Reason::Secret), at(10)));
    }
}
