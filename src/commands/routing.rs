//! Where a data command is executed in a cluster: here, by another replica, or in parts.

use std::sync::Arc;

use coterie_protocol::{DatabaseId, PartitionId, Request, Slot};

use super::error::{CommandError, CommandResult};
use super::spec::{CommandSpec, Flags, Handler};
use super::transactions::{SEEN, UNIT, is_watching};
use crate::config::Redirect;
use crate::node::Node;
use crate::replication::routes::{self, Route, Routes, WriteQuorums};
use crate::replication::{Peer, Quorum, Replication};
use crate::session::Session;
use crate::store::Known;
use crate::topology::Policy;

/// Refused before anything was done (I3).
const NO_REPLICAS: CommandError =
    CommandError::line("NOREPLICAS Not enough good replicas to write.");
const NO_REPLICAS_TO_READ: CommandError =
    CommandError::line("NOREPLICAS Not enough good replicas to read.");
/// Nothing was done, and the client may try again.
pub const MOVING: CommandError =
    CommandError::line("TRYAGAIN The partition is moving to other replicas");
const CROSS_SLOT: CommandError =
    CommandError::line("CROSSSLOT Keys in request don't hash to the same slot");

/// What a command executed here has to reach.
#[derive(Clone, Default)]
pub struct Levels {
    /// Quorums that must hold what it writes.
    pub write: WriteQuorums,
    /// The quorum that must agree with what it read; `None` if this node alone is enough.
    pub read: Option<Quorum>,
    /// Whether what this node knows of the keys has to be brought up to date first.
    pub refresh: bool,
}

/// Where a command is executed.
pub enum Way {
    /// On this node.
    Here(PartitionId, Levels),
    /// On another node.
    Forward(PartitionId, Arc<Peer>),
    /// Key by key, or partition by partition.
    Parts,
}

/// What is known when a command is routed.
pub struct Router<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its quorum path.
    pub replication: &'a Replication,
    /// The routes its batch was begun under.
    pub routes: &'a Routes,
    /// The connection.
    pub session: &'a Session,
}

impl Router<'_> {
    /// Routes a data command.
    ///
    /// # Errors
    /// It can't be executed as things are; nothing was done.
    pub fn route(&self, spec: &CommandSpec, request: Request<'_>) -> Result<Way, CommandError> {
        if spec.locks.is_all() {
            return match spec.name {
                "flushall" | "flushdb" => Ok(Way::Parts),
                _ => Err(CommandError::line(
                    "ERR This command is not allowed in a cluster of several nodes",
                )),
            };
        }
        let store = self.node.engine.store();
        let mut keys = spec.keys.of(request);
        let Some(first) = keys.next() else {
            return Ok(Way::Here(PartitionId(0), Levels::default()));
        };
        let partition = store.partition_of(first);
        if keys.any(|key| store.partition_of(key) != partition) {
            return if is_divisible(spec.name) {
                Ok(Way::Parts)
            } else {
                Err(CROSS_SLOT)
            };
        }
        let way = if spec.name == SEEN {
            self.route_seen(partition)
        } else if is_write(spec.flags) || matches!(spec.handler, Handler::Script(_)) {
            let plain = is_plain(spec.name, request) || self.is_done(partition);
            self.route_write(partition, plain)
        } else {
            self.route_read(partition)
        }?;
        let way = match way {
            Way::Here(partition, levels) if spec.name == UNIT => {
                let refresh = self.refreshes_unit(partition, request);
                Way::Here(partition, Levels { refresh, ..levels })
            }
            way => way,
        };
        match way {
            Way::Forward(partition, _) if self.session.forwarded => {
                // Whoever forwarded it has other routes: it will know better in a moment.
                tracing::debug!(%partition, "forwarded request for a partition that is not here");
                Err(MOVING)
            }
            Way::Forward(_, peer)
                if !self.session.proxied && self.node.config.load().redirect == Redirect::Moved =>
            {
                Err(self.moved(Slot::of(first), &peer))
            }
            way => Ok(way),
        }
    }

    /// Whether shard channels can be used at this node: at every one, unless clients find their way by themselves.
    ///
    /// # Errors
    /// They can't: they are used at other nodes, or not together.
    pub fn check_channels<'c>(
        &self,
        mut channels: impl Iterator<Item = &'c [u8]>,
    ) -> CommandResult {
        let is_anywhere = self.session.proxied || self.session.forwarded;
        if is_anywhere || self.node.config.load().redirect != Redirect::Moved {
            return Ok(());
        }
        let Some(slot) = channels.next().map(Slot::of) else {
            return Ok(());
        };
        if channels.any(|channel| Slot::of(channel) != slot) {
            return Err(CROSS_SLOT);
        }
        let partition = self.node.engine.store().layout().partition_of(slot);
        let (route, policy) = (self.routes.route(partition), self.policy());
        if route.is_local(&policy) {
            return Ok(());
        }
        match route.first_live(&policy) {
            Some(peer) => Err(self.moved(slot, peer)),
            None => Err(NO_REPLICAS_TO_READ),
        }
    }

    /// Whether this node knows that the request was executed: then it only has to answer.
    pub fn is_done(&self, partition: PartitionId) -> bool {
        let operation = self.session.operation.as_ref();
        operation.is_some_and(|operation| {
            let partition = self.node.engine.store().lock(partition);
            matches!(partition.operation(operation.id), Known::Done(_))
        })
    }

    fn policy(&self) -> Policy {
        let mut policy = self.routes.policy(self.session.database);
        // The server's, where it says nothing.
        policy.durability = Some(self.replication.durability_of(&policy));
        policy
    }

    fn route_read(&self, partition: PartitionId) -> Result<Way, CommandError> {
        let (route, policy) = (self.routes.route(partition), self.policy());
        let consistency = &self.session.consistency;
        let is_local = route.is_local(&policy);
        if is_local && consistency.local_reads && consistency.read.is_none() {
            return Ok(Way::Here(partition, Levels::default()));
        }
        if !is_local {
            let live = route.first_live(&policy).cloned();
            return live
                .map(|peer| Way::Forward(partition, peer))
                .ok_or(NO_REPLICAS_TO_READ);
        }
        let quorum = route.read_quorum(&policy, consistency.read);
        if quorum.need <= 1 {
            return Ok(Way::Here(partition, Levels::default()));
        }
        if !routes::is_available(&quorum, &self.replication.peers) {
            return Err(NO_REPLICAS_TO_READ);
        }
        let levels = Levels {
            read: Some(quorum),
            ..Levels::default()
        };
        Ok(Way::Here(partition, levels))
    }

    /// Whether a transaction first has what this node knows of its keys compared with others: it is to see what they have
    /// acknowledged, as a read of each key would, and must see it where keys were watched.
    fn refreshes_unit(&self, partition: PartitionId, request: Request<'_>) -> bool {
        let route = self.routes.route(partition);
        self.session.refreshed.is_none()
            && (self.reads_a_quorum(route, &self.policy()) || is_watching(request))
    }

    /// What will be compared by the replica that would write is read there, and agreed on with a majority: whoever
    /// reads after that sees no older state.
    fn route_seen(&self, partition: PartitionId) -> Result<Way, CommandError> {
        let way = self.route_write(partition, false)?;
        let Way::Here(partition, _) = way else {
            return Ok(way);
        };
        let one = crate::topology::Quorum::Count(1);
        let is_agreed = self.session.consistency.read == Some(one);
        let quorum = self.refresh_quorum(partition, self.session.database);
        let levels = Levels {
            read: (!is_agreed && quorum.need > 1).then_some(quorum),
            ..Levels::default()
        };
        Ok(Way::Here(partition, levels))
    }

    fn route_write(&self, partition: PartitionId, plain: bool) -> Result<Way, CommandError> {
        let (route, policy) = (self.routes.route(partition), self.policy());
        if !route.is_local(&policy) {
            let live = route.first_live(&policy).cloned();
            return live
                .map(|peer| Way::Forward(partition, peer))
                .ok_or(NO_REPLICAS);
        }
        if !plain
            && !self.session.forwarded
            && let Some(first) = route.first_live(&policy)
            && first.index != 0
        {
            return Ok(Way::Forward(partition, first.clone()));
        }
        let mut write = self.write_quorums(route, &policy);
        let peers = &self.replication.peers;
        if !write
            .iter()
            .all(|quorum| routes::is_available(quorum, peers))
        {
            return Err(NO_REPLICAS);
        }
        if self.session.refreshed == Some(false) {
            // Nobody could be asked what this node has missed.
            return Err(NO_REPLICAS);
        }
        let is_consistent = self.reads_a_quorum(route, &policy);
        if is_consistent
            && let Some(first) = route.first_live(&policy).filter(|first| first.index != 0)
        {
            // It executes the next read-modify-write without asking others, so it has to know. Another node may not hear it
            // yet, and have sent even a read-modify-write here.
            write.push(Quorum::if_heard(first.bit()));
        }
        let may_have_missed = || {
            let replication = self.replication;
            replication.is_behind(partition)
                || replication.pulse.is_still()
                || !route.is_led_here(&policy)
        };
        let levels = Levels {
            write,
            read: None,
            refresh: !plain
                && is_consistent
                && self.session.refreshed.is_none()
                && may_have_missed(),
        };
        Ok(Way::Here(partition, levels))
    }

    /// Whether reads ask other replicas; then read-modify-writes do too, when this node may have missed something.
    fn reads_a_quorum(&self, route: &Route, policy: &Policy) -> bool {
        route
            .read_quorum(policy, self.session.consistency.read)
            .need
            > 1
    }

    fn write_quorums(&self, route: &Route, policy: &Policy) -> WriteQuorums {
        route.write_quorums(policy, self.session.consistency.write)
    }

    /// The quorums of a write that concerns a whole partition, which this node coordinates.
    ///
    /// # Errors
    /// Too few replicas are live.
    pub fn partition_write(&self, partition: PartitionId) -> Result<WriteQuorums, CommandError> {
        match self.route_write(partition, true)? {
            Way::Here(_, levels) => Ok(levels.write),
            _ => Err(MOVING),
        }
    }

    /// The quorum that must agree with what this node knows of a partition's keys, before it changes them.
    pub fn refresh_quorum(&self, partition: PartitionId, database: DatabaseId) -> Quorum {
        let mut policy = self.routes.policy(database);
        policy.read_quorum = crate::topology::Quorum::Majority;
        self.routes.route(partition).read_quorum(&policy, None)
    }

    fn moved(&self, slot: Slot, peer: &Peer) -> CommandError {
        let member = self.routes.topology.members.get(&peer.id);
        match member {
            Some(member) => {
                CommandError::Bytes(format!("MOVED {slot} {}", member.address).into_bytes())
            }
            None => MOVING,
        }
    }
}

/// Commands whose keys may be in several partitions: each part is executed by itself.
fn is_divisible(name: &str) -> bool {
    matches!(
        name,
        "mget" | "mset" | "del" | "unlink" | "exists" | "touch"
    )
}

/// Whether a write's effect does not depend on what is there, so that any replica may coordinate it, and executing
/// it twice is as good as once.
pub fn is_plain(name: &str, request: Request<'_>) -> bool {
    match name {
        "set" => request.iter().skip(3).all(|option| !is_conditional(option)),
        "setex" | "psetex" | "mset" | "del" | "unlink" | "hset" | "hmset" | "hdel" | "zrem"
        | "flushall" | "flushdb" => true,
        // Options come first, and none that is there is without consequence.
        "zadd" | "geoadd" => request.get(2).is_some_and(is_number),
        _ => false,
    }
}

/// Whether a command is executed where writes are. What notes something on a single node at most, as `PFCOUNT` does, is
/// a read.
fn is_write(flags: Flags) -> bool {
    flags.contains(Flags::WRITE)
        || flags.contains(Flags::MAY_REPLICATE) && !flags.contains(Flags::READONLY)
}

/// Whether an argument is a number, not an option.
fn is_number(argument: &[u8]) -> bool {
    coterie_protocol::text::parse_f64(argument).is_some()
}

/// Options of `SET` that look at the old value.
fn is_conditional(option: &[u8]) -> bool {
    [b"NX".as_slice(), b"XX", b"GET", b"KEEPTTL"]
        .iter()
        .any(|word| option.eq_ignore_ascii_case(word))
}
