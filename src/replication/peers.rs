//! The nodes this one exchanges data with, and how far each has followed this node's log.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use coterie_protocol::{Epoch, NodeId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::transport::Link;
use crate::wal::LogOffset;

/// Who has been silent for longer does not count as a replica that could acknowledge, though its connection stands.
const GONE_AFTER: Duration = Duration::from_secs(1);

/// A set of nodes of which each is a bit: the bit of its [`Peer::index`].
pub type NodeSet = u128;

/// Most nodes a process can ever have known, itself included: the bits of a [`NodeSet`].
pub const PEERS_MAX: usize = 128;

/// The bit of this node itself.
pub const OWN: NodeSet = 1;

/// Another node, or (with index 0) this one.
pub struct Peer {
    /// Its id.
    pub id: NodeId,
    /// Its bit in a [`NodeSet`]. Never reused while the process lives.
    pub index: usize,
    /// Its log has all of this node's records that concern it up to here.
    acknowledged: AtomicU64,
    /// Records it has seen, but for which a later one has to be acknowledged first.
    hold: Mutex<Hold>,
    link: ArcSwapOption<Link>,
    /// How often it may have missed records that it will not be sent…
    gaps: AtomicU64,
    /// … and up to which of these times it has been compared with since.
    closed_gaps: AtomicU64,
    /// Where the log was when its link came up last.
    back_at: AtomicU64,
    /// Records of databases without hints that end here or before may never have been sent to it.
    skipped: AtomicU64,
    /// Having the log up to the first, it needs nothing before the second.
    passed: Mutex<(LogOffset, LogOffset)>,
    /// It refuses records of epochs before this one.
    fence: AtomicU64,
    /// What this process has sent it, or it may have read, ends here; it may have all of that, whatever it has acknowledged.
    sent: AtomicU64,
    read: AtomicU64,
    /// By which number it follows this node's log, and since where.
    followed: Mutex<Option<(u64, LogOffset)>>,
    changed: Notify,
}

/// Acknowledgements held back: see [`Peer::hold`].
#[derive(Default)]
struct Hold {
    /// Records that are being repeated.
    repeating: usize,
    /// Where the last repetition ends.
    until: LogOffset,
    /// What was acknowledged meanwhile.
    seen: LogOffset,
}

impl Peer {
    fn new(id: NodeId, index: usize) -> Self {
        Peer {
            id,
            index,
            acknowledged: AtomicU64::new(0),
            hold: Mutex::default(),
            link: ArcSwapOption::empty(),
            gaps: AtomicU64::new(0),
            closed_gaps: AtomicU64::new(0),
            back_at: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            passed: Mutex::new((LogOffset::ZERO, LogOffset::ZERO)),
            fence: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            read: AtomicU64::new(0),
            followed: Mutex::new(None),
            changed: Notify::new(),
        }
    }

    /// Resolves when its link, its marks or its fence change after this call. For one task at a time.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }

    /// Something about it has changed.
    pub fn notify(&self) {
        self.changed.notify_one();
    }

    /// The epoch this node has to reach before the peer takes its records again.
    pub fn fence(&self) -> Option<Epoch> {
        let epoch = self.fence.load(Ordering::Acquire);
        (epoch > 0).then_some(Epoch(epoch))
    }

    /// It refused records, because it is of this epoch.
    pub fn set_fence(&self, epoch: Epoch) {
        self.fence.fetch_max(epoch.0, Ordering::AcqRel);
        self.notify();
    }

    /// This node has reached the epoch of the fence.
    pub fn lift_fence(&self, epoch: Epoch) {
        let _ = self
            .fence
            .compare_exchange(epoch.0, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Its bit.
    pub fn bit(&self) -> NodeSet {
        1 << self.index
    }

    /// The connection to it that this node opened, if it ever did.
    pub fn link(&self) -> Option<Arc<Link>> {
        self.link.load_full()
    }

    /// Sets the connection to it.
    pub fn set_link(&self, link: Option<Arc<Link>>) {
        self.link.store(link);
        self.notify();
    }

    /// Whether it is connected and was heard from within the last moments. This node itself always is.
    pub fn is_live(&self) -> bool {
        self.index == 0
            || self
                .link
                .load()
                .as_ref()
                .is_some_and(|link| link.is_up() && link.is_responsive())
    }

    /// Whether it is connected, even if it has not been heard from for a moment.
    pub fn is_connected(&self) -> bool {
        let is_heard = |link: &Arc<Link>| link.silent_for().is_some_and(|time| time < GONE_AFTER);
        self.index == 0 || self.link.load().as_ref().is_some_and(is_heard)
    }

    /// How far it has followed this node's log.
    pub fn acknowledged(&self) -> LogOffset {
        LogOffset::from_u64(self.acknowledged.load(Ordering::Acquire))
    }

    /// How far this process has sent it the log.
    pub fn sent(&self) -> LogOffset {
        LogOffset::from_u64(self.sent.load(Ordering::Acquire))
    }

    /// It may be told of what this node has done up to here, having asked for it.
    pub fn reading(&self, end: LogOffset) {
        self.read.fetch_max(end.to_u64(), Ordering::AcqRel);
    }

    /// Whether it may have a record that ends there, by whatever way.
    pub fn may_have(&self, end: LogOffset) -> bool {
        let read = LogOffset::from_u64(self.read.load(Ordering::Acquire));
        self.sent().max(read) >= end
    }

    /// Records up to here are about to be sent.
    pub fn sending(&self, end: LogOffset) {
        self.sent.fetch_max(end.to_u64(), Ordering::AcqRel);
    }

    /// It follows the log, which is here, by this number. As long as the number is the same, it has not abandoned this
    /// node; with another one it may have before, and written over what this node did until now.
    pub fn set_followed(&self, number: u64, end: LogOffset) {
        let mut followed = self.followed.lock();
        if followed.is_none_or(|(before, _)| before != number) {
            *followed = Some((number, end));
        }
    }

    /// Since where in the log it follows by this number, if that is known.
    pub fn followed(&self, number: u64) -> Option<LogOffset> {
        let followed = self.followed.lock();
        followed.filter(|it| it.0 == number).map(|it| it.1)
    }

    /// How far it has followed, counting what is held back.
    pub fn seen(&self) -> LogOffset {
        self.acknowledged().max(self.hold.lock().seen)
    }

    /// It has everything up to here. Returns whether that is news.
    pub fn acknowledge(&self, offset: LogOffset) -> bool {
        let mut hold = self.hold.lock();
        if hold.repeating > 0 || offset < hold.until {
            hold.seen = hold.seen.max(offset);
            return false;
        }
        let offset = offset.max(hold.seen);
        *hold = Hold::default();
        let before = self
            .acknowledged
            .fetch_max(offset.to_u64(), Ordering::AcqRel);
        before < offset.to_u64()
    }

    /// It holds something newer than a record of this node. That record counts as acknowledged only when its
    /// repetition is, so nothing counts until that is made, and known by [`Peer::release`].
    pub fn hold(&self) {
        self.hold.lock().repeating += 1;
    }

    /// The repetition is made, and ends there; `None` if there was nothing to repeat.
    pub fn release(&self, until: Option<LogOffset>) {
        let mut hold = self.hold.lock();
        hold.repeating = hold.repeating.saturating_sub(1);
        if let Some(until) = until {
            hold.until = hold.until.max(until);
        }
    }

    /// A fresh connection tells where it stands: acknowledgements held back belonged to the old one.
    pub fn resume_at(&self, offset: LogOffset) {
        // Repetitions go on; what they end with is acknowledged on the new connection like anything else.
        let mut hold = self.hold.lock();
        hold.seen = LogOffset::ZERO;
        if hold.repeating == 0 && offset >= hold.until {
            self.acknowledged
                .fetch_max(offset.to_u64(), Ordering::AcqRel);
        }
    }

    /// Whether it has acknowledged a record that ends there, of a database with hints or without.
    pub fn has(&self, offset: LogOffset, unhinted: bool) -> bool {
        // In this order: what is skipped is told before it is acknowledged.
        self.acknowledged() >= offset && (!unhinted || offset > self.skipped())
    }

    /// Where the log was when its link came up last.
    pub fn back_at(&self) -> LogOffset {
        LogOffset::from_u64(self.back_at.load(Ordering::Acquire))
    }

    /// Its link came up, and the log is here.
    pub fn set_back_at(&self, offset: LogOffset) {
        self.back_at.store(offset.to_u64(), Ordering::Release);
    }

    /// Its acknowledgements tell of no record of a database without hints that ends here or before.
    pub fn skipped(&self) -> LogOffset {
        LogOffset::from_u64(self.skipped.load(Ordering::Acquire))
    }

    /// It is not sent a record that ends there, of a database without hints.
    pub fn skip(&self, end: LogOffset) {
        self.skipped.fetch_max(end.to_u64(), Ordering::AcqRel);
        self.gaps.fetch_add(1, Ordering::AcqRel);
    }

    /// Where to go on when it has the log up to `position`: between the two there is nothing that it will be sent.
    pub fn after_passed(&self, position: LogOffset) -> LogOffset {
        let (from, to) = *self.passed.lock();
        // It may have lost what it had at the time.
        if position >= from {
            position.max(to)
        } else {
            position
        }
    }

    /// Having the log up to `from`, it will not be sent anything before `to`.
    pub fn pass(&self, from: LogOffset, to: LogOffset) {
        *self.passed.lock() = (from, to);
    }

    /// Whether it may lack records that it will not be sent, and has not been compared with since.
    pub fn has_gap(&self) -> bool {
        self.gaps() > self.closed_gaps.load(Ordering::Acquire)
    }

    /// It may lack something from now on.
    pub fn open_gap(&self) {
        self.gaps.fetch_add(1, Ordering::AcqRel);
    }

    /// How often something has been left out for it.
    pub fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Acquire)
    }

    /// It has been compared with, which began when this was [`Peer::gaps`].
    pub fn close_gaps(&self, gaps: u64) {
        self.closed_gaps.fetch_max(gaps, Ordering::AcqRel);
    }
}

/// All nodes this process has known since its start.
pub struct Peers {
    all: ArcSwap<Vec<Arc<Peer>>>,
    adding: Mutex<()>,
}

impl Peers {
    /// Only this node.
    pub fn new(own: NodeId) -> Self {
        Peers {
            all: ArcSwap::from_pointee(vec![Arc::new(Peer::new(own, 0))]),
            adding: Mutex::new(()),
        }
    }

    /// This node.
    pub fn own(&self) -> Arc<Peer> {
        self.all.load()[0].clone()
    }

    /// All of them; this node is the first.
    pub fn all(&self) -> Arc<Vec<Arc<Peer>>> {
        self.all.load_full()
    }

    /// All of them, for a moment: see [`Peers::all`].
    pub fn load(&self) -> impl Deref<Target = Arc<Vec<Arc<Peer>>>> {
        self.all.load()
    }

    /// The node with this id, if it is known.
    pub fn find(&self, id: NodeId) -> Option<Arc<Peer>> {
        self.all.load().iter().find(|peer| peer.id == id).cloned()
    }

    /// The node with this id, which is known from now on. `None` when there have been too many.
    pub fn get_or_add(&self, id: NodeId) -> Option<Arc<Peer>> {
        if let Some(peer) = self.find(id) {
            return Some(peer);
        }
        let _adding = self.adding.lock();
        let all = self.all.load_full();
        if let Some(peer) = all.iter().find(|peer| peer.id == id) {
            return Some(peer.clone());
        }
        if all.len() >= PEERS_MAX {
            return None;
        }
        let peer = Arc::new(Peer::new(id, all.len()));
        let mut grown = Vec::clone(&all);
        grown.push(peer.clone());
        self.all.store(Arc::new(grown));
        Some(peer)
    }

    /// Those of a set that are connected.
    pub fn connected(&self, set: NodeSet) -> NodeSet {
        self.those_of(set, Peer::is_connected)
    }

    /// Those of a set that are heard from.
    pub fn live(&self, set: NodeSet) -> NodeSet {
        self.those_of(set, Peer::is_live)
    }

    fn those_of(&self, set: NodeSet, has: fn(&Peer) -> bool) -> NodeSet {
        let all = self.all.load();
        let chosen = all.iter().filter(|peer| peer.bit() & set != 0 && has(peer));
        chosen.fold(0, |chosen, peer| chosen | peer.bit())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(number: u64) -> LogOffset {
        LogOffset::from_u64(number)
    }

    #[test]
    fn a_superseded_record_counts_when_its_repetition_does() {
        let peer = Peer::new(NodeId([1; 20]), 1);
        assert!(peer.acknowledge(at(10)));
        peer.hold();
        assert!(!peer.acknowledge(at(20)));
        assert_eq!((peer.acknowledged(), peer.seen()), (at(10), at(20)));
        peer.release(Some(at(30)));
        assert!(!peer.acknowledge(at(25)));
        assert_eq!(peer.acknowledged(), at(10));
        assert!(peer.acknowledge(at(30)));
        assert_eq!(peer.acknowledged(), at(30));
    }

    #[test]
    fn nodes_get_a_bit_each_and_keep_it() {
        let peers = Peers::new(NodeId([0; 20]));
        let mut bits = OWN;
        for number in 1..PEERS_MAX as u8 {
            let peer = peers.get_or_add(NodeId([number; 20])).unwrap();
            assert_eq!(bits & peer.bit(), 0);
            bits |= peer.bit();
            assert_eq!(peers.get_or_add(peer.id).unwrap().index, peer.index);
        }
        assert_eq!(bits, NodeSet::MAX);
        assert!(peers.get_or_add(NodeId([255; 20])).is_none());
        assert_eq!(peers.connected(NodeSet::MAX), OWN);
    }

    #[test]
    fn what_was_left_out_is_not_acknowledged() {
        let peer = Peer::new(NodeId([1; 20]), 1);
        assert!(peer.acknowledge(at(10)));
        peer.skip(at(20));
        peer.pass(at(10), at(25));
        assert!(peer.has_gap());
        assert!(peer.acknowledge(at(30)));
        for (offset, hinted, unhinted) in [(20, true, false), (21, true, true), (31, false, false)]
        {
            assert_eq!(peer.has(at(offset), false), hinted, "{offset}");
            assert_eq!(peer.has(at(offset), true), unhinted, "{offset}");
        }
        assert_eq!(peer.after_passed(at(10)), at(25));
        assert_eq!(peer.after_passed(at(40)), at(40));
        // It lost the end of its log.
        assert_eq!(peer.after_passed(at(5)), at(5));
    }

    #[test]
    fn a_gap_is_closed_by_a_comparison_that_began_after_it() {
        let peer = Peer::new(NodeId([1; 20]), 1);
        peer.open_gap();
        let gaps = peer.gaps();
        peer.skip(at(20));
        peer.close_gaps(gaps);
        assert!(peer.has_gap());
        peer.close_gaps(peer.gaps());
        assert!(!peer.has_gap());
    }

    proptest! {
        /// Whatever comes in between, the mark grows, and never beyond what the peer has told.
        #[test]
        fn marks_only_grow(steps in prop::collection::vec((0u8..4, 1u64..100), 0..60)) {
            let peer = Peer::new(NodeId([1; 20]), 1);
            let (mut told, mut last) = (0, LogOffset::ZERO);
            for (step, number) in steps {
                match step {
                    0 => peer.hold(),
                    1 => peer.release(Some(at(number))),
                    2 => peer.resume_at(at(number)),
                    _ => {
                        peer.acknowledge(at(number));
                    }
                }
                if step >= 2 {
                    told = told.max(number);
                }
                prop_assert!(peer.acknowledged() >= last && peer.acknowledged() <= at(told));
                last = peer.acknowledged();
            }
        }
    }
}
