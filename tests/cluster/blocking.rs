//! Clients that wait for data in a cluster, each at a node of its own.

use std::time::{Duration, Instant};

use crate::common::{
    Cluster, Connection, Link, Reply, Setup, encode_command, split_line, wait_until,
};

/// So many keys that the first replica of some is each of the nodes.
const KEYS: usize = 24;

fn three() -> Cluster {
    Cluster::start(Setup::new(3, Link::Loopback))
}

fn key(number: usize) -> String {
    format!("queue:{number}")
}

fn send(client: &mut Connection, line: &str) {
    let words = split_line(line).expect("a command line");
    client.send(&encode_command(&words)).expect("it is taken");
}

fn field(client: &mut Connection, name: &str) -> usize {
    let info = client.run("INFO clients").text();
    let count = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    count.expect("the field").trim().parse().expect("a number")
}

fn blocked(client: &mut Connection) -> usize {
    field(client, "blocked_clients")
}

/// Waits until so many stand in the queues of all nodes. Until then a client's request may still be on its way, and is
/// in doubt when the node it was sent to dies.
fn wait_until_queued(cluster: &Cluster, count: usize) {
    let mut controls: Vec<_> = (0..3).map(|node| cluster.client(node)).collect();
    wait_until("all stand in queues", || {
        let queued = controls
            .iter_mut()
            .map(|control| field(control, "clients_in_queues"));
        queued.sum::<usize>() == count
    });
}

/// A client at a node that waits for what a command waits for.
fn waiter(cluster: &Cluster, node: usize, line: &str) -> Connection {
    let (mut control, mut client) = (cluster.client(node), cluster.client(node));
    let before = blocked(&mut control);
    send(&mut client, line);
    wait_until("the client waits", || blocked(&mut control) > before);
    client
}

fn texts(reply: &Reply) -> Vec<String> {
    reply.items().iter().map(Reply::text).collect()
}

#[test]
fn waiters_at_every_node_are_served_each_element_once() {
    let cluster = three();
    for number in 0..KEYS {
        let key = key(number);
        let mut waiters: Vec<_> = (0..3)
            .map(|node| waiter(&cluster, node, &format!("BLPOP {key} 0")))
            .collect();
        let mut pusher = cluster.client(number % 3);
        assert_eq!(pusher.run(&format!("RPUSH {key} a")), Reply::Integer(1));
        // Nobody is served twice, whoever is first.
        let pushed = pusher.run(&format!("RPUSH {key} b c"));
        assert!(pushed.integer().is_some(), "{pushed}");
        let mut served: Vec<_> = waiters.iter_mut().map(|w| texts(&w.read())).collect();
        served.sort();
        let expected = ["a", "b", "c"].map(|element| vec![key.clone(), element.to_owned()]);
        assert_eq!(served, expected);
        assert_eq!(
            pusher.run(&format!("RPUSH {key} d")),
            Reply::Integer(1),
            "nobody waits any more"
        );
    }
}

#[test]
fn members_are_taken_by_one_waiter_each() {
    let cluster = three();
    for number in 0..KEYS {
        let key = key(number);
        let lines = [
            format!("BZPOPMIN {key} 0"),
            format!("BZPOPMAX {key} 0"),
            format!("BZMPOP 0 1 {key} MIN"),
        ];
        let waiters = lines.iter().enumerate();
        let mut waiters: Vec<_> = waiters
            .map(|(node, line)| waiter(&cluster, node, line))
            .collect();
        let mut adder = cluster.client(number % 3);
        // One after the other: each is there for one of them alone.
        for member in ["a", "b", "c"] {
            let added = adder.run(&format!("ZADD {key} 1 {member}"));
            assert_eq!(added, Reply::Integer(1));
        }
        let mut served: Vec<_> = waiters.iter_mut().map(|w| member_of(&w.read())).collect();
        served.sort();
        assert_eq!(served, ["a", "b", "c"]);
        assert_eq!(adder.run(&format!("EXISTS {key}")), Reply::Integer(0));
    }
}

/// The member in an answer of `BZPOPMIN`, or the only one in an answer of `BZMPOP`.
fn member_of(reply: &Reply) -> String {
    match &reply.items()[1] {
        pairs @ Reply::Array(_) => pairs.items()[0].items()[0].text(),
        member => member.text(),
    }
}

#[test]
fn no_node_waits_past_the_timeout() {
    let cluster = three();
    for number in 0..KEYS {
        let key = key(number);
        let mut clients: Vec<_> = (0..3).map(|node| cluster.client(node)).collect();
        let began = Instant::now();
        for client in &mut clients {
            send(client, &format!("BLMPOP 0.2 1 {key} LEFT"));
        }
        for client in &mut clients {
            assert_eq!(client.read(), Reply::Null);
        }
        assert!(began.elapsed() >= Duration::from_millis(200));
    }
}

#[test]
fn who_gives_up_waiting_takes_nothing() {
    let cluster = three();
    for number in 0..KEYS {
        let key = key(number);
        let node = number % 3;
        let mut unblocked = cluster.client(node);
        let id = unblocked.run("CLIENT ID").integer().expect("an id");
        send(&mut unblocked, &format!("BRPOP {key} 0"));
        let mut control = cluster.client(node);
        wait_until("it waits", || blocked(&mut control) == 1);
        let gone = waiter(&cluster, node, &format!("BLPOP {key} 0"));
        // A request that is still on its way may be executed after the client has gone.
        wait_until_queued(&cluster, 2);
        drop(gone);
        wait_until("it is gone", || blocked(&mut control) == 1);
        let reply = control.run(&format!("CLIENT UNBLOCK {id} ERROR"));
        assert_eq!(reply, Reply::Integer(1));
        let reply = unblocked.read();
        assert!(reply.text().contains("UNBLOCKED"), "{reply}");
        let mut pusher = cluster.client((number + 1) % 3);
        pusher.run(&format!("RPUSH {key} 1 2"));
        assert_eq!(pusher.run(&format!("LLEN {key}")), Reply::Integer(2));
    }
}

#[test]
fn waiting_survives_the_node_it_was_for() {
    let mut cluster = three();
    let mut waiters = Vec::new();
    for number in 0..KEYS {
        for node in [1, 2] {
            let line = format!("BLPOP {} 0", key(number));
            waiters.push((number, waiter(&cluster, node, &line)));
        }
    }
    wait_until_queued(&cluster, waiters.len());
    cluster.kill(0);
    cluster.wait_until_seen_down(0);
    let mut pusher = cluster.client(1);
    for number in 0..KEYS {
        for element in ["a", "b"] {
            let line = format!("RPUSH {} {element}", key(number));
            cluster.eventually(|| match pusher.run(&line) {
                Reply::Integer(_) => Ok(()),
                refused => Err(refused.to_string()),
            });
        }
    }
    let mut served = vec![Vec::new(); KEYS];
    for (number, waiter) in &mut waiters {
        let reply = waiter.read();
        let [from, element] = &texts(&reply)[..] else {
            panic!("{reply}");
        };
        assert_eq!(*from, key(*number));
        served[*number].push(element.clone());
    }
    for mut elements in served {
        elements.sort();
        assert_eq!(elements, ["a", "b"]);
    }
}
