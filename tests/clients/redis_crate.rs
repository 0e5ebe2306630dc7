//! The `redis` crate.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, Commands, PushInfo, PushKind, Script, Value};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};

use crate::cluster_of_one;
use crate::common::{Cluster, DEADLINE, Link, Server, Setup};

#[test]
fn redis_crate() {
    let mut server = Server::subject();
    let client = redis::Client::open(server.url(3)).expect("a URL");
    let mut c = client.get_connection().expect("a connection");
    let binary: Vec<u8> = (0..=255).chain(*b"\r\n").collect();
    let () = c.set("binary", &binary).expect("SET");
    assert_eq!(c.get::<_, Vec<u8>>("binary"), Ok(binary.clone()));
    assert_eq!(c.incr::<_, _, i64>("n", 5), Ok(5));
    assert_eq!(
        c.mget::<_, (i64, Option<String>)>(&["n", "nosuch"]),
        Ok((5, None))
    );
    assert_eq!(c.expire::<_, bool>("n", 100), Ok(true));
    assert!(
        c.ttl::<_, i64>("n")
            .is_ok_and(|ttl| (99..=100).contains(&ttl))
    );
    let error = c.incr::<_, _, i64>("binary", 1).expect_err("no integer");
    assert!(error.to_string().contains("not an integer"), "{error}");

    let mut pipeline = redis::pipe();
    for n in 0..200 {
        pipeline.set(format!("scan:{n}"), n).ignore();
    }
    let (size, n): (i64, i64) = pipeline
        .cmd("DBSIZE")
        .get("n")
        .query(&mut c)
        .expect("a pipeline");
    assert_eq!((size, n), (202, 5));
    let scanned: Vec<String> = c
        .scan_match("scan:*")
        .expect("SCAN")
        .collect::<Result<_, _>>()
        .expect("keys");
    assert_eq!(
        scanned
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        200
    );
    let info: redis::InfoDict = redis::cmd("INFO").query(&mut c).expect("INFO");
    assert_eq!(
        info.get::<String>("redis_mode").as_deref(),
        Some("standalone")
    );

    server.kill();
    assert!(c.get::<_, Option<i64>>("n").is_err(), "the server is gone");
    server.restart();
    let mut c = client.get_connection().expect("a new connection");
    assert_eq!(c.get::<_, i64>("n"), Ok(5));
    assert_eq!(c.get::<_, Vec<u8>>("binary"), Ok(binary));
}

#[test]
fn redis_crate_asynchronous() {
    let server = Server::subject();
    let url = format!("{}?protocol=resp3", server.url(4));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let client = redis::Client::open(url).expect("a URL");
        let c = client
            .get_multiplexed_async_connection()
            .await
            .expect("a connection");
        let tasks: Vec<_> = (0..100)
            .map(|n| {
                let mut c = c.clone();
                tokio::spawn(async move {
                    let () = c.set(format!("key:{n}"), n).await.expect("SET");
                    let () = c.incr("total", n).await.expect("INCRBY");
                    c.get::<_, i64>(format!("key:{n}")).await.expect("GET")
                })
            })
            .collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.await.expect("the task"), n);
        }
        let mut c = c;
        assert_eq!(c.get::<_, i64>("total").await, Ok((0..100).sum()));
        assert_eq!(c.exists::<_, bool>("nosuch").await, Ok(false));
        let deleted: i64 = c
            .del((0..100).map(|n| format!("key:{n}")).collect::<Vec<_>>())
            .await
            .expect("DEL");
        assert_eq!(deleted, 100);
    });
}

#[test]
fn redis_crate_cluster() {
    let server = cluster_of_one();
    let client = redis::cluster::ClusterClient::new([server.url(0)]).expect("a URL");
    let mut c = client.get_connection().expect("a connection");
    for n in 0..200 {
        let () = c.set(format!("key:{n}"), n).expect("SET");
    }
    for n in 0..200 {
        assert_eq!(c.get(format!("key:{n}")), Ok(n));
    }
    assert_eq!(c.mget(&["{t}a", "{t}b"]), Ok([None::<i64>, None]));
    assert_eq!(c.incr("{t}a", 2), Ok(2));
    let builder = redis::cluster::ClusterClientBuilder::new([server.url(0)]);
    let reader = builder
        .read_routing_strategy(redis::cluster_read_routing::RandomReplicaStrategy)
        .build()
        .expect("a client");
    let mut reader = reader.get_connection().expect("a connection");
    assert_eq!(reader.get("key:9"), Ok(9));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// A message of another node's client arrives; before that, the subscription has to be known there.
async fn publishes_to_other_nodes(urls: &[String]) {
    let clients: Vec<_> = urls
        .iter()
        .map(|url| redis::Client::open(url.as_str()).expect("a URL"))
        .collect();
    let mut listener = clients[0].get_async_pubsub().await.expect("a listener");
    listener.subscribe("news").await.expect("SUBSCRIBE");
    listener.psubscribe("w*").await.expect("PSUBSCRIBE");
    let mut messages = listener.into_on_message();
    for client in &clients {
        let mut c = client
            .get_multiplexed_async_connection()
            .await
            .expect("a connection");
        for channel in ["news", "weather"] {
            let message = loop {
                let () = c.publish(channel, b"\x00\xff").await.expect("PUBLISH");
                if let Ok(message) = timeout(Duration::from_millis(100), messages.next()).await {
                    break message.expect("the listener lives");
                }
            };
            assert_eq!(message.get_payload_bytes(), b"\x00\xff");
        }
        // What was published in vain while nobody knew of the listener, or comes late.
        while timeout(Duration::from_millis(20), messages.next())
            .await
            .is_ok()
        {}
    }
}

#[test]
fn redis_crate_asynchronous_messages() {
    let server = Server::subject();
    block_on(publishes_to_other_nodes(&[server.url(0)]));
    let cluster = Cluster::start(Setup::new(3, Link::Loopback));
    let urls = (0..3).map(|node| format!("redis://{}/0", cluster.address(node)));
    block_on(publishes_to_other_nodes(&urls.collect::<Vec<_>>()));
}

/// The text of the next message that was pushed.
async fn next_pushed(pushed: &mut UnboundedReceiver<PushInfo>, within: Duration) -> Option<String> {
    loop {
        let push = timeout(within, pushed.recv()).await.ok()??;
        if push.kind == PushKind::Message
            && let Some(Value::BulkString(text)) = push.data.get(1)
        {
            return Some(String::from_utf8_lossy(text).into_owned());
        }
    }
}

/// Publishes until a message arrives: the connection has been made again, and its subscriptions.
async fn is_subscribed_again(
    manager: &ConnectionManager,
    pushed: &mut UnboundedReceiver<PushInfo>,
) {
    let mut c = manager.clone();
    let again = async {
        loop {
            let published = c.publish::<_, _, i64>("news", "again").await;
            let wait = Duration::from_millis(50);
            if published.is_ok() && next_pushed(pushed, wait).await.as_deref() == Some("again") {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, again)
        .await
        .expect("the manager connects again");
}

#[test]
fn redis_crate_connection_manager() {
    let mut server = Server::subject();
    let url = format!("{}?protocol=resp3", server.url(4));
    block_on(async {
        let client = redis::Client::open(url).expect("a URL");
        let (sender, mut pushed) = tokio::sync::mpsc::unbounded_channel();
        let config = ConnectionManagerConfig::new()
            .set_push_sender(sender)
            .set_automatic_resubscription();
        let manager = ConnectionManager::new_with_config(client.clone(), config);
        let mut manager = manager.await.expect("a connection");
        manager.subscribe("news").await.expect("SUBSCRIBE");

        // Commands of many tasks over one connection, which also listens.
        let script = "return redis.call('RPUSH', KEYS[1], ARGV[1])";
        let tasks: Vec<_> = (0..100)
            .map(|n| {
                let mut c = manager.clone();
                tokio::spawn(async move {
                    let script = Script::new(script);
                    let mut script = script.key("list");
                    let _: i64 = script.arg(n).invoke_async(&mut c).await.expect("EVALSHA");
                    let mut unit = redis::pipe();
                    unit.atomic().incr("sum", n).ignore().hset("hash", n, n * n);
                    let (new,): (i64,) = unit.query_async(&mut c).await.expect("EXEC");
                    assert_eq!(new, 1);
                    let () = c.publish("news", n).await.expect("PUBLISH");
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("the task");
        }
        let mut list: Vec<i64> = manager.lrange("list", 0, -1).await.expect("LRANGE");
        list.sort_unstable();
        assert_eq!(list, (0..100).collect::<Vec<_>>());
        assert_eq!(manager.get::<_, i64>("sum").await, Ok((0..100).sum()));
        assert_eq!(manager.hget::<_, _, i64>("hash", 9).await, Ok(81));
        let mut told = Vec::new();
        while told.len() < 100 {
            told.push(next_pushed(&mut pushed, DEADLINE).await.expect("a message"));
        }
        told.sort_by_key(|text| text.parse::<i64>().expect("a number"));
        assert_eq!(told, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());

        // The connection breaks, then the server.
        let id: i64 = redis::cmd("CLIENT")
            .arg("ID")
            .query_async(&mut manager)
            .await
            .expect("ID");
        let mut other = client
            .get_multiplexed_async_connection()
            .await
            .expect("a connection");
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("ID").arg(id);
        assert_eq!(kill.query_async::<i64>(&mut other).await, Ok(1));
        is_subscribed_again(&manager, &mut pushed).await;
        server.kill();
        server.restart();
        is_subscribed_again(&manager, &mut pushed).await;
        assert_eq!(manager.get::<_, i64>("sum").await, Ok((0..100).sum()));
    });
}

#[test]
fn redis_crate_transactions() {
    let cluster = Cluster::start(Setup::new(3, Link::Loopback));
    let workers: Vec<_> = (0..3)
        .map(|node| {
            let url = format!("redis://{}/0", cluster.address(node));
            std::thread::spawn(move || {
                let client = redis::Client::open(url).expect("a URL");
                let mut c = client.get_connection().expect("a connection");
                for _ in 0..20 {
                    let (new,): (i64,) = redis::transaction(&mut c, &["n"], |c, unit| {
                        let value: Option<i64> = c.get("n")?;
                        unit.set("n", value.unwrap_or(0) + 1)
                            .ignore()
                            .get("n")
                            .query(c)
                    })
                    .expect("EXEC");
                    assert!(new > 0);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("a client");
    }
    assert_eq!(cluster.client(0).run("GET n").text(), "60");
}
