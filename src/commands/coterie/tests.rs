//! The commands beyond Redis, in a made-up cluster.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use coterie_protocol::{DatabaseId, Epoch, Frame, OwnedRequest, RespVersion, frame};

use super::{consistency, node, policy};
use crate::clients::Client;
use crate::cluster_view::made_up::{self, MadeUp, id, topology};
use crate::cluster_view::{ClusterView, Proposal};
use crate::commands::perform;
use crate::config::Config;
use crate::node::Node;
use crate::session::{Consistency, Session};
use crate::topology::{Move, Policy, Quorum, Step};
use crate::wal::Durability;

/// A node and a session on it.
struct Server {
    node: Arc<Node>,
    session: Session,
    _directory: tempfile::TempDir,
}

impl Server {
    fn new(config: Config) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let node = Node::made_up(directory.path(), config);
        let client = Client::new(1, "a:1".into(), "127.0.0.1:7000".into(), true, -1, 0);
        let mut session = Session::new(client.into(), true);
        session.resp = RespVersion::Resp3;
        Server {
            node,
            session,
            _directory: directory,
        }
    }

    fn in_cluster(view: ClusterView) -> (Server, Arc<parking_lot::Mutex<Vec<Proposal>>>) {
        let server = Server::new(Config::default());
        let proposals = Arc::default();
        let cluster = MadeUp {
            view,
            proposals: Arc::clone(&proposals),
            acknowledged: AtomicUsize::new(2),
        };
        assert!(server.node.cluster.set(Arc::new(cluster)).is_ok());
        (server, proposals)
    }

    fn run(&mut self, line: &str) -> Vec<u8> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let request = OwnedRequest::new(&words);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(perform(&self.node, &mut self.session, &request))
    }

    fn text(&mut self, line: &str) -> String {
        String::from_utf8(self.run(line)).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.node.engine.close();
    }
}

#[test]
fn clients_see_a_cluster_when_it_has_two_members_or_is_called_one() {
    let mut config = Config::default();
    let mut alone = Server::new(config.clone());
    assert!(alone.text("HELLO").contains("standalone"));
    assert!(alone.text("INFO cluster").contains("cluster_enabled:0"));
    config.cluster_enabled = true;
    let mut called = Server::new(config);
    assert!(called.text("HELLO").contains("$7\r\ncluster\r\n"));
    assert!(called.text("INFO server").contains("redis_mode:cluster"));
    let (mut one, _) = Server::in_cluster(made_up::view(1, 4));
    assert!(one.text("INFO cluster").contains("cluster_enabled:0"));
    let (mut three, _) = Server::in_cluster(made_up::view(3, 4));
    assert!(three.text("INFO cluster").contains("cluster_enabled:1"));
    assert!(three.text("HELLO").contains("$7\r\ncluster\r\n"));
    assert_eq!(three.text("CLUSTER MYID"), format!("$40\r\n{}\r\n", id(1)));
    assert!(
        three
            .text("CLUSTER COUNT-FAILURE-REPORTS x")
            .starts_with("-ERR Unknown node x")
    );
    assert_eq!(
        three.text(&format!("CLUSTER COUNT-FAILURE-REPORTS {}", id(2))),
        ":0\r\n"
    );
    assert!(three.text("CLUSTER LINKS").starts_with("*2\r\n%6\r\n"));
}

#[test]
fn changes_are_proposed() {
    let (mut server, proposals) = Server::in_cluster(made_up::view(3, 4));
    assert_eq!(server.text("COTERIE.NODE DRAIN 0303"), ":6\r\n");
    assert_eq!(
        server.text(&format!("COTERIE.NODE REMOVE {}", id(3))),
        ":6\r\n"
    );
    assert_eq!(server.text("COTERIE.NODE REPLACE 0202 0303"), ":6\r\n");
    assert_eq!(
        server.text("COTERIE.POLICY SET 3 replicas 1 hinted_handoff yes"),
        ":6\r\n"
    );
    assert_eq!(
        server.text("COTERIE.POLICY SET default replicas 1"),
        ":6\r\n"
    );
    for wrong in [
        "COTERIE.NODE DRAIN 0404",
        "COTERIE.NODE DRAIN 03",
        "COTERIE.NODE REPLACE 0202 0202",
        "COTERIE.POLICY SET 16 replicas 1",
        "COTERIE.POLICY SET 0 replicas 0",
        "COTERIE.POLICY SET 0 replicas 17",
        "COTERIE.POLICY SET 0 write_quorum none",
        "COTERIE.POLICY SET 0 replicas",
        "COTERIE.POLICY SET 0 sloppy_quorum 1",
        "COTERIE.POLICY SET 0 durability sometimes",
    ] {
        assert!(server.text(wrong).starts_with("-ERR "), "{wrong}");
    }
    let policy = Policy {
        replicas: 1,
        ..Policy::default()
    };
    let expected = [
        Proposal::Drain(id(3)),
        Proposal::Remove(id(3)),
        Proposal::Replace {
            old: id(2),
            new: id(3),
        },
        Proposal::SetPolicy(DatabaseId(3), policy),
        Proposal::SetDefaultPolicy(policy),
    ];
    assert_eq!(*proposals.lock(), expected);
    let mut alone = Server::new(Config::default());
    let refused = alone.text("COTERIE.POLICY SET 0 replicas 1");
    assert!(
        refused.starts_with("-ERR This node is no part of a cluster"),
        "{refused}"
    );
}

#[test]
fn an_abbreviated_id_names_one_node() {
    let mut view = made_up::view(3, 4);
    let twin = coterie_protocol::NodeId(std::array::from_fn(|index| if index < 3 { 3 } else { 9 }));
    let member = view.topology.members[&id(3)].clone();
    topology(&mut view).members.insert(twin, member);
    assert_eq!(node::member(&view, b"0202").unwrap(), id(2));
    assert_eq!(
        node::member(&view, twin.to_string().as_bytes()).unwrap(),
        twin
    );
    assert_eq!(node::member(&view, b"03030303").unwrap(), id(3));
    let error = node::member(&view, b"0303").unwrap_err();
    assert!(
        error.to_string().starts_with("ERR More than one"),
        "{error}"
    );
    assert!(node::member(&view, b"\xff\xff\xff\xff").is_err());
}

#[test]
fn consistency_is_the_connections_own() {
    let words = |text: &'static str| -> Vec<&[u8]> { text.split(' ').map(str::as_bytes).collect() };
    let none = Consistency::default();
    let both = consistency::chosen(none, &words("READ one write ALL")).unwrap();
    assert_eq!(both.read, Some(Quorum::Count(1)));
    assert_eq!(both.write, Some(Quorum::All));
    let read = consistency::chosen(both, &words("read 2")).unwrap();
    assert_eq!(
        (read.read, read.write),
        (Some(Quorum::Count(2)), Some(Quorum::All))
    );
    assert_eq!(consistency::chosen(read, &words("DEFAULT")).unwrap(), none);
    for wrong in [
        "READ",
        "READ 0",
        "READ most",
        "DELETE one",
        "DEFAULT READ one",
    ] {
        assert!(consistency::chosen(none, &words(wrong)).is_err(), "{wrong}");
    }
    let mut server = Server::new(Config::default());
    let shown = |read: &str, write: &str, local: &str| {
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let words = ["read", read, "write", write, "local-reads", local];
        format!("%3\r\n{}", words.map(bulk).concat())
    };
    assert_eq!(
        server.text("COTERIE.CONSISTENCY"),
        shown("default", "default", "no")
    );
    assert_eq!(server.text("COTERIE.CONSISTENCY READ majority"), "+OK\r\n");
    assert_eq!(server.text("READONLY"), "+OK\r\n");
    assert_eq!(
        server.text("COTERIE.CONSISTENCY"),
        shown("majority", "default", "yes")
    );
    assert_eq!(server.text("READWRITE"), "+OK\r\n");
    assert_eq!(
        server.text("COTERIE.CONSISTENCY"),
        shown("majority", "default", "no")
    );
    server.run("RESET");
    assert_eq!(server.session.consistency, none);
}

#[test]
fn a_policy_changes_in_what_is_named() {
    let words = |text: &'static str| -> Vec<&[u8]> { text.split(' ').map(str::as_bytes).collect() };
    let all = words(
        "replicas 5 write-quorum 2 READ_QUORUM one hinted_handoff no sloppy_quorum yes durability always",
    );
    let changed = policy::changed(Policy::default(), &all).unwrap();
    assert_eq!(
        changed,
        Policy {
            replicas: 5,
            write_quorum: Quorum::Count(2),
            read_quorum: Quorum::Count(1),
            hinted_handoff: false,
            sloppy_quorum: true,
            durability: Some(Durability::Always),
        }
    );
    let server_decides = policy::changed(changed, &words("durability default")).unwrap();
    assert_eq!(server_decides.durability, None);
    assert!(policy::changed(changed, &words("nosuch 1")).is_err());
    let mut config = Config::default();
    config.replicas = 2;
    let mut server = Server::new(config);
    let shown = server.text("COTERIE.POLICY GET 9");
    assert!(
        shown.starts_with("%6\r\n$8\r\nreplicas\r\n:2\r\n"),
        "{shown}"
    );
    assert!(
        server
            .text("COTERIE.POLICY GET 16")
            .starts_with("-ERR DB index")
    );
}

#[test]
fn programs_are_told_the_whole_topology() {
    let mut view = made_up::view(5, 8);
    let change = Move {
        to: vec![id(4), id(5)],
        step: Step::WriteBothReadOld,
        since: Epoch(5),
    };
    let changed = topology(&mut view);
    changed.placements[3].change = Some(change);
    changed.policies.insert(DatabaseId(2), Policy::default());
    let (mut server, _) = Server::in_cluster(view);
    let reply = server.run("COTERIE.TOPOLOGY");
    let Ok(Some((Frame::Map { data, .. }, length))) = frame::decode(&reply) else {
        panic!("{}", String::from_utf8_lossy(&reply));
    };
    assert_eq!((data.len(), length), (9, reply.len()));
    let text = String::from_utf8(reply).unwrap();
    let expected = "$5\r\nmoves\r\n*1\r\n%3\r\n$9\r\npartition\r\n:3\r\n$2\r\nto\r\n*2\r\n:3\r\n:4\r\n$4\r\nstep\r\n";
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains("$10\r\npartitions\r\n*8\r\n*3\r\n:0\r\n:1\r\n:2\r\n"),
        "{text}"
    );
    assert!(text.contains("$8\r\npolicies\r\n*2\r\n%6\r\n"), "{text}");
    assert!(
        server
            .text("COTERIE.NODE LIST")
            .starts_with("*5\r\n%10\r\n")
    );
}

#[test]
fn waiting_tells_how_many_have_it() {
    let (mut server, _) = Server::in_cluster(made_up::view(3, 4));
    assert_eq!(server.text("SET k v"), "+OK\r\n");
    assert!(server.session.last_write.is_some());
    assert_eq!(server.text("WAIT 2 0"), ":2\r\n");
    assert_eq!(server.text("WAIT 3 1"), ":2\r\n");
    assert_eq!(server.text("WAITAOF 1 2 0"), "*2\r\n:1\r\n:2\r\n");
    let mut alone = Server::new(Config::default());
    assert_eq!(alone.text("SET k v"), "+OK\r\n");
    assert_eq!(alone.text("WAIT 0 0"), ":0\r\n");
    assert_eq!(alone.text("WAIT 1 1"), ":0\r\n");
    assert_eq!(alone.text("WAITAOF 1 0 0"), "*2\r\n:1\r\n:0\r\n");
    for (wrong, error) in [
        (
            "WAITAOF 2 0 0",
            "-ERR value is out of range, value must between 0 and 1\r\n",
        ),
        (
            "WAITAOF x 0 0",
            "-ERR value is not an integer or out of range\r\n",
        ),
        (
            "WAITAOF 0 -1 0",
            "-ERR value is out of range, must be positive\r\n",
        ),
        ("WAITAOF 0 0 -1", "-ERR timeout is negative\r\n"),
    ] {
        assert_eq!(alone.text(wrong), error, "{wrong}");
    }
}
