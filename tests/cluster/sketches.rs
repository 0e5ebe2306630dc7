//! HyperLogLogs, and libraries of functions, in a cluster.

use crate::common::{Cluster, Connection, Link, Path, Reply, Setup};

const KEYS: usize = 12;

/// Elements are shown to the same sketch on both sides of a cut: none is lost.
#[test]
fn both_sides_of_a_cut_are_counted() {
    let mut setup = Setup::new(3, Link::Network);
    setup = setup.flag("write-quorum", "one");
    setup = setup.flag("read-quorum", "one");
    let cluster = Cluster::start(setup);
    let add = |node: usize, from: usize, count: usize| {
        let mut client = cluster.client(node);
        for key in 0..KEYS {
            let elements: Vec<String> = (from..from + count).map(|n| n.to_string()).collect();
            let line = format!("PFADD sketch:{key} {}", elements.join(" "));
            cluster.eventually(|| match client.run(&line) {
                Reply::Integer(_) => Ok(()),
                refused => Err(refused.to_string()),
            });
        }
    };
    // Some are there before, of others there is nothing.
    let mut client = cluster.client(1);
    for key in 0..KEYS / 2 {
        let reply = client.run(&format!("PFADD sketch:{key} 0 1 2"));
        assert!(reply.integer().is_some(), "{reply}");
    }
    cluster.wait_until_replicas_agree(3);
    cluster.network().set_between(&[0], &[1, 2], Path::CUT);
    cluster.wait_until_seen_down(0);
    add(0, 0, 40);
    add(1, 40, 40);
    cluster.network().heal();
    cluster.wait_until_settled(3);
    cluster.wait_until_replicas_agree(3);
    for node in 0..3 {
        let mut client = cluster.client(node);
        for key in 0..KEYS {
            let count = client.run(&format!("PFCOUNT sketch:{key}"));
            let count = count.integer().expect("a number");
            // So few are hardly estimated wrongly.
            assert!(
                (78..=82).contains(&count),
                "node {node}, sketch:{key}: {count}"
            );
        }
    }
}

#[test]
fn libraries_reach_all_nodes_and_stay() {
    let mut cluster = Cluster::start(Setup::new(3, Link::Loopback));
    let mut client = cluster.client(1);
    let code = "#!lua name=lib\nredis.register_function('put', function(keys, arguments) return redis.call('set', keys[1], arguments[1]) end)";
    let loaded = client.call(&["FUNCTION", "LOAD", code]);
    assert_eq!(loaded.text(), "lib");
    for node in 0..3 {
        let mut client = cluster.client(node);
        for key in 0..KEYS {
            let reply = client.run(&format!("FCALL put 1 key:{key} {node}"));
            assert!(reply.is_ok(), "{reply}");
            assert_eq!(
                client.run(&format!("GET key:{key}")).text(),
                node.to_string()
            );
        }
    }
    cluster.kill(2);
    cluster.restart(2);
    cluster.wait_until_settled(3);
    let mut client = cluster.client(2);
    let listed = client.run("FUNCTION LIST");
    assert_eq!(listed.items().len(), 1, "{listed}");
    assert!(client.run("FUNCTION DELETE lib").is_ok());
    for node in 0..3 {
        let mut client = cluster.client(node);
        assert!(
            client
                .run("FCALL put 1 k v")
                .is_error("ERR Function not found")
        );
    }
}

/// Who was away when libraries were loaded, replaced and deleted, or was not there yet, knows of it soon.
#[test]
fn libraries_reach_nodes_that_were_away() {
    let mut cluster = Cluster::start(Setup::new(3, Link::Loopback));
    let load = |client: &mut Connection, name: &str, value: usize| {
        let code = format!(
            "#!lua name={name}\nredis.register_function('{name}', function() return {value} end)"
        );
        let loaded = client.call(&["FUNCTION", "LOAD", "REPLACE", &code]);
        assert_eq!(loaded.text(), name);
    };
    let mut client = cluster.client(1);
    load(&mut client, "replaced", 1);
    load(&mut client, "deleted", 2);
    cluster.kill(2);
    load(&mut client, "replaced", 10);
    load(&mut client, "new", 3);
    assert!(client.run("FUNCTION DELETE deleted").is_ok());
    cluster.restart(2);
    let late = cluster.add();
    for node in [2, late] {
        let mut client = cluster.client(node);
        for (name, value) in [("replaced", 10), ("new", 3)] {
            cluster.eventually(|| match client.run(&format!("FCALL {name} 0")) {
                Reply::Integer(number) if number == value => Ok(()),
                other => Err(other.to_string()),
            });
        }
        cluster.eventually(|| match client.run("FCALL deleted 0") {
            reply if reply.is_error("ERR Function not found") => Ok(()),
            other => Err(other.to_string()),
        });
    }
    // They stay as they are.
    cluster.kill(2);
    cluster.restart(2);
    let mut client = cluster.client(2);
    assert_eq!(client.run("FCALL replaced 0"), Reply::Integer(10));
    assert_eq!(client.run("FUNCTION LIST").items().len(), 2);
}

/// Where both sides of a cut change the same, the later change stays at all nodes.
#[test]
fn both_sides_of_a_cut_come_to_the_same_libraries() {
    let cluster = Cluster::start(Setup::new(3, Link::Network));
    let load = |node: usize, library: &str, function: &str| {
        let code = format!(
            "#!lua name={library}\nredis.register_function('{function}', function() return {node} end)"
        );
        let loaded = cluster
            .client(node)
            .call(&["FUNCTION", "LOAD", "REPLACE", &code]);
        assert_eq!(loaded.text(), library);
    };
    cluster.network().set_between(&[0], &[1, 2], Path::CUT);
    cluster.wait_until_seen_down(0);
    load(0, "same", "f");
    load(0, "one", "g");
    load(1, "same", "f");
    load(1, "other", "g");
    cluster.network().heal();
    for node in 0..3 {
        cluster.eventually(|| {
            let mut client = cluster.client(node);
            let replies = ["f", "g"].map(|name| client.run(&format!("FCALL {name} 0")));
            match replies {
                [Reply::Integer(1), Reply::Integer(1)] => Ok(()),
                [f, g] => Err(format!("{f} {g}")),
            }
        });
    }
}
