//! Whole stories with a clock in hand: what is counted, who is blocked, for how long.

use super::*;
use crate::{
    defence::{Metrics, Standing, Standings},
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

    async fn find(&self, client: &str) -> Standing {
        Standings::new(&self.shared, &self.harvest).find_at(ip(client), self.now).await
    }

    async fn lately(&self, client: &str) -> Option<Counts> {
        Some(self.find(client).await.lately?.own)
    }

    async fn asks_for(&self, client: &str, guess: Guess<'_>, purpose: Purpose) {
        let Standing { blocked, lately, .. } = self.find(client).await;
        // Who is blocked asks for nobody any more.
        if let (None, Some(lately)) = (blocked, lately) {
            self.harvest.note_at(ip(client), lately, guess, purpose, self.now);
        }
    }

    async fn asks(&self, client: &str, guess: Guess<'_>) {
        self.asks_for(client, guess, Purpose::Mail).await;
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

    /// A server checks senders that somebody invented, with call-outs.
    async fn checks(&self, client: &str, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let forged = address(&format!("forged{number}"));
            self.asks_for(client, Guess::Unknown(&forged), Purpose::Report).await;
        }
    }

    async fn is_blocked(&self, client: &str) -> bool {
        self.find(client).await.blocked.is_some()
    }

    fn is_distributed(&self) -> bool {
        self.shared.site.look(self.now).is_on
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn address(local: &str) -> Address {
    Address::parse(format!("{local}@example.test")).expect("an address")
}

const CLIENT: &str = "198.51.100.7";

/// Sessions that began before a reload go on by the limits that they began with.
#[tokio::test]
async fn while_the_window_changes_one_address_counts_once() {
    let before = Scene::new(&Config::default());
    let window = Config::default().window * 2;
    let after = Scene::on(&Config { window, ..Config::default() }, before.shared.clone());
    for _ in 0..25 {
        for scene in [&before, &after] {
            scene.guesses("203.0.113.9", 0..1).await;
            assert!(!scene.is_blocked("203.0.113.9").await);
        }
    }
}

#[tokio::test]
async fn a_dictionary_is_blocked_at_the_limit() {
    let scene = Scene::new(&Config::default());
    scene.guesses(CLIENT, 0..19).await;
    assert!(!scene.is_blocked(CLIENT).await);
    scene.guesses(CLIENT, 19..20).await;
    assert!(scene.is_blocked(CLIENT).await, "at once");
    assert!(!scene.is_blocked("198.51.100.8").await, "and nobody else");
    let blocks = scene.shared.store.list(Table::Blocks).await.expect("it is in memory");
    assert_eq!(blocks[0].value, b"\x01guessed recipients: 20 of 20 are unknown");
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
    assert_eq!(scene.lately(CLIENT).await, Some(Counts { unknown: 1, ..Counts::default() }));
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

/// Its friends of the first hour and month are those of the last one; each is one friend all the same.
#[tokio::test]
async fn who_writes_all_the_time_keeps_its_good_name() {
    let mut scene = Scene::new(&Config::default());
    for _hour in 0..70 * 24 {
        scene.knows(CLIENT, 0..30).await;
        scene.now += Duration::from_secs(3600);
    }
    scene.knows(CLIENT, 0..30).await;
    let Counts { known, history, .. } = scene.lately(CLIENT).await.expect("it is counted");
    assert!(
        (28..=60).contains(&known) && (28..=60).contains(&history),
        "{known} known, {history} in a month"
    );
}

#[tokio::test]
async fn guesses_fade_with_the_window() {
    let mut scene = Scene::new(&Config::default());
    scene.guesses(CLIENT, 0..19).await;
    scene.now += Duration::from_secs(2 * 3600);
    assert_eq!(scene.lately(CLIENT).await, Some(Counts::default()));
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

/// A joe-job: many honest servers verify senders that a spammer has invented, or return his mail.
#[tokio::test]
async fn forged_senders_start_no_distributed_harvest() {
    let scene = Scene::new(&Config::default());
    for client in 0..500_u32 {
        let server = format!("203.0.{}.{}", 113 + client / 250, client % 250);
        scene.checks(&server, client * 5..client * 5 + 5).await;
    }
    assert!(!scene.is_distributed(), "{:?}", scene.shared.site.look(scene.now));
    // Nor does a real one lower the limit for them, be some of what they come with mail.
    bots(&scene, 0..300).await;
    assert!(scene.is_distributed());
    let server = "203.0.113.7";
    scene.guesses(server, 5000..5004).await;
    scene.checks(server, 5000..5010).await;
    assert!(!scene.is_blocked(server).await, "15 for reports, 4 for mail");
    scene.checks(server, 6000..6001).await;
    assert!(scene.is_blocked(server).await, "the limit for each is what it always is");
    let other = "203.0.113.8";
    scene.guesses(other, 5000..5005).await;
    assert!(scene.is_blocked(other).await, "five by mail are too many now, whatever the rest is");
}

/// Neither the dead addresses of a mailing list nor those that partners have, however many strangers mistype as well.
#[tokio::test]
async fn dead_addresses_start_no_distributed_harvest() {
    let scene = Scene::new(&Config::default());
    for stranger in 0..100 {
        scene.guesses(&format!("203.0.113.{stranger}"), stranger..stranger + 1).await;
    }
    let list = "198.51.100.10";
    scene.knows(list, 0..40).await;
    for round in 0..40 {
        scene.knows(list, 40 + round * 30..70 + round * 30).await;
        scene.guesses(list, 1000 + round * 20..1020 + round * 20).await;
    }
    let lately = scene.lately(list).await.expect("it is counted");
    assert!(lately.unknown > 780 && !scene.is_blocked(list).await, "{lately:?}");
    // A partner of many years, many of whose friends here have left.
    let mut scene = scene;
    for partner in 0..60_u32 {
        let partner = format!("192.0.2.{partner}");
        scene.knows(&partner, 0..100).await;
    }
    scene.now += Duration::from_secs(3 * 3600);
    for partner in 0..60_u32 {
        scene.guesses(&format!("192.0.2.{partner}"), 3000 + partner * 10..3010 + partner * 10).await;
    }
    let sight = scene.shared.site.look(scene.now);
    assert!(!sight.is_on && sight.unknown < 150, "{sight:?}");
}

/// What a site is asked day in, day out does not keep the limits low for ever.
#[tokio::test]
async fn a_distributed_harvest_ends_by_itself() {
    let mut scene = Scene::new(&Config::default());
    let mut dead = 100_000;
    for quarter in 0..20_u32 {
        // An hour brings mail for four hundred dead addresses, and always for the same thousand users.
        for client in 0..50 {
            scene.guesses(&format!("192.0.2.{}", quarter % 4 * 50 + client), dead..dead + 2).await;
            dead += 2;
        }
        scene.knows("198.51.100.1", 0..1000).await;
        if quarter == 4 {
            assert!(!scene.is_distributed(), "{:?}", scene.shared.site.look(scene.now));
            bots(&scene, 0..2500).await;
        }
        if quarter == 5 {
            assert!(scene.is_distributed(), "it does not end at once");
        }
        scene.now += Duration::from_secs(900);
    }
    let sight = scene.shared.site.look(scene.now);
    assert!(!sight.is_on && sight.unknown > 300, "the dead addresses go on: {sight:?}");
}

/// A /48 has 65 536 clients, each with a limit of its own.
#[tokio::test]
async fn a_48_has_a_limit_as_a_whole() {
    let mut scene = Scene::new(&Config::default());
    let customer = "2001:db8:1:ffff::1";
    scene.knows(customer, 0..10).await;
    // Half of what all of it asks for is unknown only later.
    for client in 0..75 {
        scene.guesses(&format!("2001:db8:1:{client:x}::1"), client * 2..client * 2 + 2).await;
    }
    assert!(!scene.is_blocked("2001:db8:1:8000::1").await, "150");
    for client in 100..110 {
        scene.guesses(&format!("2001:db8:1:{client:x}::1"), client * 2..client * 2 + 2).await;
    }
    let stranger = scene.find("2001:db8:1:8000::1").await;
    let block = stranger.blocked.expect("161, one of them for the good name of a customer");
    assert_eq!((block.name().as_str(), block.by_hand), ("2001:db8:1::/48", false));
    assert!(!scene.is_blocked("2001:db8:2:8000::1").await, "the neighbour");
    assert!(!scene.is_distributed(), "it is one attacker: nobody else has a lower limit for it");
    // The customer with a good name goes on, with the lower limit; it is told once.
    scene.now += Duration::from_secs(60);
    scene.guesses(customer, 5000..5004).await;
    assert!(!scene.is_blocked(customer).await);
    scene.knows(customer, 20..30).await;
    assert!(!scene.is_blocked(customer).await);
    assert_eq!(scene.shared.metrics.harvest_blocks.get(), 1);
    let standings = Standings::new(&scene.shared, &scene.harvest);
    let listed = standings.blocked().await.expect("it is in memory");
    assert_eq!(listed.iter().map(|listed| listed.client.as_str()).collect::<Vec<_>>(), ["2001:db8:1::/48"]);
    assert!(listed[0].left <= Duration::from_secs(3600), "it expires");
    // The release of any client ends it, and what was counted is forgotten.
    let released = standings.release_at(ip("2001:db8:1:8000::1"), scene.now).await.expect("it is in memory");
    assert_eq!((released.before, released.wider.as_deref()), (true, Some("2001:db8:1::/48")));
    assert!(!scene.is_blocked("2001:db8:1:8000::1").await);
    scene.guesses("2001:db8:1:8000::1", 7000..7010).await;
    assert!(!scene.is_blocked("2001:db8:1:8001::1").await);
    // And so it goes on by itself, with the window.
    scene.now += Duration::from_secs(2 * 3600);
    assert_eq!(
        scene.find(customer).await.lately.and_then(|lately| lately.network).map(|n| n.unknown),
        Some(0)
    );
}

/// A provider whose customers each have a /64 of one /48.
#[tokio::test]
async fn a_48_of_many_customers_is_not_blocked_for_a_few() {
    let scene = Scene::new(&Config::default());
    for client in 0..40_u32 {
        scene.knows(&format!("2001:db8:1:{client:x}::1"), client * 10..client * 10 + 10).await;
    }
    // Ten of them were taken over.
    for client in 100..110_u32 {
        let client = format!("2001:db8:1:{client:x}::1");
        let number = 1000 + 20 * u32::from(client.len() as u16);
        scene.guesses(&client, number..number + 20).await;
        assert!(scene.is_blocked(&client).await, "{client}");
    }
    assert!(!scene.is_blocked("2001:db8:1:5::1").await && !scene.is_blocked("2001:db8:1:999::1").await);
}

/// Each guesses twice; two thousand five hundred are the most.
async fn bots(scene: &Scene, numbers: std::ops::Range<u32>) {
    for bot in numbers {
        let client = format!("100.{}.{}.7", 1 + bot / 250, bot % 250);
        scene.guesses(&client, 10_000 + bot * 2..10_002 + bot * 2).await;
    }
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
