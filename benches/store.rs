//! What the store costs a decision: `cargo bench --bench store -- [CLIENTS]`, by default with 100 thousand clients known.
//!
//! Prints one table: the time of one call when nobody else asks, and the calls a second of 64 sessions together, for what
//! the defences ask most: how a client stands (two reads), a count, a first attempt, and all of these at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use backstop::{
    store::{Config, Key, Metrics, Op, Store, Table},
    telemetry::Registry,
};
use backstop_harness::{Redis, TempDir};
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

fn main() {
    let clients = std::env::args().skip(1).find_map(|argument| argument.replace('_', "").parse().ok());
    let clients: u32 = clients.unwrap_or(100_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = TempDir::new("bench");
    let redis = Redis::start();
    println!("{:<10} {:<10} {:>10} {:>14}", "store", "call", "one", "64 at once");
    for (name, url) in [
        ("memory", None),
        ("embedded", Some(format!("embedded:{}", dir.path().display()))),
        ("redis", Some(redis.url())),
        ("redis unix", Some(format!("redis+unix:{}", redis.socket().display()))),
    ] {
        runtime.block_on(rows(name, url.as_deref(), clients));
    }
}

async fn rows(name: &str, url: Option<&str>, clients: u32) {
    let metrics = Metrics::register(&Registry::default());
    let store = match url {
        None => Store::in_memory(metrics),
        Some(url) => {
            let config = Config { url: url.parse().expect("a URL"), ..Config::default() };
            Store::open(&config, metrics).await.expect("it can be used")
        }
    };
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move { store.follow(stop).await }
    });
    for n in (0..clients).step_by(100) {
        let known: Vec<Op> = (n..n + 100).flat_map(all).collect();
        store.run(&known).await.expect("it answers");
    }
    for (call, ops) in [
        ("standing", (|n| standing(n).into()) as fn(u32) -> Vec<Op>),
        ("count", |n| vec![count(n)]),
        ("attempt", |n| vec![attempt(n)]),
        ("all", |n| all(n).into()),
    ] {
        let questions: Arc<[Vec<Op>]> = (0..ASKED).map(|n| ops(n.wrapping_mul(7919) % clients)).collect();
        let begun = Instant::now();
        for ops in questions.iter() {
            store.run(ops).await.expect("it answers");
        }
        let one = begun.elapsed() / ASKED;
        let rate = together(&store, &questions).await;
        println!("{name:<10} {call:<10} {one:>10.1?} {rate:>12.0}/s");
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

async fn together(store: &Store, questions: &Arc<[Vec<Op>]>) -> f64 {
    let begun = Instant::now();
    let mut sessions = JoinSet::new();
    for session in 0..64 {
        let (store, questions) = (store.clone(), Arc::clone(questions));
        sessions.spawn(async move {
            for ops in questions.iter().skip(session).step_by(64) {
                store.run(ops).await.expect("it answers");
            }
        });
    }
    sessions.join_all().await;
    questions.len() as f64 / begun.elapsed().as_secs_f64()
}

fn standing(n: u32) -> [Op; 2] {
    [Op::Get(key(Table::Trusts, n)), Op::Get(key(Table::Blocks, n))]
}

fn count(n: u32) -> Op {
    Op::Add { key: key(Table::Harvest, n), by: 1, ttl: HOUR }
}

fn attempt(n: u32) -> Op {
    Op::PutNew { key: key(Table::Greylist, n), value: n.to_be_bytes().to_vec(), ttl: HOUR }
}

fn all(n: u32) -> [Op; 4] {
    let [trust, block] = standing(n);
    [trust, block, count(n), attempt(n)]
}

fn key(table: Table, n: u32) -> Key {
    Key::new(table, std::net::Ipv4Addr::from_bits(n).to_string())
}

const ASKED: u32 = 20_000;
const HOUR: Duration = Duration::from_secs(3600);
