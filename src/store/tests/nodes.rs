//! Redis servers that can't be used alone: nodes of a cluster, replicas.

use backstop_harness::{Redis as Server, free_port};

use super::{
    redis::{answers, config},
    *,
};

/// It would take some of what it is told and not the rest; nothing of it is used, and it is told why.
#[tokio::test]
async fn a_node_of_a_cluster_or_a_replica_is_out_of_use() {
    let node = Server::start_with(&format!("cluster-enabled yes\ncluster-port {}\n", free_port()));
    let command = |words: &str| node.command(&words.split(' ').collect::<Vec<_>>());
    command("config set cluster-require-full-coverage no");
    let is_out = async |url: &str, part: &str| {
        let store = Followed::open(&config(url)).await;
        until("the reason", async || store.store.notices().join("\n").contains(part)).await;
        assert!(!answers(&store.store).await, "{part}");
        assert!(store.store.keep(&[put(Table::Blocks, "x")]).await.is_err());
        assert_eq!(store.metric("store_up"), 0.0);
        store.end().await;
    };
    is_out(&node.url(), "node of a Redis Cluster").await;
    let mine: u32 = command("cluster keyslot backstop:marker").parse().unwrap();
    // It has the marker, and nothing else; and then everything.
    command(&format!("cluster addslots {mine}"));
    until("its slot", async || !command("get backstop:marker").contains("CLUSTERDOWN")).await;
    is_out(&node.url(), "node of a Redis Cluster").await;
    for range in [(0, mine - 1), (mine + 1, 16383)] {
        command(&format!("cluster addslotsrange {} {}", range.0, range.1));
    }
    until("all slots", async || command("get backstop:trusts:x").is_empty()).await;
    is_out(&node.url(), "node of a Redis Cluster").await;
    is_out(&format!("{}/1", node.url()), "SELECT").await;
    // All keys in one slot.
    let one = Config { prefix: "{backstop}:".into(), ..config(&node.url()) };
    let store = Followed::open(&one).await;
    let ops = [put(Table::Blocks, "x"), put(Table::Harvest, "y"), Op::Get(key(Table::Blocks, "x"))];
    assert_eq!(store.store.run(&ops).await.unwrap()[2].clone().value(), Some(b"x".to_vec()));
    assert_eq!(store.store.list(Table::Harvest).await.unwrap().len(), 1);
    store.end().await;

    // A primary that is made a replica while it is used, and the other way round.
    let server = Server::start();
    let store = Followed::open(&config(&server.url())).await;
    assert!(answers(&store.store).await);
    server.command(&["replicaof", "127.0.0.1", "1"]);
    until("the reason", async || store.store.notices().join("\n").contains("name its primary")).await;
    assert!(!answers(&store.store).await);
    is_out(&server.url(), "name its primary").await;
    server.command(&["replicaof", "no", "one"]);
    until("it is back", async || answers(&store.store).await).await;
    assert_eq!(store.store.notices(), [""; 0], "nothing was lost");
    store.end().await;
}
