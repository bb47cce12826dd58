//! The store over each of its backends: against a model, across restarts, and with backends that fail.

mod embedded;
mod model;
mod nodes;
mod redis;

use std::{
    future::Future,
    path::Path,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::telemetry::Registry;

/// A store that is followed, as in the process.
struct Followed {
    store: Store,
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Followed {
    async fn open(config: &Config) -> Self {
        let registry = Registry::default();
        let store = Store::open(config, Metrics::register(&registry)).await.unwrap();
        let stop = CancellationToken::new();
        let task = TaskTracker::new().spawn({
            let (store, stop) = (store.clone(), stop.clone());
            async move { store.follow(stop).await }
        });
        Self { store, registry, stop, task }
    }

    /// Ends it as the process does, when it is told to.
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Ends it as if the process was killed, as far as that goes.
    async fn abandon(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// The line of a metric, without its name: its value.
    fn metric(&self, name: &str) -> f64 {
        let page = self.registry.page();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("backstop_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().unwrap()
    }
}

fn embedded(directory: &Path) -> Config {
    let url = format!("embedded:{}", directory.display()).parse().unwrap();
    Config { url, ..Config::default() }
}

fn key(table: Table, id: &str) -> Key {
    Key::new(table, id)
}

fn put(table: Table, id: &str) -> Op {
    Op::Put { key: key(table, id), value: id.into(), ttl: HOUR }
}

/// What is there under this name; what goes wrong is told.
async fn get(store: &Store, table: Table, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let [outcome] = <[Outcome; 1]>::try_from(store.run(&[Op::Get(key(table, id))]).await?).unwrap();
    Ok(outcome.value())
}

/// Waits until it is so.
async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// Two open at the same time would mean two truths.
#[test]
fn clones_are_the_same_store() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Store::in_memory(Metrics::register(&Registry::default()));
        store.clone().later(vec![put(Table::Blocks, "a")]);
        assert_eq!(get(&store, Table::Blocks, "a").await.unwrap(), Some(b"a".to_vec()));
        assert!(store.notices().is_empty());
    });
}
