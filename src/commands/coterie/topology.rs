//! `COTERIE.TOPOLOGY`: who holds which partition, and what moves, for programs.

use std::collections::BTreeMap;

use coterie_protocol::{NodeId, ReplyWriter};

use super::policy;
use crate::cluster_view::{ClusterView, Liveness};
use crate::commands::{CommandResult, Control};
use crate::topology::{Member, MemberState, Step};

pub fn topology(call: &mut Control<'_, '_>) -> CommandResult {
    write(&ClusterView::of(call.node), call.reply);
    Ok(())
}

/// Writes everything. Partitions name their nodes by the index in the list of members; a node that left is -1.
pub(super) fn write(view: &ClusterView, reply: &mut ReplyWriter<'_>) {
    let topology = &view.topology;
    reply.map(9);
    reply.bulk(b"cluster");
    reply.bulk_display(topology.cluster);
    reply.bulk(b"epoch");
    reply.integer(topology.epoch.0 as i64);
    reply.bulk(b"own");
    reply.bulk_display(view.own);
    reply.bulk(b"leader");
    match view.leader {
        Some(leader) => reply.bulk_display(leader),
        None => reply.null(),
    }
    reply.bulk(b"quorum");
    reply.boolean(view.has_quorum);
    reply.bulk(b"members");
    write_members(view, reply);
    let members = topology.members.keys();
    let indices: BTreeMap<NodeId, i64> = members.copied().zip(0..).collect();
    reply.bulk(b"partitions");
    reply.array(topology.placements.len());
    for placement in &topology.placements {
        write_indices(&indices, &placement.replicas, reply);
    }
    let placements = topology.placements.iter().enumerate();
    let moves = placements.filter_map(|(index, it)| Some((index, it.change.as_ref()?)));
    reply.bulk(b"moves");
    reply.array(view.moving());
    for (partition, change) in moves {
        reply.map(3);
        reply.bulk(b"partition");
        reply.integer(partition as i64);
        reply.bulk(b"to");
        write_indices(&indices, &change.to, reply);
        reply.bulk(b"step");
        reply.bulk(match change.step {
            Step::Planned => b"planned",
            Step::WriteBothReadOld => b"write-both-read-old",
            Step::WriteBothReadNew => b"write-both-read-new",
        });
    }
    reply.bulk(b"policies");
    write_policies(view, reply);
}

fn write_indices(indices: &BTreeMap<NodeId, i64>, ids: &[NodeId], reply: &mut ReplyWriter<'_>) {
    reply.array(ids.len());
    for id in ids {
        reply.integer(indices.get(id).copied().unwrap_or(-1));
    }
}

/// The policies of databases that have one of their own; first, without a database, that of the others.
fn write_policies(view: &ClusterView, reply: &mut ReplyWriter<'_>) {
    reply.array(1 + view.topology.policies.len());
    reply.map(policy::FIELDS);
    policy::write_fields(&view.topology.default_policy, reply);
    for (database, own) in &view.topology.policies {
        reply.map(1 + policy::FIELDS);
        reply.bulk(b"database");
        reply.integer(database.0.into());
        policy::write_fields(own, reply);
    }
}

/// Writes the list of members, by id.
pub(super) fn write_members(view: &ClusterView, reply: &mut ReplyWriter<'_>) {
    reply.array(view.topology.members.len());
    for (id, member) in &view.topology.members {
        write_member(view, *id, member, reply);
    }
}

fn write_member(view: &ClusterView, id: NodeId, member: &Member, reply: &mut ReplyWriter<'_>) {
    let peer = view.peer(id);
    reply.map(10);
    reply.bulk(b"id");
    reply.bulk_display(id);
    reply.bulk(b"address");
    reply.bulk_display(member.address);
    reply.bulk(b"internal");
    reply.bulk_display(member.internal);
    reply.bulk(b"hostname");
    reply.bulk(member.hostname.as_deref().unwrap_or_default().as_bytes());
    reply.bulk(b"zone");
    reply.bulk(member.zone.as_bytes());
    reply.bulk(b"weight");
    reply.integer(member.weight.into());
    reply.bulk(b"actor");
    reply.integer(member.actor.0.into());
    reply.bulk(b"state");
    reply.bulk(match member.state {
        MemberState::Normal => b"normal",
        MemberState::Draining => b"draining".as_slice(),
        MemberState::Replaced(_) => b"replaced",
    });
    reply.bulk(b"liveness");
    reply.bulk(match peer.liveness {
        Liveness::Up => b"up",
        Liveness::Suspect => b"suspect",
        Liveness::Down => b"down",
    });
    reply.bulk(b"pong-received");
    reply.integer(peer.pong_received_ms as i64);
}
