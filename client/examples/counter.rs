//! Counts in a cluster: `cargo run --example counter -- 127.0.0.1:17001 [SECRET]`.

use coterie_client::{Batch, Client, Commands, Level, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next().unwrap_or("127.0.0.1:17001".to_owned());
    let secret = arguments.next().unwrap_or_default();
    let client = Client::connect(Options::new([seed]).secret(secret)).await?;
    let database = client.database(0);

    let visits = database.increment("visits", 1).await?;
    database
        .hash_set("last", "visit", visits.to_string())
        .await?;

    // Several commands at once: each goes to the node that has its key.
    let batch = Batch::new().get("visits").command(&["HLEN", "last"]);
    for reply in database.batch(batch).await {
        println!("{:?}", reply?);
    }

    // From one replica, however old: the fastest answer.
    let fast = database.reading(Level::One);
    println!("visits, perhaps: {:?}", fast.get("visits").await?);
    Ok(())
}
