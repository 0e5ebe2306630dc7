//! A node's part in moves: it fetches what it is to hold, says which epochs it has drained, and forgets what it no longer
//! holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coterie_protocol::{Epoch, NodeId, PartitionId};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::topology::consensus::{Fetch, Report};
use crate::topology::plane::{BoxFuture, DataPlane, SyncSummary};
use crate::topology::{Step, Topology};

/// When a report is sent again that did not arrive.
const AGAIN: Duration = Duration::from_millis(100);

/// Sends reports to the leader.
pub(in crate::topology) trait Reporter: Send + Sync + 'static {
    /// The leader's epoch, if it was reached.
    fn report(&self, report: Report) -> BoxFuture<'static, Option<Epoch>>;
}

/// What a task that was started ended with.
enum Event {
    Drained(Epoch),
    Fetched(PartitionId, Epoch, Result<SyncSummary, String>),
    Reported(Option<Epoch>),
}

/// See the module.
pub(in crate::topology) struct Participant {
    node: NodeId,
    plane: Arc<dyn DataPlane>,
    reporter: Arc<dyn Reporter>,
    topology: Arc<Topology>,
    tasks: JoinSet<Event>,
    /// The highest epoch before which nothing is in flight.
    drained: Epoch,
    draining: bool,
    /// What the leader has asked for and this node's topology does not show yet.
    asked: BTreeMap<PartitionId, Fetch>,
    fetching: BTreeMap<(PartitionId, Epoch), AbortHandle>,
    in_step: BTreeSet<(PartitionId, Epoch)>,
    /// Partitions to forget, when what is in flight before that epoch has ended.
    leaving: BTreeMap<PartitionId, Epoch>,
    /// Whether the topology is known to be no older than the leader's, since the start.
    confirmed: bool,
    /// Whether the leader has to be told something.
    news: bool,
    reporting: bool,
    /// When the next report may be sent.
    report_at: Instant,
}

impl Participant {
    pub(in crate::topology) fn new(
        node: NodeId,
        plane: Arc<dyn DataPlane>,
        reporter: Arc<dyn Reporter>,
        topology: Arc<Topology>,
    ) -> Participant {
        Participant {
            node,
            plane,
            reporter,
            topology,
            tasks: JoinSet::new(),
            drained: Epoch::default(),
            draining: false,
            asked: BTreeMap::new(),
            fetching: BTreeMap::new(),
            in_step: BTreeSet::new(),
            leaving: BTreeMap::new(),
            confirmed: false,
            news: true,
            reporting: false,
            report_at: Instant::now(),
        }
    }

    /// Runs until the topology is no longer published. `leaders` changes when there is another leader.
    pub(in crate::topology) async fn run<L: PartialEq>(
        mut self,
        mut topologies: watch::Receiver<Arc<Topology>>,
        mut leaders: watch::Receiver<L>,
        mut orders: mpsc::Receiver<Vec<Fetch>>,
    ) {
        topologies.mark_changed();
        loop {
            self.report();
            let again = self.news && !self.reporting;
            tokio::select! {
                changed = topologies.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let topology = Arc::clone(&topologies.borrow_and_update());
                    self.take_over(topology);
                }
                changed = leaders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.news = true;
                }
                Some(order) = orders.recv() => {
                    self.asked.extend(order.into_iter().map(|fetch| (fetch.partition, fetch)));
                    self.fetch();
                }
                Some(event) = self.tasks.join_next() => match event {
                    Ok(event) => self.ended(event),
                    Err(error) if error.is_panic() => tracing::error!(%error, "a task of a move failed"),
                    Err(_) => {}
                },
                () = tokio::time::sleep_until(self.report_at), if again => {}
            }
        }
    }

    /// A new topology.
    fn take_over(&mut self, topology: Arc<Topology>) {
        for index in 0..topology.placements.len() {
            let partition = PartitionId(index as u16);
            let mine = topology.placements[index].involves(self.node);
            let before = self.topology.placements.get(index);
            if mine {
                self.leaving.remove(&partition);
            } else if before.is_some_and(|before| before.involves(self.node)) {
                self.leaving.insert(partition, topology.epoch);
            }
        }
        self.topology = topology;
        let current = |topology: &Topology, &(partition, since): &(PartitionId, Epoch)| {
            let change = topology.placement(partition).change.as_ref();
            change.is_some_and(|change| {
                (change.step, change.since) == (Step::WriteBothReadOld, since)
            })
        };
        let topology = &self.topology;
        self.in_step.retain(|step| current(topology, step));
        self.fetching.retain(|step, task| {
            let goes_on = current(topology, step);
            if !goes_on {
                task.abort();
            }
            goes_on
        });
        self.asked.retain(|_, fetch| {
            fetch.since > topology.epoch || current(topology, &(fetch.partition, fetch.since))
        });
        self.fetch();
        self.drain();
    }

    /// Waits for the end of what is in flight before the present epoch. While it waits for that of an older one, the newer
    /// has its turn afterwards: were it begun anew with each epoch, it might never end.
    fn drain(&mut self) {
        let epoch = self.topology.epoch;
        if self.draining || epoch <= self.drained {
            return;
        }
        self.draining = true;
        let drained = self.plane.drained(epoch);
        self.tasks.spawn(async move {
            drained.await;
            Event::Drained(epoch)
        });
    }

    /// Starts what the leader has asked for and the topology shows.
    fn fetch(&mut self) {
        let due: Vec<PartitionId> = (self.asked.values())
            .filter(|fetch| fetch.since <= self.topology.epoch)
            .map(|fetch| fetch.partition)
            .collect();
        for partition in due {
            let Some(Fetch { since, from, .. }) = self.asked.remove(&partition) else {
                continue;
            };
            let step = (partition, since);
            let Some(placement) = self.topology.placements.get(partition.index()) else {
                continue;
            };
            let wanted = (placement.change.as_ref()).is_some_and(|change| {
                (change.step, change.since) == (Step::WriteBothReadOld, since)
                    && change.to.contains(&self.node)
            });
            if self.in_step.contains(&step) {
                self.news = true;
            } else if wanted && !self.fetching.contains_key(&step) {
                let fetched = self.plane.synchronize(partition, since, from);
                let task = self
                    .tasks
                    .spawn(async move { Event::Fetched(partition, since, fetched.await) });
                self.fetching.insert(step, task);
            }
        }
    }

    fn ended(&mut self, event: Event) {
        match event {
            Event::Drained(epoch) => {
                self.draining = false;
                self.drained = self.drained.max(epoch);
                // Nobody waits for it while nothing moves.
                self.news |= self.topology.placements.iter().any(|p| p.change.is_some());
                self.forget();
                self.drain();
            }
            Event::Fetched(partition, since, result) => {
                let current = self.fetching.remove(&(partition, since)).is_some();
                match result {
                    Ok(summary) if current => {
                        tracing::debug!(%partition, keys = summary.keys, bytes = summary.bytes, "partition is in step");
                        self.in_step.insert((partition, since));
                        self.news = true;
                    }
                    Ok(_) => {}
                    // The leader asks again.
                    Err(error) => {
                        tracing::warn!(%partition, error, "partition could not be fetched")
                    }
                }
            }
            Event::Reported(epoch) => {
                self.reporting = false;
                // A report that did not arrive, or that arrived before this node was up to date, is sent again.
                let up_to_date = epoch.is_some_and(|epoch| epoch <= self.topology.epoch);
                if up_to_date && !self.confirmed {
                    self.confirm();
                }
                if epoch.is_none() || !self.confirmed {
                    self.news = true;
                    self.report_at = Instant::now() + AGAIN;
                }
            }
        }
    }

    /// After a start: what others have taken over meanwhile is forgotten, once this node knows that it is up to date.
    fn confirm(&mut self) {
        self.confirmed = true;
        for (index, placement) in self.topology.placements.iter().enumerate() {
            if !placement.involves(self.node) {
                self.leaving
                    .insert(PartitionId(index as u16), self.topology.epoch);
            }
        }
        self.forget();
    }

    fn forget(&mut self) {
        let drained = self.drained;
        let confirmed = self.confirmed;
        let due = |_: &PartitionId, epoch: &mut Epoch| confirmed && *epoch <= drained;
        for (partition, left) in self.leaving.extract_if(.., due) {
            self.plane.forget(partition, left);
        }
    }

    fn report(&mut self) {
        if !self.news || self.reporting || Instant::now() < self.report_at {
            return;
        }
        self.news = false;
        self.reporting = true;
        let report = self.reporter.report(Report {
            drained: self.drained,
            in_step: self.in_step.iter().copied().collect(),
        });
        self.tasks
            .spawn(async move { Event::Reported(report.await) });
    }
}
