//! What agreement costs among many nodes: numbers for the documentation.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use coterie_protocol::DatabaseId;

use super::cluster::{Cluster, until};
use crate::topology::{Change, Policy, Quorum, Timing};

const NODES: u8 = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints measurements"]
async fn sixty_four_nodes() {
    let mut cluster = Cluster::new();
    cluster.timing = Timing::default();
    let started = Instant::now();
    cluster.create(1).await;
    for number in 2..=NODES {
        cluster.join(number, 1).await;
    }
    cluster.until_voters(5).await;
    println!("{NODES} nodes joined in {:.1?}", started.elapsed());
    cluster.agreed().await;
    at_rest(&cluster).await;
    changes(&cluster).await;
    leader_dies(&cluster).await;
    cluster.shutdown().await;
}

async fn at_rest(cluster: &Cluster) {
    const SECONDS: u64 = 10;
    let count = || {
        let messages = cluster.net.messages.load(Ordering::Relaxed);
        (messages, cluster.net.bytes.load(Ordering::Relaxed))
    };
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = count();
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let after = count();
    let rate = |total: u64| total as f64 / SECONDS as f64 / f64::from(NODES);
    println!(
        "at rest: {:.1} messages and {:.0} bytes per node and second",
        rate(after.0 - before.0),
        rate(after.1 - before.1)
    );
}

async fn changes(cluster: &Cluster) {
    let mut proposed = Vec::new();
    let mut everywhere = Vec::new();
    for turn in 0..50u8 {
        let policy = Policy {
            read_quorum: Quorum::Count(1 + turn % 2),
            ..Policy::default()
        };
        let change = Change::SetPolicy {
            database: DatabaseId(5),
            policy,
        };
        let started = Instant::now();
        let handle = cluster.handle(1 + turn % NODES);
        let epoch = handle.propose(change).await.unwrap();
        proposed.push(started.elapsed());
        let handles = cluster.handles();
        until("the epoch everywhere", || {
            handles.iter().all(|handle| handle.current().epoch >= epoch)
        })
        .await;
        everywhere.push(started.elapsed());
    }
    for (what, mut times) in [("agreed", proposed), ("known by all", everywhere)] {
        times.sort();
        let (half, most) = (times[times.len() / 2], times[times.len() - 1]);
        println!("a change is {what} in {half:.1?} (median), {most:.1?} (longest of 50)");
    }
}

async fn leader_dies(cluster: &Cluster) {
    let leader = cluster.leader().await;
    let started = Instant::now();
    cluster.kill(leader).await;
    let other = cluster.handle(1 + leader % NODES);

    let policy = Policy::default();
    let database = DatabaseId(6);
    other
        .propose(Change::SetPolicy { database, policy })
        .await
        .unwrap();
    println!(
        "after the leader's death the next change takes {:.1?}",
        started.elapsed()
    );
}
