//! A node inside the own process.

use coterie::config::Durability;
use coterie::{CallError, Commands, Node};

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
