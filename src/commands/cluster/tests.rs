//! Made-up clusters as clients are told of them.

use std::net::Ipv4Addr;

use coterie_protocol::{Epoch, PartitionId, ReplyWriter, RespVersion};

use super::layout::{Endpoints, ranges, reachable};
use super::{nodes, ranges as replies, refusal, summary, table};
use crate::cluster_view::made_up::{id, topology, view};
use crate::cluster_view::{ClusterView, Liveness};
use crate::topology::{Move, Step};

const ENDPOINTS: Endpoints = Endpoints {
    local: std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)),
};

fn set_liveness(view: &mut ClusterView, number: usize, liveness: Liveness) {
    let peer = view.peers.get_mut(&id(number)).unwrap();
    peer.liveness = liveness;
    peer.connected = liveness == Liveness::Up;
}

/// Slots, and the numbers of the nodes that hold them.
fn told(view: &ClusterView) -> Vec<(u16, u16, Vec<u8>)> {
    let numbers = |range: &super::layout::Range| {
        let nodes = reachable(view, &range.replicas);
        nodes.iter().map(|id| id.0[0]).collect()
    };
    ranges(view)
        .iter()
        .map(|range| (range.first, range.last, numbers(range)))
        .collect()
}

fn assert_covered(view: &ClusterView) {
    let mut next = 0;
    for range in ranges(view) {
        assert_eq!(range.first, next);
        assert!(range.last >= range.first && !range.replicas.is_empty());
        next = range.last + 1;
    }
    assert_eq!(next, coterie_protocol::slot::SLOTS);
}

#[test]
fn adjacent_partitions_with_equal_replicas_are_one_range() {
    let three = view(3, 256);
    assert_eq!(
        told(&three),
        [
            (0, 86 * 64 - 1, vec![1, 2, 3]),
            (86 * 64, 171 * 64 - 1, vec![2, 3, 1]),
            (171 * 64, 16383, vec![3, 1, 2]),
        ]
    );
    let five = view(5, 16);
    assert_eq!(told(&five).len(), 5);
    assert_covered(&three);
    assert_covered(&five);
    assert_covered(&view(1, 1));
    assert_covered(&view(2, 16384));
}

#[test]
fn the_living_are_asked_first_and_the_dead_not_at_all() {
    let mut three = view(3, 4);
    set_liveness(&mut three, 2, Liveness::Suspect);
    assert_eq!(three.replicas(PartitionId(2)), [id(3), id(1), id(2)]);
    assert_eq!(told(&three)[0].2, [1, 3, 2]);
    set_liveness(&mut three, 2, Liveness::Down);
    assert_eq!(
        told(&three),
        [(0, 8191, vec![1, 3]), (8192, 16383, vec![3, 1])]
    );
    assert_covered(&three);
    // Whoever asks for the partitions of dead nodes is told of them, rather than of nobody.
    let mut five = view(5, 8);
    for number in 2..=5 {
        set_liveness(&mut five, number, Liveness::Down);
    }
    assert!(told(&five).iter().any(|(.., nodes)| nodes[..] == [2, 3, 4]));
    assert_covered(&five);
}

#[test]
fn a_moving_partition_is_where_reads_go() {
    let mut three = view(3, 4);
    let to = vec![id(2), id(3)];
    for (step, first) in [
        (Step::Planned, 1),
        (Step::WriteBothReadOld, 1),
        (Step::WriteBothReadNew, 2),
    ] {
        let change = Move {
            to: to.clone(),
            step,
            since: Epoch(5),
        };
        topology(&mut three).placements[0].change = Some(change);
        assert_eq!(three.replicas(PartitionId(0))[0], id(first), "{step:?}");
        assert!(summary::text(&three).contains("\r\ncluster_moving_partitions:1\r\n"));
        assert_covered(&three);
    }
}

#[test]
fn every_member_is_a_line_of_nodes() {
    let mut three = view(3, 4);
    set_liveness(&mut three, 3, Liveness::Down);
    three.peers.get_mut(&id(3)).unwrap().ping_sent_ms = 77;
    set_liveness(&mut three, 2, Liveness::Suspect);
    let members = &mut topology(&mut three).members;
    members.get_mut(&id(2)).unwrap().hostname = Some("b.example".into());
    let text = nodes::lines(&three, ENDPOINTS);
    let expected = [
        format!(
            "{} 10.0.0.1:7000@17000 myself,master - 0 0 5 connected 0-16383\n",
            id(1)
        ),
        format!(
            "{} 10.0.0.2:7000@17000,b.example master,fail? - 0 1700000000000 5 disconnected\n",
            id(2)
        ),
        format!(
            "{} 10.0.0.3:7000@17000 master,fail - 77 1700000000000 5 disconnected\n",
            id(3)
        ),
    ];
    assert_eq!(text, expected.concat());
    let replicas = nodes::replicas(&three, ENDPOINTS, id(1));
    assert_eq!(replicas.len(), 2);
    assert!(
        replicas[0].contains(&format!(" slave,fail? {} 0 ", id(1))),
        "{replicas:?}"
    );
    assert_eq!(
        nodes::replicas(&three, ENDPOINTS, id(2)),
        Vec::<String>::new()
    );
    // One slot is written without its end.
    let lines = nodes::lines(&view(2, 16384), ENDPOINTS);
    assert!(lines.contains(" connected 0-8191\n"), "{lines}");
    let mut odd = view(2, 16384);
    topology(&mut odd).placements[5].replicas.reverse();
    let lines = nodes::lines(&odd, ENDPOINTS);
    assert!(lines.contains(" connected 5 8192-16383\n"), "{lines}");
}

#[test]
fn an_address_is_never_empty() {
    let mut three = view(3, 4);
    let any = "0.0.0.0:7000".parse().unwrap();
    let members = &mut topology(&mut three).members;
    members.get_mut(&id(1)).unwrap().address = any;
    members.get_mut(&id(1)).unwrap().internal = any;
    members.get_mut(&id(2)).unwrap().address = any;
    let ip = |number| {
        ENDPOINTS
            .ip(&three.topology.members[&id(number)])
            .to_string()
    };
    assert_eq!([ip(1), ip(2), ip(3)], ["192.0.2.9", "10.0.0.2", "10.0.0.3"]);
}

fn written(version: RespVersion, write: impl FnOnce(&mut ReplyWriter<'_>)) -> String {
    let mut out = Vec::new();
    write(&mut ReplyWriter::new(&mut out, version));
    String::from_utf8(out).unwrap()
}

#[test]
fn slots_have_the_shape_that_clients_parse() {
    let mut one = view(1, 4);
    let name = Some("a.example".to_owned());
    let node = format!("*4\r\n$8\r\n10.0.0.1\r\n:7000\r\n$40\r\n{}\r\n", id(1));
    let head = "*1\r\n*3\r\n:0\r\n:16383\r\n";
    let slots = |view: &ClusterView, version| {
        written(version, |reply| {
            replies::write_slots(view, ENDPOINTS, reply)
        })
    };
    assert_eq!(
        slots(&one, RespVersion::Resp2),
        format!("{head}{node}*0\r\n")
    );
    assert_eq!(
        slots(&one, RespVersion::Resp3),
        format!("{head}{node}%0\r\n")
    );
    topology(&mut one).members.get_mut(&id(1)).unwrap().hostname = name;
    let metadata = "*2\r\n$8\r\nhostname\r\n$9\r\na.example\r\n";
    assert_eq!(
        slots(&one, RespVersion::Resp2),
        format!("{head}{node}{metadata}")
    );
}

#[test]
fn a_shard_is_all_slots_with_the_same_replicas() {
    let mut three = view(3, 4);
    let replicas = three.topology.placements[0].replicas.clone();
    let newcomer = three.topology.members[&id(1)].clone();
    let changed = topology(&mut three);
    changed.placements[3].replicas = replicas;
    changed.members.insert(id(4), newcomer);
    set_liveness(&mut three, 3, Liveness::Down);
    let text = written(RespVersion::Resp3, |reply| {
        replies::write_shards(&three, ENDPOINTS, reply);
    });
    assert!(
        text.starts_with("*3\r\n%2\r\n$5\r\nslots\r\n*4\r\n:0\r\n:8191\r\n:12288\r\n:16383\r\n")
    );
    assert_eq!(text.matches("master").count(), 3, "one a shard");
    assert_eq!(
        text.matches("$4\r\nfail\r\n").count(),
        2,
        "it is in both shards"
    );
    assert!(text.contains("$5\r\nslots\r\n*0\r\n"), "of the newcomer");
}

#[test]
fn the_state_tells_whether_slots_can_be_written() {
    let field = |view: &ClusterView, name: &str| {
        let text = summary::text(view);
        let mut lines = text.split("\r\n");
        let line = lines.find(|line| line.split(':').next() == Some(name));
        line.map(|line| line.split(':').nth(1).unwrap().to_owned())
            .unwrap()
    };
    let state = |view: &ClusterView| {
        ["state", "slots_ok", "slots_pfail", "slots_fail"]
            .map(|name| field(view, &format!("cluster_{name}")))
    };
    let mut three = view(3, 4);
    assert_eq!(state(&three), ["ok", "16384", "0", "0"]);
    assert_eq!(field(&three, "cluster_known_nodes"), "3");
    assert_eq!(field(&three, "cluster_size"), "3");
    assert_eq!(field(&three, "cluster_slots_assigned"), "16384");
    assert_eq!(field(&three, "cluster_topology_epoch"), "5");
    set_liveness(&mut three, 2, Liveness::Down);
    assert_eq!(state(&three), ["ok", "16384", "0", "0"]);
    assert_eq!(field(&three, "cluster_nodes_down"), "1");
    set_liveness(&mut three, 3, Liveness::Suspect);
    assert_eq!(state(&three), ["ok", "0", "16384", "0"]);
    set_liveness(&mut three, 3, Liveness::Down);
    assert_eq!(state(&three), ["fail", "0", "0", "16384"]);
    // Of five nodes, two dead ones make a majority of some partitions only.
    let mut five = view(5, 4);
    set_liveness(&mut five, 2, Liveness::Down);
    set_liveness(&mut five, 3, Liveness::Down);
    assert_eq!(state(&five)[0], "fail");
    assert_eq!(state(&five)[1], "8192");
    // One replica that is enough may be any.
    topology(&mut five).default_policy.write_quorum = crate::topology::Quorum::Count(1);
    assert_eq!(state(&five), ["ok", "16384", "0", "0"]);
}

#[test]
fn what_is_refused_tells_what_to_do() {
    let refused = table::COMMANDS[0].subcommands.iter();
    let refused = refused.filter(|spec| spec.docs.summary.starts_with("Always an error"));
    let mut words: Vec<&str> = refused
        .map(|spec| refusal::words(spec.name.split('|').nth(1).unwrap()))
        .collect();
    assert_eq!(words.len(), 14);
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), 8);
}
