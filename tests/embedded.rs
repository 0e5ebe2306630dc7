//! A node inside the own process.

use coterie::config::Durability;
use coterie::{Batch, CallError, Commands, Level, Node};

#[tokio::test]
async fn commands_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let start = |durability| {
        let builder = Node::builder().directory(directory.path()).listen(false);
        builder.durability(durability).start().unwrap()
    };
    let node = start(Durability::Always);
    let database = node.database(3);
    database.set("k", [0, 159, 146, 150]).await.unwrap();
    assert_eq!(database.increment("n", 5).await.unwrap(), 5);
    assert!(!database.delete("nothing").await.unwrap());
    assert_eq!(node.database(0).get("k").await.unwrap(), None);
    let error = database.increment("k", 1).await.unwrap_err();
    assert!(matches!(error, CallError::Command(text) if text.contains("not an integer")));
    node.stop().await.unwrap();

    let node = start(Durability::Everysec);
    let database = node.database(3);
    assert_eq!(
        database.get("k").await.unwrap(),
        Some(vec![0, 159, 146, 150])
    );
    assert_eq!(database.increment("n", 1).await.unwrap(), 6);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_batch_has_a_reply_for_each_command() {
    let directory = tempfile::tempdir().unwrap();
    let builder = Node::builder().directory(directory.path()).listen(false);
    let node = builder.start().unwrap();
    let database = node.database(0).reading(Level::One).writing(Level::All);
    let batch = Batch::new()
        .set("a", "1")
        .command(&["SELECT", "1"])
        .command(&["POST"])
        .increment("a", 1)
        .command(&["HGET", "a", "f"]);
    let replies = database.batch(batch).await;
    assert_eq!(replies.len(), 5);
    assert!(replies[0].is_ok());
    for refused in [1, 2, 4] {
        assert!(matches!(&replies[refused], Err(CallError::Command(_))));
    }
    assert_eq!(database.get("a").await.unwrap(), Some(b"2".to_vec()));
    assert!(database.hash_set("h", "f", "v").await.unwrap());
    assert_eq!(
        database.hash_get("h", "f").await.unwrap(),
        Some(b"v".to_vec())
    );
    assert_eq!(database.hash_get("h", "g").await.unwrap(), None);
    node.stop().await.unwrap();
}
