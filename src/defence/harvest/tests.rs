//! Whole stories with a clock in hand: what is counted, who is blocked, for how long.

use super::*;
use crate::{
    defence::{Metrics, Standings},
    store::{self, Store, Table},
    telemetry::Registry,
};

struct Scene {
    harvest: Harvest,
    shared: Shared,
    now: Duration,
}

impl Scene {
    fn new(config: &Config) -> Self {
        let registry = Registry::default();
        let store = Store::in_memory(store::Metrics::register(&registry));
        let shared = Shared::new(store, Metrics::register(&registry));
        Self::on(config, shared)
    }

    fn on(config: &Config, shared: Shared) -> Self {
        // The middle of a bucket (of 2025), so that what is counted now counts in full for half an hour.
        let now = Duration::from_secs(490_000 * 3600 + 1800);
        Self { harvest: Harvest::new(config, &shared), shared, now }
    }

    /// What [`Standings::find`] does, at the scene's time.
    async fn lately(&self, client: &str) -> Option<Lately> {
        let ops = self.harvest.ledger.questions(ip(client), self.now)?;
        let answers = self.shared.store.run(&ops).await.expect("it is in memory");
        self.harvest.ledger.read(&answers, self.now)
    }

    async fn asks(&self, client: &str, guess: Guess<'_>) -> bool {
        match self.lately(client).await {
            Some(lately) => self.harvest.note_at(ip(client), lately, guess, self.now),
            None => false,
        }
    }

    async fn guesses(&self, client: &str, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.asks(client, Guess::Unknown(&address(&format!("guess{number}")))).await;
        }
    }

    async fn knows(&self, client: &str, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.asks(client, Guess::Known(&address(&format!("user{number}")))).await;
        }
    }

    async fn is_blocked(&self, client: &str) -> bool {
        Standings::new(&self.shared, &self.harvest).find(ip(client)).await.blocked
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn address(local: &str) -> Address {
    Address::parse(format!("{local}@example.test")).expect("an address")
}

const CLIENT: &str = "198.51.100.7";

#[tokio::test]
async fn a_dictionary_is_blocked_at_the_limit() {
    let scene = Scene::new(&Config::default());
    scene.guesses(CLIENT, 0..19).await;
    assert!(!scene.is_blocked(CLIENT).await);
    scene.guesses(CLIENT, 19..20).await;
    assert!(scene.is_blocked(CLIENT).await, "at once");
    assert!(!scene.is_blocked("198.51.100.8").await, "and nobody else");
    let blocks = scene.shared.store.list(Table::Blocks).await.expect("it is in memory");
    assert_eq!(blocks[0].value, b"guessed recipients: 20 of 20 are unknown");
    assert!(blocks[0].left <= Duration::from_secs(3600), "it expires");
    assert_eq!(scene.shared.metrics.harvest_blocks.get(), 1);
    assert_eq!(lock(&scene.shared.site.blocked).count(scene.now), 1);
}

#[tokio::test]
async fn who_asks_again_for_the_same_counts_once() {
    let scene = Scene::new(&Config::default());
    for _ in 0..1000 {
        scene.asks(CLIENT, Guess::Unknown(&address("left-in-2019"))).await;
    }
    assert_eq!(scene.lately(CLIENT).await, Some(Lately { unknown: 1, ..Lately::default() }));
    // One friend makes no good name, however often he is asked for.
    for number in 0..20 {
        scene.asks(CLIENT, Guess::Known(&address("friend"))).await;
        scene.guesses(CLIENT, number..number + 1).await;
    }
    assert!(scene.is_blocked(CLIENT).await);
}

#[tokio::test]
async fn a_mailing_list_is_never_blocked() {
    let scene = Scene::new(&Config::default());
    for round in 0..200 {
        scene.knows(CLIENT, round * 49..(round + 1) * 49).await;
        scene.guesses(CLIENT, round..round + 1).await;
    }
    let lately = scene.lately(CLIENT).await.expect("it is counted");
    assert!((195..=200).contains(&lately.unknown) && lately.known > 9700, "{lately:?}");
    assert!(!scene.is_blocked(CLIENT).await);
}

#[tokio::test]
async fn a_good_name_lasts_longer_than_the_window() {
    let mut scene = Scene::new(&Config::default());
    scene.knows(CLIENT, 0..3000).await;
    scene.now += Duration::from_secs(6 * 3600);
    // Half of the mailboxes were moved away, and the provider learns it now.
    scene.guesses(CLIENT, 0..200).await;
    assert!(!scene.is_blocked(CLIENT).await, "{:?}", scene.lately(CLIENT).await);
    scene.guesses(CLIENT, 200..400).await;
    assert!(scene.is_blocked(CLIENT).await, "everything has an end");
    scene.guesses("198.51.100.8", 0..20).await;
    assert!(scene.is_blocked("198.51.100.8").await, "a stranger has no name");
}

#[tokio::test]
async fn guesses_fade_with_the_window() {
    let mut scene = Scene::new(&Config::default());
    scene.guesses(CLIENT, 0..19).await;
    scene.now += Duration::from_secs(2 * 3600);
    assert_eq!(scene.lately(CLIENT).await, Some(Lately::default()));
    scene.guesses(CLIENT, 100..119).await;
    assert!(!scene.is_blocked(CLIENT).await);
    scene.now += Duration::from_secs(3600);
    scene.guesses(CLIENT, 200..210).await;
    assert!(!scene.is_blocked(CLIENT).await, "half of 19, and 10");
    scene.guesses(CLIENT, 210..211).await;
    assert!(scene.is_blocked(CLIENT).await);
}

#[tokio::test]
async fn a_trap_counts_as_ten() {
    let scene = Scene::new(&Config::default());
    let (one, other) = (address("trap1"), address("trap2"));
    scene.asks(CLIENT, Guess::Trap(&one)).await;
    scene.asks(CLIENT, Guess::Trap(&one)).await;
    assert!(!scene.is_blocked(CLIENT).await, "an old list may have one");
    scene.asks(CLIENT, Guess::Trap(&other)).await;
    assert!(scene.is_blocked(CLIENT).await);
}

#[tokio::test]
async fn who_is_counted() {
    let config =
        Config { except: vec!["203.0.113.0/24".to_owned(), "2001:db8::/48".to_owned()], ..Config::default() };
    let scene = Scene::new(&config);
    for client in [
        "203.0.113.9",
        "::ffff:203.0.113.9",
        "2001:db8:0:1::1",
        "127.0.0.9",
        "10.1.2.3",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.1.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "0.0.0.0",
    ] {
        assert_eq!(scene.lately(client).await, None, "{client}");
    }
    for client in ["198.51.100.7", "100.63.255.255", "100.128.0.1", "2001:db8:1::1", "172.32.0.1"] {
        assert!(scene.lately(client).await.is_some(), "{client}");
    }
    let scene = Scene::new(&Config { private: true, ..Config::default() });
    assert!(scene.lately("127.0.0.9").await.is_some());
    let scene = Scene::new(&Config { enabled: false, ..Config::default() });
    assert!(scene.lately(CLIENT).await.is_none());
}

#[tokio::test]
async fn an_ipv6_client_is_its_64() {
    let scene = Scene::new(&Config::default());
    for number in 0..20 {
        scene.guesses(&format!("2001:db8:1:1::{number}"), number..number + 1).await;
    }
    assert!(scene.is_blocked("2001:db8:1:1:ffff::1").await);
    assert!(!scene.is_blocked("2001:db8:1:2::1").await);
    scene.guesses("::ffff:198.51.100.7", 0..10).await;
    scene.guesses(CLIENT, 10..20).await;
    assert!(scene.is_blocked(CLIENT).await, "the same client, written in two ways");
}

#[tokio::test]
async fn many_clients_lower_the_limits() {
    let scene = Scene::new(&Config::default());
    scene.guesses(CLIENT, 0..6).await;
    for client in 0..260_u32 {
        scene
            .guesses(
                &format!("203.0.{}.{}", 113 + client / 250, client % 250),
                client * 2 + 1000..client * 2 + 1002,
            )
            .await;
    }
    let sight = scene.shared.site.look(scene.now);
    assert!(sight.is_on && (240..280).contains(&sight.clients), "{sight:?}");
    assert!(!scene.is_blocked(CLIENT).await, "nobody is blocked for what others do");
    scene.guesses(CLIENT, 6..7).await;
    assert!(scene.is_blocked(CLIENT).await);
    assert!(!scene.is_blocked("203.0.113.7").await, "two guesses are few, even so");
}

#[tokio::test]
async fn two_processes_with_one_store_count_together() {
    let one = Scene::new(&Config::default());
    let other_registry = Registry::default();
    let shared = Shared::new(one.shared.store.clone(), Metrics::register(&other_registry));
    let other = Scene::on(&Config::default(), shared);
    one.guesses(CLIENT, 0..10).await;
    other.guesses(CLIENT, 10..20).await;
    assert!(one.is_blocked(CLIENT).await && other.is_blocked(CLIENT).await);
}

/// Whoever is released is not blocked again for what he was blocked for; and he is, if he goes on.
#[tokio::test]
async fn who_is_released_begins_anew() {
    let scene = Scene::new(&Config::default());
    let standings = Standings::new(&scene.shared, &scene.harvest);
    scene.guesses(CLIENT, 0..20).await;
    assert!(scene.is_blocked(CLIENT).await);
    standings.release_at(ip(CLIENT), scene.now).await.expect("it is in memory");
    scene.guesses(CLIENT, 20..39).await;
    assert!(!scene.is_blocked(CLIENT).await);
    scene.guesses(CLIENT, 39..40).await;
    assert!(scene.is_blocked(CLIENT).await);
}

#[tokio::test]
async fn a_longer_block_by_the_admin_stays() {
    let scene = Scene::new(&Config::default());
    let standings = Standings::new(&scene.shared, &scene.harvest);
    standings.block(ip(CLIENT), "by hand", Duration::from_secs(86_400)).await.expect("it is in memory");
    scene.guesses(CLIENT, 0..30).await;
    let blocks = scene.shared.store.list(Table::Blocks).await.expect("it is in memory");
    assert_eq!((blocks.len(), &blocks[0].value[..]), (1, &b"by hand"[..]));
    standings.release(ip(CLIENT)).await.expect("it is in memory");
    assert!(!scene.is_blocked(CLIENT).await);
}
