//! A node inside the own process: `cargo run --example embedded -- DIRECTORY`.
//!
//! It has the same methods as a database of the native client (`coterie_client`).

use coterie::{Commands, Node};

/// Works on any database that has [`Commands`], in this process or far away.
async fn visit<D: Commands>(database: &D) -> Result<i64, D::Error> {
    let visits = database.increment("visits", 1).await?;
    database
        .hash_set("last", "visit", visits.to_string())
        .await?;
    Ok(visits)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).unwrap_or("data".to_owned());
    let node = Node::builder().directory(directory).listen(false).start()?;
    let visits = visit(&node.database(0)).await?;
    println!("visit {visits}");
    node.stop().await?;
    Ok(())
}
