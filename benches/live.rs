//! What a question to a directory costs that has no replica: `cargo bench --bench live -- [COUNT…]`, by default with 10
//! and 100 thousand entries in OpenLDAP on this host. Compare with the table of `--bench directory`.
//!
//! Prints one table: the time of one look-up when nobody else asks, for known and unknown recipients; the look-ups a second
//! of 64 sessions together; and the time of one whose answer is remembered.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use backstop::{
    address::Address,
    directory::{Configs, Directories, Domains, Metrics, Recipients, Remotes},
    files::{self, Keeper},
    policy::RecipientFact,
    telemetry::Registry,
};
use backstop_harness::Slapd;
use serde_json::json;

fn main() {
    let counts = std::env::args().skip(1).filter_map(|argument| argument.replace('_', "").parse().ok());
    let mut counts: Vec<u32> = counts.collect();
    if counts.is_empty() {
        counts = vec![10_000, 100_000];
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("{:>8}  {:>8} {:>8}  {:>10}  {:>10}", "entries", "known", "unknown", "64 at once", "remembered");
    for count in counts {
        let mut slapd = Slapd::start();
        slapd.seed(count);
        runtime.block_on(row(&slapd, count));
    }
}

async fn row(slapd: &Slapd, count: u32) {
    const LOOK_UPS: u32 = 2000;
    let forgetful = open(slapd, "0s");
    let (known, unknown) = (one_by_one(&forgetful, LOOK_UPS, |n| user(n % count), true).await, {
        one_by_one(&forgetful, LOOK_UPS, |n| user(count + n), false).await
    });

    let forgetful = Arc::new(forgetful);
    let begun = Instant::now();
    let mut sessions = tokio::task::JoinSet::new();
    for session in 0..SESSIONS {
        let directories = Arc::clone(&forgetful);
        sessions.spawn(async move {
            for n in 0..LOOK_UPS / SESSIONS {
                find(&directories, &user((session * 7919 + n) % count), true).await;
            }
        });
    }
    sessions.join_all().await;
    let rate = f64::from(LOOK_UPS / SESSIONS * SESSIONS) / begun.elapsed().as_secs_f64();

    let remembering = open(slapd, "1h");
    find(&remembering, &user(0), true).await;
    let remembered = one_by_one(&remembering, LOOK_UPS * 10, |_| user(0), true).await;
    println!("{count:>8}  {known:>8.0?} {unknown:>8.0?}  {rate:>8.0}/s  {remembered:>10.0?}");
}

/// The time of one.
async fn one_by_one(
    directories: &Directories,
    count: u32,
    address: impl Fn(u32) -> Address,
    is_known: bool,
) -> Duration {
    let addresses: Vec<_> = (0..count).map(address).collect();
    let begun = Instant::now();
    for address in &addresses {
        find(directories, address, is_known).await;
    }
    begun.elapsed() / count
}

async fn find(directories: &Directories, address: &Address, is_known: bool) {
    match directories.find(address).await.fact {
        RecipientFact::Exists(_) => assert!(is_known, "{address}"),
        RecipientFact::Absent => assert!(!is_known, "{address}"),
        RecipientFact::Unknown(_) => panic!("{address}: the directory did not answer"),
    }
}

/// The directory, whose answers are remembered for so long.
fn open(slapd: &Slapd, remembered: &str) -> Directories {
    let configs: Configs = serde_json::from_value(json!({ "corp": {
        "domains": ["example.test"],
        "ldap": {
            "urls": [slapd.url()], "base": Slapd::BASE, "source": "live", "allow_plain": true,
            "bind_dn": Slapd::READER, "password_file": slapd.password_file(),
        },
        "cache": { "positive": remembered, "negative": remembered, "stale": remembered },
    }}))
    .expect("a configuration");
    let registry = Registry::default();
    let metrics = Metrics::register(&registry);
    let (domains, recipients) = (Domains { detect: false, ..Domains::default() }, Recipients::default());
    let keeper = Keeper::new(files::Metrics::register(&registry));
    let remotes = Remotes::new(metrics.clone());
    Directories::build(&domains, &recipients, &configs, &keeper, &remotes, &metrics, Arc::default())
        .expect("it can be used")
}

fn user(n: u32) -> Address {
    Address::parse(format!("u{n:06}@example.test")).expect("these are addresses")
}

const SESSIONS: u32 = 64;
