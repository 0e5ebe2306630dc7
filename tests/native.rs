//! The native client against real processes.

#[path = "common/mod.rs"]
mod common;

use std::net::SocketAddr;
use std::time::Duration;

use coterie_client::{Batch, CallError, Client, Commands, Error, Frame, Level, Options, is_read};
use coterie_protocol::internal::client::{self, ClientTopology};
use coterie_protocol::internal::handshake::Introduction;
use coterie_protocol::internal::{Kind, NEWEST_VERSION, Reason, Refusal, Secret, Service};

use common::{Cluster, Dialler, Link, Reply, Setup};

fn one_node() -> Cluster {
    Cluster::start(Setup::new(1, Link::Loopback))
}

fn options(cluster: &Cluster, nodes: &[usize]) -> Options {
    let seeds = nodes
        .iter()
        .map(|node| cluster.cluster_address(*node).to_string());
    // Generous: it only bounds failures.
    Options::new(seeds).deadline(Duration::from_secs(30))
}

async fn connect(cluster: &Cluster) -> Client {
    Client::connect(options(cluster, &cluster.running()))
        .await
        .expect("a client")
}

fn number(reply: &Result<Frame, Error>) -> i64 {
    match reply {
        Ok(Frame::Number { data, .. }) => *data,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_on_one_node() {
    let cluster = one_node();
    let client = connect(&cluster).await;
    let database = client.database(3);
    database.set("k", [0, 159, 146, 150]).await.unwrap();
    let value = database.get("k").await.unwrap();
    assert_eq!(value, Some(vec![0, 159, 146, 150]));
    assert_eq!(client.database(0).get("k").await.unwrap(), None);
    assert!(database.delete("k").await.unwrap());
    assert!(!database.delete("k").await.unwrap());
    assert!(database.hash_set("h", "f", "v").await.unwrap());
    let field = database.hash_get("h", "f").await.unwrap();
    assert_eq!(field, Some(b"v".to_vec()));
    let error = database.increment("h", 1).await.unwrap_err();
    assert!(
        matches!(&error, Error::Call(CallError::Command(text)) if text.starts_with("WRONGTYPE")),
        "{error}"
    );
    let error = client.database(60_000).get("k").await.unwrap_err();
    assert!(error.to_string().contains("out of range"), "{error}");
    for words in [
        &["SELECT", "1"][..],
        &["CLIENT", "REPLY", "OFF"],
        &["MONITOR"],
        &["POST", "/"],
    ] {
        let error = database.command(words).await.unwrap_err();
        assert!(
            matches!(error, Error::Call(CallError::Command(_))),
            "{error}"
        );
    }
    // Others see it, and it sees what others write.
    let mut redis = cluster.client(0);
    assert_eq!(redis.call(&["SELECT", "3"]), Reply::Simple("OK".into()));
    redis.call(&["SET", "other", "x"]);
    let one = database.reading(Level::One).writing(Level::All);
    assert_eq!(one.get("other").await.unwrap(), Some(b"x".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_answer_in_order() {
    let cluster = one_node();
    let database = connect(&cluster).await.database(0);
    assert!(database.batch(Batch::new()).await.is_empty());
    let batch = Batch::new()
        .set("a", "1")
        .increment("a", 2)
        .command(&["LPUSHX"])
        .get("a")
        .delete("a")
        .get("a");
    let replies = database.batch(batch).await;
    assert_eq!(replies.len(), 6);
    assert_eq!(number(&replies[1]), 3);
    assert!(matches!(&replies[2], Err(Error::Call(_))));
    assert!(matches!(&replies[3], Ok(Frame::BlobString { data, .. }) if data == b"3"));
    assert_eq!(number(&replies[4]), 1);
    assert!(matches!(replies[5], Ok(Frame::Null)));
    // More than fits into one call, and more than the server executes at once.
    let value = vec![7; 1000];
    let batch = (0..3000).fold(Batch::new(), |batch, _| {
        batch.set("big", &value).increment("count", 1)
    });
    let replies = database.batch(batch).await;
    let counts: Vec<i64> = replies.iter().skip(1).step_by(2).map(number).collect();
    assert_eq!(counts, (1..=3000).collect::<Vec<_>>());
    // Many tasks share the connection.
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..50 {
        let database = database.clone();
        tasks.spawn(async move {
            for round in 1..=20 {
                let key = format!("task {task}");
                assert_eq!(database.increment(&key, 1).await.unwrap(), round);
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_survives_the_restart_of_its_node() {
    let mut cluster = one_node();
    let patient = connect(&cluster).await.database(0);
    patient.set("k", "v").await.unwrap();
    let hasty = options(&cluster, &[0]).deadline(Duration::from_millis(300));
    let hasty = Client::connect(hasty).await.unwrap().database(0);
    assert_eq!(hasty.get("k").await.unwrap(), Some(b"v".to_vec()));
    cluster.kill(0);
    // Nobody is there: surely not executed.
    for _ in 0..2 {
        let error = hasty.increment("n", 1).await.unwrap_err();
        assert!(
            matches!(error, Error::Deadline(_) | Error::Unknown(_)),
            "{error}"
        );
    }
    let error = hasty.increment("n", 1).await.unwrap_err();
    assert!(matches!(error, Error::Deadline(_)), "{error}");
    let waiting = tokio::spawn(async move { (patient.increment("n", 1).await, patient) });
    cluster.restart(0);
    let (counted, patient) = waiting.await.unwrap();
    assert_eq!(counted.unwrap(), 1);
    assert_eq!(patient.get("k").await.unwrap(), Some(b"v".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_answer() {
    let cluster = one_node();
    let hasty = options(&cluster, &[0])
        .deadline(Duration::from_millis(300))
        .broken_after(Duration::from_secs(60));
    let database = Client::connect(hasty).await.unwrap().database(0);
    assert_eq!(database.increment("n", 1).await.unwrap(), 1);
    cluster.stop(0);
    let read = database.get("n").await.unwrap_err();
    assert!(matches!(read, Error::Deadline(_)), "{read}");
    let write = database.increment("n", 1).await.unwrap_err();
    assert!(matches!(write, Error::Unknown(_)), "{write}");
    let plain = database.set("m", "1").await.unwrap_err();
    assert!(matches!(plain, Error::Unknown(_)), "{plain}");
    cluster.cont(0);
    // It may have been executed, but not twice.
    let patient = connect(&cluster).await.database(0);
    let after = patient.increment("n", 1).await.unwrap();
    assert!((2..=3).contains(&after), "{after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_know_the_secret_is_refused() {
    let cluster = Cluster::start(Setup::new(1, Link::Loopback).flag("cluster-secret", "ours"));
    for wrong in ["", "theirs"] {
        let refused = Client::connect(options(&cluster, &[0]).secret(wrong)).await;
        match refused.map(drop) {
            Err(Error::Refused(refusal)) => assert_eq!(refusal.reason, Reason::Secret),
            other => panic!("{other:?}"),
        }
    }
    let client = Client::connect(options(&cluster, &[0]).secret("ours")).await;
    client.unwrap().database(0).set("k", "v").await.unwrap();
    // Nobody speaks to other machines without one.
    let far = Options::new(["192.0.2.1:17000"]);
    match Client::connect(far).await.map(drop) {
        Err(Error::Refused(refusal)) => assert_eq!(refusal.reason, Reason::Loopback),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_service_answers() {
    let cluster = one_node();
    let redis_port = Options::new([cluster.address(0).to_string()]);
    let result = Client::connect(redis_port.deadline(Duration::from_millis(300))).await;
    assert!(result.is_err());
    let nobody = Options::new([""; 0]);
    let error = Client::connect(nobody).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Deadline(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_and_one_dies() {
    // What tells others to go elsewhere is no concern of the native client.
    let mut cluster = Cluster::start(Setup::new(3, Link::Loopback).flag("redirect", "moved"));
    let client = Client::connect(options(&cluster, &[0])).await.unwrap();
    let database = client.database(0);
    let keys: Vec<String> = (0..200).map(|number| format!("key {number}")).collect();
    let fill = keys.iter().fold(Batch::new(), |batch, key| {
        batch.set(key, key).increment("n", 1)
    });
    let replies = database.batch(fill).await;
    let counts: Vec<i64> = replies.iter().skip(1).step_by(2).map(number).collect();
    assert_eq!(counts, (1..=200).collect::<Vec<_>>(), "one key, in order");
    cluster.kill(0);
    // It was the seed, and the first replica of a third of all keys.
    for key in &keys {
        assert_eq!(database.get(key).await.unwrap(), Some(key.clone().into()));
        database.set(key, "new").await.unwrap();
    }
    let read = keys.iter().fold(Batch::new(), |batch, key| batch.get(key));
    for reply in database.batch(read).await {
        assert!(
            matches!(&reply, Ok(Frame::BlobString { data, .. }) if data == b"new"),
            "{reply:?}"
        );
    }
    let counted = database.increment("n", 1).await.unwrap();
    assert_eq!(counted, 201);
    cluster.restart(0);
    cluster.wait_until_settled(3);
    assert_eq!(database.increment("n", 1).await.unwrap(), 202);
    // One that keeps its connections and says nothing.
    cluster.stop(1);
    for key in &keys {
        database.set(key, "newer").await.unwrap();
        assert_eq!(database.get(key).await.unwrap(), Some(b"newer".to_vec()));
    }
    cluster.cont(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_keeps_its_order_while_nodes_are_being_connected() {
    let cluster = Cluster::start(Setup::new(3, Link::Loopback));
    for round in 0..40 {
        // Connects to the three nodes while the batch is already on its way.
        let client = Client::connect(options(&cluster, &[0])).await.unwrap();
        let key = format!("counter {round}");
        let batch = (0..2000).fold(Batch::new(), |batch, _| batch.increment(&key, 1));
        let replies = client.database(0).batch(batch).await;
        let counts: Vec<i64> = replies.iter().map(number).collect();
        assert_eq!(counts, (1..=2000).collect::<Vec<_>>(), "round {round}");
    }
}

/// Shakes hands as a native client, calls a service, and returns the frame that comes back.
fn call_as_client(address: SocketAddr, service: Service, body: &[u8]) -> Option<(Kind, Vec<u8>)> {
    let versions = NEWEST_VERSION..=NEWEST_VERSION;
    let who = Introduction::client(1);
    let shaken = Dialler::shake(address, versions, &who, &Secret::default());
    let (mut dialler, _) = shaken.expect("welcome");
    dialler.say(Kind::Call, service as u8, 1, body);
    dialler.hear()
}

#[test]
fn a_client_may_not_speak_like_a_node() {
    let cluster = one_node();
    let address = cluster.cluster_address(0);
    let topology = client::topology_call();
    let (kind, body) = call_as_client(address, Service::Client, &topology).unwrap();
    assert_eq!(kind, Kind::Reply);
    assert_eq!(ClientTopology::decode(&body).unwrap().members.len(), 1);
    for service in Service::ALL {
        if service != Service::Client {
            let (kind, body) = call_as_client(address, service, b"x").unwrap();
            assert_eq!(kind, Kind::Refuse, "{service:?}");
            assert_eq!(Refusal::decode(&body).reason, Reason::Garbage);
        }
    }
    // What it says must be readable: it is disconnected, and nobody else is.
    assert_eq!(call_as_client(address, Service::Client, b"x"), None);
    assert_eq!(cluster.client(0).call(&["DBSIZE"]), Reply::Integer(0));
}

/// What the client takes for harmless is so, and what is harmless it knows.
#[test]
fn reads_are_those_of_the_server() {
    let cluster = one_node();
    let Reply::Array(commands) = cluster.client(0).call(&["COMMAND"]) else {
        panic!("no list of commands");
    };
    assert!(commands.len() > 50);
    let mut wrong = Vec::new();
    for command in commands {
        let Reply::Array(fields) = command else {
            panic!("{command:?}");
        };
        let (Reply::Bulk(name), Reply::Array(flags)) = (&fields[0], &fields[2]) else {
            panic!("{fields:?}");
        };
        let name = String::from_utf8_lossy(name);
        // What nodes send each other.
        if name.starts_with("coterie.") {
            continue;
        }
        let has = |flag: &str| flags.contains(&Reply::Simple(flag.into()));
        if has("write") && is_read(&name) || has("readonly") && !is_read(&name) {
            wrong.push(name.into_owned());
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
