//! Agreement among nodes that come, go, die and are cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coterie_protocol::{DatabaseId, Epoch};

use super::cluster::{CLUSTER, Cluster, PARTITIONS, until};
use super::{describe, node};
use crate::topology::{
    Change, JoinError, Policy, ProposeError, Quorum, Refusal, StartError, TopologyHandle,
};

fn policy(database: u16, quorum: u8) -> Change {
    Change::SetPolicy {
        database: DatabaseId(database),
        policy: Policy {
            read_quorum: Quorum::Count(1 + quorum % 3),
            ..Policy::default()
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_is_a_cluster_and_comes_back_from_its_disk() {
    let cluster = Cluster::new();
    let handle = cluster.create(1).await;
    let mut watch = handle.watch();
    let epoch = handle.propose(policy(3, 0)).await.unwrap();
    assert_eq!(handle.current().epoch, epoch);
    assert!(watch.has_changed().unwrap());
    assert_eq!(
        watch.borrow_and_update().policy(DatabaseId(3)).read_quorum,
        Quorum::Count(1)
    );
    // The same again is no change.
    assert_eq!(handle.propose(policy(3, 0)).await, Ok(epoch));
    let refused = handle.propose(Change::Drain { node: node(1) }).await;
    assert_eq!(
        refused,
        Err(ProposeError::Refused(Refusal::LastMember(node(1))))
    );
    let status = handle.status();
    assert!(status.has_quorum && status.voters == [node(1)]);
    let before = handle.current();
    cluster.kill(1).await;

    let (options, wire) = (cluster.options(1), cluster.wire(1));
    let again = TopologyHandle::create(
        options,
        wire,
        CLUSTER,
        PARTITIONS,
        describe(1, "a"),
        Policy::default(),
    )
    .await;
    assert!(matches!(again, Err(StartError::Occupied(_))));
    let handle = cluster.restart(1).await;
    assert_eq!(handle.current(), before);
    let next = handle.propose(policy(4, 1)).await.unwrap();
    assert_eq!(next, Epoch(epoch.0 + 1));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_join_one_after_the_other_while_changes_are_made() {
    let cluster = Arc::new(Cluster::of(1).await);
    let stop = Arc::new(AtomicBool::new(false));
    let proposals = {
        let (handle, stop) = (cluster.handle(1), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut made = 0u64;
            while !stop.load(Ordering::Relaxed) {
                handle.propose(policy(1, made as u8)).await.unwrap();
                made += 1;
            }
            made
        })
    };
    for number in 2..=7 {
        cluster.join(number, number - 1).await;
        let voters = [1, 1, 3, 3, 5, 5, 5][usize::from(number) - 1];
        cluster.until_voters(voters).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(proposals.await.unwrap() > 0);
    // Any node can have something changed.
    for number in 1..=7 {
        cluster
            .handle(number)
            .propose(policy(u16::from(number), 2))
            .await
            .unwrap();
    }
    let topology = cluster.agreed().await;
    assert_eq!(topology.members.len(), 7);
    let mut actors: Vec<u16> = topology
        .members
        .values()
        .map(|member| member.actor.0)
        .collect();
    actors.sort();
    assert_eq!(actors, (1..=7).collect::<Vec<_>>());
    Arc::into_inner(cluster).unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_dies_and_comes_back() {
    let cluster = Cluster::of(3).await;
    cluster.until_voters(3).await;
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    let survivor = 1 + leader % 3;
    let change = policy(2, 1);
    let epoch = cluster.handle(survivor).propose(change).await.unwrap();
    assert_ne!(cluster.leader().await, leader);
    let handle = cluster.restart(leader).await;
    until("the old leader to follow", || {
        handle.current().epoch >= epoch
    })
    .await;
    cluster.agreed().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_keeps_what_it_knows_and_changes_nothing() {
    let cluster = Cluster::of(5).await;
    cluster.until_voters(5).await;
    let leader = cluster.leader().await;
    let other = 1 + leader % 5;
    let minority = [leader, other];
    let majority: Vec<u8> = (1..=5).filter(|n| !minority.contains(n)).collect();
    let before = cluster.agreed().await;
    cluster.cut(&minority, &majority);
    let cut_off = cluster.handle(other);
    let vain = tokio::spawn({
        let handle = cut_off.clone();
        async move { handle.propose(policy(9, 0)).await }
    });
    let epoch = cluster
        .handle(majority[0])
        .propose(policy(8, 0))
        .await
        .unwrap();
    assert!(epoch > before.epoch);
    assert!(matches!(
        vain.await.unwrap(),
        Err(ProposeError::Unavailable(_))
    ));
    assert_eq!(cut_off.current().policies.get(&DatabaseId(9)), None);
    assert_eq!(cut_off.current().members, before.members);
    let old_leader = cluster.handle(leader);
    until("the old leader to notice", || {
        !old_leader.status().has_quorum
    })
    .await;
    cluster.heal();
    until("the minority to follow", || {
        cut_off.current().epoch >= epoch
    })
    .await;
    cluster.agreed().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_voter_is_replaced_by_a_node_that_lives() {
    let cluster = Cluster::of(4).await;
    cluster.until_voters(3).await;
    let voters = cluster.handle(1).status().voters;
    let leader = cluster.leader().await;
    let dead = voters.iter().find(|id| id.0[0] != leader).unwrap().0[0];
    cluster.kill(dead).await;
    let handle = cluster.handle(leader);
    until("another voter", || {
        let voters = handle.status().voters;
        voters.len() == 3 && !voters.contains(&node(dead))
    })
    .await;
    handle.propose(policy(1, 1)).await.unwrap();
    // It is a member still, and learns again when it is back.
    let returned = cluster.restart(dead).await;
    until("its return", || {
        returned.current().epoch == handle.current().epoch
    })
    .await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_restart_at_once_and_know_what_they_knew() {
    let cluster = Cluster::of(3).await;
    cluster.until_voters(3).await;
    let before = cluster.agreed().await;
    for number in 1..=3 {
        cluster.kill(number).await;
    }
    for number in 1..=3 {
        let handle = cluster.restart(number).await;
        // Before anyone else is there.
        assert_eq!(handle.current().members, before.members);
    }
    cluster.handle(2).propose(policy(1, 1)).await.unwrap();
    cluster.agreed().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_log_is_cut_and_newcomers_get_a_snapshot() {
    let cluster = Cluster::of(1).await;
    let handle = cluster.handle(1);
    for turn in 0..1100u32 {
        handle.propose(policy(1, turn as u8)).await.unwrap();
    }
    cluster.kill(1).await;
    let handle = cluster.restart(1).await;
    let second = cluster.join(2, 1).await;
    until("the newcomer to follow", || {
        second.status().applied_index >= handle.status().applied_index
            && second.status().leader.is_some()
    })
    .await;
    assert_eq!(cluster.agreed().await.members.len(), 2);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_fit_is_not_let_in() {
    let cluster = Cluster::of(2).await;
    let before = cluster.agreed().await;
    let mut other_size = Cluster::request(3, "a");
    other_size.partitions = 256;
    let mut newer = Cluster::request(3, "a");
    newer.version += 1;
    let mut copied = Cluster::request(2, "a");
    copied.description = describe(9, "a");
    let mut same_address = Cluster::request(3, "a");
    same_address.description = describe(1, "a");
    for (request, expected) in [
        (other_size, "the node has 256 partitions, this cluster 16"),
        (
            newer,
            "the node speaks version 2 of the join protocol, this cluster version 1",
        ),
        (copied, "was its data directory copied?"),
        (same_address, "address 127.0.0.1:7001 is that of node"),
    ] {
        let error = cluster.ask_to_join(&request, 2).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(cluster.agreed().await.members, before.members);
    for garbage in [&b""[..], b"\x01", &[0xff; 64]] {
        let answer = cluster.handle(1).handle_join(garbage).await;
        assert!(crate::topology::decode_answer(&answer).is_err());
        cluster.handle(1).handle_raft(node(9), garbage).await;
        cluster.handle(1).handle_topology(node(9), garbage).await;
    }
    let lost_vote = cluster.ask_to_join(&Cluster::request(1, "a"), 2).await;
    assert!(
        matches!(lost_vote, Err(JoinError::Refused(_))),
        "{lost_vote:?}"
    );
    assert_eq!(cluster.agreed().await.members, before.members);
    cluster.shutdown().await;
}
